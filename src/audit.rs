//! Audit events: what was issued, refused and changed. An event never holds an assertion, a token
//! or a client secret.

mod item;

use std::net::IpAddr;

use carnet_jose::sha256;
use serde::Serialize;
use serde_json::Value;

use crate::clock::Timestamp;
use crate::ids::{self, CredentialId, EventId, PersonId};
use crate::reason::Reason;

pub use item::{item, name_of};

/// The limit of an event's `detail` (`docs/src/reference/audit-events.md`).
pub const MAX_DETAIL_BYTES: usize = 4 * 1024;

/// The member of `detail` that says that the event counts refusals of different requests.
pub const DIFFERENT_REQUESTS: &str = "different_requests";
/// The members of `detail` that only one of several requests has.
const OF_THE_REQUEST: [&str; 12] = [
    "requested",
    "claims",
    "mismatches",
    "received",
    "permitted",
    "detail",
    "publication",
    "package",
    "version",
    "file",
    "digest",
    "operation",
];

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
    /// The person who signed in or out, or who was changed.
    pub person: Option<PersonId>,
    /// The `sub` of the assertion or token.
    pub subject: Option<String>,
    pub assertion: Option<AssertionRef>,
    /// The names under which events of the assertion's workload are found: the repository or
    /// project with its ids, and `sub`. The first one is shown as `repository`.
    pub workload: Vec<String>,
    /// The principals that may see the event, and what each of them may see.
    pub parts: Vec<AuditPart>,
    /// The key under which equal refusals are counted in one event; `None` for events that are
    /// stored one by one.
    pub fold: Option<FoldKey>,
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

/// The key under which equal refusals are counted: a digest of what is alike in them, and one of the
/// request that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FoldKey {
    alike: [u8; 16],
    request: [u8; 16],
}

impl FoldKey {
    /// The key of a refusal. `alike` holds the hour, so that an event counts the refusals of one
    /// hour.
    pub fn new(alike: &[&str], request: &str) -> Self {
        Self {
            alike: digest(&alike.join("\0")),
            request: digest(request),
        }
    }

    /// The key as stored.
    pub fn bytes(self) -> Vec<u8> {
        [self.alike, self.request].concat()
    }

    /// The key under which all further requests are counted if there are too many different ones.
    #[must_use]
    pub fn of_the_rest(self) -> Self {
        Self {
            request: [u8::MAX; 16],
            ..self
        }
    }

    /// The first and the last key of refusals that are alike in everything but their request. That
    /// of the rest is not among them.
    pub fn all_alike(self) -> (Self, Self) {
        let with = |request| Self { request, ..self };
        let mut last = [u8::MAX; 16];
        if let Some(byte) = last.last_mut() {
            *byte = u8::MAX.saturating_sub(1);
        }
        (with([0; 16]), with(last))
    }
}

/// The first half of the SHA-256 of a text.
fn digest(text: &str) -> [u8; 16] {
    let mut half = [0; 16];
    for (to, from) in half.iter_mut().zip(sha256(text.as_bytes())) {
        *to = from;
    }
    half
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

/// What stands before the id of a principal that an event names and that may not see the event. No
/// id of a principal begins with it.
const UNSEEN: &str = "!";

impl AuditPart {
    /// A part by which administrators find an event that names a principal and one of its rules, but
    /// that the principal may not see: it is in the record, and in the index, under a principal that
    /// does not exist.
    pub fn unseen(principal_id: &str, credential: CredentialId, revision: u32) -> Self {
        Self {
            principal_id: Self::unseen_id(principal_id),
            credential: Some(credential),
            revision: Some(revision),
            sees_claims: false,
        }
    }

    /// The principal under which the unseen parts of a principal are found.
    pub fn unseen_id(principal_id: &str) -> String {
        format!("{UNSEEN}{principal_id}")
    }

    pub fn is_unseen(&self) -> bool {
        self.principal_id.starts_with(UNSEEN)
    }
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
    /// A registry behind the gateway accepted a publication.
    Published,
    /// The gateway, or the registry behind it, refused a publication.
    PublicationRefused,
    /// It is not known whether the registry took a publication.
    PublicationUnclear,
    /// A person signed in, or proved anew who they are.
    SignedIn,
    /// A session of a person was ended.
    SignedOut,
    /// A person was not let in, although their provider says who they are.
    SignInRefused,
    /// A person let a client act.
    Consented,
}

impl Outcome {
    pub const ALL: [Self; 13] = [
        Self::Issued,
        Self::Refused,
        Self::Created,
        Self::Updated,
        Self::Deleted,
        Self::Revoked,
        Self::Published,
        Self::PublicationRefused,
        Self::PublicationUnclear,
        Self::SignedIn,
        Self::SignedOut,
        Self::SignInRefused,
        Self::Consented,
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
            Self::Published => "published",
            Self::PublicationRefused => "publication_refused",
            Self::PublicationUnclear => "publication_unclear",
            Self::SignedIn => "signed_in",
            Self::SignedOut => "signed_out",
            Self::SignInRefused => "sign_in_refused",
            Self::Consented => "consented",
        }
    }

    /// Parses [`Outcome::as_str`].
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|outcome| outcome.as_str() == word)
    }

    /// Whether an object was changed.
    pub const fn is_change(self) -> bool {
        matches!(self, Self::Created | Self::Updated | Self::Deleted)
    }

    /// Whether it is about a token or a publication, which is what a run of a job leaves.
    pub fn is_of_run(self) -> bool {
        matches!(self.kind(), "token" | "publication")
    }

    /// `token`, `change`, `publication` or `session`, the `kind` of an event in the admin API.
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Issued | Self::Refused | Self::Revoked => "token",
            Self::Created | Self::Updated | Self::Deleted => "change",
            Self::Published | Self::PublicationRefused | Self::PublicationUnclear => "publication",
            Self::SignedIn | Self::SignedOut | Self::SignInRefused | Self::Consented => "session",
        }
    }
}

impl AuditEvent {
    /// Writes the log line of a change or a revocation that was committed.
    pub fn log(&self) {
        let detail: Value = serde_json::from_str(&self.detail).unwrap_or_default();
        let text = |name: &str| detail.get(name).and_then(Value::as_str);
        let (kind, name) = (text("kind").unwrap_or(self.outcome.kind()), text("name"));
        let person = self.person.map(|person| person.to_string());
        let (id, outcome) = (self.id, self.outcome.as_str());
        let address = self.address.map(|address| address.to_string());
        tracing::info!(
            event = %id, outcome, kind, name, actor = self.actor, client = self.client_id,
            token_id = self.token_id, person, address, "changed"
        );
    }

    /// The event under which refusals of different requests are counted: this one without what only
    /// its own request says.
    #[must_use]
    pub fn of_different_requests(&self) -> Self {
        let mut detail: Value = serde_json::from_str(&self.detail).unwrap_or_default();
        if let Some(members) = detail.as_object_mut() {
            for own in OF_THE_REQUEST {
                members.shift_remove(own);
            }
            members.insert(DIFFERENT_REQUESTS.to_owned(), true.into());
        }
        Self {
            resource: None,
            detail: detail.to_string(),
            ..self.clone()
        }
    }

    /// When the event happened for the last time: that of the latest refusal that it counts.
    pub fn latest(&self) -> Timestamp {
        ids::time_of(self.last.unwrap_or(self.id).0)
    }

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
            person: None,
            subject: None,
            assertion: None,
            workload: Vec::new(),
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
