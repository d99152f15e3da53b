//! Clients that others wrote, unmodified, against a server behind TLS: see `docs/src/reference/clients-tested.md`.

use std::time::Duration;

use carnet::clock::Clock as _;
use openidconnect::core::{CoreJsonWebKeySet, CoreJwsSigningAlgorithm, CoreProviderMetadata};
use openidconnect::{DiscoveryError, IssuerUrl, JsonWebKey as _, JsonWebKeyId, JsonWebKeySetUrl};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::assertion::payload;
use crate::support::{
    Deployed, JWT_BEARER, Packages, R1, R2, TestClient, TestKey, World, machine_time,
};

impl Deployed {
    /// Registers a client that may publish at both registries, and gives its secret if it has one.
    async fn bot(&self, name: &str, method: &str, members: Value) -> Value {
        let mut document = json!({ "auth_method": method });
        if method != "federated" {
            let permission = |server: &str| json!({ "resource_server": server, "actions": ["publish"], "packages": ["widgets"], "owner": "joel" });
            document["permissions"] = json!([permission("pypi"), permission("crates")]);
        }
        document
            .as_object_mut()
            .unwrap()
            .append(&mut members.as_object().unwrap().clone());
        self.world
            .server
            .put(&format!("clients/{name}"), document)
            .await["client_secret"]
            .clone()
    }

    /// Registers the client that the registry `pypi` is.
    async fn registry(&self) -> Value {
        let document = json!({ "auth_method": "client_secret_basic", "resource_server": "pypi" });
        let saved = self
            .world
            .server
            .put("clients/pypi-registry", document)
            .await;
        json!({ "clientId": "pypi-registry", "secret": saved["client_secret"] })
    }

    /// A token of the workload.
    async fn token(&self) -> String {
        self.world.exchange(&self.good()).await.token()
    }

    /// A rule that lets the workload publish at the other registry too, so that a request has to name its target.
    async fn second_target(&self) {
        let mut rule = World::rule_document(json!({}));
        rule["permissions"] = json!([{ "resource_server": "crates", "actions": ["publish"], "packages": ["widgets"] }]);
        self.world
            .server
            .put("federated-credentials/octo-crates", rule)
            .await;
    }

    /// What a registry may be sent: a good token, and what it has to refuse.
    pub(super) async fn tokens(&self) -> Value {
        let good = self.token().await;
        let secret = self.bot("both", "client_secret_post", json!({})).await;
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", "both"),
            ("client_secret", secret.as_str().unwrap()),
            ("resource", R2),
        ];
        let elsewhere = self.world.server.form("/token", &form).await.token();
        let (start, signature) = good.rsplit_once('.').unwrap();
        let reversed: String = signature.chars().rev().collect();
        json!({ "good": good, "elsewhere": elsewhere, "forged": format!("{start}.{reversed}"), "platforms": self.good() })
    }
}

fn pem(key: &TestKey) -> String {
    String::from_utf8(key.key.private_key_to_pem_pkcs8().unwrap()).unwrap()
}

/// Checks an answer of introspection about a token.
#[track_caller]
fn describes(answer: &Value, token: &str) {
    let claims = payload(token);
    assert_eq!(
        (&answer["active"], &answer["token_type"]),
        (&json!(true), &json!("Bearer")),
        "{answer}"
    );
    for member in [
        "iss",
        "aud",
        "sub",
        "client_id",
        "jti",
        "iat",
        "exp",
        "scope",
        "authorization_details",
    ] {
        assert_eq!(answer[member], claims[member], "{member}");
    }
}

const INACTIVE: &str = r#"{"active":false}"#;

#[tokio::test]
async fn rfc8414_3_3_1__openidconnect_verifies_our_tokens_with_our_keys() {
    for algorithm in [
        CoreJwsSigningAlgorithm::EcdsaP256Sha256,
        CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
        CoreJwsSigningAlgorithm::EdDsa,
    ] {
        let name = json!(algorithm).as_str().unwrap().to_owned();
        let deployed = Deployed::with(&[("CARNET_TOKENS__SIGNING_ALGORITHM", &name)]).await;
        let url = JsonWebKeySetUrl::new(format!("{}/jwks", deployed.url)).unwrap();
        let keys = CoreJsonWebKeySet::fetch_async(&url, &deployed.http())
            .await
            .unwrap();
        let token = deployed.token().await;
        let [header, claims, signature] = token.split('.').collect::<Vec<_>>().try_into().unwrap();
        let kid: Value =
            serde_json::from_slice(&carnet_jose::from_base64url(header).unwrap()).unwrap();
        let kid = JsonWebKeyId::new(kid["kid"].as_str().unwrap().to_owned());
        let key = keys
            .keys()
            .iter()
            .find(|key| key.key_id() == Some(&kid))
            .unwrap();
        let signature = carnet_jose::from_base64url(signature).unwrap();
        let input = format!("{header}.{claims}");
        key.verify_signature(&algorithm, input.as_bytes(), &signature)
            .unwrap();
        let other = format!("{header}x.{claims}");
        assert!(
            key.verify_signature(&algorithm, other.as_bytes(), &signature)
                .is_err()
        );
        // It finds the document, and wants an authorization endpoint in it: there is none.
        let issuer = IssuerUrl::new(deployed.url.clone()).unwrap();
        let found = CoreProviderMetadata::discover_async(issuer, &deployed.http()).await;
        assert!(matches!(found, Err(DiscoveryError::Parse(_))), "{found:?}");
    }
}

#[tokio::test]
async fn rfc8414_2_10__the_oauth2_crate_introspects_and_revokes() {
    use oauth2::basic::BasicClient;
    use oauth2::{
        AuthType, ClientId, ClientSecret, IntrospectionUrl, RevocationUrl, Scope,
        StandardRevocableToken, TokenIntrospectionResponse as _, TokenResponse as _, TokenUrl,
    };
    let deployed = Deployed::new().await;
    let (http, url) = (deployed.http(), &deployed.url);
    let methods = [
        ("client_secret_basic", AuthType::BasicAuth),
        ("client_secret_post", AuthType::RequestBody),
    ];
    for (name, auth_type) in methods {
        let secret = deployed
            .bot(name, name, json!({}))
            .await
            .as_str()
            .unwrap()
            .to_owned();
        let client = BasicClient::new(ClientId::new(name.to_owned()))
            .set_client_secret(ClientSecret::new(secret))
            .set_auth_type(auth_type)
            .set_token_uri(TokenUrl::new(format!("{url}/token")).unwrap())
            .set_introspection_url(IntrospectionUrl::new(format!("{url}/introspect")).unwrap())
            .set_revocation_url(RevocationUrl::new(format!("{url}/revoke")).unwrap());
        let scope = Scope::new("publish".to_owned());
        let request = client
            .exchange_client_credentials()
            .add_scope(scope.clone())
            .add_extra_param("resource", R1);
        let answer = request.request_async(&http).await.unwrap();
        assert_eq!(
            (answer.expires_in().unwrap().as_secs(), answer.scopes()),
            (900, Some(&vec![scope]))
        );
        let token = answer.access_token();
        assert_eq!(payload(token.secret())["sub"], name);

        let before = client.introspect(token).request_async(&http).await.unwrap();
        assert_eq!(
            (before.active(), before.aud()),
            (true, Some(&vec![R1.to_owned()]))
        );
        let revocable = StandardRevocableToken::AccessToken(token.clone());
        client
            .revoke_token(revocable)
            .unwrap()
            .request_async(&http)
            .await
            .unwrap();
        assert!(
            !client
                .introspect(token)
                .request_async(&http)
                .await
                .unwrap()
                .active()
        );

        let wrong = client.set_client_secret(ClientSecret::new("wrong".to_owned()));
        let Err(oauth2::RequestTokenError::ServerResponse(refusal)) = wrong
            .exchange_client_credentials()
            .request_async(&http)
            .await
        else {
            panic!("a wrong secret is refused");
        };
        assert_eq!(refusal.error().to_string(), "invalid_client");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc7523_2_1_2__openid_client_completes_the_grant_with_and_without_a_client() {
    let deployed = Deployed::new().await;
    deployed
        .world
        .server
        .put("clients/ci-bot", json!({ "auth_method": "none" }))
        .await;
    for client_id in [json!("ci-bot"), Value::Null] {
        let input =
            json!({ "issuer": deployed.url, "clientId": client_id, "assertion": deployed.good() });
        let Some(seen) = deployed.run(Packages::Npm, "openid-client/jwt-bearer.mjs", &input) else {
            return;
        };
        assert_eq!(seen["metadata"]["issuer"], deployed.url);
        assert!(
            seen["metadata"]["grant_types_supported"]
                .as_array()
                .unwrap()
                .contains(&json!(JWT_BEARER))
        );
        let answer = &seen["answer"];
        assert_eq!(
            (&answer["scope"], &answer["expires_in"]),
            (&json!("publish"), &json!(900))
        );
        let claims = payload(answer["access_token"].as_str().unwrap());
        let anonymous = claims["client_id"]
            .as_str()
            .unwrap()
            .starts_with("federated:fc_");
        assert_eq!(
            (anonymous, claims["client_id"] == "ci-bot"),
            (client_id.is_null(), !client_id.is_null()),
            "{claims}"
        );
        let refusal =
            json!({ "name": "ResponseBodyError", "error": "invalid_grant", "reason": "replay" });
        assert_eq!(seen["refusal"], refusal);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc8693_2_1_1__openid_client_exchanges_tokens() {
    let deployed = Deployed::new().await;
    deployed.second_target().await;
    let input = json!({ "issuer": deployed.url, "assertion": deployed.good(), "audience": "pypi" });
    let Some(seen) = deployed.run(Packages::Npm, "openid-client/token-exchange.mjs", &input) else {
        return;
    };
    for (answer, scope) in [("first", "create publish"), ("second", "publish")] {
        let answer = &seen[answer];
        assert_eq!(
            (&answer["scope"], &answer["token_type"]),
            (&json!(scope), &json!("bearer"))
        );
        assert_eq!(answer["issued_token_type"], crate::support::ACCESS_TOKEN);
        let claims = payload(answer["access_token"].as_str().unwrap());
        assert_eq!(
            (&claims["aud"], &claims["scope"], &claims["sub"]),
            (&json!(R1), &json!(scope), &json!("pr_joel"))
        );
    }
    let refusal =
        json!({ "name": "ResponseBodyError", "error": "invalid_request", "reason": "replay" });
    assert_eq!(seen["refusal"], refusal);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc8414_2_7__openid_client_authenticates_by_every_listed_method() {
    let deployed = Deployed::new().await;
    let key = TestKey::ec("bot-1", "ES256");
    let basic = deployed
        .bot("client_secret_basic", "client_secret_basic", json!({}))
        .await;
    let post = deployed
        .bot("client_secret_post", "client_secret_post", json!({}))
        .await;
    deployed
        .bot(
            "private_key_jwt",
            "private_key_jwt",
            json!({ "jwks": { "keys": [key.jwk()] } }),
        )
        .await;
    deployed
        .bot(
            "federated",
            "federated",
            json!({ "federated_credentials": ["octo-release"] }),
        )
        .await;
    let (assertion, stranger) = (deployed.good(), TestKey::ec("bot-1", "ES256"));
    let foreign = deployed
        .world
        .gh
        .sign(&deployed.claims().with("repository_id", "75"));
    let client = |name: &str, method: &str, proof: Value| {
        let mut client = json!({ "name": name, "clientId": method, "method": method });
        client
            .as_object_mut()
            .unwrap()
            .append(&mut proof.as_object().unwrap().clone());
        client
    };
    let clients = json!([
        client("basic", "client_secret_basic", json!({ "secret": basic })),
        client("post", "client_secret_post", json!({ "secret": post })),
        client(
            "key",
            "private_key_jwt",
            json!({ "key": pem(&key), "kid": "bot-1" })
        ),
        client("federated", "federated", json!({ "assertion": assertion })),
        client(
            "wrong_secret",
            "client_secret_post",
            json!({ "secret": basic })
        ),
        client(
            "wrong_key",
            "private_key_jwt",
            json!({ "key": pem(&stranger), "kid": "bot-1" })
        ),
        client("used", "federated", json!({ "assertion": assertion })),
        client("foreign", "federated", json!({ "assertion": foreign })),
    ]);
    let input = json!({ "issuer": deployed.url, "resource": R1, "clients": clients });
    let Some(seen) = deployed.run(
        Packages::Npm,
        "openid-client/client-credentials.mjs",
        &input,
    ) else {
        return;
    };
    for (name, client_id, subject) in [
        ("basic", "client_secret_basic", "client_secret_basic"),
        ("post", "client_secret_post", "client_secret_post"),
        ("key", "private_key_jwt", "private_key_jwt"),
        ("federated", "federated", "pr_joel"),
    ] {
        let answer = &seen[name];
        assert_eq!(
            (&answer["scope"], &answer["expires_in"]),
            (&json!("publish"), &json!(900)),
            "{answer}"
        );
        let claims = payload(answer["access_token"].as_str().unwrap());
        assert_eq!(
            (&claims["client_id"], &claims["sub"]),
            (&json!(client_id), &json!(subject)),
            "{claims}"
        );
    }
    for (name, reason) in [
        ("wrong_secret", "client_authentication_failed"),
        ("wrong_key", "client_authentication_failed"),
        ("used", "replay"),
        ("foreign", "no_matching_credential"),
    ] {
        let refusal = json!({ "name": "WWWAuthenticateChallengeError", "error": "invalid_client", "reason": reason });
        assert_eq!(seen[name], refusal, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc8414_2_10__openid_client_introspects_and_revokes() {
    let deployed = Deployed::new().await;
    let token = deployed.token().await;
    let input =
        json!({ "issuer": deployed.url, "token": token, "registry": deployed.registry().await });
    let Some(seen) = deployed.run(Packages::Npm, "openid-client/token-state.mjs", &input) else {
        return;
    };
    for form in ["json", "jwt"] {
        describes(&seen["before"][form], &token);
        assert_eq!(seen["after"][form].to_string(), INACTIVE);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc6749_5_1_3__oauth4webapi_accepts_token_introspection_and_revocation_answers() {
    let deployed = Deployed::new().await;
    let secret = deployed
        .bot(
            "basic-bot",
            "client_secret_basic",
            json!({ "resource_server": "pypi" }),
        )
        .await;
    let bot = json!({ "clientId": "basic-bot", "secret": secret });
    let input = json!({
        "issuer": deployed.url, "assertion": deployed.good(), "resource": R1, "bot": bot,
        "registry": deployed.registry().await,
    });
    let Some(seen) = deployed.run(Packages::Npm, "oauth4webapi/client.mjs", &input) else {
        return;
    };
    assert_eq!(
        seen["server"]["token_endpoint"],
        format!("{}/token", deployed.url)
    );
    for (answer, subject) in [("workload", "pr_joel"), ("own", "basic-bot")] {
        let claims = payload(seen[answer]["access_token"].as_str().unwrap());
        assert_eq!(
            (&claims["aud"], &claims["sub"]),
            (&json!(R1), &json!(subject))
        );
        assert_eq!(
            seen[answer]["authorization_details"],
            claims["authorization_details"]
        );
    }
    for form in ["json", "jwt"] {
        describes(
            &seen["before"][form],
            seen["own"]["access_token"].as_str().unwrap(),
        );
        assert_eq!(seen["after"][form].to_string(), INACTIVE);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc9068_4_1__oauth4webapi_validates_our_tokens() {
    for algorithm in ["ES256", "RS256", "EdDSA"] {
        let deployed = Deployed::with(&[("CARNET_TOKENS__SIGNING_ALGORITHM", algorithm)]).await;
        let tokens = deployed.tokens().await;
        let input = json!({ "issuer": deployed.url, "resource": R1, "tokens": tokens });
        let Some(seen) = deployed.run(Packages::Npm, "oauth4webapi/resource-server.mjs", &input)
        else {
            return;
        };
        assert_eq!(seen["good"], payload(tokens["good"].as_str().unwrap()));
        for name in ["elsewhere", "forged", "platforms"] {
            assert!(
                seen[name]["code"].is_string() && seen[name]["sub"].is_null(),
                "{name}: {}",
                seen[name]
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc8693_2_1_8__google_auth_names_the_target_by_audience() {
    let deployed = Deployed::new().await;
    deployed.second_target().await;
    let audiences = [R1, "pypi", "crates"];
    let input = json!({
        "issuer": deployed.url, "audiences": audiences, "assertions": audiences.map(|_| deployed.good()),
        "scopes": ["publish"], "file": deployed.world.server.db.folder().join("assertion.jwt"),
    });
    let Some(seen) = deployed.run(Packages::Pypi, "google-auth/identity_pool.py", &input) else {
        return;
    };
    let tokens = seen["tokens"].as_array().unwrap();
    assert_eq!(tokens.len(), 3);
    for (token, audience) in tokens.iter().zip([R1, R1, R2]) {
        let claims = payload(token["token"].as_str().unwrap());
        let expected = (&json!(audience), &json!("pr_joel"), &json!("publish"));
        assert_eq!((&claims["aud"], &claims["sub"], &claims["scope"]), expected);
        assert_eq!(token["valid"], true, "{token}");
    }
    assert_eq!(seen["refusal"]["reason"], "replay");
    assert!(
        seen["refusal"]["message"]
            .as_str()
            .unwrap()
            .contains("invalid_request"),
        "{}",
        seen["refusal"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc7523_2_1_2__authlib_presents_assertions_and_introspects() {
    let deployed = Deployed::new().await;
    let server = &deployed.world.server;
    let own = TestKey::ec("own-1", "ES256");
    let issuer = json!({
        "profile": "generic", "issuer": "https://runner.test", "algorithms": ["ES256"],
        "keys": { "source": "static", "jwks": { "keys": [own.jwk()] } },
    });
    server.put("trusted-issuers/runner", issuer).await;
    let rule = json!({
        "principal": "joel", "trusted_issuer": "runner", "match": { "subject": "nightly" },
        "permissions": [{ "resource_server": "crates", "actions": ["publish"], "packages": ["widgets"] }],
    });
    server.put("federated-credentials/nightly", rule).await;
    let key = TestKey::ec("bot-1", "ES256");
    deployed
        .bot(
            "key-bot",
            "private_key_jwt",
            json!({ "jwks": { "keys": [key.jwk()] } }),
        )
        .await;
    let basic = deployed
        .bot("basic-bot", "client_secret_basic", json!({}))
        .await;
    let post = deployed
        .bot("post-bot", "client_secret_post", json!({}))
        .await;
    let input = json!({
        "issuer": deployed.url, "resource": R1, "assertion": deployed.good(),
        "signing": { "issuer": "https://runner.test", "subject": "nightly", "key": pem(&own), "kid": "own-1" },
        "basic": { "clientId": "basic-bot", "secret": basic }, "post": { "clientId": "post-bot", "secret": post },
        "key": { "clientId": "key-bot", "key": pem(&key), "kid": "bot-1" }, "registry": deployed.registry().await,
    });
    let Some(seen) = deployed.run(Packages::Pypi, "authlib/client.py", &input) else {
        return;
    };
    for (answer, audience, subject) in [
        ("ready_made", R1, "pr_joel"),
        ("own", R2, "pr_joel"),
        ("basic", R1, "basic-bot"),
        ("post", R1, "post-bot"),
        ("key", R1, "key-bot"),
    ] {
        let claims = payload(seen[answer]["access_token"].as_str().unwrap());
        assert_eq!(
            (&claims["aud"], &claims["sub"]),
            (&json!(audience), &json!(subject)),
            "{answer}"
        );
    }
    assert_eq!(seen["refusal"]["error"], "invalid_grant");
    assert_eq!(seen["other_audience"]["error"], "invalid_client");
    describes(
        &seen["before"],
        seen["ready_made"]["access_token"].as_str().unwrap(),
    );
    assert_eq!(
        (&seen["revoked"], seen["after"].to_string().as_str()),
        (&json!(200), INACTIVE)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc9068_4_1__authlib_validates_our_tokens() {
    let deployed = Deployed::new().await;
    let tokens = deployed.tokens().await;
    let input = json!({ "issuer": deployed.url, "resource": R1, "tokens": tokens });
    let Some(seen) = deployed.run(Packages::Pypi, "authlib/resource_server.py", &input) else {
        return;
    };
    assert_eq!(seen["good"], payload(tokens["good"].as_str().unwrap()));
    for name in ["elsewhere", "forged", "platforms"] {
        assert_eq!(seen[name], json!({ "error": "invalid_token" }), "{name}");
    }
}

/// Lets the clock of the server go on with the machine's, whose time is in the proofs of the scripts.
pub(super) fn keeps_time(deployed: &Deployed) -> JoinSet<()> {
    let clock = deployed.world.server.clock.clone();
    let mut running = JoinSet::new();
    running.spawn(async move {
        loop {
            clock.advance(machine_time() - clock.now().seconds());
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    });
    running
}

/// A client with an admin scope, as the scripts know it.
async fn reader(deployed: &Deployed) -> Value {
    let scopes = json!({ "scopes": ["admin:read"] });
    let server = &deployed.world.server;
    let client = TestClient::register(server, "reader", "client_secret_basic", scopes).await;
    json!({ "clientId": "reader", "secret": client.secret() })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc9449_5_1__openid_client_gets_and_uses_bound_tokens_of_every_grant() {
    for nonce in ["false", "true"] {
        let deployed = Deployed::with(&[("CARNET_DPOP__REQUIRE_NONCE", nonce)]).await;
        let _running = keeps_time(&deployed);
        let input = json!({
            "issuer": deployed.url, "assertion": deployed.good(), "subjectToken": deployed.good(),
            "resource": R1, "bot": reader(&deployed).await,
        });
        let Some(seen) = deployed.run(Packages::Npm, "openid-client/dpop.mjs", &input) else {
            return;
        };
        for answer in ["workload", "exchanged", "renewed", "admin"] {
            let answer = &seen[answer];
            assert_eq!(answer["token_type"], "dpop", "{answer:#}");
            let claims = payload(answer["access_token"].as_str().unwrap());
            assert_eq!(claims["cnf"], json!({ "jkt": seen["thumbprint"] }));
        }
        assert_eq!(seen["shown"], json!([200, "joel"]));
        assert_eq!(seen["bearer"], 401);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc9449_11_3_1__oauth4webapi_repeats_requests_with_the_nonce() {
    for (nonce, repeated) in [("false", 0), ("true", 3)] {
        let deployed = Deployed::with(&[("CARNET_DPOP__REQUIRE_NONCE", nonce)]).await;
        let _running = keeps_time(&deployed);
        let input = json!({
            "issuer": deployed.url, "assertion": deployed.good(), "resource": R1,
            "bot": reader(&deployed).await,
        });
        let Some(seen) = deployed.run(Packages::Npm, "oauth4webapi/dpop.mjs", &input) else {
            return;
        };
        assert_eq!(seen["nonces"], repeated);
        for answer in ["workload", "admin"] {
            let claims = payload(seen[answer]["access_token"].as_str().unwrap());
            assert_eq!(claims["cnf"], json!({ "jkt": seen["thumbprint"] }));
        }
        assert_eq!(seen["shown"], json!([200, "joel"]));
    }
}
