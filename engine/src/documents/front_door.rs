//! The member `front_door` of a resource server: its checks, and its conflicts with other objects.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::reader::Reader;
use super::{ReadContext, ResourceServerDocument, TrustedIssuerDocument};
use crate::model::{FrontDoor, FrontDoorKind, without_port};
use crate::trust::DocumentError;

const MAX_HOSTS: usize = 20;
const MAX_AUDIENCES: usize = 40;
const MAX_AUDIENCE_BYTES: usize = 512;

/// The audiences of public registries, each with the hosts of that registry. An assertion for one of
/// them is good for publishing there, so no other server may ask for it.
const PUBLIC_AUDIENCES: [(&str, &[&str]); 9] = [
    ("pypi", &["pypi.org", "upload.pypi.org"]),
    ("testpypi", &["test.pypi.org"]),
    ("npm:registry.npmjs.org", &["registry.npmjs.org"]),
    ("crates.io", &["crates.io", "static.crates.io"]),
    ("staging.crates.io", &["staging.crates.io"]),
    ("https://www.nuget.org", &["www.nuget.org"]),
    ("https://apiint.nugettest.org", &["apiint.nugettest.org"]),
    ("rubygems.org", &["rubygems.org"]),
    ("https://pub.dev", &["pub.dev"]),
];

/// The front door of a resource server: the endpoints at which its own publishing tools trade an
/// assertion for a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct FrontDoorDocument {
    /// The protocol: `pypi`, `npm`, `crates-io`, `nuget` or `rubygems`.
    #[schema(value_type = String)]
    pub kind: FrontDoorKind,
    /// The hosts at which the registry's tools ask, as `host` or `host:port`. Required for `pypi`
    /// and `npm`, whose tools ask at the root of the registry's host.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// The values of `aud` that assertions presented here have to carry; by default those that the
    /// tools ask for at these hosts.
    #[serde(default)]
    pub audiences: Option<Vec<String>>,
    /// The names of the trusted issuers whose assertions are accepted here; `null` for all.
    #[serde(default)]
    pub trusted_issuers: Option<Vec<String>>,
}

impl FrontDoorDocument {
    /// Reads the member. The pointers of mistakes are relative to it.
    pub(super) fn read(given: &Value) -> Result<Self, Vec<DocumentError>> {
        let Value::Object(members) = given else {
            return Err(vec![DocumentError::new("", "must be an object or null")]);
        };
        Self::read_members(members)
    }

    fn read_members(members: &Map<String, Value>) -> Result<Self, Vec<DocumentError>> {
        let mut reader = Reader::new(members);
        let kind = reader.required_text("kind");
        let known = FrontDoorKind::from_name(&kind);
        if known.is_none() && !kind.is_empty() {
            let names = FrontDoorKind::ALL.map(FrontDoorKind::name).join(", ");
            reader.problem("kind", format!("must be one of {names}"));
        }
        // Kept in the order given: the first one is the audience of a `pypi` door.
        let hosts: Vec<String> = reader.texts("hosts").unwrap_or_default();
        let hosts: Vec<String> = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        if hosts.len() > MAX_HOSTS {
            reader.problem("hosts", format!("must name at most {MAX_HOSTS} hosts"));
        }
        for (at, host) in hosts.iter().enumerate() {
            if !is_host(host) {
                let detail = "must be a host name or address, with :port where only that port is meant: no scheme, no path, and neither 80 nor 443, which tools leave out of Host";
                reader.problem(&format!("hosts/{at}"), detail);
            } else if hosts.iter().take(at).any(|other| other == host) {
                reader.problem(&format!("hosts/{at}"), "must not name a host twice");
            }
        }
        let audiences = reader.texts("audiences");
        let trusted_issuers = reader.texts("trusted_issuers");
        for (at, name) in trusted_issuers.iter().flatten().enumerate() {
            let mut before = trusted_issuers.iter().flatten().take(at);
            if before.any(|other| other != name && other.eq_ignore_ascii_case(name)) {
                let detail = "must not name a trusted issuer twice; letter case does not count";
                reader.problem(&format!("trusted_issuers/{at}"), detail);
            }
        }
        if trusted_issuers.as_ref().is_some_and(Vec::is_empty) {
            let detail =
                "must name at least one trusted issuer; leave it out to accept all of them";
            reader.problem("trusted_issuers", detail);
        }
        if let Some(kind) = known {
            if hosts.is_empty() && kind.needs_hosts() {
                let detail = format!(
                    "must name the host of the registry: {} tools ask at its root, so a door under a path cannot be found",
                    kind.name()
                );
                reader.problem("hosts", detail);
            } else if hosts.is_empty() && audiences.is_none() {
                let detail = "must be given where there are no hosts: it is what the tool asks its platform for";
                reader.problem("audiences", detail);
            }
            for (at, audience) in audiences.iter().flatten().enumerate() {
                if let Some(detail) = wrong_with_audience(audience, &hosts) {
                    reader.problem(&format!("audiences/{at}"), detail);
                }
            }
        }
        if audiences
            .as_ref()
            .is_some_and(|given| given.is_empty() || given.len() > MAX_AUDIENCES)
        {
            reader.problem(
                "audiences",
                format!("must hold 1 to {MAX_AUDIENCES} audiences"),
            );
        }
        let document = known.map(|kind| Self {
            kind,
            hosts,
            audiences,
            trusted_issuers,
        });
        let document = reader.finish(document)?;
        document.ok_or_else(Vec::new)
    }

    /// The accepted audiences: those given, or else the ones that the tools ask for.
    pub fn accepted_audiences(&self) -> Vec<String> {
        self.audiences
            .clone()
            .unwrap_or_else(|| self.kind.audiences_of(&self.hosts))
    }

    /// The door in the form that requests are decided by.
    pub(super) fn compile(&self) -> FrontDoor {
        FrontDoor {
            kind: self.kind,
            hosts: self.hosts.clone(),
            audiences: self.accepted_audiences(),
            trusted_issuers: self
                .trusted_issuers
                .as_ref()
                .map(|names| names.iter().map(|name| name.to_ascii_lowercase()).collect()),
        }
    }

    fn takes(&self, issuer: &str) -> bool {
        self.trusted_issuers
            .as_ref()
            .is_none_or(|names| names.iter().any(|name| name.eq_ignore_ascii_case(issuer)))
    }

    /// Mistakes by which the door conflicts with that of another resource server: tools find a door
    /// by host and protocol. And an assertion that is good once for each package must not be good
    /// once more at a door that takes it once.
    pub(super) fn conflicts_with(&self, name: &str, other: &Self) -> Vec<DocumentError> {
        if self.kind.names_package() != other.kind.names_package() {
            let theirs = other.accepted_audiences();
            let ours = self.accepted_audiences();
            let shared = ours.into_iter().find(|audience| theirs.contains(audience));
            let problem = |audience: String| {
                let detail = format!(
                    "must not hold `{audience}`, which the {} front door of resource server {name} accepts: an assertion is good once for each package at npm doors alone",
                    other.kind.name()
                );
                DocumentError::new("/front_door/audiences", detail)
            };
            return shared.map(problem).into_iter().collect();
        }
        if self.kind != other.kind {
            return Vec::new();
        }
        let meets = |ours: &String, theirs: &String| {
            ours == theirs
                || (without_port(ours) == without_port(theirs)
                    && (without_port(ours) == ours || without_port(theirs) == theirs))
        };
        let taken = self
            .hosts
            .iter()
            .enumerate()
            .filter(|(_, ours)| other.hosts.iter().any(|theirs| meets(ours, theirs)));
        taken
            .map(|(at, host)| {
                let detail = format!(
                    "must not be {host}: resource server {name} has its {} front door there",
                    self.kind.name()
                );
                DocumentError::new(format!("/front_door/hosts/{at}"), detail)
            })
            .collect()
    }
}

/// Mistakes by which a front door conflicts with trusted issuers. An assertion is for the token
/// endpoint or for a door, never for both, and at a door its `iss` alone has to tell whose keys
/// verify it.
pub fn door_conflicts<'i>(
    server: &ResourceServerDocument,
    issuers: impl Iterator<Item = (&'i str, &'i TrustedIssuerDocument)> + Clone,
    context: ReadContext<'_>,
) -> Vec<DocumentError> {
    let Some(door) = &server.front_door else {
        return Vec::new();
    };
    let mut problems = Vec::new();
    let taken = issuers.clone().filter(|(name, _)| door.takes(name));
    let audiences = door.accepted_audiences();
    // An assertion that the door takes is also one of every other trusted issuer with its `iss`.
    let speaks_for_taken = |issuer: &TrustedIssuerDocument| {
        let mut taken = taken.clone();
        taken.any(|(_, other)| have_same_assertions(issuer, other))
    };
    for (name, issuer) in issuers.filter(|(_, issuer)| speaks_for_taken(issuer)) {
        let theirs = issuer.accepted_audiences(context);
        if let Some(shared) = audiences.iter().find(|audience| theirs.contains(audience)) {
            let detail = format!(
                "must not hold `{shared}`, which trusted issuer {name} accepts at the token endpoint: an assertion is for one of the two"
            );
            problems.push(DocumentError::new("/front_door/audiences", detail));
        }
    }
    for (at, (name, issuer)) in taken.clone().enumerate() {
        let mut before = taken.clone().take(at);
        if let Some((other, _)) = before.find(|(_, other)| have_same_assertions(issuer, other)) {
            let detail = format!(
                "must name only one of {other} and {name}: both have the same issuer or trust domain, and assertions presented here have the same audience"
            );
            problems.push(DocumentError::new("/front_door/trusted_issuers", detail));
        }
    }
    problems
}

/// The mistake of a door that accepts an audience of this server's own endpoints, whatever the trusted
/// issuers accept: clients prove themselves at the token endpoint with such assertions.
pub fn own_audiences(
    server: &ResourceServerDocument,
    context: ReadContext<'_>,
) -> Vec<DocumentError> {
    let own = [
        context.own.issuer().to_owned(),
        context.own.token_endpoint(),
        context.own.admin_resource(),
    ];
    let door = server.front_door.as_ref();
    let audiences = door.map(FrontDoorDocument::accepted_audiences);
    let shared = audiences.iter().flatten().find(|one| own.contains(one));
    let problem = |audience: &String| {
        let detail = format!(
            "must not hold `{audience}`, an audience of this server's own endpoints: give the door a host or audiences of its own"
        );
        DocumentError::new("/front_door/audiences", detail)
    };
    shared.map(problem).into_iter().collect()
}

/// Whether two trusted issuers have the same assertions: the same `iss`, or SPIFFE ids of the same
/// trust domain.
fn have_same_assertions(one: &TrustedIssuerDocument, other: &TrustedIssuerDocument) -> bool {
    other.issuer == one.issuer
        || (other.trust_domain.is_some() && other.trust_domain == one.trust_domain)
}

/// The mistake of a trusted issuer that a front door names and that does not exist.
pub fn no_issuer_at_door(at: usize, name: &str) -> DocumentError {
    let detail = format!("must be an existing trusted issuer; there is no trusted issuer {name}");
    DocumentError::new(format!("/front_door/trusted_issuers/{at}"), detail)
}

fn is_host(host: &str) -> bool {
    let name = without_port(host);
    let port = host.strip_prefix(name).unwrap_or_default();
    let is_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_sent_port);
    // `url` accepts what may stand between `//` and the path of a URL, and writes it canonically.
    let canonical = url::Host::parse(name).is_ok_and(|host| host.to_string() == name);
    is_port && host.len() <= 260 && canonical
}

/// Whether clients send a port, in this form, in `Host`: they leave out the default ports.
fn is_sent_port(text: &str) -> bool {
    let parsed = text.parse::<u16>();
    parsed.is_ok_and(|port| ![0, 80, 443].contains(&port) && port.to_string() == text)
}

fn wrong_with_audience(audience: &str, hosts: &[String]) -> Option<String> {
    if audience.len() > MAX_AUDIENCE_BYTES || audience.contains(char::is_control) {
        return Some(format!(
            "must be at most {MAX_AUDIENCE_BYTES} bytes without control characters"
        ));
    }
    let (_, registry) = PUBLIC_AUDIENCES
        .into_iter()
        .find(|(public, _)| public.eq_ignore_ascii_case(audience))?;
    let is_that_registry = hosts
        .iter()
        .any(|host| registry.contains(&without_port(host)));
    (!is_that_registry).then(|| {
        format!(
            "must not be `{audience}`, the audience of a public registry: whoever gets such an assertion could publish there"
        )
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn mistakes(document: Value) -> Vec<String> {
        match FrontDoorDocument::read(&document) {
            Ok(_) => Vec::new(),
            Err(mistakes) => mistakes
                .into_iter()
                .map(|mistake| mistake.pointer)
                .collect(),
        }
    }

    #[test]
    fn mistakes_in_a_front_door_are_told_where_they_are() {
        let none: [&str; 0] = [];
        for (document, pointers) in [
            (
                json!({ "kind": "npm", "hosts": ["registry.example"] }),
                &none[..],
            ),
            (
                json!({ "kind": "pypi", "hosts": ["[::1]:8443", "Registry.Example"] }),
                &none,
            ),
            (
                json!({ "kind": "crates-io", "audiences": ["carnet.example/registry/crates"] }),
                &none,
            ),
            (
                json!({ "kind": "crates-io", "hosts": ["crates.io"], "audiences": ["crates.io"] }),
                &none,
            ),
            (
                json!({ "kind": "crates-io", "hosts": ["r.example"], "audiences": ["crates.io"] }),
                &["/audiences/0"],
            ),
            (
                json!({ "kind": "npm", "hosts": ["r.example"], "audiences": ["NPM:registry.npmjs.org"] }),
                &["/audiences/0"],
            ),
            (json!({ "kind": "npm" }), &["/hosts"]),
            (json!({ "kind": "pypi", "hosts": [] }), &["/hosts"]),
            (json!({ "kind": "nuget" }), &["/audiences"]),
            (
                json!({ "kind": "nuget", "hosts": ["r.example"], "audiences": [] }),
                &["/audiences"],
            ),
            (
                json!({ "kind": "maven", "hosts": ["r.example"] }),
                &["/kind"],
            ),
            (json!({ "hosts": ["r.example"] }), &["/kind"]),
            (
                json!({ "kind": "npm", "hosts": ["https://r.example", "r.example/x", "r.example:0", "a b", "r.example:99999"] }),
                &["/hosts/0", "/hosts/1", "/hosts/2", "/hosts/3", "/hosts/4"],
            ),
            (
                json!({ "kind": "npm", "hosts": ["r.example", "R.example"] }),
                &["/hosts/1"],
            ),
            (
                json!({ "kind": "npm", "hosts": ["r.example"], "trusted_issuers": [] }),
                &["/trusted_issuers"],
            ),
            (
                json!({ "kind": "npm", "hosts": ["r.example"], "host": "x" }),
                &["/host"],
            ),
            (json!("npm"), &[""]),
        ] {
            assert_eq!(mistakes(document.clone()), pointers, "{document}");
        }
    }

    #[test]
    fn two_doors_of_one_protocol_never_share_a_host() {
        let door = |kind: &str, hosts: &[&str]| {
            FrontDoorDocument::read(&json!({ "kind": kind, "hosts": hosts })).unwrap()
        };
        let ours = door("npm", &["a.test", "b.test:1"]);
        for (other, shared) in [
            (door("npm", &["c.test"]), 0),
            (door("pypi", &["a.test"]), 0),
            (door("npm", &["a.test"]), 1),
            // Without a port the door answers at every port.
            (door("npm", &["a.test:9"]), 1),
            (door("npm", &["b.test"]), 1),
            (door("npm", &["b.test:2"]), 0),
            (door("npm", &["b.test:1", "a.test"]), 2),
        ] {
            assert_eq!(
                ours.conflicts_with("other", &other).len(),
                shared,
                "{other:?}"
            );
        }
    }
}
