//! Tokens end with what they rest on: their client, the rules that admitted it, the actor's token; and nobody widens one from beside.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::delegation::{acting, add_helper, helper, subject_of, with_helpers};
use super::exchange::change;
use crate::support::{
    ACCESS_TOKEN, Answer, CARNET, CLIENT_ASSERTION, FakeIssuer, GH, JWT_BEARER, R1, R2,
    TOKEN_EXCHANGE, TestClient, TestKey, World, github, permission,
};

const ADMIN: &str = "https://as.test/admin";

/// A token of the workload that this client got by the first grant.
async fn held_by(world: &World, client: &TestClient) -> String {
    let assertion = world.good();
    client
        .send(
            &world.server,
            "/token",
            &[("grant_type", JWT_BEARER), ("assertion", &assertion)],
        )
        .await
        .token()
}

async fn is_active(world: &World, registry: &TestClient, token: &str) -> bool {
    registry.introspect(&world.server, token).await["active"] == true
}

async fn change_client(world: &World, name: &str, changed: Value) {
    let answer = world
        .server
        .admin("PATCH", &format!("clients/{name}"), changed)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

// === registered clients ===

#[tokio::test]
async fn contract_4__a_clients_tokens_end_when_it_is_disabled_deleted_or_gets_other_credentials() {
    let world = World::new().await;
    let registry = TestClient::registry(&world.server).await;
    let bot = TestClient::publisher(&world.server, "bot", "client_secret_basic").await;
    let signer = TestClient::publisher(&world.server, "signer", "private_key_jwt").await;
    let renew = async |token: &str, client: &TestClient| {
        let form = [
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", token),
            ("subject_token_type", ACCESS_TOKEN),
        ];
        client.send(&world.server, "/token", &form).await
    };
    let tokens = async |client: &TestClient| {
        [
            held_by(&world, client).await,
            client.ask(&world.server, &[]).await.token(),
        ]
    };
    let all = async |tokens: &[String; 2], active: bool, what: &str| {
        for token in tokens {
            assert_eq!(is_active(&world, &registry, token).await, active, "{what}");
        }
    };

    // What grants nothing new ends nothing.
    let held = tokens(&bot).await;
    world.server.clock.advance(1);
    change_client(&world, "bot", json!({ "scopes": ["admin:read"] })).await;
    let overlapping = world
        .server
        .admin("POST", "clients/bot/rotate-secret", json!({}))
        .await
        .json();
    all(&held, true, "still the same client").await;
    let bot = bot.with_secret(overlapping["client_secret"].as_str().unwrap());
    renew(&held[0], &bot).await.token();

    // A secret that somebody else has.
    let rotated = world
        .server
        .admin(
            "POST",
            "clients/bot/rotate-secret",
            json!({ "overlap_seconds": 0 }),
        )
        .await
        .json();
    all(&held, false, "rotated at once").await;
    let bot = bot.with_secret(rotated["client_secret"].as_str().unwrap());
    renew(&held[0], &bot)
        .await
        .refused(400, "invalid_request", "subject_token_inactive");

    // Other keys.
    let keyed = tokens(&signer).await;
    all(&keyed, true, "before its keys change").await;
    world.server.clock.advance(1);
    change_client(
        &world,
        "signer",
        json!({ "jwks": { "keys": [TestKey::ec("other", "ES256").jwk()] } }),
    )
    .await;
    all(&keyed, false, "other keys").await;

    // Switched off and on again; deleted and made again under the same name.
    for again in ["switched", "deleted"] {
        let held = tokens(&bot).await;
        all(&held, true, again).await;
        world.server.clock.advance(1);
        if again == "switched" {
            change_client(&world, "bot", json!({ "enabled": false })).await;
            all(&held, false, "switched off").await;
            change_client(&world, "bot", json!({ "enabled": true })).await;
        } else {
            assert_eq!(
                world
                    .server
                    .admin("DELETE", "clients/bot", Value::Null)
                    .await
                    .status,
                204
            );
            all(&held, false, "deleted").await;
            TestClient::publisher(&world.server, "bot", "client_secret_basic").await;
        }
        all(&held, false, again).await;
    }
}

#[tokio::test]
async fn contract_4__an_admin_token_ends_with_the_rule_that_admitted_its_client() {
    for (ending, changed) in [
        (
            "federated-credentials/octo-release",
            json!({ "enabled": false }),
        ),
        (
            "federated-credentials/octo-release",
            json!({ "review_at": "2030-01-01T00:00:00Z" }),
        ),
        (
            "federated-credentials/octo-release",
            json!({ "match": World::rule_document(json!({ "environment": "x" }))["match"] }),
        ),
        ("principals/joel", json!({ "enabled": false })),
        ("trusted-issuers/github", json!({ "enabled": false })),
    ] {
        let world = World::new().await;
        let robot = json!({ "auth_method": "federated", "federated_credentials": ["octo-release"], "scopes": ["admin"] });
        world.server.put("clients/robot", robot).await;
        let assertion = world.good();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "robot"),
            ("client_assertion_type", CLIENT_ASSERTION),
            ("client_assertion", &assertion),
            // Named twice is named.
            ("resource", ADMIN),
            ("resource", ADMIN),
        ];
        let token = world.server.form("/token", &form).await.token();
        assert_eq!(reads(&world, &token).await, 200);
        let answer = world.server.admin("PATCH", ending, changed.clone()).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let expected = if changed["review_at"].is_null() {
            401
        } else {
            200
        };
        assert_eq!(reads(&world, &token).await, expected, "{ending} {changed}");
    }
}

/// The status of a read of the admin API with this token.
async fn reads(world: &World, token: &str) -> u16 {
    let authorization = format!("Bearer {token}");
    let request = Request::get("/admin/v1/principals").header("authorization", authorization);
    world
        .server
        .send(request.body(Body::empty()).unwrap())
        .await
        .status
}

#[tokio::test]
async fn contract_4__details_and_principal_are_refused_in_requests_for_the_admin_api() {
    let world = World::new().await;
    let site = TestClient::register(
        &world.server,
        "site",
        "client_secret_basic",
        json!({ "scopes": ["admin"] }),
    )
    .await;
    for (name, value) in [
        (
            "authorization_details",
            r#"[{"type":"package","actions":["publish"],"packages":["a"]}]"#,
        ),
        ("principal", "joel"),
    ] {
        let answer = site
            .ask(&world.server, &[("resource", ADMIN), (name, value)])
            .await;
        answer.refused(400, "invalid_request", "parameter_malformed");
    }
    site.ask(&world.server, &[("resource", ADMIN)])
        .await
        .token();
}

#[tokio::test]
async fn contract_4__a_pending_rule_admits_a_client_only_where_its_ids_are_pinned() {
    let world = World::new().await;
    world
        .rule(
            "octo-release",
            json!({ "repository_owner_id": null, "repository_id": null }),
        )
        .await;
    let robot = json!({ "auth_method": "federated", "federated_credentials": ["octo-release"], "scopes": ["admin:read"] });
    world.server.put("clients/robot", robot).await;
    let rule = async || {
        world
            .server
            .admin("GET", "federated-credentials/octo-release", Value::Null)
            .await
            .json()
    };
    let prove = async |path: &str, form: &[(&str, &str)]| {
        let assertion = world.good();
        let proof = [
            ("client_id", "robot"),
            ("client_assertion_type", CLIENT_ASSERTION),
            ("client_assertion", &assertion),
        ];
        world
            .server
            .form(path, &[proof.as_slice(), form].concat())
            .await
    };
    prove("/introspect", &[("token", "x")]).await.refused(
        401,
        "invalid_client",
        "no_matching_credential",
    );
    prove("/revoke", &[("token", "x")]).await.refused(
        401,
        "invalid_client",
        "no_matching_credential",
    );
    assert_eq!(rule().await["state"], "pending");
    let form = [("grant_type", "client_credentials"), ("resource", ADMIN)];
    prove("/token", &form).await.token();
    let pinned = json!({ "repository_id": "74", "repository_owner_id": "65" });
    assert_eq!(
        (&rule().await["state"], &rule().await["pinned"]),
        (&json!("active"), &pinned)
    );
    super::introspection::within_a_second(async || {
        prove("/introspect", &[("token", "x")]).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn contract_4__issuing_a_token_pins_the_ids_of_the_rule_that_admitted_its_client() {
    let world = World::new().await;
    add_helper(&world, 0).await;
    world
        .rule(
            "octo-release",
            json!({ "repository_owner_id": null, "repository_id": null }),
        )
        .await;
    world
        .server
        .put(
            "clients/robot",
            json!({ "auth_method": "federated", "federated_credentials": ["octo-release"] }),
        )
        .await;
    let (own, subject) = (world.good(), world.gh.sign(&helper(&world, 0)));
    let form = [
        ("grant_type", JWT_BEARER),
        ("assertion", subject.as_str()),
        ("client_id", "robot"),
        ("client_assertion_type", CLIENT_ASSERTION),
        ("client_assertion", &own),
    ];
    world.server.form("/token", &form).await.token();
    let rule = world
        .server
        .admin("GET", "federated-credentials/octo-release", Value::Null)
        .await
        .json();
    assert_eq!(
        rule["pinned"],
        json!({ "repository_id": "74", "repository_owner_id": "65" })
    );
}

#[tokio::test]
async fn contract_4__assertions_with_a_bad_signature_do_not_tell_which_clients_exist() {
    let world = World::new().await;
    world
        .server
        .put(
            "clients/robot",
            json!({ "auth_method": "federated", "federated_credentials": ["octo-release"] }),
        )
        .await;
    TestClient::publisher(&world.server, "signer", "private_key_jwt").await;
    TestClient::publisher(&world.server, "bot", "client_secret_basic").await;
    let stranger = FakeIssuer::new(GH, TestKey::rsa(1));
    let now = world.server.now();
    let of_stranger = TestKey::ec("stranger", "ES256");
    let own = |id: &str| {
        of_stranger.sign(&json!({ "iss": id, "sub": id, "aud": CARNET, "jti": "j", "iat": now, "exp": now + 60 }))
    };
    let ask = async |client_id: Option<&str>, assertion: String| {
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_assertion_type", CLIENT_ASSERTION),
            ("client_assertion", assertion.as_str()),
        ];
        form.extend(client_id.map(|id| ("client_id", id)));
        let answer = world.server.form("/token", &form).await;
        assert_eq!(
            (answer.status, answer.json()["error"].as_str()),
            (401, Some("invalid_client"))
        );
        answer.reason()
    };
    let clients = ["robot", "signer", "bot", "nobody"];
    let mut told = Vec::new();
    for client in clients {
        told.push((
            ask(Some(client), stranger.sign(&github(now))).await,
            ask(Some(client), own(client)).await,
            ask(None, own(client)).await,
            ask(Some("signer"), own(client)).await,
        ));
    }
    assert!(told.iter().all(|one| *one == told[0]), "{told:?}");
}

// === exchanges ===

#[tokio::test]
async fn rfc7009_2_1_3__tokens_made_with_a_revoked_actor_token_end_with_it() {
    let world = World::new().await;
    with_helpers(&world, 1).await;
    let registry = TestClient::registry(&world.server).await;
    let actors = world
        .exchange(&world.gh.sign(&helper(&world, 0)))
        .await
        .token();
    let ours = [
        ("actor_token", actors.as_str()),
        ("actor_token_type", ACCESS_TOKEN),
    ];
    let held = world.exchange(&world.good()).await.token();
    let delegated = [
        world.renew(&held, &ours).await.token(),
        world.trade(&world.good(), &ours).await.token(),
    ];
    let grandchild = world.renew(&delegated[0], &[]).await.token();
    assert_eq!(
        world
            .server
            .form("/revoke", &[("token", &actors)])
            .await
            .status,
        200
    );
    for token in delegated.iter().chain([&grandchild]) {
        assert!(!is_active(&world, &registry, token).await);
    }
    assert!(is_active(&world, &registry, &held).await);
}

#[tokio::test]
async fn rfc8693_4_1_5__a_chain_of_more_than_sixteen_exchanges_is_refused() {
    let world = World::new().await;
    let mut token = world.exchange(&world.good()).await.token();
    let first = token.clone();
    for _ in 0..16 {
        token = world.renew(&token, &[]).await.token();
    }
    world
        .renew(&token, &[])
        .await
        .refused(400, "invalid_request", "chain_too_long");
    // The last of them hangs on the first.
    let registry = TestClient::registry(&world.server).await;
    assert!(is_active(&world, &registry, &token).await);
    assert_eq!(
        world
            .server
            .form("/revoke", &[("token", &first)])
            .await
            .status,
        200
    );
    assert!(!is_active(&world, &registry, &token).await);
}

#[tokio::test]
async fn contract_4__token_exchanges_count_against_the_rate_limit_of_their_client() {
    let world = World::with(&[("CARNET_RATE_LIMITS__TOKENS_PER_MINUTE_PER_CLIENT", "2")]).await;
    let bot = TestClient::publisher(&world.server, "bot", "client_secret_basic").await;
    let token = bot.ask(&world.server, &[]).await.token();
    let renew = async || {
        let form = [
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", &token),
            ("subject_token_type", ACCESS_TOKEN),
        ];
        bot.send(&world.server, "/token", &form).await
    };
    renew().await.token();
    let answer = renew().await;
    assert_eq!(
        (answer.status, answer.reason()),
        (429, "rate_limited".to_owned())
    );
}

#[tokio::test]
async fn rfc8693_4_4_1__a_may_act_claim_without_issuer_means_the_issuer_of_the_subject() {
    let world = World::new().await;
    add_helper(&world, 0).await;
    // The same subject at another platform, which has a rule as well.
    let other = FakeIssuer::new("https://other.test", TestKey::rsa(1));
    world.server.network.add(&other);
    let trusted = json!({ "profile": "github-actions", "issuer": "https://other.test", "grants": ["token-exchange"] });
    world.server.put("trusted-issuers/other", trusted).await;
    let ask = async |may_act: Value, actor: String| {
        let subject = world.gh.sign(&world.claims().with("may_act", may_act));
        world.trade(&subject, &acting(&actor)).await
    };
    let foreign = || other.sign(&helper(&world, 0).with("iss", "https://other.test"));
    let named = json!({ "sub": subject_of(0) });
    ask(named.clone(), foreign())
        .await
        .refused(400, "invalid_request", "actor_not_allowed");
    ask(named, world.gh.sign(&helper(&world, 0))).await.token();
    ask(
        json!({ "iss": "https://other.test", "sub": subject_of(0) }),
        foreign(),
    )
    .await
    .token();
}

#[tokio::test]
async fn wimsecx_life_1__a_token_with_an_actor_of_a_capped_issuer_ends_with_the_actors_assertion() {
    let world = World::new().await;
    with_helpers(&world, 1).await;
    let capped = FakeIssuer::new("https://capped.test", TestKey::rsa(1));
    world.server.network.add(&capped);
    let trusted = json!({ "profile": "github-actions", "issuer": "https://capped.test", "cap_at_assertion_expiry": true });
    world.server.put("trusted-issuers/capped", trusted).await;
    let mut rule = World::rule_document(json!({}));
    rule["trusted_issuer"] = json!("capped");
    world
        .server
        .put("federated-credentials/capped-helper", rule)
        .await;
    let mut subject = World::rule_document(json!({}));
    subject["actors"] = json!(["capped-helper", "helper-0"]);
    world
        .server
        .put("federated-credentials/octo-release", subject)
        .await;
    let now = world.server.now();
    let actor = world
        .claims()
        .with("iss", "https://capped.test")
        .with("exp", now + 60);
    let answer = world
        .trade(&world.good(), &acting(&capped.sign(&actor)))
        .await;
    assert_eq!(answer.json()["expires_in"], 60, "{}", answer.text());
    let uncapped = world
        .trade(
            &world.good(),
            &acting(&world.gh.sign(&helper(&world, 0).with("exp", now + 60))),
        )
        .await;
    assert_eq!(uncapped.json()["expires_in"], 900);
}

// === questions ===

#[tokio::test]
async fn atk_181__rate_limited_introspections_of_garbage_do_not_affect_good_tokens() {
    let world = World::with(&[(
        "CARNET_RATE_LIMITS__INACTIVE_INTROSPECTIONS_PER_MINUTE_PER_CLIENT",
        "3",
    )])
    .await;
    change(
        &world,
        "resource-servers/pypi",
        json!({ "token_format": "opaque" }),
    )
    .await;
    let registry = TestClient::registry(&world.server).await;
    let token = world.exchange(&world.good()).await.token();
    let ask = async |token: &str| -> Answer {
        registry
            .send(&world.server, "/introspect", &[("token", token)])
            .await
    };
    let mut statuses = Vec::new();
    for number in 0..5 {
        statuses.push(ask(&format!("garbage-{number}")).await.status);
    }
    assert_eq!(statuses, [200, 200, 200, 429, 429]);
    for _ in 0..5 {
        assert_eq!(ask(&token).await.json()["active"], true);
    }
}

// === who may change what ===

#[tokio::test]
async fn contract_6__a_rule_writer_cannot_take_over_a_client_with_rights_that_lists_the_rule() {
    let world = World::new().await;
    let patch = async |scope: &str, changed: Value| {
        world
            .server
            .admin_as(
                scope,
                "PATCH",
                "federated-credentials/octo-release",
                changed,
            )
            .await
    };
    let elsewhere = |repository: &str| json!({ "match": World::rule_document(json!({ "repository": repository, "repository_id": "75" }))["match"] });
    assert_eq!(
        patch("admin:credentials", elsewhere("octo-org/a"))
            .await
            .status,
        200
    );
    let robot = json!({ "auth_method": "federated", "federated_credentials": ["octo-release"], "scopes": ["admin"] });
    world.server.put("clients/robot", robot).await;
    for scope in ["admin:credentials", "admin:credentials:joel"] {
        let answer = patch(scope, elsewhere("evil/robot")).await;
        assert_eq!(answer.status, 422, "{}", answer.text());
        assert!(
            answer.text().contains("client robot has rights of its own"),
            "{}",
            answer.text()
        );
        assert_eq!(
            patch(scope, json!({ "review_at": "2030-01-01T00:00:00Z" }))
                .await
                .status,
            200
        );
    }
    // Taking rights away is for everybody who may write the rule.
    assert_eq!(
        patch("admin:credentials:joel", json!({ "enabled": false }))
            .await
            .status,
        200
    );
    assert_eq!(
        patch("admin:credentials:joel", json!({ "enabled": true }))
            .await
            .status,
        422
    );
    assert_eq!(patch("admin", json!({ "enabled": true })).await.status, 200);
    assert_eq!(patch("admin", elsewhere("octo-org/b")).await.status, 200);
    // A client with nothing of its own does not stand in the way.
    world
        .server
        .put(
            "clients/robot",
            json!({ "auth_method": "federated", "federated_credentials": ["octo-release"] }),
        )
        .await;
    assert_eq!(
        patch("admin:credentials:joel", elsewhere("octo-org/c"))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn contract_6__the_owner_of_a_rule_keeps_actors_that_an_administrator_added() {
    let world = World::new().await;
    add_helper(&world, 0).await;
    add_helper(&world, 1).await;
    let put = async |actors: Value| {
        let mut document = World::rule_document(json!({ "environment": "release" }));
        document["actors"] = actors;
        world
            .server
            .admin_as(
                "admin:credentials:joel",
                "PUT",
                "federated-credentials/octo-release",
                document,
            )
            .await
    };
    assert_eq!(put(json!(["helper-0"])).await.status, 422);
    world
        .server
        .admin(
            "PATCH",
            "federated-credentials/octo-release",
            json!({ "actors": ["helper-0"] }),
        )
        .await;
    assert_eq!(put(json!(["helper-0"])).await.status, 200);
    assert_eq!(put(json!(["helper-0", "helper-1"])).await.status, 422);
    assert_eq!(put(json!([])).await.status, 200);
    assert_eq!(put(json!(["helper-0"])).await.status, 422);
}

#[tokio::test]
async fn contract_4__a_client_with_many_entries_of_the_same_actions_gets_its_token() {
    let world = World::new().await;
    let actions: Vec<String> = (0..100).map(|number| format!("action-{number}")).collect();
    world
        .server
        .put(
            "resource-servers/pypi",
            json!({ "resource": R1, "actions": actions }),
        )
        .await;
    let mut narrow = permission(&[]);
    narrow["actions"] = json!(actions[..40]);
    let permissions: Vec<Value> = (0..3)
        .map(|number| {
            let mut one = narrow.clone();
            one["packages"] = json!([format!("package-{number}")]);
            one
        })
        .collect();
    let bot = TestClient::register(
        &world.server,
        "bot",
        "client_secret_basic",
        json!({ "permissions": permissions }),
    )
    .await;
    let answer = bot.ask(&world.server, &[]).await;
    assert_eq!(
        answer.json()["scope"]
            .as_str()
            .map(|scope| scope.split(' ').count()),
        Some(40),
        "{}",
        answer.text()
    );
    let too_many: Vec<String> = (0..101).map(|number| format!("action-{number}")).collect();
    let answer = world
        .server
        .admin(
            "PUT",
            "resource-servers/pypi",
            json!({ "resource": R1, "actions": too_many }),
        )
        .await;
    assert_eq!(answer.status, 422, "{}", answer.text());
}

#[tokio::test]
async fn wimsecx_life_1__an_actors_rule_for_another_registry_does_not_shorten_the_token() {
    let world = World::new().await;
    with_helpers(&world, 1).await;
    let now = world.server.now();
    let mut ending =
        World::rule_document(json!({ "repository": "octo-org/helper-0", "repository_id": "1000" }));
    ending["expires_at"] = json!(carnet::clock::Timestamp::from_seconds(now + 60).to_string());
    world
        .server
        .put("federated-credentials/ending-helper", ending)
        .await;
    let mut elsewhere = World::rule_document(json!({}));
    elsewhere["actors"] = json!(["ending-helper"]);
    elsewhere["permissions"][0]["resource_server"] = json!("crates");
    world
        .server
        .put("federated-credentials/octo-crates", elsewhere)
        .await;
    let trade = async |resource: &str| {
        let actor = world.gh.sign(&helper(&world, 0));
        let form = [acting(&actor).as_slice(), &[("resource", resource)]].concat();
        world.trade(&world.good(), &form).await.json()["expires_in"].clone()
    };
    assert_eq!(trade(R1).await, 900);
    assert_eq!(trade(R2).await, 60);
}
