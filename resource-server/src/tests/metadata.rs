//! RFC 9728: the registry's own metadata.

use axum::Router;
use axum::body::Body;
use axum::routing::{get, put};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use url::Url;

use super::support::{FakeServer, NOW, Reply, client, parameters, unsigned};
use crate::{Outage, ProtectedResource, Realm, Rejection, RequireToken, Verifier};

const ISSUER: &str = "https://as.test";

fn document(about: &ProtectedResource) -> Value {
    serde_json::from_str(about.answer::<String>().body()).unwrap()
}

/// A registry that serves its metadata and requires tokens for all other paths.
async fn registry(server: &FakeServer) -> (String, ProtectedResource) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let resource = format!("http://{}/pypi/", listener.local_addr().unwrap());
    let about = ProtectedResource::new(&resource, &server.url)
        .unwrap()
        .actions(["publish"]);
    let verifier = Verifier::new(&server.url, &resource).unwrap();
    let document = about.clone();
    let router = Router::new()
        .route("/pypi/upload", put(async || "done"))
        .route_layer(RequireToken::new(
            verifier,
            Realm::new("pypi").described_by(&about),
        ))
        .route(about.path(), get(async move || document.answer::<Body>()));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (resource, about)
}

#[tokio::test]
async fn rfc9728_2_1__the_resource_of_the_document_is_the_identifier_of_the_registry() {
    let server = FakeServer::start().await;
    let (resource, about) = registry(&server).await;
    let answer: Value = client()
        .get(about.url())
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&answer["resource"], &answer["authorization_servers"]),
        (&json!(resource), &json!([server.url]))
    );
    for same in [
        "https://registry.test",
        "https://registry.test/",
        "https://REGISTRY.test:443/a/../b",
    ] {
        assert_eq!(
            document(&ProtectedResource::new(same, ISSUER).unwrap())["resource"],
            same
        );
    }
    for other in [
        "http://registry.test/",
        "https://registry.test/#a",
        "urn:example:registry",
        "registry.test",
        "",
    ] {
        assert!(ProtectedResource::new(other, ISSUER).is_err(), "{other}");
    }
}

#[test]
fn rfc9728_2_2__the_document_lists_scopes_methods_types_name_and_documentation() {
    let about = ProtectedResource::new("https://registry.test/", ISSUER).unwrap();
    let about = about
        .actions(["create", "publish"])
        .name("Registry")
        .documentation(Url::parse("https://d.test/").unwrap());
    assert_eq!(
        document(&about),
        json!({
            "resource": "https://registry.test/", "authorization_servers": [ISSUER],
            "scopes_supported": ["create", "publish"], "bearer_methods_supported": ["header"],
            "authorization_details_types_supported": ["package"],
            "resource_name": "Registry", "resource_documentation": "https://d.test/",
        })
    );
}

#[test]
fn rfc9728_2_2__the_document_lists_the_algorithms_of_proofs_where_they_are_taken() {
    const MEMBER: &str = "dpop_signing_alg_values_supported";
    let about = ProtectedResource::new("https://registry.test/", ISSUER).unwrap();
    assert!(document(&about).get(MEMBER).is_none());
    let algorithms = carnet_dpop::ALGORITHMS.map(|algorithm| algorithm.to_string());
    let about = document(&about.taking_proofs());
    assert_eq!(about[MEMBER], json!(algorithms));
    assert!(algorithms.contains(&"ES256".to_owned()));
}

#[test]
fn rfc9728_2_3__the_document_of_a_registry_that_signs_nothing_names_no_keys() {
    let about = ProtectedResource::new("https://registry.test/", ISSUER).unwrap();
    for member in [
        "jwks_uri",
        "resource_signing_alg_values_supported",
        "signed_metadata",
    ] {
        assert!(document(&about).get(member).is_none());
    }
}

#[test]
fn rfc9728_3_1__the_well_known_path_goes_between_host_and_path() {
    for (resource, path, query) in [
        ("https://registry.test", "", ""),
        ("https://registry.test/", "", ""),
        ("https://registry.test/pypi/", "/pypi/", ""),
        ("https://registry.test/pypi", "/pypi", ""),
        ("https://registry.test/a//", "/a//", ""),
        ("https://registry.test//", "//", ""),
        ("https://registry.test/a/b?c=d", "/a/b", "?c=d"),
        ("https://registry.test/?c=d", "", "?c=d"),
    ] {
        let about = ProtectedResource::new(resource, ISSUER).unwrap();
        assert_eq!(
            about.path(),
            format!("/.well-known/oauth-protected-resource{path}")
        );
        assert_eq!(
            about.url(),
            format!("https://registry.test{}{query}", about.path())
        );
    }
}

#[tokio::test]
async fn rfc9728_3_1_1__the_document_is_answered_to_get_and_not_to_other_methods() {
    let (_, about) = registry(&FakeServer::start().await).await;
    assert_eq!(
        client().get(about.url()).send().await.unwrap().status(),
        200
    );
    for method in [
        reqwest::Method::POST,
        reqwest::Method::PUT,
        reqwest::Method::DELETE,
    ] {
        assert_eq!(
            client()
                .request(method, about.url())
                .send()
                .await
                .unwrap()
                .status(),
            405
        );
    }
}

#[tokio::test]
async fn rfc9728_3_2_1__the_document_is_json_without_empty_members() {
    let (_, about) = registry(&FakeServer::start().await).await;
    let answer = client().get(about.url()).send().await.unwrap();
    assert_eq!(
        (answer.status().as_u16(), &answer.headers()["content-type"]),
        (200, &"application/json".parse().unwrap())
    );
    let bare = ProtectedResource::new("https://registry.test/", ISSUER)
        .unwrap()
        .actions(Vec::<String>::new())
        .name("");
    let members: Vec<String> = document(&bare)
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    let expected = [
        "resource",
        "authorization_servers",
        "bearer_methods_supported",
        "authorization_details_types_supported",
    ];
    assert_eq!(members.len(), expected.len(), "{members:?}");
    assert!(
        expected
            .iter()
            .all(|member| members.iter().any(|held| held == member))
    );
}

#[tokio::test]
async fn rfc9728_3_3_1__another_path_has_no_document() {
    let (resource, about) = registry(&FakeServer::start().await).await;
    let answer: Value = client()
        .get(about.url())
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(answer["resource"], resource);
    let root = about.url().strip_suffix("/pypi/").unwrap();
    for path in ["", "/", "/other", "/pypi", "/pypi/x"] {
        assert_eq!(
            client()
                .get(format!("{root}{path}"))
                .send()
                .await
                .unwrap()
                .status(),
            404,
            "{path}"
        );
    }
}

#[tokio::test]
async fn rfc9728_5_1_1__challenges_lead_to_the_document() {
    let (resource, about) = registry(&FakeServer::start().await).await;
    let upload = || client().put(format!("{resource}upload"));
    for (request, status) in [
        (upload(), 401),
        (upload().bearer_auth("a.b.c"), 401),
        (upload().bearer_auth("a b"), 400),
    ] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status);
        let challenge = parameters(answer.headers()["www-authenticate"].to_str().unwrap());
        assert_eq!(challenge["resource_metadata"], about.url());
        let found: Value = client()
            .get(&challenge["resource_metadata"])
            .send()
            .await
            .unwrap()
            .json()
            .await
            .unwrap();
        assert_eq!(found["resource"], resource);
    }
}

#[tokio::test]
async fn rfc9728_7_1__issuers_over_http_and_endpoints_of_another_scheme_are_refused() {
    for issuer in [
        "http://as.test",
        "http://10.0.0.1",
        "http://127.0.0.1.as.test",
    ] {
        assert!(
            Verifier::new(issuer, "https://registry.test/").is_err(),
            "{issuer}"
        );
    }
    // An endpoint of another scheme than the metadata's is not used either. Here the schemes are
    // reversed: http metadata names an https endpoint.
    let server = FakeServer::start().await;
    for member in ["jwks_uri", "introspection_endpoint"] {
        let mut metadata = server.metadata();
        metadata[member] = json!(
            metadata[member]
                .as_str()
                .unwrap()
                .replace("http:", "https:")
        );
        server.publish_metadata(&metadata);
        let verifier = server.introspecting();
        let token = if member == "jwks_uri" {
            server.sign(&server.claims())
        } else {
            "cnt_1".to_owned()
        };
        assert_eq!(
            verifier.verify_at(&token, NOW).await,
            Err(Rejection::Unavailable(Outage::Metadata)),
            "{member}"
        );
    }
}

#[tokio::test]
async fn rfc9728_7_7_1__nothing_that_a_request_names_is_fetched() {
    let (server, stranger) = (FakeServer::start().await, FakeServer::start().await);
    let verifier = server.introspecting();
    verifier
        .verify_at(&server.sign(&server.claims()), NOW)
        .await
        .unwrap();
    let mut claims = server.claims();
    claims["iss"] = json!(stranger.url);
    let kid = server.key.public().key_id();
    let jwks = format!("{}/jwks", stranger.url);
    for header in [
        json!({ "alg": "ES256", "typ": "at+jwt", "kid": kid }),
        json!({ "alg": "ES256", "typ": "at+jwt", "jku": jwks }),
        json!({ "alg": "ES256", "typ": "at+jwt", "x5u": jwks }),
        json!({ "alg": "ES256", "typ": "at+jwt", "kid": jwks }),
    ] {
        assert!(
            verifier
                .verify_at(&unsigned(&header, &claims, b"x"), NOW)
                .await
                .is_err()
        );
    }
    assert!(
        verifier
            .verify_at(&stranger.sign(&stranger.claims()), NOW)
            .await
            .is_err()
    );
    assert!(
        verifier
            .verify_at(&server.sign(&claims), NOW)
            .await
            .is_err()
    );
    // Redirects are not followed either.
    let away = Reply {
        location: Some(format!("{}/introspect", stranger.url)),
        ..Reply::status(307)
    };
    server.reply("/introspect", away);
    assert_eq!(
        verifier.verify_at("cnt_1", NOW).await,
        Err(Rejection::Unavailable(Outage::Unreachable))
    );
    assert_eq!(stranger.connections(), 0);
}
