use std::sync::Arc;

use serde_json::{Map, Value};

use super::{Named, PackedRule, Rule, TrustedIssuer};
use crate::clock::Timestamp;
use crate::ids::{CredentialId, TrustedIssuerId};
use crate::profile::Profile;

/// Days that a pending rule waits for its first match. Later its names may belong to another
/// account.
pub const PENDING_DAYS: i64 = 7;

/// One rule: which assertions of one trusted issuer may act for one principal, with which
/// permissions.
///
/// A snapshot may hold a million of them, so each is small: the rule is packed, and the principal's
/// name is shared.
#[derive(Debug)]
pub struct FederatedCredential {
    pub id: CredentialId,
    /// The folded name of the principal that the rule acts for.
    pub principal: Arc<str>,
    /// The trusted issuer whose assertions may match.
    pub trusted_issuer: TrustedIssuerId,
    /// Increases when the meaning of the rule changes. Tokens of an older revision end.
    pub revision: u32,
    /// Creation time. The entries of newer rules come first in a token.
    pub created_at: Timestamp,
    /// The time from which the rule no longer counts; `None` if it has no end.
    pub expires_at: Option<Timestamp>,
    /// For a pending rule: when the wait for its first match ends.
    pub pending_until: Option<Timestamp>,
    pub enabled: bool,
    /// Whether someone who may answer for the principal vouches for the rule. Otherwise it is a
    /// self-service rule (`docs/src/explanation/consent.md`).
    pub vouched: bool,
    /// Conditions, permissions and actors, in packed form.
    pub rule: PackedRule,
}

/// The state of a federated credential at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Active,
    /// In force. The first match pins the immutable ids of what the rule names.
    Pending,
    /// Past its end, or pending for too long.
    Expired,
    Disabled,
}

impl State {
    /// The state at `now` of a federated credential with these members. A disabled one is
    /// `Disabled` even if it has expired.
    pub fn of(
        enabled: bool,
        expires_at: Option<Timestamp>,
        pending_until: Option<Timestamp>,
        now: Timestamp,
    ) -> Self {
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

    /// The name used in JSON.
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
    /// The sort key of rules, oldest first. The id breaks ties.
    pub fn age(&self) -> (Timestamp, CredentialId) {
        (self.created_at, self.id)
    }

    /// Whether the rule counts for a workload that does not name the principal: someone vouches for
    /// the rule, or the rule's principal owns the trusted issuer.
    pub fn is_vouched_under(&self, issuer: &TrustedIssuer) -> bool {
        self.vouched
            || issuer
                .owner
                .as_ref()
                .is_some_and(|owner| **owner == *self.principal)
    }

    /// Whether `named` lists this rule. A self-service rule is listed only at its current revision:
    /// an edit makes it another rule, to which the lister has not agreed.
    pub fn is_named_by(&self, named: &[Named<'_>]) -> bool {
        named
            .iter()
            .any(|one| one.id == self.id.0 && (self.vouched || one.revision == self.revision))
    }

    pub fn state(&self, now: Timestamp) -> State {
        State::of(self.enabled, self.expires_at, self.pending_until, now)
    }
}

/// The immutable ids to pin for an assertion that met all conditions: the ids that belong to the
/// names in the rule, as far as the claims have them and the rule has no condition on them.
pub fn pins_from(
    profile: &Profile,
    rule: &Rule<'_>,
    claims: &crate::profile::Claims,
) -> Map<String, Value> {
    let mut pins = Map::new();
    for (at, field) in profile.fields.iter().enumerate() {
        let position = u16::try_from(at).ok();
        let named = rule
            .conditions
            .iter()
            .any(|condition| condition.field == position)
            && !field.ids.is_empty();
        for id in field.ids.iter().filter(|_| named) {
            let given = rule
                .conditions
                .iter()
                .any(|condition| condition.field == u16::try_from(*id).ok());
            let Some((id, crate::profile::Check::Equals(equals))) =
                profile.fields.get(*id).map(|f| (f, &f.check))
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
