//! Questions to indexes that answer as the real registries do.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::*;

mod lists;
mod python;

const SHA: &str = "4b1ff6ff0b191431d7a389d5b3e0cf602c106ea4da753e6e0b8b70891bc1d530";
const OTHER: &str = "8798a3eca8aa005bb2d75ecf68c87d086619bb71ebbf1866aafd4fc66ddeee1d";

/// A registry with these documents: status, `Location`, and the body, or the digest of a file.
/// Everything else is not found.
#[derive(Default)]
struct Registry(BTreeMap<String, (u16, Option<String>, String)>);

impl Registry {
    fn with(mut self, url: &str, status: u16, body: &str) -> Self {
        self.0
            .insert(url.to_owned(), (status, None, body.to_owned()));
        self
    }

    fn redirecting(mut self, url: &str, location: &str) -> Self {
        let answer = (303, Some(location.to_owned()), String::new());
        self.0.insert(url.to_owned(), answer);
        self
    }

    fn answer(&self, url: &Url) -> (u16, Option<String>, String) {
        assert!(url.as_str().starts_with("http://registry/base/"), "{url}");
        let mut url = url.clone();
        url.set_fragment(None);
        let missing = || (404, None, "{\"error\":\"not found\"}".to_owned());
        self.0.get(url.as_str()).cloned().unwrap_or_else(missing)
    }
}

impl Ask for Registry {
    async fn get(
        &self,
        url: &Url,
        accept: Option<&str>,
        most_bytes: u64,
    ) -> Result<Answer, Unanswered> {
        let (mut status, location, body) = self.answer(url);
        // So devpi answers at its simple index.
        if accept.is_none() && url.path().contains("simple/") {
            status = 415;
        }
        if status == 0 {
            return Err(Unanswered::Failed("timeout".to_owned()));
        }
        if body.len() as u64 > most_bytes {
            return Err(Unanswered::TooLarge);
        }
        let body = match body.strip_prefix("base64:") {
            Some(body) => STANDARD.decode(body).unwrap(),
            None => body.into_bytes(),
        };
        Ok(Answer {
            status,
            body: body.into(),
            location,
        })
    }

    async fn sha256(&self, url: &Url, _: u64) -> Result<Digested, Unanswered> {
        let (status, _, sha256) = self.answer(url);
        Ok(Digested { status, sha256 })
    }
}

fn index(protocol: Protocol) -> Index {
    let base = Url::parse("http://registry/base").unwrap();
    let bases = Bases {
        upstream: base.clone(),
        public: Url::parse("https://packages.example/").unwrap(),
    };
    Index::new(protocol, bases, &base)
}

async fn existence(protocol: Protocol, registry: &Registry, name: &str) -> String {
    match index(protocol).existence(registry, name).await {
        Ok(existence) => format!("{existence:?}"),
        Err(error) => error.to_string(),
    }
}

async fn held(protocol: Protocol, registry: &Registry, name: &str, file: &str) -> String {
    let published = Published {
        package: name,
        version: "1.0.0",
        file,
        sha256: SHA,
    };
    match index(protocol).held(registry, &published).await {
        Ok(held) => format!("{held:?}"),
        Err(error) => error.to_string(),
    }
}

/// `Exists`, `New` and statuses that are neither, at the document that decides about `name`.
async fn only_not_found_is_new(protocol: Protocol, base: fn() -> Registry, name: &str, url: &str) {
    assert_eq!(existence(protocol, &base(), name).await, "New", "{url}");
    for status in [401, 403, 410, 429, 500, 502, 503] {
        let registry = base().with(url, status, "<html>");
        let said = existence(protocol, &registry, name).await;
        assert_eq!(said, format!("the registry answers {status} at {url}"));
    }
    let page = base().with(url, 200, "<html><a href=\"/login\">Sign in</a></html>");
    let said = existence(protocol, &page, name).await;
    assert!(said.contains("must be"), "{said}");
    let silent = base().with(url, 0, "");
    let said = existence(protocol, &silent, name).await;
    assert!(said.ends_with("timeout"), "{said}");
}

#[tokio::test]
async fn redirects_within_the_registry_are_followed_a_few_times() {
    let page = "http://registry/base/simple/octo/";
    let found = Registry::default()
        .redirecting(page, "https://packages.example/simple/octo/1")
        .with(
            "http://registry/base/simple/octo/1",
            200,
            "<a href=\"octo-1.zip\">",
        );
    assert_eq!(existence(Protocol::Pypi, &found, "octo").await, "Exists");
    let circle = Registry::default().redirecting(page, page);
    let said = existence(Protocol::Pypi, &circle, "octo").await;
    assert!(said.contains("no chain of redirects"), "{said}");
}

#[tokio::test]
async fn verdaccio_has_a_packument_and_the_tarball_is_hashed() {
    let url = "http://registry/base/@octo%2fwidgets";
    only_not_found_is_new(Protocol::Npm, Registry::default, "@octo/widgets", url).await;
    // A proxy's own page says nothing of the package.
    let page = Registry::default().with(url, 404, "<html>404 Not Found</html>");
    let said = existence(Protocol::Npm, &page, "@octo/widgets").await;
    assert!(said.contains("must be"), "{said}");
    let another = Registry::default().with(url, 200, "{\"name\":\"widgets\"}");
    let said = existence(Protocol::Npm, &another, "@octo/widgets").await;
    assert!(
        said.contains("must be the packument of this package"),
        "{said}"
    );

    let with = |tarball: &str, sha256: &str| {
        let packument = format!(
            "{{\"name\":\"@octo/widgets\",\"versions\":{{\"1.0.0\":{{\"dist\":{{\"tarball\":\"{tarball}\",\"shasum\":\"7d469efdbf0a7e32b7026187b1cb8e1c88df5454\"}}}}}}}}"
        );
        Registry::default().with(url, 200, &packument).with(
            "http://registry/base/@octo/widgets/-/widgets-1.0.0.tgz",
            200,
            sha256,
        )
    };
    let ask = async |registry: Registry| {
        held(
            Protocol::Npm,
            &registry,
            "@octo/widgets",
            "widgets-1.0.0.tgz",
        )
        .await
    };
    for host in [
        "http://registry/base",
        "https://packages.example",
        // What a registry believes its own URL to be.
        "http://localhost:4873",
    ] {
        let tarball = format!("{host}/@octo/widgets/-/widgets-1.0.0.tgz");
        assert_eq!(ask(with(&tarball, SHA)).await, "Same", "{host}");
        assert_eq!(ask(with(&tarball, OTHER)).await, "Different", "{host}");
    }
    let older = Registry::default().with(url, 200, "{\"name\":\"@octo/widgets\",\"versions\":{}}");
    assert_eq!(
        existence(Protocol::Npm, &older, "@octo/widgets").await,
        "Exists"
    );
    assert_eq!(ask(older).await, "Absent");
    assert_eq!(ask(Registry::default()).await, "Absent");
    let lost = "{\"name\":\"@octo/widgets\",\"versions\":{\"1.0.0\":{\"dist\":{\"tarball\":\"http://registry/base/x.tgz\"}}}}";
    let said = ask(Registry::default().with(url, 200, lost)).await;
    assert!(said.contains("must be the tarball"), "{said}");
}

#[tokio::test]
async fn a_sparse_index_is_found_by_its_configuration() {
    const CONFIGURATION: &str = r#"{"dl":"http://registry/base/dl","api":"http://registry/base"}"#;
    let base = || {
        // kellnr answers other paths with its web interface.
        Registry::default()
            .with("http://registry/base/index/config.json", 200, "<html>")
            .with(
                "http://registry/base/api/v1/crates/config.json",
                200,
                CONFIGURATION,
            )
    };
    let url = "http://registry/base/api/v1/crates/oc/to/octo-widgets";
    only_not_found_is_new(Protocol::CratesIo, base, "Octo-Widgets", url).await;
    let lines = |version: &str| {
        format!(
            "{{\"name\":\"octo-widgets\",\"vers\":\"0.9.0\",\"deps\":[],\"cksum\":\"{OTHER}\"}}\n{{\"name\":\"octo-widgets\",\"vers\":\"{version}\",\"deps\":[],\"cksum\":\"{SHA}\"}}\n"
        )
    };
    let kellnr = base().with(url, 200, &lines("1.0.0"));
    // The index has one spelling of the name.
    for name in ["octo-widgets", "octo_widgets", "Octo_Widgets"] {
        assert_eq!(existence(Protocol::CratesIo, &kellnr, name).await, "Exists");
        assert_eq!(
            held(
                Protocol::CratesIo,
                &kellnr,
                name,
                "octo-widgets-1.0.0.crate"
            )
            .await,
            "Same"
        );
    }
    // A crate of an older registry may mix them, whatever the new one is spelled like.
    let mixed = "http://registry/base/api/v1/crates/oc/to/octo-my_widgets";
    let line = format!(
        "{{\"name\":\"octo-my_widgets\",\"vers\":\"1.0.0\",\"deps\":[],\"cksum\":\"{SHA}\"}}"
    );
    let mixed = base().with(mixed, 200, &line);
    for name in ["octo-my-widgets", "octo_my-widgets", "Octo_My_Widgets"] {
        assert_eq!(existence(Protocol::CratesIo, &mixed, name).await, "Exists");
    }
    let long = "a-b_c-d_e-f_g-h";
    let said = existence(Protocol::CratesIo, &base(), long).await;
    assert!(
        said.contains("cannot be asked for `a-b_c-d_e-f_g-h`"),
        "{said}"
    );
    let older = base().with(url, 200, &lines("0.9.1"));
    assert_eq!(
        held(Protocol::CratesIo, &older, "octo-widgets", "x").await,
        "Absent"
    );
    let other = base().with(url, 200, &lines("1.0.0").replace(SHA, OTHER));
    assert_eq!(
        held(Protocol::CratesIo, &other, "octo-widgets", "x").await,
        "Different"
    );
    let stranger = base().with(url, 200, &lines("1.0.0").replace("octo-widgets", "serde"));
    let said = existence(Protocol::CratesIo, &stranger, "octo-widgets").await;
    assert!(said.contains("must be the lines of this crate"), "{said}");

    let said = existence(Protocol::CratesIo, &Registry::default(), "octo").await;
    assert!(said.contains("must be the configuration"), "{said}");
    let closed = Registry::default().with("http://registry/base/config.json", 401, "");
    let said = existence(Protocol::CratesIo, &closed, "octo").await;
    assert_eq!(
        said,
        "the registry answers 401 at http://registry/base/config.json"
    );
}

#[tokio::test]
async fn versions_of_a_packument_that_another_one_lacks_are_seen() {
    let versions = r#"{"name":"octo","versions":{"1.0.0":{},"1.1.0":{}}}"#;
    let url = "http://registry/base/octo";
    let npm = Registry::default().with(url, 200, versions);
    let index = index(Protocol::Npm);
    for (kept, expected) in [
        (&["1.0.0", "1.1.0"][..], false),
        (&["1.0.0", "1.1.0", "2.0.0"], false),
        (&["1.0.0"], true),
        (&["2.0.0"], true),
    ] {
        let kept = kept.iter().copied().collect();
        let asked = index.has_other_versions(&npm, "octo", &kept).await;
        assert_eq!(asked, Ok(expected), "{kept:?}");
    }
    let kept = ["1.0.0"].into();
    let nothing = Registry::default();
    let missing = index.has_other_versions(&nothing, "octo", &kept).await;
    assert_eq!(missing, Ok(false));
    let odd = Registry::default().with(url, 200, r#"{"name":"octo"}"#);
    assert!(index.has_other_versions(&odd, "octo", &kept).await.is_err());
}

#[tokio::test]
async fn crates_with_short_names_have_paths_of_their_own() {
    for (name, path) in [("a", "1/a"), ("ab", "2/ab"), ("abc", "3/a/abc")] {
        let line = format!("{{\"name\":\"{name}\",\"vers\":\"1.0.0\",\"cksum\":\"{SHA}\"}}");
        let gitea = Registry::default()
            .with("http://registry/base/config.json", 200, "{\"dl\":\"x\"}")
            .with(&format!("http://registry/base/{path}"), 200, &line);
        assert_eq!(existence(Protocol::CratesIo, &gitea, name).await, "Exists");
    }
}

#[tokio::test]
async fn the_compact_index_has_the_checksums_of_gems() {
    let compact = || {
        let versions = format!(
            "created_at: 2026-11-28T00:00:00Z\n---\n{}",
            "octo 1.0.0 00\n".repeat(200)
        );
        Registry::default().with("http://registry/base/versions", 200, &versions)
    };
    let url = "http://registry/base/info/octo-widgets";
    only_not_found_is_new(Protocol::Rubygems, compact, "octo-widgets", url).await;
    let info = format!(
        "---\n1.0.0 rake:>= 1|checksum:{SHA},ruby:>= 2.5\n1.0.0-java |checksum:{OTHER}\n1.1.0 |ruby:>= 2.5\n"
    );
    let gems = compact().with(url, 200, &info);
    assert_eq!(
        existence(Protocol::Rubygems, &gems, "octo-widgets").await,
        "Exists"
    );
    for (file, expected) in [
        ("octo-widgets-1.0.0.gem", "Same"),
        ("octo-widgets-1.0.0-java.gem", "Different"),
        ("octo-widgets-1.0.gem", "Absent"),
        // No checksum, and no such file.
        ("octo-widgets-1.1.0.gem", "Absent"),
    ] {
        let said = held(Protocol::Rubygems, &gems, "octo-widgets", file).await;
        assert_eq!(said, expected, "{file}");
    }
    let hashed = gems.with("http://registry/base/gems/octo-widgets-1.1.0.gem", 200, SHA);
    let said = held(
        Protocol::Rubygems,
        &hashed,
        "octo-widgets",
        "octo-widgets-1.1.0.gem",
    )
    .await;
    assert_eq!(said, "Same");
    let said = held(
        Protocol::Rubygems,
        &compact(),
        "octo-widgets",
        "octo-widgets-1.0.0.gem",
    )
    .await;
    assert_eq!(said, "Absent");
}

#[tokio::test]
async fn a_gem_is_new_without_the_compact_index_only_if_the_older_api_says_so() {
    let api = "http://registry/base/api/v1/versions/octo.json";
    let older = "http://registry/base/api/v1/dependencies?gems=octo";
    let none = Registry::default();
    let said = existence(Protocol::Rubygems, &none, "octo").await;
    assert!(said.contains("must be the dependencies of a gem"), "{said}");
    // The empty array of Marshal, and one with a hash.
    for (body, expected) in [("base64:BAhbAA==", "New"), ("base64:BAhbBnsA", "Exists")] {
        let registry = Registry::default().with(older, 200, body);
        assert_eq!(
            existence(Protocol::Rubygems, &registry, "octo").await,
            expected
        );
    }
    let versions = format!(
        "[{{\"number\":\"1.0.0\",\"platform\":\"ruby\",\"sha\":\"{SHA}\"}},{{\"number\":\"1.0.0\",\"platform\":\"java\",\"sha\":\"{OTHER}\"}}]"
    );
    let registry = Registry::default().with(api, 200, &versions);
    assert_eq!(
        existence(Protocol::Rubygems, &registry, "octo").await,
        "Exists"
    );
    for (file, expected) in [
        ("octo-1.0.0.gem", "Same"),
        ("octo-1.0.0-java.gem", "Different"),
        ("octo-2.0.0.gem", "Absent"),
    ] {
        assert_eq!(
            held(Protocol::Rubygems, &registry, "octo", file).await,
            expected
        );
    }
    let files = Registry::default().with("http://registry/base/gems/octo-1.0.0.gem", 200, SHA);
    assert_eq!(
        held(Protocol::Rubygems, &files, "octo", "octo-1.0.0.gem").await,
        "Same"
    );
}

fn nuget(content: &str) -> Registry {
    let services = format!(
        "{{\"version\":\"3.0.0\",\"resources\":[{{\"@id\":\"http://registry/base/query\",\"@type\":\"SearchQueryService\"}},{{\"@id\":\"{content}\",\"@type\":\"PackageBaseAddress/3.0.0\"}}]}}"
    );
    Registry::default().with("http://registry/base/index.json", 200, &services)
}

#[tokio::test]
async fn nuget_packages_are_found_by_the_service_index() {
    let base = || nuget("https://packages.example/v3/content");
    let url = "http://registry/base/v3/content/octo.widgets/index.json";
    only_not_found_is_new(Protocol::Nuget, base, "Octo.Widgets", url).await;
    let package = "http://registry/base/v3/content/octo.widgets/1.0.0/octo.widgets.1.0.0.nupkg";
    let with =
        |versions: &str, sha256: &str| base().with(url, 200, versions).with(package, 200, sha256);
    let ask = async |registry: Registry, file: &str| {
        held(Protocol::Nuget, &registry, "Octo.Widgets", file).await
    };
    let file = "Octo.Widgets.1.0.0.nupkg";
    let listed = "{\"versions\":[\"0.9.0-beta\",\"1.0\"]}";
    assert_eq!(
        existence(Protocol::Nuget, &with(listed, SHA), "octo.widgets").await,
        "Exists"
    );
    assert_eq!(ask(with(listed, SHA), file).await, "Same");
    assert_eq!(ask(with(listed, OTHER), file).await, "Different");
    assert_eq!(
        ask(with("{\"versions\":[\"0.9.0\"]}", SHA), file).await,
        "Absent"
    );
    assert_eq!(ask(base(), file).await, "Absent");
    let lost = ask(base().with(url, 200, listed), file).await;
    assert!(lost.contains("must be the package"), "{lost}");
    let symbols = ask(with(listed, SHA), "Octo.Widgets.1.0.0.snupkg").await;
    assert!(symbols.contains("cannot be asked for"), "{symbols}");
}

#[tokio::test]
async fn a_service_index_does_not_lead_out_of_the_registry() {
    for content in [
        "https://api.nuget.org/v3-flatcontainer/",
        "http://registry/based/v3/",
        "http://registry/base/../v3/",
        "http://u@registry/base/v3/",
    ] {
        let said = existence(Protocol::Nuget, &nuget(content), "octo").await;
        assert!(said.contains("leads elsewhere"), "{said}");
    }
    let said = existence(Protocol::Nuget, &Registry::default(), "octo").await;
    assert!(said.contains("must be a service index"), "{said}");
}

#[tokio::test]
async fn names_that_would_be_other_paths_are_not_asked_for() {
    for name in [
        "", "..", "a/../b", "a//b", "a/b/c", "/a", "a?b", "a#b", "a%2fb", "http://x", "a\nb",
        "\u{e9}",
    ] {
        for protocol in Protocol::ALL {
            let said = existence(protocol, &Registry::default(), name).await;
            assert!(said.contains("cannot be asked for"), "{said}");
        }
    }
    let said = existence(Protocol::Pypi, &Registry::default(), "a/b").await;
    assert!(said.contains("cannot be asked for"), "{said}");
}
