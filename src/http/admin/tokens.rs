//! Inspection and revocation of issued tokens by administrators and package owners.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use super::described::{DescribedRoutes, Method, Operation, reference};
use super::guard::{Access, AdminCaller, guard};
use super::objects::{document, rejected, respond};
use crate::admin::{self, Rejected, TokensToRevoke};
use crate::app::App;
use crate::documents::Reader;
use crate::trust::DocumentError;

pub fn routes() -> DescribedRoutes {
    let text = || json!({ "type": "string" });
    let token =
        json!({ "type": "object", "required": ["token"], "properties": { "token": text() } });
    let inspecting = Operation::new("Say what a token allows and whether it is in force")
        .body(&token)
        .answer("200", "What the token says.", &reference("Inspection"));
    let named = json!({
        "type": "object", "minProperties": 1, "maxProperties": 1, "additionalProperties": false,
        "properties": { "token": text(), "token_id": text(), "credential": text(), "principal": text() },
    });
    let revoking = Operation::new("End one token, or the tokens of a rule or a principal")
        .body(&named)
        .answer(
            "200",
            "What ended, and what could not be ended.",
            &reference("Revocation"),
        );
    DescribedRoutes::default()
        .route(Method::Post, "/tokens/inspect", inspect, inspecting)
        .route(Method::Post, "/tokens/revoke", revoke, revoking)
}

/// `POST /admin/v1/tokens/inspect` with `{"token": …}`
async fn inspect(State(app): State<Arc<App>>, caller: AdminCaller, body: Bytes) -> Response {
    respond(async {
        let author = guard(&app, &caller, Access::ReadCredentials).await?;
        let members = document(&body)?;
        let mut reader = Reader::new(&members);
        let token = reader.required_text("token");
        let token = reader.finish(token).map_err(Rejected::Invalid);
        let inspected = admin::inspect(&app, &token.map_err(rejected)?, &author).await;
        Ok(Json(inspected.map_err(rejected)?).into_response())
    })
    .await
}

/// `POST /admin/v1/tokens/revoke` with exactly one of `token`, `token_id`, `credential` and
/// `principal`.
async fn revoke(State(app): State<Arc<App>>, caller: AdminCaller, body: Bytes) -> Response {
    respond(async {
        let author = guard(&app, &caller, Access::WriteCredentials).await?;
        let named = named(&document(&body)?).map_err(rejected)?;
        let revoked = admin::revoke(&app, &named, &author)
            .await
            .map_err(rejected)?;
        if revoked.token_id.is_some() && !revoked.had_ended {
            metrics::counter!("carnet_tokens_revoked_total").increment(1);
        }
        Ok(Json(revoked).into_response())
    })
    .await
}

fn named(members: &Map<String, Value>) -> Result<TokensToRevoke, Rejected> {
    let mut reader = Reader::new(members);
    let given = [
        reader.text("token").map(TokensToRevoke::Token),
        reader.text("token_id").map(TokensToRevoke::TokenId),
        reader.text("credential").map(TokensToRevoke::Credential),
        reader.text("principal").map(TokensToRevoke::Principal),
    ];
    let mut given: Vec<TokensToRevoke> = reader
        .finish(given)
        .map_err(Rejected::Invalid)?
        .into_iter()
        .flatten()
        .collect();
    given.pop().filter(|_| given.is_empty()).ok_or_else(|| {
        let detail = "must have exactly one of token, token_id, credential and principal";
        Rejected::Invalid(vec![DocumentError::new("", detail)])
    })
}
