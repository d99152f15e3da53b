//! New proofs of identity, and the sessions that ask for them.

use carnet::clock::Timestamp;
use carnet::people::session::{self, Fresh, Session, Standing, Write};
use serde_json::{Value, json};

use super::browser::{Browser, People, SESSION};
use super::refused;
use crate::support::{Answer, TestServer};

const ACCOUNT: &str = "class=\"button\" href=\"https://as.test/console\">Back to your account<";

fn bob() -> Value {
    let mut bob = People::ada();
    bob["sub"] = json!("bob-2");
    bob
}

/// Checks that a step-up was refused, and that the page leads back and not to another sign-in.
#[track_caller]
fn leads_back(answer: &Answer, status: u16, reason: &str) {
    refused(answer, status, reason);
    let text = answer.text();
    assert!(
        text.contains(ACCOUNT) && !text.contains("/console/sign-in/corp"),
        "{text}"
    );
}

async fn live(server: &TestServer, browser: &Browser<'_>) -> Box<Session> {
    let cookies = [(SESSION.to_owned(), browser.session().unwrap())];
    match session::current(&server.app, &cookies).await.unwrap() {
        Standing::Live(session) => session,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_step_up_is_not_answered_in_a_browser_in_which_somebody_else_is_signed_in() {
    let people = People::new().await;
    let mut browser = people.signed_in().await;
    let ada = people.person().await;
    let location = browser.begin_step_up(&[]).await;
    assert_eq!(browser.sign_in(&people, &bob()).await.status, 303);
    let session = browser.session();
    let answer = browser.come_back(&people, &location, &People::ada()).await;
    leads_back(&answer, 403, "other_person");
    assert_eq!(browser.session(), session);
    let page = browser.get("/console").await;
    assert!(page.text().contains("bob-2"), "{}", page.text());
    let events = people.server.audit("outcome=sign_in_refused").await;
    let [event] = events.as_slice() else {
        panic!("{events:#?}")
    };
    assert_eq!(
        (&event["reason"], &event["subject"], &event["person"]),
        (&json!("other_person"), &json!("ada-1"), &json!(ada))
    );
}

#[tokio::test]
async fn people_sess_1__a_step_up_is_answered_for_the_session_alone_that_asked() {
    let people = People::new().await;
    // The session has ended meanwhile.
    let mut browser = people.signed_in().await;
    let location = browser.begin_step_up(&[]).await;
    let csrf = browser.csrf().await;
    browser.post("/console/sign-out", &[("csrf", &csrf)]).await;
    let answer = browser.come_back(&people, &location, &People::ada()).await;
    leads_back(&answer, 400, "sign_in_expired");
    assert_eq!(
        (people.count("session").await, browser.cookies.len()),
        (0, 0)
    );
    // The same person has another one.
    browser.sign_in(&people, &People::ada()).await;
    let location = browser.begin_step_up(&[]).await;
    people.server.clock.advance(1);
    browser.sign_in(&people, &People::ada()).await;
    let session = browser.session();
    let answer = browser.come_back(&people, &location, &People::ada()).await;
    leads_back(&answer, 400, "sign_in_expired");
    assert_eq!(
        (people.count("session").await, browser.session()),
        (1, session)
    );
    let events = people.server.audit("reason=sign_in_expired").await;
    assert_eq!((events.len(), &events[0]["count"]), (1, &json!(2)));
}

#[tokio::test]
async fn people_deny_1__a_step_up_after_the_membership_was_withdrawn_brings_no_session() {
    let people = People::new().await;
    let mut browser = people.signed_in().await;
    let location = browser.begin_step_up(&[]).await;
    let withdrawn = json!({ "enabled": false });
    people
        .server
        .admin("PATCH", "memberships/owners", withdrawn)
        .await;
    let session = browser.session();
    let answer = browser.come_back(&people, &location, &People::ada()).await;
    refused(&answer, 403, "no_membership");
    let set: Vec<&str> = answer
        .headers
        .get_all("set-cookie")
        .iter()
        .map(|cookie| cookie.to_str().unwrap())
        .collect();
    assert!(
        set.iter().all(|cookie| cookie.contains("Max-Age=0")),
        "{set:?}"
    );
    assert_eq!(browser.session(), session);
    assert_eq!(people.count("session").await, 1);
}

#[tokio::test]
async fn a_proof_counts_from_the_beginning_of_the_step_up_where_the_provider_names_no_time() {
    let people = People::new().await;
    people
        .put_provider(json!({ "freshness": "new_sign_in" }))
        .await;
    let mut claims = People::ada();
    claims["auth_time"] = Value::Null;
    let mut browser = people.signed_in().await;
    let begun_at = people.server.now();
    let location = browser.begin_step_up(&[]).await;
    people.server.clock.advance(300);
    let answer = browser.come_back(&people, &location, &claims).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    let fresh = live(&people.server, &browser).await;
    let fresh = fresh.freshness(&people.server.app, Write::Rules);
    let until = Timestamp::from_seconds(begun_at + 900);
    assert_eq!(fresh, Fresh::Until(until));
}

#[tokio::test]
async fn the_times_of_sessions_and_proofs_are_those_of_the_configuration() {
    let people = People::with(&[
        ("CARNET_PEOPLE__SESSION_SECONDS", "7200"),
        ("CARNET_PEOPLE__SESSION_IDLE_SECONDS", "1800"),
        ("CARNET_PEOPLE__STEP_UP_SECONDS", "600"),
    ])
    .await;
    let operators =
        json!({ "identity_provider": "corp", "match": { "groups": ["ops"] }, "role": "operator" });
    people.put("memberships/operators", operators).await;
    let (server, clock) = (&people.server, &people.server.clock);
    let mut claims = People::ada();
    claims["groups"] = json!(["owners", "ops"]);
    let mut browser = people.browser();
    browser.sign_in(&people, &claims).await;
    let began = server.now();
    let until = |seconds: i64| Fresh::Until(Timestamp::from_seconds(began + seconds));
    let session = live(server, &browser).await;
    let freshness = |app, write| session.freshness(app, write);
    assert_eq!(freshness(&server.app, Write::Rules), until(600));
    assert_eq!(freshness(&server.app, Write::Operator), until(300));
    let page = browser.get("/console").await.text();
    for shown in [
        "after 30 minutes without use, and after 2 hours in any case",
        "</time>, as far as they concern one principal.",
        "For changes of the server it is recent enough until",
    ] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    clock.advance(300);
    let page = browser.get("/console").await.text();
    let server_first = "Before you change the server, your provider has to ask you again.";
    assert!(page.contains(server_first), "{page}");

    // A node with shorter times judges the same session by them, and shows its end.
    let shorter = [
        ("CARNET_PEOPLE__SESSION_SECONDS", "3600"),
        ("CARNET_PEOPLE__STEP_UP_SECONDS", "60"),
    ];
    let node = server.another_node_with(&shorter).await;
    assert_eq!(freshness(&node.app, Write::Operator), Fresh::StepUp);
    let session = live(&node, &browser).await;
    let own = session::own_sessions(&node.app, &session).await.unwrap();
    assert_eq!(own[0].ends_at.seconds(), began + 3600);
    let own = session::own_sessions(&server.app, &session).await.unwrap();
    assert_eq!(own[0].ends_at.seconds(), began + 7200);

    clock.advance(1799);
    assert_eq!(browser.get("/console").await.status, 200);
    clock.advance(1500);
    let mut there = Browser {
        server: &node,
        ..browser.clone()
    };
    assert_eq!(there.get("/console").await.status, 200);
    clock.advance(1);
    super::ended(&there.get("/console").await);
    assert_eq!(browser.get("/console").await.status, 200);
    clock.advance(1800);
    super::ended(&browser.get("/console").await);
}

#[tokio::test]
async fn the_proof_of_an_operator_is_never_older_than_that_of_others() {
    let people = People::with(&[("CARNET_PEOPLE__STEP_UP_SECONDS", "60")]).await;
    let browser = people.signed_in().await;
    let session = live(&people.server, &browser).await;
    let until = Timestamp::from_seconds(people.server.now() + 60);
    for write in [Write::Rules, Write::Operator] {
        let fresh = session.freshness(&people.server.app, write);
        assert_eq!(fresh, Fresh::Until(until), "{write:?}");
    }
}
