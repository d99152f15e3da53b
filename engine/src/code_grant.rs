//! A person who lets a client act: what an authorization code stands for (RFC 6749 section 1.3.1).

use crate::assertion::SingleUseKey;
use crate::clock::Timestamp;
use crate::ids::CodeId;
use crate::people::SignedInPerson;
use crate::principal::AccessRequest;
use crate::scope::{EMAIL, OPENID, OPENID_SCOPES, PROFILE, ScopeSet, is_openid_scope};

/// What an authorization code stands for, once the client proved that the code is its own.
#[derive(Clone, Debug)]
pub struct CodeGrant {
    pub id: CodeId,
    /// By which the code is used up.
    pub key: SingleUseKey,
    /// Until when its use has to be remembered.
    pub until: Timestamp,
    pub person: SignedInPerson,
    pub request: PersonRequest,
    /// Binds the ID token to the authorization request (OpenID Connect Core 1.0 section 3.1.2.1).
    pub nonce: Option<String>,
    /// The JWK thumbprint of the key that the token request has to prove (RFC 9449 section 10).
    pub dpop_jkt: Option<String>,
    /// How long its tokens live at most, in seconds.
    pub token_lifetime_seconds: i64,
}

/// What a client asks a person for.
#[derive(Clone, Debug, PartialEq)]
pub struct PersonRequest {
    pub target: PersonTarget,
    /// What the client wants to know of the person.
    pub openid: OpenIdScope,
    /// The access at the registry or the admin API: without the scopes of OpenID Connect, and for a
    /// registry with the principal that the person chose.
    pub access: AccessRequest,
}

/// What an access token on behalf of a person is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PersonTarget {
    Registry,
    /// Our own admin API.
    Admin,
    /// Our own userinfo endpoint (OpenID Connect Core 1.0 section 5.3).
    Userinfo,
}

/// The scopes of OpenID Connect (OpenID Connect Core 1.0 sections 3.1.2.1 and 5.4) in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenIdScope {
    /// An ID token is wanted.
    pub openid: bool,
    /// The name and the user name.
    pub profile: bool,
    /// The address.
    pub email: bool,
}

impl OpenIdScope {
    /// Splits a scope into the scopes of OpenID Connect and the others.
    pub fn split(scope: &ScopeSet) -> (Self, Option<ScopeSet>) {
        let openid = Self {
            openid: scope.contains(OPENID),
            profile: scope.contains(PROFILE),
            email: scope.contains(EMAIL),
        };
        let others = scope.tokens().filter(|token| !is_openid_scope(token));
        (openid, ScopeSet::of(others))
    }

    /// The scopes that are wanted.
    pub fn tokens(self) -> impl Iterator<Item = &'static str> {
        let wanted = [self.openid, self.profile, self.email];
        let named = OPENID_SCOPES.into_iter().zip(wanted);
        named.filter_map(|(name, wanted)| wanted.then_some(name))
    }

    /// These scopes and `others`.
    pub fn and(self, others: Option<&ScopeSet>) -> Option<ScopeSet> {
        let mut tokens: Vec<&str> = self.tokens().collect();
        tokens.extend(others.into_iter().flat_map(ScopeSet::tokens));
        ScopeSet::of(tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_of_openid_connect_are_told_from_others() {
        let scope = ScopeSet::parse("publish openid email Openid").unwrap();
        let (openid, others) = OpenIdScope::split(&scope);
        assert!(openid.openid && openid.email && !openid.profile);
        assert_eq!(others.as_ref().unwrap().to_string(), "Openid publish");
        assert_eq!(openid.and(others.as_ref()), Some(scope));
        let (none, all) = OpenIdScope::split(&ScopeSet::parse("publish").unwrap());
        assert_eq!(
            (none.tokens().count(), all.unwrap().to_string()),
            (0, "publish".to_owned())
        );
        assert_eq!(
            OpenIdScope::split(&ScopeSet::parse("openid").unwrap()).1,
            None
        );
        assert_eq!(none.and(None), None);
    }
}
