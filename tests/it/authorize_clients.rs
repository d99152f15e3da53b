//! Clients that others wrote, unmodified, asking a person at a server behind TLS: see `docs/src/reference/clients-tested.md`.

mod crates;
mod go;
pub mod person;
mod scripts;
mod suite;

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{Query, State};
use axum::routing::get;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use self::person::Person;
use crate::authorize::{APP, REGISTRY};
use crate::people_sessions::browser::People;
use crate::support::{Deployed, Packages};

/// A server with people, a registry where they act, and the clients `shop`, which has a secret, and `tool`, a native one.
struct Site {
    deployed: Deployed,
    people: People,
    /// The secret of `shop`.
    secret: String,
}

impl Site {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    async fn with(settings: &[(&str, &str)]) -> Self {
        let deployed = Deployed::with(settings).await;
        let people = People::at(deployed.world.server.clone()).await;
        let registry = json!({
            "resource": REGISTRY, "actions": ["publish", "yank"], "people": { "owner": ["publish", "yank"] },
        });
        people.put("resource-servers/registry", registry).await;
        let permissions = json!([{ "resource_server": "registry", "actions": ["publish"], "packages": ["left-*"] }]);
        let shop = json!({
            "auth_method": "client_secret_basic", "grant_types": ["authorization_code"], "redirect_uris": [APP],
            "scopes": ["openid", "profile", "email"], "permissions": permissions,
        });
        let saved = people.server.put("clients/shop", shop).await;
        let tool = json!({
            "auth_method": "none", "grant_types": ["authorization_code"], "redirect_uris": ["http://127.0.0.1/callback"],
            "scopes": ["openid", "profile", "email"], "permissions": permissions,
        });
        people.put("clients/tool", tool).await;
        Self {
            secret: saved["client_secret"].as_str().unwrap().to_owned(),
            deployed,
            people,
        }
    }

    /// A person who has not signed in.
    fn person(&self) -> Person {
        Person::new(&self.deployed, &self.people)
    }

    /// Lets scripts ask a person: `GET /?url=…&decision=…` answers with the URL to which the person's browser was sent in the end.
    async fn at_a_browser(&self) -> (String, JoinSet<()>) {
        #[derive(serde::Deserialize)]
        struct Asked {
            url: String,
            #[serde(default)]
            decision: Option<String>,
        }
        let follow = async |State(person): State<Person>, Query(asked): Query<Asked>| {
            let decision = asked.decision.as_deref().unwrap_or("allow");
            person.clone().follow(&asked.url, decision).await
        };
        let router = Router::new()
            .route("/", get(follow))
            .with_state(self.person());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move { axum::serve(listener, router).await.unwrap() });
        (format!("http://{address}/"), serving)
    }

    /// Runs a script of `tests/clients` that asks a person; none where the machine lacks what it takes and that is allowed.
    async fn run(&self, packages: Packages, script: &str) -> Option<Value> {
        let (browser, _serving) = self.at_a_browser().await;
        self.deployed.run(packages, script, &self.input(&browser))
    }

    /// What scripts read.
    fn input(&self, browser: &str) -> Value {
        json!({
            "issuer": self.deployed.url, "browser": browser, "redirectUri": APP, "resource": REGISTRY,
            "shop": { "clientId": "shop", "secret": self.secret }, "tool": { "clientId": "tool", "redirectUri": "http://127.0.0.1:5/callback" },
        })
    }

    /// Checks what a client learned of Ada: the same `sub` in the ID token and at userinfo, which is the person's id.
    async fn knows_ada(&self, id_token: &Value, userinfo: &Value) {
        let id = self.people.person().await;
        assert_eq!(
            (&id_token["iss"], &id_token["sub"], &id_token["amr"]),
            (
                &json!(self.deployed.url),
                &json!(id),
                &json!(["pwd", "otp"])
            ),
            "{id_token:#}"
        );
        assert_eq!(
            userinfo,
            &json!({ "sub": id, "name": "Ada <Lovelace>", "preferred_username": "ada", "email": "ada@corp.test" })
        );
    }
}
