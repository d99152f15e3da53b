//! What an operator's change does to sessions, and to sign-ins that are under way.

use std::sync::Arc;

use carnet::people::session::{self, StartRefused};
use carnet::people::{SignedIn, finish};
use serde_json::json;

use super::browser::{Browser, People};
use super::ended;
use crate::support::TestServer;

const CORP: &str = "identity-providers/corp";

/// The cookies of a browser, as the server reads them.
fn cookies(browser: &Browser<'_>) -> Vec<(String, String)> {
    browser.cookies.clone().into_iter().collect()
}

/// The answer of the provider to a sign-in that this browser begins, judged and not yet a session.
async fn judged(people: &People, browser: &mut Browser<'_>) -> SignedIn {
    let begun = browser.get("/console/sign-in/corp").await;
    let location = begun.header("location").unwrap();
    let query = people
        .provider
        .answer(location, people.server.now(), &People::ada());
    let rules = people.server.app.rules();
    let provider = Arc::clone(rules.identity_provider_named("corp").unwrap());
    finish(
        &people.server.app,
        &provider,
        &query,
        &cookies(browser),
        None,
    )
    .await
    .unwrap()
}

#[tokio::test]
async fn a_provider_that_is_enabled_again_brings_no_session_back() {
    let people = People::new().await;
    let mut browser = people.signed_in().await;
    for enabled in [false, true] {
        let saved = people
            .server
            .admin("PATCH", CORP, json!({ "enabled": enabled }))
            .await;
        assert_eq!(saved.status, 200, "{}", saved.text());
        assert_eq!(people.count("session").await, 0, "{enabled}");
    }
    ended(&browser.get("/console").await);
    assert_eq!(people.count("person").await, 1);
    assert_eq!(browser.sign_in(&people, &People::ada()).await.status, 303);
}

#[tokio::test]
async fn a_change_of_what_a_provider_proves_ends_its_sessions_and_no_others() {
    let people = People::new().await;
    let server = &people.server;
    let unchanged = json!({ "display_name": "Corp login of today", "logout": "local" });
    people.signed_in().await;
    server.admin("PATCH", CORP, unchanged).await;
    assert_eq!(people.count("session").await, 1);
    for change in [
        json!({ "second_factor": { "amr": ["otp", "hwk"] } }),
        json!({ "second_factor": "enforced_by_provider" }),
        json!({ "freshness": "new_sign_in" }),
        json!({ "freshness": null }),
        json!({ "client_id": "carnet-again" }),
    ] {
        let saved = server.admin("PATCH", CORP, change.clone()).await;
        assert_eq!(saved.status, 200, "{}", saved.text());
        assert_eq!(people.count("session").await, 0, "{change}");
        let back = json!({ "client_id": "carnet-at-login" });
        server.admin("PATCH", CORP, back).await;
        people.signed_in().await;
    }
    let mut other = people.signed_in().await;
    let another = json!({
        "issuer": "https://login.test", "client_id": "x", "auth_method": "none", "second_factor": "enforced_by_provider", "enabled": false,
    });
    people.put("identity-providers/another", another).await;
    let change = json!({ "second_factor": { "amr": ["hwk"] } });
    server
        .admin("PATCH", "identity-providers/another", change)
        .await;
    assert_eq!(other.get("/console").await.status, 200);
}

#[tokio::test]
async fn a_session_ends_where_its_proof_is_not_the_one_that_the_provider_owes() {
    let people = People::new().await;
    let mut browser = people.signed_in().await;
    let db = &people.server.db;
    db.execute("UPDATE session SET amr = '[\"pwd\"]'").await;
    ended(&browser.get("/console").await);
    browser.sign_in(&people, &People::ada()).await;
    assert_eq!(browser.get("/console").await.status, 200);
}

#[tokio::test]
async fn a_sign_in_that_was_judged_by_an_older_version_of_its_provider_is_refused() {
    let people = People::new().await;
    let (mut browser, app) = (people.browser(), &people.server.app);
    let stale: TestServer = people.server.another_node().await;
    let signed_in = judged(&people, &mut browser).await;
    let change = json!({ "second_factor": { "amr": ["hwk", "otp"] } });
    let saved = people.server.admin("PATCH", CORP, change).await;
    assert_eq!(saved.status, 200, "{}", saved.text());
    // The other replica has not read the change yet.
    for app in [app, &stale.app] {
        let started = session::start(app, &signed_in, &cookies(&browser), None).await;
        let refused = started.unwrap_err();
        assert!(
            matches!(refused, StartRefused::ProviderChanged),
            "{refused:?}"
        );
        assert_eq!(refused.reason().code(), "provider_changed");
    }
    stale.app.flush_audit().await;
    let events = people.server.audit("outcome=sign_in_refused").await;
    let counts = events.iter().map(|event| event["count"].as_u64().unwrap());
    assert_eq!(counts.sum::<u64>(), 2, "{events:#?}");
    assert!(
        events
            .iter()
            .all(|event| event["reason"] == "provider_changed" && event["subject"] == "ada-1"),
        "{events:#?}"
    );
    assert_eq!(
        (people.count("session").await, people.count("person").await),
        (0, 0)
    );
}

#[tokio::test]
async fn a_client_id_stays_while_people_of_the_provider_are_disabled() {
    let people = People::new().await;
    people.signed_in().await;
    let path = format!("people/{}", people.person().await);
    let disable = async |enabled: bool| {
        let body = json!({ "enabled": enabled });
        assert_eq!(people.server.admin("PATCH", &path, body).await.status, 200);
    };
    let change = json!({ "client_id": "carnet-again" });
    disable(false).await;
    let refused = people.server.admin("PATCH", CORP, change.clone()).await;
    let text = refused.text();
    assert_eq!(refused.status, 422, "{text}");
    assert!(
        text.contains("/client_id") && text.contains("disabled"),
        "{text}"
    );
    let renamed = json!({ "display_name": "Corp" });
    assert_eq!(
        people.server.admin("PATCH", CORP, renamed).await.status,
        200
    );
    disable(true).await;
    assert_eq!(people.server.admin("PATCH", CORP, change).await.status, 200);
}
