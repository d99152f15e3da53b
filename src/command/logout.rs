//! `carnet logout`: ends a sign-in at the server (RFC 7009) and forgets it.

use axum::http::StatusCode;
use carnet_exchange::web;
use clap::Args;
use serde_json::json;

use super::admin_client::{below, remote, unreachable};
use super::login::CLIENT_ID;
use super::sign_ins::{SignIn, SignIns};
use super::{CommandError, Conclusion};

/// Options of `carnet logout`.
#[derive(Debug, Args)]
pub struct LogoutArgs {
    /// Issuer identifier of the server; needed if there are sign-ins at several.
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// End all sign-ins.
    #[arg(long, conflicts_with = "server")]
    all: bool,
}

pub async fn run(args: &LogoutArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let sign_ins = SignIns::read()?;
    let meant: Vec<(&str, &SignIn)> = if args.all {
        sign_ins.iter().collect()
    } else {
        sign_ins
            .meant(args.server.as_deref())?
            .into_iter()
            .collect()
    };
    if meant.is_empty() {
        eprintln!("carnet: nobody is signed in");
        return Ok(args.all.into());
    }
    let mut failed = Vec::new();
    let mut ended = Vec::new();
    for (issuer, sign_in) in meant {
        let revoked = revoke(issuer, sign_in).await;
        // It is forgotten even if the server did not end it.
        SignIns::change(|sign_ins| sign_ins.remove(issuer, sign_in))?;
        ended.push(json!({ "issuer": issuer, "revoked": revoked.is_ok() }));
        match revoked {
            Ok(()) => eprintln!("signed out at {issuer}: {}", sign_in.person),
            Err(error) => {
                eprintln!(
                    "carnet: {error}\n{issuer}: the sign-in is removed from this machine; the server may take its token until {}",
                    sign_in.expires_at
                );
                failed.push(error);
            }
        }
    }
    if as_json {
        println!("{:#}", json!(ended));
    }
    let is_away = |error: &CommandError| matches!(error, CommandError::Unreachable(_));
    if failed.iter().any(is_away) {
        let why = "not every token was ended at its server";
        return Err(CommandError::Unreachable(why.to_owned()));
    }
    Ok(failed.is_empty().into())
}

/// Ends the token at the server.
async fn revoke(issuer: &str, sign_in: &SignIn) -> Result<(), CommandError> {
    let (http, server) = remote(issuer)?;
    let form = [
        ("token", sign_in.access_token.as_str()),
        ("client_id", CLIENT_ID),
    ];
    let post = http.post(below(&server, "/revoke")).form(&form);
    let answer = web::send(&server, post).await;
    let answer = answer.map_err(|error| unreachable(&error))?;
    let why = format!(
        "the server did not end the token: it answered {}",
        answer.status
    );
    match answer.status {
        StatusCode::OK => Ok(()),
        status if status.is_server_error() => Err(CommandError::Unreachable(why)),
        _ => Err(CommandError::Other(why)),
    }
}
