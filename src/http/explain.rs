//! `POST /explain`: the form of a token request, answered with what would become of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, Uri};
use axum::response::{IntoResponse as _, Response};

use super::address::ClientAddress;
use super::error::error_response;
use super::form::TokenForm;
use super::limit::Body;
use super::token::grant_request;
use crate::app::App;
use crate::explain::{View, explain_assertion};
use crate::ids::EventId;

/// Says what would be granted or why not; grants and uses up nothing. It costs as much as a refusal, and counts as one.
pub async fn explain(
    State(app): State<Arc<App>>,
    ClientAddress(address): ClientAddress,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let id = EventId::new(app.clock.now());
    let mut grant = None;
    let request = body
        .admitted(&app, address)
        .and_then(|body| TokenForm::read(&uri, &headers, &body))
        .and_then(|form| grant_request(&app, id, address, &form, &headers, &mut grant));
    app.limits.note_refusal(address);
    match request {
        Ok(request) => {
            Json(explain_assertion(&app, &request.assertion, &request.access, &View::Caller).await).into_response()
        }
        Err(refusal) => error_response(&app.config.own, grant, id, &refusal, app.clock.now()),
    }
}
