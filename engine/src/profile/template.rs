//! Templates: text with claims in braces, which profile files use for prefixes, pairs, ids and
//! URLs.

use std::sync::Arc;

use super::claims::{ClaimSpec, Claims, LetterCase, Unreadable};

/// Text with claims in braces: `{repository}/.github/workflows/`.
#[derive(Clone, Debug)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Literal(String),
    Claim(Arc<ClaimSpec>),
}

impl Template {
    /// Parses a template; `find` resolves a name in braces to a claim.
    pub fn parse(
        text: &str,
        find: impl Fn(&str) -> Option<Arc<ClaimSpec>>,
    ) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once('{') {
            let (name, after) = after
                .split_once('}')
                .ok_or_else(|| format!("`{text}`: a brace is not closed"))?;
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            parts.push(Part::Claim(find(name).ok_or_else(|| {
                format!("`{text}`: no claim `{name}` is declared")
            })?));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    /// The text with the claims filled in. An empty claim fails like a missing one.
    pub fn render(&self, claims: &Claims) -> Result<String, Unreadable> {
        let mut text = String::new();
        for part in &self.0 {
            text.push_str(match part {
                Part::Literal(literal) => literal,
                Part::Claim(spec) => non_empty(spec, claims)?,
            });
        }
        Ok(text)
    }

    /// The rest of `text` after the rendered template, each claim compared by its own case rule;
    /// `None` if `text` does not begin with it.
    pub fn strip_prefix<'t>(
        &self,
        text: &'t str,
        claims: &Claims,
    ) -> Result<Option<&'t str>, Unreadable> {
        let mut rest = text;
        for part in &self.0 {
            let stripped = match part {
                Part::Literal(literal) => rest.strip_prefix(literal.as_str()),
                Part::Claim(spec) => {
                    let value = non_empty(spec, claims)?;
                    // Both values come from the token: a non-ASCII name must not match by folding.
                    if spec.case == LetterCase::Name && !value.is_ascii() {
                        None
                    } else {
                        spec.case.strip_prefix(rest, value)
                    }
                }
            };
            match stripped {
                Some(after) => rest = after,
                None => return Ok(None),
            }
        }
        Ok(Some(rest))
    }

    /// The claims that the template reads.
    pub fn claims(&self) -> impl Iterator<Item = &Arc<ClaimSpec>> {
        self.0.iter().filter_map(|part| match part {
            Part::Literal(_) => None,
            Part::Claim(spec) => Some(spec),
        })
    }
}

fn non_empty<'c>(spec: &ClaimSpec, claims: &'c Claims) -> Result<&'c str, Unreadable> {
    Some(spec.text(claims)?)
        .filter(|text| !text.is_empty())
        .ok_or(Unreadable::Missing)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(name: &str, case: LetterCase) -> Arc<ClaimSpec> {
        Arc::new(ClaimSpec {
            case,
            ..ClaimSpec::text_claim(name)
        })
    }

    fn template(text: &str) -> Result<Template, String> {
        Template::parse(text, |name| match name {
            "repo" => Some(spec("repo", LetterCase::Name)),
            "ref" => Some(spec("ref", LetterCase::Exact)),
            _ => None,
        })
    }

    fn claims(repo: &str, reference: &str) -> Claims {
        Claims::new(
            json!({ "repo": repo, "ref": reference })
                .as_object()
                .unwrap()
                .clone(),
        )
    }

    #[test]
    fn templates_render_claims_and_strip_them_as_a_prefix() {
        let template = template("{repo}/.x/{ref}").unwrap();
        assert_eq!(template.render(&claims("a/b", "r")).unwrap(), "a/b/.x/r");
        assert_eq!(template.claims().count(), 2);
        let strip = |text: &str, repo: &str, r: &str| {
            template
                .strip_prefix(text, &claims(repo, r))
                .map(|o| o.map(str::to_owned))
        };
        assert_eq!(strip("A/B/.x/r-rest", "a/b", "r"), Ok(Some("-rest".into())));
        assert_eq!(strip("a/b/.x/R", "a/b", "r"), Ok(None));
        assert_eq!(strip("a/b/.X/r", "a/b", "r"), Ok(None));
        assert_eq!(strip("a/bb/.x/r", "a/b", "r"), Ok(None));
        assert_eq!(strip("é/b/.x/r", "é/b", "r"), Ok(None));
        assert_eq!(strip("/.x/r", "", "r"), Err(Unreadable::Missing));
        assert_eq!(strip("a/b/.x/", "a/b", ""), Err(Unreadable::Missing));
        assert_eq!(template.render(&claims("a", "")), Err(Unreadable::Missing));
    }

    #[test]
    fn broken_templates_are_refused() {
        assert!(template("{repo").is_err());
        assert!(template("{nothing}").is_err());
        assert!(
            template("plain")
                .unwrap()
                .render(&claims("", ""))
                .is_ok_and(|text| text == "plain")
        );
    }
}
