//! Each page, for people who see it otherwise than others.

use serde_json::{Value, json};

use super::{EARLIER, Site, TWO_FACTORS, admin};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_page_2__axe_finds_nothing_serious_in_any_page_light_or_dark_wide_or_narrow() {
    let Some((mut site, _server)) = Site::start().await else {
        return;
    };
    let browser = &site.browser;
    let address = site.installed.address.clone();
    browser.visit("/console/sign-in");
    browser.shows("Sign in with Partner & Sons");
    browser.examine("sign-in");

    site.sign_in("nobody");
    browser.shows("No membership lets you in");
    browser.examine("no-membership");

    // The provider remembers nobody, and is told to ask again.
    browser.follow("Sign in with another account");
    site.log_in("olive", &[TWO_FACTORS]);
    let shown = site.is_signed_in("Olive Operator");
    assert!(shown.contains("You are an operator"), "{shown}");
    browser.examine("operator");

    // A second session of the same person.
    browser.open(true);
    site.sign_in("ada");
    site.is_signed_in("Ada Lovelace");
    browser.open(true);
    browser.visit("/console/sign-in/corp");
    site.log_in("ada", &[TWO_FACTORS, EARLIER]);
    site.is_signed_in("Ada Lovelace");
    browser.examine("owner");

    browser.intercept(&format!("{}/auth", site.corp.issuer()));
    browser.press("Confirm that it is you");
    browser.intercepted();
    browser.shows("Go on to Corp");
    browser.examine("step-up");

    let owners = "memberships/owners";
    admin(
        &site,
        &address,
        "PATCH",
        owners,
        json!({ "enabled": false }),
    )
    .await;
    browser.visit("/console");
    browser.shows("No membership lets you in");
    browser.examine("membership-withdrawn");
    admin(&site, &address, "PATCH", owners, json!({ "enabled": true })).await;

    browser.visit("/console");
    site.is_signed_in("Ada Lovelace");
    browser.intercept(&format!("{}/session/end", site.corp.issuer()));
    browser.press("Sign out");
    browser.intercepted();
    browser.shows("You are signed out here");
    browser.examine("sign-out");

    browser.visit("/console/signed-out");
    browser.shows("You are signed out");
    browser.examine("signed-out");

    browser.visit("/console/sign-in/corp");
    site.is_signed_in("Ada Lovelace");
    let people = admin(&site, &address, "GET", "people", Value::Null).await;
    let people = people["items"].as_array().unwrap();
    let ada = people.iter().find(|one| one["username"] == "ada").unwrap();
    let sessions = format!("people/{}/sessions", ada["id"].as_str().unwrap());
    admin(&site, &address, "DELETE", &sessions, Value::Null).await;
    browser.visit("/console");
    browser.shows("Your session has ended");
    browser.examine("session-ended");

    let callback = format!("{}/console/sign-in/corp/callback", site.origin);
    browser.intercept(&callback);
    browser.visit("/console/sign-in/corp");
    let answer = browser.intercepted();
    site.corp.stop();
    site.browser.visit(&answer);
    site.is_refused("provider_unavailable");
    site.browser.examine("provider-unavailable");
    site.browser.has_no_complaints();
}
