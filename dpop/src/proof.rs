//! The checks of a proof (RFC 9449 section 4.3).

use carnet_jose::{
    Algorithm, Compact, Malformed, VerificationKey, base64url, constant_time_eq, sha256, thumbprint,
};
use http::{HeaderMap, HeaderName};
use serde_json::{Map, Value};

use crate::{Nonces, RequestUri};

/// `typ` of proofs (RFC 9449 section 4.2).
pub(crate) const TYPE: &str = "dpop+jwt";
/// The signature algorithms that proofs may have.
pub const ALGORITHMS: [Algorithm; 10] = Algorithm::ALL;
/// The longest `jti`, in bytes (decision D-33).
const MAX_ID_BYTES: usize = 256;
/// How old a proof may be, and how far in the future, in seconds (decision D-47): without a nonce,
/// and with one, which shows when the proof was made.
const WITHOUT_NONCE: (i64, i64) = (60, 30);
const WITH_NONCE: (i64, i64) = (300, 300);

const DPOP: HeaderName = HeaderName::from_static("dpop");

/// The `DPoP` header of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SentProof<'r> {
    /// There is none.
    #[default]
    None,
    /// There is one.
    One(&'r str),
    /// There are several, or one that is not text (RFC 9449 section 4.3, number 1).
    Unreadable,
}

impl<'r> SentProof<'r> {
    /// Reads the headers of a request.
    #[must_use]
    pub fn of(headers: &'r HeaderMap) -> Self {
        let mut values = headers.get_all(DPOP).iter();
        match (values.next(), values.next()) {
            (None, _) => Self::None,
            (Some(value), None) => value.to_str().map_or(Self::Unreadable, Self::One),
            (Some(_), Some(_)) => Self::Unreadable,
        }
    }
}

/// A proof that was verified: the sender of the request has the private key of this thumbprint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    thumbprint: String,
    algorithm: Algorithm,
    uri: RequestUri,
    id: String,
    nonce: Option<String>,
    issued_at: i64,
    in_force_until: i64,
}

/// What a proof has to be for: the request that it came with.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The method of the request.
    pub method: &'a str,
    /// The URIs by which the request may have been sent: public ones, not what a `Host` header says
    /// (decision D-48).
    pub uris: &'a [RequestUri],
    /// The access token that came along; `None` where no token is presented.
    pub token: Option<&'a str>,
    /// The nonces that proofs must have; `None` if none is asked for.
    pub nonces: Option<&'a Nonces>,
    /// The time, in seconds since 1970.
    pub now: i64,
}

/// Why a proof is not accepted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProof {
    /// There is none.
    #[error("the request has no DPoP header")]
    Missing,
    /// There is more than one proof, or one that is not text.
    #[error("there must be one DPoP header with one proof")]
    NotOne,
    /// It is not a compact JWS with a public key in its header.
    #[error("it is not a signed JWT with a jwk header: {0}")]
    Malformed(Malformed),
    /// `typ` is not `dpop+jwt`.
    #[error("its typ is not dpop+jwt")]
    Type,
    /// `alg` is not one of [`ALGORITHMS`].
    #[error("its alg is not accepted")]
    Algorithm,
    /// The key in the header cannot be used.
    #[error("its jwk cannot be used: {0}")]
    Key(&'static str),
    /// The signature is not one of the key in the header.
    #[error("its signature is not by its jwk")]
    Signature,
    /// A claim is missing or has another type.
    #[error("its claim {0} is missing or malformed")]
    Claim(&'static str),
    /// `htm` is another method.
    #[error("its htm is not the method of the request")]
    Method,
    /// `htu` is another URI. The text does not repeat it: anybody may have written it.
    #[error("its htu is not {expected}, where the request went")]
    Uri {
        /// What the proof is for.
        sent: String,
        /// The first of the URIs that would be accepted.
        expected: String,
    },
    /// `iat` is too far from the server's time, `exp` is over, or `nbf` is not reached.
    #[error("it was made at {made_at}, and it is {now} here")]
    Time {
        /// The `iat` of the proof, in seconds since 1970.
        made_at: i64,
        /// The time of the server, in seconds since 1970.
        now: i64,
    },
    /// `nonce` is missing, or not one that this server gave out in the last minutes.
    #[error("its nonce is missing or not in force any more")]
    Nonce,
    /// `ath` is missing or not the hash of the access token.
    #[error("its ath is not the hash of the access token")]
    TokenHash,
    /// The access token is bound to another key.
    #[error("the token is bound to another key than the proof's")]
    OtherKey,
}

impl Expected<'_> {
    /// Verifies the proof of a request whose token is bound to the key of this JWK thumbprint (RFC
    /// 9449 section 7.1).
    ///
    /// # Errors
    ///
    /// As for [`Expected::verify`]; [`InvalidProof::Missing`] or [`InvalidProof::NotOne`] if there
    /// is not one proof, [`InvalidProof::OtherKey`] if it is by another key.
    pub fn verify_by(&self, sent: SentProof<'_>, thumbprint: &str) -> Result<Proof, InvalidProof> {
        let proof = match sent {
            SentProof::None => return Err(InvalidProof::Missing),
            SentProof::Unreadable => return Err(InvalidProof::NotOne),
            SentProof::One(text) => self.verify(text)?,
        };
        if proof.thumbprint == thumbprint {
            Ok(proof)
        } else {
            Err(InvalidProof::OtherKey)
        }
    }

    /// Verifies a proof. Whether it was used before is not looked up: see
    /// [`SpentProofs`](crate::SpentProofs).
    ///
    /// # Errors
    ///
    /// [`InvalidProof`] says which check failed.
    pub fn verify(&self, proof: &str) -> Result<Proof, InvalidProof> {
        let (jws, jwk) = Compact::parse_with_key(proof).map_err(InvalidProof::Malformed)?;
        if !jws.header.is_type(TYPE) {
            return Err(InvalidProof::Type);
        }
        let algorithm = jws.header.algorithm.parse();
        let algorithm = algorithm.map_err(|_| InvalidProof::Algorithm)?;
        let key = VerificationKey::from_header(&jwk, algorithm).map_err(InvalidProof::Key)?;
        let thumbprint = thumbprint(&jwk).ok_or(InvalidProof::Key("its members are no texts"))?;
        let claims = jws.claims().map_err(InvalidProof::Malformed)?;
        let claims = Claims::read(&claims)?;
        // What costs nothing comes before the signature.
        let uri = self.check(&claims)?;
        if !key.verifies(jws.signing_input.as_bytes(), &jws.signature) {
            return Err(InvalidProof::Signature);
        }
        let (past, _) = self.window();
        Ok(Proof {
            thumbprint,
            algorithm,
            uri,
            id: claims.id.to_owned(),
            nonce: claims.nonce.map(str::to_owned),
            issued_at: claims.issued_at,
            in_force_until: claims.issued_at.saturating_add(past),
        })
    }

    fn check(&self, claims: &Claims<'_>) -> Result<RequestUri, InvalidProof> {
        if claims.method != self.method {
            return Err(InvalidProof::Method);
        }
        let uri = RequestUri::parse(claims.uri).filter(|uri| self.uris.contains(uri));
        let uri = uri.ok_or_else(|| InvalidProof::Uri {
            sent: claims.uri.to_owned(),
            expected: self
                .uris
                .first()
                .map(ToString::to_string)
                .unwrap_or_default(),
        })?;
        if let Some(nonces) = self.nonces
            && !claims
                .nonce
                .is_some_and(|nonce| nonces.takes(nonce, self.now))
        {
            return Err(InvalidProof::Nonce);
        }
        let (past, future) = self.window();
        let age = self.now.saturating_sub(claims.issued_at);
        let is_early = claims
            .not_before
            .is_some_and(|start| start > self.now.saturating_add(future));
        let is_over = claims.expires_at.is_some_and(|end| end <= self.now);
        if !(future.saturating_neg()..=past).contains(&age) || is_early || is_over {
            let (made_at, now) = (claims.issued_at, self.now);
            return Err(InvalidProof::Time { made_at, now });
        }
        if let Some(token) = self.token {
            let hash = token_hash(token);
            let is_same = |sent: &str| constant_time_eq(sent.as_bytes(), hash.as_bytes());
            if !claims.token_hash.is_some_and(is_same) {
                return Err(InvalidProof::TokenHash);
            }
        }
        Ok(uri)
    }

    /// How old a proof may be, and how far in the future.
    fn window(&self) -> (i64, i64) {
        if self.nonces.is_some() {
            WITH_NONCE
        } else {
            WITHOUT_NONCE
        }
    }
}

impl Proof {
    /// The JWK thumbprint of the key (RFC 7638 section 3): `jkt` of what is bound to it.
    #[must_use]
    pub fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// The algorithm of its signature.
    #[must_use]
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The nonce that the proof has, if any. Where nonces were asked for
    /// ([`Expected::nonces`]), it is one in force, though perhaps not the newest.
    #[must_use]
    pub fn nonce(&self) -> Option<&str> {
        self.nonce.as_deref()
    }

    #[cfg(test)]
    pub(crate) fn with_id(self, id: &str) -> Self {
        let id = id.to_owned();
        Self { id, ..self }
    }

    /// What tells the proof from others: a hash of URI, key and `jti` (decision D-47).
    #[must_use]
    pub fn key(&self) -> [u8; 32] {
        let parts = [self.uri.as_str(), &self.thumbprint, &self.id];
        sha256(parts.join("\n").as_bytes())
    }

    /// The `iat` of the proof, in seconds since 1970.
    #[must_use]
    pub fn issued_at(&self) -> i64 {
        self.issued_at
    }

    /// Until when the proof would be accepted again if its use were not remembered, in seconds
    /// since 1970.
    #[must_use]
    pub fn in_force_until(&self) -> i64 {
        self.in_force_until
    }
}

/// `ath` of an access token (RFC 9449 section 4.2): the hash of its text.
#[must_use]
pub fn token_hash(token: &str) -> String {
    base64url(sha256(token.as_bytes()))
}

/// The claims of a proof (RFC 9449 section 4.2).
struct Claims<'a> {
    id: &'a str,
    method: &'a str,
    uri: &'a str,
    issued_at: i64,
    not_before: Option<i64>,
    expires_at: Option<i64>,
    nonce: Option<&'a str>,
    token_hash: Option<&'a str>,
}

impl<'a> Claims<'a> {
    fn read(claims: &'a Map<String, Value>) -> Result<Self, InvalidProof> {
        let text = |name: &'static str| match claims.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.as_str())),
            Some(_) => Err(InvalidProof::Claim(name)),
        };
        let needed = |name| text(name)?.ok_or(InvalidProof::Claim(name));
        let time = |name: &'static str| match claims.get(name) {
            None => Ok(None),
            Some(value) => seconds(value).map(Some).ok_or(InvalidProof::Claim(name)),
        };
        let id = needed("jti")?;
        if id.is_empty() || id.len() > MAX_ID_BYTES {
            return Err(InvalidProof::Claim("jti"));
        }
        Ok(Self {
            id,
            method: needed("htm")?,
            uri: needed("htu")?,
            issued_at: time("iat")?.ok_or(InvalidProof::Claim("iat"))?,
            not_before: time("nbf")?,
            expires_at: time("exp")?,
            nonce: text("nonce")?,
            token_hash: text("ath")?,
        })
    }
}

/// A date in seconds since 1970; a fraction is dropped (decision D-34).
fn seconds(value: &Value) -> Option<i64> {
    const MOST: f64 = 9_007_199_254_740_991.0;
    value.as_i64().or_else(|| {
        let number = value
            .as_f64()
            .filter(|number| (0.0..=MOST).contains(number))?;
        #[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
        Some(number.trunc() as i64)
    })
}
