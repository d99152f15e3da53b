//! Nothing grows on the way (WIMSE credential exchange; checklist 1.9, attacks 7.10): neither life nor rights nor trust, and what has ended gives
//! nothing.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use super::assertion::payload;
use super::delegation::{add_helper, helper, other_platform, subject_of, with_helpers};
use super::exchange::{FORMATS, alike, change, introspect, token, with_format};
use crate::support::{ACCESS_TOKEN, CARNET, JWT, JWT_BEARER, R1, R2, TOKEN_EXCHANGE, World};

#[tokio::test]
async fn wimsecx_trust_1__an_exchange_adds_no_claims_rights_or_key_binding() {
    let world = World::new().await;
    let token = token(&world).await;
    let form = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", token.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    let answer = world.server.form("/token", &form).await;
    assert_eq!(answer.json()["token_type"], "Bearer");
    let (before, after) = (payload(&token), payload(&answer.token()));
    let names = |claims: &Value| {
        claims
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&before), names(&after));
    assert_eq!(
        before["authorization_details"],
        after["authorization_details"]
    );
}

#[tokio::test]
async fn wimsecx_trust_2__a_bound_token_does_not_become_a_bearer_token() {
    let world = World::new().await;
    let claims = payload(&token(&world).await);
    world
        .renew(&world.sign_as_server(&claims), &[])
        .await
        .token();
    let (lost, invalid) = ("proof_would_be_lost", "subject_token_invalid");
    for (cnf, reason) in [
        (json!({ "jkt": "x" }), lost),
        (json!({ "x5t#S256": "x" }), lost),
        (json!({}), invalid),
        (json!("x"), invalid),
        (Value::Null, invalid),
    ] {
        let mut bound = claims.clone();
        bound["cnf"] = cnf;
        let bound = world.sign_as_server(&bound);
        world
            .renew(&bound, &[])
            .await
            .refused(400, "invalid_request", reason);
        let explained = [
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", bound.as_str()),
            ("subject_token_type", ACCESS_TOKEN),
        ];
        assert_eq!(
            world.server.form("/explain", &explained).await.reason(),
            reason
        );
    }
}

#[tokio::test]
async fn atk_157__a_bound_token_is_not_bound_to_another_key() {
    let world = World::new().await;
    let mut claims = payload(&token(&world).await);
    claims["cnf"] = json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" });
    let bound = world.sign_as_server(&claims);
    let form = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", bound.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    let lost = ("invalid_request", "proof_would_be_lost");
    for (header, (error, reason)) in [
        (&[][..], lost),
        (
            &[("dpop", "e30.e30.e30")],
            ("invalid_dpop_proof", "proof_invalid"),
        ),
        (&[("client-cert", ":YQ==:")], lost),
    ] {
        let answer = world.server.form_with("/token", header, &form).await;
        answer.refused(400, error, reason);
    }
}

#[tokio::test]
async fn wimsecx_trust_3__a_token_does_not_open_another_registry_or_our_own_api() {
    let world = World::new().await;
    let token = token(&world).await;
    world.renew(&token, &[("resource", R2)]).await.refused(
        400,
        "invalid_target",
        "target_not_granted",
    );
    let admin = format!("{CARNET}/admin");
    world.renew(&token, &[("resource", &admin)]).await.refused(
        400,
        "invalid_target",
        "target_unknown",
    );
    world.renew(&token, &[("scope", "admin")]).await.refused(
        400,
        "invalid_scope",
        "scope_not_granted",
    );
    // Even if a rule covers the other registry by now.
    let mut both = World::rule_document(json!({}));
    both["permissions"] =
        json!([{ "resource_server": "crates", "actions": ["publish"], "packages": ["widgets"] }]);
    world.server.put("federated-credentials/second", both).await;
    world.renew(&token, &[("resource", R2)]).await.refused(
        400,
        "invalid_target",
        "target_not_granted",
    );
}

#[tokio::test]
async fn wimsecx_life_1__a_chain_of_exchanges_never_moves_the_end() {
    for format in FORMATS {
        let world = with_format(format).await;
        let mut token = token(&world).await;
        let end = introspect(&world, "pypi", &token).await["exp"]
            .as_i64()
            .unwrap();
        change(
            &world,
            "resource-servers/pypi",
            json!({ "token_lifetime_seconds": 3600 }),
        )
        .await;
        for _ in 0..10 {
            world.server.clock.advance(80);
            let answer = world.renew(&token, &[]).await;
            token = answer.token();
            assert_eq!(introspect(&world, "pypi", &token).await["exp"], end);
            assert_eq!(answer.json()["expires_in"], end - world.server.now());
        }
    }
}

#[tokio::test]
async fn atk_155__a_token_cannot_be_exchanged_from_its_expiry_on() {
    for format in FORMATS {
        let world = with_format(format).await;
        let token = token(&world).await;
        world.server.clock.advance(899);
        assert_eq!(world.renew(&token, &[]).await.json()["expires_in"], 1);
        // Both clocks are ours: there is no leeway.
        world.server.clock.advance(1);
        world
            .renew(&token, &[])
            .await
            .refused(400, "invalid_request", "subject_token_inactive");
    }
}

#[tokio::test]
async fn atk_155__a_chain_of_exchanges_is_refused_after_sixteen() {
    for format in FORMATS {
        let world = with_format(format).await;
        let first = token(&world).await;
        let mut last = first.clone();
        for _ in 0..16 {
            last = world.renew(&last, &[]).await.token();
        }
        world
            .renew(&last, &[])
            .await
            .refused(400, "invalid_request", "chain_too_long");
        // It is as good as ever at the registry, and the first one for another line.
        assert_eq!(introspect(&world, "pypi", &last).await["active"], true);
        world.renew(&first, &[]).await.token();
    }
}

#[tokio::test]
async fn wimsecx_life_2__the_first_token_can_be_made_to_end_with_the_assertion() {
    let world = World::new().await;
    let short = || {
        world
            .gh
            .sign(&world.claims().with("exp", world.server.now() + 100))
    };
    assert_eq!(world.trade(&short(), &[]).await.json()["expires_in"], 900);
    world
        .trust(json!({ "cap_at_assertion_expiry": true }))
        .await;
    let first = world.trade(&short(), &[]).await;
    assert_eq!(first.json()["expires_in"], 100);
    world.server.clock.advance(40);
    assert_eq!(
        world.renew(&first.token(), &[]).await.json()["expires_in"],
        60
    );
}

#[tokio::test]
async fn wimsecx_life_3__only_the_resource_server_sets_the_lifetime_of_a_token() {
    let world = World::new().await;
    let token = token(&world).await;
    for wish in ["10", "86400"] {
        assert_eq!(
            world.renew(&token, &[("expires_in", wish)]).await.json()["expires_in"],
            900
        );
    }
    change(
        &world,
        "resource-servers/pypi",
        json!({ "token_lifetime_seconds": 60 }),
    )
    .await;
    assert_eq!(world.renew(&token, &[]).await.json()["expires_in"], 60);
    assert_eq!(
        world.trade(&world.good(), &[]).await.json()["expires_in"],
        60
    );
}

#[tokio::test]
async fn wimsecx_scope_1__scope_does_not_grow() {
    for format in FORMATS {
        let world = with_format(format).await;
        let token = world
            .trade(&world.good(), &[("scope", "publish")])
            .await
            .token();
        for scope in ["publish create", "create", "unlist", "admin"] {
            world.renew(&token, &[("scope", scope)]).await.refused(
                400,
                "invalid_scope",
                "scope_not_granted",
            );
        }
        world.renew(&token, &[("resource", R2)]).await.refused(
            400,
            "invalid_target",
            "target_not_granted",
        );
        assert_eq!(world.renew(&token, &[]).await.json()["scope"], "publish");
        // Nor when the rule gives more by now: it is another revision then, and the token stands on nothing.
        let mut wider = World::rule_document(json!({}));
        wider["permissions"][0]["actions"] = json!(["create", "publish", "unlist"]);
        world
            .server
            .put("federated-credentials/octo-release", wider)
            .await;
        world
            .renew(&token, &[])
            .await
            .refused(400, "invalid_request", "subject_token_inactive");
    }
}

#[tokio::test]
async fn wimsecx_scope_2__scope_shrinks_to_what_is_asked_for() {
    for format in FORMATS {
        let world = with_format(format).await;
        let token = token(&world).await;
        let answer = world.renew(&token, &[("scope", "create")]).await;
        let told = introspect(&world, "pypi", &answer.token()).await;
        for body in [answer.json(), told] {
            assert_eq!(
                (&body["scope"], &body["authorization_details"][0]["actions"]),
                (&json!("create"), &json!(["create"]))
            );
        }
    }
}

#[tokio::test]
async fn atk_156__exchanges_cannot_lift_the_limits_of_a_narrowed_token() {
    for format in FORMATS {
        let world = with_format(format).await;
        let narrow = json!([{
            "type": "package", "actions": ["publish"], "packages": ["widgets-core"], "version": "1.0.0",
            "digest": format!("sha256:{}", "ab".repeat(32)),
        }])
        .to_string();
        let first = world
            .trade(&world.good(), &[("authorization_details", &narrow)])
            .await;
        let mut token = first.token();
        for _ in 0..3 {
            let answer = world.renew(&token, &[]).await;
            assert_eq!(
                answer.json()["authorization_details"],
                first.json()["authorization_details"]
            );
            assert_eq!(answer.json()["scope"], "publish");
            token = answer.token();
        }
        // A wish that does not repeat the limits does not lift them.
        let bare =
            json!([{ "type": "package", "actions": ["publish"], "packages": ["widgets-core"] }])
                .to_string();
        let answer = world
            .renew(&token, &[("authorization_details", &bare)])
            .await;
        assert_eq!(
            answer.json()["authorization_details"],
            first.json()["authorization_details"]
        );
        for wide in [
            json!({ "packages": ["widgets"] }),
            json!({ "packages": ["widgets-*"] }),
            json!({ "packages": ["widgets-core"], "actions": ["create"] }),
            json!({ "packages": ["widgets-core"], "version": "1.0.1" }),
            json!({ "packages": ["widgets-core"], "digest": format!("sha256:{}", "cd".repeat(32)) }),
            json!({ "packages": ["widgets-core"], "owner": "mallory" }),
            json!({ "packages": ["widgets-core"], "locations": [R2] }),
        ] {
            let mut detail = json!({ "type": "package", "actions": ["publish"] });
            detail
                .as_object_mut()
                .unwrap()
                .extend(wide.as_object().unwrap().clone());
            let answer = world
                .renew(
                    &token,
                    &[("authorization_details", &json!([detail]).to_string())],
                )
                .await;
            assert_eq!(
                (answer.status, &answer.json()["error"]),
                (400, &json!("invalid_authorization_details")),
                "{wide}"
            );
        }
    }
}

#[tokio::test]
async fn wimsecx_id_1__an_exchange_keeps_subject_principal_workload_and_audience() {
    for format in FORMATS {
        let world = with_format(format).await;
        world
            .server
            .put(
                "principals/acme",
                json!({ "id": "pr_acme", "kind": "organization" }),
            )
            .await;
        let token = token(&world).await;
        let mut second = World::rule_document(json!({}));
        second["principal"] = json!("acme");
        world
            .server
            .put("federated-credentials/second", second)
            .await;
        let before = introspect(&world, "pypi", &token).await;
        assert_eq!(before["principal"]["name"], "joel");
        for wish in [&[][..], &[("scope", "publish")], &[("principal", "joel")]] {
            let after = introspect(&world, "pypi", &world.renew(&token, wish).await.token()).await;
            for claim in ["sub", "principal", "workload", "aud"] {
                assert_eq!(after[claim], before[claim], "{claim}");
            }
        }
        for other in ["nobody", "acme"] {
            let answer = world.renew(&token, &[("principal", other)]).await;
            answer.refused(400, "invalid_request", "no_matching_credential");
        }
    }
}

#[tokio::test]
async fn wimsecx_auth_1__requests_without_any_token_or_client_proof_are_refused() {
    let world = World::new().await;
    let bot = world.client("bot", json!({})).await;
    for header in [&[][..], &[("authorization", bot.as_str())]] {
        for grant in [TOKEN_EXCHANGE, JWT_BEARER] {
            let answer = world
                .server
                .form_with("/token", header, &[("grant_type", grant)])
                .await;
            answer.refused(400, "invalid_request", "parameter_missing");
        }
    }
    for form in [
        &[("grant_type", "client_credentials")][..],
        &[("grant_type", "client_credentials"), ("client_id", "bot")],
    ] {
        let answer = world.server.form("/token", form).await;
        answer.refused(401, "invalid_client", "client_authentication_failed");
    }
}

#[tokio::test]
async fn wimsecx_ind_1__every_exchange_makes_a_token_of_its_own() {
    for format in FORMATS {
        let world = with_format(format).await;
        let token = token(&world).await;
        let mut seen = vec![(
            token.clone(),
            introspect(&world, "pypi", &token).await["jti"].clone(),
        )];
        for _ in 0..3 {
            let next = world.renew(&token, &[]).await.token();
            let id = introspect(&world, "pypi", &next).await["jti"].clone();
            assert!(
                seen.iter()
                    .all(|(other, other_id)| *other != next && *other_id != id)
            );
            seen.push((next, id));
        }
        let issued = world.server.audit("outcome=issued").await;
        let made = issued
            .iter()
            .filter(|event| event["detail"]["subject_token"] == seen[0].1);
        assert_eq!((issued.len(), made.count()), (4, 3), "{issued:#?}");
    }
}

#[tokio::test]
async fn wimsecx_screc_1__exchange_answers_and_tokens_never_contain_a_client_secret() {
    use base64::Engine as _;
    let world = World::new().await;
    let bot = world.client("bot", json!({})).await;
    let pair = base64::engine::general_purpose::STANDARD
        .decode(&bot["Basic ".len()..])
        .unwrap();
    let secret = String::from_utf8(pair).unwrap().split_off("bot:".len());
    let first = world.swap_as(&bot, &world.good(), JWT, &[]).await;
    let answers = [
        first.clone(),
        world.swap_as(&bot, &first.token(), ACCESS_TOKEN, &[]).await,
        world
            .swap_as(&bot, &first.token(), ACCESS_TOKEN, &[("scope", "unlist")])
            .await,
        world.renew(&first.token(), &[]).await,
    ];
    assert_eq!(
        answers.each_ref().map(|answer| answer.status),
        [200, 200, 400, 400]
    );
    for answer in answers {
        assert!(!answer.text().contains(&secret));
        let claims = answer.json()["access_token"]
            .as_str()
            .map(payload)
            .unwrap_or_default();
        assert!(!claims.to_string().contains(&secret));
    }
}

#[tokio::test]
async fn wimsecx_step_1__exchange_answers_carry_no_challenge_headers() {
    let world = World::new().await;
    let token = token(&world).await;
    for answer in [
        world.renew(&token, &[]).await,
        world.renew("x.y.z", &[]).await,
        world.trade("x", &[]).await,
    ] {
        assert!(
            ["dpop-nonce", "www-authenticate", "accept-signature"]
                .iter()
                .all(|name| answer.header(name).is_none())
        );
    }
}

#[tokio::test]
async fn wimsecx_att_1__a_token_altered_by_its_holder_is_refused() {
    for format in FORMATS {
        let world = with_format(format).await;
        let token = token(&world).await;
        let mut narrower = introspect(&world, "pypi", &token).await;
        narrower["scope"] = json!("publish");
        let narrower = carnet_jose::base64url(narrower.to_string().as_bytes());
        let parts: Vec<&str> = token.split('.').collect();
        let resealed = [parts[0], &narrower, parts.last().unwrap()].join(".");
        for text in [
            format!("{token}.x"),
            format!("{token}?scope=publish"),
            resealed,
        ] {
            world
                .renew(&text, &[])
                .await
                .refused(400, "invalid_request", "subject_token_invalid");
        }
        world.renew(&token, &[("scope", "publish")]).await.token();
    }
}

#[tokio::test]
async fn wimsecx_trust_4__an_actor_token_adds_no_rights() {
    let world = World::new().await;
    let other = other_platform(&world).await;
    let wide = json!({
        "principal": "joel", "trusted_issuer": "other", "match": { "subject": "job" },
        "permissions": [{ "resource_server": "pypi", "actions": ["unlist"], "packages": ["*"] }],
    });
    world.server.put("federated-credentials/wide", wide).await;
    let mut document = World::rule_document(json!({}));
    document["actors"] = json!(["wide"]);
    world
        .server
        .put("federated-credentials/octo-release", document)
        .await;
    let acting = other.sign(
        &world
            .claims()
            .with("iss", "https://other.test")
            .with("sub", "job"),
    );
    let entry = |answer: &Value| {
        let mut entry = answer["authorization_details"][0].clone();
        // It says on whose word it rests as well.
        entry.as_object_mut().unwrap().remove("rests_on");
        (answer["scope"].clone(), entry)
    };
    let alone = world.trade(&world.good(), &[]).await.json();
    let wider = [
        ("actor_token", acting.as_str()),
        ("actor_token_type", JWT),
        ("scope", "unlist"),
    ];
    world
        .trade(&world.good(), &wider)
        .await
        .refused(400, "invalid_scope", "scope_not_granted");
    let with = world.trade(&world.good(), &wider[..2]).await.json();
    assert_eq!(entry(&with), entry(&alone));
}

#[tokio::test]
async fn contract_4__authorization_details_do_not_multiply_over_a_chain_of_exchanges() {
    for format in FORMATS {
        let world = with_format(format).await;
        let wish = |count: usize, name: &str, value: &dyn Fn(usize) -> String| {
            let detail = |n: usize| json!({ "type": "package", "actions": ["publish"], "packages": ["widgets"], name: value(n) });
            Value::from((0..count).map(detail).collect::<Vec<_>>()).to_string()
        };
        let versions = wish(100, "version", &|n| format!("1.{n}"));
        let digests = wish(100, "digest", &|n| format!("sha256:{n:064x}"));
        let mut token = token(&world).await;
        let mut counts = Vec::new();
        for details in [&versions, &digests, &digests] {
            let answer = world
                .renew(&token, &[("authorization_details", details)])
                .await;
            if answer.status != 200 {
                assert!(
                    ["too_many_entries", "rules_too_large"].contains(&answer.reason().as_str()),
                    "{}",
                    answer.text()
                );
                counts.push(0);
                continue;
            }
            let entries = answer.json()["authorization_details"]
                .as_array()
                .unwrap()
                .clone();
            assert!(
                entries.len() <= 1000
                    && Value::from(entries.clone()).to_string().len() <= 64 * 1024
            );
            counts.push(entries.len());
            token = answer.token();
        }
        // A JWT has no room for a hundred of them; a key has, and the next hundred do not multiply them.
        let expected = if format == "jwt" {
            [0, 0, 0]
        } else {
            [100, 0, 0]
        };
        assert_eq!(counts, expected, "{format}");
        world.renew(&token, &[]).await.token();
    }
}

#[tokio::test]
async fn rfc8693_5_1__a_narrowed_scope_stays_and_the_expiry_is_kept() {
    let world = World::new().await;
    let token = token(&world).await;
    world.server.clock.advance(60);
    let narrow =
        json!([{ "type": "package", "actions": ["publish"], "packages": ["widgets"] }]).to_string();
    let narrow = world
        .renew(&token, &[("authorization_details", &narrow)])
        .await
        .token();
    let (wide, narrow_claims) = (payload(&token), payload(&narrow));
    assert_eq!(
        (&narrow_claims["scope"], &narrow_claims["exp"]),
        (&json!("publish"), &wide["exp"])
    );
    assert_eq!(
        payload(&world.renew(&narrow, &[]).await.token())["scope"],
        "publish"
    );
}

#[tokio::test]
async fn contract_4__require_principal_refuses_every_request_that_names_no_principal() {
    let world = World::new().await;
    let alone = token(&world).await;
    change(
        &world,
        "resource-servers/pypi",
        json!({ "require_principal": true }),
    )
    .await;
    world
        .trade(&world.good(), &[])
        .await
        .refused(400, "invalid_request", "principal_required");
    // Whatever matches: nothing does here.
    let stranger = world.gh.sign(&world.claims().with(
        "workflow_ref",
        "octo-org/octo-repo/.github/workflows/x.yml@refs/heads/main",
    ));
    let named = world.trade(&stranger, &[("resource", R1)]).await;
    named.refused(400, "invalid_request", "principal_required");
    world
        .renew(&alone, &[])
        .await
        .refused(400, "invalid_request", "principal_required");
    world.renew(&alone, &[("principal", "joel")]).await.token();
    let permission = json!({ "resource_server": "pypi", "actions": ["publish"], "packages": ["a"], "owner": "joel" });
    let bot = world
        .client("bot", json!({ "permissions": [permission] }))
        .await;
    let ask = async |form: &[(&str, &str)]| {
        let form = [&[("grant_type", "client_credentials")], form].concat();
        world
            .server
            .form_with("/token", &[("authorization", bot.as_str())], &form)
            .await
    };
    ask(&[])
        .await
        .refused(400, "invalid_request", "principal_required");
    ask(&[("principal", "joel")]).await.token();
}

#[tokio::test]
async fn wimsecx_id_1__only_the_client_itself_can_exchange_its_own_token() {
    for format in FORMATS {
        let world = with_format(format).await;
        let permission = json!({ "resource_server": "pypi", "actions": ["create", "publish"], "packages": ["*"], "owner": "joel" });
        let bot = world
            .client("bot", json!({ "permissions": [permission] }))
            .await;
        let header = [("authorization", bot.as_str())];
        let itself = world
            .server
            .form_with("/token", &header, &[("grant_type", "client_credentials")])
            .await
            .token();
        world
            .renew(&itself, &[])
            .await
            .refused(400, "invalid_request", "token_of_another_client");
        world.server.clock.advance(10);
        let narrow = world
            .swap_as(&bot, &itself, ACCESS_TOKEN, &[("scope", "create")])
            .await;
        assert_eq!(
            (&narrow.json()["scope"], &narrow.json()["expires_in"]),
            (&json!("create"), &json!(890))
        );
        let told = introspect(&world, "pypi", &narrow.token()).await;
        assert_eq!(
            (&told["sub"], &told["client_id"]),
            (&json!("bot"), &json!("bot"))
        );
        let wide = world
            .swap_as(&bot, &narrow.token(), ACCESS_TOKEN, &[("scope", "publish")])
            .await;
        wide.refused(400, "invalid_scope", "scope_not_granted");
        // What the client may do has changed: its tokens stand on nothing.
        change(&world, "clients/bot", json!({ "permissions": [] })).await;
        let ended = world
            .swap_as(&bot, &narrow.token(), ACCESS_TOKEN, &[])
            .await;
        ended.refused(400, "invalid_request", "subject_token_inactive");
    }
}

#[tokio::test]
async fn nuget_tok_6__an_exchange_counts_for_the_rule_that_it_rests_on() {
    let world = World::with(&[("CARNET_RATE_LIMITS__TOKENS_PER_MINUTE_PER_CREDENTIAL", "3")]).await;
    let token = token(&world).await;
    for _ in 0..2 {
        world.renew(&token, &[]).await.token();
    }
    world
        .renew(&token, &[])
        .await
        .refused(429, "temporarily_unavailable", "rate_limited");
}

// === tokens that ended, and tokens of others ===

#[tokio::test]
async fn atk_158__a_revoked_token_and_the_tokens_made_from_it_cannot_be_exchanged() {
    for format in FORMATS {
        let world = with_format(format).await;
        let first = token(&world).await;
        let second = world.renew(&first, &[]).await.token();
        let third = world.renew(&second, &[]).await.token();
        let aside = world.renew(&first, &[]).await.token();
        assert_eq!(
            world
                .server
                .form("/revoke", &[("token", &second)])
                .await
                .status,
            200
        );
        for dead in [&second, &third] {
            world
                .renew(dead, &[])
                .await
                .refused(400, "invalid_request", "subject_token_inactive");
            assert_eq!(
                introspect(&world, "pypi", dead).await,
                json!({ "active": false })
            );
        }
        for alive in [&first, &aside] {
            world.renew(alive, &[]).await.token();
        }
        assert_eq!(
            world
                .server
                .form("/revoke", &[("token", &first)])
                .await
                .status,
            200
        );
        world
            .renew(&aside, &[])
            .await
            .refused(400, "invalid_request", "subject_token_inactive");
    }
}

#[tokio::test]
async fn atk_139__a_token_whose_rule_or_its_owner_was_disabled_cannot_be_exchanged() {
    for format in FORMATS {
        for (path, off) in [
            (
                "federated-credentials/octo-release",
                json!({ "enabled": false }),
            ),
            (
                "federated-credentials/octo-release",
                json!({ "permissions": [{ "resource_server": "pypi", "actions": ["create", "publish"], "packages": ["*"] }] }),
            ),
            ("principals/joel", json!({ "enabled": false })),
            ("trusted-issuers/github", json!({ "enabled": false })),
            ("resource-servers/pypi", json!({ "enabled": false })),
        ] {
            let world = with_format(format).await;
            let token = token(&world).await;
            let second = world.server.another_node().await;
            change(&world, path, off).await;
            // The node that was not told yet finds out when it records the token.
            let form = [
                ("grant_type", TOKEN_EXCHANGE),
                ("subject_token", token.as_str()),
                ("subject_token_type", ACCESS_TOKEN),
            ];
            for node in [&second, &world.server] {
                let answer = node.form("/token", &form).await;
                answer.refused(400, "invalid_request", "subject_token_inactive");
            }
        }
    }
}

#[tokio::test]
async fn atk_161__a_client_cannot_exchange_the_token_of_another_client() {
    for format in FORMATS {
        let world = with_format(format).await;
        let (mine, other) = (
            world.client("mine", json!({})).await,
            world.client("other", json!({})).await,
        );
        let token = world.swap_as(&mine, &world.good(), JWT, &[]).await.token();
        for stranger in ["", &other] {
            let answer = world.swap_as(stranger, &token, ACCESS_TOKEN, &[]).await;
            answer.refused(400, "invalid_request", "token_of_another_client");
        }
        let next = world
            .swap_as(&mine, &token, ACCESS_TOKEN, &[])
            .await
            .token();
        world
            .renew(&next, &[])
            .await
            .refused(400, "invalid_request", "token_of_another_client");
        // Its name alone does not make anybody the client.
        let answer = world.renew(&token, &[("client_id", "mine")]).await;
        answer.refused(401, "invalid_client", "client_authentication_failed");
    }
}

#[tokio::test]
async fn atk_154__an_exchange_copies_nothing_that_the_platform_says_of_rights() {
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
        .with("acr", "high")
        .with("principal", "root");
    let plain = world.trade(&world.good(), &[]).await;
    let loaded = world.trade(&world.gh.sign(&claims), &[]).await;
    assert_eq!(alike(&loaded), alike(&plain));
    let again = world.renew(&loaded.token(), &[]).await;
    assert_eq!(alike(&again).0, alike(&plain).0);
    let bound = claims
        .with("jti", "another")
        .with("cnf", json!({ "jkt": "x" }));
    world.denies_claims(bound, "proof_missing").await;
}

// === chains of anything ===

/// One exchange of a chain.
#[derive(Clone, Debug)]
struct Step {
    scope: Option<&'static str>,
    details: Option<(usize, Vec<&'static str>, Option<&'static str>)>,
    actor: Option<u32>,
    resource: Option<&'static str>,
    seconds: i64,
}

fn step() -> impl Strategy<Value = Step> {
    let scope = prop_oneof![
        6 => Just(None), 3 => Just(Some("create publish")), 2 => Just(Some("publish")), 1 => Just(Some("create")),
        1 => Just(Some("create publish unlist")), 1 => Just(Some("unlist"))
    ];
    let packages = prop::sample::subsequence(
        vec![
            "widgets",
            "widgets-a",
            "widgets-b",
            "widgets-*",
            "gadgets",
            "*",
        ],
        1..3,
    );
    let version = prop_oneof![3 => Just(None), 1 => Just(Some("1.0.0")), 1 => Just(Some("2.0.0"))];
    let details = prop::option::weighted(0.4, (0..4usize, packages, version));
    let actor = prop::option::weighted(0.3, 0..3u32);
    let resource = prop_oneof![6 => Just(None), 3 => Just(Some(R1)), 1 => Just(Some(R2))];
    (scope, details, actor, resource, 0..90i64).prop_map(
        |(scope, details, actor, resource, seconds)| Step {
            scope,
            details,
            actor,
            resource,
            seconds,
        },
    )
}

/// What is asked for in a step.
fn wish(step: &Step, actor: &str) -> Vec<(&'static str, String)> {
    let mut wish = Vec::new();
    wish.extend(step.scope.map(|scope| ("scope", scope.to_owned())));
    wish.extend(
        step.resource
            .map(|resource| ("resource", resource.to_owned())),
    );
    if let Some((actions, packages, version)) = &step.details {
        let actions = [
            json!(["publish"]),
            json!(["create"]),
            json!(["create", "publish"]),
            json!(["unlist"]),
        ][*actions]
            .clone();
        let mut detail = json!({ "type": "package", "actions": actions, "packages": packages });
        if let Some(version) = version {
            detail["version"] = json!(version);
        }
        wish.push(("authorization_details", json!([detail]).to_string()));
    }
    if !actor.is_empty() {
        wish.extend([
            ("actor_token", actor.to_owned()),
            ("actor_token_type", JWT.to_owned()),
        ]);
    }
    wish
}

fn texts(value: &Value) -> Vec<&str> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|text| text.as_str().unwrap())
        .collect()
}

/// Whether all of an entry was in another one already.
fn lies_inside(entry: &Value, before: &Value) -> bool {
    let covered = |package: &&str| {
        texts(&before["packages"]).into_iter().any(|pattern| {
            pattern == *package
                || pattern
                    .strip_suffix('*')
                    .is_some_and(|prefix| !package.contains('*') && package.starts_with(prefix))
        })
    };
    let same = [
        "type",
        "owner",
        "principal",
        "credential",
        "revision",
        "locations",
    ]
    .iter()
    .all(|name| entry[name] == before[name]);
    let limited = ["version", "digest"]
        .iter()
        .all(|name| before.get(name).is_none() || entry.get(name) == before.get(name));
    same && limited
        && texts(&entry["actions"])
            .iter()
            .all(|action| texts(&before["actions"]).contains(action))
        && texts(&entry["packages"]).iter().all(covered)
}

/// Checks that a token has no more than the one it was made from, and at least its actors.
fn gained_nothing(before: &Value, after: &Value, actor: Option<u32>) {
    for name in ["iss", "aud", "sub", "principal", "workload"] {
        assert_eq!(before[name], after[name], "{name}");
    }
    assert!(after["exp"].as_i64() <= before["exp"].as_i64());
    assert_ne!(before["jti"], after["jti"]);
    let scope = |claims: &Value| {
        claims["scope"]
            .as_str()
            .unwrap()
            .split(' ')
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert!(
        scope(after)
            .iter()
            .all(|action| scope(before).contains(action)),
        "{before:#} {after:#}"
    );
    let entries = |claims: &Value| claims["authorization_details"].as_array().unwrap().clone();
    for entry in entries(after) {
        assert!(
            entries(before)
                .iter()
                .any(|other| lies_inside(&entry, other)),
            "{before:#} {after:#}"
        );
        assert!(
            texts(&entry["actions"])
                .iter()
                .all(|action| scope(after).contains(&(*action).to_owned()))
        );
    }
    match actor {
        None => assert_eq!(before.get("act"), after.get("act")),
        Some(number) => {
            assert_eq!(after["act"]["sub"], subject_of(number));
            assert_eq!(before.get("act"), after["act"].get("act"));
        }
    }
}

/// A chain of ten exchanges; how many of them gave a token.
async fn walk(world: &World, format: &str, steps: &[Step]) -> usize {
    change(
        world,
        "resource-servers/pypi",
        json!({ "token_format": format }),
    )
    .await;
    let mut token = world.exchange(&world.good()).await.token();
    let mut before = introspect(world, "pypi", &token).await;
    let mut given = 0;
    for step in steps {
        world.server.clock.advance(step.seconds);
        let actor = step
            .actor
            .map(|number| world.gh.sign(&helper(world, number)))
            .unwrap_or_default();
        let wish = wish(step, &actor);
        let wish: Vec<_> = wish
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let answer = world.renew(&token, &wish).await;
        if answer.status != 200 {
            assert_eq!(answer.status, 400, "{}", answer.text());
            continue;
        }
        let after = introspect(world, "pypi", &answer.token()).await;
        if after["active"] == false {
            assert!(before["exp"].as_i64().unwrap() <= world.server.now());
            continue;
        }
        gained_nothing(&before, &after, step.actor);
        (token, before, given) = (answer.token(), after, given + 1);
    }
    given
}

#[test]
fn rfc8693_4_1_4__random_chains_of_ten_exchanges_gain_no_rights_and_lose_no_actor() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let world = runtime.block_on(async {
        let world = World::with(&[("CARNET_RATE_LIMITS__TOKENS_PER_MINUTE_PER_CREDENTIAL", "0")]).await;
        with_helpers(&world, 2).await;
        add_helper(&world, 2).await;
        let mut second = World::rule_document(json!({}));
        second["permissions"] =
            json!([{ "resource_server": "pypi", "actions": ["create", "unlist"], "packages": ["gadgets", "widgets"] }]);
        second["actors"] = json!(["helper-0"]);
        world.server.put("federated-credentials/second", second).await;
        world
    });
    let given = std::cell::Cell::new(0);
    let config = Config {
        cases: 48,
        failure_persistence: None,
        ..Config::default()
    };
    let strategy = (
        prop::sample::select(vec!["jwt", "opaque"]),
        prop::collection::vec(step(), 10),
    );
    TestRunner::new(config)
        .run(&strategy, |(format, steps)| {
            given.set(given.get() + runtime.block_on(walk(&world, format, &steps)));
            Ok(())
        })
        .unwrap();
    assert!(given.get() > 48, "{} exchanges gave a token", given.get());
}
