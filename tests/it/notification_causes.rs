//! Which events webhooks are told of, as tables: each row is something that happens to a rule of its own, and whether its owner is told. And
//! which documents are refused.

use std::collections::BTreeSet;

use carnet::clock::Timestamp;
use serde_json::{Value, json};

use crate::support::{Receiver, World};

/// What is refused in a row, how often for each cause, and whether it is a burst.
type RefusalsRow = (&'static str, &'static [(&'static str, usize)], bool);
/// What a row does with the workload of a rule of joel's, and whether joel is told that it is named.
type NamingRow = (&'static str, bool);

const NAMINGS: [NamingRow; 11] = [
    ("another principal's self-service rule", true),
    ("another principal's vouched rule", true),
    ("a vouched rule of the owner", false),
    ("a self-service rule of the owner", true),
    ("a disabled rule", false),
    ("a disabled rule that is enabled", true),
    ("a rule for another workload", false),
    ("a dry run", false),
    ("an older rule whose permissions change", false),
    ("an older rule whose match changes to the workload", true),
    (
        "a self-service rule is named, which nobody vouched for",
        false,
    ),
];

async fn world() -> World {
    World::with(&[("CARNET_INSECURE__ALLOW_HTTP_LOOPBACK", "true")]).await
}

async fn hook(world: &World, kind: &str) -> Receiver {
    let receiver = Receiver::start().await;
    let document = json!({ "url": receiver.url, "principal": "joel", "kinds": [kind] });
    world.server.put("notifications/mine", document).await;
    receiver
}

/// A rule for the workload with this number.
fn rule(number: usize, principal: &str, is_vouched: bool) -> Value {
    let mut rule = World::rule_document(json!({
        "repository": format!("octo-org/repo-{number}"), "repository_id": (100 + number).to_string(),
    }));
    rule["principal"] = json!(principal);
    rule["vouched"] = json!(is_vouched);
    rule
}

/// What happens in a row of [`NAMINGS`].
async fn name(world: &World, number: usize, what: &str) {
    let path = format!("federated-credentials/new-{number}");
    let put = async |query: &str, document: Value| {
        let path = format!("{path}{query}");
        let answer = world.server.admin("PUT", &path, document).await;
        assert!(
            matches!(answer.status, 200 | 201),
            "{what}: {}",
            answer.text()
        );
    };
    let (own, foreign) = (rule(number, "joel", true), rule(number, "eve", true));
    let with = |mut document: Value, member: &str, value: Value| {
        document[member] = value;
        document
    };
    match what {
        "another principal's self-service rule"
        | "a self-service rule is named, which nobody vouched for" => {
            put("", rule(number, "eve", false)).await;
        }
        "another principal's vouched rule"
        | "an older rule whose match changes to the workload" => put("", foreign).await,
        "a vouched rule of the owner" => put("", own).await,
        "a self-service rule of the owner" => put("", rule(number, "joel", false)).await,
        "a disabled rule" => put("", with(foreign, "enabled", json!(false))).await,
        "a disabled rule that is enabled" => {
            put("", with(foreign.clone(), "enabled", json!(false))).await;
            world.server.clock.advance(1);
            put("", foreign).await;
        }
        "a rule for another workload" => put("", rule(number + 500, "eve", true)).await,
        "a dry run" => put("?dry_run=true", foreign).await,
        "an older rule whose permissions change" => {
            let mut changed = foreign;
            changed["permissions"][0]["packages"] = json!(["gadgets"]);
            put("", changed).await;
        }
        _ => panic!("{what}"),
    }
}

/// The names of the rules that messages are about.
fn rules_told(receiver: &Receiver) -> BTreeSet<String> {
    let name = |message: Value| message["data"]["rule"]["name"].as_str().unwrap().to_owned();
    let all = receiver.deliveries();
    all.iter().map(|one| name(one.json())).collect()
}

#[tokio::test]
async fn owners_are_told_of_new_rules_that_name_their_workload_and_of_no_other_change() {
    let world = world().await;
    world
        .server
        .put("principals/eve", json!({ "kind": "user" }))
        .await;
    for (number, (what, _)) in NAMINGS.iter().enumerate() {
        let older = match *what {
            "an older rule whose permissions change" => Some(rule(number, "eve", true)),
            "an older rule whose match changes to the workload" => {
                Some(rule(number + 500, "eve", true))
            }
            _ => None,
        };
        if let Some(older) = older {
            let path = format!("federated-credentials/new-{number}");
            world.server.put(&path, older).await;
        }
        let is_vouched = *what != "a self-service rule is named, which nobody vouched for";
        let path = format!("federated-credentials/rule-{number}");
        world
            .server
            .put(&path, rule(number, "joel", is_vouched))
            .await;
    }
    world.server.clock.advance(1);
    let receiver = hook(&world, "workload_named").await;
    world.server.clock.advance(1);
    for (number, (what, _)) in NAMINGS.iter().enumerate() {
        name(&world, number, what).await;
    }
    let wanted: BTreeSet<String> = NAMINGS
        .iter()
        .enumerate()
        .filter(|(_, (_, is_told))| *is_told)
        .map(|(number, _)| format!("rule-{number}"))
        .collect();
    receiver.settled().await;
    // Events of one moment have no order among each other, so some are told only when they are read again. That tells nothing twice.
    world.server.clock.advance(600);
    receiver.wait_for(wanted.len()).await;
    receiver.settled().await;
    assert_eq!(rules_told(&receiver), wanted);
    assert_eq!(receiver.deliveries().len(), wanted.len());
}

#[tokio::test]
async fn owners_are_told_of_dates_within_seven_days_of_rules_that_count() {
    const DAY: i64 = 86_400;
    let rows: [(&str, i64, bool, bool); 8] = [
        ("expires_at", 6 * DAY, true, true),
        ("expires_at", 8 * DAY, true, false),
        ("expires_at", 6 * DAY, false, false),
        ("expires_at", 400 * DAY, true, false),
        ("review_at", 6 * DAY, true, true),
        ("review_at", 8 * DAY, true, false),
        ("review_at", -DAY / 2, true, true),
        ("review_at", -2 * DAY, true, false),
    ];
    let world = world().await;
    let now = world.server.now();
    for (number, (member, after, is_enabled, _)) in rows.iter().enumerate() {
        let mut document = rule(number, "joel", true);
        document[*member] = json!(Timestamp::from_seconds(now + after).to_string());
        document["enabled"] = json!(is_enabled);
        let path = format!("federated-credentials/rule-{number}");
        world.server.put(&path, document).await;
    }
    world.server.clock.advance(1);
    let receiver = hook(&world, "weak_or_expiring_rule").await;
    world.server.clock.advance(601);
    let of = |rows: &[usize]| -> BTreeSet<String> {
        rows.iter().map(|number| format!("rule-{number}")).collect()
    };
    let told: Vec<usize> = (0..rows.len()).filter(|row| rows[*row].3).collect();
    receiver.wait_for(told.len()).await;
    receiver.settled().await;
    assert_eq!(rules_told(&receiver), of(&told));
    for message in receiver.deliveries() {
        let data = message.json()["data"].clone();
        let number: usize = data["rule"]["name"].as_str().unwrap()[5..].parse().unwrap();
        let (member, after, ..) = rows[number];
        let date = Timestamp::from_seconds(now + after).to_string();
        assert_eq!(data[member], json!(date), "{data}");
    }
    // Two days later, those of eight days are near as well, and each is told of once.
    world.server.clock.advance(2 * DAY);
    receiver.wait_for(told.len() + 2).await;
    world.server.clock.advance(3600);
    assert_eq!(receiver.settled().await, told.len() + 2);
    assert_eq!(rules_told(&receiver), of(&[0, 1, 4, 5, 6]));
}

#[tokio::test]
async fn ten_equal_refusals_are_a_burst_and_no_others() {
    let world = world().await;
    let receiver = hook(&world, "refusal_burst").await;
    let rows: [RefusalsRow; 4] = [
        ("ten equal ones", &[("event_name", 10)], true),
        ("nine equal ones", &[("event_name", 9)], false),
        (
            "ten for two reasons",
            &[("event_name", 5), ("workflow", 5)],
            false,
        ),
        (
            "ten of a workload that no rule names",
            &[("repository", 10)],
            false,
        ),
    ];
    for (number, (what, refusals, _)) in rows.iter().enumerate() {
        let path = format!("federated-credentials/rule-{number}");
        world.server.put(&path, rule(number, "joel", true)).await;
        for (kind, count) in *refusals {
            for _ in 0..*count {
                let claims = world
                    .claims()
                    .in_repository(&format!("octo-org/repo-{number}"))
                    .with("repository_id", (100 + number).to_string());
                let claims = match *kind {
                    "event_name" => claims.with("event_name", "pull_request_target"),
                    "workflow" => {
                        let other = format!(
                            "octo-org/repo-{number}/.github/workflows/other.yml@refs/heads/main"
                        );
                        claims
                            .with("workflow_ref", other.clone())
                            .with("job_workflow_ref", other)
                    }
                    _ => claims
                        .in_repository("stranger/repo")
                        .with("repository_id", "9999")
                        .with("repository_owner_id", "9998"),
                };
                assert_eq!(world.exchange_claims(&claims).await.status, 400, "{what}");
            }
        }
    }
    world.server.app.flush_audit().await;
    world.server.clock.advance(61);
    receiver.wait_for(1).await;
    receiver.settled().await;
    let wanted: BTreeSet<String> = (0..rows.len())
        .filter(|row| rows[*row].2)
        .map(|row| format!("rule-{row}"))
        .collect();
    assert_eq!(rules_told(&receiver), wanted);
    assert_eq!(receiver.deliveries().len(), wanted.len());
}

#[tokio::test]
async fn mistakes_in_a_notification_are_told_where_they_are() {
    let url = "https://hooks.test/";
    let rows = [
        (json!({}), "/url", "must"),
        (
            json!({ "url": format!("{url}{}", "x".repeat(2048)) }),
            "/url",
            "2048 bytes",
        ),
        (
            json!({ "url": "hooks.test" }),
            "/url",
            "must be an https URL",
        ),
        (
            json!({ "url": url, "kinds": [] }),
            "/kinds",
            "at least one of first_use",
        ),
        (
            json!({ "url": url, "kinds": ["first-use"] }),
            "/kinds",
            "there is no kind first-use",
        ),
        (
            json!({ "url": url, "kinds": ["first_use", "first_use"] }),
            "/kinds",
            "twice",
        ),
        (
            json!({ "url": url, "kinds": ["key_alarm"], "principal": "joel" }),
            "/kinds",
            "must not hold key_alarm for a principal",
        ),
        (
            json!({ "url": url, "principal": "nobody" }),
            "/principal",
            "no principal nobody",
        ),
        (
            json!({ "url": url, "ca_pem": "no certificate" }),
            "/ca_pem",
            "",
        ),
        (
            json!({ "url": url, "allow_private": ["10.0.0.0/8/8"] }),
            "/allow_private",
            "",
        ),
        (json!({ "url": url, "enabled": "yes" }), "/enabled", "must"),
        (
            json!({ "url": url, "events": ["first_use"] }),
            "/events",
            "",
        ),
    ];
    let world = World::new().await;
    for (document, pointer, text) in rows {
        let answer = world
            .server
            .admin("PUT", "notifications/x", document.clone())
            .await;
        assert_eq!(answer.status, 422, "{document}: {}", answer.text());
        let error = answer.json()["errors"][0].clone();
        let found = error["pointer"].as_str().unwrap();
        assert!(found.starts_with(pointer), "{document}: {error}");
        assert!(
            error["detail"].as_str().unwrap().contains(text),
            "{document}: {error}"
        );
    }
}
