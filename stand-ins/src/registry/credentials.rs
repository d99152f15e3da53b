//! Finds the token of an upload.

use axum::http::request::Parts;
use carnet_publish_protocols::credential::{Presented, presented};
use carnet_resource_server::{AccessToken, Rejection, Sent};
use secrecy::ExposeSecret as _;

use super::{Protocol, Registry};

impl Registry {
    /// Finds and verifies the token of an upload: `Authorization: Bearer` and, with a proof of
    /// possession, `Authorization: DPoP` for every protocol, and the ways of its tools. A token may be
    /// bound to the client certificate of the connection.
    pub(crate) async fn verify(&self, parts: &Parts) -> Result<AccessToken, Rejection> {
        let sent = Sent::from(parts);
        let protocol = match self.protocol.published_with() {
            Some(protocol) if !(self.verifier.takes_proofs() && sent.has_dpop_scheme()) => protocol,
            _ => {
                let verified = self.verifier.verify_request(sent).await?;
                return Ok(verified.token);
            }
        };
        let invalid = Rejection::InvalidRequest;
        match presented(protocol, &parts.headers).map_err(|unusable| invalid(unusable.as_str()))? {
            Presented::Token(token) => {
                let certificate = parts.extensions.get();
                let token = token.expose_secret();
                self.verifier.verify_token_over(token, certificate).await
            }
            Presented::User { .. } if self.protocol == Protocol::Pypi => {
                Err(invalid("the user name must be `__token__`"))
            }
            Presented::Nothing | Presented::User { .. } => Err(Rejection::NoToken),
        }
    }
}
