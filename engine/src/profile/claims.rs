//! Reads the claims of an assertion by the type, format and case rule that the profile declares.
//! Nothing is converted or normalised: a claim that is not as declared is unreadable.

use std::borrow::Cow;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::format::Format;
use crate::attested::Attested;
use crate::reason::Reason;

/// Claims that identify no workload: all tokens of the issuer have the same value, or each has its
/// own.
const OF_THE_TOKEN: [&str; 6] = ["iss", "aud", "exp", "nbf", "iat", "jti"];

/// Integers that every JSON parser reads without rounding.
const EXACT: std::ops::RangeInclusive<i64> = -(1 << 53)..=1 << 53;
/// The longest text that a rule may read, in bytes (decision D-33).
const MAX_TEXT_BYTES: usize = 1024;
/// The longest list that a rule may read, in elements.
const MAX_ELEMENTS: usize = 1024;

/// The claims of an assertion: a JSON object from the strict parser, not yet checked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    members: Map<String, Value>,
    attested: Option<Arc<Attested>>,
}

/// What a profile declares of one claim.
#[derive(Clone, Debug)]
pub struct ClaimSpec {
    /// The name used in the profile and in explanations.
    pub name: String,
    /// A top-level name, or a JSON Pointer if it begins with `/` (RFC 6901).
    pub path: String,
    /// For a text claim: only the part after the first occurrence of this mark is read, and a claim
    /// without the mark is malformed.
    pub after: Option<String>,
    pub kind: ClaimKind,
    pub case: LetterCase,
    /// The format that every value has to have.
    pub format: Option<Format>,
    /// All values that the claim can have; empty means any.
    pub one_of: Vec<String>,
    /// Whether every assertion has to contain the claim.
    pub required: bool,
    /// Whether the claim is copied into the `workload` claim of issued tokens.
    pub forward: bool,
}

/// The type that a claim has to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClaimKind {
    #[default]
    Text,
    Boolean,
    /// A JSON boolean, or a string with the word `true` or `false`.
    BooleanOrText,
    /// An integer of at most 2^53 in magnitude.
    Integer,
    /// An array of strings.
    List,
}

/// Which differences of letter case are ignored. Only ASCII letters ever fold (decision D-53).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LetterCase {
    /// Compared byte for byte.
    #[default]
    Exact,
    /// ASCII letters fold; other bytes are compared as they are.
    Fold,
    /// ASCII letters fold, and a value with any other byte equals nothing: names on forges.
    Name,
    /// ASCII letters fold after the last `@`: the domain of an e-mail address.
    Email,
}

/// Why a claim cannot be read as its profile declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unreadable {
    /// Absent, or `null`.
    Missing,
    /// Another JSON type than the declared one.
    WrongType,
    /// Too long, with control characters, not of the declared format or values, or an integer that
    /// some parsers would round.
    Malformed,
}

/// Up to so many members are searched one by one.
const FEW_MEMBERS: usize = 64;

impl Claims {
    /// Wraps an object that was parsed strictly: no member occurs twice.
    pub fn new(members: Map<String, Value>) -> Self {
        Self {
            members,
            attested: None,
        }
    }

    /// The same claims of an issuer for whose keys the RPKI vouches. It comes with the keys: no claim
    /// can stand for it.
    #[must_use]
    pub fn attested_by(self, attested: Option<Arc<Attested>>) -> Self {
        Self { attested, ..self }
    }

    /// What the RPKI says stands behind the keys of the issuer.
    pub fn attested(&self) -> Option<&Arc<Attested>> {
        self.attested.as_ref()
    }

    /// The claim at `path`: a top-level name, or a JSON Pointer if it begins with `/`. `null`
    /// counts as absent.
    pub fn get(&self, path: &str) -> Option<&Value> {
        let mut segments = match path.strip_prefix('/') {
            None => return self.member(path).filter(|value| !value.is_null()),
            Some(pointer) => pointer.split('/').map(unescape),
        };
        let first = self.member(&segments.next()?)?;
        let found = segments.try_fold(first, |value, segment| match value {
            Value::Object(members) => members.get(&segment),
            Value::Array(elements) => index(&segment).and_then(|at| elements.get(at)),
            _ => None,
        })?;
        Some(found).filter(|value| !value.is_null())
    }

    fn member(&self, name: &str) -> Option<&Value> {
        // For so few members, comparing lengths first costs a quarter of hashing `name`.
        if self.members.len() > FEW_MEMBERS {
            return self.members.get(name);
        }
        self.members
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    pub fn members(&self) -> &Map<String, Value> {
        &self.members
    }
}

/// Whether a claim, by name or JSON Pointer, can distinguish the workloads of the issuer.
pub fn is_of_the_workload(path: &str) -> bool {
    let name = path
        .strip_prefix('/')
        .and_then(|pointer| pointer.split('/').next())
        .unwrap_or(path);
    !OF_THE_TOKEN.contains(&name)
}

/// An array index in a JSON Pointer: decimal digits without a leading zero (RFC 6901 section 4).
fn index(segment: &str) -> Option<usize> {
    let plain = segment.bytes().all(|byte| byte.is_ascii_digit())
        && (segment == "0" || !segment.starts_with('0'));
    segment.parse().ok().filter(|_| plain)
}

/// In a JSON Pointer `~1` is a slash and `~0` a tilde (RFC 6901 section 4).
fn unescape(segment: &str) -> String {
    segment.replace("~1", "/").replace("~0", "~")
}

impl ClaimSpec {
    /// An optional text claim without a format, compared byte for byte.
    pub fn text_claim(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            path: name.to_owned(),
            after: None,
            kind: ClaimKind::Text,
            case: LetterCase::Exact,
            format: None,
            one_of: Vec::new(),
            required: false,
            forward: false,
        }
    }

    /// Reads a text claim, or the part of it after the mark.
    pub fn text<'c>(&self, claims: &'c Claims) -> Result<&'c str, Unreadable> {
        let text = claims
            .get(&self.path)
            .ok_or(Unreadable::Missing)?
            .as_str()
            .ok_or(Unreadable::WrongType)?;
        match &self.after {
            None => self.well_formed(text),
            Some(mark) => self.well_formed(
                text.split_once(mark.as_str())
                    .ok_or(Unreadable::Malformed)?
                    .1,
            ),
        }
    }

    /// Reads the claim as text: an integer or a boolean in its JSON spelling, a string as it is.
    pub fn spelt<'c>(&self, claims: &'c Claims) -> Result<Cow<'c, str>, Unreadable> {
        match (
            self.kind,
            claims.get(&self.path).ok_or(Unreadable::Missing)?,
        ) {
            (ClaimKind::Integer, Value::Number(number)) => {
                let exact = number
                    .as_i64()
                    .filter(|n| EXACT.contains(n))
                    .ok_or(Unreadable::Malformed)?;
                Ok(exact.to_string().into())
            }
            (ClaimKind::Boolean | ClaimKind::BooleanOrText, Value::Bool(truth)) => {
                Ok(truth.to_string().into())
            }
            (ClaimKind::Integer | ClaimKind::Boolean | ClaimKind::List, _) => {
                Err(Unreadable::WrongType)
            }
            (ClaimKind::Text | ClaimKind::BooleanOrText, _) => self.text(claims).map(Cow::Borrowed),
        }
    }

    /// Reads a list of at most 1024 texts.
    pub fn list<'c>(&self, claims: &'c Claims) -> Result<Vec<&'c str>, Unreadable> {
        let list = claims
            .get(&self.path)
            .ok_or(Unreadable::Missing)?
            .as_array()
            .ok_or(Unreadable::WrongType)?;
        if list.len() > MAX_ELEMENTS {
            return Err(Unreadable::Malformed);
        }
        list.iter()
            .map(|element| self.well_formed(element.as_str().ok_or(Unreadable::WrongType)?))
            .collect()
    }

    /// Whether the claim is `true`: a JSON boolean, or for text claims the word. Any other text,
    /// also an empty one, is not true.
    pub fn truth(&self, claims: &Claims) -> Result<bool, Unreadable> {
        self.says(true, claims)
    }

    /// Whether the claim is the truth value `wanted`. Text that is neither word is neither value.
    pub fn says(&self, wanted: bool, claims: &Claims) -> Result<bool, Unreadable> {
        let word = if wanted { "true" } else { "false" };
        match (
            self.kind,
            claims.get(&self.path).ok_or(Unreadable::Missing)?,
        ) {
            (ClaimKind::Boolean | ClaimKind::BooleanOrText, Value::Bool(truth)) => {
                Ok(*truth == wanted)
            }
            (ClaimKind::Boolean | ClaimKind::Integer, _) => Err(Unreadable::WrongType),
            (ClaimKind::Text | ClaimKind::BooleanOrText | ClaimKind::List, _) => {
                Ok(self.text(claims)? == word)
            }
        }
    }

    /// Checks that the claim can be read as its kind, whatever its value.
    pub fn check(&self, claims: &Claims) -> Result<(), Unreadable> {
        match self.kind {
            ClaimKind::Text => self.text(claims).map(|_| ()),
            ClaimKind::Boolean | ClaimKind::BooleanOrText => self.truth(claims).map(|_| ()),
            ClaimKind::Integer => self.spelt(claims).map(|_| ()),
            ClaimKind::List => self.list(claims).map(|_| ()),
        }
    }

    /// Whether the values of a rule and of a claim are equal. An empty claim equals nothing.
    pub fn same(&self, expected: &str, received: &str) -> bool {
        !received.is_empty() && self.case.same(expected, received)
    }

    fn well_formed<'c>(&self, text: &'c str) -> Result<&'c str, Unreadable> {
        let fits = text.len() <= MAX_TEXT_BYTES
            && !text.contains(char::is_control)
            && self.format.is_none_or(|format| format.fits(text))
            && (self.one_of.is_empty() || self.one_of.iter().any(|value| value == text));
        if fits {
            Ok(text)
        } else {
            Err(Unreadable::Malformed)
        }
    }
}

impl LetterCase {
    /// Whether two texts are equal under this case rule.
    pub fn same(self, expected: &str, received: &str) -> bool {
        match self {
            Self::Exact => expected == received,
            Self::Fold => expected.eq_ignore_ascii_case(received),
            Self::Name => received.is_ascii() && expected.eq_ignore_ascii_case(received),
            Self::Email => match (expected.rsplit_once('@'), received.rsplit_once('@')) {
                (Some((local, domain)), Some((name, host))) => {
                    local == name && domain.eq_ignore_ascii_case(host)
                }
                _ => expected == received,
            },
        }
    }

    /// The form of a text in an index: texts that are equal under this rule have equal keys.
    pub fn key(self, text: &str) -> String {
        match self {
            Self::Exact => text.to_owned(),
            Self::Fold | Self::Name => text.to_ascii_lowercase(),
            Self::Email => match text.rsplit_once('@') {
                Some((local, domain)) => format!("{local}@{}", domain.to_ascii_lowercase()),
                None => text.to_owned(),
            },
        }
    }

    /// The rest of `text` after `prefix`; `None` if `text` does not begin with it under this rule.
    pub fn strip_prefix<'t>(self, text: &'t str, prefix: &str) -> Option<&'t str> {
        let (head, tail) = text.split_at_checked(prefix.len())?;
        self.same(prefix, head).then_some(tail)
    }
}

impl From<Unreadable> for Reason {
    fn from(unreadable: Unreadable) -> Self {
        match unreadable {
            Unreadable::Missing => Self::ClaimMissing,
            Unreadable::WrongType => Self::ClaimType,
            Unreadable::Malformed => Self::ClaimMalformed,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(value: Value) -> Claims {
        match value {
            Value::Object(members) => Claims::new(members),
            _ => panic!("an object"),
        }
    }

    fn spec(kind: ClaimKind) -> ClaimSpec {
        ClaimSpec {
            kind,
            ..ClaimSpec::text_claim("c")
        }
    }

    #[test]
    fn claim_paths_are_names_or_json_pointers() {
        let claims = claims(json!({
            "a/b": 1, "kubernetes.io": {"pod": {"name": "p"}, "list": ["x", "y"], "n": null, "t~": 2, "s/": 3}, "n": null
        }));
        assert_eq!(claims.get("a/b"), Some(&json!(1)));
        assert_eq!(claims.get("/kubernetes.io/pod/name"), Some(&json!("p")));
        assert_eq!(claims.get("/kubernetes.io/list/0"), Some(&json!("x")));
        assert_eq!(claims.get("/kubernetes.io/list/1"), Some(&json!("y")));
        assert_eq!(claims.get("/kubernetes.io/t~0"), Some(&json!(2)));
        assert_eq!(claims.get("/kubernetes.io/s~1"), Some(&json!(3)));
        assert_eq!(claims.get("/a~1b"), Some(&json!(1)));
        for absent in [
            "x",
            "n",
            "/x",
            "/kubernetes.io/n",
            "/kubernetes.io/pod/name/x",
            "/kubernetes.io/list/2",
            "/kubernetes.io/list/z",
            "/kubernetes.io/list/01",
            "/kubernetes.io/list/+1",
            "/kubernetes.io/list/-0",
            "/kubernetes.io/list/",
            "/",
            "",
        ] {
            assert_eq!(claims.get(absent), None, "{absent}");
        }
    }

    #[test]
    fn text_claims_are_read_unchanged_or_refused() {
        let read = |value: Value| {
            spec(ClaimKind::Text)
                .text(&claims(json!({ "c": value })))
                .map(str::to_owned)
        };
        assert_eq!(read(json!(" x ")), Ok(" x ".into()));
        assert_eq!(read(json!("")), Ok(String::new()));
        assert_eq!(read(json!(null)), Err(Unreadable::Missing));
        for wrong in [json!(1), json!(true), json!(["x"]), json!({})] {
            assert_eq!(read(wrong), Err(Unreadable::WrongType));
        }
        for malformed in ["\u{0}", "a\nb", "\u{85}", &"x".repeat(1025)] {
            assert_eq!(read(json!(malformed)), Err(Unreadable::Malformed));
        }
        assert!(read(json!("x".repeat(1024))).is_ok());
        let limited = ClaimSpec {
            one_of: vec!["a".into(), String::new()],
            ..spec(ClaimKind::Text)
        };
        assert!(limited.text(&claims(json!({"c": ""}))).is_ok());
        assert_eq!(
            limited.text(&claims(json!({"c": "b"}))),
            Err(Unreadable::Malformed)
        );
        let formed = ClaimSpec {
            format: Some(Format::OwnerAndName),
            ..spec(ClaimKind::Text)
        };
        assert!(formed.text(&claims(json!({"c": "a/b"}))).is_ok());
        assert_eq!(
            formed.text(&claims(json!({"c": "a"}))),
            Err(Unreadable::Malformed)
        );
        let behind = ClaimSpec {
            after: Some("://".into()),
            ..spec(ClaimKind::Text)
        };
        assert_eq!(
            behind.text(&claims(json!({"c": "https://a://b"}))),
            Ok("a://b")
        );
        assert_eq!(
            behind.text(&claims(json!({"c": "a"}))),
            Err(Unreadable::Malformed)
        );
    }

    #[test]
    fn list_boolean_and_integer_claims_of_another_type_are_refused() {
        let list = spec(ClaimKind::List);
        let long = |length: usize| claims(json!({ "c": vec!["a"; length] }));
        assert!(list.list(&long(MAX_ELEMENTS)).is_ok());
        assert_eq!(
            list.list(&long(MAX_ELEMENTS + 1)),
            Err(Unreadable::Malformed)
        );
        assert_eq!(
            list.list(&claims(json!({"c": ["a", "b"]}))),
            Ok(vec!["a", "b"])
        );
        assert_eq!(
            list.list(&claims(json!({"c": "a"}))),
            Err(Unreadable::WrongType)
        );
        assert_eq!(
            list.list(&claims(json!({"c": ["a", 1]}))),
            Err(Unreadable::WrongType)
        );
        assert_eq!(
            list.list(&claims(json!({"c": ["a\u{0}"]}))),
            Err(Unreadable::Malformed)
        );
        assert_eq!(list.check(&claims(json!({}))), Err(Unreadable::Missing));
        let text = spec(ClaimKind::Text);
        let boolean = spec(ClaimKind::Boolean);
        assert_eq!(text.truth(&claims(json!({"c": "true"}))), Ok(true));
        for no in ["false", "", "TRUE", "1", "true "] {
            assert_eq!(text.truth(&claims(json!({ "c": no }))), Ok(false), "{no}");
        }
        assert_eq!(
            text.truth(&claims(json!({"c": true}))),
            Err(Unreadable::WrongType)
        );
        assert_eq!(boolean.truth(&claims(json!({"c": true}))), Ok(true));
        assert_eq!(boolean.truth(&claims(json!({"c": false}))), Ok(false));
        assert_eq!(
            boolean.truth(&claims(json!({"c": "true"}))),
            Err(Unreadable::WrongType)
        );
        assert_eq!(
            boolean.check(&claims(json!({"c": "true"}))),
            Err(Unreadable::WrongType)
        );
        let either = spec(ClaimKind::BooleanOrText);
        for (value, is_true, is_false) in [
            (json!(true), true, false),
            (json!("false"), false, true),
            (json!("x"), false, false),
        ] {
            let claims = claims(json!({ "c": value }));
            assert_eq!(
                (either.says(true, &claims), either.says(false, &claims)),
                (Ok(is_true), Ok(is_false))
            );
        }
        assert_eq!(
            either.says(false, &claims(json!({"c": 0}))),
            Err(Unreadable::WrongType)
        );
        let integer = spec(ClaimKind::Integer);
        assert_eq!(integer.spelt(&claims(json!({"c": -7}))).unwrap(), "-7");
        for (value, wrong) in [
            (json!("7"), Unreadable::WrongType),
            (json!(1.5), Unreadable::Malformed),
            (json!(9_007_199_254_740_993_i64), Unreadable::Malformed),
        ] {
            assert_eq!(integer.spelt(&claims(json!({ "c": value }))), Err(wrong));
        }
        assert_eq!(
            boolean.spelt(&claims(json!({"c": false}))).unwrap(),
            "false"
        );
        assert_eq!(
            text.spelt(&claims(json!({"c": 7}))),
            Err(Unreadable::WrongType)
        );
        assert_eq!(boolean.check(&claims(json!({}))), Err(Unreadable::Missing));
        assert_eq!(
            text.check(&claims(json!({"c": 1}))),
            Err(Unreadable::WrongType)
        );
    }

    #[test]
    fn case_folding_applies_to_ascii_letters_only() {
        assert!(LetterCase::Exact.same("a", "a") && !LetterCase::Exact.same("a", "A"));
        assert!(
            LetterCase::Fold.same("Prod", "pROD")
                && LetterCase::Fold.same("é", "é")
                && !LetterCase::Fold.same("é", "É")
        );
        assert!(
            LetterCase::Name.same("Octo", "octo")
                && !LetterCase::Name.same("é", "é")
                && !LetterCase::Name.same("k", "\u{212a}")
        );
        assert!(!LetterCase::Fold.same("k", "\u{212a}"));
        assert_eq!(LetterCase::Name.strip_prefix("Octo/x", "octo/"), Some("x"));
        assert_eq!(LetterCase::Exact.strip_prefix("Octo/x", "octo/"), None);
        assert_eq!(LetterCase::Name.strip_prefix("é", "e"), None);
        assert_eq!(LetterCase::Fold.key("AbÉ"), "abÉ");
        assert_eq!(LetterCase::Name.key("Ab"), "ab");
        assert_eq!(LetterCase::Exact.key("Ab"), "Ab");
        assert!(
            LetterCase::Email.same("a@x.y", "a@X.Y") && !LetterCase::Email.same("a@x.y", "A@x.y")
        );
        assert_eq!(LetterCase::Email.key("A@X.y"), "A@x.y");
        let empty = ClaimSpec {
            case: LetterCase::Exact,
            ..spec(ClaimKind::Text)
        };
        assert!(!empty.same("", "") && empty.same("a", "a"));
    }
}
