//! What one owner's webhooks and rules can do to those of others: nothing. And what a webhook can be made to give away.

use std::cell::Cell;
use std::time::{Duration, Instant};

use carnet::audit::{AuditEvent, AuditPart, FoldKey, Outcome};
use carnet::clock::Clock as _;
use carnet::documents::NotificationDocument;
use carnet::ids::{EventId, NotificationId};
use carnet::reason::Reason;
use carnet::store::{NewMessage, StoreError};
use serde_json::{Value, json};

use crate::support::{Receiver, World};

/// A world where a receiver on the loopback interface is allowed.
async fn world() -> World {
    World::with(&[("CARNET_INSECURE__ALLOW_HTTP_LOOPBACK", "true")]).await
}

/// Saves a notification; its id.
async fn hook(world: &World, name: &str, principal: Option<&str>, url: &str) -> NotificationId {
    let kinds = ["first_use", "refusal_burst"];
    let document = json!({ "url": url, "principal": principal, "kinds": kinds });
    let path = format!("notifications/{name}");
    let saved = world.server.put(&path, document).await;
    saved["id"].as_str().unwrap().parse().unwrap()
}

/// Queues messages with these numbers for a webhook.
async fn queue(world: &World, hook: NotificationId, numbers: std::ops::Range<u8>) {
    let now = world.server.clock.now();
    let message = |number: u8| NewMessage {
        notification: hook,
        cause: [number; 32],
        at: now,
        until: now.plus_seconds(3600),
        body: json!({ "type": "carnet.first_use", "data": number }).to_string(),
    };
    let messages: Vec<NewMessage> = numbers.map(message).collect();
    let queued = world.server.app.store.queue_messages(&messages, now).await;
    assert_eq!(queued.unwrap().added, messages.len());
}

async fn waiting(world: &World) -> i64 {
    let sql = "SELECT COUNT(*) FROM notification_delivery";
    world.server.db.column::<i64>(sql).await[0]
}

async fn shown(world: &World, name: &str) -> Value {
    let path = format!("notifications/{name}");
    world.server.admin("GET", &path, Value::Null).await.json()
}

#[tokio::test]
async fn a_thousand_bursts_of_one_owner_hide_no_burst_of_another() {
    let world = world().await;
    let receiver = Receiver::start().await;
    hook(&world, "mine", Some("joel"), &receiver.url).await;
    for _ in 0..10 {
        let elsewhere = world.claims().with("event_name", "pull_request_target");
        assert_eq!(world.exchange_claims(&elsewhere).await.status, 400);
    }
    world.server.app.flush_audit().await;
    world.server.clock.advance(1);
    let mallory = json!({ "id": "pr_mallory", "kind": "user" });
    world.server.put("principals/mallory", mallory).await;
    for number in 0u32..1_010 {
        let fold = FoldKey::new(&[&number.to_string()], "");
        for _ in 0..10 {
            let id = EventId::new(world.server.clock.now());
            world.server.app.audit(AuditEvent {
                reason: Some(Reason::EventDenied),
                subject: Some(format!("repo:mallory/repo:{number}")),
                fold: Some(fold),
                parts: vec![AuditPart {
                    principal_id: "pr_mallory".to_owned(),
                    credential: None,
                    revision: None,
                    sees_claims: false,
                }],
                detail: "{}".to_owned(),
                ..AuditEvent::with_id(id, Outcome::Refused)
            });
        }
        if number % 500 == 0 {
            world.server.app.flush_audit().await;
        }
    }
    world.server.app.flush_audit().await;
    let sql = "SELECT COUNT(*) FROM audit_event WHERE count >= 10";
    assert_eq!(world.server.db.column::<i64>(sql).await, [1_011]);
    world.server.clock.advance(61);
    let told = receiver.wait_for(1).await[0].json();
    assert_eq!(told["type"], "carnet.refusal_burst");
    assert_eq!(told["data"]["rule"]["name"], "octo-release", "{told}");
}

#[tokio::test]
async fn webhooks_of_principals_leave_places_for_the_operators() {
    let world = world().await;
    let (silent, operators) = (Receiver::start().await, Receiver::start().await);
    silent.answers(None);
    let mut hooks = Vec::new();
    for number in 0..34 {
        let principal = format!("slow-{number}");
        let path = format!("principals/{principal}");
        world.server.put(&path, json!({ "kind": "user" })).await;
        for name in ["one", "two", "three"] {
            let name = format!("{principal}:{name}");
            hooks.push(hook(&world, &name, Some(&principal), &silent.url).await);
        }
    }
    // More webhooks than one look for due messages returns.
    let ops = hook(&world, "ops", None, &operators.url).await;
    for hook in hooks {
        queue(&world, hook, 0..1).await;
    }
    silent.wait_for(54).await;
    let began = Instant::now();
    queue(&world, ops, 0..1).await;
    operators.wait_for(1).await;
    assert!(
        began.elapsed() < Duration::from_secs(6),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_slow_receiver_gives_its_place_to_others_after_each_message() {
    let world = world().await;
    let (slow, quick) = (Receiver::start().await, Receiver::start().await);
    slow.answers_after(Duration::from_secs(4));
    for name in ["a", "b"] {
        let hook = hook(&world, name, Some("joel"), &slow.url).await;
        queue(&world, hook, 0..5).await;
    }
    // Both places of joel are taken.
    slow.wait_for(2).await;
    let third = hook(&world, "c", Some("joel"), &quick.url).await;
    queue(&world, third, 0..1).await;
    quick.wait_for(1).await;
    let before = slow.deliveries().len();
    assert!(
        before <= 4,
        "{before} messages went to slow receivers first"
    );
    // They have their turns again.
    slow.wait_for(5).await;
}

#[tokio::test]
async fn one_test_message_of_an_owner_is_under_way_at_a_time_and_ten_a_minute_are_sent() {
    let world = world().await;
    let (silent, receiver) = (Receiver::start().await, Receiver::start().await);
    silent.answers(None);
    hook(&world, "silent", Some("joel"), &silent.url).await;
    hook(&world, "mine", Some("joel"), &receiver.url).await;
    hook(&world, "ops", None, &receiver.url).await;
    let test = async |name: &str| {
        let path = format!("notifications/{name}/test");
        world.server.admin("POST", &path, Value::Null).await
    };
    let first = async {
        let answer = test("silent").await;
        assert_eq!(answer.json()["delivered"], false, "{}", answer.text());
    };
    let others = async {
        silent.wait_for(1).await;
        for name in ["silent", "mine"] {
            let refused = test(name).await;
            assert_eq!(refused.status, 429, "{}", refused.text());
            assert_eq!(refused.json()["code"], "rate_limited");
            assert!(refused.header("retry-after").is_some());
        }
        // Another owner's goes on.
        assert_eq!(test("ops").await.json()["delivered"], true);
    };
    tokio::join!(first, others);
    assert_eq!(silent.deliveries().len(), 1);
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(test("mine").await.status);
    }
    let sent = statuses.iter().filter(|status| **status == 200).count();
    assert!((9..=14).contains(&sent), "{statuses:?}");
    assert_eq!(statuses[0], 200);
    assert_eq!(receiver.deliveries().len(), 1 + sent);
}

#[tokio::test]
async fn a_failed_test_message_ends_no_pause() {
    let world = world().await;
    let receiver = Receiver::start().await;
    receiver.answers(Some(500));
    let mine = hook(&world, "mine", Some("joel"), &receiver.url).await;
    queue(&world, mine, 0..1).await;
    receiver.wait_for(1).await;
    receiver.settled().await;
    // Due for itself, while the webhook pauses.
    queue(&world, mine, 1..2).await;
    let state = "SELECT failures FROM notification UNION ALL SELECT retry_at FROM notification";
    let before: Vec<i64> = world.server.db.column(state).await;
    let path = "notifications/mine/test";
    let tried = world.server.admin("POST", path, Value::Null).await.json();
    assert_eq!(tried["status"], 500, "{tried}");
    assert_eq!(world.server.db.column::<i64>(state).await, before);
    assert_eq!(receiver.settled().await, 2, "the first one and the test");
    assert_eq!(
        shown(&world, "mine").await["last_error"],
        "the receiver answered 500"
    );
}

#[tokio::test]
async fn a_command_beside_the_server_delivers_nothing() {
    let world = world().await;
    let receiver = Receiver::start().await;
    let mine = hook(&world, "mine", Some("joel"), &receiver.url).await;
    let (command, _background) = world.server.command().await;
    let (db, clock) = (world.server.db.clone(), world.server.clock.clone());
    drop(world);
    let now = clock.now();
    let message = NewMessage {
        notification: mine,
        cause: [1; 32],
        at: now,
        until: now,
        body: json!({ "type": "carnet.first_use" }).to_string(),
    };
    command.store.queue_messages(&[message], now).await.unwrap();
    // The lease of the server that ended is over.
    clock.advance(120);
    let holder = "SELECT holder FROM notification_watermark";
    let before: Vec<Option<String>> = db.column(holder).await;
    assert_eq!(receiver.settled().await, 0);
    assert_eq!(db.column::<Option<String>>(holder).await, before);
}

#[tokio::test]
async fn what_waits_for_a_principal_is_sent_only_while_it_is_enabled() {
    let world = world().await;
    let receiver = Receiver::start().await;
    receiver.answers(Some(500));
    let mine = hook(&world, "mine", Some("joel"), &receiver.url).await;
    queue(&world, mine, 0..3).await;
    receiver.wait_for(1).await;
    world.server.deliveries_noted().await;
    let enabled = async |is_enabled: bool| {
        let change = json!({ "enabled": is_enabled });
        let changed = world.server.admin("PATCH", "principals/joel", change).await;
        assert_eq!(changed.status, 200, "{}", changed.text());
    };
    enabled(false).await;
    receiver.answers(Some(204));
    world.server.clock.advance(61);
    assert_eq!(receiver.settled().await, 1);
    assert_eq!(waiting(&world).await, 3);
    enabled(true).await;
    receiver.wait_for(4).await;
    assert_eq!(receiver.settled().await, 4);
}

#[tokio::test]
async fn a_principal_that_is_disabled_during_a_delivery_gets_no_further_message() {
    let world = world().await;
    let receiver = Receiver::start().await;
    receiver.answers_after(Duration::from_secs(2));
    let mine = hook(&world, "mine", Some("joel"), &receiver.url).await;
    queue(&world, mine, 0..3).await;
    receiver.wait_for(1).await;
    let change = json!({ "enabled": false });
    let changed = world.server.admin("PATCH", "principals/joel", change).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!(receiver.settled().await, 1);
    assert_eq!(waiting(&world).await, 2);
}

#[tokio::test]
async fn a_name_that_leads_to_a_private_address_is_answered_no_sooner_than_one_that_leads_nowhere()
{
    let world = World::new().await;
    hook(&world, "mine", Some("joel"), "https://localhost/").await;
    let began = Instant::now();
    let path = "notifications/mine/test";
    let tried = world.server.admin("POST", path, Value::Null).await.json();
    assert_eq!(tried["error"], "the name leads to no public address");
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn audit_events_hold_no_url_of_a_webhook() {
    let world = World::new().await;
    let put = async |url: &str| {
        let document = json!({ "url": url, "principal": "joel" });
        world
            .server
            .admin("PUT", "notifications/mine", document)
            .await
            .status
    };
    assert_eq!(put("https://hooks.test/first-password").await, 201);
    assert_eq!(put("https://hooks.test/second-password").await, 200);
    // The event of a refused document holds it as well.
    let beyond = json!({ "url": "https://hooks.test/third-password", "principal": "nobody" });
    let refused = world.server.admin("PUT", "notifications/x", beyond).await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    let removed = world
        .server
        .admin("DELETE", "notifications/mine", Value::Null)
        .await;
    assert_eq!(removed.status, 204, "{}", removed.text());
    world.server.app.flush_audit().await;
    let details: Vec<String> = world
        .server
        .db
        .column("SELECT detail FROM audit_event")
        .await;
    let of_webhooks: Vec<Value> = details
        .iter()
        .map(|detail| serde_json::from_str(detail).unwrap())
        .filter(|detail: &Value| detail["kind"] == "notification")
        .collect();
    assert_eq!(of_webhooks.len(), 4, "{details:?}");
    assert!(details.iter().all(|detail| !detail.contains("password")));
    // They still tell that it changed, and where it leads.
    let is_update = |one: &&Value| one["before"].is_object() && one["after"].is_object();
    let updated = of_webhooks.iter().find(is_update).unwrap();
    let (before, after) = (&updated["before"]["url"], &updated["after"]["url"]);
    assert_eq!(before["origin"], "https://hooks.test", "{updated}");
    assert_eq!(after["origin"], "https://hooks.test");
    assert!(before["sha256"].is_string() && before["sha256"] != after["sha256"]);
}

#[tokio::test]
async fn a_secret_that_is_replaced_while_it_is_sealed_anew_is_sealed_anew_as_well() {
    let world = World::new().await;
    hook(&world, "mine", Some("joel"), "https://hooks.test/").await;
    let sealed = "SELECT state FROM notification";
    let state: String = world.server.db.column(sealed).await.remove(0);
    let mut rotated: Value = serde_json::from_str(&state).unwrap();
    rotated["secrets"][0]["sealed"] = json!("sealed by a server with the old key");
    let (url, rotated) = (world.server.db.url().to_owned(), rotated.to_string());
    let calls = Cell::new(0);
    let reseal = |_: &str, secret: &str| -> Result<Option<String>, StoreError> {
        calls.set(calls.get() + 1);
        if calls.get() == 1 {
            let (url, rotated) = (url.clone(), rotated.clone());
            std::thread::spawn(move || replace_state(&url, &rotated))
                .join()
                .unwrap();
        }
        Ok(Some(format!("anew: {secret}")))
    };
    let store = &world.server.app.store;
    let resealed = store.reseal::<NotificationDocument, _>(reseal).await;
    assert_eq!(resealed.unwrap(), 1);
    let state: String = world.server.db.column(sealed).await.remove(0);
    let state: Value = serde_json::from_str(&state).unwrap();
    assert_eq!(
        state["secrets"][0]["sealed"],
        "anew: sealed by a server with the old key"
    );
}

/// Writes the state of all webhooks, as another server would.
fn replace_state(url: &str, state: &str) {
    use sea_orm::ConnectionTrait as _;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let database = sea_orm::Database::connect(url).await.unwrap();
        let sql = format!("UPDATE notification SET state = '{state}'");
        database.execute_unprepared(&sql).await.unwrap();
        database.close().await.unwrap();
    });
}
