//! Chooses the resource server that a token is for (RFC 8707).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::AccessRequest;
use crate::model::{ResourceServer, Rule, Snapshot};
use crate::reason::Reason;
use crate::refusal::{Facts, Refusal};
use crate::trust::Candidate;

/// The resource server that the request names, or else the only one that the matching rules cover.
pub(super) fn target(
    matching: &[(&Candidate, Rule<'_>)],
    snapshot: &Snapshot,
    request: &AccessRequest,
) -> Result<Arc<ResourceServer>, Refusal> {
    let covered = matching
        .iter()
        .flat_map(|(_, rule)| &rule.permissions)
        .map(|permission| permission.resource_server);
    target_among(covered, snapshot, request)
}

/// Like [`target`], for any set of resource-server names that the caller's grants cover.
pub(super) fn target_among<'n>(
    covered: impl Iterator<Item = &'n str>,
    snapshot: &Snapshot,
    request: &AccessRequest,
) -> Result<Arc<ResourceServer>, Refusal> {
    let covered: BTreeSet<&str> = covered
        .filter_map(|name| snapshot.resource_server(name))
        .map(|server| server.name.as_str())
        .collect();
    let named = named(snapshot, request)?;
    let mut wanted = if named.is_empty() {
        covered.iter()
    } else {
        named.iter()
    };
    let name = match (wanted.next(), wanted.next()) {
        (Some(name), None) if covered.contains(name) => name,
        (Some(_), Some(_)) => return Err(Refusal::parameter(Reason::TargetAmbiguous, "resource")),
        _ => return Err(Refusal::parameter(Reason::TargetNotGranted, "resource")),
    };
    snapshot
        .resource_server(name)
        .cloned()
        .ok_or(Refusal::parameter(Reason::TargetUnknown, "resource"))
}

/// Checks that each resource server that the request names exists, and that it names one at most.
pub fn check(snapshot: &Snapshot, request: &AccessRequest) -> Result<(), Refusal> {
    let named = named(snapshot, request)?;
    if named.len() > 1 {
        Err(Refusal::parameter(Reason::TargetAmbiguous, "resource"))
    } else {
        Ok(())
    }
}

/// The resource servers that a request names: `resource` and `audience` together (RFC 8693 section
/// 2.1).
fn named<'s>(
    snapshot: &'s Snapshot,
    request: &AccessRequest,
) -> Result<BTreeSet<&'s str>, Refusal> {
    let unknown = |parameter, sent: &str| {
        let nearest = nearest(snapshot, sent);
        Refusal::parameter(Reason::TargetUnknown, parameter).with_facts(Facts {
            nearest,
            ..Facts::default()
        })
    };
    let by_uri = request
        .resources
        .iter()
        .map(|uri| (snapshot.resource_server_named(uri), "resource", uri));
    let by_name = request.audiences.iter().map(|audience| {
        let server = snapshot.resource_server_named(audience);
        (
            server.or_else(|| snapshot.resource_server_called(audience)),
            "audience",
            audience,
        )
    });
    let found = by_uri.chain(by_name);
    found
        .map(|(server, parameter, sent)| {
            server
                .map(|server| server.name.as_str())
                .ok_or_else(|| unknown(parameter, sent))
        })
        .collect()
}

/// The resource URI or alias that differs from `sent` only in letter case, a trailing slash or the
/// default port. Resource URIs are in every token, so naming one reveals nothing.
fn nearest(snapshot: &Snapshot, sent: &str) -> Option<String> {
    let loose = |uri: &str| {
        let lower = uri.trim().to_ascii_lowercase();
        let (origin, path) = lower
            .split_once("//")
            .map_or(("", lower.as_str()), |(_, rest)| {
                rest.split_once('/').unwrap_or((rest, ""))
            });
        let host = origin.strip_suffix(":443").unwrap_or(origin);
        format!("{host}/{}", path.trim_end_matches('/'))
    };
    let sent = loose(sent);
    let mut all = snapshot.resource_servers().filter(|server| server.enabled);
    all.find_map(|server| {
        let mut uris = std::iter::once(&server.resource).chain(&server.aliases);
        uris.find(|uri| loose(uri) == sent).cloned()
    })
}
