//! What a decision is about: what was presented, by whom, and who acts.

use std::sync::Arc;

use crate::assertion::{Assertion, AssertionContent};
use crate::client::Admitted;
use crate::grant_type::GrantType;
use crate::model::Client;
use crate::own_tokens::{FEDERATED, LiveToken};
use crate::reason::Reason;
use crate::refusal::Refusal;

/// What a request rests on, verified, and who sends it.
#[derive(Debug)]
pub struct Subject<A> {
    /// The grant.
    pub grant_type: GrantType,
    /// What was presented.
    pub presented: Presented<A>,
    /// The client, and the rules that admitted it.
    pub client: Admitted,
    /// Who acts for the subject (RFC 8693 section 2.1). What is wrong with its token counts after the subject's own faults.
    pub actor: Option<Result<ActorToken<A>, Refusal>>,
}

/// What was presented.
#[derive(Debug)]
pub enum Presented<A> {
    /// An assertion of a trusted issuer.
    Assertion(A),
    /// The same, by a client that has no key of its own and proves itself with it.
    ClientAssertion(A),
    /// An access token of ours that is in force (RFC 8693 section 3).
    AccessToken(Box<LiveToken>),
    /// The client itself.
    Client,
    /// The client itself, for our own admin API.
    ClientForAdmin,
}

/// The token of whoever acts.
#[derive(Debug)]
pub enum ActorToken<A> {
    /// An assertion of a trusted issuer.
    Assertion(A),
    /// An access token of ours that is in force.
    AccessToken(Box<LiveToken>),
}

impl<A: Assertion> Subject<A> {
    /// The subject's assertion.
    pub fn assertion(&self) -> Option<&AssertionContent> {
        match &self.presented {
            Presented::Assertion(assertion) | Presented::ClientAssertion(assertion) => Some(assertion.content()),
            Presented::AccessToken(_) | Presented::Client | Presented::ClientForAdmin => None,
        }
    }

    /// The assertions that were presented: the subject's, and that of whoever acts.
    pub fn assertions(&self) -> impl Iterator<Item = &AssertionContent> {
        let actor = match &self.actor {
            Some(Ok(ActorToken::Assertion(assertion))) => Some(assertion.content()),
            _ => None,
        };
        self.assertion().into_iter().chain(actor)
    }

    /// The client, if it proved to be it and is what this is about.
    pub(super) fn itself(&self) -> Result<&Arc<Client>, Refusal> {
        self.client.identity().authenticated().ok_or_else(|| Reason::ClientAuthenticationFailed.into())
    }

    /// The tokens of ours that were presented.
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

    /// A client uses the tokens it was given itself; one that nobody's client asked for belongs to whoever holds it.
    pub(super) fn check_ownership(&self, token: &LiveToken) -> Result<(), Refusal> {
        let owner = &token.claims().client_id;
        let own = owner.starts_with(FEDERATED) || self.client.identity().id() == Some(owner);
        if own { Ok(()) } else { Err(Reason::TokenOfAnotherClient.into()) }
    }
}
