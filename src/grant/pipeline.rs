//! The steps of a token request, in their order, for every grant: context, authenticate, verify, admit, decide, mint, record.
//!
//! [`issue`] takes all of them. [`preview`] takes those up to the decision and has no consequences: nothing is recorded, and
//! nothing is used up.

use super::verify::verify;
use super::{About, GrantRequest, Refused, Step, TokenError, record};
use crate::app::App;
use crate::assertion::{AcceptedAssertion, AssertionKey};
use crate::client::{Authentication, ClientCredentials, ClientIdentity, admit};
use crate::decision::{Decision, Mode, Subject, View, decide};
use crate::grant_type::GrantType;
use crate::model::DecisionContext;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::store::{Committed, Recorded};
use crate::token::Minted;
use crate::trust::Denial;

/// How often everything is judged again because rules changed while the token was made.
const ATTEMPTS: usize = 5;

/// A request that was judged and gets something.
#[derive(Debug)]
pub struct Judged<'a> {
    /// The rules, the time.
    pub context: DecisionContext<'a>,
    /// What it is about.
    pub subject: Subject<AcceptedAssertion>,
    /// What it gets.
    pub decision: Decision<AcceptedAssertion>,
}

/// What an attempt to issue a token came to, if it was not refused.
enum Attempt {
    Issued(Recorded<Minted>),
    /// Something that the token rests on has changed, so everything has to be judged again.
    Stale,
}

/// Makes and records the token that a request asks for. Nothing is used up unless a token comes out.
pub async fn issue(app: &App, request: &GrantRequest<'_>) -> Result<Recorded<Minted>, TokenError> {
    for _ in 0..ATTEMPTS {
        match attempt(app, request).await {
            Ok(Attempt::Issued(token)) => return Ok(token),
            Ok(Attempt::Stale) => refresh(app).await.map_err(TokenError::of(request.grant_type))?,
            Err(refused) => {
                if let Some(event) = record::refused(request, &refused) {
                    app.audit(event);
                }
                let refusal = told(app, *refused).await;
                return Err(TokenError::of(request.grant_type)(refusal));
            }
        }
    }
    Err(TokenError::of(request.grant_type)(Refusal::later(Reason::Busy, 1)))
}

/// Judges a request without consequences, for whoever may see that much.
pub async fn preview<'a>(app: &'a App, request: &GrantRequest<'_>, view: &View) -> Result<Judged<'a>, Box<Refused>> {
    judge(app, request, Some(view)).await.map_err(|mut refused| {
        if refused.used && !refused.refusal.mismatches.is_empty() {
            refused.told = Reason::NoMatchingCredential;
            if *view == View::Caller {
                refused.refusal.undisclosed();
            }
        }
        refused
    })
}

async fn attempt(app: &App, request: &GrantRequest<'_>) -> Result<Attempt, Box<Refused>> {
    let judged = judge(app, request, None).await?;
    let minted = match mint(app, &judged) {
        Ok(minted) => minted,
        Err(refusal) => return Err(judged.refuse(refusal)),
    };
    record(app, request, judged, minted).await
}

/// The steps up to the decision. `view` is whose explanation it is for; a token without one.
async fn judge<'a>(app: &'a App, request: &GrantRequest<'_>, view: Option<&View>) -> Result<Judged<'a>, Box<Refused>> {
    let context = app.decision_context();
    let client =
        authenticate(app, &context, request, view).await.map_err(|refusal| Refused::at(Step::Client, refusal))?;
    let known = |refused: Box<Refused>| Box::new(Refused { client: Some(client.clone()), ..*refused });
    if view.is_some() {
        // Whoever holds a copy of a client's assertion that was used learns nothing by it.
        match was_used(app, client.consumed().map(|(key, _)| key)).await {
            Ok(false) => {}
            Ok(true) => return Err(Refused::at(Step::Presented, Refusal::from(Reason::Replay).of_client())),
            Err(refusal) => return Err(Refused::at(Step::Presented, refusal)),
        }
    }
    let parameters = request.parameters.as_ref();
    let parameters = parameters.map_err(|refusal| known(Refused::at(Step::Parameters, refusal.clone())))?;
    let verified = verify(app, &context, request.grant_type, parameters, &client).await.map_err(known);
    // A client that is not admitted is none, whatever it presents (decision D-01, step 4).
    let client = admit(&context, client, parameters.admission()).map_err(Refused::of_admission)?;
    let (presented, actor) = verified?;
    let subject = Subject { grant_type: request.grant_type, presented, client, actor };
    let (mode, used) = match view {
        None => (Mode::Issue(&app.limits), false),
        Some(view) => {
            let used =
                presented_before(app, &subject).await.map_err(|refusal| Refused::at(Step::Presented, refusal))?;
            (Mode::Preview { limits: &app.limits, used: used.contains(&true), view }, used.first() == Some(&true))
        }
    };
    match decide(&context, &subject, &parameters.access, mode) {
        Ok(decision) => Ok(Judged { context, subject, decision }),
        Err(denial) => Err(Box::new(Refused { used, ..*Refused::of_decision(subject, *denial) })),
    }
}

/// Who sends the request, if it is a client that may use this grant.
async fn authenticate(
    app: &App,
    context: &DecisionContext<'_>,
    request: &GrantRequest<'_>,
    view: Option<&View>,
) -> Result<ClientIdentity, Refusal> {
    let (upstream, limits, address) = (&app.upstream, &app.limits, request.address);
    let identity = match (&request.credentials, view) {
        // An administrator may ask what a client would get, and need not be it.
        (ClientCredentials::Named(client_id), Some(View::Everything)) => {
            ClientIdentity::assumed(&context.rules, client_id).ok_or(Reason::ClientAuthenticationFailed)?
        }
        (credentials, _) => Authentication { context, upstream, limits, address }.authenticate(credentials).await?,
    };
    match identity.client() {
        Some(client) if !client.grant_types.contains(&request.grant_type) => Err(Reason::ClientNotAllowed.into()),
        None if request.grant_type == GrantType::ClientCredentials => Err(Reason::ClientAuthenticationFailed.into()),
        _ => Ok(identity),
    }
}

fn mint(app: &App, judged: &Judged<'_>) -> Result<Minted, Refusal> {
    let now = judged.context.now;
    Ok(match &judged.decision {
        Decision::Registry(authorization) => {
            let client_id = authorization.client_id(judged.subject.client.identity().id());
            app.tokens.mint(authorization, &client_id, now)?
        }
        Decision::Admin(grant) => app.tokens.mint_admin(grant, now)?,
    })
}

/// Records the token, and what it uses up of the limits.
async fn record(
    app: &App,
    request: &GrantRequest<'_>,
    judged: Judged<'_>,
    minted: Minted,
) -> Result<Attempt, Box<Refused>> {
    let issuance = record::issuance(request, &judged, &minted);
    match app.ledger.commit(issuance, minted).await {
        Ok(Committed::Issued(token)) => {
            note(app, &judged);
            Ok(Attempt::Issued(token))
        }
        Ok(Committed::Stale) => Ok(Attempt::Stale),
        Ok(Committed::Replayed) => Err(judged.refuse(Reason::Replay.into())),
        Err(error) => Err(judged.refuse(error.as_ref().into())),
    }
}

/// Notes an issued token for the limits and for the last use of rules.
fn note(app: &App, judged: &Judged<'_>) {
    let client = judged.subject.client.identity().id();
    let (issuer, rules) = match &judged.decision {
        Decision::Registry(authorization) => {
            (authorization.issuer(), authorization.entitlement().credentials.as_slice())
        }
        Decision::Admin(_) => (None, [].as_slice()),
    };
    match (issuer, client) {
        (Some(issuer), _) => app.limits.note_issuer(issuer),
        (None, Some(client)) => app.limits.note_client(client),
        (None, None) => {}
    }
    for rule in rules {
        app.limits.note_credential(rule.credential.id);
        app.note_use(rule.credential.id, judged.context.now);
    }
}

/// What a refusal says to the caller once it is known whether what came was used before: a copy proves nothing.
async fn told(app: &App, refused: Refused) -> Refusal {
    let of_client = refused.client.as_ref().and_then(ClientIdentity::consumed).map(|(key, _)| key);
    if matches!(was_used(app, of_client).await, Ok(true)) {
        return Refusal::from(Reason::Replay).of_client();
    }
    let mut refusal = refused.refusal;
    if let About::Assertion(assertion, _) = &refused.about
        && !refusal.mismatches.is_empty()
        && !matches!(was_used(app, assertion.key().copied()).await, Ok(false))
    {
        refusal.undisclosed();
    }
    refusal
}

/// Whether a token was issued before for each of the assertions that were presented, the subject's first.
async fn presented_before(app: &App, subject: &Subject<AcceptedAssertion>) -> Result<Vec<bool>, Refusal> {
    let mut used = Vec::with_capacity(2);
    for assertion in subject.assertions() {
        used.push(was_used(app, assertion.key().copied()).await?);
    }
    Ok(used)
}

/// Whether a token was issued for an assertion.
async fn was_used(app: &App, key: Option<AssertionKey>) -> Result<bool, Refusal> {
    match key {
        None => Ok(false),
        Some(key) => Ok(app.store.is_consumed(&key).await?),
    }
}

/// Brings the rules up to date.
async fn refresh(app: &App) -> Result<(), Refusal> {
    let refreshed = app.refresh().await;
    refreshed.map_err(|error| Refusal::later(Reason::DatabaseUnavailable, 1).with_detail(error.to_string()))
}

impl Judged<'_> {
    /// Turns the yes into a no, with what it was about.
    fn refuse(self, refusal: Refusal) -> Box<Refused> {
        let denial = match self.decision {
            Decision::Registry(authorization) => authorization.deny(refusal),
            Decision::Admin(_) => Denial::bare(refusal),
        };
        Refused::of_decision(self.subject, *denial)
    }
}
