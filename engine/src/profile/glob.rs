//! Globs (decision D-54): `*` matches any run of characters without `/`, `**` matches any run. No
//! other character is special, and there is no escape.

use super::LetterCase;

/// The longest pattern, in bytes, and the most wildcards in it; `**` counts as one.
pub const MAX_PATTERN_BYTES: usize = 256;
pub const MAX_STARS: usize = 8;

#[derive(Clone, Copy, PartialEq)]
enum Token {
    Byte(u8),
    WithinSegment,
    Anything,
}

/// Whether `pattern` matches the whole of `text`. No pattern matches an empty text.
///
/// The set of reached positions in the pattern is carried along the text. The work is therefore
/// bounded by the product of the two lengths, whatever the pattern: there is no backtracking.
pub fn matches(pattern: &str, text: &str) -> bool {
    let literal = pattern.split('*').next().unwrap_or_default();
    let Some(rest) = text.strip_prefix(literal).filter(|_| !text.is_empty()) else {
        return false;
    };
    let tokens = tokens(pattern.get(literal.len()..).unwrap_or_default());
    // reached[i]: the first i tokens match the text read so far.
    let mut reached = vec![false; tokens.len().saturating_add(1)];
    let mut next = reached.clone();
    set(&mut reached, 0, true);
    pass_over_stars(&mut reached, &tokens);
    for byte in rest.bytes() {
        next.fill(false);
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
        std::mem::swap(&mut reached, &mut next);
    }
    reached.last().copied().unwrap_or(false)
}

/// Whether `pattern` matches the whole of `text` under the case rule `case`.
pub fn matches_by(case: LetterCase, pattern: &str, text: &str) -> bool {
    match case {
        LetterCase::Exact => matches(pattern, text),
        LetterCase::Name if !text.is_ascii() => false,
        LetterCase::Fold | LetterCase::Name | LetterCase::Email => {
            matches(&case.key(pattern), &case.key(text))
        }
    }
}

/// How many wildcards a pattern has; `**` counts as one.
pub fn stars(pattern: &str) -> usize {
    tokens(pattern)
        .iter()
        .filter(|token| !matches!(token, Token::Byte(_)))
        .count()
}

fn set(reached: &mut [bool], at: usize, value: bool) {
    if let Some(slot) = reached.get_mut(at) {
        *slot |= value;
    }
}

/// A wildcard may match no character at all.
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
    fn atk_126__a_star_stops_at_a_slash_and_a_double_star_does_not() {
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
    fn atk_127__metacharacters_other_than_the_star_are_literal() {
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
    fn nuget_pol_3__a_pattern_is_compared_by_the_case_rule_of_its_field() {
        assert!(
            matches_by(LetterCase::Fold, "Prod-*", "pROD-eu")
                && !matches_by(LetterCase::Exact, "Prod-*", "pROD-eu")
        );
        assert!(
            matches_by(LetterCase::Fold, "é*", "éx") && !matches_by(LetterCase::Fold, "É*", "éx")
        );
        assert!(
            matches_by(LetterCase::Name, "Octo-*", "octo-org")
                && !matches_by(LetterCase::Name, "octo-*", "octo-é")
        );
        assert!(
            matches_by(LetterCase::Email, "a*@X.y", "ab@x.Y")
                && !matches_by(LetterCase::Email, "a*@x.y", "Ab@x.y")
        );
        assert!(!matches_by(LetterCase::Fold, "*", ""));
    }

    #[test]
    fn a_double_star_counts_as_one_star() {
        assert_eq!((stars("a*b**c"), stars("***"), stars("a")), (2, 2, 0));
    }

    #[test]
    fn atk_128__no_pattern_matches_an_empty_text() {
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
                // Some split of the text has a middle part without a slash.
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
