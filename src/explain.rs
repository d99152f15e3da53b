//! Says what would be granted, or why not, without granting or using up anything.

use serde::Serialize;
use serde_json::Value;

use carnet_resource_server::AuthorizationDetail;

use crate::app::App;
use crate::assertion::assess;
use crate::clock::Timestamp;
use crate::grant::{self, GrantRequest, Moment, Presented, Would};
use crate::ids::CredentialId;
use crate::model::{Snapshot, TrustedIssuer};
use crate::principal::{AccessRequest, Entitlement, Grounds, entitle};
use crate::profile::Claims;
use crate::reason::Reason;
use crate::refusal::{Mismatch, Refusal};
use crate::token::ADMIN_LIFETIME_SECONDS;
use crate::trust::{Candidate, MatchReport, Verdict, hint, match_some, nearest_credentials};

/// Rules that one explanation shows.
const MAX_EXPLAINED: usize = 100;

/// Who asks, and what they may see.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// A caller: what concerns rules that the assertion proves to be meant.
    Caller,
    /// The owner of these principals' rules: everything about them.
    Principals(Vec<String>),
    /// An administrator: everything.
    Everything,
}

/// What would become of a request.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Explanation {
    /// `allow` or `deny`.
    pub verdict: &'static str,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reason: Option<Reason>,
    /// Why not, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_description: Option<&'static str>,
    /// Where the reason is explained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_uri: Option<String>,
    /// The request parameter it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parameter: Option<&'static str>,
    /// The claim it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claim: Option<String>,
    /// The audiences that would be accepted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub accepted_audiences: Vec<String>,
    /// What does not hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mismatches: Vec<Mismatch>,
    /// What would be granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granted: Option<Granted>,
    /// The server's time, in seconds since 1970.
    pub server_time: i64,
    /// Every condition of every rule that may be shown.
    pub candidates: Vec<Explained>,
}

/// What would be granted.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Granted {
    /// The `aud` of the token.
    pub resource: String,
    /// Its `sub`.
    pub sub: String,
    /// The principal's name, if it is one.
    pub principal: Option<String>,
    /// Its scope.
    pub scope: String,
    /// Its entries.
    #[schema(value_type = Vec<Object>)]
    pub authorization_details: Vec<AuthorizationDetail>,
    /// How long it would live, unless something it rests on ends sooner.
    pub expires_in: i64,
}

/// One rule, explained.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Explained {
    /// The federated credential's id.
    #[schema(value_type = String)]
    pub credential: CredentialId,
    /// Its name.
    pub name: String,
    /// The principal it acts for, by name.
    pub principal: String,
    /// Whether everything holds.
    pub matches: bool,
    /// Everything it stands on.
    pub conditions: Vec<ExplainedCondition>,
}

/// One condition, explained.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct ExplainedCondition {
    /// The field.
    pub field: String,
    /// What is asked for.
    pub expected: Value,
    /// What the assertion has.
    pub received: Value,
    /// Whether it holds.
    pub met: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub reason: Option<Reason>,
    /// What tells the two apart, where they are nearly the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'static str>,
}

/// What an explanation is about.
struct Explainable<'a> {
    app: &'a App,
    issuer: &'a TrustedIssuer,
    claims: &'a Claims,
    now: Timestamp,
}

/// Explains a token request to whoever sends it.
pub async fn explain_request(app: &App, request: &GrantRequest<'_>) -> Explanation {
    let now = app.clock.now();
    // Whoever holds a copy of a client's assertion that was used learns nothing by it.
    if grant::is_client_spent(app, request).await {
        return Explanation::refused(app, &Refusal::new(Reason::Replay).of_client(), Vec::new(), now);
    }
    let Presented::Assertion(text) = request.presented() else {
        return match grant::decide(app, request).await {
            Ok(would) => Explanation::allowed(app, would, now),
            Err(refusal) => Explanation::refused(app, &refusal, Vec::new(), now),
        };
    };
    let verified = match grant::verify(app, request, text).await {
        Ok(verified) => verified,
        Err(refusal) => return Explanation::refused(app, &refusal, Vec::new(), now),
    };
    let unused = grant::is_unused(app, &verified).await;
    let moment = Moment { rules: app.rules(), now };
    let decided = grant::decide_on_assertion(app, request, &verified, &moment).await;
    let about = Explainable { app, issuer: verified.issuer(), claims: verified.claims(), now };
    let view = if unused { View::Caller } else { View::Principals(Vec::new()) };
    let explanation = match decided {
        Ok(authorization) => {
            let Grounds::Workload(permit) = authorization.grounds() else {
                return Explanation::refused(app, &Reason::Internal.into(), Vec::new(), now);
            };
            Explanation::of(&about, permit.report(), Ok(authorization.entitlement().clone()), &view)
        }
        Err(denial) => {
            let mut refusal = denial.refusal;
            if !unused {
                refusal.undisclosed();
            }
            Explanation::of(&about, &denial.report, Err(refusal), &view)
        }
    };
    explanation.unless_used(app, unused, now)
}

/// Explains an assertion to an administrator, as the jwt-bearer grant would take it.
pub async fn explain_assertion(app: &App, assertion: &str, access: &AccessRequest, view: &View) -> Explanation {
    let now = app.clock.now();
    let verified = match grant::verify_assertion(app, assertion).await {
        Ok(verified) => verified,
        Err(refusal) => return Explanation::refused(app, &refusal, Vec::new(), now),
    };
    let unused = grant::is_unused(app, &verified).await;
    let (issuer, claims, rules) = (verified.issuer(), verified.claims(), app.rules());
    let report = view.report(&rules, issuer, claims, now);
    let outcome = decide(&rules, issuer, claims, &report, access);
    let about = Explainable { app, issuer, claims, now };
    Explanation::of(&about, &report, outcome, view).unless_used(app, unused, now)
}

/// Explains what an assertion of `issuer` with these claims would get, if it were signed.
pub fn explain_claims(
    app: &App,
    issuer: &TrustedIssuer,
    claims: &Claims,
    access: &AccessRequest,
    view: &View,
) -> Explanation {
    let now = app.clock.now();
    if let Err(refusal) = assess(issuer, claims, None, now) {
        return Explanation::refused(app, &refusal, Vec::new(), now);
    }
    let rules = app.rules();
    let report = view.report(&rules, issuer, claims, now);
    let outcome = decide(&rules, issuer, claims, &report, access);
    Explanation::of(&Explainable { app, issuer, claims, now }, &report, outcome, view)
}

fn decide(
    rules: &Snapshot,
    issuer: &TrustedIssuer,
    claims: &Claims,
    report: &MatchReport,
    access: &AccessRequest,
) -> Result<Entitlement, Refusal> {
    if report.matching().next().is_none() {
        return Err(report.refusal(issuer, claims));
    }
    entitle(report, rules, issuer, claims, access)
}

impl Explanation {
    fn allowed(app: &App, would: Would, now: Timestamp) -> Self {
        let granted = match would {
            Would::Grant(entitlement) => Granted::of(*entitlement),
            Would::GrantAdmin(client_id, scope) => Granted {
                resource: app.config.own.admin_resource(),
                sub: client_id,
                principal: None,
                scope: scope.to_string(),
                authorization_details: Vec::new(),
                expires_in: ADMIN_LIFETIME_SECONDS,
            },
        };
        Self { granted: Some(granted), ..Self::bare("allow", Vec::new(), now) }
    }

    /// What was used before gets nothing, whatever the rules say.
    fn unless_used(self, app: &App, unused: bool, now: Timestamp) -> Self {
        if unused || self.verdict != "allow" {
            return self;
        }
        Self { candidates: self.candidates, ..Self::refused(app, &Reason::Replay.into(), Vec::new(), now) }
    }

    fn of(about: &Explainable<'_>, report: &MatchReport, outcome: Result<Entitlement, Refusal>, view: &View) -> Self {
        let &Explainable { app, issuer, claims, now } = about;
        let shown = report.candidates.iter().filter(|candidate| view.shows(candidate, issuer)).take(MAX_EXPLAINED);
        let candidates: Vec<Explained> = shown.map(|candidate| Explained::of(candidate, issuer, claims)).collect();
        match outcome {
            Ok(entitlement) => Self { granted: Some(Granted::of(entitlement)), ..Self::bare("allow", candidates, now) },
            Err(refusal) => {
                let mut refusal = refusal;
                if *view != View::Caller {
                    // What may be shown of the candidates is shown there; the reason is that of the closest one shown.
                    let closest = report.candidates.iter().filter(|candidate| view.shows(candidate, issuer));
                    let closest = closest.min_by_key(|candidate| candidate.unmet().count());
                    if refusal.reason == Reason::NoMatchingCredential
                        && let Some(reason) = closest.and_then(|candidate| candidate.reason(&issuer.profile))
                    {
                        refusal.reason = reason;
                    }
                }
                Self::refused(app, &refusal, candidates, now)
            }
        }
    }

    fn refused(app: &App, refusal: &Refusal, candidates: Vec<Explained>, now: Timestamp) -> Self {
        Self {
            reason: Some(refusal.reason),
            error_description: Some(refusal.reason.sentence()),
            error_uri: Some(app.config.own.at(&format!("/reasons/{}", refusal.reason))),
            parameter: refusal.parameter,
            claim: refusal.claim.clone(),
            accepted_audiences: refusal.accepted_audiences.clone(),
            mismatches: refusal.mismatches.clone(),
            ..Self::bare("deny", candidates, now)
        }
    }

    fn bare(verdict: &'static str, candidates: Vec<Explained>, now: Timestamp) -> Self {
        Self {
            verdict,
            reason: None,
            error_description: None,
            error_uri: None,
            parameter: None,
            claim: None,
            accepted_audiences: Vec::new(),
            mismatches: Vec::new(),
            granted: None,
            server_time: now.seconds(),
            candidates,
        }
    }
}

impl Granted {
    fn of(entitlement: Entitlement) -> Self {
        Self {
            resource: entitlement.resource_server.resource.clone(),
            sub: entitlement.subject,
            principal: entitlement.principal.map(|principal| principal.name.clone()),
            scope: entitlement.scope.to_string(),
            authorization_details: entitlement.details,
            expires_in: entitlement.resource_server.token_lifetime_seconds,
        }
    }
}

impl View {
    /// The rules that are judged for whoever asks. Those of others are left out before anything is decided: claims that nobody
    /// signed would prove that any rule is meant.
    fn report(&self, rules: &Snapshot, issuer: &TrustedIssuer, claims: &Claims, now: Timestamp) -> MatchReport {
        let may_see = |candidate: &Candidate| self.may_see(&candidate.credential.principal);
        let report = match_some(rules, issuer, claims, now, may_see);
        if report.candidates.is_empty() && *self != Self::Caller {
            return nearest_credentials(rules, issuer, claims, now, |principal| self.may_see(principal));
        }
        report
    }

    fn may_see(&self, principal: &str) -> bool {
        match self {
            Self::Caller | Self::Everything => true,
            Self::Principals(names) => names.iter().any(|name| name.eq_ignore_ascii_case(principal)),
        }
    }

    fn shows(&self, candidate: &Candidate, issuer: &TrustedIssuer) -> bool {
        match self {
            Self::Caller => candidate.matches() || candidate.is_proved_to_be_meant(&issuer.profile),
            Self::Everything | Self::Principals(_) => self.may_see(&candidate.credential.principal),
        }
    }
}

impl Explained {
    fn of(candidate: &Candidate, issuer: &TrustedIssuer, claims: &Claims) -> Self {
        let rule = candidate.credential.rule.open().unwrap_or_default();
        let conditions = candidate.explained(issuer, claims).into_iter().map(|(field, expected, received, verdict)| {
            let reason = match verdict {
                Verdict::Met => None,
                Verdict::Unmet(reason) => Some(reason),
            };
            let hint = reason.and_then(|_| hint(&expected, &received));
            ExplainedCondition { field, expected, received, met: verdict.is_met(), reason, hint }
        });
        let principal = candidate.principal.as_ref().map(|principal| principal.name.clone());
        Self {
            credential: candidate.credential.id,
            name: rule.name.to_owned(),
            principal: principal.unwrap_or_else(|| candidate.credential.principal.to_string()),
            matches: candidate.matches(),
            conditions: conditions.collect(),
        }
    }
}
