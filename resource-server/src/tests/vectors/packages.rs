//! Cases of package names and patterns.

use super::decisions::{Case, case, entry};

/// A pattern, a name, and whether the pattern covers the name if nothing is folded.
const GLOBS: [(&str, &str, bool); 37] = [
    ("*", "a", true),
    ("**", "x", true),
    ("a*", "a", true),
    ("a*", "abc", true),
    ("a*", "ba", false),
    ("*c", "abc", true),
    ("*c", "cb", false),
    ("a*c", "abc", true),
    ("a*c", "ac", true),
    ("a*c", "ab", false),
    ("a**c", "abc", true),
    ("a*a", "aa", true),
    ("a*a", "a", false),
    ("ab*ba", "aba", false),
    ("ab*ba", "abba", true),
    ("a*b*c", "a-b-b-c", true),
    ("a*b*c", "a-c-b", false),
    ("*b*", "abc", true),
    ("*b*", "ac", false),
    ("a*b*b", "ab", false),
    ("a*bc*cd", "a-bcd", false),
    ("a*bc*cd", "a-bc-cd", true),
    ("@acme/*", "@acme/ui", true),
    ("@acme/*", "@acme-evil/ui", false),
    ("acme/*", "acme/ui/button", true),
    ("widgets-*", "widgets", false),
    ("widgets-*", "widgetsx", false),
    ("widgets-*", "widgets-", true),
    ("widgets", "widgets-core", false),
    ("widgets", "Widgets", false),
    ("a?c", "abc", false),
    ("a?c", "a?c", true),
    ("[ab]", "a", false),
    ("a.c", "abc", false),
    ("a|b", "a", false),
    ("\\*", "\\x", true),
    ("^widgets$", "widgets", false),
];

/// A mode, a pattern, a name, and whether the pattern covers the name.
const FOLDS: [(&str, &str, &str, bool); 40] = [
    ("ascii_case_insensitive", "Widgets", "wIDGETS", true),
    ("ascii_case_insensitive", "WIDGETS-*", "widgets-core", true),
    ("ascii_case_insensitive", "widgets-*", "WIDGETS-CORE", true),
    ("ascii_case_insensitive", "acme-core", "acme_core", false),
    ("ascii_case_insensitive", "acme.core", "acme-core", false),
    ("ascii_case_insensitive", "k", "\u{212a}", false),
    ("ascii_case_insensitive", "\u{e4}pfel", "\u{c4}pfel", false),
    ("ascii_case_insensitive", "stra\u{df}e", "STRASSE", false),
    ("ascii_case_insensitive", "Acme.*", "acme.core", true),
    ("ascii_case_insensitive", "Acme.*", "acmecore", false),
    ("pep503", "Acme.Core", "acme_core", true),
    ("pep503", "acme-core", "ACME.-_CORE", true),
    ("pep503", "Acme.*", "acme_core", true),
    ("pep503", "Acme.*", "acme-core", true),
    ("pep503", "Acme.*", "acmecore", false),
    ("pep503", "acme--*", "acme-core", true),
    ("pep503", "acme-*", "acme--core", true),
    ("pep503", "*.core", "acme_core", true),
    ("pep503", "*_*", "acme.core", true),
    ("pep503", "a-*-b", "a--b", false),
    ("pep503", "a-*-b", "a-x-b", true),
    ("pep503", "acme-core", "acmecore", false),
    ("pep503", "acme/core", "acme-core", false),
    ("pep503", "acme-core", "acme\u{2010}core", false),
    ("cargo", "serde-json", "serde_json", true),
    ("cargo", "Serde_JSON", "serde-json", true),
    ("cargo", "serde-*", "serde_json", true),
    ("cargo", "serde_*", "SERDE-JSON", true),
    ("cargo", "*-sys", "openssl_sys", true),
    ("cargo", "serde--json", "serde__json", true),
    ("cargo", "serde-json", "serde--json", false),
    ("cargo", "serde-json", "serde.json", false),
    ("cargo", "serde-json", "serdejson", false),
    ("cargo", "a-*-b", "a--b", true),
    ("exact", "acme-core", "acme_core", false),
    ("exact", "acme-core", "acme--core", false),
    ("exact", "Acme-*", "acme-core", false),
    ("exact", "a-*-b", "a--b", true),
    ("exact", "e\u{301}", "\u{e9}", false),
    ("exact", "\u{e9}", "\u{e9}", true),
];

fn covering(group: &str, mode: &str, pattern: &str, name: &str, covers: bool) -> Case {
    let asked = case(group, &format!("`{pattern}` and `{name}`"))
        .names(mode)
        .entries([entry(&["publish"], &[pattern])])
        .asks("publish", name);
    if covers {
        asked.allows(0)
    } else {
        asked.denies("package_out_of_scope")
    }
}

pub(super) fn all() -> Vec<Case> {
    let mut cases: Vec<Case> = GLOBS
        .iter()
        .map(|(pattern, name, covers)| covering("pattern", "exact", pattern, name, *covers))
        .collect();
    let folds = FOLDS
        .iter()
        .map(|(mode, pattern, name, covers)| covering("folding", mode, pattern, name, *covers));
    cases.extend(folds);
    let stars = "a*".repeat(127) + "b";
    cases.push(
        case(
            "pattern",
            "127 stars that do not match, decided without going back",
        )
        .entries([entry(&["publish"], &[&stars])])
        .asks("publish", &"a".repeat(256))
        .denies("package_out_of_scope"),
    );
    // No name of a package: whatever the entry says, it covers none of them.
    for (says, name) in [
        ("a pattern that equals the entry's", "widgets-*"),
        ("a name with a star inside", "widgets-*-core"),
        ("only a star", "*"),
        ("nothing", ""),
        ("a space behind", "widgets-core "),
        ("a line feed behind", "widgets-core\n"),
        ("a dot behind", "widgets-core."),
        ("a dot before", ".widgets-core"),
        ("a control character", "widgets-\u{0}core"),
        ("257 bytes", &("widgets-".to_owned() + &"a".repeat(249))),
    ] {
        cases.push(
            case("name", says)
                .entries([entry(&["publish"], &["widgets-*", "*", name])])
                .asks("publish", name)
                .denies("package_out_of_scope"),
        );
    }
    for mode in ["ascii_case_insensitive", "pep503", "cargo"] {
        cases.push(
            case("name", "a pattern that equals the entry's, folded")
                .names(mode)
                .entries([entry(&["publish"], &["widgets-*"])])
                .asks("publish", "Widgets-*")
                .denies("package_out_of_scope"),
        );
    }
    cases.push(
        case("name", "256 bytes")
            .entries([entry(&["publish"], &["a*"])])
            .asks("publish", &"a".repeat(256))
            .allows(0),
    );
    cases
}
