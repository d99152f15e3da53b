//! What an authorization request may be, and who is told of a wrong one.

use super::*;

/// The answer to a request of somebody who is signed in.
async fn ask(browser: &mut Browser<'_>, changes: &[(&str, Option<&str>)]) -> Answer {
    browser.get(&path(changes)).await
}

#[tokio::test]
async fn rfc6749_4_1_2_1_1__a_bad_client_sends_nobody_anywhere() {
    let asking = Asking::new().await;
    let registry = json!({ "auth_method": "client_secret_basic", "grant_types": ["client_credentials"], "resource_server": "registry" });
    asking.people.put("clients/no-asker", registry).await;
    let mut browser = asking.people.signed_in().await;
    for client in [
        None,
        Some(""),
        Some("nobody"),
        Some("no-asker"),
        Some("SHOP"),
        Some("fc_01"),
        Some("federated:x"),
    ] {
        let answer = ask(&mut browser, &[("client_id", client)]).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (400, None),
            "{client:?} {}",
            answer.text()
        );
    }
    // A repeated parameter, one of which could be wrong.
    for twice in ["client_id=shop", "redirect_uri=https%3A%2F%2Fapp.test%2Fcb"] {
        let answer = browser.get(&format!("{}&{twice}", path(&[]))).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (400, None),
            "{}",
            answer.text()
        );
    }
    let disabled = asking
        .server()
        .admin("PATCH", "clients/shop", json!({ "enabled": false }))
        .await;
    assert_eq!(disabled.status, 200);
    assert_eq!(ask(&mut browser, &[]).await.status, 400);
}

#[tokio::test]
async fn rfc9700_2_1_2__sixty_redirect_uris_that_lead_elsewhere_send_nobody_anywhere() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    // Open redirects: nothing but the registered text is a place to go.
    let hostile = [
        "https://app.test/cb/",
        "https://app.test/cb?",
        "https://app.test/cb#",
        "https://app.test/cb?x=1",
        "https://app.test/CB",
        "https://APP.test/cb",
        "HTTPS://app.test/cb",
        "https://app.test:443/cb",
        "https://app.test./cb",
        "https://app.test/./cb",
        "https://app.test/x/../cb",
        "https://app.test//cb",
        "https://app.test/%63b",
        "https://app.test/cb%00",
        "https://app.test/cb%0d%0a",
        "https://app.test/cb\n",
        " https://app.test/cb",
        "https://app.test/cb ",
        "https://app.test\\@evil.test/cb",
        "https://app.test@evil.test/cb",
        "https://evil.test/?https://app.test/cb",
        "https://evil.test/#https://app.test/cb",
        "https://app.test.evil.test/cb",
        "https://evilapp.test/cb",
        "//app.test/cb",
        "/cb",
        "cb",
        "",
        "https:app.test/cb",
        "https:/app.test/cb",
        "https:///app.test/cb",
        "http://app.test/cb",
        "javascript:alert(1)",
        "data:text/html,x",
        "vbscript:x",
        "file:///etc/passwd",
        "about:blank",
        "https://evil.test",
        "http://127.0.0.1/cb",
        "http://localhost/cb",
        "https://app.test/cb;x",
        "https://app.test/cb&x=1",
        "https://app.test/cb=",
        "https://user@app.test/cb",
        "https://user:pw@app.test/cb",
        "https://app.test:80/cb",
        "https://app.test:8443/cb",
        "https://[::1]/cb",
        "https://аpp.test/cb",
        "https://app.test/cb\u{0}",
        "https://app.test/cb\u{202e}",
        "https://app.test/*",
        "https://*.test/cb",
        "*",
        "urn:ietf:wg:oauth:2.0:oob",
        "https://app.test/cb,https://evil.test",
        "https://app.test/cb https://evil.test",
        "app.test/cb",
        "https://app.test",
        "https://app.test/",
    ];
    assert!(hostile.len() >= 60);
    for uri in hostile {
        let answer = ask(&mut browser, &[("redirect_uri", Some(uri))]).await;
        if uri.is_empty() {
            // Left out, which is the only registered one.
            assert_eq!(answer.status, 200, "{uri:?}");
            continue;
        }
        assert_eq!(
            (answer.status, answer.header("location")),
            (400, None),
            "{uri:?} {}",
            answer.text()
        );
        assert!(
            answer.text().contains("redirect_uri_unregistered"),
            "{uri:?} {}",
            answer.text()
        );
    }
}

#[tokio::test]
async fn rfc9700_2_1_1__redirect_uris_are_compared_byte_for_byte() {
    let asking = Asking::new().await;
    // A registered text that a parser would write in another way.
    let odd = "https://APP.test:443/a/%7Eb?x=1";
    let changed = json!({ "redirect_uris": [APP, odd] });
    let saved = asking
        .server()
        .admin("PATCH", "clients/shop", changed)
        .await;
    let mut browser = asking.people.signed_in().await;
    if saved.status == 200 {
        let page = ask(&mut browser, &[("redirect_uri", Some(odd))]).await;
        let answer = press(&mut browser, &page, "allow", &[]).await;
        let to = link(&answer.text());
        assert!(to.starts_with(&format!("{odd}&code=")), "{to}");
    } else {
        assert_eq!(saved.status, 422, "{}", saved.text());
    }
    for at in 0..APP.len() {
        let mut bent = APP.as_bytes().to_vec();
        bent[at] ^= 1;
        let Ok(bent) = String::from_utf8(bent) else {
            continue;
        };
        for uri in [
            bent,
            format!("{}x{}", &APP[..at], &APP[at..]),
            format!("{}{}", &APP[..at], &APP[at + 1..]),
        ] {
            let answer = ask(&mut browser, &[("redirect_uri", Some(&uri))]).await;
            assert_eq!(
                (answer.status, answer.header("location")),
                (400, None),
                "{uri}"
            );
        }
    }
}

#[tokio::test]
async fn rfc9700_2_1_1_2__no_code_was_issued_without_a_challenge() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    asking.code(&mut browser, &[]).await;
    let sql = "SELECT COUNT(*) FROM authorization_code WHERE challenge LIKE '%S'";
    assert_eq!(asking.server().db.column::<i64>(sql).await, [1]);
    let none = "SELECT COUNT(*) FROM authorization_code WHERE challenge NOT LIKE '%S' OR LENGTH(challenge) <> 44";
    assert_eq!(asking.server().db.column::<i64>(none).await, [0]);
}

#[tokio::test]
async fn rfc7636_4_2_1__s256_is_taken_and_plain_is_not() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    let plain = [
        ("code_challenge", Some(VERIFIER)),
        ("code_challenge_method", Some("plain")),
    ];
    assert_eq!(
        sent_back(&ask(&mut browser, &plain).await)["error"],
        "invalid_request"
    );
    let code = asking.code(&mut browser, &[]).await;
    assert_eq!(asking.redeem(&code, &[]).await.status, 200);
}

#[tokio::test]
async fn rfc9207_2_3_1__the_metadata_promise_the_issuer_in_answers() {
    let asking = Asking::new().await;
    for path in [
        "/.well-known/oauth-authorization-server",
        "/.well-known/openid-configuration",
    ] {
        let document = asking.server().get(path).await.json();
        assert_eq!(
            document["authorization_response_iss_parameter_supported"], true,
            "{path}"
        );
    }
}

#[tokio::test]
async fn rfc6749_4_1_2_1_2__the_client_is_told_of_everything_else() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    let long = "x".repeat(44);
    for (changes, error) in [
        (vec![("response_type", None)], "invalid_request"),
        (
            vec![("response_type", Some("token"))],
            "unsupported_response_type",
        ),
        (
            vec![("response_type", Some("code id_token"))],
            "unsupported_response_type",
        ),
        (vec![("response_mode", Some("fragment"))], "invalid_request"),
        (
            vec![("response_mode", Some("form_post"))],
            "invalid_request",
        ),
        (vec![("request", Some("ey"))], "request_not_supported"),
        (
            vec![("request_uri", Some("https://app.test/r"))],
            "request_uri_not_supported",
        ),
        (vec![("scope", Some("everything"))], "invalid_scope"),
        (vec![("scope", Some("create"))], "invalid_scope"),
        (vec![("scope", Some("publish\"x"))], "invalid_scope"),
        (vec![("scope", Some("admin"))], "invalid_scope"),
        (
            vec![
                ("scope", Some("publish")),
                ("resource", Some("https://as.test/admin")),
            ],
            "invalid_scope",
        ),
        (
            vec![
                ("scope", Some("publish")),
                ("resource", Some("https://as.test/userinfo")),
            ],
            "invalid_scope",
        ),
        (vec![("resource", Some("not a uri"))], "invalid_target"),
        (
            vec![("authorization_details", Some("{}"))],
            "invalid_authorization_details",
        ),
        (
            vec![("authorization_details", Some("[{\"type\":\"other\"}]"))],
            "invalid_authorization_details",
        ),
        (vec![("prompt", Some("none login"))], "invalid_request"),
        (vec![("prompt", Some("create"))], "invalid_request"),
        (vec![("max_age", Some("-1"))], "invalid_request"),
        (vec![("max_age", Some("soon"))], "invalid_request"),
        (vec![("dpop_jkt", Some(long.as_str()))], "invalid_request"),
        (vec![("principal", Some("somebody-else"))], "access_denied"),
        (
            vec![("resource", Some("https://unknown.test/"))],
            "access_denied",
        ),
    ] {
        let sent = sent_back(&ask(&mut browser, &changes).await);
        assert_eq!(
            (sent["error"].as_str(), sent["state"].as_str()),
            (error, "a state"),
            "{changes:?} {sent:?}"
        );
        assert!(!sent.contains_key("code"));
        let described = &sent["error_description"];
        assert!(
            described
                .chars()
                .all(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\')),
            "{described}"
        );
    }
    // Repeated parameters are refused, and not read once.
    for twice in [
        "scope=publish",
        "nonce=a&nonce=b",
        "code_challenge_method=S256",
        "response_type=code",
        "prompt=none&prompt=login",
    ] {
        let sent = sent_back(&browser.get(&format!("{}&{twice}", path(&[]))).await);
        assert_eq!(sent["error"], "invalid_request", "{twice}");
    }
    let sent = sent_back(
        &browser
            .get(&format!(
                "{}&resource=https%3A%2F%2Fother.test%2F",
                path(&[])
            ))
            .await,
    );
    assert_eq!(sent["error"], "invalid_target");
    // What is not known is ignored, even if it repeats (RFC 6749 section 3.1).
    let answer = browser
        .get(&format!(
            "{}&audience=x&foo=1&foo=2&display=page",
            path(&[])
        ))
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let too_long = "s".repeat(2100);
    assert_eq!(
        ask(&mut browser, &[("state", Some(&too_long))])
            .await
            .status,
        400
    );
}

#[tokio::test]
async fn rfc9700_2_1_1_1__without_pkce_by_s256_nobody_is_asked() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    let (short, long) = ("x".repeat(42), "x".repeat(44));
    for changes in [
        vec![("code_challenge", None)],
        vec![("code_challenge_method", None)],
        vec![("code_challenge_method", Some("plain"))],
        vec![("code_challenge_method", Some("s256"))],
        vec![("code_challenge", None), ("code_challenge_method", None)],
        vec![("code_challenge", Some(""))],
        vec![("code_challenge", Some(short.as_str()))],
        vec![("code_challenge", Some(long.as_str()))],
        vec![(
            "code_challenge",
            Some("+x/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"),
        )],
        vec![
            ("code_challenge", Some(VERIFIER)),
            ("code_challenge_method", Some("plain")),
        ],
    ] {
        let sent = sent_back(&ask(&mut browser, &changes).await);
        assert_eq!(sent["error"], "invalid_request", "{changes:?}");
        assert!(
            sent["error_description"].contains("code challenge"),
            "{sent:?}"
        );
    }
}

#[tokio::test]
async fn rfc8252_7_3_1__a_native_client_is_answered_at_any_port_of_its_loopback_address() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    for uri in [
        "http://127.0.0.1:49152/callback",
        "http://127.0.0.1:7/callback",
        "http://127.0.0.1/callback",
        "com.example.tool:/callback",
    ] {
        let page = ask(
            &mut browser,
            &[("client_id", Some("tool")), ("redirect_uri", Some(uri))],
        )
        .await;
        assert_eq!(page.status, 200, "{uri} {}", page.text());
        assert!(page.text().contains("a program on this machine"), "{uri}");
        let answer = press(&mut browser, &page, "allow", &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let to = link(&answer.text());
        assert!(to.starts_with(&format!("{uri}?code=")), "{to}");
        let code = parameters(&to)["code"].clone();
        let form = [
            ("grant_type", "authorization_code"),
            ("code", &*code),
            ("redirect_uri", uri),
            ("code_verifier", VERIFIER),
            ("client_id", "tool"),
        ];
        let answer = asking.server().form("/token", &form).await;
        assert_eq!(answer.status, 200, "{uri} {}", answer.text());
    }
    for uri in [
        "http://127.0.0.1:49152/other",
        "http://127.0.0.2:1/callback",
        "http://localhost:1/callback",
        "http://127.0.0.1:x/callback",
        "http://[::1]:1/callback",
        "com.example.tool:/other",
        "com.example.other:/callback",
    ] {
        let answer = ask(
            &mut browser,
            &[("client_id", Some("tool")), ("redirect_uri", Some(uri))],
        )
        .await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (400, None),
            "{uri}"
        );
    }
    // It has several, so it has to say which.
    assert_eq!(
        ask(
            &mut browser,
            &[("client_id", Some("tool")), ("redirect_uri", None)]
        )
        .await
        .status,
        400
    );
}

#[tokio::test]
async fn rfc6749_3_1_2_3_1__the_only_redirect_uri_may_be_left_out_in_both_requests() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    for (redeemed_with, status) in [
        (None, 200),
        (Some(APP), 200),
        (Some("https://app.test/"), 400),
    ] {
        let code = asking.code(&mut browser, &[("redirect_uri", None)]).await;
        let answer = asking
            .redeem(&code, &[("redirect_uri", redeemed_with)])
            .await;
        assert_eq!(answer.status, status, "{redeemed_with:?} {}", answer.text());
    }
}

#[tokio::test]
async fn only_a_person_who_opens_the_page_is_asked() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    let path = path(&[]);
    for headers in [
        [("sec-fetch-mode", "no-cors"), ("sec-fetch-dest", "image")],
        [("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "iframe")],
        [("sec-fetch-mode", "cors"), ("sec-fetch-dest", "empty")],
        [("sec-purpose", "prefetch"), ("sec-fetch-dest", "document")],
    ] {
        let headers = [&[("host", "as.test")], headers.as_slice()].concat();
        let answer = browser.send("GET", &path, &headers, Vec::new()).await;
        assert_eq!(answer.status, 403, "{headers:?} {}", answer.text());
    }
    let elsewhere = browser
        .send("GET", &path, &[("host", "other.test")], Vec::new())
        .await;
    assert_eq!(elsewhere.status, 404);
    assert_eq!(browser.post(&path, &[]).await.status, 405);
    assert_eq!(browser.get("/authorize/consent").await.status, 405);
    let page = browser.get(&path).await;
    for (name, value) in [
        ("x-frame-options", None),
        ("cross-origin-opener-policy", None),
        ("cache-control", Some("no-store")),
        ("referrer-policy", Some("same-origin")),
    ] {
        assert_eq!(page.header(name), value, "{name}");
    }
    assert!(
        page.header("content-security-policy")
            .unwrap()
            .contains("frame-ancestors 'none'")
    );
}

#[tokio::test]
async fn rfc8414_2_3__the_metadata_name_the_endpoint_only_where_people_can_sign_in() {
    let asking = Asking::new().await;
    let documents = async || {
        let paths = [
            "/.well-known/oauth-authorization-server",
            "/.well-known/openid-configuration",
        ];
        let (one, other) = (
            asking.server().get(paths[0]).await.json(),
            asking.server().get(paths[1]).await.json(),
        );
        (one, other)
    };
    let (one, other) = documents().await;
    assert_eq!(one, other);
    for (name, value) in [
        ("authorization_endpoint", json!("https://as.test/authorize")),
        ("userinfo_endpoint", json!("https://as.test/userinfo")),
        ("response_types_supported", json!(["code"])),
        ("code_challenge_methods_supported", json!(["S256"])),
        (
            "authorization_response_iss_parameter_supported",
            json!(true),
        ),
        ("subject_types_supported", json!(["public"])),
        ("id_token_signing_alg_values_supported", json!(["ES256"])),
        (
            "scopes_supported",
            json!(["create", "publish", "yank", "openid", "profile", "email"]),
        ),
    ] {
        assert_eq!(one[name], value, "{name}");
    }
    assert!(
        one["grant_types_supported"]
            .as_array()
            .unwrap()
            .contains(&json!("authorization_code"))
    );
    let disabled = asking
        .server()
        .admin(
            "PATCH",
            "identity-providers/corp",
            json!({ "enabled": false }),
        )
        .await;
    assert_eq!(disabled.status, 200);
    let (one, _) = documents().await;
    assert_eq!(
        (
            one.get("authorization_endpoint"),
            &one["response_types_supported"]
        ),
        (None, &json!([]))
    );
    assert!(
        !one["grant_types_supported"]
            .as_array()
            .unwrap()
            .contains(&json!("authorization_code"))
    );
    assert_eq!(asking.people.browser().get(&path(&[])).await.status, 404);
}

#[tokio::test]
async fn rfc7636_4_4_1_1__a_public_client_without_a_challenge_and_one_with_plain_are_told_so() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    let to = "http://127.0.0.1:9/callback";
    for (challenge, method) in [(None, None), (Some(VERIFIER), Some("plain"))] {
        let wanted = [
            ("client_id", Some("tool")),
            ("redirect_uri", Some(to)),
            ("code_challenge", challenge),
            ("code_challenge_method", method),
        ];
        let answer = ask(&mut browser, &wanted).await;
        let location = answer.header("location").unwrap();
        assert!(
            location.starts_with(&format!("{to}?error=invalid_request&")),
            "{location}"
        );
    }
}

#[tokio::test]
async fn rfc9700_2_1_2_1__nothing_but_codes_comes_over_the_front_channel() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    for response_type in [
        "token",
        "id_token",
        "id_token token",
        "code token",
        "code id_token token",
        "none",
        "CODE",
    ] {
        let sent = sent_back(&ask(&mut browser, &[("response_type", Some(response_type))]).await);
        assert_eq!(
            sent["error"], "unsupported_response_type",
            "{response_type}"
        );
    }
}

#[tokio::test]
async fn rfc9207_2_1__every_answer_names_the_issuer() {
    // An issuer with a path, whose whole identifier counts.
    let asking = Asking::with(&[("CARNET_ISSUER", "https://as.test/carnet")]).await;
    let answer = asking
        .people
        .browser()
        .get(&format!("/carnet{}", path(&[("prompt", Some("none"))])))
        .await;
    let sent = parameters(answer.header("location").unwrap());
    assert_eq!(
        (sent["error"].as_str(), sent["iss"].as_str()),
        ("login_required", "https://as.test/carnet")
    );
    let metadata = asking
        .server()
        .get("/.well-known/oauth-authorization-server/carnet")
        .await
        .json();
    assert_eq!(
        metadata["authorization_endpoint"],
        "https://as.test/carnet/authorize"
    );
    assert_eq!(
        metadata["authorization_response_iss_parameter_supported"],
        true
    );
}

#[tokio::test]
async fn rfc9700_2_6_3__scripts_of_other_sites_read_nothing_of_the_authorization_endpoint() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    for method in ["OPTIONS", "GET"] {
        let headers = [
            ("host", "as.test"),
            ("origin", "https://evil.test"),
            ("access-control-request-method", "GET"),
        ];
        let answer = browser.send(method, &path(&[]), &headers, Vec::new()).await;
        let allowed = answer
            .headers
            .keys()
            .any(|name| name.as_str().starts_with("access-control-"));
        assert!(!allowed, "{method} {:?}", answer.headers);
    }
}
