//! What is read of real registries, and no other spelling of it.

use proptest::prelude::*;

use super::InvalidPathPattern::{Braces, Relative, Spelling, Star};
use super::*;

fn allows(protocol: Protocol, path: &str) -> bool {
    Reads::new(protocol, []).allow(path)
}

#[test]
fn every_row_of_the_tables_is_a_pattern() {
    for protocol in Protocol::ALL {
        for row in table::of(protocol) {
            assert!(row.parse::<PathPattern>().is_ok(), "{row}");
        }
        let read = Reads::new(protocol, []).patterns.len();
        assert_eq!(read, table::of(protocol).len());
    }
}

#[test]
fn what_the_tools_read_is_allowed() {
    let read: [(Protocol, &[&str]); 5] = [
        (
            Protocol::Pypi,
            &[
                "/simple/",
                "/simple/octo-widgets/",
                "/packages/octo_widgets-1.0.0-py3-none-any.whl",
                "/packages/octo-widgets/1.0%2Blocal/octo_widgets-1.0+local.tar.gz",
                "/packages/ab/cd/0123/octo_widgets-1.0.0.tar.gz",
                "/octo-widgets/1.0.0/octo_widgets-1.0.0-py3-none-any.whl",
                "/octo-widgets/1.0.0/octo_widgets-1.0.0-py3-none-any.whl.metadata",
                "/+simple/octo-widgets/",
                "/+f/4b1/ff6ff0b191431/octo_widgets-1.0.0-py3-none-any.whl",
                "/files/octo-widgets/1.0.0/octo_widgets-1.0.0.tar.gz",
            ],
        ),
        (
            Protocol::Npm,
            &[
                "/widgets",
                "/@octo%2fwidgets",
                "/@octo%2Fwidgets",
                "/%40octo%2fwidgets",
                "/@octo/widgets",
                "/@octo/widgets/1.0.0",
                "/widgets/-/widgets-1.0.0.tgz",
                "/@octo/widgets/-/widgets-1.0.0.tgz",
                "/@octo/widgets/-/@octo/widgets-1.0.0.tgz",
                "/@octo%2fwidgets/-/1.0.0/widgets-1.0.0.tgz",
                "/-/package/@octo%2fwidgets/dist-tags",
                "/-/v1/search",
                "/-/ping",
                "/-/whoami",
                "/-/npm/v1/attestations/@octo%2fwidgets@1.0.0",
            ],
        ),
        (
            Protocol::CratesIo,
            &[
                "/index/config.json",
                "/index/oc/to/octo-widgets",
                "/config.json",
                "/oc/to/octo-widgets",
                "/3/a/abc",
                "/1/a",
                "/api/v1/crates/config.json",
                "/api/v1/crates/oc/to/octo-widgets",
                "/api/v1/crates/dl/octo-widgets/1.0.0/download",
                "/api/v1/crates/octo-widgets/1.0.0/download",
                "/api/v1/crates",
            ],
        ),
        (
            Protocol::Nuget,
            &[
                "/v3/index.json",
                "/index.json",
                "/v3/package/octo.widgets/index.json",
                "/v3/package/octo.widgets/1.0.0/octo.widgets.1.0.0.nupkg",
                "/package/octo.widgets/1.0.0/octo.widgets.1.0.0.nupkg",
                "/registration/octo.widgets/index.json",
                "/query",
                "/api/v2/Packages(Id='Octo.Widgets',Version='1.0.0')",
                "/api/v2/FindPackagesById()",
                "/api/v2/package/Octo.Widgets/1.0.0",
                "/Packages(Id='Octo.Widgets',Version='1.0.0')",
                "/Packages()",
            ],
        ),
        (
            Protocol::Rubygems,
            &[
                "/",
                "/versions",
                "/names",
                "/info/octo-widgets",
                "/specs.4.8.gz",
                "/quick/Marshal.4.8/octo-widgets-1.0.0.gemspec.rz",
                "/gems/octo-widgets-1.0.0.gem",
                "/api/v1/dependencies",
                "/api/v1/versions/octo-widgets.json",
            ],
        ),
    ];
    for (protocol, paths) in read {
        for path in paths {
            assert!(allows(protocol, path), "{protocol:?} {path}");
        }
    }
}

#[test]
fn other_parts_of_the_registries_are_not_read() {
    for (protocol, path) in [
        (Protocol::Pypi, "/"),
        (Protocol::Pypi, "/+login"),
        (Protocol::Pypi, "/simple/a/b"),
        (Protocol::Npm, "/"),
        (Protocol::Npm, "/-/npm/v1/tokens"),
        (Protocol::Npm, "/-/user/token/abc"),
        (Protocol::Npm, "/-/verdaccio/data/packages"),
        (Protocol::Npm, "/-"),
        (Protocol::Npm, "/-/all/"),
        (Protocol::CratesIo, "/api/v1/ui/settings"),
        (Protocol::CratesIo, "/api/v1/version"),
        (Protocol::CratesIo, "/me"),
        (Protocol::Nuget, "/service/rest/v1/security/users"),
        (Protocol::Nuget, "/api/v1/thing"),
        (Protocol::Rubygems, "/api/v1/api_key"),
        (Protocol::Rubygems, "/info/"),
        (Protocol::Rubygems, "/info/a/b"),
        (Protocol::Rubygems, "/api/v1/versions/.json"),
    ] {
        assert!(!allows(protocol, path), "{protocol:?} {path}");
    }
}

#[test]
fn a_slash_is_encoded_in_the_name_of_an_npm_package_only() {
    for path in [
        "/simple/a%2fb/",
        "/packages/a%2Fb",
        "/packages/@octo%2fwidgets",
    ] {
        assert!(!allows(Protocol::Pypi, path), "{path}");
    }
    for path in [
        "/octo%2fwidgets",
        "/@octo%2f",
        "/@%2fwidgets",
        "/@octo%2f..",
        "/@octo%2fa%2fb",
        "/@octo%2f%61",
        "/@..%2fwidgets",
        "/widgets/-/a%2fb.tgz",
    ] {
        assert!(!allows(Protocol::Npm, path), "{path}");
    }
}

#[test]
fn the_operator_adds_patterns_of_the_same_syntax() {
    let more = [
        "/pkg/{}-{}",
        "/docs/**/x",
        "docs",
        "/a/{",
        "/a/*",
        "/a//b",
        "/a/../b",
        "/a?b",
        "/a%2e",
        "/{2}x",
        "/a b",
    ];
    let errors: Vec<_> = more.map(|text| text.parse::<PathPattern>().err()).into();
    let expected = [
        Braces, Star, Relative, Braces, Star, Spelling, Spelling, Spelling, Spelling, Braces,
        Spelling,
    ];
    assert_eq!(errors, expected.map(Some));
    for error in [Braces, Star, Relative, Spelling] {
        assert!(error.to_string().contains(" must "), "{error}");
    }

    let pattern: PathPattern = "/docs/**".parse().unwrap();
    assert_eq!(pattern.to_string(), "/docs/**");
    let reads = Reads::new(Protocol::Pypi, [pattern]);
    assert!(reads.allow("/docs/a/b.html"));
    assert!(reads.allow("/docs/"));
    assert!(!reads.allow("/docs"));
    assert!(!reads.allow("/docs/../secret"));
    assert!(reads.allow("/simple/"));
}

/// A path that some pattern allows, cut at its slashes.
fn allowed_path() -> impl Strategy<Value = (Protocol, String)> {
    let rows: Vec<(Protocol, &str)> = Protocol::ALL
        .into_iter()
        .flat_map(|protocol| table::of(protocol).iter().map(move |row| (protocol, *row)))
        .collect();
    (proptest::sample::select(rows), "[a-z][a-z0-9_.-]{0,8}[a-z]").prop_map(
        |((protocol, row), name)| {
            let path = row.replace("{}", &name).replace("{2}", "se");
            (protocol, path.replace("**", &format!("{name}/{name}")))
        },
    )
}

proptest! {
    #[test]
    fn no_pattern_allows_an_odd_spelling(
        (protocol, path) in allowed_path(),
        odd in proptest::sample::select(vec![
            "//", "/./", "/../", "/.../", "/%2e%2e/", "/%2E/", ".%2e/", ";", "/..;/", "%3b", "%5c", "\\", "%00", "%0a", "\n",
            "\u{7f}", "%7f", "%25", "%252e", "%c0%ae", "%zz", "%g", "?", "#", "%3f", "%23", " ", "\u{e9}", "/%2e",
        ]),
        place in any::<proptest::sample::Index>(),
        everything in any::<bool>(),
    ) {
        prop_assert!(allows(protocol, &path), "{path}");
        let more: Option<PathPattern> = everything.then(|| "/**".parse().unwrap());
        let reads = Reads::new(protocol, more);
        let (start, end) = path.split_at(place.index(path.len()));
        let spelled = format!("{start}{odd}{end}");
        prop_assert!(!reads.allow(&spelled), "{spelled}");
        let slash = format!("{start}/x%2f{end}");
        prop_assert!(!reads.allow(&slash), "{slash}");
    }
}
