//! Nobody else's rule decides what a workload's token is (review, security C1; contract, section 4).

use carnet::clock::Timestamp;
use carnet::decision::{Mode, View};
use carnet::explain::{Explanation, explain_claims};
use carnet::grant_type::GrantType;
use carnet::principal::{AccessRequest, AtFrontDoor};
use carnet::profile::Claims;
use carnet_resource_server::{
    AuthorizationDetail, DenialReason, Operation, PackageNames, RegistryState, allows,
};
use serde_json::{Value, json};

use crate::assertion::payload;
use crate::support::{Answer, R1, TestClient, TestServer, World};

/// What a registry's web site holds for mallory.
const HERS: &str = "admin:credentials:mallory";
const NEVER_MIND: &[(&str, &str)] = &[];

/// The usual world, with mallory beside.
async fn world() -> World {
    with(&[]).await
}

async fn with(settings: &[(&str, &str)]) -> World {
    let world = World::with(settings).await;
    let door = json!({ "front_door": { "kind": "pypi", "hosts": ["registry.test"] } });
    let changed = world
        .server
        .admin("PATCH", "resource-servers/pypi", door)
        .await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    world
        .server
        .put(
            "principals/mallory",
            json!({ "id": "pr_mallory", "kind": "user" }),
        )
        .await;
    world
}

/// Mallory's rule for the workload of joel: everything, for herself.
fn hers() -> Value {
    let mut document = World::rule_document(json!({}));
    document["principal"] = json!("mallory");
    document["permissions"][0]["packages"] = json!(["*"]);
    document
}

async fn save(server: &TestServer, scope: &str, name: &str, document: Value) -> Answer {
    server
        .admin_as(
            scope,
            "PUT",
            &format!("federated-credentials/{name}"),
            document,
        )
        .await
}

async fn put_hers(world: &World, document: Value) {
    let answer = save(&world.server, HERS, "hers", document).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.json()["vouched"], false);
}

async fn change_joels(world: &World, changed: Value) {
    let answer = world
        .server
        .admin("PATCH", "federated-credentials/octo-release", changed)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// Whose package a new one becomes that the job of joel publishes; why not, if that is refused.
fn owner_of_new_package(answer: &Answer) -> Result<String, DenialReason> {
    let details: Vec<AuthorizationDetail> =
        serde_json::from_value(answer.json()["authorization_details"].clone()).unwrap();
    let operation = Operation {
        action: "publish",
        package: "widgets",
        version: None,
        digest: None,
    };
    let new = RegistryState {
        exists: false,
        owned_by: &|_| false,
        may_act_for: &|by, of| by == of,
    };
    allows(&details, PackageNames::Exact, &operation, &new)
        .map(|yes| yes.owner.to_owned())
        .map_err(|no| no.reason)
}

// === takeover ===

#[tokio::test]
async fn sec_c1a__a_self_service_rule_cannot_create_the_package_of_a_rule_without_create() {
    let world = world().await;
    let permission =
        json!([{ "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"] }]);
    change_joels(&world, json!({ "permissions": permission })).await;
    put_hers(&world, hers()).await;
    let answer = world.exchange(&world.good()).await;
    assert_eq!(payload(&answer.token())["sub"], "pr_joel");
    assert_eq!(
        owner_of_new_package(&answer),
        Err(DenialReason::CreateDenied)
    );
}

#[tokio::test]
async fn sec_c1a__an_older_or_newer_self_service_rule_does_not_own_new_packages() {
    for younger in [true, false] {
        let world = world().await;
        if younger {
            world.server.clock.advance(1);
            put_hers(&world, hers()).await;
        } else {
            world
                .server
                .admin("DELETE", "federated-credentials/octo-release", Value::Null)
                .await;
            put_hers(&world, hers()).await;
            world.server.clock.advance(1);
            world.rule("octo-release", json!({})).await;
        }
        let answer = world.exchange(&world.good()).await;
        assert_eq!(
            owner_of_new_package(&answer).as_deref(),
            Ok("joel"),
            "{younger}"
        );
    }
}

#[tokio::test]
async fn sec_c1a__a_vouched_rule_that_expires_soon_gives_a_short_token_of_its_principal() {
    let world = world().await;
    put_hers(&world, hers()).await;
    change_joels(
        &world,
        json!({ "expires_at": Timestamp::from_seconds(world.server.now() + 30).to_string() }),
    )
    .await;
    let answer = world.exchange(&world.good()).await;
    assert_eq!(
        (
            &answer.json()["expires_in"],
            &payload(&answer.token())["sub"]
        ),
        (&json!(30), &json!("pr_joel"))
    );
}

#[tokio::test]
async fn sec_c1a__a_refusal_of_the_own_rule_is_not_replaced_by_a_self_service_rule() {
    let other =
        json!({ "match": World::rule_document(json!({ "environment": "release" }))["match"] });
    let past = Timestamp::from_seconds(1).to_string();
    for changed in [
        json!({ "enabled": false }),
        other,
        json!({ "expires_at": past }),
    ] {
        let world = world().await;
        put_hers(&world, hers()).await;
        change_joels(&world, changed.clone()).await;
        for (name, rest) in [
            ("principals/joel", json!({})),
            ("principals/joel", json!({ "enabled": false })),
        ] {
            world.server.admin("PATCH", name, rest).await;
            let answer = world.exchange(&world.good()).await;
            assert_eq!(
                (answer.status, &answer.json()["error"]),
                (400, &json!("invalid_grant")),
                "{changed}"
            );
            assert!(!answer.text().contains("mallory"), "{}", answer.text());
        }
    }
}

#[tokio::test]
async fn sec_c1a__an_own_rule_over_its_rate_limit_is_a_429_whatever_other_rules_match() {
    let world = with(&[("CARNET_RATE_LIMITS__TOKENS_PER_MINUTE_PER_CREDENTIAL", "3")]).await;
    put_hers(&world, hers()).await;
    while world.exchange(&world.good()).await.status == 200 {}
    world
        .exchange(&world.good())
        .await
        .refused(429, "temporarily_unavailable", "rate_limited");
    // Also where another one is vouched for, which would not have been asked.
    let mut vouched = hers();
    vouched["vouched"] = json!(true);
    assert_eq!(
        save(&world.server, "admin", "hers", vouched).await.json()["vouched"],
        true
    );
    world
        .exchange(&world.good())
        .await
        .refused(429, "temporarily_unavailable", "rate_limited");
}

// === lock-out ===

#[tokio::test]
async fn sec_c1b__a_self_service_rule_makes_neither_target_nor_owner_ambiguous() {
    let world = world().await;
    let mut elsewhere = hers();
    elsewhere["permissions"][0]["resource_server"] = json!("crates");
    put_hers(&world, elsewhere).await;
    let both = json!([
        { "resource_server": "pypi", "actions": ["create", "publish"], "packages": ["*"] },
        { "resource_server": "crates", "actions": ["create", "publish"], "packages": ["*"] },
    ]);
    let answer = world
        .server
        .admin_as(
            HERS,
            "PATCH",
            "federated-credentials/hers",
            json!({ "permissions": both }),
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    // No resource is named, and the owner may be told from one rule alone.
    let answer = world.exchange(&world.good()).await;
    assert_eq!(payload(&answer.token())["aud"], R1);
    assert_eq!(owner_of_new_package(&answer).as_deref(), Ok("joel"));
}

#[tokio::test]
async fn sec_c1b__self_service_rules_do_not_lengthen_the_token_of_another_principal() {
    let world = world().await;
    let before = world.exchange(&world.good()).await.token().len();
    let mut large = hers();
    let names: Vec<String> = (0..50)
        .map(|n| format!("a-package-with-a-rather-long-name-{n}"))
        .collect();
    large["permissions"][0]["packages"] = json!(names);
    for n in 0..20 {
        assert_eq!(
            save(&world.server, HERS, &format!("hers-{n}"), large.clone())
                .await
                .status,
            201
        );
    }
    assert_eq!(world.exchange(&world.good()).await.token().len(), before);
}

#[tokio::test]
async fn sec_c1b__with_vouched_rules_of_two_principals_the_request_has_to_name_one() {
    let world = world().await;
    let mut vouched = hers();
    vouched["vouched"] = json!(true);
    assert_eq!(
        save(&world.server, "admin", "hers", vouched).await.status,
        201
    );
    let answer = world.exchange(&world.good()).await;
    answer.refused(400, "invalid_request", "principal_required");
    assert!(
        !answer.text().contains("mallory") && !answer.text().contains("joel"),
        "{}",
        answer.text()
    );
    for (name, id) in [("joel", "pr_joel"), ("MALLORY", "pr_mallory")] {
        let claims = payload(
            &world
                .exchange_with(&world.good(), &[("principal", name)])
                .await
                .token(),
        );
        let principals: Vec<&Value> = claims["authorization_details"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| &entry["principal"])
            .collect();
        assert!(claims["sub"] == id && principals.len() == 1, "{claims}");
    }
}

// === who is asked ===

#[tokio::test]
async fn sec_c1__a_self_service_rule_counts_only_when_the_request_names_its_principal() {
    let world = world().await;
    put_hers(&world, hers()).await;
    world
        .server
        .admin("DELETE", "federated-credentials/octo-release", Value::Null)
        .await;
    let unnamed = world.exchange(&world.good()).await;
    unnamed.refused(400, "invalid_grant", "no_matching_credential");
    assert_eq!(
        unnamed.json()["mismatches"][0]["field"],
        "consent",
        "{}",
        unnamed.text()
    );
    assert!(!unnamed.text().contains("mallory"), "{}", unnamed.text());
    let named = world
        .exchange_with(&world.good(), &[("principal", "Mallory")])
        .await;
    assert_eq!(payload(&named.token())["sub"], "pr_mallory");
    let other = world
        .exchange_with(&world.good(), &[("principal", "joel")])
        .await;
    other.refused(400, "invalid_grant", "no_matching_credential");
}

#[tokio::test]
async fn contract_4__naming_a_principal_without_a_matching_rule_is_principal_mismatch() {
    let world = world().await;
    let answer = world
        .exchange_with(&world.good(), &[("principal", "mallory")])
        .await;
    answer.refused(400, "invalid_grant", "principal_mismatch");
    // What is wrong with the rule that is asked for comes first.
    put_hers(&world, {
        let mut document = hers();
        document["match"]["environment"] = json!("release");
        document
    })
    .await;
    let answer = world
        .exchange_with(&world.good(), &[("principal", "mallory")])
        .await;
    answer.refused(400, "invalid_grant", "env_missing");
}

#[tokio::test]
async fn contract_4__explanations_show_the_closest_own_rule_among_120_self_service_rules() {
    let world = world().await;
    world
        .rule("octo-release", json!({ "environment": "release" }))
        .await;
    for n in 0..120 {
        assert_eq!(
            save(&world.server, HERS, &format!("hers-{n}"), hers())
                .await
                .status,
            201
        );
    }
    let joels = world
        .server
        .admin("GET", "federated-credentials/octo-release", Value::Null)
        .await
        .json()["id"]
        .clone();
    let refused = world.exchange(&world.good()).await;
    refused.refused(400, "invalid_grant", "env_missing");
    let mismatches = refused.json()["mismatches"].as_array().unwrap().clone();
    assert_eq!(mismatches[0]["credential"], joels, "{}", refused.text());
    assert!(mismatches.len() <= 6, "{}", mismatches.len());
    let assertion = world.good();
    let form = [
        ("grant_type", crate::support::JWT_BEARER),
        ("assertion", assertion.as_str()),
    ];
    let told = world.server.form("/explain", &form).await.json();
    let candidates = told["candidates"].as_array().unwrap();
    assert_eq!(
        (&candidates[0]["credential"], candidates.len()),
        (&joels, 6),
        "{told}"
    );
    assert!(
        told.get("candidates_left_out").is_none(),
        "how many strangers there are is nobody's business: {told}"
    );
    // Those who manage rules see of how many these are the closest.
    let told = world
        .server
        .admin("POST", "explanations", json!({ "assertion": world.good() }))
        .await
        .json();
    assert_eq!(told["candidates"].as_array().unwrap().len(), 6);
    assert_eq!(
        (
            &told["candidates"][0]["credential"],
            &told["candidates_left_out"]
        ),
        (&joels, &json!(115))
    );
}

#[tokio::test]
async fn sec_h2__rules_of_ten_other_principals_do_not_hide_the_named_principals_rule() {
    let world = world().await;
    for n in 0..10 {
        let name = format!("a-stranger-{n}");
        world
            .server
            .put(&format!("principals/{name}"), json!({ "kind": "user" }))
            .await;
        let mut document = hers();
        document["principal"] = json!(name);
        let saved = save(
            &world.server,
            &format!("admin:credentials:{name}"),
            "one",
            document,
        )
        .await;
        assert_eq!(saved.status, 201, "{}", saved.text());
    }
    world.server.clock.advance(1);
    put_hers(&world, hers()).await;
    let answer = world
        .exchange_with(&world.good(), &[("principal", "Mallory")])
        .await;
    assert_eq!(payload(&answer.token())["sub"], "pr_mallory");
    // Where nothing is found, those that come closest are shown, and of strangers' not all.
    let moved = world.gh.sign(
        &world
            .claims()
            .with("repository_id", "75")
            .in_repository("octo-org/octo-rep0"),
    );
    let told = world
        .server
        .admin("POST", "explanations", json!({ "assertion": moved }))
        .await
        .json();
    let candidates = told["candidates"].as_array().unwrap();
    assert_eq!(
        (candidates[0]["principal"].as_str(), candidates.len()),
        (Some("joel"), 6),
        "{told}"
    );
}

// === who vouches ===

#[tokio::test]
async fn contract_4__the_scope_that_saves_a_new_rule_decides_whether_it_is_vouched() {
    let world = world().await;
    let mut table = Vec::new();
    for (scope, said, vouched) in [
        ("admin", Value::Null, true),
        ("admin", json!(false), false),
        ("admin:credentials", Value::Null, false),
        ("admin:credentials", json!(true), true),
        (HERS, Value::Null, false),
        (HERS, json!(true), false),
    ] {
        let name = format!("rule-{}", table.len());
        let mut document = hers();
        document["vouched"] = said.clone();
        let saved = save(&world.server, scope, &name, document).await;
        assert_eq!(saved.status, 201, "{}", saved.text());
        assert_eq!(saved.json()["vouched"], vouched, "{scope} {said}");
        table.push(name);
    }
    // Saving again keeps it, whoever does.
    for scope in ["admin", "admin:credentials", HERS] {
        assert_eq!(
            save(&world.server, scope, "rule-0", hers()).await.json()["vouched"],
            true
        );
        assert_eq!(
            save(&world.server, scope, "rule-5", hers()).await.json()["vouched"],
            false
        );
    }
    let not_a_truth = json!({ "vouched": "yes" });
    let answer = world
        .server
        .admin("PATCH", "federated-credentials/rule-0", not_a_truth)
        .await;
    assert_eq!(answer.status, 422, "{}", answer.text());
}

#[tokio::test]
async fn contract_4__widening_a_vouched_rule_with_a_limited_scope_ends_the_vouching() {
    let world = world().await;
    world
        .server
        .put("principals/other", json!({ "kind": "user" }))
        .await;
    let hand = "admin:credentials:joel admin:credentials:other";
    let wider = World::rule_document(json!({ "workflow_file": null, "ref": "refs/heads/main" }));
    let permissions =
        json!([{ "resource_server": "pypi", "actions": ["publish"], "packages": ["*"] }]);
    for (changed, vouched) in [
        (json!({ "enabled": false }), true),
        (json!({ "enabled": true }), true),
        (json!({ "expires_at": "2040-01-01T00:00:00Z" }), true),
        (json!({ "vouched": false }), true),
        (json!({ "match": wider["match"] }), false),
        (json!({ "permissions": permissions }), false),
        (json!({ "actors": ["octo-release"] }), false),
        (json!({ "principal": "other" }), false),
    ] {
        change_joels(&world, json!({ "vouched": true })).await;
        let path = "federated-credentials/octo-release";
        let before = world.server.admin("GET", path, Value::Null).await.json();
        let answer = world
            .server
            .admin_as(hand, "PATCH", path, changed.clone())
            .await;
        assert_eq!(
            (answer.status, &answer.json()["vouched"]),
            (200, &json!(vouched)),
            "{changed}: {}",
            answer.text()
        );
        if !vouched {
            assert!(
                answer.json()["revision"].as_u64() > before["revision"].as_u64(),
                "{changed}"
            );
            world.exchange(&world.good()).await.refused(
                400,
                "invalid_grant",
                "no_matching_credential",
            );
        }
    }
}

#[tokio::test]
async fn contract_4__withdrawing_vouching_ends_the_rules_tokens_and_vouching_does_not() {
    let world = world().await;
    let registry = TestClient::registry(&world.server).await;
    let token = world.exchange(&world.good()).await.token();
    let revision = async || {
        world
            .server
            .admin("GET", "federated-credentials/octo-release", Value::Null)
            .await
            .json()["revision"]
            .clone()
    };
    let before = revision().await;
    change_joels(&world, json!({ "vouched": true })).await;
    assert_eq!(revision().await, before);
    assert_eq!(
        registry.introspect(&world.server, &token).await["active"],
        true
    );
    change_joels(&world, json!({ "vouched": false })).await;
    assert_ne!(revision().await, before);
    assert_eq!(
        registry.introspect(&world.server, &token).await["active"],
        false
    );
    world
        .exchange(&world.good())
        .await
        .refused(400, "invalid_grant", "no_matching_credential");
    world
        .exchange_with(&world.good(), &[("principal", "joel")])
        .await
        .token();
}

#[tokio::test]
async fn contract_4__rules_of_the_owner_of_a_trusted_issuer_count_as_vouched() {
    let world = world().await;
    world.trust(json!({ "owner": "joel" })).await;
    let saved = save(
        &world.server,
        "admin:credentials:joel",
        "octo-release",
        World::rule_document(json!({ "environment": null })),
    )
    .await;
    assert_eq!(saved.json()["vouched"], true, "{}", saved.text());
    change_joels(&world, json!({ "vouched": false })).await;
    world.accepts().await;
    // However many there are: here the one that matches is the last of them.
    world
        .server
        .admin("DELETE", "federated-credentials/octo-release", Value::Null)
        .await;
    for n in 0..10 {
        let mut document =
            World::rule_document(json!({ "environment": (n < 9).then_some("elsewhere") }));
        document["vouched"] = json!(false);
        assert_eq!(
            save(&world.server, "admin", &format!("joels-{n}"), document)
                .await
                .status,
            201
        );
    }
    world.accepts().await;
    world.trust(json!({ "owner": null })).await;
    assert_eq!(world.exchange(&world.good()).await.status, 400);
}

// === owners ===

#[tokio::test]
async fn sec_m7__a_self_service_rule_names_only_owners_that_its_principal_acts_for() {
    let world = world().await;
    let mut document = hers();
    document["permissions"][0]["owner"] = json!("joel");
    let refused = save(&world.server, HERS, "hers", document.clone()).await;
    assert_eq!(
        (refused.status, &refused.json()["errors"][0]["pointer"]),
        (422, &json!("/permissions/0/owner"))
    );
    let acts = world
        .server
        .admin(
            "PATCH",
            "principals/mallory",
            json!({ "acts_for": ["JOEL"] }),
        )
        .await;
    assert_eq!(acts.json()["acts_for"], json!(["joel"]), "{}", acts.text());
    assert_eq!(
        save(&world.server, HERS, "hers", document.clone())
            .await
            .status,
        201
    );
    let registry = TestClient::registry(&world.server).await;
    let named = [("principal", "mallory")];
    let token = world.exchange_with(&world.good(), &named).await.token();
    assert_eq!(
        registry.introspect(&world.server, &token).await["active"],
        true
    );
    // A principal that is named there is in use.
    world
        .server
        .admin("DELETE", "federated-credentials/octo-release", Value::Null)
        .await;
    let deleted = world
        .server
        .admin("DELETE", "principals/joel", Value::Null)
        .await;
    assert_eq!(
        (deleted.status, &deleted.json()["code"]),
        (409, &json!("in_use"))
    );
    // At grant, exchange and introspection it is asked again.
    world
        .server
        .admin("PATCH", "principals/mallory", json!({ "acts_for": [] }))
        .await;
    assert_eq!(
        registry.introspect(&world.server, &token).await["active"],
        false
    );
    world
        .renew(&token, NEVER_MIND)
        .await
        .refused(400, "invalid_request", "subject_token_inactive");
    world.exchange_with(&world.good(), &named).await.refused(
        400,
        "invalid_target",
        "target_not_granted",
    );
    // Whoever may vouch may name any owner.
    document["vouched"] = json!(true);
    assert_eq!(
        save(&world.server, "admin", "hers", document).await.status,
        200
    );
    let nobody = world
        .server
        .admin(
            "PATCH",
            "principals/mallory",
            json!({ "acts_for": ["nobody"] }),
        )
        .await;
    assert_eq!(
        (nobody.status, &nobody.json()["errors"][0]["pointer"]),
        (422, &json!("/acts_for/0"))
    );
}

// === names ===

#[tokio::test]
async fn sec_l9__rules_of_two_principals_can_have_the_same_name() {
    let world = world().await;
    let taken = save(&world.server, HERS, "octo-release", hers()).await;
    assert_eq!(taken.status, 201, "{}", taken.text());
    let joels = save(
        &world.server,
        "admin:credentials:joel",
        "octo-release",
        World::rule_document(json!({})),
    )
    .await;
    assert_eq!(
        (joels.status, &joels.json()["principal"]),
        (200, &json!("joel"))
    );
    let get = async |scope: &str, name: &str| {
        world
            .server
            .admin_as(
                scope,
                "GET",
                &format!("federated-credentials/{name}"),
                Value::Null,
            )
            .await
    };
    assert_eq!(
        get(HERS, "Octo-Release").await.json()["principal"],
        "mallory"
    );
    assert_eq!(get(HERS, "joel:octo-release").await.status, 404);
    let ambiguous = get("admin", "octo-release").await;
    assert_eq!(
        (ambiguous.status, &ambiguous.json()["code"]),
        (409, &json!("ambiguous_name"))
    );
    assert_eq!(
        get("admin", "Joel:octo-release").await.json()["principal"],
        "joel"
    );
    assert_eq!(
        get("admin", joels.json()["id"].as_str().unwrap())
            .await
            .json()["principal"],
        "joel"
    );
    // A document says whose rule it is.
    assert_eq!(
        save(&world.server, "admin", "octo-release", hers())
            .await
            .status,
        200
    );
    let wrong = save(&world.server, "admin", "joel:another", hers()).await;
    assert_eq!(
        (wrong.status, &wrong.json()["errors"][0]["pointer"]),
        (422, &json!("/principal"))
    );
    assert_eq!(
        save(&world.server, "admin", "mallory:another", hers())
            .await
            .status,
        201
    );
    let all = world
        .server
        .admin("GET", "federated-credentials?limit=1", Value::Null)
        .await
        .json();
    let (mut seen, mut cursor) = (1, all["next_cursor"].clone());
    while let Some(next) = cursor.as_str() {
        let page = world
            .server
            .admin(
                "GET",
                &format!("federated-credentials?limit=1&cursor={next}"),
                Value::Null,
            )
            .await
            .json();
        seen += page["items"].as_array().unwrap().len();
        cursor = page["next_cursor"].clone();
    }
    assert_eq!(seen, 3);
    for name in ["octo-release", "another"] {
        let gone = world
            .server
            .admin_as(
                HERS,
                "DELETE",
                &format!("federated-credentials/{name}"),
                Value::Null,
            )
            .await;
        assert_eq!(gone.status, 204);
    }
    world.accepts().await;
}

#[tokio::test]
async fn sec_c1a__saving_a_rule_name_of_another_principal_makes_a_separate_rule() {
    // Whoever writes rules for everybody takes over nobody's: not the id, not the age, not who vouches for it, not the pins.
    for scope in ["admin:credentials", "admin"] {
        let world = world().await;
        let joels = world
            .server
            .admin("GET", "federated-credentials/octo-release", Value::Null)
            .await
            .json();
        let saved = save(&world.server, scope, "octo-release", hers()).await;
        assert_eq!(saved.status, 201, "{}", saved.text());
        assert_eq!(
            (saved.json()["id"] == joels["id"], &saved.json()["vouched"]),
            (false, &json!(scope == "admin"))
        );
        let still = world
            .server
            .admin(
                "GET",
                "federated-credentials/joel:octo-release",
                Value::Null,
            )
            .await
            .json();
        assert_eq!(still, joels);
    }
    // Nor does a stranger who comes first keep the name from anybody.
    let world = world().await;
    world
        .server
        .admin("DELETE", "federated-credentials/octo-release", Value::Null)
        .await;
    assert_eq!(
        save(&world.server, HERS, "octo-release", hers())
            .await
            .status,
        201
    );
    let made = world.server.admin("POST", "federated-credentials", {
        let mut document = World::rule_document(json!({}));
        document["name"] = json!("octo-release");
        document
    });
    let made = made.await;
    assert_eq!(
        (
            made.status,
            &made.json()["vouched"],
            &made.json()["revision"]
        ),
        (201, &json!(true), &json!(1))
    );
    assert_eq!(
        payload(&world.exchange(&world.good()).await.token())["sub"],
        "pr_joel"
    );
}

#[tokio::test]
async fn sec_c1a__a_rule_moved_to_another_principal_loses_its_vouching() {
    let world = world().await;
    let moved = save(
        &world.server,
        "admin:credentials",
        "joel:octo-release",
        hers(),
    )
    .await;
    assert_eq!(
        (moved.status, &moved.json()["vouched"]),
        (200, &json!(false)),
        "{}",
        moved.text()
    );
    world
        .exchange(&world.good())
        .await
        .refused(400, "invalid_grant", "no_matching_credential");
}

#[tokio::test]
async fn sec_l9__a_second_rule_of_a_listed_name_does_not_block_changes_of_the_client() {
    let world = world().await;
    let client = json!({ "auth_method": "federated", "federated_credentials": ["octo-release"] });
    world.server.put("clients/robot", client.clone()).await;
    assert_eq!(
        save(&world.server, HERS, "octo-release", hers())
            .await
            .status,
        201
    );
    let off = world
        .server
        .admin("PATCH", "clients/robot", json!({ "enabled": false }))
        .await;
    assert_eq!(
        (off.status, &off.json()["enabled"]),
        (200, &json!(false)),
        "{}",
        off.text()
    );
    let saved = world
        .server
        .admin("PUT", "clients/robot", client.clone())
        .await;
    assert_eq!(
        saved.json()["federated_credentials"],
        json!(["joel:octo-release"]),
        "{}",
        saved.text()
    );
    // Whoever lists one for the first time has to say which.
    let another = world.server.admin("PUT", "clients/another", client).await;
    assert_eq!(
        (another.status, &another.json()["errors"][0]["pointer"]),
        (422, &json!("/federated_credentials/0"))
    );
}

#[tokio::test]
async fn contract_4__a_rule_can_be_disabled_without_the_right_to_name_its_owner() {
    let world = world().await;
    let mut document = hers();
    document["permissions"][0]["owner"] = json!("joel");
    world
        .server
        .put("federated-credentials/hers", document)
        .await;
    // Nobody vouches for it any more, though she may not name its owner herself.
    let withdrawn = world
        .server
        .admin(
            "PATCH",
            "federated-credentials/hers",
            json!({ "vouched": false }),
        )
        .await;
    assert_eq!(
        (withdrawn.status, &withdrawn.json()["vouched"]),
        (200, &json!(false)),
        "{}",
        withdrawn.text()
    );
    let patch = async |members: Value| {
        world
            .server
            .admin_as(HERS, "PATCH", "federated-credentials/hers", members)
            .await
    };
    assert_eq!(patch(json!({ "enabled": false })).await.status, 200);
    let on = patch(json!({ "enabled": true })).await;
    assert_eq!(
        (on.status, &on.json()["errors"][0]["pointer"]),
        (422, &json!("/permissions/0/owner"))
    );
}

#[tokio::test]
async fn contract_4__disabling_a_migrated_rule_does_not_confirm_its_vouching() {
    let world = world().await;
    world
        .server
        .db
        .execute("UPDATE federated_credential SET consent = 'assumed'")
        .await;
    let patch = async |members: Value| {
        world
            .server
            .admin("PATCH", "federated-credentials/octo-release", members)
            .await
            .json()["warnings"]
            .to_string()
    };
    assert!(
        patch(json!({ "enabled": false }))
            .await
            .contains("vouching_assumed")
    );
    assert!(
        !patch(json!({ "enabled": true }))
            .await
            .contains("vouching_assumed")
    );
}

#[tokio::test]
async fn sec_l1__a_rule_of_another_principal_answers_like_one_that_does_not_exist() {
    let world = world().await;
    let absent = world
        .server
        .admin_as(
            HERS,
            "PATCH",
            "federated-credentials/none",
            json!({ "enabled": "x" }),
        )
        .await;
    let path = "federated-credentials/octo-release";
    let there = world
        .server
        .admin_as(
            HERS,
            "PATCH",
            path,
            json!({ "enabled": "x", "trusted_issuer": "other" }),
        )
        .await;
    assert_eq!((there.status, there.json()), (absent.status, absent.json()));
    let request = |version: &str| {
        axum::http::Request::builder()
            .method("PATCH")
            .uri(format!("/admin/v1/{path}"))
            .header(
                "authorization",
                format!("Bearer {}", world.server.admin_token(HERS)),
            )
            .header("if-match", format!("\"{version}\""))
            .body(axum::body::Body::from("{}"))
            .unwrap()
    };
    for version in ["1", "2", "9"] {
        assert_eq!(world.server.send(request(version)).await.status, 404);
    }
}

#[tokio::test]
async fn sec_m6__a_new_principal_of_a_reused_name_inherits_no_admin_token_or_scope() {
    let world = world().await;
    let token = world.server.admin_token("admin:credentials:mallory");
    put_hers(&world, hers()).await;
    let ask = async |path: &str| {
        let request = axum::http::Request::builder()
            .uri(format!("/admin/v1/{path}"))
            .header("authorization", format!("Bearer {token}"))
            .body(axum::body::Body::empty())
            .unwrap();
        world.server.send(request).await
    };
    assert_eq!(ask("federated-credentials/hers").await.status, 200);
    // A client that may write rules for a principal keeps it from being removed.
    let client =
        json!({ "auth_method": "client_secret_basic", "scopes": ["admin:credentials:MALLORY"] });
    let saved = world.server.put("clients/site", client.clone()).await;
    assert_eq!(saved["scopes"], json!(["admin:credentials:mallory"]));
    world
        .server
        .admin("DELETE", "federated-credentials/hers", Value::Null)
        .await;
    assert_eq!(
        world
            .server
            .admin("DELETE", "principals/mallory", Value::Null)
            .await
            .status,
        409
    );
    world
        .server
        .admin("DELETE", "clients/site", Value::Null)
        .await;
    assert_eq!(
        world
            .server
            .admin("DELETE", "principals/mallory", Value::Null)
            .await
            .status,
        204
    );
    let unknown = world.server.admin("PUT", "clients/site", client).await;
    assert_eq!(
        (unknown.status, &unknown.json()["errors"][0]["pointer"]),
        (422, &json!("/scopes"))
    );
    // Somebody else has the name now, and the old token is none of theirs.
    world
        .server
        .put("principals/mallory", json!({ "kind": "user" }))
        .await;
    world.server.put("federated-credentials/hers", hers()).await;
    assert_eq!(ask("federated-credentials/hers").await.status, 404);
    assert_eq!(
        ask("federated-credentials").await.json()["items"],
        json!([])
    );
}

// === naming ===

#[tokio::test]
async fn contract_4__a_named_self_service_rule_counts_only_in_the_revision_that_was_named() {
    let world = world().await;
    // Mallory's self-service rule admits a client and may act for joel's workload: an administrator named it.
    let mut document = hers();
    document["match"]["workflow_file"] = json!("helper.yml");
    put_hers(&world, document.clone()).await;
    world
        .server
        .put(
            "clients/robot",
            json!({ "auth_method": "federated", "federated_credentials": ["hers"], "scopes": ["admin:read"] }),
        )
        .await;
    change_joels(&world, json!({ "actors": ["mallory:hers"] })).await;
    let helper = || {
        let workflow = "octo-org/octo-repo/.github/workflows/helper.yml@refs/heads/main";
        world.gh.sign(
            &world
                .claims()
                .with("workflow_ref", workflow)
                .with("job_workflow_ref", workflow),
        )
    };
    let act = async || {
        let actor = helper();
        let acting = [
            ("actor_token", actor.as_str()),
            ("actor_token_type", crate::support::JWT),
        ];
        world.trade(&world.good(), &acting).await
    };
    let log_in = async || {
        let assertion = helper();
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "robot"),
            ("client_assertion_type", crate::support::CLIENT_ASSERTION),
            ("client_assertion", assertion.as_str()),
            ("resource", "https://as.test/admin"),
        ];
        world.server.form("/token", &form).await
    };
    let delegated = act().await;
    assert_eq!(
        delegated.json()["authorization_details"][0]["rests_on"][0]["revision"],
        1,
        "{}",
        delegated.text()
    );
    assert_eq!(log_in().await.status, 200);
    // Her edit makes another rule of it,
    let edit = json!({ "expires_at": "2040-01-01T00:00:00Z" });
    let mut edited = world
        .server
        .admin_as(HERS, "PATCH", "federated-credentials/hers", edit.clone())
        .await;
    if edited.status == 422 {
        // (which she may not do while a client with rights of its own rests on it)
        edited = world
            .server
            .admin("PATCH", "federated-credentials/hers", edit)
            .await;
    }
    assert_eq!(
        (edited.status, &edited.json()["revision"]),
        (200, &json!(2)),
        "{}",
        edited.text()
    );
    act()
        .await
        .refused(400, "invalid_request", "actor_not_allowed");
    assert_eq!(log_in().await.status, 401);
    // what was made with it ends,
    let registry = TestClient::registry(&world.server).await;
    assert_eq!(
        registry.introspect(&world.server, &delegated.token()).await["active"],
        false
    );
    // and it counts again when it is named again, or vouched for.
    change_joels(&world, json!({ "actors": ["mallory:hers"] })).await;
    act().await.token();
    world
        .server
        .admin(
            "PATCH",
            "federated-credentials/hers",
            json!({ "vouched": true }),
        )
        .await;
    assert_eq!(log_in().await.status, 200);
    world
        .server
        .admin(
            "PATCH",
            "federated-credentials/hers",
            json!({ "expires_at": "2041-01-01T00:00:00Z" }),
        )
        .await;
    act().await.token();
    assert_eq!(log_in().await.status, 200);
}

#[tokio::test]
async fn sec_m5__a_delegated_token_ends_with_the_rule_of_its_actor() {
    let world = world().await;
    let mut document = hers();
    document["match"]["workflow_file"] = json!("helper.yml");
    document["vouched"] = json!(true);
    save(&world.server, "admin", "hers", document).await;
    change_joels(&world, json!({ "actors": ["mallory:hers"] })).await;
    let workflow = "octo-org/octo-repo/.github/workflows/helper.yml@refs/heads/main";
    let helper = world.gh.sign(
        &world
            .claims()
            .with("workflow_ref", workflow)
            .with("job_workflow_ref", workflow),
    );
    let acting = [
        ("actor_token", helper.as_str()),
        ("actor_token_type", crate::support::JWT),
    ];
    let first = world.trade(&world.good(), &acting).await.token();
    let second = world.renew(&first, NEVER_MIND).await.token();
    let registry = TestClient::registry(&world.server).await;
    for (enabled, active) in [(true, true), (false, false)] {
        world
            .server
            .admin(
                "PATCH",
                "federated-credentials/hers",
                json!({ "enabled": enabled }),
            )
            .await;
        for token in [&first, &second] {
            assert_eq!(
                registry.introspect(&world.server, token).await["active"],
                active
            );
            assert_eq!(world.renew(token, NEVER_MIND).await.status == 200, active);
        }
    }
}

// === rules of before ===

#[tokio::test]
async fn contract_4__migrated_rules_count_as_vouched_with_a_warning_until_saved_again() {
    let world = world().await;
    world.server.put("federated-credentials/hers", hers()).await;
    world
        .server
        .db
        .execute("UPDATE federated_credential SET consent = 'assumed'")
        .await;
    let server = world.server.another_node().await;
    let shared = async || {
        carnet::admin::shared_workloads(&server.app.store, &server.app.rules())
            .await
            .unwrap()
    };
    let lines = shared().await;
    assert!(
        !lines.is_empty()
            && lines
                .iter()
                .all(|line| line.contains("joel:octo-release") && line.contains("mallory:hers")),
        "{lines:?}"
    );
    let told = server
        .admin("GET", "federated-credentials/hers", Value::Null)
        .await
        .json();
    assert_eq!(told["vouched"], true);
    assert!(
        told["warnings"].to_string().contains("vouching_assumed"),
        "{told}"
    );
    // They count as they did, which two principals do not get into one token any more.
    let assertion = world.good();
    let form = [
        ("grant_type", crate::support::JWT_BEARER),
        ("assertion", assertion.as_str()),
    ];
    server
        .form("/token", &form)
        .await
        .refused(400, "invalid_request", "principal_required");
    // Hers is withdrawn, and joel's is saved as it is.
    server
        .admin(
            "PATCH",
            "federated-credentials/hers",
            json!({ "vouched": false }),
        )
        .await;
    assert_eq!(shared().await.len(), lines.len());
    let saved = server
        .admin(
            "PUT",
            "federated-credentials/octo-release",
            World::rule_document(json!({})),
        )
        .await
        .json();
    assert!(
        saved["vouched"] == true && !saved["warnings"].to_string().contains("vouching_assumed"),
        "{saved}"
    );
    assert_eq!(shared().await, Vec::<String>::new());
    assert_eq!(
        payload(&server.form("/token", &form).await.token())["sub"],
        "pr_joel"
    );
}

// === doors that cannot name a principal ===

/// What a registry's own door would give the job of joel, which can name nobody there.
fn at_the_door(world: &World) -> Explanation {
    let app = &world.server.app;
    let context = app.decision_context();
    let issuer = context.rules.issuer_named("github").unwrap();
    let server = context.rules.resource_server("pypi").unwrap();
    let access = AccessRequest {
        front_door: Some(AtFrontDoor::of(server, None).unwrap()),
        ..AccessRequest::default()
    };
    let Value::Object(claims) = world.claims().with("aud", "registry.test").value() else {
        unreachable!("an object")
    };
    let mode = Mode::Preview {
        limits: &app.limits,
        used: false,
        view: &View::Caller,
    };
    explain_claims(
        &context,
        mode,
        issuer,
        Ok(Claims::new(claims)),
        (GrantType::JwtBearer, &access),
        None,
    )
}

/// Who may do what, in the order of the entries.
fn actions(explanation: &Explanation) -> Vec<(String, Vec<String>)> {
    let granted = explanation.granted.as_ref();
    let entries = granted
        .into_iter()
        .flat_map(|granted| &granted.authorization_details);
    entries
        .map(|entry| (entry.principal.clone(), entry.actions.clone()))
        .collect()
}

fn entry(principal: &str, actions: &[&str]) -> (String, Vec<String>) {
    (
        principal.to_owned(),
        actions.iter().map(|action| (*action).to_owned()).collect(),
    )
}

#[tokio::test]
async fn contract_4__a_nameless_door_gives_self_service_rules_no_create() {
    let world = world().await;
    put_hers(&world, hers()).await;
    let mut both = actions(&at_the_door(&world));
    both.sort();
    assert_eq!(
        both,
        [
            entry("joel", &["create", "publish"]),
            entry("mallory", &["publish"])
        ]
    );
    // A rule that only makes new packages gives nothing there.
    let only_new = json!([{ "resource_server": "pypi", "actions": ["create"], "packages": ["*"] }]);
    world
        .server
        .admin_as(
            HERS,
            "PATCH",
            "federated-credentials/hers",
            json!({ "permissions": only_new }),
        )
        .await;
    assert_eq!(
        actions(&at_the_door(&world)),
        [entry("joel", &["create", "publish"])]
    );
}

#[tokio::test]
async fn contract_4__a_rate_limited_self_service_rule_does_not_lock_a_nameless_door() {
    let world = with(&[("CARNET_RATE_LIMITS__TOKENS_PER_MINUTE_PER_CREDENTIAL", "1")]).await;
    put_hers(&world, hers()).await;
    let used_up = world
        .exchange_with(&world.good(), &[("principal", "mallory")])
        .await;
    assert_eq!(payload(&used_up.token())["sub"], "pr_mallory");
    assert_eq!(
        actions(&at_the_door(&world)),
        [entry("joel", &["create", "publish"])]
    );
    // Of two strangers the one that is over its limit is left out: another workload may have used it up.
    change_joels(&world, json!({ "vouched": false })).await;
    assert_eq!(actions(&at_the_door(&world)), [entry("joel", &["publish"])]);
    change_joels(&world, json!({ "vouched": true })).await;
    // Whose own rule is over its limit comes again later, and is no stranger's meanwhile.
    world.exchange(&world.good()).await.token();
    let refused = at_the_door(&world);
    assert_eq!(
        refused
            .reason
            .map(|reason| reason.code().to_owned())
            .as_deref(),
        Some("rate_limited")
    );
}

#[tokio::test]
async fn contract_4__a_nameless_door_judges_vouched_rules_before_self_service_rules() {
    let world = world().await;
    world
        .server
        .admin("DELETE", "federated-credentials/octo-release", Value::Null)
        .await;
    // Together they are more than one request may cost.
    let refs: Vec<String> = (0..30)
        .map(|number| format!("refs/heads/{number}-{}", "x".repeat(480)))
        .chain(["refs/heads/main".into()])
        .collect();
    for number in 0..80 {
        let name = format!("stranger-{number}");
        world
            .server
            .put(
                &format!("principals/{name}"),
                json!({ "id": format!("pr_{name}"), "kind": "user" }),
            )
            .await;
        let mut document = hers();
        document["principal"] = json!(name);
        document["match"]["ref"] = json!({ "any_of": refs });
        let answer = save(
            &world.server,
            &format!("admin:credentials:{name}"),
            "hers",
            document,
        )
        .await;
        assert_eq!(answer.status, 201, "{}", answer.text());
    }
    world.server.clock.advance(1);
    world.rule("octo-release", json!({})).await;
    let given = actions(&at_the_door(&world));
    assert!(
        given.contains(&entry("joel", &["create", "publish"])),
        "{given:?}"
    );
    assert!(given.len() > 10, "{given:?}");
}
