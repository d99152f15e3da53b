//! Answers that the browser carries back to the client (RFC 6749 sections 4.1.2 and 4.1.2.1). Each
//! names this server (RFC 9207), so that a client of several servers cannot mix them up.

use std::fmt;

use url::form_urlencoded;

use crate::config::OwnUrls;
use crate::refusal::Refusal;

/// Where an answer goes: a registered redirect URI, in the very text in which it was sent, and the
/// client's `state`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub redirect_uri: String,
    pub state: Option<String>,
}

/// A URL of a client with an answer in it. Only [`Answer`] makes one.
#[derive(Clone, PartialEq, Eq)]
pub struct RedirectTo(String);

// The URL may hold a code.
impl fmt::Debug for RedirectTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RedirectTo(…)")
    }
}

impl fmt::Display for RedirectTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl RedirectTo {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Answer {
    /// The client gets a code.
    pub fn with_code(&self, own: &OwnUrls, code: &str) -> RedirectTo {
        self.with(own, &[("code", code)])
    }

    /// The client is told why it gets none.
    pub fn with_error(&self, own: &OwnUrls, refusal: &Refusal) -> RedirectTo {
        let error = refusal.reason.class().row().error;
        let description = refusal.description();
        self.with(
            own,
            &[("error", error), ("error_description", &description)],
        )
    }

    fn with(&self, own: &OwnUrls, parameters: &[(&str, &str)]) -> RedirectTo {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(parameters);
        if let Some(state) = &self.state {
            query.append_pair("state", state);
        }
        query.append_pair("iss", own.issuer());
        // A registered redirect URI has no fragment, and its query stays (RFC 6749 section 3.1.2).
        let joint = match self.redirect_uri.split_once('?') {
            None => "?",
            Some((_, "")) => "",
            Some((_, query)) if query.ends_with('&') => "",
            Some(_) => "&",
        };
        RedirectTo(format!("{}{joint}{}", self.redirect_uri, query.finish()))
    }

    /// The host, or the scheme where there is none, to be shown to the person.
    pub fn shown_host(&self) -> String {
        match url::Url::parse(&self.redirect_uri) {
            Ok(url) => url.host_str().map_or_else(
                || format!("{}:", url.scheme()),
                |host| match url.port() {
                    Some(port) => format!("{host}:{port}"),
                    None => host.to_owned(),
                },
            ),
            Err(_) => String::new(),
        }
    }

    /// Whether another program on the person's machine could be the one that gets the answer: only
    /// the owner of a host gets what goes there by https (RFC 8252 section 8.6).
    pub fn is_native(&self) -> bool {
        !self.redirect_uri.starts_with("https://")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reason::Reason;

    fn answer(redirect_uri: &str, state: Option<&str>) -> Answer {
        Answer {
            redirect_uri: redirect_uri.to_owned(),
            state: state.map(str::to_owned),
        }
    }

    #[test]
    fn every_answer_goes_to_the_text_as_sent_and_names_the_issuer() {
        let own = OwnUrls::new("https://as.test/c", "127.0.0.1:1".parse().unwrap()).unwrap();
        for (uri, expected) in [
            (
                "https://app.test/cb",
                "https://app.test/cb?code=a%26b&state=x+y&iss=https%3A%2F%2Fas.test%2Fc",
            ),
            (
                "https://app.test/cb?a=1",
                "https://app.test/cb?a=1&code=a%26b&state=x+y&iss=https%3A%2F%2Fas.test%2Fc",
            ),
            (
                "https://app.test/cb?",
                "https://app.test/cb?code=a%26b&state=x+y&iss=https%3A%2F%2Fas.test%2Fc",
            ),
            (
                "HTTPS://App.test/%7e",
                "HTTPS://App.test/%7e?code=a%26b&state=x+y&iss=https%3A%2F%2Fas.test%2Fc",
            ),
        ] {
            let to = answer(uri, Some("x y")).with_code(&own, "a&b");
            assert_eq!(to.as_str(), expected);
            assert!(!format!("{to:?}").contains("code"));
        }
        let refusal = Refusal::from(Reason::PersonDeclined);
        let to = answer("com.example.app:/cb", None).with_error(&own, &refusal);
        assert!(
            to.as_str()
                .starts_with("com.example.app:/cb?error=access_denied&error_description=")
        );
        assert!(
            to.as_str().ends_with("&iss=https%3A%2F%2Fas.test%2Fc")
                && !to.as_str().contains("state")
        );
    }

    #[test]
    fn people_see_the_host_to_which_they_return() {
        for (uri, shown, native) in [
            ("https://app.test/cb", "app.test", false),
            ("https://app.test:8443/cb", "app.test:8443", false),
            ("http://127.0.0.1:49152/callback", "127.0.0.1:49152", true),
            ("http://[::1]/callback", "[::1]", true),
            ("com.example.app:/cb", "com.example.app:", true),
        ] {
            let answer = answer(uri, None);
            assert_eq!(
                (answer.shown_host().as_str(), answer.is_native()),
                (shown, native)
            );
        }
    }
}
