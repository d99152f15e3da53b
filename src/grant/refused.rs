//! A refused token request, with what the audit event and an explanation need to know about it.

use std::sync::Arc;

use carnet_engine::code_grant::CodeGrant;

use super::{GrantRequest, TokenError};
use crate::assertion::{AcceptedAssertion, VerifiedAssertion};
use crate::client::ClientIdentity;
use crate::decision::{Presented, Subject};
use crate::own_tokens::LiveToken;
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::trust::{Denial, MatchReport};

/// A refused request, and what was known about it when it was refused.
#[derive(Debug)]
pub struct Refused {
    /// The refusal, with as much detail as the view it is made for may see.
    pub refusal: Refusal,
    /// The reason for a caller of the token endpoint. `refusal` may hold a more precise one for an
    /// administrator.
    pub told: Reason,
    pub about: About,
    /// The client, if one was authenticated before the refusal.
    pub client: Option<ClientIdentity>,
    pub step: Step,
    /// Whether the subject's assertion is known to have been used before. Only explanations look it
    /// up.
    pub used: bool,
}

/// Where a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Client authentication failed, or the client may not use the grant type.
    Client,
    /// A parameter is missing or malformed.
    Parameters,
    /// The proof of possession is not valid.
    Proof,
    /// The assertion or token was refused, or the access that the request asks for.
    Presented,
}

/// What was verified before the request was refused. It decides which audit event the refusal
/// leaves.
#[derive(Debug)]
pub enum About {
    /// Nothing was verified.
    Nothing,
    /// A verified assertion whose trusted issuer does not permit this grant type.
    Unaccepted(Arc<VerifiedAssertion>),
    /// A verified assertion, and how each rule judged it.
    Assertion(Arc<VerifiedAssertion>, MatchReport),
    /// An access token of this server that is in force.
    Token(Box<LiveToken>),
    /// An authorization code that is the client's own.
    Code(Box<CodeGrant>),
    /// An authenticated client.
    Client,
}

impl Refused {
    pub(super) fn at(step: Step, refusal: Refusal) -> Box<Self> {
        Box::new(Self {
            told: refusal.reason,
            refusal,
            about: About::Nothing,
            client: None,
            step,
            used: false,
        })
    }

    pub(super) fn by(mut self: Box<Self>, client: ClientIdentity) -> Box<Self> {
        self.client = Some(client);
        self
    }

    pub fn into_error(self, request: &GrantRequest<'_>) -> TokenError {
        TokenError::of(request.grant_type)(self.refusal)
    }

    pub(super) fn of_admission((client, denial): (ClientIdentity, Box<Denial>)) -> Box<Self> {
        let Denial {
            refusal,
            told,
            report,
        } = *denial;
        let about = match client.federated() {
            Some((assertion, _)) => About::Assertion(assertion.clone(), report),
            None => About::Nothing,
        };
        Box::new(Self {
            told,
            about,
            client: Some(client),
            ..*Self::at(Step::Client, refusal.of_client())
        })
    }

    pub(super) fn of_decision(subject: Subject<AcceptedAssertion>, denial: Denial) -> Box<Self> {
        let Denial {
            mut refusal,
            told,
            report,
        } = denial;
        let about = match subject.presented {
            Presented::Assertion(assertion) => {
                About::Assertion(assertion.verified().clone(), report)
            }
            Presented::ClientAssertion(assertion) => {
                // A client without a key of its own authenticates with this assertion (RFC 7523
                // section 3.2).
                refusal = refusal.of_client();
                About::Assertion(assertion.verified().clone(), report)
            }
            Presented::AccessToken(token) => About::Token(token),
            Presented::Code(code) => About::Code(code),
            Presented::Client | Presented::ClientForAdmin => {
                // Without a subject token, only the client's own assertion can be the used one.
                if refusal.reason == Reason::Replay {
                    refusal = refusal.of_client();
                }
                About::Client
            }
        };
        let client = Some(subject.client.into_identity());
        Box::new(Self {
            told,
            about,
            client,
            ..*Self::at(Step::Presented, refusal)
        })
    }
}
