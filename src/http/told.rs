//! A refusal on its way to the caller: counted, logged, and put into the answer of the form
//! endpoints (RFC 6749 section 5.2). Front doors have answers of their own.

use std::borrow::Cow;
use std::net::IpAddr;

use axum::Json;
use axum::http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::sent::{Sent, SentAssertion};
use crate::clock::Timestamp;
use crate::config::OwnUrls;
use crate::grant::TokenError;
use crate::grant_type::GrantType;
use crate::ids::{self, EventId};
use crate::opaque;
use crate::reason::{Class, Reason};
use crate::refusal::{Refusal, RefusalDetails};
use crate::telemetry::note_refusal;

/// The longest part of a path that is logged, in bytes: a name has at most that many.
const MAX_PART: usize = 128;

/// Facts about a refused request for its log line.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub endpoint: Uri,
    pub address: Option<IpAddr>,
    pub sent: Sent,
    /// The scheme of the `Authorization` header, if the request has one.
    pub authorization: Option<String>,
}

const UNKNOWN: SentAssertion = SentAssertion {
    iss: None,
    sub: None,
    resource: None,
};

/// A refusal that was counted and logged.
#[derive(Debug)]
pub struct Told {
    /// The id of the audit event: `error_id` in the answer.
    pub id: EventId,
    pub status: StatusCode,
    /// The OAuth error code.
    error: &'static str,
    pub refusal: Refusal,
    /// The scheme of the request's `Authorization` header.
    authorization: Option<String>,
    now: Timestamp,
}

/// The body of an error answer (RFC 6749 section 5.2). `docs/src/reference/token.md` lists the
/// additional members.
#[derive(Clone, Debug, Serialize)]
struct ErrorBody {
    error: &'static str,
    error_description: String,
    reason: Reason,
    error_id: EventId,
    error_uri: String,
    #[serde(flatten)]
    details: RefusalDetails,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_time: Option<i64>,
    /// For a used assertion: the time (RFC 3339) and the audit event of its first use, if the same
    /// caller made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    used_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    used_in: Option<EventId>,
    /// The scheme of the request's `Authorization` header, with status 401 only.
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization: Option<String>,
}

impl TokenError {
    /// Status and OAuth error code. Token exchange has codes of its own (RFC 8693 section 2.2.2),
    /// and a faulty client assertion is `invalid_client` (RFC 7523 section 3.2).
    fn code(&self) -> (StatusCode, &'static str) {
        let class = self.refusal.reason.class();
        let row = if matches!(
            class,
            Class::Assertion | Class::Certificate | Class::Profile
        ) && self.refusal.of_client
        {
            Class::Client.row()
        } else {
            class.row()
        };
        let exchange = self.grant_type == Some(GrantType::TokenExchange);
        let error = if exchange {
            row.error_of_exchange
        } else {
            row.error
        };
        (
            StatusCode::from_u16(row.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            error,
        )
    }
}

impl Told {
    /// Counts and logs a refusal.
    pub(super) fn of(id: EventId, error: TokenError, now: Timestamp, asked: &Asked) -> Self {
        let (status, code) = error.code();
        let told = Self {
            id,
            status,
            error: code,
            authorization: asked.authorization.clone(),
            now,
            refusal: *error.refusal,
        };
        told.log(error.grant_type, asked);
        told
    }

    /// One line per refusal: what an operator needs to help the caller or to block its address.
    fn log(&self, grant_type: Option<GrantType>, asked: &Asked) {
        let (refusal, id) = (&self.refusal, self.id);
        let reason = refusal.reason;
        note_refusal(reason);
        metrics::counter!("carnet_refusals_total", "reason" => reason.code()).increment(1);
        let detail = refusal.detail.as_deref();
        let Asked {
            endpoint,
            address,
            sent,
            authorization,
        } = asked;
        let (address, client) = (address.map(|address| address.to_string()), sent.client());
        let endpoint = &*without_secrets(endpoint.path());
        let grant = grant_type.map(GrantType::short_name);
        let SentAssertion { iss, sub, resource } = sent.assertion().unwrap_or(&UNKNOWN);
        let claim = refusal.claim.as_deref();
        let received = refusal
            .facts
            .as_ref()
            .and_then(|facts| facts.received.as_ref())
            .map(ToString::to_string);
        if self.status.is_server_error() {
            tracing::error!(error_id = %id, %reason, detail, address, endpoint, grant, client, iss, sub, resource, claim, received, authorization, "request failed");
        } else {
            tracing::info!(error_id = %id, %reason, detail, address, endpoint, grant, client, iss, sub, resource, claim, received, authorization, "request refused");
        }
    }

    /// The answer of the form endpoints.
    pub(super) fn answer(self, own: &OwnUrls) -> Response {
        let Self {
            id,
            status,
            error,
            refusal,
            authorization,
            now,
        } = self;
        let reason = refusal.reason;
        let used_in = refusal.facts.as_ref().and_then(|facts| facts.used_in);
        let about_time = matches!(
            reason,
            Reason::Expired | Reason::NotYetValid | Reason::IatFuture
        );
        let body = ErrorBody {
            error,
            error_description: refusal.description(),
            reason,
            error_id: id,
            error_uri: uri_of(reason, own),
            details: RefusalDetails::from(&refusal),
            authorization: authorization.filter(|_| status == StatusCode::UNAUTHORIZED),
            used_at: used_in.map(|event| ids::time_of(event.0).to_string()),
            used_in,
            server_time: about_time.then(|| now.seconds()),
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        retry_after(&refusal, headers);
        if error == "invalid_client" {
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"carnet\""),
            );
        }
        if status == StatusCode::METHOD_NOT_ALLOWED {
            headers.insert(ALLOW, HeaderValue::from_static("POST"));
        }
        response
    }
}

/// A path for the log: what a caller put there by mistake may be a token.
pub(super) fn without_secrets(path: &str) -> Cow<'_, str> {
    let is_secret = |part: &str| {
        part.len() > MAX_PART || part.starts_with("eyJ") || opaque::is_well_formed(part)
    };
    if path.split('/').any(is_secret) {
        let parts = path.split('/');
        let parts = parts.map(|part| if is_secret(part) { "…" } else { part });
        Cow::Owned(parts.collect::<Vec<_>>().join("/"))
    } else {
        Cow::Borrowed(path)
    }
}

/// The page on a reason: `error_uri`.
pub(super) fn uri_of(reason: Reason, own: &OwnUrls) -> String {
    own.at(&format!("/reasons/{reason}"))
}

/// Adds `Retry-After`, if the refusal is worth another try.
pub(super) fn retry_after(refusal: &Refusal, headers: &mut HeaderMap) {
    if let Some(seconds) = refusal.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn atk_202__a_token_in_a_path_is_not_logged() {
        let secret = opaque::generate("carnet_");
        let long = "x".repeat(129);
        for (path, shown) in [
            ("/token", "/token"),
            ("/admin/v1/clients/site", "/admin/v1/clients/site"),
            ("/-/npm/eyJhbGciOi.x.y/rev", "/-/npm/…/rev"),
            (&format!("/{secret}"), "/…"),
            (&format!("/{long}/x"), "/…/x"),
        ] {
            assert_eq!(without_secrets(path), shown);
        }
    }
}
