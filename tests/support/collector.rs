//! An OpenTelemetry collector: a real server on the loopback interface that decodes what it is sent.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;

/// How long something is waited for.
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Debug, Default)]
struct Seen {
    spans: Vec<Span>,
    metrics: Vec<Metric>,
    logs: Vec<LogRecord>,
    headers: Vec<HeaderMap>,
    resources: Vec<Vec<KeyValue>>,
}

/// A collector.
#[derive(Clone, Debug)]
pub struct Collector {
    pub url: String,
    seen: Arc<Mutex<Seen>>,
}

impl Collector {
    pub async fn start() -> Self {
        let seen = Arc::default();
        let router = Router::new()
            .fallback(receive)
            .with_state(Arc::clone(&seen));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, seen }
    }

    /// One that accepts connections and answers nothing. The URL, and what keeps it.
    pub async fn silent() -> (String, TcpListener) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        (
            format!("http://{}", listener.local_addr().unwrap()),
            listener,
        )
    }

    async fn wait<T>(&self, what: &str, find: impl Fn(&Seen) -> Option<T>) -> T {
        let began = std::time::Instant::now();
        loop {
            if let Some(found) = find(&self.seen.lock().unwrap()) {
                return found;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "{what} did not come: {:?}",
                self.seen
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The spans of the trace whose server span has this request id, once they came: that span first.
    pub async fn trace_of(&self, request_id: &str) -> Vec<Span> {
        self.wait(request_id, |seen| {
            let is_root = |span: &&Span| {
                text(&span.attributes, "carnet.request_id").as_deref() == Some(request_id)
            };
            let root = seen.spans.iter().find(is_root)?.clone();
            let is_child = |span: &&Span| span.parent_span_id == root.span_id;
            let children = seen.spans.iter().filter(is_child).cloned();
            Some(std::iter::once(root.clone()).chain(children).collect())
        })
        .await
    }

    /// All spans so far.
    pub fn spans(&self) -> Vec<Span> {
        self.seen.lock().unwrap().spans.clone()
    }

    /// The latest data of a metric for which the condition holds, once it came.
    pub async fn metric(&self, name: &str, holds: impl Fn(&Metric) -> bool) -> Metric {
        self.wait(name, |seen| {
            let mut metrics = seen.metrics.iter().rev();
            metrics
                .find(|metric| metric.name == name && holds(metric))
                .cloned()
        })
        .await
    }

    /// The log records, once there are so many.
    pub async fn logs(&self, count: usize) -> Vec<LogRecord> {
        self.wait("a log record", |seen| {
            (seen.logs.len() >= count).then(|| seen.logs.clone())
        })
        .await
    }

    pub fn headers(&self) -> Vec<HeaderMap> {
        self.seen.lock().unwrap().headers.clone()
    }

    /// What the senders said of themselves.
    pub fn resources(&self) -> Vec<Vec<KeyValue>> {
        self.seen.lock().unwrap().resources.clone()
    }
}

/// The text of an attribute.
pub fn text(attributes: &[KeyValue], name: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == name)?;
    Some(match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}

async fn receive(
    State(seen): State<Arc<Mutex<Seen>>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let mut seen = seen.lock().unwrap();
    assert_eq!(headers["content-type"], "application/x-protobuf");
    seen.headers.push(headers);
    match uri.path() {
        "/v1/traces" => {
            for all in ExportTraceServiceRequest::decode(body)
                .unwrap()
                .resource_spans
            {
                seen.resources.push(all.resource.unwrap().attributes);
                let scopes = all.scope_spans.into_iter();
                seen.spans.extend(scopes.flat_map(|scope| scope.spans));
            }
        }
        "/v1/metrics" => {
            for all in ExportMetricsServiceRequest::decode(body)
                .unwrap()
                .resource_metrics
            {
                seen.resources.push(all.resource.unwrap().attributes);
                let scopes = all.scope_metrics.into_iter();
                seen.metrics.extend(scopes.flat_map(|scope| scope.metrics));
            }
        }
        "/v1/logs" => {
            for all in ExportLogsServiceRequest::decode(body)
                .unwrap()
                .resource_logs
            {
                seen.resources.push(all.resource.unwrap().attributes);
                let scopes = all.scope_logs.into_iter();
                seen.logs.extend(scopes.flat_map(|scope| scope.log_records));
            }
        }
        _ => return StatusCode::NOT_FOUND,
    }
    StatusCode::OK
}
