//! `carnet policy`: tests and checks rules without a server, with the code by which the server
//! reads documents and decides requests.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;

use super::{CommandError, Conclusion, read_file};
use crate::config::OwnUrls;
use crate::documents::{Attestations, Bundle, LintFinding, MissingIssuer, ReadContext, lint};
use crate::key_material::OpenSsl;
use crate::policy::{convert, judge, read_cases};
use crate::profile::Profiles;

/// Arguments of `carnet policy`.
#[derive(Debug, Args)]
pub struct PolicyArgs {
    #[command(subcommand)]
    command: PolicyCommand,
}

#[derive(Debug, Subcommand)]
enum PolicyCommand {
    /// Evaluate case files with the server's own engine; exits 1 if a verdict differs from the
    /// expected one.
    #[command(after_help = "Example:\n  carnet policy test release-cases.json")]
    Test(PolicyFiles),
    /// Convert a case file of the older form to the current one, on standard output.
    #[command(after_help = "Example:\n  carnet policy convert old-cases.json > cases.json")]
    Convert(OlderFile),
    /// Check `apply` files: print objects that the server would refuse to save (errors) and rules
    /// that are too wide (warnings); exits 1 if there is an error.
    #[command(after_help = "Example:\n  carnet policy lint objects.toml")]
    Lint(LintArgs),
}

#[derive(Debug, Args)]
struct PolicyFiles {
    /// Files to read; `-` reads standard input.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Folder with profiles of your own, as `profiles_dir` in the configuration.
    #[arg(long, value_name = "FOLDER")]
    profiles_dir: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct LintArgs {
    #[command(flatten)]
    files: PolicyFiles,
    /// Profile of rules whose trusted issuer is in none of the files.
    #[arg(long, value_name = "NAME")]
    profile: Option<String>,
}

#[derive(Debug, Args)]
struct OlderFile {
    /// Case file in the older form; `-` reads standard input.
    #[arg(value_name = "OLD")]
    file: PathBuf,
    /// Folder with profiles of your own, as `profiles_dir` in the configuration.
    #[arg(long, value_name = "FOLDER")]
    profiles_dir: Option<PathBuf>,
}

pub fn run(args: &PolicyArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    match &args.command {
        PolicyCommand::Test(files) => test(files, as_json),
        PolicyCommand::Convert(older) => convert_file(older),
        PolicyCommand::Lint(args) => lint_files(args, as_json),
    }
}

fn profiles(folder: Option<&Path>) -> Result<Profiles, CommandError> {
    Profiles::load(folder).map_err(|errors| {
        CommandError::Other(
            errors
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("\n"),
        )
    })
}

fn test(files: &PolicyFiles, as_json: bool) -> Result<Conclusion, CommandError> {
    let profiles = profiles(files.profiles_dir.as_deref())?;
    let mut results = Vec::new();
    let (mut total, mut differing) = (0u32, 0u32);
    for path in &files.files {
        let folder = path.parent().unwrap_or(Path::new(""));
        let read = |named: &Path| read_file(&folder.join(named)).map_err(|error| error.to_string());
        let cases = read_cases(&read_file(path)?, read)
            .map_err(|error| CommandError::Other(format!("{}: {error}", path.display())))?;
        for case in cases {
            let (verdict, detail) = judge(&case, &profiles);
            let agrees = verdict.agrees_with(case.expect);
            total = total.saturating_add(1);
            differing = differing.saturating_add(u32::from(!agrees));
            if as_json {
                results.push(json!({
                    "id": case.id, "verdict": verdict.word(), "reason": verdict.reason(), "detail": detail, "agrees": agrees,
                }));
            } else {
                let mark = if agrees {
                    ""
                } else {
                    "  <- differs from what the case expects"
                };
                println!("{} {} {}{mark}", case.id, verdict.word(), verdict.reason());
                // A mistake in a case, such as a misspelt field, is a refusal as well. Print it
                // even if the case expects a refusal, since the verdicts would agree for the wrong
                // reason.
                if let Some(detail) = detail.filter(|_| verdict.is_mistake() || !agrees) {
                    println!("  {detail}");
                }
            }
        }
    }
    if as_json {
        println!(
            "{}",
            json!({ "cases": results, "total": total, "differing": differing })
        );
    } else {
        eprintln!("{total} cases, {differing} differing");
    }
    Ok((differing == 0).into())
}

fn convert_file(older: &OlderFile) -> Result<Conclusion, CommandError> {
    let profiles = profiles(older.profiles_dir.as_deref())?;
    let cases = convert(&read_file(&older.file)?, &profiles)
        .map_err(|error| CommandError::Other(format!("{}: {error}", older.file.display())))?;
    println!("{cases:#}");
    Ok(Conclusion::Yes)
}

fn lint_files(args: &LintArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let profiles = profiles(args.files.profiles_dir.as_deref())?;
    let profile = args.profile.as_deref();
    if let Some(unknown) = profile.filter(|name| profiles.get(name).is_none()) {
        let known = profiles.names().collect::<Vec<_>>().join(", ");
        return Err(CommandError::Other(format!(
            "--profile {unknown}: there is no such profile; there are {known}"
        )));
    }
    let own = OwnUrls::new("https://carnet.invalid", ([127, 0, 0, 1], 0).into())
        .map_err(CommandError::Other)?;
    // Whether a server allows http issuers on loopback addresses depends on its configuration, so
    // they are not reported here.
    let context = ReadContext {
        profiles: &profiles,
        own: &own,
        allow_http_loopback: true,
        token_lifetime_seconds: 900,
        command_line: false,
        material: &OpenSsl,
        attestations: Attestations::Elsewhere,
    };
    let bundles = args
        .files
        .files
        .iter()
        .map(|path| {
            Bundle::parse(&read_file(path)?)
                .map_err(|error| CommandError::Other(format!("{}: {error}", path.display())))
        })
        .collect::<Result<Vec<Bundle>, CommandError>>()?;
    let missing = MissingIssuer::Profile(profile);
    let findings: Vec<LintFinding> = bundles
        .iter()
        .flat_map(|bundle| lint(bundle, &bundles, missing, context))
        .collect();
    if as_json {
        println!("{}", json!({ "findings": findings }));
    } else {
        for finding in &findings {
            let kind = match finding {
                LintFinding { is_error: true, .. } => "error",
                LintFinding { is_note: true, .. } => "note",
                LintFinding { .. } => "warning",
            };
            println!(
                "{kind} {}{} [{}]: {}",
                finding.object, finding.pointer, finding.code, finding.detail
            );
        }
        if findings.iter().all(|finding| finding.is_note) {
            println!("nothing to complain about");
        }
    }
    Ok((!findings.iter().any(|finding| finding.is_error)).into())
}
