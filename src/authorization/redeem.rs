//! Redeems an authorization code (RFC 6749 section 4.1.3): whether it is the client's own, by
//! oxide-auth's machine, and whether the session lasts in which it was issued.

use std::borrow::Cow;
use std::fmt;

use carnet_engine::code_grant::CodeGrant;
use carnet_engine::model::{Client, DecisionContext};
use carnet_jose::sha256;
use oxide_auth::code_grant::accesstoken::{AccessToken, Authorization, Input, Output, Request};
use oxide_auth::code_grant::extensions::Pkce;
use oxide_auth::primitives::grant::{Extensions, Grant, Value};

use super::codes::{CODE_CHARACTERS, Kept};
use crate::app::App;
use crate::assertion::SingleUseKey;
use crate::people::session;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::store::StoredCode;

/// A code as a token request presents it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SentCode<'a> {
    pub code: &'a str,
    pub redirect_uri: Option<&'a str>,
    /// RFC 7636 section 4.1.
    pub verifier: &'a str,
}

// Codes and verifiers must not reach the log.
impl fmt::Debug for SentCode<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SentCode(…)")
    }
}

/// What the code stands for, if this client may redeem it. Nothing is used up: that is for the ledger,
/// in the transaction that issues the token.
///
/// # Errors
///
/// If the code is unknown, expired or another client's, if redirect URI or code verifier do not fit,
/// or if the session has ended in which it was issued.
pub async fn redeem(
    app: &App,
    context: &DecisionContext<'_>,
    client: &Client,
    sent: SentCode<'_>,
) -> Result<CodeGrant, Refusal> {
    if sent.code.len() != CODE_CHARACTERS {
        return Err(Reason::CodeInvalid.into());
    }
    let hash = sha256(sent.code.as_bytes());
    let stored = app.store.code_of(&hash).await?.ok_or(Reason::CodeInvalid)?;
    // A later client may have the name. What was redeemed since a backup is not known.
    let is_restored = app.restored_at.is_some_and(|at| stored.created_at <= at);
    if stored.client != client.id || is_restored {
        return Err(Reason::CodeInvalid.into());
    }
    machine(&stored, sent)?;
    if stored.expires_at <= context.now {
        return Err(Reason::CodeExpired.into());
    }
    let person = session::person_of(app, stored.session).await?;
    let person = person.ok_or(Reason::SessionOver)?;
    let corrupt =
        || Refusal::new(Reason::Internal).with_detail("the code's request cannot be read");
    let kept: Kept = serde_json::from_str(&stored.request).map_err(|_| corrupt())?;
    Ok(CodeGrant {
        id: stored.id,
        key: SingleUseKey::of_code(hash),
        until: stored.expires_at,
        person,
        request: kept.request().ok_or_else(corrupt)?,
        nonce: kept.nonce,
        dpop_jkt: kept.dpop_jkt,
        token_lifetime_seconds: kept.token_lifetime_seconds,
    })
}

/// A redemption as oxide-auth reads it.
struct Redemption<'a> {
    sent: SentCode<'a>,
    stored: &'a StoredCode,
}

impl Request for Redemption<'_> {
    fn valid(&self) -> bool {
        true
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(self.sent.code))
    }

    /// The client has authenticated by then.
    fn authorization(&self) -> Authorization<'_> {
        Authorization::None
    }

    fn client_id(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(&self.stored.client_id))
    }

    /// oxide-auth demands one. RFC 6749 section 4.1.3 does so only if the authorization request had
    /// one.
    fn redirect_uri(&self) -> Option<Cow<'_, str>> {
        let stored = (!self.stored.redirect_uri_sent).then_some(&*self.stored.redirect_uri);
        self.sent.redirect_uri.or(stored).map(Cow::Borrowed)
    }

    fn grant_type(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed("authorization_code"))
    }

    fn extension(&self, key: &str) -> Option<Cow<'_, str>> {
        (key == "code_verifier").then_some(Cow::Borrowed(self.sent.verifier))
    }
}

/// Takes the redemption through oxide-auth's machine up to the token, which our pipeline issues.
fn machine(stored: &StoredCode, sent: SentCode<'_>) -> Result<(), Refusal> {
    // It compares redirect URIs as they are parsed, where different texts are equal.
    let is_same = |sent: &str| sent == stored.redirect_uri;
    if !sent.redirect_uri.map_or(!stored.redirect_uri_sent, is_same) {
        return Err(Refusal::parameter(
            Reason::RedirectUriMismatch,
            "redirect_uri",
        ));
    }
    let (request, pkce) = (Redemption { sent, stored }, Pkce::required());
    let mut machine = AccessToken::new(&request);
    let mut input = Input::None;
    loop {
        input = match machine.advance(input) {
            Output::Authenticate { .. } => Input::Authenticated,
            Output::Recover { .. } => Input::Recovered(Some(Box::new(grant(stored, &pkce)?))),
            Output::Extend { extensions } => {
                let verifier = request.extension("code_verifier");
                let fits = pkce.verify(extensions.remove(&pkce), verifier);
                fits.map_err(|()| Refusal::parameter(Reason::PkceFailed, "code_verifier"))?;
                Input::Extended {
                    access_extensions: Extensions::new(),
                }
            }
            Output::Issue { .. } => return Ok(()),
            // What it compares was equal above, or its own grant would be over.
            Output::Ok(_) | Output::Err(_) => return Err(Reason::CodeInvalid.into()),
        };
    }
}

/// The grant of a code, as oxide-auth keeps it.
fn grant(stored: &StoredCode, pkce: &Pkce) -> Result<Grant, Refusal> {
    let corrupt = || Refusal::new(Reason::Internal).with_detail("the code cannot be read");
    let mut extensions = Extensions::new();
    extensions.set(pkce, Value::private(Some(stored.challenge.clone())));
    Ok(Grant {
        owner_id: stored.session.to_string(),
        client_id: stored.client_id.clone(),
        scope: "".parse().map_err(|_| corrupt())?,
        redirect_uri: stored.redirect_uri.parse().map_err(|_| corrupt())?,
        until: chrono::DateTime::<chrono::Utc>::MAX_UTC,
        extensions,
    })
}
