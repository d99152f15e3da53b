//! One run: a seed decides which operations there are, which of them are under way at the same time, whose turn it is, and what
//! goes wrong.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::Request;
use carnet::clock::{Clock as _, ManualClock, Timestamp};
use serde_json::json;

use super::operation::{Action, Assertion, Operation, present_plainly};
use super::oracle::{Before, Oracle, Verdict};
use super::outsider::{Outsider, REFUSED};
use super::random::Random;
use super::replica::{Done, Replica, Work, send, start};
use super::template::{Folder, RELEASE, Template, admin, document, path_of};
use crate::support::{Answer, encode};

/// How many operations may be under way at the same time.
const MOST_UNDER_WAY: usize = 8;
/// After this time a run is stuck: SQLite gives up waiting for a writer after ten seconds.
const STUCK: Duration = Duration::from_mins(1);

/// An operation that is under way.
struct UnderWay {
    operation: Operation,
    replica: usize,
    work: Work,
    before: Before,
    /// After how many more turns its caller hangs up.
    patience: Option<usize>,
}

pub struct Run {
    /// What is done.
    plan: Random,
    /// Whose turn it is, for how long. By itself, so that the plan is the same however long SQLite takes.
    schedule: Random,
    clock: Arc<ManualClock>,
    // Before the folder: connections close before their file is gone.
    outsider: Outsider,
    replicas: Vec<Replica>,
    under_way: Vec<UnderWay>,
    assertions: Vec<Assertion>,
    oracle: Oracle,
    /// What happened, for whoever has to understand a violation.
    pub log: Vec<String>,
    folder: Folder,
}

/// What happened in a run, beside its log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub operations: usize,
    pub tokens: usize,
    pub crashes: usize,
    pub hung_up: usize,
}

impl Run {
    pub fn new(seed: u64) -> Self {
        let template = Template::get();
        let mut plan = Random::new(seed);
        let folder = template.folder(seed);
        let assertions: Vec<Assertion> = (0..3 + plan.below(4))
            .map(|number| Assertion::new(seed, number))
            .collect();
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(super::START)));
        let replicas: Vec<Replica> = (0..2 + usize::from(plan.chance(25)))
            .map(|_| Replica::started(&folder, clock.clone(), template.network.clone()))
            .collect();
        Self {
            outsider: Outsider::new(&folder),
            oracle: Oracle::new(assertions.len(), replicas.len()),
            under_way: Vec::new(),
            log: Vec::new(),
            schedule: Random::new(!seed),
            plan,
            clock,
            replicas,
            assertions,
            folder,
        }
    }

    fn now(&self) -> i64 {
        self.clock.now().seconds()
    }

    /// Carries out the whole plan, and compares.
    pub fn finish(&mut self) -> Result<Counts, String> {
        let mut counts = Counts::default();
        let mut steps = 12 + self.plan.below(30);
        let began = Instant::now();
        while steps > 0 || !self.under_way.is_empty() {
            if began.elapsed() > STUCK {
                return Err("no progress for a minute".to_owned());
            }
            if steps == 0 {
                self.outsider.refuse_nothing();
            }
            let begins = steps > 0 && self.under_way.len() < MOST_UNDER_WAY;
            if begins && (self.under_way.is_empty() || self.schedule.chance(25)) {
                steps -= 1;
                let (assertions, replicas) = (self.assertions.len(), self.replicas.len());
                let action = Action::choose(&mut self.plan, assertions, replicas);
                self.act(action, &mut counts)?;
            } else if !self.under_way.is_empty() {
                self.turn(&mut counts)?;
            }
        }
        self.end()?;
        counts.tokens = self.oracle.texts().len();
        Ok(counts)
    }

    /// A step of the plan.
    fn act(&mut self, action: Action, counts: &mut Counts) -> Verdict {
        if !matches!(action, Action::Begin(_)) {
            self.log.push(format!("{action:?}"));
        }
        match action {
            Action::Begin(operation) => {
                if let Some(operation) = self.settled(operation) {
                    counts.operations += 1;
                    self.begin(operation);
                }
            }
            Action::Crash(replica) => {
                counts.crashes += 1;
                self.crash(replica);
            }
            Action::Lock => self.outsider.lock(),
            Action::Refuse(what) => self.outsider.refuse(REFUSED[what]),
            Action::RefuseNothing => {
                self.outsider.refuse_nothing();
            }
            Action::Clock(seconds) => self.clock.advance(seconds),
        }
        self.oracle.look_at_pins(&self.outsider)
    }

    /// The operation with the number of a token that there is. `None` if there is none yet, or if the rule is being changed: what
    /// two changes at the same time come to, nobody can say.
    fn settled(&mut self, mut operation: Operation) -> Option<Operation> {
        let tokens = self.oracle.texts().len();
        match &mut operation {
            Operation::Exchange { token, .. }
            | Operation::Introspect { token }
            | Operation::Revoke { token, .. } => *token = token.checked_rem(tokens)?,
            Operation::Change { rule, .. } => {
                let changing = self.under_way.iter().any(|other| {
                    matches!(other.operation, Operation::Change { rule: of, .. } if of == *rule)
                });
                if changing {
                    return None;
                }
            }
            Operation::Token { .. } | Operation::Refresh | Operation::Prune | Operation::Start => {}
        }
        Some(operation)
    }

    fn begin(&mut self, operation: Operation) {
        let up: Vec<usize> = (0..self.replicas.len())
            .filter(|replica| self.replicas[*replica].up.is_some())
            .collect();
        if up.is_empty() {
            return;
        }
        let replica = self.plan.of(&up);
        let patience = self.plan.chance(12).then(|| self.plan.below(40));
        let texts = self.oracle.texts();
        let work = operation.begin(&self.replicas[replica], &self.assertions, &texts);
        let before = self.oracle.begin(&operation, replica, self.now());
        self.log.push(format!("{replica}: {operation:?} begins"));
        self.under_way.push(UnderWay {
            operation,
            replica,
            work,
            before,
            patience,
        });
    }

    fn crash(&mut self, replica: usize) {
        let (lost, kept) = std::mem::take(&mut self.under_way)
            .into_iter()
            .partition(|under_way| under_way.replica == replica);
        self.under_way = kept;
        for under_way in &lost {
            let UnderWay { operation, .. } = under_way;
            self.oracle.lost(operation);
            self.log.push(format!("{replica}: {operation:?} is lost"));
        }
        let works = lost.into_iter().map(|lost: UnderWay| lost.work).collect();
        self.replicas[replica].crash(works);
        let template = Template::get();
        let work = start(&self.folder, self.clock.clone(), template.network.clone());
        let operation = Operation::Start;
        self.under_way.push(UnderWay {
            before: self.oracle.begin(&operation, replica, self.now()),
            operation,
            replica,
            work,
            patience: None,
        });
    }

    /// One operation, or the tasks of one replica, get their turn.
    fn turn(&mut self, counts: &mut Counts) -> Verdict {
        let turns = self.schedule.of(&[0, 1, 3, 10]);
        if self.schedule.chance(20) {
            // The threads of SQLite need time as well.
            std::thread::sleep(Duration::from_micros(50));
        }
        if self.schedule.chance(15) {
            let replica = self.schedule.below(self.replicas.len());
            self.replicas[replica].drive(None, turns);
            return Ok(());
        }
        let at = self.schedule.below(self.under_way.len());
        let under_way = &mut self.under_way[at];
        let replica = under_way.replica;
        if under_way.patience == Some(0) {
            counts.hung_up += 1;
            let lost = self.under_way.remove(at);
            self.oracle.lost(&lost.operation);
            self.log
                .push(format!("{replica}: nobody waits for {:?}", lost.operation));
            self.replicas[replica].give_up(lost.work);
            return Ok(());
        }
        under_way.patience = under_way.patience.map(|left| left - 1);
        match self.replicas[replica].drive(Some(&mut under_way.work), turns) {
            None => Ok(()),
            Some(done) => {
                let finished = self.under_way.remove(at);
                self.done(&finished, done)
            }
        }
    }

    fn done(&mut self, finished: &UnderWay, done: Done) -> Verdict {
        let UnderWay {
            operation,
            replica,
            before,
            ..
        } = finished;
        let now = self.now();
        match done {
            Done::Answered(answer) => {
                let text = short(&answer);
                self.log
                    .push(format!("{replica}: {operation:?} is answered {text}"));
                self.oracle
                    .answered(operation, *replica, before, &answer, now)
            }
            Done::Started(up) => {
                self.log.push(format!("{replica}: up"));
                self.replicas[*replica].up = Some(*up);
                self.oracle.kept(*replica, before);
                Ok(())
            }
            Done::Kept => {
                self.log.push(format!("{replica}: {operation:?} done"));
                if *operation == Operation::Refresh {
                    self.oracle.kept(*replica, before);
                }
                Ok(())
            }
            Done::Failed if *operation == Operation::Start => {
                Err("a server does not start".to_owned())
            }
            Done::Failed => Ok(()),
        }
    }

    /// All is over: what does a new server make of the database?
    fn end(&mut self) -> Verdict {
        while !self.outsider.refuse_nothing() {
            for replica in &self.replicas {
                replica.drive(None, 16);
            }
        }
        self.oracle.look_at_pins(&self.outsider)?;
        for replica in &mut self.replicas {
            replica.crash(Vec::new());
        }
        // Set back to when the assertions were new.
        self.clock.advance(super::START + 10 - self.now());
        let template = Template::get();
        let network = template.network.clone();
        let last = Replica::started(&self.folder, self.clock.clone(), network);
        let verdict = self.compare(&last);
        last.close();
        verdict
    }

    fn compare(&mut self, last: &Replica) -> Verdict {
        self.oracle.compare(&self.outsider, &self.assertions)?;
        let ask = |request| last.block_on(send(last.router().clone(), request));
        let body = document(RELEASE);
        let saved = ask(admin(last, "PUT", &path_of(RELEASE), "admin", body));
        if !matches!(saved.status, 200 | 201) {
            return Err(format!(
                "the rule cannot be saved in the end: {}",
                saved.text()
            ));
        }
        for (number, assertion) in self.assertions.iter().enumerate() {
            let answer = ask(present_plainly(assertion));
            self.log.push(format!(
                "in the end, {number} is answered {}",
                short(&answer)
            ));
            self.oracle
                .presented_again(number, assertion.workload, &answer)?;
        }
        let texts = self.oracle.texts();
        for token in self.oracle.revoked() {
            let request = Request::post("/introspect")
                .header("content-type", "application/x-www-form-urlencoded")
                .header("authorization", &template_registry())
                .body(encode(&[("token", &texts[token])]).into());
            let answer = ask(request.unwrap());
            if answer.status != 200 || answer.json() != json!({ "active": false }) {
                return Err(format!(
                    "token {token} is active in the end: {}",
                    answer.text()
                ));
            }
        }
        Ok(())
    }
}

fn template_registry() -> String {
    Template::get().registry.clone()
}

/// The status and the reason of an answer.
fn short(answer: &Answer) -> String {
    let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let reason = body["reason"].as_str().or(body["error"].as_str());
    format!("{} {}", answer.status, reason.unwrap_or_default())
}

impl Drop for Run {
    fn drop(&mut self) {
        for replica in 0..self.replicas.len() {
            let (mut works, mut others) = (Vec::new(), Vec::new());
            for under_way in self.under_way.drain(..) {
                if under_way.replica == replica {
                    works.push(under_way.work);
                } else {
                    others.push(under_way);
                }
            }
            self.under_way = others;
            self.replicas[replica].crash(works);
        }
    }
}
