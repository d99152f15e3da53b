//! HTTP for a client in a CI job: only https or this machine, no redirects, short timeouts, bounded
//! answers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use carnet_outbound::{ReadError, causes, is_safe, is_this_machine};
use reqwest::header::RETRY_AFTER;
use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use url::Url;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const TIMEOUT: Duration = Duration::from_secs(30);
/// Answers are metadata, a token, or a refusal with its mismatches.
const MAX_BODY_BYTES: usize = 1024 * 1024;
const MAX_PRINTED: usize = 2000;
const ATTEMPTS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum WebError {
    /// No secret may be sent to the URL.
    #[error(
        "`{0}` is not https (http is for this machine's loopback addresses only), or it holds a user name"
    )]
    Refused(String),
    /// The server could not be reached, or answered too slowly.
    #[error("{0} cannot be reached: {1}")]
    Failed(String, String),
    /// The answer is larger than 1 MiB.
    #[error("{0} answered with more than {MAX_BODY_BYTES} bytes")]
    TooLarge(String),
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct WebAnswer {
    pub status: StatusCode,
    /// Whether the answer has the header `Metadata-Flavor: Google`, by which Google's metadata
    /// server identifies itself.
    pub is_google_metadata: bool,
    pub body: Vec<u8>,
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
    if !is_safe(url) {
        return Err(WebError::Refused(url.to_string()));
    }
    build(url, is_this_machine(url))
}

/// A client for a machine's metadata server, which speaks plain http on a link-local address.
pub fn metadata_client(url: &Url) -> Result<Client, WebError> {
    build(url, true)
}

fn build(url: &Url, local: bool) -> Result<Client, WebError> {
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
    builder
        .build()
        .map_err(|error| WebError::Failed(place(url), causes(&error.without_url())))
}

/// Sends a request, three times at most, and reads the answer. Only requests without effect are
/// repeated: the connection failed, or the answer is 429, or 503 with `Retry-After`. A 503 without
/// it may come from a proxy after the server has used the assertion.
pub async fn send(url: &Url, request: RequestBuilder) -> Result<WebAnswer, WebError> {
    let mut pause = FIRST_PAUSE;
    for _ in 1..ATTEMPTS {
        let Some(again) = request.try_clone() else {
            break;
        };
        match again.send().await {
            Ok(answer) if is_later(&answer) => pause = asked_pause(&answer).unwrap_or(pause),
            Ok(answer) => return read(url, answer).await,
            Err(error) if error.is_connect() => {}
            Err(error) => return Err(failed(url, error)),
        }
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    }
    let answer = request.send().await.map_err(|error| failed(url, error))?;
    read(url, answer).await
}

fn is_later(answer: &Response) -> bool {
    match answer.status() {
        StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::SERVICE_UNAVAILABLE => answer.headers().contains_key(RETRY_AFTER),
        _ => false,
    }
}

fn asked_pause(answer: &Response) -> Option<Duration> {
    let seconds = answer
        .headers()
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

async fn read(url: &Url, mut answer: Response) -> Result<WebAnswer, WebError> {
    let body = carnet_outbound::read(&mut answer, MAX_BODY_BYTES)
        .await
        .map_err(|error| match error {
            ReadError::Failed(error) => failed(url, error),
            ReadError::TooLarge(_) => WebError::TooLarge(place(url)),
        })?;
    let is_google_metadata = answer
        .headers()
        .get("metadata-flavor")
        .is_some_and(|value| value == "Google");
    Ok(WebAnswer {
        status: answer.status(),
        is_google_metadata,
        body,
    })
}

fn failed(url: &Url, error: reqwest::Error) -> WebError {
    WebError::Failed(place(url), causes(&error.without_url()))
}

/// A URL without its query, in which platforms put values that do not belong in a log.
fn place(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.to_string()
}

/// Makes a text of another party safe for the log of a job: on one line, at most 2000 characters,
/// and no command to a runner. Commands begin a line with `::`, or hold `##[` or `##vso[` anywhere.
pub fn printable(text: &str) -> String {
    let line: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(MAX_PRINTED)
        .collect();
    let line = line.trim_start_matches([' ', ':']);
    if line.contains("##") {
        line.replace('#', "# ")
    } else {
        line.to_owned()
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
            "a b [31m  ::add-mask::x"
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
    }
}
