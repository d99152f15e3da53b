//! What introspection and revocation have in common: a form about one token, from a client that proves itself or from nobody.

use super::received::Received;
use crate::app::App;
use crate::client::{self, ClientCredentials, ClientIdentity};
use crate::form::{ABOUT_A_TOKEN, TokenForm};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// A question about a token.
pub struct Question<'a> {
    /// Who asks.
    pub identity: ClientIdentity,
    form: TokenForm<'a>,
}

impl<'a> Question<'a> {
    /// Reads a request: form, then client (decision D-01).
    pub async fn read(app: &App, received: &'a Received) -> Result<Self, Refusal> {
        let form = received.form(app, &ABOUT_A_TOKEN)?;
        let identity = {
            let credentials = ClientCredentials::read(&form, &received.headers)?;
            client::authenticate(app, &credentials, received.address).await?
        };
        client::admit(app, &identity, client::FirstMatch::Refused).map_err(|denial| denial.refusal.of_client())?;
        Ok(Self { identity, form })
    }

    /// The token, once the asker may ask. A client's assertion is good for one request here too (RFC 7523 section 3, item 7).
    pub async fn token(&self, app: &App) -> Result<&str, Refusal> {
        let token = self.form.require("token")?;
        if let Some((key, until)) = self.identity.consumed() {
            match app.store.consume(&key, until).await {
                Ok(true) => {}
                Ok(false) => return Err(Refusal::new(Reason::Replay).of_client()),
                Err(error) => return Err(Refusal::unavailable(&error)),
            }
        }
        Ok(token)
    }
}
