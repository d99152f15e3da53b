//! The memory of the newest attested key sets.

use serde_json::json;

use super::{Author, Rejected};
use crate::app::App;
use crate::audit::{AuditEvent, Outcome};
use crate::model::TrustedIssuer;

/// Lets the source of a trusted issuer's keys go back to an older set, and records that.
///
/// # Errors
///
/// [`Rejected::Forbidden`] for an author who does not manage the server, and an error if the database
/// does not answer.
pub async fn forget_newest_keys(
    app: &App,
    issuer: &TrustedIssuer,
    author: &Author,
) -> Result<(), Rejected> {
    if !author.is_admin {
        return Err(Rejected::Forbidden);
    }
    app.upstream.forget_newest(issuer).await?;
    let detail = json!({
        "kind": "trusted issuer", "name": issuer.name, "forgot_newest_keys": true,
    });
    app.audit(AuditEvent {
        trusted_issuer: Some(issuer.name.clone()),
        detail: detail.to_string(),
        ..author.event(app.clock.now(), Outcome::Updated)
    });
    Ok(())
}
