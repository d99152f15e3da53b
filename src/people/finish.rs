//! Taking a person back from the provider: the callback, the exchange of the code, and what the
//! tokens prove.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use carnet_engine::people::{TooMuch, readable};
use carnet_jose::Compact;
use carnet_jose::json::{self, Limits};
use openidconnect::core::CoreTokenType;
use openidconnect::{
    AuthorizationCode, OAuth2TokenResponse as _, PkceCodeVerifier, RequestTokenError,
};
use secrecy::SecretString;
use serde_json::{Map, Value};

use super::attempt::Attempt;
use super::callback::Callback;
use super::id_token::{self, Proved};
use super::relying_party::{
    ExchangeError, Http, RelyingParty, Tokens, client_assertion, relying_party,
};
use super::{ReturnTo, SignInRefusal, presence, refusal, unverified_id_token, userinfo};
use crate::app::App;
use crate::clock::Timestamp;
use crate::ids::SessionId;
use crate::limits::SignInStep;
use crate::model::{ClaimsFrom, IdentityProvider};
use crate::reason::Reason;
use crate::upstream::ProviderDocument;

/// The most of a name that is kept, in characters.
const MOST_OF_NAME: usize = 200;
/// The longest that a provider has for all requests of one sign-in. It is shorter than the deadline
/// of requests, whose answer is no page.
const PATIENCE: Duration = Duration::from_secs(15);
/// The part of the deadline of requests that a provider has.
const PART_OF_DEADLINE: f64 = 0.75;
/// Claims without which an ID token cannot be read.
const REQUIRED: [&str; 5] = ["iss", "sub", "aud", "exp", "iat"];

/// A person whom a provider answers for. Whether there is a session for them, memberships decide.
#[derive(Debug)]
pub struct SignedIn {
    pub provider: Arc<IdentityProvider>,
    /// The person's id at the provider.
    pub sub: String,
    /// The claims that rules can read.
    pub claims: Map<String, Value>,
    pub name: Option<String>,
    pub username: Option<String>,
    /// An address that the provider verified.
    pub email: Option<String>,
    /// When the person signed in at the provider; `None` if that is not known.
    pub auth_time: Option<Timestamp>,
    pub acr: Option<String>,
    pub amr: Vec<String>,
    /// Whether the ID token proved a second factor; `false` only if the operator leaves that to the
    /// provider.
    pub second_factor: bool,
    pub id_token: SecretString,
    pub return_to: ReturnTo,
    /// The session that asked for a new proof of presence.
    pub step_up: Option<SessionId>,
    /// The cookie of the attempt, which is over, by name.
    pub attempt: String,
}

/// Judges a callback. `query` is what follows the question mark, `cookies` are those that came with
/// the request. Nothing is written.
///
/// # Errors
///
/// A refusal without `attempt` is one of a callback that answers no attempt of this browser. Anybody
/// can send those, and any web page through the browsers of other people, so they use up no limit of
/// the address. A callback beyond the limit of its address leaves the attempt as it is.
pub async fn finish(
    app: &App,
    provider: &Arc<IdentityProvider>,
    query: &str,
    cookies: &[(String, String)],
    address: Option<IpAddr>,
) -> Result<SignedIn, SignInRefusal> {
    let (own, now) = (&app.config.own, app.clock.now());
    let callback = Callback::read(query)?;
    let expired = |why: &str| SignInRefusal::new(Reason::SignInExpired, why);
    let state = callback
        .state
        .as_deref()
        .ok_or_else(|| expired("the callback has no state"))?;
    let attempt = Attempt::of_state(own, &app.keys, cookies, state, now)
        .ok_or_else(|| expired("this browser has no attempt of this state"))?;
    app.limits.take_sign_in(SignInStep::Callback, address)?;
    let deadline = app.config.server.request_deadline;
    let patience = PATIENCE.min(deadline.mul_f64(PART_OF_DEADLINE));
    let judged = tokio::time::timeout(patience, judge(app, provider, &callback, &attempt)).await;
    let judged = judged.unwrap_or_else(|_| {
        let seconds = patience.as_secs();
        Err(SignInRefusal {
            retry_after: Some(1),
            ..SignInRefusal::new(
                Reason::ProviderUnavailable,
                format!("it took more than {seconds} seconds"),
            )
        })
    });
    judged.map_err(|refusal| refusal.of_attempt(&attempt.cookie_name(own), &attempt))
}

async fn judge(
    app: &App,
    provider: &Arc<IdentityProvider>,
    callback: &Callback,
    attempt: &Attempt,
) -> Result<SignedIn, SignInRefusal> {
    let mixed_up = |why: &str| SignInRefusal::new(Reason::ProviderMixedUp, refusal::quoted(why));
    if attempt.provider != provider.id {
        return Err(mixed_up("the attempt was begun at another provider"));
    }
    if attempt.version != provider.version {
        let detail = "the identity provider was changed since the attempt was begun";
        return Err(SignInRefusal::new(Reason::ProviderChanged, detail));
    }
    let document = app.providers.of(provider).await?;
    match callback.iss.as_deref() {
        Some(iss) if iss != provider.issuer => {
            return Err(mixed_up(&format!("iss of the callback is {iss}")));
        }
        None if document.names_issuer => {
            return Err(mixed_up(
                "the callback has no iss, although the provider says it sends it",
            ));
        }
        Some(_) | None => {}
    }
    if let Some(error) = &callback.error {
        let detail = format!("the provider answered {}", refusal::quoted(error));
        return Err(SignInRefusal::new(Reason::SignInDenied, detail));
    }
    let code = callback.code.clone().ok_or_else(|| {
        SignInRefusal::new(
            Reason::SignInDenied,
            "the callback has neither code nor error",
        )
    })?;
    let client = relying_party(app, provider, &document)?;
    let http = Http::of(app, provider);
    let tokens = exchange(app, provider, (&client, &http), code, attempt).await?;
    let proved =
        id_token::verify(app, provider, &document, &tokens, &attempt.secrets.nonce).await?;
    let sub = proved.sub.clone();
    person(app, provider, (&document, &http), &tokens, proved, attempt)
        .await
        .map_err(|refusal| refusal.of_person(&sub))
}

/// Exchanges the code at the token endpoint (OpenID Connect Core 1.0 section 3.1.3).
async fn exchange(
    app: &App,
    provider: &IdentityProvider,
    (client, http): (&RelyingParty, &Http),
    code: String,
    attempt: &Attempt,
) -> Result<Tokens, SignInRefusal> {
    let verifier = PkceCodeVerifier::new(attempt.secrets.verifier.clone());
    let mut request = client
        .exchange_code(AuthorizationCode::new(code))
        .set_pkce_verifier(verifier);
    for (name, value) in client_assertion(app, provider)?.into_iter().flatten() {
        request = request.add_extra_param(name, value);
    }
    let turn = app.limits.exchange_turn(provider.id).await;
    let _turn = turn.map_err(|refusal| SignInRefusal {
        detail: "too many codes are exchanged at once".into(),
        ..SignInRefusal::from(refusal)
    })?;
    let tokens: Tokens = request.request_async(http).await.map_err(not_exchanged)?;
    if *tokens.token_type() != CoreTokenType::Bearer {
        let detail = "token_type is not Bearer";
        return Err(SignInRefusal::new(Reason::CodeExchangeFailed, detail));
    }
    Ok(tokens)
}

/// Why there are no tokens. The answer itself is not quoted, since it may hold some.
fn not_exchanged(error: ExchangeError) -> SignInRefusal {
    let failed = |detail: String| SignInRefusal::new(Reason::CodeExchangeFailed, detail);
    match error {
        RequestTokenError::Request(error) => error.into(),
        RequestTokenError::ServerResponse(answer) => failed(format!(
            "the token endpoint answered {}",
            refusal::quoted(answer.error().as_ref())
        )),
        RequestTokenError::Parse(_, answer) => unreadable(&answer),
        RequestTokenError::Other(why) => failed(refusal::quoted(&why)),
    }
}

/// What is wrong with an answer that openidconnect cannot read.
fn unreadable(answer: &[u8]) -> SignInRefusal {
    let failed = |detail: &str| SignInRefusal::new(Reason::CodeExchangeFailed, detail);
    let Ok(answer) = json::object(answer, Limits::DOCUMENT) else {
        return failed("the answer of the token endpoint is not JSON");
    };
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    if text("access_token").is_none() || text("token_type").is_none() {
        return failed("the answer of the token endpoint lacks access_token or token_type");
    }
    let Some(id_token) = text("id_token") else {
        return failed("the answer of the token endpoint cannot be read");
    };
    let claims = match Compact::parse(id_token).and_then(|jws| jws.claims()) {
        Ok(claims) => claims,
        Err(error) => return unverified_id_token::unreadable(&error.to_string()),
    };
    match REQUIRED.iter().find(|name| !claims.contains_key(**name)) {
        Some(missing) => SignInRefusal::id_token(missing, "it is missing"),
        None => {
            unverified_id_token::unreadable("a claim is of another type than OpenID Connect says")
        }
    }
}

/// What the tokens prove of the person, for the purpose of this attempt.
async fn person(
    app: &App,
    provider: &Arc<IdentityProvider>,
    (document, http): (&ProviderDocument, &Http),
    tokens: &Tokens,
    proved: Proved,
    attempt: &Attempt,
) -> Result<SignedIn, SignInRefusal> {
    let second_factor = presence::second_factor(provider, &proved)?;
    let auth_time = presence::auth_time(provider, &proved, attempt, app.clock.now())?;
    let all = match provider.claims_from {
        ClaimsFrom::IdToken => proved.claims,
        ClaimsFrom::Userinfo => {
            let more = userinfo::ask(http, document, tokens, &proved.sub).await?;
            userinfo::merged(proved.claims, more)
        }
    };
    let claims = readable(&provider.profile, &all).map_err(|error| too_much(&error))?;
    let text = |name: &str| {
        let text = all.get(name).and_then(Value::as_str);
        text.filter(|text| !text.is_empty())
            .map(|text| printable(text).take(MOST_OF_NAME).collect::<String>())
    };
    let is_verified = all.get("email_verified") == Some(&Value::Bool(true));
    Ok(SignedIn {
        provider: provider.clone(),
        name: text("name"),
        username: text("preferred_username"),
        email: text("email").filter(|_| is_verified),
        sub: proved.sub,
        claims,
        auth_time,
        acr: proved.acr.map(|acr| printable(&acr).collect()),
        amr: proved
            .amr
            .iter()
            .map(|one| printable(one).collect())
            .collect(),
        second_factor,
        id_token: proved.text,
        return_to: attempt.return_to.clone(),
        step_up: attempt.step_up.as_ref().map(|step_up| step_up.session),
        attempt: attempt.cookie_name(&app.config.own),
    })
}

/// A text without hidden characters: PostgreSQL stores no U+0000, terminals obey others, and pages
/// would show text in another order.
fn printable(text: &str) -> impl Iterator<Item = char> {
    text.chars().map(|character| {
        if refusal::is_hidden(character) {
            char::REPLACEMENT_CHARACTER
        } else {
            character
        }
    })
}

fn too_much(error: &TooMuch) -> SignInRefusal {
    let reason = match error {
        TooMuch::Bytes => Reason::ClaimsTooLarge,
        TooMuch::Elements(_) | TooMuch::LeftOut(_) => Reason::GroupsIncomplete,
    };
    SignInRefusal::new(reason, error.to_string())
}
