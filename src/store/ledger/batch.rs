//! Decides for each request of a batch whether it is stale, replayed or issued. No request affects
//! another one.

use std::collections::{BTreeMap, BTreeSet};

use carnet_entity::consumed;
use sea_orm::{ColumnTrait as _, DatabaseTransaction, DbErr, EntityTrait as _, QueryFilter as _};

use super::{Issuance, Written, rows};
use crate::assertion::SingleUseKey;
use crate::documents::Kind;
use crate::store::{ChangeKind, StoreError, changes};

/// How used assertions are inserted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recording {
    /// Expect that all are new. The number of inserted rows tells, without reading them back.
    AllNew,
    /// Read back which of them are new.
    EachByItself,
}

/// The requests of one transaction, with the result of each.
pub(super) struct Batch<'a> {
    issuances: &'a [&'a Issuance],
    committed: Vec<Written>,
}

impl<'a> Batch<'a> {
    pub(super) fn new(issuances: &'a [&'a Issuance]) -> Self {
        Self {
            issuances,
            committed: vec![Written::Issued; issuances.len()],
        }
    }

    /// Marks requests as stale whose callers have hung up.
    pub(super) fn set_aside(&mut self, is_given_up: impl Fn(usize) -> bool) {
        for at in (0..self.issuances.len()).filter(|at| is_given_up(*at)) {
            self.set(at, Written::Stale);
        }
    }

    /// Whether `holds` is true of any request that is still to be issued.
    pub(super) fn any_issued(&self, holds: impl Fn(usize) -> bool) -> bool {
        self.committed
            .iter()
            .enumerate()
            .any(|(at, written)| *written == Written::Issued && holds(at))
    }

    /// The results, in the order of the requests.
    pub(super) fn into_committed(self) -> Vec<Written> {
        self.committed
    }

    /// The requests that are still to be issued.
    pub(super) fn issued(&self) -> impl Iterator<Item = &'a Issuance> {
        self.issuances
            .iter()
            .zip(&self.committed)
            .filter(|(_, committed)| **committed == Written::Issued)
            .map(|(issuance, _)| *issuance)
    }

    fn set(&mut self, at: usize, committed: Written) {
        if let Some(slot) = self.committed.get_mut(at) {
            *slot = committed;
        }
    }

    /// Marks requests as stale whose dependencies changed since their rules were matched. Usually
    /// nothing changed, and one comparison of versions settles the whole batch.
    pub(super) async fn set_aside_stale(
        &mut self,
        transaction: &DatabaseTransaction,
    ) -> Result<(), StoreError> {
        let version = changes::version(transaction).await?;
        let Some(oldest) = self
            .issuances
            .iter()
            .map(|issuance| issuance.version)
            .min()
            .filter(|v| *v < version)
        else {
            return Ok(());
        };
        let about = changes::about(transaction, oldest, version).await?;
        for at in 0..self.issuances.len() {
            let Some(issuance) = self
                .issuances
                .get(at)
                .filter(|issuance| issuance.version < version)
            else {
                continue;
            };
            // The changes are numbered from `oldest`; those the issuance has seen are skipped.
            let seen =
                usize::try_from(issuance.version.saturating_sub(oldest)).unwrap_or(usize::MAX);
            let touched = about.as_ref().is_none_or(|about| {
                about
                    .iter()
                    .skip(seen)
                    .any(|(kind, key)| issuance.dependencies.include(*kind, key))
            });
            if touched {
                self.set(at, Written::Stale);
            }
        }
        Ok(())
    }

    /// Records the assertions as used, in the order of their keys, so that replicas cannot
    /// deadlock. `false` if [`Recording::AllNew`] was wrong; then the transaction has to be rolled
    /// back.
    pub(super) async fn consume(
        &mut self,
        transaction: &DatabaseTransaction,
        recording: Recording,
    ) -> Result<bool, DbErr> {
        let first = self.first_uses();
        match recording {
            _ if first.is_empty() => Ok(true),
            Recording::AllNew => rows::insert_new(transaction, &first).await,
            Recording::EachByItself => {
                let inserted = rows::insert_consumed(transaction, &first).await?;
                let used = |key: &SingleUseKey| !inserted.contains(key.as_bytes().as_slice());
                let replayed: BTreeSet<usize> = first
                    .iter()
                    .filter(|(key, _)| used(key))
                    .map(|(_, (at, ..))| *at)
                    .collect();
                for at in replayed {
                    // A request with one used assertion uses up none of its other assertions.
                    let others: Vec<SingleUseKey> = self
                        .keys_of(at)
                        .into_iter()
                        .filter(|key| !used(key))
                        .collect();
                    self.release(transaction, &others).await?;
                    self.set(at, Written::Replayed);
                }
                Ok(true)
            }
        }
    }

    /// Assigns each assertion to the first request of the batch that uses it. A request that uses
    /// several gets all of them or none.
    fn first_uses(&mut self) -> rows::AssertionsToRecord {
        let mut first = rows::AssertionsToRecord::new();
        for at in 0..self.issuances.len() {
            let issued = self.committed.get(at) == Some(&Written::Issued);
            let Some(issuance) = self.issuances.get(at).filter(|_| issued) else {
                continue;
            };
            let mut own = BTreeMap::new();
            let all_new = issuance.consumed.iter().all(|(key, until)| {
                !first.contains_key(key)
                    && own.insert(*key, (at, *until, issuance.event.id)).is_none()
            });
            if all_new {
                first.append(&mut own);
            } else {
                self.set(at, Written::Replayed);
            }
        }
        first
    }

    /// Pins the ids that a request needs, all of them or none. If another token has pinned them
    /// first, the request is stale: its assertions are released, and it has to be decided again.
    pub(super) async fn pin(
        &mut self,
        transaction: &DatabaseTransaction,
    ) -> Result<(), StoreError> {
        for (at, issuance) in self.issuances.iter().enumerate() {
            if issuance.pins.is_empty() || self.committed.get(at) != Some(&Written::Issued) {
                continue;
            }
            if !rows::pin(transaction, &issuance.pins).await? {
                self.give_back(transaction, at).await?;
                continue;
            }
            for pin in &issuance.pins {
                let kind = ChangeKind::Object(Kind::FederatedCredential);
                changes::record(transaction, kind, &pin.credential.to_string(), issuance.now)
                    .await?;
            }
        }
        Ok(())
    }

    /// Undoes the use of a request's assertions and marks it as stale.
    async fn give_back(
        &mut self,
        transaction: &DatabaseTransaction,
        at: usize,
    ) -> Result<(), DbErr> {
        let keys = self.keys_of(at);
        self.release(transaction, &keys).await?;
        self.set(at, Written::Stale);
        Ok(())
    }

    /// Makes assertions unused again. Requests of the batch that lost them to this one become stale
    /// instead of replayed, so that they are tried again.
    async fn release(
        &mut self,
        transaction: &DatabaseTransaction,
        keys: &[SingleUseKey],
    ) -> Result<(), DbErr> {
        if keys.is_empty() {
            return Ok(());
        }
        consumed::Entity::delete_many()
            .filter(consumed::Column::Key.is_in(keys.iter().map(|key| key.as_bytes().to_vec())))
            .exec(transaction)
            .await?;
        for other in 0..self.issuances.len() {
            let same = self.keys_of(other).iter().any(|key| keys.contains(key));
            if same && self.committed.get(other) == Some(&Written::Replayed) {
                self.set(other, Written::Stale);
            }
        }
        Ok(())
    }

    fn keys_of(&self, at: usize) -> Vec<SingleUseKey> {
        self.issuances
            .get(at)
            .into_iter()
            .flat_map(|issuance| &issuance.consumed)
            .map(|(key, _)| *key)
            .collect()
    }
}
