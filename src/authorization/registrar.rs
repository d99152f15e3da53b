//! Clients as oxide-auth asks for them: whether a client may be answered at a redirect URI, and which
//! scopes it may ask for at all.

use std::borrow::Cow;
use std::sync::Arc;

use carnet_engine::client::redirect_uri_matches;
use carnet_engine::code_grant::OpenIdScope;
use carnet_engine::model::{Client, Snapshot};
use oxide_auth::primitives::registrar::{
    BoundClient, ClientUrl, ExactUrl, PreGrant, Registrar, RegistrarError,
};
use oxide_auth::primitives::scope::Scope;

use crate::grant_type::GrantType;
use crate::own_tokens::LOCAL_CLIENT;
use crate::reason::Reason;
use crate::scope::{ScopeSet, covers, is_admin_scope};

/// The clients of a snapshot.
#[derive(Debug)]
pub(super) struct Clients<'a>(pub &'a Snapshot);

impl Clients<'_> {
    /// The client that asks, and where it is answered: at the redirect URI that it names, or at its
    /// only one.
    pub(super) fn bound(
        &self,
        client_id: &str,
        redirect_uri: Option<&str>,
    ) -> Result<(Arc<Client>, String), Reason> {
        let client = self.0.client(client_id);
        let client = client.filter(|client| {
            client.enabled && client.grant_types.contains(&GrantType::AuthorizationCode)
        });
        let client = client.ok_or(Reason::ClientUnknown)?;
        let registered = &client.redirect_uris;
        let to = match (redirect_uri, registered.as_slice()) {
            (Some(sent), _) => registered
                .iter()
                .any(|one| redirect_uri_matches(one, sent))
                .then(|| sent.to_owned()),
            // A native client listens at a port that no registration knows.
            (None, [only]) if only.starts_with("https://") => Some(only.clone()),
            (None, _) => None,
        };
        let to = to.ok_or(Reason::RedirectUriUnregistered)?;
        Ok((client.clone(), to))
    }

    /// Whether the client may ask people for this scope. What each person may give is judged later.
    fn may_ask_for(&self, client: &Client, scope: &ScopeSet) -> bool {
        let (openid, others) = OpenIdScope::split(scope);
        let held = client.scopes.as_ref();
        let knows_person = openid
            .tokens()
            .all(|token| held.is_some_and(|held| held.contains(token)));
        let is_admin = |token: &str| {
            let wanted = ScopeSet::parse(token)
                .ok()
                .filter(|_| is_admin_scope(token));
            held.zip(wanted)
                .is_some_and(|(held, wanted)| covers(held, &wanted))
        };
        let is_action = |token: &str| {
            let everywhere = client.client_id == LOCAL_CLIENT;
            let mut servers = self.0.resource_servers().filter(|_| everywhere);
            let mut ceiling = client.permissions.iter();
            ceiling.any(|permission| permission.actions.iter().any(|action| action == token))
                || servers.any(|server| server.actions.iter().any(|action| action == token))
        };
        let others = others.iter().flat_map(ScopeSet::tokens);
        knows_person
            && others
                .into_iter()
                .all(|token| is_admin(token) || is_action(token))
    }
}

impl Registrar for Clients<'_> {
    fn bound_redirect<'a>(&self, bound: ClientUrl<'a>) -> Result<BoundClient<'a>, RegistrarError> {
        let sent = bound.redirect_uri.as_ref().map(|uri| uri.as_str());
        let (_, to) = self
            .bound(&bound.client_id, sent)
            .map_err(|_| RegistrarError::Unspecified)?;
        let to = ExactUrl::new(to).map_err(|_| RegistrarError::Unspecified)?;
        Ok(BoundClient {
            client_id: bound.client_id,
            redirect_uri: Cow::Owned(to.into()),
        })
    }

    fn negotiate(
        &self,
        bound: BoundClient<'_>,
        scope: Option<Scope>,
    ) -> Result<PreGrant, RegistrarError> {
        let client = self.0.client(&bound.client_id);
        let client = client.ok_or(RegistrarError::Unspecified)?;
        let scope = match scope {
            None => nothing().ok_or(RegistrarError::PrimitiveError)?,
            Some(wanted) => {
                let read = ScopeSet::parse(&wanted.to_string());
                let may = read.is_ok_and(|read| self.may_ask_for(client, &read));
                if !may {
                    return Err(RegistrarError::Unspecified);
                }
                wanted
            }
        };
        Ok(PreGrant {
            client_id: bound.client_id.into_owned(),
            redirect_uri: bound.redirect_uri.into_owned(),
            scope,
        })
    }

    /// Clients authenticate at the token endpoint before a code is looked at.
    fn check(&self, _: &str, _: Option<&[u8]>) -> Result<(), RegistrarError> {
        Err(RegistrarError::Unspecified)
    }
}

/// The scope of a request without one: what the person may give decides.
fn nothing() -> Option<Scope> {
    "".parse().ok()
}
