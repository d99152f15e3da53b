//! How names and patterns are folded, and which texts are names and patterns.

use serde_json::{Value, json};

use crate::{PackageNames, PackagePattern, is_well_formed_name};

/// Texts and how the modes fold them: `ascii_case_insensitive`, `pep503`, `cargo`.
const FOLDED: [(&str, [&str; 3]); 21] = [
    ("widgets", ["widgets", "widgets", "widgets"]),
    ("Acme.Core", ["acme.core", "acme-core", "acme.core"]),
    ("acme-core", ["acme-core", "acme-core", "acme_core"]),
    ("acme_core", ["acme_core", "acme-core", "acme_core"]),
    ("Acme.-_Core", ["acme.-_core", "acme-core", "acme.__core"]),
    ("a--b", ["a--b", "a-b", "a__b"]),
    ("a__b", ["a__b", "a-b", "a__b"]),
    ("a..b", ["a..b", "a-b", "a..b"]),
    ("-a-", ["-a-", "-a-", "_a_"]),
    ("_", ["_", "-", "_"]),
    (
        "@Acme/UI-Kit",
        ["@acme/ui-kit", "@acme/ui-kit", "@acme/ui_kit"],
    ),
    ("A:B+C~d", ["a:b+c~d", "a:b+c~d", "a:b+c~d"]),
    ("\u{c4}pfel", ["\u{c4}pfel", "\u{c4}pfel", "\u{c4}pfel"]),
    (
        "\u{212a}elvin",
        ["\u{212a}elvin", "\u{212a}elvin", "\u{212a}elvin"],
    ),
    ("D\u{130}L", ["d\u{130}l", "d\u{130}l", "d\u{130}l"]),
    ("a\u{2010}b", ["a\u{2010}b", "a\u{2010}b", "a\u{2010}b"]),
    ("*", ["*", "*", "*"]),
    ("Acme.*", ["acme.*", "acme-*", "acme.*"]),
    ("A-*-B", ["a-*-b", "a-*-b", "a_*_b"]),
    ("a-._*_.-b", ["a-._*_.-b", "a-*-b", "a_._*_._b"]),
    ("*_*", ["*_*", "*-*", "*_*"]),
];

/// Texts that are neither name nor pattern, or odd names: whether each is a name.
const ODD: [(&str, bool, &str); 20] = [
    ("", false, "nothing"),
    (" ", false, "only a space"),
    ("a b", false, "a space inside"),
    (" a", false, "a space before"),
    ("a\t", false, "a tab behind"),
    ("a\n", false, "a line feed behind"),
    ("a\u{a0}b", false, "a no-break space"),
    ("a\u{85}b", false, "a next-line character"),
    ("a\u{3000}b", false, "an ideographic space"),
    ("a\u{0}", false, "a control character"),
    ("a\u{7f}", false, "a delete character"),
    ("a\u{9f}", false, "a control character beyond ASCII"),
    (".a", false, "a dot before"),
    ("a.", false, "a dot behind"),
    (".", false, "only a dot"),
    ("..", false, "only dots"),
    (
        "a\u{feff}b",
        true,
        "a zero-width no-break space is no white space",
    ),
    ("a\u{200b}b", true, "a zero-width space is no white space"),
    (
        "a/../b",
        true,
        "a registry has to refuse paths by rules of its own",
    ),
    ("%2e", true, "nothing is decoded"),
];

fn mode(name: &str) -> PackageNames {
    serde_json::from_value(json!(name)).unwrap()
}

fn folded(number: usize, text: &str, names: &str, form: &str) -> Value {
    json!({
        "id": format!("names/{names}-{number}"), "package_names": names, "text": text, "folded": form,
        "is_name": !text.contains('*'), "is_pattern": true,
    })
}

fn odd(id: &str, says: &str, text: &str, is_name: bool) -> Value {
    json!({
        "id": id, "says": says, "package_names": "exact", "text": text, "folded": text,
        "is_name": is_name, "is_pattern": is_name,
    })
}

pub(super) fn all() -> Vec<Value> {
    let mut cases = Vec::new();
    for (number, (text, [ascii, pep503, cargo])) in FOLDED.iter().enumerate() {
        cases.push(folded(number, text, "exact", text));
        cases.push(folded(number, text, "ascii_case_insensitive", ascii));
        cases.push(folded(number, text, "pep503", pep503));
        cases.push(folded(number, text, "cargo", cargo));
    }
    for (number, (text, is_name, says)) in ODD.iter().enumerate() {
        cases.push(odd(&format!("names/form-{number}"), says, text, *is_name));
    }
    let long = [
        ("256 bytes", "a".repeat(256), true),
        ("257 bytes", "a".repeat(257), false),
        ("128 characters of 256 bytes", "\u{e9}".repeat(128), true),
        ("129 characters of 258 bytes", "\u{e9}".repeat(129), false),
    ];
    for (number, (says, text, is_name)) in long.iter().enumerate() {
        cases.push(odd(&format!("names/length-{number}"), says, text, *is_name));
    }
    cases
}

#[test]
fn new_a18__names_and_patterns_are_folded_as_the_vectors_say() {
    for case in all() {
        let text = case["text"].as_str().unwrap();
        let names = mode(case["package_names"].as_str().unwrap());
        assert_eq!(
            names.normalise(text),
            case["folded"].as_str().unwrap(),
            "{case}"
        );
        assert_eq!(is_well_formed_name(text), case["is_name"], "{case}");
        assert_eq!(
            PackagePattern::check(text).is_ok(),
            case["is_pattern"],
            "{case}"
        );
    }
}
