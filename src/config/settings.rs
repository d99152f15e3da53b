//! The effective configuration as a list of keys, for `carnet config show`.

use serde_json::{Value, json};

use super::{Config, EncryptionKeySource, Origin, ProxyUrl, TelemetryConfig};

/// Shown instead of a secret that is set.
const SECRET: &str = "(set)";

/// A configuration key with its effective value.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    pub key: &'static str,
    /// The value; `null` if there is none, and `"(set)"` for a secret.
    pub value: Value,
    pub origin: Origin,
}

impl Config {
    /// All keys with their effective values and where each comes from, in the order of the reference
    /// page. Passwords and keys are not shown.
    pub fn settings(&self) -> Vec<Setting> {
        let values = [
            vec![("issuer", json!(self.own.issuer()))],
            self.server_values(),
            self.database_values(),
            vec![
                ("data_dir", json!(self.data_dir)),
                ("profiles_dir", json!(self.profiles_dir)),
                ("key_files_dir", json!(self.key_files_dir)),
                ("log.format", json!(self.log.format)),
                ("log.level", json!(self.log.level.as_str())),
                (
                    "tokens.lifetime_seconds",
                    json!(self.tokens.lifetime_seconds),
                ),
                (
                    "tokens.signing_algorithm",
                    json!(self.tokens.signing_algorithm.name()),
                ),
            ],
            self.key_values(),
            vec![
                ("audit.retention_days", json!(self.audit.retention_days)),
                (
                    "audit.refusals_retention_days",
                    json!(self.audit.refusals_retention_days),
                ),
                ("audit.export", texts(&self.audit.export)),
            ],
            self.telemetry_values(),
            self.gateway_values(),
            self.rate_limit_values(),
            vec![
                ("people.session_seconds", json!(self.people.session_seconds)),
                (
                    "people.session_idle_seconds",
                    json!(self.people.session_idle_seconds),
                ),
                ("people.step_up_seconds", json!(self.people.step_up_seconds)),
                (
                    "people.token_lifetime_seconds",
                    json!(self.people.token_lifetime_seconds),
                ),
                ("people.command_line", json!(self.people.command_line)),
            ],
            vec![
                ("console.enabled", json!(self.console.enabled)),
                ("console.title", json!(self.console.title)),
                (
                    "console.support_url",
                    json!(self.console.support_url.as_ref().map(ToString::to_string)),
                ),
            ],
            vec![("dpop.require_nonce", json!(self.dpop_requires_nonce))],
            vec![(
                "upstream.proxy",
                json!(self.upstream_proxy.as_ref().map(ProxyUrl::shown)),
            )],
            self.rpki_values(),
            vec![(
                "insecure.allow_http_loopback",
                json!(self.allow_http_loopback),
            )],
        ];
        let values = values.into_iter().flatten();
        let setting = |(key, value)| Setting {
            key,
            value,
            origin: self.origins.get(key).cloned().unwrap_or(Origin::Default),
        };
        values.map(setting).collect()
    }

    fn rpki_values(&self) -> Vec<(&'static str, Value)> {
        let rpki = self.rpki.as_ref();
        let message = rpki.map(|rpki| &rpki.message);
        vec![
            ("rpki.repository.layout", json!(rpki.map(|_| "rpki-client"))),
            (
                "rpki.repository.dir",
                json!(rpki.map(|rpki| &rpki.repository_dir)),
            ),
            ("rpki.tal_dir", json!(rpki.map(|rpki| &rpki.tal_dir))),
            (
                "rpki.rsm.content_type",
                json!(message.map(|message| &message.content_type)),
            ),
            (
                "rpki.rsm.audience",
                json!(message.map(|message| &message.audience)),
            ),
            (
                "rpki.rsm.purpose",
                json!(message.map(|message| &message.purpose)),
            ),
            (
                "rpki.recheck_seconds",
                json!(rpki.map(|rpki| rpki.recheck_seconds)),
            ),
            (
                "rpki.max_attestation_days",
                json!(rpki.map(|rpki| rpki.max_attestation_days)),
            ),
        ]
    }

    fn server_values(&self) -> Vec<(&'static str, Value)> {
        let server = &self.server;
        let metrics_listen = server.metrics_listen.as_ref().map(ToString::to_string);
        vec![
            ("server.listen", texts(&server.listen)),
            (
                "server.tls.certificates",
                json!(server.tls.as_ref().map(|tls| &tls.certificates)),
            ),
            ("server.mtls_listen", texts(&server.mtls.direct)),
            ("server.mtls_url", json!(self.own.mtls_at(""))),
            (
                "server.client_cert_listen",
                json!(server.mtls.proxies.as_ref().map(ToString::to_string)),
            ),
            (
                "server.client_cert_proxies",
                json!(server.client_cert_proxies),
            ),
            ("server.metrics_listen", json!(metrics_listen)),
            (
                "server.request_seconds",
                json!(server.request_deadline.as_secs()),
            ),
            ("server.drain_seconds", json!(server.drain.as_secs())),
            (
                "server.idle_seconds",
                json!(server.connections.idle.as_secs()),
            ),
            ("server.max_connections", json!(server.connections.max)),
            (
                "server.max_token_requests",
                json!(server.max_token_requests),
            ),
            (
                "server.max_waiting_token_requests",
                json!(server.max_waiting_token_requests),
            ),
            (
                "server.unshared_peers",
                json!(server.connections.unshared_peers),
            ),
            ("server.trusted_proxies", json!(server.trusted_proxies)),
        ]
    }

    fn gateway_values(&self) -> Vec<(&'static str, Value)> {
        let gateway = &self.gateway;
        let metrics_listen = gateway.metrics_listen.as_ref().map(ToString::to_string);
        let registries: Vec<_> = gateway.registries.iter().map(|one| &one.given).collect();
        vec![
            ("gateway.listen", texts(&gateway.listen)),
            ("gateway.mtls_listen", texts(&gateway.mtls.direct)),
            (
                "gateway.client_cert_listen",
                json!(gateway.mtls.proxies.as_ref().map(ToString::to_string)),
            ),
            ("gateway.metrics_listen", json!(metrics_listen)),
            ("gateway.spool_dir", json!(gateway.spool_dir)),
            ("gateway.max_upload", json!(gateway.max_upload)),
            ("gateway.spool_quota", json!(gateway.spool_quota)),
            ("gateway.server", json!(gateway.server)),
            ("gateway.ca_file", json!(gateway.ca_file)),
            ("gateway.registries", json!(registries)),
        ]
    }

    fn telemetry_values(&self) -> Vec<(&'static str, Value)> {
        let telemetry = self.telemetry.as_ref();
        let of = |read: fn(&TelemetryConfig) -> Value| telemetry.map_or(Value::Null, read);
        vec![
            ("telemetry.otlp_endpoint", of(|to| json!(to.endpoint))),
            (
                "telemetry.otlp_headers_file",
                of(|to| json!(to.headers_file)),
            ),
            ("telemetry.otlp_ca_file", of(|to| json!(to.ca_file))),
            ("telemetry.sample_ratio", of(|to| json!(to.sample_ratio))),
            ("telemetry.service_name", of(|to| json!(to.service_name))),
            (
                "telemetry.metrics_interval_seconds",
                of(|to| json!(to.metrics_interval.as_secs())),
            ),
        ]
    }

    fn database_values(&self) -> Vec<(&'static str, Value)> {
        let database = &self.database;
        vec![
            ("database.url", json!(database.url.shown())),
            ("database.url_file", json!(database.url_file)),
            ("database.max_connections", json!(database.max_connections)),
            ("database.wait_seconds", json!(database.wait.as_secs())),
        ]
    }

    fn key_values(&self) -> Vec<(&'static str, Value)> {
        let (key, file) = match &self.encryption_key {
            EncryptionKeySource::Given(_) => (json!(SECRET), Value::Null),
            EncryptionKeySource::File(path) | EncryptionKeySource::Generated(path) => {
                (Value::Null, json!(path))
            }
        };
        vec![
            ("keys.encryption_key", key),
            ("keys.encryption_key_file", file),
            (
                "keys.old_encryption_key_files",
                json!(self.old_encryption_key_files),
            ),
        ]
    }

    fn rate_limit_values(&self) -> Vec<(&'static str, Value)> {
        let limits = &self.rate_limits;
        vec![
            (
                "rate_limits.refusals_per_minute_per_address",
                json!(limits.refusals_per_minute_per_address),
            ),
            (
                "rate_limits.tokens_per_minute_per_credential",
                json!(limits.tokens_per_minute_per_credential),
            ),
            (
                "rate_limits.tokens_per_minute_per_trusted_issuer",
                json!(limits.tokens_per_minute_per_trusted_issuer),
            ),
            (
                "rate_limits.tokens_per_minute_per_client",
                json!(limits.tokens_per_minute_per_client),
            ),
            (
                "rate_limits.wrong_secrets_per_minute_per_client",
                json!(limits.wrong_secrets_per_minute_per_client),
            ),
            (
                "rate_limits.inactive_introspections_per_minute_per_client",
                json!(limits.inactive_introspections_per_minute_per_client),
            ),
            (
                "rate_limits.admin_writes_per_minute_per_subject",
                json!(limits.admin_writes_per_minute_per_subject),
            ),
            (
                "rate_limits.sign_ins_per_minute_per_address",
                json!(limits.sign_ins_per_minute_per_address),
            ),
        ]
    }
}

fn texts(values: &[impl ToString]) -> Value {
    values.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_that_is_read_is_shown_and_no_secret_is() {
        let variables = [
            (
                "CARNET_DATABASE__URL",
                "postgres://u:hunter2@db.test/carnet?password=hunter3",
            ),
            ("CARNET_KEYS__ENCRYPTION_KEY", "0123456789"),
            ("CARNET_UPSTREAM__PROXY", "http://u:hunter4@proxy.test:3128"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let config = Config::from_sources(None, variables).unwrap();
        let settings = config.settings();
        let mut shown: Vec<&str> = settings.iter().map(|setting| setting.key).collect();
        shown.sort_unstable();
        let read: Vec<&str> = config.origins.keys().copied().collect();
        assert_eq!(shown, read);
        let text = format!("{settings:?}");
        assert!(
            !text.contains("hunter") && !text.contains("0123456789"),
            "{text}"
        );
        let database = settings
            .iter()
            .find(|setting| setting.key == "database.url")
            .unwrap();
        assert_eq!(database.value, "postgres://db.test/carnet");
        assert_eq!(
            database.origin,
            Origin::Variable("CARNET_DATABASE__URL".to_owned())
        );
    }
}
