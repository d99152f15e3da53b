//! The registry behind the gateway: pypiserver, or else the example registry.

use std::io;
use std::path::Path;

use carnet_resource_server::Verifier;
use carnet_stand_ins::{Protocol, Registry};
use reqwest::StatusCode;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::certificate::create;
use super::pypiserver::{Pypiserver, USER};
use super::shell::quoted;
use super::site::Site;
use super::tour::Tour;
use super::{CommandError, listen};

/// The client of the gateway at the example registry.
const CLIENT: &str = "gateway";
/// The file with the gateway's credential for the registry.
const SECRET: &str = "secret";

/// It runs until this is dropped.
#[derive(Debug)]
pub struct Behind {
    pub site: Site,
    running: Running,
}

#[derive(Debug)]
enum Running {
    Pypiserver(Box<Pypiserver>),
    Example { _serving: JoinSet<io::Result<()>> },
}

impl Behind {
    /// A registry that pypiserver is, with the password in a file of this folder.
    pub fn pypiserver(running: Pypiserver, folder: &Path) -> Result<Self, CommandError> {
        println!(
            "registry {} (pypiserver: uploads need a password, which the gateway alone has)",
            running.url
        );
        name_folder(folder);
        write_secret(folder, &running.password)?;
        Ok(Self {
            site: Site::new(running.url.clone(), None)?,
            running: Running::Pypiserver(Box::new(running)),
        })
    }

    /// The example registry, which clients reach at this URL. It accepts Carnet's tokens alone, so the
    /// secret of the gateway is one.
    pub async fn example(tour: &Tour, folder: &Path, gateway: &str) -> Result<Self, CommandError> {
        let other = |error: &dyn std::fmt::Display| CommandError::Other(error.to_string());
        let (listener, url) = listen().await?;
        println!(
            "registry {url} (the example registry: uploads need a token, which the operator gives the gateway)"
        );
        name_folder(folder);
        let resource = format!("{url}/");
        let actions = json!(["create", "publish"]);
        let created = StatusCode::CREATED;
        let server =
            json!({ "resource": resource, "actions": actions, "token_lifetime_seconds": 3600 });
        tour.put("resource-servers/upstream", &server, created)
            .await?;
        let client = json!({
            "auth_method": "client_secret_post",
            "permissions": [{ "resource_server": "upstream", "actions": actions, "packages": ["*"], "owner": "joel" }],
        });
        let saved = tour
            .put(&format!("clients/{CLIENT}"), &client, created)
            .await?;
        let secret = saved.get("client_secret").and_then(Value::as_str);
        let secret = secret.ok_or_else(|| other(&"the answer holds no client secret"))?;
        let token = tour.client_token((CLIENT, secret), SECRET).await?;
        write_secret(folder, &token)?;

        let verifier = Verifier::new(tour.carnet(), &resource).map_err(|error| other(&error))?;
        let packages = folder.join("packages");
        let registry = Registry::speaking(Protocol::Pypi, verifier, packages).at(gateway);
        let mut serving = JoinSet::new();
        serving.spawn(registry.serve(listener, None));
        Ok(Self {
            site: Site::new(url, None)?,
            running: Running::Example { _serving: serving },
        })
    }

    /// The gateway's credential, as its configuration has it.
    pub fn credential(&self) -> String {
        match self.running {
            Running::Pypiserver(_) => {
                format!("{{ basic = {{ username = \"{USER}\", password_file = \"{SECRET}\" }} }}")
            }
            Running::Example { .. } => format!("{{ bearer = {{ token_file = \"{SECRET}\" }} }}"),
        }
    }

    pub async fn stop(self) {
        if let Running::Pypiserver(running) = self.running {
            running.stop().await;
        }
    }
}

/// The printed lines call the folder `TOOL`.
fn name_folder(folder: &Path) {
    println!("$ TOOL={}", quoted(&folder.to_string_lossy()));
}

fn write_secret(folder: &Path, secret: &str) -> Result<(), CommandError> {
    let file = folder.join(SECRET);
    create(&file, secret.as_bytes())
        .map_err(|error| CommandError::File(file.display().to_string(), error))
}
