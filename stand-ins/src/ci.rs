//! A stand-in for a CI platform: it publishes its key set and issues identity tokens with the
//! claims of GitHub Actions.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use carnet_engine::clock::Clock;
use carnet_engine::ids;
use carnet_jose::{Algorithm, SigningError, SigningKey};
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

#[derive(Debug)]
pub struct StandInCi {
    issuer: String,
    key: SigningKey,
    clock: Arc<dyn Clock>,
}

#[derive(Debug, Deserialize)]
struct TokenQuery {
    audience: String,
    #[serde(rename = "ref")]
    reference: Option<String>,
}

impl StandInCi {
    /// The value of `ACTIONS_ID_TOKEN_REQUEST_TOKEN` in a job of this platform.
    pub const REQUEST_TOKEN: &str = "stand-in-job";

    /// The value of `ACTIONS_ID_TOKEN_REQUEST_URL` in a job that runs for this ref, on the platform
    /// with this issuer identifier. It has a query, as GitHub's has, to which tools add the audience.
    pub fn request_url(issuer: &str, reference: &str) -> String {
        format!("{issuer}/id-token?ref={reference}")
    }

    /// A platform with this issuer identifier and a new RS256 key.
    pub fn new(issuer: &str, clock: Arc<dyn Clock>) -> Result<Self, SigningError> {
        Ok(Self {
            issuer: issuer.to_owned(),
            key: SigningKey::generate(Algorithm::RS256)?,
            clock,
        })
    }

    /// The endpoints: discovery, key set, and the identity tokens that a job requests.
    pub fn router(self) -> Router {
        Router::new()
            .route("/.well-known/openid-configuration", get(metadata))
            .route("/jwks", get(jwks))
            .route("/assertion", get(assertion))
            .route("/id-token", get(id_token))
            .with_state(Arc::new(self))
    }

    fn answer(&self, query: &TokenQuery) -> Result<String, SigningError> {
        let reference = query.reference.as_deref().unwrap_or("refs/heads/main");
        self.assertion(&query.audience, reference)
    }

    fn assertion(&self, audience: &str, reference: &str) -> Result<String, SigningError> {
        let now = self.clock.now();
        let workflow = format!("octo-org/octo-repo/.github/workflows/release.yml@{reference}");
        let commit = "1a2b3c4d".repeat(5);
        let claims = json!({
            "iss": self.issuer, "aud": audience, "sub": format!("repo:octo-org/octo-repo:ref:{reference}"),
            "jti": Uuid::hyphenated(ids::new(now)).to_string(),
            "iat": now.seconds(), "nbf": now.seconds().saturating_sub(600), "exp": now.seconds().saturating_add(300),
            "repository": "octo-org/octo-repo", "repository_id": "74", "repository_owner": "octo-org",
            "repository_owner_id": "65", "repository_visibility": "public", "actor": "octocat", "actor_id": "12",
            "ref": reference, "ref_type": "branch", "ref_protected": "true", "sha": commit, "event_name": "push",
            "workflow": "Release", "workflow_ref": workflow, "workflow_sha": commit, "job_workflow_ref": workflow,
            "job_workflow_sha": commit, "run_id": "9001", "run_number": "10", "run_attempt": "1",
            "runner_environment": "github-hosted", "head_ref": "", "base_ref": "",
        });
        self.key.sign_typed("JWT", claims.to_string().as_bytes())
    }
}

async fn metadata(State(ci): State<Arc<StandInCi>>) -> Json<Value> {
    Json(json!({ "issuer": ci.issuer, "jwks_uri": format!("{}/jwks", ci.issuer) }))
}

async fn jwks(State(ci): State<Arc<StandInCi>>) -> Json<Value> {
    Json(json!({ "keys": [ci.key.public().jwk()] }))
}

async fn assertion(State(ci): State<Arc<StandInCi>>, Query(query): Query<TokenQuery>) -> Response {
    match ci.answer(&query) {
        Ok(assertion) => assertion.into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Answers as GitHub Actions answers the tools of its jobs: they send the request token of the job,
/// and find the identity token in `value`.
async fn id_token(
    State(ci): State<Arc<StandInCi>>,
    headers: HeaderMap,
    Query(query): Query<TokenQuery>,
) -> Response {
    // Old versions of uv write the scheme in small letters.
    let sent = headers
        .get(AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let is_of_job = sent
        .and_then(|value| value.split_once(' '))
        .is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case("bearer") && token == StandInCi::REQUEST_TOKEN
        });
    if !is_of_job {
        return StatusCode::UNAUTHORIZED.into_response();
    }
    match ci.answer(&query) {
        Ok(assertion) => Json(json!({ "value": assertion })).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
