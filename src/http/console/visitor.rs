//! What the pages read of a request: cookies, address, where it comes from, and forms.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::FromRequestParts;
use axum::extract::rejection::BytesRejection;
use axum::http::header::{COOKIE, HeaderName, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use cookie::Cookie;

use super::super::address::ClientAddress;
use super::super::media::check_media_type;
use super::super::reasons::wants_html;
use super::refused::{Failure, failed};
use crate::app::App;
use crate::config::OwnUrls;
use crate::form::{Parameters, TokenForm};
use crate::limits::AddressAdmission;
use crate::people::csrf::Sender;
use crate::people::{ReturnTo, session};
use crate::reason::Reason;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");
/// The fields of our forms.
const FIELDS: Parameters = Parameters {
    known: &[&["csrf", "return_to"]],
    repeatable: &[],
};

/// The only turn of an address that is over its limit.
#[derive(Clone, Debug)]
pub struct Turn(#[expect(dead_code, reason = "it is held, and not read")] Arc<AddressAdmission>);

impl Turn {
    pub fn of(admission: AddressAdmission) -> Self {
        Self(Arc::new(admission))
    }
}

/// Who sends a request.
#[derive(Debug)]
pub struct Visitor {
    pub cookies: Vec<(String, String)>,
    pub address: Option<IpAddr>,
    /// The query as it was sent, without the question mark.
    pub query: String,
    headers: HeaderMap,
    turn: Option<Turn>,
}

impl FromRequestParts<Arc<App>> for Visitor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let ClientAddress(address) = ClientAddress::from_request_parts(parts, app).await?;
        Ok(Self {
            cookies: cookies(&parts.headers),
            address,
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers.clone(),
            turn: parts.extensions.remove(),
        })
    }
}

/// The cookies of a request; HTTP/2 may send several header fields (RFC 9113 section 8.2.3). One that
/// is no ASCII text, which another program at the host may have set, does not hide the others.
fn cookies(headers: &HeaderMap) -> Vec<(String, String)> {
    let fields = headers.get_all(COOKIE).iter();
    let cookies = fields.flat_map(|field| field.as_bytes().split(|byte| *byte == b';'));
    cookies
        .filter(|cookie| cookie.is_ascii())
        .filter_map(|cookie| std::str::from_utf8(cookie).ok())
        .filter_map(|cookie| Cookie::parse(cookie).ok())
        .map(|cookie| (cookie.name().to_owned(), cookie.value().to_owned()))
        .collect()
}

/// The value of a header field, as empty text if it cannot be read or occurs twice.
fn text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().unwrap_or_default();
    Some(if values.next().is_none() { value } else { "" })
}

impl Visitor {
    /// Where a sign-in leads back to, as the query says.
    pub fn return_to(&self) -> ReturnTo {
        let mut pairs = url::form_urlencoded::parse(self.query.as_bytes());
        let named = pairs.find(|(name, _)| name == "return_to");
        named.map_or_else(ReturnTo::default, |(_, path)| ReturnTo::read(&path))
    }

    /// Whether the request may be that of a person who opens a page, by what the browser says (Fetch
    /// Metadata Request Headers). Images, frames and scripts of other sites are none, nor are pages
    /// that they have fetched in advance.
    pub fn may_open_a_page(&self) -> bool {
        let is = |name: &HeaderName, wanted: &str| {
            text(&self.headers, name).is_none_or(|said| said == wanted)
        };
        let in_advance = self.headers.contains_key(&PURPOSE);
        !in_advance && is(&FETCH_MODE, "navigate") && is(&FETCH_DEST, "document")
    }

    /// Whether the sender of a form may be a page of ours, by what the browser says.
    pub fn may_be_at_our_page(&self, own: &OwnUrls) -> bool {
        let sender = Sender {
            origin: text(&self.headers, &ORIGIN),
            fetch_site: text(&self.headers, &FETCH_SITE),
        };
        sender.may_be_ours(own)
    }

    /// Whether the visitor is a browser that shows pages, by `Accept`.
    pub fn wants_a_page(&self) -> bool {
        wants_html(&self.headers)
    }

    /// Lets the next request of an address that is over its limit begin, before this one waits for
    /// a provider.
    pub fn give_up_turn(&mut self) {
        self.turn = None;
    }

    /// Whether the provider has to ask again who the person is, as the query says.
    pub fn asks_again(&self) -> bool {
        let mut pairs = url::form_urlencoded::parse(self.query.as_bytes());
        pairs.any(|(name, value)| name == "prompt" && value == "login")
    }

    /// Checks by the token, which belongs to the session, that a form is of one of our pages. The
    /// layer around the pages has refused what other sites sent. Returns where the form leads back to.
    pub fn posted(
        &self,
        app: &App,
        body: Result<Bytes, BytesRejection>,
    ) -> Result<ReturnTo, Box<Response>> {
        let refuse = |reason| Err(Box::new(failed(app, self, &Failure::of(reason))));
        let body = match body {
            Ok(body) => body,
            Err(error) if error.status() == StatusCode::PAYLOAD_TOO_LARGE => {
                return refuse(Reason::BodyTooLarge);
            }
            Err(_) => return refuse(Reason::CsrfInvalid),
        };
        let form = check_media_type(&self.headers).and_then(|()| TokenForm::parse(&body, &FIELDS));
        let Ok(form) = form else {
            return refuse(Reason::CsrfInvalid);
        };
        let expected = session::csrf(app, &self.cookies);
        let is_ours = expected.is_some_and(|csrf| csrf.is(form.get("csrf")));
        if !is_ours {
            return refuse(Reason::CsrfInvalid);
        }
        let return_to = form.get("return_to").map(ReturnTo::read);
        Ok(return_to.unwrap_or_default())
    }
}
