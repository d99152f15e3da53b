//! Scopes (RFC 6749 section 3.3): sets of scope tokens, and those of our own admin API.

mod admin;

use std::collections::BTreeSet;
use std::fmt;

use oxide_auth::primitives::scope::Scope;

pub use admin::{ADMIN, ADMIN_CREDENTIALS, ADMIN_CREDENTIALS_OF, ADMIN_READ, covers, is_admin_scope};

/// How many tokens a scope may have (decision D-33).
const MAX_TOKENS: usize = 100;

/// A set of scope tokens that is never empty (RFC 6749 section 3.3).
///
/// oxide-auth's `Scope` does the parsing and the comparing. It reads an empty text as a scope that every token satisfies and prints in
/// random order, so neither leaves this type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeSet(Scope);

/// A text that is no scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a list of 1 to {MAX_TOKENS} scope tokens separated by spaces")]
pub struct InvalidScope;

impl ScopeSet {
    /// Reads scope tokens separated by spaces; repeated ones count once.
    pub fn parse(text: &str) -> Result<Self, InvalidScope> {
        let tokens = text.split(' ').filter(|token| !token.is_empty()).count();
        if tokens == 0 || tokens > MAX_TOKENS {
            return Err(InvalidScope);
        }
        // Only the space separates; oxide-auth would split at any white space.
        if !text.bytes().all(|byte| matches!(byte, 0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7e)) {
            return Err(InvalidScope);
        }
        text.parse().map(Self).map_err(|_| InvalidScope)
    }

    /// Makes a scope of words that are scope tokens; none make none.
    pub fn of<'t>(tokens: impl IntoIterator<Item = &'t str>) -> Option<Self> {
        // Repeats count once, however many entries hold the same actions.
        let tokens: BTreeSet<&str> = tokens.into_iter().collect();
        Self::parse(&tokens.into_iter().collect::<Vec<_>>().join(" ")).ok()
    }

    /// Whether every token of this one is in `permitted`.
    pub fn is_within(&self, permitted: &Self) -> bool {
        self.0 <= permitted.0
    }

    /// Whether `token` is in it.
    pub fn contains(&self, token: &str) -> bool {
        self.0.iter().any(|held| held == token)
    }

    /// The tokens, sorted.
    pub fn tokens(&self) -> BTreeSet<&str> {
        self.0.iter().collect()
    }

    /// As oxide-auth's type.
    pub fn as_scope(&self) -> &Scope {
        &self.0
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.tokens().into_iter().collect::<Vec<_>>().join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc6749_3_3_1__the_grammar_is_kept_and_case_counts() {
        for text in ["", " ", "a\"b", "a\\b", "a\tb", "é", "a\nb", "a\u{7f}"] {
            assert_eq!(ScopeSet::parse(text), Err(InvalidScope), "{text:?}");
        }
        let publish = ScopeSet::parse("publish").unwrap();
        assert!(!ScopeSet::parse("PUBLISH").unwrap().is_within(&publish));
        assert!(publish.contains("publish") && !publish.contains("PUBLISH"));
    }

    #[test]
    fn rfc6749_3_3_2__order_and_repeats_have_no_meaning() {
        let scope = ScopeSet::parse("b a a").unwrap();
        assert_eq!(scope, ScopeSet::parse("a  b").unwrap());
        assert_eq!(scope.to_string(), "a b");
        assert_eq!(ScopeSet::of(["z", "y", "z"]).unwrap().to_string(), "y z");
        assert_eq!(ScopeSet::of([]), None);
    }

    #[test]
    fn atk_101__the_number_of_tokens_is_bounded() {
        let tokens = |n: usize| (0..n).map(|i| format!("t{i}")).collect::<Vec<_>>().join(" ");
        assert!(ScopeSet::parse(&tokens(100)).is_ok());
        assert_eq!(ScopeSet::parse(&tokens(101)), Err(InvalidScope));
        assert_eq!(ScopeSet::parse(&tokens(10_000)), Err(InvalidScope));
        assert!(ScopeSet::of(["publish"; 1000]).is_some());
    }

    #[test]
    fn attenuation_is_the_subset_relation() {
        let wide = ScopeSet::parse("a b c").unwrap();
        assert!(ScopeSet::parse("a c").unwrap().is_within(&wide));
        assert!(!ScopeSet::parse("a d").unwrap().is_within(&wide));
        assert!(!wide.is_within(&ScopeSet::parse("a").unwrap()));
    }
}
