//! `GET /metrics`: what the recorder counted, and the state of queues, connections and issuers' keys
//! at the moment of the request.
//!
//! [`METRICS`] is the one list of all metrics; it gives each its HELP line, and the reference page is
//! compared with it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::LazyLock;
use std::time::Duration;

use axum::extract::Request;
use axum::http::Uri;
use metrics::Histogram;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};

use super::front_doors;
use super::serve::HandshakeFailure;
use crate::app::App;
use crate::reason::Reason;
use crate::store::Connections;

/// The kinds of metrics, by how they are exposed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricKind {
    Counter,
    Histogram,
    /// Read from the server's state when metrics are requested.
    Gauge,
}

/// A metric: its name, its kind, and its HELP text.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    pub name: &'static str,
    pub kind: MetricKind,
    pub help: &'static str,
}

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind: MetricKind::Counter,
        help,
    }
}

const fn histogram(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind: MetricKind::Histogram,
        help,
    }
}

const fn gauge(name: &'static str, help: &'static str) -> Metric {
    Metric {
        name,
        kind: MetricKind::Gauge,
        help,
    }
}

const BUILD_INFO: Metric = gauge(
    "carnet_build_info",
    "Always 1; the label version is the release that runs.",
);
const RULES: Metric = gauge("carnet_rules", "Rules that this process has in memory.");
const READY: Metric = gauge(
    "carnet_ready",
    "1 if a token could be issued now, as /readyz says, else 0.",
);
const ISSUER_STATE: Metric = gauge(
    "carnet_trusted_issuer_keys_state",
    "1 for the state of the keys of a trusted issuer, 0 for the other states.",
);
const ISSUER_KEYS: Metric = gauge(
    "carnet_trusted_issuer_keys",
    "Keys of a trusted issuer that can be used now.",
);
const CERTIFICATE_EXPIRES: Metric = gauge(
    "carnet_tls_certificate_expires_timestamp_seconds",
    "When a TLS certificate in use expires, in seconds since 1970, by the first name in it.",
);
const LEDGER_QUEUE: Metric = gauge(
    "carnet_ledger_queue_length",
    "Tokens that wait to be recorded in the database.",
);
const TOKEN_REQUESTS: Metric = gauge(
    "carnet_token_requests",
    "Token requests, by whether they are worked on or wait for their turn.",
);
const AUDIT_QUEUE: Metric = gauge(
    "carnet_audit_queue_length",
    "Audit events of refusals that wait to be written.",
);
const CONNECTIONS: Metric = gauge(
    "carnet_database_connections",
    "Connections to the database, by what they do.",
);
const CONNECTIONS_MAX: Metric = gauge(
    "carnet_database_connections_max",
    "The most connections to the database that this process opens.",
);

/// All metrics.
pub const METRICS: &[Metric] = &[
    counter("carnet_tokens_issued_total", "Access tokens issued."),
    counter(
        "carnet_tokens_revoked_total",
        "Access tokens revoked; revoking one again is not counted.",
    ),
    counter("carnet_refusals_total", "Requests refused, by reason."),
    counter(
        "carnet_sign_ins_total",
        "Sessions of people that began, by whether they proved anew who they are.",
    ),
    counter(
        "carnet_authorization_codes_total",
        "Authorization codes issued to clients that act for people.",
    ),
    counter(
        "carnet_token_requests_shed_total",
        "Token requests refused because too many waited, or for too long.",
    ),
    counter(
        "carnet_admin_refusals_total",
        "Requests that the admin API did not admit, by status.",
    ),
    counter(
        "carnet_upstream_fetches_total",
        "Attempts to fetch keys of trusted issuers, clients and identity providers, and metadata of the last, by outcome.",
    ),
    counter(
        "carnet_attestation_checks_total",
        "Verifications of attested key sets, by the step at which they failed.",
    ),
    counter(
        "carnet_audit_events_dropped_total",
        "Audit events of refusals that were lost.",
    ),
    counter(
        "carnet_audit_events_exported_total",
        "Audit events sent to a destination of audit.export, by its kind.",
    ),
    counter(
        "carnet_audit_exports_failed_total",
        "Attempts to send audit events to a destination that failed, by its kind.",
    ),
    counter(
        "carnet_spans_dropped_total",
        "Spans of traces that never reached the collector, by cause.",
    ),
    counter(
        "carnet_notifications_delivered_total",
        "Messages that webhooks accepted.",
    ),
    counter(
        "carnet_notifications_failed_total",
        "Attempts to deliver a message that failed.",
    ),
    counter(
        "carnet_notifications_dropped_total",
        "Messages that are never delivered, by cause.",
    ),
    counter(
        "carnet_tls_handshakes_total",
        "TLS handshakes made, by version.",
    ),
    counter(
        "carnet_tls_handshakes_failed_total",
        "TLS handshakes that failed, by cause.",
    ),
    counter(
        "carnet_gateway_publications_total",
        "Publications that went through the gateway, by outcome.",
    ),
    histogram(
        "carnet_request_duration_seconds",
        "Time from the head of a request to its answer, by endpoint.",
    ),
    histogram(
        "carnet_ledger_batch_size",
        "Tokens recorded in one transaction.",
    ),
    BUILD_INFO,
    RULES,
    READY,
    ISSUER_STATE,
    ISSUER_KEYS,
    CERTIFICATE_EXPIRES,
    LEDGER_QUEUE,
    TOKEN_REQUESTS,
    AUDIT_QUEUE,
    CONNECTIONS,
    CONNECTIONS_MAX,
];

/// Upper bounds of the buckets, in seconds. The last is the default of `server.request_seconds`.
const DURATIONS: [f64; 12] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0,
];
/// Upper bounds of the buckets, in tokens. The last is the most that one transaction holds.
const BATCHES: [f64; 7] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0];

/// A recorder builder with the buckets of the histograms.
pub fn recorder() -> Result<PrometheusBuilder, BuildError> {
    let full = |name: &str| Matcher::Full(name.to_owned());
    PrometheusBuilder::new()
        .set_buckets_for_metric(full("carnet_request_duration_seconds"), &DURATIONS)?
        .set_buckets_for_metric(full("carnet_ledger_batch_size"), &BATCHES)
}

/// Tells the recorder the HELP texts, and makes each counter begin at 0: an alert on the increase of
/// a series would miss the first event of one that does not exist before.
pub fn describe() {
    for metric in METRICS {
        match metric.kind {
            MetricKind::Counter => metrics::describe_counter!(metric.name, metric.help),
            MetricKind::Histogram => metrics::describe_histogram!(metric.name, metric.help),
            MetricKind::Gauge => {}
        }
    }
    metrics::counter!("carnet_tokens_issued_total").increment(0);
    metrics::counter!("carnet_authorization_codes_total").increment(0);
    metrics::counter!("carnet_tokens_revoked_total").increment(0);
    metrics::counter!("carnet_token_requests_shed_total").increment(0);
    metrics::counter!("carnet_audit_events_dropped_total").increment(0);
    metrics::counter!("carnet_notifications_delivered_total").increment(0);
    metrics::counter!("carnet_notifications_failed_total").increment(0);
    for outcome in ["fetched", "failed"] {
        metrics::counter!("carnet_upstream_fetches_total", "outcome" => outcome).increment(0);
    }
    // Those by which an operator is alarmed.
    for step in ["ok", "manifest", "crl", "revoked", "rolled_back"] {
        metrics::counter!("carnet_attestation_checks_total", "step" => step).increment(0);
    }
    for destination in ["stdout", "file", "syslog", "otlp"] {
        metrics::counter!("carnet_audit_events_exported_total", "destination" => destination)
            .increment(0);
        metrics::counter!("carnet_audit_exports_failed_total", "destination" => destination)
            .increment(0);
    }
    for why in ["queue_full", "not_sent"] {
        metrics::counter!("carnet_spans_dropped_total", "why" => why).increment(0);
    }
    for why in ["given_up", "queue_full"] {
        metrics::counter!("carnet_notifications_dropped_total", "why" => why).increment(0);
    }
    for outcome in ["published", "refused", "unclear"] {
        metrics::counter!("carnet_gateway_publications_total", "outcome" => outcome).increment(0);
    }
    for version in ["1.2", "1.3"] {
        metrics::counter!("carnet_tls_handshakes_total", "version" => version).increment(0);
    }
    for why in HandshakeFailure::ALL {
        metrics::counter!("carnet_tls_handshakes_failed_total", "why" => why.code()).increment(0);
    }
    for status in ["400", "401", "403", "500", "503"] {
        metrics::counter!("carnet_admin_refusals_total", "status" => status).increment(0);
    }
    for kind in ["sign_in", "step_up"] {
        metrics::counter!("carnet_sign_ins_total", "kind" => kind).increment(0);
    }
    for reason in Reason::ALL {
        metrics::counter!("carnet_refusals_total", "reason" => reason.code()).increment(0);
    }
}

/// The histograms of request durations. A handle is looked up once, so that an observation costs two
/// readings of the clock and one write to memory.
struct Durations {
    token: Histogram,
    introspect: Histogram,
    revoke: Histogram,
    explain: Histogram,
    front_door: Histogram,
    admin: Histogram,
    other: Histogram,
}

static DURATIONS_BY_ENDPOINT: LazyLock<Durations> = LazyLock::new(|| {
    let of = |endpoint: &'static str| metrics::histogram!("carnet_request_duration_seconds", "endpoint" => endpoint);
    Durations {
        token: of("token"),
        introspect: of("introspect"),
        revoke: of("revoke"),
        explain: of("explain"),
        front_door: of("front_door"),
        admin: of("admin"),
        other: of("other"),
    }
});

/// The histogram of the endpoint that a request is for.
pub fn durations(request: &Request, path: &str) -> &'static Histogram {
    endpoint(request.uri(), path, &DURATIONS_BY_ENDPOINT)
}

fn endpoint<'d>(uri: &Uri, path: &str, durations: &'d Durations) -> &'d Histogram {
    match uri.path().strip_prefix(path).unwrap_or_default() {
        "/token" => &durations.token,
        "/introspect" => &durations.introspect,
        "/revoke" => &durations.revoke,
        "/explain" => &durations.explain,
        below if below.starts_with("/admin/v1/") => &durations.admin,
        _ if front_doors::kind_of(uri.path(), path).is_some() => &durations.front_door,
        _ => &durations.other,
    }
}

/// Notes how long a request took.
pub fn observe(histogram: &Histogram, took: Duration) {
    histogram.record(took.as_secs_f64());
}

/// The metrics in Prometheus' text format.
pub async fn render(metrics: &PrometheusHandle, app: &App) -> String {
    let mut text = metrics.render();
    let version = [("version", env!("CARGO_PKG_VERSION"))];
    samples(&mut text, BUILD_INFO, [(&version[..], 1)]);
    let rules = app.rules();
    samples(&mut text, RULES, [(&[][..], rules.credential_count())]);
    let ready = app.readiness().await.is_complete();
    samples(&mut text, READY, [(&[][..], usize::from(ready))]);
    let ledger = app.ledger.queue_length();
    samples(&mut text, LEDGER_QUEUE, [(&[][..], ledger)]);
    let (running, waiting) = app.load.numbers();
    let by_state = [
        (&[("state", "running")][..], running),
        (&[("state", "waiting")], waiting),
    ];
    samples(&mut text, TOKEN_REQUESTS, by_state);
    let audit = app.audit_queue_length();
    samples(&mut text, AUDIT_QUEUE, [(&[][..], audit)]);
    let Connections { busy, idle, max } = app.store.connections();
    let by_use = [
        (&[("state", "busy")][..], busy),
        (&[("state", "idle")], idle),
    ];
    samples(&mut text, CONNECTIONS, by_use);
    samples(&mut text, CONNECTIONS_MAX, [(&[][..], max)]);
    issuers(&mut text, app).await;
    certificates(&mut text, app);
    text
}

/// The end of each TLS certificate. Of several with the same first name, the one that ends first.
fn certificates(text: &mut String, app: &App) {
    head(text, CERTIFICATE_EXPIRES);
    let mut ends = BTreeMap::new();
    let set = app.certificates.as_ref().map(|all| all.current());
    for one in set.iter().flat_map(|set| set.certificates()) {
        let end = ends.entry(one.names.first()).or_insert(one.not_after);
        *end = one.not_after.min(*end);
    }
    for (name, end) in ends {
        let seconds = usize::try_from(end.seconds()).unwrap_or_default();
        sample(text, CERTIFICATE_EXPIRES, &[("name", &name)], seconds);
    }
}

/// The state of the keys of all enabled trusted issuers, as this process knows it.
async fn issuers(text: &mut String, app: &App) {
    let mut keys = Vec::new();
    for issuer in app.rules().issuers().filter(|issuer| issuer.enabled) {
        keys.push(app.upstream.status(issuer).await);
    }
    head(text, ISSUER_STATE);
    for status in &keys {
        for state in ["ok", "failing", "not_fetched", "no_keys"] {
            let labels = [
                ("trusted_issuer", status.trusted_issuer.as_str()),
                ("state", state),
            ];
            let is_now = status.state.as_str() == state;
            sample(text, ISSUER_STATE, &labels, usize::from(is_now));
        }
    }
    head(text, ISSUER_KEYS);
    for status in &keys {
        if let Some(count) = status.keys {
            let labels = [("trusted_issuer", status.trusted_issuer.as_str())];
            sample(text, ISSUER_KEYS, &labels, count);
        }
    }
}

fn samples<'l>(
    text: &mut String,
    metric: Metric,
    values: impl IntoIterator<Item = (&'l [(&'l str, &'l str)], usize)>,
) {
    head(text, metric);
    for (labels, value) in values {
        sample(text, metric, labels, value);
    }
}

fn head(text: &mut String, metric: Metric) {
    let Metric { name, help, .. } = metric;
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge").unwrap_or_default();
}

/// One line. Values of labels are names and versions, which contain nothing that has to be escaped.
fn sample(text: &mut String, metric: Metric, labels: &[(&str, &str)], value: usize) {
    let labels: Vec<String> = labels
        .iter()
        .map(|(name, value)| format!("{name}=\"{value}\""))
        .collect();
    let name = metric.name;
    if labels.is_empty() {
        writeln!(text, "{name} {value}").unwrap_or_default();
    } else {
        writeln!(text, "{name}{{{}}} {value}", labels.join(",")).unwrap_or_default();
    }
}
