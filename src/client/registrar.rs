//! oxide-auth's view of our clients: who is registered with which secret, and how much scope each may have.

use async_trait::async_trait;
use oxide_auth::primitives::registrar::{BoundClient, ClientUrl, ExactUrl, PreGrant, RegisteredUrl, RegistrarError};
use oxide_auth::primitives::scope::Scope;
use oxide_auth_async::primitives::Registrar;

use crate::clock::Timestamp;
use crate::model::Snapshot;
use crate::model::{Client, Method, is_one_of};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scope::{ScopeSet, covers};
use crate::token::NO_REDIRECT;

/// The clients as of one snapshot, each with the scope that it holds for what is asked.
pub(super) struct Registered<'a> {
    pub rules: &'a Snapshot,
    pub now: Timestamp,
}

#[async_trait]
impl Registrar for Registered<'_> {
    /// None of our grants redirects; the machines want to see an address all the same.
    async fn bound_redirect<'a>(&self, bound: ClientUrl<'a>) -> Result<BoundClient<'a>, RegistrarError> {
        self.rules.client(&bound.client_id).ok_or(RegistrarError::Unspecified)?;
        let nowhere = ExactUrl::new(NO_REDIRECT.to_owned()).map_err(|_| RegistrarError::PrimitiveError)?;
        Ok(BoundClient {
            client_id: bound.client_id,
            redirect_uri: std::borrow::Cow::Owned(RegisteredUrl::Exact(nowhere)),
        })
    }

    /// The scope of our own API: what the client holds, or the part of it that is asked for. More is refused, never cut.
    async fn negotiate<'a>(&self, client: BoundClient<'a>, scope: Option<Scope>) -> Result<PreGrant, RegistrarError> {
        let held = self.rules.client(&client.client_id).and_then(|client| client.scopes.clone());
        let held = held.ok_or(RegistrarError::Unspecified)?;
        let scope = match scope.map(|scope| ScopeSet::parse(&scope.to_string())) {
            None => held,
            Some(Ok(wanted)) if covers(&held, &wanted) => wanted,
            Some(_) => return Err(RegistrarError::Unspecified),
        };
        Ok(PreGrant {
            client_id: client.client_id.into_owned(),
            redirect_uri: client.redirect_uri.into_owned(),
            scope: scope.as_scope().clone(),
        })
    }

    async fn check(&self, client_id: &str, passphrase: Option<&[u8]>) -> Result<(), RegistrarError> {
        let client = self.rules.client(client_id).filter(|client| client.enabled);
        let secrets = match client.map(|client| &client.method) {
            Some(Method::SecretBasic(secrets) | Method::SecretPost(secrets)) => secrets.as_slice(),
            _ => &[],
        };
        let given = passphrase.and_then(|secret| std::str::from_utf8(secret).ok()).unwrap_or_default();
        // Somebody who is not registered takes as long as a wrong secret.
        if is_one_of(given, secrets, self.now) { Ok(()) } else { Err(RegistrarError::Unspecified) }
    }
}

/// How much of our own API an authenticated client gets: the scope asked for, if it holds that much.
pub async fn negotiate(
    client: &Client,
    wanted: Option<&ScopeSet>,
    rules: &Snapshot,
    now: Timestamp,
) -> Result<ScopeSet, Refusal> {
    let registrar = Registered { rules, now };
    let url = ClientUrl { client_id: std::borrow::Cow::Borrowed(&client.client_id), redirect_uri: None };
    let refused = |_| Refusal::parameter(Reason::ScopeNotGranted, "scope");
    let bound = registrar.bound_redirect(url).await.map_err(refused)?;
    let granted = registrar.negotiate(bound, wanted.map(|scope| scope.as_scope().clone())).await.map_err(refused)?;
    ScopeSet::parse(&granted.scope.to_string()).map_err(|_| Reason::Internal.into())
}
