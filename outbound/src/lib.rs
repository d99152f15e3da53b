//! Outgoing HTTP for the server, its commands, the client of CI jobs and registries.
//!
//! It says which URLs a secret may be sent to, builds clients that follow no redirect unless told
//! to, and reads answers up to a limit. Rules about addresses and networks are up to the caller.

#![warn(missing_docs)]

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{ClientBuilder, Response};
use url::{Host, Url};

/// Whether the host of a URL is a loopback address. Names are not resolved, so `localhost` is not
/// one.
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

/// Whether a URL contains a user name or a password.
pub fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

/// Whether a secret may be sent to a URL: it is `https`, or `http` to this machine, and contains no
/// user name or password.
pub fn is_safe(url: &Url) -> bool {
    let scheme = url.scheme() == "https" || (url.scheme() == "http" && is_this_machine(url));
    scheme && url.host().is_some() && !has_credentials(url)
}

/// The builder with which every client begins. The client follows no redirect, since the target
/// would receive what is meant for another server, and gives up after `timeout`, from name
/// resolution to the last byte. With `only_https` it speaks nothing but https.
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
    /// The connection failed, or the timeout of the client ended.
    #[error("{}", causes(.0))]
    Failed(#[from] reqwest::Error),
    /// The body is larger than this many bytes.
    #[error("the answer has more than {0} bytes")]
    TooLarge(usize),
}

/// Reads the body of an answer, of at most `limit` bytes.
///
/// # Errors
///
/// If the connection fails, or if the body is larger than `limit`.
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

/// The text of an error with all its causes, separated by colons. reqwest's own text names only the
/// URL.
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
