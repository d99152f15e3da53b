//! The flat fields of a rule in the older form, sorted into members of the present one.

use serde_json::{Map, Value, json};

use super::{CREATE, NOT_OF_MATCH, OF_ISSUER, PRINCIPAL, REGISTRY};
use crate::clock::Timestamp;

pub(super) fn rule(fields: &Map<String, Value>, issuer: &str) -> Value {
    let expires_at = given(fields, "expires_at")
        .and_then(Value::as_i64)
        .map(Timestamp::from_seconds);
    let is_disabled = given(fields, "state").and_then(Value::as_str) == Some("disabled");
    let owner = given(fields, "package_owner").filter(|owner| *owner != PRINCIPAL);
    let permission = without_null(json!({
        "resource_server": REGISTRY, "actions": actions(fields), "packages": given(fields, "packages"), "owner": owner,
    }));
    without_null(json!({
        "principal": PRINCIPAL, "trusted_issuer": issuer, "match": matcher(fields), "permissions": [permission],
        "expires_at": expires_at.map(|at| at.to_string()), "enabled": is_disabled.then_some(false),
    }))
}

/// The conditions of the older rule as `match`; a field `x_glob` becomes a glob of `x`.
pub(super) fn matcher(fields: &Map<String, Value>) -> Map<String, Value> {
    let is_made = fields.contains_key("template");
    let elsewhere = |name: &str| {
        NOT_OF_MATCH.contains(&name) || OF_ISSUER.iter().any(|(field, _)| *field == name)
    };
    let mut matcher = Map::new();
    for (name, value) in fields
        .iter()
        .filter(|(name, value)| !elsewhere(name) && !value.is_null())
    {
        let name = match name.as_str() {
            "template" | "defaults" if is_made => continue,
            "principal" if is_made => "identity",
            name => name,
        };
        let (plain, value) = globbed(name, value);
        let value = match value {
            Value::Object(members) if name == "called_workflow" => members
                .iter()
                .map(|(name, value)| globbed(name, value))
                .collect(),
            value => value,
        };
        // A rule with both `x` and `x_glob` was refused, and must stay refused: no profile has a
        // field `x_glob`.
        let is_twice = plain != name && given(fields, &plain).is_some();
        let name = if is_twice { name.to_owned() } else { plain };
        matcher.insert(name, value);
    }
    matcher
}

fn globbed(name: &str, value: &Value) -> (String, Value) {
    match name
        .strip_suffix("_glob")
        .filter(|field| *field != "issuer")
    {
        Some(field) => (field.to_owned(), json!({ "glob": value })),
        None => (name.to_owned(), value.clone()),
    }
}

pub(super) fn actions(fields: &Map<String, Value>) -> Vec<String> {
    let given = fields.get("actions").and_then(Value::as_array);
    let mut actions: Vec<String> = given
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect();
    if fields.get("allow_create") == Some(&Value::Bool(true))
        && !actions.iter().any(|action| action == CREATE)
    {
        actions.push(CREATE.to_owned());
    }
    actions
}

/// The value of a field; in the older form `null` meant absent.
pub(super) fn given<'f>(fields: &'f Map<String, Value>, name: &str) -> Option<&'f Value> {
    fields.get(name).filter(|value| !value.is_null())
}

pub(super) fn numbered(name: &str, at: usize) -> String {
    if at == 0 {
        name.to_owned()
    } else {
        format!("{name}-{}", at.saturating_add(1))
    }
}

pub(super) fn without_null(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(_, value)| !value.is_null())
            .collect(),
        value => value,
    }
}

/// A profile with one field, whose value is the case's template over string claims.
pub(super) fn template_profile(
    template: &Value,
    defaults: Option<&Value>,
) -> Result<Value, String> {
    let text = template.as_str().ok_or("template must be a text")?;
    let names = text
        .split('{')
        .skip(1)
        .filter_map(|part| part.split('}').next());
    let claims: Map<String, Value> = names.map(|name| (name.to_owned(), json!({}))).collect();
    Ok(json!({
        "title": "Template of a case",
        "index": [["identity"]],
        "defaults": {
            "algorithms": ["RS256", "ES256"], "types": ["JWT"], "max_assertion_lifetime_seconds": 3600,
            "replay": "jti_or_token_hash",
        },
        "workload": { "id": "{sub}" },
        "claims": claims,
        "fields": [{
            "name": "identity", "mismatch": "identity_mismatch",
            "check": { "identity": { "template": text, "defaults": defaults.cloned().unwrap_or_else(|| json!({})) } },
        }],
        "at_least": [{ "any_of": ["identity"], "detail": "every pipeline of the platform shares this issuer" }],
    }))
}
