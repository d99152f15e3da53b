//! What a token request says: grant type, credentials, and the form of the grant's parameters (decision D-01, steps 3 to 7).

use std::fmt;
use std::net::IpAddr;

use carnet_jose::json::{self, Limits};
use serde_json::Value;

use super::{GRANTS, TokenError};
use crate::client::{AdmittedTo, AuthorizationHeader, ClientCredentials};
use crate::config::OwnUrls;
use crate::documents::is_resource;
use crate::form::TokenForm;
use crate::grant_type::GrantType;
use crate::ids::EventId;
use crate::principal::{AccessRequest, DetailRequest};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scope::ScopeSet;
use crate::trust::Door;

/// How many packages the details of a request may name in all (contract, section 4).
const MAX_PACKAGES: usize = 500;
/// How many resources, actions or places a request may name.
const MAX_LISTED: usize = 100;
/// Bounds of the JSON of `authorization_details`: as many packages as there may be, each in a detail of its own.
const DETAILS: Limits = Limits { depth: 4, members: MAX_PACKAGES, string_bytes: 2048, values: 10_000 };
const MAX_PRINCIPAL_BYTES: usize = 128;
const MAX_AUDIENCE_BYTES: usize = 2048;
/// The parameters that say what is wanted, on every grant.
pub(super) const OF_ACCESS: &[&str] = &["resource", "scope", "authorization_details", "principal"];

/// A request for a token, read and not judged.
#[derive(Debug)]
pub struct GrantRequest<'a> {
    /// Its audit event's id, and the `error_id` of a refusal.
    pub(super) id: EventId,
    /// Where it comes from.
    pub(super) address: Option<IpAddr>,
    pub(super) grant_type: GrantType,
    pub(super) credentials: ClientCredentials<'a>,
    // Faults of the client's come first, so a fault of these waits for its turn.
    pub(super) parameters: Result<Parameters<'a>, Refusal>,
}

/// The parameters of a grant.
#[derive(Debug)]
pub(super) struct Parameters<'a> {
    pub presented: SentSubject<'a>,
    pub actor: Option<SentToken<'a>>,
    pub access: AccessRequest,
}

/// What a request presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SentSubject<'a> {
    Token(SentToken<'a>),
    /// The client itself.
    Client,
    /// The client itself, for our own admin API.
    ClientForAdmin,
}

/// A token that a request presents.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum SentToken<'a> {
    /// Of a trusted issuer.
    Assertion(&'a str),
    /// One of ours (RFC 8693 section 3).
    AccessToken(&'a str),
}

// Tokens are in no log.
impl fmt::Debug for SentToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Assertion(_) => "Assertion",
            Self::AccessToken(_) => "AccessToken",
        })
    }
}

impl<'a> GrantRequest<'a> {
    /// Reads what a form asks for.
    pub fn read(
        form: &'a TokenForm<'_>,
        authorization: AuthorizationHeader<'_>,
        own: &OwnUrls,
        (id, address): (EventId, Option<IpAddr>),
    ) -> Result<Self, TokenError> {
        let grant_type = grant_type(form)?;
        let credentials = ClientCredentials::read(form, authorization).map_err(TokenError::of(grant_type))?;
        Ok(Self { id, address, grant_type, credentials, parameters: Parameters::read(form, grant_type, own) })
    }
}

impl GrantRequest<'_> {
    /// The grant.
    pub fn grant_type(&self) -> GrantType {
        self.grant_type
    }

    /// What it asks for, if that can be read.
    pub fn access(&self) -> Option<&AccessRequest> {
        self.parameters.as_ref().ok().map(|parameters| &parameters.access)
    }
}

impl<'a> Parameters<'a> {
    fn read(form: &'a TokenForm<'_>, grant_type: GrantType, own: &OwnUrls) -> Result<Self, Refusal> {
        let access = read_access(form, grant_type)?;
        let grant = GRANTS.iter().find(|grant| grant.kind == grant_type).ok_or(Reason::GrantTypeUnsupported)?;
        let (presented, actor) = (grant.read)(form, own, &access)?;
        Ok(Self { presented, actor, access })
    }

    /// What the request's client has to be admitted to.
    pub fn admission(&self) -> AdmittedTo {
        if self.presented == SentSubject::Client { AdmittedTo::OwnToken } else { AdmittedTo::Token }
    }
}

/// The grant of a form and what it asks for, if everything in it can be read.
pub fn read_form(form: &TokenForm<'_>, own: &OwnUrls) -> Result<(GrantType, AccessRequest), Refusal> {
    let grant_type = grant_type(form)?;
    Ok((grant_type, Parameters::read(form, grant_type, own)?.access))
}

/// The grant a form asks for.
fn grant_type(form: &TokenForm<'_>) -> Result<GrantType, Refusal> {
    let name = form.require("grant_type")?;
    GrantType::from_name(name).ok_or(Reason::GrantTypeUnsupported.into())
}

/// What is asked for beside presenting something. `audience` is a parameter of the token exchange alone (decision D-06).
pub fn read_access(form: &TokenForm<'_>, grant_type: GrantType) -> Result<AccessRequest, Refusal> {
    let resources: Vec<String> = form.all("resource").map(str::to_owned).collect();
    if resources.len() > MAX_LISTED || !resources.iter().all(|resource| is_resource(resource)) {
        return Err(Refusal::parameter(Reason::ResourceMalformed, "resource"));
    }
    let audiences = form.all("audience").filter(|_| grant_type == GrantType::TokenExchange);
    let audiences: Vec<String> = audiences.map(str::to_owned).collect();
    if audiences.len() > MAX_LISTED || audiences.iter().any(|audience| audience.len() > MAX_AUDIENCE_BYTES) {
        return Err(Refusal::parameter(Reason::TargetUnknown, "audience"));
    }
    let scope = form.get("scope").map(ScopeSet::parse).transpose();
    let scope = scope.map_err(|_| Refusal::parameter(Reason::ScopeMalformed, "scope"))?;
    let details = form.get("authorization_details").map(details).transpose()?;
    let principal = form.get("principal").map(str::to_owned);
    if principal.as_ref().is_some_and(|name| name.len() > MAX_PRINCIPAL_BYTES) {
        return Err(Refusal::parameter(Reason::ParameterMalformed, "principal"));
    }
    Ok(AccessRequest { resources, audiences, principal, door: Door::Token, scope, details })
}

/// Reads `authorization_details` (RFC 9396 section 2): an array of objects of the one type we know, with nothing unknown in them.
fn details(text: &str) -> Result<Vec<DetailRequest>, Refusal> {
    match json::value(text.as_bytes(), DETAILS) {
        Ok(value) => read_details(value),
        Err(error) => Err(malformed(error.to_string())),
    }
}

/// Reads requested details that were parsed as JSON already.
fn read_details(value: Value) -> Result<Vec<DetailRequest>, Refusal> {
    let details: Vec<DetailRequest> = serde_json::from_value(value).map_err(|error| malformed(error.to_string()))?;
    if details.is_empty() {
        return Err(malformed("an array of entries".to_owned()));
    }
    if details.iter().map(|detail| detail.packages.len()).sum::<usize>() > MAX_PACKAGES {
        return Err(malformed(format!("at most {MAX_PACKAGES} packages in all")));
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
    let texts = |texts: &[String], most: usize| {
        (1..=most).contains(&texts.len()) && texts.iter().all(|text| !text.is_empty() && text.len() <= 256)
    };
    let optional = |text: &Option<String>| text.as_ref().is_none_or(|text| !text.is_empty() && text.len() <= 256);
    let digest = |digest: &String| {
        let hexadecimal = digest.strip_prefix("sha256:").unwrap_or_default();
        hexadecimal.len() == 64 && hexadecimal.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    if detail.kind != carnet_resource_server::DETAIL_TYPE {
        Some("the type is not known")
    } else if !texts(&detail.actions, MAX_LISTED) || !texts(&detail.packages, MAX_PACKAGES) {
        Some("actions names 1 to 100 texts, packages 1 to 500")
    } else if !optional(&detail.owner) || !optional(&detail.version) {
        Some("owner and version are texts of at most 256 bytes")
    } else if !detail.digest.as_ref().is_none_or(digest) {
        Some("digest is sha256: and 64 hexadecimal digits in lower case")
    } else if !detail.locations.as_ref().is_none_or(|places| texts(places, MAX_LISTED)) {
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
