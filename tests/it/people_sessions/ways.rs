//! Where people are led: after a sign-in, after a refusal, and where there is no page.

use serde_json::json;

use super::browser::{PROVIDER, People};
use super::{ended, refused};

/// The link of the only button of a page.
fn button(page: &str) -> &str {
    let rest = page.split("class=\"button\" href=\"").nth(1).unwrap();
    rest.split('"').next().unwrap()
}

#[tokio::test]
async fn people_open_1__a_sign_in_and_a_step_up_lead_to_the_pages_of_the_console_alone() {
    let people = People::new().await;
    for (asked, led) in [
        ("/console?principal=octo-org", "/console?principal=octo-org"),
        ("/console/rules/fc_1", "/console/rules/fc_1"),
        ("https://evil.test/console", "/console"),
        ("//evil.test", "/console"),
        ("/console/../token", "/console"),
        ("/console/sign-in/corp", "/console"),
    ] {
        let led = format!("https://as.test{led}");
        let mut browser = people.browser();
        let asked_for = url::form_urlencoded::byte_serialize(asked.as_bytes()).collect::<String>();
        let path = format!("/console/sign-in/corp?return_to={asked_for}");
        let location = browser.begin(&path).await;
        let answer = browser.come_back(&people, &location, &People::ada()).await;
        assert_eq!(answer.header("location"), Some(led.as_str()), "{asked}");

        people.server.clock.advance(1);
        let location = browser.begin_step_up(&[("return_to", asked)]).await;
        let answer = browser.come_back(&people, &location, &People::ada()).await;
        assert_eq!(answer.header("location"), Some(led.as_str()), "{asked}");

        let location = browser.begin_step_up(&[("return_to", asked)]).await;
        let mut claims = People::ada();
        claims["amr"] = json!(["pwd"]);
        let answer = browser.come_back(&people, &location, &claims).await;
        refused(&answer, 403, "second_factor_missing");
        assert_eq!(button(&answer.text()), led, "{asked}");
    }
}

#[tokio::test]
async fn whoever_tries_again_is_asked_again_where_the_provider_would_say_the_same() {
    let people = People::new().await;
    let again = "/console/sign-in/corp?prompt=login";
    let mut claims = People::ada();
    claims["amr"] = json!(["pwd"]);
    let page = people.browser().sign_in(&people, &claims).await;
    refused(&page, 403, "second_factor_missing");
    assert_eq!(button(&page.text()), again);

    people.signed_in().await;
    let path = format!("people/{}", people.person().await);
    let disabled = json!({ "enabled": false });
    people.server.admin("PATCH", &path, disabled).await;
    let page = people.browser().sign_in(&people, &People::ada()).await;
    refused(&page, 403, "person_disabled");
    assert_eq!(button(&page.text()), again);

    let node = people.server.another_node().await;
    let mut browser = people.browser();
    browser.server = &node;
    *people.provider.is_away.lock().unwrap() = true;
    for path in [again, "/console/sign-in/corp"] {
        let page = browser.get(path).await;
        refused(&page, 503, "provider_unavailable");
        assert_eq!(button(&page.text()), path);
    }
    *people.provider.is_away.lock().unwrap() = false;
    people.server.clock.advance(60);
    let location = browser.begin(again).await;
    assert!(location.contains("prompt=login"), "{location}");
}

#[tokio::test]
async fn a_sign_in_during_which_the_provider_was_saved_is_refused_and_brings_no_code() {
    let people = People::new().await;
    let mut browser = people.browser();
    let location = browser.begin("/console/sign-in/corp").await;
    let saved = json!({ "display_name": "Corp of today" });
    people
        .server
        .admin("PATCH", "identity-providers/corp", saved)
        .await;
    let answer = browser.come_back(&people, &location, &People::ada()).await;
    refused(&answer, 403, "provider_changed");
    assert!(browser.cookies.is_empty(), "{:?}", browser.cookies);
    assert!(people.provider.id_tokens.lock().unwrap().is_empty());
    let answer = browser.sign_in(&people, &People::ada()).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
}

#[tokio::test]
async fn a_provider_that_takes_too_long_is_given_up_with_a_page() {
    let people = People::with(&[("CARNET_SERVER__REQUEST_SECONDS", "4")]).await;
    let mut browser = people.browser();
    let location = browser.begin("/console/sign-in/corp").await;
    let gate = people.provider.gate.lock().await;
    let answer = browser.come_back(&people, &location, &People::ada()).await;
    refused(&answer, 503, "provider_unavailable");
    assert!(answer.header("retry-after").is_some());
    assert!(answer.header("content-security-policy").is_some());
    assert!(browser.cookies.is_empty(), "{:?}", browser.cookies);
    drop(gate);
    assert_eq!(people.count("session").await, 0);
}

#[tokio::test]
async fn a_sign_out_at_a_replica_that_does_not_know_the_provider_yet_ends_the_session() {
    let people = People::new().await;
    // The other replica learns of the provider by itself within a quarter of a second.
    for attempt in 0..10 {
        let (name, older) = (
            format!("another-{attempt}"),
            people.server.another_node().await,
        );
        let another = json!({
            "display_name": "Another", "issuer": PROVIDER, "client_id": "carnet-at-login", "auth_method": "none", "second_factor": { "amr": ["otp"] },
        });
        people
            .put(&format!("identity-providers/{name}"), another)
            .await;
        let members = json!({ "identity_provider": name, "match": { "groups": ["owners"] }, "principal": "octo-org", "role": "owner" });
        people.put(&format!("memberships/{name}"), members).await;
        let mut browser = people.browser();
        let location = browser.begin(&format!("/console/sign-in/{name}")).await;
        let now = people.server.now();
        let query = people.provider.answer(&location, now, &People::ada());
        let path = format!("/console/sign-in/{name}/callback?{query}");
        assert_eq!(browser.get(&path).await.status, 303);
        let csrf = browser.csrf().await;
        let mut there = browser.clone();
        there.server = &older;
        let answer = there.post("/console/sign-out", &[("csrf", &csrf)]).await;
        assert_eq!((people.count("session").await, there.session()), (0, None));
        ended(&browser.get("/console").await);
        if older.app.rules().identity_provider_named(&name).is_some() {
            continue;
        }
        assert_eq!(
            (answer.status, answer.header("location")),
            (303, Some("/console/signed-out")),
            "{}",
            answer.text()
        );
        let events = people.server.audit("outcome=signed_out").await;
        assert_eq!(
            (events.len(), &events[0]["subject"]),
            (attempt + 1, &json!("ada-1"))
        );
        return;
    }
    panic!("the other replica knew of each provider before the person signed out");
}
