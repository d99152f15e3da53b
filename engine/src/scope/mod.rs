//! Scopes (RFC 6749 section 3.3): sets of scope tokens, the scopes of our own admin API, and those of
//! OpenID Connect.

mod admin;
mod openid;

use std::fmt;

pub use admin::{
    ADMIN, ADMIN_CREDENTIALS, ADMIN_CREDENTIALS_OF, ADMIN_READ, ADMIN_READ_OF, covers,
    is_admin_scope, limited_scope,
};
pub use openid::{EMAIL, OPENID, OPENID_SCOPES, PROFILE, is_openid_scope};

/// The most tokens in one scope (decision D-33).
const MAX_TOKENS: usize = 100;

/// A non-empty set of scope tokens (RFC 6749 section 3.3), held as its sorted tokens with one space
/// between them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScopeSet(Box<str>);

/// The text is not a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a list of 1 to {MAX_TOKENS} scope tokens separated by spaces")]
pub struct InvalidScope;

impl ScopeSet {
    /// Parses scope tokens separated by spaces; a repeated token counts once.
    pub fn parse(text: &str) -> Result<Self, InvalidScope> {
        // RFC 6749 allows only the space as separator: tabs and line breaks are errors.
        if !text
            .bytes()
            .all(|byte| matches!(byte, 0x20 | 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
        {
            return Err(InvalidScope);
        }
        let tokens = || text.split(' ').filter(|token| !token.is_empty());
        if tokens().count() > MAX_TOKENS {
            return Err(InvalidScope);
        }
        Self::sorted(tokens().collect()).ok_or(InvalidScope)
    }

    /// The scope of these tokens; `None` if there are none, too many, or one is not a scope token.
    pub fn of<'t>(tokens: impl IntoIterator<Item = &'t str>) -> Option<Self> {
        // Duplicates are removed before the limit applies, since many entries may hold the same
        // actions.
        let scope = Self::sorted(tokens.into_iter().collect())?;
        Self::parse(&scope.0).ok()
    }

    fn sorted(mut tokens: Vec<&str>) -> Option<Self> {
        tokens.sort_unstable();
        tokens.dedup();
        (!tokens.is_empty()).then(|| Self(tokens.join(" ").into()))
    }

    /// Whether every token of this scope is in `permitted`.
    pub fn is_within(&self, permitted: &Self) -> bool {
        self.tokens().all(|token| permitted.contains(token))
    }

    pub fn contains(&self, token: &str) -> bool {
        self.tokens().any(|held| held == token)
    }

    /// The tokens in sorted order.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ')
    }
}

impl fmt::Display for ScopeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc6749_3_3_1__malformed_scopes_are_refused_and_letter_case_counts() {
        for text in ["", " ", "a\"b", "a\\b", "a\tb", "é", "a\nb", "a\u{7f}"] {
            assert_eq!(ScopeSet::parse(text), Err(InvalidScope), "{text:?}");
        }
        let publish = ScopeSet::parse("publish").unwrap();
        assert!(!ScopeSet::parse("PUBLISH").unwrap().is_within(&publish));
        assert!(publish.contains("publish") && !publish.contains("PUBLISH"));
    }

    #[test]
    fn rfc6749_3_3_2__order_and_repeats_of_scopes_have_no_meaning() {
        let scope = ScopeSet::parse("b a a").unwrap();
        assert_eq!(scope, ScopeSet::parse("a  b").unwrap());
        assert_eq!(scope.to_string(), "a b");
        assert_eq!(ScopeSet::of(["z", "y", "z"]).unwrap().to_string(), "y z");
        assert_eq!(ScopeSet::of([]), None);
    }

    #[test]
    fn atk_101__a_scope_of_more_than_100_tokens_is_refused() {
        let tokens = |n: usize| {
            (0..n)
                .map(|i| format!("t{i}"))
                .collect::<Vec<_>>()
                .join(" ")
        };
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
