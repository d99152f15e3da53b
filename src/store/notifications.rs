//! The queue of messages to webhooks: what each webhook was told already, what waits, and how
//! deliveries went. Nothing here is written while a token is issued.

mod events;
mod rules;

use carnet_entity::{notification, notification_delivery};
use sea_orm::{
    ActiveValue::Set, ColumnTrait as _, ConnectionTrait as _, DatabaseTransaction,
    EntityTrait as _, PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};
use uuid::Uuid;

pub use self::events::{EventsRead, SeenEvent};
pub use self::rules::RuleDate;
use super::objects::{StoredNotification, of_row};
use super::{Store, StoreError};
use crate::clock::Timestamp;
use crate::ids::{self, NotificationId};

/// Most messages that wait for one webhook (`docs/src/reference/limits.md`).
const MAX_WAITING: u64 = 1_000;
/// Most webhooks that one look for due messages returns.
const DUE_AT_ONCE: u64 = 100;
/// How long a cause is remembered after it may be told of again, in seconds: the events of before
/// are looked through once more after a restart.
const CAUSES_KEPT_SECONDS: i64 = 2 * 86_400;

/// A message for one webhook, before it is queued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewMessage {
    pub notification: NotificationId,
    /// The identity of the cause: while it is remembered, further messages of it are left out.
    pub cause: [u8; 32],
    /// When the cause occurred.
    pub at: Timestamp,
    /// Until when the webhook is not told of the cause again.
    pub until: Timestamp,
    /// The message, as JSON.
    pub body: String,
}

/// A message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingMessage {
    pub id: Uuid,
    pub body: String,
    pub created_at: Timestamp,
    /// Attempts that failed.
    pub attempts: u32,
}

/// The result of queueing messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Queued {
    pub added: usize,
    /// Messages that were dropped because too many wait for their webhook.
    pub dropped: usize,
}

/// What becomes of a webhook and a message after a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FailedAttempt {
    /// Failed attempts of the message, this one included.
    pub attempts: u32,
    /// When the message is due again; `None` if it is given up.
    pub next_at: Option<Timestamp>,
}

impl Store {
    /// Whether any notification is enabled.
    pub async fn has_notifications(&self) -> Result<bool, StoreError> {
        let first = notification::Entity::find()
            .filter(notification::Column::Enabled.eq(true))
            .select_only()
            .column(notification::Column::Id)
            .into_tuple::<Uuid>()
            .one(&self.read)
            .await?;
        Ok(first.is_some())
    }

    /// The enabled notifications of these principals, by name, and of the operator.
    pub async fn notifications_of(
        &self,
        principals: impl IntoIterator<Item = String>,
    ) -> Result<Vec<StoredNotification>, StoreError> {
        let owners: Vec<String> = principals.into_iter().chain([String::new()]).collect();
        let mut found = Vec::new();
        // The number of parameters of a statement is limited.
        for some in owners.chunks(500) {
            let rows = notification::Entity::find()
                .filter(notification::Column::Enabled.eq(true))
                .filter(notification::Column::Owner.is_in(some))
                .all(&self.read)
                .await?;
            found.extend(rows.into_iter().map(of_row));
        }
        found.into_iter().collect()
    }

    /// Queues messages whose cause the webhook was not told of within its time.
    pub async fn queue_messages(
        &self,
        messages: &[NewMessage],
        now: Timestamp,
    ) -> Result<Queued, StoreError> {
        let mut queued = Queued::default();
        if messages.is_empty() {
            return Ok(queued);
        }
        let transaction = self.begin().await?;
        for message in messages {
            if !self.begin_cause(&transaction, message).await? {
                continue;
            }
            let waiting = notification_delivery::Entity::find()
                .filter(notification_delivery::Column::NotificationId.eq(message.notification.0))
                .count(&transaction)
                .await?;
            if waiting >= MAX_WAITING {
                queued.dropped = queued.dropped.saturating_add(1);
                continue;
            }
            let row = notification_delivery::ActiveModel {
                id: Set(ids::new(now)),
                notification_id: Set(message.notification.0),
                body: Set(message.body.clone()),
                created_at: Set(now.millis()),
                attempts: Set(0),
                next_at: Set(now.millis()),
            };
            notification_delivery::Entity::insert(row)
                .exec_without_returning(&transaction)
                .await?;
            queued.added = queued.added.saturating_add(1);
        }
        transaction.commit().await?;
        Ok(queued)
    }

    /// Remembers a cause; `false` if the webhook was told of it within its time, or is gone.
    async fn begin_cause(
        &self,
        transaction: &DatabaseTransaction,
        message: &NewMessage,
    ) -> Result<bool, StoreError> {
        let sql = "INSERT INTO notification_cause (notification_id, cause, until) \
                   SELECT id, $2, $3 FROM notification WHERE id = $1 \
                   ON CONFLICT (notification_id, cause) DO UPDATE SET until = excluded.until \
                   WHERE notification_cause.until <= $4";
        let values = [
            message.notification.0.into(),
            message.cause.to_vec().into(),
            message.until.millis().into(),
            message.at.millis().into(),
        ];
        let begun = transaction.execute_raw(self.statement(sql, values)).await?;
        Ok(begun.rows_affected() == 1)
    }

    /// The webhooks with a due message that no replica delivers to now, each with its owner, where
    /// the webhook and its principal are enabled: those of the operator, then those of principals, which were delivered to the longest
    /// ago first. Of a principal there are as many as it may still be delivered to at once, so that
    /// one with many webhooks takes no place of others.
    pub async fn due_notifications(
        &self,
        now: Timestamp,
        most_of_principal: usize,
    ) -> Result<Vec<(NotificationId, String)>, StoreError> {
        let sql = format!(
            "SELECT id, owner FROM (SELECT n.id, n.owner, n.busy_until, \
               ROW_NUMBER() OVER (PARTITION BY n.owner ORDER BY n.busy_until, n.id) AS place, \
               (SELECT COUNT(*) FROM notification b WHERE b.owner = n.owner AND b.busy_until > $1) AS busy \
               FROM notification n WHERE n.enabled AND n.retry_at <= $1 AND n.busy_until <= $1 \
               AND (n.owner = '' OR EXISTS (SELECT 1 FROM principal p WHERE p.name = n.owner AND p.enabled)) \
               AND EXISTS (SELECT 1 FROM notification_delivery d WHERE d.notification_id = n.id AND d.next_at <= $1)) due \
             WHERE owner = '' OR place + busy <= {most_of_principal} \
             ORDER BY CASE WHEN owner = '' THEN 0 ELSE 1 END, busy_until, id LIMIT {DUE_AT_ONCE}"
        );
        let rows = self
            .read
            .query_all_raw(self.statement(&sql, [now.millis().into()]))
            .await?;
        let due = rows.iter().map(|row| {
            Ok((
                NotificationId(row.try_get_by_index(0)?),
                row.try_get_by_index(1)?,
            ))
        });
        due.collect::<Result<_, sea_orm::DbErr>>()
            .map_err(StoreError::from)
    }

    /// Claims a webhook for this replica until a time; `false` if another one delivers to it.
    pub async fn claim_notification(
        &self,
        id: NotificationId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let sql = "UPDATE notification SET busy_until = $1 WHERE id = $2 AND busy_until <= $3 AND retry_at <= $3";
        let values = [until.millis().into(), id.0.into(), now.millis().into()];
        let claimed = self.write.execute_raw(self.statement(sql, values)).await?;
        Ok(claimed.rows_affected() == 1)
    }

    /// Ends the claim of these times, unless another replica has claimed the webhook since. When it
    /// began remains in `busy_until`, for the order of [`due_notifications`](Self::due_notifications).
    pub async fn release_notification(
        &self,
        id: NotificationId,
        (began, until): (Timestamp, Timestamp),
    ) -> Result<(), StoreError> {
        let sql = "UPDATE notification SET busy_until = $3 WHERE id = $1 AND busy_until = $2";
        let values = [id.0.into(), until.millis().into(), began.millis().into()];
        self.write.execute_raw(self.statement(sql, values)).await?;
        Ok(())
    }

    /// The next due message of a webhook: those that failed less often come first, so that one that
    /// the receiver never accepts does not hold up the others.
    pub async fn next_message(
        &self,
        id: NotificationId,
        now: Timestamp,
    ) -> Result<Option<WaitingMessage>, StoreError> {
        let row = notification_delivery::Entity::find()
            .filter(notification_delivery::Column::NotificationId.eq(id.0))
            .filter(notification_delivery::Column::NextAt.lte(now.millis()))
            .order_by_asc(notification_delivery::Column::Attempts)
            .order_by_asc(notification_delivery::Column::Id)
            .one(&self.read)
            .await?;
        Ok(row.map(|row| WaitingMessage {
            id: row.id,
            body: row.body,
            created_at: Timestamp::from_millis(row.created_at),
            attempts: u32::try_from(row.attempts).unwrap_or_default(),
        }))
    }

    /// Notes that the receiver accepted a message, which then no longer waits. A test message was
    /// never queued.
    pub async fn note_delivered(
        &self,
        id: NotificationId,
        message: Option<Uuid>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        if let Some(message) = message {
            notification_delivery::Entity::delete_by_id(message)
                .exec(&transaction)
                .await?;
        }
        // A receiver that is back gets what waits for it now. One message alone that it refuses again
        // and again keeps its own pace.
        let sql = "UPDATE notification_delivery SET next_at = $1 WHERE notification_id = $2 AND next_at > $1 \
                   AND (SELECT failures FROM notification WHERE id = $2) >= 2";
        transaction
            .execute_raw(self.statement(sql, [now.millis().into(), id.0.into()]))
            .await?;
        let sql = "UPDATE notification SET last_delivered_at = $1, last_error = NULL, failing_since = NULL, \
                   failures = 0, retry_at = 0 WHERE id = $2";
        transaction
            .execute_raw(self.statement(sql, [now.millis().into(), id.0.into()]))
            .await?;
        Ok(transaction.commit().await?)
    }

    /// Notes a failed attempt: message and webhook wait until their next one, or the message is
    /// given up. `pause` is how long the webhook waits after this number of failures.
    pub async fn note_failed(
        &self,
        id: NotificationId,
        (message, failed): (Uuid, &FailedAttempt),
        error: &str,
        now: Timestamp,
        pause: impl Fn(u32) -> i64 + Send,
    ) -> Result<(), StoreError> {
        let transaction = self.begin().await?;
        match failed.next_at {
            None => {
                notification_delivery::Entity::delete_by_id(message)
                    .exec(&transaction)
                    .await?;
            }
            Some(next_at) => {
                let attempts = i32::try_from(failed.attempts).unwrap_or(i32::MAX);
                let sql =
                    "UPDATE notification_delivery SET attempts = $1, next_at = $2 WHERE id = $3";
                let values = [attempts.into(), next_at.millis().into(), message.into()];
                transaction.execute_raw(self.statement(sql, values)).await?;
            }
        }
        let row = notification::Entity::find_by_id(id.0)
            .one(&transaction)
            .await?;
        if let Some(row) = row {
            let failures = row.failures.saturating_add(1);
            let pause = pause(u32::try_from(failures).unwrap_or(u32::MAX));
            let sql = "UPDATE notification SET last_error = $1, failing_since = COALESCE(failing_since, $2), \
                       failures = $3, retry_at = $4 WHERE id = $5";
            let values = [
                error.into(),
                now.millis().into(),
                failures.into(),
                now.plus_seconds(pause).millis().into(),
                id.0.into(),
            ];
            transaction.execute_raw(self.statement(sql, values)).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Notes a test message that failed. It was never queued, and changes nothing for those that are.
    pub async fn note_test_failed(
        &self,
        id: NotificationId,
        error: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let sql = "UPDATE notification SET last_error = $1, failing_since = COALESCE(failing_since, $2) \
                   WHERE id = $3";
        let values = [error.into(), now.millis().into(), id.0.into()];
        self.write.execute_raw(self.statement(sql, values)).await?;
        Ok(())
    }

    /// Removes messages that were queued before a time, and causes that are long over. Returns how
    /// many messages were removed.
    pub async fn prune_notifications(
        &self,
        queued_before: Timestamp,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let given_up = notification_delivery::Entity::delete_many()
            .filter(notification_delivery::Column::CreatedAt.lt(queued_before.millis()))
            .exec(&self.write)
            .await?;
        let over = now.plus_seconds(CAUSES_KEPT_SECONDS.saturating_neg());
        let sql = "DELETE FROM notification_cause WHERE until < $1";
        self.write
            .execute_raw(self.statement(sql, [over.millis().into()]))
            .await?;
        Ok(given_up.rows_affected)
    }
}
