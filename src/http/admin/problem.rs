//! Errors of the admin API: problem details (RFC 9457). A rejected document is answered with all of
//! its mistakes.

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use crate::admin::{Referrer, Referrers, Rejected};
use crate::refusal::Refusal;
use crate::trust;

/// Problem details of a request that failed (RFC 9457).
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// Always `about:blank`: use `code` to tell problems apart.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The standard phrase of the HTTP status, such as `Not Found`.
    pub title: &'static str,
    /// The HTTP status code of the answer.
    pub status: u16,
    /// A stable code for programs, such as `invalid_document`.
    pub code: &'static str,
    /// A sentence for people that says what is wrong.
    pub detail: String,
    /// Every mistake in the document, with a JSON pointer to its place; left out if there are none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<trust::DocumentError>,
    /// For `in_use`: the objects that refer to the one that was to be deleted, at most 100, as far
    /// as the token may read them; left out otherwise.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Vec<Referrer>, required = false)]
    pub referrers: Option<Box<Referrers>>,
    /// Seconds for the `Retry-After` header; not part of the body.
    #[serde(skip)]
    pub retry_after: Option<u32>,
}

impl Problem {
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Error"),
            status: status.as_u16(),
            code,
            detail: detail.into(),
            errors: Vec::new(),
            referrers: None,
            retry_after: None,
        }
    }

    /// 500, for an error that should not happen.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// 429 with `Retry-After`, for a caller over its rate limit.
    pub fn limited(refusal: &Refusal) -> Self {
        let wait = refusal.retry_after.unwrap_or(1);
        let detail = format!("{}; try again in {wait} s", refusal.reason.sentence());
        Self {
            retry_after: Some(wait),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail)
        }
    }

    pub fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let retry_after = self.retry_after;
        let mut response = (status, axum::Json(self)).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response.headers_mut().insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        response
    }
}

impl From<Problem> for Response {
    fn from(problem: Problem) -> Self {
        problem.into_response()
    }
}

impl From<Rejected> for Problem {
    fn from(rejected: Rejected) -> Self {
        let detail = rejected.to_string();
        match rejected {
            Rejected::Invalid(errors) => Self {
                errors,
                ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_document", detail)
            },
            Rejected::NoKeys(error) => Self {
                errors: vec![error],
                ..Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_document", detail)
            },
            Rejected::NotFound => Self::new(StatusCode::NOT_FOUND, "not_found", detail),
            Rejected::Exists(_) => Self::new(StatusCode::CONFLICT, "exists", detail),
            Rejected::Ambiguous(_) => Self::new(StatusCode::CONFLICT, "ambiguous_name", detail),
            Rejected::InUse(referrers) => Self {
                referrers: (!referrers.shown.is_empty()).then(|| Box::new(referrers)),
                ..Self::new(StatusCode::CONFLICT, "in_use", detail)
            },
            Rejected::Changed => Self::new(StatusCode::PRECONDITION_FAILED, "changed", detail),
            Rejected::Forbidden => Self::new(StatusCode::FORBIDDEN, "forbidden", detail),
            Rejected::Limited(refusal) => Self::limited(&refusal),
            Rejected::Unavailable(_) => {
                tracing::error!(error = detail, "admin request failed");
                Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "unavailable",
                    "the database cannot be used at the moment",
                )
            }
        }
    }
}
