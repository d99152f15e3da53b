use std::sync::Arc;

use carnet_jose::Algorithm;

use super::{Named, StoredSecret, TrustedIssuer};
use crate::clock::Timestamp;
use crate::grant_type::GrantType;
use crate::ids::{ClientRowId, CredentialId};
use crate::possession::ProofDemand;
use crate::scope::ScopeSet;

/// The signature algorithms accepted in clients' own assertions (`private_key_jwt`).
pub const ASSERTION_ALGORITHMS: [Algorithm; 4] = [
    Algorithm::RS256,
    Algorithm::PS256,
    Algorithm::ES256,
    Algorithm::EdDSA,
];

/// The signature algorithms of the FAPI 2.0 Security Profile (section 5.4.1).
pub const FAPI2_ALGORITHMS: [Algorithm; 3] = [Algorithm::PS256, Algorithm::ES256, Algorithm::EdDSA];

/// A registered client in compiled form.
#[derive(Clone, Debug)]
pub struct Client {
    /// Internal id, which the entries of the client's own tokens carry as `credential`.
    pub id: ClientRowId,
    /// The client's name, which is its `client_id` in the protocol.
    pub client_id: String,
    /// Increases with every change.
    pub version: i64,
    /// Increases when the permissions of the client's own tokens change.
    pub revision: u32,
    /// Tokens issued to the client before this time are void.
    pub not_before: Timestamp,
    /// How the client authenticates.
    pub method: Method,
    pub grant_types: Vec<GrantType>,
    /// The scopes of our own admin API that the client may request, and those of OpenID Connect.
    pub scopes: Option<ScopeSet>,
    /// The permissions of tokens that the client gets for itself. With the grant
    /// `authorization_code` the most that the tokens of persons have by this client.
    pub permissions: Vec<ClientPermission>,
    /// The URIs to which the authorization endpoint may send the person back, compared by
    /// [`crate::client::redirect_uri_matches`]. Empty without the grant `authorization_code`.
    pub redirect_uris: Vec<String>,
    /// What persons are shown as the client's name, in place of its `client_id`.
    pub display_name: Option<String>,
    /// An https URL at which persons learn more about the client.
    pub homepage: Option<String>,
    /// Whether the client belongs to whoever runs this server, so that nobody is asked before it
    /// learns who signed in.
    pub first_party: bool,
    /// The name of the registry that this client is: it may introspect that registry's tokens.
    pub resource_server: Option<String>,
    pub binding: TokenBinding,
    /// Whether the client is held to the FAPI 2.0 Security Profile.
    pub fapi2: bool,
    pub enabled: bool,
}

/// What a client's tokens have to be bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenBinding {
    /// To what the request proves, or to nothing.
    Optional,
    /// To a key by DPoP (RFC 9449 section 5.2).
    Dpop,
    /// To the client's certificate (RFC 8705 section 3.4).
    Certificate,
}

/// What a client's own tokens, or the tokens of persons by it, permit at one resource server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientPermission {
    /// Name of the resource server.
    pub resource_server: String,
    pub actions: Vec<String>,
    /// Package names and patterns.
    pub packages: Vec<String>,
    /// The owner of the packages, by name. Empty with the grant `authorization_code`: then it is the
    /// principal that the person chooses.
    pub owner: String,
    pub demand: ProofDemand,
}

/// How a client authenticates, with the client secrets, key or rules that this takes.
#[derive(Clone, Debug)]
pub enum Method {
    /// No authentication: a public client, whose `client_id` proves nothing.
    None,
    /// A client secret in the `Authorization` header (`client_secret_basic`).
    SecretBasic(Vec<StoredSecret>),
    /// A client secret in the request body (`client_secret_post`).
    SecretPost(Vec<StoredSecret>),
    /// An assertion signed with the client's own key. The client is compiled as a trusted issuer
    /// whose assertions authenticate only this client.
    PrivateKeyJwt(Arc<TrustedIssuer>),
    /// A TLS connection with one of the client's own certificates (RFC 8705 section 2.2). The client
    /// is compiled as a trusted issuer, whose key set holds them.
    SelfSignedTls(Arc<TrustedIssuer>),
    /// An assertion of a trusted issuer that matches one of these rules.
    Federated(Vec<RuleReference>),
}

/// A rule that a client lists, with the revision that the rule had when it was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleReference {
    /// Shown to people; rules are identified by id.
    pub name: String,
    /// Identifies the rule. A later rule of the same name is not listed.
    pub id: CredentialId,
    /// A self-service rule counts only at this revision.
    pub revision: u32,
}

impl RuleReference {
    /// Borrows the reference as [`Named`].
    pub fn named(&self) -> Named<'_> {
        Named {
            name: &self.name,
            id: self.id.0,
            revision: self.revision,
        }
    }
}
