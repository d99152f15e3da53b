//! Setting up the gateway from the configuration and from the resource servers that it names.

use std::path::Path;
use std::sync::Arc;

use carnet_gateway::{
    Bases, Gateway, Index, OwnerLists, Reads, Registry, Spool, UpstreamCredential,
};
use secrecy::SecretString;
use url::Url;

use super::GatewayAuthority;
use crate::app::App;
use crate::config::{Config, CredentialFiles, GatewayConfig, GatewayRegistry, create_private};
use crate::keys::is_exposed;
use crate::model::{ResourceServer, Snapshot};

/// A mistake with which the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// No registry is configured.
    #[error("gateway.registries must name at least one registry")]
    NoRegistry,
    /// All that is wrong with the registries.
    #[error("{}", .0.join("\n"))]
    Registries(Vec<String>),
    /// No registry of this resource server is configured.
    #[error("gateway.registries has no entry with the resource server {0}")]
    NotConfigured(String),
    /// A file or folder cannot be used.
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    /// The HTTP client for registries cannot be set up.
    #[error(transparent)]
    Client(#[from] carnet_gateway::SetUpError),
}

/// The gateway of this configuration.
///
/// # Errors
///
/// With everything that is wrong at once.
pub fn set_up(app: &Arc<App>) -> Result<Arc<Gateway<GatewayAuthority>>, GatewayError> {
    let config = &app.config.gateway;
    if config.registries.is_empty() {
        return Err(GatewayError::NoRegistry);
    }
    let problems = problems(&app.config, &app.rules());
    if !problems.is_empty() {
        return Err(GatewayError::Registries(problems));
    }
    for warning in warnings(&app.config, &app.rules()) {
        tracing::warn!("{warning}");
    }
    create_private(&config.spool_dir).map_err(|error| of_file(&config.spool_dir, error))?;
    let authorities = authorities(config)?;
    let registries = config.registries.iter().filter_map(|registry| {
        let server = config.server.as_ref()?;
        registry_of(registry, server).ok()
    });
    let spool = Spool::new(
        config.spool_dir.clone(),
        config.max_upload,
        config.spool_quota,
    );
    let gateway = Gateway::new(
        GatewayAuthority { app: app.clone() },
        registries.collect(),
        spool,
        &authorities,
    )?;
    Ok(Arc::new(gateway))
}

/// The lists of owners of the registry of a resource server, with the gateway's own credential.
///
/// # Errors
///
/// If the registry is not configured, or a file cannot be read.
pub fn owner_lists(config: &Config, resource_server: &str) -> Result<OwnerLists, GatewayError> {
    let config = &config.gateway;
    let mut all = config.registries.iter();
    let registry = all
        .find(|registry| {
            registry
                .resource_server
                .eq_ignore_ascii_case(resource_server)
        })
        .ok_or_else(|| GatewayError::NotConfigured(resource_server.to_owned()))?;
    let credential = credential(registry)
        .map_err(|problem| GatewayError::Registries(vec![of_registry(registry, &problem)]))?;
    let lists = OwnerLists::new(index(registry), credential, &authorities(config)?)?;
    Ok(lists)
}

fn of_file(file: &Path, error: std::io::Error) -> GatewayError {
    GatewayError::File(file.display().to_string(), error)
}

/// The authorities for the certificates of registries, besides the system's.
fn authorities(config: &GatewayConfig) -> Result<Vec<Vec<u8>>, GatewayError> {
    let files = config.ca_file.iter();
    files
        .map(|file| std::fs::read(file).map_err(|error| of_file(file, error)))
        .collect()
}

/// What is wrong with the registries of the gateway, in the configuration's own words.
pub fn problems(config: &Config, rules: &Snapshot) -> Vec<String> {
    let Some(server) = &config.gateway.server else {
        return Vec::new();
    };
    let all = config.gateway.registries.iter();
    all.flat_map(|registry| {
        let of_server = of_resource_server(registry, rules);
        let of_files = registry_of(registry, server).err();
        of_server
            .into_iter()
            .chain(of_files)
            .map(move |problem| of_registry(registry, &problem))
    })
    .collect()
}

/// What an operator should change about the registries of the gateway.
pub fn warnings(config: &Config, rules: &Snapshot) -> Vec<String> {
    let all = config.gateway.registries.iter();
    all.flat_map(|registry| {
        let server = rules.resource_server(&registry.resource_server);
        let of_door = server
            .into_iter()
            .flat_map(|server| doors(registry, server));
        let of_file = secret_file(registry).filter(|file| is_exposed(file));
        let of_file = of_file.map(|file| {
            format!(
                "{}: others than its owner may read the gateway's credential; chmod 600 it",
                file.display()
            )
        });
        of_door
            .chain(of_file)
            .map(move |warning| of_registry(registry, &warning))
    })
    .collect()
}

/// What keeps tools from getting a token at the hosts of a registry.
fn doors(registry: &GatewayRegistry, server: &ResourceServer) -> Vec<String> {
    let Some(door) = &server.front_door else {
        return vec![
            "the resource server has no front door, so the tools get no tokens by themselves (`front_door`)"
                .to_owned(),
        ];
    };
    let elsewhere = registry.hosts.iter().filter(|host| !door.is_at(host));
    elsewhere
        .map(|host| {
            format!(
                "{host} is none of the hosts of the front door ({}): tools that name the host in the audience are refused",
                door.hosts.join(", ")
            )
        })
        .collect()
}

/// The file with the gateway's secret for a registry.
fn secret_file(registry: &GatewayRegistry) -> Option<&Path> {
    let file = match registry.credential.as_ref()? {
        CredentialFiles::Basic { password_file, .. } => password_file,
        CredentialFiles::Bearer { token_file } => token_file,
        CredentialFiles::Header { value_file, .. } => value_file,
    };
    Some(file)
}

fn of_registry(registry: &GatewayRegistry, problem: &str) -> String {
    let name = &registry.resource_server;
    format!("gateway.registries: {name}: {problem}")
}

/// What is wrong with the resource server of a registry.
fn of_resource_server(registry: &GatewayRegistry, rules: &Snapshot) -> Vec<String> {
    let Some(server) = rules.resource_server(&registry.resource_server) else {
        return vec!["there is no resource server of this name".to_owned()];
    };
    let mut problems = Vec::new();
    let names = registry.protocol.package_names();
    if server.package_names != names {
        problems.push(format!(
            "package_names of the resource server must be {}, as the tools of {} compare them",
            serde_json::json!(names),
            registry.protocol.as_str()
        ));
    }
    if let Some(door) = &server.front_door
        && door.kind.name() != registry.protocol.as_str()
    {
        problems.push(format!(
            "its front door speaks {}, and the gateway {}",
            door.kind.name(),
            registry.protocol.as_str()
        ));
    }
    problems
}

fn registry_of(registry: &GatewayRegistry, server: &Url) -> Result<Registry, String> {
    let name = &registry.resource_server;
    let base = server.as_str().trim_end_matches('/');
    let front_door = format!("{base}/registry/{name}").parse();
    Ok(Registry {
        name: name.clone(),
        protocol: registry.protocol,
        hosts: registry.hosts.clone(),
        index: index(registry),
        bases: bases(registry),
        credential: credential(registry)?,
        passthrough: registry.passthrough,
        unlisting_deletes: registry.unlisting_deletes,
        front_door: front_door.map_err(|error| format!("gateway.server: {error}"))?,
        reads: Reads::new(registry.protocol, registry.reads.iter().cloned()),
    })
}

fn bases(registry: &GatewayRegistry) -> Bases {
    Bases {
        upstream: registry.upstream.clone(),
        public: registry.public_url.clone(),
    }
}

fn index(registry: &GatewayRegistry) -> Index {
    Index::new(registry.protocol, bases(registry), &registry.hosted)
}

/// The gateway's credential at a registry, which a header can carry.
fn credential(registry: &GatewayRegistry) -> Result<UpstreamCredential, String> {
    let credential = registry
        .credential
        .as_ref()
        .map(read_credential)
        .transpose()?;
    let credential = credential.unwrap_or(UpstreamCredential::None);
    credential.header().map_err(|error| error.to_string())?;
    Ok(credential)
}

fn read_credential(files: &CredentialFiles) -> Result<UpstreamCredential, String> {
    let file = files.file();
    let read = std::fs::read_to_string(file);
    let secret = read.map_err(|error| format!("{}: {error}", file.display()))?;
    let secret = secret.trim_end_matches(['\r', '\n']);
    if secret.is_empty() {
        return Err(format!("{} must hold the secret", file.display()));
    }
    let secret = SecretString::from(secret);
    Ok(match files {
        CredentialFiles::Basic { username, .. } => UpstreamCredential::Basic {
            user: username.clone(),
            password: secret,
        },
        CredentialFiles::Bearer { .. } => UpstreamCredential::Bearer(secret),
        CredentialFiles::Header { name, .. } => UpstreamCredential::Header {
            name: name
                .parse()
                .map_err(|_| format!("`{name}` is no header name"))?,
            value: secret,
        },
    })
}
