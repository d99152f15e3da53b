//! Where the tools of each protocol put their secret.
//!
//! | protocol | a token alone |
//! |---|---|
//! | all | `Authorization: Bearer` |
//! | [`Protocol::Pypi`] | the password of the user `__token__` in `Authorization: Basic` |
//! | [`Protocol::CratesIo`], [`Protocol::Rubygems`] | the whole value of `Authorization` |
//! | [`Protocol::Nuget`] | `X-NuGet-ApiKey` |
//!
//! Any other `Authorization: Basic` (RFC 7617) is a user name with a password, as registries give them to their own users.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderName, header::AUTHORIZATION};
use secrecy::SecretString;

use crate::Protocol;

/// The user name that PyPI's tools send with a token as password.
pub const TOKEN_USER: &str = "__token__";
/// The header in which NuGet's clients send a token.
pub const NUGET_API_KEY: HeaderName = HeaderName::from_static("x-nuget-apikey");

/// What a request has as its secret. `Debug` shows no secret.
#[derive(Clone, Debug)]
pub enum Presented {
    /// Nothing, or only empty headers.
    Nothing,
    /// A token without a user name.
    Token(SecretString),
    /// A user name and a password, not both empty.
    User {
        /// The user name.
        name: String,
        /// The password. Nothing prevents a client from sending a token here.
        password: SecretString,
    },
}

/// Why it is not certain what a request has as its secret. The text is a fixed sentence that may be shown to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.as_str())]
pub struct Unusable(Reason);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Twice,
    Unreadable,
    TwoPlaces,
}

impl Reason {
    fn as_str(self) -> &'static str {
        match self {
            Self::Twice => "a header with credentials came twice",
            Self::Unreadable => "the header with the token cannot be read",
            Self::TwoPlaces => "more than one credential",
        }
    }
}

impl Unusable {
    const TWICE: Self = Self(Reason::Twice);
    const UNREADABLE: Self = Self(Reason::Unreadable);
    const TWO_PLACES: Self = Self(Reason::TwoPlaces);

    /// The sentence.
    pub fn as_str(self) -> &'static str {
        self.0.as_str()
    }
}

/// Finds the one secret of a request.
///
/// # Errors
/// [`Unusable`] if a header with credentials occurs twice, if it is neither of a form above nor empty, or if NuGet's header and
/// `Authorization` are both there and do not hold the same token: two parts of a registry could each look at a different one.
pub fn presented(protocol: Protocol, headers: &HeaderMap) -> Result<Presented, Unusable> {
    let authorization = only(headers, &AUTHORIZATION)?
        .map(|value| authorization(protocol, value))
        .transpose()?
        .unwrap_or(Presented::Nothing);
    if protocol != Protocol::Nuget {
        return Ok(authorization);
    }
    let Some(key) = only(headers, &NUGET_API_KEY)? else {
        return Ok(authorization);
    };
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Unusable::UNREADABLE);
    }
    match authorization {
        Presented::Nothing => Ok(Presented::Token(key.into())),
        Presented::Token(token) if secrecy::ExposeSecret::expose_secret(&token) == key => {
            Ok(Presented::Token(token))
        }
        Presented::Token(_) | Presented::User { .. } => Err(Unusable::TWO_PLACES),
    }
}

/// The value of a header that may occur once; `None` if it is absent or empty.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Result<Option<&'h str>, Unusable> {
    let mut values = headers.get_all(name).iter();
    let value = values.next();
    if values.next().is_some() {
        return Err(Unusable::TWICE);
    }
    let value = value
        .map(|value| value.to_str().map_err(|_| Unusable::UNREADABLE))
        .transpose()?;
    Ok(value.map(str::trim).filter(|value| !value.is_empty()))
}

/// Reads the value of `Authorization`, which is not empty and has no blank at its ends.
fn authorization(protocol: Protocol, value: &str) -> Result<Presented, Unusable> {
    let (scheme, rest) = value.split_once(' ').unwrap_or((value, ""));
    if scheme.eq_ignore_ascii_case("bearer") {
        return bearer(rest.trim_matches(' '));
    }
    if scheme.eq_ignore_ascii_case("basic") {
        return basic(protocol, rest.trim_matches(' '));
    }
    let is_bare = value.bytes().all(|byte| byte.is_ascii_graphic());
    match protocol {
        Protocol::CratesIo | Protocol::Rubygems if is_bare => Ok(Presented::Token(value.into())),
        _ => Err(Unusable::UNREADABLE),
    }
}

/// A token of RFC 6750, section 2.1.
fn bearer(token: &str) -> Result<Presented, Unusable> {
    let is_allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if token.is_empty() || !token.bytes().all(is_allowed) {
        return Err(Unusable::UNREADABLE);
    }
    Ok(Presented::Token(token.into()))
}

/// A user name and a password of RFC 7617.
fn basic(protocol: Protocol, encoded: &str) -> Result<Presented, Unusable> {
    let decoded = STANDARD.decode(encoded).map_err(|_| Unusable::UNREADABLE)?;
    let decoded = SecretString::from(String::from_utf8(decoded).map_err(|_| Unusable::UNREADABLE)?);
    let text = secrecy::ExposeSecret::expose_secret(&decoded);
    if text.contains(|c: char| c.is_control()) {
        return Err(Unusable::UNREADABLE);
    }
    match (protocol, text.split_once(':')) {
        (_, None) | (Protocol::Pypi, Some((TOKEN_USER, ""))) => Err(Unusable::UNREADABLE),
        (_, Some(("", ""))) => Ok(Presented::Nothing),
        (Protocol::Pypi, Some((TOKEN_USER, token))) => Ok(Presented::Token(token.into())),
        (_, Some((name, password))) => Ok(Presented::User {
            name: name.to_owned(),
            password: password.into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use secrecy::ExposeSecret as _;

    use super::*;

    /// What is found, in words.
    fn found(protocol: Protocol, headers: &[(&'static str, &[u8])]) -> String {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        match presented(protocol, &map) {
            Ok(Presented::Nothing) => "nothing".to_owned(),
            Ok(Presented::Token(token)) => format!("token {}", token.expose_secret()),
            Ok(Presented::User { name, password }) => {
                format!("user {name} {}", password.expose_secret())
            }
            Err(unusable) => unusable.to_string(),
        }
    }

    fn encoded(text: &str) -> Vec<u8> {
        format!("Basic {}", STANDARD.encode(text)).into_bytes()
    }

    #[test]
    fn each_protocol_has_its_own_place_and_all_know_bearer() {
        let token = encoded("__token__:s:3");
        let user = encoded("octo:s:3");
        for protocol in Protocol::ALL {
            let sent = |value: &[u8]| found(protocol, &[("authorization", value)]);
            assert_eq!(found(protocol, &[]), "nothing");
            assert_eq!(sent(b""), "nothing");
            assert_eq!(sent(b"Bearer s3"), "token s3");
            assert_eq!(sent(b"bEARER  s3 "), "token s3");
            assert_eq!(sent(&user), "user octo s:3");
            assert_eq!(sent(&encoded(":")), "nothing");
            assert_eq!(sent(&encoded(":s3")), "user  s3");
            let own = match protocol {
                Protocol::Pypi => "token s:3",
                _ => "user __token__ s:3",
            };
            assert_eq!(sent(&token), own);
            let bare = match protocol {
                Protocol::CratesIo | Protocol::Rubygems => "token s3,:",
                _ => "the header with the token cannot be read",
            };
            assert_eq!(sent(b"s3,:"), bare);
            let key = match protocol {
                Protocol::Nuget => "token octo:s3",
                _ => "nothing",
            };
            assert_eq!(found(protocol, &[("x-nuget-apikey", b"octo:s3")]), key);
        }
    }

    #[test]
    fn what_could_be_understood_in_two_ways_is_unusable() {
        let user = encoded("octo:s3");
        for protocol in Protocol::ALL {
            for odd in [
                &b"Bearer"[..],
                b"Bearer a,b",
                b"Bearer a b",
                b"Basic",
                b"Basic !",
                b"Basic b2N0bw==",
                b"Basic /w==",
                b"Basic b2N0bzoK",
                b"Digest a=b",
                b"Token s3",
                b"s3\ta",
                b"Bearer \xe9",
            ] {
                assert_eq!(
                    found(protocol, &[("authorization", odd)]),
                    "the header with the token cannot be read",
                    "{protocol:?} {odd:?}"
                );
            }
            let twice = [
                ("authorization", &b"Bearer s3"[..]),
                ("authorization", b"Bearer s3"),
            ];
            assert_eq!(
                found(protocol, &twice),
                "a header with credentials came twice"
            );
        }
        let nuget = |authorization: &[u8], key: &[u8]| {
            let sent = [("authorization", authorization), ("x-nuget-apikey", key)];
            found(Protocol::Nuget, &sent)
        };
        assert_eq!(nuget(b"Bearer s3", b"s3"), "token s3");
        assert_eq!(nuget(b"Bearer s3", b""), "token s3");
        assert_eq!(nuget(b"Bearer s3", b"s4"), "more than one credential");
        assert_eq!(nuget(&user, b"s3"), "more than one credential");
        assert_eq!(
            nuget(b"", b"s 3"),
            "the header with the token cannot be read"
        );
        let keys = [("x-nuget-apikey", &b"s3"[..]), ("x-nuget-apikey", b"")];
        assert_eq!(
            found(Protocol::Nuget, &keys),
            "a header with credentials came twice"
        );
    }

    #[test]
    fn secrets_are_not_in_debug() {
        for value in [&b"Bearer s3cret"[..], &encoded("octo:s3cret")] {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
            let shown = format!("{:?}", presented(Protocol::Npm, &headers).unwrap());
            assert!(!shown.contains("s3cret"), "{shown}");
        }
    }
}
