//! A server as a process of its own, with the usual rules in its database and a platform whose keys it was given.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use carnet::app::App;
use carnet::clock::SystemClock;
use carnet::config::Config;
use carnet::upstream::HttpFetch;
use serde_json::{Value, json};

use super::{
    Claims, JWT_BEARER, R1, ServerProcess, TestDb, TestKey, World, carnet, finished, github,
};

/// An installation: a database with rules, and where its server listens.
#[derive(Debug)]
pub struct Installed {
    pub db: TestDb,
    pub address: String,
    key: TestKey,
    settings: Vec<(String, String)>,
}

/// An address that nobody listens at now. Its port is none of those that the system hands out by itself, so that no other test
/// gets it before it is used.
pub fn free_address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 10_000;
    const COUNT: u32 = 20_000;
    loop {
        // Tests that run beside these in another process begin elsewhere.
        let number = std::process::id()
            .wrapping_mul(101)
            .wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed));
        let address = format!("127.0.0.1:{}", FIRST + number % COUNT);
        if TcpListener::bind(&address).is_ok() {
            return address;
        }
    }
}

/// Creates what the first start of `carnet serve` in this folder with these environment variables creates: the database and the
/// keys.
pub fn first_start(folder: &Path, settings: &[(&str, &str)]) {
    let data_dir = folder.join("carnet-data").display().to_string();
    let mut variables = vec![("CARNET_DATA_DIR".to_owned(), data_dir)];
    variables.extend(
        settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    );
    let config = Config::from_sources(None, variables).unwrap();
    // In a thread of its own, since the caller may be in a runtime already.
    let start = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let network = Arc::new(HttpFetch::default());
            let (app, background) = App::start(config, Arc::new(SystemClock), network)
                .await
                .unwrap();
            drop(background);
            app.store.clone().close().await.unwrap();
        });
    });
    start.join().unwrap();
}

impl Installed {
    /// With these environment variables for every command.
    pub fn on(db: TestDb, settings: &[(&str, &str)]) -> Self {
        let address = free_address();
        let issuer = format!("http://{address}");
        let own = [
            ("CARNET_DATABASE__URL", db.url()),
            ("CARNET_DATA_DIR", db.folder().to_str().unwrap()),
            ("CARNET_ISSUER", issuer.as_str()),
            ("CARNET_SERVER__LISTEN", address.as_str()),
        ];
        let all = own
            .iter()
            .filter(|(name, _)| settings.iter().all(|(other, _)| other != name))
            .chain(settings);
        let settings = all
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let installed = Self {
            address,
            key: TestKey::rsa(0),
            settings,
            db,
        };
        installed.apply();
        installed
    }

    pub async fn new(settings: &[(&str, &str)]) -> Self {
        Self::on(TestDb::new().await, settings)
    }

    pub fn settings(&self) -> Vec<(&str, &str)> {
        self.settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect()
    }

    fn apply(&self) {
        first_start(self.db.folder(), &self.settings());
        let keys = json!({ "source": "static", "jwks": { "keys": [self.key.jwk()] } });
        let objects = json!({
            "trusted_issuers": {
                "github": { "profile": "github-actions", "issuer": super::GH, "keys": keys },
            },
            "principals": { "joel": { "kind": "user" } },
            "resource_servers": { "pypi": { "resource": R1, "actions": ["create", "publish"] } },
            "federated_credentials": { "octo-release": World::rule_document(json!({})) },
        });
        std::fs::write(self.db.folder().join("objects.json"), objects.to_string()).unwrap();
        let mut apply = carnet();
        apply
            .current_dir(self.db.folder())
            .args(["apply", "-f", "objects.json"])
            .envs(self.settings());
        let applied = finished(apply.output().unwrap());
        assert_eq!(applied.code, 0, "{applied:?}");
    }

    /// Starts its server and waits until it is ready.
    pub async fn start(&self) -> ServerProcess {
        ServerProcess::start_at(self.db.folder(), &self.address, &self.settings()).await
    }

    /// The claims of a good assertion, issued now.
    pub fn claims(&self) -> Claims {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap()
            .as_secs();
        github(now.try_into().unwrap()).with("aud", format!("http://{}", self.address))
    }

    /// A good assertion.
    pub fn good(&self) -> String {
        self.sign(&self.claims())
    }

    /// Signs claims as the platform does.
    pub fn sign(&self, claims: &Claims) -> String {
        self.key.sign(&claims.value())
    }

    /// Status and body of what the token endpoint answers.
    pub async fn exchange(&self, assertion: &str) -> (u16, Value) {
        let form = [("grant_type", JWT_BEARER), ("assertion", assertion)];
        let request = reqwest::Client::new()
            .post(format!("http://{}/token", self.address))
            .form(&form);
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }
}
