//! The members of an error answer that tell a caller more than the reason.

use serde::Serialize;
use serde_json::Value;

use super::{Mismatch, Refusal};
use crate::reason::Reason;

/// What a caller may see of a refusal beside its reason. Error answers and explanations have the
/// same members.
#[derive(Clone, Debug, Default, PartialEq, Serialize, utoipa::ToSchema)]
pub struct RefusalDetails {
    /// The request parameter that the refusal is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<&'static str>,
    /// The claim of the assertion that the refusal is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// The refused value, from the request or the assertion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub received: Option<Value>,
    /// The values that would be accepted in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub permitted: Option<Value>,
    /// The limit that the value exceeds, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<i64>,
    /// What is malformed in the caller's input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The audiences that would have been accepted, for an assertion with a wrong `aud`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accepted_audiences: Vec<String>,
    /// What was probably meant, where only the spelling differs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest: Option<String>,
    /// How many of the requested packages fit into one token, for `too_many_entries`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packages_that_fit: Option<usize>,
    /// The conditions that do not hold, of the rules that may be shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mismatches: Vec<Mismatch>,
    /// How to remove the cause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl From<&Refusal> for RefusalDetails {
    fn from(refusal: &Refusal) -> Self {
        let facts = refusal.facts.as_deref().cloned().unwrap_or_default();
        Self {
            parameter: refusal.parameter,
            claim: refusal.claim.as_deref().map(str::to_owned),
            received: facts.received,
            permitted: facts.permitted,
            limit: facts.limit,
            detail: facts.malformed,
            accepted_audiences: refusal.accepted_audiences.clone(),
            nearest: facts.nearest,
            packages_that_fit: facts.packages_that_fit,
            mismatches: refusal.mismatches.clone(),
            remedy: Some(refusal.remedy().to_owned())
                .filter(|_| refusal.reason != Reason::PathUnknown),
        }
    }
}
