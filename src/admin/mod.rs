//! Management of the stored objects: list, read, save and remove, each with its checks and its
//! audit event.
//!
//! The admin API and the commands that work on the database directly both call this module. It
//! knows no HTTP: a refusal is a [`Rejected`].

mod assumed;
mod audit;
mod author;
mod catalog;
mod checks;
mod clients;
mod counts;
mod credentials;
mod events;
mod explanations;
mod front_doors;
mod inspection;
mod key_sets;
mod managed;
mod notifications;
mod objects;
mod people;
mod references;
mod referrers;
mod revocation;
mod room;
mod saving;
mod sessions;
mod signing_keys;
mod transfer;

use crate::keys::SigningKeysError;
use crate::refusal::Refusal;
use crate::store::StoreError;
use crate::trust::DocumentError;

pub use assumed::shared_workloads;
pub use audit::{
    AuditList, AuditQuery, AuditRefused, RunEvents, events_of_run, read_event, run_number,
    search_audit,
};
pub use author::Author;
pub use catalog::{
    Catalog, CatalogForm, CatalogIssuer, CatalogPrincipal, CatalogRegistry, catalog,
};
pub use checks::named_files;
pub use clients::{MAX_SECRET_OVERLAP_SECONDS, SECRET_OVERLAP_SECONDS, rotate_secret};
pub use counts::{COUNTED_DAYS, Counts, DayCounts, counts};
pub use explanations::explain;
pub use inspection::{Inspection, inspect};
pub use key_sets::forget_newest_keys;
pub use managed::{Managed, Occasion};
pub use notifications::{rotate_webhook_secret, send_test};
pub use objects::{exported, find, list, preview, shown, warnings};
pub use referrers::{Referrer, Referrers};
pub use revocation::{AcceptedUntil, EndedRule, Revocation, TokensToRevoke, revoke};
pub use saving::{Change, DryRun, Precondition, Saved, delete, save, try_out};
pub use sessions::{
    ShownPerson, ShownSession, enable_person, end_session, end_sessions_of, find_person,
    list_people, roles_now, sessions_of,
};
pub use signing_keys::{ShownKey, rotate_signing_key, signing_keys, withdraw_signing_key};
pub use transfer::accept_transfer;

pub use crate::model::State;
pub use crate::store::{Filter, Page};

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// The document has mistakes: all that were found, each with its place.
    #[error("the document has mistakes")]
    Invalid(Vec<DocumentError>),
    /// The document is in order, but the keys or the metadata that it names cannot be fetched or used:
    /// the cause may lie elsewhere, such as in DNS.
    #[error(
        "the keys or the metadata cannot be fetched or used; the document has no other mistake"
    )]
    NoKeys(DocumentError),
    /// No object has this name or id, or the author may not see it.
    #[error("there is no such object")]
    NotFound,
    /// Another object has the name, or the URI of a resource server.
    #[error("{0}")]
    Exists(String),
    /// Rules of several principals have the name.
    #[error("{0}")]
    Ambiguous(String),
    /// Other objects refer to this one, which therefore cannot be removed.
    #[error("{0}")]
    InUse(Referrers),
    /// The precondition failed, or another change came first.
    #[error("the object was changed in between; read it again")]
    Changed,
    #[error("the token is limited to other principals")]
    Forbidden,
    /// The caller has to wait.
    #[error("{}", .0.reason.sentence())]
    Limited(Box<Refusal>),
    /// The database failed; the text is for the log.
    #[error("{0}")]
    Unavailable(String),
}

impl Rejected {
    /// What is wrong with the document, if that is why it is not saved.
    pub fn in_document(&self) -> Option<&[DocumentError]> {
        match self {
            Self::Invalid(problems) => Some(problems),
            Self::NoKeys(problem) => Some(std::slice::from_ref(problem)),
            _ => None,
        }
    }
}

impl From<StoreError> for Rejected {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Taken(detail) => Self::Exists(detail),
            StoreError::InUse(detail) => Self::InUse(Referrers::unknown(detail)),
            StoreError::Ambiguous(_) => Self::Ambiguous(error.to_string()),
            StoreError::Changed => Self::Changed,
            StoreError::Unavailable(_) | StoreError::Corrupt(_) => {
                Self::Unavailable(error.to_string())
            }
        }
    }
}

impl From<SigningKeysError> for Rejected {
    fn from(error: SigningKeysError) -> Self {
        match error {
            SigningKeysError::Unknown(_) => Self::NotFound,
            SigningKeysError::Store(error) => error.into(),
            error => Self::Unavailable(error.to_string()),
        }
    }
}
