//! The checks of keys and certificates in documents, by OpenSSL.

use carnet_jose::{Algorithm, KeySet, KeyUse};
use serde_json::Value;

use crate::documents::KeyMaterial;
use crate::tls::jwk;

/// Checks with the OpenSSL that is linked.
#[derive(Clone, Copy, Debug)]
pub struct OpenSsl;

impl KeyMaterial for OpenSsl {
    fn check_key_set(
        &self,
        jwks: &Value,
        allowed: &[Algorithm],
        wanted: KeyUse,
    ) -> Result<(), String> {
        match KeySet::parse_for(jwks.to_string().as_bytes(), allowed, wanted) {
            Ok(set) if set.has_private_members() => Err("must not hold a private key".to_owned()),
            Ok(set) if set.is_empty() && set.unusable().is_empty() => {
                Err("must hold a usable key, and holds none".to_owned())
            }
            Ok(set) if set.is_empty() => Err(format!(
                "must hold a usable key: {}",
                set.unusable().join("; ")
            )),
            Ok(_) => Ok(()),
            Err(error) => Err(format!("must be a JWK set: {error}")),
        }
    }

    fn check_client_certificates(&self, jwks: &Value) -> Result<(), String> {
        let set = KeySet::parse(jwks.to_string().as_bytes(), &Algorithm::ALL)
            .map_err(|error| format!("must be a JWK set: {error}"))?;
        if set.has_private_members() {
            return Err("must not hold a private key".to_owned());
        }
        let keys = jwks.get("keys").and_then(Value::as_array);
        let keys = keys.filter(|keys| !keys.is_empty());
        let keys = keys.ok_or("must hold a key with the client's certificate, and holds none")?;
        for (at, key) in keys.iter().enumerate() {
            let key = key.as_object().ok_or("must hold keys as objects")?;
            jwk::check(key).map_err(|why| format!("must hold usable keys: key {at} must {why}"))?;
        }
        Ok(())
    }

    fn check_certificates(&self, pem: &str) -> Result<(), String> {
        match reqwest::Certificate::from_pem_bundle(pem.as_bytes()) {
            Ok(found) if !found.is_empty() => Ok(()),
            _ => Err("must be one or more certificates in PEM".to_owned()),
        }
    }
}
