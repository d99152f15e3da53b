//! Azure DevOps pipelines: a URL of the job issues the token, given the pipeline's own access
//! token.

use secrecy::SecretString;

use super::{AmbientError, Seeking, Sign, Source, platform};

const URL: &str = "SYSTEM_OIDCREQUESTURI";
const TOKEN: &str = "SYSTEM_ACCESSTOKEN";

pub(super) const LOOKED_FOR: &str = "SYSTEM_OIDCREQUESTURI and SYSTEM_ACCESSTOKEN";

pub(super) const ADVICE: &str = "Azure DevOps makes tokens for api://AzureADTokenExchange only.";

const LACKING: &str = "SYSTEM_ACCESSTOKEN is not set. Map it in the step:\n  env:\n    SYSTEM_ACCESSTOKEN: $(System.AccessToken)";

pub(super) fn sign(seeking: &Seeking<'_>) -> Sign {
    match (seeking.environment.has(URL), seeking.environment.has(TOKEN)) {
        (true, true) => Sign::Here,
        (true, false) => Sign::Lacking(LACKING.to_owned()),
        (false, _) => Sign::Absent,
    }
}

pub(super) async fn token(seeking: &Seeking<'_>) -> Result<SecretString, AmbientError> {
    let from = Source::AzureDevops.name();
    let lacking = |why: &str| AmbientError::Lacking(from.clone(), why.to_owned());
    let url = seeking
        .environment
        .get(URL)
        .ok_or_else(|| lacking("SYSTEM_OIDCREQUESTURI is not set: is this a pipeline?"))?;
    let token = seeking
        .environment
        .get(TOKEN)
        .ok_or_else(|| lacking(LACKING))?;
    let url = platform::url(url, URL, &[("api-version", "7.1")], &from)?;
    // Without `X-TFS-FedAuthRedirect` an expired token is answered with a redirect to a sign-in
    // page.
    let request = platform::client(&url, &from)?
        .post(url.clone())
        .bearer_auth(token);
    let request = request
        .header("x-tfs-fedauthredirect", "Suppress")
        .header("content-type", "application/json")
        .body("");
    platform::ask(seeking, &url, request, "oidcToken", &from).await
}
