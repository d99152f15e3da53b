//! `carnet admin-token`

use std::sync::Arc;

use chrono::{DateTime, Utc};
use clap::Args;
use oxide_auth::primitives::grant::{Extensions, Grant};
use oxide_auth_async::primitives::Issuer as _;
use serde_json::json;

use super::admin_client::note_new_database;
use super::{Answer, CommandError, ConfigFile};
use crate::app::App;
use crate::clock::SystemClock;
use crate::own_tokens::LOCAL_CLIENT;
use crate::scope::{ScopeSet, is_admin_scope};
use crate::upstream::HttpFetch;

/// `carnet admin-token`
#[derive(Debug, Args)]
pub struct AdminTokenArgs {
    #[arg(
        long,
        default_value = "admin",
        help = "What it is good for: admin, admin:read, admin:credentials or admin:credentials:<principal>"
    )]
    scope: String,
    /// How long it lives, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 900, value_parser = clap::value_parser!(i64).range(1..=86_400))]
    ttl: i64,
    #[command(flatten)]
    config: ConfigFile,
}

/// Prints a token.
pub async fn run(args: &AdminTokenArgs, as_json: bool) -> Result<Answer, CommandError> {
    let config = args.config.load()?;
    note_new_database(&config);
    let (app, _background) = App::start(config, Arc::new(SystemClock), Arc::new(HttpFetch::default())).await?;
    let token = issue(&app, LOCAL_CLIENT, &args.scope, args.ttl).await?;
    if as_json {
        println!(
            "{}",
            json!({ "access_token": token, "token_type": "Bearer", "expires_in": args.ttl, "scope": args.scope })
        );
    } else {
        println!("{token}");
    }
    Ok(Answer::Yes)
}

/// Issues a token for the admin API.
pub async fn issue(app: &App, subject: &str, scope: &str, ttl: i64) -> Result<String, CommandError> {
    let scope = ScopeSet::parse(scope).ok().filter(|scope| scope.tokens().into_iter().all(is_admin_scope)).ok_or_else(
        || {
            CommandError::Other(
                "the scope is admin, admin:read, admin:credentials or admin:credentials:<principal>".to_owned(),
            )
        },
    )?;
    let until = DateTime::<Utc>::from_timestamp(app.clock.now().plus_seconds(ttl).seconds(), 0);
    let redirect_uri = crate::token::NO_REDIRECT.parse().ok();
    let (Some(until), Some(redirect_uri)) = (until, redirect_uri) else {
        return Err(CommandError::Other("the clock is out of range".to_owned()));
    };
    let grant = Grant {
        owner_id: subject.to_owned(),
        client_id: subject.to_owned(),
        scope: scope.as_scope().clone(),
        redirect_uri,
        until,
        extensions: Extensions::new(),
    };
    let issued = app.tokens.clone().issue(grant).await;
    Ok(issued.map_err(|()| CommandError::Other("the token cannot be signed".to_owned()))?.token)
}
