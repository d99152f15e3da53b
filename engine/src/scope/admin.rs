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
/// Prefix of the scopes that permit reading what [`ADMIN_CREDENTIALS_OF`] reads, and changing nothing.
pub const ADMIN_READ_OF: &str = "admin:read:";

/// Whether `scope` is a scope of the admin API.
pub fn is_admin_scope(scope: &str) -> bool {
    matches!(scope, ADMIN | ADMIN_READ | ADMIN_CREDENTIALS)
        || limited_scope(scope).is_some_and(|(_, name)| check_name(name).is_ok())
}

/// The prefix of a scope that is limited to a principal, and the principal's name. `None` for every
/// other scope.
pub fn limited_scope(scope: &str) -> Option<(&'static str, &str)> {
    let mut prefixes = [ADMIN_CREDENTIALS_OF, ADMIN_READ_OF].into_iter();
    prefixes.find_map(|prefix| Some((prefix, scope.strip_prefix(prefix)?)))
}

/// Whether `held` includes all of `wanted`: `admin` includes every admin scope, `admin:credentials`
/// the same scope for one principal, and each of these and `admin:read` what it reads of one
/// principal. Scopes outside the admin API are never included.
pub fn covers(held: &ScopeSet, wanted: &ScopeSet) -> bool {
    let is_within = |scope: &str| match limited_scope(scope) {
        Some((ADMIN_CREDENTIALS_OF, _)) => held.contains(ADMIN_CREDENTIALS),
        Some((_, name)) => {
            let writes = format!("{ADMIN_CREDENTIALS_OF}{name}");
            [ADMIN_READ, ADMIN_CREDENTIALS, &writes]
                .iter()
                .any(|wider| held.contains(wider))
        }
        None => false,
    };
    let is_covered = |scope: &str| {
        is_admin_scope(scope) && (held.contains(ADMIN) || held.contains(scope) || is_within(scope))
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
            ("admin:read", "admin:read admin:read:joel"),
            ("admin", "admin:read:joel"),
            ("admin:credentials", "admin:read:joel"),
            ("admin:credentials:joel", "admin:read:joel"),
            ("admin:read:joel", "admin:read:joel"),
        ] {
            assert!(covers(&scope(held), &scope(wanted)), "{held}: {wanted}");
        }
        for (held, wanted) in [
            ("admin:read", "admin"),
            ("admin:credentials", "admin:read"),
            ("admin:credentials:joel", "admin:credentials"),
            ("admin:credentials:joel", "admin:credentials:eve"),
            ("admin:credentials:joel", "admin:read:eve"),
            ("admin:read:joel", "admin:read:eve"),
            ("admin:read:joel", "admin:read"),
            ("admin:read:joel", "admin:credentials:joel"),
            ("admin:read", "admin:credentials:joel"),
            ("admin", "admin:read:a/b"),
            ("admin", "publish"),
            ("admin", "admin:everything"),
            ("admin:credentials", "admin:credentials:a/b"),
        ] {
            assert!(!covers(&scope(held), &scope(wanted)), "{held}: {wanted}");
        }
    }
}
