//! Client authentication: one method a client, and the one it is registered for.

use std::net::IpAddr;
use std::sync::Arc;

use oxide_auth_async::primitives::Registrar as _;

use super::registrar::Registered;
use super::{ClientCredentials, ClientIdentity, Proof, assertion};
use crate::app::App;
use crate::model::{Client, Method};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// Authenticates the client. Credentials that are present are judged even where none are needed (RFC 7523 section 3.1).
pub async fn authenticate(
    app: &App,
    credentials: &ClientCredentials<'_>,
    address: Option<IpAddr>,
) -> Result<ClientIdentity, Refusal> {
    match credentials {
        ClientCredentials::None => Ok(ClientIdentity(None)),
        ClientCredentials::Named(client_id) => {
            let client = registered(app, client_id).ok_or(Refusal::new(Reason::ClientAuthenticationFailed))?;
            // A client that has credentials must use them (RFC 6749 section 3.2.1).
            match client.method {
                Method::None => Ok(ClientIdentity(Some((client, Proof::None)))),
                _ => Err(Reason::ClientAuthenticationFailed.into()),
            }
        }
        ClientCredentials::Basic(client_id, secret) => {
            let uses = |method: &Method| matches!(method, Method::SecretBasic(_));
            by_secret(app, client_id, secret, uses, address).await
        }
        ClientCredentials::Post(client_id, secret) => {
            let uses = |method: &Method| matches!(method, Method::SecretPost(_));
            by_secret(app, client_id, secret, uses, address).await
        }
        ClientCredentials::Assertion(kind, client_id, text) => {
            let (client, assertion) = assertion::verify(app, *kind, *client_id, text).await?;
            Ok(ClientIdentity(Some((client, Proof::Assertion(assertion)))))
        }
    }
}

/// The enabled client of this `client_id`.
pub(super) fn registered(app: &App, client_id: &str) -> Option<Arc<Client>> {
    app.rules().client(client_id).filter(|client| client.enabled).cloned()
}

async fn by_secret(
    app: &App,
    client_id: &str,
    secret: &str,
    uses: impl Fn(&Method) -> bool,
    address: Option<IpAddr>,
) -> Result<ClientIdentity, Refusal> {
    app.limits.check_secrets(client_id, address)?;
    let (rules, now) = (app.rules(), app.clock.now());
    let known = Registered { rules: &rules, now }.check(client_id, Some(secret.as_bytes())).await;
    let Some(client) = rules.client(client_id).filter(|client| known.is_ok() && uses(&client.method)) else {
        app.limits.note_wrong_secret(client_id, address);
        return Err(Reason::ClientAuthenticationFailed.into());
    };
    Ok(ClientIdentity(Some((client.clone(), Proof::Secret))))
}
