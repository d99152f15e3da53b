//! The audit event of a refused request.

use carnet_jose::sha256;

use super::super::{About, GrantRequest, Refused};
use super::detail::{EventDetail, claims_read, workload_url};
use super::{parts_of_token, reference, see};
use crate::assertion::{AssertionContent, Workload};
use crate::audit::{AuditEvent, AuditPart, Outcome};
use crate::client::ClientIdentity;
use crate::json::element_bytes;
use crate::model::DecisionContext;
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
    let parts = event.parts.iter().map(|part| part.principal_id.as_str());
    let texts = [
        event.trusted_issuer.as_deref(),
        event.subject.as_deref(),
        event.client_id.as_deref(),
        event.reason.map(Reason::code),
        Some(&hour),
    ];
    let key: Vec<&str> = texts
        .into_iter()
        .map(Option::unwrap_or_default)
        .chain(parts)
        .collect();
    event.fold = Some(sha256(key.join("\0").as_bytes()));
    Some(event)
}

fn event_of_refusal(
    context: &DecisionContext<'_>,
    request: &GrantRequest<'_>,
    refused: &Refused,
) -> Option<AuditEvent> {
    let why = &refused.refusal;
    let mut detail = EventDetail {
        detail: why.detail.as_deref(),
        ..EventDetail::of(request)
    };
    let event = AuditEvent {
        reason: Some(why.reason),
        resource: match &request.parameters {
            Ok(parameters) => parameters.access.resources.first().cloned(),
            Err(_) => None,
        },
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
        About::Token(token) => {
            let claims = token.claims();
            detail.subject_token = Some(&claims.jti);
            let parts = parts_of_token(&context.rules, claims);
            Some(AuditEvent {
                subject: Some(claims.sub.clone()),
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
    let mismatches =
        described.flat_map(|one| one.mismatches(assertion.issuer(), assertion.claims()));
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
    detail.claims = claims_read(&near, assertion);
    AuditEvent {
        subject: Some(assertion.subject().to_owned()),
        assertion: reference(assertion),
        parts: parts_of_refusal(context, request, report),
        trusted_issuer: Some(assertion.issuer().name.clone()),
        credential: closest.map(|candidate| candidate.credential.id),
        principal: principal.map(|principal| principal.name.clone()),
        detail: detail.into_json(),
        ..event
    }
}

/// The principals that may see a refusal: the one that the request names, and those whose named or
/// vouched rules have the fewest conditions unmet.
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
    parts.sort_by(|left, right| left.principal_id.cmp(&right.principal_id));
    parts
}
