//! Signing and verifying with keys that are prepared once.
//!
//! Verification by the RS algorithms (RFC 7518 section 3.3), and the ES algorithms (section 3.4),
//! which nearly every token needs, call OpenSSL with keys and contexts that are kept. josekit does
//! the rest: it sets up a context for each signature, and OpenSSL looks up its methods under locks.

use josekit::jwk::Jwk;
use josekit::jwk::KeyPair as _;
use josekit::jwk::alg::ec::EcKeyPair;
use josekit::jws::{EdDSA, JwsSigner, JwsVerifier, PS256, PS384, PS512, RS256, RS384, RS512};
use openssl::bn::{BigNum, BigNumContext};
use openssl::ec::{EcGroup, EcKey, EcPoint};
use openssl::ecdsa::EcdsaSig;
use openssl::error::ErrorStack;
use openssl::md::{Md, MdRef};
use openssl::nid::Nid;
use openssl::pkey::{PKey, Private, Public};
use openssl::pkey_ctx::PkeyCtx;
use openssl::rsa::{Padding, Rsa};
use openssl::sha::{Sha256, Sha384, Sha512};
use parking_lot::Mutex;
use serde_json::{Map, Value};

use crate::jwk::text;
use crate::{Algorithm, from_base64url};

/// RFC 7518 section 3.3.
const SMALLEST_RSA_BYTES: u32 = 256;
/// How many contexts of one key are kept. More exist only while more threads verify at once.
const MOST_IDLE: usize = 16;

/// A public key that verifies signatures of one algorithm.
pub(crate) enum Verifier {
    Rsa(RsaVerifier),
    Ecdsa(EcdsaKey<Public>),
    Josekit(Box<dyn JwsVerifier>),
}

/// A private key that makes signatures of one algorithm.
pub(crate) enum Signer {
    Ecdsa(EcdsaKey<Private>),
    Josekit(Box<dyn JwsSigner>),
}

impl Verifier {
    /// Builds the verifier from the public key parameters alone, so that private members reach no
    /// library. What `use`, `key_ops` and `alg` say has been judged before.
    pub(crate) fn from_jwk(jwk: &Map<String, Value>, algorithm: Algorithm) -> Option<Self> {
        Some(match algorithm {
            Algorithm::RS256 | Algorithm::RS384 | Algorithm::RS512 => {
                Self::Rsa(RsaVerifier::from_jwk(jwk, algorithm)?)
            }
            Algorithm::ES256 | Algorithm::ES384 | Algorithm::ES512 => {
                Self::Ecdsa(EcdsaKey::from_public(jwk, algorithm)?)
            }
            Algorithm::PS256 | Algorithm::PS384 | Algorithm::PS512 | Algorithm::EdDSA => {
                Self::Josekit(josekit_verifier(jwk, algorithm)?)
            }
        })
    }

    /// Whether `signature`, in the form of RFC 7518 section 3, is one over `message`. An error of
    /// the library counts as "no".
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self {
            Self::Rsa(key) => key.verifies(message, signature).unwrap_or(false),
            Self::Ecdsa(key) => key.verifies(message, signature).unwrap_or(false),
            // josekit builds its error eagerly, so the cheap check comes first.
            Self::Josekit(key) => !signature.is_empty() && key.verify(message, signature).is_ok(),
        }
    }
}

impl Signer {
    /// The signer of a private key; `None` if `jwk` is not one for `algorithm`.
    pub(crate) fn from_jwk(jwk: &Jwk, algorithm: Algorithm) -> Option<Self> {
        let signer: Box<dyn JwsSigner> = match algorithm {
            Algorithm::ES256 | Algorithm::ES384 | Algorithm::ES512 => {
                return EcdsaKey::from_private(jwk, algorithm).map(Self::Ecdsa);
            }
            Algorithm::RS256 => Box::new(RS256.signer_from_jwk(jwk).ok()?),
            Algorithm::RS384 => Box::new(RS384.signer_from_jwk(jwk).ok()?),
            Algorithm::RS512 => Box::new(RS512.signer_from_jwk(jwk).ok()?),
            Algorithm::PS256 => Box::new(PS256.signer_from_jwk(jwk).ok()?),
            Algorithm::PS384 => Box::new(PS384.signer_from_jwk(jwk).ok()?),
            Algorithm::PS512 => Box::new(PS512.signer_from_jwk(jwk).ok()?),
            Algorithm::EdDSA => Box::new(EdDSA.signer_from_jwk(jwk).ok()?),
        };
        Some(Self::Josekit(signer))
    }

    /// The signature over `message` in the form of RFC 7518 section 3; `None` if the library fails.
    pub(crate) fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Ecdsa(key) => key.sign(message).ok(),
            Self::Josekit(key) => key.sign(message).ok(),
        }
    }
}

fn josekit_verifier(
    jwk: &Map<String, Value>,
    algorithm: Algorithm,
) -> Option<Box<dyn JwsVerifier>> {
    let parameters = ["kty", "crv", "x", "y", "n", "e"]
        .into_iter()
        .filter_map(|name| Some((name.to_owned(), jwk.get(name)?.clone())))
        .collect::<Map<_, _>>();
    let jwk = Jwk::from_map(parameters).ok()?;
    Some(match algorithm {
        Algorithm::PS256 => Box::new(PS256.verifier_from_jwk(&jwk).ok()?),
        Algorithm::PS384 => Box::new(PS384.verifier_from_jwk(&jwk).ok()?),
        Algorithm::PS512 => Box::new(PS512.verifier_from_jwk(&jwk).ok()?),
        Algorithm::EdDSA => Box::new(EdDSA.verifier_from_jwk(&jwk).ok()?),
        _ => return None,
    })
}

/// An RSA public key for one of the RS algorithms, with the contexts that no thread is using.
pub(crate) struct RsaVerifier {
    key: PKey<Public>,
    algorithm: Algorithm,
    idle: Mutex<Vec<PkeyCtx<Public>>>,
}

impl RsaVerifier {
    fn from_jwk(jwk: &Map<String, Value>, algorithm: Algorithm) -> Option<Self> {
        let number = |name| BigNum::from_slice(&from_base64url(text(jwk, name)?)?).ok();
        if text(jwk, "kty") != Some("RSA") {
            return None;
        }
        let key = Rsa::from_public_components(number("n")?, number("e")?).ok()?;
        if key.size() < SMALLEST_RSA_BYTES {
            return None;
        }
        let verifier = Self {
            key: PKey::from_rsa(key).ok()?,
            algorithm,
            idle: Mutex::default(),
        };
        let context = verifier.context().ok()?;
        verifier.keep(context);
        Some(verifier)
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> Result<bool, ErrorStack> {
        let idle = self.idle.lock().pop();
        let mut context = idle.map_or_else(|| self.context(), Ok)?;
        // OpenSSL answers a wrong signature with an error. The context is dropped then, whatever
        // state it is in.
        let verified = context.verify(Digest::of(message, self.algorithm).bytes(), signature)?;
        self.keep(context);
        Ok(verified)
    }

    fn context(&self) -> Result<PkeyCtx<Public>, ErrorStack> {
        let mut context = PkeyCtx::new(&self.key)?;
        context.verify_init()?;
        context.set_rsa_padding(Padding::PKCS1)?;
        context.set_signature_md(message_digest(self.algorithm))?;
        Ok(context)
    }

    fn keep(&self, context: PkeyCtx<Public>) {
        let mut idle = self.idle.lock();
        if idle.len() < MOST_IDLE {
            idle.push(context);
        }
    }
}

/// A key on the curve of one ECDSA algorithm.
pub(crate) struct EcdsaKey<T> {
    key: EcKey<T>,
    algorithm: Algorithm,
}

impl EcdsaKey<Public> {
    fn from_public(jwk: &Map<String, Value>, algorithm: Algorithm) -> Option<Self> {
        let (key_type, curve) = algorithm.key_type();
        if text(jwk, "kty") != Some(key_type) || text(jwk, "crv") != curve {
            return None;
        }
        let (x, y) = (
            coordinate(jwk, "x", algorithm)?,
            coordinate(jwk, "y", algorithm)?,
        );
        let group = EcGroup::from_curve_name(nid(algorithm)).ok()?;
        // An uncompressed point (SEC 1 section 2.3.4). OpenSSL refuses one off the curve.
        let point = [&[4], x.as_slice(), y.as_slice()].concat();
        let mut numbers = BigNumContext::new().ok()?;
        let point = EcPoint::from_bytes(&group, &point, &mut numbers).ok()?;
        Some(Self {
            key: EcKey::from_public_key(&group, &point).ok()?,
            algorithm,
        })
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> Result<bool, ErrorStack> {
        let bytes = coordinate_bytes(self.algorithm);
        // RFC 7518 section 3.4: both numbers in full length, one after the other.
        let Some((r, s)) = signature
            .split_at_checked(bytes)
            .filter(|(_, s)| s.len() == bytes)
        else {
            return Ok(false);
        };
        let (r, s) = (BigNum::from_slice(r)?, BigNum::from_slice(s)?);
        let signature = EcdsaSig::from_private_components(r, s)?;
        signature.verify(Digest::of(message, self.algorithm).bytes(), &self.key)
    }
}

impl EcdsaKey<Private> {
    fn from_private(jwk: &Jwk, algorithm: Algorithm) -> Option<Self> {
        let pair = EcKeyPair::from_jwk(jwk).ok()?;
        let key = PKey::private_key_from_der(&pair.to_der_private_key()).ok()?;
        let key = key.ec_key().ok()?;
        // Each algorithm has one curve (RFC 7518 section 3.4).
        (key.group().curve_name() == Some(nid(algorithm))).then_some(Self { key, algorithm })
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ErrorStack> {
        let digest = Digest::of(message, self.algorithm);
        let signature = EcdsaSig::sign(digest.bytes(), &self.key)?;
        let bytes = i32::try_from(coordinate_bytes(self.algorithm)).unwrap_or(i32::MAX);
        let mut pair = signature.r().to_vec_padded(bytes)?;
        pair.extend(signature.s().to_vec_padded(bytes)?);
        Ok(pair)
    }
}

/// A coordinate in its full length (RFC 7518 sections 6.2.1.2 and 6.2.1.3).
fn coordinate(jwk: &Map<String, Value>, name: &str, algorithm: Algorithm) -> Option<Vec<u8>> {
    from_base64url(text(jwk, name)?).filter(|bytes| bytes.len() == coordinate_bytes(algorithm))
}

/// The length of a coordinate and of each of the two numbers of a signature.
const fn coordinate_bytes(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::ES384 => 48,
        Algorithm::ES512 => 66,
        _ => 32,
    }
}

const fn nid(algorithm: Algorithm) -> Nid {
    match algorithm {
        Algorithm::ES384 => Nid::SECP384R1,
        Algorithm::ES512 => Nid::SECP521R1,
        _ => Nid::X9_62_PRIME256V1,
    }
}

/// The hash of a message by the hash function of an algorithm of the RS and ES families.
enum Digest {
    Sha256([u8; 32]),
    Sha384([u8; 48]),
    Sha512([u8; 64]),
}

impl Digest {
    fn of(message: &[u8], algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::RS384 | Algorithm::ES384 => {
                let mut hasher = Sha384::new();
                hasher.update(message);
                Self::Sha384(hasher.finish())
            }
            Algorithm::RS512 | Algorithm::ES512 => {
                let mut hasher = Sha512::new();
                hasher.update(message);
                Self::Sha512(hasher.finish())
            }
            _ => {
                let mut hasher = Sha256::new();
                hasher.update(message);
                Self::Sha256(hasher.finish())
            }
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(bytes) => bytes,
            Self::Sha384(bytes) => bytes,
            Self::Sha512(bytes) => bytes,
        }
    }
}

fn message_digest(algorithm: Algorithm) -> &'static MdRef {
    match algorithm {
        Algorithm::RS384 => Md::sha384(),
        Algorithm::RS512 => Md::sha512(),
        _ => Md::sha256(),
    }
}

#[cfg(test)]
mod tests {
    use josekit::jws::{ES256, ES384, ES512};

    use super::*;
    use crate::SigningKey;

    /// A key of the algorithm, a message and a signature over it.
    fn signed(algorithm: Algorithm) -> (Verifier, String, Vec<u8>) {
        let key = SigningKey::generate(algorithm).unwrap();
        let token = key.sign(b"{}").unwrap();
        let jws = crate::Compact::parse(&token).unwrap();
        let verifier = Verifier::from_jwk(key.public().jwk(), algorithm).unwrap();
        (verifier, jws.signing_input.to_owned(), jws.signature)
    }

    #[test]
    fn josekit_verifies_what_is_signed_and_what_josekit_signs_is_verified() {
        let es = |algorithm: Algorithm, jwk: &Jwk| -> (Box<dyn JwsSigner>, Box<dyn JwsVerifier>) {
            let public = jwk.to_public_key().unwrap();
            match algorithm {
                Algorithm::ES256 => (
                    Box::new(ES256.signer_from_jwk(jwk).unwrap()),
                    Box::new(ES256.verifier_from_jwk(&public).unwrap()),
                ),
                Algorithm::ES384 => (
                    Box::new(ES384.signer_from_jwk(jwk).unwrap()),
                    Box::new(ES384.verifier_from_jwk(&public).unwrap()),
                ),
                _ => (
                    Box::new(ES512.signer_from_jwk(jwk).unwrap()),
                    Box::new(ES512.verifier_from_jwk(&public).unwrap()),
                ),
            }
        };
        for algorithm in [Algorithm::ES256, Algorithm::ES384, Algorithm::ES512] {
            let key = SigningKey::generate(algorithm).unwrap();
            let jwk = Jwk::from_bytes(key.to_private_jwk().unwrap()).unwrap();
            let (theirs, judge) = es(algorithm, &jwk);
            let (ours, verifier) = (
                Signer::from_jwk(&jwk, algorithm).unwrap(),
                Verifier::from_jwk(key.public().jwk(), algorithm).unwrap(),
            );
            for n in 0..50 {
                let message = format!("message {n}");
                let signature = ours.sign(message.as_bytes()).unwrap();
                assert_eq!(signature.len(), 2 * coordinate_bytes(algorithm));
                judge.verify(message.as_bytes(), &signature).unwrap();
                let signature = theirs.sign(message.as_bytes()).unwrap();
                assert!(verifier.verifies(message.as_bytes(), &signature));
                assert!(!verifier.verifies(b"another", &signature));
            }
        }
    }

    #[test]
    fn a_signature_of_another_form_does_not_verify() {
        for algorithm in [
            Algorithm::RS256,
            Algorithm::RS384,
            Algorithm::RS512,
            Algorithm::ES256,
            Algorithm::ES384,
            Algorithm::ES512,
        ] {
            let (verifier, message, signature) = signed(algorithm);
            let half = signature.len() / 2;
            let (r, s) = signature.split_at(half);
            let zero = vec![0; half];
            for hostile in [
                vec![],
                vec![0],
                signature[1..].to_vec(),
                signature[..signature.len() - 1].to_vec(),
                [&[0], signature.as_slice()].concat(),
                [signature.as_slice(), &[0]].concat(),
                [&zero, s].concat(),
                [r, &zero].concat(),
                [s, r].concat(),
                vec![255; signature.len()],
            ] {
                assert!(
                    !verifier.verifies(message.as_bytes(), &hostile),
                    "{algorithm}"
                );
            }
            // A refused signature spoils neither the key nor a context of it.
            assert!(
                verifier.verifies(message.as_bytes(), &signature),
                "{algorithm}"
            );
        }
    }

    #[test]
    fn a_key_verifies_for_many_threads_at_once_and_keeps_few_contexts() {
        let (verifier, message, signature) = signed(Algorithm::RS256);
        std::thread::scope(|scope| {
            for _ in 0..2 * MOST_IDLE {
                scope.spawn(|| {
                    for _ in 0..20 {
                        assert!(!verifier.verifies(b"another", &signature));
                        assert!(verifier.verifies(message.as_bytes(), &signature));
                    }
                });
            }
        });
        let Verifier::Rsa(key) = verifier else {
            panic!("not an RSA key");
        };
        let kept = key.idle.lock().len();
        assert!((1..=MOST_IDLE).contains(&kept), "{kept}");
    }

    #[test]
    fn a_coordinate_of_another_length_makes_no_key() {
        let key = SigningKey::generate(Algorithm::ES256).unwrap();
        let mut jwk = key.public().jwk().clone();
        let x = from_base64url(text(&jwk, "x").unwrap()).unwrap();
        let longer = [&[0], x.as_slice()].concat();
        jwk.insert("x".to_owned(), crate::base64url(longer).into());
        assert!(Verifier::from_jwk(&jwk, Algorithm::ES256).is_none());
        let wrong = Algorithm::ES384;
        assert!(Verifier::from_jwk(key.public().jwk(), wrong).is_none());
        assert!(Verifier::from_jwk(key.public().jwk(), Algorithm::RS256).is_none());
    }
}
