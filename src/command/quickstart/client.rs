//! A publishing tool of this machine. It gets an empty home folder, and configuration and caches of
//! its own in a folder of the tour.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use carnet_stand_ins::StandInCi;

use super::CommandError;
use super::certificate::AUTHORITY;
use super::invocation::{Ended, Invocation, LIMIT, Program, Setting};

/// What uv publishes: version 1.0.0 of a package.
#[derive(Debug)]
pub struct Wheel {
    pub package: &'static str,
    pub file: &'static str,
    pub content: &'static [u8],
}

/// The package that the rule of the tour covers.
pub const WIDGETS: Wheel = Wheel {
    package: "widgets",
    file: "widgets-1.0.0-py3-none-any.whl",
    content: include_bytes!("widgets-1.0.0-py3-none-any.whl"),
};
/// A package that it does not cover.
pub const GADGETS: Wheel = Wheel {
    package: "gadgets",
    file: "gadgets-1.0.0-py3-none-any.whl",
    content: include_bytes!("gadgets-1.0.0-py3-none-any.whl"),
};

/// What npm publishes.
const PACKAGE_JSON: &str = "{ \"name\": \"widgets\", \"version\": \"1.0.0\", \"description\": \"The package of the tour\", \"license\": \"MIT\" }\n";

/// npm's file of configuration for a user, and that for the machine.
const USER_CONFIGURATION: &str = "npmrc";
const GLOBAL_CONFIGURATION: &str = "global-npmrc";

/// Tools that the tour can publish with, the preferred one first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    Npm,
    Uv,
}

/// A tool that is installed.
#[derive(Debug)]
pub struct Client {
    pub tool: Tool,
    program: Program,
}

impl Tool {
    pub const ALL: [Self; 2] = [Self::Npm, Self::Uv];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Npm => "npm",
            Self::Uv => "uv",
        }
    }

    /// The first version that asks a registry of any host for a key.
    const fn since(self) -> [u32; 3] {
        match self {
            Self::Npm => [11, 5, 1],
            Self::Uv => [0, 4, 16],
        }
    }
}

impl Client {
    /// Finds the first of these tools that is in the folders of `path`, works without its user's files and is
    /// new enough. It will work in `folder`, which [`prepare`] made.
    ///
    /// # Errors
    ///
    /// Why each tool is not used.
    pub async fn find(tools: &[Tool], path: &str, folder: &Path) -> Result<Self, Vec<String>> {
        let mut reasons = Vec::new();
        for &tool in tools {
            let Some(file) = found(path, tool.name()) else {
                reasons.push(format!("{} is not on PATH", tool.name()));
                continue;
            };
            let client = Self {
                tool,
                program: Program {
                    name: tool.name(),
                    file,
                    path: path.to_owned(),
                    folder: folder.to_owned(),
                },
            };
            match client.unsuitable().await {
                None => return Ok(client),
                Some(reason) => reasons.push(reason),
            }
        }
        Err(reasons)
    }

    /// Why the tool cannot be used, if so.
    async fn unsuitable(&self) -> Option<String> {
        let name = self.tool.name();
        let asked = self.invocation(vec!["--version".to_owned()]);
        let ended = match asked.run(LIMIT).await {
            Ok(ended) => ended,
            Err(error) => return Some(format!("{name} {error}")),
        };
        let version = ended.stdout.split_whitespace().find_map(version);
        match version.filter(|_| ended.succeeded) {
            None => Some(format!(
                "{name} does not say its version in an empty home folder ({})",
                ended.stderr.lines().next().unwrap_or("it prints no error")
            )),
            Some(found) if found < self.tool.since() => Some(format!(
                "{name} {} is older than {}",
                dotted(found),
                dotted(self.tool.since())
            )),
            Some(_) => None,
        }
    }

    /// The publication of a package at a registry, by a job that runs for a ref of the platform. npm
    /// has the package `widgets` alone.
    pub fn publication(
        &self,
        registry: &str,
        (ci, reference): (&str, &str),
        wheel: &Wheel,
    ) -> Invocation<'_> {
        let arguments: Vec<String> = match self.tool {
            Tool::Npm => [
                "publish",
                "--registry",
                &format!("{registry}/"),
                "--provenance=false",
                "--no-audit",
                "--no-update-notifier",
                "--loglevel",
                "verbose",
            ]
            .map(str::to_owned)
            .into(),
            Tool::Uv => [
                "publish",
                "--publish-url",
                &format!("{registry}/legacy/"),
                "--trusted-publishing",
                "always",
                wheel.file,
            ]
            .map(str::to_owned)
            .into(),
        };
        let mut invocation = self.invocation(arguments);
        invocation.variables.extend([
            ("CI", Setting::text("true")),
            ("GITHUB_ACTIONS", Setting::text("true")),
            (
                "ACTIONS_ID_TOKEN_REQUEST_URL",
                Setting::Text(StandInCi::request_url(ci, reference)),
            ),
            (
                "ACTIONS_ID_TOKEN_REQUEST_TOKEN",
                Setting::text(StandInCi::REQUEST_TOKEN),
            ),
        ]);
        if self.tool == Tool::Uv {
            invocation
                .variables
                .push(("SSL_CERT_FILE", Setting::Within(AUTHORITY)));
        }
        invocation
    }

    /// Prints a command of the tool, runs it and prints what the tool says that is of interest. `None`
    /// if the tool hung, which is told.
    pub async fn shown(&self, invocation: &Invocation<'_>) -> Option<Ended> {
        println!("$ {}", invocation.line());
        let ended = match invocation.run(LIMIT).await {
            Ok(ended) => ended,
            Err(error) => {
                println!("{} {error}. The act ends here.", self.tool.name());
                return None;
            }
        };
        let of_interest = |line: &&str| match self.tool {
            // With `--loglevel verbose` npm tells much more.
            Tool::Npm => line.contains(" oidc ") || line.starts_with("npm error"),
            Tool::Uv => true,
        };
        for line in ended.stderr.lines().filter(of_interest) {
            println!("{line}");
        }
        print!("{}", ended.stdout);
        Some(ended)
    }

    /// The error of a publication that did not end as it should.
    pub fn failure(&self, what: &str, ended: &Ended) -> CommandError {
        CommandError::Other(format!(
            "{} publish {what}:\n{}{}",
            self.tool.name(),
            ended.stdout,
            ended.stderr
        ))
    }

    /// These arguments, with an empty home folder and the tool's own configuration and caches
    /// below the folder of the tour.
    fn invocation(&self, arguments: Vec<String>) -> Invocation<'_> {
        let mut variables = vec![
            ("HOME", Setting::Within("home")),
            ("TMPDIR", Setting::Within("tmp")),
        ];
        match self.tool {
            Tool::Npm => variables.extend([
                ("NPM_CONFIG_USERCONFIG", Setting::Within(USER_CONFIGURATION)),
                (
                    "NPM_CONFIG_GLOBALCONFIG",
                    Setting::Within(GLOBAL_CONFIGURATION),
                ),
                ("NPM_CONFIG_CACHE", Setting::Within("cache")),
            ]),
            Tool::Uv => variables.extend([
                ("UV_NO_CONFIG", Setting::text("1")),
                ("UV_KEYRING_PROVIDER", Setting::text("disabled")),
                ("UV_CACHE_DIR", Setting::Within("cache")),
            ]),
        }
        Invocation {
            program: &self.program,
            variables,
            arguments,
        }
    }
}

/// Makes the folder in which a tool works: the package, and empty folders and files of
/// configuration.
pub fn prepare(folder: &Path) -> Result<(), CommandError> {
    let failed = |error| CommandError::File(folder.display().to_string(), error);
    fill(folder).map_err(failed)
}

fn fill(folder: &Path) -> std::io::Result<()> {
    for name in ["home", "tmp", "package"] {
        std::fs::create_dir_all(folder.join(name))?;
    }
    for name in [USER_CONFIGURATION, GLOBAL_CONFIGURATION] {
        std::fs::write(folder.join(name), "")?;
    }
    let package = folder.join("package");
    std::fs::write(package.join("package.json"), PACKAGE_JSON)?;
    std::fs::write(package.join(WIDGETS.file), WIDGETS.content)
}

/// The first executable file of this name in the absolute folders of `path`. The tool runs in
/// another folder, so relative ones would mean something else.
pub fn found(path: &str, name: &str) -> Option<PathBuf> {
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .map(|folder| folder.join(name))
        .find(|file| {
            file.metadata()
                .is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
        })
}

/// The first three numbers of a version like `11.5.1` or `0.9.0-rc.1`.
fn version(text: &str) -> Option<[u32; 3]> {
    let mut numbers = text.split(['.', '-', '+']).map(str::parse);
    let mut next = || numbers.next()?.ok();
    Some([next()?, next()?, next()?])
}

fn dotted(version: [u32; 3]) -> String {
    version.map(|number| number.to_string()).join(".")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert_eq!(version("11.19.1"), Some([11, 19, 1]));
        assert_eq!(version("0.9.0-rc.1"), Some([0, 9, 0]));
        assert_eq!(version("uv"), None);
        assert_eq!(version("v11.5.1"), None);
        assert!(version("11.10.0") > version("11.5.1"));
    }
}
