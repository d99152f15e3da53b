//! What we publish of ourselves (RFC 8414; checklist 1.6).

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::assertion::payload;
use crate::support::{CARNET, JWT_BEARER, World};

const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";

async fn metadata(world: &World) -> Value {
    world.server.get(WELL_KNOWN).await.json()
}

#[tokio::test]
async fn rfc8414_2_2__token_endpoint_and_the_rest_are_there() {
    let world = World::new().await;
    let metadata = metadata(&world).await;
    assert_eq!(
        metadata,
        json!({
            "issuer": CARNET,
            "token_endpoint": format!("{CARNET}/token"),
            "jwks_uri": format!("{CARNET}/jwks"),
            "response_types_supported": [],
            "grant_types_supported": [JWT_BEARER],
            "token_endpoint_auth_methods_supported": ["none"],
            "scopes_supported": ["create", "publish", "unlist"],
            "authorization_details_types_supported": ["package"],
        })
    );
}

#[tokio::test]
async fn rfc8414_2_3__there_is_no_authorization_endpoint() {
    let world = World::new().await;
    assert!(metadata(&world).await.get("authorization_endpoint").is_none());
    assert_eq!(world.server.get("/authorize?response_type=code").await.status, 404);
}

#[tokio::test]
async fn rfc8414_2_4__every_key_says_what_it_is_for() {
    let world = World::new().await;
    assert_eq!(metadata(&world).await["jwks_uri"], format!("{CARNET}/jwks"));
    let keys = world.server.get("/jwks").await.json()["keys"].as_array().unwrap().clone();
    assert!(!keys.is_empty());
    for key in keys {
        assert_eq!(key["use"], "sig");
        assert!(key["kid"].is_string() && key["alg"].is_string());
        for private in ["d", "p", "q", "dp", "dq", "qi", "k"] {
            assert!(key.get(private).is_none());
        }
    }
}

#[tokio::test]
async fn rfc8414_2_5__response_types_are_listed_though_none() {
    let world = World::new().await;
    assert_eq!(metadata(&world).await["response_types_supported"], json!([]));
}

#[tokio::test]
async fn rfc8414_2_6__the_listed_grants_are_those_that_work() {
    let world = World::new().await;
    let listed = metadata(&world).await["grant_types_supported"].clone();
    let every = [
        JWT_BEARER,
        "urn:ietf:params:oauth:grant-type:token-exchange",
        "client_credentials",
        "authorization_code",
        "password",
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:device_code",
        "implicit",
        "urn:ietf:params:oauth:grant-type:saml2-bearer",
    ];
    for grant in every {
        let answer = world.server.form("/token", &[("grant_type", grant), ("assertion", &world.good())]).await;
        let works = answer.json()["error"] != "unsupported_grant_type";
        assert_eq!(works, listed.as_array().unwrap().contains(&json!(grant)), "{grant}");
    }
}

#[tokio::test]
async fn rfc8414_2_7__the_listed_client_methods_are_those_that_work() {
    let world = World::new().await;
    assert_eq!(metadata(&world).await["token_endpoint_auth_methods_supported"], json!(["none"]));
    world.server.put("clients/bot", json!({ "auth_method": "none" })).await;
    world.exchange_with(&world.good(), &[("client_id", "bot")]).await.token();
    for method in ["client_secret_basic", "client_secret_post", "private_key_jwt", "federated", "tls_client_auth"] {
        let answer = world.server.admin("PUT", "clients/other", json!({ "auth_method": method })).await;
        assert_eq!(answer.status, 422, "{method}: {}", answer.text());
    }
}

#[tokio::test]
async fn rfc8414_2_9__the_listed_scopes_can_be_granted() {
    let world = World::new().await;
    assert_eq!(metadata(&world).await["scopes_supported"], json!(["create", "publish", "unlist"]));
    for scope in ["create", "publish"] {
        world.exchange_with(&world.good(), &[("scope", scope)]).await.token();
    }
    for name in ["pypi", "crates"] {
        let answer =
            world.server.admin("PATCH", &format!("resource-servers/{name}"), json!({ "enabled": false })).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert!(metadata(&world).await.get("scopes_supported").is_none());
}

#[tokio::test]
async fn rfc8414_2_12__what_is_not_there_is_not_listed() {
    let world = World::new().await;
    let metadata = metadata(&world).await;
    for member in [
        "dpop_signing_alg_values_supported",
        "tls_client_certificate_bound_access_tokens",
        "mtls_endpoint_aliases",
        "pushed_authorization_request_endpoint",
        "device_authorization_endpoint",
        "code_challenge_methods_supported",
        "introspection_endpoint",
        "revocation_endpoint",
        "registration_endpoint",
        "protected_resources",
    ] {
        assert!(metadata.get(member).is_none(), "{member}");
    }
    for path in ["/introspect", "/revoke", "/register", "/par", "/device"] {
        assert_eq!(world.server.form(path, &[("token", "x")]).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn rfc8414_3_1__a_path_issuer_has_its_document_between_host_and_path() {
    let world = World::with(&[("CARNET_ISSUER", "https://as.test/tenant1")]).await;
    let document = world.server.get("/.well-known/oauth-authorization-server/tenant1").await.json();
    assert_eq!(
        (&document["issuer"], &document["token_endpoint"]),
        (&json!("https://as.test/tenant1"), &json!("https://as.test/tenant1/token"))
    );
    for path in [WELL_KNOWN, "/tenant1/.well-known/oauth-authorization-server", "/token", "/jwks"] {
        assert_eq!(world.server.get(path).await.status, 404, "{path}");
    }
    for path in ["/.well-known/openid-configuration/tenant1", "/tenant1/.well-known/openid-configuration"] {
        assert_eq!(world.server.get(path).await.json(), document);
    }
    let assertion = world.gh.sign(&world.claims().with("aud", "https://as.test/tenant1"));
    let form = [("grant_type", JWT_BEARER), ("assertion", assertion.as_str())];
    let token = world.server.form("/tenant1/token", &form).await.token();
    assert_eq!(payload(&token)["iss"], "https://as.test/tenant1");
}

#[tokio::test]
async fn rfc8414_3_2__a_slash_at_the_end_is_dropped_in_the_path_only() {
    let server = crate::support::TestServer::with(&[("CARNET_ISSUER", "https://as.test/t/")]).await;
    let document = server.get("/.well-known/oauth-authorization-server/t").await.json();
    assert_eq!(
        (&document["issuer"], &document["token_endpoint"]),
        (&json!("https://as.test/t/"), &json!("https://as.test/t/token"))
    );
}

#[tokio::test]
async fn rfc8414_3_1_1__metadata_is_read_with_get() {
    let world = World::new().await;
    for path in [WELL_KNOWN, "/jwks"] {
        let answer = world.server.send(Request::post(path).body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, 405);
    }
}

#[tokio::test]
async fn rfc8414_3_2_1__metadata_is_json_and_cacheable() {
    let world = World::new().await;
    for path in [WELL_KNOWN, "/.well-known/openid-configuration", "/jwks"] {
        let answer = world.server.get(path).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")));
        assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    }
}

#[tokio::test]
async fn rfc8414_3_2_2__no_other_list_is_empty() {
    let server = crate::support::TestServer::start().await;
    let document = server.get(WELL_KNOWN).await.json();
    for (name, value) in document.as_object().unwrap() {
        let empty = value.as_array().is_some_and(Vec::is_empty);
        assert_eq!(empty, name == "response_types_supported", "{name}");
    }
}

#[tokio::test]
async fn rfc8414_3_3_1__the_issuer_is_the_configured_text() {
    let world = World::new().await;
    let request = Request::get(WELL_KNOWN).header("host", "evil.test").header("x-forwarded-host", "evil.test");
    let answer = world.server.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.json()["issuer"], CARNET);
}

#[tokio::test]
async fn rfc8414_6_2_1__nobody_elses_issuer_is_published() {
    let world = World::new().await;
    assert!(!world.server.get(WELL_KNOWN).await.text().contains("ci.test"));
}

#[tokio::test]
async fn rfc9068_4_7__the_two_documents_agree() {
    let world = World::new().await;
    let openid = world.server.get("/.well-known/openid-configuration").await.json();
    assert_eq!(metadata(&world).await, openid);
}

#[tokio::test]
async fn rfc9700_2_6_1__metadata_is_published() {
    let world = World::new().await;
    assert_eq!(world.server.get(WELL_KNOWN).await.status, 200);
}

#[tokio::test]
async fn rfc9700_2_6_3__other_sites_may_read_what_is_public_and_no_more() {
    let world = World::new().await;
    for (path, open) in [(WELL_KNOWN, true), ("/jwks", true), ("/reasons/replay", false), ("/healthz", false)] {
        let request = Request::get(path).header("origin", "https://evil.test");
        let answer = world.server.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.header("access-control-allow-origin"), open.then_some("*"), "{path}");
        assert!(answer.header("access-control-allow-credentials").is_none());
    }
    let request = Request::post("/token")
        .header("origin", "https://evil.test")
        .header("content-type", "application/x-www-form-urlencoded");
    let body = format!("grant_type={JWT_BEARER}&assertion={}", world.good());
    let answer = world.server.send(request.body(Body::from(body)).unwrap()).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, None));
    let preflight = Request::builder().method("OPTIONS").uri("/token").header("origin", "https://evil.test");
    let preflight = preflight.header("access-control-request-method", "POST").body(Body::empty()).unwrap();
    let answer = world.server.send(preflight).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (405, None));
}

#[tokio::test]
async fn rfc9700_4_12_1__nothing_is_redirected() {
    let world = World::new().await;
    for path in ["/token", "/token/", "/explain", "/jwks", "/", "/admin/v1/principals"] {
        let answer = world.server.form(path, &[("grant_type", JWT_BEARER), ("assertion", &world.good())]).await;
        assert!(!(300..400).contains(&answer.status), "{path}");
    }
}

#[tokio::test]
async fn rfc9700_4_16_1__pages_cannot_be_framed() {
    let world = World::new().await;
    let request = Request::get("/reasons/replay").header("accept", "text/html,application/xhtml+xml");
    let answer = world.server.send(request.body(Body::empty()).unwrap()).await;
    assert!(answer.header("content-type").unwrap().starts_with("text/html"));
    assert!(answer.header("content-security-policy").unwrap().contains("frame-ancestors 'none'"));
    assert!(answer.text().contains(carnet::reason::Reason::Replay.meaning()));
}

#[tokio::test]
async fn prof_jwks_1__keys_are_published_until_their_last_token_is_over() {
    let world = World::new().await;
    let token = world.exchange(&world.good()).await.token();
    let header: Value =
        serde_json::from_slice(&carnet_jose::from_base64url(token.split('.').next().unwrap()).unwrap()).unwrap();
    let kids = async || -> Vec<String> {
        let keys = world.server.get("/jwks").await.json()["keys"].as_array().unwrap().clone();
        keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    };
    let first = header["kid"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        let answer = world.server.admin("POST", "signing-keys/rotate", Value::Null).await;
        assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
        let published = kids().await;
        let mut unique = published.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), published.len());
        assert!(published.contains(&first));
    }
}

#[tokio::test]
async fn rfc8414_2_11__what_is_optional_is_left_out() {
    let world = World::new().await;
    let metadata = metadata(&world).await;
    for member in
        ["service_documentation", "ui_locales_supported", "op_policy_uri", "op_tos_uri", "registration_endpoint"]
    {
        assert!(metadata.get(member).is_none(), "{member}");
    }
}

#[tokio::test]
async fn rfc8414_2_1_1__there_is_no_signed_metadata() {
    let world = World::new().await;
    assert!(metadata(&world).await.get("signed_metadata").is_none());
}

#[tokio::test]
async fn nuget_tok_7__the_published_urls_are_https() {
    let world = World::new().await;
    let metadata = metadata(&world).await;
    for member in ["issuer", "token_endpoint", "jwks_uri"] {
        assert!(metadata[member].as_str().unwrap().starts_with("https://"), "{member}");
    }
}

#[tokio::test]
async fn atk_073__metadata_names_this_servers_endpoints_only() {
    let world = World::with(&[("CARNET_ISSUER", "https://as.test/tenant1")]).await;
    let document = world.server.get("/.well-known/oauth-authorization-server/tenant1").await.json();
    for member in ["token_endpoint", "jwks_uri"] {
        assert!(document[member].as_str().unwrap().starts_with("https://as.test/tenant1/"));
    }
    assert_eq!(world.server.get("/.well-known/oauth-authorization-server/tenant2").await.status, 404);
}
