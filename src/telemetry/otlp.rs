//! Sending to an OpenTelemetry collector: OTLP over HTTP with protobuf bodies.
//!
//! One client sends traces, metrics and audit events. The exporters of the SDK are not used: they take
//! settings from `OTEL_…` variables, and this server reads no environment but its own.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue, any_value::Value,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::transform::common::tonic::{Attributes, ResourceAttributesWithSchema};
use opentelemetry_proto::transform::trace::tonic::group_spans_by_resource_and_scope;
use opentelemetry_sdk::trace::SpanData;
use prost::Message;
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;
use url::Url;

use crate::clock::Timestamp;
use crate::config::TelemetryConfig;
use crate::ids;

/// How long one request to the collector may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How often spans are tried to be sent, and the pause between two attempts.
const ATTEMPTS: usize = 3;
const AGAIN: Duration = Duration::from_secs(1);

/// Sends to the collector.
#[derive(Debug)]
pub struct Exporter {
    client: reqwest::Client,
    endpoint: Url,
    resource: Resource,
    /// Whether the last request failed, so that each failure is logged once.
    is_failing: AtomicBool,
}

/// Why the collector did not take a request.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// It cannot be reached, or was too slow.
    #[error("{}", carnet_outbound::causes(.0))]
    Unreachable(#[from] reqwest::Error),
    /// It answered with this status.
    #[error("the collector answers {0}")]
    Status(u16),
    /// The URL cannot be made.
    #[error(transparent)]
    Url(#[from] url::ParseError),
}

/// A log record.
#[derive(Clone, Debug)]
pub struct LogLine {
    pub at: Timestamp,
    /// Whether an operator may want to look at it.
    pub is_warning: bool,
    pub name: &'static str,
    /// Fixed names with values from fixed sets, or ids.
    pub attributes: Vec<(&'static str, String)>,
    pub body: String,
}

impl ExportError {
    /// Whether the same request may be taken later (OTLP specification, "Failures").
    const fn is_passing(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Status(status) => matches!(status, 429 | 502 | 503 | 504),
            Self::Url(_) => false,
        }
    }
}

impl Exporter {
    pub(super) fn new(config: &TelemetryConfig, now: Timestamp) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        for (name, value) in &config.headers {
            let name =
                HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
            let mut value =
                HeaderValue::from_str(value.expose_secret()).map_err(|error| error.to_string())?;
            value.set_sensitive(true);
            headers.append(name, value);
        }
        let mut client = carnet_outbound::client(TIMEOUT, false).default_headers(headers);
        if let Some(file) = &config.ca_file {
            let failed = |detail: String| format!("{}: {detail}", file.display());
            let text = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
            let authorities = reqwest::Certificate::from_pem_bundle(&text)
                .map_err(|error| failed(error.to_string()))?;
            for authority in authorities {
                client = client.add_root_certificate(authority);
            }
        }
        Ok(Self {
            client: client
                .no_proxy()
                .build()
                .map_err(|error| error.to_string())?,
            endpoint: config.endpoint.clone(),
            resource: resource(&config.service_name, now),
            is_failing: AtomicBool::new(false),
        })
    }

    /// What sends: service, release and process.
    pub(super) fn resource(&self) -> Resource {
        self.resource.clone()
    }

    /// Sends finished spans, with further attempts while the collector cannot be reached.
    pub(super) async fn send_spans(&self, spans: Vec<SpanData>) -> Result<(), ExportError> {
        let resource = ResourceAttributesWithSchema {
            attributes: Attributes(self.resource.attributes.clone()),
            schema_url: None,
        };
        let request = ExportTraceServiceRequest {
            resource_spans: group_spans_by_resource_and_scope(spans, &resource),
        };
        let body = request.encode_to_vec();
        for _ in 1..ATTEMPTS {
            match self.send("v1/traces", body.clone()).await {
                Err(error) if error.is_passing() => tokio::time::sleep(AGAIN).await,
                outcome => return outcome,
            }
        }
        self.send("v1/traces", body).await
    }

    /// Sends log records.
    ///
    /// # Errors
    ///
    /// If the collector did not take them.
    pub async fn send_logs(&self, lines: Vec<LogLine>) -> Result<(), ExportError> {
        let request = ExportLogsServiceRequest {
            resource_logs: vec![ResourceLogs {
                resource: Some(self.resource()),
                scope_logs: vec![ScopeLogs {
                    scope: Some(scope()),
                    log_records: lines.into_iter().map(record).collect(),
                    schema_url: String::new(),
                }],
                schema_url: String::new(),
            }],
        };
        self.send_once("v1/logs", &request).await
    }

    /// Sends a request, once.
    pub(super) async fn send_once(
        &self,
        path: &str,
        request: &impl Message,
    ) -> Result<(), ExportError> {
        self.send(path, request.encode_to_vec()).await
    }

    async fn send(&self, path: &str, body: Vec<u8>) -> Result<(), ExportError> {
        let outcome = self.attempt(path, body).await;
        let was_failing = self.is_failing.swap(outcome.is_err(), Ordering::Relaxed);
        match &outcome {
            Err(error) if !was_failing => {
                tracing::warn!(%error, path, "the OpenTelemetry collector takes nothing");
            }
            Ok(()) if was_failing => tracing::info!("the OpenTelemetry collector is back"),
            _ => {}
        }
        outcome
    }

    async fn attempt(&self, path: &str, body: Vec<u8>) -> Result<(), ExportError> {
        let request = self.client.post(self.endpoint.join(path)?);
        let request = request
            .header(CONTENT_TYPE, "application/x-protobuf")
            .body(body);
        let status = request.send().await?.status();
        if status.is_success() {
            Ok(())
        } else {
            Err(ExportError::Status(status.as_u16()))
        }
    }
}

/// Nanoseconds since 1970, as OTLP writes times.
pub(super) fn nanos(at: Timestamp) -> u64 {
    u64::try_from(at.millis())
        .unwrap_or_default()
        .saturating_mul(1_000_000)
}

pub(super) fn attribute(key: &str, value: impl Into<String>) -> KeyValue {
    KeyValue {
        key: key.to_owned(),
        value: Some(text(value)),
        ..KeyValue::default()
    }
}

pub(super) fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "carnet".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    }
}

fn text(value: impl Into<String>) -> AnyValue {
    AnyValue {
        value: Some(Value::StringValue(value.into())),
    }
}

fn resource(service_name: &str, now: Timestamp) -> Resource {
    Resource {
        attributes: vec![
            attribute("service.name", service_name),
            attribute("service.version", env!("CARGO_PKG_VERSION")),
            attribute("service.instance.id", ids::new(now).to_string()),
        ],
        ..Resource::default()
    }
}

fn record(line: LogLine) -> LogRecord {
    let severity = if line.is_warning {
        SeverityNumber::Warn
    } else {
        SeverityNumber::Info
    };
    let attributes = line.attributes.into_iter();
    LogRecord {
        time_unix_nano: nanos(line.at),
        observed_time_unix_nano: nanos(line.at),
        severity_number: severity.into(),
        event_name: line.name.to_owned(),
        body: Some(text(line.body)),
        attributes: attributes
            .map(|(name, value)| attribute(name, value))
            .collect(),
        ..LogRecord::default()
    }
}
