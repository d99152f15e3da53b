//! What is written down of a request: the one transaction of an issued token, and the audit events.

use std::collections::BTreeSet;

use carnet_jose::{base64url, sha256};
use carnet_resource_server::{AccessToken, Actor};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::{About, GrantRequest, Judged, Refused};
use crate::assertion::{AcceptedAssertion, Assertion as _, AssertionContent, AssertionKey, Workload};
use crate::audit::{AssertionRef, AuditEvent, AuditPart, MAX_DETAIL_BYTES, Outcome};
use crate::client::ClientIdentity;
use crate::clock::Timestamp;
use crate::decision::{Authorization, Decision, Grounds, Presented, Subject};
use crate::ids::CredentialId;
use crate::json::{element_bytes, json_bytes};
use crate::model::{DecisionContext, Snapshot};
use crate::reason::Reason;
use crate::refusal::Mismatch;
use crate::store::{Dependencies, Exchanged, Issuance, Pin, TokenRecord};
use crate::token::Minted;
use crate::trust::{Candidate, Door, MatchReport, MatchedRule, Rank, visit_claims_read};

/// Candidates described in the audit event of a refusal.
const DESCRIBED: usize = 10;
/// How much room all of that, and one value of it, may take: a row has 4 KiB (contract, section 6).
const DESCRIBED_BYTES: usize = 2048;
const DESCRIBED_VALUE_BYTES: usize = 256;
/// How large the claims may be that are kept.
const MAX_CLAIMS_BYTES: usize = 3 * 1024;
/// How many rules and mismatches are described where there is too much to tell.
const SHORTENED: usize = 10;
/// Room for the detail of most audit events.
const TYPICAL_DETAIL_BYTES: usize = 1024;

/// What has to be written for a token.
pub(super) fn issuance(
    context: &DecisionContext<'_>,
    request: &GrantRequest<'_>,
    judged: &Judged,
    minted: &Minted,
) -> Issuance {
    let Judged { subject, decision } = judged;
    let admitting = subject.client.rules();
    let (granting, lent): (&[MatchedRule], &[MatchedRule]) = match decision {
        Decision::Registry(authorization) => (
            &authorization.entitlement().credentials,
            authorization.delegation().map(|delegation| delegation.rules.as_slice()).unwrap_or_default(),
        ),
        Decision::Admin(_) => (&[], &[]),
    };
    let rules = MatchedRule::distinct(granting.iter().chain(lent).chain(admitting).cloned());
    let of_others = lent.iter().chain(admitting).filter_map(|rule| context.rules.principal(&rule.credential.principal));
    let mut principals: Vec<String> = of_others.map(|principal| principal.name.clone()).collect();
    let mut resource_server = None;
    if let Decision::Registry(authorization) = decision {
        let entitlement = authorization.entitlement();
        principals.extend(entitlement.details.iter().map(|detail| detail.principal.clone()));
        resource_server = Some(entitlement.resource_server.name.clone());
    }
    let presented = subject.assertions().map(|assertion| assertion.issuer().id);
    Issuance {
        consumed: consumed(subject),
        version: context.rules.version,
        dependencies: Dependencies {
            trusted_issuers: presented.chain(rules.iter().map(|rule| rule.credential.trusted_issuer)).collect(),
            resource_server,
            credentials: rules.iter().map(|rule| rule.credential.id).collect(),
            principals,
            client: subject.client.identity().id().map(str::to_owned),
        },
        pins: rules.iter().filter(|rule| !rule.pins.is_empty()).map(pin).collect(),
        token: TokenRecord { exchanged: exchanged(subject, minted), opaque: minted.opaque.clone() },
        event: match decision {
            Decision::Registry(authorization) => issued(context, request, authorization, minted),
            Decision::Admin(_) => issued_admin(context, request, judged, minted),
        },
        now: context.now,
    }
}

fn pin(rule: &MatchedRule) -> Pin {
    Pin { credential: rule.credential.id, revision: rule.credential.revision, ids: rule.pins.clone() }
}

/// Every assertion that a request came with is used up by it, whatever it was presented as.
pub(super) fn consumed(subject: &Subject<AcceptedAssertion>) -> Vec<(AssertionKey, Timestamp)> {
    let presented = subject.assertions();
    let keys = presented.filter_map(|assertion| assertion.key().map(|key| (*key, assertion.remembered_until())));
    // A client without a key of its own may have one assertion for both ends.
    let is_subject = matches!(subject.presented, Presented::ClientAssertion(_));
    keys.chain(subject.client.identity().consumed().filter(|_| !is_subject)).collect()
}

/// The tokens of ours that a token is made from.
fn exchanged(subject: &Subject<AcceptedAssertion>, minted: &Minted) -> Vec<Exchanged> {
    let parents: BTreeSet<&String> = subject.tokens().map(|token| &token.claims().jti).collect();
    let child = |parent: &String| Exchanged {
        child: minted.token_id.clone(),
        parent: parent.clone(),
        expires_at: minted.expires_at,
    };
    parents.into_iter().map(child).collect()
}

fn issued(
    context: &DecisionContext<'_>,
    request: &GrantRequest<'_>,
    authorization: &Authorization<AcceptedAssertion>,
    minted: &Minted,
) -> AuditEvent {
    let entitlement = authorization.entitlement();
    let granted = |rule: &MatchedRule| GrantedBy {
        credential: rule.credential.id,
        revision: rule.credential.revision,
        pinned: rule.pins.clone(),
    };
    let (mut detail, mut trusted_issuer) = (EventDetail::of(request), None);
    let mut assertion = None;
    match authorization.grounds() {
        Grounds::Workload(permit) => {
            let presented = permit.assertion().content();
            detail.workload_url = workload_url(presented);
            detail.claims = claims_read(&entitlement.credentials, presented);
            trusted_issuer = Some(presented.issuer().name.clone());
            assertion = reference(presented);
        }
        Grounds::Token(token) => detail.subject_token = Some(&token.claims().jti),
        Grounds::Client(_) => {}
    }
    detail.workload = minted.workload.as_deref();
    detail.scope = Some(&minted.scope);
    detail.expires_at = Some(minted.expires_at.to_string());
    detail.credentials = entitlement.credentials.iter().map(granted).collect();
    detail.entries_left_out = Some(entitlement.left_out).filter(|left_out| *left_out > 0);
    detail.act = authorization.act();
    AuditEvent {
        trusted_issuer,
        assertion,
        parts: parts_of(context, request, authorization),
        credential: entitlement.credentials.first().map(|rule| rule.credential.id),
        principal: entitlement.principal.as_ref().map(|principal| principal.name.clone()),
        resource: Some(entitlement.resource_server.resource.clone()),
        client_id: Some(minted.client_id.clone()),
        token_id: Some(minted.token_id.clone()),
        address: request.address,
        detail: detail.into_json(),
        ..AuditEvent::with_id(request.id, Outcome::Issued)
    }
}

/// An admin token for a client.
fn issued_admin(
    context: &DecisionContext<'_>,
    request: &GrantRequest<'_>,
    judged: &Judged,
    minted: &Minted,
) -> AuditEvent {
    let detail = EventDetail {
        scope: Some(&minted.scope),
        expires_at: Some(minted.expires_at.to_string()),
        ..EventDetail::of(request)
    };
    AuditEvent {
        resource: Some(context.own.admin_resource()),
        client_id: judged.subject.client.identity().id().map(str::to_owned),
        token_id: Some(minted.token_id.clone()),
        address: request.address,
        detail: detail.into_json(),
        ..AuditEvent::with_id(request.id, Outcome::Issued)
    }
}

/// Who may see that a token was issued: whose entries are in it, who was asked for, and who acted.
fn parts_of(
    context: &DecisionContext<'_>,
    request: &GrantRequest<'_>,
    authorization: &Authorization<AcceptedAssertion>,
) -> Vec<AuditPart> {
    let rules = &context.rules;
    let by_name = |name: &str| rules.principal(&name.to_ascii_lowercase());
    let part = |rule: &MatchedRule, sees_claims: bool| {
        Some(AuditPart {
            // Rules name their principal as it is looked up.
            principal_id: rules.principal(&rule.credential.principal)?.id.clone(),
            credential: Some(rule.credential.id),
            revision: Some(rule.credential.revision),
            sees_claims,
        })
    };
    let entitlement = authorization.entitlement();
    let door = request.access().map_or(Door::Token, |access| access.door);
    let granting = entitlement.credentials.iter().filter_map(|rule| {
        let issuer = rules.issuer(rule.credential.trusted_issuer);
        let is_vouched = issuer.is_some_and(|issuer| rule.credential.is_vouched_under(issuer));
        part(rule, is_vouched || door == Door::Token)
    });
    let acting = authorization.delegation().into_iter().flat_map(|delegation| &delegation.rules);
    let mut parts: Vec<AuditPart> = granting.chain(acting.filter_map(|rule| part(rule, false))).collect();
    let owners = entitlement.details.iter().map(|entry| entry.principal.as_str());
    let asked = request.access().and_then(|access| access.principal.as_deref());
    for principal in owners.chain(asked).filter_map(by_name) {
        see(&mut parts, &principal.id);
    }
    parts.sort_by(|left, right| left.principal_id.cmp(&right.principal_id));
    parts
}

/// Lets a principal see an event and what the assertion says, unless it does already.
fn see(parts: &mut Vec<AuditPart>, principal_id: &str) {
    if !parts.iter().any(|part| part.principal_id == principal_id) {
        parts.push(AuditPart {
            principal_id: principal_id.to_owned(),
            credential: None,
            revision: None,
            sees_claims: true,
        });
    }
}

/// Which assertion it was.
fn reference(content: &AssertionContent) -> Option<AssertionRef> {
    let digest = base64url(content.digest()?);
    Some(AssertionRef { digest, jti: content.id().map(str::to_owned) })
}

/// What the rules read of the claims, beyond what is told of the workload, so that it can be explained again later. Of more than
/// there is room for, nothing.
fn claims_read<'a>(rules: &[MatchedRule], content: &'a AssertionContent) -> Option<ClaimsRead<'a>> {
    let profile = &content.issuer().profile;
    let mut read = ClaimsRead(Vec::new());
    for rule in rules {
        visit_claims_read(&rule.credential, profile, |path| {
            if let Some(value) = content.claims().get(path).filter(|_| !read.0.iter().any(|(known, _)| known == path)) {
                read.0.push((path.to_owned(), value));
            }
        });
    }
    (!read.0.is_empty() && json_bytes(&read) <= MAX_CLAIMS_BYTES).then_some(read)
}

/// Claims by path, without copies of their values.
struct ClaimsRead<'a>(Vec<(String, &'a Value)>);

impl Serialize for ClaimsRead<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(path, value)| (path, value)))
    }
}

/// The event of a refusal, if it is about something that somebody vouches for. Those that are alike are counted in one, an hour at a
/// time.
pub(super) fn refused(
    context: &DecisionContext<'_>,
    request: &GrantRequest<'_>,
    refused: &Refused,
) -> Option<AuditEvent> {
    let mut event = event_of_refusal(context, request, refused)?;
    let hour = context.now.seconds().div_euclid(3600).to_string();
    let parts = event.parts.iter().map(|part| part.principal_id.as_str());
    let texts = [
        event.trusted_issuer.as_deref(),
        event.subject.as_deref(),
        event.client_id.as_deref(),
        event.reason.map(Reason::code),
        Some(&hour),
    ];
    let key: Vec<&str> = texts.into_iter().map(Option::unwrap_or_default).chain(parts).collect();
    event.fold = Some(sha256(key.join("\0").as_bytes()));
    Some(event)
}

fn event_of_refusal(
    context: &DecisionContext<'_>,
    request: &GrantRequest<'_>,
    refused: &Refused,
) -> Option<AuditEvent> {
    let why = &refused.refusal;
    let mut detail = EventDetail { detail: why.detail.as_deref(), ..EventDetail::of(request) };
    let event = AuditEvent {
        reason: Some(why.reason),
        resource: match &request.parameters {
            Ok(parameters) => parameters.access.resources.first().cloned(),
            Err(_) => None,
        },
        client_id: refused.client.as_ref().and_then(ClientIdentity::id).map(str::to_owned),
        address: request.address,
        ..AuditEvent::with_id(request.id, Outcome::Refused)
    };
    match &refused.about {
        About::Nothing | About::Unaccepted(_) => None,
        // Its client asks too often: that is counted, and needs no row for each time.
        About::Client if why.reason == Reason::RateLimited => None,
        About::Client => Some(AuditEvent { detail: detail.into_json(), ..event }),
        About::Token(token) => {
            let claims = token.claims();
            detail.subject_token = Some(&claims.jti);
            let parts = parts_of_token(&context.rules, claims);
            Some(AuditEvent {
                subject: Some(claims.sub.clone()),
                parts,
                credential: claims.authorization_details.iter().find_map(|entry| entry.credential.parse().ok()),
                principal: claims.principal.as_ref().map(|principal| principal.name.clone()),
                detail: detail.into_json(),
                ..event
            })
        }
        // Nobody's rule came near: that is counted, and logged.
        About::Assertion(_, report) if report.candidates.is_empty() && event.client_id.is_none() => None,
        About::Assertion(assertion, report) => {
            let closest = report.closest();
            let principal = closest.and_then(|candidate| candidate.principal.as_ref());
            let workload = serde_json::value::to_raw_value(&Workload::of(assertion)).unwrap_or_default();
            detail.workload = Some(&workload);
            detail.workload_url = workload_url(assertion);
            // The owner of a rule sees everything of it; the candidates beyond are named in the explanation.
            let mut described: Vec<&Candidate> = report.candidates.iter().collect();
            described.sort_by_key(|candidate| candidate.rank);
            let described = described.into_iter().take(DESCRIBED);
            let mismatches = described.flat_map(|one| one.mismatches(assertion.issuer(), assertion.claims()));
            let mut room = DESCRIBED_BYTES;
            let fits = |mismatch: &Mismatch| {
                let left = room.checked_sub(element_bytes(mismatch));
                room = left.unwrap_or_default();
                left.is_some()
            };
            detail.mismatches = mismatches.map(|one| one.brief(DESCRIBED_VALUE_BYTES)).take_while(fits).collect();
            let near: Vec<MatchedRule> = closest.map(MatchedRule::of).into_iter().collect();
            detail.claims = claims_read(&near, assertion);
            Some(AuditEvent {
                subject: Some(assertion.subject().to_owned()),
                assertion: reference(assertion),
                parts: parts_of_refusal(context, request, report),
                trusted_issuer: Some(assertion.issuer().name.clone()),
                credential: closest.map(|candidate| candidate.credential.id),
                principal: principal.map(|principal| principal.name.clone()),
                detail: detail.into_json(),
                ..event
            })
        }
    }
}

/// Who may see what becomes of a token of ours: whose entries are in it.
pub fn parts_of_token(rules: &Snapshot, claims: &AccessToken) -> Vec<AuditPart> {
    let entries = claims.authorization_details.iter().filter_map(|entry| {
        Some(AuditPart {
            principal_id: rules.principal(&entry.principal.to_ascii_lowercase())?.id.clone(),
            credential: entry.credential.parse().ok(),
            revision: Some(entry.revision),
            sees_claims: claims.principal.is_some() || is_invited(rules, &entry.credential),
        })
    });
    let mut parts: Vec<AuditPart> = entries.collect();
    parts.sort_by(|left, right| (&left.principal_id, left.credential).cmp(&(&right.principal_id, right.credential)));
    parts.dedup_by(|left, right| left.principal_id == right.principal_id && left.credential == right.credential);
    parts
}

/// Whether an entry's principal did not come by itself: in a key of several principals somebody vouches for its rule, or it is a
/// client's.
fn is_invited(rules: &Snapshot, credential: &str) -> bool {
    let Ok(id) = credential.parse::<CredentialId>() else { return true };
    let rule = rules.credential(id);
    rule.is_some_and(|rule| rules.issuer(rule.trusted_issuer).is_some_and(|issuer| rule.is_vouched_under(issuer)))
}

/// Who may see a refusal: who was asked for, and whose vouched rules came closest.
fn parts_of_refusal(context: &DecisionContext<'_>, request: &GrantRequest<'_>, report: &MatchReport) -> Vec<AuditPart> {
    let nearest = |rank: Rank| {
        let of_rank = || report.candidates.iter().filter(move |candidate| candidate.rank == rank);
        let least = of_rank().map(|candidate| candidate.unmet().count()).min();
        of_rank().filter(move |candidate| Some(candidate.unmet().count()) == least).take(DESCRIBED)
    };
    let part = |candidate: &Candidate| {
        Some(AuditPart {
            principal_id: candidate.principal.as_ref()?.id.clone(),
            credential: Some(candidate.credential.id),
            revision: Some(candidate.credential.revision),
            sees_claims: true,
        })
    };
    let mut parts: Vec<AuditPart> = nearest(Rank::Named).chain(nearest(Rank::Vouched)).filter_map(part).collect();
    let asked = request.access().and_then(|access| access.principal.as_deref());
    if let Some(principal) = asked.and_then(|name| context.rules.principal(&name.to_ascii_lowercase())) {
        see(&mut parts, &principal.id);
    }
    parts.sort_by(|left, right| left.principal_id.cmp(&right.principal_id));
    parts
}

fn workload_url(assertion: &AssertionContent) -> Option<String> {
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
    /// What the rules read of the claims beyond what is told of the workload.
    #[serde(skip_serializing_if = "Option::is_none")]
    claims: Option<ClaimsRead<'a>>,
    /// The `jti` of the token that was exchanged.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    act: Option<&'a Actor>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    /// How many permissions found no room in the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    entries_left_out: Option<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    credentials: Vec<GrantedBy>,
    /// How many more rules gave the token.
    #[serde(skip_serializing_if = "Option::is_none")]
    credentials_left_out: Option<usize>,
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

    /// As it is stored. Of what is too much goes first what only helps to explain again, then what stands in the parts as well.
    fn into_json(mut self) -> String {
        let whole = self.json();
        if whole.len() <= MAX_DETAIL_BYTES {
            return whole;
        }
        self.claims = None;
        self.mismatches.truncate(self.mismatches.len().min(SHORTENED));
        self.credentials_left_out = Some(self.credentials.len().saturating_sub(SHORTENED)).filter(|more| *more > 0);
        self.credentials.truncate(SHORTENED);
        let shorter = self.json();
        if shorter.len() <= MAX_DETAIL_BYTES {
            return shorter;
        }
        (self.mismatches, self.workload, self.act) = (Vec::new(), None, None);
        self.json()
    }

    fn json(&self) -> String {
        let mut json = Vec::with_capacity(TYPICAL_DETAIL_BYTES);
        match serde_json::to_writer(&mut json, self) {
            Ok(()) => String::from_utf8(json).unwrap_or_default(),
            Err(_) => "{}".to_owned(),
        }
    }
}
