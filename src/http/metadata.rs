//! Public documents: authorization server metadata (RFC 8414), protected resource metadata
//! (RFC 9728) and the JWK set of the signing keys (RFC 7517).

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, CACHE_CONTROL, CONTENT_TYPE,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use carnet_jose::Algorithm;
use carnet_resource_server::DETAIL_TYPE;
use serde_json::{Map, Value, json};

use crate::app::App;
use crate::config::OwnUrls;
use crate::documents::AuthMethod;
use crate::grant_type::GrantType;
use crate::model::ASSERTION_ALGORITHMS;
use crate::people;
use crate::scope::{ADMIN, ADMIN_CREDENTIALS, ADMIN_READ, OPENID_SCOPES};

/// Caches may keep these documents for 300 seconds. A new signing key is published long before it
/// signs.
const PUBLIC: &str = "public, max-age=300";

/// `GET /.well-known/oauth-authorization-server`
pub async fn metadata(State(app): State<Arc<App>>) -> Response {
    public(document(&app).to_string())
}

/// `GET /.well-known/openid-configuration`: the same document, with members that OpenID Connect
/// Discovery requires. Verifiers find `jwks_uri` in it, also where no people sign in and there are no ID
/// tokens.
pub async fn openid(State(app): State<Arc<App>>) -> Response {
    let mut document = document(&app);
    if let Some(members) = document.as_object_mut() {
        let algorithms = members
            .get("introspection_signing_alg_values_supported")
            .cloned()
            .unwrap_or_default();
        members.insert("subject_types_supported".to_owned(), json!(["public"]));
        members.insert(
            "id_token_signing_alg_values_supported".to_owned(),
            algorithms,
        );
    }
    public(document.to_string())
}

/// `OPTIONS` of these documents: scripts of any origin may read them, with any request header
/// (decision D-61).
pub async fn preflight() -> Response {
    let any = HeaderValue::from_static("*");
    let headers = [
        (ACCESS_CONTROL_ALLOW_ORIGIN, any.clone()),
        (ACCESS_CONTROL_ALLOW_HEADERS, any),
        (
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, HEAD"),
        ),
        (ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400")),
    ];
    (StatusCode::NO_CONTENT, headers).into_response()
}

fn document(app: &App) -> Value {
    let own = &app.config.own;
    let rules = app.rules();
    let servers = rules.resource_servers().filter(|server| server.enabled);
    let scopes: BTreeSet<&String> = servers.flat_map(|server| &server.actions).collect();
    let takes_svids = rules
        .issuers()
        .any(|issuer| issuer.enabled && issuer.profile.is_spiffe());
    let methods = |anonymous| methods(anonymous, takes_svids, own.takes_certificates());
    let client_algorithms = ASSERTION_ALGORITHMS.map(Algorithm::name);
    let signing_algorithm: Vec<&str> = app
        .keys
        .ring()
        .map(|ring| ring.active().public().algorithm().name())
        .into_iter()
        .collect();
    let has_people = people::can_sign_in(app);
    let grant_types = GrantType::ALL.into_iter();
    let grant_types: Vec<&str> = grant_types
        .filter(|grant| has_people || *grant != GrantType::AuthorizationCode)
        .map(GrantType::name)
        .collect();
    let mut document = json!({
        "issuer": own.issuer(),
        "token_endpoint": own.token_endpoint(),
        "jwks_uri": own.at("/jwks"),
        // RFC 8414 requires the member; without people who sign in the list is empty (decision D-26).
        "response_types_supported": [],
        "grant_types_supported": grant_types,
        "token_endpoint_auth_methods_supported": methods(true),
        "token_endpoint_auth_signing_alg_values_supported": client_algorithms,
        "introspection_endpoint": own.at("/introspect"),
        "introspection_endpoint_auth_methods_supported": methods(false),
        "introspection_endpoint_auth_signing_alg_values_supported": client_algorithms,
        "introspection_signing_alg_values_supported": signing_algorithm,
        "revocation_endpoint": own.at("/revoke"),
        "revocation_endpoint_auth_methods_supported": methods(true),
        "revocation_endpoint_auth_signing_alg_values_supported": client_algorithms,
        "dpop_signing_alg_values_supported": carnet_dpop::ALGORITHMS.map(Algorithm::name),
        "protected_resources": [own.admin_resource()],
        "authorization_details_types_supported": [DETAIL_TYPE],
    });
    if let Some(members) = document.as_object_mut() {
        let of_people = has_people.then_some(OPENID_SCOPES).into_iter().flatten();
        let scopes: Vec<&str> = scopes
            .into_iter()
            .map(String::as_str)
            .chain(of_people)
            .collect();
        if !scopes.is_empty() {
            members.insert("scopes_supported".to_owned(), json!(scopes));
        }
        members.extend(of_certificates(own));
        if has_people {
            members.extend(of_people_who_sign_in(own, &signing_algorithm));
        }
    }
    document
}

/// The members of a server at which clients ask people (OpenID Connect Discovery 1.0 section 3, RFC 8414
/// section 2, RFC 9207 section 3). Both documents have them, since clients read the one or the other.
fn of_people_who_sign_in(own: &OwnUrls, signing_algorithm: &[&str]) -> Map<String, Value> {
    let members = json!({
        "authorization_endpoint": own.at("/authorize"),
        "userinfo_endpoint": own.userinfo(),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "code_challenge_methods_supported": ["S256"],
        "authorization_response_iss_parameter_supported": true,
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": signing_algorithm,
        "prompt_values_supported": ["none", "login", "consent", "select_account"],
        "claims_supported": [
            "sub", "iss", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "at_hash", "sid", "name",
            "preferred_username", "email",
        ],
        "claims_parameter_supported": false,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
    });
    match members {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// The members of a server that takes client certificates (RFC 8705 sections 3.3 and 5).
fn of_certificates(own: &OwnUrls) -> Map<String, Value> {
    let aliases = ["token", "introspection", "revocation"]
        .into_iter()
        .zip(["/token", "/introspect", "/revoke"])
        .filter_map(|(name, path)| Some((format!("{name}_endpoint"), own.mtls_at(path)?.into())));
    let aliases: Map<String, Value> = aliases.collect();
    if aliases.is_empty() {
        return Map::new();
    }
    Map::from_iter([
        (
            "tls_client_certificate_bound_access_tokens".to_owned(),
            true.into(),
        ),
        ("mtls_endpoint_aliases".to_owned(), aliases.into()),
    ])
}

/// The method of clients that authenticate with a JWT-SVID (draft-ietf-oauth-spiffe-client-auth
/// section 4).
const SPIFFE_JWT: &str = "spiffe_jwt";

/// Client authentication methods by the names in their specifications. A federated client uses the
/// parameters of `private_key_jwt`. `spiffe_jwt` is listed only while an enabled trusted issuer has
/// a SPIFFE profile, and certificates only where the server asks for them.
fn methods(anonymous: bool, takes_svids: bool, takes_certificates: bool) -> Vec<&'static str> {
    let named = [
        AuthMethod::ClientSecretBasic,
        AuthMethod::ClientSecretPost,
        AuthMethod::PrivateKeyJwt,
    ];
    let none = anonymous.then_some(AuthMethod::None);
    none.into_iter()
        .chain(named)
        .chain(takes_certificates.then_some(AuthMethod::SelfSignedTlsClientAuth))
        .map(AuthMethod::as_str)
        .chain(takes_svids.then_some(SPIFFE_JWT))
        .collect()
}

/// `GET /.well-known/oauth-protected-resource/admin`: the admin API as a protected resource
/// (RFC 9728 section 2).
pub async fn protected_resource(State(app): State<Arc<App>>) -> Response {
    let own = &app.config.own;
    let document = json!({
        "resource": own.admin_resource(),
        "authorization_servers": [own.issuer()],
        "scopes_supported": [ADMIN, ADMIN_READ, ADMIN_CREDENTIALS],
        "bearer_methods_supported": ["header"],
        "dpop_signing_alg_values_supported": carnet_dpop::ALGORITHMS.map(Algorithm::name),
        "resource_name": "Carnet admin API",
    });
    public(document.to_string())
}

/// `GET /jwks`
pub async fn jwks(State(app): State<Arc<App>>) -> Response {
    match app.keys.ring() {
        Some(ring) => public(ring.jwks().to_owned()),
        None => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// Cacheable, and readable by scripts of any origin (decision D-61).
fn public(body: String) -> Response {
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("application/json")),
        (CACHE_CONTROL, HeaderValue::from_static(PUBLIC)),
        (ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
    ];
    (headers, body).into_response()
}
