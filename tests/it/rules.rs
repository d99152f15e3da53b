//! Federated credentials: what they match, what they may say, what becomes of them (checklist 1.10, attacks 7.9).

use std::sync::Arc;

use carnet::clock::Timestamp;
use carnet::grant_type::GrantType;
use carnet::ids::CredentialId;
use carnet::model::{FederatedCredential, Snapshot};
use carnet::trust::{Candidate, Consent, Door, Permit};
use serde_json::{Value, json};

use super::assertion::payload;
use crate::support::{Answer, R1, R2, World};

/// Refused because the rule does not hold; told why, since the ids prove that it is meant.
#[track_caller]
fn mismatch(answer: &Answer, reason: &str) {
    answer.refused(400, "invalid_grant", reason);
    assert!(!answer.json()["mismatches"].as_array().unwrap().is_empty());
}

/// Checks that saving the usual rule with these changes is refused at `pointer`.
async fn cannot_save(world: &World, changed: Value, pointer: &str) {
    let answer = world
        .server
        .admin(
            "PUT",
            "federated-credentials/bad",
            World::rule_document(changed.clone()),
        )
        .await;
    assert_eq!(answer.status, 422, "{changed}: {}", answer.text());
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json")
    );
    let errors = answer.json()["errors"].clone();
    assert!(
        errors
            .as_array()
            .unwrap()
            .iter()
            .any(|error| error["pointer"] == pointer),
        "{changed}: {errors}"
    );
}

#[tokio::test]
async fn nuget_pol_1__a_rule_needs_a_repository_or_an_id_and_a_filter() {
    let world = World::new().await;
    cannot_save(&world, json!({ "workflow_file": null }), "/match").await;
    cannot_save(
        &world,
        json!({ "repository": null, "repository_owner_id": null, "repository_id": null }),
        "/match",
    )
    .await;
    // Rules for a whole owner are allowed (architecture.md overrules the line): its id tells it apart.
    world
        .rule(
            "owner-wide",
            json!({ "repository": null, "repository_id": null }),
        )
        .await;
}

#[tokio::test]
async fn atk_135__an_empty_rule_cannot_be_made() {
    let world = World::new().await;
    let mut document = World::rule_document(json!({}));
    document["match"] = json!({});
    let answer = world
        .server
        .admin("PUT", "federated-credentials/bad", document)
        .await;
    assert_eq!(
        (answer.status, &answer.json()["errors"][0]["pointer"]),
        (422, &json!("/match"))
    );
}

#[tokio::test]
async fn nuget_pol_2__another_owner_id_or_repository_id_is_refused() {
    let world = World::new().await;
    for (claim, reason) in [
        ("repository_owner_id", "owner_id_mismatch"),
        ("repository_id", "repo_id_mismatch"),
    ] {
        let answer = world
            .exchange_claims(&world.claims().with(claim, "99"))
            .await;
        answer.refused(400, "invalid_grant", "no_matching_credential");
        // Within an hour it would be counted with the one before.
        world.server.clock.advance(3600);
        let audited = world.server.audit("outcome=refused").await;
        assert_eq!(
            audited[0]["detail"]["mismatches"][0]["reason"], reason,
            "{}",
            audited[0]
        );
    }
}

#[tokio::test]
async fn atk_122__an_owner_of_the_same_name_with_another_id_is_refused() {
    let world = World::new().await;
    let claims = world
        .claims()
        .with("repository_owner_id", "6500")
        .with("repository_id", "7400");
    world.denies_claims(claims, "no_matching_credential").await;
}

#[tokio::test]
async fn atk_123__a_repository_that_moved_to_another_owner_is_refused() {
    let world = World::new().await;
    let claims = world
        .claims()
        .in_repository("new-org/octo-repo")
        .with("repository_owner_id", "66");
    world.denies_claims(claims, "no_matching_credential").await;
}

#[tokio::test]
async fn nuget_pol_3__names_ignore_letter_case_and_refs_do_not() {
    let world = World::new().await;
    world
        .exchange_claims(&world.claims().in_repository("Octo-Org/Octo-Repo"))
        .await
        .token();
    world
        .rule("octo-release", json!({ "ref": "refs/heads/main" }))
        .await;
    world.accepts().await;
    let answer = world
        .exchange_claims(&world.claims().on_ref("refs/heads/Main", "branch"))
        .await;
    mismatch(&answer, "ref_mismatch");
    world
        .rule("octo-release", json!({ "environment": "Release" }))
        .await;
    world
        .exchange_claims(&world.claims().in_environment("rElease"))
        .await
        .token();
    world
        .rule(
            "octo-release",
            json!({ "environment": { "glob": "Prod-*" } }),
        )
        .await;
    world
        .exchange_claims(&world.claims().in_environment("pROD-eu"))
        .await
        .token();
    world
        .rule(
            "octo-release",
            json!({ "ref": { "glob": "refs/heads/main*" } }),
        )
        .await;
    world.accepts().await;
    let answer = world
        .exchange_claims(&world.claims().on_ref("refs/heads/Main", "branch"))
        .await;
    mismatch(&answer, "ref_mismatch");
}

#[tokio::test]
async fn nuget_pol_4__a_rule_for_a_branch_refuses_a_tag_of_the_same_name() {
    let world = World::new().await;
    world
        .rule(
            "octo-release",
            json!({ "ref": "refs/heads/main", "ref_type": "branch" }),
        )
        .await;
    world.accepts().await;
    let answer = world
        .exchange_claims(&world.claims().on_ref("refs/tags/refs/heads/main", "tag"))
        .await;
    mismatch(&answer, "ref_mismatch");
    let lie = world
        .exchange_claims(&world.claims().on_ref("refs/heads/main", "tag"))
        .await;
    lie.refused(400, "invalid_grant", "claim_inconsistent");
}

#[tokio::test]
async fn nuget_pol_5__a_rule_for_a_tag_refuses_a_branch_of_the_same_name() {
    let world = World::new().await;
    world
        .rule(
            "octo-release",
            json!({ "ref": { "glob": "refs/tags/v*" }, "ref_type": "tag" }),
        )
        .await;
    world
        .exchange_claims(&world.claims().on_ref("refs/tags/v1", "tag"))
        .await
        .token();
    for (reference, kind) in [
        ("refs/heads/v1", "branch"),
        ("refs/heads/refs/tags/v1", "branch"),
    ] {
        mismatch(
            &world
                .exchange_claims(&world.claims().on_ref(reference, kind))
                .await,
            "ref_mismatch",
        );
    }
}

#[tokio::test]
async fn atk_129__a_ref_whose_name_contains_another_ref_does_not_match_it() {
    let world = World::new().await;
    world
        .rule("octo-release", json!({ "ref": "refs/heads/main" }))
        .await;
    for (reference, kind) in [
        ("refs/tags/refs/heads/main", "tag"),
        ("refs/heads/refs/heads/main", "branch"),
    ] {
        mismatch(
            &world
                .exchange_claims(&world.claims().on_ref(reference, kind))
                .await,
            "ref_mismatch",
        );
    }
    world
        .rule("octo-release", json!({ "ref": { "glob": "refs/tags/v*" } }))
        .await;
    mismatch(
        &world
            .exchange_claims(&world.claims().on_ref("refs/heads/refs/tags/v1", "branch"))
            .await,
        "ref_mismatch",
    );
}

#[tokio::test]
async fn nuget_pol_6__the_workflow_file_is_compared_whole() {
    let world = World::new().await;
    let workflow = |file: &str| world.claims().with("workflow_ref", file);
    for file in [
        "other/repo/.github/workflows/release.yml@refs/heads/main",
        "octo-org/octo-repo/.github/workflows/x/.github/workflows/release.yml@refs/heads/main",
        "octo-org/octo-repo/.github/workflows/release.yml@refs/heads/other",
        "octo-org/octo-repo/.github/workflows/release.yml",
        "octo-org/octo-repo/.github/workflows/release.yaml@refs/heads/main",
        "octo-org/octo-repo/.github/workflows/Release.yml@refs/heads/main",
        "x/octo-org/octo-repo/.github/workflows/release.yml@refs/heads/main",
    ] {
        mismatch(
            &world.exchange_claims(&workflow(file)).await,
            "workflow_mismatch",
        );
    }
    let by_commit = format!(
        "octo-org/octo-repo/.github/workflows/release.yml@{}",
        "1a2b3c4d".repeat(5)
    );
    world.exchange_claims(&workflow(&by_commit)).await.token();
}

#[tokio::test]
async fn atk_131__at_signs_and_dots_in_a_workflow_path_do_not_pass_for_another_file() {
    let world = World::new().await;
    for file in [
        "octo-org/octo-repo/.github/workflows/release.yml@v1.yml@refs/heads/main",
        "octo-org/octo-repo/.github/workflows/release.yml@refs/heads/main@refs/heads/main",
        "octo-org/octo-repo/.github/workflows/../release.yml@refs/heads/main",
        "octo-org/octo-repo/.github/workflows/../x/release.yml@refs/heads/main",
    ] {
        mismatch(
            &world
                .exchange_claims(&world.claims().with("workflow_ref", file))
                .await,
            "workflow_mismatch",
        );
    }
    for name in ["../x.yml", "a/b.yml", "release", "release.txt", ""] {
        cannot_save(
            &world,
            json!({ "workflow_file": name }),
            "/match/workflow_file",
        )
        .await;
    }
    let named = "release@v1.yml";
    world
        .rule("octo-release", json!({ "workflow_file": named }))
        .await;
    let file = format!("octo-org/octo-repo/.github/workflows/{named}@refs/heads/main");
    world
        .exchange_claims(&world.claims().with("workflow_ref", file))
        .await
        .token();
}

#[tokio::test]
async fn atk_130__caller_and_called_workflow_are_told_apart() {
    let world = World::new().await;
    let called = "shared/workflows/.github/workflows/release.yml@refs/heads/main";
    let reused = || world.claims().with("job_workflow_ref", called);
    mismatch(
        &world.exchange_claims(&reused()).await,
        "called_workflow_mismatch",
    );
    world
        .rule("octo-release", json!({ "called_workflow": "any" }))
        .await;
    world.exchange_claims(&reused()).await.token();
    world.rule("octo-release", json!({ "called_workflow": { "path": "shared/workflows/.github/workflows/release.yml", "ref": "refs/heads/main" } })).await;
    world.exchange_claims(&reused()).await.token();
    mismatch(
        &world.exchange(&world.good()).await,
        "called_workflow_mismatch",
    );
    world
        .rule(
            "octo-release",
            json!({ "workflow_binding": "called", "called_workflow": "any" }),
        )
        .await;
    mismatch(&world.exchange_claims(&reused()).await, "workflow_mismatch");
    world.accepts().await;
}

#[tokio::test]
async fn nuget_pol_9__the_owner_of_new_packages_is_in_the_token() {
    let world = World::new().await;
    world
        .server
        .put("principals/acme", json!({ "kind": "organization" }))
        .await;
    let mut document = World::rule_document(json!({}));
    document["permissions"][0]["owner"] = json!("acme");
    world
        .server
        .put("federated-credentials/octo-release", document)
        .await;
    let entry = world.exchange(&world.good()).await.json()["authorization_details"][0].clone();
    assert_eq!(
        (&entry["owner"], &entry["principal"]),
        (&json!("acme"), &json!("joel"))
    );
}

#[tokio::test]
async fn nuget_pol_10__all_matching_rules_count_and_the_newest_comes_first() {
    let world = World::new().await;
    world.server.clock.advance(1);
    let mut second = World::rule_document(json!({}));
    second["permissions"] =
        json!([{ "resource_server": "pypi", "actions": ["unlist"], "packages": ["gadgets"] }]);
    let newer = world
        .server
        .put("federated-credentials/second", second)
        .await;
    let answer = world.exchange(&world.good()).await.json();
    let entries = answer["authorization_details"].as_array().unwrap();
    let packages: Vec<_> = entries
        .iter()
        .map(|entry| entry["packages"].clone())
        .collect();
    assert_eq!(
        packages,
        [json!(["gadgets"]), json!(["widgets", "widgets-*"])]
    );
    assert_eq!(entries[0]["credential"], newer["id"]);
    let claims = payload(answer["access_token"].as_str().unwrap());
    assert_eq!(
        claims["client_id"],
        format!("federated:{}", newer["id"].as_str().unwrap())
    );
    let event = &world.server.audit("outcome=issued").await[0];
    assert_eq!(
        event["detail"]["credentials"].as_array().unwrap().len(),
        2,
        "{event}"
    );
}

#[tokio::test]
async fn atk_136__no_cross_product_of_two_rules() {
    let world = World::new().await;
    let mut second = World::rule_document(json!({}));
    second["permissions"] =
        json!([{ "resource_server": "pypi", "actions": ["unlist"], "packages": ["gadgets"] }]);
    world
        .server
        .put("federated-credentials/second", second)
        .await;
    for (action, package) in [("unlist", "widgets"), ("publish", "gadgets")] {
        let details =
            json!([{ "type": "package", "actions": [action], "packages": [package] }]).to_string();
        let answer = world
            .exchange_with(&world.good(), &[("authorization_details", &details)])
            .await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (400, &json!("invalid_authorization_details"))
        );
    }
}

#[tokio::test]
async fn nuget_pol_12__an_expired_rule_gives_no_tokens_and_its_tokens_end_with_it() {
    let world = World::new().await;
    let at = |seconds: i64| {
        carnet::clock::Timestamp::from_seconds(world.server.now() + seconds).to_string()
    };
    let mut document = World::rule_document(json!({}));
    document["expires_at"] = json!(at(100));
    document["review_at"] = json!(at(10));
    world
        .server
        .put("federated-credentials/octo-release", document)
        .await;
    assert_eq!(
        world.exchange(&world.good()).await.json()["expires_in"],
        100
    );
    world.server.clock.advance(99);
    assert_eq!(world.exchange(&world.good()).await.json()["expires_in"], 1);
    world.server.clock.advance(1);
    let answer = world.exchange(&world.good()).await;
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (400, &json!("invalid_grant"))
    );
    let shown = world
        .server
        .admin("GET", "federated-credentials/octo-release", Value::Null)
        .await
        .json();
    assert_eq!(shown["state"], "expired");
}

#[tokio::test]
async fn nuget_tok_1__every_exchange_makes_a_token_of_its_own() {
    let world = World::new().await;
    let (one, two) = (
        world.exchange(&world.good()).await.token(),
        world.exchange(&world.good()).await.token(),
    );
    assert_ne!(payload(&one)["jti"], payload(&two)["jti"]);
}

#[tokio::test]
async fn nuget_tok_2__tokens_live_900_seconds_by_default_and_60_to_3600_if_configured() {
    // `always at most 900` is overruled by architecture.md: 60 to 3600 by configuration.
    let world = World::new().await;
    assert_eq!(
        world.exchange(&world.good()).await.json()["expires_in"],
        900
    );
    for (seconds, status) in [(60, 200), (3600, 200), (59, 422), (3601, 422)] {
        let answer = world
            .server
            .admin(
                "PATCH",
                "resource-servers/pypi",
                json!({ "token_lifetime_seconds": seconds }),
            )
            .await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    let shown = world
        .server
        .admin("GET", "resource-servers/pypi", Value::Null)
        .await
        .json();
    assert_eq!(
        shown["warnings"].as_array().unwrap().len(),
        1,
        "above 900 saving warns: {shown}"
    );
    assert_eq!(
        world.exchange(&world.good()).await.json()["expires_in"],
        3600
    );
}

#[tokio::test]
async fn nuget_aud_1__each_exchange_is_on_record_without_the_token() {
    let world = World::new().await;
    let assertion = world.good();
    let token = world.exchange(&assertion).await.token();
    let event = world.server.audit("outcome=issued").await[0].clone();
    assert_eq!(event["trusted_issuer"], "github");
    assert_eq!(event["principal"], "joel");
    assert_eq!(event["token_id"], payload(&token)["jti"]);
    let workload = &event["detail"]["workload"]["claims"];
    assert_eq!(
        (&workload["repository_id"], &workload["run_id"]),
        (&json!("74"), &json!("9001"))
    );
    assert!(workload["workflow_ref"].is_string());
    assert!(event["credential"].as_str().unwrap().starts_with("fc_"));
    let text = event.to_string();
    for part in assertion
        .split('.')
        .chain(token.split('.'))
        .filter(|part| part.len() > 20)
    {
        assert!(!text.contains(part));
    }
}

#[tokio::test]
async fn nuget_gov_1__a_publish_token_is_refused_by_the_admin_api() {
    let world = World::new().await;
    let token = world.exchange(&world.good()).await.token();
    for (method, path) in [
        ("GET", "principals"),
        ("PUT", "principals/x"),
        ("GET", "audit-events"),
        ("POST", "signing-keys/rotate"),
    ] {
        let request = axum::http::Request::builder()
            .method(method)
            .uri(format!("/admin/v1/{path}"));
        let request = request
            .header("authorization", format!("Bearer {token}"))
            .body(axum::body::Body::from("{}"))
            .unwrap();
        let answer = world.server.send(request).await;
        assert_eq!(answer.status, 401, "{path}: {}", answer.text());
        assert!(
            answer
                .header("www-authenticate")
                .unwrap()
                .contains("invalid_token")
        );
    }
}

#[tokio::test]
async fn atk_186__a_registry_cannot_have_an_action_named_admin() {
    let world = World::new().await;
    let answer = world
        .server
        .admin(
            "PATCH",
            "resource-servers/pypi",
            json!({ "actions": ["publish", "admin"] }),
        )
        .await;
    assert_eq!(answer.status, 422, "{}", answer.text());
}

#[tokio::test]
async fn atk_118__an_environment_cannot_pose_as_a_branch() {
    let world = World::new().await;
    world
        .rule("octo-release", json!({ "ref": "refs/heads/main" }))
        .await;
    let claims = world
        .claims()
        .on_ref("refs/heads/feature", "branch")
        .in_environment("prod:ref:refs/heads/main")
        .with(
            "sub",
            "repo:octo-org/octo-repo:environment:prod:ref:refs/heads/main",
        );
    mismatch(&world.exchange_claims(&claims).await, "ref_mismatch");
}

#[tokio::test]
async fn atk_119__environments_are_compared_without_url_decoding() {
    let world = World::new().await;
    world
        .rule("octo-release", json!({ "environment": "Production:V1" }))
        .await;
    mismatch(
        &world
            .exchange_claims(&world.claims().in_environment("Production%3AV1"))
            .await,
        "env_mismatch",
    );
    world
        .exchange_claims(&world.claims().in_environment("production:v1"))
        .await
        .token();
}

#[tokio::test]
async fn atk_120__a_subject_with_ids_matches_rules_by_ids_and_not_by_the_old_subject() {
    let world = World::new().await;
    let immutable = || {
        world
            .claims()
            .with("sub", "repo:octo-org@65/octo-repo@74:ref:refs/heads/main")
    };
    world.exchange_claims(&immutable()).await.token();
    world
        .rule(
            "octo-release",
            json!({ "subject": "repo:octo-org/octo-repo:ref:refs/heads/main" }),
        )
        .await;
    mismatch(&world.exchange_claims(&immutable()).await, "sub_mismatch");
}

#[tokio::test]
async fn atk_121__a_customised_subject_changes_nothing_for_rules_by_ids() {
    let world = World::new().await;
    world
        .exchange_claims(&world.claims().with("sub", "repository_owner:monalisa"))
        .await
        .token();
    world
        .rule(
            "octo-release",
            json!({ "subject": "repository_owner:mona" }),
        )
        .await;
    mismatch(
        &world
            .exchange_claims(&world.claims().with("sub", "repository_owner:monalisa"))
            .await,
        "sub_mismatch",
    );
}

#[tokio::test]
async fn atk_124__names_beyond_ascii_never_match() {
    let world = World::new().await;
    for repository in [
        "octo-org/octo-repo/../x",
        "octo-org//octo-repo",
        "octo-org/octo-repo ",
        "octo-org/octo-rep\u{f6}",
        "octo-org/octo-repo\u{200d}",
        "\u{202e}octo-org/octo-repo",
        "octo-org/o\u{441}to-repo",
        "\u{ff4f}cto-org/octo-repo",
    ] {
        let answer = world
            .exchange_claims(&world.claims().in_repository(repository))
            .await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (400, &json!("invalid_grant")),
            "{repository}"
        );
    }
    // Folding beyond ASCII would make these equal.
    world
        .rule("octo-release", json!({ "repository": "octo-org/kit" }))
        .await;
    for repository in [
        "octo-org/\u{212a}it",
        "octo-org/k\u{131}t",
        "octo-org/k\u{130}t",
    ] {
        let answer = world
            .exchange_claims(&world.claims().in_repository(repository))
            .await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (400, &json!("invalid_grant")),
            "{repository}"
        );
    }
    world
        .exchange_claims(&world.claims().in_repository("Octo-org/KIT"))
        .await
        .token();
    for repository in ["octo-org/octo-rep\u{f6}", "octo-org", "octo-org/a/b"] {
        cannot_save(
            &world,
            json!({ "repository": repository }),
            "/match/repository",
        )
        .await;
    }
}

#[tokio::test]
async fn atk_125__longer_and_shorter_repository_names_do_not_match() {
    let world = World::new().await;
    for repository in [
        "octo-org/octo-repo-evil",
        "oocto-org/octo-repo",
        "x/octo-org/octo-repo",
        "octo-org/octo-rep",
    ] {
        let answer = world
            .exchange_claims(&world.claims().in_repository(repository))
            .await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (400, &json!("invalid_grant")),
            "{repository}"
        );
    }
}

#[tokio::test]
async fn atk_126__stars_in_refs_stop_at_slashes() {
    let world = World::new().await;
    world
        .rule(
            "octo-release",
            json!({ "ref": { "glob": "refs/heads/release/*" } }),
        )
        .await;
    world
        .exchange_claims(&world.claims().on_ref("refs/heads/release/1", "branch"))
        .await
        .token();
    mismatch(
        &world
            .exchange_claims(&world.claims().on_ref("refs/heads/release/a/b", "branch"))
            .await,
        "ref_mismatch",
    );
    mismatch(
        &world
            .exchange_claims(&world.claims().on_ref("refs/tags/release/1", "tag"))
            .await,
        "ref_mismatch",
    );
    world
        .rule(
            "octo-release",
            json!({ "ref": { "glob": "refs/heads/release/**" } }),
        )
        .await;
    world
        .exchange_claims(&world.claims().on_ref("refs/heads/release/a/b", "branch"))
        .await
        .token();
}

#[tokio::test]
async fn atk_127__stars_in_tokens_are_plain_text_and_rules_know_no_regular_expressions() {
    let world = World::new().await;
    world
        .rule(
            "octo-release",
            json!({ "ref": { "glob": "refs/heads/[a]?.*(x+)+$" } }),
        )
        .await;
    mismatch(
        &world
            .exchange_claims(&world.claims().on_ref("refs/heads/aa.xx", "branch"))
            .await,
        "ref_mismatch",
    );
    world
        .exchange_claims(&world.claims().on_ref("refs/heads/[a]?.b(x+)+$", "branch"))
        .await
        .token();
    world
        .rule("octo-release", json!({ "ref": "refs/heads/main" }))
        .await;
    for reference in ["refs/heads/*", "refs/heads/**", "refs/heads/.*"] {
        mismatch(
            &world
                .exchange_claims(&world.claims().on_ref(reference, "branch"))
                .await,
            "ref_mismatch",
        );
    }
    let long = format!("refs/heads/{}", "(a+)+$".repeat(150));
    let started = std::time::Instant::now();
    let answer = world
        .exchange_claims(&world.claims().on_ref(&long, "branch"))
        .await;
    assert_eq!(
        (answer.status, started.elapsed().as_secs() < 2),
        (400, true)
    );
}

#[tokio::test]
async fn atk_128__a_star_does_not_match_an_absent_or_empty_claim() {
    let world = World::new().await;
    world
        .rule("octo-release", json!({ "environment": { "glob": "p**" } }))
        .await;
    let answer = world.exchange(&world.good()).await;
    mismatch(&answer, "env_missing");
    let answer = world
        .exchange_claims(&world.claims().in_environment(""))
        .await;
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (400, &json!("invalid_grant"))
    );
    world
        .exchange_claims(&world.claims().in_environment("prod"))
        .await
        .token();
}

#[tokio::test]
async fn atk_132__risky_events_are_refused() {
    let world = World::new().await;
    for event in ["pull_request_target", "workflow_run", "Pull_Request_Target"] {
        mismatch(
            &world
                .exchange_claims(&world.claims().with("event_name", event))
                .await,
            "event_denied",
        );
    }
    world
        .rule(
            "octo-release",
            json!({ "events": ["push", "pull_request_target"] }),
        )
        .await;
    mismatch(
        &world
            .exchange_claims(&world.claims().with("event_name", "pull_request_target"))
            .await,
        "event_denied",
    );
    // A pull request has to be asked for, also where the rule says nothing about refs.
    world
        .rule("octo-release", json!({ "environment": "release" }))
        .await;
    let pull = world
        .claims()
        .on_ref("refs/pull/7/merge", "")
        .with("event_name", "pull_request")
        .in_environment("release");
    mismatch(&world.exchange_claims(&pull).await, "event_denied");
    // It runs for a ref of its own, which no rule for a branch names.
    world
        .rule("octo-release", json!({ "ref": "refs/heads/main" }))
        .await;
    let pull = world
        .claims()
        .on_ref("refs/pull/7/merge", "branch")
        .with("event_name", "pull_request");
    assert_eq!(world.exchange_claims(&pull).await.status, 400);
    let pull = world
        .claims()
        .on_ref("refs/pull/7/merge", "")
        .with("event_name", "pull_request");
    mismatch(&world.exchange_claims(&pull).await, "ref_mismatch");
}

#[tokio::test]
async fn d_38b__a_banned_event_is_refused_though_a_rule_lists_it() {
    let world = World::new().await;
    world.trust(json!({ "banned_events": ["release"] })).await;
    world
        .rule(
            "octo-release",
            json!({ "events": ["release", "workflow_run"] }),
        )
        .await;
    mismatch(
        &world
            .exchange_claims(&world.claims().with("event_name", "release"))
            .await,
        "event_denied",
    );
    world
        .exchange_claims(&world.claims().with("event_name", "workflow_run"))
        .await
        .token();
}

#[tokio::test]
async fn atk_133__the_runner_is_compared_where_a_rule_says_so() {
    let world = World::new().await;
    world
        .exchange_claims(&world.claims().with("runner_environment", "self-hosted"))
        .await
        .token();
    world
        .rule(
            "octo-release",
            json!({ "runner_environment": "github-hosted" }),
        )
        .await;
    world.accepts().await;
    mismatch(
        &world
            .exchange_claims(&world.claims().with("runner_environment", "self-hosted"))
            .await,
        "runner_denied",
    );
    let absent = world
        .exchange_claims(&world.claims().without("runner_environment"))
        .await;
    assert_eq!(
        (absent.status, &absent.json()["error"]),
        (400, &json!("invalid_grant"))
    );
}

#[tokio::test]
async fn atk_134__an_unknown_field_cannot_be_saved() {
    let world = World::new().await;
    cannot_save(&world, json!({ "enviroment": "prod" }), "/match/enviroment").await;
    cannot_save(&world, json!({ "ref_regex": ".*" }), "/match/ref_regex").await;
    cannot_save(&world, json!({ "ref": { "regex": ".*" } }), "/match/ref").await;
    cannot_save(
        &world,
        json!({ "repository": { "glob": "octo-org/*" } }),
        "/match/repository",
    )
    .await;
}

#[tokio::test]
async fn atk_138__a_rule_of_a_disabled_principal_gives_no_token() {
    let world = World::new().await;
    let answer = world
        .server
        .admin("PATCH", "principals/joel", json!({ "enabled": false }))
        .await;
    assert_eq!(answer.status, 200);
    mismatch(&world.exchange(&world.good()).await, "principal_disabled");
    world
        .server
        .admin("PATCH", "principals/joel", json!({ "enabled": true }))
        .await;
    world.accepts().await;
}

#[tokio::test]
async fn atk_141__a_claim_with_commas_is_compared_as_one_text() {
    let world = World::new().await;
    world
        .rule(
            "octo-release",
            json!({ "claims": { "repository_property_team": "a" } }),
        )
        .await;
    for value in ["a,b", "b,a", "aa", "A"] {
        mismatch(
            &world
                .exchange_claims(&world.claims().with("repository_property_team", value))
                .await,
            "claim_mismatch",
        );
    }
    world
        .exchange_claims(&world.claims().with("repository_property_team", "a"))
        .await
        .token();
}

#[tokio::test]
async fn wimse_clm_1__the_ref_of_the_run_is_compared_and_not_only_the_subject() {
    let world = World::new().await;
    world
        .rule("octo-release", json!({ "ref": "refs/heads/main" }))
        .await;
    let same_subject = world
        .claims()
        .on_ref("refs/heads/other", "branch")
        .with("sub", "repo:octo-org/octo-repo:ref:refs/heads/main");
    mismatch(&world.exchange_claims(&same_subject).await, "ref_mismatch");
}

#[tokio::test]
async fn wimse_clm_2__a_missing_claim_is_a_mismatch() {
    let world = World::new().await;
    world
        .rule("octo-release", json!({ "environment": "prod" }))
        .await;
    mismatch(&world.exchange(&world.good()).await, "env_missing");
    world
        .rule("octo-release", json!({ "actor_id": "12" }))
        .await;
    let answer = world
        .exchange_claims(&world.claims().without("actor_id"))
        .await;
    mismatch(&answer, "claim_missing");
}

#[tokio::test]
async fn wimse_ten_2__a_rule_without_ids_is_pending_until_the_first_token_pins_them() {
    let world = World::new().await;
    let saved = world
        .rule(
            "octo-release",
            json!({ "repository_owner_id": null, "repository_id": null, "environment": "prod" }),
        )
        .await;
    // The ids that the usual rule gave are gone with it: the rule waits for its first match.
    assert_eq!(
        (&saved["state"], &saved["pinned"]),
        (&json!("pending"), &json!({}))
    );
    let claims = || {
        world
            .claims()
            .in_environment("prod")
            .with("repository_id", "740")
            .with("repository_owner_id", "650")
    };
    world
        .exchange_claims(&claims().in_environment("test"))
        .await;
    let still = world
        .server
        .admin("GET", "federated-credentials/octo-release", Value::Null)
        .await
        .json();
    assert_eq!(still["state"], "pending", "only a token pins");
    world.exchange_claims(&claims()).await.token();
    let pinned = world
        .server
        .admin("GET", "federated-credentials/octo-release", Value::Null)
        .await
        .json();
    assert_eq!(
        (&pinned["state"], &pinned["pinned"]),
        (
            &json!("active"),
            &json!({ "repository_owner_id": "650", "repository_id": "740" })
        )
    );
    world
        .exchange_claims(&claims().with("repository_id", "741"))
        .await
        .refused(400, "invalid_grant", "no_matching_credential");
    world.exchange_claims(&claims()).await.token();
}

#[tokio::test]
async fn wimse_ten_3__a_rule_without_a_known_trusted_issuer_cannot_be_saved() {
    let world = World::new().await;
    let mut document = World::rule_document(json!({}));
    document.as_object_mut().unwrap().remove("trusted_issuer");
    let answer = world
        .server
        .admin("PUT", "federated-credentials/bad", document.clone())
        .await;
    assert_eq!(
        (answer.status, &answer.json()["errors"][0]["pointer"]),
        (422, &json!("/trusted_issuer"))
    );
    document["trusted_issuer"] = json!("nobody");
    let answer = world
        .server
        .admin("PUT", "federated-credentials/bad", document)
        .await;
    assert_eq!(
        (answer.status, &answer.json()["errors"][0]["pointer"]),
        (422, &json!("/trusted_issuer"))
    );
}

#[tokio::test]
async fn nuget_aud_2__a_pending_rule_ends_after_seven_days() {
    let world = World::new().await;
    world
        .rule(
            "octo-release",
            json!({ "repository_owner_id": null, "repository_id": null }),
        )
        .await;
    world.server.clock.advance(7 * 86_400 - 1);
    let state = async || {
        world
            .server
            .admin("GET", "federated-credentials/octo-release", Value::Null)
            .await
            .json()["state"]
            .clone()
    };
    assert_eq!(state().await, "pending");
    world.server.clock.advance(1);
    assert_eq!(state().await, "expired");
    assert_eq!(world.exchange(&world.good()).await.status, 400);
    world
        .rule(
            "octo-release",
            json!({ "repository_owner_id": null, "repository_id": null }),
        )
        .await;
    assert_eq!(state().await, "pending");
    world.accepts().await;
    assert_eq!(state().await, "active");
}

#[tokio::test]
async fn nuget_pol_2__pins_survive_changes_of_a_rule_that_keep_the_repository_name() {
    let world = World::new().await;
    let unpinned = json!({ "repository_owner_id": null, "repository_id": null });
    world
        .server
        .admin("DELETE", "federated-credentials/octo-release", Value::Null)
        .await;
    world.rule("pinned", unpinned.clone()).await;
    world.accepts().await;
    let pins = json!({ "repository_owner_id": "65", "repository_id": "74" });
    let mut renamed_case = unpinned.clone();
    renamed_case["repository"] = json!("Octo-Org/Octo-Repo");
    renamed_case["workflow_file"] = json!("publish.yml");
    assert_eq!(world.rule("pinned", renamed_case).await["pinned"], pins);
    let mut moved = unpinned;
    moved["repository"] = json!("octo-org/other");
    let saved = world.rule("pinned", moved).await;
    assert_eq!(
        (&saved["pinned"], &saved["state"]),
        (&json!({}), &json!("pending"))
    );
}

#[tokio::test]
async fn d_52__a_rule_may_serve_several_registries() {
    let world = World::new().await;
    let mut document = World::rule_document(json!({}));
    document["permissions"] = json!([
        { "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"] },
        { "resource_server": "crates", "actions": ["publish"], "packages": ["widgets-rs"] },
    ]);
    world
        .server
        .put("federated-credentials/octo-release", document)
        .await;
    world
        .exchange(&world.good())
        .await
        .refused(400, "invalid_target", "target_ambiguous");
    for (resource, package) in [(R1, "widgets"), (R2, "widgets-rs")] {
        let answer = world
            .exchange_with(&world.good(), &[("resource", resource)])
            .await;
        assert_eq!(
            answer.json()["authorization_details"][0]["packages"],
            json!([package])
        );
        assert_eq!(payload(&answer.token())["aud"], resource);
    }
}

#[tokio::test]
async fn nuget_tok_6__a_throttled_request_is_answered_with_retry_after() {
    let world = World::with(&[("CARNET_RATE_LIMITS__TOKENS_PER_MINUTE_PER_CREDENTIAL", "2")]).await;
    let claims = world
        .claims()
        .in_repository("octo-org/octo-docs")
        .with("repository_id", "75");
    world
        .rule(
            "docs",
            json!({ "repository": "octo-org/octo-docs", "repository_id": "75" }),
        )
        .await;
    for _ in 0..2 {
        world.accepts().await;
    }
    let assertion = world.good();
    let answer = world.exchange(&assertion).await;
    answer.refused(429, "temporarily_unavailable", "rate_limited");
    assert!(
        answer
            .header("retry-after")
            .unwrap()
            .parse::<u32>()
            .unwrap()
            > 0
    );
    world.exchange_claims(&claims).await.token();
}

#[tokio::test]
async fn atk_137__package_names_are_literal_or_patterns_of_the_rule() {
    let world = World::new().await;
    for package in [
        "Widgets",
        "widget",
        "widgets ",
        "widgetsx",
        "w\u{456}dgets",
        "other",
        "*",
        "widgets*",
    ] {
        let details = json!([{ "type": "package", "actions": ["publish"], "packages": [package] }])
            .to_string();
        let answer = world
            .exchange_with(&world.good(), &[("authorization_details", &details)])
            .await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (400, &json!("invalid_authorization_details")),
            "{package}"
        );
    }
    for package in ["widgets", "widgets-core", "widgets-*"] {
        let details = json!([{ "type": "package", "actions": ["publish"], "packages": [package] }])
            .to_string();
        let answer = world
            .exchange_with(&world.good(), &[("authorization_details", &details)])
            .await;
        assert_eq!(
            answer.json()["authorization_details"][0]["packages"],
            json!([package]),
            "{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn nuget_tok_6__replays_do_not_count_against_the_rate_limit() {
    let world = World::with(&[("CARNET_RATE_LIMITS__TOKENS_PER_MINUTE_PER_CREDENTIAL", "3")]).await;
    let used = world.good();
    world.exchange(&used).await.token();
    for _ in 0..20 {
        world
            .exchange(&used)
            .await
            .refused(400, "invalid_grant", "replay");
    }
    world.accepts().await;
}

#[tokio::test]
async fn wimse_ten_2__a_rule_that_knows_half_of_its_ids_learns_the_rest() {
    let world = World::new().await;
    let state = async || {
        world
            .server
            .admin("GET", "federated-credentials/octo-release", Value::Null)
            .await
            .json()
    };
    world
        .rule("octo-release", json!({ "repository_id": null }))
        .await;
    world.accepts().await;
    assert_eq!(state().await["pinned"], json!({ "repository_id": "74" }));
    let saved = world
        .rule(
            "octo-release",
            json!({ "repository_id": null, "repository_owner_id": null }),
        )
        .await;
    assert_eq!(
        (&saved["state"], &saved["pinned"]),
        (&json!("pending"), &json!({ "repository_id": "74" }))
    );
    world.accepts().await;
    let pinned = state().await;
    assert_eq!(
        (&pinned["state"], &pinned["pinned"]),
        (
            &json!("active"),
            &json!({ "repository_id": "74", "repository_owner_id": "65" })
        )
    );
    world.accepts().await;
}

#[tokio::test]
async fn atk_134__a_stored_rule_with_a_field_unknown_to_this_server_matches_nothing() {
    // A newer replica wrote it, or the operator's profile lost a field: the condition cannot be judged, so it does not hold.
    let world = World::new().await;
    world.accepts().await;
    let matcher = json!({
        "repository": "octo-org/octo-repo", "repository_owner_id": "65", "repository_id": "74", "workflow_file": "release.yml",
        "branch": "main",
    });
    world
        .server
        .db
        .execute(&format!(
            "UPDATE federated_credential SET matcher = '{matcher}'"
        ))
        .await;
    let newer = world.server.another_node().await;
    let form = [
        ("grant_type", crate::support::JWT_BEARER),
        ("assertion", &world.good()),
    ];
    let answer = newer.form("/token", &form).await;
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (400, &json!("invalid_grant")),
        "{}",
        answer.text()
    );
}

/// A request that names no principal.
const ANYBODYS: Consent<'_> = Consent::Workload {
    principal: None,
    door: Door::Token,
    others: 5,
};
/// How many rules may count for one assertion.
const CANDIDATES: usize = 1000;

/// The rules of `world` with 1000 older ones beside, about the same workload: copies of the only rule, each changed so.
async fn crowded(world: &World, change: impl Fn(&mut FederatedCredential)) -> Snapshot {
    world
        .server
        .put("principals/mallory", json!({ "kind": "user" }))
        .await;
    let mut rules = (*world.server.app.rules()).clone();
    let issuer = rules.issuer_named("github").unwrap().id;
    let own = rules.credentials_of(issuer).next().unwrap().clone();
    for n in 0..CANDIDATES {
        let mut copy = FederatedCredential {
            id: CredentialId::new(Timestamp::from_seconds(i64::try_from(n).unwrap())),
            principal: "mallory".into(),
            trusted_issuer: issuer,
            revision: 1,
            created_at: Timestamp::from_seconds(1),
            expires_at: None,
            pending_until: None,
            enabled: true,
            vouched: true,
            rule: own.rule.clone(),
        };
        change(&mut copy);
        rules.set_credential(copy.id, Some(copy));
    }
    rules
}

#[tokio::test]
async fn contract_4__a_thousand_rules_of_another_principal_do_not_crowd_out_the_owners_rule() {
    let world = World::new().await;
    let now = Timestamp::from_seconds(world.server.now());
    let app = &world.server.app;
    let verified = carnet::grant::verify_assertion(
        app,
        &app.decision_context(),
        (&world.good(), carnet::assertion::Recipient::TokenEndpoint),
        &mut None,
    )
    .await
    .unwrap();
    let accepted = Arc::new(verified).accept(GrantType::JwtBearer).unwrap();
    let is_joels = |candidate: &&Candidate| *candidate.credential.principal == *"joel";
    let past = Timestamp::from_seconds(2);
    for what in ["switched off", "over", "waited for too long", "in force"] {
        let change = |rule: &mut FederatedCredential| match what {
            "switched off" => rule.enabled = false,
            "over" => rule.expires_at = Some(past),
            "waited for too long" => rule.pending_until = Some(past),
            _ => {}
        };
        let rules = crowded(&world, change).await;
        let permit = Permit::new(accepted.clone(), &rules, now, ANYBODYS, |_| true)
            .unwrap_or_else(|_| panic!("{what}"));
        assert!(
            permit
                .report()
                .matching()
                .any(|candidate| is_joels(&candidate)),
            "{what}"
        );
        assert_eq!(
            permit.report().candidates.len(),
            CANDIDATES,
            "the work stays bounded"
        );
        let ages: Vec<_> = permit
            .report()
            .candidates
            .iter()
            .map(|candidate| candidate.credential.age())
            .collect();
        assert!(ages.is_sorted(), "oldest first");
    }
    // Rules of one principal cannot push out those that a request is limited to, either.
    let rules = crowded(&world, |rule| rule.principal = "joel".into()).await;
    let newest =
        |credential: &FederatedCredential| credential.created_at > Timestamp::from_seconds(1);
    let permit = Permit::new(accepted, &rules, now, ANYBODYS, newest).unwrap();
    assert_eq!(permit.report().candidates.len(), 1);
}

#[tokio::test]
async fn contract_6__a_condition_has_at_most_100_alternatives() {
    let world = World::new().await;
    let some = |count: usize| {
        json!(
            (0..count)
                .map(|n| format!("refs/heads/b{n}"))
                .collect::<Vec<_>>()
        )
    };
    world
        .rule(
            "octo-release",
            json!({ "ref": { "any_of": some(100) }, "claims": { "x": some(100) } }),
        )
        .await;
    cannot_save(
        &world,
        json!({ "ref": { "any_of": some(101) } }),
        "/match/ref",
    )
    .await;
    cannot_save(&world, json!({ "events": some(101) }), "/match/events").await;
    cannot_save(
        &world,
        json!({ "claims": { "x": some(101) } }),
        "/match/claims/x",
    )
    .await;
    cannot_save(
        &world,
        json!({ "claims": { "x": { "any_of": some(101) } } }),
        "/match/claims/x",
    )
    .await;
    let called = json!({ "path": "o/r/.github/workflows/p.yml", "ref": { "any_of": some(101) } });
    cannot_save(
        &world,
        json!({ "called_workflow": called }),
        "/match/called_workflow/ref",
    )
    .await;
}

#[tokio::test]
async fn the_first_use_of_a_rule_is_the_earliest_that_any_replica_notes() {
    let world = World::new().await;
    let server = &world.server;
    let rule = async || {
        let path = "federated-credentials/octo-release";
        server.admin("GET", path, Value::Null).await.json()
    };
    let unused = rule().await;
    assert_eq!(
        (&unused["first_used_at"], &unused["last_used_at"]),
        (&Value::Null, &Value::Null)
    );
    let id: CredentialId = unused["id"].as_str().unwrap().parse().unwrap();
    let at = Timestamp::from_seconds;
    for (period, first, last) in [(20..=30, 20, 30), (10..=40, 10, 40), (50..=60, 10, 60)] {
        let uses = [(id, at(*period.start())..=at(*period.end()))];
        server.app.store.note_use(&uses).await.unwrap();
        let noted = rule().await;
        assert_eq!(noted["first_used_at"], at(first).to_string());
        assert_eq!(noted["last_used_at"], at(last).to_string());
        assert_eq!(noted["revision"], unused["revision"]);
    }
    // What a client sends back of it changes nothing.
    let sent = rule().await;
    let saved = server
        .admin("PUT", "federated-credentials/octo-release", sent)
        .await;
    assert_eq!(saved.status, 200, "{}", saved.text());
    assert_eq!(saved.json()["first_used_at"], at(10).to_string());
}
