//! The identity providers and memberships of a snapshot.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;

use super::super::{IdentityProvider, Membership};
use super::Snapshot;
use crate::ids::{IdentityProviderId, MembershipId};
use crate::profile::Claims;

/// A membership with the index keys under which it is listed. They are not derived anew when it is
/// removed, since its identity provider may be gone by then.
#[derive(Clone, Debug)]
struct Kept {
    membership: Arc<Membership>,
    keys: Arc<[u64]>,
}

/// There are few of them beside the rules, and they change seldom: a changed snapshot copies the maps
/// as a whole, and any other one shares them.
#[derive(Clone, Debug)]
pub(super) struct People {
    providers: BTreeMap<IdentityProviderId, Arc<IdentityProvider>>,
    memberships: HashMap<MembershipId, Kept>,
    /// The memberships under each index key, sorted by id.
    index: HashMap<u64, Vec<Arc<Membership>>>,
    hasher: RandomState,
}

impl People {
    pub(super) fn new() -> Self {
        Self {
            providers: BTreeMap::new(),
            memberships: HashMap::new(),
            index: HashMap::new(),
            hasher: RandomState::new(),
        }
    }

    /// The index keys of a membership; the one without field if it has none.
    fn keys_of(&self, membership: &Membership) -> Vec<u64> {
        let provider = self.providers.get(&membership.identity_provider);
        let keys = provider
            .and_then(|provider| Some(membership.rule.rule.open()?.index_keys(&provider.profile)))
            .unwrap_or_default();
        let key = |(field, value): &(String, String)| {
            self.key(membership.identity_provider, field, value)
        };
        if keys.is_empty() {
            return vec![self.key(membership.identity_provider, "", "")];
        }
        keys.iter().map(key).collect()
    }

    /// The hash is keyed with random bytes, so that names cannot be chosen to collide. A collision
    /// only adds a membership that is judged.
    fn key(&self, provider: IdentityProviderId, field: &str, value: &str) -> u64 {
        self.hasher.hash_one((provider, field, value))
    }

    fn insert(&mut self, membership: Arc<Membership>) {
        let keys: Arc<[u64]> = self.keys_of(&membership).into();
        for key in &*keys {
            let listed = self.index.entry(*key).or_default();
            // Memberships are loaded in the order of their ids, so most are added at the end.
            let at = listed.partition_point(|other| other.id < membership.id);
            listed.insert(at, membership.clone());
        }
        let id = membership.id;
        self.memberships.insert(id, Kept { membership, keys });
    }

    fn remove(&mut self, id: MembershipId) {
        let Some(kept) = self.memberships.remove(&id) else {
            return;
        };
        for key in &*kept.keys {
            if let Some(listed) = self.index.get_mut(key) {
                listed.retain(|other| other.id != id);
                if listed.is_empty() {
                    self.index.remove(key);
                }
            }
        }
    }
}

impl Snapshot {
    /// Every identity provider, enabled or not, the oldest first.
    pub fn identity_providers(&self) -> impl Iterator<Item = &Arc<IdentityProvider>> {
        self.people.providers.values()
    }

    pub fn identity_provider(&self, id: IdentityProviderId) -> Option<&Arc<IdentityProvider>> {
        self.people.providers.get(&id)
    }

    /// The identity provider of this name, enabled or not, compared without ASCII case.
    pub fn identity_provider_named(&self, name: &str) -> Option<&Arc<IdentityProvider>> {
        let mut all = self.people.providers.values();
        all.find(|provider| provider.name.eq_ignore_ascii_case(name))
    }

    pub fn membership(&self, id: MembershipId) -> Option<&Arc<Membership>> {
        let kept = self.people.memberships.get(&id);
        kept.map(|kept| &kept.membership)
    }

    /// The memberships of an identity provider, in no particular order. Every membership in the
    /// snapshot is visited.
    pub fn memberships_of(
        &self,
        provider: IdentityProviderId,
    ) -> impl Iterator<Item = &Arc<Membership>> {
        let all = self.people.memberships.values();
        let all = all.map(|kept| &kept.membership);
        all.filter(move |membership| membership.identity_provider == provider)
    }

    /// The memberships that these claims may match, the oldest first.
    pub fn memberships_for(
        &self,
        provider: &IdentityProvider,
        claims: &Claims,
    ) -> Vec<Arc<Membership>> {
        let people = &self.people;
        let mut keys = vec![people.key(provider.id, "", "")];
        let fields = &provider.profile.fields;
        for parts in provider.profile.index.iter().flatten() {
            let parts: Vec<_> = parts.iter().filter_map(|at| fields.get(*at)).collect();
            let [field] = parts.as_slice() else {
                continue;
            };
            let values = field.keys(claims);
            let of_field = values
                .iter()
                .map(|value| people.key(provider.id, &field.name, value));
            keys.extend(of_field);
        }
        keys.sort_unstable();
        keys.dedup();
        let listed = keys.iter().filter_map(|key| people.index.get(key));
        let mut found: Vec<_> = listed
            .flat_map(|all| all.iter())
            .filter(|membership| membership.identity_provider == provider.id)
            .cloned()
            .collect();
        found.sort_unstable_by_key(|membership| membership.id);
        found.dedup_by_key(|membership| membership.id);
        found
    }

    /// Inserts or replaces an identity provider; `None` removes it.
    pub fn set_identity_provider(
        &mut self,
        id: IdentityProviderId,
        provider: Option<IdentityProvider>,
    ) {
        let providers = &mut Arc::make_mut(&mut self.people).providers;
        match provider {
            Some(provider) => providers.insert(id, Arc::new(provider)),
            None => providers.remove(&id),
        };
    }

    /// Inserts or replaces a membership; `None` removes it. Its identity provider has to be in the
    /// snapshot already.
    pub fn set_membership(&mut self, id: MembershipId, membership: Option<Membership>) {
        let people = Arc::make_mut(&mut self.people);
        people.remove(id);
        if let Some(membership) = membership {
            people.insert(Arc::new(membership));
        }
    }
}
