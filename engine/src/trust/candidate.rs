//! The verdict on every condition of one rule.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::check::{self, Verdict};
use super::consent::Consent;
use super::hint::hint;
use crate::clock::Timestamp;
use crate::model::{FederatedCredential, Principal, Rule, Snapshot, State, Test, TrustedIssuer, pins_from};
use crate::profile::{Claims, PinMode, Profile, Role};
use crate::reason::Reason;
use crate::refusal::Mismatch;

/// One rule, judged.
#[derive(Debug)]
pub struct Candidate {
    /// The rule.
    pub credential: Arc<FederatedCredential>,
    /// The principal it acts for, if it still exists.
    pub principal: Option<Arc<Principal>>,
    /// How near it is to what is asked for.
    pub rank: Rank,
    /// The verdict on everything the rule stands on.
    pub findings: Vec<Finding>,
    /// The ids that a token of this assertion pins.
    pub pins: Map<String, Value>,
}

/// How near a rule is to what is asked for; the nearest comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    /// The request names its principal, or somebody named the rule.
    Named,
    /// Somebody vouches for it.
    Vouched,
    /// Nobody does, and it came through a door that cannot name a principal.
    Visiting,
    /// It does not count.
    Other,
}

/// One thing that has to hold, and whether it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is about.
    pub about: Topic,
    /// Whether it holds.
    pub verdict: Verdict,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// The rule is switched on and not over.
    State,
    /// Its principal exists and is switched on.
    Principal,
    /// The trusted issuer may be used for this principal.
    IssuerOwner,
    /// The event is not banned for the trusted issuer.
    Event,
    /// The rule says which provider behind a broker it means.
    Upstream,
    /// The ids that would be pinned are there.
    Pins,
    /// A condition of the rule, by position.
    Condition(usize),
    /// Somebody vouches for the rule, or the request names its principal.
    Consent,
    /// The rule acts for the principal that the request names.
    Principals,
    /// The rule names whoever acts for the workload.
    Actor,
    /// The rule, or its trusted issuer, may give a token now.
    Limits,
}

impl Candidate {
    /// Judges everything that a rule stands on.
    pub(super) fn judge(
        snapshot: &Snapshot,
        issuer: &TrustedIssuer,
        claims: &Claims,
        (now, consent): (Timestamp, Consent<'_>),
        credential: Arc<FederatedCredential>,
    ) -> Self {
        let profile = &*issuer.profile;
        let principal = snapshot.principal(&credential.principal).cloned();
        let verdict = |met: bool, reason: Reason| if met { Verdict::Met } else { Verdict::Unmet(reason) };
        let state = credential.state(now);
        let state_verdict = match state {
            State::Active | State::Pending => Verdict::Met,
            State::Expired => Verdict::Unmet(Reason::CredentialExpired),
            State::Disabled => Verdict::Unmet(Reason::CredentialDisabled),
        };
        let enabled = principal.as_ref().is_some_and(|principal| principal.enabled);
        let owned = issuer.is_open_to(&credential.principal);
        let rank = consent.rank(&credential, issuer);
        let mut findings = vec![
            Finding { about: Topic::State, verdict: state_verdict },
            Finding { about: Topic::Principal, verdict: verdict(enabled, Reason::PrincipalDisabled) },
            Finding { about: Topic::IssuerOwner, verdict: verdict(owned, Reason::IssuerScope) },
        ];
        let Some(rule) = credential.rule.open() else {
            findings.push(Finding { about: Topic::State, verdict: Verdict::Unmet(Reason::PolicyInvalid) });
            return Self { credential, principal, rank, findings, pins: Map::new() };
        };
        findings.extend(rule.conditions.iter().enumerate().map(|(at, condition)| Finding {
            about: Topic::Condition(at),
            verdict: check::evaluate(condition, issuer, claims),
        }));
        if let Some(path) = &issuer.terms.issuer_claim {
            let named = rule.conditions.iter().any(|condition| condition.is_upstream(profile, path));
            findings.push(Finding { about: Topic::Upstream, verdict: verdict(named, Reason::UpstreamMismatch) });
        }
        if let Some(event) = event_verdict(issuer, claims) {
            findings.push(Finding { about: Topic::Event, verdict: event });
        }
        let mut pins = Map::new();
        if credential.pending_until.is_some() || profile.pins == PinMode::WhenSent {
            pins = pins_from(profile, &rule, claims);
        }
        if credential.pending_until.is_some() {
            let complete = pins_are_complete(profile, &rule, &pins);
            findings.push(Finding { about: Topic::Pins, verdict: verdict(complete, Reason::ClaimMissing) });
        }
        if let Consent::Workload { principal: asked, .. } = consent {
            if asked.is_some() {
                let named = verdict(rank == Rank::Named, Reason::PrincipalMismatch);
                findings.push(Finding { about: Topic::Principals, verdict: named });
            }
            let counts = verdict(rank != Rank::Other, Reason::PrincipalRequired);
            findings.push(Finding { about: Topic::Consent, verdict: counts });
        }
        // At a door that cannot name a principal a self-service rule learns nothing of the run.
        let pins = if rank == Rank::Visiting { Map::new() } else { pins };
        Self { credential, principal, rank, findings, pins }
    }

    /// Whether the rule itself holds, whoever acts, whoever is asked for and however much it gave already.
    pub fn holds(&self) -> bool {
        self.holds_beside(&[Topic::Actor, Topic::Limits, Topic::Consent, Topic::Principals])
    }

    /// Whether everything holds but, perhaps, that it may give a token now.
    pub fn matches_but_for_limits(&self) -> bool {
        self.holds_beside(&[Topic::Limits])
    }

    fn holds_beside(&self, topics: &[Topic]) -> bool {
        self.findings.iter().all(|finding| topics.contains(&finding.about) || finding.verdict.is_met())
    }

    /// How far it is from matching.
    pub(super) fn closeness(&self) -> (Rank, usize) {
        (self.rank, self.unmet().count())
    }

    /// Whether everything holds.
    pub fn matches(&self) -> bool {
        self.findings.iter().all(|finding| finding.verdict.is_met())
    }

    /// What does not hold.
    pub fn unmet(&self) -> impl Iterator<Item = (Topic, Reason)> {
        self.findings.iter().filter_map(|finding| match finding.verdict {
            Verdict::Met => None,
            Verdict::Unmet(reason) => Some((finding.about, reason)),
        })
    }

    /// The first reason why it does not match, conditions before circumstances; a name that differs although all ids are equal
    /// was changed.
    pub fn reason(&self, profile: &Profile) -> Option<Reason> {
        let rule = self.credential.rule.open()?;
        let is = |about: Topic, wanted: Role| matches!(about, Topic::Condition(at) if role(&rule, at, profile) == Some(wanted));
        let ids = || self.findings.iter().filter(|finding| is(finding.about, Role::Id));
        let (about, reason) = self.unmet().min_by_key(|(about, _)| u8::from(!matches!(about, Topic::Condition(_))))?;
        let renamed = is(about, Role::Name) && ids().next().is_some() && ids().all(|finding| finding.verdict.is_met());
        Some(if renamed { Reason::Renamed } else { reason })
    }

    /// Whether the assertion shows that this rule is meant for it: all of its immutable ids are equal and there is at least one, or
    /// it is pending and the names match.
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

    /// Everything that does not hold, with what was asked for and what was received.
    pub fn mismatches(&self, issuer: &TrustedIssuer, claims: &Claims) -> Vec<Mismatch> {
        self.explained(issuer, claims)
            .into_iter()
            .filter_map(|(field, expected, received, verdict)| match verdict {
                Verdict::Met => None,
                Verdict::Unmet(reason) => {
                    let hint = hint(&expected, &received);
                    Some(Mismatch { credential: self.credential.id, field, expected, received, reason, hint })
                }
            })
            .collect()
    }

    /// Every finding as field, what was asked for, what was received, and the verdict.
    pub fn explained(&self, issuer: &TrustedIssuer, claims: &Claims) -> Vec<(String, Value, Value, Verdict)> {
        let rule = self.credential.rule.open().unwrap_or_default();
        let profile = &*issuer.profile;
        self.findings
            .iter()
            .map(|finding| {
                let (field, expected, received) = match finding.about {
                    Topic::State => ("state".to_owned(), json!("active"), self.state_shown()),
                    Topic::Principal => {
                        let enabled = self.principal.as_ref().is_some_and(|principal| principal.enabled);
                        ("principal".to_owned(), json!("enabled"), json!(if enabled { "enabled" } else { "disabled" }))
                    }
                    Topic::IssuerOwner => {
                        let met = finding.verdict.is_met();
                        let shown = if met { "this principal's or nobody's" } else { "another principal's" };
                        ("trusted_issuer".to_owned(), json!("this principal's or nobody's"), json!(shown))
                    }
                    Topic::Event => {
                        let event = profile.event.as_ref();
                        let received = event.and_then(|event| claims.get(&event.path)).cloned().unwrap_or(Value::Null);
                        ("banned_events".to_owned(), json!({ "none_of": issuer.banned_events }), received)
                    }
                    Topic::Upstream => {
                        let path = issuer.terms.issuer_claim.as_deref().unwrap_or_default();
                        (
                            "upstream".to_owned(),
                            json!({ "claim": path }),
                            claims.get(path).cloned().unwrap_or(Value::Null),
                        )
                    }
                    Topic::Consent => {
                        let shown = match self.rank {
                            Rank::Named => "named",
                            Rank::Vouched => "vouched",
                            Rank::Visiting => "a request that cannot name it",
                            Rank::Other => "neither",
                        };
                        ("consent".to_owned(), json!("vouched, or its principal named in the request"), json!(shown))
                    }
                    Topic::Principals => {
                        let shown = if finding.verdict.is_met() { "named" } else { "another principal named" };
                        ("principal".to_owned(), json!("named in the request"), json!(shown))
                    }
                    Topic::Actor => {
                        let shown = if finding.verdict.is_met() { "named" } else { "not named" };
                        let names: Vec<&str> = rule.actors.iter().map(|actor| actor.name).collect();
                        ("actors".to_owned(), json!({ "any_of": names }), json!(shown))
                    }
                    Topic::Limits => {
                        let shown = if finding.verdict.is_met() { "below" } else { "reached" };
                        ("rate_limit".to_owned(), json!("below"), json!(shown))
                    }
                    Topic::Pins => ("pinned".to_owned(), json!("every id of what is named"), json!(self.pins)),
                    Topic::Condition(at) => match rule.conditions.get(at) {
                        None => (String::new(), Value::Null, Value::Null),
                        Some(condition) => {
                            let name = match &condition.test {
                                Test::Claim { path, .. } if condition.field.is_none() => {
                                    format!("claims.{path}")
                                }
                                _ => check::field(condition, profile).map(|f| f.name.clone()).unwrap_or_default(),
                            };
                            (name, check::expected(condition, profile), check::received(condition, profile, claims))
                        }
                    },
                };
                (field, expected, received, finding.verdict)
            })
            .collect()
    }

    fn state_shown(&self) -> Value {
        let state = self.findings.iter().find(|finding| finding.about == Topic::State).map(|finding| finding.verdict);
        json!(match state {
            Some(Verdict::Unmet(Reason::CredentialDisabled)) => "disabled",
            Some(Verdict::Unmet(_)) => "expired",
            _ if self.credential.pending_until.is_some() => "pending",
            _ => "active",
        })
    }
}

impl Finding {
    /// Whether a rule may give a token now.
    pub fn limits(met: bool) -> Self {
        let verdict = if met { Verdict::Met } else { Verdict::Unmet(Reason::RateLimited) };
        Self { about: Topic::Limits, verdict }
    }
}

fn event_verdict(issuer: &TrustedIssuer, claims: &Claims) -> Option<Verdict> {
    let event = issuer.profile.event.as_ref().filter(|_| !issuer.banned_events.is_empty())?;
    Some(match event.text(claims) {
        Err(unreadable) => Verdict::Unmet(unreadable.into()),
        Ok(event) if issuer.banned_events.iter().any(|banned| banned.eq_ignore_ascii_case(event)) => {
            Verdict::Unmet(Reason::EventDenied)
        }
        Ok(_) => Verdict::Met,
    })
}

/// Whether every id of what the rule names is now known.
fn pins_are_complete(profile: &Profile, rule: &Rule<'_>, pins: &Map<String, Value>) -> bool {
    let has = |at: usize| rule.conditions.iter().any(|condition| condition.field == u16::try_from(at).ok());
    let named = profile.fields.iter().enumerate().filter(|(at, field)| field.role == Role::Name && has(*at));
    named
        .flat_map(|(_, field)| &field.ids)
        .all(|id| has(*id) || profile.fields.get(*id).is_some_and(|field| pins.contains_key(&field.name)))
}

fn role(rule: &Rule<'_>, at: usize, profile: &Profile) -> Option<Role> {
    rule.conditions.get(at).and_then(|condition| check::field(condition, profile)).map(|field| field.role)
}
