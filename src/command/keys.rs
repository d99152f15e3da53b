//! `carnet keys`: lists, rotates and withdraws signing keys through the admin API, and prints the
//! keys as they are afterwards; and seals them under a new encryption key, on the database.

use std::io::IsTerminal as _;

use axum::http::Method;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::admin_client::AdminClient;
use super::objects::is_confirmed;
use super::table::table;
use super::{CommandError, Conclusion, ConfigFile, ServerArgs};
use crate::app::{App, StartError};
use crate::audit::{AuditEvent, Outcome};
use crate::clock::{Clock as _, SystemClock};
use crate::ids::EventId;
use crate::own_tokens::LOCAL_CLIENT;

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
        #[arg(allow_hyphen_values = true)]
        kid: String,
        /// Do not ask on a terminal.
        #[arg(long)]
        yes: bool,
        #[command(flatten)]
        target: ServerArgs,
    },
    /// Encrypt all private signing keys in the database under the configured encryption key, in one
    /// transaction. Those of before are opened with the files of `keys.old_encryption_key_files`.
    /// Signing keys and tokens stay valid.
    #[command(after_help = "Example:\n  carnet keys reseal --config /etc/carnet.toml")]
    Reseal(ConfigFile),
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
        KeysCommand::Withdraw { kid, yes, target } => {
            let question = format!(
                "Withdraw the key {kid}? Registries then refuse every token that it signed."
            );
            let asks = !yes && std::io::stdin().is_terminal();
            if asks && !is_confirmed(&question, std::io::stdin().lock()) {
                eprintln!("carnet: nothing was withdrawn");
                return Ok(Conclusion::No);
            }
            (target, Method::DELETE, format!("/signing-keys/{kid}"), None)
        }
        KeysCommand::Reseal(file) => return reseal(file, as_json).await,
    };
    let client = AdminClient::new(target).await?;
    // Every answer holds the keys as they are afterwards. A second request would fail where the key
    // was withdrawn that signed the admin token.
    let keys = client.send(method, &path, body.as_ref()).await?.ok()?;
    if as_json {
        println!("{keys}");
    } else {
        print!("{}", listing(&keys));
    }
    Ok(Conclusion::Yes)
}

/// The keys of an answer of the admin API as a table.
fn listing(keys: &Value) -> String {
    const COLUMNS: [(&str, &str); 6] = [
        ("KID", "kid"),
        ("ALGORITHM", "algorithm"),
        ("STATE", "state"),
        ("CREATED AT", "created_at"),
        ("ACTIVATED AT", "activated_at"),
        ("PUBLISHED UNTIL", "published_until"),
    ];
    let Some(items) = keys.get("items").and_then(Value::as_array) else {
        return "done; the server, which is of an older release, does not list the keys here\n"
            .to_owned();
    };
    let row = |key: &Value| {
        COLUMNS
            .map(|(_, member)| {
                let cell = key.get(member).and_then(Value::as_str);
                cell.unwrap_or("-").to_owned()
            })
            .to_vec()
    };
    let rows: Vec<Vec<String>> = items.iter().map(row).collect();
    table(&COLUMNS.map(|(heading, _)| heading), &rows)
}

async fn reseal(file: &ConfigFile, as_json: bool) -> Result<Conclusion, CommandError> {
    let config = file.load_for_command()?;
    let now = SystemClock.now();
    let (store, keys) = App::existing(&config, now).await?;
    let event = AuditEvent {
        client_id: Some(LOCAL_CLIENT.to_owned()),
        detail: json!({ "kind": "signing key", "name": "resealed" }).to_string(),
        ..AuditEvent::with_id(EventId::new(now), Outcome::Updated)
    };
    let resealed = keys
        .reseal(&store, now, &event)
        .await
        .map_err(StartError::from)?;
    let webhooks = keys
        .reseal_webhooks(&store)
        .await
        .map_err(StartError::from)?;
    let providers = keys
        .reseal_providers(&store)
        .await
        .map_err(StartError::from)?;
    let all = store.signing_keys().await.map_err(StartError::from)?.len();
    // A server that still has the old key may have sealed a secret under it meanwhile.
    let before = keys.sealed_before(&store).await.map_err(StartError::from)?;
    let (left, providers_left) = (before.webhook_secrets, before.provider_secrets);
    if as_json {
        println!(
            "{}",
            json!({
                "resealed": resealed, "signing_keys": all, "webhook_secrets": webhooks, "webhook_secrets_left": left,
                "provider_secrets": providers, "provider_secrets_left": providers_left,
            })
        );
    } else {
        let state = match left {
            0 => "all are sealed under the current encryption key".to_owned(),
            left => format!(
                "all signing keys are sealed under the current encryption key, and {left} secrets of webhooks are not: run this again once every server \
                 has the new key, and rotate those that it leaves"
            ),
        };
        println!(
            "{resealed} of {all} signing keys and {webhooks} secrets of webhooks were sealed anew; {state}"
        );
        if providers > 0 {
            println!("{providers} client secrets of identity providers were sealed anew");
        }
        if providers_left > 0 {
            println!(
                "{providers_left} client secrets of identity providers are not sealed under the current encryption key: run this again once every \
                 server has the new key, and save anew those that it leaves"
            );
        }
    }
    Ok(Conclusion::Yes)
}
