//! `carnet credentials`: switches a federated credential on and off, and accepts the transfer of its
//! repository.

use axum::http::Method;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::admin_client::{AdminClient, in_path};
use super::objects::list_kind;
use super::{CommandError, Conclusion, ServerArgs};
use crate::documents::Kind;

/// Arguments of `carnet credentials`.
#[derive(Debug, Args)]
pub struct CredentialsArgs {
    #[command(subcommand)]
    command: CredentialsCommand,
}

#[derive(Debug, Subcommand)]
enum CredentialsCommand {
    /// List the federated credentials, like `carnet list credentials`.
    #[command(after_help = "Example:\n  carnet credentials list")]
    List(ServerArgs),
    /// Let a federated credential grant tokens again.
    #[command(after_help = "Example:\n  carnet credentials enable octo-org:release")]
    Enable(SwitchArgs),
    /// Let a federated credential grant no tokens; the entries that tokens have from it end too.
    #[command(after_help = "Example:\n  carnet credentials disable octo-org:release")]
    Disable(SwitchArgs),
    /// Follow a repository to its new owner, as the latest refused job of the repository names it.
    ///
    /// The repository must have the id that the credential has. Names and the owner's id of the
    /// credential are replaced; its other conditions stay.
    #[command(after_help = "Example:\n  carnet credentials accept-transfer octo-org:release")]
    AcceptTransfer(SwitchArgs),
}

#[derive(Debug, Args)]
struct SwitchArgs {
    /// The credential's id, `principal:name`, or its name if only one has it.
    name: String,
    #[command(flatten)]
    target: ServerArgs,
}

/// Runs one of the subcommands.
pub async fn run(args: &CredentialsArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    match &args.command {
        CredentialsCommand::List(target) => {
            list_kind(Kind::FederatedCredential, target, as_json).await
        }
        CredentialsCommand::Enable(named) => switch(named, true, as_json).await,
        CredentialsCommand::Disable(named) => switch(named, false, as_json).await,
        CredentialsCommand::AcceptTransfer(named) => accept_transfer(named, as_json).await,
    }
}

/// Accepts a transfer and prints what the credential's `match` was and is.
async fn accept_transfer(named: &SwitchArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let noun = "federated credential";
    let client = AdminClient::new(&named.target).await?;
    let path = format!("/federated-credentials/{}", in_path(&named.name));
    let before = client.send(Method::GET, &path, None).await?;
    let before = before.ok_about(noun, &named.name)?;
    let accepting = format!("{path}/accept-transfer");
    let after = client.send(Method::POST, &accepting, None).await?;
    let after = after.ok_about(noun, &named.name)?;
    let (name, was, is) = (called(&after), before.get("match"), after.get("match"));
    if as_json {
        println!(
            "{}",
            json!({ "name": name, "id": after.get("id"), "before": was, "after": is })
        );
    } else {
        let shown = |matcher: Option<&Value>| matcher.map(Value::to_string).unwrap_or_default();
        println!("{name}: {} -> {}", shown(was), shown(is));
    }
    Ok(Conclusion::Yes)
}

fn text(object: &Value, member: &str) -> String {
    let value = object.get(member).and_then(Value::as_str);
    value.unwrap_or_default().to_owned()
}

fn called(credential: &Value) -> String {
    format!(
        "{}:{}",
        text(credential, "principal"),
        text(credential, "name")
    )
}

/// Switches a federated credential and prints its state before and after.
async fn switch(
    switch: &SwitchArgs,
    enabled: bool,
    as_json: bool,
) -> Result<Conclusion, CommandError> {
    let noun = "federated credential";
    let client = AdminClient::new(&switch.target).await?;
    let path = format!("/federated-credentials/{}", in_path(&switch.name));
    let before = client.send(Method::GET, &path, None).await?;
    let before = before.ok_about(noun, &switch.name)?;
    let change = json!({ "enabled": enabled });
    let after = client.send(Method::PATCH, &path, Some(&change)).await?;
    let after = after.ok_about(noun, &switch.name)?;
    let name = called(&after);
    let (was, is) = (text(&before, "state"), text(&after, "state"));
    if as_json {
        println!(
            "{}",
            json!({ "name": name, "id": after.get("id"), "before": was, "after": is })
        );
    } else {
        println!("{name}: {was} -> {is}");
    }
    Ok(Conclusion::Yes)
}
