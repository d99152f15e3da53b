//! The steps of a token request, in the same order for every grant: context, authenticate, prove,
//! admit, verify, decide, mint, record.
//!
//! [`issue`] takes all of them. [`preview`] stops after the decision: it records nothing and uses
//! up no assertion.

use carnet_dpop::Proof;

use super::proof::Proved;
use super::used::{as_told, first_use, told, use_of, uses, with_use};
use super::verify::verify;
use super::{GrantRequest, Refused, Step, TokenError, record};
use crate::app::App;
use crate::assertion::AcceptedAssertion;
use crate::client::{Authentication, ClientCredentials, ClientIdentity, admit};
use crate::decision::{Decision, Mode, Subject, View, decide};
use crate::grant_type::GrantType;
use crate::limits::Taken;
use crate::load::Turn;
use crate::model::{DecisionContext, FAPI2_ALGORITHMS};
use crate::own_tokens::LOCAL_CLIENT;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::store::{Committed, Recorded, Use};
use crate::telemetry;
use crate::token::Minted;
use crate::trust::{Denial, MatchedRule};

/// How often a request is decided before it is refused as `busy`: rules may change between decision
/// and commit, and each time the request has to be decided again.
const ATTEMPTS: usize = 5;

/// A request that was decided in the caller's favour.
#[derive(Debug)]
pub struct Judged {
    pub subject: Subject<AcceptedAssertion>,
    /// The DPoP proof that came with it.
    pub(super) proof: Option<Proof>,
    pub decision: Decision<AcceptedAssertion>,
    /// Held until the token is recorded.
    _turn: Turn,
}

/// Result of one attempt to issue a token, if it was not refused.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every attempt issues a token"
)]
enum Attempt {
    Issued(Recorded<Minted>),
    /// Something that the token rests on changed, or other requests used up a rate limit, after the
    /// decision.
    Stale,
}

/// Decides a request, signs the token and records it. An assertion is used up only if a token is
/// issued.
pub async fn issue(app: &App, request: &GrantRequest<'_>) -> Result<Recorded<Minted>, TokenError> {
    for _ in 0..ATTEMPTS {
        match attempt(app, request).await {
            Ok(Attempt::Issued(token)) => return Ok(token),
            Ok(Attempt::Stale) => refresh(app)
                .await
                .map_err(TokenError::of(request.grant_type))?,
            Err(refused) => {
                let refused = as_told(app, *refused).await;
                if let Some(event) = record::refused(&app.decision_context(), request, &refused) {
                    app.audit(event);
                }
                return Err(told(app, refused).await.into_error(request));
            }
        }
    }
    Err(TokenError::of(request.grant_type)(Refusal::later(
        Reason::Busy,
        1,
    )))
}

/// Decides a request without recording anything, for an explanation that shows as much as `view`
/// allows.
pub async fn preview(
    app: &App,
    context: &DecisionContext<'_>,
    request: &GrantRequest<'_>,
    view: &View,
) -> Result<Judged, Box<Refused>> {
    judge(app, context, request, Some(view))
        .await
        .map_err(|mut refused| {
            if refused.used && refused.refusal.tells_of_rules() {
                let undisclosed = refused.refusal.clone().undisclosed(None);
                refused.told = undisclosed.reason;
                if *view == View::Caller {
                    refused.refusal = undisclosed;
                }
            }
            refused
        })
}

async fn attempt(app: &App, request: &GrantRequest<'_>) -> Result<Attempt, Box<Refused>> {
    let context = app.decision_context();
    let judged = judge(app, &context, request, None).await?;
    let step = telemetry::step("mint");
    let minted = match mint(app, &context, &judged) {
        Ok(minted) => minted,
        Err(refusal) => return Err(judged.refuse(refusal)),
    };
    drop(step);
    let _step = telemetry::step("record");
    record(app, &context, request, judged, minted).await
}

/// The steps up to the decision. `view` says for whom an explanation is made; `None` when a token
/// is issued.
async fn judge(
    app: &App,
    context: &DecisionContext<'_>,
    request: &GrantRequest<'_>,
    view: Option<&View>,
) -> Result<Judged, Box<Refused>> {
    let client = authenticate(app, context, request, view).await?;
    if view.is_some() {
        // A caller that only holds a copy of a used client assertion must learn nothing from an
        // explanation.
        match use_of(app, client.consumed().map(|(key, _)| key)).await {
            Ok(None) => {}
            Ok(Some(used)) => {
                return Err(Refused::at(
                    Step::Presented,
                    Refusal::replay(used.event).of_client(),
                ));
            }
            Err(refusal) => return Err(Refused::at(Step::Presented, refusal)),
        }
    }
    let at = |step, refusal| Refused::at(step, refusal).by(client.clone());
    check_grant(&client, request.grant_type).map_err(|refusal| at(Step::Client, refusal))?;
    let Proved { keys, spends } = request
        .proof
        .verify(app, request.certificate, context.now)
        .map_err(|refusal| at(Step::Proof, refusal))?;
    check_profile(app, &client, spends.as_ref()).map_err(|refusal| at(Step::Proof, refusal))?;
    let parameters = request
        .parameters
        .as_ref()
        .map_err(|refusal| at(Step::Parameters, refusal.clone()))?;
    let client = admit(context, client, parameters.admission()).map_err(Refused::of_admission)?;
    let step = telemetry::step("verify");
    let verified = verify(
        app,
        context,
        request.grant_type,
        parameters,
        client.identity(),
    )
    .await;
    drop(step);
    let (presented, actor, turn) = match verified {
        Ok(verified) => verified,
        Err(refused) => return Err(with_use(app, refused.by(client.into_identity()), view).await),
    };
    let subject = Subject {
        grant_type: request.grant_type,
        presented,
        client,
        proved: keys,
        actor,
    };
    let (mode, used) = match view {
        None => (Mode::Issue(&app.limits), false),
        Some(view) => {
            let found = uses(app, &subject)
                .await
                .map_err(|refusal| Refused::at(Step::Presented, refusal))?;
            (
                Mode::Preview {
                    limits: &app.limits,
                    used: found.any,
                    view,
                },
                found.of_subject,
            )
        }
    };
    let _step = telemetry::step("decide");
    match decide(context, &subject, &parameters.access, mode) {
        Ok(decision) => Ok(Judged {
            subject,
            proof: spends,
            decision,
            _turn: turn,
        }),
        Err(denial) => Err(Box::new(Refused {
            used,
            ..*Refused::of_decision(subject, *denial)
        })),
    }
}

/// Establishes which client sends the request.
async fn authenticate(
    app: &App,
    context: &DecisionContext<'_>,
    request: &GrantRequest<'_>,
    view: Option<&View>,
) -> Result<ClientIdentity, Box<Refused>> {
    let (upstream, limits, address) = (&app.upstream, &app.limits, request.address);
    let identity = match (&request.credentials, view) {
        // Administrators may ask for an explanation on behalf of any client without its client
        // secret.
        (ClientCredentials::Named(client_id), Some(View::Everything)) => {
            return ClientIdentity::assumed(&context.rules, client_id).map_err(|refusal| {
                let understood = refusal.parameter.is_none();
                Refused::at(
                    if understood {
                        Step::Client
                    } else {
                        Step::Parameters
                    },
                    refusal,
                )
            });
        }
        (credentials, _) => {
            Authentication {
                context,
                upstream,
                limits,
                address,
                certificate: request.certificate,
            }
            .authenticate(credentials)
            .await
        }
    };
    identity.map_err(|refusal| Refused::at(Step::Client, refusal))
}

/// Whether the client may use this grant type, or whether the grant type works without a client.
fn check_grant(client: &ClientIdentity, grant_type: GrantType) -> Result<(), Refusal> {
    match client.client() {
        Some(client) if !client.grant_types.contains(&grant_type) => {
            Err(Reason::ClientNotAllowed.into())
        }
        None if matches!(
            grant_type,
            GrantType::ClientCredentials | GrantType::AuthorizationCode
        ) =>
        {
            Err(Reason::ClientAuthenticationFailed.into())
        }
        _ => Ok(()),
    }
}

/// Whether the proof, and the token that there would be, have algorithms of the FAPI 2.0 Security
/// Profile, if the client is held to it (section 5.4.1).
fn check_profile(app: &App, client: &ClientIdentity, proof: Option<&Proof>) -> Result<(), Refusal> {
    if !client.client().is_some_and(|client| client.fapi2) {
        return Ok(());
    }
    let own = app.keys.ring();
    let own = own.map(|ring| ring.active().public().algorithm());
    let what = match (proof.map(Proof::algorithm), own) {
        (Some(algorithm), _) if !FAPI2_ALGORITHMS.contains(&algorithm) => {
            format!("the DPoP proof is signed with {algorithm}")
        }
        (_, Some(algorithm)) if !FAPI2_ALGORITHMS.contains(&algorithm) => format!(
            "this server signs tokens with {algorithm}: its operator has to set tokens.signing_algorithm and rotate the keys"
        ),
        _ => return Ok(()),
    };
    Err(Refusal::from(Reason::FapiUnmet).malformed(what))
}

fn mint(app: &App, context: &DecisionContext<'_>, judged: &Judged) -> Result<Minted, Refusal> {
    let now = context.now;
    let minted = match &judged.decision {
        Decision::Registry(authorization) => {
            let client_id = authorization.client_id(judged.subject.client.identity().id());
            app.tokens.mint(authorization, client_id, now)?
        }
        Decision::Admin(grant) => app.tokens.mint_admin(grant, now)?,
        Decision::Userinfo(grant) => app.tokens.mint_userinfo(grant, now)?,
    };
    match judged.subject.code() {
        Some(code) if code.request.openid.openid => {
            Ok(app.tokens.with_id_token(minted, code, now)?)
        }
        _ => Ok(minted),
    }
}

/// Records the token in one transaction and counts it against the rate limits.
async fn record(
    app: &App,
    context: &DecisionContext<'_>,
    request: &GrantRequest<'_>,
    judged: Judged,
    minted: Minted,
) -> Result<Attempt, Box<Refused>> {
    // Concurrent requests may have used up the budget since this one was decided.
    let Ok(budget) = take(app, &judged) else {
        return Ok(Attempt::Stale);
    };
    let issuance = record::issuance(context, request, &judged, &minted);
    match app.ledger.commit(issuance, minted).await {
        Ok(Committed::Issued(token)) => {
            budget.keep();
            note_use(app, context, &judged);
            Ok(Attempt::Issued(token))
        }
        Ok(Committed::Stale) => Ok(Attempt::Stale),
        Ok(Committed::Replayed) => {
            // Of what the token would have used up, one was used: the code, an assertion, or else the
            // proof.
            let of_code = use_of(app, judged.subject.code().map(|code| code.key)).await;
            let used = first_use(app, &judged.subject).await;
            let refusal = match (of_code, used) {
                (Err(refusal), _) => refusal,
                (Ok(Some(used)), _) => revoke_code(app, request, &judged, used).await,
                (Ok(None), None) if judged.proof.is_some() => Reason::ProofReplayed.into(),
                (Ok(None), used) => Refusal::replay(used.and_then(|used| used.event)),
            };
            Err(judged.refuse(refusal))
        }
        Err(error) => Err(judged.refuse(error.as_ref().into())),
    }
}

/// Takes one token from the rate limits of the trusted issuer, or else of the client, and of every
/// rule that grants it.
fn take<'a>(app: &'a App, judged: &Judged) -> Result<Taken<'a>, Refusal> {
    let issuer = match &judged.decision {
        Decision::Registry(authorization) => authorization.issuer(),
        Decision::Admin(_) | Decision::Userinfo(_) => None,
    };
    let client = judged
        .subject
        .client
        .identity()
        .id()
        // The built-in client is that of many people.
        .filter(|client| issuer.is_none() && *client != LOCAL_CLIENT);
    app.limits.take(
        issuer,
        client,
        rules(judged).iter().map(|rule| rule.credential.id),
    )
}

/// Notes the time for `last_used_at` of the rules that grant the token.
fn note_use(app: &App, context: &DecisionContext<'_>, judged: &Judged) {
    for rule in rules(judged) {
        app.note_use(rule.credential.id, context.now);
    }
}

/// The rules that grant the token; none for a token of our own endpoints.
fn rules(judged: &Judged) -> &[MatchedRule] {
    match &judged.decision {
        Decision::Registry(authorization) => &authorization.entitlement().credentials,
        Decision::Admin(_) | Decision::Userinfo(_) => &[],
    }
}

/// A code that is redeemed again may be in other hands: what it gave is revoked (RFC 6749 section
/// 4.1.2), and so is what is still being given to another request.
async fn revoke_code(app: &App, request: &GrantRequest<'_>, judged: &Judged, used: Use) -> Refusal {
    let refusal = Refusal::of_used_code(used.event);
    let Some(code) = judged.subject.code() else {
        return refusal;
    };
    let event = record::revoked_code(request, code, app.clock.now());
    // As long as any token of the code may live.
    let until = code.until.plus_seconds(code.token_lifetime_seconds);
    let revoked = app.store.revoke(&code.id.to_string(), until, &event).await;
    match revoked {
        Ok(_) => refusal,
        Err(error) => error.into(),
    }
}

/// Brings the snapshot of the rules up to date.
async fn refresh(app: &App) -> Result<(), Refusal> {
    let refreshed = app.refresh().await;
    refreshed.map_err(|error| {
        Refusal::later(Reason::DatabaseUnavailable, 1).with_detail(error.to_string())
    })
}

impl Judged {
    /// Turns an allowed request into a refused one. The match report is kept for the audit event.
    fn refuse(self, refusal: Refusal) -> Box<Refused> {
        let denial = match self.decision {
            Decision::Registry(authorization) => authorization.deny(refusal),
            Decision::Admin(_) | Decision::Userinfo(_) => Denial::bare(refusal),
        };
        Refused::of_decision(self.subject, *denial)
    }
}
