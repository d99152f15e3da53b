//! A case as what would be saved: trusted issuers, a registry and rules.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::case::{Case, Context};
use super::fields::{CREATE, PRINCIPAL, actions, matcher, owner};
use crate::clock::Timestamp;
use crate::ids::{CredentialId, ResourceServerId, TrustedIssuerId};
use crate::model::{
    FederatedCredential, PENDING_DAYS, Principal, PrincipalKind, ResourceServer, Snapshot, TrustedIssuer,
};
use crate::objects::{
    CredentialState, Document as _, FederatedCredentialDocument, ReadContext, ResourceServerDocument, Stored,
    TrustedIssuerDocument, Vouching, compile_credential,
};
use crate::profile::{Profile, Requirement};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::trust::{is_pending, normalise};

/// The registry, the URL of it and our own that cases do not name.
const REGISTRY: &str = "case";
const RESOURCE: &str = "https://registry.case.invalid/";
pub(super) const OWN: &str = "https://carnet.case.invalid";

/// A case and what reading its documents needs.
pub(super) struct Setting<'a> {
    pub case: &'a Case,
    pub profile: Arc<Profile>,
    pub read: ReadContext<'a>,
}

impl Setting<'_> {
    pub(super) fn context(&self) -> &Context {
        &self.case.policy.context
    }

    fn candidates(&self) -> Result<Vec<&Map<String, Value>>, Refusal> {
        match self.case.policy.fields.get("candidates") {
            None => Ok(vec![&self.case.policy.fields]),
            Some(Value::Array(candidates)) => candidates
                .iter()
                .map(|one| one.as_object().ok_or_else(|| invalid("a candidate is an object")))
                .collect(),
            Some(_) => Err(invalid("candidates is a list")),
        }
    }

    /// Everything that would be saved. Rules that saving would refuse are not there; if none is left, that is the verdict.
    pub(super) fn snapshot(&self) -> Result<Snapshot, Refusal> {
        let mut snapshot = Snapshot::empty();
        let candidates = self.candidates()?;
        snapshot.set_resource_server(REGISTRY, Some(self.resource_server(&candidates)?));
        for name in candidates.iter().map(|fields| owner(fields)).chain([PRINCIPAL]) {
            snapshot.set_principal(name, Some(principal(name)));
        }
        let mut problem = None;
        for (at, fields) in candidates.into_iter().enumerate() {
            match self.issuer(fields).and_then(|issuer| self.credential(fields, &issuer, at).map(|rule| (issuer, rule)))
            {
                Ok((issuer, rule)) => {
                    snapshot.set_issuer(issuer.id, Some(issuer));
                    snapshot.set_credential(rule.id, Some(rule));
                }
                Err(refusal) => problem = Some(refusal),
            }
        }
        if let Some(problem) = problem.filter(|_| snapshot.credential_count() == 0) {
            return Err(problem);
        }
        for issuer in self.other_issuers()? {
            if snapshot.issuers_of(&issuer.issuer).next().is_none() {
                snapshot.set_issuer(issuer.id, Some(issuer));
            }
        }
        Ok(snapshot)
    }

    fn issuer(&self, fields: &Map<String, Value>) -> Result<TrustedIssuer, Refusal> {
        let context = self.context();
        let mut document = Map::new();
        document.insert("profile".to_owned(), self.profile.name.clone().into());
        for (field, member) in [
            ("issuer", "issuer"),
            ("trust_domain", "trust_domain"),
            ("subject_domain", "subject_domain"),
            ("accept_string_booleans", "accept_string_booleans"),
            ("issuer_skips_email_verification", "skip_email_verification"),
        ] {
            if let Some(value) = fields.get(field) {
                document.insert(member.to_owned(), value.clone());
            }
        }
        // A trust domain without an issuer says where its bundle is; nothing is read from there.
        if self.profile.is_spiffe() && !document.contains_key("issuer") {
            document.insert("keys".to_owned(), json!({ "source": "spiffe_bundle", "path": "/bundle" }));
        }
        if let Some(audience) = fields.get("audience") {
            document.insert("audiences".to_owned(), json!([audience]));
        }
        match fields.get("replay_key").and_then(Value::as_str) {
            None => {}
            Some("jti_or_token_hash") => drop(document.insert("replay".to_owned(), "jti_or_token_hash".into())),
            Some(claim) => {
                document.insert("replay".to_owned(), "required".into());
                document.insert("replay_claim".to_owned(), claim.into());
            }
        }
        for (member, value) in [
            ("leeway_seconds", json!(context.leeway_seconds)),
            ("max_assertion_lifetime_seconds", json!(context.max_assertion_lifetime_seconds)),
            ("banned_events", json!(context.server_banned_events)),
        ] {
            document.insert(member.to_owned(), value);
        }
        self.compile_issuer(&document)
    }

    /// Further trusted issuers without rules. A case says little of them, so the rest is what would let them in.
    fn other_issuers(&self) -> Result<Vec<TrustedIssuer>, Refusal> {
        let mut documents: Vec<Map<String, Value>> = Vec::new();
        let mut add = |url: &str, members: Value| {
            let mut document = Map::from_iter([
                ("profile".to_owned(), self.profile.name.clone().into()),
                ("issuer".to_owned(), url.into()),
                ("audiences".to_owned(), json!([self.audience()])),
            ]);
            if let Value::Object(members) = members {
                document.extend(members);
            }
            documents.push(document);
        };
        match &self.context().registered_issuers {
            Value::Array(urls) => {
                urls.iter().filter_map(Value::as_str).for_each(|url| add(url, self.own_domains(url)));
            }
            Value::Object(urls) => urls.iter().for_each(|(url, domain)| add(url, json!({ "trust_domain": domain }))),
            _ => {}
        }
        for url in &self.context().issuers_skipping_email_verification {
            add(url, json!({ "skip_email_verification": true }));
        }
        documents.iter().map(|document| self.compile_issuer(document)).collect()
    }

    /// The domains that are an issuer's own, as far as its profile wants to know them.
    fn own_domains(&self, url: &str) -> Value {
        let Ok(parsed) = url::Url::parse(url) else { return Value::Null };
        let host = parsed.host_str().unwrap_or_default();
        let wants = |wanted: fn(&Requirement) -> bool| self.profile.requirements.iter().any(wanted);
        if wants(|requirement| matches!(requirement, Requirement::TrustDomain(_))) {
            json!({ "trust_domain": host })
        } else if wants(|requirement| matches!(requirement, Requirement::SubjectUri(_))) {
            json!({ "subject_domain": parsed.origin().ascii_serialization() })
        } else if wants(|requirement| matches!(requirement, Requirement::SubjectName(_))) {
            json!({ "subject_domain": host })
        } else {
            Value::Null
        }
    }

    fn audience(&self) -> Value {
        self.case.policy.fields.get("audience").cloned().unwrap_or_else(|| json!(OWN))
    }

    fn compile_issuer(&self, document: &Map<String, Value>) -> Result<TrustedIssuer, Refusal> {
        let read =
            TrustedIssuerDocument::read(document, self.read).map_err(|problems| invalid(format!("{problems:?}")))?;
        // One trusted issuer for each set of settings: the id is taken from them.
        let digest = carnet_jose::sha256(Value::Object(document.clone()).to_string().as_bytes());
        let id = TrustedIssuerId(Uuid::from_slice(digest.get(..16).unwrap_or_default()).unwrap_or_default());
        Ok(read.compile(id, &id.to_string(), 1, &self.profile, self.read))
    }

    fn resource_server(&self, candidates: &[&Map<String, Value>]) -> Result<ResourceServer, Refusal> {
        let mut actions: Vec<String> = candidates.iter().flat_map(|fields| actions(fields)).collect();
        actions.extend(self.context().requested.iter().map(|requested| requested.action.clone()));
        actions.push(CREATE.to_owned());
        actions.sort();
        actions.dedup();
        let names = candidates.iter().find_map(|fields| fields.get("name_normalization")).cloned();
        let document = json!({
            "resource": RESOURCE, "actions": actions, "package_names": names,
            "require_protected_ref_or_environment": self.context().server_floor.is_some(),
        });
        let read = ResourceServerDocument::read(document.as_object().unwrap_or(&Map::new()), self.read);
        let read = read.map_err(|problems| invalid(format!("{problems:?}")))?;
        Ok(read.compile(ResourceServerId(Uuid::nil()), REGISTRY, 900))
    }

    fn credential(
        &self,
        fields: &Map<String, Value>,
        issuer: &TrustedIssuer,
        at: usize,
    ) -> Result<FederatedCredential, Refusal> {
        let owner = owner(fields);
        let document = json!({
            "principal": PRINCIPAL, "trusted_issuer": "case", "match": matcher(fields)?,
            "permissions": [{
                "resource_server": REGISTRY, "actions": actions(fields), "packages": fields.get("packages"),
                "owner": (owner != PRINCIPAL).then_some(owner),
            }],
            "enabled": fields.get("state").and_then(Value::as_str) != Some("disabled"),
        });
        let read = FederatedCredentialDocument::read(document.as_object().unwrap_or(&Map::new()), self.read);
        let mut document = read.map_err(|problems| invalid(format!("{problems:?}")))?;
        let normalised = normalise(&self.profile, &issuer.terms, &document.matcher);
        document.matcher = normalised.map_err(|problems| invalid(format!("{problems:?}")))?.matcher;
        let seconds = |name: &str| fields.get(name).and_then(Value::as_i64).map(Timestamp::from_seconds);
        document.expires_at = seconds("expires_at");
        let now = Timestamp::from_seconds(self.context().now);
        let pending = is_pending(&self.profile, &document.matcher, &Map::new());
        let window = || now.plus_seconds(PENDING_DAYS.saturating_mul(86_400));
        let state = CredentialState {
            pending_until: pending.then(|| seconds("pending_expires_at").unwrap_or_else(window)),
            revision: 1,
            vouching: Vouching::Vouched,
            ..CredentialState::default()
        };
        let id = CredentialId(Uuid::from_u128(u128::try_from(at).unwrap_or_default()));
        let name = format!("case-{at}");
        let stored = Stored { id: id.to_string(), name, version: 1, created_at: now, updated_at: now, document, state };
        Ok(compile_credential(id, &stored, issuer.id, &self.profile))
    }
}

fn principal(name: &str) -> Principal {
    Principal {
        id: format!("pr_{name}"),
        name: name.to_owned(),
        kind: PrincipalKind::User,
        external_id: None,
        acts_for: Vec::new(),
        created_at: Timestamp::from_seconds(0),
        enabled: true,
    }
}

pub(super) fn invalid(detail: impl Into<String>) -> Refusal {
    Refusal::new(Reason::PolicyInvalid).with_detail(detail)
}
