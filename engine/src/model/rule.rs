//! A rule, ready to be evaluated: the conditions of `match`, the pins, and the permissions.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::profile::{Check, Field, LetterCase, Profile, Role, glob};

/// Keys of one entry of the index under which a rule is found.
pub const MAX_KEYS: usize = 256;

/// What a federated credential asks of an assertion, and what it gives.
///
/// It borrows its texts: in memory a rule rests packed ([`PackedRule`]), so that a million of them fit, and is opened only
/// when it is a candidate.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rule<'a> {
    /// The federated credential's name.
    pub name: &'a str,
    /// All of them have to hold, in the order of the profile's fields.
    #[serde(borrow)]
    pub conditions: Vec<Condition<'a>>,
    /// What a match gives.
    pub permissions: Vec<Permission<'a>>,
    /// The federated credentials whose workloads may act for this one's (RFC 8693 section 4.1).
    pub actors: Vec<Named<'a>>,
}

/// A federated credential that another object names, as it was when it was named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named<'a> {
    /// Its name, for people.
    pub name: &'a str,
    /// Its id: another one of the same name is not meant.
    pub id: Uuid,
    /// Its revision.
    pub revision: u32,
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Condition<'a> {
    /// The field's position in the profile; none for an entry of `claims`.
    pub field: Option<u16>,
    /// Whether it is a pin and does not stand in `match`.
    pub pinned: bool,
    /// What has to hold.
    #[serde(borrow)]
    pub test: Test<'a>,
}

/// What has to hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Test<'a> {
    /// The claim is one of these.
    #[serde(borrow)]
    Text(Text<'a>),
    /// The claim is the truth value that the field asks for.
    Flag,
    /// The claim is there.
    Present,
    /// The file is this one.
    File(&'a str),
    /// The file that defines the job is of the same repository.
    SameRepository,
    /// The file that defines the job is this one.
    Called {
        /// `owner/repository/path`.
        path: &'a str,
        /// At which revision.
        at: CalledAt<'a>,
    },
    /// The claim has the version between these.
    Version {
        /// Before the version.
        prefix: &'a str,
        /// After the version.
        suffix: &'a str,
    },
    /// Any claim, by name or JSON Pointer.
    Claim {
        /// The claim.
        path: &'a str,
        /// Its value.
        expected: Expected<'a>,
    },
}

/// Text to compare with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Text<'a> {
    /// Equal to this.
    Is(&'a str),
    /// Equal to one of these.
    AnyOf(Vec<&'a str>),
    /// Fits this glob.
    Glob(&'a str),
}

/// The revision of a called workflow.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CalledAt<'a> {
    /// The ref after the `@`.
    #[serde(borrow)]
    Ref(Text<'a>),
    /// The commit of the file.
    Commit(&'a str),
}

/// The value of an entry of `claims`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Expected<'a> {
    /// Equal to one of these.
    #[serde(borrow)]
    AnyOf(Vec<Scalar<'a>>),
    /// A list with one of these in it.
    ListWith(Vec<Scalar<'a>>),
}

/// A JSON value that can be compared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Scalar<'a> {
    /// A string.
    Text(&'a str),
    /// A boolean.
    Bool(bool),
    /// An integer.
    Integer(i64),
}

/// What a match gives at one resource server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Permission<'a> {
    /// The resource server, by name.
    pub resource_server: &'a str,
    /// The actions.
    #[serde(borrow)]
    pub actions: Vec<&'a str>,
    /// Package names and patterns.
    pub packages: Vec<&'a str>,
    /// The owner's name, where it is not the credential's principal.
    pub owner: Option<&'a str>,
}

/// A rule at rest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackedRule(Box<[u8]>);

impl PackedRule {
    /// Packs a rule. What cannot be packed becomes a rule that cannot be opened, and that never matches.
    pub fn new(rule: &Rule<'_>) -> Self {
        Self(postcard::to_allocvec(rule).unwrap_or_default().into_boxed_slice())
    }

    /// How large it is, in bytes: what opening it costs grows with that.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// Opens it.
    pub fn open(&self) -> Option<Rule<'_>> {
        postcard::from_bytes(&self.0).ok()
    }
}

impl<'a> Rule<'a> {
    /// Builds the conditions of a `match` in its stored form ([`crate::trust::normalise`]), with the pins beside it.
    ///
    /// Nothing is checked again: a member that fits no field makes a condition that nothing meets.
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
            let value = matcher.get(&field.name).or_else(|| pins.get(&field.name).filter(|_| field.role == Role::Id));
            if let Some(test) = test(field, value) {
                conditions.push(Condition { field: u16::try_from(at).ok(), pinned: pinned && value.is_some(), test });
            }
        }
        // A field that this profile does not know cannot be judged: written by a newer version, or for another form of the profile.
        let known = |name: &String| name == "claims" || profile.fields.iter().any(|field| field.name == *name);
        if !matcher.keys().all(known) {
            conditions.push(Condition { field: None, pinned: false, test: Test::Text(Text::AnyOf(Vec::new())) });
        }
        if let Some(Value::Object(claims)) = matcher.get("claims") {
            conditions.extend(claims.iter().map(|(path, value)| {
                let test = Test::Claim { path, expected: expected(value) };
                Condition { field: None, pinned: false, test }
            }));
        }
        conditions
    }

    /// The values under which the rule is found, as field names and folded values; empty if every token has to be tried.
    pub fn index_keys(&self, profile: &Profile) -> Vec<(String, String)> {
        let mut groups =
            profile.index.iter().map(|group| group.iter().flat_map(|key| self.keys(profile, key)).collect());
        groups.find(|keys: &Vec<_>| !keys.is_empty()).unwrap_or_default()
    }

    /// The values of one key of the index; none unless the rule has plain values for all of its fields, and not too many of
    /// them: alternatives of several fields multiply, and a rule that was saved before that was refused is tried for every token.
    fn keys(&self, profile: &Profile, key: &[usize]) -> Vec<(String, String)> {
        let mut found = vec![(String::new(), String::new())];
        for at in key {
            let condition = self.conditions.iter().find(|condition| condition.field == u16::try_from(*at).ok());
            let values: &[&str] = match condition.map(|condition| &condition.test) {
                Some(Test::Text(Text::Is(value))) => std::slice::from_ref(value),
                Some(Test::Text(Text::AnyOf(values))) => values,
                _ => &[],
            };
            let Some(field) = profile.fields.get(*at) else { return Vec::new() };
            if found.len().saturating_mul(values.len()) > MAX_KEYS {
                return Vec::new();
            }
            let longer = |(names, before): &(String, String)| -> Vec<(String, String)> {
                values.iter().map(|value| (join(names, &field.name), join(before, &field.key_of(value)))).collect()
            };
            found = found.iter().flat_map(longer).collect();
        }
        found
    }
}

/// Two parts of a key. No value that is compared holds a control character, so nothing can be moved from one into the other.
pub(super) fn join(before: &str, part: &str) -> String {
    if before.is_empty() { part.to_owned() } else { format!("{before}\0{part}") }
}

impl Condition<'_> {
    /// Whether it says what the claim at `path` has to be, as the upstream of an identity.
    pub fn is_upstream(&self, profile: &Profile, path: &str) -> bool {
        let field = self.field.and_then(|at| profile.fields.get(usize::from(at)));
        field.is_some_and(|field| matches!(field.check, Check::Upstream))
            && matches!(&self.test, Test::Claim { path: named, .. } if *named == path)
    }
}

impl Text<'_> {
    /// Whether `received` fits.
    pub fn matches(&self, case: LetterCase, received: &str) -> bool {
        !received.is_empty()
            && match self {
                Self::Is(value) => case.same(value, received),
                Self::AnyOf(values) => values.iter().any(|value| case.same(value, received)),
                Self::Glob(pattern) => glob::matches_by(case, pattern, received),
            }
    }
}

/// Whether `field` is the check that the rule's settings choose.
fn is_chosen(profile: &Profile, field: &Field, matcher: &Map<String, Value>) -> bool {
    field.when.as_ref().is_none_or(|(setting, wanted)| {
        let default = profile.fields_named(setting).find_map(|(_, field)| match &field.check {
            Check::Choice { default, .. } => Some(default.as_str()),
            _ => None,
        });
        matcher.get(setting).and_then(Value::as_str).or(default) == Some(wanted)
    })
}

fn test<'a>(field: &Field, value: Option<&'a Value>) -> Option<Test<'a>> {
    match &field.check {
        Check::Choice { .. } | Check::MatchNames => None,
        Check::Flag { .. } => (value == Some(&Value::Bool(true))).then_some(Test::Flag),
        Check::Present { default, .. } => {
            let wanted = value.map_or(*default, |value| *value != Value::Bool(false));
            wanted.then_some(Test::Present)
        }
        Check::Upstream => value.map(|value| {
            let path = value.get("claim").and_then(Value::as_str).unwrap_or_default();
            Test::Claim { path, expected: value.get("equals").map_or(Expected::AnyOf(Vec::new()), expected) }
        }),
        Check::Equals(_) | Check::Identity(_) => value.map(|value| Test::Text(text(value))),
        Check::File(_) => value.map(|value| Test::File(value.as_str().unwrap_or_default())),
        Check::Version { .. } => value.map(|value| {
            let (prefix, suffix) = value.as_str().and_then(|text| text.split_once("{version}")).unwrap_or_default();
            Test::Version { prefix, suffix }
        }),
        // A file of another repository is never meant unless the rule says so.
        Check::ReusableFile(_) => match value {
            Some(Value::String(word)) if word == "any" => None,
            Some(Value::Object(called)) => {
                let path = called.get("path").and_then(Value::as_str).unwrap_or_default();
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
            (None, Some(Value::Array(values))) => Text::AnyOf(values.iter().filter_map(Value::as_str).collect()),
            _ => Text::AnyOf(Vec::new()),
        },
        _ => Text::AnyOf(Vec::new()),
    }
}

fn expected(value: &Value) -> Expected<'_> {
    match value {
        Value::Array(values) => Expected::ListWith(values.iter().filter_map(scalar).collect()),
        Value::Object(matcher) => match matcher.get("any_of") {
            Some(Value::Array(values)) => Expected::AnyOf(values.iter().filter_map(scalar).collect()),
            _ => Expected::AnyOf(Vec::new()),
        },
        plain => Expected::AnyOf(scalar(plain).into_iter().collect()),
    }
}

/// A value that can be compared: a string, a boolean, or an integer that no reader rounds.
pub fn scalar(value: &Value) -> Option<Scalar<'_>> {
    const EXACT: i64 = 1 << 53;
    match value {
        Value::String(text) => Some(Scalar::Text(text)),
        Value::Bool(truth) => Some(Scalar::Bool(*truth)),
        Value::Number(number) => number.as_i64().filter(|n| (-EXACT..=EXACT).contains(n)).map(Scalar::Integer),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::profile::Profiles;

    #[test]
    fn a_rule_is_found_under_few_keys_or_tried_for_every_token() {
        let profiles = Profiles::load(None).unwrap();
        let profile = profiles.get("kubernetes").unwrap();
        let keys = |count: usize| {
            let names: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
            let matcher = json!({ "namespace": { "any_of": names }, "service_account": { "any_of": names } });
            let none = Map::new();
            let conditions = Rule::conditions(profile, matcher.as_object().unwrap(), &none);
            Rule { conditions, ..Rule::default() }.index_keys(profile).len()
        };
        assert_eq!((keys(1), keys(16), keys(17), keys(1024)), (1, 256, 0, 0));
    }
}
