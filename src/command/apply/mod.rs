//! `carnet apply` and `carnet export`: the objects of a server as one file.
//!
//! `apply` computes a plan with dry runs of the admin API, shows what it changes, asks, and executes
//! it; `export` prints a file that `apply` reads.

mod execute;
mod export;
mod given_secrets;
mod plan;
mod references;
mod report;
mod secrets;
mod stored;

use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use self::execute::{Executor, Outcome, tried};
use self::plan::{Action, Plan, Planner};
use self::report::{Counts, outcome_lines, plan_lines, summary};
use self::secrets::SecretsFile;
use super::admin_client::AdminClient;
use super::progress::Progress;
use super::{CommandError, Conclusion, ServerArgs, read_file};
use crate::config::Environment;
use crate::documents::{Bundle, Kind};

pub use export::{ExportArgs, export};

/// Options of `carnet apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// File with the objects, TOML or JSON; `-` reads standard input.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Delete objects that are not in the file; without a terminal only together with `--yes`.
    #[arg(long)]
    prune: bool,
    #[command(flatten)]
    consent: Consent,
    /// Save trusted issuers and identity providers without trying to fetch their keys or metadata.
    #[arg(long)]
    offline: bool,
    /// Write client secrets that the server makes to this new file (mode 0600), by client: TOML if
    /// its name ends in .toml, else JSON. Required for them if standard output is no terminal.
    #[arg(long, value_name = "FILE")]
    secrets_file: Option<PathBuf>,
    /// Print the progress on standard error each second, also if that is no terminal.
    #[arg(long)]
    progress: bool,
    #[command(flatten)]
    target: ServerArgs,
}

/// Whether the plan is executed, and whether it needs an answer first.
#[derive(Debug, Args)]
struct Consent {
    /// Print the plan and change nothing; exits 1 if anything would change or be refused.
    #[arg(long)]
    dry_run: bool,
    /// Do not ask before the plan is executed.
    #[arg(short, long)]
    yes: bool,
}

/// Makes the objects equal to those of the file: shows the plan, asks if there is a terminal, then
/// executes it. A step that the server refuses stops only the steps that depend on it.
pub async fn apply(args: &ApplyArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let bundle = Bundle::parse(&read_file(&args.file)?)
        .map_err(|error| CommandError::Other(format!("{}: {error}", args.file.display())))?;
    let bundle = given_secrets::resolve(&bundle, &Environment::of_this_process())?;
    let client = AdminClient::new(&args.target).await?;
    let may_read = |kind| stored::may_read(&client, kind);
    let all = Kind::ALL.into_iter().map(|kind| bundle.of(kind).count());
    let mut progress = Progress::new("objects compared", all.sum(), args.progress);
    let plan = Planner::new(&client, args.prune, &may_read)
        .plan(&bundle, &mut progress)
        .await?;
    let asks = !args.consent.dry_run && !args.consent.yes && std::io::stdin().is_terminal();
    // Problems are told with the outcomes; whoever is asked has to know them before.
    let lines = plan_lines(&plan, asks);
    if !as_json {
        print_lines(&lines);
    } else if asks {
        for line in &lines {
            eprintln!("{line}");
        }
    }
    let outcomes = if args.consent.dry_run {
        let outcomes = tried(&plan);
        if !as_json {
            for (step, outcome) in plan.steps.iter().zip(&outcomes) {
                print_lines(&outcome_lines(step, outcome, true));
            }
        }
        outcomes
    } else {
        if !is_confirmed(args, &plan, asks)? {
            return Ok(Conclusion::No);
        }
        execute(args, &client, &plan, as_json).await?
    };
    let counts = Counts::of(&outcomes);
    if as_json {
        let mut summary = summary(&plan, &outcomes, args.consent.dry_run);
        if let (Some(file), Some(summary)) = (&args.secrets_file, summary.as_object_mut()) {
            summary.insert("secrets_file".to_owned(), json!(file));
        }
        println!("{summary}");
    } else {
        println!("{}", counts.line(plan.unchanged, args.consent.dry_run));
    }
    let is_right = counts.failed == 0 && counts.skipped == 0;
    Ok((is_right && (!args.consent.dry_run || plan.steps.is_empty())).into())
}

/// Checks, before anything is changed, that deletions are meant and that secrets have a place to go,
/// and asks if there is a terminal.
fn is_confirmed(args: &ApplyArgs, plan: &Plan, asks: bool) -> Result<bool, CommandError> {
    let made: Vec<String> = plan
        .steps
        .iter()
        .filter(|step| step.makes_secret())
        .map(plan::Step::object)
        .collect();
    if !made.is_empty() && args.secrets_file.is_none() && !std::io::stdout().is_terminal() {
        return Err(CommandError::Other(format!(
            "nothing was changed: the server would make a client secret for {}, and standard output is no terminal. Give \
             --secrets-file FILE, so that secrets go to a new file of mode 0600 and not into a log",
            made.join(", ")
        )));
    }
    let count = |word: &str| {
        let steps = plan.steps.iter().filter(|step| step.action.word() == word);
        steps.count()
    };
    let deleted = count(Action::Delete.word());
    if asks && !plan.steps.is_empty() {
        let saved = plan.steps.len().saturating_sub(deleted);
        eprint!("{saved} to save, {deleted} to delete. Apply these changes? [y/N] ");
        std::io::stderr().flush().ok();
        let mut answer = String::new();
        std::io::stdin()
            .read_line(&mut answer)
            .map_err(|error| CommandError::File("standard input".to_owned(), error))?;
        let is_yes = ["y", "yes"].contains(&answer.trim().to_ascii_lowercase().as_str());
        if !is_yes {
            eprintln!("carnet: nothing was changed");
        }
        return Ok(is_yes);
    }
    if deleted > 0 && !args.consent.yes {
        return Err(CommandError::Other(format!(
            "nothing was changed: the plan deletes objects ({deleted}), and there is no terminal to ask. Give --yes"
        )));
    }
    Ok(true)
}

/// Executes the plan. Failures and secrets are printed as they happen, so that they are not lost if
/// the command is interrupted.
async fn execute(
    args: &ApplyArgs,
    client: &AdminClient,
    plan: &Plan,
    as_json: bool,
) -> Result<Vec<Outcome>, CommandError> {
    let file = args.secrets_file.as_deref();
    let file = file.filter(|_| plan.steps.iter().any(plan::Step::makes_secret));
    let mut executor = Executor {
        client,
        is_offline: args.offline,
        secrets: file.map(SecretsFile::create).transpose()?,
    };
    let mut progress = Progress::new("steps executed", plan.steps.len(), args.progress);
    let outcomes = executor
        .run(plan, &mut progress, |step, outcome| {
            if !as_json {
                print_lines(&outcome_lines(step, outcome, false));
            }
        })
        .await;
    if let Some(secrets) = executor.secrets {
        secrets
            .finish()
            .map_err(|error| CommandError::File("--secrets-file".to_owned(), error))?;
    }
    Ok(outcomes)
}

fn print_lines(lines: &[String]) {
    for line in lines {
        println!("{line}");
    }
}
