//! What the stand-in remembers: who is logged in, and which codes and access tokens are good.

use crate::kept::Kept;

/// A log-in of a person.
#[derive(Clone, Debug)]
pub(super) struct LogIn {
    pub sub: String,
    /// Seconds since 1970.
    pub at: i64,
    pub second_factor: bool,
}

/// What a code stands for.
#[derive(Clone, Debug)]
pub(super) struct Code {
    pub log_in: LogIn,
    pub redirect_uri: String,
    pub challenge: String,
    pub nonce: Option<String>,
    /// The `acr` of the ID token.
    pub acr: Option<String>,
    pub made_at: i64,
}

#[derive(Debug, Default)]
pub(super) struct State {
    log_ins: Kept<LogIn>,
    codes: Kept<Code>,
    /// The `sub` of each access token, and until when it is good.
    tokens: Kept<(String, i64)>,
}

impl State {
    /// Remembers a log-in, and returns the value of its cookie.
    pub fn log_in(&self, log_in: LogIn) -> String {
        self.log_ins.put(log_in)
    }

    pub fn logged_in(&self, cookie: &str) -> Option<LogIn> {
        self.log_ins.get(cookie)
    }

    pub fn log_out(&self, cookie: &str) {
        self.log_ins.take(cookie);
    }

    pub fn make_code(&self, code: Code) -> String {
        self.codes.put(code)
    }

    /// The code, which is used up.
    pub fn take_code(&self, code: &str) -> Option<Code> {
        self.codes.take(code)
    }

    pub fn make_token(&self, sub: String, until: i64) -> String {
        self.tokens.put((sub, until))
    }

    pub fn sub_of_token(&self, token: &str, now: i64) -> Option<String> {
        let (sub, until) = self.tokens.get(token)?;
        (now < until).then_some(sub)
    }
}
