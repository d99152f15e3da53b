//! The pages, and how they are answered.

use askama::Template;
use axum::http::header::{CONTENT_TYPE, LOCATION, SET_COOKIE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use url::{Url, form_urlencoded};

use super::assets;
use super::links::Links;
use crate::app::App;
use crate::clock::Timestamp;
use crate::config::{Config, OwnUrls};
use crate::model::IdentityProvider;
use crate::people::ReturnTo;
use crate::reason::Reason;

/// What every page shows.
#[derive(Debug)]
pub struct Frame {
    /// What the pages are called.
    pub title: String,
    /// The path of the first page.
    pub home: String,
    /// The host of the server.
    pub host: String,
    /// Where people ask for help.
    pub support: Option<Url>,
    pub style: String,
    pub script: String,
    pub icon: String,
}

impl Frame {
    pub fn new(config: &Config) -> Self {
        let home = Links::new(&config.own).home().to_owned();
        let [style, script, icon] = assets::names().map(|name| format!("{home}/assets/{name}"));
        Self {
            title: config.console.title.clone(),
            host: config.own.host().to_owned(),
            support: config.console.support_url.clone(),
            style,
            script,
            icon,
            home,
        }
    }
}

/// The path that begins a sign-in. `asks_again` has the provider ask who the person is, whomever it
/// remembers.
pub fn sign_in_link(
    own: &OwnUrls,
    provider: &IdentityProvider,
    return_to: &ReturnTo,
    asks_again: bool,
) -> String {
    let path = format!("{}/sign-in/{}", Links::new(own).home(), provider.name);
    with_way_back(path, return_to, asks_again)
}

/// The page on which a provider is chosen, and that leads back.
pub fn sign_in_page(app: &App, return_to: &ReturnTo, asks_again: bool) -> String {
    let path = format!("{}/sign-in", Links::new(&app.config.own).home());
    with_way_back(path, return_to, asks_again)
}

fn with_way_back(path: String, return_to: &ReturnTo, asks_again: bool) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    if *return_to != ReturnTo::default() {
        query.append_pair("return_to", return_to.as_str());
    }
    if asks_again {
        query.append_pair("prompt", "login");
    }
    match query.finish() {
        query if query.is_empty() => path,
        query => format!("{path}?{query}"),
    }
}

/// A time, for programs and for people.
#[derive(Clone, Debug)]
pub struct Moment {
    pub iso: String,
    pub text: String,
}

impl From<Timestamp> for Moment {
    fn from(at: Timestamp) -> Self {
        let iso = Timestamp::from_seconds(at.seconds()).to_string();
        let minutes = iso.get(..16).unwrap_or(&iso);
        Self {
            text: format!("{} UTC", minutes.replace('T', " ")),
            iso,
        }
    }
}

/// A provider to sign in with.
#[derive(Debug)]
pub struct Choice {
    pub display_name: String,
    pub link: String,
}

#[derive(Debug, Template)]
#[template(path = "sign_in.html")]
pub struct SignInPage {
    pub frame: Frame,
    pub providers: Vec<Choice>,
}

/// A role at a principal.
#[derive(Debug)]
pub struct HeldRole {
    pub principal: String,
    pub role: &'static str,
    /// The name of the membership.
    pub membership: String,
}

/// A session of the person.
#[derive(Debug)]
pub struct SessionRow {
    pub id: String,
    pub began: Moment,
    pub used: Moment,
    pub ends: Moment,
    pub is_this: bool,
}

/// Until when the proof of identity suffices.
#[derive(Debug)]
pub enum Freshness {
    Until(Moment),
    StepUp,
    /// Never with this provider, and why.
    Never(&'static str),
}

impl Freshness {
    fn can_step_up(&self) -> bool {
        !matches!(self, Self::Never(_))
    }
}

#[derive(Debug, Template)]
#[template(path = "account.html")]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each decides about a sentence or a button of the page"
)]
pub struct AccountPage {
    pub frame: Frame,
    pub csrf: String,
    pub shown_name: String,
    pub provider: String,
    pub username: Option<String>,
    pub email: Option<String>,
    pub sub: String,
    /// The id of the person.
    pub person: String,
    pub operator: bool,
    pub auditor: bool,
    pub principals: Vec<HeldRole>,
    /// Whether the roles let the person change anything at all.
    pub may_change: bool,
    pub proved_at: Option<Moment>,
    /// Whether the provider says so, or the person was sent there at that time.
    pub provider_says_when: bool,
    /// For changes of what acts for one principal.
    pub freshness: Freshness,
    /// For changes of the server, where that is another answer.
    pub for_server: Option<Freshness>,
    pub idle: String,
    pub absolute: String,
    pub sessions: Vec<SessionRow>,
}

/// The way to another site, which a browser takes by itself.
#[derive(Debug, Template)]
#[template(path = "leave.html")]
pub struct LeavePage {
    pub frame: Frame,
    pub heading: &'static str,
    pub sentence: String,
    pub location: Url,
    /// The name of the other site.
    pub to: String,
}

#[derive(Debug, Template)]
#[template(path = "signed_out.html")]
pub struct SignedOutPage {
    pub frame: Frame,
}

#[derive(Debug, Template)]
#[template(path = "session_ended.html")]
pub struct SessionEndedPage {
    pub frame: Frame,
    pub link: String,
}

#[derive(Debug, Template)]
#[template(path = "no_membership.html")]
pub struct NoMembershipPage {
    pub frame: Frame,
    /// For signing out, where there is a session.
    pub csrf: Option<String>,
    pub provider: String,
    pub claims: String,
    pub reason: Reason,
    pub reason_link: String,
    /// The id in the log.
    pub id: String,
    /// Where the provider asks again who the person is.
    pub link: String,
}

#[derive(Debug, Template)]
#[template(path = "failed.html")]
pub struct FailedPage {
    pub frame: Frame,
    pub heading: &'static str,
    /// What was refused.
    pub sentence: String,
    pub meaning: &'static str,
    pub remedy: &'static str,
    pub reason: Reason,
    pub reason_link: String,
    /// The id in the log, where the details are.
    pub id: String,
    pub link: String,
    pub link_text: &'static str,
}

/// Answers with a page. The layer around the pages adds the headers that all of them have.
pub fn render(
    app: &App,
    status: StatusCode,
    page: &impl Template,
    cookies: impl IntoIterator<Item = HeaderValue>,
) -> Response {
    let html = match page.render() {
        Ok(html) => html,
        Err(error) => return super::refused::unrendered(app, &error),
    };
    let mut response = (status, html).into_response();
    let headers = response.headers_mut();
    let html = HeaderValue::from_static("text/html; charset=utf-8");
    headers.insert(CONTENT_TYPE, html);
    for cookie in cookies {
        headers.append(SET_COOKIE, cookie);
    }
    response
}

/// Sends the browser on with 303 (See Other). Answers to forms lead to our own pages alone: browsers
/// hold `form-action` against the whole chain of redirects.
pub fn see_other(location: &str, cookies: impl IntoIterator<Item = HeaderValue>) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::try_from(location) {
        headers.insert(LOCATION, location);
    }
    for cookie in cookies {
        headers.append(SET_COOKIE, cookie);
    }
    response
}

/// A span of time in words.
pub fn span(seconds: i64) -> String {
    let of = |number: i64, unit: &str| match number {
        1 => format!("1 {unit}"),
        number => format!("{number} {unit}s"),
    };
    match seconds {
        seconds if seconds % 3600 == 0 => of(seconds.div_euclid(3600), "hour"),
        seconds if seconds % 60 == 0 => of(seconds.div_euclid(60), "minute"),
        seconds => of(seconds, "second"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_spans_are_in_words() {
        let moment = Moment::from(Timestamp::from_millis(1_800_000_000_123));
        assert_eq!(moment.text, "2027-01-15 08:00 UTC");
        assert_eq!(moment.iso, "2027-01-15T08:00:00Z");
        let spans = [28_800, 3600, 900, 60, 61].map(span);
        let expected = ["8 hours", "1 hour", "15 minutes", "1 minute", "61 seconds"];
        assert_eq!(spans, expected);
    }
}
