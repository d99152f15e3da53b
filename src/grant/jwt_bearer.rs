//! The jwt-bearer grant (RFC 7523 section 2.1): the client presents an assertion of a trusted
//! issuer.

use super::GrantDefinition;
use super::request::{SentSubject, SentToken};
use crate::grant_type::GrantType;

pub(super) const GRANT: GrantDefinition = GrantDefinition {
    kind: GrantType::JwtBearer,
    parameters: PARAMETERS,
    read: |form, _, _| {
        Ok((
            SentSubject::Token(SentToken::Assertion(form.require("assertion")?)),
            None,
        ))
    },
};

pub(super) const PARAMETERS: &[&str] = &["assertion"];
