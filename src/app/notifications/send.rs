//! Signing and sending one message, by the Standard Webhooks convention
//! (<https://www.standardwebhooks.com>).

use std::time::Duration;

use carnet_jose::{base64, hmac_sha256};
use serde_json::json;
use tokio::time::Instant;
use url::Url;
use uuid::Uuid;

use crate::app::App;
use crate::clock::Timestamp;
use crate::documents::{NotificationDocument, SealedSecret};
use crate::ids;
use crate::keys::webhook_secret;
use crate::store::{StoreError, StoredNotification};
use crate::upstream::{Egress, FetchError, Message};

/// Longest error that is kept of a failed attempt, in characters.
const MAX_ERROR: usize = 300;

/// What the owner reads of a name that leads nowhere, or to private addresses only.
const NO_ADDRESS: &str = "the name leads to no public address";
/// How long such an attempt takes at least: the answer of a resolver comes sooner for names that
/// exist.
const NO_ADDRESS_AFTER: Duration = Duration::from_secs(2);

/// The result of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tried {
    /// The status of the receiver's answer, if there was one.
    pub status: Option<u16>,
    /// Why the message does not count as delivered; `None` if it does.
    pub error: Option<String>,
}

impl Tried {
    pub fn is_delivered(&self) -> bool {
        self.error.is_none()
    }

    fn failed(error: impl Into<String>) -> Self {
        Self {
            status: None,
            error: Some(error.into()),
        }
    }
}

/// The URL of a webhook and its egress rules. Errors if these rules do not allow the URL.
pub fn egress(app: &App, document: &NotificationDocument) -> Result<(Url, Egress), String> {
    let url = Url::parse(&document.url).map_err(|error| error.to_string())?;
    let egress = Egress {
        ca_pem: document.ca_pem.clone(),
        allow_private: document.allow_private.clone(),
        allow_http_loopback: app.config.allow_http_loopback,
    };
    match egress.check(&url) {
        Ok(()) => Ok((url, egress)),
        Err(error) => Err(shown(error)),
    }
}

/// Sends a test message at once, without the queue, and notes how it went.
pub async fn try_now(app: &App, stored: &StoredNotification) -> Result<Tried, StoreError> {
    let now = app.clock.now();
    let body = json!({
        "type": "carnet.test",
        "timestamp": now.to_string(),
        "data": { "notification": { "id": stored.id, "name": stored.name }, "principal": stored.document.principal },
    });
    let tried = send(app, stored, ids::new(now), &body.to_string()).await;
    let Ok(id) = stored.id.parse() else {
        return Ok(tried);
    };
    match &tried.error {
        None => app.store.note_delivered(id, None, now).await?,
        // A test neither puts off a message nor ends the pause after a failed one.
        Some(error) => app.store.note_test_failed(id, error, now).await?,
    }
    Ok(tried)
}

/// Sends a message once. It is delivered if the receiver answers with a status from 200 to 299.
pub(super) async fn send(app: &App, stored: &StoredNotification, id: Uuid, body: &str) -> Tried {
    let (url, egress) = match egress(app, &stored.document) {
        Ok(allowed) => allowed,
        Err(error) => return Tried::failed(error),
    };
    let now = app.clock.now();
    let Some(message) = signed(app, stored, id, body, now) else {
        return Tried::failed("its secret cannot be read with this server's encryption key");
    };
    let began = Instant::now();
    let error = match app.fetch.post(&url, &egress, &message).await {
        Ok(status @ 200..=299) => {
            return Tried {
                status: Some(status),
                error: None,
            };
        }
        Ok(status) => {
            return Tried {
                status: Some(status),
                error: Some(format!("the receiver answered {status}")),
            };
        }
        Err(error) => shown(error),
    };
    if error == NO_ADDRESS {
        tokio::time::sleep(NO_ADDRESS_AFTER.saturating_sub(began.elapsed())).await;
    }
    Tried::failed(error)
}

/// The message with its header fields: one signature for each live secret, the newest first. `None`
/// if no secret can be read.
fn signed(
    app: &App,
    stored: &StoredNotification,
    id: Uuid,
    body: &str,
    now: Timestamp,
) -> Option<Message> {
    let id = format!("msg_{}", ids::base32(id));
    let seconds = now.seconds().to_string();
    let content = format!("{id}.{seconds}.{body}");
    let signature = |secret: &SealedSecret| {
        let key = app
            .keys
            .open_sealed(&secret.sealed, webhook_secret(&stored.name));
        let code = hmac_sha256(&key.ok()?, content.as_bytes()).ok()?;
        Some(format!("v1,{}", base64(code)))
    };
    let live = stored.state.secrets.iter().rev();
    let signatures: Vec<String> = live
        .filter(|secret| secret.is_live(now))
        .filter_map(signature)
        .collect();
    (!signatures.is_empty()).then(|| Message {
        headers: vec![
            ("webhook-id", id),
            ("webhook-timestamp", seconds),
            ("webhook-signature", signatures.join(" ")),
        ],
        body: body.to_owned(),
    })
}

/// The text of an error for the webhook's owner. Whether a name exists in the operator's network is
/// none of the owner's business, so names that lead nowhere and those that lead to private
/// addresses read alike.
fn shown(error: FetchError) -> String {
    let text = match error {
        FetchError::Refused(_, why) => format!("the URL is not allowed: {why}"),
        FetchError::Failed(_, why)
            if why.contains("no public address") || why.contains("dns error") =>
        {
            NO_ADDRESS.to_owned()
        }
        FetchError::Failed(_, why) => format!("the receiver could not be reached: {why}"),
        FetchError::TooLarge(_, limit) => format!("the answer is larger than {limit} bytes"),
    };
    text.chars().take(MAX_ERROR).collect()
}
