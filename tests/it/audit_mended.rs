//! Refusals that are counted in one event: which of them are alike, how each of them is found, and what an explanation of
//! them says. What `carnet audit` prints of events, and when it finds nothing.

use carnet::clock::Timestamp;
use serde_json::{Value, json};

use crate::support::{Answer, Finished, Installed, TestServer, World, carnet, finished};

const HERS: &str = "admin:credentials:mallory";
const HIS: &str = "admin:credentials:joel";

/// The ids of the events that a query finds, the latest first.
async fn found(server: &TestServer, scope: &str, query: &str) -> Vec<String> {
    server.app.flush_audit().await;
    let path = format!("audit-events?{query}");
    let answer = server.admin_as(scope, "GET", &path, Value::Null).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text());
    let items = answer.json()["items"].as_array().unwrap().clone();
    items.iter().map(|event| text(event, "/id")).collect()
}

fn text(value: &Value, pointer: &str) -> String {
    value.pointer(pointer).unwrap().as_str().unwrap().to_owned()
}

/// Indexes all events that were recorded so far.
async fn index(server: &TestServer) {
    server.app.flush_audit().await;
    let now = Timestamp::from_seconds(server.now());
    let store = &server.app.store;
    while store.index_parts(now.plus_seconds(60)).await.unwrap() {}
}

/// A world at the beginning of an hour, so that refusals of the following minutes are counted in one event.
async fn at_the_full_hour() -> World {
    let world = World::new().await;
    let past = world.server.now().rem_euclid(3_600);
    world.server.clock.advance(3_600 - past);
    world
}

/// Sends a good assertion with these parameters. The `error_id` of the refusal, which is recorded.
async fn refused(world: &World, parameters: &[(&str, &str)], reason: &str) -> String {
    let answer = world.exchange_with(&world.good(), parameters).await;
    assert_eq!(answer.reason(), reason, "{}", answer.text());
    world.server.app.flush_audit().await;
    world.server.clock.advance(1);
    text(&answer.json(), "/error_id")
}

async fn explain(world: &World, scope: &str, question: Value) -> Answer {
    world
        .server
        .admin_as(scope, "POST", "explanations", question)
        .await
}

#[tokio::test]
async fn since_finds_an_event_that_counts_a_refusal_after_that_time() {
    let world = at_the_full_hour().await;
    world
        .rule("octo-release", json!({ "environment": "release" }))
        .await;
    let first = refused(&world, &[], "env_missing").await;
    world.server.clock.advance(1_200);
    let since = Timestamp::from_seconds(world.server.now());
    let later = refused(&world, &[("scope", "publish")], "env_missing").await;
    refused(&world, &[], "env_missing").await;
    let after = Timestamp::from_seconds(world.server.now());
    for indexed in [false, true] {
        for (scope, query) in [
            ("admin", String::new()),
            ("admin", "&reason=env_missing".to_owned()),
            ("admin", "&repository=74".to_owned()),
            ("admin", "&principal=joel".to_owned()),
            (
                "admin",
                "&credential=octo-release&outcome=refused".to_owned(),
            ),
            ("admin", format!("&error_id={first}")),
            (HIS, "&outcome=refused".to_owned()),
        ] {
            let ids = found(&world.server, scope, &format!("since={since}{query}")).await;
            assert!(
                ids.contains(&first),
                "{scope} {query}, indexed: {indexed}: {ids:?}"
            );
            let none = found(&world.server, scope, &format!("since={after}{query}")).await;
            assert_eq!(none, Vec::<String>::new(), "{scope} {query}");
        }
        // Page by page: the event that began earlier is the last one.
        let query = format!("audit-events?since={since}&outcome=refused&limit=1");
        let page = world.server.admin("GET", &query, Value::Null).await.json();
        assert_eq!(page["items"][0]["id"], later, "{page}");
        let query = format!("{query}&cursor={}", text(&page, "/next_cursor"));
        let page = world.server.admin("GET", &query, Value::Null).await.json();
        assert_eq!(page["items"][0]["id"], first, "{page}");
        index(&world.server).await;
    }
    // A time before both finds each of them once.
    let ids = found(
        &world.server,
        "admin",
        &format!("since={}&outcome=refused", since.plus_seconds(-1_300)),
    )
    .await;
    assert_eq!(ids, [later, first]);
}

#[tokio::test]
async fn each_error_id_of_a_counted_refusal_leads_to_its_event_up_to_the_documented_number() {
    let world = at_the_full_hour().await;
    world
        .rule("octo-release", json!({ "environment": "release" }))
        .await;
    let mut ids = Vec::new();
    for _ in 0..104 {
        ids.push(text(
            &world.exchange(&world.good()).await.json(),
            "/error_id",
        ));
        if ids.len().is_multiple_of(7) {
            world.server.app.flush_audit().await;
        }
    }
    // One event, a hundred counted refusals, and the last one.
    for (at, id) in ids.iter().enumerate() {
        let expected = match at {
            0..=100 | 103 => vec![ids[0].clone()],
            _ => Vec::new(),
        };
        assert_eq!(
            found(&world.server, "admin", &format!("error_id={id}")).await,
            expected,
            "{at}"
        );
    }
    let path = format!("audit-events/{}", ids[1]);
    let one = world.server.admin_as(HIS, "GET", &path, Value::Null).await;
    assert_eq!(one.json()["count"], 104, "{}", one.text());
    world
        .server
        .put("principals/mallory", json!({ "kind": "user" }))
        .await;
    let one = world.server.admin_as(HERS, "GET", &path, Value::Null).await;
    assert_eq!(one.status, 404);
    let again = explain(&world, HIS, json!({ "event": ids[1] })).await;
    assert_eq!(again.json()["reason"], "env_missing", "{}", again.text());
    // They go with their event.
    let rows = async || {
        let sql = "SELECT COUNT(*) FROM audit_counted";
        world.server.db.column::<i64>(sql).await[0]
    };
    assert_eq!(rows().await, 100);
    let later = Timestamp::from_seconds(world.server.now()).plus_seconds(401 * 86_400);
    while world.server.app.store.prune(later, 400).await.unwrap() {}
    assert_eq!(rows().await, 0);
}

#[tokio::test]
async fn refusals_of_different_requests_are_different_events_and_each_is_explained_as_it_was() {
    let world = at_the_full_hour().await;
    let mut ids = Vec::new();
    for scope in ["yank", "publsh", "publish yank", "yank"] {
        ids.push((
            scope,
            refused(&world, &[("scope", scope)], "scope_not_granted").await,
        ));
    }
    for resource in ["https://nowhere.example/", "https://elsewhere.example/"] {
        ids.push((
            resource,
            refused(&world, &[("resource", resource)], "target_unknown").await,
        ));
    }
    for (asked, id) in &ids {
        let again = explain(&world, "admin", json!({ "event": id }))
            .await
            .json();
        let received = again["received"].to_string();
        let refused = asked.split(' ').next_back().unwrap();
        assert!(received.contains(refused), "{asked}: {again}");
    }
    let events = world.server.audit("outcome=refused").await;
    assert_eq!(events.len(), 5, "{events:?}");
    // Other values of one claim are other events as well.
    for file in ["a.yml", "b.yml"] {
        let path = format!("octo-org/octo-repo/.github/workflows/{file}@refs/heads/main");
        let claims = world.claims().with("workflow_ref", path);
        let answer = world.exchange_claims(&claims).await;
        answer.refused(400, "invalid_grant", "workflow_mismatch");
        let id = text(&answer.json(), "/error_id");
        world.server.app.flush_audit().await;
        let again = explain(&world, HIS, json!({ "event": id })).await.text();
        assert!(again.contains(file), "{file}: {again}");
    }
}

#[tokio::test]
async fn a_caller_that_varies_its_requests_leaves_a_bounded_number_of_events() {
    let world = at_the_full_hour().await;
    let mut ids = Vec::new();
    for n in 0..25 {
        let scope = format!("action-{n}");
        let answer = world
            .exchange_with(&world.good(), &[("scope", &scope)])
            .await;
        assert_eq!(answer.reason(), "scope_not_granted");
        ids.push(text(&answer.json(), "/error_id"));
        if n % 5 == 0 {
            world.server.app.flush_audit().await;
        }
    }
    let events = world.server.audit("outcome=refused").await;
    assert_eq!(events.len(), 11, "{events:?}");
    let rest: Vec<&Value> = events
        .iter()
        .filter(|event| event["detail"]["different_requests"] == true)
        .collect();
    assert_eq!((rest.len(), &rest[0]["count"]), (1, &json!(15)), "{rest:?}");
    assert!(rest[0]["detail"]["requested"].is_null(), "{}", rest[0]);
    // Every refusal is found, and that of several requests is not explained as one of them.
    let mut explained = 0;
    for id in &ids {
        let found = found(&world.server, "admin", &format!("error_id={id}")).await;
        assert_eq!(found.len(), 1);
        let again = explain(&world, "admin", json!({ "event": id })).await;
        if found[0] == text(rest[0], "/id") {
            assert_eq!(again.status, 422);
            assert!(again.text().contains("counts different requests"));
        } else {
            explained += 1;
            assert_eq!(again.status, 200);
        }
    }
    assert_eq!(explained, 10);
    // Another hour has events of its own.
    world.server.clock.advance(3_600);
    refused(&world, &[("scope", "action-1")], "scope_not_granted").await;
    assert_eq!(world.server.audit("outcome=refused").await.len(), 12);
}

#[tokio::test]
async fn a_refusal_keeps_the_packages_that_were_asked_for_and_those_that_are_permitted() {
    let world = World::new().await;
    let wish = |packages: &[String]| {
        json!([{ "type": "package", "actions": ["publish"], "packages": packages }]).to_string()
    };
    let asked = wish(&["gadgets".to_owned()]);
    let asked = [("authorization_details", asked.as_str())];
    let id = refused(&world, &asked, "package_out_of_scope").await;
    let event = world.server.audit("outcome=refused").await.remove(0);
    let detail = &event["detail"];
    assert_eq!(
        detail["requested"]["authorization_details"],
        json!([{ "type": "package", "actions": ["publish"], "packages": ["gadgets"] }]),
        "{event}"
    );
    assert_eq!(
        (&detail["received"], &detail["permitted"]),
        (&json!(["gadgets"]), &json!(["widgets", "widgets-*"])),
        "{event}"
    );
    for scope in ["admin", HIS] {
        let again = explain(&world, scope, json!({ "event": id })).await.json();
        assert_eq!(
            (&again["verdict"], &again["reason"]),
            (&json!("deny"), &json!("package_out_of_scope")),
            "{again}"
        );
    }
    // A list that is too long is not kept, which is said.
    let many: Vec<String> = (0..200).map(|n| format!("gadgets-{n}")).collect();
    let asked = wish(&many);
    let asked = [("authorization_details", asked.as_str())];
    let id = refused(&world, &asked, "package_out_of_scope").await;
    let again = explain(&world, "admin", json!({ "event": id })).await;
    assert_eq!(again.status, 422);
    assert!(
        again
            .text()
            .contains("authorization_details of this request was not kept"),
        "{}",
        again.text()
    );
    let question = json!({ "event": id, "authorization_details": [
        { "type": "package", "actions": ["publish"], "packages": ["widgets"] },
    ] });
    let again = explain(&world, "admin", question).await.json();
    assert_eq!(again["verdict"], "allow", "{again}");
    let row = world
        .server
        .audit("outcome=refused&limit=1")
        .await
        .remove(0);
    assert!(row["detail"].to_string().len() < 4_096, "{row}");
    // The event of a token that was issued does not keep the list either.
    let asked = wish(&["widgets".to_owned()]);
    let asked = [("authorization_details", asked.as_str())];
    world.exchange_with(&world.good(), &asked).await.token();
    let issued = world.server.audit("outcome=issued").await.remove(0);
    let again = explain(&world, "admin", json!({ "event": issued["id"] })).await;
    assert!(again.text().contains("was not kept"), "{}", again.text());
}

#[tokio::test]
async fn an_administrator_finds_a_refusal_by_the_rule_that_it_names_though_its_principal_does_not()
{
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
    let path = "federated-credentials/hers";
    let saved = world.server.admin_as(HERS, "PUT", path, hers).await;
    assert_eq!(saved.status, 201, "{}", saved.text());
    let gone = world
        .server
        .admin("DELETE", "federated-credentials/octo-release", Value::Null)
        .await;
    assert_eq!(gone.status, 204, "{}", gone.text());
    // Without `principal`, the self-service rule does not count.
    let answer = world.exchange(&world.good()).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    let id = text(&answer.json(), "/error_id");
    world.server.app.flush_audit().await;
    let event = world.server.audit("outcome=refused").await.remove(0);
    assert_eq!(
        (&event["principal"], &event["credential_name"]),
        (&json!("mallory"), &json!("hers")),
        "{event}"
    );
    let one = vec![id.clone()];
    for indexed in [false, true] {
        for query in [
            "principal=mallory&outcome=refused",
            "credential=hers&outcome=refused",
            "principal=mallory&credential=hers&outcome=refused",
            "principal=mallory&reason=no_matching_credential",
        ] {
            assert_eq!(
                found(&world.server, "admin", query).await,
                one,
                "{query}, indexed: {indexed}"
            );
        }
        // Consent: nobody learns of the workloads of others by writing rules for them.
        for query in ["outcome=refused", "credential=hers&outcome=refused"] {
            assert_eq!(
                found(&world.server, HERS, query).await,
                Vec::<String>::new()
            );
        }
        let read = world
            .server
            .admin_as(HERS, "GET", &format!("audit-events/{id}"), Value::Null)
            .await;
        assert_eq!(read.status, 404);
        let again = explain(&world, HERS, json!({ "event": id })).await;
        assert!(again.status == 422 && again.text().contains("no such event"));
        index(&world.server).await;
    }
    // What is removed leaves nothing in the index.
    let later = Timestamp::from_seconds(world.server.now()).plus_seconds(401 * 86_400);
    while world.server.app.store.prune(later, 400).await.unwrap() {}
    let sql = "SELECT COUNT(*) FROM audit_part";
    assert_eq!(world.server.db.column::<i64>(sql).await[0], 0);
}

#[tokio::test]
async fn what_a_rule_of_another_principal_permits_is_not_shown_to_a_principal() {
    let world = World::new().await;
    world
        .server
        .put(
            "principals/mallory",
            json!({ "id": "pr_mallory", "kind": "user" }),
        )
        .await;
    let mut hers = World::rule_document(json!({ "environment": "nope" }));
    hers["principal"] = json!("mallory");
    world.server.put("federated-credentials/hers", hers).await;
    let asked = [("scope", "yank"), ("principal", "joel")];
    refused(&world, &asked, "scope_not_granted").await;
    let detail = async |scope: &str| {
        let path = "audit-events?outcome=refused";
        let answer = world.server.admin_as(scope, "GET", path, Value::Null).await;
        answer.json()["items"][0]["detail"].clone()
    };
    assert_eq!(detail(HIS).await["permitted"], json!(["create", "publish"]));
    let hers = detail(HERS).await;
    assert!(
        hers["permitted"].is_null() && hers["requested"].is_object(),
        "{hers}"
    );
}

#[tokio::test]
async fn a_rule_that_is_switched_off_twice_leaves_one_event() {
    let world = World::new().await;
    // A rule without ids is pending, and each save of it begins its days anew.
    let pending = json!({ "repository_owner_id": null, "repository_id": null });
    world.rule("octo-release", pending).await;
    for (enabled, events) in [(false, 2), (false, 2), (true, 3)] {
        world.server.clock.advance(60);
        let answer = world
            .server
            .admin(
                "PATCH",
                "federated-credentials/octo-release",
                json!({ "enabled": enabled }),
            )
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let changes = world
            .server
            .audit("credential=octo-release&outcome=updated")
            .await;
        assert_eq!(changes.len(), events, "{enabled}: {changes:?}");
    }
}

/// Runs a command of this installation.
fn run(installed: &Installed, arguments: &[&str]) -> Finished {
    let mut command = carnet();
    command
        .current_dir(installed.db.folder())
        .args(arguments)
        .envs(installed.settings());
    let told = finished(command.output().unwrap());
    assert_eq!(told.code, 0, "{arguments:?}: {told:?}");
    told
}

#[tokio::test(flavor = "multi_thread")]
async fn carnet_audit_leaves_out_the_tokens_of_local_commands_and_says_so() {
    let installed = Installed::new(&[]).await;
    let made = run(&installed, &["admin-token", "--scope", "admin:read"]);
    let jti = jti(made.stdout.trim());
    for _ in 0..3 {
        run(&installed, &["list", "principals"]);
    }
    let told = run(
        &installed,
        &["audit", "--outcome", "issued", "--limit", "3"],
    );
    let lines: Vec<&str> = told.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{told:?}");
    for part in [jti.as_str(), "client carnet-cli", "scope admin:read,"] {
        assert!(lines[1].contains(part), "{part}: {told:?}");
    }
    assert!(
        told.stderr.contains("left out") && told.stderr.contains("--client-id carnet-cli"),
        "{told:?}"
    );
    let told = run(&installed, &["audit", "--client-id", "carnet-cli"]);
    assert!(told.stdout.lines().count() > 8, "{told:?}");
    assert!(!told.stderr.contains("left out"), "{told:?}");
    let told = run(&installed, &["audit", "--outcome", "issued", "--json"]);
    assert!(told.stdout.lines().count() > 4, "{told:?}");
}

fn jti(token: &str) -> String {
    let payload = token.split('.').nth(1).unwrap();
    let bytes = carnet_jose::from_base64url(payload).unwrap();
    let claims: Value = serde_json::from_slice(&bytes).unwrap();
    claims["jti"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn carnet_audit_says_what_was_issued_changed_revoked_and_asked_for() {
    let installed = Installed::new(&[]).await;
    let server = installed.start().await;
    let (_, issued) = installed.exchange(&installed.good()).await;
    let token = jti(issued["access_token"].as_str().unwrap());
    run(&installed, &["credentials", "disable", "octo-release"]);
    run(&installed, &["tokens", "revoke", "--token-id", &token]);
    let weak = run(&installed, &["admin-token", "--scope", "admin:read"]);
    let client = reqwest::Client::new();
    let put = async |token: &str, path: &str, body: Value| {
        let request = client.put(format!("{}/admin/v1/{path}", server.url));
        let answer = request.bearer_auth(token).json(&body).send().await;
        answer.unwrap().status().as_u16()
    };
    let weak = weak.stdout.trim();
    assert_eq!(
        put(weak, "principals/x", json!({ "kind": "user" })).await,
        403
    );
    let admin = run(&installed, &["admin-token"]);
    let mut rule = World::rule_document(json!({}));
    rule["trusted_issuer"] = json!("nobody");
    let saved = put(admin.stdout.trim(), "federated-credentials/x", rule).await;
    assert_eq!(saved, 422);
    let told = run(&installed, &["audit"]).stdout;
    for part in [
        format!("token {token} for client federated:"),
        "enabled: true -> false".to_owned(),
        format!("token {token} revoked by carnet-cli"),
        format!(
            "the admin token {} of carnet-cli has the scope admin:read",
            jti(weak)
        ),
        "federated credential x by carnet-cli".to_owned(),
        "/trusted_issuer must".to_owned(),
    ] {
        assert!(told.contains(&part), "{part}: {told}");
    }
    server.terminate();
}

#[tokio::test(flavor = "multi_thread")]
async fn carnet_audit_says_that_nothing_was_found_and_which_name_does_not_exist() {
    let installed = Installed::new(&[]).await;
    let unknown = "ev_00000000000000000000000000";
    for (options, expected) in [
        (["--principal", "joell"], "there is no principal joell"),
        (
            ["--trusted-issuer", "gthub"],
            "there is no trusted issuer gthub",
        ),
        (["--repository", "octo-rep"], "must be a whole name or id"),
        (["--reason", "env_mismatch"], "nothing found"),
        (["--error-id", unknown], "in the server's log"),
        (["--until", "2026-01-01"], "nothing found"),
    ] {
        let told = run(&installed, &[&["audit"], &options[..]].concat());
        assert!(
            told.stdout.is_empty() && told.stderr.contains(expected),
            "{options:?}: {told:?}"
        );
    }
    let told = run(
        &installed,
        &["audit", "--since", "2026-01-01", "--principal", "joel"],
    );
    assert!(
        told.stdout.contains("federated credential octo-release by") && told.stderr.is_empty(),
        "{told:?}"
    );
}
