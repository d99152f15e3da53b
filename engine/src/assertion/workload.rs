use carnet_access::ProofLevel;
use serde::{Serialize, Serializer};
use serde_json::Value;

use super::AssertionContent;

/// The workload that an assertion identifies, as access tokens and audit events show it.
#[derive(Debug, Serialize)]
pub struct Workload<'a> {
    iss: &'a str,
    sub: &'a str,
    profile: &'a str,
    claims: Forwarded<'a>,
    /// What the RPKI attests to the keys of the issuer.
    #[serde(skip_serializing_if = "Option::is_none")]
    attested: Option<Value>,
    /// How strongly it proved that the assertion is its own; `None` where nothing was decided.
    #[serde(skip_serializing_if = "Option::is_none")]
    proof: Option<ProofLevel>,
}

#[derive(Debug)]
struct Forwarded<'a>(&'a AssertionContent);

impl Serialize for Forwarded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.issuer().profile.forwarded(self.0.claims()))
    }
}

impl<'a> Workload<'a> {
    /// An upper bound of the size as JSON, in bytes. Serialising it just to measure would cost
    /// every token.
    pub fn most_bytes(&self) -> usize {
        const OF_MEMBERS: usize = 80;
        let Forwarded(content) = &self.claims;
        let claims = content.issuer().profile.forwarded(content.claims());
        let claims = claims.map(|(name, value)| {
            name.len()
                .saturating_add(most_json_bytes(value))
                .saturating_add(4)
        });
        let texts = [self.iss, self.sub, self.profile].map(most_text_bytes);
        let attested = self.attested.as_ref().map_or(0, most_json_bytes);
        texts
            .into_iter()
            .chain(claims)
            .chain([attested])
            .fold(OF_MEMBERS, usize::saturating_add)
    }

    pub fn of(assertion: &'a AssertionContent) -> Self {
        let issuer = assertion.issuer();
        Self {
            iss: &issuer.issuer,
            sub: assertion.subject(),
            profile: &issuer.profile.name,
            claims: Forwarded(assertion),
            attested: issuer
                .profile
                .attested(assertion.claims())
                .map(|attested| attested.shown()),
            proof: None,
        }
    }

    /// Adds the level of what was presented with the assertion.
    #[must_use]
    pub fn proved(self, level: ProofLevel) -> Self {
        Self {
            proof: Some(level),
            ..self
        }
    }
}

fn most_json_bytes(value: &Value) -> usize {
    match value {
        Value::String(text) => most_text_bytes(text),
        Value::Null | Value::Bool(_) => 5,
        Value::Number(_) => 24,
        Value::Array(_) | Value::Object(_) => {
            serde_json::to_vec(value).map_or(usize::MAX, |json| json.len())
        }
    }
}

/// An upper bound of a JSON string in bytes: an escaped character takes six at most.
fn most_text_bytes(text: &str) -> usize {
    // Counted in a `u8` per chunk of up to 255 bytes, which the compiler vectorises.
    let escaped_in = |some: &[u8]| {
        let is_escaped = |byte: &u8| u8::from(*byte < b' ' || *byte == b'"' || *byte == b'\\');
        usize::from(some.iter().map(is_escaped).fold(0, u8::wrapping_add))
    };
    let escaped: usize = text.as_bytes().chunks(255).map(escaped_in).sum();
    text.len()
        .saturating_add(escaped.saturating_mul(5))
        .saturating_add(2)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_estimated_json_size_is_never_below_the_real_one() {
        for value in [
            json!("plain"),
            json!("\u{1}\"\\ü€"),
            json!(true),
            json!(null),
            json!(-1.5e300),
            json!([1, "a"]),
            json!({}),
        ] {
            assert!(
                most_json_bytes(&value) >= value.to_string().len(),
                "{value}"
            );
        }
    }
}
