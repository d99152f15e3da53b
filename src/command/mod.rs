//! The command line of the `carnet` binary: arguments, dispatch and exit codes.
//!
//! Exit code 0 is success, 1 a negative result or a failed command, 2 wrong usage (clap's own
//! code), 3 no answer: nobody said no, and the same command may succeed later.
//! `docs/src/reference/command-line.md` describes every command.

mod admin_client;
mod admin_token;
mod apply;
mod attestation;
mod audit;
mod check;
mod clients;
mod completions;
mod config;
mod credentials;
mod dpop_proof;
mod explain;
mod gateway;
mod healthcheck;
mod issuers;
mod keys;
mod login;
mod logout;
mod notifications;
mod objects;
mod people;
mod policy;
mod profiles;
mod progress;
mod quickstart;
mod rotation;
mod serve;
mod server_token;
mod sign_ins;
mod table;
mod tokens;
mod whoami;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, ConfigError};

/// The release, and the features that were compiled in besides.
const VERSION: &str = if cfg!(feature = "rpki") {
    concat!(env!("CARGO_PKG_VERSION"), " (features: rpki)")
} else {
    env!("CARGO_PKG_VERSION")
};

/// An OAuth 2.0 authorization server for package registries: it exchanges the signed token that a
/// CI platform issues to a job for a short-lived access token of the registry.
#[derive(Debug, Parser)]
#[command(
    name = "carnet",
    version = VERSION,
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
    Serve(serve::ServeArgs),
    /// Run a tour on this machine: a server, stand-ins for a CI platform and an OpenID provider, and a
    /// small registry, connected over real sockets.
    #[command(after_help = "Example:\n  carnet quickstart --once")]
    Quickstart(quickstart::QuickstartArgs),
    /// Make the server's objects equal to those of a file; what changes is shown before it is done.
    #[command(after_help = "Example:\n  carnet apply -f objects.toml --dry-run")]
    Apply(apply::ApplyArgs),
    /// Print the objects that the token may read, in the format that `apply` reads.
    #[command(after_help = "Example:\n  carnet export > objects.toml")]
    Export(apply::ExportArgs),
    /// Run the gateway: a reverse proxy that gives trusted publishing to registries that know nothing
    /// of it.
    ///
    /// It works on the configuration and the database of the server, which has to have started once.
    #[command(after_help = "Example:\n  carnet gateway --config /etc/carnet.toml")]
    Gateway(gateway::GatewayArgs),
    /// Sign in at a server with the browser; other commands with --server use the sign-in.
    #[command(after_help = "Example:\n  carnet login --server https://carnet.example")]
    Login(login::LoginArgs),
    /// End a sign-in of `carnet login`, at the server and on this machine.
    #[command(after_help = "Example:\n  carnet logout")]
    Logout(logout::LogoutArgs),
    /// Show who is signed in, with which scope and until when; exits with 1 if nobody is.
    #[command(after_help = "Example:\n  carnet whoami")]
    Whoami(whoami::WhoamiArgs),
    /// Find audit events: why a job was refused, what a token was used for, who changed a rule.
    #[command(after_help = "Example:\n  carnet audit --since 1d --repository octo-org/octo-repo")]
    Audit(Box<audit::AuditArgs>),
    /// Show one object: as `export` writes it, with its state as comments.
    #[command(
        visible_alias = "show",
        after_help = "Example:\n  carnet get credential octo-org:release"
    )]
    Get(objects::GetArgs),
    /// List the objects of a kind.
    #[command(after_help = "Example:\n  carnet list credentials --principal octo-org")]
    List(objects::ListArgs),
    /// Delete an object; refused while other objects refer to it.
    #[command(after_help = "Example:\n  carnet delete credential octo-org:release --yes")]
    Delete(objects::DeleteArgs),
    /// Enable and disable federated credentials.
    #[command(after_help = "Example:\n  carnet credentials disable octo-org:release")]
    Credentials(credentials::CredentialsArgs),
    /// Rotate the secrets of clients.
    #[command(
        after_help = "Example:\n  carnet clients rotate-secret pypi-registry --secrets-file /run/secrets/pypi-registry"
    )]
    Clients(clients::ClientsArgs),
    /// Rotate the secrets of webhooks and send them test messages.
    #[command(after_help = "Example:\n  carnet notifications test ops")]
    Notifications(notifications::NotificationsArgs),
    /// List the people who signed in, disable them and end their sessions.
    #[command(after_help = "Example:\n  carnet people list")]
    People(people::PeopleArgs),
    /// Refresh the keys of trusted issuers and show which fail.
    #[command(after_help = "Example:\n  carnet issuers status")]
    Issuers(issuers::IssuersArgs),
    /// Inspect and end issued tokens.
    #[command(after_help = "Example:\n  carnet tokens inspect --token-file leaked.txt")]
    Tokens(tokens::TokensArgs),
    /// Check the configuration, the profiles, the database and the keys, and report every error at
    /// once. Creates and changes nothing.
    #[command(after_help = "Example:\n  carnet check --config /etc/carnet.toml")]
    Check(ConfigFile),
    /// Show the effective configuration and where each value comes from.
    #[command(after_help = "Example:\n  carnet config show --config /etc/carnet.toml")]
    Config(config::ConfigArgs),
    /// Verify attestations of key sets by the RPKI. Experimental.
    #[command(
        after_help = "Example:\n  carnet attestation verify https://as64496.example/jwks --config /etc/carnet.toml"
    )]
    Attestation(attestation::AttestationArgs),
    /// List the platform profiles, and show the fields that rules of a profile may use.
    #[command(after_help = "Example:\n  carnet profiles show github-actions")]
    Profiles(profiles::ProfilesArgs),
    /// Print a script that completes the commands and options of `carnet` in a shell.
    #[command(after_help = "Example:\n  carnet completions bash > /etc/bash_completion.d/carnet")]
    Completions(completions::CompletionsArgs),
    /// Ask the server on this machine whether it is ready; exits 1 if it is not.
    #[command(after_help = "Example:\n  carnet healthcheck")]
    Healthcheck(healthcheck::HealthcheckArgs),
    /// Print an access token for the admin API; needs access to the database and the encryption
    /// key.
    #[command(after_help = "Example:\n  export CARNET_TOKEN=$(carnet admin-token --ttl 3600)")]
    AdminToken(admin_token::AdminTokenArgs),
    /// List, rotate and withdraw the keys that sign access tokens, and change the key that encrypts
    /// them.
    #[command(after_help = "Example:\n  carnet keys rotate")]
    Keys(keys::KeysArgs),
    /// Exchange the token that a CI platform issues to the job for an access token of a registry,
    /// and print the access token alone.
    ///
    /// Exits with 0 if there is a token (with --explain: if there would be one), 1 after a refusal of
    /// the server or the platform, 2 for wrong usage, and 3 if there was no answer: then the same
    /// command may succeed later.
    #[command(
        after_help = "Example:\n  token=$(carnet exchange --server https://carnet.example --resource https://registry.example/ --principal octo-org)"
    )]
    Exchange(Box<carnet_exchange::ExchangeArgs>),
    /// Print a DPoP proof for one request, to use an access token that is bound to a key.
    #[command(
        after_help = "Example:\n  proof=$(carnet dpop-proof --key job.jwk --token \"$token\" PUT https://registry.example/packages/left-pad/1.0.0)"
    )]
    DpopProof(dpop_proof::DpopProofArgs),
    /// Explain why an assertion would be accepted or refused; no token is issued, and the assertion
    /// stays unused.
    ///
    /// The assertion comes from the same sources as in `carnet exchange`. Exits with 0 if the request
    /// would be granted, 1 if it would be refused, 2 for wrong usage, and 3 if there was no answer.
    #[command(
        after_help = "Example:\n  carnet explain --server https://carnet.example --assertion-file token.jwt"
    )]
    Explain(Box<explain::ExplainArgs>),
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
    /// Access token for the admin API of `--server`, as `carnet admin-token` prints it; without it,
    /// that of `carnet login`. Ignored without `--server`.
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
    /// There is no access token, or no assertion to explain.
    #[error(transparent)]
    Exchange(#[from] carnet_exchange::ExchangeError),
    /// The server cannot be reached, or gave no answer.
    #[error("{0}")]
    Unreachable(String),
    /// The arguments do not fit together or do not fit the surroundings: exit code 2.
    #[error("{0}")]
    Usage(String),
    /// Any other failure, as a message for the user.
    #[error("{0}")]
    Other(String),
}

impl CommandError {
    /// The exit code of the command that failed.
    const fn exit_code(&self) -> u8 {
        match self {
            Self::Exchange(error) => error.exit_code(),
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 3,
            Self::Config(_) | Self::Start(_) | Self::File(..) | Self::Other(_) => 1,
        }
    }
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

    /// The configuration of a command that has no log: its warnings go to standard error.
    fn load_for_command(&self) -> Result<Config, CommandError> {
        let config = self.load()?;
        for warning in &config.warnings {
            eprintln!("carnet: warning: {warning}");
        }
        Ok(config)
    }
}

/// Runs the command and turns its outcome into an exit code.
pub async fn run(cli: Cli) -> ExitCode {
    let json = cli.json;
    let outcome = match cli.command {
        Command::Serve(args) => serve::run(&args).await,
        Command::Quickstart(args) => quickstart::run(&args).await,
        Command::Apply(args) => apply::apply(&args, json).await,
        Command::Export(args) => apply::export(&args, json).await,
        Command::Login(args) => login::run(&args, json).await,
        Command::Logout(args) => logout::run(&args, json).await,
        Command::Whoami(args) => whoami::run(&args, json).await,
        Command::Audit(args) => audit::run(&args, json).await,
        Command::Gateway(args) => gateway::run(&args, json).await,
        Command::Get(args) => objects::get(&args, json).await,
        Command::List(args) => objects::list(&args, json).await,
        Command::Delete(args) => objects::delete(&args, json).await,
        Command::Credentials(args) => credentials::run(&args, json).await,
        Command::Clients(args) => clients::run(&args, json).await,
        Command::Notifications(args) => notifications::run(&args, json).await,
        Command::People(args) => people::run(&args, json).await,
        Command::Issuers(args) => issuers::run(&args, json).await,
        Command::Tokens(args) => tokens::run(&args, json).await,
        Command::Check(config) => check::run(&config, json).await,
        Command::Config(args) => config::run(&args, json),
        Command::Attestation(args) => attestation::run(&args, json).await,
        Command::Profiles(args) => profiles::run(&args, json),
        Command::Completions(args) => Ok(completions::run(&args)),
        Command::Healthcheck(args) => healthcheck::run(&args, json).await,
        Command::AdminToken(args) => admin_token::run(&args, json).await,
        Command::Keys(args) => keys::run(&args, json).await,
        Command::DpopProof(args) => dpop_proof::run(&args, json),
        Command::Exchange(args) => {
            let exchanged = carnet_exchange::run(&args, json).await;
            exchanged
                .map(|verdict| (verdict == carnet_exchange::Verdict::Allowed).into())
                .map_err(CommandError::from)
        }
        Command::Explain(args) => explain::run(&args, json).await,
        Command::Policy(args) => policy::run(&args, json),
    };
    match outcome {
        Ok(Conclusion::Yes) => ExitCode::SUCCESS,
        Ok(Conclusion::No) => ExitCode::from(1),
        Err(error) => {
            eprintln!("carnet: {error}");
            ExitCode::from(error.exit_code())
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
