//! The FAPI 2.0 Security Profile (final) as a property of a client, beside clients that are not held to it.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use carnet::tls::{ClientCertificate, jwk};
use serde_json::{Value, json};

use crate::support::{
    Answer, Authority, CARNET, CLIENT_ASSERTION, TestClient, TestKey, TestServer, World, encode,
    permission,
};

/// The claims of an assertion with these changed.
fn with(mut claims: Value, changes: &Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// A proof for the token endpoint by a key of this kind.
fn prove(key: &TestKey, server: &TestServer) -> String {
    let mut jwk = key.jwk();
    for name in ["kid", "use", "alg"] {
        jwk.as_object_mut().unwrap().shift_remove(name);
    }
    let header = json!({ "typ": "dpop+jwt", "alg": key.algorithm, "jwk": jwk });
    let id = uuid::Uuid::from_bytes(carnet::ids::random()).to_string();
    let claims =
        json!({ "jti": id, "htm": "POST", "htu": format!("{CARNET}/token"), "iat": server.now() });
    key.sign_with_header(&header, &claims)
}

async fn ask(server: &TestServer, assertion: &str, proof: Option<&str>) -> Answer {
    let form = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", CLIENT_ASSERTION),
        ("client_assertion", assertion),
    ];
    let headers: Vec<(&str, &str)> = proof.map(|proof| ("dpop", proof)).into_iter().collect();
    server.form_with("/token", &headers, &form).await
}

async fn held_to_it(server: &TestServer) -> TestClient {
    let members = json!({ "fapi2": true, "permissions": [permission(&["publish"])] });
    TestClient::register(server, "bank", "private_key_jwt", members).await
}

#[tokio::test]
async fn only_clients_with_keys_of_their_own_can_be_held_to_fapi_2() {
    let world = World::new().await;
    let server = &world.server;
    for method in ["none", "client_secret_basic", "client_secret_post"] {
        let document = json!({ "auth_method": method, "fapi2": true });
        let answer = server.admin("PUT", "clients/bank", document).await;
        assert_eq!(answer.status, 422, "{}", answer.text());
        assert_eq!(answer.json()["errors"][0]["pointer"], "/fapi2");
    }
    // A key for an algorithm that the profile does not have is of no use.
    let rsa = TestKey::rsa(1);
    let document = |key: &TestKey| json!({ "auth_method": "private_key_jwt", "fapi2": true, "jwks": { "keys": [key.jwk()] } });
    let answer = server
        .admin("PUT", "clients/bank", document(&rsa.using("RS256")))
        .await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    let detail = answer.json()["errors"][0]["detail"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(detail.contains("PS256, ES256, EdDSA"), "{detail}");
    for key in [
        rsa.using("PS256"),
        TestKey::ec("k", "ES256"),
        TestKey::ed25519("k"),
    ] {
        let saved = server.put("clients/bank", document(&key)).await;
        assert_eq!(saved["fapi2"], true, "{saved:#}");
    }
    // Nor can it be met by a server that signs otherwise.
    let other =
        World::on(TestServer::with(&[("CARNET_TOKENS__SIGNING_ALGORITHM", "RS256")]).await).await;
    let answer = other
        .server
        .admin("PUT", "clients/bank", document(&TestKey::ec("k", "ES256")))
        .await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(
        answer.text().contains("signs tokens with RS256"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn a_client_of_fapi_2_gets_bound_tokens_alone() {
    let world = World::new().await;
    let server = &world.server;
    let client = held_to_it(server).await;
    let assertion = || client.key().sign(&client.claims(server.now()));
    let answer = ask(server, &assertion(), None).await;
    answer.refused(400, "invalid_request", "fapi_unmet");
    assert!(
        answer.text().contains("has to be bound"),
        "{}",
        answer.text()
    );
    let proof = prove(&TestKey::ec("", "ES256"), server);
    let answer = ask(server, &assertion(), Some(&proof)).await;
    assert_eq!(
        (answer.status, answer.json()["token_type"].as_str()),
        (200, Some("DPoP"))
    );
    // The algorithms of its proofs are those of the profile; other clients may use more.
    let rsa = TestKey::rsa(1).using("RS256");
    let answer = ask(server, &assertion(), Some(&prove(&rsa, server))).await;
    answer.refused(400, "invalid_request", "fapi_unmet");
    assert!(
        answer.text().contains("signed with RS256"),
        "{}",
        answer.text()
    );
    let lax = TestClient::publisher(server, "lax", "private_key_jwt").await;
    let signed = lax.key().sign(&lax.claims(server.now()));
    assert_eq!(
        ask(server, &signed, Some(&prove(&rsa, server)))
            .await
            .status,
        200
    );
    let signed = lax.key().sign(&lax.claims(server.now()));
    assert_eq!(ask(server, &signed, None).await.status, 200);
}

#[tokio::test]
async fn the_assertions_of_a_client_of_fapi_2_are_those_of_the_profile() {
    let world = World::new().await;
    let server = &world.server;
    let client = held_to_it(server).await;
    let now = server.now();
    let key = TestKey::ec("", "ES256");
    let send = async |changes: Value| {
        let assertion = client.key().sign(&with(client.claims(now), &changes));
        ask(server, &assertion, Some(&prove(&key, server))).await
    };
    assert_eq!(send(json!({})).await.status, 200);
    // The issuer identifier as a string: no array, not even of it alone.
    let answer = send(json!({ "aud": [CARNET] })).await;
    answer.refused(401, "invalid_client", "fapi_unmet");
    assert!(
        answer.text().contains("must be a string"),
        "{}",
        answer.text()
    );
    for (changes, reason) in [
        (json!({ "aud": format!("{CARNET}/token") }), "aud_mismatch"),
        (json!({ "exp": now + 301 }), "lifetime_too_long"),
        (json!({ "iat": now + 120, "exp": now + 180 }), "iat_future"),
        (json!({ "exp": now - 300, "iat": now - 360 }), "expired"),
    ] {
        let answer = send(changes.clone()).await;
        answer.refused(401, "invalid_client", reason);
    }
    assert_eq!(send(json!({ "exp": now + 300 })).await.status, 200);
    // A key that serves several algorithms serves those of the profile.
    let rsa = TestKey::rsa(1).using("PS256");
    let mut jwk = rsa.jwk();
    jwk.as_object_mut().unwrap().shift_remove("alg");
    let document = json!({
        "auth_method": "private_key_jwt", "fapi2": true, "jwks": { "keys": [jwk] }, "permissions": [permission(&["publish"])],
    });
    server.put("clients/bank", document).await;
    let signed = |algorithm: &'static str| rsa.using(algorithm).sign(&client.claims(now));
    let answer = ask(server, &signed("RS256"), Some(&prove(&key, server))).await;
    answer.refused(401, "invalid_client", "client_authentication_failed");
    assert_eq!(
        ask(server, &signed("PS256"), Some(&prove(&key, server)))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_client_of_fapi_2_may_authenticate_by_its_certificate() {
    let settings = [
        (
            "CARNET_SERVER__CLIENT_CERT_LISTEN",
            "unix:/run/carnet-test/client-cert.sock",
        ),
        ("CARNET_SERVER__MTLS_URL", "https://mtls.as.test"),
    ];
    let world = World::on(TestServer::with(&settings).await).await;
    let server = &world.server;
    let (certificate, _) = Authority::new().certify(&["bank"], 3000 * 86_400);
    let document = json!({
        "auth_method": "self_signed_tls_client_auth", "fapi2": true, "permissions": [permission(&["publish"])],
        "jwks": { "keys": [jwk::jwk(&certificate).unwrap()] },
    });
    server.put("clients/bank", document).await;
    let form = encode(&[("grant_type", "client_credentials"), ("client_id", "bank")]);
    let read = ClientCertificate::from_der(&certificate.to_der().unwrap()).unwrap();
    let request = Request::post("/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .extension(Arc::new(read))
        .body(Body::from(form));
    let answer = server.send(request.unwrap()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn a_client_of_fapi_2_gets_no_token_that_is_signed_otherwise() {
    let world = World::new().await;
    let server = &world.server;
    let client = held_to_it(server).await;
    let other = [("CARNET_TOKENS__SIGNING_ALGORITHM", "RS256")];
    let node = server.another_node_with(&other).await;
    let rotated = node.admin("POST", "signing-keys/rotate", Value::Null).await;
    assert!(matches!(rotated.status, 200 | 201), "{}", rotated.text());
    server.clock.advance(301);
    // The key that was to be next has become the active one; that of the new algorithm follows it.
    let rotated = node.admin("POST", "signing-keys/rotate", Value::Null).await;
    assert!(matches!(rotated.status, 200 | 201), "{}", rotated.text());
    let proof = prove(&TestKey::ec("", "ES256"), &node);
    let assertion = client.key().sign(&client.claims(node.now()));
    let answer = ask(&node, &assertion, Some(&proof)).await;
    answer.refused(400, "invalid_request", "fapi_unmet");
    assert!(
        answer.text().contains("signs tokens with RS256"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn an_explanation_says_that_the_profile_is_not_met() {
    let world = World::new().await;
    let server = &world.server;
    let client = held_to_it(server).await;
    let assertion = client.key().sign(&client.claims(server.now()));
    let question = json!({
        "grant_type": "client_credentials", "client_assertion_type": CLIENT_ASSERTION, "client_assertion": assertion,
    });
    let body = server.admin("POST", "explanations", question).await.json();
    assert_eq!(body["reason"], "fapi_unmet", "{body:#}");
    let checks = body["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["field"] == "fapi2");
    assert_eq!(check.unwrap()["met"], false, "{body:#}");
}
