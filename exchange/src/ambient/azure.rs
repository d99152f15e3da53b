//! Azure workload identity: the cluster's token in `AZURE_FEDERATED_TOKEN_FILE`.
//!
//! The instance metadata service is left out: it issues access tokens of Entra for a resource that
//! is registered there. A job that has one presents it with `--assertion-env`.

use std::path::Path;

use secrecy::SecretString;

use super::{AmbientError, Seeking, Sign, Source, file};

const FILE: &str = "AZURE_FEDERATED_TOKEN_FILE";

pub(super) const LOOKED_FOR: &str = "AZURE_FEDERATED_TOKEN_FILE";

pub(super) const ADVICE: &str = "The webhook of Azure workload identity writes a token for Entra; mount a projected token of your own \
                                 for this server (source kubernetes).";

pub(super) fn sign(seeking: &Seeking<'_>) -> Sign {
    if seeking.environment.has(FILE) {
        Sign::Here
    } else {
        Sign::Absent
    }
}

pub(super) fn token(seeking: &Seeking<'_>) -> Result<SecretString, AmbientError> {
    let path = seeking.environment.get(FILE);
    let path = path
        .ok_or_else(|| AmbientError::Lacking(Source::Azure.name(), format!("{FILE} is not set")))?;
    file::read(Path::new(path))
}
