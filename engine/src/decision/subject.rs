//! The subject of a decision: what was presented, by which client, and who acts.

use std::sync::Arc;

use carnet_access::{Confirmation, ProofLevel};

use crate::assertion::{Assertion, AssertionContent};
use crate::client::Admitted;
use crate::grant_type::GrantType;
use crate::model::Client;
use crate::own_token::{FEDERATED, LiveToken};
use crate::possession::{self, Possession};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// A verified request. Explanations of claims and case files construct one from assumed assertions.
#[derive(Debug)]
pub struct Subject<A> {
    pub grant_type: GrantType,
    pub presented: Presented<A>,
    /// The client, with the rules that admitted it.
    pub client: Admitted,
    /// The key of which the request proved possession. In explanations it is declared.
    pub proved: Option<Confirmation>,
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
            Presented::AccessToken(_) | Presented::Client | Presented::ClientForAdmin => None,
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
    /// the key of the request alone.
    pub(super) fn possession(&self) -> Result<Possession, Refusal> {
        if let Some(assertion) = self.client.identity().assertion() {
            self.bound_assertion(assertion.confirmation())
                .map_err(Refusal::of_client)?;
        }
        let wants_dpop = self
            .client
            .identity()
            .client()
            .is_some_and(|client| client.dpop_bound_access_tokens);
        if wants_dpop && !matches!(self.proved, Some(Confirmation::Key(_))) {
            return Err(Reason::DpopRequired.into());
        }
        let level = match &self.presented {
            Presented::Assertion(assertion) | Presented::ClientAssertion(assertion) => {
                self.bound_assertion(assertion.content().confirmation())?
            }
            Presented::AccessToken(token) => self.bound_token(token)?,
            Presented::Client | Presented::ClientForAdmin => ProofLevel::Bearer,
        };
        Ok(Possession {
            level,
            key: self.proved.clone(),
        })
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
        possession::check(key, self.proved.as_ref(), reasons)
            .map_err(|reason| Refusal::claim(reason, "cnf"))
    }

    fn bound_token(&self, token: &LiveToken) -> Result<ProofLevel, Refusal> {
        let lost = Reason::ProofWouldBeLost;
        possession::check(token.confirmation(), self.proved.as_ref(), (lost, lost))
            .map_err(|reason| Refusal::claim(reason, "cnf"))?;
        Ok(token.proof_level())
    }

    /// The client acting for itself, if it authenticated.
    pub(super) fn itself(&self) -> Result<&Arc<Client>, Refusal> {
        self.client
            .identity()
            .authenticated()
            .ok_or_else(|| Reason::ClientAuthenticationFailed.into())
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
