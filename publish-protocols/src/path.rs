//! Paths of requests.

/// The segments of a path below the registry's root, as they were sent; a slash at the end gives an empty last segment.
///
/// `None` if the path is spelled in a way in which no client spells one and that servers resolve differently.
pub fn segments(path: &str) -> Option<Vec<&str>> {
    const LONGEST: usize = 2048;
    let rest = path.strip_prefix('/')?;
    if path.len() > LONGEST || !rest.bytes().all(is_path_byte) {
        return None;
    }
    let segments: Vec<&str> = rest.split('/').collect();
    let (_, before) = segments.split_last()?;
    let odd = |segment: &&str| {
        matches!(*segment, "." | "..") || segment.to_ascii_lowercase().contains("%2e")
    };
    (!before.iter().any(|segment| segment.is_empty()) && !segments.iter().any(odd))
        .then_some(segments)
}

/// The characters of a segment (RFC 3986, `pchar`) without those that some servers give a meaning of their own.
fn is_path_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,=:@%/".contains(&byte)
}

/// Decodes a segment of which only the characters in `encoded` may be percent-encoded.
pub(crate) fn decode(segment: &str, encoded: &[char]) -> Option<String> {
    if !segment.contains('%') {
        return Some(segment.to_owned());
    }
    let mut pieces = segment.split('%');
    let mut decoded = pieces.next()?.to_owned();
    for piece in pieces {
        let (code, rest) = piece.split_at_checked(2)?;
        let character = char::from(
            u8::from_str_radix(code, 16)
                .ok()
                .filter(|_| !code.starts_with('+'))?,
        );
        if !encoded.contains(&character) {
            return None;
        }
        decoded.push(character);
        decoded.push_str(rest);
    }
    Some(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_usual_spelling_of_a_path_is_one() {
        assert_eq!(segments("/api/v1/gems"), Some(vec!["api", "v1", "gems"]));
        assert_eq!(segments("/legacy/"), Some(vec!["legacy", ""]));
        assert_eq!(segments("/"), Some(vec![""]));
        for odd in [
            "",
            "legacy",
            "//legacy/",
            "/a//b",
            "/a/./b",
            "/a/../b",
            "/a/..;/b",
            "/a/%2E%2e/b",
            "/a?b",
            "/a\\b",
            "/a b",
            "/a#b",
            "/\u{e9}",
        ] {
            assert_eq!(segments(odd), None, "{odd}");
        }
    }

    #[test]
    fn only_characters_that_clients_encode_are_decoded() {
        assert_eq!(decode("@a%2fb", &['@', '/']).as_deref(), Some("@a/b"));
        assert_eq!(decode("%40a%2Fb", &['@', '/']).as_deref(), Some("@a/b"));
        for odd in ["%", "%2", "%61", "%252f", "%+f", "a%zz"] {
            assert_eq!(decode(odd, &['@', '/']), None, "{odd}");
        }
    }
}
