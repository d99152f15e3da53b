//! The userinfo endpoint (OpenID Connect Core 1.0 section 5.3).

use carnet_engine::people::OF_THE_TOKEN;
use carnet_jose::json::{self, Limits};
use openidconnect::core::CoreGenderClaim;
use openidconnect::{
    EmptyAdditionalClaims, HttpRequest, OAuth2TokenResponse as _, SubjectIdentifier,
    UserInfoClaims, UserInfoError,
};
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderValue};
use serde_json::{Map, Value};

use super::relying_party::{Http, HttpError, Tokens};
use super::{SignInRefusal, refusal};
use crate::reason::Reason;
use crate::upstream::ProviderDocument;

/// Claims about the sign-in, which only the ID token states, as it does those about itself.
const OF_THE_SIGN_IN: [&str; 3] = ["auth_time", "acr", "amr"];

/// Asks for the claims of the person with this `sub`, whom the ID token proved.
pub(super) async fn ask(
    http: &Http,
    document: &ProviderDocument,
    tokens: &Tokens,
    sub: &str,
) -> Result<Map<String, Value>, SignInRefusal> {
    let wrong = |why: &str| SignInRefusal::new(Reason::UserinfoInvalid, why);
    let Some(endpoint) = &document.userinfo_endpoint else {
        return Err(wrong("the provider has no userinfo endpoint"));
    };
    let bearer = format!("Bearer {}", tokens.access_token().secret());
    let bearer = HeaderValue::from_str(&bearer);
    let mut bearer = bearer.map_err(|_| wrong("the access token is no header field"))?;
    bearer.set_sensitive(true);
    let mut request = HttpRequest::new(Vec::new());
    *request.uri_mut() = endpoint
        .as_str()
        .parse()
        .map_err(|_| wrong("the userinfo endpoint is no URI"))?;
    let headers = request.headers_mut();
    headers.insert(AUTHORIZATION, bearer);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let answer = http.send(request).await.map_err(|error| match error {
        HttpError::Unavailable(_) => SignInRefusal::from(error),
        HttpError::Wrong(why) => wrong(&refusal::quoted(&why)),
    })?;
    if answer.status().as_u16() != 200 {
        let why = format!("the userinfo endpoint answered {}", answer.status());
        return Err(wrong(&why));
    }
    // Without this comparison the answer could be about somebody else (OpenID Connect Core 1.0
    // section 5.3.2).
    let expected = SubjectIdentifier::new(sub.to_owned());
    UserInfoClaims::<EmptyAdditionalClaims, CoreGenderClaim>::from_json::<HttpError>(
        answer.body(),
        Some(&expected),
    )
    .map_err(|error| match error {
        UserInfoError::ClaimsVerification(_) => wrong("sub is not that of the ID token"),
        _ => wrong("the answer is no JSON object of claims"),
    })?;
    json::object(answer.body(), Limits::CLAIMS)
        .map_err(|error| wrong(&format!("the answer is {error}")))
}

/// The claims of both. Those of userinfo count, except for what only an ID token can state. Whether an
/// address is verified, the source says that has the address.
pub(super) fn merged(
    mut of_id_token: Map<String, Value>,
    of_userinfo: Map<String, Value>,
) -> Map<String, Value> {
    if of_userinfo.contains_key("email") {
        of_id_token.shift_remove("email_verified");
    }
    let only_of_id_token =
        |name: &str| OF_THE_TOKEN.contains(&name) || OF_THE_SIGN_IN.contains(&name);
    let more = of_userinfo.into_iter();
    of_id_token.extend(more.filter(|(name, _)| !only_of_id_token(name)));
    of_id_token
}
