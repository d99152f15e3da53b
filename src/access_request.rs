//! Reads what a request asks for: `resource`, `audience`, `scope`, `authorization_details` and
//! `principal` (RFC 8707 section 2, RFC 8693 section 2.1, RFC 6749 section 3.3, RFC 9396 section 2).
//! The token endpoint, explanations and the authorization endpoint read it alike.

use carnet_jose::json::{self, Limits};
use serde_json::Value;

use crate::documents::is_resource;
use crate::form::TokenForm;
use crate::grant_type::GrantType;
use crate::principal::{AccessRequest, DetailRequest};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scope::ScopeSet;

/// How many packages all entries of `authorization_details` may name together.
const MAX_PACKAGES: usize = 500;
/// How many values of `resource` or `audience`, and actions or locations of an entry, are allowed.
const MAX_LISTED: usize = 100;
/// JSON limits of `authorization_details`. They admit [`MAX_PACKAGES`] packages, each in an entry
/// of its own.
const DETAILS: Limits = Limits {
    depth: 4,
    members: MAX_PACKAGES,
    string_bytes: 2048,
    values: 10_000,
};
const MAX_PRINCIPAL_BYTES: usize = 128;
const MAX_AUDIENCE_BYTES: usize = 2048;
/// The parameters that describe the access asked for. All grants know them.
pub const OF_ACCESS: &[&str] = &["resource", "scope", "authorization_details", "principal"];

/// Reads the access asked for. `audience` counts in token exchange alone: other grants ignore it
/// (decision D-06).
pub fn read_access(form: &TokenForm<'_>, grant_type: GrantType) -> Result<AccessRequest, Refusal> {
    let resources: Vec<String> = form.all("resource").map(str::to_owned).collect();
    let wrong = resources.iter().find(|resource| !is_resource(resource));
    if resources.len() > MAX_LISTED || wrong.is_some() {
        let refusal = Refusal::parameter(Reason::ResourceMalformed, "resource");
        return Err(match wrong {
            Some(wrong) => refusal.received(wrong.as_str()),
            None => refusal.malformed(format!("it must be given at most {MAX_LISTED} times")),
        });
    }
    let audiences = form
        .all("audience")
        .filter(|_| grant_type == GrantType::TokenExchange);
    let audiences: Vec<String> = audiences.map(str::to_owned).collect();
    if audiences.len() > MAX_LISTED
        || audiences
            .iter()
            .any(|audience| audience.len() > MAX_AUDIENCE_BYTES)
    {
        return Err(Refusal::parameter(Reason::TargetUnknown, "audience"));
    }
    let scope = form.get("scope").map(ScopeSet::parse).transpose();
    let scope = scope.map_err(|_| {
        Refusal::parameter(Reason::ScopeMalformed, "scope").received(form.get("scope"))
    })?;
    let details = form.get("authorization_details").map(details).transpose()?;
    let principal = form.get("principal").map(principal).transpose()?;
    Ok(AccessRequest {
        resources,
        audiences,
        principal,
        front_door: None,
        scope,
        details,
    })
}

/// Checks the name of a principal.
pub fn principal(name: &str) -> Result<String, Refusal> {
    if name.len() > MAX_PRINCIPAL_BYTES {
        return Err(Refusal::parameter(Reason::ParameterMalformed, "principal")
            .malformed(format!("it must have at most {MAX_PRINCIPAL_BYTES} bytes")));
    }
    Ok(name.to_owned())
}

/// Reads `authorization_details` (RFC 9396 section 2). The one known type is `package`; unknown
/// types and members are refused (RFC 9396 section 5).
fn details(text: &str) -> Result<Vec<DetailRequest>, Refusal> {
    match json::value(text.as_bytes(), DETAILS) {
        Ok(value) => read_details(value),
        Err(error) => Err(malformed(error.to_string())),
    }
}

/// Reads `authorization_details` from parsed JSON.
fn read_details(value: Value) -> Result<Vec<DetailRequest>, Refusal> {
    let details: Vec<DetailRequest> = serde_path_to_error::deserialize(value).map_err(|error| {
        match error.path().to_string() {
            path if path == "." => malformed(error.inner().to_string()),
            path => malformed(format!("{path}: {}", error.inner())),
        }
    })?;
    if details.is_empty() {
        return Err(malformed(
            "it must be an array of one entry or more".to_owned(),
        ));
    }
    if details
        .iter()
        .map(|detail| detail.packages.len())
        .sum::<usize>()
        > MAX_PACKAGES
    {
        return Err(malformed(format!(
            "it must name at most {MAX_PACKAGES} packages in all"
        )));
    }
    match details.iter().find_map(wrong_with) {
        Some(why) => Err(malformed(why.to_owned())),
        None => Ok(details),
    }
}

fn malformed(why: String) -> Refusal {
    Refusal::parameter(Reason::DetailsMalformed, "authorization_details").malformed(why)
}

fn wrong_with(detail: &DetailRequest) -> Option<&'static str> {
    let texts = |texts: &[String], most: usize| {
        (1..=most).contains(&texts.len())
            && texts
                .iter()
                .all(|text| !text.is_empty() && text.len() <= 256)
    };
    let optional = |text: &Option<String>| {
        text.as_ref()
            .is_none_or(|text| !text.is_empty() && text.len() <= 256)
    };
    let digest = |digest: &String| {
        let hexadecimal = digest.strip_prefix("sha256:").unwrap_or_default();
        hexadecimal.len() == 64
            && hexadecimal
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    if detail.kind != carnet_resource_server::DETAIL_TYPE {
        Some("type must be package")
    } else if !texts(&detail.actions, MAX_LISTED) || !texts(&detail.packages, MAX_PACKAGES) {
        Some("actions must name 1 to 100 texts, packages 1 to 500")
    } else if !optional(&detail.owner) || !optional(&detail.version) {
        Some("owner and version must be texts of at most 256 bytes")
    } else if !detail.digest.as_ref().is_none_or(digest) {
        Some("digest must be sha256: and 64 hexadecimal digits in lower case")
    } else if !detail
        .locations
        .as_ref()
        .is_none_or(|places| texts(places, MAX_LISTED))
    {
        Some("locations must name 1 to 100 resources")
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
            assert_eq!(
                details(text).unwrap_err().reason,
                Reason::DetailsMalformed,
                "{text}"
            );
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
            ("packages", json!(vec!["a"; 501])),
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
        assert!(read_details(json!(vec![good; 501])).is_err());
    }
}
