//! What the stand-in remembers: who is logged in, and which codes and access tokens are good.

use std::collections::HashMap;

use carnet_engine::ids::random;
use carnet_jose::base64url;
use parking_lot::Mutex;

/// The most entries of each kind; the oldest are forgotten first.
const MOST: usize = 1000;

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
    log_ins: Mutex<Kept<LogIn>>,
    codes: Mutex<Kept<Code>>,
    /// The `sub` of each access token, and until when it is good.
    tokens: Mutex<Kept<(String, i64)>>,
}

/// Values under secrets that were made for them.
#[derive(Debug)]
struct Kept<T> {
    values: HashMap<String, (u64, T)>,
    made: u64,
}

impl<T> Default for Kept<T> {
    fn default() -> Self {
        Self {
            values: HashMap::new(),
            made: 0,
        }
    }
}

impl<T> Kept<T> {
    fn put(&mut self, value: T) -> String {
        if self.values.len() >= MOST {
            let oldest = self.values.iter().min_by_key(|(_, (made, _))| *made);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                self.values.remove(&oldest);
            }
        }
        let name = base64url(random::<32>());
        self.made = self.made.saturating_add(1);
        self.values.insert(name.clone(), (self.made, value));
        name
    }
}

impl State {
    /// Remembers a log-in, and returns the value of its cookie.
    pub fn log_in(&self, log_in: LogIn) -> String {
        self.log_ins.lock().put(log_in)
    }

    pub fn logged_in(&self, cookie: &str) -> Option<LogIn> {
        let log_ins = self.log_ins.lock();
        log_ins.values.get(cookie).map(|(_, log_in)| log_in.clone())
    }

    pub fn log_out(&self, cookie: &str) {
        self.log_ins.lock().values.remove(cookie);
    }

    pub fn make_code(&self, code: Code) -> String {
        self.codes.lock().put(code)
    }

    /// The code, which is used up.
    pub fn take_code(&self, code: &str) -> Option<Code> {
        let taken = self.codes.lock().values.remove(code);
        taken.map(|(_, code)| code)
    }

    pub fn make_token(&self, sub: String, until: i64) -> String {
        self.tokens.lock().put((sub, until))
    }

    pub fn sub_of_token(&self, token: &str, now: i64) -> Option<String> {
        let tokens = self.tokens.lock();
        let (_, (sub, until)) = tokens.values.get(token)?;
        (now < *until).then(|| sub.clone())
    }
}
