//! Entries that fit, and budgets of rules, rows and answers (contract, sections 4 and 6; review, security H2 and H3).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::assertion::payload;
use super::exchange::{FORMATS, change, introspect, with_format};
use crate::support::World;

fn names(count: usize) -> Vec<String> {
    (0..count)
        .map(|n| format!("@octo-org/widgets-of-the-monorepo-{n:03}"))
        .collect()
}

async fn give(world: &World, permissions: Value) -> Value {
    let mut document = World::rule_document(json!({}));
    document["permissions"] = permissions;
    world
        .server
        .put("federated-credentials/octo-release", document)
        .await
}

fn permission(packages: &[String]) -> Value {
    json!({ "resource_server": "pypi", "actions": ["create", "publish"], "packages": packages })
}

fn detail(packages: &[String]) -> Value {
    json!({ "type": "package", "actions": ["publish"], "packages": packages })
}

async fn ask(world: &World, details: &Value) -> crate::support::Answer {
    world
        .exchange_with(
            &world.good(),
            &[("authorization_details", &details.to_string())],
        )
        .await
}

#[tokio::test]
async fn contract_4__a_monorepo_of_sixty_packages_fits_into_a_jwt() {
    let world = World::new().await;
    let sixty = names(60);
    // One permission a package, as tools write them.
    let each: Vec<Value> = sixty
        .iter()
        .map(|name| permission(std::slice::from_ref(name)))
        .collect();
    let saved = give(&world, json!(each)).await;
    assert!(
        !saved["warnings"].to_string().contains("entries_do_not_fit"),
        "{saved}"
    );
    let apart: Vec<Value> = sixty
        .iter()
        .map(|name| detail(std::slice::from_ref(name)))
        .collect();
    for answer in [
        world.exchange(&world.good()).await,
        ask(&world, &json!([detail(&sixty)])).await,
        ask(&world, &json!(apart)).await,
    ] {
        let token = answer.token();
        let entries = payload(&token)["authorization_details"].clone();
        assert_eq!(
            (entries.as_array().unwrap().len(), &entries[0]["packages"]),
            (1, &json!(sixty)),
            "{entries}"
        );
        assert!(
            token.len() <= 7_500 && answer.json().get("entries_left_out").is_none(),
            "{}",
            token.len()
        );
    }
}

#[tokio::test]
async fn contract_4__five_hundred_packages_go_by_a_pattern_or_an_opaque_key() {
    let all = names(500);
    let world = World::new().await;
    give(&world, json!([permission(&["@octo-org/*".to_owned()])])).await;
    world.exchange(&world.good()).await.token();
    let refused = ask(&world, &json!([detail(&all)])).await;
    refused.refused(400, "invalid_authorization_details", "too_many_entries");
    let fit = usize::try_from(refused.json()["packages_that_fit"].as_u64().unwrap()).unwrap();
    // What it says is what fits, of packages in details of their own as well.
    let apart = |count: usize| {
        json!(
            all[..count]
                .iter()
                .map(|name| detail(std::slice::from_ref(name)))
                .collect::<Vec<_>>()
        )
    };
    let refused = ask(&world, &apart(250)).await;
    let most = usize::try_from(refused.json()["packages_that_fit"].as_u64().unwrap()).unwrap();
    assert!(fit == most && most > 60, "{fit} {most}");
    ask(&world, &json!([detail(&all[..fit])])).await.token();
    assert!(ask(&world, &apart(most)).await.token().len() <= 7_500);
    ask(&world, &apart(most + 1)).await.refused(
        400,
        "invalid_authorization_details",
        "too_many_entries",
    );
    change(
        &world,
        "resource-servers/pypi",
        json!({ "token_format": "opaque" }),
    )
    .await;
    let key = ask(&world, &json!([detail(&all)])).await.token();
    let told = introspect(&world, "pypi", &key).await;
    assert_eq!(
        told["authorization_details"][0]["packages"]
            .as_array()
            .map(Vec::len),
        Some(500)
    );
    give(&world, json!([permission(&all)])).await;
    world.exchange(&world.good()).await.token();
    let more = ask(&world, &json!([detail(&names(501))])).await;
    more.refused(400, "invalid_authorization_details", "details_malformed");
}

#[tokio::test]
async fn contract_4__entries_that_do_not_fit_into_a_token_are_counted_and_never_dropped_silently() {
    for format in FORMATS {
        let world = with_format(format).await;
        let large: Vec<Value> =
            (0..30).map(|n| json!({ "resource_server": "pypi", "actions": ["publish"], "packages": [format!("p{n}")], "owner": format!("o{n}") })).collect();
        for n in 0..30 {
            world
                .server
                .put(&format!("principals/o{n}"), json!({ "kind": "user" }))
                .await;
        }
        let saved = give(&world, json!(large)).await;
        let fits = format == "opaque";
        assert_eq!(
            saved["warnings"].to_string().contains("entries_do_not_fit"),
            !fits,
            "{saved}"
        );
        let assertion = world.good();
        let form = [
            ("grant_type", crate::support::JWT_BEARER),
            ("assertion", assertion.as_str()),
        ];
        let told = world.server.form("/explain", &form).await.json();
        let answer = world.exchange(&assertion).await;
        let left_out = answer.json()["entries_left_out"]
            .as_u64()
            .unwrap_or_default();
        let there = answer.json()["authorization_details"]
            .as_array()
            .unwrap()
            .len() as u64;
        assert_eq!(
            (left_out > 0, left_out + there),
            (!fits, 30),
            "{}",
            answer.text()
        );
        assert_eq!(
            told["granted"]["entries_left_out"]
                .as_u64()
                .unwrap_or_default(),
            left_out,
            "{told}"
        );
        let event = &world.server.audit("outcome=issued").await[0];
        assert_eq!(
            event["detail"]["entries_left_out"]
                .as_u64()
                .unwrap_or_default(),
            left_out,
            "{event}"
        );
        if format == "jwt" {
            let length = answer.token().len();
            assert!((6_500..=7_500).contains(&length), "{length}");
        }
    }
}

#[tokio::test]
async fn contract_4__entries_of_the_newest_rules_come_first_in_a_token() {
    let world = World::new().await;
    let long: Vec<String> = (0..80)
        .map(|n| {
            format!(
                "a-package-with-a-name-of-some-length-{n:03}-{}",
                "x".repeat(20)
            )
        })
        .collect();
    give(&world, json!([permission(&long)])).await;
    for (name, package) in [("newer", "new"), ("newest", "newest")] {
        world.server.clock.advance(1);
        let mut document = World::rule_document(json!({}));
        document["permissions"] = json!([permission(&[package.to_owned()])]);
        let saved = world
            .server
            .put(&format!("federated-credentials/{name}"), document)
            .await;
        assert_eq!(saved["state"], "active", "{name}: {saved}");
    }
    let answer = world.exchange(&world.good()).await.json();
    assert_eq!(
        answer["authorization_details"][0]["packages"],
        json!(["newest"]),
        "{answer}"
    );
    assert_eq!(
        answer["authorization_details"][1]["packages"],
        json!(["new"]),
        "{answer}"
    );
}

// === budgets ===

#[tokio::test]
async fn sec_h3__rule_documents_over_a_size_limit_are_refused_and_the_error_names_the_number() {
    let world = World::new().await;
    let put = async |document: Value| {
        let answer = world
            .server
            .admin("PUT", "federated-credentials/octo-release", document)
            .await;
        (answer.status, answer.json()["errors"][0].clone())
    };
    let rule = |member: &str, value: Value| {
        let mut document = World::rule_document(json!({}));
        document[member] = value;
        document
    };
    let with_claims = |claims: Value| World::rule_document(json!({ "claims": claims }));
    let conditions = |count: usize| {
        (0..count)
            .map(|n| (format!("c{n}"), json!("x")))
            .collect::<serde_json::Map<_, _>>()
    };
    let many = |count: usize| {
        json!(
            (0..10)
                .map(|_| permission(&names(count)))
                .collect::<Vec<_>>()
        )
    };
    assert_eq!(put(with_claims(json!(conditions(32)))).await.0, 200);
    let values: Vec<String> = (0..90).map(|n| format!("{n:0>250}")).collect();
    for (document, pointer, number) in [
        (with_claims(json!(conditions(33))), "/match/claims", "33"),
        (with_claims(json!({ "x": values })), "/match", "16384"),
        (rule("permissions", many(101)), "/permissions", "1010"),
        (
            rule(
                "permissions",
                json!(vec![permission(&["a".to_owned()]); 101]),
            ),
            "/permissions",
            "100",
        ),
        (rule("note", json!("x".repeat(70_000))), "", "65536"),
    ] {
        let (status, error) = put(document).await;
        assert_eq!(
            (status, error["pointer"].as_str()),
            (422, Some(pointer)),
            "{error}"
        );
        assert!(
            error["detail"].as_str().unwrap().contains(number),
            "{error}"
        );
    }
    assert_eq!(put(rule("permissions", many(100))).await.0, 200);
}

#[tokio::test]
async fn sec_h3__a_principal_has_at_most_1000_rules_and_self_service_rules_need_an_exact_value() {
    let world = World::new().await;
    let all = "admin:credentials:joel";
    let wide = World::rule_document(
        json!({ "repository": null, "repository_id": null, "repository_owner_id": { "any_of": (1..101).map(|n| n.to_string()).collect::<Vec<_>>() } }),
    );
    let answer = world
        .server
        .admin_as(all, "PUT", "federated-credentials/owners", wide)
        .await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    let any = json!({ "profile": "generic", "issuer": "https://any.test" });
    world
        .server
        .put("trusted-issuers/any?validate=offline", any)
        .await;
    let unfound = json!({
        "principal": "joel", "trusted_issuer": "any", "match": { "subject": { "glob": "job-*" } },
        "permissions": [permission(&["a".to_owned()])],
    });
    let refused = world
        .server
        .admin_as(all, "PUT", "federated-credentials/any", unfound.clone())
        .await;
    assert_eq!(
        (refused.status, &refused.json()["errors"][0]["pointer"]),
        (422, &json!("/match")),
        "{}",
        refused.text()
    );
    assert_eq!(
        world
            .server
            .admin("PUT", "federated-credentials/any", unfound)
            .await
            .status,
        201
    );
    for n in 0..998 {
        let id = uuid::Uuid::from_u128(n + 1);
        let is_postgres = world.server.db.url().starts_with("postgres");
        let id = if is_postgres {
            format!("'{id}'")
        } else {
            format!("X'{}'", id.simple())
        };
        let row = format!(
            "SELECT {id}, 'r{n}', 'r{n}', principal, trusted_issuer, matcher, pinned, pending_until, expires_at, review_at, consent, enabled, revision, version, created_at, updated_at, last_used_at FROM federated_credential WHERE name = 'octo-release'"
        );
        let columns = "id, name, name_folded, principal, trusted_issuer, matcher, pinned, pending_until, expires_at, review_at, consent, enabled, revision, version, created_at, updated_at, last_used_at";
        world
            .server
            .db
            .execute(&format!(
                "INSERT INTO federated_credential ({columns}) {row}"
            ))
            .await;
    }
    let last = world
        .server
        .admin_as(
            all,
            "PUT",
            "federated-credentials/last",
            World::rule_document(json!({})),
        )
        .await;
    assert_eq!(last.status, 422, "{}", last.text());
    assert!(last.text().contains("1000 rules"), "{}", last.text());
    // One that is there can be changed.
    let there = world
        .server
        .admin_as(
            all,
            "PUT",
            "federated-credentials/octo-release",
            World::rule_document(json!({})),
        )
        .await;
    assert_eq!(there.status, 200, "{}", there.text());
}

#[tokio::test]
async fn sec_h3__audit_rows_and_answers_stay_small_however_large_the_rules_are() {
    let world = World::new().await;
    let values: Vec<String> = (0..55).map(|n| format!("{n:0>250}")).collect();
    for n in 0..80 {
        world
            .rule(
                &format!("large-{n}"),
                json!({ "claims": { "x": { "any_of": values } } }),
            )
            .await;
    }
    world
        .server
        .admin("DELETE", "federated-credentials/octo-release", Value::Null)
        .await;
    let refused = world.exchange(&world.good()).await;
    refused.refused(400, "invalid_grant", "rules_too_large");
    assert!(refused.text().len() < 64 * 1024, "{}", refused.text().len());
    let event = &world.server.audit("outcome=refused").await[0];
    assert!(
        event["detail"].to_string().len() <= 4096,
        "{}",
        event["detail"].to_string().len()
    );
    let created = world.server.audit("outcome=created&limit=500").await;
    let created = created
        .iter()
        .find(|event| event["detail"]["name"] == "large-7")
        .unwrap();
    assert!(
        created["detail"].to_string().len() <= 4096
            && created["detail"]["after"]["match"]["sha256"].is_string(),
        "{created}"
    );
    let assertion = world.good();
    let form = [
        ("grant_type", crate::support::JWT_BEARER),
        ("assertion", assertion.as_str()),
    ];
    let told = world.server.form("/explain", &form).await;
    assert!(told.text().len() <= 1024 * 1024, "{}", told.text().len());
    assert!(told.json()["candidates_left_out"].as_u64().unwrap() > 0);
    let list = world
        .server
        .admin("GET", "federated-credentials?limit=500", Value::Null)
        .await;
    assert!(
        list.text().len() <= 1024 * 1024 && list.json()["next_cursor"].is_string(),
        "{}",
        list.text().len()
    );
    // What is left out comes on the next page.
    let (mut seen, mut cursor) = (0, String::new());
    loop {
        let page = world
            .server
            .admin(
                "GET",
                &format!("federated-credentials?limit=500{cursor}"),
                Value::Null,
            )
            .await
            .json();
        seen += page["items"].as_array().unwrap().len();
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(seen, 80);
}

#[tokio::test]
async fn sec_h2__an_owner_with_very_large_rules_costs_about_a_second_a_request_at_most() {
    let world = World::new().await;
    // Ten rules of a thousand patterns each, and five hundred packages that none of them covers but the last.
    let patterns: Vec<String> = (0..100).map(|n| format!("*a*b*c*{n}")).collect();
    let permissions: Vec<Value> = (0..10)
        .map(|n| {
            let mut one = permission(&patterns);
            one["packages"][0] = json!(format!("w{n}"));
            one
        })
        .collect();
    for n in 0..10 {
        let mut document = World::rule_document(json!({}));
        document["permissions"] = json!(permissions);
        world
            .server
            .put(&format!("federated-credentials/large-{n}"), document)
            .await;
    }
    let wish = json!([detail(
        &(0..500)
            .map(|n| format!("{}-{n}", "abc".repeat(20)))
            .collect::<Vec<_>>()
    )])
    .to_string();
    world
        .exchange_with(&world.good(), &[("authorization_details", &wish)])
        .await;
    let began = Instant::now();
    for _ in 0..5 {
        let answer = world
            .exchange_with(&world.good(), &[("authorization_details", &wish)])
            .await;
        assert!(
            ["package_out_of_scope", "rules_too_large"].contains(&answer.reason().as_str()),
            "{}",
            answer.text()
        );
    }
    // In a debug build, on a machine that does other things as well; the benchmark measures it.
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}
