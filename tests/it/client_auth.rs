//! Registered clients: how they prove who they are, what they get for themselves, and how they are managed (RFC 6749 sections 2.3 and
//! 4.4, RFC 7521, RFC 7523; contract sections 4 and 6).

use std::net::SocketAddr;

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::Request;
use serde_json::{Value, json};

use super::assertion::payload;
use crate::support::{
    ACCESS_TOKEN, Answer, CARNET, CLIENT_ASSERTION, FakeIssuer, JWT_BEARER, R1, R2, TOKEN_EXCHANGE,
    TestClient, TestDb, TestKey, TestServer, World, basic, carnet_in, compact, encode, permission,
};

const ADMIN: &str = "https://as.test/admin";
const CLIENT_CREDENTIALS: (&str, &str) = ("grant_type", "client_credentials");

/// A request for a token with this assertion as the client's, with these parameters beside.
async fn prove(server: &TestServer, assertion: &str, parameters: &[(&str, &str)]) -> Answer {
    let proof = [
        ("client_assertion_type", CLIENT_ASSERTION),
        ("client_assertion", assertion),
    ];
    server
        .form("/token", &[proof.as_slice(), parameters].concat())
        .await
}

/// A request that comes with these credentials in its header.
async fn with_header(server: &TestServer, authorization: &str, form: &[(&str, &str)]) -> Answer {
    server
        .form_with("/token", &[("authorization", authorization)], form)
        .await
}

/// What an answer says, beside the id of its own.
fn class(answer: &Answer) -> (u16, Value, Option<String>) {
    let mut body = answer.json();
    body.as_object_mut().unwrap().remove("error_id");
    (
        answer.status,
        body,
        answer.header("www-authenticate").map(str::to_owned),
    )
}

// === secrets ===

#[tokio::test]
async fn rfc6749_2_3_1_1__a_secret_in_the_header_is_form_encoded() {
    let world = World::new().await;
    let bot = TestClient::publisher(&world.server, "b.o-t", "client_secret_basic").await;
    bot.ask(&world.server, &[]).await.token();
    let every_byte = |text: &str| {
        text.bytes()
            .map(|byte| format!("%{byte:02X}"))
            .collect::<Vec<_>>()
            .concat()
    };
    let header = basic(&every_byte("b.o-t"), &every_byte(bot.secret()));
    with_header(&world.server, &header, &[CLIENT_CREDENTIALS])
        .await
        .token();
    let header = basic("b.o-t", &format!("{}+", bot.secret()));
    with_header(&world.server, &header, &[CLIENT_CREDENTIALS])
        .await
        .refused(401, "invalid_client", "client_authentication_failed");
}

#[tokio::test]
async fn rfc6749_2_3_1_2__a_secret_is_accepted_only_by_its_registered_method() {
    let world = World::new().await;
    let header = TestClient::publisher(&world.server, "header", "client_secret_basic").await;
    let body = TestClient::publisher(&world.server, "body", "client_secret_post").await;
    header.ask(&world.server, &[]).await.token();
    body.ask(&world.server, &[]).await.token();
    let form = [
        CLIENT_CREDENTIALS,
        ("client_id", "header"),
        ("client_secret", header.secret()),
    ];
    let in_body = world.server.form("/token", &form).await;
    let in_header = with_header(
        &world.server,
        &basic("body", body.secret()),
        &[CLIENT_CREDENTIALS],
    )
    .await;
    for answer in [in_body, in_header] {
        answer.refused(401, "invalid_client", "client_method_mismatch");
    }
    let nameless = [CLIENT_CREDENTIALS, ("client_secret", body.secret())];
    world.server.form("/token", &nameless).await.refused(
        401,
        "invalid_client",
        "client_authentication_failed",
    );
}

#[tokio::test]
async fn rfc6749_2_3_1_4__many_wrong_secrets_from_one_address_are_rate_limited() {
    let world = World::new().await;
    let [bot, other] =
        ["bot", "other"].map(|id| TestClient::publisher(&world.server, id, "client_secret_basic"));
    let (bot, other) = (bot.await, other.await);
    let mut last = bot.with_secret("guess").ask(&world.server, &[]).await;
    last.refused(401, "invalid_client", "client_authentication_failed");
    for _ in 0..50 {
        if last.status == 401 {
            last = bot.with_secret("guess").ask(&world.server, &[]).await;
        }
    }
    last.refused(429, "temporarily_unavailable", "rate_limited");
    assert!(last.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    // The right one would be a guess like any other; the client itself comes from elsewhere.
    bot.ask(&world.server, &[])
        .await
        .refused(429, "temporarily_unavailable", "rate_limited");
    let request = Request::post("/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .header("authorization", basic("bot", bot.secret()))
        .extension(ConnectInfo(SocketAddr::from(([198, 51, 100, 7], 4000))));
    world
        .server
        .send(
            request
                .body(Body::from(encode(&[CLIENT_CREDENTIALS])))
                .unwrap(),
        )
        .await
        .token();
    other.ask(&world.server, &[]).await.token();
}

#[tokio::test]
async fn rfc6749_2_3_2__a_client_id_alone_authenticates_no_client() {
    let world = World::new().await;
    for method in [
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt",
    ] {
        TestClient::register(&world.server, method, method, json!({})).await;
        let assertion = world.good();
        let answer = world
            .exchange_with(&assertion, &[("client_id", method)])
            .await;
        answer.refused(401, "invalid_client", "client_authentication_failed");
        world.exchange(&assertion).await.token();
    }
    // Nor does that of a public client.
    TestClient::register(&world.server, "open", "none", json!({})).await;
    let form = [("token", "x"), ("client_id", "open")];
    world.server.form("/introspect", &form).await.refused(
        401,
        "invalid_client",
        "client_authentication_failed",
    );
}

#[tokio::test]
async fn rfc6749_3_2_1_1__a_client_with_credentials_is_refused_without_them() {
    let world = World::new().await;
    for method in [
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt",
    ] {
        let bot = TestClient::publisher(&world.server, method, method).await;
        for grant in ["client_credentials", JWT_BEARER, TOKEN_EXCHANGE] {
            let form = [("grant_type", grant), ("client_id", method)];
            world.server.form("/token", &form).await.refused(
                401,
                "invalid_client",
                "client_authentication_failed",
            );
        }
        bot.ask(&world.server, &[]).await.token();
    }
}

#[tokio::test]
async fn atk_096__malformed_basic_headers_are_refused_as_invalid_client() {
    let world = World::new().await;
    let bot = TestClient::publisher(&world.server, "bot", "client_secret_basic").await;
    let good = basic("bot", bot.secret());
    let encoded = good.strip_prefix("Basic ").unwrap();
    for header in [
        format!("Basic {}", "A".repeat(64 * 1024)),
        format!("Basic{encoded}"),
        format!("Bearer {encoded}"),
        format!("Basic {encoded}!"),
        format!("Basic {encoded} {encoded}"),
        basic("bot", ""),
        basic("", bot.secret()),
        basic("BOT", bot.secret()),
        basic("bot ", bot.secret()),
        basic("bot", &format!("{}%zz", bot.secret())),
        basic("bot", &format!("{}%00", bot.secret())),
    ] {
        let answer = with_header(&world.server, &header, &[CLIENT_CREDENTIALS]).await;
        answer.refused(401, "invalid_client", "client_authentication_failed");
    }
    let twice = [
        ("authorization", good.as_str()),
        ("authorization", good.as_str()),
    ];
    let answer = world
        .server
        .form_with("/token", &twice, &[CLIENT_CREDENTIALS])
        .await;
    answer.refused(401, "invalid_client", "client_authentication_failed");
    with_header(&world.server, &good, &[CLIENT_CREDENTIALS])
        .await
        .token();
}

#[tokio::test]
async fn atk_097__a_client_id_in_the_body_that_differs_from_the_header_is_refused() {
    let world = World::new().await;
    let bot = TestClient::publisher(&world.server, "bot", "client_secret_basic").await;
    TestClient::publisher(&world.server, "other", "client_secret_basic").await;
    for (client_id, status) in [("bot", 200), ("other", 401), ("nobody", 401), ("Bot", 401)] {
        let answer = bot.ask(&world.server, &[("client_id", client_id)]).await;
        assert_eq!(answer.status, status, "{client_id}: {}", answer.text());
    }
}

#[tokio::test]
async fn atk_099__an_unknown_client_answers_like_a_wrong_secret() {
    let world = World::new().await;
    TestClient::publisher(&world.server, "bot", "client_secret_basic").await;
    TestClient::publisher(&world.server, "off", "client_secret_basic").await;
    world
        .server
        .admin("PATCH", "clients/off", json!({ "enabled": false }))
        .await;
    TestClient::publisher(&world.server, "signer", "private_key_jwt").await;
    let ask = async |id: &str| {
        with_header(
            &world.server,
            &basic(id, "cns_wrong"),
            &[CLIENT_CREDENTIALS],
        )
        .await
    };
    let wrong = class(&ask("bot").await);
    for id in ["nobody", "off", "signer"] {
        assert_eq!(class(&ask(id).await), wrong, "{id}");
    }
    // The same work is done for each, so the fastest of several takes about as long.
    let mut fastest = [std::time::Duration::MAX; 2];
    for _ in 0..12 {
        for (fastest, id) in fastest.iter_mut().zip(["bot", "nobody"]) {
            let start = std::time::Instant::now();
            ask(id).await;
            *fastest = start.elapsed().min(*fastest);
        }
    }
    let [known, unknown] = fastest.map(|time| time.as_secs_f64());
    assert!(
        known < unknown * 5.0 && unknown < known * 5.0,
        "{fastest:?}"
    );
}

#[tokio::test]
async fn atk_099__an_unknown_client_answers_like_a_wrong_key() {
    let world = World::new().await;
    let signer = TestClient::publisher(&world.server, "signer", "private_key_jwt").await;
    TestClient::publisher(&world.server, "bot", "client_secret_basic").await;
    let stranger = TestKey::ec("signer", "ES256");
    let mut answers = Vec::new();
    for id in ["signer", "nobody", "bot"] {
        let mut claims = signer.claims(world.server.now());
        (claims["iss"], claims["sub"]) = (json!(id), json!(id));
        // What else is wrong is not told before the signature is known to be good.
        claims["exp"] = json!(1);
        answers.push(class(
            &prove(
                &world.server,
                &stranger.sign(&claims),
                &[CLIENT_CREDENTIALS],
            )
            .await,
        ));
    }
    assert_eq!(answers[0].0, 401);
    assert!(
        answers.iter().all(|answer| *answer == answers[0]),
        "{answers:?}"
    );
}

// === assertions of a client's own ===

/// A world with the client `signer`, which signs its own assertions.
async fn signing() -> (World, TestClient) {
    let world = World::new().await;
    let signer = TestClient::publisher(&world.server, "signer", "private_key_jwt").await;
    (world, signer)
}

/// Asks for a token with these claims changed, signed by the client's key.
async fn prove_with(
    world: &World,
    signer: &TestClient,
    changed: Value,
    parameters: &[(&str, &str)],
) -> Answer {
    let mut claims = signer.claims(world.server.now());
    for (name, value) in changed.as_object().unwrap() {
        if value.is_null() {
            claims.as_object_mut().unwrap().remove(name);
        } else {
            claims[name] = value.clone();
        }
    }
    prove(
        &world.server,
        &signer.key().sign(&claims),
        &[&[CLIENT_CREDENTIALS], parameters].concat(),
    )
    .await
}

#[tokio::test]
async fn rfc7523_3_2b__a_client_assertion_whose_iss_sub_and_client_id_differ_is_refused() {
    let (world, signer) = signing().await;
    TestClient::publisher(&world.server, "other", "private_key_jwt").await;
    prove_with(&world, &signer, json!({}), &[("client_id", "signer")])
        .await
        .token();
    for (changed, reason) in [
        // What names another issuer than its subject is a platform's, or nothing.
        (json!({ "iss": "other" }), "iss_unknown"),
        (json!({ "sub": "other" }), "iss_unknown"),
        (
            json!({ "iss": "other", "sub": "other" }),
            "client_authentication_failed",
        ),
        (json!({ "iss": null }), "claim_missing"),
        (json!({ "sub": null }), "iss_unknown"),
        (
            json!({ "iss": "Signer", "sub": "Signer" }),
            "client_authentication_failed",
        ),
        (json!({ "iss": ["signer"] }), "claim_type"),
    ] {
        prove_with(&world, &signer, changed.clone(), &[])
            .await
            .refused(401, "invalid_client", reason);
        for client_id in ["signer", "other", "nobody"] {
            let named = prove_with(
                &world,
                &signer,
                changed.clone(),
                &[("client_id", client_id)],
            )
            .await;
            named.refused(401, "invalid_client", reason);
        }
    }
    for client_id in ["other", "nobody"] {
        let answer = prove_with(&world, &signer, json!({}), &[("client_id", client_id)]).await;
        answer.refused(401, "invalid_client", "client_authentication_failed");
    }
}

#[tokio::test]
async fn rfc7521_5_2_1__a_client_assertion_has_the_client_as_issuer_and_subject() {
    let (world, signer) = signing().await;
    let token = prove_with(&world, &signer, json!({}), &[]).await.token();
    let claims = payload(&token);
    assert_eq!(
        (&claims["sub"], &claims["client_id"]),
        (&json!("signer"), &json!("signer"))
    );
    let answer = prove_with(&world, &signer, json!({ "iss": "https://ci.test" }), &[]).await;
    answer.refused(401, "invalid_client", "alg_denied");
}

#[tokio::test]
async fn rfc7523bis_4_2__the_aud_of_a_client_assertion_is_our_issuer_identifier_alone() {
    let (world, signer) = signing().await;
    for aud in [json!(CARNET), json!([CARNET])] {
        prove_with(&world, &signer, json!({ "aud": aud }), &[])
            .await
            .token();
    }
    let token_endpoint = format!("{CARNET}/token");
    for (aud, reason) in [
        (json!(token_endpoint), "aud_mismatch"),
        (json!([CARNET, token_endpoint]), "aud_not_single"),
        (json!([CARNET, "x"]), "aud_not_single"),
        (json!(format!("{CARNET}/")), "aud_mismatch"),
        (json!(format!("{CARNET}/introspect")), "aud_mismatch"),
        (json!(ADMIN), "aud_mismatch"),
        (json!([]), "claim_malformed"),
        (Value::Null, "claim_missing"),
    ] {
        prove_with(&world, &signer, json!({ "aud": aud }), &[])
            .await
            .refused(401, "invalid_client", reason);
    }
}

#[tokio::test]
async fn atk_072__a_client_assertion_for_the_token_endpoint_or_another_server_is_refused() {
    let (world, signer) = signing().await;
    let form = [("grant_type", JWT_BEARER), ("assertion", &world.good())];
    let mut claims = signer.claims(world.server.now());
    for aud in [
        json!(format!("{CARNET}/token")),
        json!("https://evil.test"),
        json!(["https://evil.test", CARNET]),
    ] {
        claims["aud"] = aud;
        let assertion = signer.key().sign(&claims);
        for grant in [form.as_slice(), &[CLIENT_CREDENTIALS]] {
            assert_eq!(
                prove(&world.server, &assertion, grant).await.json()["error"],
                "invalid_client"
            );
        }
        for path in ["/introspect", "/revoke"] {
            let proof = [
                ("client_assertion_type", CLIENT_ASSERTION),
                ("client_assertion", &assertion),
                ("token", "x"),
            ];
            assert_eq!(
                world.server.form(path, &proof).await.json()["error"],
                "invalid_client",
                "{path}"
            );
        }
    }
    claims["aud"] = json!(CARNET);
    prove(&world.server, &signer.key().sign(&claims), &form)
        .await
        .token();
}

#[tokio::test]
async fn rfc7523bis_4_3__client_assertions_are_accepted_with_and_without_a_typ_of_their_own() {
    let (world, signer) = signing().await;
    for typ in [
        None,
        Some("JWT"),
        Some("jwt"),
        Some("client-authentication+jwt"),
        Some("application/JWT"),
    ] {
        let mut header = json!({ "alg": "ES256", "kid": "signer" });
        typ.inspect(|typ| header["typ"] = json!(typ));
        let assertion = signer
            .key()
            .sign_with_header(&header, &signer.claims(world.server.now()));
        let answer = prove(&world.server, &assertion, &[CLIENT_CREDENTIALS]).await;
        assert_eq!(answer.status, 200, "{typ:?}: {}", answer.text());
    }
}

#[tokio::test]
async fn rfc7523bis_4_4__client_assertions_with_the_typ_of_another_token_are_refused() {
    let (world, signer) = signing().await;
    for typ in [
        "at+jwt",
        "dpop+jwt",
        "oauth-id-jag+jwt",
        "txntoken+jwt",
        "secevent+jwt",
        "logout+jwt",
        "token-introspection+jwt",
        "authorization-grant+jwt",
        "",
    ] {
        let header = json!({ "alg": "ES256", "kid": "signer", "typ": typ });
        let assertion = signer
            .key()
            .sign_with_header(&header, &signer.claims(world.server.now()));
        let answer = prove(&world.server, &assertion, &[CLIENT_CREDENTIALS]).await;
        answer.refused(401, "invalid_client", "client_authentication_failed");
    }
    signer.ask(&world.server, &[]).await.token();
}

#[tokio::test]
async fn rfc7523_2_2_1__an_unknown_client_assertion_type_is_refused() {
    let (world, signer) = signing().await;
    let assertion = signer.key().sign(&signer.claims(world.server.now()));
    for other in [
        "urn:ietf:params:oauth:client-assertion-type:saml2-bearer",
        JWT_BEARER,
        &CLIENT_ASSERTION.to_uppercase(),
    ] {
        let proof = [
            ("client_assertion_type", other),
            ("client_assertion", &assertion),
            CLIENT_CREDENTIALS,
        ];
        let answer = world.server.form("/token", &proof).await;
        answer.refused(401, "invalid_client", "client_authentication_failed");
    }
    prove(&world.server, &assertion, &[CLIENT_CREDENTIALS])
        .await
        .token();
}

#[tokio::test]
async fn rfc7523_3_2_1__a_bad_client_assertion_is_invalid_client() {
    let (world, signer) = signing().await;
    let now = world.server.now();
    for (changed, reason) in [
        (json!({ "iat": now - 90, "exp": now - 61 }), "expired"),
        (json!({ "exp": null }), "claim_missing"),
        (json!({ "exp": "soon" }), "claim_type"),
        (json!({ "exp": now + 3601 }), "lifetime_too_long"),
        (
            json!({ "nbf": now + 120, "exp": now + 180 }),
            "not_yet_valid",
        ),
        (json!({ "iat": now + 120, "exp": now + 180 }), "iat_future"),
        (json!({ "cnf": { "jkt": "x" } }), "proof_missing"),
    ] {
        prove_with(&world, &signer, changed, &[])
            .await
            .refused(401, "invalid_client", reason);
    }
    let good = signer.key().sign(&signer.claims(now));
    let [header, claims, _] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    let swapped = TestKey::ec("signer", "ES256").sign(&signer.claims(now));
    for (text, reason) in [
        (
            format!("{header}.{claims}."),
            "client_authentication_failed",
        ),
        (swapped, "client_authentication_failed"),
        (format!("{good}="), "assertion_malformed"),
        ("x".to_owned(), "assertion_malformed"),
        (
            compact(
                br#"{"alg":"none"}"#,
                signer.claims(now).to_string().as_bytes(),
                b"",
            ),
            "client_authentication_failed",
        ),
        (
            TestKey::hmac(b"signer", &json!({ "alg": "HS256" }), &signer.claims(now)),
            "client_authentication_failed",
        ),
    ] {
        let answer = prove(&world.server, &text, &[CLIENT_CREDENTIALS]).await;
        answer.refused(401, "invalid_client", reason);
        assert!(answer.header("www-authenticate").is_some(), "{text}");
    }
    prove(&world.server, &good, &[CLIENT_CREDENTIALS])
        .await
        .token();
}

#[tokio::test]
async fn rfc7523_3_2_1__a_client_assertion_used_at_one_endpoint_is_a_replay_at_all() {
    let (world, signer) = signing().await;
    world
        .server
        .admin(
            "PATCH",
            "clients/signer",
            json!({ "scopes": ["admin:read"] }),
        )
        .await;
    let assertion = signer.key().sign(&signer.claims(world.server.now()));
    let proof = [
        ("client_assertion_type", CLIENT_ASSERTION),
        ("client_assertion", assertion.as_str()),
    ];
    let about = [proof.as_slice(), &[("token", "x")]].concat();
    let first = world.server.form("/introspect", &about).await;
    assert_eq!(first.json(), json!({ "active": false }));
    let grant = world.good();
    for answer in [
        world.server.form("/introspect", &about).await,
        world.server.form("/revoke", &about).await,
        prove(&world.server, &assertion, &[CLIENT_CREDENTIALS]).await,
        prove(
            &world.server,
            &assertion,
            &[CLIENT_CREDENTIALS, ("resource", ADMIN)],
        )
        .await,
        prove(
            &world.server,
            &assertion,
            &[("grant_type", JWT_BEARER), ("assertion", &grant)],
        )
        .await,
    ] {
        answer.refused(401, "invalid_client", "replay");
    }
    world.exchange(&grant).await.token();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc7523_3_2_1__of_concurrent_uses_of_a_client_assertion_one_succeeds() {
    let (world, signer) = signing().await;
    let second = world.server.another_node().await;
    let assertion = signer.key().sign(&signer.claims(world.server.now()));
    let proof = [
        ("client_assertion_type", CLIENT_ASSERTION),
        ("client_assertion", assertion.as_str()),
    ];
    let about = [proof.as_slice(), &[("token", "x")]].concat();
    let grant = [proof.as_slice(), &[CLIENT_CREDENTIALS]].concat();
    let ask = async |n: usize| {
        let server = if n.is_multiple_of(2) {
            &world.server
        } else {
            &second
        };
        let (path, form) = [
            ("/token", &grant),
            ("/introspect", &about),
            ("/revoke", &about),
        ][n % 3];
        server.form(path, form).await
    };
    let answers = <[Answer; 6]>::from(tokio::join!(ask(0), ask(1), ask(2), ask(3), ask(4), ask(5)));
    let good = answers.iter().filter(|answer| answer.status == 200).count();
    assert_eq!(good, 1, "{answers:?}");
}

#[tokio::test]
async fn rfc7523_3_2_1__equal_jti_values_of_two_clients_do_not_collide() {
    let world = World::new().await;
    let [one, other] =
        ["one", "other"].map(|id| TestClient::publisher(&world.server, id, "private_key_jwt"));
    for client in [one.await, other.await] {
        prove_with(&world, &client, json!({ "jti": "same" }), &[])
            .await
            .token();
        prove_with(&world, &client, json!({ "jti": "same" }), &[])
            .await
            .refused(401, "invalid_client", "replay");
    }
}

#[tokio::test]
async fn rfc7521_6_2_1__a_client_acts_for_itself_with_its_assertion() {
    let (world, signer) = signing().await;
    let assertion = signer.key().sign(&signer.claims(world.server.now()));
    let refused = prove(
        &world.server,
        &assertion,
        &[CLIENT_CREDENTIALS, ("scope", "create")],
    )
    .await;
    refused.refused(400, "invalid_scope", "scope_not_granted");
    // Nothing was used up.
    let answer = prove(&world.server, &assertion, &[CLIENT_CREDENTIALS]).await;
    assert_eq!(payload(&answer.token())["sub"], "signer");
    let again = prove(&world.server, &assertion, &[CLIENT_CREDENTIALS]).await;
    again.refused(401, "invalid_client", "replay");
}

#[tokio::test]
async fn rfc9700_2_5_1__only_public_client_keys_are_accepted_and_stored() {
    let (world, signer) = signing().await;
    signer.ask(&world.server, &[]).await.token();
    let stored = world
        .server
        .db
        .column::<String>("SELECT document FROM client")
        .await
        .concat();
    assert!(
        stored.contains("\"jwks\"") && !stored.contains("\"d\""),
        "{stored}"
    );
    let mut private = signer.key().jwk();
    private["d"] = json!("c2VjcmV0");
    let document = json!({ "auth_method": "private_key_jwt", "jwks": { "keys": [private] } });
    let answer = world
        .server
        .admin("PUT", "clients/careless", document)
        .await;
    assert_eq!(
        (answer.status, pointers(&answer)),
        (422, vec!["/jwks".to_owned()]),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn rfc9700_2_5_1__client_keys_are_read_from_its_jwks_uri_and_after_a_rotation() {
    let world = World::new().await;
    let site = FakeIssuer::new("https://client.test", TestKey::rsa(2));
    world.server.network.add(&site);
    let document = json!({
        "auth_method": "private_key_jwt", "jwks_uri": "https://client.test/jwks", "permissions": [permission(&["publish"])],
    });
    world.server.put("clients/site", document).await;
    let now = world.server.now();
    let claims = |jti: &str| json!({ "iss": "site", "sub": "site", "aud": CARNET, "jti": jti, "exp": now + 60 });
    prove(
        &world.server,
        &site.key().sign(&claims("1")),
        &[CLIENT_CREDENTIALS],
    )
    .await
    .token();
    site.rotate(TestKey::rsa(3));
    world.server.clock.advance(30);
    prove(
        &world.server,
        &site.key().sign(&claims("2")),
        &[CLIENT_CREDENTIALS],
    )
    .await
    .token();
}

#[tokio::test]
async fn atk_116__a_jwks_uri_of_an_internal_address_is_never_fetched() {
    let world = World::new().await;
    let signer = TestClient::publisher(&world.server, "signer", "private_key_jwt").await;
    let before = world.server.network.fetched();
    for uri in [
        "http://client.test/jwks",
        "https://127.0.0.1/jwks",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/jwks",
        "https://10.0.0.1/jwks",
        "https://user@client.test/jwks",
        "file:///etc/passwd",
        "data:application/json,{}",
        "//client.test/jwks",
        "jwks",
    ] {
        let document = json!({ "auth_method": "private_key_jwt", "jwks_uri": uri });
        let answer = world
            .server
            .admin("PUT", "clients/signer", document.clone())
            .await;
        assert_eq!(
            (answer.status, pointers(&answer)),
            (422, vec!["/jwks_uri".to_owned()]),
            "{uri}: {}",
            answer.text()
        );
        let unseen = world
            .server
            .admin("PUT", "clients/signer?validate=offline", document)
            .await;
        if unseen.status == 200 {
            let answer = prove_with(&world, &signer, json!({}), &[]).await;
            answer.refused(503, "temporarily_unavailable", "upstream_unavailable");
        }
    }
    assert_eq!(world.server.network.fetched(), before);
}

#[tokio::test]
async fn contract_6__a_client_whose_keys_cannot_be_fetched_is_saved_only_offline() {
    let world = World::new().await;
    let document =
        json!({ "auth_method": "private_key_jwt", "jwks_uri": "https://away.test/jwks" });
    let answer = world
        .server
        .admin("PUT", "clients/away", document.clone())
        .await;
    assert_eq!(
        (answer.status, pointers(&answer)),
        (422, vec!["/jwks_uri".to_owned()]),
        "{}",
        answer.text()
    );
    assert_eq!(
        world
            .server
            .admin("PUT", "clients/away?validate=offline", document)
            .await
            .status,
        201
    );
}

// === what a client gets for itself ===

#[tokio::test]
async fn contract_4__a_clients_token_holds_its_own_permissions() {
    let world = World::new().await;
    let bot = TestClient::publisher(&world.server, "bot", "client_secret_basic").await;
    let row = world
        .server
        .admin("GET", "clients/bot", Value::Null)
        .await
        .json();
    let answer = bot.ask(&world.server, &[]).await.json();
    let entry = json!({
        "type": "package", "actions": ["publish", "unlist"], "packages": ["widgets", "widgets-*"], "owner": "joel",
        "principal": "joel", "credential": row["id"], "revision": 1, "locations": [R1],
    });
    assert_eq!(
        (
            &answer["scope"],
            &answer["expires_in"],
            &answer["token_type"],
            &answer["authorization_details"]
        ),
        (
            &json!("publish unlist"),
            &json!(900),
            &json!("Bearer"),
            &json!([entry])
        )
    );
    let claims = payload(answer["access_token"].as_str().unwrap());
    assert_eq!(
        (
            &claims["sub"],
            &claims["client_id"],
            &claims["aud"],
            &claims["authorization_details"]
        ),
        (&json!("bot"), &json!("bot"), &json!(R1), &json!([entry]))
    );
    for absent in ["principal", "workload", "act", "cnf"] {
        assert!(claims.get(absent).is_none(), "{claims}");
    }
    let event = world.server.audit("outcome=issued").await[0].clone();
    assert_eq!(
        (
            &event["client_id"],
            &event["token_id"],
            &event["detail"]["grant_type"]
        ),
        (&json!("bot"), &claims["jti"], &json!("client_credentials"))
    );
}

#[tokio::test]
async fn contract_4__a_client_can_ask_for_less_and_not_for_more() {
    let world = World::new().await;
    let bot = TestClient::publisher(&world.server, "bot", "client_secret_basic").await;
    let details = |actions: &str, package: &str| {
        json!([{ "type": "package", "actions": [actions], "packages": [package] }]).to_string()
    };
    assert_eq!(
        bot.ask(&world.server, &[("scope", "publish")]).await.json()["scope"],
        "publish"
    );
    let narrowed = bot
        .ask(
            &world.server,
            &[("authorization_details", &details("unlist", "widgets-core"))],
        )
        .await
        .json();
    assert_eq!(
        (
            &narrowed["scope"],
            &narrowed["authorization_details"][0]["packages"]
        ),
        (&json!("unlist"), &json!(["widgets-core"]))
    );
    bot.ask(&world.server, &[("resource", R1), ("principal", "Joel")])
        .await
        .token();
    for ((name, value), error, reason) in [
        (("scope", "create"), "invalid_scope", "scope_not_granted"),
        (
            ("scope", "publish admin"),
            "invalid_scope",
            "scope_not_granted",
        ),
        (("resource", R2), "invalid_target", "target_not_granted"),
        (
            ("resource", "https://elsewhere.test/"),
            "invalid_target",
            "target_unknown",
        ),
        (
            (
                "authorization_details",
                details("publish", "gadgets").as_str(),
            ),
            "invalid_authorization_details",
            "package_out_of_scope",
        ),
    ] {
        bot.ask(&world.server, &[(name, value)])
            .await
            .refused(400, error, reason);
    }
}

#[tokio::test]
async fn contract_4__a_client_of_two_registries_has_to_name_the_resource() {
    let world = World::new().await;
    let mut other = permission(&["publish"]);
    other["resource_server"] = json!("crates");
    let members = json!({ "permissions": [permission(&["publish", "unlist"]), other] });
    let bot = TestClient::register(&world.server, "bot", "client_secret_post", members).await;
    bot.ask(&world.server, &[])
        .await
        .refused(400, "invalid_target", "target_ambiguous");
    let both = bot
        .ask(&world.server, &[("resource", R1), ("resource", R2)])
        .await;
    both.refused(400, "invalid_target", "target_ambiguous");
    let token = bot.ask(&world.server, &[("resource", R2)]).await.token();
    assert_eq!(
        (&payload(&token)["aud"], &payload(&token)["scope"]),
        (&json!(R2), &json!("publish"))
    );
    world
        .server
        .admin(
            "PATCH",
            "resource-servers/crates",
            json!({ "enabled": false }),
        )
        .await;
    assert_eq!(
        payload(&bot.ask(&world.server, &[]).await.token())["aud"],
        R1
    );
}

#[tokio::test]
async fn contract_4__permissions_of_a_disabled_owner_are_left_out_of_a_clients_token() {
    let world = World::new().await;
    world
        .server
        .put("principals/acme", json!({ "kind": "organization" }))
        .await;
    let mut acmes = permission(&["publish"]);
    acmes["owner"] = json!("acme");
    let members = json!({ "permissions": [permission(&["unlist"]), acmes] });
    let bot = TestClient::register(&world.server, "bot", "client_secret_basic", members).await;
    assert_eq!(
        bot.ask(&world.server, &[]).await.json()["scope"],
        "publish unlist"
    );
    world
        .server
        .admin("PATCH", "principals/acme", json!({ "enabled": false }))
        .await;
    assert_eq!(bot.ask(&world.server, &[]).await.json()["scope"], "unlist");
    world
        .server
        .admin("PATCH", "principals/joel", json!({ "enabled": false }))
        .await;
    assert_ne!(bot.ask(&world.server, &[]).await.status, 200);
}

#[tokio::test]
async fn contract_4__client_credentials_are_refused_to_public_and_anonymous_clients() {
    let world = World::new().await;
    let open = TestClient::register(&world.server, "open", "none", json!({})).await;
    open.ask(&world.server, &[])
        .await
        .refused(400, "unauthorized_client", "client_not_allowed");
    let anonymous = world.server.form("/token", &[CLIENT_CREDENTIALS]).await;
    anonymous.refused(401, "invalid_client", "client_authentication_failed");
    let document = json!({ "auth_method": "none", "grant_types": ["client_credentials"] });
    let answer = world.server.admin("PUT", "clients/open", document).await;
    assert_eq!(
        (answer.status, pointers(&answer)),
        (422, vec!["/grant_types".to_owned()])
    );
}

#[tokio::test]
async fn contract_6__a_client_uses_the_grants_it_is_registered_for() {
    let world = World::new().await;
    for grant in [JWT_BEARER, TOKEN_EXCHANGE, "client_credentials"] {
        let members = json!({ "grant_types": [grant] });
        let bot = TestClient::register(&world.server, "bot", "private_key_jwt", members).await;
        for asked in [JWT_BEARER, TOKEN_EXCHANGE, "client_credentials"] {
            let answer = bot
                .send(&world.server, "/token", &[("grant_type", asked)])
                .await;
            assert_eq!(
                answer.reason() == "client_not_allowed",
                asked != grant,
                "{grant} {asked}: {}",
                answer.text()
            );
            assert_eq!(
                answer.json()["error"] == "unauthorized_client",
                asked != grant
            );
        }
    }
    let all = world
        .server
        .put(
            "clients/bot",
            json!({ "auth_method": "client_secret_basic" }),
        )
        .await;
    assert_eq!(
        all["grant_types"],
        json!([JWT_BEARER, TOKEN_EXCHANGE, "client_credentials"])
    );
    let public = world
        .server
        .put("clients/open", json!({ "auth_method": "none" }))
        .await;
    assert_eq!(public["grant_types"], json!([JWT_BEARER, TOKEN_EXCHANGE]));
}

#[tokio::test]
async fn contract_4__a_disabled_client_gets_no_token_at_a_node_not_yet_told() {
    let world = with_robot().await;
    let bot = TestClient::publisher(&world.server, "bot", "client_secret_basic").await;
    TestClient::register(&world.server, "open", "none", json!({})).await;
    let site = admin_client(&world.server, &["admin:read"]).await;
    let second = world.server.another_node().await;
    let token = bot.ask(&second, &[]).await.token();
    for id in ["bot", "open", "robot", "site"] {
        assert_eq!(
            world
                .server
                .admin(
                    "PATCH",
                    &format!("clients/{id}"),
                    json!({ "enabled": false })
                )
                .await
                .status,
            200
        );
    }
    // Before it was told: the transaction looks at what the client is now.
    let exchange = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", &token),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    let bearer = [
        ("grant_type", JWT_BEARER),
        ("assertion", &world.good()),
        ("client_id", "open"),
    ];
    let robot = world.good();
    let robot = [
        ("client_assertion_type", CLIENT_ASSERTION),
        ("client_assertion", robot.as_str()),
        ("client_id", "robot"),
        CLIENT_CREDENTIALS,
    ];
    let (for_itself, for_admin, exchanged, with_assertion, keyless) = tokio::join!(
        bot.ask(&second, &[]),
        site.ask(&second, &[("resource", ADMIN)]),
        bot.send(&second, "/token", &exchange),
        second.form("/token", &bearer),
        second.form("/token", &robot),
    );
    for answer in [for_itself, for_admin, exchanged, with_assertion, keyless] {
        assert!(
            matches!(answer.status, 400 | 401 | 503),
            "{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn contract_7__explaining_client_credentials_does_not_use_up_the_assertion() {
    let (world, signer) = signing().await;
    world
        .server
        .admin(
            "PATCH",
            "clients/signer",
            json!({ "scopes": ["admin:read"] }),
        )
        .await;
    let assertion = signer.key().sign(&signer.claims(world.server.now()));
    let proof = [
        ("client_assertion_type", CLIENT_ASSERTION),
        ("client_assertion", assertion.as_str()),
        CLIENT_CREDENTIALS,
    ];
    let explain = async |more: &[(&str, &str)]| {
        let answer = world
            .server
            .form("/explain", &[proof.as_slice(), more].concat())
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };
    let would = explain(&[]).await;
    assert_eq!(
        (
            &would["verdict"],
            &would["granted"]["sub"],
            &would["granted"]["scope"]
        ),
        (&json!("allow"), &json!("signer"), &json!("publish unlist"))
    );
    assert_eq!(
        explain(&[("resource", ADMIN)]).await["granted"]["scope"],
        "admin:read"
    );
    assert_eq!(
        explain(&[("scope", "create")]).await["reason"],
        "scope_not_granted"
    );
    let bearer = world.good();
    let jwt_bearer = [
        proof[0],
        proof[1],
        ("grant_type", JWT_BEARER),
        ("assertion", bearer.as_str()),
    ];
    assert_eq!(
        world.server.form("/explain", &jwt_bearer).await.json()["verdict"],
        "allow"
    );
    prove(&world.server, &assertion, &[CLIENT_CREDENTIALS])
        .await
        .token();
    // Whoever holds a copy of what was used learns nothing.
    for more in [&[][..], &[("resource", ADMIN)]] {
        let answer = explain(more).await;
        assert_eq!(
            (&answer["reason"], answer.get("granted")),
            (&json!("replay"), None),
            "{answer}"
        );
    }
    let answer = world.server.form("/explain", &jwt_bearer).await.json();
    assert_eq!(
        (&answer["reason"], answer.get("granted")),
        (&json!("replay"), None),
        "{answer}"
    );
}

// === clients without a key of their own ===

/// A world whose client `robot` lists this rule.
async fn with_robot() -> World {
    let world = World::new().await;
    let document = json!({ "auth_method": "federated", "federated_credentials": ["Octo-Release"] });
    let saved = world.server.put("clients/robot", document).await;
    assert_eq!(saved["federated_credentials"], json!(["octo-release"]));
    world
}

async fn as_robot(world: &World, assertion: &str) -> Answer {
    prove(
        &world.server,
        assertion,
        &[CLIENT_CREDENTIALS, ("client_id", "robot")],
    )
    .await
}

#[tokio::test]
async fn contract_4__a_federated_client_gets_what_its_rules_give() {
    let world = with_robot().await;
    let mut own = payload(&as_robot(&world, &world.good()).await.token());
    let mut bearer = payload(&world.exchange(&world.good()).await.token());
    assert_eq!(own["client_id"], "robot");
    assert!(
        bearer["client_id"]
            .as_str()
            .unwrap()
            .starts_with("federated:fc_")
    );
    for claims in [&mut own, &mut bearer] {
        for differing in ["client_id", "jti"] {
            claims.as_object_mut().unwrap().remove(differing);
        }
    }
    assert_eq!(own, bearer);
    let event = world.server.audit("outcome=issued").await;
    assert!(
        event
            .iter()
            .any(|event| event["client_id"] == "robot" && event["principal"] == "joel"),
        "{event:?}"
    );
}

#[tokio::test]
async fn contract_4__only_the_rules_that_a_federated_client_lists_count() {
    let world = with_robot().await;
    world
        .server
        .put("principals/acme", json!({ "kind": "organization" }))
        .await;
    let mut acmes = World::rule_document(json!({}));
    (acmes["principal"], acmes["permissions"][0]["actions"]) = (json!("acme"), json!(["unlist"]));
    world.server.put("federated-credentials/acmes", acmes).await;
    world
        .exchange(&world.good())
        .await
        .refused(400, "invalid_request", "principal_required");
    let answer = as_robot(&world, &world.good()).await.json();
    assert_eq!(answer["scope"], "create publish");
    assert_eq!(
        payload(answer["access_token"].as_str().unwrap())["principal"]["name"],
        "joel"
    );
    world
        .server
        .admin(
            "PATCH",
            "clients/robot",
            json!({ "federated_credentials": ["acmes"] }),
        )
        .await;
    assert_eq!(
        as_robot(&world, &world.good()).await.json()["scope"],
        "unlist"
    );
    // The one that it lists does not match: the others do not help.
    world
        .server
        .admin(
            "PATCH",
            "federated-credentials/acmes",
            json!({ "enabled": false }),
        )
        .await;
    assert_eq!(
        as_robot(&world, &world.good()).await.json()["error"],
        "invalid_client"
    );
    let named = world
        .exchange_with(&world.good(), &[("principal", "joel")])
        .await;
    assert_eq!(named.json()["scope"], "create publish");
}

#[tokio::test]
async fn contract_4__the_aud_of_a_federated_clients_assertion_is_our_issuer_alone() {
    let world = with_robot().await;
    let elsewhere = "https://elsewhere.example";
    world
        .trust(json!({ "audiences": [elsewhere], "extra_audiences": ["x"] }))
        .await;
    let signed = |aud: Value| world.gh.sign(&world.claims().with("aud", aud));
    for aud in [json!(CARNET), json!([CARNET])] {
        as_robot(&world, &signed(aud)).await.token();
    }
    for (aud, reason) in [
        (json!(elsewhere), "aud_mismatch"),
        (json!(format!("{CARNET}/token")), "aud_mismatch"),
        (json!([CARNET, "x"]), "aud_not_single"),
        (json!([CARNET, elsewhere]), "aud_not_single"),
    ] {
        as_robot(&world, &signed(aud))
            .await
            .refused(401, "invalid_client", reason);
    }
    // And the other grants keep to what the trusted issuer says.
    world
        .exchange(&signed(json!(CARNET)))
        .await
        .refused(400, "invalid_grant", "aud_mismatch");
    world.exchange(&signed(json!(elsewhere))).await.token();
}

#[tokio::test]
async fn contract_4__listed_rules_decide_between_two_trusted_issuers_of_one_iss() {
    let world = with_robot().await;
    let second = TestKey::ec("second", "ES256");
    let issuer = json!({
        "profile": "github-actions", "issuer": "https://ci.test", "audiences": ["https://second.example"],
        "algorithms": ["ES256"], "keys": { "source": "static", "jwks": { "keys": [second.jwk()] } },
    });
    world.server.put("trusted-issuers/second", issuer).await;
    let mut rule = World::rule_document(json!({}));
    rule["trusted_issuer"] = json!("second");
    world
        .server
        .put("federated-credentials/of-second", rule)
        .await;
    let from_second = || second.sign(&world.claims().value());
    as_robot(&world, &world.good()).await.token();
    assert_eq!(
        as_robot(&world, &from_second()).await.json()["error"],
        "invalid_client"
    );
    world
        .server
        .admin(
            "PATCH",
            "clients/robot",
            json!({ "federated_credentials": ["of-second"] }),
        )
        .await;
    as_robot(&world, &from_second()).await.token();
    // The keys of one are never tried for the other.
    assert_eq!(
        as_robot(&world, &world.good()).await.json()["error"],
        "invalid_client"
    );
}

#[tokio::test]
async fn contract_4__a_federated_client_is_refused_without_its_exact_client_id() {
    let world = with_robot().await;
    let assertion = world.gh.sign(&world.claims().with("sub", "robot"));
    let nameless = prove(&world.server, &assertion, &[CLIENT_CREDENTIALS]).await;
    nameless.refused(401, "invalid_client", "client_authentication_failed");
    for name in ["nobody", "Robot"] {
        let answer = prove(
            &world.server,
            &assertion,
            &[CLIENT_CREDENTIALS, ("client_id", name)],
        )
        .await;
        answer.refused(401, "invalid_client", "client_authentication_failed");
    }
    as_robot(&world, &assertion).await.token();
    // Nor does a platform's assertion stand for a client that has a key of its own.
    TestClient::publisher(&world.server, "signer", "private_key_jwt").await;
    let posing = world.gh.sign(&world.claims().with("sub", "signer"));
    let answer = prove(
        &world.server,
        &posing,
        &[CLIENT_CREDENTIALS, ("client_id", "signer")],
    )
    .await;
    answer.refused(401, "invalid_client", "client_authentication_failed");
}

#[tokio::test]
async fn contract_4__the_assertion_of_a_federated_client_is_good_once() {
    let world = with_robot().await;
    let assertion = world.good();
    as_robot(&world, &assertion).await.token();
    world
        .exchange(&assertion)
        .await
        .refused(400, "invalid_grant", "replay");
    as_robot(&world, &assertion)
        .await
        .refused(401, "invalid_client", "replay");
    let assertion = world.good();
    world.exchange(&assertion).await.token();
    as_robot(&world, &assertion)
        .await
        .refused(401, "invalid_client", "replay");
    // One assertion cannot be client and grant at the same time.
    let assertion = world.good();
    let form = [
        ("grant_type", JWT_BEARER),
        ("assertion", &assertion),
        ("client_id", "robot"),
    ];
    assert_eq!(
        prove(&world.server, &assertion, &form).await.reason(),
        "replay"
    );
    let other = world.good();
    let token = prove(&world.server, &other, &form).await.token();
    assert_eq!(payload(&token)["client_id"], "robot");
    for used in [assertion, other] {
        world
            .exchange(&used)
            .await
            .refused(400, "invalid_grant", "replay");
    }
}

#[tokio::test]
async fn contract_4__a_federated_client_whose_workload_matches_no_rule_is_refused() {
    let world = with_robot().await;
    let stranger = world.gh.sign(&world.claims().with("repository_id", "75"));
    let grant = world.good();
    for form in [
        &[CLIENT_CREDENTIALS, ("client_id", "robot")][..],
        &[
            CLIENT_CREDENTIALS,
            ("client_id", "robot"),
            ("resource", ADMIN),
        ],
        &[
            ("grant_type", JWT_BEARER),
            ("assertion", grant.as_str()),
            ("client_id", "robot"),
        ],
    ] {
        let answer = prove(&world.server, &stranger, form).await;
        answer.refused(401, "invalid_client", "no_matching_credential");
    }
    for path in ["/introspect", "/revoke"] {
        let proof = [
            ("client_assertion_type", CLIENT_ASSERTION),
            ("client_assertion", stranger.as_str()),
        ];
        let form = [proof.as_slice(), &[("client_id", "robot"), ("token", "x")]].concat();
        world.server.form(path, &form).await.refused(
            401,
            "invalid_client",
            "no_matching_credential",
        );
    }
    world.exchange(&grant).await.token();
}

// === tokens for the admin API ===

/// A request of the admin API with this token.
async fn admin_with(
    server: &TestServer,
    token: &str,
    method: &str,
    path: &str,
    body: Value,
) -> u16 {
    let request = Request::builder()
        .method(method)
        .uri(format!("/admin/v1/{path}"))
        .header("authorization", format!("Bearer {token}"));
    server
        .send(request.body(Body::from(body.to_string())).unwrap())
        .await
        .status
}

async fn admin_client(server: &TestServer, scopes: &[&str]) -> TestClient {
    TestClient::register(
        server,
        "site",
        "client_secret_basic",
        json!({ "scopes": scopes }),
    )
    .await
}

#[tokio::test]
async fn contract_4__a_client_gets_a_token_for_the_admin_api() {
    let world = World::new().await;
    let site = admin_client(&world.server, &["admin:read", "admin:credentials"]).await;
    let answer = site.ask(&world.server, &[("resource", ADMIN)]).await.json();
    assert_eq!(
        (
            &answer["scope"],
            &answer["expires_in"],
            answer.get("authorization_details")
        ),
        (&json!("admin:credentials admin:read"), &json!(900), None)
    );
    let token = answer["access_token"].as_str().unwrap();
    let claims = payload(token);
    assert_eq!(
        (&claims["aud"], &claims["sub"], &claims["client_id"]),
        (&json!(ADMIN), &json!("site"), &json!("site"))
    );
    assert_eq!(
        admin_with(&world.server, token, "GET", "principals", Value::Null).await,
        200
    );
    let kind = json!({ "kind": "user" });
    assert_eq!(
        admin_with(&world.server, token, "PUT", "principals/new", kind).await,
        403
    );
    let rule = World::rule_document(json!({ "environment": "x" }));
    assert_eq!(
        admin_with(
            &world.server,
            token,
            "PUT",
            "federated-credentials/new",
            rule
        )
        .await,
        201
    );
    let events = world.server.audit("outcome=created").await;
    let made = events
        .iter()
        .find(|event| event["detail"]["name"] == "new")
        .unwrap();
    assert_eq!(made["client_id"], "site");
    world.server.clock.advance(900);
    assert_eq!(
        admin_with(&world.server, token, "GET", "principals", Value::Null).await,
        401
    );
}

#[tokio::test]
async fn contract_4__an_admin_token_has_the_scope_asked_for_and_never_more() {
    let world = World::new().await;
    let site = admin_client(&world.server, &["admin:credentials"]).await;
    world
        .server
        .put("principals/eve", json!({ "kind": "user" }))
        .await;
    let ask = async |scope: &str| {
        site.ask(&world.server, &[("resource", ADMIN), ("scope", scope)])
            .await
    };
    for scope in [
        "admin:credentials",
        "admin:credentials:joel",
        "admin:credentials:eve admin:credentials:joel",
    ] {
        assert_eq!(ask(scope).await.json()["scope"], scope);
    }
    let token = ask("admin:credentials:eve").await.token();
    let path = "federated-credentials/octo-release";
    assert_eq!(
        admin_with(&world.server, &token, "GET", path, Value::Null).await,
        404
    );
    // A principal that is made later under a name is not the one that was meant.
    ask("admin:credentials:nobody")
        .await
        .refused(400, "invalid_scope", "scope_not_granted");
    for scope in [
        "admin",
        "admin:read",
        "admin:credentials admin:read",
        "publish",
        "admin:credentials:",
        "ADMIN",
    ] {
        ask(scope)
            .await
            .refused(400, "invalid_scope", "scope_not_granted");
    }
    for resources in [[ADMIN, R1], [R1, ADMIN]] {
        let form = resources.map(|resource| ("resource", resource));
        site.ask(&world.server, &form)
            .await
            .refused(400, "invalid_target", "target_ambiguous");
    }
    let bot = TestClient::publisher(&world.server, "bot", "client_secret_basic").await;
    bot.ask(&world.server, &[("resource", ADMIN)])
        .await
        .refused(400, "invalid_scope", "scope_not_granted");
    // A client for the admin API has nothing at a registry, and an assertion nothing at the admin API.
    assert_eq!(
        site.ask(&world.server, &[]).await.json()["error"],
        "invalid_target"
    );
    let answer = world
        .exchange_with(&world.good(), &[("resource", ADMIN)])
        .await;
    assert_eq!(answer.json()["error"], "invalid_target");
}

#[tokio::test]
async fn contract_4__a_federated_client_can_hold_admin_scopes() {
    let world = with_robot().await;
    world
        .server
        .admin(
            "PATCH",
            "clients/robot",
            json!({ "scopes": ["admin:read"] }),
        )
        .await;
    let assertion = world.good();
    let form = [
        CLIENT_CREDENTIALS,
        ("client_id", "robot"),
        ("resource", ADMIN),
    ];
    let token = prove(&world.server, &assertion, &form).await.token();
    assert_eq!(
        admin_with(&world.server, &token, "GET", "principals", Value::Null).await,
        200
    );
    prove(&world.server, &assertion, &form)
        .await
        .refused(401, "invalid_client", "replay");
    world
        .exchange(&assertion)
        .await
        .refused(400, "invalid_grant", "replay");
}

/// Changes the client and sees its admin token die, on this node at once and on another within a second.
async fn kills_the_admin_token(method: &str, body: Value) {
    let world = World::new().await;
    let other = world.server.another_node().await;
    let site = admin_client(&world.server, &["admin:read", "admin:credentials"]).await;
    let token = site
        .ask(&world.server, &[("resource", ADMIN)])
        .await
        .token();
    for server in [&world.server, &other] {
        super::introspection::within_a_second(async || {
            admin_with(server, &token, "GET", "principals", Value::Null).await == 200
        })
        .await;
    }
    let answer = world.server.admin(method, "clients/site", body).await;
    assert!(matches!(answer.status, 200 | 204), "{}", answer.text());
    assert_eq!(
        admin_with(&world.server, &token, "GET", "principals", Value::Null).await,
        401
    );
    super::introspection::within_a_second(async || {
        admin_with(&other, &token, "GET", "principals", Value::Null).await == 401
    })
    .await;
}

#[tokio::test]
async fn contract_4__an_admin_token_dies_with_its_client() {
    kills_the_admin_token("DELETE", Value::Null).await;
}

#[tokio::test]
async fn contract_4__an_admin_token_dies_when_its_client_is_switched_off() {
    kills_the_admin_token("PATCH", json!({ "enabled": false })).await;
}

#[tokio::test]
async fn contract_4__an_admin_token_dies_when_its_client_loses_the_scope() {
    kills_the_admin_token("PATCH", json!({ "scopes": ["admin:read"] })).await;
}

#[tokio::test]
async fn contract_4__an_admin_token_does_not_work_for_a_new_client_of_the_same_name() {
    let world = World::new().await;
    let site = admin_client(&world.server, &["admin"]).await;
    let token = site
        .ask(&world.server, &[("resource", ADMIN)])
        .await
        .token();
    world.server.clock.advance(1);
    assert_eq!(
        world
            .server
            .admin("DELETE", "clients/site", Value::Null)
            .await
            .status,
        204
    );
    let next = admin_client(&world.server, &["admin"]).await;
    assert_eq!(
        admin_with(&world.server, &token, "GET", "principals", Value::Null).await,
        401
    );
    let own = next
        .ask(&world.server, &[("resource", ADMIN)])
        .await
        .token();
    assert_eq!(
        admin_with(&world.server, &own, "GET", "principals", Value::Null).await,
        200
    );
}

#[tokio::test]
async fn contract_4__an_admin_token_can_be_revoked_by_its_client() {
    let world = World::new().await;
    let site = admin_client(&world.server, &["admin"]).await;
    let token = site
        .ask(&world.server, &[("resource", ADMIN)])
        .await
        .token();
    assert_eq!(
        site.introspect(&world.server, &token).await["scope"],
        "admin"
    );
    let anonymous = world.server.form("/revoke", &[("token", &token)]).await;
    anonymous.refused(401, "invalid_client", "client_authentication_failed");
    assert_eq!(
        admin_with(&world.server, &token, "GET", "principals", Value::Null).await,
        200
    );
    assert_eq!(site.revoke(&world.server, &token).await.status, 200);
    assert_eq!(
        admin_with(&world.server, &token, "GET", "principals", Value::Null).await,
        401
    );
    assert_eq!(
        site.introspect(&world.server, &token).await,
        json!({ "active": false })
    );
}

#[tokio::test]
async fn atk_186__tokens_for_a_registry_are_refused_at_the_admin_api() {
    let world = World::new().await;
    let bot = TestClient::publisher(&world.server, "bot", "client_secret_basic").await;
    let mut tokens = vec![
        world.exchange(&world.good()).await.token(),
        bot.ask(&world.server, &[]).await.token(),
    ];
    world
        .server
        .admin(
            "PATCH",
            "resource-servers/pypi",
            json!({ "token_format": "opaque" }),
        )
        .await;
    tokens.extend([
        world.exchange(&world.good()).await.token(),
        world.good(),
        bot.secret().to_owned(),
    ]);
    for token in tokens {
        for (method, path) in [
            ("GET", "principals"),
            ("PUT", "federated-credentials/x"),
            ("GET", "audit-events"),
        ] {
            assert_eq!(
                admin_with(&world.server, &token, method, path, Value::Null).await,
                401,
                "{token}"
            );
        }
    }
}

// === how clients are managed ===

/// The places of the mistakes that an answer tells.
fn pointers(answer: &Answer) -> Vec<String> {
    let body = answer.json();
    let errors = body["errors"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    errors
        .iter()
        .map(|error| error["pointer"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn contract_6__a_client_secret_is_shown_only_when_it_is_made() {
    let world = World::new().await;
    for (method, id) in [
        ("client_secret_basic", "header"),
        ("client_secret_post", "body"),
    ] {
        let document = json!({ "auth_method": method });
        let created = world
            .server
            .admin("PUT", &format!("clients/{id}"), document.clone())
            .await;
        assert_eq!(created.status, 201);
        let secret = created.json()["client_secret"].as_str().unwrap().to_owned();
        assert!(secret.starts_with("cns_") && secret.len() == 53, "{secret}");
        let shown = &created.json()["secrets"];
        assert_eq!(
            (shown.as_array().unwrap().len(), &shown[0]["expires_at"]),
            (1, &Value::Null)
        );
        for (method, path, body) in [
            ("GET", format!("clients/{id}"), Value::Null),
            ("GET", "clients".to_owned(), Value::Null),
            ("GET", "clients?view=export".to_owned(), Value::Null),
            ("PUT", format!("clients/{id}"), document.clone()),
            ("PUT", format!("clients/{id}"), created.json()),
            (
                "PATCH",
                format!("clients/{id}"),
                json!({ "scopes": ["admin:read"] }),
            ),
            ("GET", "audit-events".to_owned(), Value::Null),
        ] {
            let answer = world.server.admin(method, &path, body).await;
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert!(!answer.text().contains(&secret), "{method} {path}");
            assert!(
                !answer.text().contains("\"client_secret\":"),
                "{method} {path}: {}",
                answer.text()
            );
        }
    }
    let posted = json!({ "name": "posted", "auth_method": "client_secret_post" });
    let first = world.server.admin("POST", "clients", posted).await.json()["client_secret"].clone();
    // A method without a secret has none to show; taking one up again makes a new one.
    let patch = async |method: &str| {
        let changed = json!({ "auth_method": method, "grant_types": null });
        world
            .server
            .admin("PATCH", "clients/posted", changed)
            .await
            .json()
    };
    let open = patch("none").await;
    assert_eq!(
        (open.get("client_secret"), &open["secrets"]),
        (None, &json!([])),
        "{open}"
    );
    let again = patch("client_secret_basic").await["client_secret"].clone();
    assert!(first.is_string() && again.is_string() && first != again);
}

#[tokio::test]
async fn contract_6__secrets_rotate_with_an_overlap() {
    let world = World::new().await;
    let first = TestClient::publisher(&world.server, "bot", "client_secret_basic").await;
    let rotate = async |body: Value| {
        let answer = world
            .server
            .admin("POST", "clients/bot/rotate-secret", body)
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        first.with_secret(answer.json()["client_secret"].as_str().unwrap())
    };
    let works = async |client: &TestClient| client.ask(&world.server, &[]).await.status == 200;
    let second = rotate(json!({ "overlap_seconds": 3600 })).await;
    assert_ne!(first.secret(), second.secret());
    let shown = world
        .server
        .admin("GET", "clients/bot", Value::Null)
        .await
        .json();
    assert_eq!(
        (
            &shown["secrets"][0]["expires_at"],
            &shown["secrets"][1]["expires_at"]
        ),
        (&json!("2027-01-15T09:00:00Z"), &Value::Null),
        "{shown}"
    );
    world.server.clock.advance(3599);
    assert!(works(&first).await && works(&second).await);
    world.server.clock.advance(1);
    assert!(!works(&first).await && works(&second).await);
    // Without a word it is a day, and of three only the two newest live.
    let third = rotate(Value::Null).await;
    world.server.clock.advance(86_399);
    assert!(works(&second).await && works(&third).await);
    let fourth = rotate(json!({})).await;
    assert!(!works(&second).await && works(&third).await && works(&fourth).await);
    let last = rotate(json!({ "overlap_seconds": 0 })).await;
    assert!(!works(&third).await && !works(&fourth).await && works(&last).await);
    let shown = world.server.admin("GET", "clients/bot", Value::Null).await;
    assert_eq!(shown.json()["secrets"].as_array().unwrap().len(), 1);
    assert!(!shown.text().contains(last.secret()));
    let audit = world
        .server
        .admin("GET", "audit-events?outcome=updated", Value::Null)
        .await;
    assert!(
        audit.text().contains("\"bot\"") && !audit.text().contains("cns_"),
        "{}",
        audit.text()
    );
}

#[tokio::test]
async fn contract_6__invalid_secret_rotations_are_refused() {
    let world = World::new().await;
    TestClient::register(&world.server, "bot", "client_secret_basic", json!({})).await;
    TestClient::register(&world.server, "signer", "private_key_jwt", json!({})).await;
    for (id, body, pointer) in [
        ("bot", json!({ "overlap_seconds": -1 }), "/overlap_seconds"),
        (
            "bot",
            json!({ "overlap_seconds": 30 * 86_400 + 1 }),
            "/overlap_seconds",
        ),
        (
            "bot",
            json!({ "overlap_seconds": "1h" }),
            "/overlap_seconds",
        ),
        ("bot", json!({ "overlap": 1 }), "/overlap"),
        ("signer", json!({}), "/auth_method"),
    ] {
        let answer = world
            .server
            .admin("POST", &format!("clients/{id}/rotate-secret"), body)
            .await;
        assert_eq!(
            (answer.status, pointers(&answer)),
            (422, vec![pointer.to_owned()]),
            "{}",
            answer.text()
        );
    }
    assert_eq!(
        world
            .server
            .admin("POST", "clients/nobody/rotate-secret", Value::Null)
            .await
            .status,
        404
    );
    for scope in ["admin:read", "admin:credentials"] {
        let answer = world
            .server
            .admin_as(scope, "POST", "clients/bot/rotate-secret", Value::Null)
            .await;
        assert_eq!(answer.status, 403, "{scope}");
    }
}

#[tokio::test]
async fn contract_6__secrets_are_hashes_at_rest() {
    let world = World::new().await;
    let bot = TestClient::publisher(&world.server, "bot", "client_secret_basic").await;
    let rotated = world
        .server
        .admin("POST", "clients/bot/rotate-secret", Value::Null)
        .await
        .json();
    let stored = world
        .server
        .db
        .column::<String>("SELECT state FROM client")
        .await
        .concat();
    for secret in [bot.secret(), rotated["client_secret"].as_str().unwrap()] {
        let hash = carnet_jose::base64url(carnet_jose::sha256(secret.as_bytes()));
        assert!(
            stored.contains(&hash) && !stored.contains(secret),
            "{stored}"
        );
    }
    for sql in [
        "SELECT document FROM client",
        "SELECT detail FROM audit_event",
    ] {
        let texts = world.server.db.column::<String>(sql).await.concat();
        assert!(!texts.contains("cns_"), "{sql}: {texts}");
    }
}

#[tokio::test]
async fn contract_2__apply_prints_the_secret_of_a_new_client_once() {
    let db = TestDb::new().await;
    let folder = db.folder();
    std::fs::write(
        folder.join("bot.toml"),
        "[clients.bot]\nauth_method = \"client_secret_basic\"\n",
    )
    .unwrap();
    crate::support::first_start(folder, &[]);
    let first = carnet_in(
        folder,
        &["apply", "-f", "bot.toml", "--secrets-file", "secrets.toml"],
    );
    assert!(
        first.code == 0 && !first.stdout.contains("cns_"),
        "{first:?}"
    );
    let secrets = std::fs::read_to_string(folder.join("secrets.toml")).unwrap();
    assert!(secrets.starts_with("bot = \"cns_"), "{secrets}");
    for arguments in [
        &["apply", "-f", "bot.toml"][..],
        &["export"],
        &["apply", "-f", "bot.toml", "--json"],
    ] {
        let later = carnet_in(folder, arguments);
        assert!(
            later.code == 0 && !later.stdout.contains("cns_"),
            "{later:?}"
        );
    }
    let exported = carnet_in(folder, &["export"]).stdout;
    std::fs::write(folder.join("exported.toml"), exported).unwrap();
    let again = carnet_in(folder, &["apply", "-f", "exported.toml", "--dry-run"]);
    assert_eq!(again.code, 0, "nothing is to do: {again:?}");
    std::fs::write(
        folder.join("two.toml"),
        "[clients.two]\nauth_method = \"client_secret_post\"\n",
    )
    .unwrap();
    let as_json = carnet_in(
        folder,
        &[
            "apply",
            "-f",
            "two.toml",
            "--json",
            "--secrets-file",
            "two.json",
        ],
    );
    let summary: Value = serde_json::from_str(as_json.stdout.trim()).unwrap();
    assert_eq!(
        (&summary["secrets"], &summary["secrets_file"]),
        (&json!([]), &json!("two.json"))
    );
    let secrets = std::fs::read_to_string(folder.join("two.json")).unwrap();
    let secrets: Value = serde_json::from_str(&secrets).unwrap();
    assert!(secrets["two"].as_str().unwrap().starts_with("cns_"));
}

#[tokio::test]
async fn contract_6__a_client_is_made_changed_and_removed() {
    let world = World::new().await;
    let created = world
        .server
        .admin(
            "POST",
            "clients",
            json!({ "name": "bot", "auth_method": "none" }),
        )
        .await;
    assert_eq!(
        (created.status, created.header("location")),
        (201, Some("https://as.test/admin/v1/clients/bot"))
    );
    let shown = created.json();
    assert!(shown["id"].as_str().unwrap().starts_with("cl_"));
    assert_eq!(
        (
            &shown["client_id"],
            &shown["revision"],
            &shown["enabled"],
            &shown["jwks"],
            &shown["resource_server"]
        ),
        (
            &json!("bot"),
            &json!(1),
            &json!(true),
            &Value::Null,
            &Value::Null
        )
    );
    assert_eq!(
        world
            .server
            .admin(
                "POST",
                "clients",
                json!({ "name": "BOT", "auth_method": "none" })
            )
            .await
            .status,
        409
    );
    // A revision is what its tokens stand on: it grows with what they permit and with nothing else.
    let revision = async |changed: Value| {
        let answer = world.server.admin("PATCH", "clients/bot", changed).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["revision"].as_i64().unwrap()
    };
    assert_eq!(
        revision(json!({ "auth_method": "client_secret_basic", "grant_types": null })).await,
        2
    );
    assert_eq!(revision(json!({ "scopes": ["admin:read"] })).await, 2);
    assert_eq!(revision(json!({ "resource_server": "PyPI" })).await, 2);
    assert_eq!(
        revision(json!({ "permissions": [permission(&["publish"])] })).await,
        3
    );
    assert_eq!(revision(json!({ "enabled": false })).await, 4);
    assert_eq!(
        world
            .server
            .admin("GET", "clients/bot", Value::Null)
            .await
            .json()["resource_server"],
        "pypi"
    );
    assert_eq!(
        world
            .server
            .admin("DELETE", "clients/bot", Value::Null)
            .await
            .status,
        204
    );
    assert_eq!(
        world
            .server
            .admin("GET", "clients/bot", Value::Null)
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn contract_6__objects_that_a_client_names_cannot_be_deleted() {
    let world = World::new().await;
    world
        .server
        .put("principals/acme", json!({ "kind": "organization" }))
        .await;
    world
        .server
        .put(
            "resource-servers/gems",
            json!({ "resource": "https://gems.test/", "actions": ["push"] }),
        )
        .await;
    world
        .server
        .put(
            "resource-servers/npm",
            json!({ "resource": "https://npm.test/", "actions": ["push"] }),
        )
        .await;
    let push = json!({ "resource_server": "gems", "actions": ["push"], "packages": ["x"], "owner": "acme" });
    let document = json!({ "auth_method": "client_secret_basic", "permissions": [push], "resource_server": "npm" });
    world.server.put("clients/bot", document).await;
    let robot = json!({ "auth_method": "federated", "federated_credentials": ["octo-release"] });
    world.server.put("clients/robot", robot).await;
    let named = [
        "principals/acme",
        "resource-servers/gems",
        "resource-servers/npm",
        "federated-credentials/octo-release",
    ];
    for path in named {
        let answer = world.server.admin("DELETE", path, Value::Null).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (409, &json!("in_use")),
            "{path}"
        );
    }
    // A client that names other things lets them go.
    let changed = json!({ "permissions": [permission(&["publish"])], "resource_server": null });
    assert_eq!(
        world
            .server
            .admin("PATCH", "clients/bot", changed)
            .await
            .status,
        200
    );
    assert_eq!(
        world
            .server
            .admin("DELETE", "clients/robot", Value::Null)
            .await
            .status,
        204
    );
    for path in named {
        let answer = world.server.admin("DELETE", path, Value::Null).await;
        assert_eq!(answer.status, 204, "{path}: {}", answer.text());
    }
}

#[tokio::test]
async fn contract_6__every_mistake_of_a_client_is_told_with_its_place() {
    let world = World::new().await;
    let key = TestKey::ec("k", "ES256").jwk();
    let jwks = json!({ "keys": [key] });
    let secret = |members: Value| {
        let mut document = members;
        document["auth_method"] = json!("client_secret_basic");
        document
    };
    let permitted = |name: &str, value: Value| {
        let mut permission = permission(&["publish"]);
        permission[name] = value;
        secret(json!({ "permissions": [permission] }))
    };
    for (document, expected) in [
        (json!({ "auth_method": "password" }), &["/auth_method"][..]),
        (json!({ "auth_method": 1 }), &["/auth_method"]),
        (
            json!({ "auth_method": "none", "surprise": 1, "also": 2 }),
            &["/surprise", "/also"],
        ),
        (
            json!({ "auth_method": "none", "enabled": "yes" }),
            &["/enabled"],
        ),
        // Keys are for those who sign.
        (json!({ "auth_method": "private_key_jwt" }), &["/jwks"]),
        (
            json!({ "auth_method": "private_key_jwt", "jwks": {} }),
            &["/jwks"],
        ),
        (
            json!({ "auth_method": "private_key_jwt", "jwks": { "keys": [] } }),
            &["/jwks"],
        ),
        (
            json!({ "auth_method": "private_key_jwt", "jwks": { "keys": [{ "kty": "oct", "k": "c2VjcmV0" }] } }),
            &["/jwks"],
        ),
        (
            json!({ "auth_method": "private_key_jwt", "jwks": jwks, "jwks_uri": "https://c.test/jwks" }),
            &["/jwks_uri"],
        ),
        (
            json!({ "auth_method": "private_key_jwt", "jwks_uri": "http://c.test/jwks" }),
            &["/jwks_uri"],
        ),
        (json!({ "auth_method": "none", "jwks": jwks }), &["/jwks"]),
        (
            secret(json!({ "jwks_uri": "https://c.test/jwks" })),
            &["/jwks_uri"],
        ),
        // Grants and what they are for.
        (
            json!({ "auth_method": "none", "grant_types": ["password"] }),
            &["/grant_types"],
        ),
        (
            json!({ "auth_method": "none", "grant_types": "client_credentials" }),
            &["/grant_types"],
        ),
        (
            json!({ "auth_method": "none", "grant_types": ["client_credentials"] }),
            &["/grant_types"],
        ),
        (
            secret(json!({ "grant_types": [JWT_BEARER, JWT_BEARER] })),
            &["/grant_types"],
        ),
        (
            secret(json!({ "grant_types": [JWT_BEARER], "scopes": ["admin"] })),
            &["/scopes"],
        ),
        (
            secret(
                json!({ "grant_types": [JWT_BEARER], "permissions": [permission(&["publish"])] }),
            ),
            &["/permissions"],
        ),
        (
            json!({ "auth_method": "none", "scopes": ["admin"] }),
            &["/scopes"],
        ),
        (secret(json!({ "scopes": ["publish"] })), &["/scopes"]),
        (
            secret(json!({ "scopes": ["admin:credentials:a/b"] })),
            &["/scopes"],
        ),
        // Rules are for those without a key.
        (
            json!({ "auth_method": "federated" }),
            &["/federated_credentials"],
        ),
        (
            json!({ "auth_method": "federated", "federated_credentials": [] }),
            &["/federated_credentials"],
        ),
        (
            json!({ "auth_method": "federated", "federated_credentials": ["octo-release", "none"] }),
            &["/federated_credentials/1"],
        ),
        (
            secret(json!({ "federated_credentials": ["octo-release"] })),
            &["/federated_credentials"],
        ),
        (
            json!({
                "auth_method": "federated", "federated_credentials": ["octo-release"],
                "permissions": [permission(&["publish"])],
            }),
            &["/permissions"],
        ),
        // Permissions.
        (permitted("owner", Value::Null), &["/permissions/0/owner"]),
        (
            permitted("owner", json!("nobody")),
            &["/permissions/0/owner"],
        ),
        (
            permitted("resource_server", json!("nowhere")),
            &["/permissions/0/resource_server"],
        ),
        (
            permitted("actions", json!(["publish", "fly"])),
            &["/permissions/0/actions"],
        ),
        (permitted("actions", json!([])), &["/permissions/0/actions"]),
        (
            permitted("packages", json!([])),
            &["/permissions/0/packages"],
        ),
        (
            permitted("surprise", json!(1)),
            &["/permissions/0/surprise"],
        ),
        (secret(json!({ "permissions": "all" })), &["/permissions"]),
        (
            secret(json!({ "resource_server": "nowhere" })),
            &["/resource_server"],
        ),
        (
            secret(json!({ "resource_server": "no/where" })),
            &["/resource_server"],
        ),
        (
            secret(
                json!({ "scopes": ["publish"], "surprise": 1, "enabled": 0, "grant_types": ["x"] }),
            ),
            &["/scopes", "/surprise", "/enabled", "/grant_types"],
        ),
    ] {
        let answer = world
            .server
            .admin("PUT", "clients/bad", document.clone())
            .await;
        assert_eq!(answer.status, 422, "{document}: {}", answer.text());
        let told = pointers(&answer);
        assert!(
            expected
                .iter()
                .all(|pointer| told.iter().any(|told| told == pointer)),
            "{document}: {}",
            answer.text()
        );
    }
    assert_eq!(
        world
            .server
            .admin("GET", "clients/bad", Value::Null)
            .await
            .status,
        404
    );
}

#[tokio::test]
async fn contract_6__a_client_cannot_have_a_reserved_name_or_the_id_of_a_principal() {
    let world = World::new().await;
    let open = json!({ "auth_method": "none" });
    for name in [
        "pr_joel",
        "carnet-cli",
        "Carnet-CLI",
        "federated:fc_x",
        "a b",
        "cl_0123456789abcdefghjkmnpqrs",
    ] {
        let mut document = open.clone();
        document["name"] = json!(name);
        let answer = world.server.admin("POST", "clients", document).await;
        assert_eq!(
            (answer.status, pointers(&answer)),
            (422, vec!["/name".to_owned()]),
            "{name}: {}",
            answer.text()
        );
    }
    world.server.put("clients/bot", open).await;
    let answer = world
        .server
        .admin(
            "PUT",
            "principals/new",
            json!({ "kind": "user", "id": "bot" }),
        )
        .await;
    assert_eq!(
        (answer.status, pointers(&answer)),
        (422, vec!["/id".to_owned()]),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn contract_6__a_secret_client_with_permissions_on_all_packages_gives_warnings() {
    let world = World::new().await;
    let codes = |saved: &Value| -> Vec<String> {
        let warnings = saved["warnings"].as_array().unwrap();
        warnings
            .iter()
            .map(|warning| warning["code"].as_str().unwrap().to_owned())
            .collect()
    };
    let mut document = json!({ "auth_method": "client_secret_basic" });
    assert!(codes(&world.server.put("clients/bot", document.clone()).await).is_empty());
    let mut everything = permission(&["publish"]);
    everything["packages"] = json!(["*"]);
    document["permissions"] = json!([everything]);
    assert_eq!(
        codes(&world.server.put("clients/bot", document).await),
        ["any_package", "long_lived_secret"]
    );
}

#[tokio::test]
async fn atk_184__there_is_no_dynamic_client_registration() {
    let world = World::new().await;
    let wishes = json!({
        "client_id": "root", "client_name": "x", "scope": "admin", "redirect_uris": ["javascript:alert(1)"],
        "grant_types": ["client_credentials"], "token_endpoint_auth_method": "none",
    });
    for path in ["/register", "/connect/register", "/oauth2/register", "/reg"] {
        let request = Request::post(path).header("content-type", "application/json");
        let answer = world
            .server
            .send(request.body(Body::from(wishes.to_string())).unwrap())
            .await;
        assert_eq!(answer.status, 404, "{path}");
    }
    // Who may register clients does so at the admin API, where such members are mistakes and a `client_id` is nobody's choice.
    let answer = world.server.admin("PUT", "clients/root", wishes).await;
    let told = pointers(&answer);
    for pointer in [
        "/client_name",
        "/scope",
        "/redirect_uris",
        "/token_endpoint_auth_method",
    ] {
        assert!(told.iter().any(|told| told == pointer), "{}", answer.text());
    }
    let saved = world
        .server
        .put(
            "clients/bot",
            json!({ "auth_method": "none", "client_id": "federated:x" }),
        )
        .await;
    assert_eq!(saved["client_id"], "bot");
    let token = world.server.admin_token("admin:read");
    assert_eq!(
        admin_with(
            &world.server,
            &token,
            "PUT",
            "clients/root",
            json!({ "auth_method": "none" })
        )
        .await,
        403
    );
    let anonymous = Request::put("/admin/v1/clients/root")
        .body(Body::from("{}"))
        .unwrap();
    assert_eq!(world.server.send(anonymous).await.status, 401);
}

#[tokio::test]
async fn atk_185__large_posts_to_register_are_404_and_make_no_client() {
    let world = World::new().await;
    let large = vec![b'x'; 1 << 20];
    for _ in 0..20 {
        let request = Request::post("/register").header("content-type", "application/json");
        assert_eq!(
            world
                .server
                .send(request.body(Body::from(large.clone())).unwrap())
                .await
                .status,
            404
        );
    }
    let clients = world
        .server
        .admin("GET", "clients", Value::Null)
        .await
        .json();
    assert_eq!(clients["items"], json!([]));
    let token = world.server.admin_token("admin");
    let request =
        Request::put("/admin/v1/clients/big").header("authorization", format!("Bearer {token}"));
    let answer = world
        .server
        .send(request.body(Body::from(vec![b' '; 4 << 20])).unwrap())
        .await;
    assert!(matches!(answer.status, 400 | 413), "{}", answer.status);
}
