//! Traces: a span for each request, with children for the steps of a token request.
//!
//! Names and attributes of spans come from fixed sets in the code, or are ids of this server; nothing
//! that a caller wrote is in them but the ids of a trusted proxy.

use std::str::FromStr as _;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::trace::{
    Span as _, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer as _, TracerProvider as _,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    Sampler, SdkTracer, SdkTracerProvider, Span, SpanData, SpanProcessor,
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::otlp::Exporter;

/// Finished spans that may wait to be sent; further ones are dropped and counted.
const QUEUE: usize = 16_384;
/// Spans that are sent together.
const BATCH: usize = 2_048;
/// How long spans are collected before they are sent.
const PAUSE: Duration = Duration::from_millis(250);
/// The longest `tracestate` that is passed on, in bytes (W3C Trace Context section 3.3.1.1).
const MAX_TRACESTATE: usize = 512;

/// Makes spans, and puts those that are finished into a queue.
#[derive(Debug)]
pub(super) struct Traces {
    tracer: SdkTracer,
    queue: mpsc::Sender<Message>,
}

/// The finished spans that were not sent yet.
#[derive(Debug)]
pub struct SpanQueue(mpsc::Receiver<Message>);

#[derive(Debug)]
enum Message {
    Span(Box<SpanData>),
    /// Answers once all earlier spans are sent, or given up.
    Flush(oneshot::Sender<()>),
}

/// What a trace says of a request when it begins.
#[derive(Clone, Debug)]
pub struct ServerRequest {
    /// The HTTP method, or `_OTHER`.
    pub method: &'static str,
    /// The template of the path; `None` for a path that the server does not have.
    pub route: Option<&'static str>,
    /// The span of a trusted proxy.
    pub parent: Option<SpanContext>,
}

/// The trace of a request. Dropping it ends its span.
#[derive(Debug)]
pub struct RequestTrace {
    tracer: SdkTracer,
    /// The parent of the steps.
    context: Context,
    id: TraceId,
    span: Mutex<Span>,
    refusal: OnceLock<&'static str>,
}

/// The span of a step, which ends when this is dropped.
#[derive(Debug)]
pub struct Step {
    _span: Span,
}

/// The span of a proxy, from its headers `traceparent` and `tracestate`; `None` if `traceparent` is
/// not of version 00 (W3C Trace Context section 3.2). A `tracestate` that cannot be read counts as
/// absent.
pub fn remote_parent(traceparent: &str, tracestate: Option<&str>) -> Option<SpanContext> {
    let mut fields = traceparent.split('-');
    let mut field = |length: usize| {
        let is_hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        fields
            .next()
            .filter(|field| field.len() == length && field.bytes().all(is_hex))
    };
    let (version, trace, span, flags) = (field(2)?, field(32)?, field(16)?, field(2)?);
    if version != "00" || fields.next().is_some() {
        return None;
    }
    let flags = u8::from_str_radix(flags, 16).ok()?;
    let state = tracestate.filter(|text| text.len() <= MAX_TRACESTATE);
    let state = state.and_then(|text| TraceState::from_str(text).ok());
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(flags) & TraceFlags::SAMPLED,
        true,
        state.unwrap_or_default(),
    );
    context.is_valid().then_some(context)
}

impl Traces {
    /// `sample_ratio` is the part of requests without a parent that is traced. Those with a parent
    /// are traced if the parent is.
    pub(super) fn new(sample_ratio: f64) -> (Self, SpanQueue) {
        let (queue, spans) = mpsc::channel(QUEUE);
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(sample_ratio)));
        let provider = SdkTracerProvider::builder()
            .with_sampler(sampler)
            .with_span_processor(Enqueue(queue.clone()))
            .build();
        let tracer = provider.tracer("carnet");
        (Self { tracer, queue }, SpanQueue(spans))
    }

    pub(super) fn begin(&self, request: ServerRequest) -> Option<RequestTrace> {
        let ServerRequest {
            method,
            route,
            parent,
        } = request;
        let name = route.map_or_else(|| method.to_owned(), |route| format!("{method} {route}"));
        let mut attributes = vec![KeyValue::new("http.request.method", method)];
        attributes.extend(route.map(|route| KeyValue::new("http.route", route)));
        let outer = parent.map_or_else(Context::new, |parent| {
            Context::new().with_remote_span_context(parent)
        });
        let builder = self.tracer.span_builder(name);
        let builder = builder
            .with_kind(SpanKind::Server)
            .with_attributes(attributes);
        let span = self.tracer.build_with_context(builder, &outer);
        let own = span.span_context().clone();
        // A request that is not sampled has no spans, and its id leads to nothing.
        own.is_sampled().then(|| RequestTrace {
            tracer: self.tracer.clone(),
            id: own.trace_id(),
            context: Context::new().with_remote_span_context(own),
            span: Mutex::new(span),
            refusal: OnceLock::new(),
        })
    }

    /// Waits until all spans of before are sent, or given up.
    pub(super) async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.queue.send(Message::Flush(done)).await.is_ok() {
            flushed.await.ok();
        }
    }
}

impl RequestTrace {
    pub(super) fn step(&self, name: &'static str) -> Step {
        let builder = self.tracer.span_builder(name);
        Step {
            _span: self.tracer.build_with_context(builder, &self.context),
        }
    }

    pub(super) fn note_refusal(&self, reason: &'static str) {
        self.refusal.set(reason).ok();
    }

    /// Ends the span of the request, with what its answer says.
    pub(super) fn end(&self, status: u16, request_id: &str) {
        let mut span = self.span.lock();
        span.set_attribute(KeyValue::new(
            "http.response.status_code",
            i64::from(status),
        ));
        span.set_attribute(KeyValue::new("carnet.request_id", request_id.to_owned()));
        if let Some(reason) = self.refusal.get() {
            span.set_attribute(KeyValue::new("carnet.reason", *reason));
        }
        // A refusal is no error of the server (semantic conventions for HTTP server spans).
        if status >= 500 {
            span.set_attribute(KeyValue::new("error.type", status.to_string()));
            span.set_status(Status::error(""));
        }
        span.end();
    }

    pub(super) fn id(&self) -> String {
        self.id.to_string()
    }
}

/// Puts finished spans into the queue.
#[derive(Debug)]
struct Enqueue(mpsc::Sender<Message>);

impl SpanProcessor for Enqueue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.0.try_send(Message::Span(Box::new(span))).is_err() {
            dropped("queue_full", 1);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Counts spans that never reach the collector.
fn dropped(why: &'static str, count: usize) {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    metrics::counter!("carnet_spans_dropped_total", "why" => why).increment(count);
}

/// Sends finished spans until the process ends. Those that cannot be sent are dropped and counted.
pub async fn export_spans(exporter: Arc<Exporter>, mut queue: SpanQueue) {
    let mut messages = Vec::new();
    while queue.0.recv_many(&mut messages, BATCH).await > 0 {
        let (mut spans, mut waiting) = (Vec::with_capacity(messages.len()), Vec::new());
        for message in messages.drain(..) {
            match message {
                Message::Span(span) => spans.push(*span),
                Message::Flush(done) => waiting.push(done),
            }
        }
        let count = spans.len();
        if count > 0 && exporter.send_spans(spans).await.is_err() {
            dropped("not_sent", count);
        }
        for done in waiting.drain(..) {
            done.send(()).ok();
        }
        if count < BATCH {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_traceparent_is_read_by_its_grammar_and_malformed_ones_are_ignored() {
        let parent = remote_parent(TRACEPARENT, Some("congo=t61rcWkgMzE")).unwrap();
        assert_eq!(
            parent.trace_id().to_string(),
            "4bf92f3577b34da6a3ce929d0e0e4736"
        );
        assert_eq!(parent.span_id().to_string(), "00f067aa0ba902b7");
        assert!(parent.is_sampled() && parent.is_remote());
        assert_eq!(parent.trace_state().get("congo"), Some("t61rcWkgMzE"));
        for malformed in [
            "",
            "00",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-+1",
        ] {
            assert!(remote_parent(malformed, None).is_none(), "{malformed}");
        }
        let long = format!("a={}", "x".repeat(600));
        for state in ["no member", &long] {
            let parent = remote_parent(TRACEPARENT, Some(state)).unwrap();
            assert_eq!(parent.trace_state(), &TraceState::default(), "{state}");
        }
    }

    #[test]
    fn a_full_queue_drops_spans_and_keeps_no_request() {
        let (traces, SpanQueue(mut spans)) = Traces::new(1.0);
        let request = ServerRequest {
            method: "GET",
            route: None,
            parent: None,
        };
        for _ in 0..QUEUE + 10 {
            drop(traces.begin(request.clone()));
        }
        let mut kept = 0;
        while spans.try_recv().is_ok() {
            kept += 1;
        }
        assert_eq!(kept, QUEUE);
    }

    #[test]
    fn the_decision_of_the_parent_counts_and_otherwise_the_ratio() {
        let (never, _queue) = Traces::new(0.0);
        let sampled = remote_parent(TRACEPARENT, None);
        let unsampled = remote_parent(&TRACEPARENT.replace("-01", "-00"), None);
        let traced = |traces: &Traces, parent: &Option<SpanContext>| {
            let parent = parent.clone();
            traces
                .begin(ServerRequest {
                    method: "GET",
                    route: None,
                    parent,
                })
                .is_some()
        };
        assert!(traced(&never, &sampled) && !traced(&never, &None));
        let (always, _queue) = Traces::new(1.0);
        assert!(traced(&always, &None) && !traced(&always, &unsampled));
    }
}
