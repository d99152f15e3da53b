//! `POST /admin/v1/explanations`: why an assertion is or would be refused, with everything disclosed.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use serde_json::{Map, Value};

use super::guard::{Access, guard};
use super::objects::{document, rejected, respond};
use crate::admin::Rejected;
use crate::app::App;
use crate::explain::{View, explain_assertion, explain_claims};
use crate::grant::read_details;
use crate::objects::{Reader, is_resource};
use crate::principal::AccessRequest;
use crate::profile::Claims;
use crate::scope::ScopeSet;
use crate::trust::Problem;

/// What is to be explained.
struct Question {
    subject: Subject,
    access: AccessRequest,
}

enum Subject {
    Assertion(String),
    Claims { trusted_issuer: String, claims: Map<String, Value> },
}

/// Explains an assertion, or claims as if they were signed.
pub async fn explain(State(app): State<Arc<App>>, headers: HeaderMap, body: Bytes) -> Response {
    respond(async {
        let author = guard(&app, &headers, Access::ReadCredentials).await?;
        let view = author.principals.map_or(View::Everything, View::Principals);
        let question = read(&document(&body)?).map_err(|problems| rejected(Rejected::Invalid(problems)))?;
        let explanation = match question.subject {
            Subject::Assertion(assertion) => explain_assertion(&app, &assertion, &question.access, &view).await,
            Subject::Claims { trusted_issuer, claims } => {
                let rules = app.rules();
                let issuer = rules.issuer_named(&trusted_issuer).ok_or_else(|| {
                    let problem = Problem::new("/trusted_issuer", "there is no trusted issuer of this name");
                    rejected(Rejected::Invalid(vec![problem]))
                })?;
                explain_claims(&app, issuer, &Claims::new(claims), &question.access, &view)
            }
        };
        Ok(Json(explanation).into_response())
    })
    .await
}

fn read(members: &Map<String, Value>) -> Result<Question, Vec<Problem>> {
    let mut reader = Reader::new(members);
    let assertion = reader.text("assertion");
    let trusted_issuer = reader.name("trusted_issuer");
    let claims = match reader.value("claims") {
        Some(Value::Object(claims)) => Some(claims.clone()),
        Some(_) => {
            reader.problem("claims", "is an object");
            None
        }
        None => None,
    };
    let subject = match (assertion, trusted_issuer, claims) {
        (Some(assertion), None, None) => Some(Subject::Assertion(assertion)),
        (None, Some(trusted_issuer), Some(claims)) => Some(Subject::Claims { trusted_issuer, claims }),
        _ => {
            reader.problem("", "holds either assertion, or trusted_issuer and claims");
            None
        }
    };
    let resource = reader.text("resource");
    if resource.as_ref().is_some_and(|resource| !is_resource(resource)) {
        reader.problem("resource", "is an absolute URI without fragment");
    }
    let scope = reader.parsed("scope", ScopeSet::parse);
    let details = match reader.value("authorization_details").cloned().map(read_details) {
        None => None,
        Some(Ok(details)) => Some(details),
        Some(Err(refusal)) => {
            reader.problem("authorization_details", refusal.detail.unwrap_or_default().into_string());
            None
        }
    };
    let access = AccessRequest {
        resources: resource.into_iter().collect(),
        audiences: Vec::new(),
        principal: reader.text("principal"),
        scope,
        details,
    };
    reader.finish(())?;
    subject.map(|subject| Question { subject, access }).ok_or_else(Vec::new)
}
