//! Test messages to webhooks. They are sent while their request waits, so each of them is an
//! outgoing connection that the queue of messages does not limit.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::limit::Limit;
use super::limited;
use crate::refusal::Refusal;

/// Test messages per minute to the webhooks of one owner (`docs/src/reference/limits.md`).
const PER_MINUTE: u32 = 10;
/// When a caller is told to come again while another test message is under way: about as long as
/// one takes at most.
const TURN: Duration = Duration::from_secs(9);

/// The test messages to the webhooks of each owner: a principal, by name, or the operator, by the
/// empty text.
#[derive(Debug)]
pub(super) struct Trials {
    budget: Limit<String>,
    running: Arc<Mutex<HashSet<String>>>,
}

/// A test message under way. Its owner's next one may begin when this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Trial {
    owner: String,
    running: Arc<Mutex<HashSet<String>>>,
}

impl Trials {
    pub(super) fn new() -> Self {
        Self {
            budget: Limit::per_minute(PER_MINUTE),
            running: Arc::default(),
        }
    }

    /// Begins a test message, unless one of the same owner is under way or its budget is used up.
    pub(super) fn begin(&self, owner: &str) -> Result<Trial, Refusal> {
        let owner = owner.to_owned();
        let mut running = self.running.lock();
        if running.contains(&owner) {
            return Err(limited(TURN));
        }
        self.budget.take(&owner)?;
        running.insert(owner.clone());
        Ok(Trial {
            owner,
            running: self.running.clone(),
        })
    }

    pub(super) fn shrink(&self) {
        self.budget.shrink();
    }
}

impl Drop for Trial {
    fn drop(&mut self) {
        self.running.lock().remove(&self.owner);
    }
}
