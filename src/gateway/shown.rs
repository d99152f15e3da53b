//! Packages and publications as JSON, for operators and for readers of provenance.

use serde_json::{Value, json};

use crate::store::{PackageRecord, Publication};

/// A package, with the members of `docs/src/reference/gateway.md`.
pub fn shown_package(record: &PackageRecord) -> Value {
    json!({
        "registry": record.registry,
        "package": record.name,
        "spelled": record.spelled,
        "state": record.state.as_str(),
        "owner": record.owner.as_ref().map(|owner| owner.name.as_str()),
        "trusted_only": record.trusted_only,
        "open": record.open,
        "since": record.since.to_string(),
        "token_id": record.token_id,
        "principal": record.principal,
        "credential": record.credential,
    })
}

/// A publication, with the members of `docs/src/reference/gateway.md`.
pub fn shown_publication(publication: &Publication) -> Value {
    let settled_at = publication.settled_at.map(|at| at.to_string());
    json!({
        "id": publication.id,
        "at": publication.created_at.to_string(),
        "state": publication.state.as_str(),
        "settled_at": settled_at,
        "settled_by_operator": publication.by_operator,
        "unclear": publication.unclear_why,
        "registry": publication.registry,
        "package": publication.package,
        "spelled": publication.spelled,
        "version": publication.version,
        "file": publication.file,
        "digest": publication.digest,
        "operation": publication.operation,
        "owner": publication.owner.as_ref().map(|owner| owner.name.as_str()),
        "principal": publication.principal.as_ref().map(|principal| principal.name.as_str()),
        "credential": publication.credential,
        "revision": publication.revision,
        "token_id": publication.token_id,
        "client_id": publication.client_id,
        "workload": publication.workload,
        "passthrough": publication.passthrough,
        "user": publication.passthrough_user,
        "address": publication.address,
    })
}
