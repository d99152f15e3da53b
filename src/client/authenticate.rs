//! Client authentication: each client is registered for one method, and no other is accepted.

use std::net::IpAddr;
use std::sync::Arc;

use super::assertion::{self, unverified_tells_nothing};
use super::certificate::usable;
use super::{ClientCredentials, ClientIdentity};
use crate::limits::RateLimiter;
use crate::model::{Client, DecisionContext, Method, TrustedIssuer};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::tls::ClientCertificate;
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
    /// The client certificate of the connection.
    pub certificate: Option<&'a ClientCertificate>,
}

impl Authentication<'_> {
    /// Authenticates the client. Client authentication that is sent is checked even where the grant
    /// needs none (RFC 7523 section 3.1).
    pub async fn authenticate(
        &self,
        credentials: &ClientCredentials<'_>,
    ) -> Result<ClientIdentity, Refusal> {
        match credentials {
            ClientCredentials::None => Ok(ClientIdentity::nobody()),
            ClientCredentials::Named(client_id) => {
                let client = self
                    .registered(client_id)
                    .ok_or_else(|| self.failed(client_id))?;
                if let Method::SelfSignedTls(issuer) = &client.method {
                    return self.by_certificate(&client, issuer).await;
                }
                // A client that can authenticate must do so (RFC 6749 section 3.2.1).
                let public = ClientIdentity::public(client);
                public.ok_or_else(|| found("its method needs a proof, and there is none"))
            }
            ClientCredentials::Basic(client_id, secret) => {
                self.by_secret(client_id, secret, |method| {
                    matches!(method, Method::SecretBasic(_))
                })
            }
            ClientCredentials::Post(client_id, secret) => {
                self.by_secret(client_id, secret, |method| {
                    matches!(method, Method::SecretPost(_))
                })
            }
            ClientCredentials::Assertion(kind, client_id, text) => {
                let (client, assertion) = assertion::verify(self, *kind, *client_id, text).await?;
                Ok(ClientIdentity::by_assertion(client, assertion))
            }
        }
    }

    /// The enabled client of this `client_id`.
    pub(super) fn registered(&self, client_id: &str) -> Option<Arc<Client>> {
        self.context
            .rules
            .client(client_id)
            .filter(|client| client.enabled)
            .cloned()
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
                Method::PrivateKeyJwt(_) | Method::Federated(_) => {
                    "its method takes an assertion and no secret"
                }
                Method::SelfSignedTls(_) => "its method takes a client certificate and no secret",
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
        let identity =
            ClientIdentity::by_secret(self.registered(client_id), secret, self.context.now);
        let Some((identity, client)) =
            identity.and_then(|known| Some((known.clone(), known.client()?.clone())))
        else {
            self.limits.note_wrong_secret(client_id, self.address);
            return Err(self.failed(client_id));
        };
        // Libraries try one method after the other. A caller with the right client secret may learn
        // which method is registered, and is not counted as guessing.
        if !uses(&client.method) {
            let detail = match client.method {
                Method::SecretBasic(_) => {
                    "registered for client_secret_basic, used client_secret_post"
                }
                _ => "registered for client_secret_post, used client_secret_basic",
            };
            return Err(Refusal::new(Reason::ClientMethodMismatch).with_detail(detail));
        }
        Ok(identity)
    }
}

impl Authentication<'_> {
    /// Authenticates a client by the certificate of the connection (RFC 8705 section 2.2).
    async fn by_certificate(
        &self,
        client: &Arc<Client>,
        issuer: &Arc<TrustedIssuer>,
    ) -> Result<ClientIdentity, Refusal> {
        let certificate = self
            .certificate
            .ok_or_else(|| found("its method needs a client certificate, and there is none"))?;
        let thumbprint = certificate.thumbprint();
        let registered = self.upstream.certificates_of(issuer, thumbprint).await;
        let registered = registered.map_err(unverified_tells_nothing)?;
        let identity =
            ClientIdentity::by_certificate(client.clone(), thumbprint, registered.certificates());
        let identity =
            identity.ok_or_else(|| found("the certificate is not one of the client's"))?;
        // Told to its owner alone: anybody else must not learn which clients are registered.
        usable(certificate, self.context.now).map_err(Refusal::of_client)?;
        Ok(identity)
    }
}

fn found(what: &str) -> Refusal {
    Refusal::new(Reason::ClientAuthenticationFailed).with_detail(what)
}
