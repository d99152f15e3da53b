//! The flat fields of a case, sorted into members of the trusted issuer, the permission and the rule.

use serde_json::{Map, Value, json};

use super::setting::invalid;
use crate::refusal::Refusal;

/// The principal that cases do not name.
pub(super) const PRINCIPAL: &str = "case";

/// The action a package's first version needs.
pub(super) const CREATE: &str = "create";

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
/// Fields that make a profile for the case, and the one that is its only field.
pub(super) const TEMPLATE: &str = "template";
pub(super) const TEMPLATE_DEFAULTS: &str = "defaults";
const TEMPLATE_VALUE: &str = "principal";
const NO_RULE: &str = "created_by";

pub(super) fn owner(fields: &Map<String, Value>) -> &str {
    fields.get("package_owner").and_then(Value::as_str).unwrap_or(PRINCIPAL)
}

pub(super) fn actions(fields: &Map<String, Value>) -> Vec<String> {
    let given = fields.get("actions").and_then(Value::as_array);
    let mut actions: Vec<String> = given.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
    if fields.get("allow_create") == Some(&Value::Bool(true)) && !actions.iter().any(|action| action == CREATE) {
        actions.push(CREATE.to_owned());
    }
    actions
}

/// The fields that are neither the trusted issuer's nor the permission's, with `x_glob` written as a matcher of `x`.
pub(super) fn matcher(fields: &Map<String, Value>) -> Result<Map<String, Value>, Refusal> {
    let is_match = |name: &str| !ISSUER_FIELDS.contains(&name) && !OTHER_FIELDS.contains(&name) && name != NO_RULE;
    let is_made = fields.contains_key(TEMPLATE);
    let mut matcher = Map::new();
    for (name, value) in fields.iter().filter(|(name, value)| is_match(name) && !value.is_null()) {
        let name = match name.as_str() {
            TEMPLATE | TEMPLATE_DEFAULTS if is_made => continue,
            TEMPLATE_VALUE if is_made => "identity",
            name => name,
        };
        let (name, value) = globbed(name, value);
        let value = match value {
            Value::Object(members) if name == "called_workflow" => {
                members.iter().map(|(name, value)| globbed(name, value)).collect()
            }
            value => value,
        };
        if matcher.contains_key(&name) {
            return Err(invalid(format!("{name} is given twice: plain and as a pattern")));
        }
        matcher.insert(name, value);
    }
    Ok(matcher)
}

fn globbed(name: &str, value: &Value) -> (String, Value) {
    match name.strip_suffix("_glob").filter(|field| *field != "issuer") {
        Some(field) => (field.to_owned(), json!({ "glob": value })),
        None => (name.to_owned(), value.clone()),
    }
}
