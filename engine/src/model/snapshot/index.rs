//! The rules under one key of a snapshot's index.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::FederatedCredential;
use crate::ids::CredentialId;

/// The rules under one index key; nearly always a single one.
#[derive(Clone, Debug)]
pub(super) enum Bucket {
    One(Arc<FederatedCredential>),
    Several(Arc<RulesOfKey>),
}

/// The rules under one index key. Both lists are sorted by id, so that all replicas have the same
/// order, whichever rule was saved last.
#[derive(Clone, Debug, Default)]
pub(super) struct RulesOfKey {
    vouched: Vec<Arc<FederatedCredential>>,
    /// Kept apart, so that self-service rules of other principals for a workload cost its requests
    /// nothing, however many there are.
    self_service: Vec<Arc<FederatedCredential>>,
}

impl Bucket {
    /// The rules under a key after a change: those of before that are not among `changed`, and `new`
    /// ones. `None` if there are none.
    pub(super) fn after(
        before: Option<&Self>,
        changed: &HashSet<CredentialId>,
        new: Vec<Arc<FederatedCredential>>,
    ) -> Option<Self> {
        RulesOfKey::changed(before, changed, new).found()
    }

    pub(super) fn vouched(&self) -> &[Arc<FederatedCredential>] {
        match self {
            Self::One(one) if one.vouched => std::slice::from_ref(one),
            Self::One(_) => &[],
            Self::Several(listed) => &listed.vouched,
        }
    }

    pub(super) fn self_service(&self) -> &[Arc<FederatedCredential>] {
        match self {
            Self::One(one) if one.vouched => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(listed) => &listed.self_service,
        }
    }
}

impl RulesOfKey {
    /// The rules of `found` that did not change, and `new` ones.
    fn changed(
        found: Option<&Bucket>,
        changed: &HashSet<CredentialId>,
        new: Vec<Arc<FederatedCredential>>,
    ) -> Self {
        let others = |rules: &[Arc<FederatedCredential>]| -> Vec<_> {
            let kept = rules.iter().filter(|rule| !changed.contains(&rule.id));
            kept.cloned().collect()
        };
        let mut listed = found.map_or_else(Self::default, |found| Self {
            vouched: others(found.vouched()),
            self_service: others(found.self_service()),
        });
        let (vouched, self_service): (Vec<_>, Vec<_>) =
            new.into_iter().partition(|rule| rule.vouched);
        listed.vouched.extend(vouched);
        listed.self_service.extend(self_service);
        listed.vouched.sort_by_key(|rule| rule.id);
        listed.self_service.sort_by_key(|rule| rule.id);
        listed
    }

    fn found(self) -> Option<Bucket> {
        match (self.vouched.as_slice(), self.self_service.as_slice()) {
            ([], []) => None,
            ([one], []) | ([], [one]) => Some(Bucket::One(one.clone())),
            _ => Some(Bucket::Several(Arc::new(self))),
        }
    }
}
