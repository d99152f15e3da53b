//! Judges one rule for an assertion: a verdict on each condition, and on the state of everything
//! that the rule depends on.

mod shown;

use std::sync::Arc;

use serde_json::{Map, Value};

pub use shown::ShownFinding;

use super::asked;
use super::check::{self, Verdict};
use super::consent::Consent;
use crate::clock::Timestamp;
use crate::model::{
    FederatedCredential, Membership, Principal, Rule, Snapshot, State, TrustedIssuer, pins_from,
};
use crate::profile::{Claims, PinMode, Profile, Role};
use crate::reason::Reason;

/// A rule with all verdicts on it.
#[derive(Debug)]
pub struct Candidate {
    pub credential: Arc<FederatedCredential>,
    /// The principal that the rule acts for; `None` if it does not exist any more.
    pub principal: Option<Arc<Principal>>,
    /// Which consent the rule has for the request.
    pub rank: Rank,
    /// The verdicts on all conditions and circumstances.
    pub findings: Vec<Finding>,
    /// The ids to pin if a token is issued for this assertion.
    pub pins: Map<String, Value>,
}

/// Which consent a rule has for a request, the strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// The request names the rule's principal, or another object names the rule.
    Named,
    /// The rule is vouched for.
    Vouched,
    /// The rule is not vouched for, and the request came through
    /// [`Door::Nameless`](super::Door::Nameless).
    Visiting,
    /// The rule has no consent and does not count.
    Other,
}

/// The verdict on one condition or circumstance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    pub about: Topic,
    pub verdict: Verdict,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// The rule can be read, is enabled and has not expired.
    State,
    /// The rule's principal exists and is enabled.
    Principal,
    /// The rule's principal may use the trusted issuer.
    IssuerOwner,
    /// The event is not among the trusted issuer's `banned_events`.
    Event,
    /// The rule asks for a run that outsiders decide, such as one of a pull request.
    Asked,
    /// Under a broker: the rule names the identity provider behind it.
    Upstream,
    /// The assertion contains every id that a pending rule has to pin.
    Pins,
    /// The condition of the rule at this position.
    Condition(usize),
    /// The rule has consent: its [`Rank`] is not [`Rank::Other`].
    Consent,
    /// The request names the rule's principal.
    Principals,
    /// The rule, or the subject's own token, names the actor of a delegation.
    Actor,
    /// The rate limits of the rule and of its trusted issuer permit a token now.
    Limits,
}

impl Candidate {
    /// Judges all conditions and circumstances of a rule.
    pub(super) fn judge(
        snapshot: &Snapshot,
        issuer: &TrustedIssuer,
        claims: &Claims,
        (now, consent): (Timestamp, Consent<'_>),
        credential: Arc<FederatedCredential>,
    ) -> Self {
        let principal = snapshot.principal(&credential.principal).cloned();
        let rank = consent.rank(&credential, issuer);
        let mut findings = standing(&credential, principal.as_deref(), issuer, now);
        let Some(rule) = credential.rule.open() else {
            findings.push(Finding::unreadable());
            return Self {
                credential,
                principal,
                rank,
                findings,
                pins: Map::new(),
            };
        };
        add_conditions(&mut findings, &rule, issuer, claims);
        let profile = &*issuer.profile;
        let is_pending = credential.pending_until.is_some();
        let learns = is_pending || profile.pins == PinMode::WhenSent;
        let pins = if learns {
            pins_from(profile, &rule, claims)
        } else {
            Map::new()
        };
        if is_pending {
            let complete = pins_are_complete(profile, &rule, &pins);
            findings.push(Finding::of(Topic::Pins, complete, Reason::ClaimMissing));
        }
        if let Consent::Workload {
            principal: asked, ..
        } = consent
        {
            if asked.is_some() {
                findings.push(Finding::of(
                    Topic::Principals,
                    rank == Rank::Named,
                    Reason::PrincipalMismatch,
                ));
            }
            findings.push(Finding::of(
                Topic::Consent,
                rank != Rank::Other,
                Reason::PrincipalRequired,
            ));
        }
        // A self-service rule must not pin ids of a run that could not name its principal.
        let pins = if rank == Rank::Visiting {
            Map::new()
        } else {
            pins
        };
        Self {
            credential,
            principal,
            rank,
            findings,
            pins,
        }
    }

    /// Judges a membership by the same conditions. `provider` is its identity provider in the form
    /// of a trusted issuer.
    pub(super) fn judge_membership(
        snapshot: &Snapshot,
        provider: &TrustedIssuer,
        claims: &Claims,
        now: Timestamp,
        membership: &Membership,
    ) -> Self {
        let named = membership.principal.as_deref();
        let principal = named.and_then(|name| snapshot.principal(name)).cloned();
        let credential = membership.rule.clone();
        let mut findings = vec![state_verdict(&credential, now)];
        if named.is_some() {
            let enabled = principal.as_ref().is_some_and(|it| it.enabled);
            findings.push(Finding::of(
                Topic::Principal,
                enabled,
                Reason::PrincipalDisabled,
            ));
        }
        match credential.rule.open() {
            Some(rule) => add_conditions(&mut findings, &rule, provider, claims),
            None => findings.push(Finding::unreadable()),
        }
        Self {
            credential,
            principal,
            rank: Rank::Named,
            findings,
            pins: Map::new(),
        }
    }

    /// Whether the rule itself holds, regardless of the actor, consent, the requested principal and
    /// rate limits.
    pub fn holds(&self) -> bool {
        self.holds_beside(&[
            Topic::Actor,
            Topic::Limits,
            Topic::Consent,
            Topic::Principals,
        ])
    }

    /// Whether everything but the rate limits holds.
    pub fn matches_but_for_limits(&self) -> bool {
        self.holds_beside(&[Topic::Limits])
    }

    fn holds_beside(&self, topics: &[Topic]) -> bool {
        self.findings
            .iter()
            .all(|finding| topics.contains(&finding.about) || finding.verdict.is_met())
    }

    /// Sort key, closest first: the rank, then the number of findings that fail.
    pub(super) fn closeness(&self) -> (Rank, usize) {
        (self.rank, self.unmet().count())
    }

    pub fn matches(&self) -> bool {
        self.findings.iter().all(|finding| finding.verdict.is_met())
    }

    /// The findings that fail, with their reasons.
    pub fn unmet(&self) -> impl Iterator<Item = (Topic, Reason)> {
        self.findings
            .iter()
            .filter_map(|finding| match finding.verdict {
                Verdict::Met => None,
                Verdict::Unmet(reason) => Some((finding.about, reason)),
            })
    }

    /// The reason of the first finding that fails, conditions before circumstances. It is
    /// [`Reason::Renamed`] if a name differs although all ids, at least one, are equal.
    pub fn reason(&self, profile: &Profile) -> Option<Reason> {
        let rule = self.credential.rule.open()?;
        let is = |about: Topic, wanted: Role| matches!(about, Topic::Condition(at) if role(&rule, at, profile) == Some(wanted));
        let ids = || {
            self.findings
                .iter()
                .filter(|finding| is(finding.about, Role::Id))
        };
        let (about, reason) = self
            .unmet()
            .min_by_key(|(about, _)| u8::from(!matches!(about, Topic::Condition(_))))?;
        let renamed = is(about, Role::Name)
            && ids().next().is_some()
            && ids().all(|finding| finding.verdict.is_met());
        Some(if renamed { Reason::Renamed } else { reason })
    }

    /// Whether the assertion proves that this rule is meant for it
    /// (`docs/src/explanation/disclosure.md`): all immutable ids of the rule, at least one, are
    /// equal, or the rule is pending and its names are equal.
    pub fn is_proved_to_be_meant(&self, profile: &Profile) -> bool {
        let Some(rule) = self.credential.rule.open() else {
            return false;
        };
        let held = |wanted: Role| {
            let of_role = |finding: &&Finding| matches!(finding.about, Topic::Condition(at) if role(&rule, at, profile) == Some(wanted));
            let mut findings = self.findings.iter().filter(of_role).peekable();
            findings.peek().is_some() && findings.all(|finding| finding.verdict.is_met())
        };
        held(Role::Id) || (self.credential.pending_until.is_some() && held(Role::Name))
    }
}

impl Finding {
    /// A finding that fails for this reason unless it is met.
    fn of(about: Topic, met: bool, reason: Reason) -> Self {
        Self {
            about,
            verdict: if met {
                Verdict::Met
            } else {
                Verdict::Unmet(reason)
            },
        }
    }

    /// The finding on a rule that cannot be opened.
    fn unreadable() -> Self {
        Self::of(Topic::State, false, Reason::PolicyInvalid)
    }

    /// The finding on the rate limits of a rule.
    pub fn limits(met: bool) -> Self {
        Self::of(Topic::Limits, met, Reason::RateLimited)
    }
}

/// Whether the rule, its principal and the owner of the trusted issuer permit a match at all.
fn standing(
    credential: &FederatedCredential,
    principal: Option<&Principal>,
    issuer: &TrustedIssuer,
    now: Timestamp,
) -> Vec<Finding> {
    let enabled = principal.is_some_and(|principal| principal.enabled);
    let open = issuer.is_open_to(&credential.principal);
    vec![
        state_verdict(credential, now),
        Finding::of(Topic::Principal, enabled, Reason::PrincipalDisabled),
        Finding::of(Topic::IssuerOwner, open, Reason::IssuerScope),
    ]
}

fn state_verdict(credential: &FederatedCredential, now: Timestamp) -> Finding {
    let verdict = match credential.state(now) {
        State::Active | State::Pending => Verdict::Met,
        State::Expired => Verdict::Unmet(Reason::CredentialExpired),
        State::Disabled => Verdict::Unmet(Reason::CredentialDisabled),
    };
    Finding {
        about: Topic::State,
        verdict,
    }
}

/// Judges the conditions of the rule, and those that the trusted issuer adds.
fn add_conditions(
    findings: &mut Vec<Finding>,
    rule: &Rule<'_>,
    issuer: &TrustedIssuer,
    claims: &Claims,
) {
    findings.extend(
        rule.conditions
            .iter()
            .enumerate()
            .map(|(at, condition)| Finding {
                about: Topic::Condition(at),
                verdict: check::evaluate(condition, issuer, claims),
            }),
    );
    if let Some(path) = &issuer.terms.issuer_claim {
        let named = rule
            .conditions
            .iter()
            .any(|condition| condition.is_upstream(&issuer.profile, path));
        findings.push(Finding::of(
            Topic::Upstream,
            named,
            Reason::UpstreamMismatch,
        ));
    }
    findings.extend(event_verdict(issuer, claims).map(|verdict| Finding {
        about: Topic::Event,
        verdict,
    }));
    if asked::is_asked_run(issuer, claims) {
        let named = asked::names_such_events(rule, issuer);
        findings.push(Finding::of(Topic::Asked, named, Reason::EventDenied));
    }
}

fn event_verdict(issuer: &TrustedIssuer, claims: &Claims) -> Option<Verdict> {
    let event =
        issuer.profile.event.as_ref().filter(|_| {
            !issuer.banned_events.is_empty() || !issuer.profile.asked.events.is_empty()
        })?;
    Some(match event.text(claims) {
        Err(unreadable) => Verdict::Unmet(unreadable.into()),
        Ok(event)
            if issuer
                .banned_events
                .iter()
                .any(|banned| banned.eq_ignore_ascii_case(event)) =>
        {
            Verdict::Unmet(Reason::EventDenied)
        }
        Ok(_) => Verdict::Met,
    })
}

/// Whether the rule and the pins together hold every id of the objects that the rule names.
fn pins_are_complete(profile: &Profile, rule: &Rule<'_>, pins: &Map<String, Value>) -> bool {
    let has = |at: usize| {
        rule.conditions
            .iter()
            .any(|condition| condition.field == u16::try_from(at).ok())
    };
    let named = profile
        .fields
        .iter()
        .enumerate()
        .filter(|(at, field)| field.role == Role::Name && has(*at));
    named.flat_map(|(_, field)| &field.ids).all(|id| {
        has(*id)
            || profile
                .fields
                .get(*id)
                .is_some_and(|field| pins.contains_key(&field.name))
    })
}

fn role(rule: &Rule<'_>, at: usize, profile: &Profile) -> Option<Role> {
    rule.conditions
        .get(at)
        .and_then(|condition| check::field(condition, profile))
        .map(|field| field.role)
}
