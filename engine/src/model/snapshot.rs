//! All objects that decisions are made from, as of one moment: immutable, shared, and found by key.

mod index;
mod objects;
mod people;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use self::index::Bucket;
use self::people::People;
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
    /// By the name in lower case.
    issuer_names: HashMap<String, TrustedIssuerId>,
    issuers_by_iss: HashMap<String, Vec<Arc<TrustedIssuer>>>,
    issuers_by_trust_domain: HashMap<String, Vec<Arc<TrustedIssuer>>>,
    resource_servers: HashMap<String, Arc<ResourceServer>>,
    clients: Shards<String, Arc<Client>>,
    client_names: Shards<ClientRowId, String>,
    principals: Shards<Arc<str>, Arc<Principal>>,
    principal_names: Shards<String, Arc<str>>,
    credentials: Shards<CredentialId, Arc<FederatedCredential>>,
    index: Shards<u64, Bucket>,
    people: Arc<People>,
    hasher: RandomState,
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
            issuer_names: HashMap::new(),
            issuers_by_iss: HashMap::new(),
            issuers_by_trust_domain: HashMap::new(),
            resource_servers: HashMap::new(),
            clients: Shards::new(),
            client_names: Shards::new(),
            principals: Shards::new(),
            principal_names: Shards::new(),
            credentials: Shards::new(),
            index: Shards::new(),
            people: Arc::new(People::new()),
            hasher: RandomState::new(),
        }
    }

    // === reading rules ===

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
        if let Some(old) = self.issuers.remove(&id) {
            // Another one may have taken the name already.
            let name = old.name.to_ascii_lowercase();
            if self.issuer_names.get(&name) == Some(&id) {
                self.issuer_names.remove(&name);
            }
            take_out(&mut self.issuers_by_iss, &old.issuer, id);
            if let Some(domain) = &old.terms.trust_domain {
                take_out(&mut self.issuers_by_trust_domain, domain, id);
            }
        }
        let Some(issuer) = issuer.map(Arc::new) else {
            return;
        };
        self.issuer_names
            .insert(issuer.name.to_ascii_lowercase(), id);
        put_in(&mut self.issuers_by_iss, &issuer.issuer, &issuer);
        if let Some(domain) = &issuer.terms.trust_domain {
            put_in(&mut self.issuers_by_trust_domain, domain, &issuer);
        }
        self.issuers.insert(id, issuer);
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
        self.set_credentials(BTreeMap::from([(id, credential)]));
    }

    /// The same for many rules. Each index key is written once, so the time does not grow with the
    /// square of their number if they share one.
    pub fn set_credentials(&mut self, rules: BTreeMap<CredentialId, Option<FederatedCredential>>) {
        let changed: HashSet<CredentialId> = rules.keys().copied().collect();
        let mut new_by_key = HashMap::<u64, Vec<Arc<FederatedCredential>>>::new();
        for (id, credential) in rules {
            if let Some(old) = self.credentials.remove(&id) {
                for key in self.keys_of(&old) {
                    new_by_key.entry(key).or_default();
                }
            }
            if let Some(credential) = credential {
                let credential = self.shared(credential);
                for key in self.keys_of(&credential) {
                    new_by_key.entry(key).or_default().push(credential.clone());
                }
                self.credentials.insert(id, credential);
            }
        }
        for (key, new) in new_by_key {
            match Bucket::after(self.index.get(&key), &changed, new) {
                Some(bucket) => self.index.insert(key, bucket),
                None => drop(self.index.remove(&key)),
            }
        }
    }

    /// All rules of a principal share one copy of its name.
    fn shared(&self, mut credential: FederatedCredential) -> Arc<FederatedCredential> {
        if let Some(key) = self.principals.key(&*credential.principal) {
            credential.principal = key.clone();
        }
        Arc::new(credential)
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
}

/// Lists of issuers by something that several may share.
type Shared = HashMap<String, Vec<Arc<TrustedIssuer>>>;

/// Adds an issuer to a list, which is sorted so that every replica picks the same issuer when no
/// audience matches.
fn put_in(lists: &mut Shared, key: &str, issuer: &Arc<TrustedIssuer>) {
    let list = lists.entry(key.to_owned()).or_default();
    let at = list.partition_point(|other| other.id < issuer.id);
    list.insert(at, issuer.clone());
}

fn take_out(lists: &mut Shared, key: &str, id: TrustedIssuerId) {
    if let Some(list) = lists.get_mut(key) {
        list.retain(|issuer| issuer.id != id);
        if list.is_empty() {
            lists.remove(key);
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
            attestation: None,
            owner: None,
            enabled: true,
        }
    }

    #[test]
    fn changed_issuers_are_found_by_what_they_are_now() {
        let profiles = Profiles::load(None).unwrap();
        let made = |id: u128, name: &str, iss: &str, domain: Option<&str>| {
            let mut issuer = issuer(id, profiles.get("generic").unwrap());
            (issuer.name, issuer.issuer) = (name.to_owned(), iss.to_owned());
            issuer.terms.trust_domain = domain.map(str::to_owned);
            (issuer.id, Some(issuer))
        };
        let mut snapshot = Snapshot::empty();
        for (id, issuer) in [
            made(3, "Three", "https://a.test", Some("a.test")),
            made(1, "one", "https://a.test", None),
            made(2, "two", "https://b.test", Some("a.test")),
        ] {
            snapshot.set_issuer(id, issuer);
        }
        let ids = |issuers: Vec<&Arc<TrustedIssuer>>| {
            let ids = issuers.iter().map(|issuer| issuer.id.0.as_u128());
            ids.collect::<Vec<_>>()
        };
        let by_iss = |snapshot: &Snapshot, iss: &str| ids(snapshot.issuers_of(iss).collect());
        let by_domain =
            |snapshot: &Snapshot| ids(snapshot.issuers_of_trust_domain("a.test").collect());
        assert_eq!(by_iss(&snapshot, "https://a.test"), [1, 3]);
        assert_eq!(by_domain(&snapshot), [2, 3]);
        assert_eq!(snapshot.issuer_named("tHREE").unwrap().name, "Three");
        // Another `iss`, no trust domain any more; and one that is gone, whose name another one took before.
        let (id, issuer) = made(3, "Three", "https://b.test", None);
        snapshot.set_issuer(id, issuer);
        let (id, issuer) = made(4, "one", "https://b.test", None);
        snapshot.set_issuer(id, issuer);
        snapshot.set_issuer(TrustedIssuerId(Uuid::from_u128(1)), None);
        assert!(by_iss(&snapshot, "https://a.test").is_empty());
        assert_eq!(by_iss(&snapshot, "https://b.test"), [2, 3, 4]);
        assert_eq!(by_domain(&snapshot), [2]);
        assert_eq!(snapshot.issuer_named("ONE").unwrap().id.0.as_u128(), 4);
        assert_eq!(snapshot.issuers().count(), 3);
    }

    #[test]
    fn ten_thousand_issuers_are_listed_without_listing_all_for_each() {
        let profiles = Profiles::load(None).unwrap();
        let mut snapshot = Snapshot::empty();
        // Listing all for each would take half an hour.
        for id in 0..10_000 {
            let issuer = issuer(id, profiles.get("generic").unwrap());
            snapshot.set_issuer(issuer.id, Some(issuer));
        }
        for id in 0..10_000 {
            assert!(snapshot.issuer_named(&id.to_string()).is_some());
        }
    }

    #[test]
    fn many_rules_at_once_are_listed_like_one_after_the_other() {
        let profiles = Profiles::load(None).unwrap();
        let issuer = issuer(1, profiles.get("generic").unwrap());
        let of = |id: u128, revision: u32, vouched: bool| FederatedCredential {
            id: CredentialId(Uuid::from_u128(id)),
            principal: "p".into(),
            trusted_issuer: issuer.id,
            revision,
            created_at: Timestamp::from_seconds(0),
            expires_at: None,
            pending_until: None,
            enabled: true,
            vouched,
            rule: PackedRule::new(&Rule::default()),
        };
        let mut snapshot = Snapshot::empty();
        snapshot.set_issuer(issuer.id, Some(issuer.clone()));
        for id in [5, 1, 3] {
            let rule = of(id, 1, id != 3);
            snapshot.set_credential(rule.id, Some(rule));
        }
        let newer = || {
            [
                of(3, 2, true),
                of(2, 1, false),
                of(1, 2, false),
                of(9, 1, true),
            ]
        };
        let mut one_by_one = snapshot.clone();
        for rule in newer() {
            one_by_one.set_credential(rule.id, Some(rule));
        }
        let all = newer().map(|rule| (rule.id, Some(rule)));
        snapshot.set_credentials(all.into());
        let listed = |snapshot: &Snapshot| -> Vec<(u128, u32)> {
            let claims = Claims::new(Map::new());
            let found = snapshot.candidates(&issuer, &claims, Wanted::ALL, |_| true);
            let found = found
                .iter()
                .map(|rule| (rule.id.0.as_u128(), rule.revision));
            found.collect()
        };
        assert_eq!(listed(&snapshot).len(), 5);
        assert_eq!(listed(&snapshot), listed(&one_by_one));
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
        let bucket = Bucket::after(None, &HashSet::new(), vec![Arc::new(foreign)]);
        snapshot.index.insert(key, bucket.unwrap());
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
