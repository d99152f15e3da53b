//! Mints access tokens: JWTs for resource servers and the admin API, and opaque tokens. The record
//! of a token is written by the caller, before the token leaves.

use std::sync::Arc;

use carnet_engine::code_grant::CodeGrant;
use carnet_engine::people::PersonClaims;
use carnet_jose::{Algorithm, SigningError, base64url, sha256};
use carnet_resource_server::{Confirmation, WorkloadClaim};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use uuid::Uuid;

use super::claims::{AccessTokenClaims, PrincipalClaim};
use crate::assertion::{AcceptedAssertion, Assertion as _, Workload};
use crate::clock::{Clock, Timestamp};
use crate::config::OwnUrls;
use crate::decision::{AdminGrant, Authorization, Grounds, UserinfoGrant};
use crate::ids;
use crate::keys::KeyRing;
use crate::model::TokenFormat;
use crate::opaque;
use crate::own_tokens::{LOCAL_CLIENT, OwnToken, read_jwt};
use crate::possession::Possession;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scope::ScopeSet;
use crate::store::{OpaqueRecord, Recorded};

/// `typ` of signed introspection answers (RFC 9701 section 5).
const INTROSPECTION_TYPE: &str = "token-introspection+jwt";
/// `typ` of ID tokens (RFC 7515 section 4.1.9).
const ID_TOKEN_TYPE: &str = "JWT";
/// Initial capacity in bytes: the claims of most tokens fit.
const TYPICAL_CLAIMS_BYTES: usize = 2048;

/// Mints access tokens. No other type does.
#[derive(Clone, Debug)]
pub struct TokenIssuer {
    own: OwnUrls,
    keys: Arc<KeyRing>,
    clock: Arc<dyn Clock>,
}

/// A minted token. Its text can be read from [`Recorded`] only: it must not be sent before its
/// record is durable.
#[derive(Debug)]
pub struct Minted {
    token: String,
    /// The `jti` claim.
    pub token_id: String,
    pub client_id: String,
    /// Lifetime in seconds.
    pub expires_in: i64,
    pub expires_at: Timestamp,
    pub scope: String,
    /// The claim as JSON. Admin tokens have none.
    pub authorization_details: Option<Box<RawValue>>,
    /// How many permitted entries did not fit; `None` if all did.
    pub entries_left_out: Option<usize>,
    /// The claim as JSON, if the token has it.
    pub workload: Option<Box<RawValue>>,
    /// The key that the token is bound to.
    pub confirmation: Option<Confirmation>,
    /// The record of an opaque token. A JWT needs none.
    pub opaque: Option<OpaqueRecord>,
    /// The ID token that goes with it (OpenID Connect Core 1.0 section 3.1.3.3). Like the token, its
    /// text can be read once the record is durable.
    id_token: Option<String>,
}

impl Recorded<Minted> {
    /// The text of the token.
    pub fn access_token(&self) -> &str {
        &self.get().token
    }

    /// The text of the ID token, if the client asked for one.
    pub fn id_token(&self) -> Option<&str> {
        self.get().id_token.as_deref()
    }
}

/// Why a token cannot be minted.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// The signing key failed.
    #[error("the token cannot be signed: {0}")]
    Signing(SigningError),
    /// No signing key is loaded.
    #[error("there is no signing key")]
    NoKey,
    /// The claims cannot be serialized as JSON.
    #[error("the claims cannot be written: {0}")]
    Claims(#[from] serde_json::Error),
}

impl From<MintError> for Refusal {
    fn from(error: MintError) -> Self {
        Self::new(Reason::Internal).with_detail(error.to_string())
    }
}

impl TokenIssuer {
    pub fn new(own: OwnUrls, keys: Arc<KeyRing>, clock: Arc<dyn Clock>) -> Self {
        Self { own, keys, clock }
    }

    /// Mints the token that a decision authorizes, in the token format of its resource server.
    pub fn mint(
        &self,
        authorization: &Authorization<AcceptedAssertion>,
        client_id: String,
        now: Timestamp,
    ) -> Result<Minted, MintError> {
        let entitlement = authorization.entitlement();
        let server = &entitlement.resource_server;
        let expires_at = authorization.expires_at();
        let scope = entitlement.scope.to_string();
        let authorization_details = serde_json::value::to_raw_value(&entitlement.details)?;
        let token_id = Uuid::hyphenated(ids::new(now)).to_string();
        let Possession { level, key } = authorization.possession();
        let person = match authorization.grounds() {
            Grounds::Person(permit) => Some(PersonClaims::from(permit.person())),
            // An exchange loses no person.
            Grounds::Token(token) => PersonClaims::of(token.claims()),
            Grounds::Workload(_) | Grounds::Client(_) => None,
        };
        let person = person.as_ref();
        let workload = match authorization.grounds() {
            Grounds::Workload(permit) => {
                let workload = Workload::of(permit.assertion().content()).proved(*level);
                Some(serde_json::value::to_raw_value(&workload)?)
            }
            Grounds::Token(token) => {
                let workload = token
                    .claims()
                    .workload
                    .clone()
                    .map(|workload| WorkloadClaim {
                        proof: *level,
                        ..workload
                    });
                workload
                    .as_ref()
                    .map(serde_json::value::to_raw_value)
                    .transpose()?
            }
            Grounds::Client(_) | Grounds::Person(_) => None,
        };
        let claims = AccessTokenClaims {
            iss: self.own.issuer(),
            aud: &server.resource,
            sub: &entitlement.subject,
            principal: entitlement
                .principal
                .as_ref()
                .map(|principal| PrincipalClaim {
                    name: &principal.name,
                    kind: principal.kind.as_str(),
                    external_id: principal.external_id.as_deref(),
                }),
            client_id: &client_id,
            iat: now.seconds(),
            exp: expires_at.seconds(),
            jti: &token_id,
            scope: &scope,
            authorization_details: Some(&authorization_details),
            workload: workload.as_deref(),
            act: authorization.act(),
            cnf: key.as_ref(),
            rests_on: &[],
            ..of_person(person)
        };
        let (token, opaque) = match entitlement.format {
            TokenFormat::Jwt => (self.sign(&claims)?, None),
            TokenFormat::Opaque => {
                let token = opaque::generate(&server.token_prefix);
                let (hash, claims) = (opaque::hash(&token), serde_json::to_string(&claims)?);
                (
                    token,
                    Some(OpaqueRecord {
                        hash,
                        claims,
                        expires_at,
                    }),
                )
            }
        };
        let expires_in = expires_at.seconds().saturating_sub(now.seconds());
        let authorization_details = Some(authorization_details);
        let entries_left_out = Some(entitlement.left_out).filter(|left_out| *left_out > 0);
        Ok(Minted {
            token,
            token_id,
            client_id,
            expires_in,
            expires_at,
            scope,
            authorization_details,
            entries_left_out,
            workload,
            confirmation: key.clone(),
            opaque,
            id_token: None,
        })
    }

    /// Mints a token for the admin API.
    pub fn mint_admin(&self, grant: &AdminGrant, now: Timestamp) -> Result<Minted, MintError> {
        let client_id = grant.client.as_deref().unwrap_or(LOCAL_CLIENT);
        self.mint_own(
            AccessTokenClaims {
                aud: &self.own.admin_resource(),
                sub: &grant.subject,
                client_id,
                cnf: grant.confirmation.as_ref(),
                rests_on: &grant.rests_on,
                ..of_person(grant.person.as_ref())
            },
            (&grant.scope, grant.expires_at),
            now,
        )
    }

    /// Mints a token for the userinfo endpoint.
    pub fn mint_userinfo(
        &self,
        grant: &UserinfoGrant,
        now: Timestamp,
    ) -> Result<Minted, MintError> {
        self.mint_own(
            AccessTokenClaims {
                aud: &self.own.userinfo(),
                sub: &grant.subject,
                client_id: &grant.client,
                cnf: grant.confirmation.as_ref(),
                ..of_person(Some(&grant.person))
            },
            (&grant.scope, grant.expires_at),
            now,
        )
    }

    /// Mints a token for one of our own endpoints.
    fn mint_own(
        &self,
        claims: AccessTokenClaims<'_>,
        (scope, expires_at): (&ScopeSet, Timestamp),
        now: Timestamp,
    ) -> Result<Minted, MintError> {
        let token_id = Uuid::hyphenated(ids::new(now)).to_string();
        let scope = scope.to_string();
        let claims = AccessTokenClaims {
            iss: self.own.issuer(),
            iat: now.seconds(),
            exp: expires_at.seconds(),
            jti: &token_id,
            scope: &scope,
            ..claims
        };
        let token = self.sign(&claims)?;
        let (client_id, confirmation) = (claims.client_id.to_owned(), claims.cnf.cloned());
        Ok(Minted {
            token,
            token_id,
            client_id,
            expires_in: expires_at.seconds().saturating_sub(now.seconds()),
            expires_at,
            scope,
            authorization_details: None,
            entries_left_out: None,
            workload: None,
            confirmation,
            opaque: None,
            id_token: None,
        })
    }

    /// Adds an ID token (OpenID Connect Core 1.0 sections 2 and 3.1.3.6), and tells the client of the
    /// scopes of OpenID Connect that it got.
    pub fn with_id_token(
        &self,
        minted: Minted,
        code: &CodeGrant,
        now: Timestamp,
    ) -> Result<Minted, MintError> {
        let ring = self.keys.ring().ok_or(MintError::NoKey)?;
        let (key, person) = (ring.active(), &code.person);
        let mut claims = json!({
            "iss": self.own.issuer(), "sub": person.id, "aud": minted.client_id, "iat": now.seconds(),
            "exp": minted.expires_at.seconds(), "sid": person.session,
        });
        let of_profile = Some(()).filter(|()| code.request.openid.profile);
        let of_email = Some(()).filter(|()| code.request.openid.email);
        let left_half = left_half_of_hash(&minted.token, key.public().algorithm());
        let optional = [
            ("nonce", code.nonce.clone().map(Value::from)),
            ("auth_time", person.auth_time.map(|at| at.seconds().into())),
            ("acr", person.acr.clone().map(Value::from)),
            ("amr", (!person.amr.is_empty()).then(|| json!(person.amr))),
            ("at_hash", left_half.map(Value::from)),
            ("name", of_profile.and(person.name.clone()).map(Value::from)),
            (
                "preferred_username",
                of_profile.and(person.username.clone()).map(Value::from),
            ),
            ("email", of_email.and(person.email.clone()).map(Value::from)),
        ];
        if let Some(members) = claims.as_object_mut() {
            let given = optional.into_iter();
            members.extend(given.filter_map(|(name, value)| Some((name.to_owned(), value?))));
        }
        let id_token = key
            .sign_typed(ID_TOKEN_TYPE, claims.to_string().as_bytes())
            .map_err(MintError::Signing)?;
        let openid: Vec<&str> = code.request.openid.tokens().collect();
        let granted = ScopeSet::of(openid.into_iter().chain(minted.scope.split(' ')));
        let scope = granted.map_or_else(|| minted.scope.clone(), |scope| scope.to_string());
        Ok(Minted {
            id_token: Some(id_token),
            scope,
            ..minted
        })
    }

    /// Signs an introspection answer for its one recipient (RFC 9701 section 5). Its `typ` and its
    /// claims keep it from being accepted as an access token.
    pub fn sign_introspection(
        &self,
        recipient: &str,
        answer: &Value,
        now: Timestamp,
    ) -> Result<String, MintError> {
        let ring = self.keys.ring().ok_or(MintError::NoKey)?;
        let claims = serde_json::json!({
            "iss": self.own.issuer(), "aud": recipient, "iat": now.seconds(), "token_introspection": answer,
        });
        ring.active()
            .sign_typed(INTROSPECTION_TYPE, claims.to_string().as_bytes())
            .map_err(MintError::Signing)
    }

    fn sign(&self, claims: &AccessTokenClaims<'_>) -> Result<String, MintError> {
        let ring = self.keys.ring().ok_or(MintError::NoKey)?;
        let mut json = Vec::with_capacity(TYPICAL_CLAIMS_BYTES);
        serde_json::to_writer(&mut json, claims)?;
        ring.active().sign(&json).map_err(MintError::Signing)
    }

    /// Why a text is no token that the admin API takes, for whoever holds it.
    pub fn why_not_admin(&self, token: &str) -> &'static str {
        match read_jwt(&self.keys, &self.own, token) {
            None => "the token is not one of this server, or its signing key was withdrawn",
            Some(token) if token.claims().aud != self.own.admin_resource() => {
                "the token is for a registry, and not for the admin API"
            }
            Some(token) if token.expires_at() <= self.clock.now() => "the token has expired",
            Some(_) => "the token is not valid for the admin API",
        }
    }

    /// Recovers a token for the admin API (RFC 9068 section 4). `None` for other tokens and for
    /// expired ones.
    pub fn recover_admin(&self, token: &str) -> Option<(AdminGrant, OwnToken)> {
        let token = read_jwt(&self.keys, &self.own, token)?;
        let claims = token.claims();
        // No leeway: our own clock set `exp`.
        if claims.aud != self.own.admin_resource() || token.expires_at() <= self.clock.now() {
            return None;
        }
        let is_local = claims.client_id == LOCAL_CLIENT && claims.person.is_none();
        let client = (!is_local).then(|| claims.client_id.clone());
        let scope = ScopeSet::parse(&claims.scope).ok()?;
        let (subject, expires_at) = (claims.sub.clone(), token.expires_at());
        let grant = AdminGrant {
            subject,
            client,
            scope,
            expires_at,
            confirmation: claims.cnf.clone(),
            rests_on: Vec::new(),
            person: PersonClaims::of(claims),
        };
        Some((grant, token))
    }
}

/// The claims about the person, and every other claim empty.
fn of_person(person: Option<&PersonClaims>) -> AccessTokenClaims<'_> {
    AccessTokenClaims {
        person: person.map(|claims| &claims.person),
        sid: person.map(|claims| claims.sid.as_str()),
        auth_time: person.and_then(|claims| claims.auth_time),
        acr: person.and_then(|claims| claims.acr.as_deref()),
        amr: person
            .map(|claims| claims.amr.as_slice())
            .unwrap_or_default(),
        ..AccessTokenClaims::default()
    }
}

/// `at_hash`: the left half of the token's hash, by the hash function of the signature. `None` for
/// `EdDSA`, whose hash function no specification names.
fn left_half_of_hash(token: &str, algorithm: Algorithm) -> Option<String> {
    let is_sha256 = matches!(
        algorithm,
        Algorithm::ES256 | Algorithm::RS256 | Algorithm::PS256
    );
    let hash = sha256(token.as_bytes());
    let left = hash.get(..16).filter(|_| is_sha256)?;
    Some(base64url(left))
}
