//! The record of what was issued, refused and changed. It never holds an assertion, a token or a secret.

use std::net::IpAddr;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::ids::{CredentialId, EventId};
use crate::reason::Reason;

/// How large the detail of an event may be (contract, section 6).
pub const MAX_DETAIL_BYTES: usize = 4 * 1024;

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEvent {
    /// Its id, which holds its time; the `error_id` of a refusal.
    pub id: EventId,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it was refused.
    pub reason: Option<Reason>,
    /// The trusted issuer, by name.
    pub trusted_issuer: Option<String>,
    /// The newest federated credential of the token, or the one that came closest.
    pub credential: Option<CredentialId>,
    /// The principal, by name.
    pub principal: Option<String>,
    /// The resource URI.
    pub resource: Option<String>,
    /// The client that asked, or the subject of the admin token.
    pub client_id: Option<String>,
    /// Who changed something, or was refused to: the subject of the admin token.
    pub actor: Option<String>,
    /// What the assertion is about.
    pub subject: Option<String>,
    /// The assertion.
    pub assertion: Option<AssertionRef>,
    /// Who may see it, and what it has to do with them.
    pub parts: Vec<AuditPart>,
    /// Under what it is counted together with others like it; events of issued tokens and of changes are not.
    pub fold: Option<[u8; 32]>,
    /// How many it stands for, and the last of them.
    pub count: u32,
    /// The last of those that it stands for, if there are several.
    pub last: Option<EventId>,
    /// The `jti` of the issued token, or of the admin token that was used.
    pub token_id: Option<String>,
    /// Where the request came from.
    pub address: Option<IpAddr>,
    /// The rest, as a JSON object: workload, verdicts, or the object before and after.
    pub detail: String,
}

/// Which assertion an event is about. From neither of them the assertion can be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AssertionRef {
    /// SHA-256 of its text without the signature, in base64url.
    pub digest: String,
    /// Its `jti`.
    pub jti: Option<String>,
}

/// What an event has to do with a principal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditPart {
    /// The principal, by id: who has the name later is not meant.
    pub principal_id: String,
    /// The principal's rule that gave something, or came closest.
    pub credential: Option<CredentialId>,
    /// Its revision.
    pub revision: Option<u32>,
    /// Whether the principal sees what the assertion says of the workload: it was asked for, or its rule is vouched for.
    pub sees_claims: bool,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A token was issued.
    Issued,
    /// A valid assertion was refused.
    Refused,
    /// An object was made.
    Created,
    /// An object was changed.
    Updated,
    /// An object was removed.
    Deleted,
    /// A token was revoked.
    Revoked,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 6] =
        [Self::Issued, Self::Refused, Self::Created, Self::Updated, Self::Deleted, Self::Revoked];

    /// The word for it.
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

    /// Reads the word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }

    /// Whether it is about the token endpoint, or about an object.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Issued | Self::Refused | Self::Revoked => "token",
            Self::Created | Self::Updated | Self::Deleted => "change",
        }
    }
}

impl AuditEvent {
    /// An event of which only the time and the outcome are known.
    pub fn new(now: Timestamp, outcome: Outcome) -> Self {
        Self::with_id(EventId::new(now), outcome)
    }

    /// An event of which only the id and the outcome are known.
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
