//! Which resource server a token is for (RFC 8707; contract, section 4: which credentials count).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::AccessRequest;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::trust::{Candidate, ResourceServer, Rule, Snapshot};

/// The one resource server meant: the one that is named, else the only one that the matching rules cover.
pub(super) fn target(
    matching: &[(&Candidate, Rule<'_>)],
    snapshot: &Snapshot,
    request: &AccessRequest,
) -> Result<Arc<ResourceServer>, Refusal> {
    let covered: BTreeSet<_> = matching
        .iter()
        .flat_map(|(_, rule)| &rule.permissions)
        .filter_map(|permission| snapshot.resource_server(permission.resource_server))
        .map(|server| server.name.as_str())
        .collect();
    let named: BTreeSet<_> = request
        .resources
        .iter()
        .map(|resource| snapshot.resource_server_named(resource).map(|server| server.name.as_str()))
        .collect::<Option<_>>()
        .ok_or(Refusal::parameter(Reason::TargetUnknown, "resource"))?;
    let mut wanted = if named.is_empty() { covered.iter() } else { named.iter() };
    let name = match (wanted.next(), wanted.next()) {
        (Some(name), None) if covered.contains(name) => name,
        (Some(_), Some(_)) => return Err(Refusal::parameter(Reason::TargetAmbiguous, "resource")),
        _ => return Err(Refusal::parameter(Reason::TargetNotGranted, "resource")),
    };
    snapshot.resource_server(name).cloned().ok_or(Refusal::parameter(Reason::TargetUnknown, "resource"))
}
