//! Whether the person of an ID token proved a second factor, and when.

use super::SignInRefusal;
use super::attempt::Attempt;
use super::id_token::Proved;
use super::unverified_id_token::LEEWAY_SECONDS;
use crate::clock::Timestamp;
use crate::model::{Freshness, IdentityProvider, SecondFactor};
use crate::reason::Reason;

/// Whether these claims prove the second factor that is wanted, as far as anything has to be proved.
pub(super) fn is_proved(wanted: &SecondFactor, acr: Option<&str>, amr: &[String]) -> bool {
    match wanted {
        SecondFactor::EnforcedByProvider => true,
        SecondFactor::Acr(accepted) => {
            acr.is_some_and(|acr| accepted.iter().any(|accepted| accepted == acr))
        }
        SecondFactor::Amr(accepted) => amr.iter().any(|method| accepted.contains(method)),
    }
}

/// Whether the ID token proves the second factor that the identity provider has to prove: `false`
/// only if the operator said that the provider lets nobody in without one.
pub(super) fn second_factor(
    provider: &IdentityProvider,
    proved: &Proved,
) -> Result<bool, SignInRefusal> {
    let wanted = &provider.second_factor;
    if is_proved(wanted, proved.acr.as_deref(), &proved.amr) {
        return Ok(*wanted != SecondFactor::EnforcedByProvider);
    }
    let came = match (wanted, &proved.acr) {
        (SecondFactor::Amr(_), _) => format!("amr is [{}]", proved.amr.join(", ")),
        (_, Some(acr)) => format!("acr is `{acr}`"),
        (_, None) => "the ID token has no acr".to_owned(),
    };
    let detail = super::refusal::quoted(&came);
    Err(SignInRefusal::new(Reason::SecondFactorMissing, detail))
}

/// When the person signed in at the provider, as far as that is known. For a step-up it has to be
/// after the attempt was begun.
///
/// Neither `iat` nor the moment of the callback counts: a provider with a session of its own answers
/// at once. Only where the operator said that the provider asks again for `prompt=login` does its
/// answer to a step-up without `auth_time` count, as of the beginning of the attempt.
pub(super) fn auth_time(
    provider: &IdentityProvider,
    proved: &Proved,
    attempt: &Attempt,
    now: Timestamp,
) -> Result<Option<Timestamp>, SignInRefusal> {
    if let Some(at) = proved.auth_time
        && at.seconds_since(now) > LEEWAY_SECONDS
    {
        return Err(SignInRefusal::id_token("auth_time", "it is in the future"));
    }
    let known = proved.auth_time.map(|at| at.min(now));
    let Some(step_up) = &attempt.step_up else {
        return Ok(known);
    };
    if proved.sub != step_up.sub {
        let detail = "the person who answered is not the one of the session";
        return Err(SignInRefusal::new(Reason::OtherPerson, detail));
    }
    match (known, provider.freshness) {
        (None, Freshness::NewSignIn) => Ok(Some(attempt.begun_at)),
        (None, Freshness::AuthTime) => Err(SignInRefusal::new(
            Reason::AuthTimeMissing,
            "the ID token has no auth_time",
        )),
        (Some(at), _) => {
            let before = attempt.begun_at.seconds_since(at);
            if before > LEEWAY_SECONDS {
                let detail = format!("auth_time is {before} seconds before the request");
                return Err(SignInRefusal::new(Reason::AuthTooOld, detail));
            }
            Ok(Some(at))
        }
    }
}
