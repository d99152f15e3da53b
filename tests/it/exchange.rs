//! Token exchange (RFC 8693; checklist 1.3, 1.9, attacks 7.3 and 7.10): what is taken and what comes out.
//! Who acts for whom is in `delegation.rs`, that nothing grows on the way in `attenuation.rs`.

use serde_json::{Value, json};

use super::assertion::payload;
use crate::support::{
    ACCESS_TOKEN, Answer, CARNET, CLIENT_ASSERTION, JWT, JWT_BEARER, R1, R2, TOKEN_EXCHANGE,
    TestKey, TestServer, World,
};

const ID_TOKEN: &str = "urn:ietf:params:oauth:token-type:id_token";

/// The two kinds of tokens a registry may take.
pub const FORMATS: [&str; 2] = ["jwt", "opaque"];

/// A world whose first registry takes tokens of this format.
pub async fn with_format(format: &str) -> World {
    let world = World::new().await;
    change(
        &world,
        "resource-servers/pypi",
        json!({ "token_format": format }),
    )
    .await;
    world
}

pub async fn change(world: &World, path: &str, document: Value) {
    let answer = world.server.admin("PATCH", path, document).await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
}

/// What a registry is told of a token.
pub async fn introspect(world: &World, registry: &str, token: &str) -> Value {
    let name = format!("{registry}-{}", world.server.now());
    let authorization = world
        .client(&name, json!({ "resource_server": registry }))
        .await;
    let header = [("authorization", authorization.as_str())];
    let answer = world
        .server
        .form_with("/introspect", &header, &[("token", token)])
        .await
        .json();
    assert_eq!(
        world
            .server
            .admin("DELETE", &format!("clients/{name}"), Value::Null)
            .await
            .status,
        204
    );
    answer
}

/// A token that an assertion gives.
pub async fn token(world: &World) -> String {
    world.exchange(&world.good()).await.token()
}

/// Parameters for details of this kind.
fn details(details: Value) -> [(&'static str, String); 1] {
    [("authorization_details", json!([details]).to_string())]
}

/// The same answer but for what is a token's own.
pub fn alike(answer: &Answer) -> (Value, Value) {
    let mut body = answer.json();
    let mut claims = payload(&answer.token());
    for name in ["jti", "iat", "exp"] {
        claims.as_object_mut().unwrap().remove(name).unwrap();
    }
    for name in ["access_token", "issued_token_type"] {
        body.as_object_mut().unwrap().remove(name);
    }
    (claims, body)
}

// === the request ===

#[tokio::test]
async fn rfc8693_2_1_1__the_grant_type_is_exact() {
    let world = World::new().await;
    let assertion = world.good();
    for grant in [
        format!("{TOKEN_EXCHANGE} "),
        TOKEN_EXCHANGE.to_uppercase(),
        "token-exchange".to_owned(),
    ] {
        let form = [
            ("grant_type", grant.as_str()),
            ("subject_token", &assertion),
            ("subject_token_type", JWT),
        ];
        let answer = world.server.form("/token", &form).await;
        answer.refused(400, "unsupported_grant_type", "grant_type_unsupported");
    }
    world.trade(&assertion, &[]).await.token();
}

#[tokio::test]
async fn rfc8693_2_1_2__a_subject_token_comes_with_its_type() {
    let world = World::new().await;
    let assertion = world.good();
    for (name, value, missing) in [
        ("subject_token", assertion.as_str(), "subject_token_type"),
        ("subject_token_type", JWT, "subject_token"),
    ] {
        let answer = world
            .server
            .form("/token", &[("grant_type", TOKEN_EXCHANGE), (name, value)])
            .await;
        answer.refused(400, "invalid_request", "parameter_missing");
        assert_eq!(answer.json()["parameter"], missing);
    }
    world.trade(&assertion, &[]).await.token();
}

#[tokio::test]
async fn rfc8693_2_1_4__a_subject_token_is_judged_by_its_declared_type() {
    for format in FORMATS {
        let world = with_format(format).await;
        let (assertion, token) = (world.good(), token(&world).await);
        let saml = "urn:ietf:params:oauth:token-type:saml2";
        world.swap(&assertion, saml, &[]).await.refused(
            400,
            "invalid_request",
            "token_type_unsupported",
        );
        for kind in [JWT, ID_TOKEN] {
            let reason = if format == "jwt" {
                "iss_unknown"
            } else {
                "assertion_malformed"
            };
            world
                .swap(&token, kind, &[])
                .await
                .refused(400, "invalid_request", reason);
        }
        world
            .renew(&assertion, &[])
            .await
            .refused(400, "invalid_request", "subject_token_invalid");
        world.renew(&token, &[]).await.token();
        world.swap(&assertion, ID_TOKEN, &[]).await.token();
    }
}

#[tokio::test]
async fn atk_042__our_own_tokens_are_refused_as_jwt_subject_tokens_of_a_platform() {
    let world = World::new().await;
    for own in [token(&world).await, world.server.admin_token("admin")] {
        for kind in [JWT, ID_TOKEN] {
            world
                .swap(&own, kind, &[])
                .await
                .refused(400, "invalid_request", "iss_unknown");
        }
    }
    // Nor does it become one under another type, though the signature is ours.
    let mut claims = payload(&token(&world).await);
    claims["aud"] = json!(CARNET);
    let typed = world
        .server
        .app
        .keys
        .ring()
        .unwrap()
        .active()
        .sign_typed("JWT", claims.to_string().as_bytes());
    world
        .trade(&typed.unwrap(), &[])
        .await
        .refused(400, "invalid_request", "iss_unknown");
}

#[tokio::test]
async fn atk_043__a_platforms_token_is_refused_as_an_access_token_of_ours() {
    let world = World::new().await;
    let assertion = world.good();
    let retyped = |header: Value| {
        world
            .gh
            .key()
            .sign_with_header(&header, &world.claims().value())
    };
    let at_jwt = retyped(json!({ "alg": "RS256", "kid": "rsa-0", "typ": "at+jwt" }));
    for text in [assertion.as_str(), &at_jwt, "cnt_x", "x.y.z", "nonsense"] {
        world
            .renew(text, &[])
            .await
            .refused(400, "invalid_request", "subject_token_invalid");
    }
    world.trade(&assertion, &[]).await.token();
}

#[tokio::test]
async fn rfc8693_3_1__access_tokens_of_another_server_are_refused_as_subject_tokens() {
    let (world, other) = (
        World::new().await,
        World::with(&[("CARNET_ISSUER", "https://other.test")]).await,
    );
    let foreign = other
        .exchange(
            &other
                .gh
                .sign(&other.claims().with("aud", "https://other.test")),
        )
        .await
        .token();
    other.renew(&foreign, &[]).await.token();
    let claims = payload(&token(&world).await);
    let header = json!({ "alg": "ES256", "kid": "k", "typ": "at+jwt" });
    let forged = TestKey::ec("k", "ES256").sign_with_header(&header, &claims);
    let mut of_another = claims.clone();
    of_another["iss"] = json!("https://other.test");
    for text in [foreign, forged, world.sign_as_server(&of_another)] {
        world
            .renew(&text, &[])
            .await
            .refused(400, "invalid_request", "subject_token_invalid");
    }
    let refresh = "urn:ietf:params:oauth:token-type:refresh_token";
    let own = world.sign_as_server(&claims);
    world
        .swap(&own, refresh, &[])
        .await
        .refused(400, "invalid_request", "token_type_unsupported");
    world.renew(&own, &[]).await.token();
}

#[tokio::test]
async fn atk_046__signed_introspection_answers_and_other_jwt_types_are_refused_as_access_tokens() {
    let world = World::new().await;
    let claims = payload(&token(&world).await);
    for typ in [
        "token-introspection+jwt",
        "JWT",
        "oauth-id-jag+jwt",
        "txntoken+jwt",
        "logout+jwt",
        "secevent+jwt",
    ] {
        let typed = world
            .server
            .app
            .keys
            .ring()
            .unwrap()
            .active()
            .sign_typed(typ, claims.to_string().as_bytes());
        let answer = world.renew(&typed.unwrap(), &[]).await;
        answer.refused(400, "invalid_request", "subject_token_invalid");
    }
    world
        .renew(&world.sign_as_server(&claims), &[])
        .await
        .token();
}

#[tokio::test]
async fn rfc8693_2_1_6__a_resource_is_an_absolute_uri_without_fragment() {
    let world = World::new().await;
    let (assertion, token) = (world.good(), token(&world).await);
    for resource in ["/x", "https://registry.test/pypi/#f", " ", "registry"] {
        for (text, kind) in [(&assertion, JWT), (&token, ACCESS_TOKEN)] {
            let answer = world.swap(text, kind, &[("resource", resource)]).await;
            answer.refused(400, "invalid_target", "resource_malformed");
        }
    }
    world.trade(&assertion, &[("resource", R1)]).await.token();
    let queried = "https://registry.test/pypi/?simple";
    change(
        &world,
        "resource-servers/pypi",
        json!({ "aliases": [queried] }),
    )
    .await;
    world.renew(&token, &[("resource", queried)]).await.token();
}

#[tokio::test]
async fn rfc8693_2_1_7__one_target_may_be_named_several_times_and_two_targets_are_refused() {
    let world = World::new().await;
    let (assertion, token) = (world.good(), token(&world).await);
    for two in [
        [("resource", R1), ("resource", R2)],
        [("audience", "pypi"), ("audience", "crates")],
    ] {
        for (text, kind) in [(&assertion, JWT), (&token, ACCESS_TOKEN)] {
            world
                .swap(text, kind, &two)
                .await
                .refused(400, "invalid_target", "target_ambiguous");
        }
    }
    for (text, kind) in [(&assertion, JWT), (&token, ACCESS_TOKEN)] {
        let one = [
            ("resource", R1),
            ("resource", R1),
            ("audience", "pypi"),
            ("audience", R1),
        ];
        assert_eq!(
            payload(&world.swap(text, kind, &one).await.token())["aud"],
            R1
        );
    }
}

#[tokio::test]
async fn rfc8693_2_1_8__an_audience_is_a_name_of_one_registry() {
    let world = World::new().await;
    let again =
        json!({ "name": "PYPI", "resource": "https://third.test/", "actions": ["publish"] });
    assert_eq!(
        world
            .server
            .admin("POST", "resource-servers", again)
            .await
            .status,
        409
    );
    let token = token(&world).await;
    for name in ["pypi", "PyPI", R1] {
        assert_eq!(
            payload(&world.renew(&token, &[("audience", name)]).await.token())["aud"],
            R1
        );
    }
    for name in ["nope", "pyp", "pypi ", CARNET, "https://registry.test/pypi"] {
        let answer = world.renew(&token, &[("audience", name)]).await;
        answer.refused(400, "invalid_target", "target_unknown");
        assert_eq!(answer.json()["parameter"], "audience");
    }
}

#[tokio::test]
async fn rfc8693_2_2_2_2__an_unknown_or_ungranted_target_is_refused_as_invalid_target() {
    let world = World::new().await;
    let (assertion, token) = (world.good(), token(&world).await);
    for (text, kind) in [(&assertion, JWT), (&token, ACCESS_TOKEN)] {
        let to = async |name, value| world.swap(text, kind, &[(name, value)]).await;
        to("audience", "nope")
            .await
            .refused(400, "invalid_target", "target_unknown");
        to("resource", "https://nope.test/")
            .await
            .refused(400, "invalid_target", "target_unknown");
        to("resource", R2)
            .await
            .refused(400, "invalid_target", "target_not_granted");
        to("audience", "crates")
            .await
            .refused(400, "invalid_target", "target_not_granted");
    }
    world.trade(&assertion, &[]).await.token();
}

#[tokio::test]
async fn rfc8693_2_1_9__resource_and_audience_must_name_the_same_target() {
    let world = World::new().await;
    let token = token(&world).await;
    assert_eq!(
        payload(
            &world
                .renew(&token, &[("resource", R1), ("audience", "pypi")])
                .await
                .token()
        )["aud"],
        R1
    );
    for both in [
        [("resource", R1), ("audience", "crates")],
        [("resource", R2), ("audience", "pypi")],
    ] {
        world
            .renew(&token, &both)
            .await
            .refused(400, "invalid_target", "target_ambiguous");
    }
}

#[tokio::test]
async fn rfc8693_2_1_1_2__too_many_targets_are_refused() {
    let world = World::new().await;
    let token = token(&world).await;
    for targets in [
        [("resource", R1), ("resource", R2)].repeat(10),
        vec![("resource", "https://nope.test/"); 20],
    ] {
        assert_eq!(
            world.renew(&token, &targets).await.json()["error"],
            "invalid_target"
        );
    }
    world
        .renew(&token, &[("resource", R1)].repeat(20))
        .await
        .token();
}

#[tokio::test]
async fn rfc8693_2_1_10__scope_is_read_by_its_grammar_and_with_case() {
    let world = World::new().await;
    let (assertion, token) = (world.good(), token(&world).await);
    for (text, kind) in [(&assertion, JWT), (&token, ACCESS_TOKEN)] {
        for (scope, reason) in [
            ("a\"b", "scope_malformed"),
            ("publish\tcreate", "scope_malformed"),
            ("Publish", "scope_not_granted"),
        ] {
            world
                .swap(text, kind, &[("scope", scope)])
                .await
                .refused(400, "invalid_scope", reason);
        }
        assert_eq!(
            world
                .swap(text, kind, &[("scope", "publish  publish")])
                .await
                .json()["scope"],
            "publish"
        );
    }
}

#[tokio::test]
async fn rfc8693_2_1_11__without_a_requested_token_type_an_access_token_is_issued() {
    for format in FORMATS {
        let world = with_format(format).await;
        let token = token(&world).await;
        for wish in [
            &[][..],
            &[("requested_token_type", "")],
            &[("requested_token_type", ACCESS_TOKEN)],
        ] {
            assert_eq!(
                world.trade(&world.good(), wish).await.json()["issued_token_type"],
                ACCESS_TOKEN
            );
            assert_eq!(
                world.renew(&token, wish).await.json()["issued_token_type"],
                ACCESS_TOKEN
            );
        }
    }
}

/// Types of tokens that nobody gets here.
const OTHER_TYPES: [&str; 7] = [
    "urn:ietf:params:oauth:token-type:refresh_token",
    "urn:ietf:params:oauth:token-type:saml1",
    "urn:ietf:params:oauth:token-type:saml2",
    "urn:ietf:params:oauth:token-type:id-jag",
    "urn:ietf:params:oauth:token-type:access_token ",
    "access_token",
    "urn:x",
];

#[tokio::test]
async fn rfc8693_2_1_12__unsupported_token_types_are_refused_and_never_replaced() {
    let world = World::new().await;
    let (assertion, token) = (world.good(), token(&world).await);
    for other in OTHER_TYPES.into_iter().chain([JWT, ID_TOKEN]) {
        for (text, kind) in [(&assertion, JWT), (&token, ACCESS_TOKEN)] {
            let answer = world
                .swap(text, kind, &[("requested_token_type", other)])
                .await;
            answer.refused(400, "invalid_request", "token_type_unsupported");
            assert_eq!(answer.json()["parameter"], "requested_token_type");
        }
    }
    for other in OTHER_TYPES {
        let answer = world.swap(&assertion, other, &[]).await;
        answer.refused(400, "invalid_request", "token_type_unsupported");
        assert_eq!(answer.json()["parameter"], "subject_token_type");
    }
    world.trade(&assertion, &[]).await.token();
}

#[tokio::test]
async fn rfc8693_2_2_1_2__only_access_tokens_are_issued() {
    let world = World::new().await;
    let wish = [("requested_token_type", JWT), ("audience", "pypi")];
    world.trade(&world.good(), &wish).await.refused(
        400,
        "invalid_request",
        "token_type_unsupported",
    );
    assert_eq!(
        world.trade(&world.good(), &[]).await.json()["token_type"],
        "Bearer"
    );
}

#[tokio::test]
async fn atk_159__no_token_is_made_for_this_server_itself() {
    let world = World::new().await;
    let (assertion, token) = (world.good(), token(&world).await);
    for (text, kind) in [(&assertion, JWT), (&token, ACCESS_TOKEN)] {
        let wish = [("requested_token_type", JWT), ("audience", CARNET)];
        world.swap(text, kind, &wish).await.refused(
            400,
            "invalid_request",
            "token_type_unsupported",
        );
        for own in [
            CARNET.to_owned(),
            format!("{CARNET}/admin"),
            format!("{CARNET}/token"),
        ] {
            for name in ["audience", "resource"] {
                let answer = world.swap(text, kind, &[(name, &own)]).await;
                answer.refused(400, "invalid_target", "target_unknown");
            }
        }
    }
    let admin = world.server.admin_token("admin");
    world
        .renew(&admin, &[])
        .await
        .refused(400, "invalid_request", "subject_token_invalid");
}

#[tokio::test]
async fn rfc8693_2_1_13__token_exchange_works_with_and_without_client_authentication() {
    let world = World::new().await;
    let bot = world.client("bot", json!({})).await;
    assert!(
        payload(&world.trade(&world.good(), &[]).await.token())["client_id"]
            .as_str()
            .unwrap()
            .starts_with("fed")
    );
    assert_eq!(
        payload(&world.swap_as(&bot, &world.good(), JWT, &[]).await.token())["client_id"],
        "bot"
    );
    // Credentials that come are judged though none are needed.
    let answer = world
        .swap_as("Basic Ym90Ong=", &world.good(), JWT, &[])
        .await;
    answer.refused(401, "invalid_client", "client_authentication_failed");
    change(
        &world,
        "clients/bot",
        json!({ "grant_types": [JWT_BEARER] }),
    )
    .await;
    let answer = world.swap_as(&bot, &world.good(), JWT, &[]).await;
    answer.refused(400, "unauthorized_client", "client_not_allowed");
}

#[tokio::test]
async fn rfc8693_2_1_14__an_exchange_leaves_the_subject_token_active_and_unchanged() {
    for format in FORMATS {
        let world = with_format(format).await;
        let token = token(&world).await;
        let before = introspect(&world, "pypi", &token).await;
        assert_eq!(before["active"], true);
        let narrow = world.renew(&token, &[("scope", "create")]).await.token();
        assert_eq!(introspect(&world, "pypi", &token).await, before);
        // What was made from it may be ended without it.
        assert_eq!(
            world
                .server
                .form("/revoke", &[("token", &narrow)])
                .await
                .status,
            200
        );
        assert_eq!(
            introspect(&world, "pypi", &narrow).await,
            json!({ "active": false })
        );
        assert_eq!(introspect(&world, "pypi", &token).await, before);
        world.renew(&token, &[]).await.token();
    }
}

#[tokio::test]
async fn rfc8693_2_1_1_1__every_requested_scope_must_be_granted_at_the_target() {
    let world = World::new().await;
    let mut document = World::rule_document(json!({}));
    document["permissions"] = json!([
        { "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"] },
        { "resource_server": "crates", "actions": ["create"], "packages": ["widgets-rs"] },
    ]);
    world
        .server
        .put("federated-credentials/octo-release", document)
        .await;
    let assertion = world.good();
    world
        .trade(&assertion, &[])
        .await
        .refused(400, "invalid_target", "target_ambiguous");
    for (target, scope) in [(R1, "create"), (R2, "publish"), (R2, "create publish")] {
        let answer = world
            .trade(&assertion, &[("resource", target), ("scope", scope)])
            .await;
        answer.refused(400, "invalid_scope", "scope_not_granted");
    }
    let token = world
        .trade(&assertion, &[("resource", R2), ("scope", "create")])
        .await
        .token();
    world.renew(&token, &[("resource", R1)]).await.refused(
        400,
        "invalid_target",
        "target_not_granted",
    );
    let claims = payload(&token);
    assert_eq!(
        (&claims["aud"], &claims["scope"]),
        (&json!(R2), &json!("create"))
    );
}

// === the answer ===

#[tokio::test]
async fn rfc8693_2_2_1_1__success_names_the_token_and_both_types() {
    for format in FORMATS {
        let world = with_format(format).await;
        let token = token(&world).await;
        for answer in [
            world.trade(&world.good(), &[]).await,
            world.renew(&token, &[]).await,
        ] {
            assert_eq!(
                (answer.status, answer.header("cache-control")),
                (200, Some("no-store"))
            );
            let body = answer.json();
            let mut members: Vec<&String> = body.as_object().unwrap().keys().collect();
            members.sort();
            let expected = [
                "access_token",
                "authorization_details",
                "expires_in",
                "issued_token_type",
                "scope",
                "token_type",
            ];
            assert_eq!(members, expected);
            assert_eq!(
                (&body["issued_token_type"], &body["token_type"]),
                (&json!(ACCESS_TOKEN), &json!("Bearer"))
            );
        }
    }
}

#[tokio::test]
async fn rfc8693_2_2_1_3__expires_in_is_what_the_token_says() {
    let world = World::new().await;
    let token = token(&world).await;
    world.server.clock.advance(100);
    for (answer, left) in [
        (world.trade(&world.good(), &[]).await, 900),
        (world.renew(&token, &[]).await, 800),
    ] {
        assert_eq!(answer.json()["expires_in"], left);
        assert_eq!(payload(&answer.token())["exp"], world.server.now() + left);
    }
}

#[tokio::test]
async fn rfc8693_2_2_1_4__the_granted_scope_is_always_in_the_answer() {
    let world = World::new().await;
    let token = token(&world).await;
    for scope in ["create publish", "create"] {
        assert_eq!(
            world.trade(&world.good(), &[("scope", scope)]).await.json()["scope"],
            scope
        );
        assert_eq!(
            world.renew(&token, &[("scope", scope)]).await.json()["scope"],
            scope
        );
    }
    assert_eq!(
        world.renew(&token, &[]).await.json()["scope"],
        "create publish"
    );
}

#[tokio::test]
async fn rfc8693_2_2_1_5__there_is_no_refresh_token() {
    let world = World::new().await;
    let token = token(&world).await;
    for answer in [
        world.trade(&world.good(), &[]).await,
        world.renew(&token, &[]).await,
    ] {
        assert_eq!(answer.status, 200);
        assert!(answer.json().get("refresh_token").is_none());
    }
}

#[tokio::test]
async fn rfc8693_3_2__the_issued_token_type_is_access_token_for_jwts_and_opaque_keys() {
    let world = World::new().await;
    let answer = world.trade(&world.good(), &[]).await;
    assert_eq!(answer.json()["issued_token_type"], ACCESS_TOKEN);
    let header = carnet_jose::from_base64url(answer.token().split('.').next().unwrap()).unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&header).unwrap()["typ"],
        "at+jwt"
    );
    change(
        &world,
        "resource-servers/pypi",
        json!({ "token_format": "opaque", "token_prefix": "key_" }),
    )
    .await;
    let answer = world.trade(&world.good(), &[]).await;
    assert!(
        answer.token().starts_with("key_") && answer.json()["issued_token_type"] == ACCESS_TOKEN
    );
    world.renew(&answer.token(), &[]).await.token();
}

#[tokio::test]
async fn rfc8693_4_2_1__the_scope_claim_is_one_space_separated_text() {
    let world = World::new().await;
    let token = world
        .renew(&token(&world).await, &[("scope", "publish create")])
        .await
        .token();
    assert_eq!(payload(&token)["scope"], "create publish");
}

#[tokio::test]
async fn rfc8693_4_3_1__client_id_names_the_client_that_asks() {
    for format in FORMATS {
        let world = with_format(format).await;
        let (bot, held) = (world.client("bot", json!({})).await, token(&world).await);
        for answer in [
            world.swap_as(&bot, &world.good(), JWT, &[]).await,
            world.swap_as(&bot, &held, ACCESS_TOKEN, &[]).await,
        ] {
            assert_eq!(
                introspect(&world, "pypi", &answer.token()).await["client_id"],
                "bot"
            );
        }
        let nobodys = world.renew(&held, &[]).await.token();
        let client = introspect(&world, "pypi", &nobodys).await["client_id"].clone();
        assert!(
            client.as_str().unwrap().starts_with("federated:fc_"),
            "{client}"
        );
    }
}

#[tokio::test]
async fn rfc8693_6_1__tokens_hold_no_more_of_the_workload_than_the_profile_forwards() {
    let world = World::new().await;
    let claims = world
        .claims()
        .with("actor_email", "octocat@example.test")
        .with("secret", "x");
    let first = world.trade(&world.gh.sign(&claims), &[]).await.token();
    let second = world.renew(&first, &[]).await.token();
    let workload = payload(&first)["workload"].clone();
    assert_eq!(workload, payload(&second)["workload"]);
    for claim in ["actor", "actor_email", "secret", "jti", "head_ref"] {
        assert!(workload["claims"].get(claim).is_none(), "{claim}");
    }
    assert_eq!(workload["claims"]["run_id"], "9001");
}

#[tokio::test]
async fn rfc8693_2_2_2_1__a_bad_subject_token_is_refused_as_invalid_request() {
    let world = World::new().await;
    let claims = || world.claims();
    for (claims, reason) in [
        (crate::support::github(world.server.now() - 361), "expired"),
        (
            claims().with("aud", "https://elsewhere.test"),
            "aud_mismatch",
        ),
        (claims().with("iss", "https://evil.test"), "iss_unknown"),
        (
            claims().with("repository_id", "99"),
            "no_matching_credential",
        ),
    ] {
        let assertion = world.gh.sign(&claims);
        world
            .trade(&assertion, &[])
            .await
            .refused(400, "invalid_request", reason);
        world
            .exchange(&assertion)
            .await
            .refused(400, "invalid_grant", reason);
    }
    let forged = TestKey::rsa(1).named("rsa-0").sign(&claims().value());
    world
        .trade(&forged, &[])
        .await
        .refused(400, "invalid_request", "signature_invalid");
    let used = world.good();
    world.trade(&used, &[]).await.token();
    world
        .trade(&used, &[])
        .await
        .refused(400, "invalid_request", "replay");
    world
        .exchange(&used)
        .await
        .refused(400, "invalid_grant", "replay");
}

// === the same engine (decision D-56) ===

/// What is asked for beside, and whether a client asks.
fn wishes() -> Vec<Vec<(&'static str, String)>> {
    let narrow = json!({ "type": "package", "actions": ["publish"], "packages": ["widgets"], "version": "1.0.0" });
    vec![
        vec![],
        vec![("scope", "create".to_owned())],
        vec![
            ("resource", R1.to_owned()),
            ("principal", "JOEL".to_owned()),
        ],
        details(narrow).to_vec(),
        vec![("client_id", "bot".to_owned())],
    ]
}

#[tokio::test]
async fn wimse_var_1__both_grants_issue_the_same_token_for_an_assertion() {
    let world = World::new().await;
    world
        .server
        .put("clients/bot", json!({ "auth_method": "none" }))
        .await;
    for wish in wishes() {
        let wish: Vec<_> = wish
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let by_bearer = world.exchange_with(&world.good(), &wish).await;
        world.server.clock.advance(7);
        let by_exchange = world.trade(&world.good(), &wish).await;
        assert_eq!(alike(&by_bearer), alike(&by_exchange), "{wish:?}");
        for answer in [by_bearer, by_exchange] {
            assert_eq!(answer.json()["expires_in"], 900);
        }
    }
    world
        .trust(json!({ "cap_at_assertion_expiry": true }))
        .await;
    for answer in [
        world.exchange(&world.good()).await,
        world.trade(&world.good(), &[]).await,
    ] {
        assert_eq!(answer.json()["expires_in"], 300);
    }
    // A trusted issuer can be kept to one of the two.
    for (grant, bearer, exchange) in [("jwt-bearer", 200, 400), ("token-exchange", 400, 200)] {
        world.trust(json!({ "grants": [grant] })).await;
        let (by_bearer, by_exchange) = (world.good(), world.good());
        assert_eq!(world.exchange(&by_bearer).await.status, bearer);
        assert_eq!(world.trade(&by_exchange, &[]).await.status, exchange);
    }
    world.trade(&world.good(), &[]).await.token();
    world
        .exchange(&world.good())
        .await
        .refused(400, "invalid_grant", "grant_not_taken");
}

#[tokio::test]
async fn wimsecx_chan_1__both_grants_refuse_the_same_for_the_same_reason() {
    let world = World::new().await;
    world
        .rule(
            "octo-release",
            json!({ "environment": "prod", "ref": "refs/heads/main" }),
        )
        .await;
    let good = || world.claims().in_environment("prod");
    world.trade(&world.gh.sign(&good()), &[]).await.token();
    for claims in [
        good().without("environment"),
        good().in_environment("test"),
        good().on_ref("refs/heads/other", "branch"),
        good().with("repository_id", "99"),
        good().with("event_name", "workflow_run"),
        good().with("ref_type", "tag"),
        good().with("sub", ""),
    ] {
        let answers = [
            world.exchange_claims(&claims).await,
            world.trade(&world.gh.sign(&claims), &[]).await,
            world.swap(&world.gh.sign(&claims), ID_TOKEN, &[]).await,
        ];
        let why = |answer: &Answer| {
            let body = answer.json();
            (
                answer.status,
                body["reason"].clone(),
                body["mismatches"].clone(),
                body["error_description"].clone(),
            )
        };
        assert!(
            answers
                .iter()
                .all(|answer| answer.status == 400 && why(answer) == why(&answers[0])),
            "{answers:?}"
        );
        assert_eq!(answers[0].json()["error"], "invalid_grant");
        assert_eq!(answers[1].json()["error"], "invalid_request");
    }
}

#[tokio::test]
async fn rfc8707_2_2_1__every_grant_takes_a_resource() {
    let world = World::new().await;
    let permission = |server: &str| json!({ "resource_server": server, "actions": ["publish"], "packages": ["widgets"], "owner": "joel" });
    let mut document = World::rule_document(json!({}));
    document["permissions"] = json!([permission("pypi"), permission("crates")]);
    world
        .server
        .put("federated-credentials/octo-release", document)
        .await;
    let bot = world
        .client(
            "bot",
            json!({ "permissions": [permission("pypi"), permission("crates")] }),
        )
        .await;
    let itself = async |resource: &[(&str, &str)]| {
        let form = [&[("grant_type", "client_credentials")], resource].concat();
        world
            .server
            .form_with("/token", &[("authorization", &bot)], &form)
            .await
    };
    for resource in [R1, R2] {
        let wish = [("resource", resource)];
        let by_exchange = world.trade(&world.good(), &wish).await.token();
        let again = world.renew(&by_exchange, &wish).await.token();
        let by_bearer = world.exchange_with(&world.good(), &wish).await.token();
        for token in [by_exchange, again, by_bearer, itself(&wish).await.token()] {
            assert_eq!(payload(&token)["aud"], resource);
        }
    }
    for (wish, reason) in [
        (vec![], "target_ambiguous"),
        (vec![("resource", R1), ("resource", R2)], "target_ambiguous"),
        (vec![("resource", "https://nope.test/")], "target_unknown"),
        (
            vec![("resource", "https://registry.test/pypi")],
            "target_unknown",
        ),
        (vec![("resource", "/pypi/")], "resource_malformed"),
    ] {
        for answer in [
            world.trade(&world.good(), &wish).await,
            world.exchange_with(&world.good(), &wish).await,
            itself(&wish).await,
        ] {
            answer.refused(400, "invalid_target", reason);
        }
    }
}

// === single use ===

/// Presents a fresh subject by token exchange, with this assertion as the client's.
async fn as_client(world: &World, client: &str, assertion: &str) -> Answer {
    let parameters = [
        ("client_id", client),
        ("client_assertion_type", CLIENT_ASSERTION),
        ("client_assertion", assertion),
    ];
    world.trade(&world.good(), &parameters).await
}

#[tokio::test]
async fn atk_081__an_assertion_has_one_use_across_all_ways_to_present_it() {
    let world = World::new().await;
    let mut document = World::rule_document(json!({}));
    document["actors"] = json!(["octo-release"]);
    world
        .server
        .put("federated-credentials/octo-release", document)
        .await;
    let robot = json!({ "auth_method": "federated", "federated_credentials": ["octo-release"] });
    world.server.put("clients/robot", robot).await;
    let present = async |place: usize, assertion: &str| match place {
        0 => world.exchange(assertion).await,
        1 => world.trade(assertion, &[]).await,
        2 => {
            world
                .trade(
                    &world.good(),
                    &[("actor_token", assertion), ("actor_token_type", JWT)],
                )
                .await
        }
        _ => as_client(&world, "robot", assertion).await,
    };
    for first in 0..4 {
        let assertion = world.good();
        present(first, &assertion).await.token();
        for later in 0..4 {
            let (status, error) = [
                (400, "invalid_grant"),
                (400, "invalid_request"),
                (400, "invalid_request"),
                (401, "invalid_client"),
            ][later];
            present(later, &assertion)
                .await
                .refused(status, error, "replay");
        }
    }
}

#[tokio::test]
async fn atk_081__one_assertion_as_subject_and_client_proof_in_one_request_is_refused() {
    let world = World::new().await;
    let robot = json!({ "auth_method": "federated", "federated_credentials": ["octo-release"] });
    world.server.put("clients/robot", robot).await;
    let assertion = world.good();
    let parameters = [
        ("client_id", "robot"),
        ("client_assertion_type", CLIENT_ASSERTION),
        ("client_assertion", assertion.as_str()),
    ];
    assert_eq!(
        world.trade(&assertion, &parameters).await.reason(),
        "replay"
    );
    // The refusal used nothing up.
    world.exchange(&assertion).await.token();
}

#[tokio::test]
async fn atk_044__a_clients_own_assertion_is_refused_as_subject_and_actor_token() {
    let world = World::new().await;
    let key = TestKey::ec("k1", "ES256");
    let signing = json!({ "auth_method": "private_key_jwt", "jwks": { "keys": [key.jwk()] } });
    world.server.put("clients/signer", signing).await;
    let now = world.server.now();
    let sign = |id: &str| {
        key.sign(&json!({ "iss": "signer", "sub": "signer", "aud": CARNET, "iat": now, "exp": now + 60, "jti": id }))
    };
    let own = sign("a");
    world
        .exchange(&own)
        .await
        .refused(400, "invalid_grant", "iss_unknown");
    world
        .trade(&own, &[])
        .await
        .refused(400, "invalid_request", "iss_unknown");
    let acting = [("actor_token", own.as_str()), ("actor_token_type", JWT)];
    world
        .trade(&world.good(), &acting)
        .await
        .refused(400, "invalid_request", "iss_unknown");
    as_client(&world, "signer", &own).await.token();
    as_client(&world, "signer", &own)
        .await
        .refused(401, "invalid_client", "replay");
    // Nor is a platform's assertion the client's own.
    let answer = as_client(&world, "signer", &world.good()).await;
    answer.refused(401, "invalid_client", "client_authentication_failed");
}

#[tokio::test]
async fn atk_082__a_refused_exchange_uses_nothing_up() {
    let world = World::new().await;
    let (assertion, acting) = (world.good(), world.good());
    let narrow =
        details(json!({ "type": "package", "actions": ["publish"], "packages": ["other"] }));
    for (wish, error) in [
        (vec![("scope", "unlist")], "invalid_scope"),
        (vec![("resource", R2)], "invalid_target"),
        (vec![("audience", "nope")], "invalid_target"),
        (vec![("principal", "nobody")], "invalid_request"),
        (vec![("requested_token_type", JWT)], "invalid_request"),
        (vec![("client_id", "nobody")], "invalid_client"),
        (
            vec![("authorization_details", narrow[0].1.as_str())],
            "invalid_authorization_details",
        ),
        (
            vec![("actor_token", acting.as_str()), ("actor_token_type", JWT)],
            "invalid_request",
        ),
    ] {
        assert_eq!(
            world.trade(&assertion, &wish).await.json()["error"],
            error,
            "{wish:?}"
        );
    }
    let form = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", &assertion),
        ("subject_token_type", JWT),
    ];
    assert_eq!(
        world.server.form("/explain", &form).await.json()["verdict"],
        "allow"
    );
    world.trade(&assertion, &[]).await.token();
    world.trade(&acting, &[]).await.token();
}

#[tokio::test]
async fn contract_4__a_client_that_was_switched_off_gets_nothing_from_any_node() {
    let world = World::new().await;
    let bot = world.client("bot", json!({})).await;
    let held = world.swap_as(&bot, &world.good(), JWT, &[]).await.token();
    let second = world.server.another_node().await;
    change(&world, "clients/bot", json!({ "enabled": false })).await;
    let ask = async |node: &TestServer, form: &[(&str, &str)]| {
        node.form_with("/token", &[("authorization", &bot)], form)
            .await
            .status
    };
    let assertion = world.good();
    let bearer = [
        ("grant_type", JWT_BEARER),
        ("assertion", assertion.as_str()),
    ];
    let subject = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", &assertion),
        ("subject_token_type", JWT),
    ];
    let own = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", &held),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    for form in [&bearer[..], &subject, &own] {
        assert_ne!(ask(&second, form).await, 200, "{form:?}");
        assert_eq!(ask(&world.server, form).await, 401);
    }
    world.trade(&assertion, &[]).await.token();
}
