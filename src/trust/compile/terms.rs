//! What a rule may say under the terms of its trusted issuer.

use serde_json::{Map, Value, json};

use super::Problem;
use super::values::check_text;
use crate::profile::{Check, Equals, Profile, Requirement, Terms, lies_in};

/// The stored form of `upstream`. Under a broker the claim is the broker's, and need not be repeated.
pub(super) fn upstream(value: &Value, terms: &Terms) -> Result<Value, Vec<Problem>> {
    const FORM: &str = "is an object of claim and equals, for example {\"claim\": \"/federated_claims/connector_id\", \"equals\": \"google\"}";
    let Value::Object(given) = value else {
        return Err(vec![Problem::new("", FORM)]);
    };
    let mut problems = Vec::new();
    if given.keys().any(|name| !matches!(name.as_str(), "claim" | "equals")) {
        problems.push(Problem::new("", FORM));
    }
    let claim = match (given.get("claim").filter(|claim| !claim.is_null()), &terms.issuer_claim) {
        (Some(Value::String(claim)), _) if check_text(claim).is_ok() => claim.clone(),
        (None, Some(claim)) => claim.clone(),
        _ => {
            problems.push(Problem::new("/claim", "is the name of a claim, or a JSON Pointer if it begins with /"));
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
    if equals.is_null() {
        problems.push(Problem::new("/equals", "is a string, or {\"any_of\": […]}"));
    }
    if problems.is_empty() { Ok(json!({ "claim": claim, "equals": equals })) } else { Err(problems) }
}

/// What cannot match under these terms, or would trust whoever a broker trusts.
pub(super) fn terms(profile: &Profile, terms: &Terms, matcher: &Map<String, Value>) -> Vec<Problem> {
    let mut problems = Vec::new();
    for field in &profile.fields {
        let (Check::Equals(equals), Some(value)) = (&field.check, matcher.get(&field.name)) else { continue };
        let outside = |detail: String| Problem::new(format!("/{}", field.name), detail);
        for requirement in &profile.requirements {
            match (requirement, &terms.trust_domain, &terms.subject_domain) {
                (Requirement::TrustDomain(claim), Some(domain), _) if is_about(equals, claim) => {
                    let beginning = format!("spiffe://{domain}/");
                    if !texts(value).all(|text| text.starts_with(&beginning)) {
                        problems
                            .push(outside(format!("lies outside the trust domain of the trusted issuer, {domain}")));
                    }
                }
                (Requirement::SubjectUri(claim), _, Some(domain)) if is_about(equals, claim) => {
                    // A star may be in a glob, and in no other part of a URI that is compared.
                    if !texts(value).all(|text| lies_in(domain, text) == Some(true)) {
                        problems
                            .push(outside(format!("lies outside the subject_domain of the trusted issuer, {domain}")));
                    }
                }
                _ => {}
            }
        }
    }
    if let Some(path) = &terms.issuer_claim {
        let named = matcher.get("upstream").and_then(|upstream| upstream.get("claim")).and_then(Value::as_str);
        if named != Some(path) {
            let detail = format!(
                "is needed with the claim {path}: the trusted issuer is a broker, and others behind it can have the same address"
            );
            problems.push(Problem::new("/upstream", detail));
        }
    }
    problems
}

fn is_about(equals: &Equals, claim: &crate::profile::ClaimSpec) -> bool {
    equals.claim.path == claim.path
}

/// The texts of a value: itself, its alternatives, or its pattern.
fn texts(value: &Value) -> impl Iterator<Item = &str> {
    let inside = value.get("any_of").and_then(Value::as_array).into_iter().flatten();
    let plain = [Some(value), value.get("glob")].into_iter().flatten();
    plain.chain(inside).filter_map(Value::as_str)
}
