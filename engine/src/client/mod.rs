//! Who sends a request, once it has been authenticated (RFC 6749 section 2.3, RFC 7521 section 4.2),
//! and whether a client is admitted.

mod admission;
mod built_in;
mod redirect_uri;

use std::sync::Arc;

use carnet_access::ProofLevel;

pub use admission::{Admitted, AdmittedTo, admit, is_listed};
pub use built_in::built_in_client;
pub use redirect_uri::{check_redirect_uri, redirect_uri_matches};

use crate::assertion::{SingleUseKey, VerifiedAssertion};
use crate::clock::Timestamp;
use crate::model::{Client, Method, RuleReference, Snapshot, is_one_of};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// The client of a request, or none. Every constructor asks for what proves that it is the client.
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
    /// With a certificate that the client has registered.
    Certificate,
    /// An administrator named the client. Valid for explanations only.
    Assumed,
}

impl ClientIdentity {
    /// For a request that names no client.
    pub fn nobody() -> Self {
        Self(None)
    }

    /// A public client, which has no authentication method; `None` for any other client.
    pub fn public(client: Arc<Client>) -> Option<Self> {
        matches!(client.method, Method::None).then(|| Self(Some((client, Proof::None))))
    }

    /// The client whose client secret this is. Compares for unknown clients too, so that the time
    /// does not reveal which clients are registered.
    pub fn by_secret(client: Option<Arc<Client>>, secret: &str, now: Timestamp) -> Option<Self> {
        let secrets = match client.as_ref().map(|client| &client.method) {
            Some(Method::SecretBasic(secrets) | Method::SecretPost(secrets)) => secrets.as_slice(),
            _ => &[],
        };
        let is_right = is_one_of(secret, secrets, now);
        client
            .filter(|_| is_right)
            .map(|client| Self(Some((client, Proof::Secret))))
    }

    /// A client that authenticated with a verified assertion about it.
    pub fn by_assertion(client: Arc<Client>, assertion: Arc<VerifiedAssertion>) -> Self {
        Self(Some((client, Proof::Assertion(assertion))))
    }

    /// The client to which the certificate of this thumbprint belongs, with which the TLS connection
    /// was made; `None` if it is not among `registered`, the thumbprints of the client's own. The
    /// chain of the certificate does not count (RFC 8705 section 2.2).
    pub fn by_certificate(
        client: Arc<Client>,
        thumbprint: &str,
        registered: &[String],
    ) -> Option<Self> {
        let is_own = matches!(client.method, Method::SelfSignedTls(_))
            && registered.iter().any(|one| one == thumbprint);
        is_own.then(|| Self(Some((client, Proof::Certificate))))
    }

    /// A registered client that an administrator asks about, without its authentication. A
    /// federated client still needs its assertion, because its rules have to match that.
    pub fn assumed(rules: &Snapshot, client_id: &str) -> Result<Self, Refusal> {
        let client = rules.client(client_id).filter(|client| client.enabled);
        let client = client.ok_or(Reason::ClientAuthenticationFailed)?;
        let proof = match client.method {
            Method::None => Proof::None,
            Method::Federated(_) => {
                return Err(Refusal::parameter(
                    Reason::ParameterMissing,
                    "client_assertion",
                ));
            }
            Method::SecretBasic(_)
            | Method::SecretPost(_)
            | Method::PrivateKeyJwt(_)
            | Method::SelfSignedTls(_) => Proof::Assumed,
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
        self.0
            .as_ref()
            .filter(|(_, proof)| !matches!(proof, Proof::None))
            .map(|(client, _)| client)
    }

    /// How strongly the client proved itself: a copy of a client secret or of a client assertion is as
    /// good as the original, and a copy of a certificate is not.
    pub fn proof_level(&self) -> ProofLevel {
        match self.authenticated().map(|client| &client.method) {
            Some(Method::SelfSignedTls(_)) => ProofLevel::Key,
            _ => ProofLevel::Bearer,
        }
    }

    /// The assertion by which the client authenticated, whoever signed it.
    pub fn assertion(&self) -> Option<&Arc<VerifiedAssertion>> {
        match &self.0 {
            Some((_, Proof::Assertion(assertion))) => Some(assertion),
            _ => None,
        }
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
    pub fn consumed(&self) -> Option<(SingleUseKey, Timestamp)> {
        match &self.0 {
            Some((_, Proof::Assertion(assertion))) => assertion
                .key()
                .map(|key| (*key, assertion.remembered_until())),
            _ => None,
        }
    }
}
