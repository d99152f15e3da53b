//! People in a real browser, at an OpenID provider of another project with log-in pages of its own: `docs/src/development/testing.md`.
//!
//! The server is the binary at `localhost`, and the providers are at loopback addresses: cookies ignore ports.

mod consent;
mod console;
mod flows;
mod nodes;
mod pages;
mod publishing;

use serde_json::{Value, json};

use crate::support::{
    Browser, ForeignProvider, Installed, ServerProcess, TestDb, carnet, finished, free_address,
};

const SESSION: &str = "carnet-session";
const PARTNER_SECRET: &str = "a secret: with + / and % signs";

/// A server with two identity providers, and a browser.
struct Site {
    browser: Browser,
    /// Asks for a second factor, and lets the server prove itself with its signing key.
    corp: ForeignProvider,
    /// Leaves the second factor to itself; claims are at its userinfo endpoint alone.
    partner: ForeignProvider,
    installed: Installed,
    /// The issuer identifier of the server.
    origin: String,
}

impl Site {
    /// With the database, the objects and the providers, before any server is started. None where the machine lacks a program and
    /// that is allowed.
    async fn prepare() -> Option<Self> {
        let address = free_address();
        let origin = address.replace("127.0.0.1", "http://localhost");
        let browser = Browser::start(&origin)?;
        let client = |name: &str, more: Value| {
            let mut client = json!({
                "client_id": "carnet", "redirect_uris": [format!("{origin}/console/sign-in/{name}/callback")],
                "post_logout_redirect_uris": [format!("{origin}/console/signed-out")],
            });
            for (member, value) in more.as_object().unwrap() {
                client[member] = value.clone();
            }
            client
        };
        let by_key = json!({
            "token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "ES256", "jwks_uri": format!("{origin}/jwks"),
        });
        let corp = ForeignProvider::start(free_address(), "own", &client("corp", by_key))?;
        let other = free_address().replace("127.0.0.1", "127.0.0.2");
        let by_secret = json!({ "client_secret": PARTNER_SECRET });
        let partner = ForeignProvider::start(other, "bundled", &client("partner", by_secret))?;
        let settings = [
            ("CARNET_ISSUER", origin.as_str()),
            ("CARNET_SERVER__LISTEN", &address),
            ("CARNET_INSECURE__ALLOW_HTTP_LOOPBACK", "true"),
        ];
        let mut installed = Installed::on(TestDb::new().await, &settings);
        installed.address = address;
        let site = Self {
            browser,
            corp,
            partner,
            installed,
            origin,
        };
        site.apply();
        Some(site)
    }

    /// The same with a server.
    async fn start() -> Option<(Self, ServerProcess)> {
        let site = Self::prepare().await?;
        let server = site.installed.start().await;
        Some((site, server))
    }

    fn apply(&self) {
        let of = |provider: &str, group: &str, role: &str| {
            json!({
                "identity_provider": provider, "match": { "groups": [group] }, "role": role,
            })
        };
        let mut owners = of("corp", "owners", "owner");
        owners["principal"] = "octo-org".into();
        let objects = json!({
            "identity_providers": {
                "corp": {
                    "display_name": "Corp", "issuer": self.corp.issuer(), "client_id": "carnet", "auth_method": "private_key_jwt",
                    "second_factor": { "acr": ["two-factors"] },
                },
                "partner": {
                    "display_name": "Partner & Sons", "issuer": self.partner.issuer(), "client_id": "carnet",
                    "client_secret": { "env": "PARTNER_SECRET" }, "claims_from": "userinfo", "second_factor": "enforced_by_provider",
                },
            },
            "principals": { "octo-org": { "kind": "organization" } },
            "memberships": {
                "owners": owners,
                "operators": of("corp", "operators", "operator"),
                "partner-owners": {
                    "identity_provider": "partner", "match": { "sub": "grace" }, "role": "owner", "principal": "octo-org",
                },
            },
        });
        let folder = self.installed.db.folder();
        std::fs::write(folder.join("people.json"), objects.to_string()).unwrap();
        self.command(&["apply", "-f", "people.json"]);
    }

    /// What a command prints.
    fn command(&self, arguments: &[&str]) -> String {
        let mut command = carnet();
        command
            .current_dir(self.installed.db.folder())
            .args(arguments)
            .envs(self.installed.settings())
            .env("PARTNER_SECRET", PARTNER_SECRET);
        let run = finished(command.output().unwrap());
        assert_eq!(run.code, 0, "{run:?}");
        run.stdout.trim().to_owned()
    }

    /// Fills in the log-in page of the corp provider.
    #[track_caller]
    fn log_in(&self, name: &str, ticks: &[&str]) {
        self.browser.shows("Log in at Corp");
        self.browser.fill("Name", name);
        for tick in ticks {
            self.browser.tick(tick);
        }
        self.browser.press("Log in");
    }

    #[track_caller]
    fn sign_in(&self, name: &str) {
        self.browser.visit("/console/sign-in/corp");
        self.log_in(name, &[TWO_FACTORS]);
    }

    #[track_caller]
    fn is_signed_in(&self, name: &str) -> String {
        self.browser.shows(&format!("Signed in as {name}"))
    }

    /// Checks that the page says this reason.
    #[track_caller]
    fn is_refused(&self, reason: &str) -> String {
        let shown = self.browser.shows("Id in the server's log");
        assert!(shown.contains(reason), "{reason}: {shown}");
        shown
    }

    #[track_caller]
    fn has_no_session(&self) {
        assert_eq!(self.browser.cookie(SESSION), None);
    }
}

const TWO_FACTORS: &str = "With a second factor";
const EARLIER: &str = "Twenty minutes ago";

/// Changes something by the admin API of the server at this address.
async fn admin(site: &Site, address: &str, method: &str, path: &str, body: Value) -> Value {
    let token = site.command(&["admin-token", "--ttl", "600"]);
    let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client
        .request(method, format!("http://{address}/admin/v1/{path}"))
        .bearer_auth(token);
    if !body.is_null() {
        request = request.json(&body);
    }
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let text = answer.text().await.unwrap();
    assert!(status.is_success(), "{path}: {status} {text}");
    serde_json::from_str(&text).unwrap_or_default()
}
