//! `carnet gateway publications`, `unsettled` and `settle`.

use clap::Args;
use serde_json::{Value, json};

use super::super::table::table;
use super::super::{CommandError, Conclusion, ConfigFile};
use super::owners::subject;
use super::{join, registry};
use crate::app::StartError;
use crate::gateway::{SettledByOperator, settle_by_operator, shown_publication};
use crate::ids::PublicationId;
use crate::store::Publication;

/// Arguments of `carnet gateway publications`.
#[derive(Debug, Args)]
pub struct PublicationsArgs {
    /// The resource server.
    registry: String,
    /// The package's name.
    package: String,
    /// Print at most this many publications.
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Only publications before this one.
    #[arg(long, value_name = "ID", value_parser = publication_id)]
    before: Option<PublicationId>,
    #[command(flatten)]
    config: ConfigFile,
}

/// Arguments of `carnet gateway unsettled`.
#[derive(Debug, Args)]
pub struct UnsettledArgs {
    /// Print at most this many publications.
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
    /// Only publications after this one.
    #[arg(long, value_name = "ID", value_parser = publication_id)]
    after: Option<PublicationId>,
    #[command(flatten)]
    config: ConfigFile,
}

/// Arguments of `carnet gateway settle`.
#[derive(Debug, Args)]
pub struct SettleArgs {
    /// The publication's id, as `carnet gateway unsettled` prints it.
    #[arg(value_parser = publication_id)]
    id: PublicationId,
    #[command(flatten)]
    outcome: SettleOutcome,
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct SettleOutcome {
    /// The registry has it.
    #[arg(long)]
    published: bool,
    /// The registry has it not, and will not take it any more.
    #[arg(long)]
    not_published: bool,
}

fn publication_id(text: &str) -> Result<PublicationId, String> {
    let id = text.parse();
    id.map_err(|_| "must be the id of a publication: pub_ and 26 characters".to_owned())
}

pub async fn list(args: &PublicationsArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let (app, _background) = join(&args.config).await?;
    let rules = app.rules();
    let package = subject(registry(&rules, &args.registry)?, &args.package);
    let package = package.map_err(CommandError::Usage)?;
    let limit = u64::from(args.limit);
    let found = app
        .store
        .publications(&package.registry, &package.name, args.before, limit)
        .await
        .map_err(StartError::from)?;
    print_all(&found, as_json);
    if let Some(last) = found.last().filter(|_| is_full(&found, limit)) {
        eprintln!("carnet: there may be more: --before {}", last.id);
    }
    Ok(Conclusion::Yes)
}

pub async fn unsettled(args: &UnsettledArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let (app, _background) = join(&args.config).await?;
    let limit = u64::from(args.limit);
    let found = app
        .store
        .unsettled_publications(None, args.after, limit)
        .await
        .map_err(StartError::from)?;
    print_all(&found, as_json);
    if let Some(last) = found.last().filter(|_| is_full(&found, limit)) {
        eprintln!("carnet: there may be more: --after {}", last.id);
    }
    Ok(Conclusion::Yes)
}

fn is_full(found: &[Publication], limit: u64) -> bool {
    u64::try_from(found.len()).is_ok_and(|all| all == limit)
}

fn print_all(found: &[Publication], as_json: bool) {
    if as_json {
        let items: Vec<Value> = found.iter().map(shown_publication).collect();
        println!("{:#}", Value::Array(items));
    } else if found.is_empty() {
        eprintln!("there are no publications");
    } else {
        let rows: Vec<Vec<String>> = found.iter().map(row).collect();
        let headings = [
            "ID",
            "AT",
            "STATE",
            "REGISTRY",
            "PACKAGE",
            "OPERATION",
            "VERSION",
            "FILE",
            "DIGEST",
            "OWNER",
            "WORKLOAD",
        ];
        print!("{}", table(&headings, &rows));
    }
}

fn row(publication: &Publication) -> Vec<String> {
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
    let owner = publication.owner.as_ref().map(|owner| owner.name.clone());
    let workload = publication.workload.as_ref().map(|of| of.sub.clone());
    let user = publication.passthrough_user.as_ref();
    let user = user.map(|user| format!("user {user}"));
    vec![
        publication.id.to_string(),
        publication.created_at.to_string(),
        publication.state.as_str().to_owned(),
        publication.registry.clone(),
        publication.spelled.clone(),
        publication.operation.clone(),
        or_none(&publication.version),
        or_none(&publication.file),
        or_none(&publication.digest),
        or_none(&owner),
        or_none(&workload.or(user)),
    ]
}

pub async fn settle(args: &SettleArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let (app, _background) = join(&args.config).await?;
    let is_published = args.outcome.published;
    let settled = settle_by_operator(&app, args.id, is_published)
        .await
        .map_err(StartError::from)?;
    match settled {
        SettledByOperator::Settled => {}
        SettledByOperator::NotOpen => {
            eprintln!(
                "carnet: there is no publication {} that is not settled",
                args.id
            );
            return Ok(Conclusion::No);
        }
        SettledByOperator::MayBeForwarded => {
            eprintln!(
                "carnet: a gateway may still be forwarding {}: an operator settles what was begun more than an hour ago, or is unclear",
                args.id
            );
            return Ok(Conclusion::No);
        }
    }
    if as_json {
        println!("{}", json!({ "id": args.id, "published": is_published }));
    } else {
        let outcome = if is_published {
            "published"
        } else {
            "not published"
        };
        println!("{} is settled: {outcome}", args.id);
    }
    Ok(Conclusion::Yes)
}
