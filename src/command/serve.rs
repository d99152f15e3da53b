//! `carnet serve`: starts the listeners, tells systemd that the server is ready, and on SIGTERM or
//! SIGINT stops reporting ready, drains and shuts down.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use clap::Args;
use metrics_exporter_prometheus::PrometheusHandle;
use tokio::signal::unix::{Signal, SignalKind, signal};

use super::{CommandError, Conclusion, ConfigFile};
use crate::admin::shared_workloads;
use crate::app::{App, StartError};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{CertificateListeners, Config, ConnectionLimits, Listen, LogConfig};
use crate::http;
use crate::keys;
use crate::store::{Found, Store};
use crate::telemetry;
use crate::tls::proxy_thumbprints;
use crate::upstream::HttpFetch;

const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// File descriptors kept free for everything but connections of callers: the database, connections
/// to platforms, the log.
const OTHER_FILES: u64 = 256;

/// How long the shutdown waits for queued audit events to be written.
const LAST_WORDS: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub struct ServeArgs {
    #[command(flatten)]
    config: ConfigFile,
    /// The database was restored from a backup: refuse assertions, proofs and tokens that were
    /// issued before this start, since they may have been used or revoked after the backup was
    /// made. The database remembers it, so that replicas and later starts need not say it.
    #[arg(long)]
    after_restore: bool,
}

/// Serves until a signal arrives or a listener fails.
pub async fn run(args: &ServeArgs) -> Result<Conclusion, CommandError> {
    let config = args.config.load()?;
    start_log(&config.log)?;
    if args.after_restore {
        note_restore(&config).await?;
    }
    warn_of(&config);
    let are_metrics_wanted = config.server.metrics_listen.is_some() || config.telemetry.is_some();
    let metrics = record_metrics(are_metrics_wanted)?;
    let network = Arc::new(HttpFetch::of(&config));
    let (app, _background) = App::start(config, Arc::new(SystemClock), network).await?;
    warn_of_certificates(&app);
    warn_of_the_database(&app).await?;
    tokio::spawn(send_metrics(app.clone(), metrics.clone()));
    let server = &app.config.server;
    let listeners = Listeners {
        router: http::router(app.clone()),
        listen: &server.listen,
        mtls: &server.mtls,
        metrics: (metrics, server.metrics_listen.as_ref()),
        longest_request: server.request_deadline,
    };
    serve(&app, listeners, || log_ready(&app)).await
}

/// Notes in the database that it was restored from a backup. Fails if there is none: an empty one
/// would be created instead of the one that should have been restored.
async fn note_restore(config: &Config) -> Result<(), CommandError> {
    let found = Store::find(&config.database).await;
    if matches!(found.map_err(StartError::Store)?, Found::Nothing) {
        let place = config.database_place();
        return Err(CommandError::Other(format!(
            "--after-restore: there is no database yet: {place}. Put the backup there first"
        )));
    }
    let store = Store::open(&config.database).await;
    let store = store.map_err(StartError::Store)?;
    let now = SystemClock.now();
    store.note_restore(now).await.map_err(StartError::Store)?;
    store.close().await.map_err(StartError::Store)?;
    tracing::warn!(restored_at = %now, "restored from a backup: what was issued before is refused");
    Ok(())
}

/// What a process serves, and where.
pub(super) struct Listeners<'a> {
    pub(super) router: Router,
    pub(super) listen: &'a [Listen],
    /// Those for clients with certificates.
    pub(super) mtls: &'a CertificateListeners,
    pub(super) metrics: (PrometheusHandle, Option<&'a Listen>),
    /// How long a connection may wait for its answer.
    pub(super) longest_request: Duration,
}

/// Serves until a signal arrives or a listener fails. `ready` writes the line of the log that says so.
pub(super) async fn serve(
    app: &Arc<App>,
    listeners: Listeners<'_>,
    ready: impl FnOnce(),
) -> Result<Conclusion, CommandError> {
    let server = &app.config.server;
    let limits = server.connections.clone();
    let connections = with_room_for_files(limits.for_requests(listeners.longest_request));
    let mut serving = listen_on(app, &listeners, &connections).await?;
    let metrics = listeners.metrics.0.clone();
    let metrics_serving = listen_for_metrics(app, listeners.metrics, connections).await?;
    ready();

    notify(&[sd_notify::NotifyState::Ready]);
    until_the_end(app, server.drain, &mut serving).await?;
    tracing::info!("ending");
    notify(&[sd_notify::NotifyState::Stopping]);
    for serving in serving {
        serving.stop().await;
    }
    if let Some(serving) = metrics_serving {
        serving.stop().await;
    }
    // The time is limited, so that an unreachable database does not prevent the shutdown.
    if tokio::time::timeout(LAST_WORDS, app.flush_audit())
        .await
        .is_err()
    {
        tracing::warn!("audit events of refusals were not written before the end");
    }
    if let Some(telemetry) = &app.telemetry {
        let last = http::metrics::render(&metrics, app).await;
        telemetry.flush(&last, app.clock.now()).await;
    }
    Ok(Conclusion::Yes)
}

/// Makes the process record metrics, if anybody gets them.
pub(super) fn record_metrics(are_wanted: bool) -> Result<PrometheusHandle, CommandError> {
    let other = |error: &dyn std::fmt::Display| CommandError::Other(error.to_string());
    let builder = http::metrics::recorder().map_err(|error| other(&error))?;
    let recorder = builder.build_recorder();
    let handle = recorder.handle();
    if are_wanted {
        metrics::set_global_recorder(recorder).map_err(|error| other(&error))?;
        http::metrics::describe();
    }
    Ok(handle)
}

/// Logs what an operator should change in the configuration.
pub(super) fn warn_of(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    for file in keys::exposed_key_files(config) {
        tracing::warn!(file = %file.display(), "others than its owner may read or write the encryption key");
    }
}

/// Logs what an operator should change in the certificates. An expired one is served nevertheless: a
/// server with several names still serves the others.
pub(super) fn warn_of_certificates(app: &App) {
    let Some(certificates) = &app.certificates else {
        return;
    };
    let (set, now) = (certificates.current(), app.clock.now());
    for error in set.expired(now) {
        tracing::error!("{error}");
    }
    let warnings = set.warnings(&app.config.server, &app.config.own, now);
    for warning in warnings.into_iter().chain(set.expires_soon(now)) {
        tracing::warn!("{warning}");
    }
}

/// Logs what an operator should change in the database.
async fn warn_of_the_database(app: &App) -> Result<(), StartError> {
    for shared in shared_workloads(&app.store, &app.rules()).await? {
        tracing::warn!(
            "{shared}; they are older than consent: an administrator has to save each, or withdraw it"
        );
    }
    for warning in app.keys.sealed_before(&app.store).await?.warnings() {
        tracing::warn!("{warning}");
    }
    Ok(())
}

fn log_ready(app: &App) {
    let server = &app.config.server;
    let listen: Vec<String> = server.listen.iter().map(ToString::to_string).collect();
    let metrics = server.metrics_listen.as_ref().map(ToString::to_string);
    let mtls = server.mtls.to_string();
    let set = app.certificates.as_ref().map(|all| all.current());
    let certificates = set.map(|set| {
        let all = set.certificates().iter();
        all.map(|one| one.names.to_string())
            .collect::<Vec<_>>()
            .join("; ")
    });
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        issuer = app.config.own.issuer(),
        listen = listen.join(", "),
        tls = certificates.unwrap_or_else(|| "none".to_owned()),
        client_certificates = mtls,
        metrics_listen = metrics.unwrap_or_else(|| "none".to_owned()),
        database = app.config.database.url.shown(),
        rules = app.rules().credential_count(),
        "ready"
    );
}

async fn listen_for_metrics(
    app: &Arc<App>,
    (metrics, listen): (PrometheusHandle, Option<&Listen>),
    connections: ConnectionLimits,
) -> Result<Option<http::Serving>, CommandError> {
    let Some(listen) = listen else {
        return Ok(None);
    };
    tokio::spawn(keep_metrics_small(metrics.clone()));
    let router = http::metrics_router(metrics, app.clone());
    let serving = http::serve(router, listen, connections, None).await;
    serving
        .map(Some)
        .map_err(|error| CommandError::File(listen.to_string(), error))
}

/// Opens the listeners for requests.
async fn listen_on(
    app: &Arc<App>,
    listeners: &Listeners<'_>,
    connections: &ConnectionLimits,
) -> Result<Vec<http::Serving>, CommandError> {
    let certificates = app.certificates.clone();
    let proxies = &app.config.server.trusted_proxies;
    let tls = certificates.map(|certificates| http::Tls::new(certificates, proxies));
    let mut serving = Vec::new();
    let open = |listen, tls: Option<http::Tls>| {
        let (router, connections) = (listeners.router.clone(), connections.clone());
        async move { http::serve(router, listen, connections, tls.as_ref()).await }
    };
    let failed = |listen: &Listen, error| CommandError::File(listen.to_string(), error);
    for listen in listeners.listen {
        let begun = open(listen, tls.clone()).await;
        serving.push(begun.map_err(|error| failed(listen, error))?);
    }
    for listen in &listeners.mtls.direct {
        let begun = open(listen, tls.as_ref().map(http::Tls::asking)).await;
        serving.push(begun.map_err(|error| failed(listen, error))?);
    }
    if let Some(listen) = &listeners.mtls.proxies {
        let pinned = proxy_thumbprints(&app.config.server.client_cert_proxies);
        let pinned = pinned.map_err(CommandError::Other)?;
        let tls = tls.as_ref().map(|tls| tls.for_proxies(&pinned));
        let (router, connections) = (listeners.router.clone(), connections.clone());
        let begun = http::serve_proxies(router, listen, connections, tls.as_ref()).await;
        serving.push(begun.map_err(|error| failed(listen, error))?);
    }
    Ok(serving)
}

/// Serves until a signal ends the server and its drain period is over, or a listener ends.
async fn until_the_end(
    app: &App,
    drain: Duration,
    serving: &mut [http::Serving],
) -> Result<(), CommandError> {
    let mut signals = Signals::new().map_err(|error| CommandError::Other(error.to_string()))?;
    tokio::select! {
        () = signals.end(app) => {
            app.drain();
            tracing::info!(seconds = drain.as_secs(), "not ready any more; serving on while balancers notice");
            tokio::select! {
                () = tokio::time::sleep(drain) => {}
                // A second signal skips the rest of the drain period.
                () = signals.end(app) => {}
                () = any_ended(serving) => {}
            }
        }
        () = any_ended(serving) => {}
    }
    Ok(())
}

/// SIGTERM and SIGINT, which end the server, and SIGHUP, on which the certificates are read again. The
/// configuration is not.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn end(&mut self, app: &App) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => read_again(app).await,
            }
        }
    }
}

/// Reads the certificates again, which may be on a network file system.
async fn read_again(app: &App) {
    let Some(certificates) = app.certificates.clone() else {
        tracing::info!("SIGHUP: nothing to read again");
        return;
    };
    let now = app.clock.now();
    tokio::task::spawn_blocking(move || certificates.reload(now))
        .await
        .unwrap_or_default();
}

/// Raises the limit of open files as far as the system allows, and lowers the maximum of
/// connections if the limit is still too small for it.
fn with_room_for_files(mut connections: ConnectionLimits) -> ConnectionLimits {
    let files = rlimit::increase_nofile_limit(u64::MAX).unwrap_or(u64::MAX);
    let most = usize::try_from(files.saturating_sub(OTHER_FILES))
        .unwrap_or(usize::MAX)
        .max(1);
    if most < connections.max {
        tracing::warn!(
            files,
            connections = most,
            "fewer connections than server.max_connections: too few files may be open"
        );
        connections.max = most;
    }
    connections
}

/// Sends metrics to the collector, if there is one, and keeps the recorded observations small
/// meanwhile.
async fn send_metrics(app: Arc<App>, metrics: PrometheusHandle) {
    let Some(telemetry) = &app.telemetry else {
        return;
    };
    tokio::spawn(keep_metrics_small(metrics.clone()));
    loop {
        tokio::time::sleep(telemetry.metrics_interval).await;
        let text = http::metrics::render(&metrics, &app).await;
        telemetry.send_metrics(&text, app.clock.now()).await;
    }
}

/// Processes the recorded observations of histograms every 5 seconds: if no client fetches the
/// metrics, they would pile up in memory.
async fn keep_metrics_small(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(METRICS_UPKEEP).await;
        metrics.run_upkeep();
    }
}

pub(super) fn start_log(config: &LogConfig) -> Result<(), CommandError> {
    telemetry::start_log(config).map_err(CommandError::Other)
}

/// Waits until one of the listeners ends by itself.
async fn any_ended(serving: &mut [http::Serving]) {
    std::future::poll_fn(|context| {
        let ended = serving
            .iter_mut()
            .any(|serving| serving.poll_ended(context).is_ready());
        if ended {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
}

/// Reports a state to systemd (`sd_notify`). Without `NOTIFY_SOCKET` it does nothing.
fn notify(states: &[sd_notify::NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "systemd cannot be told");
    }
}
