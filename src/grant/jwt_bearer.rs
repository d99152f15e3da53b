//! The jwt-bearer grant (RFC 7523 section 2.1): an assertion of a trusted issuer.

use super::Grant;
use super::request::{Sent, SentToken};
use crate::grant_type::GrantType;

pub(super) const GRANT: Grant = Grant {
    kind: GrantType::JwtBearer,
    parameters: PARAMETERS,
    read: |form, _, _| Ok((Sent::Token(SentToken::Assertion(form.require("assertion")?)), None)),
};

pub(super) const PARAMETERS: &[&str] = &["assertion"];
