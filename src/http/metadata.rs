//! What we publish of ourselves: authorization server metadata (RFC 8414) and our keys (RFC 7517).

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use carnet_resource_server::DETAIL_TYPE;
use serde_json::json;

use crate::app::App;
use crate::grant::GrantType;

/// How long others may keep these documents. A new signing key is published long before it signs.
const PUBLIC: &str = "public, max-age=300";

/// `GET /.well-known/oauth-authorization-server`
pub async fn metadata(State(app): State<Arc<App>>) -> Response {
    let own = &app.config.own;
    let rules = app.rules();
    let servers = rules.resource_servers().filter(|server| server.enabled);
    let scopes: BTreeSet<&String> = servers.flat_map(|server| &server.actions).collect();
    let mut document = json!({
        "issuer": own.issuer(),
        "token_endpoint": own.token_endpoint(),
        "jwks_uri": own.at("/jwks"),
        // Required by RFC 8414, and there is no authorization endpoint: the one list that may be empty (decision D-26).
        "response_types_supported": [],
        "grant_types_supported": GrantType::ALL.map(GrantType::name),
        "token_endpoint_auth_methods_supported": ["none"],
        "authorization_details_types_supported": [DETAIL_TYPE],
    });
    if let Some(members) = document.as_object_mut().filter(|_| !scopes.is_empty()) {
        members.insert("scopes_supported".to_owned(), json!(scopes));
    }
    public(document.to_string())
}

/// `GET /jwks`
pub async fn jwks(State(app): State<Arc<App>>) -> Response {
    match app.keys.ring() {
        Some(ring) => public(ring.jwks().to_owned()),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// Anybody may read these, scripts of other sites too (decision D-61).
fn public(body: String) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static(PUBLIC)),
        (ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    ];
    (headers, body).into_response()
}
