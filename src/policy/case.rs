use serde::Deserialize;
use serde_json::{Map, Value};

/// One case of a case file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// Its id.
    pub id: String,
    /// The kind of platform: a profile's name, or one of the short names.
    pub provider: String,
    /// The rule and its surroundings.
    pub policy: CasePolicy,
    /// The token's claims. `_jose` stands for the header and `_raw_payload` for raw JSON text.
    pub claims: Map<String, Value>,
    /// The verdict that is expected.
    pub expect: Expected,
    /// Why, in words; advisory.
    #[serde(default)]
    pub reason: String,
}

/// The rule of a case.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CasePolicy {
    /// The rule in words.
    #[serde(default)]
    pub description: String,
    /// The rule's fields, or `candidates` with several.
    #[serde(default)]
    pub fields: Map<String, Value>,
    /// The clock, the request, and what else is there.
    #[serde(default)]
    pub context: Context,
}

/// The surroundings of a case.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// The clock, in seconds since 1970.
    pub now: i64,
    /// The trusted issuer's leeway.
    pub leeway_seconds: Option<i64>,
    /// The trusted issuer's limit.
    pub max_assertion_lifetime_seconds: Option<i64>,
    /// What is asked for.
    #[serde(default)]
    pub requested: Option<Requested>,
    /// The trusted issuer's `banned_events`; the profile's unless given.
    pub server_banned_events: Option<Vec<String>>,
    /// `protected_ref_or_environment`: the registry-wide floor.
    pub server_floor: Option<String>,
    /// Assertions that were used, by issuer and id.
    #[serde(default)]
    pub consumed: Vec<Consumed>,
    /// Whether this very token was used.
    #[serde(default)]
    pub consumed_token_hash: bool,
    /// Trusted issuers without rules: a list, or an object of issuer and trust domain.
    #[serde(default)]
    pub registered_issuers: Value,
    /// Trusted issuers with `skip_email_verification`.
    #[serde(default)]
    pub issuers_skipping_email_verification: Vec<String>,
    /// The `kid`s of the key set.
    pub jwks_kids: Option<Vec<String>>,
    /// Packages that the owner of an issuer owns.
    #[serde(default)]
    pub issuer_scopes: Map<String, Value>,
    /// Packages that the owner owns.
    pub owned_packages: Option<Vec<String>>,
    /// Who owns the package now.
    pub package_owner_now: Option<String>,
    /// Whether the package exists; it does unless said otherwise.
    pub package_exists: Option<bool>,
    /// Carries no rule.
    #[serde(default)]
    pub match_mode: Value,
}

/// What a case asks for.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Requested {
    /// The packages.
    #[serde(default)]
    pub packages: Vec<String>,
    /// The action.
    pub action: String,
    /// The version.
    pub version: Option<String>,
    /// The artifact.
    pub digest: Option<String>,
    /// The owner.
    pub owner: Option<String>,
}

/// An assertion that was used.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Consumed {
    /// Its issuer.
    pub iss: String,
    /// Its id.
    pub jti: String,
}

/// The verdict a case expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Expected {
    /// Yes.
    Allow,
    /// No.
    Deny,
}

/// Why a text is no case file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaseError {
    /// Not a JSON array.
    #[error("a case file is a JSON array: {0}")]
    NotAnArray(String),
    /// A case with a mistake.
    #[error("case {0}: {1}")]
    Case(String, String),
}

/// Reads a case file.
pub fn read_cases(text: &str) -> Result<Vec<Case>, CaseError> {
    let cases: Vec<Value> = serde_json::from_str(text).map_err(|error| CaseError::NotAnArray(error.to_string()))?;
    cases
        .into_iter()
        .enumerate()
        .map(|(at, case)| {
            let id = case
                .get("id")
                .and_then(Value::as_str)
                .map_or_else(|| format!("number {}", at.saturating_add(1)), str::to_owned);
            serde_json::from_value(case).map_err(|error| CaseError::Case(id, error.to_string()))
        })
        .collect()
}
