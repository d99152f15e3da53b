//! Lists of owners.

use super::*;

async fn owners(protocol: Protocol, registry: &Registry, name: &str) -> String {
    match index(protocol).owners(registry, name).await {
        Ok(Some(logins)) => logins.into_iter().collect::<Vec<_>>().join(" "),
        Ok(None) => "None".to_owned(),
        Err(error) => error.to_string(),
    }
}

#[tokio::test]
async fn each_protocol_has_its_list_at_a_place_of_its_own() {
    let registry = Registry::default()
        .with(
            "http://registry/base/api/v1/crates/octo-widgets/owners",
            200,
            r#"{"users":[{"id":1,"login":"joel"}]}"#,
        )
        .with(
            "http://registry/base/api/v1/gems/octo-widgets/owners.json",
            200,
            r#"[{"id":1,"handle":"ann"}]"#,
        )
        .with(
            "http://registry/base/-/package/octo-widgets/collaborators",
            200,
            r#"{"bob":"write"}"#,
        )
        .with(
            "http://registry/base/-/package/@octo%2fwidgets/collaborators",
            200,
            r#"{"octo":"read-write","acme":"read-write"}"#,
        );
    for (protocol, name, expected) in [
        (Protocol::CratesIo, "octo-widgets", "joel"),
        (Protocol::Rubygems, "octo-widgets", "ann"),
        (Protocol::Npm, "octo-widgets", "bob"),
        (Protocol::Npm, "@octo/widgets", "acme octo"),
        (Protocol::Npm, "gadgets", "None"),
    ] {
        assert_eq!(owners(protocol, &registry, name).await, expected, "{name}");
    }
    for protocol in [Protocol::Pypi, Protocol::Nuget] {
        let said = owners(protocol, &registry, "octo").await;
        assert!(said.ends_with("have no lists of owners"), "{said}");
    }
    let said = owners(Protocol::CratesIo, &registry, "../../octo").await;
    assert!(said.contains("cannot be asked for"), "{said}");
}

#[tokio::test]
async fn an_answer_that_is_no_list_names_nobody() {
    let url = "http://registry/base/api/v1/crates/octo/owners";
    let ask = async |registry: Registry| owners(Protocol::CratesIo, &registry, "octo").await;
    for status in [401, 403, 410, 429, 500, 503] {
        let said = ask(Registry::default().with(url, status, "{\"users\":[]}")).await;
        assert_eq!(said, format!("the registry answers {status} at {url}"));
    }
    let said = ask(Registry::default().with(url, 200, "<html>Sign in")).await;
    assert!(said.ends_with("must be a list of owners"), "{said}");
    let padded = |spaces: usize| {
        let list = format!(
            "{{\"users\":[{{\"login\":\"joel\"}}]{}}}",
            " ".repeat(spaces)
        );
        Registry::default().with(url, 200, &list)
    };
    assert_eq!(ask(padded(1_000_000)).await, "joel");
    let said = ask(padded(1024 * 1024)).await;
    assert!(said.ends_with("the answer is too large"), "{said}");
    let said = ask(Registry::default().with(url, 0, "")).await;
    assert!(said.ends_with("timeout"), "{said}");
}

#[tokio::test]
async fn a_list_is_followed_within_the_registry_alone() {
    let url = "http://registry/base/api/v1/crates/octo/owners";
    let list = r#"{"users":[{"login":"joel"}]}"#;
    let inside = Registry::default()
        .redirecting(url, "/base/owners/octo")
        .with("http://registry/base/owners/octo", 200, list);
    assert_eq!(owners(Protocol::CratesIo, &inside, "octo").await, "joel");
    for away in ["http://evil/base/owners", "/login", "//evil/"] {
        let registry = Registry::default().redirecting(url, away);
        let said = owners(Protocol::CratesIo, &registry, "octo").await;
        assert!(said.contains("leads elsewhere"), "{said}");
    }
}
