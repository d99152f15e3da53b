use std::sync::Arc;

use carnet_jose::Algorithm;

use super::{Named, StoredSecret, TrustedIssuer};
use crate::clock::Timestamp;
use crate::grant_type::GrantType;
use crate::ids::{ClientRowId, CredentialId};
use crate::scope::ScopeSet;

/// The signature algorithms of clients' own assertions.
pub const ASSERTION_ALGORITHMS: [Algorithm; 4] =
    [Algorithm::RS256, Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA];

/// A registered client, compiled.
#[derive(Clone, Debug)]
pub struct Client {
    /// Its id: what the entries of its own tokens name.
    pub id: ClientRowId,
    /// Its `client_id`, which is its name.
    pub client_id: String,
    /// Grows with every change.
    pub version: i64,
    /// Grows when what its tokens permit changes.
    pub revision: u32,
    /// Tokens that it got before this are void.
    pub not_before: Timestamp,
    /// How it proves who it is.
    pub method: Method,
    /// The grant types it may use.
    pub grant_types: Vec<GrantType>,
    /// The scopes of our own admin API that it may ask for.
    pub scopes: Option<ScopeSet>,
    /// What its own tokens permit.
    pub permissions: Vec<ClientPermission>,
    /// The registry it is, by name.
    pub resource_server: Option<String>,
    /// Whether it is switched on.
    pub enabled: bool,
}

/// What a client's own tokens permit at one resource server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPermission {
    /// The resource server, by name.
    pub resource_server: String,
    /// The actions.
    pub actions: Vec<String>,
    /// Package names and patterns.
    pub packages: Vec<String>,
    /// The owner of the packages, by name.
    pub owner: String,
}

/// How a client proves who it is, with what that takes.
#[derive(Clone, Debug)]
pub enum Method {
    /// Not at all.
    None,
    /// By a secret in the `Authorization` header.
    SecretBasic(Vec<StoredSecret>),
    /// By a secret in the body.
    SecretPost(Vec<StoredSecret>),
    /// By an assertion of its own: it is an issuer trusted for itself alone.
    PrivateKeyJwt(Arc<TrustedIssuer>),
    /// By an assertion that one of these federated credentials matches.
    Federated(Vec<RuleReference>),
}

/// A federated credential that a client lists, as it was when it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleReference {
    /// Its name, for people.
    pub name: String,
    /// Its id: another one of the same name is not meant.
    pub id: CredentialId,
    /// Its revision.
    pub revision: u32,
}

impl RuleReference {
    /// The same, borrowed.
    pub fn named(&self) -> Named<'_> {
        Named { name: &self.name, id: self.id.0, revision: self.revision }
    }
}
