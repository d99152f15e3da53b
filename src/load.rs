//! How many token requests are worked on at a time, and which ones are next.
//!
//! A token request takes a [`Turn`] once its form is read and the keys of its trusted issuer are
//! there, before anything is verified, and keeps it until its token is recorded. While all turns
//! are taken, requests wait, and the trusted issuers take turns, and within a trusted issuer the
//! accounts of its platform. When too many wait, the newest request of the account with the most is
//! refused (`overloaded`). Introspection, revocation and the admin API take no turn, so that token
//! requests never delay them.

mod queue;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use queue::FairQueue;

use crate::ids::TrustedIssuerId;
use crate::reason::Reason;
use crate::refusal::Refusal;

/// How long a request waits for its turn. Callers that waited longer would rather try again.
const MOST_WAIT: Duration = Duration::from_secs(5);

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// Assertions of a trusted issuer.
    Issuer(TrustedIssuerId),
    /// Requests without an assertion: of clients that act for themselves, and exchanges of our own
    /// tokens.
    Own,
}

/// The turns of one server process.
#[derive(Clone, Debug)]
pub struct Load(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    most_running: usize,
    /// The most turns of one source, so that requests that wait for its platform leave some for the
    /// others.
    most_of_one: usize,
    most_waiting: usize,
}

#[derive(Debug, Default)]
struct State {
    running: usize,
    by_source: HashMap<Source, usize>,
    waiting: FairQueue<Source, String, oneshot::Sender<Turn>>,
}

/// The right to be worked on; dropping it lets the next request begin.
#[derive(Debug)]
#[must_use]
pub struct Turn {
    shared: Arc<Shared>,
    source: Source,
}

impl Load {
    /// `most_running` requests are worked on at a time, half of them of one source, and
    /// `most_waiting` wait.
    pub fn new(most_running: usize, most_waiting: usize) -> Self {
        Self(Arc::new(Shared {
            state: Mutex::default(),
            most_running,
            most_of_one: most_running.div_ceil(2),
            most_waiting,
        }))
    }

    /// Waits for a turn. `account` tells apart the workloads of a source; it is asked only if the
    /// request has to wait.
    ///
    /// # Errors
    ///
    /// `overloaded` if too many requests wait, or this one has waited too long.
    pub async fn turn(
        &self,
        source: Source,
        account: impl FnOnce() -> String,
    ) -> Result<Turn, Refusal> {
        let shared = &self.0;
        let turn = {
            let mut state = shared.state.lock();
            if shared.has_room(&state, source) {
                state.begin(source);
                return Ok(shared.turn_of(source));
            }
            let (sender, turn) = oneshot::channel();
            state.waiting.push(source, account(), sender);
            if state.waiting.len() > shared.most_waiting {
                state.waiting.retain(|sender| !sender.is_closed());
            }
            if state.waiting.len() > shared.most_waiting {
                // It learns of this when its sender is dropped.
                drop(state.waiting.remove_newest_of_the_longest());
            }
            turn
        };
        if let Ok(Ok(turn)) = tokio::time::timeout(MOST_WAIT, turn).await {
            return Ok(turn);
        }
        metrics::counter!("carnet_token_requests_shed_total").increment(1);
        Err(Refusal::later(Reason::Overloaded, 1))
    }

    /// How many token requests are worked on, and how many wait.
    pub fn numbers(&self) -> (usize, usize) {
        let state = self.0.state.lock();
        (state.running, state.waiting.len())
    }
}

impl Shared {
    fn has_room(&self, state: &State, source: Source) -> bool {
        let of_source = state.by_source.get(&source).copied().unwrap_or_default();
        state.running < self.most_running && of_source < self.most_of_one
    }

    fn turn_of(self: &Arc<Self>, source: Source) -> Turn {
        Turn {
            shared: self.clone(),
            source,
        }
    }

    /// The next request that may begin.
    fn next(&self, state: &mut State) -> Option<(Source, oneshot::Sender<Turn>)> {
        if state.running >= self.most_running {
            return None;
        }
        let (by_source, most) = (&state.by_source, self.most_of_one);
        let may_begin = |source: &Source| by_source.get(source).copied().unwrap_or_default() < most;
        loop {
            let (source, sender) = state.waiting.pop(may_begin)?;
            // Others have hung up, or waited too long.
            if !sender.is_closed() {
                state.begin(source);
                return Some((source, sender));
            }
        }
    }
}

impl State {
    fn begin(&mut self, source: Source) {
        self.running = self.running.saturating_add(1);
        let of_source = self.by_source.entry(source).or_default();
        *of_source = of_source.saturating_add(1);
    }

    fn end(&mut self, source: Source) {
        self.running = self.running.saturating_sub(1);
        if let Some(of_source) = self.by_source.get_mut(&source) {
            *of_source = of_source.saturating_sub(1);
            if *of_source == 0 {
                self.by_source.remove(&source);
            }
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let next = {
            let mut state = self.shared.state.lock();
            state.end(self.source);
            self.shared.next(&mut state)
        };
        if let Some((source, sender)) = next {
            // If the caller hangs up at this moment, its turn comes back and is dropped outside of the lock.
            drop(sender.send(self.shared.turn_of(source)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::random;

    fn source() -> Source {
        Source::Issuer(TrustedIssuerId(uuid::Uuid::from_bytes(random())))
    }

    /// Starts to wait for a turn. It waits, or was refused, when this returns.
    async fn waiting(
        load: &Load,
        source: Source,
        account: &'static str,
    ) -> tokio::task::JoinHandle<Result<Turn, Refusal>> {
        let load = load.clone();
        let task = tokio::spawn(async move { load.turn(source, || account.to_owned()).await });
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        task
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_that_ends_goes_to_the_account_that_has_waited_for_one() {
        let load = Load::new(2, 10);
        let [noisy, quiet] = [source(), source()];
        let first = load.turn(noisy, String::new).await.unwrap();
        let second = load.turn(Source::Own, String::new).await.unwrap();
        let flood = [
            waiting(&load, noisy, "a").await,
            waiting(&load, noisy, "a").await,
            waiting(&load, noisy, "b").await,
        ];
        let other = waiting(&load, quiet, "c").await;
        assert_eq!(load.numbers(), (2, 4));
        drop(second);
        let other = other.await.unwrap().unwrap();
        assert_eq!(
            load.numbers(),
            (2, 3),
            "the noisy source has its half already"
        );
        drop(first);
        let [one, two, three] = flood;
        let one = one.await.unwrap().unwrap();
        drop(one);
        let three = three.await.unwrap().unwrap();
        assert_eq!(load.numbers(), (2, 1), "the accounts take turns");
        drop((three, other));
        drop(two.await.unwrap().unwrap());
        assert_eq!(load.numbers(), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_newest_request_of_the_account_with_the_most_is_refused() {
        let load = Load::new(1, 3);
        let [noisy, quiet] = [source(), source()];
        let running = load.turn(noisy, String::new).await.unwrap();
        let mut flood = Vec::new();
        for _ in 0..3 {
            flood.push(waiting(&load, noisy, "a").await);
        }
        let refused = load.turn(noisy, || "a".to_owned()).await.unwrap_err();
        assert_eq!(
            (refused.reason, refused.retry_after),
            (Reason::Overloaded, Some(1))
        );
        let other = waiting(&load, quiet, "b").await;
        let pushed_out = flood.pop().unwrap().await.unwrap();
        assert_eq!(pushed_out.unwrap_err().reason, Reason::Overloaded);
        drop(running);
        // The order in which they have their turns.
        flood.insert(1, other);
        for task in flood {
            drop(task.await.unwrap().unwrap());
        }
        assert_eq!(load.numbers(), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_is_refused_and_who_hangs_up_takes_no_turn() {
        let load = Load::new(1, 3);
        let running = load.turn(Source::Own, String::new).await.unwrap();
        let late = waiting(&load, Source::Own, "a").await;
        assert_eq!(late.await.unwrap().unwrap_err().reason, Reason::Overloaded);
        let gone = waiting(&load, Source::Own, "a").await;
        let next = waiting(&load, Source::Own, "b").await;
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
        drop(running);
        drop(next.await.unwrap().unwrap());
        assert_eq!(load.numbers(), (0, 0));
    }
}
