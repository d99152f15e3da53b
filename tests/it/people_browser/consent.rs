//! The page on which a person lets a client act, and the way there and back, in a browser.

use std::collections::BTreeMap;

use axum::Router;
use axum::response::Html;
use carnet_jose::Compact;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use super::{EARLIER, Site, TWO_FACTORS};
use crate::authorize::{VERIFIER, challenge, parameters};
use crate::support::{ServerProcess, encode};

const REGISTRY: &str = "https://npm.example";
const SHOP: &str = "https://shop.example/back";
const SCHEME: &str = "com.example.tool:/back";
const BACK: &str = "You are back at the client";

/// A site with a registry, and a client that is a page at a loopback address.
struct Asking {
    site: Site,
    /// The redirect URI of the loopback client.
    page: String,
    _server: ServerProcess,
    _serving: JoinSet<()>,
}

impl Asking {
    async fn start() -> Option<Self> {
        let (site, server) = Site::start().await?;
        let member = |group: &str, principal: &str| json!({ "identity_provider": "corp", "match": { "groups": [group] }, "role": "owner", "principal": principal });
        let client = |name: &str, uris: Value, scopes: Value| {
            json!({
                "auth_method": "none", "grant_types": ["authorization_code"], "display_name": name, "redirect_uris": uris,
                "scopes": scopes,
                "permissions": [{ "resource_server": "npm", "actions": ["publish", "yank"], "packages": ["@octo/*"] }],
            })
        };
        let native = json!(["http://127.0.0.1/back", SCHEME]);
        let mut shop = client(
            "The shop",
            json!([SHOP]),
            json!(["openid", "profile", "email", "admin"]),
        );
        shop["homepage"] = "https://shop.example/".into();
        let objects = json!({
            "principals": { "staff": { "kind": "team" } },
            "resource_servers": {
                "npm": { "resource": REGISTRY, "actions": ["publish", "yank"], "people": { "owner": ["publish", "yank"] } },
            },
            // Ada is in both groups, Olive in none.
            "memberships": { "staff": member("staff", "staff") },
            "clients": {
                "shop": shop,
                "tool": client("A tool", native, json!(["openid", "admin"])),
            },
        });
        let folder = site.installed.db.folder();
        std::fs::write(folder.join("clients.json"), objects.to_string()).unwrap();
        site.command(&["apply", "-f", "clients.json", "--yes"]);

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let page = format!("http://{}/back", listener.local_addr().unwrap());
        let answer =
            format!("<!doctype html><html lang=\"en\"><title>Client</title><h1>{BACK}</h1>");
        let router = Router::new().fallback(async move || Html(answer));
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Some(Self {
            site,
            page,
            _server: server,
            _serving: serving,
        })
    }

    /// The path at which a client asks for these scopes.
    fn path((client, redirect_uri): (&str, &str), scope: &str, more: &[(&str, &str)]) -> String {
        let challenge = challenge();
        let mut query = vec![
            ("response_type", "code"),
            ("client_id", client),
            ("redirect_uri", redirect_uri),
            ("scope", scope),
            ("state", "a state"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        query.extend_from_slice(more);
        format!("/authorize?{}", encode(&query))
    }

    /// The path at which the loopback client asks to publish.
    fn publish(&self) -> String {
        let client = ("tool", self.page.as_str());
        Self::path(client, "publish", &[("resource", REGISTRY)])
    }

    /// The path at which the loopback client asks to be an administrator.
    fn administer(&self) -> String {
        let admin = format!("{}/admin", self.site.origin);
        let client = ("tool", self.page.as_str());
        Self::path(
            client,
            "admin:credentials:octo-org",
            &[("resource", &admin)],
        )
    }

    /// Waits until the browser is at the page of the client, and returns what it brought.
    #[track_caller]
    fn is_back(&self) -> BTreeMap<String, String> {
        self.site.browser.shows(BACK);
        let url = self.site.browser.url();
        assert!(url.starts_with(&self.page), "{url}");
        let brought = parameters(&url);
        assert_eq!(brought["iss"], self.site.origin, "{url}");
        assert_eq!(brought["state"], "a state", "{url}");
        brought
    }

    /// The claims of the token that the loopback client gets for a code.
    async fn redeem(&self, code: &str) -> Value {
        let form = encode(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.page),
            ("code_verifier", VERIFIER),
            ("client_id", "tool"),
        ]);
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = client
            .post(format!("{}/token", self.site.origin))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form);
        let answer: Value = request.send().await.unwrap().json().await.unwrap();
        let token = answer["access_token"].as_str();
        let token = token.unwrap_or_else(|| panic!("{answer}"));
        Compact::parse(token).unwrap().claims().unwrap().into()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_page_1__a_person_signs_in_and_agrees_by_keyboard_with_and_without_scripts() {
    let Some(asking) = Asking::start().await else {
        return;
    };
    let browser = &asking.site.browser;
    for scripts in [true, false] {
        browser.open(scripts);
        browser.visit(&asking.publish());
        browser.shows("Carnet keeps no password");
        browser.tab_to("Sign in with Corp");
        browser.key("Enter");
        browser.shows("Log in at Corp");
        browser.type_text("ada");
        browser.key("Tab");
        browser.key("Space");
        browser.key("Enter");
        let page = browser.shows("Let A tool act for you?");
        for part in [
            "Ada Lovelace",
            REGISTRY,
            "octo-org",
            "staff",
            "publish: packages @octo/*",
            "program on this machine",
            asking
                .page
                .strip_prefix("http://")
                .unwrap()
                .strip_suffix("/back")
                .unwrap(),
        ] {
            assert!(page.contains(part), "{part}: {page}");
        }
        // Nobody is chosen before the person has chosen.
        browser.tab_to("principal");
        browser.key("Space");
        browser.key("ArrowDown");
        browser.tab_to("Allow");
        browser.key("Enter");
        let brought = asking.is_back();
        let token = asking.redeem(&brought["code"]).await;
        assert_eq!(token["principal"]["name"], "staff", "{token}");
        assert_eq!(token["person"]["name"], "Ada Lovelace", "{token}");

        // A program of this machine is asked about each time, and may be sent away.
        browser.visit(&asking.publish());
        browser.shows("Let A tool act for you?");
        browser.tab_to("Cancel");
        browser.key("Enter");
        let brought = asking.is_back();
        assert_eq!(brought["error"], "access_denied", "{brought:?}");
        assert!(!brought.contains_key("code"), "{brought:?}");
        browser.has_no_complaints();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oidcc_3_1_2_1_1__an_old_log_in_is_repeated_before_a_client_may_administer() {
    let Some(asking) = Asking::start().await else {
        return;
    };
    let browser = &asking.site.browser;
    for scripts in [true, false] {
        browser.open(scripts);
        browser.visit("/console/sign-in/corp");
        asking.site.log_in("ada", &[TWO_FACTORS, EARLIER]);
        asking.site.is_signed_in("Ada Lovelace");
        browser.visit(&asking.administer());
        let page = browser.shows("has to ask you again who you are");
        assert!(page.contains("change the rules of octo-org"), "{page}");
        assert!(!page.contains("Allow"), "{page}");
        browser.tab_to("Confirm that it is you");
        browser.key("Enter");
        asking.site.log_in("ada", &[TWO_FACTORS]);
        browser.shows("Allow");
        browser.tab_to("Allow");
        browser.key("Enter");
        let token = asking.redeem(&asking.is_back()["code"]).await;
        assert_eq!(token["scope"], "admin:credentials:octo-org", "{token}");
        browser.has_no_complaints();
    }
}

/// Chromium holds `form-action` against every redirect that follows a form.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc8252_7_1_1__the_page_leads_a_browser_to_a_program_by_its_own_scheme() {
    let Some(asking) = Asking::start().await else {
        return;
    };
    let browser = &asking.site.browser;
    for scripts in [true, false] {
        browser.open(scripts);
        asking.site.sign_in("ada");
        asking.site.is_signed_in("Ada Lovelace");
        let resource = [("resource", REGISTRY), ("principal", "staff")];
        browser.visit(&Asking::path(("tool", SCHEME), "publish", &resource));
        browser.shows("Let A tool act for you?");
        browser.press("Allow");
        browser.shows("Back to com.example.tool:");
        // No program of this machine has the scheme, but the browser asks for one.
        let to = browser.goes_to(SCHEME);
        assert_eq!(parameters(&to)["iss"], asking.site.origin, "{to}");
        assert!(parameters(&to).contains_key("code"), "{to}");
        browser.has_no_complaints();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_page_2__axe_finds_nothing_serious_in_the_pages_of_consent() {
    let Some(asking) = Asking::start().await else {
        return;
    };
    let site = &asking.site;
    let browser = &site.browser;
    let shop = ("shop", SHOP);
    let all = "openid profile email publish yank";
    let at_registry = [("resource", REGISTRY)];
    let admin = format!("{}/admin", site.origin);
    let at_server = [("resource", admin.as_str())];

    site.sign_in("ada");
    site.is_signed_in("Ada Lovelace");
    let examined = |path: &str, shown: &str, name: &str| {
        browser.visit(path);
        let page = browser.shows(shown);
        browser.examine(name);
        page
    };
    let two = examined(
        &Asking::path(shop, all, &at_registry),
        "For whom",
        "consent-two",
    );
    assert!(two.contains("your e-mail address"), "{two}");
    let only = json!([{ "type": "package", "actions": ["publish"], "packages": ["@octo/widgets"], "version": "1.0.0" }]);
    let only = only.to_string();
    let narrow = [
        ("resource", REGISTRY),
        ("principal", "staff"),
        ("authorization_details", only.as_str()),
    ];
    let narrow = Asking::path(shop, "openid", &narrow);
    examined(&narrow, "version 1.0.0", "consent-narrow");
    examined(
        &asking.publish(),
        "program on this machine",
        "consent-native",
    );
    let learns = Asking::path(shop, "openid profile email", &[]);
    examined(&learns, "It learns", "consent-openid");
    let unknown = Asking::path(("nobody", SHOP), "publish", &at_registry);
    examined(&unknown, "Id in the server's log", "authorize-bad-client");
    let elsewhere = Asking::path(("shop", "https://evil.example/"), "publish", &at_registry);
    examined(
        &elsewhere,
        "Id in the server's log",
        "authorize-bad-redirect",
    );

    browser.visit(&Asking::path(shop, all, &at_registry));
    browser.shows("For whom");
    browser.tick("octo-org");
    browser.intercept("https://shop.example/");
    browser.press("Allow");
    browser.intercepted();
    browser.shows("Back to shop.example");
    browser.examine("consent-return");

    browser.open(true);
    browser.visit("/console/sign-in/corp");
    site.log_in("olive", &[TWO_FACTORS, EARLIER]);
    site.is_signed_in("Olive Operator");
    let all_of_it = Asking::path(shop, "openid admin", &at_server);
    examined(&all_of_it, "has to ask you again", "consent-step-up");
    browser.press("Confirm that it is you");
    site.log_in("olive", &[TWO_FACTORS]);
    browser.shows("Allow");
    browser.examine("consent-admin");

    // Of one principal.
    browser.open(true);
    browser.visit("/console/sign-in/partner");
    browser.log_in_at_bundled_page("grace");
    browser.press("Continue");
    site.is_signed_in("grace");
    let one = examined(
        &Asking::path(shop, all, &at_registry),
        "For octo-org",
        "consent-one",
    );
    assert!(!one.contains("For whom"), "{one}");
    browser.has_no_complaints();
}
