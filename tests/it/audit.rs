//! The record: who sees what of it, what is counted together, and what a used assertion tells (review, security C1c, M1, L6).

use carnet::audit::{AuditEvent, AuditPart, FoldKey, Outcome};
use carnet::clock::Timestamp;
use carnet::ids::{CredentialId, EventId};
use carnet::store::AuditFilter;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::support::World;

const HERS: &str = "admin:credentials:mallory";
const HIS: &str = "admin:credentials:joel";

async fn world() -> World {
    let world = World::new().await;
    world
        .server
        .put(
            "principals/mallory",
            json!({ "id": "pr_mallory", "kind": "user" }),
        )
        .await;
    world
}

/// Mallory's rule for the workload of joel.
fn hers(changed: Value) -> Value {
    let mut document = World::rule_document(changed);
    document["principal"] = json!("mallory");
    document
}

async fn events(world: &World, scope: &str, query: &str) -> Vec<Value> {
    world.server.app.flush_audit().await;
    let answer = world
        .server
        .admin_as(scope, "GET", &format!("audit-events?{query}"), Value::Null)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()["items"].as_array().unwrap().clone()
}

#[tokio::test]
async fn sec_c1c__a_self_service_rule_takes_no_audit_events_from_the_packages_owner() {
    let world = world().await;
    world
        .server
        .admin_as(HERS, "PUT", "federated-credentials/hers", hers(json!({})))
        .await;
    let token = world.exchange(&world.good()).await.token();
    let seen = events(&world, HIS, "principal=joel&outcome=issued").await;
    assert_eq!((seen.len(), &seen[0]["principal"]), (1, &json!("joel")));
    assert_eq!(
        events(&world, HERS, "principal=mallory&outcome=issued").await,
        Vec::<Value>::new()
    );
    // By the rule, and what becomes of the token as well.
    assert_eq!(
        world
            .server
            .audit("credential=octo-release&outcome=issued")
            .await
            .len(),
        1
    );
    let form = [("token", token.as_str())];
    assert_eq!(world.server.form("/revoke", &form).await.status, 200);
    assert_eq!(
        events(&world, HIS, "principal=joel&outcome=revoked")
            .await
            .len(),
        1
    );
    assert_eq!(
        world
            .server
            .audit("credential=octo-release&outcome=revoked")
            .await
            .len(),
        1
    );
}

#[tokio::test]
async fn sec_c1c__self_service_rules_neither_show_nor_hide_refusals_of_another_principal() {
    let world = world().await;
    world
        .rule(
            "octo-release",
            json!({ "environment": "release", "actor_id": "99" }),
        )
        .await;
    // Nearer than joel's, and many of them.
    for n in 0..20 {
        let saved = world
            .server
            .admin_as(
                HERS,
                "PUT",
                &format!("federated-credentials/hers-{n}"),
                hers(json!({ "environment": "nope" })),
            )
            .await;
        assert_eq!(saved.status, 201);
    }
    world
        .exchange(&world.good())
        .await
        .refused(400, "invalid_grant", "env_missing");
    assert_eq!(
        events(&world, HERS, "principal=mallory&outcome=refused").await,
        Vec::<Value>::new()
    );
    let his = events(&world, HIS, "principal=joel&outcome=refused").await;
    assert_eq!(his.len(), 1);
    let fields: Vec<&str> = his[0]["detail"]["mismatches"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one["field"].as_str().unwrap())
        .collect();
    assert_eq!(fields, ["environment", "actor_id"], "{}", his[0]);
    assert!(
        his[0]["detail"]["workload"]["claims"]["sha"].is_string() && his[0]["subject"].is_string(),
        "{}",
        his[0]
    );
    // Who is asked for sees it, and only its own part.
    world
        .exchange_with(&world.good(), &[("principal", "mallory")])
        .await
        .refused(400, "invalid_grant", "env_missing");
    let hers = events(&world, HERS, "principal=mallory&outcome=refused").await;
    assert_eq!(hers.len(), 1);
    let fields: Vec<&Value> = hers[0]["detail"]["mismatches"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| &one["field"])
        .collect();
    assert!(
        fields.iter().all(|field| *field == "environment") && !fields.is_empty(),
        "{}",
        hers[0]
    );
    assert_eq!(hers[0]["principal"], "mallory");
}

#[tokio::test]
async fn sec_m6__a_new_principal_of_a_reused_name_sees_no_events_of_the_old_one() {
    let world = world().await;
    world
        .server
        .admin("PUT", "federated-credentials/hers", hers(json!({})))
        .await;
    world
        .exchange_with(&world.good(), &[("principal", "mallory")])
        .await
        .token();
    world
        .server
        .admin("DELETE", "federated-credentials/hers", Value::Null)
        .await;
    world
        .server
        .admin("DELETE", "principals/mallory", Value::Null)
        .await;
    world
        .server
        .put("principals/mallory", json!({ "kind": "user" }))
        .await;
    assert_eq!(
        events(&world, HERS, "principal=mallory").await,
        Vec::<Value>::new()
    );
    // By the id of the one before an administrator finds them.
    assert_eq!(world.server.audit("principal=pr_mallory").await.len(), 3);
}

#[tokio::test]
async fn sec_m1__equal_refusals_of_one_hour_are_counted_in_one_audit_row() {
    let world = world().await;
    world
        .rule("octo-release", json!({ "environment": "release" }))
        .await;
    let mut last = Value::Null;
    for _ in 0..7 {
        last = world.exchange(&world.good()).await.json()["error_id"].clone();
        world.server.app.flush_audit().await;
    }
    let rows = world.server.audit("outcome=refused").await;
    assert_eq!(
        (rows.len(), &rows[0]["count"], &rows[0]["last_error_id"]),
        (1, &json!(7), &last)
    );
    // Another reason, another hour: another row. Without a candidate: none.
    world
        .exchange_with(&world.good(), &[("principal", "nobody")])
        .await
        .refused(400, "invalid_grant", "principal_mismatch");
    world.server.clock.advance(3600);
    world
        .exchange(&world.good())
        .await
        .refused(400, "invalid_grant", "env_missing");
    let stranger = world
        .claims()
        .in_repository("stranger/repo")
        .with("repository_id", "1")
        .with("repository_owner_id", "2");
    world
        .exchange_claims(&stranger)
        .await
        .refused(400, "invalid_grant", "no_matching_credential");
    assert_eq!(world.server.audit("outcome=refused").await.len(), 3);
    // Many that wait to be written are one write.
    for _ in 0..50 {
        world.exchange(&world.good()).await;
    }
    assert_eq!(world.server.audit("outcome=refused").await[0]["count"], 51);
    // They are kept for as long as is configured, and with them what says who may see them.
    let prune = async || {
        let now = Timestamp::from_seconds(world.server.now());
        while world.server.app.store.prune(now, 400).await.unwrap() {}
    };
    world.server.clock.advance(89 * 86_400);
    prune().await;
    assert_eq!(world.server.audit("outcome=refused").await.len(), 3);
    world.server.clock.advance(2 * 86_400);
    prune().await;
    assert_eq!(world.server.audit("outcome=refused").await.len(), 0);
    world
        .server
        .app
        .store
        .index_parts(Timestamp::from_seconds(world.server.now()))
        .await
        .unwrap();
    let parts = world
        .server
        .db
        .column::<String>("SELECT principal_id FROM audit_part")
        .await
        .len();
    world.server.clock.advance(400 * 86_400);
    prune().await;
    assert!(
        parts > 0
            && world
                .server
                .db
                .column::<String>("SELECT principal_id FROM audit_part")
                .await
                .is_empty()
    );
}

#[tokio::test]
async fn contract_3__a_replay_refusal_tells_the_time_and_event_of_the_first_use() {
    let world = world().await;
    let assertion = world.good();
    let at = world.server.now();
    world.exchange(&assertion).await.token();
    let issued = world.server.audit("outcome=issued").await[0]["id"].clone();
    world.server.clock.advance(30);
    let replay = world.exchange(&assertion).await;
    replay.refused(400, "invalid_grant", "replay");
    assert_eq!(replay.json()["used_in"], issued, "{}", replay.text());
    assert_eq!(
        replay.json()["used_at"],
        json!(Timestamp::from_seconds(at).to_string())
    );
}

#[tokio::test]
async fn contract_6__an_issued_event_has_the_assertions_digest_and_the_claims_read() {
    let world = world().await;
    let assertion = world.good();
    world.exchange(&assertion).await.token();
    let event = &world.server.audit("outcome=issued").await[0];
    let (input, _) = assertion.rsplit_once('.').unwrap();
    assert_eq!(
        event["assertion"]["digest"],
        carnet_jose::base64url(carnet_jose::sha256(input.as_bytes()))
    );
    assert!(
        event["assertion"]["jti"].is_string() && event["subject"].is_string(),
        "{event}"
    );
    let told = &event["detail"]["workload"]["claims"];
    for read in [
        "repository",
        "repository_id",
        "repository_owner_id",
        "workflow_ref",
    ] {
        assert!(
            event["detail"]["claims"].get(read).is_some() || told.get(read).is_some(),
            "{read}: {event}"
        );
    }
    assert!(
        !event
            .to_string()
            .contains(assertion.rsplit('.').next().unwrap())
    );
}

#[tokio::test]
async fn contract_6__events_of_refused_and_successful_admin_requests_name_actor_and_token() {
    let world = world().await;
    for _ in 0..3 {
        let answer = world
            .server
            .admin_as(HERS, "PUT", "principals/new", json!({ "kind": "user" }))
            .await;
        assert_eq!(answer.status, 403);
    }
    let refused = world.server.audit("outcome=refused").await;
    assert_eq!(
        (&refused[0]["actor"], &refused[0]["reason"]),
        (&json!("tester"), &json!("scope_not_granted"))
    );
    assert!(
        refused[0]["token_id"].is_string() && refused[0]["detail"]["scope"] == HERS,
        "{}",
        refused[0]
    );
    let changed = &world.server.audit("outcome=created").await[0];
    assert!(
        changed["actor"] == "tester" && changed["token_id"].is_string(),
        "{changed}"
    );
}

#[tokio::test]
async fn sec_l6__an_audit_search_scans_a_bounded_window_and_continues_by_cursor() {
    let world = world().await;
    let now = Timestamp::from_seconds(world.server.now());
    let event = |principal: &str| {
        let part = AuditPart {
            principal_id: principal.to_owned(),
            credential: None,
            revision: None,
            sees_claims: true,
        };
        AuditEvent {
            parts: vec![part],
            ..AuditEvent::new(now, Outcome::Issued)
        }
    };
    world
        .server
        .app
        .store
        .record(&[event("pr_mallory")], now)
        .await
        .unwrap();
    for _ in 0..12 {
        let many: Vec<AuditEvent> = (0..500).map(|_| event("pr_other")).collect();
        world.server.app.store.record(&many, now).await.unwrap();
    }
    // Hers is found at once among those of others, as soon as they are indexed.
    while world
        .server
        .app
        .store
        .index_parts(now.plus_seconds(60))
        .await
        .unwrap()
    {}
    assert_eq!(
        events(&world, HERS, "principal=mallory&outcome=issued")
            .await
            .len(),
        1
    );
    assert_eq!(
        world
            .server
            .db
            .column::<String>("SELECT principal_id FROM audit_part")
            .await
            .len(),
        6002
    );
    world
        .server
        .app
        .store
        .record(&[event("pr_mallory")], now)
        .await
        .unwrap();
    while world
        .server
        .app
        .store
        .index_parts(now.plus_seconds(60))
        .await
        .unwrap()
    {}
    // What no index finds is sought a window at a time.
    let page = world
        .server
        .admin("GET", "audit-events?trusted_issuer=gitlab", Value::Null)
        .await
        .json();
    assert!(
        page["items"] == json!([]) && page["next_cursor"].is_string(),
        "{page}"
    );
    let next = format!(
        "audit-events?trusted_issuer=gitlab&cursor={}",
        page["next_cursor"].as_str().unwrap()
    );
    let page = world.server.admin("GET", &next, Value::Null).await.json();
    assert!(
        page["items"] == json!([]) && page["next_cursor"].is_null(),
        "{page}"
    );
}

/// An event of this time in which so many rules of a principal have a part.
fn event_of(at: Timestamp, principal: &str, rules: u32) -> AuditEvent {
    let part = |number: u32| AuditPart {
        principal_id: principal.to_owned(),
        credential: Some(CredentialId::new(Timestamp::from_seconds(i64::from(
            number,
        )))),
        revision: Some(1),
        sees_claims: true,
    };
    AuditEvent {
        parts: (0..rules).map(part).collect(),
        ..AuditEvent::new(at, Outcome::Issued)
    }
}

#[tokio::test]
async fn sec_m1__an_event_of_several_rules_is_listed_once_before_and_after_indexing() {
    let world = world().await;
    let store = &world.server.app.store;
    let now = Timestamp::from_seconds(world.server.now());
    // So that what is read at once ends in the middle of an event.
    let mut many: Vec<AuditEvent> = (0..300).map(|_| event_of(now, "pr_mallory", 2)).collect();
    many.push(event_of(now.plus_seconds(1), "pr_mallory", 1));
    store.record(&many, now).await.unwrap();
    let seen = async || {
        let filter = AuditFilter {
            principal: Some("pr_mallory".to_owned()),
            ..AuditFilter::default()
        };
        let mut rules: Vec<usize> = Vec::new();
        let mut before = None;
        loop {
            let page = store.audit_events(&filter, before, 50).await.unwrap();
            rules.extend(page.events.iter().map(|(_, seen)| seen.credentials.len()));
            before = page.next;
            if before.is_none() {
                return rules;
            }
        }
    };
    let whole = [vec![1], vec![2; 300]].concat();
    assert_eq!(seen().await, whole);
    while store.index_parts(now.plus_seconds(60)).await.unwrap() {}
    assert_eq!(
        world
            .server
            .db
            .column::<String>(
                "SELECT principal_id FROM audit_part WHERE principal_id = 'pr_mallory'"
            )
            .await
            .len(),
        601
    );
    assert_eq!(seen().await, whole);
}

#[tokio::test]
async fn sec_m1__events_of_hundreds_of_rules_are_removed_like_others() {
    let world = world().await;
    let store = &world.server.app.store;
    let now = Timestamp::from_seconds(world.server.now());
    let many: Vec<AuditEvent> = (0..100).map(|_| event_of(now, "pr_mallory", 700)).collect();
    for some in many.chunks(10) {
        store.record(some, now).await.unwrap();
    }
    while store.index_parts(now.plus_seconds(60)).await.unwrap() {}
    let later = now.plus_seconds(401 * 86_400);
    while store.prune(later, 400).await.unwrap() {}
    for table in [
        "audit_event WHERE parts IS NOT NULL",
        "audit_part WHERE principal_id = 'pr_mallory'",
    ] {
        let left = world
            .server
            .db
            .column::<i64>(&format!("SELECT COUNT(*) FROM {table}"))
            .await;
        assert_eq!(left, [0], "{table}");
    }
}

#[tokio::test]
async fn srv_22__events_stay_visible_to_their_principal_after_the_clock_was_set_back() {
    let world = world().await;
    let store = &world.server.app.store;
    let now = Timestamp::from_seconds(world.server.now());
    store
        .record(&[event_of(now.plus_seconds(600), "pr_mallory", 1)], now)
        .await
        .unwrap();
    while store.index_parts(now.plus_seconds(700)).await.unwrap() {}
    // It is set back; indexing stays behind the time, and goes on from there.
    store
        .record(&[event_of(now.plus_seconds(5), "pr_mallory", 1)], now)
        .await
        .unwrap();
    for later in [-200, -100, 10] {
        while store.index_parts(now.plus_seconds(later)).await.unwrap() {}
    }
    assert_eq!(
        events(&world, HERS, "principal=mallory&outcome=issued")
            .await
            .len(),
        2
    );
    while store.index_parts(now.plus_seconds(700)).await.unwrap() {}
    assert_eq!(
        events(&world, HERS, "principal=mallory&outcome=issued")
            .await
            .len(),
        2
    );
}

#[tokio::test]
async fn contract_6__of_a_rule_moved_between_principals_each_sees_only_its_own_side() {
    let world = world().await;
    let moved = world
        .server
        .admin(
            "PUT",
            "federated-credentials/joel:octo-release",
            hers(json!({ "environment": "hers" })),
        )
        .await;
    assert_eq!(moved.status, 200, "{}", moved.text());
    let change = async |scope: &str, principal: &str| {
        events(
            &world,
            scope,
            &format!("principal={principal}&outcome=updated"),
        )
        .await[0]["detail"]
            .clone()
    };
    let (his, hers) = (change(HIS, "joel").await, change(HERS, "mallory").await);
    assert!(
        his["before"]["principal"] == "joel" && his["after"].is_null(),
        "{his}"
    );
    assert!(
        hers["after"]["principal"] == "mallory" && hers["before"].is_null(),
        "{hers}"
    );
}

#[tokio::test]
async fn sec_m1__the_event_of_a_token_of_61_rules_lists_ten_and_stays_below_4_kib() {
    let world = world().await;
    world
        .server
        .admin(
            "PATCH",
            "resource-servers/pypi",
            json!({ "token_format": "opaque" }),
        )
        .await;
    for number in 0..60 {
        let saved = world
            .server
            .put(
                &format!("federated-credentials/more-{number}"),
                World::rule_document(json!({})),
            )
            .await;
        assert_eq!(saved["state"], "active");
    }
    world.exchange(&world.good()).await.token();
    let event = &world.server.audit("outcome=issued").await[0];
    assert_eq!(
        event["detail"]["credentials"].as_array().unwrap().len(),
        10,
        "{event}"
    );
    assert_eq!(event["detail"]["credentials_left_out"], 51);
    assert!(event["detail"].to_string().len() <= 4096);
    // Each of them finds it all the same.
    assert_eq!(
        world
            .server
            .audit("credential=more-59&outcome=issued")
            .await
            .len(),
        1
    );
}

#[tokio::test]
async fn srv_22__an_event_written_late_behind_the_index_mark_is_still_found() {
    let world = world().await;
    let store = &world.server.app.store;
    let now = Timestamp::from_seconds(world.server.now());
    store
        .record(&[event_of(now.plus_seconds(30), "pr_joel", 1)], now)
        .await
        .unwrap();
    while store.index_parts(now.plus_seconds(60)).await.unwrap() {}
    // The database was away while others went on.
    let mut folded = event_of(now, "pr_mallory", 1);
    folded.fold = Some(FoldKey::new(&["alike"], ""));
    store
        .record(&[event_of(now, "pr_mallory", 1), folded], now)
        .await
        .unwrap();
    assert_eq!(
        events(&world, HERS, "principal=mallory&outcome=issued")
            .await
            .len(),
        2
    );
    // A replica that is a little behind does not move the mark back.
    while store.index_parts(now).await.unwrap() {}
    let marks = world
        .server
        .db
        .column::<uuid::Uuid>("SELECT up_to FROM audit_watermark")
        .await;
    assert!(
        marks[0] > carnet::ids::first_at(now.plus_seconds(29)),
        "{marks:?}"
    );
}

#[tokio::test]
async fn contract_6__a_package_owner_sees_that_a_clients_token_was_revoked() {
    let world = world().await;
    let permissions = json!([{ "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"], "owner": "joel" }]);
    let credentials = world
        .client("bot", json!({ "permissions": permissions }))
        .await;
    let own = [("grant_type", "client_credentials")];
    let token = world
        .server
        .form_with("/token", &[("authorization", credentials.as_str())], &own)
        .await
        .token();
    let revoked = [("token", token.as_str())];
    let answer = world
        .server
        .form_with(
            "/revoke",
            &[("authorization", credentials.as_str())],
            &revoked,
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let seen = events(&world, HIS, "principal=joel&outcome=revoked").await;
    assert!(
        seen.len() == 1 && seen[0]["client_id"] == "bot" && !seen[0]["token_id"].is_null(),
        "{seen:?}"
    );
}

#[tokio::test]
async fn events_of_a_newer_release_are_left_out_and_hide_no_others() {
    let world = World::new().await;
    world.server.clock.advance(1);
    world.exchange(&world.good()).await.token();
    world.server.app.flush_audit().await;
    let (server, store) = (&world.server, &world.server.app.store);
    let all = server.audit("limit=100").await;
    let of_principal = server.audit("principal=joel").await;
    assert_eq!(all[0]["outcome"], "issued");
    let unknown = "UPDATE audit_event SET outcome = 'shredded' WHERE outcome = 'issued'";
    server.db.execute(unknown).await;

    let left = server.audit("limit=100").await;
    assert_eq!(left[..], all[1..]);
    let one = format!("audit-events/{}", all[0]["id"].as_str().unwrap());
    let one = server.admin("GET", &one, Value::Null).await;
    assert_eq!(one.status, 404, "{}", one.text());
    let read = store.events_seen(Uuid::nil(), None, 500).await.unwrap();
    assert_eq!(read.events.len(), all.len() - 1);
    let ids = store.event_ids(Uuid::nil(), None, 500).await.unwrap();
    assert_eq!((ids.len(), read.last), (all.len(), ids.last().copied()));
    let events = ids.into_iter().map(EventId).collect();
    let events = store.events_with_parts(events).await.unwrap();
    assert_eq!(events.len(), all.len() - 1);
    // By the index of parts as well.
    let settled = server.app.clock.now().plus_seconds(1);
    store.index_parts(settled).await.unwrap();
    let left = server.audit("principal=joel").await;
    assert_eq!(left[..], of_principal[1..]);
}
