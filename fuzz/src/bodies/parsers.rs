//! Texts that anybody may send: JWTs and package names.

use arbitrary::Unstructured;
use carnet_access::{PackageNames, PackagePattern, PackageSet, is_well_formed_name};
use carnet_engine::assertion::UnverifiedAssertion;
use carnet_jose::{Compact, base64url};

/// A compact JWS that is accepted is made of exactly its three parts, and cannot be an assertion if it is none.
pub fn jwt(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else {
        return;
    };
    let parsed = Compact::parse(text);
    let is_assertion = UnverifiedAssertion::parse(text).is_ok();
    let Ok(jws) = parsed else {
        assert!(!is_assertion, "an assertion that is no JWS");
        return;
    };
    let again = format!("{}.{}", jws.signing_input, base64url(&jws.signature));
    assert_eq!(again, text, "a JWS has one spelling");
    if is_assertion {
        assert!(jws.claims().is_ok(), "an assertion without claims");
    }
}

/// Patterns cover what a simple matcher says they cover, by themselves and in a set.
pub fn package_names(input: &[u8]) {
    let mut input = Unstructured::new(input);
    let Ok((first, second, name)) = input.arbitrary::<(String, String, String)>() else {
        return;
    };
    for names in [
        PackageNames::Exact,
        PackageNames::AsciiCaseInsensitive,
        PackageNames::Pep503,
        PackageNames::Cargo,
    ] {
        let covers = |text: &String| {
            let pattern = PackagePattern::try_from(text.clone()).ok()?;
            let (text, of_name) = (names.normalise(text), names.normalise(&name));
            let expected =
                is_well_formed_name(&name) && matches(text.as_bytes(), of_name.as_bytes());
            assert_eq!(
                pattern.covers(&name, names),
                expected,
                "{pattern} {name} {names:?}"
            );
            Some(expected)
        };
        let either = [covers(&first), covers(&second)].contains(&Some(true));
        let set = PackageSet::new([first.as_str(), second.as_str()], names);
        if is_well_formed_name(&name) {
            assert_eq!(
                set.permits(&name),
                either,
                "{first} {second} {name} {names:?}"
            );
        }
        assert_eq!(
            names.normalise(&names.normalise(&name)),
            names.normalise(&name)
        );
    }
}

/// Whether a text fits a pattern in which `*` is any run of characters: by the definition, a position at a time.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    // Whether the pattern up to here fits the first bytes of the text, for every number of them.
    let mut fits: Vec<bool> = (0..=text.len()).map(|length| length == 0).collect();
    for byte in pattern {
        let mut next = vec![false; fits.len()];
        for length in 0..fits.len() {
            next[length] = if *byte == b'*' {
                fits[length] || (length > 0 && next[length - 1])
            } else {
                length > 0 && fits[length - 1] && text[length - 1] == *byte
            };
        }
        fits = next;
    }
    fits[text.len()]
}
