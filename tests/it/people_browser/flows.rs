//! What people do, and what happens on the way.

use std::time::{Duration, Instant};

use super::{EARLIER, SESSION, Site, TWO_FACTORS};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_2fa_2__a_foreign_provider_has_to_prove_the_second_factor() {
    let Some((site, _server)) = Site::start().await else {
        return;
    };
    let browser = &site.browser;
    browser.visit("/console");
    browser.shows("Carnet keeps no password");
    browser.follow("Sign in with Corp");
    browser.shows("Log in at Corp");
    browser.press("Cancel");
    site.is_refused("sign_in_denied");
    site.has_no_session();

    browser.follow("Try again");
    site.log_in("ada", &[]);
    site.is_refused("second_factor_missing");
    site.has_no_session();

    // The provider remembers how she logged in, and is told to ask again.
    browser.follow("Try again");
    site.log_in("ada", &[TWO_FACTORS]);
    let shown = site.is_signed_in("Ada Lovelace");
    for part in ["Corp", "ada@corp.example", "octo-org", "owner"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let cookie = browser.cookie(SESSION).unwrap();
    assert_eq!(cookie["domain"], "localhost");
    assert_eq!(
        (&cookie["httpOnly"], &cookie["sameSite"]),
        (&true.into(), &"Lax".into())
    );
    assert_eq!(browser.url(), format!("{}/console", site.origin));
    browser.has_no_complaints();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oidcc_3_1_2_1_1__a_foreign_provider_asks_again_and_its_old_log_in_is_not_believed() {
    let Some((site, _server)) = Site::start().await else {
        return;
    };
    let browser = &site.browser;
    browser.visit("/console/sign-in/corp");
    site.log_in("ada", &[TWO_FACTORS, EARLIER]);
    let shown = site.is_signed_in("Ada Lovelace");
    assert!(
        shown.contains("your provider has to ask you again"),
        "{shown}"
    );
    let first = browser.cookie(SESSION).unwrap();

    // Whoever sits at the open browser cuts the request for a new log-in out of the URL.
    let asked = format!("{}/auth", site.corp.issuer());
    browser.strip(&asked, &["prompt", "max_age"]);
    browser.press("Confirm that it is you");
    let shown = site.is_refused("auth_too_old");
    assert!(
        shown.contains("You did not confirm that it is you"),
        "{shown}"
    );
    assert_eq!(browser.cookie(SESSION).unwrap(), first);

    // Another person at the provider does not speak for this one.
    browser.follow("Back to your account");
    site.is_signed_in("Ada Lovelace");
    browser.press("Confirm that it is you");
    site.log_in("olive", &[TWO_FACTORS]);
    site.is_refused("other_person");

    browser.follow("Back to your account");
    let shown = site.is_signed_in("Ada Lovelace");
    assert!(
        shown.contains("your provider has to ask you again"),
        "{shown}"
    );
    browser.press("Confirm that it is you");
    site.log_in("ada", &[]);
    site.is_refused("second_factor_missing");
    assert_eq!(browser.cookie(SESSION).unwrap(), first);

    browser.follow("Back to your account");
    site.is_signed_in("Ada Lovelace");
    browser.press("Confirm that it is you");
    site.log_in("ada", &[TWO_FACTORS]);
    browser.shows("recent enough for changes until");
    assert_ne!(browser.cookie(SESSION).unwrap(), first);
    browser.has_no_complaints();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oidcrp_2_1__a_sign_out_ends_the_session_at_a_foreign_provider_too() {
    let Some((site, _server)) = Site::start().await else {
        return;
    };
    let browser = &site.browser;
    site.sign_in("ada");
    site.is_signed_in("Ada Lovelace");
    // As long as the provider knows her, it does not ask.
    browser.visit("/console/sign-in/corp");
    site.is_signed_in("Ada Lovelace");
    browser.press("Sign out");
    browser.shows("Do you want to sign-out from");
    site.has_no_session();
    browser.press("Yes, sign me out");
    browser.shows("You are signed out");
    let signed_out = format!("{}/console/signed-out", site.origin);
    assert!(browser.url().starts_with(&signed_out), "{}", browser.url());
    browser.follow("Sign in again");
    browser.follow("Sign in with Corp");
    browser.shows("Log in at Corp");
    browser.has_no_complaints();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oidcd_4_8__a_foreign_provider_changes_its_keys_between_two_sign_ins() {
    let Some((mut site, _server)) = Site::start().await else {
        return;
    };
    site.sign_in("ada");
    site.is_signed_in("Ada Lovelace");
    site.corp.restart();
    let began = Instant::now();
    site.sign_in("ada");
    // Whoever signs in right after the keys were fetched waits until they may be fetched again.
    loop {
        let shown = site.browser.shows("Carnet");
        if shown.contains("Signed in as Ada Lovelace") {
            break;
        }
        assert!(shown.contains("provider_unavailable"), "{shown}");
        assert!(began.elapsed() < Duration::from_mins(1), "{shown}");
        tokio::time::sleep(Duration::from_secs(3)).await;
        site.browser.visit("/console/sign-in/corp");
    }
    site.browser.has_no_complaints();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_page_1__all_works_by_keyboard_and_without_scripts() {
    let Some((site, _server)) = Site::start().await else {
        return;
    };
    let browser = &site.browser;
    browser.open(false);
    browser.visit("/console");
    browser.shows("Carnet keeps no password");
    browser.tab_to("Skip to the content");
    browser.tab_to("Sign in with Corp");
    browser.key("Enter");
    browser.shows("Log in at Corp");
    browser.type_text("ada");
    browser.key("Tab");
    browser.key("Space");
    browser.tab_to("Log in");
    browser.key("Enter");
    site.is_signed_in("Ada Lovelace");
    browser.tab_to("Confirm that it is you");
    browser.key("Enter");
    browser.shows("Log in at Corp");
    browser.tab_to("factors");
    browser.key("Space");
    browser.tab_to("Log in");
    browser.key("Enter");
    browser.shows("recent enough for changes until");
    browser.tab_to("Sign out");
    browser.key("Enter");
    browser.shows("Do you want to sign-out from");
    browser.tab_to("Yes, sign me out");
    browser.key("Enter");
    browser.shows("You are signed out");
    site.has_no_session();
    browser.has_no_complaints();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc9700_4_4_1__what_one_foreign_provider_answers_is_worth_nothing_at_the_other() {
    let Some((site, _server)) = Site::start().await else {
        return;
    };
    let (browser, origin) = (&site.browser, &site.origin);
    let at = |name: &str| format!("{origin}/console/sign-in/{name}/callback");

    // The pages of the partner's own provider: log-in, then consent.
    let at_partner = || {
        browser.visit("/console/sign-in/partner");
        browser.log_in_at_bundled_page("grace");
        browser.shows("Authorize");
        browser.press("Continue");
    };
    at_partner();
    site.is_signed_in("grace");

    // It sends the time of the log-in to those who ask for a new one.
    browser.press("Confirm that it is you");
    browser.log_in_at_bundled_page("grace");
    browser.shows("you proved who you are on");

    // The answer of one is led to the callback of the other.
    for (from, to) in [("corp", "partner"), ("partner", "corp")] {
        browser.open(true);
        browser.intercept(&at(from));
        if from == "corp" {
            site.sign_in("ada");
        } else {
            at_partner();
        }
        let answer = browser.intercepted();
        browser.visit(&answer.replace(&at(from), &at(to)));
        site.is_refused("provider_mixed_up");
        site.has_no_session();
    }

    // A code of one is put into the answer of the other, as a provider does that pretends to be it.
    browser.open(true);
    browser.intercept(&at("partner"));
    at_partner();
    let stolen = browser.intercepted();
    browser.intercept(&at("corp"));
    site.sign_in("ada");
    let own = browser.intercepted();
    let of = |url: &str, name: &str| {
        let url: url::Url = url.parse().unwrap();
        let mut pairs = url.query_pairs();
        pairs.find(|(key, _)| key == name).unwrap().1.into_owned()
    };
    let forged = own.replace(&of(&own, "code"), &of(&stolen, "code"));
    browser.visit(&forged);
    site.is_refused("code_exchange_failed");
    site.has_no_session();

    // Nothing was wrong with the answer itself: where it belongs it is good, once.
    browser.visit(&stolen);
    site.is_signed_in("grace");
    browser.visit(&stolen);
    site.is_refused("sign_in_expired");
    browser.has_no_complaints();
}
