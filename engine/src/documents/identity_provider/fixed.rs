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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn document(changed: &str, value: Value) -> IdentityProviderDocument {
        let mut document = json!({
            "issuer": "https://login.test", "client_id": "carnet", "second_factor": { "acr": ["mfa"] }, "enabled": true,
        });
        document[changed] = value;
        serde_json::from_value(document).unwrap()
    }

    fn before() -> IdentityProviderDocument {
        document("enabled", true.into())
    }

    #[test]
    fn sessions_end_with_every_member_that_says_who_a_person_is_or_what_proves_it() {
        for (member, value, ends) in [
            ("enabled", json!(false), true),
            ("issuer", json!("https://login.test/"), true),
            ("client_id", json!("other"), true),
            ("claims_from", json!("userinfo"), true),
            ("claims_from", json!("id_token"), false),
            ("algorithms", json!(["PS256"]), true),
            ("profile", json!("staff"), true),
            ("profile", json!("person"), false),
            ("second_factor", json!({ "acr": ["mfa", "gold"] }), true),
            ("freshness", json!("new_sign_in"), true),
            ("freshness", json!("auth_time"), false),
            ("display_name", json!("Corp"), false),
            ("logout", json!("local"), false),
        ] {
            let after = document(member, value.clone());
            assert_eq!(after.ends_sessions_of(&before()), ends, "{member} {value}");
        }
    }

    #[test]
    fn issuer_profile_and_client_stay_as_long_as_something_depends_on_them() {
        let fixed = |member: &str, dependents: Dependents| {
            let after = document(member, json!("https://other.test"));
            let fixed = after.changes_what_is_fixed(&before(), dependents);
            let pointers: Vec<_> = fixed.iter().map(|(pointer, _)| *pointer).collect();
            pointers.join(" ")
        };
        let nothing = Dependents::default();
        let memberships = Dependents {
            memberships: true,
            ..nothing
        };
        let people = Dependents {
            people: true,
            ..nothing
        };
        let disabled = Dependents {
            disabled_people: true,
            ..people
        };
        for (member, dependents, expected) in [
            ("issuer", nothing, ""),
            ("issuer", memberships, "/issuer"),
            ("issuer", people, "/issuer"),
            ("profile", nothing, ""),
            ("profile", memberships, "/profile"),
            ("profile", people, ""),
            ("client_id", memberships, ""),
            ("client_id", people, ""),
            ("client_id", disabled, "/client_id"),
        ] {
            assert_eq!(
                fixed(member, dependents),
                expected,
                "{member} {dependents:?}"
            );
        }
    }
}
