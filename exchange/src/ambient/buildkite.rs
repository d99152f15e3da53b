//! Buildkite: `buildkite-agent` requests the token.

use secrecy::SecretString;

use super::{AmbientError, Seeking, Sign, Source, tool};

pub(super) const LOOKED_FOR: &str = "BUILDKITE=true, and the program buildkite-agent";

const AGENT: &str = "buildkite-agent";

pub(super) fn sign(seeking: &Seeking<'_>) -> Sign {
    if seeking.environment.is_true("BUILDKITE") {
        Sign::Here
    } else {
        Sign::Absent
    }
}

pub(super) async fn token(seeking: &Seeking<'_>) -> Result<SecretString, AmbientError> {
    // Rules are pinned to these ids, which are in the token only on request.
    let ids = ["--claim", "organization_id", "--claim", "pipeline_id"];
    let arguments = [
        &["oidc", "request-token", "--audience", seeking.audience],
        ids.as_slice(),
    ]
    .concat();
    let token = tool::run(AGENT, &arguments).await;
    token.map_err(|error| error.of(Source::Buildkite, AGENT))
}
