//! A case of a case file made real: its platforms, principals, registry and rules saved over the admin API, its token signed, its
//! request sent. The case is read here once more, by the reference page alone: nothing of `carnet::policy` is used.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use carnet_resource_server::{AccessToken, Operation, PackageNames, RegistryState, allows};
use serde_json::{Map, Value, json};
use url::Url;

use super::case_parts::{Parts, REGISTRY, object, texts};
use super::{Answer, FakeIssuer, JWT_BEARER, TestDb, TestKey, TestServer, compact};

const PRINCIPAL: &str = "case";
const RESOURCE: &str = "https://registry.test/case/";

/// A case and the server that it was made on.
#[derive(Debug)]
pub struct CaseRun {
    pub server: TestServer,
    /// What saving refused, as the admin API says it.
    pub problems: Vec<Value>,
    /// How many rules were saved.
    pub rules: usize,
    parts: Parts,
    platforms: Vec<Platform>,
    _profile: Option<TestDb>,
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
    name: String,
    url: String,
    trust_domain: Option<String>,
    replay_claim: String,
    algorithm: String,
    issuer: FakeIssuer,
    curve: TestKey,
}

impl CaseRun {
    /// The profile that the rules are of.
    pub fn profile(&self) -> &str {
        &self.parts.provider
    }

    /// Makes the case. `profiles` is the folder of profiles that operators wrote.
    pub async fn new(case: &Value, profiles: &Path) -> Self {
        let mut parts = Parts::read(case);
        for rule in &mut parts.rules {
            rule.saved_at = rule.saved_at.min(parts.now);
        }
        parts.rules.sort_by_key(|rule| rule.saved_at);
        let profile = parts.rules.iter().find_map(|rule| rule.profile.clone());
        let made = match &profile {
            None => None,
            Some(text) => {
                let folder = TestDb::new().await;
                std::fs::write(folder.folder().join("ci-template.toml"), text).unwrap();
                Some(folder)
            }
        };
        let profiles = made.as_ref().map_or(profiles, TestDb::folder).display().to_string();
        let start = parts.rules.first().map_or(parts.now, |rule| rule.saved_at);
        let server = TestServer::at(start, &[("CARNET_PROFILES_DIR", &profiles)]).await;
        let mut run = Self { server, problems: Vec::new(), rules: 0, parts, platforms: Vec::new(), _profile: made };
        run.save_principals_and_registry().await;
        run.save_rules().await;
        run.save_others().await;
        run.move_to(run.parts.now);
        run.use_up().await;
        run
    }

    /// Asks what would become of the request, sends it, and asks the registry's code about the token.
    pub async fn present(&self) -> Outcome {
        let assertion = self.assertion(&self.parts.claims);
        let form = self.form(&assertion);
        let form: Vec<(&str, &str)> = form.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let explained = self.server.form("/explain", &form).await;
        let mut question = json!({ "assertion": assertion });
        if let Some(details) = self.details() {
            question["authorization_details"] = details;
        }
        let disclosed = self.server.admin("POST", "explanations", question).await;
        let answered = self.server.form("/token", &form).await;
        let registry = if answered.status == 200 { self.registry_decides(&answered) } else { Ok(()) };
        Outcome { explained: explained.json(), disclosed: disclosed.json(), answered, registry }
    }

    fn move_to(&self, time: i64) {
        self.server.clock.advance(time - self.server.now());
    }

    async fn save_principals_and_registry(&self) {
        let owners = self.parts.rules.iter().filter_map(|rule| rule.owner.as_deref());
        for name in owners.chain([PRINCIPAL]).collect::<BTreeSet<_>>() {
            self.server.put(&format!("principals/{name}"), json!({ "kind": "user" })).await;
        }
        let of_rules = self.parts.rules.iter().flat_map(|rule| texts(&rule.permission["actions"]));
        let mut actions: BTreeSet<String> = of_rules.collect();
        actions.extend(self.parts.requested["action"].as_str().map(str::to_owned));
        actions.insert("create".to_owned());
        let document = json!({
            "resource": RESOURCE, "actions": actions, "package_names": self.parts.normalization,
            "require_protected_ref_or_environment": self.parts.floor,
        });
        self.server.put(&format!("resource-servers/{REGISTRY}"), document).await;
    }

    async fn save_rules(&mut self) {
        for at in 0..self.parts.rules.len() {
            let rule = &self.parts.rules[at];
            let issuer = rule.issuer.clone();
            self.move_to(rule.saved_at);
            let Some(platform) = self.trust(issuer, false).await else { continue };
            let rule = &self.parts.rules[at];
            let document = json!({
                "principal": PRINCIPAL, "trusted_issuer": platform, "match": rule.matcher,
                "permissions": [rule.permission], "enabled": rule.enabled,
                "expires_at": rule.expires_at.map(|at| carnet::clock::Timestamp::from_seconds(at).to_string()),
            });
            let answer = self.server.admin("PUT", &format!("federated-credentials/rule-{at}"), document).await;
            if self.is_saved(&answer) {
                self.rules += 1;
            }
        }
    }

    async fn save_others(&mut self) {
        for (url, members) in std::mem::take(&mut self.parts.others) {
            if self.platforms.iter().any(|platform| platform.url == url) {
                continue;
            }
            let own = self.parts.rules.first().map(|rule| rule.issuer.clone()).unwrap_or_default();
            let mut document = Map::new();
            for name in ["profile", "audiences"] {
                document.extend(own.get(name).map(|value| (name.to_owned(), value.clone())));
            }
            document.insert("issuer".to_owned(), url.into());
            document.extend(members);
            assert!(self.trust(document, true).await.is_some(), "{:?}", self.problems);
        }
    }

    /// Saves a trusted issuer unless it is there; its name, unless saving refuses it.
    async fn trust(&mut self, mut document: Map<String, Value>, is_static: bool) -> Option<String> {
        let url = document.get("issuer").and_then(Value::as_str).map(str::to_owned);
        let trust_domain = document.get("trust_domain").and_then(Value::as_str).map(str::to_owned);
        let scoped = url.as_ref().is_some_and(|url| self.parts.scopes.contains_key(url));
        if scoped {
            document.insert("owner".to_owned(), PRINCIPAL.into());
        }
        let number = self.platforms.len();
        let url = url.unwrap_or_else(|| format!("spiffe://{}", trust_domain.clone().unwrap_or_default()));
        let (issuer, curve) = self.keys(number, &url);
        let host = |url: &str| Url::parse(url).ok().map(|url| url.authority().to_owned());
        let is_taken = |platform: &Platform| platform.url != url && host(&platform.url) == host(&url);
        if is_static || !url.starts_with("https://") || host(&url).is_none() || self.platforms.iter().any(is_taken) {
            let keys = json!([issuer.key().jwk(), curve.jwk()]);
            document.insert("keys".to_owned(), json!({ "source": "static", "jwks": { "keys": keys } }));
        } else {
            self.server.network.add(&issuer);
        }
        let name =
            format!("platform-{}", carnet_jose::base64url(carnet_jose::sha256(json!(document).to_string().as_bytes())));
        if self.platforms.iter().any(|platform| platform.name == name) {
            return Some(name);
        }
        let answer = self.server.admin("PUT", &format!("trusted-issuers/{name}"), Value::Object(document)).await;
        if !self.is_saved(&answer) {
            return None;
        }
        let saved = answer.json();
        let text = |member: &Value| member.as_str().unwrap().to_owned();
        let (replay_claim, algorithm) = (text(&saved["replay_claim"]), text(&saved["algorithms"][0]));
        self.platforms.push(Platform { name: name.clone(), url, trust_domain, replay_claim, algorithm, issuer, curve });
        Some(name)
    }

    /// The keys of a platform; those of the first have the `kid`s of the case.
    fn keys(&self, number: usize, url: &str) -> (FakeIssuer, TestKey) {
        if let Some(platform) = self.platforms.iter().find(|platform| platform.url == url) {
            return (platform.issuer.clone(), platform.curve.clone());
        }
        let kid = self.parts.claims.get("_jose").and_then(|header| header["kid"].as_str());
        let kids = self.parts.kids.clone().or_else(|| kid.map(|kid| vec![kid.to_owned()]));
        let kids = kids.unwrap_or_else(|| vec![format!("key-{number}")]);
        let key = TestKey::rsa(number).named(&kids[0]);
        let curve = TestKey::ec(&format!("curve-{number}"), "ES256");
        let issuer = FakeIssuer::new(url, key.clone());
        let named: Vec<Value> = kids.iter().map(|kid| key.named(kid).jwk()).chain([curve.jwk()]).collect();
        issuer.publish(&named);
        (issuer, curve)
    }

    fn is_saved(&mut self, answer: &Answer) -> bool {
        if matches!(answer.status, 200 | 201) {
            return true;
        }
        assert_eq!(answer.status, 422, "{}", answer.text());
        self.problems.extend(answer.json()["errors"].as_array().unwrap().iter().cloned());
        false
    }

    /// Uses up what the case says was used.
    async fn use_up(&mut self) {
        for (at, (iss, id)) in self.parts.consumed.clone().iter().enumerate() {
            let mut claims = self.parts.claims.clone();
            if let Some(platform) = self.platforms.iter().find(|platform| platform.url == *iss) {
                claims.insert(platform.replay_claim.clone(), id.as_str().into());
            } else {
                let name = self.trust(generic(iss), true).await.unwrap();
                let permission = json!({ "resource_server": REGISTRY, "actions": ["create"], "packages": ["used"] });
                let document = json!({
                    "principal": PRINCIPAL, "trusted_issuer": name, "match": { "subject": "used" },
                    "permissions": [permission],
                });
                self.server.put(&format!("federated-credentials/used-{at}"), document).await;
                let now = self.parts.now;
                claims = object(json!({
                    "iss": iss, "aud": "used", "sub": "used", "jti": id, "iat": now, "exp": now + 300,
                }));
            }
            let form = [("grant_type", JWT_BEARER), ("assertion", &self.assertion(&claims))];
            self.server.form("/token", &form).await.token();
        }
        if self.parts.token_consumed {
            let form = [("grant_type", JWT_BEARER), ("assertion", &self.assertion(&self.parts.claims))];
            self.server.form("/token", &form).await.token();
        }
    }

    /// A token with these claims, signed by the platform that they are from.
    fn assertion(&self, claims: &Map<String, Value>) -> String {
        let mut members = claims.clone();
        let header = members.shift_remove("_jose");
        let payload = match members.shift_remove("_raw_payload") {
            Some(raw) => raw.as_str().unwrap().to_owned(),
            None => Value::Object(members).to_string(),
        };
        let said: Value = serde_json::from_str(&payload).unwrap_or_default();
        let domain = said["sub"].as_str().and_then(|sub| sub.strip_prefix("spiffe://")?.split('/').next());
        let of_domain = |platform: &&Platform| domain.is_some() && platform.trust_domain.as_deref() == domain;
        let of_iss = |platform: &&Platform| said["iss"].as_str() == Some(&platform.url);
        let platforms = || self.platforms.iter();
        let signer = platforms().find(of_domain).or(platforms().find(of_iss)).or(platforms().next());
        let Some(platform) = signer else {
            let key = TestKey::rsa(7);
            return key.sign_raw(header.unwrap_or(key.header()).to_string().as_bytes(), payload.as_bytes());
        };
        let (key, curve) = (platform.issuer.key(), &platform.curve);
        let kid = if platform.algorithm == "ES256" { &curve.kid } else { &key.kid };
        let header = header.unwrap_or_else(|| json!({ "alg": platform.algorithm, "kid": kid, "typ": "JWT" }));
        let text = header.to_string();
        match header["alg"].as_str().unwrap_or_default() {
            "none" => compact(text.as_bytes(), payload.as_bytes(), b""),
            "ES256" => curve.sign_raw(text.as_bytes(), payload.as_bytes()),
            "RS256" => key.sign_raw(text.as_bytes(), payload.as_bytes()),
            other => panic!("a case has the algorithm {other}"),
        }
    }

    fn details(&self) -> Option<Value> {
        let requested = self.parts.requested.as_object()?;
        let mut entry = requested.clone();
        entry.retain(|_, value| !value.is_null());
        let action = entry.shift_remove("action").unwrap();
        let create = (!self.parts.exists).then(|| json!("create"));
        entry.insert("type".to_owned(), "package".into());
        entry.insert("actions".to_owned(), [action].into_iter().chain(create).collect());
        Some(json!([entry]))
    }

    fn form(&self, assertion: &str) -> Vec<(&'static str, String)> {
        let mut form = vec![("grant_type", JWT_BEARER.to_owned()), ("assertion", assertion.to_owned())];
        form.extend(self.details().map(|details| ("authorization_details", details.to_string())));
        form
    }

    /// Whether the registry would do for this token what the case asks for.
    fn registry_decides(&self, answered: &Answer) -> Result<(), String> {
        use base64::Engine as _;
        let parts = &self.parts;
        let text = answered.token();
        let payload = text.split('.').nth(1).unwrap();
        let payload = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).unwrap();
        let token: AccessToken = serde_json::from_slice(&payload).unwrap();
        assert_eq!(token.aud, RESOURCE);
        assert_eq!(json!(token.authorization_details), answered.json()["authorization_details"]);
        let names: PackageNames = match &parts.normalization {
            Value::Null => PackageNames::Exact,
            given => serde_json::from_value(given.clone()).unwrap(),
        };
        let iss = &token.workload.as_ref().unwrap().iss;
        let scope = parts.scopes.get(iss).map(texts);
        for package in texts(&parts.requested["packages"]) {
            let holds = |owned: &Vec<String>| owned.iter().any(|owned| names.same(owned, &package));
            let owned_by = |owner: &str| {
                parts.owned.as_ref().is_none_or(holds)
                    && scope.as_ref().is_none_or(holds)
                    && parts.owner_now.as_ref().is_none_or(|now| now == owner)
            };
            let state = RegistryState { exists: parts.exists, owned_by: &owned_by, may_act_for: &|_, _| true };
            let operation = Operation {
                action: parts.requested["action"].as_str().unwrap(),
                package: &package,
                version: parts.requested["version"].as_str(),
                digest: parts.requested["digest"].as_str(),
            };
            let decided = allows(&token.authorization_details, names, &operation, &state);
            decided.map_err(|denied| denied.reason.code().to_owned())?;
        }
        Ok(())
    }
}

fn generic(iss: &str) -> Map<String, Value> {
    object(json!({ "profile": "generic", "issuer": iss, "audiences": ["used"], "replay": "required" }))
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
