//! The one decision: what a request gets, or why it gets nothing.
//!
//! [`decide`] serves the token endpoint, every explanation and `carnet policy test`. Nothing here waits, and what the answer rests
//! on is handed in: what was verified (or, for explanations of claims and for case files, is assumed to be) as the [`Subject`],
//! rules and time as the [`DecisionContext`], limits and disclosure as the [`Mode`]. The order is that of decision D-01, steps 8
//! to 10.

mod delegation;
mod exchange;
mod lifetime;
mod subject;
mod workload;

use std::sync::Arc;

use carnet_resource_server::{Actor, GroundKind, RestsOn};

pub use delegation::Delegation;
pub use subject::{ActorToken, Presented, Subject};

use crate::assertion::Assertion;
use crate::clock::Timestamp;
use crate::ids::{CredentialId, TrustedIssuerId};
use crate::limits::RateLimiter;
use crate::model::{Client, DecisionContext, Principal, Snapshot};
use crate::own_tokens::{FEDERATED, LiveToken};
use crate::principal::{AccessRequest, Entitlement, Frame, of_client};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scope::{ADMIN_CREDENTIALS_OF, ScopeSet, covers};
use crate::trust::{Candidate, Consent, Denial, MatchReport, MatchedRule, Permit};

/// Lifetime of the admin tokens that clients get, in seconds.
pub const ADMIN_LIFETIME_SECONDS: i64 = 900;

/// Rules without consent that are looked at to show the closest ones to a caller. For those who manage rules it is all of them.
const OTHERS_OF_CALLERS: usize = 5;

/// What comes of a decision. Verdict and reason are the same in every mode, as far as the same rules may be seen.
#[derive(Clone, Copy, Debug)]
pub enum Mode<'a> {
    /// A token is made of a yes; whether an assertion was used before is for the ledger to say.
    Issue(&'a RateLimiter),
    /// An explanation is made of it.
    Preview {
        /// The limits.
        limits: &'a RateLimiter,
        /// Whether what is presented was used before.
        used: bool,
        /// What whoever asks may see.
        view: &'a View,
    },
    /// A server is only imagined, without limits.
    Offline {
        /// Whether what is presented was used before.
        used: bool,
    },
}

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

/// What a request gets.
#[derive(Debug)]
pub enum Decision<A> {
    /// A token for a registry.
    Registry(Box<Authorization<A>>),
    /// A token for our own admin API.
    Admin(AdminGrant),
}

/// What a token for a registry says and rests on. Only [`decide`] makes one, and minting asks for one that rests on an
/// [`AcceptedAssertion`](crate::assertion::AcceptedAssertion) where it rests on an assertion.
#[derive(Debug)]
pub struct Authorization<A> {
    grounds: Grounds<A>,
    entitlement: Entitlement,
    delegation: Option<Delegation>,
    expires_at: Timestamp,
}

/// What a token rests on.
#[derive(Debug)]
pub enum Grounds<A> {
    /// An assertion that rules admit.
    Workload(Permit<A>),
    /// A token of ours that is in force.
    Token(Box<LiveToken>),
    /// A client acting for itself.
    Client(Arc<Client>),
}

/// A grant for our own admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminGrant {
    /// Who holds it.
    pub subject: String,
    /// The client it was issued to, if that is a registered one.
    pub client: Option<String>,
    /// What it allows.
    pub scope: ScopeSet,
    /// When it ends.
    pub expires_at: Timestamp,
    /// The rules that admitted a client without a key of its own, and the principals that its scope names.
    pub rests_on: Vec<RestsOn>,
}

/// The principals that a scope of the admin API names, as what a token rests on; none if one of them is not there. Another one that
/// has the name later is not meant.
pub fn named_principals(scope: &ScopeSet, rules: &Snapshot) -> Option<Vec<RestsOn>> {
    let named = scope.tokens().filter_map(|token| token.strip_prefix(ADMIN_CREDENTIALS_OF));
    let principals = named.map(|name| rules.principal(&name.to_ascii_lowercase()));
    let ground =
        |principal: &Arc<Principal>| RestsOn { kind: GroundKind::Principal, id: principal.id.clone(), revision: 0 };
    principals.map(|principal| principal.map(ground)).collect()
}

/// Decides what `subject` gets of what is asked for.
pub fn decide<A: Assertion>(
    context: &DecisionContext<'_>,
    subject: &Subject<A>,
    access: &AccessRequest,
    mode: Mode<'_>,
) -> Result<Decision<A>, Box<Denial>> {
    let decision = match &subject.presented {
        Presented::Assertion(assertion) | Presented::ClientAssertion(assertion) => {
            workload::decide(context, subject, assertion, access, mode)?
        }
        Presented::AccessToken(token) => {
            exchange::decide(context, subject, token, access, mode).map_err(Denial::bare)?
        }
        Presented::Client => {
            let itself = subject.itself().and_then(|client| of_itself(context, client, access, mode));
            itself.map_err(Denial::bare)?
        }
        Presented::ClientForAdmin => {
            let rules = subject.client.rules();
            let itself = subject.itself().and_then(|client| for_admin(context, client, rules, access, mode));
            return itself.map(Decision::Admin).map_err(Denial::bare);
        }
    };
    // The last thing that is asked: a refusal for any other reason leaves the assertion as it is.
    if mode.is_used() { Err(decision.deny(Reason::Replay.into())) } else { Ok(Decision::Registry(Box::new(decision))) }
}

/// What a client gets for itself (RFC 6749 section 4.4).
fn of_itself<A>(
    context: &DecisionContext<'_>,
    client: &Arc<Client>,
    access: &AccessRequest,
    mode: Mode<'_>,
) -> Result<Authorization<A>, Refusal> {
    mode.check(|limits| limits.check_client(&client.client_id))?;
    let entitlement =
        of_client(client, &context.rules, (access, Frame { fixed: context.own.issuer().len(), per_entry: 0 }))?;
    let expires_at = lifetime::of_server(&entitlement.resource_server, context.now);
    Ok(Authorization { grounds: Grounds::Client(client.clone()), entitlement, delegation: None, expires_at })
}

/// As much of our own API as the client holds; more is refused, never cut.
fn for_admin(
    context: &DecisionContext<'_>,
    client: &Client,
    rules: &[MatchedRule],
    access: &AccessRequest,
    mode: Mode<'_>,
) -> Result<AdminGrant, Refusal> {
    mode.check(|limits| limits.check_client(&client.client_id))?;
    let held = client.scopes.as_ref().filter(|held| access.scope.as_ref().is_none_or(|wanted| covers(held, wanted)));
    let scope = held.map(|held| access.scope.as_ref().unwrap_or(held).clone());
    let scope = scope.ok_or_else(|| Refusal::parameter(Reason::ScopeNotGranted, "scope"))?;
    let principals =
        named_principals(&scope, &context.rules).ok_or_else(|| Refusal::parameter(Reason::ScopeNotGranted, "scope"))?;
    Ok(AdminGrant {
        subject: client.client_id.clone(),
        client: Some(client.client_id.clone()),
        scope,
        expires_at: Timestamp::from_seconds(context.now.seconds()).plus_seconds(ADMIN_LIFETIME_SECONDS),
        rests_on: rules.iter().map(MatchedRule::rests_on).chain(principals).collect(),
    })
}

impl<A: Assertion> Authorization<A> {
    /// What it rests on.
    pub fn grounds(&self) -> &Grounds<A> {
        &self.grounds
    }

    /// What is granted.
    pub fn entitlement(&self) -> &Entitlement {
        &self.entitlement
    }

    /// Who acts for the subject.
    pub fn delegation(&self) -> Option<&Delegation> {
        self.delegation.as_ref()
    }

    /// The `act` claim (RFC 8693 section 4.1).
    pub fn act(&self) -> Option<&Actor> {
        self.delegation.as_ref().map(|delegation| &delegation.act)
    }

    /// When the token ends.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// The verdicts that it comes from, where rules were judged.
    pub fn report(&self) -> Option<&MatchReport> {
        match &self.grounds {
            Grounds::Workload(permit) => Some(permit.report()),
            Grounds::Token(_) | Grounds::Client(_) => None,
        }
    }

    /// The trusted issuer that a token of this counts against.
    pub fn issuer(&self) -> Option<TrustedIssuerId> {
        match &self.grounds {
            Grounds::Workload(permit) => Some(permit.assertion().content().issuer().id),
            Grounds::Token(_) | Grounds::Client(_) => None,
        }
    }

    /// Turns the yes into a no, with the verdicts it came from.
    pub fn deny(self, refusal: Refusal) -> Box<Denial> {
        self.grounds.deny(refusal)
    }

    /// The `client_id` of the token (RFC 9068 section 2.2): the client that asks, or the newest credential where nobody
    /// registered one.
    pub fn client_id(&self, client: Option<&str>) -> String {
        let newest = || {
            let newest = self.entitlement.credentials.first();
            newest.map(|rule| format!("{FEDERATED}{}", rule.credential.id)).unwrap_or_default()
        };
        client.map_or_else(newest, str::to_owned)
    }
}

impl<A: Assertion> Grounds<A> {
    /// Turns the yes into a no, with the verdicts it came from.
    fn deny(self, refusal: Refusal) -> Box<Denial> {
        match self {
            Self::Workload(permit) => permit.deny(refusal),
            Self::Token(_) | Self::Client(_) => Denial::bare(refusal),
        }
    }
}

impl Mode<'_> {
    fn limits(&self) -> Option<&RateLimiter> {
        match self {
            Self::Issue(limits) | Self::Preview { limits, .. } => Some(limits),
            Self::Offline { .. } => None,
        }
    }

    fn check(&self, check: impl Fn(&RateLimiter) -> Result<(), Refusal>) -> Result<(), Refusal> {
        self.limits().map_or(Ok(()), check)
    }

    /// Whether a rule of this trusted issuer may give another token.
    fn check_rule(&self, issuer: Option<TrustedIssuerId>, credential: CredentialId) -> Result<(), Refusal> {
        self.check(|limits| {
            issuer.map_or(Ok(()), |issuer| limits.check_issuer(issuer))?;
            limits.check_credential(credential)
        })
    }

    fn is_used(&self) -> bool {
        match self {
            Self::Issue(_) => false,
            Self::Preview { used, .. } | Self::Offline { used } => *used,
        }
    }

    /// What whoever asks may see.
    pub fn view(&self) -> &View {
        match self {
            Self::Issue(_) => &View::Caller,
            Self::Preview { view, .. } => view,
            Self::Offline { .. } => &View::Everything,
        }
    }
}

impl View {
    /// By what rules count for a request. What a caller sees of strangers' rules is little; who manages rules sees more.
    pub fn consent<'a>(&self, access: &'a AccessRequest) -> Consent<'a> {
        let others = match self {
            Self::Caller => OTHERS_OF_CALLERS,
            Self::Principals(_) | Self::Everything => usize::MAX,
        };
        Consent::Workload { principal: access.principal.as_deref(), door: access.door, others }
    }

    /// Whether a rule of this principal is judged for whoever asks. Those of others are left out before anything is decided:
    /// claims that nobody signed would prove that any rule is meant.
    pub fn may_see(&self, principal: &str) -> bool {
        match self {
            Self::Caller | Self::Everything => true,
            Self::Principals(names) => names.iter().any(|name| name.eq_ignore_ascii_case(principal)),
        }
    }

    /// Whether a rule that was judged is shown.
    pub fn shows(&self, candidate: &Candidate, issuer: &crate::model::TrustedIssuer) -> bool {
        match self {
            Self::Caller => candidate.holds() || candidate.is_proved_to_be_meant(&issuer.profile),
            Self::Everything | Self::Principals(_) => self.may_see(&candidate.credential.principal),
        }
    }
}
