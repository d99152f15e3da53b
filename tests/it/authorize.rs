//! The authorization endpoint: what a client may ask, what a person agrees to, and what a code is worth.

mod admin_api;
mod codes;
mod consents;
mod hostile;
mod requests;
mod tokens;

use std::collections::BTreeMap;

use carnet_jose::{base64url, sha256};
use serde_json::{Value, json};

use crate::people_sessions::browser::{Browser, People, link};
use crate::support::{Answer, TestServer, encode};

pub const REGISTRY: &str = "https://registry.test/";
pub const APP: &str = "https://app.test/cb";
pub const VERIFIER: &str = "a-verifier-of-at-least-forty-three-characters-0123456789";
const SECRET_CLIENT: &str = "shop";

/// The challenge of [`VERIFIER`].
pub fn challenge() -> String {
    base64url(sha256(VERIFIER.as_bytes()))
}

/// A server with people, a registry where they act, and two clients: `shop`, which has a secret, and
/// `tool`, a native one.
pub struct Asking {
    pub people: People,
    pub secret: String,
}

impl Asking {
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    pub async fn with(settings: &[(&str, &str)]) -> Self {
        let people = People::with(settings).await;
        let registry = json!({
            "resource": REGISTRY, "actions": ["publish", "yank", "create"], "people": { "owner": ["publish", "yank"] },
        });
        people.put("resource-servers/registry", registry).await;
        let shop = json!({
            "auth_method": "client_secret_basic", "grant_types": ["authorization_code"], "redirect_uris": [APP],
            "display_name": "The shop", "scopes": ["openid", "profile", "email", "admin"],
            "permissions": [{ "resource_server": "registry", "actions": ["publish", "yank"], "packages": ["left-*"] }],
        });
        let saved = people
            .server
            .put(&format!("clients/{SECRET_CLIENT}"), shop)
            .await;
        let tool = json!({
            "auth_method": "none", "grant_types": ["authorization_code"],
            "redirect_uris": ["http://127.0.0.1/callback", "com.example.tool:/callback"], "scopes": ["openid"],
            "permissions": [{ "resource_server": "registry", "actions": ["publish"], "packages": ["*"] }],
        });
        people.put("clients/tool", tool).await;
        let secret = saved["client_secret"].as_str().unwrap().to_owned();
        Self { people, secret }
    }

    pub fn server(&self) -> &TestServer {
        &self.people.server
    }

    /// Redeems a code as `shop`, with these changes of the form.
    pub async fn redeem(&self, code: &str, changes: &[(&str, Option<&str>)]) -> Answer {
        redeem_at(self.server(), &self.secret, code, changes).await
    }

    /// The path to which a person comes back who signs in at the provider's `location`.
    pub async fn come_back(
        &self,
        browser: &mut Browser<'_>,
        location: &str,
        claims: &Value,
    ) -> String {
        let answer = browser.come_back(&self.people, location, claims).await;
        let back = answer.header("location").unwrap();
        back.strip_prefix("https://as.test").unwrap().to_owned()
    }

    /// The code that a person gives to `shop` for a token with this query.
    pub async fn code(
        &self,
        browser: &mut Browser<'_>,
        changes: &[(&str, Option<&str>)],
    ) -> String {
        let page = browser.get(&path(changes)).await;
        // To some things the person agreed before.
        let answer = match page.status {
            303 => sent_back(&page),
            _ => allow(browser, &page, &[]).await,
        };
        answer["code"].clone()
    }

    /// The token that `shop` gets with this query.
    pub async fn token(
        &self,
        browser: &mut Browser<'_>,
        changes: &[(&str, Option<&str>)],
    ) -> Value {
        let code = self.code(browser, changes).await;
        let answer = self.redeem(&code, &[]).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// What introspection says of a token of `shop`.
    pub async fn introspect(&self, token: &str) -> Value {
        let form = [("token", token)];
        let basic = basic(SECRET_CLIENT, &self.secret);
        let answer = self
            .server()
            .form_with("/introspect", &[("authorization", &basic)], &form)
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }
}

pub async fn redeem_at(
    server: &TestServer,
    secret: &str,
    code: &str,
    changes: &[(&str, Option<&str>)],
) -> Answer {
    let usual = [
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", APP),
        ("code_verifier", VERIFIER),
    ];
    let form = changed(&usual, changes);
    let basic = basic(SECRET_CLIENT, secret);
    server
        .form_with("/token", &[("authorization", &basic)], &borrowed(&form))
        .await
}

fn basic(client: &str, secret: &str) -> String {
    use base64::Engine as _;
    let text = format!("{client}:{secret}");
    format!(
        "Basic {}",
        base64::engine::general_purpose::STANDARD.encode(text)
    )
}

/// `usual` with changes: a value replaces or adds, nothing removes.
fn changed(usual: &[(&str, &str)], changes: &[(&str, Option<&str>)]) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = usual
        .iter()
        .filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name))
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    let added = changes
        .iter()
        .filter_map(|(name, value)| Some(((*name).to_owned(), (*value)?.to_owned())));
    all.extend(added);
    all
}

fn borrowed(form: &[(String, String)]) -> Vec<(&str, &str)> {
    let pairs = form.iter();
    pairs
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect()
}

/// The path of a request of `shop` for the registry, with changes.
pub fn path(changes: &[(&str, Option<&str>)]) -> String {
    let challenge = challenge();
    let usual = [
        ("response_type", "code"),
        ("client_id", SECRET_CLIENT),
        ("redirect_uri", APP),
        ("scope", "publish"),
        ("resource", REGISTRY),
        ("state", "a state"),
        ("code_challenge", &challenge),
        ("code_challenge_method", "S256"),
    ];
    format!(
        "/authorize?{}",
        encode(&borrowed(&changed(&usual, changes)))
    )
}

/// The parameters in a URL.
pub fn parameters(url: &str) -> BTreeMap<String, String> {
    let url = url::Url::parse(url).unwrap();
    url.query_pairs().into_owned().collect()
}

/// Where an answer sends the browser at once, with what.
#[track_caller]
pub fn sent_back(answer: &Answer) -> BTreeMap<String, String> {
    assert_eq!(answer.status, 303, "{}", answer.text());
    let location = answer.header("location").unwrap();
    assert!(location.starts_with(APP), "{location}");
    let sent = parameters(location);
    assert_eq!(sent["iss"], "https://as.test", "{location}");
    sent
}

/// The value of a hidden field.
pub fn field(page: &str, name: &str) -> Option<String> {
    let rest = page.split(&format!("name=\"{name}\" value=\"")).nth(1)?;
    let value = rest.split('"').next()?;
    Some(value.replace("&#38;", "&").replace("&amp;", "&"))
}

/// Presses a button of the page on which a person agrees.
pub async fn press(
    browser: &mut Browser<'_>,
    page: &Answer,
    decision: &str,
    fields: &[(&str, &str)],
) -> Answer {
    let text = page.text();
    let (csrf, request) = (field(&text, "csrf").unwrap(), field(&text, "request"));
    let request = request.unwrap_or_else(|| panic!("no page of consent: {text}"));
    let mut form = vec![
        ("csrf", csrf.as_str()),
        ("request", request.as_str()),
        ("decision", decision),
    ];
    form.extend_from_slice(fields);
    browser.post("/authorize/consent", &form).await
}

/// Agrees, and returns the parameters with which the browser goes back.
pub async fn allow(
    browser: &mut Browser<'_>,
    page: &Answer,
    fields: &[(&str, &str)],
) -> BTreeMap<String, String> {
    let answer = press(browser, page, "allow", fields).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.header("referrer-policy"), Some("no-referrer"));
    let to = link(&answer.text());
    let sent = parameters(&to);
    assert_eq!(sent["iss"], "https://as.test", "{to}");
    sent
}

/// The claims of a JWT.
pub fn claims(token: &str) -> Value {
    let middle = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&carnet_jose::from_base64url(middle).unwrap()).unwrap()
}
