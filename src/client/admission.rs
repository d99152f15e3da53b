use super::ClientIdentity;
use crate::grant_type::GrantType;
use crate::model::{DecisionContext, FederatedCredential, RuleReference};
use crate::trust::{Consent, Denial, MatchedRule, Permit};

/// A client that may send this request, with the rules that admitted it in the same context in which the rest is decided.
/// Only [`admit`] makes one of a client.
#[derive(Debug)]
pub struct Admitted {
    identity: ClientIdentity,
    rules: Vec<MatchedRule>,
}

/// What a client without a key of its own is admitted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdmittedTo {
    /// A token for somebody else: the rules that admit the client pin their ids with it.
    Token,
    /// A token for the workload that the client's assertion is about: its rules are judged with what they permit.
    OwnToken,
    /// No token, so a rule that waits for its first match cannot be pinned and does not count.
    NoToken,
}

/// Admits a client. One without a key of its own needs a rule among those it lists; of any other that was authenticated there is
/// nothing left to ask.
pub fn admit(
    context: &DecisionContext<'_>,
    identity: ClientIdentity,
    admission: AdmittedTo,
) -> Result<Admitted, (ClientIdentity, Box<Denial>)> {
    let Some((assertion, listed)) = identity.federated().filter(|_| admission != AdmittedTo::OwnToken) else {
        return Ok(Admitted { identity, rules: Vec::new() });
    };
    let may_count = |credential: &FederatedCredential| {
        is_listed(listed, credential) && (admission == AdmittedTo::Token || credential.pending_until.is_none())
    };
    let permit = assertion.accept(GrantType::ClientCredentials).map_err(Denial::bare);
    let permit =
        permit.and_then(|accepted| Permit::new(accepted, &context.rules, context.now, Consent::Named, may_count));
    match permit {
        Ok(permit) => {
            let rules = permit.report().matching().map(MatchedRule::of).collect();
            Ok(Admitted { identity, rules })
        }
        Err(denial) => Err((identity, denial)),
    }
}

impl Admitted {
    /// Whoever names no client.
    pub fn nobody() -> Self {
        Self { identity: ClientIdentity(None), rules: Vec::new() }
    }

    /// The client.
    pub fn identity(&self) -> &ClientIdentity {
        &self.identity
    }

    /// The client, given back.
    pub fn into_identity(self) -> ClientIdentity {
        self.identity
    }

    /// The rules that admitted it.
    pub fn rules(&self) -> &[MatchedRule] {
        &self.rules
    }

    /// Whether a rule is one of those that the client lists.
    pub fn lists(&self, credential: &FederatedCredential) -> bool {
        self.identity.federated().is_some_and(|(_, listed)| is_listed(listed, credential))
    }
}

pub(super) fn is_listed(listed: &[RuleReference], credential: &FederatedCredential) -> bool {
    listed.iter().any(|one| credential.is_named_by(&[one.named()]))
}
