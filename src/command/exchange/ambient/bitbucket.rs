//! Bitbucket Pipelines: the token is in a variable of steps with `oidc: true`.

use secrecy::SecretString;

use super::{AmbientError, Seeking, Sign, Source};

const VARIABLE: &str = "BITBUCKET_STEP_OIDC_TOKEN";

pub(super) const LOOKED_FOR: &str = "BITBUCKET_STEP_OIDC_TOKEN";

pub(super) const ADVICE: &str = "Write the server's URL under `oidc: audiences:` of the step.";

const LACKING: &str = "BITBUCKET_STEP_OIDC_TOKEN is not set: add `oidc: true` to the step.";

pub(super) fn sign(seeking: &Seeking<'_>) -> Sign {
    if seeking.environment.has(VARIABLE) {
        Sign::Here
    } else if seeking.environment.has("BITBUCKET_BUILD_NUMBER") {
        Sign::Lacking(LACKING.to_owned())
    } else {
        Sign::Absent
    }
}

pub(super) fn token(seeking: &Seeking<'_>) -> Result<SecretString, AmbientError> {
    let value = seeking.environment.get(VARIABLE).map(SecretString::from);
    value.ok_or_else(|| AmbientError::Lacking(Source::Bitbucket.name(), LACKING.to_owned()))
}
