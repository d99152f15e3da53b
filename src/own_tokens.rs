//! Recognises our own access tokens when they are presented, and looks up what their validity
//! depends on. Whether a token is in force is decided in [`carnet_engine::own_token`].

use carnet_jose::Compact;

pub use carnet_engine::own_token::{Ended, FEDERATED, LOCAL_CLIENT, LiveToken, OwnToken};

use crate::clock::Timestamp;
use crate::config::OwnUrls;
use crate::keys::KeyRing;
use crate::model::DecisionContext;
use crate::opaque;
use crate::store::{Store, StoreError};

/// The state with which our own tokens are judged.
#[derive(Debug)]
pub struct OwnTokens<'a> {
    pub keys: &'a KeyRing,
    pub store: &'a Store,
    /// When the database was last restored from a backup.
    pub restored_at: Option<Timestamp>,
    /// The snapshot with which a token's client, rules and entries are compared, and the time.
    pub context: DecisionContext<'a>,
}

impl OwnTokens<'_> {
    /// The token of ours that this text is: a JWT by our signature, an opaque token by its hash.
    pub async fn recognise(&self, text: &str) -> Result<Option<OwnToken>, StoreError> {
        if text.contains('.') {
            return Ok(read_jwt(self.keys, self.context.own, text));
        }
        if !opaque::is_well_formed(text) {
            return Ok(None);
        }
        let claims = self.store.opaque_claims(&opaque::hash(text)).await?;
        let token = claims.and_then(|claims| OwnToken::read(serde_json::from_str(&claims).ok()?));
        Ok(token.map(OwnToken::as_opaque))
    }

    /// Checks expiry, revocation, the session of the person, the client, and the rules behind each
    /// entry.
    pub async fn in_force(&self, token: OwnToken) -> Result<Result<LiveToken, Ended>, StoreError> {
        // The database is not asked about tokens that are over anyway.
        if token.expires_at() <= self.context.now {
            return Ok(Err(Ended::Over));
        }
        if let Some(restored) = self.restored_at
            && token.claims().iat < restored.seconds()
        {
            return Ok(Err(Ended::BeforeRestore));
        }
        let mut descent = self.store.descent(&token.claims().jti).await?;
        if let Some(session) = &token.claims().sid {
            descent.is_signed_in = match session.parse() {
                Ok(session) => self.store.is_signed_in(session).await?,
                Err(_) => false,
            };
        }
        Ok(token.in_force(descent, &self.context))
    }
}

/// Verifies a JWT access token of ours: `typ`, signature and `iss`. Times are not checked.
pub fn read_jwt(keys: &KeyRing, own: &OwnUrls, text: &str) -> Option<OwnToken> {
    let jws = Compact::parse(text).ok()?;
    if !jws.header.is_type("at+jwt") {
        return None;
    }
    let ring = keys.ring()?;
    let key = ring.verifier(
        jws.header.algorithm.parse().ok()?,
        jws.header.key_id.as_deref()?,
    )?;
    if !key.verifies(jws.signing_input.as_bytes(), &jws.signature) {
        return None;
    }
    OwnToken::read(jws.claims().ok()?).filter(|token| token.claims().iss == own.issuer())
}
