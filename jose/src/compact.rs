//! Splits a compact JWS into its parts and checks their form (RFC 7515 section 7.1), without
//! verifying the signature.

use serde_json::{Map, Value};

use crate::from_base64url;
use crate::json::{self, JsonError, Limits};

/// The longest token that is parsed, in bytes (decision D-33).
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;
/// The longest `kid` header parameter, in bytes (decision D-33).
pub const MAX_KEY_ID_BYTES: usize = 256;
const MAX_HEADER_SEGMENT_BYTES: usize = 4 * 1024;

/// Header parameters that contain or point to a key. A token must never choose the key it is
/// verified with, so a token that has one of them is refused (RFC 8725 section 3.10; decision
/// D-31). `x5t` and `x5t#S256` only identify a certificate and are ignored: every token of GitHub
/// Actions has one.
const KEY_PARAMETERS: [&str; 4] = ["jku", "jwk", "x5u", "x5c"];

/// A compact JWS split into its decoded parts (RFC 7515 section 7.1). The signature is not
/// verified, so nothing in it can be trusted yet.
#[derive(Clone, Debug)]
pub struct Compact<'a> {
    /// The bytes the signature covers: `header.payload` exactly as received, still
    /// base64url-encoded.
    pub signing_input: &'a str,
    /// The parameters of the protected header that matter for verification.
    pub header: Header,
    /// The decoded payload. [`Compact::claims`] reads it as JSON.
    pub payload: Vec<u8>,
    /// The decoded signature; empty if the third segment is empty.
    pub signature: Vec<u8>,
}

/// The header parameters that decide how a token is verified (RFC 7515 section 4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// `alg` as sent. It may be a name that [`Algorithm`](crate::Algorithm) does not know.
    pub algorithm: String,
    /// `kid`, at most [`MAX_KEY_ID_BYTES`] long; `None` if absent.
    pub key_id: Option<String>,
    /// `typ` as sent, or `None` if absent. Compare it with [`Header::is_type`].
    pub token_type: Option<String>,
    /// Whether the header has parameters other than `alg`, `kid` and `typ`. A JWT-SVID may have no
    /// others (SPIFFE JWT-SVID section 2).
    pub has_other_parameters: bool,
}

/// Why a text is not an acceptable compact JWS. No variant contains any part of the text, so the
/// error may be logged and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The token is longer than [`MAX_TOKEN_BYTES`], or its header segment longer than 4 KiB.
    #[error("too long")]
    TooLong,
    /// The text does not have exactly three segments, or its header or payload segment is empty.
    #[error("not three segments")]
    Segments,
    /// A segment is not canonical base64url (RFC 7515 section 2): padding, other characters, or
    /// unused trailing bits that are not zero.
    #[error("a segment is not canonical base64url")]
    Base64,
    /// The header or the payload is not one strict JSON object ([`json::object`]).
    #[error("header or claims: {0}")]
    Json(JsonError),
    /// `alg` is missing, a known parameter is not a string, or `kid` is longer than
    /// [`MAX_KEY_ID_BYTES`].
    #[error("a header parameter is missing or of the wrong type")]
    Header,
    /// `crit` is present. No critical extension is implemented, so all are refused (RFC 7515
    /// section 4.1.11).
    #[error("a critical header parameter is not understood")]
    Critical,
    /// `jku`, `jwk`, `x5u` or `x5c` is present: the token tries to choose its own key.
    #[error("the header brings or names a key")]
    KeyInHeader,
    /// `cty` says that the payload is itself a token, or `enc` or `zip` is present: the token is
    /// encrypted or compressed.
    #[error("nested, encrypted and compressed tokens are not accepted")]
    Nested,
}

impl<'a> Compact<'a> {
    /// Splits and decodes `text`, and reads its header. The payload is decoded but not read as
    /// JSON, and the signature is not verified.
    ///
    /// # Errors
    ///
    /// The first [`Malformed`] condition found, cheapest checks first.
    pub fn parse(text: &'a str) -> Result<Self, Malformed> {
        Self::read(text, &[]).map(|(jws, _)| jws)
    }

    /// Like [`Compact::parse`], for a kind of token that has to bring its own public key in the
    /// header parameter `jwk` (RFC 7515 section 4.1.3), such as a DPoP proof. Returns that key,
    /// unread. The signature proves that the sender has the private key, and nothing else.
    ///
    /// # Errors
    ///
    /// As for [`Compact::parse`]; [`Malformed::Header`] if `jwk` is absent or no object.
    pub fn parse_with_key(text: &'a str) -> Result<(Self, Map<String, Value>), Malformed> {
        let (jws, mut members) = Self::read(text, &["jwk"])?;
        match members.remove("jwk") {
            Some(Value::Object(jwk)) => Ok((jws, jwk)),
            _ => Err(Malformed::Header),
        }
    }

    /// The parts and the members of the header, in which these of the parameters that bring a key
    /// may be.
    fn read(text: &'a str, expected: &[&str]) -> Result<(Self, Map<String, Value>), Malformed> {
        if text.len() > MAX_TOKEN_BYTES {
            return Err(Malformed::TooLong);
        }
        let (signing_input, signature) = text.rsplit_once('.').ok_or(Malformed::Segments)?;
        let (header, payload) = signing_input.split_once('.').ok_or(Malformed::Segments)?;
        // An empty signature segment passes here: a token with `alg: none` is refused because of
        // its algorithm, which tells the caller more.
        if header.is_empty() || payload.is_empty() || payload.contains('.') {
            return Err(Malformed::Segments);
        }
        if header.len() > MAX_HEADER_SEGMENT_BYTES {
            return Err(Malformed::TooLong);
        }
        let decode = |segment| from_base64url(segment).ok_or(Malformed::Base64);
        let members = json::object(&decode(header)?, Limits::TOKEN).map_err(Malformed::Json)?;
        let jws = Self {
            signing_input,
            header: Header::expecting(&members, expected)?,
            payload: decode(payload)?,
            signature: decode(signature)?,
        };
        Ok((jws, members))
    }

    /// The claims: the payload as one strict JSON object within [`Limits::CLAIMS`] (RFC 7519
    /// section 7.2).
    ///
    /// # Errors
    ///
    /// [`Malformed::Json`] if the payload is not such an object.
    pub fn claims(&self) -> Result<Map<String, Value>, Malformed> {
        json::object(&self.payload, Limits::CLAIMS).map_err(Malformed::Json)
    }
}

impl Header {
    /// Reads the header from its decoded members.
    ///
    /// # Errors
    ///
    /// [`Malformed::Header`], [`Malformed::Critical`], [`Malformed::KeyInHeader`] or
    /// [`Malformed::Nested`], as described there.
    pub fn from_members(members: &Map<String, Value>) -> Result<Self, Malformed> {
        Self::expecting(members, &[])
    }

    fn expecting(members: &Map<String, Value>, expected: &[&str]) -> Result<Self, Malformed> {
        let text = |name: &str| match members.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Malformed::Header),
        };
        if members.contains_key("crit") {
            return Err(Malformed::Critical);
        }
        if KEY_PARAMETERS
            .iter()
            .any(|name| members.contains_key(*name) && !expected.contains(name))
        {
            return Err(Malformed::KeyInHeader);
        }
        let nested =
            text("cty")?.is_some_and(|cty| media_subtype(&cty).eq_ignore_ascii_case("jwt"));
        if nested
            || ["enc", "zip"]
                .iter()
                .any(|name| members.contains_key(*name))
        {
            return Err(Malformed::Nested);
        }
        let key_id = text("kid")?;
        if key_id
            .as_ref()
            .is_some_and(|kid| kid.len() > MAX_KEY_ID_BYTES)
        {
            return Err(Malformed::Header);
        }
        Ok(Self {
            algorithm: text("alg")?.ok_or(Malformed::Header)?,
            key_id,
            token_type: text("typ")?,
            has_other_parameters: members
                .keys()
                .any(|name| !matches!(name.as_str(), "alg" | "kid" | "typ")),
        })
    }

    /// Whether `typ` is present and equals `expected` as a media type: ASCII case is ignored, and
    /// the prefix `application/` may be omitted on either side (RFC 7515 section 4.1.9).
    #[must_use]
    pub fn is_type(&self, expected: &str) -> bool {
        self.token_type
            .as_deref()
            .is_some_and(|typ| media_subtype(typ).eq_ignore_ascii_case(media_subtype(expected)))
    }
}

/// Removes `application/`. It may be omitted only if the rest has no other slash (RFC 7515 section
/// 4.1.9), so otherwise it stays.
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
        format!(
            "{}.{}.{}",
            base64url(header),
            base64url(claims),
            base64url("signature")
        )
    }

    fn refused(text: &str) -> Malformed {
        Compact::parse(text).map(|_| ()).unwrap_err()
    }

    #[test]
    fn a_compact_token_is_split_into_header_claims_and_signature() {
        let text = token(
            r#"{"alg":"RS256","kid":"k","typ":"JWT","x5t":"abc"}"#,
            r#"{"iss":"x"}"#,
        );
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
    fn other_base64url_spellings_of_a_signature_are_refused() {
        // "e30" is `{}`. "AB" differs from "AA" only in the trailing bits that belong to no byte.
        let good = format!("{}.e30.AA", base64url(r#"{"alg":"RS256"}"#));
        assert!(Compact::parse(&good).is_ok());
        assert_eq!(refused(&good.replace(".AA", ".AB")), Malformed::Base64);
        assert_eq!(refused(&good.replace(".AA", ".A")), Malformed::Base64);
    }

    #[test]
    fn tokens_headers_and_key_ids_beyond_their_limits_are_refused() {
        let header = base64url(r#"{"alg":"RS256"}"#);
        let pad = |n: usize| format!("{header}.{}.AA", "A".repeat(n));
        let room = MAX_TOKEN_BYTES - header.len() - 4;
        assert!(Compact::parse(&pad(room / 4 * 4)).is_ok());
        assert_eq!(refused(&pad(room + 4)), Malformed::TooLong);
        let long = |n: usize| {
            token(
                &format!(r#"{{"alg":"RS256","x":"{}"}}"#, "y".repeat(n)),
                "{}",
            )
        };
        assert!(Compact::parse(&long(3000)).is_ok());
        assert_eq!(refused(&long(3100)), Malformed::TooLong);
        let kid = |n: usize| {
            token(
                &format!(r#"{{"alg":"RS256","kid":"{}"}}"#, "k".repeat(n)),
                "{}",
            )
        };
        assert!(Compact::parse(&kid(256)).is_ok());
        assert_eq!(refused(&kid(257)), Malformed::Header);
    }

    #[test]
    fn headers_that_steer_the_verifier_are_refused() {
        for (header, expected) in [
            (r#"{"alg":"RS256","crit":["exp"]}"#, Malformed::Critical),
            (r#"{"alg":"RS256","crit":[]}"#, Malformed::Critical),
            (r#"{"alg":"RS256","crit":"exp"}"#, Malformed::Critical),
            (
                r#"{"alg":"RS256","jku":"https://x"}"#,
                Malformed::KeyInHeader,
            ),
            (r#"{"alg":"RS256","jwk":{}}"#, Malformed::KeyInHeader),
            (
                r#"{"alg":"RS256","x5u":"https://x"}"#,
                Malformed::KeyInHeader,
            ),
            (r#"{"alg":"RS256","x5c":[]}"#, Malformed::KeyInHeader),
            (r#"{"alg":"RS256","cty":"JWT"}"#, Malformed::Nested),
            (
                r#"{"alg":"RS256","cty":"application/jwt"}"#,
                Malformed::Nested,
            ),
            (r#"{"alg":"dir","enc":"A256GCM"}"#, Malformed::Nested),
            (r#"{"alg":"RS256","zip":"DEF"}"#, Malformed::Nested),
            (r#"{"alg":1}"#, Malformed::Header),
            (r#"{"kid":"x"}"#, Malformed::Header),
            (r#"{"alg":"RS256","kid":7}"#, Malformed::Header),
            (r#"{"alg":"RS256","typ":[]}"#, Malformed::Header),
            (
                r#"{"alg":"RS256","alg":"none"}"#,
                Malformed::Json(JsonError::Duplicate),
            ),
            (r"[]", Malformed::Json(JsonError::Syntax)),
        ] {
            assert_eq!(refused(&token(header, "{}")), expected, "{header}");
        }
        assert!(Compact::parse(&token(r#"{"alg":"RS256","cty":"text/plain"}"#, "{}")).is_ok());
    }

    #[test]
    fn the_typ_header_is_compared_as_a_media_type() {
        let header = |typ: &str| Header {
            algorithm: "RS256".into(),
            key_id: None,
            token_type: Some(typ.into()),
            has_other_parameters: false,
        };
        for typ in [
            "at+jwt",
            "AT+JWT",
            "application/at+jwt",
            "Application/AT+jwt",
        ] {
            assert!(header(typ).is_type("at+jwt"), "{typ}");
        }
        assert!(header("at+jwt").is_type("application/at+jwt"));
        for typ in [
            "JWT",
            "at+jwt ",
            "x/at+jwt",
            "application/x/at+jwt",
            "application/",
        ] {
            assert!(!header(typ).is_type("at+jwt"), "{typ}");
        }
        assert!(
            !Header {
                token_type: None,
                ..header("")
            }
            .is_type("JWT")
        );
    }
}
