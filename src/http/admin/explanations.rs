//! `POST /admin/v1/explanations`: why a token request is or would be refused
//! ([`admin::explain`]).

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use super::described::{DescribedRoutes, Method, Operation, reference};
use super::guard::{Access, AdminCaller, guard};
use super::objects::{document, rejected, respond};
use crate::admin;
use crate::app::App;

pub fn routes() -> DescribedRoutes {
    let text = json!({ "type": "string" });
    let texts = json!({ "oneOf": [text, { "type": "array", "items": text }] });
    let question = json!({
        "type": "object",
        "properties": {
            "grant_type": { "type": "string", "default": "jwt-bearer" },
            "assertion": text, "trusted_issuer": text, "claims": { "type": "object" }, "event": text,
            "resource": texts, "audience": texts, "principal": text, "scope": text, "requested_token_type": text,
            "front_door": text, "package": text,
            "proof": { "description": "The proof of possession that is taken as given.", "oneOf": [
                { "const": "none" },
                { "type": "object", "properties": { "jkt": text }, "required": ["jkt"], "additionalProperties": false },
                { "type": "object", "properties": { "x5t": text }, "required": ["x5t"], "additionalProperties": false },
            ] },
            "authorization_details": { "type": "array", "items": { "type": "object" } },
            "subject_token": text, "subject_token_type": text, "actor_token": text, "actor_token_type": text,
            "client_id": text, "client_assertion": text, "client_assertion_type": text,
        },
        "description": "A token request. Either what its grant presents, or trusted_issuer and claims, or an audit event.",
    });
    let operation = Operation::new("Say why").body(&question).answer(
        "200",
        "The explanation.",
        &reference("Explanation"),
    );
    DescribedRoutes::default().route(Method::Post, "/explanations", explain, operation)
}

async fn explain(State(app): State<Arc<App>>, caller: AdminCaller, body: Bytes) -> Response {
    respond(async {
        let author = guard(&app, &caller, Access::ReadCredentials).await?;
        let question = document(&body)?;
        let explanation = Box::pin(admin::explain(&app, &author, question)).await;
        Ok(Json(explanation.map_err(rejected)?).into_response())
    })
    .await
}
