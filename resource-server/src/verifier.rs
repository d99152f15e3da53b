//! Verification of access tokens: offline by signature, or online by introspection.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use carnet_jose::{KeySet, MAX_TOKEN_BYTES};
use http::HeaderName;

use crate::introspection::Introspector;
use crate::jwt::UnverifiedJwt;
use crate::kept::Kept;
use crate::sent::bearer;
use crate::server::Server;
use crate::{AccessToken, Introspection, Rejection, Sent, SetUpError, claims};

/// Verifies the access tokens that one authorization server issues for one registry.
///
/// JWTs are verified offline with the keys that the server publishes (RFC 9068 section 4). The keys
/// are found through the server's metadata, cached for 5 minutes, fetched again for an unknown
/// `kid` at most every 30 seconds, and used for up to an hour while the server cannot be reached.
/// Tokens that are not JWTs (opaque keys) are refused, unless the registry may ask the server about
/// them ([`introspecting`](Self::introspecting)).
///
/// A verifier keeps its caches and its HTTP client, so make one and share it. It needs a Tokio
/// runtime.
pub struct Verifier {
    server: Server,
    resource: String,
    keys: Kept<KeySet>,
    introspector: Option<Introspector>,
    key_header: Option<HeaderName>,
}

impl Verifier {
    /// A verifier for tokens of the server with this issuer identifier, for the registry with this
    /// resource URI. Both are compared byte for byte with `iss` and `aud`, so write them exactly as
    /// in the server's configuration. Nothing is fetched yet.
    ///
    /// # Errors
    ///
    /// [`SetUpError::Issuer`] if the issuer identifier is not an https URL (http for a loopback
    /// address), [`SetUpError::Http`] if the HTTP client cannot be set up.
    pub fn new(issuer: &str, resource: &str) -> Result<Self, SetUpError> {
        let server = Server::new(issuer)?;
        let resource = resource.to_owned();
        Ok(Self {
            server,
            resource,
            keys: Kept::default(),
            introspector: None,
            key_header: None,
        })
    }

    /// Accepts tokens that are not JWTs too, by asking the server about them (RFC 7662).
    #[must_use]
    pub fn introspecting(self, introspection: Introspection) -> Self {
        Self {
            introspector: Some(Introspector::new(introspection)),
            ..self
        }
    }

    /// Accepts a token as the whole value of this header too, such as `X-NuGet-ApiKey`, for clients
    /// that cannot send `Authorization: Bearer`. A request with this header and an `Authorization`
    /// header that does not contain the same token is invalid.
    #[must_use]
    pub fn also_in_header(self, name: HeaderName) -> Self {
        Self {
            key_header: Some(name),
            ..self
        }
    }

    /// The issuer identifier, as given to [`new`](Self::new).
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.server.issuer
    }

    /// The registry's resource URI, as given to [`new`](Self::new).
    #[must_use]
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// Finds and verifies the one access token of a request, as of now.
    ///
    /// # Errors
    ///
    /// [`Rejection`] if there is no token, more than one, or one that is not valid or cannot be
    /// checked. [`Realm::reject`](crate::Realm::reject) turns it into a response.
    pub async fn verify_request(&self, sent: Sent<'_>) -> Result<AccessToken, Rejection> {
        let token = self.token_of(sent)?;
        self.verify_at(token, now()).await
    }

    /// Verifies the token in the value of an `Authorization` header, as of now. Prefer
    /// [`verify_request`](Self::verify_request), which notices a second token elsewhere in the
    /// request.
    ///
    /// # Errors
    ///
    /// [`Rejection`]; [`Rejection::challenge`] is the value of `WWW-Authenticate` for the response.
    pub async fn verify(&self, authorization: Option<&str>) -> Result<AccessToken, Rejection> {
        self.verify_at(bearer(authorization)?, now()).await
    }

    /// Verifies a token that the registry found itself, such as in the password of an
    /// `Authorization: Basic` header, as of now.
    ///
    /// # Errors
    ///
    /// [`Rejection::InvalidToken`] if the token is not valid here, [`Rejection::Unavailable`] if it
    /// cannot be checked at the moment.
    pub async fn verify_token(&self, token: &str) -> Result<AccessToken, Rejection> {
        self.verify_at(token, now()).await
    }

    /// Verifies a token as of `now`, in seconds since 1970: for tests, and for callers with a clock
    /// of their own. `exp`, `iat` and `nbf` are compared with a leeway of 60 seconds.
    ///
    /// # Errors
    ///
    /// As for [`verify_token`](Self::verify_token).
    pub async fn verify_at(&self, token: &str, now: i64) -> Result<AccessToken, Rejection> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(Rejection::InvalidToken("malformed"));
        }
        // Opaque keys have no dot. A token with a dot has to pass as a JWT first: the server is not
        // asked about forgeries.
        let is_jwt = token.contains('.');
        match &self.introspector {
            None => self.verify_offline(token, now).await,
            Some(introspector) if !is_jwt => self.verify_online(introspector, token, now).await,
            Some(introspector) => {
                let verified = self.verify_offline(token, now).await?;
                if introspector.is_for_every_token() {
                    return self.verify_online(introspector, token, now).await;
                }
                Ok(verified)
            }
        }
    }

    pub(crate) fn token_of<'r>(&self, sent: Sent<'r>) -> Result<&'r str, Rejection> {
        sent.token(self.key_header.as_ref())
    }

    /// Verifies a JWT by its signature and its claims (RFC 9068 section 4).
    async fn verify_offline(&self, token: &str, now: i64) -> Result<AccessToken, Rejection> {
        let jwt = UnverifiedJwt::read(token)?;
        let keys = self
            .keys
            .get(now, |keys| jwt.is_known_to(keys), || self.server.keys())
            .await
            .map_err(Rejection::Unavailable)?;
        jwt.verify(&keys, self.issuer(), &self.resource, now)
    }

    /// Verifies a token by what the server says of it now, or said within the cache time (RFC
    /// 7662).
    async fn verify_online(
        &self,
        introspector: &Introspector,
        token: &str,
        now: i64,
    ) -> Result<AccessToken, Rejection> {
        if let Some(verified) = introspector.recent.get(token, now) {
            return Ok(verified);
        }
        let said = introspector.ask(&self.server, token, now).await?;
        let verified = claims::accept(said, self.issuer(), &self.resource, now)?;
        introspector.recent.put(token, &verified, now);
        Ok(verified)
    }
}

impl fmt::Debug for Verifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verifier")
            .field("issuer", &self.server.issuer)
            .field("resource", &self.resource)
            .finish_non_exhaustive()
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place this crate reads the clock"
)]
pub(crate) fn now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    i64::try_from(since).unwrap_or(i64::MAX)
}
