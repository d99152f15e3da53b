//! Each refusal can be mended from its text alone by the person who sees it (reviews, NEW-A7 to
//! NEW-A9, NEW-A11, NEW-A20, PUB-K5 and PUB-K6).

use serde_json::{Value, json};

use crate::support::{Answer, Claims, GH, JWT_BEARER, R1, ServerProcess, TestDb, World};

/// Each text has to be in the error description.
#[track_caller]
fn says(answer: &Answer, parts: &[&str]) {
    let body = answer.json();
    let description = body["error_description"].as_str().unwrap_or_default();
    for part in parts {
        assert!(description.contains(part), "{part}: {body:#}");
    }
}

fn details(actions: &[&str], packages: &[&str]) -> String {
    json!([{ "type": "package", "actions": actions, "packages": packages }]).to_string()
}

// === what the rule asks for ===

#[tokio::test]
async fn new_a7__refusals_of_a_proved_rule_name_field_expected_received_and_rule() {
    let world = World::new().await;
    let claims = || world.claims();
    let file = |name: &str| {
        let path = format!("octo-org/octo-repo/.github/workflows/{name}@refs/heads/main");
        claims()
            .with("workflow_ref", path.clone())
            .with("job_workflow_ref", path)
    };
    let called = "other/tools/.github/workflows/x.yml@refs/heads/main";
    let cases: Vec<(Value, Claims, &str, &[&str])> = vec![
        (
            json!({ "environment": "production" }),
            claims().in_environment("staging"),
            "env_mismatch",
            &["environment expected production, received staging"],
        ),
        (
            json!({ "environment": "production" }),
            claims(),
            "env_missing",
            &[
                "environment expected production, received nothing",
                "no such claim",
            ],
        ),
        (
            json!({ "ref": "refs/heads/main" }),
            claims().on_ref("refs/tags/main", "tag"),
            "ref_mismatch",
            &[
                "expected refs/heads/main, received refs/tags/main",
                "a tag has",
            ],
        ),
        (
            json!({ "ref": { "glob": "refs/heads/*" } }),
            claims().on_ref("refs/heads/a/b", "branch"),
            "ref_mismatch",
            &["glob refs/heads/*", "stops at a slash"],
        ),
        (
            json!({}),
            file("publish.yml"),
            "workflow_mismatch",
            &["workflow_file expected release.yml", "publish.yml"],
        ),
        (
            json!({}),
            file("Release.yml"),
            "workflow_mismatch",
            &["letter case"],
        ),
        (
            json!({}),
            file("release.yaml"),
            "workflow_mismatch",
            &[".yml", ".yaml"],
        ),
        (
            json!({ "workflow_binding": "called", "called_workflow": "any" }),
            claims().with("job_workflow_ref", called),
            "workflow_mismatch",
            &["the other workflow_binding"],
        ),
        (
            json!({ "events": ["release"] }),
            claims(),
            "event_denied",
            &["events expected release, received push"],
        ),
        (
            json!({ "subject": "repo:octo-org/octo-repo:ref:refs/heads/main" }),
            claims().with("sub", "repo:octo-org@65/octo-repo@74:ref:refs/heads/main"),
            "sub_mismatch",
            &["writes ids into the subject"],
        ),
    ];
    for (matcher, claims, reason, parts) in cases {
        let rule = world.rule("octo-release", matcher).await;
        let answer = world.exchange_claims(&claims).await;
        answer.refused(400, "invalid_grant", reason);
        says(&answer, parts);
        says(&answer, &["rule octo-release"]);
        let mismatch = &answer.json()["mismatches"][0];
        assert_eq!(
            (&mismatch["name"], &mismatch["credential"]),
            (&json!("octo-release"), &rule["id"])
        );
    }
}

#[tokio::test]
async fn new_a7__the_answer_to_an_unproved_caller_says_no_more_than_that_nothing_matches() {
    let world = World::new().await;
    let claims = world
        .claims()
        .with("repository_id", "75")
        .in_environment("staging");
    let body = world.exchange_claims(&claims).await.json();
    assert_eq!(body["reason"], "no_matching_credential");
    assert_eq!(
        body["error_description"],
        "no federated credential matches the assertion"
    );
    for absent in ["mismatches", "received", "permitted", "nearest"] {
        assert_eq!(body.get(absent), None, "{absent}: {body:#}");
    }
    let remedy = body["remedy"].as_str().unwrap();
    assert!(remedy.contains("workflow_file"), "{remedy}");
    // The owner of a rule that did not come close sees no event of it, so none is promised.
    assert!(!remedy.contains("package owner sees"), "{remedy}");
}

#[tokio::test]
async fn new_a8__a_wrong_principal_is_told_as_such_and_names_no_other() {
    let world = World::new().await;
    let asked = [("principal", "joelle")];
    let answer = world.exchange_with(&world.good(), &asked).await;
    answer.refused(400, "invalid_grant", "principal_mismatch");
    says(
        &answer,
        &["principal expected the principal of this rule, received joelle"],
    );
    assert!(!answer.text().contains("\"joel\""), "{}", answer.text());

    let good = world.good();
    let form = [
        ("grant_type", JWT_BEARER),
        ("assertion", good.as_str()),
        ("principal", "joelle"),
    ];
    let explained = world.server.form("/explain", &form).await;
    let body = explained.json();
    assert_eq!(body["reason"], "principal_mismatch");
    assert!(!explained.text().contains("\"joel\""), "{body:#}");
    let candidate = &body["candidates"][0];
    assert_eq!(candidate["matches"], false);
    let is_principal =
        |line: &&Value| line["field"] == "principal" && line["reason"] == "principal_mismatch";
    let lines = candidate["conditions"].as_array().unwrap();
    let line = lines.iter().find(is_principal).unwrap();
    assert_eq!(line["received"], "joelle");

    // Whoever manages rules is told whose the rule is.
    let asked = json!({ "assertion": world.good(), "principal": "joelle" });
    let admin = world.server.admin("POST", "explanations", asked).await;
    let body = admin.json();
    let lines = body["candidates"][0]["conditions"].as_array().unwrap();
    let line = lines.iter().find(is_principal).unwrap();
    assert_eq!(
        (&line["expected"], &line["received"]),
        (&json!("joel"), &json!("joelle"))
    );
}

#[tokio::test]
async fn a_wrong_principal_is_told_before_what_else_differs_from_the_vouched_rule() {
    let world = World::new().await;
    world
        .rule("octo-release", json!({ "environment": "release" }))
        .await;
    let answer = world
        .exchange_with(&world.good(), &[("principal", "joelle")])
        .await;
    answer.refused(400, "invalid_grant", "principal_mismatch");
    let named = world
        .exchange_with(&world.good(), &[("principal", "joel")])
        .await;
    named.refused(400, "invalid_grant", "env_missing");
}

#[tokio::test]
async fn the_reason_of_the_closest_rule_is_told_and_not_that_of_the_oldest() {
    let world = World::new().await;
    let far = json!({ "workflow_file": "other.yml", "environment": "release" });
    world.rule("octo-release", far).await;
    world
        .rule("octo-second", json!({ "environment": "release" }))
        .await;
    let answer = world.exchange(&world.good()).await;
    answer.refused(400, "invalid_grant", "env_missing");
    assert_eq!(answer.json()["mismatches"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_condition_that_fails_is_told_before_the_state_of_the_rule() {
    let world = World::new().await;
    for (environment, reason) in [
        (json!("release"), "env_missing"),
        (Value::Null, "credential_disabled"),
    ] {
        let mut rule = World::rule_document(json!({ "environment": environment }));
        rule["enabled"] = json!(false);
        world
            .server
            .put("federated-credentials/octo-release", rule)
            .await;
        world
            .exchange(&world.good())
            .await
            .refused(400, "invalid_grant", reason);
    }
}

#[tokio::test]
async fn a_rule_that_lacks_consent_alone_is_mended_by_naming_its_principal() {
    let world = World::new().await;
    let rule = world.rule("octo-release", json!({})).await;
    let path = format!("federated-credentials/{}", rule["id"].as_str().unwrap());
    let changed = json!({ "vouched": false });
    let saved = world.server.admin("PATCH", &path, changed).await;
    assert_eq!(saved.json()["vouched"], false, "{}", saved.text());
    for (asked, remedy) in [
        (&[][..], "--principal NAME of carnet exchange"),
        (
            &[("principal", "joelle")],
            "Correct principal in the request",
        ),
    ] {
        let answer = world.exchange_with(&world.good(), asked).await;
        answer.refused(400, "invalid_grant", "no_matching_credential");
        let told = answer.json()["remedy"].as_str().unwrap().to_owned();
        assert!(told.contains(remedy), "{:#}", answer.json());
    }
    world
        .exchange_with(&world.good(), &[("principal", "joel")])
        .await
        .token();
}

#[tokio::test]
async fn an_explanation_for_whoever_manages_rules_has_the_remedy_of_its_own_reason() {
    let world = World::new().await;
    world
        .rule(
            "octo-release",
            json!({ "repository": "octo-org/octo-rope" }),
        )
        .await;
    let claims = world.claims().with("repository_id", "75");
    let asked = json!({ "assertion": world.gh.sign(&claims) });
    let explained = world
        .server
        .admin("POST", "explanations", asked)
        .await
        .json();
    let remedy = explained["remedy"].as_str().unwrap();
    assert_ne!(
        explained["reason"], "no_matching_credential",
        "{explained:#}"
    );
    assert!(!remedy.contains("in this order"), "{remedy}");
}

#[tokio::test]
async fn new_a9__a_pending_rule_is_explained_and_shown_as_pending_with_its_end() {
    let world = World::new().await;
    let pending = json!({ "repository_owner_id": null, "repository_id": null });
    let rule = world.rule("octo-release", pending).await;
    assert_eq!(rule["state"], "pending");
    let until = rule["pending_until"].as_str().unwrap();
    let explained = world
        .server
        .admin(
            "POST",
            "explanations",
            json!({ "assertion": world.good(), "resource": R1 }),
        )
        .await
        .json();
    assert_eq!(explained["verdict"], "allow", "{explained:#}");
    let lines = explained["candidates"][0]["conditions"].as_array().unwrap();
    let state = lines.iter().find(|line| line["field"] == "state").unwrap();
    assert_eq!(state["received"], "pending");
    assert!(
        state["expected"].as_str().unwrap().contains(until),
        "{state} {until}"
    );

    world.accepts().await;
    let used = world
        .server
        .admin("GET", "federated-credentials/octo-release", Value::Null)
        .await
        .json();
    assert_eq!(
        (&used["state"], used.get("pending_until")),
        (&json!("active"), None)
    );
}

// === what the caller itself sent ===

#[tokio::test]
async fn pub_k5__an_unknown_issuer_is_named_with_the_nearest_shared_trusted_issuer() {
    let world = World::new().await;
    let owned = json!({ "profile": "generic", "issuer": "https://owned.test/x", "owner": "joel", "keys": { "source": "static", "jwks": { "keys": [world.gh.key().jwk()] } } });
    world.server.put("trusted-issuers/owned", owned).await;
    for (iss, nearest) in [
        (format!("{GH}/"), Some(GH)),
        (format!("{GH}/octo-enterprise"), Some(GH)),
        (GH.to_ascii_uppercase(), Some(GH)),
        (format!("{GH}/a/b"), None),
        ("https://elsewhere.test".to_owned(), None),
        ("https://owned.test/X".to_owned(), None),
    ] {
        let claims = world.claims().with("iss", iss.as_str());
        let assertion = world.gh.sign(&claims);
        let answer = world.exchange(&assertion).await;
        answer.refused(400, "invalid_grant", "iss_unknown");
        let body = answer.json();
        assert_eq!(body["received"], json!(iss));
        assert_eq!(
            body.get("nearest").and_then(Value::as_str),
            nearest,
            "{iss}"
        );
        assert!(!answer.text().contains("owned.test/x"), "{body:#}");
        let form = [
            ("grant_type", JWT_BEARER),
            ("assertion", assertion.as_str()),
        ];
        let explained = world.server.form("/explain", &form).await.json();
        assert_eq!(
            (&explained["reason"], &explained["received"]),
            (&json!("iss_unknown"), &json!(iss))
        );
    }
}

#[tokio::test]
async fn pub_k6__refused_claims_are_repeated_with_the_limit_or_what_is_accepted() {
    let world = World::new().await;
    let now = world.server.now();
    let claims = || world.claims();
    let cases: Vec<(Claims, &str, &str, Value)> = vec![
        (
            claims().with("exp", now + 7200),
            "lifetime_too_long",
            "exp",
            json!(7200),
        ),
        (
            claims().with("aud", "https://other.test"),
            "aud_mismatch",
            "aud",
            json!("https://other.test"),
        ),
        (
            claims().with(
                "aud",
                json!(["https://as.test", "https://github.com/octo-org"]),
            ),
            "aud_not_single",
            "aud",
            json!(["https://as.test", "https://github.com/octo-org"]),
        ),
        (
            claims().with("repository_id", 74),
            "claim_type",
            "repository_id",
            json!(74),
        ),
        (
            claims().with("repository_owner", "mallory"),
            "claim_inconsistent",
            "repository",
            json!("octo-org/octo-repo"),
        ),
    ];
    for (claims, reason, claim, received) in cases {
        let answer = world.exchange_claims(&claims).await;
        answer.refused(400, "invalid_grant", reason);
        let body = answer.json();
        assert_eq!(
            (&body["claim"], &body["received"]),
            (&json!(claim), &received),
            "{reason}"
        );
        // No rule is proved: what is listed is what every caller may know.
        assert!(body["remedy"].is_string(), "{body:#}");
    }
    let long = world
        .exchange_claims(&claims().with("exp", now + 7200))
        .await;
    assert_eq!(long.json()["limit"], 3600);
}

#[tokio::test]
async fn pub_k6__refused_claims_are_named_as_the_token_names_them() {
    let world = World::new().await;
    let key = json!({ "keys": [world.gh.key().jwk()] });
    let issuer = json!({ "profile": "kubernetes", "issuer": "https://cluster.test", "keys": { "source": "static", "jwks": key } });
    world.server.put("trusted-issuers/cluster", issuer).await;
    let claims = world.claims().with("iss", "https://cluster.test");
    let answer = world.exchange_claims(&claims).await;
    answer.refused(400, "invalid_grant", "claim_missing");
    let claim = answer.json()["claim"].as_str().unwrap().to_owned();
    assert!(claim.starts_with("/kubernetes.io/"), "{claim}");
}

#[tokio::test]
async fn refused_requests_say_what_was_asked_for_and_what_is_permitted() {
    let world = World::new().await;
    let cases: Vec<(&str, String, &str, &str, &[&str])> = vec![
        (
            "scope",
            "publish unlist".to_owned(),
            "invalid_scope",
            "scope_not_granted",
            &["received unlist, permitted create or publish"],
        ),
        (
            "authorization_details",
            details(&["publish"], &["widgets", "gadgets"]),
            "invalid_authorization_details",
            "package_out_of_scope",
            &["received gadgets, permitted widgets or widgets-*"],
        ),
        (
            "authorization_details",
            details(&["unlist"], &["widgets"]),
            "invalid_authorization_details",
            "action_out_of_scope",
            &["received unlist, permitted create or publish"],
        ),
        (
            "authorization_details",
            json!([{ "type": "package", "actions": ["publish"], "packages": ["widgets"], "owner": "mallory" }]).to_string(),
            "invalid_authorization_details",
            "owner_out_of_scope",
            &["received owner mallory", "permitted owner joel"],
        ),
        (
            "authorization_details",
            r#"[{"type":"package","actions":["publish"],"package":"widgets"}]"#.to_owned(),
            "invalid_authorization_details",
            "details_malformed",
            &[],
        ),
        (
            "resource",
            "https://registry.test/crates/".to_owned(),
            "invalid_target",
            "target_not_granted",
            &["received https://registry.test/crates/, permitted https://registry.test/pypi/"],
        ),
    ];
    for (parameter, value, error, reason, parts) in cases {
        let answer = world
            .exchange_with(&world.good(), &[(parameter, &value)])
            .await;
        answer.refused(400, error, reason);
        says(&answer, parts);
        let body = answer.json();
        assert_eq!(body["parameter"], parameter, "{body:#}");
        assert!(body["remedy"].is_string(), "{body:#}");
    }
}

#[tokio::test]
async fn malformed_and_unknown_parameters_are_named_with_what_comes_nearest() {
    let world = World::new().await;
    for (sent, detail) in [
        (
            r#"[{"type":"package","actions":["publish"],"package":"widgets"}]"#,
            "unknown field `package`",
        ),
        (
            r#"[{"type":"package","actions":"publish","packages":["widgets"]}]"#,
            "[0].actions: invalid type: string",
        ),
        ("{}", "invalid type: map"),
        ("[", "not JSON"),
    ] {
        let asked = [("authorization_details", sent)];
        let answer = world.exchange_with(&world.good(), &asked).await;
        answer.refused(400, "invalid_authorization_details", "details_malformed");
        let said = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(said.contains(detail), "{said}");
    }
    for (sent, nearest) in [
        ("https://registry.test/pypi", Some(R1)),
        ("https://registry.test/pyip/", Some(R1)),
        ("https://nowhere.test/", None),
    ] {
        let answer = world
            .exchange_with(&world.good(), &[("resource", sent)])
            .await;
        answer.refused(400, "invalid_target", "target_unknown");
        let body = answer.json();
        assert_eq!(body["received"], sent);
        assert_eq!(body.get("nearest").and_then(Value::as_str), nearest);
    }
}

#[tokio::test]
async fn new_a20__remedies_are_those_of_the_platform_of_the_assertion() {
    let world = World::new().await;
    world
        .rule("octo-release", json!({ "environment": "x" }))
        .await;
    let answer = world.exchange(&world.good()).await;
    answer.refused(400, "invalid_grant", "env_missing");
    let remedy = answer.json()["remedy"].as_str().unwrap().to_owned();
    assert!(remedy.contains("workflow file"), "{remedy}");
    let page = world.server.get("/reasons/env_missing").await.json();
    assert_eq!(page["remedies"]["github-actions"], json!(remedy));
    assert!(
        page["remedies"]["gitlab-ci"]
            .as_str()
            .unwrap()
            .contains(".gitlab-ci.yml"),
        "{page:#}"
    );
    // No remedy that every platform gets, and none of another platform, speaks of GitHub.
    let profiles = carnet::profile::Profiles::load(None).unwrap();
    for reason in carnet::reason::Reason::ALL {
        let of_github = |text: &str| {
            text.contains(".github/") || text.contains("GitHub") || text.contains("match_names")
        };
        assert!(!of_github(reason.remedy()), "{reason}: {}", reason.remedy());
        for profile in profiles.iter() {
            let speaks_of_it = ["github-actions", "forgejo", "gitea"];
            if let Some(remedy) = profile.remedies.get(reason)
                && !speaks_of_it.contains(&profile.name.as_str())
            {
                assert!(!of_github(remedy), "{} {reason}: {remedy}", profile.name);
            }
        }
    }
}

// === the log ===

#[tokio::test]
async fn new_a11__the_log_line_of_a_refusal_says_what_was_presented() {
    let db = TestDb::new().await;
    let server = ServerProcess::start(db.folder(), &[]).await;
    let key = crate::support::TestKey::rsa(0);
    let platform = crate::support::FakeIssuer::new("https://unknown.test", key);
    let claims = crate::support::github(1_800_000_000).with("iss", "https://unknown.test");
    let assertion = platform.sign(&claims);
    let form = [
        ("grant_type", JWT_BEARER),
        ("assertion", assertion.as_str()),
        ("resource", R1),
    ];
    let sent = reqwest::Client::new()
        .post(format!("{}/token", server.url))
        .form(&form);
    let body: Value = sent.send().await.unwrap().json().await.unwrap();
    assert_eq!(body["reason"], "iss_unknown");
    let text = super::operation::log(db.folder());
    let id = body["error_id"].as_str().unwrap();
    let line = text.lines().find(|line| line.contains(id)).unwrap();
    for part in [
        "iss_unknown",
        "127.0.0.1",
        "https://unknown.test",
        "repo:octo-org/octo-repo:ref:refs/heads/main",
        R1,
    ] {
        assert!(line.contains(part), "{part}: {line}");
    }
    assert!(!text.contains(&assertion), "{text}");
}
