//! Identities rendered from claims by a template, as operators of small CI systems define them:
//! `https://ci.example/{org}/{pipeline}`.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::claims::{ClaimSpec, Claims, Unreadable};

/// The template of an identity.
///
/// A claim cannot imitate another one: a value with a character that separates two claims of the
/// template is refused. A name with a default is a constant and is never read from a claim.
#[derive(Clone, Debug)]
pub struct Identity {
    parts: Vec<Part>,
    separators: Vec<char>,
}

#[derive(Clone, Debug)]
enum Part {
    Fixed(String),
    Claim(Arc<ClaimSpec>),
}

impl Identity {
    /// Parses a template. `defaults` are constants for names in braces; `find` resolves every other
    /// name to a claim.
    pub fn parse(
        text: &str,
        defaults: &BTreeMap<String, String>,
        find: impl Fn(&str) -> Result<Arc<ClaimSpec>, String>,
    ) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('{') {
            let (name, after) = after
                .split_once('}')
                .ok_or_else(|| format!("`{text}`: a brace is not closed"))?;
            push_fixed(&mut parts, literal);
            match defaults.get(name) {
                Some(value) => push_fixed(&mut parts, value),
                None => parts.push(Part::Claim(find(name)?)),
            }
            rest = after;
        }
        push_fixed(&mut parts, rest);
        if !parts.iter().any(|part| matches!(part, Part::Claim(_))) {
            return Err(format!(
                "`{text}`: holds no claim, so every token would have one identity"
            ));
        }
        let separators = separators(&parts)
            .ok_or_else(|| format!("`{text}`: two claims have nothing between them"))?;
        Ok(Self { parts, separators })
    }

    /// Renders the identity. Fails for a missing or empty claim, and for a claim that contains a
    /// separator.
    pub fn render(&self, claims: &Claims) -> Result<String, Unreadable> {
        let mut text = String::new();
        for part in &self.parts {
            match part {
                Part::Fixed(literal) => text.push_str(literal),
                Part::Claim(spec) => {
                    let value = spec.spelt(claims)?;
                    if value.is_empty() {
                        return Err(Unreadable::Missing);
                    }
                    if value.contains(self.separators.as_slice()) {
                        return Err(Unreadable::Malformed);
                    }
                    text.push_str(&value);
                }
            }
        }
        Ok(text)
    }

    /// The claims of the template, shown in an explanation when the identity cannot be rendered.
    pub fn claims(&self) -> impl Iterator<Item = &Arc<ClaimSpec>> {
        self.parts.iter().filter_map(|part| match part {
            Part::Fixed(_) => None,
            Part::Claim(spec) => Some(spec),
        })
    }
}

fn push_fixed(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        _ if text.is_empty() => {}
        Some(Part::Fixed(before)) => before.push_str(text),
        _ => parts.push(Part::Fixed(text.to_owned())),
    }
}

/// The characters between the claims, other than letters and digits, that separate them; `None` if
/// two claims have no such character between them.
fn separators(parts: &[Part]) -> Option<Vec<char>> {
    let mut found = Vec::new();
    let mut between: Option<&str> = None;
    let mut seen = false;
    for part in parts {
        match part {
            Part::Fixed(literal) => between = Some(literal),
            Part::Claim(_) => {
                if seen {
                    let marks = between
                        .unwrap_or_default()
                        .chars()
                        .filter(|character| !character.is_alphanumeric());
                    let before = found.len();
                    found.extend(marks);
                    if found.len() == before {
                        return None;
                    }
                }
                seen = true;
                between = None;
            }
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::profile::ClaimKind;

    fn identity(template: &str, defaults: &[(&str, &str)]) -> Result<Identity, String> {
        let defaults = defaults
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        Identity::parse(template, &defaults, |name| match name {
            "n" => Ok(ClaimSpec {
                kind: ClaimKind::Integer,
                ..ClaimSpec::text_claim("n")
            }
            .into()),
            "nope" => Err("no claim".to_owned()),
            name => Ok(ClaimSpec::text_claim(name).into()),
        })
    }

    fn render(identity: &Identity, claims: &Value) -> Result<String, Unreadable> {
        identity.render(&Claims::new(claims.as_object().unwrap().clone()))
    }

    #[test]
    fn fulcio_ci_1__rendering_an_identity_without_one_of_its_claims_fails() {
        let template =
            identity("{base}/{org}/{pipeline}", &[("base", "https://ci.example")]).unwrap();
        let good = json!({"org": "acme", "pipeline": "release"});
        assert_eq!(
            render(&template, &good).unwrap(),
            "https://ci.example/acme/release"
        );
        assert_eq!(template.claims().count(), 2);
        for claims in [
            json!({"org": "acme"}),
            json!({"org": "acme", "pipeline": ""}),
            json!({"org": null, "pipeline": "x"}),
        ] {
            assert_eq!(
                render(&template, &claims),
                Err(Unreadable::Missing),
                "{claims}"
            );
        }
        for claims in [
            json!({"org": 7, "pipeline": "x"}),
            json!({"org": ["acme"], "pipeline": "x"}),
        ] {
            assert_eq!(
                render(&template, &claims),
                Err(Unreadable::WrongType),
                "{claims}"
            );
        }
        let numbered = identity("{org}#{n}", &[]).unwrap();
        assert_eq!(
            render(&numbered, &json!({"org": "a", "n": 7})).unwrap(),
            "a#7"
        );
        assert_eq!(
            render(&numbered, &json!({"org": "a", "n": "7"})),
            Err(Unreadable::WrongType)
        );
    }

    #[test]
    fn claims_neither_override_defaults_nor_smuggle_separators_into_an_identity() {
        let template =
            identity("{base}/{org}/{pipeline}", &[("base", "https://ci.example")]).unwrap();
        let overriding =
            json!({"base": "https://evil.example", "org": "acme", "pipeline": "release"});
        assert_eq!(
            render(&template, &overriding).unwrap(),
            "https://ci.example/acme/release"
        );
        for claims in [
            json!({"org": "acme/release", "pipeline": "x"}),
            json!({"org": "acme", "pipeline": "release/x"}),
        ] {
            assert_eq!(
                render(&template, &claims),
                Err(Unreadable::Malformed),
                "{claims}"
            );
        }
        let worded = identity("org:{org}:ref:{ref}", &[]).unwrap();
        assert_eq!(
            render(&worded, &json!({"org": "a", "ref": "refs/heads/x"})).unwrap(),
            "org:a:ref:refs/heads/x"
        );
        assert_eq!(
            render(&worded, &json!({"org": "a:ref", "ref": "b"})),
            Err(Unreadable::Malformed)
        );
    }

    #[test]
    fn ambiguous_and_malformed_identity_templates_are_refused() {
        for (template, defaults) in [
            ("{a}{b}", &[][..]),
            ("{a}x{b}", &[]),
            ("plain", &[]),
            ("{a", &[]),
            ("{nope}", &[]),
            ("{a}", &[("a", "fixed")]),
        ] {
            assert!(identity(template, defaults).is_err(), "{template}");
        }
        assert!(identity("{a}{sep}{b}", &[("sep", "/")]).is_ok());
    }
}
