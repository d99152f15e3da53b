//! `gateway`: the listeners of `carnet gateway`, its spool, and the registries behind it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use carnet_gateway::{HeaderName, PathPattern};
use carnet_publish_protocols::Protocol;
use serde::{Deserialize, Serialize};
use url::Url;

use super::{CertificateListeners, Listen, OwnUrls};

/// The gateway. It serves nothing without a registry.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    /// Addresses for requests. Those of TCP speak TLS if `server.tls.certificates` is set.
    pub listen: Vec<Listen>,
    /// Addresses for requests of clients with certificates.
    pub mtls: CertificateListeners,
    /// The address for metrics and health; `None` disables them.
    pub metrics_listen: Option<Listen>,
    /// The folder for requests while they are received.
    pub spool_dir: PathBuf,
    /// The longest request, in bytes.
    pub max_upload: u64,
    /// The most bytes of requests that are in the spool together.
    pub spool_quota: u64,
    /// Where the server's front doors are reached; `None` only beside an error in `issuer`.
    pub server: Option<Url>,
    /// A PEM file with authorities for the certificates of registries, besides the system's.
    pub ca_file: Option<PathBuf>,
    pub registries: Vec<GatewayRegistry>,
}

/// A registry behind the gateway.
#[derive(Clone, Debug)]
pub struct GatewayRegistry {
    /// The name of its resource server.
    pub resource_server: String,
    pub protocol: Protocol,
    /// The hosts under which clients reach it.
    pub hosts: Vec<String>,
    /// The URL at which clients reach it; the path is `/`.
    pub public_url: Url,
    /// Where it is behind the gateway; the path ends with a slash.
    pub upstream: Url,
    /// Where packages are that it holds itself; the path ends with a slash.
    pub hosted: Url,
    /// How the gateway authenticates at it; `None` if it takes publications from everybody.
    pub credential: Option<CredentialFiles>,
    /// Whether requests with the registry's own credentials pass.
    pub passthrough: bool,
    /// Whether the registry deletes for good what tools yank or unlist.
    pub unlisting_deletes: bool,
    /// Paths that may be read besides those of the protocol's tools.
    pub reads: Vec<PathPattern>,
    /// As it was given, for `carnet config show`.
    pub given: RegistryEntry,
}

/// An entry of `gateway.registries`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryEntry {
    resource_server: String,
    protocol: String,
    hosts: Vec<String>,
    upstream: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    public_url: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    hosted: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    credential: Option<CredentialFiles>,
    #[serde(default)]
    passthrough: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    unlisting_deletes: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    reads: Vec<String>,
}

/// The gateway's credential at a registry, with the secret in a file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum CredentialFiles {
    /// User name and password.
    Basic {
        username: String,
        password_file: PathBuf,
    },
    /// A token in `Authorization: Bearer`.
    Bearer { token_file: PathBuf },
    /// A header of the registry's own.
    Header { name: String, value_file: PathBuf },
}

impl GatewayConfig {
    /// The files with credentials for registries.
    pub(super) fn secret_files(&self) -> impl Iterator<Item = &Path> {
        let all = self.registries.iter();
        all.filter_map(|registry| registry.credential.as_ref().map(CredentialFiles::file))
    }
}

impl CredentialFiles {
    /// The file with the secret.
    pub fn file(&self) -> &Path {
        match self {
            Self::Basic {
                password_file: file,
                ..
            }
            | Self::Bearer { token_file: file }
            | Self::Header {
                value_file: file, ..
            } => file,
        }
    }

    pub(super) fn place(&mut self, place: impl FnOnce(PathBuf) -> PathBuf) {
        let (Self::Basic {
            password_file: file,
            ..
        }
        | Self::Bearer { token_file: file }
        | Self::Header {
            value_file: file, ..
        }) = self;
        *file = place(std::mem::take(file));
    }
}

impl GatewayRegistry {
    /// Checks an entry. The error names the member.
    pub(super) fn new(entry: RegistryEntry, own: &OwnUrls) -> Result<Self, String> {
        let protocol = entry
            .protocol
            .parse()
            .map_err(|error| format!("protocol: {error}"))?;
        let hosts = entry.hosts.iter().map(|host| host_of(host, own));
        let hosts: Vec<String> = hosts.collect::<Result<_, _>>()?;
        let first = hosts.first().ok_or("hosts must name at least one host")?;
        let public = entry
            .public_url
            .clone()
            .unwrap_or_else(|| format!("https://{first}/"));
        let public_url = base("public_url", &public)?;
        if public_url.path() != "/" {
            return Err(
                "public_url must have no path: tools look for front doors at the root of the host"
                    .to_owned(),
            );
        }
        let upstream = base("upstream", &entry.upstream)?;
        let hosted = match &entry.hosted {
            Some(hosted) => base("hosted", hosted)?,
            None => upstream.clone(),
        };
        if entry.passthrough && entry.credential.is_none() {
            return Err(
                "passthrough needs a credential of the gateway's own: a registry that takes publications without one takes them from everybody"
                    .to_owned(),
            );
        }
        let reads = entry.reads.iter().map(|pattern| {
            pattern
                .parse()
                .map_err(|error| format!("reads: `{pattern}` {error}"))
        });
        if let Some(CredentialFiles::Header { name, .. }) = &entry.credential
            && name.parse::<HeaderName>().is_err()
        {
            return Err(format!(
                "credential.header.name: `{name}` is no header name"
            ));
        }
        Ok(Self {
            resource_server: entry.resource_server.clone(),
            protocol,
            hosts,
            public_url,
            upstream,
            hosted,
            credential: entry.credential.clone(),
            passthrough: entry.passthrough,
            unlisting_deletes: entry.unlisting_deletes,
            reads: reads.collect::<Result<_, _>>()?,
            given: entry,
        })
    }

    /// What an operator should change.
    pub(super) fn warnings(&self) -> Vec<String> {
        let name = &self.resource_server;
        let mut warnings = Vec::new();
        if self.credential.is_some() && !carnet_outbound::is_safe(&self.upstream) {
            warnings.push(format!(
                "gateway.registries: the credential for {name} goes to {} without TLS: whoever can read that network can publish",
                self.upstream
            ));
        }
        if self.credential.is_none() && !self.passthrough {
            warnings.push(format!(
                "gateway.registries: {name} has no credential: the registry has to take publications from everybody who reaches it, and only the gateway may reach it"
            ));
        }
        warnings
    }
}

/// Checks that every host and every resource server is named once.
pub(super) fn named_once(registries: &[GatewayRegistry]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    for registry in registries {
        let name = &registry.resource_server;
        let hosts = registry.hosts.iter().map(|host| format!("the host {host}"));
        for what in hosts.chain([format!("the resource server {name}")]) {
            if !seen.insert(what.clone()) {
                return Err(format!("must name {what} once"));
            }
        }
    }
    Ok(())
}

/// A host with or without a port, in lower case. It must not be the issuer's: what registries and
/// strangers wrote must not be served there.
fn host_of(host: &str, own: &OwnUrls) -> Result<String, String> {
    let url = Url::parse(&format!("https://{host}/")).ok();
    let is_host = url.as_ref().is_some_and(|url| {
        url.path() == "/" && !carnet_outbound::has_credentials(url) && url.host_str().is_some()
    });
    let written = url.as_ref().and_then(Url::host_str).unwrap_or_default();
    if !is_host || host.contains(['/', '?', '#', '@', '*']) {
        return Err(format!(
            "hosts: `{host}` must be a host such as pypi.example or localhost:8090"
        ));
    }
    let issuer = Url::parse(own.issuer()).ok();
    let issuer = issuer.as_ref();
    let port = url.as_ref().and_then(Url::port);
    let same_host = issuer.is_some_and(|issuer| issuer.host_str() == Some(written));
    // Cookies of a host are those of all its ports. On this machine alone, for trying it, ports are enough.
    let other_port = issuer.is_some_and(carnet_outbound::is_this_machine)
        && port.is_some()
        && port != issuer.and_then(Url::port);
    if same_host && !other_port {
        return Err(format!(
            "hosts: `{host}` is the host of the issuer, where nothing is served that registries or strangers wrote; give the registry a host of its own"
        ));
    }
    Ok(host.to_ascii_lowercase())
}

/// An http or https URL whose path ends with a slash.
fn base(member: &str, text: &str) -> Result<Url, String> {
    let wrong = || {
        format!(
            "{member}: `{text}` must be an http or https URL without user name, query and fragment"
        )
    };
    let slash = if text.ends_with('/') { "" } else { "/" };
    let url = Url::parse(&format!("{text}{slash}")).map_err(|_| wrong())?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some()
        && !carnet_outbound::has_credentials(&url)
        && url.query().is_none()
        && url.fragment().is_none();
    if is_plain { Ok(url) } else { Err(wrong()) }
}
