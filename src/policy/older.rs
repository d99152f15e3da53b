//! Converts case files of the older form (`docs/src/reference/case-files.md`, "The older form") for
//! `carnet policy convert`. Kept for one release, for files outside this repository.

mod fields;

use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value, json};
use url::Url;

use self::fields::{actions, given, numbered, rule, template_profile, without_null};
use super::case::{CaseError, ExpectedVerdict, list};
use crate::clock::Timestamp;
use crate::profile::{Profile, Profiles, Requirement};

/// Names for the principal, registry and action that older cases left implicit.
const PRINCIPAL: &str = "case";
const REGISTRY: &str = "registry";
const RESOURCE: &str = "https://registry.case.invalid/";
const CREATE: &str = "create";

/// Fields of the older rule that are members of the trusted issuer now: the old name and the new
/// one.
const OF_ISSUER: [(&str, &str); 5] = [
    ("issuer", "issuer"),
    ("trust_domain", "trust_domain"),
    ("subject_domain", "subject_domain"),
    ("accept_string_booleans", "accept_string_booleans"),
    ("issuer_skips_email_verification", "skip_email_verification"),
];
/// Fields of the older rule that are not conditions, and so do not go into `match`.
const NOT_OF_MATCH: [&str; 12] = [
    "audience",
    "replay_key",
    "packages",
    "actions",
    "package_owner",
    "allow_create",
    "name_normalization",
    "state",
    "pending_expires_at",
    "expires_at",
    "policy_id",
    "created_by",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OlderCase {
    id: String,
    provider: String,
    policy: OlderPolicy,
    claims: Map<String, Value>,
    expect: ExpectedVerdict,
    #[serde(default)]
    reason: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OlderPolicy {
    #[serde(default)]
    description: String,
    #[serde(default)]
    fields: Map<String, Value>,
    #[serde(default)]
    context: OlderContext,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct OlderContext {
    now: i64,
    leeway_seconds: Option<i64>,
    max_assertion_lifetime_seconds: Option<i64>,
    #[serde(default)]
    requested: Option<Requested>,
    server_banned_events: Option<Vec<String>>,
    server_floor: Option<String>,
    #[serde(default)]
    consumed: Vec<Value>,
    #[serde(default)]
    consumed_token_hash: bool,
    #[serde(default)]
    registered_issuers: Value,
    #[serde(default)]
    issuers_skipping_email_verification: Vec<String>,
    jwks_kids: Option<Vec<String>>,
    #[serde(default)]
    issuer_scopes: Map<String, Value>,
    owned_packages: Option<Vec<String>>,
    package_owner_now: Option<String>,
    package_exists: Option<bool>,
    #[serde(default, rename = "match_mode")]
    _match_mode: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Requested {
    #[serde(default)]
    packages: Vec<String>,
    action: String,
    version: Option<String>,
    digest: Option<String>,
    owner: Option<String>,
}

/// Converts a file of the older form into the present one. `profiles` must have the profiles that
/// the cases name as `provider`.
pub fn convert(text: &str, profiles: &Profiles) -> Result<Value, CaseError> {
    let case = |(at, case): (usize, Value)| {
        let id = case.get("id").and_then(Value::as_str);
        let id = id.map_or_else(|| format!("number {}", at.saturating_add(1)), str::to_owned);
        if case.get("objects").or(case.get("objects_file")).is_some() {
            return Err(CaseError::Case(
                id,
                "must be in the older form: it is in the present form already".to_owned(),
            ));
        }
        let older = serde_json::from_value(case).map_err(|error| error.to_string());
        let converted =
            older.and_then(|older: OlderCase| Conversion::new(&older, profiles)?.case());
        converted.map_err(|error| CaseError::Case(id, error))
    };
    list(text)?.into_iter().enumerate().map(case).collect()
}

/// The conversion of one case.
struct Conversion<'a> {
    case: &'a OlderCase,
    rules: Vec<&'a Map<String, Value>>,
    profile: Arc<Profile>,
    /// The profile made from the case's `template`, in the form of a profile file.
    own_profile: Option<Value>,
}

impl<'a> Conversion<'a> {
    fn new(case: &'a OlderCase, profiles: &Profiles) -> Result<Self, String> {
        let name = match case.provider.as_str() {
            "github" => "github-actions",
            "gitlab" => "gitlab-ci",
            "template-ci" => "ci-template",
            name => name,
        };
        let fields = &case.policy.fields;
        let rules = match fields.get("candidates") {
            None => vec![fields],
            Some(candidates) => {
                let candidates = candidates.as_array().ok_or("candidates must be a list")?;
                let objects = candidates
                    .iter()
                    .map(Value::as_object)
                    .collect::<Option<Vec<_>>>();
                objects.ok_or("candidates must be a list of objects")?
            }
        };
        let template = rules
            .first()
            .and_then(|fields| Some((fields.get("template")?, fields.get("defaults"))));
        let own_profile = template
            .map(|(template, defaults)| template_profile(template, defaults))
            .transpose()?;
        let profile = match &own_profile {
            Some(file) => {
                let text = toml::to_string(file).map_err(|error| error.to_string())?;
                Profile::parse(name, &text)
                    .map(Arc::new)
                    .map_err(|errors| {
                        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                        format!("template: {}", errors.join("; "))
                    })?
            }
            None => profiles
                .get(name)
                .cloned()
                .ok_or_else(|| format!("there is no profile {name}"))?,
        };
        Ok(Self {
            case,
            rules,
            profile,
            own_profile,
        })
    }

    fn context(&self) -> &OlderContext {
        &self.case.policy.context
    }

    fn case(&self) -> Result<Value, String> {
        let mut case = Map::new();
        case.insert("id".to_owned(), self.case.id.clone().into());
        if !self.case.policy.description.is_empty() {
            case.insert(
                "description".to_owned(),
                self.case.policy.description.clone().into(),
            );
        }
        case.insert("objects".to_owned(), self.objects());
        let mut claims = self.case.claims.clone();
        if let Some(header) = claims.shift_remove("_jose") {
            case.insert("header".to_owned(), header);
        }
        match claims.shift_remove("_raw_payload") {
            Some(text) => case.insert("payload_text".to_owned(), text),
            None => case.insert("claims".to_owned(), Value::Object(claims)),
        };
        if let Some(details) = self.details() {
            case.insert(
                "request".to_owned(),
                json!({ "authorization_details": [details] }),
            );
        }
        case.insert("context".to_owned(), self.new_context()?);
        case.insert(
            "expect".to_owned(),
            if self.case.expect == ExpectedVerdict::Allow {
                "allow"
            } else {
                "deny"
            }
            .into(),
        );
        if !self.case.reason.is_empty() {
            case.insert("reason".to_owned(), self.case.reason.clone().into());
        }
        Ok(Value::Object(case))
    }

    fn objects(&self) -> Value {
        let mut issuers: Vec<(String, Map<String, Value>)> = Vec::new();
        let mut rules = Map::new();
        for (at, fields) in self.rules.iter().enumerate() {
            let document = self.issuer(fields);
            let known = issuers
                .iter()
                .find(|(_, known)| *known == document)
                .map(|(name, _)| name.clone());
            let name = known.unwrap_or_else(|| {
                let name = numbered("platform", issuers.len());
                issuers.push((name.clone(), document));
                name
            });
            rules.insert(numbered("rule", at), rule(fields, &name));
        }
        for document in self.other_issuers() {
            if issuers
                .iter()
                .all(|(_, known)| known.get("issuer") != document.get("issuer"))
            {
                issuers.push((numbered("platform", issuers.len()), document));
            }
        }
        let owners = self
            .rules
            .iter()
            .filter_map(|fields| fields.get("package_owner").and_then(Value::as_str));
        let principals = std::iter::once(PRINCIPAL)
            .chain(owners)
            .map(|name| (name.to_owned(), json!({ "kind": "user" })));
        json!({
            "principals": principals.collect::<Map<_, _>>(),
            "resource_servers": { REGISTRY: self.resource_server() },
            "trusted_issuers": issuers.into_iter().map(|(name, document)| (name, document.into())).collect::<Map<_, _>>(),
            "federated_credentials": rules,
        })
    }

    fn issuer(&self, fields: &Map<String, Value>) -> Map<String, Value> {
        let context = self.context();
        let mut document =
            Map::from_iter([("profile".to_owned(), self.profile.name.clone().into())]);
        for (field, member) in OF_ISSUER {
            if let Some(value) = given(fields, field) {
                document.insert(member.to_owned(), value.clone());
            }
        }
        // A document without `issuer` must name a source of keys. Judging a case reads no keys, so
        // the path need not exist.
        if self.profile.is_spiffe() && !document.contains_key("issuer") {
            document.insert(
                "keys".to_owned(),
                json!({ "source": "spiffe_bundle", "path": "/bundle" }),
            );
        }
        if let Some(audience) = given(fields, "audience") {
            document.insert("audiences".to_owned(), json!([audience]));
        }
        match given(fields, "replay_key").and_then(Value::as_str) {
            None => {}
            Some("jti_or_token_hash") => {
                drop(document.insert("replay".to_owned(), "jti_or_token_hash".into()));
            }
            Some(claim) => {
                document.insert("replay".to_owned(), "required".into());
                document.insert("replay_claim".to_owned(), claim.into());
            }
        }
        for (member, value) in [
            ("leeway_seconds", json!(context.leeway_seconds)),
            (
                "max_assertion_lifetime_seconds",
                json!(context.max_assertion_lifetime_seconds),
            ),
            ("banned_events", json!(context.server_banned_events)),
        ] {
            if !value.is_null() {
                document.insert(member.to_owned(), value);
            }
        }
        self.own(document)
    }

    /// Older cases listed an issuer of the case's principal in `issuer_scopes`.
    fn own(&self, mut document: Map<String, Value>) -> Map<String, Value> {
        let url = document.get("issuer").and_then(Value::as_str);
        if url.is_some_and(|url| self.context().issuer_scopes.contains_key(url)) {
            document.insert("owner".to_owned(), PRINCIPAL.into());
        }
        document
    }

    /// Trusted issuers that no rule is about. Members that the older form did not give are filled
    /// so that the issuers would be accepted.
    fn other_issuers(&self) -> Vec<Map<String, Value>> {
        let audience = self
            .rules
            .first()
            .and_then(|fields| given(fields, "audience"));
        let mut documents: Vec<Map<String, Value>> = Vec::new();
        let mut add = |url: &str, members: Value| {
            let mut document = Map::from_iter([
                ("profile".to_owned(), self.profile.name.clone().into()),
                ("issuer".to_owned(), url.into()),
            ]);
            document.extend(audience.map(|audience| ("audiences".to_owned(), json!([audience]))));
            if let Value::Object(members) = members {
                document.extend(members);
            }
            documents.push(self.own(document));
        };
        match &self.context().registered_issuers {
            Value::Array(urls) => {
                urls.iter()
                    .filter_map(Value::as_str)
                    .for_each(|url| add(url, self.own_domains(url)));
            }
            Value::Object(urls) => urls
                .iter()
                .for_each(|(url, domain)| add(url, json!({ "trust_domain": domain }))),
            _ => {}
        }
        for url in &self.context().issuers_skipping_email_verification {
            add(url, json!({ "skip_email_verification": true }));
        }
        documents
    }

    /// The trust domain or subject domain that the profile requires of an issuer, taken from the
    /// issuer's URL.
    fn own_domains(&self, url: &str) -> Value {
        let Ok(parsed) = Url::parse(url) else {
            return Value::Null;
        };
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

    fn resource_server(&self) -> Value {
        let mut actions: Vec<String> = self
            .rules
            .iter()
            .flat_map(|fields| actions(fields))
            .collect();
        actions.extend(
            self.context()
                .requested
                .iter()
                .map(|requested| requested.action.clone()),
        );
        actions.push(CREATE.to_owned());
        actions.sort();
        actions.dedup();
        let mut document = json!({ "resource": RESOURCE, "actions": actions });
        let names = self
            .rules
            .iter()
            .find_map(|fields| given(fields, "name_normalization"));
        if let Value::Object(document) = &mut document {
            document.extend(names.map(|names| ("package_names".to_owned(), names.clone())));
            if self.context().server_floor.is_some() {
                document.insert(
                    "require_protected_ref_or_environment".to_owned(),
                    true.into(),
                );
            }
        }
        document
    }

    fn details(&self) -> Option<Value> {
        let requested = self.context().requested.as_ref()?;
        let create = (self.context().package_exists == Some(false)).then_some(CREATE);
        let actions: Vec<&str> = std::iter::once(requested.action.as_str())
            .chain(create)
            .collect();
        Some(without_null(json!({
            "type": carnet_resource_server::DETAIL_TYPE, "actions": actions, "packages": requested.packages,
            "owner": requested.owner, "version": requested.version, "digest": requested.digest,
        })))
    }

    fn new_context(&self) -> Result<Value, String> {
        let context = self.context();
        let mut used = context.consumed.clone();
        used.extend(context.consumed_token_hash.then(|| json!("this")));
        let mut states = Map::new();
        for (at, fields) in self.rules.iter().enumerate() {
            if let Some(until) = given(fields, "pending_expires_at").and_then(Value::as_i64) {
                let until = Timestamp::from_seconds(until).to_string();
                states.insert(numbered("rule", at), json!({ "pending_until": until }));
            }
        }
        let profiles = self
            .own_profile
            .as_ref()
            .map(|file| json!({ &self.profile.name: file }));
        Ok(without_null(json!({
            "now": context.now, "keys": context.jwks_kids, "used": (!used.is_empty()).then_some(used),
            "states": (!states.is_empty()).then_some(states), "registry": self.registry()?, "profiles": profiles,
        })))
    }

    fn registry(&self) -> Result<Option<Value>, String> {
        let context = self.context();
        let Some(requested) = &context.requested else {
            return Ok(None);
        };
        let package = match requested.packages.as_slice() {
            [package] => json!(package),
            [] => return Err("requested.packages must name a package".to_owned()),
            packages => json!(packages),
        };
        Ok(Some(without_null(json!({
            "exists": (context.package_exists == Some(false)).then_some(false),
            "owner": context.package_owner_now, "owned_packages": self.owned_packages(),
            "action": requested.action, "package": package, "version": requested.version, "digest": requested.digest,
        }))))
    }

    /// The owner's packages, limited to those for which the token's issuer may speak.
    fn owned_packages(&self) -> Option<Vec<String>> {
        let iss = self.case.claims.get("iss").and_then(Value::as_str);
        let scope = iss
            .and_then(|iss| self.context().issuer_scopes.get(iss))
            .and_then(Value::as_array);
        let scope: Option<Vec<String>> = scope.map(|scope| {
            scope
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        });
        match (self.context().owned_packages.clone(), scope) {
            (Some(owned), Some(scope)) => Some(
                owned
                    .into_iter()
                    .filter(|name| scope.contains(name))
                    .collect(),
            ),
            (owned, scope) => owned.or(scope),
        }
    }
}
