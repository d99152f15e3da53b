//! The decision on an access token of ours (RFC 8693): the same subject at the same registry, never longer, never wider, never
//! without its actors.

use carnet_resource_server::{Actor, AuthorizationDetail};

use super::delegation::{Delegation, Party, Represented, within_depth};
use super::workload::OF_GROUND;
use super::{Authorization, Grounds, Mode, Subject, lifetime};
use crate::assertion::Assertion;
use crate::json::element_bytes;
use crate::model::DecisionContext;
use crate::own_tokens::LiveToken;
use crate::principal::{AccessRequest, Frame, of_token};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::trust::MatchedRule;

/// How many exchanges may lie between a token and the first one it descends from.
const MAX_EXCHANGES: i64 = 16;

pub(super) fn decide<A: Assertion>(
    context: &DecisionContext<'_>,
    subject: &Subject<A>,
    token: &LiveToken,
    access: &AccessRequest,
    mode: Mode<'_>,
) -> Result<Authorization<A>, Refusal> {
    let claims = token.claims();
    // A bound token does not become a bearer one, and no proof can come yet (decision D-49).
    if token.confirmation().is_some() {
        return Err(Refusal::claim(Reason::ProofMissing, "cnf"));
    }
    subject.check_ownership(token)?;
    // Each use of the child walks its line of descent.
    if token.depth() >= MAX_EXCHANGES {
        return Err(Reason::ChainTooLong.into());
    }
    let rule_of = |entry: &AuthorizationDetail| context.rules.credential(entry.credential.parse().ok()?);
    let party = match &subject.actor {
        None => {
            claims.act.as_ref().map_or(Ok(()), within_depth)?;
            None
        }
        Some(actor) => {
            let naming = claims.authorization_details.iter().filter_map(rule_of).map(|rule| &**rule);
            let party = Party::of(actor.as_ref().map_err(Clone::clone)?, subject, context, naming)?;
            let act = Represented { iss: &claims.iss, may_act: None, act: claims.act.as_ref() }.act_with(&party)?;
            Some((party, act))
        }
    };
    let lent = |entry: &AuthorizationDetail| {
        let named = |party: &Party| rule_of(entry).map(|rule| party.rules_named_by(rule)).unwrap_or_default();
        party.as_ref().map(|(party, _)| named(party))
    };
    let is_named =
        |entry: &AuthorizationDetail, party: &Party| rule_of(entry).is_some_and(|rule| party.is_named_by(rule));
    let may_stay = |entry: &AuthorizationDetail| party.as_ref().is_none_or(|(party, _)| is_named(entry, party));
    let room = |entry: &AuthorizationDetail| {
        entry.credential.parse().map_or(Ok(()), |credential| mode.check_rule(None, credential))
    };
    // A rule over its limit gives nothing; it does not take away what others give.
    let frame = frame(context, token, party.as_ref());
    let entitlement = of_token(claims, &context.rules, (access, frame), |entry| may_stay(entry) && room(entry).is_ok());
    let mut entitlement = entitlement.map_err(|refusal| {
        let mut staying = claims.authorization_details.iter().filter(|entry| may_stay(entry));
        // With that rule it might have been a yes: the caller shall come again, not give up.
        staying.find_map(|entry| room(entry).err()).unwrap_or(refusal)
    })?;
    let delegation = match &party {
        Some((party, act)) => {
            let rules = MatchedRule::distinct(entitlement.details.iter().filter_map(lent).flatten());
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
    Ok(Authorization { grounds, entitlement, delegation, expires_at })
}

/// What the token will say beside its entries.
fn frame(context: &DecisionContext<'_>, token: &LiveToken, party: Option<&(Party, Actor)>) -> Frame {
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
        fixed: fixed.into_iter().fold(claims.client_id.len(), usize::saturating_add),
        per_entry: party.map_or(0, |(party, _)| party.most_lent().saturating_mul(OF_GROUND)),
    }
}
