//! The octets of a JWK set that an attestation signs.
//!
//! They are the set without its top-level member `rpki_attestation`, names sorted by code point at
//! every depth, without white space. Every other member is kept, so that `kid`, `use` and `alg` are
//! signed as well; what could be written in two ways is refused. Keys may be read from these octets
//! only: what was read and what was signed cannot differ then.

use std::collections::BTreeMap;

/// The member that holds the attestation.
const MEMBER: &str = "rpki_attestation";
const MOST_OCTETS: usize = 256 * 1024;
/// An object or array in 15 others is the deepest.
const MOST_DEPTH: usize = 16;
/// The largest integer that every JSON implementation reads exactly, 2^53 - 1.
const MOST_INTEGER: u64 = (1 << 53) - 1;

/// A JWK set as far as its attestation is concerned.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AttestedSet {
    octets: String,
    attestation: Option<Attestation>,
    issuer: Option<String>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Attestation {
    Text(String),
    /// A member of another JSON type.
    NoText,
}

impl AttestedSet {
    /// Reads a set as it was served.
    pub fn parse(document: &[u8]) -> Result<Self, SetError> {
        if document.len() > MOST_OCTETS {
            return Err(SetError::TooLong);
        }
        let document = std::str::from_utf8(document).map_err(|_| SetError::NotJson)?;
        let mut reader = Reader { rest: document };
        let root = reader.value(MOST_DEPTH)?;
        if !reader.after_white_space().is_empty() {
            return Err(SetError::NotJson);
        }
        let Node::Object(mut members) = root else {
            return Err(SetError::NoObject);
        };
        let attestation = members.remove(MEMBER).map(|member| match member.text() {
            Some(text) => Attestation::Text(text.to_owned()),
            None => Attestation::NoText,
        });
        let issuer = match members.get("issuer") {
            None => None,
            Some(member) => Some(member.text().ok_or(SetError::Issuer)?.to_owned()),
        };
        let mut octets = String::with_capacity(document.len());
        Node::Object(members).write(&mut octets);
        Ok(Self {
            octets,
            attestation,
            issuer,
        })
    }

    /// What is signed. Keys are read from here.
    pub fn octets(&self) -> &str {
        &self.octets
    }

    /// The member `issuer`, which is signed with the rest and says whose set it is.
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_deref()
    }

    pub(crate) fn attestation(&self) -> Option<&Attestation> {
        self.attestation.as_ref()
    }
}

/// Why a set cannot be signed or verified: it could be written in more than one way, or is too large.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SetError {
    #[error("the set is no JSON")]
    NotJson,
    #[error("the set is no JSON object")]
    NoObject,
    #[error("a name is there twice in one object of the set")]
    DuplicateName,
    #[error("the set has a backslash: what must be escaped cannot be signed")]
    Escape,
    #[error("the set has a number that is no plain integer of at most 2^53 - 1")]
    Number,
    #[error("the set is nested more than 16 deep")]
    TooDeep,
    #[error("the set is longer than 256 KiB")]
    TooLong,
    #[error("the member \"issuer\" of the set must be text")]
    Issuer,
}

enum Node<'a> {
    /// With its quotes.
    Text(&'a str),
    /// A number, `true`, `false` or `null`.
    Word(&'a str),
    Array(Vec<Node<'a>>),
    /// Sorted by code point, which is the order of the octets of UTF-8.
    Object(BTreeMap<&'a str, Node<'a>>),
}

impl<'a> Node<'a> {
    fn text(&self) -> Option<&'a str> {
        match self {
            Self::Text(quoted) => quoted.strip_prefix('"')?.strip_suffix('"'),
            Self::Word(_) | Self::Array(_) | Self::Object(_) => None,
        }
    }

    fn write(&self, octets: &mut String) {
        match self {
            Self::Text(literal) | Self::Word(literal) => octets.push_str(literal),
            Self::Array(items) => {
                octets.push('[');
                for (index, item) in items.iter().enumerate() {
                    if index > 0 {
                        octets.push(',');
                    }
                    item.write(octets);
                }
                octets.push(']');
            }
            Self::Object(members) => {
                octets.push('{');
                for (index, (name, member)) in members.iter().enumerate() {
                    if index > 0 {
                        octets.push(',');
                    }
                    octets.push('"');
                    octets.push_str(name);
                    octets.push_str("\":");
                    member.write(octets);
                }
                octets.push('}');
            }
        }
    }
}

/// A reader of the JSON that can be written in one way only (RFC 8259 without escapes, fractions and
/// exponents).
struct Reader<'a> {
    rest: &'a str,
}

impl<'a> Reader<'a> {
    /// `depth` is how many objects and arrays may still be opened.
    fn value(&mut self, depth: usize) -> Result<Node<'a>, SetError> {
        match self.after_white_space().bytes().next() {
            Some(b'{') => self.object(depth.checked_sub(1).ok_or(SetError::TooDeep)?),
            Some(b'[') => self.array(depth.checked_sub(1).ok_or(SetError::TooDeep)?),
            Some(b'"') => self.quoted().map(Node::Text),
            Some(b'-' | b'0'..=b'9') => self.integer(),
            Some(_) => self.word(),
            None => Err(SetError::NotJson),
        }
    }

    fn object(&mut self, depth: usize) -> Result<Node<'a>, SetError> {
        let mut members = BTreeMap::new();
        self.take("{")?;
        if self.is_taken("}") {
            return Ok(Node::Object(members));
        }
        loop {
            let quoted = self.quoted()?;
            let name = Node::Text(quoted).text().ok_or(SetError::NotJson)?;
            self.take(":")?;
            let member = self.value(depth)?;
            if members.insert(name, member).is_some() {
                return Err(SetError::DuplicateName);
            }
            if !self.is_taken(",") {
                self.take("}")?;
                return Ok(Node::Object(members));
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<Node<'a>, SetError> {
        let mut items = Vec::new();
        self.take("[")?;
        if self.is_taken("]") {
            return Ok(Node::Array(items));
        }
        loop {
            items.push(self.value(depth)?);
            if !self.is_taken(",") {
                self.take("]")?;
                return Ok(Node::Array(items));
            }
        }
    }

    /// A text with its quotes.
    fn quoted(&mut self) -> Result<&'a str, SetError> {
        let text = self
            .after_white_space()
            .strip_prefix('"')
            .ok_or(SetError::NotJson)?;
        let end = text.find(['"', '\\']).ok_or(SetError::NotJson)?;
        let (content, after) = text.split_at_checked(end).ok_or(SetError::NotJson)?;
        if after.starts_with('\\') {
            return Err(SetError::Escape);
        }
        if content.bytes().any(|byte| byte < b' ') {
            return Err(SetError::NotJson);
        }
        self.literal(end.saturating_add(2))
    }

    fn integer(&mut self) -> Result<Node<'a>, SetError> {
        let text = self.after_white_space();
        let end = text
            .find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'))
            .unwrap_or(text.len());
        let number = self.literal(end)?;
        let digits = number.strip_prefix('-').unwrap_or(number);
        let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit())
            && (digits == number || digits != "0")
            && (digits == "0" || !digits.starts_with('0'));
        let magnitude = digits.parse::<u64>().map_err(|_| SetError::Number)?;
        if !is_plain || magnitude > MOST_INTEGER {
            return Err(SetError::Number);
        }
        Ok(Node::Word(number))
    }

    fn word(&mut self) -> Result<Node<'a>, SetError> {
        let word = ["true", "false", "null"]
            .into_iter()
            .find(|word| self.rest.starts_with(word))
            .ok_or(SetError::NotJson)?;
        self.literal(word.len()).map(Node::Word)
    }

    /// The next `length` octets, which are passed by.
    fn literal(&mut self, length: usize) -> Result<&'a str, SetError> {
        let (literal, rest) = self
            .rest
            .split_at_checked(length)
            .ok_or(SetError::NotJson)?;
        self.rest = rest;
        Ok(literal)
    }

    fn take(&mut self, mark: &str) -> Result<(), SetError> {
        if self.is_taken(mark) {
            Ok(())
        } else {
            Err(SetError::NotJson)
        }
    }

    fn is_taken(&mut self, mark: &str) -> bool {
        match self.after_white_space().strip_prefix(mark) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn after_white_space(&mut self) -> &'a str {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
        self.rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(document: &str) -> Result<String, SetError> {
        AttestedSet::parse(document.as_bytes()).map(|set| set.octets().to_owned())
    }

    #[test]
    fn rpki_jwk_1__the_signed_octets_are_the_set_sorted_and_without_white_space() {
        let set = AttestedSet::parse(
            b" { \"rpki_attestation\" : \"AAAA\",\r\n\t\"keys\": [ {\"y\":\"2\", \"kid\":\"a\", \"x\":{\"b\":[],\"a\":{}}} , true, null, -1 ],\"issuer\":\"https://a.example\"} ",
        )
        .unwrap();

        assert_eq!(
            set.octets(),
            r#"{"issuer":"https://a.example","keys":[{"kid":"a","x":{"a":{},"b":[]},"y":"2"},true,null,-1]}"#
        );
        assert_eq!(set.issuer(), Some("https://a.example"));
        assert_eq!(
            set.attestation(),
            Some(&Attestation::Text("AAAA".to_owned()))
        );
    }

    #[test]
    fn rpki_jwk_1__only_the_attestation_of_the_set_itself_is_left_out() {
        assert_eq!(
            octets(r#"{"keys":[{"rpki_attestation":"b"}],"rpki_attestation":"a"}"#).unwrap(),
            r#"{"keys":[{"rpki_attestation":"b"}]}"#
        );
    }

    #[test]
    fn rpki_jwk_1__names_are_sorted_by_code_point_and_no_by_utf_16() {
        // U+10000 comes after U+FF5E, although its first UTF-16 unit is smaller.
        assert_eq!(
            octets("{\"\u{10000}\":1,\"\u{ff5e}\":2,\"a\":3,\"Z\":4}").unwrap(),
            "{\"Z\":4,\"a\":3,\"\u{ff5e}\":2,\"\u{10000}\":1}"
        );
    }

    #[test]
    fn rpki_jwk_2__what_can_be_written_in_two_ways_is_refused() {
        for (document, expected) in [
            (r#"{"keys":[],"keys":[]}"#, SetError::DuplicateName),
            (
                r#"{"keys":[{"kid":"a","kid":"a"}]}"#,
                SetError::DuplicateName,
            ),
            (
                r#"{"keys":[],"rpki_attestation":"a","rpki_attestation":"b"}"#,
                SetError::DuplicateName,
            ),
            (r#"{"k\u0065ys":[]}"#, SetError::Escape),
            (r#"{"keys":["\/"]}"#, SetError::Escape),
            (r#"{"x":1.0}"#, SetError::Number),
            (r#"{"x":1e2}"#, SetError::Number),
            (r#"{"x":1E2}"#, SetError::Number),
            (r#"{"x":-0}"#, SetError::Number),
            (r#"{"x":01}"#, SetError::Number),
            (r#"{"x":-}"#, SetError::Number),
            (r#"{"x":1-1}"#, SetError::Number),
            (r#"{"x":9007199254740992}"#, SetError::Number),
            (r#"{"x":-9007199254740992}"#, SetError::Number),
            (r#"{"x":99999999999999999999999}"#, SetError::Number),
            (r#"{"issuer":1}"#, SetError::Issuer),
            (r"[]", SetError::NoObject),
            (r#""keys""#, SetError::NoObject),
        ] {
            assert_eq!(octets(document), Err(expected), "{document}");
        }
        assert_eq!(
            octets(r#"{"x":9007199254740991,"y":-9007199254740991,"z":0}"#).unwrap(),
            r#"{"x":9007199254740991,"y":-9007199254740991,"z":0}"#
        );
    }

    #[test]
    fn rpki_jwk_2__what_is_no_json_is_refused() {
        for document in [
            "",
            "{",
            "{}x",
            "{} {}",
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r"{,}",
            r#"{"a":[1,]}"#,
            r#"{"a":[1 2]}"#,
            r#"{"a":"b}"#,
            "{\"a\":\"\n\"}",
            r#"{"a":tru}"#,
            r"{a:1}",
            r#"{"a":truefalse}"#,
            "\u{feff}{}",
            "{\"a\":\u{a0}1}",
            r#"{"a":+1}"#,
            r#"{"a":NaN}"#,
        ] {
            assert_eq!(octets(document), Err(SetError::NotJson), "{document}");
        }
        assert_eq!(
            AttestedSet::parse(b"{\"a\":\"\xff\"}"),
            Err(SetError::NotJson)
        );
    }

    #[test]
    fn rpki_jwk_2__depth_and_length_are_bounded() {
        let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
        assert!(octets(&nested(15)).is_ok());
        assert_eq!(octets(&nested(16)), Err(SetError::TooDeep));
        assert_eq!(octets(&nested(100_000)), Err(SetError::TooDeep));

        let long = |length: usize| format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8));
        assert!(octets(&long(MOST_OCTETS)).is_ok());
        assert_eq!(octets(&long(MOST_OCTETS + 1)), Err(SetError::TooLong));
    }
}
