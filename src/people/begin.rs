//! Sending a person to the provider (OpenID Connect Core 1.0 section 3.1.2.1).

use std::sync::Arc;
use std::time::Duration;

use openidconnect::core::{CoreAuthPrompt, CoreResponseType};
use openidconnect::{
    AuthenticationContextClass, AuthenticationFlow, CsrfToken, LoginHint, Nonce, PkceCodeChallenge,
    PkceCodeVerifier, Scope,
};
use url::Url;

use super::attempt::{Attempt, Secrets, StepUp, stale};
use super::relying_party::{RelyingParty, internal, relying_party};
use super::{AttemptCookie, ReturnTo, SignInRefusal};
use crate::app::App;
use crate::ids::SessionId;
use crate::model::{IdentityProvider, SecondFactor};

/// Asks that the ID token says when the person signed in (OpenID Connect Core 1.0 section 5.5).
/// Providers that do not know the parameter ignore it.
const CLAIMS: &str = r#"{"id_token":{"auth_time":{"essential":true}}}"#;

/// What a sign-in is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// A new session.
    SignIn,
    /// A new session, for which the provider asks again who the person is, whomever it remembers.
    SignInAgain,
    /// A new proof, for this session, that its person is present.
    StepUp {
        session: SessionId,
        /// The `sub` of the person. Nobody else may answer.
        sub: String,
        /// What the provider may fill into its form, such as the user name.
        login_hint: Option<String>,
    },
}

/// A sign-in that was begun.
#[derive(Clone, Debug)]
pub struct Begun {
    /// Where the browser goes.
    pub location: Url,
    pub cookie: AttemptCookie,
    /// The names of earlier attempts' cookies that have to be cleared.
    pub stale: Vec<String>,
}

/// Begins a sign-in at a provider. Nothing is written. `cookies` are those that came with the
/// request.
pub async fn begin(
    app: &App,
    provider: &Arc<IdentityProvider>,
    return_to: ReturnTo,
    purpose: Purpose,
    cookies: &[(String, String)],
) -> Result<Begun, SignInRefusal> {
    let (own, now) = (&app.config.own, app.clock.now());
    let document = app.providers.of(provider).await?;
    let client = relying_party(app, provider, &document)?;
    let secrets = Secrets::new();
    let hint = match &purpose {
        Purpose::SignIn | Purpose::SignInAgain => return_to.login_hint(),
        Purpose::StepUp { login_hint, .. } => login_hint.clone(),
    };
    let location = authentication_request(&client, provider, &secrets, (&purpose, hint));
    let step_up = match purpose {
        Purpose::SignIn | Purpose::SignInAgain => None,
        Purpose::StepUp { session, sub, .. } => Some(StepUp { session, sub }),
    };
    let attempt = Attempt {
        provider: provider.id,
        version: provider.version,
        secrets,
        return_to,
        begun_at: now,
        step_up,
    };
    let cookie = attempt.cookie(own, &app.keys);
    Ok(Begun {
        location,
        cookie: cookie.ok_or_else(|| internal("the attempt cannot be sealed"))?,
        stale: stale(own, &app.keys, cookies, now),
    })
}

fn authentication_request(
    client: &RelyingParty,
    provider: &IdentityProvider,
    secrets: &Secrets,
    (purpose, login_hint): (&Purpose, Option<String>),
) -> Url {
    let verifier = PkceCodeVerifier::new(secrets.verifier.clone());
    // openidconnect adds `openid`.
    let scopes = provider.scopes.iter().filter(|scope| *scope != "openid");
    let state = CsrfToken::new(secrets.state.clone());
    let nonce = Nonce::new(secrets.nonce.clone());
    let mut request = client
        .authorize_url(
            AuthenticationFlow::<CoreResponseType>::AuthorizationCode,
            move || state,
            move || nonce,
        )
        .set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier))
        .add_scopes(scopes.cloned().map(Scope::new))
        .add_extra_param("claims", CLAIMS);
    if let SecondFactor::Acr(values) = &provider.second_factor {
        for value in values {
            request =
                request.add_auth_context_value(AuthenticationContextClass::new(value.clone()));
        }
    }
    if *purpose != Purpose::SignIn {
        request = request.add_prompt(CoreAuthPrompt::Login);
    }
    if matches!(purpose, Purpose::StepUp { .. }) {
        request = request.set_max_age(Duration::ZERO);
    }
    if let Some(hint) = login_hint {
        request = request.set_login_hint(LoginHint::new(hint));
    }
    request.url().0
}
