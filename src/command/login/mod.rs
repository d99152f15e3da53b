//! `carnet login`: signs a person in with the browser (RFC 8252), by the authorization code grant
//! with PKCE and a redirect to this machine.

mod authorization;
mod browser;
mod code;
mod loopback;

use std::time::Duration;

use carnet_exchange::web::visible;
use carnet_exchange::{Environment, ExchangeError, Metadata, ServerUrl, Tries};
use clap::Args;
use serde_json::{Map, Value};

use self::authorization::Authorization;
use self::code::Redemption;
use self::loopback::{Denied, Loopback};
use super::sign_ins::{SignIn, SignIns};
use super::{CommandError, Conclusion};

/// The client of the command line that every server knows.
pub const CLIENT_ID: &str = "carnet-cli";

/// Options of `carnet login`.
#[derive(Debug, Args)]
pub struct LoginArgs {
    /// Issuer identifier of the server, exactly as its metadata names it; https, or http on a
    /// loopback address.
    #[arg(long, value_name = "URL")]
    server: ServerUrl,
    /// Scope of the access token, separated by spaces; without it, all that the roles of the person
    /// give.
    #[arg(long)]
    scope: Option<String>,
    /// Resource URI of a registry: its access token is printed alone, and nothing is stored.
    #[arg(long, value_name = "URI", value_parser = carnet_exchange::resource)]
    resource: Option<String>,
    /// Name of the principal that the access token is for, if the person may act for several.
    #[arg(long, value_name = "NAME")]
    principal: Option<String>,
    /// Print the URL of the sign-in without opening a browser.
    #[arg(long)]
    no_browser: bool,
    /// How long to wait for the sign-in.
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=3600))]
    timeout: u64,
}

pub async fn run(args: &LoginArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    if args.resource.is_none() {
        // A file that cannot be used is told before somebody signs in.
        SignIns::read()?;
    }
    let metadata = Metadata::read(&args.server, Tries::LOOKUP).await;
    let metadata = metadata.map_err(ExchangeError::from)?;
    let authorization = Authorization::new(args);
    let code = obtain_code(args, &metadata, &authorization).await?;
    let redemption = Redemption {
        server: &args.server,
        metadata: &metadata,
        authorization: &authorization,
    };
    if args.resource.is_some() {
        let answer = redemption.token(&code).await;
        print_token(&answer.map_err(|error| args.with_hint(error))?, as_json);
    } else {
        let sign_in = redemption.sign_in(&code).await;
        let sign_in = sign_in.map_err(|error| args.with_hint(error))?;
        keep(args, &sign_in, as_json)?;
    }
    Ok(Conclusion::Yes)
}

/// A code of the server, with the URL that it was sent to.
#[derive(Debug)]
struct Code {
    text: String,
    redirect_uri: String,
}

/// Has the person sign in, and waits for the browser to come back.
async fn obtain_code(
    args: &LoginArgs,
    metadata: &Metadata,
    authorization: &Authorization<'_>,
) -> Result<Code, CommandError> {
    if !metadata.has("authorization_endpoint") {
        return Err(CommandError::Other(format!(
            "nobody can sign in at {}: the server has no identity provider",
            args.server.issuer()
        )));
    }
    let endpoint = metadata.endpoint("authorization_endpoint");
    let endpoint = endpoint.map_err(ExchangeError::from)?;
    let loopback = Loopback::listen(&authorization.secrets.state, args.server.issuer()).await?;
    let redirect_uri = loopback.redirect_uri().to_owned();
    let url = authorization.url(endpoint, &redirect_uri);
    eprintln!("Sign in with a browser on this machine:\n\n  {url}\n");
    if !args.no_browser {
        browser::open(&url, &Environment::of_this_process());
    }
    let answer = loopback.answer(Duration::from_secs(args.timeout)).await;
    let answer = answer.ok_or_else(|| {
        CommandError::Unreachable(format!("nobody signed in within {} s", args.timeout))
    })?;
    match answer {
        Ok(text) => Ok(Code { text, redirect_uri }),
        Err(denied) => Err(args.denied(&denied)),
    }
}

impl LoginArgs {
    fn denied(&self, denied: &Denied) -> CommandError {
        let Denied::Refused { error, .. } = denied else {
            return CommandError::Other(denied.to_string());
        };
        // RFC 6749 section 4.1.2.1: the same request may succeed later.
        if matches!(error.as_str(), "server_error" | "temporarily_unavailable") {
            return CommandError::Unreachable(denied.to_string());
        }
        let hint = self.hint(error);
        let lines = [denied.to_string()].into_iter().chain(hint);
        CommandError::Other(lines.collect::<Vec<_>>().join("\n"))
    }

    /// Adds what may help to a refusal of the token endpoint.
    fn with_hint(&self, error: CommandError) -> CommandError {
        let code = match &error {
            CommandError::Exchange(error) => error.answer().and_then(|answer| answer.get("error")),
            _ => None,
        };
        match code
            .and_then(Value::as_str)
            .and_then(|code| self.hint(code))
        {
            Some(hint) => CommandError::Other(format!("{error}\n{hint}")),
            None => error,
        }
    }

    fn hint(&self, error: &str) -> Option<String> {
        if self.resource.is_some() || !matches!(error, "access_denied" | "invalid_scope") {
            return None;
        }
        let others = "an owner of packages may try --scope admin:credentials:<principal>, a viewer --scope admin:read:<principal>";
        Some(match &self.scope {
            Some(_) => format!(
                "  without --scope the token is good for all that the roles of the person give; {others}"
            ),
            None => format!("  {others}"),
        })
    }
}

/// Stores a sign-in, and says whose it is.
fn keep(args: &LoginArgs, sign_in: &SignIn, as_json: bool) -> Result<(), CommandError> {
    let issuer = args.server.issuer();
    SignIns::change(|sign_ins| sign_ins.put(issuer, sign_in.clone()))?;
    eprintln!(
        "signed in at {issuer} as {}\nscope: {}\nuntil: {}",
        sign_in.person,
        visible(&sign_in.scope),
        sign_in.expires_at
    );
    if as_json {
        println!("{:#}", sign_in.shown(issuer));
    }
    Ok(())
}

fn print_token(answer: &Map<String, Value>, as_json: bool) {
    if as_json {
        println!("{}", Value::Object(answer.clone()));
    } else {
        let token = answer.get("access_token").and_then(Value::as_str);
        println!("{}", token.unwrap_or_default());
    }
}
