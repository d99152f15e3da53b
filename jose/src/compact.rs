use serde_json::{Map, Value};

use crate::from_base64url;
use crate::json::{self, JsonError, Limits};

/// The longest token that is looked at, in bytes (decision D-33).
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// The longest `kid`, in bytes (decision D-33).
pub const MAX_KEY_ID_BYTES: usize = 256;
const MAX_HEADER_SEGMENT_BYTES: usize = 4 * 1024;

/// Header parameters that bring or point to a key. A token never chooses its own key, so their mere presence is a
/// refusal (RFC 8725 section 3.10; decision D-31). `x5t` and `x5t#S256` are only hints and are ignored: every token of GitHub
/// Actions carries one.
const KEY_PARAMETERS: [&str; 4] = ["jku", "jwk", "x5u", "x5c"];

/// A compact JWS taken apart and not yet believed (RFC 7515 section 7.1).
#[derive(Clone, Debug)]
pub struct Compact<'a> {
    /// What the signature covers: `header.payload` as received.
    pub signing_input: &'a str,
    /// The protected header.
    pub header: Header,
    /// The decoded payload.
    pub payload: Vec<u8>,
    /// The decoded signature.
    pub signature: Vec<u8>,
}

/// The header parameters that decide how a token is verified (RFC 7515 section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// `alg`, as sent.
    pub algorithm: String,
    /// `kid`.
    pub key_id: Option<String>,
    /// `typ`, as sent.
    pub token_type: Option<String>,
    /// Whether there is any parameter beside `alg`, `kid` and `typ` (JWT-SVIDs may have none).
    pub has_other_parameters: bool,
}

/// Why a text is not a token that can be verified. No variant carries any of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Longer than [`MAX_TOKEN_BYTES`], or a header segment longer than 4 KiB.
    #[error("too long")]
    TooLong,
    /// Not three segments, or an empty one.
    #[error("not three segments")]
    Segments,
    /// A segment that is not canonical base64url.
    #[error("a segment is not canonical base64url")]
    Base64,
    /// The header or the claims are not one strict JSON object.
    #[error("header or claims: {0}")]
    Json(JsonError),
    /// A header parameter of the wrong type, or no `alg`.
    #[error("a header parameter is missing or of the wrong type")]
    Header,
    /// `crit` names something; nothing critical is understood here (RFC 7515 section 4.1.11).
    #[error("a critical header parameter is not understood")]
    Critical,
    /// `jku`, `jwk`, `x5u` or `x5c` is present.
    #[error("the header brings or names a key")]
    KeyInHeader,
    /// `cty` says that the payload is itself a token, or `enc`/`zip` that it is encrypted or compressed.
    #[error("nested, encrypted and compressed tokens are not accepted")]
    Nested,
}

impl<'a> Compact<'a> {
    /// Takes `text` apart, checking its form and nothing else.
    ///
    /// # Errors
    ///
    /// [`Malformed`] names the first thing that is wrong, cheapest checks first.
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err(Malformed::TooLong);
        }
        let (signing_input, signature) = text.rsplit_once('.').ok_or(Malformed::Segments)?;
        let (header, payload) = signing_input.split_once('.').ok_or(Malformed::Segments)?;
        // An empty signature is `alg: none`, which is told from other shapes by its header below.
        if header.is_empty() || payload.is_empty() || payload.contains('.') {
            return Err(Malformed::Segments);
        }
        if header.len() > MAX_HEADER_SEGMENT_BYTES {
            return Err(Malformed::TooLong);
        }
        let decode = |segment| from_base64url(segment).ok_or(Malformed::Base64);
        let header = Header::parse(&decode(header)?)?;
        Ok(Self { signing_input, header, payload: decode(payload)?, signature: decode(signature)? })
    }

    /// The claims: the payload as one strict JSON object (RFC 7519 section 7.2).
    ///
    /// # Errors
    ///
    /// [`Malformed::Json`].
    pub fn claims(&self) -> Result<Map<String, Value>, Malformed> {
        json::object(&self.payload, Limits::TOKEN).map_err(Malformed::Json)
    }
}

impl Header {
    fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let members = json::object(bytes, Limits::TOKEN).map_err(Malformed::Json)?;
        Self::from_members(&members)
    }

    /// Reads the header from its members, as [`Compact::parse`] does after decoding.
    ///
    /// # Errors
    ///
    /// [`Malformed::Header`], [`Malformed::Critical`], [`Malformed::KeyInHeader`] or [`Malformed::Nested`].
    pub fn from_members(members: &Map<String, Value>) -> Result<Self, Malformed> {
        let text = |name: &str| match members.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Malformed::Header),
        };
        if members.contains_key("crit") {
            return Err(Malformed::Critical);
        }
        if KEY_PARAMETERS.iter().any(|name| members.contains_key(*name)) {
            return Err(Malformed::KeyInHeader);
        }
        let nested = text("cty")?.is_some_and(|cty| media_subtype(&cty).eq_ignore_ascii_case("jwt"));
        if nested || ["enc", "zip"].iter().any(|name| members.contains_key(*name)) {
            return Err(Malformed::Nested);
        }
        let key_id = text("kid")?;
        if key_id.as_ref().is_some_and(|kid| kid.len() > MAX_KEY_ID_BYTES) {
            return Err(Malformed::Header);
        }
        Ok(Self {
            algorithm: text("alg")?.ok_or(Malformed::Header)?,
            key_id,
            token_type: text("typ")?,
            has_other_parameters: members.keys().any(|name| !matches!(name.as_str(), "alg" | "kid" | "typ")),
        })
    }

    /// Whether `typ` is `expected`, read as a media type: case does not count and `application/` may be left out
    /// (RFC 7515 section 4.1.9).
    #[must_use]
    pub fn is_type(&self, expected: &str) -> bool {
        self.token_type.as_deref().is_some_and(|typ| media_subtype(typ).eq_ignore_ascii_case(media_subtype(expected)))
    }
}

/// The part after `application/`, where nothing else has a slash.
fn media_subtype(text: &str) -> &str {
    const PREFIX: &str = "application/";
    match text.split_at_checked(PREFIX.len()) {
        Some((prefix, rest)) if prefix.eq_ignore_ascii_case(PREFIX) && !rest.contains('/') => rest,
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base64url;

    fn token(header: &str, claims: &str) -> String {
        format!("{}.{}.{}", base64url(header), base64url(claims), base64url("signature"))
    }

    fn refused(text: &str) -> Malformed {
        Compact::parse(text).map(|_| ()).unwrap_err()
    }

    #[test]
    fn a_token_is_taken_apart() {
        let text = token(r#"{"alg":"RS256","kid":"k","typ":"JWT","x5t":"abc"}"#, r#"{"iss":"x"}"#);
        let jws = Compact::parse(&text).unwrap();
        assert_eq!(jws.header.algorithm, "RS256");
        assert_eq!(jws.header.key_id.as_deref(), Some("k"));
        assert!(jws.header.has_other_parameters);
        assert_eq!(jws.claims().unwrap()["iss"], "x");
        assert_eq!(jws.signature, b"signature");
        assert!(text.starts_with(jws.signing_input));
        let plain = token(r#"{"alg":"RS256","kid":"k","typ":"JWT"}"#, "{}");
        assert!(!Compact::parse(&plain).unwrap().header.has_other_parameters);
    }

    #[test]
    fn forms_that_are_not_a_compact_jws_are_refused() {
        let good = token(r#"{"alg":"RS256"}"#, "{}");
        assert_eq!(refused(&format!("{good} ")), Malformed::Base64);
        assert_eq!(refused(&format!("{good}\n")), Malformed::Base64);
        assert_eq!(refused(&format!("{good}=")), Malformed::Base64);
        assert_eq!(refused(&format!("{good},{good}")), Malformed::Segments);
        assert_eq!(refused(r#"{"payload":"x"}"#), Malformed::Segments);
        assert_eq!(refused(&format!("{good}.x")), Malformed::Segments);
        assert_eq!(refused("a.b"), Malformed::Segments);
        assert_eq!(refused("abc"), Malformed::Segments);
        assert_eq!(refused(".e30.x"), Malformed::Segments);
        assert_eq!(refused("e30..x"), Malformed::Segments);
        assert_eq!(refused("a.b.c.d.e"), Malformed::Segments);
        assert_eq!(refused(""), Malformed::Segments);
    }

    #[test]
    fn one_value_has_one_spelling() {
        // "e30" is `{}`; "e31" differs only in bits that no byte uses.
        let good = format!("{}.e30.AA", base64url(r#"{"alg":"RS256"}"#));
        assert!(Compact::parse(&good).is_ok());
        assert_eq!(refused(&good.replace(".AA", ".AB")), Malformed::Base64);
        assert_eq!(refused(&good.replace(".AA", ".A")), Malformed::Base64);
    }

    #[test]
    fn lengths_are_bounded() {
        let header = base64url(r#"{"alg":"RS256"}"#);
        let pad = |n: usize| format!("{header}.{}.AA", "A".repeat(n));
        let room = MAX_TOKEN_BYTES - header.len() - 4;
        assert!(Compact::parse(&pad(room / 4 * 4)).is_ok());
        assert_eq!(refused(&pad(room + 4)), Malformed::TooLong);
        let long = |n: usize| token(&format!(r#"{{"alg":"RS256","x":"{}"}}"#, "y".repeat(n)), "{}");
        assert!(Compact::parse(&long(3000)).is_ok());
        assert_eq!(refused(&long(3100)), Malformed::TooLong);
        let kid = |n: usize| token(&format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(n)), "{}");
        assert!(Compact::parse(&kid(256)).is_ok());
        assert_eq!(refused(&kid(257)), Malformed::Header);
    }

    #[test]
    fn headers_that_steer_the_verifier_are_refused() {
        for (header, expected) in [
            (r#"{"alg":"RS256","crit":["exp"]}"#, Malformed::Critical),
            (r#"{"alg":"RS256","crit":[]}"#, Malformed::Critical),
            (r#"{"alg":"RS256","crit":"exp"}"#, Malformed::Critical),
            (r#"{"alg":"RS256","jku":"https://x"}"#, Malformed::KeyInHeader),
            (r#"{"alg":"RS256","jwk":{}}"#, Malformed::KeyInHeader),
            (r#"{"alg":"RS256","x5u":"https://x"}"#, Malformed::KeyInHeader),
            (r#"{"alg":"RS256","x5c":[]}"#, Malformed::KeyInHeader),
            (r#"{"alg":"RS256","cty":"JWT"}"#, Malformed::Nested),
            (r#"{"alg":"RS256","cty":"application/jwt"}"#, Malformed::Nested),
            (r#"{"alg":"dir","enc":"A256GCM"}"#, Malformed::Nested),
            (r#"{"alg":"RS256","zip":"DEF"}"#, Malformed::Nested),
            (r#"{"alg":1}"#, Malformed::Header),
            (r#"{"kid":"x"}"#, Malformed::Header),
            (r#"{"alg":"RS256","kid":7}"#, Malformed::Header),
            (r#"{"alg":"RS256","typ":[]}"#, Malformed::Header),
            (r#"{"alg":"RS256","alg":"none"}"#, Malformed::Json(JsonError::Duplicate)),
            (r"[]", Malformed::Json(JsonError::Syntax)),
        ] {
            assert_eq!(refused(&token(header, "{}")), expected, "{header}");
        }
        assert!(Compact::parse(&token(r#"{"alg":"RS256","cty":"text/plain"}"#, "{}")).is_ok());
    }

    #[test]
    fn typ_is_a_media_type() {
        let header = |typ: &str| Header {
            algorithm: "RS256".into(),
            key_id: None,
            token_type: Some(typ.into()),
            has_other_parameters: false,
        };
        for typ in ["at+jwt", "AT+JWT", "application/at+jwt", "Application/AT+jwt"] {
            assert!(header(typ).is_type("at+jwt"), "{typ}");
        }
        assert!(header("at+jwt").is_type("application/at+jwt"));
        for typ in ["JWT", "at+jwt ", "x/at+jwt", "application/x/at+jwt", "application/"] {
            assert!(!header(typ).is_type("at+jwt"), "{typ}");
        }
        assert!(!Header { token_type: None, ..header("") }.is_type("JWT"));
    }
}
