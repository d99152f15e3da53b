//! Setting and clearing cookies: for this host alone, on its whole path, not readable by scripts, and
//! not sent with requests that other sites make, except when a person follows a link.

use axum::http::HeaderValue;
use cookie::time::Duration;
use cookie::{Cookie, SameSite};

use crate::config::OwnUrls;
use crate::people::AttemptCookie;
use crate::people::session::{CookieSecret, cookie_name};

/// Sets the cookie of a session. It lasts as long as the browser runs; the server ends it before.
pub fn of_session(secret: &CookieSecret, own: &OwnUrls) -> Option<HeaderValue> {
    header(&cookie(&cookie_name(own), &secret.text(), own))
}

/// Sets the cookie of an attempt to sign in.
pub fn of_attempt(attempt: &AttemptCookie, own: &OwnUrls) -> Option<HeaderValue> {
    let mut cookie = cookie(&attempt.name, &attempt.value, own);
    cookie.set_max_age(Duration::seconds(attempt.max_age.into()));
    header(&cookie)
}

/// Clears the cookie of the session.
pub fn without_session(own: &OwnUrls) -> Option<HeaderValue> {
    cleared(&cookie_name(own), own)
}

/// Clears the cookie with this name.
pub fn cleared(name: &str, own: &OwnUrls) -> Option<HeaderValue> {
    let mut cookie = cookie(name, "", own);
    cookie.set_max_age(Duration::ZERO);
    header(&cookie)
}

fn cookie<'c>(name: &'c str, value: &'c str, own: &OwnUrls) -> Cookie<'c> {
    let mut cookie = Cookie::new(name, value);
    cookie.set_path("/");
    cookie.set_secure(own.is_https());
    cookie.set_http_only(true);
    cookie.set_same_site(SameSite::Lax);
    cookie
}

fn header(cookie: &Cookie<'_>) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(cookie.to_string()).ok()?;
    value.set_sensitive(true);
    Some(value)
}
