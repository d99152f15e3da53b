//! `carnet gateway`: the reverse proxy in front of registries.

use std::sync::Arc;

use crate::app::App;
use crate::clock::SystemClock;
use crate::command::serve::{
    Listeners, record_metrics, serve, start_log, warn_of, warn_of_certificates,
};
use crate::command::{CommandError, Conclusion, ConfigFile};
use crate::gateway::set_up;
use crate::http;
use crate::upstream::HttpFetch;

/// Serves until a signal arrives or a listener fails.
pub(super) async fn run(file: &ConfigFile) -> Result<Conclusion, CommandError> {
    let config = file.load()?;
    start_log(&config.log)?;
    warn_of(&config);
    let metrics = record_metrics(config.gateway.metrics_listen.is_some())?;
    let network = Arc::new(HttpFetch::of(&config));
    let (app, _background) = App::beside(config, Arc::new(SystemClock), network).await?;
    warn_of_certificates(&app);
    let gateway = set_up(&app).map_err(|error| CommandError::Other(error.to_string()))?;
    let settling = {
        let gateway = gateway.clone();
        tokio::spawn(async move { gateway.keep_settling().await })
    };
    let config = &app.config.gateway;
    let listeners = Listeners {
        router: http::gateway_router(app.clone(), gateway),
        listen: &config.listen,
        mtls: &config.mtls,
        metrics: (metrics, config.metrics_listen.as_ref()),
        longest_request: carnet_gateway::LONGEST_REQUEST,
    };
    let served = serve(&app, listeners, || log_ready(&app)).await;
    settling.abort();
    served
}

fn log_ready(app: &App) {
    let config = &app.config.gateway;
    let listen: Vec<String> = config.listen.iter().map(ToString::to_string).collect();
    for registry in &config.registries {
        tracing::info!(
            resource_server = registry.resource_server,
            protocol = registry.protocol.as_str(),
            hosts = registry.hosts.join(", "),
            upstream = %registry.upstream,
            passthrough = registry.passthrough,
            "registry"
        );
    }
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        listen = listen.join(", "),
        client_certificates = %config.mtls,
        database = app.config.database.url.shown(),
        "ready"
    );
}
