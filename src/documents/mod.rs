//! The things people manage: their documents, read with every mistake reported at once, and compiled into what trust is
//! decided from. What a document says about others is checked where it is saved, in [`crate::admin`].

mod bundle;
mod client;
mod compile;
mod federated_credential;
mod imagined;
mod lint;
mod principal;
mod reader;
mod resource_server;
mod trusted_issuer;

use serde::Serialize;
use serde_json::{Map, Value};

pub use bundle::{Bundle, BundleError};
pub use client::{AuthMethod, ClientDocument, ClientState, ListedRule};
pub use compile::{compile_credential, compile_issuer};
pub(crate) use federated_credential::RESOURCE_SERVER_TARGET;
pub use federated_credential::{CredentialState, FederatedCredentialDocument, PermissionDocument, Vouching};
pub use imagined::Imagined;
pub use lint::{LintFinding, lint};
pub use principal::PrincipalDocument;
pub use reader::Reader;
pub use resource_server::ResourceServerDocument;
pub(crate) use resource_server::is_resource;
pub use trusted_issuer::TrustedIssuerDocument;

use crate::clock::Timestamp;
use crate::config::OwnUrls;
use crate::profile::Profiles;
use crate::trust::{DocumentError, Warning};

/// The kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Registry identities. They come first: the others refer to them.
    Principal,
    /// Outside platforms.
    TrustedIssuer,
    /// Registries.
    ResourceServer,
    /// Rules.
    FederatedCredential,
    /// OAuth clients.
    Client,
}

impl Kind {
    /// Every kind, those first that others refer to.
    pub const ALL: [Self; 5] =
        [Self::Principal, Self::TrustedIssuer, Self::ResourceServer, Self::FederatedCredential, Self::Client];

    /// The segment of the admin API's path.
    pub const fn segment(self) -> &'static str {
        match self {
            Self::Principal => "principals",
            Self::TrustedIssuer => "trusted-issuers",
            Self::ResourceServer => "resource-servers",
            Self::FederatedCredential => "federated-credentials",
            Self::Client => "clients",
        }
    }

    /// The table of an `apply` file.
    pub const fn table(self) -> &'static str {
        match self {
            Self::Principal => "principals",
            Self::TrustedIssuer => "trusted_issuers",
            Self::ResourceServer => "resource_servers",
            Self::FederatedCredential => "federated_credentials",
            Self::Client => "clients",
        }
    }

    /// One of them, for people.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Principal => "principal",
            Self::TrustedIssuer => "trusted issuer",
            Self::ResourceServer => "resource server",
            Self::FederatedCredential => "federated credential",
            Self::Client => "client",
        }
    }
}

/// What reading a document needs to know.
#[derive(Clone, Copy, Debug)]
pub struct ReadContext<'a> {
    /// The profiles of this server.
    pub profiles: &'a Profiles,
    /// Our own URLs, which nobody else may claim.
    pub own: &'a OwnUrls,
    /// Whether `http://127.0.0.1…` issuers are accepted.
    pub allow_http_loopback: bool,
    /// How long tokens live where the resource server says nothing, in seconds.
    pub token_lifetime_seconds: i64,
}

/// A document of one kind.
pub trait Document: Sized + Clone + PartialEq + std::fmt::Debug + Send + Sync {
    /// The kind.
    const KIND: Kind;
    /// What is stored beside the document and is not given by people.
    type State: Clone + Default + PartialEq + std::fmt::Debug + Send + Sync;

    /// Reads a document, reporting every mistake.
    fn read(members: &Map<String, Value>, context: ReadContext<'_>) -> Result<Self, Vec<DocumentError>>;

    /// The id that the document asks for.
    fn given_id(&self) -> Option<&str> {
        None
    }

    /// The document as it is shown, with what was left out filled in.
    fn shown(&self, context: ReadContext<'_>) -> Map<String, Value>;

    /// The document as it is exported: only what was given.
    fn exported(&self) -> Map<String, Value>;

    /// What is weak about it.
    fn warnings(&self, context: ReadContext<'_>) -> Vec<Warning>;
}

/// A document as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored<D: Document> {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Grows with every change; the `ETag`.
    pub version: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
    /// The document.
    pub document: D,
    /// What is stored beside it.
    pub state: D::State,
}

/// Turns a serialisable document into its members, leaving out what is `null`.
fn members(document: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(document) {
        Ok(Value::Object(mut members)) => {
            members.retain(|_, value| !value.is_null());
            members
        }
        _ => Map::new(),
    }
}
