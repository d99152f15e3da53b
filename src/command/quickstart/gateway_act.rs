//! The act of the gateway: `carnet gateway` in front of a registry that needs no change, and what it
//! records of a publication.

use std::path::Path;
use std::sync::Arc;

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::behind::Behind;
use super::by_hand;
use super::certificate::Certificate;
use super::client::{Client, GADGETS, Tool, WIDGETS, Wheel, prepare};
use super::invocation::Ended;
use super::pypiserver::Pypiserver;
use super::site::Site;
use super::tour::{Tour, heading, rule};
use super::{CommandError, listen};
use crate::app::{App, Background, StartError};
use crate::clock::SystemClock;
use crate::config::{CertificateFiles, Config, TlsConfig};
use crate::gateway::set_up;
use crate::http::{self, Serving};
use crate::tls::Certificates;
use crate::upstream::HttpFetch;

/// The resource server of the registry behind the gateway.
const REGISTRY: &str = "internal";
/// What the gateway says when it refuses the package that the rule does not cover.
const REFUSED: &str = "package_out_of_scope";

/// The gateway and the registry behind it, which run until this is closed or dropped.
#[derive(Debug)]
pub struct Gated {
    behind: Behind,
    serving: Serving,
    _settling: JoinSet<()>,
    _background: Background,
}

/// Where the gateway will be, before it runs.
struct Place {
    listener: TcpListener,
    host: String,
    certificate: Certificate,
    site: Site,
}

/// Who publishes.
enum Publisher {
    Uv(Client),
    Curl { key: String },
}

/// Publishes through the gateway with uv, if `path` leads to one. `folder` is for the tool, the
/// gateway and the registry; the server's data is in `server` beside it. The rule covers these
/// registries already.
pub async fn run(
    tour: &Tour,
    folder: &Path,
    path: &str,
    covered: &[&str],
) -> Result<Gated, CommandError> {
    prepare(folder)?;
    let wheel = folder.join("package").join(GADGETS.file);
    std::fs::write(&wheel, GADGETS.content)
        .map_err(|error| CommandError::File(wheel.display().to_string(), error))?;
    heading(
        "Registries need no change either: `carnet gateway` in front of one gives it trusted publishing",
    );
    let uv = Client::find(&[Tool::Uv], path, folder).await;
    let pypiserver = match &uv {
        Ok(_) => Pypiserver::start(path, &folder.join("pypiserver")).await,
        Err(reasons) => Err(reasons.join("; ")),
    };
    match (&uv, &pypiserver) {
        (Ok(_), Err(why)) => println!("(pypiserver is left out: {why}.)"),
        (Err(_), Err(why)) => {
            println!("(uv and pypiserver are left out: {why}. curl sends what uv would.)");
        }
        _ => {}
    }
    let place = Place::find(folder).await?;
    println!("gateway  {}", place.site.url());
    let behind = match pypiserver {
        Ok(running) => Behind::pypiserver(running, folder)?,
        Err(_) => Behind::example(tour, folder, place.site.url()).await?,
    };
    describe(tour, &place, covered).await?;
    let (gated, site) = Gated::start(place, behind, tour, folder).await?;
    let publisher = match uv {
        Ok(client) => Publisher::Uv(client),
        Err(_) => Publisher::Curl { key: String::new() },
    };
    publish(tour, publisher, &site, &gated.behind).await?;
    Ok(gated)
}

/// Registers the registry with its front door, and lets the rule cover it.
async fn describe(tour: &Tour, place: &Place, covered: &[&str]) -> Result<(), CommandError> {
    let registry = json!({
        "resource": format!("{}/", place.site.url()), "actions": ["create", "publish"], "package_names": "pep503",
        "front_door": { "kind": "pypi", "hosts": [place.host] },
    });
    let path = format!("resource-servers/{REGISTRY}");
    tour.put(&path, &registry, StatusCode::CREATED).await?;
    let registries = [covered, &[REGISTRY]].concat();
    let path = "federated-credentials/octo-release";
    let saved = tour.put(path, &rule(&registries), StatusCode::OK).await;
    saved.map(drop)
}

/// Publishes a package, tries another one, and shows what is on record.
async fn publish(
    tour: &Tour,
    mut publisher: Publisher,
    gateway: &Site,
    behind: &Behind,
) -> Result<(), CommandError> {
    heading(
        "The job publishes at the gateway, which checks the package by itself and passes it on with the registry's secret",
    );
    if let Publisher::Curl { key } = &mut publisher {
        *key = by_hand::key(tour, gateway).await?;
    }
    let failure = |what: &str, ended: &Ended| {
        CommandError::Other(format!(
            "the publication {what}:\n{}{}",
            ended.stdout, ended.stderr
        ))
    };
    let Some(ended) = publisher.publish(tour, gateway, &WIDGETS).await? else {
        return Ok(());
    };
    if !ended.succeeded {
        return Err(failure("failed", &ended));
    }
    println!("The registry has it:");
    behind.site.shown("/simple/widgets/", WIDGETS.file).await?;

    heading(
        "A package that the rule does not cover is refused, and the registry hears nothing of it",
    );
    let Some(ended) = publisher.publish(tour, gateway, &GADGETS).await? else {
        return Ok(());
    };
    let said = [ended.stdout.as_str(), &ended.stderr];
    if ended.succeeded || !said.iter().any(|text| text.contains(REFUSED)) {
        return Err(failure("should have been refused", &ended));
    }
    provenance(tour, gateway).await
}

/// Shows what the gateway recorded of the publication.
async fn provenance(tour: &Tour, gateway: &Site) -> Result<(), CommandError> {
    heading("The operator asks who published the package, from which repository, commit and run");
    let path = format!("/gateway/v1/publications/{REGISTRY}/{}", WIDGETS.package);
    let call = tour.as_operator(gateway.call(Method::GET, &path));
    println!("$ {}", call.line());
    let (status, text) = gateway.answer(&call).await?;
    let found: Value = serde_json::from_str(&text).unwrap_or_default();
    println!("{status}\n{found:#}");
    let claim = found.pointer("/items/0/workload/claims/repository");
    if claim.and_then(Value::as_str) == Some("octo-org/octo-repo") {
        Ok(())
    } else {
        Err(CommandError::Other(
            "the publication is not on record".to_owned(),
        ))
    }
}

impl Publisher {
    /// Publishes a package. `None` if the tool hung, which is told.
    async fn publish(
        &self,
        tour: &Tour,
        gateway: &Site,
        wheel: &Wheel,
    ) -> Result<Option<Ended>, CommandError> {
        match self {
            Self::Uv(client) => {
                let job = (tour.ci(), "refs/heads/main");
                let publication = client.publication(gateway.url(), job, wheel);
                Ok(client.shown(&publication).await)
            }
            Self::Curl { key } => {
                let (status, stdout) = by_hand::upload(gateway, key, wheel).await?;
                Ok(Some(Ended {
                    succeeded: status.is_success(),
                    stdout,
                    stderr: String::new(),
                }))
            }
        }
    }
}

impl Place {
    async fn find(folder: &Path) -> Result<Self, CommandError> {
        let (listener, url) = listen().await?;
        let host = url.trim_start_matches("http://").to_owned();
        let certificate = Certificate::write(folder)?;
        Ok(Self {
            listener,
            site: Site::new(format!("https://{host}"), Some(&certificate))?,
            host,
            certificate,
        })
    }
}

impl Gated {
    /// Writes the gateway's configuration, prints it, and starts the gateway with it, as `carnet
    /// gateway` does.
    async fn start(
        place: Place,
        behind: Behind,
        tour: &Tour,
        folder: &Path,
    ) -> Result<(Self, Site), CommandError> {
        let other = |error: &dyn std::fmt::Display| CommandError::Other(error.to_string());
        let file = folder.join("gateway.toml");
        let text = configuration(tour, &place, &behind);
        std::fs::write(&file, &text)
            .map_err(|error| CommandError::File(file.display().to_string(), error))?;
        println!(
            "$ cat \"$TOOL/gateway.toml\"\n{text}(The tour terminates TLS, as a proxy in front of the gateway would.)"
        );
        let config = Config::from_sources(Some(&file), [])?;
        let network = Arc::new(HttpFetch::of(&config));
        let (app, background) = App::beside(config, Arc::new(SystemClock), network).await?;
        let gateway = set_up(&app).map_err(|error| other(&error))?;
        let mut settling = JoinSet::new();
        {
            let gateway = gateway.clone();
            settling.spawn(async move { gateway.keep_settling().await });
        }
        let files = CertificateFiles {
            certificate_file: place.certificate.leaf,
            key_file: place.certificate.key,
        };
        let certificates = Certificates::open(&TlsConfig {
            certificates: vec![files],
        })
        .map_err(StartError::Certificates)?;
        let proxies = &app.config.server.trusted_proxies;
        let tls = http::Tls::new(Arc::new(certificates), proxies);
        let router = http::gateway_router(app, gateway);
        let gated = Self {
            behind,
            serving: http::serve_secured_on(router, place.listener, tls),
            _settling: settling,
            _background: background,
        };
        Ok((gated, place.site))
    }

    /// Stops both.
    pub async fn close(self) {
        self.serving.stop().await;
        self.behind.stop().await;
    }
}

/// The file of configuration. Its paths are relative to its folder.
fn configuration(tour: &Tour, place: &Place, behind: &Behind) -> String {
    format!(
        "issuer = \"{}\"\n\
         data_dir = \"../server\"   # the server's database and encryption key\n\
         gateway.listen = \"{host}\"\n\
         \n\
         [[gateway.registries]]\n\
         resource_server = \"{REGISTRY}\"\n\
         protocol = \"pypi\"\n\
         hosts = [\"{host}\"]\n\
         upstream = \"{}/\"\n\
         credential = {}\n",
        tour.carnet(),
        behind.site.url(),
        behind.credential(),
        host = place.host,
    )
}
