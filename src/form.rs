//! Parses the forms that the endpoints take (RFC 6749 section 3.2 and appendix B).
//!
//! Not a generic parser, because the order of the checks (decision D-01), the treatment of unknown,
//! repeated and empty parameters (decisions D-06, D-07) and the error codes are specified.

use std::borrow::Cow;
use std::fmt;

use crate::reason::Reason;
use crate::refusal::Refusal;

const MAX_PARAMETERS: usize = 64;

/// The parameters of an endpoint. Unknown ones are ignored, even if they repeat (decision D-06).
#[derive(Clone, Copy, Debug)]
pub struct Parameters {
    /// Names in groups, so that endpoints can share a group such as [`OF_CLIENT`].
    pub known: &'static [&'static [&'static str]],
    /// Parameters that may occur several times.
    pub repeatable: &'static [&'static str],
}

impl Parameters {
    /// The static text of a known parameter's name.
    pub fn find(&self, name: &str) -> Option<&'static str> {
        self.known
            .iter()
            .copied()
            .flatten()
            .copied()
            .find(|known| *known == name)
    }
}

/// The parameters of client authentication (RFC 6749 section 2.3, RFC 7521 section 4.2).
pub const OF_CLIENT: &[&str] = &[
    "client_id",
    "client_secret",
    "client_assertion",
    "client_assertion_type",
];

/// The known parameters of a request, decoded and not empty. Only repeatable ones occur twice.
#[derive(PartialEq, Eq)]
pub struct TokenForm<'a>(Vec<(&'static str, Cow<'a, str>)>);

// Prints names only: values may be secrets.
impl fmt::Debug for TokenForm<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

impl<'a> TokenForm<'a> {
    /// A form of parameters that did not come as a body. The names must be known ones.
    pub fn of(parameters: Vec<(&'static str, Cow<'a, str>)>) -> Self {
        Self(parameters)
    }

    /// Parses a body. Repeated parameters are `parameter_repeated`; other faults, and more than 64
    /// parameters, are `form_malformed`.
    pub fn parse(body: &'a [u8], parameters: &Parameters) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(body).map_err(|_| Reason::FormMalformed)?;
        let mut form = Self(Vec::new());
        for (at, pair) in text.split('&').filter(|pair| !pair.is_empty()).enumerate() {
            if at >= MAX_PARAMETERS {
                return Err(Reason::FormMalformed.into());
            }
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name).ok_or(Reason::FormMalformed)?;
            let value = decode(value).ok_or(Reason::FormMalformed)?;
            // An empty value counts as absent, also where it would be a repetition (decision D-07).
            let Some(known) = parameters.find(&name).filter(|_| !value.is_empty()) else {
                continue;
            };
            if !parameters.repeatable.contains(&known) && form.get(known).is_some() {
                return Err(Refusal::parameter(Reason::ParameterRepeated, known));
            }
            form.0.push((known, value));
        }
        Ok(form)
    }

    /// The first value of a parameter.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.as_ref())
    }

    /// The value of a required parameter, or `parameter_missing`.
    pub fn require(&self, name: &'static str) -> Result<&str, Refusal> {
        self.get(name)
            .ok_or_else(|| Refusal::parameter(Reason::ParameterMissing, name))
    }

    /// Every value of a parameter that may repeat.
    pub fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f str> {
        self.0
            .iter()
            .filter(move |(known, _)| *known == name)
            .map(|(_, value)| value.as_ref())
    }
}

/// Decodes once: `+` is a space, `%` needs two hexadecimal digits, the result is UTF-8.
pub fn decode(text: &str) -> Option<Cow<'_, str>> {
    if memchr::memchr2(b'+', b'%', text.as_bytes()).is_none() {
        return Some(Cow::Borrowed(text));
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(rest.next())?, digit(rest.next())?);
                u8::try_from(high << 4 | low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok().map(Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAMETERS: Parameters = Parameters {
        known: &[
            &["grant_type", "assertion", "resource"],
            &["scope"],
            OF_CLIENT,
        ],
        repeatable: &["resource"],
    };

    fn parse(text: &str) -> Result<TokenForm<'_>, Reason> {
        TokenForm::parse(text.as_bytes(), &PARAMETERS).map_err(|refusal| refusal.reason)
    }

    #[test]
    fn rfc6749_b_1__the_body_is_decoded_once() {
        let form = parse("scope=a+b%2Bc&resource=%25%32%35&%67rant_type=x").unwrap();
        assert_eq!(form.get("scope"), Some("a b+c"));
        assert_eq!(form.get("resource"), Some("%25"));
        assert_eq!(form.get("grant_type"), Some("x"));
        for broken in [
            "scope=%zz",
            "scope=%",
            "scope=%a",
            "scope=%ff",
            "%zz=1",
            "scope=%e9",
        ] {
            assert_eq!(parse(broken), Err(Reason::FormMalformed), "{broken}");
        }
    }

    #[test]
    fn rfc6749_3_2_4__parameters_with_empty_values_count_as_absent() {
        let form = parse("scope=&scope=a&client_id=&grant_type&&assertion=x").unwrap();
        assert_eq!(form.get("scope"), Some("a"));
        assert_eq!(form.get("client_id"), None);
        assert_eq!(
            form.require("grant_type").unwrap_err().parameter,
            Some("grant_type")
        );
        assert_eq!(form.get("assertion"), Some("x"));
    }

    #[test]
    fn rfc6749_3_2_5__known_parameters_do_not_repeat_and_unknown_ones_are_ignored() {
        assert_eq!(parse("scope=a&scope=b"), Err(Reason::ParameterRepeated));
        assert_eq!(parse("scope=a&%73cope=b"), Err(Reason::ParameterRepeated));
        let form = parse("foo=1&foo=2&GRANT_TYPE=x&scope[]=admin&resource=a&resource=b").unwrap();
        assert_eq!(form.all("resource").collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(
            (form.get("foo"), form.get("grant_type"), form.get("scope")),
            (None, None, None)
        );
    }

    #[test]
    fn prof_tok_2__there_are_at_most_64_parameters() {
        let many = |n: usize| vec!["x=1"; n].join("&");
        assert!(parse(&many(64)).is_ok());
        assert_eq!(parse(&many(65)), Err(Reason::FormMalformed));
    }
}
