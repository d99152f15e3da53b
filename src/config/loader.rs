//! Reads the file and the environment into a [`Config`]. A key that no code here reads is an error.

mod gateway;
mod limits;
mod rpki;
mod telemetry;
#[cfg(test)]
mod tests;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use carnet_jose::Algorithm;
use figment::value::{Dict, Value};

use super::listen::Listens;
use super::origin::Sources;
use super::{
    CertificateListeners, Config, ConfigError, ConnectionLimits, EncryptionKeySource, Environment,
    GatewayConfig, Listen, LogConfig, LogFilter, MAX_REQUEST_SECONDS, Origin, OwnUrls,
    ServerConfig, TelemetryConfig, TlsConfig, TokenConfig,
};
use crate::documents::MAX_TOKEN_LIFETIME_SECONDS;

impl Config {
    /// Absolute paths of the server's own secrets: `data_dir`, the files of encryption keys, those of
    /// TLS keys, those of credentials for registries, and that of headers for the collector.
    /// Trusted issuers must not name them.
    pub fn own_files(&self) -> Vec<PathBuf> {
        own_files(
            &self.data_dir,
            &self.encryption_key,
            &self.old_encryption_key_files,
            self.server.tls.as_ref(),
            &self.gateway,
            self.telemetry.as_ref(),
        )
    }

    /// Reads the file, if there is one, and the environment of the process. Errors with all
    /// mistakes.
    pub fn load(file: Option<&Path>) -> Result<Self, Vec<ConfigError>> {
        Self::from_sources(file, Environment::of_this_process())
    }

    /// Reads the file, if there is one, and these variables, which take precedence.
    pub fn from_sources(
        file: Option<&Path>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Vec<ConfigError>> {
        Loader {
            sources: Sources::read(file, environment)?,
            errors: Vec::new(),
            warnings: Vec::new(),
            origins: BTreeMap::new(),
        }
        .load()
    }
}

/// The default of `server.listen`.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

struct Loader {
    sources: Sources,
    errors: Vec<ConfigError>,
    warnings: Vec<String>,
    /// The source of each key that was read.
    origins: BTreeMap<&'static str, Origin>,
}

impl Loader {
    fn load(mut self) -> Result<Config, Vec<ConfigError>> {
        let (server, of_gateway) = self.server();
        let own_urls = self
            .issuer(&server)
            .map_err(|detail| self.error("issuer", detail))
            .ok();
        let own_urls = own_urls.map(|own| self.mtls_url(own, &server));
        let data_dir = self.data_dir();
        let database = self.database(&data_dir);
        let tokens = self.tokens();
        let log = LogConfig {
            format: self.value("log.format").unwrap_or_default(),
            level: self.parsed::<LogFilter>("log.level").unwrap_or_default(),
        };
        let rate_limits = self.rate_limits();
        let people = self.people();
        let console = self.console();
        let encryption_key = self.encryption_key(&data_dir);
        let old_encryption_key_files = self.paths("keys.old_encryption_key_files");
        let profiles_dir = self.path("profiles_dir");
        let gateway = self.gateway(&data_dir, own_urls.as_ref(), of_gateway);
        self.check_certificate_listeners(&server, &gateway.mtls);
        let telemetry = self.telemetry();
        let own = own_files(
            &data_dir,
            &encryption_key,
            &old_encryption_key_files,
            server.tls.as_ref(),
            &gateway,
            telemetry.as_ref(),
        );
        let key_files_dir = self.key_files_dir(&own);
        let dpop_requires_nonce = self.value("dpop.require_nonce").unwrap_or(false);
        let audit = self.audit(telemetry.as_ref());
        let upstream_proxy = self.parsed("upstream.proxy");
        let rpki = self.rpki();
        let allow_http_loopback = self.value("insecure.allow_http_loopback").unwrap_or(false);
        self.refuse_unknown_keys();
        match own_urls {
            Some(own) if self.errors.is_empty() => Ok(Config {
                own,
                server,
                database,
                data_dir,
                profiles_dir,
                key_files_dir,
                log,
                tokens,
                encryption_key,
                old_encryption_key_files,
                audit,
                telemetry,
                dpop_requires_nonce,
                gateway,
                rate_limits,
                people,
                console,
                upstream_proxy,
                rpki,
                allow_http_loopback,
                origins: self.origins,
                warnings: self.warnings,
            }),
            _ => Err(self.errors),
        }
    }

    /// The issuer identifier, by default the URL of the listener.
    fn issuer(&mut self, server: &ServerConfig) -> Result<OwnUrls, String> {
        // If any listener can be reached from outside, the issuer must be https: a non-local one
        // decides.
        let has_tls = server.tls.is_some();
        let mut listeners = server.listen.iter();
        let widest = listeners
            .clone()
            .find(|listen| !listen.is_local())
            .or_else(|| listeners.find(|listen| !has_tls || listen.is_tcp()));
        let address = widest.map_or(DEFAULT_LISTEN, Listen::address);
        let issuer = match self.value::<String>("issuer") {
            Some(given) if has_tls && given.starts_with("http:") => {
                return Err(format!(
                    "`{given}` must be https, since server.tls.certificates is set"
                ));
            }
            Some(given) => given,
            None if has_tls => {
                let authority = widest.and_then(Listen::https_authority);
                let authority = authority.ok_or(
                    "must be set to the https URL that clients use, since server.listen names no host",
                )?;
                format!("https://{authority}")
            }
            None => format!("http://{address}"),
        };
        OwnUrls::new(&issuer, address)
    }

    /// The server's listeners, and those of the gateway for clients with certificates.
    fn server(&mut self) -> (ServerConfig, CertificateListeners) {
        let listen = self.listen();
        let mtls = self.certificate_listeners(("server.mtls_listen", "server.client_cert_listen"));
        let gateway = ("gateway.mtls_listen", "gateway.client_cert_listen");
        let gateway = self.certificate_listeners(gateway);
        let has_tcp = listen.iter().any(Listen::is_tcp) || mtls.has_tcp() || gateway.has_tcp();
        self.check_distinct(&listen, &mtls);
        let server = ServerConfig {
            tls: self.tls(has_tcp),
            listen,
            mtls,
            client_cert_proxies: self.paths("server.client_cert_proxies"),
            metrics_listen: self.parsed("server.metrics_listen"),
            trusted_proxies: self.networks("server.trusted_proxies"),
            request_deadline: Duration::from_secs(
                self.in_range("server.request_seconds", 1, MAX_REQUEST_SECONDS, 20)
                    .into(),
            ),
            drain: Duration::from_secs(self.in_range("server.drain_seconds", 0, 600, 10).into()),
            max_token_requests: self.number("server.max_token_requests", 2, 100_000, 512),
            max_waiting_token_requests: self.number(
                "server.max_waiting_token_requests",
                0,
                100_000,
                1024,
            ),
            connections: ConnectionLimits {
                idle: Duration::from_secs(self.in_range("server.idle_seconds", 1, 3600, 75).into()),
                max: self.number("server.max_connections", 1, 1_000_000, 10_000),
                unshared_peers: self.networks("server.unshared_peers"),
            },
        };
        (server, gateway)
    }

    fn listen(&mut self) -> Vec<Listen> {
        let given = self.value::<Listens>("server.listen").map(Listens::parse);
        let default = || vec![Listen::Address(DEFAULT_LISTEN)];
        given
            .transpose()
            .unwrap_or_else(|detail| {
                self.error("server.listen", detail);
                None
            })
            .unwrap_or_else(default)
    }

    fn tokens(&mut self) -> TokenConfig {
        let signing_algorithm = self
            .value::<String>("tokens.signing_algorithm")
            .unwrap_or_else(|| "ES256".to_owned());
        let signing_algorithm =
            if let Ok(algorithm @ (Algorithm::ES256 | Algorithm::RS256 | Algorithm::EdDSA)) =
                signing_algorithm.parse()
            {
                algorithm
            } else {
                self.error(
                    "tokens.signing_algorithm",
                    "must be one of ES256, RS256, EdDSA".to_owned(),
                );
                Algorithm::ES256
            };
        TokenConfig {
            lifetime_seconds: i64::from(self.in_range(
                "tokens.lifetime_seconds",
                60,
                MAX_TOKEN_LIFETIME_SECONDS,
                900,
            )),
            signing_algorithm,
        }
    }

    fn refuse_unknown_keys(&mut self) {
        let given: Dict = match self.sources.all() {
            Ok(given) => given,
            Err(error) => {
                self.error("configuration", error);
                Dict::new()
            }
        };
        let mut found = BTreeSet::new();
        leaves("", &given, &mut found);
        for key in found {
            if self.origins.contains_key(key.as_str()) {
                continue;
            }
            let section = key.split('.').next();
            let near: Vec<&str> = self
                .origins
                .keys()
                .copied()
                .filter(|known| known.split('.').next() == section)
                .collect();
            let hint = if near.is_empty() {
                String::new()
            } else {
                format!("; the keys of this section are {}", near.join(", "))
            };
            self.error(
                &key,
                format!("must be left out: it is not a configuration key{hint}"),
            );
        }
    }
}

fn leaves(prefix: &str, dict: &Dict, found: &mut BTreeSet<String>) {
    for (name, value) in dict {
        let key = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            Value::Dict(_, inner) if !inner.is_empty() => leaves(&key, inner, found),
            _ => {
                found.insert(key);
            }
        }
    }
}

fn own_files(
    data_dir: &Path,
    encryption_key: &EncryptionKeySource,
    old_keys: &[PathBuf],
    tls: Option<&TlsConfig>,
    gateway: &GatewayConfig,
    telemetry: Option<&TelemetryConfig>,
) -> Vec<PathBuf> {
    let key = match encryption_key {
        EncryptionKeySource::Given(_) => None,
        EncryptionKeySource::File(path) | EncryptionKeySource::Generated(path) => {
            Some(path.as_path())
        }
    };
    let headers = telemetry.and_then(|telemetry| telemetry.headers_file.as_deref());
    let of_tls = tls.into_iter().flat_map(|tls| &tls.certificates);
    std::iter::once(data_dir)
        .chain(key)
        .chain(of_tls.map(|certificate| certificate.key_file.as_path()))
        .chain(old_keys.iter().map(PathBuf::as_path))
        .chain(gateway.secret_files())
        .chain(headers)
        .map(absolute)
        .collect()
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}
