//! The forms that our endpoints take (RFC 6749 section 3.2 and appendix B).
//!
//! Our own reader, because the order of the checks, the treatment of empty and repeated parameters and the answers are
//! prescribed, and a generic one settles them before we see them.

use std::borrow::Cow;
use std::fmt;

use axum::body::Bytes;
use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, Uri};

use crate::reason::Reason;
use crate::refusal::Refusal;

const MAX_PARAMETERS: usize = 64;

/// What an endpoint knows of parameters; others are ignored, even if they repeat (decision D-06).
#[derive(Debug)]
pub struct Parameters {
    /// Their names.
    known: &'static [&'static str],
    /// Those that may be given several times.
    repeatable: &'static [&'static str],
}

/// Of the token endpoint. RFC 8707 section 2 and RFC 8693 section 2.1 let two of them repeat.
pub const OF_TOKEN: Parameters = Parameters {
    known: &[
        "grant_type",
        "assertion",
        "subject_token",
        "subject_token_type",
        "actor_token",
        "actor_token_type",
        "requested_token_type",
        "scope",
        "client_id",
        "client_secret",
        "client_assertion",
        "client_assertion_type",
        "resource",
        "audience",
        "authorization_details",
        "principal",
    ],
    repeatable: &["resource", "audience"],
};

/// Of the endpoints that are asked about one token (RFC 7009 section 2.1, RFC 7662 section 2.1).
pub const ABOUT_A_TOKEN: Parameters = Parameters {
    known: &["token", "token_type_hint", "client_id", "client_secret", "client_assertion", "client_assertion_type"],
    repeatable: &[],
};

/// The parameters of a request, each of them at most once unless it may repeat.
#[derive(Default, PartialEq, Eq)]
pub struct TokenForm<'a>(Vec<(&'static str, Cow<'a, str>)>);

// Values may be secrets.
impl fmt::Debug for TokenForm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

impl<'a> TokenForm<'a> {
    /// Reads a request whose size and sender were found to be in order.
    pub fn read(
        uri: &Uri,
        headers: &HeaderMap,
        body: &'a Bytes,
        parameters: &'static Parameters,
    ) -> Result<Self, Refusal> {
        check_media_type(headers)?;
        check_query(uri, parameters)?;
        let text = std::str::from_utf8(body).map_err(|_| Reason::FormMalformed)?;
        Self::parse(text, parameters)
    }

    fn parse(text: &'a str, parameters: &'static Parameters) -> Result<Self, Refusal> {
        let mut form = Self::default();
        for (at, pair) in text.split('&').filter(|pair| !pair.is_empty()).enumerate() {
            if at >= MAX_PARAMETERS {
                return Err(Reason::FormMalformed.into());
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).ok_or(Reason::FormMalformed)?;
            let value = decode(value).ok_or(Reason::FormMalformed)?;
            // An empty value is no value, also where it would be a repetition (decision D-07).
            let Some(known) = parameters.known.iter().find(|known| **known == name).filter(|_| !value.is_empty())
            else {
                continue;
            };
            if !parameters.repeatable.contains(known) && form.get(known).is_some() {
                return Err(Refusal::parameter(Reason::ParameterRepeated, known));
            }
            form.0.push((known, value));
        }
        Ok(form)
    }

    /// A parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_ref())
    }

    /// A parameter that has to be there.
    pub fn require(&self, name: &'static str) -> Result<&str, Refusal> {
        self.get(name).ok_or_else(|| Refusal::parameter(Reason::ParameterMissing, name))
    }

    /// Every value of a parameter that may repeat.
    pub fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> {
        self.0.iter().filter(move |(known, _)| *known == name).map(|(_, value)| value.as_ref())
    }
}

fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(only), None) = (types.next().and_then(|value| value.to_str().ok()), types.next()) else {
        return Err(Reason::MediaType.into());
    };
    let mut parts = only.split(';').map(str::trim);
    let form = parts.next().is_some_and(|essence| essence.eq_ignore_ascii_case("application/x-www-form-urlencoded"));
    let utf8 = parts.filter(|parameter| !parameter.is_empty()).all(|parameter| match parameter.split_once('=') {
        Some((name, value)) if name.eq_ignore_ascii_case("charset") => {
            value.trim_matches('"').eq_ignore_ascii_case("utf-8")
        }
        _ => true,
    });
    if form && utf8 && !headers.contains_key(CONTENT_ENCODING) { Ok(()) } else { Err(Reason::MediaType.into()) }
}

/// Parameters in the URL would be logged on the way, so they are refused rather than read or ignored (decision D-05).
fn check_query(uri: &Uri, parameters: &Parameters) -> Result<(), Refusal> {
    let names = uri.query().unwrap_or_default().split('&').map(|pair| pair.split('=').next().unwrap_or_default());
    let is_known = |name: &str| decode(name).is_some_and(|name| parameters.known.contains(&name.as_ref()));
    if names.into_iter().any(is_known) { Err(Reason::ParameterInQuery.into()) } else { Ok(()) }
}

/// Decodes once: `+` is a space, `%` needs two hexadecimal digits, the result is UTF-8.
pub fn decode(text: &str) -> Option<Cow<'_, str>> {
    if memchr::memchr2(b'+', b'%', text.as_bytes()).is_none() {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high << 4 | low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: &str = "application/x-www-form-urlencoded";

    fn parse(text: &str) -> Result<TokenForm<'_>, Reason> {
        TokenForm::parse(text, &OF_TOKEN).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn rfc6749_b_1__the_body_is_decoded_once() {
        let form = parse("scope=a+b%2Bc&resource=%25%32%35&%67rant_type=x").unwrap();
        assert_eq!(form.get("scope"), Some("a b+c"));
        assert_eq!(form.get("resource"), Some("%25"));
        assert_eq!(form.get("grant_type"), Some("x"));
        for broken in ["scope=%zz", "scope=%", "scope=%a", "scope=%ff", "%zz=1", "scope=%e9"] {
            assert_eq!(parse(broken), Err(Reason::FormMalformed), "{broken}");
        }
    }

    #[test]
    fn rfc6749_3_2_4__empty_values_are_no_values() {
        let form = parse("scope=&scope=a&client_id=&grant_type&&assertion=x").unwrap();
        assert_eq!(form.get("scope"), Some("a"));
        assert_eq!(form.get("client_id"), None);
        assert_eq!(form.require("grant_type").unwrap_err().parameter, Some("grant_type"));
        assert_eq!(form.get("assertion"), Some("x"));
    }

    #[test]
    fn rfc6749_3_2_5__known_parameters_do_not_repeat_and_unknown_ones_are_ignored() {
        assert_eq!(parse("scope=a&scope=b"), Err(Reason::ParameterRepeated));
        assert_eq!(parse("scope=a&%73cope=b"), Err(Reason::ParameterRepeated));
        let form = parse("foo=1&foo=2&GRANT_TYPE=x&scope[]=admin&resource=a&resource=b").unwrap();
        assert_eq!(form.all("resource").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((form.get("foo"), form.get("grant_type"), form.get("scope")), (None, None, None));
    }

    #[test]
    fn prof_tok_2__there_are_at_most_64_parameters() {
        let many = |n: usize| vec!["x=1"; n].join("&");
        assert!(parse(&many(64)).is_ok());
        assert_eq!(parse(&many(65)), Err(Reason::FormMalformed));
    }

    #[test]
    fn rfc6749_b_2__only_forms_in_utf8_are_read() {
        let check = |headers: &[(&str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(axum::http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
            }
            check_media_type(&map).is_ok()
        };
        for good in [
            FORM,
            "Application/X-WWW-Form-Urlencoded",
            "application/x-www-form-urlencoded; charset=UTF-8",
            "application/x-www-form-urlencoded;charset=\"utf-8\";",
        ] {
            assert!(check(&[("content-type", good)]), "{good}");
        }
        for bad in [
            "application/json",
            "multipart/form-data; boundary=x",
            "text/plain",
            "",
            "application/x-www-form-urlencoded; charset=utf-16",
            "application/x-www-form-urlencodedx",
        ] {
            assert!(!check(&[("content-type", bad)]), "{bad}");
        }
        assert!(!check(&[]));
        assert!(!check(&[("content-type", FORM), ("content-type", FORM)]));
        assert!(!check(&[("content-type", FORM), ("content-encoding", "gzip")]));
    }

    #[test]
    fn rfc6749_2_3_1_3__parameters_in_the_url_are_refused() {
        let check = |uri: &str| check_query(&uri.parse().unwrap(), &OF_TOKEN).is_ok();
        for bad in ["/token?client_secret=x", "/token?x=1&assertion=y", "/token?%67rant_type=a", "/token?scope"] {
            assert!(!check(bad), "{bad}");
        }
        assert!(check("/token") && check("/token?tenant=1"));
    }
}
