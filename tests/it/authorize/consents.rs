//! Signing in for a client, agreeing, and when nobody is asked.

use super::*;

#[tokio::test]
async fn who_is_not_signed_in_comes_back_to_the_request_after_the_sign_in() {
    let asking = Asking::new().await;
    let mut browser = asking.people.browser();
    let answer = browser
        .get(&path(&[("login_hint", Some("ada@corp.test"))]))
        .await;
    let to_sign_in = answer.header("location").unwrap().to_owned();
    assert!(
        to_sign_in.starts_with("/console/sign-in?return_to=%2Fauthorize%3F"),
        "{to_sign_in}"
    );
    let choice = browser.get(&to_sign_in).await;
    let link = choice
        .text()
        .split("class=\"button\" href=\"")
        .nth(1)
        .unwrap()
        .split('"')
        .next()
        .unwrap()
        .replace("&#38;", "&");
    let location = browser.begin(&link).await;
    assert_eq!(parameters(&location)["login_hint"], "ada@corp.test");
    let back = asking
        .come_back(&mut browser, &location, &People::ada())
        .await;
    let page = browser.get(&back).await;
    assert_eq!(page.status, 200, "{}", page.text());
    let sent = allow(&mut browser, &page, &[]).await;
    assert_eq!(sent["state"], "a state");
    assert_eq!(asking.redeem(&sent["code"], &[]).await.status, 200);
    // What is too long for a cookie is said before anybody signs in.
    let mut stranger = asking.people.browser();
    let long = "s".repeat(900);
    let sent = sent_back(&stranger.get(&path(&[("state", Some(&long))])).await);
    assert_eq!(sent["error"], "invalid_request");
    let signed_in = browser.get(&path(&[("state", Some(&long))])).await;
    assert!(sent_back(&signed_in).contains_key("code"));
}

#[tokio::test]
async fn oidcc_3_1_2_1_2__prompt_none_shows_no_page() {
    let asking = Asking::new().await;
    let none = ("prompt", Some("none"));
    let mut browser = asking.people.browser();
    assert_eq!(
        sent_back(&browser.get(&path(&[none])).await)["error"],
        "login_required"
    );
    let mut browser = asking.people.signed_in().await;
    assert_eq!(
        sent_back(&browser.get(&path(&[none])).await)["error"],
        "consent_required"
    );
    asking.token(&mut browser, &[]).await;
    let sent = sent_back(&browser.get(&path(&[none])).await);
    assert_eq!(asking.redeem(&sent["code"], &[]).await.status, 200);
    // Another scope is another question, and so is an older sign-in than is wanted.
    let more = browser
        .get(&path(&[none, ("scope", Some("publish yank"))]))
        .await;
    assert_eq!(sent_back(&more)["error"], "consent_required");
    asking.server().clock.advance(100);
    let older = browser.get(&path(&[none, ("max_age", Some("99"))])).await;
    assert_eq!(sent_back(&older)["error"], "login_required");
    assert!(
        sent_back(&browser.get(&path(&[none, ("max_age", Some("100"))])).await)
            .contains_key("code")
    );
    let admin = browser
        .get(&path(&[
            none,
            ("resource", Some("https://as.test/admin")),
            ("scope", Some("admin:credentials:octo-org")),
        ]))
        .await;
    assert_eq!(sent_back(&admin)["error"], "consent_required");
}

#[tokio::test]
async fn oidcc_3_1_2_1_1__a_sign_in_is_as_recent_as_the_client_wants_it() {
    let asking = Asking::new().await;
    for wanted in [
        ("prompt", Some("login")),
        ("max_age", Some("60")),
        ("prompt", Some("select_account")),
    ] {
        let mut browser = asking.people.signed_in().await;
        asking.server().clock.advance(100);
        let answer = browser.get(&path(&[wanted])).await;
        let again = answer.header("location").unwrap().to_owned();
        assert!(
            again.contains("/console/sign-in/corp?") && again.contains("prompt=login"),
            "{wanted:?} {again}"
        );
        let location = browser.begin(&again).await;
        assert_eq!(parameters(&location)["prompt"], "login");
        let back = asking
            .come_back(&mut browser, &location, &People::ada())
            .await;
        let page = browser.get(&back).await;
        assert_eq!(
            page.status,
            200,
            "{wanted:?} {} {:?}",
            page.text(),
            page.header("location")
        );
        // Who goes back to the request as the client made it is asked again.
        assert_eq!(
            browser
                .get(&path(&[("prompt", Some("login"))]))
                .await
                .status,
            303
        );
    }
    // `max_age=0` asks for a sign-in for this very request, and is content with it.
    let mut browser = asking.people.signed_in().await;
    asking.server().clock.advance(1);
    let answer = browser.get(&path(&[("max_age", Some("0"))])).await;
    let location = browser.begin(answer.header("location").unwrap()).await;
    let back = asking
        .come_back(&mut browser, &location, &People::ada())
        .await;
    asking.server().clock.advance(5);
    assert_eq!(browser.get(&back).await.status, 200);
    // A provider that answers from its own session gives no other sign-in, and the client is told.
    let mut browser = asking.people.signed_in().await;
    asking.server().clock.advance(100);
    let answer = browser.get(&path(&[("max_age", Some("60"))])).await;
    let location = browser.begin(answer.header("location").unwrap()).await;
    let mut stale = People::ada();
    stale["auth_time"] = json!(asking.server().now() - 100);
    let back = asking.come_back(&mut browser, &location, &stale).await;
    assert_eq!(
        sent_back(&browser.get(&back).await)["error"],
        "login_required"
    );
}

#[tokio::test]
async fn consent_is_remembered_for_a_confidential_client_within_the_session_alone() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    asking.token(&mut browser, &[]).await;
    assert!(sent_back(&browser.get(&path(&[])).await).contains_key("code"));
    // The client may ask for the page, and another sign-in does not forget, but another session does.
    assert_eq!(
        browser
            .get(&path(&[("prompt", Some("consent"))]))
            .await
            .status,
        200
    );
    browser.step_up(&asking.people, &People::ada()).await;
    assert!(sent_back(&browser.get(&path(&[])).await).contains_key("code"));
    let mut elsewhere = asking.people.signed_in().await;
    assert_eq!(elsewhere.get(&path(&[])).await.status, 200);
    // A client that was changed asks again.
    let changed = asking
        .server()
        .admin(
            "PATCH",
            "clients/shop",
            json!({ "display_name": "Another shop" }),
        )
        .await;
    assert_eq!(changed.status, 200);
    assert_eq!(browser.get(&path(&[])).await.status, 200);
}

#[tokio::test]
async fn rfc8252_8_6_1__a_native_client_asks_each_time() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    let native = [
        ("client_id", Some("tool")),
        ("redirect_uri", Some("http://127.0.0.1:4/callback")),
    ];
    for _ in 0..2 {
        let page = browser.get(&path(&native)).await;
        assert_eq!(page.status, 200, "{}", page.text());
        allow(&mut browser, &page, &[]).await;
    }
    let silent = [native.as_slice(), &[("prompt", Some("none"))]].concat();
    let answer = browser.get(&path(&silent)).await;
    let to = answer.header("location").unwrap();
    assert!(
        to.starts_with("http://127.0.0.1:4/callback?error=consent_required"),
        "{to}"
    );
}

#[tokio::test]
async fn a_first_party_client_learns_who_it_is_without_a_page_and_no_more() {
    let asking = Asking::new().await;
    let changed = asking
        .server()
        .admin("PATCH", "clients/shop", json!({ "first_party": true }))
        .await;
    assert_eq!(changed.status, 200, "{}", changed.text());
    let mut browser = asking.people.signed_in().await;
    let who = [("scope", Some("openid profile")), ("resource", None)];
    assert!(sent_back(&browser.get(&path(&who)).await).contains_key("code"));
    assert_eq!(browser.get(&path(&[])).await.status, 200);
    assert_eq!(asking.server().audit("outcome=consented").await.len(), 0);
}

#[tokio::test]
async fn a_person_who_declines_is_asked_again_later_and_nothing_is_kept() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    let page = browser.get(&path(&[])).await;
    for decision in ["deny", "", "yes"] {
        let answer = press(&mut browser, &page, decision, &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let sent = parameters(&link(&answer.text()));
        assert_eq!(
            (sent["error"].as_str(), sent["state"].as_str()),
            ("access_denied", "a state"),
            "{decision}"
        );
    }
    assert_eq!(asking.people.count("authorization_code").await, 0);
    assert_eq!(asking.people.count("session_consent").await, 0);
    assert_eq!(browser.get(&path(&[])).await.status, 200);
}

#[tokio::test]
async fn a_person_with_several_principals_chooses_one() {
    let asking = Asking::new().await;
    asking
        .people
        .put("principals/second", json!({ "kind": "organization" }))
        .await;
    let owners = json!({ "identity_provider": "corp", "match": { "groups": ["owners"] }, "principal": "second", "role": "owner" });
    asking.people.put("memberships/second", owners).await;
    let mut browser = asking.people.signed_in().await;
    let silent = browser.get(&path(&[("prompt", Some("none"))])).await;
    assert_eq!(sent_back(&silent)["error"], "interaction_required");
    let page = browser.get(&path(&[])).await;
    assert!(!page.text().contains(" checked"), "{}", page.text());
    for nothing in [
        vec![],
        vec![("principal", "third")],
        vec![("principal", "")],
    ] {
        let answer = press(&mut browser, &page, "allow", &nothing).await;
        assert!(
            answer.text().contains("Choose one of them."),
            "{}",
            answer.text()
        );
    }
    let sent = allow(&mut browser, &page, &[("principal", "second")]).await;
    let token = asking.redeem(&sent["code"], &[]).await.token();
    assert_eq!(claims(&token)["principal"]["name"], "second");
    // Named, it is the only one, and what was agreed to for it is remembered for it alone.
    let named = browser.get(&path(&[("principal", Some("SECOND"))])).await;
    assert!(sent_back(&named).contains_key("code"));
    assert_eq!(
        browser
            .get(&path(&[("principal", Some("octo-org"))]))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn rfc6749_10_12_1__a_forged_or_foreign_consent_gives_no_code() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    let page = browser.get(&path(&[])).await;
    let text = page.text();
    let (csrf, request) = (
        field(&text, "csrf").unwrap(),
        field(&text, "request").unwrap(),
    );
    let good = [
        ("csrf", csrf.as_str()),
        ("request", request.as_str()),
        ("decision", "allow"),
    ];
    // Another site.
    for headers in [
        [
            ("origin", "https://evil.test"),
            ("sec-fetch-site", "cross-site"),
        ],
        [("origin", "null"), ("sec-fetch-site", "cross-site")],
        [
            ("origin", "https://as.test.evil.test"),
            ("sec-fetch-site", "same-site"),
        ],
    ] {
        let answer = browser
            .post_with("/authorize/consent", &headers, &good)
            .await;
        assert_eq!(answer.status, 403, "{}", answer.text());
    }
    // Another session's page, another text, a sealed text of another kind, and none.
    let mut other = asking.people.signed_in().await;
    let theirs = other.get(&path(&[])).await.text();
    let their_request = field(&theirs, "request").unwrap();
    let mut bent = request.clone().into_bytes();
    let last = bent.len() - 3;
    bent[last] = if bent[last] == b'A' { b'B' } else { b'A' };
    let bent = String::from_utf8(bent).unwrap();
    for sent in [their_request.as_str(), &bent, "", "x", &text[..200]] {
        let answer = browser
            .post(
                "/authorize/consent",
                &[("csrf", &csrf), ("request", sent), ("decision", "allow")],
            )
            .await;
        assert_eq!(answer.status, 403, "{sent}: {}", answer.text());
    }
    let without = browser
        .post(
            "/authorize/consent",
            &[("request", &request), ("decision", "allow"), ("csrf", "x")],
        )
        .await;
    assert_eq!(without.status, 403);
    // Too long after it was shown, and after a step-up.
    asking.server().clock.advance(1801);
    assert_eq!(browser.post("/authorize/consent", &good).await.status, 403);
    assert_eq!(asking.people.count("authorization_code").await, 0);
}

#[tokio::test]
async fn what_changed_while_the_page_was_shown_is_judged_anew() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    let page = browser.get(&path(&[])).await;
    let changed = asking
        .server()
        .admin(
            "PATCH",
            "resource-servers/registry",
            json!({ "people": { "owner": ["yank"] } }),
        )
        .await;
    assert_eq!(changed.status, 200);
    let answer = press(&mut browser, &page, "allow", &[]).await;
    assert_eq!(parameters(&link(&answer.text()))["error"], "access_denied");
    let changed = asking
        .server()
        .admin(
            "PATCH",
            "clients/shop",
            json!({ "redirect_uris": ["https://app.test/other"] }),
        )
        .await;
    assert_eq!(changed.status, 200);
    let answer = press(&mut browser, &page, "allow", &[]).await;
    assert_eq!((answer.status, answer.header("location")), (400, None));
    assert_eq!(asking.people.count("authorization_code").await, 0);
}
