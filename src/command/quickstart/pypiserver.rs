//! pypiserver of this machine: a registry of Python packages that knows nothing of Carnet, with a
//! password that only the gateway gets.

use std::fs::File;
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::sha::sha1;
use reqwest::Method;
use tokio::process::Child;
use tokio::time::{sleep, timeout};
use uuid::Uuid;

use super::client::found;
use super::invocation::{Invocation, Program, Setting};
use super::listen;
use super::site::Site;
use crate::ids;

const NAME: &str = "pypi-server";
/// The user whose password the gateway has.
pub const USER: &str = "carnet";
/// The longest time until it answers.
const STARTS: Duration = Duration::from_secs(15);
/// Interval at which it is asked until then.
const INTERVAL: Duration = Duration::from_millis(50);

/// It runs until this is dropped.
#[derive(Debug)]
pub struct Pypiserver {
    pub url: String,
    pub password: String,
    child: Child,
}

impl Pypiserver {
    /// Starts the program, if it is in the folders of `path`, with its packages below `folder`.
    ///
    /// # Errors
    ///
    /// Why there is none.
    pub async fn start(path: &str, folder: &Path) -> Result<Self, String> {
        let file = found(path, NAME).ok_or_else(|| format!("{NAME} is not on PATH"))?;
        let program = Program {
            name: NAME,
            file,
            path: path.to_owned(),
            folder: folder.to_owned(),
        };
        let failed = |error: &dyn std::fmt::Display| format!("{NAME} cannot be run: {error}");
        let password = Uuid::from_bytes(ids::random()).simple().to_string();
        let log = fill(folder, &password).map_err(|error| failed(&error))?;
        // The program says nothing of a port that it chooses itself.
        let (free, url) = listen().await.map_err(|error| failed(&error))?;
        let address = free.local_addr().map_err(|error| failed(&error))?;
        drop(free);
        let invocation = Invocation {
            program: &program,
            variables: vec![
                ("HOME", Setting::Within("home")),
                ("PYTHONDONTWRITEBYTECODE", Setting::text("1")),
            ],
            arguments: [
                "run",
                "--interface",
                &address.ip().to_string(),
                "--port",
                &address.port().to_string(),
                "--passwords",
                "../htpasswd",
                "--authenticate",
                "update",
                // It sends requests for packages that it does not have to PyPI otherwise.
                "--disable-fallback",
                ".",
            ]
            .map(str::to_owned)
            .into(),
        };
        let mut child = invocation.start(log).map_err(|error| failed(&error))?;
        let site = Site::new(url.clone(), None).map_err(|error| failed(&error))?;
        let why = match timeout(STARTS, ready(&mut child, &site)).await {
            Ok(Ok(())) => {
                return Ok(Self {
                    url,
                    password,
                    child,
                });
            }
            Ok(Err(Some(status))) => format!("ended with {status}"),
            Ok(Err(None)) => "cannot be waited for".to_owned(),
            Err(_) => format!("did not answer within {} seconds", STARTS.as_secs()),
        };
        let said = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        let last = said.lines().rfind(|line| !line.trim().is_empty());
        Err(format!(
            "{NAME} {why} ({})",
            last.unwrap_or("it prints nothing").trim()
        ))
    }

    /// Ends the program, and waits until it has ended.
    pub async fn stop(mut self) {
        self.child.kill().await.ok();
    }
}

/// Makes the folders, the file with the user, and that for what the program prints.
fn fill(folder: &Path, password: &str) -> std::io::Result<File> {
    for name in ["home", "package"] {
        std::fs::create_dir_all(folder.join(name))?;
    }
    let digest = STANDARD.encode(sha1(password.as_bytes()));
    std::fs::write(folder.join("htpasswd"), format!("{USER}:{{SHA}}{digest}\n"))?;
    File::create(folder.join("log"))
}

/// Waits until the program answers. The error is how it ended instead.
async fn ready(child: &mut Child, site: &Site) -> Result<(), Option<ExitStatus>> {
    loop {
        let call = site.call(Method::GET, "/simple/");
        if site
            .answer(&call)
            .await
            .is_ok_and(|(status, _)| status.is_success())
        {
            return Ok(());
        }
        tokio::select! {
            ended = child.wait() => return Err(ended.ok()),
            () = sleep(INTERVAL) => {}
        }
    }
}
