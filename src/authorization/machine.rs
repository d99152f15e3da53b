//! An authorization request on its way through oxide-auth's machine (RFC 6749 section 4.1.1, RFC 7636
//! section 4.3).

use std::borrow::Cow;

use carnet_engine::model::Snapshot;
use oxide_auth::code_grant::authorization::{Authorization, Input, Output, Request};
use oxide_auth::code_grant::extensions::Pkce;
use oxide_auth::primitives::grant::{Extensions, Value};
use oxide_auth::primitives::registrar::{ClientUrl, Registrar as _};

use super::registrar::Clients;
use crate::form::TokenForm;
use crate::reason::Reason;
use crate::refusal::Refusal;

/// A request as oxide-auth reads it.
struct Sent<'a>(&'a TokenForm<'a>);

impl Sent<'_> {
    fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        self.0.get(name).map(Cow::Borrowed)
    }
}

impl Request for Sent<'_> {
    fn valid(&self) -> bool {
        true
    }

    fn client_id(&self) -> Option<Cow<'_, str>> {
        self.get("client_id")
    }

    fn scope(&self) -> Option<Cow<'_, str>> {
        self.get("scope")
    }

    fn redirect_uri(&self) -> Option<Cow<'_, str>> {
        self.get("redirect_uri")
    }

    fn state(&self) -> Option<Cow<'_, str>> {
        self.get("state")
    }

    fn response_type(&self) -> Option<Cow<'_, str>> {
        self.get("response_type")
    }

    fn extension(&self, key: &str) -> Option<Cow<'_, str>> {
        self.get(key)
    }
}

/// Takes the request through oxide-auth's machine, and returns the code challenge as it keeps it.
pub(super) fn machine(form: &TokenForm<'_>, rules: &Snapshot) -> Result<String, Refusal> {
    let (sent, clients, pkce) = (Sent(form), Clients(rules), Pkce::required());
    let mut machine = Authorization::new(&sent);
    // Why the machine would fail at the present step.
    let mut reason = Reason::ClientUnknown;
    let mut input = Input::None;
    loop {
        input = match machine.advance(input) {
            Output::Bind {
                client_id,
                redirect_uri,
            } => {
                let url = ClientUrl {
                    client_id: Cow::Owned(client_id),
                    redirect_uri: redirect_uri.map(Cow::Owned),
                };
                let bound_client = clients.bound_redirect(url);
                let bound_client = bound_client.map_err(|_| Reason::RedirectUriUnregistered)?;
                let is_code = form.get("response_type") == Some("code");
                reason = if is_code {
                    Reason::ScopeMalformed
                } else {
                    Reason::ResponseTypeUnsupported
                };
                Input::Bound {
                    request: &sent,
                    bound_client,
                }
            }
            Output::Extend => {
                let challenge = (
                    sent.get("code_challenge_method"),
                    sent.get("code_challenge"),
                );
                let challenge = pkce.challenge(challenge.0, challenge.1);
                let challenge = challenge.ok().flatten().ok_or(Reason::PkceRequired)?;
                let mut extensions = Extensions::new();
                extensions.set(&pkce, challenge);
                Input::Extended(extensions)
            }
            Output::Negotiate {
                bound_client,
                scope,
            } => {
                let pre_grant = clients.negotiate(bound_client.clone(), scope);
                let pre_grant = pre_grant.map_err(|_| {
                    Refusal::parameter(Reason::ScopeNotGranted, "scope").received(form.get("scope"))
                })?;
                let state = form.get("state").map(str::to_owned);
                Input::Negotiated { pre_grant, state }
            }
            Output::Ok { mut extensions, .. } => {
                let challenge = extensions.remove(&pkce).map(Value::into_private_value);
                let challenge = challenge.and_then(Result::ok).flatten();
                return challenge.ok_or_else(|| Reason::PkceRequired.into());
            }
            Output::Err(_) => return Err(reason.into()),
        };
    }
}
