//! What was published is found again, in the index that the installer of the protocol reads.

use carnet_stand_ins::Protocol;
use flate2::read::ZlibDecoder;
use reqwest::StatusCode;
use serde_json::json;

use crate::support::{OPAQUE, Sample, Served};

#[tokio::test]
async fn generic_versions_are_listed_with_their_owner() {
    let registry = Served::start(Protocol::Generic).await;
    registry.publish().await;
    let shown = json!({ "name": "octo-widgets", "owner": "octo", "versions": ["1.0.0"] });
    assert_eq!(registry.json("/packages/octo-widgets").await, shown);
}

#[tokio::test]
async fn pypi_lists_the_file_of_uv_as_html_and_as_json() {
    let registry = Served::start(Protocol::Pypi).await;
    assert_eq!(
        registry.get("/simple/octo-widgets/").await.status(),
        StatusCode::NOT_FOUND
    );
    registry.publish().await;
    let sample = Sample::of(Protocol::Pypi);

    let file = "octo_widgets-1.0.0-py3-none-any.whl";
    let url = format!("{}/packages/octo-widgets/{file}", registry.url);
    let page = registry.text("/simple/octo-widgets/").await;
    let link = format!(
        "<a href=\"{url}#sha256={}\" data-requires-python=\"&gt;=3.8\">{file}</a>",
        sample.sha256
    );
    assert!(page.contains(&link), "{page}");
    registry.has_the_file_at(&url).await;

    let accept = "application/vnd.pypi.simple.v1+json";
    let request = registry
        .request("GET", "/simple/Octo.Widgets/")
        .header("accept", accept);
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], accept);
    let index: serde_json::Value = answer.json().await.unwrap();
    let entry = json!({
        "filename": file, "url": url, "hashes": { "sha256": sample.sha256 }, "requires-python": ">=3.8",
    });
    assert_eq!(index["files"], json!([entry]));
    assert!(registry.text("/simple/").await.contains("octo-widgets/"));
}

#[tokio::test]
async fn npm_has_the_version_with_its_tarball_and_tags() {
    let registry = Served::start(Protocol::Npm).await;
    let missing = registry.get("/@octo%2fwidgets").await;
    assert_eq!(missing.status(), StatusCode::NOT_FOUND);
    assert_eq!(
        missing.json::<serde_json::Value>().await.unwrap()["error"],
        "Not found"
    );
    registry.publish().await;

    let packument = registry.json("/@octo%2fwidgets").await;
    assert_eq!(packument, registry.json("/@octo/widgets").await);
    assert_eq!(packument["name"], "@octo/widgets");
    assert_eq!(packument["dist-tags"], json!({ "latest": "1.0.0" }));
    let version = &packument["versions"]["1.0.0"];
    assert_eq!(version["main"], "index.js");
    assert_eq!(
        version["dist"]["shasum"],
        "7d469efdbf0a7e32b7026187b1cb8e1c88df5454"
    );
    registry
        .has_the_file_at(version["dist"]["tarball"].as_str().unwrap())
        .await;

    let visibility = registry.json("/-/package/@octo%2fwidgets/visibility").await;
    assert_eq!(visibility, json!({ "public": false }));
}

#[tokio::test]
async fn npm_points_tags_only_at_versions_that_exist() {
    let registry = Served::start(Protocol::Npm).await;
    registry.publish().await;
    let token = registry.token(&[crate::support::entry(&["@octo/*"], &["publish"])]);
    let change = async |method: &str, tag: &str, version: &str| {
        let path = format!("/-/package/@octo%2fwidgets/dist-tags/{tag}");
        let request = registry.request(method, &path).bearer_auth(&token);
        let request = request.header("content-type", "application/json");
        let request = match version {
            "" => request,
            version => request.body(format!("\"{version}\"")),
        };
        request.send().await.unwrap().status()
    };
    assert_eq!(change("PUT", "next", "1.0.0").await, StatusCode::CREATED);
    assert_eq!(
        change("PUT", "next", "2.0.0").await,
        StatusCode::BAD_REQUEST
    );
    let tags = "/-/package/@octo%2fwidgets/dist-tags";
    assert_eq!(
        registry.json(tags).await,
        json!({ "latest": "1.0.0", "next": "1.0.0" })
    );
    assert_eq!(change("DELETE", "next", "").await, StatusCode::CREATED);
    assert_eq!(registry.json(tags).await, json!({ "latest": "1.0.0" }));
}

#[tokio::test]
async fn cargo_finds_the_crate_in_the_sparse_index() {
    let registry = Served::start(Protocol::CratesIo).await;
    registry.publish().await;
    let config = registry.json("/index/config.json").await;
    assert_eq!(config["api"], registry.url);
    assert_eq!(config["auth-required"], false);

    let line = registry.json("/index/oc/to/octo-widgets").await;
    assert_eq!(line["name"], "octo-widgets");
    assert_eq!(line["vers"], "1.0.0");
    assert_eq!(line["cksum"], Sample::of(Protocol::CratesIo).sha256);
    assert_eq!(line["features2"], json!({ "default": [], "shiny": [] }));
    let downloads = config["dl"].as_str().unwrap();
    registry
        .has_the_file_at(&format!("{downloads}/octo-widgets/1.0.0/download"))
        .await;
}

#[tokio::test]
async fn gems_are_in_the_compact_index_and_in_the_marshalled_one() {
    let registry = Served::start(Protocol::Rubygems).await;
    registry.publish().await;
    let sha256 = Sample::of(Protocol::Rubygems).sha256;
    let info = registry.text("/info/octo-widgets").await;
    assert_eq!(
        info,
        format!("---\n1.0.0 |checksum:{sha256},ruby:>= 2.5,rubygems:>= 0\n")
    );
    assert_eq!(registry.text("/names").await, "---\nocto-widgets\n");
    assert!(
        registry
            .text("/versions")
            .await
            .contains("\nocto-widgets 1.0.0 ")
    );
    registry
        .has_the_file_at(&format!("{}/gems/octo-widgets-1.0.0.gem", registry.url))
        .await;

    let packed = registry
        .get("/quick/Marshal.4.8/octo-widgets-1.0.0.gemspec.rz")
        .await;
    let packed = packed.bytes().await.unwrap();
    let mut specification = Vec::new();
    std::io::Read::read_to_end(&mut ZlibDecoder::new(&packed[..]), &mut specification).unwrap();
    assert!(specification.starts_with(b"\x04\x08u:\x17Gem::Specification"));
    assert_eq!(
        registry.get("/gems/octo-2.0.0.gem").await.status(),
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn nuget_packages_are_in_the_content_and_in_the_old_feed() {
    let registry = Served::start(Protocol::Nuget).await;
    registry.publish().await;
    let services = registry.json("/v3/index.json").await;
    let service = |kind: &str| {
        let resources = services["resources"].as_array().unwrap();
        let found = resources.iter().find(|one| one["@type"] == kind).unwrap();
        found["@id"].as_str().unwrap().to_owned()
    };
    let push = format!("{}/api/v2/package", registry.url);
    assert_eq!(service("PackagePublish/2.0.0"), push);
    let content = service("PackageBaseAddress/3.0.0");
    let path = content.strip_prefix(&registry.url).unwrap();
    let versions = registry
        .json(&format!("{path}octo.widgets/index.json"))
        .await;
    assert_eq!(versions, json!({ "versions": ["1.0.0"] }));
    registry
        .has_the_file_at(&format!(
            "{content}octo.widgets/1.0.0/octo.widgets.1.0.0.nupkg"
        ))
        .await;
    let registration = registry
        .json("/v3/registration/octo.widgets/index.json")
        .await;
    assert_eq!(
        registration["items"][0]["items"][0]["catalogEntry"]["id"],
        "Octo.Widgets"
    );

    let one = registry
        .text("/api/v2/Packages(Id='octo.widgets',Version='1.0')")
        .await;
    assert!(
        one.contains("<d:Id>Octo.Widgets</d:Id><d:Version>1.0.0</d:Version>"),
        "{one}"
    );
    let all = registry
        .text("/api/v2/FindPackagesById()?id='Octo.Widgets'")
        .await;
    assert!(all.contains(&one[one.find("<id>").unwrap()..]), "{all}");
    registry
        .has_the_file_at(&format!("{push}/Octo.Widgets/1.0.0"))
        .await;
}

#[tokio::test]
async fn jwts_and_opaque_keys_are_accepted() {
    for protocol in crate::support::TOOLS {
        let registry = Served::start(protocol).await;
        let sample = Sample::of(protocol);
        let token = registry.token(&[crate::support::entry(
            &[sample.package],
            &["publish", "create"],
        )]);
        let answer = registry.upload(Some(&token)).await;
        assert!(answer.status().is_success(), "{protocol:?}");
        let about = registry.json("/.well-known/oauth-protected-resource").await;
        assert_eq!(
            about["authorization_servers"],
            json!([registry.authority.url])
        );
        // Not refused for its token, but because the version exists.
        let again = registry.upload(Some(OPAQUE)).await;
        let text = again.text().await.unwrap();
        let exists = ["already", "previously", "Repushing"];
        assert!(exists.iter().any(|word| text.contains(word)), "{text}");
    }
}
