//! What is asked about an identity provider: the state of its metadata and keys in this process, and
//! which roles its people have.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use carnet_engine::people::readable;
use serde_json::{Map, Value, json};

use super::described::{DescribedRoutes, Method, Operation, reference};
use super::guard::{Access, AdminCaller, guard};
use super::objects::{document, rejected, respond};
use crate::admin::{self, Author, Rejected};
use crate::app::App;
use crate::documents::{IdentityProviderDocument, Reader};
use crate::explain::explain_person;
use crate::model::{IdentityProvider, Snapshot};
use crate::trust::DocumentError;

pub fn routes() -> DescribedRoutes {
    let summary = "Read what this process knows of an identity provider's metadata and keys";
    let reading = Operation::new(summary).answer(
        "200",
        "Its metadata, its keys and the last fetches.",
        &reference("ProviderStatus"),
    );
    let question = json!({
        "type": "object",
        "properties": {
            "claims": { "type": "object", "description": "Claims as the provider sends them, and as the page for people without a membership shows them." },
            "principal": { "type": "string", "description": "The name of a principal, all of whose memberships are judged." },
        },
        "required": ["claims"],
        "additionalProperties": false,
    });
    let summary = "Say which roles a person with these claims has, and why";
    let asking = Operation::new(summary).body(&question).answer(
        "200",
        "The roles, and the memberships that were judged.",
        &reference("PersonExplanation"),
    );
    DescribedRoutes::default()
        .route(
            Method::Get,
            "/identity-providers/{name}/status",
            status,
            reading,
        )
        .route(
            Method::Post,
            "/identity-providers/{name}/explanations",
            explain,
            asking,
        )
}

/// `GET /admin/v1/identity-providers/{name}/status`
async fn status(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    caller: AdminCaller,
) -> Response {
    respond(async {
        let author = guard(&app, &caller, Access::Read).await?;
        let rules = app.rules();
        let provider = provider(&app, &rules, &name, &author).await?;
        let status = app.providers.status(provider, &app.upstream).await;
        Ok(Json(status).into_response())
    })
    .await
}

/// `POST /admin/v1/identity-providers/{name}/explanations`. Nothing is stored or recorded.
async fn explain(
    State(app): State<Arc<App>>,
    Path(name): Path<String>,
    caller: AdminCaller,
    body: Bytes,
) -> Response {
    respond(async {
        let author = guard(&app, &caller, Access::Read).await?;
        let members = document(&body)?;
        let rules = app.rules();
        let provider = provider(&app, &rules, &name, &author).await?;
        let question = read(&members, &rules, provider);
        let (claims, principal) =
            question.map_err(|problems| rejected(Rejected::Invalid(problems)))?;
        let (now, about) = (app.clock.now(), principal.as_deref());
        let explanation = explain_person(&rules, provider, claims, now, about);
        Ok(Json(explanation).into_response())
    })
    .await
}

/// Claims that memberships can compare, and the principal that is asked about.
type Question = (Map<String, Value>, Option<String>);

fn read(
    members: &Map<String, Value>,
    rules: &Snapshot,
    provider: &IdentityProvider,
) -> Result<Question, Vec<DocumentError>> {
    let mut reader = Reader::new(members);
    let principal = reader.text("principal");
    let is_there = |name: &String| rules.principal(&name.to_ascii_lowercase()).is_some();
    if !principal.as_ref().is_none_or(is_there) {
        reader.problem("principal", "must be the name of an existing principal");
    }
    let claims = match reader.value("claims").map(Value::as_object) {
        Some(Some(claims)) => readable(&provider.profile, claims)
            .map_err(|error| format!("would not let the person sign in: {error}")),
        Some(None) | None => Err("must be an object".to_owned()),
    };
    let claims = claims.unwrap_or_else(|detail| {
        reader.problem("claims", detail);
        Map::new()
    });
    reader.finish((claims, principal))
}

async fn provider<'a>(
    app: &App,
    rules: &'a Snapshot,
    name: &str,
    author: &Author,
) -> Result<&'a Arc<IdentityProvider>, Response> {
    let stored = admin::find::<IdentityProviderDocument>(app, name, author)
        .await
        .map_err(rejected)?;
    let provider = rules.identity_provider_named(&stored.name);
    provider.ok_or_else(|| rejected(Rejected::NotFound))
}
