//! Signs anything at all with OpenSSL, the wrong things too. It shares no code with what it tests.

use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use openssl::bn::BigNumContext;
use openssl::ec::{EcGroup, EcKey};
use openssl::ecdsa::EcdsaSig;
use openssl::hash::MessageDigest;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKey, Private};
use openssl::rsa::{Padding, Rsa};
use openssl::sign::{RsaPssSaltlen, Signer};
use serde_json::{Value, json};

/// A private key of a platform.
#[derive(Clone, Debug)]
pub struct TestKey {
    pub kid: String,
    pub algorithm: &'static str,
    pub key: PKey<Private>,
}

impl TestKey {
    /// An RSA key of 2048 bits. They take long to make, so the tests share eight of them.
    pub fn rsa(number: usize) -> Self {
        static KEYS: [OnceLock<PKey<Private>>; 8] = [const { OnceLock::new() }; 8];
        let key =
            KEYS[number].get_or_init(|| PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap());
        Self {
            kid: format!("rsa-{number}"),
            algorithm: "RS256",
            key: key.clone(),
        }
    }

    pub fn small_rsa() -> Self {
        Self {
            kid: "rsa-small".into(),
            algorithm: "RS256",
            key: PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap(),
        }
    }

    pub fn ec(kid: &str, algorithm: &'static str) -> Self {
        let curve = match algorithm {
            "ES256" => Nid::X9_62_PRIME256V1,
            "ES384" => Nid::SECP384R1,
            _ => Nid::SECP521R1,
        };
        let key = EcKey::generate(&EcGroup::from_curve_name(curve).unwrap()).unwrap();
        Self {
            kid: kid.into(),
            algorithm,
            key: PKey::from_ec_key(key).unwrap(),
        }
    }

    pub fn ed25519(kid: &str) -> Self {
        Self {
            kid: kid.into(),
            algorithm: "EdDSA",
            key: PKey::generate_ed25519().unwrap(),
        }
    }

    pub fn named(&self, kid: &str) -> Self {
        Self {
            kid: kid.into(),
            ..self.clone()
        }
    }

    pub fn using(&self, algorithm: &'static str) -> Self {
        Self {
            algorithm,
            ..self.clone()
        }
    }

    /// Its public JWK.
    pub fn jwk(&self) -> Value {
        let mut jwk = match self.key.id() {
            Id::RSA => {
                let rsa = self.key.rsa().unwrap();
                json!({ "kty": "RSA", "n": encode(rsa.n().to_vec()), "e": encode(rsa.e().to_vec()) })
            }
            Id::EC => {
                let key = self.key.ec_key().unwrap();
                let (mut x, mut y) = (
                    openssl::bn::BigNum::new().unwrap(),
                    openssl::bn::BigNum::new().unwrap(),
                );
                let mut context = BigNumContext::new().unwrap();
                key.public_key()
                    .affine_coordinates(key.group(), &mut x, &mut y, &mut context)
                    .unwrap();
                let (curve, size) = match key.group().curve_name().unwrap() {
                    Nid::X9_62_PRIME256V1 => ("P-256", 32),
                    Nid::SECP384R1 => ("P-384", 48),
                    _ => ("P-521", 66),
                };
                json!({
                    "kty": "EC", "crv": curve,
                    "x": encode(x.to_vec_padded(size).unwrap()), "y": encode(y.to_vec_padded(size).unwrap()),
                })
            }
            _ => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(self.key.raw_public_key().unwrap()) })
            }
        };
        jwk["kid"] = json!(self.kid);
        jwk["alg"] = json!(self.algorithm);
        jwk["use"] = json!("sig");
        jwk
    }

    /// The header a platform would write.
    pub fn header(&self) -> Value {
        json!({ "alg": self.algorithm, "kid": self.kid, "typ": "JWT" })
    }

    /// A compact JWS over these claims.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_with_header(&self.header(), claims)
    }

    /// With another header.
    pub fn sign_with_header(&self, header: &Value, claims: &Value) -> String {
        self.sign_raw(header.to_string().as_bytes(), claims.to_string().as_bytes())
    }

    /// With any bytes for header and payload.
    pub fn sign_raw(&self, header: &[u8], payload: &[u8]) -> String {
        let input = format!("{}.{}", encode(header), encode(payload));
        let signature = self.signature(input.as_bytes());
        format!("{input}.{}", encode(signature))
    }

    /// The signature alone, as RFC 7518 lays it out.
    pub fn signature(&self, input: &[u8]) -> Vec<u8> {
        let digest = match &self.algorithm[2..] {
            "256" => MessageDigest::sha256(),
            "384" => MessageDigest::sha384(),
            _ => MessageDigest::sha512(),
        };
        if self.key.id() == Id::ED25519 {
            return Signer::new_without_digest(&self.key)
                .unwrap()
                .sign_oneshot_to_vec(input)
                .unwrap();
        }
        let mut signer = Signer::new(digest, &self.key).unwrap();
        if self.algorithm.starts_with("PS") {
            signer.set_rsa_padding(Padding::PKCS1_PSS).unwrap();
            signer
                .set_rsa_pss_saltlen(RsaPssSaltlen::DIGEST_LENGTH)
                .unwrap();
        }
        let signature = signer.sign_oneshot_to_vec(input).unwrap();
        if self.key.id() != Id::EC {
            return signature;
        }
        let size = usize::try_from(self.key.ec_key().unwrap().group().degree())
            .unwrap()
            .div_ceil(8) as i32;
        let parsed = EcdsaSig::from_der(&signature).unwrap();
        [
            parsed.r().to_vec_padded(size).unwrap(),
            parsed.s().to_vec_padded(size).unwrap(),
        ]
        .concat()
    }

    /// An HMAC over the input with these bytes as secret, for confusing keys with secrets.
    pub fn hmac(secret: &[u8], header: &Value, claims: &Value) -> String {
        let input = format!(
            "{}.{}",
            encode(header.to_string()),
            encode(claims.to_string())
        );
        let key = PKey::hmac(secret).unwrap();
        let mut signer = Signer::new(MessageDigest::sha256(), &key).unwrap();
        format!(
            "{input}.{}",
            encode(signer.sign_oneshot_to_vec(input.as_bytes()).unwrap())
        )
    }
}

/// A compact JWS of three parts as they are.
pub fn compact(header: &[u8], payload: &[u8], signature: &[u8]) -> String {
    format!(
        "{}.{}.{}",
        encode(header),
        encode(payload),
        encode(signature)
    )
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}
