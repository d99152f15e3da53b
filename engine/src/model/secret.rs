//! Secrets of clients: made by the server, shown once, kept as hashes (RFC 6749 section 2.3.1).

use std::fmt;

use carnet_jose::{base64url, constant_time_eq, from_base64url};
use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::opaque;

/// What secrets begin with, for scanners.
const PREFIX: &str = "cns_";

/// A new secret, on its way to whoever asked for it.
#[derive(Clone, PartialEq, Eq)]
pub struct ClientSecret(String);

impl ClientSecret {
    /// Makes one.
    pub fn generate() -> Self {
        Self(opaque::generate(PREFIX))
    }

    /// The secret itself.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ClientSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientSecret(…)")
    }
}

/// A secret at rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSecret {
    /// SHA-256 of it, in base64url.
    hash: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends, once there is a newer one.
    pub expires_at: Option<Timestamp>,
}

impl StoredSecret {
    /// What is stored of a secret.
    pub fn of(secret: &ClientSecret, now: Timestamp) -> Self {
        Self { hash: base64url(opaque::hash(secret.expose())), created_at: now, expires_at: None }
    }

    /// Whether it is not over.
    pub fn is_live(&self, now: Timestamp) -> bool {
        self.expires_at.is_none_or(|end| now < end)
    }
}

/// Whether `secret` is one of these. The comparison takes as long for a wrong secret as for a right one, and where there is nothing
/// to compare with something is compared all the same.
pub fn is_one_of(secret: &str, stored: &[StoredSecret], now: Timestamp) -> bool {
    let given = opaque::hash(secret);
    let nobodys = [0; 32];
    let mut found = constant_time_eq(&given, &nobodys);
    for stored in stored.iter().filter(|stored| stored.is_live(now)) {
        found |= from_base64url(&stored.hash).is_some_and(|hash| constant_time_eq(&given, &hash));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_by_its_hash_until_it_is_over() {
        let (start, end) = (Timestamp::from_seconds(100), Timestamp::from_seconds(200));
        let (old, new) = (ClientSecret::generate(), ClientSecret::generate());
        let mut stored = vec![StoredSecret::of(&old, start), StoredSecret::of(&new, start)];
        stored[0].expires_at = Some(end);
        for secret in [&old, &new] {
            assert!(is_one_of(secret.expose(), &stored, start));
            assert!(!serde_json::to_string(&stored).unwrap().contains(secret.expose()));
            assert!(!format!("{secret:?}{stored:?}").contains(secret.expose()));
        }
        assert!(!is_one_of(old.expose(), &stored, end) && is_one_of(new.expose(), &stored, end));
        for wrong in ["", "x", ClientSecret::generate().expose(), old.expose().trim_start_matches('c')] {
            assert!(!is_one_of(wrong, &stored, start), "{wrong}");
        }
        assert!(!is_one_of(old.expose(), &[], start));
    }
}
