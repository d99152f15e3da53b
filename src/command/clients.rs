//! `carnet clients`: the next secret of a client, and the key set of its certificates.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use openssl::x509::X509;
use serde_json::{Map, Value, json};

use super::objects::list_kind;
use super::rotation::{RotateArgs, rotate_secret};
use super::{CommandError, Conclusion, ServerArgs, read_file};
use crate::documents::Kind;
use crate::tls::jwk;

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
    /// Print the key set (jwks) with which a client registers its certificates, for mutual TLS.
    #[command(after_help = "Example:\n  carnet clients jwks client.pem")]
    Jwks(JwksArgs),
}

/// Arguments of `carnet clients jwks`.
#[derive(Debug, Args)]
struct JwksArgs {
    /// PEM files, each with one certificate; those of authorities after it do not count.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

pub async fn run(args: &ClientsArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    match &args.command {
        ClientsCommand::List(target) => list_kind(Kind::Client, target, as_json).await,
        ClientsCommand::RotateSecret(args) => rotate_secret(Kind::Client, args, as_json).await,
        ClientsCommand::Jwks(args) => {
            let keys = args.files.iter().map(|file| key_of(file));
            let keys = keys.collect::<Result<Vec<_>, _>>()?;
            println!("{}", json!({ "keys": keys }));
            Ok(Conclusion::Yes)
        }
    }
}

/// The JWK of the first certificate in a file.
fn key_of(file: &Path) -> Result<Map<String, Value>, CommandError> {
    let wrong = |why: &str| CommandError::Other(format!("{}: {why}", file.display()));
    let pem = read_file(file)?;
    let certificates = X509::stack_from_pem(pem.as_bytes()).unwrap_or_default();
    let first = certificates.first();
    let first = first.ok_or_else(|| wrong("it must hold a certificate in PEM"))?;
    let key = jwk::jwk(first);
    let key = key.ok_or_else(|| wrong("its key must be an RSA, EC or Ed25519 key"))?;
    jwk::check(&key).map_err(|why| wrong(&format!("it must {why}")))?;
    Ok(key)
}
