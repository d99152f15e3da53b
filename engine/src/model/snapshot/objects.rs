//! Finds the objects of a snapshot that rules refer to.

use std::sync::Arc;

use super::super::{Client, FrontDoorKind, Principal, ResourceServer, TrustedIssuer};
use super::Snapshot;
use crate::ids::{ClientRowId, TrustedIssuerId};

impl Snapshot {
    /// The enabled trusted issuers with exactly this `iss`.
    pub fn issuers_of(&self, iss: &str) -> impl Iterator<Item = &Arc<TrustedIssuer>> {
        self.issuers_by_iss
            .get(iss)
            .into_iter()
            .flatten()
            .filter(|issuer| issuer.enabled)
    }

    /// The enabled trusted issuers of this SPIFFE trust domain.
    pub fn issuers_of_trust_domain(
        &self,
        domain: &str,
    ) -> impl Iterator<Item = &Arc<TrustedIssuer>> {
        self.issuers_by_trust_domain
            .get(domain)
            .into_iter()
            .flatten()
            .filter(|issuer| issuer.enabled)
    }

    pub fn issuer(&self, id: TrustedIssuerId) -> Option<&Arc<TrustedIssuer>> {
        self.issuers.get(&id)
    }

    /// Whether `issuer` is enabled and its version is the one in this snapshot.
    pub fn is_current(&self, issuer: &TrustedIssuer) -> bool {
        self.issuers
            .get(&issuer.id)
            .is_some_and(|present| present.enabled && present.version == issuer.version)
    }

    /// The trusted issuer of this name, compared without ASCII case.
    pub fn issuer_named(&self, name: &str) -> Option<&Arc<TrustedIssuer>> {
        let id = self.issuer_names.get(&name.to_ascii_lowercase())?;
        self.issuers.get(id)
    }

    pub fn issuers(&self) -> impl Iterator<Item = &Arc<TrustedIssuer>> {
        self.issuers.values()
    }

    /// The enabled resource server with exactly this name.
    pub fn resource_server(&self, name: &str) -> Option<&Arc<ResourceServer>> {
        self.resource_servers
            .get(name)
            .filter(|server| server.enabled)
    }

    /// The resource server that has its front door of this protocol at a host, enabled or not.
    pub fn front_door_at(&self, kind: FrontDoorKind, host: &str) -> Option<&Arc<ResourceServer>> {
        self.front_doors(kind).find(|server| {
            let door = server.front_door.as_ref();
            door.is_some_and(|door| door.is_at(host))
        })
    }

    /// The resource server of this name, enabled or not, if it has a front door of this protocol.
    pub fn front_door_of(&self, kind: FrontDoorKind, name: &str) -> Option<&Arc<ResourceServer>> {
        self.front_doors(kind)
            .find(|server| server.name.eq_ignore_ascii_case(name))
    }

    fn front_doors(&self, kind: FrontDoorKind) -> impl Iterator<Item = &Arc<ResourceServer>> {
        self.resource_servers.values().filter(move |server| {
            let door = server.front_door.as_ref();
            door.is_some_and(|door| door.kind == kind)
        })
    }

    /// The enabled resource server whose URI or alias is `resource`.
    pub fn resource_server_named(&self, resource: &str) -> Option<&Arc<ResourceServer>> {
        self.resource_servers
            .values()
            .find(|server| server.enabled && server.is_named(resource))
    }

    /// The enabled resource server whose URI is `aud`. Aliases do not count, since tokens carry the
    /// URI.
    pub fn resource_server_of(&self, aud: &str) -> Option<&Arc<ResourceServer>> {
        self.resource_servers
            .values()
            .find(|server| server.enabled && server.resource == aud)
    }

    /// The enabled resource server of this name, compared without ASCII case.
    pub fn resource_server_called(&self, name: &str) -> Option<&Arc<ResourceServer>> {
        self.resource_servers
            .values()
            .find(|server| server.enabled && server.name.eq_ignore_ascii_case(name))
    }

    pub fn resource_servers(&self) -> impl Iterator<Item = &Arc<ResourceServer>> {
        self.resource_servers.values()
    }

    pub fn client(&self, client_id: &str) -> Option<&Arc<Client>> {
        self.clients.get(client_id)
    }

    /// The client with this internal id.
    pub fn client_of(&self, id: ClientRowId) -> Option<&Arc<Client>> {
        self.client(self.client_names.get(&id)?)
    }

    pub fn principal_of_id(&self, id: &str) -> Option<&Arc<Principal>> {
        self.principals.get(&**self.principal_names.get(id)?)
    }

    /// The principal whose name in ASCII lower case is `folded`.
    pub fn principal(&self, folded: &str) -> Option<&Arc<Principal>> {
        self.principals.get(folded)
    }

    pub fn principals(&self) -> impl Iterator<Item = &Arc<Principal>> {
        self.principals.values()
    }
}
