//! Why the server gave no answer that can be used.

use reqwest::StatusCode;
use serde_json::{Map, Value};
use url::Url;

use crate::error::ExchangeError;
use crate::refusal;
use crate::retry::{Tried, is_temporary};
use crate::web::{WebAnswer, WebError};

/// Why the server gave no access token.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The server could not be reached.
    #[error(transparent)]
    Web(#[from] WebError),
    /// The metadata cannot be used.
    #[error("{0}: {1}")]
    Metadata(Url, String),
    /// The metadata names another issuer (RFC 8414 section 3.3).
    #[error("{}", another_issuer(expected, received))]
    AnotherIssuer {
        /// The issuer identifier of `--server`.
        expected: String,
        /// The `issuer` of the metadata.
        received: String,
    },
    /// The answer is not one of a token endpoint (RFC 6749 section 5).
    #[error("{0}: {1}")]
    Answer(Url, String),
    /// No proof of possession can be made.
    #[error("{0}")]
    Proof(String),
    /// The server refused the request.
    #[error("{}{}", refusal::describe(body), refusal::tries(tried))]
    Refused {
        status: StatusCode,
        body: Value,
        tried: Box<Tried>,
    },
}

fn another_issuer(expected: &str, received: &str) -> String {
    let bare = |text: &str| text.trim_end_matches('/').to_ascii_lowercase();
    let advice = if received.is_empty() {
        String::new()
    } else if bare(expected) == bare(received) {
        format!(". Only the spelling differs: write --server {received}")
    } else {
        format!(". If that is the server you mean, write --server {received}")
    };
    format!(
        "the server's metadata is of the issuer `{received}`, and not of `{expected}`; --server is compared exactly{advice}"
    )
}

impl ServerError {
    /// Whether an assertion that the server calls used was most likely used by an earlier try of the
    /// same request, whose answer was lost.
    pub fn is_own_replay(&self) -> bool {
        match self {
            Self::Refused { body, tried, .. } => {
                tried.answer_lost && body.get("reason").and_then(Value::as_str) == Some("replay")
            }
            _ => false,
        }
    }
}

impl From<ServerError> for ExchangeError {
    fn from(error: ServerError) -> Self {
        let text = error.to_string();
        match error {
            ServerError::Refused { status, body, .. } if is_temporary(status) => {
                Self::no_answer(text).with_answer(body)
            }
            ServerError::Refused { body, .. } => Self::refused(text).with_answer(body),
            ServerError::AnotherIssuer { .. } => Self::usage(text),
            ServerError::Proof(_) => Self::refused(text),
            ServerError::Web(_) | ServerError::Metadata(..) | ServerError::Answer(..) => {
                Self::no_answer(text)
            }
        }
    }
}

/// The JSON object of a successful answer. Anything else is an error: a refusal if it has an `error`
/// (RFC 6749 section 5.2), otherwise the answer of another server, such as a proxy.
pub fn success(url: &Url, answer: WebAnswer) -> Result<Map<String, Value>, ServerError> {
    let (status, body) = (answer.status, answer.json());
    let tried = answer.tried;
    let strange = |why: &str| ServerError::Answer(url.clone(), format!("{why}{tried}"));
    let Value::Object(body) = body else {
        return Err(strange(&format!(
            "the answer was {status} without a JSON object"
        )));
    };
    if status == StatusCode::OK {
        return Ok(body);
    }
    let is_no = status.is_client_error() || status.is_server_error();
    if !is_no || !body.get("error").is_some_and(Value::is_string) {
        return Err(strange(&format!("the answer was {status}")));
    }
    Err(ServerError::Refused {
        status,
        body: Value::Object(body),
        tried: Box::new(tried),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_of_another_spelling_is_named_with_the_option_to_write() {
        let says = another_issuer("https://as.test/", "https://as.test");
        assert!(
            says.ends_with("Only the spelling differs: write --server https://as.test"),
            "{says}"
        );
        let says = another_issuer("https://as.test", "https://as.test/");
        assert!(says.ends_with("write --server https://as.test/"), "{says}");
        assert!(!another_issuer("https://as.test", "").contains("write"));
        let says = another_issuer("https://as.test", "https://other.test");
        assert!(!says.contains("Only the spelling"), "{says}");
    }
}
