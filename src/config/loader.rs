//! Reads the file and the environment into a [`Config`]. A key that no code here reads is an error.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use carnet_jose::Algorithm;
use figment::Figment;
use figment::providers::{Format as _, Serialized, Toml};
use figment::value::{Dict, Value};
use serde::de::DeserializeOwned;

use super::listen::Listens;
use super::{
    AuditConfig, Config, ConfigError, ConnectionLimits, DatabaseConfig, DatabaseUrl,
    EncryptionKeySource, Environment, Listen, LogConfig, OwnUrls, RateLimits, ServerConfig,
    TokenConfig,
};

/// Variables with the prefix `CARNET_` that belong to the command line and are not configuration
/// keys.
const OTHER_VARIABLES: [&str; 4] = ["TOKEN", "CONFIG", "REQUIRE_ALL", "ID_TOKEN"];

impl Config {
    /// Absolute paths of the server's own secrets: `data_dir` and the file of the encryption key.
    /// Trusted issuers must not name them.
    pub fn own_files(&self) -> Vec<PathBuf> {
        own_files(&self.data_dir, &self.encryption_key)
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
        let mut figment = Figment::new();
        if let Some(path) = file {
            if let Err(error) = std::fs::metadata(path) {
                return Err(vec![ConfigError {
                    key: path.display().to_string(),
                    detail: error.to_string(),
                }]);
            }
            figment = figment.merge(Toml::file_exact(path));
        }
        let mut variables = BTreeMap::new();
        for (variable, value) in environment {
            let Some(name) = variable.strip_prefix("CARNET_") else {
                continue;
            };
            if OTHER_VARIABLES.contains(&name) || is_of_kubernetes(name) {
                continue;
            }
            let key = name.to_ascii_lowercase().replace("__", ".");
            variables.insert(key.clone(), variable.clone());
            let value: Value = value.parse().unwrap_or_else(|_| Value::from(value.clone()));
            figment = figment.merge(Serialized::default(&key, value));
        }
        Loader {
            figment,
            variables,
            errors: Vec::new(),
            known: Vec::new(),
        }
        .load()
    }
}

/// Whether Kubernetes sets the variable in every pod for a Service whose name begins with `carnet`,
/// such as `CARNET_SERVICE_HOST`. `name` has no `CARNET_` prefix.
fn is_of_kubernetes(name: &str) -> bool {
    let of_port = |rest: &str| rest.is_empty() || rest.starts_with('_');
    !name.contains("__")
        && (name == "SERVICE_HOST"
            || name.strip_prefix("SERVICE_PORT").is_some_and(of_port)
            || name.strip_prefix("PORT").is_some_and(of_port)
            || name.contains("_SERVICE_")
            || name.match_indices("_PORT").any(|(at, found)| {
                let rest = at.checked_add(found.len()).and_then(|end| name.get(end..));
                rest.is_some_and(of_port)
            }))
}

/// The default of `server.listen`.
const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);

struct Loader {
    figment: Figment,
    /// The environment variable of each key that was set by one, for error messages.
    variables: BTreeMap<String, String>,
    errors: Vec<ConfigError>,
    known: Vec<&'static str>,
}

impl Loader {
    fn load(mut self) -> Result<Config, Vec<ConfigError>> {
        let server = self.server();
        // If any listener can be reached from outside, the issuer must be https: a non-local one
        // decides.
        let widest = server
            .listen
            .iter()
            .find(|listen| !listen.is_local())
            .or(server.listen.first());
        let address = widest.map_or(DEFAULT_LISTEN, Listen::address);
        let issuer = self
            .value::<String>("issuer")
            .unwrap_or_else(|| format!("http://{address}"));
        let own = OwnUrls::new(&issuer, address)
            .map_err(|detail| self.error("issuer", detail))
            .ok();
        let data_dir = self
            .value("data_dir")
            .unwrap_or_else(|| PathBuf::from("./carnet-data"));
        let database = DatabaseConfig {
            url: self.database_url(&data_dir),
            max_connections: self.in_range("database.max_connections", 2, 1000, 16),
            wait: Duration::from_secs(self.in_range("database.wait_seconds", 0, 3600, 60).into()),
        };
        let tokens = self.tokens();
        let log = LogConfig {
            format: self.value("log.format").unwrap_or_default(),
            level: self.value("log.level").unwrap_or_else(|| "info".to_owned()),
        };
        let rate_limits = self.rate_limits();
        let encryption_key = self.encryption_key(&data_dir);
        let profiles_dir = self.value("profiles_dir");
        let key_files_dir = self.key_files_dir(&data_dir, &encryption_key);
        let audit = AuditConfig {
            retention_days: self.in_range("audit.retention_days", 1, 36_500, 400),
            refusals_retention_days: self.in_range("audit.refusals_retention_days", 1, 36_500, 90),
        };
        let allow_http_loopback = self.value("insecure.allow_http_loopback").unwrap_or(false);
        self.refuse_unknown_keys();
        match own {
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
                audit,
                rate_limits,
                allow_http_loopback,
            }),
            _ => Err(self.errors),
        }
    }

    fn server(&mut self) -> ServerConfig {
        ServerConfig {
            listen: self.listen(),
            metrics_listen: self.parsed("server.metrics_listen"),
            trusted_proxies: self.value("server.trusted_proxies").unwrap_or_default(),
            request_deadline: Duration::from_secs(
                self.in_range("server.request_seconds", 1, 600, 20).into(),
            ),
            drain: Duration::from_secs(self.in_range("server.drain_seconds", 0, 600, 10).into()),
            connections: ConnectionLimits {
                idle: Duration::from_secs(self.in_range("server.idle_seconds", 1, 3600, 75).into()),
                max: usize::try_from(self.in_range("server.max_connections", 1, 1_000_000, 10_000))
                    .unwrap_or(usize::MAX),
                unshared_peers: self.value("server.unshared_peers").unwrap_or_default(),
            },
        }
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
            lifetime_seconds: i64::from(self.in_range("tokens.lifetime_seconds", 60, 3600, 900)),
            signing_algorithm,
        }
    }

    fn rate_limits(&mut self) -> RateLimits {
        RateLimits {
            refusals_per_minute_per_address: self.in_range(
                "rate_limits.refusals_per_minute_per_address",
                0,
                1_000_000,
                300,
            ),
            tokens_per_minute_per_credential: self.in_range(
                "rate_limits.tokens_per_minute_per_credential",
                0,
                1_000_000,
                600,
            ),
            tokens_per_minute_per_trusted_issuer: self.in_range(
                "rate_limits.tokens_per_minute_per_trusted_issuer",
                0,
                1_000_000,
                0,
            ),
            tokens_per_minute_per_client: self.in_range(
                "rate_limits.tokens_per_minute_per_client",
                0,
                1_000_000,
                600,
            ),
            wrong_secrets_per_minute_per_client: self.in_range(
                "rate_limits.wrong_secrets_per_minute_per_client",
                0,
                1_000_000,
                30,
            ),
            inactive_introspections_per_minute_per_client: self.in_range(
                "rate_limits.inactive_introspections_per_minute_per_client",
                0,
                1_000_000,
                6000,
            ),
            admin_writes_per_minute_per_subject: self.in_range(
                "rate_limits.admin_writes_per_minute_per_subject",
                0,
                1_000_000,
                1200,
            ),
        }
    }

    fn error(&mut self, key: &str, detail: String) {
        self.errors.push(ConfigError {
            key: key.to_owned(),
            detail,
        });
    }

    /// The value of a key; `None` if it is absent or, with an error noted, of the wrong type.
    fn value<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<T> {
        self.known.push(key);
        let value = self.figment.find_value(key).ok()?;
        match value.deserialize() {
            Ok(value) => Some(value),
            Err(error) => {
                self.error(key, error.to_string());
                None
            }
        }
    }

    fn parsed<T: std::str::FromStr>(&mut self, key: &'static str) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        let text: String = self.value(key)?;
        text.parse()
            .map_err(|error| self.error(key, format!("{error}")))
            .ok()
    }

    fn in_range(&mut self, key: &'static str, least: u32, most: u32, default: u32) -> u32 {
        let value = self.value(key).unwrap_or(default);
        if !(least..=most).contains(&value) {
            self.error(
                key,
                format!("must be a whole number from {least} to {most}"),
            );
        }
        value
    }

    fn database_url(&mut self, data_dir: &Path) -> DatabaseUrl {
        let default = DatabaseUrl::of_file(&data_dir.join("carnet.db"));
        let given = self.value::<String>("database.url");
        let file = self.value::<PathBuf>("database.url_file");
        if given.is_some() && file.is_some() {
            self.error(
                "database.url",
                "must not be given together with database.url_file".to_owned(),
            );
        }
        let from_file = file.and_then(|file| {
            let read = std::fs::read_to_string(&file);
            read.map_err(|error| {
                self.error("database.url_file", format!("{}: {error}", file.display()));
            })
            .ok()
        });
        match given.or(from_file).map(|url| url.trim().parse()) {
            None => default,
            Some(Ok(url)) => url,
            Some(Err(detail)) => {
                self.error("database.url", detail.to_owned());
                default
            }
        }
    }

    fn encryption_key(&mut self, data_dir: &Path) -> EncryptionKeySource {
        let given = self.value::<String>("keys.encryption_key");
        let file = self.value::<PathBuf>("keys.encryption_key_file");
        match (given, file) {
            (Some(_), Some(_)) => {
                let detail = "must not be given together with keys.encryption_key_file".to_owned();
                self.error("keys.encryption_key", detail);
                EncryptionKeySource::Generated(data_dir.join("encryption.key"))
            }
            (Some(key), None) => EncryptionKeySource::Given(key.into()),
            (None, Some(file)) => EncryptionKeySource::File(file),
            (None, None) => EncryptionKeySource::Generated(data_dir.join("encryption.key")),
        }
    }

    fn key_files_dir(
        &mut self,
        data_dir: &Path,
        encryption_key: &EncryptionKeySource,
    ) -> Option<PathBuf> {
        let folder = absolute(&self.value::<PathBuf>("key_files_dir")?);
        if own_files(data_dir, encryption_key)
            .iter()
            .any(|own| own.starts_with(&folder))
        {
            let detail = "must not hold data_dir or the encryption key: trusted issuers may name every file in it";
            self.error("key_files_dir", detail.to_owned());
        }
        Some(folder)
    }

    fn refuse_unknown_keys(&mut self) {
        let given: Dict = self.figment.extract().unwrap_or_default();
        if let Err(error) = self.figment.extract::<Dict>() {
            self.error("configuration", error.to_string());
        }
        let mut found = BTreeSet::new();
        leaves("", &given, &mut found);
        let unknown: Vec<String> = found
            .into_iter()
            .filter(|key| !self.known.contains(&key.as_str()))
            .collect();
        for key in unknown {
            let near = self
                .known
                .iter()
                .filter(|known| known.split('.').next() == key.split('.').next());
            let near = near.copied().collect::<Vec<_>>().join(", ");
            let hint = if near.is_empty() {
                String::new()
            } else {
                format!("; the keys of this section are {near}")
            };
            let from = self
                .variables
                .get(&key)
                .map(|variable| format!(" (environment variable {variable})"));
            let from = from.unwrap_or_default();
            self.error(
                &key,
                format!("must be left out: it is not a configuration key{from}{hint}"),
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

fn own_files(data_dir: &Path, encryption_key: &EncryptionKeySource) -> Vec<PathBuf> {
    let key = match encryption_key {
        EncryptionKeySource::Given(_) => None,
        EncryptionKeySource::File(path) | EncryptionKeySource::Generated(path) => {
            Some(path.as_path())
        }
    };
    std::iter::once(data_dir).chain(key).map(absolute).collect()
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from_env(variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::from_sources(None, variables)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    fn from_file(text: &str) -> Result<Config, Vec<String>> {
        let path = std::env::temp_dir().join(format!(
            "carnet-{}.toml",
            uuid::Uuid::from_bytes(crate::ids::random())
        ));
        std::fs::write(&path, text).unwrap();
        let config = Config::from_sources(Some(&path), []);
        std::fs::remove_file(&path).unwrap();
        config.map_err(|errors| errors.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_empty_configuration_uses_the_defaults() {
        let config = from_env(&[
            ("HOME", "x"),
            ("CARNET_TOKEN", "secret"),
            ("CARNET_REQUIRE_ALL", "1"),
            ("CARNET_ID_TOKEN", "secret"),
        ])
        .unwrap();
        assert_eq!(config.own.issuer(), "http://127.0.0.1:8080");
        assert_eq!(
            config.database.url.as_str(),
            "sqlite://./carnet-data/carnet.db"
        );
        assert_eq!(config.tokens.lifetime_seconds, 900);
        assert!(matches!(
            config.encryption_key,
            EncryptionKeySource::Generated(_)
        ));
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let path = std::env::temp_dir().join(format!(
            "carnet-{}.toml",
            uuid::Uuid::from_bytes(crate::ids::random())
        ));
        std::fs::write(
            &path,
            "issuer = \"https://a.test\"\n[server]\nlisten = \"0.0.0.0:1\"\n",
        )
        .unwrap();
        let environment = [("CARNET_SERVER__LISTEN".to_owned(), "0.0.0.0:2".to_owned())];
        let config = Config::from_sources(Some(&path), environment).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(config.server.listen[0].address().port(), 2);
        assert_eq!(config.own.issuer(), "https://a.test");
    }

    #[test]
    fn every_error_is_reported_at_once() {
        let errors = from_file(
            "issuer = \"http://as.test\"\nsurprise = 1\n[server]\nlisten = \"nowhere\"\nlisen = \"x\"\n\
             [tokens]\nlifetime_seconds = 5\nsigning_algorithm = \"HS256\"\n[database]\nurl = \"mysql://x\"\n\
             [log]\nformat = \"xml\"\n[keys]\nencryption_key = \"a\"\nencryption_key_file = \"b\"\n",
        )
        .unwrap_err();
        for key in [
            "issuer:",
            "surprise:",
            "server.listen:",
            "server.lisen:",
            "tokens.lifetime_seconds:",
            "tokens.signing_algorithm:",
            "database.url:",
            "log.format:",
            "keys.encryption_key:",
        ] {
            assert_eq!(
                errors.iter().filter(|error| error.starts_with(key)).count(),
                1,
                "{key} in {errors:#?}"
            );
        }
        assert!(
            errors
                .iter()
                .any(|error| error.contains("server.lisen") && error.contains("server.listen"))
        );
        assert_eq!(errors.len(), 9, "{errors:#?}");
    }

    #[test]
    fn broken_files_are_errors() {
        assert!(from_file("issuer = ").is_err());
        assert!(Config::from_sources(Some(Path::new("/nonexistent/carnet.toml")), []).is_err());
        assert!(from_env(&[("CARNET_SURPRISE", "1")]).is_err());
        assert!(from_env(&[("CARNET_SERVER__TRUSTED_PROXIES", "[\"10.0.0.0/8\"]")]).is_ok());
    }

    #[test]
    fn the_key_files_folder_may_not_contain_the_servers_data_or_encryption_key() {
        let folder =
            |settings: &[(&str, &str)]| from_env(settings).map(|config| config.key_files_dir);
        assert_eq!(folder(&[]), Ok(None));
        let keys = ("CARNET_KEY_FILES_DIR", "/k");
        assert_eq!(
            folder(&[keys, ("CARNET_DATA_DIR", "/d")]),
            Ok(Some(PathBuf::from("/k")))
        );
        assert!(
            folder(&[("CARNET_KEY_FILES_DIR", "./k")])
                .unwrap()
                .unwrap()
                .is_absolute()
        );
        for wrong in [
            [keys, ("CARNET_DATA_DIR", "/k/d")],
            [keys, ("CARNET_KEYS__ENCRYPTION_KEY_FILE", "/k/e")],
            [("CARNET_KEY_FILES_DIR", "/"), ("CARNET_DATA_DIR", "d")],
        ] {
            assert!(folder(&wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn database_urls_are_not_printed() {
        let config = from_env(&[("CARNET_DATABASE__URL", "postgres://u:hunter2@h/d")]).unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
