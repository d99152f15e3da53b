//! The `OpenAPI` 3.1 document of the admin API, built from the described routes and the types that
//! the API serves.

use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::described::{DescribedRoutes, Method, Operation};
use super::problem::Problem;
use super::token::{ShownToken, TokenPerson};
use crate::admin::{Catalog, Counts, Inspection, Revocation, ShownPerson, ShownSession};
use crate::app::App;
use crate::audit::Outcome;
use crate::config::OwnUrls;
use crate::documents::{
    ClientDocument, FederatedCredentialDocument, IdentityProviderDocument, Kind,
    MembershipDocument, NotificationDocument, PrincipalDocument, RESOURCE_SERVER_TARGET,
    ResourceServerDocument, TrustedIssuerDocument,
};
use crate::explain::{Explanation, PersonExplanation};
use crate::snippets::Snippets;
use crate::upstream::{KeyStatus, ProviderStatus};

const PATH: &str = "/openapi.json";

/// Adds `GET /admin/v1/openapi.json`, which describes the given routes and itself. It needs no
/// token, and the document is large, so it is built once.
pub fn with_document(routes: DescribedRoutes) -> DescribedRoutes {
    let operation = || {
        Operation::open("This document").answer(
            "200",
            "This document.",
            &json!({ "type": "object" }),
        )
    };
    // Described first with an empty handler: the real handler needs the finished description.
    let described = DescribedRoutes::default().route(Method::Get, PATH, async || (), operation());
    let mut paths = routes.paths().clone();
    paths.extend(described.paths().clone());
    let made: OnceLock<Bytes> = OnceLock::new();
    let handler = move |State(app): State<Arc<App>>| {
        let body = made
            .get_or_init(|| document(&app.config.own, &paths).to_string().into())
            .clone();
        std::future::ready((
            [
                (CACHE_CONTROL, "public, max-age=300"),
                (CONTENT_TYPE, "application/json"),
            ],
            body,
        ))
    };
    routes.route(Method::Get, PATH, handler, operation())
}

/// The document for a server with these URLs and paths.
fn document(own: &OwnUrls, paths: &Map<String, Value>) -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Carnet admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0 OR MIT" },
            "description": "Trusted issuers, principals, resource servers, federated credentials, clients, notifications, identity providers and memberships. \
                            Unknown members are errors; read-only members are ignored in a body. PUT makes or replaces, \
                            PATCH is a merge patch (RFC 7396), If-Match guards against lost updates.",
        },
        "servers": [{ "url": own.at("/admin/v1") }],
        "security": [{ "bearer": [] }],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {
                    "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
                    "description": "One of our own tokens for <issuer>/admin with scope admin, admin:read, admin:credentials, \
                                    admin:credentials:<principal> or admin:read:<principal>: `carnet admin-token`, or client_credentials.",
                },
            },
            "schemas": schemas(),
        },
    })
}

pub fn schema_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Principal => "Principal",
        Kind::TrustedIssuer => "TrustedIssuer",
        Kind::ResourceServer => "ResourceServer",
        Kind::FederatedCredential => "FederatedCredential",
        Kind::Client => "Client",
        Kind::Notification => "Notification",
        Kind::IdentityProvider => "IdentityProvider",
        Kind::Membership => "Membership",
    }
}

fn schemas() -> Map<String, Value> {
    let mut nested: Vec<(String, RefOr<Schema>)> = Vec::new();
    PrincipalDocument::schemas(&mut nested);
    TrustedIssuerDocument::schemas(&mut nested);
    ResourceServerDocument::schemas(&mut nested);
    FederatedCredentialDocument::schemas(&mut nested);
    ClientDocument::schemas(&mut nested);
    NotificationDocument::schemas(&mut nested);
    IdentityProviderDocument::schemas(&mut nested);
    MembershipDocument::schemas(&mut nested);
    Explanation::schemas(&mut nested);
    PersonExplanation::schemas(&mut nested);
    Problem::schemas(&mut nested);
    Snippets::schemas(&mut nested);
    Revocation::schemas(&mut nested);
    Catalog::schemas(&mut nested);
    Counts::schemas(&mut nested);
    KeyStatus::schemas(&mut nested);
    ProviderStatus::schemas(&mut nested);
    let mut schemas: Map<String, Value> = nested
        .into_iter()
        .map(|(name, schema)| (name, json!(schema)))
        .collect();
    for (kind, schema) in [
        (Kind::Principal, PrincipalDocument::schema()),
        (Kind::TrustedIssuer, TrustedIssuerDocument::schema()),
        (Kind::ResourceServer, ResourceServerDocument::schema()),
        (
            Kind::FederatedCredential,
            FederatedCredentialDocument::schema(),
        ),
        (Kind::Client, ClientDocument::schema()),
        (Kind::Notification, NotificationDocument::schema()),
        (Kind::IdentityProvider, IdentityProviderDocument::schema()),
        (Kind::Membership, MembershipDocument::schema()),
    ] {
        schemas.insert(
            schema_name(kind).to_owned(),
            with_read_only(kind, json!(schema)),
        );
    }
    if let Some(permission) = schemas.get_mut("PermissionDocument") {
        name_target(permission);
    }
    schemas.insert("AuditEvent".to_owned(), audit_event());
    schemas.insert("DryRun".to_owned(), dry_run());
    schemas.insert("Person".to_owned(), json!(ShownPerson::schema()));
    schemas.insert("Session".to_owned(), json!(ShownSession::schema()));
    schemas.insert("Explanation".to_owned(), json!(Explanation::schema()));
    let of_person = json!(PersonExplanation::schema());
    schemas.insert("PersonExplanation".to_owned(), of_person);
    schemas.insert("Problem".to_owned(), json!(Problem::schema()));
    schemas.insert("Catalog".to_owned(), json!(Catalog::schema()));
    schemas.insert("ShownToken".to_owned(), json!(ShownToken::schema()));
    schemas.insert("TokenPerson".to_owned(), json!(TokenPerson::schema()));
    schemas.insert("Counts".to_owned(), json!(Counts::schema()));
    schemas.insert("Snippets".to_owned(), json!(Snippets::schema()));
    schemas.insert("Inspection".to_owned(), json!(Inspection::schema()));
    schemas.insert("Revocation".to_owned(), json!(Revocation::schema()));
    schemas.insert("KeyStatus".to_owned(), json!(KeyStatus::schema()));
    schemas.insert("ProviderStatus".to_owned(), json!(ProviderStatus::schema()));
    schemas
}

/// A permission names its resource server by `resource_server` or by `target`.
fn name_target(permission: &mut Value) {
    let target = json!({
        "type": "object", "required": ["kind", "name"], "writeOnly": true,
        "properties": { "kind": { "const": RESOURCE_SERVER_TARGET }, "name": { "type": "string" } },
    });
    if let Some(properties) = permission
        .get_mut("properties")
        .and_then(Value::as_object_mut)
    {
        properties.insert("target".to_owned(), target);
    }
    if let Some(required) = permission.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| name != "resource_server");
    }
    if let Some(schema) = permission.as_object_mut() {
        let forms = json!([{ "required": ["resource_server"] }, { "required": ["target"] }]);
        schema.insert("oneOf".to_owned(), forms);
    }
}

fn dry_run() -> Value {
    let text = json!({ "type": "string" });
    let error = json!({ "type": "object", "properties": { "pointer": text, "detail": text } });
    let warning = json!({ "type": "object", "properties": { "code": text, "detail": text } });
    json!({
        "type": "object", "required": ["stored", "would_change", "errors", "warnings"],
        "properties": {
            "stored": { "type": ["object", "null"], "description": "The object as it would be stored; null if it would be refused." },
            "would_change": { "type": "boolean" },
            "errors": { "type": "array", "items": error },
            "warnings": { "type": "array", "items": warning },
            "preview": {
                "type": "array", "items": text,
                "description": "Of a federated credential: what it admits and what it permits, in sentences.",
            },
        },
    })
}

fn audit_event() -> Value {
    let (text, time) = (
        json!({ "type": "string" }),
        json!({ "type": "string", "format": "date-time" }),
    );
    let (maybe, never) = (
        json!({ "type": ["string", "null"] }),
        json!({ "type": "null" }),
    );
    let assertion = json!({
        "type": ["object", "null"], "properties": { "digest": { "type": "string" }, "jti": { "type": ["string", "null"] } },
    });
    json!({
        "type": "object",
        "properties": {
            "id": text, "at": time, "kind": { "enum": ["token", "change", "publication", "session"] },
            "outcome": { "enum": Outcome::ALL.map(Outcome::as_str) },
            "reason": maybe, "trusted_issuer": maybe, "credential": maybe, "credential_name": maybe, "principal": maybe, "resource": maybe,
            "client_id": maybe, "actor": maybe, "person": maybe, "subject": maybe, "repository": maybe, "assertion": assertion,
            "first_use": { "type": ["object", "null"], "properties": { "event": text, "at": time } },
            "count": { "type": "integer", "minimum": 1 },
            "last_at": { "type": ["string", "null"], "format": "date-time" }, "last_error_id": maybe,
            "proof": never, "serial": never, "token_id": maybe, "address": maybe, "detail": { "type": "object" },
        },
    })
}

/// The read-only members of a notification.
fn of_notification(time: &Value) -> [(&'static str, Value); 5] {
    let maybe = json!({ "type": ["string", "null"], "format": "date-time", "readOnly": true });
    let secret =
        json!({ "type": "object", "properties": { "created_at": time, "expires_at": maybe } });
    [
        (
            "secret",
            json!({ "type": "string", "readOnly": true, "description": "In the answer that makes it, and never again." }),
        ),
        (
            "secrets",
            json!({ "type": "array", "items": secret, "readOnly": true }),
        ),
        ("last_delivered_at", maybe.clone()),
        (
            "last_error",
            json!({ "type": ["string", "null"], "readOnly": true }),
        ),
        ("failing_since", maybe),
    ]
}

/// The members of an identity provider or a membership that only answers, or only bodies, have.
fn of_people(kind: Kind) -> Vec<(&'static str, Value)> {
    let truth = |description: &str| json!({ "type": "boolean", "readOnly": true, "description": description });
    match kind {
        Kind::IdentityProvider => vec![
            (
                "client_secret",
                json!({ "type": ["string", "null"], "writeOnly": true, "description": "The client secret at the provider. In no answer; a document without it keeps the stored one." }),
            ),
            (
                "redirect_uri",
                json!({ "type": "string", "readOnly": true, "description": "The redirect URI to register at the provider." }),
            ),
            ("has_secret", truth("Whether a client secret is stored.")),
            (
                "writes",
                truth(
                    "Whether people can change anything, as far as discovery tells: false if the provider sends no auth_time.",
                ),
            ),
        ],
        Kind::Membership => vec![
            (
                "state",
                json!({ "enum": ["active", "expired", "disabled"], "readOnly": true }),
            ),
            ("revision", json!({ "type": "integer", "readOnly": true })),
        ],
        _ => Vec::new(),
    }
}

/// Adds the members that every answer has and that a body may leave out.
fn with_read_only(kind: Kind, mut schema: Value) -> Value {
    let time = json!({ "type": "string", "format": "date-time", "readOnly": true });
    let mut added = vec![
        ("name", json!({ "type": "string" })),
        (
            "id",
            json!({ "type": "string", "readOnly": kind != Kind::Principal }),
        ),
        (
            "warnings",
            json!({ "type": "array", "readOnly": true, "items": { "type": "object", "properties": { "code": { "type": "string" }, "detail": { "type": "string" } } } }),
        ),
        ("created_at", time.clone()),
        ("updated_at", time.clone()),
    ];
    if kind == Kind::FederatedCredential {
        added.extend([
            (
                "state",
                json!({ "enum": ["active", "pending", "expired", "disabled"], "readOnly": true }),
            ),
            ("pinned", json!({ "type": "object", "readOnly": true })),
            ("pending_until", json!({ "type": "string", "format": "date-time", "readOnly": true, "description": "Until when a pending rule waits for its first match." })),
            ("revision", json!({ "type": "integer", "readOnly": true })),
            (
                "first_used_at",
                json!({ "type": ["string", "null"], "format": "date-time", "readOnly": true }),
            ),
            (
                "last_used_at",
                json!({ "type": ["string", "null"], "format": "date-time", "readOnly": true }),
            ),
        ]);
    }
    if kind == Kind::Client {
        let secret = json!({ "type": "object", "properties": { "created_at": time, "expires_at": { "type": ["string", "null"], "format": "date-time" } } });
        added.extend([
            ("client_id", json!({ "type": "string", "readOnly": true })),
            ("client_secret", json!({ "type": "string", "readOnly": true, "description": "In the answer that makes it, and never again." })),
            ("secrets", json!({ "type": "array", "items": secret, "readOnly": true })),
            ("revision", json!({ "type": "integer", "readOnly": true })),
        ]);
    }
    if kind == Kind::Notification {
        added.extend(of_notification(&time));
    }
    added.extend(of_people(kind));
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.extend(
            added
                .into_iter()
                .map(|(name, schema)| (name.to_owned(), schema)),
        );
    }
    // Members that a body must have; all others have defaults.
    let required: &[&str] = match kind {
        Kind::Principal => &["kind"],
        Kind::TrustedIssuer => &["profile", "issuer"],
        Kind::ResourceServer => &["resource", "actions"],
        Kind::FederatedCredential => &["principal", "trusted_issuer", "match", "permissions"],
        Kind::Client => &[],
        Kind::Notification => &["url"],
        Kind::IdentityProvider => &["issuer", "client_id", "second_factor"],
        Kind::Membership => &["identity_provider", "match", "role"],
    };
    if let Some(members) = schema.as_object_mut() {
        members.insert("required".to_owned(), json!(required));
    }
    schema
}
