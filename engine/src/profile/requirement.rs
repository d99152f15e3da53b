//! Requirements of a profile (`[[requires]]`): what every assertion has to fulfil, whatever the
//! rules say.

use std::sync::Arc;

use super::claims::{ClaimSpec, Claims, Unreadable};
use super::field::asns_in;
use super::format::trust_domain_of;
use super::pair::Inconsistent;
use super::terms::Terms;
use crate::reason::Reason;

/// Graphic ASCII characters that no URI contains (RFC 3986 section 2). Some parsers read a
/// backslash as a slash.
const NOT_IN_URIS: &[u8] = b"\"<>\\^`{|}";

/// A requirement on every assertion of a profile.
#[derive(Clone, Debug)]
pub enum Requirement {
    /// Each of the claims that is present has one of the values.
    Values {
        /// At least one of them has to be present, unless they are optional.
        claims: Vec<Arc<ClaimSpec>>,
        values: Vec<String>,
        /// Whether all of the claims may be absent.
        optional: bool,
        /// The reason of a refusal for another value.
        reason: Reason,
    },
    /// The claim confirms that the e-mail address is verified.
    Verified(Arc<ClaimSpec>),
    /// The claim is a SPIFFE id of the trusted issuer's `trust_domain`.
    TrustDomain(Arc<ClaimSpec>),
    /// The claim is a URI whose scheme and authority are the trusted issuer's `subject_domain`.
    SubjectUri(Arc<ClaimSpec>),
    /// The claim names an account of the trusted issuer's `subject_domain`.
    SubjectName(Arc<ClaimSpec>),
    /// The RPKI attests resources to the keys of the issuer, and the AS numbers in the claim, if it is
    /// sent, are among them.
    Attested(Arc<ClaimSpec>),
}

impl Requirement {
    /// Fails with the reason and the claim that violates the requirement.
    pub fn check(&self, claims: &Claims, terms: &Terms) -> Result<(), Inconsistent> {
        let (claim, verdict) = match self {
            Self::Values {
                claims: specs,
                values,
                optional,
                reason,
            } => {
                return one_of(specs, values, *optional, *reason, claims);
            }
            Self::Verified(claim) => (
                claim,
                holds(terms.verifies(claim, claims), Reason::EmailUnverified),
            ),
            Self::TrustDomain(claim) => {
                let of_domain = claim
                    .text(claims)
                    .map(|id| trust_domain_of(id) == terms.trust_domain.as_deref());
                (claim, holds(of_domain, Reason::TrustDomainMismatch))
            }
            Self::SubjectUri(claim) => {
                let domain = terms.subject_domain.as_deref().unwrap_or_default();
                let inside = claim
                    .text(claims)
                    .and_then(|uri| lies_in(domain, uri).ok_or(Unreadable::Malformed));
                (claim, holds(inside, Reason::SubjectDomainMismatch))
            }
            Self::SubjectName(claim) => {
                (claim, claim.text(claims).map(|_| ()).map_err(Reason::from))
            }
            Self::Attested(claim) => (claim, attested(claim, claims)),
        };
        verdict.map_err(|reason| Inconsistent {
            reason,
            claim: claim.path.clone(),
        })
    }
}

fn attested(claim: &ClaimSpec, claims: &Claims) -> Result<(), Reason> {
    let attested = claims.attested().ok_or(Reason::AttestationMissing)?;
    let named = asns_in(claim, claims)?.unwrap_or_default();
    if named
        .into_iter()
        .all(|range| attested.resources.covers_asns(range))
    {
        Ok(())
    } else {
        Err(Reason::ResourceNotAttested)
    }
}

fn holds(verdict: Result<bool, Unreadable>, otherwise: Reason) -> Result<(), Reason> {
    if verdict? { Ok(()) } else { Err(otherwise) }
}

fn one_of(
    specs: &[Arc<ClaimSpec>],
    values: &[String],
    optional: bool,
    reason: Reason,
    claims: &Claims,
) -> Result<(), Inconsistent> {
    let failed = |spec: &ClaimSpec, reason| Inconsistent {
        reason,
        claim: spec.path.clone(),
    };
    let mut sent = false;
    for spec in specs {
        match spec.text(claims) {
            Err(Unreadable::Missing) => {}
            Err(unreadable) => return Err(failed(spec, unreadable.into())),
            Ok(value) if values.iter().any(|accepted| accepted == value) => sent = true,
            Ok(_) => return Err(failed(spec, reason)),
        }
    }
    match specs.first() {
        Some(first) if !(sent || optional) => Err(failed(first, Reason::ClaimMissing)),
        _ => Ok(()),
    }
}

/// Whether a URI lies in a domain: it begins with exactly the domain's scheme and authority,
/// followed by a path or nothing. `None` for a URI that parsers may read differently: nothing is
/// normalised here, so a URI that another parser would normalise is refused.
pub fn lies_in(domain: &str, uri: &str) -> Option<bool> {
    if !uri
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && !NOT_IN_URIS.contains(&byte))
    {
        return None;
    }
    let Some(rest) = uri
        .strip_prefix(domain)
        .filter(|rest| rest.is_empty() || rest.starts_with('/'))
    else {
        return Some(false);
    };
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let is_dots = |segment: &str| {
        matches!(
            segment.to_ascii_lowercase().replace("%2e", ".").as_str(),
            "." | ".."
        )
    };
    if path.split('/').any(is_dots) {
        None
    } else {
        Some(!domain.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::profile::{Format, LetterCase};

    fn spec(name: &str) -> Arc<ClaimSpec> {
        Arc::new(ClaimSpec::text_claim(name))
    }

    fn check(requirement: &Requirement, claims: &Value, terms: &Terms) -> Result<(), Reason> {
        requirement
            .check(&Claims::new(claims.as_object().unwrap().clone()), terms)
            .map_err(|wrong| wrong.reason)
    }

    #[test]
    fn fulcio_email_1__email_verified_must_be_true_unless_a_setting_relaxes_it() {
        let verified = Requirement::Verified(spec("v"));
        let strict = Terms::default();
        let strings = Terms {
            accept_string_booleans: true,
            ..Terms::default()
        };
        let skipping = Terms {
            skip_email_verification: true,
            ..Terms::default()
        };
        for (claims, strict_says, strings_say, skipping_says) in [
            (json!({"v": true}), Ok(()), Ok(()), Ok(())),
            (
                json!({"v": false}),
                Err(Reason::EmailUnverified),
                Err(Reason::EmailUnverified),
                Err(Reason::EmailUnverified),
            ),
            (
                json!({"v": "true"}),
                Err(Reason::ClaimType),
                Ok(()),
                Err(Reason::ClaimType),
            ),
            (
                json!({"v": "false"}),
                Err(Reason::ClaimType),
                Err(Reason::EmailUnverified),
                Err(Reason::ClaimType),
            ),
            (
                json!({"v": "True"}),
                Err(Reason::ClaimType),
                Err(Reason::EmailUnverified),
                Err(Reason::ClaimType),
            ),
            (
                json!({"v": 1}),
                Err(Reason::ClaimType),
                Err(Reason::ClaimType),
                Err(Reason::ClaimType),
            ),
            (
                json!({}),
                Err(Reason::ClaimMissing),
                Err(Reason::ClaimMissing),
                Ok(()),
            ),
        ] {
            let says = |terms| check(&verified, &claims, terms);
            assert_eq!(
                (says(&strict), says(&strings), says(&skipping)),
                (strict_says, strings_say, skipping_says),
                "{claims}"
            );
        }
    }

    #[test]
    fn claims_with_a_value_outside_the_listed_ones_are_refused() {
        let strength = |optional| Requirement::Values {
            claims: vec![spec("a"), spec("b")],
            values: vec!["2".into()],
            optional,
            reason: Reason::CredentialStrength,
        };
        for (claims, verdict) in [
            (json!({"a": "2"}), Ok(())),
            (json!({"b": "2"}), Ok(())),
            (json!({"a": "2", "b": "1"}), Err(Reason::CredentialStrength)),
            (json!({"a": "1"}), Err(Reason::CredentialStrength)),
            (json!({"a": ""}), Err(Reason::CredentialStrength)),
            (json!({"a": 2}), Err(Reason::ClaimType)),
            (json!({}), Err(Reason::ClaimMissing)),
        ] {
            assert_eq!(
                check(&strength(false), &claims, &Terms::default()),
                verdict,
                "{claims}"
            );
        }
        assert_eq!(
            check(&strength(true), &json!({}), &Terms::default()),
            Ok(())
        );
    }

    #[test]
    fn fulcio_spiffe_1__the_trust_domain_is_exactly_the_configured_one() {
        let id = ClaimSpec {
            format: Some(Format::SpiffeId),
            ..ClaimSpec::text_claim("sub")
        };
        let requirement = Requirement::TrustDomain(id.into());
        let terms = Terms {
            trust_domain: Some("example.com".into()),
            ..Terms::default()
        };
        let of = |sub: &str| check(&requirement, &json!({ "sub": sub }), &terms);
        assert_eq!(of("spiffe://example.com/x"), Ok(()));
        for other in [
            "spiffe://foo.example.com/x",
            "spiffe://example.com.evil.test/x",
            "spiffe://xample.com/x",
        ] {
            assert_eq!(of(other), Err(Reason::TrustDomainMismatch), "{other}");
        }
        assert_eq!(of("spiffe://example.com"), Err(Reason::ClaimMalformed));
        // No configured trust domain: every SPIFFE id is refused.
        let nowhere = check(
            &requirement,
            &json!({"sub": "spiffe://example.com/x"}),
            &Terms::default(),
        );
        assert_eq!(nowhere, Err(Reason::TrustDomainMismatch));
    }

    #[test]
    fn fulcio_uri_2__a_uri_subject_has_the_scheme_and_authority_of_the_subject_domain() {
        let requirement = Requirement::SubjectUri(spec("sub"));
        let terms = Terms {
            subject_domain: Some("https://example.com".into()),
            ..Terms::default()
        };
        let of = |sub: &str| check(&requirement, &json!({ "sub": sub }), &terms);
        for good in [
            "https://example.com/users/1",
            "https://example.com",
            "https://example.com/u?x=1#me",
        ] {
            assert_eq!(of(good), Ok(()), "{good}");
        }
        for other in [
            "https://example.com.evil.test/u",
            "https://example.com@evil.test/u",
            "https://EXAMPLE.com/u",
            "http://example.com/u",
            "https://example.com:8443/u",
            "https://users.example.com/u",
            "//example.com/u",
            "https://example.com%2eevil/u",
            "HTTPS://example.com/u",
            "https://example.com?u",
            "a@example.com",
        ] {
            assert_eq!(of(other), Err(Reason::SubjectDomainMismatch), "{other}");
        }
        assert_eq!(
            check(
                &requirement,
                &json!({"sub": "https://x/u"}),
                &Terms::default()
            ),
            Err(Reason::SubjectDomainMismatch)
        );
    }

    #[test]
    fn atk_142__uri_subjects_that_other_parsers_would_normalise_are_refused() {
        let requirement = Requirement::SubjectUri(spec("sub"));
        let terms = Terms {
            subject_domain: Some("https://example.com".into()),
            ..Terms::default()
        };
        for bad in [
            "https://example.com\\@evil",
            "https://example.com/\\evil",
            "https://example.com/\tu",
            "https://example.com/\nu",
            "https://example.com/u v",
            "https://example.com/ü",
            "https://example.com/a/../b",
            "https://example.com/./b",
            "https://example.com/%2e%2E/b",
            "https://example.com/..",
        ] {
            assert_eq!(
                check(&requirement, &json!({ "sub": bad }), &terms),
                Err(Reason::ClaimMalformed),
                "{bad}"
            );
        }
        for evil in ["https://example.com%2eevil", "//example.com"] {
            assert_eq!(
                check(&requirement, &json!({ "sub": evil }), &terms),
                Err(Reason::SubjectDomainMismatch),
                "{evil}"
            );
        }
    }

    #[test]
    fn fulcio_user_2__a_user_name_with_at_or_exclamation_mark_is_refused() {
        let name = ClaimSpec {
            format: Some(Format::Username),
            case: LetterCase::Exact,
            ..ClaimSpec::text_claim("sub")
        };
        let requirement = Requirement::SubjectName(name.into());
        let of = |sub: &str| check(&requirement, &json!({ "sub": sub }), &Terms::default());
        assert_eq!(of("alice"), Ok(()));
        for bad in ["a!b", "alice@example.com", "alice!example.com", ""] {
            assert_eq!(of(bad), Err(Reason::ClaimMalformed), "{bad}");
        }
    }
}
