//! Sending what is queued. A webhook is claimed in the database before anything is sent to it, so
//! one replica delivers to it at a time, one message after the other. After a failure the webhook
//! waits, and every message for it: a dead receiver costs one attempt in that time, however many
//! messages it has.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::message::is_enabled;
use super::send::send;
use crate::app::App;
use crate::clock::Timestamp;
use crate::ids::NotificationId;
use crate::store::{FailedAttempt, StoreError, WaitingMessage};

/// Interval at which the queue is looked at.
const POLL: Duration = Duration::from_secs(1);
/// How long a claim lasts, in seconds. A replica that ends meanwhile leaves it behind.
const CLAIM_SECONDS: i64 = 60;
/// How long one claim is used to send further messages. With the last attempt, which takes 10
/// seconds at most, it is shorter than the claim.
const USE_CLAIM: Duration = Duration::from_secs(30);
/// Most webhooks that are delivered to at once, of all principals together, and of one principal:
/// slow receivers of one owner must not hold up those of others. The rest of the places is kept for
/// the operator, which has as many webhooks at most.
const MOST_AT_ONCE: usize = 64;
const MOST_OF_PRINCIPALS: usize = 54;
const MOST_OF_PRINCIPAL: usize = 2;
/// An attempt that takes longer ends the use of a claim, so that slow receivers take turns with
/// others.
const SLOW: Duration = Duration::from_secs(3);
/// The pause after the first failure, in seconds; it doubles with each further one, up to the
/// longest.
const FIRST_PAUSE: i64 = 30;
const LONGEST_PAUSE: i64 = 6 * 3600;
/// How long a message is tried, in seconds. Then it is given up.
pub(super) const TRIED_SECONDS: i64 = 3 * 86_400;

/// Delivers queued messages until the server ends.
pub async fn deliver(app: Arc<App>) {
    let mut running: JoinSet<String> = JoinSet::new();
    let mut of_owner: HashMap<String, usize> = HashMap::new();
    loop {
        tokio::time::sleep(POLL).await;
        while let Some(ended) = running.try_join_next() {
            match ended {
                Ok(owner) => {
                    if let Some(count) = of_owner.get_mut(&owner) {
                        *count = count.saturating_sub(1);
                    }
                }
                // Whose it was is lost with it; none of them can be counted any longer.
                Err(_) => of_owner.clear(),
            }
        }
        of_owner.retain(|_, count| *count > 0);
        let beginning = begin(&app, &mut running, &mut of_owner);
        if let Err(error) = app.store.unless_lost(beginning).await {
            tracing::warn!(%error, "messages to webhooks cannot be read");
        }
    }
}

/// Begins to deliver to the webhooks that have something due, as far as there is room.
async fn begin(
    app: &Arc<App>,
    running: &mut JoinSet<String>,
    of_owner: &mut HashMap<String, usize>,
) -> Result<(), StoreError> {
    let now = app.clock.now();
    let due = app.store.due_notifications(now, MOST_OF_PRINCIPAL);
    for (id, owner) in due.await? {
        if !has_room(&owner, running.len(), of_owner) {
            continue;
        }
        let until = now.plus_seconds(CLAIM_SECONDS);
        if app.store.claim_notification(id, now, until).await? {
            let count = of_owner.entry(owner.clone()).or_default();
            *count = count.saturating_add(1);
            let app = app.clone();
            running.spawn(async move {
                if let Err(error) = deliver_to(&app, id, (now, until)).await {
                    tracing::warn!(notification = %id, %error, "deliveries cannot be noted");
                }
                owner
            });
        }
    }
    Ok(())
}

/// Whether another delivery for this owner may begin beside those that run.
fn has_room(owner: &str, running: usize, of_owner: &HashMap<String, usize>) -> bool {
    if running >= MOST_AT_ONCE {
        return false;
    }
    let of = |owner: &str| of_owner.get(owner).copied().unwrap_or_default();
    let of_principals = running.saturating_sub(of(""));
    owner.is_empty() || (of_principals < MOST_OF_PRINCIPALS && of(owner) < MOST_OF_PRINCIPAL)
}

/// Sends due messages to one webhook, which is claimed between two times, until none is left, one
/// fails or takes long, or the claim nears its end.
async fn deliver_to(
    app: &App,
    id: NotificationId,
    claim: (Timestamp, Timestamp),
) -> Result<(), StoreError> {
    let began = Instant::now();
    while began.elapsed() < USE_CLAIM {
        // Read again for each message: the webhook may have been changed or removed, and it or its
        // principal disabled.
        let found = app.store.notifications_called(&id.to_string()).await?;
        let rules = app.rules();
        let Some(stored) = found.into_iter().find(|found| is_enabled(&rules, found)) else {
            break;
        };
        let Some(waiting) = app.store.next_message(id, app.clock.now()).await? else {
            break;
        };
        let sent = Instant::now();
        let tried = send(app, &stored, waiting.id, &waiting.body).await;
        let now = app.clock.now();
        match tried.error {
            None => {
                metrics::counter!("carnet_notifications_delivered_total").increment(1);
                app.store.note_delivered(id, Some(waiting.id), now).await?;
            }
            Some(error) => {
                note_failed(app, id, &waiting, &error, now).await?;
                break;
            }
        }
        if sent.elapsed() > SLOW {
            break;
        }
    }
    app.store.release_notification(id, claim).await
}

async fn note_failed(
    app: &App,
    id: NotificationId,
    waiting: &WaitingMessage,
    error: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    metrics::counter!("carnet_notifications_failed_total").increment(1);
    let attempts = waiting.attempts.saturating_add(1);
    let next_at = now.plus_seconds(pause_after(attempts));
    let is_over = next_at.seconds_since(waiting.created_at) > TRIED_SECONDS;
    if is_over {
        dropped("given_up", 1);
    }
    tracing::info!(notification = %id, attempts, error, given_up = is_over, "a message was not delivered");
    let failed = FailedAttempt {
        attempts,
        next_at: (!is_over).then_some(next_at),
    };
    app.store
        .note_failed(id, (waiting.id, &failed), error, now, pause_after)
        .await
}

/// Counts messages that are never delivered.
pub(super) fn dropped(word: &'static str, count: u64) {
    metrics::counter!("carnet_notifications_dropped_total", "why" => word).increment(count);
}

/// The pause after this number of failures, in seconds.
fn pause_after(failures: u32) -> i64 {
    let doubled = 1i64
        .checked_shl(failures.saturating_sub(1).min(20))
        .unwrap_or(i64::MAX);
    FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_from_half_a_minute_to_six_hours() {
        let pauses: Vec<i64> = (1..=11).map(pause_after).collect();
        assert_eq!(
            pauses,
            [30, 60, 120, 240, 480, 960, 1920, 3840, 7680, 15360, 21600]
        );
        assert_eq!(pause_after(0), 30);
        assert_eq!(pause_after(u32::MAX), LONGEST_PAUSE);
    }
}
