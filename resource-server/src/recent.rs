//! The cache of tokens that the server called active a few seconds ago.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use crate::claims::Unproven;
use crate::kept::is_within;

/// How many tokens are cached. While the cache is full, the server is asked about all others.
const MAX_TOKENS: usize = 4096;

/// SHA-256 of a token. The token itself is not stored, so that a memory dump has no usable token.
type TokenHash = [u8; 32];

pub(crate) struct Recent {
    seconds: i64,
    answers: RwLock<Answers>,
}

#[derive(Default)]
struct Answers {
    by_hash: HashMap<TokenHash, CachedAnswer>,
    swept_at: i64,
}

struct CachedAnswer {
    token: Unproven,
    asked_at: i64,
}

impl Recent {
    pub(crate) fn new(seconds: u8) -> Self {
        Self {
            seconds: seconds.into(),
            answers: RwLock::default(),
        }
    }

    /// The claims of the token `text`, if a positive answer about it is cached and the token has
    /// not expired.
    pub(crate) fn get(&self, text: &str, now: i64) -> Option<Unproven> {
        let answers = self.answers.read().unwrap_or_else(PoisonError::into_inner);
        let answer = answers.by_hash.get(&hash(text))?;
        answer
            .serves(self.seconds, now)
            .then(|| answer.token.clone())
    }

    /// Caches the claims of a token about which the server was asked at `asked_at`, unless the
    /// cache is full.
    pub(crate) fn put(&self, text: &str, token: &Unproven, asked_at: i64) {
        let answer = CachedAnswer {
            token: token.clone(),
            asked_at,
        };
        if !answer.serves(self.seconds, asked_at) {
            return;
        }
        let mut answers = self.answers.write().unwrap_or_else(PoisonError::into_inner);
        // At most one sweep a second: searching a full map for each token would be slower than
        // asking.
        if answers.swept_at != asked_at {
            answers.swept_at = asked_at;
            answers
                .by_hash
                .retain(|_, answer| answer.serves(self.seconds, asked_at));
        }
        if answers.by_hash.len() < MAX_TOKENS {
            answers.by_hash.insert(hash(text), answer);
        }
    }
}

impl CachedAnswer {
    /// The time counts from the question, not from the answer: a revocation in between is not in
    /// the answer.
    fn serves(&self, seconds: i64, now: i64) -> bool {
        is_within(seconds, self.asked_at, now) && now < self.token.0.exp
    }
}

fn hash(text: &str) -> TokenHash {
    carnet_jose::sha256(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::support::token_until;

    #[test]
    fn contract_4__an_introspection_answer_is_kept_five_seconds_and_never_beyond_the_tokens_end() {
        let recent = Recent::new(5);
        recent.put("a", &token_until(1_000), 100);
        recent.put("b", &token_until(102), 100);
        let found = |text, now| recent.get(text, now).is_some();
        assert!(found("a", 100) && found("a", 104) && found("b", 101));
        assert!(!found("a", 105) && !found("b", 102) && !found("c", 100));
        // After the clock was set back, an answer from the future does not count as recent.
        assert!(!found("a", 99));
        recent.put("late", &token_until(1_000), 1_000);
        assert!(!found("late", 1_000));
        let none = Recent::new(0);
        none.put("a", &token_until(1_000), 100);
        assert!(none.get("a", 100).is_none());
    }

    #[test]
    fn contract_4__kept_introspection_answers_are_bounded_and_old_ones_make_room() {
        let recent = Recent::new(5);
        let token = token_until(1_000);
        for number in 0..=MAX_TOKENS {
            recent.put(&number.to_string(), &token, 100);
        }
        let held = || recent.answers.read().unwrap().by_hash.len();
        assert_eq!(held(), MAX_TOKENS);
        assert!(recent.get(&MAX_TOKENS.to_string(), 100).is_none());
        recent.put("new", &token, 105);
        assert!(recent.get("new", 105).is_some());
        assert_eq!(held(), 1);
    }
}
