//! The description of the admin API (`OpenAPI` 3.1), put together from the types that are served.

use std::sync::{Arc, OnceLock};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::routing::{MethodRouter, get};
use serde_json::{Map, Value, json};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::problem::Problem;
use crate::admin::{MAX_SECRET_OVERLAP_SECONDS, SECRET_OVERLAP_SECONDS};
use crate::app::App;
use crate::audit::Outcome;
use crate::config::OwnUrls;
use crate::explain::Explanation;
use crate::objects::{
    ClientDocument, FederatedCredentialDocument, Kind, PrincipalDocument, RESOURCE_SERVER_TARGET,
    ResourceServerDocument, TrustedIssuerDocument,
};

/// `GET /admin/v1/openapi.json`: how the API is used is no secret. It is made once: it is large, and anybody may ask for it.
pub fn route() -> MethodRouter<Arc<App>> {
    let made: Arc<OnceLock<Bytes>> = Arc::default();
    get(move |State(app): State<Arc<App>>| {
        let body = made.get_or_init(|| document(&app.config.own).to_string().into()).clone();
        std::future::ready(([(CACHE_CONTROL, "public, max-age=300"), (CONTENT_TYPE, "application/json")], body))
    })
}

/// The document for a server with these URLs.
pub fn document(own: &OwnUrls) -> Value {
    let mut paths = Map::new();
    for kind in Kind::ALL {
        paths.extend(object_paths(kind));
    }
    paths.extend(other_paths());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Carnet admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0 OR MIT" },
            "description": "Trusted issuers, principals, resource servers, federated credentials and clients. \
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
                    "description": "One of our own tokens for <issuer>/admin with scope admin, admin:read, admin:credentials or \
                                    admin:credentials:<principal>: `carnet admin-token`, or client_credentials.",
                },
            },
            "schemas": schemas(),
        },
    })
}

fn object_paths(kind: Kind) -> [(String, Value); 2] {
    let noun = kind.noun();
    let name = json!({
        "name": "name", "in": "path", "required": true, "schema": { "type": "string" }, "description": format!("The {noun}'s name or id."),
    });
    let query = |name: &str, schema: Value, description: &str| json!({ "name": name, "in": "query", "schema": schema, "description": description });
    let mut listing = vec![
        query("limit", json!({ "type": "integer", "minimum": 1, "maximum": 500, "default": 50 }), "How many items."),
        query("cursor", json!({ "type": "string" }), "The `next_cursor` of the page before."),
    ];
    listing.push(query(
        "view",
        json!({ "enum": ["export"] }),
        "As `carnet apply` takes them: what was given, pins as ids.",
    ));
    if kind == Kind::FederatedCredential {
        listing.push(query("principal", json!({ "type": "string" }), "Rules of this principal only."));
        listing.push(query("trusted_issuer", json!({ "type": "string" }), "Rules of this trusted issuer only."));
    }
    let saving = [
        query("validate", json!({ "enum": ["offline"] }), "Saves without fetching anything."),
        query("dry_run", json!({ "type": "boolean" }), "Says what saving would do, and writes nothing."),
    ];
    let item = json!({ "$ref": format!("#/components/schemas/{}", schema_name(kind)) });
    let body = json!({ "required": true, "content": { "application/json": { "schema": item } } });
    let patch =
        json!({ "required": true, "content": { "application/merge-patch+json": { "schema": { "type": "object" } } } });
    let one = |description: &str| json!({ "description": description, "content": { "application/json": { "schema": item } } });
    let tried = json!({ "$ref": "#/components/schemas/DryRun" });
    let saved = |description: &str| json!({ "description": description, "content": { "application/json": { "schema": { "oneOf": [item, tried] } } } });
    let only_tried = json!({ "description": "With `dry_run`: what would become of it.", "content": { "application/json": { "schema": tried } } });
    let page = json!({
        "type": "object", "required": ["items", "next_cursor"],
        "properties": { "items": { "type": "array", "items": item }, "next_cursor": { "type": ["string", "null"] } },
    });
    let many = json!({ "description": "A page.", "content": { "application/json": { "schema": page } } });
    let collection = json!({
        "get": operation(&format!("List every {noun}"), &listing, None, &[("200", many)]),
        "post": operation(&format!("Make a {noun}"), &saving, Some(&body), &[("200", only_tried), ("201", one("It was made."))]),
    });
    let object = json!({
        "parameters": [name],
        "get": operation(&format!("Read a {noun}"), &[], None, &[("200", one("It."))]),
        "put": operation(&format!("Make or replace a {noun}"), &saving, Some(&body), &[("200", saved("It was replaced, or with `dry_run` what would become of it.")), ("201", one("It was made."))]),
        "patch": operation(&format!("Change a {noun}"), &saving, Some(&patch), &[("200", saved("It was changed, or with `dry_run` what would become of it."))]),
        "delete": operation(&format!("Remove a {noun}"), &[], None, &[("204", json!({ "description": "It is gone." }))]),
    });
    [(format!("/{}", kind.segment()), collection), (format!("/{}/{{name}}", kind.segment()), object)]
}

fn other_paths() -> Vec<(String, Value)> {
    let any = |description: &str| json!({ "description": description, "content": { "application/json": { "schema": { "type": "object" } } } });
    let path = |name: &str| json!([{ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }]);
    let query = |(name, schema): (&str, Value)| json!({ "name": name, "in": "query", "schema": schema });
    let explained = json!({ "description": "The explanation.", "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Explanation" } } } });
    let text = json!({ "type": "string" });
    let texts = json!({ "oneOf": [text, { "type": "array", "items": text }] });
    let question = json!({ "required": true, "content": { "application/json": { "schema": {
        "type": "object",
        "properties": {
            "grant_type": { "type": "string", "default": "jwt-bearer" },
            "assertion": text, "trusted_issuer": text, "claims": { "type": "object" },
            "resource": texts, "audience": texts, "principal": text, "scope": text, "requested_token_type": text,
            "authorization_details": { "type": "array", "items": { "type": "object" } },
            "subject_token": text, "subject_token_type": text, "actor_token": text, "actor_token_type": text,
            "client_id": text, "client_assertion": text, "client_assertion_type": text,
        },
        "description": "A token request. Either what its grant presents, or trusted_issuer and claims.",
    } } } });
    let algorithm = json!({ "content": { "application/json": { "schema": {
        "type": "object", "properties": { "algorithm": { "enum": ["ES256", "RS256", "EdDSA"] } },
    } } } });
    let overlap = json!({ "content": { "application/json": { "schema": {
        "type": "object",
        "properties": { "overlap_seconds": { "type": "integer", "minimum": 0, "maximum": MAX_SECRET_OVERLAP_SECONDS, "default": SECRET_OVERLAP_SECONDS } },
    } } } });
    let client = json!({ "description": "The client, with its new secret.", "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Client" } } } });
    let outcomes = json!({ "enum": Outcome::ALL.map(Outcome::as_str) });
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": 500, "default": 50 });
    let since = json!({ "type": "string", "format": "date-time" });
    let audit = [
        ("credential", text.clone()),
        ("principal", text.clone()),
        ("outcome", outcomes),
        ("since", since),
        ("limit", limit),
        ("cursor", text.clone()),
    ];
    let audit = audit.map(query).to_vec();
    let events = json!({ "description": "A page.", "content": { "application/json": { "schema": {
        "type": "object", "required": ["items", "next_cursor"],
        "properties": {
            "items": { "type": "array", "items": { "$ref": "#/components/schemas/AuditEvent" } },
            "next_cursor": { "type": ["string", "null"] },
        },
    } } } });
    vec![
        (
            "/trusted-issuers/{name}/refresh-keys".to_owned(),
            json!({ "parameters": path("name"), "post": operation("Fetch a trusted issuer's keys now", &[], None, &[("200", any("The keys that can be used."))]) }),
        ),
        (
            "/clients/{name}/rotate-secret".to_owned(),
            json!({ "parameters": path("name"), "post": operation("Make a client's next secret, shown this once", &[], Some(&overlap), &[("200", client)]) }),
        ),
        (
            "/signing-keys".to_owned(),
            json!({ "get": operation("List our signing keys", &[], None, &[("200", any("The keys."))]) }),
        ),
        (
            "/signing-keys/rotate".to_owned(),
            json!({ "post": operation("Let the next key sign", &[], Some(&algorithm), &[("200", any("The keys."))]) }),
        ),
        (
            "/signing-keys/{kid}".to_owned(),
            json!({ "parameters": path("kid"), "delete": operation("Withdraw a signing key at once", &[], None, &[("204", json!({ "description": "It is gone." }))]) }),
        ),
        (
            "/audit-events".to_owned(),
            json!({ "get": operation("List audit events, the latest first", &audit, None, &[("200", events)]) }),
        ),
        (
            "/explanations".to_owned(),
            json!({ "post": operation("Say why", &[], Some(&question), &[("200", explained)]) }),
        ),
        (
            "/openapi.json".to_owned(),
            json!({ "get": { "summary": "This document", "security": [], "responses": { "200": any("This document.") } } }),
        ),
    ]
}

fn operation(summary: &str, parameters: &[Value], body: Option<&Value>, answers: &[(&str, Value)]) -> Value {
    let problem = json!({ "description": "A problem (RFC 9457).", "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } } });
    let mut responses: Map<String, Value> =
        answers.iter().map(|(status, answer)| ((*status).to_owned(), answer.clone())).collect();
    responses.insert("429".to_owned(), problem.clone());
    responses.insert("default".to_owned(), problem);
    let mut operation = json!({ "summary": summary, "responses": responses });
    if let Some(members) = operation.as_object_mut() {
        if !parameters.is_empty() {
            members.insert("parameters".to_owned(), parameters.into());
        }
        if let Some(body) = body {
            members.insert("requestBody".to_owned(), body.clone());
        }
    }
    operation
}

fn schema_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Principal => "Principal",
        Kind::TrustedIssuer => "TrustedIssuer",
        Kind::ResourceServer => "ResourceServer",
        Kind::FederatedCredential => "FederatedCredential",
        Kind::Client => "Client",
    }
}

fn schemas() -> Map<String, Value> {
    let mut nested: Vec<(String, RefOr<Schema>)> = Vec::new();
    PrincipalDocument::schemas(&mut nested);
    TrustedIssuerDocument::schemas(&mut nested);
    ResourceServerDocument::schemas(&mut nested);
    FederatedCredentialDocument::schemas(&mut nested);
    ClientDocument::schemas(&mut nested);
    Explanation::schemas(&mut nested);
    Problem::schemas(&mut nested);
    let mut schemas: Map<String, Value> = nested.into_iter().map(|(name, schema)| (name, json!(schema))).collect();
    for (kind, schema) in [
        (Kind::Principal, PrincipalDocument::schema()),
        (Kind::TrustedIssuer, TrustedIssuerDocument::schema()),
        (Kind::ResourceServer, ResourceServerDocument::schema()),
        (Kind::FederatedCredential, FederatedCredentialDocument::schema()),
        (Kind::Client, ClientDocument::schema()),
    ] {
        schemas.insert(schema_name(kind).to_owned(), with_read_only(kind, json!(schema)));
    }
    if let Some(permission) = schemas.get_mut("PermissionDocument") {
        name_target(permission);
    }
    schemas.insert("AuditEvent".to_owned(), audit_event());
    schemas.insert("DryRun".to_owned(), dry_run());
    schemas.insert("Explanation".to_owned(), json!(Explanation::schema()));
    schemas.insert("Problem".to_owned(), json!(Problem::schema()));
    schemas
}

/// A permission names its target in one of two forms.
fn name_target(permission: &mut Value) {
    let target = json!({
        "type": "object", "required": ["kind", "name"], "writeOnly": true,
        "properties": { "kind": { "const": RESOURCE_SERVER_TARGET }, "name": { "type": "string" } },
    });
    if let Some(properties) = permission.get_mut("properties").and_then(Value::as_object_mut) {
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
        },
    })
}

fn audit_event() -> Value {
    let (text, time) = (json!({ "type": "string" }), json!({ "type": "string", "format": "date-time" }));
    let (maybe, never) = (json!({ "type": ["string", "null"] }), json!({ "type": "null" }));
    let assertion = json!({
        "type": ["object", "null"], "properties": { "digest": { "type": "string" }, "jti": { "type": ["string", "null"] } },
    });
    json!({
        "type": "object",
        "properties": {
            "id": text, "at": time, "kind": { "enum": ["token", "change"] },
            "outcome": { "enum": Outcome::ALL.map(Outcome::as_str) },
            "reason": maybe, "trusted_issuer": maybe, "credential": maybe, "principal": maybe, "resource": maybe,
            "client_id": maybe, "actor": maybe, "subject": maybe, "assertion": assertion,
            "count": { "type": "integer", "minimum": 1 },
            "last_at": { "type": ["string", "null"], "format": "date-time" }, "last_error_id": maybe,
            "proof": never, "serial": never, "token_id": maybe, "address": maybe, "detail": { "type": "object" },
        },
    })
}

/// Adds what answers have and bodies need not.
fn with_read_only(kind: Kind, mut schema: Value) -> Value {
    let time = json!({ "type": "string", "format": "date-time", "readOnly": true });
    let mut added = vec![
        ("name", json!({ "type": "string" })),
        ("id", json!({ "type": "string", "readOnly": kind != Kind::Principal })),
        (
            "warnings",
            json!({ "type": "array", "readOnly": true, "items": { "type": "object", "properties": { "code": { "type": "string" }, "detail": { "type": "string" } } } }),
        ),
        ("created_at", time.clone()),
        ("updated_at", time.clone()),
    ];
    if kind == Kind::FederatedCredential {
        added.extend([
            ("state", json!({ "enum": ["active", "pending", "expired", "disabled"], "readOnly": true })),
            ("pinned", json!({ "type": "object", "readOnly": true })),
            ("revision", json!({ "type": "integer", "readOnly": true })),
            ("last_used_at", json!({ "type": ["string", "null"], "format": "date-time", "readOnly": true })),
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
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.extend(added.into_iter().map(|(name, schema)| (name.to_owned(), schema)));
    }
    // What a body has to hold; the rest has defaults.
    let required: &[&str] = match kind {
        Kind::Principal => &["kind"],
        Kind::TrustedIssuer => &["profile", "issuer"],
        Kind::ResourceServer => &["resource", "actions"],
        Kind::FederatedCredential => &["principal", "trusted_issuer", "match", "permissions"],
        Kind::Client => &[],
    };
    if let Some(members) = schema.as_object_mut() {
        members.insert("required".to_owned(), json!(required));
    }
    schema
}
