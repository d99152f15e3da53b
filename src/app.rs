//! The shared state of the server, built once at start, and its background tasks: following changes
//! of the database, writing audit events, noting the use of rules, indexing, pruning, and telling
//! webhooks.

mod audit_export;
mod background;
pub mod notifications;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arc_swap::ArcSwap;
use carnet_jose::MacError;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinSet;

use background::{
    follow_certificates, follow_changes, index_audit, prune, run_again, watch_connections,
    write_audit, write_uses,
};

use crate::audit::AuditEvent;
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, create_private};
use crate::documents::ReadContext;
use crate::ids::CredentialId;
use crate::key_material::OpenSsl;
use crate::keys::{EncryptionKeys, KeyRing, SigningKeysError};
use crate::limits::RateLimiter;
use crate::load::Load;
use crate::model::{DecisionContext, Snapshot};
use crate::own_tokens::OwnTokens;
use crate::profile::{ProfileError, Profiles};
use crate::proofs::Proofs;
use crate::store::{Found, Ledger, Store, StoreError};
use crate::telemetry::{Telemetry, TelemetryError, export_spans};
use crate::tls::{CertificateError, Certificates};
use crate::token::TokenIssuer;
use crate::upstream::{Fetch, KeyFiles, UpstreamKeys};

/// Largest tolerated difference between this machine's clock and the database's, in milliseconds:
/// the maximum leeway of trusted issuers.
const CLOCK_MARGIN_MILLIS: i64 = 60_000;
/// Audit events that may wait to be written; further ones are dropped and counted.
const AUDIT_QUEUE: usize = 10_000;

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

/// Why the server cannot start, or a command cannot work on the database.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The signing keys cannot be used.
    #[error(transparent)]
    Keys(#[from] SigningKeysError),
    /// Profiles cannot be used.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Profiles(Vec<ProfileError>),
    /// Certificates cannot be served.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Certificates(Vec<CertificateError>),
    /// Nothing can be sent to the collector.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// No nonces for proofs of possession can be derived from the encryption key.
    #[error("the encryption key gives no nonces: {0}")]
    Nonces(#[from] MacError),
    /// The data folder cannot be made.
    #[error("the folder {0} cannot be made: {1}")]
    DataDir(String, std::io::Error),
    /// Only the server creates a database; the text says which one is missing.
    #[error(
        "there is no database yet: {0}. `carnet serve` with this configuration creates it at its first start; if your server has another configuration, name its file by --config or CARNET_CONFIG"
    )]
    NoDatabase(String),
    /// Only the server migrates a database; the text says which one is meant.
    #[error(
        "the database is of an older release than this command: {0}. `carnet serve` of release {version} migrates it when it starts; until then use the commands of the release that serves, or --server, which goes through the running server",
        version = env!("CARGO_PKG_VERSION")
    )]
    OlderDatabase(String),
}

/// What has to hold for the server to be ready.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a member of the answer of /readyz"
)]
pub struct Readiness {
    /// The database accepts writes.
    pub database: bool,
    /// A signing key is loaded.
    pub signing_key: bool,
    /// The clocks of server and database agree.
    pub clock: bool,
    /// The server is about to end.
    pub draining: bool,
}

impl Readiness {
    /// Whether a token could be issued now.
    pub const fn is_complete(self) -> bool {
        self.database && self.signing_key && self.clock && !self.draining
    }
}

/// What only a process that serves has.
#[derive(Debug, Default)]
struct OfServer {
    certificates: Option<Arc<Certificates>>,
    telemetry: Option<Telemetry>,
}

/// The background tasks. Dropping this value aborts them.
#[derive(Debug)]
pub struct Background(JoinSet<()>);

impl App {
    /// Starts a server: opens the database and the keys, and creates what is missing; reads the rules
    /// and starts the background tasks.
    pub async fn start(
        config: Config,
        clock: Arc<dyn Clock>,
        fetch: Arc<dyn Fetch>,
    ) -> Result<(Arc<Self>, Background), StartError> {
        let profiles =
            Profiles::load(config.profiles_dir.as_deref()).map_err(StartError::Profiles)?;
        let tls = config.server.tls.as_ref().map(Certificates::open);
        let certificates = tls.transpose().map_err(StartError::Certificates)?;
        if config.database.url.is_sqlite() {
            create_private(&config.data_dir).map_err(|error| {
                StartError::DataDir(config.data_dir.display().to_string(), error)
            })?;
        }
        let store = Store::open(&config.database).await?;
        let sealing = EncryptionKeys::create(&config)?;
        let algorithm = config.tokens.signing_algorithm;
        let keys = KeyRing::open(&store, sealing, algorithm, clock.now()).await?;
        let telemetry = config.telemetry.as_ref();
        let telemetry = telemetry.map(|telemetry| Telemetry::new(telemetry, clock.now()));
        let (telemetry, spans) = telemetry.transpose()?.unzip();
        let of_server = OfServer {
            certificates: certificates.map(Arc::new),
            telemetry,
        };
        let (app, Background(mut tasks)) =
            Self::run(config, profiles, (store, keys), of_server, clock, fetch).await?;
        if let (Some(telemetry), Some(spans)) = (&app.telemetry, spans) {
            tasks.spawn(export_spans(telemetry.exporter(), spans));
        }
        for destination in app.config.audit.export.clone() {
            tasks.spawn(audit_export::export(app.clone(), destination));
        }
        tasks.spawn(follow_certificates(app.clone()));
        tasks.spawn(watch_connections(app.clone()));
        tasks.spawn(notifications::watch(app.clone()));
        tasks.spawn(notifications::deliver(app.clone()));
        Ok((app, Background(tasks)))
    }

    /// The same for a command beside the server: fails if the database or the keys are missing or of
    /// an older release, and creates and migrates nothing. It sends nothing to webhooks: that would
    /// go out from the machine of whoever runs the command, and be cut off with it.
    pub async fn join(
        config: Config,
        clock: Arc<dyn Clock>,
        fetch: Arc<dyn Fetch>,
    ) -> Result<(Arc<Self>, Background), StartError> {
        let profiles =
            Profiles::load(config.profiles_dir.as_deref()).map_err(StartError::Profiles)?;
        let opened = Self::existing(&config, clock.now()).await?;
        Self::run(config, profiles, opened, OfServer::default(), clock, fetch).await
    }

    /// The same for a process that serves beside the server, with the certificates of the listeners.
    pub async fn beside(
        config: Config,
        clock: Arc<dyn Clock>,
        fetch: Arc<dyn Fetch>,
    ) -> Result<(Arc<Self>, Background), StartError> {
        let profiles =
            Profiles::load(config.profiles_dir.as_deref()).map_err(StartError::Profiles)?;
        let tls = config.server.tls.as_ref().map(Certificates::open);
        let certificates = tls.transpose().map_err(StartError::Certificates)?;
        let opened = Self::existing(&config, clock.now()).await?;
        let of_server = OfServer {
            certificates: certificates.map(Arc::new),
            telemetry: None,
        };
        let (app, Background(mut tasks)) =
            Self::run(config, profiles, opened, of_server, clock, fetch).await?;
        tasks.spawn(follow_certificates(app.clone()));
        tasks.spawn(watch_connections(app.clone()));
        Ok((app, Background(tasks)))
    }

    /// The database and the keys that a server of this configuration made.
    pub async fn existing(config: &Config, now: Timestamp) -> Result<(Store, KeyRing), StartError> {
        let store = match Store::find(&config.database).await? {
            Found::Nothing => return Err(StartError::NoDatabase(config.database_place())),
            Found::Older => return Err(StartError::OlderDatabase(config.database_place())),
            Found::Store(store) => store,
        };
        let sealing = EncryptionKeys::read(config)?;
        let algorithm = config.tokens.signing_algorithm;
        let keys = KeyRing::existing(&store, sealing, algorithm, now).await?;
        Ok((store, keys))
    }

    async fn run(
        config: Config,
        profiles: Profiles,
        (store, keys): (Store, KeyRing),
        of_server: OfServer,
        clock: Arc<dyn Clock>,
        fetch: Arc<dyn Fetch>,
    ) -> Result<(Arc<Self>, Background), StartError> {
        let keys = Arc::new(keys);
        let proofs = Proofs::new(keys.encryption_key(), config.dpop_requires_nonce)?;
        let rules = store.snapshot(context(&config, &profiles)).await?;
        let restored_at = store.restored_at().await?;
        let (audit, audit_queue) = mpsc::channel(AUDIT_QUEUE);
        let (uses, uses_queue) = mpsc::channel(AUDIT_QUEUE);
        let app = Arc::new(Self {
            upstream: UpstreamKeys::new(
                fetch.clone(),
                KeyFiles::new(config.key_files_dir.clone(), config.own_files()),
                (store.clone(), restored_at),
                clock.clone(),
                config.allow_http_loopback,
            ),
            tokens: TokenIssuer::new(config.own.clone(), keys.clone(), clock.clone()),
            ledger: Ledger::start(&store),
            limits: RateLimiter::new(config.rate_limits),
            load: Load::new(
                config.server.max_token_requests,
                config.server.max_waiting_token_requests,
            ),
            proofs,
            certificates: of_server.certificates,
            telemetry: of_server.telemetry,
            draining: AtomicBool::new(false),
            clock_agrees: AtomicBool::new(true),
            restored_at,
            fetch,
            rules: ArcSwap::from_pointee(rules),
            refreshing: Mutex::default(),
            config,
            clock,
            store,
            profiles,
            keys,
            audit,
            uses,
        });
        app.compare_clocks().await;
        let mut tasks = JoinSet::new();
        tasks.spawn(run_again(app.clone(), follow_changes));
        tasks.spawn(write_audit(app.clone(), audit_queue));
        tasks.spawn(write_uses(app.store.clone(), uses_queue));
        tasks.spawn(run_again(app.clone(), prune));
        tasks.spawn(run_again(app.clone(), index_audit));
        Ok((app, Background(tasks)))
    }

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

    /// Whether a token could be issued now, and what stands against it.
    pub async fn readiness(&self) -> Readiness {
        Readiness {
            database: self.store.can_write().await,
            signing_key: self.keys.ring().is_some(),
            clock: self.clock_agrees.load(Ordering::Relaxed),
            draining: self.draining.load(Ordering::Relaxed),
        }
    }

    /// How many audit events of refusals wait to be written.
    pub fn audit_queue_length(&self) -> usize {
        let free = self.audit.capacity();
        self.audit.max_capacity().saturating_sub(free)
    }

    /// The settings by which documents are read and compiled.
    pub fn context(&self) -> ReadContext<'_> {
        context(&self.config, &self.profiles)
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

    /// Notes that a token was issued under this rule, for its `last_used_at`.
    pub fn note_use(&self, credential: CredentialId, now: Timestamp) {
        // A full queue loses the note, which only makes `last_used_at` a little older.
        self.uses.try_send((credential, now)).ok();
    }
}

fn context<'a>(config: &'a Config, profiles: &'a Profiles) -> ReadContext<'a> {
    ReadContext {
        profiles,
        own: &config.own,
        allow_http_loopback: config.allow_http_loopback,
        token_lifetime_seconds: config.tokens.lifetime_seconds,
        material: &OpenSsl,
    }
}
