//! The keys under which audit events are found beside their principals. A key is short, so that the
//! index stays small; two values may share one, so what it finds is compared again.

use std::net::IpAddr;

use carnet_jose::sha256;

use crate::audit::{AuditEvent, Outcome};
use crate::ids::CredentialId;
use carnet_engine::own_token::FEDERATED;

/// Bytes of the SHA-256 of a value that a key holds.
const HASHED_BYTES: usize = 8;

/// A value that events are found by.
#[derive(Clone, Copy, Debug)]
pub enum AuditKey<'a> {
    /// The `jti` of a token, for what was done with it. The event of its issuance is found by the
    /// time that the `jti` contains.
    Token(&'a str),
    /// The address of the caller.
    Address(IpAddr),
    /// A name of the workload, in any letter case.
    Workload(&'a str),
    /// The code of a reason.
    Reason(&'a str),
    /// A registered client. Clients that are named after a rule are found by that rule.
    Client(&'a str),
    /// An outcome other than `issued` and `refused`, which nearly all events have.
    Outcome(Outcome),
    /// A rule, for its changes. Other events are found by the rule's principal.
    Change(CredentialId),
}

impl AuditKey<'_> {
    /// The key as stored: a byte for the kind, then the value. Addresses are stored as they are, so
    /// that those of one network are written at one place.
    pub fn bytes(self) -> Vec<u8> {
        let (kind, value): (u8, Vec<u8>) = match self {
            Self::Token(id) => (b't', hashed(id)),
            Self::Address(IpAddr::V4(address)) => (b'a', address.octets().to_vec()),
            Self::Address(IpAddr::V6(address)) => (b'a', address.octets().to_vec()),
            Self::Workload(name) => (b'w', hashed(&name.to_ascii_lowercase())),
            Self::Reason(code) => (b'r', hashed(code)),
            Self::Client(id) => (b'c', hashed(id)),
            Self::Outcome(outcome) => (b'o', hashed(outcome.as_str())),
            Self::Change(rule) => (b'h', rule.0.as_bytes().to_vec()),
        };
        [vec![kind], value].concat()
    }
}

fn hashed(text: &str) -> Vec<u8> {
    sha256(text.as_bytes())
        .into_iter()
        .take(HASHED_BYTES)
        .collect()
}

/// Whether events of this outcome are found by it.
pub fn is_rare(outcome: Outcome) -> bool {
    !matches!(outcome, Outcome::Issued | Outcome::Refused)
}

/// Whether a client is found by its `client_id`.
pub fn has_key(client_id: &str) -> bool {
    !client_id.starts_with(FEDERATED)
}

/// The keys of an event, each once.
pub fn keys_of(event: &AuditEvent) -> Vec<Vec<u8>> {
    let token = event
        .token_id
        .as_deref()
        .filter(|_| event.outcome != Outcome::Issued)
        .map(AuditKey::Token);
    let client = event.client_id.as_deref().filter(|id| has_key(id));
    let reason = event.reason.map(|reason| AuditKey::Reason(reason.code()));
    let outcome = Some(event.outcome).filter(|outcome| is_rare(*outcome));
    let changed = event.credential.filter(|_| event.outcome.is_change());
    let mut keys: Vec<Vec<u8>> = event
        .workload
        .iter()
        .map(|name| AuditKey::Workload(name))
        .chain(token)
        .chain(event.address.map(AuditKey::Address))
        .chain(client.map(AuditKey::Client))
        .chain(reason)
        .chain(outcome.map(AuditKey::Outcome))
        .chain(changed.map(AuditKey::Change))
        .map(AuditKey::bytes)
        .collect();
    keys.sort_unstable();
    keys.dedup();
    keys
}
