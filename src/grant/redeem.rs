//! The one road from an assertion to a token, for every grant and every front door.

use std::sync::Arc;

use carnet_resource_server::Actor;

use super::actor::{self, Delegation, Party, Subject};
use super::{GrantRequest, GrantType, Moment, record};
use crate::app::App;
use crate::assertion::{UnverifiedAssertion, VerifiedAssertion};
use crate::client;
use crate::ids::CredentialId;
use crate::model::AssertionGrant;
use crate::principal::{Authorization, Grounds, authorize};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::store::{Committed, Issuance};
use crate::token::{MintError, Minted};
use crate::trust::{Candidate, Denial, MatchedRule, Permit};

/// How often rules are matched again because they changed while the token was made.
pub(super) const ATTEMPTS: usize = 5;

/// What is granted for an assertion, and for whom somebody else acts.
pub(super) struct Decision {
    pub authorization: Authorization,
    pub delegation: Option<Delegation>,
}

/// Redeems an assertion: verifies it, matches it, makes the token and records it. Nothing is used up unless a token comes out.
pub(super) async fn redeem(app: &App, request: &GrantRequest<'_>, text: &str) -> Result<Minted, Refusal> {
    for _ in 0..ATTEMPTS {
        let assertion = verify(app, request, text).await?;
        match issue(app, request, &assertion).await {
            Ok(Some(minted)) => return Ok(minted),
            Ok(None) => {}
            Err(mut denial) => {
                app.audit(record::refused(request, &assertion, &denial));
                if !denial.refusal.mismatches.is_empty() && !is_unused(app, &assertion).await {
                    denial.refusal.undisclosed();
                }
                return Err(about(request, denial.refusal));
            }
        }
    }
    Err(Refusal::later(Reason::Busy, 1))
}

/// A client without a key of its own that is refused has failed to authenticate (RFC 7523 section 3.2). What is wrong with the rest of
/// its request is no matter of that.
fn about(request: &GrantRequest<'_>, refusal: Refusal) -> Refusal {
    if request.is_about_client() { refusal.of_client() } else { refusal }
}

/// Verifies the assertion of a request with the keys of the trusted issuer that it names, and that the grant takes it.
pub async fn verify(app: &App, request: &GrantRequest<'_>, text: &str) -> Result<Arc<VerifiedAssertion>, Refusal> {
    // A client's assertion was verified when the client was.
    if let Some((assertion, _)) = request.client.federated().filter(|_| request.is_about_client()) {
        return Ok(assertion.clone());
    }
    let grant = match request.grant_type {
        GrantType::TokenExchange => AssertionGrant::TokenExchange,
        GrantType::JwtBearer | GrantType::ClientCredentials => AssertionGrant::JwtBearer,
    };
    verify_for(app, text, grant).await
}

/// Verifies an assertion for a grant that its trusted issuer is set up for.
pub(super) async fn verify_for(
    app: &App,
    text: &str,
    grant: AssertionGrant,
) -> Result<Arc<VerifiedAssertion>, Refusal> {
    let assertion = verify_assertion(app, text).await?;
    if assertion.issuer().grants.contains(&grant) { Ok(Arc::new(assertion)) } else { Err(Reason::GrantNotTaken.into()) }
}

/// Verifies an assertion with the keys of the trusted issuer that it names.
pub async fn verify_assertion(app: &App, assertion: &str) -> Result<VerifiedAssertion, Refusal> {
    let unverified = UnverifiedAssertion::parse(assertion)?;
    let issuer = unverified.issuer(&app.rules())?;
    unverified.verify(issuer, &app.upstream, app.clock.now()).await
}

/// Whether no token was issued for the assertion yet, as far as can be told.
pub async fn is_unused(app: &App, assertion: &VerifiedAssertion) -> bool {
    match assertion.key() {
        None => true,
        Some(key) => matches!(app.store.is_consumed(key).await, Ok(false)),
    }
}

/// Decides what a verified assertion gets as of these rules. `limit` says of rules why they may give nothing now.
pub(super) async fn decide(
    app: &App,
    request: &GrantRequest<'_>,
    assertion: &Arc<VerifiedAssertion>,
    moment: &Moment,
    limit: impl Fn(CredentialId) -> Result<(), Refusal>,
) -> Result<Decision, Box<Denial>> {
    let listed = request.client.federated().filter(|_| request.is_about_client());
    let may_count = |candidate: &_| listed.is_none_or(|(_, names)| client::listed(names, candidate));
    let permit = Permit::new(assertion.clone(), moment.rules.clone(), moment.now, may_count)?;
    let (permit, acting) = delegated(app, request, permit, moment).await?;
    // A rule over its limit gives nothing; it does not take away what others give.
    let (permit, held_off) = permit.sparing(limit)?;
    let authorization = authorize(permit, &request.access).map_err(|mut denial| {
        // With the rule that is over its limit it might have been a yes: the caller shall come again, not give up.
        denial.refusal = held_off.unwrap_or(denial.refusal);
        denial
    })?;
    // Only what the token rests on counts: a rule for another registry neither shortens it nor learns ids by it.
    let delegation = acting.map(|(party, act)| {
        let granting = authorization.entitlement().credentials.iter();
        let lent = granting.flat_map(|one| actor::rules_named_by(&party, one.credential.rule.open()));
        let lent = MatchedRule::distinct(lent);
        Delegation::of(act, party, lent)
    });
    Ok(Decision { authorization, delegation })
}

/// Leaves the rules that let the actor act, where there is one, with the actor and what the token says of it.
async fn delegated(
    app: &App,
    request: &GrantRequest<'_>,
    permit: Permit,
    moment: &Moment,
) -> Result<(Permit, Option<(Party, Actor)>), Box<Denial>> {
    if request.grant_type != GrantType::TokenExchange {
        return Ok((permit, None));
    }
    let assertion = permit.assertion().clone();
    let iss = assertion.issuer().issuer.as_str();
    let subject = Subject { iss, may_act: assertion.claims().get("may_act"), act: None };
    let Some(token) = request.actor else {
        return match subject.admits_client(request, app) {
            Ok(()) => Ok((permit, None)),
            Err(refusal) => Err(permit.deny(refusal)),
        };
    };
    let party = match actor::verify(app, request, token, moment).await {
        Ok(party) => party,
        Err(refusal) => return Err(permit.deny(refusal)),
    };
    let (named, act) = match (subject.says_of(&party), subject.act_with(&party)) {
        (Ok(named), Ok(act)) => (named, act),
        (Err(refusal), _) | (_, Err(refusal)) => return Err(permit.deny(refusal)),
    };
    let lends =
        |candidate: &Candidate| named || !actor::rules_named_by(&party, candidate.credential.rule.open()).is_empty();
    let permit = permit.keeping(lends, Reason::ActorNotAllowed.into())?;
    Ok((permit, Some((party, act))))
}

/// Makes and records a token as of the present rules; none if they changed meanwhile and everything has to be judged again.
async fn issue(
    app: &App,
    request: &GrantRequest<'_>,
    assertion: &Arc<VerifiedAssertion>,
) -> Result<Option<Minted>, Box<Denial>> {
    let moment = Moment::present(app);
    if !moment.rules.is_current(assertion.issuer()) || !request.client.is_current(&moment.rules) {
        return Ok(None);
    }
    let issuer = assertion.issuer().id;
    let limit = |credential| app.limits.check_issuer(issuer).and_then(|()| app.limits.check_credential(credential));
    let decision = decide(app, request, assertion, &moment, limit).await?;
    let authorization = &decision.authorization;
    let client_id = record::client_id(&request.client, authorization);
    let acting = decision.delegation.as_ref().map(|delegation| &delegation.acting);
    let minted = match app.tokens.mint(authorization, &client_id, acting, moment.now) {
        Ok(minted) => minted,
        Err(error) => return Err(deny(decision.authorization, cannot_mint(&error))),
    };
    let issuance = record::issuance(request, &decision, &minted, client_id, &moment);
    let credentials: Vec<_> =
        authorization.entitlement().credentials.iter().map(|granting| granting.credential.id).collect();
    match commit(app, request, issuance).await {
        Ok(true) => {
            app.limits.note_token(issuer, credentials.iter().copied());
            for credential in credentials {
                app.note_use(credential, moment.now);
            }
            Ok(Some(minted))
        }
        Ok(false) => Ok(None),
        Err(refusal) => Err(deny(decision.authorization, refusal)),
    }
}

/// Turns a yes into a no, with the verdicts it came from.
fn deny(authorization: Authorization, refusal: Refusal) -> Box<Denial> {
    match authorization.into_grounds() {
        Grounds::Workload(permit) => permit.deny(refusal),
        Grounds::Token(_) | Grounds::Client(_) => Denial::bare(refusal),
    }
}

/// Records a token; false if something it rests on changed, and everything has to be judged again.
pub(super) async fn commit(app: &App, request: &GrantRequest<'_>, issuance: Issuance) -> Result<bool, Refusal> {
    match app.ledger.commit(issuance).await {
        Ok(Committed::Issued) => Ok(true),
        Ok(Committed::Replayed) => Err(replay(app, request).await),
        Ok(Committed::Stale) => app.refresh().await.map(|()| false).map_err(|error| Refusal::unavailable(&error)),
        Err(error) => Err(Refusal::unavailable(&error)),
    }
}

/// Of the assertions that a request came with, one was used before. If it is the client's, nobody was authenticated by it (RFC 7523
/// section 3.2).
async fn replay(app: &App, request: &GrantRequest<'_>) -> Refusal {
    let refusal = Refusal::new(Reason::Replay);
    if is_client_spent(app, request).await { refusal.of_client() } else { refusal }
}

/// Whether the assertion that a request's client proved itself with was used before, or nobody can tell.
pub async fn is_client_spent(app: &App, request: &GrantRequest<'_>) -> bool {
    match request.client.consumed() {
        None => false,
        Some((key, _)) => !matches!(app.store.is_consumed(&key).await, Ok(false)),
    }
}

/// Why no token can be made, for the caller.
pub(super) fn cannot_mint(error: &MintError) -> Refusal {
    match error {
        MintError::Over(_, reason) => Refusal::new(*reason),
        MintError::Signing(_) | MintError::NoKey | MintError::Claims(_) => {
            Refusal::new(Reason::Internal).with_detail(error.to_string())
        }
    }
}
