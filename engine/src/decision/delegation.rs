//! Delegation (RFC 8693 sections 1.1, 4.1 and 4.4; decision D-19): who acts for the subject,
//! whether that is allowed, and the `act` claim that says so.

use carnet_access::Actor;
use serde_json::{Map, Value, json};

use super::{ActorToken, Subject};
use crate::assertion::Assertion;
use crate::client::Admitted;
use crate::clock::Timestamp;
use crate::model::{DecisionContext, FederatedCredential, Rule, Snapshot};
use crate::own_token::LiveToken;
use crate::own_urls::OwnUrls;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::trust::{Consent, MatchedRule, Permit};

/// How many actors the `act` claim may nest.
const MAX_DEPTH: usize = 4;

/// A delegation that is allowed.
#[derive(Debug)]
pub struct Delegation {
    /// The `act` claim of the token (RFC 8693 section 4.1).
    pub act: Actor,
    /// When the actor's right to act ends, and the token with it; `None` if nothing limits it.
    pub until: Option<Timestamp>,
    /// The actor's rules that the token rests on.
    pub rules: Vec<MatchedRule>,
}

impl Delegation {
    /// A delegation ends with the actor's own token and with each of the actor's rules.
    pub(super) fn of(act: Actor, party: &Party, rules: Vec<MatchedRule>) -> Self {
        let ends = rules.iter().filter_map(|rule| rule.credential.expires_at);
        Self {
            act,
            until: ends.chain(party.until).min(),
            rules,
        }
    }

    /// The delegation of a token that is exchanged without a new actor. The limits of the first
    /// exchange are in that token's `exp` already.
    pub(super) fn kept(act: Actor) -> Self {
        Self {
            act,
            until: None,
            rules: Vec::new(),
        }
    }
}

/// An actor, identified by the actor token.
pub(super) struct Party {
    iss: String,
    sub: String,
    /// The claims that `may_act` is compared with.
    claims: Value,
    /// The actor's rules: those that match its assertion, or those of its access token's entries.
    rules: Vec<MatchedRule>,
    /// When the actor token expires. For an assertion, only if its trusted issuer caps tokens at
    /// the assertion's expiry.
    until: Option<Timestamp>,
}

impl Party {
    /// Identifies the actor by its token. Only rules that one of `naming` names as actors are
    /// matched: any principal may write a rule that matches another principal's workload.
    pub fn of<'c, A: Assertion>(
        token: &ActorToken<A>,
        subject: &Subject<A>,
        context: &DecisionContext<'_>,
        naming: impl Iterator<Item = &'c FederatedCredential>,
    ) -> Result<Self, Refusal> {
        match token {
            ActorToken::Assertion(assertion) => Ok(Self::of_assertion(assertion, context, naming)),
            ActorToken::AccessToken(token) => {
                // An actor cannot pass a delegation on.
                if token.claims().act.is_some() {
                    return Err(Reason::ActorTokenInvalid.into());
                }
                subject.check_ownership(token)?;
                Ok(Self::of_token(token, &context.rules))
            }
        }
    }

    fn of_assertion<'c, A: Assertion>(
        assertion: &A,
        context: &DecisionContext<'_>,
        naming: impl Iterator<Item = &'c FederatedCredential>,
    ) -> Self {
        let naming: Vec<Rule<'c>> = naming
            .filter_map(|credential| credential.rule.open())
            .collect();
        let is_named = |credential: &FederatedCredential| {
            naming
                .iter()
                .any(|rule| credential.is_named_by(&rule.actors))
        };
        let permit = Permit::new(
            assertion.clone(),
            &context.rules,
            context.now,
            Consent::Named,
            is_named,
        );
        let rules = permit.map(|permit| permit.report().matching().map(MatchedRule::of).collect());
        let assertion = assertion.content();
        Self {
            iss: assertion.issuer().issuer.clone(),
            sub: assertion.subject().to_owned(),
            claims: Value::Object(assertion.claims().members().clone()),
            rules: rules.unwrap_or_default(),
            until: assertion.ends().map(|(end, _)| end).min(),
        }
    }

    fn of_token(token: &LiveToken, rules: &Snapshot) -> Self {
        let claims = token.claims();
        let ids = claims
            .authorization_details
            .iter()
            .filter_map(|entry| entry.credential.parse().ok());
        let admitted = ids.filter_map(|id| rules.credential(id)).cloned();
        Self {
            iss: claims.iss.clone(),
            sub: claims.sub.clone(),
            claims: json!({ "iss": claims.iss, "sub": claims.sub, "client_id": claims.client_id }),
            rules: admitted
                .map(|credential| MatchedRule {
                    credential,
                    pins: Map::new(),
                })
                .collect(),
            until: Some(token.expires_at()),
        }
    }

    /// How many of the actor's rules one entry can rest on at most.
    pub fn most_lent(&self) -> usize {
        self.rules.len()
    }

    /// Whether `credential` names a rule of this actor in `actors`.
    pub fn is_named_by(&self, credential: &FederatedCredential) -> bool {
        let actors = credential
            .rule
            .open()
            .map(|rule| rule.actors)
            .unwrap_or_default();
        self.rules
            .iter()
            .any(|rule| rule.credential.is_named_by(&actors))
    }

    /// The rules of this actor that `credential` names in `actors`.
    pub fn rules_named_by(&self, credential: &FederatedCredential) -> Vec<MatchedRule> {
        let actors = credential
            .rule
            .open()
            .map(|rule| rule.actors)
            .unwrap_or_default();
        let is_named = |rule: &&MatchedRule| rule.credential.is_named_by(&actors);
        self.rules.iter().filter(is_named).cloned().collect()
    }
}

/// Every member of `may_act` has to be present and equal in the actor's claims (RFC 8693 section
/// 4.4).
fn is_named(may_act: &Value, claims: &Value) -> bool {
    may_act.as_object().is_some_and(|members| {
        !members.is_empty()
            && members
                .iter()
                .all(|(name, wanted)| claims.get(name) == Some(wanted))
    })
}

/// What the subject's token says about actors.
pub(super) struct Represented<'a> {
    pub iss: &'a str,
    pub may_act: Option<&'a Value>,
    pub act: Option<&'a Actor>,
}

impl Represented<'_> {
    /// Without an actor token the authenticated client is the actor, and `may_act`, if present, has
    /// to name it. Callers without a client that authenticates are not checked.
    pub fn admits_client(&self, client: &Admitted, own: &OwnUrls) -> Result<(), Refusal> {
        let (Some(may_act), Some(client)) = (self.may_act, client.identity().authenticated())
        else {
            return Ok(());
        };
        let id = &client.client_id;
        let claims = json!({ "iss": own.issuer(), "sub": id, "client_id": id });
        if is_named(may_act, &claims) {
            Ok(())
        } else {
            Err(Reason::ActorNotAllowed.into())
        }
    }

    /// What `may_act` says about an actor: `false` without the claim, `true` if it names the actor.
    pub fn says_of(&self, party: &Party) -> Result<bool, Refusal> {
        let Some(may_act) = self.may_act else {
            return Ok(false);
        };
        // `sub` is unique for one issuer only. Without an `iss` member, `may_act` means actors of
        // the subject's issuer.
        let same_issuer = may_act.get("iss").is_some() || party.iss == self.iss;
        if is_named(may_act, &party.claims) && same_issuer {
            Ok(true)
        } else {
            Err(Reason::ActorNotAllowed.into())
        }
    }

    /// The `act` claim with the new actor outermost and the previous ones nested inside (RFC 8693
    /// section 4.1).
    pub fn act_with(&self, party: &Party) -> Result<Actor, Refusal> {
        let before = self.act.cloned().map(Box::new);
        let act = Actor {
            iss: party.iss.clone(),
            sub: party.sub.clone(),
            act: before,
        };
        within_depth(&act)?;
        Ok(act)
    }
}

/// Refuses an `act` claim with more than [`MAX_DEPTH`] actors.
pub(super) fn within_depth(act: &Actor) -> Result<(), Refusal> {
    let depth = std::iter::successors(Some(act), |act| act.act.as_deref())
        .take(MAX_DEPTH.saturating_add(1))
        .count();
    if depth > MAX_DEPTH {
        Err(Reason::ChainTooLong.into())
    } else {
        Ok(())
    }
}
