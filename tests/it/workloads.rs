//! What every workload's credential has to be, and what the server keeps to itself (WIMSE, RFC 9700; checklist 1.8, 1.11, attacks 7.14).

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use super::assertion::payload;
use crate::support::{
    CARNET, JWT_BEARER, ServerProcess, TestDb, TestKey, World, carnet, finished, github,
};

#[tokio::test]
async fn wimse_fmt_1__an_assertion_without_issuer_subject_audience_or_expiry_is_refused() {
    let world = World::new().await;
    for claim in ["iss", "sub", "aud", "exp"] {
        world
            .denies_claims(world.claims().without(claim), "claim_missing")
            .await;
    }
}

#[tokio::test]
async fn wimse_fmt_2__an_assertion_for_another_audience_is_refused() {
    let world = World::new().await;
    world
        .denies_claims(
            world.claims().with("aud", "https://another.test"),
            "aud_mismatch",
        )
        .await;
}

#[tokio::test]
async fn wimse_aud_1__a_credential_without_an_audience_is_refused() {
    let world = World::new().await;
    world
        .denies_claims(world.claims().without("aud"), "claim_missing")
        .await;
}

#[tokio::test]
async fn wimse_aud_2__several_audiences_are_refused_unless_the_others_are_listed() {
    let world = World::new().await;
    let both = || {
        world
            .claims()
            .with("aud", json!([CARNET, "https://other.test"]))
    };
    world.denies_claims(both(), "aud_not_single").await;
    world
        .trust(json!({ "extra_audiences": ["https://other.test"] }))
        .await;
    world.exchange_claims(&both()).await.token();
    world
        .denies_claims(
            world
                .claims()
                .with("aud", json!([CARNET, "https://third.test"])),
            "aud_not_single",
        )
        .await;
    world
        .denies_claims(
            world.claims().with("aud", json!(["https://other.test"])),
            "aud_mismatch",
        )
        .await;
}

#[tokio::test]
async fn wimse_aud_3__audiences_are_uris_unless_the_operator_says_otherwise() {
    let world = World::new().await;
    world
        .denies_claims(world.claims().with("aud", "carnet"), "aud_mismatch")
        .await;
    world.trust(json!({ "audiences": ["carnet"] })).await;
    world
        .exchange_claims(&world.claims().with("aud", "carnet"))
        .await
        .token();
}

#[tokio::test]
async fn wimse_aud_5__the_platforms_own_audiences_are_never_accepted() {
    let world = World::new().await;
    for (aud, reason) in [
        (json!("https://github.com/octo-org"), "aud_mismatch"),
        (
            json!([CARNET, "https://github.com/octo-org"]),
            "aud_not_single",
        ),
    ] {
        world
            .denies_claims(world.claims().with("aud", aud), reason)
            .await;
    }
}

#[tokio::test]
async fn wimse_life_1__tokens_live_fifteen_minutes_and_can_end_with_the_assertion() {
    let world = World::new().await;
    assert_eq!(
        world.exchange(&world.good()).await.json()["expires_in"],
        900
    );
    world
        .trust(json!({ "cap_at_assertion_expiry": true }))
        .await;
    assert_eq!(
        world.exchange(&world.good()).await.json()["expires_in"],
        300
    );
}

#[tokio::test]
async fn rfc9700_4_10_1__a_token_is_limited_to_fifteen_minutes_one_registry_and_its_packages() {
    let world = World::new().await;
    let claims = payload(&world.exchange(&world.good()).await.token());
    assert_eq!(
        claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
        900
    );
    assert_eq!(claims["aud"], crate::support::R1, "at no other registry");
    assert_eq!(
        claims["authorization_details"][0]["packages"],
        json!(["widgets", "widgets-*"]),
        "for nothing else"
    );
}

#[tokio::test]
async fn rfc9700_2_1_2_1__there_is_no_authorization_endpoint() {
    let world = World::new().await;
    for path in [
        "/authorize?response_type=token&client_id=x",
        "/authorize",
        "/oauth/authorize",
    ] {
        assert_eq!(world.server.get(path).await.status, 404);
    }
}

#[tokio::test]
async fn atk_203__a_hostile_claim_value_is_kept_unchanged_in_the_audit_log() {
    let world = World::new().await;
    let hostile = "\u{1b}[31mred ${jndi:ldap://x} %s \\\" {}";
    world.server.clock.advance(1);
    world
        .exchange_claims(&world.claims().with("run_id", hostile))
        .await
        .token();
    let event = world.server.audit("outcome=issued").await[0].clone();
    assert_eq!(event["detail"]["workload"]["claims"]["run_id"], hostile);
}

#[tokio::test]
async fn atk_099__unknown_issuers_and_bad_signatures_have_one_error_code() {
    let world = World::new().await;
    world.accepts().await;
    let unknown = world
        .gh
        .sign(&world.claims().with("iss", "https://unknown.test"));
    let forged = TestKey::rsa(7).named("rsa-0").sign(&world.claims().value());
    for assertion in [unknown, forged] {
        let answer = world.exchange(&assertion).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (400, &json!("invalid_grant"))
        );
        assert!(
            answer.json().get("mismatches").is_none(),
            "{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn atk_200__one_noisy_address_does_not_lock_the_others_out() {
    let world = World::with(&[("CARNET_RATE_LIMITS__REFUSALS_PER_MINUTE_PER_ADDRESS", "5")]).await;
    let from = async |last: u8, assertion: &str| {
        let request = Request::post("/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .extension(axum::extract::ConnectInfo(std::net::SocketAddr::from((
                [203, 0, 113, last],
                4000,
            ))));
        let body = format!("grant_type={JWT_BEARER}&assertion={assertion}");
        world
            .server
            .send(request.body(Body::from(body)).unwrap())
            .await
    };
    let forged = TestKey::rsa(7).named("rsa-0").sign(&world.claims().value());
    let mut limited = false;
    for _ in 0..8 {
        let answer = from(1, &forged).await;
        if answer.status == 429 {
            answer.refused(429, "temporarily_unavailable", "rate_limited");
            assert!(
                answer
                    .header("retry-after")
                    .unwrap()
                    .parse::<u32>()
                    .unwrap()
                    <= 60
            );
            limited = true;
        }
    }
    assert!(limited);
    // The limit is the address's: the platform and everybody else go on, and so does who stands beside it and has good ones.
    from(2, &world.good()).await.token();
    from(1, &world.good()).await.token();
    from(1, &forged)
        .await
        .refused(429, "temporarily_unavailable", "rate_limited");
}

#[tokio::test]
async fn rfc6749_10_10_1__token_ids_do_not_repeat() {
    let world = World::new().await;
    let mut seen = std::collections::HashSet::new();
    for _ in 0..50 {
        let token = world.exchange(&world.good()).await.token();
        assert!(seen.insert(payload(&token)["jti"].to_string()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc6749_10_3_1__tokens_assertions_and_secrets_are_in_no_log() {
    let db = TestDb::new().await;
    let key = TestKey::rsa(0);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let metrics = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    drop(listener);
    let issuer = format!("http://{address}");
    let secret = "canary-encryption-key";
    let encryption_key = carnet_jose::base64url([7u8; 32]);
    let settings = [
        ("CARNET_DATABASE__URL", db.url()),
        ("CARNET_LOG__LEVEL", "trace"),
        ("CARNET_LOG__FORMAT", "json"),
        ("CARNET_KEYS__ENCRYPTION_KEY", encryption_key.as_str()),
        ("CARNET_SERVER__METRICS_LISTEN", &metrics),
    ];
    let objects = json!({
        "trusted_issuers": { "github": { "profile": "github-actions", "issuer": "https://ci.test", "keys": { "source": "static", "jwks": { "keys": [key.jwk()] } } } },
        "principals": { "joel": { "kind": "user" } },
        "resource_servers": { "pypi": { "resource": crate::support::R1, "actions": ["create", "publish"] } },
        "federated_credentials": { "octo-release": World::rule_document(json!({})) },
    });
    std::fs::write(db.folder().join("objects.json"), objects.to_string()).unwrap();
    let places = [
        ("CARNET_ISSUER", issuer.as_str()),
        ("CARNET_SERVER__LISTEN", address.as_str()),
        ("CARNET_DATA_DIR", db.folder().to_str().unwrap()),
    ];
    crate::support::first_start(db.folder(), &[&settings[..], &places].concat());
    let mut apply = carnet();
    apply
        .current_dir(db.folder())
        .args(["apply", "-f", "objects.json"])
        .env("CARNET_ISSUER", &issuer);
    apply
        .env("CARNET_SERVER__LISTEN", &address)
        .env("CARNET_DATA_DIR", db.folder())
        .envs(settings);
    let applied = finished(apply.output().unwrap());
    assert_eq!(applied.code, 0, "{applied:?}");
    let server = ServerProcess::start_at(db.folder(), &address, &settings).await;

    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64;
    let assertion = key.sign(&github(now).with("aud", issuer.clone()).value());
    let bad = key.sign(
        &github(now)
            .with("aud", issuer.clone())
            .with("jti", "canary\n{\"injected\":true}")
            .with("sub", "canary\r\nx")
            .value(),
    );
    let http = reqwest::Client::builder().build().unwrap();
    let send = async |form: &[(&str, &str)]| {
        let answer = http
            .post(format!("{issuer}/token"))
            .form(form)
            .send()
            .await
            .unwrap();
        answer.json::<Value>().await.unwrap()
    };
    let issued = send(&[("grant_type", JWT_BEARER), ("assertion", &assertion)]).await;
    let token = issued["access_token"].as_str().unwrap().to_owned();
    send(&[("grant_type", JWT_BEARER), ("assertion", &assertion)]).await;
    send(&[("grant_type", JWT_BEARER), ("assertion", &bad)]).await;
    send(&[
        ("grant_type", JWT_BEARER),
        ("assertion", &assertion),
        ("client_id", "x"),
        ("client_secret", secret),
    ])
    .await;
    http.post(format!("{issuer}/token?client_secret={secret}"))
        .body("x")
        .send()
        .await
        .unwrap();
    http.get(format!("{issuer}/admin/v1/principals"))
        .bearer_auth(&token)
        .send()
        .await
        .unwrap();
    let metrics = http
        .get(format!("http://{metrics}/metrics"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(
        metrics.contains("carnet_tokens_issued_total 1")
            && metrics.contains("carnet_refusals_total{reason=\"replay\"} 1"),
        "{metrics}"
    );
    assert_eq!(server.terminate(), 0);

    let log = std::fs::read_to_string(db.folder().join("server.log")).unwrap();
    assert!(log.lines().count() > 5, "{log}");
    let parts = [&token, &assertion, &bad]
        .into_iter()
        .flat_map(|jwt| jwt.split('.').skip(1));
    for canary in parts.chain([secret, encryption_key.as_str()]) {
        assert!(!log.contains(canary), "{canary} is in the log");
        assert!(!metrics.contains(canary), "{canary} is in the metrics");
    }
    // WIMSE-SEC-1, ATK-202, ATK-203: each line is one JSON object, whatever the claims hold.
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}"));
        assert!(line.get("injected").is_none());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn atk_092__requests_cannot_be_smuggled() {
    use std::io::{Read as _, Write as _};
    let db = TestDb::new().await;
    let settings = [("CARNET_DATABASE__URL", db.url())];
    let server = ServerProcess::start(db.folder(), &settings).await;
    let address = server.url.trim_start_matches("http://").to_owned();
    for attack in [
        "POST /token HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
        "POST /token HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
        "POST /token HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabcGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
        "POST /token HTTP/1.1\r\nhost: x\r\nfolded: a\r\n b\r\n\r\nGET /healthz HTTP/1.1\r\nhost: x\r\n\r\n",
    ] {
        let mut stream = std::net::TcpStream::connect(&address).unwrap();
        stream
            .set_read_timeout(Some(std::time::Duration::from_millis(700)))
            .unwrap();
        stream.write_all(attack.as_bytes()).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).ok();
        let answer = String::from_utf8_lossy(&answer);
        assert!(
            !answer.contains("alive"),
            "a second request was seen: {answer}"
        );
    }
    let mut stream = std::net::TcpStream::connect(&address).unwrap();
    stream
        .write_all(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.contains("alive"));
}

#[tokio::test]
async fn atk_204__metric_labels_come_from_fixed_sets_in_the_code() {
    // Labels are literals, reasons, outcomes, statuses and endpoints: sets that are fixed in the code. The names of trusted issuers, which
    // administrators choose, are written by http/metrics.rs itself.
    let fixed = [
        "reason.code",
        "word",
        "outcome",
        "why",
        "status",
        "status.to_string",
        "endpoint",
        "version",
        "why.code",
        "failure.code",
        // The kinds of receivers of audit events.
        "destination",
        "self.kind",
        // A first sign-in or a step-up.
        "kind",
        // Of the verification of an attestation.
        "step",
    ];
    let source = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = 0;
    let mut folders = vec![source];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                // Calls may stand on several lines.
                let text = std::fs::read_to_string(&path).unwrap();
                let calls = text.split("metrics::").skip(1).filter(|call| {
                    ["counter!(", "histogram!(", "gauge!("]
                        .iter()
                        .any(|kind| call.starts_with(kind))
                });
                for call in calls {
                    let arguments = call.split(';').next().unwrap();
                    for label in arguments.split("=>").skip(1).map(str::trim) {
                        let value = label.split([',', ')', '(']).next().unwrap();
                        let literal = value.starts_with('"');
                        assert!(
                            literal || fixed.contains(&value),
                            "{}: {arguments}",
                            path.display()
                        );
                    }
                    found += 1;
                }
            }
        }
    }
    assert!(found >= 5, "{found}");
}

#[tokio::test]
async fn atk_154__claims_like_scope_or_act_in_an_assertion_do_not_reach_the_token() {
    let world = World::new().await;
    let claims = world
        .claims()
        .with("act", json!({ "sub": "admin" }))
        .with("may_act", json!({ "sub": "x" }))
        .with("scope", "admin unlist")
        .with("client_id", "root")
        .with(
            "authorization_details",
            json!([{ "type": "package", "actions": ["*"], "packages": ["*"] }]),
        )
        .with("groups", json!(["admins"]))
        .with("principal", "root");
    let token = payload(&world.exchange_claims(&claims).await.token());
    assert_eq!(token["scope"], "create publish");
    assert!(
        token.get("act").is_none()
            && token.get("groups").is_none()
            && token.get("may_act").is_none()
    );
    assert_eq!(token["principal"]["name"], "joel");
    assert_eq!(
        token["authorization_details"][0]["packages"],
        json!(["widgets", "widgets-*"])
    );
}

#[tokio::test]
async fn wimse_pop_1__an_assertion_bound_to_a_key_is_refused_as_a_bearer_token() {
    let world = World::new().await;
    let unknown = "confirmation_unsupported";
    for (cnf, reason) in [
        (
            json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" }),
            "proof_missing",
        ),
        (json!({ "surprise": 1 }), unknown),
        (json!({}), unknown),
        (json!("x"), unknown),
    ] {
        world
            .denies_claims(world.claims().with("cnf", cnf), reason)
            .await;
    }
}

#[tokio::test]
async fn wimse_pop_2__bearer_tokens_live_fifteen_minutes_unless_the_registry_says_more() {
    let world = World::new().await;
    for (lifetime, expected) in [(json!(1800), 1800), (json!(60), 60), (Value::Null, 900)] {
        let body = json!({ "token_lifetime_seconds": lifetime });
        let changed = world
            .server
            .admin("PATCH", "resource-servers/pypi", body)
            .await;
        assert_eq!(changed.status, 200, "{}", changed.text());
        assert_eq!(
            world.exchange(&world.good()).await.json()["expires_in"],
            expected
        );
    }
}

#[tokio::test]
async fn wimse_sec_1__error_answers_hold_no_part_of_the_assertion() {
    let world = World::new().await;
    let assertion = world
        .gh
        .sign(&world.claims().with("event_name", "workflow_run"));
    let answer = world.exchange(&assertion).await;
    answer.refused(400, "invalid_grant", "event_denied");
    for part in assertion.split('.') {
        assert!(!answer.text().contains(part));
    }
}
