use std::sync::Arc;

use super::Snapshot;
use crate::clock::Timestamp;
use crate::own_urls::OwnUrls;

/// What one request is decided by. Rules and clock are looked at once, so that every step of a decision sees the same.
#[derive(Clone, Debug)]
pub struct DecisionContext<'a> {
    /// The rules.
    pub rules: Arc<Snapshot>,
    /// The time.
    pub now: Timestamp,
    /// Our own URLs.
    pub own: &'a OwnUrls,
}
