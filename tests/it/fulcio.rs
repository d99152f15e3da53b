//! The kinds of issuers that Fulcio knows, beside build systems (checklist 2.7, attacks 7.9).

use serde_json::{Value, json};

use super::platforms::{Platform, changed};
use crate::support::{FakeIssuer, TestKey};

const CONNECTOR: &str = "/federated_claims/connector_id";

fn mail(platform: &Platform, changes: Value) -> Value {
    let token =
        platform.claims(json!({ "sub": "1101", "email": "alice@corp.example", "email_verified": true, "jti": null }));
    changed(&token, changes)
}

async fn mail_platform(members: Value) -> Platform {
    let platform = Platform::new("email", "https://mail.test", members).await;
    if platform
        .server
        .admin("GET", "trusted-issuers/platform", Value::Null)
        .await
        .json()["issuer_claim"]
        .is_null()
    {
        platform
            .rule(json!({ "email": "alice@corp.example" }))
            .await;
    }
    platform
}

#[tokio::test]
async fn fulcio_base_1__a_token_without_audience_issuer_or_times_is_refused() {
    let platform = mail_platform(json!({})).await;
    platform.accepts(&mail(&platform, json!({}))).await;
    for claim in ["aud", "iss", "exp", "iat"] {
        platform
            .refuses(&mail(&platform, json!({ claim: null })), "claim_missing")
            .await;
    }
}

#[tokio::test]
async fn fulcio_email_1__an_email_address_must_be_present_and_verified() {
    let platform = mail_platform(json!({})).await;
    platform.accepts(&mail(&platform, json!({}))).await;
    for (changes, reason) in [
        (json!({ "email_verified": false }), "email_unverified"),
        (json!({ "email_verified": null }), "claim_missing"),
        (json!({ "email_verified": "true" }), "claim_type"),
        (json!({ "email": null }), "claim_missing"),
        (json!({ "email": "" }), "claim_malformed"),
        (json!({ "email": "corp.example" }), "claim_malformed"),
    ] {
        platform.refuses(&mail(&platform, changes), reason).await;
    }
    let platform = mail_platform(json!({ "accept_string_booleans": true })).await;
    platform
        .accepts(&mail(&platform, json!({ "email_verified": "true" })))
        .await;
    platform
        .refuses(
            &mail(&platform, json!({ "email_verified": "false" })),
            "email_unverified",
        )
        .await;
    // What the issuer says is never overruled: only its silence is excused.
    let platform = mail_platform(json!({ "skip_email_verification": true })).await;
    platform
        .accepts(&mail(&platform, json!({ "email_verified": null })))
        .await;
    platform
        .refuses(
            &mail(&platform, json!({ "email_verified": false })),
            "email_unverified",
        )
        .await;
    let github = Platform::new("github-actions", "https://ci.test", json!({})).await;
    for switch in ["accept_string_booleans", "skip_email_verification"] {
        github
            .cannot_trust(json!({ switch: true }), &format!("/{switch}"))
            .await;
    }
}

#[tokio::test]
async fn atk_064__email_verified_is_refused_unless_it_is_a_json_boolean() {
    let platform = mail_platform(json!({})).await;
    for value in [json!("true"), json!(1), json!("1"), json!([true])] {
        platform
            .refuses(
                &mail(&platform, json!({ "email_verified": value })),
                "claim_type",
            )
            .await;
    }
}

#[tokio::test]
async fn atk_144__an_email_address_is_never_turned_into_another() {
    let platform = mail_platform(json!({})).await;
    platform
        .accepts(&mail(&platform, json!({ "email": "alice@CORP.example" })))
        .await;
    for other in [
        "Alice@corp.example",
        "alice+x@corp.example",
        "a.lice@corp.example",
        "alice@sub.corp.example",
    ] {
        platform
            .refuses(
                &mail(&platform, json!({ "email": other })),
                "no_matching_credential",
            )
            .await;
    }
    for bad in [
        "alice@evil@corp.example",
        "\"alice\"@corp.example",
        "alice@córp.example",
        "alice@corp.example.",
        "alice@corp.example\u{200b}",
    ] {
        platform
            .refuses(&mail(&platform, json!({ "email": bad })), "claim_malformed")
            .await;
    }
    platform
        .rule(json!({ "email_domain": "@Corp.example" }))
        .await;
    assert_eq!(platform.warnings().await, ["whole_domain"]);
    platform
        .accepts(&mail(&platform, json!({ "email": "bob@corp.EXAMPLE" })))
        .await;
    for other in ["bob@evilcorp.example", "bob@sub.corp.example"] {
        platform
            .refuses(
                &mail(&platform, json!({ "email": other })),
                "no_matching_credential",
            )
            .await;
    }
    platform
        .cannot_save(
            json!({ "email_domain": "gmail.com" }),
            "/match/email_domain",
        )
        .await;
    platform.cannot_save(json!({}), "/match").await;
}

#[tokio::test]
async fn fulcio_email_3__an_email_address_from_another_issuer_does_not_match() {
    let platform = mail_platform(json!({})).await;
    let other = FakeIssuer::new("https://other-mail.test", TestKey::rsa(1));
    platform.server.network.add(&other);
    platform
        .server
        .put(
            "trusted-issuers/other",
            json!({ "profile": "email", "issuer": other.url }),
        )
        .await;
    let claims = mail(&platform, json!({ "iss": other.url }));
    platform
        .present_text(&other.key().sign(&claims))
        .await
        .refused(400, "invalid_grant", "no_matching_credential");
    platform.accepts(&mail(&platform, json!({}))).await;
}

#[tokio::test]
async fn fulcio_email_2__a_rule_for_a_broker_must_match_the_upstream_issuer_claim() {
    let platform = mail_platform(json!({ "issuer_claim": CONNECTOR })).await;
    platform
        .cannot_save(json!({ "email": "alice@corp.example" }), "/match/upstream")
        .await;
    let saved = platform
        .rule(json!({ "email": "alice@corp.example", "upstream": { "equals": "google" } }))
        .await;
    assert_eq!(
        saved["match"]["upstream"],
        json!({ "claim": CONNECTOR, "equals": "google" })
    );
    let by = |connector: Value| {
        mail(
            &platform,
            json!({ "federated_claims": { "connector_id": connector } }),
        )
    };
    platform.accepts(&by(json!("google"))).await;
    platform
        .refuses(&by(json!("github")), "no_matching_credential")
        .await;
    platform
        .refuses(&mail(&platform, json!({})), "claim_missing")
        .await;
    for value in [json!(7), json!(["google"]), json!({ "name": "google" })] {
        platform.refuses(&by(value), "claim_type").await;
    }
    let github = Platform::new("github-actions", "https://ci.test", json!({})).await;
    github
        .cannot_trust(json!({ "issuer_claim": "actor" }), "/issuer_claim")
        .await;
}

#[tokio::test]
async fn atk_145__a_brokers_upstream_claim_selects_no_keys_and_must_be_listed_in_the_rule() {
    let platform = mail_platform(json!({})).await;
    // A rule from before the issuer became a broker admits nobody until it says whom it means.
    let broker = platform
        .server
        .admin(
            "PATCH",
            "trusted-issuers/platform",
            json!({ "issuer_claim": "upstream" }),
        )
        .await;
    assert_eq!(broker.status, 200, "{}", broker.text());
    platform
        .refuses(
            &mail(&platform, json!({ "upstream": "https://accounts.example" })),
            "no_matching_credential",
        )
        .await;
    let upstream = json!({ "claim": "upstream", "equals": { "any_of": ["https://accounts.example", "https://b.example"] } });
    platform
        .rule(json!({ "email": "alice@corp.example", "upstream": upstream }))
        .await;
    platform
        .accepts(&mail(
            &platform,
            json!({ "upstream": "https://accounts.example" }),
        ))
        .await;
    let before = platform.server.network.fetched().len();
    platform
        .refuses(
            &mail(&platform, json!({ "upstream": "https://evil.example" })),
            "no_matching_credential",
        )
        .await;
    for value in [json!({}), json!([]), json!(1)] {
        platform
            .refuses(&mail(&platform, json!({ "upstream": value })), "claim_type")
            .await;
    }
    assert_eq!(platform.server.network.fetched().len(), before);
}

#[tokio::test]
async fn fulcio_uri_1__a_subject_domain_outside_the_issuers_registrable_domain_is_refused() {
    let domain = |domain: &str| json!({ "subject_domain": domain });
    let platform = Platform::new(
        "uri",
        "https://accounts.example.com",
        domain("https://example.com/"),
    )
    .await;
    let shown = platform
        .server
        .admin("GET", "trusted-issuers/platform", Value::Null)
        .await
        .json();
    assert_eq!(shown["subject_domain"], "https://example.com");
    for bad in [
        "http://example.com",
        "https://example.org",
        "example.com",
        "https://Example.com",
        "https://example.com/users",
        "https://u@example.com",
        "https://com",
        "https://example.com.evil.test",
        "https://example.com:443",
        "",
    ] {
        platform.cannot_trust(domain(bad), "/subject_domain").await;
    }
    platform
        .cannot_trust(json!({ "subject_domain": null }), "/subject_domain")
        .await;
    // Whoever holds another name under the same public suffix is somebody else (decision D-40).
    let put = |issuer: &str, domain: &str| {
        let document = json!({ "profile": "uri", "issuer": issuer, "subject_domain": domain });
        let server = &platform.server;
        async move {
            server
                .admin("PUT", "trusted-issuers/new?validate=offline", document)
                .await
                .status
        }
    };
    assert_eq!(
        put("https://auth.attacker.co.uk", "https://victim.co.uk").await,
        422
    );
    assert_eq!(put("https://a.github.io", "https://b.github.io").await, 422);
    assert_eq!(
        put("https://auth.shop.co.uk", "https://shop.co.uk").await,
        201
    );
    assert_eq!(put("https://192.0.2.7", "https://192.0.2.8").await, 422);
    platform
        .cannot_save(
            json!({ "subject": "https://example.org/users/1" }),
            "/match/subject",
        )
        .await;
    platform
        .cannot_save(
            json!({ "subject": { "glob": "https://example.com/*" } }),
            "/match/subject",
        )
        .await;
}

#[tokio::test]
async fn fulcio_uri_2__uri_subjects_outside_the_subject_domain_are_refused() {
    let platform = Platform::new(
        "uri",
        "https://accounts.example.com",
        json!({ "subject_domain": "https://example.com" }),
    )
    .await;
    platform
        .rule(json!({ "subject": "https://example.com/users/1" }))
        .await;
    let of = |sub: &str| platform.claims(json!({ "sub": sub }));
    platform.accepts(&of("https://example.com/users/1")).await;
    for outside in [
        "https://example.com.evil.test/u",
        "https://example.com@evil.test/u",
        "https://EXAMPLE.com/u",
        "http://example.com/users/1",
    ] {
        platform
            .refuses(&of(outside), "subject_domain_mismatch")
            .await;
    }
    for inside in [
        "https://example.com/users/10",
        "https://example.com/users/1#x",
        "https://example.com/users/1/",
    ] {
        platform
            .refuses(&of(inside), "no_matching_credential")
            .await;
    }
}

#[tokio::test]
async fn fulcio_uri_3__an_email_address_as_uri_subject_is_refused() {
    let platform = Platform::new(
        "uri",
        "https://accounts.example.com",
        json!({ "subject_domain": "https://example.com" }),
    )
    .await;
    platform
        .refuses(
            &platform.claims(json!({ "sub": "a@example.com" })),
            "subject_domain_mismatch",
        )
        .await;
}

#[tokio::test]
async fn fulcio_user_1__the_domain_of_user_names_has_no_scheme() {
    let platform = Platform::new(
        "username",
        "https://accounts.example.com",
        json!({ "subject_domain": "example.com" }),
    )
    .await;
    for bad in [
        "https://example.com",
        "example.org",
        "Example.com",
        "example.com/",
        "example.com:443",
        "com",
    ] {
        platform
            .cannot_trust(json!({ "subject_domain": bad }), "/subject_domain")
            .await;
    }
    platform.rule(json!({ "username": "alice" })).await;
    platform
        .accepts(&platform.claims(json!({ "sub": "alice" })))
        .await;
    platform
        .refuses(
            &platform.claims(json!({ "sub": "Alice" })),
            "no_matching_credential",
        )
        .await;
    platform
        .refuses(
            &platform.claims(json!({ "sub": "alice@example.com" })),
            "claim_malformed",
        )
        .await;
    platform
        .cannot_save(
            json!({ "username": "alice@example.com" }),
            "/match/username",
        )
        .await;
}

#[tokio::test]
async fn fulcio_user_2__a_workload_id_is_user_name_and_domain() {
    let domain = json!({ "subject_domain": "example.com" });
    let platform = Platform::new("username", "https://accounts.example.com", domain).await;
    platform.rule(json!({ "username": "alice" })).await;
    platform
        .refuses(&platform.claims(json!({ "sub": "a!b" })), "claim_malformed")
        .await;
    platform
        .accepts(&platform.claims(json!({ "sub": "alice" })))
        .await;
    let rules = platform.server.app.rules();
    let issuer = rules.issuer_named("platform").unwrap();
    let claims = carnet::profile::Claims::new(
        platform
            .claims(json!({ "sub": "alice" }))
            .as_object()
            .unwrap()
            .clone(),
    );
    assert_eq!(issuer.workload_id(&claims).unwrap(), "alice!example.com");
}

#[tokio::test]
async fn fulcio_base_2__an_issuer_is_found_by_its_exact_name() {
    let platform = mail_platform(json!({})).await;
    for issuer in ["https://*.oidc.test", "https://mail.test/*"] {
        let document = json!({ "profile": "email", "issuer": issuer });
        let answer = platform
            .server
            .admin("PUT", "trusted-issuers/meta", document)
            .await;
        assert_eq!(
            (answer.status, &answer.json()["errors"][0]["pointer"]),
            (422, &json!("/issuer")),
            "{issuer}"
        );
    }
    for iss in [
        "https://x.mail.test",
        "https://evil.test/?https://mail.test",
        "https://mail.test/",
    ] {
        platform
            .refuses(&mail(&platform, json!({ "iss": iss })), "iss_unknown")
            .await;
    }
}

#[tokio::test]
async fn fulcio_base_3__a_pattern_as_issuer_of_a_trust_domain_is_refused() {
    let platform = mail_platform(json!({})).await;
    let document =
        json!({ "profile": "spiffe", "trust_domain": "td.test", "issuer": "https://*.td.test" });
    let answer = platform
        .server
        .admin("PUT", "trusted-issuers/meta", document)
        .await;
    assert_eq!(
        (answer.status, &answer.json()["errors"][0]["pointer"]),
        (422, &json!("/issuer")),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn fulcio_base_4__keys_come_from_the_issuers_own_host() {
    let platform = mail_platform(json!({})).await;
    let elsewhere = FakeIssuer::new("https://evil.test", TestKey::rsa(1));
    platform.server.network.add(&elsewhere);
    platform
        .issuer
        .metadata(json!({ "issuer": "https://mail.test", "jwks_uri": "https://evil.test/jwks" }));
    let forged = TestKey::rsa(1).sign(&mail(&platform, json!({})));
    let answer = platform.present_text(&forged).await;
    assert_ne!(answer.status, 200, "{}", answer.text());
    platform
        .server
        .admin("POST", "trusted-issuers/platform/refresh-keys", Value::Null)
        .await;
    assert!(
        platform
            .server
            .network
            .fetched()
            .iter()
            .all(|url| !url.starts_with("https://evil.test"))
    );
}
