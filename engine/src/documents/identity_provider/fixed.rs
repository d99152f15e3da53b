//! The members of an identity provider that must not change, because by other values of them the
//! same claims would mean other persons.

use super::IdentityProviderDocument;

/// What depends on an identity provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dependents {
    /// Whether memberships refer to it.
    pub memberships: bool,
    /// Whether people have signed in at it.
    pub people: bool,
    /// Whether any of these people are disabled.
    pub disabled_people: bool,
}

impl IdentityProviderDocument {
    /// The members of which this document has another value than the one of `before` although they
    /// must not change, as JSON pointers, each with the reason.
    pub fn changes_what_is_fixed(
        &self,
        before: &Self,
        dependents: Dependents,
    ) -> Vec<(&'static str, &'static str)> {
        let is_moved = self.issuer != before.issuer;
        let is_read_otherwise = self.profile_name() != before.profile_name();
        let mut fixed = Vec::new();
        if dependents.memberships {
            let why = "must not change while memberships refer to the identity provider";
            fixed.extend(is_moved.then_some(("/issuer", why)));
            fixed.extend(is_read_otherwise.then_some(("/profile", why)));
        }
        if fixed.is_empty() && is_moved && dependents.people {
            let why = "must not change after people signed in: they would be taken for others; make another identity provider";
            fixed.push(("/issuer", why));
        }
        // A provider may give each client other values of `sub` (OpenID Connect Core 1.0 section 8.1).
        if self.client_id != before.client_id && dependents.disabled_people {
            let why = "must not change while people of the identity provider are disabled: the provider may call them by other subs then, and they would not be disabled any more";
            fixed.push(("/client_id", why));
        }
        fixed
    }
}
