//! The JSON documents of the managed objects: reading with every mistake reported at once, and
//! compiling into the [`crate::model`] that requests are decided by. References between objects are
//! checked where documents are saved, or in [`Imagined`].

mod bundle;
mod client;
mod compile;
mod difference;
mod federated_credential;
mod front_door;
mod identity_provider;
mod imagined;
mod lint;
mod membership;
mod notification;
mod people_actions;
mod preview;
mod principal;
mod reader;
mod resource_server;
mod self_service;
#[cfg(test)]
mod testing;
mod trusted_issuer;

use carnet_jose::{Algorithm, KeyUse};
use serde::Serialize;
use serde_json::{Map, Value};

pub use bundle::{Bundle, BundleError};
pub use client::{AuthMethod, ClientDocument, ClientState, ListedRule};
pub use compile::{compile_credential, compile_issuer};
pub use difference::{Difference, differences, whole};
pub use federated_credential::RESOURCE_SERVER_TARGET;
pub use federated_credential::{
    CredentialState, FederatedCredentialDocument, PermissionDocument, Vouching,
};
pub use front_door::{FrontDoorDocument, door_conflicts, no_issuer_at_door, own_audiences};
pub use identity_provider::{
    Dependents, Discovered, IdentityProviderDocument, IdentityProviderState,
    MAX_IDENTITY_PROVIDERS, ProviderSecret,
};
pub use imagined::Imagined;
pub use lint::{LintFinding, MissingIssuer, lint};
pub use membership::{MembershipDocument, MembershipState};
pub use notification::{
    DeliveryState, NotificationDocument, NotificationKind, NotificationState, SealedSecret,
};
pub use preview::Preview;
pub use principal::PrincipalDocument;
pub use reader::Reader;
pub use resource_server::is_resource;
pub use resource_server::{DEFAULT_PREFIX, MAX_TOKEN_LIFETIME_SECONDS, ResourceServerDocument};
pub use trusted_issuer::{MAX_ASSERTION_LIFETIME_SECONDS, SpeaksFor, TrustedIssuerDocument};

use crate::clock::Timestamp;
use crate::own_urls::OwnUrls;
use crate::profile::Profiles;
use crate::trust::{DocumentError, Warning};

/// The kinds of managed objects, in the order in which `carnet apply` saves them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Registry identities, which other kinds refer to.
    Principal,
    /// Platforms whose assertions are accepted.
    TrustedIssuer,
    ResourceServer,
    /// Rules for workloads.
    FederatedCredential,
    Client,
    /// Webhooks.
    Notification,
    /// OpenID providers at which people sign in.
    IdentityProvider,
    /// Which persons have which role.
    Membership,
}

impl Kind {
    /// Every kind, after the kinds that it refers to.
    pub const ALL: [Self; 8] = [
        Self::Principal,
        Self::TrustedIssuer,
        Self::ResourceServer,
        Self::FederatedCredential,
        Self::Client,
        Self::Notification,
        Self::IdentityProvider,
        Self::Membership,
    ];

    /// The path segment in the admin API.
    pub const fn segment(self) -> &'static str {
        match self {
            Self::Principal => "principals",
            Self::TrustedIssuer => "trusted-issuers",
            Self::ResourceServer => "resource-servers",
            Self::FederatedCredential => "federated-credentials",
            Self::Client => "clients",
            Self::Notification => "notifications",
            Self::IdentityProvider => "identity-providers",
            Self::Membership => "memberships",
        }
    }

    /// The table in a bundle.
    pub const fn table(self) -> &'static str {
        match self {
            Self::Principal => "principals",
            Self::TrustedIssuer => "trusted_issuers",
            Self::ResourceServer => "resource_servers",
            Self::FederatedCredential => "federated_credentials",
            Self::Client => "clients",
            Self::Notification => "notifications",
            Self::IdentityProvider => "identity_providers",
            Self::Membership => "memberships",
        }
    }

    /// The singular for messages and audit events.
    pub const fn noun(self) -> &'static str {
        match self {
            Self::Principal => "principal",
            Self::TrustedIssuer => "trusted issuer",
            Self::ResourceServer => "resource server",
            Self::FederatedCredential => "federated credential",
            Self::Client => "client",
            Self::Notification => "notification",
            Self::IdentityProvider => "identity provider",
            Self::Membership => "membership",
        }
    }

    /// Whether objects of this kind are those of principals: their names are unique within the
    /// principal, and a token that is limited to the principal may manage them.
    pub const fn is_of_principals(self) -> bool {
        matches!(self, Self::FederatedCredential | Self::Notification)
    }
}

/// The parts of the configuration that reading and compiling depend on.
#[derive(Clone, Copy, Debug)]
pub struct ReadContext<'a> {
    pub profiles: &'a Profiles,
    /// This server's own URLs, which no trusted issuer or resource server may have.
    pub own: &'a OwnUrls,
    /// Whether http URLs on the loopback interface are accepted (`insecure.allow_http_loopback`).
    pub allow_http_loopback: bool,
    /// Lifetime of tokens for resource servers without `token_lifetime_seconds`, in seconds.
    pub token_lifetime_seconds: i64,
    /// Whether the built-in client of the command line may act for people (`people.command_line`).
    pub command_line: bool,
    /// Checks keys and certificates in documents.
    pub material: &'a dyn KeyMaterial,
    pub attestations: Attestations<'a>,
}

/// Whether attestations of keys by the RPKI can be verified where a document is read.
#[derive(Clone, Copy, Debug)]
pub enum Attestations<'a> {
    /// They can, up to the trust anchors of these names.
    UpTo(&'a [String]),
    /// They cannot, for this reason: a clause that begins with "this".
    Never(&'static str),
    /// The document is for a server that is not here.
    Elsewhere,
}

/// The checks of documents that need cryptography, which this crate does without. The error
/// completes a sentence that begins with the JSON Pointer of the member: "must be …".
pub trait KeyMaterial: std::fmt::Debug + Sync {
    /// Checks a JWK set: no private keys, and at least one usable key.
    fn check_key_set(
        &self,
        jwks: &Value,
        allowed: &[Algorithm],
        wanted: KeyUse,
    ) -> Result<(), String>;

    /// Checks the certificates in a JWK set (`x5c`) with which a client makes TLS connections: each
    /// key has one, which is that of the key and strong enough.
    fn check_client_certificates(&self, jwks: &Value) -> Result<(), String>;

    /// Checks one or more certificates in PEM (RFC 7468).
    fn check_certificates(&self, pem: &str) -> Result<(), String>;
}

pub trait Document: Sized + Clone + PartialEq + std::fmt::Debug + Send + Sync {
    const KIND: Kind;
    /// What the server stores beside the document, such as revisions and hashes of secrets.
    type State: Clone + Default + PartialEq + std::fmt::Debug + Send + Sync;

    /// Reads a document. Errors with every mistake found.
    fn read(
        members: &Map<String, Value>,
        context: ReadContext<'_>,
    ) -> Result<Self, Vec<DocumentError>>;

    /// The id that the document gives itself; only principals may.
    fn given_id(&self) -> Option<&str> {
        None
    }

    /// The document as the admin API answers it, with defaults filled in.
    fn shown(&self, context: ReadContext<'_>) -> Map<String, Value>;

    /// The document with only the members that were given.
    fn exported(&self) -> Map<String, Value>;

    /// Warnings that the document alone justifies.
    fn warnings(&self, context: ReadContext<'_>) -> Vec<Warning>;
}

/// A document with its identity and state, as stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored<D: Document> {
    pub id: String,
    pub name: String,
    /// Grows with every change of document or state; the `ETag` of the admin API.
    pub version: i64,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub document: D,
    pub state: D::State,
}

/// The members of a serialisable document, without those that are `null`.
fn members(document: &impl Serialize) -> Map<String, Value> {
    match serde_json::to_value(document) {
        Ok(Value::Object(mut members)) => {
            members.retain(|_, value| !value.is_null());
            members
        }
        _ => Map::new(),
    }
}
