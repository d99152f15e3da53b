//! Tokens that the server called active a moment ago.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use crate::AccessToken;
use crate::kept::is_within;

/// How many are kept. Beyond that the server is asked again.
const MAX_TOKENS: usize = 4096;

/// What a token is found by. The token itself is not kept: what is read out of memory is no credential.
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
    token: AccessToken,
    asked_at: i64,
}

impl Recent {
    pub(crate) fn new(seconds: u8) -> Self {
        Self { seconds: seconds.into(), answers: RwLock::default() }
    }

    /// The token of these characters, if the server was asked about it lately and it has not expired since.
    pub(crate) fn get(&self, text: &str, now: i64) -> Option<AccessToken> {
        let answers = self.answers.read().unwrap_or_else(PoisonError::into_inner);
        let answer = answers.by_hash.get(&hash(text))?;
        answer.serves(self.seconds, now).then(|| answer.token.clone())
    }

    /// Keeps a token about which the server was asked at `asked_at`, if there is room.
    pub(crate) fn put(&self, text: &str, token: &AccessToken, asked_at: i64) {
        let answer = CachedAnswer { token: token.clone(), asked_at };
        if !answer.serves(self.seconds, asked_at) {
            return;
        }
        let mut answers = self.answers.write().unwrap_or_else(PoisonError::into_inner);
        // Once a second: a full map that is looked through for each token would be slower than asking.
        if answers.swept_at != asked_at {
            answers.swept_at = asked_at;
            answers.by_hash.retain(|_, answer| answer.serves(self.seconds, asked_at));
        }
        if answers.by_hash.len() < MAX_TOKENS {
            answers.by_hash.insert(hash(text), answer);
        }
    }
}

impl CachedAnswer {
    /// Its time is counted from the question: what happened while the answer was on its way is not in it.
    fn serves(&self, seconds: i64, now: i64) -> bool {
        is_within(seconds, self.asked_at, now) && now < self.token.exp
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
    fn contract_4__an_answer_serves_five_seconds_and_never_beyond_the_tokens_end() {
        let recent = Recent::new(5);
        recent.put("a", &token_until(1_000), 100);
        recent.put("b", &token_until(102), 100);
        let found = |text, now| recent.get(text, now).is_some();
        assert!(found("a", 100) && found("a", 104) && found("b", 101));
        assert!(!found("a", 105) && !found("b", 102) && !found("c", 100));
        // A clock that was set back makes nothing younger.
        assert!(!found("a", 99));
        recent.put("late", &token_until(1_000), 1_000);
        assert!(!found("late", 1_000));
        let none = Recent::new(0);
        none.put("a", &token_until(1_000), 100);
        assert!(none.get("a", 100).is_none());
    }

    #[test]
    fn contract_4__the_room_for_answers_is_bounded_and_old_ones_make_room() {
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
