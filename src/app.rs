//! The shared state of the server, built once at start, and its background tasks: following changes
//! of the database, writing audit events, noting the use of rules, indexing, pruning, and telling
//! webhooks.

mod audit_export;
mod background;
pub mod notifications;
mod readiness;
mod start;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;

pub use readiness::Readiness;
pub use start::StartError;

use crate::attestation::{self, VerifyAttestation};
use crate::audit::AuditEvent;
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::documents::ReadContext;
use crate::ids::CredentialId;
use crate::key_material::OpenSsl;
use crate::keys::KeyRing;
use crate::limits::RateLimiter;
use crate::load::Load;
use crate::model::{DecisionContext, Snapshot};
use crate::own_tokens::OwnTokens;
use crate::profile::Profiles;
use crate::proofs::Proofs;
use crate::store::{Ledger, Store};
use crate::telemetry::Telemetry;
use crate::tls::Certificates;
use crate::token::TokenIssuer;
use crate::upstream::{Fetch, ProviderDocuments, UpstreamKeys};

/// Largest tolerated difference between this machine's clock and the database's, in milliseconds:
/// the maximum leeway of trusted issuers.
const CLOCK_MARGIN_MILLIS: i64 = 60_000;

/// The state that all requests of one server process share.
#[derive(Debug)]
pub struct App {
    pub config: Config,
    pub clock: Arc<dyn Clock>,
    pub store: Store,
    pub profiles: Profiles,
    /// The server's own signing keys.
    pub keys: Arc<KeyRing>,
    /// The keys of trusted issuers.
    pub upstream: UpstreamKeys,
    /// Verifies attestations of keys; `None` if this server verifies none.
    pub attestations: Option<Arc<dyn VerifyAttestation>>,
    /// The metadata of identity providers.
    pub providers: ProviderDocuments,
    /// Sends requests to trusted issuers and webhooks.
    pub fetch: Arc<dyn Fetch>,
    /// Mints access tokens.
    pub tokens: TokenIssuer,
    /// Records issued tokens and used assertions.
    pub ledger: Ledger,
    pub limits: RateLimiter,
    /// Which token requests are worked on.
    pub load: Load,
    /// Nonces for DPoP proofs, and the memory of used ones.
    pub proofs: Proofs,
    /// The certificates of the listeners; `None` for a server without TLS, and for a command.
    pub certificates: Option<Arc<Certificates>>,
    /// Sends traces and metrics to a collector; `None` without one, and for a command.
    pub telemetry: Option<Telemetry>,
    draining: AtomicBool,
    clock_agrees: AtomicBool,
    /// When the database was last restored from a backup. Assertions, proofs and tokens from before
    /// are refused: what was used or revoked since the backup is not known.
    pub restored_at: Option<Timestamp>,
    rules: ArcSwap<Snapshot>,
    refreshing: Mutex<()>,
    audit: mpsc::Sender<AuditMessage>,
    uses: mpsc::Sender<(CredentialId, Timestamp)>,
}

/// A message to the task that writes audit events.
#[derive(Debug)]
enum AuditMessage {
    Event(Box<AuditEvent>),
    /// Answers once all earlier events are written, or given up.
    Flush(oneshot::Sender<()>),
}

/// The background tasks. Dropping this value aborts them.
#[derive(Debug)]
pub struct Background(JoinSet<()>);

impl App {
    /// Makes `/readyz` answer that the server is not ready, so that load balancers send requests
    /// elsewhere before the server ends.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Whether this machine's clock and the database's agreed when they were last compared.
    pub fn clock_agrees(&self) -> bool {
        self.clock_agrees.load(Ordering::Relaxed)
    }

    /// The earlier of this machine's time and the database's, so that a clock that runs ahead does
    /// not expire records early.
    async fn settled_time(&self) -> Timestamp {
        let now = self.clock.now();
        match self.store.earlier_of_both(now).await {
            Ok(earlier) if self.clock.is_machines() => earlier,
            _ => now,
        }
    }

    /// Compares this machine's clock with the database's, which all replicas share. Replicas whose
    /// clocks differ would not agree on which tokens and assertions have expired.
    async fn compare_clocks(&self) {
        if !self.clock.is_machines() {
            return;
        }
        if let Ok(difference) = self.store.clock_difference().await {
            let agrees = difference.abs() <= CLOCK_MARGIN_MILLIS;
            if !agrees {
                tracing::error!(
                    milliseconds = difference,
                    "the database's clock differs from this machine's: not ready"
                );
            }
            self.clock_agrees.store(agrees, Ordering::Relaxed);
        }
    }

    /// How many audit events of refusals wait to be written.
    pub fn audit_queue_length(&self) -> usize {
        let free = self.audit.capacity();
        self.audit.max_capacity().saturating_sub(free)
    }

    /// The settings by which documents are read and compiled.
    pub fn context(&self) -> ReadContext<'_> {
        context(&self.config, &self.profiles, self.attestations.as_deref())
    }

    /// The rules and the time by which one request is decided.
    pub fn decision_context(&self) -> DecisionContext<'_> {
        DecisionContext {
            rules: self.rules(),
            now: self.clock.now(),
            own: &self.config.own,
        }
    }

    /// The verifier of this server's own tokens, against these rules and this time.
    pub fn own_tokens<'a>(&'a self, context: &DecisionContext<'a>) -> OwnTokens<'a> {
        OwnTokens {
            keys: &self.keys,
            store: &self.store,
            restored_at: self.restored_at,
            context: context.clone(),
        }
    }

    /// The current snapshot of the rules.
    pub fn rules(&self) -> Arc<Snapshot> {
        self.rules.load_full()
    }

    /// Brings the rules and the keys up to date with the database.
    pub async fn refresh(&self) -> Result<(), StartError> {
        let _one_at_a_time = self.refreshing.lock().await;
        let rules = self.rules();
        if let Some((newer, keys_changed)) =
            self.store.newer_snapshot(&rules, self.context()).await?
        {
            // The snapshot carries the version that was read. It is stored last, so that a failure
            // to read the keys makes the next poll try both again.
            if keys_changed {
                self.keys.reload(&self.store, self.clock.now()).await?;
            }
            self.rules.store(Arc::new(newer));
        }
        Ok(())
    }

    /// Queues an audit event. An event that finds the queue full is dropped and counted, so that no
    /// answer waits for the database.
    pub fn audit(&self, event: AuditEvent) {
        if self
            .audit
            .try_send(AuditMessage::Event(Box::new(event)))
            .is_err()
        {
            metrics::counter!("carnet_audit_events_dropped_total").increment(1);
            tracing::error!("an audit event was dropped: the queue is full");
        }
    }

    /// Waits until all events queued so far are written, or given up.
    pub async fn flush_audit(&self) {
        let (done, flushed) = oneshot::channel();
        if self.audit.send(AuditMessage::Flush(done)).await.is_ok() {
            flushed.await.ok();
        }
    }

    /// Notes that a token was issued under this rule, for its `first_used_at` and `last_used_at`.
    pub fn note_use(&self, credential: CredentialId, now: Timestamp) {
        // A full queue loses the note: the times of the rule are then those of its other uses.
        self.uses.try_send((credential, now)).ok();
    }
}

fn context<'a>(
    config: &'a Config,
    profiles: &'a Profiles,
    attestations: Option<&'a dyn VerifyAttestation>,
) -> ReadContext<'a> {
    ReadContext {
        attestations: attestation::of_documents(attestations),
        profiles,
        own: &config.own,
        allow_http_loopback: config.allow_http_loopback,
        token_lifetime_seconds: config.tokens.lifetime_seconds,
        command_line: config.people.command_line,
        material: &OpenSsl,
    }
}
