//! `carnet gateway owners`.

use carnet_resource_server::is_well_formed_name;
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::super::table::table;
use super::super::{CommandError, Conclusion, ConfigFile};
use super::{import, join, registry};
use crate::app::{App, StartError};
use crate::gateway::{change_packages, shown_package};
use crate::model::ResourceServer;
use crate::store::{
    NotChanged, PackageChange, PackageChanged, PackageFilter, PackageRecord, Subject,
};

/// Arguments of `carnet gateway owners`.
#[derive(Debug, Args)]
pub struct OwnersArgs {
    #[command(subcommand)]
    command: OwnersCommand,
}

#[derive(Debug, Subcommand)]
enum OwnersCommand {
    /// List packages and whose they are, by registry and name.
    #[command(after_help = "Example:\n  carnet gateway owners list pypi --owner octo-org")]
    List(ListArgs),
    /// Record that a package exists in the registry and whose it is. Refused if it is another
    /// principal's.
    #[command(after_help = "Example:\n  carnet gateway owners set pypi widgets octo-org")]
    Set {
        /// The resource server.
        registry: String,
        /// The package's name.
        package: String,
        /// The principal that owns it.
        owner: String,
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Give a package to another principal.
    #[command(
        after_help = "Example:\n  carnet gateway owners transfer pypi widgets --from joel --to octo-org"
    )]
    Transfer(TransferArgs),
    /// Record the owners of many packages, all or none: those that a file gives, or those that the
    /// registry itself has. The file is CSV with a package and a principal on each line, or a JSON
    /// list of objects with `package` and `principal`. What is so already stays so; a package of
    /// another principal is an error.
    #[command(
        after_help = "Example:\n  carnet gateway owners import pypi owners.csv\n  carnet gateway owners import npm --from-registry widgets @acme/gadgets"
    )]
    Import(import::ImportArgs),
    /// Switch whether only trusted publishing may change a package, and the registry's own credentials
    /// may not.
    #[command(after_help = "Example:\n  carnet gateway owners trusted-only pypi widgets on")]
    TrustedOnly {
        /// The resource server.
        registry: String,
        /// The package's name.
        package: String,
        /// Whether the switch is on.
        switch: Switch,
        #[command(flatten)]
        config: ConfigFile,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Switch {
    On,
    Off,
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only packages of this resource server.
    registry: Option<String>,
    /// Only packages of this principal.
    #[arg(long, value_name = "NAME")]
    owner: Option<String>,
    /// Print at most this many packages.
    #[arg(long, value_name = "NUMBER", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Begin after this package: the registry, a slash, and the name.
    #[arg(long, value_name = "REGISTRY/PACKAGE")]
    after: Option<String>,
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Debug, Args)]
struct TransferArgs {
    /// The resource server.
    registry: String,
    /// The package's name.
    package: String,
    /// The present owner.
    #[arg(long, value_name = "NAME")]
    from: String,
    /// The principal that gets it.
    #[arg(long, value_name = "NAME")]
    to: String,
    #[command(flatten)]
    config: ConfigFile,
}

pub async fn run(args: &OwnersArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let (file, of, package, change) = match &args.command {
        OwnersCommand::List(args) => return list(args, as_json).await,
        OwnersCommand::Import(args) => return import::run(args, as_json).await,
        OwnersCommand::Set {
            registry,
            package,
            owner,
            config,
        } => (config, registry, package, PackageChange::Own(owner.clone())),
        OwnersCommand::Transfer(args) => (
            &args.config,
            &args.registry,
            &args.package,
            PackageChange::Transfer {
                from: args.from.clone(),
                to: args.to.clone(),
            },
        ),
        OwnersCommand::TrustedOnly {
            registry,
            package,
            switch,
            config,
        } => (
            config,
            registry,
            package,
            PackageChange::TrustedOnly(*switch == Switch::On),
        ),
    };
    let (app, _background) = join(file).await?;
    let rules = app.rules();
    let subject = subject(registry(&rules, of)?, package).map_err(CommandError::Usage)?;
    change_one(&app, subject, change, as_json).await
}

/// The package of a registry that an operator names.
pub fn subject(server: &ResourceServer, package: &str) -> Result<Subject, String> {
    if !is_well_formed_name(package) {
        return Err(format!("{package:?} must be the name of a package"));
    }
    Ok(Subject {
        registry: server.name.clone(),
        name: server.package_names.normalise(package).into_owned(),
        spelled: package.to_owned(),
    })
}

async fn change_one(
    app: &App,
    subject: Subject,
    change: PackageChange,
    as_json: bool,
) -> Result<Conclusion, CommandError> {
    let spelled = subject.spelled.clone();
    let made = change_packages(app, &[(subject, change)]).await;
    let made = match made {
        Ok(made) => made,
        Err((_, error)) => return refused(error, ""),
    };
    let Some(changed) = made.into_iter().next() else {
        return Ok(Conclusion::Yes);
    };
    if as_json {
        let record = changed.after.as_ref();
        println!(
            "{}",
            json!({ "changed": changed.is_change(), "package": record.map(shown_package) })
        );
    } else {
        print!("{}", table(&[&told(&changed, &spelled)], &[]));
    }
    Ok(Conclusion::Yes)
}

/// What became of a package that was called `spelled`.
pub(super) fn told(changed: &PackageChanged, spelled: &str) -> String {
    let unchanged = if changed.is_change() {
        ""
    } else {
        "unchanged: "
    };
    let is = changed.after.as_ref().map_or_else(
        || format!("{spelled} has no record"),
        |record| format!("{} is {}", record.spelled, described(record)),
    );
    format!("{unchanged}{is}")
}

/// A no with its reason; `place` begins the message.
pub(super) fn refused(error: NotChanged, place: &str) -> Result<Conclusion, CommandError> {
    match error {
        NotChanged::Store(error) => Err(StartError::from(error).into()),
        no => {
            eprintln!("carnet: {place}{no}; nothing was changed");
            Ok(Conclusion::No)
        }
    }
}

fn described(record: &PackageRecord) -> String {
    let owner = record.owner.as_ref();
    let of = owner.map_or_else(String::new, |owner| format!(" by {}", owner.name));
    let only = if record.trusted_only {
        ", trusted publishing only"
    } else {
        ""
    };
    format!("{}{of}{only}", record.state.as_str())
}

async fn list(args: &ListArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let (app, _background) = join(&args.config).await?;
    let rules = app.rules();
    let of = args.registry.as_deref().map(|name| registry(&rules, name));
    let owner = args.owner.as_deref().map(|name| {
        let principal = rules.principal(&name.to_ascii_lowercase());
        let id = principal.map(|principal| principal.id.clone());
        id.ok_or_else(|| CommandError::Other(format!("there is no principal {name}")))
    });
    let filter = PackageFilter {
        registry: of.transpose()?.map(|server| server.name.clone()),
        owner: owner.transpose()?,
    };
    let after = args.after.as_deref().map(|after| {
        let parts = after.split_once('/');
        let parts = parts.map(|(registry, name)| (registry.to_owned(), name.to_owned()));
        parts.ok_or_else(|| CommandError::Usage("--after must be REGISTRY/PACKAGE".to_owned()))
    });
    let limit = usize::try_from(args.limit).unwrap_or(usize::MAX);
    let page = app
        .store
        .gateway_packages(&filter, after.transpose()?.as_ref(), limit)
        .await
        .map_err(StartError::from)?;
    if as_json {
        let items: Vec<Value> = page.items.iter().map(shown_package).collect();
        println!("{:#}", Value::Array(items));
    } else if page.items.is_empty() {
        eprintln!("there are no packages");
    } else {
        let rows: Vec<Vec<String>> = page.items.iter().map(row).collect();
        let headings = [
            "REGISTRY",
            "PACKAGE",
            "STATE",
            "OWNER",
            "TRUSTED ONLY",
            "OPEN",
            "SINCE",
        ];
        print!("{}", table(&headings, &rows));
    }
    if let Some((registry, name)) = page.next {
        eprintln!("carnet: there are more packages: --after {registry}/{name}");
    }
    Ok(Conclusion::Yes)
}

fn row(record: &PackageRecord) -> Vec<String> {
    let owner = record.owner.as_ref();
    let only = if record.trusted_only { "yes" } else { "no" };
    vec![
        record.registry.clone(),
        record.spelled.clone(),
        record.state.as_str().to_owned(),
        owner.map_or_else(|| "-".to_owned(), |owner| owner.name.clone()),
        only.to_owned(),
        record.open.to_string(),
        record.since.to_string(),
    ]
}
