//! What a rule admits and what it permits, in words.

use carnet_access::ProofLevel;
use serde_json::{Map, Value};

use super::PermissionDocument;
use crate::profile::Form;

/// The action that allows new packages.
const CREATE: &str = "create";
/// The action of which is said that it goes to a registry.
const PUBLISH: &str = "publish";

/// What a rule admits and permits, in words. The texts hold names and values as they are, and no
/// markup: who shows them escapes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Preview {
    /// Which workloads: `any run of “release.yml” in “octo-org/widgets”, from any branch or tag`.
    pub admits: String,
    /// What each permission allows: `publish to npm: @octo/*, and create new packages there`.
    pub permits: Vec<String>,
}

impl Preview {
    /// The preview of a rule with this `match` in its stored form ([`crate::trust::normalise`]). A
    /// `match` in another form is told as well as it can be read.
    pub fn new(
        form: &Form,
        matched: &Map<String, Value>,
        principal: &str,
        permissions: &[PermissionDocument],
    ) -> Self {
        let permits = permissions
            .iter()
            .map(|permission| permits(permission, principal));
        Self {
            admits: form.admits(matched),
            permits: permits.collect(),
        }
    }

    /// The preview as sentences.
    pub fn sentences(&self) -> Vec<String> {
        let admits = (!self.admits.is_empty()).then(|| format!("Admits {}.", self.admits));
        let permits = self.permits.iter().map(|text| format!("May {text}."));
        admits.into_iter().chain(permits).collect()
    }
}

fn permits(permission: &PermissionDocument, principal: &str) -> String {
    let PermissionDocument {
        resource_server,
        actions,
        packages,
        owner,
        min_proof,
        require_sender_constraint,
    } = permission;
    let creates = actions.iter().any(|action| action == CREATE);
    let others: Vec<&str> = actions
        .iter()
        .map(String::as_str)
        .filter(|action| *action != CREATE)
        .collect();
    let owned = match owner {
        Some(owner) if !owner.eq_ignore_ascii_case(principal) => format!(", owned by {owner}"),
        _ => String::new(),
    };
    let mut demands = String::new();
    if *min_proof == ProofLevel::Key {
        demands.push_str(", for jobs that prove to hold a key");
    }
    if *require_sender_constraint {
        demands.push_str(", with tokens that are bound to a key");
    }
    let packages = packages.join(", ");
    let preposition = if others == [PUBLISH] { "to" } else { "at" };
    let done = match others.as_slice() {
        [] => {
            return format!("create new packages at {resource_server}: {packages}{owned}{demands}");
        }
        [one] => (*one).to_owned(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    };
    let also = if creates {
        ", and create new packages there"
    } else {
        ""
    };
    format!("{done} {preposition} {resource_server}: {packages}{owned}{also}{demands}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::profile::{Profiles, Terms};
    use crate::trust::normalise;

    fn permission(value: Value) -> PermissionDocument {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_permission_is_told_with_its_registry_packages_owner_and_whether_it_creates() {
        let said = |actions: &[&str], owner: Option<&str>| {
            let given = json!({
                "resource_server": "npm", "actions": actions, "packages": ["@octo/*", "octo"], "owner": owner,
            });
            permits(&permission(given), "Octo")
        };
        assert_eq!(said(&["publish"], None), "publish to npm: @octo/*, octo");
        assert_eq!(
            said(&["publish", "create"], Some("octo")),
            "publish to npm: @octo/*, octo, and create new packages there"
        );
        assert_eq!(
            said(&["publish", "yank", "unlist"], Some("octo-org")),
            "publish, yank and unlist at npm: @octo/*, octo, owned by octo-org"
        );
        let demanding = json!({
            "resource_server": "npm", "actions": ["publish"], "packages": ["a"], "min_proof": "key", "require_sender_constraint": true,
        });
        assert_eq!(
            permits(&permission(demanding), "octo"),
            "publish to npm: a, for jobs that prove to hold a key, with tokens that are bound to a key"
        );
        assert_eq!(
            said(&["create"], None),
            "create new packages at npm: @octo/*, octo"
        );
    }

    #[test]
    fn every_example_of_a_form_is_a_value_that_can_be_saved() {
        for profile in Profiles::load(None).unwrap().iter() {
            let form = profile.form();
            for entry in form.entries() {
                let Some(example) = &entry.example else {
                    continue;
                };
                let tick = entry.tick.clone().unwrap_or_default();
                let sent = [
                    (entry.key.clone(), example.clone()),
                    (tick, "on".to_owned()),
                ];
                let read = form.read(&sent);
                assert_eq!(read.problems, [], "{}: {}", profile.name, entry.key);
                let terms = Terms {
                    issuer_claim: (entry.field == "upstream")
                        .then(|| "/federated_claims/connector_id".to_owned()),
                    ..Terms::default()
                };
                let problems = normalise(profile, &terms, &read.matched)
                    .err()
                    .unwrap_or_default();
                let pointer = format!("/{}", entry.field);
                let of_value = problems.iter().find(|problem| {
                    problem.pointer.starts_with(&pointer)
                        && !problem.detail.contains("together with")
                });
                // The two ids that `match_names` asks for are not there.
                assert_eq!(of_value, None, "{}: {}", profile.name, entry.key);
                let shown = form.fill(&read.matched);
                assert!(shown.rest.is_empty(), "{}: {}", profile.name, entry.key);
                assert_eq!(entry.text(&shown.sent), example, "{}", profile.name);
            }
        }
    }
}
