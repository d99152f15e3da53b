//! The audit event of a refused request.

use serde_json::Value;

use super::super::{About, GrantRequest, Refused};
use super::detail::{EventDetail, workload_url};
use super::workload::names;
use super::{parts_of_token, person_of, reference, see};
use crate::assertion::{AssertionContent, Workload};
use crate::audit::{AuditEvent, AuditPart, FoldKey, Outcome};
use crate::client::ClientIdentity;
use crate::ids::EventId;
use crate::json::element_bytes;
use crate::model::DecisionContext;
use crate::principal::AccessRequest;
use crate::reason::Reason;
use crate::refusal::Mismatch;
use crate::trust::{Candidate, MatchReport, MatchedRule, Rank};

/// Candidates whose mismatches go into the audit event of a refusal.
const DESCRIBED: usize = 10;
/// Budget in bytes for all mismatches of an event, and for each value in them. The whole detail has
/// [`MAX_DETAIL_BYTES`](crate::audit::MAX_DETAIL_BYTES).
const DESCRIBED_BYTES: usize = 2048;
const DESCRIBED_VALUE_BYTES: usize = 256;

/// The audit event of a refusal; `None` if metrics and log are enough. Equal refusals of one hour
/// share a fold key and are counted in one row.
pub(in crate::grant) fn refused(
    context: &DecisionContext<'_>,
    request: &GrantRequest<'_>,
    refused: &Refused,
) -> Option<AuditEvent> {
    let mut event = event_of_refusal(context, request, refused)?;
    let hour = context.now.seconds().div_euclid(3600).to_string();
    // Replays of different assertions stay apart: each event shows its own first use.
    let used_in = used_in(refused).map(|event| event.to_string());
    let parts = event.parts.iter().map(|part| part.principal_id.as_str());
    let person = event.person.map(|person| person.to_string());
    let texts = [
        event.trusted_issuer.as_deref(),
        event.subject.as_deref(),
        event.client_id.as_deref(),
        event.reason.map(Reason::code),
        Some(&hour),
        used_in.as_deref(),
        person.as_deref(),
    ];
    let alike: Vec<&str> = texts
        .into_iter()
        .map(Option::unwrap_or_default)
        .chain(parts)
        .collect();
    event.fold = Some(FoldKey::new(&alike, &of_request(request, &event)));
    Some(event)
}

/// What makes refusals of one workload for one reason different: what the request asked for, and the
/// values that the rules refuse. An explanation of an event is then that of each request in it.
fn of_request(request: &GrantRequest<'_>, event: &AuditEvent) -> String {
    let detail: Value = serde_json::from_str(&event.detail).unwrap_or_default();
    format!(
        "{}\0{:?}\0{}",
        request.grant_type.name(),
        request.access(),
        detail.get("mismatches").unwrap_or(&Value::Null)
    )
}

/// The event of the first use, for a used assertion.
fn used_in(refused: &Refused) -> Option<EventId> {
    refused.refusal.facts.as_ref()?.used_in
}

/// The registry that a request is for: the one that it names first, or that of its front door.
fn asked_for(access: &AccessRequest, context: &DecisionContext<'_>) -> Option<String> {
    let of_door = access
        .front_door
        .as_ref()
        .and_then(|at| context.rules.resource_server(&at.resource_server));
    let named = access.resources.first().cloned();
    named.or_else(|| Some(of_door?.resource.clone()))
}

fn event_of_refusal(
    context: &DecisionContext<'_>,
    request: &GrantRequest<'_>,
    refused: &Refused,
) -> Option<AuditEvent> {
    let why = &refused.refusal;
    let mut detail = EventDetail::of_refusal(request, why);
    let event = AuditEvent {
        reason: Some(why.reason),
        resource: request
            .access()
            .and_then(|access| asked_for(access, context)),
        client_id: refused
            .client
            .as_ref()
            .and_then(ClientIdentity::id)
            .map(str::to_owned),
        address: request.address,
        ..AuditEvent::with_id(request.id, Outcome::Refused)
    };
    match &refused.about {
        About::Nothing | About::Unaccepted(_) => None,
        // Each further refusal would be another row; the metrics count them.
        About::Client if why.reason == Reason::RateLimited => None,
        About::Client => Some(AuditEvent {
            detail: detail.into_json(),
            ..event
        }),
        About::Code(code) => Some(AuditEvent {
            person: Some(code.person.id),
            detail: detail.into_json(),
            ..event
        }),
        About::Token(token) => {
            let claims = token.claims();
            detail.subject_token = Some(&claims.jti);
            let parts = parts_of_token(&context.rules, claims);
            Some(AuditEvent {
                subject: Some(claims.sub.clone()),
                person: person_of(claims),
                parts,
                credential: claims
                    .authorization_details
                    .iter()
                    .find_map(|entry| entry.credential.parse().ok()),
                principal: claims
                    .principal
                    .as_ref()
                    .map(|principal| principal.name.clone()),
                detail: detail.into_json(),
                ..event
            })
        }
        // No rule refers to this workload: the metrics and the log have the refusal.
        About::Assertion(_, report)
            if report.candidates.is_empty() && event.client_id.is_none() =>
        {
            None
        }
        About::Assertion(assertion, report) => Some(of_assertion(
            context,
            request,
            (assertion, report),
            (detail, event),
        )),
    }
}

/// The event of an assertion that some rule refers to.
fn of_assertion<'a>(
    context: &DecisionContext<'_>,
    request: &GrantRequest<'_>,
    (assertion, report): (&'a AssertionContent, &MatchReport),
    (mut detail, event): (EventDetail<'a>, AuditEvent),
) -> AuditEvent {
    let closest = report.closest();
    let principal = closest.and_then(|candidate| candidate.principal.as_ref());
    let workload = serde_json::value::to_raw_value(&Workload::of(assertion)).unwrap_or_default();
    detail.workload = Some(&workload);
    detail.workload_url = workload_url(assertion);
    // Mismatches of the closest candidates, regardless of who may see them; an explanation
    // has the others.
    let mut described: Vec<&Candidate> = report.candidates.iter().collect();
    described.sort_by_key(|candidate| candidate.rank);
    let described = described.into_iter().take(DESCRIBED);
    let mismatches = described
        .flat_map(|one| one.mismatches(assertion.issuer(), assertion.claims(), report.asked()));
    let mut room = DESCRIBED_BYTES;
    let fits = |mismatch: &Mismatch| {
        let left = room.checked_sub(element_bytes(mismatch));
        room = left.unwrap_or_default();
        left.is_some()
    };
    detail.mismatches = mismatches
        .map(|one| one.brief(DESCRIBED_VALUE_BYTES))
        .take_while(fits)
        .collect();
    let near: Vec<MatchedRule> = closest.map(MatchedRule::of).into_iter().collect();
    detail.keep_claims(&near, assertion);
    AuditEvent {
        subject: Some(assertion.subject().to_owned()),
        assertion: reference(assertion),
        workload: names(assertion),
        parts: parts_of_refusal(context, request, report),
        trusted_issuer: Some(assertion.issuer().name.clone()),
        credential: closest.map(|candidate| candidate.credential.id),
        principal: principal.map(|principal| principal.name.clone()),
        detail: detail.into_json(),
        ..event
    }
}

/// The principals that may see a refusal: the one that the request names, and those whose named or
/// vouched rules have the fewest conditions unmet. The principal of the closest rule has a part in
/// any case, unseen if it is none of these.
fn parts_of_refusal(
    context: &DecisionContext<'_>,
    request: &GrantRequest<'_>,
    report: &MatchReport,
) -> Vec<AuditPart> {
    let nearest = |rank: Rank| {
        let of_rank = || {
            report
                .candidates
                .iter()
                .filter(move |candidate| candidate.rank == rank)
        };
        let least = of_rank().map(|candidate| candidate.unmet().count()).min();
        of_rank()
            .filter(move |candidate| Some(candidate.unmet().count()) == least)
            .take(DESCRIBED)
    };
    let part = |candidate: &Candidate| {
        Some(AuditPart {
            principal_id: candidate.principal.as_ref()?.id.clone(),
            credential: Some(candidate.credential.id),
            revision: Some(candidate.credential.revision),
            sees_claims: true,
        })
    };
    let mut parts: Vec<AuditPart> = nearest(Rank::Named)
        .chain(nearest(Rank::Vouched))
        .filter_map(part)
        .collect();
    let asked = request
        .access()
        .and_then(|access| access.principal.as_deref());
    if let Some(principal) =
        asked.and_then(|name| context.rules.principal(&name.to_ascii_lowercase()))
    {
        see(&mut parts, &principal.id);
    }
    // The event names the closest rule, whoever may see it.
    let closest = report.closest();
    let unseen = closest.and_then(|closest| {
        let principal = closest.principal.as_ref()?;
        let rule = &closest.credential;
        (!parts.iter().any(|part| part.principal_id == principal.id))
            .then(|| AuditPart::unseen(&principal.id, rule.id, rule.revision))
    });
    parts.extend(unseen);
    parts.sort_by(|left, right| left.principal_id.cmp(&right.principal_id));
    parts
}
