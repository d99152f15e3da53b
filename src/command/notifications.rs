//! `carnet notifications`: makes the next secret of a webhook, and sends it a test message.

use axum::http::Method;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::admin_client::{AdminClient, in_path};
use super::objects::list_kind;
use super::rotation::{RotateArgs, rotate_secret};
use super::{CommandError, Conclusion, ServerArgs};
use crate::documents::Kind;

/// Arguments of `carnet notifications`.
#[derive(Debug, Args)]
pub struct NotificationsArgs {
    #[command(subcommand)]
    command: NotificationsCommand,
}

#[derive(Debug, Subcommand)]
enum NotificationsCommand {
    /// List the notifications, like `carnet list notifications`.
    #[command(after_help = "Example:\n  carnet notifications list")]
    List(ServerArgs),
    /// Make the next secret; the old one stays valid for the overlap.
    #[command(
        after_help = "Example:\n  carnet notifications rotate-secret ops --secrets-file /run/secrets/ops-webhook"
    )]
    RotateSecret(RotateArgs),
    /// Send a test message now, and say what the receiver answered.
    #[command(after_help = "Example:\n  carnet notifications test ops")]
    Test {
        /// The notification's name or id, or `principal:name`.
        name: String,
        #[command(flatten)]
        target: ServerArgs,
    },
}

pub async fn run(args: &NotificationsArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    match &args.command {
        NotificationsCommand::List(target) => list_kind(Kind::Notification, target, as_json).await,
        NotificationsCommand::RotateSecret(args) => {
            rotate_secret(Kind::Notification, args, as_json).await
        }
        NotificationsCommand::Test { name, target } => test(name, target, as_json).await,
    }
}

async fn test(name: &str, target: &ServerArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let client = AdminClient::new(target).await?;
    let path = format!("/{}/{}/test", Kind::Notification.segment(), in_path(name));
    let answer = client.send(Method::POST, &path, None).await?;
    let tried = answer.ok_about(Kind::Notification.noun(), name)?;
    let is_delivered = tried.get("delivered") == Some(&Value::Bool(true));
    if as_json {
        println!("{tried}");
    } else if is_delivered {
        let status = tried.get("status").and_then(Value::as_u64);
        println!(
            "delivered; the receiver answered {}",
            status.unwrap_or_default()
        );
    } else {
        let error = tried.get("error").and_then(Value::as_str);
        println!("not delivered: {}", error.unwrap_or_default());
    }
    Ok(if is_delivered {
        Conclusion::Yes
    } else {
        Conclusion::No
    })
}
