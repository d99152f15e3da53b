//! Certificates as JSON Web Keys (RFC 7517 section 4.7): the form in which clients register theirs.

use carnet_jose::{base64, base64url, from_base64};
use openssl::bn::{BigNum, BigNumContext, BigNumRef};
use openssl::error::ErrorStack;
use openssl::nid::Nid;
use openssl::pkey::{Id, PKeyRef, Public};
use openssl::x509::{X509, X509Ref};
use serde_json::{Map, Value, json};

use super::client::ClientCertificate;

/// The JWK of a certificate: its public key, and the certificate itself as `x5c`. `None` for a kind
/// of key that JWKs do not have.
pub fn jwk(certificate: &X509Ref) -> Option<Map<String, Value>> {
    let mut members = public_members(&*certificate.public_key().ok()?)?;
    let der = certificate.to_der().ok()?;
    members.insert("x5c".to_owned(), json!([base64(der)]));
    Some(members)
}

/// Checks that a JWK has a certificate, that it is that of the key, and that it is strong enough. The
/// error completes the sentence "a key of the set must …".
pub fn check(jwk: &Map<String, Value>) -> Result<(), String> {
    let first = jwk.get("x5c").and_then(|chain| chain.get(0));
    let Some(first) = first.and_then(Value::as_str) else {
        return Err("have x5c, an array that begins with the client's certificate".to_owned());
    };
    let der = from_base64(first).filter(|der| ClientCertificate::from_der(der).is_some());
    let certificate = der.and_then(|der| X509::from_der(&der).ok());
    let certificate = certificate
        .ok_or("have in x5c a certificate in DER as base64, without the lines of PEM")?;
    if !ClientCertificate::of(&certificate).is_some_and(|read| read.is_strong()) {
        return Err("not have a certificate with a key weaker than RSA with 2048 bits".to_owned());
    }
    let key = certificate.public_key().ok();
    let members = key.and_then(|key| public_members(&key));
    let members = members.ok_or("have a certificate with an RSA, EC or Ed25519 key")?;
    match members
        .iter()
        .find(|(name, value)| jwk.get(*name) != Some(value))
    {
        None => Ok(()),
        Some((name, _)) => Err(format!(
            "have the key of its certificate, whose {name} is another (RFC 7517 section 4.7)"
        )),
    }
}

/// The members of a JWK that make the public key (RFC 7518 section 6, RFC 8037 section 2).
fn public_members(key: &PKeyRef<Public>) -> Option<Map<String, Value>> {
    let members = match key.id() {
        Id::RSA => {
            let rsa = key.rsa().ok()?;
            json!({ "kty": "RSA", "n": base64url(rsa.n().to_vec()), "e": base64url(rsa.e().to_vec()) })
        }
        Id::EC => {
            let ec = key.ec_key().ok()?;
            let (curve, length) = match ec.group().curve_name()? {
                Nid::X9_62_PRIME256V1 => ("P-256", 32),
                Nid::SECP384R1 => ("P-384", 48),
                Nid::SECP521R1 => ("P-521", 66),
                _ => return None,
            };
            let (x, y) = coordinates(&ec).ok()?;
            let padded = |number: &BigNumRef| Some(base64url(number.to_vec_padded(length).ok()?));
            json!({ "kty": "EC", "crv": curve, "x": padded(&x)?, "y": padded(&y)? })
        }
        Id::ED25519 => {
            json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url(key.raw_public_key().ok()?) })
        }
        _ => return None,
    };
    match members {
        Value::Object(members) => Some(members),
        _ => None,
    }
}

fn coordinates(key: &openssl::ec::EcKeyRef<Public>) -> Result<(BigNum, BigNum), ErrorStack> {
    let (mut x, mut y) = (BigNum::new()?, BigNum::new()?);
    let mut context = BigNumContext::new()?;
    key.public_key()
        .affine_coordinates(key.group(), &mut x, &mut y, &mut context)?;
    Ok((x, y))
}
