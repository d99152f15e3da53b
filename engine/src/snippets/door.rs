//! The URLs and audiences by which the tools of a registry reach its front door.

use url::Url;

use crate::model::{FrontDoor, FrontDoorKind, ResourceServer, without_port};
use crate::own_urls::OwnUrls;

/// A front door as its tools see it.
#[derive(Debug)]
pub(super) struct Door<'a> {
    pub front: &'a FrontDoor,
    /// The URL at which the tools ask for a key, without a slash at the end.
    pub url: String,
    /// The URL of the registry itself, without a slash at the end.
    pub registry: String,
}

impl<'a> Door<'a> {
    /// The door of a registry, if it has one. Tools ask at the first of its hosts; a door without
    /// hosts is below this server's issuer.
    pub fn of(server: &'a ResourceServer, own: &OwnUrls) -> Option<Self> {
        let front = server.front_door.as_ref()?;
        let (url, registry) = match front.hosts.first() {
            Some(host) => {
                let url = format!("{}://{host}", scheme_at(host, &server.resource));
                (url.clone(), url)
            }
            None => (
                own.at(&format!("/registry/{}", server.name)),
                server.resource.trim_end_matches('/').to_owned(),
            ),
        };
        Some(Self {
            front,
            url,
            registry,
        })
    }

    /// The registry's URL without the scheme.
    pub fn registry_place(&self) -> &str {
        place(&self.registry)
    }

    /// The audience that the door's tools ask their platform for, if the door accepts it.
    pub fn audience(&self) -> Option<String> {
        let accepted = &self.front.audiences;
        let host = self
            .front
            .hosts
            .first()
            .map(String::as_str)
            .unwrap_or_default();
        let asked = match self.front.kind {
            // The tools ask the door, or take what the job says.
            FrontDoorKind::Pypi | FrontDoorKind::Nuget | FrontDoorKind::Rubygems => {
                return accepted.first().cloned();
            }
            FrontDoorKind::Npm => format!("npm:{}", without_port(host)),
            FrontDoorKind::CratesIo => place(&self.url).to_owned(),
        };
        accepted.contains(&asked).then_some(asked)
    }
}

/// `https`, but on a machine of one's own the scheme of the registry at this host.
fn scheme_at(host: &str, resource: &str) -> &'static str {
    let resource = Url::parse(resource).ok();
    let is_plain = resource.is_some_and(|url| {
        let port = url
            .port()
            .map(|port| format!(":{port}"))
            .unwrap_or_default();
        url.scheme() == "http"
            && url
                .host_str()
                .is_some_and(|name| format!("{name}{port}") == host)
    });
    if is_plain { "http" } else { "https" }
}

fn place(url: &str) -> &str {
    url.split_once("://").map_or(url, |(_, place)| place)
}
