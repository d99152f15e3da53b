//! Why an upload was refused, in the words and the form that the client's tool shows.

use std::io;

use axum::Json;
use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use carnet_publish_protocols::Unreadable;
use carnet_publish_protocols::dialect::{self, Refused};
use carnet_resource_server::{
    AccessToken, DenialReason, Denied, DpopRejection, Operation, Rejection,
};
use hyper::ext::ReasonPhrase;
use serde_json::json;

use super::Registry;

/// The most package patterns of a token that a refusal names.
const NAMED: usize = 5;
/// Seconds after which a client may try again when a token could not be checked.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("30");

/// Why an upload failed.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The request has no valid token.
    Token(Rejection),
    /// The token does not allow the operation.
    Denied(Box<Denial>),
    /// The request is not of the protocol, or its names cannot be stored here. The text says why.
    Malformed(String),
    /// The version or the file exists, and is never replaced.
    Exists(String),
    /// Reading or writing the folder failed.
    Storage(io::Error),
}

/// What the token does not allow, and what it covers instead.
#[derive(Debug)]
pub(crate) struct Denial {
    denied: Denied,
    action: String,
    package: String,
    token: AccessToken,
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Storage(error)
    }
}

impl From<Unreadable> for Refusal {
    fn from(error: Unreadable) -> Self {
        match error {
            Unreadable::Storage(error) => Self::Storage(error),
            unreadable => Self::Malformed(unreadable.to_string()),
        }
    }
}

impl Refusal {
    /// The refusal of a name that cannot be that of a file.
    pub(crate) fn names() -> Self {
        let allowed = "names and versions hold letters, digits, `.`, `_`, `-` and `+`";
        Self::Malformed(allowed.to_owned())
    }

    pub(crate) fn denied(denied: Denied, operation: &Operation<'_>, token: &AccessToken) -> Self {
        Self::Denied(Box::new(Denial {
            denied,
            action: operation.action.to_owned(),
            package: operation.package.to_owned(),
            token: token.clone(),
        }))
    }

    fn kind(&self) -> Refused {
        match self {
            Self::Token(
                Rejection::InvalidRequest(_) | Rejection::Dpop(DpopRejection::InvalidRequest(_)),
            )
            | Self::Malformed(_) => Refused::Malformed,
            Self::Token(Rejection::NoToken | Rejection::InvalidToken(_) | Rejection::Dpop(_)) => {
                Refused::Unauthenticated
            }
            Self::Token(Rejection::Unavailable(_)) => Refused::Unavailable,
            Self::Denied(_) => Refused::Denied,
            Self::Exists(_) => Refused::Exists,
            Self::Storage(_) => Refused::Failed,
        }
    }
}

impl Registry {
    /// The response to a refused upload: in the form whose text the tools of this protocol print.
    pub(crate) fn refuse(&self, refusal: &Refusal) -> Response {
        // Why tokens cannot be checked is for the operator; the client is not told.
        if let Refusal::Token(Rejection::Unavailable(outage)) = refusal {
            eprintln!("tokens cannot be checked: {outage}");
        }
        let text = self.text(refusal);
        let mut response = match (self.protocol.published_with(), refusal) {
            (Some(protocol), _) => response(dialect::refusal(protocol, refusal.kind(), &text)),
            (None, Refusal::Token(rejection)) => {
                return self.realm.reject::<Body>(rejection.clone());
            }
            (None, Refusal::Denied(denial)) => {
                let operation = denial.operation();
                let realm = &self.realm;
                return realm.deny::<Body>(&denial.token, denial.denied, &operation);
            }
            (None, Refusal::Exists(_)) => generic(StatusCode::CONFLICT, &text),
            (None, Refusal::Malformed(_)) => generic(StatusCode::BAD_REQUEST, &text),
            (None, Refusal::Storage(_)) => generic(StatusCode::INTERNAL_SERVER_ERROR, &text),
        };
        let headers = response.headers_mut();
        match refusal {
            Refusal::Token(Rejection::Unavailable(_)) => {
                headers.insert(RETRY_AFTER, RETRY_SECONDS);
            }
            Refusal::Token(rejection) => {
                self.realm.write_challenges(rejection, headers);
            }
            Refusal::Denied(denial) => {
                let operation = denial.operation();
                let realm = &self.realm;
                let challenges = realm.insufficient_scope(&denial.token, denial.denied, &operation);
                for challenge in challenges {
                    if let Ok(value) = HeaderValue::try_from(challenge) {
                        headers.append(WWW_AUTHENTICATE, value);
                    }
                }
            }
            Refusal::Malformed(_) | Refusal::Exists(_) | Refusal::Storage(_) => {}
        }
        response
    }

    /// The reason, and how to mend it.
    fn text(&self, refusal: &Refusal) -> String {
        match refusal {
            Refusal::Token(Rejection::Unavailable(_)) => {
                "the access token cannot be checked at the moment; try again".to_owned()
            }
            // Whoever sends proofs knows how to get a token.
            Refusal::Token(rejection @ Rejection::Dpop(_)) => rejection.to_string(),
            Refusal::Token(rejection) => format!(
                "{rejection}. Get one with `carnet exchange {}`, and give it to the tool {}",
                self.exchange_options(),
                self.protocol.token_place()
            ),
            Refusal::Denied(denial) => self.denial_text(denial),
            Refusal::Malformed(why) | Refusal::Exists(why) => why.clone(),
            Refusal::Storage(error) => format!("the package cannot be stored: {error}"),
        }
    }

    fn denial_text(&self, denial: &Denial) -> String {
        let reason = denial.denied.reason;
        let mend = match reason {
            DenialReason::PackageOutOfScope => {
                format!("it covers {}", named(&denial.covers()))
            }
            DenialReason::ActionOutOfScope => format!(
                "the rule in Carnet needs the action `{}` in its permissions",
                denial.action
            ),
            DenialReason::CreateDenied | DenialReason::OwnerAmbiguous => format!(
                "publish the first version with a token that names its principal: `carnet exchange {} --principal NAME` prints it; give it to the tool {}",
                self.exchange_options(),
                self.protocol.token_place()
            ),
            DenialReason::VersionMismatch | DenialReason::DigestMismatch => {
                "request a token without `authorization_details`, or with those of this upload"
                    .to_owned()
            }
            DenialReason::OwnerLost => "the rule has to be one of the package's owner".to_owned(),
        };
        format!(
            "{} of `{}` is refused: {reason} ({}); {mend}",
            denial.action,
            denial.package,
            reason.code()
        )
    }

    fn exchange_options(&self) -> String {
        let (issuer, resource) = (self.verifier.issuer(), self.verifier.resource());
        format!("--server {issuer} --resource {resource}")
    }
}

impl Denial {
    /// The package patterns of the token.
    fn covers(&self) -> Vec<&str> {
        let entries = self.token.authorization_details.iter();
        let patterns = entries.flat_map(|entry| &entry.packages);
        patterns.map(String::as_str).collect()
    }

    fn operation(&self) -> Operation<'_> {
        Operation {
            action: &self.action,
            package: &self.package,
            version: None,
            digest: None,
        }
    }
}

fn named(patterns: &[&str]) -> String {
    let shown: Vec<String> = patterns
        .iter()
        .take(NAMED)
        .map(|pattern| format!("`{pattern}`"))
        .collect();
    let rest = patterns.len().saturating_sub(shown.len());
    match (shown.as_slice(), rest) {
        ([], _) => "no package".to_owned(),
        (_, 0) => shown.join(", "),
        (_, rest) => format!("{} and {rest} more", shown.join(", ")),
    }
}

fn generic(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({ "detail": text }))).into_response()
}

fn response(answer: dialect::Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() =
        StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let content_type = HeaderValue::from_static(answer.content_type);
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    let phrase = answer.reason_phrase.map(String::into_bytes);
    if let Some(Ok(phrase)) = phrase.map(ReasonPhrase::try_from) {
        response.extensions_mut().insert(phrase);
    }
    response
}
