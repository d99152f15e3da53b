//! The one durable write of an issued token, made before the token leaves.
//!
//! In one transaction, the ledger checks that nothing the token rests on has changed since the
//! rules were matched, records the assertions as used (if one was used before, nothing else
//! happens), pins ids where none are pinned, and writes the audit event. Requests that arrive
//! together share one transaction and one flush to disk; the result of one never affects the
//! others. See `docs/src/explanation/single-use.md`.

mod batch;
mod rows;
mod worker;

use std::sync::Arc;

use carnet_entity::consumed;
use sea_orm::{DbBackend, DbErr, EntityTrait as _};
use serde_json::{Map, Value};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{ChangeKind, Store, StoreError};
use crate::assertion::SingleUseKey;
use crate::audit::AuditEvent;
use crate::clock::Timestamp;
use crate::documents::Kind;
use crate::ids::{CredentialId, EventId, MembershipId, TrustedIssuerId};

/// How many requests may wait for a transaction; further ones are refused.
const QUEUE: usize = 4096;
/// Concurrent transactions on PostgreSQL, to hide the latency of its disk. SQLite has one writer.
const POSTGRES_WORKERS: usize = 4;

/// Everything that has to be written for one token.
#[derive(Clone, Debug)]
pub struct Issuance {
    /// The keys of the assertions that are used up, each with the time until which it has to be
    /// remembered. Assertions without single use have no key.
    pub consumed: Vec<(SingleUseKey, Timestamp)>,
    /// The version of the snapshot that the decision was made on.
    pub version: i64,
    pub dependencies: Dependencies,
    pub pins: Vec<Pin>,
    pub token: TokenRecord,
    pub event: AuditEvent,
    pub now: Timestamp,
}

/// The objects that a token rests on: if one of them changes, the request has to be decided again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependencies {
    pub trusted_issuers: Vec<TrustedIssuerId>,
    /// The resource server, by name.
    pub resource_server: Option<String>,
    pub credentials: Vec<CredentialId>,
    /// The principals, by name.
    pub principals: Vec<String>,
    /// The client, by name.
    pub client: Option<String>,
    /// The memberships by which a person has a role.
    pub memberships: Vec<MembershipId>,
}

/// What is stored about a token beside its audit event. Most tokens have neither.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenRecord {
    /// The parents of the token: its subject token and its actor token, where this server issued
    /// them.
    pub exchanged: Vec<Exchanged>,
    /// The claims of an opaque token.
    pub opaque: Option<OpaqueRecord>,
}

/// A token that was issued in exchange for another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchanged {
    /// The `jti` of the issued token.
    pub child: String,
    /// The `jti` of the token that was exchanged.
    pub parent: String,
    /// When the child expires.
    pub expires_at: Timestamp,
}

/// The claims of an opaque token, found by its hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpaqueRecord {
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// The claims that it would have as a JWT, as JSON.
    pub claims: String,
    /// When the token expires.
    pub expires_at: Timestamp,
}

/// The ids to pin for one federated credential.
#[derive(Clone, Debug, PartialEq)]
pub struct Pin {
    pub credential: CredentialId,
    /// The revision that was matched. The pin fails if it changed.
    pub revision: u32,
    /// Values by the name of the id.
    pub ids: Map<String, Value>,
}

/// Something whose audit event is stored durably. Only this module constructs one, so a function
/// that takes it cannot be called too early.
#[derive(Debug, PartialEq, Eq)]
pub struct Recorded<T>(T);

impl<T> Recorded<T> {
    pub fn get(&self) -> &T {
        &self.0
    }
}

/// The recorded use of an assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// The audit event of the use, whose id holds its time. Uses by older releases, and uses
    /// without a token, have none.
    pub event: Option<EventId>,
}

/// Result of committing one issuance.
#[derive(Debug, PartialEq, Eq)]
pub enum Committed<T> {
    /// The record is durable: the token may leave.
    Issued(Recorded<T>),
    /// An assertion was used before.
    Replayed,
    /// Something that the token rests on changed: decide again.
    Stale,
}

/// Result of one issuance in its batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    Issued,
    Replayed,
    Stale,
}

type CommitResult = Result<Written, Arc<StoreError>>;

#[derive(Debug)]
struct Request {
    issuance: Issuance,
    answer: oneshot::Sender<CommitResult>,
}

/// Queues issuances for the workers that write them.
#[derive(Clone, Debug)]
pub struct Ledger(mpsc::Sender<Request>);

impl Ledger {
    /// Starts the workers. They end when the last clone of the handle is dropped.
    pub fn start(store: &Store) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let receiver = Arc::new(Mutex::new(receiver));
        let workers = if store.backend() == DbBackend::Sqlite {
            1
        } else {
            POSTGRES_WORKERS
        };
        for _ in 0..workers {
            tokio::spawn(worker::work(store.clone(), receiver.clone()));
        }
        Self(sender)
    }

    /// How many issuances wait for a worker.
    pub fn queue_length(&self) -> usize {
        self.0.max_capacity().saturating_sub(self.0.capacity())
    }

    /// Writes the issuance of `token`. Returns when it is durable, and gives the token back only if
    /// it may leave.
    ///
    /// # Errors
    ///
    /// If the database cannot be reached, or too many requests wait for it. Then nothing was
    /// written.
    pub async fn commit<T>(
        &self,
        issuance: Issuance,
        token: T,
    ) -> Result<Committed<T>, Arc<StoreError>> {
        let unavailable =
            |what: &str| Arc::new(StoreError::Unavailable(DbErr::Custom(what.to_owned())));
        let (answer, answered) = oneshot::channel();
        self.0
            .try_send(Request { issuance, answer })
            .map_err(|_| unavailable("too many requests wait for the database"))?;
        let outcome = answered
            .await
            .map_err(|_| unavailable("the writer is gone"))??;
        Ok(match outcome {
            Written::Issued => Committed::Issued(Recorded(token)),
            Written::Replayed => Committed::Replayed,
            Written::Stale => Committed::Stale,
        })
    }
}

impl Store {
    /// Records an admin token that a local command makes for itself. It uses up no assertion and
    /// depends on no object.
    pub(crate) async fn record_local_token<T>(
        &self,
        event: &AuditEvent,
        token: T,
    ) -> Result<Recorded<T>, StoreError> {
        self.record(std::slice::from_ref(event), Timestamp::from_seconds(0))
            .await?;
        Ok(Recorded(token))
    }

    /// The recorded use of an assertion, if there was one.
    pub async fn use_of(&self, key: &SingleUseKey) -> Result<Option<Use>, StoreError> {
        let row = consumed::Entity::find_by_id(key.as_bytes().to_vec())
            .one(&self.read)
            .await?;
        Ok(row.map(|row| Use {
            event: row.event_id.map(EventId),
        }))
    }
}

impl Dependencies {
    fn include(&self, kind: ChangeKind, key: &str) -> bool {
        match kind {
            ChangeKind::SigningKey | ChangeKind::Object(Kind::Notification) => false,
            ChangeKind::Object(Kind::Membership) => {
                self.memberships.iter().any(|id| id.to_string() == key)
            }
            // No token of a workload or a client rests on people.
            ChangeKind::Object(Kind::IdentityProvider) => !self.memberships.is_empty(),
            ChangeKind::Object(Kind::Client) => self.client.as_deref() == Some(key),
            ChangeKind::Object(Kind::TrustedIssuer) => {
                self.trusted_issuers.iter().any(|id| id.to_string() == key)
            }
            ChangeKind::Object(Kind::ResourceServer) => {
                self.resource_server.as_deref() == Some(key)
            }
            // The principals of all rules that a token rests on are among these.
            ChangeKind::RulesOfPrincipal | ChangeKind::Object(Kind::Principal) => {
                self.principals.iter().any(|name| name == key)
            }
            // A rule that only names the changed one as an actor still means the same.
            ChangeKind::RuleAndHolders | ChangeKind::Object(Kind::FederatedCredential) => self
                .credentials
                .iter()
                .any(|credential| credential.to_string() == key),
        }
    }
}
