//! Core metadata (PEP 566 and its successors): the header of `METADATA` and `PKG-INFO`, as far as an index needs it.

use crate::Unreadable;

#[derive(Debug, Default)]
pub(super) struct CoreMetadata<'a> {
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    pub(super) requires_python: Option<&'a str>,
}

impl<'a> CoreMetadata<'a> {
    /// Reads the header up to the empty line. Lines that Python's parser of mail headers could end or continue differently are
    /// refused, and so is a field that decides anything and occurs twice.
    pub(super) fn parse(text: &'a str) -> Result<Self, Unreadable> {
        let (mut name, mut version, mut requires_python) = (None, None, None);
        // What the field of the line before holds, for a line that continues it.
        let mut decisive = true;
        for line in text.split('\n') {
            let line = line.strip_suffix('\r').unwrap_or(line);
            if line.is_empty() {
                break;
            }
            if line.contains(['\r', '\0']) {
                return Err(malformed("lines that end with a line feed", line));
            }
            if line.starts_with([' ', '\t']) {
                if decisive {
                    return Err(malformed(
                        "Name, Version and Requires-Python on one line",
                        line,
                    ));
                }
                continue;
            }
            let (key, value) = line
                .split_once(':')
                .ok_or_else(|| malformed("lines of a key and a value", line))?;
            if key.is_empty()
                || !key
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
            {
                return Err(malformed("keys of letters, digits and hyphens", line));
            }
            let slot = match key.to_ascii_lowercase().as_str() {
                "name" => Some(&mut name),
                "version" => Some(&mut version),
                "requires-python" => Some(&mut requires_python),
                _ => None,
            };
            decisive = slot.is_some();
            if slot.is_some_and(|slot| slot.replace(value.trim_matches([' ', '\t'])).is_some()) {
                return Err(Unreadable::duplicate(format!(
                    "{key} of the archive's metadata"
                )));
            }
        }
        Ok(Self {
            name: name.ok_or_else(|| Unreadable::missing("Name of the archive's metadata"))?,
            version: version
                .ok_or_else(|| Unreadable::missing("Version of the archive's metadata"))?,
            requires_python,
        })
    }
}

fn malformed(expected: &'static str, line: &str) -> Unreadable {
    Unreadable::malformed("the archive's metadata", expected, line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_gives_name_version_and_python() {
        let parsed = CoreMetadata::parse("Metadata-Version: 2.1\r\nName: foo\nVersion:1.0\nRequires-Python: >=3.9\nDescription: a\n  b\n\nName: bar\n").unwrap();
        assert_eq!(
            (parsed.name, parsed.version, parsed.requires_python),
            ("foo", "1.0", Some(">=3.9"))
        );
    }

    #[test]
    fn a_header_that_readers_understand_differently_is_refused() {
        for (text, code) in [
            ("Name: foo\nname: bar\nVersion: 1\n", "duplicate_field"),
            ("Name: foo\n bar\nVersion: 1\n", "malformed"),
            (
                "Summary: a\rName: bar\nName: foo\nVersion: 1\n",
                "malformed",
            ),
            ("Name: foo\nVersion 1\n", "malformed"),
            ("Name : foo\nVersion: 1\n", "malformed"),
            ("\u{feff}Name: foo\nVersion: 1\n", "malformed"),
            ("Name: foo\n\nVersion: 1\n", "missing_field"),
            ("", "missing_field"),
        ] {
            assert_eq!(
                CoreMetadata::parse(text).unwrap_err().code(),
                code,
                "{text:?}"
            );
        }
    }
}
