//! The sign-ins of `carnet login`, by issuer identifier, in the credentials file of the user.

mod file;

use std::collections::BTreeMap;
use std::fmt;

use carnet_exchange::Environment;
use carnet_exchange::web::visible;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Value, json};

use self::file::CredentialsFile;
use super::CommandError;
use crate::clock::Timestamp;

/// A sign-in at one server.
#[derive(Clone, Serialize, Deserialize)]
pub struct SignIn {
    pub access_token: String,
    #[serde(serialize_with = "to_rfc3339", deserialize_with = "from_rfc3339")]
    pub expires_at: Timestamp,
    pub scope: String,
    pub person: Person,
}

/// Who signed in, as the ID token says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The server's id of the person (`ps_…`).
    pub id: String,
    pub name: Option<String>,
    pub username: Option<String>,
}

/// All sign-ins of the file, by issuer identifier.
#[derive(Debug, Default)]
pub struct SignIns(BTreeMap<String, SignIn>);

impl SignIns {
    /// Reads the credentials file; there are none without one.
    ///
    /// # Errors
    ///
    /// If the file may be used by others than this user, or is none of ours.
    pub fn read() -> Result<Self, CommandError> {
        match CredentialsFile::of(&Environment::of_this_process()) {
            Some(file) => Self::of(&file),
            None => Ok(Self::default()),
        }
    }

    /// Changes the sign-ins of the file, and returns them as they are now. Commands that do this at
    /// the same time wait for each other.
    pub fn change(change: impl FnOnce(&mut Self)) -> Result<Self, CommandError> {
        let file = CredentialsFile::of(&Environment::of_this_process());
        let file = file.ok_or_else(|| {
            CommandError::Other(
                "there is no place for a credentials file: set XDG_CONFIG_HOME or HOME to an absolute path".to_owned(),
            )
        })?;
        let _turn = file.lock()?;
        let mut sign_ins = Self::of(&file)?;
        change(&mut sign_ins);
        let text = serde_json::to_string_pretty(&sign_ins.0);
        let text = text.map_err(|error| CommandError::Other(error.to_string()))?;
        file.write(&text)?;
        Ok(sign_ins)
    }

    fn of(file: &CredentialsFile) -> Result<Self, CommandError> {
        let Some(text) = file.read()? else {
            return Ok(Self::default());
        };
        let read = serde_json::from_str(&text).map(Self);
        // The error of the reader may quote the text, which is secret.
        read.map_err(|_| {
            file.error("it is no credentials file of this program; remove it and sign in again")
        })
    }

    /// The sign-in at a server, whose URL may lack or have a slash at its end that the issuer
    /// identifier does not: requests of commands go to the same paths.
    pub fn at(&self, server: &str) -> Option<(&str, &SignIn)> {
        let bare = |text: &str| text.trim_end_matches('/').to_owned();
        let found = self.0.get_key_value(server).or_else(|| {
            let mut all = self.0.iter();
            all.find(|(issuer, _)| bare(issuer) == bare(server))
        });
        found.map(|(issuer, sign_in)| (issuer.as_str(), sign_in))
    }

    /// The sign-in that a command means: the one at `server`, or else the only one.
    ///
    /// # Errors
    ///
    /// Wrong usage if there are several and `server` names none.
    pub fn meant(&self, server: Option<&str>) -> Result<Option<(&str, &SignIn)>, CommandError> {
        if let Some(server) = server {
            return Ok(self.at(server));
        }
        if self.0.len() > 1 {
            let issuers: Vec<String> = self.iter().map(|(issuer, _)| visible(issuer)).collect();
            return Err(CommandError::Usage(format!(
                "name one of the servers with --server: {}",
                issuers.join(", ")
            )));
        }
        Ok(self.iter().next())
    }

    pub fn iter(&self) -> impl Iterator<Item = (&str, &SignIn)> {
        let all = self.0.iter();
        all.map(|(issuer, sign_in)| (issuer.as_str(), sign_in))
    }

    /// Keeps a sign-in in place of an earlier one at the same server.
    pub fn put(&mut self, issuer: &str, sign_in: SignIn) {
        self.0.insert(issuer.to_owned(), sign_in);
    }

    /// Removes a sign-in, unless another one has taken its place.
    pub fn remove(&mut self, issuer: &str, sign_in: &SignIn) {
        let is_same = |stored: &SignIn| stored.access_token == sign_in.access_token;
        if self.0.get(issuer).is_some_and(is_same) {
            self.0.remove(issuer);
        }
    }
}

impl SignIn {
    pub fn has_expired(&self, now: Timestamp) -> bool {
        now >= self.expires_at
    }

    /// What others may know of it.
    pub fn shown(&self, issuer: &str) -> Value {
        json!({
            "issuer": issuer, "person": self.person, "scope": self.scope,
            "expires_at": self.expires_at.to_string(),
        })
    }
}

/// Without the token.
impl fmt::Debug for SignIn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignIn({}, {:?})", self.scope, self.person)
    }
}

impl fmt::Display for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = match &self.username {
            Some(username) => format!("{username}, {}", self.id),
            None => self.id.clone(),
        };
        let text = match &self.name {
            Some(name) => format!("{name} ({known})"),
            None => known,
        };
        f.write_str(&visible(&text))
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes references")]
fn to_rfc3339<S: Serializer>(at: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

fn from_rfc3339<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
    let text = String::deserialize(deserializer)?;
    Timestamp::parse_rfc3339(&text).ok_or_else(|| serde::de::Error::custom("no time"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sign_in(token: &str) -> SignIn {
        SignIn {
            access_token: token.to_owned(),
            expires_at: Timestamp::from_seconds(1_790_000_000),
            scope: "openid".to_owned(),
            person: Person {
                id: "ps_1".to_owned(),
                name: Some("Peter\u{202e}".to_owned()),
                username: None,
            },
        }
    }

    #[test]
    fn a_server_is_found_with_and_without_the_slash_at_its_end_and_no_other_is() {
        let mut all = SignIns::default();
        all.put("https://as.test", sign_in("a"));
        all.put("https://as.test/t/", sign_in("b"));
        let token = |server: &str| Some(all.at(server)?.1.access_token.clone());
        assert_eq!(token("https://as.test/").as_deref(), Some("a"));
        assert_eq!(token("https://as.test/t").as_deref(), Some("b"));
        for other in [
            "https://as.test/u",
            "https://as.test.evil",
            "http://as.test",
        ] {
            assert_eq!(token(other), None, "{other}");
        }
        assert!(matches!(all.meant(None), Err(CommandError::Usage(_))));
    }

    #[test]
    fn a_sign_in_that_was_replaced_meanwhile_is_not_removed() {
        let mut all = SignIns::default();
        all.put("https://as.test", sign_in("new"));
        all.remove("https://as.test", &sign_in("old"));
        assert!(all.at("https://as.test").is_some());
        all.remove("https://as.test", &sign_in("new"));
        assert!(all.at("https://as.test").is_none());
    }

    #[test]
    fn what_is_printed_of_a_sign_in_has_no_token_and_no_hidden_characters() {
        let shown = format!("{:?} {}", sign_in("canary"), sign_in("canary").shown("i"));
        assert!(!shown.contains("canary"), "{shown}");
        let person = sign_in("x").person.to_string();
        assert_eq!(person, "Peter\\u{202e} (ps_1)");
        assert!(sign_in("x").has_expired(Timestamp::from_seconds(1_790_000_000)));
        assert!(!sign_in("x").has_expired(Timestamp::from_seconds(1_789_999_999)));
    }
}
