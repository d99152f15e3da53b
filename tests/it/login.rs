//! `carnet login`, `logout` and `whoami`, and the sign-in as the token of other commands: the built
//! binary, and a stand-in for the server. The test is the person and the browser.

mod credentials;
mod real;
mod refusals;
mod sessions;
mod sign_in;
mod stand_in;

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use url::Url;

use self::stand_in::StandIn;
use crate::support::{Finished, carnet, finished};

/// A person's machine.
struct Machine {
    home: TempDir,
}

/// A sign-in that waits for the browser.
struct Login {
    child: Child,
    stderr: BufReader<ChildStderr>,
    said: String,
    /// The URL that the command printed.
    url: Url,
}

impl Machine {
    fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
        }
    }

    fn file(&self) -> PathBuf {
        self.home.path().join("carnet/credentials.json")
    }

    /// What is stored.
    fn stored(&self) -> Value {
        serde_json::from_slice(&std::fs::read(self.file()).unwrap()).unwrap()
    }

    fn change(&self, change: impl FnOnce(&mut Value)) {
        let mut stored = self.stored();
        change(&mut stored);
        std::fs::write(self.file(), stored.to_string()).unwrap();
    }

    fn mode(&self, mode: u32) {
        std::fs::set_permissions(self.file(), PermissionsExt::from_mode(mode)).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = carnet();
        command
            .current_dir(self.home.path())
            .env("XDG_CONFIG_HOME", self.home.path())
            .args(arguments);
        Command::from(command)
    }

    async fn run(&self, arguments: &[&str]) -> Finished {
        self.run_with(arguments, &[]).await
    }

    async fn run_with(&self, arguments: &[&str], environment: &[(&str, &str)]) -> Finished {
        let mut command = self.command(arguments);
        command.envs(environment.iter().copied());
        finished(command.output().await.unwrap())
    }

    /// Starts a sign-in, and waits until it has printed its URL.
    async fn begin(&self, server: &StandIn, arguments: &[&str]) -> Login {
        let mut command = self.command(&["login", "--no-browser", "--server", &server.url]);
        Login::of(command.args(arguments)).await
    }

    /// Signs in to the end.
    async fn sign_in(&self, server: &StandIn, arguments: &[&str]) -> Finished {
        let login = self.begin(server, arguments).await;
        login.visit(&login.callback().await).await;
        login.finish().await
    }
}

impl Login {
    async fn of(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        loop {
            let from = said.len();
            assert_ne!(stderr.read_line(&mut said).await.unwrap(), 0, "{said}");
            if let Some(url) = said[from..].strip_prefix("  http") {
                let url = Url::parse(&format!("http{}", url.trim())).unwrap();
                return Self {
                    child,
                    stderr,
                    said,
                    url,
                };
            }
        }
    }

    fn parameter(&self, name: &str) -> String {
        let found = self.url.query_pairs().find(|(of, _)| of == name);
        found.unwrap_or_else(|| panic!("no {name}")).1.into_owned()
    }

    /// Where the server sends the browser of the person, who signs in and agrees. This is the one part
    /// that knows that the stand-in asks for neither.
    async fn callback(&self) -> Url {
        let redirect = reqwest::redirect::Policy::none();
        let browser = reqwest::Client::builder().redirect(redirect).no_proxy();
        let answer = browser.build().unwrap().get(self.url.clone()).send().await;
        let answer = answer.unwrap();
        Url::parse(answer.headers()["location"].to_str().unwrap()).unwrap()
    }

    /// Opens a page of the command.
    async fn visit(&self, url: &Url) -> (u16, String) {
        let answer = reqwest::get(url.clone()).await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    }

    async fn finish(mut self) -> Finished {
        self.stderr.read_to_string(&mut self.said).await.unwrap();
        let output = self.child.wait_with_output().await.unwrap();
        Finished {
            stderr: self.said,
            ..finished(output)
        }
    }
}
