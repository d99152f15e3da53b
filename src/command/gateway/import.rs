//! `carnet gateway owners import`, and its files.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use serde_json::json;

use super::super::{CommandError, Conclusion, ConfigFile, read_file};
use super::owners::{refused, subject};
use super::{from_registry, join, registry};
use crate::gateway::change_packages;
use crate::store::PackageChange;

/// Arguments of `carnet gateway owners import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// The resource server.
    pub registry: String,
    /// The file; `-` is standard input.
    #[arg(
        required_unless_present = "from_registry",
        conflicts_with = "from_registry"
    )]
    file: Option<PathBuf>,
    /// Ask the registry who owns these packages. A login stands for the principal of this name, or
    /// else of this `external_id`; exactly one owner of a package must be a principal. For the
    /// protocols npm, crates-io and rubygems.
    #[arg(long, value_name = "PACKAGE", num_args = 1..)]
    pub from_registry: Vec<String>,
    #[command(flatten)]
    pub config: ConfigFile,
}

pub async fn run(args: &ImportArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    match &args.file {
        Some(file) => of_file(args, file, as_json).await,
        None => from_registry::run(args, as_json).await,
    }
}

async fn of_file(
    args: &ImportArgs,
    file: &Path,
    as_json: bool,
) -> Result<Conclusion, CommandError> {
    let text = read_file(file)?;
    let lines = lines(&text).map_err(CommandError::Other)?;
    let (app, _background) = join(&args.config).await?;
    let rules = app.rules();
    let server = registry(&rules, &args.registry)?;
    let change = |line: &Line| {
        let subject = subject(server, &line.package);
        let subject =
            subject.map_err(|error| CommandError::Other(format!("{}: {error}", line.place)))?;
        Ok((subject, PackageChange::Own(line.principal.clone())))
    };
    let changes = lines
        .iter()
        .map(change)
        .collect::<Result<Vec<_>, CommandError>>()?;
    let made = match change_packages(&app, &changes).await {
        Ok(made) => made,
        Err((at, error)) => {
            let place = lines.get(at).map(|line| format!("{}: ", line.place));
            return refused(error, &place.unwrap_or_default());
        }
    };
    let recorded = made.iter().filter(|made| made.is_change()).count();
    let unchanged = made.len().saturating_sub(recorded);
    if as_json {
        println!("{}", json!({ "changed": recorded, "unchanged": unchanged }));
    } else {
        println!("{recorded} packages were recorded, {unchanged} were so already");
    }
    Ok(Conclusion::Yes)
}

/// A package, its owner, and where the file says so.
#[derive(Debug, PartialEq, Eq)]
pub struct Line {
    pub package: String,
    pub principal: String,
    /// `line 3`, or `element 3` of a JSON list.
    pub place: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Element {
    package: String,
    principal: String,
}

/// Reads CSV, or JSON if the text begins with `[`. The error names the place.
pub fn lines(text: &str) -> Result<Vec<Line>, String> {
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with('[') {
        let elements: Vec<Element> = serde_json::from_str(text)
            .map_err(|error| format!("the file must be JSON: {error}"))?;
        let line = |(element, number): (Element, usize)| Line {
            package: element.package,
            principal: element.principal,
            place: format!("element {number}"),
        };
        return Ok(elements.into_iter().zip(1..).map(line).collect());
    }
    text.lines()
        .zip(1..)
        .filter(|(line, number)| !line.trim().is_empty() && !is_heading(line, *number))
        .map(|(line, number)| of_line(line, number))
        .collect()
}

/// Whether this is a first line that names the columns.
fn is_heading(line: &str, number: usize) -> bool {
    number == 1 && cells(line) == ["package", "principal"]
}

/// The cells of a line, without quotes around them. Names of packages and principals hold neither
/// commas nor quotes.
fn cells(line: &str) -> Vec<&str> {
    line.split(',')
        .map(str::trim)
        .map(|cell| {
            let inner = cell.strip_prefix('"');
            inner
                .and_then(|cell| cell.strip_suffix('"'))
                .unwrap_or(cell)
        })
        .collect()
}

fn of_line(line: &str, number: usize) -> Result<Line, String> {
    match cells(line).as_slice() {
        [package, principal] if !package.is_empty() && !principal.is_empty() => Ok(Line {
            package: (*package).to_owned(),
            principal: (*principal).to_owned(),
            place: format!("line {number}"),
        }),
        _ => Err(format!(
            "line {number} must be a package and a principal, separated by a comma"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(package: &str, principal: &str, place: &str) -> Line {
        Line {
            package: package.to_owned(),
            principal: principal.to_owned(),
            place: place.to_owned(),
        }
    }

    #[test]
    fn csv_and_json_say_the_same_and_mistakes_name_their_place() {
        let csv = "\u{feff}package,principal\r\nwidgets, joel\r\n\r\n\"@acme/gadgets\",\"acme\"\n";
        let read = lines(csv).unwrap();
        assert_eq!(
            read,
            [
                line("widgets", "joel", "line 2"),
                line("@acme/gadgets", "acme", "line 4")
            ]
        );
        let json = r#" [{"package": "widgets", "principal": "joel"}]"#;
        assert_eq!(lines(json).unwrap(), [line("widgets", "joel", "element 1")]);
        assert_eq!(lines("").unwrap(), []);
        for bad in ["a,b\nwidgets", "a,b\nwidgets,joel,acme", "a,b\nwidgets,"] {
            let error = lines(bad).unwrap_err();
            assert!(error.starts_with("line 2 must be"), "{error}");
        }
        for bad in [
            r#"[{"package": "a"}]"#,
            r#"[{"package": "a", "principal": "b", "owner": "c"}]"#,
            "[",
        ] {
            assert!(lines(bad).is_err(), "{bad}");
        }
    }
}
