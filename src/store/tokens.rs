//! What is stored about tokens: the claims of opaque tokens, the parents of exchanged ones, and
//! revocations.

use carnet_engine::own_token::Descent;
use carnet_entity::{consumed, exchanged_token, opaque_token, revoked_token};
use sea_orm::{ActiveValue::Set, DatabaseTransaction, DbErr, EntityTrait as _, TryInsertResult};

use super::ledger::TokenRecord;
use super::{Store, StoreError, audit};
use crate::assertion::SingleUseKey;
use crate::audit::AuditEvent;
use crate::clock::Timestamp;

/// Walks the line of descent of a token up to its first one: counts the exchanges, and the revoked
/// tokens in it.
const DESCENT: &str = "WITH RECURSIVE line(id, depth) AS (SELECT CAST($1 AS VARCHAR), 0 UNION \
                       SELECT exchanged_token.parent, line.depth + 1 \
                       FROM exchanged_token JOIN line ON exchanged_token.child = line.id) \
                       SELECT CAST(MAX(line.depth) AS BIGINT) AS depth, CAST(COUNT(revoked_token.token_id) AS BIGINT) AS revoked \
                       FROM line LEFT JOIN revoked_token ON revoked_token.token_id = line.id";

impl Store {
    /// The claims of an opaque token as JSON, found by the token's SHA-256.
    pub async fn opaque_claims(&self, hash: &[u8; 32]) -> Result<Option<String>, StoreError> {
        let row = opaque_token::Entity::find_by_id(hash.to_vec())
            .one(&self.read)
            .await?;
        Ok(row.map(|row| row.claims))
    }

    /// The line of descent of the token with this `jti`. Sessions are not looked at.
    pub async fn descent(&self, token_id: &str) -> Result<Descent, StoreError> {
        use sea_orm::ConnectionTrait as _;
        let row = self
            .read
            .query_one_raw(self.statement(DESCENT, [token_id.into()]))
            .await?;
        let (depth, revoked): (i64, i64) = match &row {
            Some(row) => (row.try_get("", "depth")?, row.try_get("", "revoked")?),
            None => (0, 0),
        };
        Ok(Descent {
            depth,
            is_revoked: revoked > 0,
            is_signed_in: false,
        })
    }

    /// Revokes the token with this `jti` and writes the audit event. Returns `false` and does
    /// nothing if it was revoked already.
    pub async fn revoke(
        &self,
        token_id: &str,
        expires_at: Timestamp,
        event: &AuditEvent,
    ) -> Result<bool, StoreError> {
        let transaction = self.begin().await?;
        let row = revoked_token::ActiveModel {
            token_id: Set(token_id.to_owned()),
            expires_at: Set(expires_at.millis()),
        };
        let inserted = revoked_token::Entity::insert(row)
            .on_conflict_do_nothing()
            .exec_without_returning(&transaction)
            .await?;
        let is_new = is_new(&inserted);
        if is_new {
            audit::insert(&transaction, &[event]).await?;
        }
        transaction.commit().await?;
        if is_new {
            event.log();
        }
        Ok(is_new)
    }

    /// Records an assertion or a proof of possession as used in a request that issues no token, such
    /// as introspection. `false` if it was used before.
    pub async fn consume(&self, key: &SingleUseKey, until: Timestamp) -> Result<bool, StoreError> {
        let row = consumed::ActiveModel {
            key: Set(key.as_bytes().to_vec()),
            expires_at: Set(until.millis()),
            event_id: Set(None),
        };
        let inserted = consumed::Entity::insert(row)
            .on_conflict_do_nothing()
            .exec_without_returning(&self.write)
            .await?;
        Ok(is_new(&inserted))
    }
}

/// Whether a row was inserted: with `ON CONFLICT DO NOTHING` an insertion succeeds with no row too.
fn is_new(inserted: &TryInsertResult<u64>) -> bool {
    matches!(inserted, TryInsertResult::Inserted(rows) if *rows > 0)
}

/// Inserts the parents of exchanged tokens and the claims of opaque ones. Most tokens have neither.
pub(super) async fn insert(
    transaction: &DatabaseTransaction,
    records: &[&TokenRecord],
) -> Result<(), DbErr> {
    let exchanged: Vec<_> = records
        .iter()
        .flat_map(|record| &record.exchanged)
        .map(|exchanged| exchanged_token::ActiveModel {
            child: Set(exchanged.child.clone()),
            parent: Set(exchanged.parent.clone()),
            expires_at: Set(exchanged.expires_at.millis()),
        })
        .collect();
    if !exchanged.is_empty() {
        exchanged_token::Entity::insert_many(exchanged)
            .exec_without_returning(transaction)
            .await?;
    }
    let opaque: Vec<_> = records
        .iter()
        .filter_map(|record| record.opaque.as_ref())
        .map(|opaque| opaque_token::ActiveModel {
            hash: Set(opaque.hash.to_vec()),
            claims: Set(opaque.claims.clone()),
            expires_at: Set(opaque.expires_at.millis()),
        })
        .collect();
    if !opaque.is_empty() {
        opaque_token::Entity::insert_many(opaque)
            .exec_without_returning(transaction)
            .await?;
    }
    Ok(())
}
