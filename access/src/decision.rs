//! The decision whether the entries of an access token allow an operation (RFC 9396).

use std::fmt;

use crate::{AuthorizationDetail, DETAIL_TYPE, PackageNames, PackagePattern};

/// The action that an entry needs, besides the action itself, for an operation on a package that
/// does not exist yet.
pub const CREATE: &str = "create";

/// The operation that a request wants to perform.
#[derive(Clone, Copy, Debug)]
pub struct Operation<'a> {
    /// The action, such as `publish`: one of those that the registry is configured with in Carnet.
    pub action: &'a str,
    /// The name of the package, as the client wrote it. [`allows`] normalises it. A name that is not
    /// well formed ([`is_well_formed_name`](crate::is_well_formed_name)), such as one with a `*`, is
    /// covered by no entry.
    pub package: &'a str,
    /// The version, or `None` if the operation has none. Compared byte for byte.
    pub version: Option<&'a str>,
    /// The digest of the artifact, or `None` if the operation has none: `sha256:` and 64
    /// hexadecimal digits in lower case.
    pub digest: Option<&'a str>,
}

/// What only the registry knows. Read it in the transaction of the operation, so that it is still
/// true when the operation takes effect.
#[derive(Clone, Copy)]
pub struct RegistryState<'a> {
    /// Whether the package exists.
    pub exists: bool,
    /// Whether the owner of this name owns the package. Called only if the package exists.
    pub owned_by: &'a (dyn Fn(&str) -> bool + Send + Sync),
    /// Whether the principal (first argument) may act for the owner (second argument), both by
    /// name. Called for new packages too, since a new package gets this owner.
    pub may_act_for: &'a (dyn Fn(&str, &str) -> bool + Send + Sync),
}

/// The operation is allowed: by which entry, on whose authority and for which owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed<'a> {
    /// The name of the principal that acts.
    pub principal: &'a str,
    /// The name of the owner on whose behalf the principal acts. A new package gets this owner.
    pub owner: &'a str,
    /// The entry that allows the operation. If several do, it is the first, which is the one of the
    /// newest rule.
    pub entry: &'a AuthorizationDetail,
}

/// The operation is not allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Denied {
    /// The condition that failed in the entry that came closest to allowing the operation.
    pub reason: DenialReason,
}

/// Why an operation is not allowed, in the order in which the conditions are checked. A later
/// reason is greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DenialReason {
    /// No entry covers the package.
    PackageOutOfScope,
    /// An entry covers the package but does not have the action.
    ActionOutOfScope,
    /// The package does not exist, and the entry does not have the action [`CREATE`].
    CreateDenied,
    /// The entry is limited to another version.
    VersionMismatch,
    /// The entry is limited to an artifact with another digest.
    DigestMismatch,
    /// The package exists and the entry's owner does not own it (any more); or, whether it exists or
    /// not, the entry's principal may not act for that owner (any more).
    OwnerLost,
    /// The package is new, and entries of several principals may create it, so its owner is not
    /// determined. The client has to name one principal in its token request.
    OwnerAmbiguous,
}

impl DenialReason {
    /// The reason as a stable code in snake case, for responses and logs.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::PackageOutOfScope => "package_out_of_scope",
            Self::ActionOutOfScope => "action_out_of_scope",
            Self::CreateDenied => "create_denied",
            Self::VersionMismatch => "version_mismatch",
            Self::DigestMismatch => "digest_mismatch",
            Self::OwnerLost => "owner_lost",
            Self::OwnerAmbiguous => "owner_ambiguous",
        }
    }
}

impl fmt::Display for DenialReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PackageOutOfScope => "the token does not cover this package",
            Self::ActionOutOfScope => "the token does not cover this action on the package",
            Self::CreateDenied => "the package does not exist, and the token may not create it",
            Self::VersionMismatch => "the token is for another version",
            Self::DigestMismatch => "the token is for another artifact",
            Self::OwnerLost => {
                "the owner named in the token does not own the package, or the principal may not act for it"
            }
            Self::OwnerAmbiguous => {
                "rules of several principals allow creating this package; name one in the token request"
            }
        })
    }
}

/// Decides whether `details`, the `authorization_details` of a verified token, allow `operation`.
///
/// One entry has to allow the whole operation; parts of several entries are never combined. For a
/// package that does not exist the entry needs the action [`CREATE`] too, and all entries with
/// [`CREATE`] that cover the package have to be of one principal, since the owner of the package
/// comes from the first of them that allows the operation. `names` has to be what the server is
/// configured with for this registry (`package_names`).
///
/// `docs/decision-vectors.json` holds this decision as cases for other languages.
///
/// # Errors
///
/// [`Denied`] with the reason of the entry that came closest, or
/// [`OwnerAmbiguous`](DenialReason::OwnerAmbiguous).
pub fn allows<'a>(
    details: &'a [AuthorizationDetail],
    names: PackageNames,
    operation: &Operation<'_>,
    state: &RegistryState<'_>,
) -> Result<Allowed<'a>, Denied> {
    let mut closest = DenialReason::PackageOutOfScope;
    let mut allowing: Option<&AuthorizationDetail> = None;
    for entry in details {
        match judge(entry, names, operation, state) {
            Err(reason) => closest = closest.max(reason),
            Ok(()) => allowing = allowing.or(Some(entry)),
        }
    }
    let entry = allowing.ok_or(Denied { reason: closest })?;
    let claims_it = |other: &AuthorizationDetail| {
        other.principal != entry.principal
            && other.actions.iter().any(|action| action == CREATE)
            && covers(other, names, operation)
    };
    if !state.exists && details.iter().any(claims_it) {
        return Err(Denied {
            reason: DenialReason::OwnerAmbiguous,
        });
    }
    Ok(Allowed {
        principal: &entry.principal,
        owner: &entry.owner,
        entry,
    })
}

/// Whether an entry is of the known type and covers the package of the operation.
fn covers(entry: &AuthorizationDetail, names: PackageNames, operation: &Operation<'_>) -> bool {
    let covers = |pattern: &String| {
        PackagePattern::try_from(pattern.clone())
            .is_ok_and(|pattern| pattern.covers(operation.package, names))
    };
    entry.kind == DETAIL_TYPE && entry.packages.iter().any(covers)
}

fn judge(
    entry: &AuthorizationDetail,
    names: PackageNames,
    operation: &Operation<'_>,
    state: &RegistryState<'_>,
) -> Result<(), DenialReason> {
    if !covers(entry, names, operation) {
        return Err(DenialReason::PackageOutOfScope);
    }
    let has = |action: &str| entry.actions.iter().any(|held| held == action);
    if !has(operation.action) {
        return Err(DenialReason::ActionOutOfScope);
    }
    if !state.exists && !has(CREATE) {
        return Err(DenialReason::CreateDenied);
    }
    let narrowed = |limit: &Option<String>, actual: Option<&str>| {
        limit.as_deref().is_none_or(|limit| actual == Some(limit))
    };
    if !narrowed(&entry.version, operation.version) {
        return Err(DenialReason::VersionMismatch);
    }
    if !narrowed(&entry.digest, operation.digest) {
        return Err(DenialReason::DigestMismatch);
    }
    if (state.exists && !(state.owned_by)(&entry.owner))
        || !(state.may_act_for)(&entry.principal, &entry.owner)
    {
        return Err(DenialReason::OwnerLost);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(principal: &str, actions: &[&str], packages: &[&str]) -> AuthorizationDetail {
        AuthorizationDetail {
            kind: DETAIL_TYPE.into(),
            actions: actions.iter().map(ToString::to_string).collect(),
            packages: packages.iter().map(ToString::to_string).collect(),
            owner: principal.into(),
            principal: principal.into(),
            credential: format!("fc_{principal}"),
            revision: 1,
            rests_on: Vec::new(),
            locations: vec!["https://registry.example/".into()],
            version: None,
            digest: None,
        }
    }

    const OWNED: RegistryState<'static> = RegistryState {
        exists: true,
        owned_by: &|_| true,
        may_act_for: &|_, _| true,
    };
    const NEW: RegistryState<'static> = RegistryState {
        exists: false,
        owned_by: &|_| false,
        may_act_for: &|_, _| true,
    };

    fn decide(
        details: &[AuthorizationDetail],
        action: &str,
        package: &str,
        state: &RegistryState<'_>,
    ) -> Result<String, DenialReason> {
        let operation = Operation {
            action,
            package,
            version: Some("1.0"),
            digest: Some("sha256:aa"),
        };
        allows(details, PackageNames::Exact, &operation, state)
            .map(|yes| yes.owner.to_owned())
            .map_err(|no| no.reason)
    }

    #[test]
    fn atk_136__actions_and_packages_of_two_entries_are_never_combined() {
        let details = [
            entry("p", &["publish"], &["a"]),
            entry("p", &["yank"], &["b"]),
        ];
        assert!(decide(&details, "publish", "a", &OWNED).is_ok());
        assert!(decide(&details, "yank", "b", &OWNED).is_ok());
        assert_eq!(
            decide(&details, "yank", "a", &OWNED),
            Err(DenialReason::ActionOutOfScope)
        );
        assert_eq!(
            decide(&details, "publish", "b", &OWNED),
            Err(DenialReason::ActionOutOfScope)
        );
        assert_eq!(
            decide(&details, "publish", "c", &OWNED),
            Err(DenialReason::PackageOutOfScope)
        );
        assert_eq!(
            decide(&[], "publish", "a", &OWNED),
            Err(DenialReason::PackageOutOfScope)
        );
    }

    #[test]
    fn nuget_pol_7__a_wildcard_gives_no_right_on_packages_of_others() {
        let details = [entry("joel", &["publish"], &["*"])];
        let state = RegistryState {
            owned_by: &|owner| owner == "somebody-else",
            ..OWNED
        };
        assert_eq!(
            decide(&details, "publish", "theirs", &state),
            Err(DenialReason::OwnerLost)
        );
        assert_eq!(
            decide(&details, "publish", "ours", &OWNED),
            Ok("joel".into())
        );
    }

    #[test]
    fn nuget_pol_8__a_new_package_needs_create() {
        let push = [entry("joel", &["publish"], &["a"])];
        assert_eq!(
            decide(&push, "publish", "a", &NEW),
            Err(DenialReason::CreateDenied)
        );
        let create = [entry("joel", &["create", "publish"], &["a"])];
        assert_eq!(decide(&create, "publish", "a", &NEW), Ok("joel".into()));
        assert_eq!(decide(&create, "create", "a", &NEW), Ok("joel".into()));
        // `create` in one entry is not combined with `publish` in another.
        let split = [
            entry("joel", &["publish"], &["a"]),
            entry("joel", &["create"], &["a"]),
        ];
        assert_eq!(
            decide(&split, "publish", "a", &NEW),
            Err(DenialReason::CreateDenied)
        );
    }

    #[test]
    fn nuget_pol_10__the_newest_entry_names_the_owner_of_a_new_package_unless_principals_differ() {
        let mut newest = entry("joel", &["create", "publish"], &["a"]);
        newest.owner = "newer-org".into();
        let mut older = entry("joel", &["create", "publish"], &["*"]);
        older.owner = "older-org".into();
        assert_eq!(
            decide(&[newest.clone(), older], "publish", "a", &NEW),
            Ok("newer-org".into())
        );
        let other = entry("mallory", &["create", "publish"], &["*"]);
        assert_eq!(
            decide(&[newest.clone(), other.clone()], "publish", "a", &NEW),
            Err(DenialReason::OwnerAmbiguous)
        );
        // Every entry that may create the package counts, even if it does not allow the rest of the
        // operation.
        let narrowed = AuthorizationDetail {
            version: Some("9.9".into()),
            ..other.clone()
        };
        assert_eq!(
            decide(&[newest.clone(), narrowed], "publish", "a", &NEW),
            Err(DenialReason::OwnerAmbiguous)
        );
        let push = entry("mallory", &["publish"], &["*"]);
        assert_eq!(
            decide(&[newest.clone(), push], "publish", "a", &NEW),
            Ok("newer-org".into())
        );
        // An existing package has an owner, so nothing is ambiguous.
        assert_eq!(
            decide(&[newest, other], "publish", "a", &OWNED),
            Ok("newer-org".into())
        );
    }

    #[test]
    fn nuget_pol_9__the_owner_comes_from_the_entry_that_allows() {
        let mut other = entry("joel", &["publish"], &["b"]);
        other.owner = "org".into();
        let details = [entry("joel", &["publish"], &["a"]), other];
        assert_eq!(decide(&details, "publish", "b", &OWNED), Ok("org".into()));
        let stranger = RegistryState {
            may_act_for: &|principal, owner| principal == owner,
            ..OWNED
        };
        assert_eq!(
            decide(&details, "publish", "b", &stranger),
            Err(DenialReason::OwnerLost)
        );
    }

    #[test]
    fn a_narrowed_entry_is_good_for_its_version_and_artifact_only() {
        let mut narrow = entry("p", &["publish"], &["a"]);
        narrow.version = Some("1.0".into());
        narrow.digest = Some("sha256:aa".into());
        assert!(decide(std::slice::from_ref(&narrow), "publish", "a", &OWNED).is_ok());
        let judge = |version, digest| {
            let operation = Operation {
                action: "publish",
                package: "a",
                version,
                digest,
            };
            allows(
                std::slice::from_ref(&narrow),
                PackageNames::Exact,
                &operation,
                &OWNED,
            )
            .map_err(|no| no.reason)
        };
        assert_eq!(
            judge(Some("1.1"), Some("sha256:aa")),
            Err(DenialReason::VersionMismatch)
        );
        assert_eq!(
            judge(None, Some("sha256:aa")),
            Err(DenialReason::VersionMismatch)
        );
        assert_eq!(
            judge(Some("1.0"), Some("sha256:bb")),
            Err(DenialReason::DigestMismatch)
        );
        assert_eq!(judge(Some("1.0"), None), Err(DenialReason::DigestMismatch));
        let mut foreign = entry("p", &["publish"], &["a"]);
        foreign.kind = "payment".into();
        assert_eq!(
            decide(&[foreign], "publish", "a", &OWNED),
            Err(DenialReason::PackageOutOfScope)
        );
    }
}
