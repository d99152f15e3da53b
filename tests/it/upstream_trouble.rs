//! Platforms that are slow, huge, lying or dead, at a server process and on real sockets: they do not hinder the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use axum::response::IntoResponse as _;
use carnet::http::{Serving, serve_on};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::support::{
    Claims, FakeIssuer, Installed, JWT_BEARER, TestKey, World, all, carnet, finished, github,
    machine_time,
};

/// How long a good platform's request may take on a machine that is busy with other tests. A request that waits for another
/// platform takes five seconds.
const UNHINDERED: Duration = Duration::from_secs(4);
/// The shortest time between two fetches of a platform's keys, in seconds.
const INTERVAL: u64 = 30;

/// A platform that misbehaves.
struct Bad {
    name: &'static str,
    url: String,
    connections: Arc<AtomicUsize>,
}

#[derive(Clone, Copy)]
enum Trouble {
    /// Takes the connection and says nothing.
    Silent,
    /// Says a byte now and then.
    Dripping,
    /// Never stops.
    Endless,
    /// Sends to another host.
    Redirecting,
    /// Names another issuer.
    Lying,
    /// Has a page for browsers.
    Page,
    /// Closes the connection at once.
    Closing,
}

impl Bad {
    async fn start(name: &'static str, trouble: Trouble) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(misbehave(stream, trouble));
            }
        });
        Self {
            name,
            url,
            connections,
        }
    }

    /// Nobody listens there.
    async fn dead() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self {
            name: "dead",
            url,
            connections: Arc::default(),
        }
    }
}

async fn misbehave(mut stream: TcpStream, trouble: Trouble) {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n";
    let whole = |body: &str| format!("{head}content-length: {}\r\n\r\n{body}", body.len());
    let mut request = [0; 4096];
    if matches!(trouble, Trouble::Closing) || stream.read(&mut request).await.is_err() {
        return;
    }
    let answer = match trouble {
        Trouble::Silent | Trouble::Closing => {
            return std::future::pending().await;
        }
        Trouble::Dripping | Trouble::Endless => format!("{head}\r\n{{\"keys\":["),
        Trouble::Redirecting => {
            "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.2:9/\r\ncontent-length: 0\r\n\r\n"
                .to_owned()
        }
        Trouble::Lying => {
            whole(r#"{"issuer":"https://ci.test","jwks_uri":"https://ci.test/jwks"}"#)
        }
        Trouble::Page => whole("<!doctype html><title>Sign in</title>"),
    };
    if stream.write_all(answer.as_bytes()).await.is_err() {
        return;
    }
    let (part, pause) = match trouble {
        Trouble::Dripping => (vec![b' '; 1], Duration::from_millis(100)),
        Trouble::Endless => (vec![b' '; 65_536], Duration::ZERO),
        _ => return,
    };
    while stream.write_all(&part).await.is_ok() {
        tokio::time::sleep(pause).await;
    }
}

/// A good platform on a real socket.
async fn good(number: usize) -> (FakeIssuer, Serving) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let issuer = FakeIssuer::new(&url, TestKey::rsa(number));
    let serving = serve_on(issuer.router(), listener);
    (issuer, serving)
}

async fn installed() -> Installed {
    Installed::new(&[
        ("CARNET_INSECURE__ALLOW_HTTP_LOOPBACK", "true"),
        ("CARNET_RATE_LIMITS__REFUSALS_PER_MINUTE_PER_ADDRESS", "0"),
        ("CARNET_RATE_LIMITS__TOKENS_PER_MINUTE_PER_CREDENTIAL", "0"),
        (
            "CARNET_RATE_LIMITS__TOKENS_PER_MINUTE_PER_TRUSTED_ISSUER",
            "0",
        ),
    ])
    .await
}

/// Trusts these issuers, by name and URL, with the usual rule for each.
fn trust(installed: &Installed, issuers: impl IntoIterator<Item = (String, String)>) {
    let mut objects = json!({ "trusted_issuers": {}, "federated_credentials": {} });
    for (name, url) in issuers {
        let mut rule = World::rule_document(json!({}));
        rule["trusted_issuer"] = json!(name);
        objects["federated_credentials"][&name] = rule;
        objects["trusted_issuers"][&name] = json!({ "profile": "github-actions", "issuer": url });
    }
    let folder = installed.db.folder();
    std::fs::write(folder.join("more.json"), objects.to_string()).unwrap();
    let mut apply = carnet();
    apply
        .current_dir(folder)
        .args(["apply", "--offline", "-f", "more.json"])
        .envs(installed.settings());
    let applied = finished(apply.output().unwrap());
    assert_eq!(applied.code, 0, "{applied:?}");
}

/// The claims of a good assertion of another issuer.
fn claims(installed: &Installed, url: &str) -> Claims {
    let audience = format!("http://{}", installed.address);
    github(machine_time())
        .with("aud", audience)
        .with("iss", url)
}

/// A caller with connections of its own.
#[derive(Clone)]
struct Caller {
    http: reqwest::Client,
    url: String,
}

impl Caller {
    fn new(installed: &Installed) -> Self {
        Self {
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            url: format!("http://{}/token", installed.address),
        }
    }

    /// Status, whether the answer says when to ask again, body, and how long it took.
    async fn ask(&self, assertion: &str) -> (u16, bool, Value, Duration) {
        let began = Instant::now();
        let form = [("grant_type", JWT_BEARER), ("assertion", assertion)];
        let answer = self.http.post(&self.url).form(&form).send().await.unwrap();
        let is_late = answer.headers().contains_key("retry-after");
        let status = answer.status().as_u16();
        let body = answer.json().await.unwrap();
        (status, is_late, body, began.elapsed())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn atk_113__slow_huge_lying_and_dead_platforms_at_once_leave_the_good_ones_alone() {
    let installed = installed().await;
    let bad = [
        Bad::start("silent", Trouble::Silent).await,
        Bad::start("dripping", Trouble::Dripping).await,
        Bad::start("endless", Trouble::Endless).await,
        Bad::start("redirecting", Trouble::Redirecting).await,
        Bad::start("lying", Trouble::Lying).await,
        Bad::start("page", Trouble::Page).await,
        Bad::start("closing", Trouble::Closing).await,
        Bad::dead().await,
    ];
    let (known, _known) = good(1).await;
    let (new, _new) = good(2).await;
    let trusted = bad.iter().map(|it| (it.name.to_owned(), it.url.clone()));
    let both = [("known", &known), ("new", &new)];
    let both = both.map(|(name, issuer)| (name.to_owned(), issuer.url.clone()));
    trust(&installed, trusted.chain(both));
    let server = installed.start().await;
    let caller = Caller::new(&installed);
    let sign = |issuer: &FakeIssuer| issuer.sign(&claims(&installed, &issuer.url));
    assert_eq!(caller.ask(&sign(&known)).await.0, 200);

    let began = Instant::now();
    let mut trouble = JoinSet::new();
    for platform in &bad {
        // The key is not theirs; nobody gets to know.
        let assertions = (0..12).map(|_| {
            let claims = claims(&installed, &platform.url);
            TestKey::rsa(0).sign(&claims.value())
        });
        for assertion in assertions.collect::<Vec<_>>() {
            let (caller, name) = (Caller::new(&installed), platform.name);
            trouble.spawn(async move { (name, caller.ask(&assertion).await) });
        }
    }
    let mut longest = Duration::ZERO;
    for number in 0..100 {
        // One whose keys are known, and one that is asked for its keys in the midst of it all.
        let issuer = if number % 2 == 0 { &known } else { &new };
        let (status, _, body, took) = caller.ask(&sign(issuer)).await;
        assert_eq!(status, 200, "{body}");
        longest = longest.max(took);
    }
    while let Some(answered) = trouble.join_next().await {
        let (name, (status, is_late, body, took)) = answered.unwrap();
        assert_eq!((status, is_late), (503, true), "{name}: {body}");
        assert_eq!(body["reason"], "upstream_unavailable", "{name}: {body}");
        assert!(took < Duration::from_secs(15), "{name}: {took:?}");
    }
    eprintln!(
        "the longest of 100 good requests took {} ms",
        longest.as_millis()
    );
    assert!(longest < UNHINDERED, "{longest:?}");
    // Twelve requests, one attempt; an attempt may ask at three places for metadata.
    let attempts = 1 + began.elapsed().as_secs() / INTERVAL;
    for platform in &bad {
        let connections = platform.connections.load(Ordering::Relaxed);
        assert!(
            connections as u64 <= 4 * attempts,
            "{}: {connections}",
            platform.name
        );
        assert!(
            connections > 0 || platform.name == "dead",
            "{}",
            platform.name
        );
    }
    assert_eq!(server.terminate(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oidcd_4_7__a_thousand_unknown_kids_at_once_cost_one_fetch_in_thirty_seconds() {
    let installed = installed().await;
    let (platform, _serving) = good(1).await;
    trust(&installed, [("known".to_owned(), platform.url.clone())]);
    let server = installed.start().await;
    let caller = Caller::new(&installed);
    let began = Instant::now();
    let key = platform.key();
    let mut flood = JoinSet::new();
    for part in 0..20 {
        let caller = caller.clone();
        let assertions: Vec<String> = (0..50)
            .map(|number| {
                let header = json!({ "alg": "RS256", "kid": format!("unknown-{part}-{number}") });
                key.sign_with_header(&header, &claims(&installed, &platform.url).value())
            })
            .collect();
        flood.spawn(async move {
            for assertion in assertions {
                let (status, is_late, body, _) = caller.ask(&assertion).await;
                let answer = (status, body["reason"].as_str());
                let is_no = answer == (400, Some("key_unknown"));
                let is_later = answer == (503, Some("keys_unavailable")) && is_late;
                assert!(is_no || is_later, "{body}");
            }
        });
    }
    let mut served = 0;
    while !flood.is_empty() {
        let good = platform.sign(&claims(&installed, &platform.url));
        let (status, _, body, took) = caller.ask(&good).await;
        assert_eq!(status, 200, "{body}");
        assert!(took < UNHINDERED, "{took:?}");
        served += 1;
        while let Some(ended) = flood.try_join_next() {
            ended.unwrap();
        }
    }
    let fetches = platform.key_fetches();
    eprintln!(
        "{fetches} fetches and {served} tokens in {} ms",
        began.elapsed().as_millis()
    );
    let most = 1 + began.elapsed().as_secs() / INTERVAL;
    assert!((1..=most).contains(&(fetches as u64)), "{fetches}");
    assert_eq!(server.terminate(), 0);
}

/// Many platforms at one address, each with a path of its own.
fn many(base: &str, key: &TestKey) -> Router {
    let (base, keys) = (base.to_owned(), json!({ "keys": [key.jwk()] }));
    Router::new().fallback(move |uri: axum::http::Uri| {
        let (base, keys) = (base.clone(), keys.clone());
        async move {
            let mut parts = uri.path().trim_start_matches('/').splitn(2, '/');
            let issuer = format!("{base}/{}", parts.next().unwrap_or_default());
            let document = match parts.next() {
                Some("jwks") => keys,
                Some(".well-known/openid-configuration") => {
                    json!({ "issuer": issuer, "jwks_uri": format!("{issuer}/jwks") })
                }
                _ => return StatusCode::NOT_FOUND.into_response(),
            };
            axum::Json(document).into_response()
        }
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn atk_113__the_dead_tenth_of_a_thousand_platforms_delays_none_of_the_others() {
    const COUNT: usize = 1_000;
    let installed = installed().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let key = TestKey::rsa(3);
    let _serving = serve_on(many(&base, &key), listener);
    // Half of the dead ones are gone, and half take connections and say nothing.
    let (gone, silent) = (
        Bad::dead().await,
        Bad::start("silent", Trouble::Silent).await,
    );
    let url = |number: usize| match number % 20 {
        0 => format!("{}/{number}", gone.url),
        10 => format!("{}/{number}", silent.url),
        _ => format!("{base}/{number}"),
    };
    let template = format!("{base}/template");
    trust(&installed, [("template".to_owned(), template.clone())]);
    let id = if installed.db.url().starts_with("postgres") {
        "gen_random_uuid()"
    } else {
        "randomblob(16)"
    };
    let places = format!(
        "CASE i % 20 WHEN 0 THEN '{}' WHEN 10 THEN '{}' ELSE '{base}' END || '/' || i",
        gone.url, silent.url
    );
    // Saving each would take a minute.
    let copies = format!(
        "INSERT INTO trusted_issuer (id, name, name_folded, issuer, owner, enabled, document, version, created_at, updated_at) \
         WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {last}) \
         SELECT {id}, 'many-' || i, 'many-' || i, {places}, owner, enabled, replace(document, '{template}', {places}), \
         version, created_at, updated_at FROM trusted_issuer, n WHERE name = 'template'",
        last = COUNT - 1
    );
    installed.db.execute(&copies).await;
    let server = installed.start().await;
    let sign = |number: usize| key.sign(&claims(&installed, &url(number)).value());

    let mut dead = JoinSet::new();
    for number in (0..COUNT).step_by(10) {
        let (caller, assertion) = (Caller::new(&installed), sign(number));
        dead.spawn(async move { caller.ask(&assertion).await });
    }
    let alive: Vec<usize> = (0..COUNT).filter(|number| number % 10 != 0).collect();
    let caller = Caller::new(&installed);
    let mut longest = Duration::ZERO;
    for part in alive.chunks(8) {
        let assertions: Vec<String> = part.iter().map(|number| sign(*number)).collect();
        let asked = assertions.iter().map(|assertion| caller.ask(assertion));
        for (status, _, body, took) in all(asked).await {
            // Its keys were fetched, and its signature is good; there is no rule for it.
            let answer = (status, body["reason"].as_str());
            assert_eq!(answer, (400, Some("no_matching_credential")), "{body}");
            longest = longest.max(took);
        }
    }
    while let Some(answered) = dead.join_next().await {
        let (status, is_late, body, _) = answered.unwrap();
        assert_eq!((status, is_late), (503, true), "{body}");
    }
    eprintln!(
        "the longest of {} first requests took {} ms",
        alive.len(),
        longest.as_millis()
    );
    assert!(longest < UNHINDERED, "{longest:?}");
    assert_eq!(server.terminate(), 0);
}
