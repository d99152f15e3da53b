//! Client authentication: each client is registered for one method, and no other is accepted.

use std::net::IpAddr;
use std::sync::Arc;

use super::{ClientCredentials, ClientIdentity, Proof, assertion};
use crate::limits::RateLimiter;
use crate::model::{Client, DecisionContext, Method, is_one_of};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::upstream::UpstreamKeys;

/// The state with which clients are authenticated.
#[derive(Debug)]
pub struct Authentication<'a> {
    /// Snapshot of the rules, time, and our own URLs.
    pub context: &'a DecisionContext<'a>,
    /// The keys of trusted issuers and of clients.
    pub upstream: &'a UpstreamKeys,
    /// Limits the guessing of client secrets.
    pub limits: &'a RateLimiter,
    /// The caller's address, by which guesses are counted.
    pub address: Option<IpAddr>,
}

impl Authentication<'_> {
    /// Authenticates the client. Client authentication that is sent is checked even where the grant
    /// needs none (RFC 7523 section 3.1).
    pub async fn authenticate(&self, credentials: &ClientCredentials<'_>) -> Result<ClientIdentity, Refusal> {
        match credentials {
            ClientCredentials::None => Ok(ClientIdentity(None)),
            ClientCredentials::Named(client_id) => {
                let client = self.registered(client_id).ok_or_else(|| self.failed(client_id))?;
                // A client that can authenticate must do so (RFC 6749 section 3.2.1).
                match client.method {
                    Method::None => Ok(ClientIdentity(Some((client, Proof::None)))),
                    _ => Err(found("its method needs a proof, and there is none")),
                }
            }
            ClientCredentials::Basic(client_id, secret) => {
                self.by_secret(client_id, secret, |method| matches!(method, Method::SecretBasic(_)))
            }
            ClientCredentials::Post(client_id, secret) => {
                self.by_secret(client_id, secret, |method| matches!(method, Method::SecretPost(_)))
            }
            ClientCredentials::Assertion(kind, client_id, text) => {
                let (client, assertion) = assertion::verify(self, *kind, *client_id, text).await?;
                Ok(ClientIdentity(Some((client, Proof::Assertion(assertion)))))
            }
        }
    }

    /// The enabled client of this `client_id`.
    pub(super) fn registered(&self, client_id: &str) -> Option<Arc<Client>> {
        self.context.rules.client(client_id).filter(|client| client.enabled).cloned()
    }

    /// The refusal of a client that was not authenticated. The cause goes to the log only: the
    /// answer must not reveal which clients are registered.
    fn failed(&self, client_id: &str) -> Refusal {
        found(match self.context.rules.client(client_id) {
            None => "no client of this name",
            Some(client) if !client.enabled => "the client is disabled",
            Some(client) => match client.method {
                Method::SecretBasic(_) | Method::SecretPost(_) => "wrong secret",
                Method::None => "a public client has no secret",
                Method::PrivateKeyJwt(_) | Method::Federated(_) => "its method takes an assertion and no secret",
            },
        })
    }

    fn by_secret(
        &self,
        client_id: &str,
        secret: &str,
        uses: impl Fn(&Method) -> bool,
    ) -> Result<ClientIdentity, Refusal> {
        self.limits.check_secrets(client_id, self.address)?;
        let client = self.registered(client_id);
        let secrets = match client.as_ref().map(|client| &client.method) {
            Some(Method::SecretBasic(secrets) | Method::SecretPost(secrets)) => secrets.as_slice(),
            _ => &[],
        };
        // Compared for unknown clients too, so that the time does not reveal which clients are
        // registered.
        let is_right = is_one_of(secret, secrets, self.context.now);
        let Some(client) = client.filter(|_| is_right) else {
            self.limits.note_wrong_secret(client_id, self.address);
            return Err(self.failed(client_id));
        };
        // Libraries try one method after the other. A caller with the right client secret may learn
        // which method is registered, and is not counted as guessing.
        if !uses(&client.method) {
            let detail = match client.method {
                Method::SecretBasic(_) => "registered for client_secret_basic, used client_secret_post",
                _ => "registered for client_secret_post, used client_secret_basic",
            };
            return Err(Refusal::new(Reason::ClientMethodMismatch).with_detail(detail));
        }
        Ok(ClientIdentity(Some((client, Proof::Secret))))
    }
}

fn found(what: &str) -> Refusal {
    Refusal::new(Reason::ClientAuthenticationFailed).with_detail(what)
}
