//! The `client_credentials` grant (RFC 6749 section 4.4): a client for itself, at a registry or at our own admin API. One without a
//! key of its own gets at a registry what its federated credentials give.

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
        let for_admin = access.resources.iter().filter(|resource| **resource == admin).count();
        if for_admin == 0 {
            return Ok((SentSubject::Client, None));
        }
        if for_admin < access.resources.len() {
            return Err(Refusal::parameter(Reason::TargetAmbiguous, "resource"));
        }
        // What our own API permits is said by scopes alone: nothing is ignored that was meant to narrow the token.
        match ["authorization_details", "principal"].into_iter().find(|name| form.get(name).is_some()) {
            Some(name) => Err(Refusal::parameter(Reason::ParameterMalformed, name)),
            None => Ok((SentSubject::ClientForAdmin, None)),
        }
    },
};

/// None beside those of every grant.
pub(super) const PARAMETERS: &[&str] = &[];
