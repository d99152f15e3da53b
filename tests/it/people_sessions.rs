//! Sessions of people: how they begin, what they are worth, and how they end; and the pages around them.

pub mod browser;
mod changes;
mod faults;
mod step_up;
mod strangers;
mod ways;

use std::collections::BTreeSet;

use carnet::people::session::{self, Fresh, Standing, Write};
use serde_json::{Value, json};

use self::browser::{Browser, PROVIDER, People, SESSION, link, token_in};
use super::documents::{files, read};
use crate::support::{Answer, CARNET, carnet, finished};

/// Checks that an answer is the page of this reason.
#[track_caller]
fn refused(answer: &Answer, status: u16, reason: &str) {
    let text = answer.text();
    assert_eq!(answer.status, status, "{text}");
    assert!(text.contains(&format!("<code>{reason}</code>")), "{text}");
}

#[track_caller]
fn ended(answer: &Answer) {
    assert_eq!(answer.status, 403, "{}", answer.text());
    assert!(
        answer.text().contains("<h1>Your session has ended</h1>"),
        "{}",
        answer.text()
    );
}

/// Checks that somebody who asks for the first page is not signed in.
async fn is_signed_out(browser: &mut Browser<'_>) {
    let answer = browser.get("/console").await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some("/console/sign-in")),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn a_person_signs_in_and_sees_who_they_are_and_what_they_may_do() {
    let people = People::new().await;
    let mut browser = people.browser();
    is_signed_out(&mut browser).await;
    let choice = browser.get("/console/sign-in").await;
    assert!(
        choice
            .text()
            .contains("href=\"/console/sign-in/corp\">Sign in with <bdi>Corp login</bdi></a>"),
        "{}",
        choice.text()
    );
    browser = people.signed_in().await;
    let page = browser.get("/console").await;
    assert_eq!(page.status, 200);
    let text = page.text();
    for shown in [
        "Signed in as <bdi>Ada &#60;Lovelace&#62;</bdi>",
        "octo-org",
        "owner",
        "ada@corp.test",
        "ada-1",
        "This session",
    ] {
        assert!(text.contains(shown), "{shown}: {text}");
    }
    let person = people.person().await;
    let events = people.server.audit("outcome=signed_in").await;
    let [event] = events.as_slice() else {
        panic!("{events:#?}")
    };
    assert_eq!(event["person"], person);
    assert_eq!(
        (&event["kind"], &event["subject"]),
        (&json!("session"), &json!("ada-1"))
    );
    assert_eq!(
        event["detail"]["principals"],
        json!({ "octo-org": "owner" })
    );
}

#[tokio::test]
async fn people_deny_1__whom_no_membership_lets_in_gets_the_claims_and_no_session() {
    let people = People::new().await;
    let mut browser = people.browser();
    let mut claims = People::ada();
    claims["groups"] = json!(["<script>strangers"]);
    let answer = browser.sign_in(&people, &claims).await;
    refused(&answer, 403, "no_membership");
    let text = answer.text();
    assert!(
        text.contains("&#60;script&#62;strangers") && text.contains("ada-1"),
        "{text}"
    );
    assert_eq!(browser.session(), None);
    assert_eq!(
        (people.count("session").await, people.count("person").await),
        (0, 0)
    );
    is_signed_out(&mut browser).await;
    browser.sign_in(&people, &claims).await;
    let events = people.server.audit("outcome=sign_in_refused").await;
    let [event] = events.as_slice() else {
        panic!("{events:#?}")
    };
    assert_eq!(
        (&event["reason"], &event["count"]),
        (&json!("no_membership"), &json!(2))
    );
    assert_eq!(
        (&event["person"], &event["subject"]),
        (&Value::Null, &json!("ada-1"))
    );
}

#[tokio::test]
async fn people_deny_1__a_membership_that_is_withdrawn_stops_the_page_at_once() {
    let people = People::new().await;
    let mut browser = people.signed_in().await;
    let other = people.server.another_node().await;
    let mut elsewhere = Browser {
        server: &other,
        ..browser.clone()
    };
    assert_eq!(elsewhere.get("/console").await.status, 200);
    let soon = carnet::clock::Timestamp::from_seconds(people.server.now() + 3).to_string();
    for withdrawn in [json!({ "enabled": false }), json!({ "expires_at": soon })] {
        let saved = people
            .server
            .admin("PATCH", "memberships/owners", withdrawn)
            .await;
        assert_eq!(saved.status, 200, "{}", saved.text());
        people.server.clock.advance(2);
        let page = browser.get("/console").await;
        assert_eq!(page.status, 403);
        assert!(
            page.text().contains("No membership lets you in"),
            "{}",
            page.text()
        );
        refused(&page, 403, "no_membership");
        assert!(page.text().contains("owners"), "{}", page.text());
        let csrf = token_in(&page.text()).unwrap();
        refused(
            &browser.post("/console/step-up", &[("csrf", "x")]).await,
            403,
            "csrf_invalid",
        );
        assert_eq!(
            browser
                .post("/console/step-up", &[("csrf", &csrf)])
                .await
                .status,
            403
        );
        // The other replica reads changes four times a second.
        other.app.refresh().await.unwrap();
        assert_eq!(elsewhere.get("/console").await.status, 403);
        people
            .server
            .admin(
                "PATCH",
                "memberships/owners",
                json!({ "enabled": true, "expires_at": null }),
            )
            .await;
        assert_eq!(browser.get("/console").await.status, 200);
    }
    // The page has a way out.
    let withdrawn = json!({ "enabled": false });
    people
        .server
        .admin("PATCH", "memberships/owners", withdrawn)
        .await;
    let page = browser.get("/console").await.text();
    let csrf = token_in(&page).unwrap();
    assert!(page.contains("action=\"/console/sign-out\""), "{page}");
    let page = browser.post("/console/sign-out", &[("csrf", &csrf)]).await;
    assert!(
        page.text().contains("You are signed out here"),
        "{}",
        page.text()
    );
    assert_eq!(
        (people.count("session").await, browser.session()),
        (0, None)
    );
}

#[tokio::test]
async fn people_sess_1__the_database_has_the_hash_of_a_cookie_alone() {
    let people = People::new().await;
    let browser = people.signed_in().await;
    let cookie = browser.session().unwrap();
    let secret = carnet_jose::from_base64url(&cookie).unwrap();
    assert_eq!(secret.len(), 32);
    let hash: Vec<Vec<u8>> = people
        .server
        .db
        .column("SELECT cookie_hash FROM session")
        .await;
    assert_eq!(hash, [carnet_jose::sha256(&secret).to_vec()]);
    let dump = people.server.db.folder().join("dump");
    people.server.db.back_up(&dump).await;
    let dump = std::fs::read(&dump).unwrap();
    let hex = secret.iter().map(|byte| format!("{byte:02x}"));
    let hex = hex.collect::<Vec<_>>().concat();
    for text in [cookie.as_bytes(), &secret, hex.as_bytes()] {
        assert!(!dump.windows(text.len()).any(|window| window == text));
    }
}

#[tokio::test]
async fn people_sess_1__each_sign_in_and_each_step_up_makes_a_new_cookie_and_ends_the_old_one() {
    let people = People::new().await;
    let mut browser = people.browser();
    // A cookie that somebody else chose is not taken.
    let planted = carnet_jose::base64url([7; 32]);
    browser.cookies.insert(SESSION.to_owned(), planted.clone());
    browser.sign_in(&people, &People::ada()).await;
    let mut cookies = BTreeSet::from([planted, browser.session().unwrap()]);
    let old = browser.clone();
    people.server.clock.advance(1);
    browser.sign_in(&people, &People::ada()).await;
    assert!(cookies.insert(browser.session().unwrap()));
    ended(&old.clone().get("/console").await);
    let old = browser.clone();
    people.server.clock.advance(1);
    let answer = browser.step_up(&people, &People::ada()).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert!(cookies.insert(browser.session().unwrap()));
    ended(&old.clone().get("/console").await);
    assert_eq!(cookies.len(), 4);
    assert_eq!(people.count("session").await, 1);
    let events = people.server.audit("outcome=signed_in").await;
    let steps: Vec<&Value> = events
        .iter()
        .map(|event| &event["detail"]["step_up"])
        .collect();
    assert_eq!(steps, [&json!(true), &json!(false), &json!(false)]);
}

#[tokio::test]
async fn people_sess_1__what_one_replica_ends_the_others_refuse_at_once() {
    let people = People::new().await;
    let browser = people.signed_in().await;
    let other = people.server.another_node().await;
    let mut second = Browser {
        server: &other,
        ..browser.clone()
    };
    assert_eq!(second.get("/console").await.status, 200);
    let mut first = browser.clone();
    let csrf = first.csrf().await;
    let page = first.post("/console/sign-out", &[("csrf", &csrf)]).await;
    assert_eq!(page.status, 200, "{}", page.text());
    ended(&second.get("/console").await);
}

#[tokio::test]
async fn people_sess_1__a_session_ends_when_it_idles_and_when_its_time_is_over() {
    let people = People::new().await;
    let clock = &people.server.clock;
    let mut idle = people.signed_in().await;
    clock.advance(3599);
    assert_eq!(idle.get("/console").await.status, 200);
    clock.advance(3600);
    ended(&idle.get("/console").await);
    assert_eq!(idle.session(), None);
    let mut busy = people.signed_in().await;
    for _ in 0..15 {
        clock.advance(1800);
        assert_eq!(busy.get("/console").await.status, 200);
    }
    clock.advance(1799);
    assert_eq!(busy.get("/console").await.status, 200);
    clock.advance(1);
    ended(&busy.get("/console").await);
}

#[tokio::test]
async fn the_use_of_a_session_is_written_once_a_minute() {
    let people = People::new().await;
    let mut browser = people.signed_in().await;
    let used = async || -> i64 {
        people
            .server
            .db
            .column("SELECT last_used_at FROM session")
            .await[0]
    };
    let began = used().await;
    people.server.clock.advance(59);
    browser.get("/console").await;
    assert_eq!(used().await, began);
    people.server.clock.advance(1);
    browser.get("/console").await;
    assert_eq!(used().await, began + 60_000);
}

#[tokio::test]
async fn people_sess_1__a_person_has_twenty_sessions_at_most() {
    let people =
        People::with(&[("CARNET_RATE_LIMITS__SIGN_INS_PER_MINUTE_PER_ADDRESS", "0")]).await;
    let mut browsers = Vec::new();
    for _ in 0..21 {
        people.server.clock.advance(1);
        browsers.push(people.signed_in().await);
    }
    assert_eq!(people.count("session").await, 20);
    ended(&browsers[0].get("/console").await);
    for browser in &mut browsers[1..] {
        assert_eq!(browser.get("/console").await.status, 200);
    }
}

#[tokio::test]
async fn people_sess_1__a_disabled_person_is_out_at_once_and_stays_out() {
    let people = People::new().await;
    let mut browser = people.signed_in().await;
    let person = people.person().await;
    let path = format!("people/{person}");
    let answer = people
        .server
        .admin("PATCH", &path, json!({ "enabled": false }))
        .await;
    assert_eq!(
        (answer.status, &answer.json()["enabled"]),
        (200, &json!(false))
    );
    ended(&browser.get("/console").await);
    let answer = browser.sign_in(&people, &People::ada()).await;
    refused(&answer, 403, "person_disabled");
    assert_eq!(
        (people.count("session").await, browser.session()),
        (0, None)
    );
    let event = &people.server.audit("outcome=sign_in_refused").await[0];
    assert_eq!(
        (&event["person"], &event["reason"]),
        (&json!(person), &json!("person_disabled"))
    );
    // Events of one millisecond have no order.
    people.server.clock.advance(1);
    people
        .server
        .admin("PATCH", &path, json!({ "enabled": true }))
        .await;
    assert_eq!(browser.sign_in(&people, &People::ada()).await.status, 303);
    let changes = people
        .server
        .audit(&format!("person={person}&outcome=updated"))
        .await;
    let after: Vec<&Value> = changes
        .iter()
        .map(|event| &event["detail"]["after"]["enabled"])
        .collect();
    assert_eq!(after, [&json!(true), &json!(false)]);
    assert!(
        changes
            .iter()
            .all(|event| event["actor"] == "tester" && event["kind"] == "change")
    );
}

#[tokio::test]
async fn people_sess_1__cookies_that_are_not_of_this_server_are_worth_nothing() {
    let (people, other) = (People::new().await, People::new().await);
    let foreign = other.signed_in().await.session().unwrap();
    let mut browser = people.browser();
    browser.cookies.insert(SESSION.to_owned(), foreign);
    ended(&browser.get("/console").await);
    let good = people.signed_in().await.session().unwrap();
    for cookie in [
        "",
        "x",
        &format!("{good}="),
        &good[1..],
        &"a".repeat(64 * 1024),
        "ä",
    ] {
        let mut browser = people.browser();
        browser
            .cookies
            .insert(SESSION.to_owned(), cookie.to_owned());
        is_signed_out(&mut browser).await;
    }
    // Two of the name, or another name, are none.
    for cookies in [
        format!("{SESSION}={good}; {SESSION}={good}"),
        format!("carnet-session={good}"),
    ] {
        let headers = [("host", "as.test"), ("cookie", cookies.as_str())];
        let answer = people
            .browser()
            .send("GET", "/console", &headers, Vec::new())
            .await;
        assert_eq!(answer.status, 303, "{cookies}");
    }
}

#[tokio::test]
async fn people_sess_1__sessions_from_before_a_restore_have_ended() {
    let people = People::new().await;
    let mut browser = people.signed_in().await;
    assert_eq!(browser.get("/console").await.status, 200);
    let now = carnet::clock::Timestamp::from_seconds(people.server.now());
    people.server.app.store.note_restore(now).await.unwrap();
    let restored = people.server.another_node().await;
    let cookies = [(SESSION.to_owned(), browser.session().unwrap())];
    let standing = session::current(&restored.app, &cookies).await.unwrap();
    assert!(matches!(standing, Standing::Unknown), "{standing:?}");
    // A replica that started before does not know of the restore.
    assert_eq!(people.count("session").await, 0);
    ended(&browser.get("/console").await);
    // What it begins at the moment of the restore is over for the others.
    let browser = people.signed_in().await;
    let cookies = [(SESSION.to_owned(), browser.session().unwrap())];
    let standing = session::current(&restored.app, &cookies).await.unwrap();
    assert!(matches!(standing, Standing::Ended), "{standing:?}");
}

#[tokio::test]
async fn people_csrf_1__forms_of_other_sites_and_other_sessions_change_nothing() {
    let people = People::new().await;
    let mut browser = people.signed_in().await;
    let other = people.signed_in().await.csrf().await;
    let csrf = browser.csrf().await;
    let id = people
        .server
        .db
        .column::<i64>("SELECT COUNT(*) FROM session")
        .await;
    assert_eq!(id, [2]);
    let paths = [
        "/console/sign-out",
        "/console/step-up",
        "/console/sessions/se_00000000000000000000000000/end",
    ];
    for path in paths {
        for form in [
            &[][..],
            &[("csrf", "")],
            &[("csrf", "x")],
            &[("csrf", &other)],
            &[("csrf", &csrf), ("csrf", &csrf)],
        ] {
            refused(&browser.post(path, form).await, 403, "csrf_invalid");
        }
        for sender in [
            [("origin", "null"), ("sec-fetch-site", "same-origin")],
            [
                ("origin", "https://evil.test"),
                ("sec-fetch-site", "same-origin"),
            ],
            [
                ("origin", "http://as.test"),
                ("sec-fetch-site", "same-origin"),
            ],
            [
                ("origin", "https://as.test:8443"),
                ("sec-fetch-site", "same-origin"),
            ],
            [
                ("origin", "https://as.test"),
                ("sec-fetch-site", "cross-site"),
            ],
            [
                ("origin", "https://as.test"),
                ("sec-fetch-site", "same-site"),
            ],
            [("origin", "https://as.test"), ("sec-fetch-site", "none")],
            [("origin", "https://as.test"), ("origin", "https://as.test")],
        ] {
            refused(
                &browser.post_with(path, &sender, &[("csrf", &csrf)]).await,
                403,
                "csrf_invalid",
            );
        }
        let json = [
            ("host", "as.test"),
            ("content-type", "text/plain"),
            ("origin", "https://as.test"),
        ];
        let body = format!("csrf={csrf}").into_bytes();
        refused(
            &browser.send("POST", path, &json, body).await,
            403,
            "csrf_invalid",
        );
        let form = [
            ("host", "as.test"),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        let body = format!("csrf={csrf}&x={}", "a".repeat(256 * 1024)).into_bytes();
        refused(
            &browser.send("POST", path, &form, body).await,
            413,
            "body_too_large",
        );
        assert_eq!(browser.get(path).await.status, 405);
    }
    assert_eq!(people.count("session").await, 2);
    // Programs that send neither header, with the right token, are let through.
    let page = browser
        .post_with("/console/sign-out", &[], &[("csrf", &csrf)])
        .await;
    assert_eq!(page.status, 200);
    assert_eq!(people.count("session").await, 1);
}

#[tokio::test]
async fn a_person_ends_the_own_sessions_and_no_others() {
    let people = People::new().await;
    let (mut here, mut there) = (people.signed_in().await, people.signed_in().await);
    let mut stranger = people.browser();
    let mut claims = People::ada();
    claims["sub"] = json!("bob-2");
    stranger.sign_in(&people, &claims).await;
    let page = here.get("/console").await.text();
    let ends: Vec<&str> = page
        .split("/console/sessions/")
        .skip(1)
        .map(|rest| rest.split('/').next().unwrap())
        .collect();
    let [other] = ends.as_slice() else {
        panic!("{ends:?}")
    };
    let path = format!("/console/sessions/{other}/end");
    let csrf = stranger.csrf().await;
    assert_eq!(stranger.post(&path, &[("csrf", &csrf)]).await.status, 303);
    assert_eq!(there.get("/console").await.status, 200);
    let csrf = token_in(&page).unwrap();
    let answer = here.post(&path, &[("csrf", &csrf)]).await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some("/console"))
    );
    ended(&there.get("/console").await);
    assert_eq!(here.get("/console").await.status, 200);
    let event = &people.server.audit("outcome=signed_out").await[0];
    assert_eq!(
        (&event["detail"]["ended_by"], &event["detail"]["session"]),
        (&json!("person"), &json!(other))
    );
}

#[tokio::test]
async fn oidcrp_2_1__a_sign_out_ends_our_session_and_then_asks_the_provider() {
    let people = People::new().await;
    let mut browser = people.signed_in().await;
    let csrf = browser.csrf().await;
    let page = browser.post("/console/sign-out", &[("csrf", &csrf)]).await;
    // A redirect of a form to another site would be held against `form-action`.
    assert_eq!((page.status, page.header("location")), (200, None));
    let location = url::Url::parse(&link(&page.text())).unwrap();
    assert_eq!(
        location[..url::Position::AfterPath],
        format!("{PROVIDER}/logout")
    );
    let sent: std::collections::HashMap<_, _> = location.query_pairs().into_owned().collect();
    let id_token = people.provider.id_tokens.lock().unwrap()[0].clone();
    assert_eq!(sent["id_token_hint"], id_token);
    assert_eq!(
        sent["post_logout_redirect_uri"],
        "https://as.test/console/signed-out"
    );
    assert!(!sent.contains_key("state"));
    assert_eq!(
        (people.count("session").await, browser.session()),
        (0, None)
    );
    let back = browser.get("/console/signed-out").await;
    assert!(
        back.text().contains("You are signed out"),
        "{}",
        back.text()
    );
    // Whoever has a session is not told otherwise.
    let mut signed_in = people.signed_in().await;
    let answer = signed_in.get("/console/signed-out").await;
    assert_eq!(
        (answer.status, answer.header("location")),
        (303, Some("/console"))
    );
    let mut over = signed_in.clone();
    let csrf = signed_in.csrf().await;
    signed_in
        .post("/console/sign-out", &[("csrf", &csrf)])
        .await;
    let answer = over.get("/console/signed-out").await;
    assert!(answer.text().contains("You are signed out"));
    assert_eq!((answer.status, over.session()), (200, None));
    // Where the provider is away, and where its session is to stay, ours ends all the same.
    for change in [
        json!({ "logout": "local" }),
        json!({ "client_id": "carnet-at-login" }),
    ] {
        let mut browser = people.signed_in().await;
        let csrf = browser.csrf().await;
        people.put_provider(change.clone()).await;
        *people.provider.is_away.lock().unwrap() = change.get("logout").is_none();
        people.server.clock.advance(11 * 60 * 60 * 24);
        let page = browser.post("/console/sign-out", &[("csrf", &csrf)]).await;
        assert_eq!(
            (page.status, page.header("location")),
            (303, Some("/console/signed-out")),
            "{}",
            page.text()
        );
        assert_eq!(
            (people.count("session").await, browser.session()),
            (0, None)
        );
        *people.provider.is_away.lock().unwrap() = false;
    }
}

#[tokio::test]
async fn people_2fa_1__only_a_recent_proof_with_a_second_factor_lets_a_person_write() {
    let people = People::new().await;
    let fresh = async |browser: &Browser<'_>, write| {
        let cookies = [(SESSION.to_owned(), browser.session().unwrap())];
        match session::current(&people.server.app, &cookies)
            .await
            .unwrap()
        {
            Standing::Live(session) => session.freshness(&people.server.app, write),
            other => panic!("{other:?}"),
        }
    };
    let mut browser = people.signed_in().await;
    let now = people.server.now();
    let until = |at: i64| Fresh::Until(carnet::clock::Timestamp::from_seconds(at));
    assert_eq!(fresh(&browser, Write::Rules).await, until(now + 900));
    assert_eq!(fresh(&browser, Write::Operator).await, until(now + 300));
    people.server.clock.advance(300);
    assert_eq!(fresh(&browser, Write::Operator).await, Fresh::StepUp);
    people.server.clock.advance(600);
    assert_eq!(fresh(&browser, Write::Rules).await, Fresh::StepUp);
    // A proof from before the request, or by somebody else, or without the factor, is none.
    let at = people.server.now();
    for (name, value, reason) in [
        ("auth_time", json!(at - 600), "auth_too_old"),
        ("auth_time", Value::Null, "auth_time_missing"),
        ("sub", json!("bob-2"), "other_person"),
        ("amr", json!(["pwd"]), "second_factor_missing"),
    ] {
        let mut claims = People::ada();
        claims[name] = value;
        let cookie = browser.session();
        let answer = browser.step_up(&people, &claims).await;
        refused(&answer, 403, reason);
        assert_eq!(browser.session(), cookie, "{reason}");
        assert_eq!(
            fresh(&browser, Write::Rules).await,
            Fresh::StepUp,
            "{reason}"
        );
    }
    let refused = people.server.audit("outcome=sign_in_refused").await;
    assert_eq!(refused.len(), 4);
    browser.step_up(&people, &People::ada()).await;
    assert_eq!(fresh(&browser, Write::Rules).await, until(at + 900));
    // A provider that sends no time unasked may send it to a step-up.
    let mut claims = People::ada();
    claims["auth_time"] = Value::Null;
    browser.sign_in(&people, &claims).await;
    assert_eq!(fresh(&browser, Write::Rules).await, Fresh::StepUp);
    browser.step_up(&people, &People::ada()).await;
    assert_eq!(fresh(&browser, Write::Rules).await, until(at + 900));
    // One that says that it never does lets nobody write.
    *people.provider.names_auth_time.lock().unwrap() = false;
    people.put_provider(json!({ "display_name": "Corp" })).await;
    browser.sign_in(&people, &claims).await;
    assert!(
        matches!(fresh(&browser, Write::Rules).await, Fresh::Never(reason) if reason.code() == "auth_time_missing")
    );
    let page = browser.get("/console").await.text();
    assert!(
        page.contains("You can change nothing here") && !page.contains("/console/step-up"),
        "{page}"
    );
    let says = "Your provider says that you proved who you are on";
    assert!(!page.contains(says), "{page}");
    people
        .put_provider(json!({ "freshness": "new_sign_in" }))
        .await;
    browser.sign_in(&people, &claims).await;
    assert_eq!(fresh(&browser, Write::Rules).await, Fresh::StepUp);
    // Events of one millisecond have no order.
    people.server.clock.advance(1);
    let answer = browser.step_up(&people, &claims).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert_eq!(
        fresh(&browser, Write::Rules).await,
        until(people.server.now() + 900)
    );
    // The provider said nothing of the kind, and the page does not claim it.
    let page = browser.get("/console").await.text();
    let sent = "You were sent to your provider, to prove who you are, on";
    assert!(page.contains(sent) && !page.contains(says), "{page}");
    let event = &people.server.audit("outcome=signed_in").await[0];
    assert_eq!(event["detail"]["auth_time_of_provider"], false);
    browser.step_up(&people, &People::ada()).await;
    let page = browser.get("/console").await.text();
    assert!(page.contains(says) && !page.contains(sent), "{page}");
}

#[tokio::test]
async fn sign_ins_that_are_only_begun_leave_no_row() {
    let people =
        People::with(&[("CARNET_RATE_LIMITS__SIGN_INS_PER_MINUTE_PER_ADDRESS", "0")]).await;
    people.server.app.flush_audit().await;
    let tables = ["person", "session", "consumed", "audit_event", "change"];
    let mut before = Vec::new();
    for table in tables {
        before.push(people.count(table).await);
    }
    for _ in 0..10_000 {
        let mut stranger = people.browser();
        assert_eq!(stranger.get("/console/sign-in/corp").await.status, 303);
        assert_eq!(stranger.cookies.len(), 1);
    }
    people.server.app.flush_audit().await;
    for (table, before) in tables.into_iter().zip(before) {
        assert_eq!(people.count(table).await, before, "{table}");
    }
}

#[tokio::test]
async fn sign_ins_of_one_address_are_limited() {
    let people =
        People::with(&[("CARNET_RATE_LIMITS__SIGN_INS_PER_MINUTE_PER_ADDRESS", "3")]).await;
    let mut browser = people.browser();
    browser.address = Some("192.0.2.1");
    let begun = people.browser().get("/console/sign-in/corp").await;
    browser.keep(&begun.headers);
    let attempt = browser.cookies.clone();
    let location = begun.header("location").unwrap().replace('?', "&");
    let state = location
        .split('&')
        .find(|pair| pair.starts_with("state="))
        .unwrap();
    for path in [
        "/console/sign-in/corp",
        &format!("/console/sign-in/corp/callback?error=x&{state}"),
    ] {
        let mut answers = Vec::new();
        for address in [
            "192.0.2.1",
            "192.0.2.1",
            "192.0.2.1",
            "192.0.2.1",
            "192.0.2.2",
        ] {
            browser.address = Some(address);
            browser.cookies.clone_from(&attempt);
            answers.push(browser.get(path).await);
        }
        let limited: Vec<bool> = answers.iter().map(|answer| answer.status == 429).collect();
        assert_eq!(limited, [false, false, false, true, false], "{path}");
        refused(&answers[3], 429, "rate_limited");
        let wait: u32 = answers[3].header("retry-after").unwrap().parse().unwrap();
        assert!((1..=61).contains(&wait), "{wait}");
    }
    assert_eq!(people.browser().get("/console/sign-in").await.status, 200);
}

#[tokio::test]
async fn what_a_server_knows_of_a_provider_is_shown_without_fetching_anything() {
    let people = People::new().await;
    let status = async || {
        let path = "identity-providers/corp/status";
        let answer = people.server.admin("GET", path, Value::Null).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    };
    let before = status().await;
    assert_eq!(
        (&before["metadata"], &before["keys"]),
        (&json!("not_fetched"), &Value::Null)
    );
    people.signed_in().await;
    let known = status().await;
    assert_eq!(known["metadata"], "ok");
    assert_eq!(
        (&known["keys"]["state"], &known["keys"]["count"]),
        (&json!("ok"), &json!(1))
    );
    *people.provider.is_away.lock().unwrap() = true;
    people.server.clock.advance(2 * 86_400);
    people.browser().get("/console/sign-in/corp").await;
    let failing = status().await;
    assert_eq!(failing["metadata"], "failing");
    assert!(failing["last_error"].is_string(), "{failing}");
    assert_eq!(failing["last_success_at"], known["last_success_at"]);
}

#[tokio::test]
async fn a_provider_that_is_away_is_said_to_be_away() {
    let people = People::new().await;
    people
        .put_provider(json!({ "client_id": "carnet-at-login", "display_name": "Corp" }))
        .await;
    *people.provider.is_away.lock().unwrap() = true;
    people.server.clock.advance(2 * 86_400);
    let mut browser = people.browser();
    let answer = browser.get("/console/sign-in/corp").await;
    refused(&answer, 503, "provider_unavailable");
    assert!(answer.header("retry-after").is_some() && browser.cookies.is_empty());
    // One sign-in that fails in the middle leaves no session.
    *people.provider.is_away.lock().unwrap() = false;
    people.server.clock.advance(60);
    let begun = browser.get("/console/sign-in/corp").await;
    assert_eq!(begun.status, 303);
    let state = begun
        .header("location")
        .unwrap()
        .split("state=")
        .nth(1)
        .unwrap()
        .split('&')
        .next()
        .unwrap()
        .to_owned();
    let answer = browser
        .get(&format!(
            "/console/sign-in/corp/callback?error=access_denied&state={state}"
        ))
        .await;
    refused(&answer, 403, "sign_in_denied");
    assert!(browser.cookies.is_empty(), "{:?}", browser.cookies);
    let events = people.server.audit("outcome=sign_in_refused").await;
    assert!(events.is_empty(), "{events:#?}");
}

#[tokio::test]
async fn the_pages_are_at_the_host_of_the_issuer_and_there_only_with_a_provider() {
    let people = People::new().await;
    for (host, status) in [
        ("as.test", 200),
        ("AS.test", 200),
        ("as.test:443", 200),
        ("as.test:80", 404),
        ("evil.test", 404),
        ("registry.as.test", 404),
        ("", 404),
    ] {
        for path in ["/console/sign-in", "/console/signed-out"] {
            let answer = people
                .browser()
                .send("GET", path, &[("host", host)], Vec::new())
                .await;
            assert_eq!(answer.status, status, "{host}");
            if status == 404 {
                answer.refused(404, "invalid_request", "path_unknown");
            }
        }
    }
    assert_eq!(people.server.get("/console").await.status, 404);
    for path in [
        "/console/x",
        "/console/",
        "/console/sign-in/nobody",
        "/console/assets/console.css",
    ] {
        let answer = people.browser().get(path).await;
        answer.refused(404, "invalid_request", "path_unknown");
    }
    people
        .server
        .admin(
            "PATCH",
            "identity-providers/corp",
            json!({ "enabled": false }),
        )
        .await;
    for path in [
        "/console",
        "/console/sign-in",
        "/console/sign-in/corp",
        "/console/signed-out",
    ] {
        people
            .browser()
            .get(path)
            .await
            .refused(404, "invalid_request", "path_unknown");
    }
}

#[tokio::test]
async fn people_page_3__every_page_has_the_headers_that_protect_it() {
    let people = People::new().await;
    let mut browser = people.signed_in().await;
    let csrf = browser.csrf().await;
    let mut claims = People::ada();
    claims["groups"] = json!([]);
    let mut stranger = people.browser();
    let mut answers = vec![
        browser.get("/console").await,
        browser.get("/console/sign-in").await,
        browser.get("/console/sign-in/corp").await,
        browser.get("/console/signed-out").await,
        browser.post("/console/step-up", &[("csrf", &csrf)]).await,
        browser.post("/console/step-up", &[]).await,
        people.browser().get("/console").await,
    ];
    let callbacks = [
        stranger.sign_in(&people, &claims).await,
        stranger.sign_in(&people, &People::ada()).await,
        stranger
            .get("/console/sign-in/corp/callback?code=x&state=y")
            .await,
    ];
    answers.push(browser.post("/console/sign-out", &[("csrf", &csrf)]).await);
    answers.push(browser.get("/console").await);
    let browser_of_people = [("host", "as.test"), ("accept", "text/html,*/*;q=0.8")];
    for path in ["/console/", "/console/x/y", "/console/sign-in/nobody"] {
        let answer = browser
            .send("GET", path, &browser_of_people, Vec::new())
            .await;
        refused(&answer, 404, "path_unknown");
        assert!(answer.text().contains("There is no such page"), "{path}");
        answers.push(answer);
    }
    let policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
                  base-uri 'none'; frame-ancestors 'none'";
    for (answer, referrer) in answers
        .iter()
        .map(|one| (one, "same-origin"))
        .chain(callbacks.iter().map(|one| (one, "no-referrer")))
    {
        for (name, value) in [
            ("content-security-policy", policy),
            ("referrer-policy", referrer),
            ("cross-origin-opener-policy", "same-origin"),
            ("strict-transport-security", "max-age=31536000"),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
        ] {
            assert_eq!(
                answer.header(name),
                Some(value),
                "{name}: {}",
                answer.text()
            );
        }
        if answer.status != 303 {
            assert_eq!(
                answer.header("content-type"),
                Some("text/html; charset=utf-8")
            );
            assert_eq!(
                answer.text().matches("<h1>").count(),
                1,
                "{}",
                answer.text()
            );
        }
        for cookie in answer.headers.get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            assert!(cookie.starts_with("__Host-"), "{cookie}");
            for attribute in ["; HttpOnly", "; SameSite=Lax", "; Secure", "; Path=/"] {
                assert!(cookie.contains(attribute), "{cookie}");
            }
            assert!(!cookie.contains("Domain"), "{cookie}");
        }
    }
    let page = answers[0].text();
    for asset in page
        .split('"')
        .filter(|part| part.starts_with("/console/assets/"))
    {
        let answer = browser.get(asset).await;
        assert_eq!(answer.status, 200, "{asset}");
        assert_eq!(
            answer.header("cache-control"),
            Some("public, max-age=31536000, immutable")
        );
        assert!(answer.body.len() <= 24 * 1024);
    }
    assert_eq!(
        page.split('"')
            .filter(|part| part.starts_with("/console/assets/"))
            .count(),
        3
    );
}

#[tokio::test]
async fn over_http_on_the_loopback_interface_the_cookie_has_another_name() {
    let people = People::with(&[("CARNET_ISSUER", "http://127.0.0.1:8080")]).await;
    let mut browser = people.browser();
    let at = [("host", "127.0.0.1:8080")];
    let begun = browser
        .send("GET", "/console/sign-in/corp", &at, Vec::new())
        .await;
    assert_eq!(begun.status, 303, "{}", begun.text());
    let location = begun.header("location").unwrap();
    let query = people
        .provider
        .answer(location, people.server.now(), &People::ada());
    let answer = browser
        .send(
            "GET",
            &format!("/console/sign-in/corp/callback?{query}"),
            &at,
            Vec::new(),
        )
        .await;
    assert_eq!(
        answer.header("location"),
        Some("http://127.0.0.1:8080/console"),
        "{}",
        answer.text()
    );
    let names: Vec<&String> = browser.cookies.keys().collect();
    assert_eq!(names, ["carnet-session"]);
    assert!(
        answer
            .headers
            .get_all("set-cookie")
            .iter()
            .all(|cookie| !cookie.to_str().unwrap().contains("Secure"))
    );
    assert_eq!(answer.header("strict-transport-security"), None);
    assert_eq!(
        browser
            .send("GET", "/console", &at, Vec::new())
            .await
            .status,
        200
    );
}

#[test]
fn templates_hold_nothing_that_the_content_policy_would_have_to_allow() {
    let templates = files("templates", ".html");
    assert!(templates.len() >= 8, "{templates:?}");
    for path in templates {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.display();
        for forbidden in [
            "|safe",
            "| safe",
            "escape none",
            "style=",
            "<style",
            "javascript:",
            "<base",
        ] {
            assert!(!text.contains(forbidden), "{name} holds {forbidden}");
        }
        // Scripts are files, and a page of ours that opens in another tab gets no hold of this one.
        let scripts = text.matches("<script").count();
        assert_eq!(
            scripts,
            text.matches("<script src=\"{{ frame.script }}\" defer></script>")
                .count(),
            "{name}"
        );
        let targets = text.matches("target=").count();
        assert_eq!(
            targets,
            text.matches("target=\"_blank\" rel=\"noopener\"").count(),
            "{name}"
        );
        let attributes = text
            .split(|c: char| c.is_whitespace())
            .filter(|word| word.contains('='));
        for attribute in attributes {
            assert!(
                !attribute.to_ascii_lowercase().starts_with("on"),
                "{name} holds {attribute}"
            );
        }
        // Each page has one heading of the first order, in the one landmark of its content.
        let is_of_others = ["layout.html", "inside.html", "parts.html", "controls.html"]
            .iter()
            .any(|other| path.ends_with(other));
        if !is_of_others {
            assert_eq!(text.matches("<h1>").count(), 1, "{name}");
            let bases =
                ["layout.html", "inside.html"].map(|base| format!("{{% extends \"{base}\" %}}"));
            assert!(bases.iter().any(|base| text.starts_with(base)), "{name}");
        }
        for form in text.split("<form").skip(1) {
            let form = form.split("</form>").next().unwrap();
            let has_token = ["{{ csrf }}", "{{ shell.csrf }}"]
                .iter()
                .any(|token| form.contains(&format!("name=\"csrf\" value=\"{token}\"")));
            let only_asks = form.contains("method=\"get\"") && !form.contains("csrf");
            assert!(
                only_asks || form.contains("method=\"post\"") && has_token,
                "{name}: {form}"
            );
        }
    }
    let style = read("assets/console.css");
    assert!(!style.contains("@import") && !style.contains("url("));
}

#[test]
fn the_pages_do_not_use_the_store() {
    let pages = files("src/http/console", ".rs");
    assert!(pages.len() >= 8, "{pages:?}");
    for path in pages {
        let text = std::fs::read_to_string(&path).unwrap();
        let mut fields = text.split(".store").skip(1);
        let uses = fields.any(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'));
        assert!(!uses && !text.contains("store::"), "{}", path.display());
    }
}

#[tokio::test]
async fn people_are_listed_and_their_sessions_ended_over_the_admin_api() {
    let people = People::new().await;
    let mut browsers = Vec::new();
    for sub in ["ada-1", "bob-2", "eve-3"] {
        people.server.clock.advance(1);
        let (mut browser, mut claims) = (people.browser(), People::ada());
        claims["sub"] = json!(sub);
        browser.sign_in(&people, &claims).await;
        browsers.push(browser);
    }
    let get = async |path: &str| people.server.admin("GET", path, Value::Null).await;
    let first = get("people?limit=2").await.json();
    let cursor = first["next_cursor"].as_str().unwrap();
    let second = get(&format!(
        "people?limit=2&cursor={cursor}&identity_provider=corp"
    ))
    .await
    .json();
    let subs = |page: &Value| -> Vec<String> {
        page["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["sub"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        (subs(&first), subs(&second)),
        (
            vec!["ada-1".to_owned(), "bob-2".to_owned()],
            vec!["eve-3".to_owned()]
        )
    );
    assert_eq!(second["next_cursor"], Value::Null);
    for path in [
        "people?limit=0",
        "people?cursor=x",
        "people?identity_provider=nobody",
        "people?x=1",
    ] {
        assert_eq!(get(path).await.status, 400, "{path}");
    }
    for path in [
        "people/x",
        "people/ps_00000000000000000000000000",
        "people/x/sessions",
    ] {
        assert_eq!(get(path).await.status, 404, "{path}");
    }
    let id = first["items"][0]["id"].as_str().unwrap();
    let shown = get(&format!("people/{id}")).await.json();
    assert_eq!(
        (
            &shown["identity_provider"],
            &shown["username"],
            &shown["enabled"]
        ),
        (&json!("corp"), &json!("ada"), &json!(true))
    );
    let sessions = get(&format!("people/{id}/sessions")).await.json();
    let session = sessions["items"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(sessions["items"][0]["amr"], json!(["pwd", "otp"]));
    // Only administrators see people, and only those who may write end sessions.
    for (scope, method, path, status) in [
        ("admin:credentials", "GET", "people".to_owned(), 403),
        (
            "admin:credentials:octo-org",
            "GET",
            "people".to_owned(),
            403,
        ),
        ("admin:read", "GET", "people".to_owned(), 200),
        ("admin:read", "DELETE", format!("sessions/{session}"), 403),
        ("admin:read", "DELETE", format!("people/{id}/sessions"), 403),
        ("admin:read", "PATCH", format!("people/{id}"), 403),
    ] {
        let answer = people
            .server
            .admin_as(scope, method, &path, Value::Null)
            .await;
        assert_eq!(answer.status, status, "{scope} {path}");
    }
    let delete = async |path: String| people.server.admin("DELETE", &path, Value::Null).await;
    assert_eq!(delete(format!("sessions/{session}")).await.status, 204);
    assert_eq!(delete(format!("sessions/{session}")).await.status, 404);
    ended(&browsers[0].get("/console").await);
    let id = first["items"][1]["id"].as_str().unwrap();
    assert_eq!(
        delete(format!("people/{id}/sessions")).await.json(),
        json!({ "ended": 1 })
    );
    assert_eq!(
        delete(format!("people/{id}/sessions")).await.json(),
        json!({ "ended": 0 })
    );
    ended(&browsers[1].get("/console").await);
    assert_eq!(browsers[2].get("/console").await.status, 200);
    let events = people.server.audit(&format!("person={id}")).await;
    let outcomes: Vec<&Value> = events.iter().map(|event| &event["outcome"]).collect();
    assert_eq!(outcomes, [&json!("signed_out"), &json!("signed_in")]);
    assert_eq!(
        (&events[0]["actor"], &events[0]["detail"]["ended_by"]),
        (&json!("tester"), &json!("administrator"))
    );
    // Sessions of people are no events of rules.
    let seen = people
        .server
        .admin_as("admin:credentials", "GET", "audit-events", Value::Null)
        .await
        .json();
    assert!(
        seen["items"]
            .as_array()
            .unwrap()
            .iter()
            .all(|event| event["kind"] != "session"),
        "{seen:#}"
    );
}

#[tokio::test]
async fn the_command_shows_disables_and_signs_out_people() {
    let people = People::new().await;
    let db = &people.server.db;
    let command = |arguments: &[&str]| {
        let mut command = carnet();
        command
            .env("CARNET_ISSUER", CARNET)
            .env("CARNET_DATABASE__URL", db.url());
        command.env("CARNET_DATA_DIR", db.folder());
        finished(command.arg("people").args(arguments).output().unwrap())
    };
    let nobody = command(&["list"]);
    assert_eq!(
        (nobody.code, nobody.stdout.as_str()),
        (0, ""),
        "{}",
        nobody.stderr
    );
    let mut browser = people.signed_in().await;
    let id = people.person().await;
    let listed = command(&["list", "--identity-provider", "corp"]).stdout;
    assert!(
        listed.starts_with("ID ")
            && listed.contains(&id)
            && listed.contains("ada")
            && listed.contains("enabled"),
        "{listed}"
    );
    let shown = command(&["show", &id]).stdout;
    assert!(
        shown.contains("ada@corp.test") && shown.contains("se_"),
        "{shown}"
    );
    let shown: Value = serde_json::from_str(&command(&["show", &id, "--json"]).stdout).unwrap();
    assert_eq!(
        (&shown["sub"], shown["sessions"].as_array().unwrap().len()),
        (&json!("ada-1"), 1)
    );
    assert_eq!(
        command(&["end-sessions", &id]).stdout,
        "ended sessions: 1\n"
    );
    ended(&browser.get("/console").await);
    browser.sign_in(&people, &People::ada()).await;
    assert_eq!(
        command(&["disable", &id]).stdout,
        format!("person {id} is disabled and signed out\n")
    );
    ended(&browser.get("/console").await);
    refused(
        &browser.sign_in(&people, &People::ada()).await,
        403,
        "person_disabled",
    );
    assert_eq!(
        command(&["enable", &id]).stdout,
        format!("person {id} may sign in\n")
    );
    assert_eq!(browser.sign_in(&people, &People::ada()).await.status, 303);
    let unknown = command(&["disable", "ps_00000000000000000000000000"]);
    assert_eq!(unknown.code, 1);
    assert!(
        unknown.stderr.contains("there is no such object"),
        "{}",
        unknown.stderr
    );
    let mut audit = carnet();
    audit
        .env("CARNET_ISSUER", CARNET)
        .env("CARNET_DATABASE__URL", db.url())
        .env("CARNET_DATA_DIR", db.folder());
    let audit = finished(
        audit
            .args(["audit", "--person", &id, "--outcome", "signed_out"])
            .output()
            .unwrap(),
    );
    let line = format!("    {id} by identity provider corp, username ada, ended by administrator");
    assert!(
        audit.stdout.contains(&line),
        "{} {}",
        audit.stdout,
        audit.stderr
    );
}

#[tokio::test]
async fn sessions_and_people_that_are_over_are_removed() {
    let people = People::new().await;
    people.signed_in().await;
    let store = &people.server.app.store;
    let prune = async || {
        store
            .prune(
                carnet::clock::Timestamp::from_seconds(people.server.now()),
                400,
            )
            .await
            .unwrap()
    };
    people.server.clock.advance(28_800 + 86_400);
    prune().await;
    assert_eq!(people.count("session").await, 1);
    people.server.clock.advance(1);
    prune().await;
    assert_eq!(
        (people.count("session").await, people.count("person").await),
        (0, 1)
    );
    people.server.clock.advance(400 * 86_400);
    people
        .server
        .db
        .execute("UPDATE person SET enabled = (1 = 0)")
        .await;
    prune().await;
    assert_eq!(people.count("person").await, 1);
    people
        .server
        .db
        .execute("UPDATE person SET enabled = (1 = 1)")
        .await;
    prune().await;
    assert_eq!(people.count("person").await, 0);
}

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn atk_202__no_cookie_code_or_id_token_is_in_log_audit_database_or_pages() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // While there is one dispatcher alone, what other threads log first is off for it as well.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _guard = tracing::subscriber::set_default(subscriber);
    let people = People::new().await;
    people.put_provider(json!({ "auth_method": "client_secret_basic", "client_secret": "canary-client-secret" })).await;
    let mut browser = people.browser();
    let mut canaries = vec![
        "canary-client-secret".to_owned(),
        "canary-access-token".to_owned(),
        "canary-code-".to_owned(),
    ];
    let begun = browser.get("/console/sign-in/corp").await;
    canaries.extend(browser.cookies.values().cloned());
    let sent = url::Url::parse(begun.header("location").unwrap()).unwrap();
    let nonce = sent.query_pairs().find(|(name, _)| name == "nonce");
    canaries.push(nonce.unwrap().1.into_owned());
    let query = people.provider.answer(
        begun.header("location").unwrap(),
        people.server.now(),
        &People::ada(),
    );
    canaries.push(query.split("state=").nth(1).unwrap().to_owned());
    browser
        .get(&format!("/console/sign-in/corp/callback?{query}"))
        .await;
    canaries.extend(browser.session());
    // A code that is used again, and one of a browser that did not ask for it.
    refused(
        &browser
            .get(&format!("/console/sign-in/corp/callback?{query}"))
            .await,
        400,
        "sign_in_expired",
    );
    browser.step_up(&people, &People::ada()).await;
    canaries.extend(browser.session());
    let mut claims = People::ada();
    claims["groups"] = json!([]);
    let mut stranger = people.browser();
    let page = stranger.sign_in(&people, &claims).await;
    refused(&page, 403, "no_membership");
    canaries.extend(people.provider.verifiers.lock().unwrap().iter().cloned());
    let csrf = browser.csrf().await;
    let bad = browser.post("/console/sign-out", &[("csrf", "x")]).await;
    refused(&bad, 403, "csrf_invalid");
    let audit = json!(people.server.audit("limit=500").await).to_string();
    let dump = people.server.db.folder().join("dump");
    people.server.db.back_up(&dump).await;
    let dump = String::from_utf8_lossy(&std::fs::read(&dump).unwrap()).into_owned();
    let pages = [browser.seen.as_slice(), &stranger.seen]
        .concat()
        .join("\n");
    for id_token in people.provider.id_tokens.lock().unwrap().iter() {
        canaries.extend(id_token.split('.').skip(1).map(str::to_owned));
    }
    // The last page is for the provider, and leads the browser there with the ID token.
    browser.post("/console/sign-out", &[("csrf", &csrf)]).await;
    people.server.app.flush_audit().await;
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        log.contains("signed in") && log.contains("sign_in_expired"),
        "{log}"
    );
    assert!(canaries.len() >= 13, "{canaries:?}");
    for (place, text) in [
        ("the log", &log),
        ("the audit events", &audit),
        ("the database", &dump),
        ("a page", &pages),
    ] {
        for canary in &canaries {
            assert!(canary.len() >= 12, "{canary}");
            let at = text.find(canary.as_str());
            assert_eq!(
                at,
                None,
                "{canary} is in {place}: {}",
                &text[at.unwrap_or(0).saturating_sub(300)..][..600]
            );
        }
    }
}
