//! Requests that no person of this server makes: of other sites, of strangers, and by the thousand.

use super::browser::{Browser, PROVIDER, People, SESSION};
use super::{ended, refused};

/// How many refusals and sign-ins an address has a minute in these tests.
const FEW: &[(&str, &str)] = &[
    ("CARNET_RATE_LIMITS__SIGN_INS_PER_MINUTE_PER_ADDRESS", "2"),
    ("CARNET_RATE_LIMITS__REFUSALS_PER_MINUTE_PER_ADDRESS", "2"),
];
const ADDRESS: &str = "192.0.2.1";
const BEGIN: &str = "/console/sign-in/corp";
const CALLBACK: &str = "/console/sign-in/corp/callback?state=x&code=y";

/// The state of a sign-in that this browser begins.
async fn state_of(browser: &mut Browser<'_>) -> String {
    let begun = browser.get(BEGIN).await;
    let location = url::Url::parse(begun.header("location").unwrap()).unwrap();
    assert!(location.as_str().starts_with(PROVIDER), "{location}");
    let mut pairs = location.query_pairs();
    pairs
        .find(|(name, _)| name == "state")
        .unwrap()
        .1
        .into_owned()
}

fn is_within(people: &People) -> bool {
    let limits = &people.server.app.limits;
    limits.check_address(ADDRESS.parse().unwrap()).is_ok()
}

#[tokio::test]
async fn images_and_frames_of_other_sites_use_up_no_limit_of_an_address() {
    let people = People::with(FEW).await;
    let mut browser = people.browser();
    browser.address = Some(ADDRESS);
    for (mode, dest, more) in [
        ("no-cors", "image", "x-none"),
        ("cors", "empty", "x-none"),
        ("navigate", "iframe", "x-none"),
        ("navigate", "embed", "x-none"),
        ("", "document", "x-none"),
        ("navigate", "document", "sec-purpose"),
    ] {
        for path in [BEGIN, CALLBACK] {
            let headers = [
                ("host", "as.test"),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", mode),
                ("sec-fetch-dest", dest),
                (more, "prefetch"),
            ];
            let answer = browser.send("GET", path, &headers, Vec::new()).await;
            refused(&answer, 403, "csrf_invalid");
        }
    }
    assert!(browser.cookies.is_empty(), "{:?}", browser.cookies);
    assert!(is_within(&people));
    let opened = [
        ("host", "as.test"),
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-dest", "document"),
    ];
    for status in [303, 303, 429] {
        let answer = browser.send("GET", BEGIN, &opened, Vec::new()).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
}

#[tokio::test]
async fn answers_to_no_sign_in_of_the_browser_use_up_no_limit_of_an_address() {
    let people = People::with(FEW).await;
    let mut stranger = people.browser();
    stranger.address = Some(ADDRESS);
    for _ in 0..10 {
        refused(&stranger.get(CALLBACK).await, 400, "sign_in_expired");
    }
    assert!(is_within(&people));
    // Those to a sign-in of the browser do, once each.
    let mut browser = people.browser();
    for count in 0..3 {
        browser.address = None;
        let state = state_of(&mut browser).await;
        browser.address = Some(ADDRESS);
        let path = format!("{BEGIN}/callback?error=access_denied&state={state}");
        let answer = browser.get(&path).await;
        match count {
            0 | 1 => refused(&answer, 403, "sign_in_denied"),
            _ => refused(&answer, 429, "rate_limited"),
        }
    }
    assert!(!is_within(&people));
}

#[tokio::test]
async fn an_address_that_invents_cookies_and_forges_forms_is_limited_and_its_neighbours_are_not() {
    for forges in [false, true] {
        let people = People::with(FEW).await;
        let (mut person, mut stranger) = (people.signed_in().await, people.browser());
        person.address = Some("192.0.2.2");
        stranger.address = Some(ADDRESS);
        for count in 0..2 {
            assert!(is_within(&people), "{count}");
            let cookie = carnet_jose::base64url(carnet::ids::random::<32>());
            stranger.cookies.insert(SESSION.to_owned(), cookie);
            if forges {
                let answer = stranger.post("/console/step-up", &[("csrf", "x")]).await;
                refused(&answer, 403, "csrf_invalid");
            } else {
                ended(&stranger.get("/console").await);
            }
        }
        assert!(!is_within(&people));
        // While one request of the address is under way, others wait for a second and are refused.
        let limits = &people.server.app.limits;
        let turn = limits.admit(ADDRESS.parse().ok()).await.unwrap();
        assert!(turn.is_on_probation());
        for path in ["/console", "/console/sign-in", "/console/signed-out"] {
            refused(&stranger.get(path).await, 429, "rate_limited");
        }
        let page = person.get("/console").await;
        assert_eq!(page.status, 200);
        let page = page.text();
        let mut assets = page
            .split('"')
            .filter(|part| part.starts_with("/console/assets/"));
        let asset = stranger.get(assets.next().unwrap()).await;
        assert_eq!(asset.status, 200);
        drop(turn);
        assert_eq!(stranger.get("/console/sign-in").await.status, 200);
    }
}
