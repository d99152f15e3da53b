//! The libraries for Node.js and Python, by the scripts in `tests/clients`.

use serde_json::{Value, json};

use super::Site;
use crate::authorize::{REGISTRY, claims};
use crate::clients::keeps_time;
use crate::support::Packages;

/// What is in an access token.
fn of(tokens: &Value) -> Value {
    claims(tokens["access_token"].as_str().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openid_client_completes_the_code_flow_and_refuses_other_answers() {
    let site = Site::new().await;
    let _running = keeps_time(&site.deployed);
    let Some(seen) = site
        .run(Packages::Npm, "openid-client/authorization-code.mjs")
        .await
    else {
        return;
    };
    let url = &site.deployed.url;
    let metadata = &seen["metadata"];
    assert_eq!(
        metadata["authorization_endpoint"],
        format!("{url}/authorize")
    );
    assert_eq!(
        metadata["authorization_response_iss_parameter_supported"],
        true
    );
    for (name, client_id) in [("shop", "shop"), ("tool", "tool"), ("bound", "tool")] {
        let shown = &seen[name];
        site.knows_ada(&shown["claims"], &shown["userinfo"]).await;
        let token = of(&shown["tokens"]);
        assert_eq!(
            (&token["aud"], &token["client_id"]),
            (&json!(format!("{url}/userinfo")), &json!(client_id))
        );
    }
    let bound = &seen["bound"];
    assert_eq!(bound["tokens"]["token_type"], "dpop");
    assert_eq!(of(&bound["tokens"])["cnf"]["jkt"], bound["thumbprint"]);
    let registry = of(&seen["registry"]);
    assert_eq!(
        (&registry["aud"], &registry["scope"]),
        (&json!(REGISTRY), &json!("publish"))
    );
    assert!(seen["registry"]["id_token"].is_string());
    // The client has one method.
    assert_eq!(seen["post"], "invalid_client");

    let refused = &seen["refused"];
    for (name, code) in [
        ("otherIssuer", "OAUTH_INVALID_RESPONSE"),
        ("noIssuer", "OAUTH_INVALID_RESPONSE"),
        ("otherState", "OAUTH_INVALID_RESPONSE"),
        ("otherNonce", "OAUTH_JWT_CLAIM_COMPARISON_FAILED"),
    ] {
        assert_eq!(refused[name]["code"], code, "{name}: {}", refused[name]);
    }
    for (name, error) in [
        ("otherVerifier", "invalid_grant"),
        ("denied", "access_denied"),
        ("silent", "login_required"),
    ] {
        assert_eq!(refused[name]["error"], error, "{name}: {}", refused[name]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oauth4webapi_accepts_id_tokens_of_every_algorithm() {
    for algorithm in ["ES256", "RS256", "EdDSA"] {
        let site = Site::with(&[("CARNET_TOKENS__SIGNING_ALGORITHM", algorithm)]).await;
        let script = "oauth4webapi/authorization-code.mjs";
        let Some(seen) = site.run(Packages::Npm, script).await else {
            return;
        };
        site.knows_ada(&seen["shown"]["claims"], &seen["userinfo"])
            .await;
        assert_eq!(
            seen["server"]["id_token_signing_alg_values_supported"],
            json!([algorithm])
        );
        let token = of(&seen["registry"]["tokens"]);
        assert_eq!(seen["accepted"], token);
        assert_eq!(token["aud"], REGISTRY);
        let refused = &seen["refused"];
        for (name, code) in [
            ("otherIssuer", "OAUTH_INVALID_RESPONSE"),
            ("noIssuer", "OAUTH_INVALID_RESPONSE"),
            ("otherNonce", "OAUTH_JWT_CLAIM_COMPARISON_FAILED"),
        ] {
            assert_eq!(refused[name]["code"], code, "{name}: {}", refused[name]);
        }
        for name in ["otherVerifier", "used"] {
            assert_eq!(refused[name]["error"], "invalid_grant", "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn authlib_completes_the_code_flow_and_validates_the_id_token() {
    for algorithm in ["ES256", "RS256"] {
        let site = Site::with(&[("CARNET_TOKENS__SIGNING_ALGORITHM", algorithm)]).await;
        let script = "authlib/authorization_code.py";
        let Some(seen) = site.run(Packages::Pypi, script).await else {
            return;
        };
        for client in ["shop", "tool"] {
            let shown = &seen[client];
            site.knows_ada(&shown["claims"], &shown["userinfo"]).await;
            assert_eq!(shown["claims"]["aud"], client);
            let said = shown["other_nonce"].as_str().unwrap();
            assert!(said.contains("nonce"), "{said}");
        }
        assert_eq!(seen["other_verifier"], "invalid_grant");
        // OpenID Connect Discovery demands RS256, which a server with a key of another kind does not do.
        let said = seen["metadata"].as_str();
        assert_eq!(
            said.map(|said| said.contains("\"RS256\" MUST be included")),
            (algorithm != "RS256").then_some(true)
        );
    }
}
