//! Admission of clients: a federated client needs a rule that matches its assertion, other clients
//! only their authentication.

use super::ClientIdentity;
use crate::clock::Timestamp;
use crate::grant_type::GrantType;
use crate::model::{DecisionContext, FederatedCredential, RuleReference};
use crate::trust::{Consent, Denial, MatchedRule, Permit};

/// A client that may send this request, with the rules that admitted it. The [`DecisionContext`] of
/// the admission must be that of the whole request. For a client, only [`admit`] makes one.
#[derive(Debug)]
pub struct Admitted {
    identity: ClientIdentity,
    rules: Vec<MatchedRule>,
}

/// What a federated client, which has no key of its own, is admitted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdmittedTo {
    /// A token for another subject. Pending rules that admit the client pin their ids when the
    /// token is issued.
    Token,
    /// A token for the workload of the client's assertion. Its rules are matched later, with their
    /// permissions.
    OwnToken,
    /// No token. Nothing is recorded, so a pending rule cannot pin its ids and does not count.
    NoToken,
}

/// Admits an authenticated client. A federated client needs a matching rule among those it lists;
/// any other client is admitted without further checks.
pub fn admit(
    context: &DecisionContext<'_>,
    identity: ClientIdentity,
    admission: AdmittedTo,
) -> Result<Admitted, (ClientIdentity, Box<Denial>)> {
    let Some((assertion, listed)) = identity
        .federated()
        .filter(|_| admission != AdmittedTo::OwnToken)
    else {
        return Ok(Admitted {
            identity,
            rules: Vec::new(),
        });
    };
    let may_count = |credential: &FederatedCredential| {
        is_listed(listed, credential)
            && (admission == AdmittedTo::Token || credential.pending_until.is_none())
    };
    let permit = assertion
        .accept(GrantType::ClientCredentials)
        .map_err(Denial::bare);
    let permit = permit.and_then(|accepted| {
        Permit::new(
            accepted,
            &context.rules,
            context.now,
            Consent::Named,
            may_count,
        )
    });
    match permit {
        Ok(permit) => {
            let rules = permit.report().matching().map(MatchedRule::of).collect();
            Ok(Admitted { identity, rules })
        }
        Err(denial) => Err((identity, denial)),
    }
}

impl Admitted {
    /// For a request that names no client.
    pub fn nobody() -> Self {
        Self {
            identity: ClientIdentity::nobody(),
            rules: Vec::new(),
        }
    }

    pub fn identity(&self) -> &ClientIdentity {
        &self.identity
    }

    pub fn into_identity(self) -> ClientIdentity {
        self.identity
    }

    /// The rules that admitted the client; empty unless it is federated.
    pub fn rules(&self) -> &[MatchedRule] {
        &self.rules
    }

    /// Until when the RPKI vouches for the keys by which a federated client authenticated; `None` if
    /// it need not.
    pub fn attested_until(&self) -> Option<Timestamp> {
        self.identity.federated()?.0.attested_until()
    }

    /// Whether this is a federated client that lists the rule.
    pub fn lists(&self, credential: &FederatedCredential) -> bool {
        self.identity
            .federated()
            .is_some_and(|(_, listed)| is_listed(listed, credential))
    }
}

/// Whether a rule is among those that a federated client lists.
pub fn is_listed(listed: &[RuleReference], credential: &FederatedCredential) -> bool {
    listed
        .iter()
        .any(|one| credential.is_named_by(&[one.named()]))
}
