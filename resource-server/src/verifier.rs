//! Verification of access tokens: offline by signature, or online by introspection.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use carnet_dpop::offer_nonce;
use carnet_jose::{KeySet, MAX_TOKEN_BYTES};
use http::{HeaderMap, HeaderName};

use crate::claims::{self, Unproven};
use crate::introspection::Introspector;
use crate::jwt::UnverifiedJwt;
use crate::kept::Kept;
use crate::possession::Possession;
use crate::sent::{Credential, bearer};
use crate::server::Server;
use crate::{AccessToken, ClientCertificate, Introspection, Proofs, Rejection, Sent, SetUpError};

/// Verifies the access tokens that one authorization server issues for one registry.
///
/// JWTs are verified offline with the keys that the server publishes (RFC 9068 section 4). The keys
/// are found through the server's metadata, cached for 5 minutes, fetched again for an unknown
/// `kid` at most every 30 seconds, and used for up to an hour while the server cannot be reached.
/// Tokens that are not JWTs (opaque keys) are refused, unless the registry may ask the server about
/// them ([`introspecting`](Self::introspecting)).
///
/// Tokens that are bound to a key (`cnf` with `jkt`) are refused, unless the registry was told how to
/// take proofs of possession ([`taking_proofs`](Self::taking_proofs)). Those that are bound to a
/// certificate (`x5t#S256`) are accepted in requests with this certificate
/// ([`Sent::with_certificate`]), and refused in any other.
///
/// A verifier keeps its caches and its HTTP client, so make one and share it. It needs a Tokio
/// runtime.
pub struct Verifier {
    server: Server,
    resource: String,
    keys: Kept<KeySet>,
    introspector: Option<Introspector>,
    key_header: Option<HeaderName>,
    possession: Option<Possession>,
}

/// A request with a valid token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// Its token.
    pub token: AccessToken,
    /// The nonce for the client's next proofs, if that of this proof is not the newest any more (RFC
    /// 9449 section 8.2). Give it to the client with [`add_nonce`](Self::add_nonce): one that does
    /// not learn it here has to send its next request twice.
    pub nonce: Option<String>,
}

impl Verified {
    /// Adds the nonce, if there is one, to the headers of the response: as `DPoP-Nonce`, with
    /// `Cache-Control: no-store`, since no other client must get it from a cache.
    pub fn add_nonce(&self, headers: &mut HeaderMap) {
        if let Some(nonce) = &self.nonce {
            offer_nonce(headers, nonce);
        }
    }
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
            possession: None,
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

    /// Accepts tokens that are bound to a key by its thumbprint too (`cnf` with `jkt`), each with a
    /// proof of possession: in `Authorization: DPoP` with the `DPoP` header (RFC 9449 section 7).
    /// Anywhere else they are refused. Bearer tokens are accepted as before.
    ///
    /// A proof has to be for the public URL of the request: the origin of the resource URI, or what
    /// [`Proofs::reached_at`] says, with the path of the request. The `Host` header does not count.
    ///
    /// # Errors
    ///
    /// [`SetUpError::PublicUrl`] if the resource URI or a URL of [`Proofs::reached_at`] is no http
    /// or https URL, [`SetUpError::Secret`] if the secret is too short, and
    /// [`SetUpError::Cryptography`] if the cryptographic library fails.
    pub fn taking_proofs(self, proofs: Proofs) -> Result<Self, SetUpError> {
        let possession = Possession::new(proofs, &self.resource)?;
        Ok(Self {
            possession: Some(possession),
            ..self
        })
    }

    /// Whether bound tokens are accepted ([`taking_proofs`](Self::taking_proofs)).
    #[must_use]
    pub fn takes_proofs(&self) -> bool {
        self.possession.is_some()
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

    /// Finds and verifies the one access token of a request, as of now, and the proof of possession
    /// that a bound token needs.
    ///
    /// # Errors
    ///
    /// [`Rejection`] if there is no token, more than one, or one that is not valid or cannot be
    /// checked. [`Realm::reject`](crate::Realm::reject) turns it into a response.
    pub async fn verify_request(&self, sent: Sent<'_>) -> Result<Verified, Rejection> {
        self.verify_request_at(sent, now()).await
    }

    /// The same as of `now`, in seconds since 1970: for tests, and for callers with a clock of their
    /// own.
    ///
    /// # Errors
    ///
    /// As for [`verify_request`](Self::verify_request).
    pub async fn verify_request_at(&self, sent: Sent<'_>, now: i64) -> Result<Verified, Rejection> {
        match (self.credential(sent)?, &self.possession) {
            (Credential::Bearer(token), _) => {
                let unproven = self.unproven(token, now).await?;
                let token = unproven.into_bearer(self.takes_proofs(), sent.certificate())?;
                Ok(Verified { token, nonce: None })
            }
            (Credential::Dpop(token), Some(possession)) => {
                let unproven = self.unproven(token, now).await;
                let unproven = unproven.map_err(Rejection::under_dpop)?;
                possession.check(unproven, token, sent, now).await
            }
            // A scheme that is not accepted is none.
            (Credential::Dpop(_), None) => Err(Rejection::NoToken),
        }
    }

    /// Verifies the token in the value of an `Authorization: Bearer` header, as of now. Prefer
    /// [`verify_request`](Self::verify_request), which notices a second token elsewhere in the
    /// request and takes bound tokens, which are refused here.
    ///
    /// # Errors
    ///
    /// [`Rejection`]; [`Rejection::challenges`] are the values of `WWW-Authenticate` for the
    /// response.
    pub async fn verify(&self, authorization: Option<&str>) -> Result<AccessToken, Rejection> {
        self.verify_at(bearer(authorization)?, now()).await
    }

    /// Verifies a token that the registry found itself, such as in the password of an
    /// `Authorization: Basic` header, as of now. One that is bound to a key or to a certificate is
    /// refused, since no proof comes with it.
    ///
    /// # Errors
    ///
    /// [`Rejection::InvalidToken`] if the token is not valid here, [`Rejection::Unavailable`] if it
    /// cannot be checked at the moment.
    pub async fn verify_token(&self, token: &str) -> Result<AccessToken, Rejection> {
        self.verify_at(token, now()).await
    }

    /// Verifies a token that the registry found itself in a request over a connection with this
    /// client certificate, as of now: one that is bound to this certificate is accepted too.
    ///
    /// # Errors
    ///
    /// As for [`verify_token`](Self::verify_token).
    pub async fn verify_token_over(
        &self,
        token: &str,
        certificate: Option<&ClientCertificate>,
    ) -> Result<AccessToken, Rejection> {
        let unproven = self.unproven(token, now()).await?;
        unproven.into_bearer(self.takes_proofs(), certificate)
    }

    /// Verifies a token as of `now`, in seconds since 1970: for tests, and for callers with a clock
    /// of their own. `exp`, `iat` and `nbf` are compared with a leeway of 60 seconds.
    ///
    /// # Errors
    ///
    /// As for [`verify_token`](Self::verify_token).
    pub async fn verify_at(&self, token: &str, now: i64) -> Result<AccessToken, Rejection> {
        let unproven = self.unproven(token, now).await?;
        unproven.into_bearer(self.takes_proofs(), None)
    }

    fn credential<'r>(&self, sent: Sent<'r>) -> Result<Credential<'r>, Rejection> {
        sent.credential(self.key_header.as_ref(), self.takes_proofs())
    }

    /// Verifies a token whose sender may have to prove yet that it is his.
    async fn unproven(&self, token: &str, now: i64) -> Result<Unproven, Rejection> {
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
                if !introspector.is_for_every_token() {
                    return Ok(verified);
                }
                let said = self.verify_online(introspector, token, now).await?;
                // An answer that leaves the binding out must not make a bearer token of it.
                if said.0.cnf != verified.0.cnf {
                    return Err(Rejection::InvalidToken(
                        "bound otherwise than the server says",
                    ));
                }
                Ok(said)
            }
        }
    }

    /// Verifies a JWT by its signature and its claims (RFC 9068 section 4).
    async fn verify_offline(&self, token: &str, now: i64) -> Result<Unproven, Rejection> {
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
    ) -> Result<Unproven, Rejection> {
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
