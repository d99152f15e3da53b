//! The one road from an assertion to a token, for every grant and every front door.

use std::sync::Arc;

use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::app::App;
use crate::assertion::{UnverifiedAssertion, VerifiedAssertion};
use crate::audit::{AuditEvent, Outcome};
use crate::client::ClientIdentity;
use crate::clock::Timestamp;
use crate::ids::CredentialId;
use crate::principal::{Authorization, Granting, authorize};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::store::{Committed, Dependencies, Issuance, Pin};
use crate::token::{MintError, Minted, Workload};
use crate::trust::{Denial, Mismatch, Permit};

use super::GrantRequest;

/// How often rules are matched again because they changed while the token was made.
const ATTEMPTS: usize = 5;
/// Candidates described in the audit event of a refusal.
const DESCRIBED: usize = 10;

/// Room for the detail of most audit events.
const TYPICAL_DETAIL_BYTES: usize = 1024;

/// Redeems an assertion: verifies it, matches it, makes the token and records it. Nothing is used up unless a token comes out.
pub async fn redeem(app: &App, request: &GrantRequest<'_>) -> Result<Minted, Refusal> {
    for _ in 0..ATTEMPTS {
        let assertion = Arc::new(verify(app, request.assertion).await?);
        match issue(app, request, &assertion).await {
            Ok(Some(minted)) => return Ok(minted),
            Ok(None) => {}
            Err(mut denial) => {
                app.audit(refused(request, &assertion, &denial));
                if !denial.refusal.mismatches.is_empty() && !is_unused(app, &assertion).await {
                    denial.refusal.undisclosed();
                }
                return Err(denial.refusal);
            }
        }
    }
    Err(Refusal::later(Reason::Busy, 1))
}

/// Verifies an assertion with the keys of the trusted issuer that it names.
pub async fn verify(app: &App, assertion: &str) -> Result<VerifiedAssertion, Refusal> {
    let unverified = UnverifiedAssertion::parse(assertion)?;
    let issuer = unverified.issuer(&app.rules())?;
    unverified.verify(issuer, &app.upstream, app.clock.now()).await
}

/// Whether no token was issued for the assertion yet, as far as can be told.
pub async fn is_unused(app: &App, assertion: &VerifiedAssertion) -> bool {
    match assertion.key() {
        None => true,
        Some(key) => matches!(app.store.is_consumed(key).await, Ok(false)),
    }
}

/// Makes and records a token as of the present rules; none if they changed meanwhile and everything has to be judged again.
async fn issue(
    app: &App,
    request: &GrantRequest<'_>,
    assertion: &Arc<VerifiedAssertion>,
) -> Result<Option<Minted>, Box<Denial>> {
    let (rules, now) = (app.rules(), app.clock.now());
    if !rules.is_current(assertion.issuer()) {
        return Ok(None);
    }
    let permit = Permit::new(assertion.clone(), rules, now)?;
    if let Err(refusal) = app.limits.check_issuer(assertion.issuer().id) {
        return Err(permit.deny(refusal));
    }
    // A rule over its limit gives nothing; it does not take away what others give.
    let (permit, spent) = permit.sparing(|credential| app.limits.check_credential(credential))?;
    let authorization = authorize(permit, &request.access).map_err(|mut denial| {
        // With the rule that is over its limit it might have been a yes: the caller shall come again, not give up.
        denial.refusal = spent.unwrap_or(denial.refusal);
        denial
    })?;
    let credentials: Vec<_> =
        authorization.entitlement().credentials.iter().map(|granting| granting.credential.id).collect();
    let client_id = client_id(&request.client, &authorization);
    let minted = match app.tokens.mint(&authorization, &client_id, now) {
        Ok(minted) => minted,
        Err(error) => return Err(authorization.deny(cannot_mint(&error))),
    };
    let issuance = issuance(request, &authorization, &minted, client_id, now);
    let unavailable =
        |error: &dyn std::fmt::Display| Refusal::later(Reason::DatabaseUnavailable, 1).with_detail(error.to_string());
    match app.ledger.commit(issuance).await {
        Ok(Committed::Issued) => {
            app.limits.note_token(assertion.issuer().id, credentials.iter().copied());
            for credential in credentials {
                app.note_use(credential, now);
            }
            Ok(Some(minted))
        }
        Ok(Committed::Replayed) => Err(authorization.deny(Reason::Replay.into())),
        Ok(Committed::Stale) => match app.refresh().await {
            Ok(()) => Ok(None),
            Err(error) => Err(authorization.deny(unavailable(&error))),
        },
        Err(error) => Err(authorization.deny(unavailable(&error))),
    }
}

fn cannot_mint(error: &MintError) -> Refusal {
    match error {
        MintError::Over(_, reason) => Refusal::new(*reason),
        MintError::Signing(_) | MintError::NoKey | MintError::Claims(_) => {
            Refusal::new(Reason::Internal).with_detail(error.to_string())
        }
    }
}

/// The `client_id` of a token (RFC 9068 section 2.2): the client, or the newest credential where nobody registered one.
fn client_id(client: &ClientIdentity, authorization: &Authorization) -> String {
    let newest = || {
        let newest = authorization.entitlement().credentials.first();
        newest.map(|granting| format!("federated:{}", granting.credential.id)).unwrap_or_default()
    };
    client.id().map_or_else(newest, str::to_owned)
}

fn issuance(
    request: &GrantRequest<'_>,
    authorization: &Authorization,
    minted: &Minted,
    client_id: String,
    now: Timestamp,
) -> Issuance {
    let entitlement = authorization.entitlement();
    let assertion = authorization.permit().assertion();
    let pins = entitlement.credentials.iter().filter(|granting| !granting.pins.is_empty());
    let principals = entitlement.details.iter().map(|detail| detail.principal.clone());
    Issuance {
        consumed: assertion.key().map(|key| (*key, assertion.remembered_until())),
        version: authorization.permit().report().version,
        dependencies: Dependencies {
            trusted_issuer: Some(assertion.issuer().id),
            resource_server: entitlement.resource_server.name.clone(),
            credentials: entitlement.credentials.iter().map(|granting| granting.credential.id).collect(),
            principals: principals.collect(),
        },
        pins: pins
            .map(|granting| Pin {
                credential: granting.credential.id,
                revision: granting.credential.revision,
                ids: granting.pins.clone(),
            })
            .collect(),
        event: issued(request, authorization, minted, client_id),
        now,
    }
}

fn issued(request: &GrantRequest<'_>, authorization: &Authorization, minted: &Minted, client_id: String) -> AuditEvent {
    let entitlement = authorization.entitlement();
    let assertion = authorization.permit().assertion();
    let granted = |granting: &Granting| GrantedBy {
        credential: granting.credential.id,
        revision: granting.credential.revision,
        pinned: granting.pins.clone(),
    };
    let detail = EventDetail {
        scope: Some(&minted.scope),
        expires_at: Some(minted.expires_at.to_string()),
        credentials: entitlement.credentials.iter().map(granted).collect(),
        ..EventDetail::of(request, assertion, &minted.workload)
    };
    AuditEvent {
        trusted_issuer: Some(assertion.issuer().name.clone()),
        credential: entitlement.credentials.first().map(|granting| granting.credential.id),
        principal: entitlement.principal.as_ref().map(|principal| principal.name.clone()),
        resource: Some(entitlement.resource_server.resource.clone()),
        client_id: Some(client_id),
        token_id: Some(minted.token_id.clone()),
        address: request.address,
        detail: detail.into_json(),
        ..AuditEvent::with_id(request.id, Outcome::Issued)
    }
}

fn refused(request: &GrantRequest<'_>, assertion: &VerifiedAssertion, denial: &Denial) -> AuditEvent {
    let closest = denial.report.closest();
    let principal = closest.and_then(|candidate| candidate.principal.as_ref());
    // The owner of a rule sees everything of it; the candidates beyond are named in the explanation.
    let described = denial.report.candidates.iter().take(DESCRIBED);
    let workload = serde_json::value::to_raw_value(&Workload::of(assertion)).unwrap_or_default();
    let detail = EventDetail {
        mismatches: described.flat_map(|one| one.mismatches(assertion.issuer(), assertion.claims())).collect(),
        detail: denial.refusal.detail.as_deref(),
        ..EventDetail::of(request, assertion, &workload)
    };
    AuditEvent {
        reason: Some(denial.refusal.reason),
        trusted_issuer: Some(assertion.issuer().name.clone()),
        credential: closest.map(|candidate| candidate.credential.id),
        principal: principal.map(|principal| principal.name.clone()),
        resource: request.access.resources.first().cloned(),
        client_id: request.client.id().map(str::to_owned),
        address: request.address,
        detail: detail.into_json(),
        ..AuditEvent::with_id(request.id, Outcome::Refused)
    }
}

/// What the audit event of a token request tells beside its columns.
#[derive(Serialize)]
struct EventDetail<'a> {
    grant_type: &'static str,
    workload: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    workload_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    credentials: Vec<GrantedBy>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mismatches: Vec<Mismatch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<&'a str>,
}

#[derive(Serialize)]
struct GrantedBy {
    credential: CredentialId,
    revision: u32,
    #[serde(skip_serializing_if = "Map::is_empty")]
    pinned: Map<String, Value>,
}

impl<'a> EventDetail<'a> {
    fn of(request: &GrantRequest<'_>, assertion: &VerifiedAssertion, workload: &'a RawValue) -> Self {
        let issuer = assertion.issuer();
        Self {
            grant_type: request.grant_type.name(),
            workload,
            workload_url: issuer.profile.workload_url(&issuer.issuer, assertion.claims()),
            scope: None,
            expires_at: None,
            credentials: Vec::new(),
            mismatches: Vec::new(),
            detail: None,
        }
    }

    fn into_json(self) -> String {
        let mut json = Vec::with_capacity(TYPICAL_DETAIL_BYTES);
        match serde_json::to_writer(&mut json, &self) {
            Ok(()) => String::from_utf8(json).unwrap_or_default(),
            Err(_) => "{}".to_owned(),
        }
    }
}
