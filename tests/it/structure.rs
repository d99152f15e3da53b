//! JOSE: algorithms, keys and parsing (RFC 7515, 7517, 7519, 8725; checklist 1.7 and attacks 7.1, 7.2).

use std::time::Instant;

use serde_json::{Value, json};

use crate::support::{CARNET, TestKey, World, compact};

/// A token of the platform with another header.
fn with_header(world: &World, change: impl FnOnce(&mut Value)) -> String {
    let mut header = world.gh.key().header();
    change(&mut header);
    world
        .gh
        .key()
        .sign_with_header(&header, &world.claims().value())
}

/// A token of the platform with these payload bytes.
fn with_payload(world: &World, payload: impl AsRef<[u8]>) -> String {
    world.gh.key().sign_raw(
        world.gh.key().header().to_string().as_bytes(),
        payload.as_ref(),
    )
}

/// The payload of a good token as text.
fn payload(world: &World) -> String {
    world.claims().value().to_string()
}

/// A world whose platform publishes these keys beside its own.
async fn publishing(keys: &[Value]) -> World {
    let world = World::new().await;
    let mut all = vec![world.gh.key().jwk()];
    all.extend_from_slice(keys);
    world.gh.publish(&all);
    world
        .trust(json!({ "algorithms": ["RS256", "PS256", "ES256", "ES384", "EdDSA"] }))
        .await;
    world
}

#[tokio::test]
async fn atk_001__tokens_with_alg_none_are_refused() {
    let world = World::new().await;
    let claims = payload(&world);
    world
        .denies(
            &compact(br#"{"alg":"none","typ":"JWT"}"#, claims.as_bytes(), b""),
            "alg_denied",
        )
        .await;
    let signed = with_header(&world, |header| header["alg"] = json!("none"));
    world.denies(&signed, "alg_denied").await;
}

#[tokio::test]
async fn atk_002__tokens_with_alg_none_in_other_spellings_are_refused() {
    let world = World::new().await;
    for alg in ["None", "nOnE", "NONE", "none ", "", "\u{2060}none"] {
        let token = compact(
            json!({ "alg": alg }).to_string().as_bytes(),
            payload(&world).as_bytes(),
            b"",
        );
        world.denies(&token, "alg_denied").await;
    }
}

#[tokio::test]
async fn atk_003__a_public_key_used_as_an_hmac_secret_is_refused() {
    let world = World::new().await;
    let key = world.gh.key();
    let header = json!({ "alg": "HS256", "kid": key.kid, "typ": "JWT" });
    let public = key.key.public_key_to_pem().unwrap();
    let der = key.key.public_key_to_der().unwrap();
    let modulus = key.key.rsa().unwrap().n().to_vec();
    for secret in [public, der, key.jwk().to_string().into_bytes(), modulus] {
        world
            .denies(
                &TestKey::hmac(&secret, &header, &world.claims().value()),
                "alg_denied",
            )
            .await;
    }
    let answer = world
        .server
        .admin(
            "PATCH",
            "trusted-issuers/github",
            json!({ "algorithms": ["HS256"] }),
        )
        .await;
    assert_eq!(answer.json()["errors"][0]["pointer"], "/algorithms");
}

#[tokio::test]
async fn atk_004__a_token_signed_with_an_empty_hmac_secret_is_refused() {
    let world = World::new().await;
    let header = json!({ "alg": "HS256", "kid": "rsa-0" });
    world
        .denies(
            &TestKey::hmac(b"\0", &header, &world.claims().value()),
            "alg_denied",
        )
        .await;
}

#[tokio::test]
async fn atk_005__another_algorithm_of_the_same_key_is_refused() {
    let world = World::new().await;
    let pss = world.gh.key().using("PS256");
    world
        .denies(&pss.sign(&world.claims().value()), "alg_denied")
        .await;
    // Even where it is allowed: each key has one algorithm.
    world
        .trust(json!({ "algorithms": ["RS256", "PS256"] }))
        .await;
    world
        .denies(&pss.sign(&world.claims().value()), "key_unknown")
        .await;
}

#[tokio::test]
async fn atk_006__an_ecdsa_signature_in_der_is_refused() {
    let key = TestKey::ec("ec", "ES256");
    let world = publishing(&[key.jwk()]).await;
    world
        .exchange(&key.sign(&world.claims().value()))
        .await
        .token();
    let token = key.sign(&world.claims().value());
    let input = token.rsplit_once('.').unwrap().0;
    let mut signer =
        openssl::sign::Signer::new(openssl::hash::MessageDigest::sha256(), &key.key).unwrap();
    let der = signer.sign_oneshot_to_vec(input.as_bytes()).unwrap();
    world
        .denies(&rejoin(&token, &der), "signature_invalid")
        .await;
}

/// The token with another signature.
fn rejoin(token: &str, signature: &[u8]) -> String {
    use base64::Engine as _;
    let input = token.rsplit_once('.').unwrap().0;
    format!(
        "{input}.{}",
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(signature)
    )
}

#[tokio::test]
async fn atk_007__ecdsa_signatures_of_zero_or_the_curve_order_are_refused() {
    let key = TestKey::ec("ec", "ES256");
    let world = publishing(&[key.jwk()]).await;
    let token = key.sign(&world.claims().value());
    let good = key.signature(token.rsplit_once('.').unwrap().0.as_bytes());
    let mut order = openssl::bn::BigNum::new().unwrap();
    let mut context = openssl::bn::BigNumContext::new().unwrap();
    key.key
        .ec_key()
        .unwrap()
        .group()
        .order(&mut order, &mut context)
        .unwrap();
    let (zero, order) = ([0u8; 32].to_vec(), order.to_vec_padded(32).unwrap());
    for (r, s) in [
        (&zero, &zero),
        (&order, &order),
        (&zero, &good[32..].to_vec()),
        (&good[..32].to_vec(), &order),
    ] {
        world
            .denies(
                &rejoin(&token, &[r.as_slice(), s].concat()),
                "signature_invalid",
            )
            .await;
    }
}

#[tokio::test]
async fn atk_008__a_used_token_with_its_other_valid_ecdsa_signature_is_a_replay() {
    let key = TestKey::ec("ec", "ES256");
    let world = publishing(&[key.jwk()]).await;
    let token = key.sign(&world.claims().value());
    world.exchange(&token).await.token();
    world
        .exchange(&twin(&key, &token))
        .await
        .refused(400, "invalid_grant", "replay");
    // Also where the token has no id and the hash of its text is remembered.
    world.trust(json!({ "replay": "jti_or_token_hash" })).await;
    let token = key.sign(&world.claims().without("jti").value());
    let twin = twin(&key, &token);
    world.exchange(&token).await.token();
    world
        .exchange(&twin)
        .await
        .refused(400, "invalid_grant", "replay");
}

/// The same token with the other signature that verifies: (r, n - s).
fn twin(key: &TestKey, token: &str) -> String {
    use base64::Engine as _;
    use openssl::bn::{BigNum, BigNumContext};
    let (_, signature) = token.rsplit_once('.').unwrap();
    let signature = base64::engine::general_purpose::URL_SAFE_NO_PAD
        .decode(signature)
        .unwrap();
    let (mut order, mut other) = (BigNum::new().unwrap(), BigNum::new().unwrap());
    key.key
        .ec_key()
        .unwrap()
        .group()
        .order(&mut order, &mut BigNumContext::new().unwrap())
        .unwrap();
    other
        .checked_sub(&order, &BigNum::from_slice(&signature[32..]).unwrap())
        .unwrap();
    rejoin(
        token,
        &[&signature[..32], &other.to_vec_padded(32).unwrap()].concat(),
    )
}

#[tokio::test]
async fn atk_009__a_signature_on_another_curve_is_refused() {
    let (p256, p384) = (TestKey::ec("p256", "ES256"), TestKey::ec("p384", "ES384"));
    let world = publishing(&[p256.jwk(), p384.jwk()]).await;
    let header = json!({ "alg": "ES256", "kid": "p384", "typ": "JWT" });
    world
        .denies(
            &p384.sign_with_header(&header, &world.claims().value()),
            "key_unknown",
        )
        .await;
    let header = json!({ "alg": "ES256", "kid": "p256", "typ": "JWT" });
    world
        .denies(
            &p384.sign_with_header(&header, &world.claims().value()),
            "signature_invalid",
        )
        .await;
}

#[tokio::test]
async fn atk_010__broken_signatures_are_refused() {
    let world = World::new().await;
    let token = world.good();
    let (input, _) = token.rsplit_once('.').unwrap();
    let good = world.gh.key().signature(input.as_bytes());
    let mut longer = good.clone();
    longer.push(0);
    for signature in [
        Vec::new(),
        good[..255].to_vec(),
        longer,
        vec![0; 256],
        good.iter().rev().copied().collect(),
    ] {
        world
            .denies(&rejoin(&token, &signature), "signature_invalid")
            .await;
    }
    world.denies(input, "assertion_malformed").await;
}

#[tokio::test]
async fn atk_011__a_key_in_the_header_is_refused() {
    let world = World::new().await;
    let attacker = TestKey::rsa(3);
    for kid in ["rsa-3", "rsa-0"] {
        let header = json!({ "alg": "RS256", "kid": kid, "jwk": attacker.jwk() });
        world
            .denies(
                &attacker.sign_with_header(&header, &world.claims().value()),
                "header_denied",
            )
            .await;
    }
}

#[tokio::test]
async fn atk_012__a_link_to_keys_is_refused_and_not_followed() {
    let world = World::new().await;
    for jku in [
        "https://evil.test/jwks",
        "https://ci.test/redirect?to=https://evil.test/jwks",
    ] {
        world
            .denies(
                &with_header(&world, |header| header["jku"] = json!(jku)),
                "header_denied",
            )
            .await;
    }
    assert!(
        world
            .server
            .network
            .fetched()
            .iter()
            .all(|url| !url.contains("evil") && !url.contains("redirect"))
    );
}

#[tokio::test]
async fn atk_013__certificates_in_the_header_select_no_key() {
    let world = World::new().await;
    for (name, value) in [
        ("x5u", json!("https://evil.test/cert")),
        ("x5c", json!(["MIIB"])),
    ] {
        world
            .denies(
                &with_header(&world, |header| header[name] = value),
                "header_denied",
            )
            .await;
    }
    // Every GitHub token carries x5t, so it is ignored (architecture.md overrules D-31 here), and never used.
    world
        .exchange(&with_header(&world, |header| header["x5t"] = json!("AAAA")))
        .await
        .token();
    let attacker = TestKey::rsa(3);
    let header = json!({ "alg": "RS256", "kid": "rsa-0", "x5t": "rsa-3", "x5t#S256": "rsa-3" });
    world
        .denies(
            &attacker.sign_with_header(&header, &world.claims().value()),
            "signature_invalid",
        )
        .await;
}

#[tokio::test]
async fn rfc7515_4_1_2_1__header_parameters_never_select_a_key() {
    let world = World::new().await;
    for name in ["jku", "jwk", "x5u", "x5c"] {
        let token = with_header(&world, |header| header[name] = json!("https://evil.test/"));
        world.denies(&token, "header_denied").await;
    }
}

#[tokio::test]
async fn rfc8725_3_10_2__urls_from_tokens_are_not_fetched() {
    let world = World::new().await;
    let before = world.server.network.fetched().len();
    world
        .exchange_claims(&world.claims().with("iss", "https://evil.test"))
        .await;
    world
        .exchange(&with_header(&world, |header| {
            header["jku"] = json!("https://evil.test/jwks");
        }))
        .await;
    let fetched = world.server.network.fetched();
    assert!(
        fetched[before..]
            .iter()
            .all(|url| url.starts_with("https://ci.test/")),
        "{fetched:?}"
    );
}

#[tokio::test]
async fn atk_014__an_unknown_kid_costs_one_fetch() {
    let world = World::new().await;
    world.accepts().await;
    world.server.clock.advance(31);
    let before = world.gh.key_fetches();
    for n in 0..20 {
        let token = with_header(&world, |header| {
            header["kid"] = json!(format!("unknown-{n}"));
        });
        world
            .exchange(&token)
            .await
            .refused(400, "invalid_grant", "key_unknown");
    }
    assert_eq!(world.gh.key_fetches() - before, 1);
}

#[tokio::test]
async fn atk_015__tokens_with_hostile_key_ids_are_refused() {
    let world = World::new().await;
    for kid in [
        "../../dev/null",
        "' OR 1=1--",
        "%00",
        "$(id)",
        "\u{0}",
        "\r\nx: y",
    ] {
        let answer = world
            .exchange(&with_header(&world, |header| header["kid"] = json!(kid)))
            .await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (400, &json!("invalid_grant")),
            "{kid}"
        );
    }
    let long = "k".repeat(1 << 20);
    for kid in [json!(7), json!({}), json!(["a"]), json!("k".repeat(257))] {
        world
            .denies(
                &with_header(&world, |header| header["kid"] = kid.clone()),
                "assertion_malformed",
            )
            .await;
    }
    let answer = world
        .exchange(&with_header(&world, |header| header["kid"] = json!(long)))
        .await;
    assert_eq!(answer.status, 413);
}

#[tokio::test]
async fn atk_016__another_issuers_key_is_refused() {
    let world = World::new().await;
    let other = crate::support::FakeIssuer::new("https://other.test", TestKey::rsa(4));
    world.server.network.add(&other);
    world
        .server
        .put(
            "trusted-issuers/other",
            json!({ "profile": "generic", "issuer": "https://other.test" }),
        )
        .await;
    world
        .denies(&other.sign(&world.claims()), "key_unknown")
        .await;
}

#[tokio::test]
async fn atk_017__a_token_without_a_key_id_is_refused_where_several_keys_exist() {
    let second = TestKey::rsa(5);
    let world = publishing(&[second.jwk()]).await;
    let header = json!({ "alg": "RS256", "typ": "JWT" });
    for key in [world.gh.key(), second] {
        world
            .denies(
                &key.sign_with_header(&header, &world.claims().value()),
                "key_unknown",
            )
            .await;
    }
    let alone = World::new().await;
    alone
        .exchange(
            &alone
                .gh
                .key()
                .sign_with_header(&header, &alone.claims().value()),
        )
        .await
        .token();
}

#[tokio::test]
async fn atk_018__neither_of_two_keys_with_the_same_key_id_is_used() {
    let (one, two) = (
        TestKey::rsa(5).named("twice"),
        TestKey::rsa(6).named("twice"),
    );
    let world = publishing(&[one.jwk(), two.jwk()]).await;
    for key in [one, two] {
        world
            .denies(&key.sign(&world.claims().value()), "key_unknown")
            .await;
    }
}

#[tokio::test]
async fn atk_019__keys_for_encryption_or_another_algorithm_are_not_used() {
    let key = TestKey::rsa(5);
    let changed = |name: &str, value: Value| {
        let mut jwk = key.jwk();
        jwk[name] = value;
        jwk
    };
    for jwk in [
        changed("use", json!("enc")),
        changed("key_ops", json!(["encrypt"])),
        changed("alg", json!("ES256")),
        changed("alg", json!("RSA-OAEP")),
    ] {
        let world = publishing(&[jwk]).await;
        world
            .denies(&key.sign(&world.claims().value()), "key_unknown")
            .await;
    }
    let world = publishing(&[changed("key_ops", json!(["verify"]))]).await;
    world
        .exchange(&key.sign(&world.claims().value()))
        .await
        .token();
}

#[tokio::test]
async fn rfc7517_4_1__the_use_of_a_key_is_respected() {
    let key = TestKey::rsa(5);
    let mut good = key.jwk();
    good.as_object_mut().unwrap().remove("use");
    good["key_ops"] = json!(["verify"]);
    let world = publishing(&[good]).await;
    world
        .exchange(&key.sign(&world.claims().value()))
        .await
        .token();
    let mut encryption = key.jwk();
    encryption["use"] = json!("enc");
    let world = publishing(&[encryption]).await;
    world
        .denies(&key.sign(&world.claims().value()), "key_unknown")
        .await;
}

#[tokio::test]
async fn atk_020__weak_and_broken_keys_are_not_used() {
    let small = TestKey::small_rsa();
    let rsa = TestKey::rsa(5);
    let ec = TestKey::ec("ec", "ES256");
    let mut exponent = rsa.jwk();
    exponent["e"] = json!("AQ");
    let mut even = rsa.jwk();
    let mut modulus = rsa.key.rsa().unwrap().n().to_vec();
    *modulus.last_mut().unwrap() &= 0xfe;
    even["n"] = json!(carnet_jose::base64url(modulus));
    let mut off = ec.jwk();
    off["y"] = off["x"].clone();
    let low = json!({ "kty": "OKP", "crv": "Ed25519", "kid": "low", "x": carnet_jose::base64url([0u8; 32]) });
    let broken = [
        (small.jwk(), small.sign(&json!({}))),
        (exponent, String::new()),
        (even, String::new()),
        (off, String::new()),
        (low, String::new()),
    ];
    for (jwk, _) in broken {
        let kid = jwk["kid"].clone();
        let world = publishing(std::slice::from_ref(&jwk)).await;
        for key in [&small, &rsa, &ec] {
            let header = json!({ "alg": key.algorithm, "kid": kid, "typ": "JWT" });
            world
                .denies(
                    &key.sign_with_header(&header, &world.claims().value()),
                    "key_unknown",
                )
                .await;
        }
    }
}

#[tokio::test]
async fn rfc8725_3_4_1__a_key_whose_point_is_not_on_the_curve_is_not_used() {
    let ec = TestKey::ec("ec", "ES256");
    let mut off = ec.jwk();
    off["y"] = off["x"].clone();
    let world = publishing(&[off]).await;
    world
        .denies(&ec.sign(&world.claims().value()), "key_unknown")
        .await;
}

#[tokio::test]
async fn atk_021__secrets_in_a_key_set_are_ignored() {
    let secret = b"0123456789abcdef0123456789abcdef";
    let world = publishing(&[
        json!({ "kty": "oct", "kid": "oct", "k": carnet_jose::base64url(secret), "alg": "HS256" }),
    ])
    .await;
    let header = json!({ "alg": "HS256", "kid": "oct" });
    world
        .denies(
            &TestKey::hmac(secret, &header, &world.claims().value()),
            "alg_denied",
        )
        .await;
    let header = json!({ "alg": "RS256", "kid": "oct" });
    world
        .denies(
            &world
                .gh
                .key()
                .sign_with_header(&header, &world.claims().value()),
            "key_unknown",
        )
        .await;
}

#[tokio::test]
async fn rfc7517_5_1__odd_keys_are_skipped_and_the_others_used() {
    let world = publishing(&[
        json!({ "kty": "OKP2", "kid": "x" }),
        json!({ "kty": "RSA", "kid": "y", "e": "AQAB" }),
        json!({ "kid": 5 }),
        json!({}),
        json!("text"),
    ])
    .await;
    world.accepts().await;
}

#[tokio::test]
async fn rfc8725_3_1_1__the_algorithm_is_compared_exactly_and_first() {
    let world = World::new().await;
    for alg in ["rs256", "RS256 ", "noNE", "Rs256"] {
        let token = with_header(&world, |header| {
            header["alg"] = json!(alg);
            header["kid"] = json!("unknown");
        });
        let before = world.gh.key_fetches();
        world
            .exchange(&token)
            .await
            .refused(400, "invalid_grant", "alg_denied");
        assert_eq!(world.gh.key_fetches(), before);
    }
}

#[tokio::test]
async fn rfc8725bis_3_1_1__algorithms_that_are_not_listed_are_refused() {
    let world = World::new().await;
    for alg in ["RS384", "RS512", "ES256", "EdDSA", "HS256", "RSA1_5"] {
        world
            .denies(
                &with_header(&world, |header| header["alg"] = json!(alg)),
                "alg_denied",
            )
            .await;
    }
}

#[tokio::test]
async fn rfc8725_3_1_2__the_algorithm_has_to_fit_the_key() {
    let world = publishing(&[TestKey::ec("ec", "ES256").jwk()]).await;
    let header = json!({ "alg": "ES256", "kid": "rsa-0" });
    world
        .denies(
            &world
                .gh
                .key()
                .sign_with_header(&header, &world.claims().value()),
            "key_unknown",
        )
        .await;
    let header = json!({ "alg": "RS256", "kid": "ec" });
    world
        .denies(
            &world
                .gh
                .key()
                .sign_with_header(&header, &world.claims().value()),
            "key_unknown",
        )
        .await;
}

#[tokio::test]
async fn rfc8725_3_2_1__current_algorithms_are_accepted_and_small_rsa_keys_are_not() {
    let keys = [
        TestKey::rsa(1).named("rs384").using("RS384"),
        TestKey::rsa(1).named("rs512").using("RS512"),
        TestKey::rsa(1).named("ps256").using("PS256"),
        TestKey::rsa(1).named("ps384").using("PS384"),
        TestKey::rsa(1).named("ps512").using("PS512"),
        TestKey::ec("es256", "ES256"),
        TestKey::ec("es384", "ES384"),
        TestKey::ec("es512", "ES512"),
        TestKey::ed25519("eddsa"),
        TestKey {
            algorithm: "Ed25519",
            ..TestKey::ed25519("ed25519")
        },
    ];
    let world = World::new().await;
    world.gh.publish(
        &keys
            .iter()
            .map(TestKey::jwk)
            .chain([TestKey::small_rsa().jwk()])
            .collect::<Vec<_>>(),
    );
    let all = [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
    ];
    world.trust(json!({ "algorithms": all })).await;
    for key in &keys {
        let answer = world.exchange(&key.sign(&world.claims().value())).await;
        assert_eq!(answer.status, 200, "{}: {}", key.algorithm, answer.text());
    }
    let small = TestKey::small_rsa();
    world
        .exchange(&small.sign(&world.claims().value()))
        .await
        .refused(400, "invalid_grant", "key_unknown");
}

#[tokio::test]
async fn rfc8725_3_3_1__a_token_whose_signature_is_not_valid_is_refused() {
    let world = World::new().await;
    let token = world.good();
    world
        .denies(&rejoin(&token, b"x"), "signature_invalid")
        .await;
}

#[tokio::test]
async fn rfc8725_3_8_1__the_key_belongs_to_the_issuer_of_the_token() {
    let world = World::new().await;
    let other =
        crate::support::FakeIssuer::new("https://other.test", TestKey::rsa(4).named("rsa-0"));
    world.server.network.add(&other);
    world
        .server
        .put(
            "trusted-issuers/other",
            json!({ "profile": "generic", "issuer": "https://other.test" }),
        )
        .await;
    world
        .denies(&other.sign(&world.claims()), "signature_invalid")
        .await;
    world
        .exchange(
            &world
                .gh
                .key()
                .sign(&world.claims().with("iss", "https://other.test").value()),
        )
        .await
        .refused(400, "invalid_grant", "signature_invalid");
}

#[tokio::test]
async fn atk_023__critical_headers_are_refused() {
    let world = World::new().await;
    for crit in [
        json!(["exp"]),
        json!([]),
        json!("exp"),
        json!(["x"]),
        json!(["b64"]),
        json!(["alg"]),
        json!([7]),
    ] {
        let token = with_header(&world, |header| {
            header["crit"] = crit.clone();
            header["b64"] = json!(false);
            header["x"] = json!(1);
        });
        world.denies(&token, "header_denied").await;
    }
}

#[tokio::test]
async fn rfc7515_4_1_11_1__tokens_with_critical_header_parameters_are_refused() {
    let world = World::new().await;
    for crit in [
        json!(["exp"]),
        json!([]),
        json!("exp"),
        json!(["absent"]),
        json!(["alg"]),
    ] {
        world
            .denies(
                &with_header(&world, |header| header["crit"] = crit),
                "header_denied",
            )
            .await;
    }
}

#[tokio::test]
async fn atk_024__a_doubled_header_member_is_refused() {
    let world = World::new().await;
    let key = world.gh.key();
    for header in [
        r#"{"alg":"RS256","alg":"none","kid":"rsa-0"}"#,
        r#"{"alg":"none","alg":"RS256","kid":"rsa-0"}"#,
        r#"{"alg":"RS256","kid":"rsa-0","kid":"rsa-0"}"#,
    ] {
        world
            .denies(
                &key.sign_raw(header.as_bytes(), payload(&world).as_bytes()),
                "claim_duplicate",
            )
            .await;
    }
}

#[tokio::test]
async fn rfc7515_4_1__a_repeated_header_member_is_refused() {
    let world = World::new().await;
    let header = r#"{"alg":"RS256","typ":"JWT","kid":"rsa-0","typ":"JWT"}"#;
    world
        .denies(
            &world
                .gh
                .key()
                .sign_raw(header.as_bytes(), payload(&world).as_bytes()),
            "claim_duplicate",
        )
        .await;
}

#[tokio::test]
async fn atk_025__a_doubled_claim_is_refused_in_both_orders() {
    let world = World::new().await;
    for (name, bad) in [
        ("aud", "\"x\""),
        ("iss", "\"https://evil.test\""),
        ("sub", "\"y\""),
        ("exp", "1"),
    ] {
        let good = payload(&world);
        let first = good.replacen('{', &format!("{{\"{name}\":{bad},"), 1);
        let last = format!("{},\"{name}\":{bad}}}", &good[..good.len() - 1]);
        for text in [first, last] {
            world
                .denies(&with_payload(&world, text), "claim_duplicate")
                .await;
        }
    }
}

#[tokio::test]
async fn rfc7519_4_1__repeated_claims_are_refused_at_any_depth() {
    let world = World::new().await;
    let good = payload(&world);
    for extra in [
        r#""aud":"https://as.test""#,
        r#""kubernetes.io":{"namespace":"a","namespace":"b"}"#,
        r#""x":[{"a":1,"a":1}]"#,
    ] {
        let text = format!("{},{extra}}}", &good[..good.len() - 1]);
        world
            .denies(&with_payload(&world, text), "claim_duplicate")
            .await;
    }
}

#[tokio::test]
async fn atk_026__a_claim_repeated_under_an_escaped_name_is_refused() {
    let world = World::new().await;
    let good = payload(&world);
    let text = format!(
        "{},\"a\\u0075d\":\"https://as.test\"}}",
        &good[..good.len() - 1]
    );
    world
        .denies(&with_payload(&world, text), "claim_duplicate")
        .await;
}

#[tokio::test]
async fn atk_027__a_member_repeated_inside_a_claim_is_refused() {
    let world = World::new().await;
    let good = payload(&world);
    let text = format!(
        "{},\"kubernetes.io\":{{\"namespace\":\"a\",\"namespace\":\"a\"}}}}",
        &good[..good.len() - 1]
    );
    world
        .denies(&with_payload(&world, text), "claim_duplicate")
        .await;
}

#[tokio::test]
async fn atk_028__claims_that_are_not_one_json_text_in_utf8_are_refused() {
    let world = World::new().await;
    let good = payload(&world);
    let utf16: Vec<u8> = good.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut invalid = good.clone().into_bytes();
    let at = good.find("octo-org").unwrap();
    invalid[at] = 0xff;
    let texts = [
        format!("{good}ABCD").into_bytes(),
        format!("{good}{{}}").into_bytes(),
        format!("\u{feff}{good}").into_bytes(),
        good.replace("octo-org", "\\ud800").into_bytes(),
        good.replace("octo-org", "\\ud800\\u0041").into_bytes(),
        utf16,
        invalid,
    ];
    for text in texts {
        world
            .denies(&with_payload(&world, text), "assertion_malformed")
            .await;
    }
}

#[tokio::test]
async fn rfc7515_5_2_3__headers_and_claims_that_are_not_one_json_object_are_refused() {
    let world = World::new().await;
    let good = payload(&world);
    let open = &good[..good.len() - 1];
    for text in [
        format!("{good} x"),
        format!("{open},}}"),
        format!("{open},\"x\":NaN}}"),
        format!("/**/{good}"),
        format!("{open},\"x\":01}}"),
        format!("{open},'x':1}}"),
    ] {
        world
            .denies(&with_payload(&world, text), "assertion_malformed")
            .await;
    }
    for header in [
        "{\"alg\":\"RS256\",\"kid\":\"rsa-0\"}x",
        "[]",
        "\"RS256\"",
        "{}",
        "{\"alg\":7}",
    ] {
        world
            .denies(
                &world.gh.key().sign_raw(header.as_bytes(), good.as_bytes()),
                "assertion_malformed",
            )
            .await;
    }
}

#[tokio::test]
async fn atk_029__control_characters_in_claims_are_refused() {
    let world = World::new().await;
    for text in ["a\u{0}", "a\nb", "\u{7f}", "a\u{85}"] {
        world
            .denies_claims(world.claims().with("sub", text), "claim_malformed")
            .await;
        world
            .denies_claims(world.claims().with("jti", text), "claim_malformed")
            .await;
        let answer = world
            .exchange_claims(
                &world
                    .claims()
                    .with("repository", format!("octo-org/octo-repo{text}")),
            )
            .await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (400, &json!("invalid_grant"))
        );
    }
}

#[tokio::test]
async fn atk_030__deeply_nested_json_is_refused_at_once() {
    let world = World::new().await;
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(6000), "]".repeat(6000));
    let token = with_payload(&world, deep);
    let start = Instant::now();
    world
        .exchange(&token)
        .await
        .refused(400, "invalid_grant", "assertion_malformed");
    assert!(start.elapsed().as_secs() < 2);
    let good = payload(&world);
    let nested = |depth: usize| {
        let value = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        with_payload(
            &world,
            format!("{},\"x\":{value}}}", &good[..good.len() - 1]),
        )
    };
    world
        .exchange(&nested(100))
        .await
        .refused(400, "invalid_grant", "assertion_malformed");
    world.exchange(&nested(99)).await.token();
}

#[tokio::test]
async fn atk_031__large_tokens_are_refused() {
    let world = World::new().await;
    let huge = world
        .gh
        .sign(&world.claims().with("x", "x".repeat(1 << 20)));
    world
        .exchange(&huge)
        .await
        .refused(413, "invalid_request", "body_too_large");
    // What nothing reads counts by the size of the whole token alone.
    let wide = |members: usize| {
        (0..members).fold(world.claims(), |claims, n| claims.with(&format!("m{n}"), n))
    };
    world.exchange_claims(&wide(300)).await.token();
    world.denies_claims(wide(1500), "assertion_malformed").await;
    let long = |bytes: usize| world.claims().with("x", "x".repeat(bytes));
    world.exchange_claims(&long(4097)).await.token();
    world
        .denies_claims(long(12 * 1024), "assertion_malformed")
        .await;
    world
        .denies(
            &with_header(&world, |header| header["x"] = json!("x".repeat(4096))),
            "assertion_malformed",
        )
        .await;
}

#[tokio::test]
async fn atk_032__encrypted_and_nested_tokens_are_refused() {
    let world = World::new().await;
    let header = carnet_jose::base64url(br#"{"alg":"RSA-OAEP","enc":"A256GCM","zip":"DEF"}"#);
    world
        .denies(&format!("{header}.a.b.c.d"), "assertion_malformed")
        .await;
    for change in [
        ("zip", "DEF"),
        ("enc", "A256GCM"),
        ("cty", "JWT"),
        ("cty", "jwt"),
    ] {
        world
            .denies(
                &with_header(&world, |header| header[change.0] = json!(change.1)),
                "header_denied",
            )
            .await;
    }
}

#[tokio::test]
async fn rfc7519_5_2_1__nested_and_encrypted_jwts_are_refused() {
    let world = World::new().await;
    world
        .denies(
            &with_header(&world, |header| header["cty"] = json!("JWT")),
            "header_denied",
        )
        .await;
    world.denies("a.b.c.d.e", "assertion_malformed").await;
}

#[tokio::test]
async fn atk_033__password_based_encryption_is_never_tried() {
    let world = World::new().await;
    let header = json!({ "alg": "PBES2-HS512+A256KW", "enc": "A256GCM", "p2c": 2_147_483_647u32, "p2s": "AAAA", "kid": "rsa-0" });
    let start = Instant::now();
    let answer = world
        .exchange(
            &world
                .gh
                .key()
                .sign_with_header(&header, &world.claims().value()),
        )
        .await;
    assert_eq!(
        (answer.status, &answer.json()["error"]),
        (400, &json!("invalid_grant"))
    );
    assert!(start.elapsed().as_secs() < 2);
}

#[tokio::test]
async fn rfc8725bis_3_13_1__headers_for_key_derivation_or_decompression_are_refused() {
    let world = World::new().await;
    for change in [
        json!({ "p2c": 2_147_483_647u32, "alg": "PBES2-HS256+A128KW" }),
        json!({ "zip": "DEF" }),
    ] {
        let token = with_header(&world, |header| {
            header
                .as_object_mut()
                .unwrap()
                .extend(change.as_object().unwrap().clone());
        });
        let answer = world.exchange(&token).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (400, &json!("invalid_grant"))
        );
    }
}

#[tokio::test]
async fn atk_034__json_serialisations_are_refused() {
    let world = World::new().await;
    let token = world.good();
    let parts: Vec<&str> = token.split('.').collect();
    for text in [
        json!({ "protected": parts[0], "payload": parts[1], "signature": parts[2] }).to_string(),
        json!({ "payload": parts[1], "signatures": [{ "protected": parts[0], "signature": parts[2] }] }).to_string(),
        json!({ "token": token }).to_string(),
        json!(token).to_string(),
    ] {
        world.denies(&text, "assertion_malformed").await;
    }
}

#[tokio::test]
async fn rfc8725bis_3_14_1__tokens_with_characters_outside_the_compact_form_are_refused() {
    let world = World::new().await;
    let token = world.good();
    for text in [
        format!("{{\"payload\":\"{token}\"}}"),
        format!("{token}\u{e9}"),
        format!("~{token}"),
        token.replacen('.', "/", 1),
    ] {
        world.denies(&text, "assertion_malformed").await;
    }
}

#[tokio::test]
async fn atk_035__other_base64url_spellings_of_a_token_are_refused() {
    let world = World::new().await;
    let token = world.good();
    let (input, signature) = token.rsplit_once('.').unwrap();
    for text in [
        format!("{token}="),
        format!("{token}=="),
        format!("{input}.{}+{}", &signature[..5], &signature[6..]),
        format!("{input}.{}/{}", &signature[..5], &signature[6..]),
        trailing_bits(&token),
    ] {
        world.denies(&text, "assertion_malformed").await;
    }
    for space in ["\n", " "] {
        let text = format!("{input}.{}{space}{}", &signature[..5], &signature[5..]);
        world.denies(&text, "assertion_whitespace").await;
    }
    world.exchange(&token).await.token();
}

/// The token with unused bits of its last character set.
fn trailing_bits(token: &str) -> String {
    // 256 bytes leave four unused bits in the last character.
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = token.split_at(token.len() - 1);
    let value = ALPHABET
        .iter()
        .position(|byte| [*byte] == *last.as_bytes())
        .unwrap();
    format!("{rest}{}", char::from(ALPHABET[value | 1]))
}

#[tokio::test]
async fn rfc7515_5_2_1__characters_outside_base64url_are_refused() {
    let world = World::new().await;
    let token = world.good();
    for (character, reason) in [
        ("=", "assertion_malformed"),
        ("+", "assertion_malformed"),
        ("/", "assertion_malformed"),
        ("\r\n", "assertion_whitespace"),
        (" ", "assertion_whitespace"),
    ] {
        let at = token.find('.').unwrap() + 10;
        let text = format!("{}{character}{}", &token[..at], &token[at..]);
        world.denies(&text, reason).await;
    }
}

#[tokio::test]
async fn rfc7515_5_2_2__a_token_with_unused_base64url_bits_set_is_refused() {
    let world = World::new().await;
    let token = world.good();
    world
        .denies(&trailing_bits(&token), "assertion_malformed")
        .await;
    world.exchange(&token).await.token();
    world.exchange(&trailing_bits(&token)).await.refused(
        400,
        "invalid_grant",
        "assertion_malformed",
    );
}

#[tokio::test]
async fn atk_036__tokens_that_are_not_three_nonempty_parts_are_refused() {
    let world = World::new().await;
    let token = world.good();
    let parts: Vec<&str> = token.split('.').collect();
    for text in [
        format!("{token}."),
        format!("{token}.x"),
        format!("{}.{}", parts[0], parts[1]),
        format!(".{}.{}", parts[1], parts[2]),
        format!("{}..{}", parts[0], parts[2]),
        "...".to_owned(),
        ".".to_owned(),
    ] {
        world.denies(&text, "assertion_malformed").await;
    }
}

#[tokio::test]
async fn atk_037__a_payload_that_is_not_a_json_object_is_refused() {
    let world = World::new().await;
    for text in ["[]", "\"text\"", "7", "null", "true", ""] {
        world
            .denies(&with_payload(&world, text), "assertion_malformed")
            .await;
    }
}

#[tokio::test]
async fn atk_038__claims_named_like_javascript_internals_are_accepted_without_effect() {
    let world = World::new().await;
    let claims = world
        .claims()
        .with("__proto__", json!({ "admin": true }))
        .with("constructor", "x")
        .with("toString", 1);
    world.exchange_claims(&claims).await.token();
}

#[tokio::test]
async fn atk_039__claim_names_that_look_like_aud_do_not_count_as_aud() {
    let world = World::new().await;
    for name in ["aud ", " aud", "\u{430}ud", "AUD", "aud\u{200b}"] {
        world
            .denies_claims(
                world.claims().without("aud").with(name, CARNET),
                "claim_missing",
            )
            .await;
    }
}

#[tokio::test]
async fn rfc7515_4_1_9_1__typ_is_compared_as_a_media_type() {
    let world = World::new().await;
    for typ in ["JWT", "jwt", "application/jwt", "Application/JWT"] {
        world
            .exchange(&with_header(&world, |header| header["typ"] = json!(typ)))
            .await
            .token();
    }
    for typ in [json!("jwt2"), json!("text/jwt"), json!("")] {
        world
            .denies(
                &with_header(&world, |header| header["typ"] = typ),
                "typ_denied",
            )
            .await;
    }
    world
        .denies(
            &with_header(&world, |header| header["typ"] = json!(7)),
            "assertion_malformed",
        )
        .await;
}

#[tokio::test]
async fn rfc7519_4_1_4_1__times_that_are_not_numbers_are_refused() {
    let world = World::new().await;
    for value in [json!("1700000000"), json!(true)] {
        for name in ["exp", "nbf", "iat"] {
            world
                .denies_claims(world.claims().with(name, value.clone()), "claim_type")
                .await;
        }
    }
}

#[tokio::test]
async fn rfc8725_3_10_1__hostile_texts_in_claims_are_kept_as_plain_text() {
    let world = World::new().await;
    for text in [
        "'; DROP TABLE principal; --",
        "${jndi:ldap://evil.test}",
        "%s%n",
        "../../etc/passwd",
        "<script>alert(1)</script>",
    ] {
        let claims = world
            .claims()
            .with("run_id", text)
            .with("actor", text)
            .with("sub", text);
        let token = world.exchange_claims(&claims).await.token();
        assert_eq!(super::assertion::payload(&token)["workload"]["sub"], text);
        let answer = world
            .exchange(&with_header(&world, |header| header["kid"] = json!(text)))
            .await;
        assert_eq!(answer.reason(), "key_unknown");
    }
    assert_eq!(world.server.get("/readyz").await.status, 200);
    let principals = world
        .server
        .admin("GET", "principals", Value::Null)
        .await
        .json();
    assert_eq!(principals["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn rfc8725_3_12_1__each_kind_of_token_is_refused_in_the_place_of_another() {
    let world = World::new().await;
    let token = world.exchange(&world.good()).await.token();
    let admin = world.server.admin_token("admin");
    for ours in [&token, &admin] {
        let answer = world.exchange(ours).await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (400, &json!("invalid_grant"))
        );
    }
    for other in [&token, &world.good()] {
        let request = axum::http::Request::get("/admin/v1/principals")
            .header("authorization", format!("Bearer {other}"));
        let answer = world
            .server
            .send(request.body(axum::body::Body::empty()).unwrap())
            .await;
        assert_eq!(answer.status, 401, "{}", answer.text());
    }
}

#[tokio::test]
async fn rfc8725_3_11_1__issued_tokens_have_the_type_at_jwt() {
    let world = World::new().await;
    let token = world.exchange(&world.good()).await.token();
    let header = token.split('.').next().unwrap();
    let header: Value =
        serde_json::from_slice(&carnet_jose::from_base64url(header).unwrap()).unwrap();
    assert_eq!(header["typ"], "at+jwt");
}

#[tokio::test]
async fn atk_031__many_small_json_values_are_refused_by_the_size_of_the_token() {
    let world = World::new().await;
    let good = payload(&world);
    let filler = |count: usize| vec!["{}"; count].join(",");
    let with = |count: usize| {
        format!(
            "{},\"x\":[{}],\"y\":[{}]}}",
            &good[..good.len() - 1],
            filler(250),
            filler(count)
        )
    };
    let start = Instant::now();
    world
        .exchange(&with_payload(&world, with(3000)))
        .await
        .token();
    world
        .exchange(&with_payload(&world, with(4500)))
        .await
        .refused(400, "invalid_grant", "assertion_malformed");
    assert!(start.elapsed().as_secs() < 2);
}
