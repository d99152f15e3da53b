//! What a request asks for: resource servers (RFC 8707), a principal, a scope, details (RFC 9396).

use carnet_access::is_well_formed_name;
use serde::{Deserialize, Serialize};

use crate::assertion::Recipient;
use crate::model::{FrontDoorKind, ResourceServer, Snapshot, TokenFormat};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scope::ScopeSet;
use crate::trust::Door;

/// The parts of a token request that choose and narrow the token, beside the assertion.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AccessRequest {
    /// Values of `resource` (RFC 8707 section 2).
    pub resources: Vec<String>,
    /// Values of `audience` (RFC 8693 section 2.1): URI, alias or name of a resource server.
    pub audiences: Vec<String>,
    /// The name of the principal whose rules are meant.
    pub principal: Option<String>,
    /// The front door that the request came through; `None` at the token endpoint.
    pub front_door: Option<AtFrontDoor>,
    /// `None` asks for all actions that are permitted.
    pub scope: Option<ScopeSet>,
    /// Requested `authorization_details` (RFC 9396); `None` asks for all permissions that fit.
    pub details: Option<Vec<DetailRequest>>,
}

/// Where a request came in that did not come to the token endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtFrontDoor {
    /// The name of the resource server whose front door it is.
    pub resource_server: String,
    pub kind: FrontDoorKind,
    /// The one package that the key is asked for, at doors whose requests name it.
    pub package: Option<String>,
    /// The package in the form in which the registry compares names: an assertion may be used once
    /// for each package, however its name is spelt.
    package_form: Option<String>,
}

impl AtFrontDoor {
    /// The front door of a resource server, for a request that names this package.
    pub fn of(server: &ResourceServer, package: Option<&str>) -> Result<Self, Refusal> {
        let Some(door) = &server.front_door else {
            let name = server.name.as_str();
            return Err(Refusal::parameter(Reason::TargetUnknown, "front_door").received(name));
        };
        let package = package.filter(|_| door.kind.names_package());
        match package {
            None if door.kind.names_package() => {
                return Err(Refusal::parameter(Reason::ParameterMissing, "package"));
            }
            Some(package) if !is_well_formed_name(package) => {
                let what = "it must be the name of a package, without * and white space";
                return Err(
                    Refusal::parameter(Reason::ParameterMalformed, "package").malformed(what)
                );
            }
            _ => {}
        }
        Ok(Self {
            resource_server: server.name.clone(),
            kind: door.kind,
            package: package.map(str::to_owned),
            package_form: package.map(|name| server.package_names.normalise(name).into_owned()),
        })
    }
}

impl AccessRequest {
    /// Whether the request could name a principal.
    pub fn door(&self) -> Door {
        let is_nameless = |at: &AtFrontDoor| !at.kind.names_principal();
        if self.front_door.as_ref().is_some_and(is_nameless) {
            Door::Nameless
        } else {
            Door::Token
        }
    }

    /// The form of the key or token for this registry. Doors that cannot name a principal give
    /// opaque keys: only these may hold entries of several principals.
    pub fn token_format(&self, server: &ResourceServer) -> TokenFormat {
        match self.door() {
            Door::Token => server.token_format,
            Door::Nameless => TokenFormat::Opaque,
        }
    }

    /// Who the assertions of this request have to be meant for. An error if the front door was
    /// removed, or its registry disabled.
    pub fn recipient<'a>(&'a self, snapshot: &'a Snapshot) -> Result<Recipient<'a>, Refusal> {
        let Some(at) = &self.front_door else {
            return Ok(Recipient::TokenEndpoint);
        };
        let door = snapshot
            .resource_server(&at.resource_server)
            .and_then(|server| server.front_door.as_ref())
            .filter(|door| door.kind == at.kind)
            .ok_or_else(|| {
                Refusal::parameter(Reason::TargetUnknown, "front_door")
                    .received(at.resource_server.as_str())
                    .mended_by("The registry is switched off, or its front door was removed: ask its operator.")
            })?;
        Ok(Recipient::FrontDoor {
            door,
            package: at.package_form.as_deref(),
        })
    }
}

/// One requested entry of `authorization_details`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DetailRequest {
    /// Only [`DETAIL_TYPE`](carnet_access::DETAIL_TYPE) is known.
    #[serde(rename = "type")]
    pub kind: String,
    pub actions: Vec<String>,
    /// Package names, or patterns equal to permitted ones.
    pub packages: Vec<String>,
    /// The owner of the packages, by name.
    #[serde(default)]
    pub owner: Option<String>,
    /// Limits the entry to one version of the packages.
    #[serde(default)]
    pub version: Option<String>,
    /// Limits the entry to one artifact, as `sha256:…`.
    #[serde(default)]
    pub digest: Option<String>,
    /// URIs of resource servers. Only that of the token's own resource server is accepted.
    #[serde(default)]
    pub locations: Option<Vec<String>>,
}
