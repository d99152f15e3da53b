//! The files of `carnet gateway owners import`.

use serde::Deserialize;

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
