//! The steps of the tour. Each prints its request as a command that can be pasted into a shell, and
//! stops the tour if the answer is not the expected one.

use carnet_jose::Compact;
use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};

use super::super::admin_client::{remote, unreachable};
use super::CommandError;
use super::call::Call;
use crate::grant::ACCESS_TOKEN;
use crate::grant_type::GrantType;

/// The `subject_token_type` of a platform's token (RFC 8693 section 3).
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// The principal that owns the rule of the tour.
pub const PRINCIPAL: &str = "joel";

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

    /// Carnet's issuer identifier.
    pub fn carnet(&self) -> &str {
        &self.carnet
    }

    /// The issuer identifier of the platform.
    pub fn ci(&self) -> &str {
        &self.ci
    }

    /// The URL of the registry, without a slash at its end.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// A request as the operator.
    pub fn as_operator(&self, call: Call) -> Call {
        call.bearer("TOKEN", &self.admin_token)
    }

    /// Runs all steps in order.
    pub async fn run(&self) -> Result<(), CommandError> {
        println!(
            "carnet   {}\nci       {} (a stand-in for GitHub Actions)\nregistry {}/",
            self.carnet, self.ci, self.registry
        );
        self.metadata().await?;
        self.set_up().await?;
        heading("A job asks its platform for an assertion: a signed identity token");
        let assertion = self.assertion("refs/heads/main").await?;
        println!("$ FIRST=$ASSERTION");
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
        self.shown(&Call::new(Method::GET, url), 200)
            .await
            .map(drop)
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
            ("federated-credentials/octo-release", rule(&["registry"])),
        ];
        for (path, body) in steps {
            self.put(path, &body, StatusCode::CREATED).await?;
        }
        Ok(())
    }

    /// Saves an object over the admin API, and prints the request and the outcome.
    pub async fn put(
        &self,
        path: &str,
        body: &Value,
        status: StatusCode,
    ) -> Result<Value, CommandError> {
        let call = Call::new(Method::PUT, format!("{}/admin/v1/{path}", self.carnet));
        let call = self.as_operator(call).json(body);
        println!("$ {}", call.line());
        let saved = expect(self.send(&call).await?, status.as_u16()).await?;
        let state = saved
            .get("state")
            .map(|state| format!(", state {state}"))
            .unwrap_or_default();
        println!("{status}{state}");
        Ok(saved)
    }

    /// Requests an identity token from the stand-in platform, as a job does, and prints the request
    /// as the assignment of the variable `ASSERTION`.
    async fn assertion(&self, reference: &str) -> Result<String, CommandError> {
        self.assertion_for(&self.carnet, reference).await
    }

    /// The same for this audience.
    pub async fn assertion_for(
        &self,
        audience: &str,
        reference: &str,
    ) -> Result<String, CommandError> {
        let url = format!("{}/assertion?audience={audience}&ref={reference}", self.ci);
        let call = Call::new(Method::GET, url);
        println!("$ ASSERTION=$({})", call.line());
        let answer = self.send(&call).await?;
        answer.text().await.map_err(|error| unreachable(&error))
    }

    /// Requests an access token for a registry by the client credentials of one of its operator's
    /// programs. The printed line writes it into a file of the folder `TOOL`.
    pub async fn client_token(
        &self,
        (client, secret): (&str, &str),
        file: &str,
    ) -> Result<String, CommandError> {
        let call = Call::new(Method::POST, self.token_endpoint())
            .field("grant_type", GrantType::ClientCredentials.name())
            .field("client_id", client)
            .field("client_secret", secret);
        println!(
            "$ {} | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/' > \"$TOOL/{file}\"",
            call.line()
        );
        access_token(&expect(self.send(&call).await?, 200).await?)
    }

    async fn exchange(&self, assertion: &str) -> Result<String, CommandError> {
        heading("The job trades this assertion for a registry token (RFC 7523)");
        let body = self
            .shown(&self.jwt_bearer("ASSERTION", assertion), 200)
            .await?;
        access_token(&body)
    }

    /// Requests a token by token exchange, limited to one version of one package.
    async fn token_exchange(&self) -> Result<String, CommandError> {
        heading("The same by token exchange (RFC 8693), for this one release and nothing else");
        let details = json!([
            { "type": "package", "actions": ["create", "publish"], "packages": ["widgets"], "version": "1.0.0" }
        ]);
        let assertion = self.assertion("refs/heads/main").await?;
        let call = Call::new(Method::POST, self.token_endpoint())
            .field("grant_type", GrantType::TokenExchange.name())
            .field("subject_token_type", JWT)
            .field("audience", "registry")
            .field("principal", PRINCIPAL)
            .field("authorization_details", &details.to_string())
            .variable("subject_token", "ASSERTION", &assertion);
        println!("$ ANSWER=$({}); echo \"$ANSWER\"", call.line());
        let body = self.answer(&call, 200).await?;
        println!(
            "$ NARROW=$(echo \"$ANSWER\" | sed 's/.*\"access_token\":\"\\([^\"]*\\)\".*/\\1/')"
        );
        check(&body, "issued_token_type", ACCESS_TOKEN)?;
        access_token(&body)
    }

    async fn publish(&self, token: &str) -> Result<(), CommandError> {
        heading("The registry verifies the token by itself and takes the package");
        let url = format!("{}/packages/widgets/1.0.0", self.registry);
        let call = Call::new(Method::PUT, url)
            .bearer("NARROW", token)
            .body("application/octet-stream", "content".to_owned());
        self.shown(&call, 201).await.map(drop)
    }

    async fn revoke(&self, token: &str) -> Result<(), CommandError> {
        heading("The job is done and ends its token (RFC 7009)");
        let call = Call::new(Method::POST, format!("{}/revoke", self.carnet))
            .variable("token", "NARROW", token);
        println!("$ {}", call.line());
        let received = self.send(&call).await?.status();
        println!("{received}");
        if received != 200 {
            return Err(CommandError::Other(format!(
                "expected 200, received {received}"
            )));
        }
        println!(
            "(The server refuses it from now on: in exchanges, and whenever a registry asks about it. The registry of\n\
             this tour verifies tokens without asking, so it would accept this one until it expires.)"
        );
        Ok(())
    }

    async fn use_again(&self, assertion: &str) -> Result<(), CommandError> {
        heading("Each assertion is good for one token: using the first one again is refused");
        let body = self
            .shown(&self.jwt_bearer("FIRST", assertion), 400)
            .await?;
        check(&body, "reason", "replay")
    }

    async fn wrong_branch(&self) -> Result<(), CommandError> {
        heading(
            "A run on another branch is refused, and told why: its ids prove that the rule is meant for it",
        );
        let assertion = self.assertion("refs/heads/feature").await?;
        let body = self
            .shown(&self.jwt_bearer("ASSERTION", &assertion), 400)
            .await?;
        check(&body, "reason", "ref_mismatch")?;
        if body.get("mismatches").is_none() || body.get("error_id").is_none() {
            return Err(CommandError::Other(
                "the refusal does not say why".to_owned(),
            ));
        }
        Ok(())
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

    /// The request of the jwt-bearer grant with this assertion, which the printed line takes from a
    /// shell variable.
    fn jwt_bearer(&self, variable: &str, assertion: &str) -> Call {
        Call::new(Method::POST, self.token_endpoint())
            .field("grant_type", GrantType::JwtBearer.name())
            .field("principal", PRINCIPAL)
            .variable("assertion", variable, assertion)
    }

    fn token_endpoint(&self) -> String {
        format!("{}/token", self.carnet)
    }

    async fn send(&self, call: &Call) -> Result<Response, CommandError> {
        let request = call.request(&self.http);
        request.send().await.map_err(|error| unreachable(&error))
    }

    /// Prints a request as a command, sends it, prints the answer and checks its status.
    async fn shown(&self, call: &Call, status: u16) -> Result<Value, CommandError> {
        println!("$ {}", call.line());
        self.answer(call, status).await
    }

    /// Sends a request, prints the answer and checks its status.
    async fn answer(&self, call: &Call, status: u16) -> Result<Value, CommandError> {
        let answer = self.send(call).await?;
        let received = answer.status();
        let body = expect(answer, status).await?;
        println!("{received}\n{body:#}");
        Ok(body)
    }
}

/// The rule of the tour, for these registries.
pub fn rule(registries: &[&str]) -> Value {
    let permissions: Vec<Value> = registries
        .iter()
        .map(|registry| {
            json!({ "resource_server": registry, "actions": ["create", "publish"], "packages": ["widgets", "widgets-*"] })
        })
        .collect();
    json!({
        "principal": PRINCIPAL, "trusted_issuer": "github",
        "match": { "repository": "octo-org/octo-repo", "workflow_file": "release.yml", "ref": "refs/heads/main" },
        "permissions": permissions,
    })
}

pub fn heading(text: &str) {
    println!("\n=== {text}");
}

/// The access token of an answer.
fn access_token(body: &Value) -> Result<String, CommandError> {
    let token = body.get("access_token").and_then(Value::as_str);
    token
        .map(str::to_owned)
        .ok_or_else(|| CommandError::Other("the answer holds no access token".to_owned()))
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
