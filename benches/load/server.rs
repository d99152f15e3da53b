//! The server in a process of its own.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;

use crate::support::{ISSUER_URL, Population};

/// The server in a process of its own, so that its CPU time and memory can be told apart.
pub struct Server {
    process: Child,
    /// Where it listens, as `address:port`.
    pub address: String,
}

impl Server {
    /// Starts it on the database of `population` and waits until it listens.
    pub async fn start(population: &Population) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        let process = command()
            .arg("serve")
            .env("CARNET_ISSUER", ISSUER_URL)
            .env("CARNET_SERVER__LISTEN", &address)
            .env("CARNET_DATA_DIR", &population.folder)
            .env("CARNET_DATABASE__URL", &population.database_url)
            .env("CARNET_RATE_LIMITS__TOKENS_PER_MINUTE_PER_CREDENTIAL", "0")
            .env("CARNET_SERVER__DRAIN_SECONDS", "0")
            .env("CARNET_LOG__LEVEL", "warn")
            .stdin(Stdio::null())
            .spawn()
            .expect("the server starts");
        let server = Self { process, address };
        for _ in 0..6000 {
            if TcpStream::connect(&server.address).await.is_ok() {
                return server;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the server did not listen");
    }

    /// User and system time of all threads so far.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        // These fields of `/proc/<pid>/stat` are in units of 1/100 s (`USER_HZ`), whatever the
        // kernel's tick.
        Duration::from_millis(ticks * 10)
    }

    /// A field of `/proc/<pid>/status` in MB, such as `VmHWM`, the peak of resident memory.
    pub fn memory(&self, field: &str) -> f64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with(field)).unwrap();
        line.split_whitespace()
            .nth(1)
            .unwrap()
            .parse::<f64>()
            .unwrap()
            / 1024.0
    }

    /// Ends it as an operator would, and waits.
    pub fn stop(&mut self) {
        kill(&self.process);
        self.process.wait().unwrap();
    }
}

/// The server, as a child of the program in `BENCH_UNDER` if that is set: the binary in
/// `BENCH_CARNET`, or the one that was built with this program. For example
/// `BENCH_UNDER="valgrind --tool=callgrind"` counts instructions.
fn command() -> Command {
    let server =
        std::env::var("BENCH_CARNET").unwrap_or_else(|_| env!("CARGO_BIN_EXE_carnet").to_owned());
    let Ok(under) = std::env::var("BENCH_UNDER") else {
        return Command::new(server);
    };
    let mut words = under.split(' ');
    let mut command = Command::new(words.next().unwrap());
    command.args(words).arg(server);
    command
}

/// Lets the server shut down by itself, so that a program in `BENCH_UNDER` can write its report.
fn kill(process: &Child) {
    Command::new("kill")
        .arg("-TERM")
        .arg(process.id().to_string())
        .status()
        .unwrap();
}
