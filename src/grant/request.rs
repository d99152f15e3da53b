//! From a form to what is asked for: presence and shape of the grant's parameters (decision D-01, step 7).

use std::fmt;
use std::net::IpAddr;

use axum::http::HeaderMap;
use carnet_jose::json::{self, Limits};
use serde_json::Value;

use super::{GrantType, record};
use crate::app::App;
use crate::client::{self, ClientCredentials, ClientIdentity};
use crate::form::TokenForm;
use crate::ids::EventId;
use crate::objects::is_resource;
use crate::own_tokens::{FEDERATED, LiveToken};
use crate::principal::{AccessRequest, DetailRequest};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scope::ScopeSet;
use crate::trust::MatchedRule;

/// How many packages the details of a request may name in all: each is compared with every permitted pattern.
const MAX_PACKAGES: usize = 200;
/// How many resources, details or packages of a detail a request may name.
const MAX_LISTED: usize = 100;
const MAX_PRINCIPAL_BYTES: usize = 128;
const MAX_AUDIENCE_BYTES: usize = 2048;
/// The type of our own access tokens (RFC 8693 section 3).
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// A request for a token. Only [`GrantRequest::read`] makes one.
#[derive(Debug)]
pub struct GrantRequest<'a> {
    /// Its audit event's id, and the `error_id` of a refusal.
    pub(super) id: EventId,
    pub(super) grant_type: GrantType,
    pub(super) client: ClientIdentity,
    /// The rules that admitted a client without a key of its own.
    pub(super) admitted: Vec<MatchedRule>,
    pub(super) presented: Presented<'a>,
    pub(super) actor: Option<ActorToken<'a>>,
    pub(super) access: AccessRequest,
    /// Where it comes from.
    pub(super) address: Option<IpAddr>,
}

/// What a request rests on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Presented<'a> {
    /// An assertion of a trusted issuer.
    Assertion(&'a str),
    /// An access token of ours (RFC 8693 section 3).
    AccessToken(&'a str),
    /// The client itself.
    Client,
    /// The client itself, for our own admin API.
    ClientForAdmin,
}

/// Who acts for the subject (RFC 8693 section 2.1).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum ActorToken<'a> {
    Assertion(&'a str),
    AccessToken(&'a str),
}

// Tokens are in no log.
impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Assertion(_) => "Assertion",
            Self::AccessToken(_) => "AccessToken",
            Self::Client => "Client",
            Self::ClientForAdmin => "ClientForAdmin",
        })
    }
}

impl fmt::Debug for ActorToken<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Assertion(_) => "Assertion",
            Self::AccessToken(_) => "AccessToken",
        })
    }
}

impl<'a> GrantRequest<'a> {
    /// Reads what a form asks for: grant type, client, parameters (decision D-01, steps 3 to 7). `grant` becomes the grant as
    /// soon as it is known, since it decides how a later refusal is answered.
    pub async fn read(
        app: &App,
        form: &'a TokenForm<'_>,
        headers: &HeaderMap,
        (id, address): (EventId, Option<IpAddr>),
        grant: &mut Option<GrantType>,
    ) -> Result<Self, Refusal> {
        let grant_type = *grant.insert(grant_type(form)?);
        let credentials = ClientCredentials::read(form, headers)?;
        let client = client::authenticate(app, &credentials, address).await?;
        match client.client() {
            Some(client) if !client.grant_types.contains(&grant_type) => return Err(Reason::ClientNotAllowed.into()),
            None if grant_type == GrantType::ClientCredentials => {
                return Err(Reason::ClientAuthenticationFailed.into());
            }
            _ => {}
        }
        let access = access_request(form, grant_type)?;
        let presented = presented(app, form, grant_type, &client, &access)?;
        let actor = if grant_type == GrantType::TokenExchange { actor(form)? } else { None };
        if grant_type == GrantType::TokenExchange
            && let Some(wanted) = form.get("requested_token_type")
            && wanted != ACCESS_TOKEN
        {
            return Err(Refusal::parameter(Reason::TokenTypeUnsupported, "requested_token_type"));
        }
        let mut request = Self { id, grant_type, client, admitted: Vec::new(), presented, actor, access, address };
        request.admitted = request.admit_client(app)?;
        Ok(request)
    }

    /// What it rests on.
    pub fn presented(&self) -> Presented<'a> {
        self.presented
    }

    /// What is asked for beside presenting it.
    pub fn access(&self) -> &AccessRequest {
        &self.access
    }

    /// Whether the client that sends it is what it is about.
    pub(super) fn is_about_client(&self) -> bool {
        self.grant_type == GrantType::ClientCredentials
    }

    /// A client uses the tokens it was given itself; one that nobody's client asked for belongs to whoever holds it.
    pub(super) fn check_ownership(&self, token: &LiveToken) -> Result<(), Refusal> {
        let owner = &token.claims().client_id;
        let own = owner.starts_with(FEDERATED) || self.client.id() == Some(owner);
        if own { Ok(()) } else { Err(Reason::TokenOfAnotherClient.into()) }
    }

    /// A client without a key of its own is authenticated if one of the rules it lists admits its assertion. Where that assertion is the
    /// subject as well, this is decided with the rest.
    fn admit_client(&self, app: &App) -> Result<Vec<MatchedRule>, Refusal> {
        if matches!(self.presented, Presented::Assertion(_)) && self.is_about_client() {
            return Ok(Vec::new());
        }
        client::admit(app, &self.client, client::FirstMatch::Pins).map_err(|denial| {
            if let Some((assertion, _)) = self.client.federated() {
                app.audit(record::refused(self, assertion, &denial));
            }
            denial.refusal.of_client()
        })
    }
}

/// What the request rests on, by grant.
fn presented<'a>(
    app: &App,
    form: &'a TokenForm<'_>,
    grant_type: GrantType,
    client: &ClientIdentity,
    access: &AccessRequest,
) -> Result<Presented<'a>, Refusal> {
    match grant_type {
        GrantType::JwtBearer => Ok(Presented::Assertion(form.require("assertion")?)),
        GrantType::TokenExchange => {
            let token = form.require("subject_token")?;
            match token_kind(form.require("subject_token_type")?) {
                Some(TokenKind::Assertion) => Ok(Presented::Assertion(token)),
                Some(TokenKind::AccessToken) => Ok(Presented::AccessToken(token)),
                None => Err(Refusal::parameter(Reason::TokenTypeUnsupported, "subject_token_type")),
            }
        }
        GrantType::ClientCredentials => {
            let admin = app.config.own.admin_resource();
            let for_admin = access.resources.iter().filter(|resource| **resource == admin).count();
            if for_admin == 0 {
                return match client.federated() {
                    Some(_) => Ok(Presented::Assertion(form.require("client_assertion")?)),
                    None => Ok(Presented::Client),
                };
            }
            if for_admin < access.resources.len() {
                return Err(Refusal::parameter(Reason::TargetAmbiguous, "resource"));
            }
            // What our own API permits is said by scopes alone: nothing is ignored that was meant to narrow the token.
            match ["authorization_details", "principal"].into_iter().find(|name| form.get(name).is_some()) {
                Some(name) => Err(Refusal::parameter(Reason::ParameterMalformed, name)),
                None => Ok(Presented::ClientForAdmin),
            }
        }
    }
}

/// The actor token, which has a type if and only if it is there.
fn actor<'a>(form: &'a TokenForm<'_>) -> Result<Option<ActorToken<'a>>, Refusal> {
    let Some(token) = form.get("actor_token") else {
        return match form.get("actor_token_type") {
            Some(_) => Err(Refusal::parameter(Reason::ParameterMissing, "actor_token")),
            None => Ok(None),
        };
    };
    match token_kind(form.require("actor_token_type")?) {
        Some(TokenKind::Assertion) => Ok(Some(ActorToken::Assertion(token))),
        Some(TokenKind::AccessToken) => Ok(Some(ActorToken::AccessToken(token))),
        None => Err(Refusal::parameter(Reason::TokenTypeUnsupported, "actor_token_type")),
    }
}

enum TokenKind {
    Assertion,
    AccessToken,
}

/// The kinds of tokens that are taken (decision D-13): a platform's token is a `jwt`, which many call an `id_token`; `access_token` means
/// one of ours (RFC 8693 section 3).
fn token_kind(name: &str) -> Option<TokenKind> {
    match name {
        "urn:ietf:params:oauth:token-type:jwt" | "urn:ietf:params:oauth:token-type:id_token" => {
            Some(TokenKind::Assertion)
        }
        ACCESS_TOKEN => Some(TokenKind::AccessToken),
        _ => None,
    }
}

/// The grant a form asks for.
fn grant_type(form: &TokenForm<'_>) -> Result<GrantType, Refusal> {
    let name = form.require("grant_type")?;
    GrantType::from_name(name).ok_or(Reason::GrantTypeUnsupported.into())
}

/// What is asked for beside presenting something. `audience` is a parameter of the token exchange alone (decision D-06).
fn access_request(form: &TokenForm<'_>, grant_type: GrantType) -> Result<AccessRequest, Refusal> {
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
    Ok(AccessRequest { resources, audiences, principal, scope, details })
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
