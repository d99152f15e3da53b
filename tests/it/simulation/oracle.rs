//! What must hold, from what the callers were answered: a model of its own, which knows nothing of how the engine decides.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::operation::{Assertion, Change, Grant, Operation};
use super::outsider::Outsider;
use super::template::{HERS, PACKAGES, PENDING, Workload, payload, token_in};
use crate::support::Answer;

/// A violation, in a sentence.
pub type Verdict = Result<(), String>;

/// Something that is so for certain, since the change of this number; `None` if it may be otherwise.
type Certainly = Option<u64>;

/// What is certain about a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Rule {
    absent: Certainly,
    disabled: Certainly,
    unvouched: Certainly,
}

/// What the requests with an assertion, or with a proof, came to.
#[derive(Clone, Debug, Default)]
struct Uses {
    answered: usize,
    /// Requests whose caller never heard what became of them.
    unknown: usize,
    called_used: usize,
}

#[derive(Clone, Debug)]
struct Token {
    text: String,
    parent: Option<usize>,
    /// The numbers of assertion and proof that it was issued for.
    assertion: Option<usize>,
    proof: Option<usize>,
    /// Rules that it must not rest on, and rules of which it must have no `create`, each with the reason.
    forbidden: BTreeMap<usize, &'static str>,
    without_create: BTreeSet<usize>,
    revoked: bool,
}

/// What was known when an operation began.
#[derive(Clone, Debug)]
pub struct Before {
    rules: [Rule; 3],
    tokens: usize,
    now: i64,
    /// Whether the token, or one that it was made from, had been revoked.
    revoked: bool,
    /// The rules whose entries in the token had ended, and those of which the replica knew it.
    ended: BTreeSet<usize>,
    known_ended: BTreeSet<usize>,
    all_ended: BTreeSet<(usize, usize)>,
}

/// The model.
#[derive(Debug)]
pub struct Oracle {
    rules: [Rule; 3],
    changes: u64,
    assertions: Vec<Uses>,
    proofs: [Uses; 2],
    tokens: Vec<Token>,
    /// Tokens and rules whose entries in them have ended, and of which a replica was told.
    ended: BTreeSet<(usize, usize)>,
    told: Vec<BTreeSet<(usize, usize)>>,
    pins: BTreeMap<uuid::Uuid, String>,
}

impl Oracle {
    pub fn new(assertions: usize, replicas: usize) -> Self {
        let mut rules = [Rule::default(); 3];
        rules[HERS].unvouched = Some(0);
        Self {
            rules,
            changes: 0,
            assertions: vec![Uses::default(); assertions],
            proofs: Default::default(),
            tokens: Vec::new(),
            ended: BTreeSet::new(),
            told: vec![BTreeSet::new(); replicas],
            pins: BTreeMap::new(),
        }
    }

    pub fn texts(&self) -> Vec<String> {
        self.tokens.iter().map(|token| token.text.clone()).collect()
    }

    /// The tokens whose revocation was acknowledged.
    pub fn revoked(&self) -> impl Iterator<Item = usize> {
        (0..self.tokens.len()).filter(|token| self.is_revoked(*token))
    }

    fn is_revoked(&self, token: usize) -> bool {
        let token = &self.tokens[token];
        token.revoked || token.parent.is_some_and(|parent| self.is_revoked(parent))
    }

    /// An operation begins on a replica.
    pub fn begin(&mut self, operation: &Operation, replica: usize, now: i64) -> Before {
        let token = match operation {
            Operation::Exchange { token, .. }
            | Operation::Introspect { token }
            | Operation::Revoke { token, .. } => Some(*token),
            _ => None,
        };
        let of_token = |ended: &BTreeSet<(usize, usize)>| {
            let ended = ended.iter().filter(|(of, _)| Some(*of) == token);
            ended.map(|(_, rule)| *rule).collect()
        };
        let before = Before {
            rules: self.rules,
            tokens: self.tokens.len(),
            now,
            revoked: token.is_some_and(|token| self.is_revoked(token)),
            ended: of_token(&self.ended),
            known_ended: of_token(&self.told[replica]),
            all_ended: self.ended.clone(),
        };
        if let Operation::Change { rule, change } = operation {
            let state = &mut self.rules[*rule];
            match change {
                Change::Enable(true) => state.disabled = None,
                Change::Vouch(true) => state.unvouched = None,
                Change::Save => {
                    (state.absent, state.disabled) = (None, None);
                    // Mallory cannot vouch for herself.
                    if *rule != HERS {
                        state.unvouched = None;
                    }
                }
                Change::Enable(false) | Change::Vouch(false) | Change::Delete | Change::End => {}
            }
        }
        before
    }

    /// The caller of an operation will never hear what became of it.
    pub fn lost(&mut self, operation: &Operation) {
        let (assertion, proof) = spent_by(operation);
        if let Some(assertion) = assertion {
            self.assertions[assertion].unknown += 1;
        }
        if let Some(proof) = proof {
            self.proofs[proof].unknown += 1;
        }
    }

    /// A replica has read all changes that there were when it began to.
    pub fn kept(&mut self, replica: usize, before: &Before) {
        self.told[replica].extend(&before.all_ended);
    }

    /// An operation was answered.
    pub fn answered(
        &mut self,
        operation: &Operation,
        replica: usize,
        before: &Before,
        answer: &Answer,
        now: i64,
    ) -> Verdict {
        if answer.status >= 500 && answer.status != 503 {
            return Err(format!("{operation:?} failed: {}", answer.text()));
        }
        match operation {
            Operation::Token { .. } | Operation::Exchange { .. } => {
                self.asked(operation, before, answer)
            }
            Operation::Introspect { token } => Self::introspected(*token, before, answer),
            Operation::Revoke { token, .. } => {
                let in_force = before.now.max(now) < self.expiry(*token);
                self.tokens[*token].revoked |= answer.status == 200 && in_force;
                Ok(())
            }
            Operation::Change { rule, change } if matches!(answer.status, 200 | 201 | 204) => {
                self.changed(*rule, *change, replica, before);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The time until which a token is in force at least. Keys of the front door do not say it.
    fn expiry(&self, token: usize) -> i64 {
        let text = &self.tokens[token].text;
        if text.contains('.') {
            payload(text)["exp"].as_i64().unwrap()
        } else {
            super::START + 250
        }
    }

    fn changed(&mut self, rule: usize, change: Change, replica: usize, before: &Before) {
        self.changes += 1;
        let since = Some(self.changes);
        let state = &mut self.rules[rule];
        match change {
            Change::Enable(false) => state.disabled = since,
            Change::Vouch(false) => state.unvouched = since,
            Change::Delete => state.absent = since,
            Change::Save if rule == HERS && before.rules[rule].absent.is_some() => {
                state.unvouched = since;
            }
            Change::Enable(true) | Change::Vouch(true) | Change::Save | Change::End => {}
        }
        if matches!(change, Change::Delete | Change::End) {
            let ended = (0..before.tokens).map(|token| (token, rule));
            self.ended.extend(ended.clone());
            self.told[replica].extend(ended);
        }
    }

    /// A token was asked for.
    fn asked(&mut self, operation: &Operation, before: &Before, answer: &Answer) -> Verdict {
        let (assertion, proof) = spent_by(operation);
        let Some(text) = token_in(answer) else {
            let reason = answer.reason();
            match (assertion, proof, reason.as_str()) {
                (Some(assertion), _, "replay") => self.assertions[assertion].called_used += 1,
                (_, Some(proof), "proof_replayed") => self.proofs[proof].called_used += 1,
                _ => {}
            }
            return Ok(());
        };
        if let Some(assertion) = assertion {
            let uses = &mut self.assertions[assertion];
            uses.answered += 1;
            if uses.answered > 1 {
                return Err(format!("two tokens for assertion {assertion}"));
            }
        }
        if let Some(proof) = proof {
            let uses = &mut self.proofs[proof];
            uses.answered += 1;
            if uses.answered > 1 {
                return Err(format!("two tokens for proof {proof}"));
            }
        }
        if before.revoked {
            return Err(format!("{operation:?}: a revoked token was exchanged"));
        }
        let token = self.token(operation, before, text);
        self.tokens.push(token);
        Ok(())
    }

    /// A token, with what must not be in it: what was certain when it was asked for and still is.
    fn token(&self, operation: &Operation, before: &Before, text: String) -> Token {
        let (assertion, proof) = spent_by(operation);
        let still = |then: Certainly, now: Certainly| then.is_some() && then == now;
        let (named, at_door, parent) = match operation {
            Operation::Token { named, by, .. } => (*named, *by == Grant::FrontDoor, None),
            Operation::Exchange { token, .. } => (None, false, Some(*token)),
            _ => unreachable!("no request for a token"),
        };
        let (mut forbidden, mut without_create) = (BTreeMap::new(), BTreeSet::new());
        for (rule, (then, now)) in before.rules.iter().zip(&self.rules).enumerate() {
            let principal = if rule == HERS { "mallory" } else { "joel" };
            if still(then.absent, now.absent) {
                forbidden.insert(rule, "was deleted before");
            } else if still(then.disabled, now.disabled) {
                forbidden.insert(rule, "was disabled before");
            } else if parent.is_some() {
                if before.ended.contains(&rule) {
                    forbidden.insert(rule, "ended its tokens before");
                }
            } else if still(then.unvouched, now.unvouched) && named != Some(principal) {
                if at_door {
                    without_create.insert(rule);
                } else {
                    forbidden.insert(rule, "nobody vouched for or named");
                }
            }
        }
        Token {
            text,
            parent,
            assertion,
            proof,
            forbidden,
            without_create,
            revoked: false,
        }
    }

    fn introspected(token: usize, before: &Before, answer: &Answer) -> Verdict {
        if answer.status != 200 {
            return Ok(());
        }
        let body = answer.json();
        if body["active"] != true {
            return Ok(());
        }
        if before.revoked {
            return Err(format!("token {token} is active after its revocation"));
        }
        for entry in entries(&body) {
            if before.known_ended.contains(&entry.rule) {
                return Err(format!(
                    "token {token} has an entry of rule {} after its end",
                    entry.rule
                ));
            }
        }
        Ok(())
    }

    /// Pins are set once and never change.
    pub fn look_at_pins(&mut self, outsider: &Outsider) -> Verdict {
        for (rule, ids) in outsider.pins() {
            let before = self.pins.entry(rule).or_insert_with(|| ids.clone());
            if *before != ids {
                return Err(format!("the pins of {rule} were {before} and are {ids}"));
            }
        }
        Ok(())
    }

    /// Compares what was answered with what the database says of it, when all is over.
    pub fn compare(&self, outsider: &Outsider, assertions: &[Assertion]) -> Verdict {
        let (issued, consumed, opaque) =
            (outsider.issued(), outsider.consumed(), outsider.opaque());
        let mut pinned_by: BTreeMap<String, BTreeSet<Workload>> = BTreeMap::new();
        for (number, token) in self.tokens.iter().enumerate() {
            let claims = if token.text.contains('.') {
                payload(&token.text)
            } else {
                let hash = carnet::opaque::hash(&token.text).to_vec();
                let claims = opaque.get(&hash).cloned();
                claims.ok_or(format!("key {number} was answered and is not recorded"))?
            };
            let id = claims["jti"].as_str().unwrap();
            let events: Vec<_> = issued.iter().filter(|event| event.token == id).collect();
            let [event] = events[..] else {
                return Err(format!("token {number} has {} audit events", events.len()));
            };
            let assertion = token.assertion.map(|assertion| &assertions[assertion]);
            if token.parent.is_none()
                && event.assertion.as_ref() != assertion.map(|assertion| &assertion.id)
            {
                return Err(format!(
                    "the event of token {number} names another assertion"
                ));
            }
            let spent = i64::from(token.assertion.is_some()) + i64::from(token.proof.is_some());
            let used_up = consumed.get(&Some(event.event)).copied().unwrap_or(0);
            if used_up != spent {
                return Err(format!("token {number} used up {used_up} of {spent}"));
            }
            for entry in entries(&claims) {
                check_entry(number, token, &entry)?;
                // A self-service rule pins nothing at a door that names nobody; its entries lack `create` there.
                let pins = entry.rule == PENDING && entry.creates;
                if let Some(assertion) = assertion.filter(|_| pins) {
                    let by = pinned_by.entry(entry.credential).or_default();
                    by.insert(assertion.workload);
                }
            }
        }
        if let Some((rule, _)) = pinned_by.iter().find(|(_, by)| by.len() > 1) {
            return Err(format!(
                "{rule} gave tokens to two repositories of one name"
            ));
        }
        self.compare_uses(outsider, assertions)
    }

    fn compare_uses(&self, outsider: &Outsider, assertions: &[Assertion]) -> Verdict {
        let issued = outsider.issued();
        for (number, (uses, assertion)) in self.assertions.iter().zip(assertions).enumerate() {
            let events = issued
                .iter()
                .filter(|event| event.assertion.as_ref() == Some(&assertion.id));
            let tokens = events.count();
            if tokens > 1 {
                return Err(format!(
                    "{tokens} tokens were issued for assertion {number}"
                ));
            }
            if tokens > uses.answered + uses.unknown {
                return Err(format!(
                    "assertion {number} was refused, and a token was issued"
                ));
            }
            if uses.called_used > 0 && tokens == 0 {
                return Err(format!(
                    "assertion {number} is called used, and no token was issued"
                ));
            }
        }
        for (number, uses) in self.proofs.iter().enumerate() {
            if uses.called_used > 0 && uses.answered + uses.unknown == 0 {
                return Err(format!("proof {number} is called used, and nobody used it"));
            }
        }
        for event in outsider.consumed().keys() {
            let of_a_token = issued.iter().any(|issued| Some(issued.event) == *event);
            if !of_a_token {
                return Err("something was used up without a token".to_owned());
            }
        }
        Ok(())
    }

    /// An assertion was presented once more when all was over, and everything permitted it.
    pub fn presented_again(&self, number: usize, workload: Workload, answer: &Answer) -> Verdict {
        let uses = &self.assertions[number];
        let (given, reason) = (answer.status == 200, answer.reason());
        if given && uses.answered > 0 {
            return Err(format!("assertion {number} gave a second token in the end"));
        }
        if given || workload != Workload::Release {
            return Ok(());
        }
        match uses.answered {
            0 if uses.unknown == 0 => Err(format!(
                "assertion {number} was never used, and is refused: {reason}"
            )),
            1 if reason != "replay" => Err(format!(
                "assertion {number} was used, and is refused for {reason}"
            )),
            _ => Ok(()),
        }
    }
}

/// The assertion and the proof that a token of this operation uses up.
fn spent_by(operation: &Operation) -> (Option<usize>, Option<usize>) {
    match operation {
        Operation::Token {
            assertion, proof, ..
        } => (Some(*assertion), *proof),
        Operation::Exchange { proof, .. } => (None, *proof),
        _ => (None, None),
    }
}

/// An entry of a token's `authorization_details`.
struct Entry {
    rule: usize,
    credential: String,
    creates: bool,
}

fn entries(claims: &Value) -> Vec<Entry> {
    let entries = claims["authorization_details"].as_array().unwrap();
    let entries = entries.iter().map(|entry| Entry {
        rule: PACKAGES
            .iter()
            .position(|package| entry["packages"][0] == *package)
            .unwrap(),
        credential: entry["credential"].as_str().unwrap().to_owned(),
        creates: entry["actions"]
            .as_array()
            .is_some_and(|actions| actions.iter().any(|action| action == "create")),
    });
    entries.collect()
}

fn check_entry(number: usize, token: &Token, entry: &Entry) -> Verdict {
    if let Some(why) = token.forbidden.get(&entry.rule) {
        return Err(format!(
            "token {number} rests on rule {}, which {why}",
            entry.rule
        ));
    }
    if token.without_create.contains(&entry.rule) && entry.creates {
        return Err(format!("token {number} may create by rule {}", entry.rule));
    }
    Ok(())
}
