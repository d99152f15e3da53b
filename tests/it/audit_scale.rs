//! How long searches among millions of audit events take. Not part of the ordinary tests, because filling the database
//! takes minutes and gigabytes of disk.

use std::time::{Duration, Instant};

use carnet::audit::{AssertionRef, AuditEvent, AuditPart, Outcome};
use carnet::clock::Timestamp;
use carnet::ids::CredentialId;
use carnet::reason::Reason;
use sea_orm::{ConnectionTrait as _, Database, DbBackend};
use serde_json::{Value, json};

use crate::people_sessions::browser::People;
use crate::support::{TestServer, World};

/// Different events; all others are copies of these at other times.
const TEMPLATES: i64 = 20_000;
/// The copies are spread over the time for which events are kept.
const KEPT_MILLIS: i64 = 400 * 86_400 * 1_000;
/// How often each search is repeated.
const REPEATED: usize = 21;
/// What a search by an index may take.
const INDEXED: Duration = Duration::from_millis(50);
/// What a page of an owner may take, 99 times in 100, if the program was built for use.
const OWNERS_PAGE: Duration = Duration::from_millis(20);
/// Tokens between two looks of a page: twenty open pages look four times a second in all, and the server makes some
/// 2,400 tokens in that.
const SLICE: usize = 608;
const SLICES: usize = 20;
/// Requests at the same time.
const AT_ONCE: usize = 32;
/// As many rules as a principal may have about one trusted issuer.
const RULES_OF_ONE: usize = 1_000;
const RULES_OF_OTHERS: usize = 50;

/// One of the events of `TEMPLATES` workloads and a busy one.
fn template(n: i64, at: Timestamp) -> AuditEvent {
    let is_busy = n % 10 == 0;
    let repository = if is_busy {
        "busy/monorepo".to_owned()
    } else {
        format!("org-{}/repo-{}", n % 400, n % 8_000)
    };
    let subject = format!("repo:{repository}:ref:refs/heads/main");
    let credential = CredentialId(uuid::Uuid::from_u128(u128::try_from(n % 8_000).unwrap()));
    let owner = if is_busy {
        "pr_busy".to_owned()
    } else {
        format!("pr_{}", n % 2_000)
    };
    let reasons = [
        Reason::WorkflowMismatch,
        Reason::EnvMismatch,
        Reason::RefMismatch,
    ];
    let reason = match n {
        77 => Some(Reason::NotYetValid),
        _ if n % 10 == 3 => usize::try_from(n / 10 % 3).ok().map(|at| reasons[at]),
        _ => None,
    };
    let outcome = match reason {
        Some(_) => Outcome::Refused,
        None if n % 1_000 == 1 => Outcome::Updated,
        None => Outcome::Issued,
    };
    let part = AuditPart {
        principal_id: owner.clone(),
        credential: Some(credential),
        revision: Some(1),
        sees_claims: true,
    };
    let client_id = match n % 100 {
        5 => format!("bot-{}", n % 1_000),
        _ => format!("federated:{credential}"),
    };
    let host = u32::try_from(n % 5_000).unwrap();
    let address = std::net::Ipv4Addr::from_bits(0x0a00_0000 + host);
    let claims = json!({ "actor_id": "12", "ref_type": "branch" });
    let detail = json!({ "grant_type": "jwt-bearer", "claims": claims });
    AuditEvent {
        reason,
        trusted_issuer: Some("github".to_owned()),
        credential: Some(credential),
        principal: Some(owner),
        resource: Some("https://registry.example/".to_owned()),
        client_id: Some(client_id),
        actor: Some("template".to_owned()),
        assertion: Some(AssertionRef {
            digest: format!("{n:043}"),
            jti: Some(format!("{n:036}")),
        }),
        workload: vec![repository, (n % 8_000).to_string(), subject.clone()],
        subject: Some(subject),
        address: Some(address.into()),
        parts: vec![part],
        detail: detail.to_string(),
        ..AuditEvent::new(at, outcome)
    }
}

/// Copies the templates `copies` times, with their rows in the indexes.
async fn multiply(url: &str, copies: i64, since: i64) {
    let database = Database::connect(url).await.unwrap();
    let is_sqlite = database.get_database_backend() == DbBackend::Sqlite;
    let run = async |sql: String| {
        database.execute_unprepared(&sql).await.unwrap();
    };
    run(
        "CREATE TABLE template AS SELECT id, row_number() OVER (ORDER BY id) - 1 AS n \
         FROM audit_event WHERE actor = 'template'"
            .to_owned(),
    )
    .await;
    let (at, step) = (
        format!("(k * {TEMPLATES} + n)"),
        KEPT_MILLIS / (copies * TEMPLATES),
    );
    // A UUID of version 7.
    let time = format!("{since} + {at} * {step}");
    let id = if is_sqlite {
        format!("unhex(printf('%012x7%03x8%015x', {time}, {at} & 4095, {at}))")
    } else {
        format!(
            "(lpad(to_hex({time}), 12, '0') || '7' || lpad(to_hex({at} & 4095), 3, '0') || '8' \
             || lpad(to_hex({at}), 15, '0'))::uuid"
        )
    };
    let columns = "outcome, reason, trusted_issuer, credential_id, principal, resource, client_id, token_id, address, \
                   detail, subject, assertion_digest, assertion_jti, parts, count, workload";
    let series = |from: i64, to: i64| {
        format!(
            "WITH RECURSIVE copies(k) AS (SELECT CAST({from} AS BIGINT) UNION ALL SELECT k + 1 FROM copies WHERE k < {to})"
        )
    };
    for from in (0..copies).step_by(25) {
        let series = series(from, copies.min(from + 25) - 1);
        run(format!(
            "INSERT INTO audit_event (id, {columns}) {series} SELECT {id}, {columns} \
             FROM copies CROSS JOIN template CROSS JOIN audit_event e WHERE e.id = template.id"
        ))
        .await;
    }
    let all = series(0, copies - 1);
    run(format!(
        "INSERT INTO audit_key (key, event_id) {all} SELECT key, {id} \
         FROM copies CROSS JOIN template CROSS JOIN audit_key e WHERE e.event_id = template.id ORDER BY 1, 2"
    ))
    .await;
    run(format!(
        "INSERT INTO audit_part (principal_id, event_id, position, credential_id, sees_claims) {all} \
         SELECT principal_id, {id}, position, credential_id, sees_claims \
         FROM copies CROSS JOIN template CROSS JOIN audit_part e WHERE e.event_id = template.id ORDER BY 1, 2"
    ))
    .await;
    run("ANALYZE".to_owned()).await;
    if is_sqlite {
        // A server that writes event by event never has a journal of half a gigabyte.
        run("PRAGMA wal_checkpoint(TRUNCATE)".to_owned()).await;
    }
    database.close().await.unwrap();
}

/// The median and the longest duration of a search, and its last answer.
async fn timed(server: &TestServer, query: &str) -> (Duration, Duration, Value) {
    let mut took = Vec::new();
    let mut answer = Value::Null;
    for _ in 0..REPEATED {
        let start = Instant::now();
        answer = server
            .admin("GET", &format!("audit-events{query}"), Value::Null)
            .await
            .json();
        took.push(start.elapsed());
    }
    took.sort_unstable();
    (took[REPEATED / 2], took[REPEATED - 1], answer)
}

/// Settings with which no event of these is too old.
const KEPT: [(&str, &str); 2] = [
    ("CARNET_AUDIT__RETENTION_DAYS", "36500"),
    ("CARNET_AUDIT__REFUSALS_RETENTION_DAYS", "36500"),
];

/// A server with so many events, and the latest one of an issued token, which was revoked.
async fn filled(events: i64) -> (World, Value) {
    let world = World::with(&KEPT).await;
    let issued = fill(&world, events).await;
    (world, issued)
}

/// Fills the database with so many events. Returns the latest one of an issued token, which was revoked.
async fn fill(world: &World, events: i64) -> Value {
    let now = Timestamp::from_seconds(world.server.now());
    let since = now.millis() - KEPT_MILLIS - 86_400_000;
    let before = Timestamp::from_millis(since - 3_600_000);
    let templates: Vec<AuditEvent> = (0..TEMPLATES).map(|n| template(n, before)).collect();
    for some in templates.chunks(500) {
        world.server.app.store.record(some, now).await.unwrap();
    }
    let token = world.exchange(&world.good()).await.token();
    world.server.form("/revoke", &[("token", &token)]).await;
    let issued = world.server.audit("outcome=issued&limit=1").await.remove(0);
    world.server.app.flush_audit().await;
    while world
        .server
        .app
        .store
        .index_parts(now.plus_seconds(60))
        .await
        .unwrap()
    {}
    multiply(world.server.db.url(), events / TEMPLATES, since).await;
    issued
}

#[tokio::test]
#[ignore = "fills a database of 10 GB, which takes minutes; BENCH_EVENTS sets another number of events"]
async fn a_search_by_an_index_among_ten_million_events_takes_less_than_50_ms() {
    let events = std::env::var("BENCH_EVENTS").map_or(10_000_000, |text| text.parse().unwrap());
    let (world, issued) = filled(events).await;
    let now = Timestamp::from_seconds(world.server.now());
    let middle = Timestamp::from_millis(now.millis() - KEPT_MILLIS / 2);
    let text = |name: &str| issued[name].as_str().unwrap().to_owned();
    let rule = CredentialId(uuid::Uuid::from_u128(2_007));
    let by_indexes = [
        format!("/{}", text("id")),
        format!("?error_id={}", text("id")),
        format!("?token_id={}", text("token_id")),
        "?repository=org-3/repo-403".to_owned(),
        "?repository=busy/monorepo".to_owned(),
        format!("?repository=busy/monorepo&until={middle}"),
        "?address=10.0.1.7".to_owned(),
        "?principal=pr_7".to_owned(),
        "?principal=pr_busy".to_owned(),
        format!("?principal=pr_7&credential={rule}"),
        "?reason=workflow_mismatch".to_owned(),
        "?reason=not_yet_valid".to_owned(),
        "?client_id=bot-205".to_owned(),
        "?outcome=updated".to_owned(),
        format!("?since={middle}&until={}", middle.plus_seconds(86_400)),
        String::new(),
    ];
    println!(
        "{events} events, {}",
        world.server.db.url().split(':').next().unwrap()
    );
    let mut slow = Vec::new();
    for query in &by_indexes {
        let (median, longest, answer) = timed(&world.server, query).await;
        let found = answer["items"].as_array().map_or(0, Vec::len);
        println!("{median:>10.1?} {longest:>10.1?} {found:>4} {query}");
        assert!(found > 0 || answer["id"].is_string(), "{query}: {answer}");
        if median >= INDEXED {
            slow.push(query);
        }
    }
    // What each event of a page costs depends on how the program was built.
    let (median, longest, _) = timed(&world.server, "?repository=busy/monorepo&limit=500").await;
    println!("{median:>10.1?} {longest:>10.1?}  500 of a page");
    for query in [
        "?trusted_issuer=gitlab",
        "?assertion=none",
        "?repository=busy/monorepo&trusted_issuer=gitlab",
    ] {
        let (median, longest, answer) = timed(&world.server, query).await;
        let until = &answer["searched_until"];
        println!("{median:>10.1?} {longest:>10.1?}    0 {query}: searched until {until}");
        assert!(
            answer["next_cursor"].is_string() && until.is_string(),
            "{answer}"
        );
    }
    assert!(slow.is_empty(), "{slow:?}");
}

/// The processor time of this process so far.
fn processor_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}

/// Saves the rules of a principal.
async fn write_rules(people: &People, principal: &str, rules: usize) {
    for number in 0..rules {
        let repository = format!("{principal}/repo-{number}");
        let mut rule = World::rule_document(json!({
            "repository": repository, "repository_owner_id": null, "repository_id": null,
        }));
        rule["principal"] = json!(principal);
        rule["vouched"] = json!(true);
        let path = format!("federated-credentials/{principal}:rule-{number}");
        people.put(&path, rule).await;
        // Ids within a millisecond have no order, so that the events of all rules would be mixed up.
        if number % RULES_OF_OTHERS == 0 {
            people.server.clock.advance(1);
        }
    }
}

#[tokio::test]
#[ignore = "fills a database with 100,000 rules and a million events, which takes minutes; BENCH_RULES and BENCH_EVENTS set other numbers"]
async fn the_pages_of_an_owner_with_many_rules_and_events_are_small_and_quick() {
    let events = std::env::var("BENCH_EVENTS").map_or(1_000_000, |text| text.parse().unwrap());
    let rules: usize = std::env::var("BENCH_RULES").map_or(100_000, |text| text.parse().unwrap());
    let unlimited = [
        (
            "CARNET_RATE_LIMITS__ADMIN_WRITES_PER_MINUTE_PER_SUBJECT",
            "0",
        ),
        ("CARNET_RATE_LIMITS__TOKENS_PER_MINUTE_PER_CLIENT", "0"),
        ("CARNET_RATE_LIMITS__TOKENS_PER_MINUTE_PER_CREDENTIAL", "0"),
        (
            "CARNET_RATE_LIMITS__TOKENS_PER_MINUTE_PER_TRUSTED_ISSUER",
            "0",
        ),
    ];
    let people = People::with(&[KEPT.as_slice(), &unlimited].concat()).await;
    let world = World::on(people.server.clone()).await;
    people
        .put(
            "principals/busy",
            json!({ "id": "pr_busy", "kind": "organization" }),
        )
        .await;
    let member = json!({ "identity_provider": "corp", "match": { "groups": ["owners"] }, "principal": "busy", "role": "owner" });
    people.put("memberships/busy", member).await;
    // Of principals with few rules, since saving one looks at all of its principal.
    for owner in 0..rules.saturating_sub(RULES_OF_ONE) / RULES_OF_OTHERS {
        let other = json!({ "kind": "organization" });
        people
            .put(&format!("principals/other-{owner}"), other)
            .await;
        write_rules(&people, &format!("other-{owner}"), RULES_OF_OTHERS).await;
    }
    write_rules(&people, "busy", RULES_OF_ONE).await;
    people.server.clock.advance(1);
    // The database looks at its tables once all are filled.
    fill(&world, events).await;
    people.server.clock.advance(3_600);
    let now = Timestamp::from_seconds(people.server.now());
    people.server.app.flush_audit().await;
    while people.server.app.store.index_parts(now).await.unwrap() {}
    let mut browser = people.signed_in().await;
    let mut slow = Vec::new();
    for path in [
        "",
        "/runs",
        "/runs?outcome=refused",
        "/runs?rule=rule-7",
        "/rules/rule-7",
        "/rules/rule-7/history",
        "/rules/rule-7/snippets",
        "/add-rule?trusted_issuer=github",
        "/test",
    ] {
        let path = format!("/console/principals/busy{path}");
        let mut took = Vec::new();
        let mut size = 0;
        for _ in 0..200 {
            let start = Instant::now();
            let page = browser.get(&path).await;
            took.push(start.elapsed());
            assert_eq!(page.status, 200, "{}", page.text());
            size = page.body.len();
            browser.seen.clear();
        }
        took.sort_unstable();
        println!(
            "{:>10.1?} {:>10.1?} {size:>7} bytes {path}",
            took[100], took[197]
        );
        assert!(size <= 100 * 1024, "{path}: {size} bytes");
        slow.extend((took[197] > OWNERS_PAGE).then_some(path));
    }
    assert!(cfg!(debug_assertions) || slow.is_empty(), "{slow:?}");

    // Tokens alone and beside open pages, in turns.
    let assertions: Vec<String> = (0..SLICES * SLICE).map(|_| world.good()).collect();
    let mut costs = [Duration::ZERO; 2];
    for (number, slice) in assertions.chunks(SLICE).enumerate() {
        let before = processor_time();
        for some in slice.chunks(AT_ONCE) {
            let tokens = some.iter().map(|assertion| world.exchange(assertion));
            for answer in futures_util::future::join_all(tokens).await {
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
        }
        if number % 2 == 1 {
            let page = "/console/principals/busy/rules/rule-7?poll=1";
            assert_eq!(browser.get(page).await.status, 200);
        }
        // What is written after the answers belongs to the slice as well.
        people.server.app.flush_audit().await;
        costs[number % 2] += processor_time().saturating_sub(before);
    }
    let tokens = u32::try_from(SLICES * SLICE / 2).unwrap();
    let [alone, beside] = costs.map(|cost| cost / tokens);
    println!("{alone:.1?} of processor time a token, {beside:.1?} beside twenty open pages");
}
