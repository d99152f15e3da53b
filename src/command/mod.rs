//! The command line of the `carnet` binary: arguments, dispatch and exit codes.
//!
//! Exit code 0 is success, 1 a negative result or a failed command, 2 wrong usage (clap's own
//! code). `docs/src/reference/command-line.md` describes every command.

mod admin_client;
mod admin_token;
mod apply;
mod check;
mod explain;
mod healthcheck;
mod keys;
mod policy;
mod quickstart;
mod serve;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError};

/// An OAuth 2.0 authorization server for package registries: it exchanges the signed token that a
/// CI platform issues to a job for a short-lived access token of the registry.
#[derive(Debug, Parser)]
#[command(
    name = "carnet",
    version,
    propagate_version = true,
    max_term_width = 100
)]
pub struct Cli {
    /// Print the result as JSON, for commands that print a result.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server.
    ///
    /// Without any configuration it listens on 127.0.0.1:8080, stores its data in an SQLite file in
    /// ./carnet-data and generates its keys. After SIGTERM or SIGINT it keeps serving for
    /// `server.drain_seconds`, unless a second signal follows.
    #[command(after_help = "Example:\n  carnet serve --config /etc/carnet.toml")]
    Serve(ConfigFile),
    /// Run a tour on this machine: a server, a stand-in for a CI platform and a small registry,
    /// connected over real sockets.
    #[command(after_help = "Example:\n  carnet quickstart --once")]
    Quickstart(quickstart::QuickstartArgs),
    /// Make the server's objects equal to those of a file; the plan is printed before it is
    /// executed.
    #[command(after_help = "Example:\n  carnet apply -f objects.toml --dry-run")]
    Apply(apply::ApplyArgs),
    /// Print all objects in the format that `apply` reads.
    #[command(after_help = "Example:\n  carnet export > objects.toml")]
    Export(apply::ExportArgs),
    /// Check the configuration, the profiles, the database and the keys, and report every error at
    /// once.
    #[command(after_help = "Example:\n  carnet check --config /etc/carnet.toml")]
    Check(ConfigFile),
    /// Ask the server on this machine whether it is ready; exits 1 if it is not.
    #[command(after_help = "Example:\n  carnet healthcheck")]
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Print an access token for the admin API; needs access to the database and the encryption
    /// key.
    #[command(after_help = "Example:\n  export CARNET_TOKEN=$(carnet admin-token --ttl 3600)")]
    AdminToken(admin_token::AdminTokenArgs),
    /// List, rotate and withdraw the keys that sign access tokens.
    #[command(after_help = "Example:\n  carnet keys rotate")]
    Keys(keys::KeysArgs),
    /// Exchange the token that a CI platform issues to the job for an access token of a registry,
    /// and print the access token alone.
    #[command(
        after_help = "Example:\n  token=$(carnet exchange --server https://carnet.example --resource https://registry.example/ --principal octo-org)"
    )]
    Exchange(Box<carnet_exchange::ExchangeArgs>),
    /// Explain why an assertion would be accepted or refused; no token is issued, and the assertion
    /// stays unused.
    #[command(
        after_help = "Example:\n  carnet explain --server https://carnet.example --assertion-file token.jwt"
    )]
    Explain(explain::ExplainArgs),
    /// Test, check and convert rules and case files offline.
    #[command(after_help = "Example:\n  carnet policy test release-cases.json")]
    Policy(policy::PolicyArgs),
}

/// The option that names the configuration file.
#[derive(Clone, Debug, Args)]
pub struct ConfigFile {
    /// Configuration file (TOML); without it, environment variables and defaults apply.
    #[arg(long, value_name = "FILE", env = "CARNET_CONFIG")]
    config: Option<PathBuf>,
}

/// The options that select the server, or the database, that a command works on.
#[derive(Clone, Debug, Args)]
pub struct ServerArgs {
    /// Issuer identifier of the server to use over HTTP; without it, the command opens the
    /// configured database.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Access token for the admin API of `--server`, as `carnet admin-token` prints it; ignored
    /// without `--server`.
    #[arg(
        long,
        value_name = "TOKEN",
        env = "CARNET_TOKEN",
        hide_env_values = true
    )]
    token: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// The configuration has errors.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Config(Vec<ConfigError>),
    /// The server cannot start.
    #[error(transparent)]
    Start(#[from] crate::app::StartError),
    /// A file cannot be read.
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    /// Any other failure, as a message for the user.
    #[error("{0}")]
    Other(String),
}

impl From<Vec<ConfigError>> for CommandError {
    fn from(errors: Vec<ConfigError>) -> Self {
        Self::Config(errors)
    }
}

/// The result of a command that ran to its end, as an exit code for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conclusion {
    /// Exit code 0.
    Yes,
    /// Exit code 1: denied, differing or invalid.
    No,
}

impl From<bool> for Conclusion {
    fn from(yes: bool) -> Self {
        if yes { Self::Yes } else { Self::No }
    }
}

impl ConfigFile {
    fn load(&self) -> Result<Config, CommandError> {
        Ok(Config::load(self.config.as_deref())?)
    }
}

/// Runs the command and turns its outcome into an exit code.
pub async fn run(cli: Cli) -> ExitCode {
    let json = cli.json;
    let outcome = match cli.command {
        Command::Serve(config) => serve::run(&config).await,
        Command::Quickstart(args) => quickstart::run(&args).await,
        Command::Apply(args) => apply::apply(&args, json).await,
        Command::Export(args) => apply::export(&args, json).await,
        Command::Check(config) => check::run(&config, json).await,
        Command::Healthcheck(args) => healthcheck::run(&args, json).await,
        Command::AdminToken(args) => admin_token::run(&args, json).await,
        Command::Keys(args) => keys::run(&args, json).await,
        Command::Exchange(args) => {
            let exchanged = carnet_exchange::run(&args, json).await;
            exchanged
                .map(|()| Conclusion::Yes)
                .map_err(|error| CommandError::Other(error.to_string()))
        }
        Command::Explain(args) => explain::run(&args, json).await,
        Command::Policy(args) => policy::run(&args, json),
    };
    match outcome {
        Ok(Conclusion::Yes) => ExitCode::SUCCESS,
        Ok(Conclusion::No) => ExitCode::from(1),
        Err(error) => {
            eprintln!("carnet: {error}");
            ExitCode::from(1)
        }
    }
}

fn read_file(path: &std::path::Path) -> Result<String, CommandError> {
    let text = if path == std::path::Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    text.map_err(|error| CommandError::File(path.display().to_string(), error))
}
