//! The gateway: what passes it, what it publishes and records, and what becomes of publications whose outcome is unclear.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Request;
use carnet::gateway::change_packages;
use carnet::http::gateway_router;
use carnet::store::{PackageChange, Subject};
use carnet::tls::ClientCertificate;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower::ServiceExt as _;

use carnet_dpop::ProofKey;

use crate::support::{
    Answer, Authority, CARNET, GatewayServer, HOST, JWT_BEARER, OPERATORS, TestClient, World,
    basic, encode, machine_time, recorded,
};

/// A wheel as uv sends it: `carnet-fixture` 1.0.0rc1.
const WHEEL: &str = "pypi-uv-0.13.9-wheel.form";
/// The folded name of its package.
const PACKAGE: &str = "carnet-fixture";

/// The content type of a recorded form: its boundary is its first line.
pub fn form_type(body: &[u8]) -> String {
    let end = body.windows(2).position(|pair| pair == b"\r\n").unwrap();
    let boundary = std::str::from_utf8(&body[2..end]).unwrap();
    format!("multipart/form-data; boundary={boundary}")
}

/// Uploads the wheel with these credentials.
async fn upload(server: &GatewayServer, authorization: &str) -> Answer {
    let body = recorded(WHEEL);
    let headers = [
        ("authorization", authorization),
        ("content-type", &form_type(&body)),
        ("user-agent", "uv/0.13.9"),
    ];
    server.send("POST", "/legacy/", &headers, &body).await
}

fn token_user(token: &str) -> String {
    basic("__token__", token)
}

/// The owner of a package on record, and whether it is only reserved.
async fn record(server: &GatewayServer) -> Vec<String> {
    let sql = "SELECT state || ':' || COALESCE(owner, '-') FROM gateway_package ORDER BY name";
    server.world.server.db.column(sql).await
}

#[tokio::test]
async fn a_publication_goes_on_byte_for_byte_with_the_gateways_own_credential() {
    let server = GatewayServer::of("pypi").await;
    server.back.answers("POST", "/", 200, "stored");
    let token = server.token().await;
    let answer = upload(&server, &token_user(&token)).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, "stored"));
    let written = server.back.written();
    assert_eq!(written.len(), 1);
    let sent = &written[0];
    let body = recorded(WHEEL);
    assert_eq!((sent.method.as_str(), sent.target.as_str()), ("POST", "/"));
    assert_eq!(sent.body, body);
    assert_eq!(
        sent.header("authorization"),
        Some(basic("carnet", OPERATORS).as_str())
    );
    assert_eq!(
        sent.header("content-length"),
        Some(body.len().to_string().as_str())
    );
    assert_eq!(sent.header("transfer-encoding"), None);
    assert_eq!(sent.header("content-type"), Some(form_type(&body).as_str()));
    assert_eq!(sent.header("user-agent"), Some("uv/0.13.9"));
    assert_eq!(sent.header("host"), Some(HOST));
    assert_eq!(sent.header("x-forwarded-proto"), Some("https"));
    assert_eq!(sent.header("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(record(&server).await, ["owned:pr_joel"]);

    let events = server.world.server.audit("outcome=published").await;
    assert_eq!(events.len(), 1, "{events:?}");
    let event = events[0].to_string();
    for part in [
        PACKAGE,
        "1.0.0rc1",
        "sha256:",
        "joel",
        "octo-org/octo-repo",
        "9001",
    ] {
        assert!(event.contains(part), "{part}: {event}");
    }
    assert!(!event.contains(&token), "{event}");
}

#[tokio::test]
async fn a_registrys_own_refusal_comes_through_and_gives_a_new_name_back() {
    let server = GatewayServer::of("pypi").await;
    let token = server.token().await;
    server.back.answers("POST", "/", 400, "no such classifier");
    let answer = upload(&server, &token_user(&token)).await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (400, "no such classifier")
    );
    assert_eq!(record(&server).await, [""; 0]);
    // The same token, which is no assertion, may try again.
    server.back.answers("POST", "/", 200, "");
    assert_eq!(upload(&server, &token_user(&token)).await.status, 200);
    server.back.answers("POST", "/", 409, "file exists");
    assert_eq!(upload(&server, &token_user(&token)).await.status, 409);
    assert_eq!(record(&server).await, ["owned:pr_joel"]);
}

#[tokio::test]
async fn only_the_token_decides_what_is_published() {
    let server = GatewayServer::of("pypi").await;
    let no_create = json!({ "actions": ["publish"] });
    let elsewhere = json!({ "packages": ["widgets"] });
    let cases = [
        (Some(elsewhere), 403, "package_out_of_scope"),
        (Some(no_create), 403, "create_denied"),
        (None, 403, "token_inactive"),
    ];
    for (changed, status, reason) in cases {
        let authorization = match changed {
            Some(changed) => token_user(&server.token_for(changed).await),
            None => token_user("cnt_never"),
        };
        let answer = upload(&server, &authorization).await;
        let text = answer.text();
        assert!(answer.status == status || answer.status == 401, "{text}");
        assert!(
            text.contains(reason) || reason == "token_inactive",
            "{text}"
        );
    }
    // Without a token nothing of the body is wanted.
    let answer = server
        .send("POST", "/", &[("content-length", "900000000")], b"")
        .await;
    assert!(matches!(answer.status, 401 | 403), "{}", answer.text());
    assert!(server.back.reached().iter().all(|one| one.method == "GET"));
    assert_eq!(record(&server).await, [""; 0]);
}

#[tokio::test]
async fn a_package_of_another_owner_or_of_nobody_is_refused() {
    let server = GatewayServer::of("pypi").await;
    let token = server.token().await;
    let page = "<!DOCTYPE html><html><body><a href=\"/packages/carnet_fixture-0.9.tar.gz\">carnet_fixture-0.9.tar.gz</a></body></html>";
    server
        .back
        .answers("GET", "/simple/carnet-fixture/", 200, page);
    let answer = upload(&server, &token_user(&token)).await;
    assert_eq!(answer.status, 403);
    assert!(
        answer.text().contains("package_not_imported"),
        "{}",
        answer.text()
    );

    let operator = &server.world.server;
    operator
        .put("principals/eve", json!({ "id": "pr_eve", "kind": "user" }))
        .await;
    import(&server, "eve").await;
    let answer = upload(&server, &token_user(&token)).await;
    assert!(answer.text().contains("owner_lost"), "{}", answer.text());
    assert!(server.back.written().is_empty());
}

/// Sets the owner of the package.
async fn import(server: &GatewayServer, owner: &str) {
    import_as(server, (PACKAGE, PACKAGE), owner).await;
}

/// Sets the owner of the package with this folded name, spelled so.
pub(super) async fn import_as(server: &GatewayServer, (name, spelled): (&str, &str), owner: &str) {
    let package = Subject {
        registry: "pypi".to_owned(),
        name: name.to_owned(),
        spelled: spelled.to_owned(),
    };
    let change = PackageChange::Own(owner.to_owned());
    let app = &server.world.server.app;
    change_packages(app, &[(package, change)]).await.unwrap();
}

#[tokio::test]
async fn an_unclear_outcome_keeps_the_name_for_its_publisher_until_the_registry_has_it() {
    let server = GatewayServer::of("pypi").await;
    let token = server.token().await;
    server.back.answers("POST", "/", 500, "out of memory");
    assert_eq!(upload(&server, &token_user(&token)).await.status, 500);
    assert_eq!(record(&server).await, ["reserved:pr_joel"]);
    // Nobody else gets the name meanwhile.
    let eves = eve(&server).await;
    let answer = upload(&server, &token_user(&eves)).await;
    assert!(
        answer.text().contains("package_reserved"),
        "{}",
        answer.text()
    );
    // The registry does not have it: nothing changes, however long it takes.
    server.world.server.clock.advance(400 * 86_400);
    server.gateway.settle_unclear(600).await.unwrap();
    assert_eq!(record(&server).await, ["reserved:pr_joel"]);
    // It has another file under the name: nothing changes either.
    let file = "carnet_fixture-1.0.0rc1-py3-none-any.whl";
    let page = |digest: &str| {
        format!(
            "<!DOCTYPE html><html><body><a href=\"/packages/{file}#sha256={digest}\">{file}</a></body></html>"
        )
    };
    server
        .back
        .answers("GET", "/simple/carnet-fixture/", 200, page(&"0".repeat(64)));
    server.gateway.settle_unclear(600).await.unwrap();
    assert_eq!(record(&server).await, ["reserved:pr_joel"]);
    let digests: Vec<String> = server
        .world
        .server
        .db
        .column("SELECT digest FROM gateway_publication WHERE state <> 'refused'")
        .await;
    let digest = digests[0].strip_prefix("sha256:").unwrap();
    server
        .back
        .answers("GET", "/simple/carnet-fixture/", 200, page(digest));
    server.gateway.settle_unclear(600).await.unwrap();
    assert_eq!(record(&server).await, ["owned:pr_joel"]);
}

/// A token of another principal for everything, of the same job.
async fn eve(server: &GatewayServer) -> String {
    let operator = &server.world.server;
    operator
        .put("principals/eve", json!({ "id": "pr_eve", "kind": "user" }))
        .await;
    let mut rule = World::rule_document(json!({}));
    rule["principal"] = json!("eve");
    rule["permissions"][0]["packages"] = json!(["*"]);
    operator.put("federated-credentials/eves", rule).await;
    let named = [("principal", "eve")];
    let good = server.world.good();
    server.world.exchange_with(&good, &named).await.token()
}

#[tokio::test]
async fn a_token_that_ends_while_the_body_comes_publishes_nothing() {
    let server = GatewayServer::of("pypi").await;
    let token = server.token().await;
    let body = recorded(WHEEL);
    let head = format!(
        "POST / HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\nAuthorization: {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
        token_user(&token),
        form_type(&body),
        body.len()
    );
    let mut stream = tokio::net::TcpStream::connect(server.address)
        .await
        .unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body[..1000]).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let off = json!({ "enabled": false });
    let saved = server
        .world
        .server
        .admin("PATCH", "federated-credentials/octo-release", off)
        .await;
    assert_eq!(saved.status, 200);
    stream.write_all(&body[1000..]).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 40"), "{answer}");
    assert!(answer.contains("not in force"), "{answer}");
    assert!(server.back.written().is_empty());
}

#[tokio::test]
async fn an_operator_whose_credential_is_wrong_is_told_and_not_the_job() {
    let server = GatewayServer::of("pypi").await;
    let token = server.token().await;
    server
        .back
        .answers("POST", "/", 401, "who are you, carnet?");
    let answer = upload(&server, &token_user(&token)).await;
    assert_eq!(answer.status, 502);
    assert!(
        answer.text().contains("gateway's credential"),
        "{}",
        answer.text()
    );
    assert_eq!(record(&server).await, [""; 0]);
}

#[tokio::test]
async fn a_registry_that_cannot_be_asked_is_no_registry_without_the_package() {
    let server = GatewayServer::of("pypi").await;
    let token = server.token().await;
    server
        .back
        .answers("GET", "/simple/carnet-fixture/", 503, "");
    let answer = upload(&server, &token_user(&token)).await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert!(server.back.written().is_empty());
}

#[tokio::test]
async fn cargo_registries_that_refuse_with_200_have_refused() {
    let server = GatewayServer::of("crates-io").await;
    let token = server.token().await;
    let body = recorded("cargo-1.95.0-publish.body");
    let path = "/api/v1/crates/new";
    let refused = json!({ "errors": [{ "detail": "crate name is taken" }] }).to_string();
    server.back.answers("PUT", path, 200, refused.clone());
    let headers = [("authorization", token.as_str())];
    let answer = server.send("PUT", path, &headers, &body).await;
    assert_eq!((answer.status, answer.text()), (200, refused));
    assert_eq!(record(&server).await, [""; 0]);
    let done = json!({ "warnings": {} }).to_string();
    server.back.answers("PUT", path, 200, done);
    assert_eq!(server.send("PUT", path, &headers, &body).await.status, 200);
    assert_eq!(record(&server).await, ["owned:pr_joel"]);
    // A yank is an operation of its own.
    let publish_only = json!({ "actions": ["create", "publish"] });
    let weaker = server.token_for(publish_only).await;
    let yank = "/api/v1/crates/carnet-fixture/1.0.0/yank";
    let sent = [("authorization", weaker.as_str())];
    let answer = server.send("DELETE", yank, &sent, b"").await;
    assert!(answer.text().contains("`unlist`"), "{}", answer.text());
    let token = server.token().await;
    let sent = [("authorization", token.as_str())];
    assert_eq!(server.send("DELETE", yank, &sent, b"").await.status, 200);
    assert_eq!(server.back.written().last().unwrap().target, yank);
    // Owners are the gateway's affair.
    let owners = "/api/v1/crates/carnet-fixture/owners";
    let add = json!({ "users": ["mallory"] }).to_string();
    let answer = server.send("PUT", owners, &sent, add.as_bytes()).await;
    assert_eq!(answer.status, 404, "{}", answer.text());
}

#[tokio::test]
async fn unlisting_needs_the_right_to_delete_where_the_registry_deletes() {
    let deletes = json!({ "unlisting_deletes": true });
    for (more, needed, other) in [
        (json!({}), "unlist", "delete"),
        (deletes, "delete", "unlist"),
    ] {
        let server = GatewayServer::with("crates-io", more, &[]).await;
        import_as(&server, ("carnet_fixture", "carnet-fixture"), "joel").await;
        let path = "/api/v1/crates/carnet-fixture/1.0.0";
        for (action, status) in [(other, 403), (needed, 200)] {
            let token = server.token_for(json!({ "actions": [action] })).await;
            let headers = [("authorization", token.as_str())];
            let yank = format!("{path}/yank");
            let answer = server.send("DELETE", &yank, &headers, b"").await;
            assert_eq!(answer.status, status, "{action}: {}", answer.text());
            let says = format!("needs the action `{needed}`");
            assert_eq!(
                answer.text().contains(&says),
                status == 403,
                "{}",
                answer.text()
            );
        }
        // What comes back was not deleted.
        let token = server.token_for(json!({ "actions": ["unlist"] })).await;
        let headers = [("authorization", token.as_str())];
        let unyank = format!("{path}/unyank");
        assert_eq!(server.send("PUT", &unyank, &headers, b"").await.status, 200);
    }
}

#[tokio::test]
async fn every_protocol_publishes_through_the_gateway() {
    let cases = [
        (
            "npm",
            "PUT",
            "/@carnet%2ffixture",
            "npm-11.19.1-publish.json",
            "application/json",
        ),
        (
            "rubygems",
            "POST",
            "/api/v1/gems",
            "rubygems-3.3.15-push.gem",
            "application/octet-stream",
        ),
        (
            "nuget",
            "PUT",
            "/api/v2/package/",
            "nuget-2.8.7-push.form",
            "",
        ),
        ("pypi", "POST", "/", "pypi-twine-7.0.0-sdist.form", ""),
    ];
    for (protocol, method, path, fixture, kind) in cases {
        let server = GatewayServer::of(protocol).await;
        let token = server.token().await;
        let body = recorded(fixture);
        let form = form_type_or(kind, &body);
        let credential = match protocol {
            "nuget" => ("x-nuget-apikey", token.clone()),
            "pypi" => ("authorization", token_user(&token)),
            "npm" => ("authorization", format!("Bearer {token}")),
            _ => ("authorization", token.clone()),
        };
        let headers = [
            (credential.0, credential.1.as_str()),
            ("content-type", form.as_str()),
        ];
        let answer = server.send(method, path, &headers, &body).await;
        assert_eq!(answer.status, 200, "{protocol}: {}", answer.text());
        let written = server.back.written();
        assert_eq!(
            (written.len(), &written[0].body[..]),
            (1, &body[..]),
            "{protocol}"
        );
        assert_eq!(record(&server).await, ["owned:pr_joel"], "{protocol}");
        assert!(
            !written[0]
                .headers
                .values()
                .any(|value| value.to_str().is_ok_and(|value| value.contains(&token))),
            "{protocol}"
        );
    }
}

fn form_type_or(kind: &str, body: &[u8]) -> String {
    if kind.is_empty() {
        form_type(body)
    } else {
        kind.to_owned()
    }
}

#[tokio::test]
async fn provenance_tells_who_published_a_version_from_where() {
    let server = GatewayServer::of("pypi").await;
    server.back.answers("POST", "/", 200, "");
    let token = server.token().await;
    assert_eq!(upload(&server, &token_user(&token)).await.status, 200);
    let path = "/gateway/v1/publications/pypi/carnet-fixture";
    let asked = async |scope: &str| {
        let admin = server.world.server.admin_token(scope);
        let bearer = format!("Bearer {admin}");
        server
            .send("GET", path, &[("authorization", &bearer)], b"")
            .await
    };
    let answer = asked("admin:read").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let items: Value = answer.json()["items"].clone();
    let one = &items[0];
    assert_eq!(items.as_array().unwrap().len(), 1, "{items}");
    assert_eq!(
        (&one["version"], &one["state"]),
        (&json!("1.0.0rc1"), &json!("accepted"))
    );
    assert_eq!(one["principal"], "joel");
    let claims = &one["workload"]["claims"];
    assert_eq!(
        (&claims["repository"], &claims["run_id"]),
        (&json!("octo-org/octo-repo"), &json!("9001"))
    );
    assert!(one["digest"].as_str().unwrap().starts_with("sha256:"));
    assert_eq!(asked("admin:credentials:joel").await.status, 403);
    let unknown = server.send("GET", path, &[], b"").await;
    assert_eq!(unknown.status, 401);
}

#[tokio::test]
async fn a_bound_token_publishes_with_a_proof_of_its_key_alone() {
    let server = GatewayServer::of("pypi").await;
    server.back.answers("POST", "/", 200, "stored");
    server.token().await;
    let (world, body) = (&server.world, recorded(WHEEL));
    let (key, thief) = (ProofKey::generate().unwrap(), ProofKey::generate().unwrap());
    let now = world.server.now();
    let prove = |key: &ProofKey, method: &str, url: &str, token: Option<&str>| {
        key.prove((method, url), token, None, now).unwrap()
    };
    let assertion = world.good();
    let form = [
        ("grant_type", JWT_BEARER),
        ("assertion", assertion.as_str()),
    ];
    let proof = prove(&key, "POST", &format!("{CARNET}/token"), None);
    let headers = [("dpop", proof.as_str())];
    let answer = world.server.form_with("/token", &headers, &form).await;
    let token = answer.token();
    let upload = async |authorization: String, proofs: &[String]| {
        let kind = form_type(&body);
        let mut headers = vec![
            ("authorization", authorization.as_str()),
            ("content-type", &kind),
        ];
        headers.extend(proofs.iter().map(|proof| ("dpop", proof.as_str())));
        server.send("POST", "/legacy/", &headers, &body).await
    };
    let (dpop, url) = (format!("DPoP {token}"), "https://registry.test/legacy/");
    let good = || prove(&key, "POST", url, Some(&token));
    let plain = world.exchange(&world.good()).await.token();
    for (authorization, proofs, says) in [
        (token_user(&token), vec![], "bound to a key"),
        (format!("Bearer {token}"), vec![good()], "bound to a key"),
        (dpop.clone(), vec![], "no DPoP header"),
        (dpop.clone(), vec![good(), good()], "one DPoP header"),
        (
            dpop.clone(),
            vec![prove(&thief, "POST", url, Some(&token))],
            "another key",
        ),
        (
            dpop.clone(),
            vec![prove(&key, "PUT", url, Some(&token))],
            "htm",
        ),
        (
            dpop.clone(),
            vec![prove(&key, "POST", "https://registry.test/", Some(&token))],
            "htu",
        ),
        (
            dpop.clone(),
            vec![prove(&key, "POST", url, Some(&plain))],
            "ath",
        ),
        (format!("DPoP {plain}"), vec![good()], "not bound"),
    ] {
        let answer = upload(authorization, &proofs).await;
        let text = answer.text();
        assert!(matches!(answer.status, 401 | 403), "{text}");
        assert!(text.contains(says), "{says}: {text}");
    }
    assert_eq!(server.back.written().len(), 0);
    let proof = good();
    let answer = upload(dpop.clone(), std::slice::from_ref(&proof)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(server.back.written()[0].header("dpop"), None);
    // The same proof again, at another gateway of the same database too.
    let answer = upload(dpop, &[proof]).await;
    assert!(answer.text().contains("used before"), "{}", answer.text());
    assert_eq!(server.back.written().len(), 1);
}

#[tokio::test]
async fn rfc9449_9_1__the_gateway_asks_for_its_own_nonce() {
    let settings = [("CARNET_DPOP__REQUIRE_NONCE", "true")];
    let server = GatewayServer::with("npm", json!({}), &settings).await;
    server
        .back
        .answers("PUT", "/@carnet%2ffixture", 200, "stored");
    let (world, key) = (&server.world, ProofKey::generate().unwrap());
    let now = world.server.now();
    let body = recorded("npm-11.19.1-publish.json");
    let rule = json!([{ "resource_server": "pypi", "actions": ["create", "publish"], "packages": ["@carnet/fixture"] }]);
    let mut document = World::rule_document(json!({}));
    document["permissions"] = rule;
    world
        .server
        .put("federated-credentials/octo-release", document)
        .await;
    let assertion = world.good();
    let form = [
        ("grant_type", JWT_BEARER),
        ("assertion", assertion.as_str()),
    ];
    let ask = async |nonce: Option<&str>| {
        let proof = key
            .prove(("POST", &format!("{CARNET}/token")), None, nonce, now)
            .unwrap();
        let headers = [("dpop", proof.as_str())];
        world.server.form_with("/token", &headers, &form).await
    };
    let of_server = ask(None).await.header("dpop-nonce").unwrap().to_owned();
    let token = ask(Some(&of_server)).await.token();
    let url = "https://registry.test/@carnet%2ffixture";
    let authorization = format!("DPoP {token}");
    let upload = async |nonce: Option<&str>, at: i64| {
        let proof = key.prove(("PUT", url), Some(&token), nonce, at).unwrap();
        let headers = [
            ("authorization", authorization.as_str()),
            ("content-type", "application/json"),
            ("dpop", proof.as_str()),
        ];
        server
            .send("PUT", "/@carnet%2ffixture", &headers, &body)
            .await
    };
    // Neither no nonce nor that of the token endpoint will do.
    let mut given = String::new();
    for nonce in [None, Some(of_server.as_str())] {
        let answer = upload(nonce, now).await;
        assert_eq!(answer.status, 401, "{}", answer.text());
        let challenges: Vec<&str> = answer
            .headers
            .get_all("www-authenticate")
            .iter()
            .map(|one| one.to_str().unwrap())
            .collect();
        assert!(
            challenges
                .iter()
                .any(|one| one.contains("error=\"use_dpop_nonce\"")),
            "{challenges:?}"
        );
        given = answer.header("dpop-nonce").unwrap().to_owned();
        assert_ne!(given, of_server);
    }
    assert_eq!(server.back.written().len(), 0);
    // A nonce is good for some minutes, and a newer one comes with the answer.
    world.server.clock.advance(90);
    let answer = upload(Some(&given), now + 90).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let newer = answer.header("dpop-nonce").unwrap();
    assert_ne!(newer, given);
    assert_eq!(server.back.written().len(), 1);
}

#[tokio::test]
async fn rfc8705_3_2__a_token_bound_to_a_certificate_publishes_with_it_alone() {
    let server = GatewayServer::of("pypi").await;
    server.back.answers("POST", "/", 200, "stored");
    server.token().await;
    let (world, body) = (&server.world, recorded(WHEEL));
    let certify = |until: i64| {
        let (certificate, _) = Authority::new().certify(&["job"], until);
        Arc::new(ClientCertificate::from_der(&certificate.to_der().unwrap()).unwrap())
    };
    // It ends before the token does.
    let own = certify(world.server.now() - machine_time() + 300);
    let other = certify(3000 * 86_400);
    let assertion = world.good();
    let form = [
        ("grant_type", JWT_BEARER),
        ("assertion", assertion.as_str()),
    ];
    let request = Request::post("/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .extension(own.clone());
    let request = request.body(Body::from(encode(&form))).unwrap();
    let token = world.server.send(request).await.token();
    let router = gateway_router(world.server.app.clone(), server.gateway.clone());
    let upload = async |authorization: &str, certificate: Option<&Arc<ClientCertificate>>| {
        let mut request = Request::post("/legacy/")
            .header("host", HOST)
            .header("content-type", form_type(&body))
            .header("content-length", body.len())
            .header("authorization", authorization);
        if let Some(certificate) = certificate {
            request = request.extension(certificate.clone());
        }
        let request = request.body(Body::from(body.clone())).unwrap();
        let answer = router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    };
    let (basic, bearer, dpop) = (
        token_user(&token),
        format!("Bearer {token}"),
        format!("DPoP {token}"),
    );
    for (authorization, certificate, says) in [
        (&basic, None, "made without one"),
        (&bearer, None, "made without one"),
        (&basic, Some(&other), "another client certificate"),
        (&dpop, Some(&own), "send it as Bearer"),
    ] {
        let (status, text) = upload(authorization, certificate).await;
        assert!(matches!(status, 401 | 403), "{status} {text}");
        assert!(text.contains(says), "{says}: {text}");
    }
    assert_eq!(server.back.written().len(), 0);
    let (status, text) = upload(&basic, Some(&own)).await;
    assert_eq!(status, 200, "{text}");
    assert_eq!(server.back.written().len(), 1);
    // A certificate whose time is over is none.
    world.server.clock.advance(400);
    let (status, text) = upload(&bearer, Some(&own)).await;
    assert!(matches!(status, 401 | 403), "{status}");
    assert!(text.contains("without one that can be used"), "{text}");
}

#[tokio::test]
async fn provenance_takes_a_proof_for_the_url_of_the_registry() {
    let server = GatewayServer::of("pypi").await;
    let (world, key) = (&server.world, ProofKey::generate().unwrap());
    let members = json!({ "scopes": ["admin:read"] });
    let client =
        TestClient::register(&world.server, "auditor", "client_secret_post", members).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "auditor"),
        ("client_secret", client.secret()),
        ("resource", "https://as.test/admin"),
        ("scope", "admin:read"),
    ];
    let now = world.server.now();
    let proof = key.prove(("POST", &format!("{CARNET}/token")), None, None, now);
    let headers = [("dpop", proof.unwrap())];
    let headers = headers
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    let answer = world.server.form_with("/token", &headers, &form).await;
    let token = answer.token();
    let path = "/gateway/v1/publications/pypi/widgets";
    let prove = |origin: &str| {
        let url = format!("{origin}{path}");
        key.prove(("GET", &url), Some(&token), None, now).unwrap()
    };
    let authorization = format!("DPoP {token}");
    let stream = TokioIo::new(TcpStream::connect(server.address).await.unwrap());
    let (mut http_2, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), stream)
            .await
            .unwrap();
    tokio::spawn(connection);
    for (origin, status) in [("https://registry.test", 200), (CARNET, 401)] {
        for host in [HOST, "registry.test:443"] {
            let proof = prove(origin);
            let headers = [
                ("host", host),
                ("authorization", authorization.as_str()),
                ("dpop", &proof),
            ];
            let answer = server.send("GET", path, &headers, b"").await;
            assert_eq!(answer.status, status, "{host}: {}", answer.text());
            // HTTP/2 has the host in the URI alone.
            let request = hyper::Request::get(format!("http://{host}{path}"))
                .header("authorization", &authorization)
                .header("dpop", prove(origin))
                .body(Empty::<Bytes>::new())
                .unwrap();
            let answer = http_2.send_request(request).await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{host}, HTTP/2");
        }
    }
}
