//! From a refusal to an answer: the one place that knows which OAuth code and status a reason has.

use axum::Json;
use axum::http::header::{ALLOW, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use crate::clock::Timestamp;
use crate::config::OwnUrls;
use crate::grant_type::GrantType;
use crate::ids::EventId;
use crate::reason::Reason;
use crate::refusal::{Mismatch, Refusal};

/// The body of an error answer (RFC 6749 section 5.2, and the members of contract section 4).
#[derive(Clone, Debug, Serialize)]
pub struct ErrorBody {
    error: &'static str,
    error_description: &'static str,
    reason: Reason,
    error_id: EventId,
    error_uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    parameter: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    claim: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    accepted_audiences: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    server_time: Option<i64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mismatches: Vec<Mismatch>,
}

impl ErrorBody {
    /// What a caller is told.
    pub fn new(own: &OwnUrls, grant: Option<GrantType>, id: EventId, refusal: &Refusal, now: Timestamp) -> Self {
        let reason = refusal.reason;
        let about_time = matches!(reason, Reason::Expired | Reason::NotYetValid | Reason::IatFuture);
        Self {
            error: oauth_code(grant, refusal).1,
            error_description: reason.sentence(),
            reason,
            error_id: id,
            error_uri: own.at(&format!("/reasons/{reason}")),
            parameter: refusal.parameter,
            claim: refusal.claim.clone(),
            accepted_audiences: refusal.accepted_audiences.clone(),
            server_time: about_time.then(|| now.seconds()),
            mismatches: refusal.mismatches.clone(),
        }
    }
}

/// The answer to a refused request; it is logged and counted here and nowhere else.
pub fn error_response(
    own: &OwnUrls,
    grant: Option<GrantType>,
    id: EventId,
    refusal: &Refusal,
    now: Timestamp,
) -> Response {
    let reason = refusal.reason;
    let (status, error) = oauth_code(grant, refusal);
    metrics::counter!("carnet_refusals_total", "reason" => reason.code()).increment(1);
    let detail = refusal.detail.as_deref();
    if status.is_server_error() {
        tracing::error!(error_id = %id, %reason, detail, "request failed");
    } else {
        tracing::info!(error_id = %id, %reason, detail, "request refused");
    }
    let mut response = (status, Json(ErrorBody::new(own, grant, id, refusal, now))).into_response();
    let headers = response.headers_mut();
    if let Some(seconds) = refusal.retry_after {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    if error == "invalid_client" {
        headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"carnet\""));
    }
    if status == StatusCode::METHOD_NOT_ALLOWED {
        headers.insert(ALLOW, HeaderValue::from_static("POST"));
    }
    response
}

/// The pattern of what can be wrong with an assertion or with what rests on it.
macro_rules! of_the_assertion {
    () => {
        Reason::AssertionMalformed
            | Reason::HeaderDenied
            | Reason::TypDenied
            | Reason::IssUnknown
            | Reason::AlgDenied
            | Reason::KeyUnknown
            | Reason::SignatureInvalid
            | Reason::ReviewDenied
            | Reason::ClaimDuplicate
            | Reason::ClaimMissing
            | Reason::ClaimType
            | Reason::ClaimMalformed
            | Reason::ClaimInconsistent
            | Reason::AudMismatch
            | Reason::AudNotSingle
            | Reason::Expired
            | Reason::NotYetValid
            | Reason::IatFuture
            | Reason::LifetimeTooLong
            | Reason::ProofMissing
            | Reason::Replay
            | Reason::NoMatchingCredential
            | Reason::RepoMismatch
            | Reason::Renamed
            | Reason::OwnerIdMismatch
            | Reason::RepoIdMismatch
            | Reason::WorkflowMismatch
            | Reason::CalledWorkflowMismatch
            | Reason::EnvMismatch
            | Reason::EnvMissing
            | Reason::RefMismatch
            | Reason::RefUnprotected
            | Reason::EventDenied
            | Reason::RunnerDenied
            | Reason::VisibilityMismatch
            | Reason::ActorMismatch
            | Reason::SubMismatch
            | Reason::EnvUnprotected
            | Reason::IdMismatch
            | Reason::TrustDomainMismatch
            | Reason::SubjectDomainMismatch
            | Reason::EmailUnverified
            | Reason::EmailMismatch
            | Reason::UpstreamMismatch
            | Reason::PrincipalType
            | Reason::CredentialStrength
            | Reason::SourceMismatch
            | Reason::ContextMismatch
            | Reason::PhaseMismatch
            | Reason::IdentityMismatch
            | Reason::ClaimMismatch
            | Reason::CredentialDisabled
            | Reason::CredentialExpired
            | Reason::PrincipalDisabled
            | Reason::IssuerScope
            | Reason::PolicyInvalid
            | Reason::GrantNotTaken
            | Reason::SubjectTokenInvalid
            | Reason::SubjectTokenInactive
            | Reason::ActorTokenInvalid
            | Reason::ActorNotAllowed
            | Reason::ChainTooLong
    };
}

/// Status and `error` for a refusal. What is wrong with an assertion is `invalid_grant` for the jwt-bearer grant (RFC 7523 section 3.1),
/// `invalid_request` for a token exchange (RFC 8693 section 2.2.2) and `invalid_client` where it authenticates a client (RFC 7523 section
/// 3.2); so the grant is an argument.
fn oauth_code(grant: Option<GrantType>, refusal: &Refusal) -> (StatusCode, &'static str) {
    const BAD: StatusCode = StatusCode::BAD_REQUEST;
    match refusal.reason {
        of_the_assertion!() if refusal.of_client => (StatusCode::UNAUTHORIZED, "invalid_client"),
        Reason::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "invalid_request"),
        Reason::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "invalid_request"),
        Reason::RateLimited => (StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable"),
        Reason::MediaType
        | Reason::FormMalformed
        | Reason::ParameterInQuery
        | Reason::ParameterRepeated
        | Reason::ParameterMissing
        | Reason::ParameterMalformed
        | Reason::TokenTypeUnsupported
        | Reason::PrincipalRequired => (BAD, "invalid_request"),
        Reason::GrantTypeUnsupported => (BAD, "unsupported_grant_type"),
        Reason::ClientAuthenticationFailed => (StatusCode::UNAUTHORIZED, "invalid_client"),
        Reason::ClientNotAllowed => (BAD, "unauthorized_client"),
        Reason::ScopeMalformed | Reason::ScopeNotGranted => (BAD, "invalid_scope"),
        Reason::ResourceMalformed | Reason::TargetUnknown | Reason::TargetAmbiguous | Reason::TargetNotGranted => {
            (BAD, "invalid_target")
        }
        Reason::DetailsMalformed
        | Reason::PackageOutOfScope
        | Reason::ActionOutOfScope
        | Reason::OwnerOutOfScope
        | Reason::CreateDenied
        | Reason::VersionMismatch
        | Reason::DigestMismatch
        | Reason::OwnerLost
        | Reason::OwnerAmbiguous => (BAD, "invalid_authorization_details"),
        Reason::TokenOfAnotherClient => match grant {
            Some(GrantType::TokenExchange) => (BAD, "invalid_request"),
            None | Some(GrantType::JwtBearer | GrantType::ClientCredentials) => (BAD, "unauthorized_client"),
        },
        of_the_assertion!() => match grant {
            None | Some(GrantType::JwtBearer | GrantType::ClientCredentials) => (BAD, "invalid_grant"),
            Some(GrantType::TokenExchange) => (BAD, "invalid_request"),
        },
        Reason::UpstreamUnavailable | Reason::Busy | Reason::DatabaseUnavailable => {
            (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
        }
        Reason::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
    }
}
