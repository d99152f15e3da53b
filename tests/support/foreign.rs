//! Packages of npm and PyPI that tests install: the libraries that the programs in `tests/clients` use; the tools that publish
//! packages and the registries that take them, in `tests/publishing`; what drives a browser, in `tests/browser`; a conformance
//! suite, in `tests/conformance/mcp`.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

use super::may_skip;

/// Where packages come from, and what they are for. All versions are pinned, those of their dependencies too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packages {
    Npm,
    Pypi,
    /// npm, pnpm, yarn, the registry Verdaccio, and the Node.js that they run on.
    NpmTools,
    /// twine, uv, and the registries devpi-server and pypiserver.
    PypiTools,
    /// What drives a browser, what examines pages in it, and an OpenID provider.
    Browser,
    /// A conformance suite with scenarios for authorization servers, and the Node.js that it runs on.
    Conformance,
}

impl Packages {
    /// Runs a script on one JSON document and reads the one that it prints. None where the machine lacks what it takes and that is
    /// allowed.
    pub fn run(self, script: &str, authority: &Path, input: &Value) -> Option<Value> {
        let mut command = self.script(script)?;
        command
            .env("NODE_EXTRA_CA_CERTS", authority)
            .env("REQUESTS_CA_BUNDLE", authority);
        command.env("NO_PROXY", "127.0.0.1");
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // A script that ends before it reads says why.
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.to_string().as_bytes())
            .ok();
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {errors}");
        Some(serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{script}: no JSON")))
    }

    /// A script, as a command that finds the packages. None where the machine lacks what it takes and that is allowed.
    pub fn script(self, script: &str) -> Option<Command> {
        let folder = self.installed()?;
        let script = self.pins().join(script);
        let mut command = match self {
            // Packages are looked up from where a module is, and text has the working directory.
            Self::Npm | Self::NpmTools | Self::Browser | Self::Conformance => {
                let mut node = Command::new("node");
                node.arg("--input-type=module")
                    .arg("--eval")
                    .arg(fs::read_to_string(&script).unwrap());
                node
            }
            Self::Pypi | Self::PypiTools => {
                let mut python = Command::new(folder.join("bin/python"));
                python.arg("-I").arg("-B").arg(&script);
                python
            }
        };
        command.current_dir(folder);
        Some(command)
    }

    /// The folder of the packages; a failure is remembered, because without a network it takes long to come.
    pub fn installed(self) -> Option<&'static PathBuf> {
        static ALL: [OnceLock<Result<PathBuf, String>>; 6] = [const { OnceLock::new() }; 6];
        match ALL[self as usize].get_or_init(|| self.ensure()) {
            Ok(folder) => Some(folder),
            Err(missing) => {
                may_skip(missing);
                None
            }
        }
    }

    /// The folder with the pinned versions and the programs.
    fn pins(self) -> PathBuf {
        let folder = match self {
            Self::Npm | Self::Pypi => "tests/clients",
            Self::NpmTools | Self::PypiTools => "tests/publishing",
            Self::Browser => "tests/browser",
            Self::Conformance => "tests/conformance/mcp",
        };
        Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
    }

    /// Installs the packages if a run before this one has not, or what is pinned or the interpreter has changed since.
    fn ensure(self) -> Result<PathBuf, String> {
        let (interpreter, pinned, folder) = match self {
            Self::Npm => ("node", "package-lock.json", "npm"),
            Self::NpmTools => ("node", "package-lock.json", "npm-tools"),
            Self::Browser => ("node", "package-lock.json", "npm-browser"),
            Self::Conformance => ("node", "package-lock.json", "npm-conformance"),
            Self::Pypi => ("python3", "requirements.txt", "pypi"),
            Self::PypiTools => ("python3", "requirements.txt", "pypi-tools"),
        };
        let version = text(Command::new(interpreter).arg("--version"))?;
        let wanted = format!(
            "{version}{}",
            fs::read_to_string(self.pins().join(pinned)).unwrap()
        );
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
            .join("clients")
            .join(folder);
        fs::create_dir_all(&folder).unwrap();
        // Held until it is dropped: another run may be installing.
        let lock = File::create(folder.with_extension("lock")).unwrap();
        lock.lock().unwrap();
        let done = folder.join("installed");
        if fs::read_to_string(&done).is_ok_and(|installed| installed == wanted) {
            return Ok(folder);
        }
        fs::remove_file(&done).ok();
        self.install(&folder)?;
        fs::write(&done, wanted).unwrap();
        Ok(folder)
    }

    fn install(self, folder: &Path) -> Result<(), String> {
        match self {
            Self::Npm | Self::NpmTools | Self::Browser | Self::Conformance => {
                for file in ["package.json", "package-lock.json"] {
                    fs::copy(self.pins().join(file), folder.join(file)).unwrap();
                }
                // Some of the tools need a newer Node.js than the machine's, which is among the packages.
                let brings_its_own = matches!(self, Self::NpmTools | Self::Conformance);
                let strict = (!brings_its_own).then_some("--engine-strict");
                let flags = [
                    "--ignore-scripts",
                    "--no-audit",
                    "--no-fund",
                    "--prefer-offline",
                ];
                // Its own patience is more than a minute where there is no network.
                let patience = [
                    "--fetch-retry-mintimeout=1000",
                    "--fetch-retry-maxtimeout=5000",
                ];
                text(
                    Command::new("npm")
                        .arg("ci")
                        .args(strict)
                        .args(flags)
                        .args(patience)
                        .current_dir(folder),
                )?;
            }
            Self::Pypi | Self::PypiTools => {
                text(
                    Command::new("python3")
                        .args(["-m", "venv", "--clear"])
                        .arg(folder),
                )?;
                let mut pip = Command::new(folder.join("bin/python"));
                pip.args([
                    "-m",
                    "pip",
                    "install",
                    "--disable-pip-version-check",
                    "--only-binary",
                    ":all:",
                ]);
                text(
                    pip.args(["--require-hashes", "--requirement"])
                        .arg(self.pins().join("requirements.txt")),
                )?;
            }
        }
        Ok(())
    }
}

/// The folder of Node.js's programs, and pnpm's program if it is there, among the installed tools. They are named after the processor.
pub fn node_and_pnpm(tools: &Path) -> (PathBuf, PathBuf) {
    let processor = match std::env::consts::ARCH {
        "x86_64" => "x64",
        "aarch64" => "arm64",
        other => other,
    };
    let modules = tools.join("node_modules");
    let node = modules.join(format!("node-linux-{processor}/bin"));
    let pnpm = modules.join(format!("@pnpm/exe.linux-{processor}/pnpm"));
    (node, pnpm)
}

/// What a command prints, if it succeeds.
fn text(command: &mut Command) -> Result<String, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{name} ({error})"))?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(format!(
            "what {name} needs ({}{})",
            text(&output.stdout),
            text(&output.stderr)
        ))
    }
}
