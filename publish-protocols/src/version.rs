//! Versions of Python packages (PEP 440), and what the other protocols call a version.

use crate::{Text, Unreadable};

/// The longest version of any protocol.
const LONGEST: usize = 128;

/// The normal form of a Python version (PEP 440, "Normalization"), or `None` if it is none.
///
/// Zeros at the end are kept: `1.0` and `1.0.0` are equal versions, but an index stores the spelling, and the places of one upload
/// are all written by one tool.
pub(crate) fn pep440(version: &str) -> Option<String> {
    let text = version.trim().to_ascii_lowercase();
    if text.len() > LONGEST {
        return None;
    }
    let rest = text.strip_prefix('v').unwrap_or(&text);
    let (rest, local) = match rest.split_once('+') {
        Some((rest, local)) => (rest, Some(local)),
        None => (rest, None),
    };
    let (epoch, rest) = match rest.split_once('!') {
        Some((epoch, rest)) => (number(epoch)?, rest),
        None => ("0", rest),
    };
    let mut reader = Reader { rest };
    let mut normal = if epoch == "0" {
        String::new()
    } else {
        format!("{epoch}!")
    };
    normal.push_str(number(reader.digits())?);
    while let Some(part) = reader
        .rest
        .strip_prefix('.')
        .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    {
        reader.rest = part;
        normal.push('.');
        normal.push_str(number(reader.digits())?);
    }
    suffixes(&mut reader, &mut normal)?;
    if !reader.rest.is_empty() {
        return None;
    }
    if let Some(local) = local {
        normal.push('+');
        normal.push_str(&local_part(local)?);
    }
    Some(normal)
}

/// Pre-release, post-release and development release, each if it is there.
fn suffixes(reader: &mut Reader<'_>, normal: &mut String) -> Option<()> {
    if let Some(label) = reader.label(&[
        ("alpha", "a"),
        ("beta", "b"),
        ("preview", "rc"),
        ("pre", "rc"),
        ("rc", "rc"),
        ("a", "a"),
        ("b", "b"),
        ("c", "rc"),
    ]) {
        normal.push_str(label);
        normal.push_str(reader.serial()?);
    }
    if let Some(serial) = reader
        .rest
        .strip_prefix('-')
        .filter(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    {
        reader.rest = serial;
        normal.push_str(".post");
        normal.push_str(number(reader.digits())?);
    } else if reader
        .label(&[("post", ""), ("rev", ""), ("r", "")])
        .is_some()
    {
        normal.push_str(".post");
        normal.push_str(reader.serial()?);
    }
    if reader.label(&[("dev", "")]).is_some() {
        normal.push_str(".dev");
        normal.push_str(reader.serial()?);
    }
    Some(())
}

/// What is left of a version.
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    fn digits(&mut self) -> &'a str {
        let end = self
            .rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at_checked(end).unwrap_or((self.rest, ""));
        self.rest = rest;
        digits
    }

    /// One of the words, with a separator before it or without.
    fn label(&mut self, words: &[(&str, &'static str)]) -> Option<&'static str> {
        let bare = self.rest.strip_prefix(['.', '-', '_']).unwrap_or(self.rest);
        let (word, label) = words.iter().find(|(word, _)| bare.starts_with(word))?;
        self.rest = bare.strip_prefix(word)?;
        Some(label)
    }

    /// The number after a label, with a separator before it or without; zero if there is none.
    fn serial(&mut self) -> Option<&'a str> {
        let bare = self.rest.strip_prefix(['.', '-', '_']).unwrap_or(self.rest);
        if !bare.starts_with(|c: char| c.is_ascii_digit()) {
            return Some("0");
        }
        self.rest = bare;
        number(self.digits())
    }
}

/// Digits without the zeros before them.
fn number(digits: &str) -> Option<&str> {
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let bare = digits.trim_start_matches('0');
    Some(if bare.is_empty() { "0" } else { bare })
}

fn local_part(local: &str) -> Option<String> {
    let parts: Option<Vec<&str>> = local
        .split(['.', '-', '_'])
        .map(|part| {
            let alphanumeric = !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
            alphanumeric.then(|| number(part).unwrap_or(part))
        })
        .collect();
    parts.map(|parts| parts.join("."))
}

/// The name of a Python package as PEP 503 normalises it.
pub(crate) fn pep503(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, '-' | '_' | '.') {
            if !normal.ends_with('-') {
                normal.push('-');
            }
        } else {
            normal.push(c.to_ascii_lowercase());
        }
    }
    normal
}

/// Whether this is a version of SemVer 2.0.0, as npm and cargo take.
pub(crate) fn is_semver(version: &str) -> bool {
    version.len() <= LONGEST && semver::Version::parse(version).is_ok()
}

/// Whether this is a version of a gem (`Gem::Version::VERSION_PATTERN`, anchored).
pub(crate) fn is_gem_version(version: &str) -> bool {
    let word = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric());
    let (dotted, tail) = match version.split_once('-') {
        Some((dotted, tail)) => (dotted, Some(tail)),
        None => (version, None),
    };
    let mut parts = dotted.split('.');
    version.len() <= LONGEST
        && parts.next().is_some_and(|first| number(first).is_some())
        && parts.all(word)
        && tail.is_none_or(|tail| {
            tail.split('.').all(|part| {
                !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            })
        })
}

/// Whether this is a version of NuGet: one to four numbers, then what SemVer 2.0.0 puts after them.
pub(crate) fn is_nuget_version(version: &str) -> bool {
    let labels = |text: &str| {
        text.split('.').all(|part| {
            !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        })
    };
    let (version_part, build) = match version.split_once('+') {
        Some((version, build)) => (version, Some(build)),
        None => (version, None),
    };
    let (numbers, prerelease) = match version_part.split_once('-') {
        Some((numbers, prerelease)) => (numbers, Some(prerelease)),
        None => (version_part, None),
    };
    version.len() <= LONGEST
        && numbers.split('.').count() <= 4
        && numbers
            .split('.')
            .all(|part| part.len() <= 10 && number(part).is_some())
        && prerelease.is_none_or(labels)
        && build.is_none_or(labels)
}

/// Refuses a version that the protocol does not know.
pub(crate) fn check(
    known: bool,
    field: impl Into<Text>,
    protocol: &'static str,
    version: &str,
) -> Result<(), Unreadable> {
    if known {
        Ok(())
    } else {
        Err(Unreadable::InvalidVersion {
            field: field.into(),
            protocol,
            received: version.into(),
        })
    }
}

/// Refuses a second version that is not the first.
pub(crate) fn same(
    field: impl Into<Text>,
    version: &str,
    reference: &'static str,
    expected: &str,
) -> Result<(), Unreadable> {
    if version == expected {
        return Ok(());
    }
    Err(Unreadable::VersionMismatch {
        field: field.into(),
        reference: reference.into(),
        expected: expected.into(),
        received: version.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn python_versions_have_one_normal_form() {
        for (version, normal) in [
            ("1.0", "1.0"),
            ("v1.0", "1.0"),
            (" 1.0 ", "1.0"),
            ("01.002", "1.2"),
            ("1.0.0", "1.0.0"),
            ("1!2.0", "1!2.0"),
            ("0!2.0", "2.0"),
            ("1.0ALPHA1", "1.0a1"),
            ("1.0-beta.2", "1.0b2"),
            ("1.0_c", "1.0rc0"),
            ("1.0preview3", "1.0rc3"),
            ("1.0-1", "1.0.post1"),
            ("1.0.rev4", "1.0.post4"),
            ("1.0r4", "1.0.post4"),
            ("1.0dev", "1.0.dev0"),
            ("1.0a1.post2.dev3+Ubuntu-01", "1.0a1.post2.dev3+ubuntu.1"),
        ] {
            assert_eq!(pep440(version).as_deref(), Some(normal), "{version}");
        }
        for odd in [
            "",
            "a",
            "1.",
            "1..0",
            "1.0x",
            "1.0+",
            "1.0+a..b",
            "1.0 a",
            "1!!2",
            "-1",
            "1.0-",
            "\u{661}",
            "!1",
            &"1".repeat(200),
        ] {
            assert_eq!(pep440(odd), None, "{odd}");
        }
    }

    #[test]
    fn python_names_fold_as_pep_503_says() {
        assert_eq!(pep503("Foo.__-Bar"), "foo-bar");
    }

    #[test]
    fn versions_are_those_of_the_protocol() {
        for version in ["1", "1.2.3.4", "1.0-rc.1", "1.0.0-a-b+c.d"] {
            assert!(is_nuget_version(version), "{version}");
        }
        for version in [
            "",
            "1.2.3.4.5",
            "1.",
            "1.0-",
            "1.0+",
            "1.0-a..b",
            "a",
            "1.0 ",
            "12345678901",
        ] {
            assert!(!is_nuget_version(version), "{version}");
        }
        for version in ["0", "1.2.3", "1.0.beta1", "1.0-x"] {
            assert!(is_gem_version(version), "{version}");
        }
        for version in ["", "a", "1.", "1..2", " 1", "1\n", "1.0-", "1/2"] {
            assert!(!is_gem_version(version), "{version}");
        }
        assert!(is_semver("1.0.0-rc.1+b") && !is_semver("1.0") && !is_semver("v1.0.0"));
    }
}
