//! RFC 9449, at a registry that axum serves behind the layer.

mod attacks;
mod memory;
mod nonces;
mod schemes;

use std::collections::HashMap;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Extension;
use axum::routing::put;
use carnet_dpop::{Nonces, ProofKey, SingleProcess};
use http::{HeaderMap, HeaderName, Method, Response, Uri};
use serde_json::{Value, json};

use super::support::{FakeServer, NOW, REGISTRY, client, parameters_of, serve};
use crate::verifier::now;
use crate::{
    AccessToken, DenialReason, Denied, Operation, Proofs, Realm, Rejection, RequireToken, Sent,
    Verified, Verifier,
};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");
const SECRET: [u8; 32] = [7; 32];
const PATH: &str = "/packages/widgets";
/// The public URL of [`PATH`]. The tests reach it under another one.
const URL: &str = "https://registry.test/packages/widgets";
const ALGS: &str = "RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 ES512 EdDSA";

/// A registry that takes proofs, its authorization server, and the key of a client.
struct World {
    server: FakeServer,
    url: String,
    key: ProofKey,
}

/// A response of the registry.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

fn shared() -> Proofs {
    Proofs::shared(&SECRET, Arc::new(SingleProcess::new()))
}

/// The nonces of the registry in these tests.
fn own_nonces() -> Nonces {
    Nonces::new(&SECRET, &format!("resource server {REGISTRY}")).unwrap()
}

fn registry(verifier: Verifier) -> Router {
    let realm = Realm::new("registry").taking_proofs();
    let denying = realm.clone();
    let handler = put(async |token: Extension<AccessToken>| token.0.sub)
        .post(async |token: Extension<AccessToken>| token.0.sub);
    Router::new()
        .route(PATH, handler)
        .route(
            "/packages/gadgets",
            put(async move |token: Extension<AccessToken>| deny(&denying, &token)),
        )
        .route_layer(RequireToken::new(verifier, realm))
}

fn deny(realm: &Realm, token: &AccessToken) -> Response<Body> {
    let operation = Operation {
        action: "publish",
        package: "gadgets",
        version: None,
        digest: None,
    };
    let reason = DenialReason::PackageOutOfScope;
    realm.deny(token, Denied { reason }, &operation)
}

impl World {
    async fn new(proofs: Proofs) -> Self {
        let server = FakeServer::start().await;
        let verifier = server.verifier().also_in_header(API_KEY);
        let url = serve(registry(verifier.taking_proofs(proofs).unwrap())).await;
        let key = ProofKey::generate().unwrap();
        Self { server, url, key }
    }

    /// A token that is bound as `cnf` says.
    fn token(&self, cnf: Value) -> String {
        let mut claims = self.server.claims_at(now());
        claims["cnf"] = cnf;
        self.server.sign(&claims)
    }

    /// A token that is bound to the client's key.
    fn bound(&self) -> String {
        self.token(json!({ "jkt": self.key.thumbprint() }))
    }

    fn unbound(&self) -> String {
        self.server.sign(&self.server.claims_at(now()))
    }

    fn proof(&self, token: &str) -> String {
        self.proof_for("PUT", URL, Some(token))
    }

    fn proof_for(&self, method: &str, url: &str, token: Option<&str>) -> String {
        self.key.prove((method, url), token, None, now()).unwrap()
    }

    /// A proof with a nonce that was made at `at`.
    fn proof_with(&self, token: &str, nonce: &str, at: i64) -> String {
        let proof = self.key.prove(("PUT", URL), Some(token), Some(nonce), at);
        proof.unwrap()
    }

    /// Uploads with these headers. A header may occur several times.
    async fn put(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = client().put(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, value.as_bytes());
        }
        Answer::of(request.send().await.unwrap()).await
    }

    /// Uploads with a token under the DPoP scheme and a proof.
    async fn present(&self, token: &str, proof: &str) -> Answer {
        let authorization = format!("DPoP {token}");
        let headers = [("authorization", authorization.as_str()), ("dpop", proof)];
        self.put(PATH, &headers).await
    }
}

impl Answer {
    async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.text().await.unwrap();
        Self {
            status,
            headers,
            body: serde_json::from_str(&body).unwrap_or(json!(body)),
        }
    }

    /// The parameters of the challenges for Bearer and for DPoP.
    fn challenges(&self) -> [HashMap<String, String>; 2] {
        let values = self.headers.get_all("www-authenticate").iter();
        let values: Vec<&str> = values.map(|value| value.to_str().unwrap()).collect();
        let [bearer, dpop] = values.as_slice() else {
            panic!("{values:?}")
        };
        let read = [parameters_of("Bearer", bearer), parameters_of("DPoP", dpop)];
        assert_eq!(
            (read[0].get("algs"), read[1]["algs"].as_str()),
            (None, ALGS)
        );
        for challenge in &read {
            assert_eq!(challenge["realm"], "registry");
        }
        read
    }

    /// Asserts a refusal with this status and with these errors in the two challenges.
    fn is(&self, status: u16, errors: [Option<&str>; 2]) {
        assert_eq!(self.status, status, "{self:?}");
        let told = self.challenges();
        let told = told.each_ref().map(|parameters| {
            let error = parameters.get("error").map(String::as_str);
            assert_eq!(
                error.is_some(),
                parameters.contains_key("error_description")
            );
            error
        });
        assert_eq!(told, errors, "{self:?}");
        assert_eq!(self.body["error"].as_str(), errors[0].or(errors[1]));
    }

    fn is_of_proof(&self) {
        self.is(401, [None, Some("invalid_dpop_proof")]);
    }

    /// The `error_description` in the challenge for DPoP.
    fn why(&self) -> String {
        self.challenges()[1]["error_description"].clone()
    }
}

/// A request to [`PATH`] with these headers.
fn headers(token: &str, proof: &str) -> HeaderMap {
    let authorization = format!("DPoP {token}").try_into().unwrap();
    let proof = proof.try_into().unwrap();
    HeaderMap::from_iter([
        (http::header::AUTHORIZATION, authorization),
        (HeaderName::from_static("dpop"), proof),
    ])
}

async fn verified(verifier: &Verifier, headers: &HeaderMap) -> Result<Verified, Rejection> {
    let uri = Uri::from_static(PATH);
    let sent = Sent::new(&Method::PUT, &uri, headers);
    verifier.verify_request_at(sent, NOW).await
}
