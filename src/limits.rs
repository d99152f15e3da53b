//! Rate limits for addresses, rules, trusted issuers, clients and subjects of admin tokens.
//!
//! Each limit counts per key, so that one caller over its limit does not slow down the others.
//! Budgets refill evenly over a minute and are kept in memory: each replica counts for itself
//! (`docs/src/reference/limits.md`).

mod exchanges;
mod limit;
mod networks;
mod trials;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use exchanges::Exchanges;
use limit::Limit;
use networks::NetworkLimit;
pub use networks::{Exhausted, network_of};
pub use trials::Trial;
use trials::Trials;

use crate::config::RateLimits;
use crate::decision::TokenLimits;
use crate::ids::{CredentialId, IdentityProviderId, TrustedIssuerId};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// The period of all limits.
const MINUTE: Duration = Duration::from_mins(1);
/// Keys remembered per limit, which bounds its memory.
const MOST_KEYS: usize = 100_000;
/// How many rules of one revocation count as one change over the admin API.
const RULES_PER_WRITE: usize = 100;
/// How long a request from a network over its limit waits for its turn.
const PROBATION_WAIT: Duration = Duration::from_secs(1);
/// The rate limits of one server process.
#[derive(Debug)]
pub struct RateLimiter {
    refusals: NetworkLimit,
    probation: Cache<IpAddr, Arc<Semaphore>>,
    credentials: Limit<CredentialId>,
    issuers: Limit<TrustedIssuerId>,
    clients: Limit<String>,
    secrets: Limit<([u8; 32], Option<IpAddr>)>,
    introspections: Limit<String>,
    writes: Limit<String>,
    /// Sign-ins that are begun.
    beginnings: NetworkLimit,
    /// Answers of providers.
    callbacks: NetworkLimit,
    exchanges: Exchanges,
    /// The principals of whose rules an owner revokes tokens at the moment.
    revocations: Mutex<HashSet<String>>,
    trials: Trials,
}

/// The only turn of an owner to revoke tokens of a principal's rules, until it is dropped.
#[derive(Debug)]
#[must_use]
pub struct RevocationTurn<'l> {
    limits: &'l RateLimiter,
    principal: String,
}

impl Drop for RevocationTurn<'_> {
    fn drop(&mut self) {
        self.limits.revocations.lock().remove(&self.principal);
    }
}

/// The two requests of a sign-in. Each has a budget of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignInStep {
    /// The person leaves for the provider.
    Begin,
    /// The person comes back with the provider's answer.
    Callback,
}

/// The admission of a request. For a network over its limit it holds the only turn of the network
/// until it is dropped.
#[derive(Debug, Default)]
pub struct AddressAdmission {
    turn: Option<OwnedSemaphorePermit>,
}

impl AddressAdmission {
    /// Whether the network is over its limit. The reason of a refusal is then replaced by the rate
    /// limit, so that the caller learns nothing by guessing.
    pub fn is_on_probation(&self) -> bool {
        self.turn.is_some()
    }
}

/// The uses that one token takes from the limits. Dropping them gives them back, unless
/// [`keep`](Self::keep) was called.
#[derive(Debug)]
#[must_use]
pub struct Taken<'l> {
    limits: &'l RateLimiter,
    issuer: Option<TrustedIssuerId>,
    client: Option<String>,
    credentials: Vec<CredentialId>,
}

impl Taken<'_> {
    /// Keeps the uses, because the token was issued.
    pub fn keep(mut self) {
        self.issuer = None;
        self.client = None;
        self.credentials.clear();
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        if let Some(issuer) = &self.issuer {
            self.limits.issuers.give_back(issuer);
        }
        if let Some(client) = &self.client {
            self.limits.clients.give_back(client);
        }
        for credential in &self.credentials {
            self.limits.credentials.give_back(credential);
        }
    }
}

impl TokenLimits for RateLimiter {
    fn check_client(&self, client_id: &str) -> Result<(), Refusal> {
        self.clients.check(&client_id.to_owned())
    }

    fn check_issuer(&self, issuer: TrustedIssuerId) -> Result<(), Refusal> {
        self.issuers.check(&issuer)
    }

    fn check_credential(&self, credential: CredentialId) -> Result<(), Refusal> {
        self.credentials.check(&credential)
    }
}

impl RateLimiter {
    pub fn new(config: RateLimits) -> Self {
        Self {
            refusals: NetworkLimit::per_minute(config.refusals_per_minute_per_address),
            probation: Cache::builder()
                .max_capacity(MOST_KEYS as u64)
                .time_to_idle(MINUTE)
                .build(),
            credentials: Limit::per_minute(config.tokens_per_minute_per_credential),
            issuers: Limit::per_minute(config.tokens_per_minute_per_trusted_issuer),
            clients: Limit::per_minute(config.tokens_per_minute_per_client),
            secrets: Limit::per_minute(config.wrong_secrets_per_minute_per_client),
            introspections: Limit::per_minute(config.inactive_introspections_per_minute_per_client),
            writes: Limit::per_minute(config.admin_writes_per_minute_per_subject),
            beginnings: NetworkLimit::per_minute(config.sign_ins_per_minute_per_address),
            callbacks: NetworkLimit::per_minute(config.sign_ins_per_minute_per_address),
            exchanges: Exchanges::new(),
            revocations: Mutex::default(),
            trials: Trials::new(),
        }
    }

    /// Admits a request from this address, or refuses it as rate-limited. Only refused requests use
    /// up the budget, so that well-behaved callers behind one address do not affect each other.
    /// Beyond the budget one request at a time is processed, so that valid ones still succeed
    /// beside invalid ones of a neighbour.
    pub async fn admit(&self, address: Option<IpAddr>) -> Result<AddressAdmission, Refusal> {
        match address.and_then(|address| self.exhausted(address)) {
            None => Ok(AddressAdmission::default()),
            Some(exhausted) => self.wait_for_turn(exhausted).await,
        }
    }

    /// Waits for the only turn of a network that is over its limit, for one second at most.
    pub async fn wait_for_turn(
        &self,
        Exhausted { network, refusal }: Exhausted,
    ) -> Result<AddressAdmission, Refusal> {
        let turns = self
            .probation
            .get_with(network, || Arc::new(Semaphore::new(1)));
        match tokio::time::timeout(PROBATION_WAIT, turns.acquire_owned()).await {
            Ok(Ok(turn)) => Ok(AddressAdmission { turn: Some(turn) }),
            Ok(Err(_)) | Err(_) => Err(refusal),
        }
    }

    /// Whether this address and its networks are within their limits.
    pub fn check_address(&self, address: IpAddr) -> Result<(), Refusal> {
        self.exhausted(address)
            .map_or(Ok(()), |exhausted| Err(exhausted.refusal))
    }

    /// The widest network around this address that is over its limit, if there is one.
    pub fn exhausted(&self, address: IpAddr) -> Option<Exhausted> {
        self.refusals.exhausted(address)
    }

    /// Counts a refused request of this address.
    pub fn note_refusal(&self, address: Option<IpAddr>) {
        if let Some(address) = address {
            self.refusals.note(address);
        }
    }

    /// Takes one use from the limits of a token's trusted issuer, or of its client, and of its
    /// rules. Concurrent requests may have used up a budget since the token was decided; the caller
    /// then decides again, which gives the refusal its reason.
    pub fn take(
        &self,
        issuer: Option<TrustedIssuerId>,
        client: Option<&str>,
        credentials: impl Iterator<Item = CredentialId>,
    ) -> Result<Taken<'_>, Refusal> {
        let mut taken = Taken {
            limits: self,
            issuer: None,
            client: None,
            credentials: Vec::new(),
        };
        if let Some(issuer) = issuer {
            self.issuers.take(&issuer)?;
            taken.issuer = Some(issuer);
        }
        if let Some(client) = client {
            let client = client.to_owned();
            self.clients.take(&client)?;
            taken.client = Some(client);
        }
        for credential in credentials {
            self.credentials.take(&credential)?;
            taken.credentials.push(credential);
        }
        Ok(taken)
    }

    /// Takes one change over the admin API from the budget of this token subject.
    pub fn take_write(&self, subject: &str) -> Result<(), Refusal> {
        self.writes.take(&subject.to_owned())
    }

    /// Takes one step of a sign-in from the budgets of this address and of its networks, or from
    /// none of them.
    pub fn take_sign_in(&self, step: SignInStep, address: Option<IpAddr>) -> Result<(), Refusal> {
        let limit = match step {
            SignInStep::Begin => &self.beginnings,
            SignInStep::Callback => &self.callbacks,
        };
        address.map_or(Ok(()), |address| limit.take(address))
    }

    /// One of the eight turns to exchange a code at this provider, until it is dropped. Waits five
    /// seconds for it at most.
    pub async fn exchange_turn(
        &self,
        provider: IdentityProviderId,
    ) -> Result<OwnedSemaphorePermit, Refusal> {
        self.exchanges.turn(provider).await
    }

    /// Counts the rules that a request of this token subject changed beyond the one change that
    /// [`take_write`](Self::take_write) took: every 100 rules as one more.
    pub fn note_rules(&self, subject: &str, rules: usize) {
        let further = u32::try_from(rules.div_euclid(RULES_PER_WRITE)).unwrap_or(u32::MAX);
        self.writes.note_many(&subject.to_owned(), further);
    }

    /// The turn to revoke tokens of this principal's rules. Refused while another owner, or another
    /// request of the same one, has it: a second revocation would end nothing more.
    pub fn revocation_turn(&self, principal: &str) -> Result<RevocationTurn<'_>, Refusal> {
        if !self.revocations.lock().insert(principal.to_owned()) {
            return Err(limited(Duration::ZERO));
        }
        Ok(RevocationTurn {
            limits: self,
            principal: principal.to_owned(),
        })
    }

    /// Begins a test message to a webhook of an owner: a principal, by name, or the operator, by
    /// the empty text. One at a time is sent, and a limited number per minute.
    pub fn begin_trial(&self, owner: &str) -> Result<Trial, Refusal> {
        self.trials.begin(owner)
    }

    /// Whether this address may try another client secret of this client. The address is part of
    /// the key, so that guesses from elsewhere do not lock out the client itself.
    pub fn check_secrets(&self, client_id: &str, address: Option<IpAddr>) -> Result<(), Refusal> {
        self.secrets.check(&guesser(client_id, address))
    }

    /// Counts a wrong client secret.
    pub fn note_wrong_secret(&self, client_id: &str, address: Option<IpAddr>) {
        self.secrets.note(&guesser(client_id, address));
    }

    /// Whether this client may introspect another token that is not in force.
    pub fn check_introspection(&self, client_id: &str) -> Result<(), Refusal> {
        self.introspections.check(&client_id.to_owned())
    }

    /// Counts an introspection that was answered `active: false`. Tokens in force do not count.
    pub fn note_inactive(&self, client_id: &str) {
        self.introspections.note(&client_id.to_owned());
    }

    /// Removes keys whose whole budget is available again.
    pub fn shrink(&self) {
        self.refusals.shrink();
        self.writes.shrink();
        self.beginnings.shrink();
        self.callbacks.shrink();
        self.trials.shrink();
        self.credentials.shrink();
        self.issuers.shrink();
        self.clients.shrink();
        self.secrets.shrink();
        self.introspections.shrink();
    }
}

/// The key of the limit for wrong client secrets. The client id comes from an unauthenticated
/// caller and may be long, so its hash is kept.
fn guesser(client_id: &str, address: Option<IpAddr>) -> ([u8; 32], Option<IpAddr>) {
    (
        carnet_jose::sha256(client_id.as_bytes()),
        address.map(network_of),
    )
}

fn limited(wait: Duration) -> Refusal {
    let seconds = u32::try_from(wait.as_secs())
        .unwrap_or(u32::MAX)
        .saturating_add(1);
    Refusal::later(Reason::RateLimited, seconds)
}

#[cfg(test)]
mod tests {
    use super::networks::larger_network_of;
    use super::*;
    use crate::clock::Timestamp;

    fn limits(refusals: u32, tokens: u32) -> RateLimiter {
        RateLimiter::new(RateLimits {
            refusals_per_minute_per_address: refusals,
            tokens_per_minute_per_credential: tokens,
            tokens_per_minute_per_trusted_issuer: 0,
            tokens_per_minute_per_client: 0,
            wrong_secrets_per_minute_per_client: 2,
            inactive_introspections_per_minute_per_client: 2,
            admin_writes_per_minute_per_subject: 2,
            sign_ins_per_minute_per_address: 2,
        })
    }

    fn address(text: &str) -> Option<IpAddr> {
        text.parse().ok()
    }

    #[test]
    fn only_refusals_count_and_only_for_their_address() {
        let limits = limits(3, 0);
        let check = |text: &str| limits.check_address(text.parse().unwrap());
        for _ in 0..100 {
            assert!(check("192.0.2.1").is_ok());
        }
        for _ in 0..3 {
            assert!(check("192.0.2.1").is_ok());
            limits.note_refusal(address("192.0.2.1"));
        }
        let refusal = check("192.0.2.1").unwrap_err();
        assert_eq!(refusal.reason, Reason::RateLimited);
        assert!(
            refusal
                .retry_after
                .is_some_and(|seconds| (1..=61).contains(&seconds))
        );
        assert!(check("192.0.2.2").is_ok());
        limits.shrink();
        assert!(
            check("192.0.2.1").is_err(),
            "nothing is forgotten before its time"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_limit_ends_after_its_retry_after_time() {
        let limits = limits(2, 3);
        let ends = async |check: &dyn Fn() -> Result<(), Refusal>| {
            let wait = check().unwrap_err().retry_after.unwrap();
            // `retry_after` is rounded up to whole seconds.
            tokio::time::advance(Duration::from_secs(u64::from(wait) - 2)).await;
            assert!(check().is_err(), "not long before {wait} s are over");
            tokio::time::advance(Duration::from_secs(2)).await;
            assert!(check().is_ok(), "after {wait} s");
        };
        let noisy = address("192.0.2.1");
        for _ in 0..2 {
            limits.note_refusal(noisy);
        }
        ends(&|| limits.check_address(noisy.unwrap())).await;
        let credential = CredentialId::new(Timestamp::from_seconds(1));
        for _ in 0..3 {
            limits
                .take(None, None, std::iter::once(credential))
                .unwrap()
                .keep();
        }
        ends(&|| limits.check_credential(credential)).await;
    }

    #[tokio::test]
    async fn an_address_over_its_limit_has_one_turn_at_a_time() {
        let limits = limits(1, 0);
        assert!(
            !limits
                .admit(address("192.0.2.1"))
                .await
                .unwrap()
                .is_on_probation()
        );
        limits.note_refusal(address("192.0.2.1"));
        let turn = limits.admit(address("192.0.2.1")).await.unwrap();
        assert!(turn.is_on_probation());
        assert_eq!(
            limits.admit(address("192.0.2.1")).await.unwrap_err().reason,
            Reason::RateLimited
        );
        assert!(
            !limits
                .admit(address("192.0.2.2"))
                .await
                .unwrap()
                .is_on_probation()
        );
        assert!(!limits.admit(None).await.unwrap().is_on_probation());
        drop(turn);
        assert!(limits.admit(address("192.0.2.1")).await.is_ok());
    }

    #[tokio::test]
    async fn an_ipv6_network_over_its_limit_has_one_turn_for_all_its_subnets() {
        let limits = limits(1, 0);
        for subnet in 0..4 {
            limits.note_refusal(address(&format!("2001:db8:1:20{subnet}::1")));
        }
        let turn = limits.admit(address("2001:db8:1:200::1")).await.unwrap();
        assert!(limits.admit(address("2001:db8:1:2ff::1")).await.is_err());
        drop(turn);
        assert!(
            limits
                .admit(address("2001:db8:1:2ff::1"))
                .await
                .unwrap()
                .is_on_probation()
        );
    }

    #[test]
    fn one_noisy_network_does_not_use_up_the_larger_one_around_it() {
        let limits = limits(3, 0);
        for _ in 0..1_000 {
            limits.note_refusal(address("2001:db8:1:200::1"));
        }
        assert!(
            limits
                .check_address("2001:db8:1:200::2".parse().unwrap())
                .is_err()
        );
        assert!(
            limits
                .check_address("2001:db8:1:201::1".parse().unwrap())
                .is_ok()
        );
    }

    #[test]
    fn an_ipv6_64_counts_as_one_address_and_56_and_48_have_larger_budgets() {
        let limits = limits(1, 0);
        let check = |text: &str| limits.check_address(text.parse().unwrap());
        limits.note_refusal(address("2001:db8:1:200::1"));
        assert!(check("2001:db8:1:200:ffff::9").is_err());
        assert!(check("2001:db8:1:201::1").is_ok());
        for subnet in ["201", "202", "203"] {
            limits.note_refusal(address(&format!("2001:db8:1:{subnet}::1")));
        }
        assert!(
            check("2001:db8:1:2ff::1").is_err(),
            "a /56 has four budgets"
        );
        assert!(check("2001:db8:1:300::1").is_ok());
        for subnet in 3..15 {
            limits.note_refusal(address(&format!("2001:db8:1:{subnet:x}00::1")));
        }
        assert!(check("2001:db8:1:ff00::1").is_err(), "a /48 has sixteen");
        assert!(check("2001:db8:2::1").is_ok());
        assert_eq!(
            network_of("::ffff:192.0.2.1".parse().unwrap()),
            "192.0.2.1".parse::<IpAddr>().unwrap()
        );
        assert_eq!(
            larger_network_of("::ffff:192.0.2.1".parse().unwrap(), 56),
            None
        );
    }

    #[tokio::test(start_paused = true)]
    async fn sign_ins_of_larger_ipv6_networks_are_limited_too_and_a_refused_one_takes_nothing() {
        // Two a minute for a /64, eight for a /56, thirty-two for a /48.
        let limits = limits(0, 0);
        let take = |step, text: &str| limits.take_sign_in(step, address(text));
        let begins = |text: &str| take(SignInStep::Begin, text).is_ok();
        for subnet in 0..4 {
            let host = format!("2001:db8:1:20{subnet}::1");
            assert!(begins(&host) && begins(&host), "{host}");
            assert!(!begins(&host), "{host}");
        }
        assert!(!begins("2001:db8:1:2ff::1"), "a /56 has four budgets");
        assert!(take(SignInStep::Callback, "2001:db8:1:2ff::1").is_ok());
        // What was refused for the /56 was not taken from the /48.
        for _ in 0..100 {
            assert!(!begins("2001:db8:1:2ff::1"));
        }
        for subnet in 3..15 {
            let host = format!("2001:db8:1:{subnet:x}00::1");
            assert!(begins(&host) && begins(&host), "{host}");
        }
        assert!(!begins("2001:db8:1:ff00::1"), "a /48 has sixteen");
        assert!(begins("2001:db8:2::1") && begins("192.0.2.1"));
    }

    #[test]
    fn nuget_tok_6__one_credential_over_its_limit_does_not_slow_another() {
        use crate::clock::Timestamp;
        let limits = limits(0, 2);
        let issuer = TrustedIssuerId::new(Timestamp::from_seconds(1));
        let (one, other) = (
            CredentialId::new(Timestamp::from_seconds(1)),
            CredentialId::new(Timestamp::from_seconds(1)),
        );
        let take = || limits.take(Some(issuer), None, [one].into_iter());
        for _ in 0..2 {
            assert!(limits.check_credential(one).is_ok());
            take().unwrap().keep();
        }
        assert_eq!(
            limits.check_credential(one).unwrap_err().reason,
            Reason::RateLimited
        );
        assert_eq!(take().unwrap_err().reason, Reason::RateLimited);
        assert!(limits.check_credential(other).is_ok());
        assert!(
            limits.check_issuer(issuer).is_ok(),
            "0 switches a limit off"
        );
        limits.note_refusal(address("192.0.2.1"));
        assert!(
            limits.check_address("192.0.2.1".parse().unwrap()).is_ok(),
            "0 switches a limit off"
        );
    }

    #[test]
    fn unused_turns_of_the_credential_limit_are_given_back() {
        use crate::clock::Timestamp;
        let limits = limits(0, 2);
        let rule = |number| CredentialId::new(Timestamp::from_seconds(number));
        let (one, other) = (rule(1), rule(2));
        for _ in 0..2 {
            limits.take(None, None, [other].into_iter()).unwrap().keep();
        }
        for _ in 0..10 {
            drop(limits.take(None, None, [one].into_iter()).unwrap());
            assert!(limits.take(None, None, [one, other].into_iter()).is_err());
        }
        let (first, second) = (
            limits.take(None, None, [one].into_iter()),
            limits.take(None, None, [one].into_iter()),
        );
        assert!(first.is_ok() && second.is_ok());
        assert!(
            limits.take(None, None, [one].into_iter()).is_err(),
            "what is under way counts"
        );
        drop(first);
        assert!(limits.take(None, None, [one].into_iter()).is_ok());
    }

    #[test]
    fn a_revocation_of_many_rules_takes_more_than_one_change_and_never_more_than_the_budget() {
        // Two changes a minute.
        let limits = limits(0, 0);
        limits.take_write("few").unwrap();
        limits.note_rules("few", 99);
        limits.take_write("few").unwrap();
        limits.take_write("bob").unwrap();
        limits.note_rules("bob", 1_000_000);
        let wait = limits.take_write("bob").unwrap_err().retry_after.unwrap();
        assert!((1..=31).contains(&wait), "{wait}");
        assert!(limits.take_write("admin").is_ok());
    }

    #[test]
    fn one_revocation_of_a_principal_runs_at_a_time() {
        let limits = limits(0, 0);
        let turn = limits.revocation_turn("bob").unwrap();
        let refusal = limits.revocation_turn("bob").unwrap_err();
        assert_eq!(
            (refusal.reason, refusal.retry_after),
            (Reason::RateLimited, Some(1))
        );
        assert!(limits.revocation_turn("carol").is_ok());
        drop(turn);
        assert!(limits.revocation_turn("bob").is_ok());
    }

    #[test]
    fn rfc6749_2_3_1_4__guessing_secrets_is_limited_per_client_and_address() {
        let limits = limits(0, 0);
        for _ in 0..2 {
            assert!(limits.check_secrets("bot", address("192.0.2.1")).is_ok());
            limits.note_wrong_secret("bot", address("192.0.2.1"));
        }
        let refusal = limits
            .check_secrets("bot", address("192.0.2.1"))
            .unwrap_err();
        assert_eq!(
            (refusal.reason, refusal.retry_after.is_some()),
            (Reason::RateLimited, true)
        );
        assert!(limits.check_secrets("other", address("192.0.2.1")).is_ok());
        assert!(limits.check_secrets("bot", address("192.0.2.2")).is_ok());
        assert!(limits.check_client("bot").is_ok());
    }
}
