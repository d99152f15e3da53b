//! The author of a change to objects, and the author's rights.

use std::net::IpAddr;

use crate::audit::{AuditEvent, Outcome};
use crate::clock::Timestamp;
use crate::ids::PersonId;
use crate::model::Snapshot;
use crate::people::session::Session;

/// The bearer of an admin token, the local command line, or a person who is signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Author {
    /// The `sub` of the admin token, or the id of the person.
    pub subject: String,
    /// The person, if it is one who is signed in.
    pub person: Option<PersonId>,
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
    /// A person who reads: everything, or what concerns the principals at which the person has a
    /// role.
    pub fn reader(session: &Session, rules: &Snapshot, address: Option<IpAddr>) -> Self {
        let held = &session.roles;
        let sees_everything = held.may_read_all();
        let known = held
            .principals
            .keys()
            .filter_map(|folded| rules.principal(folded));
        let principals = known.map(|principal| principal.name.clone()).collect();
        Self {
            subject: session.person.id.to_string(),
            person: Some(session.person.id),
            token_id: None,
            address,
            is_local: false,
            principals: (!sees_everything).then_some(principals),
            sees_everything,
            is_admin: false,
        }
    }

    /// A person who manages the server. Whether the person may is for the caller to judge.
    pub fn operator(session: &Session, rules: &Snapshot, address: Option<IpAddr>) -> Self {
        Self {
            principals: None,
            sees_everything: true,
            is_admin: true,
            ..Self::reader(session, rules, address)
        }
    }

    /// The author limited to one principal, so that nothing else is seen or changed by mistake.
    #[must_use]
    pub fn limited_to(self, principal: &str) -> Self {
        Self {
            principals: Some(vec![principal.to_owned()]),
            sees_everything: false,
            is_admin: false,
            ..self
        }
    }

    /// An audit event of this author, for a change or for a refused request.
    pub fn event(&self, now: Timestamp, outcome: Outcome) -> AuditEvent {
        AuditEvent {
            client_id: self.person.is_none().then(|| self.subject.clone()),
            person: self.person,
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
