//! Who sends the request (RFC 6749 section 2.3, RFC 7521 section 4.2). The jwt-bearer grant needs no client; one that is
//! named has to be registered.

use crate::grant::GrantType;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::trust::Snapshot;

/// A registered client, compiled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Its `client_id`, which is its name.
    pub client_id: String,
    /// The grant types it may use.
    pub grant_types: Vec<GrantType>,
    /// Whether it is switched on.
    pub enabled: bool,
}

/// What a request carries to say who sends it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientCredentials {
    /// The `client_id` parameter.
    pub client_id: Option<String>,
    /// Whether there is anything that is meant to prove it: an `Authorization` header, a secret, a client assertion.
    pub has_proof: bool,
}

/// Who sends the request. Only [`authenticate`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity(Option<String>);

impl ClientIdentity {
    /// The `client_id` of a registered public client, which proves nothing; none for whoever holds the assertion.
    pub fn id(&self) -> Option<&str> {
        self.0.as_deref()
    }
}

/// Authenticates the client for a grant.
pub fn authenticate(
    credentials: &ClientCredentials,
    grant_type: GrantType,
    snapshot: &Snapshot,
) -> Result<ClientIdentity, Refusal> {
    // Credentials that are present are judged even where none are needed (RFC 7523 section 3.1); no client has any yet.
    if credentials.has_proof {
        return Err(Reason::ClientAuthenticationFailed.into());
    }
    let Some(client_id) = &credentials.client_id else {
        return Ok(ClientIdentity(None));
    };
    let client = snapshot
        .client(client_id)
        .filter(|client| client.enabled)
        .ok_or(Refusal::new(Reason::ClientAuthenticationFailed))?;
    if !client.grant_types.contains(&grant_type) {
        return Err(Reason::ClientNotAllowed.into());
    }
    Ok(ClientIdentity(Some(client.client_id.clone())))
}
