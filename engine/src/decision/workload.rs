//! The decision on an assertion: it matches the rules, checks the actor and the rate limits, and
//! narrows what the rules permit to the access asked for.

use carnet_access::{Actor, ProofLevel};

use super::delegation::{Delegation, Party, Represented};
use super::{Authorization, Grounds, Mode, Presented, Subject, View, lifetime};
use crate::assertion::{Assertion, AssertionContent, Workload};
use crate::grant_type::GrantType;
use crate::ids::TrustedIssuerId;
use crate::json::element_bytes;
use crate::model::{DecisionContext, FederatedCredential};
use crate::possession::Possession;
use crate::principal::{
    AccessRequest, Asked, AtFrontDoor, Entitlement, Frame, check_target, entitle,
};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::trust::{
    Candidate, Consent, Denial, Finding, MatchReport, MatchedRule, Permit, Rank, Topic, Verdict,
    nearest_credentials,
};

/// How many bytes one element of an entry's `rests_on` takes in a token.
pub(super) const OF_GROUND: usize = 100;

pub(super) fn decide<A: Assertion>(
    context: &DecisionContext<'_>,
    subject: &Subject<A>,
    assertion: &A,
    (access, mut possession): (&AccessRequest, Possession),
    mode: Mode<'_>,
) -> Result<Authorization<A>, Box<Denial>> {
    let issuer_id = assertion.content().issuer().id;
    names_principal(context, access).map_err(Denial::bare)?;
    let may_count = |credential: &FederatedCredential| {
        mode.view().may_see(&credential.principal)
            && (matches!(subject.presented, Presented::Assertion(_))
                || subject.client.lists(credential))
    };
    let consent = mode.view().consent(access);
    let permit = Permit::new(
        assertion.clone(),
        &context.rules,
        context.now,
        consent,
        may_count,
    );
    let mut permit = permit.map_err(|denial| {
        // A rule matches, but does not count without consent. Consent is checked after the target,
        // so a wrong target is reported first (decision D-01).
        let is_consents = denial.report.candidates.iter().any(Candidate::holds);
        match check_target(&context.rules, access) {
            Err(refusal) if is_consents => Denial::new(refusal, denial.report),
            _ => disclosed(denial, context, assertion, (mode.view(), consent)),
        }
    })?;
    let acting = match acting(context, subject, assertion, permit.report()) {
        Ok(acting) => acting,
        Err(refusal) => return Err(permit.deny(refusal)),
    };
    if let Some(acting) = &acting {
        possession.level = possession.level.min(acting.level);
        if !permit.narrow(|candidate| acting.finding(candidate)) {
            return Err(permit.deny(Reason::ActorNotAllowed.into()));
        }
    }
    let held_off = match leave_out_limited(&mut permit, mode, issuer_id) {
        Ok(held_off) => held_off,
        Err(refusal) => return Err(permit.deny(refusal)),
    };
    let (issuer, claims) = (assertion.content().issuer(), assertion.content().claims());
    let frame = frame(context, subject, assertion.content(), acting.as_ref());
    let asked = Asked {
        access,
        frame,
        possession: &possession,
    };
    let mut entitlement = match entitle(permit.report(), context, issuer, claims, asked) {
        Ok(entitlement) => entitlement,
        // If a rule was over its limit, tell the caller to retry: with that rule the request might
        // be allowed.
        Err(refusal) => return Err(permit.deny(held_off.unwrap_or(refusal))),
    };
    let delegation = acting.map(|acting| acting.delegate(&mut entitlement));
    let grounds = Grounds::Workload(permit);
    match lifetime::ends_at(&grounds, &entitlement, delegation.as_ref(), context.now) {
        Ok(expires_at) => Ok(Authorization {
            grounds,
            entitlement,
            delegation,
            possession,
            expires_at,
        }),
        Err(refusal) => Err(grounds.deny(refusal)),
    }
}

/// Leaves out the rules that are over their rate limits: they grant nothing, and leave the
/// principal's other rules alone. Returns why a rule was left out whose principal the request may
/// have meant; fails if no rule is left.
fn leave_out_limited<A: Assertion>(
    permit: &mut Permit<A>,
    mode: Mode<'_>,
    issuer: TrustedIssuerId,
) -> Result<Option<Refusal>, Refusal> {
    let (mut held_off, mut visitor_held_off) = (None, None);
    if mode.limits().is_none() {
        return Ok(None);
    }
    let is_left = permit.narrow(|candidate| {
        let over = mode.check_rule(Some(issuer), candidate.credential.id).err();
        let finding = Finding::limits(over.is_none());
        // Kept apart, because the request did not ask for the principal of a visiting rule: its
        // limit must not hold off what other rules decide.
        let kept = if candidate.rank == Rank::Visiting {
            &mut visitor_held_off
        } else {
            &mut held_off
        };
        *kept = over.or(kept.take());
        finding
    });
    if is_left {
        Ok(held_off)
    } else {
        Err(held_off
            .or(visitor_held_off)
            .unwrap_or(Reason::RateLimited.into()))
    }
}

/// How many bytes the token takes beside its entries.
fn frame<A: Assertion>(
    context: &DecisionContext<'_>,
    subject: &Subject<A>,
    assertion: &AssertionContent,
    acting: Option<&Acting>,
) -> Frame {
    let act = acting.map_or(0, |acting| element_bytes(&acting.act));
    let client = subject.client.identity().id().map_or(0, str::len);
    let fixed = [
        Workload::of(assertion).most_bytes(),
        act,
        client,
        context.own.issuer().len(),
    ];
    Frame {
        fixed: fixed.into_iter().fold(0, usize::saturating_add),
        per_entry: acting.map_or(0, |acting| {
            acting.party.most_lent().saturating_mul(OF_GROUND)
        }),
    }
}

/// Refuses a request without `principal` for a registry with `require_principal`, or at a door whose
/// tools name one, whichever rules match.
fn names_principal(context: &DecisionContext<'_>, access: &AccessRequest) -> Result<(), Refusal> {
    let at_door = access.front_door.iter();
    let at_door = at_door.filter_map(|at| context.rules.resource_server(&at.resource_server));
    let named = access
        .resources
        .iter()
        .filter_map(|uri| context.rules.resource_server_named(uri))
        .chain(at_door);
    // A door whose requests name a principal is good for that one's rules alone.
    let is_nugets = |at: &AtFrontDoor| at.kind.names_principal();
    let wants_it = access.front_door.as_ref().is_some_and(is_nugets)
        || named.into_iter().any(|server| server.require_principal);
    if wants_it && access.principal.is_none() {
        Err(Refusal::parameter(Reason::PrincipalRequired, "principal"))
    } else {
        Ok(())
    }
}

/// Tells administrators which condition of the closest rule does not hold. If the claims lead to no
/// rule at all, the nearest ones are searched for: a misspelt name is not found by an index of
/// names.
fn disclosed<A: Assertion>(
    mut denial: Box<Denial>,
    context: &DecisionContext<'_>,
    assertion: &A,
    (view, consent): (&View, Consent<'_>),
) -> Box<Denial> {
    let (issuer, claims) = (assertion.content().issuer(), assertion.content().claims());
    if *view == View::Caller || denial.refusal.reason != Reason::NoMatchingCredential {
        return denial;
    }
    if denial.report.candidates.is_empty() {
        let may_see = |principal: &str| view.may_see(principal);
        denial.report = nearest_credentials(
            &context.rules,
            issuer,
            claims,
            context.now,
            consent,
            may_see,
        );
    }
    if let Some(reason) = denial.report.closest_reason(&issuer.profile) {
        denial.refusal.refine(reason, &issuer.profile);
    }
    denial
}

/// The actor for a workload.
struct Acting {
    party: Party,
    act: Actor,
    /// The level of the actor's proof.
    level: ProofLevel,
    /// Whether the workload's assertion names the actor in `may_act`.
    is_named: bool,
}

impl Acting {
    /// Lets the entries rest on the rules that let the actor act. Only rules that grant entries
    /// count: a rule for another registry must neither shorten the token nor pin ids by it.
    fn delegate(self, entitlement: &mut Entitlement) -> Delegation {
        let lent = |rule: &MatchedRule| self.party.rules_named_by(&rule.credential);
        let by_rule: Vec<_> = entitlement
            .credentials
            .iter()
            .map(|rule| (rule.credential.id.to_string(), lent(rule)))
            .collect();
        entitlement.rest_on(|entry| {
            let of_entry = by_rule.iter().find(|(id, _)| *id == entry.credential);
            of_entry.map(|(_, lent)| lent.clone()).unwrap_or_default()
        });
        let lent = MatchedRule::distinct(by_rule.into_iter().flat_map(|(_, lent)| lent));
        Delegation::of(self.act, &self.party, lent)
    }

    fn finding(&self, candidate: &Candidate) -> Finding {
        let allowed = self.is_named || self.party.is_named_by(&candidate.credential);
        let verdict = if allowed {
            Verdict::Met
        } else {
            Verdict::Unmet(Reason::ActorNotAllowed)
        };
        Finding {
            about: Topic::Actor,
            verdict,
        }
    }
}

/// The actor for the workload, in token exchange alone (RFC 8693 section 4.4).
fn acting<A: Assertion>(
    context: &DecisionContext<'_>,
    subject: &Subject<A>,
    assertion: &A,
    report: &MatchReport,
) -> Result<Option<Acting>, Refusal> {
    if subject.grant_type != GrantType::TokenExchange {
        return Ok(None);
    }
    let assertion = assertion.content();
    let iss = assertion.issuer().issuer.as_str();
    let represented = Represented {
        iss,
        may_act: assertion.claims().get("may_act"),
        act: None,
    };
    let Some((token, level)) = subject.actor()? else {
        represented.admits_client(&subject.client, context.own)?;
        return Ok(None);
    };
    let naming = report.matching().map(|candidate| &*candidate.credential);
    let party = Party::of(token, subject, context, naming)?;
    let is_named = represented.says_of(&party)?;
    let act = represented.act_with(&party)?;
    Ok(Some(Acting {
        party,
        act,
        level,
        is_named,
    }))
}
