//! Jobs that ask for tokens without a pause while something goes wrong, and what has to hold for each of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{JWT_BEARER, Node};

/// How long a job sends its request again before that counts as a failure.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it waits for one answer.
const ANSWER: Duration = Duration::from_secs(6);

/// Makes assertions.
pub type Assertions = dyn Fn() -> String + Send + Sync;

#[derive(Default)]
struct Seen {
    tokens: Mutex<BTreeMap<String, String>>,
    retried: AtomicUsize,
    /// Requests whose assertion was used up by an answer that was lost.
    lost: AtomicUsize,
    stopped: AtomicBool,
}

/// Jobs in the background.
pub struct Jobs {
    seen: Arc<Seen>,
    running: JoinSet<()>,
}

/// What the jobs saw.
#[derive(Debug)]
pub struct Outcome {
    /// The `jti` of every token.
    pub tokens: Vec<String>,
    /// How many of them came by a retry.
    pub retried: usize,
    pub lost: usize,
}

impl Jobs {
    /// So many jobs, each at one of these places after the other, and now and then at all of them at once.
    pub fn start(count: usize, places: &[String], assertions: &Arc<Assertions>) -> Self {
        let seen = Arc::new(Seen::default());
        let mut running = JoinSet::new();
        for number in 0..count {
            let (seen, places) = (seen.clone(), places.to_vec());
            let assertions = assertions.clone();
            running.spawn(async move {
                let http = reqwest::Client::builder().no_proxy().timeout(ANSWER);
                let http = http.build().unwrap();
                let mut at = number;
                while !seen.stopped.load(Ordering::Relaxed) {
                    at += 1;
                    if at % 5 == 0 {
                        everywhere(&seen, &http, &places, &assertions()).await;
                    } else {
                        ask(&seen, &http, &places, at, &assertions()).await;
                    }
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            });
        }
        Self { seen, running }
    }

    /// How many tokens were issued so far.
    pub fn count(&self) -> usize {
        self.seen.tokens.lock().unwrap().len()
    }

    /// Waits until so many more tokens were issued.
    pub async fn wait_for(&self, more: usize) {
        let (before, began) = (self.count(), Instant::now());
        while self.count() < before + more {
            assert!(began.elapsed() < PATIENCE, "no tokens are issued any more");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the jobs once each has what it asked for.
    pub async fn stop(mut self) -> Outcome {
        self.seen.stopped.store(true, Ordering::Relaxed);
        while let Some(ended) = self.running.join_next().await {
            ended.unwrap();
        }
        let tokens = self.seen.tokens.lock().unwrap();
        Outcome {
            tokens: tokens.values().cloned().collect(),
            retried: self.seen.retried.load(Ordering::Relaxed),
            lost: self.seen.lost.load(Ordering::Relaxed),
        }
    }
}

/// A request that is sent again, to the next place, while the answer says later or while none comes.
async fn ask(
    seen: &Seen,
    http: &reqwest::Client,
    places: &[String],
    first: usize,
    assertion: &str,
) {
    let (began, mut may_be_used) = (Instant::now(), false);
    for attempt in 0.. {
        assert!(
            began.elapsed() < PATIENCE,
            "no retry heals this for a minute"
        );
        let place = &places[(first + attempt) % places.len()];
        let form = [("grant_type", JWT_BEARER), ("assertion", assertion)];
        let sent = http.post(format!("{place}/token")).form(&form).send().await;
        let answer = match sent {
            Ok(answer) => answer,
            Err(error) => {
                may_be_used |= !error.is_connect();
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let status = answer.status().as_u16();
        let is_late = answer.headers().contains_key("retry-after");
        let Ok(text) = answer.text().await else {
            may_be_used = true;
            continue;
        };
        let body: Value = serde_json::from_str(&text).unwrap_or_default();
        match status {
            200 => {
                seen.token(assertion, body["access_token"].as_str().unwrap());
                seen.retried
                    .fetch_add(usize::from(attempt > 0), Ordering::Relaxed);
                return;
            }
            400 if body["reason"] == "replay" && may_be_used => {
                seen.lost.fetch_add(1, Ordering::Relaxed);
                return;
            }
            503 => assert!(is_late, "503 without Retry-After: {text}"),
            502 | 504 => may_be_used = true,
            _ => panic!("{status}: {text}"),
        }
        // The commit may have begun before the database went.
        may_be_used |= body["reason"] == "database_unavailable" || body["reason"] == "overloaded";
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// What all of these give, which run at the same time.
pub async fn all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures
        .into_iter()
        .map(|future| (Box::pin(future), None))
        .collect();
    std::future::poll_fn(|context| {
        for (future, output) in &mut waiting {
            if output.is_none()
                && let Poll::Ready(given) = future.as_mut().poll(context)
            {
                *output = Some(given);
            }
        }
        let is_done = waiting.iter().all(|(_, output)| output.is_some());
        if is_done {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
    waiting
        .into_iter()
        .map(|(_, output)| output.unwrap())
        .collect()
}

/// One assertion at all places at once.
async fn everywhere(seen: &Seen, http: &reqwest::Client, places: &[String], assertion: &str) {
    let form = [("grant_type", JWT_BEARER), ("assertion", assertion)];
    let sent = places.iter().map(|place| async move {
        let answer = http.post(format!("{place}/token")).form(&form).send().await;
        let answer = answer.ok()?;
        let is_token = answer.status() == 200;
        let body: Value = answer.json().await.ok()?;
        is_token.then(|| seen.token(assertion, body["access_token"].as_str().unwrap()))
    });
    all(sent).await;
}

impl Seen {
    fn token(&self, assertion: &str, token: &str) {
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap());
        let payload: Value = serde_json::from_slice(&payload.unwrap()).unwrap();
        let jti = payload["jti"].as_str().unwrap().to_owned();
        let before = self
            .tokens
            .lock()
            .unwrap()
            .insert(assertion.to_owned(), jti);
        assert_eq!(before, None, "two tokens for one assertion");
    }
}

impl Outcome {
    /// Checks that every token has its audit event and the record of the assertion that was used, and that no assertion gave
    /// two tokens.
    pub async fn is_recorded(&self, node: &Node) {
        assert!(!self.tokens.is_empty());
        let names: Vec<String> = self.tokens.iter().map(|jti| format!("('{jti}')")).collect();
        let sql = format!(
            "SELECT t.jti FROM (VALUES {}) AS t(jti) WHERE NOT EXISTS (SELECT 1 FROM audit_event e JOIN consumed c \
             ON c.event_id = e.id WHERE e.token_id = t.jti AND e.outcome = 'issued')",
            names.join(",")
        );
        let missing: Vec<String> = node.column("carnet", &sql).await;
        assert!(missing.is_empty(), "not recorded: {missing:?}");
        let twice: Vec<i64> = node
            .column(
                "carnet",
                "SELECT COUNT(*) FROM (SELECT assertion_jti FROM audit_event WHERE outcome = 'issued' AND assertion_jti IS NOT NULL \
                 GROUP BY trusted_issuer, assertion_jti HAVING COUNT(*) > 1) AS twice",
            )
            .await;
        assert_eq!(twice, [0], "assertions that gave two tokens");
    }
}
