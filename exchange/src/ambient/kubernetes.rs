//! Kubernetes: a projected service-account token, in a file that the kubelet keeps fresh.

use secrecy::SecretString;

use super::{AmbientError, Seeking, Sign, Source, file};

/// The file of the projected token unless the command line names another. The pod's default token
/// is never used, since it is for the API of the cluster.
pub const DEFAULT_FILE: &str = "/var/run/secrets/carnet/token";

pub(super) const ADVICE: &str =
    "Write the server's URL as `audience` of the projected serviceAccountToken.";

pub(super) fn sign(seeking: &Seeking<'_>) -> Sign {
    if seeking.kubernetes_token_file.is_file() {
        Sign::Here
    } else {
        Sign::Absent
    }
}

pub(super) fn token(seeking: &Seeking<'_>) -> Result<SecretString, AmbientError> {
    let path = seeking.kubernetes_token_file;
    if path.is_file() {
        return file::read(path);
    }
    let why = format!("there is no file {}: {}", path.display(), mount(seeking));
    Err(AmbientError::Lacking(Source::Kubernetes.name(), why))
}

/// How the platform is recognised, for the error that none was found. Every pod knows its cluster,
/// but only some have a token for this server, so a pod as such is no sign.
pub(super) fn looked_for(seeking: &Seeking<'_>) -> String {
    let path = seeking.kubernetes_token_file.display();
    match seeking.environment.get("KUBERNETES_SERVICE_HOST") {
        Some(_) => format!("the file {path}. This is a pod: {}", mount(seeking)),
        None => format!("the file {path}"),
    }
}

fn mount(seeking: &Seeking<'_>) -> String {
    format!(
        "mount a projected volume with a serviceAccountToken of the audience {} there, or name its file with --kubernetes-token-file",
        seeking.audience
    )
}
