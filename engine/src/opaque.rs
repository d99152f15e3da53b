//! Opaque access tokens and client secrets: random, and stored only as SHA-256.
//!
//! The form is a prefix, 256 random bits in base62, and six digits of a CRC-32 over both. Secret
//! scanners recognise the prefix. The checksum tells a mistyped or truncated token from an expired
//! one without asking the database.

use carnet_jose::sha256;

use crate::ids;

const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Base62 digits that 256 bits need.
const RANDOM_DIGITS: usize = 43;
/// Base62 digits that 32 bits need.
const CHECKSUM_DIGITS: usize = 6;
const LONGEST_PREFIX: usize = 16;

/// Generates a new token or client secret with this prefix.
pub fn generate(prefix: &str) -> String {
    let mut text = format!("{prefix}{}", base62(&ids::random::<32>(), RANDOM_DIGITS));
    let checksum = checksum(&text);
    text.push_str(&checksum);
    text
}

/// Whether `text` has the form that [`generate`] produces and its checksum is right. Any prefix is
/// accepted.
pub fn is_well_formed(text: &str) -> bool {
    let longest = LONGEST_PREFIX
        .saturating_add(RANDOM_DIGITS)
        .saturating_add(CHECKSUM_DIGITS);
    if text.len() > longest || text.len() <= RANDOM_DIGITS.saturating_add(CHECKSUM_DIGITS) {
        return false;
    }
    let split = text.split_at_checked(text.len().saturating_sub(CHECKSUM_DIGITS));
    split.is_some_and(|(body, sum)| checksum(body) == sum)
}

/// The hash under which a token or client secret is stored. With 256 random bits, no slower hash
/// than SHA-256 is needed.
pub fn hash(text: &str) -> [u8; 32] {
    sha256(text.as_bytes())
}

/// Whether `text` is a valid prefix: 1 to 16 ASCII letters, digits and `_`.
pub fn is_prefix(text: &str) -> bool {
    (1..=LONGEST_PREFIX).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn checksum(text: &str) -> String {
    base62(
        &crc32fast::hash(text.as_bytes()).to_be_bytes(),
        CHECKSUM_DIGITS,
    )
}

/// A big-endian number in base 62, most significant digit first, padded to `digits` digits.
fn base62(number: &[u8], digits: usize) -> String {
    let mut number = number.to_vec();
    let mut text = vec![b'0'; digits];
    for slot in text.iter_mut().rev() {
        let mut remainder = 0u32;
        for byte in &mut number {
            let value = (remainder << 8) | u32::from(*byte);
            *byte = u8::try_from(value / 62).unwrap_or_default();
            remainder = value % 62;
        }
        *slot = usize::try_from(remainder)
            .ok()
            .and_then(|at| DIGITS.get(at))
            .copied()
            .unwrap_or(b'0');
    }
    text.into_iter().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc6749_10_10_1__opaque_tokens_do_not_repeat_and_have_full_length() {
        let drawn: std::collections::HashSet<String> =
            (0..10_000).map(|_| generate("cnt_")).collect();
        assert_eq!(drawn.len(), 10_000);
        for text in drawn.iter().take(100) {
            assert_eq!(text.len(), 4 + RANDOM_DIGITS + CHECKSUM_DIGITS);
            assert!(text.starts_with("cnt_") && is_well_formed(text), "{text}");
        }
    }

    #[test]
    fn an_opaque_token_with_a_wrong_or_missing_character_is_not_well_formed() {
        let text = generate("cnt_");
        for at in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[at] = if other[at] == b'x' { b'y' } else { b'x' };
            assert!(!is_well_formed(&String::from_utf8(other).unwrap()), "{at}");
        }
        let (begun, cut) = (
            text.trim_start_matches('c'),
            text.split_at(text.len() - 1).0,
        );
        for other in [
            "",
            "cnt_",
            begun,
            cut,
            &format!("{text}0"),
            "é",
            &"x".repeat(200),
        ] {
            assert!(!is_well_formed(other), "{other}");
        }
    }

    #[test]
    fn a_right_checksum_does_not_make_up_for_the_length() {
        let with_sum = |body: &str| format!("{body}{}", checksum(body));
        let of = |prefix: usize| {
            with_sum(&format!(
                "{}{}",
                "p".repeat(prefix),
                "0".repeat(RANDOM_DIGITS)
            ))
        };
        assert!(is_well_formed(&of(1)) && is_well_formed(&of(LONGEST_PREFIX)));
        for text in [of(0), of(LONGEST_PREFIX + 1), with_sum("p"), with_sum("")] {
            assert!(!is_well_formed(&text), "{text}");
        }
    }

    #[test]
    fn numbers_are_written_in_base_62() {
        assert_eq!(base62(&[0], 2), "00");
        assert_eq!(base62(&[61], 2), "0z");
        assert_eq!(base62(&[62], 2), "10");
        assert_eq!(base62(&[255; 32], RANDOM_DIGITS).len(), RANDOM_DIGITS);
        assert_eq!(base62(&[255; 4], CHECKSUM_DIGITS), "4gfFC3");
    }

    #[test]
    fn token_prefixes_are_short_words() {
        for prefix in ["a", "cnt_", "Reg1stry_"] {
            assert!(is_prefix(prefix), "{prefix}");
        }
        for prefix in ["", "a-b", "a b", "é", &"x".repeat(17)] {
            assert!(!is_prefix(prefix), "{prefix}");
        }
    }
}
