//! `carnet keys`: lists, rotates and withdraws signing keys through the admin API, and prints the
//! keys as they are afterwards.

use axum::http::Method;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::admin_client::AdminClient;
use super::{CommandError, Conclusion, ServerArgs};

/// Arguments of `carnet keys`.
#[derive(Debug, Args)]
pub struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Debug, Subcommand)]
enum KeysCommand {
    /// List the signing keys with their algorithm and state.
    #[command(after_help = "Example:\n  carnet keys list")]
    List(ServerArgs),
    /// Make the next key sign and generate a new next key; the previous key stays published until
    /// the last token that it signed has expired.
    #[command(after_help = "Example:\n  carnet keys rotate --algorithm RS256")]
    Rotate {
        #[arg(long, help = "The algorithm of the new key: ES256, RS256 or EdDSA")]
        algorithm: Option<String>,
        #[command(flatten)]
        target: ServerArgs,
    },
    /// Remove a key at once: registries refuse tokens that it signed as soon as they fetch the key
    /// set again.
    #[command(after_help = "Example:\n  carnet keys withdraw 9vJ2…")]
    Withdraw {
        /// The `kid` of the key, as `carnet keys list` prints it.
        kid: String,
        #[command(flatten)]
        target: ServerArgs,
    },
}

pub async fn run(args: &KeysArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let (target, method, path, body) = match &args.command {
        KeysCommand::List(target) => (target, Method::GET, "/signing-keys".to_owned(), None),
        KeysCommand::Rotate { algorithm, target } => (
            target,
            Method::POST,
            "/signing-keys/rotate".to_owned(),
            Some(json!({ "algorithm": algorithm })),
        ),
        KeysCommand::Withdraw { kid, target } => {
            (target, Method::DELETE, format!("/signing-keys/{kid}"), None)
        }
    };
    let client = AdminClient::new(target).await?;
    client.send(method, &path, body.as_ref()).await?.ok()?;
    let keys = client
        .send(Method::GET, "/signing-keys", None)
        .await?
        .ok()?;
    if as_json {
        println!("{keys}");
        return Ok(Conclusion::Yes);
    }
    for key in keys
        .get("items")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let text = |name: &str| key.get(name).and_then(Value::as_str).unwrap_or("-");
        println!(
            "{}  {:<6} {:<8} made {}",
            text("kid"),
            text("algorithm"),
            text("state"),
            text("created_at")
        );
    }
    Ok(Conclusion::Yes)
}
