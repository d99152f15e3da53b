//! Lists rules with assumed vouching for the log at start and `carnet check`. Such rules were saved
//! before consent existed and still count for every workload that they match, so an administrator
//! should review those that share a workload with another principal's rule
//! (`docs/src/explanation/consent.md`).

use crate::ids::CredentialId;
use crate::model::{FederatedCredential, Snapshot};
use crate::store::{Store, StoreError};

/// One line for each index key that leads both to such a rule and to a rule of another principal.
pub async fn shared_workloads(store: &Store, rules: &Snapshot) -> Result<Vec<String>, StoreError> {
    let mut lines = Vec::new();
    for id in store.assumed_credentials().await? {
        let Some(credential) = rules.credential(id) else {
            continue;
        };
        for (key, found) in rules.found_beside(credential) {
            if found
                .iter()
                .any(|other| other.principal != credential.principal)
            {
                let mut names: Vec<String> = found.iter().map(|rule| called(rule)).collect();
                names.sort_unstable();
                let listed = names.join(", ");
                lines.push(format!("{key}: the rules {listed} count for one workload"));
            }
        }
    }
    lines.sort_unstable();
    lines.dedup();
    Ok(lines)
}

fn called(credential: &FederatedCredential) -> String {
    let id = CredentialId::to_string(&credential.id);
    let name = credential
        .rule
        .open()
        .map_or(id, |rule| rule.name.to_owned());
    format!("{}:{name}", credential.principal)
}
