//! The checks of a JWT access token with a given key set (RFC 9068 section 4).

use carnet_jose::{Algorithm, Compact, KeySet, NoKey};

use crate::Rejection;
use crate::claims::{self, Unproven};

/// A JWT whose header is that of an access token. Its signature is not verified yet.
pub(crate) struct UnverifiedJwt<'t> {
    jws: Compact<'t>,
    algorithm: Algorithm,
}

impl<'t> UnverifiedJwt<'t> {
    /// Splits a token and checks its header.
    ///
    /// # Errors
    ///
    /// [`Rejection::InvalidToken`] if it is malformed, not typed `at+jwt`, or has an unknown
    /// algorithm.
    pub(crate) fn read(token: &'t str) -> Result<Self, Rejection> {
        let invalid = Rejection::InvalidToken;
        let jws = Compact::parse(token).map_err(|_| invalid("malformed"))?;
        if !jws.header.is_type("at+jwt") {
            return Err(invalid("not typed as an access token"));
        }
        let algorithm = jws
            .header
            .algorithm
            .parse()
            .map_err(|_| invalid("algorithm not accepted"))?;
        Ok(Self { jws, algorithm })
    }

    /// Whether the set has the key of the token. If not, a newer set may have it.
    pub(crate) fn is_known_to(&self, keys: &KeySet) -> bool {
        !matches!(
            keys.select(self.algorithm, self.key_id()),
            Err(NoKey::UnknownKeyId)
        )
    }

    /// Checks the signature and then the claims, as of `now` in seconds since 1970.
    ///
    /// # Errors
    ///
    /// [`Rejection::InvalidToken`] with the first check that failed.
    pub(crate) fn verify(
        &self,
        keys: &KeySet,
        issuer: &str,
        resource: &str,
        now: i64,
    ) -> Result<Unproven, Rejection> {
        let invalid = Rejection::InvalidToken;
        let key = keys
            .select(self.algorithm, self.key_id())
            .map_err(|_| invalid("unknown key"))?;
        if !key.verifies(self.jws.signing_input.as_bytes(), &self.jws.signature) {
            return Err(invalid("signature not valid"));
        }
        let claims = self.jws.claims().map_err(|_| invalid("malformed"))?;
        claims::accept(claims, issuer, resource, now)
    }

    fn key_id(&self) -> Option<&str> {
        self.jws.header.key_id.as_deref()
    }
}
