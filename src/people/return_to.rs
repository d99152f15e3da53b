//! Where a person goes after a sign-in.

use url::{Url, form_urlencoded};

use crate::config::OwnUrls;

/// The longest path, in bytes.
const MOST_BYTES: usize = 1000;
/// Where everything goes that is no path of the console.
const HOME: &str = "/console";
/// Where a client asks for something, which needs a person who is signed in.
const AUTHORIZE: &str = "/authorize";
/// Pages that begin a sign-in: to return there would begin another one.
const SIGN_IN: &str = "/console/sign-in";
/// Any origin at all, for reading a path as browsers do.
const BASE: &str = "https://carnet.invalid";

/// A path of the console or the authorization endpoint, below the issuer identifier, to which a
/// browser is sent after a sign-in. It comes from strangers, and whatever could lead to another site,
/// or to anything else here, becomes the console's first page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReturnTo(String);

impl Default for ReturnTo {
    fn default() -> Self {
        Self(HOME.to_owned())
    }
}

impl ReturnTo {
    /// Reads a path, decoded once as a parameter of a form or a query is.
    pub fn read(text: &str) -> Self {
        if is_own_page(text) {
            Self(text.to_owned())
        } else {
            Self::default()
        }
    }

    /// The path below the issuer identifier, with its query.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Who will probably sign in, if a client said so in the request to which the person returns
    /// (OpenID Connect Core 1.0 section 3.1.2.1).
    pub fn login_hint(&self) -> Option<String> {
        let (path, query) = self.0.split_once('?')?;
        let mut pairs = form_urlencoded::parse(query.as_bytes());
        let hint = pairs.find(|(name, _)| name == "login_hint");
        hint.filter(|_| path == AUTHORIZE)
            .map(|(_, hint)| hint.into_owned())
    }

    /// The absolute URL. It begins with the issuer identifier, so it stays there however a browser
    /// reads the rest.
    pub fn url(&self, own: &OwnUrls) -> String {
        own.at(&self.0)
    }
}

fn is_own_page(text: &str) -> bool {
    let (path, _query) = text.split_once('?').unwrap_or((text, ""));
    let below = |root: &str| {
        path.strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    // Percent signs could hide a slash, a dot or a control character from this function, and none of
    // these paths has any.
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.' | '~');
    let visible =
        |c: char| c.is_ascii_graphic() && !matches!(c, '\\' | '#' | '"' | '<' | '>' | '`');
    text.len() <= MOST_BYTES
        && ((below(HOME) && !below(SIGN_IN)) || path == AUTHORIZE)
        && path.chars().all(plain)
        && text.chars().all(visible)
        && path.split('/').skip(1).all(is_segment)
        && Url::parse(&format!("{BASE}{text}")).is_ok_and(|url| url.path() == path)
}

/// Whether a part of a path is a name, and not nothing or dots, which browsers leave out.
fn is_segment(segment: &str) -> bool {
    !matches!(segment, "" | "." | "..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_the_console_are_kept() {
        for path in [
            "/console",
            "/authorize",
            "/console?principal=octo-org",
            "/console/octo-org/rules/new",
            "/console/octo-org/rules/fc_01?saved=1&from=https://ci.test/x?y=%2F",
            "/console/a.b/c~d_e",
            "/console/sign-in-help",
            "/authorize?client_id=a&redirect_uri=https%3A%2F%2Fapp.test%2Fcb",
        ] {
            assert_eq!(ReturnTo::read(path).as_str(), path);
        }
    }

    #[test]
    fn people_open_1__sixty_paths_that_lead_elsewhere_become_the_console() {
        let long = format!("/console/{}", "a".repeat(1000));
        let hostile = [
            "",
            "/authorize/",
            "/authorize/consent",
            "/Authorize?x=1",
            "/",
            "//",
            "///",
            "//evil.test",
            "//evil.test/console",
            "///evil.test/console",
            "////evil.test",
            "/\\evil.test",
            "\\\\evil.test",
            "\\/evil.test/console",
            "/\t/evil.test",
            "/\n/evil.test",
            "\t//evil.test",
            " //evil.test",
            " /console",
            "https://evil.test",
            "https://evil.test/console",
            "https:evil.test",
            "https:/evil.test",
            "https:///evil.test",
            "HTTPS://evil.test/console",
            "http://evil.test\\@as.test/console",
            "javascript:alert(1)",
            "javascript://as.test/console%0aalert(1)",
            "data:text/html,<script>alert(1)</script>",
            "vbscript:x",
            "mailto:a@evil.test",
            "console",
            "console/rules",
            "./console",
            "../console",
            "@evil.test/console",
            ":80/console",
            ".evil.test/console",
            "/consoleevil",
            "/console.evil.test",
            "/console@evil.test",
            "/console:80@evil.test",
            "/Console",
            "/CONSOLE/rules",
            "/console//evil.test",
            "/console/",
            "/console/rules/",
            "/console/./rules",
            "/console/..",
            "/console/../token",
            "/console/../../evil.test",
            "/console/..//evil.test",
            "/console/%2e%2e/token",
            "/console/%2e%2e%2f%2fevil.test",
            "/console/..%2f..%2fevil.test",
            "/console/%5c%5cevil.test",
            "/console/\\evil.test",
            "/console\\..\\..\\evil.test",
            "/console/\r\nLocation: https://evil.test",
            "/console/\0",
            "/console/a b",
            "/console?x=\r\nSet-Cookie: a=b",
            "/console?x=\"><script>",
            "/console#@evil.test",
            "/console/#//evil.test",
            "/console/\u{202e}tset.live",
            "/console/\u{ff0f}evil.test",
            "/console/sign-in",
            "/console/sign-in?return_to=/console/sign-in",
            "/console/sign-in/google",
            "/console/sign-in/google/callback?code=x&state=y",
            "/token",
            "/admin/v1/credentials",
            "/authorization?client_id=x",
            long.as_str(),
        ];
        assert!(hostile.len() >= 60);
        for text in hostile {
            assert_eq!(ReturnTo::read(text), ReturnTo::default(), "{text:?}");
        }
    }

    #[test]
    fn the_absolute_url_begins_with_the_issuer() {
        for issuer in [
            "https://as.test/",
            "https://as.test",
            "https://as.test/auth",
        ] {
            let own = OwnUrls::new(issuer, "127.0.0.1:1".parse().unwrap()).unwrap();
            let url = ReturnTo::read("/console/x?y=1").url(&own);
            assert_eq!(
                url,
                format!("{}/console/x?y=1", issuer.trim_end_matches('/'))
            );
        }
    }
}
