//! Client authentication (RFC 6749 section 2.3, RFC 7521 section 4.2). The assertion grants need no
//! client. A client that is named must be registered, and must authenticate unless it is public.

mod admission;
mod assertion;
mod authenticate;
mod credentials;

use std::sync::Arc;

pub use admission::{Admitted, AdmittedTo, admit};
pub use authenticate::Authentication;
pub use credentials::{AuthorizationHeader, ClientCredentials};

use crate::assertion::{AssertionKey, VerifiedAssertion};
use crate::clock::Timestamp;
use crate::model::{Client, Method, RuleReference, Snapshot};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// The client of a request, or none. [`Authentication::authenticate`] makes one, of a client only
/// after the client has authenticated or if it is public.
#[derive(Clone, Debug)]
pub struct ClientIdentity(Option<(Arc<Client>, Proof)>);

/// How a client authenticated.
#[derive(Clone, Debug)]
enum Proof {
    /// Not at all: the client is public.
    None,
    /// With its client secret.
    Secret,
    /// With an assertion that the client or a trusted issuer signed.
    Assertion(Arc<VerifiedAssertion>),
    /// An administrator named the client. Valid for explanations only.
    Assumed,
}

impl ClientIdentity {
    /// A registered client that an administrator asks about, without its authentication. A
    /// federated client still needs its assertion, because its rules have to match that.
    pub fn assumed(rules: &Snapshot, client_id: &str) -> Result<Self, Refusal> {
        let client = rules.client(client_id).filter(|client| client.enabled);
        let client = client.ok_or(Reason::ClientAuthenticationFailed)?;
        let proof = match client.method {
            Method::None => Proof::None,
            Method::Federated(_) => return Err(Refusal::parameter(Reason::ParameterMissing, "client_assertion")),
            Method::SecretBasic(_) | Method::SecretPost(_) | Method::PrivateKeyJwt(_) => Proof::Assumed,
        };
        Ok(Self(Some((client.clone(), proof))))
    }

    /// The registered client; `None` if the request names none.
    pub fn client(&self) -> Option<&Arc<Client>> {
        self.0.as_ref().map(|(client, _)| client)
    }

    pub fn id(&self) -> Option<&str> {
        self.client().map(|client| client.client_id.as_str())
    }

    /// The registered client, if it authenticated. The `client_id` of a public client proves
    /// nothing (RFC 6749 section 2.3).
    pub fn authenticated(&self) -> Option<&Arc<Client>> {
        self.0.as_ref().filter(|(_, proof)| !matches!(proof, Proof::None)).map(|(client, _)| client)
    }

    /// The assertion of a federated client, with the rules that the client lists.
    pub fn federated(&self) -> Option<(&Arc<VerifiedAssertion>, &[RuleReference])> {
        match &self.0 {
            Some((client, Proof::Assertion(assertion))) => match &client.method {
                Method::Federated(listed) => Some((assertion, listed)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The key of the client's assertion and until when it must be remembered, to be recorded with
    /// the result of the request. `None` without an assertion, or if it may be used again.
    pub fn consumed(&self) -> Option<(AssertionKey, Timestamp)> {
        match &self.0 {
            Some((_, Proof::Assertion(assertion))) => assertion.key().map(|key| (*key, assertion.remembered_until())),
            _ => None,
        }
    }
}
