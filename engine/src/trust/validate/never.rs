//! Refuses rules whose members exclude each other, so that they would never match: refs and kinds of
//! refs, two values of one claim, and events that are not asked for.

use serde_json::{Map, Value};

use super::DocumentError;
use super::values::PLACEHOLDER;
use crate::profile::{Check, ClaimKind, ClaimSpec, Pair, Profile, glob, texts};

pub(super) fn never(profile: &Profile, matcher: &Map<String, Value>) -> Vec<DocumentError> {
    let mut problems = events(profile, matcher);
    problems.extend(
        profile
            .pairs
            .iter()
            .filter_map(|pair| twins(profile, pair, matcher)),
    );
    problems.extend(
        profile
            .claims
            .iter()
            .filter_map(|claim| contradiction(profile, claim, matcher)),
    );
    problems
}

/// The error for two members that compare one claim and of which no value is the same.
fn contradiction(
    profile: &Profile,
    claim: &ClaimSpec,
    matcher: &Map<String, Value>,
) -> Option<DocumentError> {
    if claim.kind == ClaimKind::List {
        return None;
    }
    let told = comparing(profile, claim, matcher);
    let admits = |form: &Value, text: &str| {
        let is_pattern = form.get("glob").is_some();
        texts(Some(form)).any(|one| {
            let pattern = one.replace(PLACEHOLDER, "*");
            claim.case.same(one, text)
                || ((is_pattern || pattern != one) && glob::matches_by(claim.case, &pattern, text))
        })
    };
    let is_plain = |value: &Value| {
        value.get("glob").is_none() && texts(Some(value)).all(|text| !text.contains(PLACEHOLDER))
    };
    let mut pairs = told.iter().enumerate().flat_map(|(at, one)| {
        let others = told.iter().skip(at.saturating_add(1));
        others.flat_map(move |other| [(one, other), (other, one)])
    });
    pairs.find_map(|((pointer, plain), (other, form))| {
        let mut values = texts(Some(plain)).peekable();
        let excluded = is_plain(plain)
            && values.peek().is_some()
            && texts(Some(form)).next().is_some()
            && !values.any(|text| admits(form, text));
        excluded.then(|| {
            let detail = format!(
                "must agree with {other}, which compares the same claim with other values: the rule would never match"
            );
            DocumentError::new(pointer.clone(), detail)
        })
    })
}

/// The members of a rule that compare a claim, with their JSON Pointers: a field or an entry of
/// `claims`.
pub(super) fn comparing<'m>(
    profile: &Profile,
    claim: &ClaimSpec,
    matcher: &'m Map<String, Value>,
) -> Vec<(String, &'m Value)> {
    let fields = profile
        .fields
        .iter()
        .filter(|field| {
            let of_version = match &field.check {
                Check::Version { claim, .. } => Some(claim.path.as_str()),
                _ => None,
            };
            field.claim_path().or(of_version) == Some(&claim.path)
        })
        .filter_map(|field| Some((format!("/{}", field.name), matcher.get(&field.name)?)));
    let in_claims = matcher
        .get("claims")
        .and_then(|claims| claims.get(&claim.path))
        .map(|value| (format!("/claims/{}", super::escape(&claim.path)), value));
    fields.chain(in_claims).collect()
}

/// The error for a rule about events that it does not ask for. Banned events are warned of, since
/// the trusted issuer's list can change.
fn events(profile: &Profile, matcher: &Map<String, Value>) -> Vec<DocumentError> {
    let Some(event) = &profile.event else {
        return Vec::new();
    };
    let field = profile.event_field().map(|field| field.name.as_str());
    let asks =
        texts(field.and_then(|name| matcher.get(name))).any(|event| profile.asked.is_event(event));
    let field = field.unwrap_or("events");
    let mut problems = Vec::new();
    for (pointer, value) in comparing(profile, event, matcher) {
        let mut given = texts(Some(value)).peekable();
        if given.peek().is_none() {
            continue;
        }
        if !asks && given.all(|event| profile.asked.is_event(event)) {
            let detail = format!(
                "must also stand in {field}: what these runs do is decided by whoever proposes a change, so a rule has to ask for them there"
            );
            problems.push(DocumentError::new(pointer, detail));
        }
    }
    for claim in &profile.asked.ref_claims {
        for (pointer, value) in comparing(profile, claim, matcher) {
            let mut given = texts(Some(value)).peekable();
            if !asks && given.peek().is_some() && given.all(|text| profile.asked.is_ref(text)) {
                let detail = format!(
                    "must not be a ref of proposed changes unless {field} names their events: no rule matches them otherwise"
                );
                problems.push(DocumentError::new(pointer, detail));
            }
        }
    }
    problems
}

/// The error for a rule of which every ref is of another kind than the rule says.
fn twins(profile: &Profile, pair: &Pair, matcher: &Map<String, Value>) -> Option<DocumentError> {
    let Pair::Prefixes {
        claim,
        twin,
        values,
    } = pair
    else {
        return None;
    };
    let told = comparing(profile, twin, matcher);
    for (pointer, value) in comparing(profile, claim, matcher) {
        let kind_of = |text: &str| {
            let literal = text.split(['*', '{']).next().unwrap_or_default();
            let known = values
                .iter()
                .find(|(prefix, _)| literal.starts_with(prefix.as_str()));
            known.map(|(_, kind)| kind.clone())
        };
        let kinds: Option<Vec<String>> = texts(Some(value)).map(kind_of).collect();
        let kinds = kinds.filter(|kinds| !kinds.is_empty()).unwrap_or_default();
        let excluded = |value: &&(String, &Value)| {
            let mut given = texts(Some(value.1)).peekable();
            !kinds.is_empty()
                && given.peek().is_some()
                && !given.any(|kind| kinds.iter().any(|one| one == kind))
        };
        if let Some((other, _)) = told.iter().find(excluded) {
            let kinds = kinds.join(", ");
            let detail = format!(
                "must agree with {pointer}, which is of the kind {kinds}: the rule would never match"
            );
            return Some(DocumentError::new(other.clone(), detail));
        }
    }
    None
}
