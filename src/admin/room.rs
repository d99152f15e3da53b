//! Warns when the permissions of a saved rule do not fit into one token, before a release gets a
//! token that lacks some of them.

use std::collections::BTreeSet;
use std::sync::Arc;

use carnet_resource_server::AuthorizationDetail;

use crate::documents::{FederatedCredentialDocument, Stored};
use crate::model::{FederatedCredential, ResourceServer, Snapshot};
use crate::principal::{Frame, TokenRoom, detail, fit};
use crate::trust::Warning;

/// Estimate of the bytes that a token needs beside its entries, mostly for claims of the workload.
const USUAL_FRAME: Frame = Frame {
    fixed: 1_200,
    per_entry: 0,
};

/// Warns if the permissions of the rule, alone or together with the principal's other rules for the
/// same workload, do not fit into one token of a resource server.
pub(super) fn warning(
    rules: &Snapshot,
    stored: &Stored<FederatedCredentialDocument>,
) -> Option<Warning> {
    let credential = rules.credential(stored.id.parse().ok()?)?;
    let beside: Vec<Arc<FederatedCredential>> = rules
        .found_beside(credential)
        .into_iter()
        .flat_map(|(_, found)| found)
        .collect();
    let mut own: Vec<&FederatedCredential> = beside
        .iter()
        .map(|found| &**found)
        .filter(|found| found.principal == credential.principal)
        .collect();
    own.sort_by_key(|found| found.id);
    own.dedup_by_key(|found| found.id);
    let servers: BTreeSet<&str> = stored
        .document
        .permissions
        .iter()
        .map(|permission| permission.resource_server.as_str())
        .collect();
    servers.into_iter().filter_map(|name| rules.resource_server(name)).find_map(|server| {
        let room = TokenRoom::of((server, server.token_format), USUAL_FRAME, 0);
        let left_out = |of: &[&FederatedCredential]| {
            let entries = of.iter().flat_map(|credential| entries(credential, server)).collect();
            fit(entries, |entry: &AuthorizationDetail| entry.credential.clone(), room).left_out
        };
        let (alone, together) = (left_out(&[credential]), left_out(&own));
        let what = match (alone, together) {
            (0, 0) => return None,
            (0, left_out) => format!("{left_out} permissions of this principal's rules for the same workload"),
            (left_out, _) => format!("{left_out} of its permissions"),
        };
        let detail = format!(
            "{what} do not fit into one token for {}: patterns take less room than names, and opaque keys have more of it",
            server.name
        );
        Some(Warning { code: "entries_do_not_fit".to_owned(), detail })
    })
}

fn entries(credential: &FederatedCredential, server: &ResourceServer) -> Vec<AuthorizationDetail> {
    let rule = credential.rule.open().unwrap_or_default();
    let here = rule
        .permissions
        .iter()
        .filter(|permission| permission.resource_server == server.name);
    here.map(|permission| detail(permission, credential, &credential.principal, server, None))
        .collect()
}
