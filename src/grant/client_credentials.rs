//! The `client_credentials` grant (RFC 6749 section 4.4): a client for itself, at a registry or at our own admin API. A client without a
//! key of its own gets what its federated credentials give, on the road of all assertions ([`super::redeem`]).

use std::sync::Arc;

use super::redeem::{ATTEMPTS, Decision, cannot_mint, commit};
use super::{GrantRequest, Moment, record};
use crate::app::App;
use crate::client::negotiate;
use crate::clock::Timestamp;
use crate::model::Client;
use crate::own_tokens::RestsOn;
use crate::principal::authorize_client;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::store::Issuance;
use crate::token::{ADMIN_LIFETIME_SECONDS, AdminGrant, Minted};
use crate::trust::MatchedRule;

/// Makes a token of the client's own permissions.
pub(super) async fn grant(app: &App, request: &GrantRequest<'_>) -> Result<Minted, Refusal> {
    for _ in 0..ATTEMPTS {
        let (client, moment) = (client(app, request)?, Moment::present(app));
        let minted = issue(app, request, &client, &moment);
        let (minted, issuance) = minted.inspect_err(|why| app.audit(record::refused_client(request, why)))?;
        if settle(app, request, &client, issuance).await? {
            return Ok(minted);
        }
    }
    Err(Refusal::later(Reason::Busy, 1))
}

/// Makes a token for our own admin API, with as much of its scope as the client holds.
pub(super) async fn grant_admin(app: &App, request: &GrantRequest<'_>) -> Result<Minted, Refusal> {
    for _ in 0..ATTEMPTS {
        let (client, moment) = (client(app, request)?, Moment::present(app));
        let scope = negotiate(&client, request.access.scope.as_ref(), &moment.rules, moment.now).await;
        let scope = scope.inspect_err(|why| app.audit(record::refused_client(request, why)))?;
        let grant = AdminGrant {
            subject: client.client_id.clone(),
            client: Some(client.client_id.clone()),
            scope,
            expires_at: Timestamp::from_seconds(moment.now.seconds()).plus_seconds(ADMIN_LIFETIME_SECONDS),
            rests_on: request.admitted.iter().map(rests_on).collect(),
        };
        let minted = app.tokens.mint_admin(&grant, moment.now).map_err(|error| cannot_mint(&error))?;
        let event = record::issued_admin(request, &minted, app.config.own.admin_resource());
        if settle(app, request, &client, record::admin_issuance(request, event, &moment)).await? {
            return Ok(minted);
        }
    }
    Err(Refusal::later(Reason::Busy, 1))
}

fn rests_on(granting: &MatchedRule) -> RestsOn {
    RestsOn { credential: granting.credential.id.to_string(), revision: granting.credential.revision }
}

/// The authenticated client, if it has not been changed since it was authenticated.
pub(super) fn client(app: &App, request: &GrantRequest<'_>) -> Result<Arc<Client>, Refusal> {
    let client = request.client.authenticated().ok_or(Refusal::new(Reason::ClientAuthenticationFailed))?;
    app.limits.check_client(&client.client_id)?;
    if request.client.is_current(&app.rules()) { Ok(client.clone()) } else { Err(Refusal::later(Reason::Busy, 1)) }
}

fn issue(
    app: &App,
    request: &GrantRequest<'_>,
    client: &Arc<Client>,
    moment: &Moment,
) -> Result<(Minted, Issuance), Refusal> {
    let authorization = authorize_client(client, &moment.rules, &request.access)?;
    let decision = Decision { authorization, delegation: None };
    let client_id = client.client_id.clone();
    let minted =
        app.tokens.mint(&decision.authorization, &client_id, None, moment.now).map_err(|error| cannot_mint(&error))?;
    let issuance = record::issuance(request, &decision, &minted, client_id, moment);
    Ok((minted, issuance))
}

/// Records the token. A client assertion that was used before does not authenticate anybody.
async fn settle(app: &App, request: &GrantRequest<'_>, client: &Client, issuance: Issuance) -> Result<bool, Refusal> {
    let settled = commit(app, request, issuance).await.map_err(|refusal| {
        app.audit(record::refused_client(request, &refusal));
        refusal.of_client()
    })?;
    if settled {
        app.limits.note_client(&client.client_id);
    }
    Ok(settled)
}
