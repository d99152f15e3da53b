use std::sync::Arc;

use super::{GrantRequest, TokenError};
use crate::assertion::{AcceptedAssertion, VerifiedAssertion};
use crate::client::ClientIdentity;
use crate::decision::{Presented, Subject};
use crate::own_tokens::LiveToken;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::trust::{Denial, MatchReport};

/// A request that was refused, and what was known of it by then.
#[derive(Debug)]
pub struct Refused {
    /// Why, as far as whoever asks may know.
    pub refusal: Refusal,
    /// Why, as the caller of the token endpoint is told.
    pub told: Reason,
    /// What it was about.
    pub about: About,
    /// The client, if one was authenticated.
    pub client: Option<ClientIdentity>,
    /// Where.
    pub step: Step,
    /// Whether what was presented is known to have been used before. It is looked up for explanations only.
    pub used: bool,
}

/// Where a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nobody was authenticated, or no client that may use the grant.
    Client,
    /// A parameter cannot be used.
    Parameters,
    /// What is presented, or what is asked for with it.
    Presented,
}

/// What a refusal is about.
#[derive(Debug)]
pub enum About {
    /// Nothing that anybody vouches for.
    Nothing,
    /// An assertion that its trusted issuer does not let be used in this grant.
    Unaccepted(Arc<VerifiedAssertion>),
    /// An assertion, and the verdicts of the rules on it.
    Assertion(Arc<VerifiedAssertion>, MatchReport),
    /// A genuine token of ours.
    Token(Box<LiveToken>),
    /// An authenticated client.
    Client,
}

impl Refused {
    pub(super) fn at(step: Step, refusal: Refusal) -> Box<Self> {
        Box::new(Self { told: refusal.reason, refusal, about: About::Nothing, client: None, step, used: false })
    }

    /// By this client.
    pub(super) fn by(mut self: Box<Self>, client: ClientIdentity) -> Box<Self> {
        self.client = Some(client);
        self
    }

    /// As the answer to its request.
    pub fn into_error(self, request: &GrantRequest<'_>) -> TokenError {
        TokenError::of(request.grant_type)(self.refusal)
    }

    pub(super) fn of_admission((client, denial): (ClientIdentity, Box<Denial>)) -> Box<Self> {
        let Denial { refusal, told, report } = *denial;
        let about = match client.federated() {
            Some((assertion, _)) => About::Assertion(assertion.clone(), report),
            None => About::Nothing,
        };
        Box::new(Self { told, about, client: Some(client), ..*Self::at(Step::Client, refusal.of_client()) })
    }

    pub(super) fn of_decision(subject: Subject<AcceptedAssertion>, denial: Denial) -> Box<Self> {
        let Denial { mut refusal, told, report } = denial;
        let about = match subject.presented {
            Presented::Assertion(assertion) => About::Assertion(assertion.verified().clone(), report),
            Presented::ClientAssertion(assertion) => {
                // A client without a key of its own that is refused has failed to authenticate (RFC 7523 section 3.2).
                refusal = refusal.of_client();
                About::Assertion(assertion.verified().clone(), report)
            }
            Presented::AccessToken(token) => About::Token(token),
            Presented::Client | Presented::ClientForAdmin => {
                // Nothing but the client's own assertion can have been used before.
                if refusal.reason == Reason::Replay {
                    refusal = refusal.of_client();
                }
                About::Client
            }
        };
        let client = Some(subject.client.into_identity());
        Box::new(Self { told, about, client, ..*Self::at(Step::Presented, refusal) })
    }
}
