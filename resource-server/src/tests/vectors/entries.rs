//! Cases of several entries, of new packages, and of entries that allow nothing because of their form.

use serde_json::{Value, json};

use super::decisions::{Case, OTHER_DIGEST, case, entry, of, with};

const AMBIGUOUS: &str = "owner_ambiguous";
const BOTH: [(&str, &str); 2] = [("joel", "joel"), ("mallory", "mallory")];

pub(super) fn several() -> Vec<Case> {
    let wide = || entry(&["publish"], &["*"]);
    let narrow = || entry(&["publish"], &["widgets"]);
    vec![
        case("several", "no entries")
            .entries([])
            .denies("package_out_of_scope"),
        case("several", "an entry without packages")
            .entries([entry(&["publish"], &[])])
            .denies("package_out_of_scope"),
        case("several", "the second of three packages of an entry")
            .entries([entry(&["publish"], &["gadgets", "widgets", "gizmos"])])
            .allows(0),
        case("several", "both allow: the first, though it is wider")
            .entries([wide(), narrow()])
            .allows(0),
        case(
            "several",
            "both allow: the first, though its rule has the lower revision",
        )
        .entries([narrow(), with(narrow(), "revision", json!(9))])
        .allows(0),
        case("several", "the first is for another package")
            .entries([entry(&["publish"], &["gadgets"]), narrow()])
            .allows(1),
        case("several", "the same entry twice")
            .entries([narrow(), narrow()])
            .allows(0),
        case("several", "two principals, and the package of the second")
            .entries([of("joel", "joel"), of("mallory", "mallory")])
            .owned_by(&["mallory"])
            .acts(&BOTH)
            .allows(1),
        case("several", "two principals, and both own the package")
            .entries([of("mallory", "mallory"), of("joel", "joel")])
            .owned_by(&["joel", "mallory"])
            .acts(&BOTH)
            .allows(0),
        case("several", "the version of one and the package of another")
            .entries([
                with(entry(&["publish"], &["gadgets"]), "version", json!("1.2.3")),
                with(narrow(), "version", json!("1.2.4")),
            ])
            .denies("version_mismatch"),
        case("several", "ten for others, one for this")
            .entries(
                (0..10)
                    .map(|number| entry(&["publish"], &[&format!("p{number}")]))
                    .chain([narrow()]),
            )
            .allows(10),
    ]
}

/// A new package that an entry of joel lets him create, beside another entry.
fn new(says: &str, entries: [Value; 2]) -> Case {
    case("new", says).new_package().acts(&BOTH).entries(entries)
}

fn joels() -> Value {
    of("joel", "joel")
}

fn mallorys() -> Value {
    of("mallory", "mallory")
}

/// What another principal's entry holds, and whether it makes the owner ambiguous.
fn others() -> Vec<Case> {
    [
        ("may not create", "actions", json!(["publish"]), false),
        ("may create only", "actions", json!(["create"]), true),
        (
            "is for another package",
            "packages",
            json!(["gadgets"]),
            false,
        ),
        ("covers it by a pattern", "packages", json!(["wid*"]), true),
        (
            "would cover it if it were folded",
            "packages",
            json!(["WIDGETS"]),
            false,
        ),
        ("is for another version", "version", json!("9.9.9"), true),
        (
            "is for another artifact",
            "digest",
            json!(OTHER_DIGEST),
            true,
        ),
        ("names the same owner", "owner", json!("joel"), true),
        ("has an unknown member", "until", json!("monday"), false),
        ("has another type", "type", json!("image"), false),
    ]
    .into_iter()
    .map(|(says, member, value, is_ambiguous)| {
        let says = format!("another principal's entry {says}");
        let asked = new(&says, [joels(), with(mallorys(), member, value)]);
        if is_ambiguous {
            asked.denies(AMBIGUOUS)
        } else {
            asked.allows(0)
        }
    })
    .collect()
}

pub(super) fn new_packages() -> Vec<Case> {
    let two = || [joels(), mallorys()];
    let two_owners = || [of("joel", "octo-org"), joels()];
    let old = with(joels(), "version", json!("9.9.9"));
    let older = with(mallorys(), "version", json!("9.9.8"));
    let upper = with(mallorys(), "packages", json!(["WIDGETS"]));
    let cases = vec![
        new("two principals may create it", two()).denies(AMBIGUOUS),
        new("two principals, the other first", [mallorys(), joels()]).denies(AMBIGUOUS),
        new("one principal for two owners: the first", two_owners())
            .acts(&[("joel", "joel"), ("joel", "octo-org")])
            .allows(0),
        new(
            "one principal for two owners, the first of whom is lost",
            two_owners(),
        )
        .allows(1),
        new("another principal may not act for its owner", two())
            .acts(&[("joel", "joel")])
            .denies(AMBIGUOUS),
        new(
            "another principal's pattern covers it when folded",
            [joels(), upper],
        )
        .names("cargo")
        .denies(AMBIGUOUS),
        new(
            "principals that differ in letter case",
            [joels(), of("Joel", "joel")],
        )
        .denies(AMBIGUOUS),
        new(
            "the second allows it, and both may create",
            [old.clone(), mallorys()],
        )
        .denies(AMBIGUOUS),
        new(
            "two principals may create it and neither may this version",
            [old, older],
        )
        .denies("version_mismatch"),
        new(
            "two principals may create it and neither has the action",
            two(),
        )
        .asks("yank", "widgets")
        .denies("action_out_of_scope"),
        new("two principals, and the operation is `create`", two())
            .asks("create", "widgets")
            .denies(AMBIGUOUS),
        new("two principals, but the package exists", two())
            .owned_by(&["joel", "mallory"])
            .existing()
            .allows(0),
        case("new", "three entries of two principals")
            .new_package()
            .acts(&BOTH)
            .entries([joels(), joels(), mallorys()])
            .denies(AMBIGUOUS),
    ];
    [cases, others()].concat()
}

/// Members with values of a form that an entry cannot have.
fn bad_members() -> Vec<(&'static str, Value)> {
    let ground = |kind: &str| json!({ "kind": kind, "id": "fc_2", "revision": 1 });
    let rule = || ground("federated_credential");
    vec![
        ("until", json!("2030-01-01")),
        ("conditions", json!({})),
        ("Packages", json!(["widgets"])),
        ("type", json!(null)),
        ("actions", json!("publish")),
        ("actions", json!(["publish", 1])),
        ("packages", json!("widgets")),
        ("packages", json!({ "widgets": true })),
        ("packages", json!(["widgets", null])),
        ("owner", json!(null)),
        ("owner", json!({ "name": "joel" })),
        ("principal", json!(["joel"])),
        ("credential", json!(1)),
        ("revision", json!("1")),
        ("revision", json!(1.5)),
        ("revision", json!(null)),
        ("locations", json!("https://registry.example/")),
        ("locations", json!([1])),
        ("version", json!(1)),
        ("version", json!(["1.2.3"])),
        ("digest", json!(true)),
        ("rests_on", json!("fc_2")),
        ("rests_on", json!(["fc_2"])),
        ("rests_on", json!([ground("trust_domain")])),
        ("rests_on", json!([rule(), ground("Principal")])),
        ("rests_on", json!([{ "kind": "principal" }])),
        ("rests_on", json!([with(rule(), "until", json!(1))])),
        ("rests_on", json!([with(rule(), "revision", json!("1"))])),
    ]
}

fn good() -> Value {
    entry(&["publish"], &["widgets"])
}

/// Entries that allow nothing; some stand before a good one, which counts none the less.
pub(super) fn malformed() -> Vec<Case> {
    let alone = |says: String, entry: Value| {
        case("form", &says)
            .entries([entry])
            .denies("package_out_of_scope")
    };
    let before = |says: String, entry: Value| {
        case("form", &format!("{says}, and a good entry"))
            .entries([entry, good()])
            .allows(1)
    };
    let members = bad_members()
        .into_iter()
        .enumerate()
        .map(|(number, (member, value))| {
            let says = format!("an entry whose `{member}` is {value}");
            let bad = with(good(), member, value);
            if number % 3 == 0 {
                before(says, bad)
            } else {
                alone(says, bad)
            }
        });
    let required = [
        "type",
        "actions",
        "packages",
        "owner",
        "principal",
        "credential",
        "revision",
        "locations",
    ];
    let missing = required.into_iter().map(|member| {
        let mut bad = good();
        bad.as_object_mut().unwrap().remove(member);
        alone(format!("an entry without `{member}`"), bad)
    });
    let elements = [
        ("null", json!(null)),
        ("a text", json!("widgets")),
        ("a number", json!(1)),
        ("a list", json!([good()])),
        ("an empty object", json!({})),
    ];
    let elements = elements
        .into_iter()
        .map(|(says, element)| before(says.to_owned(), element));
    let kinds = ["image", "Package", "package ", ""].into_iter();
    let kinds = kinds.map(|kind| {
        alone(
            format!("the type `{kind}`"),
            with(good(), "type", json!(kind)),
        )
    });
    let long = "*".repeat(257);
    let patterns = [
        ("a space behind", "widgets "),
        ("a dot behind", "wid*."),
        ("a dot before", ".*"),
        ("257 bytes", &long),
    ];
    let patterns = patterns.into_iter().map(|(says, pattern)| {
        alone(
            format!("a pattern that is none: {says}"),
            entry(&["publish"], &[pattern]),
        )
    });
    members
        .chain(missing)
        .chain(elements)
        .chain(kinds)
        .chain(patterns)
        .collect()
}

/// Entries of an unusual form that count.
pub(super) fn unusual() -> Vec<Case> {
    let rule = json!({ "kind": "federated_credential", "id": "fc_2", "revision": 3 });
    let principal = json!({ "kind": "principal", "id": "pr_2" });
    [
        ("a version of null is none", "version", json!(null)),
        ("a digest of null is none", "digest", json!(null)),
        ("the revision 0", "revision", json!(0)),
        ("the highest revision", "revision", json!(4_294_967_295_i64)),
        (
            "resting on other rules",
            "rests_on",
            json!([rule, principal]),
        ),
        ("resting on nothing", "rests_on", json!([])),
        (
            "patterns that are none beside one that is",
            "packages",
            json!(["", ".a", "a b", "widgets"]),
        ),
    ]
    .into_iter()
    .map(|(says, member, value)| {
        case("form", says)
            .entries([with(good(), member, value)])
            .allows(0)
    })
    .collect()
}
