//! Single use (checklist attacks 7.6): one token an assertion, whatever happens at the same time, and nothing used up by a refusal.

use std::time::Duration;

use carnet::http::serve_on;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::assertion::payload;
use crate::support::{
    FakeIssuer, JWT_BEARER, R1, R2, ServerProcess, TestDb, TestKey, TestServer, World, carnet,
    github,
};

/// Sends the same assertion to every node so many times at once; the statuses that came back.
async fn storm(nodes: &[&TestServer], assertion: &str, times: usize) -> Vec<u16> {
    let requests: Vec<_> = (0..times)
        .map(|n| {
            use tower::ServiceExt as _;
            let router = nodes[n % nodes.len()].router.clone();
            let body = format!("grant_type={JWT_BEARER}&assertion={assertion}");
            tokio::spawn(async move {
                let request = axum::http::Request::post("/token")
                    .header("content-type", "application/x-www-form-urlencoded");
                router
                    .oneshot(request.body(axum::body::Body::from(body)).unwrap())
                    .await
                    .unwrap()
                    .status()
                    .as_u16()
            })
        })
        .collect();
    let mut statuses = Vec::new();
    for request in requests {
        statuses.push(request.await.unwrap());
    }
    statuses
}

#[tokio::test]
async fn atk_078__a_second_use_of_an_assertion_is_refused() {
    let world = World::new().await;
    let assertion = world.good();
    world.exchange(&assertion).await.token();
    for _ in 0..2 {
        world
            .exchange(&assertion)
            .await
            .refused(400, "invalid_grant", "replay");
    }
}

#[tokio::test]
async fn nuget_tok_3__an_assertion_with_a_used_id_is_refused_though_other_claims_differ() {
    let world = World::new().await;
    let claims = world.claims();
    world.exchange_claims(&claims).await.token();
    let resigned = claims.with("run_attempt", "2");
    world
        .exchange_claims(&resigned)
        .await
        .refused(400, "invalid_grant", "replay");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rfc7523_3_7__fifty_simultaneous_uses_of_an_assertion_give_one_token() {
    let world = World::new().await;
    for _ in 0..5 {
        let statuses = storm(&[&world.server], &world.good(), 50).await;
        assert_eq!(
            statuses.iter().filter(|status| **status == 200).count(),
            1,
            "{statuses:?}"
        );
        assert_eq!(
            statuses.iter().filter(|status| **status == 400).count(),
            49,
            "{statuses:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn atk_079__simultaneous_uses_of_an_assertion_at_two_nodes_give_one_token() {
    let world = World::new().await;
    let second = world.server.another_node().await;
    for _ in 0..3 {
        let statuses = storm(&[&world.server, &second], &world.good(), 100).await;
        assert_eq!(
            statuses.iter().filter(|status| **status == 200).count(),
            1,
            "{statuses:?}"
        );
        assert!(
            statuses.iter().all(|status| matches!(status, 200 | 400)),
            "{statuses:?}"
        );
    }
    assert_eq!(world.server.audit("outcome=issued").await.len(), 3);
}

#[tokio::test]
async fn atk_080__the_same_assertion_id_from_two_issuers_is_not_a_replay() {
    let world = World::new().await;
    let other = FakeIssuer::new("https://other.test", TestKey::rsa(1));
    world.server.network.add(&other);
    world
        .server
        .put(
            "trusted-issuers/other",
            json!({ "profile": "generic", "issuer": "https://other.test" }),
        )
        .await;
    let rule = json!({
        "principal": "joel", "trusted_issuer": "other", "match": { "subject": "job" },
        "permissions": [{ "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"] }],
    });
    world.server.put("federated-credentials/other", rule).await;
    let claims = world.claims();
    world.exchange_claims(&claims).await.token();
    let elsewhere = claims
        .clone()
        .with("iss", "https://other.test")
        .with("sub", "job");
    world.exchange(&other.sign(&elsewhere)).await.token();
    world
        .exchange_claims(&claims.with("actor", "somebody"))
        .await
        .refused(400, "invalid_grant", "replay");
}

#[tokio::test]
async fn atk_082__a_refused_request_does_not_use_up_the_assertion() {
    let world = World::new().await;
    let assertion = world.good();
    world
        .exchange_with(&assertion, &[("scope", "unlist")])
        .await
        .refused(400, "invalid_scope", "scope_not_granted");
    world.exchange_with(&assertion, &[("resource", R2)]).await;
    world
        .exchange_with(&assertion, &[("resource", "https://elsewhere.test/")])
        .await;
    world
        .exchange_with(&assertion, &[("principal", "nobody")])
        .await;
    world
        .exchange_with(&assertion, &[("client_id", "nobody")])
        .await;
    let details =
        json!([{ "type": "package", "actions": ["publish"], "packages": ["other"] }]).to_string();
    world
        .exchange_with(&assertion, &[("authorization_details", &details)])
        .await;
    world
        .server
        .form(
            "/explain",
            &[("grant_type", JWT_BEARER), ("assertion", &assertion)],
        )
        .await;
    world
        .exchange_with(&assertion, &[("resource", R1)])
        .await
        .token();
}

#[tokio::test]
async fn atk_083__a_used_assertion_is_remembered_until_it_expires_also_by_a_new_node() {
    let world = World::new().await;
    let claims = world.claims();
    world.exchange_claims(&claims).await.token();
    let restarted = world.server.another_node().await;
    let form = [
        ("grant_type", JWT_BEARER),
        ("assertion", &world.gh.sign(&claims)),
    ];
    restarted
        .form("/token", &form)
        .await
        .refused(400, "invalid_grant", "replay");
    world.server.clock.advance(300 + 60 - 1);
    while world
        .server
        .app
        .store
        .prune(
            carnet::clock::Timestamp::from_seconds(world.server.now()),
            400,
        )
        .await
        .unwrap()
    {}
    restarted
        .form("/token", &form)
        .await
        .refused(400, "invalid_grant", "replay");
}

#[tokio::test]
async fn atk_083__no_assertion_is_accepted_while_its_use_cannot_be_recorded() {
    let world = World::new().await;
    world.accepts().await;
    world
        .server
        .db
        .execute("ALTER TABLE consumed RENAME TO gone")
        .await;
    let answer = world.exchange(&world.good()).await;
    answer.refused(503, "temporarily_unavailable", "database_unavailable");
    assert!(answer.header("retry-after").is_some());
    world
        .server
        .db
        .execute("ALTER TABLE gone RENAME TO consumed")
        .await;
    world.accepts().await;
}

#[tokio::test]
async fn atk_206__no_token_is_issued_while_the_audit_log_cannot_be_written() {
    let world = World::new().await;
    world
        .server
        .db
        .execute("ALTER TABLE audit_event RENAME TO gone")
        .await;
    world.exchange(&world.good()).await.refused(
        503,
        "temporarily_unavailable",
        "database_unavailable",
    );
    world
        .server
        .db
        .execute("ALTER TABLE gone RENAME TO audit_event")
        .await;
    world.accepts().await;
}

#[tokio::test]
async fn atk_084__assertion_ids_are_texts_of_bounded_length_compared_exactly() {
    let world = World::new().await;
    world
        .denies_claims(
            world.claims().with("jti", "x".repeat(300)),
            "claim_malformed",
        )
        .await;
    world
        .denies_claims(world.claims().with("jti", ""), "claim_malformed")
        .await;
    for id in [json!(7), json!(["a"])] {
        world
            .denies_claims(world.claims().with("jti", id), "claim_type")
            .await;
    }
    world
        .denies_claims(world.claims().without("jti"), "claim_missing")
        .await;
    world
        .denies_claims(world.claims().with("jti", "abc\u{0}"), "claim_malformed")
        .await;
    for id in ["abc", "ABC", "abc ", "x".repeat(256).as_str()] {
        world
            .exchange_claims(&world.claims().with("jti", id))
            .await
            .token();
    }
    world
        .exchange_claims(&world.claims().with("jti", "abc"))
        .await
        .refused(400, "invalid_grant", "replay");
}

#[tokio::test]
async fn atk_085__another_spelling_of_the_header_is_a_replay() {
    let world = World::new().await;
    let claims = world.claims();
    let key = world.gh.key();
    world.exchange(&key.sign(&claims.value())).await.token();
    for header in [
        r#"{"kid":"rsa-0","alg":"RS256"}"#,
        r#"{ "alg" : "RS256", "kid" : "rsa-0", "typ":"JWT", "extra": 1 }"#,
    ] {
        let again = key.sign_raw(header.as_bytes(), claims.value().to_string().as_bytes());
        world
            .exchange(&again)
            .await
            .refused(400, "invalid_grant", "replay");
    }
}

#[tokio::test]
async fn d_16__replays_are_found_by_token_hash_or_another_claim_or_not_at_all_if_configured() {
    let world = World::new().await;
    world.trust(json!({ "replay": "jti_or_token_hash" })).await;
    let claims = world.claims().without("jti");
    world.exchange_claims(&claims).await.token();
    world
        .exchange_claims(&claims)
        .await
        .refused(400, "invalid_grant", "replay");
    world
        .exchange_claims(&claims.clone().with("run_attempt", "2"))
        .await
        .token();
    world.trust(json!({ "replay": "off" })).await;
    for _ in 0..2 {
        world.exchange_claims(&claims).await.token();
    }
    world
        .trust(json!({ "replay": "required", "replay_claim": "uti" }))
        .await;
    world
        .exchange_claims(&claims)
        .await
        .refused(400, "invalid_grant", "claim_missing");
    world
        .exchange_claims(&claims.clone().with("uti", "u1"))
        .await
        .token();
    world
        .exchange_claims(&claims.with("uti", "u1").with("jti", "other"))
        .await
        .refused(400, "invalid_grant", "replay");
}

#[tokio::test]
async fn atk_086__used_assertions_are_forgotten_a_day_after_they_expired() {
    let world = World::new().await;
    for _ in 0..20 {
        world.accepts().await;
    }
    let prune = async |days| {
        world
            .server
            .app
            .store
            .prune(
                carnet::clock::Timestamp::from_seconds(world.server.now()),
                days,
            )
            .await
            .unwrap()
    };
    while prune(400).await {}
    assert_eq!(consumed(&world).await, 20);
    // Up to ten minutes more to group them, and a day for clocks that jump.
    world.server.clock.advance(300 + 60 + 86_400);
    while prune(400).await {}
    assert_eq!(consumed(&world).await, 20);
    world.server.clock.advance(600);
    while prune(400).await {}
    assert_eq!(consumed(&world).await, 0);
}

async fn consumed(world: &World) -> u64 {
    use sea_orm::{Database, EntityTrait as _, PaginatorTrait as _};
    let database = Database::connect(world.server.db.url()).await.unwrap();
    let count = carnet_entity::consumed::Entity::find()
        .count(&database)
        .await
        .unwrap();
    database.close().await.unwrap();
    count
}

#[tokio::test]
async fn atk_139__a_changed_rule_is_seen_by_every_node_within_a_second() {
    let world = World::new().await;
    let second = world.server.another_node().await;
    let ask = async |server: &TestServer| {
        server
            .form(
                "/token",
                &[("grant_type", JWT_BEARER), ("assertion", &world.good())],
            )
            .await
    };
    ask(&second).await.token();
    let answer = world
        .server
        .admin(
            "PATCH",
            "federated-credentials/octo-release",
            json!({ "enabled": false }),
        )
        .await;
    assert_eq!(answer.status, 200);
    // Even before it was told: the transaction looks at what the rules are now.
    assert_eq!(ask(&second).await.status, 400);
    assert_eq!(ask(&world.server).await.status, 400);
    world
        .server
        .admin(
            "PATCH",
            "federated-credentials/octo-release",
            json!({ "enabled": true }),
        )
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    ask(&second).await.token();
    world
        .server
        .admin("DELETE", "federated-credentials/octo-release", Value::Null)
        .await;
    assert_eq!(ask(&second).await.status, 400);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nuget_pol_2__two_simultaneous_first_uses_of_a_rule_pin_one_pair_of_ids() {
    let world = World::new().await;
    let second = world.server.another_node().await;
    world
        .server
        .admin("DELETE", "federated-credentials/octo-release", Value::Null)
        .await;
    world
        .rule(
            "first",
            json!({ "repository_owner_id": null, "repository_id": null }),
        )
        .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let squatter = world
        .claims()
        .with("repository_owner_id", "650")
        .with("repository_id", "740");
    let (mine, theirs) = (world.good(), world.gh.sign(&squatter));
    let form = |assertion| [("grant_type", JWT_BEARER), ("assertion", assertion)];
    let (ours, other) = (form(mine.as_str()), form(theirs.as_str()));
    let (one, two) = tokio::join!(
        world.server.form("/token", &ours),
        second.form("/token", &other)
    );
    let mut statuses = [one.status, two.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400], "{} {}", one.text(), two.text());
    let token = if one.status == 200 {
        one.token()
    } else {
        two.token()
    };
    let pinned = world
        .server
        .admin("GET", "federated-credentials/first", Value::Null)
        .await
        .json()["pinned"]
        .clone();
    assert_eq!(
        pinned["repository_id"],
        payload(&token)["workload"]["claims"]["repository_id"]
    );
}

/// A platform on a real socket.
async fn platform() -> (FakeIssuer, carnet::http::Serving) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let issuer = FakeIssuer::new(
        &format!("http://{}", listener.local_addr().unwrap()),
        TestKey::rsa(0),
    );
    let serving = serve_on(issuer.router(), listener);
    (issuer, serving)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc7521_8_2_1__a_used_assertion_stays_used_after_the_process_is_killed() {
    let db = TestDb::new().await;
    let (issuer, _serving) = platform().await;
    let settings = [
        ("CARNET_DATABASE__URL", db.url()),
        ("CARNET_ISSUER", "https://as.test"),
        ("CARNET_INSECURE__ALLOW_HTTP_LOOPBACK", "true"),
    ];
    let document = json!({
        "trusted_issuers": { "github": { "profile": "github-actions", "issuer": issuer.url } },
        "principals": { "joel": { "kind": "user" } },
        "resource_servers": { "pypi": { "resource": R1, "actions": ["create", "publish"] } },
        "federated_credentials": { "octo-release": World::rule_document(json!({})) },
    });
    let file = db.folder().join("carnet.json");
    std::fs::write(&file, document.to_string()).unwrap();
    let data = ("CARNET_DATA_DIR", db.folder().to_str().unwrap());
    crate::support::first_start(db.folder(), &[&settings[..], &[data]].concat());
    let mut apply = carnet();
    apply
        .current_dir(db.folder())
        .args(["apply", "-f"])
        .arg(&file)
        .env("CARNET_DATA_DIR", db.folder())
        .envs(settings);
    let applied = crate::support::finished(apply.output().unwrap());
    assert_eq!(applied.code, 0, "{applied:?}");

    let http = reqwest::Client::builder().build().unwrap();
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64;
    let mut used: Vec<String> = Vec::new();
    for round in 0..3 {
        let server = ServerProcess::start(db.folder(), &settings).await;
        let send = async |assertion: &str| {
            let form = [("grant_type", JWT_BEARER), ("assertion", assertion)];
            http.post(format!("{}/token", server.url))
                .form(&form)
                .send()
                .await
                .unwrap()
                .status()
                .as_u16()
        };
        for assertion in &used {
            assert_eq!(
                send(assertion).await,
                400,
                "used before the process was killed"
            );
        }
        // In the last round it dies in the middle of many requests; whoever got a token has used the assertion up.
        let fresh: Vec<String> = (0..10)
            .map(|_| issuer.sign(&github(now).with("iss", issuer.url.clone())))
            .collect();
        if round < 2 {
            for assertion in fresh {
                assert_eq!(send(&assertion).await, 200);
                used.push(assertion);
            }
            server.kill();
            continue;
        }
        let flood: Vec<_> = fresh
            .into_iter()
            .map(|assertion| {
                let (http, url) = (http.clone(), format!("{}/token", server.url));
                tokio::spawn(async move {
                    let form = [
                        ("grant_type", JWT_BEARER),
                        ("assertion", assertion.as_str()),
                    ];
                    let answer = http.post(url).form(&form).send().await;
                    (answer.is_ok_and(|answer| answer.status() == 200), assertion)
                })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(4)).await;
        server.kill();
        for sent in flood {
            let (issued, assertion) = sent.await.unwrap();
            if issued {
                used.push(assertion);
            }
        }
    }
    let server = ServerProcess::start(db.folder(), &settings).await;
    for assertion in &used {
        let form = [
            ("grant_type", JWT_BEARER),
            ("assertion", assertion.as_str()),
        ];
        let answer = http
            .post(format!("{}/token", server.url))
            .form(&form)
            .send()
            .await
            .unwrap();
        assert_eq!(
            (
                answer.status().as_u16(),
                answer.json::<Value>().await.unwrap()["reason"].clone()
            ),
            (400, json!("replay"))
        );
    }
    assert_eq!(server.terminate(), 0);
}

#[tokio::test]
async fn atk_080__assertions_stay_used_when_their_issuer_is_deleted_and_made_again() {
    let world = World::new().await;
    let claims = world.claims();
    world.exchange_claims(&claims).await.token();
    world
        .server
        .admin("DELETE", "federated-credentials/octo-release", Value::Null)
        .await;
    world
        .server
        .admin("DELETE", "trusted-issuers/github", Value::Null)
        .await;
    let github = json!({ "profile": "github-actions", "issuer": crate::support::GH });
    world.server.put("trusted-issuers/github2", github).await;
    let mut document = World::rule_document(json!({}));
    document["trusted_issuer"] = json!("github2");
    world
        .server
        .put("federated-credentials/octo-release", document)
        .await;
    world
        .exchange_claims(&claims)
        .await
        .refused(400, "invalid_grant", "replay");
    world.accepts().await;
}

#[tokio::test]
async fn nuget_pol_2__ids_are_pinned_only_to_the_revision_of_the_rule_that_was_matched() {
    use carnet::assertion::SingleUseKey;
    use carnet::audit::{AuditEvent, Outcome};
    use carnet::clock::Timestamp;
    use carnet::store::{Committed, Dependencies, Issuance, Pin, TokenRecord};
    let world = World::new().await;
    let unpinned = json!({ "repository_owner_id": null, "repository_id": null });
    let saved = world.rule("octo-release", unpinned).await;
    let revision = u32::try_from(saved["revision"].as_u64().unwrap()).unwrap();
    let credential = saved["id"].as_str().unwrap().parse().unwrap();
    let app = &world.server.app;
    let now = Timestamp::from_seconds(world.server.now());
    let commit = async |id: &str, revision: u32| {
        let ids = json!({ "repository_owner_id": "65", "repository_id": "74" })
            .as_object()
            .unwrap()
            .clone();
        let key = SingleUseKey::of_id("https://ci.test", id);
        let issuance = Issuance {
            consumed: vec![(key, now.plus_seconds(60))],
            version: app.rules().version,
            dependencies: Dependencies::default(),
            pins: vec![Pin {
                credential,
                revision,
                ids,
            }],
            token: TokenRecord::default(),
            event: AuditEvent::new(now, Outcome::Issued),
            now,
        };
        (
            matches!(
                app.ledger.commit(issuance, ()).await.unwrap(),
                Committed::Issued(_)
            ),
            app.store.use_of(&key).await.unwrap().is_some(),
        )
    };
    // Changed between matching and pinning: match again, and the assertion is still good.
    assert_eq!(commit("a", revision + 1).await, (false, false));
    assert_eq!(commit("b", revision).await, (true, true));
    // Pinned already, by whoever was faster.
    assert_eq!(commit("c", revision).await, (false, false));
}
