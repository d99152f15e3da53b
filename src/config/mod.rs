//! Configuration: defaults, then a TOML file, then environment variables that begin with `CARNET_`.
//!
//! Everything is read into domain types here, unknown keys are refused, and all errors are reported at once. Nothing else
//! reads the environment.

mod listen;
mod loader;

use std::path::{Path, PathBuf};
use std::time::Duration;

use carnet_jose::Algorithm;
use ipnet::IpNet;
use secrecy::SecretString;
use serde::Deserialize;

pub use carnet_engine::own_urls::OwnUrls;
pub use carnet_exchange::Environment;
pub use listen::Listen;

/// How long audit events are kept, in days.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditConfig {
    /// All of them.
    pub retention_days: u32,
    /// Those of refusals.
    pub refusals_retention_days: u32,
}

/// The configuration of a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our public URLs.
    pub own: OwnUrls,
    /// Where and for whom we listen.
    pub server: ServerConfig,
    /// The database.
    pub database: DatabaseConfig,
    /// The folder for what we make ourselves.
    pub data_dir: PathBuf,
    /// Profiles written by the operator.
    pub profiles_dir: Option<PathBuf>,
    /// The folder of the files that trusted issuers may name, absolute; without one they may name any but the server's own.
    pub key_files_dir: Option<PathBuf>,
    /// The log.
    pub log: LogConfig,
    /// The tokens we issue.
    pub tokens: TokenConfig,
    /// Where the key that encrypts private keys comes from.
    pub encryption_key: EncryptionKeySource,
    /// How long audit events are kept, in days.
    pub audit: AuditConfig,
    /// Limits; 0 switches one off.
    pub rate_limits: RateLimits,
    /// Whether `http://127.0.0.1…` issuers are accepted.
    pub allow_http_loopback: bool,
}

/// Where and for whom we listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where the server listens.
    pub listen: Vec<Listen>,
    /// The address for metrics; none switches them off.
    pub metrics_listen: Option<Listen>,
    /// Peers whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// The deadline of a request: what is not done by then is given up.
    pub request_deadline: Duration,
    /// How long the server serves on after it was told to end.
    pub drain: Duration,
    /// Limits on connections.
    pub connections: ConnectionLimits,
}

/// Limits on the connections of one listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// How long a connection may be idle. Balancers keep theirs for 60 seconds, and should be the ones to close.
    pub idle: Duration,
    /// Connections at a time.
    pub max: usize,
    /// Peers that may take more than a share of them: proxies, which bring everybody's requests.
    pub unshared_peers: Vec<IpNet>,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { idle: Duration::from_secs(75), max: 10_000, unshared_peers: Vec::new() }
    }
}

impl ConnectionLimits {
    /// With room for requests of this deadline: a connection that waits for its answer is not idle.
    #[must_use]
    pub fn for_requests(self, deadline: Duration) -> Self {
        Self { idle: self.idle.max(deadline.saturating_add(Duration::from_secs(5))), ..self }
    }

    /// The connections that one address may have: a quarter of all.
    pub fn share(&self) -> usize {
        (self.max / 4).max(1)
    }
}

/// The log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// How lines look.
    pub format: LogFormat,
    /// What is logged, such as `info` or `carnet=debug`.
    pub level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// The tokens we issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenConfig {
    /// How long they live unless the resource server says otherwise, in seconds.
    pub lifetime_seconds: i64,
    /// What new signing keys are made for.
    pub signing_algorithm: Algorithm,
}

/// Limits of requests; 0 switches one off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Refused requests of one address a minute. Requests that succeed do not count.
    pub refusals_per_minute_per_address: u32,
    /// Tokens of one federated credential a minute.
    pub tokens_per_minute_per_credential: u32,
    /// Tokens of one trusted issuer a minute.
    pub tokens_per_minute_per_trusted_issuer: u32,
    /// Tokens that one client gets for itself a minute.
    pub tokens_per_minute_per_client: u32,
    /// Wrong secrets of one client from one address a minute.
    pub wrong_secrets_per_minute_per_client: u32,
    /// Tokens that are not in force and that one client asks about a minute.
    pub inactive_introspections_per_minute_per_client: u32,
    /// Changes over the admin API a minute with tokens of one subject.
    pub admin_writes_per_minute_per_subject: u32,
}

/// Where the key that encrypts private keys comes from.
#[derive(Clone, Debug)]
pub enum EncryptionKeySource {
    /// Given itself.
    Given(SecretString),
    /// In this file.
    File(PathBuf),
    /// In this file, which is made if it is missing.
    Generated(PathBuf),
}

/// What is wrong with a URL that cannot be taken apart, or was taken apart at a character of its password.
const UNREADABLE: &str = "cannot be read as postgres://user:password@host:port/database; in user and password, characters such as / # ? @ are written as %2F %23 %3F %40";

/// The database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseConfig {
    /// Where it is.
    pub url: DatabaseUrl,
    /// How many connections a server has to PostgreSQL at most.
    pub max_connections: u32,
    /// How long a server waits at its start for PostgreSQL to be there.
    pub wait: Duration,
}

impl DatabaseConfig {
    /// This database, and the rest as it is usual.
    pub fn of(url: DatabaseUrl) -> Self {
        Self { url, max_connections: 16, wait: Duration::from_mins(1) }
    }
}

/// A database URL. It may hold a password, so it is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The URL.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// That of an SQLite file.
    pub fn of_file(path: &Path) -> Self {
        // These mean something in a URL.
        let path = path.display().to_string().replace('%', "%25").replace('?', "%3F").replace('#', "%23");
        Self(format!("sqlite://{path}"))
    }

    /// Whether it is an SQLite file that does not exist yet.
    pub fn is_new_file(&self) -> bool {
        self.file().is_some_and(|path| !path.exists())
    }

    /// The file, if it is one of SQLite.
    pub fn file(&self) -> Option<PathBuf> {
        let path = self.0.strip_prefix("sqlite://")?;
        let path = path.split('?').next().unwrap_or(path);
        let path = percent_encoding::percent_decode_str(path).decode_utf8().ok()?;
        Some(path.into_owned().into()).filter(|path| path != Path::new(":memory:"))
    }

    /// Where it is, for people: without user and password.
    pub fn place(&self) -> String {
        let Ok(url) = url::Url::parse(&self.0) else { return "?".to_owned() };
        let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
        format!("{}{port}{}", url.host_str().unwrap_or_default(), url.path())
    }

    /// Whether it is SQLite.
    pub fn is_sqlite(&self) -> bool {
        self.0.starts_with("sqlite:")
    }
}

impl std::str::FromStr for DatabaseUrl {
    type Err = &'static str;

    fn from_str(url: &str) -> Result<Self, Self::Err> {
        if url.starts_with("sqlite://") {
            return Ok(Self(url.to_owned()));
        }
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err("begins with sqlite:// or postgres://");
        }
        // Read here first: a library would put the whole text, with its password, into its error.
        let parsed = url::Url::parse(url).map_err(|_| UNREADABLE)?;
        let rest = [Some(parsed.path()), parsed.query(), parsed.fragment()];
        if rest.into_iter().flatten().any(|part| part.contains('@')) {
            return Err(UNREADABLE);
        }
        Ok(Self(url.to_owned()))
    }
}

impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.split_once(':').map_or("?", |(scheme, _)| scheme))
    }
}

/// Something wrong with the configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {detail}")]
pub struct ConfigError {
    /// The key.
    pub key: String,
    /// What is wrong.
    pub detail: String,
}

/// The folder holds the database and the key that opens it: nobody else's business.
pub fn create_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
