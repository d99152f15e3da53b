//! What an explanation consists of: the bodies of `/explain` and of the admin explanation.

use carnet_resource_server::AuthorizationDetail;
use serde::Serialize;
use serde_json::Value;

use crate::ids::CredentialId;
use crate::reason::Reason;
use crate::refusal::RefusalDetails;
use crate::trust::ShownFinding;

/// The outcome that a token request would have.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Explanation {
    /// `allow` or `deny`.
    pub verdict: &'static str,
    /// Why the request would be refused, as a reason code. Left out for `allow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reason: Option<Reason>,
    /// The reason code that a caller of the token endpoint would get instead, where that one says
    /// less. Only for administrators.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub caller_reason: Option<Reason>,
    /// Why the request would be refused: a sentence, followed by the values that explain it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_description: Option<String>,
    /// The page that explains the reason and what to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_uri: Option<String>,
    /// What explains the reason.
    #[serde(flatten)]
    pub details: RefusalDetails,
    /// What the token would grant. Left out for `deny`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granted: Option<Granted>,
    /// The server's time, in seconds since 1970-01-01 UTC.
    pub server_time: i64,
    /// The checks beside the rules: `grants` (grant types that the trusted issuer accepts),
    /// `client` (the rules that may admit the client), `single_use`, and what is asked of proofs of
    /// possession: `proof` (the key that the assertion is bound to), `min_proof`,
    /// `require_sender_constraint` and `dpop_bound_access_tokens`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub checks: Vec<ExplainedCondition>,
    /// Every condition of every rule that may be shown, the closest rule first.
    pub candidates: Vec<ExplainedCandidate>,
    /// How many more rules there are to show.
    #[serde(skip_serializing_if = "is_zero")]
    pub candidates_left_out: usize,
}

/// What a token would grant.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Granted {
    /// The `aud` claim: the URI of the registry, or of the admin API.
    pub resource: String,
    /// The `sub` claim.
    pub sub: String,
    /// The name of the token's principal; `null` if the token is for none, or for several.
    pub principal: Option<String>,
    /// The `scope` claim, as a space-separated list.
    pub scope: String,
    /// The `authorization_details` claim. Empty for an admin token.
    #[schema(value_type = Vec<Object>)]
    pub authorization_details: Vec<AuthorizationDetail>,
    /// How many permissions would not fit into the token.
    #[serde(skip_serializing_if = "is_zero")]
    pub entries_left_out: usize,
    /// The token's lifetime, in seconds from now.
    pub expires_in: i64,
}

/// A rule, and how it judges the assertion.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ExplainedCandidate {
    /// The id of the federated credential.
    #[schema(value_type = String)]
    pub credential: CredentialId,
    /// The name of the federated credential.
    pub name: String,
    /// The name of the principal that the rule acts for. Left out for a caller that did not name
    /// this principal and would get no token of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
    /// Whether all conditions hold.
    pub matches: bool,
    /// All conditions of the rule.
    pub conditions: Vec<ExplainedCondition>,
}

/// A condition, and whether the assertion meets it.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ExplainedCondition {
    /// The field of the rule, or the name of the check.
    pub field: String,
    /// The value that is required.
    pub expected: Value,
    /// The value that the assertion has; `null` if it has none.
    pub received: Value,
    /// Whether the condition holds.
    pub met: bool,
    /// Why the condition does not hold, as a reason code.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reason: Option<Reason>,
    /// How the two values differ, where they are nearly the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'static str>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature serde asks for"
)]
pub(super) fn is_zero(count: &usize) -> bool {
    *count == 0
}

impl From<ShownFinding> for ExplainedCondition {
    fn from(finding: ShownFinding) -> Self {
        Self {
            field: finding.field,
            expected: finding.expected,
            received: finding.received,
            met: finding.reason.is_none(),
            reason: finding.reason,
            hint: finding.hint,
        }
    }
}
