//! Explanations: what a request would be granted, or why it would be refused. Nothing is issued,
//! recorded or used up.

mod answer;
mod checks;
mod person;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use carnet_resource_server::Confirmation;
use serde_json::json;

pub use answer::{ExplainedCandidate, ExplainedCondition, Explanation, Granted};
pub use person::{PersonExplanation, explain_person};

use crate::app::App;
use crate::assertion::{Assertion, AssumedAssertion};
use crate::client::{Admitted, ClientIdentity};
use crate::clock::Timestamp;
use crate::config::OwnUrls;
use crate::decision::{Decision, Mode, Presented, Subject, View, decide};
use crate::grant::{About, GrantRequest, Judged, Step, TokenError, preview};
use crate::grant_type::GrantType;
use crate::json::element_bytes;
use crate::model::{DecisionContext, FederatedCredential, RuleReference, TrustedIssuer};
use crate::principal::AccessRequest;
use crate::profile::Claims;
use crate::reason::Reason;
use crate::refusal::{Refusal, RefusalDetails};
use crate::scope::ScopeSet;
use crate::trust::{Candidate, MatchReport, MatchedRule, Rank, match_credentials};

/// How many rules one explanation shows, and their size as JSON in bytes. With it, an answer stays
/// below 1 MiB (`docs/src/reference/limits.md`).
const MAX_EXPLAINED: usize = 100;
const MAX_EXPLAINED_BYTES: usize = 900 * 1024;
/// How many rules of strangers a caller is shown (`docs/src/reference/limits.md`).
const OF_STRANGERS: usize = 5;

/// The rules that an explanation shows, and how many it leaves out.
#[derive(Debug, Default)]
struct Candidates {
    shown: Vec<ExplainedCandidate>,
    left_out: usize,
}

/// The rules that a client without a key of its own lists, and those that admitted it or the reason
/// why none did.
type ClientAdmissions<'a> = (&'a [RuleReference], Result<&'a [MatchedRule], Reason>);

/// The facts that an explanation is made from, and the view it is made for.
struct Explainable<'a> {
    own: &'a OwnUrls,
    now: Timestamp,
    view: &'a View,
    grant_type: GrantType,
    /// The assertion of the request, as issuer and claims.
    assertion: Option<(&'a TrustedIssuer, &'a Claims)>,
    admission: Option<ClientAdmissions<'a>>,
    used: bool,
    /// The key that the request is taken to have proved.
    declared: Option<Confirmation>,
}

/// Explains a token request. A malformed request is an error. For a caller, so is a request whose
/// client fails to authenticate or may not use the grant.
pub async fn explain_request(
    app: &App,
    request: &GrantRequest<'_>,
    view: &View,
) -> Result<Explanation, TokenError> {
    let about = |now, assertion, admission, used| Explainable {
        own: &app.config.own,
        now,
        view,
        grant_type: request.grant_type(),
        assertion,
        admission,
        used,
        declared: request.declared_proof().cloned(),
    };
    let context = app.decision_context();
    let refused = match preview(app, &context, request, view).await {
        Ok(Judged {
            subject, decision, ..
        }) => {
            let client = &subject.client;
            let admitting = client
                .identity()
                .federated()
                .filter(|_| !client.rules().is_empty());
            let admission = admitting.map(|(_, names)| (names, Ok(client.rules())));
            let assertion = subject
                .assertion()
                .map(|content| (&**content.issuer(), content.claims()));
            return Ok(about(context.now, assertion, admission, false).allowed(&decision));
        }
        Err(refused) => *refused,
    };
    match refused.step {
        Step::Parameters => return Err(refused.into_error(request)),
        Step::Client if *view == View::Caller => return Err(refused.into_error(request)),
        Step::Client | Step::Proof | Step::Presented => {}
    }
    let all_the_same;
    let (assertion, report) = match &refused.about {
        About::Assertion(assertion, report) => (Some(assertion), report),
        About::Unaccepted(assertion) => {
            let access = &request.access().cloned().unwrap_or_default();
            all_the_same = judged_all_the_same(
                &context,
                assertion.issuer(),
                assertion.claims(),
                (view, access),
            );
            (Some(assertion), &all_the_same)
        }
        About::Nothing | About::Token(_) | About::Code(_) | About::Client => {
            (None, &MatchReport::default())
        }
    };
    let assertion = assertion.map(|assertion| (&**assertion.issuer(), assertion.claims()));
    let client = refused
        .client
        .as_ref()
        .and_then(ClientIdentity::federated)
        .filter(|_| refused.step == Step::Client);
    let admission = client.map(|(_, names)| (names, Err(refused.refusal.reason)));
    let about = about(context.now, assertion, admission, refused.used);
    Ok(about.denied(&refused.refusal, refused.told, report))
}

/// Explains what a token request with these claims of `issuer` would get. The claims are taken as
/// signed. They are a refusal if the RPKI has to vouch for the issuer's keys, and does not.
pub fn explain_claims(
    context: &DecisionContext<'_>,
    mode: Mode<'_>,
    issuer: &Arc<TrustedIssuer>,
    claims: Result<Claims, Refusal>,
    (grant_type, access): (GrantType, &AccessRequest),
    proved: Option<Confirmation>,
) -> Explanation {
    let about = |assertion| Explainable {
        own: context.own,
        now: context.now,
        view: mode.view(),
        grant_type,
        assertion,
        admission: None,
        used: false,
        declared: proved.clone(),
    };
    let assumed = access.recipient(&context.rules).and_then(|recipient| {
        let takes = recipient.takes(issuer);
        if !takes {
            return Err(Reason::IssUnknown.into());
        }
        AssumedAssertion::of_claims(issuer.clone(), claims?, (recipient, context.now))
    });
    let assertion = match assumed {
        Ok(assertion) => assertion,
        Err(refusal) => {
            return about(None).denied(&refusal, refusal.reason, &MatchReport::default());
        }
    };
    let claims = assertion.content().claims();
    let about = about(Some((issuer, claims)));
    let enabled = if issuer.enabled {
        Ok(())
    } else {
        Err(Refusal::from(Reason::IssUnknown))
    };
    if let Err(refusal) = enabled.and_then(|()| assertion.content().check_grant(grant_type)) {
        let report = judged_all_the_same(context, issuer, claims, (mode.view(), access));
        return about.denied(&refusal, refusal.reason, &report);
    }
    let presented = Presented::Assertion(assertion.clone());
    let subject = Subject {
        grant_type,
        presented,
        client: Admitted::nobody(),
        proved: proved.into(),
        actor: None,
    };
    match decide(context, &subject, access, mode) {
        Ok(decision) => about.allowed(&decision),
        Err(denial) => about.denied(&denial.refusal, denial.told, &denial.report),
    }
}

/// The verdicts of the rules on an assertion that is refused before they are matched. An
/// explanation shows them nevertheless.
fn judged_all_the_same(
    context: &DecisionContext<'_>,
    issuer: &TrustedIssuer,
    claims: &Claims,
    (view, access): (&View, &AccessRequest),
) -> MatchReport {
    let may_see = |credential: &FederatedCredential| view.may_see(&credential.principal);
    match_credentials(
        &context.rules,
        issuer,
        claims,
        context.now,
        view.consent(access),
        may_see,
    )
}

impl Explainable<'_> {
    fn allowed<A: Assertion>(&self, decision: &Decision<A>) -> Explanation {
        let mut proof = Vec::new();
        let (granted, report) = match decision {
            Decision::Registry(authorization) => {
                let entitlement = authorization.entitlement();
                proof = self.proof_of(entitlement, authorization.possession().level);
                let granted = Granted {
                    resource: entitlement.resource_server.resource.clone(),
                    sub: entitlement.subject.clone(),
                    principal: entitlement
                        .principal
                        .as_ref()
                        .map(|principal| principal.name.clone()),
                    scope: entitlement.scope.to_string(),
                    authorization_details: entitlement.details.clone(),
                    entries_left_out: entitlement.left_out,
                    expires_in: authorization
                        .expires_at()
                        .seconds()
                        .saturating_sub(self.now.seconds()),
                };
                (granted, authorization.report())
            }
            Decision::Admin(grant) => {
                let grant = (&*grant.subject, &grant.scope, grant.expires_at);
                (self.at_own(self.own.admin_resource(), grant), None)
            }
            Decision::Userinfo(grant) => {
                let grant = (&*grant.subject, &grant.scope, grant.expires_at);
                (self.at_own(self.own.userinfo(), grant), None)
            }
        };
        let candidates = report
            .map(|report| self.candidates(report))
            .unwrap_or_default();
        let mut explanation = self.bare("allow", candidates);
        explanation.checks.extend(proof);
        Explanation {
            granted: Some(granted),
            ..explanation
        }
    }

    /// What is granted at one of our own endpoints.
    fn at_own(
        &self,
        resource: String,
        (subject, scope, expires_at): (&str, &ScopeSet, Timestamp),
    ) -> Granted {
        Granted {
            resource,
            sub: subject.to_owned(),
            principal: None,
            scope: scope.to_string(),
            authorization_details: Vec::new(),
            entries_left_out: 0,
            expires_in: expires_at.seconds().saturating_sub(self.now.seconds()),
        }
    }

    fn denied(&self, refusal: &Refusal, told: Reason, report: &MatchReport) -> Explanation {
        // A used assertion proves nothing about its holder, so a caller with one sees no rules.
        let is_shown = *self.view != View::Caller || !self.used;
        let candidates = if is_shown {
            self.candidates(report)
        } else {
            Candidates::default()
        };
        let mut explanation = self.bare("deny", candidates);
        explanation.checks.extend(self.unproved(refusal.reason));
        Explanation {
            reason: Some(refusal.reason),
            caller_reason: Some(told)
                .filter(|told| *self.view == View::Everything && *told != refusal.reason),
            error_description: Some(refusal.description()),
            error_uri: Some(self.own.at(&format!("/reasons/{}", refusal.reason))),
            details: RefusalDetails::from(refusal),
            ..explanation
        }
    }

    fn bare(&self, verdict: &'static str, candidates: Candidates) -> Explanation {
        Explanation {
            verdict,
            reason: None,
            caller_reason: None,
            error_description: None,
            error_uri: None,
            details: RefusalDetails::default(),
            granted: None,
            server_time: self.now.seconds(),
            checks: self.checks(),
            candidates: candidates.shown,
            candidates_left_out: candidates.left_out,
        }
    }

    fn candidates(&self, report: &MatchReport) -> Candidates {
        let Some((issuer, claims)) = self.assertion else {
            return Candidates::default();
        };
        let mut shown: Vec<&Candidate> = report
            .candidates
            .iter()
            .filter(|candidate| self.view.shows(candidate, issuer))
            .collect();
        shown.sort_by_key(|candidate| (candidate.rank, !candidate.matches()));
        let all = shown.len();
        if *self.view == View::Caller {
            of_strangers_at_most(&mut shown, OF_STRANGERS);
        }
        let mut room = MAX_EXPLAINED_BYTES;
        let explained = shown
            .into_iter()
            .take(MAX_EXPLAINED)
            .map(|candidate| self.candidate(candidate, issuer, claims, report.asked()));
        let fits = |candidate: &ExplainedCandidate| {
            let left = room.checked_sub(element_bytes(candidate));
            room = left.unwrap_or_default();
            left.is_some()
        };
        let shown: Vec<_> = explained.take_while(fits).collect();
        let others = if *self.view == View::Caller {
            0
        } else {
            report.others_left_out()
        };
        Candidates {
            left_out: all.saturating_sub(shown.len()).saturating_add(others),
            shown,
        }
    }

    /// A rule as this view may see it. A caller is told the principal of a rule only if it named
    /// that principal, or would get a token of it.
    fn candidate(
        &self,
        candidate: &Candidate,
        issuer: &TrustedIssuer,
        claims: &Claims,
        asked: Option<&str>,
    ) -> ExplainedCandidate {
        let named = candidate.principal.as_ref();
        let principal = named.map_or_else(
            || candidate.credential.principal.to_string(),
            |principal| principal.name.clone(),
        );
        let is_told = *self.view != View::Caller
            || candidate.rank == Rank::Named
            || (asked.is_none() && candidate.rank == Rank::Vouched && candidate.matches());
        let principal = Some(principal).filter(|_| is_told);
        let shown = candidate.shown(issuer, claims, asked);
        let conditions = shown.into_iter().map(|finding| {
            let mut condition = ExplainedCondition::from(finding);
            if let (Some(Reason::PrincipalMismatch), Some(principal)) =
                (condition.reason, &principal)
            {
                condition.expected = json!(principal);
            }
            condition
        });
        let conditions = conditions.collect();
        let rule = candidate.credential.rule.open().unwrap_or_default();
        ExplainedCandidate {
            credential: candidate.credential.id,
            name: rule.name.to_owned(),
            principal,
            matches: candidate.matches(),
            conditions,
        }
    }
}

/// Leaves rules that the request did not ask for and nobody vouches for in this number, of each
/// principal one before a second one.
fn of_strangers_at_most(shown: &mut Vec<&Candidate>, most: usize) {
    let is_strangers = |candidate: &Candidate| candidate.rank > Rank::Vouched;
    let mut seen: HashMap<&str, usize> = HashMap::new();
    let mut turns: Vec<(usize, usize)> = Vec::new();
    for (at, candidate) in shown.iter().enumerate() {
        if is_strangers(candidate) {
            let turn = seen.entry(&candidate.credential.principal).or_default();
            turns.push((*turn, at));
            *turn = turn.saturating_add(1);
        }
    }
    turns.sort_unstable();
    let kept: HashSet<usize> = turns.into_iter().take(most).map(|(_, at)| at).collect();
    let mut at = 0_usize;
    shown.retain(|candidate| {
        let is_kept = !is_strangers(candidate) || kept.contains(&at);
        at = at.saturating_add(1);
        is_kept
    });
}
