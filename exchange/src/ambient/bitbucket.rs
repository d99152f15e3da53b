//! Bitbucket Pipelines: a variable holds the token in steps with `oidc: true`.

use secrecy::SecretString;

use super::{AmbientError, Seeking, Sign, Source};

const VARIABLE: &str = "BITBUCKET_STEP_OIDC_TOKEN";

pub(super) const LOOKED_FOR: &str = "BITBUCKET_STEP_OIDC_TOKEN";

pub(super) const ADVICE: &str = "Write the server's URL under `oidc: audiences:` of the step.";

pub(super) fn sign(seeking: &Seeking<'_>) -> Sign {
    if seeking.environment.has(VARIABLE) {
        Sign::Here
    } else if seeking.environment.has("BITBUCKET_BUILD_NUMBER") {
        Sign::Lacking(lacking(seeking))
    } else {
        Sign::Absent
    }
}

pub(super) fn token(seeking: &Seeking<'_>) -> Result<SecretString, AmbientError> {
    let value = seeking.environment.get(VARIABLE).map(SecretString::from);
    value.ok_or_else(|| AmbientError::Lacking(Source::Bitbucket.name(), lacking(seeking)))
}

fn lacking(seeking: &Seeking<'_>) -> String {
    format!(
        "{VARIABLE} is not set. Add to the step:\n  oidc:\n    audiences:\n      - {}",
        seeking.audience
    )
}
