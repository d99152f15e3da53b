//! Ruby objects in the form of Ruby's `Marshal`, version 4.8: the few kinds that the indexes of
//! gems consist of.

/// One marshalled object.
#[derive(Clone)]
pub(super) struct Marshal(Vec<u8>);

/// The version of the form, with which every document begins.
const VERSION: [u8; 2] = [4, 8];

impl Marshal {
    pub(super) fn nil() -> Self {
        Self(b"0".to_vec())
    }

    pub(super) fn truth() -> Self {
        Self(b"T".to_vec())
    }

    pub(super) fn integer(number: u32) -> Self {
        Self([b"i".to_vec(), long(number)].concat())
    }

    /// A string in UTF-8: an object with the instance variable `E`, which is true.
    pub(super) fn text(text: &str) -> Self {
        let variables = [long(1), symbol("E"), Self::truth().0].concat();
        Self([b"I\"".to_vec(), counted(text.as_bytes()), variables].concat())
    }

    pub(super) fn array(elements: impl IntoIterator<Item = Self>) -> Self {
        let elements: Vec<Vec<u8>> = elements.into_iter().map(|element| element.0).collect();
        let head = [b"[".to_vec(), length(elements.len())].concat();
        Self([head, elements.concat()].concat())
    }

    pub(super) fn empty_hash() -> Self {
        Self([b"{".to_vec(), long(0)].concat())
    }

    /// A `Gem::Version`, which marshals itself as an array of its text.
    pub(super) fn version(version: &str) -> Self {
        Self::own("Gem::Version", Self::array([Self::text(version)]))
    }

    /// A `Gem::Requirement` for any version, which marshals itself as an array of its list.
    fn any_version() -> Self {
        let any = Self::array([Self::text(">="), Self::version("0")]);
        Self::own("Gem::Requirement", Self::array([Self::array([any])]))
    }

    /// An object of a class with `marshal_dump`.
    fn own(class: &str, dumped: Self) -> Self {
        Self([b"U".to_vec(), symbol(class), dumped.0].concat())
    }

    /// The document with this object.
    pub(super) fn dump(self) -> Vec<u8> {
        [VERSION.to_vec(), self.0].concat()
    }
}

/// The document with a `Gem::Specification`. RubyGems resolves dependencies by the compact index and
/// installs by the specification inside the gem, so this one has only what names the gem.
pub(super) fn specification(name: &str, version: &str, platform: &str) -> Vec<u8> {
    let text = Marshal::text;
    // The order of `Gem::Specification#_dump` for the fourth version of specifications.
    let members = Marshal::array([
        text("3.0.0"), // the version of RubyGems that wrote it
        Marshal::integer(4),
        text(name),
        Marshal::version(version),
        Marshal::nil(), // date
        text(name),     // summary
        Marshal::any_version(),
        Marshal::any_version(),
        text(platform),
        Marshal::array([]), // dependencies
        text(""),           // rubyforge_project
        Marshal::nil(),     // email
        Marshal::array([]), // authors
        Marshal::nil(),     // description
        Marshal::nil(),     // homepage
        Marshal::truth(),   // has_rdoc
        text(platform),
        Marshal::array([]), // licenses
        Marshal::empty_hash(),
    ]);
    // A class with `_dump`: its name, and a string that is a document of its own.
    let class = [b"u".to_vec(), symbol("Gem::Specification")].concat();
    let object = [class, counted(&members.dump())].concat();
    Marshal(object).dump()
}

fn symbol(name: &str) -> Vec<u8> {
    [b":".to_vec(), counted(name.as_bytes())].concat()
}

fn counted(bytes: &[u8]) -> Vec<u8> {
    [length(bytes.len()), bytes.to_vec()].concat()
}

fn length(length: usize) -> Vec<u8> {
    long(u32::try_from(length).unwrap_or(u32::MAX))
}

/// A number: small ones in one byte, moved by 5; others as their length and their bytes, lowest
/// first.
fn long(number: u32) -> Vec<u8> {
    match u8::try_from(number) {
        Ok(0) => vec![0],
        Ok(small @ 1..=122) => vec![small.saturating_add(5)],
        _ => {
            let bytes = number.to_le_bytes();
            let zeros = usize::try_from(number.leading_zeros() / 8).unwrap_or_default();
            let used = bytes.len().saturating_sub(zeros);
            let count = u8::try_from(used).unwrap_or(u8::MAX);
            std::iter::once(count)
                .chain(bytes.into_iter().take(used))
                .collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_written_as_ruby_writes_them() {
        // `Marshal.dump(["a", 4, nil])` of Ruby 3.1, and of numbers on both sides of each border.
        let list = Marshal::array([Marshal::text("a"), Marshal::integer(4), Marshal::nil()]);
        assert_eq!(list.dump(), b"\x04\x08[\x08I\"\x06a\x06:\x06ETi\x090");
        assert_eq!(long(122), [127]);
        assert_eq!(long(123), [1, 123]);
        assert_eq!(long(255), [1, 255]);
        assert_eq!(long(256), [2, 0, 1]);
        assert_eq!(long(65_536), [3, 0, 0, 1]);
    }
}
