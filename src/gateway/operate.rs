//! What changes the records: the outcomes that the gateway reports, and what operators do.

use carnet_gateway::Outcome;

use super::events::Events;
use crate::app::App;
use crate::ids::PublicationId;
use crate::store::{
    NotChanged, PackageChange, PackageChanged, Publication, PublicationState, StoreError, Subject,
};

/// After this time no gateway is still forwarding a publication, in seconds: an operator may then
/// settle what a gateway left behind. The gateway ends what takes longer.
const LONGEST_FORWARD_SECONDS: i64 = 3600;

/// Records the outcome of a publication, with its audit event. `None`, and nothing is recorded, if
/// there is no open publication of this id.
pub(super) async fn settle(
    app: &App,
    id: PublicationId,
    outcome: &Outcome,
    by_operator: bool,
) -> Result<Option<Publication>, StoreError> {
    let Some(publication) = app.store.publication(id).await? else {
        return Ok(None);
    };
    let event = Events::of(app).settled(&publication, outcome, by_operator);
    // Refusals by the registry are counted in one event if they are equal, which the queue does.
    let is_queued = event.fold.is_some();
    let recorded = app
        .store
        .settle_publication(
            id,
            outcome,
            by_operator,
            Some(&event).filter(|_| !is_queued),
            app.clock.now(),
        )
        .await?;
    if !recorded {
        return Ok(None);
    }
    let word = match outcome {
        Outcome::Accepted => "published",
        Outcome::Refused { .. } => "refused",
        Outcome::Unclear { .. } => "unclear",
    };
    metrics::counter!("carnet_gateway_publications_total", "outcome" => word).increment(1);
    tracing::info!(
        event = %event.id,
        publication = %id,
        registry = publication.registry,
        package = publication.spelled,
        version = publication.version,
        operation = publication.operation,
        by_operator,
        outcome = word,
        "publication settled"
    );
    if is_queued {
        app.audit(event);
    }
    Ok(Some(publication))
}

/// What an operator's word for a publication came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettledByOperator {
    Settled,
    /// There is no publication of this id, or it is settled already.
    NotOpen,
    /// A gateway may still be forwarding it.
    MayBeForwarded,
}

/// Settles a publication because an operator looked into the registry.
pub async fn settle_by_operator(
    app: &App,
    id: PublicationId,
    is_published: bool,
) -> Result<SettledByOperator, StoreError> {
    let Some(publication) = app.store.publication(id).await? else {
        return Ok(SettledByOperator::NotOpen);
    };
    let age = app.clock.now().seconds_since(publication.created_at);
    if publication.state == PublicationState::UnderWay && age < LONGEST_FORWARD_SECONDS {
        return Ok(SettledByOperator::MayBeForwarded);
    }
    let outcome = if is_published {
        Outcome::Accepted
    } else {
        Outcome::Refused { status: None }
    };
    let settled = settle(app, id, &outcome, true).await?;
    Ok(match settled {
        Some(_) => SettledByOperator::Settled,
        None => SettledByOperator::NotOpen,
    })
}

/// Changes owners and switches of packages, all or none, each with its audit event. An error comes
/// with the index of its change.
pub async fn change_packages(
    app: &App,
    changes: &[(Subject, PackageChange)],
) -> Result<Vec<PackageChanged>, (usize, NotChanged)> {
    let events = Events::of(app);
    app.store
        .change_packages(changes, app.clock.now(), &|changed| events.changed(changed))
        .await
}
