//! Limits the size of tokens: proxies in front of registries refuse long headers, and an opaque key
//! is a row in the database.

use std::cmp::Reverse;

use carnet_access::AuthorizationDetail;

use super::narrowing::Narrow;
use crate::json::element_bytes;
use crate::model::{ResourceServer, TokenFormat};

/// The longest JWT, in bytes (`docs/src/reference/limits.md`): servers accept headers of 8 KiB.
const MAX_JWT_CHARACTERS: usize = 7_500;
/// The part of a JWT that the header, the dots and the longest signature take, in bytes.
const OF_SIGNING: usize = 130 + 2 + 342;
/// The most bytes of claims behind an opaque key.
const MAX_OPAQUE_BYTES: usize = 64 * 1024;
/// The most entries in a token.
const MAX_ENTRIES: usize = 1_000;
/// Bytes of what hardly varies in length: times, id, and the names of members.
const OF_CLAIMS: usize = 330;

/// The space that a token has for its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenRoom {
    bytes: usize,
    entries: usize,
    /// Bytes to keep free in each entry for what is added later.
    per_entry: usize,
}

/// Bytes that a token takes beside its entries and the registry's URI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// Once in the token.
    pub fixed: usize,
    /// In each entry, for the rules that it rests on (`rests_on`).
    pub per_entry: usize,
}

/// The entries that fit into a token, and how much did not.
#[derive(Debug)]
pub struct Fitted<E> {
    /// The entries, largest `age` first (see [`fit`]). Permissions of one rule that differ only in
    /// their packages are merged.
    pub entries: Vec<E>,
    /// How many permissions did not fit.
    pub left_out: usize,
    /// How many packages fit, including those of the first permission that fits only in part.
    pub packages: usize,
}

impl TokenRoom {
    const ENDLESS: Self = Self {
        bytes: usize::MAX,
        entries: usize::MAX,
        per_entry: 0,
    };

    /// The space in a token of this format for this registry. `others` is the size of claims outside `frame`, in
    /// bytes.
    pub fn of(
        (server, format): (&ResourceServer, TokenFormat),
        frame: Frame,
        others: usize,
    ) -> Self {
        let all = match format {
            TokenFormat::Jwt => {
                MAX_JWT_CHARACTERS
                    .saturating_sub(OF_SIGNING)
                    .saturating_mul(3)
                    / 4
            }
            TokenFormat::Opaque => MAX_OPAQUE_BYTES,
        };
        let taken = [frame.fixed, others, OF_CLAIMS, server.resource.len()]
            .into_iter()
            .fold(0, usize::saturating_add);
        Self {
            bytes: all.saturating_sub(taken),
            entries: MAX_ENTRIES,
            per_entry: frame.per_entry,
        }
    }
}

/// Merges permissions of one rule that differ only in their packages, without a limit.
pub(super) fn merged<E: Narrow, A: Ord>(entries: Vec<E>, age: impl Fn(&E) -> A) -> Vec<E> {
    fit(entries, age, TokenRoom::ENDLESS).entries
}

/// Takes as many entries as fit, those with the largest `age` first. An entry that does not fit is
/// left out, and smaller ones behind it may still fit.
pub fn fit<E: Narrow, A: Ord>(
    mut entries: Vec<E>,
    age: impl Fn(&E) -> A,
    room: TokenRoom,
) -> Fitted<E> {
    entries.sort_by_cached_key(|entry| Reverse(age(entry)));
    let mut fitted: Fitted<E> = Fitted {
        entries: Vec::new(),
        left_out: 0,
        packages: 0,
    };
    let mut left = room.bytes;
    for entry in entries {
        let detail = entry.detail();
        // The entries of one rule are adjacent.
        let of_credential = fitted
            .entries
            .iter()
            .rev()
            .take_while(|other| other.detail().credential == detail.credential);
        let from_end = of_credential.enumerate().find(|(_, other)| {
            other.demand() == entry.demand() && differ_in_packages_alone(other.detail(), detail)
        });
        let into =
            from_end.map(|(at, _)| fitted.entries.len().saturating_sub(at.saturating_add(1)));
        let before = into
            .and_then(|at| fitted.entries.get(at))
            .map(|other| other.detail().packages.as_slice());
        let is_new = |package: &&String| before.is_none_or(|before| !before.contains(package));
        let new: Vec<String> = detail.packages.iter().filter(is_new).cloned().collect();
        let taken = match into {
            Some(_) => new.iter().map(element_bytes).sum(),
            None => element_bytes(detail).saturating_add(room.per_entry),
        };
        let has_place = into.is_some() || fitted.entries.len() < room.entries;
        let Some(rest) = left.checked_sub(taken).filter(|_| has_place) else {
            if has_place && fitted.left_out == 0 {
                fitted.packages = fitted
                    .packages
                    .saturating_add(as_many_as_fit(&new, taken, left));
            }
            fitted.left_out = fitted.left_out.saturating_add(1);
            continue;
        };
        left = rest;
        fitted.packages = fitted.packages.saturating_add(new.len());
        match into.and_then(|at| fitted.entries.get_mut(at)) {
            Some(other) => other.detail_mut().packages.extend(new),
            None => fitted.entries.push(entry),
        }
    }
    fitted
}

/// How many of these packages fit into `room`, if all of them and the JSON around them take `taken`
/// bytes.
fn as_many_as_fit(packages: &[String], taken: usize, room: usize) -> usize {
    let around = packages
        .iter()
        .map(element_bytes)
        .fold(taken, usize::saturating_sub);
    let mut left = room.checked_sub(around);
    let fits = |package: &&String| {
        left = left.and_then(|left| left.checked_sub(element_bytes(package)));
        left.is_some()
    };
    packages.iter().take_while(fits).count()
}

fn differ_in_packages_alone(left: &AuthorizationDetail, right: &AuthorizationDetail) -> bool {
    let same_actions = left.actions.len() == right.actions.len()
        && left
            .actions
            .iter()
            .all(|action| right.actions.contains(action));
    same_actions
        && left.kind == right.kind
        && left.owner == right.owner
        && left.principal == right.principal
        && left.credential == right.credential
        && left.revision == right.revision
        && left.rests_on == right.rests_on
        && left.locations == right.locations
        && left.version == right.version
        && left.digest == right.digest
}

#[cfg(test)]
mod tests {
    use carnet_access::DETAIL_TYPE;

    use super::*;

    fn entry(credential: &str, actions: &[&str], packages: &[&str]) -> AuthorizationDetail {
        let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect();
        AuthorizationDetail {
            kind: DETAIL_TYPE.to_owned(),
            actions: owned(actions),
            packages: owned(packages),
            owner: "joel".to_owned(),
            principal: "joel".to_owned(),
            credential: credential.to_owned(),
            revision: 1,
            rests_on: Vec::new(),
            locations: vec!["https://r/".to_owned()],
            version: None,
            digest: None,
        }
    }

    fn packages(fitted: &Fitted<AuthorizationDetail>) -> Vec<Vec<&str>> {
        fitted
            .entries
            .iter()
            .map(|entry| entry.packages.iter().map(String::as_str).collect())
            .collect()
    }

    #[test]
    fn entries_that_differ_in_packages_alone_are_merged() {
        let mut narrowed = entry("fc_2", &["publish"], &["e"]);
        narrowed.version = Some("1".to_owned());
        let all = vec![
            entry("fc_1", &["publish", "create"], &["a", "b"]),
            entry("fc_1", &["unlist"], &["a"]),
            entry("fc_1", &["create", "publish"], &["b", "c"]),
            entry("fc_2", &["create", "publish"], &["d"]),
            narrowed,
        ];
        let fitted = fit(all, |entry| entry.credential.clone(), TokenRoom::ENDLESS);
        assert_eq!(
            packages(&fitted),
            [vec!["d"], vec!["e"], vec!["a", "b", "c"], vec!["a"]]
        );
        assert_eq!((fitted.left_out, fitted.packages), (0, 6));
    }

    #[test]
    fn an_entry_that_does_not_fit_takes_no_room_from_the_others() {
        let large = "x".repeat(500);
        let all = || {
            vec![
                entry("fc_1", &["publish"], &["small"]),
                entry("fc_2", &["publish"], &[&large]),
                entry("fc_3", &["publish"], &["new"]),
            ]
        };
        let size = element_bytes(&entry("fc_1", &["publish"], &["small"]));
        let age = |entry: &AuthorizationDetail| entry.credential.clone();
        let fitted = fit(
            all(),
            age,
            TokenRoom {
                bytes: size * 2,
                entries: 9,
                per_entry: 0,
            },
        );
        assert_eq!(
            (packages(&fitted), fitted.left_out),
            (vec![vec!["new"], vec!["small"]], 1)
        );
        let fitted = fit(
            all(),
            age,
            TokenRoom {
                bytes: usize::MAX,
                entries: 1,
                per_entry: 0,
            },
        );
        assert_eq!((packages(&fitted), fitted.left_out), (vec![vec!["new"]], 2));
        assert_eq!(
            fit(
                all(),
                age,
                TokenRoom {
                    bytes: size,
                    entries: 9,
                    per_entry: 3
                }
            )
            .left_out,
            3
        );
    }
}
