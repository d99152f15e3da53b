//! Challenges and the HTTP responses that contain them (RFC 6750 section 3).

use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use serde_json::json;

use crate::CREATE;
use crate::{DenialReason, Denied, Operation, ProtectedResource, Rejection};

/// Seconds after which a client may try again when a token could not be checked.
const RETRY_SECONDS: HeaderValue = HeaderValue::from_static("30");

/// The protection space that a registry names in its challenges (RFC 9110 section 11.5), and the
/// builder of its error responses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Realm {
    name: String,
    metadata: Option<String>,
}

impl Realm {
    /// A realm with this name. A challenge can contain only printable ASCII without `"` and `\`;
    /// other characters are left out of it.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            metadata: None,
        }
    }

    /// Adds `resource_metadata` to the challenges: the URL of the registry's metadata (RFC 9728
    /// section 5.1).
    #[must_use]
    pub fn described_by(self, resource: &ProtectedResource) -> Self {
        Self {
            metadata: Some(resource.url().to_owned()),
            ..self
        }
    }

    /// The value of `WWW-Authenticate` for a request without a valid token. It has no `error` for
    /// [`Rejection::NoToken`] and [`Rejection::Unavailable`] (RFC 6750 section 3.1).
    #[must_use]
    pub fn challenge(&self, rejection: Rejection) -> String {
        let description = match rejection {
            Rejection::InvalidRequest(why) | Rejection::InvalidToken(why) => Some(why),
            Rejection::NoToken | Rejection::Unavailable(_) => None,
        };
        self.bearer(&[
            ("error", rejection.error()),
            ("error_description", description),
        ])
    }

    /// The value of `WWW-Authenticate` for a valid token that does not allow `operation`: the error
    /// `insufficient_scope`, and in `scope` the actions that a sufficient token has.
    #[must_use]
    pub fn insufficient_scope(&self, denied: Denied, operation: &Operation<'_>) -> String {
        let action: String = operation.action.chars().filter(|c| *c != ' ').collect();
        let needed = match denied.reason {
            DenialReason::CreateDenied if action != CREATE => format!("{CREATE} {action}"),
            _ => action,
        };
        let description = denied.reason.to_string();
        self.bearer(&[
            ("error", Some("insufficient_scope")),
            ("error_description", Some(&description)),
            ("scope", Some(&needed)),
        ])
    }

    /// The complete response to a request without a valid token: status 400, 401 or 503, the
    /// challenge, and a JSON body with `error` and `error_description`. A 503 has `Retry-After` and
    /// no challenge.
    ///
    /// The [`Rejection`] is put into the response's extensions, so that an outer layer can log it.
    #[must_use]
    pub fn reject<B: From<String>>(&self, rejection: Rejection) -> Response<B> {
        let status = StatusCode::from_u16(rejection.status()).unwrap_or(StatusCode::UNAUTHORIZED);
        let description = rejection.to_string();
        let mut answer = match (rejection, rejection.error()) {
            // There is no challenge, since another token would not help. The reason is for the
            // operator only.
            (Rejection::Unavailable(_), _) => {
                let mut later = said(
                    status,
                    &json!({ "error_description": "the access token cannot be checked" }),
                );
                later.headers_mut().insert(RETRY_AFTER, RETRY_SECONDS);
                later
            }
            (_, Some(error)) => {
                let body = json!({ "error": error, "error_description": description });
                challenged(status, self.challenge(rejection), &body)
            }
            (_, None) => challenged(
                status,
                self.challenge(rejection),
                &json!({ "error_description": description }),
            ),
        };
        answer.extensions_mut().insert(rejection);
        answer
    }

    /// The complete response to a request whose token is valid and does not allow the operation:
    /// status 403, the challenge, and a JSON body with `error`, `error_description` and the code of
    /// the reason (`reason`).
    #[must_use]
    pub fn deny<B: From<String>>(&self, denied: Denied, operation: &Operation<'_>) -> Response<B> {
        let body = json!({
            "error": "insufficient_scope", "error_description": denied.to_string(), "reason": denied.reason.code(),
        });
        challenged(
            StatusCode::FORBIDDEN,
            self.insufficient_scope(denied, operation),
            &body,
        )
    }

    /// The challenge: `realm`, those of `parameters` that have a value, and `resource_metadata`,
    /// each as a quoted string.
    fn bearer(&self, parameters: &[(&str, Option<&str>)]) -> String {
        let first = [("realm", Some(self.name.as_str()))];
        let last = [("resource_metadata", self.metadata.as_deref())];
        let all = first.iter().chain(parameters).chain(&last);
        let given =
            all.filter_map(|(name, value)| Some(format!("{name}=\"{}\"", quotable((*value)?))));
        format!("Bearer {}", given.collect::<Vec<_>>().join(", "))
    }
}

/// Keeps the characters that are allowed in the value of every parameter: printable ASCII without
/// `"` and `\` (RFC 6750 section 3).
fn quotable(text: &str) -> String {
    text.chars()
        .filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\'))
        .collect()
}

fn said<B: From<String>>(status: StatusCode, body: &serde_json::Value) -> Response<B> {
    let mut answer = Response::new(B::from(body.to_string()));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
}

fn challenged<B: From<String>>(
    status: StatusCode,
    challenge: String,
    body: &serde_json::Value,
) -> Response<B> {
    let mut answer = said(status, body);
    let challenge = HeaderValue::try_from(challenge).unwrap_or(HeaderValue::from_static("Bearer"));
    answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    answer
}
