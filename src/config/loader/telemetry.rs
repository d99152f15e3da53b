//! Reading `telemetry` and `audit.export`.

use std::time::Duration;

use super::Loader;
use crate::config::telemetry::{AuditDestinations, endpoint, headers};
use crate::config::{AuditConfig, AuditDestination, TelemetryConfig};

/// The default of `telemetry.service_name`.
const SERVICE_NAME: &str = "carnet";

impl Loader {
    /// The collector; `None` if none is set.
    pub(super) fn telemetry(&mut self) -> Option<TelemetryConfig> {
        let key = "telemetry.otlp_endpoint";
        let found = self.value::<String>(key).map(|text| endpoint(&text));
        let found = found.transpose().unwrap_or_else(|detail| {
            self.error(key, detail);
            None
        });
        let headers_file = self.path("telemetry.otlp_headers_file");
        let headers = headers_file.as_ref().map(|file| {
            let read = std::fs::read_to_string(file).map_err(|error| error.to_string());
            read.and_then(|text| headers(&text))
                .map_err(|detail| format!("{}: {detail}", file.display()))
        });
        let headers = headers.transpose().unwrap_or_else(|detail| {
            self.error("telemetry.otlp_headers_file", detail);
            None
        });
        let ca_file = self.path("telemetry.otlp_ca_file");
        let sample_ratio = self.ratio("telemetry.sample_ratio", 1.0);
        let service_name = self.value("telemetry.service_name");
        let interval = self.in_range("telemetry.metrics_interval_seconds", 1, 3600, 60);
        let telemetry = TelemetryConfig {
            endpoint: found?,
            headers_file,
            headers: headers.unwrap_or_default(),
            ca_file,
            sample_ratio,
            service_name: service_name.unwrap_or_else(|| SERVICE_NAME.to_owned()),
            metrics_interval: Duration::from_secs(interval.into()),
        };
        self.warnings.extend(telemetry.warnings());
        Some(telemetry)
    }

    fn ratio(&mut self, key: &'static str, default: f64) -> f64 {
        let Some(given) = self.given(key) else {
            return default;
        };
        match given.deserialize::<f64>() {
            Ok(ratio) if (0.0..=1.0).contains(&ratio) => ratio,
            _ => {
                self.error(key, "must be a number from 0 to 1".to_owned());
                default
            }
        }
    }

    /// The retention of audit events, and where they are sent to.
    pub(super) fn audit(&mut self, telemetry: Option<&TelemetryConfig>) -> AuditConfig {
        let key = "audit.export";
        let given = self
            .value::<AuditDestinations>(key)
            .map(AuditDestinations::parse);
        let export = given.transpose().unwrap_or_else(|detail| {
            self.error(key, detail);
            None
        });
        let export = export.unwrap_or_default();
        if export.contains(&AuditDestination::Otlp) && telemetry.is_none() {
            let detail = "otlp needs telemetry.otlp_endpoint, the collector that gets the events";
            self.error(key, detail.to_owned());
        }
        AuditConfig {
            retention_days: self.in_range("audit.retention_days", 1, 36_500, 400),
            refusals_retention_days: self.in_range("audit.refusals_retention_days", 1, 36_500, 90),
            export,
        }
    }
}
