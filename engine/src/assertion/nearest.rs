//! The trusted issuer that an unknown `iss` probably means.

use crate::model::Snapshot;

/// How many trusted issuers are compared: anybody can send an unknown `iss`.
const MAX_COMPARED: usize = 1000;
/// A longer `iss` is none that somebody mistyped.
const MAX_BYTES: usize = 512;

/// The trusted issuer whose identifier differs from `iss` only by a slash at the end, letter case,
/// the scheme, or one path segment more or fewer. Issuers with an owner are never named, since they
/// are that principal's own affair.
pub(super) fn issuer(iss: &str, snapshot: &Snapshot) -> Option<String> {
    if iss.len() > MAX_BYTES {
        return None;
    }
    let sent = segments(iss);
    let shared = snapshot
        .issuers()
        .filter(|issuer| issuer.enabled && issuer.owner.is_none())
        .take(MAX_COMPARED);
    let mut near: Vec<(usize, &str)> = shared
        .filter_map(|issuer| {
            Some((
                distance(&sent, &segments(&issuer.issuer))?,
                issuer.issuer.as_str(),
            ))
        })
        .collect();
    near.sort_unstable();
    near.first().map(|(_, issuer)| (*issuer).to_owned())
}

/// How many path segments two identifiers differ by, 0 or 1; `None` for a larger difference.
fn distance(left: &[String], right: &[String]) -> Option<usize> {
    let (longer, shorter) = if left.len() >= right.len() {
        (left, right)
    } else {
        (right, left)
    };
    let difference = longer.len().saturating_sub(shorter.len());
    // The host is the first segment, so two hosts never differ by "one segment".
    (difference <= 1 && !shorter.is_empty() && longer.starts_with(shorter)).then_some(difference)
}

/// Host and path segments in lower case, without the scheme.
fn segments(identifier: &str) -> Vec<String> {
    let folded = identifier.trim().to_ascii_lowercase();
    let (_, rest) = folded.split_once("://").unwrap_or(("", &folded));
    rest.split('/')
        .filter(|segment| !segment.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issuers_are_near_that_differ_by_slash_case_scheme_or_one_segment() {
        for (left, right, expected) in [
            ("https://a.test/", "https://a.test", Some(0)),
            ("https://A.test", "https://a.test", Some(0)),
            ("http://a.test", "https://a.test", Some(0)),
            ("https://a.test/enterprise", "https://a.test", Some(1)),
            ("https://a.test", "https://a.test/id/", Some(1)),
            ("https://a.test/x/y", "https://a.test", None),
            ("https://a.test/x", "https://a.test/y", None),
            ("https://b.test", "https://a.test", None),
            ("", "https://a.test", None),
            ("a.test", "https://a.test/x", Some(1)),
        ] {
            let found = distance(&segments(left), &segments(right));
            assert_eq!(found, expected, "{left} {right}");
        }
    }
}
