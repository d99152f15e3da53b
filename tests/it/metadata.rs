//! What we publish of ourselves (RFC 8414; checklist 1.6).

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::assertion::payload;
use crate::support::{
    CARNET, CLIENT_ASSERTION, JWT, JWT_BEARER, TOKEN_EXCHANGE, TestClient, TestKey, World,
    permission,
};

const WELL_KNOWN: &str = "/.well-known/oauth-authorization-server";
const METHODS: [&str; 4] = [
    "none",
    "client_secret_basic",
    "client_secret_post",
    "private_key_jwt",
];
const PROOF_ALGORITHMS: [&str; 10] = [
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
];
const CLIENT_ALGORITHMS: [&str; 4] = ["RS256", "PS256", "ES256", "EdDSA"];

async fn metadata(world: &World) -> Value {
    world.server.get(WELL_KNOWN).await.json()
}

#[tokio::test]
async fn rfc8414_2_2__the_metadata_has_exactly_the_expected_members() {
    let world = World::new().await;
    let metadata = metadata(&world).await;
    assert_eq!(
        metadata,
        json!({
            "issuer": CARNET,
            "token_endpoint": format!("{CARNET}/token"),
            "jwks_uri": format!("{CARNET}/jwks"),
            "response_types_supported": [],
            "grant_types_supported": [JWT_BEARER, TOKEN_EXCHANGE, "client_credentials"],
            "token_endpoint_auth_methods_supported": METHODS,
            "token_endpoint_auth_signing_alg_values_supported": CLIENT_ALGORITHMS,
            "introspection_endpoint": format!("{CARNET}/introspect"),
            "introspection_endpoint_auth_methods_supported": METHODS[1..],
            "introspection_endpoint_auth_signing_alg_values_supported": CLIENT_ALGORITHMS,
            "introspection_signing_alg_values_supported": ["ES256"],
            "revocation_endpoint": format!("{CARNET}/revoke"),
            "revocation_endpoint_auth_methods_supported": METHODS,
            "revocation_endpoint_auth_signing_alg_values_supported": CLIENT_ALGORITHMS,
            "protected_resources": [format!("{CARNET}/admin")],
            "scopes_supported": ["create", "publish", "unlist"],
            "authorization_details_types_supported": ["package"],
            "dpop_signing_alg_values_supported": PROOF_ALGORITHMS,
        })
    );
}

#[tokio::test]
async fn rfc8414_2_3__there_is_no_authorization_endpoint() {
    let world = World::new().await;
    assert!(
        metadata(&world)
            .await
            .get("authorization_endpoint")
            .is_none()
    );
    assert_eq!(
        world
            .server
            .get("/authorize?response_type=code")
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn rfc8414_2_4__every_published_key_has_use_kid_and_alg_and_no_private_part() {
    let world = World::new().await;
    assert_eq!(metadata(&world).await["jwks_uri"], format!("{CARNET}/jwks"));
    let keys = world.server.get("/jwks").await.json()["keys"]
        .as_array()
        .unwrap()
        .clone();
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
async fn rfc8414_2_5__response_types_supported_is_an_empty_list() {
    let world = World::new().await;
    assert_eq!(
        metadata(&world).await["response_types_supported"],
        json!([])
    );
}

#[tokio::test]
async fn rfc8414_2_6__the_listed_grants_are_those_that_work() {
    let world = World::new().await;
    let bot = TestClient::publisher(&world.server, "bot", "client_secret_basic").await;
    let listed = metadata(&world).await["grant_types_supported"].clone();
    let every = [
        JWT_BEARER,
        TOKEN_EXCHANGE,
        "client_credentials",
        "authorization_code",
        "password",
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:device_code",
        "implicit",
        "urn:ietf:params:oauth:grant-type:saml2-bearer",
    ];
    for grant in every {
        let assertion = world.good();
        let mut form = vec![("grant_type", grant)];
        match grant {
            TOKEN_EXCHANGE => form.extend([
                ("subject_token", assertion.as_str()),
                ("subject_token_type", JWT),
            ]),
            "client_credentials" => {}
            _ => form.push(("assertion", &assertion)),
        }
        let answer = if grant == "client_credentials" {
            bot.send(&world.server, "/token", &form).await
        } else {
            world.server.form("/token", &form).await
        };
        if listed.as_array().unwrap().contains(&json!(grant)) {
            answer.token();
        } else {
            answer.refused(400, "unsupported_grant_type", "grant_type_unsupported");
        }
    }
}

#[tokio::test]
async fn rfc8414_2_7__the_listed_client_methods_are_those_that_work() {
    let world = World::new().await;
    assert_eq!(
        metadata(&world).await["token_endpoint_auth_methods_supported"],
        json!(METHODS)
    );
    for method in METHODS {
        let client = TestClient::register(&world.server, method, method, json!({})).await;
        let form = [("grant_type", JWT_BEARER), ("assertion", &world.good())];
        let token = client.send(&world.server, "/token", &form).await.token();
        assert_eq!(payload(&token)["client_id"], method);
    }
    for method in [
        "tls_client_auth",
        "client_secret_jwt",
        "spiffe_jwt",
        "None",
        "",
    ] {
        let answer = world
            .server
            .admin("PUT", "clients/other", json!({ "auth_method": method }))
            .await;
        assert_eq!(
            (answer.status, &answer.json()["errors"][0]["pointer"]),
            (422, &json!("/auth_method")),
            "{method}: {}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn rfc8414_2_8__the_listed_algorithms_of_clients_are_those_that_work() {
    let world = World::new().await;
    let metadata = metadata(&world).await;
    for endpoint in ["token", "introspection", "revocation"] {
        let listed = &metadata[format!("{endpoint}_endpoint_auth_signing_alg_values_supported")];
        assert_eq!(listed, &json!(CLIENT_ALGORITHMS), "{endpoint}");
    }
    let (rsa, ec) = (TestKey::rsa(1), |algorithm| TestKey::ec("ec", algorithm));
    let keys = [
        rsa.clone(),
        rsa.using("PS256"),
        ec("ES256"),
        TestKey::ed25519("ed"),
    ];
    let others = [
        rsa.using("RS384"),
        rsa.using("RS512"),
        rsa.using("PS384"),
        rsa.using("PS512"),
        ec("ES384"),
        ec("ES512"),
    ];
    let document = |key: &TestKey| {
        let jwks = json!({ "keys": [key.jwk()] });
        json!({ "auth_method": "private_key_jwt", "jwks": jwks, "permissions": [permission(&["publish"])] })
    };
    let client = TestClient::publisher(&world.server, "signer", "private_key_jwt").await;
    let ask = async |key: &TestKey, algorithm: &str| {
        let header = json!({ "alg": algorithm, "kid": key.kid, "typ": "JWT" });
        let assertion = key.sign_with_header(&header, &client.claims(world.server.now()));
        let proof = [
            ("client_assertion_type", CLIENT_ASSERTION),
            ("client_assertion", assertion.as_str()),
        ];
        world
            .server
            .form(
                "/token",
                &[&[("grant_type", "client_credentials")], proof.as_slice()].concat(),
            )
            .await
    };
    for key in &keys {
        world.server.put("clients/signer", document(key)).await;
        ask(key, key.algorithm).await.token();
        for unlisted in others
            .iter()
            .map(|other| other.algorithm)
            .chain(["none", "HS256", "es256", ""])
        {
            ask(key, unlisted)
                .await
                .refused(401, "invalid_client", "client_authentication_failed");
        }
    }
    for key in &others {
        let answer = world
            .server
            .admin("PUT", "clients/signer", document(key))
            .await;
        assert_eq!(
            (answer.status, &answer.json()["errors"][0]["pointer"]),
            (422, &json!("/jwks")),
            "{}",
            key.algorithm
        );
    }
}

#[tokio::test]
async fn rfc8414_2_10__introspection_and_revocation_work_as_listed() {
    let world = World::new().await;
    let metadata = metadata(&world).await;
    for (endpoint, path) in [("introspection", "/introspect"), ("revocation", "/revoke")] {
        assert_eq!(
            metadata[format!("{endpoint}_endpoint")],
            format!("{CARNET}{path}")
        );
        let listed = &metadata[format!("{endpoint}_endpoint_auth_methods_supported")];
        for method in METHODS {
            let client = TestClient::register(&world.server, method, method, json!({})).await;
            let form = [("grant_type", JWT_BEARER), ("assertion", &world.good())];
            let token = client.send(&world.server, "/token", &form).await.token();
            let answer = client.send(&world.server, path, &[("token", &token)]).await;
            if listed.as_array().unwrap().contains(&json!(method)) {
                assert_eq!(answer.status, 200, "{path} {method}: {}", answer.text());
            } else {
                answer.refused(401, "invalid_client", "client_authentication_failed");
            }
            assert_eq!(
                world
                    .server
                    .admin("DELETE", &format!("clients/{method}"), Value::Null)
                    .await
                    .status,
                204
            );
        }
    }
}

#[tokio::test]
async fn rfc8414_2_9__the_listed_scopes_can_be_granted() {
    let world = World::new().await;
    assert_eq!(
        metadata(&world).await["scopes_supported"],
        json!(["create", "publish", "unlist"])
    );
    let all = json!([{ "resource_server": "pypi", "actions": ["create", "publish", "unlist"], "packages": ["*"] }]);
    world
        .server
        .admin(
            "PATCH",
            "federated-credentials/octo-release",
            json!({ "permissions": all }),
        )
        .await;
    for scope in ["create", "publish", "unlist"] {
        let answer = world
            .exchange_with(&world.good(), &[("scope", scope)])
            .await;
        assert_eq!(answer.json()["scope"], scope, "{}", answer.text());
    }
    world
        .exchange_with(&world.good(), &[("scope", "yank")])
        .await
        .refused(400, "invalid_scope", "scope_not_granted");
    for name in ["pypi", "crates"] {
        let answer = world
            .server
            .admin(
                "PATCH",
                &format!("resource-servers/{name}"),
                json!({ "enabled": false }),
            )
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert!(metadata(&world).await.get("scopes_supported").is_none());
}

#[tokio::test]
async fn rfc8414_2_12__unsupported_features_are_not_listed_in_the_metadata() {
    let world = World::new().await;
    let metadata = metadata(&world).await;
    for member in [
        "tls_client_certificate_bound_access_tokens",
        "mtls_endpoint_aliases",
        "pushed_authorization_request_endpoint",
        "device_authorization_endpoint",
        "code_challenge_methods_supported",
        "require_pushed_authorization_requests",
        "authorization_response_iss_parameter_supported",
        "introspection_encryption_alg_values_supported",
        "identity_chaining_requested_token_types_supported",
        "authorization_grant_profiles_supported",
        "registration_endpoint",
    ] {
        assert!(metadata.get(member).is_none(), "{member}");
    }
    for path in ["/register", "/par", "/device"] {
        assert_eq!(
            world.server.form(path, &[("token", "x")]).await.status,
            404,
            "{path}"
        );
    }
}

#[tokio::test]
async fn rfc8414_3_1__the_metadata_of_an_issuer_with_a_path_is_between_host_and_path() {
    let world = World::with(&[("CARNET_ISSUER", "https://as.test/tenant1")]).await;
    let document = world
        .server
        .get("/.well-known/oauth-authorization-server/tenant1")
        .await
        .json();
    assert_eq!(
        (&document["issuer"], &document["token_endpoint"]),
        (
            &json!("https://as.test/tenant1"),
            &json!("https://as.test/tenant1/token")
        )
    );
    // Some clients append what should be inserted.
    assert_eq!(
        world
            .server
            .get("/tenant1/.well-known/oauth-authorization-server")
            .await
            .json(),
        document
    );
    for path in [WELL_KNOWN, "/token", "/jwks"] {
        assert_eq!(world.server.get(path).await.status, 404, "{path}");
    }
    for path in [
        "/.well-known/openid-configuration/tenant1",
        "/tenant1/.well-known/openid-configuration",
    ] {
        assert_eq!(
            without_openid(world.server.get(path).await.json()),
            document
        );
    }
    let assertion = world
        .gh
        .sign(&world.claims().with("aud", "https://as.test/tenant1"));
    let form = [
        ("grant_type", JWT_BEARER),
        ("assertion", assertion.as_str()),
    ];
    let token = world.server.form("/tenant1/token", &form).await.token();
    assert_eq!(payload(&token)["iss"], "https://as.test/tenant1");
}

#[tokio::test]
async fn rfc8414_3_2__a_trailing_slash_of_the_issuer_is_dropped_in_the_metadata_path_only() {
    let server = crate::support::TestServer::with(&[("CARNET_ISSUER", "https://as.test/t/")]).await;
    let document = server
        .get("/.well-known/oauth-authorization-server/t")
        .await
        .json();
    assert_eq!(
        (&document["issuer"], &document["token_endpoint"]),
        (
            &json!("https://as.test/t/"),
            &json!("https://as.test/t/token")
        )
    );
}

#[tokio::test]
async fn rfc8414_3_1_1__metadata_and_keys_refuse_the_method_post() {
    let world = World::new().await;
    for path in [WELL_KNOWN, "/jwks"] {
        let answer = world
            .server
            .send(Request::post(path).body(Body::empty()).unwrap())
            .await;
        assert_eq!(answer.status, 405);
    }
}

#[tokio::test]
async fn rfc8414_3_2_1__metadata_is_json_and_cacheable() {
    let world = World::new().await;
    for path in [WELL_KNOWN, "/.well-known/openid-configuration", "/jwks"] {
        let answer = world.server.get(path).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some("application/json"))
        );
        assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    }
}

#[tokio::test]
async fn rfc8414_3_2_2__no_list_of_the_metadata_but_response_types_is_empty() {
    let server = crate::support::TestServer::start().await;
    let document = server.get(WELL_KNOWN).await.json();
    for (name, value) in document.as_object().unwrap() {
        let empty = value.as_array().is_some_and(Vec::is_empty);
        assert_eq!(empty, name == "response_types_supported", "{name}");
    }
}

#[tokio::test]
async fn rfc8414_3_3_1__the_issuer_is_the_configured_one_whatever_the_host_headers_say() {
    let world = World::new().await;
    let request = Request::get(WELL_KNOWN)
        .header("host", "evil.test")
        .header("x-forwarded-host", "evil.test");
    let answer = world
        .server
        .send(request.body(Body::empty()).unwrap())
        .await;
    assert_eq!(answer.json()["issuer"], CARNET);
}

#[tokio::test]
async fn rfc8414_6_2_1__the_metadata_does_not_name_a_trusted_issuer() {
    let world = World::new().await;
    assert!(
        !world
            .server
            .get(WELL_KNOWN)
            .await
            .text()
            .contains("ci.test")
    );
}

#[tokio::test]
async fn rfc9068_4_7__the_oauth_and_openid_metadata_documents_agree() {
    let world = World::new().await;
    let openid = world
        .server
        .get("/.well-known/openid-configuration")
        .await
        .json();
    assert_eq!(metadata(&world).await, without_openid(openid));
}

/// Without what strict readers of the one document want beside.
fn without_openid(mut document: Value) -> Value {
    for name in [
        "subject_types_supported",
        "id_token_signing_alg_values_supported",
    ] {
        assert!(
            document.as_object_mut().unwrap().remove(name).is_some(),
            "{name}"
        );
    }
    document
}

#[tokio::test]
async fn rfc9700_2_6_1__metadata_is_published() {
    let world = World::new().await;
    assert_eq!(world.server.get(WELL_KNOWN).await.status, 200);
}

#[tokio::test]
async fn rfc9700_2_6_3__scripts_of_other_sites_may_read_metadata_and_keys_and_nothing_else() {
    let world = World::new().await;
    for (path, open) in [
        (WELL_KNOWN, true),
        ("/jwks", true),
        ("/reasons/replay", false),
        ("/healthz", false),
    ] {
        let request = Request::get(path).header("origin", "https://evil.test");
        let answer = world
            .server
            .send(request.body(Body::empty()).unwrap())
            .await;
        assert_eq!(
            answer.header("access-control-allow-origin"),
            open.then_some("*"),
            "{path}"
        );
        assert!(answer.header("access-control-allow-credentials").is_none());
    }
    let request = Request::post("/token")
        .header("origin", "https://evil.test")
        .header("content-type", "application/x-www-form-urlencoded");
    let body = format!("grant_type={JWT_BEARER}&assertion={}", world.good());
    let answer = world
        .server
        .send(request.body(Body::from(body)).unwrap())
        .await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (200, None)
    );
    let preflight = Request::builder()
        .method("OPTIONS")
        .uri("/token")
        .header("origin", "https://evil.test");
    let preflight = preflight
        .header("access-control-request-method", "POST")
        .body(Body::empty())
        .unwrap();
    let answer = world.server.send(preflight).await;
    assert_eq!(
        (answer.status, answer.header("access-control-allow-origin")),
        (405, None)
    );
}

#[tokio::test]
async fn rfc9700_4_12_1__nothing_is_redirected() {
    let world = World::new().await;
    for (path, status) in [
        ("/token", 200),
        ("/token/", 404),
        ("/explain", 200),
        ("/explain/", 404),
        ("/jwks", 405),
        ("//token", 404),
        ("/TOKEN", 404),
        ("/admin/v1/principals", 401),
        ("/admin/v1/principals/", 404),
    ] {
        let answer = world
            .server
            .form(
                path,
                &[("grant_type", JWT_BEARER), ("assertion", &world.good())],
            )
            .await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (status, None),
            "{path}: {}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn rfc9700_4_16_1__pages_cannot_be_framed() {
    let world = World::new().await;
    let request =
        Request::get("/reasons/replay").header("accept", "text/html,application/xhtml+xml");
    let answer = world
        .server
        .send(request.body(Body::empty()).unwrap())
        .await;
    assert!(
        answer
            .header("content-type")
            .unwrap()
            .starts_with("text/html")
    );
    assert!(
        answer
            .header("content-security-policy")
            .unwrap()
            .contains("frame-ancestors 'none'")
    );
    assert!(
        answer
            .text()
            .contains(carnet::reason::Reason::Replay.meaning())
    );
}

#[tokio::test]
async fn prof_jwks_1__keys_are_published_until_their_last_token_is_over() {
    let world = World::new().await;
    let token = world.exchange(&world.good()).await.token();
    let header: Value = serde_json::from_slice(
        &carnet_jose::from_base64url(token.split('.').next().unwrap()).unwrap(),
    )
    .unwrap();
    let kids = async || -> Vec<String> {
        let keys = world.server.get("/jwks").await.json()["keys"]
            .as_array()
            .unwrap()
            .clone();
        keys.iter()
            .map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect()
    };
    let first = header["kid"].as_str().unwrap().to_owned();
    for _ in 0..2 {
        let answer = world
            .server
            .admin("POST", "signing-keys/rotate", Value::Null)
            .await;
        assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
        let published = kids().await;
        let mut unique = published.clone();
        unique.sort();
        unique.dedup();
        assert_eq!(unique.len(), published.len());
        assert!(published.contains(&first));
    }
    // The longest token lives for an hour, and clocks differ by a minute.
    let at = async |seconds: i64| {
        world.server.clock.advance(seconds);
        let app = &world.server.app;
        app.keys
            .reload(&app.store, carnet::clock::Clock::now(&*world.server.clock))
            .await
            .unwrap();
        kids().await
    };
    assert!(at(3600).await.contains(&first));
    let left = at(61).await;
    assert!(!left.contains(&first), "{left:?}");
    // What is left is what signs now, and what signs next.
    assert_eq!(left.len(), 2, "{left:?}");
}

#[tokio::test]
async fn rfc8414_2_11__optional_metadata_members_are_left_out() {
    let world = World::new().await;
    let metadata = metadata(&world).await;
    for member in [
        "service_documentation",
        "ui_locales_supported",
        "op_policy_uri",
        "op_tos_uri",
        "registration_endpoint",
    ] {
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
        assert!(
            metadata[member].as_str().unwrap().starts_with("https://"),
            "{member}"
        );
    }
}

#[tokio::test]
async fn atk_073__metadata_names_this_servers_endpoints_only() {
    let world = World::with(&[("CARNET_ISSUER", "https://as.test/tenant1")]).await;
    let document = world
        .server
        .get("/.well-known/oauth-authorization-server/tenant1")
        .await
        .json();
    for member in ["token_endpoint", "jwks_uri"] {
        assert!(
            document[member]
                .as_str()
                .unwrap()
                .starts_with("https://as.test/tenant1/")
        );
    }
    assert_eq!(
        world
            .server
            .get("/.well-known/oauth-authorization-server/tenant2")
            .await
            .status,
        404
    );
}

// === our own API as a protected resource ===

const RESOURCE: &str = "/.well-known/oauth-protected-resource/admin";

#[tokio::test]
async fn rfc9728_2_1__the_resource_is_the_audience_of_admin_tokens() {
    let world = World::new().await;
    let document = world.server.get(RESOURCE).await.json();
    assert_eq!(
        document,
        json!({
            "resource": format!("{CARNET}/admin"),
            "authorization_servers": [CARNET],
            "scopes_supported": ["admin", "admin:read", "admin:credentials"],
            "bearer_methods_supported": ["header"],
            "dpop_signing_alg_values_supported": PROOF_ALGORITHMS,
            "resource_name": "Carnet admin API",
        })
    );
    // As listed: each scope can be had for that resource, and a token is taken in the header alone.
    let scopes = document["scopes_supported"].clone();
    let site = TestClient::register(
        &world.server,
        "site",
        "client_secret_basic",
        json!({ "scopes": scopes }),
    )
    .await;
    for scope in scopes.as_array().unwrap() {
        let form = [
            ("resource", document["resource"].as_str().unwrap()),
            ("scope", scope.as_str().unwrap()),
        ];
        let token = site.ask(&world.server, &form).await.token();
        assert_eq!(payload(&token)["aud"], document["resource"]);
        let status = async |path: String, header: Option<String>, body: String| {
            let mut request =
                Request::get(path).header("content-type", "application/x-www-form-urlencoded");
            if let Some(header) = header {
                request = request.header("authorization", header);
            }
            world
                .server
                .send(request.body(Body::from(body)).unwrap())
                .await
                .status
        };
        let path = "/admin/v1/federated-credentials".to_owned();
        assert_eq!(
            status(path.clone(), Some(format!("Bearer {token}")), String::new()).await,
            200,
            "{scope}"
        );
        assert_eq!(
            status(path.clone(), None, format!("access_token={token}")).await,
            401,
            "{scope}"
        );
        assert_eq!(
            status(format!("{path}?access_token={token}"), None, String::new()).await,
            401,
            "{scope}"
        );
    }
}

#[tokio::test]
async fn rfc9728_3_1__the_resource_metadata_is_between_host_and_path_of_the_issuer() {
    for (issuer, path) in [
        ("https://as.test", RESOURCE),
        ("https://as.test/", RESOURCE),
        (
            "https://as.test/tenant1",
            "/.well-known/oauth-protected-resource/tenant1/admin",
        ),
        (
            "https://as.test/t/",
            "/.well-known/oauth-protected-resource/t/admin",
        ),
    ] {
        let world = World::with(&[("CARNET_ISSUER", issuer)]).await;
        let document = world.server.get(path).await.json();
        assert_eq!(
            document["resource"],
            format!("{}/admin", issuer.trim_end_matches('/'))
        );
        assert_eq!(document["authorization_servers"], json!([issuer]));
    }
}

#[tokio::test]
async fn rfc9728_3_1_1__the_resource_metadata_refuses_other_methods_than_get() {
    let world = World::new().await;
    for method in ["POST", "PUT", "DELETE"] {
        let request = Request::builder()
            .method(method)
            .uri(RESOURCE)
            .body(Body::empty())
            .unwrap();
        assert_eq!(world.server.send(request).await.status, 405, "{method}");
    }
}

#[tokio::test]
async fn rfc9728_3_2_1__the_resource_metadata_is_json_without_empty_members() {
    let world = World::new().await;
    let answer = world.server.get(RESOURCE).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/json"))
    );
    assert_eq!(answer.header("cache-control"), Some("public, max-age=300"));
    for (name, value) in answer.json().as_object().unwrap() {
        let empty = value.is_null() || value == "" || value.as_array().is_some_and(Vec::is_empty);
        assert!(!empty, "{name}");
    }
}

#[tokio::test]
async fn rfc9728_3_3_1__only_the_admin_api_has_resource_metadata() {
    let world = World::new().await;
    let root = "/.well-known/oauth-protected-resource";
    for path in [
        "",
        "/",
        "/other",
        "/admin/",
        "/admin/v1",
        "/pypi",
        "/pypi/",
        "/Admin",
        "/x/admin",
    ] {
        assert_eq!(
            world.server.get(&format!("{root}{path}")).await.status,
            404,
            "{path}"
        );
    }
    assert_eq!(
        world.server.get(RESOURCE).await.json()["resource"],
        format!("{CARNET}/admin")
    );
}

#[tokio::test]
async fn rfc9728_4_1__server_metadata_and_resource_metadata_name_each_other() {
    let world = World::new().await;
    let server = metadata(&world).await;
    let resource = world.server.get(RESOURCE).await.json();
    assert_eq!(server["protected_resources"], json!([resource["resource"]]));
    assert_eq!(resource["authorization_servers"], json!([server["issuer"]]));
}

#[tokio::test]
async fn rfc9728_5_1_1__a_challenge_of_the_admin_api_links_the_resource_metadata() {
    for issuer in [CARNET, "https://as.test/tenant1"] {
        let world = World::with(&[("CARNET_ISSUER", issuer)]).await;
        let path = issuer.strip_prefix(CARNET).unwrap();
        for header in [None, Some("Bearer x"), Some("Basic eDp5")] {
            let mut request = Request::get(format!("{path}/admin/v1/principals"));
            if let Some(header) = header {
                request = request.header("authorization", header);
            }
            let answer = world
                .server
                .send(request.body(Body::empty()).unwrap())
                .await;
            assert!(
                matches!(answer.status, 400 | 401),
                "{header:?}: {}",
                answer.status
            );
            let challenge = answer.header("www-authenticate").unwrap();
            let url = challenge
                .split("resource_metadata=\"")
                .nth(1)
                .unwrap()
                .split('"')
                .next()
                .unwrap();
            let document = world
                .server
                .get(url.strip_prefix(CARNET).unwrap())
                .await
                .json();
            assert_eq!(
                document["resource"],
                format!("{issuer}/admin"),
                "{challenge}"
            );
        }
    }
}
