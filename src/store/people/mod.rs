//! People who signed in, and their sessions. Whether a session is good is judged at each request, from
//! its row: nothing of it is kept in memory.

mod codes;
mod persons;
mod sessions;

use serde_json::Map;

use crate::clock::Timestamp;
use crate::ids::{ClientRowId, CodeId, IdentityProviderId, PersonId, SessionId};

/// A person, as the identity provider last described them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub id: PersonId,
    pub identity_provider: IdentityProviderId,
    /// The `sub` of the identity provider, unique there.
    pub sub: String,
    pub name: Option<String>,
    pub username: Option<String>,
    pub email: Option<String>,
    pub first_seen: Timestamp,
    /// When the person signed in for the last time.
    pub last_seen: Timestamp,
    /// Whether the person may sign in. An administrator decides.
    pub enabled: bool,
}

/// A session of a person.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredSession {
    pub id: SessionId,
    /// By what tokens know the session. The store decides.
    pub lineage: SessionId,
    pub person: PersonId,
    pub identity_provider: IdentityProviderId,
    /// The claims that rules can read, as they came at the sign-in.
    pub claims: Map<String, serde_json::Value>,
    /// When the person proved who they are, as the identity provider says.
    pub auth_time: Option<Timestamp>,
    /// Whether the identity provider says that the person used a second factor.
    pub second_factor: bool,
    pub acr: Option<String>,
    pub amr: Vec<String>,
    /// The ID token, sealed, for the sign-out at the identity provider.
    pub sealed_id_token: Option<String>,
    pub created_at: Timestamp,
    /// Up to a minute before the last use.
    pub last_used_at: Timestamp,
    pub expires_at: Timestamp,
}

/// What a person's sign-in writes.
#[derive(Debug)]
pub struct NewSession {
    /// `person.id` is taken only for a person who is not known yet, `person.enabled` never.
    pub person: Person,
    pub session: StoredSession,
    /// The version of the identity provider by which the sign-in was judged.
    pub provider_version: i64,
    /// The SHA-256 of the cookie.
    pub cookie_hash: [u8; 32],
    /// The SHA-256 of the cookie of the session that this one takes the place of.
    pub replaces: Option<[u8; 32]>,
    /// Whether that session still lasted: then tokens and consents of the same person go on.
    pub goes_on: bool,
}

/// What came of a sign-in.
#[derive(Debug)]
pub enum SessionBegun {
    Begun(Person),
    /// The person is not enabled; nothing was written.
    Disabled(Person),
    /// The identity provider has another version than the one that judged the sign-in; nothing was
    /// written.
    ProviderChanged,
}

/// An authorization code, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredCode {
    pub id: CodeId,
    /// By what tokens know the session in which it was issued.
    pub session: SessionId,
    pub client_id: String,
    pub client: ClientRowId,
    /// As the authorization request named it, or else the only one of the client.
    pub redirect_uri: String,
    /// Whether the authorization request named it.
    pub redirect_uri_sent: bool,
    /// The code challenge, with its method.
    pub challenge: String,
    /// What was asked for and chosen, as JSON.
    pub request: String,
    pub created_at: Timestamp,
    pub expires_at: Timestamp,
}

/// Sessions to end.
#[derive(Clone, Copy, Debug)]
pub enum SessionsToEnd {
    One(SessionId),
    AllOf(PersonId),
}
