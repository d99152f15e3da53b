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
    let presented = match grounds {
        Grounds::Workload(permit) => {
            let assertion = permit.assertion().content();
            let end = Timestamp::from_seconds(assertion.expires_at().seconds());
            assertion
                .issuer()
                .cap_at_assertion_expiry
                .then_some((end, Reason::Expired))
        }
        // An exchange never makes a token live longer.
        Grounds::Token(token) => Some((token.expires_at(), Reason::SubjectTokenInactive)),
        Grounds::Client(_) | Grounds::Person(_) => None,
    };
    let attested = match grounds {
        Grounds::Workload(permit) => permit.assertion().content().attested_until(),
        Grounds::Token(_) | Grounds::Client(_) | Grounds::Person(_) => None,
    };
    let attested = attested.map(|end| (end, Reason::AttestationExpired));
    let mut ends_at = of_server(&entitlement.resource_server, now);
    for (end, reason) in [rules, actor, presented, attested].into_iter().flatten() {
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
