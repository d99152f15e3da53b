//! From the code to the access token, and who signed in by the ID token (RFC 6749 section 4.1.3,
//! OpenID Connect Core 1.0 section 3.1.3).

use carnet_exchange::web::{self, printable};
use carnet_exchange::{
    ExchangeError, Metadata, ServerError, ServerUrl, Tries, is_bearer_token, success,
};
use carnet_jose::{Algorithm, KeySet};
use serde_json::{Map, Value};
use url::Url;

use super::authorization::Authorization;
use super::{CLIENT_ID, Code};
use crate::clock::{Clock as _, SystemClock, Timestamp};
use crate::command::CommandError;
use crate::command::sign_ins::{Person, SignIn};
use crate::people::{Expected, UnverifiedIdToken};

/// The longest life of a token that is believed, in seconds.
const MOST_SECONDS: i64 = 366 * 24 * 3600;

/// Redeems the code of one authorization.
#[derive(Debug)]
pub struct Redemption<'a> {
    pub server: &'a ServerUrl,
    pub metadata: &'a Metadata,
    pub authorization: &'a Authorization<'a>,
}

impl Redemption<'_> {
    /// The server's answer with the access token. An ID token that comes with it was verified.
    pub async fn token(&self, code: &Code) -> Result<Map<String, Value>, CommandError> {
        let (answer, _) = self.redeem(code).await?;
        Ok(answer)
    }

    /// The access token for the admin API, and who signed in.
    pub async fn sign_in(&self, code: &Code) -> Result<SignIn, CommandError> {
        let asked_at = SystemClock.now();
        let (answer, claims) = self.redeem(code).await?;
        let text = |of: &Map<String, Value>, name: &str| {
            let text = of.get(name).and_then(Value::as_str);
            text.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let scope = text(&answer, "scope").or_else(|| self.authorization.scope.clone());
        Ok(SignIn {
            access_token: text(&answer, "access_token").unwrap_or_default(),
            expires_at: expiry(&answer, asked_at).ok_or_else(|| {
                CommandError::Other("the server does not say when the token ends".to_owned())
            })?,
            scope: scope.unwrap_or_default(),
            person: Person {
                id: text(&claims, "sub").unwrap_or_default(),
                name: text(&claims, "name"),
                username: text(&claims, "preferred_username"),
            },
        })
    }

    /// The answer of the token endpoint, and the claims of its ID token; none if none was asked for.
    async fn redeem(
        &self,
        code: &Code,
    ) -> Result<(Map<String, Value>, Map<String, Value>), CommandError> {
        let url = self.endpoint("token_endpoint")?;
        let answer = self.post(&url, code).await.map_err(ExchangeError::from)?;
        let claims = if self.authorization.is_of_openid() {
            self.verify(&answer).await?
        } else {
            Map::new()
        };
        Ok((answer, claims))
    }

    fn endpoint(&self, name: &str) -> Result<Url, CommandError> {
        let endpoint = self.metadata.endpoint(name);
        Ok(endpoint.map_err(ExchangeError::from)?)
    }

    /// Sends the code. It is used once, so a request whose answer was lost is not repeated.
    async fn post(&self, url: &Url, code: &Code) -> Result<Map<String, Value>, ServerError> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code.text.as_str()),
            ("redirect_uri", code.redirect_uri.as_str()),
            (
                "code_verifier",
                self.authorization.secrets.verifier.as_str(),
            ),
            ("client_id", CLIENT_ID),
        ];
        let post = web::client(url)?.post(url.clone()).form(&form);
        let answer = success(url, web::send(url, post).await?)?;
        let strange = |why: String| ServerError::Answer(url.clone(), why);
        let text = |name: &str| answer.get(name).and_then(Value::as_str).unwrap_or_default();
        if !text("token_type").eq_ignore_ascii_case("Bearer") {
            let kind = printable(text("token_type"));
            return Err(strange(format!(
                "the token is of the type `{kind}`, not Bearer"
            )));
        }
        if !is_bearer_token(text("access_token")) {
            return Err(strange("the answer has no access token".to_owned()));
        }
        Ok(answer)
    }

    /// The claims of the ID token, which the server's keys have to verify.
    async fn verify(
        &self,
        answer: &Map<String, Value>,
    ) -> Result<Map<String, Value>, CommandError> {
        let refused = |why: &str| {
            let why = printable(why);
            CommandError::Other(format!(
                "the ID token is not valid: {why}; nothing is stored"
            ))
        };
        let text = |name: &str| answer.get(name).and_then(Value::as_str);
        let id_token = text("id_token").ok_or_else(|| refused("the server sent none"))?;
        let id_token = UnverifiedIdToken::read(id_token, &Algorithm::ALL);
        let id_token = id_token.map_err(|error| refused(&error.detail))?;
        let expected = Expected {
            issuer: self.server.issuer(),
            client_id: CLIENT_ID,
            algorithms: &Algorithm::ALL,
            nonce: &self.authorization.secrets.nonce,
            access_token: text("access_token").unwrap_or_default(),
            now: SystemClock.now(),
        };
        let verified = id_token.verify(self.keys().await?, &expected);
        verified.map_err(|error| refused(&error.detail))
    }

    async fn keys(&self) -> Result<KeySet, CommandError> {
        let url = self.endpoint("jwks_uri")?;
        let unusable = |why: String| ExchangeError::from(ServerError::Answer(url.clone(), why));
        let answer = web::look_up(&url, Tries::LOOKUP).await;
        let answer = answer.map_err(|error| ExchangeError::from(ServerError::from(error)))?;
        if !answer.status.is_success() {
            return Err(unusable(format!("the answer was {}", answer.status)).into());
        }
        let keys = KeySet::parse(&answer.body, &Algorithm::ALL);
        Ok(keys.map_err(|error| unusable(error.to_string()))?)
    }
}

/// When a token ends that was asked for at this time.
fn expiry(answer: &Map<String, Value>, asked_at: Timestamp) -> Option<Timestamp> {
    let seconds = answer.get("expires_in").and_then(Value::as_i64);
    let seconds = seconds.filter(|seconds| (1..=MOST_SECONDS).contains(seconds))?;
    Some(Timestamp::from_seconds(asked_at.seconds()).plus_seconds(seconds))
}
