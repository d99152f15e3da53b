//! What the workload of a case sends: an assertion, which may have been used, and a request.

use std::sync::Arc;

use carnet_jose::json::{self, Limits};
use carnet_jose::{Header, base64url};
use serde_json::{Map, Value, json};

use super::case::Consumed;
use super::fields::CREATE;
use super::setting::Setting;
use crate::assertion::{AssertionKey, Assessed, assess, check_header, issuer_of, refuse_form};
use crate::clock::Timestamp;
use crate::model::{Snapshot, TrustedIssuer};
use crate::principal::{AccessRequest, DetailRequest};
use crate::profile::Claims;
use crate::reason::Reason;
use crate::refusal::Refusal;

impl Setting<'_> {
    /// Takes the token as far as claims and header go; its signature is good if the header says nothing else.
    pub(super) fn assertion(
        &self,
        snapshot: &Snapshot,
        now: Timestamp,
    ) -> Result<(Arc<TrustedIssuer>, Claims, Assessed), Refusal> {
        let malformed = |error| refuse_form(carnet_jose::Malformed::Json(error));
        let mut members = self.case.claims.clone();
        let jose = members.shift_remove("_jose");
        let payload = match members.shift_remove("_raw_payload") {
            Some(Value::String(raw)) => raw,
            _ => Value::Object(members).to_string(),
        };
        let claims = Claims::new(json::object(payload.as_bytes(), Limits::TOKEN).map_err(malformed)?);
        let issuer = issuer_of(&claims, snapshot)?;
        let first = issuer.algorithms.first().map(|algorithm| algorithm.name());
        let header = jose.clone().unwrap_or_else(|| json!({ "alg": first, "typ": "JWT" }));
        let text = header.to_string();
        let header = Header::from_members(header.as_object().unwrap_or(&Map::new())).map_err(refuse_form)?;
        check_header(&issuer, &header)?;
        let kids = self.context().jwks_kids.as_ref();
        if let (Some(kids), Some(kid)) = (kids, &header.key_id)
            && !kids.contains(kid)
        {
            return Err(Reason::KeyUnknown.into());
        }
        let signing_input = format!("{}.{}", base64url(text), base64url(payload));
        let assessed = assess(&issuer, &claims, Some(&signing_input), now)?;
        Ok((issuer, claims, assessed))
    }

    pub(super) fn was_used(&self, issuer: &TrustedIssuer, assessed: &Assessed) -> bool {
        let Some(key) = assessed.key else {
            return false;
        };
        let context = self.context();
        let consumed = |used: &Consumed| used.iss == issuer.issuer && AssertionKey::of_id(&used.iss, &used.jti) == key;
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
