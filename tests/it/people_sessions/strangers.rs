//! Requests that no person of this server makes: of other sites, of strangers, and by the thousand.

use axum::body::Body;
use axum::http::{HeaderValue, Request};
use carnet::clock::Timestamp;
use serde_json::{Value, json};

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
async fn people_csrf_1__images_and_frames_of_other_sites_use_up_no_limit_of_an_address() {
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
async fn people_csrf_1__a_form_of_another_site_uses_up_no_limit_of_an_address() {
    let people = People::with(FEW).await;
    let mut browser = people.signed_in().await;
    let csrf = browser.csrf().await;
    browser.address = Some(ADDRESS);
    let forms = [
        ("application/x-www-form-urlencoded", format!("csrf={csrf}")),
        ("text/plain", "csrf=x".to_owned()),
        ("application/x-www-form-urlencoded", "x".repeat(300 * 1024)),
    ];
    let foreign = async |browser: &mut Browser<'_>, path: &str| {
        for (media_type, form) in &forms {
            for (name, value) in [
                ("origin", "https://evil.test"),
                ("origin", "null"),
                ("sec-fetch-site", "cross-site"),
            ] {
                let headers = [
                    ("host", "as.test"),
                    ("content-type", media_type),
                    (name, value),
                ];
                let body = form.clone().into_bytes();
                let answer = browser.send("POST", path, &headers, body).await;
                refused(&answer, 403, "csrf_invalid");
            }
        }
    };
    for path in ["/console/sign-out", "/console/step-up"] {
        foreign(&mut browser, path).await;
    }
    assert!(is_within(&people));
    assert_eq!(people.count("session").await, 1);
    // Those of our own pages with a wrong token, and of programs, count.
    for sender in [&[("origin", "https://as.test")][..], &[]] {
        assert!(is_within(&people));
        let form = [("csrf", "x")];
        let answer = browser.post_with("/console/sign-out", sender, &form).await;
        refused(&answer, 403, "csrf_invalid");
    }
    assert!(!is_within(&people));
    // Beyond the limit they are refused as before, and take no turn.
    let limits = &people.server.app.limits;
    let _turn = limits.admit(ADDRESS.parse().ok()).await.unwrap();
    foreign(&mut browser, "/console/step-up").await;
}

#[tokio::test]
async fn an_invented_cookie_counts_wherever_it_is_looked_up() {
    for path in ["/console/sign-out", "/console/signed-out"] {
        let people = People::with(FEW).await;
        let mut stranger = people.browser();
        stranger.address = Some(ADDRESS);
        for count in 0..2 {
            assert!(is_within(&people), "{count}");
            let secret = carnet::ids::random::<32>();
            let cookie = carnet_jose::base64url(secret);
            stranger.cookies.insert(SESSION.to_owned(), cookie);
            let answer = if path == "/console/sign-out" {
                // Whoever invents a cookie can make the token of its forms.
                let all = [&b"carnet csrf\0https://as.test\0"[..], &secret].concat();
                let csrf = carnet_jose::base64url(carnet_jose::sha256(&all));
                stranger.post(path, &[("csrf", &csrf)]).await
            } else {
                stranger.get(path).await
            };
            assert!(matches!(answer.status, 200 | 303), "{}", answer.text());
            assert_eq!(stranger.session(), None);
        }
        assert!(!is_within(&people), "{path}");
    }
}

#[tokio::test]
async fn an_address_over_its_limit_keeps_its_turn_neither_for_a_slow_form_nor_for_a_provider() {
    let people = People::with(FEW).await;
    let browser = people.signed_in().await;
    // It has not read the provider's metadata yet.
    let node = people.server.another_node().await;
    let mut browser = Browser {
        server: &node,
        address: Some(ADDRESS),
        ..browser
    };
    let csrf = browser.csrf().await;
    let address: Option<std::net::IpAddr> = ADDRESS.parse().ok();
    for _ in 0..10 {
        node.app.limits.note_refusal(address);
    }
    let mut other = browser.clone();

    let never = futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>();
    let peer = std::net::SocketAddr::new(address.unwrap(), 4000);
    let slow = Request::post("/console/sign-out")
        .header("host", "as.test")
        .header("content-type", "application/x-www-form-urlencoded")
        .extension(axum::extract::ConnectInfo(peer));
    let slow = slow.body(Body::from_stream(never)).unwrap();
    tokio::select! {
        biased;
        answer = node.send(slow) => panic!("{}", answer.text()),
        page = other.get("/console") => assert_eq!(page.status, 200, "{}", page.text()),
    }

    let began = people
        .provider
        .came
        .load(std::sync::atomic::Ordering::SeqCst);
    let gate = people.provider.gate.clone().lock_owned().await;
    let form = [("csrf", csrf.as_str())];
    let asked = browser.post("/console/step-up", &form);
    let waits = async {
        people.provider.has_come(began + 1).await;
        let page = other.get("/console").await;
        assert_eq!(page.status, 200, "{}", page.text());
        drop(gate);
    };
    let (asked, ()) = tokio::join!(asked, waits);
    assert_eq!(asked.status, 200, "{}", asked.text());
    // A sign-in begins and ends without a turn: it has a limit of its own.
    let turn = node.app.limits.admit(address).await.unwrap();
    assert!(turn.is_on_probation());
    browser.cookies.clear();
    let answer = browser.sign_in(&people, &People::ada()).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert!(browser.session().is_some());
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

#[tokio::test]
async fn a_cookie_that_is_no_text_hides_no_other_cookie() {
    let people = People::new().await;
    let good = people.signed_in().await.session().unwrap();
    for before in [
        &b"theme=\xff\xfe; "[..],
        "name=J\u{fc}rgen; ".as_bytes(),
        b"",
    ] {
        let mut cookie = before.to_vec();
        cookie.extend(format!("{SESSION}={good}; other=").bytes());
        cookie.push(0xe9);
        let request = Request::get("/console")
            .header("host", "as.test")
            .header("cookie", HeaderValue::from_bytes(&cookie).unwrap());
        let answer = people.server.send(request.body(Body::empty()).unwrap());
        assert_eq!(answer.await.status, 200, "{before:?}");
    }
}

#[tokio::test]
async fn control_characters_of_a_provider_reach_neither_the_database_nor_a_terminal() {
    let people = People::new().await;
    let mut claims = People::ada();
    claims["name"] = json!("Ada\u{0}\u{1b}[31m \u{202e}Lovelace\u{2066}\u{200f}");
    claims["preferred_username"] = json!("ada\u{7}");
    claims["email"] = json!("ada\u{0}@corp.test");
    claims["acr"] = json!("a\u{0}");
    claims["amr"] = json!(["otp", "\u{1b}[2J"]);
    let mut browser = people.browser();
    let answer = browser.sign_in(&people, &claims).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    let shown = people.server.admin("GET", "people", Value::Null).await;
    let shown = &shown.json()["items"][0];
    assert_eq!(
        shown["name"],
        "Ada\u{fffd}\u{fffd}[31m \u{fffd}Lovelace\u{fffd}\u{fffd}"
    );
    assert_eq!(shown["username"], "ada\u{fffd}");
    assert_eq!(shown["email"], "ada\u{fffd}@corp.test");
    let path = format!("people/{}/sessions", people.person().await);
    let sessions = people.server.admin("GET", &path, Value::Null).await.json();
    let session = &sessions["items"][0];
    assert_eq!(session["acr"], "a\u{fffd}");
    assert_eq!(session["amr"], json!(["otp", "\u{fffd}[2J"]));
    // An id is taken as it is, or not at all.
    claims["sub"] = json!("ada\u{0}1");
    let answer = people.browser().sign_in(&people, &claims).await;
    refused(&answer, 403, "id_token_invalid");
    assert_eq!(people.count("person").await, 1);
}

#[tokio::test]
async fn the_page_without_membership_shows_no_secret_of_the_sign_in() {
    let people = People::new().await;
    let mut claims = People::ada();
    let hidden = ["nonce", "at_hash", "jti", "sid"];
    claims["groups"] = json!(["strangers"]);
    claims["jti"] = json!("canary-jti");
    claims["sid"] = json!("canary-sid");
    let half = &carnet_jose::sha256(b"canary-access-token")[..16];
    claims["at_hash"] = json!(carnet_jose::base64url(half));
    let page = people.browser().sign_in(&people, &claims).await;
    assert_eq!(page.status, 403);
    let page = page.text();
    for shown in ["ada-1", "strangers"] {
        assert!(page.contains(shown), "{shown}: {page}");
    }
    assert!(page.contains("groups&#34;"), "{page}");
    for name in hidden {
        assert!(!page.contains(&format!("{name}&#34;")), "{name}: {page}");
    }
    assert!(!page.contains("canary-jti") && !page.contains("canary-sid"));
}

#[tokio::test]
async fn a_person_who_is_disabled_is_not_forgotten() {
    let people = People::new().await;
    people.signed_in().await;
    let person = people.person().await;
    let store = &people.server.app.store;
    let later = Timestamp::from_seconds(people.server.now() + 1);
    for enabled in [false, true] {
        let body = json!({ "enabled": enabled });
        let path = format!("people/{person}");
        assert_eq!(people.server.admin("PATCH", &path, body).await.status, 200);
        assert!(!store.prune_people(later, 10).await.unwrap());
        assert_eq!(people.count("person").await, i64::from(!enabled));
    }
}
