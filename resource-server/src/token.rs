use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use carnet_jose::Compact;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use crate::AuthorizationDetail;
use crate::keys::{KeyError, ServerKeys};

/// How far the clocks of server and registry may differ, in seconds.
const LEEWAY_SECONDS: i64 = 60;

/// A verified access token (RFC 9068 section 2.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessToken {
    /// The authorization server.
    pub iss: String,
    /// The registry the token is for.
    pub aud: String,
    /// Whom the token speaks for: a principal's id, or `workload:…` where rules of several principals matched.
    pub sub: String,
    /// The one principal, where there is only one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<PrincipalClaim>,
    /// The client, or `federated:<credential>` where none was registered.
    pub client_id: String,
    /// When it was issued, in seconds since 1970.
    pub iat: i64,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
    /// Its own id.
    pub jti: String,
    /// The actions of all entries together, separated by spaces.
    #[serde(default)]
    pub scope: String,
    /// What it allows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorization_details: Vec<AuthorizationDetail>,
    /// The workload that presented the assertion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workload: Option<WorkloadClaim>,
    /// Who acts for the subject, where the token was delegated (RFC 8693 section 4.1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Actor>,
}

/// The current actor of a delegated token; those before it nest inside (RFC 8693 section 4.1).
///
/// Only the outermost one says who acts now. The others tell how the token came about and decide nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Actor {
    /// The issuer whose subject this is.
    pub iss: String,
    /// The actor, as its issuer names it.
    pub sub: String,
    /// The actor before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub act: Option<Box<Actor>>,
}

/// The principal a token speaks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PrincipalClaim {
    /// Its name.
    pub name: String,
    /// `user`, `organization`, `team`, `service` or `project`.
    pub kind: String,
    /// The registry's own id of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_id: Option<String>,
}

/// The workload a token was issued to, as its platform described it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkloadClaim {
    /// The platform's issuer identifier.
    pub iss: String,
    /// The platform's subject.
    pub sub: String,
    /// The profile of the trusted issuer, such as `github-actions`.
    pub profile: String,
    /// The claims the profile passes on.
    #[serde(default)]
    pub claims: Map<String, Value>,
}

/// Verifies access tokens of one authorization server for one registry.
pub struct Verifier {
    issuer: String,
    resource: String,
    keys: ServerKeys,
}

/// Why a request has no valid token (RFC 6750 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// There was no `Authorization: Bearer` header.
    #[error("no access token was presented")]
    NoToken,
    /// The header cannot be read.
    #[error("the Authorization header cannot be read")]
    InvalidRequest,
    /// The token is not one of this server's for this registry, or is over.
    #[error("the access token is not valid here: {0}")]
    InvalidToken(&'static str),
    /// The server's keys cannot be fetched: the token may be good, ask again later.
    #[error("the authorization server's keys cannot be fetched")]
    Unavailable,
}

/// Why a [`Verifier`] cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SetUpError {
    /// The issuer identifier is not an http(s) URL.
    #[error("the issuer identifier is not an http(s) URL")]
    Issuer,
    /// The TLS library cannot be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    Http(#[from] reqwest::Error),
}

impl Verifier {
    /// For tokens of the server with this issuer identifier, for the registry with this resource URI.
    ///
    /// # Errors
    ///
    /// [`SetUpError`].
    pub fn new(issuer: &str, resource: &str) -> Result<Self, SetUpError> {
        let keys = ServerKeys::new(issuer, metadata_url(issuer)?)?;
        Ok(Self { issuer: issuer.to_owned(), resource: resource.to_owned(), keys })
    }

    /// Verifies the token in the value of an `Authorization` header.
    ///
    /// # Errors
    ///
    /// [`Rejection`]; its [`challenge`](Rejection::challenge) goes into the answer's `WWW-Authenticate`.
    pub async fn verify(&self, authorization: Option<&str>) -> Result<AccessToken, Rejection> {
        let token = bearer(authorization)?;
        #[expect(clippy::disallowed_methods, reason = "the one place this crate reads the clock")]
        let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        self.verify_at(token, i64::try_from(since).unwrap_or(i64::MAX)).await
    }

    /// Verifies a token as of `now`, in seconds since 1970 (RFC 9068 section 4).
    ///
    /// # Errors
    ///
    /// [`Rejection::InvalidToken`] or [`Rejection::Unavailable`].
    pub async fn verify_at(&self, token: &str, now: i64) -> Result<AccessToken, Rejection> {
        let invalid = Rejection::InvalidToken;
        let jws = Compact::parse(token).map_err(|_| invalid("malformed"))?;
        if !jws.header.is_type("at+jwt") {
            return Err(invalid("not typed as an access token"));
        }
        let algorithm = jws.header.algorithm.parse().map_err(|_| invalid("algorithm not accepted"))?;
        match self.keys.verify(&jws, algorithm, now).await {
            Ok(true) => {}
            Ok(false) => return Err(invalid("signature not valid")),
            Err(KeyError::Unknown) => return Err(invalid("unknown key")),
            Err(KeyError::Unreachable) => return Err(Rejection::Unavailable),
        }
        let claims = jws.claims().map_err(|_| invalid("malformed"))?;
        // Bound to a key (RFC 7800): nothing here could check the proof, and without one it is no bearer token.
        if claims.contains_key("cnf") {
            return Err(invalid("bound to a key"));
        }
        let token: AccessToken = serde_json::from_value(Value::Object(claims)).map_err(|_| invalid("malformed"))?;
        if token.iss != self.issuer {
            return Err(invalid("of another issuer"));
        }
        if token.aud != self.resource {
            return Err(invalid("for another registry"));
        }
        if now >= token.exp.saturating_add(LEEWAY_SECONDS) {
            return Err(invalid("expired"));
        }
        if token.iat > now.saturating_add(LEEWAY_SECONDS) {
            return Err(invalid("issued in the future"));
        }
        if token.authorization_details.iter().any(|entry| !entry.locations.contains(&self.resource)) {
            return Err(invalid("has an entry for another registry"));
        }
        Ok(token)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("issuer", &self.issuer)
            .field("resource", &self.resource)
            .finish_non_exhaustive()
    }
}

impl Rejection {
    /// The HTTP status.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::NoToken | Self::InvalidToken(_) => 401,
            Self::InvalidRequest => 400,
            Self::Unavailable => 503,
        }
    }

    /// The value of `WWW-Authenticate` (RFC 6750 section 3); no error is named where no token came.
    #[must_use]
    pub fn challenge(self, realm: &str) -> String {
        let realm: String = realm.chars().filter(|c| matches!(c, ' '..='~') && !matches!(c, '"' | '\\')).collect();
        match self {
            Self::NoToken | Self::Unavailable => format!("Bearer realm=\"{realm}\""),
            Self::InvalidRequest => format!("Bearer realm=\"{realm}\", error=\"invalid_request\""),
            Self::InvalidToken(why) => {
                format!("Bearer realm=\"{realm}\", error=\"invalid_token\", error_description=\"{why}\"")
            }
        }
    }
}

/// The token in `Bearer <token>` (RFC 6750 section 2.1): the scheme without regard to case, then one or more spaces.
fn bearer(authorization: Option<&str>) -> Result<&str, Rejection> {
    let Some((scheme, rest)) = authorization
        .map(str::trim)
        .filter(|value| !value.is_empty())
        .map(|value| value.split_once(' ').unwrap_or((value, "")))
    else {
        return Err(Rejection::NoToken);
    };
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Rejection::NoToken);
    }
    let token = rest.trim_start_matches(' ');
    let is_b64token = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=');
    if token.is_empty() || !token.bytes().all(is_b64token) {
        return Err(Rejection::InvalidRequest);
    }
    Ok(token)
}

/// Where the server's metadata is: the well-known path goes between host and path (RFC 8414 section 3.1).
fn metadata_url(issuer: &str) -> Result<Url, SetUpError> {
    let mut url = Url::parse(issuer).map_err(|_| SetUpError::Issuer)?;
    if !matches!(url.scheme(), "https" | "http") || url.host().is_none() {
        return Err(SetUpError::Issuer);
    }
    let path = format!("/.well-known/oauth-authorization-server{}", url.path().trim_end_matches('/'));
    url.set_path(&path);
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc6750_2_1_1__the_scheme_is_read_without_case() {
        for value in ["Bearer abc", "bearer abc", "BEARER  abc", " Bearer abc "] {
            assert_eq!(bearer(Some(value)), Ok("abc"), "{value:?}");
        }
        for value in [None, Some(""), Some(" "), Some("Basic abc"), Some("DPoP abc")] {
            assert_eq!(bearer(value), Err(Rejection::NoToken), "{value:?}");
        }
        for value in ["Bearer", "Bearer ", "Bearer a b", "Bearer a\u{7f}", "Bearer \u{e9}"] {
            assert_eq!(bearer(Some(value)), Err(Rejection::InvalidRequest), "{value:?}");
        }
    }

    #[test]
    fn rfc8414_3_1__the_metadata_is_between_host_and_path() {
        let url = |issuer: &str| metadata_url(issuer).map(|url| url.to_string()).unwrap();
        assert_eq!(url("https://as.test"), "https://as.test/.well-known/oauth-authorization-server");
        assert_eq!(url("https://as.test/t/"), "https://as.test/.well-known/oauth-authorization-server/t");
        assert_eq!(url("https://as.test/a/b"), "https://as.test/.well-known/oauth-authorization-server/a/b");
        assert!(metadata_url("ftp://as.test").is_err());
        assert!(metadata_url("as.test").is_err());
    }

    #[test]
    fn rfc6750_3_1__a_challenge_names_an_error_only_where_a_token_came() {
        assert_eq!(Rejection::NoToken.challenge("r"), "Bearer realm=\"r\"");
        assert!(Rejection::InvalidToken("expired").challenge("r").contains("error=\"invalid_token\""));
        assert_eq!(Rejection::NoToken.challenge("a\"b\\c\r\n"), "Bearer realm=\"abc\"");
    }
}
