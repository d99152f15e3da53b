//! What a client gets on behalf of a person, and when it ends.

use super::*;

#[tokio::test]
async fn a_client_acts_for_a_person_within_role_ceiling_and_request() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    let page = browser
        .get(&path(&[("scope", Some("openid profile publish"))]))
        .await;
    let text = page.text();
    for shown in [
        "Let <bdi>The shop</bdi> act for you?",
        "<code>app.test</code>",
        "<code>https://registry.test/</code>",
        "<strong><bdi>octo-org</bdi></strong>",
        "publish: packages <code>left-*</code>",
        "your name and user name",
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    assert!(!text.contains("yank"), "{text}");
    let sent = allow(&mut browser, &page, &[]).await;
    assert_eq!(sent["state"], "a state");
    let answer = asking.redeem(&sent["code"], &[]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let answer = answer.json();
    assert_eq!(answer["scope"], "openid profile publish");
    assert_eq!(
        (&answer["token_type"], &answer["expires_in"]),
        (&json!("Bearer"), &json!(900))
    );
    assert!(answer.get("refresh_token").is_none(), "{answer}");
    let token = claims(answer["access_token"].as_str().unwrap());
    let person = asking.people.person().await;
    assert_eq!(token["aud"], REGISTRY);
    assert_eq!(
        (&token["client_id"], &token["scope"]),
        (&json!("shop"), &json!("publish"))
    );
    assert_eq!(token["principal"]["name"], "octo-org");
    assert_eq!(token["sub"].as_str().unwrap().get(..3), Some("pr_"));
    assert_eq!(
        token["person"],
        json!({ "id": person, "username": "ada", "name": "Ada <Lovelace>" })
    );
    assert_eq!(
        (&token["amr"], &token["auth_time"]),
        (&json!(["pwd", "otp"]), &json!(asking.server().now()))
    );
    assert!(
        token.get("workload").is_none() && token.get("acr").is_none(),
        "{token}"
    );
    let [entry] = token["authorization_details"]
        .as_array()
        .unwrap()
        .as_slice()
    else {
        panic!("{token}")
    };
    let membership = asking
        .server()
        .admin("GET", "memberships/owners", Value::Null)
        .await
        .json();
    assert_eq!(
        (
            &entry["actions"],
            &entry["packages"],
            &entry["owner"],
            &entry["credential"],
            &entry["revision"]
        ),
        (
            &json!(["publish"]),
            &json!(["left-*"]),
            &json!("octo-org"),
            &membership["id"],
            &membership["revision"]
        )
    );
    let introspected = asking
        .introspect(answer["access_token"].as_str().unwrap())
        .await;
    assert_eq!(
        (&introspected["active"], &introspected["person"]["id"]),
        (&json!(true), &json!(person))
    );
    let events = asking.server().audit("outcome=consented").await;
    let [event] = events.as_slice() else {
        panic!("{events:#?}")
    };
    assert_eq!(
        (&event["person"], &event["client_id"], &event["principal"]),
        (&json!(person), &json!("shop"), &json!("octo-org"))
    );
    let issued = asking.server().audit("outcome=issued").await;
    assert_eq!((issued.len(), &issued[0]["person"]), (1, &json!(person)));
}

#[tokio::test]
async fn oidcc_3_1_3_7_1__an_id_token_says_who_signed_in_and_belongs_to_the_request() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    let wanted = [
        ("scope", Some("openid email")),
        ("resource", None),
        ("nonce", Some("once")),
    ];
    let answer = asking.token(&mut browser, &wanted).await;
    let (token, id_token) = (
        answer["access_token"].as_str().unwrap(),
        answer["id_token"].as_str().unwrap(),
    );
    let said = claims(id_token);
    let person = asking.people.person().await;
    assert_eq!(
        (&said["iss"], &said["aud"], &said["sub"]),
        (&json!("https://as.test"), &json!("shop"), &json!(person))
    );
    assert_eq!(
        (&said["nonce"], &said["email"], said.get("name")),
        (&json!("once"), &json!("ada@corp.test"), None)
    );
    assert_eq!(said["auth_time"], asking.server().now());
    assert_eq!(said["at_hash"], base64url(&sha256(token.as_bytes())[..16]));
    // Neither is taken for the other.
    let as_token = asking.introspect(id_token).await;
    assert_eq!(as_token, json!({ "active": false }));
    // Without `openid` there is none.
    let plain = asking.token(&mut browser, &[]).await;
    assert!(plain.get("id_token").is_none(), "{plain}");
}

async fn userinfo(server: &TestServer, token: &str) -> Answer {
    let request =
        axum::http::Request::get("/userinfo").header("authorization", format!("Bearer {token}"));
    server
        .send(request.body(axum::body::Body::empty()).unwrap())
        .await
}

#[tokio::test]
async fn oidcc_5_3_1__userinfo_takes_its_own_tokens_alone_and_says_the_same_sub() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    let wanted = [("scope", Some("openid profile email")), ("resource", None)];
    let answer = asking.token(&mut browser, &wanted).await;
    let token = answer["access_token"].as_str().unwrap();
    assert_eq!(claims(token)["aud"], "https://as.test/userinfo");
    let told = userinfo(asking.server(), token).await;
    assert_eq!(told.status, 200, "{}", told.text());
    let person = asking.people.person().await;
    assert_eq!(
        told.json(),
        json!({ "sub": person, "name": "Ada <Lovelace>", "preferred_username": "ada", "email": "ada@corp.test" })
    );
    assert_eq!(
        claims(answer["id_token"].as_str().unwrap())["sub"],
        json!(person)
    );
    let registry = asking.token(&mut browser, &[]).await;
    let registry = registry["access_token"].as_str().unwrap().to_owned();
    let admin = asking.server().admin_token("admin");
    for other in [
        registry.as_str(),
        &admin,
        answer["id_token"].as_str().unwrap(),
        "x",
        "",
    ] {
        let refused = userinfo(asking.server(), other).await;
        assert_eq!(refused.status, 401, "{other}: {}", refused.text());
        assert!(refused.header("www-authenticate").is_some(), "{other}");
    }
    // And no other endpoint takes this one.
    let request = axum::http::Request::get("/admin/v1/principals")
        .header("authorization", format!("Bearer {token}"));
    let refused = asking
        .server()
        .send(request.body(axum::body::Body::empty()).unwrap())
        .await;
    assert_eq!(refused.status, 401, "{}", refused.text());
    // It ends with the membership.
    let withdrawn = asking
        .server()
        .admin("PATCH", "memberships/owners", json!({ "enabled": false }))
        .await;
    assert_eq!(withdrawn.status, 200);
    assert_eq!(userinfo(asking.server(), token).await.status, 401);
}

/// Something that ends the tokens of a person, and whether they were to end.
async fn ends(asking: &Asking, what: &str, browser: &mut Browser<'_>) {
    let server = asking.server();
    let person = asking.people.person().await;
    let answer = match what {
        "membership disabled" => {
            server
                .admin("PATCH", "memberships/owners", json!({ "enabled": false }))
                .await
        }
        "membership changed" => {
            server
                .admin(
                    "PATCH",
                    "memberships/owners",
                    json!({ "match": { "groups": ["others", "owners"] } }),
                )
                .await
        }
        "membership now a viewer's" => {
            server
                .admin("PATCH", "memberships/owners", json!({ "role": "viewer" }))
                .await
        }
        "client disabled" => {
            server
                .admin("PATCH", "clients/shop", json!({ "enabled": false }))
                .await
        }
        "ceiling lowered" => {
            let permissions = json!([{ "resource_server": "registry", "actions": ["yank"], "packages": ["left-*"] }]);
            server
                .admin(
                    "PATCH",
                    "clients/shop",
                    json!({ "permissions": permissions }),
                )
                .await
        }
        "registry without people" => {
            server
                .admin(
                    "PATCH",
                    "resource-servers/registry",
                    json!({ "people": null }),
                )
                .await
        }
        "action taken from owners" => {
            server
                .admin(
                    "PATCH",
                    "resource-servers/registry",
                    json!({ "people": { "owner": ["yank"] } }),
                )
                .await
        }
        "principal disabled" => {
            server
                .admin("PATCH", "principals/octo-org", json!({ "enabled": false }))
                .await
        }
        "provider disabled" => {
            server
                .admin(
                    "PATCH",
                    "identity-providers/corp",
                    json!({ "enabled": false }),
                )
                .await
        }
        "person disabled" => {
            server
                .admin(
                    "PATCH",
                    &format!("people/{person}"),
                    json!({ "enabled": false }),
                )
                .await
        }
        "sessions ended" => {
            server
                .admin("DELETE", &format!("people/{person}/sessions"), Value::Null)
                .await
        }
        "signed out" => {
            let csrf = browser.csrf().await;
            browser.post("/console/sign-out", &[("csrf", &csrf)]).await
        }
        other => panic!("{other}"),
    };
    assert!(
        matches!(answer.status, 200 | 204 | 303),
        "{what}: {} {}",
        answer.status,
        answer.text()
    );
}

#[tokio::test]
async fn what_a_token_of_a_person_rests_on_ends_it_at_once() {
    for what in [
        "membership disabled",
        "membership changed",
        "membership now a viewer's",
        "client disabled",
        "ceiling lowered",
        "registry without people",
        "action taken from owners",
        "principal disabled",
        "provider disabled",
        "person disabled",
        "sessions ended",
        "signed out",
    ] {
        let asking = Asking::new().await;
        let registry = json!({ "auth_method": "client_secret_post", "grant_types": ["client_credentials"], "resource_server": "registry" });
        let registry = asking
            .server()
            .put("clients/registry-itself", registry)
            .await;
        let secret = registry["client_secret"].as_str().unwrap().to_owned();
        let mut browser = asking.people.signed_in().await;
        let token = asking.token(&mut browser, &[]).await["access_token"]
            .as_str()
            .unwrap()
            .to_owned();
        let active = async || {
            let form = [
                ("token", token.as_str()),
                ("client_id", "registry-itself"),
                ("client_secret", &secret),
            ];
            asking.server().form("/introspect", &form).await.json()["active"].clone()
        };
        assert_eq!(active().await, json!(true), "{what}");
        // What is changed in the millisecond in which a token is issued may leave it.
        asking.server().clock.advance(1);
        assert_eq!(active().await, json!(true), "{what}");
        ends(&asking, what, &mut browser).await;
        assert_eq!(active().await, json!(false), "{what}");
    }
}

#[tokio::test]
async fn a_step_up_leaves_the_tokens_of_the_session_and_another_person_ends_them() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    let token = asking.token(&mut browser, &[]).await["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let stepped = browser.step_up(&asking.people, &People::ada()).await;
    assert_eq!(stepped.status, 303, "{}", stepped.text());
    assert_eq!(asking.introspect(&token).await["active"], true);
    let again = browser.sign_in(&asking.people, &People::ada()).await;
    assert_eq!(again.status, 303, "{}", again.text());
    assert_eq!(asking.introspect(&token).await["active"], true);
    let mut other = People::ada();
    other["sub"] = json!("eve-1");
    let signed_in = browser.sign_in(&asking.people, &other).await;
    assert_eq!(signed_in.status, 303, "{}", signed_in.text());
    assert_eq!(asking.introspect(&token).await, json!({ "active": false }));
}

#[tokio::test]
async fn no_token_outlives_the_session_or_the_setting() {
    let asking = Asking::with(&[
        ("CARNET_PEOPLE__SESSION_SECONDS", "1000"),
        ("CARNET_PEOPLE__TOKEN_LIFETIME_SECONDS", "600"),
    ])
    .await;
    let mut browser = asking.people.signed_in().await;
    let token = asking.token(&mut browser, &[]).await;
    assert_eq!(token["expires_in"], 600);
    asking.server().clock.advance(700);
    let late = asking.token(&mut browser, &[]).await;
    assert_eq!(late["expires_in"], 300);
    asking.server().clock.advance(300);
    assert_eq!(
        asking
            .introspect(late["access_token"].as_str().unwrap())
            .await,
        json!({ "active": false })
    );
}

#[tokio::test]
async fn a_person_of_another_role_gives_what_the_registry_lets_the_role_do() {
    let asking = Asking::new().await;
    let viewers = json!({ "identity_provider": "corp", "match": { "groups": ["readers"] }, "principal": "octo-org", "role": "viewer" });
    asking.people.put("memberships/viewers", viewers).await;
    let mut reader = People::ada();
    (reader["sub"], reader["groups"]) = (json!("rita-1"), json!(["readers"]));
    let mut browser = asking.people.browser();
    browser.sign_in(&asking.people, &reader).await;
    assert_eq!(
        sent_back(&browser.get(&path(&[])).await)["error"],
        "access_denied"
    );
    let changed = asking
        .server()
        .admin(
            "PATCH",
            "resource-servers/registry",
            json!({ "people": { "owner": ["publish"], "viewer": ["yank"] } }),
        )
        .await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    assert_eq!(
        sent_back(&browser.get(&path(&[])).await)["error"],
        "access_denied"
    );
    let token = asking.token(&mut browser, &[("scope", Some("yank"))]).await;
    assert_eq!(token["scope"], "yank");
    // Without a scope, all that role and ceiling give.
    let all = asking.token(&mut browser, &[("scope", None)]).await;
    assert_eq!(all["scope"], "yank");
}

#[tokio::test]
async fn an_exchanged_token_keeps_the_person_and_ends_with_the_session() {
    let asking = Asking::new().await;
    let changed = asking.server().admin("PATCH", "clients/shop", json!({ "grant_types": ["authorization_code", "urn:ietf:params:oauth:grant-type:token-exchange"] })).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let mut browser = asking.people.signed_in().await;
    let first = asking
        .token(&mut browser, &[("scope", Some("publish yank"))])
        .await;
    let form = [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("subject_token", first["access_token"].as_str().unwrap()),
        (
            "subject_token_type",
            "urn:ietf:params:oauth:token-type:access_token",
        ),
        ("scope", "yank"),
    ];
    let basic = basic(SECRET_CLIENT, &asking.secret);
    let second = asking
        .server()
        .form_with("/token", &[("authorization", &basic)], &form)
        .await;
    assert_eq!(second.status, 200, "{}", second.text());
    let second = second.json()["access_token"].as_str().unwrap().to_owned();
    let (one, other) = (
        claims(first["access_token"].as_str().unwrap()),
        claims(&second),
    );
    for name in ["person", "sid", "auth_time", "amr", "sub", "principal"] {
        assert_eq!(one[name], other[name], "{name}");
    }
    assert_eq!(other["scope"], "yank");
    ends(&asking, "sessions ended", &mut browser).await;
    assert_eq!(asking.introspect(&second).await, json!({ "active": false }));
}
