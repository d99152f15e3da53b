//! `carnet admin-token`: issues an access token for the admin API to a caller who has the database
//! and the encryption key. Commands that work on the database issue their own token here.

use std::sync::Arc;

use clap::Args;
use serde_json::{Map, Value, json};

use super::{CommandError, Conclusion, ConfigFile};
use crate::app::{App, StartError};
use crate::audit::{AuditEvent, Outcome};
use crate::clock::{SystemClock, Timestamp};
use crate::decision::{AdminGrant, named_principals};
use crate::ids::EventId;
use crate::own_tokens::LOCAL_CLIENT;
use crate::scope::{ScopeSet, is_admin_scope};
use crate::upstream::HttpFetch;

/// Options of `carnet admin-token`.
#[derive(Debug, Args)]
pub struct AdminTokenArgs {
    #[arg(
        long,
        default_value = "admin",
        help = "What it is good for: admin, admin:read, admin:credentials, admin:credentials:<principal> or admin:read:<principal>"
    )]
    scope: String,
    /// Lifetime of the token in seconds, 1 to 86400.
    #[arg(long, value_name = "SECONDS", default_value_t = 900, value_parser = clap::value_parser!(i64).range(1..=86_400))]
    ttl: i64,
    #[command(flatten)]
    config: ConfigFile,
}

pub async fn run(args: &AdminTokenArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let config = args.config.load_for_command()?;
    let network = Arc::new(HttpFetch::of(&config));
    let (app, _background) = App::join(config, Arc::new(SystemClock), network).await?;
    let token = issue(&app, LOCAL_CLIENT, &args.scope, args.ttl).await?;
    if as_json {
        println!(
            "{}",
            json!({ "access_token": token, "token_type": "Bearer", "expires_in": args.ttl, "scope": args.scope })
        );
    } else {
        println!("{token}");
    }
    Ok(Conclusion::Yes)
}

/// Issues the admin token with which a command works on the configured database. Its event says so,
/// and `carnet audit` prints it only if it is asked for.
pub async fn issue_for_command(app: &App) -> Result<String, CommandError> {
    let for_command = [("for_command", true.into())];
    issue_with(app, (LOCAL_CLIENT, "admin", 900), for_command).await
}

/// Issues a token for the admin API that lives `ttl` seconds, and records it in the audit log.
/// Fails if `scope` is not an admin scope, or names a principal that does not exist.
pub async fn issue(
    app: &App,
    subject: &str,
    scope: &str,
    ttl: i64,
) -> Result<String, CommandError> {
    issue_with(app, (subject, scope, ttl), []).await
}

async fn issue_with(
    app: &App,
    (subject, scope, ttl): (&str, &str, i64),
    recorded: impl IntoIterator<Item = (&'static str, Value)>,
) -> Result<String, CommandError> {
    let scope = ScopeSet::parse(scope).ok().filter(|scope| scope.tokens().all(is_admin_scope)).ok_or_else(|| {
        CommandError::Other(
            "the scope is admin, admin:read, admin:credentials, admin:credentials:<principal> or admin:read:<principal>".to_owned(),
        )
    })?;
    let now = app.clock.now();
    let expires_at = Timestamp::from_seconds(now.seconds()).plus_seconds(ttl);
    let rests_on = named_principals(&scope, &app.rules());
    let rests_on = rests_on.ok_or_else(|| {
        CommandError::Other(format!(
            "the scope {scope} names a principal that is not there"
        ))
    })?;
    let grant = AdminGrant {
        subject: subject.to_owned(),
        client: None,
        scope,
        expires_at,
        confirmation: None,
        rests_on,
        person: None,
    };
    let minted = app
        .tokens
        .mint_admin(&grant, now)
        .map_err(|error| CommandError::Other(error.to_string()))?;
    let mut detail = Map::from_iter([
        ("scope".to_owned(), json!(minted.scope)),
        ("expires_at".to_owned(), json!(expires_at.to_string())),
    ]);
    detail.extend(
        recorded
            .into_iter()
            .map(|(member, value)| (member.to_owned(), value)),
    );
    let event = AuditEvent {
        resource: Some(app.config.own.admin_resource()),
        client_id: Some(LOCAL_CLIENT.to_owned()),
        token_id: Some(minted.token_id.clone()),
        detail: Value::Object(detail).to_string(),
        ..AuditEvent::with_id(EventId::new(now), Outcome::Issued)
    };
    let token = app
        .store
        .record_local_token(&event, minted)
        .await
        .map_err(StartError::from)?;
    Ok(token.access_token().to_owned())
}
