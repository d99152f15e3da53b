//! Rules, runs and the server in a browser.

use carnet_jose::from_base64url;
use serde_json::{Value, json};

use super::{Site, TWO_FACTORS, admin};
use crate::support::{FakeIssuer, GH, JWT_BEARER, ServerProcess, TestKey, encode, github};

const REGISTRY: &str = "https://npm.example";
pub(super) const PRINCIPAL: &str = "/console/principals/octo-org";

/// A site with a platform, a registry and a viewer.
pub(super) async fn start() -> Option<(Site, ServerProcess, FakeIssuer)> {
    let (site, server) = Site::start().await?;
    let key = TestKey::rsa(0);
    let member = |group: &str, role: &str| json!({ "identity_provider": "corp", "match": { "groups": [group] }, "role": role, "principal": "octo-org" });
    let objects = json!({
        "trusted_issuers": {
            "github": {
                "profile": "github-actions", "issuer": GH, "audiences": [site.origin.as_str()],
                "keys": { "source": "static", "jwks": { "keys": [key.jwk()] } },
            },
        },
        "resource_servers": { "npm": { "resource": REGISTRY, "actions": ["create", "publish"] } },
        "memberships": { "viewers": member("viewers", "viewer") },
    });
    let folder = site.installed.db.folder();
    std::fs::write(folder.join("rules.json"), objects.to_string()).unwrap();
    site.command(&["apply", "-f", "rules.json", "--yes"]);
    Some((site, server, FakeIssuer::new(GH, key)))
}

/// What the job gets that names the principal, and the status.
pub(super) async fn run(site: &Site, platform: &FakeIssuer, branch: &str) -> (u16, Value) {
    let now = std::time::SystemTime::now();
    let now = now.duration_since(std::time::UNIX_EPOCH).unwrap();
    let claims = github(i64::try_from(now.as_secs()).unwrap())
        .with("aud", site.origin.as_str())
        .on_ref(&format!("refs/heads/{branch}"), "branch");
    let assertion = platform.sign(&claims);
    let form = encode(&[
        ("grant_type", JWT_BEARER),
        ("assertion", &assertion),
        ("principal", "octo-org"),
        ("resource", REGISTRY),
    ]);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client
        .post(format!("{}/token", site.origin))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(form);
    let answer = request.send().await.unwrap();
    let status = answer.status().as_u16();
    (status, answer.json().await.unwrap())
}

/// Fills in the form for a new rule, with the mouse.
pub(super) fn write_rule(site: &Site) {
    let browser = &site.browser;
    browser.visit(PRINCIPAL);
    browser.follow("Add a trusted publisher");
    browser.follow("GitHub Actions");
    browser.fill("Repository", "octo-org/octo-repo");
    browser.tick("Filter by branch");
    browser.fill("Branch", "main");
    browser.tick("Filter by workflow");
    browser.fill("Workflow", "release.yml");
    browser.tick("publish");
    browser.fill("Packages", "@octo/*");
    browser.fill("Name of the rule", "release");
}

/// Signs the owner in, who saves a new rule.
pub(super) fn add_rule(site: &Site) {
    site.sign_in("ada");
    site.is_signed_in("Ada Lovelace");
    write_rule(site);
    site.browser.press("Save");
    site.browser.shows("Not used yet");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_page_1__an_owner_adds_a_rule_by_keyboard_and_sees_its_first_use() {
    let Some((site, _server, platform)) = start().await else {
        return;
    };
    let browser = &site.browser;
    site.sign_in("ada");
    site.is_signed_in("Ada Lovelace");
    let types = |control: &str, text: &str| {
        browser.tab_to(control);
        browser.type_text(text);
    };
    browser.tab_to("octo-org");
    browser.key("Enter");
    browser.shows("No job acts for octo-org yet");
    browser.tab_to("Add a trusted publisher");
    browser.key("Enter");
    browser.shows("Where do the jobs run");
    browser.tab_to("GitHub Actions");
    browser.key("Enter");
    browser.shows("Which jobs of GitHub Actions");
    types("match.repository", "octo-org/octo-repo");
    // What is typed beside a filter ticks it.
    types("match.ref.branch", "main");
    types("match.workflow_file", "release.yml");
    browser.tab_to("permission.0.action");
    browser.key("Tab");
    browser.key("Space");
    types("permission.0.packages", "@octo/*");
    types("name", "release");
    let said = browser.shows("What this rule does");
    assert!(said.contains("from the branch “main”"), "{said}");
    assert!(said.contains("May publish to npm: @octo/*."), "{said}");
    browser.tab_to("Save");
    browser.key("Enter");
    let page = browser.shows("Not used yet");
    assert!(page.contains("id-token: write"), "{page}");
    browser.examine("rule-unused");

    // The page looks by itself.
    let (status, refused) = run(&site, &platform, "dev").await;
    assert_eq!(status, 400, "{refused}");
    let page = browser.shows("What arrived since, and was refused");
    assert!(
        page.contains("expected refs/heads/main, received refs/heads/dev"),
        "{page}"
    );
    browser.examine("console-waiting");
    let (status, token) = run(&site, &platform, "main").await;
    assert_eq!(status, 200, "{token}");
    browser.shows("In use");
    // The first use has changed the rule, and the buttons are those of the rule as it is now.
    browser.shows("pinned by the first use");
    browser.press("Still right");
    browser.shows("To be reviewed");
    browser.has_no_complaints();

    browser.examine("console-rule");
    browser.visit(&format!("{PRINCIPAL}/runs?outcome=refused"));
    browser.shows("ref_mismatch");
    browser.examine("runs");
    browser.press_first("tbody th a");
    browser.shows("By the rules of today");
    browser.examine("console-run");
    for (path, shown, name) in [
        ("", "The last 7 days", "console-principal"),
        ("/rules/release/history", "Made on", "history"),
        ("/rules/release/snippets", "id-token: write", "snippets"),
        ("/rules/release/edit", "Change release", "edit"),
        ("/test", "Paste the token of a job", "test"),
        ("/add-rule", "Where do the jobs run", "platforms"),
        (
            "/add-rule?trusted_issuer=github",
            "Which jobs of GitHub Actions",
            "console-form",
        ),
    ] {
        browser.visit(&format!("{PRINCIPAL}{path}"));
        browser.shows(shown);
        browser.examine(name);
    }
    browser.has_no_complaints();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_page_1__rules_are_written_tested_and_stopped_without_scripts() {
    let Some((site, _server, _platform)) = start().await else {
        return;
    };
    let browser = &site.browser;
    browser.open(false);
    site.sign_in("ada");
    site.is_signed_in("Ada Lovelace");
    browser.visit(PRINCIPAL);
    browser.follow("Add a trusted publisher");
    browser.follow("GitHub Actions");
    browser.press("Save");
    let page = browser.shows("The rule cannot be saved like this");
    assert!(page.contains("Packages: must name at least one"), "{page}");
    write_rule(&site);
    browser.press("Check");
    browser.shows("What this rule does");
    browser.press("Save");
    browser.shows("Not used yet");
    browser.follow("Test the rules");
    browser.fill("Token or claims", "{\"sub\": \"x\"}");
    browser.press("Test");
    browser.shows("It would be refused");
    browser.visit(&format!("{PRINCIPAL}/rules/release"));
    browser.press("Disable");
    browser.shows("disabled");
    browser.press("Enable");
    browser.shows("pending");
    browser.fill("To delete the rule, type its name", "release");
    browser.press("Delete");
    browser.shows("No job acts for octo-org yet");
    browser.has_no_complaints();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_viewer_finds_no_form_and_an_operator_vouches() {
    let Some((site, _server, _platform)) = start().await else {
        return;
    };
    let browser = &site.browser;
    add_rule(&site);

    let address = site.installed.address.clone();
    let viewer = json!({ "identity_provider": "corp", "match": { "sub": "nobody" }, "role": "viewer", "principal": "octo-org" });
    admin(&site, &address, "PUT", "memberships/viewer", viewer).await;
    browser.open(true);
    site.sign_in("nobody");
    site.is_signed_in("Nora Nobody");
    browser.visit(PRINCIPAL);
    let page = browser.shows("release");
    assert!(!page.contains("Add a trusted publisher"), "{page}");
    browser.visit(&format!("{PRINCIPAL}/rules/release"));
    let page = browser.shows("Not used yet");
    assert!(!page.contains("Change it"), "{page}");
    browser.visit(&format!("{PRINCIPAL}/add-rule"));
    browser.shows("You may not do this");
    browser.examine("not-permitted");

    browser.open(true);
    browser.visit("/console/sign-in/corp");
    site.log_in("olive", &[TWO_FACTORS]);
    site.is_signed_in("Olive Operator");
    browser.visit(&format!("{PRINCIPAL}/rules/release"));
    browser.press("Vouch for it");
    browser.shows("every job that it matches: somebody vouched for it");
    browser.press("Disable");
    browser.shows("disabled");

    for (path, shown, name) in [
        ("", "The last 7 days", "server"),
        ("/trusted-issuers", "github", "server-issuers"),
        ("/trusted-issuers/github", "github-actions", "server-issuer"),
        (
            "/resource-servers/npm",
            "https://npm.example",
            "server-registry",
        ),
        ("/clients", "lients", "server-clients"),
        ("/identity-providers/corp", "Corp", "server-provider"),
        ("/memberships", "owners", "server-memberships"),
        ("/people", "Olive Operator", "server-people"),
        ("/signing-keys", "Rotate", "server-keys"),
        (
            "/audit?outcome=updated",
            "A search covers at most 31 days",
            "console-audit",
        ),
    ] {
        browser.visit(&format!("/console/server{path}"));
        browser.shows(shown);
        browser.examine(name);
    }
    browser.has_no_complaints();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn people_page_1__an_operator_vouches_stops_a_rule_and_rotates_a_key_without_scripts() {
    let Some((site, _server, platform)) = start().await else {
        return;
    };
    let browser = &site.browser;
    add_rule(&site);

    browser.open(false);
    site.sign_in("olive");
    site.is_signed_in("Olive Operator");
    browser.visit(&format!("{PRINCIPAL}/rules/release"));
    browser.press("Vouch for it");
    browser.shows("every job that it matches: somebody vouched for it");
    browser.press("Disable");
    browser.shows("disabled");
    let (status, refused) = run(&site, &platform, "main").await;
    assert_eq!(status, 400, "{refused}");
    browser.press("Enable");
    browser.shows("pending");

    let address = site.installed.address.clone();
    let active = async || {
        let keys = admin(&site, &address, "GET", "signing-keys", Value::Null).await;
        let keys = keys["items"].as_array().unwrap().clone();
        let active = keys.iter().find(|key| key["state"] == "active").unwrap();
        active["kid"].as_str().unwrap().to_owned()
    };
    let before = active().await;
    browser.visit("/console/server/signing-keys");
    browser.fill("To rotate, type the kid of the key that signs now", &before);
    browser.press("Rotate");
    browser.shows("retired");
    let after = active().await;
    assert_ne!(after, before);
    // Tokens of the key that signed before are still good; the next one is signed by the other.
    let (status, token) = run(&site, &platform, "main").await;
    assert_eq!(status, 200, "{token}");
    let token = token["access_token"].as_str().unwrap();
    let header = token.split('.').next().unwrap();
    let header: Value = serde_json::from_slice(&from_base64url(header).unwrap()).unwrap();
    assert_eq!(header["kid"], after);
    browser.has_no_complaints();
}
