//! Reads the client authentication of a request: at most one method (RFC 6749 section 2.3).

use std::borrow::Cow;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::form::{TokenForm, decode};
use crate::reason::Reason;
use crate::refusal::Refusal;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorizationHeader<'a> {
    Absent,
    Value(&'a str),
    /// There are several headers, or one whose value is not ASCII text.
    Unreadable,
}

/// The values of `client_assertion_type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssertionType {
    /// Any JWT (RFC 7523 section 2.2).
    Jwt,
    /// A JWT-SVID, and nothing else (draft-ietf-oauth-spiffe-client-auth section 3.1).
    JwtSvid,
}

impl AssertionType {
    /// Compared exactly; `None` for an unknown type.
    fn named(name: &str) -> Option<Self> {
        match name {
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" => Some(Self::Jwt),
            "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe" => Some(Self::JwtSvid),
            _ => None,
        }
    }
}

/// The client authentication of a request, not verified yet.
#[derive(Clone, PartialEq, Eq)]
pub enum ClientCredentials<'a> {
    None,
    /// A `client_id` without authentication.
    Named(&'a str),
    /// `client_secret_basic`: `client_id` and client secret of the `Authorization` header.
    Basic(String, String),
    /// `client_secret_post`: `client_id` and client secret of the body.
    Post(&'a str, &'a str),
    /// An assertion with its type; the `client_id` between them is optional.
    Assertion(AssertionType, Option<&'a str>, &'a str),
}

// Prints the method only: client secrets and assertions must not be logged.
impl fmt::Debug for ClientCredentials<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Named(_) => "Named",
            Self::Basic(..) => "Basic",
            Self::Post(..) => "Post",
            Self::Assertion(..) => "Assertion",
        })
    }
}

impl<'a> ClientCredentials<'a> {
    /// The `client_id` that was sent.
    pub fn client_id(&self) -> Option<&str> {
        match self {
            Self::None => None,
            Self::Named(client_id) | Self::Post(client_id, _) => Some(client_id),
            Self::Basic(client_id, _) => Some(client_id),
            Self::Assertion(_, client_id, _) => *client_id,
        }
    }

    /// Two methods are `client_methods_mixed`, or `client_authentication_failed` if one of them is
    /// an assertion (decision D-12).
    pub fn read(
        form: &'a TokenForm<'_>,
        authorization: AuthorizationHeader<'_>,
    ) -> Result<Self, Refusal> {
        for (given, other) in [
            ("client_assertion", "client_assertion_type"),
            ("client_assertion_type", "client_assertion"),
        ] {
            if form.get(given).is_some() {
                form.require(other)?;
            }
        }
        let client_id = form.get("client_id");
        let failed =
            |found: &str| Refusal::new(Reason::ClientAuthenticationFailed).with_detail(found);
        let header = authorization != AuthorizationHeader::Absent;
        match (
            header,
            form.get("client_secret"),
            form.get("client_assertion"),
        ) {
            (false, None, None) => Ok(client_id.map_or(Self::None, Self::Named)),
            (true, Some(_), None) => Err(Refusal::parameter(
                Reason::ClientMethodsMixed,
                "client_secret",
            )),
            (true, None, None) => {
                let no_basic = || failed("an Authorization header came along that is no client's");
                let (user, secret) = basic(authorization).ok_or_else(no_basic)?;
                if client_id.is_some_and(|client_id| client_id != user) {
                    return Err(failed(
                        "client_id differs from the name in the Authorization header",
                    ));
                }
                Ok(Self::Basic(user, secret))
            }
            (false, Some(secret), None) => Ok(Self::Post(
                client_id.ok_or_else(|| failed("a secret without client_id"))?,
                secret,
            )),
            (false, None, Some(assertion)) => {
                let kind = form
                    .get("client_assertion_type")
                    .and_then(AssertionType::named);
                Ok(Self::Assertion(
                    kind.ok_or_else(|| failed("client_assertion_type is not known"))?,
                    client_id,
                    assertion,
                ))
            }
            (_, _, Some(_)) => Err(failed("an assertion and another method")),
        }
    }
}

/// `client_id` and client secret of an `Authorization: Basic` header, each form-encoded
/// (RFC 6749 section 2.3.1).
fn basic(authorization: AuthorizationHeader<'_>) -> Option<(String, String)> {
    let AuthorizationHeader::Value(value) = authorization else {
        return None;
    };
    let (scheme, encoded) = value.trim().split_once(' ')?;
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
        basic(AuthorizationHeader::Value(value))
    }

    #[test]
    fn rfc6749_2_3_1_1__user_and_password_are_form_encoded_before_base64() {
        let encoded = STANDARD.encode("b%6ft:%3A+%2B%25%C3%A9");
        for scheme in ["Basic", "basic", "BASIC"] {
            assert_eq!(
                header(&format!("{scheme} {encoded}")),
                Some(("bot".into(), ": +%é".into()))
            );
        }
        assert_eq!(
            header(&format!("Basic  {} ", STANDARD.encode("a:"))),
            Some(("a".into(), String::new()))
        );
    }

    #[test]
    fn atk_096__malformed_basic_headers_are_read_as_no_credentials() {
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
        assert_eq!(basic(AuthorizationHeader::Unreadable), None);
    }
}
