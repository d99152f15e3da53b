//! Finds the token of an upload.

use axum::http::request::Parts;
use carnet_publish_protocols::credential::{Presented, presented};
use carnet_resource_server::{AccessToken, Rejection, Sent};
use secrecy::ExposeSecret as _;

use super::{Protocol, Registry};

impl Registry {
    /// Finds and verifies the token of an upload: `Authorization: Bearer` for every protocol, and
    /// the ways of its tools.
    pub(crate) async fn verify(&self, parts: &Parts) -> Result<AccessToken, Rejection> {
        let Some(protocol) = self.protocol.published_with() else {
            return self.verifier.verify_request(Sent::from(parts)).await;
        };
        let invalid = Rejection::InvalidRequest;
        match presented(protocol, &parts.headers).map_err(|unusable| invalid(unusable.as_str()))? {
            Presented::Token(token) => self.verifier.verify_token(token.expose_secret()).await,
            Presented::User { .. } if self.protocol == Protocol::Pypi => {
                Err(invalid("the user name must be `__token__`"))
            }
            Presented::Nothing | Presented::User { .. } => Err(Rejection::NoToken),
        }
    }
}
