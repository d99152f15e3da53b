//! The parts of a case, read by the reference page alone. Every member is taken out when it is read: what is left over was not
//! understood, and the test fails.

use serde_json::{Map, Value, json};
use url::Url;

/// The registry of every case, by name.
pub(super) const REGISTRY: &str = "registry";
/// How long a rule waits for its first match, in seconds.
const PENDING: i64 = 7 * 86_400;

/// What a case says.
#[derive(Debug)]
pub(super) struct Parts {
    pub provider: String,
    pub rules: Vec<RuleParts>,
    pub claims: Map<String, Value>,
    pub now: i64,
    pub requested: Value,
    pub normalization: Value,
    pub floor: bool,
    pub exists: bool,
    pub owned: Option<Vec<String>>,
    pub owner_now: Option<String>,
    pub scopes: Map<String, Value>,
    pub consumed: Vec<(String, String)>,
    pub token_consumed: bool,
    pub others: Vec<(String, Map<String, Value>)>,
    pub kids: Option<Vec<String>>,
}

#[derive(Debug)]
pub(super) struct RuleParts {
    pub issuer: Map<String, Value>,
    pub matcher: Map<String, Value>,
    pub permission: Map<String, Value>,
    pub owner: Option<String>,
    pub enabled: bool,
    pub expires_at: Option<i64>,
    /// When it was saved at the latest.
    pub saved_at: i64,
    pub profile: Option<String>,
}

impl Parts {
    pub(super) fn read(case: &Value) -> Self {
        let mut case = object(case.clone());
        let provider = match case.shift_remove("provider").unwrap().as_str().unwrap() {
            "github" => "github-actions",
            "gitlab" => "gitlab-ci",
            "template-ci" => "ci-template",
            other => other,
        }
        .to_owned();
        let claims = object(case.shift_remove("claims").unwrap());
        let mut policy = object(case.shift_remove("policy").unwrap());
        let mut fields = object(policy.shift_remove("fields").unwrap_or_default());
        let mut context = object(policy.shift_remove("context").unwrap_or_default());
        nothing_left(&policy, &["description"]);
        nothing_left(&case, &["id", "expect", "reason"]);
        let candidates = match fields.shift_remove("candidates") {
            None => vec![fields],
            Some(candidates) => {
                nothing_left(&fields, &[]);
                candidates.as_array().unwrap().iter().cloned().map(object).collect()
            }
        };
        let of_issuers = [
            ("leeway_seconds", "leeway_seconds"),
            ("max_assertion_lifetime_seconds", "max_assertion_lifetime_seconds"),
            ("server_banned_events", "banned_events"),
        ];
        let terms = moved(&mut context, &of_issuers);
        let normalization = candidates.iter().find_map(|fields| fields.get("name_normalization")).cloned();
        let rules: Vec<RuleParts> =
            candidates.into_iter().map(|fields| RuleParts::read(&provider, fields, &terms)).collect();
        let mut take = |name: &str| context.shift_remove(name).unwrap_or_default();
        let listed = |value: Value| value.as_array().map(|_| texts(&value));
        let skipping = listed(take("issuers_skipping_email_verification")).unwrap_or_default();
        let skipping = skipping.into_iter().map(|url| (url, object(json!({ "skip_email_verification": true }))));
        let mut others = others(&take("registered_issuers"), rules.first());
        others.extend(skipping);
        let used = take("consumed");
        let used = used.as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let parts = Self {
            now: take("now").as_i64().unwrap_or_default(),
            requested: take("requested"),
            floor: take("server_floor") == "protected_ref_or_environment",
            exists: take("package_exists") != json!(false),
            owned: listed(take("owned_packages")),
            owner_now: take("package_owner_now").as_str().map(str::to_owned),
            scopes: object(take("issuer_scopes")),
            consumed: used.map(|used| (text(&used["iss"]), text(&used["jti"]))).collect(),
            token_consumed: take("consumed_token_hash") == json!(true),
            kids: listed(take("jwks_kids")),
            normalization: normalization.unwrap_or_default(),
            provider,
            rules,
            claims,
            others,
        };
        nothing_left(&context, &["match_mode"]);
        parts
    }
}

impl RuleParts {
    fn read(provider: &str, mut fields: Map<String, Value>, terms: &Map<String, Value>) -> Self {
        fields.retain(|_, value| !value.is_null());
        let mut issuer = moved(
            &mut fields,
            &[
                ("issuer", "issuer"),
                ("trust_domain", "trust_domain"),
                ("subject_domain", "subject_domain"),
                ("accept_string_booleans", "accept_string_booleans"),
                ("issuer_skips_email_verification", "skip_email_verification"),
            ],
        );
        issuer.insert("profile".to_owned(), provider.into());
        issuer.extend(terms.clone());
        if let Some(audience) = fields.shift_remove("audience") {
            issuer.insert("audiences".to_owned(), json!([audience]));
        }
        match fields.shift_remove("replay_key").as_ref().and_then(Value::as_str) {
            None => {}
            Some("jti_or_token_hash") => drop(issuer.insert("replay".to_owned(), "jti_or_token_hash".into())),
            Some(claim) => issuer.extend(object(json!({ "replay": "required", "replay_claim": claim }))),
        }
        let mut take = |name: &str| fields.shift_remove(name).unwrap_or_default();
        let mut actions = texts(&take("actions"));
        if take("allow_create") == json!(true) && !actions.iter().any(|action| action == "create") {
            actions.push("create".to_owned());
        }
        let owner = take("package_owner").as_str().map(str::to_owned);
        let permission = json!({
            "resource_server": REGISTRY, "actions": actions, "packages": take("packages"), "owner": owner,
        });
        let (pending_until, expires_at) = (take("pending_expires_at").as_i64(), take("expires_at").as_i64());
        let enabled = take("state") != "disabled";
        let template = take("template");
        let profile = template.as_str().map(|template| {
            let defaults = take("defaults");
            profile_of(template, defaults.as_object().unwrap_or(&Map::new()))
        });
        let identity = if profile.is_some() { take("principal") } else { Value::Null };
        for no_rule in ["name_normalization", "created_by", "policy_id"] {
            take(no_rule);
        }
        let mut matcher = globs(fields);
        if !identity.is_null() {
            matcher.insert("identity".to_owned(), identity);
        }
        let saved_at = pending_until.map(|until| until - PENDING).or(expires_at.map(|at| at - 1));
        let saved_at = saved_at.unwrap_or(i64::MAX);
        Self { issuer, matcher, permission: object(permission), owner, enabled, expires_at, saved_at, profile }
    }
}

/// `x_glob` as a matcher of `x`, in `called_workflow` too.
fn globs(fields: Map<String, Value>) -> Map<String, Value> {
    let mut matcher = Map::new();
    for (name, value) in fields {
        let value = match value {
            Value::Object(members) if name == "called_workflow" => Value::Object(globs(members)),
            value => value,
        };
        let (name, value) = match name.strip_suffix("_glob").filter(|field| *field != "issuer") {
            Some(field) => (field.to_owned(), json!({ "glob": value })),
            None => (name, value),
        };
        assert!(matcher.insert(name.clone(), value).is_none(), "{name} is given plain and as a pattern");
    }
    matcher
}

/// The profile file of a case that brings a template along.
fn profile_of(template: &str, defaults: &Map<String, Value>) -> String {
    let claims = template.split('{').skip(1).map(|part| part.split('}').next().unwrap());
    let claims = claims.map(|name| format!("{name} = {{}}")).collect::<Vec<_>>().join("\n");
    let defaults: Vec<String> = defaults.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    let defaults = defaults.join(", ");
    format!(
        r#"title = "Template"
index = [["identity"]]

[defaults]
algorithms = ["RS256", "ES256"]
types = ["JWT"]
max_assertion_lifetime_seconds = 3600
replay = "jti_or_token_hash"

[workload]
id = "{{sub}}"

[claims]
{claims}

[[fields]]
name = "identity"
mismatch = "identity_mismatch"
check.identity = {{ template = "{template}", defaults = {{ {defaults} }} }}

[[at_least]]
any_of = ["identity"]
detail = "every pipeline shares this issuer"
"#
    )
}

/// Further trusted issuers: a list, or an object of issuers and their trust domains. A list says nothing of domains, so each is
/// in charge of those that the rule is about.
fn others(registered: &Value, rule: Option<&RuleParts>) -> Vec<(String, Map<String, Value>)> {
    let own = rule.map(|rule| rule.issuer.clone()).unwrap_or_default();
    match registered {
        Value::Object(urls) => {
            urls.iter().map(|(url, domain)| (url.clone(), object(json!({ "trust_domain": domain })))).collect()
        }
        urls => texts(urls)
            .into_iter()
            .map(|url| {
                let domain = own.get("subject_domain").map(|domain| ("subject_domain".to_owned(), domain.clone()));
                let host = Url::parse(&url).unwrap().host_str().unwrap().to_owned();
                let trust = own.get("trust_domain").map(|_| ("trust_domain".to_owned(), host.into()));
                (url, domain.into_iter().chain(trust).collect())
            })
            .collect(),
    }
}

pub(super) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        Value::Null => Map::new(),
        other => panic!("no object: {other}"),
    }
}

pub(super) fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Takes members out under other names.
fn moved(from: &mut Map<String, Value>, names: &[(&str, &str)]) -> Map<String, Value> {
    names.iter().filter_map(|(name, to)| Some(((*to).to_owned(), from.shift_remove(*name)?))).collect()
}

#[track_caller]
fn nothing_left(members: &Map<String, Value>, carry_no_rule: &[&str]) {
    let left: Vec<&String> = members.keys().filter(|name| !carry_no_rule.contains(&name.as_str())).collect();
    assert!(left.is_empty(), "not understood: {left:?}");
}
