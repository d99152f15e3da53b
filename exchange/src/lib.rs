//! `carnet exchange` and `carnet-exchange`: the client for CI jobs. It obtains the token that the
//! platform issues to the job, has the server exchange it, and prints the access token alone.

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

/// Options of `carnet exchange` and `carnet-exchange`.
#[derive(Debug, Args)]
pub struct ExchangeArgs {
    /// Issuer identifier of the server, exactly as its metadata names it; https, or http on a
    /// loopback address.
    #[arg(long, value_name = "URL")]
    server: ServerUrl,
    /// Resource URI of the registry, or one of its aliases.
    #[arg(long, value_name = "URI", value_parser = resource)]
    resource: String,
    /// Scope of the access token, actions separated by spaces; without it, all that the rules
    /// permit.
    #[arg(long)]
    scope: Option<String>,
    /// Name of the principal whose rules are meant; self-service rules count only if it is given.
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// Packages, actions and versions to limit the access token to, as a JSON array (RFC 9396).
    #[arg(long, value_name = "JSON", value_parser = details)]
    authorization_details: Option<String>,
    /// Audience to request from the platform, which its token has to have; the server's issuer
    /// identifier unless given.
    #[arg(long)]
    audience: Option<String>,
    /// Grant type of the token request.
    #[arg(long, value_enum, default_value_t = AssertionGrant::JwtBearer)]
    grant: AssertionGrant,
    #[command(flatten)]
    place: TokenLocation,
    /// File of the projected service-account token in a Kubernetes pod.
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE)]
    kubernetes_token_file: PathBuf,
}

/// The options that say where the platform's token is; at most one can be given.
#[derive(Debug, Args)]
#[group(multiple = false)]
struct TokenLocation {
    /// Platform that the token comes from; detected unless given.
    #[arg(long, value_enum, value_name = "NAME")]
    source: Option<Source>,
    /// File with the platform's token; `-` reads standard input.
    #[arg(long, value_name = "FILE")]
    assertion_file: Option<PathBuf>,
    /// Environment variable with the platform's token.
    #[arg(long, value_name = "VARIABLE")]
    assertion_env: Option<String>,
}

/// The grant types that take a platform's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum AssertionGrant {
    /// The JWT bearer grant (RFC 7523).
    JwtBearer,
    /// The token exchange grant (RFC 8693).
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
    if url.fragment().is_some() {
        Err("it has a fragment".to_owned())
    } else {
        Ok(text.to_owned())
    }
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

/// Treats an empty option as left out: CI templates pass on variables that may be empty.
fn given(value: Option<&String>) -> Option<&str> {
    value.map(String::as_str).filter(|value| !value.is_empty())
}

/// Why there is no access token, in lines of text for the log of the job.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ExchangeError(String);

/// Obtains an access token and prints it to standard output.
pub async fn run(args: &ExchangeArgs, as_json: bool) -> Result<(), ExchangeError> {
    let environment = Environment::of_this_process();
    let failed = |error: &dyn std::error::Error| ExchangeError(error.to_string());
    // The metadata is read first, so that the platform is not asked for a token if the server
    // cannot be reached.
    let server = Server::discover(&args.server)
        .await
        .map_err(|error| failed(&error))?;
    let issuer = args.server.issuer();
    let audience = given(args.audience.as_ref());
    let accepted = audience.map_or_else(
        || vec![issuer, server.token_endpoint()],
        |audience| vec![audience],
    );
    let seeking = Seeking {
        environment: &environment,
        audience: audience.unwrap_or(issuer),
        accepted: &accepted,
        kubernetes_token_file: &args.kubernetes_token_file,
    };
    let assertion = ambient::obtain(args.place.choice(), &seeking)
        .await
        .map_err(|error| failed(&error))?;
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
    let token = answer
        .get("access_token")
        .and_then(Value::as_str)
        .unwrap_or_default();
    // Printed before the token, so that the runner masks it from its first occurrence. Runners read
    // commands from both streams, and standard output has to hold the token alone.
    if environment.is_true("GITHUB_ACTIONS") {
        eprintln!("::add-mask::{token}");
    }
    if as_json {
        println!("{}", Value::Object(answer.clone()));
    } else {
        println!("{token}");
    }
}
