//! Explanations: what a request would be granted, or why it would be refused. Nothing is issued,
//! recorded or used up.

mod answer;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use carnet_resource_server::{Confirmation, ProofLevel};
use serde_json::{Value, json};

pub use answer::{ExplainedCandidate, ExplainedCondition, Explanation, Granted};

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
use crate::possession::ProofDemand;
use crate::principal::{AccessRequest, Entitlement};
use crate::profile::Claims;
use crate::reason::Reason;
use crate::refusal::{Refusal, RefusalDetails};
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
        About::Nothing | About::Token(_) | About::Client => (None, &MatchReport::default()),
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
/// signed.
pub fn explain_claims(
    context: &DecisionContext<'_>,
    mode: Mode<'_>,
    issuer: &Arc<TrustedIssuer>,
    claims: Claims,
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
        AssumedAssertion::of_claims(issuer.clone(), claims, (recipient, context.now))
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
        proved,
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
                let granted = Granted {
                    resource: self.own.admin_resource(),
                    sub: grant.subject.clone(),
                    principal: None,
                    scope: grant.scope.to_string(),
                    authorization_details: Vec::new(),
                    entries_left_out: 0,
                    expires_in: grant
                        .expires_at
                        .seconds()
                        .saturating_sub(self.now.seconds()),
                };
                (granted, None)
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

    /// What the registry and the permissions of a token ask of proofs of possession. A permission
    /// that asks for more than was proved does not count.
    fn proof_of(&self, granted: &Entitlement, level: ProofLevel) -> Vec<ExplainedCondition> {
        let ProofDemand {
            min_proof,
            sender_constraint,
        } = granted.resource_server.demand;
        let unmet = |reason| granted.unproved.filter(|unmet| *unmet == reason);
        let weak = unmet(Reason::ProofTooWeak);
        let unbound = unmet(Reason::SenderConstraintRequired);
        let is_bound = self.declared.is_some();
        let mut checks = Vec::new();
        if min_proof > ProofLevel::Bearer || weak.is_some() {
            let expected = json!(weak.map_or(min_proof, |_| ProofLevel::Key));
            checks.push(check("min_proof", expected, json!(level), weak));
        }
        if sender_constraint || unbound.is_some() {
            let field = "require_sender_constraint";
            checks.push(check(field, json!(true), json!(is_bound), unbound));
        }
        checks
    }

    /// The line of a refusal for what was proved.
    fn unproved(&self, reason: Reason) -> Option<ExplainedCondition> {
        let declared = json!(self.declared);
        let (field, expected, received) = match reason {
            Reason::ProofTooWeak => ("min_proof", json!("key"), json!("bearer")),
            Reason::SenderConstraintRequired => {
                ("require_sender_constraint", json!(true), json!(false))
            }
            Reason::DpopRequired => ("dpop_bound_access_tokens", json!(true), json!(false)),
            Reason::ProofWouldBeLost => ("proof", json!("that of the token"), declared),
            _ => return None,
        };
        Some(check(field, expected, received, Some(reason)))
    }

    /// The checks beside the rules.
    fn checks(&self) -> Vec<ExplainedCondition> {
        let mut checks = Vec::new();
        if let Some((issuer, _)) = self.assertion
            && self.grant_type != GrantType::ClientCredentials
        {
            let taken: Vec<&str> = issuer
                .grants
                .iter()
                .map(|grant| grant.short_name())
                .collect();
            let reason =
                (!issuer.grants.contains(&self.grant_type)).then_some(Reason::GrantNotTaken);
            checks.push(check(
                "grants",
                json!({ "any_of": taken }),
                json!(self.grant_type.short_name()),
                reason,
            ));
        }
        if let Some((_, claims)) = self.assertion
            && let Some(bound_to) = claims.get("cnf")
        {
            let declared = json!(self.declared);
            let reason = match &self.declared {
                None => Some(Reason::ProofMissing),
                Some(_) if declared != *bound_to => Some(Reason::ProofMismatch),
                Some(_) => None,
            };
            checks.push(check("proof", bound_to.clone(), declared, reason));
        }
        if let Some((listed, admitted)) = self.admission {
            let names: Vec<&str> = listed.iter().map(|rule| rule.name.as_str()).collect();
            // `admission` is empty for callers that were not admitted: they must not learn which
            // rules a client lists.
            let rules = admitted.unwrap_or_default().iter();
            let admitting: Vec<&str> = rules
                .filter_map(|rule| Some(rule.credential.rule.open()?.name))
                .collect();
            checks.push(check(
                "client",
                json!({ "any_of": names }),
                json!(admitting),
                admitted.err(),
            ));
        }
        if self.assertion.is_some() {
            let received = if self.used { "used" } else { "unused" };
            checks.push(check(
                "single_use",
                json!("unused"),
                json!(received),
                self.used.then_some(Reason::Replay),
            ));
        }
        checks
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

/// A condition of the request that belongs to no rule.
fn check(
    field: &str,
    expected: Value,
    received: Value,
    reason: Option<Reason>,
) -> ExplainedCondition {
    ExplainedCondition {
        field: field.to_owned(),
        expected,
        received,
        met: reason.is_none(),
        reason,
        hint: None,
    }
}
