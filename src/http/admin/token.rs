//! The token of the request itself: for whom it is, what it may do, and until when it changes anything.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use super::described::{DescribedRoutes, Method, Operation, reference};
use super::guard::{Access, AdminCaller, guard};
use super::objects::respond;
use super::problem::Problem;
use crate::app::App;
use crate::clock::Timestamp;
use crate::decision::AdminGrant;
use crate::people::session::{Write, suffices_until};

pub fn routes() -> DescribedRoutes {
    let reading = Operation::new("What the token of the request is").answer(
        "200",
        "The token.",
        &reference("ShownToken"),
    );
    DescribedRoutes::default().route(Method::Get, "/token", read, reading)
}

/// An admin token.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ShownToken {
    /// The `sub` of the token: a client, or a person.
    subject: String,
    /// The person on whose behalf the token was issued; `null` without one.
    person: Option<TokenPerson>,
    /// The client that got the token.
    client_id: String,
    scope: String,
    /// When the token expires (RFC 3339).
    expires_at: String,
    /// Whether the token changes anything now: `now`, `step_up` (the proof of identity of the person is
    /// too old), or `never`.
    writes: &'static str,
    /// Until when the proof of identity of the person suffices for a change (RFC 3339); `null` without a
    /// person, and where it never does.
    writes_until: Option<String>,
}

/// A person, as the identity provider described them at the sign-in.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct TokenPerson {
    /// The id, `ps_…`.
    id: String,
    name: Option<String>,
    username: Option<String>,
}

/// `GET /admin/v1/token`
async fn read(State(app): State<Arc<App>>, caller: AdminCaller) -> Response {
    respond(async {
        guard(&app, &caller, Access::ReadCredentials).await?;
        let held = caller.token();
        let held = held.and_then(|token| app.tokens.recover_admin(token));
        let (grant, token) = held.ok_or_else(|| Problem::internal("the token is gone"))?;
        let client_id = token.claims().client_id.clone();
        Ok(Json(shown(&app, grant, client_id)).into_response())
    })
    .await
}

fn shown(app: &App, grant: AdminGrant, client_id: String) -> ShownToken {
    let wanted = Write::wanted_by(&grant.scope);
    let proved_at = grant.person.as_ref().map(|person| {
        let at = person.auth_time.map(Timestamp::from_seconds);
        at.zip(wanted)
            .map(|(at, wanted)| suffices_until(app, at, wanted))
    });
    let (writes, until) = match (wanted, proved_at) {
        (None, _) | (_, Some(None)) => ("never", None),
        (Some(_), None) => ("now", None),
        (Some(_), Some(Some(until))) if app.clock.now() < until => ("now", Some(until)),
        (Some(_), Some(Some(until))) => ("step_up", Some(until)),
    };
    ShownToken {
        subject: grant.subject,
        person: grant.person.map(|claims| TokenPerson {
            id: claims.person.id,
            name: claims.person.name,
            username: claims.person.username,
        }),
        client_id,
        scope: grant.scope.to_string(),
        expires_at: grant.expires_at.to_string(),
        writes,
        writes_until: until.map(|until| until.to_string()),
    }
}
