//! What the workload of a case sends: an assertion, which may have been used, and a request.

use carnet_jose::base64url;
use serde_json::{Value, json};

use super::case::Consumed;
use super::fields::CREATE;
use super::setting::Setting;
use crate::assertion::{AssertionContent, AssertionKey, AssumedAssertion, UnverifiedAssertion};
use crate::model::DecisionContext;
use crate::principal::{AccessRequest, DetailRequest};
use crate::refusal::Refusal;

impl Setting<'_> {
    /// The token of the case; its signature is good if the header says nothing else.
    pub(super) fn assertion(&self, context: &DecisionContext<'_>) -> Result<AssumedAssertion, Refusal> {
        let mut members = self.case.claims.clone();
        let jose = members.shift_remove("_jose");
        let payload = match members.shift_remove("_raw_payload") {
            Some(Value::String(raw)) => raw,
            _ => Value::Object(members).to_string(),
        };
        let algorithm = self.profile.defaults.algorithms.first().map(|algorithm| algorithm.name());
        let header = jose.unwrap_or_else(|| json!({ "alg": algorithm, "typ": "JWT" }));
        let text = format!("{}.{}.{}", base64url(header.to_string()), base64url(payload), base64url("signature"));
        let unverified = UnverifiedAssertion::parse(&text)?;
        let issuer = unverified.issuer(&context.rules)?;
        unverified.assume(issuer, self.context().jwks_kids.as_deref(), context.now)
    }

    pub(super) fn was_used(&self, assertion: &AssertionContent) -> bool {
        let Some(key) = assertion.key() else {
            return false;
        };
        let (context, iss) = (self.context(), &assertion.issuer().issuer);
        let consumed = |used: &Consumed| used.iss == *iss && AssertionKey::of_id(&used.iss, &used.jti) == *key;
        context.consumed_token_hash || context.consumed.iter().any(consumed)
    }

    pub(super) fn request(&self) -> AccessRequest {
        let Some(requested) = &self.context().requested else {
            return AccessRequest::default();
        };
        let mut actions = vec![requested.action.clone()];
        if self.context().package_exists == Some(false) {
            actions.push(CREATE.to_owned());
        }
        let detail = DetailRequest {
            kind: carnet_resource_server::DETAIL_TYPE.to_owned(),
            actions,
            packages: requested.packages.clone(),
            owner: requested.owner.clone(),
            version: requested.version.clone(),
            digest: requested.digest.clone(),
            locations: None,
        };
        AccessRequest { details: Some(vec![detail]), ..AccessRequest::default() }
    }
}
