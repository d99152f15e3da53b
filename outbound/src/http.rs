//! Clients and answers.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{ClientBuilder, Response};

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
