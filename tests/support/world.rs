//! A server that trusts a platform and knows two registries, one principal and one rule: the ground most tests stand on.

use serde_json::{Value, json};

use super::{
    ACCESS_TOKEN, Answer, CLIENT_ASSERTION, Claims, FakeIssuer, GH, JWT, JWT_BEARER, R1, R2,
    TOKEN_EXCHANGE, TestKey, TestServer, github,
};

/// The ground most tests stand on.
#[derive(Debug)]
pub struct World {
    pub server: TestServer,
    pub gh: FakeIssuer,
}

/// A place that an assertion can be presented at. A later grant joins every attack by one line here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    JwtBearer,
    TokenExchange,
    /// The assertion authenticates a client that has no key of its own.
    FederatedClient,
    Explain,
}

impl Carrier {
    pub const ALL: [Self; 4] = [
        Self::JwtBearer,
        Self::TokenExchange,
        Self::FederatedClient,
        Self::Explain,
    ];

    pub async fn present(self, server: &TestServer, assertion: &str) -> Answer {
        let bearer = [("grant_type", JWT_BEARER), ("assertion", assertion)];
        match self {
            Self::JwtBearer => server.form("/token", &bearer).await,
            Self::Explain => server.form("/explain", &bearer).await,
            Self::TokenExchange => {
                let subject = [("subject_token", assertion), ("subject_token_type", JWT)];
                server
                    .form(
                        "/token",
                        &[&[("grant_type", TOKEN_EXCHANGE)], subject.as_slice()].concat(),
                    )
                    .await
            }
            Self::FederatedClient => {
                register_robot(server).await;
                server
                    .form(
                        "/token",
                        &[
                            ("grant_type", "client_credentials"),
                            ("client_id", "robot"),
                            ("client_assertion_type", CLIENT_ASSERTION),
                            ("client_assertion", assertion),
                        ],
                    )
                    .await
            }
        }
    }

    /// Checks that an assertion was refused for this reason, as this carrier says it.
    #[track_caller]
    pub fn refused(self, answer: &Answer, reason: &str) {
        match self {
            Self::JwtBearer => {
                answer.refused(400, "invalid_grant", reason);
            }
            Self::TokenExchange => {
                answer.refused(400, "invalid_request", reason);
            }
            Self::FederatedClient => {
                answer.refused(401, "invalid_client", reason);
            }
            Self::Explain => {
                let body = answer.json();
                assert_eq!(answer.status, 200, "{body:#}");
                assert_eq!(
                    (body["verdict"].as_str(), body["reason"].as_str()),
                    (Some("deny"), Some(reason)),
                    "{body:#}"
                );
            }
        }
    }
}

/// A client that every rule there is admits.
async fn register_robot(server: &TestServer) {
    let rules = server
        .admin("GET", "federated-credentials?limit=500", Value::Null)
        .await
        .json();
    let names: Vec<&str> = rules["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|rule| rule["name"].as_str().unwrap())
        .collect();
    server
        .put(
            "clients/robot",
            json!({ "auth_method": "federated", "federated_credentials": names }),
        )
        .await;
}

impl World {
    /// The platform is trusted, `joel` may publish `widgets` from the repository with the ids 65 and 74.
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    /// The same with these environment variables.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        Self::on(TestServer::with(settings).await).await
    }

    /// The same on this server.
    pub async fn on(server: TestServer) -> Self {
        let gh = FakeIssuer::new(GH, TestKey::rsa(0));
        server.network.add(&gh);
        server
            .put(
                "trusted-issuers/github",
                json!({ "profile": "github-actions", "issuer": GH }),
            )
            .await;
        server
            .put(
                "principals/joel",
                json!({ "id": "pr_joel", "kind": "user", "external_id": "42" }),
            )
            .await;
        let actions = json!(["create", "publish", "unlist"]);
        server
            .put(
                "resource-servers/pypi",
                json!({ "resource": R1, "actions": actions }),
            )
            .await;
        server
            .put(
                "resource-servers/crates",
                json!({ "resource": R2, "actions": actions }),
            )
            .await;
        let world = Self { server, gh };
        world.rule("octo-release", json!({})).await;
        world
    }

    /// Saves a rule: the usual one, with these members of `match` changed (`null` takes one away).
    pub async fn rule(&self, name: &str, changed: Value) -> Value {
        self.server
            .put(
                &format!("federated-credentials/{name}"),
                Self::rule_document(changed),
            )
            .await
    }

    /// The usual rule, with these members of `match` changed.
    pub fn rule_document(changed: Value) -> Value {
        let mut matcher = json!({
            "repository": "octo-org/octo-repo", "repository_owner_id": "65", "repository_id": "74",
            "workflow_file": "release.yml",
        });
        for (field, value) in changed.as_object().unwrap() {
            if value.is_null() {
                matcher.as_object_mut().unwrap().remove(field);
            } else {
                matcher[field] = value.clone();
            }
        }
        json!({
            "principal": "joel", "trusted_issuer": "github", "match": matcher,
            "permissions": [{ "resource_server": "pypi", "actions": ["create", "publish"], "packages": ["widgets", "widgets-*"] }],
        })
    }

    /// Changes the platform's entry.
    pub async fn trust(&self, changed: Value) {
        let answer = self
            .server
            .admin("PATCH", "trusted-issuers/github", changed)
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }

    /// The claims of a good token, issued now.
    pub fn claims(&self) -> Claims {
        github(self.server.now())
    }

    /// A good assertion.
    pub fn good(&self) -> String {
        self.gh.sign(&self.claims())
    }

    /// Presents an assertion with the first grant.
    pub async fn exchange(&self, assertion: &str) -> Answer {
        self.exchange_with(assertion, &[]).await
    }

    /// With these parameters beside.
    pub async fn exchange_with(&self, assertion: &str, parameters: &[(&str, &str)]) -> Answer {
        let form = [
            &[("grant_type", JWT_BEARER), ("assertion", assertion)],
            parameters,
        ]
        .concat();
        self.server.form("/token", &form).await
    }

    /// Presents changed claims, signed by the platform.
    pub async fn exchange_claims(&self, claims: &Claims) -> Answer {
        self.exchange(&self.gh.sign(claims)).await
    }

    /// Exchanges a token of this type (RFC 8693), with these parameters beside.
    pub async fn swap(&self, token: &str, kind: &str, parameters: &[(&str, &str)]) -> Answer {
        self.swap_as("", token, kind, parameters).await
    }

    /// The same with this `Authorization` header, if it is not empty.
    pub async fn swap_as(
        &self,
        authorization: &str,
        token: &str,
        kind: &str,
        parameters: &[(&str, &str)],
    ) -> Answer {
        let subject = [
            ("grant_type", TOKEN_EXCHANGE),
            ("subject_token", token),
            ("subject_token_type", kind),
        ];
        let header = [("authorization", authorization)];
        let header = if authorization.is_empty() {
            &[]
        } else {
            header.as_slice()
        };
        self.server
            .form_with("/token", header, &[&subject, parameters].concat())
            .await
    }

    /// Exchanges an assertion.
    pub async fn trade(&self, assertion: &str, parameters: &[(&str, &str)]) -> Answer {
        self.swap(assertion, JWT, parameters).await
    }

    /// Exchanges an access token of ours.
    pub async fn renew(&self, token: &str, parameters: &[(&str, &str)]) -> Answer {
        self.swap(token, ACCESS_TOKEN, parameters).await
    }

    /// An access token with any claims, signed by the server itself.
    pub fn sign_as_server(&self, claims: &Value) -> String {
        self.server
            .app
            .keys
            .ring()
            .unwrap()
            .active()
            .sign(claims.to_string().as_bytes())
            .unwrap()
    }

    /// Registers a client with a secret; its `Authorization` header.
    pub async fn client(&self, name: &str, document: Value) -> String {
        use base64::Engine as _;
        let mut document = document;
        document["auth_method"] = json!("client_secret_basic");
        let saved = self.server.put(&format!("clients/{name}"), document).await;
        let pair = format!("{name}:{}", saved["client_secret"].as_str().unwrap());
        format!(
            "Basic {}",
            base64::engine::general_purpose::STANDARD.encode(pair)
        )
    }

    /// Checks that good assertions are accepted.
    pub async fn accepts(&self) {
        let answer = self.exchange(&self.good()).await;
        assert_eq!(
            answer.status,
            200,
            "the unchanged request works: {}",
            answer.text()
        );
    }

    /// Checks that an assertion is refused wherever it is presented, that nobody was asked for anything but the platform for its
    /// keys, that the answer holds nothing of it, and that the unchanged request works before and after.
    pub async fn denies(&self, assertion: &str, reason: &str) {
        self.accepts().await;
        for carrier in Carrier::ALL {
            let before = self.server.network.fetched();
            let answer = carrier.present(&self.server, assertion).await;
            carrier.refused(&answer, reason);
            let fetched = &self.server.network.fetched()[before.len()..];
            assert!(
                fetched.iter().all(|url| url.starts_with(&format!("{GH}/"))),
                "{fetched:?}"
            );
            let payload = assertion
                .split('.')
                .nth(1)
                .filter(|payload| payload.len() > 16);
            assert!(
                payload.is_none_or(|payload| !answer.text().contains(payload)),
                "{}",
                answer.text()
            );
        }
        self.accepts().await;
    }

    /// Checks that changed claims are refused, signed as they should be.
    pub async fn denies_claims(&self, claims: Claims, reason: &str) {
        self.denies(&self.gh.sign(&claims), reason).await;
    }
}
