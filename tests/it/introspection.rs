//! Is a token in force, and what does it allow (RFC 7662, RFC 9701; contract sections 3 and 4).

use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::assertion::payload;
use crate::support::{
    ACCESS_TOKEN, Answer, CARNET, CLIENT_ASSERTION, GH, JWT, JWT_BEARER, R1, R2, TOKEN_EXCHANGE,
    TestClient, TestKey, TestServer, World, basic, permission,
};

const SIGNED: &str = "application/token-introspection+jwt";

/// Waits until something is so, a second at most: as long as a node may take to see a change.
pub async fn within_a_second(is_so: impl AsyncFn() -> bool) {
    let waiting = async {
        while !is_so().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(
        tokio::time::timeout(Duration::from_secs(1), waiting)
            .await
            .is_ok(),
        "it is not so after a second"
    );
}

/// A world with a registry that asks, and a token for it.
async fn asked() -> (World, TestClient, String) {
    let world = World::new().await;
    let registry = TestClient::registry(&world.server).await;
    let token = world.exchange(&world.good()).await.token();
    (world, registry, token)
}

fn inactive() -> Value {
    json!({ "active": false })
}

/// Makes the registry's tokens opaque from now on.
async fn opaque_from_now_on(world: &World) {
    let answer = world
        .server
        .admin(
            "PATCH",
            "resource-servers/pypi",
            json!({ "token_format": "opaque" }),
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn rfc7662_2_1__only_posted_forms_are_answered() {
    let (world, registry, token) = asked().await;
    for method in ["GET", "PUT", "DELETE"] {
        let request = Request::builder()
            .method(method)
            .uri("/introspect")
            .body(Body::empty())
            .unwrap();
        let answer = world.server.send(request).await;
        answer.refused(405, "invalid_request", "method_not_allowed");
        assert_eq!(answer.header("allow"), Some("POST"));
    }
    let request = Request::post("/introspect")
        .header("content-type", "application/json")
        .header("authorization", basic("registry", registry.secret()));
    let answer = world
        .server
        .send(
            request
                .body(Body::from(json!({ "token": token }).to_string()))
                .unwrap(),
        )
        .await;
    answer.refused(400, "invalid_request", "media_type");
    let in_query = world
        .server
        .form_text(&format!("/introspect?token={token}"), "")
        .await;
    in_query.refused(400, "invalid_request", "parameter_in_query");
    let answer = registry
        .send(&world.server, "/introspect", &[("token", &token)])
        .await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/json"))
    );
    assert_eq!(
        (answer.header("cache-control"), answer.header("pragma")),
        (Some("no-store"), Some("no-cache"))
    );
}

#[tokio::test]
async fn rfc7662_2_1_1__the_caller_has_to_be_authenticated() {
    let (world, registry, token) = asked().await;
    TestClient::register(
        &world.server,
        "open",
        "none",
        json!({ "resource_server": "pypi" }),
    )
    .await;
    let form = [("token", token.as_str())];
    for answer in [
        world.server.form("/introspect", &form).await,
        world
            .server
            .form("/introspect", &[form[0], ("client_id", "registry")])
            .await,
        world
            .server
            .form("/introspect", &[form[0], ("client_id", "open")])
            .await,
        world
            .server
            .form(
                "/introspect",
                &[form[0], ("client_id", "registry"), ("client_secret", "x")],
            )
            .await,
        registry
            .with_secret("wrong")
            .send(&world.server, "/introspect", &form)
            .await,
        world.server.form("/introspect", &[]).await,
    ] {
        answer.refused(401, "invalid_client", "client_authentication_failed");
        assert!(
            answer
                .header("www-authenticate")
                .unwrap()
                .starts_with("Basic ")
        );
    }
    for method in [
        "client_secret_basic",
        "client_secret_post",
        "private_key_jwt",
    ] {
        let caller = TestClient::register(
            &world.server,
            method,
            method,
            json!({ "resource_server": "pypi" }),
        )
        .await;
        assert_eq!(
            caller.introspect(&world.server, &token).await["active"],
            true,
            "{method}"
        );
    }
}

#[tokio::test]
async fn rfc7662_2_1_2__the_token_parameter_is_required_exactly_once() {
    let (world, registry, _) = asked().await;
    for form in [
        &[][..],
        &[("token", "")],
        &[("token_type_hint", "access_token")],
    ] {
        let answer = registry.send(&world.server, "/introspect", form).await;
        answer.refused(400, "invalid_request", "parameter_missing");
        assert_eq!(answer.json()["parameter"], "token");
    }
    let twice = [("token", "a"), ("token", "b")];
    let answer = registry.send(&world.server, "/introspect", &twice).await;
    answer.refused(400, "invalid_request", "parameter_repeated");
}

#[tokio::test]
async fn rfc7662_2_1_3__a_wrong_token_type_hint_does_not_hide_a_token() {
    let (world, registry, token) = asked().await;
    for hint in ["access_token", "refresh_token", "something_else", ""] {
        let form = [("token", token.as_str()), ("token_type_hint", hint)];
        assert_eq!(
            registry
                .send(&world.server, "/introspect", &form)
                .await
                .json()["active"],
            true,
            "{hint}"
        );
    }
}

#[tokio::test]
async fn rfc7662_2_2_1__the_answer_always_says_whether_the_token_is_active() {
    let (world, registry, token) = asked().await;
    assert_eq!(
        registry.introspect(&world.server, &token).await["active"],
        json!(true)
    );
    assert_eq!(
        registry.introspect(&world.server, "x").await["active"],
        json!(false)
    );
}

/// Tokens that are none, or none any more, or none of this registry.
async fn ended(world: &World) -> Vec<(&'static str, String)> {
    let token = world.exchange(&world.good()).await.token();
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
    let revoked = world.exchange(&world.good()).await.token();
    assert_eq!(
        world
            .server
            .form("/revoke", &[("token", &revoked)])
            .await
            .status,
        200
    );
    let mut other = World::rule_document(json!({}));
    other["permissions"][0]["resource_server"] = json!("crates");
    world.server.put("federated-credentials/other", other).await;
    let foreign = world
        .exchange_with(&world.good(), &[("resource", R2)])
        .await
        .token();
    let key = TestKey::ec("k", "ES256");
    vec![
        ("unknown", format!("cnt_{}", "x".repeat(49))),
        ("revoked", revoked),
        (
            "of another server",
            key.sign_with_header(
                &json!({ "alg": "ES256", "kid": "k", "typ": "at+jwt" }),
                &payload(&token),
            ),
        ),
        ("malformed", format!("{header}.{claims}")),
        (
            "with another signature",
            format!(
                "{header}.{claims}.{}",
                signature.chars().rev().collect::<String>()
            ),
        ),
        ("of another registry", foreign),
        ("for our own API", world.server.admin_token("admin")),
    ]
}

#[tokio::test]
async fn rfc7662_2_2_2__a_token_with_any_defect_is_inactive() {
    let (world, registry, token) = asked().await;
    for (what, ended) in ended(&world).await {
        let answer = registry
            .send(&world.server, "/introspect", &[("token", &ended)])
            .await;
        assert_eq!((answer.status, answer.json()), (200, inactive()), "{what}");
    }
    assert_eq!(
        registry.introspect(&world.server, &token).await["active"],
        true
    );
    world.server.clock.advance(900);
    assert_eq!(
        registry.introspect(&world.server, &token).await,
        inactive(),
        "expired"
    );
}

#[tokio::test]
async fn rfc7662_2_2_3__an_inactive_token_is_answered_with_active_false_alone() {
    let (world, registry, _) = asked().await;
    let mut bodies = Vec::new();
    for (_, ended) in ended(&world).await {
        bodies.push(
            registry
                .send(&world.server, "/introspect", &[("token", &ended)])
                .await
                .text(),
        );
    }
    assert!(
        bodies.iter().all(|body| body == r#"{"active":false}"#),
        "{bodies:?}"
    );
}

/// What introspection says beside what the token itself says.
fn without_frame(mut answer: Value) -> Value {
    let members = answer.as_object_mut().unwrap();
    assert_eq!(members.remove("active"), Some(json!(true)));
    assert_eq!(members.remove("token_type"), Some(json!("Bearer")));
    answer
}

#[tokio::test]
async fn rfc7662_2_2_4__an_active_token_is_described_as_its_jwt_does() {
    let (world, registry, token) = asked().await;
    let answer = without_frame(registry.introspect(&world.server, &token).await);
    assert_eq!(answer, payload(&token));
    for (member, value) in [
        ("iss", CARNET),
        ("aud", R1),
        ("sub", "pr_joel"),
        ("scope", "create publish"),
    ] {
        assert_eq!(answer[member], value);
    }
    for time in ["iat", "exp"] {
        assert!(answer[time].is_i64(), "{answer}");
    }
    assert_eq!(
        (
            &answer["workload"]["iss"],
            answer["authorization_details"].as_array().unwrap().len()
        ),
        (&json!(GH), 1)
    );
    // A client's own token, and one that was handed on to somebody who acts.
    let bot = TestClient::publisher(&world.server, "bot", "client_secret_basic").await;
    let own = bot.ask(&world.server, &[]).await.token();
    assert_eq!(
        without_frame(registry.introspect(&world.server, &own).await),
        payload(&own)
    );
}

#[tokio::test]
async fn rfc7662_2_2_5__each_registry_is_told_of_its_own_tokens_only() {
    let (world, registry, token) = asked().await;
    let crates = TestClient::register(
        &world.server,
        "crates",
        "client_secret_post",
        json!({ "resource_server": "crates" }),
    )
    .await;
    assert_eq!(
        registry.introspect(&world.server, &token).await["active"],
        true
    );
    assert_eq!(crates.introspect(&world.server, &token).await, inactive());
    let mut other = World::rule_document(json!({}));
    other["permissions"][0]["resource_server"] = json!("crates");
    world.server.put("federated-credentials/other", other).await;
    let theirs = world
        .exchange_with(&world.good(), &[("resource", R2)])
        .await
        .token();
    assert_eq!(
        registry.introspect(&world.server, &theirs).await,
        inactive()
    );
    assert_eq!(crates.introspect(&world.server, &theirs).await["aud"], R2);
    // A registry that is switched off is told nothing.
    world
        .server
        .admin(
            "PATCH",
            "resource-servers/crates",
            json!({ "enabled": false }),
        )
        .await;
    assert_eq!(crates.introspect(&world.server, &theirs).await, inactive());
}

#[tokio::test]
async fn rfc7662_2_3_1__a_bearer_token_authenticates_no_caller() {
    let (world, _, token) = asked().await;
    for bearer in [token.as_str(), "x", &world.server.admin_token("admin")] {
        let headers = [("authorization", format!("Bearer {bearer}"))];
        let headers = headers
            .each_ref()
            .map(|(name, value)| (*name, value.as_str()));
        let answer = world
            .server
            .form_with("/introspect", &headers, &[("token", &token)])
            .await;
        answer.refused(401, "invalid_client", "client_authentication_failed");
    }
}

#[tokio::test]
async fn rfc7662_4_1__lifetime_signature_key_and_audience_of_a_token_are_checked() {
    let (world, registry, token) = asked().await;
    let active =
        async |token: &str| registry.introspect(&world.server, token).await["active"] == true;
    // To the second: both clocks are ours.
    world.server.clock.advance(899);
    assert!(active(&token).await);
    world.server.clock.advance(1);
    assert!(!active(&token).await);
    // The signature: each part counts, and so does whose key it is.
    let token = world.exchange(&world.good()).await.token();
    for at in [
        10,
        token.find('.').unwrap() + 10,
        token.rfind('.').unwrap() + 10,
    ] {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        assert!(!active(&String::from_utf8(bytes).unwrap()).await, "{at}");
    }
    let header: Value = serde_json::from_slice(
        &carnet_jose::from_base64url(token.split('.').next().unwrap()).unwrap(),
    )
    .unwrap();
    let kid = header["kid"].as_str().unwrap();
    let forger = TestKey::ec(kid, "ES256");
    let same = forger.sign_with_header(&header, &payload(&token));
    let untyped = forger.sign(&payload(&token));
    assert!(!active(&same).await && !active(&untyped).await && active(&token).await);
    // The key: withdrawn at once.
    world
        .server
        .admin("POST", "signing-keys/rotate", Value::Null)
        .await;
    assert!(active(&token).await);
    let answer = world
        .server
        .admin("DELETE", &format!("signing-keys/{kid}"), Value::Null)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(!active(&token).await);
    // The audience: a registry that moved is another one.
    let token = world.exchange(&world.good()).await.token();
    assert!(active(&token).await);
    world
        .server
        .admin(
            "PATCH",
            "resource-servers/pypi",
            json!({ "resource": "https://registry.test/moved/" }),
        )
        .await;
    assert!(!active(&token).await);
}

#[tokio::test]
async fn rfc7662_4_2__a_client_without_a_registry_sees_tokens_of_others_as_inactive() {
    let (world, _, token) = asked().await;
    for method in ["client_secret_basic", "private_key_jwt"] {
        let publisher = TestClient::publisher(&world.server, "publisher", method).await;
        assert_eq!(
            publisher.introspect(&world.server, &token).await,
            inactive()
        );
    }
}

#[tokio::test]
async fn rfc7662_4_3__introspection_of_unknown_tokens_is_rate_limited_per_client() {
    let settings = [(
        "CARNET_RATE_LIMITS__INACTIVE_INTROSPECTIONS_PER_MINUTE_PER_CLIENT",
        "5",
    )];
    let world = World::with(&settings).await;
    let registry = TestClient::registry(&world.server).await;
    let token = world.exchange(&world.good()).await.token();
    for _ in 0..20 {
        assert_eq!(
            registry.introspect(&world.server, &token).await["active"],
            true,
            "tokens in force cost nothing"
        );
    }
    let mut last = registry
        .send(&world.server, "/introspect", &[("token", "guess")])
        .await;
    for _ in 0..10 {
        last = registry
            .send(&world.server, "/introspect", &[("token", "guess")])
            .await;
    }
    last.refused(429, "temporarily_unavailable", "rate_limited");
    assert!(last.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
    let other = TestClient::register(
        &world.server,
        "other",
        "client_secret_basic",
        json!({ "resource_server": "pypi" }),
    );
    assert_eq!(
        other.await.introspect(&world.server, &token).await["active"],
        true
    );
}

// === signed answers ===

/// The signed answer about a token.
async fn signed(server: &TestServer, registry: &TestClient, token: &str, accept: &str) -> Answer {
    let headers = [
        ("authorization", basic(&registry.id, registry.secret())),
        ("accept", accept.to_owned()),
    ];
    let headers = headers
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    server
        .form_with("/introspect", &headers, &[("token", token)])
        .await
}

fn header(token: &str) -> Value {
    serde_json::from_slice(&carnet_jose::from_base64url(token.split('.').next().unwrap()).unwrap())
        .unwrap()
}

#[tokio::test]
async fn rfc9701_4_1__a_caller_that_accepts_signed_answers_gets_one_and_others_get_json() {
    let (world, registry, token) = asked().await;
    for accept in [
        SIGNED,
        "application/json;q=0.5, application/Token-Introspection+JWT;q=0.5",
    ] {
        let answer = signed(&world.server, &registry, &token, accept).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, Some(SIGNED)),
            "{accept}"
        );
        assert_eq!(header(&answer.text())["typ"], "token-introspection+jwt");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    for accept in [
        "*/*",
        "application/json",
        "application/jwt",
        "",
        &format!("application/json, {SIGNED};q=0"),
    ] {
        let answer = signed(&world.server, &registry, &token, accept).await;
        assert_eq!(
            answer.header("content-type"),
            Some("application/json"),
            "{accept}"
        );
    }
}

#[tokio::test]
async fn rfc9701_5_1__a_signed_answer_has_its_recipient_as_audience_and_is_no_access_token() {
    let (world, registry, token) = asked().await;
    let plain = registry.introspect(&world.server, &token).await;
    let answer = signed(&world.server, &registry, &token, SIGNED)
        .await
        .text();
    assert_eq!(
        payload(&answer),
        json!({ "iss": CARNET, "aud": "registry", "iat": world.server.now(), "token_introspection": plain })
    );
    assert_eq!(
        registry.introspect(&world.server, &answer).await,
        inactive()
    );
    let form = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", &answer),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    world.server.form("/token", &form).await.refused(
        400,
        "invalid_request",
        "subject_token_invalid",
    );
    assert_ne!(world.exchange(&answer).await.status, 200);
    let request =
        Request::get("/admin/v1/principals").header("authorization", format!("Bearer {answer}"));
    assert_eq!(
        world
            .server
            .send(request.body(Body::empty()).unwrap())
            .await
            .status,
        401
    );
}

#[tokio::test]
async fn rfc9701_5_2__a_signed_answer_about_an_inactive_token_says_active_false_alone() {
    let (world, registry, _) = asked().await;
    for (what, ended) in ended(&world).await {
        let answer = signed(&world.server, &registry, &ended, SIGNED)
            .await
            .text();
        assert_eq!(
            payload(&answer)["token_introspection"],
            inactive(),
            "{what}"
        );
    }
}

#[tokio::test]
async fn rfc9701_6_1__signed_answers_use_the_algorithm_in_the_metadata() {
    for algorithm in ["ES256", "RS256", "EdDSA"] {
        let world = World::with(&[("CARNET_TOKENS__SIGNING_ALGORITHM", algorithm)]).await;
        let registry = TestClient::registry(&world.server).await;
        let answer = signed(&world.server, &registry, "x", SIGNED).await.text();
        let metadata = world
            .server
            .get("/.well-known/oauth-authorization-server")
            .await
            .json();
        assert_eq!(
            metadata["introspection_signing_alg_values_supported"],
            json!([algorithm])
        );
        assert_eq!(header(&answer)["alg"], algorithm);
        let keys = world.server.get("/jwks").await.json();
        let kids: Vec<&Value> = keys["keys"]
            .as_array()
            .unwrap()
            .iter()
            .map(|key| &key["kid"])
            .collect();
        assert!(kids.contains(&&header(&answer)["kid"]));
    }
}

#[tokio::test]
async fn rfc9701_8_1__only_an_authenticated_caller_gets_a_signed_answer() {
    let (world, registry, token) = asked().await;
    let anonymous = world
        .server
        .form_with("/introspect", &[("accept", SIGNED)], &[("token", &token)])
        .await;
    anonymous.refused(401, "invalid_client", "client_authentication_failed");
    let wrong = signed(
        &world.server,
        &registry.with_secret("wrong"),
        &token,
        SIGNED,
    )
    .await;
    wrong.refused(401, "invalid_client", "client_authentication_failed");
    let stranger = TestClient::publisher(&world.server, "stranger", "client_secret_basic").await;
    let answer = signed(&world.server, &stranger, &token, SIGNED)
        .await
        .text();
    assert_eq!(
        (
            &payload(&answer)["aud"],
            &payload(&answer)["token_introspection"]
        ),
        (&json!("stranger"), &inactive())
    );
}

// === attacks ===

#[tokio::test]
async fn atk_179__a_tokens_own_client_may_introspect_it_and_holders_and_others_may_not() {
    let (world, _, token) = asked().await;
    // Whoever merely holds it.
    let holder = world.server.form("/introspect", &[("token", &token)]).await;
    holder.refused(401, "invalid_client", "client_authentication_failed");
    let crates = TestClient::register(
        &world.server,
        "crates",
        "private_key_jwt",
        json!({ "resource_server": "crates" }),
    )
    .await;
    assert_eq!(crates.introspect(&world.server, &token).await, inactive());
    let [bot, other] =
        ["bot", "other"].map(|id| TestClient::publisher(&world.server, id, "client_secret_post"));
    let (bot, other) = (bot.await, other.await);
    let own = bot.ask(&world.server, &[]).await.token();
    assert_eq!(
        bot.introspect(&world.server, &own).await["client_id"],
        "bot"
    );
    assert_eq!(other.introspect(&world.server, &own).await, inactive());
    // Also one that it was given for an assertion.
    let form = [("grant_type", JWT_BEARER), ("assertion", &world.good())];
    let given = bot.send(&world.server, "/token", &form).await.token();
    assert_eq!(
        bot.introspect(&world.server, &given).await["sub"],
        "pr_joel"
    );
    assert_eq!(other.introspect(&world.server, &given).await, inactive());
}

#[tokio::test]
async fn atk_180__malformed_and_foreign_tokens_are_inactive() {
    let (world, registry, token) = asked().await;
    for text in [
        world.good(),
        "\u{0}".to_owned(),
        "..".to_owned(),
        "cnt_".to_owned(),
        "cnt_'; DROP TABLE opaque_token; --".to_owned(),
        format!("{token}."),
        format!("{token}="),
        format!(" {token}"),
        token.to_uppercase(),
        "é".repeat(1000),
        "x".repeat(20_000),
        format!("{}.{}.{}", "e".repeat(20_000), "f", "g"),
        registry.secret().to_owned(),
    ] {
        let start: String = text.chars().take(20).collect();
        assert_eq!(
            registry.introspect(&world.server, &text).await,
            inactive(),
            "{start}"
        );
    }
    let huge = registry
        .send(
            &world.server,
            "/introspect",
            &[("token", &"x".repeat(1 << 20))],
        )
        .await;
    huge.refused(413, "invalid_request", "body_too_large");
    assert_eq!(
        registry.introspect(&world.server, &token).await["active"],
        true
    );
}

#[tokio::test]
async fn atk_181__introspection_of_tokens_of_others_is_rate_limited() {
    let settings = [(
        "CARNET_RATE_LIMITS__INACTIVE_INTROSPECTIONS_PER_MINUTE_PER_CLIENT",
        "5",
    )];
    let world = World::with(&settings).await;
    let publisher = TestClient::publisher(&world.server, "publisher", "client_secret_basic").await;
    let token = world.exchange(&world.good()).await.token();
    let mut statuses = Vec::new();
    // A token that is somebody else's business is a guess too.
    for _ in 0..10 {
        statuses.push(
            publisher
                .send(&world.server, "/introspect", &[("token", &token)])
                .await
                .status,
        );
    }
    assert_eq!((statuses[0], statuses[9]), (200, 429), "{statuses:?}");
}

// === what ends a token ===

/// Makes tokens, changes something at one node, and sees them end there at once and at another node within a second.
async fn ends_everywhere(
    token: impl AsyncFn(&World) -> String,
    method: &str,
    path: &str,
    body: Value,
) {
    let world = World::new().await;
    let registry = TestClient::registry(&world.server).await;
    let other = world.server.another_node().await;
    let jwt = token(&world).await;
    opaque_from_now_on(&world).await;
    let key = token(&world).await;
    let active = async |server: &TestServer, token: &str| {
        registry.introspect(server, token).await["active"] == true
    };
    within_a_second(async || active(&other, &jwt).await && active(&other, &key).await).await;
    assert!(active(&world.server, &jwt).await && active(&world.server, &key).await);
    let answer = world.server.admin(method, path, body).await;
    assert!(matches!(answer.status, 200 | 204), "{}", answer.text());
    assert!(!active(&world.server, &jwt).await && !active(&world.server, &key).await);
    within_a_second(async || !active(&other, &jwt).await && !active(&other, &key).await).await;
}

async fn of_a_rule(world: &World) -> String {
    world.exchange(&world.good()).await.token()
}

async fn of_a_client(world: &World) -> String {
    let document = json!({ "auth_method": "client_secret_basic", "permissions": [permission(&["publish", "unlist"])] });
    world.server.put("clients/bot", document).await;
    let rotated = world
        .server
        .admin("POST", "clients/bot/rotate-secret", Value::Null)
        .await
        .json();
    let form = [("grant_type", "client_credentials")];
    let header = basic("bot", rotated["client_secret"].as_str().unwrap());
    world
        .server
        .form_with("/token", &[("authorization", &header)], &form)
        .await
        .token()
}

const RULE: &str = "federated-credentials/octo-release";

#[tokio::test]
async fn contract_4__a_token_ends_when_its_rule_matches_something_else() {
    ends_everywhere(
        of_a_rule,
        "PATCH",
        RULE,
        json!({ "match": { "environment": "prod" } }),
    )
    .await;
}

#[tokio::test]
async fn contract_4__a_token_ends_when_its_rule_permits_something_else() {
    let changed = json!({ "permissions": [{ "resource_server": "pypi", "actions": ["create", "publish"], "packages": ["widgets"] }] });
    ends_everywhere(of_a_rule, "PATCH", RULE, changed).await;
}

#[tokio::test]
async fn contract_4__a_token_ends_when_its_rule_gets_an_end() {
    ends_everywhere(
        of_a_rule,
        "PATCH",
        RULE,
        json!({ "expires_at": "2030-01-01T00:00:00Z" }),
    )
    .await;
}

#[tokio::test]
async fn contract_4__a_token_ends_when_its_rule_is_switched_off() {
    ends_everywhere(of_a_rule, "PATCH", RULE, json!({ "enabled": false })).await;
}

#[tokio::test]
async fn contract_4__a_token_ends_when_its_rule_is_removed() {
    ends_everywhere(of_a_rule, "DELETE", RULE, Value::Null).await;
}

#[tokio::test]
async fn contract_4__a_token_ends_when_its_principal_is_switched_off() {
    ends_everywhere(
        of_a_rule,
        "PATCH",
        "principals/joel",
        json!({ "enabled": false }),
    )
    .await;
}

#[tokio::test]
async fn contract_4__a_token_ends_when_its_trusted_issuer_is_switched_off() {
    ends_everywhere(
        of_a_rule,
        "PATCH",
        "trusted-issuers/github",
        json!({ "enabled": false }),
    )
    .await;
}

#[tokio::test]
async fn contract_4__a_token_ends_when_its_trusted_issuer_gets_another_owner() {
    let beside_mallory = async |world: &World| {
        world
            .server
            .put("principals/mallory", json!({ "kind": "user" }))
            .await;
        of_a_rule(world).await
    };
    ends_everywhere(
        beside_mallory,
        "PATCH",
        "trusted-issuers/github",
        json!({ "owner": "mallory" }),
    )
    .await;
}

#[tokio::test]
async fn contract_4__a_token_ends_when_its_registry_is_switched_off() {
    ends_everywhere(
        of_a_rule,
        "PATCH",
        "resource-servers/pypi",
        json!({ "enabled": false }),
    )
    .await;
}

#[tokio::test]
async fn contract_4__a_clients_token_ends_when_the_client_permits_something_else() {
    let changed = json!({ "permissions": [{ "resource_server": "pypi", "actions": ["publish"], "packages": ["*"], "owner": "joel" }] });
    ends_everywhere(of_a_client, "PATCH", "clients/bot", changed).await;
}

#[tokio::test]
async fn contract_4__a_clients_token_ends_when_the_client_is_switched_off() {
    ends_everywhere(
        of_a_client,
        "PATCH",
        "clients/bot",
        json!({ "enabled": false }),
    )
    .await;
}

#[tokio::test]
async fn contract_4__a_clients_token_ends_when_the_client_is_removed() {
    ends_everywhere(of_a_client, "DELETE", "clients/bot", Value::Null).await;
}

#[tokio::test]
async fn contract_4__a_clients_token_ends_when_the_owner_is_switched_off() {
    ends_everywhere(
        of_a_client,
        "PATCH",
        "principals/joel",
        json!({ "enabled": false }),
    )
    .await;
}

#[tokio::test]
async fn contract_4__a_clients_token_ends_when_the_registry_is_switched_off() {
    ends_everywhere(
        of_a_client,
        "PATCH",
        "resource-servers/pypi",
        json!({ "enabled": false }),
    )
    .await;
}

#[tokio::test]
async fn contract_4__a_client_sees_its_token_inactive_when_the_registry_is_switched_off() {
    let world = World::new().await;
    let bot = TestClient::publisher(&world.server, "bot", "client_secret_basic").await;
    let form = [("grant_type", JWT_BEARER), ("assertion", &world.good())];
    let tokens = [
        bot.ask(&world.server, &[]).await.token(),
        bot.send(&world.server, "/token", &form).await.token(),
    ];
    for (enabled, expected) in [(true, true), (false, false)] {
        world
            .server
            .admin(
                "PATCH",
                "resource-servers/pypi",
                json!({ "enabled": enabled }),
            )
            .await;
        for token in &tokens {
            assert_eq!(
                bot.introspect(&world.server, token).await["active"],
                expected
            );
        }
    }
}

#[tokio::test]
async fn nuget_tok_4__removing_a_rule_ends_its_keys() {
    ends_everywhere(of_a_rule, "DELETE", RULE, Value::Null).await;
}

#[tokio::test]
async fn contract_4__a_token_outlives_changes_that_do_not_concern_it() {
    let (world, registry, token) = asked().await;
    world.exchange(&world.good()).await.token();
    for (path, changed) in [
        (
            "federated-credentials/octo-release",
            json!({ "review_at": "2030-01-01T00:00:00Z" }),
        ),
        (
            "federated-credentials/octo-release",
            json!({ "enabled": true }),
        ),
        ("principals/joel", json!({ "display_name": "Joel" })),
        ("trusted-issuers/github", json!({ "leeway_seconds": 30 })),
        (
            "resource-servers/pypi",
            json!({ "token_lifetime_seconds": 60 }),
        ),
        ("clients/registry", json!({ "scopes": ["admin:read"] })),
    ] {
        assert_eq!(
            world.server.admin("PATCH", path, changed).await.status,
            200,
            "{path}"
        );
        assert_eq!(
            registry.introspect(&world.server, &token).await["active"],
            true,
            "{path}"
        );
    }
    world
        .server
        .admin("POST", "clients/registry/rotate-secret", Value::Null)
        .await;
    assert_eq!(
        registry.introspect(&world.server, &token).await["active"],
        true
    );
}

#[tokio::test]
async fn contract_4__a_token_outlives_the_pinning_of_ids_by_its_rule() {
    let world = World::new().await;
    let registry = TestClient::registry(&world.server).await;
    world
        .server
        .admin("DELETE", "federated-credentials/octo-release", Value::Null)
        .await;
    world
        .rule(
            "pending",
            json!({ "repository_owner_id": null, "repository_id": null }),
        )
        .await;
    let first = world.exchange(&world.good()).await.token();
    let second = world.exchange(&world.good()).await.token();
    let shown = world
        .server
        .admin("GET", "federated-credentials/pending", Value::Null)
        .await
        .json();
    assert_eq!(
        (&shown["state"], &shown["pinned"]["repository_id"]),
        (&json!("active"), &json!("74"))
    );
    for token in [first, second] {
        assert_eq!(
            registry.introspect(&world.server, &token).await["active"],
            true
        );
    }
}

#[tokio::test]
async fn contract_4__a_token_ends_when_its_rule_expires() {
    let world = World::new().await;
    let registry = TestClient::registry(&world.server).await;
    let mut rule = World::rule_document(json!({}));
    rule["expires_at"] = json!("2027-01-15T08:05:00Z");
    world
        .server
        .put("federated-credentials/octo-release", rule)
        .await;
    let answer = world.exchange(&world.good()).await;
    assert_eq!(answer.json()["expires_in"], 300);
    world.server.clock.advance(299);
    assert_eq!(
        registry.introspect(&world.server, &answer.token()).await["active"],
        true
    );
    world.server.clock.advance(1);
    assert_eq!(
        registry.introspect(&world.server, &answer.token()).await,
        inactive()
    );
}

#[tokio::test]
async fn contract_4__introspection_leaves_out_entries_whose_rule_is_switched_off() {
    let world = World::new().await;
    let registry = TestClient::registry(&world.server).await;
    let mut second = World::rule_document(json!({}));
    second["permissions"][0]["actions"] = json!(["unlist"]);
    let second = world
        .server
        .put("federated-credentials/second", second)
        .await["id"]
        .clone();
    let jwt = world.exchange(&world.good()).await.token();
    opaque_from_now_on(&world).await;
    let key = world.exchange(&world.good()).await.token();
    for token in [&jwt, &key] {
        let before = registry.introspect(&world.server, token).await;
        assert_eq!(
            (
                &before["scope"],
                before["authorization_details"].as_array().unwrap().len()
            ),
            (&json!("create publish unlist"), 2)
        );
    }
    world
        .server
        .admin(
            "PATCH",
            "federated-credentials/second",
            json!({ "enabled": false }),
        )
        .await;
    for token in [&jwt, &key] {
        let after = registry.introspect(&world.server, token).await;
        let entries = after["authorization_details"].as_array().unwrap();
        assert_eq!(
            (
                &after["scope"],
                entries.len(),
                entries[0]["credential"] != second
            ),
            (&json!("create publish"), 1, true),
            "{after}"
        );
        assert_eq!(after["sub"], "pr_joel", "{after}");
    }
    // What is exchanged from it now has as little.
    let form = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", &jwt),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    assert_eq!(
        world.server.form("/token", &form).await.json()["scope"],
        "create publish"
    );
    world
        .server
        .admin("DELETE", "federated-credentials/octo-release", Value::Null)
        .await;
    for token in [&jwt, &key] {
        assert_eq!(registry.introspect(&world.server, token).await, inactive());
    }
}

// === opaque keys ===

#[tokio::test]
async fn contract_4__an_opaque_key_has_prefix_and_checksum() {
    let world = World::new().await;
    let registry = TestClient::registry(&world.server).await;
    for (prefix, changed) in [
        ("cnt_", json!({ "token_format": "opaque" })),
        ("acme_", json!({ "token_prefix": "acme_" })),
    ] {
        world
            .server
            .admin("PATCH", "resource-servers/pypi", changed)
            .await;
        let answer = world.exchange(&world.good()).await;
        let key = answer.token();
        let body = key.strip_prefix(prefix).unwrap();
        assert!(
            body.len() == 43 + 6 && body.bytes().all(|byte| byte.is_ascii_alphanumeric()),
            "{key}"
        );
        let (begun, checksum) = key.split_at(key.len() - 6);
        let digits: Vec<char> = ('0'..='9').chain('A'..='Z').chain('a'..='z').collect();
        let value = checksum.chars().fold(0u64, |value, digit| {
            value * 62 + digits.iter().position(|known| *known == digit).unwrap() as u64
        });
        assert_eq!(value, u64::from(crc32(begun.as_bytes())), "{key}");
        assert_eq!(
            (&answer.json()["scope"], &answer.json()["expires_in"]),
            (&json!("create publish"), &json!(900))
        );
        assert_eq!(
            registry.introspect(&world.server, &key).await["active"],
            true
        );
        // A slip of the pen is no token, and a key is found by all of its characters.
        for at in [0, prefix.len(), key.len() - 1] {
            let mut slip = key.clone().into_bytes();
            slip[at] = if slip[at] == b'x' { b'y' } else { b'x' };
            assert_eq!(
                registry
                    .introspect(&world.server, &String::from_utf8(slip).unwrap())
                    .await,
                inactive(),
                "{at}"
            );
        }
    }
}

/// CRC-32 as ISO 3309 has it, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 {
                (crc >> 1) ^ 0xedb8_8320
            } else {
                crc >> 1
            }
        })
    })
}

#[tokio::test]
async fn contract_6__unknown_token_formats_and_unscannable_prefixes_are_refused() {
    let world = World::new().await;
    for (member, value) in [
        ("token_format", json!("paseto")),
        ("token_format", json!(1)),
        ("token_prefix", json!("a-b")),
        ("token_prefix", json!("a.b")),
        ("token_prefix", json!("x".repeat(17))),
        ("token_prefix", json!("")),
    ] {
        let answer = world
            .server
            .admin("PATCH", "resource-servers/pypi", json!({ member: value }))
            .await;
        let errors = answer.json()["errors"].clone();
        assert_eq!(
            (answer.status, &errors[0]["pointer"]),
            (422, &json!(format!("/{member}"))),
            "{value}"
        );
    }
    let shown = world
        .server
        .admin("GET", "resource-servers/pypi", Value::Null)
        .await
        .json();
    assert_eq!(
        (&shown["token_format"], &shown["token_prefix"]),
        (&json!("jwt"), &json!("cnt_"))
    );
}

#[tokio::test]
async fn contract_4__an_opaque_key_is_stored_as_a_hash_only() {
    let world = World::new().await;
    opaque_from_now_on(&world).await;
    let key = world.exchange(&world.good()).await.token();
    world.server.app.flush_audit().await;
    let hashes = world
        .server
        .db
        .column::<Vec<u8>>("SELECT hash FROM opaque_token")
        .await;
    assert_eq!(hashes, [carnet_jose::sha256(key.as_bytes()).to_vec()]);
    let body = key.strip_prefix("cnt_").unwrap();
    for sql in [
        "SELECT claims FROM opaque_token",
        "SELECT detail FROM audit_event",
    ] {
        let texts = world.server.db.column::<String>(sql).await.concat();
        assert!(!texts.is_empty() && !texts.contains(body), "{sql}");
    }
}

#[tokio::test]
async fn contract_4__an_opaque_key_says_what_the_jwt_would() {
    let (world, registry, jwt) = asked().await;
    opaque_from_now_on(&world).await;
    let key = world.exchange(&world.good()).await.token();
    let comparable = |mut answer: Value| {
        assert!(
            answer
                .as_object_mut()
                .unwrap()
                .remove("jti")
                .unwrap()
                .is_string()
        );
        answer
    };
    let [of_jwt, of_key] = [
        registry.introspect(&world.server, &jwt).await,
        registry.introspect(&world.server, &key).await,
    ];
    assert_eq!(comparable(of_key), comparable(of_jwt));
    assert_eq!(
        comparable(payload(&jwt)),
        comparable(without_frame(
            registry.introspect(&world.server, &key).await
        ))
    );
    // It is good for an exchange and can be ended like the other.
    let form = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", &key),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    world.server.form("/token", &form).await.token();
    let as_assertion = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", &key),
        ("subject_token_type", JWT),
    ];
    assert_ne!(world.server.form("/token", &as_assertion).await.status, 200);
    assert_eq!(
        world
            .server
            .form("/revoke", &[("token", &key)])
            .await
            .status,
        200
    );
    assert_eq!(registry.introspect(&world.server, &key).await, inactive());
    assert_eq!(
        registry.introspect(&world.server, &jwt).await["active"],
        true
    );
}

#[tokio::test]
async fn contract_4__an_opaque_key_ends_after_its_lifetime() {
    let world = World::new().await;
    let registry = TestClient::registry(&world.server).await;
    let changed = json!({ "token_format": "opaque", "token_lifetime_seconds": 60 });
    world
        .server
        .admin("PATCH", "resource-servers/pypi", changed)
        .await;
    let key = world.exchange(&world.good()).await.token();
    world.server.clock.advance(59);
    assert_eq!(
        registry.introspect(&world.server, &key).await["active"],
        true
    );
    world.server.clock.advance(1);
    assert_eq!(registry.introspect(&world.server, &key).await, inactive());
}

#[tokio::test]
async fn contract_4__a_federated_registry_asks_with_its_own_assertion() {
    let (world, _, token) = asked().await;
    world
        .rule("registrys-own", json!({ "environment": "registry" }))
        .await;
    let document = json!({
        "auth_method": "federated", "federated_credentials": ["registrys-own"], "resource_server": "pypi",
    });
    world.server.put("clients/keyless", document).await;
    let ask = async |assertion: &str| {
        let proof = [
            ("client_assertion_type", CLIENT_ASSERTION),
            ("client_assertion", assertion),
        ];
        let form = [
            proof.as_slice(),
            &[("client_id", "keyless"), ("token", &token)],
        ]
        .concat();
        world.server.form("/introspect", &form).await
    };
    let assertion = world.gh.sign(&world.claims().in_environment("registry"));
    assert_eq!(ask(&assertion).await.json()["active"], true);
    ask(&assertion)
        .await
        .refused(401, "invalid_client", "replay");
    ask(&world.good())
        .await
        .refused(401, "invalid_client", "env_missing");
}

#[tokio::test]
async fn contract_6__a_client_introspects_for_the_registry_it_has_at_the_moment() {
    let (world, registry, token) = asked().await;
    assert_eq!(
        registry.introspect(&world.server, &token).await["active"],
        true
    );
    world
        .server
        .admin(
            "PATCH",
            "clients/registry",
            json!({ "resource_server": "crates" }),
        )
        .await;
    assert_eq!(registry.introspect(&world.server, &token).await, inactive());
    world
        .server
        .admin(
            "PATCH",
            "clients/registry",
            json!({ "resource_server": null }),
        )
        .await;
    assert_eq!(registry.introspect(&world.server, &token).await, inactive());
    world
        .server
        .admin("PATCH", "clients/registry", json!({ "enabled": false }))
        .await;
    let answer = registry
        .send(&world.server, "/introspect", &[("token", &token)])
        .await;
    answer.refused(401, "invalid_client", "client_authentication_failed");
}
