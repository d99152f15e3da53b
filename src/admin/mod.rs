//! The life of objects: read, made, replaced and removed, with all that can be checked checked before anything is saved.
//!
//! The admin API and the commands that work on the database both end here.

mod assumed;
mod author;
mod checks;
mod clients;
mod credentials;
mod events;
mod managed;
mod objects;
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

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum Rejected {
    /// The document has mistakes.
    #[error("the document has mistakes")]
    Invalid(Vec<DocumentError>),
    /// There is no such object.
    #[error("there is no such object")]
    NotFound,
    /// Another object has the name or the URI.
    #[error("{0}")]
    Exists(String),
    /// Several objects have the name.
    #[error("{0}")]
    Ambiguous(String),
    /// Something refers to the object.
    #[error("{0}")]
    InUse(String),
    /// The object is not what the caller took it for.
    #[error("the object was changed in between; read it again")]
    Changed,
    /// The token is limited to other principals.
    #[error("the token is limited to other principals")]
    Forbidden,
    /// The database failed.
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
            StoreError::Unavailable(_) | StoreError::Corrupt(_) => Self::Unavailable(error.to_string()),
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
