//! A case of a case file made real: its objects saved over the admin API, its token signed by its platform, its request sent.
//! The case is read here once more, by the reference page alone: nothing of `carnet::policy` is used.

use std::path::{Path, PathBuf};

use carnet::clock::Timestamp;
use carnet_resource_server::{AccessToken, Operation, PackageNames, RegistryState, allows};
use serde_json::{Map, Value, json};
use url::Url;

use super::{Answer, FakeIssuer, JWT_BEARER, TestDb, TestKey, TestServer, compact};

/// How long a rule waits for its first match, in seconds.
const PENDING: i64 = 7 * 86_400;
/// The kinds of objects, those first that others refer to.
const KINDS: [(&str, &str); 4] = [
    ("principals", "principals"),
    ("trusted_issuers", "trusted-issuers"),
    ("resource_servers", "resource-servers"),
    ("federated_credentials", "federated-credentials"),
];

/// A case and the server that it was made on.
#[derive(Debug)]
pub struct CaseRun {
    pub server: TestServer,
    /// What saving refused, as the admin API says it.
    pub problems: Vec<Value>,
    case: Map<String, Value>,
    platforms: Vec<Platform>,
    _profiles: Option<TestDb>,
}

/// What became of a case.
#[derive(Debug)]
pub struct Outcome {
    /// The answer of `/token`.
    pub answered: Answer,
    /// What `/explain` said before.
    pub explained: Value,
    /// What the admin API said before.
    pub disclosed: Value,
    /// Why the registry would not do it, where it got a token.
    pub registry: Result<(), String>,
}

#[derive(Debug)]
struct Platform {
    url: String,
    trust_domain: Option<String>,
    replay_claim: String,
    algorithm: String,
    issuer: FakeIssuer,
    curve: TestKey,
}

impl CaseRun {
    /// The profile of the first trusted issuer.
    pub fn profile(&self) -> &str {
        let issuers = self.case["objects"]["trusted_issuers"].as_object().unwrap();
        issuers.values().next().unwrap()["profile"]
            .as_str()
            .unwrap()
    }

    /// Makes the case. `folder` holds the file that it is from, `profiles` the profiles that operators wrote.
    pub async fn new(case: &Value, folder: &Path, profiles: &Path) -> Self {
        let mut case = object(case.clone());
        let known = [
            "id",
            "description",
            "objects",
            "objects_file",
            "claims",
            "header",
            "payload_text",
            "request",
            "context",
        ];
        assert_known(&case, &[&known[..], &["expect", "reason"]].concat());
        assert_known(
            &members(&case, "context"),
            &[
                "now", "issuer", "keys", "used", "states", "registry", "profiles",
            ],
        );
        assert_known(
            &members(&case, "request"),
            &["authorization_details", "principal"],
        );
        if let Some(file) = case.get("objects_file").and_then(Value::as_str) {
            let text = std::fs::read_to_string(folder.join(file)).unwrap();
            case.insert("objects".to_owned(), toml::from_str(&text).unwrap());
        }
        // The server's issuer URL is the audience of trusted issuers that name none; the server of the test has its own.
        if let Some(own) = members(&case, "context").get("issuer") {
            for issuer in case["objects"]["trusted_issuers"]
                .as_object_mut()
                .unwrap()
                .values_mut()
            {
                issuer
                    .as_object_mut()
                    .unwrap()
                    .entry("audiences")
                    .or_insert(json!([own]));
            }
        }
        let own = match members(&case, "context").get("profiles") {
            None => None,
            Some(own) => {
                let folder = TestDb::new().await;
                for (name, file) in own.as_object().unwrap() {
                    let path = folder.folder().join(format!("{name}.toml"));
                    std::fs::write(path, toml::to_string(file).unwrap()).unwrap();
                }
                Some(folder)
            }
        };
        let profiles = own
            .as_ref()
            .map_or(profiles, TestDb::folder)
            .display()
            .to_string();
        let rules = rules(&case);
        let start = rules
            .first()
            .map_or(now(&case), |(_, _, saved_at)| *saved_at);
        let server = TestServer::at(start, &[("CARNET_PROFILES_DIR", &profiles)]).await;
        let mut run = Self {
            server,
            problems: Vec::new(),
            case,
            platforms: Vec::new(),
            _profiles: own,
        };
        run.save(rules).await;
        run.move_to(now(&run.case));
        run.use_up().await;
        run
    }

    /// Asks what would become of the request, sends it, and asks the registry's code about the token.
    pub async fn present(&self) -> Outcome {
        let assertion = self.assertion(&self.payload());
        let mut form = vec![
            ("grant_type", JWT_BEARER.to_owned()),
            ("assertion", assertion.clone()),
        ];
        let mut question = json!({ "assertion": assertion });
        let request = members(&self.case, "request");
        if let Some(details) = request.get("authorization_details") {
            form.push(("authorization_details", details.to_string()));
            question["authorization_details"] = details.clone();
        }
        if let Some(principal) = request.get("principal") {
            form.push(("principal", principal.as_str().unwrap().to_owned()));
            question["principal"] = principal.clone();
        }
        let form: Vec<(&str, &str)> = form
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let explained = self.server.form("/explain", &form).await;
        let disclosed = self.server.admin("POST", "explanations", question).await;
        let answered = self.server.form("/token", &form).await;
        let registry = if answered.status == 200 {
            self.registry_decides(&answered)
        } else {
            Ok(())
        };
        Outcome {
            explained: explained.json(),
            disclosed: disclosed.json(),
            answered,
            registry,
        }
    }

    /// The token of the case.
    pub fn token(&self) -> String {
        self.assertion(&self.payload())
    }

    /// The principal that the request names.
    pub fn named_principal(&self) -> Option<String> {
        let request = members(&self.case, "request");
        request.get("principal")?.as_str().map(str::to_owned)
    }

    /// The principal that the request names, or the first one.
    pub fn principal(&self) -> String {
        let principals = members(&members(&self.case, "objects"), "principals");
        let known = |name: &String| principals.keys().any(|one| one.eq_ignore_ascii_case(name));
        let named = self.named_principal().filter(known);
        named.unwrap_or_else(|| principals.keys().next().unwrap().clone())
    }

    /// The resource of the first registry.
    pub fn resource(&self) -> String {
        let servers = members(&members(&self.case, "objects"), "resource_servers");
        let server = servers.values().next().unwrap();
        server["resource"].as_str().unwrap().to_owned()
    }

    fn move_to(&self, time: i64) {
        self.server.clock.advance(time - self.server.now());
    }

    /// Saves every object; a refused one leaves its problems.
    async fn save(&mut self, rules: Vec<(String, Value, i64)>) {
        let objects = members(&self.case, "objects");
        for (table, segment) in &KINDS[..3] {
            for (name, document) in members(&objects, table) {
                let platform = (*table == "trusted_issuers").then(|| self.platform(&document));
                let document = platform
                    .as_ref()
                    .map_or(document, |(_, document)| document.clone());
                let answer = self
                    .server
                    .admin("PUT", &format!("{segment}/{name}"), document)
                    .await;
                let is_saved = self.is_saved(&answer);
                if let Some((mut platform, _)) = platform.filter(|_| is_saved) {
                    let saved = answer.json();
                    let text = |member: &Value| member.as_str().unwrap().to_owned();
                    platform.replay_claim = text(&saved["replay_claim"]);
                    platform.algorithm = text(&saved["algorithms"][0]);
                    self.platforms.push(platform);
                }
            }
        }
        let states = members(&members(&self.case, "context"), "states");
        for (name, mut document, saved_at) in rules {
            if let Some(state) = states.get(&name) {
                let state = object(state.clone());
                assert_known(&state, &["state", "pending_until", "vouched"]);
                document["vouched"] = state.get("vouched").cloned().unwrap_or_default();
                assert!(matches!(
                    state.get("state").and_then(Value::as_str),
                    None | Some("pending")
                ));
            }
            self.move_to(saved_at);
            let answer = self
                .server
                .admin("PUT", &format!("federated-credentials/{name}"), document)
                .await;
            self.is_saved(&answer);
        }
    }

    /// A platform with keys of its own, and the document of its trusted issuer as far as it has to be another one for that.
    fn platform(&self, document: &Value) -> (Platform, Value) {
        let mut document = object(document.clone());
        let text = |name: &str| {
            document
                .get(name)
                .and_then(Value::as_str)
                .map(str::to_owned)
        };
        let (url, trust_domain) = (text("issuer"), text("trust_domain"));
        let url =
            url.unwrap_or_else(|| format!("spiffe://{}", trust_domain.clone().unwrap_or_default()));
        let (issuer, curve) = self.keys(self.platforms.len(), &url);
        let host = |url: &str| Url::parse(url).ok().map(|url| url.authority().to_owned());
        let is_taken =
            |platform: &Platform| platform.url != url && host(&platform.url) == host(&url);
        let is_web = url.starts_with("https://") && host(&url).is_some();
        if document.contains_key("keys") || !is_web || self.platforms.iter().any(is_taken) {
            let keys = json!([issuer.key().jwk(), curve.jwk()]);
            document.insert(
                "keys".to_owned(),
                json!({ "source": "static", "jwks": { "keys": keys } }),
            );
        } else {
            self.server.network.add(&issuer);
        }
        let (replay_claim, algorithm) = (String::new(), String::new());
        (
            Platform {
                url,
                trust_domain,
                replay_claim,
                algorithm,
                issuer,
                curve,
            },
            Value::Object(document),
        )
    }

    /// The keys of a platform; those of the first have the `kid`s of the case.
    fn keys(&self, number: usize, url: &str) -> (FakeIssuer, TestKey) {
        if let Some(platform) = self.platforms.iter().find(|platform| platform.url == url) {
            return (platform.issuer.clone(), platform.curve.clone());
        }
        let kids = members(&self.case, "context").get("keys").map(texts);
        let kid = || Some(vec![self.case.get("header")?["kid"].as_str()?.to_owned()]);
        let kids = kids
            .or_else(kid)
            .unwrap_or_else(|| vec![format!("key-{number}")]);
        let key = TestKey::rsa(number).named(&kids[0]);
        let curve = TestKey::ec(&format!("curve-{number}"), "ES256");
        let issuer = FakeIssuer::new(url, key.clone());
        let named: Vec<Value> = kids
            .iter()
            .map(|kid| key.named(kid).jwk())
            .chain([curve.jwk()])
            .collect();
        issuer.publish(&named);
        (issuer, curve)
    }

    fn is_saved(&mut self, answer: &Answer) -> bool {
        if matches!(answer.status, 200 | 201) {
            return true;
        }
        assert_eq!(answer.status, 422, "{}", answer.text());
        self.problems
            .extend(answer.json()["errors"].as_array().unwrap().iter().cloned());
        false
    }

    /// Uses up what the case says was used.
    async fn use_up(&self) {
        let used = members(&self.case, "context")
            .get("used")
            .cloned()
            .unwrap_or_default();
        for (at, used) in used.as_array().into_iter().flatten().enumerate() {
            let mut payload = self.payload();
            if used != "this" {
                let (iss, id) = (used["iss"].as_str().unwrap(), &used["jti"]);
                let mut claims: Value = serde_json::from_str(&payload).unwrap();
                match self.platforms.iter().find(|platform| platform.url == iss) {
                    Some(platform) => claims[platform.replay_claim.as_str()] = id.clone(),
                    None => claims = self.used_elsewhere(at, iss, id).await,
                }
                payload = claims.to_string();
            }
            let form = [
                ("grant_type", JWT_BEARER),
                ("assertion", &self.assertion(&payload)),
            ];
            self.server.form("/token", &form).await.token();
        }
    }

    /// Claims that another platform's rule lets in: its id is used there.
    async fn used_elsewhere(&self, at: usize, iss: &str, id: &Value) -> Value {
        let key = TestKey::rsa(7);
        let document = json!({
            "profile": "generic", "issuer": iss, "audiences": ["used"], "replay": "required",
            "keys": { "source": "static", "jwks": { "keys": [key.jwk()] } },
        });
        self.server
            .put(&format!("trusted-issuers/used-{at}"), document)
            .await;
        let objects = members(&self.case, "objects");
        let first = |table: &str| members(&objects, table).keys().next().unwrap().clone();
        let permission = json!({ "resource_server": first("resource_servers"), "actions": ["create"], "packages": ["used"] });
        let document = json!({
            "principal": first("principals"), "trusted_issuer": format!("used-{at}"), "match": { "subject": "used" },
            "permissions": [permission],
        });
        self.server
            .put(&format!("federated-credentials/used-{at}"), document)
            .await;
        let now = now(&self.case);
        json!({ "iss": iss, "aud": "used", "sub": "used", "jti": id, "iat": now, "exp": now + 300 })
    }

    fn payload(&self) -> String {
        match self.case.get("payload_text") {
            Some(text) => text.as_str().unwrap().to_owned(),
            None => self.case["claims"].to_string(),
        }
    }

    /// A token with this payload, signed by the platform that it is from.
    fn assertion(&self, payload: &str) -> String {
        let header = self.case.get("header").cloned();
        let said: Value = serde_json::from_str(payload).unwrap_or_default();
        let domain = said["sub"]
            .as_str()
            .and_then(|sub| sub.strip_prefix("spiffe://")?.split('/').next());
        let of_domain =
            |platform: &&Platform| domain.is_some() && platform.trust_domain.as_deref() == domain;
        let of_iss = |platform: &&Platform| said["iss"].as_str() == Some(&platform.url);
        let platforms = || self.platforms.iter();
        let is_used = said["aud"] == "used";
        let signer = platforms()
            .find(of_domain)
            .or(platforms().find(of_iss))
            .or(platforms().next());
        let Some(platform) = signer.filter(|_| !is_used) else {
            let key = TestKey::rsa(7);
            return key.sign_raw(
                header.unwrap_or(key.header()).to_string().as_bytes(),
                payload.as_bytes(),
            );
        };
        let (key, curve) = (platform.issuer.key(), &platform.curve);
        let kid = if platform.algorithm == "ES256" {
            &curve.kid
        } else {
            &key.kid
        };
        let header = header
            .unwrap_or_else(|| json!({ "alg": platform.algorithm, "kid": kid, "typ": "JWT" }));
        let text = header.to_string();
        match header["alg"].as_str().unwrap_or_default() {
            "none" => compact(text.as_bytes(), payload.as_bytes(), b""),
            "ES256" => curve.sign_raw(text.as_bytes(), payload.as_bytes()),
            "RS256" => key.sign_raw(text.as_bytes(), payload.as_bytes()),
            other => panic!("a case has the algorithm {other}"),
        }
    }

    /// Whether the registry would do for this token what the case tries.
    fn registry_decides(&self, answered: &Answer) -> Result<(), String> {
        use base64::Engine as _;
        let registry = members(&members(&self.case, "context"), "registry");
        assert_known(
            &registry,
            &[
                "exists",
                "owner",
                "owned_packages",
                "action",
                "package",
                "version",
                "digest",
            ],
        );
        let Some(action) = registry.get("action").and_then(Value::as_str) else {
            return Ok(());
        };
        let payload = answered.token().split('.').nth(1).unwrap().to_owned();
        let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD
            .decode(payload)
            .unwrap();
        let token: AccessToken = serde_json::from_slice(&payload).unwrap();
        let objects = members(&self.case, "objects");
        let servers = members(&objects, "resource_servers");
        let server = servers
            .values()
            .find(|server| server["resource"] == *token.aud)
            .unwrap();
        assert_eq!(
            json!(token.authorization_details),
            answered.json()["authorization_details"]
        );
        let names: PackageNames = match server.get("package_names") {
            None => PackageNames::Exact,
            Some(given) => serde_json::from_value(given.clone()).unwrap(),
        };
        let text = |name: &str| registry.get(name).and_then(Value::as_str);
        let packages = text("package").map_or_else(
            || texts(&registry["package"]),
            |package| vec![package.to_owned()],
        );
        for package in packages {
            let holds =
                |owned: &Value| texts(owned).iter().any(|owned| names.same(owned, &package));
            let owned_by = |owner: &str| {
                registry.get("owned_packages").is_none_or(holds)
                    && text("owner").is_none_or(|now| now == owner)
            };
            let exists = registry.get("exists") != Some(&json!(false));
            let state = RegistryState {
                exists,
                owned_by: &owned_by,
                may_act_for: &|_, _| true,
            };
            let (version, digest) = (text("version"), text("digest"));
            let operation = Operation {
                action,
                package: &package,
                version,
                digest,
            };
            let decided = allows(&token.authorization_details, names, &operation, &state);
            decided.map_err(|denied| denied.reason.code().to_owned())?;
        }
        Ok(())
    }
}

/// The rules of a case, in the order in which they are saved, and when that is: one that is pending until some moment was saved
/// seven days before, and one that is over was saved before that.
fn rules(case: &Map<String, Value>) -> Vec<(String, Value, i64)> {
    let seconds = |text: &Value| {
        Timestamp::parse_rfc3339(text.as_str().unwrap())
            .unwrap()
            .seconds()
    };
    let states = members(&members(case, "context"), "states");
    let rules = members(&members(case, "objects"), "federated_credentials")
        .into_iter()
        .map(|(name, document)| {
            let pending = states
                .get(&name)
                .and_then(|state| state.get("pending_until"));
            let saved_at = pending.map(|until| seconds(until) - PENDING);
            let saved_at = saved_at.or(document.get("expires_at").map(|at| seconds(at) - 1));
            (name, document, saved_at.unwrap_or(i64::MAX).min(now(case)))
        });
    let mut rules: Vec<_> = rules.collect();
    rules.sort_by_key(|(_, _, saved_at)| *saved_at);
    rules
}

fn now(case: &Map<String, Value>) -> i64 {
    members(case, "context")["now"].as_i64().unwrap()
}

fn members(of: &Map<String, Value>, name: &str) -> Map<String, Value> {
    object(of.get(name).cloned().unwrap_or_default())
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(members) => members,
        Value::Null => Map::new(),
        other => panic!("no object: {other}"),
    }
}

fn texts(value: &Value) -> Vec<String> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .map(|text| text.as_str().unwrap().to_owned())
        .collect()
}

#[track_caller]
fn assert_known(members: &Map<String, Value>, known: &[&str]) {
    let unknown: Vec<&String> = members
        .keys()
        .filter(|name| !known.contains(&name.as_str()))
        .collect();
    assert!(unknown.is_empty(), "not understood: {unknown:?}");
}

/// The case files of the repository.
pub fn case_files() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let samples = std::fs::read_dir(root.join("docs/samples/cases")).unwrap();
    let mut files: Vec<PathBuf> = samples.map(|entry| entry.unwrap().path()).collect();
    files.push(root.join("tests/data/policy-cases.json"));
    files.sort();
    files
}
