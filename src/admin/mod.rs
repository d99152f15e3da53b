//! Management of the stored objects: list, read, save and remove, each with its checks and its
//! audit event.
//!
//! The admin API and the commands that work on the database directly both call this module. It
//! knows no HTTP: a refusal is a [`Rejected`].

mod assumed;
mod author;
mod checks;
mod clients;
mod credentials;
mod events;
mod managed;
mod objects;
mod references;
mod room;
mod saving;

use crate::keys::SigningKeysError;
use crate::store::StoreError;
use crate::trust::DocumentError;

pub use assumed::shared_workloads;
pub use author::Author;
pub use clients::{MAX_SECRET_OVERLAP_SECONDS, SECRET_OVERLAP_SECONDS, rotate_secret};
pub use managed::{Managed, Occasion};
pub use objects::{exported, find, list, shown};
pub use saving::{Change, DryRun, Precondition, Saved, delete, save, try_out};

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// The document has mistakes: all that were found, each with its place.
    #[error("the document has mistakes")]
    Invalid(Vec<DocumentError>),
    /// No object has this name or id, or the author may not see it.
    #[error("there is no such object")]
    NotFound,
    /// Another object has the name, or the URI of a resource server.
    #[error("{0}")]
    Exists(String),
    /// Rules of several principals have the name.
    #[error("{0}")]
    Ambiguous(String),
    /// Another object refers to this one, which therefore cannot be removed.
    #[error("{0}")]
    InUse(String),
    /// The precondition failed, or another change came first.
    #[error("the object was changed in between; read it again")]
    Changed,
    #[error("the token is limited to other principals")]
    Forbidden,
    /// The database failed; the text is for the log.
    #[error("{0}")]
    Unavailable(String),
}

impl From<StoreError> for Rejected {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Taken(detail) => Self::Exists(detail),
            StoreError::InUse(detail) => Self::InUse(detail),
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
