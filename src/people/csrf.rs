//! Requests that change something come from our own pages: each form holds a token that belongs to the
//! session, and browsers say which site a request comes from.

use carnet_jose::{base64url, constant_time_eq, sha256};

use super::session::CookieSecret;
use crate::config::OwnUrls;

/// The token in the forms of a session. Whoever reads one page of another session, or knows the id of
/// this one, cannot make it.
#[derive(Clone)]
pub struct Csrf(String);

impl std::fmt::Debug for Csrf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Csrf(…)")
    }
}

impl Csrf {
    /// The token of the session with this cookie, at this issuer.
    pub(super) fn of(secret: &CookieSecret, own: &OwnUrls) -> Self {
        let issuer = own.issuer().as_bytes();
        let all = [b"carnet csrf\0", issuer, b"\0", secret.as_bytes()].concat();
        Self(base64url(sha256(&all)))
    }

    /// The token as it stands in a form.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a form holds this token, compared in constant time.
    pub fn is(&self, sent: Option<&str>) -> bool {
        sent.is_some_and(|sent| constant_time_eq(self.0.as_bytes(), sent.as_bytes()))
    }
}

/// What a browser says of the page that a request comes from. Older ones, and other programs, say
/// nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sender<'a> {
    /// The value of `Origin`.
    pub origin: Option<&'a str>,
    /// The value of `Sec-Fetch-Site`.
    pub fetch_site: Option<&'a str>,
}

impl Sender<'_> {
    /// Whether the browser says that the request comes from a page of ours.
    pub fn is_ours(self, own: &OwnUrls) -> bool {
        let says_something = self.origin.is_some() || self.fetch_site.is_some();
        says_something && self.may_be_ours(own)
    }

    /// Whether nothing speaks against a page of ours: only our own origin counts, not another one of
    /// the same site, and not `null`.
    pub fn may_be_ours(self, own: &OwnUrls) -> bool {
        let origin = self
            .origin
            .is_none_or(|origin| origin == own.on_origin("").as_str());
        let site = self.fetch_site.is_none_or(|site| site == "same-origin");
        origin && site
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> OwnUrls {
        OwnUrls::new("https://as.test/carnet", "127.0.0.1:1".parse().unwrap()).unwrap()
    }

    #[test]
    fn only_our_own_origin_is_ours() {
        let ours = |origin, fetch_site| Sender { origin, fetch_site }.may_be_ours(&own());
        assert!(ours(None, None));
        assert!(ours(Some("https://as.test"), Some("same-origin")));
        for origin in [
            "null",
            "",
            "http://as.test",
            "https://as.test:443",
            "https://as.test.evil.test",
            "https://www.as.test",
            "https://as.test/carnet",
            "https://as.test, https://as.test",
        ] {
            assert!(!ours(Some(origin), None), "{origin}");
        }
        for site in ["same-site", "cross-site", "none", ""] {
            assert!(!ours(None, Some(site)), "{site}");
            assert!(!ours(Some("https://as.test"), Some(site)), "{site}");
        }
    }

    #[test]
    fn the_token_belongs_to_one_session_and_one_issuer() {
        let (one, other) = (CookieSecret::generate(), CookieSecret::generate());
        let token = Csrf::of(&one, &own());
        assert!(token.is(Some(token.clone().as_str())));
        assert!(!token.is(Some(Csrf::of(&other, &own()).as_str())));
        let elsewhere = OwnUrls::new("https://as.test", "127.0.0.1:1".parse().unwrap()).unwrap();
        assert!(!token.is(Some(Csrf::of(&one, &elsewhere).as_str())));
        assert!(!token.is(None) && !token.is(Some("")));
        assert!(!one.text().contains(token.as_str()));
    }
}
