//! Tokens of people for the admin API: what they do, and that changes need a recent proof of identity.

use axum::body::Body;
use axum::http::Request;

use super::*;

const ADMIN: &str = "https://as.test/admin";

/// A request of the admin API by a person's token.
async fn by(asking: &Asking, token: &str, method: &str, path: &str, body: Value) -> Answer {
    let request = Request::builder()
        .method(method)
        .uri(format!("/admin/v1/{path}"))
        .header("authorization", format!("Bearer {token}"));
    let body = if body.is_null() {
        Body::empty()
    } else {
        Body::from(body.to_string())
    };
    asking.server().send(request.body(body).unwrap()).await
}

/// The path with which the command line asks.
fn command_line(scope: Option<&str>) -> String {
    path(&[
        ("client_id", Some("carnet-cli")),
        ("redirect_uri", Some("http://127.0.0.1:5/callback")),
        ("resource", Some(ADMIN)),
        ("scope", scope),
    ])
}

async fn redeem(asking: &Asking, code: &str) -> Answer {
    let form = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", "http://127.0.0.1:5/callback"),
        ("code_verifier", VERIFIER),
        ("client_id", "carnet-cli"),
    ];
    asking.server().form("/token", &form).await
}

/// The admin token that the command line gets from the person of this browser.
async fn login(asking: &Asking, browser: &mut Browser<'_>, scope: Option<&str>) -> Value {
    let page = browser.get(&command_line(scope)).await;
    assert_eq!(
        page.status,
        200,
        "{} {:?}",
        page.text(),
        page.header("location")
    );
    let sent = allow(browser, &page, &[]).await;
    let answer = redeem(asking, &sent["code"]).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.json()
}

async fn operators(asking: &Asking) {
    let operators = json!({ "identity_provider": "corp", "match": { "groups": ["operators"] }, "role": "operator" });
    asking.people.put("memberships/operators", operators).await;
}

fn operator() -> Value {
    let mut claims = People::ada();
    (claims["sub"], claims["groups"]) = (json!("olga-1"), json!(["operators"]));
    claims
}

#[tokio::test]
async fn an_owner_manages_rules_with_the_command_line_as_on_the_pages() {
    let asking = Asking::new().await;
    let issuer = json!({ "issuer": "https://ci.test", "profile": "github-actions", "keys": { "source": "static", "jwks": { "keys": [crate::support::TestKey::rsa(1).jwk()] } } });
    asking.people.put("trusted-issuers/ci", issuer).await;
    let mut browser = asking.people.signed_in().await;
    let page = browser
        .get(&command_line(Some("openid profile")))
        .await
        .text();
    assert!(
        page.contains("read and change the rules of octo-org, and read its runs"),
        "{page}"
    );
    let answer = login(&asking, &mut browser, Some("openid profile")).await;
    assert_eq!(answer["scope"], "admin:credentials:octo-org openid profile");
    assert_eq!(answer["expires_in"], 3600);
    let token = answer["access_token"].as_str().unwrap();
    let shown = by(&asking, token, "GET", "token", Value::Null).await.json();
    let person = asking.people.person().await;
    assert_eq!(
        shown["person"],
        json!({ "id": person, "name": "Ada <Lovelace>", "username": "ada" })
    );
    assert_eq!(
        (&shown["writes"], &shown["client_id"], &shown["scope"]),
        (
            &json!("now"),
            &json!("carnet-cli"),
            &json!("admin:credentials:octo-org")
        )
    );
    let rule = json!({
        "principal": "octo-org", "trusted_issuer": "ci", "match": { "repository": "octo-org/octo-repo", "workflow_file": "release.yml" },
        "permissions": [{ "resource_server": "registry", "actions": ["publish"], "packages": ["left-pad"] }],
    });
    let saved = by(
        &asking,
        token,
        "PUT",
        "federated-credentials/octo-org:release",
        rule.clone(),
    )
    .await;
    assert_eq!(saved.status, 201, "{}", saved.text());
    let events = asking
        .server()
        .audit("outcome=created&principal=octo-org")
        .await;
    assert_eq!(
        (&events[0]["person"], &events[0]["actor"]),
        (&json!(person), &json!(person))
    );
    // Of other principals and of the server, nothing.
    assert_eq!(
        by(
            &asking,
            token,
            "PUT",
            "principals/another",
            json!({ "kind": "user" })
        )
        .await
        .status,
        403
    );
    assert_eq!(
        by(&asking, token, "GET", "clients", Value::Null)
            .await
            .status,
        403
    );
    let mut other = rule.clone();
    other["principal"] = json!("somebody");
    assert!(
        by(
            &asking,
            token,
            "PUT",
            "federated-credentials/somebody:x",
            other
        )
        .await
        .status
            >= 400
    );
}

#[tokio::test]
async fn people_2fa_1__a_token_changes_nothing_once_the_proof_of_identity_is_too_old() {
    let asking = Asking::new().await;
    operators(&asking).await;
    let mut browser = asking.people.browser();
    browser.sign_in(&asking.people, &operator()).await;
    let owner = asking.people.signed_in().await;
    let mut owner = owner;
    let admin = login(&asking, &mut browser, Some("openid admin")).await["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    let limited =
        login(&asking, &mut owner, Some("admin:credentials:octo-org")).await["access_token"]
            .as_str()
            .unwrap()
            .to_owned();
    let change = async |name: &str| {
        by(
            &asking,
            &admin,
            "PUT",
            &format!("principals/{name}"),
            json!({ "kind": "user" }),
        )
        .await
    };
    let delete = async || {
        by(
            &asking,
            &limited,
            "DELETE",
            "federated-credentials/octo-org:none",
            Value::Null,
        )
        .await
    };
    assert_eq!(change("one").await.status, 201);
    assert_eq!(delete().await.status, 404);
    asking.server().clock.advance(301);
    let refused = change("two").await;
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (401, &json!("auth_too_old")),
        "{}",
        refused.text()
    );
    let challenge = refused.header("www-authenticate").unwrap();
    assert!(
        challenge.contains("insufficient_user_authentication")
            && challenge.contains("max_age=\"300\""),
        "{challenge}"
    );
    assert_eq!(delete().await.status, 404);
    asking.server().clock.advance(600);
    assert_eq!(delete().await.status, 401);
    // Reading goes on.
    assert_eq!(
        by(&asking, &admin, "GET", "principals", Value::Null)
            .await
            .status,
        200
    );
    assert_eq!(
        by(&asking, &limited, "GET", "token", Value::Null)
            .await
            .json()["writes"],
        "step_up"
    );
    let events = asking
        .server()
        .audit("outcome=refused&reason=auth_too_old")
        .await;
    assert_eq!(events.len(), 2, "{events:#?}");
}

#[tokio::test]
async fn a_stale_proof_is_renewed_on_the_page_before_rights_that_change_something_are_given() {
    let asking = Asking::new().await;
    operators(&asking).await;
    for (claims, scope, after) in [
        (operator(), "admin", 301),
        (People::ada(), "admin:credentials:octo-org", 901),
    ] {
        let mut browser = asking.people.browser();
        browser.sign_in(&asking.people, &claims).await;
        asking.server().clock.advance(after);
        let page = browser.get(&command_line(Some(scope))).await;
        let text = page.text();
        assert!(
            text.contains("Confirm that it is you") && field(&text, "request").is_none(),
            "{scope}: {text}"
        );
        let return_to = field(&text, "return_to").unwrap();
        let location = browser.begin_step_up(&[("return_to", &return_to)]).await;
        let back = asking.come_back(&mut browser, &location, &claims).await;
        let page = browser.get(&back).await;
        // Whose proof gets too old while the page is open is asked again.
        asking.server().clock.advance(after);
        let answer = press(&mut browser, &page, "allow", &[]).await;
        assert!(
            answer.text().contains("Confirm that it is you"),
            "{}",
            answer.text()
        );
        assert_eq!(asking.people.count("authorization_code").await, 0);
        // What only reads needs none.
        let reads = if scope == "admin" {
            "admin:read"
        } else {
            "admin:read:octo-org"
        };
        assert!(
            field(
                &browser.get(&command_line(Some(reads))).await.text(),
                "request"
            )
            .is_some()
        );
    }
}

#[tokio::test]
async fn a_provider_that_does_not_say_when_gives_rights_that_read_alone() {
    let asking = Asking::new().await;
    let mut silent = People::ada();
    silent["auth_time"] = Value::Null;
    *asking.people.provider.names_auth_time.lock().unwrap() = false;
    asking
        .people
        .put_provider(json!({ "display_name": "Silent" }))
        .await;
    let mut browser = asking.people.browser();
    browser.sign_in(&asking.people, &silent).await;
    let answer = browser
        .get(&command_line(Some("admin:credentials:octo-org")))
        .await;
    let to = answer.header("location").unwrap_or_default();
    assert!(to.contains("error=access_denied"), "{} {to}", answer.text());
    let token = login(&asking, &mut browser, Some("admin:read:octo-org")).await["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        by(&asking, &token, "GET", "token", Value::Null)
            .await
            .json()["writes"],
        "never"
    );
}

#[tokio::test]
async fn nobody_gets_a_scope_that_role_and_client_do_not_both_have() {
    let asking = Asking::new().await;
    operators(&asking).await;
    let mut owner = asking.people.signed_in().await;
    for scope in [
        "admin",
        "admin:read",
        "admin:credentials",
        "admin:credentials:other",
        "admin:read:other",
    ] {
        let answer = owner.get(&command_line(Some(scope))).await;
        let to = answer.header("location").unwrap_or_default();
        assert!(
            to.contains("error=access_denied"),
            "{scope} {} {to}",
            answer.text()
        );
    }
    let mut browser = asking.people.browser();
    browser.sign_in(&asking.people, &operator()).await;
    let narrowed = asking
        .server()
        .admin(
            "PATCH",
            "clients/shop",
            json!({ "scopes": ["openid", "admin:read"] }),
        )
        .await;
    assert_eq!(narrowed.status, 200, "{}", narrowed.text());
    let beyond = browser
        .get(&path(&[
            ("resource", Some(ADMIN)),
            ("scope", Some("admin")),
        ]))
        .await;
    assert_eq!(sent_back(&beyond)["error"], "invalid_scope");
    let all = asking
        .token(&mut browser, &[("resource", Some(ADMIN)), ("scope", None)])
        .await;
    assert_eq!(all["scope"], "admin:read");
}

#[tokio::test]
async fn an_admin_token_of_a_person_ends_with_what_it_rests_on() {
    for (path, change) in [
        ("memberships/operators", json!({ "enabled": false })),
        ("memberships/operators", json!({ "role": "auditor" })),
        ("identity-providers/corp", json!({ "enabled": false })),
        ("people/{person}", json!({ "enabled": false })),
    ] {
        let asking = Asking::new().await;
        operators(&asking).await;
        let mut browser = asking.people.browser();
        browser.sign_in(&asking.people, &operator()).await;
        let token = login(&asking, &mut browser, Some("admin")).await["access_token"]
            .as_str()
            .unwrap()
            .to_owned();
        assert_eq!(
            by(&asking, &token, "GET", "principals", Value::Null)
                .await
                .status,
            200
        );
        let path = path.replace("{person}", &asking.people.person().await);
        let changed = asking.server().admin("PATCH", &path, change.clone()).await;
        assert_eq!(changed.status, 200, "{path} {}", changed.text());
        assert_eq!(
            by(&asking, &token, "GET", "principals", Value::Null)
                .await
                .status,
            401,
            "{path} {change}"
        );
    }
}

#[tokio::test]
async fn the_command_lines_client_can_be_switched_off_and_nobody_registers_its_name() {
    let asking = Asking::new().await;
    let document = json!({ "auth_method": "none", "grant_types": ["authorization_code"], "redirect_uris": [APP] });
    let refused = asking
        .server()
        .admin("PUT", "clients/carnet-cli", document)
        .await;
    assert_eq!(refused.status, 422, "{}", refused.text());
    let off = Asking::with(&[("CARNET_PEOPLE__COMMAND_LINE", "false")]).await;
    let mut browser = off.people.signed_in().await;
    let answer = browser.get(&command_line(Some("openid"))).await;
    assert_eq!((answer.status, answer.header("location")), (400, None));
    // The tokens that local commands make for themselves are none of its.
    assert_eq!(
        off.server()
            .admin("GET", "principals", Value::Null)
            .await
            .status,
        200
    );
    // A registry's token, within the role.
    let mut browser = asking.people.signed_in().await;
    let wanted = [
        ("client_id", Some("carnet-cli")),
        ("redirect_uri", Some("http://127.0.0.1:5/callback")),
        ("scope", None),
    ];
    let page = browser.get(&path(&wanted)).await;
    let sent = allow(&mut browser, &page, &[]).await;
    let answer = redeem(&asking, &sent["code"]).await;
    assert_eq!(answer.json()["scope"], "publish yank", "{}", answer.text());
    // Its holder revokes it.
    let token = answer.token();
    let revoked = asking
        .server()
        .form("/revoke", &[("token", &token), ("client_id", "carnet-cli")])
        .await;
    assert_eq!(revoked.status, 200, "{}", revoked.text());
}
