//! `carnet exchange` and `carnet-exchange`: the client for CI jobs. It finds the token that the platform gives the job, has the server exchange it, and
//! prints the access token alone.

mod ambient;
mod environment;
mod refusal;
mod server;
pub mod web;

use std::path::PathBuf;

use carnet_engine::grant_type::GrantType;
use clap::{Args, ValueEnum};
use serde_json::Value;
use url::Url;

use self::ambient::{Choice, DEFAULT_FILE, Seeking, Source};
use self::server::{Server, ServerError, ServerUrl, TokenRequest};

pub use environment::Environment;

/// `carnet exchange`
#[derive(Debug, Args)]
pub struct ExchangeArgs {
    /// The server's issuer identifier, exactly.
    #[arg(long, value_name = "URL")]
    server: ServerUrl,
    /// The registry's resource URI.
    #[arg(long, value_name = "URI", value_parser = resource)]
    resource: String,
    /// What the token is to be good for; without it, all that the rules permit.
    #[arg(long)]
    scope: Option<String>,
    /// The principal whose rules are meant. Self-service rules count for no other request.
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// Packages, actions and versions that the token is to be good for, as a JSON array (RFC 9396).
    #[arg(long, value_name = "JSON", value_parser = details)]
    authorization_details: Option<String>,
    /// The audience that the platform is asked for; the server's issuer identifier unless given.
    #[arg(long)]
    audience: Option<String>,
    /// How the token is presented.
    #[arg(long, value_enum, default_value_t = AssertionGrant::JwtBearer)]
    grant: AssertionGrant,
    #[command(flatten)]
    place: TokenLocation,
    /// Where a pod has its projected token.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
    kubernetes_token_file: PathBuf,
}

/// Where the platform's token is; it is found out unless one is given.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct TokenLocation {
    /// Where the platform's token comes from; found out unless given.
    #[arg(long, value_enum, value_name = "NAME")]
    source: Option<Source>,
    /// A file with the platform's token; `-` is standard input.
    #[arg(long, value_name = "FILE")]
    assertion_file: Option<PathBuf>,
    /// An environment variable with the platform's token.
    #[arg(long, value_name = "VARIABLE")]
    assertion_env: Option<String>,
}

/// The grants that take a platform's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AssertionGrant {
    /// RFC 7523.
    JwtBearer,
    /// RFC 8693.
    TokenExchange,
}

impl From<AssertionGrant> for GrantType {
    fn from(grant: AssertionGrant) -> Self {
        match grant {
            AssertionGrant::JwtBearer => Self::JwtBearer,
            AssertionGrant::TokenExchange => Self::TokenExchange,
        }
    }
}

fn resource(text: &str) -> Result<String, String> {
    let url = Url::parse(text).map_err(|error| format!("it is not an absolute URI: {error}"))?;
    if url.fragment().is_some() { Err("it has a fragment".to_owned()) } else { Ok(text.to_owned()) }
}

fn details(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Ok(String::new());
    }
    match serde_json::from_str(text) {
        Ok(Value::Array(_)) => Ok(text.to_owned()),
        Ok(_) => Err("it is not a JSON array".to_owned()),
        Err(error) => Err(format!("it is not JSON: {error}")),
    }
}

/// A template hands on what it was given, which may be nothing.
fn given(value: Option<&String>) -> Option<&str> {
    value.map(String::as_str).filter(|value| !value.is_empty())
}

/// Why there is no token, in lines for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExchangeError(String);

/// Gets a token and prints it.
pub async fn run(args: &ExchangeArgs, as_json: bool) -> Result<(), ExchangeError> {
    let environment = Environment::of_this_process();
    let failed = |error: &dyn std::error::Error| ExchangeError(error.to_string());
    // The server comes first: nothing is asked of the platform for a server that is not there.
    let server = Server::discover(&args.server).await.map_err(|error| failed(&error))?;
    let issuer = args.server.issuer();
    let audience = given(args.audience.as_ref());
    let accepted = audience.map_or_else(|| vec![issuer, server.token_endpoint()], |audience| vec![audience]);
    let seeking = Seeking {
        environment: &environment,
        audience: audience.unwrap_or(issuer),
        accepted: &accepted,
        kubernetes_token_file: &args.kubernetes_token_file,
    };
    let assertion = ambient::obtain(args.place.choice(), &seeking).await.map_err(|error| failed(&error))?;
    let request = TokenRequest {
        grant: args.grant.into(),
        resource: &args.resource,
        scope: given(args.scope.as_ref()),
        principal: given(args.principal.as_ref()),
        authorization_details: given(args.authorization_details.as_ref()),
    };
    match server.exchange(&request, &assertion).await {
        Ok(answer) => {
            print(&answer, &environment, as_json);
            Ok(())
        }
        Err(error) => {
            if let (ServerError::Refused(body), true) = (&error, as_json) {
                println!("{body}");
            }
            Err(failed(&error))
        }
    }
}

impl TokenLocation {
    fn choice(&self) -> Choice<'_> {
        match (&self.assertion_file, &self.assertion_env, self.source) {
            (Some(path), _, _) => Choice::File(path),
            (_, Some(name), _) => Choice::Variable(name),
            (_, _, Some(source)) => Choice::Source(source),
            (None, None, None) => Choice::Ambient,
        }
    }
}

fn print(answer: &serde_json::Map<String, Value>, environment: &Environment, as_json: bool) {
    let token = answer.get("access_token").and_then(Value::as_str).unwrap_or_default();
    // The runner reads commands from both streams, so standard output stays the token alone. First, so that the runner knows what
    // to hide before it is shown.
    if environment.is_true("GITHUB_ACTIONS") {
        eprintln!("::add-mask::{token}");
    }
    if as_json {
        println!("{}", Value::Object(answer.clone()));
    } else {
        println!("{token}");
    }
}
