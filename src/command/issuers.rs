//! `carnet issuers`: the keys of trusted issuers.

use axum::http::Method;
use carnet_exchange::web::visible;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::admin_client::{AdminClient, in_path};
use super::objects::list_kind;
use super::table::table;
use super::{CommandError, Conclusion, ServerArgs};
use crate::documents::Kind;
use crate::upstream::KeyState;

/// Arguments of `carnet issuers`.
#[derive(Debug, Args)]
pub struct IssuersArgs {
    #[command(subcommand)]
    command: IssuersCommand,
}

#[derive(Debug, Subcommand)]
enum IssuersCommand {
    /// List the trusted issuers, like `carnet list issuers`.
    #[command(after_help = "Example:\n  carnet issuers list")]
    List(ServerArgs),
    /// Fetch the keys of a trusted issuer now.
    #[command(after_help = "Example:\n  carnet issuers refresh-keys github")]
    RefreshKeys {
        /// The name or id of the trusted issuer.
        name: String,
        /// Let an attested key set be older than the newest that was seen.
        #[arg(long)]
        forget: bool,
        #[command(flatten)]
        target: ServerArgs,
    },
    /// Show which trusted issuers' keys can be fetched, and since when others fail.
    ///
    /// With `--server`, the state is that of the server process that answers; each replica has its
    /// own, which begins when it starts. Without, the command fetches the keys itself.
    #[command(after_help = "Example:\n  carnet issuers status --server https://carnet.example")]
    Status {
        /// The name or id of one trusted issuer; without it, all are shown.
        name: Option<String>,
        #[command(flatten)]
        target: ServerArgs,
    },
}

pub async fn run(args: &IssuersArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    match &args.command {
        IssuersCommand::List(target) => list_kind(Kind::TrustedIssuer, target, as_json).await,
        IssuersCommand::RefreshKeys {
            name,
            forget,
            target,
        } => refresh(name, *forget, target, as_json).await,
        IssuersCommand::Status { name, target } => status(name.as_deref(), target, as_json).await,
    }
}

async fn refresh(
    name: &str,
    forget: bool,
    target: &ServerArgs,
    as_json: bool,
) -> Result<Conclusion, CommandError> {
    let client = AdminClient::new(target).await?;
    let query = if forget { "?forget=true" } else { "" };
    let path = format!("/trusted-issuers/{}/refresh-keys{query}", in_path(name));
    let answer = client.send(Method::POST, &path, None).await?;
    let keys = answer.ok_about("trusted issuer", name)?;
    if as_json {
        println!("{keys}");
        return Ok(Conclusion::Yes);
    }
    for (member, word) in [("keys", "key"), ("unusable", "unusable")] {
        let listed = keys.get(member).and_then(Value::as_array);
        for entry in listed.into_iter().flatten() {
            let text = entry
                .as_str()
                .map_or_else(|| entry.to_string(), str::to_owned);
            println!("{word} {}", visible(&text));
        }
    }
    Ok(Conclusion::Yes)
}

/// Prints the state of the keys. Exits with 1 if those of an enabled trusted issuer fail.
async fn status(
    name: Option<&str>,
    target: &ServerArgs,
    as_json: bool,
) -> Result<Conclusion, CommandError> {
    let client = AdminClient::new(target).await?;
    if client.is_local() {
        fetch_all(&client, name).await?;
    }
    let states = if let Some(name) = name {
        let path = format!("/trusted-issuers/{}/status", in_path(name));
        let answer = client.send(Method::GET, &path, None).await?;
        vec![answer.ok_about("trusted issuer", name)?]
    } else {
        client.all("/trusted-issuer-status?limit=500").await?
    };
    let fails = |state: &Value| {
        state.get("enabled") == Some(&Value::Bool(true))
            && text(state, "state") == KeyState::Failing.as_str()
    };
    let ok = !states.iter().any(fails);
    match (as_json, name, states.first()) {
        (true, Some(_), Some(state)) => println!("{state:#}"),
        (true, _, _) => println!("{:#}", Value::Array(states)),
        (false, _, None) => eprintln!("there are no trusted-issuers"),
        (false, _, Some(_)) => print(&states),
    }
    Ok(ok.into())
}

/// Fetches the keys in this process: without a running server there is no state to show. A failure
/// is part of the state.
async fn fetch_all(client: &AdminClient, name: Option<&str>) -> Result<(), CommandError> {
    let names: Vec<String> = if let Some(name) = name {
        vec![name.to_owned()]
    } else {
        let issuers = client.all("/trusted-issuers?limit=500").await?;
        let enabled = issuers
            .iter()
            .filter(|issuer| issuer.get("enabled") == Some(&Value::Bool(true)));
        enabled
            .map(|issuer| text(issuer, "name").to_owned())
            .collect()
    };
    for name in names {
        let path = format!("/trusted-issuers/{}/refresh-keys", in_path(&name));
        client.send(Method::POST, &path, None).await?;
    }
    Ok(())
}

fn print(states: &[Value]) {
    let row = |state: &Value| {
        let or_dash = |member: &str| match state.get(member) {
            None | Some(Value::Null) => "-".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        [
            "trusted_issuer",
            "state",
            "keys",
            "last_success_at",
            "failing_since",
            "next_fetch_at",
        ]
        .map(or_dash)
        .to_vec()
    };
    let rows: Vec<Vec<String>> = states.iter().map(row).collect();
    let headings = [
        "NAME",
        "STATE",
        "KEYS",
        "FETCHED",
        "FAILING SINCE",
        "NEXT FETCH",
    ];
    print!("{}", table(&headings, &rows));
    for state in states {
        let error = visible(text(state, "last_error"));
        if !error.is_empty() {
            println!("{}: {error}", text(state, "trusted_issuer"));
        }
    }
}

fn text<'a>(value: &'a Value, member: &str) -> &'a str {
    value
        .get(member)
        .and_then(Value::as_str)
        .unwrap_or_default()
}
