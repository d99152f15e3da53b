//! Checks how a form was sent: in the body, and as `application/x-www-form-urlencoded` in UTF-8
//! (RFC 6749 section 3.2 and appendix B).

use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use axum::http::{HeaderMap, Uri};

use crate::form::{Parameters, decode};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// Values of `charset` in which ASCII is ASCII.
const OF_BYTES: [&str; 8] = [
    "utf-8",
    "utf8",
    "us-ascii",
    "ascii",
    "iso-8859-1",
    "iso-8859-15",
    "latin1",
    "windows-1252",
];

/// Checks that a request has a body of the type `application/x-www-form-urlencoded`, not compressed.
pub fn check_media_type(headers: &HeaderMap) -> Result<(), Refusal> {
    let mut types = headers.get_all(CONTENT_TYPE).iter();
    let (Some(only), None) = (
        types.next().and_then(|value| value.to_str().ok()),
        types.next(),
    ) else {
        return Err(Reason::MediaType.into());
    };
    let mut parts = only.split(';').map(str::trim);
    let form = parts
        .next()
        .is_some_and(|essence| essence.eq_ignore_ascii_case("application/x-www-form-urlencoded"));
    // The media type has no parameter `charset`, and clients send their library's default with a body
    // of ASCII. The body has to be UTF-8 in any case; a charset of other than single bytes is no
    // mistake of that kind.
    let of_bytes = parts
        .filter(|parameter| !parameter.is_empty())
        .all(|parameter| match parameter.split_once('=') {
            Some((name, value)) if name.trim().eq_ignore_ascii_case("charset") => OF_BYTES
                .iter()
                .any(|name| value.trim().trim_matches('"').eq_ignore_ascii_case(name)),
            _ => true,
        });
    let plain = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .all(|value| value.as_bytes().eq_ignore_ascii_case(b"identity"));
    if form && of_bytes && plain {
        Ok(())
    } else {
        Err(Reason::MediaType.into())
    }
}

/// Parameters in the URL would be logged on the way, so they are refused rather than read or
/// ignored (decision D-05).
pub fn check_query(uri: &Uri, parameters: &Parameters) -> Result<(), Refusal> {
    let names = uri
        .query()
        .unwrap_or_default()
        .split('&')
        .map(|pair| pair.split('=').next().unwrap_or_default());
    let is_known = |name: &str| decode(name).is_some_and(|name| parameters.find(&name).is_some());
    if names.into_iter().any(is_known) {
        Err(Reason::ParameterInQuery.into())
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grant::PARAMETERS;

    const FORM: &str = "application/x-www-form-urlencoded";

    #[test]
    fn rfc6749_b_2__only_forms_in_utf8_are_read() {
        let check = |headers: &[(&str, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(
                    axum::http::HeaderName::try_from(*name).unwrap(),
                    value.parse().unwrap(),
                );
            }
            check_media_type(&map).is_ok()
        };
        for good in [
            FORM,
            "Application/X-WWW-Form-Urlencoded",
            "application/x-www-form-urlencoded; charset=UTF-8",
            "application/x-www-form-urlencoded;charset=\"utf-8\";",
            "application/x-www-form-urlencoded; charset=utf8",
            "application/x-www-form-urlencoded; charset=ISO-8859-1",
            "application/x-www-form-urlencoded; charset = US-ASCII",
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
        assert!(!check(&[
            ("content-type", FORM),
            ("content-encoding", "gzip")
        ]));
    }

    #[test]
    fn rfc6749_2_3_1_3__parameters_in_the_url_are_refused() {
        let check = |uri: &str| check_query(&uri.parse().unwrap(), &PARAMETERS).is_ok();
        for bad in [
            "/token?client_secret=x",
            "/token?x=1&assertion=y",
            "/token?%67rant_type=a",
            "/token?scope",
        ] {
            assert!(!check(bad), "{bad}");
        }
        assert!(check("/token") && check("/token?tenant=1"));
    }
}
