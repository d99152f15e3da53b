//! The access tokens we issue, and what a registry makes of them (RFC 9068, RFC 6750; checklist 1.5).

use std::net::SocketAddr;

use carnet::http::{Serving, serve_on};
use carnet_resource_server::{Rejection, Verifier};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::assertion::payload;
use crate::support::{R1, R2, TestKey, World};

/// A world whose server listens, with a registry's verifier for it.
struct Listening {
    world: World,
    verifier: Verifier,
    _serving: Serving,
}

impl Listening {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(settings: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let url = format!("http://{address}");
        let listen = address.to_string();
        let all = [
            &[
                ("CARNET_ISSUER", url.as_str()),
                ("CARNET_SERVER__LISTEN", listen.as_str()),
            ],
            settings,
        ]
        .concat();
        let world = World::with(&all).await;
        let serving = serve_on(world.server.router.clone(), listener);
        Self {
            world,
            verifier: Verifier::new(&url, R1).unwrap(),
            _serving: serving,
        }
    }

    fn url(&self) -> String {
        self.world.server.app.config.own.issuer().to_owned()
    }

    async fn token(&self) -> String {
        self.world
            .exchange(
                &self
                    .world
                    .gh
                    .sign(&self.world.claims().with("aud", self.url())),
            )
            .await
            .token()
    }

    async fn verify(&self, token: &str) -> Result<carnet_resource_server::AccessToken, Rejection> {
        self.verifier
            .verify_at(token, self.world.server.now())
            .await
    }
}

fn header(token: &str) -> Value {
    serde_json::from_slice(&carnet_jose::from_base64url(token.split('.').next().unwrap()).unwrap())
        .unwrap()
}

#[tokio::test]
async fn rfc9068_2_1_1__tokens_are_signed_with_es256_by_default() {
    let world = World::new().await;
    assert_eq!(
        header(&world.exchange(&world.good()).await.token())["alg"],
        "ES256"
    );
}

#[tokio::test]
async fn rfc9068_2_1_2__rs256_can_be_chosen_and_verified() {
    for algorithm in ["RS256", "EdDSA", "ES256"] {
        let listening = Listening::with(&[("CARNET_TOKENS__SIGNING_ALGORITHM", algorithm)]).await;
        let token = listening.token().await;
        assert_eq!(header(&token)["alg"], algorithm);
        listening.verify(&token).await.unwrap();
    }
}

#[tokio::test]
async fn rfc9068_2_1_3__the_type_is_at_jwt() {
    let world = World::new().await;
    assert_eq!(
        header(&world.exchange(&world.good()).await.token())["typ"],
        "at+jwt"
    );
}

#[tokio::test]
async fn rfc9068_2_2_1__a_workloads_token_has_exactly_the_documented_claims() {
    let world = World::new().await;
    let now = world.server.now();
    let claims = payload(&world.exchange(&world.good()).await.token());
    let credential = world
        .server
        .admin("GET", "federated-credentials/octo-release", Value::Null)
        .await
        .json()["id"]
        .clone();
    let sha = "1a2b3c4d".repeat(5);
    let workflow = "octo-org/octo-repo/.github/workflows/release.yml@refs/heads/main";
    let mut expected = json!({
        "iss": "https://as.test", "aud": R1, "sub": "pr_joel", "principal": { "name": "joel", "kind": "user", "external_id": "42" },
        "client_id": format!("federated:{}", credential.as_str().unwrap()), "iat": now, "exp": now + 900, "scope": "create publish",
        "authorization_details": [{
            "type": "package", "actions": ["create", "publish"], "packages": ["widgets", "widgets-*"], "owner": "joel",
            "principal": "joel", "credential": credential, "revision": 1, "locations": [R1],
        }],
        "workload": {
            "iss": "https://ci.test", "sub": "repo:octo-org/octo-repo:ref:refs/heads/main", "profile": "github-actions",
            "claims": {
                "repository": "octo-org/octo-repo", "repository_id": "74", "repository_owner_id": "65", "repository_visibility": "public",
                "workflow_ref": workflow, "job_workflow_ref": workflow, "job_workflow_sha": sha, "ref": "refs/heads/main", "sha": sha,
                "event_name": "push", "run_id": "9001", "run_attempt": "1", "runner_environment": "github-hosted",
            },
            "proof": "bearer",
        },
    });
    expected["jti"] = claims["jti"].clone();
    assert_eq!(claims, expected);
    assert_eq!(claims["jti"].as_str().unwrap().len(), 36);
}

#[tokio::test]
async fn rfc9068_2_2_2__sub_is_the_principals_id_and_never_the_sub_of_the_platform() {
    let world = World::new().await;
    let claims = payload(
        &world
            .exchange_claims(&world.claims().with("sub", "pr_admin"))
            .await
            .token(),
    );
    assert_eq!(
        (&claims["sub"], &claims["workload"]["sub"]),
        (&json!("pr_joel"), &json!("pr_admin"))
    );
}

#[tokio::test]
async fn rfc9700_2_6_2__claims_of_an_assertion_do_not_choose_client_id_act_or_scope() {
    let world = World::new().await;
    let claims = world
        .claims()
        .with("client_id", "x")
        .with("act", json!({ "sub": "y" }))
        .with("scope", "admin")
        .with("cnf_x", 1);
    let token = payload(&world.exchange_claims(&claims).await.token());
    assert!(
        token["client_id"]
            .as_str()
            .unwrap()
            .starts_with("federated:fc_")
    );
    assert!(token.get("act").is_none() && token["scope"] == "create publish");
    for id in ["federated:fc_x", "pr_joel"] {
        let answer = world
            .server
            .admin(
                "PUT",
                &format!("clients/{id}"),
                json!({ "auth_method": "none" }),
            )
            .await;
        assert_eq!(answer.status, 422, "{id}: {}", answer.text());
    }
}

#[tokio::test]
async fn rfc9700_4_15_1__a_client_and_a_principal_cannot_have_the_same_id() {
    let world = World::new().await;
    world
        .server
        .put("clients/bot", json!({ "auth_method": "none" }))
        .await;
    let answer = world
        .server
        .admin(
            "PUT",
            "principals/other",
            json!({ "id": "bot", "kind": "user" }),
        )
        .await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    let claims = payload(
        &world
            .exchange_with(&world.good(), &[("client_id", "bot")])
            .await
            .token(),
    );
    assert_eq!(
        (&claims["client_id"], &claims["sub"]),
        (&json!("bot"), &json!("pr_joel"))
    );
}

#[tokio::test]
async fn rfc9068_2_2_3_1__the_scope_is_in_the_token() {
    let world = World::new().await;
    let token = world
        .exchange_with(&world.good(), &[("scope", "publish")])
        .await
        .token();
    assert_eq!(payload(&token)["scope"], "publish");
}

#[tokio::test]
async fn rfc9068_2_2_3_2__every_scope_in_a_token_is_an_action_of_its_registry() {
    let world = World::new().await;
    let server = world
        .server
        .admin("GET", "resource-servers/pypi", Value::Null)
        .await
        .json();
    let claims = payload(&world.exchange(&world.good()).await.token());
    for scope in claims["scope"].as_str().unwrap().split(' ') {
        assert!(
            server["actions"]
                .as_array()
                .unwrap()
                .contains(&json!(scope))
        );
    }
}

#[tokio::test]
async fn rfc9068_3_1__the_audience_is_the_resource() {
    let world = World::new().await;
    assert_eq!(
        payload(
            &world
                .exchange_with(&world.good(), &[("resource", R1)])
                .await
                .token()
        )["aud"],
        R1
    );
}

#[tokio::test]
async fn rfc9068_3_4__a_token_has_one_audience_and_all_its_details_are_for_it() {
    let world = World::new().await;
    let claims = payload(&world.exchange(&world.good()).await.token());
    assert!(claims["aud"].is_string());
    assert!(
        claims["authorization_details"]
            .as_array()
            .unwrap()
            .iter()
            .all(|entry| entry["locations"] == json!([R1]))
    );
}

#[tokio::test]
async fn rfc9068_4_1__a_registry_verifies_tokens_with_issuer_url_and_resource_alone() {
    let listening = Listening::new().await;
    let token = listening.verify(&listening.token().await).await.unwrap();
    assert_eq!((token.sub.as_str(), token.aud.as_str()), ("pr_joel", R1));
    assert_eq!(token.workload.unwrap().claims["run_id"], "9001");
}

#[tokio::test]
async fn rfc9068_4_2__a_registry_refuses_tokens_with_typ_jwt_or_without_typ() {
    let listening = Listening::new().await;
    let claims = payload(&listening.token().await);
    let ring = listening.world.server.app.keys.ring().unwrap();
    let kid = ring.active().public().key_id().to_owned();
    let key = TestKey::ec(&kid, "ES256");
    for typ in [json!("JWT"), Value::Null] {
        let token =
            key.sign_with_header(&json!({ "alg": "ES256", "kid": kid, "typ": typ }), &claims);
        assert!(matches!(
            listening.verify(&token).await,
            Err(Rejection::InvalidToken(_))
        ));
    }
    listening.verify(&listening.token().await).await.unwrap();
}

#[tokio::test]
async fn rfc9068_4_3__another_issuers_token_is_refused() {
    let (one, two) = (Listening::new().await, Listening::new().await);
    assert!(matches!(
        one.verify(&two.token().await).await,
        Err(Rejection::InvalidToken(_))
    ));
    one.verify(&one.token().await).await.unwrap();
}

#[tokio::test]
async fn rfc9068_4_4__another_registrys_token_is_refused() {
    let listening = Listening::new().await;
    let other = Verifier::new(&listening.url(), R2).unwrap();
    let token = listening.token().await;
    let refused = other.verify_at(&token, listening.world.server.now()).await;
    assert_eq!(
        refused.unwrap_err(),
        Rejection::InvalidToken("for another registry")
    );
    listening.verify(&token).await.unwrap();
}

#[tokio::test]
async fn rfc9700_2_3_1__a_registry_refuses_an_admin_token_and_a_missing_token() {
    let listening = Listening::new().await;
    let admin = listening.world.server.admin_token("admin");
    assert!(matches!(
        listening.verify(&admin).await,
        Err(Rejection::InvalidToken(_))
    ));
    assert_eq!(
        listening.verifier.verify(None).await.unwrap_err(),
        Rejection::NoToken
    );
}

#[tokio::test]
async fn rfc9068_4_5__the_signature_is_checked_with_the_servers_keys() {
    let listening = Listening::new().await;
    let token = listening.token().await;
    let claims = payload(&token);
    let kid = header(&token)["kid"].as_str().unwrap().to_owned();
    let forged = TestKey::ec(&kid, "ES256").sign_with_header(&header(&token), &claims);
    assert!(matches!(
        listening.verify(&forged).await,
        Err(Rejection::InvalidToken(_))
    ));
    let none = crate::support::compact(
        json!({ "alg": "none", "typ": "at+jwt" })
            .to_string()
            .as_bytes(),
        claims.to_string().as_bytes(),
        b"",
    );
    assert!(matches!(
        listening.verify(&none).await,
        Err(Rejection::InvalidToken(_))
    ));
    listening.verify(&token).await.unwrap();
}

#[tokio::test]
async fn atk_022__tokens_signed_with_our_public_key_or_an_attackers_key_are_refused() {
    let listening = Listening::new().await;
    let token = listening.token().await;
    let kid = header(&token)["kid"].clone();
    let public = listening.world.server.get("/jwks").await.json()["keys"][0].to_string();
    let header = json!({ "alg": "HS256", "kid": kid, "typ": "at+jwt" });
    let forged = TestKey::hmac(public.as_bytes(), &header, &payload(&token));
    assert!(matches!(
        listening.verify(&forged).await,
        Err(Rejection::InvalidToken(_))
    ));
    let attacker = TestKey::ec(kid.as_str().unwrap(), "ES256");
    let header = json!({ "alg": "ES256", "kid": kid, "typ": "at+jwt" });
    let admin = json!({ "iss": listening.url(), "aud": format!("{}/admin", listening.url()), "sub": "x", "scope": "admin", "exp": listening.world.server.now() + 60 });
    let forged = attacker.sign_with_header(&header, &admin);
    let request = axum::http::Request::get("/admin/v1/principals")
        .header("authorization", format!("Bearer {forged}"));
    let answer = listening
        .world
        .server
        .send(request.body(axum::body::Body::empty()).unwrap())
        .await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn rfc9068_4_6__an_expired_token_is_refused() {
    let listening = Listening::new().await;
    let token = listening.token().await;
    let exp = payload(&token)["exp"].as_i64().unwrap();
    listening
        .verifier
        .verify_at(&token, exp + 59)
        .await
        .unwrap();
    let refused = listening
        .verifier
        .verify_at(&token, exp + 60)
        .await
        .unwrap_err();
    assert_eq!(
        (refused.status(), &refused),
        (401, &Rejection::InvalidToken("expired"))
    );
    let challenges = refused.challenges("registry");
    assert!(challenges[0].contains("error=\"invalid_token\""));
}

#[tokio::test]
async fn rfc9068_6_1__a_token_carries_no_workload_claims_beyond_those_the_profile_forwards() {
    let world = World::new().await;
    let claims = world
        .claims()
        .with("actor_email", "octocat@example.test")
        .with("secret", "x");
    let token = payload(&world.exchange_claims(&claims).await.token());
    for claim in [
        "actor",
        "actor_id",
        "actor_email",
        "secret",
        "jti",
        "head_ref",
    ] {
        assert!(token["workload"]["claims"].get(claim).is_none(), "{claim}");
    }
}

#[tokio::test]
async fn prof_jwks_1__tokens_verify_through_rotations() {
    let listening = Listening::new().await;
    let first = listening.token().await;
    for _ in 0..2 {
        let answer = listening
            .world
            .server
            .admin("POST", "signing-keys/rotate", Value::Null)
            .await;
        assert!(matches!(answer.status, 200 | 201), "{}", answer.text());
        listening.world.server.clock.advance(301);
        listening.verify(&listening.token().await).await.unwrap();
        listening.verify(&first).await.unwrap();
    }
}

#[tokio::test]
async fn rfc9068_4_5__a_withdrawn_key_signs_and_verifies_nothing_more() {
    let listening = Listening::new().await;
    let first = listening.token().await;
    let kid = header(&first)["kid"].as_str().unwrap().to_owned();
    let answer = listening
        .world
        .server
        .admin("DELETE", &format!("signing-keys/{kid}"), Value::Null)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let second = listening.token().await;
    assert_ne!(header(&second)["kid"], kid);
    assert!(matches!(
        listening.verify(&first).await,
        Err(Rejection::InvalidToken(_))
    ));
    listening.verify(&second).await.unwrap();
}

#[tokio::test]
async fn nuget_pol_7__a_wildcard_gives_no_right_on_packages_of_others() {
    use carnet_resource_server::{Operation, PackageNames, RegistryState, allows};
    let listening = Listening::new().await;
    let token = listening.verify(&listening.token().await).await.unwrap();
    let operation = Operation {
        action: "publish",
        package: "widgets-core",
        version: None,
        digest: None,
    };
    let state = |owner: &'static str| move |name: &str| name == owner;
    let joels = state("joel");
    let others = state("mallory");
    let same = |principal: &str, owner: &str| principal == owner;
    let allowed = RegistryState {
        exists: true,
        owned_by: &joels,
        may_act_for: &same,
    };
    assert!(
        allows(
            &token.authorization_details,
            PackageNames::Exact,
            &operation,
            &allowed
        )
        .is_ok()
    );
    let denied = RegistryState {
        exists: true,
        owned_by: &others,
        may_act_for: &same,
    };
    assert!(
        allows(
            &token.authorization_details,
            PackageNames::Exact,
            &operation,
            &denied
        )
        .is_err()
    );
}

#[tokio::test]
async fn atk_046__other_kinds_of_tokens_are_refused_at_the_registry() {
    let listening = Listening::new().await;
    let token = listening.token().await;
    listening.verify(&token).await.unwrap();
    let (header, claims) = (header(&token), payload(&token));
    let key = TestKey::ec(header["kid"].as_str().unwrap(), "ES256");
    for typ in [
        "token-introspection+jwt",
        "oauth-id-jag+jwt",
        "txntoken+jwt",
        "logout+jwt",
        "secevent+jwt",
        "JWT",
        "dpop+jwt",
    ] {
        let mut header = header.clone();
        header["typ"] = json!(typ);
        let refused = listening
            .verify(&key.sign_with_header(&header, &claims))
            .await;
        assert_eq!(
            refused.unwrap_err(),
            Rejection::InvalidToken("not typed as an access token")
        );
    }
}

#[tokio::test]
async fn rfc8707_3_1__a_token_is_refused_at_other_paths_of_the_same_registry_host() {
    let listening = Listening::new().await;
    let token = listening.token().await;
    for other in [
        "https://registry.test/",
        "https://registry.test/pypi",
        "https://registry.test/pypi/tenant/",
    ] {
        let verifier = Verifier::new(&listening.url(), other).unwrap();
        let refused = verifier
            .verify_at(&token, listening.world.server.now())
            .await;
        assert_eq!(
            refused.unwrap_err(),
            Rejection::InvalidToken("for another registry")
        );
    }
}

#[tokio::test]
async fn rfc9068_5_2__a_client_cannot_be_saved_under_the_id_of_a_principal() {
    let world = World::new().await;
    let answer = world
        .server
        .admin("PUT", "clients/pr_joel", json!({ "auth_method": "none" }))
        .await;
    assert_eq!(
        (answer.status, &answer.json()["errors"][0]["pointer"]),
        (422, &json!("/name"))
    );
}
