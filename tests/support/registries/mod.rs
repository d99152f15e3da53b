//! Package registries that know nothing of Carnet, unmodified, as their operators run them: what a gateway stands in front of.
//!
//! A registry of a package index is started once for all tests of a process, when the first of them asks for it. Tests that share
//! one keep apart by the names of their packages.

mod devpi;
mod example;
mod pypiserver;
mod verdaccio;

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use carnet::ids;
use openssl::sha::sha1;

pub use devpi::devpi;
pub use example::{credential_of_example, example};
pub use pypiserver::pypiserver;
pub use verdaccio::verdaccio;

use super::free_address;

/// The name of every registry's operator, where the registry has users.
const OPERATOR: &str = "operator";

/// A registry that is ready.
#[derive(Debug)]
pub struct Upstream {
    /// Where its paths begin, without a slash at the end.
    pub url: String,
    pub credential: OperatorCredential,
    _running: Option<Running>,
}

/// With what the operator of a registry may change everything in it.
#[derive(Clone, Debug)]
pub enum OperatorCredential {
    Basic {
        user: String,
        password: String,
    },
    Bearer(String),
    /// The value of a header of this name.
    Header(&'static str, String),
}

/// A program that ends, and a folder that goes away, with the process of the tests, whatever ends it.
#[derive(Debug)]
struct Running {
    folder: PathBuf,
    /// The standard input of the shell that watches over the program is open as long as this process lives.
    _shell: Child,
}

/// Ends the program when its input ends. Signals of the terminal reach the shell, too, and must not end it before.
const SHELL: &str = r#"trap '' HUP INT TERM
folder=$1
shift
"$@" >"$folder/log" 2>&1 </dev/null &
read -r _
kill -KILL $! 2>/dev/null
wait
rm -rf -- "$folder""#;

impl Upstream {
    fn running(url: String, credential: OperatorCredential, running: Running) -> Self {
        Self {
            url,
            credential,
            _running: Some(running),
        }
    }
}

impl OperatorCredential {
    /// The operator with a new password.
    fn new_password() -> Self {
        Self::Basic {
            user: OPERATOR.to_owned(),
            password: uuid::Uuid::from_bytes(ids::random()).simple().to_string(),
        }
    }

    /// User name and password.
    pub fn basic(&self) -> (&str, &str) {
        match self {
            Self::Basic { user, password } => (user, password),
            Self::Bearer(_) | Self::Header(..) => panic!("the operator has no password"),
        }
    }

    /// The part of it that nobody may know.
    pub fn secret(&self) -> &str {
        match self {
            Self::Basic {
                password: secret, ..
            }
            | Self::Bearer(secret)
            | Self::Header(_, secret) => secret,
        }
    }

    /// Writes a file with the operator as its only user, in the form of Apache's `htpasswd -s`.
    fn write_htpasswd(&self, file: &Path) {
        let (user, password) = self.basic();
        let digest = STANDARD.encode(sha1(password.as_bytes()));
        std::fs::write(file, format!("{user}:{{SHA}}{digest}\n")).unwrap();
    }
}

/// A new folder for a registry's files.
fn new_folder(name: &str) -> PathBuf {
    let id = uuid::Uuid::from_bytes(ids::random()).simple();
    let folder = std::env::temp_dir().join(format!("carnet-{name}-{id}"));
    std::fs::create_dir(&folder).unwrap();
    folder
}

/// A program with this folder as its home and nothing of the user who runs the tests.
fn program(path: &Path, folder: &Path) -> Command {
    let mut command = Command::new(path);
    command
        .env_clear()
        .env("HOME", folder)
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("LANG", "C.UTF-8")
        .current_dir(folder)
        .stdin(Stdio::null());
    command
}

impl Running {
    /// Starts a program in this folder.
    fn start(path: &Path, arguments: &[&str], folder: PathBuf) -> Self {
        let mut shell = program(Path::new("/bin/sh"), &folder);
        shell
            .args(["-c", SHELL, "sh"])
            .args([&folder, path])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Self {
            _shell: shell.spawn().unwrap(),
            folder,
        }
    }

    /// Waits until a URL is answered with success. Beside other tests devpi takes over half a minute.
    async fn answers(&self, url: &str) {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        for _ in 0..9000 {
            let answer = http.get(url).send().await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let log = std::fs::read_to_string(self.folder.join("log")).unwrap();
        panic!("no success at {url}: {log}");
    }
}
