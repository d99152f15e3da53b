//! The exchange of our own access tokens (RFC 8693): the same subject at the same registry, never longer, never wider, never without
//! its actors. Assertions that come as subject tokens take the road of all assertions ([`super::redeem`]).

use carnet_resource_server::{Actor, AuthorizationDetail};

use super::actor::{self, Delegation, Subject, within_depth};
use super::redeem::{ATTEMPTS, Decision, cannot_mint, commit};
use super::{GrantRequest, Moment, record};
use crate::app::App;
use crate::ids::CredentialId;
use crate::own_tokens::LiveToken;
use crate::principal::{Authorization, authorize_token};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::token::{Acting, Minted};
use crate::trust::MatchedRule;

/// How many exchanges may lie between a token and the first one it descends from.
const MAX_EXCHANGES: i64 = 16;

/// Exchanges a token of ours.
pub(super) async fn exchange(app: &App, request: &GrantRequest<'_>, text: &str) -> Result<Minted, Refusal> {
    for _ in 0..ATTEMPTS {
        let moment = Moment::present(app);
        let token = live(app, text, &moment).await?;
        let audited = |refusal: Refusal| {
            app.audit(record::refused_token(request, &token, &refusal));
            refusal
        };
        let limit = |credential| app.limits.check_credential(credential);
        let decision = decide(app, request, &token, &moment, limit).await.map_err(audited)?;
        if let Some(minted) = issue(app, request, decision, &moment).await.map_err(audited)? {
            return Ok(minted);
        }
    }
    Err(Refusal::later(Reason::Busy, 1))
}

/// The subject token, if it is one of ours and in force.
pub(super) async fn live(app: &App, text: &str, moment: &Moment) -> Result<LiveToken, Refusal> {
    let tokens = app.own_tokens(&moment.rules, moment.now);
    let own = tokens
        .recognise(text)
        .await
        .map_err(|error| Refusal::unavailable(&error))?
        .ok_or(Reason::SubjectTokenInvalid)?;
    // What is for our own API is nothing to hand on.
    if own.claims().aud == app.config.own.admin_resource() {
        return Err(Reason::SubjectTokenInvalid.into());
    }
    let live = tokens.in_force(own).await.map_err(|error| Refusal::unavailable(&error))?;
    live.map_err(|ended| Refusal::new(Reason::SubjectTokenInactive).with_detail(format!("{ended:?}")))
}

/// Decides what a token of ours is exchanged for. `limit` says of rules why they may give nothing now.
pub(super) async fn decide(
    app: &App,
    request: &GrantRequest<'_>,
    token: &LiveToken,
    moment: &Moment,
    limit: impl Fn(CredentialId) -> Result<(), Refusal>,
) -> Result<Decision, Refusal> {
    let claims = token.claims();
    // A bound token does not become a bearer one, and no proof can come yet (decision D-49).
    if token.confirmation().is_some() {
        return Err(Refusal::claim(Reason::ProofMissing, "cnf"));
    }
    request.check_ownership(token)?;
    // Each use of the child walks its line of descent.
    if token.depth() >= MAX_EXCHANGES {
        return Err(Reason::ChainTooLong.into());
    }
    let rule = |entry: &AuthorizationDetail| moment.rules.credential(entry.credential.parse().ok()?);
    // A rule over its limit gives nothing; it does not take away what others give.
    let sparing = |may_stay: &dyn Fn(&AuthorizationDetail) -> bool| {
        let room = |entry: &AuthorizationDetail| entry.credential.parse().map_or(Ok(()), &limit);
        let decided = authorize_token(token.clone(), &moment.rules, &request.access, |entry| {
            may_stay(entry) && room(entry).is_ok()
        });
        decided.map_err(|refusal| {
            let mut staying = claims.authorization_details.iter().filter(|entry| may_stay(entry));
            // With that rule it might have been a yes: the caller shall come again, not give up.
            staying.find_map(|entry| room(entry).err()).unwrap_or(refusal)
        })
    };
    let Some(actor) = request.actor else {
        if let Some(act) = &claims.act {
            within_depth(act)?;
        }
        let authorization = sparing(&|_| true)?;
        return Ok(Decision { authorization, delegation: kept(claims.act.as_ref()) });
    };
    let party = actor::verify(app, request, actor, moment).await?;
    let act = Subject { iss: &claims.iss, may_act: None, act: claims.act.as_ref() }.act_with(&party)?;
    let lends = |entry: &AuthorizationDetail| {
        rule(entry).map(|credential| actor::rules_named_by(&party, credential.rule.open())).unwrap_or_default()
    };
    let authorization = sparing(&|entry| !lends(entry).is_empty())?;
    let lent = MatchedRule::distinct(authorization.entitlement().details.iter().flat_map(lends));
    Ok(Decision { authorization, delegation: Some(Delegation::of(act, party, lent)) })
}

/// An exchange never loses an actor.
fn kept(act: Option<&Actor>) -> Option<Delegation> {
    act.cloned().map(|act| Delegation {
        acting: Acting { act, until: None },
        rules: Vec::new(),
        assertion: None,
        token_id: None,
    })
}

async fn issue(
    app: &App,
    request: &GrantRequest<'_>,
    decision: Decision,
    moment: &Moment,
) -> Result<Option<Minted>, Refusal> {
    let authorization: &Authorization = &decision.authorization;
    let credentials: Vec<_> =
        authorization.entitlement().credentials.iter().map(|granting| granting.credential.id).collect();
    let client = request.client.id();
    client.map_or(Ok(()), |client| app.limits.check_client(client))?;
    if !request.client.is_current(&moment.rules) {
        return Err(Refusal::later(Reason::Busy, 1));
    }
    let client_id = record::client_id(&request.client, authorization);
    let acting = decision.delegation.as_ref().map(|delegation| &delegation.acting);
    let minted = app.tokens.mint(authorization, &client_id, acting, moment.now).map_err(|error| cannot_mint(&error))?;
    let issuance = record::issuance(request, &decision, &minted, client_id, moment);
    if !commit(app, request, issuance).await? {
        return Ok(None);
    }
    if let Some(client) = client {
        app.limits.note_client(client);
    }
    for credential in credentials {
        app.limits.note_credential(credential);
        app.note_use(credential, moment.now);
    }
    Ok(Some(minted))
}
