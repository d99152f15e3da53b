//! `carnet clients rotate-secret`: makes the next secret of a client.

use clap::{Args, Subcommand};

use super::objects::list_kind;
use super::rotation::{RotateArgs, rotate_secret};
use super::{CommandError, Conclusion, ServerArgs};
use crate::documents::Kind;

/// Arguments of `carnet clients`.
#[derive(Debug, Args)]
pub struct ClientsArgs {
    #[command(subcommand)]
    command: ClientsCommand,
}

#[derive(Debug, Subcommand)]
enum ClientsCommand {
    /// List the clients, like `carnet list clients`.
    #[command(after_help = "Example:\n  carnet clients list")]
    List(ServerArgs),
    /// Make the client's next secret; the old one stays valid for the overlap.
    #[command(
        after_help = "Example:\n  carnet clients rotate-secret pypi-registry --secrets-file /run/secrets/pypi-registry"
    )]
    RotateSecret(RotateArgs),
}

pub async fn run(args: &ClientsArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    match &args.command {
        ClientsCommand::List(target) => list_kind(Kind::Client, target, as_json).await,
        ClientsCommand::RotateSecret(args) => rotate_secret(Kind::Client, args, as_json).await,
    }
}
