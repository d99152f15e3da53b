//! Names of files on a Python index: wheels (PEP 427) and source distributions (PEP 625).

use crate::{PypiFileType, Unreadable};

/// A file name, taken apart.
#[derive(Debug)]
pub(super) struct FileName<'a> {
    pub(super) name: &'a str,
    pub(super) version: &'a str,
    /// The file name without its extension.
    pub(super) stem: &'a str,
    pub(super) file_type: PypiFileType,
}

impl<'a> FileName<'a> {
    pub(super) fn parse(text: &'a str, file_type: PypiFileType) -> Result<Self, Unreadable> {
        let (expected, parsed) = match file_type {
            PypiFileType::Wheel => ("NAME-VERSION[-BUILD]-PYTHON-ABI-PLATFORM.whl", wheel(text)),
            PypiFileType::Sdist => ("NAME-VERSION.tar.gz", sdist(text)),
        };
        let plain = text.len() <= 255
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._+!".contains(&b));
        parsed
            .filter(|_| plain)
            .ok_or_else(|| Unreadable::malformed("the file name of field content", expected, text))
    }
}

fn wheel(text: &str) -> Option<FileName<'_>> {
    let stem = text.strip_suffix(".whl")?;
    let parts: Vec<&str> = stem.split('-').collect();
    let (name, version) = match parts.as_slice() {
        [name, version, _, _, _] => (*name, *version),
        [name, version, build, _, _, _] if build.starts_with(|c: char| c.is_ascii_digit()) => {
            (*name, *version)
        }
        _ => return None,
    };
    // Some indexes find the version by the first digit.
    let is_version = version.starts_with(|c: char| c.is_ascii_digit());
    (is_version && !parts.contains(&"")).then_some(FileName {
        name,
        version,
        stem,
        file_type: PypiFileType::Wheel,
    })
}

fn sdist(text: &str) -> Option<FileName<'_>> {
    let stem = text.strip_suffix(".tar.gz")?;
    // Neither a normalised version nor one of older tools has a hyphen; the names of older tools have.
    let (name, version) = stem.rsplit_once('-')?;
    // Some indexes take the first hyphen before a digit for the end of the name, and would find another package.
    let is_digit = |text: &str| text.starts_with(|c: char| c.is_ascii_digit());
    let ends_once = !name.split('-').skip(1).any(is_digit);
    (ends_once && is_digit(version)).then_some(FileName {
        name,
        version,
        stem,
        file_type: PypiFileType::Sdist,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_files_come_apart_as_pep_427_and_625_say() {
        for (text, file_type, name, version) in [
            (
                "foo_bar-1.0-py3-none-any.whl",
                PypiFileType::Wheel,
                "foo_bar",
                "1.0",
            ),
            (
                "foo-1.0-2x-cp312-cp312-manylinux_2_17_x86_64.whl",
                PypiFileType::Wheel,
                "foo",
                "1.0",
            ),
            (
                "foo-1.0+local-py3-none-any.whl",
                PypiFileType::Wheel,
                "foo",
                "1.0+local",
            ),
            ("foo_bar-1.0.tar.gz", PypiFileType::Sdist, "foo_bar", "1.0"),
            ("foo-bar-1.0.tar.gz", PypiFileType::Sdist, "foo-bar", "1.0"),
        ] {
            let parsed = FileName::parse(text, file_type).unwrap();
            assert_eq!((parsed.name, parsed.version), (name, version));
        }
        for (text, file_type) in [
            ("foo-1.0-py3-none-any.zip", PypiFileType::Wheel),
            ("foo-1.0-x-py3-none-any.whl", PypiFileType::Wheel),
            ("foo-1.0-py3-any.whl", PypiFileType::Wheel),
            ("foo--py3-none-any.whl", PypiFileType::Wheel),
            ("../foo-1.0-py3-none-any.whl", PypiFileType::Wheel),
            ("foo-1.0-py3-none-any.whl", PypiFileType::Sdist),
            ("foo.tar.gz", PypiFileType::Sdist),
            ("foo-1.0.tar.gz\0", PypiFileType::Sdist),
            ("foo-1.0.zip", PypiFileType::Sdist),
            ("requests-9.0-1.tar.gz", PypiFileType::Sdist),
            ("foo-2-bar-1.0.tar.gz", PypiFileType::Sdist),
            ("foo-v1.0.tar.gz", PypiFileType::Sdist),
            ("foo-v1.0-py3-none-any.whl", PypiFileType::Wheel),
        ] {
            assert_eq!(
                FileName::parse(text, file_type).unwrap_err().code(),
                "malformed",
                "{text}"
            );
        }
    }
}
