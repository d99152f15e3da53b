//! Indexes of Python, as pypiserver and devpi answer.

use super::*;

const WHEEL: &str = "octo_widgets-1.0.0-py3-none-any.whl";

#[tokio::test]
async fn pypiserver_links_files_with_their_digest_and_redirects_what_it_has_not() {
    let page = "http://registry/base/simple/octo-widgets/";
    only_not_found_is_new(Protocol::Pypi, Registry::default, "Octo.Widgets", page).await;
    let link = |digest: &str| {
        let html =
            format!("<!DOCTYPE html>\n<a href=\"../../packages/{WHEEL}#{digest}\">{WHEEL}</a><br>");
        Registry::default().with(page, 200, &html)
    };
    let same = link(&format!("sha256={SHA}"));
    assert_eq!(
        existence(Protocol::Pypi, &same, "octo_widgets").await,
        "Exists"
    );
    for (registry, file, expected) in [
        (same, WHEEL, "Same"),
        (link(&format!("sha256={OTHER}")), WHEEL, "Different"),
        (
            link(&format!("sha256={SHA}")),
            "octo_widgets-1.0.0.tar.gz",
            "Absent",
        ),
        // Without a SHA-256 the file is hashed.
        (
            link("md5=00").with(&format!("http://registry/base/packages/{WHEEL}"), 200, SHA),
            WHEEL,
            "Same",
        ),
        (Registry::default(), WHEEL, "Absent"),
    ] {
        let said = held(Protocol::Pypi, &registry, "Octo.Widgets", file).await;
        assert_eq!(said, expected);
    }
    let fallback = Registry::default().redirecting(page, "https://pypi.org/simple/octo-widgets/");
    assert_eq!(
        existence(Protocol::Pypi, &fallback, "octo-widgets").await,
        "New"
    );
    assert_eq!(
        held(Protocol::Pypi, &fallback, "octo-widgets", WHEEL).await,
        "Absent"
    );
    // A login page, or the registry itself by https, says nothing of the project.
    for elsewhere in [
        "https://login.example/?next=/simple/octo-widgets/",
        "https://login.example/simple/other/",
        "https://registry/base/simple/octo-widgets/",
        "https://packages.example:8443/simple/octo-widgets/",
    ] {
        let registry = Registry::default().redirecting(page, elsewhere);
        let said = existence(Protocol::Pypi, &registry, "octo-widgets").await;
        assert!(said.contains("leads elsewhere"), "{elsewhere}: {said}");
    }
}

#[tokio::test]
async fn a_page_that_is_not_found_says_nothing_without_a_simple_index() {
    let pages = || {
        let missing = "<!DOCTYPE html><title>404</title>";
        Registry::default()
            .with("http://registry/base/simple/octo/", 404, missing)
            .with("http://registry/base/+simple/octo/", 404, "")
    };
    let said = existence(Protocol::Pypi, &pages(), "octo").await;
    assert!(said.contains("must be a simple index"), "{said}");
    for (place, body) in [
        (
            "simple",
            "<html><title>Simple Index</title></html>".to_owned(),
        ),
        ("+simple", "<a href=\"x/\">x</a>".repeat(100)),
    ] {
        let url = format!("http://registry/base/{place}/");
        let registry = pages().with(&url, 200, &body);
        assert_eq!(existence(Protocol::Pypi, &registry, "octo").await, "New");
    }
    let closed = pages().with("http://registry/base/simple/", 401, "");
    let said = existence(Protocol::Pypi, &closed, "octo").await;
    assert!(said.starts_with("the registry answers 401"), "{said}");
}

#[tokio::test]
async fn devpi_has_its_index_elsewhere_and_in_json() {
    let page = "http://registry/base/+simple/octo-widgets/";
    let json = format!(
        "{{\"meta\":{{\"api-version\":\"1.0\"}},\"name\":\"octo-widgets\",\"files\":[{{\"filename\":\"{WHEEL}\",\"url\":\"../../+f/4b1/{WHEEL}\",\"hashes\":{{\"sha256\":\"{SHA}\"}},\"requires-python\":\"\"}}]}}"
    );
    let devpi = Registry::default().with(page, 200, &json);
    assert_eq!(
        existence(Protocol::Pypi, &devpi, "octo.widgets").await,
        "Exists"
    );
    assert_eq!(
        held(Protocol::Pypi, &devpi, "octo.widgets", WHEEL).await,
        "Same"
    );
    // To its page without the slash, or with another spelling of the name.
    let spelled = Registry::default()
        .redirecting(page, "http://registry/base/+simple/octo-widgets")
        .with("http://registry/base/+simple/octo-widgets", 200, &json);
    assert_eq!(
        existence(Protocol::Pypi, &spelled, "octo-widgets").await,
        "Exists"
    );
    let elsewhere = json
        .replace("../../+f", "https://cdn.example/f")
        .replace("sha256", "md5");
    let devpi = Registry::default()
        .redirecting(
            "http://registry/base/simple/octo-widgets/",
            "/base/+simple/octo-widgets/",
        )
        .with(page, 200, &elsewhere);
    let said = held(Protocol::Pypi, &devpi, "octo.widgets", WHEEL).await;
    assert!(
        said.contains("leads elsewhere, to https://cdn.example/f"),
        "{said}"
    );
    let empty = Registry::default().with(page, 200, "{\"name\":\"octo-widgets\",\"files\":[]}");
    assert_eq!(
        existence(Protocol::Pypi, &empty, "octo-widgets").await,
        "New"
    );
}
