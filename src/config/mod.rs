//! Configuration of the server: defaults, overridden by a TOML file, overridden by environment
//! variables with the prefix `CARNET_` (`docs/src/reference/configuration.md`).
//!
//! Values are parsed into domain types here, unknown keys are refused, and all errors are reported
//! at once. No other module of the server reads the environment.

mod gateway;
mod listen;
mod loader;
mod log;
mod origin;
mod proxy;
mod rpki;
mod settings;
mod telemetry;
mod tls;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use carnet_jose::Algorithm;
use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

pub use carnet_engine::own_urls::OwnUrls;
pub use carnet_exchange::Environment;
pub use gateway::{CredentialFiles, GatewayConfig, GatewayRegistry};
pub use listen::Listen;
pub use log::{LogConfig, LogFilter, LogFormat};
pub use origin::Origin;
pub use proxy::ProxyUrl;
pub use rpki::{MessageIds, RpkiConfig};
pub use settings::Setting;
pub use telemetry::{AuditDestination, TelemetryConfig};
pub use tls::{CertificateFiles, CertificateListeners, TlsConfig};

/// The longest `server.request_seconds`.
pub const MAX_REQUEST_SECONDS: u32 = 600;

/// How long audit events are kept, and where they are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditConfig {
    /// Days after which an event of any outcome is deleted.
    pub retention_days: u32,
    /// Days after which events of refusals are deleted.
    pub refusals_retention_days: u32,
    /// Where each event is sent to besides.
    pub export: Vec<AuditDestination>,
}

#[derive(Clone, Debug)]
pub struct Config {
    /// The issuer identifier, and the public URLs derived from it.
    pub own: OwnUrls,
    pub server: ServerConfig,
    pub database: DatabaseConfig,
    /// The folder for files that the server creates: the SQLite database and the encryption key.
    pub data_dir: PathBuf,
    /// The folder of profile files written by the operator.
    pub profiles_dir: Option<PathBuf>,
    /// Absolute path of the only folder whose files trusted issuers may name. Without it, only the
    /// local command line may save file names, of any files but the server's own.
    pub key_files_dir: Option<PathBuf>,
    pub log: LogConfig,
    pub tokens: TokenConfig,
    /// The source of the key that encrypts private signing keys in the database.
    pub encryption_key: EncryptionKeySource,
    /// Files with earlier encryption keys, which can still decrypt.
    pub old_encryption_key_files: Vec<PathBuf>,
    pub audit: AuditConfig,
    /// The OpenTelemetry collector; `None` sends nothing to one.
    pub telemetry: Option<TelemetryConfig>,
    /// What `carnet gateway` serves.
    pub gateway: GatewayConfig,
    pub rate_limits: RateLimits,
    pub people: PeopleConfig,
    pub console: ConsoleConfig,
    /// Whether DPoP proofs must have a nonce of this server (RFC 9449 section 8).
    pub dpop_requires_nonce: bool,
    /// The proxy for requests to platforms, clusters and webhooks outside of the operator's network.
    pub upstream_proxy: Option<ProxyUrl>,
    /// What attestations of keys by the RPKI are verified against; `None` if none are.
    pub rpki: Option<RpkiConfig>,
    /// Whether trusted issuers and key URLs may be http on the loopback interface; for local tests
    /// only.
    pub allow_http_loopback: bool,
    /// The source of each configuration key.
    pub origins: BTreeMap<&'static str, Origin>,
    /// What an operator should change, although the configuration can be used.
    pub warnings: Vec<String>,
}

/// Listeners and their limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerConfig {
    /// Addresses for requests.
    pub listen: Vec<Listen>,
    /// How the TCP addresses for requests speak TLS; `None` for HTTP without TLS.
    pub tls: Option<TlsConfig>,
    /// Addresses for requests of clients with certificates.
    pub mtls: CertificateListeners,
    /// PEM files with the certificates of the reverse proxies that may pass on those of clients.
    pub client_cert_proxies: Vec<PathBuf>,
    /// The address for metrics; `None` disables them.
    pub metrics_listen: Option<Listen>,
    /// Networks of proxies whose `X-Forwarded-For` header is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// The time for one request, after which it is aborted.
    pub request_deadline: Duration,
    /// How long the server accepts requests after SIGTERM or SIGINT, while balancers take it out of
    /// service.
    pub drain: Duration,
    /// The most token requests that are worked on at a time.
    pub max_token_requests: usize,
    /// The most token requests that wait for their turn.
    pub max_waiting_token_requests: usize,
    pub connections: ConnectionLimits,
}

/// Limits on the connections of each listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// How long a connection may be idle. Longer than the 60 seconds of common load balancers, so
    /// that the balancer closes first and never sends a request into a closing connection.
    pub idle: Duration,
    /// Most connections at a time.
    pub max: usize,
    /// Networks whose addresses may hold more than [`ConnectionLimits::share`] connections:
    /// proxies, which carry the requests of many callers.
    pub unshared_peers: Vec<IpNet>,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            idle: Duration::from_secs(75),
            max: 10_000,
            unshared_peers: Vec::new(),
        }
    }
}

impl ConnectionLimits {
    /// Raises the idle time above the request deadline, since a connection that waits for its
    /// answer would count as idle.
    #[must_use]
    pub fn for_requests(self, deadline: Duration) -> Self {
        Self {
            idle: self
                .idle
                .max(deadline.saturating_add(Duration::from_secs(5))),
            ..self
        }
    }

    /// Most connections of one address: a quarter of all, so that one address cannot take every
    /// connection.
    pub fn share(&self) -> usize {
        (self.max / 4).max(1)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenConfig {
    /// Lifetime of access tokens in seconds, for resource servers without one of their own.
    pub lifetime_seconds: i64,
    /// The algorithm of new signing keys.
    pub signing_algorithm: Algorithm,
}

/// How long people stay signed in, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeopleConfig {
    /// After which a session ends, however much it is used.
    pub session_seconds: i64,
    /// After which a session ends that is not used.
    pub session_idle_seconds: i64,
    /// How long after its proof of identity a person may change rules.
    pub step_up_seconds: i64,
    /// How long tokens live at most that a client gets on behalf of a person, in seconds.
    pub token_lifetime_seconds: i64,
    /// Whether `carnet login` may act for people.
    pub command_line: bool,
}

/// The pages for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsoleConfig {
    /// Whether there are any.
    pub enabled: bool,
    /// What they are called, in their head and in the titles.
    pub title: String,
    /// Where people ask for help.
    pub support_url: Option<Url>,
}

/// Rate limits per minute; 0 disables one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Refused requests of one client address. Successful requests do not count.
    pub refusals_per_minute_per_address: u32,
    /// Tokens of one federated credential.
    pub tokens_per_minute_per_credential: u32,
    /// Tokens of one trusted issuer.
    pub tokens_per_minute_per_trusted_issuer: u32,
    /// Tokens that one client gets for itself.
    pub tokens_per_minute_per_client: u32,
    /// Wrong client secrets for one client from one address.
    pub wrong_secrets_per_minute_per_client: u32,
    /// Introspections of one client with the answer `active: false`.
    pub inactive_introspections_per_minute_per_client: u32,
    /// Changes by the admin API with tokens of one subject.
    pub admin_writes_per_minute_per_subject: u32,
    /// Sign-ins of people that are begun from one client address, and, by themselves, answers of
    /// providers to them.
    pub sign_ins_per_minute_per_address: u32,
}

/// The source of the key that encrypts private signing keys in the database.
#[derive(Clone, Debug)]
pub enum EncryptionKeySource {
    /// The key itself, from the configuration.
    Given(SecretString),
    /// An existing file.
    File(PathBuf),
    /// A file that is created if it is missing.
    Generated(PathBuf),
}

/// The message for a PostgreSQL URL that cannot be parsed, or in which a special character of the
/// password was taken for a delimiter.
const UNREADABLE: &str = "must be postgres://user:password@host:port/database; in user and password, write characters such as / # ? @ as %2F %23 %3F %40";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseConfig {
    pub url: DatabaseUrl,
    /// The file that the URL was read from.
    pub url_file: Option<PathBuf>,
    /// Most connections of this server to PostgreSQL.
    pub max_connections: u32,
    /// How long the server waits for PostgreSQL at start.
    pub wait: Duration,
}

impl DatabaseConfig {
    /// The default settings with this URL.
    pub fn of(url: DatabaseUrl) -> Self {
        Self {
            url,
            url_file: None,
            max_connections: 16,
            wait: Duration::from_mins(1),
        }
    }
}

/// A database URL. It may hold a password, so `Debug` shows the scheme only.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The URL of an SQLite file.
    pub fn of_file(path: &Path) -> Self {
        // Characters with a meaning in URLs.
        let path = path
            .display()
            .to_string()
            .replace('%', "%25")
            .replace('?', "%3F")
            .replace('#', "%23");
        Self(format!("sqlite://{path}"))
    }

    /// Whether the URL is that of an SQLite file that does not exist yet.
    pub fn is_new_file(&self) -> bool {
        self.file().is_some_and(|path| !path.exists())
    }

    /// The same URL with another SQLite file; the parameters stay.
    #[must_use]
    pub fn with_file(&self, path: &Path) -> Self {
        let file = Self::of_file(path).0;
        Self(match self.0.split_once('?') {
            None => file,
            Some((_, parameters)) => format!("{file}?{parameters}"),
        })
    }

    /// The path of the SQLite file; `None` for PostgreSQL and for a database in memory.
    pub fn file(&self) -> Option<PathBuf> {
        let path = self.0.strip_prefix("sqlite://")?;
        let path = path.split('?').next().unwrap_or(path);
        let path = percent_encoding::percent_decode_str(path)
            .decode_utf8()
            .ok()?;
        Some(path.into_owned().into()).filter(|path| path != Path::new(":memory:"))
    }

    /// The database for messages: the absolute path of the SQLite file, or the URL with host, port
    /// and path, without user, password and parameters.
    pub fn shown(&self) -> String {
        if self.is_sqlite() {
            let path = self.file().and_then(|path| std::path::absolute(path).ok());
            return path.map_or_else(|| self.0.clone(), |path| path.display().to_string());
        }
        format!("postgres://{}", self.place())
    }

    /// Host, port and path for messages, without user and password.
    pub fn place(&self) -> String {
        let Ok(url) = url::Url::parse(&self.0) else {
            return "?".to_owned();
        };
        let port = url
            .port()
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        format!("{}{port}{}", url.host_str().unwrap_or_default(), url.path())
    }

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
        if !["postgres://", "postgresql://"]
            .iter()
            .any(|scheme| url.starts_with(scheme))
        {
            return Err("must begin with sqlite:// or postgres://");
        }
        // Parsed here first: the error of the database library would quote the URL with its
        // password.
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

/// A mistake in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// The configuration key, such as `server.listen`.
    pub key: String,
    /// What the value must be.
    pub detail: String,
    /// Where the value was given.
    pub origin: Origin,
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.key, self.detail)?;
        match &self.origin {
            Origin::Default => Ok(()),
            origin => write!(f, " ({origin})"),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// The database for messages: what it is, and which setting names it.
    pub fn database_place(&self) -> String {
        let given = ["database.url", "database.url_file", "data_dir"]
            .into_iter()
            .filter_map(|key| Some((key, self.origins.get(key)?)))
            .find(|(_, origin)| **origin != Origin::Default);
        let file = self.origins.values().find_map(|origin| match origin {
            Origin::File(path) => Some(path.display()),
            Origin::Default | Origin::Variable(_) => None,
        });
        let named_by = match (given, file) {
            (Some((key, origin)), _) => format!("named by {key}, {origin}"),
            (None, Some(file)) => format!(
                "the default, in the working directory: {file} sets neither data_dir nor database.url"
            ),
            (None, None) => {
                "the default, in the working directory: no configuration file is named, and no variable sets data_dir or database.url"
                    .to_owned()
            }
        };
        format!("{} ({named_by})", self.database.url.shown())
    }
}

/// Creates a folder that only its owner may enter, because it holds the database and the key that
/// decrypts it.
pub fn create_private(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
}
