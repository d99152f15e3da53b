//! Who changes something, and what that one may touch.

use std::net::IpAddr;

use crate::audit::{AuditEvent, Outcome};
use crate::clock::Timestamp;

/// Who changes something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// The subject of the token.
    pub subject: String,
    /// The `jti` of the token; the local command line has none.
    pub token_id: Option<String>,
    /// Where the request comes from.
    pub address: Option<IpAddr>,
    /// Whether it is whoever holds the database, by this machine's command line, and not the network.
    pub is_local: bool,
    /// The principals whose rules may be changed; none means all.
    pub principals: Option<Vec<String>>,
    /// Whether objects other than federated credentials are the author's business too.
    pub sees_everything: bool,
    /// Whether the author may do everything.
    pub is_admin: bool,
}

impl Author {
    /// An event of something that this author did, or was refused.
    pub fn event(&self, now: Timestamp, outcome: Outcome) -> AuditEvent {
        AuditEvent {
            client_id: Some(self.subject.clone()),
            actor: Some(self.subject.clone()),
            token_id: self.token_id.clone(),
            address: self.address,
            ..AuditEvent::new(now, outcome)
        }
    }

    /// Whether the author may vouch for rules: whoever is limited to principals may not.
    pub fn may_vouch(&self) -> bool {
        self.principals.is_none()
    }

    /// Whether the author may touch federated credentials of this principal.
    pub fn may_act_for(&self, principal: &str) -> bool {
        self.principals.as_ref().is_none_or(|names| names.iter().any(|name| name.eq_ignore_ascii_case(principal)))
    }
}
