//! `POST /explain`: the form of a token request, answered with what would become of it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};

use super::error::error_response;
use super::received::Received;
use crate::app::App;
use crate::explain::{Explanation, explain_request};
use crate::form::OF_TOKEN;
use crate::grant_type::GrantType;
use crate::refusal::Refusal;

/// Says what would be granted or why not; grants and uses up nothing. It costs as much as a refusal, and counts as one.
pub async fn explain(State(app): State<Arc<App>>, received: Received) -> Response {
    let mut grant = None;
    let result = answer(&app, &received, &mut grant).await;
    app.limits.note_refusal(received.address);
    match result {
        Ok(explanation) => Json(explanation).into_response(),
        Err(refusal) => error_response(&app.config.own, grant, received.id, &refusal, app.clock.now()),
    }
}

async fn answer(app: &App, received: &Received, grant: &mut Option<GrantType>) -> Result<Explanation, Refusal> {
    let form = received.form(app, &OF_TOKEN)?;
    let request = received.grant_request(app, &form, grant).await?;
    Ok(explain_request(app, &request).await)
}
