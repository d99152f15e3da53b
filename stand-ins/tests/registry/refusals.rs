//! A refused upload says why and how to mend it, where the protocol's tools look for it.

use carnet_stand_ins::Protocol;
use hyper::ext::ReasonPhrase;
use reqwest::{Response, StatusCode};
use serde_json::{Value, json};

use crate::support::{OPAQUE, Sample, Served, TOOLS, entry, with};

/// The text that the tools of a protocol print of an answer.
async fn printed(protocol: Protocol, answer: Response) -> String {
    let phrase = answer.extensions().get::<ReasonPhrase>().cloned();
    let kind = answer.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    let body = answer.text().await.unwrap();
    let json = || serde_json::from_str::<Value>(&body).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    match protocol {
        Protocol::Generic => text(&json()["error_description"]),
        Protocol::Npm => {
            assert_eq!(json()["error"], json()["message"]);
            text(&json()["error"])
        }
        Protocol::CratesIo => text(&json()["errors"][0]["detail"]),
        Protocol::Pypi | Protocol::Rubygems | Protocol::Nuget => {
            assert_eq!(kind, "text/plain; charset=utf-8");
            // twine and NuGet print the reason phrase only.
            let phrase = phrase.unwrap();
            assert_eq!(String::from_utf8_lossy(phrase.as_bytes()), body.trim_end());
            body
        }
    }
}

/// Sends an upload with a token that has these entries, and expects a refusal with this status.
async fn refused(
    registry: &Served,
    protocol: Protocol,
    entries: &[Value],
    status: StatusCode,
) -> String {
    let token = registry.token(entries);
    let answer = registry.upload(Some(&token)).await;
    assert_eq!(answer.status(), status, "{protocol:?}");
    printed(protocol, answer).await
}

#[tokio::test]
async fn an_upload_without_a_token_is_told_where_to_get_one() {
    for protocol in TOOLS {
        let registry = Served::start(protocol).await;
        let expected = match protocol {
            Protocol::Npm | Protocol::Nuget => StatusCode::FORBIDDEN,
            _ => StatusCode::UNAUTHORIZED,
        };
        for token in [None, Some("unknown")] {
            let answer = registry.upload(token).await;
            assert_eq!(answer.status(), expected, "{protocol:?} {token:?}");
            let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
            let metadata = "/.well-known/oauth-protected-resource\"";
            assert!(challenge.ends_with(metadata), "{challenge}");
            let text = printed(protocol, answer).await;
            let reason = match token {
                None => "no access token was presented",
                Some(_) => "the access token is not valid here: not active",
            };
            let mend = format!(
                "{reason}. Get one with `carnet exchange --server {} --resource {}/`, and give it to the tool ",
                registry.authority.url, registry.url
            );
            assert!(text.starts_with(&mend), "{text}");
        }
    }
}

#[tokio::test]
async fn a_token_without_create_says_how_the_first_version_is_published() {
    for protocol in TOOLS {
        let registry = Served::start(protocol).await;
        let sample = Sample::of(protocol);
        let entries = [entry(&[sample.package], &["publish"])];
        let text = refused(&registry, protocol, &entries, StatusCode::FORBIDDEN).await;
        assert!(text.contains("(create_denied)"), "{text}");
        assert!(text.contains("`carnet exchange --server "), "{text}");
        assert!(text.contains(" --principal NAME` prints it"), "{text}");

        registry.publish().await;
        let status = match protocol {
            Protocol::Npm => StatusCode::FORBIDDEN,
            Protocol::Pypi => StatusCode::BAD_REQUEST,
            _ => StatusCode::CONFLICT,
        };
        let text = refused(&registry, protocol, &entries, status).await;
        assert!(!text.contains("denied"), "{text}");
    }
}

#[tokio::test]
async fn a_package_outside_the_entries_is_refused_with_what_they_cover() {
    for protocol in TOOLS {
        let registry = Served::start(protocol).await;
        let others = ["a*", "b", "c", "d", "e", "f", "g"];
        let entries = [entry(&others, &["publish", "create"])];
        let text = refused(&registry, protocol, &entries, StatusCode::FORBIDDEN).await;
        let covered = "(package_out_of_scope); it covers `a*`, `b`, `c`, `d`, `e` and 2 more";
        assert!(text.contains(covered), "{text}");
        assert!(
            text.contains(&format!("publish of `{}`", Sample::of(protocol).package)),
            "{text}"
        );
    }
}

#[tokio::test]
async fn entries_that_are_narrowed_to_an_artifact_allow_this_one_only() {
    for protocol in TOOLS {
        let registry = Served::start(protocol).await;
        let sample = Sample::of(protocol);
        let any = entry(&[sample.package], &["publish", "create"]);
        let version = with(any.clone(), "version", "2.0.0");
        let text = refused(&registry, protocol, &[version], StatusCode::FORBIDDEN).await;
        assert!(text.contains("(version_mismatch)"), "{text}");
        let digest = with(any.clone(), "digest", &format!("sha256:{}", "0".repeat(64)));
        let text = refused(&registry, protocol, &[digest], StatusCode::FORBIDDEN).await;
        assert!(text.contains("(digest_mismatch)"), "{text}");

        let exact = with(any, "version", "1.0.0");
        let exact = with(exact, "digest", &format!("sha256:{}", sample.sha256));
        let answer = registry.upload(Some(&registry.token(&[exact]))).await;
        assert!(answer.status().is_success(), "{protocol:?}");
    }
}

#[tokio::test]
async fn the_owner_of_the_first_version_keeps_the_package() {
    for protocol in TOOLS {
        let registry = Served::start(protocol).await;
        registry.publish().await;
        let mallory = with(entry(&["*"], &["publish", "create"]), "owner", "mallory");
        let mallory = with(mallory, "principal", "mallory");
        let text = refused(&registry, protocol, &[mallory], StatusCode::FORBIDDEN).await;
        assert!(text.contains("(owner_lost)"), "{text}");
    }
}

#[tokio::test]
async fn an_upload_that_cannot_be_read_is_refused_with_the_reason() {
    let paths = [
        (Protocol::Pypi, "POST", "/legacy/", "text/plain"),
        (Protocol::Npm, "PUT", "/octo-widgets", "application/json"),
        (
            Protocol::CratesIo,
            "PUT",
            "/api/v1/crates/new",
            "application/octet-stream",
        ),
        (
            Protocol::Rubygems,
            "POST",
            "/api/v1/gems",
            "application/octet-stream",
        ),
        (
            Protocol::Nuget,
            "PUT",
            "/api/v2/package",
            "multipart/form-data; boundary=x",
        ),
    ];
    for (protocol, method, path, kind) in paths {
        let registry = Served::start(protocol).await;
        let request = registry.request(method, path).header("content-type", kind);
        let request = crate::support::present(protocol, request.body("nonsense"), OPAQUE);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{protocol:?}");
        let text = printed(protocol, answer).await;
        assert!(text.contains(" must "), "{text}");
    }
}

#[tokio::test]
async fn credentials_that_could_be_understood_in_two_ways_are_refused() {
    let registry = Served::start(Protocol::Pypi).await;
    let upload = || registry.request("POST", "/legacy/").body("");
    let requests = [
        (upload().basic_auth("octo", Some(OPAQUE)), "__token__"),
        (
            upload().header("authorization", "Basic !"),
            "cannot be read",
        ),
        (
            upload()
                .bearer_auth(OPAQUE)
                .basic_auth("__token__", Some(OPAQUE)),
            "twice",
        ),
        (upload().bearer_auth("a,b"), "cannot be read"),
    ];
    for (request, reason) in requests {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{reason}");
        let challenge = answer.headers()["www-authenticate"].to_str().unwrap();
        assert!(
            challenge.contains("error=\"invalid_request\""),
            "{challenge}"
        );
        let text = printed(Protocol::Pypi, answer).await;
        assert!(text.contains(reason), "{text}");
    }
    let nuget = Served::start(Protocol::Nuget).await;
    let request = nuget.request("PUT", "/api/v2/package").bearer_auth("other");
    let answer = request
        .header("x-nuget-apikey", OPAQUE)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn the_generic_protocol_answers_in_the_words_of_rfc_6750() {
    let registry = Served::start(Protocol::Generic).await;
    assert_eq!(
        registry.upload(None).await.status(),
        StatusCode::UNAUTHORIZED
    );
    let entries = [entry(&["octo-widgets"], &["publish"])];
    let answer = registry.upload(Some(&registry.token(&entries))).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(body["error"], "insufficient_scope");
    assert_eq!(body["reason"], "create_denied");
    registry.publish().await;
    let answer = registry.upload(Some(OPAQUE)).await;
    assert_eq!(answer.status(), StatusCode::CONFLICT);
    let body: Value = answer.json().await.unwrap();
    assert_eq!(
        body,
        json!({ "detail": "this version was published before" })
    );
}

#[tokio::test]
async fn names_that_are_no_file_names_are_refused() {
    let registry = Served::start(Protocol::Generic).await;
    for path in [
        "/packages/.owner/1",
        "/packages/a/.owner",
        "/packages/a%2fb/1",
        "/packages/a/..%2f1",
    ] {
        let request = registry.request("PUT", path).bearer_auth(OPAQUE).body("x");
        let status = request.send().await.unwrap().status();
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
    }
}
