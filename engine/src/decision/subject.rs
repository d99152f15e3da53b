//! The subject of a decision: what was presented, by which client, and who acts.

use std::sync::Arc;

use carnet_access::{Confirmation, ProofLevel};

use crate::assertion::{Assertion, AssertionContent};
use crate::client::Admitted;
use crate::code_grant::CodeGrant;
use crate::grant_type::GrantType;
use crate::model::{Client, TokenBinding};
use crate::own_token::{FEDERATED, LiveToken};
use crate::possession::{self, Possession, ProvedKeys};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// A verified request. Explanations of claims and case files construct one from assumed assertions.
#[derive(Debug)]
pub struct Subject<A> {
    pub grant_type: GrantType,
    pub presented: Presented<A>,
    /// The client, with the rules that admitted it.
    pub client: Admitted,
    /// The keys of which the request proved possession. In explanations they are declared.
    pub proved: ProvedKeys,
    /// The actor (RFC 8693 section 2.1). The error of a bad actor token is kept here: errors of the
    /// subject take precedence.
    pub actor: Option<Result<ActorToken<A>, Refusal>>,
}

/// What a request presents as its subject.
#[derive(Debug)]
pub enum Presented<A> {
    /// An assertion of a trusted issuer.
    Assertion(A),
    /// An assertion of a trusted issuer by which a client without a key of its own authenticates.
    ClientAssertion(A),
    /// An access token of this server that is in force (RFC 8693 section 3).
    AccessToken(Box<LiveToken>),
    /// An authorization code that is the client's own (RFC 6749 section 4.1.3).
    Code(Box<CodeGrant>),
    /// The client itself, for a registry.
    Client,
    /// The client itself, for our own admin API.
    ClientForAdmin,
}

/// A verified actor token.
#[derive(Debug)]
pub enum ActorToken<A> {
    /// An assertion of a trusted issuer.
    Assertion(A),
    /// An access token of this server that is in force.
    AccessToken(Box<LiveToken>),
}

impl<A: Assertion> Subject<A> {
    pub fn assertion(&self) -> Option<&AssertionContent> {
        match &self.presented {
            Presented::Assertion(assertion) | Presented::ClientAssertion(assertion) => {
                Some(assertion.content())
            }
            Presented::AccessToken(_)
            | Presented::Code(_)
            | Presented::Client
            | Presented::ClientForAdmin => None,
        }
    }

    /// The assertions of subject and actor. A client assertion is one of them only if it is the
    /// subject.
    pub fn assertions(&self) -> impl Iterator<Item = &AssertionContent> {
        let actor = match &self.actor {
            Some(Ok(ActorToken::Assertion(assertion))) => Some(assertion.content()),
            _ => None,
        };
        self.assertion().into_iter().chain(actor)
    }

    /// What the request proved, without its actor. What subject and client present may be bound to
    /// the keys of the request alone.
    pub(super) fn possession(&self) -> Result<Possession, Refusal> {
        let identity = self.client.identity();
        if let Some(assertion) = identity.assertion() {
            self.bound_assertion(assertion.confirmation())
                .map_err(Refusal::of_client)?;
        }
        let client = identity.client();
        let wanted = client.map(|client| client.binding);
        let wants_dpop = wanted == Some(TokenBinding::Dpop);
        let wants_certificate = wanted == Some(TokenBinding::Certificate);
        if wants_dpop && self.proved.dpop.is_none() {
            return Err(Reason::DpopRequired.into());
        }
        if wants_certificate && self.proved.certificate.is_none() {
            return Err(Reason::CertificateRequired.into());
        }
        let (level, bound_to) = match &self.presented {
            Presented::Assertion(assertion) | Presented::ClientAssertion(assertion) => {
                let bound_to = assertion.content().confirmation();
                (self.bound_assertion(bound_to)?, bound_to)
            }
            Presented::AccessToken(token) => (self.bound_token(token)?, token.confirmation()),
            Presented::Client | Presented::ClientForAdmin => (identity.proof_level(), None),
            // A person proved no key.
            Presented::Code(_) => (ProofLevel::Bearer, None),
        };
        let key = match bound_to {
            // Bound in stays bound, by the same key.
            Some(Confirmation::Certificate(_)) if wants_dpop => {
                return Err(Reason::DpopRequired.into());
            }
            Some(Confirmation::Key(_)) if wants_certificate => {
                return Err(Reason::CertificateRequired.into());
            }
            Some(bound_to) => Some(bound_to.clone()),
            None if wants_certificate => self.proved.certificate(),
            // A client that makes a proof wants to use it: a certificate may only authenticate it.
            None => self.proved.dpop().or_else(|| self.proved.certificate()),
        };
        if key.is_none() && client.is_some_and(|client| client.fapi2) {
            let what = "the token has to be bound: send a DPoP proof, or connect with a client certificate";
            return Err(Refusal::from(Reason::FapiUnmet).malformed(what));
        }
        Ok(Possession { level, key })
    }

    /// The actor token and the level of its proof, or why it cannot be used.
    pub(super) fn actor(&self) -> Result<Option<(&ActorToken<A>, ProofLevel)>, Refusal> {
        let Some(actor) = &self.actor else {
            return Ok(None);
        };
        let actor = actor.as_ref().map_err(Clone::clone)?;
        let level = match actor {
            ActorToken::Assertion(assertion) => {
                self.bound_assertion(assertion.content().confirmation())?
            }
            ActorToken::AccessToken(token) => self.bound_token(token)?,
        };
        Ok(Some((actor, level)))
    }

    fn bound_assertion(&self, key: Option<&Confirmation>) -> Result<ProofLevel, Refusal> {
        let reasons = (Reason::ProofMissing, Reason::ProofMismatch);
        possession::check(key, &self.proved, reasons)
            .map_err(|reason| Refusal::claim(reason, "cnf"))
    }

    fn bound_token(&self, token: &LiveToken) -> Result<ProofLevel, Refusal> {
        let lost = Reason::ProofWouldBeLost;
        possession::check(token.confirmation(), &self.proved, (lost, lost))
            .map_err(|reason| Refusal::claim(reason, "cnf"))?;
        Ok(self.level_of(token))
    }

    /// How strongly the subject of a token proved itself. A client's own token began with no
    /// workload, and is used by this client alone, which has proved itself anew.
    pub(super) fn level_of(&self, token: &LiveToken) -> ProofLevel {
        let of_client = || self.client.identity().proof_level();
        token.proof_level().unwrap_or_else(of_client)
    }

    /// The client acting for itself, if it authenticated.
    pub(super) fn itself(&self) -> Result<&Arc<Client>, Refusal> {
        self.client
            .identity()
            .authenticated()
            .ok_or_else(|| Reason::ClientAuthenticationFailed.into())
    }

    /// The authorization code that is redeemed.
    pub fn code(&self) -> Option<&CodeGrant> {
        match &self.presented {
            Presented::Code(code) => Some(code),
            _ => None,
        }
    }

    /// The access tokens of this server among subject and actor.
    pub fn tokens(&self) -> impl Iterator<Item = &LiveToken> {
        let subject = match &self.presented {
            Presented::AccessToken(token) => Some(&**token),
            _ => None,
        };
        let actor = match &self.actor {
            Some(Ok(ActorToken::AccessToken(token))) => Some(&**token),
            _ => None,
        };
        subject.into_iter().chain(actor)
    }

    /// A token that a registered client got may be used by that client alone. A token without a
    /// client (decision D-17) belongs to its bearer.
    pub(super) fn check_ownership(&self, token: &LiveToken) -> Result<(), Refusal> {
        let owner = &token.claims().client_id;
        let own = owner.starts_with(FEDERATED) || self.client.identity().id() == Some(owner);
        if own {
            Ok(())
        } else {
            Err(Reason::TokenOfAnotherClient.into())
        }
    }
}
