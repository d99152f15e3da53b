//! `carnet explain`

use std::path::PathBuf;

use axum::http::Method;
use carnet_exchange::web::{self, printable};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::admin_client::{AdminClient, below, remote, unreachable};
use super::{CommandError, Conclusion, ServerArgs, read_file};
use crate::grant::JWT;
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
    /// The grant that would present it.
    #[arg(long, value_enum, default_value_t = AssertionGrantArg::JwtBearer)]
    grant_type: AssertionGrantArg,
    /// The scope that would be asked for.
    #[arg(long)]
    scope: Option<String>,
    #[command(flatten)]
    target: ServerArgs,
}

/// A grant that presents assertions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AssertionGrantArg {
    JwtBearer,
    TokenExchange,
}

impl AssertionGrantArg {
    fn grant_type(self) -> GrantType {
        match self {
            Self::JwtBearer => GrantType::JwtBearer,
            Self::TokenExchange => GrantType::TokenExchange,
        }
    }
}

/// Asks why. With a token, or without a server, everything is disclosed; else what the assertion itself proves.
pub async fn run(args: &ExplainArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let assertion = read_file(&args.assertion_file)?.trim().to_owned();
    let explanation = if let (Some(server), None) = (&args.target.server, &args.target.token) {
        ask_publicly(server, args, &assertion).await?
    } else {
        let client = AdminClient::new(&args.target).await?;
        let question = json!({
            "grant_type": args.grant_type.grant_type().short_name(), "assertion": assertion,
            "resource": args.resource, "principal": args.principal, "scope": args.scope,
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
    let mut form = vec![("grant_type", args.grant_type.grant_type().name())];
    form.extend(match args.grant_type {
        AssertionGrantArg::JwtBearer => vec![("assertion", assertion)],
        AssertionGrantArg::TokenExchange => vec![("subject_token", assertion), ("subject_token_type", JWT)],
    });
    form.extend(args.resource.iter().map(|resource| ("resource", resource.as_str())));
    form.extend(args.principal.iter().map(|principal| ("principal", principal.as_str())));
    form.extend(args.scope.iter().map(|scope| ("scope", scope.as_str())));
    let (http, server) = remote(server)?;
    let request = http.post(below(&server, "/explain")).form(&form);
    let answer = web::send(&server, request).await.map_err(|error| unreachable(&error))?;
    let body = answer.json();
    if answer.status.is_success() {
        return Ok(body);
    }
    // A refusal has words; anything else is not this server's.
    let said = if body.is_null() { "nothing that this command understands".to_owned() } else { body.to_string() };
    Err(CommandError::Other(format!("the server answered {}: {}", answer.status, printable(&said))))
}

/// Prints an explanation for people: what holds, what does not, side by side.
pub fn print(explanation: &Value) {
    let text = |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    if let Some(granted) = explanation.get("granted") {
        println!("allow: {} at {} for {}", text(granted, "scope"), text(granted, "resource"), text(granted, "sub"));
    } else {
        println!("deny: {} - {}", text(explanation, "reason"), text(explanation, "error_description"));
        if explanation.get("caller_reason").is_some() {
            println!("  the caller is told: {}", text(explanation, "caller_reason"));
        }
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
    list(explanation, "checks").iter().for_each(print_condition);
    for candidate in list(explanation, "candidates") {
        let matches = candidate.get("matches") == Some(&Value::Bool(true));
        println!(
            "{} {} ({}) of {}",
            if matches { "matches" } else { "differs" },
            text(&candidate, "name"),
            text(&candidate, "credential"),
            text(&candidate, "principal"),
        );
        list(&candidate, "conditions").iter().for_each(print_condition);
    }
}

/// One line for what holds, more for what does not.
fn print_condition(condition: &Value) {
    let value = |name: &str| condition.get(name).cloned().unwrap_or_default();
    let text = |name: &str| condition.get(name).and_then(Value::as_str).unwrap_or_default();
    if condition.get("met") == Some(&Value::Bool(true)) {
        println!("  ok  {}: {}", text("field"), value("expected"));
        return;
    }
    let (expected, received) = (value("expected"), value("received"));
    println!("  NO  {}: expected {expected}, received {received} ({})", text("field"), text("reason"));
    if condition.get("hint").is_some() {
        println!("      {}", text("hint"));
    }
}
