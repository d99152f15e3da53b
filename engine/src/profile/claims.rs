use std::borrow::Cow;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::format::Format;
use crate::reason::Reason;

/// Integers that every JSON reader reads alike.
const EXACT: std::ops::RangeInclusive<i64> = -(1 << 53)..=1 << 53;
/// The longest claim a rule may read, in bytes (decision D-33).
const MAX_TEXT_BYTES: usize = 1024;

/// The claims of an assertion: one strict JSON object, nothing of it judged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims(Map<String, Value>);

/// What a profile says of one claim.
#[derive(Clone, Debug)]
pub struct ClaimSpec {
    /// The name used in the profile and in explanations.
    pub name: String,
    /// Where it is: a top-level name, or a JSON Pointer if it begins with `/` (RFC 6901).
    pub path: String,
    /// For a text: that it is read from behind the first occurrence of this, which has to be there.
    pub after: Option<String>,
    /// Its JSON type.
    pub kind: ClaimKind,
    /// How it is compared.
    pub case: LetterCase,
    /// The shape every value has.
    pub format: Option<Format>,
    /// Every value it can have; none listed means any.
    pub one_of: Vec<String>,
    /// Whether every assertion has it.
    pub required: bool,
    /// Whether it goes into the `workload` claim of issued tokens.
    pub forward: bool,
}

/// JSON types a claim may have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClaimKind {
    /// A string.
    #[default]
    Text,
    /// `true` or `false`.
    Boolean,
    /// `true` or `false`, or one of these words.
    BooleanOrText,
    /// An integer.
    Integer,
    /// An array of strings.
    List,
}

/// Which differences of letter case do not count. Nothing beyond ASCII ever folds (decision D-53).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LetterCase {
    /// Byte for byte.
    #[default]
    Exact,
    /// ASCII letters fold, other bytes are compared as they are.
    Fold,
    /// ASCII letters fold, and a value with any other byte equals nothing: the names of forges.
    Name,
    /// ASCII letters fold behind the last `@`: the domain of an e-mail address.
    Email,
}

/// Why a claim cannot be read as what it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unreadable {
    /// Absent, or `null`.
    Missing,
    /// Of another JSON type.
    WrongType,
    /// Too long, with control characters, or not of its format.
    Malformed,
}

/// So many members are searched one by one.
const FEW_MEMBERS: usize = 64;

impl Claims {
    /// Takes an object that was read strictly.
    pub fn new(members: Map<String, Value>) -> Self {
        Self(members)
    }

    /// The claim at `path`: a top-level name, or a JSON Pointer if it begins with `/`. `null` counts as absent.
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
        // Among so few, looking at the length of each name costs a quarter of hashing the one that is looked for.
        if self.0.len() > FEW_MEMBERS {
            return self.0.get(name);
        }
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// All top-level members.
    pub fn members(&self) -> &Map<String, Value> {
        &self.0
    }
}

/// Digits alone, without a zero before others (RFC 6901 section 4).
fn index(segment: &str) -> Option<usize> {
    let plain = segment.bytes().all(|byte| byte.is_ascii_digit()) && (segment == "0" || !segment.starts_with('0'));
    segment.parse().ok().filter(|_| plain)
}

/// `~1` is a slash and `~0` a tilde (RFC 6901 section 4).
fn unescape(segment: &str) -> String {
    segment.replace("~1", "/").replace("~0", "~")
}

impl ClaimSpec {
    /// A text claim of which nothing more is known.
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

    /// Reads the claim as text.
    pub fn text<'c>(&self, claims: &'c Claims) -> Result<&'c str, Unreadable> {
        let text = claims.get(&self.path).ok_or(Unreadable::Missing)?.as_str().ok_or(Unreadable::WrongType)?;
        match &self.after {
            None => self.well_formed(text),
            Some(mark) => self.well_formed(text.split_once(mark.as_str()).ok_or(Unreadable::Malformed)?.1),
        }
    }

    /// Reads the claim as text that is made of it: an integer or a truth value in its JSON spelling.
    pub fn spelt<'c>(&self, claims: &'c Claims) -> Result<Cow<'c, str>, Unreadable> {
        match (self.kind, claims.get(&self.path).ok_or(Unreadable::Missing)?) {
            (ClaimKind::Integer, Value::Number(number)) => {
                let exact = number.as_i64().filter(|n| EXACT.contains(n)).ok_or(Unreadable::Malformed)?;
                Ok(exact.to_string().into())
            }
            (ClaimKind::Boolean | ClaimKind::BooleanOrText, Value::Bool(truth)) => Ok(truth.to_string().into()),
            (ClaimKind::Integer | ClaimKind::Boolean | ClaimKind::List, _) => Err(Unreadable::WrongType),
            (ClaimKind::Text | ClaimKind::BooleanOrText, _) => self.text(claims).map(Cow::Borrowed),
        }
    }

    /// Reads the claim as a list of texts.
    pub fn list<'c>(&self, claims: &'c Claims) -> Result<Vec<&'c str>, Unreadable> {
        let list = claims.get(&self.path).ok_or(Unreadable::Missing)?.as_array().ok_or(Unreadable::WrongType)?;
        list.iter().map(|element| self.well_formed(element.as_str().ok_or(Unreadable::WrongType)?)).collect()
    }

    /// Whether the claim is `true`: a JSON boolean, or for text claims the word. Any other text, the empty one included, is not
    /// true.
    pub fn truth(&self, claims: &Claims) -> Result<bool, Unreadable> {
        self.says(true, claims)
    }

    /// Whether the claim is this truth value, and not another one or none.
    pub fn says(&self, wanted: bool, claims: &Claims) -> Result<bool, Unreadable> {
        let word = if wanted { "true" } else { "false" };
        match (self.kind, claims.get(&self.path).ok_or(Unreadable::Missing)?) {
            (ClaimKind::Boolean | ClaimKind::BooleanOrText, Value::Bool(truth)) => Ok(*truth == wanted),
            (ClaimKind::Boolean | ClaimKind::Integer, _) => Err(Unreadable::WrongType),
            (ClaimKind::Text | ClaimKind::BooleanOrText | ClaimKind::List, _) => Ok(self.text(claims)? == word),
        }
    }

    /// Checks that the claim can be read as its kind, without saying what it is.
    pub fn check(&self, claims: &Claims) -> Result<(), Unreadable> {
        match self.kind {
            ClaimKind::Text => self.text(claims).map(|_| ()),
            ClaimKind::Boolean | ClaimKind::BooleanOrText => self.truth(claims).map(|_| ()),
            ClaimKind::Integer => self.spelt(claims).map(|_| ()),
            ClaimKind::List => self.list(claims).map(|_| ()),
        }
    }

    /// Whether a rule's value and a claim's are the same. An empty one equals nothing.
    pub fn same(&self, expected: &str, received: &str) -> bool {
        !received.is_empty() && self.case.same(expected, received)
    }

    fn well_formed<'c>(&self, text: &'c str) -> Result<&'c str, Unreadable> {
        let fits = text.len() <= MAX_TEXT_BYTES
            && !text.contains(char::is_control)
            && self.format.is_none_or(|format| format.fits(text))
            && (self.one_of.is_empty() || self.one_of.iter().any(|value| value == text));
        if fits { Ok(text) } else { Err(Unreadable::Malformed) }
    }
}

impl LetterCase {
    /// Whether two texts are the same under this rule.
    pub fn same(self, expected: &str, received: &str) -> bool {
        match self {
            Self::Exact => expected == received,
            Self::Fold => expected.eq_ignore_ascii_case(received),
            Self::Name => received.is_ascii() && expected.eq_ignore_ascii_case(received),
            Self::Email => match (expected.rsplit_once('@'), received.rsplit_once('@')) {
                (Some((local, domain)), Some((name, host))) => local == name && domain.eq_ignore_ascii_case(host),
                _ => expected == received,
            },
        }
    }

    /// The form under which equal texts are found in an index.
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

    /// What is left of `text` after `prefix`, if it begins with it under this rule.
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
        ClaimSpec { kind, ..ClaimSpec::text_claim("c") }
    }

    #[test]
    fn paths_are_names_or_pointers() {
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
    fn texts_are_read_as_they_are_or_not_at_all() {
        let read = |value: Value| spec(ClaimKind::Text).text(&claims(json!({ "c": value }))).map(str::to_owned);
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
        let limited = ClaimSpec { one_of: vec!["a".into(), String::new()], ..spec(ClaimKind::Text) };
        assert!(limited.text(&claims(json!({"c": ""}))).is_ok());
        assert_eq!(limited.text(&claims(json!({"c": "b"}))), Err(Unreadable::Malformed));
        let formed = ClaimSpec { format: Some(Format::OwnerAndName), ..spec(ClaimKind::Text) };
        assert!(formed.text(&claims(json!({"c": "a/b"}))).is_ok());
        assert_eq!(formed.text(&claims(json!({"c": "a"}))), Err(Unreadable::Malformed));
        let behind = ClaimSpec { after: Some("://".into()), ..spec(ClaimKind::Text) };
        assert_eq!(behind.text(&claims(json!({"c": "https://a://b"}))), Ok("a://b"));
        assert_eq!(behind.text(&claims(json!({"c": "a"}))), Err(Unreadable::Malformed));
    }

    #[test]
    fn lists_and_truth_values_have_one_type_each() {
        let list = spec(ClaimKind::List);
        assert_eq!(list.list(&claims(json!({"c": ["a", "b"]}))), Ok(vec!["a", "b"]));
        assert_eq!(list.list(&claims(json!({"c": "a"}))), Err(Unreadable::WrongType));
        assert_eq!(list.list(&claims(json!({"c": ["a", 1]}))), Err(Unreadable::WrongType));
        assert_eq!(list.list(&claims(json!({"c": ["a\u{0}"]}))), Err(Unreadable::Malformed));
        assert_eq!(list.check(&claims(json!({}))), Err(Unreadable::Missing));
        let text = spec(ClaimKind::Text);
        let boolean = spec(ClaimKind::Boolean);
        assert_eq!(text.truth(&claims(json!({"c": "true"}))), Ok(true));
        for no in ["false", "", "TRUE", "1", "true "] {
            assert_eq!(text.truth(&claims(json!({ "c": no }))), Ok(false), "{no}");
        }
        assert_eq!(text.truth(&claims(json!({"c": true}))), Err(Unreadable::WrongType));
        assert_eq!(boolean.truth(&claims(json!({"c": true}))), Ok(true));
        assert_eq!(boolean.truth(&claims(json!({"c": false}))), Ok(false));
        assert_eq!(boolean.truth(&claims(json!({"c": "true"}))), Err(Unreadable::WrongType));
        assert_eq!(boolean.check(&claims(json!({"c": "true"}))), Err(Unreadable::WrongType));
        let either = spec(ClaimKind::BooleanOrText);
        for (value, is_true, is_false) in
            [(json!(true), true, false), (json!("false"), false, true), (json!("x"), false, false)]
        {
            let claims = claims(json!({ "c": value }));
            assert_eq!((either.says(true, &claims), either.says(false, &claims)), (Ok(is_true), Ok(is_false)));
        }
        assert_eq!(either.says(false, &claims(json!({"c": 0}))), Err(Unreadable::WrongType));
        let integer = spec(ClaimKind::Integer);
        assert_eq!(integer.spelt(&claims(json!({"c": -7}))).unwrap(), "-7");
        for (value, wrong) in [
            (json!("7"), Unreadable::WrongType),
            (json!(1.5), Unreadable::Malformed),
            (json!(9_007_199_254_740_993_i64), Unreadable::Malformed),
        ] {
            assert_eq!(integer.spelt(&claims(json!({ "c": value }))), Err(wrong));
        }
        assert_eq!(boolean.spelt(&claims(json!({"c": false}))).unwrap(), "false");
        assert_eq!(text.spelt(&claims(json!({"c": 7}))), Err(Unreadable::WrongType));
        assert_eq!(boolean.check(&claims(json!({}))), Err(Unreadable::Missing));
        assert_eq!(text.check(&claims(json!({"c": 1}))), Err(Unreadable::WrongType));
    }

    #[test]
    fn case_folds_ascii_and_nothing_else() {
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
        assert!(LetterCase::Email.same("a@x.y", "a@X.Y") && !LetterCase::Email.same("a@x.y", "A@x.y"));
        assert_eq!(LetterCase::Email.key("A@X.y"), "A@x.y");
        let empty = ClaimSpec { case: LetterCase::Exact, ..spec(ClaimKind::Text) };
        assert!(!empty.same("", "") && empty.same("a", "a"));
    }
}
