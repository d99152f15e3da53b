//! Asks a cluster about a token of its own: the `TokenReview` API (`authentication.k8s.io/v1`).
//!
//! A signature says that a token was good when it was made. The cluster knows whether the pod is still there.

use carnet_jose::json::{self, Limits};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use url::Url;

use super::discovery::{KeysError, read_file};
use super::egress::{Egress, Fetch, Question};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::trust::{KeySource, TrustedIssuer};

const PATH: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const MAX_ANSWER_BYTES: usize = 256 * 1024;
/// After this many seconds a caller may try again whose token could not be reviewed.
const RETRY_AFTER: u32 = 5;

/// What a review has to confirm.
pub(super) struct Claim<'a> {
    /// The token.
    pub token: &'a str,
    /// Its subject.
    pub subject: &'a str,
    /// The audience by which it is accepted here.
    pub audience: &'a str,
}

/// Asks about a token.
pub(super) async fn review(
    fetch: &dyn Fetch,
    issuer: &TrustedIssuer,
    egress: Egress,
    claim: Claim<'_>,
) -> Result<(), Refusal> {
    let unavailable = |why: String| {
        Refusal::later(Reason::UpstreamUnavailable, RETRY_AFTER).with_detail(format!("TokenReview: {why}"))
    };
    let status = ask(fetch, issuer, egress, &claim).await.map_err(|error| unavailable(error.to_string()))?;
    if let Some(error) = status.get("error").and_then(Value::as_str).filter(|error| !error.is_empty()) {
        return Err(unavailable(error.to_owned()));
    }
    judge(&status, &claim).map_err(|why| Refusal::new(Reason::ReviewDenied).with_detail(why))
}

/// Whether the cluster answers such questions at all: asked about a text that is no token of anybody.
pub(super) async fn probe(fetch: &dyn Fetch, issuer: &TrustedIssuer, egress: Egress) -> Result<(), KeysError> {
    let audience = issuer.audiences.first().map(String::as_str).unwrap_or_default();
    ask(fetch, issuer, egress, &Claim { token: "none", subject: "", audience }).await.map(|_| ())
}

/// The `status` of the answer.
async fn ask(
    fetch: &dyn Fetch,
    issuer: &TrustedIssuer,
    mut egress: Egress,
    claim: &Claim<'_>,
) -> Result<Map<String, Value>, KeysError> {
    let unusable = |why: String| KeysError::Unusable { url: issuer.name.clone(), why };
    let KeySource::TokenReview { api_server, ca_file, token_file } = &issuer.keys else {
        return Err(unusable("no API server is set".to_owned()));
    };
    let mut url = Url::parse(api_server).map_err(|error| unusable(error.to_string()))?;
    url.set_path(&format!("{}{PATH}", url.path().trim_end_matches('/')));
    if let Some(path) = ca_file {
        egress.ca_pem = Some(text(path).await?);
    }
    // The file is read each time: the kubelet replaces it long before the token in it ends.
    let credential = SecretString::from(text(token_file).await?.trim().to_owned());
    let body = json!({
        "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
        "spec": { "token": claim.token, "audiences": [claim.audience] },
    });
    let answer = fetch.ask(&url, &egress, &Question { credential, body }, MAX_ANSWER_BYTES).await?;
    if !matches!(answer.status, 200 | 201) {
        return Err(unusable(format!("the API server answered {}", answer.status)));
    }
    let answer = json::object(&answer.body, Limits::DOCUMENT).map_err(|error| unusable(error.to_string()))?;
    match answer.get("status") {
        Some(Value::Object(status)) => Ok(status.clone()),
        _ => Err(unusable("the answer has no status".to_owned())),
    }
}

async fn text(path: &str) -> Result<String, KeysError> {
    let unusable = |why: &str| KeysError::Unusable { url: path.to_owned(), why: why.to_owned() };
    String::from_utf8(read_file(path).await?).map_err(|_| unusable("it is no text"))
}

/// Only a clear yes for our own audience counts. An answer without audiences is about the API server, which is not us.
fn judge(status: &Map<String, Value>, claim: &Claim<'_>) -> Result<(), &'static str> {
    if status.get("authenticated") != Some(&Value::Bool(true)) {
        return Err("the token is not authenticated");
    }
    let audiences = status.get("audiences").and_then(Value::as_array);
    if !audiences.is_some_and(|audiences| audiences.iter().any(|audience| audience == claim.audience)) {
        return Err("the answer is for another audience");
    }
    let user = status.get("user").and_then(|user| user.get("username")).and_then(Value::as_str);
    if user == Some(claim.subject) { Ok(()) } else { Err("the answer is about another user") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn k8s_tr_2__only_a_yes_for_our_own_audience_counts() {
        let claim = Claim { token: "t", subject: "system:serviceaccount:a:b", audience: "https://as.test" };
        let good = json!({
            "authenticated": true, "audiences": ["https://as.test"], "user": { "username": "system:serviceaccount:a:b" },
        });
        let judged = |changes: Value| {
            let mut status = good.as_object().unwrap().clone();
            status.extend(changes.as_object().unwrap().clone());
            judge(&status, &claim).is_ok()
        };
        assert!(judged(json!({})));
        for no in [
            json!({ "authenticated": false }),
            json!({ "authenticated": null }),
            json!({ "authenticated": "true" }),
            json!({ "audiences": [] }),
            json!({ "audiences": null }),
            json!({ "audiences": ["https://kubernetes.default.svc"] }),
            json!({ "audiences": "https://as.test" }),
            json!({ "user": { "username": "system:serviceaccount:a:c" } }),
            json!({ "user": {} }),
        ] {
            assert!(!judged(no.clone()), "{no}");
        }
    }
}
