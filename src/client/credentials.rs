//! What a request carries to say who sends it: at most one method of client authentication (RFC 6749 section 2.3).

use std::borrow::Cow;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::form::{TokenForm, decode};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// What a client assertion says that it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssertionType {
    /// Any JWT (RFC 7523 section 2.2).
    Jwt,
    /// A JWT-SVID, and nothing else (draft-ietf-oauth-spiffe-client-auth section 3.1).
    JwtSvid,
}

impl AssertionType {
    /// The type of this name, which is compared exactly.
    fn named(name: &str) -> Option<Self> {
        match name {
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" => Some(Self::Jwt),
            "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe" => Some(Self::JwtSvid),
            _ => None,
        }
    }
}

/// What a request carries to say who sends it.
#[derive(Clone, PartialEq, Eq)]
pub enum ClientCredentials<'a> {
    /// Nothing.
    None,
    /// A `client_id` alone.
    Named(&'a str),
    /// A secret in the `Authorization` header.
    Basic(String, String),
    /// A secret in the body.
    Post(&'a str, &'a str),
    /// An assertion; the `client_id` beside it is optional.
    Assertion(AssertionType, Option<&'a str>, &'a str),
}

impl<'a> ClientCredentials<'a> {
    /// Reads them. Two methods are one too many: with an assertion among them it is the client that is refused (decision D-12).
    pub fn read(form: &'a TokenForm<'_>, headers: &HeaderMap) -> Result<Self, Refusal> {
        for (given, other) in
            [("client_assertion", "client_assertion_type"), ("client_assertion_type", "client_assertion")]
        {
            if form.get(given).is_some() {
                form.require(other)?;
            }
        }
        let client_id = form.get("client_id");
        let failed = || Refusal::new(Reason::ClientAuthenticationFailed);
        let header = headers.contains_key(AUTHORIZATION);
        match (header, form.get("client_secret"), form.get("client_assertion")) {
            (false, None, None) => Ok(client_id.map_or(Self::None, Self::Named)),
            (true, Some(_), None) => Err(Refusal::parameter(Reason::ParameterMalformed, "client_secret")),
            (true, None, None) => {
                let (user, secret) = basic(headers).ok_or_else(failed)?;
                if client_id.is_some_and(|client_id| client_id != user) {
                    return Err(failed());
                }
                Ok(Self::Basic(user, secret))
            }
            (false, Some(secret), None) => Ok(Self::Post(client_id.ok_or_else(failed)?, secret)),
            (false, None, Some(assertion)) => {
                let kind = form.get("client_assertion_type").and_then(AssertionType::named);
                Ok(Self::Assertion(kind.ok_or_else(failed)?, client_id, assertion))
            }
            (_, _, Some(_)) => Err(failed()),
        }
    }
}

/// User and password of the one `Authorization: Basic` header, each form-encoded (RFC 6749 section 2.3.1).
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return None;
    };
    let (scheme, encoded) = value.to_str().ok()?.trim().split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    let decoded = |text| decode(text).map(Cow::into_owned);
    Some((decoded(user)?, decoded(password)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(value: &str) -> Option<(String, String)> {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, value.parse().unwrap());
        basic(&headers)
    }

    #[test]
    fn rfc6749_2_3_1_1__user_and_password_are_form_encoded_before_base64() {
        let encoded = STANDARD.encode("b%6ft:%3A+%2B%25%C3%A9");
        for scheme in ["Basic", "basic", "BASIC"] {
            assert_eq!(header(&format!("{scheme} {encoded}")), Some(("bot".into(), ": +%é".into())));
        }
        assert_eq!(header(&format!("Basic  {} ", STANDARD.encode("a:"))), Some(("a".into(), String::new())));
    }

    #[test]
    fn atk_096__headers_that_are_no_credentials_are_none() {
        for value in [
            "Basic",
            "Basic ",
            "Basic ***",
            "Bearer abc",
            &format!("Basic {}", STANDARD.encode("nocolon")),
            &format!("Basic {}", STANDARD.encode("a:%zz")),
            &format!("Basic {}", STANDARD.encode([b'a', b':', 0xff])),
            &format!("Basic {}", "A".repeat(64 * 1024 + 1)),
        ] {
            assert_eq!(header(value), None);
        }
        let mut twice = HeaderMap::new();
        for _ in 0..2 {
            twice.append(AUTHORIZATION, format!("Basic {}", STANDARD.encode("a:b")).parse().unwrap());
        }
        assert_eq!(basic(&twice), None);
    }
}
