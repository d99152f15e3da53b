//! The binary, as users run it.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

/// What a command printed and how it ended.
#[derive(Debug)]
pub struct Finished {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// No credentials file of whoever runs the tests is below it.
const NOBODYS: &str = "/nonexistent";

/// The binary with no configuration and no sign-ins from this environment.
pub fn carnet() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_carnet"));
    let ours = std::env::vars()
        .map(|(name, _)| name)
        .filter(|name| name.starts_with("CARNET_"));
    for name in ours.collect::<Vec<_>>() {
        command.env_remove(name);
    }
    command.env("XDG_CONFIG_HOME", NOBODYS);
    command.stdin(Stdio::null());
    command
}

/// The same under another program that becomes it.
pub fn carnet_under(program: &str, arguments: &[&str]) -> Command {
    let mut command = carnet();
    let binary = command.get_program().to_owned();
    let changed: Vec<_> = command
        .get_envs()
        .map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned)))
        .collect();
    command = Command::new(program);
    for (name, value) in changed {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.stdin(Stdio::null()).args(arguments).arg(binary);
    command
}

/// Runs the binary in a folder until it ends.
pub fn carnet_in(folder: &Path, arguments: &[&str]) -> Finished {
    finished(
        carnet()
            .current_dir(folder)
            .args(arguments)
            .output()
            .unwrap(),
    )
}

pub fn finished(output: Output) -> Finished {
    Finished {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A server as a process of its own. It is killed at the end.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    pub url: String,
}

impl ServerProcess {
    /// Starts one with these environment variables and waits until it is ready.
    pub async fn start(folder: &Path, settings: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        Self::start_at(folder, &address, settings).await
    }

    /// At a certain address.
    pub async fn start_at(folder: &Path, address: &str, settings: &[(&str, &str)]) -> Self {
        let server = Self::spawn(carnet(), folder, address, settings);
        server.wait_until_ready(folder).await;
        server
    }

    /// Runs `serve` by this command, which is the binary or ends by becoming it, without waiting for anything.
    pub fn spawn(
        command: Command,
        folder: &Path,
        address: &str,
        settings: &[(&str, &str)],
    ) -> Self {
        Self::spawn_with(command, &["serve"], folder, (address, settings))
    }

    /// The same with these arguments.
    pub fn spawn_with(
        mut command: Command,
        arguments: &[&str],
        folder: &Path,
        (address, settings): (&str, &[(&str, &str)]),
    ) -> Self {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("server.log"))
            .unwrap();
        let child = command
            .args(arguments)
            .current_dir(folder)
            .env("CARNET_SERVER__LISTEN", address)
            .env("CARNET_DATA_DIR", folder)
            .env("CARNET_SERVER__DRAIN_SECONDS", "0")
            .envs(settings.iter().copied())
            .stderr(log)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self {
            child,
            url: format!("http://{address}"),
        }
    }

    /// What `/readyz` answers, as soon as anything does.
    pub async fn readiness(&self, folder: &Path) -> (u16, serde_json::Value) {
        for _ in 0..1500 {
            if let Ok(answer) = reqwest::get(format!("{}/readyz", self.url)).await {
                return (answer.status().as_u16(), answer.json().await.unwrap());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let log = std::fs::read_to_string(folder.join("server.log")).unwrap();
        panic!("the server does not answer: {log}");
    }

    pub async fn wait_until_ready(&self, folder: &Path) {
        for _ in 0..1500 {
            if self.readiness(folder).await.0 == 200 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let log = std::fs::read_to_string(folder.join("server.log")).unwrap();
        panic!("the server is not ready: {log}");
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Its resident memory, in KiB.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Ends it as a power failure would.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends it a signal, such as `TERM`.
    pub fn signal(&self, name: &str) {
        Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .status()
            .unwrap();
    }

    /// Waits until it ends.
    pub fn wait(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Asks it to end, and waits.
    pub fn terminate(self) -> i32 {
        self.signal("TERM");
        self.wait()
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}
