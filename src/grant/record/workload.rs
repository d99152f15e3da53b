//! The names under which the events of a workload are found.

use crate::assertion::AssertionContent;
use crate::profile::{Check, Claims, Field, Profile, Role};

/// Names that are longer are left out: `sub` may take 1024 bytes.
const MAX_NAME_BYTES: usize = 512;

/// The names of the workload, each once. The first one is shown: the repository or project, or
/// where the platform names it in parts, the parts joined by a slash. Then follow the names that
/// rules refer to, the id that the profile defines, and `sub`.
pub(super) fn names(content: &AssertionContent) -> Vec<String> {
    names_of(
        &content.issuer().profile,
        content.claims(),
        content.subject(),
    )
}

/// The same for the workload of a token, of which only the claims are known that its profile passes
/// on.
pub fn names_of(profile: &Profile, claims: &Claims, subject: &str) -> Vec<String> {
    let named = profile
        .fields
        .iter()
        .filter(|field| field.role == Role::Name);
    let mut parts: Vec<String> = named
        .filter_map(|field| {
            let value = claim_of(field)?.spelt(claims).ok()?;
            Some(value.into_owned()).filter(|value| !value.is_empty())
        })
        .collect();
    parts.dedup();
    // A path holds the names above it; without one, the parts make the path.
    let path = parts
        .iter()
        .filter(|part| part.contains('/'))
        .max_by_key(|part| part.len())
        .cloned()
        .or_else(|| (!parts.is_empty()).then(|| parts.join("/")));
    let id = profile.workload_id.render(claims).ok();
    let all = path.into_iter().chain(id).chain(parts);
    let mut distinct: Vec<String> = Vec::new();
    for name in all.chain([subject.to_owned()]) {
        if name.len() <= MAX_NAME_BYTES && !distinct.contains(&name) {
            distinct.push(name);
        }
    }
    distinct
}

fn claim_of(field: &Field) -> Option<&crate::profile::ClaimSpec> {
    match &field.check {
        Check::Equals(equals) => Some(&equals.claim),
        _ => None,
    }
}
