use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Named, PackedRule, Rule, TrustedIssuer};
use crate::clock::Timestamp;
use crate::ids::{CredentialId, TrustedIssuerId};
use crate::profile::Profile;

/// Days for which a rule that names something waits for its first match.
pub const PENDING_DAYS: i64 = 7;

/// One rule: which assertions of one trusted issuer may act for one principal, with which permissions.
///
/// There may be a million of these in memory, so they are small: the rule is packed, and ids are shared.
#[derive(Debug)]
pub struct FederatedCredential {
    /// Its id.
    pub id: CredentialId,
    /// The principal it acts for, by folded name.
    pub principal: Arc<str>,
    /// The trusted issuer it is about.
    pub trusted_issuer: TrustedIssuerId,
    /// Grows whenever what the rule means changes.
    pub revision: u32,
    /// When it was made; of several the newest stands first.
    pub created_at: Timestamp,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// Until when it waits for its first match, if it is pending.
    pub pending_until: Option<Timestamp>,
    /// Whether it is switched on.
    pub enabled: bool,
    /// Whether somebody who may answer for its principal vouches for it; else it is self-service (contract, section 4).
    pub vouched: bool,
    /// The conditions and permissions.
    pub rule: PackedRule,
}

/// What a federated credential is at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// In force.
    Active,
    /// In force; its first match pins the ids of what it names.
    Pending,
    /// Over, or pending for too long.
    Expired,
    /// Switched off.
    Disabled,
}

impl State {
    /// What a federated credential with these times and this switch is now.
    pub fn of(enabled: bool, expires_at: Option<Timestamp>, pending_until: Option<Timestamp>, now: Timestamp) -> Self {
        let over = |at: Option<Timestamp>| at.is_some_and(|at| at <= now);
        if !enabled {
            Self::Disabled
        } else if over(expires_at) || over(pending_until) {
            Self::Expired
        } else if pending_until.is_some() {
            Self::Pending
        } else {
            Self::Active
        }
    }

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pending => "pending",
            Self::Expired => "expired",
            Self::Disabled => "disabled",
        }
    }
}

impl FederatedCredential {
    /// What rules are ordered by, oldest first.
    pub fn age(&self) -> (Timestamp, CredentialId) {
        (self.created_at, self.id)
    }

    /// Whether it counts for a workload that does not ask for its principal: somebody vouches for it, or its trusted issuer
    /// belongs to its principal.
    pub fn is_vouched_under(&self, issuer: &TrustedIssuer) -> bool {
        self.vouched || issuer.owner.as_ref().is_some_and(|owner| **owner == *self.principal)
    }

    /// Whether it is one of those that somebody named: whoever edits a self-service one makes another one of it.
    pub fn is_named_by(&self, named: &[Named<'_>]) -> bool {
        named.iter().any(|one| one.id == self.id.0 && (self.vouched || one.revision == self.revision))
    }

    /// What it is now.
    pub fn state(&self, now: Timestamp) -> State {
        State::of(self.enabled, self.expires_at, self.pending_until, now)
    }
}

/// The ids to pin for an assertion that matched everything.
pub fn pins_from(profile: &Profile, rule: &Rule<'_>, claims: &crate::profile::Claims) -> Map<String, Value> {
    let mut pins = Map::new();
    for (at, field) in profile.fields.iter().enumerate() {
        let position = u16::try_from(at).ok();
        let named = rule.conditions.iter().any(|condition| condition.field == position) && !field.ids.is_empty();
        for id in field.ids.iter().filter(|_| named) {
            let given = rule.conditions.iter().any(|condition| condition.field == u16::try_from(*id).ok());
            let Some((id, crate::profile::Check::Equals(equals))) = profile.fields.get(*id).map(|f| (f, &f.check))
            else {
                continue;
            };
            if let Ok(Some(value)) = equals.read(claims)
                && !given
                && !value.is_empty()
            {
                pins.insert(id.name.clone(), value.into());
            }
        }
    }
    pins
}
