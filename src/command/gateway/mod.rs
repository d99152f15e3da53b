//! `carnet gateway`: the reverse proxy itself, the owners of packages behind it, and what was
//! published. The commands work on the configured database.

mod from_registry;
mod import;
mod owners;
mod publications;
mod serve;

use std::sync::Arc;

use clap::{Args, Subcommand};

use super::{CommandError, Conclusion, ConfigFile};
use crate::app::{App, Background};
use crate::clock::SystemClock;
use crate::model::{ResourceServer, Snapshot};
use crate::upstream::HttpFetch;

/// Arguments of `carnet gateway`.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct GatewayArgs {
    #[command(flatten)]
    config: ConfigFile,
    #[command(subcommand)]
    command: Option<GatewayCommand>,
}

#[derive(Debug, Subcommand)]
enum GatewayCommand {
    /// List, set, transfer and import the owners of packages, and switch packages to trusted
    /// publishing alone.
    #[command(after_help = "Example:\n  carnet gateway owners list pypi")]
    Owners(owners::OwnersArgs),
    /// Show who published each version of a package, and from which run; the newest first.
    #[command(after_help = "Example:\n  carnet gateway publications pypi widgets")]
    Publications(publications::PublicationsArgs),
    /// List the publications of which it is not known whether the registry took them; the oldest
    /// first.
    #[command(after_help = "Example:\n  carnet gateway unsettled")]
    Unsettled(publications::UnsettledArgs),
    /// Say whether the registry has what a publication that is not settled was to publish. Look into
    /// the registry first: a name that was reserved is given back by --not-published.
    #[command(
        after_help = "Example:\n  carnet gateway settle pub_01KBAV0000000000000000000X --published"
    )]
    Settle(publications::SettleArgs),
}

pub async fn run(args: &GatewayArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    match &args.command {
        None => serve::run(&args.config).await,
        Some(GatewayCommand::Owners(args)) => owners::run(args, as_json).await,
        Some(GatewayCommand::Publications(args)) => publications::list(args, as_json).await,
        Some(GatewayCommand::Unsettled(args)) => publications::unsettled(args, as_json).await,
        Some(GatewayCommand::Settle(args)) => publications::settle(args, as_json).await,
    }
}

/// The configured database.
async fn join(file: &ConfigFile) -> Result<(Arc<App>, Background), CommandError> {
    let config = file.load_for_command()?;
    let network = Arc::new(HttpFetch::of(&config));
    Ok(App::join(config, Arc::new(SystemClock), network).await?)
}

/// The resource server of this name, enabled or not.
fn registry<'a>(rules: &'a Snapshot, name: &str) -> Result<&'a ResourceServer, CommandError> {
    let mut all = rules.resource_servers();
    let found = all.find(|server| server.name.eq_ignore_ascii_case(name));
    let found = found.map(AsRef::as_ref);
    found.ok_or_else(|| CommandError::Other(format!("there is no resource server {name}")))
}
