//! Which proofs were used: each is good for one request (RFC 9449 section 11.1).

use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::{PoisonError, RwLock};

use crate::Proof;

/// How many proofs a process remembers. While so many are in force, no further one is taken.
pub(crate) const MOST: usize = 100_000;

/// Whether a proof was presented for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presented {
    /// It was not used before, and is now.
    First,
    /// It was used before.
    Again,
    /// It cannot be remembered, so it must not be taken.
    Unremembered,
}

/// The memory of used proofs. Give it a proof after everything else about the request was checked:
/// a request that is refused must leave its proof unused.
pub trait SpentProofs: fmt::Debug + Send + Sync {
    /// Notes that a proof is used, at `now` in seconds since 1970, and says whether it was before.
    /// The two are one step: of requests at the same time, one gets [`Presented::First`].
    fn spend<'a>(
        &'a self,
        proof: &'a Proof,
        now: i64,
    ) -> Pin<Box<dyn Future<Output = Presented> + Send + 'a>>;
}

/// The memory of one process, for a service that runs as one: another process, or the same one
/// after a restart, takes a used proof again within its time.
#[derive(Default)]
pub struct SingleProcess(RwLock<Memory>);

#[derive(Default)]
struct Memory {
    /// Until when each proof is in force.
    until: HashMap<[u8; 32], i64>,
    swept_at: i64,
}

impl SingleProcess {
    /// An empty memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    pub(crate) fn note(&self, proof: &Proof, now: i64) -> Presented {
        let mut memory = self.0.write().unwrap_or_else(PoisonError::into_inner);
        // At most one sweep a second, since a sweep looks at all of them.
        if memory.swept_at != now {
            memory.swept_at = now;
            memory.until.retain(|_, until| *until >= now);
        }
        let key = proof.key();
        if memory.until.contains_key(&key) {
            return Presented::Again;
        }
        if memory.until.len() >= MOST {
            return Presented::Unremembered;
        }
        memory.until.insert(key, proof.in_force_until());
        Presented::First
    }
}

impl fmt::Debug for SingleProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SingleProcess").finish_non_exhaustive()
    }
}

impl SpentProofs for SingleProcess {
    fn spend<'a>(
        &'a self,
        proof: &'a Proof,
        now: i64,
    ) -> Pin<Box<dyn Future<Output = Presented> + Send + 'a>> {
        Box::pin(async move { self.note(proof, now) })
    }
}
