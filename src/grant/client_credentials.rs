//! The `client_credentials` grant (RFC 6749 section 4.4): a client asks for a token for itself, for
//! a registry or for our own admin API. A client without a key of its own gets at a registry what
//! the federated credentials that it lists permit.

use super::GrantDefinition;
use super::request::SentSubject;
use crate::grant_type::GrantType;
use crate::reason::Reason;
use crate::refusal::Refusal;

pub(super) const GRANT: GrantDefinition = GrantDefinition {
    kind: GrantType::ClientCredentials,
    parameters: PARAMETERS,
    read: |form, own, access| {
        let admin = own.admin_resource();
        let for_admin = access
            .resources
            .iter()
            .filter(|resource| **resource == admin)
            .count();
        if for_admin == 0 {
            return Ok((SentSubject::Client, None));
        }
        if for_admin < access.resources.len() {
            return Err(Refusal::parameter(Reason::TargetAmbiguous, "resource"));
        }
        // Admin tokens are limited by scopes alone. These two parameters would narrow a registry
        // token, so refuse them instead of ignoring them.
        match ["authorization_details", "principal"]
            .into_iter()
            .find(|name| form.get(name).is_some())
        {
            Some(name) => Err(Refusal::parameter(Reason::ParameterMalformed, name)),
            None => Ok((SentSubject::ClientForAdmin, None)),
        }
    },
};

/// This grant has no parameters of its own.
pub(super) const PARAMETERS: &[&str] = &[];
