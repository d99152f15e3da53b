//! Verifies what a request presents: assertions by the keys of their trusted issuers, access tokens
//! by our own keys or hashes.

use std::sync::Arc;

use carnet_engine::code_grant::CodeGrant;

use super::request::{Parameters, SentSubject, SentToken};
use super::{About, Refused, Step};
use crate::app::App;
use crate::assertion::{AcceptedAssertion, Recipient, UnverifiedAssertion, VerifiedAssertion};
use crate::authorization::{self, SentCode};
use crate::client::ClientIdentity;
use crate::decision::{ActorToken, Presented};
use crate::grant_type::GrantType;
use crate::load::{Source, Turn};
use crate::model::DecisionContext;
use crate::own_tokens::LiveToken;
use crate::reason::Reason;
use crate::refusal::Refusal;

type Verified = (
    Presented<AcceptedAssertion>,
    Option<Result<ActorToken<AcceptedAssertion>, Refusal>>,
    Turn,
);

/// Verifies the subject and the actor, once it is the request's turn. An error of the actor's token
/// is returned inside the result, because errors of the subject take precedence.
pub(super) async fn verify(
    app: &App,
    context: &DecisionContext<'_>,
    grant_type: GrantType,
    parameters: &Parameters<'_>,
    client: &ClientIdentity,
) -> Result<Verified, Box<Refused>> {
    let recipient = parameters
        .access
        .recipient(&context.rules)
        .map_err(|refusal| Refused::at(Step::Presented, refusal))?;
    let mut turn = None;
    if !matches!(
        parameters.presented,
        SentSubject::Token(SentToken::Assertion(_))
    ) {
        let account = || client.id().unwrap_or_default().to_owned();
        let waited = app.load.turn(Source::Own, account).await;
        turn = Some(waited.map_err(|refusal| Refused::at(Step::Presented, refusal))?);
    }
    let mut accept =
        async |text| accept(app, context, grant_type, (text, recipient), &mut turn).await;
    let presented = match (parameters.presented, client.federated()) {
        (SentSubject::Token(SentToken::Assertion(text)), _) => {
            Presented::Assertion(accept(text).await?)
        }
        (SentSubject::Token(SentToken::AccessToken(text)), _) => Presented::AccessToken(
            subject_token(app, context, text)
                .await
                .map_err(|refusal| Refused::at(Step::Presented, refusal))?,
        ),
        // Verified already, when the client was authenticated.
        (SentSubject::Client, Some((assertion, _))) => Presented::ClientAssertion(
            assertion
                .accept(grant_type)
                .map_err(|refusal| Refused::at(Step::Presented, refusal))?,
        ),
        (SentSubject::Client, None) => Presented::Client,
        (SentSubject::ClientForAdmin, _) => Presented::ClientForAdmin,
        (SentSubject::Code(sent), _) => Presented::Code(Box::new(
            redeemed(app, context, client, sent)
                .await
                .map_err(|refusal| Refused::at(Step::Presented, refusal))?,
        )),
    };
    let actor = match parameters.actor {
        None => None,
        Some(SentToken::Assertion(text)) => Some(
            accept(text)
                .await
                .map(ActorToken::Assertion)
                .map_err(|refused| refused.refusal),
        ),
        Some(SentToken::AccessToken(text)) => Some(
            actor_token(app, context, text)
                .await
                .map(ActorToken::AccessToken),
        ),
    };
    let turn = turn.ok_or_else(|| Refused::at(Step::Presented, Reason::Internal.into()))?;
    Ok((presented, actor, turn))
}

async fn accept(
    app: &App,
    context: &DecisionContext<'_>,
    grant_type: GrantType,
    (text, recipient): (&str, Recipient<'_>),
    turn: &mut Option<Turn>,
) -> Result<AcceptedAssertion, Box<Refused>> {
    let verified = Arc::new(
        verify_assertion(app, context, (text, recipient), turn)
            .await
            .map_err(|refusal| Refused::at(Step::Presented, refusal))?,
    );
    verified.accept(grant_type).map_err(|refusal| {
        Box::new(Refused {
            about: About::Unaccepted(verified),
            ..*Refused::at(Step::Presented, refusal)
        })
    })
}

/// Verifies an assertion with the keys of the trusted issuer that it names. Takes a turn if the
/// request has none, after the keys are there: a request that waits for a platform keeps nobody
/// else waiting.
pub async fn verify_assertion(
    app: &App,
    context: &DecisionContext<'_>,
    (assertion, recipient): (&str, Recipient<'_>),
    turn: &mut Option<Turn>,
) -> Result<VerifiedAssertion, Refusal> {
    let unverified = UnverifiedAssertion::parse(assertion)?;
    let issuer = unverified.issuer(&context.rules, recipient)?;
    let ready = app.upstream.ready(&unverified, &issuer).await?;
    if turn.is_none() {
        let account = || issuer.account(unverified.claims());
        *turn = Some(app.load.turn(Source::Issuer(issuer.id), account).await?);
    }
    let presented = (recipient, context.now);
    app.upstream
        .verify_with(ready, unverified, issuer, presented)
        .await
}

/// The subject token, if this server issued it and it is in force.
async fn subject_token(
    app: &App,
    context: &DecisionContext<'_>,
    text: &str,
) -> Result<Box<LiveToken>, Refusal> {
    let tokens = app.own_tokens(context);
    let own = tokens
        .recognise(text)
        .await?
        .ok_or(Reason::SubjectTokenInvalid)?;
    // Admin tokens cannot be exchanged.
    if own.claims().aud == context.own.admin_resource() {
        return Err(Reason::SubjectTokenInvalid.into());
    }
    let live = tokens.in_force(own).await?;
    live.map(Box::new).map_err(|ended| {
        Refusal::new(Reason::SubjectTokenInactive).with_detail(format!("{ended:?}"))
    })
}

/// What an authorization code stands for, if it is the client's own.
async fn redeemed(
    app: &App,
    context: &DecisionContext<'_>,
    client: &ClientIdentity,
    sent: SentCode<'_>,
) -> Result<CodeGrant, Refusal> {
    let client = client.client().ok_or(Reason::ClientAuthenticationFailed)?;
    authorization::redeem(app, context, client, sent).await
}

/// The actor token, if this server issued it and it is in force.
async fn actor_token(
    app: &App,
    context: &DecisionContext<'_>,
    text: &str,
) -> Result<Box<LiveToken>, Refusal> {
    let tokens = app.own_tokens(context);
    let own = tokens
        .recognise(text)
        .await?
        .ok_or(Reason::ActorTokenInvalid)?;
    tokens
        .in_force(own)
        .await?
        .map(Box::new)
        .map_err(|_| Reason::ActorTokenInvalid.into())
}
