//! Metrics for the collector: what `/metrics` answers, as OTLP writes it. Reading the text keeps the
//! two the same, with the gauges that are read when metrics are asked for.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, metric::Data, number_data_point::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::otlp::{attribute, nanos, scope};
use crate::clock::Timestamp;

/// A sample of the text: the name, the labels and the value.
type Sample<'t> = (&'t str, Vec<(&'t str, String)>, f64);

/// A metric of the text with its samples.
#[derive(Debug, Default)]
struct Family<'t> {
    kind: &'t str,
    help: &'t str,
    samples: Vec<Sample<'t>>,
}

/// The times of a data point.
#[derive(Clone, Copy, Debug)]
struct Times {
    started: u64,
    now: u64,
}

/// The request that sends metrics in Prometheus' text format, counted since `started`.
pub(super) fn request(
    text: &str,
    resource: Resource,
    started: Timestamp,
    now: Timestamp,
) -> ExportMetricsServiceRequest {
    let times = Times {
        started: nanos(started),
        now: nanos(now),
    };
    let metrics = families(text).into_iter().filter_map(|(name, family)| {
        Some(Metric {
            name: name.to_owned(),
            description: family.help.to_owned(),
            unit: if name.ends_with("_seconds") { "s" } else { "1" }.to_owned(),
            data: Some(data(name, family, times)?),
            ..Metric::default()
        })
    });
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            resource: Some(resource),
            scope_metrics: vec![ScopeMetrics {
                scope: Some(scope()),
                metrics: metrics.collect(),
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    }
}

fn families(text: &str) -> BTreeMap<&str, Family<'_>> {
    let mut all: BTreeMap<&str, Family<'_>> = BTreeMap::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            if let Some((name, help)) = rest.split_once(' ') {
                all.entry(name).or_default().help = help;
            }
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            if let Some((name, kind)) = rest.split_once(' ') {
                all.entry(name).or_default().kind = kind;
            }
        } else if let Some(sample) = sample(line) {
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .filter_map(|suffix| sample.0.strip_suffix(suffix))
                .find(|name| {
                    all.get(name)
                        .is_some_and(|family| family.kind == "histogram")
                });
            all.entry(family.unwrap_or(sample.0))
                .or_default()
                .samples
                .push(sample);
        }
    }
    all
}

/// Reads `name{label="value",…} number`.
fn sample(line: &str) -> Option<Sample<'_>> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, rest)) = series.split_once('{') else {
        return Some((series, Vec::new(), value));
    };
    let (mut labels, mut rest) = (Vec::new(), rest.strip_suffix('}')?);
    while let Some((label, after)) = rest.split_once("=\"") {
        let mut text = String::new();
        let mut characters = after.char_indices();
        let end = loop {
            match characters.next()? {
                (at, '"') => break at,
                (_, '\\') => match characters.next()?.1 {
                    'n' => text.push('\n'),
                    other => text.push(other),
                },
                (_, other) => text.push(other),
            }
        };
        labels.push((label.trim_start_matches(','), text));
        rest = after.get(end.saturating_add(1)..)?;
    }
    Some((name, labels, value))
}

fn data(name: &str, family: Family<'_>, times: Times) -> Option<Data> {
    let Family { kind, samples, .. } = family;
    let temporality = AggregationTemporality::Cumulative.into();
    match kind {
        "counter" => Some(Data::Sum(Sum {
            data_points: numbers(samples, times),
            aggregation_temporality: temporality,
            is_monotonic: true,
        })),
        "gauge" => Some(Data::Gauge(Gauge {
            data_points: numbers(samples, times),
        })),
        "histogram" => Some(Data::Histogram(Histogram {
            data_points: histograms(name, samples, times),
            aggregation_temporality: temporality,
        })),
        _ => None,
    }
}

fn numbers(samples: Vec<Sample<'_>>, times: Times) -> Vec<NumberDataPoint> {
    let point = |(_, labels, value): Sample<'_>| NumberDataPoint {
        attributes: attributes(labels),
        start_time_unix_nano: times.started,
        time_unix_nano: times.now,
        value: Some(Value::AsDouble(value)),
        ..NumberDataPoint::default()
    };
    samples.into_iter().map(point).collect()
}

/// Prometheus counts in each bucket what is in the smaller ones as well; OTLP does not.
fn histograms(name: &str, samples: Vec<Sample<'_>>, times: Times) -> Vec<HistogramDataPoint> {
    let mut points: BTreeMap<Vec<(&str, String)>, HistogramDataPoint> = BTreeMap::new();
    let mut counted: BTreeMap<Vec<(&str, String)>, u64> = BTreeMap::new();
    for (series, mut labels, value) in samples {
        let bound = labels.iter().position(|(label, _)| *label == "le");
        let bound = bound.map(|at| labels.remove(at).1);
        let point = points
            .entry(labels.clone())
            .or_insert_with(|| HistogramDataPoint {
                attributes: attributes(labels.clone()),
                start_time_unix_nano: times.started,
                time_unix_nano: times.now,
                ..HistogramDataPoint::default()
            });
        match series.strip_prefix(name) {
            Some("_sum") => point.sum = Some(value),
            Some("_count") => point.count = whole(value),
            Some("_bucket") => {
                let before = counted.entry(labels).or_default();
                point
                    .bucket_counts
                    .push(whole(value).saturating_sub(*before));
                *before = whole(value);
                let bound = bound.and_then(|bound| bound.parse::<f64>().ok());
                point
                    .explicit_bounds
                    .extend(bound.filter(|bound| bound.is_finite()));
            }
            _ => {}
        }
    }
    points.into_values().collect()
}

/// A count, which the text writes as a number like all others.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "counts are whole numbers from 0, far below 2^53"
)]
fn whole(value: f64) -> u64 {
    value as u64
}

fn attributes(labels: Vec<(&str, String)>) -> Vec<KeyValue> {
    let labels = labels.into_iter();
    labels.map(|(name, value)| attribute(name, value)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
# HELP carnet_refusals_total Refused requests by reason.
# TYPE carnet_refusals_total counter
carnet_refusals_total{reason=\"expired\"} 3

# TYPE carnet_request_duration_seconds histogram
carnet_request_duration_seconds_bucket{endpoint=\"token\",le=\"0.1\"} 2
carnet_request_duration_seconds_bucket{endpoint=\"token\",le=\"1\"} 5
carnet_request_duration_seconds_bucket{endpoint=\"token\",le=\"+Inf\"} 6
carnet_request_duration_seconds_sum{endpoint=\"token\"} 4.5
carnet_request_duration_seconds_count{endpoint=\"token\"} 6
# TYPE carnet_ready gauge
carnet_ready 1
# TYPE carnet_odd gauge
carnet_odd{name=\"a \\\"b\\\\c,d={}\",other=\"x\"} 2
";

    #[test]
    fn the_text_of_metrics_becomes_data_points() {
        let (started, now) = (Timestamp::from_seconds(1), Timestamp::from_seconds(2));
        let request = request(TEXT, Resource::default(), started, now);
        let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
        let named = |name: &str| metrics.iter().find(|metric| metric.name == name).unwrap();
        let counter = named("carnet_refusals_total");
        assert_eq!(counter.description, "Refused requests by reason.");
        let Some(Data::Sum(sum)) = &counter.data else {
            panic!("{counter:?}")
        };
        assert!(sum.is_monotonic && sum.data_points[0].start_time_unix_nano == 1_000_000_000);
        assert_eq!(sum.data_points[0].value, Some(Value::AsDouble(3.0)));
        let histogram = named("carnet_request_duration_seconds");
        assert_eq!(histogram.unit, "s");
        let Some(Data::Histogram(histogram)) = &histogram.data else {
            panic!("{histogram:?}")
        };
        let point = &histogram.data_points[0];
        assert_eq!((point.count, point.sum), (6, Some(4.5)));
        assert_eq!(
            (&point.bucket_counts[..], &point.explicit_bounds[..]),
            (&[2, 3, 1][..], &[0.1, 1.0][..])
        );
        assert_eq!(point.attributes, [attribute("endpoint", "token")]);
        let Some(Data::Gauge(odd)) = &named("carnet_odd").data else {
            panic!("no gauge")
        };
        assert_eq!(
            odd.data_points[0].attributes,
            [attribute("name", "a \"b\\c,d={}"), attribute("other", "x")]
        );
    }
}
