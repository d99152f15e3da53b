//! The decision on the exchange of an access token of this server (RFC 8693). The new token has the
//! same subject and registry. It never lives longer, permits more, or loses an actor.

use std::sync::Arc;

use carnet_access::{AccessToken, Actor, AuthorizationDetail, ProofLevel};

use super::delegation::{Delegation, Party, Represented, within_depth};
use super::workload::OF_GROUND;
use super::{Authorization, Grounds, Mode, Subject, lifetime};
use crate::assertion::Assertion;
use crate::json::element_bytes;
use crate::model::{DecisionContext, FederatedCredential};
use crate::own_token::LiveToken;
use crate::possession::Possession;
use crate::principal::{AccessRequest, Asked, Frame, of_token, too_weak};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::trust::MatchedRule;

/// How many exchanges may lie between a token and the first one of its line of descent.
const MAX_EXCHANGES: i64 = 16;

pub(super) fn decide<A: Assertion>(
    context: &DecisionContext<'_>,
    subject: &Subject<A>,
    token: &LiveToken,
    (access, mut possession): (&AccessRequest, Possession),
    mode: Mode<'_>,
) -> Result<Authorization<A>, Refusal> {
    let claims = token.claims();
    subject.check_ownership(token)?;
    // Checking a token for revocation walks its whole line of descent, so the length is bounded.
    if token.depth() >= MAX_EXCHANGES {
        return Err(Reason::ChainTooLong.into());
    }
    let party = match actor(context, subject, claims)? {
        None => None,
        Some((party, act, level)) => {
            possession.level = possession.level.min(level);
            Some((party, act))
        }
    };
    let rule_of = |entry: &AuthorizationDetail| rule_of(context, entry);
    let lent = |entry: &AuthorizationDetail| {
        let named = |party: &Party| {
            rule_of(entry)
                .map(|rule| party.rules_named_by(rule))
                .unwrap_or_default()
        };
        party.as_ref().map(|(party, _)| named(party))
    };
    let is_named = |entry: &AuthorizationDetail, party: &Party| {
        rule_of(entry).is_some_and(|rule| party.is_named_by(rule))
    };
    let may_stay = |entry: &AuthorizationDetail| {
        party
            .as_ref()
            .is_none_or(|(party, _)| is_named(entry, party))
    };
    let keeps = |entry: &AuthorizationDetail| {
        keeps_its_proof(rule_of(entry), subject.level_of(token), possession.level)
    };
    let mut named = claims
        .authorization_details
        .iter()
        .filter(|entry| may_stay(entry));
    let unproved = named.clone().any(|entry| !keeps(entry));
    if unproved && !named.any(keeps) {
        return Err(too_weak(&possession));
    }
    let room = |entry: &AuthorizationDetail| {
        entry
            .credential
            .parse()
            .map_or(Ok(()), |credential| mode.check_rule(None, credential))
    };
    // A rule over its rate limit grants nothing, but leaves the entries of other rules alone.
    let frame = frame(context, token, party.as_ref());
    let asked = Asked {
        access,
        frame,
        possession: &possession,
    };
    let entitlement = of_token(token, &context.rules, asked, |entry| {
        may_stay(entry) && keeps(entry) && room(entry).is_ok()
    });
    let mut entitlement = entitlement.map_err(|refusal| {
        let mut staying = claims
            .authorization_details
            .iter()
            .filter(|entry| may_stay(entry));
        // If a rule was over its limit, tell the caller to retry: with that rule the request might
        // be allowed.
        staying
            .find_map(|entry| room(entry).err())
            .unwrap_or(refusal)
    })?;
    entitlement.unproved = unproved.then_some(Reason::ProofTooWeak);
    let delegation = match &party {
        Some((party, act)) => {
            let rules =
                MatchedRule::distinct(entitlement.details.iter().filter_map(lent).flatten());
            entitlement.rest_on(|entry| lent(entry).unwrap_or_default());
            Some(Delegation::of(act.clone(), party, rules))
        }
        // An exchange never loses an actor.
        None => claims.act.clone().map(Delegation::kept),
    };
    if let Some(client) = subject.client.identity().id() {
        mode.check(|limits| limits.check_client(client))?;
    }
    let grounds = Grounds::Token(Box::new(token.clone()));
    let expires_at = lifetime::ends_at(&grounds, &entitlement, delegation.as_ref(), context.now)?;
    Ok(Authorization {
        grounds,
        entitlement,
        delegation,
        possession,
        expires_at,
    })
}

/// Whether an entry may stay although the actor of an exchange proved itself more weakly than the
/// token's workload: not if a permission of its rule asks for more. Which one gave the entry is not
/// known any more.
fn keeps_its_proof(
    rule: Option<&Arc<FederatedCredential>>,
    before: ProofLevel,
    now: ProofLevel,
) -> bool {
    now >= before
        || rule.and_then(|rule| rule.rule.open()).is_some_and(|rule| {
            let mut permissions = rule.permissions.iter();
            permissions.all(|permission| permission.demand.min_proof <= now)
        })
}

/// The rule that an entry comes from, if it still exists.
fn rule_of<'c>(
    context: &'c DecisionContext<'_>,
    entry: &AuthorizationDetail,
) -> Option<&'c Arc<FederatedCredential>> {
    context.rules.credential(entry.credential.parse().ok()?)
}

/// The actor of the new token and its `act` claim, if the request presents an actor token. Without
/// one the token keeps the actors that it has.
fn actor<A: Assertion>(
    context: &DecisionContext<'_>,
    subject: &Subject<A>,
    claims: &AccessToken,
) -> Result<Option<(Party, Actor, ProofLevel)>, Refusal> {
    let Some((actor, level)) = subject.actor()? else {
        claims.act.as_ref().map_or(Ok(()), within_depth)?;
        return Ok(None);
    };
    let entries = claims.authorization_details.iter();
    let naming = entries
        .filter_map(|entry| rule_of(context, entry))
        .map(|rule| &**rule);
    let party = Party::of(actor, subject, context, naming)?;
    let act = Represented {
        iss: &claims.iss,
        may_act: None,
        act: claims.act.as_ref(),
    }
    .act_with(&party)?;
    Ok(Some((party, act, level)))
}

/// How many bytes the token takes beside its entries.
fn frame(
    context: &DecisionContext<'_>,
    token: &LiveToken,
    party: Option<&(Party, Actor)>,
) -> Frame {
    let claims = token.claims();
    let act = party.map_or_else(|| element_bytes(&claims.act), |(_, act)| element_bytes(act));
    let fixed = [
        element_bytes(&claims.workload),
        element_bytes(&claims.principal),
        act,
        claims.sub.len(),
        context.own.issuer().len(),
    ];
    Frame {
        fixed: fixed
            .into_iter()
            .fold(claims.client_id.len(), usize::saturating_add),
        per_entry: party.map_or(0, |(party, _)| party.most_lent().saturating_mul(OF_GROUND)),
    }
}
