//! The form of a case file (contract, section 8): objects as `apply` reads them, a token's claims, and the form of a token request.

use std::path::Path;

use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::documents::Bundle;

/// Parameters of a token request that a case may give; what is presented is the case's own token.
const PARAMETERS: [&str; 8] = [
    "grant_type",
    "resource",
    "audience",
    "scope",
    "authorization_details",
    "principal",
    "subject_token_type",
    "requested_token_type",
];

/// One case of a case file.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Names it in results.
    pub id: String,
    /// What the server holds.
    pub objects: Bundle,
    /// The token.
    pub token: CaseToken,
    /// Parameters of the token request, by name.
    pub request: Vec<(&'static str, String)>,
    /// What is neither.
    pub context: Context,
    /// The verdict that is expected.
    pub expect: ExpectedVerdict,
}

/// The token that a workload presents.
#[derive(Clone, Debug, PartialEq)]
pub enum CaseToken {
    /// Its text.
    Text(String),
    /// Its payload as JSON text, and its header unless that is what its issuer's tokens usually have.
    Made {
        /// The payload.
        payload: String,
        /// The JOSE header.
        header: Option<Map<String, Value>>,
    },
}

/// What surrounds a request.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// The clock, in seconds since 1970; the moment at which the token was issued unless given.
    pub now: Option<i64>,
    /// The server's own issuer URL: the audience that trusted issuers expect where they name none.
    pub issuer: Option<String>,
    /// The `kid`s of the platform's key set; without them any `kid` is in it.
    pub keys: Option<Vec<String>>,
    /// Assertions that were used before.
    #[serde(default)]
    pub used: Vec<UsedAssertion>,
    /// States of federated credentials, by name; the others have the one that saving gives.
    #[serde(default)]
    pub states: Map<String, Value>,
    /// What the registry knows, and what is tried there with the token.
    pub registry: Option<RegistryContext>,
    /// Profiles of the case's own, by name, in the form of a profile file.
    #[serde(default)]
    pub profiles: Map<String, Value>,
}

/// An assertion that was used before.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged, expecting = "a used assertion must be \"this\" or an object of iss and jti")]
pub enum UsedAssertion {
    /// The case's own, as `"this"`.
    This(This),
    /// One of this issuer with this id.
    Other {
        /// Its issuer.
        iss: String,
        /// Its id: the claim that the trusted issuer tells assertions apart by.
        jti: String,
    },
}

/// The word `this`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum This {
    /// The case's own assertion.
    This,
}

/// The state of a federated credential.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenState {
    /// `active`, `pending`, `disabled` or `expired`.
    pub state: Option<GivenStateName>,
    /// The ids that its first match pinned, by field.
    pub pinned: Option<Map<String, Value>>,
    /// When a pending one ends; seven days from now unless given.
    #[serde(default, deserialize_with = "time")]
    pub pending_until: Option<Timestamp>,
    /// Whether somebody vouches for it.
    pub vouched: Option<bool>,
}

/// The name of a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GivenStateName {
    /// In force.
    Active,
    /// In force, its ids not pinned.
    Pending,
    /// Over.
    Expired,
    /// Switched off.
    Disabled,
}

/// What only a registry knows, and the operation that is tried there.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryContext {
    /// Whether the package exists.
    #[serde(default = "yes")]
    pub exists: bool,
    /// Who owns the package; whoever the permission says unless given.
    pub owner: Option<String>,
    /// The packages that the permission's owner owns; the one that is tried is among them unless given.
    pub owned_packages: Option<Vec<String>>,
    /// The action that is tried; only the grant is judged unless given.
    pub action: Option<String>,
    /// The package or packages.
    #[serde(default, deserialize_with = "one_or_more")]
    pub package: Vec<String>,
    /// The version.
    pub version: Option<String>,
    /// The artifact's digest.
    pub digest: Option<String>,
}

/// The verdict a case expects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExpectedVerdict {
    /// Yes.
    Allow,
    /// No.
    Deny,
}

/// Why a text is no case file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaseError {
    /// Neither JSON nor TOML.
    #[error("a case file is a list of cases in JSON, or `[[cases]]` in TOML: {0}")]
    Syntax(String),
    /// A case with a mistake.
    #[error("case {0}: {1}")]
    Case(String, String),
    /// A case in the form of before.
    #[error("case {0} is in the older form; `carnet policy convert OLD > NEW` brings it into this one")]
    Older(String),
}

/// A case as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CaseEntry {
    id: String,
    #[serde(default, rename = "description")]
    _description: String,
    objects: Option<Map<String, Value>>,
    objects_file: Option<String>,
    claims: Option<Map<String, Value>>,
    header: Option<Map<String, Value>>,
    payload_text: Option<String>,
    assertion: Option<String>,
    #[serde(default)]
    request: Map<String, Value>,
    #[serde(default)]
    context: Context,
    expect: ExpectedVerdict,
    // Two checks may fail together, and only one is named.
    #[serde(default, rename = "reason")]
    _reason: String,
}

/// Reads a case file. `read` reads the file that a case names for its objects.
pub fn read_cases(text: &str, read: impl Fn(&Path) -> Result<String, String>) -> Result<Vec<Case>, CaseError> {
    let case = |(at, case): (usize, Value)| {
        let id = case.get("id").and_then(Value::as_str);
        let id = id.map_or_else(|| format!("number {}", at.saturating_add(1)), str::to_owned);
        if case.get("provider").is_some() || case.get("policy").is_some() {
            return Err(CaseError::Older(id));
        }
        let written = serde_json::from_value(case).map_err(|error| error.to_string());
        written.and_then(|written| Case::new(written, &read)).map_err(|error| CaseError::Case(id, error))
    };
    list(text)?.into_iter().enumerate().map(case).collect()
}

/// The list of cases, whatever they hold.
pub(super) fn list(text: &str) -> Result<Vec<Value>, CaseError> {
    let start = text.trim_start();
    // A TOML file may begin with the name of its table, which has a bracket too.
    let is_json = start.starts_with('{') || (start.starts_with('[') && !start.starts_with("[[cases"));
    let value: Value = if is_json {
        serde_json::from_str(text).map_err(|error| CaseError::Syntax(error.to_string()))?
    } else {
        toml::from_str(text).map_err(|error| CaseError::Syntax(error.to_string()))?
    };
    let mut members = match value {
        Value::Array(cases) => return Ok(cases),
        Value::Object(members) => members,
        _ => return Err(CaseError::Syntax("it must hold a list".to_owned())),
    };
    match members.shift_remove("cases") {
        Some(Value::Array(cases)) if members.is_empty() => Ok(cases),
        _ => Err(CaseError::Syntax("the only member must be `cases`, a list".to_owned())),
    }
}

impl Case {
    fn new(written: CaseEntry, read: impl Fn(&Path) -> Result<String, String>) -> Result<Self, String> {
        let objects = match (written.objects, written.objects_file) {
            (Some(objects), None) => Bundle::of_tables(objects),
            (None, Some(path)) => Bundle::parse(&read(Path::new(&path))?),
            _ => return Err("it must have one of objects and objects_file".to_owned()),
        };
        let token = match (written.claims, written.payload_text, written.assertion) {
            (Some(claims), None, None) => {
                CaseToken::Made { payload: Value::Object(claims).to_string(), header: written.header }
            }
            (None, Some(payload), None) => CaseToken::Made { payload, header: written.header },
            (None, None, Some(text)) if written.header.is_none() => CaseToken::Text(text),
            (None, None, Some(_)) => return Err("assertion holds the header".to_owned()),
            _ => return Err("it must have one of claims, payload_text and assertion".to_owned()),
        };
        if written
            .context
            .registry
            .as_ref()
            .is_some_and(|registry| registry.action.is_some() == registry.package.is_empty())
        {
            return Err("context.registry must name both of action and package, or neither".to_owned());
        }
        Ok(Self {
            id: written.id,
            objects: objects.map_err(|error| error.to_string())?,
            token,
            request: request(written.request)?,
            context: written.context,
            expect: written.expect,
        })
    }
}

fn request(given: Map<String, Value>) -> Result<Vec<(&'static str, String)>, String> {
    let mut parameters = Vec::new();
    for (name, value) in given {
        let Some(known) = PARAMETERS.into_iter().find(|known| *known == name) else {
            return Err(match name.as_str() {
                "assertion" | "subject_token" => format!("request.{name} is the case's own token: leave it out"),
                "front_door" => "request.front_door: this release serves no front doors".to_owned(),
                _ => format!("request.{name} is no parameter of a case; there are {}", PARAMETERS.join(", ")),
            });
        };
        match value {
            Value::String(text) => parameters.push((known, text)),
            details if known == "authorization_details" => parameters.push((known, details.to_string())),
            Value::Array(values) if matches!(known, "resource" | "audience") => {
                for value in values {
                    let text = value.as_str().ok_or_else(|| format!("request.{name} must be a list of texts"))?;
                    parameters.push((known, text.to_owned()));
                }
            }
            _ => return Err(format!("request.{name} must be a text")),
        }
    }
    Ok(parameters)
}

fn yes() -> bool {
    true
}

fn time<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?;
    text.map(|text| Timestamp::parse_rfc3339(&text).ok_or_else(|| de::Error::custom("must be a time (RFC 3339)")))
        .transpose()
}

fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(vec![text]),
        list => {
            serde_json::from_value(list).map_err(|_| de::Error::custom("package must be a name or a list of names"))
        }
    }
}
