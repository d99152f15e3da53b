//! `carnet explain`: what would become of an assertion.
//!
//! With an admin token, or on the database, it asks the admin API; with `--server` alone it asks
//! the public endpoint `/explain`.

use std::path::PathBuf;

use axum::http::Method;
use carnet_exchange::web::{self, printable};
use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::admin_client::{AdminClient, below, remote, unreachable};
use super::{CommandError, Conclusion, ServerArgs, read_file};
use crate::grant::JWT;
use crate::grant_type::GrantType;

/// Options of `carnet explain`.
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// File with the assertion (a JWT); `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    assertion_file: PathBuf,
    /// Resource URI of the registry, or one of its aliases; without it, the only registry that the
    /// matching rules cover.
    #[arg(long, value_name = "URI")]
    resource: Option<String>,
    /// Name of the principal whose rules are meant; self-service rules count only if it is given.
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// Grant type of the token request.
    #[arg(long, value_enum, default_value_t = AssertionGrantArg::JwtBearer)]
    grant_type: AssertionGrantArg,
    /// Scope of the token request, actions separated by spaces; without it, all that the rules
    /// permit.
    #[arg(long)]
    scope: Option<String>,
    #[command(flatten)]
    target: ServerArgs,
}

/// The grant types that take an assertion of a platform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AssertionGrantArg {
    /// The JWT bearer grant (RFC 7523).
    JwtBearer,
    /// The token exchange grant (RFC 8693).
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

/// Prints the explanation. With an admin token, or on the database, it shows every rule that the
/// token reaches; with `--server` alone, only what the assertion itself proves.
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
        client
            .send(Method::POST, "/explanations", Some(&question))
            .await?
            .ok()?
    };
    if as_json {
        println!("{explanation}");
    } else {
        print(&explanation);
    }
    Ok((explanation.get("verdict").and_then(Value::as_str) == Some("allow")).into())
}

async fn ask_publicly(
    server: &str,
    args: &ExplainArgs,
    assertion: &str,
) -> Result<Value, CommandError> {
    let mut form = vec![("grant_type", args.grant_type.grant_type().name())];
    form.extend(match args.grant_type {
        AssertionGrantArg::JwtBearer => vec![("assertion", assertion)],
        AssertionGrantArg::TokenExchange => {
            vec![("subject_token", assertion), ("subject_token_type", JWT)]
        }
    });
    form.extend(
        args.resource
            .iter()
            .map(|resource| ("resource", resource.as_str())),
    );
    form.extend(
        args.principal
            .iter()
            .map(|principal| ("principal", principal.as_str())),
    );
    form.extend(args.scope.iter().map(|scope| ("scope", scope.as_str())));
    let (http, server) = remote(server)?;
    let request = http.post(below(&server, "/explain")).form(&form);
    let answer = web::send(&server, request)
        .await
        .map_err(|error| unreachable(&error))?;
    let body = answer.json();
    if answer.status.is_success() {
        return Ok(body);
    }
    // A refusal of this server has a JSON body. Anything else comes from another server or a proxy.
    let said = if body.is_null() {
        "nothing that this command understands".to_owned()
    } else {
        body.to_string()
    };
    Err(CommandError::Other(format!(
        "the server answered {}: {}",
        answer.status,
        printable(&said)
    )))
}

/// Prints an explanation as text: the verdict, then for each condition what was expected and
/// received.
pub fn print(explanation: &Value) {
    let text = |value: &Value, name: &str| {
        value
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let list = |value: &Value, name: &str| {
        value
            .get(name)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    if let Some(granted) = explanation.get("granted") {
        println!(
            "allow: {} at {} for {}",
            text(granted, "scope"),
            text(granted, "resource"),
            text(granted, "sub")
        );
    } else {
        println!(
            "deny: {} - {}",
            text(explanation, "reason"),
            text(explanation, "error_description")
        );
        if explanation.get("caller_reason").is_some() {
            println!(
                "  the caller is told: {}",
                text(explanation, "caller_reason")
            );
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
        list(&candidate, "conditions")
            .iter()
            .for_each(print_condition);
    }
}

/// Prints one line for a condition that is met. Otherwise adds the received value, the reason and,
/// if there is one, a hint.
fn print_condition(condition: &Value) {
    let value = |name: &str| condition.get(name).cloned().unwrap_or_default();
    let text = |name: &str| {
        condition
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    if condition.get("met") == Some(&Value::Bool(true)) {
        println!("  ok  {}: {}", text("field"), value("expected"));
        return;
    }
    let (expected, received) = (value("expected"), value("received"));
    println!(
        "  NO  {}: expected {expected}, received {received} ({})",
        text("field"),
        text("reason")
    );
    if condition.get("hint").is_some() {
        println!("      {}", text("hint"));
    }
}
