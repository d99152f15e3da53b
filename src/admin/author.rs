//! The author of a change to objects, and the author's rights.

use std::net::IpAddr;

use crate::audit::{AuditEvent, Outcome};
use crate::clock::Timestamp;

/// The bearer of an admin token, or the local command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// The `sub` of the admin token.
    pub subject: String,
    /// The `jti` of the admin token, for the audit event.
    pub token_id: Option<String>,
    /// The client address, for the audit event.
    pub address: Option<IpAddr>,
    /// True for the local command line, which has direct access to the database; false for requests
    /// over the network.
    pub is_local: bool,
    /// The principals whose rules this author may read and change, by name; `None` means all.
    pub principals: Option<Vec<String>>,
    /// Whether the token's scope, `admin` or `admin:read`, covers objects other than federated
    /// credentials.
    pub sees_everything: bool,
    /// Whether the token's scope is `admin`.
    pub is_admin: bool,
}

impl Author {
    /// An audit event of this author, for a change or for a refused request.
    pub fn event(&self, now: Timestamp, outcome: Outcome) -> AuditEvent {
        AuditEvent {
            client_id: Some(self.subject.clone()),
            actor: Some(self.subject.clone()),
            token_id: self.token_id.clone(),
            address: self.address,
            ..AuditEvent::new(now, outcome)
        }
    }

    /// Whether the author may set `vouched`. A token limited to principals
    /// (`admin:credentials:<principal>`) may not.
    pub fn may_vouch(&self) -> bool {
        self.principals.is_none()
    }

    /// Whether the author may read and change rules of this principal.
    pub fn may_act_for(&self, principal: &str) -> bool {
        self.principals.as_ref().is_none_or(|names| {
            names
                .iter()
                .any(|name| name.eq_ignore_ascii_case(principal))
        })
    }
}
