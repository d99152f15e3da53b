//! Attempts to sign in: each is one encrypted cookie of the browser that began it, so that strangers
//! write no row, and any replica takes the callback.

use carnet_jose::{Purpose, base64url, constant_time_eq, sha256};
use serde::{Deserialize, Serialize};

use super::ReturnTo;
use super::cookie::cookie_name;
use crate::clock::Timestamp;
use crate::config::OwnUrls;
use crate::ids::{IdentityProviderId, SessionId, random};
use crate::keys::KeyRing;

/// How long an attempt may take, in seconds.
pub const ATTEMPT_SECONDS: u32 = 600;
/// How many attempts a browser may have at a time, in several tabs.
const MOST_ATTEMPTS: usize = 4;
const NAME: &str = "carnet-sign-in-";
const KIND: &str = "sign-in attempt";
/// How many characters of the hash of `state` a cookie's name has.
const HASH_CHARACTERS: usize = 22;
/// Separates the session of a step-up from the sealed text.
const SEPARATOR: char = '~';

/// What is known of an attempt when the person comes back from the provider.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    pub provider: IdentityProviderId,
    /// The version of the identity provider with which the attempt was begun.
    pub version: i64,
    pub secrets: Secrets,
    pub return_to: ReturnTo,
    pub begun_at: Timestamp,
    pub step_up: Option<StepUp>,
}

/// What binds the callback to the browser, the ID token to the request, and the code to the attempt.
/// Each has 256 bits.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Secrets {
    pub state: String,
    pub nonce: String,
    /// The code verifier (RFC 7636 section 4.1).
    pub verifier: String,
}

/// The session that a new proof of presence is for, and its person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct StepUp {
    pub session: SessionId,
    pub sub: String,
}

/// A cookie to be set: `HttpOnly`, `SameSite=Lax`, `Path=/`, and `Secure` unless the issuer is http.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttemptCookie {
    pub name: String,
    pub value: String,
    /// Seconds until it ends (`Max-Age`).
    pub max_age: u32,
}

#[derive(Serialize, Deserialize)]
struct Sealed {
    provider: String,
    version: i64,
    #[serde(flatten)]
    secrets: Secrets,
    return_to: String,
    /// Milliseconds since 1970.
    begun_at: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sub: Option<String>,
}

impl Secrets {
    pub fn new() -> Self {
        let secret = || base64url(random::<32>());
        Self {
            state: secret(),
            nonce: secret(),
            verifier: secret(),
        }
    }
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets(..)")
    }
}

/// The name of the cookie of the attempt with this `state`.
fn name_of(own: &OwnUrls, state: &str) -> String {
    let hash: String = base64url(sha256(state.as_bytes()))
        .chars()
        .take(HASH_CHARACTERS)
        .collect();
    format!("{}{hash}", cookie_name(own, NAME))
}

/// For which the cookie is sealed: this issuer's console, and for a step-up one session.
fn owner(own: &OwnUrls, session: Option<SessionId>) -> String {
    match session {
        None => own.issuer().to_owned(),
        Some(session) => format!("{} {session}", own.issuer()),
    }
}

impl Attempt {
    /// The name of the cookie of this attempt.
    pub fn cookie_name(&self, own: &OwnUrls) -> String {
        name_of(own, &self.secrets.state)
    }

    /// The cookie of this attempt; `None` if it cannot be sealed.
    pub fn cookie(&self, own: &OwnUrls, keys: &KeyRing) -> Option<AttemptCookie> {
        let sealed = Sealed {
            provider: self.provider.to_string(),
            version: self.version,
            secrets: self.secrets.clone(),
            return_to: self.return_to.as_str().to_owned(),
            begun_at: self.begun_at.millis(),
            sub: self.step_up.as_ref().map(|step_up| step_up.sub.clone()),
        };
        let session = self.step_up.as_ref().map(|step_up| step_up.session);
        let purpose = Purpose {
            kind: KIND,
            owner: &owner(own, session),
        };
        let text = keys
            .seal_cookie(&serde_json::to_vec(&sealed).ok()?, purpose)
            .ok()?;
        let session = session.map(|session| format!("{session}{SEPARATOR}"));
        Some(AttemptCookie {
            name: self.cookie_name(own),
            value: format!("{}{text}", session.unwrap_or_default()),
            max_age: ATTEMPT_SECONDS,
        })
    }

    /// Opens a cookie's value; `None` if it is not one of this server's, or too old.
    pub fn open(own: &OwnUrls, keys: &KeyRing, value: &str, now: Timestamp) -> Option<Self> {
        let (session, text) = match value.split_once(SEPARATOR) {
            None => (None, value),
            Some((session, text)) => (Some(session.parse::<SessionId>().ok()?), text),
        };
        let purpose = Purpose {
            kind: KIND,
            owner: &owner(own, session),
        };
        let sealed: Sealed = serde_json::from_slice(&keys.open_cookie(text, purpose).ok()?).ok()?;
        let begun_at = Timestamp::from_millis(sealed.begun_at);
        if !(0..=i64::from(ATTEMPT_SECONDS)).contains(&now.seconds_since(begun_at)) {
            return None;
        }
        let step_up = match (session, sealed.sub) {
            (None, None) => None,
            (Some(session), Some(sub)) => Some(StepUp { session, sub }),
            _ => return None,
        };
        Some(Self {
            provider: sealed.provider.parse().ok()?,
            version: sealed.version,
            secrets: sealed.secrets,
            return_to: ReturnTo::read(&sealed.return_to),
            begun_at,
            step_up,
        })
    }

    /// The attempt of this browser with this `state`.
    pub fn of_state(
        own: &OwnUrls,
        keys: &KeyRing,
        cookies: &[(String, String)],
        state: &str,
        now: Timestamp,
    ) -> Option<Self> {
        let name = name_of(own, state);
        let mut named = cookies.iter().filter(|(cookie, _)| *cookie == name);
        let attempt = named.find_map(|(_, value)| Self::open(own, keys, value, now))?;
        constant_time_eq(attempt.secrets.state.as_bytes(), state.as_bytes()).then_some(attempt)
    }
}

/// The names of the attempts to be cleared, so that one more makes at most four: those that cannot
/// be opened any more, and the oldest.
pub(super) fn stale(
    own: &OwnUrls,
    keys: &KeyRing,
    cookies: &[(String, String)],
    now: Timestamp,
) -> Vec<String> {
    let prefix = cookie_name(own, NAME);
    let mut of_attempts: Vec<(Option<Timestamp>, &str)> = cookies
        .iter()
        .filter(|(name, _)| name.starts_with(&prefix))
        .map(|(name, value)| {
            let attempt = Attempt::open(own, keys, value, now);
            (attempt.map(|attempt| attempt.begun_at), name.as_str())
        })
        .collect();
    of_attempts.sort_by(|one, other| other.cmp(one));
    let still_open = |(at, (begun_at, _)): &(usize, &(Option<Timestamp>, &str))| {
        begun_at.is_some() && at.saturating_add(1) < MOST_ATTEMPTS
    };
    let cleared = of_attempts.iter().enumerate();
    let mut names: Vec<String> = cleared
        .filter(|attempt| !still_open(attempt))
        .map(|(_, (_, name))| (*name).to_owned())
        .collect();
    names.dedup();
    names
}
