//! `POST /explain`: the form of a token request, answered with what would become of it.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};

use super::error::CountsAsRefusal;
use super::received::FormRequest;
use crate::app::App;
use crate::decision::View;
use crate::explain::{Explanation, explain_request};
use crate::grant::TokenError;

/// Says what would be granted or why not; grants, records and uses up nothing. It costs as much as a refusal, and counts as one.
pub async fn explain(
    State(app): State<Arc<App>>,
    request: FormRequest,
) -> (Extension<CountsAsRefusal>, Result<Json<Explanation>, TokenError>) {
    (Extension(CountsAsRefusal), answer(&app, &request).await.map(Json))
}

async fn answer(app: &App, request: &FormRequest) -> Result<Explanation, TokenError> {
    let form = request.token_form()?;
    let request = request.grant_request(app, &form)?;
    explain_request(app, &request, &View::Caller).await
}
