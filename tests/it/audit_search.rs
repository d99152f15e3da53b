//! Finding audit events later: filters, one event by its id, what limited tokens find, replays and their first use, and
//! events that are explained again (review of newcomers, A10, A12, A16).

use carnet::audit::{AuditEvent, Outcome};
use carnet::clock::Timestamp;
use serde_json::{Value, json};

use crate::platforms::{Platform, changed};
use crate::support::{R1, TestServer, World};

const HERS: &str = "admin:credentials:mallory";
const HIS: &str = "admin:credentials:joel";

/// Indexes all events that were recorded so far.
async fn index(server: &TestServer) {
    server.app.flush_audit().await;
    let now = Timestamp::from_seconds(server.now());
    while server
        .app
        .store
        .index_parts(now.plus_seconds(60))
        .await
        .unwrap()
    {}
}

/// The ids of the events that a query finds, the latest first.
async fn found(server: &TestServer, scope: &str, query: &str) -> Vec<String> {
    server.app.flush_audit().await;
    let path = format!("audit-events?{query}");
    let answer = server.admin_as(scope, "GET", &path, Value::Null).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    answer.json()["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| event["id"].as_str().unwrap().to_owned())
        .collect()
}

/// The ids of the events of all pages of a query, the latest first.
async fn found_in_pages(server: &TestServer, scope: &str, query: &str) -> Vec<String> {
    let (mut all, mut cursor) = (Vec::new(), String::new());
    for _ in 0..30 {
        let path = format!("audit-events?{query}{cursor}");
        let answer = server.admin_as(scope, "GET", &path, Value::Null).await;
        let page = answer.json();
        let items = page["items"].as_array().unwrap().iter();
        all.extend(items.map(|event| text(event, "/id")));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return all,
        }
    }
    panic!("{query} has no end: {all:?}");
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).unwrap().as_str().unwrap().to_owned()
}

/// A world in which one job got a token from one address and another one was refused from another, each an hour apart.
async fn history() -> (World, Value, Value) {
    let world = World::new().await;
    let from = async |address: &str, assertion: &str| {
        let form = [
            ("grant_type", crate::support::JWT_BEARER),
            ("assertion", assertion),
        ];
        world.server.form_from(address, "/token", &form).await
    };
    from("192.0.2.1", &world.good()).await.token();
    world.server.clock.advance(3600);
    let other = world.claims().on_ref("refs/heads/other", "branch");
    let other = other.with(
        "workflow_ref",
        "octo-org/octo-repo/.github/workflows/x.yml@refs/heads/other",
    );
    from("192.0.2.2", &world.gh.sign(&other)).await.refused(
        400,
        "invalid_grant",
        "workflow_mismatch",
    );
    world.server.clock.advance(3600);
    let issued = world.server.audit("outcome=issued").await.remove(0);
    let refused = world.server.audit("outcome=refused").await.remove(0);
    (world, issued, refused)
}

#[tokio::test]
async fn new_a10__an_event_is_found_by_its_id_its_workload_its_reason_and_every_other_column() {
    let (world, issued, refused) = history().await;
    let (token_event, refusal) = (text(&issued, "/id"), text(&refused, "/id"));
    let both = vec![refusal.clone(), token_event.clone()];
    let queries = [
        (format!("error_id={token_event}"), vec![token_event.clone()]),
        (format!("error_id={refusal}&reason=workflow_mismatch"), vec![refusal.clone()]),
        ("reason=workflow_mismatch".to_owned(), vec![refusal.clone()]),
        ("reason=env_mismatch".to_owned(), vec![]),
        ("repository=Octo-Org/octo-repo".to_owned(), both.clone()),
        ("repository=74".to_owned(), both.clone()),
        (
            "repository=repo:octo-org/octo-repo:ref:refs/heads/main".to_owned(),
            vec![token_event.clone()],
        ),
        ("repository=octo-org/octo".to_owned(), vec![]),
        ("address=192.0.2.1".to_owned(), vec![token_event.clone()]),
        ("address=192.0.2.3".to_owned(), vec![]),
        (
            format!("token_id={}", text(&issued, "/token_id")),
            vec![token_event.clone()],
        ),
        ("trusted_issuer=github&outcome=issued".to_owned(), vec![token_event.clone()]),
        ("trusted_issuer=gitlab".to_owned(), vec![]),
        (format!("resource={R1}&outcome=issued"), vec![token_event.clone()]),
        (format!("resource={}&outcome=issued", crate::support::R2), vec![]),
        (
            format!("client_id={}", text(&issued, "/client_id")),
            vec![token_event.clone()],
        ),
        (
            format!("assertion={}", text(&refused, "/assertion/jti")),
            vec![refusal.clone()],
        ),
        (
            format!("assertion={}", text(&issued, "/assertion/digest")),
            vec![token_event.clone()],
        ),
        (
            format!("repository=74&until={}", text(&issued, "/at")),
            vec![token_event.clone()],
        ),
        (
            format!("repository=74&since={}", text(&refused, "/at")),
            vec![refusal.clone()],
        ),
        (
            "repository=74&address=192.0.2.2&reason=workflow_mismatch&principal=joel&outcome=refused".to_owned(),
            vec![refusal.clone()],
        ),
        ("repository=74&address=192.0.2.2&outcome=issued".to_owned(), vec![]),
    ];
    for indexed in [false, true] {
        for (query, expected) in &queries {
            assert_eq!(
                found(&world.server, "admin", query).await,
                *expected,
                "{query}, indexed: {indexed}"
            );
        }
        let one = world
            .server
            .admin("GET", &format!("audit-events/{refusal}"), Value::Null)
            .await;
        assert_eq!((one.status, one.json()), (200, refused.clone()));
        index(&world.server).await;
    }
    assert_eq!(refused["repository"], "octo-org/octo-repo");
    assert_eq!(refused["credential_name"], "octo-release");
    // One event a page: the cursor goes on within the search.
    let mut path = "audit-events?repository=74&limit=1".to_owned();
    for expected in &both {
        let page = world.server.admin("GET", &path, Value::Null).await.json();
        assert_eq!(page["items"][0]["id"], *expected, "{page}");
        path = format!("audit-events?repository=74&limit=1&cursor={expected}");
    }
    for wrong in [
        "reason=no_such_reason",
        "address=example.com",
        "error_id=fc_1",
        "until=today",
    ] {
        let answer = world
            .server
            .admin("GET", &format!("audit-events?{wrong}"), Value::Null)
            .await;
        let name = wrong.split('=').next().unwrap();
        assert!(
            answer.status == 400 && answer.text().contains(&format!("{name} must be")),
            "{wrong}: {}",
            answer.text()
        );
    }
    for unknown in [
        "audit-events/ev_0",
        "audit-events/ev_00000000000000000000000000",
    ] {
        assert_eq!(
            world.server.admin("GET", unknown, Value::Null).await.status,
            404
        );
    }
}

#[tokio::test]
async fn new_a10__a_counted_refusal_is_found_by_each_error_id() {
    let world = World::new().await;
    world
        .rule("octo-release", json!({ "environment": "release" }))
        .await;
    let mut ids: Vec<String> = Vec::new();
    for _ in 0..3 {
        ids.push(text(
            &world.exchange(&world.good()).await.json(),
            "/error_id",
        ));
        world.server.app.flush_audit().await;
        world.server.clock.advance(1);
    }
    let first = vec![ids[0].clone()];
    for id in &ids {
        assert_eq!(
            found(&world.server, "admin", &format!("error_id={id}")).await,
            first
        );
        let one = world
            .server
            .admin("GET", &format!("audit-events/{id}"), Value::Null)
            .await;
        assert_eq!(one.status, 200);
    }
}

#[tokio::test]
async fn events_of_other_platforms_are_found_by_the_names_of_their_workloads() {
    let gitlab = Platform::new("gitlab-ci", "https://gitlab.test", json!({})).await;
    gitlab
        .rule(json!({
            "namespace": "acme/tools", "namespace_id": "72", "project": "widgets", "project_id": "20",
            "ci_config_path": ".gitlab-ci.yml",
        }))
        .await;
    let job = gitlab.claims(json!({
        "sub": "project_path:acme/tools/widgets:ref_type:branch:ref:main", "namespace_id": "72",
        "namespace_path": "acme/tools", "project_id": "20", "project_path": "acme/tools/widgets", "ref": "main",
        "ref_type": "branch", "ref_path": "refs/heads/main", "ref_protected": "true", "sha": "a".repeat(40),
        "pipeline_source": "push", "job_id": "302", "job_project_id": "20", "runner_id": 1,
        "ci_config_ref_uri": "gitlab.test/acme/tools/widgets//.gitlab-ci.yml@refs/heads/main",
    }));
    gitlab.accepts(&job).await;
    let cluster = Platform::new("kubernetes", "https://cluster.test", json!({})).await;
    cluster
        .rule(json!({ "namespace": "ci", "service_account": "publisher" }))
        .await;
    let pod = cluster.claims(json!({
        "sub": "system:serviceaccount:ci:publisher",
        "kubernetes.io": {
            "namespace": "ci", "serviceaccount": { "name": "publisher", "uid": "f5720c1d-e152-4356-a897-11b07aff165d" },
            "pod": { "name": "publish-abc", "uid": "49ad3572-b3dd-43a6-8d77-5858d3660275" },
        },
    }));
    cluster.accepts(&pod).await;
    let expected: [(&Platform, &str, &[&str]); 2] = [
        (
            &gitlab,
            "acme/tools/widgets",
            &[
                "acme/tools/widgets",
                "ACME/tools/widgets",
                "acme/tools",
                "20",
            ],
        ),
        (
            &cluster,
            "ci/publisher",
            &[
                "ci/publisher",
                "ci",
                "publisher",
                "system:serviceaccount:ci:publisher",
            ],
        ),
    ];
    for (platform, shown, names) in expected {
        let issued = platform.server.audit("outcome=issued").await;
        assert_eq!(issued[0]["repository"], shown);
        index(&platform.server).await;
        for name in names {
            let query = format!("repository={name}");
            assert_eq!(
                found(&platform.server, "admin", &query).await.len(),
                1,
                "{name}"
            );
        }
        // What the event kept is enough to judge it again, wherever the platform puts its claims.
        let explained = explain(
            &platform.server,
            "admin",
            json!({ "event": issued[0]["id"] }),
        )
        .await;
        assert_eq!(explained["verdict"], "allow", "{explained}");
        platform
            .server
            .admin(
                "PATCH",
                "federated-credentials/rule",
                json!({ "enabled": false }),
            )
            .await;
        let explained = explain(
            &platform.server,
            "admin",
            json!({ "event": issued[0]["id"] }),
        )
        .await;
        assert_eq!(explained["verdict"], "deny", "{explained}");
    }
}

/// A job that names mallory, whose own rule is not vouched for, beside events of joel.
async fn of_two() -> World {
    let world = World::new().await;
    world
        .server
        .put(
            "principals/mallory",
            json!({ "id": "pr_mallory", "kind": "user" }),
        )
        .await;
    let mut hers = World::rule_document(json!({}));
    hers["principal"] = json!("mallory");
    hers["actors"] = json!([]);
    let saved = world
        .server
        .admin_as(HERS, "PUT", "federated-credentials/hers", hers)
        .await;
    assert_eq!(saved.status, 201, "{}", saved.text());
    world
}

#[tokio::test]
async fn a_limited_token_finds_only_events_of_its_own_principal_and_needs_not_name_it() {
    let world = of_two().await;
    world.exchange(&world.good()).await.token();
    world.server.clock.advance(1);
    world
        .exchange_with(&world.good(), &[("principal", "mallory")])
        .await
        .token();
    let all = world.server.audit("outcome=issued").await;
    let (hers, his) = (text(&all[0], "/id"), text(&all[1], "/id"));
    for indexed in [false, true] {
        for query in ["outcome=issued", "repository=74", "trusted_issuer=github"] {
            for (scope, own) in [(HERS, &hers), (HIS, &his)] {
                assert_eq!(
                    found(&world.server, scope, query).await,
                    std::slice::from_ref(own),
                    "{query} of {scope}, indexed: {indexed}"
                );
            }
        }
        for (scope, foreign, own) in [(HERS, &his, &hers), (HIS, &hers, &his)] {
            assert_eq!(
                found(&world.server, scope, &format!("error_id={foreign}")).await,
                Vec::<String>::new()
            );
            let read = async |id: &str| {
                let path = format!("audit-events/{id}");
                world
                    .server
                    .admin_as(scope, "GET", &path, Value::Null)
                    .await
            };
            assert_eq!(read(foreign).await.status, 404);
            assert_eq!(read(own).await.status, 200);
        }
        index(&world.server).await;
    }
    // A token for two principals has to say which of them is meant.
    let both = format!("{HERS} {HIS}");
    let path = "audit-events?outcome=issued";
    let answer = world.server.admin_as(&both, "GET", path, Value::Null).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(
        found(&world.server, &both, "outcome=issued&principal=joel").await,
        [his]
    );
}

#[tokio::test]
async fn what_a_principal_may_not_see_of_an_event_does_not_find_it() {
    let world = of_two().await;
    let now = Timestamp::from_seconds(world.server.now());
    // At a door that names nobody a rule that is not vouched for takes part without seeing the claims.
    let hidden = AuditEvent {
        parts: vec![carnet::audit::AuditPart {
            principal_id: "pr_mallory".to_owned(),
            credential: None,
            revision: None,
            sees_claims: false,
        }],
        workload: vec!["octo-org/octo-repo".to_owned()],
        address: Some("192.0.2.9".parse().unwrap()),
        token_id: Some("t-1".to_owned()),
        trusted_issuer: Some("github".to_owned()),
        resource: Some(R1.to_owned()),
        client_id: Some("bot".to_owned()),
        assertion: Some(carnet::audit::AssertionRef {
            digest: "d-1".to_owned(),
            jti: Some("j-1".to_owned()),
        }),
        ..AuditEvent::new(now, Outcome::Issued)
    };
    let id = hidden.id.to_string();
    world.server.app.store.record(&[hidden], now).await.unwrap();
    let filters = [
        "repository=octo-org/octo-repo",
        "address=192.0.2.9",
        "trusted_issuer=github",
        "resource=https://registry.test/pypi/",
        "client_id=bot",
        "assertion=j-1",
        "assertion=d-1",
    ];
    for indexed in [false, true] {
        for query in filters {
            let query = format!("{query}&outcome=issued");
            assert_eq!(
                found(&world.server, "admin", &query).await,
                std::slice::from_ref(&id),
                "{query}"
            );
            assert_eq!(
                found(&world.server, HERS, &query).await,
                Vec::<String>::new(),
                "{query}, indexed: {indexed}"
            );
        }
        assert_eq!(
            found(&world.server, HERS, "outcome=issued").await,
            std::slice::from_ref(&id)
        );
        let path = format!("audit-events/{id}");
        let shown = world
            .server
            .admin_as(HERS, "GET", &path, Value::Null)
            .await
            .json();
        assert!(
            shown["repository"].is_null() && shown["address"].is_null(),
            "{shown}"
        );
        index(&world.server).await;
    }
    let question = json!({ "event": id });
    let answer = world
        .server
        .admin_as(HERS, "POST", "explanations", question)
        .await;
    assert!(answer.status == 422 && answer.text().contains("there is no such event"));
}

#[tokio::test]
async fn a_search_without_an_index_says_how_far_it_looked() {
    let world = World::new().await;
    let now = Timestamp::from_seconds(world.server.now());
    for at in 0..12 {
        let at = now.plus_seconds(at * 60);
        let many: Vec<AuditEvent> = (0..500)
            .map(|_| AuditEvent {
                trusted_issuer: Some("github".to_owned()),
                ..AuditEvent::new(at, Outcome::Issued)
            })
            .collect();
        world.server.app.store.record(&many, now).await.unwrap();
    }
    let page = world
        .server
        .admin("GET", "audit-events?trusted_issuer=gitlab", Value::Null)
        .await
        .json();
    assert_eq!(page["items"], json!([]));
    // 5,000 of the 6,000 events were searched: those of the last ten minutes.
    assert_eq!(
        page["searched_until"],
        now.plus_seconds(2 * 60).to_string(),
        "{page}"
    );
    let next = format!(
        "audit-events?trusted_issuer=gitlab&cursor={}",
        page["next_cursor"].as_str().unwrap()
    );
    let page = world.server.admin("GET", &next, Value::Null).await.json();
    assert!(
        page["next_cursor"].is_null() && page["searched_until"].is_null(),
        "{page}"
    );
}

#[tokio::test]
async fn keys_of_removed_events_are_removed_with_them() {
    let (world, ..) = history().await;
    index(&world.server).await;
    let keys = async || {
        world
            .server
            .db
            .column::<i64>("SELECT COUNT(*) FROM audit_key")
            .await[0]
    };
    assert!(keys().await > 0);
    let later = Timestamp::from_seconds(world.server.now()).plus_seconds(401 * 86_400);
    while world.server.app.store.prune(later, 400).await.unwrap() {}
    assert_eq!(keys().await, 0);
}

#[tokio::test]
async fn new_a12__a_replay_shows_the_event_of_the_first_use_of_its_assertion() {
    let world = World::new().await;
    let (first, second) = (world.good(), world.good());
    for assertion in [&first, &second] {
        world.exchange(assertion).await.token();
        world.server.clock.advance(1);
    }
    let used = world.server.audit("outcome=issued").await;
    world.server.clock.advance(30);
    for assertion in [&first, &second, &second] {
        world
            .exchange(assertion)
            .await
            .refused(400, "invalid_grant", "replay");
    }
    let replays = world.server.audit("reason=replay").await;
    assert_eq!(replays.len(), 2, "{replays:?}");
    for replay in &replays {
        let event = used
            .iter()
            .find(|event| event["assertion"] == replay["assertion"])
            .unwrap();
        assert_eq!(
            replay["first_use"],
            json!({ "event": event["id"], "at": event["at"] }),
            "{replay}"
        );
        // The whole story of one assertion, by its id.
        let jti = text(replay, "/assertion/jti");
        let story = found(&world.server, "admin", &format!("assertion={jti}")).await;
        assert_eq!(story, [text(replay, "/id"), text(event, "/id")]);
    }
    let counts: u64 = replays
        .iter()
        .map(|one| one["count"].as_u64().unwrap())
        .sum();
    assert_eq!(counts, 3);
    assert!(used[0]["first_use"].is_null());
}

async fn explain(server: &TestServer, scope: &str, question: Value) -> Value {
    let answer = server
        .admin_as(scope, "POST", "explanations", question)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

#[tokio::test]
async fn an_event_is_explained_again_by_the_rules_of_today() {
    let (world, issued, refused) = history().await;
    // Days later, the times of the assertion have passed.
    world.server.clock.advance(3 * 86_400);
    let again = explain(&world.server, "admin", json!({ "event": issued["id"] })).await;
    assert_eq!(
        (&again["verdict"], &again["granted"]["resource"]),
        (&json!("allow"), &json!(R1)),
        "{again}"
    );
    let again = explain(&world.server, HIS, json!({ "event": refused["id"] })).await;
    assert_eq!(
        (&again["verdict"], &again["reason"]),
        (&json!("deny"), &json!("workflow_mismatch")),
        "{again}"
    );
    world
        .rule("octo-release", json!({ "workflow_file": "x.yml" }))
        .await;
    let again = explain(&world.server, HIS, json!({ "event": refused["id"] })).await;
    assert_eq!(again["verdict"], "allow", "{again}");
    // A claim that no rule read at that time.
    world
        .rule(
            "octo-release",
            json!({ "workflow_file": null, "actor_id": "13", "ref": "refs/heads/main" }),
        )
        .await;
    let again = explain(&world.server, "admin", json!({ "event": issued["id"] })).await;
    let unmet: Vec<&Value> = again["candidates"][0]["conditions"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|condition| condition["met"] == false)
        .collect();
    assert!(unmet.len() == 1 && unmet[0]["received"] == "12", "{again}");
    // What the request asked for is asked again, unless the question asks for something else.
    let named = world
        .exchange_with(&world.good(), &[("principal", "mallory")])
        .await
        .json();
    let again = explain(
        &world.server,
        "admin",
        json!({ "event": named["error_id"] }),
    )
    .await;
    assert_eq!(again["reason"], "principal_mismatch", "{again}");
    let question = json!({ "event": named["error_id"], "principal": "joel" });
    let again = explain(&world.server, "admin", question).await;
    assert_ne!(again["reason"], "principal_mismatch", "{again}");
}

#[tokio::test]
async fn an_event_that_cannot_be_explained_again_is_refused_with_the_cause() {
    let (world, issued, _) = history().await;
    let problem = async |question: Value| {
        let answer = world.server.admin("POST", "explanations", question).await;
        let body = answer.json();
        assert_eq!(
            (answer.status, &body["errors"][0]["pointer"]),
            (422, &json!("/event")),
            "{body}"
        );
        text(&body, "/errors/0/detail")
    };
    let changed_event = world
        .server
        .audit("outcome=created&limit=1")
        .await
        .remove(0);
    assert!(
        problem(json!({ "event": changed_event["id"] }))
            .await
            .contains("has none whose claims could be judged")
    );
    for unknown in [json!("ev_00000000000000000000000000"), json!("x"), json!(1)] {
        assert!(
            problem(json!({ "event": unknown }))
                .await
                .contains("no such event")
        );
    }
    let both = json!({ "event": issued["id"], "assertion": "x" });
    assert!(problem(both).await.contains("not be given together"));
    // Claims of more than 3 KiB are not kept.
    let names = ["workflow", "workflow_sha", "actor_id", "ref_protected"];
    let long = names.into_iter().fold(world.claims(), |claims, name| {
        claims.with(name, "x".repeat(1_000))
    });
    world.exchange_claims(&long).await.token();
    let event = world.server.audit("outcome=issued&limit=1").await.remove(0);
    assert_eq!(event["detail"]["claims_left_out"], true, "{event}");
    assert!(
        problem(json!({ "event": event["id"] }))
            .await
            .contains("took too much space")
    );
    let deleted = changed(&issued, json!({}));
    for object in [
        "federated-credentials/octo-release",
        "trusted-issuers/github",
    ] {
        let gone = world.server.admin("DELETE", object, Value::Null).await;
        assert_eq!(gone.status, 204, "{}", gone.text());
    }
    assert!(
        problem(json!({ "event": deleted["id"] }))
            .await
            .contains("github does not exist any more")
    );
}

#[tokio::test]
async fn new_a16__events_of_keys_secrets_and_rules_say_what_changed() {
    let world = World::new().await;
    let server = &world.server;
    // Each change at a time of its own: events of one millisecond have no order.
    let latest = async |query: &str| {
        let event = server.audit(query).await.remove(0)["detail"].clone();
        server.clock.advance(1);
        event
    };
    let rotated = server
        .admin(
            "POST",
            "signing-keys/rotate",
            json!({ "algorithm": "RS256" }),
        )
        .await
        .json();
    let active = rotated["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|key| key["state"] == "active")
        .unwrap()
        .clone();
    let event = latest("outcome=updated").await;
    assert_eq!(
        (&event["kind"], &event["name"]),
        (&json!("signing key"), &active["kid"])
    );
    let signs = json!({ "kid": active["kid"], "algorithm": "RS256", "state": "active" });
    assert!(
        event["keys"].as_array().unwrap().contains(&signs)
            && event["removed"][0]["algorithm"] == "ES256",
        "{event}"
    );
    let kid = text(&active, "/kid");
    server
        .admin("DELETE", &format!("signing-keys/{kid}"), Value::Null)
        .await;
    let event = latest("outcome=deleted").await;
    assert_eq!(
        (&event["name"], &event["removed"]),
        (&json!(kid), &json!([{ "kid": kid, "algorithm": "RS256" }])),
        "{event}"
    );

    world.client("bot", json!({})).await;
    server
        .admin(
            "POST",
            "clients/bot/rotate-secret",
            json!({ "overlap_seconds": 60 }),
        )
        .await;
    let until = Timestamp::from_seconds(server.now() + 60).to_string();
    let event = latest("outcome=updated").await;
    assert_eq!(
        event["rotated_secret"],
        json!({ "previous_valid_until": until }),
        "{event}"
    );
    assert_ne!(event["before"]["secrets"], event["after"]["secrets"]);
    server
        .admin(
            "POST",
            "clients/bot/rotate-secret",
            json!({ "overlap_seconds": 0 }),
        )
        .await;
    let event = latest("outcome=updated").await;
    assert_eq!(
        event["rotated_secret"],
        json!({ "previous_valid_until": null }),
        "{event}"
    );
    assert!(event["after"]["revision"].as_u64() > event["before"]["revision"].as_u64());

    world
        .rule("octo-release", json!({ "environment": "pypi" }))
        .await;
    let event = latest("outcome=updated").await;
    assert_eq!(
        (&event["before"]["revision"], &event["after"]["revision"]),
        (&json!(1), &json!(2)),
        "{event}"
    );
}

/// The ids, outcomes and reasons of the run that an event is of, as the holder of a token with this scope reads them.
async fn run_of(server: &TestServer, scope: &str, event: &str) -> (Vec<String>, Value) {
    let path = format!("audit-events/{event}/run");
    let answer = server.admin_as(scope, "GET", &path, Value::Null).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let run = answer.json();
    assert_eq!(run["is_whole"], true, "{run}");
    let items = run["items"].as_array().unwrap().iter();
    (items.map(|event| text(event, "/id")).collect(), run)
}

#[tokio::test]
async fn the_events_of_a_run_are_read_in_the_order_of_time_by_whoever_may_see_them() {
    let world = of_two().await;
    let server = &world.server;
    let present = async |claims: crate::support::Claims, principal: &str| {
        server.clock.advance(1);
        let assertion = world.gh.sign(&claims.with("iat", server.now()));
        world
            .exchange_with(&assertion, &[("principal", principal)])
            .await
    };
    let wrong = world.claims().with(
        "workflow_ref",
        "octo-org/octo-repo/.github/workflows/x.yml@refs/heads/main",
    );
    let refused = present(wrong.with("jti", "one"), "joel").await;
    assert_eq!(refused.status, 400, "{}", refused.text());
    let good = || world.claims();
    let his = present(good().with("jti", "two"), "joel").await.token();
    present(good().with("jti", "three"), "mallory")
        .await
        .token();
    let other = good().with("run_id", "9002");
    present(other.with("jti", "four"), "joel").await.token();
    server.clock.advance(1);
    let revoked = server.form("/revoke", &[("token", &his)]).await;
    assert_eq!(revoked.status, 200);
    server.app.flush_audit().await;
    // The latest first: revoked, run 9002, mallory's, joel's, refused.
    let all = server.audit("limit=5").await;
    let [end, elsewhere, hers, token, refusal] = [0, 1, 2, 3, 4].map(|at| text(&all[at], "/id"));
    assert_eq!(
        (text(&all[0], "/outcome"), text(&all[4], "/outcome")),
        ("revoked".to_owned(), "refused".to_owned())
    );
    for indexed in [false, true] {
        let whole = [&refusal, &token, &hers, &end].map(Clone::clone);
        for event in [&refusal, &token, &hers, &end] {
            assert_eq!(
                run_of(server, "admin", event).await.0,
                whole,
                "{event}, indexed: {indexed}"
            );
        }
        assert_eq!(
            run_of(server, "admin", &elsewhere).await.0,
            std::slice::from_ref(&elsewhere)
        );
        let own = [&refusal, &token, &end].map(Clone::clone);
        for event in [&refusal, &token, &end] {
            assert_eq!(
                run_of(server, HIS, event).await.0,
                own,
                "{event}, indexed: {indexed}"
            );
        }
        assert_eq!(
            run_of(server, HERS, &hers).await.0,
            std::slice::from_ref(&hers)
        );
        let foreign = format!("audit-events/{token}/run");
        let foreign = server.admin_as(HERS, "GET", &foreign, Value::Null).await;
        assert_eq!(foreign.status, 404, "{}", foreign.text());
        index(server).await;
    }
    // A change is of no run.
    let changed = server.audit("outcome=created&limit=1").await.remove(0);
    let changed = text(&changed, "/id");
    assert_eq!(
        run_of(server, "admin", &changed).await.0,
        std::slice::from_ref(&changed)
    );

    // Refusals that are counted in one event may be of several runs.
    let wrong = || {
        let elsewhere = "octo-org/octo-repo/.github/workflows/y.yml@refs/heads/main";
        world.claims().with("workflow_ref", elsewhere)
    };
    for n in 0..12 {
        let refused = present(wrong().with("jti", format!("more-{n}")), "joel").await;
        assert_eq!(refused.status, 400, "{}", refused.text());
    }
    let path = format!("audit-events/{token}/run");
    server.app.flush_audit().await;
    let run = server.admin("GET", &path, Value::Null).await.json();
    assert_eq!(run["is_whole"], false, "{run:#}");
}

#[tokio::test]
async fn the_run_of_a_platform_that_numbers_none_is_what_was_done_with_one_assertion() {
    let cluster = Platform::new("kubernetes", "https://cluster.test", json!({})).await;
    let server = &cluster.server;
    cluster
        .rule(json!({ "namespace": "ci", "service_account": "publisher" }))
        .await;
    let pod = || {
        cluster.claims(json!({
            "sub": "system:serviceaccount:ci:publisher",
            "kubernetes.io": {
                "namespace": "ci", "serviceaccount": { "name": "publisher", "uid": "f5720c1d-e152-4356-a897-11b07aff165d" },
                "pod": { "name": "publish-abc", "uid": "49ad3572-b3dd-43a6-8d77-5858d3660275" },
            },
        }))
    };
    let first = pod();
    cluster.accepts(&first).await;
    server.clock.advance(1);
    cluster.accepts(&pod()).await;
    server.clock.advance(1);
    // A cluster's tokens are good for several requests.
    cluster.accepts(&first).await;
    let issued = server.audit("outcome=issued").await;
    let [last, other, early] = [0, 1, 2].map(|at| text(&issued[at], "/id"));
    for event in [&last, &early] {
        let run = run_of(server, "admin", event).await.0;
        assert_eq!(run, [early.clone(), last.clone()]);
    }
    let run = run_of(server, "admin", &other).await.0;
    assert_eq!(run, std::slice::from_ref(&other));
}

/// How many events there are beside those that a test asks for. Each has two parts.
const OTHERS: i64 = 6_000;
/// One in so many of them is of the other outcome.
const RARE: i64 = 700;

#[tokio::test]
async fn the_few_events_that_an_owner_asks_for_are_found_among_thousands() {
    let world = World::new().await;
    let server = &world.server;
    let rule = server
        .admin("GET", "federated-credentials/octo-release", Value::Null)
        .await
        .json();
    let (rule, elsewhere) = (
        rule["id"].as_str().unwrap().parse().unwrap(),
        carnet::ids::CredentialId(uuid::Uuid::from_u128(7)),
    );
    let now = Timestamp::from_seconds(server.now());
    let part = |credential| carnet::audit::AuditPart {
        principal_id: "pr_joel".to_owned(),
        credential: Some(credential),
        revision: Some(1),
        sees_claims: true,
    };
    let event = |n: i64| {
        let is_rare = n % RARE == 0;
        let (outcome, reason) = if is_rare {
            (Outcome::Refused, Some(carnet::reason::Reason::EnvMismatch))
        } else {
            (Outcome::Issued, None)
        };
        let second = if is_rare { rule } else { elsewhere };
        AuditEvent {
            reason,
            credential: Some(elsewhere),
            principal: Some("joel".to_owned()),
            parts: vec![part(elsewhere), part(second)],
            ..AuditEvent::new(now.plus_seconds(n), outcome)
        }
    };
    let events: Vec<AuditEvent> = (1..=OTHERS).map(event).collect();
    let rare = events.iter().rev();
    let rare = rare.filter(|event| event.outcome == Outcome::Refused);
    let rare: Vec<String> = rare.map(|event| event.id.to_string()).collect();
    assert_eq!(rare.len(), 8);
    for some in events.chunks(500) {
        server.app.store.record(some, now).await.unwrap();
    }
    server.clock.advance(OTHERS);
    for indexed in [false, true] {
        for query in ["outcome=refused", "credential=octo-release"] {
            let mut all = found_in_pages(server, HIS, &format!("{query}&limit=3")).await;
            // The rule was made before.
            all.retain(|id| rare.contains(id));
            assert_eq!(all, rare, "{query}, indexed: {indexed}");
        }
        // Where nearly all are wanted, a page is full.
        let full = found(server, HIS, "outcome=issued&limit=100").await;
        assert_eq!(full.len(), 100, "indexed: {indexed}");
        index(server).await;
    }

    // What was done to a rule is found at once, also if another release indexed it.
    let made = ["outcome=created&credential=octo-release&limit=1"];
    for is_of_another in [false, true] {
        if is_of_another {
            let keys = "DELETE FROM audit_key WHERE substr(key, 1, 1) = ";
            let kind = if server.db.url().starts_with("sqlite") {
                "x'68'"
            } else {
                "'\\x68'::bytea"
            };
            server.db.execute(&format!("{keys}{kind}")).await;
            assert_eq!(found(server, HIS, made[0]).await, Vec::<String>::new());
            server.app.store.index_changes().await.unwrap();
        }
        for scope in [HIS, "admin"] {
            assert_eq!(found(server, scope, made[0]).await.len(), 1, "{scope}");
        }
    }
    let hers = "admin:credentials:mallory";
    server
        .put("principals/mallory", json!({ "kind": "user" }))
        .await;
    let id = format!("outcome=created&credential={rule}");
    assert_eq!(found(server, hers, &id).await, Vec::<String>::new());
}

#[tokio::test]
async fn of_a_job_that_did_not_name_it_a_principal_reads_no_run() {
    let world = of_two().await;
    let server = &world.server;
    let now = Timestamp::from_seconds(server.now());
    let event = |seconds: i64, sees_claims: bool, run: &str| {
        let claims = json!({ "run_id": run });
        let workload = json!({ "profile": "github-actions", "claims": claims });
        AuditEvent {
            parts: vec![carnet::audit::AuditPart {
                principal_id: "pr_mallory".to_owned(),
                credential: None,
                revision: None,
                sees_claims,
            }],
            trusted_issuer: Some("github".to_owned()),
            workload: vec!["octo-org/octo-repo".to_owned()],
            detail: json!({ "workload": workload }).to_string(),
            ..AuditEvent::new(now.plus_seconds(seconds), Outcome::Issued)
        }
    };
    let mut events = [
        event(1, true, "1"),
        event(2, false, "1"),
        event(3, true, "1"),
        event(4, true, "2"),
        event(5, false, "1"),
        event(6, true, "1"),
        event(7, true, "1"),
    ];
    // The first token was used where the job named nobody.
    let token = events[0].id.0.to_string();
    events[0].token_id = Some(token.clone());
    events[4].outcome = Outcome::Published;
    events[4].token_id = Some(token);
    // A token was exchanged for another one, whose record names no workload, and that one was used.
    let exchanged = events[5].id.0.to_string();
    events[5].workload = Vec::new();
    events[5].detail = "{}".to_owned();
    events[5].token_id = Some(exchanged.clone());
    events[6].outcome = Outcome::Published;
    events[6].token_id = Some(exchanged);
    let at = |at: usize| events[at].id.to_string();
    let [first, hidden, last, other, used, child, published] = [0, 1, 2, 3, 4, 5, 6].map(at);
    server.app.store.record(&events, now).await.unwrap();
    server.clock.advance(7);
    for indexed in [false, true] {
        let whole = [&first, &hidden, &last, &used, &published].map(Clone::clone);
        let with_child = [&first, &hidden, &last, &used, &child, &published].map(Clone::clone);
        let of_child = run_of(server, "admin", &published).await.0;
        assert_eq!(of_child, with_child, "{indexed}");
        let shown = [first.clone(), last.clone(), published.clone()];
        assert_eq!(run_of(server, "admin", &hidden).await.0, whole, "{indexed}");
        assert_eq!(run_of(server, HERS, &first).await.0, shown, "{indexed}");
        assert_eq!(
            run_of(server, HERS, &hidden).await.0,
            std::slice::from_ref(&hidden),
            "{indexed}"
        );
        assert_eq!(
            run_of(server, HERS, &other).await.0,
            std::slice::from_ref(&other),
            "{indexed}"
        );
        index(server).await;
    }
}

#[tokio::test]
async fn an_event_of_many_rules_is_read_with_all_its_parts() {
    let world = World::new().await;
    let server = &world.server;
    let now = Timestamp::from_seconds(server.now());
    let part = |n: u128| carnet::audit::AuditPart {
        principal_id: "pr_joel".to_owned(),
        credential: Some(carnet::ids::CredentialId(uuid::Uuid::from_u128(n))),
        revision: Some(1),
        // The others are of rules that nobody vouched for.
        sees_claims: n == 1,
    };
    let event = |seconds: i64| AuditEvent {
        parts: (1..=120).map(part).collect(),
        workload: vec!["octo-org/octo-repo".to_owned()],
        ..AuditEvent::new(now.plus_seconds(seconds), Outcome::Issued)
    };
    let events = [event(1), event(2), event(3)];
    let expected: Vec<String> = events
        .iter()
        .rev()
        .map(|event| event.id.to_string())
        .collect();
    server.app.store.record(&events, now).await.unwrap();
    server.clock.advance(4);
    index(server).await;
    for limit in [1, 2, 3] {
        let query = format!("repository=octo-org/octo-repo&limit={limit}");
        let all = found_in_pages(server, HIS, &query).await;
        assert_eq!(all, expected, "{limit}");
    }
}

#[tokio::test]
async fn the_changes_of_a_foreign_rule_leave_no_trace_in_the_list_of_a_principal() {
    let world = of_two().await;
    let server = &world.server;
    let path = "federated-credentials/JOEL:octo-release";
    let rule = server.admin("GET", path, Value::Null).await.json();
    let rule = text(&rule, "/id");
    let now = Timestamp::from_seconds(server.now());
    // More than one search looks at.
    for at in 0..11 {
        let change = |_| AuditEvent {
            credential: rule.parse().ok(),
            parts: vec![carnet::audit::AuditPart {
                principal_id: "pr_joel".to_owned(),
                credential: rule.parse().ok(),
                revision: None,
                sees_claims: true,
            }],
            ..AuditEvent::new(now.plus_seconds(at), Outcome::Updated)
        };
        let changes: Vec<AuditEvent> = (0..500).map(change).collect();
        server.app.store.record(&changes, now).await.unwrap();
    }
    server.clock.advance(11);
    index(server).await;
    let path = format!("audit-events?outcome=updated&credential={rule}");
    let his = server.admin_as(HIS, "GET", &path, Value::Null).await.json();
    assert!(his["next_cursor"].is_string(), "{his}");
    let hers = server
        .admin_as(HERS, "GET", &path, Value::Null)
        .await
        .json();
    assert_eq!(
        hers,
        json!({ "items": [], "next_cursor": null, "searched_until": null })
    );
}
