//! JWT-SVIDs as assertions (checklist 2.8, attacks 7.9).

use serde_json::{Value, json};

use super::platforms::{Platform, changed};
use crate::support::{CARNET, FakeIssuer, TestKey, TestServer};

pub const ID: &str = "spiffe://td.test/ns/ci/sa/publisher";
const BUNDLE: &str = "https://bundle.td.test";

fn for_svids(key: &TestKey) -> Value {
    changed(&key.jwk(), json!({ "use": "jwt-svid" }))
}

/// A server that trusts `td.test` by the bundle it publishes.
pub async fn domain() -> (Platform, FakeIssuer) {
    domain_with(json!({})).await
}

/// The same with these members of the trusted issuer.
pub async fn domain_with(members: Value) -> (Platform, FakeIssuer) {
    let server = TestServer::start().await;
    let bundle = FakeIssuer::new(BUNDLE, TestKey::rsa(0));
    server.network.add(&bundle);
    bundle.publish(&[for_svids(&TestKey::rsa(0))]);
    let trusted = json!({ "profile": "spiffe", "trust_domain": "td.test", "keys": { "source": "spiffe_bundle", "uri": format!("{BUNDLE}/jwks") } });
    server
        .put("trusted-issuers/platform", changed(&trusted, members))
        .await;
    server
        .put(
            "principals/joel",
            json!({ "id": "pr_joel", "kind": "service" }),
        )
        .await;
    server
        .put(
            "resource-servers/pypi",
            json!({ "resource": "https://registry.test/pypi/", "actions": ["create", "publish"] }),
        )
        .await;
    let platform = Platform {
        server,
        issuer: FakeIssuer::new("spiffe://td.test", TestKey::rsa(0)),
    };
    platform.rule(json!({ "spiffe_id": ID })).await;
    (platform, bundle)
}

/// A document as an agent hands it out: no `iss`, no `jti`, no `iat`.
pub fn svid(platform: &Platform, changes: Value) -> Value {
    let bare = json!({ "iss": null, "jti": null, "iat": null, "nbf": null, "sub": ID });
    changed(&platform.claims(bare), changes)
}

#[tokio::test]
async fn spiffe_svid_5__an_svid_needs_no_issuer_and_its_issuer_selects_no_keys() {
    let (platform, _) = domain().await;
    let answer = platform.accepts(&svid(&platform, json!({}))).await;
    assert_eq!(answer["authorization_details"][0]["principal"], "joel");
    let before = platform.server.network.fetched().len();
    // Nothing named an issuer, so none is looked at, and nothing is fetched from there.
    platform
        .accepts(&svid(&platform, json!({ "iss": "https://evil.test" })))
        .await;
    assert_eq!(platform.server.network.fetched().len(), before);
    // Where the entry names one, a sent one has to be it.
    let (platform, _) = domain_with(json!({ "issuer": "https://oidc.td.test" })).await;
    platform.accepts(&svid(&platform, json!({}))).await;
    platform
        .accepts(&svid(&platform, json!({ "iss": "https://oidc.td.test" })))
        .await;
    platform
        .refuses(
            &svid(&platform, json!({ "iss": "https://evil.test" })),
            "iss_unknown",
        )
        .await;
    // Without SPIFFE in it a token needs its issuer as ever.
    platform
        .refuses(
            &svid(&platform, json!({ "sub": "publisher" })),
            "claim_missing",
        )
        .await;
}

#[tokio::test]
async fn spiffe_svid_1__only_the_algorithms_of_the_svid_specification_are_accepted() {
    let (platform, bundle) = domain().await;
    let keys = [
        TestKey::rsa(1).using("PS384"),
        TestKey::ec("e256", "ES256"),
        TestKey::ec("e512", "ES512"),
        TestKey::ed25519("ed"),
    ];
    bundle.publish(&keys.iter().map(for_svids).collect::<Vec<_>>());
    for key in &keys[..3] {
        platform.server.clock.advance(31);
        platform
            .present_text(&key.sign(&svid(&platform, json!({}))))
            .await
            .token();
    }
    platform
        .present_text(&keys[3].sign(&svid(&platform, json!({}))))
        .await
        .refused(400, "invalid_grant", "alg_denied");
}

#[tokio::test]
async fn spiffe_svid_2__the_type_of_an_svid_is_absent_or_jwt_or_jose() {
    let (platform, _) = domain().await;
    let typed = |typ: Value| {
        let header = changed(&TestKey::rsa(0).header(), json!({ "typ": typ }));
        TestKey::rsa(0).sign_with_header(&header, &svid(&platform, json!({})))
    };
    for good in [json!("JWT"), json!("JOSE"), Value::Null] {
        platform.present_text(&typed(good)).await.token();
    }
    for bad in ["at+jwt", "authorization-grant+jwt", "wit+jwt"] {
        platform
            .present_text(&typed(json!(bad)))
            .await
            .refused(400, "invalid_grant", "typ_denied");
    }
}

#[tokio::test]
async fn spiffe_svid_3__an_svid_with_further_header_parameters_is_refused() {
    let (platform, _) = domain().await;
    for extra in [
        json!({ "x": 1 }),
        json!({ "x5t": "abc" }),
        json!({ "cty": "text" }),
    ] {
        let header = changed(&TestKey::rsa(0).header(), extra);
        let token = TestKey::rsa(0).sign_with_header(&header, &svid(&platform, json!({})));
        platform
            .present_text(&token)
            .await
            .refused(400, "invalid_grant", "header_denied");
    }
}

#[tokio::test]
async fn spiffe_svid_4__an_svid_without_subject_audience_or_expiry_is_refused() {
    let (platform, _) = domain().await;
    for claim in ["aud", "exp"] {
        platform
            .refuses(&svid(&platform, json!({ claim: null })), "claim_missing")
            .await;
    }
    platform
        .refuses(&svid(&platform, json!({ "sub": null })), "claim_missing")
        .await;
    platform
        .refuses(
            &svid(&platform, json!({ "aud": "https://other.test" })),
            "aud_mismatch",
        )
        .await;
    platform
        .refuses(
            &svid(
                &platform,
                json!({ "aud": [CARNET, "spiffe://td.test/other"] }),
            ),
            "aud_not_single",
        )
        .await;
}

#[tokio::test]
async fn atk_146__malformed_spiffe_ids_are_refused() {
    let (platform, _) = domain().await;
    let long = format!("spiffe://td.test/{}", "a".repeat(3072));
    for bad in [
        "spiffe://td.test",
        "spiffe://td.test/",
        "spiffe://td.test//x",
        "spiffe://td.test/a/../x",
        "spiffe://td.test/%2e",
        "spiffe://td.test:8443/x",
        "spiffe://u@td.test/x",
        "spiffe://td.test/x?y",
        "spiffe://td.test/x#y",
        "spiffe://TD.test/x",
        "SPIFFE://td.test/x",
        "spiffe:///x",
        &long,
    ] {
        let answer = platform
            .present(&svid(&platform, json!({ "sub": bad })))
            .await;
        assert_eq!(
            (answer.status, &answer.json()["error"]),
            (400, &json!("invalid_grant")),
            "{bad}: {}",
            answer.text()
        );
    }
    // The same under the name of an issuer.
    let (platform, _) = domain_with(json!({ "issuer": "https://oidc.td.test" })).await;
    for bad in [
        "spiffe://td.test",
        "spiffe://td.test/x/",
        "spiffe://td.test/%2e",
        "https://td.test/x",
    ] {
        platform
            .refuses(
                &svid(
                    &platform,
                    json!({ "iss": "https://oidc.td.test", "sub": bad }),
                ),
                "claim_malformed",
            )
            .await;
    }
}

#[tokio::test]
async fn fulcio_spiffe_2__an_invalid_trust_domain_or_spiffe_id_cannot_be_saved() {
    let (platform, _) = domain().await;
    for bad in [
        "Example.com/",
        "Example.com",
        "example.com/",
        "spiffe://example.com",
        "*.example.com",
        "example.com:1",
    ] {
        platform
            .cannot_trust(json!({ "trust_domain": bad }), "/trust_domain")
            .await;
    }
    platform
        .cannot_trust(json!({ "trust_domain": null }), "/trust_domain")
        .await;
    // The rule is for ids of this trust domain.
    platform
        .cannot_trust(
            json!({ "trust_domain": "other.test", "issuer": null }),
            "/trust_domain",
        )
        .await;
    platform
        .cannot_save(
            json!({ "spiffe_id": "spiffe://other.test/x" }),
            "/match/spiffe_id",
        )
        .await;
    for bad in [
        json!("spiffe://td.test/x/"),
        json!({ "glob": "spiffe://*/x" }),
        json!({ "glob": "spiffe://td.test/**" }),
        json!("td.test/x"),
    ] {
        platform
            .cannot_save(json!({ "spiffe_id": bad }), "/match/spiffe_id")
            .await;
    }
    platform
        .rule(json!({ "spiffe_id": { "glob": "spiffe://td.test/ns/ci/sa/*" } }))
        .await;
    platform.accepts(&svid(&platform, json!({}))).await;
    platform
        .refuses(
            &svid(&platform, json!({ "sub": format!("{ID}/x") })),
            "no_matching_credential",
        )
        .await;
}

#[tokio::test]
async fn spiffe_bnd_2__the_bundles_of_two_trust_domains_are_not_merged() {
    let (platform, _) = domain().await;
    let keys = json!({ "source": "static", "jwks": { "keys": [for_svids(&TestKey::rsa(1))] } });
    let other = json!({ "profile": "spiffe", "trust_domain": "td2.test", "keys": keys });
    platform
        .server
        .put("trusted-issuers/other", other.clone())
        .await;
    let of_other = TestKey::rsa(1).sign(&svid(&platform, json!({})));
    platform
        .present_text(&of_other)
        .await
        .refused(400, "invalid_grant", "key_unknown");
    // A second bundle for one domain and one audience would be merging them by the back door.
    let twice = changed(&other, json!({ "trust_domain": "td.test" }));
    let clash = platform
        .server
        .admin("PUT", "trusted-issuers/twice", twice)
        .await;
    assert_eq!(clash.status, 422, "{}", clash.text());
}

#[tokio::test]
async fn spiffe_bnd_2__two_trust_domains_cannot_be_saved_with_the_same_bundle() {
    let (platform, _) = domain().await;
    let save = async |keys: Value, domain: &str, members: Value| {
        let other = json!({ "profile": "spiffe", "trust_domain": domain, "keys": keys });
        platform
            .server
            .admin(
                "PUT",
                "trusted-issuers/other?validate=offline",
                changed(&other, members),
            )
            .await
    };
    let refused = async |keys: Value, pointer: &str| {
        for members in [
            json!({}),
            json!({ "issuer": "https://oidc.td.test", "audiences": ["https://as.test/other"] }),
        ] {
            let answer = save(keys.clone(), "td2.test", members).await;
            assert_eq!(
                (answer.status, &answer.json()["errors"][0]["pointer"]),
                (422, &json!(pointer)),
                "{}",
                answer.text()
            );
        }
    };
    let published = json!({ "source": "spiffe_bundle", "uri": format!("{BUNDLE}/jwks") });
    refused(published.clone(), "/keys/uri").await;
    refused(
        json!({ "source": "jwks_uri", "uri": format!("{BUNDLE}:443/jwks") }),
        "/keys/uri",
    )
    .await;
    // One trust domain may have several audiences.
    let twice = save(
        published,
        "td.test",
        json!({ "audiences": ["https://as.test/other"] }),
    )
    .await;
    assert_eq!(twice.status, 201, "{}", twice.text());
    let given = |kid: &str, number: usize| json!({ "source": "static", "jwks": { "keys": [for_svids(&TestKey::rsa(number).named(kid))] } });
    let document =
        json!({ "profile": "spiffe", "trust_domain": "td3.test", "keys": given("a", 1) });
    platform.server.put("trusted-issuers/third", document).await;
    refused(given("b", 1), "/keys/jwks").await;
    let apart = json!({ "profile": "spiffe", "trust_domain": "td4.test", "keys": given("b", 2) });
    platform.server.put("trusted-issuers/fourth", apart).await;
}

#[tokio::test]
async fn atk_147__a_spiffe_id_signed_by_another_trust_domain_or_issuer_is_refused() {
    let (platform, _) = domain().await;
    let keys = json!({ "source": "static", "jwks": { "keys": [for_svids(&TestKey::rsa(1))] } });
    platform
        .server
        .put(
            "trusted-issuers/b",
            json!({ "profile": "spiffe", "trust_domain": "b.test", "keys": keys }),
        )
        .await;
    platform.accepts(&svid(&platform, json!({}))).await;
    let before = platform.server.network.fetched().len();
    let claims = svid(
        &platform,
        json!({ "sub": "spiffe://b.test/ns/ci/sa/publisher" }),
    );
    platform
        .present_text(&TestKey::rsa(0).sign(&claims))
        .await
        .refused(400, "invalid_grant", "key_unknown");
    let evil = TestKey::rsa(2)
        .named("rsa-0")
        .sign(&svid(&platform, json!({ "iss": "https://evil.test" })));
    platform
        .present_text(&evil)
        .await
        .refused(400, "invalid_grant", "signature_invalid");
    assert_eq!(platform.server.network.fetched().len(), before);
}

#[tokio::test]
async fn spiffe_bnd_3__a_trust_domain_needs_a_valid_source_for_its_bundle() {
    let (platform, _) = domain().await;
    let put = |document: Value| {
        platform
            .server
            .admin("PUT", "trusted-issuers/new", document)
    };
    let base = json!({ "profile": "spiffe", "trust_domain": "new.test" });
    for (changes, pointer) in [
        (json!({}), "/keys"),
        (json!({ "keys": { "source": "discovery" } }), "/keys"),
        (json!({ "keys": { "source": "spiffe_bundle" } }), "/keys"),
        (
            json!({ "keys": { "source": "spiffe_bundle", "uri": "http://bundle.test/" } }),
            "/keys/uri",
        ),
        (
            json!({ "keys": { "source": "spiffe_bundle", "path": "bundle.json" } }),
            "/keys/path",
        ),
    ] {
        let answer = put(changed(&base, changes.clone())).await;
        let errors = answer.json()["errors"].clone();
        assert!(
            answer.status == 422
                && errors
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|e| e["pointer"] == pointer),
            "{changes}: {errors}"
        );
    }
    let generic = json!({ "profile": "generic", "issuer": "https://x.test", "keys": { "source": "spiffe_bundle", "path": "/x" } });
    assert_eq!(put(generic).await.status, 422);
    let path = platform.server.db.key_files().join("bundle.json");
    std::fs::write(
        &path,
        json!({ "keys": [for_svids(&TestKey::rsa(1))] }).to_string(),
    )
    .unwrap();
    let from_file = changed(
        &base,
        json!({ "keys": { "source": "spiffe_bundle", "path": path } }),
    );
    assert_eq!(put(from_file).await.status, 201);
    let shown = platform
        .server
        .admin("GET", "trusted-issuers/new", Value::Null)
        .await
        .json();
    assert_eq!(
        (&shown["issuer"], &shown["trust_domain"]),
        (&json!("spiffe://new.test"), &json!("new.test"))
    );
    // What is shown can be sent back.
    let same = platform
        .server
        .admin("PUT", "trusted-issuers/new", shown)
        .await;
    assert_eq!(same.status, 200, "{}", same.text());
}

#[tokio::test]
async fn spiffe_bnd_4__a_bundle_is_polled_by_its_refresh_hint_and_older_ones_are_ignored() {
    let (platform, bundle) = domain().await;
    let publish = |number: usize, sequence: u64| {
        let set = json!({ "keys": [for_svids(&TestKey::rsa(number))], "spiffe_sequence": sequence, "spiffe_refresh_hint": 60 });
        bundle.publish_raw(set.to_string());
    };
    let present = |number: usize| {
        let token = TestKey::rsa(number).sign(&svid(&platform, json!({})));
        let platform = &platform;
        async move { platform.present_text(&token).await.status }
    };
    publish(1, 7);
    platform.server.clock.advance(900);
    assert_eq!(present(1).await, 200);
    let fetches = bundle.key_fetches();
    platform.server.clock.advance(59);
    assert_eq!((present(1).await, bundle.key_fetches()), (200, fetches));
    // An older bundle is as good as none.
    publish(2, 6);
    platform.server.clock.advance(400);
    assert_eq!((present(1).await, present(2).await), (200, 400));
    assert!(bundle.key_fetches() > fetches);
    publish(2, 8);
    platform.server.clock.advance(400);
    assert_eq!(present(2).await, 200);
}

#[tokio::test]
async fn spiffe_bnd_4__bundles_without_a_number_and_operator_refreshes_reset_the_order() {
    let (platform, bundle) = domain().await;
    let publish = |number: usize, sequence: Value| {
        let set = json!({ "keys": [for_svids(&TestKey::rsa(number))] });
        bundle.publish_raw(changed(&set, json!({ "spiffe_sequence": sequence })).to_string());
        platform.server.clock.advance(900);
    };
    let present = async |number: usize| {
        platform
            .present_text(&TestKey::rsa(number).sign(&svid(&platform, json!({}))))
            .await
            .status
    };
    publish(1, json!(7));
    assert_eq!(present(1).await, 200);
    publish(2, Value::Null);
    assert_eq!((present(2).await, present(1).await), (200, 400));
    publish(1, json!(7));
    assert_eq!(present(1).await, 200);
    // A trust domain that was set up anew counts from the beginning; an operator who knows that asks for the keys.
    publish(2, json!(1));
    assert_eq!(present(2).await, 400);
    let refreshed = platform
        .server
        .admin("POST", "trusted-issuers/platform/refresh-keys", Value::Null)
        .await;
    assert_eq!(refreshed.status, 200, "{}", refreshed.text());
    assert_eq!((present(2).await, present(1).await), (200, 400));
}

#[tokio::test]
async fn spiffe_bnd_4__fetching_an_older_bundle_does_not_prolong_the_kept_keys() {
    let (platform, bundle) = domain().await;
    let publish = |number: usize, sequence: u64| {
        let set = json!({ "keys": [for_svids(&TestKey::rsa(number))], "spiffe_sequence": sequence, "spiffe_refresh_hint": 36_000 });
        bundle.publish_raw(set.to_string());
    };
    let present = async || {
        platform
            .present_text(&TestKey::rsa(1).sign(&svid(&platform, json!({}))))
            .await
    };
    publish(1, 7);
    platform.server.clock.advance(900);
    present().await.token();
    publish(2, 6);
    for _ in 0..2 {
        platform.server.clock.advance(11 * 3600);
        present().await.token();
    }
    platform.server.clock.advance(3 * 3600);
    present()
        .await
        .refused(503, "temporarily_unavailable", "upstream_unavailable");
}

#[tokio::test]
async fn spiffe_bnd_1__an_emptied_bundle_withdraws_its_keys() {
    let (platform, bundle) = domain().await;
    let key = TestKey::rsa(0);
    for emptied in [
        json!([]),
        json!([changed(&key.jwk(), json!({ "use": "x509-svid" }))]),
    ] {
        bundle.publish(&[for_svids(&key)]);
        platform.server.clock.advance(900);
        platform.accepts(&svid(&platform, json!({}))).await;
        bundle.publish(emptied.as_array().unwrap());
        platform.server.clock.advance(900);
        platform
            .refuses(&svid(&platform, json!({})), "key_unknown")
            .await;
    }
    // A bundle that cannot be read withdraws nothing.
    bundle.publish(&[for_svids(&key)]);
    platform.server.clock.advance(900);
    platform.accepts(&svid(&platform, json!({}))).await;
    bundle.publish_raw("{}");
    platform.server.clock.advance(900);
    platform.accepts(&svid(&platform, json!({}))).await;
    // Nobody begins with an empty one.
    let empty = FakeIssuer::new("https://bundle.new.test", TestKey::rsa(1));
    platform.server.network.add(&empty);
    empty.publish(&[]);
    let keys = json!({ "source": "spiffe_bundle", "uri": "https://bundle.new.test/jwks" });
    platform
        .cannot_trust(json!({ "keys": keys }), "/keys")
        .await;
}

#[tokio::test]
async fn spiffe_rpl_1__an_svid_without_an_id_can_be_used_again() {
    let (platform, _) = domain().await;
    let token = TestKey::rsa(0).sign(&svid(&platform, json!({})));
    platform.present_text(&token).await.token();
    platform.present_text(&token).await.token();
}
