//! The token endpoint's grants, one file each, and the pipeline that every token request goes
//! through. Client authentication, the decision and signing are in [`crate::client`],
//! [`crate::decision`] and [`crate::token`].

mod authorization_code;
mod client_credentials;
mod front_door;
mod jwt_bearer;
mod pipeline;
mod proof;
mod record;
mod refused;
mod request;
mod token_exchange;
mod used;
mod verify;

pub use front_door::through_front_door;
pub use pipeline::{Judged, issue, preview};
pub use proof::{RequestProof, declared};
pub use record::{names_of, parts_of_token, person_of, sees_claims};
pub use refused::{About, Refused, Step};
pub use request::{GrantRequest, read_form};
pub use token_exchange::{ACCESS_TOKEN, JWT};
pub use verify::verify_assertion;

use crate::access_request;
use crate::config::OwnUrls;
use crate::form::{self, TokenForm};
use crate::grant_type::GrantType;
use crate::principal::AccessRequest;
use crate::refusal::Refusal;
use request::{SentSubject, SentToken};

/// One grant type: its own parameters, and how they are read into a subject and an optional actor.
struct GrantDefinition {
    kind: GrantType,
    parameters: &'static [&'static str],
    read: for<'a> fn(&'a TokenForm<'_>, &OwnUrls, &AccessRequest) -> Result<Read<'a>, Refusal>,
}

type Read<'a> = (SentSubject<'a>, Option<SentToken<'a>>);

const GRANTS: [GrantDefinition; 4] = [
    jwt_bearer::GRANT,
    token_exchange::GRANT,
    client_credentials::GRANT,
    authorization_code::GRANT,
];

/// The parameters that the token endpoint knows. RFC 8707 section 2 (`resource`) and RFC 8693
/// section 2.1 (`resource`, `audience`) allow two of them to repeat.
pub const PARAMETERS: form::Parameters = form::Parameters {
    known: &[
        &["grant_type"],
        form::OF_CLIENT,
        access_request::OF_ACCESS,
        GRANTS[0].parameters,
        GRANTS[1].parameters,
        GRANTS[2].parameters,
        GRANTS[3].parameters,
    ],
    repeatable: &["resource", "audience"],
};

/// The parameters of an explanation: those of the token endpoint, and the front door.
pub const PARAMETERS_OF_QUESTION: form::Parameters = form::Parameters {
    known: &[
        &["grant_type"],
        form::OF_CLIENT,
        access_request::OF_ACCESS,
        GRANTS[0].parameters,
        GRANTS[1].parameters,
        GRANTS[2].parameters,
        GRANTS[3].parameters,
        front_door::OF_FRONT_DOOR,
        proof::OF_PROOF,
    ],
    repeatable: PARAMETERS.repeatable,
};

/// Why a token request is refused.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenError {
    /// `None` if the request was refused before its grant type was known. The OAuth error code
    /// depends on it.
    pub grant_type: Option<GrantType>,
    pub refusal: Box<Refusal>,
}

impl TokenError {
    fn of(grant_type: GrantType) -> impl Fn(Refusal) -> Self {
        move |refusal| Self {
            grant_type: Some(grant_type),
            refusal: Box::new(refusal),
        }
    }
}

impl From<Refusal> for TokenError {
    fn from(refusal: Refusal) -> Self {
        Self {
            grant_type: None,
            refusal: Box::new(refusal),
        }
    }
}
