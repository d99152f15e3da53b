//! `POST /admin/v1/explanations`: why a token request is or would be refused, with everything disclosed.
//!
//! The body is a token request as JSON. Beside the parameters of the token endpoint it may hold the claims of a trusted issuer
//! instead of an assertion, and the `client_id` of a client that does not prove itself.

use std::borrow::Cow;
use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value, json};

use super::described::{DescribedRoutes, Method, Operation, reference};
use super::guard::{Access, AdminCaller, guard};
use super::objects::{document, rejected, respond};
use crate::admin::Rejected;
use crate::app::App;
use crate::client::AuthorizationHeader;
use crate::decision::{Mode, View};
use crate::documents::Reader;
use crate::explain::{Explanation, explain_claims, explain_request};
use crate::form::TokenForm;
use crate::grant::{GrantRequest, JWT, TokenError, read_access};
use crate::grant_type::GrantType;
use crate::ids::EventId;
use crate::profile::Claims;
use crate::trust::DocumentError;

/// Parameters of the token endpoint that are texts here too.
const TEXTS: [&str; 4] = ["assertion", "scope", "principal", "requested_token_type"];
/// Those that reach beyond rules: to clients, and to tokens of ours.
const OF_OTHERS: [&str; 7] = [
    "subject_token",
    "subject_token_type",
    "actor_token",
    "actor_token_type",
    "client_id",
    "client_assertion",
    "client_assertion_type",
];
/// Those that may be lists.
const LISTS: [&str; 2] = ["resource", "audience"];

/// What is to be explained: a token request, and the claims of the assertion that it does not hold.
struct ExplanationRequest {
    form: TokenForm<'static>,
    grant_type: GrantType,
    claims: Option<(String, Map<String, Value>)>,
}

/// The route of explanations.
pub fn routes() -> DescribedRoutes {
    let text = json!({ "type": "string" });
    let texts = json!({ "oneOf": [text, { "type": "array", "items": text }] });
    let question = json!({
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
    });
    let operation =
        Operation::new("Say why").body(&question).answer("200", "The explanation.", &reference("Explanation"));
    DescribedRoutes::default().route(Method::Post, "/explanations", explain, operation)
}

/// Explains a token request.
async fn explain(State(app): State<Arc<App>>, caller: AdminCaller, body: Bytes) -> Response {
    respond(async {
        let author = guard(&app, &caller, Access::ReadCredentials).await?;
        let view = author.principals.map_or(View::Everything, View::Principals);
        let invalid = |problems| rejected(Rejected::Invalid(problems));
        let request = read(&document(&body)?, author.sees_everything).map_err(invalid)?;
        let explanation = answer(&app, request, &view).await.map_err(|problem| invalid(vec![problem]))?;
        Ok(Json(explanation).into_response())
    })
    .await
}

async fn answer(app: &App, request: ExplanationRequest, view: &View) -> Result<Explanation, DocumentError> {
    let ExplanationRequest { form, grant_type, claims } = request;
    let Some((trusted_issuer, claims)) = claims else {
        let caller = (EventId::new(app.clock.now()), None);
        let request =
            GrantRequest::read(&form, AuthorizationHeader::Absent, &app.config.own, caller).map_err(problem)?;
        return explain_request(app, &request, view).await.map_err(problem);
    };
    let context = app.decision_context();
    let issuer = context.rules.issuer_named(&trusted_issuer);
    let issuer =
        issuer.ok_or_else(|| DocumentError::new("/trusted_issuer", "there is no trusted issuer of this name"))?;
    let access = read_access(&form, grant_type).map_err(|refusal| problem(refusal.into()))?;
    let mode = Mode::Preview { limits: &app.limits, used: false, view };
    Ok(explain_claims(&context, mode, issuer, Claims::new(claims), (grant_type, &access)))
}

/// What is wrong with the request itself, as the admin API says it.
fn problem(error: TokenError) -> DocumentError {
    let refusal = *error.refusal;
    let pointer = refusal.parameter.map(|parameter| format!("/{parameter}")).unwrap_or_default();
    let detail = refusal.detail.map_or_else(|| refusal.reason.sentence().to_owned(), str::into_string);
    DocumentError::new(pointer, detail)
}

fn read(members: &Map<String, Value>, sees_everything: bool) -> Result<ExplanationRequest, Vec<DocumentError>> {
    let mut reader = Reader::new(members);
    let claims = claims(&mut reader);
    let mut form: Vec<(&'static str, Cow<'static, str>)> = Vec::new();
    for name in TEXTS {
        form.extend(reader.text(name).map(|text| (name, text.into())));
    }
    for name in OF_OTHERS {
        let Some(text) = reader.text(name) else { continue };
        form.push((name, text.into()));
        if !sees_everything {
            reader.problem(name, "needs a token for admin or admin:read");
        } else if claims.is_some() {
            reader.problem(name, "goes with an assertion, not with claims");
        }
    }
    for name in LISTS {
        let texts = match reader.value(name) {
            Some(Value::Array(_)) => reader.texts(name).unwrap_or_default(),
            _ => reader.text(name).into_iter().collect(),
        };
        form.extend(texts.into_iter().map(|text| (name, text.into())));
    }
    let details = reader.value("authorization_details").map(ToString::to_string);
    form.extend(details.map(|details| ("authorization_details", details.into())));
    let grant_type = reader.parsed("grant_type", |name| grant_named(name).ok_or("is a grant of the token endpoint"));
    let grant_type = grant_type.unwrap_or(GrantType::JwtBearer);
    let has = |form: &[(&str, Cow<'_, str>)], name: &str| form.iter().any(|(given, _)| *given == name);
    if has(&form, "assertion") && grant_type == GrantType::TokenExchange {
        for name in ["subject_token", "subject_token_type"].into_iter().filter(|name| has(&form, name)) {
            reader.problem(name, "stands for the subject, and so does assertion");
        }
        // The assertion itself is the same whatever the grant calls it.
        form.iter_mut().filter(|(name, _)| *name == "assertion").for_each(|(name, _)| *name = "subject_token");
        form.push(("subject_token_type", JWT.into()));
    }
    let presents = ["assertion", "subject_token"].into_iter().any(|name| has(&form, name));
    if (presents || grant_type == GrantType::ClientCredentials) == claims.is_some() {
        reader.problem("", "holds either what the grant presents, or trusted_issuer and claims");
    }
    form.push(("grant_type", grant_type.name().into()));
    reader.finish(ExplanationRequest { form: TokenForm::of(form), grant_type, claims })
}

/// A trusted issuer's name, and claims as if it had signed them.
fn claims(reader: &mut Reader<'_>) -> Option<(String, Map<String, Value>)> {
    let trusted_issuer = reader.name("trusted_issuer");
    let claims = match reader.value("claims") {
        Some(Value::Object(claims)) => Some(claims.clone()),
        Some(_) => {
            reader.problem("claims", "is an object");
            None
        }
        None => None,
    };
    if trusted_issuer.is_some() != claims.is_some() {
        reader.problem("", "trusted_issuer and claims belong together");
    }
    trusted_issuer.zip(claims)
}

/// A grant by the name of its RFC, or by the one that documents of this server use.
fn grant_named(name: &str) -> Option<GrantType> {
    GrantType::ALL.into_iter().find(|grant| name == grant.name() || name == grant.short_name())
}
