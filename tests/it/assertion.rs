//! What an assertion has to hold (RFC 7521, RFC 7523, RFC 7523bis; checklist 1.2 and attacks 7.4).

use serde_json::{Value, json};

use crate::support::{CARNET, Carrier, GH, R1, TestKey, World};

#[tokio::test]
async fn rfc7523_2_1_1__an_assertion_is_one_compact_jwt() {
    let world = World::new().await;
    let (one, two) = (world.good(), world.good());
    let [header, payload, signature] = one.split('.').collect::<Vec<_>>().try_into().unwrap();
    let serialised =
        json!({ "protected": header, "payload": payload, "signature": signature }).to_string();
    for text in [format!("{one} {two}"), format!("{one}\n")] {
        world.denies(&text, "assertion_whitespace").await;
    }
    for text in [
        format!("{one},{two}"),
        format!("{one}="),
        format!("\"{one}\""),
        serialised,
    ] {
        world.denies(&text, "assertion_malformed").await;
    }
    world.exchange(&one).await.token();
}

#[tokio::test]
async fn rfc7523_2_1_2__a_workload_gets_a_token_without_a_registered_client() {
    let world = World::new().await;
    let token = world.exchange(&world.good()).await.token();
    assert!(
        payload(&token)["client_id"]
            .as_str()
            .unwrap()
            .starts_with("federated:fc_")
    );
}

/// The claims of a compact JWS, unverified.
pub fn payload(token: &str) -> Value {
    use base64::Engine as _;
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(
        &base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(payload)
            .unwrap(),
    )
    .unwrap()
}

#[tokio::test]
async fn rfc7523_3_1__the_issuer_has_to_match_a_trusted_issuer_byte_for_byte() {
    let world = World::new().await;
    world
        .denies_claims(world.claims().without("iss"), "claim_missing")
        .await;
    world
        .denies_claims(world.claims().with("iss", 7), "claim_type")
        .await;
    for iss in [
        "https://evil.test",
        "https://ci.test/",
        "https://CI.test",
        "https://ci.test:443",
        "",
    ] {
        world
            .denies_claims(world.claims().with("iss", iss), "iss_unknown")
            .await;
    }
}

#[tokio::test]
async fn rfc7523_3_2__a_missing_empty_or_non_text_subject_is_refused() {
    let world = World::new().await;
    world
        .denies_claims(world.claims().without("sub"), "claim_missing")
        .await;
    world
        .denies_claims(world.claims().with("sub", ""), "claim_malformed")
        .await;
    world
        .denies_claims(world.claims().with("sub", Value::Null), "claim_missing")
        .await;
    for sub in [json!(7), json!(["a"]), json!({})] {
        world
            .denies_claims(world.claims().with("sub", sub), "claim_type")
            .await;
    }
}

#[tokio::test]
async fn rfc7523_3_3__a_missing_or_foreign_audience_is_refused() {
    let world = World::new().await;
    world
        .denies_claims(world.claims().without("aud"), "claim_missing")
        .await;
    for aud in [
        "https://as.test/",
        "HTTPS://AS.TEST",
        "https://as%2Etest",
        "https://other-as.test",
        "",
    ] {
        world
            .denies_claims(world.claims().with("aud", aud), "aud_mismatch")
            .await;
    }
    let answer = world
        .exchange_claims(&world.claims().with("aud", "pypi"))
        .await
        .json();
    assert_eq!(
        answer["accepted_audiences"],
        json!([CARNET, format!("{CARNET}/token")])
    );
    assert_eq!(answer["received"], "pypi");
}

#[tokio::test]
async fn rfc7523bis_4_1__issuer_identifier_and_token_endpoint_are_audiences() {
    let world = World::new().await;
    let endpoint = format!("{CARNET}/token");
    for aud in [json!(CARNET), json!([CARNET]), json!(endpoint)] {
        world
            .exchange_claims(&world.claims().with("aud", aud))
            .await
            .token();
    }
    // Naming the accepted audiences is the strict mode.
    world.trust(json!({ "audiences": [CARNET] })).await;
    world
        .denies_claims(world.claims().with("aud", endpoint), "aud_mismatch")
        .await;
}

#[tokio::test]
async fn rfc7523_3_4__an_assertion_without_exp_or_after_it_is_refused() {
    let world = World::new().await;
    world
        .denies_claims(world.claims().without("exp"), "claim_missing")
        .await;
    let now = world.server.now();
    for exp in [now - 61, now - 60] {
        let claims = world
            .claims()
            .with("iat", now - 300)
            .with("nbf", now - 300)
            .with("exp", exp);
        world.denies_claims(claims.clone(), "expired").await;
        let answer = world.exchange_claims(&claims).await.json();
        assert_eq!(answer["server_time"], now);
    }
    let late = world
        .claims()
        .with("iat", now - 300)
        .with("nbf", now - 300)
        .with("exp", now - 59);
    world.exchange_claims(&late).await.token();
}

#[tokio::test]
async fn rfc7523_3_4b__a_validity_that_is_too_long_is_refused() {
    let world = World::new().await;
    let now = world.server.now();
    world
        .denies_claims(world.claims().with("exp", now + 3601), "lifetime_too_long")
        .await;
    world
        .exchange_claims(&world.claims().with("exp", now + 3600))
        .await
        .token();
    world
        .trust(json!({ "max_assertion_lifetime_seconds": 300 }))
        .await;
    world
        .denies_claims(world.claims().with("exp", now + 301), "lifetime_too_long")
        .await;
}

#[tokio::test]
async fn rfc7523_3_5__nbf_is_honoured() {
    let world = World::new().await;
    let now = world.server.now();
    world
        .denies_claims(world.claims().with("nbf", now + 120), "not_yet_valid")
        .await;
    world
        .exchange_claims(&world.claims().with("nbf", now + 60))
        .await
        .token();
    world
        .exchange_claims(&world.claims().without("nbf"))
        .await
        .token();
}

#[tokio::test]
async fn rfc7523_3_6__an_assertion_without_iat_or_with_a_future_iat_is_refused() {
    let world = World::new().await;
    let now = world.server.now();
    world
        .denies_claims(world.claims().with("iat", now + 120), "iat_future")
        .await;
    world
        .denies_claims(world.claims().with("iat", now + 61), "iat_future")
        .await;
    world
        .exchange_claims(&world.claims().with("iat", now + 60))
        .await
        .token();
    world
        .denies_claims(world.claims().without("iat"), "claim_missing")
        .await;
}

#[tokio::test]
async fn rfc7523_3_7__an_assertion_gives_one_token() {
    let world = World::new().await;
    let assertion = world.good();
    world.exchange(&assertion).await.token();
    world
        .exchange(&assertion)
        .await
        .refused(400, "invalid_grant", "replay");
}

#[tokio::test]
async fn rfc7521_8_2_1__a_used_assertion_is_a_replay_until_it_expires() {
    let world = World::new().await;
    let claims = world.claims();
    world.exchange_claims(&claims).await.token();
    // Remembered for as long as the token could be accepted.
    world.server.clock.advance(300 + 59);
    world
        .exchange_claims(&claims)
        .await
        .refused(400, "invalid_grant", "replay");
    world.server.clock.advance(1);
    world
        .exchange_claims(&claims)
        .await
        .refused(400, "invalid_grant", "expired");
}

#[tokio::test]
async fn rfc7523_3_8__unknown_claims_do_no_harm() {
    let world = World::new().await;
    let claims = world
        .claims()
        .with("https://x.test/c", json!({ "a": [1, { "b": null }] }))
        .with("nonce", "x");
    world.exchange_claims(&claims).await.token();
}

#[tokio::test]
async fn rfc7523_3_9__an_assertion_not_signed_by_a_key_of_its_issuer_is_refused() {
    let world = World::new().await;
    let assertion = world.good();
    let [header, payload, signature] = assertion.split('.').collect::<Vec<_>>().try_into().unwrap();
    let flip = |text: &str| {
        let mut bytes = text.as_bytes().to_vec();
        bytes[10] = if bytes[10] == b'A' { b'B' } else { b'A' };
        String::from_utf8(bytes).unwrap()
    };
    world
        .denies(
            &format!("{header}.{payload}.{}", flip(signature)),
            "signature_invalid",
        )
        .await;
    let payload = flip(payload);
    let answer = world
        .exchange(&format!("{header}.{payload}.{signature}"))
        .await;
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (400, &json!("invalid_grant"))
    );
    let answer = world
        .exchange(&format!("{}.{payload}.{signature}", flip(header)))
        .await;
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (400, &json!("invalid_grant"))
    );

    let gl = crate::support::FakeIssuer::new("https://gl.test", TestKey::rsa(1));
    world.server.network.add(&gl);
    world
        .server
        .put(
            "trusted-issuers/gl",
            json!({ "profile": "generic", "issuer": "https://gl.test" }),
        )
        .await;
    world.denies(&gl.sign(&world.claims()), "key_unknown").await;
    world
        .denies(
            &gl.key().named("rsa-0").sign(&world.claims().value()),
            "signature_invalid",
        )
        .await;
    world.exchange(&assertion).await.token();
}

#[tokio::test]
async fn rfc7523_3_10__alg_none_and_claims_that_are_no_object_are_refused() {
    // The whole of structure.rs; here one rule of each kind.
    let world = World::new().await;
    let key = world.gh.key();
    let claims = world.claims().value().to_string();
    world
        .denies(
            &key.sign_raw(br#"{"alg":"none"}"#, claims.as_bytes()),
            "alg_denied",
        )
        .await;
    world
        .denies(
            &key.sign_raw(key.header().to_string().as_bytes(), b"[]"),
            "assertion_malformed",
        )
        .await;
}

#[tokio::test]
async fn rfc7523_3_1_2__a_bad_assertion_is_invalid_grant() {
    let world = World::new().await;
    for claims in [
        world.claims().with("exp", 1).with("iat", 0).with("nbf", 0),
        world.claims().with("aud", "x"),
    ] {
        let answer = world.exchange_claims(&claims).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (400, &json!("invalid_grant"))
        );
    }
}

#[tokio::test]
async fn rfc7523_5_1__rs256_assertions_are_accepted_unless_the_issuer_lists_others() {
    let world = World::new().await;
    let assertion = world.good();
    let header = carnet_jose::from_base64url(assertion.split('.').next().unwrap()).unwrap();
    assert_eq!(
        serde_json::from_slice::<Value>(&header).unwrap()["alg"],
        "RS256"
    );
    world.exchange(&assertion).await.token();
    let other = json!({ "algorithms": ["ES256"] });
    let changed = world
        .server
        .admin("PATCH", "trusted-issuers/github?validate=offline", other)
        .await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    world
        .exchange(&world.good())
        .await
        .refused(400, "invalid_grant", "alg_denied");
}

#[tokio::test]
async fn rfc7521_4_1_1__a_scope_that_the_rule_does_not_give_is_refused() {
    let world = World::new().await;
    let assertion = world.good();
    for scope in ["publish admin", "unlist", "publish unlist", "admin"] {
        let answer = world.exchange_with(&assertion, &[("scope", scope)]).await;
        answer.refused(400, "invalid_scope", "scope_not_granted");
    }
    world
        .exchange_with(&assertion, &[("scope", "publish")])
        .await
        .token();
}

#[tokio::test]
async fn rfc7521_4_1_2__a_token_can_be_made_to_end_with_the_assertion() {
    // Decision D-20 is overruled: the resource server's lifetime counts unless the trusted issuer says otherwise.
    let world = World::new().await;
    let now = world.server.now();
    let short = world.claims().with("exp", now + 100);
    assert_eq!(
        world.exchange_claims(&short).await.json()["expires_in"],
        900
    );
    world
        .trust(json!({ "cap_at_assertion_expiry": true }))
        .await;
    let short = world.claims().with("exp", now + 100);
    assert_eq!(
        world.exchange_claims(&short).await.json()["expires_in"],
        100
    );
    let over = world
        .claims()
        .with("iat", now - 200)
        .with("nbf", now - 200)
        .with("exp", now - 1);
    world.denies_claims(over, "expired").await;
}

#[tokio::test]
async fn rfc7521_4_1_3__there_are_no_refresh_tokens() {
    let world = World::new().await;
    assert!(
        world
            .exchange(&world.good())
            .await
            .json()
            .get("refresh_token")
            .is_none()
    );
    let form = [("grant_type", "refresh_token"), ("refresh_token", "x")];
    world.server.form("/token", &form).await.refused(
        400,
        "unsupported_grant_type",
        "grant_type_unsupported",
    );
}

#[tokio::test]
async fn atk_050__exp_and_iat_that_are_not_numbers_are_refused() {
    let world = World::new().await;
    let exp = world.server.now() + 300;
    for value in [
        json!(exp.to_string()),
        json!(format!("{exp}.5")),
        json!(true),
        json!([exp]),
        json!({}),
    ] {
        world
            .denies_claims(world.claims().with("exp", value.clone()), "claim_type")
            .await;
        world
            .denies_claims(world.claims().with("iat", value), "claim_type")
            .await;
    }
    world
        .denies_claims(world.claims().with("exp", Value::Null), "claim_type")
        .await;
}

#[tokio::test]
async fn atk_051__times_out_of_range_are_refused() {
    let world = World::new().await;
    let key = world.gh.key();
    let good = world.claims().with("exp", 123_454_321).value().to_string();
    for (number, reason) in [
        ("1e400", "assertion_malformed"),
        ("NaN", "assertion_malformed"),
        ("Infinity", "assertion_malformed"),
        ("-1", "claim_malformed"),
        ("0", "claim_inconsistent"),
        ("9223372036854775808", "claim_malformed"),
        ("18446744073709551616", "claim_malformed"),
        ("1e21", "claim_malformed"),
        ("9007199254740992", "claim_malformed"),
        ("9007199254740991", "lifetime_too_long"),
    ] {
        let payload = good.replace("123454321", number);
        world
            .denies(
                &key.sign_raw(key.header().to_string().as_bytes(), payload.as_bytes()),
                reason,
            )
            .await;
    }
}

#[tokio::test]
async fn atk_052__fractional_times_are_accepted() {
    let world = World::new().await;
    let now = world.server.now() as f64;
    world
        .exchange_claims(&world.claims().with("exp", now + 299.999))
        .await
        .token();
    world
        .exchange_claims(
            &world
                .claims()
                .with("nbf", now - 0.5)
                .with("iat", now + 0.25),
        )
        .await
        .token();
}

#[tokio::test]
async fn atk_053__times_that_contradict_each_other_are_refused() {
    let world = World::new().await;
    let now = world.server.now();
    world
        .denies_claims(
            world.claims().with("exp", now - 1).with("iat", now),
            "claim_inconsistent",
        )
        .await;
    world
        .denies_claims(world.claims().with("nbf", now + 301), "claim_inconsistent")
        .await;
}

#[tokio::test]
async fn atk_054__a_token_for_ten_years_is_refused() {
    let world = World::new().await;
    world
        .denies_claims(
            world.claims().with("exp", world.server.now() + 315_360_000),
            "lifetime_too_long",
        )
        .await;
}

#[tokio::test]
async fn atk_055__times_in_milliseconds_are_refused() {
    let world = World::new().await;
    let now = world.server.now();
    world
        .denies_claims(
            world
                .claims()
                .with("iat", now * 1000)
                .with("exp", now * 1000 + 300),
            "iat_future",
        )
        .await;
    world
        .denies_claims(world.claims().with("exp", now * 1000), "lifetime_too_long")
        .await;
}

#[tokio::test]
async fn atk_056__a_used_assertion_stays_used_when_the_clock_steps_back() {
    let world = World::new().await;
    let claims = world
        .claims()
        .with("nbf", world.server.now() - 3600)
        .with("iat", world.server.now() - 1800);
    world.exchange_claims(&claims).await.token();
    world.server.clock.advance(-600);
    world
        .exchange_claims(&claims)
        .await
        .refused(400, "invalid_grant", "replay");
}

#[tokio::test]
async fn rfc7519_4_1_3_1__an_aud_claim_that_is_no_text_or_list_of_texts_is_refused() {
    let world = World::new().await;
    for aud in [
        json!(7),
        json!({ "0": CARNET }),
        json!([CARNET, 7]),
        json!([[CARNET]]),
        json!([null]),
    ] {
        world
            .denies_claims(world.claims().with("aud", aud), "claim_type")
            .await;
    }
    world
        .denies_claims(world.claims().with("aud", json!([])), "claim_malformed")
        .await;
}

#[tokio::test]
async fn atk_057__empty_nested_and_oversized_aud_claims_are_refused() {
    let world = World::new().await;
    world
        .denies_claims(world.claims().with("aud", json!([])), "claim_malformed")
        .await;
    world
        .denies_claims(world.claims().with("aud", json!([""])), "aud_mismatch")
        .await;
    world
        .denies_claims(world.claims().with("aud", json!([null])), "claim_type")
        .await;
    world
        .denies_claims(world.claims().with("aud", json!([[CARNET]])), "claim_type")
        .await;
    world
        .denies_claims(
            world.claims().with("aud", json!({ "0": CARNET })),
            "claim_type",
        )
        .await;
    let many: Vec<String> = (0..17).map(|n| format!("https://{n}.test")).collect();
    world
        .denies_claims(world.claims().with("aud", many), "claim_malformed")
        .await;
}

#[tokio::test]
async fn atk_058__audiences_that_only_look_like_ours_are_refused() {
    let world = World::new().await;
    for aud in [
        "https://as.test/",
        "https://as.test?",
        "https://as.test#",
        "https://as.test:443",
        "HTTPS://AS.TEST",
        "https://as%2etest",
        "https://as.test.",
        "https://xn--s-eda.test",
        "https://as.test\u{200b}",
        "https://\u{ff41}s.test",
        " https://as.test",
    ] {
        world
            .denies_claims(world.claims().with("aud", aud), "aud_mismatch")
            .await;
    }
}

#[tokio::test]
async fn atk_059__an_assertion_with_several_audiences_is_refused() {
    let world = World::new().await;
    world
        .denies_claims(
            world
                .claims()
                .with("aud", json!([CARNET, "https://other.test"])),
            "aud_not_single",
        )
        .await;
    world
        .denies_claims(
            world.claims().with("aud", json!([CARNET, CARNET])),
            "aud_not_single",
        )
        .await;
}

#[tokio::test]
async fn atk_060__the_platforms_own_audience_is_refused_and_cannot_be_configured() {
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
    for member in ["audiences", "extra_audiences"] {
        let document = json!({ member: ["https://github.com/octo-org"] });
        let answer = world
            .server
            .admin("PATCH", "trusted-issuers/github", document)
            .await;
        assert_eq!(
            (answer.status, &answer.json()["errors"][0]["pointer"]),
            (422, &json!(format!("/{member}"))),
            "{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn atk_061__githubs_default_audience_is_refused() {
    let world = World::new().await;
    world
        .denies_claims(
            world.claims().with("aud", "https://github.com/octo-org"),
            "aud_mismatch",
        )
        .await;
}

#[tokio::test]
async fn atk_062__empty_oversized_and_non_text_subjects_are_refused() {
    let world = World::new().await;
    world
        .denies_claims(world.claims().with("sub", ""), "claim_malformed")
        .await;
    world
        .denies_claims(
            world.claims().with("sub", "x".repeat(1025)),
            "claim_malformed",
        )
        .await;
    let huge = world
        .exchange_claims(&world.claims().with("sub", "x".repeat(300 * 1024)))
        .await;
    huge.refused(413, "invalid_request", "body_too_large");
    world
        .denies_claims(world.claims().with("sub", json!(["a"])), "claim_type")
        .await;
    world
        .denies_claims(world.claims().with("sub", json!({})), "claim_type")
        .await;
}

#[tokio::test]
async fn atk_063__types_are_never_converted() {
    let world = World::new().await;
    world
        .denies_claims(world.claims().with("repository_id", 74), "claim_type")
        .await;
    world
        .denies_claims(world.claims().with("ref", Value::Null), "claim_missing")
        .await;
    world
        .denies_claims(
            world.claims().with("ref", json!(["refs/heads/main"])),
            "claim_type",
        )
        .await;
    world
        .rule("octo-release", json!({ "environment": "prod" }))
        .await;
    let listed = world.claims().with("environment", json!(["prod"]));
    let answer = world.exchange_claims(&listed).await;
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (400, &json!("invalid_grant"))
    );
    world
        .exchange_claims(&world.claims().in_environment("prod"))
        .await
        .token();
}

#[tokio::test]
async fn atk_064__a_boolean_condition_is_met_by_true_alone() {
    let world = World::new().await;
    world.server.put("trusted-issuers/other", json!({
        "profile": "generic", "issuer": "https://other.test", "keys": { "source": "static", "jwks": { "keys": [TestKey::rsa(2).jwk()] } },
    })).await;
    let rule = json!({
        "principal": "joel", "trusted_issuer": "other", "match": { "subject": "a", "claims": { "verified": true } },
        "permissions": [{ "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"] }],
    });
    world.server.put("federated-credentials/other", rule).await;
    let claims = |verified: Value| json!({ "iss": "https://other.test", "sub": "a", "aud": CARNET, "exp": world.server.now() + 60, "verified": verified, "jti": verified.to_string() });
    for verified in [
        json!("true"),
        json!(1),
        json!("True"),
        Value::Null,
        json!([true]),
    ] {
        let answer = world
            .exchange(&TestKey::rsa(2).sign(&claims(verified.clone())))
            .await;
        answer.refused(400, "invalid_grant", "no_matching_credential");
    }
    world
        .exchange(&TestKey::rsa(2).sign(&claims(json!(true))))
        .await
        .token();
}

#[tokio::test]
async fn atk_065__large_ids_are_compared_as_texts() {
    let world = World::new().await;
    let large = "9007199254740993";
    world
        .rule("octo-release", json!({ "repository_id": large }))
        .await;
    let key = world.gh.key();
    let number = world.claims().value().to_string().replace(
        "\"repository_id\":\"74\"",
        &format!("\"repository_id\":{large}"),
    );
    assert!(number.contains(&format!(":{large}")));
    let answer = world
        .exchange(&key.sign_raw(key.header().to_string().as_bytes(), number.as_bytes()))
        .await;
    answer.refused(400, "invalid_grant", "claim_type");
    let off_by_one = world.claims().with("repository_id", "9007199254740992");
    assert_eq!(world.exchange_claims(&off_by_one).await.status, 400);
    world
        .exchange_claims(&world.claims().with("repository_id", large))
        .await
        .token();
}

#[tokio::test]
async fn atk_040__assertions_with_the_typ_of_an_access_token_are_refused() {
    let world = World::new().await;
    let key = world.gh.key();
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt"] {
        let header = json!({ "alg": "RS256", "kid": key.kid, "typ": typ });
        world
            .denies(
                &key.sign_with_header(&header, &world.claims().value()),
                "typ_denied",
            )
            .await;
    }
}

#[tokio::test]
async fn wimse_typ_2__assertions_with_the_typ_of_another_kind_of_token_are_refused() {
    let world = World::new().await;
    let key = world.gh.key();
    for typ in [
        "dpop+jwt",
        "oauth-id-jag+jwt",
        "txntoken+jwt",
        "secevent+jwt",
        "logout+jwt",
        "token-introspection+jwt",
        "rt+jwt",
    ] {
        let header = json!({ "alg": "RS256", "kid": key.kid, "typ": typ });
        world
            .denies(
                &key.sign_with_header(&header, &world.claims().value()),
                "typ_denied",
            )
            .await;
    }
    let answer = world
        .server
        .admin(
            "PATCH",
            "trusted-issuers/github",
            json!({ "types": ["JWT", "at+jwt"] }),
        )
        .await;
    assert_eq!(answer.json()["errors"][0]["pointer"], "/types");
}

#[tokio::test]
async fn wimse_typ_1__a_trusted_issuer_can_narrow_the_accepted_typ_values() {
    let world = World::new().await;
    let key = world.gh.key();
    let typed = |typ: Option<&str>| {
        let mut header = json!({ "alg": "RS256", "kid": key.kid });
        if let Some(typ) = typ {
            header["typ"] = json!(typ);
        }
        key.sign_with_header(&header, &world.claims().value())
    };
    for typ in [
        None,
        Some("JWT"),
        Some("jwt"),
        Some("JOSE"),
        Some("authorization-grant+jwt"),
        Some("application/JWT"),
    ] {
        world.exchange(&typed(typ)).await.token();
    }
    world
        .trust(json!({ "types": ["authorization-grant+jwt"] }))
        .await;
    for typ in [None, Some("JWT"), Some("JOSE")] {
        world
            .exchange(&typed(typ))
            .await
            .refused(400, "invalid_grant", "typ_denied");
    }
    world
        .exchange(&typed(Some("authorization-grant+jwt")))
        .await
        .token();
}

#[tokio::test]
async fn atk_041__our_own_token_is_refused_as_assertion_and_we_cannot_trust_ourselves() {
    let world = World::new().await;
    let token = world.exchange(&world.good()).await.token();
    let answer = world.exchange(&token).await;
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (400, &json!("invalid_grant"))
    );
    // Nor can we be made to trust ourselves.
    let document = json!({ "profile": "generic", "issuer": CARNET });
    let answer = world
        .server
        .admin("PUT", "trusted-issuers/self?validate=offline", document)
        .await;
    assert_eq!(
        (answer.status, &answer.json()["errors"][0]["pointer"]),
        (422, &json!("/issuer")),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn atk_049__platform_tokens_that_describe_no_job_are_refused() {
    let world = World::new().await;
    for text in [
        "ghs_16C7e42F292c6912E7710c838347Ae178B4a",
        "glcbt-64_abcdef",
        "eyJhbGciOiJub25lIn0",
    ] {
        world.denies(text, "assertion_malformed").await;
    }
    // A runner's own token is signed by the platform, and lacks what a job's token has.
    let claims = json!({ "iss": GH, "aud": CARNET, "sub": "runner", "jti": "r", "iat": world.server.now(), "exp": world.server.now() + 60 });
    world
        .denies(&world.gh.key().sign(&claims), "claim_missing")
        .await;
}

#[tokio::test]
async fn fulcio_gh_1__claims_that_every_job_has_are_required() {
    let world = World::new().await;
    for claim in [
        "job_workflow_ref",
        "sha",
        "event_name",
        "repository",
        "workflow",
        "ref",
        "repository_id",
        "repository_owner_id",
        "ref_type",
    ] {
        let answer = world.exchange_claims(&world.claims().without(claim)).await;
        answer.refused(400, "invalid_grant", "claim_missing");
        assert_eq!(answer.json()["claim"], claim);
    }
}

#[tokio::test]
async fn rfc8725_3_8_2__a_repository_without_a_rule_is_refused_though_its_issuer_is_trusted() {
    let world = World::new().await;
    let claims = world
        .claims()
        .in_repository("someone/else")
        .with("repository_id", "9")
        .with("repository_owner_id", "8");
    world.denies_claims(claims, "no_matching_credential").await;
}

#[tokio::test]
async fn rfc8725_3_9_1__the_audience_is_always_required() {
    let world = World::new().await;
    world
        .denies_claims(world.claims().without("aud"), "claim_missing")
        .await;
}

#[tokio::test]
async fn atk_070__an_assertion_for_another_service_is_refused_here_and_ours_elsewhere() {
    let world = World::new().await;
    for aud in ["pypi", "https://www.nuget.org", "crates.io", "sigstore"] {
        world
            .denies_claims(world.claims().with("aud", aud), "aud_mismatch")
            .await;
    }
    // And ours is of no use at another server.
    let other = World::with(&[("CARNET_ISSUER", "https://as2.test")]).await;
    let answer = other.exchange(&world.good()).await;
    assert_eq!(answer.reason(), "aud_mismatch");
    world
        .exchange_with(&world.good(), &[("resource", R1)])
        .await
        .token();
}

#[tokio::test]
async fn atk_044__a_client_assertion_is_refused_wherever_a_grant_assertion_belongs() {
    let world = World::new().await;
    let key = world.gh.key();
    let header = json!({ "alg": "RS256", "kid": key.kid, "typ": "client-authentication+jwt" });
    // Where a client proves itself it belongs, and is taken (the review's L5).
    for carrier in Carrier::ALL
        .into_iter()
        .filter(|carrier| *carrier != Carrier::FederatedClient)
    {
        let answer = carrier
            .present(
                &world.server,
                &key.sign_with_header(&header, &world.claims().value()),
            )
            .await;
        carrier.refused(&answer, "typ_denied");
    }
    world.accepts().await;
}

#[tokio::test]
async fn atk_045__a_dpop_proof_is_refused_as_assertion() {
    let world = World::new().await;
    let key = world.gh.key();
    let header = json!({ "alg": "RS256", "typ": "dpop+jwt", "jwk": key.jwk() });
    let proof = json!({ "htm": "POST", "htu": format!("{CARNET}/token"), "iat": world.server.now(), "jti": "p" });
    world
        .denies(&key.sign_with_header(&header, &proof), "header_denied")
        .await;
    let header = json!({ "alg": "RS256", "kid": key.kid, "typ": "dpop+jwt" });
    world
        .denies(
            &key.sign_with_header(&header, &world.claims().value()),
            "typ_denied",
        )
        .await;
}

#[tokio::test]
async fn atk_048__an_id_token_of_a_person_is_refused() {
    let world = World::new().await;
    let now = world.server.now();
    let person = json!({
        "iss": GH, "aud": CARNET, "sub": "octocat", "jti": "p1", "iat": now, "exp": now + 300, "nonce": "n", "at_hash": "h", "email": "o@example.test",
    });
    world
        .denies(&world.gh.key().sign(&person), "claim_missing")
        .await;
}

#[tokio::test]
async fn rfc8414_4_1__identifiers_are_compared_code_point_by_code_point() {
    let world = World::new().await;
    world
        .trust(json!({ "audiences": ["https://as.test/caf\u{e9}"] }))
        .await;
    world
        .exchange_claims(&world.claims().with("aud", "https://as.test/caf\u{e9}"))
        .await
        .token();
    let decomposed = world
        .exchange_claims(&world.claims().with("aud", "https://as.test/cafe\u{301}"))
        .await;
    decomposed.refused(400, "invalid_grant", "aud_mismatch");
}
