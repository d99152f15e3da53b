//! GitHub Actions, and Forgejo and Gitea with the same protocol: jobs that may have an identity
//! token find a URL and a bearer token in their environment.

use secrecy::SecretString;

use super::{AmbientError, Seeking, Sign, Source, platform};

const URL: &str = "ACTIONS_ID_TOKEN_REQUEST_URL";
const TOKEN: &str = "ACTIONS_ID_TOKEN_REQUEST_TOKEN";

pub(super) const LOOKED_FOR: &str =
    "ACTIONS_ID_TOKEN_REQUEST_URL and ACTIONS_ID_TOKEN_REQUEST_TOKEN";

const GITHUB: &str = "the job may not ask for an identity token: `permissions: id-token: write` is missing. Add to the job, or to the \
                      workflow:\n  permissions:\n    contents: read\n    id-token: write\nA run for a pull request from a fork never \
                      gets one.";
const FORGEJO: &str = "the job may not ask for an identity token: add `enable-openid-connect: true` to the job, or to the workflow.";

pub(super) fn sign(seeking: &Seeking<'_>) -> Sign {
    let environment = seeking.environment;
    if environment.has(URL) && environment.has(TOKEN) {
        return Sign::Here;
    }
    // Forgejo and Gitea set `GITHUB_ACTIONS` as well.
    if environment.is_true("FORGEJO_ACTIONS") {
        Sign::Lacking(FORGEJO.to_owned())
    } else if environment.is_true("GITHUB_ACTIONS") {
        Sign::Lacking(GITHUB.to_owned())
    } else {
        Sign::Absent
    }
}

pub(super) async fn token(seeking: &Seeking<'_>) -> Result<SecretString, AmbientError> {
    let from = Source::GithubActions.name();
    let (Some(url), Some(token)) = (seeking.environment.get(URL), seeking.environment.get(TOKEN))
    else {
        let why = if seeking.environment.is_true("FORGEJO_ACTIONS") {
            FORGEJO
        } else {
            GITHUB
        };
        return Err(AmbientError::Lacking(
            from,
            format!("{URL} and {TOKEN} are not set: {why}"),
        ));
    };
    let url = platform::url(url, URL, &[("audience", seeking.audience)], &from)?;
    let request = platform::client(&url, &from)?
        .get(url.clone())
        .bearer_auth(token);
    platform::ask(seeking, &url, request, "value", &from).await
}
