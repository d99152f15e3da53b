//! From a form to what is asked for: presence and shape of the grant's parameters (decision D-01, step 7).

use std::net::IpAddr;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use carnet_jose::json::{self, Limits};
use serde_json::Value;

use super::GrantType;
use crate::client::{self, ClientCredentials, ClientIdentity};
use crate::http::TokenForm;
use crate::ids::EventId;
use crate::objects::is_resource;
use crate::principal::{AccessRequest, DetailRequest};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::token::ScopeSet;
use crate::trust::Snapshot;

/// How many packages the details of a request may name in all: each is compared with every permitted pattern.
const MAX_PACKAGES: usize = 200;
/// How many resources, details or packages of a detail a request may name.
const MAX_LISTED: usize = 100;
const MAX_PRINCIPAL_BYTES: usize = 128;

/// A request for a token. Only [`GrantRequest::read`] makes one.
#[derive(Debug)]
pub struct GrantRequest<'a> {
    /// Its audit event's id, and the `error_id` of a refusal.
    pub(super) id: EventId,
    pub(super) grant_type: GrantType,
    pub(super) client: ClientIdentity,
    pub(super) assertion: &'a str,
    pub(super) access: AccessRequest,
    /// Where it comes from.
    pub(super) address: Option<IpAddr>,
}

impl<'a> GrantRequest<'a> {
    /// Reads what a form asks for: grant type, client, parameters (decision D-01, steps 3 to 7). `grant` becomes the grant as
    /// soon as it is known, since it decides how a later refusal is answered.
    pub fn read(
        form: &'a TokenForm<'_>,
        headers: &HeaderMap,
        rules: &Snapshot,
        (id, address): (EventId, Option<IpAddr>),
        grant: &mut Option<GrantType>,
    ) -> Result<Self, Refusal> {
        let grant_type = *grant.insert(grant_type(form)?);
        let client = client::authenticate(&client_credentials(form, headers)?, grant_type, rules)?;
        let assertion = form.require("assertion")?;
        let access = access_request(form)?;
        Ok(Self { id, grant_type, client, assertion, access, address })
    }

    /// The assertion.
    pub fn assertion(&self) -> &'a str {
        self.assertion
    }

    /// What is asked for beside presenting it.
    pub fn access(&self) -> &AccessRequest {
        &self.access
    }
}

/// The grant a form asks for.
fn grant_type(form: &TokenForm<'_>) -> Result<GrantType, Refusal> {
    let name = form.require("grant_type")?;
    GrantType::from_name(name).ok_or(Reason::GrantTypeUnsupported.into())
}

/// What a request carries to say who sends it (RFC 6749 section 2.3).
fn client_credentials(form: &TokenForm<'_>, headers: &HeaderMap) -> Result<ClientCredentials, Refusal> {
    let header = headers.contains_key(AUTHORIZATION);
    let secret = form.get("client_secret").is_some();
    let assertion = form.get("client_assertion").is_some();
    for (given, other) in [("client_assertion", "client_assertion_type"), ("client_assertion_type", "client_assertion")]
    {
        if form.get(given).is_some() {
            form.require(other)?;
        }
    }
    // One method a request; with an assertion among them it is the client that is refused (decision D-12).
    if header && secret && !assertion {
        return Err(Refusal::parameter(Reason::ParameterMalformed, "client_secret"));
    }
    Ok(ClientCredentials {
        client_id: form.get("client_id").map(str::to_owned),
        has_proof: header || secret || assertion,
    })
}

/// What is asked for beside presenting the assertion.
fn access_request(form: &TokenForm<'_>) -> Result<AccessRequest, Refusal> {
    let resources: Vec<String> = form.all("resource").map(str::to_owned).collect();
    if resources.len() > MAX_LISTED || !resources.iter().all(|resource| is_resource(resource)) {
        return Err(Refusal::parameter(Reason::ResourceMalformed, "resource"));
    }
    let scope = form.get("scope").map(ScopeSet::parse).transpose();
    let scope = scope.map_err(|_| Refusal::parameter(Reason::ScopeMalformed, "scope"))?;
    let details = form.get("authorization_details").map(details).transpose()?;
    let principal = form.get("principal").map(str::to_owned);
    if principal.as_ref().is_some_and(|name| name.len() > MAX_PRINCIPAL_BYTES) {
        return Err(Refusal::parameter(Reason::ParameterMalformed, "principal"));
    }
    Ok(AccessRequest { resources, principal, scope, details })
}

/// Reads `authorization_details` (RFC 9396 section 2): an array of objects of the one type we know, with nothing unknown in them.
fn details(text: &str) -> Result<Vec<DetailRequest>, Refusal> {
    match json::value(text.as_bytes(), Limits::TOKEN) {
        Ok(value) => read_details(value),
        Err(error) => Err(malformed(error.to_string())),
    }
}

/// Reads requested details that were parsed as JSON already.
pub fn read_details(value: Value) -> Result<Vec<DetailRequest>, Refusal> {
    let details: Vec<DetailRequest> = serde_json::from_value(value).map_err(|error| malformed(error.to_string()))?;
    if details.is_empty() || details.len() > MAX_LISTED {
        return Err(malformed("an array of 1 to 100 entries".to_owned()));
    }
    if details.iter().map(|detail| detail.packages.len()).sum::<usize>() > MAX_PACKAGES {
        return Err(malformed("at most 200 packages in all".to_owned()));
    }
    match details.iter().find_map(wrong_with) {
        Some(why) => Err(malformed(why.to_owned())),
        None => Ok(details),
    }
}

fn malformed(why: String) -> Refusal {
    Refusal::parameter(Reason::DetailsMalformed, "authorization_details").with_detail(why)
}

fn wrong_with(detail: &DetailRequest) -> Option<&'static str> {
    let texts = |texts: &[String]| {
        (1..=MAX_LISTED).contains(&texts.len()) && texts.iter().all(|text| !text.is_empty() && text.len() <= 256)
    };
    let optional = |text: &Option<String>| text.as_ref().is_none_or(|text| !text.is_empty() && text.len() <= 256);
    let digest = |digest: &String| {
        let hexadecimal = digest.strip_prefix("sha256:").unwrap_or_default();
        hexadecimal.len() == 64 && hexadecimal.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    if detail.kind != carnet_resource_server::DETAIL_TYPE {
        Some("the type is not known")
    } else if !texts(&detail.actions) || !texts(&detail.packages) {
        Some("actions and packages name 1 to 100 texts each")
    } else if !optional(&detail.owner) || !optional(&detail.version) {
        Some("owner and version are texts of at most 256 bytes")
    } else if !detail.digest.as_ref().is_none_or(digest) {
        Some("digest is sha256: and 64 hexadecimal digits in lower case")
    } else if !detail.locations.as_ref().is_none_or(|places| texts(places)) {
        Some("locations names 1 to 100 resources")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rfc9396_2_1__details_are_an_array_of_objects_with_a_type() {
        for text in [
            "",
            "{}",
            "[]",
            "\"x\"",
            "[1]",
            "[{}]",
            "[{\"type\":\"\"}]",
            "not json",
            "[{\"type\":\"package\",\"type\":\"package\",\"actions\":[\"a\"],\"packages\":[\"b\"]}]",
        ] {
            assert_eq!(details(text).unwrap_err().reason, Reason::DetailsMalformed, "{text}");
        }
    }

    #[test]
    fn rfc9396_5_1__unknown_types_and_members_and_bad_values_are_refused() {
        let good = json!({"type": "package", "actions": ["publish"], "packages": ["a"], "version": "1", "digest": format!("sha256:{}", "a".repeat(64)), "owner": "o", "locations": ["https://r/"]});
        assert!(read_details(json!([good])).is_ok());
        for (name, value) in [
            ("type", json!("payment")),
            ("actions", json!([])),
            ("actions", json!("publish")),
            ("packages", json!([""])),
            ("packages", json!(vec!["a"; 101])),
            ("version", json!("")),
            ("version", json!(1)),
            ("digest", json!("sha256:xyz")),
            ("digest", json!(format!("md5:{}", "a".repeat(64)))),
            ("digest", json!(format!("sha256:{}", "A".repeat(64)))),
            ("owner", json!("o".repeat(257))),
            ("locations", json!([])),
            ("extra", json!(1)),
        ] {
            let mut bad = good.clone();
            bad[name] = value.clone();
            assert!(read_details(json!([bad])).is_err(), "{name} {value}");
        }
        let mut missing = good.clone();
        missing.as_object_mut().unwrap().shift_remove("packages");
        assert!(read_details(json!([missing])).is_err());
        assert!(read_details(json!(vec![good; 101])).is_err());
    }
}
