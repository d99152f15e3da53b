use serde_json::Value;

use super::claims::{ClaimSpec, Claims, Unreadable};

/// What one trusted issuer adds to its profile: settings that some kinds of checks read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The trust domain whose SPIFFE ids it may vouch for.
    pub trust_domain: Option<String>,
    /// Where its subjects live: `https://example.com`, or `example.com` for names of accounts.
    pub subject_domain: Option<String>,
    /// The claim by which a broker says who vouches for an identity: a name or a JSON Pointer.
    pub issuer_claim: Option<String>,
    /// Whether the word `true` verifies an e-mail address as the JSON value does.
    pub accept_string_booleans: bool,
    /// Whether an address counts as verified where nothing is said of it.
    pub skip_email_verification: bool,
}

impl Terms {
    /// Whether `claim` says that an e-mail address is verified (decision D-39). What is said is never overruled: only silence can
    /// be excused.
    pub fn verifies(&self, claim: &ClaimSpec, claims: &Claims) -> Result<bool, Unreadable> {
        match claims.get(&claim.path) {
            None if self.skip_email_verification => Ok(true),
            None => Err(Unreadable::Missing),
            Some(Value::Bool(truth)) => Ok(*truth),
            Some(Value::String(word)) if self.accept_string_booleans => Ok(word == "true"),
            Some(_) => Err(Unreadable::WrongType),
        }
    }
}
