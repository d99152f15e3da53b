//! Ids of requests, traces and metrics: what operators get, whom they are taken over from, and that a collector which is gone costs
//! no request anything.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::{Value, json};

use super::operation::log;
use crate::support::{
    Answer, Collector, Installed, JWT_BEARER, ServerProcess, TestDb, TestServer, World, attribute,
    carnet, encode, finished, free_address,
};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A form from a peer, with these header fields.
async fn from_peer(
    server: &TestServer,
    peer: &str,
    headers: &[(&str, &str)],
    form: &[(&str, &str)],
) -> Answer {
    let peer = SocketAddr::new(peer.parse().unwrap(), 4000);
    let mut request = Request::post("/token")
        .extension(ConnectInfo(peer))
        .header("content-type", "application/x-www-form-urlencoded");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    server
        .send(request.body(Body::from(encode(form))).unwrap())
        .await
}

const REFUSED: [(&str, &str); 1] = [("grant_type", "none")];

// === ids ===

#[tokio::test]
async fn every_answer_has_the_id_of_its_request_and_only_a_trusted_proxy_chooses_it() {
    let settings = [("CARNET_SERVER__TRUSTED_PROXIES", "[\"10.0.0.0/8\"]")];
    let world = World::with(&settings).await;
    let server = &world.server;
    let mut known = std::collections::BTreeSet::new();
    for path in [
        "/healthz",
        "/jwks",
        "/nothing",
        "/admin/v1/clients",
        "/token",
        "/reasons/replay",
    ] {
        let answer = server.get(path).await;
        let id = answer.header("x-request-id").unwrap_or_default().to_owned();
        assert!(id.len() == 26 && known.insert(id.clone()), "{path}: {id}");
    }
    // Without a proxy's id the refusal has one id.
    let refused = server.form("/token", &REFUSED).await;
    let id = refused.header("x-request-id").unwrap().to_owned();
    assert_eq!(refused.json()["error_id"], format!("ev_{id}"));
    // An issued token is found by the id as well.
    let issued = world.exchange(&world.good()).await;
    let id = format!("ev_{}", issued.header("x-request-id").unwrap());
    let event = server
        .admin("GET", &format!("audit-events/{id}"), Value::Null)
        .await
        .json();
    assert_eq!(
        (&event["id"], &event["outcome"]),
        (&json!(id), &json!("issued"))
    );

    let longest = "x".repeat(128);
    for taken in ["gateway-7.b_c", longest.as_str()] {
        let answer = from_peer(server, "10.1.2.3", &[("x-request-id", taken)], &REFUSED).await;
        assert_eq!(answer.header("x-request-id"), Some(taken));
        let stranger = from_peer(server, "192.0.2.9", &[("x-request-id", taken)], &REFUSED).await;
        assert_ne!(stranger.header("x-request-id"), Some(taken));
    }
    let too_long = "x".repeat(129);
    for malformed in [
        "",
        "a b",
        "a\"b",
        "a/b",
        "${jndi:ldap://x}",
        too_long.as_str(),
    ] {
        let answer = from_peer(server, "10.1.2.3", &[("x-request-id", malformed)], &REFUSED).await;
        assert_eq!(
            answer.header("x-request-id").unwrap().len(),
            26,
            "{malformed}"
        );
    }
    let twice = [("x-request-id", "a"), ("x-request-id", "b")];
    let answer = from_peer(server, "10.1.2.3", &twice, &REFUSED).await;
    assert_eq!(answer.header("x-request-id").unwrap().len(), 26);
}

#[tokio::test]
async fn every_line_about_a_request_has_its_id() {
    for (format, id, quote) in [
        ("json", "request_id\":\"from-proxy\"", "\""),
        ("text", "request_id=from-proxy", ""),
    ] {
        let db = TestDb::new().await;
        let settings = [
            ("CARNET_LOG__FORMAT", format),
            ("CARNET_LOG__LEVEL", "info"),
            ("CARNET_SERVER__TRUSTED_PROXIES", "[\"127.0.0.1\"]"),
        ];
        let server = ServerProcess::start(db.folder(), &settings).await;
        let http = reqwest::Client::new();
        let request = http.post(format!("{}/token", server.url)).form(&REFUSED);
        let answer = request
            .header("x-request-id", "from-proxy")
            .send()
            .await
            .unwrap();
        assert_eq!(answer.headers()["x-request-id"], "from-proxy");
        let answer: Value = answer.json().await.unwrap();
        let own = http.post(format!("{}/token", server.url)).form(&REFUSED);
        let own = own.send().await.unwrap().headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let text = log(db.folder());
        let error = answer["error_id"].as_str().unwrap();
        let line = text.lines().find(|line| line.contains(error)).unwrap();
        assert!(
            line.contains(id) && line.contains("request refused"),
            "{line}"
        );
        let line = text
            .lines()
            .find(|line| line.contains(&format!("ev_{own}")))
            .unwrap();
        let by_id = line.matches(&format!("{own}{quote}")).count();
        assert_eq!(by_id, 2, "id of the request and of the refusal: {line}");
        let ready = text
            .lines()
            .find(|line| line.contains("ready") && line.contains("issuer"))
            .unwrap();
        assert!(!ready.contains("request_id"), "{ready}");
    }
}

// === traces ===

async fn traced(settings: &[(&str, &str)]) -> (World, Collector) {
    let collector = Collector::start().await;
    let endpoint = [("CARNET_TELEMETRY__OTLP_ENDPOINT", collector.url.as_str())];
    let world = World::with(&[&endpoint, settings].concat()).await;
    (world, collector)
}

fn attributes(span: &Span) -> Vec<(String, String)> {
    let names = span.attributes.iter().map(|one| one.key.clone());
    names
        .map(|name| (name.clone(), attribute(&span.attributes, &name).unwrap()))
        .collect()
}

#[tokio::test]
async fn a_token_request_is_a_span_with_its_steps_below_the_span_of_the_proxy() {
    let (world, collector) =
        traced(&[("CARNET_SERVER__TRUSTED_PROXIES", "[\"10.0.0.0/8\"]")]).await;
    let assertion = world.good();
    let form = [
        ("grant_type", JWT_BEARER),
        ("assertion", assertion.as_str()),
    ];
    let headers = [
        ("traceparent", TRACEPARENT),
        ("tracestate", "vendor=x"),
        ("x-request-id", "r-1"),
    ];
    from_peer(&world.server, "10.1.2.3", &headers, &form)
        .await
        .token();
    let spans = collector.trace_of("r-1").await;
    let root = &spans[0];
    assert_eq!((root.name.as_str(), root.kind), ("POST /token", 2));
    assert_eq!(hex(&root.trace_id), "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(
        (
            hex(&root.parent_span_id).as_str(),
            root.trace_state.as_str()
        ),
        ("00f067aa0ba902b7", "vendor=x")
    );
    let expected = [
        ("http.request.method", "POST"),
        ("http.route", "/token"),
        ("http.response.status_code", "200"),
        ("carnet.request_id", "r-1"),
    ];
    assert_eq!(
        attributes(root),
        expected.map(|(name, value)| (name.to_owned(), value.to_owned()))
    );
    let mut steps: Vec<(u64, &str)> = spans[1..]
        .iter()
        .map(|span| (span.start_time_unix_nano, span.name.as_str()))
        .collect();
    steps.sort_unstable();
    let steps: Vec<&str> = steps.into_iter().map(|(_, name)| name).collect();
    assert_eq!(steps, ["verify", "decide", "mint", "record"]);
    for span in &spans {
        assert!(
            span.end_time_unix_nano >= span.start_time_unix_nano && span.trace_id == root.trace_id
        );
    }
    let resource = &collector.resources()[0];
    assert_eq!(
        attribute(resource, "service.name").as_deref(),
        Some("carnet")
    );
    assert_eq!(
        attribute(resource, "service.version").as_deref(),
        Some(env!("CARGO_PKG_VERSION"))
    );

    // A refusal: its reason is in the trace, and nothing that the caller wrote.
    let used = from_peer(&world.server, "10.1.2.3", &[("x-request-id", "r-2")], &form).await;
    assert_eq!(used.reason(), "replay");
    let spans = collector.trace_of("r-2").await;
    assert_eq!(
        attribute(&spans[0].attributes, "carnet.reason").as_deref(),
        Some("replay")
    );
    assert_eq!(
        attribute(&spans[0].attributes, "http.response.status_code").as_deref(),
        Some("400")
    );
    assert!(
        spans[0].status.clone().unwrap_or_default().code != 2,
        "a refusal is no error of the server"
    );
}

#[tokio::test]
async fn traces_of_strangers_and_malformed_ones_are_not_continued() {
    let (world, collector) =
        traced(&[("CARNET_SERVER__TRUSTED_PROXIES", "[\"10.0.0.0/8\"]")]).await;
    let server = &world.server;
    let cases: [(&str, &[(&str, &str)]); 4] = [
        ("192.0.2.9", &[("traceparent", TRACEPARENT)]),
        ("10.1.2.3", &[("traceparent", "00-xyz-1-01")]),
        (
            "10.1.2.3",
            &[("traceparent", TRACEPARENT), ("traceparent", TRACEPARENT)],
        ),
        ("10.1.2.3", &[("tracestate", "vendor=x")]),
    ];
    for (peer, headers) in cases {
        let answer = from_peer(server, peer, headers, &REFUSED).await;
        let spans = collector
            .trace_of(answer.header("x-request-id").unwrap())
            .await;
        assert_ne!(
            hex(&spans[0].trace_id),
            "4bf92f3577b34da6a3ce929d0e0e4736",
            "{peer} {headers:?}"
        );
        assert!(
            spans[0].parent_span_id.is_empty() && spans[0].trace_state.is_empty(),
            "{:?}",
            spans[0]
        );
    }
    // A path and a method that callers choose are in no span.
    let odd = Request::builder()
        .method("BREW")
        .uri("/hunter2?hunter3")
        .body(Body::empty())
        .unwrap();
    let answer = server.send(odd).await;
    let spans = collector
        .trace_of(answer.header("x-request-id").unwrap())
        .await;
    assert_eq!(spans[0].name, "_OTHER");
    assert!(!format!("{:?}", collector.spans()).contains("hunter"));
}

#[tokio::test]
async fn a_request_is_traced_as_often_as_the_ratio_says_unless_its_proxy_decides() {
    let settings = [
        ("CARNET_SERVER__TRUSTED_PROXIES", "[\"10.0.0.0/8\"]"),
        ("CARNET_TELEMETRY__SAMPLE_RATIO", "0"),
    ];
    let (world, collector) = traced(&settings).await;
    for _ in 0..20 {
        from_peer(&world.server, "10.1.2.3", &[], &REFUSED).await;
    }
    let headers = [("traceparent", TRACEPARENT), ("x-request-id", "chosen")];
    from_peer(&world.server, "10.1.2.3", &headers, &REFUSED).await;
    assert_eq!(collector.trace_of("chosen").await.len(), 1);
    assert_eq!(collector.spans().len(), 1);
}

// === metrics ===

// The collector has to answer while the test waits for the end of the process.
#[tokio::test(flavor = "multi_thread")]
async fn the_collector_gets_the_metrics_with_the_headers_of_a_file() {
    let collector = Collector::start().await;
    let db = TestDb::new().await;
    let headers = db.folder().join("otlp-headers");
    std::fs::write(&headers, "Authorization: Bearer collector-secret\n").unwrap();
    let headers = headers.display().to_string();
    let settings = [
        ("CARNET_TELEMETRY__OTLP_ENDPOINT", collector.url.as_str()),
        ("CARNET_TELEMETRY__OTLP_HEADERS_FILE", &headers),
        ("CARNET_TELEMETRY__SERVICE_NAME", "carnet-test"),
        ("CARNET_TELEMETRY__METRICS_INTERVAL_SECONDS", "1"),
    ];
    let server = ServerProcess::start(db.folder(), &settings).await;
    let http = reqwest::Client::new();
    let refused = http
        .post(format!("{}/token", server.url))
        .form(&REFUSED)
        .send()
        .await
        .unwrap();
    assert_eq!(refused.status(), 400);
    let is_one = |data: &Data| match data {
        Data::Sum(sum) => {
            sum.is_monotonic
                && sum.data_points.iter().any(|point| {
                    attribute(&point.attributes, "reason").as_deref()
                        == Some("grant_type_unsupported")
                        && point.value == Some(Number::AsDouble(1.0))
                })
        }
        _ => false,
    };
    collector
        .metric("carnet_refusals_total", |metric| {
            metric.data.as_ref().is_some_and(is_one)
        })
        .await;
    let ready = collector.metric("carnet_ready", |_| true).await;
    assert!(
        matches!(&ready.data, Some(Data::Gauge(gauge)) if gauge.data_points[0].value == Some(Number::AsDouble(1.0)))
    );
    let counted = |metric: &opentelemetry_proto::tonic::metrics::v1::Metric| {
        matches!(&metric.data, Some(Data::Histogram(histogram)) if histogram.data_points.iter().any(|point| {
            attribute(&point.attributes, "endpoint").as_deref() == Some("token") && point.count == 1
                && point.bucket_counts.iter().sum::<u64>() == 1
        }))
    };
    collector
        .metric("carnet_request_duration_seconds", counted)
        .await;
    assert!(
        collector
            .headers()
            .iter()
            .all(|headers| headers["authorization"] == "Bearer collector-secret")
    );
    assert_eq!(
        attribute(&collector.resources()[0], "service.name").as_deref(),
        Some("carnet-test")
    );
    assert!(!log(db.folder()).contains("collector-secret"));
    // The last spans and metrics are sent before the process ends.
    let last = http
        .post(format!("{}/token", server.url))
        .form(&REFUSED)
        .send()
        .await
        .unwrap();
    let id = last.headers()["x-request-id"].to_str().unwrap().to_owned();
    assert_eq!(server.terminate(), 0);
    let is_there =
        |span: &Span| attribute(&span.attributes, "carnet.request_id") == Some(id.clone());
    assert!(
        collector.spans().iter().any(is_there),
        "{id}: {}",
        log(db.folder())
    );
}

// === a collector that is gone ===

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_answers_nothing_delays_no_request_and_no_end() {
    let (url, _listener) = Collector::silent().await;
    let installed = Installed::new(&[
        ("CARNET_TELEMETRY__OTLP_ENDPOINT", &url),
        ("CARNET_TELEMETRY__METRICS_INTERVAL_SECONDS", "1"),
    ])
    .await;
    let server = installed.start().await;
    for _ in 0..50 {
        let assertion = installed.good();
        let began = Instant::now();
        let (status, body) = installed.exchange(&assertion).await;
        assert!(
            status == 200 && began.elapsed() < Duration::from_secs(2),
            "{body:#} {:?}",
            began.elapsed()
        );
    }
    // One attempt to send lasts ten seconds.
    let began = Instant::now();
    assert_eq!(server.terminate(), 0);
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn spans_that_a_dead_collector_does_not_take_are_dropped_and_counted() {
    let (metrics, nobody) = (free_address(), free_address());
    let db = TestDb::new().await;
    let endpoint = format!("http://{nobody}");
    let settings = [
        ("CARNET_TELEMETRY__OTLP_ENDPOINT", endpoint.as_str()),
        ("CARNET_SERVER__METRICS_LISTEN", &metrics),
    ];
    let server = ServerProcess::start(db.folder(), &settings).await;
    let http = reqwest::Client::new();
    for _ in 0..10 {
        let answer = http
            .post(format!("{}/token", server.url))
            .form(&REFUSED)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 400);
    }
    let zero = "carnet_spans_dropped_total{why=\"not_sent\"} 0";
    let began = Instant::now();
    loop {
        let text = reqwest::get(format!("http://{metrics}/metrics"))
            .await
            .unwrap()
            .text()
            .await
            .unwrap();
        assert!(
            text.contains("carnet_spans_dropped_total{why=\"not_sent\"} "),
            "{text}"
        );
        if !text.contains(zero) {
            break;
        }
        assert!(began.elapsed() < Duration::from_mins(1), "{text}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let text = log(db.folder());
    assert_eq!(
        text.matches("the OpenTelemetry collector takes nothing")
            .count(),
        1,
        "{text}"
    );
}

// === the configuration ===

#[test]
fn check_reports_every_mistake_in_what_is_sent_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let headers = folder.path().join("headers");
    std::fs::write(&headers, "Authorization Bearer hunter2").unwrap();
    let check = |settings: &[(&str, &str)]| {
        let mut command = carnet();
        command.current_dir(folder.path()).args(["check", "--json"]);
        let done = finished(command.envs(settings.iter().copied()).output().unwrap());
        let answer: Value = serde_json::from_str(&done.stdout).unwrap();
        (
            answer["problems"].to_string(),
            answer["warnings"].to_string(),
        )
    };
    let (problems, _) = check(&[
        ("CARNET_TELEMETRY__OTLP_ENDPOINT", "collector:4317"),
        (
            "CARNET_TELEMETRY__OTLP_HEADERS_FILE",
            headers.to_str().unwrap(),
        ),
        ("CARNET_TELEMETRY__SAMPLE_RATIO", "1.5"),
        ("CARNET_TELEMETRY__METRICS_INTERVAL_SECONDS", "0"),
        ("CARNET_AUDIT__EXPORT", "syslog:udp://siem"),
    ]);
    for expected in [
        "telemetry.otlp_endpoint: must be the http or https URL",
        "line 1 is no header",
        "telemetry.sample_ratio: must be a number from 0 to 1",
        "telemetry.metrics_interval_seconds: must be a whole number from 1 to 3600",
        "audit.export: must be stdout, file:/path,",
    ] {
        assert!(problems.contains(expected), "{expected}: {problems}");
    }
    assert!(!problems.contains("hunter2"), "{problems}");
    let (problems, _) = check(&[("CARNET_AUDIT__EXPORT", "[\"otlp\", \"stdout\"]")]);
    assert!(
        problems.contains("otlp needs telemetry.otlp_endpoint"),
        "{problems}"
    );
    std::fs::write(&headers, "Authorization: Bearer hunter2").unwrap();
    let (problems, warnings) = check(&[
        (
            "CARNET_TELEMETRY__OTLP_ENDPOINT",
            "http://collector.test:4318",
        ),
        (
            "CARNET_TELEMETRY__OTLP_HEADERS_FILE",
            headers.to_str().unwrap(),
        ),
        ("CARNET_TELEMETRY__OTLP_CA_FILE", "/nonexistent/ca.pem"),
        ("CARNET_AUDIT__EXPORT", "file:/nonexistent/audit.jsonl"),
    ]);
    assert!(
        problems.contains("telemetry.otlp_ca_file: /nonexistent/ca.pem"),
        "{problems}"
    );
    assert!(
        problems.contains("audit.export: /nonexistent/audit.jsonl must be in a folder"),
        "{problems}"
    );
    assert!(
        warnings.contains("without TLS") && !warnings.contains("hunter2"),
        "{warnings}"
    );
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
