//! DPoP (RFC 9449) at the token endpoint and at our own API: proofs bind tokens, are good for one request, and cannot be left out
//! where something is bound already.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::http::Request;
use carnet_dpop::{ProofKey, token_hash};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use super::assertion::payload;
use super::delegation::{helper, with_helpers};
use crate::support::{
    ACCESS_TOKEN, Answer, CARNET, CLIENT_ASSERTION, JWT, JWT_BEARER, R1, TOKEN_EXCHANGE,
    TestClient, TestKey, TestServer, World, encode,
};

const TOKEN: &str = "https://as.test/token";

/// A key of a job, that makes proofs as it likes.
struct Prover(TestKey);

impl Prover {
    fn new() -> Self {
        Self(TestKey::ec("", "ES256"))
    }

    fn jwk(&self) -> Value {
        let mut jwk = self.0.jwk();
        for name in ["kid", "use", "alg"] {
            jwk.as_object_mut().unwrap().shift_remove(name);
        }
        jwk
    }

    fn thumbprint(&self) -> String {
        carnet_jose::thumbprint(self.jwk().as_object().unwrap()).unwrap()
    }

    /// The claims of a good proof for the token endpoint.
    fn claims(now: i64) -> Value {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let id = COUNT.fetch_add(1, Ordering::Relaxed);
        json!({ "jti": format!("proof-{id}"), "htm": "POST", "htu": TOKEN, "iat": now })
    }

    fn sign(&self, claims: &Value) -> String {
        let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": self.jwk() });
        self.0.sign_with_header(&header, claims)
    }

    fn prove(&self, server: &TestServer) -> String {
        self.sign(&Self::claims(server.now()))
    }
}

/// Claims with these members changed.
fn with(mut claims: Value, changes: Value) -> Value {
    for (name, value) in changes.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

async fn ask(server: &TestServer, proof: &str, form: &[(&str, &str)]) -> Answer {
    server.form_with("/token", &[("dpop", proof)], form).await
}

/// The first grant with a proof.
async fn exchange(world: &World, proof: &str, assertion: &str) -> Answer {
    let form = [("grant_type", JWT_BEARER), ("assertion", assertion)];
    ask(&world.server, proof, &form).await
}

async fn renew(world: &World, proof: Option<&str>, token: &str) -> Answer {
    let form = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", token),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    match proof {
        Some(proof) => ask(&world.server, proof, &form).await,
        None => world.server.form("/token", &form).await,
    }
}

/// The claims of a token that was issued as bound to this key.
#[track_caller]
fn bound_to(answer: &Answer, prover: &Prover) -> Value {
    let body = answer.json();
    assert_eq!(answer.status, 200, "{body:#}");
    assert_eq!(body["token_type"], "DPoP");
    let claims = payload(body["access_token"].as_str().unwrap());
    assert_eq!(claims["cnf"], json!({ "jkt": prover.thumbprint() }));
    claims
}

#[tokio::test]
async fn rfc9449_5_1__every_grant_binds_its_token_to_the_key_of_the_proof() {
    let world = World::new().await;
    let server = &world.server;
    let prover = Prover::new();
    let answer = exchange(&world, &prover.prove(server), &world.good()).await;
    let claims = bound_to(&answer, &prover);
    // The key of the proof says nothing of the assertion.
    assert_eq!(claims["workload"]["proof"], "bearer");

    let assertion = world.good();
    let form = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", assertion.as_str()),
        ("subject_token_type", JWT),
    ];
    bound_to(&ask(server, &prover.prove(server), &form).await, &prover);

    let client = TestClient::publisher(server, "ci", "client_secret_post").await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "ci"),
        ("client_secret", client.secret()),
    ];
    bound_to(&ask(server, &prover.prove(server), &form).await, &prover);

    let robot = json!({ "auth_method": "federated", "federated_credentials": ["octo-release"] });
    server.put("clients/robot", robot).await;
    let assertion = world.good();
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "robot"),
        ("client_assertion_type", CLIENT_ASSERTION),
        ("client_assertion", &assertion),
    ];
    bound_to(&ask(server, &prover.prove(server), &form).await, &prover);
}

#[tokio::test]
async fn rfc9449_5_4__a_good_proof_always_binds() {
    let world = World::new().await;
    let prover = Prover::new();
    for _ in 0..3 {
        let answer = exchange(&world, &prover.prove(&world.server), &world.good()).await;
        bound_to(&answer, &prover);
    }
    let plain = world.exchange(&world.good()).await.json();
    assert_eq!(plain["token_type"], "Bearer");
    assert!(payload(plain["access_token"].as_str().unwrap())["cnf"].is_null());
}

#[tokio::test]
async fn rfc9449_5_3__a_bad_proof_fails_the_request_and_uses_nothing_up() {
    let world = World::new().await;
    let (server, prover) = (&world.server, Prover::new());
    let assertion = world.good();
    let now = server.now();
    let good = Prover::claims(now);
    for (proof, why) in [
        (String::new(), "jwk header"),
        ("garbage".to_owned(), "jwk header"),
        (
            prover.sign(&with(good.clone(), json!({ "htm": "GET" }))),
            "htm",
        ),
        (
            prover.sign(&with(
                good.clone(),
                json!({ "htu": "https://other.test/token" }),
            )),
            "https://as.test/token",
        ),
        (
            prover.sign(&with(good.clone(), json!({ "iat": now - 120 }))),
            "made at",
        ),
        (
            prover.sign(&with(good.clone(), json!({ "iat": now + 120 }))),
            "made at",
        ),
        (format!("{0}, {0}", prover.prove(server)), "jwk header"),
    ] {
        let answer = exchange(&world, &proof, &assertion).await;
        let body = answer
            .refused(400, "invalid_dpop_proof", "proof_invalid")
            .json();
        let told = body["detail"].as_str().unwrap();
        assert!(told.contains(why), "{why}: {told}");
    }
    // An assertion as a proof, and a proof as an assertion.
    let answer = exchange(&world, &assertion, &assertion).await;
    answer.refused(400, "invalid_dpop_proof", "proof_invalid");
    let proof = prover.prove(server);
    let answer = exchange(&world, &proof, &prover.prove(server)).await;
    answer.refused(400, "invalid_grant", "header_denied");
    // Neither the proof of the refused request nor the assertion is used up.
    bound_to(&exchange(&world, &proof, &assertion).await, &prover);
}

#[tokio::test]
async fn atk_170__two_proofs_in_two_headers_are_refused() {
    let world = World::new().await;
    let (server, prover) = (&world.server, Prover::new());
    let (one, two) = (prover.prove(server), prover.prove(server));
    let headers = [("dpop", one.as_str()), ("dpop", two.as_str())];
    let assertion = world.good();
    let form = [
        ("grant_type", JWT_BEARER),
        ("assertion", assertion.as_str()),
    ];
    let answer = server.form_with("/token", &headers, &form).await;
    answer.refused(400, "invalid_dpop_proof", "proof_invalid");
    bound_to(&exchange(&world, &one, &assertion).await, &prover);
}

#[tokio::test]
async fn rfc9449_4_3_9c__the_configured_url_counts_whatever_the_host_header_says() {
    let world = World::new().await;
    let (server, prover) = (&world.server, Prover::new());
    let assertion = world.good();
    let form = [
        ("grant_type", JWT_BEARER),
        ("assertion", assertion.as_str()),
    ];
    let forged = prover.sign(&with(
        Prover::claims(server.now()),
        json!({ "htu": "https://evil.test/token" }),
    ));
    let headers = [("host", "evil.test"), ("dpop", forged.as_str())];
    let answer = server.form_with("/token", &headers, &form).await;
    answer.refused(400, "invalid_dpop_proof", "proof_invalid");
    let good = prover.prove(server);
    let headers = [("host", "evil.test"), ("dpop", good.as_str())];
    bound_to(&server.form_with("/token", &headers, &form).await, &prover);
}

#[tokio::test]
async fn atk_163__a_proof_is_good_for_one_token_on_all_nodes_and_after_a_restart() {
    let world = World::new().await;
    let prover = Prover::new();
    let proof = prover.prove(&world.server);
    bound_to(&exchange(&world, &proof, &world.good()).await, &prover);
    let assertion = world.good();
    let replayed = "proof_replayed";
    let again = exchange(&world, &proof, &assertion).await;
    again.refused(400, "invalid_dpop_proof", replayed);
    let form = [
        ("grant_type", JWT_BEARER),
        ("assertion", assertion.as_str()),
    ];
    // A node that starts later, as after a restart.
    let other = world.server.another_node().await;
    let answer = ask(&other, &proof, &form).await;
    answer.refused(400, "invalid_dpop_proof", replayed);
    // The assertion that came with it is good for a token still.
    bound_to(&ask(&other, &prover.prove(&other), &form).await, &prover);
    // A used assertion is told as such, whatever the proof.
    let used = exchange(&world, &proof, &assertion).await;
    used.refused(400, "invalid_grant", "replay");
}

#[tokio::test]
async fn rfc9449_11_1_1__of_parallel_requests_with_one_proof_one_wins() {
    let world = World::new().await;
    let prover = Prover::new();
    let proof = prover.prove(&world.server);
    let assertions: Vec<String> = (0..50).map(|_| world.good()).collect();
    let mut running = JoinSet::new();
    for assertion in assertions {
        let (router, proof) = (world.server.router.clone(), proof.clone());
        running.spawn(async move {
            let form = [
                ("grant_type", JWT_BEARER),
                ("assertion", assertion.as_str()),
            ];
            let request = Request::post("/token")
                .header("content-type", "application/x-www-form-urlencoded")
                .header("dpop", proof)
                .body(Body::from(encode(&form)));
            let answer = router.oneshot(request.unwrap()).await.unwrap();
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8(body.to_vec()).unwrap())
        });
    }
    let answers = running.join_all().await;
    let (won, lost): (Vec<_>, Vec<_>) = answers.iter().partition(|(status, _)| *status == 200);
    assert_eq!((won.len(), lost.len()), (1, 49));
    for (status, body) in lost {
        assert!(*status == 400 && body.contains("proof_replayed"), "{body}");
    }
}

#[tokio::test]
async fn atk_176__a_refused_grant_leaves_proof_and_assertion_unused() {
    let world = World::new().await;
    let prover = Prover::new();
    let proof = prover.prove(&world.server);
    let wrong = world
        .gh
        .sign(&world.claims().in_repository("octo-org/other"));
    let answer = exchange(&world, &proof, &wrong).await;
    assert_eq!(answer.json()["error"], "invalid_grant");
    bound_to(&exchange(&world, &proof, &world.good()).await, &prover);
}

#[tokio::test]
async fn rfc9449_5_1_1__the_metadata_lists_the_algorithms_of_proofs() {
    let server = TestServer::start().await;
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/oauth-protected-resource/admin",
    ] {
        let document = server.get(path).await.json();
        let listed = document["dpop_signing_alg_values_supported"]
            .as_array()
            .unwrap();
        assert!(listed.contains(&json!("ES256")) && listed.contains(&json!("EdDSA")));
        assert!(!listed.contains(&json!("none")) && !listed.contains(&json!("HS256")));
    }
}

#[tokio::test]
async fn rfc9449_5_2_1__who_has_to_send_a_proof_gets_nothing_without_one() {
    let world = World::new().await;
    let (server, prover) = (&world.server, Prover::new());
    let members = json!({ "permissions": [crate::support::permission(&["publish"])], "dpop_bound_access_tokens": true });
    let client = TestClient::register(server, "ci", "client_secret_post", members).await;
    let answer = client.ask(server, &[]).await;
    answer.refused(400, "invalid_request", "dpop_required");
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "ci"),
        ("client_secret", client.secret()),
    ];
    bound_to(&ask(server, &prover.prove(server), &form).await, &prover);

    let changed = json!({ "require_sender_constraint": true });
    let saved = server
        .admin("PATCH", "resource-servers/pypi", changed)
        .await;
    assert_eq!(saved.status, 200, "{}", saved.text());
    let assertion = world.good();
    let answer = world.exchange(&assertion).await;
    answer.refused(400, "invalid_grant", "sender_constraint_required");
    bound_to(
        &exchange(&world, &prover.prove(server), &assertion).await,
        &prover,
    );
}

#[tokio::test]
async fn rfc9449_6_2_1__introspection_shows_the_key_and_the_type() {
    let world = World::new().await;
    let (server, prover) = (&world.server, Prover::new());
    let registry = TestClient::registry(server).await;
    for format in ["jwt", "opaque"] {
        let changed = json!({ "token_format": format });
        server
            .admin("PATCH", "resource-servers/pypi", changed)
            .await;
        let body = exchange(&world, &prover.prove(server), &world.good())
            .await
            .json();
        assert_eq!(body["token_type"], "DPoP", "{body:#}");
        let token = body["access_token"].as_str().unwrap();
        let shown = registry.introspect(server, token).await;
        assert_eq!(shown["cnf"], json!({ "jkt": prover.thumbprint() }));
        assert_eq!(shown["token_type"], "DPoP");
        assert_eq!(shown["workload"]["proof"], "bearer");
    }
}

#[tokio::test]
async fn rfc9449_11_3_1__once_nonces_are_asked_for_proofs_without_one_are_refused() {
    let world = World::with(&[("CARNET_DPOP__REQUIRE_NONCE", "true")]).await;
    let (server, prover) = (&world.server, Prover::new());
    let assertion = world.good();
    let answer = exchange(&world, &prover.prove(server), &assertion).await;
    answer.refused(400, "use_dpop_nonce", "proof_nonce");
    let nonces: Vec<_> = answer.headers.get_all("dpop-nonce").iter().collect();
    assert_eq!(nonces.len(), 1);
    let nonce = nonces[0].to_str().unwrap().to_owned();
    // Another node takes it too, and a clock that is off by minutes does not matter with it.
    let other = server.another_node().await;
    let claims = with(
        Prover::claims(server.now() - 200),
        json!({ "nonce": nonce }),
    );
    let form = [
        ("grant_type", JWT_BEARER),
        ("assertion", assertion.as_str()),
    ];
    let answer = ask(&other, &prover.sign(&claims), &form).await;
    bound_to(&answer, &prover);
    server.clock.advance(360);
    let claims = with(Prover::claims(server.now()), json!({ "nonce": nonce }));
    let answer = exchange(&world, &prover.sign(&claims), &world.good()).await;
    answer.refused(400, "use_dpop_nonce", "proof_nonce");
    assert_ne!(answer.headers["dpop-nonce"], nonce.as_str());
    // Without a proof nothing is asked for.
    assert_eq!(world.exchange(&world.good()).await.status, 200);
}

#[tokio::test]
async fn rfc9449_8_2_1__a_good_answer_has_the_nonce_for_the_next_proof() {
    let world = World::with(&[("CARNET_DPOP__REQUIRE_NONCE", "true")]).await;
    let (server, prover) = (&world.server, Prover::new());
    let first = exchange(&world, &prover.prove(server), &world.good()).await;
    let nonce = first.headers["dpop-nonce"].clone();
    server.clock.advance(120);
    let proof = |nonce: &str| {
        let claims = with(Prover::claims(server.now()), json!({ "nonce": nonce }));
        prover.sign(&claims)
    };
    let proof = proof(nonce.to_str().unwrap());
    let answer = exchange(&world, &proof, &world.good()).await;
    bound_to(&answer, &prover);
    let newer = answer.headers["dpop-nonce"].clone();
    assert_ne!(newer, nonce);
    let claims = json!({ "nonce": newer.to_str().unwrap() });
    let proof = prover.sign(&with(Prover::claims(server.now()), claims));
    bound_to(&exchange(&world, &proof, &world.good()).await, &prover);
    // Where no nonce is asked for, none is given.
    let world = World::new().await;
    let proof = prover.prove(&world.server);
    let answer = exchange(&world, &proof, &world.good()).await;
    assert!(bound_to(&answer, &prover).is_object() && !answer.headers.contains_key("dpop-nonce"));
}

#[tokio::test]
async fn atk_171__a_proof_that_was_made_in_advance_is_refused() {
    let world = World::with(&[("CARNET_DPOP__REQUIRE_NONCE", "true")]).await;
    let prover = Prover::new();
    let claims = Prover::claims(world.server.now() + 200);
    let answer = exchange(&world, &prover.sign(&claims), &world.good()).await;
    answer.refused(400, "use_dpop_nonce", "proof_nonce");
    let world = World::new().await;
    let claims = Prover::claims(world.server.now() + 200);
    let proof = prover.sign(&claims);
    let answer = exchange(&world, &proof, &world.good()).await;
    answer.refused(400, "invalid_dpop_proof", "proof_invalid");
}

#[tokio::test]
async fn atk_172__nonces_of_other_servers_and_old_ones_are_answered_with_a_fresh_one() {
    let settings = [("CARNET_DPOP__REQUIRE_NONCE", "true")];
    let (world, other) = (World::with(&settings).await, World::with(&settings).await);
    let (server, prover) = (&world.server, Prover::new());
    let nonce = async |world: &World| {
        let answer = exchange(world, &prover.prove(&world.server), &world.good()).await;
        answer.headers["dpop-nonce"].to_str().unwrap().to_owned()
    };
    let (own, foreign) = (nonce(&world).await, nonce(&other).await);
    assert_ne!(own, foreign);
    let mut tampered = own.clone().into_bytes();
    tampered[15] = if tampered[15] == b'A' { b'B' } else { b'A' };
    server.clock.advance(600);
    for wrong in [own, foreign, String::from_utf8(tampered).unwrap()] {
        let claims = with(Prover::claims(server.now()), json!({ "nonce": wrong }));
        let answer = exchange(&world, &prover.sign(&claims), &world.good()).await;
        answer.refused(400, "use_dpop_nonce", "proof_nonce");
        let fresh = answer.headers["dpop-nonce"].to_str().unwrap();
        let claims = with(Prover::claims(server.now()), json!({ "nonce": fresh }));
        bound_to(
            &exchange(&world, &prover.sign(&claims), &world.good()).await,
            &prover,
        );
    }
}

#[tokio::test]
async fn wimse_pop_1__an_assertion_that_is_bound_to_a_key_needs_its_proof() {
    let world = World::new().await;
    let (server, prover) = (&world.server, Prover::new());
    let bound = |prover: &Prover| {
        let cnf = json!({ "jkt": prover.thumbprint() });
        world.gh.sign(&world.claims().with("cnf", cnf))
    };
    let assertion = bound(&prover);
    world.denies(&assertion, "proof_missing").await;
    let answer = exchange(&world, &Prover::new().prove(server), &assertion).await;
    answer.refused(400, "invalid_grant", "proof_mismatch");
    let claims = bound_to(
        &exchange(&world, &prover.prove(server), &assertion).await,
        &prover,
    );
    assert_eq!(claims["workload"]["proof"], "key");
    for cnf in [
        json!({ "jwk": prover.jwk() }),
        json!({}),
        json!({ "jkt": "a", "kid": "b" }),
        json!("x"),
    ] {
        let odd = world.gh.sign(&world.claims().with("cnf", cnf));
        let answer = exchange(&world, &prover.prove(server), &odd).await;
        answer.refused(400, "invalid_grant", "confirmation_unsupported");
    }
}

#[tokio::test]
async fn wimsecx_trust_2__a_bound_token_stays_bound_to_its_key() {
    let world = World::new().await;
    let (server, prover) = (&world.server, Prover::new());
    let first = exchange(&world, &prover.prove(server), &world.good())
        .await
        .json();
    let token = first["access_token"].as_str().unwrap();
    let lost = "proof_would_be_lost";
    renew(&world, None, token)
        .await
        .refused(400, "invalid_request", lost);
    let other = Prover::new();
    let answer = renew(&world, Some(&other.prove(server)), token).await;
    answer.refused(400, "invalid_request", lost);
    let claims = bound_to(
        &renew(&world, Some(&prover.prove(server)), token).await,
        &prover,
    );
    assert_eq!(claims["workload"]["proof"], "bearer");
    // A bearer token becomes a bound one by a proof, and is not trusted more for it.
    let plain = world.exchange(&world.good()).await.json();
    let token = plain["access_token"].as_str().unwrap();
    let claims = bound_to(
        &renew(&world, Some(&prover.prove(server)), token).await,
        &prover,
    );
    assert_eq!(claims["workload"]["proof"], "bearer");
}

#[tokio::test]
async fn wimsecx_trust_3__min_proof_keeps_weaker_workloads_out() {
    let world = World::new().await;
    let (server, prover) = (&world.server, Prover::new());
    let bound = || {
        let cnf = json!({ "jkt": prover.thumbprint() });
        world.gh.sign(&world.claims().with("cnf", cnf))
    };
    let strict = json!({ "min_proof": "key" });
    let saved = server.admin("PATCH", "resource-servers/pypi", strict).await;
    assert_eq!(saved.json()["min_proof"], "key", "{}", saved.text());
    let assertion = world.good();
    let weak = "proof_too_weak";
    world
        .exchange(&assertion)
        .await
        .refused(400, "invalid_target", weak);
    let answer = exchange(&world, &prover.prove(server), &assertion).await;
    let body = answer.refused(400, "invalid_target", weak).json();
    assert_eq!(
        (&body["received"], &body["permitted"]),
        (&json!("bearer"), &json!("key"))
    );
    let strong = exchange(&world, &prover.prove(server), &bound()).await;
    bound_to(&strong, &prover);
    let token = strong.json()["access_token"].as_str().unwrap().to_owned();
    bound_to(
        &renew(&world, Some(&prover.prove(server)), &token).await,
        &prover,
    );

    // A permission that asks for more does not count, and leaves the others alone.
    let lax = json!({ "min_proof": "bearer" });
    server.admin("PATCH", "resource-servers/pypi", lax).await;
    let mut rule = World::rule_document(json!({}));
    rule["permissions"] = json!([
        { "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"] },
        { "resource_server": "pypi", "actions": ["publish"], "packages": ["crown"], "min_proof": "key" },
        { "resource_server": "pypi", "actions": ["publish"], "packages": ["ring"], "require_sender_constraint": true },
    ]);
    server
        .put("federated-credentials/octo-release", rule.clone())
        .await;
    let packages = |answer: &Answer| {
        let body = answer.json();
        let entries = body["authorization_details"].as_array().unwrap().clone();
        entries
            .iter()
            .map(|entry| entry["packages"].clone())
            .collect::<Vec<_>>()
    };
    let plain = world.exchange(&world.good()).await;
    assert_eq!(packages(&plain), [json!(["widgets"])]);
    let proved = exchange(&world, &prover.prove(server), &world.good()).await;
    // Permissions that differ in what they ask for are not merged.
    assert_eq!(packages(&proved), [json!(["widgets"]), json!(["ring"])]);
    let strong = exchange(&world, &prover.prove(server), &bound()).await;
    assert_eq!(
        packages(&strong),
        [json!(["widgets"]), json!(["crown"]), json!(["ring"])]
    );
    rule["permissions"].as_array_mut().unwrap().remove(0);
    server.put("federated-credentials/octo-release", rule).await;
    let answer = world.exchange(&world.good()).await;
    assert_eq!(answer.status, 400);
    let reason = answer.json()["reason"].as_str().unwrap().to_owned();
    assert!(
        [weak, "sender_constraint_required"].contains(&reason.as_str()),
        "{reason}"
    );
}

#[tokio::test]
async fn wimsecx_trust_4__an_actor_raises_no_level_and_lowers_one() {
    let world = World::new().await;
    let (server, prover) = (&world.server, Prover::new());
    with_helpers(&world, 1).await;
    let actor = || helper(&world, 0);
    let cnf = json!({ "jkt": prover.thumbprint() });
    let level = async |subject: String, actor: String| {
        let form = [
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", subject.as_str()),
            ("subject_token_type", JWT),
            ("actor_token", &actor),
            ("actor_token_type", JWT),
        ];
        let answer = ask(server, &prover.prove(server), &form).await;
        bound_to(&answer, &prover)["workload"]["proof"].clone()
    };
    let bound_actor = || world.gh.sign(&actor().with("cnf", cnf.clone()));
    let bound_subject = || world.gh.sign(&world.claims().with("cnf", cnf.clone()));
    assert_eq!(level(world.good(), bound_actor()).await, "bearer");
    assert_eq!(
        level(bound_subject(), world.gh.sign(&actor())).await,
        "bearer"
    );
    assert_eq!(level(bound_subject(), bound_actor()).await, "key");
}

#[tokio::test]
async fn what_a_front_doors_tools_cannot_prove_is_refused_when_saved() {
    let world = World::new().await;
    let door = json!({ "kind": "pypi", "hosts": ["r1.test"] });
    for (name, value) in [
        ("require_sender_constraint", json!(true)),
        ("min_proof", json!("key")),
    ] {
        let document = json!({ "resource": R1, "actions": ["create", "publish"], "front_door": door, name: value });
        let answer = world
            .server
            .admin("PUT", "resource-servers/pypi", document)
            .await;
        assert_eq!(answer.status, 422, "{}", answer.text());
        let pointer = &answer.json()["errors"][0]["pointer"];
        assert_eq!(*pointer, json!(format!("/{name}")));
    }
    let odd = json!({ "resource": R1, "actions": ["publish"], "min_proof": "hardware" });
    let answer = world
        .server
        .admin("PUT", "resource-servers/pypi", odd)
        .await;
    assert_eq!(answer.status, 422);
}

#[tokio::test]
async fn a_key_of_a_front_door_is_bound_by_a_proof_for_the_url_that_was_reached() {
    let world = World::new().await;
    let (server, prover) = (&world.server, Prover::new());
    let document = json!({
        "resource": R1, "actions": ["create", "publish"],
        "front_door": { "kind": "pypi", "hosts": ["r1.test"] },
    });
    server.put("resource-servers/pypi", document).await;
    let registry = TestClient::registry(server).await;
    let ask = async |path: &str, host: &str, htu: &str| {
        let assertion = world.gh.sign(&world.claims().with("aud", "r1.test"));
        let claims = with(Prover::claims(server.now()), json!({ "htu": htu }));
        let request = Request::post(path)
            .header("host", host)
            .header("content-type", "application/json")
            .header("dpop", prover.sign(&claims))
            .body(Body::from(json!({ "token": assertion }).to_string()));
        server.send(request.unwrap()).await
    };
    let mint = "/_/oidc/mint-token";
    let below = format!("/registry/pypi{mint}");
    for (path, host, htu) in [
        (mint, "r1.test", format!("https://r1.test{mint}")),
        (below.as_str(), "as.test", format!("https://as.test{below}")),
    ] {
        let answer = ask(path, host, &htu).await;
        let body = answer.json();
        assert_eq!(answer.status, 200, "{body:#}");
        let shown = registry
            .introspect(server, body["token"].as_str().unwrap())
            .await;
        assert_eq!(shown["cnf"], json!({ "jkt": prover.thumbprint() }));
    }
    // The other URL of the same door was not reached.
    let other = ask(mint, "r1.test", &format!("https://as.test{below}")).await;
    assert_eq!(other.json()["reason"], "proof_invalid");
    let wrong = ask(mint, "r1.test", TOKEN).await;
    assert_eq!(wrong.json()["reason"], "proof_invalid", "{}", wrong.text());
}

/// A request of the admin API with this token under this scheme.
async fn administer(server: &TestServer, authorization: String, proof: Option<String>) -> Answer {
    let mut request =
        Request::get("/admin/v1/principals/joel").header("authorization", authorization);
    if let Some(proof) = proof {
        request = request.header("dpop", proof);
    }
    server.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn rfc9449_7_1_1__the_admin_api_takes_bound_tokens_with_their_proofs_alone() {
    let world = World::new().await;
    let (server, key) = (&world.server, ProofKey::generate().unwrap());
    let members = json!({ "scopes": ["admin:read"] });
    let client = TestClient::register(server, "operator", "client_secret_post", members).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "operator"),
        ("client_secret", client.secret()),
        ("resource", "https://as.test/admin"),
        ("scope", "admin:read"),
    ];
    let proof = key
        .prove(("POST", TOKEN), None, None, server.now())
        .unwrap();
    let body = ask(server, &proof, &form).await.json();
    assert_eq!(body["token_type"], "DPoP", "{body:#}");
    let token = body["access_token"].as_str().unwrap();
    let url = format!("{CARNET}/admin/v1/principals/joel");
    let prove = |key: &ProofKey, method: &str, url: &str, token: &str| {
        key.prove((method, url), Some(token), None, server.now())
            .unwrap()
    };
    let dpop = format!("DPoP {token}");
    let good = prove(&key, "GET", &url, token);
    let answer = administer(server, dpop.clone(), Some(good.clone())).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let thief = ProofKey::generate().unwrap();
    let plain = server.admin_token("admin:read");
    for (authorization, proof, error) in [
        // Stolen: as a bearer token, without a proof, with the thief's own.
        (format!("Bearer {token}"), None, "invalid_token"),
        (
            format!("Bearer {token}"),
            Some(prove(&key, "GET", &url, token)),
            "invalid_token",
        ),
        (dpop.clone(), None, "invalid_dpop_proof"),
        (
            dpop.clone(),
            Some(prove(&thief, "GET", &url, token)),
            "invalid_token",
        ),
        // The proof of another request.
        (dpop.clone(), Some(good), "invalid_dpop_proof"),
        (
            dpop.clone(),
            Some(prove(&key, "POST", &url, token)),
            "invalid_dpop_proof",
        ),
        (
            dpop.clone(),
            Some(prove(&key, "GET", TOKEN, token)),
            "invalid_dpop_proof",
        ),
        (
            dpop.clone(),
            Some(prove(&key, "GET", &url, &plain)),
            "invalid_dpop_proof",
        ),
        // A token that is not bound.
        (
            format!("DPoP {plain}"),
            Some(prove(&key, "GET", &url, &plain)),
            "invalid_token",
        ),
    ] {
        let answer = administer(server, authorization, proof).await;
        let challenge = answer.headers["www-authenticate"].to_str().unwrap();
        assert_eq!(answer.status, 401, "{}", answer.text());
        assert!(
            challenge.starts_with("DPoP ") && challenge.contains(&format!("error=\"{error}\"")),
            "{challenge}"
        );
    }
    assert_ne!(token_hash(token), token_hash(&plain));
}

#[tokio::test]
async fn rfc9700_2_2_1_1__a_copied_token_without_its_key_opens_nothing() {
    let world = World::new().await;
    let (server, prover, thief) = (&world.server, Prover::new(), Prover::new());
    let body = exchange(&world, &prover.prove(server), &world.good())
        .await
        .json();
    let token = body["access_token"].as_str().unwrap();
    for proof in [None, Some(thief.prove(server))] {
        let answer = renew(&world, proof.as_deref(), token).await;
        answer.refused(400, "invalid_request", "proof_would_be_lost");
    }
    let as_actor = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", token),
        ("subject_token_type", ACCESS_TOKEN),
        ("actor_token", token),
        ("actor_token_type", ACCESS_TOKEN),
    ];
    let answer = ask(server, &thief.prove(server), &as_actor).await;
    answer.refused(400, "invalid_request", "proof_would_be_lost");
    // Its owner goes on.
    bound_to(
        &renew(&world, Some(&prover.prove(server)), token).await,
        &prover,
    );
}

#[tokio::test]
async fn rfc9449_8_2__a_nonce_of_the_token_endpoint_is_none_of_the_admin_api() {
    let world = World::with(&[("CARNET_DPOP__REQUIRE_NONCE", "true")]).await;
    let (server, key) = (&world.server, ProofKey::generate().unwrap());
    let members = json!({ "scopes": ["admin:read"] });
    let client = TestClient::register(server, "operator", "client_secret_post", members).await;
    let form = [
        ("grant_type", "client_credentials"),
        ("client_id", "operator"),
        ("client_secret", client.secret()),
        ("resource", "https://as.test/admin"),
        ("scope", "admin:read"),
    ];
    let prove = |uri: (&str, &str), token: Option<&str>, nonce: Option<&str>| {
        key.prove(uri, token, nonce, server.now()).unwrap()
    };
    let first = ask(server, &prove(("POST", TOKEN), None, None), &form).await;
    let servers = first.headers["dpop-nonce"].to_str().unwrap().to_owned();
    let proof = prove(("POST", TOKEN), None, Some(&servers));
    let body = ask(server, &proof, &form).await.json();
    let token = body["access_token"].as_str().unwrap();
    let url = format!("{CARNET}/admin/v1/principals/joel");
    let with_nonce = |nonce: &str| prove(("GET", &url), Some(token), Some(nonce));
    let dpop = || format!("DPoP {token}");
    let answer = administer(server, dpop(), Some(with_nonce(&servers))).await;
    assert_eq!(answer.status, 401);
    let challenge = answer.headers["www-authenticate"].to_str().unwrap();
    assert!(
        challenge.contains("error=\"use_dpop_nonce\""),
        "{challenge}"
    );
    let own = answer.headers["dpop-nonce"].to_str().unwrap().to_owned();
    let answer = administer(server, dpop(), Some(with_nonce(&own))).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[tokio::test]
async fn explanations_take_a_declared_proof_and_say_what_is_asked_of_it() {
    let world = World::new().await;
    let (server, prover) = (&world.server, Prover::new());
    let check = |body: &Value, field: &str| {
        let checks = body["checks"].as_array().unwrap();
        checks.iter().find(|check| check["field"] == field).cloned()
    };
    let explain = async |assertion: &str, proof: &str| {
        let form = [
            ("grant_type", JWT_BEARER),
            ("assertion", assertion),
            ("proof", proof),
        ];
        let answer = server.form("/explain", &form).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };
    let jkt = format!("jkt:{}", prover.thumbprint());
    let cnf = json!({ "jkt": prover.thumbprint() });
    let bound = world.gh.sign(&world.claims().with("cnf", cnf.clone()));
    let body = explain(&bound, "none").await;
    assert_eq!(
        (&body["verdict"], &body["reason"]),
        (&json!("deny"), &json!("proof_missing"))
    );
    assert_eq!(check(&body, "proof").unwrap()["expected"], cnf);
    let body = explain(&bound, &jkt).await;
    assert_eq!(body["verdict"], "allow", "{body:#}");
    assert_eq!(check(&body, "proof").unwrap()["met"], true);
    let strict = json!({ "min_proof": "key", "require_sender_constraint": true });
    server.admin("PATCH", "resource-servers/pypi", strict).await;
    let body = explain(&bound, &jkt).await;
    assert_eq!(check(&body, "min_proof").unwrap()["received"], "key");
    assert_eq!(
        check(&body, "require_sender_constraint").unwrap()["met"],
        true
    );
    let body = explain(&world.good(), &jkt).await;
    assert_eq!(body["reason"], "proof_too_weak");
    assert_eq!(check(&body, "min_proof").unwrap()["met"], false);
    // The admin form says the same in its own words.
    let question = json!({ "assertion": bound, "proof": cnf });
    let body = server.admin("POST", "explanations", question).await.json();
    assert_eq!(body["verdict"], "allow", "{body:#}");
    let claims = world.claims().with("cnf", cnf.clone()).value();
    for (proof, reason) in [
        (json!("none"), "proof_missing"),
        (json!({ "jkt": "A".repeat(43) }), "proof_mismatch"),
    ] {
        let question = json!({ "trusted_issuer": "github", "claims": claims, "proof": proof });
        let body = server.admin("POST", "explanations", question).await.json();
        assert_eq!(body["reason"], reason, "{body:#}");
        assert_eq!(check(&body, "proof").unwrap()["met"], false, "{body:#}");
    }
    for odd in [
        json!("some"),
        json!({ "jkt": "short" }),
        json!({ "kid": "x" }),
        json!(1),
    ] {
        let question = json!({ "assertion": bound, "proof": odd });
        let answer = server.admin("POST", "explanations", question).await;
        assert_eq!(answer.status, 422, "{odd}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_bound_client_assertion_authenticates_nobody_without_its_proof() {
    let world = World::new().await;
    let (server, prover) = (&world.server, Prover::new());
    let client = TestClient::publisher(server, "signer", "private_key_jwt").await;
    let robot = json!({ "auth_method": "federated", "federated_credentials": ["octo-release"] });
    server.put("clients/robot", robot).await;
    let cnf = json!({ "jkt": prover.thumbprint() });
    let own = || {
        let claims = with(client.claims(server.now()), json!({ "cnf": cnf }));
        (client.key().sign(&claims), "signer")
    };
    let platforms = || {
        let claims = world.claims().with("aud", CARNET).with("cnf", cnf.clone());
        (world.gh.sign(&claims), "robot")
    };
    for made in [&own as &dyn Fn() -> (String, &'static str), &platforms] {
        let (assertion, id) = made();
        let form = |more: &[(&'static str, &'static str)]| {
            let mut form = vec![
                ("client_id", id),
                ("client_assertion_type", CLIENT_ASSERTION),
                ("client_assertion", assertion.as_str()),
            ];
            form.extend(more);
            form.into_iter()
                .map(|(name, value)| (name, value.to_owned()))
                .collect::<Vec<_>>()
        };
        let send = async |path: &str, form: Vec<(&str, String)>, proof: Option<String>| {
            let form: Vec<(&str, &str)> = form
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            let headers: Vec<(&str, &str)> =
                proof.iter().map(|proof| ("dpop", proof.as_str())).collect();
            server.form_with(path, &headers, &form).await
        };
        for path in ["/introspect", "/revoke"] {
            let answer = send(path, form(&[("token", "x.y.z")]), None).await;
            answer.refused(401, "invalid_client", "proof_missing");
        }
        let token = form(&[("grant_type", "client_credentials")]);
        let answer = send("/token", token.clone(), None).await;
        answer.refused(401, "invalid_client", "proof_missing");
        let thief = Prover::new().prove(server);
        let answer = send("/token", token.clone(), Some(thief)).await;
        answer.refused(401, "invalid_client", "proof_mismatch");
        let proof = prover.prove(server);
        bound_to(&send("/token", token, Some(proof)).await, &prover);
    }
}

#[tokio::test]
async fn a_weaker_actor_is_told_what_the_permission_asks_for() {
    let world = World::new().await;
    let (server, prover) = (&world.server, Prover::new());
    with_helpers(&world, 1).await;
    let mut rule = World::rule_document(json!({}));
    rule["actors"] = json!(["helper-0"]);
    rule["permissions"][0]["min_proof"] = json!("key");
    server.put("federated-credentials/octo-release", rule).await;
    let cnf = json!({ "jkt": prover.thumbprint() });
    let bound = world.gh.sign(&world.claims().with("cnf", cnf));
    let first = exchange(&world, &prover.prove(server), &bound).await;
    bound_to(&first, &prover);
    let token = first.token();
    let actor = world.gh.sign(&helper(&world, 0));
    let form = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", token.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
        ("actor_token", &actor),
        ("actor_token_type", JWT),
    ];
    let answer = ask(server, &prover.prove(server), &form).await;
    answer.refused(400, "invalid_target", "proof_too_weak");
}

#[tokio::test]
async fn an_exchange_keeps_the_weakest_level_in_the_token() {
    let world = World::new().await;
    let (server, prover) = (&world.server, Prover::new());
    with_helpers(&world, 1).await;
    let cnf = json!({ "jkt": prover.thumbprint() });
    let bound = world.gh.sign(&world.claims().with("cnf", cnf));
    let first = exchange(&world, &prover.prove(server), &bound).await;
    assert_eq!(bound_to(&first, &prover)["workload"]["proof"], "key");
    let token = first.token();
    let same = renew(&world, Some(&prover.prove(server)), &token).await;
    assert_eq!(bound_to(&same, &prover)["workload"]["proof"], "key");
    // The actor only held its assertion.
    let actor = world.gh.sign(&helper(&world, 0));
    let form = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", token.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
        ("actor_token", &actor),
        ("actor_token_type", JWT),
    ];
    let answer = ask(server, &prover.prove(server), &form).await;
    assert_eq!(bound_to(&answer, &prover)["workload"]["proof"], "bearer");
}

#[tokio::test]
async fn what_a_registry_asks_for_later_holds_for_exchanges_of_earlier_tokens_and_for_clients() {
    let world = World::new().await;
    let (server, prover) = (&world.server, Prover::new());
    let token = world.exchange(&world.good()).await.token();
    let client = TestClient::publisher(server, "ci", "client_secret_post").await;
    let of_client = [
        ("grant_type", "client_credentials"),
        ("client_id", "ci"),
        ("client_secret", client.secret()),
    ];
    let strict = json!({ "require_sender_constraint": true });
    server.admin("PATCH", "resource-servers/pypi", strict).await;
    let unbound = "sender_constraint_required";
    renew(&world, None, &token)
        .await
        .refused(400, "invalid_request", unbound);
    let answer = server.form("/token", &of_client).await;
    answer.refused(400, "invalid_grant", unbound);
    let proved = renew(&world, Some(&prover.prove(server)), &token).await;
    bound_to(&proved, &prover);
    bound_to(
        &ask(server, &prover.prove(server), &of_client).await,
        &prover,
    );
    let strict = json!({ "min_proof": "key" });
    server.admin("PATCH", "resource-servers/pypi", strict).await;
    let weak = "proof_too_weak";
    renew(&world, Some(&prover.prove(server)), &token)
        .await
        .refused(400, "invalid_target", weak);
    ask(server, &prover.prove(server), &of_client)
        .await
        .refused(400, "invalid_target", weak);
}

#[tokio::test]
async fn a_front_door_gives_the_nonce_with_its_refusal() {
    let settings = [("CARNET_DPOP__REQUIRE_NONCE", "true")];
    let world = World::on(TestServer::with(&settings).await).await;
    let (server, prover) = (&world.server, Prover::new());
    let document = json!({
        "resource": R1, "actions": ["create", "publish"],
        "front_door": { "kind": "pypi", "hosts": ["r1.test"] },
    });
    server.put("resource-servers/pypi", document).await;
    let assertion = world.gh.sign(&world.claims().with("aud", "r1.test"));
    let send = async |nonce: Option<&str>| {
        let htu = "https://r1.test/_/oidc/mint-token";
        let mut claims = with(Prover::claims(server.now()), json!({ "htu": htu }));
        if let Some(nonce) = nonce {
            claims["nonce"] = json!(nonce);
        }
        let request = Request::post("/_/oidc/mint-token")
            .header("host", "r1.test")
            .header("content-type", "application/json")
            .header("dpop", prover.sign(&claims))
            .body(Body::from(json!({ "token": assertion }).to_string()));
        server.send(request.unwrap()).await
    };
    let refused = send(None).await;
    assert_eq!(
        refused.json()["reason"],
        "proof_nonce",
        "{}",
        refused.text()
    );
    let nonce = refused.header("dpop-nonce").unwrap().to_owned();
    let answer = send(Some(&nonce)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}
