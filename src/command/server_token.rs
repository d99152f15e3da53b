//! The token that a command sends to `--server`, and what to do when the server does not take it.

use super::sign_ins::{Person, SignIn, SignIns};
use super::{CommandError, ServerArgs};
use crate::clock::{Clock as _, SystemClock};
use crate::reason::Reason;

/// A token for the admin API of a server.
#[derive(Debug)]
pub struct ServerToken {
    text: String,
    /// How to sign in at the server again.
    login: String,
    /// Who signed in for it; `None` for one of `--token` or `CARNET_TOKEN`.
    person: Option<Person>,
}

/// What there is to send to a server.
#[derive(Debug)]
pub enum Found {
    Token(ServerToken),
    /// Only a sign-in that is over. The text says so.
    Expired(String),
    Nothing,
}

impl ServerToken {
    /// The token of `--token`, or else of `CARNET_TOKEN` (both in `target`), or else of a sign-in at
    /// the server.
    pub fn find(target: &ServerArgs, server: &str) -> Result<Found, CommandError> {
        let given = target.token.clone().filter(|token| !token.is_empty());
        if let Some(text) = given {
            return Ok(Found::Token(Self {
                text,
                login: login(server),
                person: None,
            }));
        }
        let sign_ins = SignIns::read()?;
        Ok(match sign_ins.at(server) {
            None => Found::Nothing,
            Some((issuer, sign_in)) if sign_in.has_expired(SystemClock.now()) => {
                Found::Expired(expired(issuer, &sign_in.person))
            }
            Some((issuer, sign_in)) => Found::Token(Self::of_sign_in(issuer, sign_in)),
        })
    }

    /// The token of a sign-in.
    pub fn of_sign_in(issuer: &str, sign_in: &SignIn) -> Self {
        Self {
            text: sign_in.access_token.clone(),
            login: login(issuer),
            person: Some(sign_in.person.clone()),
        }
    }

    /// The token of `--server`, which a command cannot do without.
    pub fn demand(target: &ServerArgs, server: &str) -> Result<Self, CommandError> {
        match Self::find(target, server)? {
            Found::Token(token) => Ok(token),
            Found::Expired(why) => Err(CommandError::Other(why)),
            Found::Nothing => Err(CommandError::Other(format!(
                "--server needs an admin token: give --token, set CARNET_TOKEN, or sign in: {}",
                login(server)
            ))),
        }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// What to do after an answer with this status and `code`, if signing in again helps.
    pub fn advice(&self, status: u16, code: &str) -> Option<String> {
        let login = &self.login;
        match (status, &self.person) {
            // The token is in force, and no longer good for this (RFC 9470 section 3).
            (401, _) if code == Reason::AuthTooOld.code() => {
                Some(format!("prove again who you are: {login}"))
            }
            (401, Some(person)) => Some(format!(
                "the sign-in of {person} is no longer in force: {login}"
            )),
            _ => None,
        }
    }
}

/// What is said of a sign-in whose time is over.
pub fn expired(issuer: &str, person: &Person) -> String {
    format!("the sign-in of {person} has expired: {}", login(issuer))
}

/// The command that signs in at a server.
pub fn login(server: &str) -> String {
    format!("carnet login --server {server}")
}
