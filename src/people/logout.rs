//! Ending the session at the provider too (OpenID Connect RP-Initiated Logout 1.0 section 2).

use std::sync::Arc;

use openidconnect::{ClientId, EndSessionUrl, LogoutRequest, PostLogoutRedirectUrl};
use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::relying_party::IdToken;
use crate::app::App;
use crate::model::{IdentityProvider, Logout};

/// Where a browser goes to end the person's session at the provider; `None` if the provider has no
/// such place, cannot be reached, or is not to be asked. There is no `state`, since nothing depends on
/// the person's way back.
pub async fn end_session_url(
    app: &App,
    provider: &Arc<IdentityProvider>,
    id_token: &SecretString,
) -> Option<Url> {
    if provider.logout == Logout::Local {
        return None;
    }
    let document = app.providers.of(provider).await.ok()?;
    let endpoint = document.end_session_endpoint.clone()?;
    let back = app.config.own.at("/console/signed-out");
    let back = PostLogoutRedirectUrl::new(back).ok()?;
    let id_token: IdToken = id_token.expose_secret().parse().ok()?;
    let request = LogoutRequest::from(EndSessionUrl::from_url(endpoint))
        .set_id_token_hint(&id_token)
        .set_client_id(ClientId::new(provider.client_id.clone()))
        .set_post_logout_redirect_uri(back);
    Some(request.http_get_url())
}
