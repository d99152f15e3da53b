use std::sync::Arc;

use async_trait::async_trait;
use carnet_jose::{Compact, SigningError};
use chrono::{DateTime, Utc};
use oxide_auth::primitives::grant::{Extensions, Grant};
use oxide_auth::primitives::issuer::{IssuedToken, RefreshedToken, TokenType};
use oxide_auth_async::primitives::Issuer;
use serde::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::ScopeSet;
use crate::assertion::VerifiedAssertion;
use crate::clock::{Clock, Timestamp};
use crate::config::OwnUrls;
use crate::ids;
use crate::keys::KeyRing;
use crate::principal::Authorization;
use crate::reason::Reason;

/// Where a grant's redirect URI would be, had these grants one; oxide-auth's record asks for it and nothing reads it.
pub const NO_REDIRECT: &str = "https://redirect.invalid/";

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
    /// Its `authorization_details`, as JSON.
    pub authorization_details: Box<RawValue>,
    /// Its `workload`, as JSON.
    pub workload: Box<RawValue>,
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
    /// What it allows.
    pub scope: ScopeSet,
    /// When it ends.
    pub expires_at: Timestamp,
}

/// RFC 9068 section 2.2, and the members of contract section 4.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    principal: Option<PrincipalClaim<'a>>,
    client_id: &'a str,
    iat: i64,
    exp: i64,
    jti: &'a str,
    scope: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    authorization_details: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workload: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct PrincipalClaim<'a> {
    name: &'a str,
    kind: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<&'a str>,
}

/// What an assertion says of the workload it was given to, as tokens and audit events show it.
#[derive(Debug, Serialize)]
pub struct Workload<'a> {
    iss: &'a str,
    sub: &'a str,
    profile: &'a str,
    claims: Forwarded<'a>,
}

#[derive(Debug)]
struct Forwarded<'a>(&'a VerifiedAssertion);

impl Serialize for Forwarded<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.issuer().profile.forwarded(self.0.claims()))
    }
}

impl<'a> Workload<'a> {
    /// The workload of an assertion.
    pub fn of(assertion: &'a VerifiedAssertion) -> Self {
        let issuer = assertion.issuer();
        Self {
            iss: &issuer.issuer,
            sub: assertion.subject(),
            profile: &issuer.profile.name,
            claims: Forwarded(assertion),
        }
    }
}

impl TokenIssuer {
    /// Makes tokens in our name with these keys.
    pub fn new(own: OwnUrls, keys: Arc<KeyRing>, clock: Arc<dyn Clock>) -> Self {
        Self { own, keys, clock }
    }

    /// Makes the token that an authorization entitles to.
    pub fn mint(&self, authorization: &Authorization, client_id: &str, now: Timestamp) -> Result<Minted, MintError> {
        let entitlement = authorization.entitlement();
        let assertion = authorization.permit().assertion();
        let expires_at = expiry(authorization, now)?;
        let scope = entitlement.scope.to_string();
        let authorization_details = serde_json::value::to_raw_value(&entitlement.details)?;
        let token_id = Uuid::hyphenated(ids::new(now)).to_string();
        let workload = serde_json::value::to_raw_value(&Workload::of(assertion))?;
        let claims = Claims {
            iss: self.own.issuer(),
            aud: &entitlement.resource_server.resource,
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
            workload: Some(&workload),
        };
        let token = self.sign(&claims)?;
        let expires_in = expires_at.seconds().saturating_sub(now.seconds());
        Ok(Minted { token, token_id, expires_in, expires_at, scope, authorization_details, workload })
    }

    /// Makes a token for our own admin API.
    pub fn mint_admin(&self, grant: &AdminGrant, now: Timestamp) -> Result<String, MintError> {
        let token_id = Uuid::hyphenated(ids::new(now)).to_string();
        let scope = grant.scope.to_string();
        self.sign(&Claims {
            iss: self.own.issuer(),
            aud: &self.own.admin_resource(),
            sub: &grant.subject,
            principal: None,
            client_id: &grant.subject,
            iat: now.seconds(),
            exp: grant.expires_at.seconds(),
            jti: &token_id,
            scope: &scope,
            authorization_details: None,
            workload: None,
        })
    }

    fn sign(&self, claims: &Claims<'_>) -> Result<String, MintError> {
        let ring = self.keys.ring().ok_or(MintError::NoKey)?;
        let mut json = Vec::with_capacity(TYPICAL_CLAIMS_BYTES);
        serde_json::to_writer(&mut json, claims)?;
        ring.active().sign(&json).map_err(MintError::Signing)
    }

    /// Reads one of our own tokens for the admin API (RFC 9068 section 4); none if it is not one, or is over.
    pub fn recover_admin(&self, token: &str) -> Option<AdminGrant> {
        let jws = Compact::parse(token).ok()?;
        if !jws.header.is_type("at+jwt") {
            return None;
        }
        let ring = self.keys.ring()?;
        let key = ring.verifier(jws.header.algorithm.parse().ok()?, jws.header.key_id.as_deref()?)?;
        if !key.verifies(jws.signing_input.as_bytes(), &jws.signature) {
            return None;
        }
        let claims = jws.claims().ok()?;
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let ours = text("iss")? == self.own.issuer() && text("aud")? == self.own.admin_resource();
        let expires_at = Timestamp::from_seconds(claims.get("exp")?.as_i64()?);
        // Both clocks are ours: no leeway.
        if !ours || expires_at <= self.clock.now() {
            return None;
        }
        let scope = ScopeSet::parse(text("scope")?).ok()?;
        Some(AdminGrant { subject: text("sub")?.to_owned(), scope, expires_at })
    }
}

/// The resource server's lifetime, cut where the assertion or a credential ends sooner.
fn expiry(authorization: &Authorization, now: Timestamp) -> Result<Timestamp, MintError> {
    let entitlement = authorization.entitlement();
    let assertion = authorization.permit().assertion();
    let mut expires_at =
        Timestamp::from_seconds(now.seconds()).plus_seconds(entitlement.resource_server.token_lifetime_seconds);
    if let Some(end) = entitlement.ends_at() {
        expires_at = expires_at.min(Timestamp::from_seconds(end.seconds()));
        if expires_at.seconds() <= now.seconds() {
            return Err(MintError::Over("federated credential", Reason::CredentialExpired));
        }
    }
    if assertion.issuer().cap_at_assertion_expiry {
        expires_at = expires_at.min(Timestamp::from_seconds(assertion.expires_at().seconds()));
    }
    if expires_at.seconds() <= now.seconds() {
        return Err(MintError::Over("assertion", Reason::Expired));
    }
    Ok(expires_at)
}

impl AdminGrant {
    fn nobodys() -> Option<Grant> {
        let scope = ScopeSet::parse("none").ok()?;
        Self { subject: String::new(), scope, expires_at: Timestamp::from_seconds(0) }.to_grant()
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
        let admin = AdminGrant { subject: grant.owner_id, scope, expires_at };
        let token = self.mint_admin(&admin, self.clock.now()).map_err(|error| {
            tracing::error!(%error, "no admin token can be made");
        })?;
        Ok(IssuedToken { token, refresh: None, until: grant.until, token_type: TokenType::Bearer })
    }

    async fn refresh(&mut self, _: &str, _: Grant) -> Result<RefreshedToken, ()> {
        // There are no refresh tokens (decision D-18).
        Err(())
    }

    async fn recover_token(&mut self, token: &str) -> Result<Option<Grant>, ()> {
        match self.recover_admin(token) {
            Some(grant) => Ok(grant.to_grant()),
            // The flow answers `invalid_request` where there is no grant, and `invalid_token` for one that is over, which is what
            // RFC 6750 section 3.1 asks for a token that is not ours.
            None => Ok(AdminGrant::nobodys().map(|grant| Grant { until: DateTime::<Utc>::MIN_UTC, ..grant })),
        }
    }

    async fn recover_refresh(&mut self, _: &str) -> Result<Option<Grant>, ()> {
        Ok(None)
    }
}
