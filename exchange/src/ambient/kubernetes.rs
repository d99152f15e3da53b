//! Kubernetes: a projected service-account token, which the kubelet keeps fresh in a file.

use secrecy::SecretString;

use super::{AmbientError, Seeking, Sign, Source, file};

/// Where the pod mounts it, unless told otherwise. Never the default token of the pod, which is for the cluster's API.
pub const DEFAULT_FILE: &str = "/var/run/secrets/carnet/token";

pub(super) const ADVICE: &str = "Write the server's URL as `audience` of the projected serviceAccountToken.";

pub(super) fn sign(seeking: &Seeking<'_>) -> Sign {
    if seeking.kubernetes_token_file.is_file() { Sign::Here } else { Sign::Absent }
}

pub(super) fn token(seeking: &Seeking<'_>) -> Result<SecretString, AmbientError> {
    let path = seeking.kubernetes_token_file;
    if path.is_file() {
        return file::read(path);
    }
    let why = format!(
        "there is no file {}: mount a projected volume with a serviceAccountToken of the audience {} there, or name its file with \
         --kubernetes-token-file",
        path.display(),
        seeking.audience
    );
    Err(AmbientError::Lacking(Source::Kubernetes.name(), why))
}
