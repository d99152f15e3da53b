//! Reads `issuer` and the members that limit what a trusted issuer may speak for: trust domain,
//! subject domain, broker claim and e-mail verification.

use std::sync::Arc;

use url::{Host, Url};

use super::url::check_issuer;
use crate::documents::ReadContext;
use crate::documents::reader::Reader;
use crate::profile::{
    Check, Equals, Profile, Requirement, Terms, is_trust_domain, registrable_domain,
};

pub(super) struct Members {
    pub issuer: String,
    pub terms: Terms,
}

/// Reads `issuer` and the members that only some profiles have; a member that the profile does not
/// use is a mistake.
pub(super) fn members(
    reader: &mut Reader<'_>,
    profile: Option<&Arc<Profile>>,
    context: ReadContext<'_>,
) -> Members {
    let trust_domain = trust_domain(reader, profile);
    let issuer = issuer(reader, trust_domain.as_deref(), context);
    let subject_domain = subject_domain(reader, profile, &issuer);
    let has = |wanted: fn(&Check) -> bool| {
        profile.is_none_or(|profile| profile.fields.iter().any(|field| wanted(&field.check)))
    };
    let issuer_claim = reader.text("issuer_claim");
    if issuer_claim.is_some() && !has(|check| matches!(check, Check::Upstream)) {
        let detail = "must not be given: only profiles for brokers of e-mail addresses have it";
        reader.problem("issuer_claim", detail);
    }
    let mut terms = Terms {
        issuer: None,
        banned_events: None,
        trust_domain,
        subject_domain,
        issuer_claim,
        accept_string_booleans: reader.boolean("accept_string_booleans").unwrap_or(false),
        skip_email_verification: reader.boolean("skip_email_verification").unwrap_or(false),
    };
    let verifies = profile.is_none_or(|profile| reads_verification(profile));
    for (name, given) in [
        ("accept_string_booleans", &mut terms.accept_string_booleans),
        (
            "skip_email_verification",
            &mut terms.skip_email_verification,
        ),
    ] {
        if *given && !verifies {
            reader.problem(
                name,
                "must not be true: this profile reads no verification of e-mail addresses",
            );
        }
    }
    Members { issuer, terms }
}

fn reads_verification(profile: &Profile) -> bool {
    let checks = profile.fields.iter().map(|field| &field.check);
    profile
        .requirements
        .iter()
        .any(|requirement| matches!(requirement, Requirement::Verified(_)))
        || checks.into_iter().any(|check| {
            matches!(
                check,
                Check::Equals(Equals {
                    verified_by: Some(_),
                    ..
                })
            )
        })
}

fn trust_domain(reader: &mut Reader<'_>, profile: Option<&Arc<Profile>>) -> Option<String> {
    let given = reader.text("trust_domain");
    let wanted = profile.is_some_and(|profile| profile.is_spiffe());
    match &given {
        None if wanted && reader.value("trust_domain").is_none() => {
            reader.problem("trust_domain", "must be given");
        }
        Some(_) if profile.is_some() && !wanted => {
            reader.problem(
                "trust_domain",
                "must not be given: this profile has no trust domain",
            );
        }
        Some(domain) if !is_trust_domain(domain) => {
            let detail = "must be the name alone, such as example.org: lower-case letters, digits, `.`, `-` and `_`";
            reader.problem("trust_domain", detail);
        }
        _ => {}
    }
    given
}

/// Reads the issuer identifier. A SPIFFE issuer without one gets `spiffe://` and its trust domain
/// (decision D-36).
fn issuer(reader: &mut Reader<'_>, trust_domain: Option<&str>, context: ReadContext<'_>) -> String {
    let of_domain = trust_domain.map(|domain| format!("spiffe://{domain}"));
    if let (Some(of_domain), None) = (&of_domain, reader.value("issuer")) {
        return of_domain.clone();
    }
    let issuer = reader.required_text("issuer");
    if !issuer.is_empty()
        && Some(&issuer) != of_domain.as_ref()
        && let Err(detail) = check_issuer(&issuer, context)
    {
        reader.problem("issuer", detail);
    }
    issuer
}

fn subject_domain(
    reader: &mut Reader<'_>,
    profile: Option<&Arc<Profile>>,
    issuer: &str,
) -> Option<String> {
    let is_uri = |requirement: &Requirement| match requirement {
        Requirement::SubjectUri(_) => Some(true),
        Requirement::SubjectName(_) => Some(false),
        _ => None,
    };
    let given = reader.text("subject_domain");
    let Some(profile) = profile else { return given };
    match (profile.requirements.iter().find_map(is_uri), given) {
        (None, None) => None,
        (Some(_), None) => {
            if reader.value("subject_domain").is_none() {
                reader.problem("subject_domain", "must be given");
            }
            None
        }
        (None, given) => {
            reader.problem(
                "subject_domain",
                "must not be given: this profile has no subject domain",
            );
            given
        }
        (Some(uri), Some(given)) => {
            let domain = if uri {
                given.strip_suffix('/').unwrap_or(&given).to_owned()
            } else {
                given
            };
            let checked = if uri {
                check_uri_domain(&domain, issuer)
            } else {
                check_name_domain(&domain, issuer)
            };
            if let Err(detail) = checked {
                reader.problem("subject_domain", detail);
            }
            Some(domain)
        }
    }
}

/// Checks the subject domain of a profile with URIs as subjects: scheme and host exactly as in
/// subjects, with the scheme and registrable domain of the issuer.
fn check_uri_domain(domain: &str, issuer: &str) -> Result<(), String> {
    // Subjects are compared byte for byte, so the domain must be in the parser's canonical
    // spelling.
    let is_plain =
        |url: &Url| url.as_str().strip_suffix('/') == Some(domain) && !domain.contains('@');
    let url = Url::parse(domain).ok().filter(is_plain);
    let Some((url, host)) = url.and_then(|url| Some((url.clone(), url.host()?.to_owned()))) else {
        return Err(
            "must be scheme and host as they stand in subjects, such as https://example.com"
                .to_owned(),
        );
    };
    let issuer = Url::parse(issuer).map_err(|error| error.to_string())?;
    if url.scheme() != issuer.scheme() {
        return Err(format!(
            "must have the scheme of the issuer, {}",
            issuer.scheme()
        ));
    }
    same_owner(&host, &issuer)
}

/// Checks the subject domain of a profile with account names as subjects: a host without scheme, of
/// the issuer's registrable domain.
fn check_name_domain(domain: &str, issuer: &str) -> Result<(), String> {
    let Some(host) = Host::parse(domain)
        .ok()
        .filter(|host| host.to_string() == domain)
    else {
        return Err(
            "must be a domain without scheme, port and path, such as example.com".to_owned(),
        );
    };
    let issuer = Url::parse(issuer).map_err(|error| error.to_string())?;
    same_owner(&host, &issuer)
}

/// Checks that both hosts have one owner: the same registrable domain, or the same host where the
/// Public Suffix List gives none (decision D-40).
fn same_owner(host: &Host, issuer: &Url) -> Result<(), String> {
    let (host, issuer) = (host.to_string(), issuer.host_str().unwrap_or_default());
    let same = match (registrable_domain(&host), registrable_domain(issuer)) {
        (Some(domain), Some(of_issuer)) => domain == of_issuer,
        _ => host == issuer,
    };
    if same {
        Ok(())
    } else {
        Err("must have the registrable domain of the issuer".to_owned())
    }
}
