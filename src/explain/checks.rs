//! What a request is checked for beside the rules: grants, proofs of possession, the client, and
//! single use.

use carnet_resource_server::{Confirmation, ProofLevel};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Explainable, ExplainedCondition};
use crate::grant_type::GrantType;
use crate::possession::{self, ProofDemand};
use crate::principal::Entitlement;
use crate::reason::Reason;

impl Explainable<'_> {
    /// What the registry and the permissions of a token ask of proofs of possession. A permission
    /// that asks for more than was proved does not count.
    pub(super) fn proof_of(
        &self,
        granted: &Entitlement,
        level: ProofLevel,
    ) -> Vec<ExplainedCondition> {
        let ProofDemand {
            min_proof,
            sender_constraint,
        } = granted.resource_server.demand;
        let unmet = |reason| granted.unproved.filter(|unmet| *unmet == reason);
        let weak = unmet(Reason::ProofTooWeak);
        let unbound = unmet(Reason::SenderConstraintRequired);
        let is_bound = self.declared.is_some();
        let mut checks = Vec::new();
        if min_proof > ProofLevel::Bearer || weak.is_some() {
            let expected = json!(weak.map_or(min_proof, |_| ProofLevel::Key));
            checks.push(check("min_proof", expected, json!(level), weak));
        }
        if sender_constraint || unbound.is_some() {
            let field = "require_sender_constraint";
            checks.push(check(field, json!(true), json!(is_bound), unbound));
        }
        checks
    }

    /// The line of a refusal for what was proved.
    pub(super) fn unproved(&self, reason: Reason) -> Option<ExplainedCondition> {
        let declared = json!(self.declared);
        let (field, expected, received) = match reason {
            Reason::ProofTooWeak => ("min_proof", json!("key"), json!("bearer")),
            Reason::SenderConstraintRequired => {
                ("require_sender_constraint", json!(true), json!(false))
            }
            Reason::DpopRequired => ("dpop_bound_access_tokens", json!(true), json!(false)),
            Reason::CertificateRequired => (
                "tls_client_certificate_bound_access_tokens",
                json!(true),
                json!(false),
            ),
            Reason::FapiUnmet => ("fapi2", json!(true), json!(false)),
            Reason::ProofWouldBeLost => ("proof", json!("that of the token"), declared),
            _ => return None,
        };
        Some(check(field, expected, received, Some(reason)))
    }

    /// The checks beside the rules.
    pub(super) fn checks(&self) -> Vec<ExplainedCondition> {
        let mut checks = Vec::new();
        if let Some((issuer, _)) = self.assertion
            && self.grant_type != GrantType::ClientCredentials
        {
            let taken: Vec<&str> = issuer
                .grants
                .iter()
                .map(|grant| grant.short_name())
                .collect();
            let reason =
                (!issuer.grants.contains(&self.grant_type)).then_some(Reason::GrantNotTaken);
            checks.push(check(
                "grants",
                json!({ "any_of": taken }),
                json!(self.grant_type.short_name()),
                reason,
            ));
        }
        if let Some((_, claims)) = self.assertion
            && let Some(bound_to) = claims.get("cnf")
            && let Ok(confirmation) = Confirmation::deserialize(bound_to)
        {
            let proved = self.declared.clone().into();
            let reasons = (Reason::ProofMissing, Reason::ProofMismatch);
            let reason = possession::check(Some(&confirmation), &proved, reasons).err();
            checks.push(check(
                "proof",
                bound_to.clone(),
                json!(self.declared),
                reason,
            ));
        }
        if let Some((listed, admitted)) = self.admission {
            let names: Vec<&str> = listed.iter().map(|rule| rule.name.as_str()).collect();
            // `admission` is empty for callers that were not admitted: they must not learn which
            // rules a client lists.
            let rules = admitted.unwrap_or_default().iter();
            let admitting: Vec<&str> = rules
                .filter_map(|rule| Some(rule.credential.rule.open()?.name))
                .collect();
            checks.push(check(
                "client",
                json!({ "any_of": names }),
                json!(admitting),
                admitted.err(),
            ));
        }
        if self.assertion.is_some() {
            let received = if self.used { "used" } else { "unused" };
            checks.push(check(
                "single_use",
                json!("unused"),
                json!(received),
                self.used.then_some(Reason::Replay),
            ));
        }
        checks
    }
}

/// A condition of the request that belongs to no rule.
fn check(
    field: &str,
    expected: Value,
    received: Value,
    reason: Option<Reason>,
) -> ExplainedCondition {
    ExplainedCondition {
        field: field.to_owned(),
        expected,
        received,
        met: reason.is_none(),
        reason,
        hint: None,
    }
}
