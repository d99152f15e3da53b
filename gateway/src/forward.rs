//! The second half of a publication: it is forwarded, and what became of it is recorded.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use carnet_publish_protocols::Protocol;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Response, StatusCode};
use http_body_util::BodyExt as _;
use url::Url;

use crate::authority::Authority;
use crate::gateway::{Gateway, full};
use crate::records::Outcome;
use crate::refusal::{Kind, Refusal};
use crate::registry::{Registry, UpstreamCredential};
use crate::spool::Spooled;
use crate::upstream::{NoAnswer, PUBLISHING, bring_back, whole};
use crate::{Answered, BoxError};

/// The longest answer of a registry to a publication.
const MOST_ANSWERED: u64 = 1024 * 1024;

impl<A: Authority> Gateway<A> {
    /// Sends a publication to the registry and records what became of it.
    pub(crate) async fn forwarded(
        self: Arc<Self>,
        registry: Arc<Registry>,
        (id, by_gateway): (String, bool),
        (method, url): (Method, Url),
        headers: HeaderMap,
        spooled: Spooled,
    ) -> Result<Answered, Refusal> {
        let (body, left) = if headers.contains_key(CONTENT_LENGTH) {
            let (body, left) = spooled.into_body();
            (body.map_err(BoxError::from).boxed_unsync(), left)
        } else {
            (full(Bytes::new()), Arc::default())
        };
        let to = (method, url.clone());
        let answer = match self.upstream.publish(to, headers, body).await {
            Ok(mut answer) => {
                let body = tokio::time::timeout(PUBLISHING, whole(&mut answer, MOST_ANSWERED));
                let late = |_| NoAnswer::Silent("its answer took too long".to_owned());
                let body = body.await.map_err(late).flatten();
                body.map(|body| (answer, body))
            }
            Err(error) => Err(error),
        };
        let outcome = match &answer {
            Ok((answer, body)) => outcome(registry.protocol, answer.status(), body),
            Err(NoAnswer::Unreachable(_)) => Outcome::Refused { status: None },
            // It ended the connection before it could have the whole body: it took nothing of it.
            Err(_) if left.load(Ordering::Relaxed) > 0 => Outcome::Refused { status: None },
            Err(error) => Outcome::Unclear {
                why: error.to_string(),
            },
        };
        if let Err(error) = self.authority.settle(&id, &outcome).await {
            // It stays as under way, and is settled by what the registry has.
            tracing::error!(publication = id, ?outcome, %error, "the outcome of a publication cannot be recorded");
        }
        let (mut answer, body) = answer.map_err(|error| Refusal::no_answer(&registry, &error))?;
        if by_gateway && answer.status() == StatusCode::UNAUTHORIZED {
            let text = match registry.credential {
                UpstreamCredential::None => {
                    "the registry wants a credential, and the gateway has none (`credential` of the registry in gateway.registries)"
                }
                _ => "the registry does not accept the gateway's credential",
            };
            tracing::error!(registry = registry.name, "{text}");
            return Err(Refusal::new(
                Kind::Upstream,
                "registry_refuses_gateway",
                format!("{text}; tell its operator"),
            ));
        }
        if by_gateway && answer.status() == StatusCode::FORBIDDEN {
            tracing::warn!(
                registry = registry.name,
                "the registry forbids what the gateway publishes: its user lacks a right, or the password is wrong"
            );
        }
        bring_back(&mut answer, &registry, &url);
        let (mut parts, _) = answer.into_parts();
        parts.headers.remove(CONTENT_LENGTH);
        Ok(Response::from_parts(parts, full(body)))
    }
}

/// What an answer says of a publication.
fn outcome(protocol: Protocol, status: StatusCode, body: &[u8]) -> Outcome {
    let refused = Outcome::Refused {
        status: Some(status.as_u16()),
    };
    if status.is_success() {
        // Some registries of crates refuse with 200 and a list of errors.
        let is_refused = protocol == Protocol::CratesIo && holds_errors(body);
        return if is_refused {
            refused
        } else {
            Outcome::Accepted
        };
    }
    if status.is_client_error() {
        return refused;
    }
    Outcome::Unclear {
        why: format!("the registry answered {}", status.as_u16()),
    }
}

fn holds_errors(body: &[u8]) -> bool {
    let answer: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let errors = answer.as_ref().and_then(|answer| answer.get("errors"));
    errors
        .and_then(serde_json::Value::as_array)
        .is_some_and(|errors| !errors.is_empty())
}
