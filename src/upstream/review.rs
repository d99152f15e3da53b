//! Asks a Kubernetes cluster about one of its tokens: the `TokenReview` API
//! (`authentication.k8s.io/v1`).
//!
//! A signature proves that a token was valid when it was issued. The cluster also knows whether the
//! pod still exists.

use std::sync::Arc;
use std::time::Duration;

use carnet_jose::json::{self, Limits};
use moka::future::Cache;
use serde_json::{Map, Value, json};
use tokio::sync::Semaphore;
use url::Url;

use super::discovery::KeySetError;
use super::egress::Egress;
use super::fetch::{Fetch, Question};
use super::files::KeyFiles;
use crate::clock::Timestamp;
use crate::ids::TrustedIssuerId;
use crate::model::{KeySource, TrustedIssuer};
use crate::reason::Reason;
use crate::refusal::Refusal;

const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// Seconds after which a caller may try again if its token could not be reviewed.
const RETRY_AFTER: u32 = 5;
/// Reviews of one trusted issuer that may run at once. An unauthenticated caller can cause a review
/// with any token, so the number has to be bounded here.
const MOST_AT_ONCE: usize = 8;
/// How long a review waits for its turn before it is refused.
const TURN: Duration = Duration::from_secs(1);
/// How long a denial is remembered, in seconds. Short, because a token that the cluster does not
/// know yet may be valid soon after.
const DENIED_FOR: i64 = 10;
const MOST_DENIED: u64 = 10_000;
/// How much of an API server's error message is kept, in characters.
const MOST_SAID: usize = 300;

/// What it takes to send a question to an API server.
#[derive(Clone, Copy)]
pub(super) struct Asking<'a> {
    pub fetch: &'a dyn Fetch,
    /// Reads the bearer token and the certificate authority.
    pub files: &'a KeyFiles,
}

/// What a review has to confirm.
pub(super) struct Claim<'a> {
    pub token: &'a str,
    pub subject: &'a str,
    /// The audience of the token for which this server accepts it.
    pub audience: &'a str,
}

/// Bounds the reviews that run at once, and remembers the tokens that a cluster has just denied.
#[derive(Clone, Debug)]
pub(super) struct Reviews {
    turns: Cache<TrustedIssuerId, Arc<Semaphore>>,
    /// Until when a token counts as denied, by the hash of issuer, version and token.
    denied: Cache<[u8; 32], Timestamp>,
}

impl Reviews {
    /// For at most this many trusted issuers.
    pub fn new(most_issuers: u64) -> Self {
        Self {
            turns: Cache::new(most_issuers),
            denied: Cache::new(MOST_DENIED),
        }
    }

    /// Asks the cluster about a token, unless it denied the same token in the last 10 seconds.
    pub async fn review(
        &self,
        asking: Asking<'_>,
        issuer: &TrustedIssuer,
        egress: Egress,
        claim: Claim<'_>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let token = format!("{}\n{}\n{}", issuer.id, issuer.version, claim.token);
        let token = carnet_jose::sha256(token.as_bytes());
        self.not_denied(&token, now).await?;
        let turns = self
            .turns
            .get_with(issuer.id, async { Arc::new(Semaphore::new(MOST_AT_ONCE)) })
            .await;
        let Ok(Ok(_turn)) = tokio::time::timeout(TURN, turns.acquire()).await else {
            return Err(unavailable("too many reviews are under way"));
        };
        // The same token may have been denied for another request while this one waited.
        self.not_denied(&token, now).await?;
        let outcome = ask(asking, issuer, egress, &claim)
            .await
            .map_err(|error| unavailable(&error.to_string()));
        let outcome = outcome.and_then(|status| judge(&status, &claim));
        if outcome
            .as_ref()
            .is_err_and(|refusal| refusal.reason == Reason::ReviewDenied)
        {
            self.denied
                .insert(token, now.plus_seconds(DENIED_FOR))
                .await;
        }
        outcome
    }

    async fn not_denied(&self, token: &[u8; 32], now: Timestamp) -> Result<(), Refusal> {
        match self.denied.get(token).await {
            Some(until) if now < until => Err(denied("the cluster denied it a moment ago")),
            _ => Ok(()),
        }
    }
}

fn unavailable(why: &str) -> Refusal {
    Refusal::later(Reason::UpstreamUnavailable, RETRY_AFTER)
        .with_detail(format!("TokenReview: {why}"))
}

fn denied(why: impl Into<String>) -> Refusal {
    Refusal::new(Reason::ReviewDenied).with_detail(why)
}

/// Checks that the cluster answers reviews at all, with a text that is not a token.
pub(super) async fn probe(
    asking: Asking<'_>,
    issuer: &TrustedIssuer,
    egress: Egress,
) -> Result<(), KeySetError> {
    let audience = issuer
        .audiences
        .first()
        .map(String::as_str)
        .unwrap_or_default();
    ask(
        asking,
        issuer,
        egress,
        &Claim {
            token: "none",
            subject: "",
            audience,
        },
    )
    .await
    .map(|_| ())
}

/// Sends a review and returns the `status` of the answer.
async fn ask(
    asking: Asking<'_>,
    issuer: &TrustedIssuer,
    mut egress: Egress,
    claim: &Claim<'_>,
) -> Result<Map<String, Value>, KeySetError> {
    let unusable = |why: String| KeySetError::Unusable {
        url: issuer.name.clone(),
        why,
    };
    let KeySource::TokenReview {
        api_server,
        ca_file,
        token_file,
    } = &issuer.keys
    else {
        return Err(unusable("no API server is set".to_owned()));
    };
    let mut url = Url::parse(api_server).map_err(|error| unusable(error.to_string()))?;
    url.set_path(&format!("{}{PATH}", url.path().trim_end_matches('/')));
    if let Some(path) = ca_file {
        egress.ca_pem = Some(asking.files.text(path).await?);
    }
    // The file is read each time: the kubelet replaces it long before the token in it ends.
    let credential = asking.files.secret(token_file).await?;
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": { "token": claim.token, "audiences": [claim.audience] },
    });
    let answer = asking
        .fetch
        .ask(
            &url,
            &egress,
            &Question { credential, body },
            MAX_ANSWER_BYTES,
        )
        .await?;
    if !matches!(answer.status, 200 | 201) {
        return Err(unusable(format!(
            "the API server answered {}",
            answer.status
        )));
    }
    let answer = json::object(&answer.body, Limits::DOCUMENT)
        .map_err(|error| unusable(error.to_string()))?;
    match answer.get("status") {
        Some(Value::Object(status)) => Ok(status.clone()),
        _ => Err(unusable("the answer has no status".to_owned())),
    }
}

/// Accepts a token only if it is authenticated for this server's audience and as the claimed
/// subject. An answer without audiences is for the audience of the API server, which is not this
/// server.
///
/// An API server sets `error` whenever it does not authenticate a token, whether the text is no
/// token or its pod is gone: that is a denial. An `error` beside `authenticated: true` is
/// contradictory, and counts as an API server that is unavailable.
fn judge(status: &Map<String, Value>, claim: &Claim<'_>) -> Result<(), Refusal> {
    let said: String = status
        .get("error")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .chars()
        .take(MOST_SAID)
        .collect();
    if status.get("authenticated") != Some(&Value::Bool(true)) {
        return Err(denied(
            format!("the token is not authenticated: {said}").trim_end_matches(": "),
        ));
    }
    if !said.is_empty() {
        return Err(unavailable(&said));
    }
    let audiences = status.get("audiences").and_then(Value::as_array);
    if !audiences
        .is_some_and(|audiences| audiences.iter().any(|audience| audience == claim.audience))
    {
        return Err(denied("the answer is for another audience"));
    }
    let user = status
        .get("user")
        .and_then(|user| user.get("username"))
        .and_then(Value::as_str);
    if user == Some(claim.subject) {
        Ok(())
    } else {
        Err(denied("the answer is about another user"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k8s_tr_2__a_token_review_counts_only_if_authenticated_for_our_audience_and_subject() {
        let claim = Claim {
            token: "t",
            subject: "system:serviceaccount:a:b",
            audience: "https://as.test",
        };
        let good = json!({
            "authenticated": true, "audiences": ["https://as.test"], "user": { "username": "system:serviceaccount:a:b" },
        });
        let judged = |changes: Value| {
            let mut status = good.as_object().unwrap().clone();
            status.extend(changes.as_object().unwrap().clone());
            judge(&status, &claim).map_err(|refusal| refusal.reason)
        };
        assert_eq!(judged(json!({})), Ok(()));
        assert_eq!(judged(json!({ "error": "" })), Ok(()));
        assert_eq!(
            judged(json!({ "error": "lookup failed" })),
            Err(Reason::UpstreamUnavailable)
        );
        for no in [
            json!({ "authenticated": false }),
            json!({ "authenticated": null }),
            json!({ "authenticated": "true" }),
            json!({ "authenticated": false, "error": "invalid bearer token" }),
            json!({ "authenticated": null, "error": "[invalid bearer token, the pod is gone]" }),
            json!({ "audiences": [] }),
            json!({ "audiences": null }),
            json!({ "audiences": ["https://kubernetes.default.svc"] }),
            json!({ "audiences": "https://as.test" }),
            json!({ "user": { "username": "system:serviceaccount:a:c" } }),
            json!({ "user": {} }),
        ] {
            assert_eq!(judged(no.clone()), Err(Reason::ReviewDenied), "{no}");
        }
    }
}
