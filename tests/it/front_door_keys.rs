//! What the keys of front doors are good for: consent, several principals, single packages, and the explanations of all that.

use serde_json::{Value, json};

use super::assertion::payload;
use super::front_doors::{ALL, CRATES, GEMS, NPM, NUGET, PYPI, intruding, npm, open, world_with};
use crate::support::{JWT_BEARER, R1, TestClient, World};

/// Who may do what with a key, in order of names.
async fn entries(world: &World, registry: &TestClient, key: &str) -> Vec<(String, String)> {
    let known = registry.introspect(&world.server, key).await;
    let entries = known["authorization_details"].as_array().unwrap();
    let mut entries: Vec<_> = entries
        .iter()
        .map(|entry| {
            (
                entry["principal"].as_str().unwrap().to_owned(),
                entry["actions"].to_string(),
            )
        })
        .collect();
    entries.sort();
    entries
}

#[tokio::test]
async fn contract_4__a_key_of_several_principals_names_the_workload_and_gives_strangers_no_create()
{
    for door in ALL.iter().filter(|door| door.kind != "nuget") {
        let world = world_with(door).await;
        let registry = TestClient::registry(&world.server).await;
        intruding(&world, "hers", json!(["create", "publish"]), json!(["*"])).await;
        let key = door.key(&door.present(&world, &door.good(&world)).await);
        let both = entries(&world, &registry, &key).await;
        assert_eq!(
            both,
            [
                ("joel".to_owned(), r#"["create","publish"]"#.to_owned()),
                ("mallory".to_owned(), r#"["publish"]"#.to_owned())
            ]
        );
        let known = registry.introspect(&world.server, &key).await;
        assert!(
            known["sub"]
                .as_str()
                .unwrap()
                .starts_with("workload:github:"),
            "{known:#}"
        );
        assert!(known["principal"].is_null());
        // Her rule learns nothing of the run and pins nothing.
        let hers = world
            .server
            .admin("GET", "federated-credentials/mallory:hers", Value::Null)
            .await
            .json();
        assert_eq!(hers["pinned"], json!({}), "{hers:#}");
        // Exchanged at the token endpoint, it stays a key that the registry has to ask about.
        let exchanged = world.renew(&key, &[]).await.token();
        assert!(!exchanged.contains('.'), "{exchanged}");
        assert_eq!(entries(&world, &registry, &exchanged).await, both);
    }
}

#[tokio::test]
async fn contract_4__the_nuget_door_takes_the_rules_of_the_named_user_alone() {
    let world = world_with(&NUGET).await;
    intruding(&world, "hers", json!(["create", "publish"]), json!(["*"])).await;
    let token = NUGET.key(&NUGET.present(&world, &NUGET.good(&world)).await);
    let claims = payload(&token);
    assert_eq!(claims["sub"], "pr_joel");
    let entries = claims["authorization_details"].as_array().unwrap();
    assert!(
        entries.iter().all(|entry| entry["principal"] == "joel"),
        "{claims:#}"
    );
}

#[tokio::test]
async fn contract_4__a_rule_that_only_creates_is_told_how_the_first_version_is_published() {
    for door in ALL.iter().filter(|door| door.kind != "nuget") {
        let world = world_with(door).await;
        world
            .server
            .admin("DELETE", "federated-credentials/octo-release", Value::Null)
            .await;
        intruding(&world, "hers", json!(["create"]), json!(["*"])).await;
        let refused = door.present(&world, &door.good(&world)).await;
        assert_eq!(
            refused.json()["reason"],
            "create_needs_principal",
            "{}",
            refused.text()
        );
        assert!(
            door.shown(&refused).contains("carnet exchange --principal"),
            "{}",
            door.shown(&refused)
        );
        // And so it is: the named token may create.
        let named = world
            .exchange_with(&world.good(), &[("principal", "mallory")])
            .await;
        let claims = payload(&named.token());
        assert_eq!(
            claims["authorization_details"][0]["actions"],
            json!(["create"])
        );
    }
}

/// An audit event through a door is explained again as that door judged it.
#[tokio::test]
async fn a_recorded_request_at_a_door_is_explained_as_one_at_that_door() {
    for door in &ALL {
        let world = world_with(door).await;
        let claims = world.claims().on_ref("refs/heads/other", "branch");
        world
            .rule("octo-release", json!({ "ref": "refs/heads/main" }))
            .await;
        let refused = door
            .present(&world, &door.sign(&world, claims))
            .await
            .json();
        assert_eq!(refused["reason"], "ref_mismatch");
        world.server.app.flush_audit().await;
        let event = world.server.audit("outcome=refused").await[0].clone();
        assert_eq!(event["id"], refused["error_id"]);
        assert_eq!(event["resource"], R1);
        let asked = &event["detail"]["requested"];
        assert_eq!(asked["front_door"], "pypi", "{event:#}");
        let question = json!({ "event": event["id"] });
        let again = world
            .server
            .admin("POST", "explanations", question.clone())
            .await
            .json();
        assert_eq!(again["reason"], "ref_mismatch", "{again:#}");
        world.rule("octo-release", json!({})).await;
        let again = world
            .server
            .admin("POST", "explanations", question)
            .await
            .json();
        assert_eq!(again["verdict"], "allow", "{again:#}");
        let packages = &again["granted"]["authorization_details"][0]["packages"];
        assert_eq!(packages[0], "widgets");
        assert_eq!(packages.as_array().unwrap().len() == 1, door.kind == "npm");
    }
}

#[tokio::test]
async fn an_npm_key_is_good_for_the_package_that_it_was_asked_for() {
    let world = world_with(&NPM).await;
    let registry = TestClient::registry(&world.server).await;
    let mut rule = World::rule_document(json!({}));
    rule["permissions"][0]["packages"] = json!(["@octo/*", "widgets"]);
    world
        .server
        .put("federated-credentials/octo-release", rule)
        .await;
    for (path, package) in [
        ("widgets", "widgets"),
        ("@octo%2fcore", "@octo/core"),
        ("%40octo%2Fcore", "@octo/core"),
        ("@octo/core", "@octo/core"),
    ] {
        let answer = npm(&world, path, &NPM.good(&world)).await;
        assert_eq!(answer.status, 201, "{path}: {}", answer.text());
        let known = registry.introspect(&world.server, &NPM.key(&answer)).await;
        assert_eq!(
            known["authorization_details"][0]["packages"],
            json!([package])
        );
    }
    let outside = npm(&world, "left-pad", &NPM.good(&world)).await;
    assert_eq!(
        (outside.status, &outside.json()["reason"]),
        (404, &json!("package_out_of_scope"))
    );
    assert!(
        NPM.shown(&outside).contains("left-pad"),
        "{}",
        NPM.shown(&outside)
    );
    assert_eq!(
        outside.json()["body"]["message"],
        outside.json()["message"],
        "pnpm reads it there"
    );
    for path in ["a*", "*", "x%00y", &"y".repeat(300)] {
        let refused = npm(&world, path, &NPM.good(&world)).await;
        assert_eq!(
            (refused.status, &refused.json()["reason"]),
            (400, &json!("parameter_malformed")),
            "{path}"
        );
    }
}

#[tokio::test]
async fn contract_6__an_assertion_is_good_once_for_each_npm_package() {
    let world = world_with(&NPM).await;
    let mut rule = World::rule_document(json!({}));
    rule["permissions"][0]["packages"] = json!(["*"]);
    world
        .server
        .put("federated-credentials/octo-release", rule)
        .await;
    // One token of `npm publish --workspaces`.
    let assertion = NPM.good(&world);
    for package in ["a", "b", "@octo%2fa"] {
        assert_eq!(npm(&world, package, &assertion).await.status, 201);
    }
    for package in ["a", "@octo%2fa", "@octo/a"] {
        let again = npm(&world, package, &assertion).await;
        assert_eq!(
            (again.status, &again.json()["reason"]),
            (401, &json!("replay")),
            "{package}"
        );
    }
    // However the registry's one name is spelt.
    let folded = json!({ "package_names": "ascii_case_insensitive" });
    world
        .server
        .admin("PATCH", "resource-servers/pypi", folded)
        .await;
    assert_eq!(npm(&world, "d", &assertion).await.status, 201);
    assert_eq!(
        npm(&world, "D", &assertion).await.json()["reason"],
        "replay"
    );
    // A refusal uses nothing up.
    world
        .server
        .admin(
            "PATCH",
            "federated-credentials/octo-release",
            json!({ "enabled": false }),
        )
        .await;
    assert_eq!(npm(&world, "c", &assertion).await.status, 404);
    world
        .server
        .admin(
            "PATCH",
            "federated-credentials/octo-release",
            json!({ "enabled": true }),
        )
        .await;
    assert_eq!(npm(&world, "c", &assertion).await.status, 201);
}

async fn explained(world: &World, parameters: &[(&str, &str)]) -> Value {
    let all = [&[("grant_type", JWT_BEARER)], parameters].concat();
    let answer = world.server.form("/explain", &all).await;
    answer.json()
}

#[tokio::test]
async fn contract_7__an_explanation_judges_as_the_front_door_does() {
    for door in &ALL {
        let world = world_with(door).await;
        intruding(&world, "hers", json!(["create", "publish"]), json!(["*"])).await;
        let beside: &[(&str, &str)] = match door.kind {
            "npm" => &[("package", "widgets")],
            "nuget" => &[("principal", "joel")],
            _ => &[],
        };
        let ask = |assertion: &str| {
            let assertion = assertion.to_owned();
            let world = &world;
            async move {
                let own = [("assertion", assertion.as_str()), ("front_door", "pypi")];
                explained(world, &[&own, beside].concat()).await
            }
        };
        let good = door.good(&world);
        let told = ask(&good).await;
        assert_eq!(told["verdict"], "allow", "{told:#}");
        let granted = &told["granted"]["authorization_details"];
        let answer = door.present(&world, &good).await;
        let key = door.key(&answer);
        let given = if door.kind == "nuget" {
            payload(&key)["authorization_details"].clone()
        } else {
            let registry = TestClient::registry(&world.server).await;
            registry.introspect(&world.server, &key).await["authorization_details"].clone()
        };
        assert_eq!(granted, &given, "{}", door.kind);
        for (assertion, reason) in [
            (good, "replay"),
            (world.good(), "aud_mismatch"),
            (
                door.sign(
                    &world,
                    world.claims().with("event_name", "pull_request_target"),
                ),
                "event_denied",
            ),
        ] {
            let told = ask(&assertion).await;
            let answered = door.present(&world, &assertion).await.json();
            assert_eq!(
                (&told["reason"], &answered["reason"]),
                (&json!(reason), &json!(reason)),
                "{told:#} {answered:#}"
            );
        }
    }
}

#[tokio::test]
async fn contract_7__what_the_tools_of_a_door_cannot_send_is_refused_in_its_explanation() {
    let world = world_with(&CRATES).await;
    let assertion = CRATES.good(&world);
    for (name, value, reason) in [
        ("principal", "joel", "parameter_malformed"),
        ("package", "widgets", "parameter_malformed"),
        ("scope", "publish", "parameter_malformed"),
        ("resource", R1, "parameter_malformed"),
        ("front_door", "crates", "target_unknown"),
        ("front_door", "nobody", "target_unknown"),
    ] {
        let mut parameters = vec![("assertion", assertion.as_str()), (name, value)];
        if name != "front_door" {
            parameters.push(("front_door", "pypi"));
        }
        let told = explained(&world, &parameters).await;
        assert_eq!(
            (&told["reason"], &told["parameter"]),
            (&json!(reason), &json!(name)),
            "{told:#}"
        );
    }
    let told = explained(&world, &[("assertion", &assertion), ("package", "x")]).await;
    assert_eq!(told["parameter"], "package");
    open(&world, &NUGET, json!({})).await;
    let told = explained(
        &world,
        &[("assertion", &NUGET.good(&world)), ("front_door", "pypi")],
    )
    .await;
    assert_eq!(told["reason"], "principal_required", "{told:#}");
    open(&world, &NPM, json!({})).await;
    let told = explained(
        &world,
        &[("assertion", &NPM.good(&world)), ("front_door", "pypi")],
    )
    .await;
    assert_eq!(
        (&told["reason"], &told["parameter"]),
        (&json!("parameter_missing"), &json!("package"))
    );
}

#[tokio::test]
async fn contract_7__administrators_ask_about_claims_at_a_front_door() {
    let world = world_with(&PYPI).await;
    let Value::Object(claims) = world.claims().with("aud", PYPI.audience).value() else {
        unreachable!("an object")
    };
    let ask = async |question: Value| {
        world
            .server
            .admin("POST", "explanations", question)
            .await
            .json()
    };
    let mut question =
        json!({ "trusted_issuer": "github", "claims": claims, "front_door": "pypi" });
    assert_eq!(ask(question.clone()).await["verdict"], "allow");
    question["claims"]["aud"] = json!("https://carnet.test");
    assert_eq!(ask(question.clone()).await["reason"], "aud_mismatch");
    // A door that does not accept the platform.
    question["claims"]["aud"] = json!(PYPI.audience);
    let other = json!({ "profile": "gitlab-ci", "issuer": "https://gitlab.test" });
    world
        .server
        .put("trusted-issuers/gitlab?validate=offline", other)
        .await;
    open(&world, &PYPI, json!({ "trusted_issuers": ["GitLab"] })).await;
    assert_eq!(ask(question.clone()).await["reason"], "iss_unknown");
    let refused = PYPI.present(&world, &PYPI.good(&world)).await;
    assert_eq!(refused.json()["reason"], "iss_unknown");
    assert_eq!(refused.json()["errors"][0]["code"], "invalid-payload");
    // Its name is written as the trusted issuer has it, and that one cannot be removed.
    let saved = world
        .server
        .admin("GET", "resource-servers/pypi", Value::Null)
        .await
        .json();
    assert_eq!(saved["front_door"]["trusted_issuers"], json!(["gitlab"]));
    let kept = world
        .server
        .admin("DELETE", "trusted-issuers/gitlab", Value::Null)
        .await;
    assert_eq!(
        (kept.status, &kept.json()["code"]),
        (409, &json!("in_use")),
        "{}",
        kept.text()
    );
    assert!(
        kept.text().contains("resource server pypi"),
        "{}",
        kept.text()
    );
    open(&world, &PYPI, json!({})).await;
    let removed = world
        .server
        .admin("DELETE", "trusted-issuers/gitlab", Value::Null)
        .await;
    assert_eq!(removed.status, 204, "{}", removed.text());
}

/// The seven contradictions between the registries, each resolved for each door.
#[tokio::test]
async fn dialects_9_1__the_rule_says_which_workflow_counts_at_every_door() {
    for door in &ALL {
        let world = world_with(door).await;
        let reused = || {
            let file = "octo-org/shared/.github/workflows/publish.yml@refs/heads/main";
            world.claims().with("job_workflow_ref", file)
        };
        // The caller's file, as npm and crates.io have it.
        let answer = door.present(&world, &door.sign(&world, reused())).await;
        assert_eq!(
            answer.json()["reason"],
            "called_workflow_mismatch",
            "a reusable workflow of another repository"
        );
        world
            .rule("octo-release", json!({ "called_workflow": "any" }))
            .await;
        let answer = door.present(&world, &door.sign(&world, reused())).await;
        assert!(
            matches!(answer.status, 200 | 201),
            "{}: {}",
            door.kind,
            answer.text()
        );
    }
}

#[tokio::test]
async fn dialects_9_2__letter_case_is_the_platforms_whatever_the_registry_compares_by() {
    for door in &ALL {
        let world = world_with(door).await;
        world
            .rule(
                "octo-release",
                json!({ "repository": "Octo-Org/OCTO-Repo", "environment": "Release" }),
            )
            .await;
        let in_environment = |name: &str| {
            let sub = format!("repo:octo-org/octo-repo:environment:{name}");
            world.claims().with("environment", name).with("sub", sub)
        };
        let answer = door
            .present(&world, &door.sign(&world, in_environment("RELEASE")))
            .await;
        assert!(
            matches!(answer.status, 200 | 201),
            "{}: {}",
            door.kind,
            answer.text()
        );
        let answer = door
            .present(&world, &door.sign(&world, in_environment("release2")))
            .await;
        assert_eq!(answer.json()["reason"], "env_mismatch");
    }
}

#[tokio::test]
async fn dialects_9_3__each_door_answers_with_the_status_that_its_tools_demand() {
    for (door, good, no_rule) in [
        (PYPI, 200, 422),
        (NPM, 201, 404),
        (CRATES, 200, 400),
        (NUGET, 200, 401),
        (GEMS, 201, 404),
    ] {
        let world = world_with(&door).await;
        assert_eq!(
            door.present(&world, &door.good(&world)).await.status,
            good,
            "{}",
            door.kind
        );
        let stranger = world
            .claims()
            .in_repository("octo-org/other")
            .with("repository_id", "75");
        let refused = door.present(&world, &door.sign(&world, stranger)).await;
        assert_eq!(refused.status, no_rule, "{}: {}", door.kind, refused.text());
        assert_eq!(refused.json()["reason"], "no_matching_credential");
    }
}

#[tokio::test]
async fn dialects_9_4__each_door_refuses_in_the_shape_that_its_tools_parse() {
    for door in &ALL {
        let world = world_with(door).await;
        let refused = door.present(&world, &world.good()).await;
        let body = refused.json();
        match door.kind {
            "pypi" => {
                assert_eq!(body["message"], "Token request failed");
                let errors = body["errors"].as_array().unwrap();
                assert_eq!(errors.len(), 1);
                assert_eq!(errors[0]["code"], "invalid-token");
                assert!(errors[0]["description"].is_string());
            }
            "npm" => {
                let message = body["message"].as_str().unwrap();
                assert!(
                    message.starts_with("OIDC token exchange error - "),
                    "{message}"
                );
                assert_eq!(body["body"]["message"], message);
            }
            "crates-io" => assert!(body["errors"][0]["detail"].is_string()),
            _ => assert!(body["error"].is_string()),
        }
    }
}

#[tokio::test]
async fn dialects_9_5__every_spelling_of_the_audience_that_a_tool_asks_for_is_accepted() {
    for (kind, host, audiences) in [
        ("npm", "r.test:8443", &["npm:r.test", "npm:r.test:8443"][..]),
        ("crates-io", "r.test:8443", &["r.test", "r.test:8443"]),
        ("rubygems", "r.test:8443", &["r.test", "r.test:8443"]),
        ("nuget", "r.test:8443", &["https://r.test:8443"]),
        ("pypi", "r.test:8443", &["r.test:8443"]),
    ] {
        let door = super::front_doors::Door {
            kind,
            host,
            audience: "",
        };
        let world = world_with(&door).await;
        for audience in audiences {
            let claims = world.claims().with("aud", *audience);
            let answer = door.present(&world, &world.gh.sign(&claims)).await;
            assert!(
                matches!(answer.status, 200 | 201),
                "{kind} {audience}: {}",
                answer.text()
            );
        }
        let claims = world.claims().with("aud", "https://r.test/");
        let refused = door.present(&world, &world.gh.sign(&claims)).await;
        assert_eq!(refused.json()["reason"], "aud_mismatch", "{kind}");
    }
}

#[tokio::test]
async fn dialects_9_6__single_use_is_the_trusted_issuers_at_every_door() {
    for door in [GEMS, PYPI, CRATES, NUGET] {
        let world = world_with(&door).await;
        let once = door.good(&world);
        let first = door.present(&world, &once).await;
        assert!(matches!(first.status, 200 | 201), "{}", first.text());
        assert_eq!(door.present(&world, &once).await.json()["reason"], "replay");
        // A platform that hands out the same token again.
        world.trust(json!({ "replay": "off" })).await;
        let many = door.good(&world);
        for _ in 0..3 {
            let answer = door.present(&world, &many).await;
            assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
        }
    }
}

#[tokio::test]
async fn dialects_9_7__an_immutable_subject_changes_nothing_for_a_rule_without_one() {
    for door in &ALL {
        let world = world_with(door).await;
        let sub = "repo:octo-org@65/octo-repo@74:ref:refs/heads/main";
        let answer = door
            .present(&world, &door.sign(&world, world.claims().with("sub", sub)))
            .await;
        assert!(
            matches!(answer.status, 200 | 201),
            "{}: {}",
            door.kind,
            answer.text()
        );
    }
}
