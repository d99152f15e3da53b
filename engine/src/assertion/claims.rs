//! The claim checks that every assertion has to pass, as one pure function (RFC 7523 section 3;
//! decisions D-21 to D-24, D-33, D-34).

use carnet_access::Confirmation;
use serde::Deserialize as _;
use serde_json::Value;

use super::{NumericDate, Recipient, SingleUseKey};
use crate::clock::Timestamp;
use crate::model::TrustedIssuer;
use crate::profile::{Claims, Replay, Unreadable};
use crate::reason::Reason;
use crate::refusal::Refusal;

const MAX_AUDIENCES: usize = 16;
const MAX_ID_BYTES: usize = 256;
const MAX_SUBJECT_BYTES: usize = 1024;

/// The values that the claim checks extracted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Assessed {
    pub subject: String,
    pub expires_at: NumericDate,
    /// The key under which the use is recorded; `None` if it is not recorded.
    pub key: Option<SingleUseKey>,
    /// The key to which the platform bound the assertion.
    pub confirmation: Option<Confirmation>,
}

/// Checks the claims of an assertion of `issuer` that is presented to `recipient` at the time `now`.
///
/// `signing_input` is the token's text without its signature. It identifies assertions that have no
/// id; without it, such an assertion has no key.
pub(super) fn assess(
    issuer: &TrustedIssuer,
    claims: &Claims,
    signing_input: Option<&str>,
    presented: (Recipient<'_>, Timestamp),
) -> Result<Assessed, Refusal> {
    assess_claims(issuer, claims, signing_input, presented)
        .map_err(|refusal| with_received(refusal, claims).on_platform(&issuer.profile))
}

/// Adds the refused claim's value, unless the refusal has a more telling one.
fn with_received(refusal: Refusal, claims: &Claims) -> Refusal {
    let has_one = refusal
        .facts
        .as_ref()
        .is_some_and(|facts| facts.received.is_some());
    match refusal.claim.as_deref().and_then(|claim| claims.get(claim)) {
        Some(value) if !has_one => {
            let value = value.clone();
            refusal.received(value)
        }
        _ => refusal,
    }
}

fn assess_claims(
    issuer: &TrustedIssuer,
    claims: &Claims,
    signing_input: Option<&str>,
    (recipient, now): (Recipient<'_>, Timestamp),
) -> Result<Assessed, Refusal> {
    let subject = subject(claims)?;
    // SPIFFE issuers are found by trust domain, so `iss` still has to be compared here.
    if issuer.profile.is_spiffe()
        && issuer.names_an_issuer()
        && claims
            .get("iss")
            .is_some_and(|iss| iss.as_str() != Some(&issuer.issuer))
    {
        return Err(Refusal::claim(Reason::IssUnknown, "iss").permitted(issuer.issuer.as_str()));
    }
    audience(issuer, recipient.audiences(issuer), claims)?;
    let expires_at = times(issuer, claims, now.seconds())?;
    let key = key(issuer, claims, signing_input)?.map(|key| match recipient.package() {
        Some(package) => key.for_package(package),
        None => key,
    });
    // A binding that is not understood must not be taken for none (decision D-49).
    let confirmation = claims.get("cnf").map(Confirmation::deserialize).transpose();
    let confirmation =
        confirmation.map_err(|_| Refusal::claim(Reason::ConfirmationUnsupported, "cnf"))?;
    issuer
        .profile
        .check(claims, &issuer.terms)
        .map_err(|wrong| Refusal::claim(wrong.reason, wrong.claim))?;
    Ok(Assessed {
        subject,
        expires_at,
        key,
        confirmation,
    })
}

fn subject(claims: &Claims) -> Result<String, Refusal> {
    let text = text(claims, "sub")?;
    if text.is_empty() || text.len() > MAX_SUBJECT_BYTES || text.contains(char::is_control) {
        return Err(Refusal::claim(Reason::ClaimMalformed, "sub"));
    }
    Ok(text.to_owned())
}

/// Requires exactly one audience that is ours. Others may stand beside it only if the trusted
/// issuer lists them, and never one of the platform's own services (decision D-24).
fn audience(issuer: &TrustedIssuer, accepted: &[String], claims: &Claims) -> Result<(), Refusal> {
    let audiences = audiences(claims)?;
    let mismatch = || Refusal {
        accepted_audiences: accepted.to_vec(),
        ..Refusal::claim(Reason::AudMismatch, "aud")
    };
    let is_platforms = |audience: &&str| {
        issuer
            .profile
            .is_platform_audience(audience, &issuer.issuer)
    };
    let ours = |audience: &&&str| accepted.iter().any(|accepted| accepted == *audience);
    let platforms = audiences.iter().any(is_platforms);
    let (found, others): (Vec<&&str>, Vec<&&str>) = audiences.iter().partition(ours);
    match found.as_slice() {
        [] => Err(mismatch()),
        // A configured audience of the platform itself is never accepted.
        [audience] if is_platforms(audience) => Err(mismatch()),
        [_] if !platforms
            && others
                .iter()
                .all(|other| issuer.extra_audiences.iter().any(|extra| extra == *other)) =>
        {
            Ok(())
        }
        _ => Err(Refusal::claim(Reason::AudNotSingle, "aud")),
    }
}

/// Reads `aud`: a string, or a non-empty array of strings (RFC 7519 section 4.1.3).
pub(super) fn audiences(claims: &Claims) -> Result<Vec<&str>, Refusal> {
    let wrong = |reason| Refusal::claim(reason, "aud");
    match claims.get("aud") {
        None => Err(wrong(Reason::ClaimMissing)),
        Some(Value::String(audience)) => Ok(vec![audience]),
        Some(Value::Array(elements)) => {
            if elements.is_empty() || elements.len() > MAX_AUDIENCES {
                return Err(wrong(Reason::ClaimMalformed));
            }
            elements
                .iter()
                .map(|element| element.as_str().ok_or_else(|| wrong(Reason::ClaimType)))
                .collect()
        }
        Some(_) => Err(wrong(Reason::ClaimType)),
    }
}

fn times(issuer: &TrustedIssuer, claims: &Claims, now: i64) -> Result<NumericDate, Refusal> {
    let leeway = issuer.leeway_seconds;
    let expires =
        date(claims, "exp")?.ok_or_else(|| Refusal::claim(Reason::ClaimMissing, "exp"))?;
    let not_before = date(claims, "nbf")?;
    let issued_at = date(claims, "iat")?;
    if issued_at.is_none() && issuer.profile.defaults.iat_required {
        return Err(Refusal::claim(Reason::ClaimMissing, "iat"));
    }
    if issued_at.is_some_and(|start| expires < start)
        || not_before.is_some_and(|start| start > expires)
    {
        return Err(Refusal::claim(Reason::ClaimInconsistent, "exp"));
    }
    if issued_at.is_some_and(|start| start.seconds() > now.saturating_add(leeway)) {
        return Err(Refusal::claim(Reason::IatFuture, "iat"));
    }
    if not_before.is_some_and(|start| start.seconds() > now.saturating_add(leeway)) {
        return Err(Refusal::claim(Reason::NotYetValid, "nbf"));
    }
    let start = issued_at.map_or(now, NumericDate::seconds);
    let lifetime = expires.seconds().saturating_sub(start);
    let limit = issuer.max_assertion_lifetime_seconds;
    if lifetime > limit {
        return Err(Refusal::claim(Reason::LifetimeTooLong, "exp")
            .received(lifetime)
            .noting(|facts| facts.limit = Some(limit)));
    }
    // An access token capped at `exp` would have no lifetime left, so the leeway does not apply.
    let grace = if issuer.cap_at_assertion_expiry {
        0
    } else {
        leeway
    };
    if now >= expires.seconds().saturating_add(grace) {
        return Err(Refusal::claim(Reason::Expired, "exp"));
    }
    Ok(expires)
}

fn date(claims: &Claims, name: &str) -> Result<Option<NumericDate>, Refusal> {
    // `null` does not count as absent here: a time claim that is sent has to be a number.
    match claims.members().get(name) {
        None => Ok(None),
        Some(value) => NumericDate::read(value)
            .map(Some)
            .map_err(|wrong| Refusal::claim(wrong.into(), name)),
    }
}

fn key(
    issuer: &TrustedIssuer,
    claims: &Claims,
    signing_input: Option<&str>,
) -> Result<Option<SingleUseKey>, Refusal> {
    let name = &issuer.replay_claim;
    if issuer.replay == Replay::Off {
        return Ok(None);
    }
    if claims.get(name).is_none() {
        return match issuer.replay {
            Replay::Required => Err(Refusal::claim(Reason::ClaimMissing, name)),
            Replay::JtiOrTokenHash | Replay::Off => {
                Ok(signing_input.map(|text| SingleUseKey::of_text(&issuer.issuer, text)))
            }
        };
    }
    let id = text(claims, name)?;
    if id.is_empty() || id.len() > MAX_ID_BYTES || id.contains(char::is_control) {
        return Err(Refusal::claim(Reason::ClaimMalformed, name));
    }
    Ok(Some(SingleUseKey::of_id(&issuer.issuer, id)))
}

fn text<'c>(claims: &'c Claims, name: &str) -> Result<&'c str, Refusal> {
    let wrong = |unreadable: Unreadable| Refusal::claim(unreadable.into(), name);
    claims
        .get(name)
        .ok_or_else(|| wrong(Unreadable::Missing))?
        .as_str()
        .ok_or_else(|| wrong(Unreadable::WrongType))
}
