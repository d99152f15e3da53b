//! Whether a token could be issued now.

use std::sync::atomic::Ordering;

use super::App;

/// What has to hold for the server to be ready.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a member of the answer of /readyz"
)]
pub struct Readiness {
    /// The database accepts writes.
    pub database: bool,
    /// A signing key is loaded.
    pub signing_key: bool,
    /// The clocks of server and database agree.
    pub clock: bool,
    /// The server is about to end.
    pub draining: bool,
}

impl Readiness {
    /// Whether a token could be issued now.
    pub const fn is_complete(self) -> bool {
        self.database && self.signing_key && self.clock && !self.draining
    }
}

impl App {
    /// Whether a token could be issued now, and what stands against it.
    pub async fn readiness(&self) -> Readiness {
        Readiness {
            database: self.store.can_write().await,
            signing_key: self.keys.ring().is_some(),
            clock: self.clock_agrees.load(Ordering::Relaxed),
            draining: self.draining.load(Ordering::Relaxed),
        }
    }
}
