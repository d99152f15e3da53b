//! The last act of the tour: a publishing tool of this machine, unchanged, gets its key at a front
//! door and publishes at a registry of its own protocol.

use std::path::Path;
use std::time::Duration;

use carnet_resource_server::{Introspection, Verifier};
use carnet_stand_ins::{Protocol, Registry, Tls};
use reqwest::{Certificate, Client as Http, Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use url::Url;

use super::super::admin_client::unreachable;
use super::call::Call;
use super::certificate::{self, AUTHORITY};
use super::client::{Client, Tool, prepare};
use super::invocation::{Ended, LIMIT};
use super::shell::quoted;
use super::tour::{Tour, heading, rule};
use super::{CommandError, listen};

/// For one request to the registry.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The registry of the act. It is served until this is dropped.
#[derive(Debug)]
pub struct ToolRegistry {
    url: String,
    /// The file with the authority that signed its certificate, if it has one.
    authority: Option<&'static str>,
    http: Http,
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
    let client = match Client::find(path, folder).await {
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
    let Some(ended) = shown(tour, client, registry, "refs/heads/main").await? else {
        return Ok(());
    };
    if !ended.succeeded {
        return Err(failure(name, "failed", &ended));
    }
    let (path, expected) = match client.tool {
        Tool::Npm => ("/widgets", "widgets-1.0.0.tgz"),
        Tool::Uv => ("/simple/widgets/", "widgets-1.0.0-py3-none-any.whl"),
    };
    registry.shown(path, expected).await?;

    heading(match client.tool {
        Tool::Npm => "On another branch npm gets no key; with `--loglevel verbose` it prints why",
        Tool::Uv => "On another branch uv gets no key, and prints why",
    });
    let Some(ended) = shown(tour, client, registry, "refs/heads/feature").await? else {
        return Ok(());
    };
    let said = format!("{}{}", ended.stdout, ended.stderr);
    if ended.succeeded || !said.contains("ref_mismatch") {
        return Err(failure(name, "should have been refused", &ended));
    }
    Ok(())
}

/// Prints the command, runs it and prints what the tool says that is of interest. `None` if the
/// tool hung, which is told.
async fn shown(
    tour: &Tour,
    client: &Client,
    registry: &ToolRegistry,
    reference: &str,
) -> Result<Option<Ended>, CommandError> {
    let invocation = client.publication(&registry.url, tour.ci(), reference);
    println!("$ {}", invocation.line());
    let ended = match invocation.run(LIMIT).await {
        Ok(ended) => ended,
        Err(error) => {
            println!("{} {error}. The act ends here.", client.tool.name());
            return Ok(None);
        }
    };
    let of_interest = |line: &&str| match client.tool {
        // With `--loglevel verbose` npm tells much more.
        Tool::Npm => line.contains(" oidc ") || line.starts_with("npm error"),
        Tool::Uv => true,
    };
    for line in ended.stderr.lines().filter(of_interest) {
        println!("{line}");
    }
    print!("{}", ended.stdout);
    Ok(Some(ended))
}

fn failure(name: &str, what: &str, ended: &Ended) -> CommandError {
    CommandError::Other(format!(
        "{name} publish {what}:\n{}{}",
        ended.stdout, ended.stderr
    ))
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

        let mut http = carnet_outbound::client(TIMEOUT, place.certificate.is_some()).no_proxy();
        let mut tls = None;
        if let Some(files) = &place.certificate {
            let file = files.authority.display().to_string();
            let pem =
                std::fs::read(&files.authority).map_err(|error| CommandError::File(file, error))?;
            let authority = Certificate::from_pem(&pem).map_err(|error| other(&error))?;
            http = http.add_root_certificate(authority);
            let read = Tls::from_files(&files.leaf, &files.key);
            tls = Some(read.map_err(|error| other(&error))?);
        }
        let mut serving = JoinSet::new();
        serving.spawn(registry.serve(place.listener, tls));
        Ok(Self {
            url: place.url,
            authority: place.certificate.map(|_| AUTHORITY),
            http: http.build().map_err(|error| other(&error))?,
            _serving: serving,
        })
    }

    /// Prints a request for what the registry tells everybody, and its answer, which has to name
    /// the file of the package.
    async fn shown(&self, path: &str, expected: &str) -> Result<(), CommandError> {
        let call = Call::new(Method::GET, format!("{}{path}", self.url)).trusting(self.authority);
        println!("$ {}", call.line());
        let answer = call.request(&self.http).send().await;
        let answer = answer.map_err(|error| unreachable(&error))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| unreachable(&error))?;
        println!("{status}\n{}", text.trim_end());
        if status == StatusCode::OK && text.contains(expected) {
            Ok(())
        } else {
            Err(CommandError::Other(format!(
                "the registry does not have {expected}"
            )))
        }
    }
}
