//! Webhooks: what their owners are told, how it is signed, and that neither a dead receiver nor a stranger's webhook harms anybody.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::delegation::{acting, helper, with_helpers};
use crate::support::{
    Delivery, FakeIssuer, JWT_BEARER, Packages, Receiver, TestDb, TestKey, World, carnet, finished,
    first_start, github,
};

/// The usual world, where a receiver on the loopback interface is allowed.
async fn world() -> World {
    World::with(&[("CARNET_INSECURE__ALLOW_HTTP_LOOPBACK", "true")]).await
}

/// Saves a notification; its secret.
async fn hook(world: &World, name: &str, document: Value) -> String {
    let saved = world
        .server
        .put(&format!("notifications/{name}"), document)
        .await;
    pass(world);
    saved["secret"].as_str().unwrap().to_owned()
}

/// Lets a second pass. The ids of events of one millisecond have no order, so that one may be found
/// only when events are read again, minutes later.
fn pass(world: &World) {
    world.server.clock.advance(1);
}

/// The usual rule under another name, with these members of `match` changed.
async fn add_rule(world: &World, name: &str, changed: Value) {
    world.rule(name, changed).await;
    pass(world);
}

/// A notification of these kinds, for a principal or for the operator.
fn to(receiver: &Receiver, principal: Option<&str>, kinds: &[&str]) -> Value {
    json!({ "url": receiver.url, "principal": principal, "kinds": kinds })
}

async fn shown(world: &World, name: &str) -> Value {
    let answer = world
        .server
        .admin("GET", &format!("notifications/{name}"), Value::Null)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

/// Lets the usual rule refuse this many requests of its workload, each with an assertion of its own.
async fn refuse(world: &World, count: usize) {
    for _ in 0..count {
        let elsewhere = world.claims().with("event_name", "pull_request_target");
        assert_eq!(world.exchange_claims(&elsewhere).await.status, 400);
    }
    world.server.app.flush_audit().await;
}

/// Adds a principal with a self-service rule for the usual workload.
async fn intruder(world: &World, name: &str) {
    world
        .server
        .put(&format!("principals/{name}"), json!({ "kind": "user" }))
        .await;
    let mut rule = World::rule_document(json!({}));
    rule["principal"] = json!(name);
    rule["vouched"] = json!(false);
    let path = format!("federated-credentials/{name}-rule");
    world.server.put(&path, rule).await;
}

#[tokio::test]
async fn the_first_use_of_a_rule_is_delivered_once_and_signed_by_the_convention() {
    let world = world().await;
    let receiver = Receiver::start().await;
    let secret = hook(&world, "mine", to(&receiver, Some("joel"), &["first_use"])).await;
    world.server.clock.advance(5);
    let token = world.exchange(&world.good()).await.token();
    let first = receiver.wait_for(1).await[0].clone();
    assert_eq!(first.signatures(), [first.signature_by(&secret)]);
    assert_eq!(
        first.header("webhook-timestamp"),
        world.server.now().to_string()
    );
    assert!(first.header("webhook-id").starts_with("msg_"));
    assert_eq!(first.header("content-type"), "application/json");
    let body = first.json();
    let rule = world
        .server
        .admin("GET", "federated-credentials/octo-release", Value::Null)
        .await
        .json();
    assert_eq!(body["type"], "carnet.first_use");
    assert_eq!(
        body["data"]["rule"],
        json!({ "id": rule["id"], "name": "octo-release" })
    );
    assert_eq!(body["data"]["principal"], "joel");
    assert_eq!(body["data"]["repository"], "octo-org/octo-repo");
    assert_eq!(body["data"]["trusted_issuer"], "github");
    assert!(
        body["data"]["event_id"]
            .as_str()
            .unwrap()
            .starts_with("ev_")
    );
    assert!(body["timestamp"].as_str().unwrap().ends_with('Z'));
    let text = String::from_utf8(first.body.to_vec()).unwrap();
    assert!(!text.contains(&token) && !text.contains(&secret) && !text.contains("eyJ"));
    // Later uses, and those of long ago, tell nothing; another rule does.
    world.exchange(&world.good()).await.token();
    world.server.clock.advance(7200);
    world.exchange(&world.good()).await.token();
    add_rule(
        &world,
        "another",
        json!({ "repository": "octo-org/other", "repository_id": "75" }),
    )
    .await;
    let other = world
        .claims()
        .in_repository("octo-org/other")
        .with("repository_id", "75");
    world.exchange_claims(&other).await.token();
    let all = receiver.wait_for(2).await;
    assert_eq!(all[1].json()["data"]["rule"]["name"], "another");
    assert_eq!(receiver.settled().await, 2);
    let shown = shown(&world, "mine").await;
    assert!(shown["last_delivered_at"].is_string() && shown["failing_since"].is_null());
}

#[tokio::test]
async fn a_failed_message_is_sent_again_after_growing_pauses_and_given_up_after_three_days() {
    let world = world().await;
    let receiver = Receiver::start().await;
    receiver.answers(Some(500));
    let secret = hook(&world, "mine", to(&receiver, None, &["first_use"])).await;
    world.exchange(&world.good()).await.token();
    receiver.wait_for(1).await;
    world.server.deliveries_noted().await;
    assert_eq!(
        receiver.settled().await,
        1,
        "no second attempt before its time"
    );
    let failing = shown(&world, "mine").await;
    assert_eq!(failing["last_error"], "the receiver answered 500");
    assert!(failing["failing_since"].is_string() && failing["last_delivered_at"].is_null());
    world.server.clock.advance(31);
    receiver.wait_for(2).await;
    world.server.deliveries_noted().await;
    world.server.clock.advance(31);
    assert_eq!(receiver.settled().await, 2, "the pause doubles");
    world.server.clock.advance(31);
    let three = receiver.wait_for(3).await;
    world.server.deliveries_noted().await;
    let ids: Vec<&str> = three.iter().map(|one| one.header("webhook-id")).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_ne!(
        three[0].header("webhook-timestamp"),
        three[2].header("webhook-timestamp")
    );
    assert_eq!(three[2].signatures(), [three[2].signature_by(&secret)]);
    // A redirect is no delivery and is not followed.
    receiver.answers(Some(307));
    world.server.clock.advance(121);
    receiver.wait_for(4).await;
    world.server.deliveries_noted().await;
    receiver.answers(Some(200));
    world.server.clock.advance(241);
    receiver.wait_for(5).await;
    world.server.deliveries_noted().await;
    assert_eq!(receiver.settled().await, 5);
    let well = shown(&world, "mine").await;
    assert!(
        well["last_error"].is_null() && well["failing_since"].is_null(),
        "{well}"
    );
    // Three days later a message is given up.
    receiver.answers(Some(503));
    let stranger = world
        .claims()
        .in_repository("octo-org/other")
        .with("repository_id", "75");
    add_rule(
        &world,
        "another",
        json!({ "repository": "octo-org/other", "repository_id": "75" }),
    )
    .await;
    world.exchange_claims(&stranger).await.token();
    receiver.wait_for(6).await;
    world.server.deliveries_noted().await;
    world.server.clock.advance(3 * 86_400);
    receiver.wait_for(7).await;
    world.server.deliveries_noted().await;
    receiver.answers(Some(200));
    receiver.settled().await;
    let waiting: Vec<i64> = world
        .server
        .db
        .column("SELECT COUNT(*) FROM notification_delivery")
        .await;
    assert_eq!((waiting, receiver.deliveries().len()), (vec![0], 7));
}

#[tokio::test]
async fn what_waits_is_delivered_as_soon_as_the_receiver_is_back() {
    let world = world().await;
    let receiver = Receiver::start().await;
    receiver.answers(Some(503));
    hook(&world, "mine", to(&receiver, None, &["first_use"])).await;
    world.exchange(&world.good()).await.token();
    for (attempt, pause) in [(1, 31), (2, 61), (3, 1)] {
        receiver.wait_for(attempt).await;
        world.server.deliveries_noted().await;
        world.server.clock.advance(pause);
    }
    receiver.answers(Some(200));
    let path = "notifications/mine/test";
    let tried = world.server.admin("POST", path, Value::Null).await.json();
    assert_eq!(tried["delivered"], true, "{tried}");
    // The test message and the one that waited, before its own time.
    let all = receiver.wait_for(5).await;
    let id = |at: usize| all[at].header("webhook-id").to_owned();
    assert_eq!((id(4), id(0) != id(3)), (id(0), true));
}

#[tokio::test]
async fn what_was_queued_before_a_restart_is_delivered_after_it() {
    let world = world().await;
    let receiver = Receiver::start().await;
    receiver.answers(Some(500));
    hook(&world, "mine", to(&receiver, None, &["first_use"])).await;
    world.exchange(&world.good()).await.token();
    receiver.wait_for(1).await;
    world.server.deliveries_noted().await;
    let next = world.server.another_node().await;
    drop(world);
    receiver.answers(Some(204));
    next.clock.advance(120);
    let all = receiver.wait_for(2).await;
    assert_eq!(all[0].header("webhook-id"), all[1].header("webhook-id"));
    assert_eq!(receiver.settled().await, 2);
}

#[tokio::test]
async fn of_two_replicas_one_delivers_each_message() {
    let world = world().await;
    let other = world.server.another_node().await;
    let receiver = Receiver::start().await;
    hook(&world, "mine", to(&receiver, None, &["first_use"])).await;
    for number in 0..12 {
        let repository = format!("octo-org/repo-{number}");
        let id = (100 + number).to_string();
        let named = json!({ "repository": repository, "repository_id": id });
        add_rule(&world, &format!("rule-{number}"), named).await;
        let claims = world
            .claims()
            .in_repository(&repository)
            .with("repository_id", id);
        let assertion = world.gh.sign(&claims);
        let node = if number % 2 == 0 {
            &world.server
        } else {
            &other
        };
        node.app.refresh().await.unwrap();
        let form = [("grant_type", JWT_BEARER), ("assertion", &assertion)];
        node.form("/token", &form).await.token();
    }
    let all = receiver.wait_for(12).await;
    // Events are read a second time once none can come before them.
    world.server.clock.advance(600);
    assert_eq!(receiver.settled().await, 12);
    let mut rules: Vec<String> = all
        .iter()
        .map(|one| one.json()["data"]["rule"]["name"].to_string())
        .collect();
    rules.sort_unstable();
    rules.dedup();
    assert_eq!(rules.len(), 12);
}

#[tokio::test]
async fn a_burst_of_refusals_is_told_once_an_hour() {
    let world = world().await;
    let receiver = Receiver::start().await;
    hook(
        &world,
        "mine",
        to(&receiver, Some("joel"), &["refusal_burst"]),
    )
    .await;
    refuse(&world, 9).await;
    world.server.clock.advance(61);
    assert_eq!(receiver.settled().await, 0, "nine are no burst");
    refuse(&world, 3).await;
    world.server.clock.advance(61);
    let first = receiver.wait_for(1).await[0].json();
    assert_eq!(first["type"], "carnet.refusal_burst");
    assert_eq!(first["data"]["reason"], "event_denied");
    assert_eq!(first["data"]["count"], 12);
    assert_eq!(first["data"]["rule"]["name"], "octo-release");
    assert_eq!(
        first["data"]["subject"],
        "repo:octo-org/octo-repo:ref:refs/heads/main"
    );
    refuse(&world, 10).await;
    world.server.clock.advance(61);
    assert_eq!(
        receiver.settled().await,
        1,
        "the same cause within the hour"
    );
    world.server.clock.advance(3600);
    refuse(&world, 10).await;
    world.server.clock.advance(61);
    receiver.wait_for(2).await;
    assert_eq!(receiver.settled().await, 2);
}

#[tokio::test]
async fn a_principal_is_told_its_own_part_alone_and_the_operator_everything() {
    let world = world().await;
    let (joels, eves, operators) = (
        Receiver::start().await,
        Receiver::start().await,
        Receiver::start().await,
    );
    let kinds = ["first_use", "workload_named"];
    hook(&world, "j", to(&joels, Some("joel"), &kinds)).await;
    hook(&world, "o", to(&operators, None, &kinds)).await;
    world
        .server
        .put("principals/eve", json!({ "kind": "user" }))
        .await;
    hook(&world, "e", to(&eves, Some("eve"), &kinds)).await;
    // Somebody else's rule names joel's workload: joel is told so, and not who it is.
    intruder(&world, "eve").await;
    let told = joels.wait_for(1).await[0].clone();
    assert_eq!(told.json()["type"], "carnet.workload_named");
    let data = &told.json()["data"];
    assert_eq!(data["rule"]["name"], "octo-release");
    assert_eq!(
        (&data["of_another_principal"], &data["self_service"]),
        (&json!(true), &json!(true))
    );
    assert!(!String::from_utf8_lossy(&told.body).contains("eve"));
    let all = operators.wait_for(1).await[0].json();
    assert_eq!(all["data"]["new_rule"]["principal"], "eve");
    // A use of joel's rule is no business of eve's.
    world.server.clock.advance(1);
    world.exchange(&world.good()).await.token();
    joels.wait_for(2).await;
    operators.wait_for(2).await;
    assert_eq!(eves.settled().await, 0);
    // Within the hour, no number of further rules tells joel more.
    intruder(&world, "mallory").await;
    assert_eq!(joels.settled().await, 2);
}

#[tokio::test]
async fn the_owner_of_an_actors_rule_is_told_nothing_of_the_workload_that_it_acted_for() {
    let world = world().await;
    with_helpers(&world, 1).await;
    let (lenders, joels) = (Receiver::start().await, Receiver::start().await);
    hook(&world, "l", to(&lenders, Some("owner-0"), &["first_use"])).await;
    hook(&world, "j", to(&joels, Some("joel"), &["first_use"])).await;
    world
        .trade(&world.good(), &acting(&world.gh.sign(&helper(&world, 0))))
        .await
        .token();
    let lender = lenders.wait_for(1).await[0].json()["data"].clone();
    let members: Vec<&String> = lender.as_object().unwrap().keys().collect();
    assert_eq!(members, ["event_id", "at", "rule", "principal"]);
    assert_eq!(lender["rule"]["name"], "helper-0");
    let joel = joels.wait_for(1).await[0].json()["data"].clone();
    assert_eq!(joel["repository"], "octo-org/octo-repo");
}

#[tokio::test]
async fn weak_and_expiring_rules_are_told_once_for_each_date() {
    let world = world().await;
    let receiver = Receiver::start().await;
    let kinds = ["weak_or_expiring_rule"];
    hook(&world, "mine", to(&receiver, Some("joel"), &kinds)).await;
    let mut rule = World::rule_document(json!({}));
    rule["expires_at"] = json!("2027-01-20T00:00:00Z");
    rule["permissions"][0]["packages"] = json!(["*"]);
    world
        .server
        .put("federated-credentials/octo-release", rule)
        .await;
    world.server.clock.advance(601);
    let both = receiver.wait_for(2).await;
    let find = |member: &str| {
        let data = both.iter().map(|one| one.json()["data"].clone());
        data.filter(|data| !data[member].is_null())
            .collect::<Vec<_>>()
    };
    let (weak, ending) = (find("warnings"), find("expires_at"));
    assert_eq!((weak.len(), ending.len()), (1, 1), "{both:?}");
    assert!(
        weak[0]["warnings"].to_string().contains("any_package"),
        "{weak:?}"
    );
    assert_eq!(ending[0]["expires_at"], "2027-01-20T00:00:00Z");
    world.server.clock.advance(86_400);
    assert_eq!(receiver.settled().await, 2);
}

#[tokio::test]
async fn keys_that_cannot_be_fetched_are_told_to_the_operator_alone() {
    let world = world().await;
    let receiver = Receiver::start().await;
    hook(&world, "ops", to(&receiver, None, &["key_alarm"])).await;
    let document = json!({ "profile": "github-actions", "issuer": "https://gone.test" });
    world
        .server
        .put("trusted-issuers/gone?validate=offline", document)
        .await;
    let gone = FakeIssuer::new("https://gone.test", TestKey::rsa(1));
    let assertion = gone.sign(&world.claims().with("iss", "https://gone.test"));
    assert_eq!(world.exchange(&assertion).await.status, 503);
    world.server.clock.advance(61);
    let alarm = receiver.wait_for(1).await[0].json();
    assert_eq!(alarm["type"], "carnet.key_alarm");
    assert_eq!(
        (&alarm["data"]["problem"], &alarm["data"]["trusted_issuer"]),
        (&json!("keys_unavailable"), &json!("gone"))
    );
    // Nobody asks for the keys any more: nothing more is told, until the signing key is half a year old.
    world.server.clock.advance(7200);
    assert_eq!(receiver.settled().await, 1);
    world.server.clock.advance(180 * 86_400);
    let old = receiver.wait_for(2).await[1].json();
    assert_eq!(old["data"]["problem"], "signing_key_old");
    let refused = world
        .server
        .admin(
            "PUT",
            "notifications/x",
            to(&receiver, Some("joel"), &["key_alarm"]),
        )
        .await;
    assert_eq!(refused.status, 422, "{}", refused.text());
}

#[tokio::test]
async fn a_receiver_that_never_answers_costs_no_token_anything() {
    let world = world().await;
    let receiver = Receiver::start().await;
    receiver.answers(None);
    for number in 0..10 {
        let document = to(&receiver, Some("joel"), &["first_use", "refusal_burst"]);
        hook(&world, &format!("dead-{number}"), document).await;
    }
    world.exchange(&world.good()).await.token();
    receiver.wait_for(2).await;
    let began = Instant::now();
    for _ in 0..20 {
        world.exchange(&world.good()).await.token();
    }
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(
        receiver.deliveries().len(),
        2,
        "one principal's webhooks take two places at most"
    );
}

#[tokio::test]
async fn webhooks_lead_to_no_private_address() {
    let world = World::new().await;
    let saved = async |scope: &str, document: Value| {
        world
            .server
            .admin_as(scope, "PUT", "notifications/x", document)
            .await
    };
    for url in [
        "https://127.0.0.1/",
        "https://10.0.0.1/hook",
        "https://[::1]/",
        "https://169.254.169.254/latest",
        "https://2130706433/",
        "http://hooks.test/",
        "http://127.0.0.1:8080/",
        "https://user:word@hooks.test/",
        "https://hooks.test/#part",
        "ftp://hooks.test/",
        "hooks.test",
    ] {
        let answer = saved("admin", json!({ "url": url })).await;
        assert_eq!(answer.status, 422, "{url}: {}", answer.text());
        assert_eq!(answer.json()["errors"][0]["pointer"], "/url", "{url}");
    }
    // A name is only resolved when something is sent, and does not tell whether it exists.
    for url in ["https://localhost/", "https://no-such-name.invalid/"] {
        let made = saved("admin", json!({ "url": url })).await;
        assert!(matches!(made.status, 200 | 201), "{}", made.text());
        let tried = world
            .server
            .admin("POST", "notifications/x/test", Value::Null)
            .await
            .json();
        let expected = "the name leads to no public address";
        assert_eq!(
            tried,
            json!({ "delivered": false, "status": null, "error": expected })
        );
        assert_eq!(shown(&world, "x").await["last_error"], expected);
    }
    // Private networks are the operator's to open.
    let private =
        json!({ "url": "https://10.0.0.1/", "principal": "joel", "allow_private": ["10.0.0.0/8"] });
    let refused = saved("admin:credentials:joel", private.clone()).await;
    assert_eq!(refused.json()["errors"][0]["pointer"], "/allow_private");
    assert_eq!(saved("admin", private.clone()).await.status, 201);
    let mut moved = private.clone();
    moved["url"] = json!("https://10.0.0.2/");
    assert_eq!(saved("admin:credentials:joel", moved).await.status, 422);
    let mut disabled = private;
    disabled["enabled"] = json!(false);
    assert_eq!(saved("admin:credentials:joel", disabled).await.status, 200);
}

#[tokio::test]
async fn a_secret_is_shown_once_and_during_an_overlap_two_sign() {
    let world = world().await;
    let receiver = Receiver::start().await;
    let document = to(&receiver, Some("joel"), &["first_use"]);
    let tried = world
        .server
        .admin("PUT", "notifications/mine?dry_run=true", document.clone())
        .await
        .json();
    assert!(tried["stored"].get("secret").is_none(), "{tried}");
    let old = hook(&world, "mine", document.clone()).await;
    let again = world.server.put("notifications/mine", document).await;
    assert!(again.get("secret").is_none(), "{again}");
    let rotate = async |body: Value| {
        let path = "notifications/mine/rotate-secret";
        let answer = world.server.admin("POST", path, body).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["secret"].as_str().unwrap().to_owned()
    };
    let test = async || {
        let count = receiver.deliveries().len();
        let path = "notifications/mine/test";
        let tried = world.server.admin("POST", path, Value::Null).await.json();
        assert_eq!(
            tried,
            json!({ "delivered": true, "status": 204, "error": null })
        );
        receiver.wait_for(count + 1).await.pop().unwrap()
    };
    let signed_by = |delivery: &Delivery, secrets: &[&String]| {
        let expected: Vec<String> = secrets
            .iter()
            .map(|secret| delivery.signature_by(secret))
            .collect();
        assert_eq!(delivery.signatures(), expected);
    };
    let one = test().await;
    assert_eq!(one.json()["type"], "carnet.test");
    signed_by(&one, &[&old]);
    let new = rotate(json!({ "overlap_seconds": 3600 })).await;
    assert_ne!(old, new);
    signed_by(&test().await, &[&new, &old]);
    world.server.clock.advance(3601);
    signed_by(&test().await, &[&new]);
    let newest = rotate(json!({ "overlap_seconds": 0 })).await;
    signed_by(&test().await, &[&newest]);
    // Nothing that is stored, exported or recorded holds one of them.
    let read = async |path: &str| world.server.admin("GET", path, Value::Null).await.text();
    let mut texts = vec![
        read("notifications/mine").await,
        read("notifications?view=export").await,
        read("audit-events?limit=500").await,
    ];
    for sql in [
        "SELECT state FROM notification",
        "SELECT document FROM notification",
        "SELECT detail FROM audit_event",
    ] {
        texts.extend(world.server.db.column::<String>(sql).await);
    }
    for secret in [&old, &new, &newest] {
        let key = secret.strip_prefix("whsec_").unwrap();
        assert!(texts.iter().all(|text| !text.contains(key)));
    }
}

#[tokio::test]
async fn notifications_belong_to_their_principal_and_the_operators_to_administrators() {
    let world = world().await;
    world
        .server
        .put("principals/eve", json!({ "kind": "user" }))
        .await;
    let url = "https://hooks.test/";
    let of = |principal: Option<&str>| json!({ "url": url, "principal": principal });
    let ask = async |scope: &str, method: &str, path: &str, body: Value| {
        world
            .server
            .admin_as(scope, method, &format!("notifications{path}"), body)
            .await
            .status
    };
    let (joel, eve) = ("admin:credentials:joel", "admin:credentials:eve");
    assert_eq!(ask("admin", "PUT", "/ci", of(None)).await, 201);
    // Names of one owner are free for another.
    assert_eq!(ask(joel, "PUT", "/ci", of(Some("joel"))).await, 201);
    assert_eq!(ask(eve, "PUT", "/ci", of(Some("eve"))).await, 201);
    assert_eq!(ask(joel, "PUT", "/other", of(Some("eve"))).await, 403);
    for scope in [joel, "admin:credentials"] {
        assert_eq!(ask(scope, "PUT", "/other", of(None)).await, 403, "{scope}");
    }
    let seen = async |scope: &str, query: &str| {
        let path = format!("notifications{query}");
        let page = world
            .server
            .admin_as(scope, "GET", &path, Value::Null)
            .await;
        let items = page.json()["items"].as_array().unwrap().clone();
        items
            .iter()
            .map(|one| one["principal"].as_str().unwrap_or("-").to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(seen("admin", "").await, ["-", "eve", "joel"]);
    assert_eq!(seen("admin:read", "?principal=eve").await, ["eve"]);
    assert_eq!(seen("admin:credentials", "").await, ["eve", "joel"]);
    assert_eq!(seen(joel, "").await, ["joel"]);
    // A bare name means the one that the token may see; the operator's comes first.
    assert_eq!(shown(&world, "ci").await["principal"], Value::Null);
    assert_eq!(shown(&world, "eve:ci").await["principal"], "eve");
    for path in ["/eve:ci", "/eve:ci/rotate-secret", "/eve:ci/test"] {
        let method = if path.ends_with("ci") {
            "DELETE"
        } else {
            "POST"
        };
        assert_eq!(ask(joel, method, path, Value::Null).await, 404, "{path}");
    }
    // Reading everything does not allow to change the operator's.
    let id = shown(&world, "ci").await["id"].as_str().unwrap().to_owned();
    for scope in [
        "admin:read admin:credentials",
        "admin:read admin:credentials:joel",
    ] {
        let status = ask(scope, "DELETE", &format!("/{id}"), Value::Null).await;
        assert!(matches!(status, 403 | 404), "{scope}: {status}");
        let status = ask(
            scope,
            "PATCH",
            &format!("/{id}"),
            json!({ "principal": "joel" }),
        )
        .await;
        assert!(matches!(status, 403 | 404), "{scope}: {status}");
    }
    assert_eq!(
        ask(joel, "PATCH", "/ci", json!({ "principal": null })).await,
        403
    );
    // Ten for each owner.
    for number in 0..9 {
        let status = ask(joel, "PUT", &format!("/more-{number}"), of(Some("joel"))).await;
        assert_eq!(status, 201, "{number}");
    }
    assert_eq!(ask(joel, "PUT", "/eleventh", of(Some("joel"))).await, 422);
    let removed = world
        .server
        .admin("DELETE", "principals/eve", Value::Null)
        .await;
    assert_eq!(
        (removed.status, removed.json()["code"].as_str()),
        (409, Some("in_use"))
    );
    assert_eq!(ask(eve, "DELETE", "/ci", Value::Null).await, 204);
    let removed = world
        .server
        .admin("DELETE", "principals/eve", Value::Null)
        .await;
    assert_eq!(removed.status, 204, "{}", removed.text());
}

#[tokio::test]
async fn apply_makes_notifications_keeps_their_secrets_in_a_file_and_export_gives_the_rest_back() {
    let db = TestDb::new().await;
    let settings = [
        ("CARNET_DATABASE__URL", db.url()),
        ("CARNET_DATA_DIR", db.folder().to_str().unwrap()),
        ("CARNET_ISSUER", "https://as.test"),
    ];
    first_start(db.folder(), &settings);
    let run = |arguments: &[&str]| {
        let mut command = carnet();
        command
            .current_dir(db.folder())
            .args(arguments)
            .envs(settings);
        finished(command.output().unwrap())
    };
    let text = "[principals.joel]\nkind = \"user\"\n\n[notifications.ops]\nurl = \"https://hooks.test/ops\"\n\n\
                [notifications.joels]\nurl = \"https://hooks.test/joel\"\nprincipal = \"joel\"\nkinds = [\"first_use\"]\n";
    std::fs::write(db.folder().join("objects.toml"), text).unwrap();
    // The log of a job is no place for secrets.
    let refused = run(&["apply", "-f", "objects.toml"]);
    assert!(
        refused.code == 1 && refused.stderr.contains("--secrets-file"),
        "{refused:?}"
    );
    let applied = run(&["apply", "-f", "objects.toml", "--secrets-file", "new.json"]);
    assert!(
        applied.code == 0 && !applied.stdout.contains("whsec_"),
        "{applied:?}"
    );
    let secrets = std::fs::read_to_string(db.folder().join("new.json")).unwrap();
    let secrets: Value = serde_json::from_str(&secrets).unwrap();
    for name in ["notification:ops", "notification:joels"] {
        let secret = secrets[name].as_str().unwrap();
        assert!(secret.starts_with("whsec_"), "{name}");
    }
    let exported = run(&["export"]);
    assert!(
        exported.stdout.contains("[notifications.joels]") && !exported.stdout.contains("whsec_"),
        "{}",
        exported.stdout
    );
    std::fs::write(db.folder().join("exported.toml"), exported.stdout).unwrap();
    let again = run(&["apply", "-f", "exported.toml", "--dry-run", "--prune"]);
    assert_eq!(again.code, 0, "{again:?}");
}

#[tokio::test]
async fn the_library_of_the_convention_verifies_a_delivery_and_refuses_a_changed_one() {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64;
    let settings = [("CARNET_INSECURE__ALLOW_HTTP_LOOPBACK", "true")];
    let world = World::on(crate::support::TestServer::at(now, &settings).await).await;
    let receiver = Receiver::start().await;
    let old = hook(&world, "mine", to(&receiver, Some("joel"), &["first_use"])).await;
    let path = "notifications/mine/rotate-secret";
    let rotated = world.server.admin("POST", path, Value::Null).await.json();
    world.exchange_claims(&github(now)).await.token();
    let delivery = receiver.wait_for(1).await[0].clone();
    let header = |name: &str| (name.to_owned(), json!(delivery.header(name)));
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: serde_json::Map<String, Value> = names.into_iter().map(header).collect();
    let stranger = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let input = json!({
        "headers": headers, "body": String::from_utf8(delivery.body.to_vec()).unwrap(),
        "secrets": [rotated["secret"], old, stranger],
    });
    let nowhere = world.server.db.folder().join("none.pem");
    let Some(seen) = Packages::Npm.run("standardwebhooks/receiver.mjs", &nowhere, &input) else {
        return;
    };
    for at in 0..2 {
        assert_eq!(seen["verified"][at]["payload"], delivery.json(), "{seen}");
    }
    let error = json!("WebhookVerificationError");
    assert_eq!(seen["verified"][2]["error"], error, "{seen}");
    assert_eq!(seen["changed"]["error"], error, "{seen}");
}
