//! Forms of the pages: where they come from, and what they hold.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use url::form_urlencoded;

use super::super::media::check_media_type;
use super::inside::Instead;
use super::refused::{Failure, failed};
use super::visitor::Visitor;
use crate::app::App;
use crate::people::session::{self, Session};
use crate::reason::Reason;

/// Most fields of a form.
const MAX_FIELDS: usize = 2_000;

/// The fields of a form in the order in which they were sent.
#[derive(Clone, Debug, Default)]
pub struct Fields(Vec<(String, String)>);

impl Fields {
    /// The first field of this name, without white space around it. A field that was not sent is
    /// empty.
    pub fn text(&self, name: &str) -> &str {
        let mut named = self.0.iter().filter(|(sent, _)| sent == name);
        named
            .next()
            .map(|(_, value)| value.trim())
            .unwrap_or_default()
    }

    /// The only field of this name; `None` if there are several.
    pub fn only(&self, name: &str) -> Option<&str> {
        let mut named = self.0.iter().filter(|(sent, _)| sent == name);
        let (_, value) = named.next()?;
        named.next().is_none().then_some(value)
    }

    /// All fields of this name.
    pub fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> {
        let named = self.0.iter().filter(move |(sent, _)| sent == name);
        named.map(|(_, value)| value.trim())
    }

    /// Whether a button or a check box of this name was sent.
    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(sent, _)| sent == name)
    }

    /// The lines of a field that are not empty.
    pub fn lines(&self, name: &str) -> Vec<String> {
        let lines = self.text(name).lines().map(str::trim);
        lines
            .filter(|line| !line.is_empty())
            .map(str::to_owned)
            .collect()
    }

    /// The fields whose names begin with `prefix`, without it.
    pub fn below(&self, prefix: &str) -> Vec<(String, String)> {
        let below = self.0.iter().filter_map(|(name, value)| {
            let rest = name.strip_prefix(prefix)?;
            Some((rest.to_owned(), value.trim().to_owned()))
        });
        below.collect()
    }
}

impl FromIterator<(String, String)> for Fields {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(fields: I) -> Self {
        Self(fields.into_iter().collect())
    }
}

/// A form that one of our own pages sent.
#[derive(Debug)]
pub enum Posted {
    /// A page of this session: what it asks for may be done.
    Now(Fields),
    /// A page of ours, but of another session, such as the one before the person proved anew who
    /// they are. Nothing may be done; what was typed may be shown again.
    Before(Fields),
}

/// Reads a form of a session. The layer around the pages has refused what other sites sent; the token
/// in the form belongs to the session.
pub fn posted(
    app: &App,
    visitor: &Visitor,
    session: &Session,
    body: Result<Bytes, BytesRejection>,
) -> Result<Posted, Instead> {
    let fields = fields(app, visitor, body)?;
    if session.csrf.is(fields.only("csrf")) {
        Ok(Posted::Now(fields))
    } else if visitor.sender().is_ours(&app.config.own) {
        Ok(Posted::Before(fields))
    } else {
        Err(refused(app, visitor, Reason::CsrfInvalid))
    }
}

/// Reads a form of a browser whose session may be over.
pub fn posted_at_any_time(
    app: &App,
    visitor: &Visitor,
    body: Result<Bytes, BytesRejection>,
) -> Result<Fields, Instead> {
    let fields = fields(app, visitor, body)?;
    let expected = session::csrf(app, &visitor.cookies);
    if expected.is_some_and(|csrf| csrf.is(fields.only("csrf"))) {
        Ok(fields)
    } else {
        Err(refused(app, visitor, Reason::CsrfInvalid))
    }
}

fn fields(
    app: &App,
    visitor: &Visitor,
    body: Result<Bytes, BytesRejection>,
) -> Result<Fields, Instead> {
    let body = body.map_err(|error| {
        let is_too_large = error.status() == StatusCode::PAYLOAD_TOO_LARGE;
        let reason = if is_too_large {
            Reason::BodyTooLarge
        } else {
            Reason::CsrfInvalid
        };
        refused(app, visitor, reason)
    })?;
    if check_media_type(visitor.headers()).is_err() {
        return Err(refused(app, visitor, Reason::CsrfInvalid));
    }
    let fields = form_urlencoded::parse(&body).take(MAX_FIELDS);
    let fields = fields.map(|(name, value)| (name.into_owned(), value.into_owned()));
    Ok(fields.collect())
}

fn refused(app: &App, visitor: &Visitor, reason: Reason) -> Instead {
    failed(app, visitor, &Failure::of(reason)).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_trimmed_and_found_by_name() {
        let sent = [
            ("name", " release "),
            ("action", "publish"),
            ("action", "yank"),
            ("match.ref", "refs/heads/main"),
            ("packages", "a\r\n\r\n  b \n"),
        ];
        let fields: Fields = sent
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into_iter()
            .collect();
        assert_eq!((fields.text("name"), fields.text("other")), ("release", ""));
        let actions: Vec<&str> = fields.all("action").collect();
        assert_eq!(actions, ["publish", "yank"]);
        assert!(fields.has("action") && !fields.has("delete"));
        assert_eq!(fields.lines("packages"), ["a", "b"]);
        let below = fields.below("match.");
        assert_eq!(below, [("ref".to_owned(), "refs/heads/main".to_owned())]);
    }
}
