//! The one durable write of an issued token, made before the token leaves.
//!
//! In one transaction: the assertion is recorded as used (if it was, nothing else happens), ids are pinned where none are, the
//! rules are found to be still the ones that were matched, and the audit event is written. Requests that arrive together
//! share one transaction and one flush to disk; what becomes of one never touches the others.

mod batch;
mod rows;
mod worker;

use std::sync::Arc;

use carnet_entity::consumed_assertion;
use sea_orm::{DbBackend, DbErr, EntityTrait as _};
use serde_json::{Map, Value};
use tokio::sync::{Mutex, mpsc, oneshot};

use super::{ChangeKind, Store, StoreError};
use crate::assertion::AssertionKey;
use crate::audit::AuditEvent;
use crate::clock::Timestamp;
use crate::ids::{CredentialId, TrustedIssuerId};
use crate::objects::Kind;

/// Requests that wait for a transaction; more are turned away.
const QUEUE: usize = 4096;
/// Transactions at a time: SQLite has one writer, PostgreSQL hides the way to its disk behind several.
const POSTGRES_WORKERS: usize = 4;

/// What has to be written for one token.
#[derive(Clone, Debug)]
pub struct Issuance {
    /// The assertion's key, and until when it has to be remembered; none for assertions that may be used again.
    pub consumed: Option<(AssertionKey, Timestamp)>,
    /// The version of the rules that were matched.
    pub version: i64,
    /// What the token rests on.
    pub dependencies: Dependencies,
    /// The ids to pin.
    pub pins: Vec<Pin>,
    /// The audit event.
    pub event: AuditEvent,
    /// Now.
    pub now: Timestamp,
}

/// The objects a token rests on: if one of them changed, the rules have to be matched again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dependencies {
    /// The trusted issuer.
    pub trusted_issuer: Option<TrustedIssuerId>,
    /// The resource server, by name.
    pub resource_server: String,
    /// The federated credentials.
    pub credentials: Vec<CredentialId>,
    /// The principals, by name.
    pub principals: Vec<String>,
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

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Committed {
    /// It is on the disk: the token may leave.
    Issued,
    /// The assertion was used before.
    Replayed,
    /// Something that the token rests on changed: match again.
    Stale,
}

type Answer = Result<Committed, Arc<StoreError>>;

#[derive(Debug)]
struct Request {
    issuance: Issuance,
    answer: oneshot::Sender<Answer>,
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

    /// Writes an issuance; answers when it is durable.
    ///
    /// # Errors
    ///
    /// If the database cannot be reached, or too many requests wait for it. Then nothing was written.
    pub async fn commit(&self, issuance: Issuance) -> Answer {
        let unavailable = |what: &str| Arc::new(StoreError::Unavailable(DbErr::Custom(what.to_owned())));
        let (answer, answered) = oneshot::channel();
        self.0
            .try_send(Request { issuance, answer })
            .map_err(|_| unavailable("too many requests wait for the database"))?;
        answered.await.map_err(|_| unavailable("the writer is gone"))?
    }
}

impl Store {
    /// Whether a token was issued for an assertion.
    pub async fn is_consumed(&self, key: &AssertionKey) -> Result<bool, StoreError> {
        let row = consumed_assertion::Entity::find_by_id(key.as_bytes().to_vec()).one(&self.read).await?;
        Ok(row.is_some())
    }
}

impl Dependencies {
    fn include(&self, kind: ChangeKind, key: &str) -> bool {
        match kind {
            ChangeKind::SigningKey | ChangeKind::Object(Kind::Client) => false,
            ChangeKind::Object(Kind::TrustedIssuer) => self.trusted_issuer.is_some_and(|id| id.to_string() == key),
            ChangeKind::Object(Kind::ResourceServer) => self.resource_server == key,
            ChangeKind::Object(Kind::Principal) => self.principals.iter().any(|name| name == key),
            ChangeKind::Object(Kind::FederatedCredential) => {
                self.credentials.iter().any(|credential| credential.to_string() == key)
            }
        }
    }
}
