//! `POST /explain`: takes a token request, and answers what `/token` would grant or why it would
//! refuse.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};

use super::error::CountsAsRefusal;
use super::received::FormRequest;
use crate::app::App;
use crate::decision::View;
use crate::explain::{Explanation, explain_request};
use crate::grant::{PARAMETERS_OF_QUESTION, TokenError};

/// Issues nothing, records nothing and leaves assertions unused. The evaluation costs as much as a
/// refusal, so each answer counts as one for the rate limit.
pub async fn explain(
    State(app): State<Arc<App>>,
    request: FormRequest,
) -> (
    Extension<CountsAsRefusal>,
    Result<Json<Explanation>, TokenError>,
) {
    (
        Extension(CountsAsRefusal),
        answer(&app, &request).await.map(Json),
    )
}

async fn answer(app: &App, request: &FormRequest) -> Result<Explanation, TokenError> {
    let form = request.form(&PARAMETERS_OF_QUESTION)?;
    let request = request.question(app, &form)?;
    let request = request.through_front_door(&form, &app.rules());
    explain_request(app, &request, &View::Caller).await
}
