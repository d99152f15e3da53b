//! The settings of one trusted issuer that the checks of its profile read.

use serde_json::Value;

use super::claims::{ClaimSpec, Claims, Unreadable};

/// Settings that a trusted issuer adds to its profile.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// The issuer, on whose host a platform of one's own has its repositories.
    pub issuer: Option<String>,
    /// The trusted issuer's own `banned_events`; `None` means those of the profile.
    pub banned_events: Option<Vec<String>>,
    /// The trust domain whose SPIFFE ids the trusted issuer may assert.
    pub trust_domain: Option<String>,
    /// The domain of its subjects: `https://example.com` for URIs, `example.com` for account names.
    pub subject_domain: Option<String>,
    /// For a broker: the claim, by name or JSON Pointer, that names the identity provider behind
    /// it.
    pub issuer_claim: Option<String>,
    /// Whether the string `true` verifies an e-mail address as the JSON boolean does.
    pub accept_string_booleans: bool,
    /// Whether an e-mail address counts as verified when the verifying claim is absent.
    pub skip_email_verification: bool,
}

impl Terms {
    /// Whether `claim` verifies an e-mail address (decision D-39). `skip_email_verification`
    /// excuses an absent claim only; a claim that says something else always counts.
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
