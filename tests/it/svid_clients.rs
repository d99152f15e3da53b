//! Clients that authenticate with a JWT-SVID (draft-ietf-oauth-spiffe-client-auth; checklist 2.8).

use serde_json::{Value, json};

use super::assertion::payload;
use super::platforms::{Platform, changed};
use super::spiffe::{ID, domain, domain_with, svid};
use crate::support::{Answer, CARNET, CLIENT_ASSERTION, FakeIssuer, TestClient, TestKey};

const JWT_SPIFFE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe";
const CLIENT_CREDENTIALS: (&str, &str) = ("grant_type", "client_credentials");
const OTHER: &str = "https://idp.test";

/// A server that trusts `td.test` and an ordinary issuer, with the client `robot`, which lists a rule of each.
async fn with_robot() -> Platform {
    let (platform, _) = domain().await;
    platform
        .server
        .network
        .add(&FakeIssuer::new(OTHER, TestKey::rsa(1)));
    platform
        .server
        .put(
            "trusted-issuers/other",
            json!({ "profile": "generic", "issuer": OTHER }),
        )
        .await;
    list(&platform, "robot", "other", json!({ "subject": "robot" })).await;
    platform
}

/// Registers a client that lists the rule of `td.test` and one of this trusted issuer.
async fn list(platform: &Platform, client: &str, issuer: &str, matcher: Value) {
    let rule = json!({
        "principal": "joel", "trusted_issuer": issuer, "match": matcher,
        "permissions": [{ "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"] }],
    });
    platform
        .server
        .put(&format!("federated-credentials/of-{issuer}"), rule)
        .await;
    let listed = json!({ "auth_method": "federated", "federated_credentials": ["rule", format!("of-{issuer}")] });
    platform
        .server
        .put(&format!("clients/{client}"), listed)
        .await;
}

/// The parameters that present `assertion` as the robot's.
fn of_robot<'a>(assertion_type: &'a str, assertion: &'a str) -> [(&'a str, &'a str); 3] {
    [
        ("client_id", "robot"),
        ("client_assertion_type", assertion_type),
        ("client_assertion", assertion),
    ]
}

async fn ask(platform: &Platform, assertion_type: &str, assertion: &str) -> Answer {
    let form = [
        of_robot(assertion_type, assertion).as_slice(),
        &[CLIENT_CREDENTIALS],
    ]
    .concat();
    platform.server.form("/token", &form).await
}

fn signed(platform: &Platform, changes: Value) -> String {
    platform.issuer.key().sign(&svid(platform, changes))
}

/// An assertion of the ordinary issuer about its robot.
fn ordinary(platform: &Platform) -> Value {
    platform.claims(json!({ "iss": OTHER, "sub": "robot" }))
}

#[tokio::test]
async fn spiffe_ca_1__an_svid_authenticates_the_client_that_lists_its_rule() {
    let platform = with_robot().await;
    let plain = signed(&platform, json!({}));
    // What a document names as its issuer says nothing, though it looks like a client's own assertion.
    let with_issuer = signed(&platform, json!({ "iss": ID }));
    for (assertion_type, document) in [
        (JWT_SPIFFE, &plain),
        (JWT_SPIFFE, &with_issuer),
        (CLIENT_ASSERTION, &plain),
        (CLIENT_ASSERTION, &with_issuer),
    ] {
        let token = ask(&platform, assertion_type, document).await.token();
        let claims = payload(&token);
        assert_eq!(
            (&claims["client_id"], &claims["sub"]),
            (&json!("robot"), &json!("pr_joel"))
        );
        let about = [
            of_robot(assertion_type, document).as_slice(),
            &[("token", token.as_str())],
        ]
        .concat();
        let ask = async |path: &str| platform.server.form(path, &about).await;
        assert_eq!(
            ask("/introspect").await.json()["active"],
            true,
            "{assertion_type}"
        );
        assert_eq!(ask("/revoke").await.status, 200, "{assertion_type}");
        assert_eq!(
            ask("/introspect").await.json()["active"],
            false,
            "{assertion_type}"
        );
    }
}

#[tokio::test]
async fn spiffe_ca_1__the_only_audience_of_a_clients_svid_is_the_issuer_identifier() {
    let platform = with_robot().await;
    let token_endpoint = format!("{CARNET}/token");
    ask(
        &platform,
        JWT_SPIFFE,
        &signed(&platform, json!({ "aud": [CARNET] })),
    )
    .await
    .token();
    for (aud, reason) in [
        (json!(token_endpoint), "aud_mismatch"),
        (json!([token_endpoint]), "aud_mismatch"),
        (json!("https://other.test"), "aud_mismatch"),
        (json!([CARNET, token_endpoint]), "aud_not_single"),
    ] {
        let document = signed(&platform, json!({ "aud": aud }));
        ask(&platform, JWT_SPIFFE, &document)
            .await
            .refused(401, "invalid_client", reason);
        let about = [
            of_robot(JWT_SPIFFE, &document).as_slice(),
            &[("token", "x")],
        ]
        .concat();
        for path in ["/introspect", "/revoke"] {
            platform
                .server
                .form(path, &about)
                .await
                .refused(401, "invalid_client", reason);
        }
    }
    // As the grant's assertion it is as good as ever.
    platform
        .present_text(&signed(&platform, json!({ "aud": token_endpoint })))
        .await
        .token();
}

#[tokio::test]
async fn spiffe_ca_1__an_svid_whose_id_no_listed_rule_admits_does_not_authenticate() {
    let platform = with_robot().await;
    let other = signed(
        &platform,
        json!({ "sub": "spiffe://td.test/ns/ci/sa/other" }),
    );
    ask(&platform, JWT_SPIFFE, &other).await.refused(
        401,
        "invalid_client",
        "no_matching_credential",
    );
    let about = [of_robot(JWT_SPIFFE, &other).as_slice(), &[("token", "x")]].concat();
    for path in ["/introspect", "/revoke"] {
        platform.server.form(path, &about).await.refused(
            401,
            "invalid_client",
            "no_matching_credential",
        );
    }
    let good = signed(&platform, json!({}));
    ask(&platform, JWT_SPIFFE, &good).await.token();
    let unlisted = json!({ "federated_credentials": ["of-other"] });
    assert_eq!(
        platform
            .server
            .admin("PATCH", "clients/robot", unlisted)
            .await
            .status,
        200
    );
    ask(&platform, JWT_SPIFFE, &good).await.refused(
        401,
        "invalid_client",
        "no_matching_credential",
    );
}

#[tokio::test]
async fn spiffe_ca_1__an_svid_authenticates_only_a_federated_client_named_in_the_request() {
    let platform = with_robot().await;
    let good = signed(&platform, json!({}));
    let nameless = [
        ("client_assertion_type", JWT_SPIFFE),
        ("client_assertion", &good),
        CLIENT_CREDENTIALS,
    ];
    let answer = platform.server.form("/token", &nameless).await;
    answer.refused(401, "invalid_client", "client_authentication_failed");
    for method in [
        "none",
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt",
    ] {
        TestClient::register(&platform.server, method, method, json!({})).await;
    }
    for name in [
        "none",
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt",
        "nobody",
        "Robot",
        ID,
    ] {
        let answer = platform
            .server
            .form(
                "/token",
                &[nameless.as_slice(), &[("client_id", name)]].concat(),
            )
            .await;
        answer.refused(401, "invalid_client", "client_authentication_failed");
    }
    platform
        .server
        .form(
            "/token",
            &[nameless.as_slice(), &[("client_id", "robot")]].concat(),
        )
        .await
        .token();
}

#[tokio::test]
async fn spiffe_ca_1__other_assertions_are_refused_under_the_svid_assertion_type() {
    let platform = with_robot().await;
    let key = TestKey::rsa(1);
    let token = key.sign(&ordinary(&platform));
    ask(&platform, JWT_SPIFFE, &token).await.refused(
        401,
        "invalid_client",
        "client_authentication_failed",
    );
    ask(&platform, CLIENT_ASSERTION, &token).await.token();
    // Nor does the name of an unknown trust domain make one of it.
    let posing = key.sign(&changed(
        &ordinary(&platform),
        json!({ "sub": "spiffe://unknown.test/robot" }),
    ));
    ask(&platform, JWT_SPIFFE, &posing).await.refused(
        401,
        "invalid_client",
        "client_authentication_failed",
    );
    // A client's own key signs no documents.
    let signer =
        TestClient::register(&platform.server, "signer", "private_key_jwt", json!({})).await;
    let own = signer.key().sign(&signer.claims(platform.server.now()));
    let form = |assertion_type| {
        [
            ("token", "x"),
            ("client_assertion_type", assertion_type),
            ("client_assertion", &own),
        ]
    };
    let answer = platform.server.form("/introspect", &form(JWT_SPIFFE)).await;
    answer.refused(401, "invalid_client", "iss_unknown");
    assert_eq!(
        platform
            .server
            .form("/introspect", &form(CLIENT_ASSERTION))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn spiffe_ca_1__an_issuer_with_the_issuer_name_of_a_trust_domain_signs_no_svids() {
    let (name, key) = ("https://oidc.td.test", TestKey::rsa(1));
    let (platform, _) = domain_with(json!({ "issuer": name })).await;
    let keys = json!({ "source": "static", "jwks": { "keys": [key.jwk()] } });
    let provider = json!({ "profile": "generic", "issuer": name, "keys": keys, "audiences": ["https://second.example"] });
    platform
        .server
        .put("trusted-issuers/provider", provider)
        .await;
    list(&platform, "robot", "provider", json!({ "subject": ID })).await;
    let unlisted = json!({ "federated_credentials": ["of-provider"] });
    assert_eq!(
        platform
            .server
            .admin("PATCH", "clients/robot", unlisted)
            .await
            .status,
        200
    );
    let of_provider = || key.sign(&platform.claims(json!({ "iss": name, "sub": ID })));
    ask(&platform, CLIENT_ASSERTION, &of_provider())
        .await
        .token();
    ask(&platform, JWT_SPIFFE, &of_provider()).await.refused(
        401,
        "invalid_client",
        "client_authentication_failed",
    );
}

#[tokio::test]
async fn spiffe_ca_1__svids_with_a_bad_signature_do_not_tell_which_clients_exist() {
    let platform = with_robot().await;
    for method in ["none", "client_secret_basic", "private_key_jwt"] {
        TestClient::register(&platform.server, method, method, json!({})).await;
    }
    let forged = TestKey::rsa(2).named("rsa-0");
    let wrong = json!({ "sub": "spiffe://td.test/other", "aud": "https://other.test" });
    let assertions = [
        forged.sign(&svid(&platform, json!({}))),
        forged.sign(&svid(&platform, wrong)),
        TestKey::rsa(2).sign(&svid(&platform, json!({}))),
        forged.sign(&svid(
            &platform,
            json!({ "sub": "spiffe://unknown.test/robot" }),
        )),
        forged.sign(&ordinary(&platform)),
        TestKey::ed25519("ed")
            .sign(&json!({ "iss": "robot", "sub": "robot", "aud": CARNET, "exp": 1 })),
        "x".to_owned(),
    ];
    for assertion in assertions {
        let mut told = Vec::new();
        for client in [
            None,
            Some("robot"),
            Some("none"),
            Some("client_secret_basic"),
            Some("private_key_jwt"),
            Some("x"),
        ] {
            let mut form = vec![
                CLIENT_CREDENTIALS,
                ("client_assertion_type", JWT_SPIFFE),
                ("client_assertion", &assertion),
            ];
            form.extend(client.map(|id| ("client_id", id)));
            let answer = platform.server.form("/token", &form).await;
            assert_eq!(
                (answer.status, answer.json()["error"].as_str()),
                (401, Some("invalid_client"))
            );
            let mut body = answer.json();
            body.as_object_mut().unwrap().remove("error_id");
            told.push(body);
        }
        assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
    }
}

#[tokio::test]
async fn spiffe_ca_1__an_svid_is_used_up_where_its_trusted_issuer_says_so() {
    let platform = with_robot().await;
    let document = signed(&platform, json!({}));
    ask(&platform, JWT_SPIFFE, &document).await.token();
    ask(&platform, JWT_SPIFFE, &document).await.token();
    let once = json!({ "replay": "jti_or_token_hash" });
    assert_eq!(
        platform
            .server
            .admin("PATCH", "trusted-issuers/platform", once)
            .await
            .status,
        200
    );
    ask(&platform, JWT_SPIFFE, &document).await.token();
    for assertion_type in [JWT_SPIFFE, CLIENT_ASSERTION] {
        ask(&platform, assertion_type, &document)
            .await
            .refused(401, "invalid_client", "replay");
        let about = [
            of_robot(assertion_type, &document).as_slice(),
            &[("token", "x")],
        ]
        .concat();
        platform
            .server
            .form("/introspect", &about)
            .await
            .refused(401, "invalid_client", "replay");
    }
    platform
        .present_text(&document)
        .await
        .refused(400, "invalid_grant", "replay");
}

#[tokio::test]
async fn spiffe_ca_1__the_metadata_lists_spiffe_jwt_only_while_a_trust_domain_is_trusted() {
    let platform = with_robot().await;
    let listed = async || {
        let metadata = platform
            .server
            .get("/.well-known/oauth-authorization-server")
            .await
            .json();
        ["token", "introspection", "revocation"].map(|endpoint| {
            let methods = &metadata[format!("{endpoint}_endpoint_auth_methods_supported")];
            methods.as_array().unwrap().contains(&json!("spiffe_jwt"))
        })
    };
    assert_eq!(listed().await, [true; 3]);
    ask(&platform, JWT_SPIFFE, &signed(&platform, json!({})))
        .await
        .token();
    let off = json!({ "enabled": false });
    assert_eq!(
        platform
            .server
            .admin("PATCH", "trusted-issuers/platform", off)
            .await
            .status,
        200
    );
    assert_eq!(listed().await, [false; 3]);
    assert_eq!(
        ask(&platform, JWT_SPIFFE, &signed(&platform, json!({})))
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn spiffe_ca_3__a_wit_svid_does_not_authenticate_a_client() {
    let platform = with_robot().await;
    let bound = svid(
        &platform,
        json!({ "cnf": { "jwk": TestKey::ec("own", "ES256").jwk() } }),
    );
    let typed = changed(&TestKey::rsa(0).header(), json!({ "typ": "wit+jwt" }));
    let wit = TestKey::rsa(0).sign_with_header(&typed, &bound);
    for (document, reason) in [
        (&wit, "typ_denied"),
        (&TestKey::rsa(0).sign(&bound), "confirmation_unsupported"),
    ] {
        for assertion_type in [JWT_SPIFFE, CLIENT_ASSERTION] {
            ask(&platform, assertion_type, document)
                .await
                .refused(401, "invalid_client", reason);
        }
    }
    // Its draft sends it in headers of its own, which say nothing here.
    let headers = [
        ("oauth-client-attestation", wit.as_str()),
        ("oauth-client-attestation-pop", wit.as_str()),
    ];
    let form = [CLIENT_CREDENTIALS, ("client_id", "robot")];
    let answer = platform.server.form_with("/token", &headers, &form).await;
    answer.refused(401, "invalid_client", "client_authentication_failed");
}

#[tokio::test]
async fn spiffe_ca_3__another_type_of_client_assertion_is_refused() {
    let platform = with_robot().await;
    let good = signed(&platform, json!({}));
    for other in [
        "urn:ietf:params:oauth:client-assertion-type:wit-spiffe",
        "urn:ietf:params:oauth:client-assertion-type:jwt-svid",
        "urn:ietf:params:oauth:client-assertion-type:jwt-spiffe ",
        "jwt-spiffe",
        &JWT_SPIFFE.to_uppercase(),
    ] {
        ask(&platform, other, &good).await.refused(
            401,
            "invalid_client",
            "client_authentication_failed",
        );
    }
    ask(&platform, JWT_SPIFFE, &good).await.token();
}
