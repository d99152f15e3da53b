//! The metrics of a server process, as Prometheus reads them.

use std::collections::{BTreeMap, BTreeSet};

use carnet::http::metrics::{METRICS, MetricKind};
use serde_json::Value;

use super::documents::read;
use crate::support::{Installed, free_address};

/// The lines of `/metrics` by series.
async fn scraped(address: &str) -> (String, BTreeMap<String, String>) {
    let url = format!("http://{address}/metrics");
    let text = reqwest::get(url).await.unwrap().text().await.unwrap();
    let series = text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
        .map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            (series.to_owned(), value.to_owned())
        })
        .collect();
    (text, series)
}

#[tokio::test]
async fn each_metric_is_there_from_the_start_with_its_help_and_counts_what_happens() {
    let metrics = free_address();
    let installed = Installed::new(&[("CARNET_SERVER__METRICS_LISTEN", &metrics)]).await;
    let _server = installed.start().await;
    let (text, before) = scraped(&metrics).await;
    for metric in METRICS
        .iter()
        .filter(|metric| metric.kind != MetricKind::Histogram)
    {
        let help = format!("# HELP {} {}\n", metric.name, metric.help);
        assert!(text.contains(&help), "{help}{text}");
        let is_there = |series: &&String| series.split('{').next() == Some(metric.name);
        // The keys of the platform are not fetched yet, and there is no TLS.
        let is_later = [
            "carnet_trusted_issuer_keys",
            "carnet_tls_certificate_expires_timestamp_seconds",
        ]
        .contains(&metric.name);
        assert!(
            is_later != before.keys().any(|series| is_there(&series)),
            "{}",
            metric.name
        );
    }
    let version = env!("CARGO_PKG_VERSION");
    let build = format!("carnet_build_info{{version=\"{version}\"}}");
    assert_eq!(before[&build], "1");
    assert_eq!(before["carnet_ready"], "1");
    assert_eq!(before["carnet_rules"], "1");
    let state = |state: &str| {
        format!("carnet_trusted_issuer_keys_state{{trusted_issuer=\"github\",state=\"{state}\"}}")
    };
    assert_eq!(before[&state("not_fetched")], "1");
    assert_eq!(before[&state("ok")], "0");
    assert_eq!(before["carnet_refusals_total{reason=\"replay\"}"], "0");

    let assertion = installed.good();
    assert_eq!(installed.exchange(&assertion).await.0, 200);
    assert_eq!(installed.exchange(&assertion).await.0, 400);
    let (text, after) = scraped(&metrics).await;
    assert_eq!(after["carnet_tokens_issued_total"], "1");
    assert_eq!(after["carnet_refusals_total{reason=\"replay\"}"], "1");
    assert_eq!(after[&state("ok")], "1");
    assert_eq!(
        after["carnet_trusted_issuer_keys{trusted_issuer=\"github\"}"],
        "1"
    );
    let took = "carnet_request_duration_seconds";
    assert_eq!(after[&format!("{took}_count{{endpoint=\"token\"}}")], "2");
    assert_eq!(
        after[&format!("{took}_bucket{{endpoint=\"token\",le=\"+Inf\"}}")],
        "2"
    );
    // One transaction for the token, and one that found the assertion used.
    assert_eq!(after["carnet_ledger_batch_size_bucket{le=\"1\"}"], "2");
    for metric in METRICS
        .iter()
        .filter(|metric| metric.kind == MetricKind::Histogram)
    {
        assert!(
            text.contains(&format!("# HELP {} {}\n", metric.name, metric.help)),
            "{text}"
        );
    }
    let connections = |series: &str| after[series].parse::<usize>().unwrap();
    let open = connections("carnet_database_connections{state=\"busy\"}")
        + connections("carnet_database_connections{state=\"idle\"}");
    let max = connections("carnet_database_connections_max");
    assert!(open >= 1 && open <= max, "{text}");
}

#[test]
fn the_page_of_metrics_has_the_kind_of_each() {
    let page = read("docs/src/reference/metrics.md");
    for metric in METRICS {
        let kind = match metric.kind {
            MetricKind::Counter => "counter",
            MetricKind::Histogram => "histogram",
            MetricKind::Gauge => "gauge",
        };
        let row = format!("\n| `{}` | {kind} | ", metric.name);
        assert!(page.contains(&row), "{row}");
    }
}

/// The metrics that an expression of Prometheus names.
fn named(expression: &str) -> BTreeSet<String> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words
        .filter(|word| word.starts_with("carnet_"))
        .map(str::to_owned)
        .collect()
}

/// Checks that each metric of an expression exists, histograms by the series they have.
fn assert_exist(expression: &str) {
    let exists = |name: &String| {
        METRICS.iter().any(|metric| match metric.kind {
            MetricKind::Histogram => ["_bucket", "_sum", "_count"]
                .iter()
                .any(|part| name.strip_suffix(part) == Some(metric.name)),
            _ => metric.name == *name,
        })
    };
    let named = named(expression);
    assert!(!named.is_empty(), "{expression}");
    let missing = named.iter().find(|name| !exists(name));
    assert_eq!(missing, None, "{expression}");
}

#[test]
fn alert_rules_and_dashboard_name_metrics_that_exist() {
    let rules = read("integrations/prometheus/carnet-alerts.yml");
    let expressions = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "));
    let expressions: Vec<&str> = expressions.collect();
    assert!(expressions.len() >= 8 && rules.matches("- alert: ").count() == expressions.len());
    expressions.into_iter().for_each(assert_exist);
    // A label that is named is one of the page, and a reason is a reason.
    for part in rules.split("reason=").skip(1) {
        let reasons = part.trim_start_matches('~').split('"').nth(1).unwrap();
        for reason in reasons.split('|') {
            assert!(reason.parse::<carnet::reason::Reason>().is_ok(), "{reason}");
        }
    }

    let dashboard: Value = serde_json::from_str(&read("integrations/grafana/carnet.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    assert!(panels.len() >= 8, "{}", panels.len());
    for panel in panels {
        let targets = panel["targets"].as_array().unwrap();
        assert!(
            !targets.is_empty() && panel["title"].is_string(),
            "{panel:#}"
        );
        for target in targets {
            assert_exist(target["expr"].as_str().unwrap());
        }
    }
}
