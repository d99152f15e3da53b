//! What the messages to webhooks hold: the members that the guide lists for each kind and owner, nothing of other owners, and no assertion,
//! token or secret.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use carnet::documents::NotificationKind;
use serde_json::{Value, json};

use crate::support::{Claims, Delivery, FakeIssuer, Receiver, TestKey, World};

/// Owners of packages, each with a workload, rules and a webhook.
const OWNERS: usize = 4;
/// A claim of every workload that no message may hold.
const HIDDEN: &str = "hidden-from-everybody";
/// What each owner of a package has to be told: the type of a message, and a member that it has.
const OF_OWNER: [(&str, &str); 5] = [
    ("carnet.first_use", "repository"),
    ("carnet.refusal_burst", "count"),
    ("carnet.weak_or_expiring_rule", "warnings"),
    ("carnet.weak_or_expiring_rule", "expires_at"),
    ("carnet.workload_named", "workload"),
];

/// The members of `data` that the guide lists for a kind: for every owner, and for the operator beside them.
fn listed() -> BTreeMap<String, (BTreeSet<String>, BTreeSet<String>)> {
    let guide = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/docs/src/guides/notifications.md"
    );
    let guide = std::fs::read_to_string(guide).unwrap();
    let table = guide
        .split("members for the operator alone |")
        .nth(1)
        .and_then(|rest| rest.split("\n\n").next())
        .unwrap();
    let members = |cell: &str| -> BTreeSet<String> {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    let rows = table.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [kind, _, everybody, operator] = cells.try_into().unwrap();
        let kind = kind.trim_matches('`').to_owned();
        (kind, (members(everybody), members(operator)))
    })
    .collect()
}

/// The workload of an owner.
fn workload(world: &World, owner: usize) -> Claims {
    world
        .claims()
        .in_repository(&format!("octo-org/repo-{owner}"))
        .with("repository_id", (100 + owner).to_string())
        .with("actor", HIDDEN)
        .with("workflow", HIDDEN)
}

/// A rule for the workload of an owner.
fn rule(owner: usize, principal: &str, packages: &str) -> Value {
    let mut rule = World::rule_document(json!({
        "repository": format!("octo-org/repo-{owner}"), "repository_id": (100 + owner).to_string(),
    }));
    rule["principal"] = json!(principal);
    rule["permissions"][0]["packages"] = json!([packages]);
    rule
}

/// Makes an owner with its webhook and its rule, and lets everything happen to it that it is told of. Adds what no message may hold.
async fn live(world: &World, owner: usize, secrets: &mut Vec<String>) -> Receiver {
    let principal = format!("owner-{owner}");
    let put = async |path: String, document: Value| world.server.put(&path, document).await;
    put(format!("principals/{principal}"), json!({ "kind": "user" })).await;
    let receiver = Receiver::start().await;
    // All of them have the same name.
    let hook = json!({ "url": receiver.url, "principal": principal });
    let saved = put("notifications/mine".into(), hook).await;
    secrets.push(saved["secret"].as_str().unwrap().to_owned());
    world.server.clock.advance(1);
    let name = format!("federated-credentials/rule-{owner}");
    put(name, rule(owner, &principal, "widgets")).await;
    let assertion = world.gh.sign(&workload(world, owner));
    secrets.push(assertion.rsplit('.').next().unwrap().to_owned());
    secrets.push(world.exchange(&assertion).await.token());
    for _ in 0..10 {
        let refused = workload(world, owner).with("event_name", "pull_request_target");
        assert_eq!(world.exchange_claims(&refused).await.status, 400);
    }
    let mut weak = rule(owner, &principal, "*");
    weak["expires_at"] = json!("2027-01-20T00:00:00Z");
    put(format!("federated-credentials/weak-{owner}"), weak).await;
    // Somebody who has no webhook names the owner's workload.
    let stranger = format!("stranger-{owner}");
    put(format!("principals/{stranger}"), json!({ "kind": "user" })).await;
    let mut foreign = rule(owner, &stranger, "widgets");
    foreign["vouched"] = json!(false);
    put(format!("federated-credentials/{stranger}-rule"), foreign).await;
    receiver
}

/// Waits until each of these was told, and returns all messages.
async fn told(receiver: &Receiver, wanted: &[(&str, &str)]) -> Vec<Delivery> {
    let began = Instant::now();
    loop {
        let all = receiver.deliveries();
        let is_told = |(kind, member): &(&str, &str)| {
            let mut messages = all.iter().map(Delivery::json);
            messages.any(|one| one["type"] == *kind && !one["data"][member].is_null())
        };
        let missing: Vec<_> = wanted.iter().filter(|one| !is_told(one)).collect();
        if missing.is_empty() {
            return all;
        }
        assert!(
            began.elapsed() < Duration::from_mins(1),
            "{missing:?} of {:?}",
            receiver.types()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Checks that a message has listed members alone.
fn check_members(message: &Value, is_operators: bool) {
    let listed = listed();
    let kind = message["type"]
        .as_str()
        .unwrap()
        .strip_prefix("carnet.")
        .unwrap();
    let (everybody, operator) = &listed[kind];
    for member in message["data"].as_object().unwrap().keys() {
        assert!(
            everybody.contains(member) || (is_operators && operator.contains(member)),
            "{member} is not in the guide: {message}"
        );
    }
}

#[test]
fn the_guide_has_every_kind_of_notification() {
    let kinds: Vec<String> = listed().into_keys().collect();
    let mut all = NotificationKind::ALL.map(NotificationKind::as_str);
    all.sort_unstable();
    assert_eq!(kinds, all);
}

#[tokio::test]
async fn every_owner_is_told_of_its_own_rules_alone_and_no_message_holds_a_secret() {
    let world = World::with(&[("CARNET_INSECURE__ALLOW_HTTP_LOOPBACK", "true")]).await;
    let operator = Receiver::start().await;
    let saved = world
        .server
        .put("notifications/mine", json!({ "url": operator.url }))
        .await;
    let mut secrets = vec![saved["secret"].as_str().unwrap().to_owned()];
    let mut owners = Vec::new();
    for owner in 0..OWNERS {
        owners.push(live(&world, owner, &mut secrets).await);
    }
    let gone = json!({ "profile": "github-actions", "issuer": "https://gone.test" });
    world
        .server
        .put("trusted-issuers/gone?validate=offline", gone)
        .await;
    let assertion = FakeIssuer::new("https://gone.test", TestKey::rsa(1))
        .sign(&world.claims().with("iss", "https://gone.test"));
    assert_eq!(world.exchange(&assertion).await.status, 503);
    world.server.app.flush_audit().await;
    // Events of one moment have no order among each other, so some are told only when they are read again.
    world.server.clock.advance(601);
    let mut everything = OF_OWNER.to_vec();
    everything.push(("carnet.key_alarm", "trusted_issuer"));
    everything.push(("carnet.workload_named", "new_rule"));
    let mut texts = Vec::new();
    for message in told(&operator, &everything).await {
        check_members(&message.json(), true);
        texts.push(message);
    }
    for (owner, receiver) in owners.iter().enumerate() {
        for message in told(receiver, &OF_OWNER).await {
            let (body, text) = (
                message.json(),
                String::from_utf8_lossy(&message.body).into_owned(),
            );
            check_members(&body, false);
            assert_eq!(
                body["data"]["principal"],
                format!("owner-{owner}"),
                "{text}"
            );
            let others = (0..OWNERS).filter(|other| *other != owner);
            let of_others = others.flat_map(|other| {
                ["owner", "rule", "weak", "repo"].map(|what| format!("{what}-{other}"))
            });
            for foreign in of_others.chain(["stranger".into(), "joel".into(), "octo-repo".into()]) {
                assert!(
                    !text.contains(&foreign),
                    "{foreign} in a message to owner-{owner}: {text}"
                );
            }
            texts.push(message);
        }
    }
    for message in texts {
        let text = String::from_utf8_lossy(&message.body).into_owned();
        for secret in secrets
            .iter()
            .map(String::as_str)
            .chain([HIDDEN, "eyJ", "whsec_"])
        {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }
}

#[tokio::test]
async fn what_a_replica_that_died_had_claimed_is_taken_over_when_its_claim_ends() {
    let world = World::with(&[("CARNET_INSECURE__ALLOW_HTTP_LOOPBACK", "true")]).await;
    let receiver = Receiver::start().await;
    let hook = json!({ "url": receiver.url, "kinds": ["first_use"] });
    world.server.put("notifications/mine", hook).await;
    let millis = |seconds: i64| (world.server.now() + seconds) * 1000;
    let (sending, looking) = (millis(60), millis(30));
    let db = &world.server.db;
    db.execute(&format!("UPDATE notification SET busy_until = {sending}"))
        .await;
    db.execute(&format!(
        "UPDATE notification_watermark SET holder = 'gone', lease_until = {looking}"
    ))
    .await;
    world.server.clock.advance(1);
    world.exchange(&world.good()).await.token();
    let waiting = async || {
        let sql = "SELECT COUNT(*) FROM notification_delivery";
        db.column::<i64>(sql).await[0]
    };
    assert_eq!((receiver.settled().await, waiting().await), (0, 0));
    world.server.clock.advance(30);
    assert_eq!((receiver.settled().await, waiting().await), (0, 1));
    world.server.clock.advance(30);
    receiver.wait_for(1).await;
    assert_eq!((receiver.settled().await, waiting().await), (1, 0));
}
