//! The pages about the server: operators and auditors see them, operators alone change what they show.

use serde_json::{Value, json};

use crate::people_sessions::browser::{Browser, People};
use crate::support::{Answer, R1, World};

const PATHS: [&str; 8] = [
    "/console/server",
    "/console/server/trusted-issuers",
    "/console/server/resource-servers",
    "/console/server/clients",
    "/console/server/identity-providers",
    "/console/server/people",
    "/console/server/signing-keys",
    "/console/server/audit",
];
const KEYS: &str = "/console/server/signing-keys";

async fn site() -> People {
    let people = People::new().await;
    for (name, role, principal) in [
        ("operators", "operator", None),
        ("auditors", "auditor", None),
        ("viewers", "viewer", Some("octo-org")),
    ] {
        let mut membership =
            json!({ "identity_provider": "corp", "match": { "groups": [name] }, "role": role });
        if let Some(principal) = principal {
            membership["principal"] = principal.into();
        }
        people.put(&format!("memberships/{name}"), membership).await;
    }
    people
}

async fn signed_in<'p>(people: &'p People, group: &str) -> Browser<'p> {
    let mut browser = people.browser();
    let claims =
        json!({ "sub": format!("{group}-1"), "preferred_username": group, "groups": [group] });
    let answer = browser.sign_in(people, &claims).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    browser
}

async fn press(browser: &mut Browser<'_>, path: &str, form: &[(&str, &str)]) -> Answer {
    let csrf = browser.csrf().await;
    let form = [form, &[("csrf", csrf.as_str())]].concat();
    browser.post(path, &form).await
}

async fn keys(people: &People) -> Vec<(String, String)> {
    let keys = people
        .server
        .admin("GET", "signing-keys", Value::Null)
        .await;
    let keys = keys.json();
    let text = |key: &Value, name: &str| key[name].as_str().unwrap().to_owned();
    let items = keys["items"].as_array().unwrap().iter();
    items
        .map(|key| (text(key, "kid"), text(key, "state")))
        .collect()
}

#[tokio::test]
async fn operators_and_auditors_read_the_server_and_others_find_no_page() {
    let people = site().await;
    for (group, may_read, may_write) in [
        ("operators", true, true),
        ("auditors", true, false),
        ("owners", false, false),
        ("viewers", false, false),
    ] {
        let mut browser = signed_in(&people, group).await;
        for path in PATHS {
            let page = browser.get(path).await;
            let status = if may_read { 200 } else { 404 };
            assert_eq!(page.status, status, "{group} {path}: {}", page.text());
            assert!(page.text().len() < 100 * 1024, "{path}");
        }
        let provider = browser.get("/console/server/identity-providers/corp").await;
        assert_eq!(provider.text().contains("https://login.test"), may_read);
        // Every page has the form of the sign-out.
        let page = browser.get(KEYS).await.text();
        let forms = page.matches("method=\"post\"").count();
        assert_eq!(forms > 1, may_write, "{group}: {page}");
        let home = browser.get("/console").await.text();
        assert_eq!(home.contains("\"/console/server\""), may_read, "{home}");
        if !may_write {
            let kid = keys(&people).await.remove(0).0;
            let form = [("do", "withdraw"), ("kid", kid.as_str())];
            let answer = press(&mut browser, KEYS, &form).await;
            let status = if may_read { 403 } else { 404 };
            assert_eq!(answer.status, status, "{}", answer.text());
            assert!(keys(&people).await.iter().any(|(known, _)| *known == kid));
        }
    }
}

#[tokio::test]
async fn the_pages_of_clients_and_registries_tell_what_persons_may_do_by_them() {
    let people = site().await;
    let registry = json!({
        "resource": "https://npm.test/", "actions": ["publish", "create"], "people": { "owner": ["publish", "create"] },
    });
    people.put("resource-servers/npm", registry).await;
    let desk = json!({
        "grant_types": ["authorization_code"], "display_name": "Octo’s <b>desk</b>",
        "redirect_uris": ["http://127.0.0.1/callback", "https://desk.example/?a=1&b=2"], "first_party": true,
        "permissions": [{ "resource_server": "npm", "actions": ["publish"], "packages": ["*"] }],
    });
    people.put("clients/desk", desk).await;
    let mut browser = signed_in(&people, "auditors").await;
    for (path, told) in [
        (
            "resource-servers/npm",
            &[
                "people.owner",
                "[&#34;publish&#34;,&#34;create&#34;]",
                "people.viewer",
            ][..],
        ),
        (
            "clients/desk",
            &[
                "redirect_uris",
                "[&#34;http://127.0.0.1/callback&#34;,&#34;https://desk.example/?a=1&#38;b=2&#34;]",
                "Octo’s &#60;b&#62;desk&#60;/b&#62;",
                "authorization_code",
                "first_party",
                "permissions 1: packages",
                "any_package",
            ],
        ),
    ] {
        let page = browser.get(&format!("/console/server/{path}")).await;
        let text = page.text();
        for told in told {
            assert!(text.contains(told), "{told}: {text}");
        }
    }
}

#[tokio::test]
async fn keys_are_rotated_and_withdrawn_by_an_operator_who_types_the_kid() {
    let people = site().await;
    let mut browser = signed_in(&people, "operators").await;
    let before = keys(&people).await;
    let of = |keys: &[(String, String)], state: &str| {
        let found = keys.iter().find(|(_, known)| known == state);
        found.unwrap().0.clone()
    };
    let active = of(&before, "active");
    for word in ["rotate", "withdraw"] {
        let answer = press(&mut browser, KEYS, &[("do", word), ("kid", "another")]).await;
        assert_eq!(answer.status, 400, "{}", answer.text());
        assert_eq!(keys(&people).await, before);
    }
    let rotate = [("do", "rotate"), ("kid", active.as_str())];
    let answer = press(&mut browser, KEYS, &rotate).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert_ne!(of(&keys(&people).await, "active"), active);
    people.server.clock.advance(301);
    let withdraw = [("do", "withdraw"), ("kid", active.as_str())];
    let stale = press(&mut browser, KEYS, &withdraw).await;
    assert_eq!(stale.status, 403);
    assert!(
        stale.text().contains("/console/step-up"),
        "{}",
        stale.text()
    );
    assert!(keys(&people).await.iter().any(|(kid, _)| *kid == active));
    let claims = json!({ "sub": "operators-1", "groups": ["operators"] });
    browser.step_up(&people, &claims).await;
    let answer = press(&mut browser, KEYS, &withdraw).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert!(keys(&people).await.iter().all(|(kid, _)| *kid != active));
}

#[tokio::test]
async fn sessions_of_people_end_at_once() {
    let people = site().await;
    let mut owner = signed_in(&people, "owners").await;
    let id = people.person().await;
    let mut operator = signed_in(&people, "operators").await;
    let path = format!("/console/server/people/{id}");
    let page = operator.get(&path).await.text();
    assert!(page.contains("owner of octo-org"), "{page}");
    // To end sessions needs no recent proof, to shut somebody out does.
    people.server.clock.advance(301);
    let answer = press(&mut operator, &path, &[("do", "end-all")]).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert_eq!(owner.get("/console").await.status, 403);
    let stale = press(&mut operator, &path, &[("do", "disable")]).await;
    assert_eq!(stale.status, 403, "{}", stale.text());
    assert!(!operator.get(&path).await.text().contains("Enable"));
    let claims = json!({ "sub": "operators-1", "groups": ["operators"] });
    operator.step_up(&people, &claims).await;
    let answer = press(&mut operator, &path, &[("do", "disable")]).await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    people.server.clock.advance(301);
    assert!(operator.get(&path).await.text().contains("Enable"));
    let stale = press(&mut operator, &path, &[("do", "enable")]).await;
    assert_eq!(stale.status, 403, "{}", stale.text());
}

#[tokio::test]
async fn the_audit_search_says_what_is_wrong_and_shows_events() {
    let people = site().await;
    let mut browser = signed_in(&people, "auditors").await;
    for (query, told) in [
        ("since=yesterday", "since must be"),
        ("since=2020-01-01", "at most 31 days"),
        ("outcome=x", "outcome must be one of"),
        ("reason=x", "reason must be"),
        ("person=x", "person must be"),
        ("address=x", "address must be"),
        ("error_id=x", "error_id must be"),
    ] {
        let page = browser.get(&format!("/console/server/audit?{query}")).await;
        assert_eq!(page.status, 400, "{query}");
        assert!(page.text().contains(told), "{query}: {}", page.text());
    }
    let page = browser.get("/console/server/audit?outcome=signed_in").await;
    let text = page.text();
    assert!(text.contains("auditors-1"), "{text}");
    let link = text.split("<th scope=\"row\"><a href=\"").nth(1).unwrap();
    let event = browser.get(link.split('"').next().unwrap()).await;
    assert_eq!(event.status, 200, "{}", event.text());
    assert!(event.text().contains("/console/server/people/ps_"));
}

#[tokio::test]
async fn the_page_of_an_event_shows_the_run_that_it_is_of() {
    let people = site().await;
    let world = World::on(people.server.clone()).await;
    let token = world.exchange(&world.good()).await.token();
    people.server.clock.advance(1);
    people.server.form("/revoke", &[("token", &token)]).await;
    let mut browser = signed_in(&people, "auditors").await;
    let query = format!("outcome=issued&resource={R1}");
    let page = browser.get(&format!("/console/server/audit?{query}")).await;
    let text = page.text();
    let link = text.split("<th scope=\"row\"><a href=\"").nth(1).unwrap();
    let event = browser.get(link.split('"').next().unwrap()).await.text();
    let (_, run) = event
        .split_once("The run, in the order of time")
        .unwrap_or_else(|| panic!("{event}"));
    let (issued, revoked) = (run.find("<td>issued</td>"), run.find("<td>revoked</td>"));
    assert!(issued.is_some() && issued < revoked, "{run}");
    // What stands alone is no run.
    let page = browser.get("/console/server/audit?outcome=signed_in").await;
    let text = page.text();
    let link = text.split("<th scope=\"row\"><a href=\"").nth(1).unwrap();
    let event = browser.get(link.split('"').next().unwrap()).await.text();
    assert!(!event.contains("The run, in"), "{event}");
}

#[tokio::test]
async fn no_secret_is_in_a_page_about_the_server() {
    let people = site().await;
    let secret =
        json!({ "auth_method": "client_secret_basic", "client_secret": "canary-client-secret" });
    people.put_provider(secret).await;
    let mut browser = signed_in(&people, "operators").await;
    for path in PATHS {
        browser.get(path).await;
    }
    let provider = browser.get("/console/server/identity-providers/corp").await;
    assert!(
        provider.text().contains("has_secret"),
        "{}",
        provider.text()
    );
    let (seen, session) = (browser.seen.join("\n"), browser.session().unwrap());
    assert!(!seen.contains("canary-client-secret") && !seen.contains(&session));
}
