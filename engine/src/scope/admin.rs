//! The scopes of our own admin API (`docs/src/reference/admin-api.md`).

use super::ScopeSet;
use crate::ids::check_name;

/// Permits reading and changing everything.
pub const ADMIN: &str = "admin";
/// Permits reading everything.
pub const ADMIN_READ: &str = "admin:read";
/// Permits managing all federated credentials, and reading audit events and explanations.
pub const ADMIN_CREDENTIALS: &str = "admin:credentials";
/// Prefix of the scopes that permit the same for one principal. The principal's name follows.
pub const ADMIN_CREDENTIALS_OF: &str = "admin:credentials:";
/// Whether `scope` is a scope of the admin API.
pub fn is_admin_scope(scope: &str) -> bool {
    matches!(scope, ADMIN | ADMIN_READ | ADMIN_CREDENTIALS)
        || scope
            .strip_prefix(ADMIN_CREDENTIALS_OF)
            .is_some_and(|name| check_name(name).is_ok())
}

/// Whether `held` includes all of `wanted`: `admin` includes every admin scope, `admin:credentials`
/// the same scope for one principal. Scopes outside the admin API are never included.
pub fn covers(held: &ScopeSet, wanted: &ScopeSet) -> bool {
    let is_covered = |scope: &str| {
        let finer = scope.starts_with(ADMIN_CREDENTIALS_OF) && held.contains(ADMIN_CREDENTIALS);
        is_admin_scope(scope) && (held.contains(ADMIN) || held.contains(scope) || finer)
    };
    wanted.tokens().all(is_covered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wider_admin_scopes_cover_narrower_ones() {
        let scope = |text: &str| ScopeSet::parse(text).unwrap();
        for (held, wanted) in [
            (
                "admin",
                "admin admin:read admin:credentials admin:credentials:joel",
            ),
            (
                "admin:credentials",
                "admin:credentials:joel admin:credentials",
            ),
            ("admin:credentials:joel", "admin:credentials:joel"),
            ("admin:read", "admin:read"),
        ] {
            assert!(covers(&scope(held), &scope(wanted)), "{held}: {wanted}");
        }
        for (held, wanted) in [
            ("admin:read", "admin"),
            ("admin:credentials", "admin:read"),
            ("admin:credentials:joel", "admin:credentials"),
            ("admin:credentials:joel", "admin:credentials:eve"),
            ("admin", "publish"),
            ("admin", "admin:everything"),
            ("admin:credentials", "admin:credentials:a/b"),
        ] {
            assert!(!covers(&scope(held), &scope(wanted)), "{held}: {wanted}");
        }
    }
}
