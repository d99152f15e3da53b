//! The closed list of signature algorithms. An algorithm outside the list cannot be named in a
//! configuration, so it cannot be accepted by mistake.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A signature algorithm that may be configured (RFC 7518 section 3.1, RFC 8037, RFC 9864).
///
/// `none` and the HMAC family have no variant, so no configuration can allow them. The names of the
/// variants are the registered `alg` values, and also their serde form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[expect(missing_docs, reason = "the names are the registered ones")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    ES512,
    EdDSA,
}

/// The error of parsing an [`Algorithm`]: the contained text is not the name of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a signature algorithm that can be used here")]
pub struct UnknownAlgorithm(pub String);

impl Algorithm {
    /// Every algorithm: the RSA and ECDSA families in the order of RFC 7518, then `EdDSA`.
    pub const ALL: [Self; 10] = [
        Self::RS256,
        Self::RS384,
        Self::RS512,
        Self::PS256,
        Self::PS384,
        Self::PS512,
        Self::ES256,
        Self::ES384,
        Self::ES512,
        Self::EdDSA,
    ];

    /// The registered name, as it is written in the `alg` header parameter and JWK member.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::RS384 => "RS384",
            Self::RS512 => "RS512",
            Self::PS256 => "PS256",
            Self::PS384 => "PS384",
            Self::PS512 => "PS512",
            Self::ES256 => "ES256",
            Self::ES384 => "ES384",
            Self::ES512 => "ES512",
            Self::EdDSA => "EdDSA",
        }
    }

    /// The JWK key type (`kty`) that the algorithm signs with and, for elliptic curves, the curve
    /// (`crv`).
    #[cfg(feature = "crypto")]
    pub(crate) const fn key_type(self) -> (&'static str, Option<&'static str>) {
        match self {
            Self::RS256 | Self::RS384 | Self::RS512 | Self::PS256 | Self::PS384 | Self::PS512 => {
                ("RSA", None)
            }
            Self::ES256 => ("EC", Some("P-256")),
            Self::ES384 => ("EC", Some("P-384")),
            Self::ES512 => ("EC", Some("P-521")),
            // josekit accepts Ed448 for `EdDSA` too; Carnet accepts Ed25519 only.
            Self::EdDSA => ("OKP", Some("Ed25519")),
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = UnknownAlgorithm;

    /// Reads the registered name byte for byte. `Ed25519` (RFC 9864) is read as [`Self::EdDSA`].
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "Ed25519" {
            return Ok(Self::EdDSA);
        }
        Self::ALL
            .into_iter()
            .find(|algorithm| algorithm.name() == text)
            .ok_or_else(|| UnknownAlgorithm(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn algorithm_names_are_compared_byte_for_byte() {
        for algorithm in Algorithm::ALL {
            assert_eq!(algorithm.name().parse(), Ok(algorithm));
        }
        assert_eq!("Ed25519".parse(), Ok(Algorithm::EdDSA));
        for text in ["none", "None", "HS256", "rs256", "RS256 ", "RSA1_5", ""] {
            assert!(text.parse::<Algorithm>().is_err(), "{text:?}");
        }
    }
}
