//! Chooses the resource server that a token is for (RFC 8707).

use std::collections::BTreeSet;
use std::sync::Arc;

use super::AccessRequest;
use crate::model::{ResourceServer, Rule, Snapshot};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::trust::Candidate;

/// How many URIs are compared letter by letter to find the nearest one, and the longest that is, in
/// bytes: anybody can send an unknown `resource`.
const MAX_COMPARED: usize = 50;
const MAX_COMPARED_BYTES: usize = 100;
/// How many letters may be wrong, missing, too many or swapped.
const MAX_MISTAKES: usize = 3;

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
    let mut named = named(snapshot, request)?;
    // A front door is that of one registry, and its requests name no other.
    named.extend(
        request
            .front_door
            .as_ref()
            .map(|at| at.resource_server.as_str()),
    );
    let mut wanted = if named.is_empty() {
        covered.iter()
    } else {
        named.iter()
    };
    let name = match (wanted.next(), wanted.next()) {
        (Some(name), None) if covered.contains(name) => name,
        (Some(_), Some(_)) => {
            return Err(Refusal::parameter(Reason::TargetAmbiguous, "resource")
                .permitted(uris(&covered, snapshot)));
        }
        _ => {
            let asked: Vec<&str> = request
                .resources
                .iter()
                .chain(&request.audiences)
                .map(String::as_str)
                .collect();
            return Err(Refusal::parameter(Reason::TargetNotGranted, "resource")
                .received(asked)
                .permitted(uris(&covered, snapshot)));
        }
    };
    snapshot
        .resource_server(name)
        .cloned()
        .ok_or(Refusal::parameter(Reason::TargetUnknown, "resource"))
}

/// The resource URIs of these resource servers. Rules that match cover them, so a request for one
/// would be granted.
fn uris(names: &BTreeSet<&str>, snapshot: &Snapshot) -> Vec<String> {
    names
        .iter()
        .filter_map(|name| Some(snapshot.resource_server(name)?.resource.clone()))
        .collect()
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
    request: &'s AccessRequest,
) -> Result<BTreeSet<&'s str>, Refusal> {
    let unknown = |parameter, sent: &str| {
        Refusal::parameter(Reason::TargetUnknown, parameter)
            .received(sent)
            .noting(|facts| facts.nearest = nearest(snapshot, sent))
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

/// The resource URI that differs from `sent` in letter case, a trailing slash, the scheme
/// or the default port, or else by the fewest typing mistakes. Resource URIs are in every token, so
/// naming one reveals nothing.
fn nearest(snapshot: &Snapshot, sent: &str) -> Option<String> {
    let sent = loose(sent);
    let enabled = snapshot.resource_servers().filter(|server| server.enabled);
    let mut uris = enabled.map(|server| &server.resource);
    let mut compared: Vec<(&String, String)> = Vec::new();
    let same = uris.find(|uri| {
        let other = loose(uri);
        let same = other == sent;
        if compared.len() < MAX_COMPARED && other.len().abs_diff(sent.len()) <= MAX_MISTAKES {
            compared.push((uri, other));
        }
        same
    });
    if same.is_some() || sent.len() > MAX_COMPARED_BYTES {
        return same.cloned();
    }
    // A short name with three mistakes is another name.
    let most = MAX_MISTAKES.min(sent.len() / 4);
    let mistakes = compared
        .into_iter()
        .map(|(uri, other)| (strsim::osa_distance(&other, &sent), uri));
    let (mistakes, uri) = mistakes.min_by_key(|(mistakes, _)| *mistakes)?;
    (mistakes <= most).then(|| uri.clone())
}

/// Host and path in lower case, without scheme, default port and trailing slash.
fn loose(uri: &str) -> String {
    let lower = uri.trim().to_ascii_lowercase();
    let (_, rest) = lower.split_once("//").unwrap_or(("", &lower));
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    let host = host.strip_suffix(":443").unwrap_or(host);
    format!("{host}/{}", path.trim_end_matches('/'))
}
