//! The members of one JWK (RFC 7517 section 4): what it is for, and whether it may be used.

use serde_json::{Map, Value};

use crate::{Algorithm, KeyUse, base64url, from_base64, from_base64url, sha256};

/// A smaller modulus is too weak (RFC 7518 section 3.3); a larger one lets the publisher of the key
/// make each verification expensive.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=4096;

/// Encodings, canonical and not, of the points of small order on edwards25519. A signature that
/// verifies under such a public key can be made without any private key.
pub(crate) const ED25519_LOW_ORDER: [&str; 14] = [
    "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "7P_______________________________________38",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIA",
    "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
    "xxdqcD1N2E-6PAt2DRBnDyogU_osOczGTsf9d5KsA3o",
    "xxdqcD1N2E-6PAt2DRBnDyogU_osOczGTsf9d5KsA_o",
    "JuiVj8KyJ7BFw_SJ8u-Y8NXfrAXTxjM5sTgCiG1T_AU",
    "JuiVj8KyJ7BFw_SJ8u-Y8NXfrAXTxjM5sTgCiG1T_IU",
    "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAIA",
    "7P________________________________________8",
    "7f_______________________________________38",
    "7f________________________________________8",
    "7v_______________________________________38",
    "7v________________________________________8",
];

/// What a public key consists of, in one spelling.
pub(crate) fn parameters(jwk: &Map<String, Value>) -> Vec<Vec<u8>> {
    let names = ["kty", "crv", "x", "y", "n", "e"];
    let read = |name: &&str| {
        let value = text(jwk, name).unwrap_or_default();
        match from_base64url(value) {
            // Leading zeros do not change a number.
            Some(bytes) if matches!(*name, "n" | "e") => {
                bytes.into_iter().skip_while(|byte| *byte == 0).collect()
            }
            Some(bytes) if matches!(*name, "x" | "y") => bytes,
            _ => value.as_bytes().to_vec(),
        }
    };
    names.iter().map(read).collect()
}

/// The thumbprint of a key's own certificate.
pub(crate) fn certificate(jwk: &Map<String, Value>) -> Option<String> {
    let chain = jwk.get("x5c").and_then(Value::as_array)?;
    let der = from_base64(chain.first()?.as_str()?)?;
    Some(base64url(sha256(&der)))
}

pub(crate) fn text<'a>(jwk: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    jwk.get(name).and_then(Value::as_str)
}

pub(crate) fn is_for(jwk: &Map<String, Value>, wanted: KeyUse) -> Result<(), &'static str> {
    match (wanted, text(jwk, "use")) {
        (KeyUse::Signature | KeyUse::SignatureOrJwtSvid, None | Some("sig"))
        | (KeyUse::SignatureOrJwtSvid, Some("jwt-svid")) => Ok(()),
        (KeyUse::JwtSvid, Some("jwt-svid")) if text(jwk, "kid").is_some() => Ok(()),
        (KeyUse::JwtSvid, Some("jwt-svid")) => Err("it has no `kid`"),
        (KeyUse::JwtSvid, _) => Err("its `use` is not `jwt-svid`"),
        (KeyUse::SignatureOrJwtSvid, _) => Err("its `use` is neither `sig` nor `jwt-svid`"),
        (KeyUse::Signature, _) => Err("its `use` is not `sig`"),
    }
}

/// Checks what the libraries check only in part or not at all (RFC 8725 section 3.4).
pub(crate) fn usable(jwk: &Map<String, Value>) -> Result<(), &'static str> {
    if ["kid", "use", "alg"]
        .iter()
        .any(|name| jwk.get(*name).is_some_and(|value| !value.is_string()))
    {
        return Err("`kid`, `use` or `alg` is not a string");
    }
    match jwk.get("key_ops") {
        None => {}
        Some(Value::Array(operations))
            if operations.iter().any(|operation| operation == "verify") => {}
        Some(_) => return Err("its `key_ops` has no `verify`"),
    }
    let bytes = |name| text(jwk, name).and_then(from_base64url);
    match text(jwk, "kty") {
        Some("RSA") => {
            let (Some(n), Some(e)) = (bytes("n"), bytes("e")) else {
                return Err("`n` or `e` is missing or not base64url");
            };
            rsa_usable(&n, &e)
        }
        Some("EC") => {
            if bytes("x").is_some() && bytes("y").is_some() {
                Ok(())
            } else {
                Err("`x` or `y` is missing")
            }
        }
        Some("OKP") => match text(jwk, "x") {
            Some(x)
                if bytes("x").is_some_and(|x| x.len() == 32) && !ED25519_LOW_ORDER.contains(&x) =>
            {
                Ok(())
            }
            _ => Err("`x` is no point that may be used"),
        },
        Some("oct") => Err("it is symmetric"),
        _ => Err("its `kty` is unknown"),
    }
}

fn rsa_usable(n: &[u8], e: &[u8]) -> Result<(), &'static str> {
    let significant = |bytes: &[u8]| {
        bytes
            .iter()
            .skip_while(|byte| **byte == 0)
            .copied()
            .collect::<Vec<u8>>()
    };
    let (n, e) = (significant(n), significant(e));
    let bits = n.first().map_or(0, |first| {
        n.len()
            .saturating_mul(8)
            .saturating_sub(first.leading_zeros() as usize)
    });
    if !RSA_BITS.contains(&bits) {
        return Err("its modulus is not of 2048 to 4096 bits");
    }
    let odd = |bytes: &[u8]| bytes.last().is_some_and(|byte| byte & 1 == 1);
    if !odd(&n) || !odd(&e) || e == [1] || e.len() > 8 {
        return Err("its modulus is even, or its exponent is even, 1 or huge");
    }
    Ok(())
}

pub(crate) fn fits(jwk: &Map<String, Value>, algorithm: Algorithm) -> bool {
    let (key_type, curve) = algorithm.key_type();
    text(jwk, "kty") == Some(key_type)
        && curve.is_none_or(|curve| text(jwk, "crv") == Some(curve))
        && text(jwk, "alg").is_none_or(|alg| alg.parse() == Ok(algorithm))
}
