//! Versions of NuGet packages ("Package versioning" of NuGet's documentation).

use std::fmt;

/// A version of NuGet, as versions are compared. Its text is the normal form, in which URLs name versions: three numbers, a fourth
/// if it is not zero, the label in lower case, and no build metadata.
///
/// ```
/// use carnet_publish_protocols::NugetVersion;
///
/// assert_eq!(NugetVersion::of("01.0-Beta+5").to_string(), "1.0.0-beta");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NugetVersion<'v> {
    /// Major, minor, patch and revision. What is no number counts as zero.
    pub numbers: [u64; 4],
    /// The label of a prerelease, as it was written.
    pub label: Option<&'v str>,
}

impl<'v> NugetVersion<'v> {
    /// Takes a version apart that was checked before.
    pub fn of(version: &'v str) -> Self {
        let (version, _) = version.split_once('+').unwrap_or((version, ""));
        let (numbers, label) = match version.split_once('-') {
            Some((numbers, label)) => (numbers, Some(label)),
            None => (version, None),
        };
        let mut four = [0; 4];
        for (place, number) in four.iter_mut().zip(numbers.split('.')) {
            *place = number.parse().unwrap_or_default();
        }
        Self {
            numbers: four,
            label,
        }
    }
}

impl fmt::Display for NugetVersion<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch, revision] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        if revision != 0 {
            write!(f, ".{revision}")?;
        }
        match self.label {
            Some(label) => write!(f, "-{}", label.to_ascii_lowercase()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_have_one_form_in_urls() {
        for (version, form) in [
            ("1", "1.0.0"),
            ("1.0", "1.0.0"),
            ("01.2.3.0", "1.2.3"),
            ("1.2.3.4", "1.2.3.4"),
            ("1.0.0-Beta.1+build", "1.0.0-beta.1"),
        ] {
            assert_eq!(NugetVersion::of(version).to_string(), form, "{version}");
        }
    }
}
