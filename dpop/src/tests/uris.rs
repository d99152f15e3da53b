//! `htu` and its spellings.

use super::*;

#[test]
fn rfc9449_4_3_9__htu_is_the_uri_of_the_request_without_query() {
    for uri in [
        "https://as.test/token?q=1",
        "https://as.test/token#f",
        "HTTPS://AS.TEST:443/%74oken",
        "https://as.test:/token",
        "https://as.test/x/../token",
        "https://as.test/./token",
    ] {
        assert!(verified(&with(&json!({ "htu": uri }))).is_ok(), "{uri}");
    }
}

#[test]
fn atk_165__other_spellings_of_htu_are_other_uris() {
    for uri in [
        "https://other.test/token",
        "https://as.test:444/token",
        "http://as.test/token",
        "https://as.test/Token",
        "https://as.test/token/",
        "https://as.test/token/..",
        "https://as.test//token",
        "https://as.test/%2Ftoken",
        "https://user@as.test/token",
        "https://as.test\\token",
        "https://as.test/tok en",
        "https://as.test/t\u{f6}ken",
        "https://as.test/%zztoken",
        "https://as.test/token%",
        "https://as.test",
        "/token",
        "token",
        "ftp://as.test/token",
        "https:///token",
        "",
    ] {
        let refused = verified(&with(&json!({ "htu": uri })));
        assert!(matches!(refused, Err(InvalidProof::Uri { .. })), "{uri}");
    }
}

#[test]
fn rfc9449_4_3_9b__uris_are_normalised_by_syntax_and_scheme() {
    let normalised = |text: &str| RequestUri::parse(text).map(|uri| uri.as_str().to_owned());
    for (text, expected) in [
        ("https://as.test", "https://as.test/"),
        ("HTTP://[::1]:80/a/b/../c/.", "http://[::1]/a/c/"),
        ("http://127.0.0.1:8080/%7Ea", "http://127.0.0.1:8080/~a"),
        ("https://as.test/../../x", "https://as.test/x"),
        ("https://as.test/a/..", "https://as.test/"),
        ("https://as.test/%2e%2e/x", "https://as.test/x"),
        ("https://as.test/a%2fb", "https://as.test/a%2fb"),
    ] {
        assert_eq!(normalised(text).as_deref(), Some(expected), "{text}");
    }
    for text in [
        "https://as.test:x/",
        "https://[::1/",
        "https://a[b]/",
        "https://:1/",
    ] {
        assert_eq!(normalised(text), None, "{text}");
    }
}
