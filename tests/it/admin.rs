//! The admin API (contract section 6): who may use it, what it refuses, what it keeps.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::support::{CARNET, R1, TestServer, World};

/// An admin request with these headers.
async fn send(
    server: &TestServer,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> crate::support::Answer {
    let token = server.admin_token("admin");
    let mut request = Request::builder()
        .method(method)
        .uri(format!("/admin/v1/{path}"));
    request = request.header("authorization", format!("Bearer {token}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    server
        .send(request.body(Body::from(body.to_string())).unwrap())
        .await
}

#[tokio::test]
async fn rfc6750_3_1__requests_without_a_good_token_are_challenged() {
    let world = World::new().await;
    let get = async |header: Option<String>| {
        let mut request = Request::get("/admin/v1/principals");
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        world
            .server
            .send(request.body(Body::empty()).unwrap())
            .await
    };
    let none = get(None).await;
    assert_eq!(none.status, 401);
    assert!(!none.header("www-authenticate").unwrap().contains("error="));
    let token = world.server.admin_token("admin");
    for bad in [
        "Bearer x".to_owned(),
        format!("Bearer {token}x"),
        format!("Bearer {}", world.good()),
    ] {
        let answer = get(Some(bad)).await;
        assert_eq!(answer.status, 401);
        assert!(
            answer
                .header("www-authenticate")
                .unwrap()
                .contains("error=\"invalid_token\"")
        );
    }
    assert_eq!(get(Some(format!("bearer {token}"))).await.status, 200);
    // Whoever holds a token is told why it is not taken, and which scope it lacks.
    let told = async |token: String| {
        let body = get(Some(format!("Bearer {token}"))).await.json();
        body["detail"].as_str().unwrap().to_owned()
    };
    let registry = world.exchange(&world.good()).await.token();
    assert!(told(registry).await.contains("for a registry"));
    assert!(
        told("x".to_owned())
            .await
            .contains("not one of this server")
    );
    let owner = world.server.admin_token("admin:credentials:joel");
    let lacking = told(owner).await;
    for scope in ["it is admin:credentials:joel", "one of admin, admin:read"] {
        assert!(lacking.contains(scope), "{lacking}");
    }
    world.server.clock.advance(3600);
    assert!(told(token).await.contains("has expired"));
}

#[tokio::test]
async fn contract_6__each_admin_scope_permits_exactly_its_requests() {
    let world = World::new().await;
    let put = json!({ "kind": "user" });
    let rule = World::rule_document(json!({ "environment": "x" }));
    let mut mallorys = rule.clone();
    mallorys["principal"] = json!("mallory");
    world.server.put("principals/mallory", put.clone()).await;
    let table: [(&str, &str, &str, &Value, [u16; 6]); 10] = [
        // admin, admin:read, admin:credentials, admin:credentials:joel, admin:credentials:mallory, admin:read:joel
        (
            "GET",
            "principals",
            "",
            &Value::Null,
            [200, 200, 403, 403, 403, 403],
        ),
        (
            "PUT",
            "principals/new",
            "",
            &put,
            [201, 403, 403, 403, 403, 403],
        ),
        (
            "GET",
            "federated-credentials",
            "",
            &Value::Null,
            [200, 200, 200, 200, 200, 200],
        ),
        (
            "GET",
            "federated-credentials/octo-release",
            "",
            &Value::Null,
            [200, 200, 200, 200, 404, 200],
        ),
        (
            "PUT",
            "federated-credentials/octo-release",
            "",
            &rule,
            [200, 403, 200, 200, 403, 403],
        ),
        (
            "PUT",
            "federated-credentials/mallorys",
            "",
            &mallorys,
            [201, 403, 200, 403, 200, 403],
        ),
        (
            "POST",
            "signing-keys/rotate",
            "",
            &Value::Null,
            [200, 403, 403, 403, 403, 403],
        ),
        (
            "GET",
            "audit-events?principal=joel",
            "",
            &Value::Null,
            [200, 200, 200, 200, 400, 200],
        ),
        (
            "GET",
            "catalog?principal=joel",
            "",
            &Value::Null,
            [200, 200, 200, 200, 403, 200],
        ),
        (
            "GET",
            "catalog?principal=nobody",
            "",
            &Value::Null,
            [404, 404, 404, 403, 403, 403],
        ),
    ];
    let scopes = [
        "admin",
        "admin:read",
        "admin:credentials",
        "admin:credentials:joel",
        "admin:credentials:mallory",
        "admin:read:joel",
    ];
    for (method, path, _, body, expected) in table {
        for (scope, status) in scopes.iter().zip(expected) {
            let answer = world
                .server
                .admin_as(scope, method, path, body.clone())
                .await;
            let close = answer.status == status
                || (matches!(answer.status, 200 | 201) && matches!(status, 200 | 201));
            assert!(
                close,
                "{scope} {method} {path}: {} {}",
                answer.status,
                answer.text()
            );
        }
    }
    let theirs = world
        .server
        .admin_as(
            "admin:credentials:mallory",
            "GET",
            "federated-credentials",
            Value::Null,
        )
        .await
        .json();
    assert!(
        theirs["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|item| item["principal"] == "mallory"),
        "{theirs}"
    );
}

#[tokio::test]
async fn contract_6__admin_credentials_scope_sees_no_audit_events_of_issuers_or_principals() {
    let world = World::new().await;
    let kinds = async |scope: &str| -> Vec<String> {
        world.server.app.flush_audit().await;
        let events = world
            .server
            .admin_as(scope, "GET", "audit-events", Value::Null)
            .await
            .json();
        let items = events["items"].as_array().unwrap().clone();
        items
            .iter()
            .map(|event| {
                event["detail"]["kind"]
                    .as_str()
                    .unwrap_or("token")
                    .to_owned()
            })
            .collect()
    };
    world.accepts().await;
    assert!(kinds("admin").await.contains(&"trusted issuer".to_owned()));
    let seen = kinds("admin:credentials").await;
    assert!(
        seen.contains(&"federated credential".to_owned()) && seen.contains(&"token".to_owned())
    );
    assert!(
        !seen.contains(&"trusted issuer".to_owned()) && !seen.contains(&"principal".to_owned()),
        "{seen:?}"
    );
}

#[tokio::test]
async fn contract_6__objects_are_made_read_changed_and_removed() {
    let world = World::new().await;
    for (path, document) in [
        (
            "principals/acme",
            json!({ "kind": "organization", "display_name": "ACME" }),
        ),
        (
            "resource-servers/gems",
            json!({ "resource": "https://gems.test/", "actions": ["push"], "package_names": "exact" }),
        ),
        (
            "trusted-issuers/other",
            json!({ "profile": "generic", "issuer": "https://other.test" }),
        ),
        ("clients/ci-bot", json!({ "auth_method": "none" })),
        (
            "federated-credentials/more",
            World::rule_document(json!({ "environment": "prod" })),
        ),
    ] {
        let created = send(
            &world.server,
            "PUT",
            &format!("{path}?validate=offline"),
            &[],
            &document,
        )
        .await;
        assert_eq!(created.status, 201, "{path}: {}", created.text());
        let shown = created.json();
        let etag = created.header("etag").unwrap().to_owned();
        let again = send(
            &world.server,
            "PUT",
            &format!("{path}?validate=offline"),
            &[],
            &document,
        )
        .await;
        assert_eq!(
            (again.status, again.header("etag")),
            (200, Some(etag.as_str())),
            "the same again changes nothing"
        );
        // What an answer shows can be sent back: read-only members are ignored.
        let back = send(
            &world.server,
            "PUT",
            &format!("{path}?validate=offline"),
            &[],
            &shown,
        )
        .await;
        assert_eq!(back.status, 200, "{path}: {}", back.text());
        let by_id = send(
            &world.server,
            "GET",
            &format!(
                "{}/{}",
                path.split('/').next().unwrap(),
                shown["id"].as_str().unwrap()
            ),
            &[],
            &Value::Null,
        )
        .await;
        assert_eq!(by_id.json()["name"], shown["name"]);
        let patched = send(
            &world.server,
            "PATCH",
            &format!("{path}?validate=offline"),
            &[("if-match", back.header("etag").unwrap())],
            &json!({ "enabled": false }),
        )
        .await;
        assert_eq!(
            (patched.status, &patched.json()["enabled"]),
            (200, &json!(false)),
            "{}",
            patched.text()
        );
        let lost = send(
            &world.server,
            "PATCH",
            path,
            &[("if-match", &etag)],
            &json!({ "enabled": true }),
        )
        .await;
        assert_eq!(lost.status, 412, "{}", lost.text());
        let unknown = send(&world.server, "PATCH", path, &[], &json!({ "surprise": 1 })).await;
        assert_eq!(
            (unknown.status, &unknown.json()["errors"][0]["pointer"]),
            (422, &json!("/surprise")),
            "{}",
            unknown.text()
        );
        assert_eq!(
            send(&world.server, "DELETE", path, &[], &Value::Null)
                .await
                .status,
            204
        );
        assert_eq!(
            send(&world.server, "GET", path, &[], &Value::Null)
                .await
                .status,
            404
        );
        assert_eq!(
            send(&world.server, "DELETE", path, &[], &Value::Null)
                .await
                .status,
            404
        );
    }
    world.accepts().await;
}

#[tokio::test]
async fn contract_6__a_dry_run_says_what_saving_would_do_and_does_nothing() {
    let world = World::new().await;
    let rows = async || {
        let tables = [
            "audit_event",
            "federated_credential",
            "client",
            "change",
            "consumed",
        ];
        let mut counts = Vec::new();
        for table in tables {
            counts.extend(
                world
                    .server
                    .db
                    .column::<i64>(&format!("SELECT COUNT(*) FROM {table}"))
                    .await,
            );
        }
        counts
    };
    let before = rows().await;
    let tried = async |method: &str, path: &str, document: Value| {
        let answer = world
            .server
            .admin(method, &format!("{path}?dry_run=true"), document)
            .await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        let members: Vec<String> = answer.json().as_object().unwrap().keys().cloned().collect();
        assert_eq!(
            members,
            ["stored", "would_change", "errors", "warnings", "preview"]
        );
        answer.json()
    };
    let document = world.server.get("/admin/v1/openapi.json").await.json();
    let described = document["components"]["schemas"]["DryRun"]["properties"]
        .as_object()
        .unwrap();
    assert_eq!(
        described.keys().collect::<Vec<_>>(),
        ["stored", "would_change", "errors", "warnings", "preview"]
    );
    // What is there already, however it is spelt.
    let pasted =
        World::rule_document(json!({ "repository": "https://github.com/octo-org/octo-repo.git" }));
    let same = tried("PUT", "federated-credentials/octo-release", pasted).await;
    assert_eq!(
        (&same["would_change"], &same["errors"]),
        (&json!(false), &json!([])),
        "{same}"
    );
    let admits = "Admits any run of “release.yml” in “octo-org/octo-repo” (repository id “74”) (owner id “65”), \
                  from any branch or tag, in any environment.";
    let permits = "May publish to pypi: widgets, widgets-*, and create new packages there.";
    assert_eq!(same["preview"], json!([admits, permits]), "{same}");
    let other = tried(
        "PATCH",
        "federated-credentials/octo-release",
        json!({ "enabled": false }),
    )
    .await;
    assert_eq!(
        (&other["would_change"], &other["stored"]["enabled"]),
        (&json!(true), &json!(false)),
        "{other}"
    );
    // A mistake is an answer too.
    let wrong = tried(
        "PUT",
        "federated-credentials/more",
        World::rule_document(json!({ "enviroment": "x" })),
    )
    .await;
    assert_eq!(
        (&wrong["errors"][0]["pointer"], &wrong["stored"]),
        (&json!("/match/enviroment"), &Value::Null)
    );
    // Something new: no secret is made for it, and what would be weak about it is told as saving tells it.
    let client = tried(
        "PUT",
        "clients/bot",
        json!({ "auth_method": "client_secret_basic" }),
    )
    .await;
    assert!(
        client["would_change"] == true && client["stored"].get("client_secret").is_none(),
        "{client}"
    );
    let mut wide = World::rule_document(json!({}));
    wide["name"] = json!("wide");
    wide["permissions"][0]["packages"] = json!(
        (0..200)
            .map(|n| format!("{}-{n}", "x".repeat(60)))
            .collect::<Vec<_>>()
    );
    let new = tried("POST", "federated-credentials", wide.clone()).await;
    assert_eq!(rows().await, before, "nothing was written");
    let saved = world
        .server
        .admin("POST", "federated-credentials", wide.clone())
        .await
        .json();
    assert_eq!(new["warnings"], saved["warnings"]);
    assert!(
        saved["warnings"].to_string().contains("entries_do_not_fit"),
        "{saved}"
    );
    // Pins are what the server found out, and nobody's change.
    world.accepts().await;
    let exported = world
        .server
        .admin("GET", "federated-credentials?view=export", Value::Null)
        .await
        .json();
    let rule = exported["items"]
        .as_array()
        .unwrap()
        .iter()
        .find(|item| item["name"] == "octo-release")
        .unwrap();
    let mut rule = rule.clone();
    rule.as_object_mut().unwrap().shift_remove("pinned");
    assert_eq!(
        tried("PUT", "federated-credentials/octo-release", rule).await["would_change"],
        false
    );
    // Refusals that are no mistakes of the document stay what they are.
    let there = world
        .server
        .admin("POST", "federated-credentials?dry_run=true", wide)
        .await;
    assert_eq!(there.status, 409, "{}", there.text());
    let unknown = world
        .server
        .admin("PUT", "principals/x?dry_run=maybe", json!({}))
        .await;
    assert_eq!(unknown.status, 400, "{}", unknown.text());
}

#[tokio::test]
async fn contract_6__objects_that_other_objects_name_cannot_be_deleted() {
    let world = World::new().await;
    for path in [
        "principals/joel",
        "trusted-issuers/github",
        "resource-servers/pypi",
    ] {
        let answer = world.server.admin("DELETE", path, Value::Null).await;
        assert_eq!(
            (answer.status, &answer.json()["code"]),
            (409, &json!("in_use")),
            "{path}: {}",
            answer.text()
        );
    }
    world.accepts().await;
}

#[tokio::test]
async fn contract_6__assertions_of_a_deleted_trusted_issuer_are_refused_on_every_node() {
    let world = World::new().await;
    world
        .server
        .admin("DELETE", "federated-credentials/octo-release", Value::Null)
        .await;
    let other = world.server.another_node().await;
    let answer = world
        .server
        .admin("DELETE", "trusted-issuers/github", Value::Null)
        .await;
    assert_eq!(answer.status, 204, "{}", answer.text());
    world
        .exchange(&world.good())
        .await
        .refused(400, "invalid_grant", "iss_unknown");
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let form = [
        ("grant_type", crate::support::JWT_BEARER),
        ("assertion", &world.good()),
    ];
    other
        .form("/token", &form)
        .await
        .refused(400, "invalid_grant", "iss_unknown");
    // And changes go on being seen.
    world
        .server
        .put("principals/later", json!({ "kind": "user" }))
        .await;
    assert_eq!(
        world.server.app.rules().version,
        world.server.app.store.version().await.unwrap()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn contract_4__an_issuer_disabled_while_its_keys_are_fetched_gives_no_token() {
    let world = World::new().await;
    world.gh.slow(std::time::Duration::from_millis(400));
    world.trust(json!({ "leeway_seconds": 59 })).await;
    let assertion = world.good();
    let (answer, ()) = tokio::join!(world.exchange(&assertion), async {
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
        let off = world
            .server
            .admin(
                "PATCH",
                "trusted-issuers/github?validate=offline",
                json!({ "enabled": false }),
            )
            .await;
        assert_eq!(off.status, 200);
    });
    answer.refused(400, "invalid_grant", "iss_unknown");
}

#[tokio::test]
async fn contract_6__a_refused_document_reports_all_its_mistakes_at_once() {
    let world = World::new().await;
    let document = json!({
        "principal": "nobody", "trusted_issuer": "github", "match": { "repository": "x", "enviroment": "y" },
        "permissions": [{ "resource_server": "nowhere", "actions": ["fly"], "packages": [] }], "surprise": 1,
    });
    let answer = world
        .server
        .admin("PUT", "federated-credentials/bad", document)
        .await;
    assert_eq!(answer.status, 422);
    let errors = answer.json()["errors"].as_array().unwrap().clone();
    for pointer in [
        "/surprise",
        "/permissions/0/packages",
        "/match/repository",
        "/match/enviroment",
    ] {
        assert!(
            errors.iter().any(|error| error["pointer"] == pointer),
            "{pointer}: {errors:?}"
        );
    }
    assert!(
        errors
            .iter()
            .all(|error| error["pointer"].is_string() && error["detail"].is_string())
    );
    let syntax = send(&world.server, "PUT", "principals/x", &[], &json!("text")).await;
    assert!(matches!(syntax.status, 400 | 422), "{}", syntax.text());
    let token = world.server.admin_token("admin");
    let doubled =
        Request::put("/admin/v1/principals/x").header("authorization", format!("Bearer {token}"));
    let doubled = world
        .server
        .send(
            doubled
                .body(Body::from(r#"{"kind":"user","kind":"team"}"#))
                .unwrap(),
        )
        .await;
    assert_eq!(doubled.status, 400, "{}", doubled.text());
}

#[tokio::test]
async fn contract_6__lists_come_in_pages() {
    let world = World::new().await;
    for n in 0..5 {
        world
            .server
            .put(&format!("principals/p{n}"), json!({ "kind": "user" }))
            .await;
    }
    let mut names = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = world
            .server
            .admin("GET", &format!("principals?limit=2{cursor}"), Value::Null)
            .await
            .json();
        names.extend(
            page["items"]
                .as_array()
                .unwrap()
                .iter()
                .map(|item| item["name"].as_str().unwrap().to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(names, ["joel", "p0", "p1", "p2", "p3", "p4"]);
    for query in [
        "limit=0",
        "limit=501",
        "limit=x",
        "cursor=%00",
        "surprise=1",
    ] {
        assert_eq!(
            world
                .server
                .admin("GET", &format!("principals?{query}"), Value::Null)
                .await
                .status,
            400,
            "{query}"
        );
    }
}

#[tokio::test]
async fn contract_6__changes_are_on_record_with_before_and_after() {
    let world = World::new().await;
    world.server.clock.advance(1);
    world
        .server
        .admin(
            "PATCH",
            "principals/joel",
            json!({ "display_name": "Joel" }),
        )
        .await;
    let event = world.server.audit("outcome=updated").await[0].clone();
    assert_eq!(
        (&event["detail"]["name"], &event["client_id"]),
        (&json!("joel"), &json!("tester"))
    );
    assert!(event["detail"]["before"].get("display_name").is_none());
    assert_eq!(event["detail"]["after"]["display_name"], "Joel");
}

#[tokio::test]
async fn contract_6__explanations_show_every_condition() {
    let world = World::new().await;
    let assertion = world.gh.sign(&world.claims().with(
        "workflow_ref",
        "octo-org/octo-repo/.github/workflows/other.yml@refs/heads/main",
    ));
    let by_assertion = world
        .server
        .admin("POST", "explanations", json!({ "assertion": assertion }))
        .await;
    let by_claims = world.server.admin("POST", "explanations", json!({ "trusted_issuer": "github", "claims": world.claims().with("workflow_ref", "octo-org/octo-repo/.github/workflows/other.yml@refs/heads/main").value() })).await;
    for answer in [&by_assertion, &by_claims] {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let body = answer.json();
        assert_eq!(
            (&body["verdict"], &body["reason"]),
            (&json!("deny"), &json!("workflow_mismatch"))
        );
        let conditions = body["candidates"][0]["conditions"].as_array().unwrap();
        let failing: Vec<_> = conditions
            .iter()
            .filter(|condition| condition["met"] == false)
            .collect();
        assert_eq!(
            (failing.len(), &failing[0]["field"]),
            (1, &json!("workflow_file"))
        );
        assert!(conditions.len() > 3);
    }
    let good = world.good();
    let allowed = world
        .server
        .admin(
            "POST",
            "explanations",
            json!({ "assertion": good, "resource": R1, "scope": "publish" }),
        )
        .await
        .json();
    assert_eq!(
        (&allowed["verdict"], &allowed["granted"]["scope"]),
        (&json!("allow"), &json!("publish"))
    );
    world.exchange(&good).await.token();
    let used = world
        .server
        .admin("POST", "explanations", json!({ "assertion": good }))
        .await
        .json();
    assert_eq!(used["reason"], "replay");
}

#[tokio::test]
async fn contract_7__explain_tells_why_only_to_workloads_whose_ids_match_a_rule() {
    let world = World::new().await;
    let explain = async |assertion: &str| {
        let form = [
            ("grant_type", crate::support::JWT_BEARER),
            ("assertion", assertion),
        ];
        world.server.form("/explain", &form).await.json()
    };
    let allowed = explain(&world.good()).await;
    assert_eq!(
        (&allowed["verdict"], &allowed["granted"]["sub"]),
        (&json!("allow"), &json!("pr_joel"))
    );
    let stranger = explain(&world.gh.sign(&world.claims().with("repository_id", "75"))).await;
    assert_eq!(
        (&stranger["reason"], &stranger["candidates"]),
        (&json!("no_matching_credential"), &json!([]))
    );
    let owner = explain(
        &world
            .gh
            .sign(&world.claims().with("event_name", "workflow_run")),
    )
    .await;
    assert_eq!(owner["reason"], "event_denied");
    assert!(
        owner["mismatches"][0]["received"] == "workflow_run",
        "{owner}"
    );
}

#[tokio::test]
async fn contract_4__a_used_assertion_is_not_told_which_condition_failed() {
    let world = World::new().await;
    let claims = world.claims();
    world.exchange_claims(&claims).await.token();
    world
        .rule("octo-release", json!({ "environment": "prod" }))
        .await;
    // The assertion is genuine and its ids are right, but it was used: whoever holds a copy learns nothing.
    world
        .exchange_claims(&claims)
        .await
        .refused(400, "invalid_grant", "no_matching_credential");
    let told = world.exchange(&world.good()).await;
    told.refused(400, "invalid_grant", "env_missing");
}

#[tokio::test]
async fn contract_4__the_holder_of_a_used_assertion_is_not_told_what_rules_permit() {
    let world = World::new().await;
    let used = world.good();
    world.exchange(&used).await.token();
    let details = |package: &str, more: &str| {
        format!(r#"[{{"type":"package","actions":["publish"],"packages":["{package}"]{more}}}]"#)
    };
    for (name, value) in [
        ("scope", "unlist".to_owned()),
        ("authorization_details", details("gadgets", "")),
        (
            "authorization_details",
            details("widgets", r#","owner":"nobody""#),
        ),
        ("resource", "https://registry.test/crates/".to_owned()),
    ] {
        let told = world.exchange_with(&used, &[(name, &value)]).await;
        told.refused(400, "invalid_grant", "replay");
        let form = [
            ("grant_type", crate::support::JWT_BEARER),
            ("assertion", used.as_str()),
            (name, value.as_str()),
        ];
        let explained = world.server.form("/explain", &form).await;
        assert_eq!(explained.json()["reason"], "replay", "{}", explained.text());
        for text in [told.text(), explained.text()] {
            for private in ["permitted", "widgets-", "joel", "pypi"] {
                assert!(!text.contains(private), "{name}: {private}: {text}");
            }
        }
        // The same request with an unused assertion is told.
        let fresh = world.exchange_with(&world.good(), &[(name, &value)]).await;
        assert!(fresh.text().contains("permitted"), "{}", fresh.text());
    }
}

#[tokio::test]
async fn contract_3__reasons_are_explained_for_programs_and_people() {
    let server = TestServer::start().await;
    for reason in carnet::reason::Reason::ALL {
        let answer = server.get(&format!("/reasons/{reason}")).await;
        let body = answer.json();
        assert_eq!(
            (answer.status, &body["reason"]),
            (200, &json!(reason.code()))
        );
        assert!(
            body["meaning"].as_str().unwrap().len() > 20
                && body["remedy"].as_str().unwrap().len() > 5
        );
    }
    assert_eq!(server.get("/reasons/nothing").await.status, 404);
}

#[tokio::test]
async fn contract_3__health_and_readiness() {
    let world = World::new().await;
    assert_eq!(
        world.server.get("/healthz").await.json(),
        json!({ "status": "alive" })
    );
    assert_eq!(
        world.server.get("/readyz").await.json(),
        json!({ "status": "ready", "database": true, "signing_key": true, "clock": true, "draining": false })
    );
}

#[tokio::test]
async fn contract_6__rotation_activates_the_next_signing_key_and_leaves_an_event() {
    let world = World::new().await;
    let list = async || {
        world
            .server
            .admin("GET", "signing-keys", Value::Null)
            .await
            .json()["items"]
            .as_array()
            .unwrap()
            .clone()
    };
    let states = |keys: &[Value]| -> Vec<String> {
        let mut states: Vec<_> = keys
            .iter()
            .map(|key| key["state"].as_str().unwrap().to_owned())
            .collect();
        states.sort();
        states
    };
    let before = list().await;
    assert_eq!(states(&before), ["active", "next"]);
    let next = before.iter().find(|key| key["state"] == "next").unwrap()["kid"].clone();
    world.server.clock.advance(1);
    world
        .server
        .admin("POST", "signing-keys/rotate", Value::Null)
        .await;
    let after = list().await;
    assert_eq!(states(&after), ["active", "next", "retired"]);
    assert_eq!(
        after.iter().find(|key| key["state"] == "active").unwrap()["kid"],
        next,
        "the published one signs now"
    );
    world.accepts().await;
    assert_eq!(
        world
            .server
            .admin("DELETE", "signing-keys/nothing", Value::Null)
            .await
            .status,
        404
    );
    assert!(
        !world
            .server
            .admin("GET", "signing-keys", Value::Null)
            .await
            .text()
            .contains("sealed")
    );
    let events = world.server.audit("").await;
    assert!(
        events
            .iter()
            .any(|event| event["detail"]["kind"] == "signing key"),
        "{events:?}"
    );
}

#[tokio::test]
async fn contract_6__the_openapi_document_names_every_route() {
    let server = TestServer::start().await;
    let document = server.get("/admin/v1/openapi.json").await;
    let document = if document.status == 401 {
        server.admin("GET", "openapi.json", Value::Null).await
    } else {
        document
    }
    .json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    let mut probed = 0;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let real = format!(
            "/admin/v1{}",
            path.replace("{name}", "x").replace("{kid}", "x")
        );
        for method in ["get", "put", "post", "patch", "delete"] {
            let request = Request::builder()
                .method(method.to_uppercase().as_str())
                .uri(&real)
                .body(Body::empty())
                .unwrap();
            let status = server.send(request).await.status;
            let served = !matches!(status, 404 | 405);
            assert_eq!(
                served,
                operations.get(method).is_some(),
                "{method} {path} answered {status}"
            );
            probed += 1;
        }
    }
    assert!(probed >= 16 * 5, "{probed}");
    assert_eq!(document["servers"][0]["url"], format!("{CARNET}/admin/v1"));
}

#[tokio::test]
async fn rfc9700_4_13_1__forwarding_headers_of_untrusted_peers_are_ignored() {
    for (trusted, expected) in [
        ("[]", "198.51.100.7"),
        ("[\"198.51.100.0/24\"]", "203.0.113.5"),
    ] {
        let world = World::with(&[("CARNET_SERVER__TRUSTED_PROXIES", trusted)]).await;
        let request = Request::post("/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("x-forwarded-for", "203.0.113.5")
            .header("forwarded", "for=203.0.113.6")
            .header("x-client-cert", "forged")
            .extension(axum::extract::ConnectInfo(std::net::SocketAddr::from((
                [198, 51, 100, 7],
                4000,
            ))));
        let body = format!(
            "grant_type={}&assertion={}",
            crate::support::JWT_BEARER,
            world.good()
        );
        world
            .server
            .send(request.body(Body::from(body)).unwrap())
            .await
            .token();
        assert_eq!(
            world.server.audit("outcome=issued").await[0]["address"],
            expected
        );
    }
}

#[tokio::test]
async fn contract_2__an_exported_rule_has_its_pinned_ids_as_conditions() {
    let world = World::new().await;
    world
        .server
        .admin("DELETE", "federated-credentials/octo-release", Value::Null)
        .await;
    world
        .rule(
            "pending",
            json!({ "repository_owner_id": null, "repository_id": null }),
        )
        .await;
    world.accepts().await;
    let exported = world
        .server
        .admin("GET", "federated-credentials?view=export", Value::Null)
        .await
        .json();
    let mut document = exported["items"][0].clone();
    assert_eq!(
        (
            &document["match"]["repository_owner_id"],
            &document["match"]["repository_id"]
        ),
        (&json!("65"), &json!("74"))
    );
    document.as_object_mut().unwrap().remove("name");
    document.as_object_mut().unwrap().remove("pinned");
    let elsewhere = World::new().await;
    let saved = elsewhere
        .server
        .put("federated-credentials/pending", document)
        .await;
    assert_eq!(saved["state"], "active");
}

#[tokio::test]
async fn contract_6__an_object_cannot_be_named_like_the_id_of_an_object() {
    let world = World::new().await;
    let id = world
        .server
        .admin("GET", "federated-credentials/octo-release", Value::Null)
        .await
        .json()["id"]
        .clone();
    let id = id.as_str().unwrap();
    world
        .server
        .put("principals/mallory", json!({ "kind": "user" }))
        .await;
    let mut document = World::rule_document(json!({}));
    document["principal"] = json!("mallory");
    for name in [
        id.to_lowercase(),
        "fc_0123456789abcdefghjkmnpqrs".to_owned(),
        "TI_0123456789ABCDEFGHJKMNPQRS".to_owned(),
    ] {
        let path = format!("federated-credentials/{name}");
        let answer = world
            .server
            .admin_as("admin:credentials:mallory", "PUT", &path, document.clone())
            .await;
        assert_eq!(
            (answer.status, &answer.json()["errors"][0]["pointer"]),
            (422, &json!("/name")),
            "{}",
            answer.text()
        );
    }
    world
        .server
        .admin(
            "PATCH",
            "federated-credentials/octo-release",
            json!({ "enabled": false }),
        )
        .await;
    assert_eq!(world.exchange(&world.good()).await.status, 400);
}

#[tokio::test]
async fn contract_6__a_token_for_one_principals_rules_learns_nothing_of_other_rules() {
    let world = World::new().await;
    world
        .server
        .put("principals/mallory", json!({ "kind": "user" }))
        .await;
    let mut document = World::rule_document(json!({ "environment": "mallorys-guess" }));
    document["principal"] = json!("mallory");
    world
        .server
        .put("federated-credentials/mallorys", document.clone())
        .await;
    world
        .rule(
            "octo-release",
            json!({ "environment": "secret-environment" }),
        )
        .await;
    let claims = world.claims().in_environment("x");
    let asked = json!({ "trusted_issuer": "github", "claims": claims.value() });
    let told = world
        .server
        .admin_as("admin:credentials:mallory", "POST", "explanations", asked)
        .await;
    assert_eq!(told.status, 200, "{}", told.text());
    assert!(
        told.text().contains("mallorys-guess") && !told.text().contains("secret-environment"),
        "{}",
        told.text()
    );
    let matching = world.claims().in_environment("secret-environment");
    let asked = json!({ "trusted_issuer": "github", "claims": matching.value() });
    let told = world
        .server
        .admin_as("admin:credentials:mallory", "POST", "explanations", asked)
        .await;
    assert!(
        told.json()["verdict"] == "deny" && !told.text().contains("widgets"),
        "{}",
        told.text()
    );

    world
        .rule(
            "octo-release",
            json!({ "environment": "secret-environment", "actor_id": "99" }),
        )
        .await;
    world.server.clock.advance(1);
    world.exchange_claims(&claims).await;
    world.server.app.flush_audit().await;
    let path = "audit-events?principal=Mallory";
    let events = world
        .server
        .admin_as("admin:credentials:mallory", "GET", path, Value::Null)
        .await;
    // The refusal is filed under the rule that came closest, and described by the rules of everybody.
    assert_eq!(
        events.json()["items"][0]["outcome"],
        "refused",
        "{}",
        events.text()
    );
    assert!(
        events.text().contains("mallorys-guess") && !events.text().contains("secret-environment"),
        "{}",
        events.text()
    );
    let all = world.server.admin("GET", path, Value::Null).await;
    assert!(all.text().contains("secret-environment"), "{}", all.text());
    for (method, body) in [
        ("GET", Value::Null),
        ("DELETE", Value::Null),
        ("PATCH", json!({ "enabled": false })),
    ] {
        let answer = world
            .server
            .admin_as(
                "admin:credentials:mallory",
                method,
                "federated-credentials/octo-release",
                body,
            )
            .await;
        assert_eq!(answer.status, 404, "{method}");
    }
    // Letter case of the scope's principal does not matter.
    let own = world
        .server
        .admin_as(
            "admin:credentials:MALLORY",
            "GET",
            "federated-credentials",
            Value::Null,
        )
        .await
        .json();
    assert_eq!(own["items"].as_array().unwrap().len(), 1, "{own}");
}

#[tokio::test]
async fn contract_6__documents_refer_to_principals_by_name() {
    let world = World::new().await;
    world
        .server
        .put("principals/bob", json!({ "id": "1001", "kind": "user" }))
        .await;
    let mut document = World::rule_document(json!({}));
    document["principal"] = json!("1001");
    for (scope, status) in [("admin:credentials", 422), ("admin:credentials:1001", 403)] {
        let answer = world
            .server
            .admin_as(scope, "PUT", "federated-credentials/bobs", document.clone())
            .await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
}

#[tokio::test]
async fn contract_7__an_operator_is_shown_the_rule_that_was_misspelt() {
    let world = World::new().await;
    let misspelt = json!({ "repository": "octo-org/octo-rep0", "repository_owner_id": null, "repository_id": null });
    world.rule("octo-release", misspelt).await;
    let assertion = world.good();
    let told = world
        .server
        .admin("POST", "explanations", json!({ "assertion": assertion }))
        .await
        .json();
    assert_eq!(
        (&told["verdict"], &told["candidates"][0]["name"]),
        (&json!("deny"), &json!("octo-release")),
        "{told}"
    );
    let conditions = told["candidates"][0]["conditions"].as_array().unwrap();
    assert!(
        conditions
            .iter()
            .any(|one| one["field"] == "repository" && one["expected"] == "octo-org/octo-rep0"),
        "{told}"
    );
    // The job itself learns nothing: nothing proves that the rule is meant for it.
    let form = [
        ("grant_type", crate::support::JWT_BEARER),
        ("assertion", assertion.as_str()),
    ];
    let public = world.server.form("/explain", &form).await.json();
    assert_eq!(
        (&public["reason"], &public["candidates"]),
        (&json!("no_matching_credential"), &json!([]))
    );
}

#[tokio::test]
async fn contract_6__saving_a_literal_value_with_a_star_gives_a_warning() {
    let world = World::new().await;
    let saved = world
        .rule("octo-release", json!({ "ref": "refs/tags/v*" }))
        .await;
    assert!(
        saved["warnings"].to_string().contains("literal_star"),
        "{saved}"
    );
    let saved = world
        .rule("octo-release", json!({ "ref": { "glob": "refs/tags/v*" } }))
        .await;
    assert!(
        !saved["warnings"].to_string().contains("literal_star"),
        "{saved}"
    );
    let answer = world
        .server
        .admin(
            "PUT",
            "federated-credentials/bad",
            World::rule_document(json!({ "repository": "octo-org/*" })),
        )
        .await;
    assert_eq!(answer.status, 422);
}

#[tokio::test]
async fn contract_4__an_assertion_verified_before_its_issuer_changed_gets_no_permit() {
    use carnet::trust::{Consent, Permit};
    let world = World::new().await;
    let now = carnet::clock::Timestamp::from_seconds(world.server.now());
    let app = &world.server.app;
    let verified = carnet::grant::verify_assertion(
        app,
        &app.decision_context(),
        (&world.good(), carnet::assertion::Recipient::TokenEndpoint),
        &mut None,
    )
    .await
    .unwrap();
    let accepted = std::sync::Arc::new(verified)
        .accept(carnet::grant_type::GrantType::JwtBearer)
        .unwrap();
    assert!(
        Permit::new(accepted.clone(), &app.rules(), now, Consent::Named, |_| {
            true
        })
        .is_ok()
    );
    world.trust(json!({ "leeway_seconds": 30 })).await;
    let denial = Permit::new(accepted.clone(), &app.rules(), now, Consent::Named, |_| {
        true
    })
    .unwrap_err();
    assert_eq!(denial.refusal.reason, carnet::reason::Reason::Busy);
    world.trust(json!({ "enabled": false })).await;
    assert!(Permit::new(accepted, &app.rules(), now, Consent::Named, |_| true).is_err());
}
