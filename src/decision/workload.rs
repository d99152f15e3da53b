//! The decision on an assertion: the rules, the actor, the limits, and then what the rules permit of what is asked for.

use carnet_resource_server::Actor;

use super::delegation::{Delegation, Party, Represented};
use super::{Authorization, Grounds, Mode, Presented, Subject, View, lifetime};
use crate::assertion::Assertion;
use crate::grant_type::GrantType;
use crate::model::DecisionContext;
use crate::principal::{AccessRequest, entitle};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::trust::{Candidate, Denial, Finding, MatchedRule, Permit, Topic, Verdict, nearest_credentials};

pub(super) fn decide<A: Assertion>(
    context: &DecisionContext<'_>,
    subject: &Subject<A>,
    assertion: &A,
    access: &AccessRequest,
    mode: Mode<'_>,
) -> Result<Authorization<A>, Box<Denial>> {
    let issuer_id = assertion.content().issuer().id;
    let may_count = |candidate: &Candidate| {
        mode.view().may_see(&candidate.credential.principal)
            && (matches!(subject.presented, Presented::Assertion(_)) || subject.client.lists(candidate))
    };
    let permit = Permit::new(assertion.clone(), &context.rules, context.now, may_count);
    let mut permit = permit.map_err(|denial| disclosed(denial, context, assertion, mode.view()))?;
    let acting = match acting(context, subject, assertion) {
        Ok(acting) => acting,
        Err(refusal) => return Err(permit.deny(refusal)),
    };
    if let Some(acting) = &acting
        && !permit.narrow(|candidate| acting.finding(candidate))
    {
        return Err(permit.deny(Reason::ActorNotAllowed.into()));
    }
    // A rule over its limit gives nothing; it does not take away what others give.
    let mut held_off = None;
    if mode.limits().is_some() {
        let room_left = permit.narrow(|candidate| {
            let over = mode.check_rule(Some(issuer_id), candidate.credential.id).err();
            let finding = Finding::limits(over.is_none());
            held_off = over.or(held_off.take());
            finding
        });
        if !room_left {
            return Err(permit.deny(held_off.unwrap_or(Reason::RateLimited.into())));
        }
    }
    let (issuer, claims) = (assertion.content().issuer(), assertion.content().claims());
    let entitlement = match entitle(permit.report(), context, issuer, claims, access) {
        Ok(entitlement) => entitlement,
        // With the rule that is over its limit it might have been a yes: the caller shall come again, not give up.
        Err(refusal) => return Err(permit.deny(held_off.unwrap_or(refusal))),
    };
    // Only what the token rests on counts: a rule for another registry neither shortens it nor learns ids by it.
    let delegation = acting.map(|acting| {
        let lent = entitlement.credentials.iter().flat_map(|rule| acting.party.rules_named_by(&rule.credential));
        let lent = MatchedRule::distinct(lent);
        Delegation::of(acting.act, &acting.party, lent)
    });
    let grounds = Grounds::Workload(permit);
    match lifetime::ends_at(&grounds, &entitlement, delegation.as_ref(), context.now) {
        Ok(expires_at) => Ok(Authorization { grounds, entitlement, delegation, expires_at }),
        Err(refusal) => Err(grounds.deny(refusal)),
    }
}

/// Whoever may see all rules is told which condition of the closest one does not hold: also where the claims do not even lead
/// to it, since a name that is misspelt is not found by the name.
fn disclosed<A: Assertion>(
    mut denial: Box<Denial>,
    context: &DecisionContext<'_>,
    assertion: &A,
    view: &View,
) -> Box<Denial> {
    let (issuer, claims) = (assertion.content().issuer(), assertion.content().claims());
    if *view == View::Caller || denial.refusal.reason != Reason::NoMatchingCredential {
        return denial;
    }
    if denial.report.candidates.is_empty() {
        let may_see = |principal: &str| view.may_see(principal);
        denial.report = nearest_credentials(&context.rules, issuer, claims, context.now, may_see);
    }
    if let Some(reason) = denial.report.closest_reason(&issuer.profile) {
        denial.refusal.reason = reason;
    }
    denial
}

/// Somebody who acts for the workload.
struct Acting {
    party: Party,
    act: Actor,
    /// Whether the workload's own token names the party.
    is_named: bool,
}

impl Acting {
    fn finding(&self, candidate: &Candidate) -> Finding {
        let allowed = self.is_named || !self.party.rules_named_by(&candidate.credential).is_empty();
        let verdict = if allowed { Verdict::Met } else { Verdict::Unmet(Reason::ActorNotAllowed) };
        Finding { about: Topic::Actor, verdict }
    }
}

/// Who acts for the workload, if anybody does (RFC 8693 section 4.4).
fn acting<A: Assertion>(
    context: &DecisionContext<'_>,
    subject: &Subject<A>,
    assertion: &A,
) -> Result<Option<Acting>, Refusal> {
    if subject.grant_type != GrantType::TokenExchange {
        return Ok(None);
    }
    let assertion = assertion.content();
    let iss = assertion.issuer().issuer.as_str();
    let represented = Represented { iss, may_act: assertion.claims().get("may_act"), act: None };
    let Some(token) = &subject.actor else {
        represented.admits_client(&subject.client, context.own)?;
        return Ok(None);
    };
    let party = Party::of(token.as_ref().map_err(Clone::clone)?, subject, context)?;
    let is_named = represented.says_of(&party)?;
    let act = represented.act_with(&party)?;
    Ok(Some(Acting { party, act, is_named }))
}
