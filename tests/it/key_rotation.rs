//! Keys of platforms that change or are published oddly: rotation under an old `kid`, keys listed
//! twice, byte order marks, and messages that say what is wrong.

use carnet::clock::Clock as _;
use serde_json::{Value, json};

use crate::support::{Answer, GH, TestKey, World};

/// Another key with the `kid` of the platform's first one.
fn twin() -> TestKey {
    TestKey {
        kid: "rsa-0".to_owned(),
        ..TestKey::rsa(1)
    }
}

async fn refresh(world: &World) -> Answer {
    world
        .server
        .admin("POST", "trusted-issuers/github/refresh-keys", Value::Null)
        .await
}

#[tokio::test]
async fn pub_k4__a_new_key_under_the_old_kid_is_found_by_the_signature_that_fails() {
    let world = World::new().await;
    world.gh.cache_control("max-age=86400");
    world.accepts().await;
    let old = world.gh.key();
    world.server.clock.advance(31);
    world.gh.rotate(twin());
    let before = world.gh.key_fetches();
    world.accepts().await;
    assert_eq!(world.gh.key_fetches() - before, 1);
    // What the old key signed is a wrong signature now, and causes no fetch within 30 seconds.
    for _ in 0..20 {
        world
            .exchange(&old.sign(&world.claims().value()))
            .await
            .refused(400, "invalid_grant", "signature_invalid");
    }
    assert_eq!(world.gh.key_fetches() - before, 1);
    world.accepts().await;
}

#[tokio::test]
async fn pub_k4__a_new_key_of_another_kind_under_the_old_kid_is_looked_for_like_an_unknown_kid() {
    let world = World::new().await;
    let issuer =
        json!({ "profile": "github-actions", "issuer": GH, "algorithms": ["RS256", "ES256"] });
    world.server.put("trusted-issuers/github", issuer).await;
    world.gh.cache_control("max-age=86400");
    world.accepts().await;
    world.server.clock.advance(31);
    world.gh.rotate(TestKey::ec("rsa-0", "ES256"));
    let before = world.gh.key_fetches();
    world.accepts().await;
    assert_eq!(world.gh.key_fetches() - before, 1);
    // Within the cool-down it is not known whether the key exists.
    world.server.clock.advance(10);
    world.gh.rotate(TestKey::rsa(0));
    let answer = world.exchange(&world.good()).await;
    answer.refused(503, "temporarily_unavailable", "keys_unavailable");
}

#[tokio::test]
async fn pub_k4__wrong_signatures_cost_one_fetch_in_thirty_seconds_and_hinder_no_good_token() {
    let world = World::new().await;
    world.accepts().await;
    let forger = twin();
    let before = world.gh.key_fetches();
    for round in 1..=3 {
        world.server.clock.advance(31);
        for _ in 0..10 {
            world
                .exchange(&forger.sign(&world.claims().value()))
                .await
                .refused(400, "invalid_grant", "signature_invalid");
            world.accepts().await;
        }
        assert_eq!(world.gh.key_fetches() - before, round);
    }
    // While the platform cannot be reached, a wrong signature is still wrong, and a good one good.
    world.gh.answer(500);
    world.server.clock.advance(31);
    world
        .exchange(&forger.sign(&world.claims().value()))
        .await
        .refused(400, "invalid_grant", "signature_invalid");
    world.accepts().await;
}

#[tokio::test]
async fn pub_k4__an_unknown_kid_within_the_cool_down_is_a_later_and_no_final_no() {
    let world = World::new().await;
    world.accepts().await;
    world.server.clock.advance(10);
    world.gh.rotate(TestKey::rsa(1));
    let answer = world.exchange(&world.good()).await;
    answer.refused(503, "temporarily_unavailable", "keys_unavailable");
    let wait: i64 = answer.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=30).contains(&wait), "{wait}");
    let ready = world.server.clock.now().seconds() + wait;
    world.server.clock.advance(wait);
    assert_eq!(world.server.now(), ready);
    world.accepts().await;
}

#[tokio::test]
async fn pub_k4__a_key_that_is_listed_twice_is_one_and_different_ones_of_a_kid_are_none() {
    let world = World::new().await;
    let key = world.gh.key();
    let mut again = key.jwk();
    again["x5t"] = json!("AAAA");
    again.as_object_mut().unwrap().shift_remove("use");
    world.gh.publish(&[key.jwk(), again, key.jwk()]);
    let answer = refresh(&world).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(
        answer.json(),
        json!({ "keys": ["rsa-0"], "unusable": [] }),
        "{}",
        answer.text()
    );
    world.accepts().await;
    // Such an issuer can be saved.
    world
        .server
        .put(
            "trusted-issuers/github",
            json!({ "profile": "github-actions", "issuer": GH }),
        )
        .await;
    world.gh.publish(&[key.jwk(), twin().jwk()]);
    let answer = refresh(&world).await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    assert!(
        answer
            .text()
            .contains("has another, different RS256 key of this `kid`"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn pub_k4__the_first_three_reasons_say_why_no_key_can_be_used() {
    let world = World::new().await;
    let jwk = |kid: &str, changes: Value| {
        let mut jwk = world.gh.key().jwk();
        jwk["kid"] = json!(kid);
        for (name, value) in changes.as_object().unwrap() {
            jwk[name] = value.clone();
        }
        jwk
    };
    world.gh.publish(&[
        jwk(
            "a",
            json!({ "kty": "EC", "crv": "P-384", "alg": "ES384", "x": "AA", "y": "AA" }),
        ),
        jwk("b", json!({ "n": "A".repeat(1366) })),
        jwk("c", json!({ "use": "enc" })),
        jwk("d", json!({ "kty": "oct" })),
        jwk("e", json!({ "kty": "oct" })),
    ]);
    let answer = refresh(&world).await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(
        detail.ends_with(
            "it holds no key that can be used: key `a`: its `kty` EC, `crv` P-384, `alg` ES384 is for none of the \
             allowed algorithms, RS256; key `b`: its modulus is not of 2048 to 4096 bits; key `c`: its `use` is not \
             `sig`; and 2 more"
        ),
        "{detail}"
    );
    // Saving says it too.
    let document = json!({ "profile": "github-actions", "issuer": GH, "leeway_seconds": 30 });
    let saved = world
        .server
        .admin("PUT", "trusted-issuers/github", document)
        .await;
    assert_eq!(saved.status, 422, "{}", saved.text());
    assert!(saved.text().contains("`alg` ES384"), "{}", saved.text());
    world.gh.publish(&[]);
    let answer = refresh(&world).await;
    assert!(
        answer.text().contains("it holds no key\""),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn pub_k4__metadata_of_another_issuer_is_refused_with_the_name_that_it_has() {
    let world = World::new().await;
    for (named, said) in [
        (
            json!(format!("{GH}/")),
            format!(
                "it names the issuer {GH}/, not {GH}; the two must be equal, also in a slash at the end"
            ),
        ),
        (
            json!("evil\u{7}"),
            "it names the issuer evil\\u{7}, not".to_owned(),
        ),
        (json!(7), "it names no issuer".to_owned()),
    ] {
        world
            .gh
            .metadata(json!({ "issuer": named, "jwks_uri": format!("{GH}/jwks") }));
        let answer = refresh(&world).await;
        assert_eq!(answer.status, 502, "{}", answer.text());
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(&said), "{detail}");
    }
}

#[tokio::test]
async fn pub_k4__a_byte_order_mark_before_keys_and_metadata_is_ignored() {
    let world = World::new().await;
    let keys = json!({ "keys": [world.gh.key().jwk()] }).to_string();
    for (mark, status) in [
        ("\u{feff}", 200),
        ("\u{feff}\u{feff}", 502),
        (" \u{feff}", 502),
    ] {
        world.gh.publish_raw(format!("{mark}{keys}"));
        assert_eq!(refresh(&world).await.status, status);
    }
    world.gh.publish_properly();
    let metadata = json!({ "issuer": GH, "jwks_uri": format!("{GH}/jwks") });
    world.gh.metadata_raw(format!("\u{feff}{metadata}"));
    let answer = refresh(&world).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
}
