//! The checks of an ID token with the keys of its issuer (OpenID Connect Core 1.0 section 3.1.3.7).
//! openidconnect checks issuer, audience, signature, expiry and nonce; the rest, and what is stricter
//! here, is checked beside it.

use std::sync::Arc;

use carnet_jose::{Algorithm, Compact, KeySet};
use chrono::{DateTime, Utc};
use openidconnect::core::CoreGenderClaim;
use openidconnect::{
    AccessToken, AccessTokenHash, ClaimsVerificationError, ClientId, EmptyAdditionalClaims,
    IdTokenClaims, IdTokenVerifier, IssuerUrl, JsonWebKeySet, Nonce, SignatureVerificationError,
};
use serde_json::{Map, Value};

use super::SignInRefusal;
use super::provider_key::{ProviderKey, SigningAlgorithm};
use super::relying_party::{IdToken, internal};
use crate::clock::Timestamp;

/// Tolerated difference between the issuer's clock and ours, in seconds.
pub(super) const LEEWAY_SECONDS: i64 = 60;
/// How old an ID token may be, in seconds: it has just been issued.
const MOST_AGE_SECONDS: i64 = 600;
/// The longest `sub`, in bytes (OpenID Connect Core 1.0 section 2).
const MAX_SUB_BYTES: usize = 255;

pub(super) type Claims = IdTokenClaims<EmptyAdditionalClaims, CoreGenderClaim>;

/// An ID token that was read, and whose claims nothing proves yet.
#[derive(Debug)]
pub(crate) struct UnverifiedIdToken {
    id_token: IdToken,
    claims: Map<String, Value>,
    algorithm: Algorithm,
    key_id: Option<String>,
}

/// What an ID token is compared with.
#[derive(Debug)]
pub(crate) struct Expected<'a> {
    pub issuer: &'a str,
    pub client_id: &'a str,
    pub algorithms: &'a [Algorithm],
    pub nonce: &'a str,
    /// The access token that came with it.
    pub access_token: &'a str,
    pub now: Timestamp,
}

/// Why an ID token is not good.
#[derive(Debug)]
pub(super) enum Failure {
    /// No key verifies the signature. Newer keys may.
    Signature,
    Other(SignInRefusal),
}

impl From<SignInRefusal> for Failure {
    fn from(refusal: SignInRefusal) -> Self {
        Self::Other(refusal)
    }
}

impl From<Failure> for SignInRefusal {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Signature => Self::id_token("signature", "no key of the issuer verifies it"),
            Failure::Other(refusal) => refusal,
        }
    }
}

impl UnverifiedIdToken {
    /// Reads one that is signed by one of these algorithms.
    pub(crate) fn read(text: &str, algorithms: &[Algorithm]) -> Result<Self, SignInRefusal> {
        // Read strictly first: openidconnect takes repeated members, and headers that bring keys.
        let malformed = |error: carnet_jose::Malformed| unreadable(&error.to_string());
        let jws = Compact::parse(text).map_err(malformed)?;
        let claims = jws.claims().map_err(malformed)?;
        let named = &jws.header.algorithm;
        let algorithm = named.parse().ok();
        let algorithm = algorithm.filter(|algorithm| algorithms.contains(algorithm));
        let algorithm = algorithm.ok_or_else(|| {
            let why = format!("`{named}` is none of the algorithms that the issuer may use");
            SignInRefusal::id_token("alg", &why)
        })?;
        let id_token = text.parse::<IdToken>();
        Ok(Self {
            id_token: id_token.map_err(|error| unreadable(&error.to_string()))?,
            claims,
            algorithm,
            key_id: jws.header.key_id.clone(),
        })
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(super) fn key_id(&self) -> Option<&str> {
        self.key_id.as_deref()
    }

    /// All claims, as they were sent.
    pub(super) fn claims(&self) -> &Map<String, Value> {
        &self.claims
    }

    /// Verifies it with these keys, and returns all claims as they were sent.
    pub(crate) fn verify(
        self,
        keys: KeySet,
        expected: &Expected<'_>,
    ) -> Result<Map<String, Value>, SignInRefusal> {
        subject(self.check(&Arc::new(keys), expected)?)?;
        Ok(self.claims)
    }

    /// Checks it with these keys.
    pub(super) fn check(
        &self,
        keys: &Arc<KeySet>,
        expected: &Expected<'_>,
    ) -> Result<&Claims, Failure> {
        let (algorithm, key_id) = (self.algorithm, self.key_id());
        if keys.select(algorithm, key_id).is_err() {
            let why = match key_id {
                Some(key_id) => format!("the issuer publishes no {algorithm} key `{key_id}`"),
                None => format!("it names no key, and not one {algorithm} key is published alone"),
            };
            return Err(SignInRefusal::id_token("kid", &why).into());
        }
        let key = ProviderKey::new(keys.clone(), algorithm, key_id);
        let nonce = Nonce::new(expected.nonce.to_owned());
        let claims = self
            .id_token
            .claims(&expected.verifier(key.clone())?, &nonce);
        let claims = claims.map_err(|error| failed(&error))?;
        expected.audience(claims)?;
        self.access_token_hash(claims, expected.access_token, &key)?;
        // openidconnect does not read it.
        not_before(&self.claims, expected.now)?;
        Ok(claims)
    }

    /// Compares the access token with `at_hash`, if there is one (OpenID Connect Core 1.0 section
    /// 3.1.3.8).
    fn access_token_hash(
        &self,
        claims: &Claims,
        access_token: &str,
        key: &ProviderKey,
    ) -> Result<(), SignInRefusal> {
        let Some(sent) = claims.access_token_hash() else {
            return Ok(());
        };
        let wrong = || SignInRefusal::id_token("at_hash", "it is not that of the access token");
        let algorithm = self.id_token.signing_alg().map_err(|_| wrong())?;
        let access_token = AccessToken::new(access_token.to_owned());
        let ours = AccessTokenHash::from_token(&access_token, algorithm, key);
        match ours {
            Ok(ours) if ours == *sent => Ok(()),
            _ => Err(wrong()),
        }
    }
}

impl Expected<'_> {
    fn verifier(&self, key: ProviderKey) -> Result<IdTokenVerifier<'static, ProviderKey>, Failure> {
        let issuer = IssuerUrl::new(self.issuer.to_owned());
        let issuer = issuer.map_err(|error| internal(&error.to_string()))?;
        let client_id = ClientId::new(self.client_id.to_owned());
        let algorithms = self.algorithms.iter();
        // It compares without leeway. A time that cannot be written expires every token.
        let now = self.now.seconds();
        let time = DateTime::from_timestamp(now.saturating_sub(LEEWAY_SECONDS), 0);
        let time = time.unwrap_or(DateTime::<Utc>::MAX_UTC);
        let verifier =
            IdTokenVerifier::new_public_client(client_id, issuer, JsonWebKeySet::new(vec![key]));
        Ok(verifier
            .set_allowed_algs(algorithms.flat_map(|one| SigningAlgorithm::names_of(*one)))
            .set_time_fn(move || time)
            .set_issue_time_verifier_fn(move |issued| issued_recently(issued, now)))
    }

    fn audience(&self, claims: &Claims) -> Result<(), SignInRefusal> {
        if claims.audiences().len() != 1 {
            return Err(SignInRefusal::id_token("aud", "it names several audiences"));
        }
        match claims.authorized_party() {
            Some(party) if party.as_str() != self.client_id => {
                let why = format!("`{}` is not our client id", party.as_str());
                Err(SignInRefusal::id_token("azp", &why))
            }
            _ => Ok(()),
        }
    }
}

/// The refusal of an ID token that cannot be read.
pub(super) fn unreadable(why: &str) -> SignInRefusal {
    SignInRefusal::id_token("form", why)
}

/// What openidconnect found, as a check of ours.
fn failed(error: &ClaimsVerificationError) -> Failure {
    use ClaimsVerificationError as E;
    let (check, why) = match error {
        E::SignatureVerification(SignatureVerificationError::CryptoError(_)) => {
            return Failure::Signature;
        }
        E::SignatureVerification(error) => ("signature", error.to_string()),
        E::InvalidIssuer(why) => ("iss", why.clone()),
        E::InvalidAudience(why) => ("aud", why.clone()),
        E::InvalidNonce(why) => ("nonce", why.clone()),
        E::InvalidSubject(why) => ("sub", why.clone()),
        E::Expired(why) if why.starts_with("iat") => ("iat", why.clone()),
        E::Expired(why) => ("exp", why.clone()),
        E::Unsupported(why) => ("typ", why.clone()),
        error => ("claims", error.to_string()),
    };
    Failure::Other(SignInRefusal::id_token(check, &why))
}

/// The error begins with the claim, since openidconnect has one error for this and for `exp`.
fn issued_recently(issued: DateTime<Utc>, now: i64) -> Result<(), String> {
    let age = now.saturating_sub(issued.timestamp());
    if age > MOST_AGE_SECONDS {
        Err(format!("iat is {age} seconds ago"))
    } else if age < -LEEWAY_SECONDS {
        Err("iat is in the future".to_owned())
    } else {
        Ok(())
    }
}

fn not_before(claims: &Map<String, Value>, now: Timestamp) -> Result<(), SignInRefusal> {
    let Some(not_before) = claims.get("nbf") else {
        return Ok(());
    };
    #[expect(clippy::cast_precision_loss, reason = "seconds since 1970 are exact")]
    let latest = now.plus_seconds(LEEWAY_SECONDS).seconds() as f64;
    if not_before.as_f64().is_some_and(|seconds| seconds <= latest) {
        Ok(())
    } else {
        Err(SignInRefusal::id_token("nbf", "it is not valid yet"))
    }
}

/// The `sub` of verified claims.
pub(super) fn subject(claims: &Claims) -> Result<String, SignInRefusal> {
    let sub = claims.subject().as_str();
    if sub.is_empty() || sub.len() > MAX_SUB_BYTES || sub.chars().any(char::is_control) {
        let why = "it is empty, longer than 255 bytes, or holds control characters";
        return Err(SignInRefusal::id_token("sub", why));
    }
    Ok(sub.to_owned())
}
