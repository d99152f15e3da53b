//! A judged rule as an explanation shows it: each finding with the expected and the received value.

use serde_json::{Value, json};

use super::super::asked;
use super::super::check::{self, Verdict};
use super::super::hint::{hint, hint_of_file};
use super::{Candidate, Finding, Rank, Topic};
use crate::model::{Condition, Rule, Test, TrustedIssuer};
use crate::profile::{Claims, Profile};
use crate::reason::Reason;
use crate::refusal::Mismatch;

/// A finding as an explanation shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ShownFinding {
    pub field: String,
    pub expected: Value,
    pub received: Value,
    /// The reason, if the finding fails.
    pub reason: Option<Reason>,
    /// How the two values differ, if they are nearly equal.
    pub hint: Option<&'static str>,
}

impl Candidate {
    /// The findings that fail, with the expected and the received values. `asked` is the principal
    /// that the request names.
    pub fn mismatches(
        &self,
        issuer: &TrustedIssuer,
        claims: &Claims,
        asked: Option<&str>,
    ) -> Vec<Mismatch> {
        let name = self.credential.rule.open().unwrap_or_default().name;
        let mismatch = |shown: ShownFinding| {
            Some(Mismatch {
                credential: self.credential.id,
                name: name.to_owned(),
                reason: shown.reason?,
                field: shown.field,
                expected: shown.expected,
                received: shown.received,
                hint: shown.hint,
            })
        };
        self.shown(issuer, claims, asked)
            .into_iter()
            .filter_map(mismatch)
            .collect()
    }

    /// Every finding with the expected and the received value. `asked` is the principal that the
    /// request names.
    pub fn shown(
        &self,
        issuer: &TrustedIssuer,
        claims: &Claims,
        asked: Option<&str>,
    ) -> Vec<ShownFinding> {
        let rule = self.credential.rule.open().unwrap_or_default();
        let show = |finding: &Finding| {
            let (field, expected, received) = match finding.about {
                Topic::Condition(at) => {
                    condition_shown(rule.conditions.get(at), &issuer.profile, claims)
                }
                Topic::Event | Topic::Asked | Topic::Upstream => {
                    of_issuer_shown(finding.about, issuer, claims)
                }
                _ => self.circumstance_shown(finding, &rule, asked),
            };
            let reason = match finding.verdict {
                Verdict::Met => None,
                Verdict::Unmet(reason) => Some(reason),
            };
            let of_file = match finding.about {
                Topic::Condition(at) => rule
                    .conditions
                    .get(at)
                    .and_then(|condition| hint_of_file(condition, &issuer.profile, claims)),
                _ => None,
            };
            let hint = reason.and_then(|_| of_file.or_else(|| hint(&expected, &received)));
            ShownFinding {
                field,
                expected,
                received,
                reason,
                hint,
            }
        };
        self.findings.iter().map(show).collect()
    }

    /// Field name, expected and received value of a finding that is about neither claims nor the
    /// trusted issuer.
    fn circumstance_shown(
        &self,
        finding: &Finding,
        rule: &Rule<'_>,
        asked: Option<&str>,
    ) -> (String, Value, Value) {
        let met = finding.verdict.is_met();
        let (field, expected, received) = match finding.about {
            Topic::State => {
                let shown = self.state_shown();
                let expected = match self.credential.pending_until {
                    Some(until) if met => json!(format!("active, or pending until {until}")),
                    _ => json!("active"),
                };
                ("state", expected, shown)
            }
            Topic::Principal => {
                let enabled = self
                    .principal
                    .as_ref()
                    .is_some_and(|principal| principal.enabled);
                (
                    "principal",
                    json!("enabled"),
                    json!(if enabled { "enabled" } else { "disabled" }),
                )
            }
            Topic::IssuerOwner => {
                let shown = if met {
                    "this principal's or nobody's"
                } else {
                    "another principal's"
                };
                (
                    "trusted_issuer",
                    json!("this principal's or nobody's"),
                    json!(shown),
                )
            }
            Topic::Consent => {
                let shown = match self.rank {
                    Rank::Named => "named",
                    Rank::Vouched => "vouched",
                    Rank::Visiting => "a request that cannot name it",
                    Rank::Other => "neither",
                };
                (
                    "consent",
                    json!("vouched, or its principal named in the request"),
                    json!(shown),
                )
            }
            Topic::Principals => {
                let expected = json!("the principal of this rule");
                ("principal", expected, json!(asked))
            }
            Topic::Actor => {
                let names: Vec<&str> = rule.actors.iter().map(|actor| actor.name).collect();
                (
                    "actors",
                    json!({ "any_of": names }),
                    json!(if met { "named" } else { "not named" }),
                )
            }
            Topic::Limits => (
                "rate_limit",
                json!("below"),
                json!(if met { "below" } else { "reached" }),
            ),
            Topic::Pins => (
                "pinned",
                json!("every id of what is named, at this first match"),
                json!(self.pins),
            ),
            Topic::Condition(_) | Topic::Event | Topic::Asked | Topic::Upstream => {
                ("", Value::Null, Value::Null)
            }
        };
        (field.to_owned(), expected, received)
    }

    fn state_shown(&self) -> Value {
        let state = self
            .findings
            .iter()
            .find(|finding| finding.about == Topic::State)
            .map(|finding| finding.verdict);
        json!(match state {
            Some(Verdict::Unmet(Reason::CredentialDisabled)) => "disabled",
            Some(Verdict::Unmet(_)) => "expired",
            _ if self.credential.pending_until.is_some() => "pending",
            _ => "active",
        })
    }
}

/// Field name, expected and received value of a condition.
fn condition_shown(
    condition: Option<&Condition>,
    profile: &Profile,
    claims: &Claims,
) -> (String, Value, Value) {
    let Some(condition) = condition else {
        return (String::new(), Value::Null, Value::Null);
    };
    let name = match &condition.test {
        Test::Claim { path, .. } if condition.field.is_none() => format!("claims.{path}"),
        _ => check::field(condition, profile)
            .map(|field| field.name.clone())
            .unwrap_or_default(),
    };
    (
        name,
        check::expected(condition, profile),
        check::received(condition, profile, claims),
    )
}

/// Field name, expected and received value of what the trusted issuer asks for.
fn of_issuer_shown(
    about: Topic,
    issuer: &TrustedIssuer,
    claims: &Claims,
) -> (String, Value, Value) {
    let received = |path: Option<&str>| {
        path.and_then(|path| claims.get(path))
            .cloned()
            .unwrap_or(Value::Null)
    };
    if about == Topic::Event {
        let event = issuer
            .profile
            .event
            .as_ref()
            .map(|event| event.path.as_str());
        return (
            "banned_events".to_owned(),
            json!({ "none_of": issuer.banned_events }),
            received(event),
        );
    }
    if about == Topic::Asked {
        let (claim, value) = asked::evidence(issuer, claims).unzip();
        let field = issuer.profile.event_field();
        let name = field.map_or("events", |field| field.name.as_str());
        let expected = json!({ "names": issuer.profile.asked.events, "for": claim });
        return (name.to_owned(), expected, value.unwrap_or(Value::Null));
    }
    let path = issuer.terms.issuer_claim.as_deref();
    (
        "upstream".to_owned(),
        json!({ "claim": path.unwrap_or_default() }),
        received(path),
    )
}
