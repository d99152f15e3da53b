//! The platform's token as an assertion: its form and its audience are checked, its signature is
//! not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use carnet_engine::profile::Claims;
use carnet_engine::reason::Reason;
use carnet_jose::MAX_TOKEN_BYTES;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value};

use super::{AmbientError, Seeking};
use crate::job;
use crate::web::printable;

/// The platform's token, unverified: only the server can tell whether it is valid. It is never
/// printed.
#[derive(Debug)]
pub struct Assertion {
    text: SecretString,
    audiences: Vec<String>,
    claims: Claims,
}

impl Assertion {
    /// Reads the text that a platform gave, if it has the form of a signed JWT.
    pub(super) fn read(text: &SecretString, from: &str) -> Result<Self, AmbientError> {
        let failed = |why: &str| AmbientError::Failed(from.to_owned(), why.to_owned());
        let text = text.expose_secret().trim();
        if text.len() > MAX_TOKEN_BYTES {
            return Err(failed("what is there is too long for a token"));
        }
        let claims = claims(text)
            .ok_or_else(|| failed("what is there is not a signed JWT in compact form"))?;
        let audiences = match claims.get("aud") {
            Some(Value::String(audience)) => vec![audience.clone()],
            Some(Value::Array(several)) => several
                .iter()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
            _ => Vec::new(),
        };
        Ok(Self {
            text: text.into(),
            audiences,
            claims: Claims::new(claims),
        })
    }

    pub fn text(&self) -> &SecretString {
        &self.text
    }

    /// What the token says, unverified.
    pub fn claims(&self) -> &Claims {
        &self.claims
    }

    /// Whether both are the same token.
    pub fn is(&self, other: &Self) -> bool {
        self.text.expose_secret() == other.text.expose_secret()
    }

    /// Whether the token has one of these audiences.
    pub(super) fn is_for(&self, audiences: &[&str]) -> bool {
        self.audiences
            .iter()
            .any(|audience| audiences.contains(&audience.as_str()))
    }

    /// Refuses a token for another audience. It must not be sent to the server, since its receiver
    /// could use it at that audience.
    pub(super) fn check_audience(
        &self,
        seeking: &Seeking<'_>,
        from: &str,
        advice: &str,
    ) -> Result<(), AmbientError> {
        if seeking.accepts(self) {
            return Ok(());
        }
        let received = if self.audiences.is_empty() {
            "no audience".to_owned()
        } else {
            self.audiences
                .iter()
                .map(|audience| format!("`{}`", printable(audience)))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let advice = match advice {
            "" => job::remedy(&self.claims, Reason::AudMismatch).unwrap_or_default(),
            advice => advice.to_owned(),
        };
        let separator = if advice.is_empty() { "" } else { " " };
        let advice = format!("{advice}{separator}");
        Err(AmbientError::AnotherAudience {
            from: from.to_owned(),
            received,
            expected: format!("`{}`", seeking.audience),
            advice,
        })
    }
}

fn claims(text: &str) -> Option<Map<String, Value>> {
    let mut parts = text.split('.');
    let (header, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || header.is_empty() || signature.is_empty() {
        return None;
    }
    let is_of_base64url = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if !header.bytes().chain(signature.bytes()).all(is_of_base64url) {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Assertion, AmbientError> {
        Assertion::read(&text.into(), "here")
    }

    #[test]
    fn only_texts_in_the_form_of_a_signed_jwt_are_read_as_assertions() {
        let jwt = |claims: &str| format!("eyJh.{}.c2ln", URL_SAFE_NO_PAD.encode(claims));
        let good = read(&format!(" {}\n", jwt(r#"{"aud":["a","b",3]}"#))).unwrap();
        assert!(good.is_for(&["x", "b"]) && !good.is_for(&["ab"]));
        assert!(read(&jwt(r#"{"aud":"a"}"#)).unwrap().is_for(&["a"]));
        assert!(!read(&jwt("{}")).unwrap().is_for(&["a"]));
        assert!(!format!("{good:?}").contains("eyJh"));
        for wrong in [
            "",
            "a.b",
            "a.b.c",
            "a.b.c.d",
            "hunter2",
            &jwt("[]"),
            &format!("{}.", jwt("{}")),
            &jwt("{}").replace("c2ln", ""),
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let long = jwt(&format!(
            r#"{{"aud":"a","x":"{}"}}"#,
            "x".repeat(MAX_TOKEN_BYTES)
        ));
        assert!(read(&long).unwrap_err().to_string().contains("too long"));
    }
}
