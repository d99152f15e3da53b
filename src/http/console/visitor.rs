//! What the pages read of a request: cookies, address, where it comes from, and forms.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::header::{COOKIE, HeaderName, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use cookie::Cookie;

use super::super::address::ClientAddress;
use super::super::reasons::wants_html;
use crate::app::App;
use crate::limits::AddressAdmission;
use crate::people::ReturnTo;
use crate::people::csrf::Sender;

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const FETCH_MODE: HeaderName = HeaderName::from_static("sec-fetch-mode");
const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");
const PURPOSE: HeaderName = HeaderName::from_static("sec-purpose");

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
    /// The page that was asked for, if it is one of the console that a browser can go to.
    pub here: ReturnTo,
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
            here: here(parts, app),
            cookies: cookies(&parts.headers),
            address,
            query: parts.uri.query().unwrap_or_default().to_owned(),
            headers: parts.headers.clone(),
            turn: parts.extensions.remove(),
        })
    }
}

/// The page that a request asks for. Forms are sent to paths that need not have one.
fn here(parts: &Parts, app: &App) -> ReturnTo {
    if parts.method != Method::GET {
        return ReturnTo::default();
    }
    let uri = parts.extensions.get();
    let uri = uri.map_or(&parts.uri, |OriginalUri(whole)| whole);
    let below = uri.path().strip_prefix(app.config.own.path());
    let path = below.unwrap_or_else(|| uri.path());
    match uri.query() {
        Some(query) => ReturnTo::read(&format!("{path}?{query}")),
        None => ReturnTo::read(path),
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
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// What the browser says of the page that the request comes from.
    pub fn sender(&self) -> Sender<'_> {
        Sender {
            origin: text(&self.headers, &ORIGIN),
            fetch_site: text(&self.headers, &FETCH_SITE),
        }
    }

    /// The first parameter of this name in the query, without white space around it.
    pub fn parameter(&self, wanted: &str) -> Option<String> {
        let mut pairs = url::form_urlencoded::parse(self.query.as_bytes());
        let found = pairs.find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.trim().to_owned())
    }

    /// Where a sign-in leads back to, as the query says.
    pub fn return_to(&self) -> ReturnTo {
        let named = self.parameter("return_to");
        named.map_or_else(ReturnTo::default, |path| ReturnTo::read(&path))
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
        self.parameter("prompt").as_deref() == Some("login")
    }
}
