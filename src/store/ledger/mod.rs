//! The one durable write of an issued token, made before the token leaves.
//!
//! In one transaction: the assertion is recorded as used (if it was, nothing else happens), ids are pinned where none are, the
//! rules are found to be still the ones that were matched, and the audit event is written. Requests that arrive together
//! share one transaction and one flush to disk; what becomes of one never touches the others.

mod batch;
mod rows;
mod worker;

use std::sync::Arc;

use carnet_entity::consumed;
use sea_orm::{DbBackend, DbErr, EntityTrait as _};
use serde_json::{Map, Value};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{ChangeKind, Store, StoreError};
use crate::assertion::AssertionKey;
use crate::audit::AuditEvent;
use crate::clock::Timestamp;
use crate::documents::Kind;
use crate::ids::{CredentialId, EventId, TrustedIssuerId};

/// Requests that wait for a transaction; more are turned away.
const QUEUE: usize = 4096;
/// Transactions at a time: SQLite has one writer, PostgreSQL hides the way to its disk behind several.
const POSTGRES_WORKERS: usize = 4;

/// What has to be written for one token.
#[derive(Clone, Debug)]
pub struct Issuance {
    /// The keys of the assertions that are used up, and until when each has to be remembered. Assertions that may be used again have
    /// none.
    pub consumed: Vec<(AssertionKey, Timestamp)>,
    /// The version of the rules that were matched.
    pub version: i64,
    /// What the token rests on.
    pub dependencies: Dependencies,
    /// The ids to pin.
    pub pins: Vec<Pin>,
    /// What is kept of the token itself.
    pub token: TokenRecord,
    /// The audit event.
    pub event: AuditEvent,
    /// Now.
    pub now: Timestamp,
}

/// The objects a token rests on: if one of them changed, the rules have to be matched again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependencies {
    /// The trusted issuers.
    pub trusted_issuers: Vec<TrustedIssuerId>,
    /// The resource server, by name.
    pub resource_server: Option<String>,
    /// The federated credentials.
    pub credentials: Vec<CredentialId>,
    /// The principals, by name.
    pub principals: Vec<String>,
    /// The client, by name.
    pub client: Option<String>,
}

/// What is kept of a token beside its audit event: nothing of most.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TokenRecord {
    /// The tokens of ours that it was made from: its subject token and its actor token.
    pub exchanged: Vec<Exchanged>,
    /// What an opaque token stands for.
    pub opaque: Option<OpaqueRecord>,
}

/// A token that was made from another one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exchanged {
    /// Its `jti`.
    pub child: String,
    /// The `jti` of the token it was made from.
    pub parent: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// What an opaque token stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpaqueRecord {
    /// SHA-256 of the token.
    pub hash: [u8; 32],
    /// The claims that it would have as a JWT, as JSON.
    pub claims: String,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// Ids to pin for one federated credential.
#[derive(Clone, Debug, PartialEq)]
pub struct Pin {
    /// The credential.
    pub credential: CredentialId,
    /// The revision that was matched.
    pub revision: u32,
    /// The ids.
    pub ids: Map<String, Value>,
}

/// What a durable record was made of. Only this module makes one, so what needs a record before it may leave can ask for one.
#[derive(Debug, PartialEq, Eq)]
pub struct Recorded<T>(T);

impl<T> Recorded<T> {
    /// What was recorded.
    pub fn get(&self) -> &T {
        &self.0
    }
}

/// The use of an assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Use {
    /// The audit event of it, which holds its time, if it has one.
    pub event: Option<EventId>,
}

/// Result of committing one issuance.
#[derive(Debug, PartialEq, Eq)]
pub enum Committed<T> {
    /// It is on the disk: the token may leave.
    Issued(Recorded<T>),
    /// The assertion was used before.
    Replayed,
    /// Something that the token rests on changed: match again.
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

/// Where issuances are handed in.
#[derive(Clone, Debug)]
pub struct Ledger(mpsc::Sender<Request>);

impl Ledger {
    /// Starts the workers; they end with the last handle.
    pub fn start(store: &Store) -> Self {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let receiver = Arc::new(Mutex::new(receiver));
        let workers = if store.backend() == DbBackend::Sqlite { 1 } else { POSTGRES_WORKERS };
        for _ in 0..workers {
            tokio::spawn(worker::work(store.clone(), receiver.clone()));
        }
        Self(sender)
    }

    /// Writes the issuance of `token`; answers when it is durable, and gives the token back only if it may leave.
    ///
    /// # Errors
    ///
    /// If the database cannot be reached, or too many requests wait for it. Then nothing was written.
    pub async fn commit<T>(&self, issuance: Issuance, token: T) -> Result<Committed<T>, Arc<StoreError>> {
        let unavailable = |what: &str| Arc::new(StoreError::Unavailable(DbErr::Custom(what.to_owned())));
        let (answer, answered) = oneshot::channel();
        self.0
            .try_send(Request { issuance, answer })
            .map_err(|_| unavailable("too many requests wait for the database"))?;
        let outcome = answered.await.map_err(|_| unavailable("the writer is gone"))??;
        Ok(match outcome {
            Written::Issued => Committed::Issued(Recorded(token)),
            Written::Replayed => Committed::Replayed,
            Written::Stale => Committed::Stale,
        })
    }
}

impl Store {
    /// Writes the audit event of an admin token for our own command line, which uses nothing up and rests on nothing that may
    /// change.
    pub(crate) async fn record_local_token<T>(&self, event: &AuditEvent, token: T) -> Result<Recorded<T>, StoreError> {
        self.record(std::slice::from_ref(event), Timestamp::from_seconds(0)).await?;
        Ok(Recorded(token))
    }

    /// The use of an assertion, if a token was issued for it.
    pub async fn use_of(&self, key: &AssertionKey) -> Result<Option<Use>, StoreError> {
        let row = consumed::Entity::find_by_id(key.as_bytes().to_vec()).one(&self.read).await?;
        Ok(row.map(|row| Use { event: row.event_id.map(EventId) }))
    }
}

impl Dependencies {
    fn include(&self, kind: ChangeKind, key: &str) -> bool {
        match kind {
            ChangeKind::SigningKey => false,
            ChangeKind::Object(Kind::Client) => self.client.as_deref() == Some(key),
            ChangeKind::Object(Kind::TrustedIssuer) => self.trusted_issuers.iter().any(|id| id.to_string() == key),
            ChangeKind::Object(Kind::ResourceServer) => self.resource_server.as_deref() == Some(key),
            ChangeKind::Object(Kind::Principal) => self.principals.iter().any(|name| name == key),
            ChangeKind::Object(Kind::FederatedCredential) => {
                self.credentials.iter().any(|credential| credential.to_string() == key)
            }
        }
    }
}
