//! Rate limits, keyed so that one noisy caller does not slow the others.

use std::hash::Hash;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};
use moka::sync::Cache;

use crate::config::RateLimits;
use crate::ids::{CredentialId, TrustedIssuerId};
use crate::reason::Reason;
use crate::refusal::Refusal;

type Instant = <DefaultClock as governor::clock::Clock>::Instant;

/// How many of those that are over a limit are remembered.
const MOST_HELD_OFF: u64 = 100_000;

/// The limits of this server.
#[derive(Debug)]
pub struct Limits {
    refusals: Limit<IpAddr>,
    credentials: Limit<CredentialId>,
    issuers: Limit<TrustedIssuerId>,
    clients: Limit<String>,
    secrets: Limit<([u8; 32], Option<IpAddr>)>,
    introspections: Limit<String>,
}

/// One limit; where its number is 0 there is none. What counts is noted after the fact: whoever goes over the limit is held off
/// until there is room again.
#[derive(Debug)]
struct Limit<K: Hash + Eq + Clone + Send + Sync + 'static> {
    budget: Option<DefaultKeyedRateLimiter<K>>,
    held_off: Cache<K, Instant>,
}

impl Limits {
    /// Limits of this size.
    pub fn new(config: RateLimits) -> Self {
        Self {
            refusals: Limit::per_minute(config.refusals_per_minute_per_address),
            credentials: Limit::per_minute(config.tokens_per_minute_per_credential),
            issuers: Limit::per_minute(config.tokens_per_minute_per_trusted_issuer),
            clients: Limit::per_minute(config.tokens_per_minute_per_client),
            secrets: Limit::per_minute(config.wrong_secrets_per_minute_per_client),
            introspections: Limit::per_minute(config.inactive_introspections_per_minute_per_client),
        }
    }

    /// Whether this address may send requests. Only refused requests use up its budget, so honest callers behind one
    /// address do not feel each other.
    pub fn admit(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        address.map_or(Ok(()), |address| self.refusals.check(&network_of(address)))
    }

    /// Notes that a request of this address was refused.
    pub fn note_refusal(&self, address: Option<IpAddr>) {
        if let Some(address) = address {
            self.refusals.note(&network_of(address));
        }
    }

    /// Whether this trusted issuer may give another token.
    pub fn check_issuer(&self, issuer: TrustedIssuerId) -> Result<(), Refusal> {
        self.issuers.check(&issuer)
    }

    /// Whether this credential may give another token.
    pub fn check_credential(&self, credential: CredentialId) -> Result<(), Refusal> {
        self.credentials.check(&credential)
    }

    /// Notes that a token was issued for an assertion of this trusted issuer. Refusals, replays among them, use up nothing.
    pub fn note_issuer(&self, issuer: TrustedIssuerId) {
        self.issuers.note(&issuer);
    }

    /// Notes that this credential gave a token.
    pub fn note_credential(&self, credential: CredentialId) {
        self.credentials.note(&credential);
    }

    /// Whether this client may get another token for itself.
    pub fn check_client(&self, client_id: &str) -> Result<(), Refusal> {
        self.clients.check(&client_id.to_owned())
    }

    /// Notes that a client got a token for itself.
    pub fn note_client(&self, client_id: &str) {
        self.clients.note(&client_id.to_owned());
    }

    /// Whether this address may try another secret of this client. Whoever guesses does not lock out the client itself, which comes from
    /// elsewhere.
    pub fn check_secrets(&self, client_id: &str, address: Option<IpAddr>) -> Result<(), Refusal> {
        self.secrets.check(&guesser(client_id, address))
    }

    /// Notes that a secret was wrong.
    pub fn note_wrong_secret(&self, client_id: &str, address: Option<IpAddr>) {
        self.secrets.note(&guesser(client_id, address));
    }

    /// Whether this client may ask about another token.
    pub fn check_introspection(&self, client_id: &str) -> Result<(), Refusal> {
        self.introspections.check(&client_id.to_owned())
    }

    /// Notes that a client asked about a token that is nothing to it. Tokens in force do not count.
    pub fn note_inactive(&self, client_id: &str) {
        self.introspections.note(&client_id.to_owned());
    }

    /// Forgets keys that have their whole budget again.
    pub fn shrink(&self) {
        self.refusals.shrink();
        self.credentials.shrink();
        self.issuers.shrink();
        self.clients.shrink();
        self.secrets.shrink();
        self.introspections.shrink();
    }
}

impl<K: Hash + Eq + Clone + Send + Sync + 'static> Limit<K> {
    fn per_minute(number: u32) -> Self {
        let budget = NonZeroU32::new(number).map(|number| RateLimiter::keyed(Quota::per_minute(number)));
        Self { budget, held_off: Cache::new(MOST_HELD_OFF) }
    }

    fn check(&self, key: &K) -> Result<(), Refusal> {
        let Some(until) = self.budget.as_ref().and_then(|_| self.held_off.get(key)) else {
            return Ok(());
        };
        let now = DefaultClock::default().now();
        if until <= now {
            self.held_off.invalidate(key);
            return Ok(());
        }
        Err(limited(until.duration_since(now)))
    }

    fn note(&self, key: &K) {
        if let Some(Err(not_until)) = self.budget.as_ref().map(|budget| budget.check_key(key)) {
            self.held_off.insert(key.clone(), not_until.earliest_possible());
        }
    }

    fn shrink(&self) {
        if let Some(budget) = &self.budget {
            budget.retain_recent();
            budget.shrink_to_fit();
        }
    }
}

/// Who guesses at whose secret. Anybody can name any client, so the name is kept as a hash.
fn guesser(client_id: &str, address: Option<IpAddr>) -> ([u8; 32], Option<IpAddr>) {
    (carnet_jose::sha256(client_id.as_bytes()), address.map(network_of))
}

fn limited(wait: Duration) -> Refusal {
    let seconds = u32::try_from(wait.as_secs()).unwrap_or(u32::MAX).saturating_add(1);
    Refusal::later(Reason::RateLimited, seconds)
}

/// One customer has a whole /64 of IPv6 addresses, so that counts as one.
pub fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            v6.to_ipv4_mapped().map_or(IpAddr::from([a, b, c, d, 0, 0, 0, 0]), IpAddr::V4)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(refusals: u32, tokens: u32) -> Limits {
        Limits::new(RateLimits {
            refusals_per_minute_per_address: refusals,
            tokens_per_minute_per_credential: tokens,
            tokens_per_minute_per_trusted_issuer: 0,
            tokens_per_minute_per_client: 0,
            wrong_secrets_per_minute_per_client: 2,
            inactive_introspections_per_minute_per_client: 2,
        })
    }

    fn address(text: &str) -> Option<IpAddr> {
        text.parse().ok()
    }

    #[test]
    fn only_refusals_count_and_only_for_their_address() {
        let limits = limits(3, 0);
        for _ in 0..100 {
            assert!(limits.admit(address("192.0.2.1")).is_ok());
        }
        for _ in 0..4 {
            limits.note_refusal(address("192.0.2.1"));
        }
        let refusal = limits.admit(address("192.0.2.1")).unwrap_err();
        assert_eq!(refusal.reason, Reason::RateLimited);
        assert!(refusal.retry_after.is_some_and(|seconds| (1..=61).contains(&seconds)));
        assert!(limits.admit(address("192.0.2.2")).is_ok());
        assert!(limits.admit(None).is_ok());
        limits.shrink();
    }

    #[test]
    fn a_customers_ipv6_network_counts_as_one() {
        let limits = limits(1, 0);
        for _ in 0..2 {
            limits.note_refusal(address("2001:db8:1:2::1"));
        }
        assert!(limits.admit(address("2001:db8:1:2:ffff::9")).is_err());
        assert!(limits.admit(address("2001:db8:1:3::1")).is_ok());
        assert_eq!(network_of("::ffff:192.0.2.1".parse().unwrap()), "192.0.2.1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn nuget_tok_6__one_credential_over_its_limit_does_not_slow_another() {
        use crate::clock::Timestamp;
        let limits = limits(0, 2);
        let issuer = TrustedIssuerId::new(Timestamp::from_seconds(1));
        let (one, other) =
            (CredentialId::new(Timestamp::from_seconds(1)), CredentialId::new(Timestamp::from_seconds(1)));
        for _ in 0..3 {
            assert!(limits.check_credential(one).is_ok());
            limits.note_issuer(issuer);
            limits.note_credential(one);
        }
        assert_eq!(limits.check_credential(one).unwrap_err().reason, Reason::RateLimited);
        assert!(limits.check_credential(other).is_ok());
        assert!(limits.check_issuer(issuer).is_ok(), "0 switches a limit off");
        limits.note_refusal(address("192.0.2.1"));
        assert!(limits.admit(address("192.0.2.1")).is_ok(), "0 switches a limit off");
    }

    #[test]
    fn rfc6749_2_3_1_4__guessing_secrets_is_held_off_for_the_guesser_and_the_client_alone() {
        let limits = limits(0, 0);
        for _ in 0..3 {
            assert!(limits.check_secrets("bot", address("192.0.2.1")).is_ok());
            limits.note_wrong_secret("bot", address("192.0.2.1"));
        }
        let refusal = limits.check_secrets("bot", address("192.0.2.1")).unwrap_err();
        assert_eq!((refusal.reason, refusal.retry_after.is_some()), (Reason::RateLimited, true));
        assert!(limits.check_secrets("other", address("192.0.2.1")).is_ok());
        assert!(limits.check_secrets("bot", address("192.0.2.2")).is_ok());
        assert!(limits.check_client("bot").is_ok());
    }
}
