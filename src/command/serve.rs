//! `carnet serve`: starts the listeners, tells systemd that the server is ready, and on SIGTERM or
//! SIGINT stops reporting ready, drains and shuts down.

use std::io::IsTerminal as _;
use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use super::{CommandError, Conclusion, ConfigFile};
use crate::admin::shared_workloads;
use crate::app::{App, StartError};
use crate::clock::SystemClock;
use crate::config::{ConnectionLimits, Listen, LogConfig, LogFormat};
use crate::http;
use crate::upstream::HttpFetch;

const METRICS_UPKEEP: Duration = Duration::from_secs(5);
/// File descriptors kept free for everything but connections of callers: the database, connections
/// to platforms, the log.
const OTHER_FILES: u64 = 256;

/// How long the shutdown waits for queued audit events to be written.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// Serves until a signal arrives or a listener fails.
pub async fn run(file: &ConfigFile) -> Result<Conclusion, CommandError> {
    let config = file.load()?;
    start_log(&config.log)?;
    let (listens, metrics_listen) = (
        config.server.listen.clone(),
        config.server.metrics_listen.clone(),
    );
    let issuer = config.own.issuer().to_owned();
    let drain = config.server.drain;
    let connections = with_room_for_files(
        config
            .server
            .connections
            .clone()
            .for_requests(config.server.request_deadline),
    );

    let recorder = PrometheusBuilder::new().build_recorder();
    let metrics = recorder.handle();
    if metrics_listen.is_some() {
        metrics::set_global_recorder(recorder)
            .map_err(|error| CommandError::Other(error.to_string()))?;
    }
    let (app, _background) = App::start(
        config,
        Arc::new(SystemClock),
        Arc::new(HttpFetch::default()),
    )
    .await?;
    for shared in shared_workloads(&app.store, &app.rules())
        .await
        .map_err(StartError::from)?
    {
        tracing::warn!(
            "{shared}; they are older than consent: an administrator has to save each, or withdraw it"
        );
    }
    let mut serving = listen_on(&app, &listens, &connections).await?;
    let shown: Vec<String> = listens.iter().map(ToString::to_string).collect();
    tracing::info!(
        issuer,
        listen = shown.join(", "),
        rules = app.rules().credential_count(),
        "ready"
    );
    let metrics_serving = match metrics_listen {
        None => None,
        Some(listen) => {
            tokio::spawn(keep_metrics_small(metrics.clone()));
            let serving = http::serve(
                http::metrics_router(metrics, app.clone()),
                &listen,
                connections,
            )
            .await;
            Some(serving.map_err(|error| CommandError::File(listen.to_string(), error))?)
        }
    };

    notify(&[sd_notify::NotifyState::Ready]);
    until_the_end(&app, drain, &mut serving).await?;
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
    Ok(Conclusion::Yes)
}

/// Opens the listeners for requests.
async fn listen_on(
    app: &Arc<App>,
    listens: &[Listen],
    connections: &ConnectionLimits,
) -> Result<Vec<http::Serving>, CommandError> {
    let mut serving = Vec::with_capacity(listens.len());
    for listen in listens {
        let begun = http::serve(http::router(app.clone()), listen, connections.clone()).await;
        serving.push(begun.map_err(|error| CommandError::File(listen.to_string(), error))?);
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
        () = signals.end() => {
            app.drain();
            tracing::info!(seconds = drain.as_secs(), "not ready any more; serving on while balancers notice");
            tokio::select! {
                () = tokio::time::sleep(drain) => {}
                // A second signal skips the rest of the drain period.
                () = signals.end() => {}
                () = any_ended(serving) => {}
            }
        }
        () = any_ended(serving) => {}
    }
    Ok(())
}

/// SIGTERM and SIGINT, which end the server, and SIGHUP, which is caught because its default action
/// would end the process. There is no configuration to reload.
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

    async fn end(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hang_up.recv() => tracing::info!("SIGHUP: nothing to read again"),
            }
        }
    }
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

/// Processes the recorded observations of histograms every 5 seconds: if no client fetches the
/// metrics, they would pile up in memory.
async fn keep_metrics_small(metrics: PrometheusHandle) {
    loop {
        tokio::time::sleep(METRICS_UPKEEP).await;
        metrics.run_upkeep();
    }
}

fn start_log(config: &LogConfig) -> Result<(), CommandError> {
    let filter = EnvFilter::try_new(&config.level)
        .map_err(|error| CommandError::Other(format!("log.level: {error}")))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match config.format {
        LogFormat::Text => builder.with_ansi(std::io::stderr().is_terminal()).init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
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
