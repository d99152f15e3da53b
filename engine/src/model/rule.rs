//! Rules ready for evaluation: the conditions of `match`, the pins, and the permissions.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::possession::ProofDemand;
use crate::profile::{Check, Field, LetterCase, Profile, Role, glob};

/// The most index keys that a rule may have under one entry of its profile's index.
pub const MAX_KEYS: usize = 256;

/// What a federated credential requires of an assertion, and what a match gives.
///
/// The texts are borrowed from the packed form ([`PackedRule`]) in which rules are kept in memory,
/// so that a million of them fit. A rule is opened only when it is a candidate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rule<'a> {
    /// The name of the federated credential.
    pub name: &'a str,
    /// All conditions have to hold. They are in the order of the profile's fields.
    #[serde(borrow)]
    pub conditions: Vec<Condition<'a>>,
    pub permissions: Vec<Permission<'a>>,
    /// The rules whose workloads may act for this rule's workload (RFC 8693 section 4.1).
    pub actors: Vec<Named<'a>>,
}

/// A federated credential that another object names, with the revision that it had when it was
/// named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named<'a> {
    /// Shown to people; rules are identified by id.
    pub name: &'a str,
    /// Identifies the rule. A later rule of the same name is not meant.
    pub id: Uuid,
    /// A self-service rule counts only at this revision.
    pub revision: u32,
}

/// What a rule requires of one profile field or claim.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Condition<'a> {
    /// The field's position in the profile; `None` for an entry of `claims`.
    pub field: Option<u16>,
    /// Whether the value is a pinned id, and not written in `match`.
    pub pinned: bool,
    #[serde(borrow)]
    pub test: Test<'a>,
}

/// The test that a condition applies to the claims.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Test<'a> {
    /// The claim equals the text or one of several, or fits the glob.
    #[serde(borrow)]
    Text(Text<'a>),
    /// The claim has the truth value that the profile's field asks for.
    Flag,
    /// The claim is present and not empty.
    Present,
    /// The claim names this workflow file.
    File(&'a str),
    /// The file that defines the job belongs to the workload's own repository.
    SameRepository,
    /// The job is defined by this file, which may belong to another repository.
    Called {
        /// `owner/repository/path`.
        path: &'a str,
        /// The revision of the file that the claims have to name.
        at: CalledAt<'a>,
    },
    /// The claim contains a version between `prefix` and `suffix`.
    Version { prefix: &'a str, suffix: &'a str },
    /// Any claim has the expected value: an entry of `claims`, or `upstream`.
    Claim {
        /// Name or JSON Pointer of the claim.
        path: &'a str,
        expected: Expected<'a>,
    },
}

/// The texts that a claim may equal or fit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Text<'a> {
    Is(&'a str),
    /// An empty list matches no claim.
    AnyOf(Vec<&'a str>),
    Glob(&'a str),
}

/// The required revision of a called workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CalledAt<'a> {
    /// The ref that follows the `@` in the claim.
    #[serde(borrow)]
    Ref(Text<'a>),
    /// The commit of the file, which a claim of its own holds.
    Commit(&'a str),
}

/// The expected value of an entry of `claims`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Expected<'a> {
    /// The claim equals one of these.
    #[serde(borrow)]
    AnyOf(Vec<Scalar<'a>>),
    /// The claim is a list that contains one of these.
    ListWith(Vec<Scalar<'a>>),
}

/// A JSON value that a claim can be compared with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Scalar<'a> {
    Text(&'a str),
    Bool(bool),
    Integer(i64),
}

/// What a match permits at one resource server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Permission<'a> {
    /// Name of the resource server.
    pub resource_server: &'a str,
    #[serde(borrow)]
    pub actions: Vec<&'a str>,
    /// Package names and patterns.
    pub packages: Vec<&'a str>,
    /// The owner's name; `None` means the rule's principal.
    pub owner: Option<&'a str>,
    pub demand: ProofDemand,
}

/// A rule in the serialised form in which it is kept in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedRule(Box<[u8]>);

impl PackedRule {
    /// Packs a rule. A rule that cannot be serialised becomes one that cannot be opened, and so
    /// never matches.
    pub fn new(rule: &Rule<'_>) -> Self {
        Self(
            postcard::to_allocvec(rule)
                .unwrap_or_default()
                .into_boxed_slice(),
        )
    }

    /// The packed size in bytes, with which the cost of opening the rule grows.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// Unpacks the rule; `None` if it could not be packed.
    pub fn open(&self) -> Option<Rule<'_>> {
        postcard::from_bytes(&self.0).ok()
    }
}

impl<'a> Rule<'a> {
    /// Builds the conditions of a `match` in its stored form ([`crate::trust::normalise`]), with
    /// the pins added.
    ///
    /// Nothing is validated again. A member that the profile does not define becomes a condition
    /// that never holds.
    pub fn conditions(
        profile: &Profile,
        matcher: &'a Map<String, Value>,
        pins: &'a Map<String, Value>,
    ) -> Vec<Condition<'a>> {
        let by_ids_only = matcher.get("match_names") == Some(&Value::Bool(false));
        let mut conditions = Vec::new();
        for (at, field) in profile.fields.iter().enumerate() {
            if (by_ids_only && field.role == Role::Name) || !is_chosen(profile, field, matcher) {
                continue;
            }
            let pinned = !matcher.contains_key(&field.name);
            let value = matcher
                .get(&field.name)
                .or_else(|| pins.get(&field.name).filter(|_| field.role == Role::Id));
            if let Some(test) = test(field, value) {
                conditions.push(Condition {
                    field: u16::try_from(at).ok(),
                    pinned: pinned && value.is_some(),
                    test,
                });
            }
        }
        // A member that the profile does not define cannot be evaluated, so the rule must not
        // match. A newer release wrote it, or the profile has changed.
        let known = |name: &String| {
            name == "claims" || profile.fields.iter().any(|field| field.name == *name)
        };
        if !matcher.keys().all(known) {
            conditions.push(Condition {
                field: None,
                pinned: false,
                test: Test::Text(Text::AnyOf(Vec::new())),
            });
        }
        if let Some(Value::Object(claims)) = matcher.get("claims") {
            conditions.extend(claims.iter().map(|(path, value)| {
                let test = Test::Claim {
                    path,
                    expected: expected(value),
                };
                Condition {
                    field: None,
                    pinned: false,
                    test,
                }
            }));
        }
        conditions
    }

    /// The index keys of the rule, as field names and folded values. Without keys, the rule has to
    /// be tried for every assertion of its trusted issuer.
    pub fn index_keys(&self, profile: &Profile) -> Vec<(String, String)> {
        let mut groups = profile.index.iter().map(|group| {
            group
                .iter()
                .flat_map(|key| self.keys(profile, key))
                .collect()
        });
        groups
            .find(|keys: &Vec<_>| !keys.is_empty())
            .unwrap_or_default()
    }

    /// The index keys of the rule under one entry of the index. There are none if the rule lacks
    /// plain values for one of the fields, or if the alternatives of its fields multiply to more
    /// than [`MAX_KEYS`], as in rules saved before that limit was enforced.
    fn keys(&self, profile: &Profile, key: &[usize]) -> Vec<(String, String)> {
        let mut found = vec![(String::new(), String::new())];
        for at in key {
            let condition = self
                .conditions
                .iter()
                .find(|condition| condition.field == u16::try_from(*at).ok());
            let values: &[&str] = match condition.map(|condition| &condition.test) {
                Some(Test::Text(Text::Is(value))) => std::slice::from_ref(value),
                Some(Test::Text(Text::AnyOf(values))) => values,
                _ => &[],
            };
            let Some(field) = profile.fields.get(*at) else {
                return Vec::new();
            };
            if found.len().saturating_mul(values.len()) > MAX_KEYS {
                return Vec::new();
            }
            let longer = |(names, before): &(String, String)| -> Vec<(String, String)> {
                values
                    .iter()
                    .map(|value| (join(names, &field.name), join(before, &field.key_of(value))))
                    .collect()
            };
            found = found.iter().flat_map(longer).collect();
        }
        found
    }
}

/// Joins two parts of an index key. Compared values contain no control characters, so the separator
/// keeps different pairs of parts different.
pub(super) fn join(before: &str, part: &str) -> String {
    if before.is_empty() {
        part.to_owned()
    } else {
        format!("{before}\0{part}")
    }
}

impl Condition<'_> {
    /// Whether this condition fixes the value of the claim at `path`, by which a broker names the
    /// provider behind it.
    pub fn is_upstream(&self, profile: &Profile, path: &str) -> bool {
        let field = self
            .field
            .and_then(|at| profile.fields.get(usize::from(at)));
        field.is_some_and(|field| matches!(field.check, Check::Upstream))
            && matches!(&self.test, Test::Claim { path: named, .. } if *named == path)
    }
}

impl Text<'_> {
    /// Whether this holds for the value or one of several. A glob has no value.
    pub fn is_any(&self, holds: impl Fn(&str) -> bool) -> bool {
        match self {
            Self::Is(value) => holds(value),
            Self::AnyOf(values) => values.iter().any(|value| holds(value)),
            Self::Glob(_) => false,
        }
    }

    /// Whether `received` matches. An empty claim never does.
    pub fn matches(&self, case: LetterCase, received: &str) -> bool {
        !received.is_empty()
            && match self {
                Self::Is(value) => case.same(value, received),
                Self::AnyOf(values) => values.iter().any(|value| case.same(value, received)),
                Self::Glob(pattern) => glob::matches_by(case, pattern, received),
            }
    }
}

/// Whether the settings in `matcher` select `field` ([`Field::when`]) among the fields of its name.
fn is_chosen(profile: &Profile, field: &Field, matcher: &Map<String, Value>) -> bool {
    field.when.as_ref().is_none_or(|(setting, wanted)| {
        let default = profile
            .fields_named(setting)
            .find_map(|(_, field)| match &field.check {
                Check::Choice { default, .. } => Some(default.as_str()),
                _ => None,
            });
        matcher.get(setting).and_then(Value::as_str).or(default) == Some(wanted)
    })
}

fn test<'a>(field: &Field, value: Option<&'a Value>) -> Option<Test<'a>> {
    match &field.check {
        Check::Choice { .. } | Check::MatchNames => None,
        Check::Flag { .. } => match value {
            None | Some(Value::Null | Value::Bool(false)) => None,
            Some(Value::Bool(true)) => Some(Test::Flag),
            // The field was no flag when the rule was saved: a condition is never dropped.
            Some(_) => Some(Test::Text(Text::AnyOf(Vec::new()))),
        },
        Check::Present { default, .. } => {
            let wanted = value.map_or(*default, |value| *value != Value::Bool(false));
            wanted.then_some(Test::Present)
        }
        Check::Upstream => value.map(|value| {
            let path = value
                .get("claim")
                .and_then(Value::as_str)
                .unwrap_or_default();
            Test::Claim {
                path,
                expected: value
                    .get("equals")
                    .map_or(Expected::AnyOf(Vec::new()), expected),
            }
        }),
        Check::Equals(_) | Check::Identity(_) | Check::Attested(_) => {
            value.map(|value| Test::Text(text(value)))
        }
        Check::File(_) => value.map(|value| Test::File(value.as_str().unwrap_or_default())),
        Check::Version { .. } => value.map(|value| {
            let (prefix, suffix) = value
                .as_str()
                .and_then(|text| text.split_once("{version}"))
                .unwrap_or_default();
            Test::Version { prefix, suffix }
        }),
        // Unless the rule says otherwise, the file has to belong to the workload's own repository.
        Check::ReusableFile(_) => match value {
            Some(Value::String(word)) if word == "any" => None,
            Some(Value::Object(called)) => {
                let path = called
                    .get("path")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                let at = match called.get("sha").and_then(Value::as_str) {
                    Some(commit) => CalledAt::Commit(commit),
                    None => CalledAt::Ref(called.get("ref").map_or(Text::AnyOf(Vec::new()), text)),
                };
                Some(Test::Called { path, at })
            }
            None | Some(_) => Some(Test::SameRepository),
        },
    }
}

fn text(value: &Value) -> Text<'_> {
    match value {
        Value::String(text) => Text::Is(text),
        Value::Array(values) => Text::AnyOf(values.iter().filter_map(Value::as_str).collect()),
        Value::Object(matcher) => match (matcher.get("glob"), matcher.get("any_of")) {
            (Some(Value::String(pattern)), None) => Text::Glob(pattern),
            (None, Some(Value::Array(values))) => {
                Text::AnyOf(values.iter().filter_map(Value::as_str).collect())
            }
            _ => Text::AnyOf(Vec::new()),
        },
        _ => Text::AnyOf(Vec::new()),
    }
}

fn expected(value: &Value) -> Expected<'_> {
    match value {
        Value::Array(values) => Expected::ListWith(values.iter().filter_map(scalar).collect()),
        Value::Object(matcher) => match matcher.get("any_of") {
            Some(Value::Array(values)) => {
                Expected::AnyOf(values.iter().filter_map(scalar).collect())
            }
            _ => Expected::AnyOf(Vec::new()),
        },
        plain => Expected::AnyOf(scalar(plain).into_iter().collect()),
    }
}

/// The value as a [`Scalar`]: a string, a boolean, or an integer of up to 2^53, which no JSON
/// reader rounds. `None` for any other value.
pub fn scalar(value: &Value) -> Option<Scalar<'_>> {
    const EXACT: i64 = 1 << 53;
    match value {
        Value::String(text) => Some(Scalar::Text(text)),
        Value::Bool(truth) => Some(Scalar::Bool(*truth)),
        Value::Number(number) => number
            .as_i64()
            .filter(|n| (-EXACT..=EXACT).contains(n))
            .map(Scalar::Integer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::profile::Profiles;

    #[test]
    fn a_rule_that_would_need_more_than_256_index_keys_gets_none() {
        let profiles = Profiles::load(None).unwrap();
        let profile = profiles.get("kubernetes").unwrap();
        let keys = |count: usize| {
            let names: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
            let matcher =
                json!({ "namespace": { "any_of": names }, "service_account": { "any_of": names } });
            let none = Map::new();
            let conditions = Rule::conditions(profile, matcher.as_object().unwrap(), &none);
            Rule {
                conditions,
                ..Rule::default()
            }
            .index_keys(profile)
            .len()
        };
        assert_eq!((keys(1), keys(16), keys(17), keys(1024)), (1, 256, 0, 0));
    }
}
