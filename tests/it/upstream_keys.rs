//! The keys of trusted issuers: discovery, limits, freshness (OpenID Connect Discovery, RFC 8414; checklist 1.6, attacks 7.5, 7.8).

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{CARNET, FakeIssuer, GH, TestKey, World, github};

/// A world that trusts one more platform by the generic profile. Nothing of it was fetched yet.
async fn trusting(url: &str, key: usize) -> (World, FakeIssuer) {
    let world = World::new().await;
    let issuer = FakeIssuer::new(url, TestKey::rsa(key));
    world.server.network.add(&issuer);
    trust(&world, url, json!({})).await;
    (world, issuer)
}

/// Trusts a platform under the name `other`, with a rule for its subject `job`.
async fn trust(world: &World, url: &str, changed: Value) {
    let mut document = json!({ "profile": "generic", "issuer": url });
    document
        .as_object_mut()
        .unwrap()
        .extend(changed.as_object().unwrap().clone());
    world
        .server
        .put("trusted-issuers/other?validate=offline", document)
        .await;
    let rule = json!({
        "principal": "joel", "trusted_issuer": "other", "match": { "subject": "job" },
        "permissions": [{ "resource_server": "pypi", "actions": ["publish"], "packages": ["widgets"] }],
    });
    world.server.put("federated-credentials/other", rule).await;
}

/// An assertion of the other platform.
fn assertion(world: &World, issuer: &FakeIssuer) -> String {
    issuer.sign(
        &github(world.server.now())
            .with("iss", issuer.url.clone())
            .with("sub", "job"),
    )
}

#[tokio::test]
async fn oidcd_4_1__metadata_is_found_below_the_issuer() {
    let (world, issuer) = trusting("https://gl.test/org/x", 1).await;
    world.exchange(&assertion(&world, &issuer)).await.token();
    assert_eq!(
        issuer.asked(),
        ["/org/x/.well-known/openid-configuration", "/org/x/jwks"]
    );
}

#[tokio::test]
async fn oidcd_4_2__metadata_is_found_at_the_places_of_rfc_8414_after_the_first_place() {
    for (place, before) in [
        ("/.well-known/oauth-authorization-server/org/x", 1),
        ("/.well-known/openid-configuration/org/x", 2),
    ] {
        let (world, issuer) = trusting("https://gl.test/org/x", 1).await;
        issuer.metadata_at(place);
        world.exchange(&assertion(&world, &issuer)).await.token();
        let asked = issuer.asked();
        assert_eq!((asked.len(), asked[before].as_str()), (before + 2, place));
    }
}

#[tokio::test]
async fn oidcd_4_3__metadata_that_names_another_issuer_is_not_used() {
    let (world, issuer) = trusting("https://gl.test", 1).await;
    for name in ["https://gl.test/", "https://evil.test", "HTTPS://gl.test"] {
        issuer.metadata(json!({ "issuer": name, "jwks_uri": "https://gl.test/jwks" }));
        world.exchange(&assertion(&world, &issuer)).await.refused(
            503,
            "temporarily_unavailable",
            "upstream_unavailable",
        );
        assert_eq!(issuer.key_fetches(), 0);
        world.server.clock.advance(31);
    }
}

#[tokio::test]
async fn atk_074__metadata_that_names_another_trusted_issuer_is_not_used() {
    let (world, issuer) = trusting("https://gl.test", 1).await;
    issuer.metadata(json!({ "issuer": GH, "jwks_uri": format!("{GH}/jwks") }));
    world.exchange(&assertion(&world, &issuer)).await.refused(
        503,
        "temporarily_unavailable",
        "upstream_unavailable",
    );
    world.accepts().await;
}

#[tokio::test]
async fn oidcd_4_4__keys_are_fetched_from_public_https_only() {
    for uri in [
        "http://gl.test/jwks",
        "file:///etc/passwd",
        "https://127.0.0.1/jwks",
        "https://169.254.169.254/jwks",
        "https://[::1]/jwks",
        "https://u:p@gl.test/jwks",
        "data:,x",
        "/jwks",
        "https://10.0.0.1/jwks",
    ] {
        let (world, issuer) = trusting("https://gl.test", 1).await;
        issuer.metadata(json!({ "issuer": "https://gl.test", "jwks_uri": uri }));
        world.exchange(&assertion(&world, &issuer)).await.refused(
            503,
            "temporarily_unavailable",
            "upstream_unavailable",
        );
        assert!(
            world
                .server
                .network
                .fetched()
                .iter()
                .all(|url| !url.ends_with("/jwks") || url.starts_with(GH)),
            "{uri}"
        );
    }
}

#[tokio::test]
async fn atk_107__odd_locations_of_keys_are_refused() {
    for uri in [
        "jwks",
        "//gl.test/jwks",
        "http://gl.test/jwks",
        "data:application/json,{}",
        "https://user@gl.test/jwks",
        "https://192.168.0.1/jwks",
        "https://elsewhere.test/jwks",
    ] {
        let (world, issuer) = trusting("https://gl.test", 1).await;
        issuer.metadata(json!({ "issuer": "https://gl.test", "jwks_uri": uri }));
        world.exchange(&assertion(&world, &issuer)).await.refused(
            503,
            "temporarily_unavailable",
            "upstream_unavailable",
        );
        assert_eq!(issuer.key_fetches(), 0, "{uri}");
    }
}

#[tokio::test]
async fn oidcd_4_5__nothing_is_fetched_for_an_issuer_that_is_not_configured() {
    let world = World::new().await;
    let evil = FakeIssuer::new("https://evil.test", TestKey::rsa(1));
    world.server.network.add(&evil);
    let before = world.server.network.fetched();
    world
        .exchange(&assertion(&world, &evil))
        .await
        .refused(400, "invalid_grant", "iss_unknown");
    assert_eq!(
        (world.server.network.fetched(), evil.asked().len()),
        (before, 0)
    );
}

#[tokio::test]
async fn atk_103__an_assertion_of_an_unknown_issuer_causes_no_fetch() {
    let world = World::new().await;
    let before = world.server.network.fetched();
    for iss in [
        "http://169.254.169.254/latest/meta-data",
        "https://localhost",
        "https://127.0.0.1:1",
        "file:///etc/passwd",
        "gopher://x",
    ] {
        world
            .exchange_claims(&world.claims().with("iss", iss))
            .await
            .refused(400, "invalid_grant", "iss_unknown");
    }
    assert_eq!(world.server.network.fetched(), before);
}

#[tokio::test]
async fn oidcd_4_7__random_kids_cost_one_fetch_in_thirty_seconds() {
    let world = World::new().await;
    world.accepts().await;
    world.server.clock.advance(31);
    let before = world.gh.key_fetches();
    let key = world.gh.key();
    for n in 0..200 {
        let header = json!({ "alg": "RS256", "kid": format!("random-{n}") });
        let answer = world
            .exchange(&key.sign_with_header(&header, &world.claims().value()))
            .await;
        assert!(matches!(
            answer.reason().as_str(),
            "key_unknown" | "rate_limited"
        ));
    }
    assert_eq!(world.gh.key_fetches() - before, 1);
    world.accepts().await;
    world.server.clock.advance(31);
    let header = json!({ "alg": "RS256", "kid": "random-again" });
    world
        .exchange(&key.sign_with_header(&header, &world.claims().value()))
        .await;
    assert_eq!(world.gh.key_fetches() - before, 2);
}

#[tokio::test]
async fn atk_112__a_flood_of_kids_does_not_hinder_good_tokens() {
    let world = World::new().await;
    world.accepts().await;
    world.server.clock.advance(31);
    let (before, key) = (world.gh.key_fetches(), world.gh.key());
    for n in 0..50 {
        let header = json!({ "alg": "RS256", "kid": format!("flood-{n}") });
        world
            .exchange(&key.sign_with_header(&header, &world.claims().value()))
            .await;
        if n % 10 == 0 {
            world.accepts().await;
        }
    }
    assert!(world.gh.key_fetches() - before <= 1);
}

#[tokio::test]
async fn oidcd_4_8__keys_rotate_without_a_restart() {
    let world = World::new().await;
    let old = world.gh.key();
    world.accepts().await;
    world.server.clock.advance(31);
    world.gh.rotate(TestKey::rsa(1));
    world.accepts().await;
    world
        .exchange(&old.sign(&world.claims().value()))
        .await
        .refused(400, "invalid_grant", "key_unknown");
}

#[tokio::test]
async fn atk_114__a_key_that_was_removed_stops_working() {
    let world = World::new().await;
    let old = world.gh.key();
    world.accepts().await;
    world.gh.rotate(TestKey::rsa(1));
    // Held for five minutes at least, unless somebody asks.
    world
        .exchange(&old.sign(&world.claims().value()))
        .await
        .token();
    let answer = world
        .server
        .admin("POST", "trusted-issuers/github/refresh-keys", Value::Null)
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.json()["keys"], json!(["rsa-1"]), "{}", answer.text());
    world
        .exchange(&old.sign(&world.claims().value()))
        .await
        .refused(400, "invalid_grant", "key_unknown");
}

#[tokio::test]
async fn oidcd_4_9__algorithms_that_the_platform_lists_are_not_thereby_accepted() {
    // The platform of every test lists HS256 and none.
    let world = World::new().await;
    world.accepts().await;
    for alg in ["HS256", "none"] {
        let header = json!({ "alg": alg, "kid": "rsa-0" });
        world
            .denies(
                &world
                    .gh
                    .key()
                    .sign_with_header(&header, &world.claims().value()),
                "alg_denied",
            )
            .await;
    }
}

#[tokio::test]
async fn rfc7517_5_2__a_malformed_key_set_is_refused_as_a_whole() {
    let world = World::new().await;
    world.accepts().await;
    let jwk = world.gh.key().jwk();
    for raw in [
        "<html>".to_owned(),
        String::new(),
        "{}".to_owned(),
        "{\"keys\":{}}".to_owned(),
        format!("{{\"keys\":[{jwk}],\"keys\":[]}}"),
        format!("[{jwk}]"),
    ] {
        world.gh.publish_raw(raw.clone());
        world.server.clock.advance(3600);
        world.accepts().await;
        let refreshed = world
            .server
            .admin("POST", "trusted-issuers/github/refresh-keys", Value::Null)
            .await;
        assert_eq!(refreshed.status, 502, "{raw}: {}", refreshed.text());
        world.accepts().await;
    }
    let (fresh, issuer) = trusting("https://gl.test", 1).await;
    issuer.publish_raw("{\"keys\":{}}");
    fresh.exchange(&assertion(&fresh, &issuer)).await.refused(
        503,
        "temporarily_unavailable",
        "upstream_unavailable",
    );
}

#[tokio::test]
async fn atk_110__old_keys_serve_for_a_day_while_the_key_set_is_broken() {
    let world = World::new().await;
    world.accepts().await;
    world.gh.publish_raw("<html>down for maintenance</html>");
    world.server.clock.advance(12 * 3600);
    world.accepts().await;
    world.server.clock.advance(13 * 3600);
    let answer = world.exchange(&world.good()).await;
    answer.refused(503, "temporarily_unavailable", "upstream_unavailable");
    world.gh.publish_properly();
    world.server.clock.advance(31);
    world.accepts().await;
}

#[tokio::test]
async fn keys_that_have_just_grown_old_serve_once_more_while_newer_ones_are_fetched() {
    let world = World::new().await;
    world.accepts().await;
    let old = world.gh.key();
    world.server.clock.advance(301);
    world.gh.rotate(TestKey::rsa(1));
    world
        .exchange(&old.sign(&world.claims().value()))
        .await
        .token();
    // The fetch takes place in the background.
    for _ in 0..100 {
        if world.exchange(&world.good()).await.status == 200 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.accepts().await;
    world.server.clock.advance(31);
    world
        .exchange(&old.sign(&world.claims().value()))
        .await
        .refused(400, "invalid_grant", "key_unknown");
}

#[tokio::test]
async fn d_02__while_keys_cannot_be_fetched_stale_ones_serve_and_unknown_ones_give_503() {
    let world = World::new().await;
    world.accepts().await;
    world.gh.answer(500);
    world.server.clock.advance(6 * 3600);
    world.accepts().await;
    // While the platform is away nobody can tell whether a key is new.
    let header = json!({ "alg": "RS256", "kid": "new" });
    let answer = world
        .exchange(
            &world
                .gh
                .key()
                .sign_with_header(&header, &world.claims().value()),
        )
        .await;
    answer.refused(503, "temporarily_unavailable", "upstream_unavailable");
}

#[tokio::test]
async fn atk_111__private_members_of_a_published_key_are_noticed_and_the_key_still_works() {
    let world = World::new().await;
    let mut jwk = world.gh.key().jwk();
    jwk["d"] = json!("AAAA");
    jwk["p"] = json!("AAAA");
    let set = json!({ "keys": [jwk.clone()] }).to_string();
    let read =
        carnet_jose::KeySet::parse(set.as_bytes(), &[carnet_jose::Algorithm::RS256]).unwrap();
    assert!(
        read.has_private_members(),
        "this is what the alarm in the log goes by"
    );
    world.gh.publish(&[jwk]);
    world.trust(json!({ "leeway_seconds": 59 })).await;
    world.accepts().await;
}

#[tokio::test]
async fn atk_113__a_slow_platform_delays_its_own_jobs_only() {
    let (world, issuer) = trusting("https://gl.test", 1).await;
    issuer.slow(Duration::from_secs(2));
    let assertion = assertion(&world, &issuer);
    let slow_is_over = std::cell::Cell::new(false);
    let slow = async {
        let answer = world.exchange(&assertion).await;
        slow_is_over.set(true);
        answer.status
    };
    let quick = async {
        let answer = world.exchange(&world.good()).await;
        (answer.status, slow_is_over.get())
    };
    assert_eq!(tokio::join!(slow, quick), (200, (200, false)));
}

#[tokio::test]
async fn d_28__two_hundred_requests_share_one_key_fetch() {
    let (world, issuer) = trusting("https://gl.test", 1).await;
    issuer.slow(Duration::from_millis(50));
    let requests = (0..200).map(|_| {
        let (router, text) = (world.server.router.clone(), assertion(&world, &issuer));
        tokio::spawn(async move {
            use tower::ServiceExt as _;
            let body = format!("grant_type={}&assertion={text}", crate::support::JWT_BEARER);
            let request = axum::http::Request::post("/token")
                .header("content-type", "application/x-www-form-urlencoded");
            router
                .oneshot(request.body(axum::body::Body::from(body)).unwrap())
                .await
                .unwrap()
                .status()
        })
    });
    for request in requests.collect::<Vec<_>>() {
        assert_eq!(request.await.unwrap(), 200);
    }
    assert_eq!(issuer.key_fetches(), 1);
}

#[tokio::test]
async fn d_28__failed_key_fetches_are_remembered_for_thirty_seconds() {
    let (world, issuer) = trusting("https://gl.test", 1).await;
    issuer.answer(500);
    for _ in 0..10 {
        world.exchange(&assertion(&world, &issuer)).await.refused(
            503,
            "temporarily_unavailable",
            "upstream_unavailable",
        );
    }
    assert_eq!(issuer.asked().len(), 1);
    issuer.answer(200);
    world.server.clock.advance(30);
    world.exchange(&assertion(&world, &issuer)).await.token();
}

#[tokio::test]
async fn d_28__the_cache_control_of_keys_counts_between_five_minutes_and_a_day() {
    let fetches = async |cache_control: &str, after: i64| {
        let (world, issuer) = trusting("https://gl.test", 1).await;
        issuer.cache_control(cache_control);
        world.exchange(&assertion(&world, &issuer)).await.token();
        world.server.clock.advance(after);
        world.exchange(&assertion(&world, &issuer)).await.token();
        // What is a little too old serves while it is fetched anew.
        for _ in 0..50 {
            if issuer.key_fetches() > 1 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        issuer.key_fetches()
    };
    assert_eq!(fetches("max-age=0", 299).await, 1, "five minutes at least");
    assert_eq!(fetches("max-age=0", 300).await, 2);
    assert_eq!(fetches("public, max-age=3600", 3599).await, 1);
    assert_eq!(fetches("public, max-age=3600", 3600).await, 2);
    assert_eq!(fetches("max-age=31536000", 24 * 3600 - 1).await, 1);
    assert_eq!(
        fetches("max-age=31536000", 24 * 3600).await,
        2,
        "a day at most"
    );
}

#[tokio::test]
async fn atk_108__key_sets_beyond_the_limits_are_not_used() {
    let world = World::new().await;
    world.accepts().await;
    let jwk = world.gh.key().jwk();
    let many = json!({ "keys": vec![jwk.clone(); 101] }).to_string();
    let mut modulus = jwk.clone();
    modulus["n"] = json!("A".repeat(900 * 1024));
    let huge = json!({ "keys": [modulus] }).to_string();
    let padded = format!("{}{}", json!({ "keys": [jwk] }), " ".repeat(1024 * 1024));
    for raw in [many, huge, padded] {
        world.gh.publish_raw(raw);
        let refreshed = world
            .server
            .admin("POST", "trusted-issuers/github/refresh-keys", Value::Null)
            .await;
        assert_eq!(refreshed.status, 502, "{}", refreshed.text());
        world.accepts().await;
    }
}

#[tokio::test]
async fn atk_066__issuers_that_look_like_a_trusted_one_are_unknown() {
    let world = World::new().await;
    for iss in [
        "https://ci.test/",
        "https://ci.test//",
        "https://ci.test/.",
        "https://ci.test/x/..",
        "https://ci.test?",
        "https://ci.test#",
        "https://gh@ci.test",
        "https://ci.test:443",
        "https://CI.test",
        "https://ci.test.",
        "https://xn--c-lqa.test",
        "https://\u{441}i.test",
    ] {
        world
            .denies_claims(world.claims().with("iss", iss), "iss_unknown")
            .await;
    }
}

#[tokio::test]
async fn atk_067__names_longer_or_shorter_than_a_trusted_issuer_are_unknown() {
    let world = World::new().await;
    for iss in [
        "https://ci.test.evil",
        "https://ci.testx",
        "https://ci.tes",
        "https://x.ci.test",
    ] {
        world
            .denies_claims(world.claims().with("iss", iss), "iss_unknown")
            .await;
    }
}

#[tokio::test]
async fn atk_068__the_issuer_of_an_enterprise_and_the_general_one_are_told_apart() {
    let world = World::new().await;
    world
        .denies_claims(
            world.claims().with("iss", format!("{GH}/octocat-inc")),
            "iss_unknown",
        )
        .await;
    let (world, issuer) = trusting("https://gl.test/octocat-inc", 1).await;
    world.exchange(&assertion(&world, &issuer)).await.token();
    let base = issuer.key().sign(
        &github(world.server.now())
            .with("iss", "https://gl.test")
            .with("sub", "job")
            .value(),
    );
    world
        .exchange(&base)
        .await
        .refused(400, "invalid_grant", "iss_unknown");
}

#[tokio::test]
async fn atk_069__there_are_no_wildcard_issuers() {
    let world = World::new().await;
    for issuer in ["https://*.oidc.test", "https://oidc.test/*", "*"] {
        let document = json!({ "profile": "generic", "issuer": issuer });
        let answer = world
            .server
            .admin("PUT", "trusted-issuers/wild?validate=offline", document)
            .await;
        assert_eq!(
            (answer.status, &answer.json()["errors"][0]["pointer"]),
            (422, &json!("/issuer")),
            "{}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn atk_071__the_address_that_presented_an_assertion_is_in_the_audit_log() {
    // A registry that lured a job into an assertion for us can present it first; what is left is that its address is known.
    let world = World::new().await;
    let request = axum::http::Request::post("/token")
        .header("content-type", "application/x-www-form-urlencoded")
        .extension(axum::extract::ConnectInfo(std::net::SocketAddr::from((
            [203, 0, 113, 9],
            40000,
        ))));
    let body = format!(
        "grant_type={}&assertion={}",
        crate::support::JWT_BEARER,
        world.good()
    );
    world
        .server
        .send(request.body(axum::body::Body::from(body)).unwrap())
        .await
        .token();
    assert_eq!(
        world.server.audit("outcome=issued").await[0]["address"],
        "203.0.113.9"
    );
}

#[tokio::test]
async fn atk_075__issuers_that_share_a_key_set_keep_their_own_rules() {
    let (world, issuer) = trusting("https://gl.test", 1).await;
    trust(
        &world,
        "https://gl.test",
        json!({ "keys": { "source": "jwks_uri", "uri": format!("{GH}/jwks") } }),
    )
    .await;
    // The same key signs for both; each token is judged by the rules of the issuer it names.
    let claims = github(world.server.now()).with("iss", "https://gl.test");
    let answer = world
        .exchange(
            &world.gh.key().sign(
                &claims
                    .clone()
                    .with("sub", "repo:octo-org/octo-repo:ref:refs/heads/main")
                    .value(),
            ),
        )
        .await;
    answer.refused(400, "invalid_grant", "no_matching_credential");
    world
        .exchange(&issuer.key().sign(&claims.with("sub", "job").value()))
        .await
        .refused(400, "invalid_grant", "key_unknown");
}

#[tokio::test]
async fn atk_075__two_issuers_cannot_be_saved_with_the_same_keys() {
    let world = World::new().await;
    let keys = |number: usize, kid: &str| json!({ "source": "static", "jwks": { "keys": [TestKey::rsa(number).named(kid).jwk()] } });
    let save = async |name: &str, keys: Value| {
        let document =
            json!({ "profile": "generic", "issuer": format!("https://{name}.test"), "keys": keys });
        world
            .server
            .admin(
                "PUT",
                &format!("trusted-issuers/{name}?validate=offline"),
                document,
            )
            .await
    };
    for (ours, theirs, pointer) in [
        (
            json!({ "source": "jwks_uri", "uri": "https://k.test/a" }),
            json!({ "source": "jwks_uri", "uri": "https://K.test:443/a" }),
            "/keys/uri",
        ),
        (keys(1, "a"), keys(1, "b"), "/keys/jwks"),
    ] {
        assert!(matches!(save("ours", ours).await.status, 200 | 201));
        let refused = save("theirs", theirs).await;
        assert_eq!(
            (refused.status, &refused.json()["errors"][0]["pointer"]),
            (422, &json!(pointer)),
            "{}",
            refused.text()
        );
    }
    assert_eq!(save("theirs", keys(2, "a")).await.status, 201);
    let same = json!({ "profile": "generic", "issuer": "https://ours.test", "keys": keys(1, "a"), "audiences": ["https://as.test/other"] });
    world.server.put("trusted-issuers/second", same).await;
}

#[tokio::test]
async fn atk_076__the_host_header_changes_nothing() {
    let world = World::new().await;
    let send = async |path: &str, body: String| {
        let mut request = axum::http::Request::builder()
            .uri(path)
            .header("host", "evil.test");
        for name in [
            "x-forwarded-host",
            "forwarded",
            "x-forwarded-proto",
            "x-original-url",
        ] {
            request = request.header(name, "host=evil.test");
        }
        if !body.is_empty() {
            request = request
                .method("POST")
                .header("content-type", "application/x-www-form-urlencoded");
        }
        world
            .server
            .send(request.body(axum::body::Body::from(body)).unwrap())
            .await
    };
    let metadata = send("/.well-known/oauth-authorization-server", String::new()).await;
    assert_eq!(metadata.json()["issuer"], CARNET);
    assert!(!metadata.text().contains("evil"));
    let form = format!("grant_type={}&assertion=", crate::support::JWT_BEARER);
    let token = send("/token", format!("{form}{}", world.good()))
        .await
        .token();
    assert_eq!(super::assertion::payload(&token)["iss"], CARNET);
    let lured = world
        .gh
        .sign(&world.claims().with("aud", "https://evil.test"));
    assert_eq!(
        send("/token", format!("{form}{lured}")).await.reason(),
        "aud_mismatch"
    );
}

#[tokio::test]
async fn wimse_ten_1__one_iss_from_two_clusters_differs_by_audience() {
    let world = World::new().await;
    let keys = |n| json!({ "source": "static", "jwks": { "keys": [TestKey::rsa(n).jwk()] } });
    let entry = |n, audience: &str| json!({ "profile": "generic", "issuer": "https://cluster.local", "keys": keys(n), "audiences": [audience] });
    world
        .server
        .put("trusted-issuers/a", entry(1, "https://as.test/a"))
        .await;
    world
        .server
        .put("trusted-issuers/b", entry(2, "https://as.test/b"))
        .await;
    let clash = world
        .server
        .admin("PUT", "trusted-issuers/c", entry(3, "https://as.test/a"))
        .await;
    assert_eq!(clash.status, 422, "{}", clash.text());
    for (name, subject) in [("a", "job"), ("b", "job")] {
        world.server.put(&format!("federated-credentials/{name}"), json!({
            "principal": "joel", "trusted_issuer": name, "match": { "subject": subject },
            "permissions": [{ "resource_server": "pypi", "actions": ["publish"], "packages": [format!("{name}-widgets")] }],
        })).await;
    }
    let token = |key: usize, audience: &str| {
        let claims = github(world.server.now())
            .with("iss", "https://cluster.local")
            .with("aud", audience)
            .with("sub", "job");
        TestKey::rsa(key).sign(&claims.value())
    };
    let packages =
        world.exchange(&token(1, "https://as.test/a")).await.json()["authorization_details"][0]["packages"].clone();
    assert_eq!(packages, json!(["a-widgets"]));
    world.exchange(&token(2, "https://as.test/b")).await.token();
    world
        .exchange(&token(1, "https://as.test/b"))
        .await
        .refused(400, "invalid_grant", "key_unknown");
    world
        .exchange(&token(2, "https://as.test/a"))
        .await
        .refused(400, "invalid_grant", "key_unknown");
}
