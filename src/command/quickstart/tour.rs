//! The steps of the tour. Each prints its request as a command that can be pasted into a shell, and
//! stops the tour if the answer is not the expected one.

use carnet_jose::Compact;
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};

use super::super::admin_client::{remote, unreachable};
use super::CommandError;
use crate::grant::ACCESS_TOKEN;
use crate::grant_type::GrantType;

/// The `subject_token_type` of a platform's token (RFC 8693 section 3).
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// The principal that owns the rule of the tour.
const PRINCIPAL: &str = "joel";

/// The tour, with the URLs of its three servers.
pub struct Tour {
    http: Client,
    carnet: String,
    ci: String,
    registry: String,
    admin_token: String,
}

impl Tour {
    pub fn new(
        carnet: String,
        ci: String,
        registry: String,
        admin_token: String,
    ) -> Result<Self, CommandError> {
        Ok(Self {
            http: remote(&carnet)?.0,
            carnet,
            ci,
            registry,
            admin_token,
        })
    }

    /// Runs all steps in order.
    pub async fn run(&self) -> Result<(), CommandError> {
        println!(
            "carnet   {}\nci       {} (a stand-in for GitHub Actions)\nregistry {}/",
            self.carnet, self.ci, self.registry
        );
        self.metadata().await?;
        self.set_up().await?;
        let assertion = self.assertion("refs/heads/main").await?;
        let token = self.exchange(&assertion).await?;
        Self::decode(&token)?;
        let narrow = self.token_exchange().await?;
        self.publish(&narrow).await?;
        self.revoke(&narrow).await?;
        self.use_again(&assertion).await?;
        self.wrong_branch().await
    }

    async fn metadata(&self) -> Result<(), CommandError> {
        heading("What the server says of itself (RFC 8414)");
        let url = format!("{}/.well-known/oauth-authorization-server", self.carnet);
        println!("$ curl -s {url}");
        self.answer(self.http.get(url), 200).await.map(drop)
    }

    async fn set_up(&self) -> Result<(), CommandError> {
        heading(
            "The operator trusts an issuer and names a registry; a package owner writes a rule",
        );
        println!("$ TOKEN={}", self.admin_token);
        let steps = [
            (
                "trusted-issuers/github",
                json!({ "profile": "github-actions", "issuer": self.ci }),
            ),
            (
                "principals/joel",
                json!({ "kind": "user", "external_id": "42" }),
            ),
            (
                "resource-servers/registry",
                json!({ "resource": format!("{}/", self.registry), "actions": ["create", "publish"] }),
            ),
            (
                "federated-credentials/octo-release",
                json!({
                    "principal": PRINCIPAL, "trusted_issuer": "github",
                    "match": { "repository": "octo-org/octo-repo", "workflow_file": "release.yml", "ref": "refs/heads/main" },
                    "permissions": [{ "resource_server": "registry", "actions": ["create", "publish"], "packages": ["widgets", "widgets-*"] }],
                }),
            ),
        ];
        for (path, body) in steps {
            let url = format!("{}/admin/v1/{path}", self.carnet);
            println!(
                "$ curl -s -X PUT -H \"Authorization: Bearer $TOKEN\" {url} \\\n    -d '{body}'"
            );
            let request = self
                .http
                .request(Method::PUT, url)
                .bearer_auth(&self.admin_token)
                .json(&body);
            let answer = request.send().await.map_err(|error| unreachable(&error))?;
            let created = expect(answer, 201).await?;
            let state = created
                .get("state")
                .map(|state| format!(", state {state}"))
                .unwrap_or_default();
            println!("201 Created{state}");
        }
        Ok(())
    }

    /// Requests an identity token from the stand-in platform, as a job does.
    async fn assertion(&self, reference: &str) -> Result<String, CommandError> {
        let url = self.assertion_url(reference);
        let answer = self
            .http
            .get(url)
            .send()
            .await
            .map_err(|error| unreachable(&error))?;
        answer.text().await.map_err(|error| unreachable(&error))
    }

    fn assertion_url(&self, reference: &str) -> String {
        format!(
            "{}/assertion?audience={}&ref={reference}",
            self.ci, self.carnet
        )
    }

    async fn exchange(&self, assertion: &str) -> Result<String, CommandError> {
        heading("A job trades the assertion its platform gave it for a registry token (RFC 7523)");
        println!("{}", self.exchange_line("refs/heads/main"));
        let body = self
            .answer(
                self.http.post(self.token_endpoint()).form(&form(assertion)),
                200,
            )
            .await?;
        let token = body.get("access_token").and_then(Value::as_str);
        token
            .map(str::to_owned)
            .ok_or_else(|| CommandError::Other("the answer holds no access token".to_owned()))
    }

    /// Requests a token by token exchange, limited to one version of one package.
    async fn token_exchange(&self) -> Result<String, CommandError> {
        heading("The same by token exchange (RFC 8693), for this one release and nothing else");
        let details = json!([
            { "type": "package", "actions": ["create", "publish"], "packages": ["widgets"], "version": "1.0.0" }
        ]);
        println!(
            "$ curl -s {} -d grant_type={} \\\n    -d subject_token_type={JWT} -d audience=registry -d principal={PRINCIPAL} \\\n    \
             -d 'authorization_details={details}' \\\n    -d subject_token=$(curl -s '{}')",
            self.token_endpoint(),
            GrantType::TokenExchange.name(),
            self.assertion_url("refs/heads/main"),
        );
        let assertion = self.assertion("refs/heads/main").await?;
        let form = [
            ("grant_type", GrantType::TokenExchange.name()),
            ("subject_token_type", JWT),
            ("subject_token", &assertion),
            ("audience", "registry"),
            ("principal", PRINCIPAL),
            ("authorization_details", &details.to_string()),
        ];
        let body = self
            .answer(self.http.post(self.token_endpoint()).form(&form), 200)
            .await?;
        check(&body, "issued_token_type", ACCESS_TOKEN)?;
        let token = body.get("access_token").and_then(Value::as_str);
        token
            .map(str::to_owned)
            .ok_or_else(|| CommandError::Other("the answer holds no access token".to_owned()))
    }

    async fn revoke(&self, token: &str) -> Result<(), CommandError> {
        heading("The job is done and ends its token (RFC 7009)");
        let url = format!("{}/revoke", self.carnet);
        println!("$ curl -s -i {url} -d token=$(cat /tmp/carnet-token)");
        let answer = self
            .http
            .post(url)
            .form(&[("token", token)])
            .send()
            .await
            .map_err(|error| unreachable(&error))?;
        let received = answer.status();
        println!("{received}");
        if received == 200 {
            Ok(())
        } else {
            Err(CommandError::Other(format!(
                "expected 200, received {received}"
            )))
        }
    }

    fn exchange_line(&self, reference: &str) -> String {
        format!(
            "$ curl -s {} -d grant_type={} -d principal={PRINCIPAL} \\\n    -d assertion=$(curl -s '{}')",
            self.token_endpoint(),
            GrantType::JwtBearer.name(),
            self.assertion_url(reference),
        )
    }

    fn token_endpoint(&self) -> String {
        format!("{}/token", self.carnet)
    }

    fn decode(token: &str) -> Result<(), CommandError> {
        heading("The token, decoded (RFC 9068)");
        let malformed = |error: carnet_jose::Malformed| CommandError::Other(error.to_string());
        let jws = Compact::parse(token).map_err(malformed)?;
        let header = json!({
            "alg": jws.header.algorithm, "kid": jws.header.key_id, "typ": jws.header.token_type,
        });
        println!(
            "{header:#}\n{:#}",
            Value::Object(jws.claims().map_err(malformed)?)
        );
        Ok(())
    }

    async fn publish(&self, token: &str) -> Result<(), CommandError> {
        heading("The registry verifies the token by itself and takes the package");
        let url = format!("{}/packages/widgets/1.0.0", self.registry);
        println!(
            "{} \\\n    | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/' > /tmp/carnet-token",
            self.exchange_line("refs/heads/main")
        );
        println!(
            "$ curl -s -X PUT -H \"Authorization: Bearer $(cat /tmp/carnet-token)\" {}/packages/widgets/1.0.1 -d 'content'",
            self.registry
        );
        self.answer(self.http.put(url).bearer_auth(token).body("content"), 201)
            .await
            .map(drop)
    }

    async fn use_again(&self, assertion: &str) -> Result<(), CommandError> {
        heading("Each assertion is good for one token: the second use is refused");
        println!("$ A=$(curl -s '{}')", self.assertion_url("refs/heads/main"));
        let line = format!(
            "curl -s {} -d grant_type={} -d principal={PRINCIPAL} -d assertion=$A",
            self.token_endpoint(),
            GrantType::JwtBearer.name()
        );
        println!("$ {line} > /dev/null; {line}");
        let body = self
            .answer(
                self.http.post(self.token_endpoint()).form(&form(assertion)),
                400,
            )
            .await?;
        check(&body, "reason", "replay")
    }

    async fn wrong_branch(&self) -> Result<(), CommandError> {
        heading(
            "A run on another branch is refused, and told why: its ids prove that the rule is meant for it",
        );
        println!("{}", self.exchange_line("refs/heads/feature"));
        let assertion = self.assertion("refs/heads/feature").await?;
        let body = self
            .answer(
                self.http
                    .post(self.token_endpoint())
                    .form(&form(&assertion)),
                400,
            )
            .await?;
        check(&body, "reason", "ref_mismatch")?;
        if body.get("mismatches").is_none() || body.get("error_id").is_none() {
            return Err(CommandError::Other(
                "the refusal does not say why".to_owned(),
            ));
        }
        Ok(())
    }

    /// Sends a request, prints the answer and checks its status.
    async fn answer(
        &self,
        request: reqwest::RequestBuilder,
        status: u16,
    ) -> Result<Value, CommandError> {
        let answer = request.send().await.map_err(|error| unreachable(&error))?;
        let received = answer.status();
        let body = expect(answer, status).await?;
        println!("{received}\n{body:#}");
        Ok(body)
    }
}

fn heading(text: &str) {
    println!("\n=== {text}");
}

fn form(assertion: &str) -> [(&'static str, &str); 3] {
    [
        ("grant_type", GrantType::JwtBearer.name()),
        ("principal", PRINCIPAL),
        ("assertion", assertion),
    ]
}

async fn expect(answer: Response, status: u16) -> Result<Value, CommandError> {
    let received = answer.status().as_u16();
    let body: Value = answer.json().await.map_err(|error| unreachable(&error))?;
    if received == status {
        Ok(body)
    } else {
        Err(CommandError::Other(format!(
            "expected {status}, received {received}: {body:#}"
        )))
    }
}

fn check(body: &Value, member: &str, expected: &str) -> Result<(), CommandError> {
    match body.get(member).and_then(Value::as_str) {
        Some(received) if received == expected => Ok(()),
        received => Err(CommandError::Other(format!(
            "{member} should be {expected} and is {received:?}"
        ))),
    }
}
