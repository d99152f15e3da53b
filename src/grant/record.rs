//! What is written down of a request: the one transaction of an issued token, and the audit events.

use std::collections::BTreeSet;
use std::sync::Arc;

use carnet_resource_server::Actor;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::redeem::Decision;
use super::{GrantRequest, Moment};
use crate::assertion::VerifiedAssertion;
use crate::audit::{AuditEvent, Outcome};
use crate::client::ClientIdentity;
use crate::clock::Timestamp;
use crate::ids::CredentialId;
use crate::model::Snapshot;
use crate::own_tokens::{FEDERATED, LiveToken};
use crate::principal::{Authorization, Grounds};
use crate::refusal::{Mismatch, Refusal};
use crate::store::{Dependencies, Exchanged, Issuance, Pin, TokenRecord};
use crate::token::{Minted, Workload};
use crate::trust::{Denial, MatchedRule};

/// Candidates described in the audit event of a refusal.
const DESCRIBED: usize = 10;
/// Room for the detail of most audit events.
const TYPICAL_DETAIL_BYTES: usize = 1024;

/// The `client_id` of a token (RFC 9068 section 2.2): the client, or the newest credential where nobody registered one.
pub(super) fn client_id(client: &ClientIdentity, authorization: &Authorization) -> String {
    let newest = || {
        let newest = authorization.entitlement().credentials.first();
        newest.map(|granting| format!("{FEDERATED}{}", granting.credential.id)).unwrap_or_default()
    };
    client.id().map_or_else(newest, str::to_owned)
}

/// What has to be written for a token.
pub(super) fn issuance(
    request: &GrantRequest<'_>,
    decision: &Decision,
    minted: &Minted,
    client_id: String,
    moment: &Moment,
) -> Issuance {
    let authorization = &decision.authorization;
    let entitlement = authorization.entitlement();
    let lent = decision.delegation.as_ref().map(|delegation| delegation.rules.as_slice()).unwrap_or_default();
    let subject = match authorization.grounds() {
        Grounds::Workload(permit) => Some(permit.assertion()),
        Grounds::Token(_) | Grounds::Client(_) => None,
    };
    let actor = decision.delegation.as_ref().and_then(|delegation| delegation.assertion.as_ref());
    let mut granting: Vec<&MatchedRule> = Vec::with_capacity(entitlement.credentials.len());
    for one in entitlement.credentials.iter().chain(lent).chain(&request.admitted) {
        if !granting.iter().any(|other| other.credential.id == one.credential.id) {
            granting.push(one);
        }
    }
    let principals = entitlement.details.iter().map(|detail| detail.principal.clone());
    let presented = subject.into_iter().chain(actor).map(|assertion| assertion.issuer().id);
    let of_rules = granting.iter().map(|granting| granting.credential.trusted_issuer);
    let of_rules_beside = lent.iter().chain(&request.admitted);
    let principals = principals.chain(principals_of(of_rules_beside, &moment.rules));
    let subject_token = match authorization.grounds() {
        Grounds::Token(parent) => Some(&parent.claims().jti),
        Grounds::Workload(_) | Grounds::Client(_) => None,
    };
    let actor_token = decision.delegation.as_ref().and_then(|delegation| delegation.token_id.as_ref());
    let parents: BTreeSet<&String> = subject_token.into_iter().chain(actor_token).collect();
    let exchanged = parents.into_iter().map(|parent| Exchanged {
        child: minted.token_id.clone(),
        parent: parent.clone(),
        expires_at: minted.expires_at,
    });
    Issuance {
        consumed: consumed(request, subject, actor),
        version: moment.rules.version,
        dependencies: Dependencies {
            trusted_issuers: presented.chain(of_rules).collect(),
            resource_server: Some(entitlement.resource_server.name.clone()),
            credentials: granting.iter().map(|granting| granting.credential.id).collect(),
            principals: principals.collect(),
            client: request.client.id().map(str::to_owned),
        },
        pins: pins(granting.iter().copied()),
        token: TokenRecord { exchanged: exchanged.collect(), opaque: minted.opaque.clone() },
        event: issued(request, decision, minted, client_id),
        now: moment.now,
    }
}

/// The principals of rules, as they are written.
fn principals_of<'r>(
    granting: impl Iterator<Item = &'r MatchedRule>,
    rules: &Snapshot,
) -> impl Iterator<Item = String> {
    granting.filter_map(|one| rules.principal(&one.credential.principal)).map(|principal| principal.name.clone())
}

fn pins<'r>(granting: impl Iterator<Item = &'r MatchedRule>) -> Vec<Pin> {
    granting.filter(|granting| !granting.pins.is_empty()).map(pin).collect()
}

fn pin(granting: &MatchedRule) -> Pin {
    Pin { credential: granting.credential.id, revision: granting.credential.revision, ids: granting.pins.clone() }
}

/// Every assertion that a request came with is used up by it, whatever it was presented as.
fn consumed(
    request: &GrantRequest<'_>,
    subject: Option<&Arc<VerifiedAssertion>>,
    actor: Option<&Arc<VerifiedAssertion>>,
) -> Vec<(crate::assertion::AssertionKey, Timestamp)> {
    let presented = subject.into_iter().chain(actor);
    let mut consumed: Vec<_> =
        presented.filter_map(|assertion| assertion.key().map(|key| (*key, assertion.remembered_until()))).collect();
    // A client without a key of its own has one assertion for both ends.
    let is_subject = request.is_about_client() && subject.is_some();
    consumed.extend(request.client.consumed().filter(|_| !is_subject));
    consumed
}

fn issued(request: &GrantRequest<'_>, decision: &Decision, minted: &Minted, client_id: String) -> AuditEvent {
    let entitlement = decision.authorization.entitlement();
    let granted = |granting: &MatchedRule| GrantedBy {
        credential: granting.credential.id,
        revision: granting.credential.revision,
        pinned: granting.pins.clone(),
    };
    let (mut detail, trusted_issuer) = match decision.authorization.grounds() {
        Grounds::Workload(permit) => {
            let assertion = permit.assertion();
            let detail = EventDetail { workload_url: workload_url(assertion), ..EventDetail::of(request) };
            (detail, Some(assertion.issuer().name.clone()))
        }
        Grounds::Token(token) => {
            (EventDetail { subject_token: Some(&token.claims().jti), ..EventDetail::of(request) }, None)
        }
        Grounds::Client(_) => (EventDetail::of(request), None),
    };
    detail.workload = minted.workload.as_deref();
    detail.scope = Some(&minted.scope);
    detail.expires_at = Some(minted.expires_at.to_string());
    detail.credentials = entitlement.credentials.iter().map(granted).collect();
    detail.act = decision.delegation.as_ref().map(|delegation| &delegation.acting.act);
    AuditEvent {
        trusted_issuer,
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

/// An admin token for a client.
pub(super) fn issued_admin(request: &GrantRequest<'_>, minted: &Minted, resource: String) -> AuditEvent {
    let detail = EventDetail {
        scope: Some(&minted.scope),
        expires_at: Some(minted.expires_at.to_string()),
        ..EventDetail::of(request)
    };
    AuditEvent {
        resource: Some(resource),
        client_id: request.client.id().map(str::to_owned),
        token_id: Some(minted.token_id.clone()),
        address: request.address,
        detail: detail.into_json(),
        ..AuditEvent::with_id(request.id, Outcome::Issued)
    }
}

/// What an admin token's transaction is.
pub(super) fn admin_issuance(request: &GrantRequest<'_>, event: AuditEvent, moment: &Moment) -> Issuance {
    Issuance {
        consumed: consumed(request, None, None),
        version: moment.rules.version,
        dependencies: Dependencies {
            trusted_issuers: request.admitted.iter().map(|granting| granting.credential.trusted_issuer).collect(),
            credentials: request.admitted.iter().map(|granting| granting.credential.id).collect(),
            principals: principals_of(request.admitted.iter(), &moment.rules).collect(),
            client: request.client.id().map(str::to_owned),
            ..Dependencies::default()
        },
        pins: pins(request.admitted.iter()),
        token: TokenRecord::default(),
        event,
        now: moment.now,
    }
}

/// A refusal of a verified assertion.
pub(super) fn refused(request: &GrantRequest<'_>, assertion: &VerifiedAssertion, denial: &Denial) -> AuditEvent {
    let closest = denial.report.closest();
    let principal = closest.and_then(|candidate| candidate.principal.as_ref());
    // The owner of a rule sees everything of it; the candidates beyond are named in the explanation.
    let described = denial.report.candidates.iter().take(DESCRIBED);
    let workload = serde_json::value::to_raw_value(&Workload::of(assertion)).unwrap_or_default();
    let detail = EventDetail {
        workload: Some(&workload),
        workload_url: workload_url(assertion),
        mismatches: described.flat_map(|one| one.mismatches(assertion.issuer(), assertion.claims())).collect(),
        detail: denial.refusal.detail.as_deref(),
        ..EventDetail::of(request)
    };
    AuditEvent {
        trusted_issuer: Some(assertion.issuer().name.clone()),
        credential: closest.map(|candidate| candidate.credential.id),
        principal: principal.map(|principal| principal.name.clone()),
        detail: detail.into_json(),
        ..refusal(request, &denial.refusal)
    }
}

/// A refusal of a token of ours that is genuine.
pub(super) fn refused_token(request: &GrantRequest<'_>, token: &LiveToken, why: &Refusal) -> AuditEvent {
    let claims = token.claims();
    let detail =
        EventDetail { subject_token: Some(&claims.jti), detail: why.detail.as_deref(), ..EventDetail::of(request) };
    let credential = claims.authorization_details.iter().find_map(|entry| entry.credential.parse().ok());
    AuditEvent {
        credential,
        principal: claims.principal.as_ref().map(|principal| principal.name.clone()),
        detail: detail.into_json(),
        ..refusal(request, why)
    }
}

/// A refusal of an authenticated client.
pub(super) fn refused_client(request: &GrantRequest<'_>, why: &Refusal) -> AuditEvent {
    let detail = EventDetail { detail: why.detail.as_deref(), ..EventDetail::of(request) };
    AuditEvent { detail: detail.into_json(), ..refusal(request, why) }
}

fn refusal(request: &GrantRequest<'_>, why: &Refusal) -> AuditEvent {
    AuditEvent {
        reason: Some(why.reason),
        resource: request.access.resources.first().cloned(),
        client_id: request.client.id().map(str::to_owned),
        address: request.address,
        ..AuditEvent::with_id(request.id, Outcome::Refused)
    }
}

fn workload_url(assertion: &VerifiedAssertion) -> Option<String> {
    let issuer = assertion.issuer();
    issuer.profile.workload_url(&issuer.issuer, assertion.claims())
}

/// What the audit event of a token request tells beside its columns.
#[derive(Default, Serialize)]
struct EventDetail<'a> {
    grant_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    workload: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    workload_url: Option<String>,
    /// The `jti` of the token that was exchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<&'a Actor>,
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

impl EventDetail<'_> {
    fn of(request: &GrantRequest<'_>) -> Self {
        Self { grant_type: request.grant_type.name(), ..Self::default() }
    }

    fn into_json(self) -> String {
        let mut json = Vec::with_capacity(TYPICAL_DETAIL_BYTES);
        match serde_json::to_writer(&mut json, &self) {
            Ok(()) => String::from_utf8(json).unwrap_or_default(),
            Err(_) => "{}".to_owned(),
        }
    }
}
