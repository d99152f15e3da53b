//! What the server tells its operators while it runs: the request that each line of the log belongs
//! to, and, if a collector is configured, traces and metrics by OpenTelemetry's protocol (OTLP over
//! HTTP with protobuf).
//!
//! Without a collector no span exists: a request costs its id and one thread-local value. With one,
//! finished spans wait in a bounded queue, and those that find it full are dropped and counted, so
//! that no request waits for the collector.

mod log;
mod metrics;
mod otlp;
mod request;
mod traces;

use std::sync::Arc;
use std::time::Duration;

pub use log::start as start_log;
pub use otlp::{ExportError, Exporter, LogLine};
pub use request::{CurrentRequest, answered, event_id, is_request_id, note_refusal, step, within};
pub use traces::{RequestTrace, ServerRequest, SpanQueue, export_spans, remote_parent};

use crate::clock::Timestamp;
use crate::config::TelemetryConfig;
use traces::Traces;

/// How long the end of the process waits for what was not sent yet.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The connection to an OpenTelemetry collector.
#[derive(Debug)]
pub struct Telemetry {
    exporter: Arc<Exporter>,
    traces: Traces,
    started: Timestamp,
    /// How often metrics are sent.
    pub metrics_interval: Duration,
}

/// What `telemetry.otlp_ca_file` holds cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("telemetry.otlp_ca_file: {0}")]
pub struct TelemetryError(String);

impl Telemetry {
    /// Prepares sending to a collector, and the queue that [`export_spans`] empties. Connects to
    /// nothing yet.
    ///
    /// # Errors
    ///
    /// If the file with authorities cannot be read.
    pub fn new(
        config: &TelemetryConfig,
        now: Timestamp,
    ) -> Result<(Self, SpanQueue), TelemetryError> {
        let exporter = Exporter::new(config, now).map_err(TelemetryError)?;
        let (traces, queue) = Traces::new(config.sample_ratio);
        let telemetry = Self {
            exporter: Arc::new(exporter),
            traces,
            started: now,
            metrics_interval: config.metrics_interval,
        };
        Ok((telemetry, queue))
    }

    /// Sends to the collector.
    pub fn exporter(&self) -> Arc<Exporter> {
        self.exporter.clone()
    }

    /// Begins the trace of a request, if it is one of those that are traced.
    pub fn begin(&self, request: ServerRequest) -> Option<RequestTrace> {
        self.traces.begin(request)
    }

    /// Sends metrics in Prometheus' text format. What cannot be sent is in the next metrics, since
    /// counters count from the start of the process.
    pub async fn send_metrics(&self, text: &str, now: Timestamp) {
        let resource = self.exporter.resource();
        let request = metrics::request(text, resource, self.started, now);
        self.exporter.send_once("v1/metrics", &request).await.ok();
    }

    /// Sends what waits, for at most two seconds. `metrics` are the last ones.
    pub async fn flush(&self, metrics: &str, now: Timestamp) {
        let all = async {
            tokio::join!(self.traces.flush(), self.send_metrics(metrics, now));
        };
        if tokio::time::timeout(LAST_WORDS, all).await.is_err() {
            tracing::warn!("traces or metrics were not sent before the end");
        }
    }
}
