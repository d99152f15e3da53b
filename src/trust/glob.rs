//! Globs: `*` is any run of characters without `/`, `**` any run at all. Nothing else is special and nothing can be
//! escaped (decision D-54).

/// The longest pattern, in bytes.
pub const MAX_PATTERN_BYTES: usize = 256;

#[derive(Clone, Copy, PartialEq)]
enum Token {
    Byte(u8),
    WithinSegment,
    Anything,
}

/// Whether `text` fits `pattern`, whole. An empty text fits nothing.
///
/// The set of positions reached in the pattern is carried along the text, so the work is bounded by the product of the two
/// lengths whatever the pattern.
pub fn matches(pattern: &str, text: &str) -> bool {
    let literal = pattern.split('*').next().unwrap_or_default();
    let Some(rest) = text.strip_prefix(literal).filter(|_| !text.is_empty()) else {
        return false;
    };
    let tokens = tokens(pattern.get(literal.len()..).unwrap_or_default());
    // reached[i]: the first i tokens fit what was read so far.
    let mut reached = vec![false; tokens.len().saturating_add(1)];
    start(&mut reached);
    pass_over_stars(&mut reached, &tokens);
    for byte in rest.bytes() {
        let mut next = vec![false; reached.len()];
        for (at, token) in tokens.iter().enumerate() {
            if !reached.get(at).copied().unwrap_or(false) {
                continue;
            }
            let (stays, moves) = match token {
                Token::Byte(expected) => (false, *expected == byte),
                Token::WithinSegment => (byte != b'/', false),
                Token::Anything => (true, false),
            };
            set(&mut next, at, stays);
            set(&mut next, at.saturating_add(1), moves);
        }
        pass_over_stars(&mut next, &tokens);
        reached = next;
    }
    reached.last().copied().unwrap_or(false)
}

fn start(reached: &mut [bool]) {
    set(reached, 0, true);
}

fn set(reached: &mut [bool], at: usize, value: bool) {
    if let Some(slot) = reached.get_mut(at) {
        *slot |= value;
    }
}

/// A star may stand for nothing.
fn pass_over_stars(reached: &mut [bool], tokens: &[Token]) {
    for (at, token) in tokens.iter().enumerate() {
        if !matches!(token, Token::Byte(_)) && reached.get(at).copied().unwrap_or(false) {
            set(reached, at.saturating_add(1), true);
        }
    }
}

fn tokens(pattern: &str) -> Vec<Token> {
    let mut tokens = Vec::with_capacity(pattern.len());
    let mut bytes = pattern.bytes().peekable();
    while let Some(byte) = bytes.next() {
        tokens.push(match byte {
            b'*' if bytes.next_if_eq(&b'*').is_some() => Token::Anything,
            b'*' => Token::WithinSegment,
            other => Token::Byte(other),
        });
    }
    tokens
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn atk_126__a_star_stops_at_a_slash_and_two_do_not() {
        assert!(matches("refs/heads/release/*", "refs/heads/release/a"));
        assert!(!matches("refs/heads/release/*", "refs/heads/release/a/b"));
        assert!(matches("refs/heads/release/**", "refs/heads/release/a/b"));
        assert!(!matches("refs/heads/release/*", "refs/tags/release/1"));
        assert!(matches("refs/tags/v*", "refs/tags/v"));
        assert!(matches("refs/tags/v*-rc*", "refs/tags/v1-rc2"));
        assert!(!matches("refs/tags/v*-rc*", "refs/tags/v1-r"));
        assert!(matches("**/x", "a/b/x") && matches("**x", "a/b/x") && !matches("*/x", "a/b/x"));
        assert!(matches("a**b*c", "a/b/bxc") && !matches("a**b*c", "a/b/bx/c"));
    }

    #[test]
    fn atk_127__other_metacharacters_are_data() {
        for text in ["[a]", "?", ".*", "(a+)+$", "a|b", "\\", "{a,b}"] {
            assert!(matches(text, text), "{text}");
            assert!(!matches(text, "a"), "{text}");
        }
        assert!(!matches("refs/heads/release-1.*", "refs/heads/release-1x0"));
        assert!(matches("*", "[a]?"));
        let hostile = "a".repeat(4096);
        assert!(!matches(&("a*".repeat(127) + "b"), &hostile));
    }

    #[test]
    fn atk_128__nothing_fits_an_empty_text() {
        for pattern in ["", "*", "**", "a"] {
            assert!(!matches(pattern, ""), "{pattern}");
        }
        assert!(!matches("", "a"));
    }

    proptest! {
        #[test]
        fn a_star_never_crosses_a_slash(prefix in "[a-z/]{0,6}", middle in "[a-z/]{0,8}", suffix in "[a-z]{0,4}") {
            let text = format!("{prefix}{middle}{suffix}");
            let single = matches(&format!("{prefix}*{suffix}"), &text);
            prop_assume!(!text.is_empty());
            if !middle.contains('/') {
                prop_assert!(single);
            }
            if single {
                // Some split of the text has a middle without slash.
                let rest = text.strip_prefix(&prefix).and_then(|rest| rest.strip_suffix(&suffix));
                prop_assert!(rest.is_some_and(|rest| !rest.contains('/')));
            }
            let double = format!("{prefix}**{suffix}");
            prop_assert!(matches(&double, &text));
        }

        #[test]
        fn a_pattern_without_star_is_equality(a in "[a-z*/.]{0,8}", b in "[a-z*/.]{0,8}") {
            prop_assume!(!a.contains('*'));
            prop_assert_eq!(matches(&a, &b), a == b && !b.is_empty());
        }
    }
}
