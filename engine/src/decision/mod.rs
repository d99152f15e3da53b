//! The one decision: what a request gets, or why it is refused.
//!
//! [`decide`] serves the token endpoint, every explanation and `carnet policy test`. It does no I/O
//! and reads no clock. Its inputs are the [`Subject`] (verified, or assumed for explanations of
//! claims and for case files), the [`DecisionContext`] (rules and time) and the [`Mode`] (limits
//! and disclosure). The order of checks is that of decision D-01.

mod delegation;
mod exchange;
mod lifetime;
mod person;
mod subject;
mod workload;

use std::sync::Arc;

use carnet_access::{Actor, Confirmation, GroundKind, RestsOn};

pub use delegation::Delegation;
pub use subject::{ActorToken, Presented, Subject};

use crate::assertion::Assertion;
use crate::client::Admitted;
use crate::clock::Timestamp;
use crate::ids::{CredentialId, TrustedIssuerId};
use crate::model::{Client, DecisionContext, Principal, Snapshot};
use crate::own_token::{FEDERATED, LiveToken};
use crate::people::{PersonClaims, PersonPermit};
use crate::possession::Possession;
use crate::principal::{AccessRequest, Asked, Entitlement, Frame, of_client};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scope::{ScopeSet, covers, limited_scope};
use crate::trust::{Candidate, Consent, Denial, MatchReport, MatchedRule, Permit};

/// Lifetime of the admin tokens that clients get, in seconds.
pub const ADMIN_LIFETIME_SECONDS: i64 = 900;

/// How many rules without consent are looked for, to show the closest ones to a caller. Views of
/// administrators have no such limit.
const OTHERS_OF_CALLERS: usize = 5;

/// The rate limits that a decision asks about. None of these calls takes anything from a limit.
pub trait TokenLimits: std::fmt::Debug + Sync {
    /// Whether the client may get another token now.
    fn check_client(&self, client_id: &str) -> Result<(), Refusal>;

    /// Whether assertions of the trusted issuer may give another token now.
    fn check_issuer(&self, issuer: TrustedIssuerId) -> Result<(), Refusal>;

    /// Whether the rule may give another token now.
    fn check_credential(&self, credential: CredentialId) -> Result<(), Refusal>;
}

/// What a decision is made for. Verdict and reason are the same in every mode, as long as the same
/// rules are visible.
#[derive(Clone, Copy, Debug)]
pub enum Mode<'a> {
    /// To issue a token. The ledger finds out whether an assertion was used before.
    Issue(&'a dyn TokenLimits),
    /// To explain a request.
    Preview {
        /// The rate limits are checked, but nothing is taken from them.
        limits: &'a dyn TokenLimits,
        /// Whether an assertion of the request was used before.
        used: bool,
        /// What the explanation may show.
        view: &'a View,
    },
    /// To judge a case file without a server, so without rate limits.
    Offline {
        /// Whether the assertion is assumed to be used.
        used: bool,
    },
}

/// What an explanation may show, by who asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// A caller sees rules that its assertion satisfies or proves to be meant for it.
    Caller,
    /// An administrator of these principals sees their rules.
    Principals(Vec<String>),
    /// An administrator sees all rules.
    Everything,
}

/// What a request gets.
#[derive(Debug)]
pub enum Decision<A> {
    /// A token for a registry.
    Registry(Box<Authorization<A>>),
    /// A token for our own admin API.
    Admin(Box<AdminGrant>),
    /// A token for our own userinfo endpoint.
    Userinfo(Box<UserinfoGrant>),
}

/// The content of a registry token and the grounds for it. Only [`decide`] constructs one. Minting
/// accepts it only if its assertion is an
/// [`AcceptedAssertion`](crate::assertion::AcceptedAssertion), never an assumed one.
#[derive(Debug)]
pub struct Authorization<A> {
    grounds: Grounds<A>,
    entitlement: Entitlement,
    delegation: Option<Delegation>,
    possession: Possession,
    expires_at: Timestamp,
}

/// What a token rests on.
#[derive(Debug)]
pub enum Grounds<A> {
    /// An assertion that rules permit.
    Workload(Permit<A>),
    /// An access token of this server that is in force.
    Token(Box<LiveToken>),
    /// A registered client acting for itself.
    Client(Arc<Client>),
    /// A person who let the client act.
    Person(Box<PersonPermit>),
}

/// A token for our own admin API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdminGrant {
    /// The `sub` claim.
    pub subject: String,
    /// The `client_id`, if a registered client gets the token.
    pub client: Option<String>,
    pub scope: ScopeSet,
    pub expires_at: Timestamp,
    /// The key that the token is bound to.
    pub confirmation: Option<Confirmation>,
    /// The rules that admitted a client without a key of its own, or the memberships that give the
    /// person the scope; and the principals that the scope names.
    pub rests_on: Vec<RestsOn>,
    /// The person on whose behalf the client acts.
    pub person: Option<PersonClaims>,
}

/// A token for our own userinfo endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserinfoGrant {
    /// The `sub` claim: the id of the person.
    pub subject: String,
    /// The `client_id`.
    pub client: String,
    /// The scopes of OpenID Connect.
    pub scope: ScopeSet,
    pub expires_at: Timestamp,
    /// The key that the token is bound to.
    pub confirmation: Option<Confirmation>,
    pub person: PersonClaims,
}

/// The principals that an admin scope names, as grounds of a token; `None` if one of them does not
/// exist. Grounds hold ids, so a later principal of the same name gains nothing.
pub fn named_principals(scope: &ScopeSet, rules: &Snapshot) -> Option<Vec<RestsOn>> {
    let named = scope.tokens().filter_map(limited_scope);
    let principals = named.map(|(_, name)| rules.principal(&name.to_ascii_lowercase()));
    let ground = |principal: &Arc<Principal>| RestsOn {
        kind: GroundKind::Principal,
        id: principal.id.clone(),
        revision: 0,
    };
    principals.map(|principal| principal.map(ground)).collect()
}

/// Decides what `subject` gets of the access asked for.
pub fn decide<A: Assertion>(
    context: &DecisionContext<'_>,
    subject: &Subject<A>,
    access: &AccessRequest,
    mode: Mode<'_>,
) -> Result<Decision<A>, Box<Denial>> {
    let possession = subject.possession().map_err(Denial::bare)?;
    let decision = match &subject.presented {
        Presented::Assertion(assertion) | Presented::ClientAssertion(assertion) => {
            workload::decide(context, subject, assertion, (access, possession), mode)?
        }
        Presented::AccessToken(token) => {
            exchange::decide(context, subject, token, (access, possession), mode)
                .map_err(Denial::bare)?
        }
        Presented::Code(code) => {
            let decision = person::decide(context, subject, code, (access, possession), mode);
            return match decision {
                Ok(_) if mode.is_used() => Err(Denial::bare(Reason::CodeUsed.into())),
                decision => decision.map_err(Denial::bare),
            };
        }
        Presented::Client => {
            let itself = subject
                .itself()
                .and_then(|client| of_itself(context, client, (access, possession), mode));
            itself.map_err(Denial::bare)?
        }
        Presented::ClientForAdmin => {
            let itself = subject.itself();
            let itself =
                itself.and_then(|client| for_admin(context, client, &subject.client, access, mode));
            let bound = |grant| AdminGrant {
                confirmation: possession.key,
                ..grant
            };
            let granted = itself.map(bound).map(Box::new);
            return granted.map(Decision::Admin).map_err(Denial::bare);
        }
    };
    // Checked last: a request that is refused for any other reason leaves its assertion unused.
    if mode.is_used() {
        Err(decision.deny(Reason::Replay.into()))
    } else {
        Ok(Decision::Registry(Box::new(decision)))
    }
}

/// The decision on a client's token for itself (RFC 6749 section 4.4).
fn of_itself<A>(
    context: &DecisionContext<'_>,
    client: &Arc<Client>,
    (access, possession): (&AccessRequest, Possession),
    mode: Mode<'_>,
) -> Result<Authorization<A>, Refusal> {
    mode.check(|limits| limits.check_client(&client.client_id))?;
    let asked = Asked {
        access,
        frame: Frame {
            fixed: context.own.issuer().len(),
            per_entry: 0,
        },
        possession: &possession,
    };
    let entitlement = of_client(client, &context.rules, asked)?;
    let expires_at = lifetime::of_server(&entitlement.resource_server, context.now);
    Ok(Authorization {
        grounds: Grounds::Client(client.clone()),
        entitlement,
        delegation: None,
        possession,
        expires_at,
    })
}

/// The decision on a client's admin token. A scope beyond the client's own is refused, not
/// narrowed.
fn for_admin(
    context: &DecisionContext<'_>,
    client: &Client,
    admitted: &Admitted,
    access: &AccessRequest,
    mode: Mode<'_>,
) -> Result<AdminGrant, Refusal> {
    mode.check(|limits| limits.check_client(&client.client_id))?;
    let held = client.scopes.as_ref().filter(|held| {
        access
            .scope
            .as_ref()
            .is_none_or(|wanted| covers(held, wanted))
    });
    let scope = held.map(|held| access.scope.as_ref().unwrap_or(held).clone());
    let scope = scope.ok_or_else(|| Refusal::parameter(Reason::ScopeNotGranted, "scope"))?;
    let principals = named_principals(&scope, &context.rules)
        .ok_or_else(|| Refusal::parameter(Reason::ScopeNotGranted, "scope"))?;
    let now = Timestamp::from_seconds(context.now.seconds());
    let ends_at = now.plus_seconds(ADMIN_LIFETIME_SECONDS);
    let attested = admitted.attested_until();
    let attested = attested.map(|end| Timestamp::from_seconds(end.seconds()));
    if attested.is_some_and(|end| end <= now) {
        return Err(Reason::AttestationExpired.into());
    }
    Ok(AdminGrant {
        subject: client.client_id.clone(),
        client: Some(client.client_id.clone()),
        scope,
        expires_at: attested.map_or(ends_at, |end| end.min(ends_at)),
        confirmation: None,
        rests_on: admitted
            .rules()
            .iter()
            .map(MatchedRule::rests_on)
            .chain(principals)
            .collect(),
        person: None,
    })
}

impl<A: Assertion> Authorization<A> {
    pub fn grounds(&self) -> &Grounds<A> {
        &self.grounds
    }

    pub fn entitlement(&self) -> &Entitlement {
        &self.entitlement
    }

    pub fn delegation(&self) -> Option<&Delegation> {
        self.delegation.as_ref()
    }

    /// The `act` claim (RFC 8693 section 4.1).
    pub fn act(&self) -> Option<&Actor> {
        self.delegation.as_ref().map(|delegation| &delegation.act)
    }

    /// The key that the token is bound to, and how strongly the workload proved itself.
    pub fn possession(&self) -> &Possession {
        &self.possession
    }

    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// The verdicts of the rules; `None` if no rules were matched.
    pub fn report(&self) -> Option<&MatchReport> {
        match &self.grounds {
            Grounds::Workload(permit) => Some(permit.report()),
            Grounds::Token(_) | Grounds::Client(_) | Grounds::Person(_) => None,
        }
    }

    /// The trusted issuer whose rate limit the token counts against.
    pub fn issuer(&self) -> Option<TrustedIssuerId> {
        match &self.grounds {
            Grounds::Workload(permit) => Some(permit.assertion().content().issuer().id),
            Grounds::Token(_) | Grounds::Client(_) | Grounds::Person(_) => None,
        }
    }

    /// Turns the authorization into a denial that keeps the verdicts of the rules.
    pub fn deny(self, refusal: Refusal) -> Box<Denial> {
        self.grounds.deny(refusal)
    }

    /// The `client_id` claim (RFC 9068 section 2.2): the registered client, or the newest federated
    /// credential with the prefix `federated:` (decision D-17).
    pub fn client_id(&self, client: Option<&str>) -> String {
        let newest = || {
            let newest = self.entitlement.credentials.first();
            newest
                .map(|rule| format!("{FEDERATED}{}", rule.credential.id))
                .unwrap_or_default()
        };
        client.map_or_else(newest, str::to_owned)
    }
}

impl<A: Assertion> Grounds<A> {
    /// See [`Authorization::deny`].
    fn deny(self, refusal: Refusal) -> Box<Denial> {
        match self {
            Self::Workload(permit) => permit.deny(refusal),
            Self::Token(_) | Self::Client(_) | Self::Person(_) => Denial::bare(refusal),
        }
    }
}

impl Mode<'_> {
    fn limits(&self) -> Option<&dyn TokenLimits> {
        match self {
            Self::Issue(limits) | Self::Preview { limits, .. } => Some(*limits),
            Self::Offline { .. } => None,
        }
    }

    fn check(
        &self,
        check: impl Fn(&dyn TokenLimits) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        self.limits().map_or(Ok(()), check)
    }

    /// Checks the rate limits of a trusted issuer and of a rule.
    fn check_rule(
        &self,
        issuer: Option<TrustedIssuerId>,
        credential: CredentialId,
    ) -> Result<(), Refusal> {
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

    /// What the answer may show.
    pub fn view(&self) -> &View {
        match self {
            Self::Issue(_) => &View::Caller,
            Self::Preview { view, .. } => view,
            Self::Offline { .. } => &View::Everything,
        }
    }
}

impl View {
    /// Which rules count for a request, and how many of those that do not count are looked for.
    pub fn consent<'a>(&self, access: &'a AccessRequest) -> Consent<'a> {
        let others = match self {
            Self::Caller => OTHERS_OF_CALLERS,
            Self::Principals(_) | Self::Everything => usize::MAX,
        };
        Consent::Workload {
            principal: access.principal.as_deref(),
            door: access.door(),
            others,
        }
    }

    /// Whether the rules of this principal take part in the decision. A limited administrator may
    /// ask about claims that no issuer signed, and made-up claims could prove any rule to be meant,
    /// so the others are left out before the decision.
    pub fn may_see(&self, principal: &str) -> bool {
        match self {
            Self::Caller | Self::Everything => true,
            Self::Principals(names) => names
                .iter()
                .any(|name| name.eq_ignore_ascii_case(principal)),
        }
    }

    /// Whether a rule that was judged may be shown.
    pub fn shows(&self, candidate: &Candidate, issuer: &crate::model::TrustedIssuer) -> bool {
        match self {
            Self::Caller => candidate.holds() || candidate.is_proved_to_be_meant(&issuer.profile),
            Self::Everything | Self::Principals(_) => self.may_see(&candidate.credential.principal),
        }
    }
}
