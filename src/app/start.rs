//! Starting a server, and what a command beside one has of it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use arc_swap::ArcSwap;
use carnet_jose::MacError;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;

use super::background::{
    follow_certificates, follow_changes, index_audit, prune, run_again, watch_connections,
    write_audit, write_uses,
};
use super::{App, Background, audit_export, context, notifications};
use crate::attestation;
use crate::clock::{Clock, Timestamp};
use crate::config::{Config, create_private};
use crate::keys::{EncryptionKeys, KeyRing, SigningKeysError};
use crate::limits::RateLimiter;
use crate::load::Load;
use crate::profile::{ProfileError, Profiles};
use crate::proofs::Proofs;
use crate::store::{Found, Ledger, Store, StoreError};
use crate::telemetry::{Telemetry, TelemetryError, export_spans};
use crate::tls::{CertificateError, Certificates};
use crate::token::TokenIssuer;
use crate::upstream::{Fetch, KeyFiles, ProviderDocuments, UpstreamKeys};

/// Audit events that may wait to be written; further ones are dropped and counted.
const AUDIT_QUEUE: usize = 10_000;

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
    /// Nothing can be verified by the RPKI.
    #[error("{0}")]
    Rpki(String),
    /// A trusted issuer of this name needs what this process has not.
    #[error(
        "the keys of the trusted issuer {0} count only if the RPKI vouches for them, and {why}",
        why = attestation::no_verifier()
    )]
    Attested(String),
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

/// What only a process that serves has.
#[derive(Debug, Default)]
struct OfServer {
    certificates: Option<Arc<Certificates>>,
    telemetry: Option<Telemetry>,
}

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
        let attestations = attestation::verifier(&config).map_err(StartError::Rpki)?;
        let reading = context(&config, &profiles, attestations.as_deref());
        let rules = store.snapshot(reading).await?;
        if attestations.is_none()
            && let Some(issuer) = rules.issuers().find(|issuer| issuer.attestation.is_some())
        {
            return Err(StartError::Attested(issuer.name.clone()));
        }
        let restored_at = store.restored_at().await?;
        let (audit, audit_queue) = mpsc::channel(AUDIT_QUEUE);
        let (uses, uses_queue) = mpsc::channel(AUDIT_QUEUE);
        let app = Arc::new(Self {
            upstream: UpstreamKeys::new(
                fetch.clone(),
                KeyFiles::new(config.key_files_dir.clone(), config.own_files()),
                (store.clone(), restored_at),
                (clock.clone(), attestations.clone()),
                config.allow_http_loopback,
            ),
            attestations,
            providers: ProviderDocuments::new(
                fetch.clone(),
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
}
