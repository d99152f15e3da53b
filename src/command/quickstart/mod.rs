//! `carnet quickstart`: a tour on real sockets, with a server on a new SQLite file, a stand-in for
//! a CI platform and the example registry. Then npm or uv publishes, if there is one, the gateway
//! stands in front of a registry, and people sign in at a stand-in for an OpenID provider.

mod behind;
mod browser;
mod by_hand;
mod call;
mod certificate;
mod client;
mod gateway_act;
mod invocation;
mod last_act;
mod page_act;
mod people_act;
mod pypiserver;
mod shell;
mod site;
mod tour;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use carnet_exchange::Environment;
use carnet_resource_server::{PackageNames, Proofs, Verifier};
use carnet_stand_ins::{Registry, StandInCi};
use clap::Args;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use super::{CommandError, Conclusion, admin_token};
use crate::app::{App, Background};
use crate::clock::{Clock, SystemClock};
use crate::config::Config;
use crate::http::{self, Serving};
use crate::ids;
use crate::upstream::HttpFetch;
use gateway_act::Gated;
use last_act::ToolRegistry;
use people_act::Desk;
use tour::Tour;

/// Options of `carnet quickstart`.
#[derive(Debug, Args)]
pub struct QuickstartArgs {
    /// Exit when the tour is over; otherwise the servers run until Ctrl-C, and the printed commands
    /// can be tried.
    #[arg(long)]
    once: bool,
}

/// The three servers of the tour. Closing it stops them and removes their folder.
struct Stage {
    folder: PathBuf,
    servers: Vec<Serving>,
    _background: Background,
}

pub async fn run(args: &QuickstartArgs) -> Result<Conclusion, CommandError> {
    let other = |error: &dyn std::fmt::Display| CommandError::Other(error.to_string());
    // From now on signals end nothing by themselves.
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| other(&error))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(|error| other(&error))?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (carnet_listener, carnet) = listen().await?;
    // Cookies ignore ports: those of the console must not reach the registries. A client's redirect
    // URI names the loopback address, so it is the server that has the other name.
    let carnet = carnet.replace("127.0.0.1", "localhost");
    let (ci_listener, ci) = listen().await?;
    let (registry_listener, registry) = listen().await?;
    let folder = std::env::temp_dir().join(format!(
        "carnet-quickstart-{}",
        ids::base32(ids::new(clock.now()))
    ));
    let resource = format!("{registry}/");

    let settings = [
        ("CARNET_ISSUER", carnet.clone()),
        (
            "CARNET_DATA_DIR",
            folder.join("server").display().to_string(),
        ),
        // The stand-in speaks http, since it has no certificate. Real platforms do not need this.
        ("CARNET_INSECURE__ALLOW_HTTP_LOOPBACK", "true".to_owned()),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value));
    let config = Config::from_sources(None, settings)?;
    let (app, background) =
        App::start(config, clock.clone(), Arc::new(HttpFetch::default())).await?;
    let stand_in = StandInCi::new(&ci, clock).map_err(|error| other(&error))?;
    let verifier = Verifier::new(&carnet, &resource)
        .and_then(|verifier| verifier.taking_proofs(Proofs::single_process()))
        .map_err(|error| other(&error))?;
    let packages = Registry::new(verifier, PackageNames::Exact, folder.join("registry"))
        .with_sign_in(page_act::CLIENT, Some(page_act::secret_file(&folder)))
        .map_err(|error| other(&error))?;
    let servers = vec![
        http::serve_on(http::router(app.clone()), carnet_listener),
        http::serve_on(stand_in.router(), ci_listener),
        http::serve_on(packages.router(), registry_listener),
    ];
    let stage = Stage {
        folder,
        servers,
        _background: background,
    };

    let token = admin_token::issue(&app, "quickstart", "admin", 3600).await?;
    let tour = Tour::new(carnet, ci, registry, token)?;
    let mut acts = None;
    let outcome = tokio::select! {
        outcome = whole(&tour, &stage.folder, args.once, &mut acts) => outcome,
        _ = terminate.recv() => interrupted(acts.as_ref()),
        _ = interrupt.recv() => interrupted(acts.as_ref()),
    };
    drop(app);
    if let Some(acts) = acts {
        acts.desk.close().await;
        acts.gated.close().await;
    }
    stage.close().await;
    outcome.map(|()| Conclusion::Yes)
}

/// What serves the acts after the tour, as long as it lives.
struct Acts {
    gated: Gated,
    desk: Desk,
    _tool: Option<ToolRegistry>,
}

/// The tour and the acts after it. Without `once` this never ends by itself then.
async fn whole(
    tour: &Tour,
    folder: &Path,
    once: bool,
    acts: &mut Option<Acts>,
) -> Result<(), CommandError> {
    tour.run().await?;
    let environment = Environment::of_this_process();
    let path = environment.get("PATH").unwrap_or_default();
    let tool = last_act::run(tour, &folder.join("tool"), path).await?;
    let covered: Vec<&str> = ["registry"]
        .into_iter()
        .chain(tool.as_ref().map(|registry| registry.name))
        .collect();
    let gated = gateway_act::run(tour, &folder.join("gateway"), path, &covered).await?;
    let desk = people_act::run(tour, folder).await?;
    *acts = Some(Acts {
        gated,
        desk,
        _tool: tool,
    });
    if !once {
        Desk::invite(tour);
        println!(
            "\nThe servers go on until you press Ctrl-C. Every line above can be pasted into another terminal, in this order.\n\
             Uploads are refused then, since the registries have version 1.0.0 by now."
        );
        std::future::pending::<()>().await;
    }
    Ok(())
}

/// How a signal ends the tour.
fn interrupted(acts: Option<&Acts>) -> Result<(), CommandError> {
    match acts {
        Some(_) => Ok(()),
        None => Err(CommandError::Other("the tour was interrupted".to_owned())),
    }
}

/// A listener on a free port of the loopback interface, and its URL.
async fn listen() -> Result<(TcpListener, String), CommandError> {
    let failed = |error| CommandError::File("127.0.0.1".to_owned(), error);
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, format!("http://{address}")))
}

impl Stage {
    async fn close(self) {
        for server in self.servers {
            server.stop().await;
        }
        tokio::fs::remove_dir_all(&self.folder).await.ok();
    }
}
