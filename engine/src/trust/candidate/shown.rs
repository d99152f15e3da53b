//! A judged rule as an explanation shows it: each finding with the expected and the received value.

use serde_json::{Value, json};

use super::super::check::{self, Verdict};
use super::super::hint::hint;
use super::{Candidate, Finding, Rank, Topic};
use crate::model::{Condition, Rule, Test, TrustedIssuer};
use crate::profile::{Claims, Profile};
use crate::reason::Reason;
use crate::refusal::Mismatch;

impl Candidate {
    /// The findings that fail, with the expected and the received values.
    pub fn mismatches(&self, issuer: &TrustedIssuer, claims: &Claims) -> Vec<Mismatch> {
        self.explained(issuer, claims)
            .into_iter()
            .filter_map(|(field, expected, received, verdict)| match verdict {
                Verdict::Met => None,
                Verdict::Unmet(reason) => {
                    let hint = hint(&expected, &received);
                    Some(Mismatch {
                        credential: self.credential.id,
                        field,
                        expected,
                        received,
                        reason,
                        hint,
                    })
                }
            })
            .collect()
    }

    /// Every finding as field name, expected value, received value and verdict.
    pub fn explained(
        &self,
        issuer: &TrustedIssuer,
        claims: &Claims,
    ) -> Vec<(String, Value, Value, Verdict)> {
        let rule = self.credential.rule.open().unwrap_or_default();
        let explain = |finding: &Finding| {
            let (field, expected, received) = match finding.about {
                Topic::Condition(at) => {
                    condition_shown(rule.conditions.get(at), &issuer.profile, claims)
                }
                Topic::Event | Topic::Upstream => of_issuer_shown(finding.about, issuer, claims),
                _ => self.circumstance_shown(finding, &rule),
            };
            (field, expected, received, finding.verdict)
        };
        self.findings.iter().map(explain).collect()
    }

    /// Field name, expected and received value of a finding that is about neither claims nor the
    /// trusted issuer.
    fn circumstance_shown(&self, finding: &Finding, rule: &Rule<'_>) -> (String, Value, Value) {
        let met = finding.verdict.is_met();
        let (field, expected, received) = match finding.about {
            Topic::State => ("state", json!("active"), self.state_shown()),
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
                let shown = if met {
                    "named"
                } else {
                    "another principal named"
                };
                ("principal", json!("named in the request"), json!(shown))
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
                json!("every id of what is named"),
                json!(self.pins),
            ),
            Topic::Condition(_) | Topic::Event | Topic::Upstream => ("", Value::Null, Value::Null),
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
    let path = issuer.terms.issuer_claim.as_deref();
    (
        "upstream".to_owned(),
        json!({ "claim": path.unwrap_or_default() }),
        received(path),
    )
}
