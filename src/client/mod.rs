//! Who sends the request (RFC 6749 section 2.3, RFC 7521 section 4.2). The grants for assertions need no client; one that is named
//! has to be registered, and has to prove itself if it can.

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

/// Who sends the request. [`Authentication::authenticate`] makes one; of a client it makes one only if
/// that proved itself, or cannot.
#[derive(Clone, Debug)]
pub struct ClientIdentity(Option<(Arc<Client>, Proof)>);

/// What a client proved itself with.
#[derive(Clone, Debug)]
enum Proof {
    /// Nothing: the client is public.
    None,
    /// A secret.
    Secret,
    /// An assertion, its own or a trusted issuer's.
    Assertion(Arc<VerifiedAssertion>),
    /// An administrator's word, which is good for explanations.
    Assumed,
}

impl ClientIdentity {
    /// A registered client, taken at the word of an administrator who asks about it. One that proves itself by the assertion of a
    /// trusted issuer is nothing without one: its rules have to admit it.
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

    /// The registered client; none for whoever holds the assertion.
    pub fn client(&self) -> Option<&Arc<Client>> {
        self.0.as_ref().map(|(client, _)| client)
    }

    /// Its `client_id`.
    pub fn id(&self) -> Option<&str> {
        self.client().map(|client| client.client_id.as_str())
    }

    /// The registered client, if it proved to be it: the `client_id` of a public client proves nothing (RFC 6749 section 2.3).
    pub fn authenticated(&self) -> Option<&Arc<Client>> {
        self.0.as_ref().filter(|(_, proof)| !matches!(proof, Proof::None)).map(|(client, _)| client)
    }

    /// The assertion of a client that has no key of its own, with the credentials that may admit it.
    pub fn federated(&self) -> Option<(&Arc<VerifiedAssertion>, &[RuleReference])> {
        match &self.0 {
            Some((client, Proof::Assertion(assertion))) => match &client.method {
                Method::Federated(listed) => Some((assertion, listed)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The use of the client's assertion, to be recorded with what comes of the request.
    pub fn consumed(&self) -> Option<(AssertionKey, Timestamp)> {
        match &self.0 {
            Some((_, Proof::Assertion(assertion))) => assertion.key().map(|key| (*key, assertion.remembered_until())),
            _ => None,
        }
    }
}
