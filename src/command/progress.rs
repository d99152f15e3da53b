//! Progress of commands that work through many objects, on standard error.

use std::io::IsTerminal as _;
use std::time::Duration;

use tokio::time::Instant;

/// The time between two lines.
const PAUSE: Duration = Duration::from_secs(1);

/// Counts what is done, and prints a line each second.
#[derive(Debug)]
pub struct Progress {
    what: &'static str,
    total: usize,
    done: usize,
    is_shown: bool,
    next: Instant,
}

impl Progress {
    /// Begins to count. Lines are printed if they were `asked` for, or if standard error is a
    /// terminal. `what` completes a line such as `carnet: 2 of 3 objects saved`.
    pub fn new(what: &'static str, total: usize, asked: bool) -> Self {
        Self {
            what,
            total,
            done: 0,
            is_shown: asked || std::io::stderr().is_terminal(),
            next: after_a_pause(),
        }
    }

    /// Counts one more object that is done.
    pub fn step(&mut self) {
        self.done = self.done.saturating_add(1);
        if self.is_shown && Instant::now() >= self.next {
            self.next = after_a_pause();
            eprintln!("carnet: {} of {} {}", self.done, self.total, self.what);
        }
    }
}

fn after_a_pause() -> Instant {
    let now = Instant::now();
    now.checked_add(PAUSE).unwrap_or(now)
}
