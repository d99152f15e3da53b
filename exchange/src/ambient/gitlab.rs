//! GitLab CI/CD: the job's `id_tokens` are in variables whose names the job chooses.

use secrecy::SecretString;

use super::{AmbientError, Seeking, Sign, Source};

/// The variable that is read unless `--assertion-env` names another.
const DEFAULT_VARIABLE: &str = "CARNET_ID_TOKEN";

pub(super) const LOOKED_FOR: &str =
    "CARNET_ID_TOKEN, from the job's id_tokens (--assertion-env names another variable)";

pub(super) const ADVICE: &str = "Write the server's URL as `aud` of the job's id_tokens.";

pub(super) fn sign(seeking: &Seeking<'_>) -> Sign {
    if seeking.environment.has(DEFAULT_VARIABLE) {
        Sign::Here
    } else if seeking.environment.is_true("GITLAB_CI") {
        Sign::Lacking(lacking(seeking))
    } else {
        Sign::Absent
    }
}

pub(super) fn token(seeking: &Seeking<'_>) -> Result<SecretString, AmbientError> {
    let value = seeking
        .environment
        .get(DEFAULT_VARIABLE)
        .map(SecretString::from);
    value.ok_or_else(|| AmbientError::Lacking(Source::GitlabCi.name(), lacking(seeking)))
}

fn lacking(seeking: &Seeking<'_>) -> String {
    format!(
        "{DEFAULT_VARIABLE} is not set. Add to the job:\n  id_tokens:\n    {DEFAULT_VARIABLE}:\n      aud: {}\nIf the job has its \
         token in another variable, name it with --assertion-env.",
        seeking.audience
    )
}
