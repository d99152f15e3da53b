use std::sync::Arc;

use async_trait::async_trait;
use carnet_jose::SigningError;
use carnet_resource_server::Actor;
use chrono::{DateTime, Utc};
use oxide_auth::primitives::grant::{Extensions, Grant};
use oxide_auth::primitives::issuer::{IssuedToken, RefreshedToken, TokenType};
use oxide_auth_async::primitives::Issuer;
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::claims::{Claims, PrincipalClaim, Workload};
use crate::clock::{Clock, Timestamp};
use crate::config::OwnUrls;
use crate::ids;
use crate::keys::KeyRing;
use crate::model::TokenFormat;
use crate::opaque;
use crate::own_tokens::{LOCAL_CLIENT, OwnToken, RestsOn, read_jwt};
use crate::principal::{Authorization, Grounds};
use crate::reason::Reason;
use crate::scope::ScopeSet;
use crate::store::OpaqueRecord;

/// Where a grant's redirect URI would be, had these grants one; oxide-auth's record asks for it and nothing reads it.
pub const NO_REDIRECT: &str = "https://redirect.invalid/";

/// The type of signed answers of introspection (RFC 9701 section 5).
const INTROSPECTION_TYPE: &str = "token-introspection+jwt";
/// Room for the claims of most tokens.
const TYPICAL_CLAIMS_BYTES: usize = 2048;

/// The one place where tokens are made.
#[derive(Clone, Debug)]
pub struct TokenIssuer {
    own: OwnUrls,
    keys: Arc<KeyRing>,
    clock: Arc<dyn Clock>,
}

/// A token that was made and is not recorded yet: it may not leave before that.
#[derive(Debug)]
pub struct Minted {
    /// The token.
    pub token: String,
    /// Its `jti`.
    pub token_id: String,
    /// How long it lives, in seconds.
    pub expires_in: i64,
    /// When it ends.
    pub expires_at: Timestamp,
    /// Its scope.
    pub scope: String,
    /// Its `authorization_details`, as JSON; tokens for our own API have none.
    pub authorization_details: Option<Box<RawValue>>,
    /// Its `workload`, as JSON, where there is one.
    pub workload: Option<Box<RawValue>>,
    /// What has to be kept of an opaque token.
    pub opaque: Option<OpaqueRecord>,
}

/// Somebody who acts for the subject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acting {
    /// The `act` claim (RFC 8693 section 4.1).
    pub act: Actor,
    /// When the right to act ends, if that is known.
    pub until: Option<Timestamp>,
}

/// Why no token can be made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// There is no time left for it.
    #[error("nothing is left of the {0}")]
    Over(&'static str, Reason),
    /// A signing key is missing or failed.
    #[error("the token cannot be signed: {0}")]
    Signing(SigningError),
    /// No signing key is there.
    #[error("there is no signing key")]
    NoKey,
    /// The claims cannot be written as JSON.
    #[error("the claims cannot be written: {0}")]
    Claims(#[from] serde_json::Error),
}

/// A grant for our own admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminGrant {
    /// Who holds it.
    pub subject: String,
    /// The client it was issued to, if that is a registered one.
    pub client: Option<String>,
    /// What it allows.
    pub scope: ScopeSet,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The rules that admitted a client without a key of its own.
    pub rests_on: Vec<RestsOn>,
}

impl TokenIssuer {
    /// Makes tokens in our name with these keys.
    pub fn new(own: OwnUrls, keys: Arc<KeyRing>, clock: Arc<dyn Clock>) -> Self {
        Self { own, keys, clock }
    }

    /// Makes the token that an authorization entitles to, in the format of its resource server.
    pub fn mint(
        &self,
        authorization: &Authorization,
        client_id: &str,
        acting: Option<&Acting>,
        now: Timestamp,
    ) -> Result<Minted, MintError> {
        let entitlement = authorization.entitlement();
        let server = &entitlement.resource_server;
        let expires_at = expiry(authorization, acting, now)?;
        let scope = entitlement.scope.to_string();
        let authorization_details = serde_json::value::to_raw_value(&entitlement.details)?;
        let token_id = Uuid::hyphenated(ids::new(now)).to_string();
        let workload = match authorization.grounds() {
            Grounds::Workload(permit) => Some(serde_json::value::to_raw_value(&Workload::of(permit.assertion()))?),
            Grounds::Token(token) => {
                token.claims().workload.as_ref().map(serde_json::value::to_raw_value).transpose()?
            }
            Grounds::Client(_) => None,
        };
        let claims = Claims {
            iss: self.own.issuer(),
            aud: &server.resource,
            sub: &entitlement.subject,
            principal: entitlement.principal.as_ref().map(|principal| PrincipalClaim {
                name: &principal.name,
                kind: principal.kind.as_str(),
                external_id: principal.external_id.as_deref(),
            }),
            client_id,
            iat: now.seconds(),
            exp: expires_at.seconds(),
            jti: &token_id,
            scope: &scope,
            authorization_details: Some(&authorization_details),
            workload: workload.as_deref(),
            act: acting.map(|acting| &acting.act),
            rests_on: &[],
        };
        let (token, opaque) = match server.token_format {
            TokenFormat::Jwt => (self.sign(&claims)?, None),
            TokenFormat::Opaque => {
                let token = opaque::generate(&server.token_prefix);
                let (hash, claims) = (opaque::hash(&token), serde_json::to_string(&claims)?);
                (token, Some(OpaqueRecord { hash, claims, expires_at }))
            }
        };
        let expires_in = expires_at.seconds().saturating_sub(now.seconds());
        let authorization_details = Some(authorization_details);
        Ok(Minted { token, token_id, expires_in, expires_at, scope, authorization_details, workload, opaque })
    }

    /// Makes a token for our own admin API.
    pub fn mint_admin(&self, grant: &AdminGrant, now: Timestamp) -> Result<Minted, MintError> {
        let token_id = Uuid::hyphenated(ids::new(now)).to_string();
        let scope = grant.scope.to_string();
        let token = self.sign(&Claims {
            iss: self.own.issuer(),
            aud: &self.own.admin_resource(),
            sub: &grant.subject,
            principal: None,
            client_id: grant.client.as_deref().unwrap_or(LOCAL_CLIENT),
            iat: now.seconds(),
            exp: grant.expires_at.seconds(),
            jti: &token_id,
            scope: &scope,
            authorization_details: None,
            workload: None,
            act: None,
            rests_on: &grant.rests_on,
        })?;
        let expires_in = grant.expires_at.seconds().saturating_sub(now.seconds());
        Ok(Minted {
            token,
            token_id,
            expires_in,
            expires_at: grant.expires_at,
            scope,
            authorization_details: None,
            workload: None,
            opaque: None,
        })
    }

    /// Signs the answer of an introspection for its one recipient (RFC 9701 section 5). Its type and its shape keep it from being
    /// taken for an access token.
    pub fn sign_introspection(&self, recipient: &str, answer: &Value, now: Timestamp) -> Result<String, MintError> {
        let ring = self.keys.ring().ok_or(MintError::NoKey)?;
        let claims = serde_json::json!({
            "iss": self.own.issuer(), "aud": recipient, "iat": now.seconds(), "token_introspection": answer,
        });
        ring.active().sign_typed(INTROSPECTION_TYPE, claims.to_string().as_bytes()).map_err(MintError::Signing)
    }

    fn sign(&self, claims: &Claims<'_>) -> Result<String, MintError> {
        let ring = self.keys.ring().ok_or(MintError::NoKey)?;
        let mut json = Vec::with_capacity(TYPICAL_CLAIMS_BYTES);
        serde_json::to_writer(&mut json, claims)?;
        ring.active().sign(&json).map_err(MintError::Signing)
    }

    /// Reads one of our own tokens for the admin API (RFC 9068 section 4); none if it is not one, or is over.
    pub fn recover_admin(&self, token: &str) -> Option<(AdminGrant, OwnToken)> {
        let token = read_jwt(&self.keys, &self.own, token)?;
        let claims = token.claims();
        // Both clocks are ours: no leeway.
        if claims.aud != self.own.admin_resource() || token.expires_at() <= self.clock.now() {
            return None;
        }
        let client = Some(claims.client_id.clone()).filter(|client| client != LOCAL_CLIENT);
        let scope = ScopeSet::parse(&claims.scope).ok()?;
        let (subject, expires_at) = (claims.sub.clone(), token.expires_at());
        let grant = AdminGrant { subject, client, scope, expires_at, rests_on: Vec::new() };
        Some((grant, token))
    }
}

/// The resource server's lifetime, cut where something that the token rests on ends sooner.
fn expiry(authorization: &Authorization, acting: Option<&Acting>, now: Timestamp) -> Result<Timestamp, MintError> {
    let entitlement = authorization.entitlement();
    let mut expires_at =
        Timestamp::from_seconds(now.seconds()).plus_seconds(entitlement.resource_server.token_lifetime_seconds);
    if let Some(end) = entitlement.ends_at() {
        expires_at = expires_at.min(Timestamp::from_seconds(end.seconds()));
        if expires_at.seconds() <= now.seconds() {
            return Err(MintError::Over("federated credential", Reason::CredentialExpired));
        }
    }
    if let Some(end) = acting.and_then(|acting| acting.until) {
        expires_at = expires_at.min(Timestamp::from_seconds(end.seconds()));
        if expires_at.seconds() <= now.seconds() {
            return Err(MintError::Over("actor's token or rule", Reason::ActorNotAllowed));
        }
    }
    let (end, what, reason) = match authorization.grounds() {
        Grounds::Workload(permit) if permit.assertion().issuer().cap_at_assertion_expiry => {
            (permit.assertion().expires_at().seconds(), "assertion", Reason::Expired)
        }
        // An exchange never makes a token live longer.
        Grounds::Token(token) => (token.expires_at().seconds(), "subject token", Reason::SubjectTokenInactive),
        Grounds::Workload(_) | Grounds::Client(_) => return Ok(expires_at),
    };
    expires_at = expires_at.min(Timestamp::from_seconds(end));
    if expires_at.seconds() <= now.seconds() { Err(MintError::Over(what, reason)) } else { Ok(expires_at) }
}

impl AdminGrant {
    fn nobodys() -> Option<Grant> {
        let scope = ScopeSet::parse("none").ok()?;
        let expires_at = Timestamp::from_seconds(0);
        Self { subject: String::new(), client: None, scope, expires_at, rests_on: Vec::new() }.to_grant()
    }

    fn to_grant(&self) -> Option<Grant> {
        Some(Grant {
            owner_id: self.subject.clone(),
            client_id: self.subject.clone(),
            scope: self.scope.as_scope().clone(),
            redirect_uri: NO_REDIRECT.parse().ok()?,
            // oxide-auth compares with the machine's clock; what is over by ours never gets here.
            until: DateTime::<Utc>::MAX_UTC,
            extensions: Extensions::new(),
        })
    }
}

/// oxide-auth's view of the issuer, which its resource flow asks for the grant behind a token.
#[async_trait]
impl Issuer for TokenIssuer {
    async fn issue(&mut self, grant: Grant) -> Result<IssuedToken, ()> {
        let scope = ScopeSet::parse(&grant.scope.to_string()).map_err(|_| ())?;
        let expires_at = Timestamp::from_millis(grant.until.timestamp_millis());
        let admin = AdminGrant { subject: grant.owner_id, client: None, scope, expires_at, rests_on: Vec::new() };
        let minted = self.mint_admin(&admin, self.clock.now()).map_err(|error| {
            tracing::error!(%error, "no admin token can be made");
        })?;
        Ok(IssuedToken { token: minted.token, refresh: None, until: grant.until, token_type: TokenType::Bearer })
    }

    async fn refresh(&mut self, _: &str, _: Grant) -> Result<RefreshedToken, ()> {
        // There are no refresh tokens (decision D-18).
        Err(())
    }

    async fn recover_token(&mut self, token: &str) -> Result<Option<Grant>, ()> {
        match self.recover_admin(token) {
            Some((grant, _)) => Ok(grant.to_grant()),
            // The flow answers `invalid_request` where there is no grant, and `invalid_token` for one that is over, which is what
            // RFC 6750 section 3.1 asks for a token that is not ours.
            None => Ok(AdminGrant::nobodys().map(|grant| Grant { until: DateTime::<Utc>::MIN_UTC, ..grant })),
        }
    }

    async fn recover_refresh(&mut self, _: &str) -> Result<Option<Grant>, ()> {
        Ok(None)
    }
}
