//! The subject of a decision: what was presented, by which client, and who acts.

use std::sync::Arc;

use crate::assertion::{Assertion, AssertionContent};
use crate::client::Admitted;
use crate::grant_type::GrantType;
use crate::model::Client;
use crate::own_token::{FEDERATED, LiveToken};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// A verified request. Explanations of claims and case files construct one from assumed assertions.
#[derive(Debug)]
pub struct Subject<A> {
    pub grant_type: GrantType,
    pub presented: Presented<A>,
    /// The client, with the rules that admitted it.
    pub client: Admitted,
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
