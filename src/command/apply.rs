//! `carnet apply` and `carnet export`: the objects of a server as one file.
//!
//! `apply` computes a plan with dry runs of the admin API, prints it and executes it; `export`
//! prints a file that `apply` reads.

use std::path::PathBuf;

use axum::http::Method;
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::admin_client::AdminClient;
use super::{CommandError, Conclusion, ServerArgs, read_file};
use crate::documents::Bundle;
use crate::documents::Kind;

/// Options of `carnet apply`.
#[derive(Debug, Args)]
pub struct ApplyArgs {
    /// File with the objects, TOML or JSON; `-` reads standard input.
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// Delete objects that are not in the file.
    #[arg(long)]
    prune: bool,
    /// Print the plan and change nothing; exits 1 if anything would change or be refused.
    #[arg(long)]
    dry_run: bool,
    /// Save trusted issuers without trying to fetch their keys.
    #[arg(long)]
    offline: bool,
    #[command(flatten)]
    target: ServerArgs,
}

/// Options of `carnet export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// Output format; `--json` implies `json`.
    #[arg(long, value_enum, default_value_t = ExportFormat::Toml)]
    format: ExportFormat,
    #[command(flatten)]
    target: ServerArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ExportFormat {
    Toml,
    Json,
}

#[derive(Clone, Debug, PartialEq)]
struct PlannedChange {
    kind: Kind,
    name: String,
    action: Action,
    /// Result of the server's dry run, against the objects as they are before the plan.
    tried: Outcome,
}

#[derive(Clone, Debug, PartialEq)]
enum Action {
    Create(Map<String, Value>),
    Update(Map<String, Value>),
    Delete,
}

impl Action {
    fn word(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Update(_) => "update",
            Self::Delete => "delete",
        }
    }
}

impl PlannedChange {
    fn is_new(&self) -> bool {
        matches!(self.action, Action::Create(_))
    }

    fn object(&self) -> String {
        format!("{}.{}", self.kind.table(), self.name)
    }
}

/// Result of a step, executed or tried in a dry run.
#[derive(Clone, Debug, Default, PartialEq)]
struct Outcome {
    problem: Option<String>,
    warnings: Vec<Value>,
    /// The client secret that the server generated. No later answer contains it.
    secret: Option<String>,
}

impl Outcome {
    fn print(&self, object: &str) {
        if let Some(problem) = &self.problem {
            println!("failed {object}\n  {}", problem.replace('\n', "\n  "));
        }
        if let Some(secret) = &self.secret {
            println!("client_secret {object}: {secret} (shown this once)");
        }
        for warning in &self.warnings {
            let text = |name: &str| {
                warning
                    .get(name)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            };
            println!("warning {object}: {} - {}", text("code"), text("detail"));
        }
    }
}

pub async fn export(args: &ExportArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let client = AdminClient::new(&args.target).await?;
    let mut bundle = Bundle::default();
    for kind in Kind::ALL {
        for (name, members) in present(&client, kind).await? {
            bundle.insert(kind, &name, members);
        }
    }
    if as_json || args.format == ExportFormat::Json {
        println!("{:#}", bundle.to_json());
    } else {
        print!(
            "{}",
            bundle
                .to_toml()
                .map_err(|error| CommandError::Other(error.to_string()))?
        );
    }
    Ok(Conclusion::Yes)
}

/// Makes the objects equal to those of the file: prints the plan, then executes it. A step that the
/// server refuses does not stop the others.
pub async fn apply(args: &ApplyArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let bundle = Bundle::parse(&read_file(&args.file)?)
        .map_err(|error| CommandError::Other(format!("{}: {error}", args.file.display())))?;
    let client = AdminClient::new(&args.target).await?;
    let (steps, unchanged) = plan(&client, &bundle, args.prune).await?;
    let mut outcomes = Vec::new();
    if !as_json {
        for step in &steps {
            println!("{} {}", step.action.word(), step.object());
        }
    }
    for step in &steps {
        let outcome = if args.dry_run {
            step.tried.clone()
        } else {
            carry_out(&client, step, args.offline).await?
        };
        if !as_json {
            outcome.print(&step.object());
        }
        outcomes.push((step.object(), outcome));
    }
    let failed = outcomes
        .iter()
        .filter(|(_, outcome)| outcome.problem.is_some())
        .count();
    if as_json {
        let steps: Vec<Value> = steps
            .iter()
            .map(|step| json!({ "action": step.action.word(), "kind": step.kind.table(), "name": step.name }))
            .collect();
        let problems = outcomes.iter().filter_map(|(object, outcome)| {
            let problem = outcome.problem.as_ref()?;
            Some(json!({ "object": object, "problem": problem }))
        });
        let warnings = outcomes.iter().flat_map(|(object, outcome)| {
            outcome
                .warnings
                .iter()
                .map(move |warning| json!({ "object": object, "warning": warning }))
        });
        let secrets = outcomes.iter().filter_map(|(object, outcome)| {
            Some(json!({ "object": object, "client_secret": outcome.secret.as_ref()? }))
        });
        let summary = json!({
            "steps": steps, "unchanged": unchanged, "dry_run": args.dry_run, "problems": problems.collect::<Vec<_>>(),
            "warnings": warnings.collect::<Vec<_>>(), "secrets": secrets.collect::<Vec<_>>(),
        });
        println!("{summary}");
    } else if args.dry_run {
        println!(
            "{} to do, {unchanged} unchanged, {failed} would be refused",
            steps.len()
        );
    } else {
        println!(
            "{} done, {unchanged} unchanged, {failed} failed",
            steps.len().saturating_sub(failed)
        );
    }
    Ok((failed == 0 && (!args.dry_run || steps.is_empty())).into())
}

async fn carry_out(
    client: &AdminClient,
    step: &PlannedChange,
    offline: bool,
) -> Result<Outcome, CommandError> {
    let path = format!("/{}/{}", step.kind.segment(), step.name);
    let answer = match &step.action {
        Action::Create(members) | Action::Update(members) => {
            let query = if offline { "?validate=offline" } else { "" };
            let body = Value::Object(members.clone());
            client
                .send(Method::PUT, &format!("{path}{query}"), Some(&body))
                .await?
        }
        Action::Delete => client.send(Method::DELETE, &path, None).await?,
    };
    if !(200..300).contains(&answer.status) {
        return Ok(Outcome {
            problem: Some(answer.problem()),
            ..Outcome::default()
        });
    }
    let warnings = answer
        .body
        .get("warnings")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let secret = answer
        .body
        .get("client_secret")
        .and_then(Value::as_str)
        .map(str::to_owned);
    Ok(Outcome {
        problem: None,
        warnings,
        secret,
    })
}

/// Computes the plan, and counts the unchanged objects. Objects come in the order in which they
/// refer to each other, deletions last and in the opposite order. Whether an object would change is
/// the result of a dry run, since only the server knows its profiles and the form in which it
/// stores objects.
async fn plan(
    client: &AdminClient,
    bundle: &Bundle,
    prune: bool,
) -> Result<(Vec<PlannedChange>, usize), CommandError> {
    let (mut steps, mut removals, mut unchanged) =
        (Vec::<PlannedChange>::new(), Vec::new(), 0usize);
    for kind in Kind::ALL {
        let there = present(client, kind).await?;
        for (name, wanted) in named_first(bundle, kind) {
            let made: Vec<&str> = steps
                .iter()
                .filter(|step| step.is_new())
                .map(|step| step.name.as_str())
                .collect();
            let (would_change, tried) = try_out(client, kind, name, wanted, &made).await?;
            if !would_change && tried.problem.is_none() {
                unchanged = unchanged.saturating_add(1);
                continue;
            }
            let is_there = there
                .iter()
                .any(|(other, members)| is_called(other, members, name, wanted));
            let action = if is_there {
                Action::Update(wanted.clone())
            } else {
                Action::Create(wanted.clone())
            };
            steps.push(PlannedChange {
                kind,
                name: name.clone(),
                action,
                tried,
            });
        }
        let is_wanted = |(name, there): &Present| {
            bundle
                .of(kind)
                .any(|(reference, wanted)| is_called(name, there, reference, wanted))
        };
        let gone = there.iter().filter(|present| prune && !is_wanted(present));
        removals.extend(gone.map(|(name, _)| PlannedChange {
            kind,
            name: name.clone(),
            action: Action::Delete,
            tried: Outcome::default(),
        }));
    }
    steps.extend(removals.into_iter().rev());
    Ok((steps, unchanged))
}

/// Tries in a dry run to save one object. Returns whether it would change, and the server's errors
/// and warnings. A reference to an object in `made`, which the plan creates earlier, is not an
/// error.
async fn try_out(
    client: &AdminClient,
    kind: Kind,
    name: &str,
    wanted: &Map<String, Value>,
    made: &[&str],
) -> Result<(bool, Outcome), CommandError> {
    let body = Value::Object(wanted.clone());
    let path = format!("/{}/{name}?dry_run=true&validate=offline", kind.segment());
    let answer = client.send(Method::PUT, &path, Some(&body)).await?;
    if !(200..300).contains(&answer.status) {
        return Ok((
            true,
            Outcome {
                problem: Some(answer.problem()),
                ..Outcome::default()
            },
        ));
    }
    let is_made = |error: &Value| {
        let named = error
            .get("pointer")
            .and_then(Value::as_str)
            .and_then(|pointer| body.pointer(pointer));
        named.and_then(Value::as_str).is_some_and(|named| {
            let bare = named.rsplit(':').next().unwrap_or_default();
            made.iter()
                .any(|made| made.eq_ignore_ascii_case(named) || made.eq_ignore_ascii_case(bare))
        })
    };
    let list = |name: &str| {
        answer
            .body
            .get(name)
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default()
    };
    let errors = list("errors");
    let text = |error: &Value, name: &str| {
        error
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let lines: Vec<String> = errors
        .iter()
        .filter(|error| !is_made(error))
        .map(|error| format!("{} {}", text(error, "pointer"), text(error, "detail")))
        .collect();
    let problem = (!lines.is_empty()).then(|| lines.join("\n"));
    let would_change =
        answer.body.get("would_change") == Some(&Value::Bool(true)) || !errors.is_empty();
    Ok((
        would_change,
        Outcome {
            problem,
            warnings: list("warnings"),
            secret: None,
        },
    ))
}

/// The objects of a kind in the order in which they can be saved: a rule after the rules that it
/// names in `actors`. A cycle is left in its order: the server refuses the first rule of it, with
/// the reason.
fn named_first(bundle: &Bundle, kind: Kind) -> Vec<(&String, &Map<String, Value>)> {
    let mut left: Vec<_> = bundle.of(kind).collect();
    let mut ordered = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let waits = |members: &Map<String, Value>, own: &str| {
            let actors = members
                .get("actors")
                .and_then(Value::as_array)
                .into_iter()
                .flatten()
                .filter_map(Value::as_str);
            actors
                .filter(|actor| !actor.eq_ignore_ascii_case(own))
                .any(|actor| {
                    left.iter()
                        .any(|(name, _)| name.eq_ignore_ascii_case(actor))
                })
        };
        let (ready, waiting): (Vec<_>, Vec<_>) = left
            .iter()
            .partition(|(name, members)| !waits(members, name));
        if ready.is_empty() {
            ordered.extend(waiting);
            break;
        }
        ordered.extend(ready);
        left = waiting;
    }
    ordered
}

/// An object in its export form: the name or `principal:name` that addresses it, and its members.
type Present = (String, Map<String, Value>);

/// Whether an object of the file means this stored object. Names of rules are unique per principal
/// only, so the principals are compared as well.
fn is_called(
    name: &str,
    there: &Map<String, Value>,
    reference: &str,
    wanted: &Map<String, Value>,
) -> bool {
    let bare = |text: &str| {
        text.rsplit(':')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase()
    };
    let principal = |members: &Map<String, Value>| {
        members
            .get("principal")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_ascii_lowercase()
    };
    bare(name) == bare(reference) && principal(there) == principal(wanted)
}

/// Addresses objects that share a name as `principal:name`: names of rules are unique per principal
/// only.
fn tell_apart(objects: &mut [Present]) {
    let names: Vec<String> = objects
        .iter()
        .map(|(name, _)| name.to_ascii_lowercase())
        .collect();
    for (name, members) in objects {
        let is_shared = names
            .iter()
            .filter(|other| name.eq_ignore_ascii_case(other))
            .nth(1)
            .is_some();
        if let Some(principal) = members
            .get("principal")
            .and_then(Value::as_str)
            .filter(|_| is_shared)
        {
            *name = format!("{principal}:{name}");
        }
    }
}

/// Reads all objects of a kind, page by page, in their export form.
async fn present(client: &AdminClient, kind: Kind) -> Result<Vec<Present>, CommandError> {
    let mut objects = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/{}?limit=500&view=export{cursor}", kind.segment());
        let page = client.send(Method::GET, &path, None).await?.ok()?;
        for item in page
            .get("items")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            let Value::Object(mut members) = item.clone() else {
                continue;
            };
            members.shift_remove("pinned");
            let name = members
                .shift_remove("name")
                .and_then(|name| name.as_str().map(str::to_owned));
            objects.push((name.unwrap_or_default(), members));
        }
        let Some(next) = page.get("next_cursor").and_then(Value::as_str) else {
            tell_apart(&mut objects);
            return Ok(objects);
        };
        cursor = format!("&cursor={next}");
    }
}
