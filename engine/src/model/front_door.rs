//! Front doors: the endpoints of a registry's own protocol, at which its publishing tools trade an
//! assertion for a key.

use serde::{Deserialize, Serialize};

/// The protocol of a front door, named after the registry whose tools speak it.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum FrontDoorKind {
    /// `uv publish`, `twine` and the PyPI action.
    Pypi,
    /// `npm`, `pnpm` and `yarn`.
    Npm,
    /// The action that gets a token for `cargo publish`.
    CratesIo,
    /// The action that gets a key for `dotnet nuget push` and `nuget push`.
    Nuget,
    /// The action that gets a key for `gem push`.
    Rubygems,
}

impl FrontDoorKind {
    pub const ALL: [Self; 5] = [
        Self::Pypi,
        Self::Npm,
        Self::CratesIo,
        Self::Nuget,
        Self::Rubygems,
    ];

    /// The value of `front_door.kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pypi => "pypi",
            Self::Npm => "npm",
            Self::CratesIo => "crates-io",
            Self::Nuget => "nuget",
            Self::Rubygems => "rubygems",
        }
    }

    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }

    /// Whether requests name the principal whose rules are meant. Only NuGet's do (`username`).
    pub fn names_principal(self) -> bool {
        self == Self::Nuget
    }

    /// Whether requests name the one package that the key is for.
    pub fn names_package(self) -> bool {
        self == Self::Npm
    }

    /// Whether the tools only ever ask at the root of the registry's own host, so that the door can
    /// be reached by its host alone: npm drops the path of the registry's URL, and uv looks for
    /// `/_/oidc/` at the root.
    pub fn needs_hosts(self) -> bool {
        matches!(self, Self::Pypi | Self::Npm)
    }

    /// The audiences that the tools ask their platform for, where the registry is reached by these
    /// hosts (`docs/src/reference/front-doors.md`).
    pub fn audiences_of(self, hosts: &[String]) -> Vec<String> {
        let mut audiences: Vec<String> = match self {
            // The tools ask the door for its audience.
            Self::Pypi => hosts.iter().take(1).cloned().collect(),
            // npm leaves the port out, yarn does not.
            Self::Npm => hosts
                .iter()
                .flat_map(|host| [format!("npm:{}", without_port(host)), format!("npm:{host}")])
                .collect(),
            Self::CratesIo | Self::Rubygems => hosts
                .iter()
                .flat_map(|host| [without_port(host).to_owned(), host.clone()])
                .collect(),
            Self::Nuget => hosts.iter().map(|host| format!("https://{host}")).collect(),
        };
        audiences.sort();
        audiences.dedup();
        audiences
    }

    /// What opaque keys begin with, unless the registry has a prefix of its own.
    pub fn suggested_prefix(self) -> &'static str {
        match self {
            Self::Pypi => "cnt_py_",
            Self::Npm => "cnt_npm_",
            Self::CratesIo => "cnt_crate_",
            Self::Nuget => "cnt_nuget_",
            Self::Rubygems => "cnt_gem_",
        }
    }
}

/// A front door in compiled form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FrontDoor {
    pub kind: FrontDoorKind,
    /// The hosts at which the registry's tools ask, in lower case, with a port where only that port
    /// is meant.
    pub hosts: Vec<String>,
    /// The values of `aud` that assertions presented here have to carry.
    pub audiences: Vec<String>,
    /// The names of the trusted issuers whose assertions are accepted, in lower case; `None` for
    /// all.
    pub trusted_issuers: Option<Vec<String>>,
}

impl FrontDoor {
    /// Whether a request with this `Host` is for this door: the same host, and the same port where
    /// the door names one.
    pub fn is_at(&self, host: &str) -> bool {
        self.hosts.iter().any(|own| {
            own.eq_ignore_ascii_case(host)
                || (without_port(own) == own && own.eq_ignore_ascii_case(without_port(host)))
        })
    }

    /// Whether assertions of the trusted issuer of this name are accepted here.
    pub fn takes(&self, issuer: &str) -> bool {
        self.trusted_issuers
            .as_ref()
            .is_none_or(|names| names.iter().any(|name| name.eq_ignore_ascii_case(issuer)))
    }
}

/// A host without its port.
pub fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|byte| byte.is_ascii_digit())
                // The last part of a bare IPv6 address is no port.
                && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(hosts: &[&str]) -> FrontDoor {
        FrontDoor {
            kind: FrontDoorKind::Npm,
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            audiences: Vec::new(),
            trusted_issuers: None,
        }
    }

    #[test]
    fn a_door_is_found_by_host_and_by_port_where_it_names_one() {
        let any = door(&["registry.example", "[::1]"]);
        for host in [
            "registry.example",
            "REGISTRY.example:8443",
            "[::1]:80",
            "[::1]",
        ] {
            assert!(any.is_at(host), "{host}");
        }
        let exact = door(&["registry.example:8443"]);
        assert!(exact.is_at("registry.example:8443"));
        for host in [
            "registry.example",
            "registry.example:443",
            "x.registry.example:8443",
            "",
        ] {
            assert!(!exact.is_at(host), "{host}");
        }
        assert!(!any.is_at("registry.example.evil") && !any.is_at("[::2]") && !any.is_at(""));
    }

    #[test]
    fn the_audiences_of_a_door_are_those_that_its_tools_ask_for() {
        let of = |kind: FrontDoorKind, hosts: &[&str]| {
            kind.audiences_of(
                &hosts
                    .iter()
                    .map(|host| (*host).to_owned())
                    .collect::<Vec<_>>(),
            )
        };
        assert_eq!(of(FrontDoorKind::Pypi, &["a.test", "b.test"]), ["a.test"]);
        assert_eq!(
            of(FrontDoorKind::Npm, &["a.test:1"]),
            ["npm:a.test", "npm:a.test:1"]
        );
        assert_eq!(of(FrontDoorKind::Npm, &["a.test"]), ["npm:a.test"]);
        assert_eq!(
            of(FrontDoorKind::CratesIo, &["a.test:1"]),
            ["a.test", "a.test:1"]
        );
        assert_eq!(of(FrontDoorKind::Rubygems, &["a.test"]), ["a.test"]);
        assert_eq!(
            of(FrontDoorKind::Nuget, &["a.test:1"]),
            ["https://a.test:1"]
        );
    }

    #[test]
    fn kinds_have_the_names_of_their_serialized_form() {
        for kind in FrontDoorKind::ALL {
            assert_eq!(serde_json::json!(kind), kind.name());
            assert_eq!(FrontDoorKind::from_name(kind.name()), Some(kind));
            assert!(crate::opaque::is_prefix(kind.suggested_prefix()));
        }
    }
}
