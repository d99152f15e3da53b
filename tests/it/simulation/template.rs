//! The database that every run starts from, made once: a platform, a registry with a front door, and three rules.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::http::{Method, Request};
use carnet::clock::{ManualClock, Timestamp};
use carnet::config::Config;
use serde_json::{Value, json};

use super::replica::{Replica, send};
use crate::support::{Answer, CARNET, FakeIssuer, FakeNetwork, GH, R1, TestKey, World, basic};

/// The rules, by what they permit: a token's entries say by their packages which rules they are of.
pub const RELEASE: usize = 0;
pub const PENDING: usize = 1;
pub const HERS: usize = 2;
pub const RULES: [&str; 3] = ["release", "pending", "hers"];
pub const PACKAGES: [&str; 3] = ["widgets", "gadgets", "gizmos"];
/// What mallory's registry account holds.
pub const SCOPE_OF_MALLORY: &str = "admin:credentials:mallory";
/// Where the front door is.
pub const DOOR: &str = "pypi.test";

/// What all runs share.
pub struct Template {
    files: BTreeMap<String, Vec<u8>>,
    pub network: Arc<FakeNetwork>,
    pub platform: FakeIssuer,
    pub prover: TestKey,
    /// The `Authorization` header of the registry.
    pub registry: String,
}

/// The ids of the repository that a run belongs to; the last two have the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Workload {
    Release,
    First,
    Second,
}

impl Template {
    /// Made once for all runs of this process.
    pub fn get() -> &'static Self {
        static TEMPLATE: OnceLock<Template> = OnceLock::new();
        TEMPLATE.get_or_init(Self::make)
    }

    fn make() -> Self {
        let network = Arc::new(FakeNetwork::default());
        let platform = FakeIssuer::new(GH, TestKey::rsa(0));
        network.add(&platform);
        let folder = Folder::new("template");
        let clock = Arc::new(ManualClock::new(Timestamp::from_seconds(super::START)));
        let replica = Replica::started(&folder, clock, network.clone());
        let put = |path: &str, scope: &str, body: Value| -> Value {
            let request = admin(&replica, "PUT", path, scope, body);
            let answer = replica.block_on(send(replica.router().clone(), request));
            assert_eq!(answer.status, 201, "{path}: {}", answer.text());
            answer.json()
        };
        let saved = |path: &str, body: Value| put(path, "admin", body);
        saved(
            "trusted-issuers/github",
            json!({ "profile": "github-actions", "issuer": GH }),
        );
        for name in ["joel", "mallory"] {
            saved(
                &format!("principals/{name}"),
                json!({ "id": format!("pr_{name}"), "kind": "user" }),
            );
        }
        saved(
            "resource-servers/pypi",
            json!({
                "resource": R1, "actions": ["create", "publish"],
                "front_door": { "kind": "pypi", "hosts": [DOOR] },
            }),
        );
        let client = saved(
            "clients/registry",
            json!({ "resource_server": "pypi", "auth_method": "client_secret_basic" }),
        );
        let registry = basic("registry", client["client_secret"].as_str().unwrap());
        for rule in [RELEASE, PENDING, HERS] {
            put(&path_of(rule), scope_of(rule), document(rule));
        }
        replica.close();
        let files = folder.read();
        Self {
            files,
            network,
            platform,
            prover: TestKey::ec("", "ES256"),
            registry,
        }
    }

    /// A folder of its own for a run.
    pub fn folder(&self, seed: u64) -> Folder {
        let folder = Folder::new(&seed.to_string());
        for (name, bytes) in &self.files {
            std::fs::write(folder.0.join(name), bytes).unwrap();
        }
        folder
    }

    /// A proof of the one key there is, for the token endpoint.
    pub fn proof(&self, id: &str) -> String {
        let mut jwk = self.prover.jwk();
        for name in ["kid", "use", "alg"] {
            jwk.as_object_mut().unwrap().shift_remove(name);
        }
        let header = json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": jwk });
        let claims = json!({ "jti": id, "htm": "POST", "htu": format!("{CARNET}/token"), "iat": super::START });
        self.prover.sign_with_header(&header, &claims)
    }
}

/// The path of a rule at the admin API.
pub fn path_of(rule: usize) -> String {
    format!("federated-credentials/{}", RULES[rule])
}

/// Who saves a rule at first: mallory's is a self-service rule.
pub const fn scope_of(rule: usize) -> &'static str {
    if rule == HERS {
        SCOPE_OF_MALLORY
    } else {
        "admin"
    }
}

/// A rule as it is saved.
pub fn document(rule: usize) -> Value {
    let mut document = match rule {
        PENDING => World::rule_document(json!({
            "repository": "octo-org/pin-repo", "repository_owner_id": null, "repository_id": null,
        })),
        _ => World::rule_document(json!({})),
    };
    document["permissions"][0]["packages"] = json!([PACKAGES[rule]]);
    if rule == HERS {
        document["principal"] = json!("mallory");
    }
    document
}

/// A request of the admin API. `null` sends no body.
pub fn admin(
    replica: &Replica,
    method: &str,
    path: &str,
    scope: &str,
    body: Value,
) -> Request<Body> {
    let token = replica.admin_token(scope);
    Request::builder()
        .method(Method::from_bytes(method.as_bytes()).unwrap())
        .uri(format!("/admin/v1/{path}"))
        .header("authorization", format!("Bearer {token}"))
        .body(if body.is_null() {
            Body::empty()
        } else {
            Body::from(body.to_string())
        })
        .unwrap()
}

/// A folder in memory, where there is one, that goes away with the run.
pub struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let memory = Path::new("/dev/shm");
        let base = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let folder = base.join(format!("carnet_simulation_{}_{name}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    fn read(&self) -> BTreeMap<String, Vec<u8>> {
        let files = std::fs::read_dir(&self.0).unwrap().map(Result::unwrap);
        files
            .map(|file| {
                let name = file.file_name().into_string().unwrap();
                (name, std::fs::read(file.path()).unwrap())
            })
            .collect()
    }

    /// The URL of the database.
    pub fn url(&self) -> String {
        format!("sqlite://{}", self.0.join("carnet.db").display())
    }

    /// The configuration of a replica on this folder.
    pub fn config(&self) -> Config {
        let environment = [
            ("CARNET_ISSUER", CARNET.to_owned()),
            ("CARNET_DATA_DIR", self.0.display().to_string()),
            ("CARNET_DATABASE__URL", self.url()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value));
        Config::from_sources(None, environment.to_vec()).unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).ok();
    }
}

/// The members of a JWT's payload.
pub fn payload(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&carnet_jose::from_base64url(payload).unwrap()).unwrap()
}

/// The access token, or the key of the front door, in an answer.
pub fn token_in(answer: &Answer) -> Option<String> {
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    let token = body.get("access_token").or_else(|| body.get("token"))?;
    (answer.status == 200).then(|| token.as_str().unwrap().to_owned())
}
