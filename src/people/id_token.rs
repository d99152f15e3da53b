//! The ID token of a sign-in, with the keys of the provider as they are now.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use openidconnect::{OAuth2TokenResponse as _, TokenResponse as _};
use secrecy::SecretString;
use serde_json::{Map, Value};

use super::SignInRefusal;
use super::relying_party::{Tokens, internal};
use super::unverified_id_token::{Expected, Failure, UnverifiedIdToken, subject};
use crate::app::App;
use crate::clock::Timestamp;
use crate::model::IdentityProvider;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::upstream::ProviderDocument;

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
    let text = tokens.id_token().ok_or_else(missing)?.to_string();
    let received = UnverifiedIdToken::read(&text, &provider.algorithms)?;

    let issuer = Arc::new(document.keys_of(provider));
    let (algorithm, key_id) = (received.algorithm(), received.key_id());
    let keys = app.upstream.keys_for(&issuer, algorithm, key_id).await;
    let keys = keys.map_err(|refusal| keys_unavailable(&refusal))?;
    let expected = Expected {
        issuer: &provider.issuer,
        client_id: &provider.client_id,
        algorithms: &provider.algorithms,
        nonce,
        access_token: tokens.access_token().secret(),
        now: app.clock.now(),
    };
    let claims = match received.check(&keys.set, &expected) {
        // A provider that was set up anew may have given its new key the `kid` of the old one.
        Err(Failure::Signature) => match app.upstream.newer_than(&keys, &issuer).await {
            Some(newer) => received.check(&newer.set, &expected),
            None => Err(Failure::Signature),
        },
        outcome => outcome,
    }?;
    let acr = claims.auth_context_ref();
    let amr = claims.auth_method_refs().into_iter().flatten();
    Ok(Proved {
        sub: subject(claims)?,
        auth_time: claims.auth_time().map(timestamp),
        acr: acr.map(|acr| acr.to_string()),
        amr: amr.map(|method| method.to_string()).collect(),
        claims: received.claims().clone(),
        text: SecretString::from(text),
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

fn timestamp(time: DateTime<Utc>) -> Timestamp {
    Timestamp::from_seconds(time.timestamp())
}
