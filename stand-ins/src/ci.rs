//! A stand-in for a CI platform: it publishes its key set and issues identity tokens with the
//! claims of GitHub Actions.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
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
            .with_state(Arc::new(self))
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
    let reference = query.reference.as_deref().unwrap_or("refs/heads/main");
    match ci.assertion(&query.audience, reference) {
        Ok(assertion) => assertion.into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
