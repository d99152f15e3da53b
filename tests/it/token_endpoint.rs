//! The token endpoint, client authentication and errors (RFC 6749; checklist 1.1).

use axum::body::Body;
use axum::http::Request;
use serde_json::{Value, json};

use crate::support::{CARNET, JWT_BEARER, R1, R2, World};

const FORM: &str = "application/x-www-form-urlencoded";

/// The unchanged request as text.
fn good(world: &World) -> String {
    format!("grant_type={JWT_BEARER}&assertion={}", world.good())
}

#[tokio::test]
async fn rfc6749_3_2_2__the_token_endpoint_accepts_only_post() {
    let world = World::new().await;
    for method in ["GET", "PUT", "DELETE", "PATCH"] {
        let request = Request::builder()
            .method(method)
            .uri("/token")
            .header("content-type", FORM);
        let answer = world
            .server
            .send(request.body(Body::from(good(&world))).unwrap())
            .await;
        answer.refused(405, "invalid_request", "method_not_allowed");
        assert_eq!(answer.header("allow"), Some("POST"));
    }
    let head = Request::builder()
        .method("HEAD")
        .uri("/token")
        .body(Body::empty())
        .unwrap();
    assert_eq!(world.server.send(head).await.status, 405);
    world.accepts().await;
}

#[tokio::test]
async fn rfc6749_3_2_3__unknown_parameters_are_ignored() {
    let world = World::new().await;
    world
        .exchange_with(&world.good(), &[("foo", "bar")])
        .await
        .token();
    world
        .exchange_with(&world.good(), &[("foo", "1"), ("foo", "2")])
        .await
        .token();
    // `audience` belongs to token exchange; here it is a parameter like any other.
    world
        .exchange_with(
            &world.good(),
            &[("audience", "https://elsewhere.test/"), ("audience", "x")],
        )
        .await
        .token();
}

#[tokio::test]
async fn rfc6749_3_2_4__an_empty_parameter_counts_as_missing() {
    let world = World::new().await;
    let answer = world
        .server
        .form_text("/token", "grant_type=&assertion=x")
        .await;
    answer.refused(400, "invalid_request", "parameter_missing");
    assert_eq!(answer.json()["parameter"], "grant_type");
    let plain = world.exchange(&world.good()).await.json();
    let empty = world
        .exchange_with(
            &world.good(),
            &[("scope", ""), ("client_id", ""), ("resource", "")],
        )
        .await
        .json();
    assert_eq!(plain["scope"], empty["scope"]);
    assert_eq!(
        plain["authorization_details"],
        empty["authorization_details"]
    );
}

#[tokio::test]
async fn rfc6749_3_2_5__a_repeated_known_parameter_is_refused() {
    let world = World::new().await;
    let repeats = [
        "grant_type",
        "assertion",
        "scope",
        "client_id",
        "client_assertion",
        "principal",
        "authorization_details",
    ];
    for name in repeats {
        let assertion = world.good();
        let body = format!("grant_type={JWT_BEARER}&assertion={assertion}&{name}=a&{name}=b");
        world.server.form_text("/token", &body).await.refused(
            400,
            "invalid_request",
            "parameter_repeated",
        );
        world.exchange(&assertion).await.token();
    }
}

#[tokio::test]
async fn rfc6749_3_2_6__the_url_of_the_token_endpoint_has_no_fragment() {
    let world = World::new().await;
    let metadata = world
        .server
        .get("/.well-known/oauth-authorization-server")
        .await
        .json();
    assert_eq!(metadata["token_endpoint"], format!("{CARNET}/token"));
}

#[tokio::test]
async fn rfc6749_b_1__the_body_is_decoded_as_utf8() {
    let world = World::new().await;
    let body = format!("{}&scope=create+publish", good(&world));
    assert_eq!(
        world.server.form_text("/token", &body).await.json()["scope"],
        "create publish"
    );
    for broken in ["scope=%zz", "scope=%ff%fe", "%", "scope=%c3"] {
        let body = format!("{}&{broken}", good(&world));
        world.server.form_text("/token", &body).await.refused(
            400,
            "invalid_request",
            "form_malformed",
        );
    }
    let mut bytes = good(&world).into_bytes();
    bytes.extend(b"&scope=\xff\xfe");
    let request = Request::post("/token")
        .header("content-type", FORM)
        .body(Body::from(bytes))
        .unwrap();
    world
        .server
        .send(request)
        .await
        .refused(400, "invalid_request", "form_malformed");
}

#[tokio::test]
async fn rfc6749_b_2__other_media_types_are_refused() {
    let world = World::new().await;
    for media_type in [
        "application/json",
        "multipart/form-data; boundary=x",
        "text/plain",
        "application/x-www-form-urlencoded; charset=utf-16",
    ] {
        let request = Request::post("/token")
            .header("content-type", media_type)
            .body(Body::from(good(&world)))
            .unwrap();
        world
            .server
            .send(request)
            .await
            .refused(400, "invalid_request", "media_type");
    }
    let bare = Request::post("/token")
        .body(Body::from(good(&world)))
        .unwrap();
    world
        .server
        .send(bare)
        .await
        .refused(400, "invalid_request", "media_type");
    let charset = "application/x-www-form-urlencoded; charset=UTF-8";
    let request = Request::post("/token")
        .header("content-type", charset)
        .body(Body::from(good(&world)))
        .unwrap();
    world.server.send(request).await.token();
}

#[tokio::test]
async fn atk_093__json_bodies_are_refused_under_either_media_type() {
    let world = World::new().await;
    let body = json!({ "grant_type": JWT_BEARER, "assertion": world.good() }).to_string();
    let labelled = Request::post("/token")
        .header("content-type", FORM)
        .body(Body::from(body.clone()))
        .unwrap();
    world
        .server
        .send(labelled)
        .await
        .refused(400, "invalid_request", "parameter_missing");
    let request = Request::post("/token")
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap();
    world
        .server
        .send(request)
        .await
        .refused(400, "invalid_request", "media_type");
    world.accepts().await;
}

#[tokio::test]
async fn rfc6749_2_3_1__two_methods_of_client_authentication_in_one_request_are_refused() {
    let world = World::new().await;
    let assertion = world.good();
    let send = async |extra: &str| {
        let body = format!("grant_type={JWT_BEARER}&assertion={assertion}&{extra}");
        let request = Request::post("/token")
            .header("content-type", FORM)
            .header("authorization", "Basic eDp5");
        world
            .server
            .send(request.body(Body::from(body)).unwrap())
            .await
    };
    send("client_secret=z")
        .await
        .refused(400, "invalid_request", "client_methods_mixed");
    let jwt = "client_assertion=x&client_assertion_type=urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    send(jwt)
        .await
        .refused(401, "invalid_client", "client_authentication_failed");
    world.exchange(&assertion).await.token();
}

#[tokio::test]
async fn rfc7521_4_2_1__more_than_one_mechanism_beside_an_assertion_is_invalid_client() {
    let world = World::new().await;
    let type_urn = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
    let form = [
        ("client_secret", "x"),
        ("client_assertion", "y"),
        ("client_assertion_type", type_urn),
    ];
    let answer = world.exchange_with(&world.good(), &form).await;
    answer.refused(401, "invalid_client", "client_authentication_failed");
}

#[tokio::test]
async fn rfc6749_2_3_1_3__secrets_in_the_url_are_refused() {
    let world = World::new().await;
    let (body, assertion) = (good(&world), world.good());
    for query in [
        "client_id=a&client_secret=b",
        &format!("assertion={assertion}"),
        "grant_type=x",
    ] {
        let answer = world
            .server
            .form_text(&format!("/token?{query}"), &body)
            .await;
        answer.refused(400, "invalid_request", "parameter_in_query");
        assert!(!answer.text().contains(&assertion));
    }
    world
        .server
        .form_text("/token?tenant=1", &body)
        .await
        .token();
}

#[tokio::test]
async fn rfc6749_3_2_1_1__wrong_client_credentials_in_the_header_are_refused() {
    let world = World::new().await;
    let assertion = world.good();
    let request = Request::post("/token")
        .header("content-type", FORM)
        .header("authorization", "Basic bm9ib2R5Ong=");
    let body = format!("grant_type={JWT_BEARER}&assertion={assertion}");
    let answer = world
        .server
        .send(request.body(Body::from(body)).unwrap())
        .await;
    answer.refused(401, "invalid_client", "client_authentication_failed");
    world.exchange(&assertion).await.token();
}

#[tokio::test]
async fn rfc7523_3_1_1__wrong_client_credentials_are_refused_though_none_are_needed() {
    let world = World::new().await;
    let assertion = world.good();
    world
        .exchange_with(
            &assertion,
            &[("client_id", "x"), ("client_secret", "wrong")],
        )
        .await
        .refused(401, "invalid_client", "client_authentication_failed");
    world.exchange(&assertion).await.token();
}

#[tokio::test]
async fn rfc6749_3_2_1_2__an_unknown_client_fails_like_a_wrong_secret() {
    let world = World::new().await;
    let unknown = world
        .exchange_with(&world.good(), &[("client_id", "nobody")])
        .await;
    unknown.refused(401, "invalid_client", "client_authentication_failed");
    assert!(unknown.header("www-authenticate").is_some());
    world
        .server
        .put("clients/bot", json!({ "auth_method": "none" }))
        .await;
    let wrong = world
        .exchange_with(
            &world.good(),
            &[("client_id", "bot"), ("client_secret", "x")],
        )
        .await;
    let class = |answer: &crate::support::Answer| {
        let body = answer.json();
        (
            answer.status,
            body["error"].clone(),
            body["reason"].clone(),
            body["error_description"].clone(),
        )
    };
    assert_eq!(class(&unknown), class(&wrong));
}

#[tokio::test]
async fn rfc6749_5_2_3__a_failed_authorization_header_is_challenged() {
    let world = World::new().await;
    for header in ["Basic !!!", "Basic eDp5", "Bearer x", "Basic bm9jb2xvbg=="] {
        let request = Request::post("/token")
            .header("content-type", FORM)
            .header("authorization", header);
        let answer = world
            .server
            .send(request.body(Body::from(good(&world))).unwrap())
            .await;
        answer.refused(401, "invalid_client", "client_authentication_failed");
        assert!(
            answer
                .header("www-authenticate")
                .unwrap()
                .starts_with("Basic ")
        );
    }
}

#[tokio::test]
async fn rfc6749_5_2_4__any_failed_client_authentication_is_challenged() {
    let world = World::new().await;
    let form = [
        ("client_assertion", "x.y.z"),
        (
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        ),
    ];
    let answer = world.exchange_with(&world.good(), &form).await;
    answer.refused(401, "invalid_client", "assertion_malformed");
    assert!(answer.header("www-authenticate").is_some());
}

#[tokio::test]
async fn rfc7523_2_2_1__a_client_assertion_and_its_type_belong_together() {
    let world = World::new().await;
    for (given, missing) in [
        ("client_assertion", "client_assertion_type"),
        ("client_assertion_type", "client_assertion"),
    ] {
        let answer = world.exchange_with(&world.good(), &[(given, "x")]).await;
        answer.refused(400, "invalid_request", "parameter_missing");
        assert_eq!(answer.json()["parameter"], missing);
    }
}

#[tokio::test]
async fn rfc6749_3_3_1__scopes_outside_the_grammar_are_refused() {
    let world = World::new().await;
    let assertion = world.good();
    for scope in ["a\"b", "a\\b", "a\tb", "\u{e9}"] {
        let answer = world.exchange_with(&assertion, &[("scope", scope)]).await;
        answer.refused(400, "invalid_scope", "scope_malformed");
    }
    world
        .exchange_with(&assertion, &[("scope", "PUBLISH")])
        .await
        .refused(400, "invalid_scope", "scope_not_granted");
    world
        .exchange_with(&assertion, &[("scope", "publish")])
        .await
        .token();
}

#[tokio::test]
async fn rfc6749_3_3_2__order_and_repeats_of_scopes_have_no_meaning() {
    let world = World::new().await;
    let answer = world
        .exchange_with(&world.good(), &[("scope", "publish create create")])
        .await;
    assert_eq!(answer.json()["scope"], "create publish");
}

#[tokio::test]
async fn rfc6749_3_3_3__the_answer_names_the_granted_scope() {
    let world = World::new().await;
    assert_eq!(
        world.exchange(&world.good()).await.json()["scope"],
        "create publish"
    );
    assert_eq!(
        world
            .exchange_with(&world.good(), &[("scope", "create")])
            .await
            .json()["scope"],
        "create"
    );
}

#[tokio::test]
async fn rfc6749_3_3_4__without_a_scope_all_that_is_permitted_is_granted() {
    let world = World::new().await;
    let answer = world.exchange(&world.good()).await.json();
    assert_eq!(answer["scope"], "create publish");
    assert_eq!(
        answer["authorization_details"][0]["actions"],
        json!(["create", "publish"])
    );
}

#[tokio::test]
async fn rfc6749_4_5_1__unknown_grant_types_are_refused() {
    let world = World::new().await;
    for grant in [
        "password",
        "implicit",
        "authorization_code",
        "refresh_token",
        "urn:ietf:params:oauth:grant-type:jwt-Bearer",
    ] {
        let form = [
            ("grant_type", grant),
            ("assertion", "x"),
            ("username", "u"),
            ("password", "p"),
        ];
        world.server.form("/token", &form).await.refused(
            400,
            "unsupported_grant_type",
            "grant_type_unsupported",
        );
    }
}

#[tokio::test]
async fn rfc9700_2_4_1__there_is_no_password_grant() {
    let world = World::new().await;
    let form = [
        ("grant_type", "password"),
        ("username", "u"),
        ("password", "p"),
    ];
    world.server.form("/token", &form).await.refused(
        400,
        "unsupported_grant_type",
        "grant_type_unsupported",
    );
    let metadata = world
        .server
        .get("/.well-known/oauth-authorization-server")
        .await
        .json();
    assert!(
        !metadata["grant_types_supported"]
            .as_array()
            .unwrap()
            .contains(&json!("password"))
    );
}

#[tokio::test]
async fn rfc6749_5_1_1__success_is_json_with_token_type_and_lifetime() {
    let world = World::new().await;
    let answer = world.exchange(&world.good()).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, Some("application/json"))
    );
    let body = answer.json();
    assert!(
        body["access_token"]
            .as_str()
            .is_some_and(|token| token.split('.').count() == 3)
    );
    assert_eq!(
        (body["token_type"].as_str(), body["expires_in"].as_i64()),
        (Some("Bearer"), Some(900))
    );
}

#[tokio::test]
async fn rfc6749_5_1_2__answers_carry_no_store_and_no_cache_headers() {
    let world = World::new().await;
    let mut answers = vec![
        world.exchange(&world.good()).await,
        world.exchange("x").await,
    ];
    answers.push(
        world
            .server
            .form(
                "/explain",
                &[("grant_type", JWT_BEARER), ("assertion", &world.good())],
            )
            .await,
    );
    answers.push(world.server.get("/token").await);
    answers.push(world.server.get("/nowhere").await);
    for answer in answers {
        assert_eq!(
            (answer.header("cache-control"), answer.header("pragma")),
            (Some("no-store"), Some("no-cache"))
        );
    }
}

#[tokio::test]
async fn rfc6749_5_1_3__the_members_of_an_answer_are_at_the_top_level_with_their_types() {
    let world = World::new().await;
    let body = world.exchange(&world.good()).await.json();
    let mut members: Vec<&String> = body.as_object().unwrap().keys().collect();
    members.sort();
    assert_eq!(
        members,
        [
            "access_token",
            "authorization_details",
            "expires_in",
            "scope",
            "token_type"
        ]
    );
    assert!(body["expires_in"].is_u64() && body["scope"].is_string());
}

#[tokio::test]
async fn rfc6749_5_2_1__errors_are_400_json() {
    let world = World::new().await;
    world
        .exchange("nonsense")
        .await
        .refused(400, "invalid_grant", "assertion_malformed");
    world
        .server
        .form("/token", &[])
        .await
        .refused(400, "invalid_request", "parameter_missing");
}

#[tokio::test]
async fn rfc6749_5_2_2__a_hostile_issuer_claim_does_not_appear_in_the_error_answer() {
    let world = World::new().await;
    for hostile in [
        "https://x.test/\"\\\u{1f600}",
        "https://x.test/\r\nSet-Cookie: a=b",
        "<script>",
    ] {
        let answer = world
            .exchange_claims(&world.claims().with("iss", hostile))
            .await;
        assert!(answer.headers.get("set-cookie").is_none());
        assert!(
            !answer.text().contains("x.test") && !answer.text().contains("<script"),
            "{}",
            answer.text()
        );
    }
    world
        .exchange_claims(&world.claims().with("iss", "https://x.test/\""))
        .await
        .refused(400, "invalid_grant", "iss_unknown");
}

#[tokio::test]
async fn rfc6749_5_2_5__a_missing_parameter_is_invalid_request() {
    let world = World::new().await;
    let answer = world
        .server
        .form("/token", &[("grant_type", JWT_BEARER)])
        .await;
    answer.refused(400, "invalid_request", "parameter_missing");
    assert_eq!(answer.json()["parameter"], "assertion");
}

#[tokio::test]
async fn rfc6749_5_2_6__a_client_without_this_grant_is_unauthorized() {
    let world = World::new().await;
    world
        .server
        .put(
            "clients/idle",
            json!({ "auth_method": "none", "grant_types": [] }),
        )
        .await;
    let assertion = world.good();
    let answer = world
        .exchange_with(&assertion, &[("client_id", "idle")])
        .await;
    answer.refused(400, "unauthorized_client", "client_not_allowed");
    world
        .server
        .put(
            "clients/idle",
            json!({ "auth_method": "none", "grant_types": [JWT_BEARER] }),
        )
        .await;
    world
        .exchange_with(&assertion, &[("client_id", "idle")])
        .await
        .token();
    world
        .server
        .put(
            "clients/idle",
            json!({ "auth_method": "none", "enabled": false }),
        )
        .await;
    let answer = world
        .exchange_with(&world.good(), &[("client_id", "idle")])
        .await;
    answer.refused(401, "invalid_client", "client_authentication_failed");
}

#[tokio::test]
async fn rfc6749_7_1_1__unbound_tokens_are_bearer_tokens() {
    let world = World::new().await;
    assert_eq!(
        world.exchange(&world.good()).await.json()["token_type"],
        "Bearer"
    );
}

/// Parameters that make a request go wrong.
type Fault = Vec<(&'static str, String)>;

/// One request for each step of decision D-01, in its order; each has its own fault and the faults of none before.
fn steps(world: &World) -> Vec<(&'static str, &'static str, Fault)> {
    let wrong_branch = world
        .gh
        .sign(&world.claims().on_ref("refs/tags/x", "branch"));
    vec![
        (
            "grant_type_unsupported",
            "unsupported_grant_type",
            vec![("grant_type", "password".to_owned())],
        ),
        (
            "client_authentication_failed",
            "invalid_client",
            vec![("client_id", "nobody".to_owned())],
        ),
        (
            "resource_malformed",
            "invalid_target",
            vec![("resource", "not a uri".to_owned())],
        ),
        (
            "claim_inconsistent",
            "invalid_grant",
            vec![("assertion", wrong_branch)],
        ),
        (
            "target_unknown",
            "invalid_target",
            vec![("resource", "https://elsewhere.test/".to_owned())],
        ),
        (
            "principal_mismatch",
            "invalid_grant",
            vec![("principal", "nobody".to_owned())],
        ),
        (
            "scope_not_granted",
            "invalid_scope",
            vec![("scope", "unlist".to_owned())],
        ),
        (
            "package_out_of_scope",
            "invalid_authorization_details",
            vec![(
                "authorization_details",
                json!([{"type": "package", "actions": ["publish"], "packages": ["other"]}])
                    .to_string(),
            )],
        ),
    ]
}

#[tokio::test]
async fn prof_tok_1__of_two_faults_the_earlier_one_is_answered() {
    let world = World::new().await;
    let steps = steps(&world);
    for (at, (reason, error, fault)) in steps.iter().enumerate() {
        for (_, _, later) in &steps[at..] {
            let mut form = vec![
                ("grant_type", JWT_BEARER.to_owned()),
                ("assertion", world.good()),
            ];
            for (name, value) in later.iter().chain(fault) {
                match form.iter_mut().find(|(known, _)| known == name) {
                    Some(known) => known.1.clone_from(value),
                    None => form.push((name, value.clone())),
                }
            }
            let form: Vec<_> = form
                .iter()
                .map(|(name, value)| (*name, value.as_str()))
                .collect();
            let answer = world.server.form("/token", &form).await.json();
            assert_eq!(
                (&answer["reason"], &answer["error"]),
                (&json!(reason), &json!(error)),
                "{form:?}"
            );
        }
    }
    world.accepts().await;
}

#[tokio::test]
async fn prof_tok_2__large_requests_are_refused() {
    let world = World::new().await;
    let body = format!("{}&x={}", good(&world), "y".repeat(64 * 1024));
    world
        .server
        .form_text("/token", &body)
        .await
        .refused(413, "invalid_request", "body_too_large");
    let long = world
        .gh
        .sign(&world.claims().with("padding", "x".repeat(17 * 1024)));
    world
        .exchange(&long)
        .await
        .refused(400, "invalid_grant", "assertion_malformed");
    let many = format!("{}{}", good(&world), "&x=1".repeat(63));
    world
        .server
        .form_text("/token", &many)
        .await
        .refused(400, "invalid_request", "form_malformed");
    world.accepts().await;
}

#[tokio::test]
async fn prof_tok_3__unreachable_issuer_keys_are_answered_with_503_and_retry_after() {
    let world = World::new().await;
    let path = "trusted-issuers/away?validate=offline";
    world
        .server
        .put(
            path,
            json!({ "profile": "github-actions", "issuer": "https://away.test" }),
        )
        .await;
    let answer = world
        .exchange_claims(&world.claims().with("iss", "https://away.test"))
        .await;
    answer.refused(503, "temporarily_unavailable", "upstream_unavailable");
    let seconds: u32 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&seconds));
    world.accepts().await;
}

#[tokio::test]
async fn atk_087__grant_type_cannot_be_given_twice_or_in_the_query() {
    let world = World::new().await;
    let body = format!("{}&grant_type=client_credentials", good(&world));
    world.server.form_text("/token", &body).await.refused(
        400,
        "invalid_request",
        "parameter_repeated",
    );
    let body = format!("grant_type[]={JWT_BEARER}&assertion={}", world.good());
    world.server.form_text("/token", &body).await.refused(
        400,
        "invalid_request",
        "parameter_missing",
    );
    let path = format!("/token?grant_type={JWT_BEARER}");
    world.server.form_text(&path, &good(&world)).await.refused(
        400,
        "invalid_request",
        "parameter_in_query",
    );
}

#[tokio::test]
async fn atk_088__a_repeated_scope_is_refused_and_one_with_brackets_is_ignored() {
    let world = World::new().await;
    let body = format!("{}&scope=publish&scope=admin", good(&world));
    world.server.form_text("/token", &body).await.refused(
        400,
        "invalid_request",
        "parameter_repeated",
    );
    let body = format!("{}&scope[]=admin", good(&world));
    assert_eq!(
        world.server.form_text("/token", &body).await.json()["scope"],
        "create publish"
    );
}

#[tokio::test]
async fn atk_089__parameter_names_are_decoded_once_and_compared_with_case() {
    let world = World::new().await;
    let body = format!("%67rant_type={JWT_BEARER}&assertion={}", world.good());
    world.server.form_text("/token", &body).await.token();
    for name in [
        "GRANT_TYPE",
        "grant_type%00",
        "%2567rant_type",
        "grant+type",
    ] {
        let body = format!("{name}={JWT_BEARER}&assertion={}", world.good());
        world.server.form_text("/token", &body).await.refused(
            400,
            "invalid_request",
            "parameter_missing",
        );
    }
}

#[tokio::test]
async fn atk_090__parameter_values_are_decoded_once() {
    let world = World::new().await;
    let twice = R1.replace('/', "%252F");
    let body = format!("{}&resource={twice}", good(&world));
    world.server.form_text("/token", &body).await.refused(
        400,
        "invalid_target",
        "resource_malformed",
    );
    let once = R1.replace('/', "%2F");
    world
        .server
        .form_text("/token", &format!("{}&resource={once}", good(&world)))
        .await
        .token();
}

#[tokio::test]
async fn atk_091__huge_and_compressed_bodies_are_refused() {
    let world = World::new().await;
    let huge = Request::post("/token")
        .header("content-type", FORM)
        .body(Body::from(vec![b'a'; 10 << 20]))
        .unwrap();
    world
        .server
        .send(huge)
        .await
        .refused(413, "invalid_request", "body_too_large");
    let request = Request::post("/token")
        .header("content-type", FORM)
        .body(Body::new(Endless))
        .unwrap();
    world
        .server
        .send(request)
        .await
        .refused(413, "invalid_request", "body_too_large");
    let packed = Request::post("/token")
        .header("content-type", FORM)
        .header("content-encoding", "gzip");
    let answer = world
        .server
        .send(packed.body(Body::from(good(&world))).unwrap())
        .await;
    answer.refused(400, "invalid_request", "media_type");
    world.accepts().await;
}

/// A body without an end.
struct Endless;

impl hyper::body::Body for Endless {
    type Data = axum::body::Bytes;
    type Error = std::io::Error;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        let chunk = axum::body::Bytes::from_static(&[b'a'; 4096]);
        std::task::Poll::Ready(Some(Ok(hyper::body::Frame::data(chunk))))
    }
}

#[tokio::test]
async fn atk_094__credentials_in_the_query_are_refused() {
    let world = World::new().await;
    let secret = "s3cr3t-canary";
    let answer = world
        .server
        .form_text(&format!("/token?client_secret={secret}"), &good(&world))
        .await;
    answer.refused(400, "invalid_request", "parameter_in_query");
    assert!(!answer.text().contains(secret));
}

#[tokio::test]
async fn atk_095__line_breaks_in_parameters_do_not_reach_the_answer() {
    let world = World::new().await;
    for (name, error) in [
        ("scope", "invalid_scope"),
        ("resource", "invalid_target"),
        ("client_id", "invalid_client"),
    ] {
        let answer = world
            .exchange_with(&world.good(), &[(name, "x\r\nSet-Cookie: a=b")])
            .await;
        assert_eq!(answer.json()["error"], error);
        assert!(answer.headers.get("set-cookie").is_none());
        assert!(!answer.text().contains("Set-Cookie"));
    }
}

#[tokio::test]
async fn atk_096__broken_basic_headers_fail_as_client_authentication() {
    let world = World::new().await;
    for header in [
        "Basic",
        "Basic bm9jb2xvbg==",
        "Basic \u{7e}\u{7e}",
        &format!("Basic {}", "A".repeat(64 * 1024)),
    ] {
        let request = Request::post("/token")
            .header("content-type", FORM)
            .header("authorization", header);
        let answer = world
            .server
            .send(request.body(Body::from(good(&world))).unwrap())
            .await;
        answer.refused(401, "invalid_client", "client_authentication_failed");
    }
}

#[tokio::test]
async fn atk_097__different_client_names_in_header_and_form_are_refused() {
    let world = World::new().await;
    world
        .server
        .put("clients/bot", json!({ "auth_method": "none" }))
        .await;
    let request = Request::post("/token")
        .header("content-type", FORM)
        .header("authorization", "Basic b3RoZXI6eA==");
    let body = format!("{}&client_id=bot", good(&world));
    let answer = world
        .server
        .send(request.body(Body::from(body)).unwrap())
        .await;
    answer.refused(401, "invalid_client", "client_authentication_failed");
}

#[tokio::test]
async fn atk_098__a_method_override_header_does_not_change_the_method() {
    let world = World::new().await;
    let request = Request::get("/token")
        .header("x-http-method-override", "POST")
        .header("content-type", FORM);
    let answer = world
        .server
        .send(request.body(Body::from(good(&world))).unwrap())
        .await;
    answer.refused(405, "invalid_request", "method_not_allowed");
}

#[tokio::test]
async fn atk_100__resources_that_are_no_uris_of_registries_are_refused() {
    let world = World::new().await;
    let assertion = world.good();
    let long = format!("https://registry.test/{}", "a".repeat(8 * 1024));
    for resource in [
        "javascript:alert(1)",
        "//host",
        "https://r@evil.test/",
        &long,
        "https://registry.test/pypi/#x",
        "registry",
    ] {
        let answer = world
            .exchange_with(&assertion, &[("resource", resource)])
            .await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (400, &json!("invalid_target")),
            "{resource}"
        );
    }
    world
        .exchange_with(&assertion, &[("resource", R1)])
        .await
        .token();
}

#[tokio::test]
async fn atk_101__requests_with_more_than_a_hundred_scopes_are_refused() {
    let world = World::new().await;
    let many = (0..10_000)
        .map(|n| format!("s{n}"))
        .collect::<Vec<_>>()
        .join(" ");
    let answer = world
        .exchange_with(&world.good(), &[("scope", &many)])
        .await;
    answer.refused(400, "invalid_scope", "scope_malformed");
    let few = (0..101)
        .map(|n| format!("s{n}"))
        .collect::<Vec<_>>()
        .join(" ");
    world
        .exchange_with(&world.good(), &[("scope", &few)])
        .await
        .refused(400, "invalid_scope", "scope_malformed");
}

#[tokio::test]
async fn atk_102__a_switched_off_issuer_answers_like_an_unknown_one() {
    let world = World::new().await;
    let class = |body: Value| {
        (
            body["error"].clone(),
            body["reason"].clone(),
            body["error_description"].clone(),
        )
    };
    let unknown = world
        .exchange_claims(&world.claims().with("iss", "https://other.test"))
        .await;
    world.trust(json!({ "enabled": false })).await;
    let off = world.exchange(&world.good()).await;
    assert_eq!(class(unknown.json()), class(off.json()));
    assert_eq!(off.reason(), "iss_unknown");
}

#[tokio::test]
async fn rfc7521_8_3_1__a_refusal_does_not_reveal_rules_or_principals() {
    let world = World::new().await;
    world
        .rule(
            "private",
            json!({ "repository": "secret-org/secret-repo", "repository_owner_id": "1", "repository_id": "2" }),
        )
        .await;
    let claims = world
        .claims()
        .in_repository("secret-org/secret-repo")
        .with("repository_id", "3");
    let answer = world.exchange_claims(&claims).await;
    answer.refused(400, "invalid_grant", "no_matching_credential");
    for private in ["secret", "joel", "fc_", "mismatches"] {
        assert!(!answer.text().contains(private), "{}", answer.text());
    }
}

#[tokio::test]
async fn rfc8707_2_3__the_resource_parameter_may_be_repeated() {
    let world = World::new().await;
    let assertion = world.good();
    world
        .exchange_with(&assertion, &[("resource", R1), ("resource", R1)])
        .await
        .token();
    let two = world
        .exchange_with(&world.good(), &[("resource", R1), ("resource", R2)])
        .await;
    assert_eq!(two.json()["error"], "invalid_target");
}

#[tokio::test]
async fn nuget_pol_11__naming_another_principal_is_refused_without_telling_whose_rule_it_is() {
    let world = World::new().await;
    world
        .server
        .put("principals/mallory", json!({ "kind": "user" }))
        .await;
    let none = world
        .exchange_with(&world.good(), &[("principal", "mallory")])
        .await;
    let absent = world
        .exchange_with(&world.good(), &[("principal", "nobody")])
        .await;
    for answer in [&none, &absent] {
        // Whose rule it is that is meant is not told.
        answer.refused(400, "invalid_grant", "principal_mismatch");
        assert!(!answer.text().contains("joel"), "{}", answer.text());
    }
    let apart_from_what_was_sent = |answer: &crate::support::Answer, sent: &str| {
        let mut body: Value = serde_json::from_str(&answer.text().replace(sent, "(sent)")).unwrap();
        body.as_object_mut().unwrap().remove("error_id");
        body
    };
    assert_eq!(
        apart_from_what_was_sent(&none, "mallory"),
        apart_from_what_was_sent(&absent, "nobody")
    );
    world
        .exchange_with(&world.good(), &[("principal", "JOEL")])
        .await
        .token();
}
