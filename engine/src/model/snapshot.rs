//! All objects that decisions are made from, as of one moment: immutable, shared, and found by key.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use super::rule::join;
use super::shards::Shards;
use super::{Client, FederatedCredential, Principal, ResourceServer, TrustedIssuer};
use crate::ids::{ClientRowId, CredentialId, TrustedIssuerId};
use crate::profile::Claims;

/// All compiled objects as of one value of the change counter.
///
/// A changed copy shares everything that did not change, so a change is cheap however many rules
/// there are.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The value of the change counter. All changes up to it are included.
    pub version: i64,
    issuers: HashMap<TrustedIssuerId, Arc<TrustedIssuer>>,
    issuers_by_iss: HashMap<String, Vec<Arc<TrustedIssuer>>>,
    issuers_by_trust_domain: HashMap<String, Vec<Arc<TrustedIssuer>>>,
    resource_servers: HashMap<String, Arc<ResourceServer>>,
    clients: Shards<String, Arc<Client>>,
    client_names: Shards<ClientRowId, String>,
    principals: Shards<Arc<str>, Arc<Principal>>,
    principal_names: Shards<String, Arc<str>>,
    credentials: Shards<CredentialId, Arc<FederatedCredential>>,
    index: Shards<u64, Bucket>,
    hasher: RandomState,
}

/// The rules under one index key; nearly always a single one.
#[derive(Clone, Debug)]
enum Bucket {
    One(Arc<FederatedCredential>),
    Several(Arc<RulesOfKey>),
}

/// The rules under one index key. Both lists are sorted by id, so that all replicas have the same
/// order, whichever rule was saved last.
#[derive(Clone, Debug, Default)]
struct RulesOfKey {
    vouched: Vec<Arc<FederatedCredential>>,
    /// Kept apart, so that self-service rules of other principals for a workload cost its requests
    /// nothing, however many there are.
    self_service: Vec<Arc<FederatedCredential>>,
}

impl Bucket {
    fn vouched(&self) -> &[Arc<FederatedCredential>] {
        match self {
            Self::One(one) if one.vouched => std::slice::from_ref(one),
            Self::One(_) => &[],
            Self::Several(listed) => &listed.vouched,
        }
    }

    fn self_service(&self) -> &[Arc<FederatedCredential>] {
        match self {
            Self::One(one) if one.vouched => &[],
            Self::One(one) => std::slice::from_ref(one),
            Self::Several(listed) => &listed.self_service,
        }
    }
}

impl RulesOfKey {
    /// The rules of `found` without the rule `id`.
    fn without(found: Option<&Bucket>, id: CredentialId) -> Self {
        let others = |rules: &[Arc<FederatedCredential>]| {
            rules.iter().filter(|rule| rule.id != id).cloned().collect()
        };
        found.map_or_else(Self::default, |found| Self {
            vouched: others(found.vouched()),
            self_service: others(found.self_service()),
        })
    }

    fn insert(&mut self, credential: Arc<FederatedCredential>) {
        let rules = if credential.vouched {
            &mut self.vouched
        } else {
            &mut self.self_service
        };
        rules.insert(
            rules.partition_point(|other| other.id < credential.id),
            credential,
        );
    }

    fn found(self) -> Option<Bucket> {
        match (self.vouched.as_slice(), self.self_service.as_slice()) {
            ([], []) => None,
            ([one], []) | ([], [one]) => Some(Bucket::One(one.clone())),
            _ => Some(Bucket::Several(Arc::new(self))),
        }
    }
}

/// The self-service rules to look for, besides all vouched rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// The folded name of a principal, all of whose rules are wanted.
    pub principal: Option<&'a str>,
    /// The most self-service rules of any principal to take from each index key.
    pub others: usize,
}

impl Wanted<'_> {
    pub const ALL: Self = Self {
        principal: None,
        others: usize::MAX,
    };
}

impl Snapshot {
    /// A snapshot without objects, at version 0.
    pub fn empty() -> Self {
        Self {
            version: 0,
            issuers: HashMap::new(),
            issuers_by_iss: HashMap::new(),
            issuers_by_trust_domain: HashMap::new(),
            resource_servers: HashMap::new(),
            clients: Shards::new(),
            client_names: Shards::new(),
            principals: Shards::new(),
            principal_names: Shards::new(),
            credentials: Shards::new(),
            index: Shards::new(),
            hasher: RandomState::new(),
        }
    }

    // === reading ===

    /// The enabled trusted issuers with exactly this `iss`.
    pub fn issuers_of(&self, iss: &str) -> impl Iterator<Item = &Arc<TrustedIssuer>> {
        self.issuers_by_iss
            .get(iss)
            .into_iter()
            .flatten()
            .filter(|issuer| issuer.enabled)
    }

    /// The enabled trusted issuers of this SPIFFE trust domain.
    pub fn issuers_of_trust_domain(
        &self,
        domain: &str,
    ) -> impl Iterator<Item = &Arc<TrustedIssuer>> {
        self.issuers_by_trust_domain
            .get(domain)
            .into_iter()
            .flatten()
            .filter(|issuer| issuer.enabled)
    }

    pub fn issuer(&self, id: TrustedIssuerId) -> Option<&Arc<TrustedIssuer>> {
        self.issuers.get(&id)
    }

    /// Whether `issuer` is enabled and its version is the one in this snapshot.
    pub fn is_current(&self, issuer: &TrustedIssuer) -> bool {
        self.issuers
            .get(&issuer.id)
            .is_some_and(|present| present.enabled && present.version == issuer.version)
    }

    /// The trusted issuer of this name, compared without ASCII case.
    pub fn issuer_named(&self, name: &str) -> Option<&Arc<TrustedIssuer>> {
        self.issuers
            .values()
            .find(|issuer| issuer.name.eq_ignore_ascii_case(name))
    }

    pub fn issuers(&self) -> impl Iterator<Item = &Arc<TrustedIssuer>> {
        self.issuers.values()
    }

    /// The enabled resource server with exactly this name.
    pub fn resource_server(&self, name: &str) -> Option<&Arc<ResourceServer>> {
        self.resource_servers
            .get(name)
            .filter(|server| server.enabled)
    }

    /// The enabled resource server whose URI or alias is `resource`.
    pub fn resource_server_named(&self, resource: &str) -> Option<&Arc<ResourceServer>> {
        self.resource_servers
            .values()
            .find(|server| server.enabled && server.is_named(resource))
    }

    /// The enabled resource server whose URI is `aud`. Aliases do not count, since tokens carry the
    /// URI.
    pub fn resource_server_of(&self, aud: &str) -> Option<&Arc<ResourceServer>> {
        self.resource_servers
            .values()
            .find(|server| server.enabled && server.resource == aud)
    }

    /// The enabled resource server of this name, compared without ASCII case.
    pub fn resource_server_called(&self, name: &str) -> Option<&Arc<ResourceServer>> {
        self.resource_servers
            .values()
            .find(|server| server.enabled && server.name.eq_ignore_ascii_case(name))
    }

    pub fn resource_servers(&self) -> impl Iterator<Item = &Arc<ResourceServer>> {
        self.resource_servers.values()
    }

    pub fn client(&self, client_id: &str) -> Option<&Arc<Client>> {
        self.clients.get(client_id)
    }

    /// The client with this internal id.
    pub fn client_of(&self, id: ClientRowId) -> Option<&Arc<Client>> {
        self.client(self.client_names.get(&id)?)
    }

    pub fn principal_of_id(&self, id: &str) -> Option<&Arc<Principal>> {
        self.principals.get(&**self.principal_names.get(id)?)
    }

    /// The principal whose name in ASCII lower case is `folded`.
    pub fn principal(&self, folded: &str) -> Option<&Arc<Principal>> {
        self.principals.get(folded)
    }

    pub fn credential(&self, id: CredentialId) -> Option<&Arc<FederatedCredential>> {
        self.credentials.get(&id)
    }

    /// The rules of a trusted issuer, in no particular order. Every rule in the snapshot is
    /// visited.
    pub fn credentials_of(
        &self,
        issuer: TrustedIssuerId,
    ) -> impl Iterator<Item = &Arc<FederatedCredential>> {
        self.credentials
            .values()
            .filter(move |credential| credential.trusted_issuer == issuer)
    }

    pub fn credential_count(&self) -> usize {
        self.credentials.len()
    }

    /// The candidates for an assertion of `issuer` with these claims: the rules under the index
    /// keys of the claims and the rules without index keys, as far as `wanted` and `may_count`
    /// admit them.
    pub fn candidates(
        &self,
        issuer: &TrustedIssuer,
        claims: &Claims,
        wanted: Wanted<'_>,
        may_count: impl Fn(&FederatedCredential) -> bool,
    ) -> Vec<Arc<FederatedCredential>> {
        // The hashes of two index keys may be equal, and a rule of another issuer is written for
        // another profile.
        let may_count = |credential: &FederatedCredential| {
            credential.trusted_issuer == issuer.id && may_count(credential)
        };
        let mut found: Vec<Arc<FederatedCredential>> = Vec::new();
        let mut add = |rules: &[Arc<FederatedCredential>], most: usize| {
            found.extend(
                rules
                    .iter()
                    .filter(|credential| may_count(credential))
                    .take(most)
                    .cloned(),
            );
        };
        let mut take = |field: &str, value: &str| {
            let key = self.key(issuer.id, field, value);
            if let Some(under) = self.index.get(&key) {
                add(under.vouched(), usize::MAX);
                add(under.self_service(), wanted.others);
            }
            let of_principal = wanted
                .principal
                .and_then(|principal| self.index.get(&self.key_of(key, principal)));
            add(
                of_principal.map(Bucket::self_service).unwrap_or_default(),
                usize::MAX,
            );
        };
        let fields = &issuer.profile.fields;
        for parts in issuer.profile.index.iter().flatten() {
            let mut found = parts
                .iter()
                .filter_map(|at| fields.get(*at))
                .map(|field| (&field.name, field.key(claims)));
            let Some((name, Some(value))) = found.next() else {
                continue;
            };
            // Most index keys have a single field; names and values are joined only for the others.
            let joined = found.try_fold(
                (Cow::from(name), Cow::from(value)),
                |(names, before), (name, value)| {
                    Some((join(&names, name).into(), join(&before, &value?).into()))
                },
            );
            if let Some((names, value)) = joined {
                take(&names, &value);
            }
        }
        take("", "");
        // A rule with several index keys that fit the claims was found several times.
        found.sort_unstable_by_key(|credential| credential.id);
        found.dedup_by_key(|credential| credential.id);
        found
    }

    /// The index keys of a rule in readable form, each with all rules under it.
    pub fn found_beside(
        &self,
        credential: &FederatedCredential,
    ) -> Vec<(String, Vec<Arc<FederatedCredential>>)> {
        let Some(issuer) = self.issuers.get(&credential.trusted_issuer) else {
            return Vec::new();
        };
        let keys = credential
            .rule
            .open()
            .map(|rule| rule.index_keys(&issuer.profile))
            .unwrap_or_default();
        let shown = |(names, values): &(String, String)| {
            let pairs = names
                .split('\0')
                .zip(values.split('\0'))
                .map(|(name, value)| format!("{name} {value}"));
            format!("{}, {}", issuer.name, pairs.collect::<Vec<_>>().join(", "))
        };
        let under = |(names, values): &(String, String)| {
            let found = self.index.get(&self.key(issuer.id, names, values));
            found
                .map(|found| [found.vouched(), found.self_service()].concat())
                .unwrap_or_default()
        };
        keys.iter().map(|key| (shown(key), under(key))).collect()
    }

    // === making a changed copy ===

    /// Inserts or replaces a trusted issuer; `None` removes it.
    pub fn set_issuer(&mut self, id: TrustedIssuerId, issuer: Option<TrustedIssuer>) {
        match issuer {
            Some(issuer) => self.issuers.insert(id, Arc::new(issuer)),
            None => self.issuers.remove(&id),
        };
        self.issuers_by_iss.clear();
        self.issuers_by_trust_domain.clear();
        // Sorted so that every replica picks the same issuer when no audience matches.
        let mut issuers: Vec<_> = self.issuers.values().collect();
        issuers.sort_by_key(|issuer| issuer.id);
        for issuer in issuers {
            if let Some(domain) = &issuer.terms.trust_domain {
                self.issuers_by_trust_domain
                    .entry(domain.clone())
                    .or_default()
                    .push(issuer.clone());
            }
            self.issuers_by_iss
                .entry(issuer.issuer.clone())
                .or_default()
                .push(issuer.clone());
        }
    }

    /// Inserts or replaces a resource server; `None` removes it.
    pub fn set_resource_server(&mut self, name: &str, server: Option<ResourceServer>) {
        match server {
            Some(server) => self
                .resource_servers
                .insert(name.to_owned(), Arc::new(server)),
            None => self.resource_servers.remove(name),
        };
    }

    /// Inserts or replaces a client; `None` removes it.
    pub fn set_client(&mut self, client_id: &str, client: Option<Client>) {
        if let Some(old) = self.clients.remove(client_id) {
            self.client_names.remove(&old.id);
        }
        if let Some(client) = client {
            self.client_names.insert(client.id, client_id.to_owned());
            self.clients.insert(client_id.to_owned(), Arc::new(client));
        }
    }

    /// Inserts or replaces a principal; `None` removes it.
    pub fn set_principal(&mut self, name: &str, principal: Option<Principal>) {
        let folded = name.to_ascii_lowercase();
        // Rules share this allocation of the name, so it is kept when the principal changes.
        let key = self
            .principals
            .key(folded.as_str())
            .cloned()
            .unwrap_or_else(|| folded.as_str().into());
        if let Some(old) = self.principals.remove(&*key) {
            self.principal_names.remove(&old.id);
        }
        if let Some(principal) = principal {
            self.principal_names
                .insert(principal.id.clone(), key.clone());
            self.principals.insert(key, Arc::new(principal));
        }
    }

    /// Inserts or replaces a rule; `None` removes it. The trusted issuer and the principal of the
    /// rule have to be in the snapshot already.
    pub fn set_credential(&mut self, id: CredentialId, credential: Option<FederatedCredential>) {
        if let Some(old) = self.credentials.remove(&id) {
            for key in self.keys_of(&old) {
                self.unlist(key, id);
            }
        }
        if let Some(mut credential) = credential {
            // All rules of a principal share one copy of its name.
            if let Some(key) = self.principals.key(&*credential.principal) {
                credential.principal = key.clone();
            }
            let credential = Arc::new(credential);
            for key in self.keys_of(&credential) {
                self.list(key, &credential);
            }
            self.credentials.insert(id, credential);
        }
    }

    fn keys_of(&self, credential: &FederatedCredential) -> Vec<u64> {
        // The profile of a trusted issuer cannot change while rules refer to the issuer, so these
        // are the keys under which the rule was listed.
        let Some(issuer) = self.issuers.get(&credential.trusted_issuer) else {
            return Vec::new();
        };
        let mut keys = credential
            .rule
            .open()
            .map(|rule| rule.index_keys(&issuer.profile))
            .unwrap_or_default();
        if keys.is_empty() {
            keys.push((String::new(), String::new()));
        }
        let keys = keys
            .iter()
            .map(|(field, value)| self.key(credential.trusted_issuer, field, value));
        // A self-service rule is also found by its principal.
        let of_principal =
            |key| (!credential.vouched).then(|| self.key_of(key, &credential.principal));
        keys.flat_map(|key| [Some(key), of_principal(key)])
            .flatten()
            .collect()
    }

    /// The hash is keyed with random bytes, so that names cannot be chosen to collide. A collision
    /// within one trusted issuer only adds a candidate.
    fn key(&self, issuer: TrustedIssuerId, field: &str, value: &str) -> u64 {
        self.hasher.hash_one((issuer, field, value))
    }

    /// The key of one principal's self-service rules among the rules under `key`.
    fn key_of(&self, key: u64, principal: &str) -> u64 {
        self.hasher.hash_one((key, principal))
    }

    fn list(&mut self, key: u64, credential: &Arc<FederatedCredential>) {
        let mut listed = RulesOfKey::without(self.index.get(&key), credential.id);
        listed.insert(credential.clone());
        self.set(key, listed);
    }

    fn unlist(&mut self, key: u64, id: CredentialId) {
        let left = RulesOfKey::without(self.index.get(&key), id);
        self.set(key, left);
    }

    fn set(&mut self, key: u64, listed: RulesOfKey) {
        match listed.found() {
            Some(found) => self.index.insert(key, found),
            None => drop(self.index.remove(&key)),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;
    use uuid::Uuid;

    use super::super::rule::{PackedRule, Rule};
    use super::super::trusted_issuer::KeySource;
    use super::*;
    use crate::clock::Timestamp;
    use crate::profile::{Profile, Profiles, Replay, Terms};

    fn issuer(id: u128, profile: &Arc<Profile>) -> TrustedIssuer {
        TrustedIssuer {
            id: TrustedIssuerId(Uuid::from_u128(id)),
            name: id.to_string(),
            version: 1,
            profile: profile.clone(),
            issuer: format!("https://{id}.test"),
            terms: Terms::default(),
            keys: KeySource::Discovery,
            audiences: Vec::new(),
            extra_audiences: Vec::new(),
            algorithms: Vec::new(),
            types: Vec::new(),
            max_assertion_lifetime_seconds: 60,
            leeway_seconds: 0,
            cap_at_assertion_expiry: false,
            replay: Replay::Off,
            replay_claim: "jti".to_owned(),
            banned_events: Vec::new(),
            grants: Vec::new(),
            ca_pem: None,
            allow_private: Vec::new(),
            owner: None,
            enabled: true,
        }
    }

    #[test]
    fn a_rule_of_another_issuer_is_no_candidate_when_index_keys_collide() {
        let profiles = Profiles::load(None).unwrap();
        let (one, other) = (
            issuer(1, profiles.get("generic").unwrap()),
            issuer(2, profiles.get("spiffe").unwrap()),
        );
        let mut snapshot = Snapshot::empty();
        snapshot.set_issuer(one.id, Some(one.clone()));
        snapshot.set_issuer(other.id, Some(other.clone()));
        let of = |id: u128, issuer: &TrustedIssuer| FederatedCredential {
            id: CredentialId(Uuid::from_u128(id)),
            principal: "p".into(),
            trusted_issuer: issuer.id,
            revision: 1,
            created_at: Timestamp::from_seconds(0),
            expires_at: None,
            pending_until: None,
            enabled: true,
            vouched: true,
            rule: PackedRule::new(&Rule::default()),
        };
        let (own, foreign) = (of(1, &one), of(2, &other));
        let key = snapshot.key(one.id, "", "");
        snapshot.list(key, &Arc::new(foreign));
        snapshot.set_credential(own.id, Some(own));
        let found = snapshot.candidates(&one, &Claims::new(Map::new()), Wanted::ALL, |_| true);
        assert_eq!(
            found
                .iter()
                .map(|rule| rule.id.0.as_u128())
                .collect::<Vec<_>>(),
            [1]
        );
    }
}
