//! The front doors of registries, asked as their tools ask: what they give, what they refuse, and in which form.

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::support::{Answer, Claims, R1, TestClient, World};

/// A registry with a front door.
pub struct Door {
    pub kind: &'static str,
    pub host: &'static str,
    pub audience: &'static str,
}

pub const PYPI: Door = Door {
    kind: "pypi",
    host: "pypi.test",
    audience: "pypi.test",
};
pub const NPM: Door = Door {
    kind: "npm",
    host: "npm.test",
    audience: "npm:npm.test",
};
pub const CRATES: Door = Door {
    kind: "crates-io",
    host: "crates.test:8443",
    audience: "crates.test:8443",
};
pub const NUGET: Door = Door {
    kind: "nuget",
    host: "nuget.test",
    audience: "https://nuget.test",
};
pub const GEMS: Door = Door {
    kind: "rubygems",
    host: "gems.test",
    audience: "gems.test",
};
pub const ALL: [Door; 5] = [PYPI, NPM, CRATES, NUGET, GEMS];

/// The usual world, whose first registry has this front door.
pub async fn world_with(door: &Door) -> World {
    let world = World::new().await;
    open(&world, door, json!({})).await;
    world
}

/// Gives the first registry a front door, with these members beside.
pub async fn open(world: &World, door: &Door, more: Value) {
    let mut document = json!({
        "kind": door.kind, "hosts": [door.host], "audiences": null, "trusted_issuers": null,
    });
    for (name, value) in more.as_object().unwrap() {
        document[name] = value.clone();
    }
    let change = json!({ "front_door": document });
    let path = "resource-servers/pypi";
    let saved = world.server.admin("PATCH", path, change).await;
    assert_eq!(saved.status, 200, "{}", saved.text());
}

impl Door {
    /// An assertion with these claims for this door.
    pub fn sign(&self, world: &World, claims: Claims) -> String {
        world.gh.sign(&claims.with("aud", self.audience))
    }

    pub fn good(&self, world: &World) -> String {
        self.sign(world, world.claims())
    }

    /// Presents an assertion as the tools of this registry do.
    pub async fn present(&self, world: &World, assertion: &str) -> Answer {
        self.present_at(world, "", assertion).await
    }

    /// The same below a path.
    pub async fn present_at(&self, world: &World, below: &str, assertion: &str) -> Answer {
        let json = |member: &str| json!({ member: assertion }).to_string();
        let (path, bearer, body) = match self.kind {
            "pypi" => ("/_/oidc/mint-token", false, json("token")),
            "npm" => (
                "/-/npm/v1/oidc/token/exchange/package/widgets",
                true,
                String::new(),
            ),
            "crates-io" => ("/api/v1/trusted_publishing/tokens", false, json("jwt")),
            "nuget" => (
                "/api/v2/token",
                true,
                json!({ "username": "joel", "tokenType": "ApiKey" }).to_string(),
            ),
            _ => (
                "/api/v1/oidc/trusted_publisher/exchange_token",
                false,
                json("jwt"),
            ),
        };
        let mut request = Request::post(format!("{below}{path}"))
            .header("content-type", "application/json")
            .header("user-agent", "a tool");
        if below.is_empty() {
            request = request.header("host", self.host);
        }
        if bearer {
            request = request.header("authorization", format!("Bearer {assertion}"));
        }
        world
            .server
            .send(request.body(Body::from(body)).unwrap())
            .await
    }

    /// The key of an answer.
    pub fn key(&self, answer: &Answer) -> String {
        let member = match self.kind {
            "nuget" => "apiKey",
            "rubygems" => "rubygems_api_key",
            _ => "token",
        };
        let body = answer.json();
        let key = body[member].as_str();
        key.unwrap_or_else(|| panic!("{body:#}")).to_owned()
    }

    /// What the tool shows of a refusal.
    pub fn shown(&self, answer: &Answer) -> String {
        let body = answer.json();
        let text = match self.kind {
            "pypi" => &body["errors"][0]["description"],
            "npm" => &body["message"],
            "crates-io" => &body["errors"][0]["detail"],
            _ => &body["error"],
        };
        let text = text.as_str();
        text.unwrap_or_else(|| panic!("{body:#}")).to_owned()
    }
}

/// The scope of mallory, a stranger to joel.
pub const HERS: &str = "admin:credentials:mallory";

/// A self-service rule of mallory for joel's workload, with these actions and packages.
pub async fn intruding(world: &World, name: &str, actions: Value, packages: Value) {
    let principal = json!({ "id": "pr_mallory", "kind": "user" });
    world.server.put("principals/mallory", principal).await;
    let mut rule = World::rule_document(json!({}));
    rule["principal"] = json!("mallory");
    rule["permissions"] =
        json!([{ "resource_server": "pypi", "actions": actions, "packages": packages }]);
    let path = format!("federated-credentials/{name}");
    let saved = world.server.admin_as(HERS, "PUT", &path, rule).await;
    assert!(matches!(saved.status, 200 | 201), "{}", saved.text());
}

/// Asks the npm door for a key of a package, as it stands in the path.
pub async fn npm(world: &World, package: &str, assertion: &str) -> Answer {
    let path = format!("/-/npm/v1/oidc/token/exchange/package/{package}");
    let request = Request::post(path)
        .header("host", NPM.host)
        .header("authorization", format!("Bearer {assertion}"));
    world
        .server
        .send(request.body(Body::empty()).unwrap())
        .await
}

/// A body that never comes.
struct Silent;

impl hyper::body::Body for Silent {
    type Data = axum::body::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        std::task::Poll::Pending
    }
}

async fn send(world: &World, method: &str, host: &str, path: &str, body: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", host)
        .header("content-type", "application/json");
    world
        .server
        .send(request.body(Body::from(body.to_owned())).unwrap())
        .await
}

#[tokio::test]
async fn contract_3__a_door_is_found_by_its_host_or_by_the_name_of_its_registry() {
    for door in ALL {
        let world = world_with(&door).await;
        let status = if matches!(door.kind, "npm" | "rubygems") {
            201
        } else {
            200
        };
        for below in ["", "/registry/pypi", "/registry/PyPI"] {
            let answer = door.present_at(&world, below, &door.good(&world)).await;
            assert_eq!(
                answer.status,
                status,
                "{} {below}: {}",
                door.kind,
                answer.text()
            );
            assert!(!door.key(&answer).is_empty());
            assert_eq!(answer.header("cache-control").unwrap(), "no-store");
            assert_eq!(answer.header("x-content-type-options").unwrap(), "nosniff");
            assert_eq!(answer.header("content-type").unwrap(), "application/json");
        }
        // Other hosts, other names and doors of another protocol are nobody's.
        for below in ["/registry/crates", "/registry/nobody"] {
            let answer = door.present_at(&world, below, &door.good(&world)).await;
            assert_eq!(answer.status, 404, "{}", answer.text());
            assert_eq!(answer.json()["reason"], "path_unknown");
        }
        for other in ALL.iter().filter(|other| other.kind != door.kind) {
            let elsewhere = Door {
                host: door.host,
                ..*other
            };
            let answer = elsewhere.present(&world, &door.good(&world)).await;
            assert_eq!(answer.json()["reason"], "path_unknown", "{}", answer.text());
        }
    }
}

#[tokio::test]
async fn contract_4__a_door_gives_keys_for_its_own_registry_alone() {
    for door in ALL {
        let world = world_with(&door).await;
        let mut rule = World::rule_document(json!({}));
        rule["permissions"] = json!([
            { "resource_server": "crates", "actions": ["publish"], "packages": ["widgets"] },
            { "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"] },
        ]);
        world
            .server
            .put("federated-credentials/octo-release", rule.clone())
            .await;
        let registry = TestClient::registry(&world.server).await;
        let key = door.key(&door.present(&world, &door.good(&world)).await);
        let known = registry.introspect(&world.server, &key).await;
        assert_eq!(known["aud"], R1, "{known:#}");
        assert_eq!(known["authorization_details"].as_array().unwrap().len(), 1);
        rule["permissions"].as_array_mut().unwrap().pop();
        world
            .server
            .put("federated-credentials/octo-release", rule)
            .await;
        let refused = door.present(&world, &door.good(&world)).await;
        assert_eq!(
            refused.json()["reason"],
            "target_not_granted",
            "{}",
            refused.text()
        );
    }
}

#[tokio::test]
async fn the_host_of_a_request_is_the_one_that_it_names() {
    let world = world_with(&PYPI).await;
    let ask = async |uri: &str, hosts: &[&str]| {
        let mut request = Request::get(uri);
        for host in hosts {
            request = request.header("host", *host);
        }
        world
            .server
            .send(request.body(Body::empty()).unwrap())
            .await
            .status
    };
    let path = "/_/oidc/audience";
    assert_eq!(ask(path, &["pypi.test"]).await, 200);
    assert_eq!(ask(path, &["pypi.test", "pypi.test"]).await, 404);
    assert_eq!(ask(path, &["elsewhere.test", "pypi.test"]).await, 404);
    assert_eq!(ask(path, &[]).await, 404);
    for host in [
        "pypi.test.",
        "x.pypi.test",
        "pypi.test@elsewhere.test",
        "pypi.test/",
        "pypi.test:x",
    ] {
        assert_eq!(ask(path, &[host]).await, 404, "{host}");
    }
    // HTTP/2, and a request in absolute form: the authority counts (RFC 9112 section 3.2.2).
    assert_eq!(
        ask(&format!("http://pypi.test{path}"), &["elsewhere.test"]).await,
        200
    );
    assert_eq!(
        ask(&format!("http://elsewhere.test{path}"), &["pypi.test"]).await,
        404
    );
}

#[tokio::test]
async fn every_door_gives_its_key_in_the_members_that_its_tools_read() {
    let names = |answer: &Answer| {
        let body = answer.json();
        let mut names: Vec<String> = body.as_object().unwrap().keys().cloned().collect();
        names.sort();
        names.join(" ")
    };
    for (door, members) in [
        (PYPI, "expires success token"),
        (NPM, "created expires token token_type"),
        (CRATES, "token"),
        (NUGET, "apiKey expires tokenType"),
        (GEMS, "expires_at name rubygems_api_key scopes"),
    ] {
        let world = world_with(&door).await;
        let answer = door.present(&world, &door.good(&world)).await;
        assert_eq!(names(&answer), members, "{}", answer.text());
        let (body, now) = (answer.json(), world.server.now());
        let rfc3339 = |seconds: i64| carnet::clock::Timestamp::from_seconds(seconds).to_string();
        match door.kind {
            "pypi" => {
                assert_eq!(
                    (&body["success"], &body["expires"]),
                    (&json!(true), &json!(now + 900))
                );
            }
            "npm" => {
                assert_eq!(body["token_type"], "oidc");
                assert_eq!(body["created"], rfc3339(now));
                assert_eq!(body["expires"], rfc3339(now + 900));
            }
            "nuget" => {
                assert_eq!(body["tokenType"], "ApiKey");
                assert_eq!(body["expires"], rfc3339(now + 900));
            }
            "rubygems" => {
                assert_eq!(body["scopes"], json!(["push_rubygem"]));
                assert_eq!(body["expires_at"], rfc3339(now + 900));
                assert!(rfc3339(now).ends_with('Z'));
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn contract_4__doors_without_a_name_give_opaque_keys_and_the_nuget_door_what_the_registry_takes()
 {
    for door in ALL {
        let world = world_with(&door).await;
        let registry = TestClient::registry(&world.server).await;
        let key = door.key(&door.present(&world, &door.good(&world)).await);
        if door.kind == "nuget" {
            assert_eq!(key.split('.').count(), 3, "the registry takes JWTs");
            continue;
        }
        assert!(key.starts_with("cnt_"), "{key}");
        let known = registry.introspect(&world.server, &key).await;
        assert_eq!(known["active"], true, "{known:#}");
        assert_eq!(known["aud"], R1);
        assert_eq!(known["sub"], "pr_joel");
        let entry = &known["authorization_details"][0];
        let packages = if door.kind == "npm" {
            json!(["widgets"])
        } else {
            json!(["widgets", "widgets-*"])
        };
        assert_eq!(entry["packages"], packages, "{known:#}");
        // Through the token endpoint the same registry gets JWTs.
        let token = world.exchange(&world.good()).await.token();
        assert_eq!(token.split('.').count(), 3);
    }
}

#[tokio::test]
async fn contract_4__an_assertion_is_for_a_door_or_for_the_token_endpoint_never_for_both() {
    for door in ALL {
        let world = world_with(&door).await;
        // The token endpoint's audience is none of the door's.
        let refused = door.present(&world, &world.good()).await;
        assert_eq!(
            refused.json()["reason"],
            "aud_mismatch",
            "{}",
            refused.text()
        );
        assert!(
            door.shown(&refused).contains(door.audience),
            "{}",
            door.shown(&refused)
        );
        world
            .exchange(&door.good(&world))
            .await
            .refused(400, "invalid_grant", "aud_mismatch");
        // Two audiences are one too many.
        let both = world
            .claims()
            .with("aud", json!([door.audience, "https://elsewhere.test"]));
        let refused = door.present(&world, &world.gh.sign(&both)).await;
        assert_eq!(refused.json()["reason"], "aud_not_single");
        let listed = world.claims().with("aud", json!([door.audience]));
        let taken = door.present(&world, &world.gh.sign(&listed)).await;
        assert!(matches!(taken.status, 200 | 201), "{}", taken.text());
    }
}

#[tokio::test]
async fn a_refusal_says_in_the_tools_own_form_what_is_wrong_and_how_to_mend_it() {
    for (door, rules, assertion, used) in [
        (PYPI, 422, 422, 422),
        (NPM, 404, 401, 401),
        (CRATES, 400, 400, 400),
        (NUGET, 401, 401, 401),
        (GEMS, 404, 404, 404),
    ] {
        let world = world_with(&door).await;
        let other = world.claims().with(
            "workflow_ref",
            "octo-org/octo-repo/.github/workflows/other.yml@refs/heads/main",
        );
        let refused = door.present(&world, &door.sign(&world, other)).await;
        assert_eq!(refused.status, rules, "{}", refused.text());
        let shown = door.shown(&refused);
        for part in [
            "release.yml",
            "other.yml",
            "octo-release",
            "workflow_mismatch",
            "/reasons/",
            "ev_",
        ] {
            assert!(shown.contains(part), "{}: {part}: {shown}", door.kind);
        }
        assert_eq!(refused.json()["reason"], "workflow_mismatch");
        assert!(
            refused.json()["error_id"]
                .as_str()
                .unwrap()
                .starts_with("ev_")
        );
        let expired = world
            .claims()
            .with("iat", world.server.now() - 900)
            .with("nbf", world.server.now() - 900)
            .with("exp", world.server.now() - 600);
        let refused = door.present(&world, &door.sign(&world, expired)).await;
        assert_eq!(
            (refused.status, &refused.json()["reason"]),
            (assertion, &json!("expired")),
            "{}",
            refused.text()
        );
        let once = door.good(&world);
        assert!(matches!(
            door.present(&world, &once).await.status,
            200 | 201
        ));
        let refused = door.present(&world, &once).await;
        assert_eq!(
            (refused.status, &refused.json()["reason"]),
            (used, &json!("replay")),
            "{}",
            refused.text()
        );
        let first = refused.json()["used_in"].clone();
        assert!(
            door.shown(&refused).contains(first.as_str().unwrap()),
            "{}",
            refused.text()
        );
        assert!(
            !door.shown(&refused).contains("octo-release"),
            "a used assertion proves nothing"
        );
        // A refusal leaves the assertion unused, and stands in the record with the door it came through.
        let events = world.server.audit("outcome=refused").await;
        let asked: Vec<&Value> = events
            .iter()
            .map(|event| &event["detail"]["requested"]["front_door"])
            .collect();
        assert!(asked.contains(&&json!("pypi")), "{events:#?}");
    }
}

#[tokio::test]
async fn malformed_requests_are_refused_in_the_form_of_the_door() {
    for (door, path, bodies) in [
        (
            PYPI,
            "/_/oidc/mint-token",
            [
                "",
                "{",
                "[]",
                "{\"token\":1}",
                "{\"token\":\"\"}",
                "{\"jwt\":\"x\"}",
                "{\"token\":\"a\",\"token\":\"b\"}",
            ],
        ),
        (
            CRATES,
            "/api/v1/trusted_publishing/tokens",
            [
                "",
                "{",
                "[]",
                "{\"jwt\":1}",
                "{\"jwt\":\"\"}",
                "{\"token\":\"x\"}",
                "{\"jwt\":\"a\",\"jwt\":\"b\"}",
            ],
        ),
        (
            GEMS,
            "/api/v1/oidc/trusted_publisher/exchange_token",
            [
                "",
                "{",
                "[]",
                "{\"jwt\":1}",
                "{\"jwt\":\"\"}",
                "{\"token\":\"x\"}",
                "{\"jwt\":\"not.a.jwt\"}",
            ],
        ),
    ] {
        let world = world_with(&door).await;
        let status = if door.kind == "pypi" { 422 } else { 400 };
        for body in bodies {
            let answer = send(&world, "POST", door.host, path, body).await;
            assert_eq!(
                answer.status,
                status,
                "{} {body}: {}",
                door.kind,
                answer.text()
            );
            let reason = answer.json()["reason"].clone();
            assert!(
                ["json_malformed", "parameter_missing", "assertion_malformed"]
                    .contains(&reason.as_str().unwrap()),
                "{body}: {reason}"
            );
            assert!(!door.shown(&answer).is_empty());
        }
        let wrong = send(&world, "GET", door.host, path, "").await;
        assert_eq!(wrong.status, 405, "{}", wrong.text());
        assert!(wrong.header("allow").unwrap().starts_with("POST"));
        let nowhere = send(&world, "GET", "nowhere.test", path, "").await;
        assert_eq!(
            (nowhere.status, &nowhere.json()["reason"]),
            (404, &json!("path_unknown"))
        );
        let large = format!("{{\"token\":\"{}\"}}", "x".repeat(70_000));
        let large = send(&world, "POST", door.host, path, &large).await;
        assert_eq!(large.json()["reason"], "body_too_large", "{}", large.text());
    }
    for door in [NPM, NUGET] {
        let world = world_with(&door).await;
        let path = if door.kind == "npm" {
            "/-/npm/v1/oidc/token/exchange/package/widgets"
        } else {
            "/api/v2/token"
        };
        let bare = Request::post(path)
            .header("host", door.host)
            .header("user-agent", "x");
        let answer = world.server.send(bare.body(Body::empty()).unwrap()).await;
        let status = if door.kind == "npm" { 400 } else { 401 };
        assert_eq!(answer.status, status, "{}", answer.text());
        assert_eq!(answer.json()["reason"], "parameter_missing");
        if door.kind == "nuget" {
            assert_eq!(answer.header("www-authenticate").unwrap(), "Bearer");
        }
    }
}

#[tokio::test]
async fn the_nuget_door_takes_what_its_action_sends_and_names_its_mistakes() {
    let world = world_with(&NUGET).await;
    let assertion = NUGET.good(&world);
    let ask = async |agent: &str, kind: &str, body: &str| {
        let request = Request::post("/api/v2/token")
            .header("host", NUGET.host)
            .header("authorization", format!("bearer {assertion}"))
            .header("user-agent", agent)
            .header("content-type", kind);
        let answer = world
            .server
            .send(request.body(Body::from(body.to_owned())).unwrap())
            .await;
        (
            answer.status,
            answer.json()["reason"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
        )
    };
    let good = "{\"username\":\"Joel\",\"tokenType\":\"apikey\"}";
    let json = "application/json; charset=utf-8";
    for (agent, kind, body, expected) in [
        ("", json, good, (400, "parameter_missing")),
        ("x", "text/plain", good, (415, "media_type")),
        (
            "x",
            json,
            "{\"username\":\"joel\"}",
            (400, "parameter_missing"),
        ),
        (
            "x",
            json,
            "{\"tokenType\":\"ApiKey\"}",
            (400, "parameter_missing"),
        ),
        (
            "x",
            json,
            "{\"username\":\"joel\",\"tokenType\":\"Pat\"}",
            (400, "json_malformed"),
        ),
        (
            "x",
            json,
            &format!(
                "{{\"username\":\"{}\",\"tokenType\":\"ApiKey\"}}",
                "x".repeat(129)
            ),
            (400, "parameter_malformed"),
        ),
        (
            "x",
            json,
            "{\"username\":\"mallory\",\"tokenType\":\"ApiKey\"}",
            (401, "principal_mismatch"),
        ),
        ("x", json, good, (200, "")),
    ] {
        let (status, reason) = ask(agent, kind, body).await;
        assert_eq!((status, reason.as_str()), expected, "{agent} {kind} {body}");
    }
}

#[tokio::test]
async fn the_gem_door_takes_a_form_as_well() {
    let world = world_with(&GEMS).await;
    let request = Request::post("/api/v1/oidc/trusted_publisher/exchange_token")
        .header("host", GEMS.host)
        .header("content-type", "application/x-www-form-urlencoded");
    let body = Body::from(format!("jwt={}", GEMS.good(&world)));
    let answer = world.server.send(request.body(body).unwrap()).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
}

#[tokio::test]
async fn the_pypi_door_tells_its_audience_and_burns_keys() {
    let world = world_with(&PYPI).await;
    let told = send(&world, "GET", "PYPI.test:8443", "/_/oidc/audience", "").await;
    assert_eq!(
        (told.status, told.json()),
        (200, json!({ "audience": "pypi.test" }))
    );
    let registry = TestClient::registry(&world.server).await;
    let key = PYPI.key(&PYPI.present(&world, &PYPI.good(&world)).await);
    assert_eq!(
        registry.introspect(&world.server, &key).await["active"],
        true
    );
    for token in [&key, &key, "cnt_py_unknown"] {
        let body = json!({ "token": token }).to_string();
        let answer = send(&world, "POST", PYPI.host, "/_/oidc/burn-token", &body).await;
        assert_eq!((answer.status, answer.text()), (202, String::new()));
        assert_eq!(
            registry.introspect(&world.server, &key).await["active"],
            false
        );
    }
    assert_eq!(world.server.audit("outcome=revoked").await.len(), 1);
    // A switched-off registry says so where tools look for it.
    world
        .server
        .admin(
            "PATCH",
            "resource-servers/pypi",
            json!({ "enabled": false }),
        )
        .await;
    let off = send(&world, "GET", PYPI.host, "/_/oidc/audience", "").await;
    assert_eq!(off.status, 403);
    assert!(off.json()["message"].is_string());
    let refused = PYPI.present(&world, &PYPI.good(&world)).await;
    assert_eq!(
        (refused.status, &refused.json()["reason"]),
        (422, &json!("target_unknown"))
    );
}

#[tokio::test]
async fn the_crates_door_revokes_the_token_of_the_actions_last_step() {
    let world = world_with(&CRATES).await;
    let registry = TestClient::registry(&world.server).await;
    let delete = async |authorization: Option<&str>| {
        let mut request =
            Request::delete("/api/v1/trusted_publishing/tokens").header("host", CRATES.host);
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        world
            .server
            .send(request.body(Body::empty()).unwrap())
            .await
            .status
    };
    let mut keys = Vec::new();
    for _ in 0..2 {
        keys.push(CRATES.key(&CRATES.present(&world, &CRATES.good(&world)).await));
    }
    assert_eq!(delete(Some(&keys[0])).await, 204);
    assert_eq!(delete(Some(&format!("Bearer {}", keys[1]))).await, 204);
    for key in &keys {
        assert_eq!(
            registry.introspect(&world.server, key).await["active"],
            false
        );
    }
    assert_eq!(delete(Some("cnt_crate_unknown")).await, 204);
    assert_eq!(delete(None).await, 401);
    assert_eq!(delete(Some("Basic abc")).await, 401);
    // A token of another registry, of a client, or of the admin API is none of this door's.
    let admin = world.server.admin_token("admin");
    let client = TestClient::publisher(&world.server, "robot", "client_secret_basic").await;
    let own = client.ask(&world.server, &[("resource", R1)]).await.token();
    for foreign in [&admin, &own] {
        assert_eq!(delete(Some(foreign)).await, 204);
    }
    assert_eq!(
        registry.introspect(&world.server, &own).await["active"],
        true
    );
    assert_eq!(world.server.audit("outcome=revoked").await.len(), 2);
}

#[tokio::test]
async fn a_door_that_is_too_slow_says_so_in_the_form_of_its_tools() {
    for door in ALL {
        let world = World::with(&[("CARNET_SERVER__REQUEST_SECONDS", "1")]).await;
        open(&world, &door, json!({})).await;
        let path = match door.kind {
            "pypi" => "/_/oidc/mint-token",
            "npm" => "/-/npm/v1/oidc/token/exchange/package/widgets",
            "crates-io" => "/api/v1/trusted_publishing/tokens",
            "nuget" => "/api/v2/token",
            _ => "/api/v1/oidc/trusted_publisher/exchange_token",
        };
        for path in [path.to_owned(), format!("/registry/pypi{path}")] {
            let body = Body::new(Silent);
            let request = Request::post(path).header("host", door.host);
            let answer = world.server.send(request.body(body).unwrap()).await;
            assert_eq!(
                (answer.status, answer.header("retry-after")),
                (503, Some("1")),
                "{}",
                answer.text()
            );
            assert_eq!(answer.json()["reason"], "overloaded");
            assert!(
                door.shown(&answer).contains("error_id"),
                "{}",
                answer.text()
            );
        }
    }
}

#[tokio::test]
async fn doors_count_refusals_of_an_address_like_the_token_endpoint() {
    let world = World::with(&[("CARNET_RATE_LIMITS__REFUSALS_PER_MINUTE_PER_ADDRESS", "5")]).await;
    open(&world, &NPM, json!({})).await;
    let peer = std::net::SocketAddr::new("192.0.2.7".parse().unwrap(), 4000);
    let mut statuses = Vec::new();
    for _ in 0..7 {
        let request = Request::post("/-/npm/v1/oidc/token/exchange/package/widgets")
            .header("host", NPM.host)
            .header("authorization", "Bearer not.a.jwt")
            .extension(axum::extract::ConnectInfo(peer));
        let answer = world
            .server
            .send(request.body(Body::empty()).unwrap())
            .await;
        if answer.status == 429 {
            assert!(answer.header("retry-after").is_some());
            assert_eq!(answer.json()["reason"], "rate_limited");
        }
        statuses.push(answer.status);
    }
    assert_eq!(statuses, [400, 400, 400, 400, 400, 429, 429]);
    // So do guesses of keys where keys are ended.
    for (door, method, path, ended) in [
        (PYPI, "POST", "/_/oidc/burn-token", 202),
        (CRATES, "DELETE", "/api/v1/trusted_publishing/tokens", 204),
    ] {
        let world =
            World::with(&[("CARNET_RATE_LIMITS__REFUSALS_PER_MINUTE_PER_ADDRESS", "5")]).await;
        open(&world, &door, json!({})).await;
        let mut statuses = Vec::new();
        for guess in 0..7 {
            let key = format!("cnt_{guess}");
            let request = Request::builder()
                .method(method)
                .uri(path)
                .header("host", door.host)
                .header("authorization", &key)
                .extension(axum::extract::ConnectInfo(peer));
            let body = Body::from(json!({ "token": key }).to_string());
            statuses.push(world.server.send(request.body(body).unwrap()).await.status);
        }
        assert_eq!(statuses, [ended, ended, ended, ended, ended, 429, 429]);
    }
}
