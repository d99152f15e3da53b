//! The token exchange grant (RFC 8693 section 2.1): an assertion of a trusted issuer, or an access
//! token of this server, is exchanged for an access token. A second token may name an actor.

use super::GrantDefinition;
use super::request::{SentSubject, SentToken};
use crate::form::TokenForm;
use crate::grant_type::GrantType;
use crate::reason::Reason;
use crate::refusal::Refusal;

/// The type of access tokens that this server issues (RFC 8693 section 3).
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// The type of a trusted issuer's assertion (RFC 8693 section 3).
pub const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

pub(super) const GRANT: GrantDefinition = GrantDefinition {
    kind: GrantType::TokenExchange,
    parameters: PARAMETERS,
    read: |form, _, _| {
        let (text, kind) = (
            form.require("subject_token")?,
            form.require("subject_token_type")?,
        );
        let subject = token(text, kind, "subject_token_type")?;
        let actor = actor(form)?;
        match form.get("requested_token_type") {
            Some(wanted) if wanted != ACCESS_TOKEN => Err(Refusal::parameter(
                Reason::TokenTypeUnsupported,
                "requested_token_type",
            )),
            _ => Ok((SentSubject::Token(subject), actor)),
        }
    },
};

pub(super) const PARAMETERS: &[&str] = &[
    "subject_token",
    "subject_token_type",
    "actor_token",
    "actor_token_type",
    "requested_token_type",
    "audience",
];

/// The actor token. It needs a type, and a type without it is an error (RFC 8693 section 2.1).
fn actor<'a>(form: &'a TokenForm<'_>) -> Result<Option<SentToken<'a>>, Refusal> {
    match (form.get("actor_token"), form.get("actor_token_type")) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(Refusal::parameter(Reason::ParameterMissing, "actor_token")),
        (Some(text), _) => {
            token(text, form.require("actor_token_type")?, "actor_token_type").map(Some)
        }
    }
}

/// Reads a token of an accepted type (decision D-13): `jwt` and `id_token` both mean an assertion
/// of a trusted issuer, `access_token` means one of this server's (RFC 8693 section 3).
fn token<'a>(text: &'a str, kind: &str, parameter: &'static str) -> Result<SentToken<'a>, Refusal> {
    match kind {
        JWT | "urn:ietf:params:oauth:token-type:id_token" => Ok(SentToken::Assertion(text)),
        ACCESS_TOKEN => Ok(SentToken::AccessToken(text)),
        _ => Err(Refusal::parameter(Reason::TokenTypeUnsupported, parameter)),
    }
}
