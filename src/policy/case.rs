//! Parses case files (`docs/src/reference/case-files.md`): the server's objects as a bundle, the
//! token that a workload presents, the parameters of its token request, and the expected verdict.

use std::path::Path;

use serde::{Deserialize, Deserializer, de};
use serde_json::{Map, Value};

use crate::clock::Timestamp;
use crate::documents::{Bundle, SpeaksFor};

/// Parameters of the token request that a case may have. The token itself is not among them: it is
/// that of the case.
const PARAMETERS: [&str; 10] = [
    "grant_type",
    "resource",
    "audience",
    "scope",
    "authorization_details",
    "principal",
    "subject_token_type",
    "requested_token_type",
    "front_door",
    "package",
];

/// One case of a case file.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// Identifies the case in results and errors.
    pub id: String,
    /// The objects of the server.
    pub objects: Bundle,
    pub token: CaseToken,
    /// Names and values of the token request's parameters.
    pub request: Vec<(&'static str, String)>,
    /// The clock, used assertions, states of rules and the registry.
    pub context: Context,
    pub expect: ExpectedVerdict,
}

/// The assertion that the workload presents.
#[derive(Clone, Debug, PartialEq)]
pub enum CaseToken {
    /// A complete token in compact serialization.
    Text(String),
    /// A token to be made, with a signature that counts as good.
    Made {
        /// The payload as JSON text.
        payload: String,
        /// The JOSE header; without one, the first algorithm and `typ` that the trusted issuer
        /// accepts.
        header: Option<Map<String, Value>>,
    },
}

/// The circumstances of the token request.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Context {
    /// The server's clock in seconds since 1970; by default the token's `iat`.
    pub now: Option<i64>,
    /// The server's own issuer URL, which is the default audience of trusted issuers.
    pub issuer: Option<String>,
    /// The `kid`s in the platform's key set; `None` means that every `kid` is in it.
    pub keys: Option<Vec<String>>,
    /// What the RPKI attests to the issuer's keys; by default nothing.
    pub attested: Option<SpeaksFor>,
    #[serde(default)]
    pub used: Vec<UsedAssertion>,
    /// States of rules, by name. Rules without an entry have the state that saving gives them.
    #[serde(default)]
    pub states: Map<String, Value>,
    /// What the registry knows, and the operation that is tried there with the token.
    pub registry: Option<RegistryContext>,
    /// Additional profiles, by name, in the form of profile files.
    #[serde(default)]
    pub profiles: Map<String, Value>,
}

/// A used assertion.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "a used assertion must be \"this\" or an object of iss and jti"
)]
pub enum UsedAssertion {
    /// The case's own assertion, written `"this"`.
    This(This),
    /// The assertion of this issuer with this id.
    Other {
        iss: String,
        /// The value of the trusted issuer's `replay_claim`, usually `jti`.
        jti: String,
    },
}

/// The string `this`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum This {
    This,
}

/// The state of a rule, where it differs from the one that saving gives.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GivenState {
    pub state: Option<GivenStateName>,
    /// The ids that the first match pinned, by field.
    pub pinned: Option<Map<String, Value>>,
    /// When a pending rule ends; by default seven days after `now`.
    #[serde(default, deserialize_with = "time")]
    pub pending_until: Option<Timestamp>,
    /// Whether the rule is vouched for; by default what saving by an administrator gives.
    pub vouched: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GivenStateName {
    Active,
    /// Waiting for its first match, which pins its ids.
    Pending,
    /// Past its `expires_at`.
    Expired,
    Disabled,
}

/// The registry's knowledge about the package, and the operation that is tried.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegistryContext {
    /// Whether the package exists; by default true.
    #[serde(default = "yes")]
    pub exists: bool,
    /// The package's owner; by default the owner in the permission.
    pub owner: Option<String>,
    /// The packages of the permission's owner; by default the tried package is one of them.
    pub owned_packages: Option<Vec<String>>,
    /// The action that is tried; without one only the grant is judged.
    pub action: Option<String>,
    /// The packages of the operation: one name or a list.
    #[serde(default, deserialize_with = "one_or_more")]
    pub package: Vec<String>,
    /// The version to be published.
    pub version: Option<String>,
    /// The digest of the artifact.
    pub digest: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExpectedVerdict {
    Allow,
    Deny,
}

/// Why a text cannot be read as a case file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaseError {
    #[error("a case file must be a list of cases in JSON, or `[[cases]]` in TOML: {0}")]
    Syntax(String),
    /// A mistake in a case, with the case's id.
    #[error("case {0}: {1}")]
    Case(String, String),
    /// A case in the form of earlier releases, with its id.
    #[error(
        "case {0} is in the older form; `carnet policy convert OLD > NEW` brings it into this one"
    )]
    Older(String),
}

/// A case as it stands in the file.
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
    // Not compared: several checks may fail, and a refusal names one of them.
    #[serde(default, rename = "reason")]
    _reason: String,
}

/// Parses a case file. `read` loads the file that a case names as `objects_file`.
pub fn read_cases(
    text: &str,
    read: impl Fn(&Path) -> Result<String, String>,
) -> Result<Vec<Case>, CaseError> {
    let case = |(at, case): (usize, Value)| {
        let id = case.get("id").and_then(Value::as_str);
        let id = id.map_or_else(|| format!("number {}", at.saturating_add(1)), str::to_owned);
        if case.get("provider").is_some() || case.get("policy").is_some() {
            return Err(CaseError::Older(id));
        }
        let written = serde_json::from_value(case).map_err(|error| error.to_string());
        written
            .and_then(|written| Case::new(written, &read))
            .map_err(|error| CaseError::Case(id, error))
    };
    list(text)?.into_iter().enumerate().map(case).collect()
}

/// Parses the list of cases, in JSON or TOML, without reading the cases themselves.
pub(super) fn list(text: &str) -> Result<Vec<Value>, CaseError> {
    let start = text.trim_start();
    // A TOML file may begin with the table header `[[cases]]`, which starts like a JSON array.
    let is_json =
        start.starts_with('{') || (start.starts_with('[') && !start.starts_with("[[cases"));
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
        _ => Err(CaseError::Syntax(
            "the only member must be `cases`, a list".to_owned(),
        )),
    }
}

impl Case {
    fn new(
        written: CaseEntry,
        read: impl Fn(&Path) -> Result<String, String>,
    ) -> Result<Self, String> {
        let objects = match (written.objects, written.objects_file) {
            (Some(objects), None) => Bundle::of_tables(objects),
            (None, Some(path)) => Bundle::parse(&read(Path::new(&path))?),
            _ => return Err("it must have one of objects and objects_file".to_owned()),
        };
        let token = match (written.claims, written.payload_text, written.assertion) {
            (Some(claims), None, None) => CaseToken::Made {
                payload: Value::Object(claims).to_string(),
                header: written.header,
            },
            (None, Some(payload), None) => CaseToken::Made {
                payload,
                header: written.header,
            },
            (None, None, Some(text)) if written.header.is_none() => CaseToken::Text(text),
            (None, None, Some(_)) => {
                return Err(
                    "header must not be given together with assertion, which has its own"
                        .to_owned(),
                );
            }
            _ => return Err("it must have one of claims, payload_text and assertion".to_owned()),
        };
        if written
            .context
            .registry
            .as_ref()
            .is_some_and(|registry| registry.action.is_some() == registry.package.is_empty())
        {
            return Err(
                "context.registry must name both of action and package, or neither".to_owned(),
            );
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
                "assertion" | "subject_token" => {
                    format!("request.{name} must be left out: it is the case's own token")
                }
                _ => format!(
                    "request.{name} must be left out; the parameters of a case are {}",
                    PARAMETERS.join(", ")
                ),
            });
        };
        match value {
            Value::String(text) => parameters.push((known, text)),
            details if known == "authorization_details" => {
                parameters.push((known, details.to_string()));
            }
            Value::Array(values) if matches!(known, "resource" | "audience") => {
                for value in values {
                    let text = value
                        .as_str()
                        .ok_or_else(|| format!("request.{name} must be a list of texts"))?;
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
    text.map(|text| {
        Timestamp::parse_rfc3339(&text)
            .ok_or_else(|| de::Error::custom("must be a time (RFC 3339)"))
    })
    .transpose()
}

fn one_or_more<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::String(text) => Ok(vec![text]),
        list => serde_json::from_value(list)
            .map_err(|_| de::Error::custom("package must be a name or a list of names")),
    }
}
