//! Clients that others wrote, unmodified, against real sockets.

use std::path::Path;
use std::process::Command;

use carnet::http::serve_on;
use openidconnect::core::{CoreJsonWebKeySet, CoreJwsSigningAlgorithm};
use openidconnect::{JsonWebKey as _, JsonWebKeyId};
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::assertion::payload;
use crate::support::{World, may_skip};

#[tokio::test]
async fn rfc8414_3_3_1__openidconnect_verifies_our_tokens_with_our_keys() {
    for algorithm in [
        CoreJwsSigningAlgorithm::EcdsaP256Sha256,
        CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
        CoreJwsSigningAlgorithm::EdDsa,
    ] {
        let name = json!(algorithm).as_str().unwrap().to_owned();
        let world = World::with(&[("CARNET_TOKENS__SIGNING_ALGORITHM", &name)]).await;
        let keys: CoreJsonWebKeySet = serde_json::from_slice(&world.server.get("/jwks").await.body).unwrap();
        let token = world.exchange(&world.good()).await.token();
        let [header, claims, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
        let kid: Value = serde_json::from_slice(&carnet_jose::from_base64url(header).unwrap()).unwrap();
        let kid = JsonWebKeyId::new(kid["kid"].as_str().unwrap().to_owned());
        let key = keys.keys().iter().find(|key| key.key_id() == Some(&kid)).unwrap();
        let signature = carnet_jose::from_base64url(signature).unwrap();
        let input = format!("{header}.{claims}");
        key.verify_signature(&algorithm, input.as_bytes(), &signature).unwrap();
        let other = format!("{header}x.{claims}");
        assert!(key.verify_signature(&algorithm, other.as_bytes(), &signature).is_err());
    }
}

/// Runs `npm ci` once a test process; false where there is no Node.js and that is allowed.
fn openid_client_is_installed(folder: &Path) -> bool {
    let npm =
        Command::new("npm").args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(folder).output();
    match npm {
        Ok(output) if output.status.success() => true,
        Ok(output) => !may_skip(&format!("openid-client ({})", String::from_utf8_lossy(&output.stderr))),
        Err(error) => !may_skip(&format!("npm ({error})")),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc7523_2_1_2__openid_client_completes_the_grant_with_and_without_a_client() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/openid-client");
    if !openid_client_is_installed(&folder) {
        return;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let url = format!("http://{address}");
    let world = World::with(&[("CARNET_ISSUER", &url), ("CARNET_SERVER__LISTEN", &address)]).await;
    let _serving = serve_on(world.server.router.clone(), listener);
    world.server.put("clients/ci-bot", json!({ "auth_method": "none" })).await;
    for client_id in ["ci-bot", ""] {
        let assertion = world.gh.sign(&world.claims().with("aud", url.clone()));
        let output =
            Command::new("node").arg(folder.join("grant.mjs")).args([&url, &assertion, client_id]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(seen["issuer"], url);
        assert_eq!((&seen["answer"]["scope"], &seen["answer"]["expires_in"]), (&json!("publish"), &json!(900)));
        let claims = payload(seen["answer"]["access_token"].as_str().unwrap());
        let anonymous = claims["client_id"].as_str().unwrap().starts_with("federated:fc_");
        assert_eq!(
            (anonymous, claims["client_id"] == "ci-bot"),
            (client_id.is_empty(), !client_id.is_empty()),
            "{claims}"
        );
        assert_eq!(
            (&seen["refusal"]["error"], &seen["refusal"]["name"]),
            (&json!("invalid_grant"), &json!("ResponseBodyError")),
            "{seen}"
        );
        assert_eq!(seen["refusal"]["reason"], "replay");
    }
}
