//! How long a token lives: as long as its resource server says, or until the first thing that it
//! rests on ends.

use super::{Delegation, Grounds};
use crate::assertion::Assertion;
use crate::clock::Timestamp;
use crate::model::ResourceServer;
use crate::principal::Entitlement;
use crate::reason::Reason;
use crate::refusal::Refusal;

/// When a token issued now expires. Fails with the reason of whatever has ended already.
pub(super) fn ends_at<A: Assertion>(
    grounds: &Grounds<A>,
    entitlement: &Entitlement,
    delegation: Option<&Delegation>,
    now: Timestamp,
) -> Result<Timestamp, Refusal> {
    let rules = entitlement
        .ends_at()
        .map(|end| (end, Reason::CredentialExpired));
    let actor = delegation
        .and_then(|delegation| delegation.until)
        .map(|end| (end, Reason::ActorNotAllowed));
    let (assertion, token) = match grounds {
        Grounds::Workload(permit) => (Some(permit.assertion().content().ends()), None),
        // An exchange never makes a token live longer.
        Grounds::Token(token) => (
            None,
            Some((token.expires_at(), Reason::SubjectTokenInactive)),
        ),
        Grounds::Client(_) | Grounds::Person(_) => (None, None),
    };
    let presented = assertion.into_iter().flatten().chain(token);
    let mut ends_at = of_server(&entitlement.resource_server, now);
    for (end, reason) in rules.into_iter().chain(actor).chain(presented) {
        ends_at = ends_at.min(Timestamp::from_seconds(end.seconds()));
        if ends_at.seconds() <= now.seconds() {
            return Err(reason.into());
        }
    }
    Ok(ends_at)
}

/// When a token expires that only the resource server's lifetime limits.
pub(super) fn of_server(server: &ResourceServer, now: Timestamp) -> Timestamp {
    Timestamp::from_seconds(now.seconds()).plus_seconds(server.token_lifetime_seconds)
}
