//! `carnet explain`

use std::path::PathBuf;

use axum::http::Method;
use clap::Args;
use serde_json::{Value, json};

use super::admin_client::{AdminClient, client, unreachable};
use super::{Answer, CommandError, Target, read_file};
use crate::grant_type::GrantType;

/// `carnet explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// The file with the assertion; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    assertion_file: PathBuf,
    /// The registry's resource URI.
    #[arg(long, value_name = "URI")]
    resource: Option<String>,
    /// The principal whose rules are meant.
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// The scope that would be asked for.
    #[arg(long)]
    scope: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// Asks why. With a token, or without a server, everything is disclosed; else what the assertion itself proves.
pub async fn run(args: &ExplainArgs, as_json: bool) -> Result<Answer, CommandError> {
    let assertion = read_file(&args.assertion_file)?.trim().to_owned();
    let explanation = if let (Some(server), None) = (&args.target.server, &args.target.token) {
        ask_publicly(server, args, &assertion).await?
    } else {
        let client = AdminClient::new(&args.target).await?;
        let question = json!({
            "assertion": assertion, "resource": args.resource, "principal": args.principal, "scope": args.scope,
        });
        client.send(Method::POST, "/explanations", Some(&question)).await?.ok()?
    };
    if as_json {
        println!("{explanation}");
    } else {
        print(&explanation);
    }
    Ok((explanation.get("verdict").and_then(Value::as_str) == Some("allow")).into())
}

async fn ask_publicly(server: &str, args: &ExplainArgs, assertion: &str) -> Result<Value, CommandError> {
    let mut form = vec![("grant_type", GrantType::JwtBearer.name()), ("assertion", assertion)];
    form.extend(args.resource.iter().map(|resource| ("resource", resource.as_str())));
    form.extend(args.principal.iter().map(|principal| ("principal", principal.as_str())));
    form.extend(args.scope.iter().map(|scope| ("scope", scope.as_str())));
    let url = format!("{}/explain", server.trim_end_matches('/'));
    let response = client()?.post(url).form(&form).send().await.map_err(|error| unreachable(&error))?;
    let status = response.status();
    let body: Value = response.json().await.map_err(|error| unreachable(&error))?;
    if status.is_success() {
        Ok(body)
    } else {
        Err(CommandError::Other(format!("the server answered {status}: {body}")))
    }
}

/// Prints an explanation for people: what holds, what does not, side by side.
pub fn print(explanation: &Value) {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    if let Some(granted) = explanation.get("granted") {
        println!("allow: {} at {} for {}", text(granted, "scope"), text(granted, "resource"), text(granted, "sub"));
    } else {
        println!("deny: {} - {}", text(explanation, "reason"), text(explanation, "error_description"));
        for name in ["claim", "parameter"] {
            if explanation.get(name).is_some() {
                println!("  {name}: {}", text(explanation, name));
            }
        }
        for audience in list(explanation, "accepted_audiences") {
            println!("  accepted audience: {audience}");
        }
        println!("  {}", text(explanation, "error_uri"));
    }
    for candidate in list(explanation, "candidates") {
        let matches = candidate.get("matches") == Some(&Value::Bool(true));
        println!(
            "{} {} ({}) of {}",
            if matches { "matches" } else { "differs" },
            text(&candidate, "name"),
            text(&candidate, "credential"),
            text(&candidate, "principal"),
        );
        for condition in list(&candidate, "conditions") {
            let value = |name: &str| condition.get(name).cloned().unwrap_or_default();
            if condition.get("met") == Some(&Value::Bool(true)) {
                println!("  ok  {}: {}", text(&condition, "field"), value("expected"));
            } else {
                let (expected, received) = (value("expected"), value("received"));
                println!(
                    "  NO  {}: expected {expected}, received {received} ({})",
                    text(&condition, "field"),
                    text(&condition, "reason")
                );
                if condition.get("hint").is_some() {
                    println!("      {}", text(&condition, "hint"));
                }
            }
        }
    }
}
