//! The ID token of a sign-in (OpenID Connect Core 1.0 section 3.1.3.7). openidconnect checks issuer,
//! audience, signature, expiry and nonce; the rest, and what is stricter here, is checked beside it.

use std::sync::Arc;

use carnet_jose::{Algorithm, Compact, KeySet};
use chrono::{DateTime, Utc};
use openidconnect::core::CoreGenderClaim;
use openidconnect::{
    AccessTokenHash, ClaimsVerificationError, ClientId, EmptyAdditionalClaims, IdTokenClaims,
    IdTokenVerifier, IssuerUrl, JsonWebKeySet, Nonce, OAuth2TokenResponse as _,
    SignatureVerificationError, TokenResponse as _,
};
use secrecy::SecretString;
use serde_json::{Map, Value};

use super::SignInRefusal;
use super::provider_key::{ProviderKey, SigningAlgorithm};
use super::relying_party::{IdToken, Tokens, internal};
use crate::app::App;
use crate::clock::Timestamp;
use crate::model::IdentityProvider;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::upstream::ProviderDocument;

/// Tolerated difference between the provider's clock and ours, in seconds.
pub(super) const LEEWAY_SECONDS: i64 = 60;
/// How old an ID token may be, in seconds: it has just been issued.
const MOST_AGE_SECONDS: i64 = 600;
/// The longest `sub`, in bytes (OpenID Connect Core 1.0 section 2).
const MAX_SUB_BYTES: usize = 255;

type Claims = IdTokenClaims<EmptyAdditionalClaims, CoreGenderClaim>;

/// An ID token that passed every check that does not depend on the purpose of the sign-in.
#[derive(Debug)]
pub(super) struct Proved {
    pub text: SecretString,
    /// All claims, as they were sent.
    pub claims: Map<String, Value>,
    pub sub: String,
    pub auth_time: Option<Timestamp>,
    pub acr: Option<String>,
    pub amr: Vec<String>,
}

/// Verifies the ID token in an answer of the token endpoint.
pub(super) async fn verify(
    app: &App,
    provider: &IdentityProvider,
    document: &ProviderDocument,
    tokens: &Tokens,
    nonce: &str,
) -> Result<Proved, SignInRefusal> {
    let missing = || SignInRefusal::id_token("id_token", "the token endpoint sent none");
    let id_token = tokens.id_token().ok_or_else(missing)?;
    let text = id_token.to_string();
    // Read strictly first: openidconnect takes repeated members, and headers that bring keys.
    let malformed = |error: carnet_jose::Malformed| unreadable(&error.to_string());
    let jws = Compact::parse(&text).map_err(malformed)?;
    let raw = jws.claims().map_err(malformed)?;
    let algorithm = algorithm(provider, &jws.header.algorithm)?;
    let key_id = jws.header.key_id.as_deref();

    let issuer = Arc::new(document.keys_of(provider));
    let keys = app.upstream.keys_for(&issuer, algorithm, key_id).await;
    let keys = keys.map_err(|refusal| keys_unavailable(&refusal))?;
    let check = Check {
        provider,
        tokens,
        id_token,
        nonce: Nonce::new(nonce.to_owned()),
        now: app.clock.now(),
    };
    let claims = match check.with(&keys, algorithm, key_id) {
        // A provider that was set up anew may have given its new key the `kid` of the old one.
        Err(Failure::Signature) => {
            let newer = app.upstream.newer_than(&keys, &issuer).await;
            let newer = newer.ok_or_else(bad_signature)?;
            check.with(&newer, algorithm, key_id)
        }
        outcome => outcome,
    };
    let claims = claims.map_err(|failure| match failure {
        Failure::Signature => bad_signature(),
        Failure::Other(refusal) => refusal,
    })?;
    // openidconnect does not read it.
    not_before(&raw, check.now)?;
    let acr = claims.auth_context_ref();
    let amr = claims.auth_method_refs().into_iter().flatten();
    Ok(Proved {
        sub: subject(claims)?,
        auth_time: claims.auth_time().map(timestamp),
        acr: acr.map(|acr| acr.to_string()),
        amr: amr.map(|method| method.to_string()).collect(),
        claims: raw,
        text: SecretString::from(text),
    })
}

/// The refusal of an ID token that cannot be read.
pub(super) fn unreadable(why: &str) -> SignInRefusal {
    SignInRefusal::id_token("form", why)
}

fn algorithm(provider: &IdentityProvider, named: &str) -> Result<Algorithm, SignInRefusal> {
    let known = named.parse().ok();
    known
        .filter(|algorithm| provider.algorithms.contains(algorithm))
        .ok_or_else(|| {
            let why = format!("`{named}` is none of the identity provider's algorithms");
            SignInRefusal::id_token("alg", &why)
        })
}

fn keys_unavailable(refusal: &Refusal) -> SignInRefusal {
    let why = refusal.detail.as_deref().unwrap_or("its keys are unknown");
    let retry_after = refusal.retry_after;
    let refusal = match refusal.reason {
        Reason::Internal => internal(why),
        _ => SignInRefusal::new(Reason::ProviderUnavailable, super::refusal::quoted(why)),
    };
    SignInRefusal {
        retry_after,
        ..refusal
    }
}

fn bad_signature() -> SignInRefusal {
    SignInRefusal::id_token("signature", "no key of the provider verifies it")
}

enum Failure {
    /// Newer keys may help.
    Signature,
    Other(SignInRefusal),
}

impl From<SignInRefusal> for Failure {
    fn from(refusal: SignInRefusal) -> Self {
        Self::Other(refusal)
    }
}

/// An ID token beside what it is compared with.
struct Check<'a> {
    provider: &'a IdentityProvider,
    tokens: &'a Tokens,
    id_token: &'a IdToken,
    nonce: Nonce,
    now: Timestamp,
}

impl Check<'_> {
    fn with(
        &self,
        keys: &Arc<KeySet>,
        algorithm: Algorithm,
        key_id: Option<&str>,
    ) -> Result<&Claims, Failure> {
        if keys.select(algorithm, key_id).is_err() {
            let why = match key_id {
                Some(key_id) => format!("the provider publishes no {algorithm} key `{key_id}`"),
                None => format!("it names no key, and not one {algorithm} key is published alone"),
            };
            return Err(SignInRefusal::id_token("kid", &why).into());
        }
        let key = ProviderKey::new(keys.clone(), algorithm, key_id);
        let claims = self
            .id_token
            .claims(&self.verifier(key.clone())?, &self.nonce);
        let claims = claims.map_err(|error| failed(&error))?;
        self.audience(claims)?;
        self.access_token_hash(claims, &key)?;
        Ok(claims)
    }

    fn verifier(&self, key: ProviderKey) -> Result<IdTokenVerifier<'static, ProviderKey>, Failure> {
        let issuer = IssuerUrl::new(self.provider.issuer.clone());
        let issuer = issuer.map_err(|error| internal(&error.to_string()))?;
        let client_id = ClientId::new(self.provider.client_id.clone());
        let algorithms = self.provider.algorithms.iter();
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
            Some(party) if party.as_str() != self.provider.client_id => {
                let why = format!("`{}` is not our client id", party.as_str());
                Err(SignInRefusal::id_token("azp", &why))
            }
            _ => Ok(()),
        }
    }

    /// Compares the access token with `at_hash`, if there is one (OpenID Connect Core 1.0 section
    /// 3.1.3.8).
    fn access_token_hash(&self, claims: &Claims, key: &ProviderKey) -> Result<(), SignInRefusal> {
        let Some(sent) = claims.access_token_hash() else {
            return Ok(());
        };
        let wrong = || SignInRefusal::id_token("at_hash", "it is not that of the access token");
        let algorithm = self.id_token.signing_alg().map_err(|_| wrong())?;
        let ours = AccessTokenHash::from_token(self.tokens.access_token(), algorithm, key);
        match ours {
            Ok(ours) if ours == *sent => Ok(()),
            _ => Err(wrong()),
        }
    }
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

fn subject(claims: &Claims) -> Result<String, SignInRefusal> {
    let sub = claims.subject().as_str();
    if sub.is_empty() || sub.len() > MAX_SUB_BYTES || sub.chars().any(char::is_control) {
        let why = "it is empty, longer than 255 bytes, or holds control characters";
        return Err(SignInRefusal::id_token("sub", why));
    }
    Ok(sub.to_owned())
}

fn timestamp(time: DateTime<Utc>) -> Timestamp {
    Timestamp::from_seconds(time.timestamp())
}
