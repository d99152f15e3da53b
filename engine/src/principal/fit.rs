//! How much fits into a token: proxies in front of registries refuse long headers, and an opaque key is a row of the database.

use std::cmp::Reverse;

use carnet_access::AuthorizationDetail;

use super::narrowing::Narrow;
use crate::json::element_bytes;
use crate::model::{ResourceServer, TokenFormat};

/// How long a JWT may be (contract, section 4): servers take headers of 8 KiB.
const MAX_JWT_CHARACTERS: usize = 7_500;
/// What of that the header, the dots and the longest signature take.
const OF_SIGNING: usize = 130 + 2 + 342;
/// How much an opaque key may stand for.
const MAX_OPAQUE_BYTES: usize = 64 * 1024;
/// How many entries a token may have.
const MAX_ENTRIES: usize = 1_000;
/// What the claims take whose length is always about the same: times, id, names of members.
const OF_CLAIMS: usize = 330;

/// The room that a token has for its entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenRoom {
    bytes: usize,
    entries: usize,
    /// What comes to each entry later.
    per_entry: usize,
}

/// What a token says beside its entries and what its registry adds, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Frame {
    /// In all.
    pub fixed: usize,
    /// In each entry.
    pub per_entry: usize,
}

/// What went into a token.
#[derive(Debug)]
pub struct Fitted<E> {
    /// The entries, newest credential first; permissions of one credential that differ in packages alone are one.
    pub entries: Vec<E>,
    /// How many permissions found no room.
    pub left_out: usize,
    /// How many packages found room, with those of the first permission that did not as a whole.
    pub packages: usize,
}

impl TokenRoom {
    const ENDLESS: Self = Self { bytes: usize::MAX, entries: usize::MAX, per_entry: 0 };

    /// The room in a token for this registry, whose other claims take so many bytes beside the frame.
    pub fn of(server: &ResourceServer, frame: Frame, others: usize) -> Self {
        let all = match server.token_format {
            TokenFormat::Jwt => MAX_JWT_CHARACTERS.saturating_sub(OF_SIGNING).saturating_mul(3) / 4,
            TokenFormat::Opaque => MAX_OPAQUE_BYTES,
        };
        let taken = [frame.fixed, others, OF_CLAIMS, server.resource.len()].into_iter().fold(0, usize::saturating_add);
        Self { bytes: all.saturating_sub(taken), entries: MAX_ENTRIES, per_entry: frame.per_entry }
    }
}

/// Puts permissions that differ in packages alone together, however many they are.
pub(super) fn merged<E: Narrow, A: Ord>(entries: Vec<E>, age: impl Fn(&E) -> A) -> Vec<E> {
    fit(entries, age, TokenRoom::ENDLESS).entries
}

/// As many as fit, the newest credential's first. One that does not fit takes no place from a smaller one behind it.
pub fn fit<E: Narrow, A: Ord>(mut entries: Vec<E>, age: impl Fn(&E) -> A, room: TokenRoom) -> Fitted<E> {
    entries.sort_by_cached_key(|entry| Reverse(age(entry)));
    let mut fitted: Fitted<E> = Fitted { entries: Vec::new(), left_out: 0, packages: 0 };
    let mut left = room.bytes;
    for entry in entries {
        let detail = entry.detail();
        // Those of one credential stand together.
        let of_credential =
            fitted.entries.iter().rev().take_while(|other| other.detail().credential == detail.credential);
        let from_end = of_credential.enumerate().find(|(_, other)| differ_in_packages_alone(other.detail(), detail));
        let into = from_end.map(|(at, _)| fitted.entries.len().saturating_sub(at.saturating_add(1)));
        let before = into.and_then(|at| fitted.entries.get(at)).map(|other| other.detail().packages.as_slice());
        let is_new = |package: &&String| before.is_none_or(|before| !before.contains(package));
        let new: Vec<String> = detail.packages.iter().filter(is_new).cloned().collect();
        let taken = match into {
            Some(_) => new.iter().map(element_bytes).sum(),
            None => element_bytes(detail).saturating_add(room.per_entry),
        };
        let has_place = into.is_some() || fitted.entries.len() < room.entries;
        let Some(rest) = left.checked_sub(taken).filter(|_| has_place) else {
            if has_place && fitted.left_out == 0 {
                fitted.packages = fitted.packages.saturating_add(as_many_as_fit(&new, taken, left));
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

/// How many of these packages fit, of which all take so much together with what is around them.
fn as_many_as_fit(packages: &[String], taken: usize, room: usize) -> usize {
    let around = packages.iter().map(element_bytes).fold(taken, usize::saturating_sub);
    let mut left = room.checked_sub(around);
    let fits = |package: &&String| {
        left = left.and_then(|left| left.checked_sub(element_bytes(package)));
        left.is_some()
    };
    packages.iter().take_while(fits).count()
}

fn differ_in_packages_alone(left: &AuthorizationDetail, right: &AuthorizationDetail) -> bool {
    let same_actions =
        left.actions.len() == right.actions.len() && left.actions.iter().all(|action| right.actions.contains(action));
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
        fitted.entries.iter().map(|entry| entry.packages.iter().map(String::as_str).collect()).collect()
    }

    #[test]
    fn permissions_that_differ_in_packages_alone_are_one() {
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
        assert_eq!(packages(&fitted), [vec!["d"], vec!["e"], vec!["a", "b", "c"], vec!["a"]]);
        assert_eq!((fitted.left_out, fitted.packages), (0, 6));
    }

    #[test]
    fn what_does_not_fit_takes_no_place_from_what_does() {
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
        let fitted = fit(all(), age, TokenRoom { bytes: size * 2, entries: 9, per_entry: 0 });
        assert_eq!((packages(&fitted), fitted.left_out), (vec![vec!["new"], vec!["small"]], 1));
        let fitted = fit(all(), age, TokenRoom { bytes: usize::MAX, entries: 1, per_entry: 0 });
        assert_eq!((packages(&fitted), fitted.left_out), (vec![vec!["new"]], 2));
        assert_eq!(fit(all(), age, TokenRoom { bytes: size, entries: 9, per_entry: 3 }).left_out, 3);
    }
}
