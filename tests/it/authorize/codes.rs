//! Authorization codes: whose they are, how long they last, and that each gives one token.

use std::sync::Arc;

use super::*;

async fn refused(asking: &Asking, code: &str, changes: &[(&str, Option<&str>)], reason: &str) {
    let answer = asking.redeem(code, changes).await;
    let error = if reason.starts_with("parameter_") {
        "invalid_request"
    } else {
        "invalid_grant"
    };
    answer.refused(400, error, reason);
}

#[tokio::test]
async fn rfc6749_4_1_2_1__a_code_belongs_to_client_redirect_uri_and_wrong_ones_do_not_burn_it() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    let code = asking.code(&mut browser, &[]).await;
    assert_eq!(code.len(), 43);
    for (changes, reason) in [
        (vec![("redirect_uri", None)], "redirect_uri_mismatch"),
        (
            vec![("redirect_uri", Some("https://app.test/cb/"))],
            "redirect_uri_mismatch",
        ),
        // Equal when parsed, and not as text.
        (
            vec![("redirect_uri", Some("https://APP.test/cb"))],
            "redirect_uri_mismatch",
        ),
        (
            vec![("redirect_uri", Some("https://app.test:443/cb"))],
            "redirect_uri_mismatch",
        ),
        (vec![("code", Some("x"))], "code_invalid"),
        (
            vec![("code", Some("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"))],
            "code_invalid",
        ),
        (vec![("code", None)], "parameter_missing"),
    ] {
        refused(&asking, &code, &changes, reason).await;
    }
    // Another client, which says that it is the one of the code.
    let form = [
        ("grant_type", "authorization_code"),
        ("code", &code),
        ("redirect_uri", APP),
        ("code_verifier", VERIFIER),
        ("client_id", "tool"),
    ];
    let answer = asking.server().form("/token", &form).await;
    answer.refused(400, "invalid_grant", "code_invalid");
    let nobody = &form[..4];
    let answer = asking.server().form("/token", nobody).await;
    answer.refused(401, "invalid_client", "client_authentication_failed");
    let unauthenticated = [nobody, &[("client_id", "shop")]].concat();
    assert_eq!(
        asking
            .server()
            .form("/token", &unauthenticated)
            .await
            .status,
        401
    );
    assert_eq!(asking.redeem(&code, &[]).await.status, 200);
}

#[tokio::test]
async fn rfc7636_4_6_1__a_verifier_that_does_not_fit_gives_nothing_and_burns_nothing() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    let code = asking.code(&mut browser, &[]).await;
    let challenge = challenge();
    // One that does not fit, none, and the challenge itself.
    for verifier in [
        Some("b-verifier-of-at-least-forty-three-characters-0123456789"),
        None,
        Some(""),
        Some(challenge.as_str()),
    ] {
        refused(
            &asking,
            &code,
            &[("code_verifier", verifier)],
            "pkce_failed",
        )
        .await;
    }
    assert_eq!(asking.redeem(&code, &[]).await.status, 200);
}

#[tokio::test]
async fn rfc7636_4_1_1__a_verifier_has_43_to_128_unreserved_characters() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    let spaced = format!("{} {}", "a".repeat(30), "b".repeat(30));
    for (verifier, status) in [
        ("v".repeat(42), 400),
        ("v".repeat(43), 200),
        ("v".repeat(128), 200),
        ("v".repeat(129), 400),
        (spaced, 400),
        (format!("{}+/=", "v".repeat(43)), 400),
        (format!("{}é", "v".repeat(43)), 400),
        (format!("-._~{}", "v".repeat(43)), 200),
    ] {
        // The challenge fits each of them.
        let challenge = base64url(sha256(verifier.as_bytes()));
        let wanted = [("code_challenge", Some(challenge.as_str()))];
        let code = asking.code(&mut browser, &wanted).await;
        let answer = asking
            .redeem(&code, &[("code_verifier", Some(&verifier))])
            .await;
        assert_eq!(answer.status, status, "{verifier}: {}", answer.text());
        if status == 400 {
            answer.refused(400, "invalid_grant", "pkce_failed");
        }
    }
}

#[tokio::test]
async fn rfc6749_4_1_2_1__a_code_lasts_a_minute() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    let early = asking.code(&mut browser, &[]).await;
    let late = asking
        .code(&mut browser, &[("prompt", Some("consent"))])
        .await;
    asking.server().clock.advance(59);
    assert_eq!(asking.redeem(&early, &[]).await.status, 200);
    asking.server().clock.advance(1);
    refused(&asking, &late, &[], "code_expired").await;
}

#[tokio::test]
async fn rfc6749_4_1_2_1__of_fifty_redemptions_one_gives_a_token_and_the_replay_ends_it() {
    let asking = Arc::new(Asking::new().await);
    let other = Arc::new(asking.server().another_node().await);
    let mut browser = asking.people.signed_in().await;
    let code = asking.code(&mut browser, &[]).await;
    let tasks: Vec<_> = (0..50)
        .map(|number| {
            let (asking, other, code) = (asking.clone(), other.clone(), code.clone());
            tokio::spawn(async move {
                let at = if number % 2 == 0 {
                    asking.server()
                } else {
                    &*other
                };
                redeem_at(at, &asking.secret, &code, &[]).await
            })
        })
        .collect();
    let mut tokens = Vec::new();
    for task in tasks {
        let answer = task.await.unwrap();
        if answer.status == 200 {
            tokens.push(answer.token());
        } else {
            answer.refused(400, "invalid_grant", "code_used");
        }
    }
    assert_eq!(tokens.len(), 1);
    assert_eq!(
        asking.introspect(&tokens[0]).await,
        json!({ "active": false })
    );
    let revoked = asking.server().audit("outcome=revoked").await;
    assert_eq!(
        (revoked.len(), &revoked[0]["reason"]),
        (1, &json!("code_used"))
    );
}

#[tokio::test]
async fn a_code_ends_with_the_session_and_the_membership() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    let code = asking.code(&mut browser, &[]).await;
    let changed = asking
        .server()
        .admin("PATCH", "memberships/owners", json!({ "enabled": false }))
        .await;
    assert_eq!(changed.status, 200);
    refused(&asking, &code, &[], "role_missing").await;
    let changed = asking
        .server()
        .admin("PATCH", "memberships/owners", json!({ "enabled": true }))
        .await;
    assert_eq!(changed.status, 200);
    let person = asking.people.person().await;
    let ended = asking
        .server()
        .admin("DELETE", &format!("people/{person}/sessions"), Value::Null)
        .await;
    assert_eq!(ended.status, 200, "{}", ended.text());
    refused(&asking, &code, &[], "session_over").await;
}

#[tokio::test]
async fn a_client_registered_anew_under_the_name_gets_nothing_of_the_former_ones_codes() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    let code = asking.code(&mut browser, &[]).await;
    let document = asking
        .server()
        .admin("GET", "clients/shop", Value::Null)
        .await
        .json();
    assert_eq!(
        asking
            .server()
            .admin("DELETE", "clients/shop", Value::Null)
            .await
            .status,
        204
    );
    let mut again = json!({});
    for name in [
        "auth_method",
        "grant_types",
        "redirect_uris",
        "scopes",
        "permissions",
    ] {
        again[name] = document[name].clone();
    }
    let saved = asking.server().put("clients/shop", again).await;
    let answer = redeem_at(
        asking.server(),
        saved["client_secret"].as_str().unwrap(),
        &code,
        &[],
    )
    .await;
    answer.refused(400, "invalid_grant", "code_invalid");
}

#[tokio::test]
async fn rfc8707_2_2_1__the_token_request_may_name_the_same_resource_and_fewer_scopes() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    let wanted = [("scope", Some("openid publish yank"))];
    let code = asking.code(&mut browser, &wanted).await;
    for (name, value, error, reason) in [
        (
            "resource",
            "https://other.test/",
            "invalid_target",
            "target_not_granted",
        ),
        ("scope", "create", "invalid_scope", "scope_not_granted"),
        (
            "scope",
            "openid profile",
            "invalid_scope",
            "scope_not_granted",
        ),
        (
            "principal",
            "somebody",
            "invalid_request",
            "parameter_malformed",
        ),
        (
            "authorization_details",
            r#"[{"type":"package","actions":["publish"],"packages":["left-pad"]}]"#,
            "invalid_request",
            "parameter_malformed",
        ),
    ] {
        asking
            .redeem(&code, &[(name, Some(value))])
            .await
            .refused(400, error, reason);
    }
    let answer = asking
        .redeem(
            &code,
            &[
                ("resource", Some(REGISTRY)),
                ("scope", Some("openid yank")),
                ("principal", Some("OCTO-org")),
            ],
        )
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(claims(&answer.token())["scope"], "yank");
}

#[tokio::test]
async fn rfc9449_10_1__a_code_is_bound_to_the_key_that_the_request_named() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    let key = carnet_dpop::ProofKey::generate().unwrap();
    let jkt = key.thumbprint().to_owned();
    let code = asking.code(&mut browser, &[("dpop_jkt", Some(&jkt))]).await;
    asking
        .redeem(&code, &[])
        .await
        .refused(400, "invalid_grant", "proof_mismatch");
    let other = carnet_dpop::ProofKey::generate().unwrap();
    for (key, status) in [(&other, 400), (&key, 200)] {
        let proof = key
            .prove(
                ("POST", "https://as.test/token"),
                None,
                None,
                asking.server().now(),
            )
            .unwrap();
        let usual = [
            ("grant_type", "authorization_code"),
            ("code", &*code),
            ("redirect_uri", APP),
            ("code_verifier", VERIFIER),
        ];
        let basic = basic(SECRET_CLIENT, &asking.secret);
        let headers = [("authorization", basic.as_str()), ("dpop", proof.as_str())];
        let answer = asking.server().form_with("/token", &headers, &usual).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        if status == 200 {
            assert_eq!(answer.json()["token_type"], "DPoP");
            assert_eq!(claims(&answer.token())["cnf"]["jkt"], json!(jkt));
        }
    }
}

#[tokio::test]
async fn codes_verifiers_and_states_stand_nowhere_in_the_database() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    let code = asking
        .code(&mut browser, &[("state", Some("canary-state"))])
        .await;
    assert_eq!(asking.redeem(&code, &[]).await.status, 200);
    let dump = asking.server().db.folder().join("dump");
    asking.server().db.back_up(&dump).await;
    let dump = std::fs::read(&dump).unwrap();
    for secret in [code.as_str(), VERIFIER, "canary-state"] {
        let secret = secret.as_bytes();
        let is_there = dump.windows(secret.len()).any(|window| window == secret);
        assert!(!is_there);
    }
}

#[tokio::test]
async fn after_a_restore_codes_from_before_give_nothing_on_any_node() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    let code = asking.code(&mut browser, &[]).await;
    let now = carnet::clock::Timestamp::from_seconds(asking.server().now());
    asking.server().app.store.note_restore(now).await.unwrap();
    let restored = asking.server().another_node().await;
    let answer = redeem_at(&restored, &asking.secret, &code, &[]).await;
    answer.refused(400, "invalid_grant", "code_invalid");
    // A replica that started before knows only that the session is gone.
    refused(&asking, &code, &[], "session_over").await;
    asking.server().clock.advance(1);
    let mut browser = asking.people.signed_in().await;
    let code = asking.code(&mut browser, &[]).await;
    let answer = redeem_at(&restored, &asking.secret, &code, &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.json());
}
