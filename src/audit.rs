//! Audit events: what was issued, refused and changed. An event never holds an assertion, a token
//! or a client secret.

use std::net::IpAddr;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::ids::{CredentialId, EventId};
use crate::reason::Reason;

/// The limit of an event's `detail` (`docs/src/reference/audit-events.md`).
pub const MAX_DETAIL_BYTES: usize = 4 * 1024;

/// An audit event, before it is stored and after it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEvent {
    /// A UUID of version 7, which holds the time. A refused caller gets it as `error_id`.
    pub id: EventId,
    pub outcome: Outcome,
    /// The reason of a refusal.
    pub reason: Option<Reason>,
    /// The trusted issuer, by name, so that the event outlives the object.
    pub trusted_issuer: Option<String>,
    /// The newest federated credential of the token, the one that came closest, or the one that was
    /// changed.
    pub credential: Option<CredentialId>,
    /// The principal of `credential`, by name.
    pub principal: Option<String>,
    /// The resource URI of the token; for a refusal the first one that the request names.
    pub resource: Option<String>,
    /// The client of the token; for a change, the client that the admin token was issued to.
    pub client_id: Option<String>,
    /// The `sub` of the admin token that changed something, or tried to.
    pub actor: Option<String>,
    /// The `sub` of the assertion or token.
    pub subject: Option<String>,
    pub assertion: Option<AssertionRef>,
    /// The principals that may see the event, and what each of them may see.
    pub parts: Vec<AuditPart>,
    /// The key under which equal refusals are counted in one event; `None` for events that are
    /// stored one by one.
    pub fold: Option<[u8; 32]>,
    /// How many equal refusals the event stands for; 1 unless it was folded.
    pub count: u32,
    /// The latest of them, if there are several.
    pub last: Option<EventId>,
    /// The `jti` of the issued token, or of the admin token that was used.
    pub token_id: Option<String>,
    /// The address of the caller.
    pub address: Option<IpAddr>,
    /// A JSON object: workload and mismatches, or the object before and after its change.
    pub detail: String,
}

/// Identifies an assertion. The assertion cannot be reconstructed from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AssertionRef {
    /// SHA-256 of header and payload without the signature, in base64url.
    pub digest: String,
    pub jti: Option<String>,
}

/// A principal's part in an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditPart {
    /// The principal's id: a later principal of the same name must not see the event.
    pub principal_id: String,
    /// The principal's rule that granted something or came closest; `None` if the event only
    /// concerns the principal.
    pub credential: Option<CredentialId>,
    /// The revision of that rule at the time.
    pub revision: Option<u32>,
    /// Whether the principal sees the assertion's claims: the request named the principal, or its
    /// rule is vouched for.
    pub sees_claims: bool,
}

/// The outcome that an audit event records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A token was issued.
    Issued,
    /// A request was refused after its assertion, token or client was verified, or an admin request
    /// was.
    Refused,
    /// An object or a signing key was created.
    Created,
    /// An object or a signing key was changed.
    Updated,
    /// An object or a signing key was removed.
    Deleted,
    /// A token was revoked.
    Revoked,
}

impl Outcome {
    pub const ALL: [Self; 6] = [
        Self::Issued,
        Self::Refused,
        Self::Created,
        Self::Updated,
        Self::Deleted,
        Self::Revoked,
    ];

    /// The name used in JSON and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Issued => "issued",
            Self::Refused => "refused",
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
            Self::Revoked => "revoked",
        }
    }

    /// Parses [`Outcome::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == word)
    }

    /// `token` or `change`, the `kind` of an event in the admin API.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Issued | Self::Refused | Self::Revoked => "token",
            Self::Created | Self::Updated | Self::Deleted => "change",
        }
    }
}

impl AuditEvent {
    /// An event with a new id, nothing but its outcome set.
    pub fn new(now: Timestamp, outcome: Outcome) -> Self {
        Self::with_id(EventId::new(now), outcome)
    }

    /// An event with the id of the request, nothing but its outcome set.
    pub fn with_id(id: EventId, outcome: Outcome) -> Self {
        Self {
            id,
            outcome,
            reason: None,
            trusted_issuer: None,
            credential: None,
            principal: None,
            resource: None,
            client_id: None,
            actor: None,
            subject: None,
            assertion: None,
            parts: Vec::new(),
            fold: None,
            count: 1,
            last: None,
            token_id: None,
            address: None,
            detail: "{}".to_owned(),
        }
    }
}
