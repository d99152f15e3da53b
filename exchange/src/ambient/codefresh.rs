//! Codefresh: GitHub's protocol, but the `Authorization` header holds the bearer token without a
//! scheme.

use secrecy::SecretString;

use super::{AmbientError, Seeking, Sign, Source, platform};

const URL: &str = "CF_OIDC_REQUEST_URL";
const TOKEN: &str = "CF_OIDC_REQUEST_TOKEN";

pub(super) const LOOKED_FOR: &str = "CF_OIDC_REQUEST_URL and CF_OIDC_REQUEST_TOKEN";

pub(super) fn sign(seeking: &Seeking<'_>) -> Sign {
    if seeking.environment.has(URL) && seeking.environment.has(TOKEN) {
        Sign::Here
    } else {
        Sign::Absent
    }
}

pub(super) async fn token(seeking: &Seeking<'_>) -> Result<SecretString, AmbientError> {
    let from = Source::Codefresh.name();
    let (Some(url), Some(token)) = (seeking.environment.get(URL), seeking.environment.get(TOKEN))
    else {
        return Err(AmbientError::Lacking(
            from,
            format!("{URL} and {TOKEN} are not set"),
        ));
    };
    let url = platform::url(url, URL, &[("audience", seeking.audience)], &from)?;
    let request = platform::client(&url, &from)?
        .get(url.clone())
        .header("authorization", token);
    platform::ask(seeking, &url, request, "id_token", &from).await
}
