//! What a hostile client, person, or moment would try at the authorization endpoint.

use axum::body::Body;
use axum::http::Request;

use super::*;
use crate::support::TestClient;

const ADMIN: &str = "https://as.test/admin";

/// A request of the admin API by a person's token.
async fn by(asking: &Asking, token: &str, method: &str, path: &str) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(format!("/admin/v1/{path}"))
        .header("authorization", format!("Bearer {token}"));
    asking
        .server()
        .send(request.body(Body::empty()).unwrap())
        .await
}

async fn patch(asking: &Asking, path: &str, body: Value) {
    let changed = asking.server().admin("PATCH", path, body).await;
    assert_eq!(changed.status, 200, "{}", changed.text());
}

/// Makes the owners of `octo-org` those of another principal too.
async fn second_principal(asking: &Asking) {
    let second = json!({ "kind": "organization" });
    asking.people.put("principals/second", second).await;
    let owners = json!({ "identity_provider": "corp", "match": { "groups": ["owners"] }, "principal": "second", "role": "owner" });
    asking.people.put("memberships/second", owners).await;
}

/// The claims of a person who is an operator.
fn operator() -> Value {
    let mut claims = People::ada();
    (claims["sub"], claims["groups"]) = (json!("olga-1"), json!(["operators"]));
    claims
}

async fn operators(asking: &Asking) {
    let operators = json!({ "identity_provider": "corp", "match": { "groups": ["operators"] }, "role": "operator" });
    asking.people.put("memberships/operators", operators).await;
}

/// The page is shown again, and nothing was given.
#[track_caller]
fn is_asked_again(answer: &Answer) {
    let text = answer.text();
    assert_eq!(answer.status, 200, "{text}");
    assert!(text.contains("has changed"), "{text}");
    assert!(field(&text, "request").is_some(), "{text}");
}

#[tokio::test]
async fn a_consent_for_one_principal_is_none_for_the_other_that_is_left() {
    let asking = Asking::new().await;
    second_principal(&asking).await;
    let mut browser = asking.people.signed_in().await;
    let page = browser.get(&path(&[])).await;
    patch(&asking, "memberships/owners", json!({ "enabled": false })).await;
    let chosen = [("principal", "octo-org")];
    let answer = press(&mut browser, &page, "allow", &chosen).await;
    is_asked_again(&answer);
    assert_eq!(asking.people.count("authorization_code").await, 0);
    // Now the person sees for whom it is.
    assert!(answer.text().contains("second"));
    let sent = allow(&mut browser, &answer, &[("principal", "second")]).await;
    let token = asking.redeem(&sent["code"], &[]).await.token();
    assert_eq!(claims(&token)["principal"]["name"], "second");
}

#[tokio::test]
async fn what_grew_while_the_page_was_shown_is_shown_before_it_is_given() {
    let asking = Asking::new().await;
    operators(&asking).await;
    let mut browser = asking.people.browser();
    let mut both = People::ada();
    both["groups"] = json!(["owners", "others"]);
    browser.sign_in(&asking.people, &both).await;
    // Without a scope, the person gives whatever the page said.
    let at_registry = browser.get(&path(&[("scope", None)])).await;
    let at_admin = [("scope", None), ("resource", Some(ADMIN))];
    let at_admin = browser.get(&path(&at_admin)).await;
    assert!(at_admin.text().contains("the rules of octo-org"));
    let more = json!({ "people": { "owner": ["publish", "yank", "create"] } });
    patch(&asking, "resource-servers/registry", more).await;
    let wider = json!({ "permissions": [{ "resource_server": "registry", "actions": ["publish", "yank", "create"], "packages": ["*"] }] });
    patch(&asking, "clients/shop", wider).await;
    let others = json!({ "identity_provider": "corp", "match": { "groups": ["others"] }, "role": "operator" });
    asking.people.put("memberships/others", others).await;
    for page in [&at_registry, &at_admin] {
        let answer = press(&mut browser, page, "allow", &[]).await;
        is_asked_again(&answer);
    }
    assert_eq!(asking.people.count("authorization_code").await, 0);
}

#[tokio::test]
async fn what_is_remembered_does_not_grow_with_the_role() {
    let asking = Asking::new().await;
    let people = json!({ "people": { "owner": ["yank"] } });
    patch(&asking, "resource-servers/registry", people).await;
    let mut browser = asking.people.signed_in().await;
    let first = asking.token(&mut browser, &[("scope", None)]).await;
    assert_eq!(first["scope"], "yank");
    assert!(sent_back(&browser.get(&path(&[("scope", None)])).await).contains_key("code"));
    let people = json!({ "people": { "owner": ["yank", "publish"] } });
    patch(&asking, "resource-servers/registry", people).await;
    let page = browser.get(&path(&[("scope", None)])).await;
    assert_eq!(page.status, 200, "{:?}", page.header("location"));
}

#[tokio::test]
async fn a_consent_is_not_remembered_beyond_a_session_that_is_over() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    asking.token(&mut browser, &[]).await;
    assert!(sent_back(&browser.get(&path(&[])).await).contains_key("code"));
    // The cookie of the idle session comes along with the next sign-in.
    asking.server().clock.advance(3601);
    browser.sign_in(&asking.people, &People::ada()).await;
    assert_eq!(browser.get(&path(&[])).await.status, 200);
}

#[tokio::test]
async fn people_2fa_1__an_operators_token_changes_rules_only_as_long_as_on_the_pages() {
    let asking = Asking::new().await;
    operators(&asking).await;
    for scope in ["admin", "admin:credentials"] {
        let mut browser = asking.people.browser();
        browser.sign_in(&asking.people, &operator()).await;
        let changes = [("scope", Some(scope)), ("resource", Some(ADMIN))];
        let token = asking.token(&mut browser, &changes).await;
        let token = token["access_token"].as_str().unwrap();
        let delete =
            async || by(&asking, token, "DELETE", "federated-credentials/octo-org:x").await;
        assert_eq!(delete().await.status, 404, "{scope}");
        asking.server().clock.advance(301);
        assert_eq!(
            by(&asking, token, "GET", "token").await.json()["writes"],
            "step_up"
        );
        let refused = delete().await;
        assert_eq!(refused.status, 401, "{scope}: {}", refused.text());
        let challenge = refused.header("www-authenticate").unwrap();
        assert!(challenge.contains("max_age=\"300\""), "{challenge}");
    }
}

#[tokio::test]
async fn a_client_learns_no_name_that_the_person_did_not_see_it_learn() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    // Who only wants to know that it is the same person gets no name, in no token.
    let only = [("scope", Some("openid")), ("resource", None)];
    let page = browser.get(&path(&only)).await.text();
    assert!(!page.contains("your name"), "{page}");
    let answer = asking.token(&mut browser, &only).await;
    for token in ["access_token", "id_token"] {
        let claims = claims(answer[token].as_str().unwrap()).to_string();
        assert!(
            !claims.contains("Ada") && !claims.contains("\"ada\""),
            "{claims}"
        );
    }
    // A token for a registry names the person, and the page says so.
    let page = browser.get(&path(&[])).await.text();
    assert!(page.contains("your name and user name"), "{page}");
}

#[tokio::test]
async fn a_consent_says_for_which_registry_also_where_the_client_named_none() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    let code = asking.code(&mut browser, &[("resource", None)]).await;
    let events = asking.server().audit("outcome=consented").await;
    assert_eq!(events[0]["resource"], REGISTRY, "{events:#?}");
    // The token is for what was shown, whatever the client could get elsewhere by then.
    let other = json!({ "resource": "https://other.test/", "actions": ["publish"], "people": { "owner": ["publish"] } });
    asking.people.put("resource-servers/other", other).await;
    let closed = json!({ "people": null });
    patch(&asking, "resource-servers/registry", closed).await;
    let answer = asking.redeem(&code, &[]).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
}

#[tokio::test]
async fn refusals_of_different_people_are_different_events() {
    let asking = Asking::new().await;
    let mut ada = asking.people.signed_in().await;
    let mut eve = asking.people.browser();
    let mut claims = People::ada();
    claims["sub"] = json!("eve-1");
    eve.sign_in(&asking.people, &claims).await;
    let codes = [
        asking.code(&mut ada, &[]).await,
        asking.code(&mut eve, &[]).await,
    ];
    patch(&asking, "memberships/owners", json!({ "enabled": false })).await;
    for code in &codes {
        let refused = asking.redeem(code, &[]).await;
        refused.refused(400, "invalid_grant", "role_missing");
    }
    let events = asking.server().audit("outcome=refused").await;
    assert_eq!(events.len(), 2, "{events:#?}");
    assert_ne!(events[0]["person"], events[1]["person"]);
}

#[tokio::test]
async fn a_person_makes_no_more_codes_than_changes() {
    let settings = [(
        "CARNET_RATE_LIMITS__ADMIN_WRITES_PER_MINUTE_PER_SUBJECT",
        "20",
    )];
    let asking = Asking::with(&settings).await;
    let mut browser = asking.people.signed_in().await;
    let page = browser.get(&path(&[])).await;
    // The sealed form may be sent again, which gives another code each time.
    let mut given = 0;
    for _ in 0..40 {
        let answer = press(&mut browser, &page, "allow", &[]).await;
        given += usize::from(answer.text().contains("code="));
    }
    assert!((1..=20).contains(&given), "{given}");
    // What was agreed to needs no page, and counts all the same.
    for _ in 0..40 {
        browser.get(&path(&[])).await;
    }
    let codes = asking.people.count("authorization_code").await;
    assert!(codes <= 20, "{codes}");
    assert!(asking.server().audit("outcome=consented").await.len() <= 20);
}

#[tokio::test]
async fn oidcc_3_1_2_1_1__who_is_not_signed_in_is_asked_anew_by_the_provider_too() {
    let asking = Asking::new().await;
    let mut browser = asking.people.browser();
    let answer = browser.get(&path(&[("prompt", Some("login"))])).await;
    let chooser = answer.header("location").unwrap().to_owned();
    let page = browser.get(&chooser).await.text();
    let to = page
        .split("href=\"")
        .find(|rest| rest.starts_with("/console/sign-in/corp"));
    let to = to.unwrap().split('"').next().unwrap();
    let to = to.replace("&#38;", "&").replace("&amp;", "&");
    let location = browser.begin(&to).await;
    // Or else the session that the provider has is good enough, whoever sits there.
    assert_eq!(
        parameters(&location).get("prompt").map(String::as_str),
        Some("login"),
        "{chooser} {to}"
    );
}

#[tokio::test]
async fn details_hide_nothing_on_the_page() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    for (name, value) in [
        ("packages", json!(["left-\u{202e}dap"])),
        ("version", json!("1\u{2066}0")),
        ("version", json!("1\n0")),
    ] {
        let mut entry =
            json!({ "type": "package", "actions": ["publish"], "packages": ["left-pad"] });
        entry[name] = value;
        let details = json!([entry]).to_string();
        let changes = [
            ("scope", None),
            ("authorization_details", Some(details.as_str())),
        ];
        let sent = sent_back(&browser.get(&path(&changes)).await);
        assert_eq!(sent["error"], "invalid_authorization_details", "{details}");
    }
}

#[tokio::test]
async fn no_registry_takes_the_name_of_the_userinfo_endpoint() {
    let asking = Asking::new().await;
    for name in ["resource", "aliases"] {
        let mut registry = json!({ "resource": "https://evil.test/", "actions": ["publish"], "people": { "owner": ["publish"] } });
        let own = "https://as.test/userinfo";
        registry[name] = if name == "aliases" {
            json!([own])
        } else {
            json!(own)
        };
        let saved = asking
            .server()
            .admin("PUT", "resource-servers/evil", registry)
            .await;
        assert_eq!(saved.status, 422, "{}", saved.text());
    }
}

#[tokio::test]
async fn a_used_client_assertion_does_not_end_what_a_fresh_code_gives() {
    let asking = Asking::new().await;
    let members = json!({
        "grant_types": ["authorization_code"], "redirect_uris": [APP], "scopes": ["openid"],
        "permissions": [{ "resource_server": "registry", "actions": ["publish"], "packages": ["*"] }],
    });
    let signer = TestClient::register(asking.server(), "signer", "private_key_jwt", members).await;
    let mut browser = asking.people.signed_in().await;
    let changes = [("client_id", Some("signer"))];
    let codes = [
        asking.code(&mut browser, &changes).await,
        asking.code(&mut browser, &changes).await,
    ];
    let assertion = signer.key().sign(&signer.claims(asking.server().now()));
    let form = |code: &str| {
        [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", APP),
            ("code_verifier", VERIFIER),
        ]
        .map(|(name, value)| (name, value.to_owned()))
    };
    for (code, status) in codes.iter().zip([200, 401]) {
        let form = form(code);
        let mut form: Vec<(&str, &str)> = form.iter().map(|(n, v)| (*n, v.as_str())).collect();
        form.push((
            "client_assertion_type",
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        ));
        form.push(("client_assertion", &assertion));
        let answer = asking.server().form("/token", &form).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    let form = form(&codes[1]);
    let form: Vec<(&str, &str)> = form.iter().map(|(n, v)| (*n, v.as_str())).collect();
    let answer = signer.send(asking.server(), "/token", &form).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let told = signer.introspect(asking.server(), &answer.token()).await;
    assert_eq!(told["active"], true, "{told}");
}

#[tokio::test]
async fn events_about_a_persons_token_name_the_person() {
    let asking = Asking::new().await;
    let mut browser = asking.people.signed_in().await;
    let token = asking.token(&mut browser, &[]).await;
    let token = token["access_token"].as_str().unwrap();
    let basic = basic(SECRET_CLIENT, &asking.secret);
    let headers = [("authorization", basic.as_str())];
    let answer = asking
        .server()
        .form_with("/revoke", &headers, &[("token", token)])
        .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let events = asking.server().audit("outcome=revoked").await;
    assert_eq!(events[0]["person"], json!(asking.people.person().await));
}
