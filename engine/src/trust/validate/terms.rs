//! Validates a rule under the terms of its trusted issuer.

use serde_json::{Map, Value, json};

use super::DocumentError;
use super::values::{MAX_ALTERNATIVES, check_text, too_many};
use crate::profile::{Check, Equals, Profile, Requirement, Terms, lies_in};

/// The stored form of `upstream`. Under a broker `claim` may be left out: it is the broker's
/// `issuer_claim`.
pub(super) fn upstream(value: &Value, terms: &Terms) -> Result<Value, Vec<DocumentError>> {
    const FORM: &str = "must be an object of claim and equals, for example {\"claim\": \"/federated_claims/connector_id\", \"equals\": \"google\"}";
    let Value::Object(given) = value else {
        return Err(vec![DocumentError::new("", FORM)]);
    };
    let mut problems = Vec::new();
    if given
        .keys()
        .any(|name| !matches!(name.as_str(), "claim" | "equals"))
    {
        problems.push(DocumentError::new("", FORM));
    }
    let claim = match (
        given.get("claim").filter(|claim| !claim.is_null()),
        &terms.issuer_claim,
    ) {
        (Some(Value::String(claim)), _) if check_text(claim).is_ok() => claim.clone(),
        (None, Some(claim)) => claim.clone(),
        _ => {
            let detail = "must be the name of a claim, or a JSON Pointer if it begins with /";
            problems.push(DocumentError::new("/claim", detail));
            String::new()
        }
    };
    let is_text = |value: &Value| value.as_str().is_some_and(|text| check_text(text).is_ok());
    let equals = match given.get("equals") {
        Some(value) if is_text(value) => value.clone(),
        Some(Value::Object(matcher)) if matcher.len() == 1 => match matcher.get("any_of") {
            Some(Value::Array(values)) if !values.is_empty() && values.iter().all(is_text) => {
                json!({ "any_of": values })
            }
            _ => Value::Null,
        },
        _ => Value::Null,
    };
    if matches!(equals.get("any_of"), Some(Value::Array(values)) if values.len() > MAX_ALTERNATIVES)
    {
        problems.push(DocumentError::new("/equals", too_many()));
    }
    if equals.is_null() {
        problems.push(DocumentError::new(
            "/equals",
            "must be a string, or {\"any_of\": […]}",
        ));
    }
    if problems.is_empty() {
        Ok(json!({ "claim": claim, "equals": equals }))
    } else {
        Err(problems)
    }
}

/// Errors of a rule that cannot match under these terms, or that would admit identities of every
/// provider behind a broker.
pub(super) fn terms(
    profile: &Profile,
    terms: &Terms,
    matcher: &Map<String, Value>,
) -> Vec<DocumentError> {
    let mut problems = Vec::new();
    for field in &profile.fields {
        let (Check::Equals(equals), Some(value)) = (&field.check, matcher.get(&field.name)) else {
            continue;
        };
        let of_this_claim = profile
            .requirements
            .iter()
            .filter_map(|requirement| outside(requirement, terms, equals, value));
        problems.extend(
            of_this_claim.map(|detail| DocumentError::new(format!("/{}", field.name), detail)),
        );
    }
    if let Some(path) = &terms.issuer_claim {
        let named = matcher
            .get("upstream")
            .and_then(|upstream| upstream.get("claim"))
            .and_then(Value::as_str);
        if named != Some(path) {
            let detail = format!(
                "must be given with the claim {path}: the trusted issuer is a broker, and others behind it can have the same address"
            );
            problems.push(DocumentError::new("/upstream", detail));
        }
    }
    problems
}

/// The error for a value outside the domain that the trusted issuer may speak for.
fn outside(
    requirement: &Requirement,
    terms: &Terms,
    equals: &Equals,
    value: &Value,
) -> Option<String> {
    let (claim, domain) = match requirement {
        Requirement::TrustDomain(claim) => (claim, terms.trust_domain.as_ref()?),
        Requirement::SubjectUri(claim) => (claim, terms.subject_domain.as_ref()?),
        _ => return None,
    };
    let is_inside = |text: &str| match requirement {
        Requirement::TrustDomain(_) => text
            .strip_prefix("spiffe://")
            .is_some_and(|id| id.split('/').next() == Some(domain)),
        _ => lies_in(domain, text) == Some(true),
    };
    let is_outside = claim.path == equals.claim.path && !texts(value).all(is_inside);
    is_outside.then(|| format!("must lie in {domain}, for which the trusted issuer speaks"))
}

/// The texts of a value: itself, its alternatives, or its pattern.
fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let inside = value
        .get("any_of")
        .and_then(Value::as_array)
        .into_iter()
        .flatten();
    let plain = [Some(value), value.get("glob")].into_iter().flatten();
    plain.chain(inside).filter_map(Value::as_str)
}
