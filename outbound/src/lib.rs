//! The one way out over HTTP, for the server, its commands, the client of CI jobs and registries: which URLs a secret may be sent to,
//! clients that follow no redirect unless told to, and answers that are read up to a limit.

#![warn(missing_docs)]

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{ClientBuilder, Response};
use url::{Host, Url};

/// Whether the host of a URL is a loopback address.
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        Some(Host::Domain(_)) | None => false,
    }
}

/// Whether the host of a URL is this machine: a loopback address, or `localhost`.
pub fn is_this_machine(url: &Url) -> bool {
    is_loopback(url) || url.host() == Some(Host::Domain("localhost"))
}

/// Whether a URL names a user or a password.
pub fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Whether nobody on the way can read or change what is exchanged, and no credentials stand in the URL: `https`, or `http` that does
/// not leave the machine.
pub fn is_safe(url: &Url) -> bool {
    let scheme = url.scheme() == "https" || (url.scheme() == "http" && is_this_machine(url));
    scheme && url.host().is_some() && !has_credentials(url)
}

/// A client as all of them begin: it follows no redirect, since whoever answers one would be handed what is meant for another, and
/// gives up after `timeout`, from the resolution of the name to the last byte. With `only_https` nothing else is spoken.
pub fn client(timeout: Duration, only_https: bool) -> ClientBuilder {
    reqwest::Client::builder()
        .timeout(timeout)
        .https_only(only_https)
        .redirect(Policy::none())
        .user_agent(concat!("carnet/", env!("CARGO_PKG_VERSION")))
}

/// Why an answer was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The connection failed, or took too long.
    #[error("{}", causes(.0))]
    Failed(#[from] reqwest::Error),
    /// The body is larger than so many bytes.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
///
/// If the connection fails, or the body is larger.
pub async fn read(answer: &mut Response, limit: usize) -> Result<Vec<u8>, ReadError> {
    let mut body = Vec::new();
    while let Some(chunk) = answer.chunk().await? {
        if body.len().saturating_add(chunk.len()) > limit {
            return Err(ReadError::TooLarge(limit));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

/// What an error says, with what caused it: reqwest's own text names the URL only.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_safe_url_is_https_or_stays_on_the_machine() {
        let is_safe = |text: &str| is_safe(&Url::parse(text).unwrap());
        for url in
            ["https://as.test", "https://10.0.0.1/", "http://127.0.0.1:8080", "http://[::1]/", "http://localhost:1"]
        {
            assert!(is_safe(url), "{url}");
        }
        for url in [
            "http://as.test",
            "http://10.0.0.1/",
            "http://localhost.test/",
            "https://u@as.test",
            "https://u:p@as.test",
            "http://127.0.0.1@as.test/",
            "ftp://as.test",
            "unix:///run/socket",
        ] {
            assert!(!is_safe(url), "{url}");
        }
    }
}
