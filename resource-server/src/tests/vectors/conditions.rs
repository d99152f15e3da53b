//! Cases of the conditions of one entry, and of the reason when several fail.

use serde_json::json;

use super::decisions::{Case, DIGEST, OTHER_DIGEST, case, entry, of, with};

pub(super) fn actions() -> Vec<Case> {
    let held = |says: &str, actions: &[&str], asked: &str| {
        case("action", says)
            .entries([entry(actions, &["widgets"])])
            .asks(asked, "widgets")
    };
    let denied = "action_out_of_scope";
    vec![
        held("one of several", &["yank", "publish"], "yank").allows(0),
        held("another", &["publish"], "yank").denies(denied),
        held("none", &[], "publish").denies(denied),
        held("another letter case", &["publish"], "Publish").denies(denied),
        held("the beginning of one", &["publish-beta"], "publish").denies(denied),
        held("two in one text are one", &["publish yank"], "yank").denies(denied),
        held("a star is no wildcard", &["*"], "publish").denies(denied),
        held("`create` alone gives nothing else", &["create"], "publish").denies(denied),
        held("`create` of a package that exists", &["create"], "create").allows(0),
        held(
            "`create` that is not held, of a package that exists",
            &["publish"],
            "create",
        )
        .denies(denied),
        held("`create` of a new package", &["create"], "create")
            .new_package()
            .allows(0),
        held(
            "`create` that is not held, of a new package",
            &["publish"],
            "create",
        )
        .new_package()
        .denies(denied),
        held("a new package without `create`", &["publish"], "publish")
            .new_package()
            .denies("create_denied"),
        held(
            "a new package with `create`",
            &["create", "publish"],
            "publish",
        )
        .new_package()
        .allows(0),
        held(
            "a new package, `create` in another letter case",
            &["Create", "publish"],
            "publish",
        )
        .new_package()
        .denies("create_denied"),
        held(
            "a package that exists, with `create` too",
            &["create", "publish"],
            "publish",
        )
        .allows(0),
        held(
            "a new package, another action with `create`",
            &["create", "publish"],
            "yank",
        )
        .new_package()
        .denies(denied),
        case("action", "of one entry, package of another")
            .entries([
                entry(&["publish"], &["widgets"]),
                entry(&["yank"], &["gadgets"]),
            ])
            .asks("yank", "widgets")
            .denies(denied),
        case("action", "`create` of one entry, the action of another")
            .entries([
                entry(&["publish"], &["widgets"]),
                entry(&["create"], &["widgets"]),
            ])
            .new_package()
            .denies("create_denied"),
        case("action", "the second entry has it")
            .entries([
                entry(&["yank"], &["widgets"]),
                entry(&["publish"], &["widgets"]),
            ])
            .allows(1),
    ]
}

pub(super) fn limits() -> Vec<Case> {
    let limited =
        |member: &str, value: &str| with(entry(&["publish"], &["widgets"]), member, json!(value));
    let version = |says: &str, limit: &str, asked: Option<&str>| {
        case("version", says)
            .entries([limited("version", limit)])
            .version(asked)
    };
    let digest = |says: &str, limit: &str, asked: Option<&str>| {
        case("digest", says)
            .entries([limited("digest", limit)])
            .digest(asked)
    };
    let (no_version, no_digest) = ("version_mismatch", "digest_mismatch");
    vec![
        version("the same", "1.2.3", Some("1.2.3")).allows(0),
        version("another", "1.2.3", Some("1.2.4")).denies(no_version),
        version("none", "1.2.3", None).denies(no_version),
        version("empty", "1.2.3", Some("")).denies(no_version),
        version("longer", "1.2.3", Some("1.2.3.0")).denies(no_version),
        version("equal as a number only", "1.0", Some("1.0.0")).denies(no_version),
        version("another letter case", "1.0.0-RC1", Some("1.0.0-rc1")).denies(no_version),
        version("with a `v`", "1.2.3", Some("v1.2.3")).denies(no_version),
        version("with build metadata", "1.2.3", Some("1.2.3+build")).denies(no_version),
        version("a star is no wildcard", "1.*", Some("1.2")).denies(no_version),
        version("is not folded like a name", "1.0", Some("1-0"))
            .names("pep503")
            .denies(no_version),
        case("version", "not limited, and the operation has none")
            .version(None)
            .allows(0),
        digest("the same", DIGEST, Some(DIGEST)).allows(0),
        digest("another", DIGEST, Some(OTHER_DIGEST)).denies(no_digest),
        digest("none", DIGEST, None).denies(no_digest),
        digest("upper case", DIGEST, Some(&DIGEST.to_uppercase())).denies(no_digest),
        digest(
            "without the algorithm",
            DIGEST,
            DIGEST.strip_prefix("sha256:"),
        )
        .denies(no_digest),
        digest("shortened", DIGEST, DIGEST.get(..40)).denies(no_digest),
        case("digest", "not limited, and the operation has none")
            .digest(None)
            .allows(0),
        case("digest", "version and digest both fit")
            .entries([with(limited("digest", DIGEST), "version", json!("1.2.3"))])
            .allows(0),
        case(
            "digest",
            "limited to version in one entry and to digest in another, each by itself",
        )
        .entries([limited("version", "1.2.4"), limited("digest", OTHER_DIGEST)])
        .denies(no_digest),
        case("digest", "the second entry is not limited")
            .entries([
                limited("version", "1.2.4"),
                entry(&["publish"], &["widgets"]),
            ])
            .allows(1),
    ]
}

pub(super) fn owners() -> Vec<Case> {
    let org = || [of("joel", "octo-org")];
    let lost = "owner_lost";
    vec![
        case("owner", "the entry's owner owns the package").allows(0),
        case("owner", "somebody else owns it")
            .owned_by(&["mallory"])
            .denies(lost),
        case("owner", "nobody owns it").owned_by(&[]).denies(lost),
        case("owner", "several own it")
            .owned_by(&["mallory", "joel"])
            .allows(0),
        case("owner", "another letter case")
            .owned_by(&["Joel"])
            .denies(lost),
        case("owner", "the principal may act for the owner")
            .entries(org())
            .owned_by(&["octo-org"])
            .acts(&[("joel", "octo-org")])
            .allows(0),
        case("owner", "the principal may not act for the owner")
            .entries(org())
            .owned_by(&["octo-org"])
            .denies(lost),
        case(
            "owner",
            "the owner may act for the principal, not the other way round",
        )
        .entries(org())
        .owned_by(&["octo-org"])
        .acts(&[("octo-org", "joel")])
        .denies(lost),
        case(
            "owner",
            "the principal owns the package, but the entry names another owner",
        )
        .entries(org())
        .owned_by(&["joel"])
        .acts(&[("joel", "joel"), ("joel", "octo-org")])
        .denies(lost),
        case("owner", "another principal may act for the owner")
            .entries(org())
            .owned_by(&["octo-org"])
            .acts(&[("mallory", "octo-org")])
            .denies(lost),
        case("owner", "the principal may not even act for itself")
            .acts(&[])
            .denies(lost),
        case(
            "owner",
            "a new package for an owner whom the principal may act for",
        )
        .entries(org())
        .new_package()
        .acts(&[("joel", "octo-org")])
        .allows(0),
        case(
            "owner",
            "a new package for an owner whom the principal may not act for",
        )
        .entries(org())
        .new_package()
        .denies(lost),
        case("owner", "a new package: who owns it is not asked")
            .new_package()
            .owned_by(&["mallory"])
            .entries([of("joel", "joel")])
            .allows(0),
        case("owner", "the owner of the second entry owns it")
            .entries([of("joel", "joel"), of("joel", "octo-org")])
            .owned_by(&["octo-org"])
            .acts(&[("joel", "joel"), ("joel", "octo-org")])
            .allows(1),
        case(
            "owner",
            "of two entries the one of an owner, the other of a principal",
        )
        .entries([of("joel", "octo-org"), of("mallory", "joel")])
        .acts(&[("joel", "octo-org"), ("joel", "joel")])
        .denies(lost),
        case(
            "owner",
            "an entry for all packages gives no right on those of others",
        )
        .entries([entry(&["publish"], &["*"])])
        .owned_by(&["mallory"])
        .denies(lost),
    ]
}

/// The conditions in their order, and an entry that fails just one of them for a new package.
fn failing(reasons: &[&str]) -> serde_json::Value {
    let fails = |reason: &str| reasons.contains(&reason);
    let packages = if fails("package_out_of_scope") {
        ["gadgets"]
    } else {
        ["widgets"]
    };
    let action = if fails("action_out_of_scope") {
        "yank"
    } else {
        "publish"
    };
    let actions = if fails("create_denied") {
        vec![action]
    } else {
        vec!["create", action]
    };
    let mut entry = entry(&actions, &packages);
    if fails("version_mismatch") {
        entry["version"] = json!("9.9.9");
    }
    if fails("digest_mismatch") {
        entry["digest"] = json!(OTHER_DIGEST);
    }
    if fails("owner_lost") {
        entry["owner"] = json!("octo-org");
    }
    entry
}

const ORDER: [&str; 6] = [
    "package_out_of_scope",
    "action_out_of_scope",
    "create_denied",
    "version_mismatch",
    "digest_mismatch",
    "owner_lost",
];

pub(super) fn order() -> Vec<Case> {
    let mut cases = Vec::new();
    for (index, earlier) in ORDER.iter().enumerate() {
        for (number, later) in ORDER.iter().enumerate().skip(index).skip(1) {
            cases.push(
                case(
                    "order",
                    &format!("one entry fails {earlier} and {later}: the first is the reason"),
                )
                .new_package()
                .entries([failing(&[earlier, later])])
                .denies(earlier),
            );
            let mut entries = [failing(&[earlier]), failing(&[later])];
            if number % 2 == 0 {
                entries.reverse();
            }
            cases.push(
                case(
                    "order",
                    &format!("one entry fails {earlier}, another {later}: the latter came closer"),
                )
                .new_package()
                .entries(entries)
                .denies(later),
            );
        }
    }
    let all = || ORDER.map(|reason| failing(&[reason]));
    cases.push(
        case("order", "six entries, each fails another condition")
            .new_package()
            .entries(all())
            .denies("owner_lost"),
    );
    let and_good = all().into_iter().chain([failing(&[])]);
    cases.push(
        case("order", "six that fail and one that allows")
            .new_package()
            .entries(and_good)
            .allows(6),
    );
    cases.push(
        case("order", "one entry fails everything")
            .new_package()
            .entries([failing(&ORDER)])
            .denies(ORDER[0]),
    );
    cases
}
