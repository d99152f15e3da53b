//! Pairs of a profile (`[[pairs]]`): claims of one assertion that repeat each other have to agree.
//! This does not depend on any rule.

use std::sync::Arc;

use super::claims::{ClaimSpec, Claims, Unreadable};
use super::format::Format;
use super::template::Template;
use crate::reason::Reason;

/// Claims that repeat each other. Where both are present they have to agree.
#[derive(Clone, Debug)]
pub enum Pair {
    /// The claim begins with one of the rendered templates and goes on.
    StartsWith {
        claim: Arc<ClaimSpec>,
        templates: Vec<Template>,
        /// The format of the text after the template.
        rest: Option<Format>,
    },
    /// The claim equals one of the rendered templates.
    Is {
        claim: Arc<ClaimSpec>,
        templates: Vec<Template>,
    },
    /// The beginning of the claim determines the twin's value; an empty claim has an empty twin.
    Prefixes {
        claim: Arc<ClaimSpec>,
        twin: Arc<ClaimSpec>,
        /// Beginning of the claim and value of the twin; the first beginning that fits counts.
        values: Vec<(String, String)>,
    },
}

/// Why an assertion is refused whatever the rules say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inconsistent {
    pub reason: Reason,
    /// The claim that the answer names.
    pub claim: String,
}

impl Pair {
    /// Checks that the claims agree; an absent claim is not an error.
    pub fn check(&self, claims: &Claims) -> Result<(), Inconsistent> {
        let (claim, verdict) = match self {
            Self::StartsWith {
                claim,
                templates,
                rest,
            } => {
                let goes_on =
                    |text: &str| !text.is_empty() && rest.is_none_or(|format| format.fits(text));
                (claim, begins(claim, templates, claims, goes_on))
            }
            Self::Is { claim, templates } => {
                (claim, begins(claim, templates, claims, str::is_empty))
            }
            Self::Prefixes {
                claim,
                twin,
                values,
            } => (claim, prefixes(claim, twin, values, claims)),
        };
        let failed = |reason| Inconsistent {
            reason,
            claim: claim.path.clone(),
        };
        match verdict {
            Ok(true) | Err(Unreadable::Missing) => Ok(()),
            Ok(false) => Err(failed(Reason::ClaimInconsistent)),
            Err(unreadable) => Err(failed(unreadable.into())),
        }
    }
}

fn begins(
    claim: &ClaimSpec,
    templates: &[Template],
    claims: &Claims,
    rest: impl Fn(&str) -> bool,
) -> Result<bool, Unreadable> {
    let text = claim.text(claims)?;
    // Read every twin first: if one is absent there is nothing to compare, and a template without
    // that twin must not report a contradiction.
    for twin in templates.iter().flat_map(Template::claims) {
        twin.text(claims)?;
    }
    for template in templates {
        if template.strip_prefix(text, claims)?.is_some_and(&rest) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn prefixes(
    claim: &ClaimSpec,
    twin: &ClaimSpec,
    values: &[(String, String)],
    claims: &Claims,
) -> Result<bool, Unreadable> {
    let (text, told) = (claim.text(claims)?, twin.text(claims)?);
    if text.is_empty() {
        return Ok(told.is_empty());
    }
    let expected = values
        .iter()
        .find(|(prefix, _)| text.starts_with(prefix.as_str()));
    Ok(expected.is_none_or(|(_, value)| value == told))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::profile::claims::LetterCase;

    fn spec(name: &str, case: LetterCase) -> Arc<ClaimSpec> {
        Arc::new(ClaimSpec {
            case,
            ..ClaimSpec::text_claim(name)
        })
    }

    fn check(pair: &Pair, claims: &Value) -> Result<(), Reason> {
        pair.check(&Claims::new(claims.as_object().unwrap().clone()))
            .map_err(|failed| failed.reason)
    }

    #[test]
    fn a_starts_with_pair_needs_one_claim_to_begin_with_the_other() {
        let pair = Pair::StartsWith {
            claim: spec("repository", LetterCase::Name),
            templates: vec![
                Template::parse("{owner}/", |name| Some(spec(name, LetterCase::Name))).unwrap(),
            ],
            rest: Some(Format::Segment),
        };
        assert_eq!(
            check(&pair, &json!({"repository": "O/r", "owner": "o"})),
            Ok(())
        );
        assert_eq!(check(&pair, &json!({"repository": "o/r"})), Ok(()));
        assert_eq!(check(&pair, &json!({"owner": "o"})), Ok(()));
        for wrong in [
            json!({"repository": "o/r", "owner": "p"}),
            json!({"repository": "oo/r", "owner": "o"}),
            json!({"repository": "o/", "owner": "o"}),
            json!({"repository": "o/r/s", "owner": "o"}),
        ] {
            assert_eq!(
                check(&pair, &wrong),
                Err(Reason::ClaimInconsistent),
                "{wrong}"
            );
        }
        assert_eq!(
            check(&pair, &json!({"repository": "o/r", "owner": 1})),
            Err(Reason::ClaimType)
        );
    }

    #[test]
    fn an_is_pair_needs_one_claim_to_equal_a_template_of_others() {
        let template =
            |text: &str| Template::parse(text, |name| Some(spec(name, LetterCase::Fold))).unwrap();
        let pair = Pair::Is {
            claim: spec("iss", LetterCase::Exact),
            templates: vec![template("a/{tid}"), template("b/{tid}/")],
        };
        for right in [
            json!({"iss": "a/x", "tid": "X"}),
            json!({"iss": "b/x/", "tid": "x"}),
            json!({"iss": "c"}),
        ] {
            assert_eq!(check(&pair, &right), Ok(()), "{right}");
        }
        for wrong in [
            json!({"iss": "a/x", "tid": "y"}),
            json!({"iss": "a/x/", "tid": "x"}),
            json!({"iss": "c", "tid": "x"}),
        ] {
            assert_eq!(
                check(&pair, &wrong),
                Err(Reason::ClaimInconsistent),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_twin_pair_needs_the_prefix_of_one_claim_to_agree_with_the_other() {
        let pair = Pair::Prefixes {
            claim: spec("ref", LetterCase::Exact),
            twin: spec("ref_type", LetterCase::Exact),
            values: vec![
                ("refs/heads/".into(), "branch".into()),
                ("refs/tags/".into(), "tag".into()),
            ],
        };
        for right in [
            json!({"ref": "refs/heads/x", "ref_type": "branch"}),
            json!({"ref": "refs/tags/refs/heads/x", "ref_type": "tag"}),
            json!({"ref": "refs/pull/1/merge", "ref_type": "branch"}),
            json!({"ref": "", "ref_type": ""}),
            json!({"ref": "refs/heads/x"}),
            json!({"ref_type": "tag"}),
        ] {
            assert_eq!(check(&pair, &right), Ok(()), "{right}");
        }
        for wrong in [
            json!({"ref": "refs/heads/x", "ref_type": "tag"}),
            json!({"ref": "refs/tags/x", "ref_type": "branch"}),
            json!({"ref": "refs/tags/x", "ref_type": ""}),
            json!({"ref": "", "ref_type": "tag"}),
        ] {
            assert_eq!(
                check(&pair, &wrong),
                Err(Reason::ClaimInconsistent),
                "{wrong}"
            );
        }
        assert_eq!(
            check(&pair, &json!({"ref": [], "ref_type": "tag"})),
            Err(Reason::ClaimType)
        );
    }
}
