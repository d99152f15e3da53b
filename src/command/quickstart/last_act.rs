//! The act of the front door: a publishing tool of this machine, unchanged, gets its key at a front
//! door and publishes at a registry of its own protocol.

use std::path::Path;

use carnet_resource_server::{Introspection, Verifier};
use carnet_stand_ins::{Protocol, Registry, Tls};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::Url;

use super::certificate;
use super::client::{Client, Tool, WIDGETS, prepare};
use super::shell::quoted;
use super::site::Site;
use super::tour::{Tour, heading, rule};
use super::{CommandError, listen};

/// The registry of the act. It is served until this is dropped.
#[derive(Debug)]
pub struct ToolRegistry {
    /// The name of its resource server.
    pub name: &'static str,
    site: Site,
    _serving: JoinSet<std::io::Result<()>>,
}

/// Where the registry will be, before it is served.
struct Place {
    listener: TcpListener,
    url: String,
    host: String,
    certificate: Option<certificate::Certificate>,
}

/// Publishes with npm or uv, if `path` leads to one. `folder` is for the tool and the registry.
pub async fn run(
    tour: &Tour,
    folder: &Path,
    path: &str,
) -> Result<Option<ToolRegistry>, CommandError> {
    prepare(folder)?;
    let client = match Client::find(&Tool::ALL, path, folder).await {
        Ok(client) => client,
        Err(reasons) => {
            println!(
                "\n(Publishing with npm or uv is left out: {}.)",
                reasons.join("; ")
            );
            return Ok(None);
        }
    };
    heading(&format!(
        "Tools of the registry need no change: the operator gives it a front door, and {} gets its key there",
        client.tool.name()
    ));
    let place = Place::find(client.tool, folder).await?;
    let secret = set_up(tour, client.tool, &place).await?;
    let registry = ToolRegistry::serve(tour, client.tool, place, &secret, folder)?;
    publish(tour, &client, &registry, folder).await?;
    Ok(Some(registry))
}

/// Registers the registry with its front door and its own client, and lets the rule cover it.
/// Returns the client secret.
async fn set_up(tour: &Tour, tool: Tool, place: &Place) -> Result<String, CommandError> {
    let created = StatusCode::CREATED;
    let kind = kind(tool);
    let registry = json!({
        "resource": format!("{}/", place.url), "actions": ["create", "publish"],
        "package_names": if tool == Tool::Uv { "pep503" } else { "exact" },
        "front_door": { "kind": kind, "hosts": [place.host] },
    });
    tour.put(&format!("resource-servers/{kind}"), &registry, created)
        .await?;
    tour.put(
        "federated-credentials/octo-release",
        &rule(&["registry", kind]),
        StatusCode::OK,
    )
    .await?;
    println!("The keys of a front door are opaque, so the registry asks Carnet about them:");
    let client = json!({ "auth_method": "client_secret_basic", "resource_server": kind });
    let saved = tour
        .put(&format!("clients/{kind}-registry"), &client, created)
        .await?;
    let secret = saved.get("client_secret").and_then(Value::as_str);
    secret
        .map(str::to_owned)
        .ok_or_else(|| CommandError::Other("the answer holds no client secret".to_owned()))
}

/// Publishes on the branch of the rule, looks at the registry, and tries another branch.
async fn publish(
    tour: &Tour,
    client: &Client,
    registry: &ToolRegistry,
    folder: &Path,
) -> Result<(), CommandError> {
    let name = client.tool.name();
    heading(&format!(
        "The job runs {name}, which asks the platform for an assertion and trades it for a key"
    ));
    println!("$ TOOL={}", quoted(&folder.to_string_lossy()));
    let url = registry.site.url();
    let publication = client.publication(url, (tour.ci(), "refs/heads/main"), &WIDGETS);
    let Some(ended) = client.shown(&publication).await else {
        return Ok(());
    };
    if !ended.succeeded {
        return Err(client.failure("failed", &ended));
    }
    let (path, expected) = match client.tool {
        Tool::Npm => ("/widgets", "widgets-1.0.0.tgz"),
        Tool::Uv => ("/simple/widgets/", WIDGETS.file),
    };
    registry.site.shown(path, expected).await?;

    heading(match client.tool {
        Tool::Npm => "On another branch npm gets no key; with `--loglevel verbose` it prints why",
        Tool::Uv => "On another branch uv gets no key, and prints why",
    });
    let publication = client.publication(url, (tour.ci(), "refs/heads/feature"), &WIDGETS);
    let Some(ended) = client.shown(&publication).await else {
        return Ok(());
    };
    let said = format!("{}{}", ended.stdout, ended.stderr);
    if ended.succeeded || !said.contains("ref_mismatch") {
        return Err(client.failure("should have been refused", &ended));
    }
    Ok(())
}

/// The `kind` of the front door for a tool, which is also the name of the registry in the tour.
const fn kind(tool: Tool) -> &'static str {
    match tool {
        Tool::Npm => "npm",
        Tool::Uv => "pypi",
    }
}

impl Place {
    /// A free port, with a certificate for uv, which uses https even if it is told otherwise.
    async fn find(tool: Tool, folder: &Path) -> Result<Self, CommandError> {
        let (listener, url) = listen().await?;
        let host = url.trim_start_matches("http://").to_owned();
        let certificate = match tool {
            Tool::Npm => None,
            Tool::Uv => Some(certificate::Certificate::write(folder)?),
        };
        let url = match &certificate {
            None => url,
            Some(_) => format!("https://{host}"),
        };
        Ok(Self {
            listener,
            url,
            host,
            certificate,
        })
    }
}

impl ToolRegistry {
    /// Starts the registry, which authenticates at Carnet with this secret.
    fn serve(
        tour: &Tour,
        tool: Tool,
        place: Place,
        secret: &str,
        folder: &Path,
    ) -> Result<Self, CommandError> {
        let other = |error: &dyn std::fmt::Display| CommandError::Other(error.to_string());
        let protocol = match tool {
            Tool::Npm => Protocol::Npm,
            Tool::Uv => Protocol::Pypi,
        };
        let own_client = Introspection::new(format!("{}-registry", kind(tool)), secret);
        let verifier = Verifier::new(tour.carnet(), &format!("{}/", place.url))
            .map_err(|error| other(&error))?
            .introspecting(own_client);
        let door = Url::parse(tour.carnet()).map_err(|error| other(&error))?;
        let registry = Registry::speaking(protocol, verifier, folder.join("packages"))
            .with_front_door(&door)
            .map_err(|error| other(&error))?
            .at(&place.url);

        let tls = match &place.certificate {
            Some(files) => {
                let read = Tls::from_files(&files.leaf, &files.key);
                Some(read.map_err(|error| other(&error))?)
            }
            None => None,
        };
        let site = Site::new(place.url, place.certificate.as_ref())?;
        let mut serving = JoinSet::new();
        serving.spawn(registry.serve(place.listener, tls));
        Ok(Self {
            name: kind(tool),
            site,
            _serving: serving,
        })
    }
}
