//! The metadata document of an OpenID provider (OpenID Connect Discovery 1.0 section 3).

use serde_json::{Map, Value};
use url::Url;

use super::super::egress::Egress;
use crate::model::{IdentityProvider, KeySource, TrustedIssuer};

/// The metadata of a provider, as far as it is used here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderDocument {
    pub authorization_endpoint: Url,
    pub token_endpoint: Url,
    pub jwks_uri: Url,
    pub userinfo_endpoint: Option<Url>,
    pub end_session_endpoint: Option<Url>,
    /// Whether every answer of the authorization endpoint names its issuer (RFC 9207 section 3).
    pub names_issuer: bool,
    /// `claims_supported`; `None` if the document does not say.
    pub claims: Option<Vec<String>>,
    /// `id_token_signing_alg_values_supported`; `None` if the document does not say.
    pub algorithms: Option<Vec<String>>,
    /// `token_endpoint_auth_methods_supported`; `None` if the document does not say.
    pub auth_methods: Option<Vec<String>>,
}

impl ProviderDocument {
    /// The provider as the cache of keys knows it: for nothing but its keys, under its own id. It
    /// collides with no trusted issuer's, since ids are unique across kinds.
    pub fn keys_of(&self, provider: &IdentityProvider) -> TrustedIssuer {
        TrustedIssuer {
            keys: KeySource::JwksUri {
                uri: self.jwks_uri.to_string(),
                ca_file: None,
                token_file: None,
            },
            enabled: true,
            ..provider.as_issuer()
        }
    }
}

/// Reads the metadata. This server's own requests go to the endpoints of the token, the keys and
/// userinfo; browsers are sent to the other two.
pub(super) fn read(
    document: &Map<String, Value>,
    egress: &Egress,
) -> Result<ProviderDocument, String> {
    if listed(document, "code_challenge_methods_supported")?
        .is_some_and(|methods| methods.iter().all(|method| method != "S256"))
    {
        return Err("code_challenge_methods_supported lacks S256 (RFC 7636)".to_owned());
    }
    if listed(document, "response_types_supported")?
        .is_some_and(|types| types.iter().all(|kind| kind != "code"))
    {
        return Err("response_types_supported lacks code".to_owned());
    }
    let required = |name: &str, url: Option<Url>| url.ok_or_else(|| format!("it has no {name}"));
    let asked = |name| endpoint(document, name, egress, true);
    let shown = |name| endpoint(document, name, egress, false);
    let names_issuer = document.get("authorization_response_iss_parameter_supported");
    Ok(ProviderDocument {
        authorization_endpoint: required(
            "authorization_endpoint",
            shown("authorization_endpoint")?,
        )?,
        token_endpoint: required("token_endpoint", asked("token_endpoint")?)?,
        jwks_uri: required("jwks_uri", asked("jwks_uri")?)?,
        userinfo_endpoint: asked("userinfo_endpoint")?,
        end_session_endpoint: shown("end_session_endpoint")?,
        names_issuer: names_issuer.and_then(Value::as_bool).unwrap_or(false),
        claims: listed(document, "claims_supported")?,
        algorithms: listed(document, "id_token_signing_alg_values_supported")?,
        auth_methods: listed(document, "token_endpoint_auth_methods_supported")?,
    })
}

fn listed(document: &Map<String, Value>, name: &str) -> Result<Option<Vec<String>>, String> {
    let Some(value) = document.get(name).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let texts = value.as_array().and_then(|values| {
        let texts = values.iter().map(|text| text.as_str().map(str::to_owned));
        texts.collect::<Option<Vec<_>>>()
    });
    texts
        .map(Some)
        .ok_or_else(|| format!("its {name} is no list of texts"))
}

/// A URL of the document. One that this server itself sends requests to has to be allowed by the
/// egress rules; browsers are sent to private addresses too.
fn endpoint(
    document: &Map<String, Value>,
    name: &str,
    egress: &Egress,
    is_asked: bool,
) -> Result<Option<Url>, String> {
    let Some(value) = document.get(name).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let url = value.as_str().and_then(|text| Url::parse(text).ok());
    let url = url.ok_or_else(|| format!("its {name} is no absolute URL"))?;
    let is_secure = url.scheme() == "https"
        || (egress.allow_http_loopback
            && url.scheme() == "http"
            && carnet_outbound::is_this_machine(&url));
    if !is_secure || carnet_outbound::has_credentials(&url) || url.fragment().is_some() {
        return Err(format!(
            "its {name} is no https URL without user name and fragment"
        ));
    }
    if is_asked {
        egress
            .check(&url)
            .map_err(|error| format!("its {name}: {error}"))?;
    }
    Ok(Some(url))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Value {
        json!({
            "issuer": "https://login.test/realm",
            "authorization_endpoint": "https://login.test/authorize",
            "token_endpoint": "https://token.test/token",
            "jwks_uri": "https://keys.test/jwks",
            "userinfo_endpoint": "https://login.test/userinfo",
            "end_session_endpoint": "https://login.test/logout",
            "response_types_supported": ["code", "id_token"],
            "code_challenge_methods_supported": ["plain", "S256"],
            "authorization_response_iss_parameter_supported": true,
            "claims_supported": ["sub", "auth_time"],
        })
    }

    fn read_changed(name: &str, value: Value) -> Result<ProviderDocument, String> {
        let mut document = document();
        document[name] = value;
        read(document.as_object().unwrap(), &Egress::default())
    }

    #[test]
    fn endpoints_of_a_provider_may_be_at_other_hosts() {
        let read = read_changed("unknown_member", json!(1)).unwrap();
        assert_eq!(read.token_endpoint.as_str(), "https://token.test/token");
        assert!(read.names_issuer);
        assert_eq!(read.claims.unwrap(), ["sub", "auth_time"]);
        assert_eq!(read.auth_methods, None);
    }

    #[test]
    fn oidcd_4_3__a_document_that_sends_people_or_secrets_elsewhere_is_refused() {
        for (name, value, why) in [
            (
                "authorization_endpoint",
                json!("http://login.test/"),
                "https",
            ),
            (
                "authorization_endpoint",
                json!("javascript:alert(1)"),
                "https",
            ),
            (
                "authorization_endpoint",
                json!("https://u@login.test/"),
                "https",
            ),
            (
                "authorization_endpoint",
                json!("https://login.test/#x"),
                "https",
            ),
            ("authorization_endpoint", Value::Null, "no authorization"),
            ("token_endpoint", json!("http://127.0.0.1/"), "https"),
            ("token_endpoint", json!("https://10.0.0.1/token"), "private"),
            ("token_endpoint", Value::Null, "no token_endpoint"),
            ("jwks_uri", json!("https://169.254.169.254/"), "private"),
            ("jwks_uri", json!("/jwks"), "absolute"),
            ("userinfo_endpoint", json!("https://[::1]/"), "private"),
            ("end_session_endpoint", json!("data:text/html,x"), "https"),
            ("code_challenge_methods_supported", json!(["plain"]), "S256"),
            ("code_challenge_methods_supported", json!("S256"), "list"),
            ("response_types_supported", json!(["id_token"]), "code"),
        ] {
            let error = read_changed(name, value.clone()).unwrap_err();
            assert!(error.contains(why), "{name} {value}: {error}");
        }
    }
}
