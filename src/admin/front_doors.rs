//! Checks front doors against the trusted issuers that they accept, whichever of the two is saved.

use crate::app::App;
use crate::documents::{
    ResourceServerDocument, TrustedIssuerDocument, door_conflicts, no_issuer_at_door, own_audiences,
};
use crate::store::StoreError;
use crate::trust::DocumentError;

/// The mistakes of a front door beside the trusted issuers that there are. The names of trusted
/// issuers are written as these have them.
pub(super) async fn problems_of(
    document: &mut ResourceServerDocument,
    app: &App,
) -> Result<Vec<DocumentError>, StoreError> {
    let Some(door) = &mut document.front_door else {
        return Ok(Vec::new());
    };
    let issuers = app.store.all_objects::<TrustedIssuerDocument>().await?;
    let mut problems = Vec::new();
    for (at, name) in door.trusted_issuers.iter_mut().flatten().enumerate() {
        match issuers
            .iter()
            .find(|one| one.name.eq_ignore_ascii_case(name))
        {
            Some(found) => name.clone_from(&found.name),
            None => problems.push(no_issuer_at_door(at, name)),
        }
    }
    let named = issuers.iter().map(|one| (one.name.as_str(), &one.document));
    let conflicts = door_conflicts(document, named, app.context());
    if conflicts.is_empty() {
        problems.extend(own_audiences(document, app.context()));
    }
    problems.extend(conflicts);
    Ok(problems)
}

/// The mistakes by which a trusted issuer that is saved under this name conflicts with front doors
/// that accept its assertions.
pub(super) async fn in_conflict(
    document: &TrustedIssuerDocument,
    app: &App,
    name: &str,
) -> Result<Vec<DocumentError>, StoreError> {
    let mut servers = app.store.all_objects::<ResourceServerDocument>().await?;
    servers.retain(|server| server.document.front_door.is_some());
    if servers.is_empty() {
        return Ok(Vec::new());
    }
    let stored = app.store.all_objects::<TrustedIssuerDocument>().await?;
    let mut issuers: Vec<(&str, &TrustedIssuerDocument)> = vec![(name, document)];
    for other in &stored {
        if !other.name.eq_ignore_ascii_case(name) {
            issuers.push((&other.name, &other.document));
        }
    }
    let mut problems = Vec::new();
    for server in &servers {
        for conflict in door_conflicts(&server.document, issuers.iter().copied(), app.context()) {
            let pointer = if conflict.pointer.ends_with("/audiences") {
                "/audiences"
            } else {
                "/issuer"
            };
            let detail = format!(
                "must fit the front door of resource server {}, whose {} {}",
                server.name, conflict.pointer, conflict.detail
            );
            problems.push(DocumentError::new(pointer, detail));
        }
    }
    Ok(problems)
}
