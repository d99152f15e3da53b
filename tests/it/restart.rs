//! What a server knows of before its start: the keys of its platforms, and that its database was
//! restored from a backup.

use carnet::clock::Timestamp;
use carnet::store::KeptKeySet;
use carnet_dpop::ProofKey;
use serde_json::json;

use crate::support::{
    FakeIssuer, Installed, ServerProcess, TestKey, TestServer, World, carnet, carnet_in,
};

const HOUR: i64 = 3600;

/// Waits until the database holds the keys that were fetched `fetches` times, the last time now.
async fn kept(world: &World) {
    let fetched = format!(
        "SELECT COUNT(*) FROM key_set WHERE fetched_at >= {}",
        world.server.now() * 1000
    );
    for _ in 0..1000 {
        if world.server.db.column::<i64>(&fetched).await == [1] {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("the keys were not kept");
}

/// Status and reason of an exchange at another node of the world.
async fn exchange(server: &TestServer, assertion: &str) -> (u16, Option<String>) {
    let form = [
        ("grant_type", crate::support::JWT_BEARER),
        ("assertion", assertion),
    ];
    let answer = server.form("/token", &form).await;
    let reason = answer.json()["reason"].as_str().map(str::to_owned);
    (answer.status, reason)
}

#[tokio::test]
async fn a_restart_while_the_platform_is_away_loses_no_keys_for_a_day() {
    let world = World::new().await;
    assert_eq!(world.exchange(&world.good()).await.status, 200);
    kept(&world).await;
    world.gh.answer(500);
    // Older than they are fresh, so that the restarted server asks first.
    world.server.clock.advance(2 * HOUR);
    let restarted = world.server.another_node().await;
    let before = world.gh.key_fetches();
    assert_eq!(exchange(&restarted, &world.good()).await, (200, None));
    assert!(world.gh.asked().len() > before, "the platform was asked");
    world.server.clock.advance(22 * HOUR + 1);
    let restarted = world.server.another_node().await;
    let unavailable = Some("upstream_unavailable".to_owned());
    assert_eq!(
        exchange(&restarted, &world.good()).await,
        (503, unavailable)
    );
}

#[tokio::test]
async fn fresh_keys_are_not_fetched_again_after_a_restart_and_an_unknown_key_is_looked_for() {
    let world = World::new().await;
    assert_eq!(world.exchange(&world.good()).await.status, 200);
    kept(&world).await;
    let fetches = world.gh.key_fetches();
    world.server.clock.advance(60);
    let restarted = world.server.another_node().await;
    assert_eq!(exchange(&restarted, &world.good()).await, (200, None));
    assert_eq!(world.gh.key_fetches(), fetches);
    world.gh.rotate(TestKey::rsa(1));
    assert_eq!(exchange(&restarted, &world.good()).await, (200, None));
    assert_eq!(world.gh.key_fetches(), fetches + 1);
}

#[tokio::test]
async fn keys_of_another_version_of_the_trusted_issuer_are_not_used() {
    let world = World::new().await;
    assert_eq!(world.exchange(&world.good()).await.status, 200);
    kept(&world).await;
    world.trust(json!({ "leeway_seconds": 30 })).await;
    world.gh.answer(500);
    let restarted = world.server.another_node().await;
    let unavailable = Some("upstream_unavailable".to_owned());
    assert_eq!(
        exchange(&restarted, &world.good()).await,
        (503, unavailable)
    );
}

#[tokio::test]
async fn a_key_that_the_platform_withdrew_does_not_come_back_with_a_restart() {
    let world = World::new().await;
    let stolen = FakeIssuer::new(&world.gh.url, world.gh.key());
    assert_eq!(world.exchange(&world.good()).await.status, 200);
    kept(&world).await;
    world.gh.rotate(TestKey::rsa(1));
    world.server.clock.advance(60);
    let path = "trusted-issuers/github/refresh-keys";
    assert_eq!(
        world.server.admin("POST", path, json!({})).await.status,
        200
    );
    kept(&world).await;
    let restarted = world.server.another_node().await;
    let unknown = Some("key_unknown".to_owned());
    assert_eq!(
        exchange(&restarted, &stolen.sign(&world.claims())).await,
        (400, unknown)
    );
}

#[tokio::test]
async fn after_a_restore_nothing_from_before_is_accepted_on_any_node() {
    let world = World::new().await;
    let registry = world
        .client("registry", json!({ "resource_server": "pypi" }))
        .await;
    let (unused, token) = (world.good(), world.exchange(&world.good()).await.token());
    let opaque = json!({ "token_format": "opaque" });
    let changed = world.server.admin("PATCH", "resource-servers/pypi", opaque);
    assert_eq!(changed.await.status, 200);
    let key = world.exchange(&world.good()).await.token();
    let inspect = async |server: &TestServer, token: &str| {
        let headers = [("authorization", registry.as_str())];
        let answer = server
            .form_with("/introspect", &headers, &[("token", token)])
            .await;
        answer.json()["active"].clone()
    };
    assert_eq!(inspect(&world.server, &token).await, json!(true));
    world.server.clock.advance(5);
    let now = Timestamp::from_seconds(world.server.now());
    world.server.app.store.note_restore(now).await.unwrap();
    for node in [
        world.server.another_node().await,
        world.server.another_node().await,
    ] {
        let refused = Some("issued_before_restore".to_owned());
        assert_eq!(exchange(&node, &unused).await, (400, refused));
        assert_eq!(inspect(&node, &token).await, json!(false));
        assert_eq!(inspect(&node, &key).await, json!(false));
        let told = node
            .admin("POST", "tokens/inspect", json!({ "token": token }))
            .await;
        assert_eq!(told.json()["ended"], "before_restore");
        assert_eq!(exchange(&node, &world.good()).await, (200, None));
    }
}

#[tokio::test]
async fn after_a_restore_assertions_without_iat_are_refused_for_as_long_as_others_live() {
    let world = World::new().await;
    let other = FakeIssuer::new("https://gl.test", TestKey::rsa(1));
    world.server.network.add(&other);
    let document = json!({ "profile": "generic", "issuer": "https://gl.test" });
    world
        .server
        .put("trusted-issuers/other?validate=offline", document)
        .await;
    let rule = json!({
        "principal": "joel", "trusted_issuer": "other", "match": { "subject": "job" },
        "permissions": [{ "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"] }],
    });
    world.server.put("federated-credentials/other", rule).await;
    let undated = || {
        let now = world.server.now();
        let claims = world.claims().without("iat").without("nbf");
        let claims = claims.with("iss", "https://gl.test").with("sub", "job");
        other.sign(&claims.with("exp", now + 300))
    };
    assert_eq!(exchange(&world.server, &undated()).await, (200, None));
    let now = Timestamp::from_seconds(world.server.now());
    world.server.app.store.note_restore(now).await.unwrap();
    let node = world.server.another_node().await;
    let refused = (400, Some("issued_before_restore".to_owned()));
    assert_eq!(exchange(&node, &undated()).await, refused);
    world.server.clock.advance(25 * HOUR);
    assert_eq!(exchange(&node, &undated()).await, refused);
    world.server.clock.advance(1);
    assert_eq!(exchange(&node, &undated()).await, (200, None));
}

#[tokio::test]
async fn after_a_restore_proofs_from_before_and_kept_keys_do_not_count() {
    let world = World::new().await;
    assert_eq!(world.exchange(&world.good()).await.status, 200);
    kept(&world).await;
    let key = ProofKey::generate().unwrap();
    let prove = || {
        let request = ("POST", "https://as.test/token");
        key.prove(request, None, None, world.server.now()).unwrap()
    };
    let from_before = prove();
    world.server.clock.advance(5);
    let now = Timestamp::from_seconds(world.server.now());
    world.server.app.store.note_restore(now).await.unwrap();
    let node = world.server.another_node().await;
    let fetches = world.gh.key_fetches();
    let assertion = world.good();
    let ask = async |proof: &str| {
        let form = [
            ("grant_type", crate::support::JWT_BEARER),
            ("assertion", assertion.as_str()),
        ];
        node.form_with("/token", &[("dpop", proof)], &form).await
    };
    let refused = ask(&from_before).await;
    refused.refused(400, "invalid_dpop_proof", "proof_invalid");
    assert!(refused.text().contains("before the server was restored"));
    assert_eq!(ask(&prove()).await.status, 200);
    assert_eq!(world.gh.key_fetches(), fetches + 1, "the keys are fetched");
}

#[tokio::test]
async fn of_two_replicas_that_keep_keys_the_later_fetch_stays_and_old_ones_are_removed() {
    let world = World::new().await;
    let store = &world.server.app.store;
    let issuer = carnet::ids::TrustedIssuerId(uuid::Uuid::nil());
    let fetched = |seconds: i64, document: &str| KeptKeySet {
        issuer,
        version: 1,
        document: document.to_owned(),
        fetched_at: Timestamp::from_seconds(seconds),
        fresh_until: Timestamp::from_seconds(seconds + 300),
    };
    for (seconds, document, stays) in [
        (1_000, "first", "first"),
        (2_000, "later", "later"),
        (1_500, "slower", "later"),
        (2_000, "again", "again"),
    ] {
        store
            .keep_key_set(fetched(seconds, document))
            .await
            .unwrap();
        let kept = store.key_set(issuer).await.unwrap().unwrap();
        assert_eq!(kept.document, stays);
    }
    let after = |days: i64| Timestamp::from_seconds(2_000 + days * 24 * HOUR);
    store.prune(after(2), 400).await.unwrap();
    assert!(store.key_set(issuer).await.unwrap().is_some());
    store.prune(after(3), 400).await.unwrap();
    assert_eq!(store.key_set(issuer).await.unwrap(), None);
}

/// A clock that was ahead when the keys were fetched would keep a withdrawn key in use for longer than
/// a day.
#[tokio::test]
async fn kept_keys_that_were_fetched_in_the_future_are_fetched_again() {
    let world = World::new().await;
    world.exchange(&world.good()).await.token();
    let store = &world.server.app.store;
    let issuer = world.server.app.rules().issuer_named("github").unwrap().id;
    kept(&world).await;
    let known = store.key_set(issuer).await.unwrap().unwrap();
    let later = |at: Timestamp| at.plus_seconds(HOUR);
    let ahead = KeptKeySet {
        issuer,
        fetched_at: later(known.fetched_at),
        fresh_until: later(known.fresh_until),
        ..known
    };
    store.keep_key_set(ahead).await.unwrap();
    let fetches = world.gh.key_fetches();
    let node = world.server.another_node().await;
    assert_eq!(exchange(&node, &world.good()).await.0, 200);
    assert_eq!(world.gh.key_fetches(), fetches + 1);
}

#[tokio::test]
async fn a_backup_that_is_restored_as_the_guide_says_lets_no_assertion_be_used_twice() {
    let installed = Installed::new(&[]).await;
    let folder = installed.db.folder().to_owned();
    let backup = folder.join("backup");
    let server = installed.start().await;
    installed.db.back_up(&backup).await;
    let used_since = installed.good();
    assert_eq!(installed.exchange(&used_since).await.0, 200);
    assert_eq!(server.terminate(), 0);
    installed.db.restore(&backup).await;
    // The times of tokens are whole seconds.
    let second = installed.claims().value()["iat"].clone();
    while installed.claims().value()["iat"] == second {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let settings = installed.settings();
    let arguments = ["serve", "--after-restore"];
    let at = (installed.address.as_str(), settings.as_slice());
    let server = ServerProcess::spawn_with(carnet(), &arguments, &folder, at);
    server.wait_until_ready(&folder).await;
    let refused = json!("issued_before_restore");
    for server in [Some(server), None] {
        let server = match server {
            Some(server) => server,
            None => installed.start().await,
        };
        let (status, body) = installed.exchange(&used_since).await;
        assert_eq!((status, &body["reason"]), (400, &refused), "{body}");
        let (status, body) = installed.exchange(&installed.good()).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(server.terminate(), 0);
    }
}

#[test]
fn a_server_that_is_to_be_restored_and_has_no_database_does_not_start_with_an_empty_one() {
    let folder = tempfile::tempdir().unwrap();
    let ended = carnet_in(folder.path(), &["serve", "--after-restore"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    let says = &ended.stderr;
    assert!(
        says.contains("--after-restore: there is no database yet"),
        "{says}"
    );
    assert!(says.contains("carnet.db"), "{says}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
