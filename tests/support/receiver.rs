//! The receiver of webhooks: a real server on the loopback interface that remembers what it was sent.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sign::Signer;
use serde_json::Value;
use tokio::net::TcpListener;

/// How long a message is waited for: the server looks for events every two seconds and sends every second.
const PATIENCE: Duration = Duration::from_secs(90);
/// How long nothing has to come for it to count as nothing.
const SILENCE: Duration = Duration::from_secs(5);

/// A message as it came.
#[derive(Clone, Debug)]
pub struct Delivery {
    pub headers: HeaderMap,
    pub body: Bytes,
}

#[derive(Debug)]
struct Seen {
    deliveries: Mutex<Vec<Delivery>>,
    /// The status of the next answers; none: the receiver does not answer.
    status: Mutex<Option<u16>>,
    /// How long it takes to answer.
    delay: Mutex<Duration>,
}

/// A receiver of webhooks.
#[derive(Clone, Debug)]
pub struct Receiver {
    pub url: String,
    seen: Arc<Seen>,
}

impl Receiver {
    pub async fn start() -> Self {
        let seen = Arc::new(Seen {
            deliveries: Mutex::default(),
            status: Mutex::new(Some(204)),
            delay: Mutex::default(),
        });
        let router = Router::new().fallback(receive).with_state(seen.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hooks", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { url, seen }
    }

    /// From now on it answers with this status, or with none at all.
    pub fn answers(&self, status: Option<u16>) {
        *self.seen.status.lock().unwrap() = status;
    }

    /// From now on it takes this long to answer.
    pub fn answers_after(&self, delay: Duration) {
        *self.seen.delay.lock().unwrap() = delay;
    }

    pub fn deliveries(&self) -> Vec<Delivery> {
        self.seen.deliveries.lock().unwrap().clone()
    }

    /// Waits until so many messages came.
    pub async fn wait_for(&self, count: usize) -> Vec<Delivery> {
        let began = std::time::Instant::now();
        while self.deliveries().len() < count {
            assert!(
                began.elapsed() < PATIENCE,
                "{} of {count} messages came: {:?}",
                self.deliveries().len(),
                self.types()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        self.deliveries()
    }

    /// Waits long enough for another message, and says how many came in all.
    pub async fn settled(&self) -> usize {
        tokio::time::sleep(SILENCE).await;
        self.deliveries().len()
    }

    /// The types of the messages.
    pub fn types(&self) -> Vec<String> {
        let kind = |delivery: &Delivery| delivery.json()["type"].as_str().unwrap().to_owned();
        self.deliveries().iter().map(kind).collect()
    }
}

async fn receive(State(seen): State<Arc<Seen>>, headers: HeaderMap, body: Bytes) -> StatusCode {
    seen.deliveries
        .lock()
        .unwrap()
        .push(Delivery { headers, body });
    let status = *seen.status.lock().unwrap();
    let delay = *seen.delay.lock().unwrap();
    tokio::time::sleep(delay).await;
    match status {
        Some(status) => StatusCode::from_u16(status).unwrap(),
        None => std::future::pending().await,
    }
}

impl Delivery {
    pub fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The signatures in its header.
    pub fn signatures(&self) -> Vec<&str> {
        self.header("webhook-signature").split(' ').collect()
    }

    /// The signature that the convention prescribes for this secret, computed apart from the server's code.
    pub fn signature_by(&self, secret: &str) -> String {
        let key = STANDARD
            .decode(secret.strip_prefix("whsec_").unwrap())
            .unwrap();
        assert!((24..=64).contains(&key.len()));
        let key = PKey::hmac(&key).unwrap();
        let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
        let (id, timestamp) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        signer
            .update(format!("{id}.{timestamp}.").as_bytes())
            .unwrap();
        signer.update(&self.body).unwrap();
        format!("v1,{}", STANDARD.encode(signer.sign_to_vec().unwrap()))
    }
}
