//! Delegation (RFC 8693 sections 1.1, 4.1 and 4.4; decision D-19): who acts for the subject, and whether that is allowed.

use std::sync::Arc;

use carnet_resource_server::Actor;
use serde_json::{Value, json};

use super::Moment;
use super::redeem::verify_for;
use super::request::{ActorToken, GrantRequest};
use crate::app::App;
use crate::assertion::VerifiedAssertion;
use crate::clock::Timestamp;
use crate::model::{AssertionGrant, Snapshot};
use crate::own_tokens::LiveToken;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::token::Acting;
use crate::trust::{MatchedRule, Permit};

/// The most actors that a token may name, one inside the other.
const MAX_DEPTH: usize = 4;

/// Somebody who acts, known by a token of theirs.
pub(super) struct Party {
    iss: String,
    sub: String,
    /// What `may_act` is held against.
    claims: Value,
    /// The rules that admit it, by name.
    rules: Vec<MatchedRule>,
    /// When what it is known by ends, if that ends its right to act.
    until: Option<Timestamp>,
    /// The `jti` of the token of ours that it is known by.
    token_id: Option<String>,
    /// The assertion that it came with, which is used up with the subject's.
    pub assertion: Option<Arc<VerifiedAssertion>>,
}

/// A delegation that is allowed.
pub(super) struct Delegation {
    /// The `act` claim of the token, and how long it may stand.
    pub acting: Acting,
    /// The rules of the actor that it rests on.
    pub rules: Vec<MatchedRule>,
    /// The actor's assertion.
    pub assertion: Option<Arc<VerifiedAssertion>>,
    /// The `jti` of the actor's token, if it is one of ours: with it ends what is made with it.
    pub token_id: Option<String>,
}

impl Delegation {
    /// Nobody acts for longer than the actor's own token and rules last.
    pub fn of(act: Actor, party: Party, rules: Vec<MatchedRule>) -> Self {
        let ends = rules.iter().filter_map(|granting| granting.credential.expires_at);
        let until = ends.chain(party.until).min();
        Self { acting: Acting { act, until }, rules, assertion: party.assertion, token_id: party.token_id }
    }
}

/// Verifies the actor token by the rules of its type, as the subject token is.
pub(super) async fn verify(
    app: &App,
    request: &GrantRequest<'_>,
    token: ActorToken<'_>,
    moment: &Moment,
) -> Result<Party, Refusal> {
    match token {
        ActorToken::Assertion(text) => {
            let assertion = verify_for(app, text, AssertionGrant::TokenExchange).await?;
            if !moment.rules.is_current(assertion.issuer()) {
                return Err(Refusal::later(Reason::Busy, 1));
            }
            let permit = Permit::new(assertion.clone(), moment.rules.clone(), moment.now, |_| true);
            let admitted = permit.as_ref().map(|permit| permit.report().matching().map(MatchedRule::of).collect());
            Ok(Party {
                iss: assertion.issuer().issuer.clone(),
                sub: assertion.subject().to_owned(),
                claims: Value::Object(assertion.claims().members().clone()),
                rules: admitted.unwrap_or_default(),
                until: assertion
                    .issuer()
                    .cap_at_assertion_expiry
                    .then(|| Timestamp::from_seconds(assertion.expires_at().seconds())),
                token_id: None,
                assertion: Some(assertion),
            })
        }
        ActorToken::AccessToken(text) => {
            let invalid = || Refusal::new(Reason::ActorTokenInvalid);
            let tokens = app.own_tokens(&moment.rules, moment.now);
            let own =
                tokens.recognise(text).await.map_err(|error| Refusal::unavailable(&error))?.ok_or_else(invalid)?;
            let live =
                tokens.in_force(own).await.map_err(|error| Refusal::unavailable(&error))?.map_err(|_| invalid())?;
            // Somebody who acts for another one does not lend that on, and a bound token is worth nothing without its proof.
            if live.claims().act.is_some() || live.confirmation().is_some() {
                return Err(invalid());
            }
            request.check_ownership(&live)?;
            Ok(Party::of_token(&live, &moment.rules))
        }
    }
}

impl Party {
    fn of_token(token: &LiveToken, rules: &Snapshot) -> Self {
        let claims = token.claims();
        let ids = claims.authorization_details.iter().filter_map(|entry| entry.credential.parse().ok());
        let admitted = ids.filter_map(|id| rules.credential(id)).cloned();
        Self {
            iss: claims.iss.clone(),
            sub: claims.sub.clone(),
            claims: json!({ "iss": claims.iss, "sub": claims.sub, "client_id": claims.client_id }),
            rules: admitted.map(|credential| MatchedRule { credential, pins: serde_json::Map::new() }).collect(),
            until: Some(token.expires_at()),
            token_id: Some(claims.jti.clone()),
            assertion: None,
        }
    }

    /// The rules of this party that a rule with these `actors` names.
    fn named_among(&self, actors: &[&str]) -> Vec<MatchedRule> {
        let is_named = |granting: &&MatchedRule| {
            let name = granting.credential.rule.open().map(|rule| rule.name);
            name.is_some_and(|name| actors.iter().any(|actor| actor.eq_ignore_ascii_case(name)))
        };
        self.rules.iter().filter(is_named).cloned().collect()
    }

    /// Whether the subject's `may_act` names this party: every member of it has to be there and equal (RFC 8693 section 4.4).
    fn is_named_by(&self, may_act: &Value) -> bool {
        is_named(may_act, &self.claims)
    }
}

fn is_named(may_act: &Value, claims: &Value) -> bool {
    may_act.as_object().is_some_and(|members| {
        !members.is_empty() && members.iter().all(|(name, wanted)| claims.get(name) == Some(wanted))
    })
}

/// Who the subject says may act for it, and the actors it has already.
pub(super) struct Subject<'a> {
    pub iss: &'a str,
    pub may_act: Option<&'a Value>,
    pub act: Option<&'a Actor>,
}

impl Subject<'_> {
    /// Without an actor token whoever asks acts: where the subject says who may, an authenticated client has to be that one.
    pub fn admits_client(&self, request: &GrantRequest<'_>, app: &App) -> Result<(), Refusal> {
        let (Some(may_act), Some(client)) = (self.may_act, request.client.authenticated()) else {
            return Ok(());
        };
        let id = &client.client_id;
        let claims = json!({ "iss": app.config.own.issuer(), "sub": id, "client_id": id });
        if is_named(may_act, &claims) { Ok(()) } else { Err(Reason::ActorNotAllowed.into()) }
    }

    /// What the subject says of a party: nothing, yes, or no.
    pub fn says_of(&self, party: &Party) -> Result<bool, Refusal> {
        match self.may_act {
            None => Ok(false),
            // A subject means nothing without its issuer: the subject's own, unless another one is named.
            Some(may_act) if party.is_named_by(may_act) && (may_act.get("iss").is_some() || party.iss == self.iss) => {
                Ok(true)
            }
            Some(_) => Err(Reason::ActorNotAllowed.into()),
        }
    }

    /// The `act` of the token: the party outermost, those before it inside.
    pub fn act_with(&self, party: &Party) -> Result<Actor, Refusal> {
        let before = self.act.cloned().map(Box::new);
        let act = Actor { iss: party.iss.clone(), sub: party.sub.clone(), act: before };
        within_depth(&act)?;
        Ok(act)
    }
}

/// Refuses chains that are too long.
pub(super) fn within_depth(act: &Actor) -> Result<(), Refusal> {
    let depth = std::iter::successors(Some(act), |act| act.act.as_deref()).take(MAX_DEPTH.saturating_add(1)).count();
    if depth > MAX_DEPTH { Err(Reason::ChainTooLong.into()) } else { Ok(()) }
}

/// The rules of `party` that the rule of `credential` names as its actors.
pub(super) fn rules_named_by(party: &Party, rule: Option<crate::model::Rule<'_>>) -> Vec<MatchedRule> {
    rule.map(|rule| party.named_among(&rule.actors)).unwrap_or_default()
}
