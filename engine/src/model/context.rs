use std::sync::Arc;

use super::Snapshot;
use crate::clock::Timestamp;
use crate::own_urls::OwnUrls;

/// The inputs of one decision. Rules and clock are read once per request, so that all steps of a
/// decision see the same rules and time.
#[derive(Clone, Debug)]
pub struct DecisionContext<'a> {
    pub rules: Arc<Snapshot>,
    pub now: Timestamp,
    pub own: &'a OwnUrls,
}
