//! HTTP for a client in a CI job: only https or this machine, no redirects, short timeouts, bounded
//! answers. The module `retry` says which requests are sent again.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use carnet_outbound::{ReadError, causes, is_safe, is_this_machine};
use reqwest::header::{ETAG, RETRY_AFTER};
use reqwest::{Client, Identity, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use url::Url;

use crate::retry::{Repeat, Tried, Tries, send_again};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The limit of a client; each request has a shorter one of its own ([`Tries::each`]).
const TIMEOUT: Duration = Duration::from_mins(1);
/// Answers are metadata, a token, or a refusal with its mismatches.
const MAX_BODY_BYTES: usize = 1024 * 1024;
const MAX_PRINTED: usize = 2000;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// No secret may be sent to the URL, which is shown without what may be secret in it.
    #[error(
        "`{0}` is not https (http is for this machine's loopback addresses only), or it holds a user name"
    )]
    Refused(String),
    /// No connection was made, so nothing was sent.
    #[error("{place} cannot be reached: {why}{tried}")]
    Unreachable {
        /// The URL without user name, password and query.
        place: String,
        why: String,
        tried: Box<Tried>,
    },
    /// The request was sent, or a part of it, and no whole answer arrived in time.
    #[error("{place} gave no answer: {why}{tried}")]
    Lost {
        /// The URL without user name, password and query.
        place: String,
        why: String,
        tried: Box<Tried>,
    },
    /// The answer is larger than 1 MiB.
    #[error("{0} answered with more than {MAX_BODY_BYTES} bytes")]
    TooLarge(String),
}

impl WebError {
    /// Whether the same request may succeed later.
    pub const fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Lost { .. })
    }
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct WebAnswer {
    pub status: StatusCode,
    /// Whether the answer has the header `Metadata-Flavor: Google`, by which Google's metadata
    /// server identifies itself.
    pub is_google_metadata: bool,
    /// The pause that the answer asks for (`Retry-After` in seconds).
    pub retry_after: Option<Duration>,
    /// The version of what the body shows (`ETag`, RFC 9110 section 8.8.3).
    pub etag: Option<String>,
    /// The nonce for the next DPoP proof (RFC 9449 section 8).
    pub dpop_nonce: Option<String>,
    pub body: Vec<u8>,
    /// What became of the same request before this answer.
    pub tried: Tried,
}

impl WebAnswer {
    /// The body as JSON; `null` if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// A client for the host of this URL. It follows no redirect, since the target would receive the
/// secret.
pub fn client(url: &Url) -> Result<Client, WebError> {
    client_with(url, None)
}

/// The same, which connects with a client certificate if there is one.
pub fn client_with(url: &Url, identity: Option<Identity>) -> Result<Client, WebError> {
    if !is_safe(url) {
        return Err(WebError::Refused(place(url)));
    }
    build(url, is_this_machine(url), identity)
}

/// A client for a machine's metadata server, which speaks plain http on a link-local address.
pub fn metadata_client(url: &Url) -> Result<Client, WebError> {
    build(url, true, None)
}

fn build(url: &Url, local: bool, identity: Option<Identity>) -> Result<Client, WebError> {
    let mut builder = carnet_outbound::client(TIMEOUT, !local).connect_timeout(CONNECT_TIMEOUT);
    if local {
        // Requests to this machine bypass the proxy, and `localhost` is a loopback address whatever
        // the resolver says.
        let loopback = [
            IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ];
        builder = builder
            .no_proxy()
            .resolve_to_addrs("localhost", &loopback.map(|ip| SocketAddr::new(ip, 0)));
    }
    if let Some(identity) = identity {
        builder = builder.identity(identity);
    }
    builder.build().map_err(|error| WebError::Unreachable {
        place: place(url),
        why: causes(&error.without_url()),
        tried: Box::default(),
    })
}

/// Sends a request that may change something, and reads the answer. It is sent again only if the
/// first one certainly did nothing: no connection, an answer 429, or 503 with `Retry-After`.
pub async fn send(url: &Url, request: RequestBuilder) -> Result<WebAnswer, WebError> {
    send_again(url, request, Repeat::OnlyUnbegun, Tries::CHANGE).await
}

/// Fetches a document that everybody may read, such as metadata.
pub async fn look_up(url: &Url, tries: Tries) -> Result<WebAnswer, WebError> {
    let get = client(url)?.get(url.clone());
    send_again(url, get, Repeat::Harmless, tries).await
}

/// Sends a request once, and reads the answer within this time.
pub(crate) async fn send_once(
    url: &Url,
    request: RequestBuilder,
    limit: Duration,
) -> Result<WebAnswer, WebError> {
    let answer = request
        .timeout(limit)
        .send()
        .await
        .map_err(|error| failed(url, error, limit))?;
    read(url, answer, limit).await
}

async fn read(url: &Url, mut answer: Response, limit: Duration) -> Result<WebAnswer, WebError> {
    let body = carnet_outbound::read(&mut answer, MAX_BODY_BYTES)
        .await
        .map_err(|error| match error {
            ReadError::Failed(error) => failed(url, error, limit),
            ReadError::TooLarge(_) => WebError::TooLarge(place(url)),
        })?;
    let header = |name: &str| answer.headers().get(name)?.to_str().ok();
    Ok(WebAnswer {
        status: answer.status(),
        is_google_metadata: header("metadata-flavor") == Some("Google"),
        retry_after: header(RETRY_AFTER.as_str())
            .and_then(|seconds| seconds.parse().ok())
            .map(Duration::from_secs),
        etag: header(ETAG.as_str()).map(str::to_owned),
        dpop_nonce: header("dpop-nonce").map(str::to_owned),
        body,
        tried: Tried::default(),
    })
}

fn failed(url: &Url, error: reqwest::Error, limit: Duration) -> WebError {
    let (place, tried) = (place(url), Box::default());
    if error.is_connect() {
        let why = causes(&error.without_url());
        return WebError::Unreachable { place, why, tried };
    }
    let why = if error.is_timeout() {
        format!("it took longer than {} s", limit.as_secs_f32())
    } else {
        causes(&error.without_url())
    };
    WebError::Lost { place, why, tried }
}

/// A URL without user name, password, query and fragment, in which there are values that do not
/// belong in a log.
pub fn place(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // A URL without a host has neither, and refuses to have one taken away.
    url.set_username("").ok();
    url.set_password(None).ok();
    url.to_string()
}

/// A text of another party without characters that could hide or rearrange what is shown beside it:
/// control characters, characters without a width, those that set the direction of writing, and
/// white space other than U+0020 are written as escapes.
pub fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        push_visible(&mut shown, c);
    }
    shown
}

fn push_visible(shown: &mut String, c: char) {
    let is_plain = c == ' ' || !(c.is_whitespace() || c.is_control() || is_invisible(c));
    if is_plain {
        shown.push(c);
    } else {
        shown.extend(c.escape_unicode());
    }
}

/// Characters that are shown as nothing: those of the general category Cf and the other ignorable
/// ones of Unicode 16 (`Default_Ignorable_Code_Point`), and the braille pattern blank.
const fn is_invisible(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{34f}'
            | '\u{600}'..='\u{605}'
            | '\u{61c}'
            | '\u{6dd}'
            | '\u{70f}'
            | '\u{890}'..='\u{891}'
            | '\u{8e2}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{110bd}'
            | '\u{110cd}'
            | '\u{13430}'..='\u{1343f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Makes a text of another party safe for the log of a job: on one line, about 2000 characters at
/// most, [`visible`], and no command to a runner. Commands begin a line with `::`, which some runners
/// look for behind any white space, or hold `##[` or `##vso[` anywhere.
pub fn printable(text: &str) -> String {
    let text = text.trim_start_matches(|c: char| c.is_whitespace() || c.is_control() || c == ':');
    let mut line = String::new();
    for c in text.chars().take(MAX_PRINTED) {
        if matches!(c, '\n' | '\r' | '\t') {
            line.push(' ');
        } else {
            push_visible(&mut line, c);
        }
        if line.len() >= MAX_PRINTED {
            break;
        }
    }
    if line.contains("##") {
        line.replace('#', "# ")
    } else {
        line
    }
}

/// The beginning of a platform's answer, without words that look like a token.
pub fn excerpt(text: &str) -> String {
    let words = text.split_whitespace().map(|word| {
        if word.contains("eyJ") {
            "(a token)"
        } else {
            word
        }
    });
    printable(&words.collect::<Vec<_>>().join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_texts_lose_control_characters_and_log_commands_before_they_are_printed() {
        assert_eq!(
            printable("a\nb\u{1b}[31m\r\n::add-mask::x"),
            "a b\\u{1b}[31m  ::add-mask::x"
        );
        assert_eq!(printable(" ::stop-commands::x"), "stop-commands::x");
        assert_eq!(
            printable("a ##vso[task.prependpath]/x ###[group]"),
            "a # # vso[task.prependpath]/x # # # [group]"
        );
        assert_eq!(
            printable("https://[::1]/reasons#x"),
            "https://[::1]/reasons#x"
        );
        assert_eq!(excerpt("jwt=eyJh.eyJi.c\nis  bad"), "(a token) is bad");
        assert_eq!(printable(&"x".repeat(5000)).len(), 2000);
        assert!(printable(&"\u{e0041}".repeat(5000)).len() < 2020);
    }

    #[test]
    fn runners_that_trim_unicode_blanks_see_no_command() {
        for blank in [
            '\u{3000}', '\u{a0}', '\u{2028}', '\u{85}', '\u{2003}', '\t', '\u{1b}',
        ] {
            for text in [
                format!("{blank}::warning title=x::y"),
                format!(" :{blank}: ::warning title=x::y"),
            ] {
                assert_eq!(printable(&text), "warning title=x::y", "{blank:?}");
            }
        }
        for hidden in ['\u{200b}', '\u{feff}', '\u{2060}', '\u{e0001}'] {
            let line = printable(&format!("{hidden}::warning::y"));
            assert_eq!(line, format!("{}::warning::y", hidden.escape_unicode()));
        }
    }

    #[test]
    fn characters_that_hide_or_rearrange_a_text_are_shown_as_escapes() {
        for c in [
            '\u{202e}',
            '\u{2066}',
            '\u{200f}',
            '\u{61c}',
            '\u{ad}',
            '\u{a0}',
            '\u{3000}',
            '\u{2028}',
            '\u{180e}',
            '\u{3164}',
            '\u{fe0f}',
            '\u{e0041}',
            '\u{7}',
            '\u{9b}',
        ] {
            let text = format!("a{c}b");
            let shown = format!("a{}b", c.escape_unicode());
            assert_eq!((visible(&text), printable(&text)), (shown.clone(), shown));
        }
        let plain = "Zürich 東京 (ok) 👍";
        assert_eq!(
            (visible(plain).as_str(), printable(plain).as_str()),
            (plain, plain)
        );
    }

    #[test]
    fn urls_are_shown_without_what_may_be_secret_in_them() {
        let url = Url::parse("https://u:SEKRET@x.test:8443/t?tok=QSECRET#FSECRET").unwrap();
        assert_eq!(place(&url), "https://x.test:8443/t");
        let refused = client(&url).unwrap_err().to_string();
        assert!(refused.contains("`https://x.test:8443/t`"), "{refused}");
        let plain = client(&Url::parse("http://x.test/t?tok=QSECRET").unwrap()).unwrap_err();
        let said = plain.to_string();
        assert!(
            said.contains("http://x.test/t`") && !said.contains("QSECRET"),
            "{said}"
        );
        assert_eq!(place(&Url::parse("mailto:a@b?c").unwrap()), "mailto:a@b");
    }
}
