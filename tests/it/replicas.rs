//! Three replicas behind the `HAProxy` of the guide, on a PostgreSQL that is taken away from them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::Instant;

use super::assertion::payload;
use super::surroundings::{Program, daemon, is_installed};
use crate::support::{
    Assertions, Authority, Cluster, Flaw, Installed, JWT_BEARER, Jobs, Receiver, ServerProcess,
    TestDb, TestKey, World, all, basic, carnet, finished, free_address, may_skip,
};

/// How long full service may take once the database is back, on a machine that is busy with other tests. The measured times are
/// in `docs/src/development/faults.md`.
const BACK_WITHIN: Duration = Duration::from_secs(5);
const SAMPLE: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/docs/samples/deployment/haproxy.cfg"
);

/// How the replicas reach their database.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WayToDatabase {
    Direct,
    ByBalancer,
}

/// Three replicas, the balancer and the database.
struct Stage {
    replicas: Vec<Option<ServerProcess>>,
    /// Where each replica listens, and the balancer.
    places: Vec<String>,
    balancer: String,
    settings: Vec<(String, String)>,
    http: reqwest::Client,
    admin_token: String,
    installed: Arc<Installed>,
    _balancer: Program,
    cluster: Cluster,
}

/// The sample with these places in it.
fn haproxy_conf(folder: &Path, places: &[(String, String)]) -> PathBuf {
    let mut text = std::fs::read_to_string(SAMPLE).unwrap();
    for (ours, theirs) in places {
        assert!(text.contains(ours), "the sample has {ours}");
        text = text.replace(ours, theirs);
    }
    let file = folder.join("haproxy.cfg");
    std::fs::write(&file, text).unwrap();
    file
}

fn haproxy(arguments: &[&str], conf: &Path) -> std::process::Command {
    let mut haproxy = daemon("haproxy");
    haproxy.args(arguments).arg("-f").arg(conf);
    haproxy.stdout(Stdio::null()).stderr(Stdio::null());
    haproxy
}

impl Stage {
    /// None where the machine lacks a program and that is allowed.
    async fn new(way: WayToDatabase, has_standby: bool) -> Option<Self> {
        if !is_installed("haproxy") {
            may_skip("haproxy");
            return None;
        }
        let mut cluster = Cluster::start().await?;
        if has_standby {
            cluster.follow().await;
        }
        let direct = cluster.primary.url("carnet");
        let installed = Installed::on(
            TestDb::new().await,
            &[
                ("CARNET_DATABASE__URL", &direct),
                ("CARNET_SERVER__TRUSTED_PROXIES", "[\"127.0.0.1/32\"]"),
                ("CARNET_SERVER__UNSHARED_PEERS", "[\"127.0.0.1/32\"]"),
                ("CARNET_SERVER__REQUEST_SECONDS", "8"),
                ("CARNET_INSECURE__ALLOW_HTTP_LOOPBACK", "true"),
                ("CARNET_RATE_LIMITS__REFUSALS_PER_MINUTE_PER_ADDRESS", "0"),
                ("CARNET_RATE_LIMITS__TOKENS_PER_MINUTE_PER_CREDENTIAL", "0"),
            ],
        );
        let addresses = [free_address(), free_address(), free_address()];
        let database = free_address();
        let standby = cluster.standby.as_ref();
        let standby = standby.map_or_else(free_address, |node| node.address.clone());
        let mut changed = vec![
            (
                "bind :443 ssl crt /etc/haproxy/carnet.pem".to_owned(),
                format!("bind {}", installed.address),
            ),
            ("bind 127.0.0.1:5432".to_owned(), format!("bind {database}")),
            ("10.0.1.5:5432".to_owned(), cluster.primary.address.clone()),
            ("10.0.1.6:5432".to_owned(), standby),
        ];
        for (number, address) in addresses.iter().enumerate() {
            changed.push((format!("10.0.0.{}:8080", 5 + number), address.clone()));
        }
        let conf = haproxy_conf(installed.db.folder(), &changed);
        let mut command = haproxy(&["-db"], &conf);
        let balancer = Program::start("haproxy", &mut command, &installed.address).await?;
        let mut settings = installed.settings();
        settings.retain(|(name, _)| *name != "CARNET_SERVER__LISTEN");
        let by_balancer = format!("postgres://postgres@{database}/carnet");
        if way == WayToDatabase::ByBalancer {
            settings.retain(|(name, _)| *name != "CARNET_DATABASE__URL");
            settings.push(("CARNET_DATABASE__URL", &by_balancer));
        }
        let settings = settings
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut stage = Self {
            replicas: vec![None, None, None],
            places: addresses
                .iter()
                .map(|address| format!("http://{address}"))
                .collect(),
            balancer: format!("http://{}", installed.address),
            settings,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            admin_token: String::new(),
            installed: Arc::new(installed),
            _balancer: balancer,
            cluster,
        };
        for number in 0..3 {
            stage.start(number).await;
        }
        stage.admin_token = stage.command(&["admin-token", "--ttl", "3600"]);
        stage.is_served().await;
        Some(stage)
    }

    async fn start(&mut self, number: usize) {
        let address = self.places[number]
            .strip_prefix("http://")
            .unwrap()
            .to_owned();
        let settings: Vec<(&str, &str)> = self
            .settings
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let folder = self.installed.db.folder();
        self.replicas[number] = Some(ServerProcess::start_at(folder, &address, &settings).await);
    }

    fn command(&self, arguments: &[&str]) -> String {
        let mut command = carnet();
        command
            .current_dir(self.installed.db.folder())
            .args(arguments)
            .envs(self.installed.settings());
        let run = finished(command.output().unwrap());
        assert_eq!(run.code, 0, "{run:?}");
        run.stdout.trim().to_owned()
    }

    fn jobs(&self, count: usize) -> Jobs {
        let installed = self.installed.clone();
        let assertions: Arc<Assertions> = Arc::new(move || installed.good());
        let mut places = self.places.clone();
        places.push(self.balancer.clone());
        Jobs::start(count, &places, &assertions)
    }

    async fn post(
        &self,
        place: &str,
        path: &str,
        headers: &[(&str, &str)],
        form: &[(&str, &str)],
    ) -> (u16, Value) {
        let mut request = self.http.post(format!("{place}{path}")).form(form);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap_or_default())
    }

    async fn exchange(&self, place: &str, assertion: &str) -> (u16, Value) {
        let form = [("grant_type", JWT_BEARER), ("assertion", assertion)];
        self.post(place, "/token", &[], &form).await
    }

    /// The answers of all replicas to the same request at the same time.
    async fn everywhere(
        &self,
        headers: &[(&str, &str)],
        forms: [&[(&str, &str)]; 3],
    ) -> [(u16, Value); 3] {
        let [first, second, third] = forms;
        let one = self.post(&self.places[0], "/token", headers, first);
        let two = self.post(&self.places[1], "/token", headers, second);
        let three = self.post(&self.places[2], "/token", headers, third);
        let (one, two, three) = tokio::join!(one, two, three);
        [one, two, three]
    }

    async fn token(&self, place: &str) -> String {
        let (status, body) = self.exchange(place, &self.installed.good()).await;
        assert_eq!(status, 200, "{body}");
        body["access_token"].as_str().unwrap().to_owned()
    }

    async fn admin(&self, number: usize, method: &str, path: &str, body: Value) -> Value {
        let url = format!("{}/admin/v1/{path}", self.places[number]);
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        let mut request = self
            .http
            .request(method, url)
            .bearer_auth(&self.admin_token);
        if !body.is_null() {
            request = request.json(&body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap_or_default()
    }

    /// Waits until every replica, and the balancer, gives a token; how long that took.
    async fn is_served(&self) -> Duration {
        let began = Instant::now();
        let asked = self.places.iter().chain([&self.balancer]);
        let served = asked.map(|place| async move {
            let form = |assertion: String| {
                [
                    ("grant_type", JWT_BEARER.to_owned()),
                    ("assertion", assertion),
                ]
            };
            loop {
                let asked = self.http.post(format!("{place}/token"));
                let asked = asked.form(&form(self.installed.good())).send().await;
                if asked.is_ok_and(|answer| answer.status() == 200) {
                    return;
                }
                assert!(
                    began.elapsed() < Duration::from_mins(1),
                    "{place} gives no token"
                );
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        all(served).await;
        began.elapsed()
    }

    /// The same within the time that the contract gives, after this.
    async fn is_back(&self, after: &str) {
        let took = self.is_served().await;
        eprintln!("{after}: full service after {} ms", took.as_millis());
        assert!(took < BACK_WITHIN, "{after}: {took:?}");
    }

    /// Waits until a replica says that the database is away, in the words that callers wait for.
    async fn is_away(&self) {
        let began = Instant::now();
        loop {
            let form = [
                ("grant_type", JWT_BEARER.to_owned()),
                ("assertion", self.installed.good()),
            ];
            let asked = self
                .http
                .post(format!("{}/token", self.places[0]))
                .form(&form);
            let answer = asked.send().await.unwrap();
            if answer.status() == 503 {
                assert!(answer.headers().contains_key("retry-after"));
                return;
            }
            assert!(
                began.elapsed() < Duration::from_secs(30),
                "{}",
                answer.status()
            );
        }
    }
}

/// A condition that comes about within the second in which replicas learn of changes, or a little later on a busy machine.
async fn soon(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < BACK_WITHIN, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A DPoP proof of this key for the token endpoint.
fn proof(key: &TestKey, issuer: &str) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let mut jwk = key.jwk();
    for name in ["kid", "use", "alg"] {
        jwk.as_object_mut().unwrap().shift_remove(name);
    }
    let id = COUNT.fetch_add(1, Ordering::Relaxed);
    let now = crate::support::machine_time();
    let claims = json!({ "jti": format!("proof-{id}"), "htm": "POST", "htu": format!("{issuer}/token"), "iat": now });
    key.sign_with_header(
        &json!({ "typ": "dpop+jwt", "alg": "ES256", "jwk": jwk }),
        &claims,
    )
}

fn statuses(answers: &[(u16, Value); 3]) -> [u16; 3] {
    let mut statuses = [answers[0].0, answers[1].0, answers[2].0];
    statuses.sort_unstable();
    statuses
}

#[test]
fn the_haproxy_of_the_guide_is_understood() {
    if !is_installed("haproxy") {
        may_skip("haproxy");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = Authority::new().issue(Flaw::None);
    let pem = [
        certificate.to_pem().unwrap(),
        key.private_key_to_pem_pkcs8().unwrap(),
    ]
    .concat();
    let file = folder.path().join("carnet.pem");
    std::fs::write(&file, pem).unwrap();
    let place = (
        "/etc/haproxy/carnet.pem".to_owned(),
        file.display().to_string(),
    );
    let conf = haproxy_conf(folder.path(), &[place]);
    assert!(haproxy(&["-c"], &conf).status().unwrap().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn atk_079__what_one_of_three_replicas_decides_holds_at_all() {
    let Some(stage) = Stage::new(WayToDatabase::Direct, false).await else {
        return;
    };
    single_use(&stage).await;
    revocation_and_keys(&stage).await;
    rules_and_consent(&stage).await;
    pins_and_webhooks(&stage).await;
}

async fn single_use(stage: &Stage) {
    for _ in 0..10 {
        let assertion = stage.installed.good();
        let form = [
            ("grant_type", JWT_BEARER),
            ("assertion", assertion.as_str()),
        ];
        let answers = stage.everywhere(&[], [&form, &form, &form]).await;
        assert_eq!(statuses(&answers), [200, 400, 400], "{answers:?}");
    }
    let key = TestKey::ec("", "ES256");
    let proof = proof(&key, &stage.balancer);
    let made = [
        stage.installed.good(),
        stage.installed.good(),
        stage.installed.good(),
    ];
    let form = |at: usize| [("grant_type", JWT_BEARER), ("assertion", made[at].as_str())];
    let forms = [form(0), form(1), form(2)];
    let answers = stage
        .everywhere(&[("dpop", &proof)], [&forms[0], &forms[1], &forms[2]])
        .await;
    assert_eq!(statuses(&answers), [200, 400, 400], "{answers:?}");
    let refused = answers.iter().filter(|(status, _)| *status == 400);
    assert!(
        refused
            .clone()
            .all(|(_, body)| body["reason"] == "proof_replayed")
    );
}

async fn revocation_and_keys(stage: &Stage) {
    let client = json!({ "auth_method": "client_secret_basic", "resource_server": "pypi" });
    let saved = stage.admin(0, "PUT", "clients/registry", client).await;
    let authorization = basic("registry", saved["client_secret"].as_str().unwrap());
    let headers = [("authorization", authorization.as_str())];
    let told = async |place: &str, token: &str| {
        let (status, body) = stage
            .post(place, "/introspect", &headers, &[("token", token)])
            .await;
        (status == 200).then(|| body["active"] == true)
    };
    let token = stage.token(&stage.places[1]).await;
    soon("all replicas know the client", async || {
        let [one, two, three] = [&stage.places[0], &stage.places[1], &stage.places[2]];
        told(one, &token).await == Some(true)
            && told(two, &token).await == Some(true)
            && told(three, &token).await == Some(true)
    })
    .await;
    let (status, body) = stage
        .post(&stage.balancer, "/revoke", &headers, &[("token", &token)])
        .await;
    assert_eq!(status, 200, "{body}");
    for place in &stage.places {
        assert_eq!(told(place, &token).await, Some(false), "{place}");
    }
    // Another key signs: all publish it, and each takes the tokens of each.
    let before = stage.admin(0, "GET", "signing-keys", Value::Null).await;
    stage
        .admin(0, "POST", "signing-keys/rotate", Value::Null)
        .await;
    let active = |keys: &Value| {
        let all = keys["items"].as_array().unwrap().iter();
        let mut active = all.filter(|key| key["state"] == "active");
        active.next().unwrap()["kid"].as_str().unwrap().to_owned()
    };
    let kid = active(&stage.admin(0, "GET", "signing-keys", Value::Null).await);
    assert_ne!(kid, active(&before));
    for place in &stage.places {
        soon("tokens are signed by the new key", async || {
            let token = stage.token(place).await;
            let header = token.split('.').next().unwrap();
            let header =
                base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, header)
                    .unwrap();
            let header: Value = serde_json::from_slice(&header).unwrap();
            let mut is_taken = header["kid"] == kid.as_str();
            for other in &stage.places {
                let keys: Value = stage
                    .http
                    .get(format!("{other}/jwks"))
                    .send()
                    .await
                    .unwrap()
                    .json()
                    .await
                    .unwrap();
                let has = keys["keys"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|key| key["kid"] == kid.as_str());
                is_taken &= has && told(other, &token).await == Some(true);
            }
            is_taken
        })
        .await;
    }
}

async fn rules_and_consent(stage: &Stage) {
    let change = async |number: usize, changed: Value| {
        stage
            .admin(
                number,
                "PATCH",
                "federated-credentials/octo-release",
                changed,
            )
            .await
    };
    let all_refuse = async |what: &str| {
        for place in &stage.places {
            let (status, body) = stage.exchange(place, &stage.installed.good()).await;
            assert_eq!(status, 400, "{what} at {place}: {body}");
        }
    };
    let all_issue = async || {
        for place in &stage.places {
            soon("the change is known", async || {
                stage.exchange(place, &stage.installed.good()).await.0 == 200
            })
            .await;
        }
    };
    for number in 0..3 {
        change(number, json!({ "enabled": false })).await;
        all_refuse("disabled").await;
        change((number + 1) % 3, json!({ "enabled": true })).await;
        all_issue().await;
    }
    // A rule that nobody vouches for counts only where the request names its principal.
    change(0, json!({ "vouched": false })).await;
    all_refuse("no consent").await;
    for place in &stage.places {
        let assertion = stage.installed.good();
        let form = [
            ("grant_type", JWT_BEARER),
            ("assertion", assertion.as_str()),
            ("principal", "joel"),
        ];
        let (status, body) = stage.post(place, "/token", &[], &form).await;
        assert_eq!(status, 200, "{body}");
    }
    change(1, json!({ "vouched": true })).await;
    all_issue().await;
    let rule = stage
        .admin(0, "GET", "federated-credentials/octo-release", Value::Null)
        .await;
    stage
        .admin(
            2,
            "DELETE",
            "federated-credentials/octo-release",
            Value::Null,
        )
        .await;
    all_refuse("deleted").await;
    assert_eq!(rule["enabled"], true);
    stage
        .admin(
            0,
            "PUT",
            "federated-credentials/octo-release",
            World::rule_document(json!({})),
        )
        .await;
    all_issue().await;
}

async fn pins_and_webhooks(stage: &Stage) {
    let receiver = Receiver::start().await;
    let hook = json!({ "url": receiver.url, "kinds": ["first_use"] });
    stage.admin(0, "PUT", "notifications/hook", hook).await;
    stage
        .admin(
            0,
            "DELETE",
            "federated-credentials/octo-release",
            Value::Null,
        )
        .await;
    let open = json!({ "repository_owner_id": null, "repository_id": null });
    stage
        .admin(
            1,
            "PUT",
            "federated-credentials/first",
            World::rule_document(open),
        )
        .await;
    // All know the rule before its first use: it refuses another event by name.
    for place in &stage.places {
        soon("the rule is known", async || {
            let other = stage
                .installed
                .claims()
                .with("event_name", "pull_request_target");
            let (_, body) = stage.exchange(place, &stage.installed.sign(&other)).await;
            body["reason"] != "no_matching_credential"
        })
        .await;
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let made: Vec<String> = (0..3)
        .map(|number| {
            let claims = stage.installed.claims();
            let claims = claims.with("repository_owner_id", format!("65{number}"));
            stage
                .installed
                .sign(&claims.with("repository_id", format!("74{number}")))
        })
        .collect();
    let form = |at: usize| [("grant_type", JWT_BEARER), ("assertion", made[at].as_str())];
    let forms = [form(0), form(1), form(2)];
    let answers = stage
        .everywhere(&[], [&forms[0], &forms[1], &forms[2]])
        .await;
    assert_eq!(statuses(&answers), [200, 400, 400], "{answers:?}");
    let (_, body) = answers.iter().find(|(status, _)| *status == 200).unwrap();
    let workload = payload(body["access_token"].as_str().unwrap())["workload"].clone();
    let rule = stage
        .admin(2, "GET", "federated-credentials/first", Value::Null)
        .await;
    assert_eq!(
        rule["pinned"]["repository_id"],
        workload["claims"]["repository_id"]
    );
    // Three replicas look for what owners are told of. One tells.
    receiver.wait_for(1).await;
    assert_eq!(receiver.settled().await, 1, "{:?}", receiver.types());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn atk_083__replicas_that_are_killed_paused_or_restarted_give_no_token_twice() {
    let Some(mut stage) = Stage::new(WayToDatabase::Direct, false).await else {
        return;
    };
    let jobs = stage.jobs(4);
    jobs.wait_for(10).await;
    stage.replicas[0].take().unwrap().kill();
    jobs.wait_for(10).await;
    stage.start(0).await;

    // Longer than the deadline of requests and than transactions wait for a lock.
    let used = stage.installed.good();
    stage.replicas[1].as_ref().unwrap().signal("STOP");
    let asleep = Instant::now();
    let (status, body) = stage.exchange(&stage.places[0], &used).await;
    assert_eq!(status, 200, "{body}");
    let switched =
        World::rule_document(json!({ "repository": "octo-org/other", "repository_id": "75" }));
    let rule = "federated-credentials/switched";
    stage.admin(0, "PUT", rule, switched).await;
    let other = || {
        let claims = stage.installed.claims().in_repository("octo-org/other");
        stage.installed.sign(&claims.with("repository_id", "75"))
    };
    assert_eq!(stage.exchange(&stage.places[0], &other()).await.0, 200);
    stage
        .admin(2, "PATCH", rule, json!({ "enabled": false }))
        .await;
    jobs.wait_for(10).await;
    tokio::time::sleep_until(asleep + Duration::from_secs(12)).await;
    stage.replicas[1].as_ref().unwrap().signal("CONT");
    let (status, body) = stage.exchange(&stage.places[1], &other()).await;
    assert_ne!(status, 200, "switched off while the replica slept: {body}");
    let (status, body) = stage.exchange(&stage.places[1], &used).await;
    assert_ne!(status, 200, "used while the replica slept: {body}");

    for number in 0..3 {
        assert_eq!(stage.replicas[number].take().unwrap().terminate(), 0);
        stage.start(number).await;
    }
    jobs.wait_for(10).await;
    let outcome = jobs.stop().await;
    eprintln!(
        "{} tokens, {} by a retry, {} answers lost",
        outcome.tokens.len(),
        outcome.retried,
        outcome.lost
    );
    outcome.is_recorded(&stage.cluster.primary).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn atk_083__postgresql_that_restarts_reads_only_or_fills_up_loses_nothing() {
    let Some(stage) = Stage::new(WayToDatabase::Direct, false).await else {
        return;
    };
    let primary = &stage.cluster.primary;
    let jobs = stage.jobs(4);
    jobs.wait_for(10).await;
    for mode in ["fast", "immediate"] {
        primary.stop(mode);
        stage.is_away().await;
        primary.start();
        stage.is_back(&format!("restart ({mode})")).await;
        jobs.wait_for(5).await;
    }
    primary.set("default_transaction_read_only", "on").await;
    stage.is_away().await;
    primary.set("default_transaction_read_only", "off").await;
    stage.is_back("read-only").await;
    jobs.wait_for(5).await;
    primary.fill(true);
    stage.is_away().await;
    primary.fill(false);
    stage.is_back("a full disk").await;
    jobs.wait_for(5).await;
    let outcome = jobs.stop().await;
    eprintln!(
        "{} tokens, {} by a retry, {} answers lost",
        outcome.tokens.len(),
        outcome.retried,
        outcome.lost
    );
    outcome.is_recorded(primary).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn atk_083__a_failover_to_a_synchronous_standby_loses_nothing() {
    let Some(mut stage) = Stage::new(WayToDatabase::ByBalancer, true).await else {
        return;
    };
    let jobs = stage.jobs(4);
    jobs.wait_for(20).await;
    stage.cluster.primary.signal("KILL");
    stage.is_away().await;
    stage.cluster.promote();
    // No other standby follows yet.
    stage
        .cluster
        .primary
        .set("synchronous_standby_names", "")
        .await;
    stage.is_back("failover").await;
    jobs.wait_for(20).await;
    let outcome = jobs.stop().await;
    eprintln!(
        "{} tokens, {} by a retry, {} answers lost",
        outcome.tokens.len(),
        outcome.retried,
        outcome.lost
    );
    outcome.is_recorded(&stage.cluster.primary).await;
}

/// Passes connections on to an address, until they are frozen: then they stay open and nothing passes any more, as when the
/// machine at the other end is gone. Later connections work.
async fn passing(listener: TcpListener, to: String, mut frozen: watch::Receiver<u32>) {
    while let Ok((mut near, _)) = listener.accept().await {
        frozen.mark_unchanged();
        let (to, mut frozen) = (to.clone(), frozen.clone());
        tokio::spawn(async move {
            let Ok(mut far) = TcpStream::connect(to).await else {
                return;
            };
            tokio::select! {
                _ = copy_bidirectional(&mut near, &mut far) => {}
                Ok(()) = frozen.changed() => std::future::pending().await,
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn atk_083__a_primary_that_vanishes_without_closing_connections_is_given_up() {
    let Some(cluster) = Cluster::start().await else {
        return;
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!(
        "postgres://postgres@{}/carnet",
        listener.local_addr().unwrap()
    );
    let (freeze, frozen) = watch::channel(0);
    let passing = tokio::spawn(passing(listener, cluster.primary.address.clone(), frozen));
    let installed = Installed::on(
        TestDb::new().await,
        &[
            ("CARNET_DATABASE__URL", &url),
            ("CARNET_RATE_LIMITS__TOKENS_PER_MINUTE_PER_CREDENTIAL", "0"),
        ],
    );
    let server = installed.start().await;
    // PostgreSQL does not notice either: the transactions that it waits for have to end, since they hold locks.
    let guard = "CREATE FUNCTION ends() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 IF current_setting('idle_in_transaction_session_timeout') <> '10s' THEN RAISE 'without end'; END IF; RETURN NEW; END $$; \
                 CREATE TRIGGER ends BEFORE INSERT ON consumed FOR EACH ROW EXECUTE FUNCTION ends()";
    cluster.primary.execute("carnet", guard).await;
    let installed = Arc::new(installed);
    let signing = installed.clone();
    let assertions: Arc<Assertions> = Arc::new(move || signing.good());
    let jobs = Jobs::start(8, std::slice::from_ref(&server.url), &assertions);
    for round in 0..2 {
        // Connections are in use, and the one that is watched is there.
        jobs.wait_for(20).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        freeze.send_modify(|count| *count += 1);
        let began = Instant::now();
        jobs.wait_for(40).await;
        let took = began.elapsed();
        eprintln!(
            "round {round}: 40 tokens {} ms after the primary vanished",
            took.as_millis()
        );
        assert!(took < Duration::from_secs(25), "{took:?}");
        server.wait_until_ready(installed.db.folder()).await;
    }
    let outcome = jobs.stop().await;
    eprintln!(
        "{} tokens, {} by a retry, {} answers lost",
        outcome.tokens.len(),
        outcome.retried,
        outcome.lost
    );
    outcome.is_recorded(&cluster.primary).await;
    assert_eq!(server.terminate(), 0);
    passing.abort();
}
