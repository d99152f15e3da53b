//! `carnet tokens`: inspects and ends issued tokens. No command prints a token.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use axum::http::Method;
use carnet_exchange::web::visible;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::admin_client::AdminClient;
use super::{CommandError, Conclusion, ServerArgs, read_file};
use crate::clock::Timestamp;

/// Arguments of `carnet tokens`.
#[derive(Debug, Args)]
pub struct TokensArgs {
    #[command(subcommand)]
    command: TokensCommand,
}

#[derive(Debug, Subcommand)]
enum TokensCommand {
    /// Show what a token allows and whether it is in force; exits with 1 if it is not.
    #[command(after_help = "Example:\n  carnet tokens inspect --token-file leaked.txt")]
    Inspect(InspectArgs),
    /// End a token, or all tokens of a federated credential or a principal.
    ///
    /// Tokens that were exchanged from an ended token end with it. A registry that verifies tokens
    /// by itself may accept an ended token until it expires; the command prints until when.
    #[command(after_help = "Example:\n  carnet tokens revoke --credential octo-org:release")]
    Revoke(RevokeArgs),
}

#[derive(Debug, Args)]
struct InspectArgs {
    /// File with the token; `-` reads standard input, which is the default if it is not a terminal.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The token itself; other users of this machine can see the arguments of a command.
    #[arg(long, value_name = "TOKEN", conflicts_with = "token_file")]
    access_token: Option<String>,
    #[command(flatten)]
    target: ServerArgs,
}

#[derive(Debug, Args)]
struct RevokeArgs {
    #[command(flatten)]
    named: NamedTokens,
    #[command(flatten)]
    target: ServerArgs,
}

/// The tokens to end.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct NamedTokens {
    /// File with the token; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// The `jti` of the token, which audit events hold as `token_id`.
    #[arg(long, value_name = "JTI")]
    token_id: Option<String>,
    /// The federated credential whose tokens end: its id, `principal:name`, or its name.
    #[arg(long, value_name = "NAME")]
    credential: Option<String>,
    /// The principal whose tokens end, by name or id.
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
}

pub async fn run(args: &TokensArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    match &args.command {
        TokensCommand::Inspect(args) => inspect(args, as_json).await,
        TokensCommand::Revoke(args) => revoke(args, as_json).await,
    }
}

fn read_token(file: &Path) -> Result<String, CommandError> {
    let token = read_file(file)?.trim().to_owned();
    if token.is_empty() {
        return Err(CommandError::Other(format!(
            "{}: there is no token in it",
            file.display()
        )));
    }
    Ok(token)
}

async fn inspect(args: &InspectArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let token = match (&args.access_token, &args.token_file) {
        (Some(token), _) => token.trim().to_owned(),
        (None, Some(file)) => read_token(file)?,
        (None, None) if std::io::stdin().is_terminal() => {
            return Err(CommandError::Usage(
                "give --token-file FILE, or the token on standard input".to_owned(),
            ));
        }
        (None, None) => read_token(Path::new("-"))?,
    };
    let client = AdminClient::new(&args.target).await?;
    let body = json!({ "token": token });
    let answer = client
        .send(Method::POST, "/tokens/inspect", Some(&body))
        .await?;
    let inspected = answer.ok()?;
    if as_json {
        println!("{inspected:#}");
    } else {
        print_inspected(&inspected);
    }
    Ok((inspected.get("active") == Some(&Value::Bool(true))).into())
}

fn print_inspected(inspected: &Value) {
    let claim = |name: &str| inspected.get("claims").and_then(|claims| claims.get(name));
    let verdict = match inspected.get("ended").and_then(Value::as_str) {
        None => "in force",
        Some("unknown") => "not a token of this server, or its signing key was withdrawn",
        Some("expired") => "not in force: it has expired",
        Some("revoked") => "not in force: it was revoked",
        Some(_) => {
            "not in force: its client, its registry or every rule that it rests on was removed, disabled or changed"
        }
    };
    println!("{verdict}");
    let time = |value: &Value| {
        value
            .as_i64()
            .map(|at| Timestamp::from_seconds(at).to_string())
    };
    let lines = [
        ("token_id", claim("jti").map(plain)),
        ("resource", claim("aud").map(plain)),
        ("subject", claim("sub").map(plain)),
        (
            "principal",
            claim("principal").and_then(|of| of.get("name")).map(plain),
        ),
        ("client", claim("client_id").map(plain)),
        (
            "workload",
            claim("workload").and_then(|of| of.get("sub")).map(plain),
        ),
        ("issued", claim("iat").and_then(time)),
        ("expires", claim("exp").and_then(time)),
        ("scope", claim("scope").map(plain)),
    ];
    for (name, value) in lines {
        if let Some(value) = value {
            println!("{name:<10} {value}");
        }
    }
    let entries = claim("authorization_details").and_then(Value::as_array);
    for entry in entries.into_iter().flatten() {
        let member = |name: &str| entry.get(name).map(plain).unwrap_or_default();
        println!(
            "{:<10} {} of {} owned by {}, by {} revision {}",
            "entry",
            member("actions"),
            member("packages"),
            member("owner"),
            member("credential"),
            member("revision")
        );
    }
    match inspected.get("entries_ended").and_then(Value::as_u64) {
        None | Some(0) => {}
        Some(ended) => println!("{ended} more entries are no longer valid"),
    }
}

/// A value as people read it: texts without quotes, lists with commas, nothing that moves the
/// cursor.
fn plain(value: &Value) -> String {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    };
    visible(&text)
}

async fn revoke(args: &RevokeArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let named = &args.named;
    let token = named.token_file.as_deref().map(read_token).transpose()?;
    let given = [
        ("token", &token),
        ("token_id", &named.token_id),
        ("credential", &named.credential),
        ("principal", &named.principal),
    ];
    let body: Value = given
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.clone()?)))
        .collect();
    let client = AdminClient::new(&args.target).await?;
    let answer = client
        .send(Method::POST, "/tokens/revoke", Some(&body))
        .await?;
    let (noun, name) = match (&named.token_id, &named.credential, &named.principal) {
        (Some(id), _, _) => ("token", id.as_str()),
        (_, Some(name), _) => ("federated credential", name.as_str()),
        (_, _, Some(name)) => ("principal", name.as_str()),
        _ => ("token", "of the file"),
    };
    let revoked = answer.ok_about(noun, name)?;
    if as_json {
        println!("{revoked:#}");
    } else {
        print_revoked(&revoked);
    }
    Ok(Conclusion::Yes)
}

fn print_revoked(revoked: &Value) {
    let list = |name: &str| {
        let items = revoked.get(name).and_then(Value::as_array);
        items.into_iter().flatten()
    };
    let text = |value: &Value, name: &str| value.get(name).map(plain).unwrap_or_default();
    match (revoked.get("token_id"), revoked.get("had_ended")) {
        (Some(Value::String(id)), Some(Value::Bool(true))) => {
            println!("token {id} had ended before");
        }
        (Some(Value::String(id)), _) => {
            println!("ended token {id} and the tokens exchanged from it");
        }
        _ => {
            println!(
                "ended the tokens of {} federated credentials and {} clients",
                text(revoked, "federated_credentials_total"),
                list("clients").count()
            );
        }
    }
    for rule in list("federated_credentials") {
        println!(
            "  federated credential {}:{}, revision {} from now on",
            text(rule, "principal"),
            text(rule, "name"),
            text(rule, "revision")
        );
    }
    for client in list("clients") {
        println!("  client {}", plain(client));
    }
    for registry in list("accepted_until") {
        let name = registry
            .get("resource_server")
            .filter(|name| !name.is_null());
        println!(
            "{} ({}) may accept them until {} if it verifies tokens by itself",
            name.map_or_else(|| "a former resource server".to_owned(), plain),
            text(registry, "resource"),
            text(registry, "until")
        );
    }
    for sentence in list("not_ended") {
        println!("not ended: {}", plain(sentence));
    }
}
