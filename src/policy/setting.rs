//! A case as what would be saved and sent: trusted issuers, a registry, rules, an assertion and a request.

use std::net::SocketAddr;
use std::sync::Arc;

use carnet_jose::json::{self, Limits};
use carnet_jose::{Header, base64url};
use carnet_resource_server::{AuthorizationDetail, Operation, RegistryState, allows};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::CaseVerdict;
use super::case::{Case, Context, Requested};
use crate::assertion::{AssertionKey, Assessed, assess, check_header, issuer_of, refuse_form};
use crate::clock::Timestamp;
use crate::config::OwnUrls;
use crate::ids::{CredentialId, ResourceServerId, TrustedIssuerId};
use crate::objects::{
    CredentialState, Document as _, FederatedCredentialDocument, ReadContext, ResourceServerDocument, Stored,
    TrustedIssuerDocument,
};
use crate::principal::{AccessRequest, DetailRequest, Entitlement, Principal, PrincipalKind, entitle};
use crate::profile::{Claims, Profile, Profiles};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::store::compile_credential;
use crate::trust::{
    FederatedCredential, PENDING_DAYS, ResourceServer, Snapshot, TrustedIssuer, is_pending, match_credentials,
    normalise,
};

/// The principal, the registry and the URL of it that cases do not name.
const PRINCIPAL: &str = "case";
const REGISTRY: &str = "case";
const RESOURCE: &str = "https://registry.case.invalid/";
const OWN: &str = "https://carnet.case.invalid";
/// The action a package's first version needs.
const CREATE: &str = "create";

/// Fields of a case that are members of the trusted issuer.
const ISSUER_FIELDS: [&str; 7] = [
    "issuer",
    "audience",
    "trust_domain",
    "subject_domain",
    "accept_string_booleans",
    "issuer_skips_email_verification",
    "replay_key",
];
/// Fields that belong to the permission, the registry or the rule's own life, or that carry no rule.
const OTHER_FIELDS: [&str; 9] = [
    "packages",
    "actions",
    "package_owner",
    "allow_create",
    "name_normalization",
    "state",
    "pending_expires_at",
    "expires_at",
    "policy_id",
];
const NO_RULE: &str = "created_by";

/// Judges a case.
pub fn judge(case: &Case, profiles: &Profiles) -> CaseVerdict {
    match verdict(case, profiles) {
        Ok(()) => CaseVerdict::Allow,
        Err(refusal) => CaseVerdict::Deny(refusal.reason),
    }
}

fn invalid(detail: impl Into<String>) -> Refusal {
    Refusal::new(Reason::PolicyInvalid).with_detail(detail)
}

fn verdict(case: &Case, profiles: &Profiles) -> Result<(), Refusal> {
    let own = OwnUrls::new(OWN, SocketAddr::from(([127, 0, 0, 1], 0))).map_err(invalid)?;
    let read = ReadContext { profiles, own: &own, allow_http_loopback: false, token_lifetime_seconds: 900 };
    let profile = profile(case, profiles)?;
    let setting = Setting { case, profile, read };
    let snapshot = setting.snapshot()?;
    let now = Timestamp::from_seconds(case.policy.context.now);
    let (issuer, claims, assessed) = setting.assertion(&snapshot, now)?;
    let report = match_credentials(&snapshot, &issuer, &claims, now);
    if report.matching().next().is_none() {
        let closest = report.closest().and_then(|candidate| candidate.reason(&issuer.profile));
        return Err(closest.unwrap_or(Reason::NoMatchingCredential).into());
    }
    let entitlement = entitle(&report, &snapshot, &issuer, &claims, &setting.request())?;
    if setting.was_used(&snapshot, &issuer, &assessed) {
        return Err(Reason::Replay.into());
    }
    setting.registry_decides(&entitlement, &issuer)
}

fn profile(case: &Case, profiles: &Profiles) -> Result<Arc<Profile>, Refusal> {
    let name = match case.provider.as_str() {
        "github" => "github-actions",
        "gitlab" => "gitlab-ci",
        "template-ci" => "ci-template",
        name => name,
    };
    profiles.get(name).cloned().ok_or_else(|| invalid(format!("there is no profile {name}")))
}

struct Setting<'a> {
    case: &'a Case,
    profile: Arc<Profile>,
    read: ReadContext<'a>,
}

impl Setting<'_> {
    fn context(&self) -> &Context {
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
    fn snapshot(&self) -> Result<Snapshot, Refusal> {
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

    fn other_issuers(&self) -> Result<Vec<TrustedIssuer>, Refusal> {
        let urls: Vec<String> = match &self.context().registered_issuers {
            Value::Array(urls) => urls.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            Value::Object(urls) => urls.keys().cloned().collect(),
            _ => Vec::new(),
        };
        let document =
            |url: String| json!({ "profile": self.profile.name, "issuer": url, "audiences": [self.audience()] });
        let documents = urls.into_iter().map(document);
        documents.map(|document| self.compile_issuer(document.as_object().unwrap_or(&Map::new()))).collect()
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
            "principal": PRINCIPAL, "trusted_issuer": "case", "match": matcher(fields),
            "permissions": [{
                "resource_server": REGISTRY, "actions": actions(fields), "packages": fields.get("packages"),
                "owner": (owner != PRINCIPAL).then_some(owner),
            }],
            "enabled": fields.get("state").and_then(Value::as_str) != Some("disabled"),
        });
        let read = FederatedCredentialDocument::read(document.as_object().unwrap_or(&Map::new()), self.read);
        let mut document = read.map_err(|problems| invalid(format!("{problems:?}")))?;
        let normalised = normalise(&self.profile, &document.matcher);
        document.matcher = normalised.map_err(|problems| invalid(format!("{problems:?}")))?.matcher;
        let seconds = |name: &str| fields.get(name).and_then(Value::as_i64).map(Timestamp::from_seconds);
        document.expires_at = seconds("expires_at");
        let now = Timestamp::from_seconds(self.context().now);
        let pending = is_pending(&self.profile, &document.matcher, &Map::new());
        let window = || now.plus_seconds(PENDING_DAYS.saturating_mul(86_400));
        let state = CredentialState {
            pending_until: pending.then(|| seconds("pending_expires_at").unwrap_or_else(window)),
            revision: 1,
            ..CredentialState::default()
        };
        let id = CredentialId(Uuid::from_u128(u128::try_from(at).unwrap_or_default()));
        let name = format!("case-{at}");
        let stored = Stored { id: id.to_string(), name, version: 1, created_at: now, updated_at: now, document, state };
        Ok(compile_credential(id, &stored, issuer.id, &self.profile))
    }

    /// Takes the token as far as claims and header go; its signature is good if the header says nothing else.
    fn assertion(
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

    fn was_used(&self, snapshot: &Snapshot, issuer: &TrustedIssuer, assessed: &Assessed) -> bool {
        let Some(key) = assessed.key else {
            return false;
        };
        let used = |iss: &str, id: &str| {
            // An assertion of an issuer that is not even registered was never used here.
            snapshot.issuers_of(iss).any(|other| AssertionKey::of_id(&other.name, id) == key)
        };
        let context = self.context();
        context.consumed_token_hash
            || context
                .consumed
                .iter()
                .any(|consumed| used(&consumed.iss, &consumed.jti) && consumed.iss == issuer.issuer)
    }

    fn request(&self) -> AccessRequest {
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

    /// What only a registry knows is judged by the code that registries use.
    fn registry_decides(&self, entitlement: &Entitlement, issuer: &TrustedIssuer) -> Result<(), Refusal> {
        let Some(requested) = &self.context().requested else {
            return Ok(());
        };
        let names = entitlement.resource_server.package_names;
        for package in &requested.packages {
            self.allowed(&entitlement.details, names, requested, package, issuer)?;
        }
        Ok(())
    }

    fn allowed(
        &self,
        details: &[AuthorizationDetail],
        names: carnet_resource_server::PackageNames,
        requested: &Requested,
        package: &str,
        issuer: &TrustedIssuer,
    ) -> Result<(), Refusal> {
        let context = self.context();
        let holds = |packages: &[String]| packages.iter().any(|owned| names.same(owned, package));
        let scope = context.issuer_scopes.get(&issuer.issuer).and_then(Value::as_array);
        let scope: Option<Vec<String>> =
            scope.map(|packages| packages.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        let owned_by = |owner: &str| {
            context.owned_packages.as_deref().is_none_or(holds)
                && scope.as_deref().is_none_or(holds)
                && context.package_owner_now.as_deref().is_none_or(|now| now == owner)
        };
        let state = RegistryState {
            exists: context.package_exists != Some(false),
            owned_by: &owned_by,
            may_act_for: &|_, _| true,
        };
        let operation = Operation {
            action: &requested.action,
            package,
            version: requested.version.as_deref(),
            digest: requested.digest.as_deref(),
        };
        match allows(details, names, &operation, &state) {
            Ok(_) => Ok(()),
            Err(denied) => Err(Reason::from(denied.reason).into()),
        }
    }
}

fn principal(name: &str) -> Principal {
    Principal {
        id: format!("pr_{name}"),
        name: name.to_owned(),
        kind: PrincipalKind::User,
        external_id: None,
        enabled: true,
    }
}

fn owner(fields: &Map<String, Value>) -> &str {
    fields.get("package_owner").and_then(Value::as_str).unwrap_or(PRINCIPAL)
}

fn actions(fields: &Map<String, Value>) -> Vec<String> {
    let given = fields.get("actions").and_then(Value::as_array);
    let mut actions: Vec<String> = given.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    if fields.get("allow_create") == Some(&Value::Bool(true)) && !actions.iter().any(|action| action == CREATE) {
        actions.push(CREATE.to_owned());
    }
    actions
}

/// The fields that are neither the trusted issuer's nor the permission's, with `x_glob` written as a matcher of `x`.
fn matcher(fields: &Map<String, Value>) -> Map<String, Value> {
    let is_match = |name: &str| !ISSUER_FIELDS.contains(&name) && !OTHER_FIELDS.contains(&name) && name != NO_RULE;
    let mut matcher = Map::new();
    for (name, value) in fields.iter().filter(|(name, value)| is_match(name) && !value.is_null()) {
        let (name, value) = globbed(name, value);
        let value = match value {
            Value::Object(members) if name == "called_workflow" => {
                members.iter().map(|(name, value)| globbed(name, value)).collect()
            }
            value => value,
        };
        matcher.insert(name, value);
    }
    matcher
}

fn globbed(name: &str, value: &Value) -> (String, Value) {
    match name.strip_suffix("_glob").filter(|field| *field != "issuer") {
        Some(field) => (field.to_owned(), json!({ "glob": value })),
        None => (name.to_owned(), value.clone()),
    }
}
