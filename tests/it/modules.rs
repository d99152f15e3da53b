//! The layout of the source: what depends on what, and the hops of a token request that the book lists.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::documents::{files, read};

/// Folders of crates whose modules depend on each other in one direction.
const CRATES: [&str; 2] = ["src", "engine/src"];

/// The modules that each module of a crate names in a path, tests excluded.
fn dependencies(sources: &str) -> BTreeMap<String, BTreeSet<String>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join(sources);
    let module = |path: &Path| {
        let first = path
            .strip_prefix(&root)
            .unwrap()
            .components()
            .next()
            .unwrap()
            .as_os_str()
            .to_string_lossy()
            .into_owned();
        first.trim_end_matches(".rs").to_owned()
    };
    let is_test = |path: &Path| {
        let mut parts = path.components().map(std::path::Component::as_os_str);
        parts.any(|part| part == "tests" || part == "tests.rs")
    };
    let sources: Vec<(String, String)> = files(sources, ".rs")
        .into_iter()
        .filter(|path| !is_test(path.strip_prefix(&root).unwrap()))
        .map(|path| (module(&path), std::fs::read_to_string(&path).unwrap()))
        .filter(|(module, _)| module != "lib" && module != "main")
        .collect();
    let modules: BTreeSet<String> = sources.iter().map(|(module, _)| module.clone()).collect();
    let mut graph: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (module, text) in &sources {
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap();
        let lines = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let code = lines.collect::<Vec<_>>().join("\n");
        assert!(
            !code.contains("use crate::{"),
            "{module}: one import a module, so that this test sees it"
        );
        let named = code.split("crate::").skip(1).filter_map(|rest| {
            let end = rest.find(|c: char| !(c.is_ascii_lowercase() || c == '_'))?;
            Some(rest[..end].to_owned())
        });
        let others = named.filter(|name| name != module && modules.contains(name));
        graph.entry(module.clone()).or_default().extend(others);
    }
    graph
}

#[test]
fn review_2__modules_have_no_cyclic_dependencies() {
    for sources in CRATES {
        let graph = dependencies(sources);
        assert!(
            graph.len() > 10 && graph.values().any(|others| others.len() > 3),
            "{graph:?}"
        );
        assert_no_cycle(graph);
    }
}

/// What depends on nothing that is left is taken away; a cycle stays.
fn assert_no_cycle(mut graph: BTreeMap<String, BTreeSet<String>>) {
    loop {
        let free: Vec<String> = graph
            .iter()
            .filter(|(_, others)| others.is_empty())
            .map(|(module, _)| module.clone())
            .collect();
        if free.is_empty() {
            break;
        }
        for module in &free {
            graph.remove(module);
        }
        for others in graph.values_mut() {
            others.retain(|other| !free.contains(other));
        }
    }
    assert!(
        graph.is_empty(),
        "modules that depend on each other: {graph:#?}"
    );
}

#[test]
fn review_2__decision_modules_do_not_depend_on_server_modules() {
    let graph = dependencies("src");
    for module in ["client", "own_tokens", "upstream", "token"] {
        for outer in ["app", "http", "grant", "admin", "command", "explain"] {
            assert!(!graph[module].contains(outer), "{module} names {outer}");
        }
    }
    // The web framework stays in http and in the commands that speak or serve it.
    for path in files("src", ".rs") {
        let name = path
            .strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(
            !text.contains("axum::") || name.starts_with("http/") || name.starts_with("command/"),
            "{name} names axum"
        );
    }
}

/// The crates that a package of the workspace is built from, with its default features.
fn crates_of(package: &str) -> BTreeSet<String> {
    let tree = std::process::Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--package",
            package,
        ])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    let tree = String::from_utf8(tree.stdout).unwrap();
    let crates: BTreeSet<String> = tree
        .lines()
        .filter_map(|line| line.split(' ').next())
        .map(str::to_owned)
        .collect();
    assert!(
        crates.contains(package) && crates.contains("serde_json"),
        "{crates:?}"
    );
    crates
}

#[test]
fn review_2__the_engine_needs_no_network_database_or_openssl_crates() {
    for pure in ["carnet-engine", "carnet-access", "carnet-publish-protocols"] {
        let crates = crates_of(pure);
        for foreign in [
            "tokio",
            "axum",
            "hyper",
            "sea-orm",
            "sqlx",
            "reqwest",
            "openssl",
            "openssl-sys",
            "josekit",
            "native-tls",
        ] {
            assert!(!crates.contains(foreign), "{pure} needs {foreign}");
        }
    }
}

/// The feature `rpki` brings a second one, which takes minutes to compile.
#[test]
fn without_a_feature_the_server_has_one_library_for_cryptography() {
    let crates = crates_of("carnet");
    assert!(crates.contains("openssl-sys"));
    for other in ["aws-lc-rs", "aws-lc-sys", "ring", "rustls", "rpki", "bcder"] {
        assert!(!crates.contains(other), "{other}");
    }
}

#[test]
fn review_1__the_book_lists_the_hops_of_a_token_request() {
    let page = read("docs/src/development/layout.md");
    let section = page
        .split("## The hops of a token request")
        .nth(1)
        .expect("the section")
        .split("\n## ")
        .next()
        .unwrap();
    let rows = section
        .lines()
        .filter(|line| line.starts_with("| ") && !line.starts_with("| hop"));
    let hops: Vec<Vec<&str>> = rows
        .map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect();
    assert!((8..=15).contains(&hops.len()), "{} hops", hops.len());
    for (at, hop) in hops.iter().enumerate() {
        let [number, place, function, made] = hop.as_slice() else {
            panic!("{hop:?}")
        };
        assert_eq!(*number, (at + 1).to_string());
        let source = read(place.trim_matches('`'));
        let function = function.trim_matches('`');
        assert!(
            source.contains(&format!("fn {function}("))
                || source.contains(&format!("fn {function}<")),
            "{place} has no {function}"
        );
        // What a hop makes is a type of ours, and the hop's file names it.
        for name in made
            .split(", ")
            .map(|name| name.trim_matches('`'))
            .filter(|name| *name != "-")
        {
            assert!(source.contains(name), "{place} does not name {name}");
        }
    }
    // The steps that the pipeline names are hops of the list, in its order.
    let steps = [
        "decision_context",
        "authenticate",
        "admit",
        "verify",
        "decide",
        "mint",
        "commit",
    ];
    let mut at = 0;
    for step in steps {
        at += hops[at..]
            .iter()
            .position(|hop| hop[2].trim_matches('`') == step)
            .unwrap_or_else(|| panic!("{step}"))
            + 1;
    }
}
