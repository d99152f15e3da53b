//! The registries behind the gateway.

use std::fmt;

use carnet_publish_protocols::{Operation, Protocol};
use http::header::AUTHORIZATION;
use http::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};
use url::Url;

use crate::index::Index;
use crate::reads::Reads;
use crate::rewrite::Bases;

/// A registry behind the gateway.
#[derive(Debug)]
pub struct Registry {
    /// The name of its resource server.
    pub name: String,
    /// The protocol of its tools.
    pub protocol: Protocol,
    /// The hosts under which clients reach it, with or without a port.
    pub hosts: Vec<String>,
    /// Where the root of the registry is behind the gateway, and where clients reach it; both paths
    /// end with a slash.
    pub bases: Bases,
    /// The index of the packages that the registry itself holds, as opposed to those that it mirrors.
    pub index: Index,
    /// What the registry takes publications with.
    pub credential: UpstreamCredential,
    /// Whether requests with the registry's own credentials pass.
    pub passthrough: bool,
    /// Whether the registry deletes for good what tools yank or unlist.
    pub unlisting_deletes: bool,
    /// The registry's front door at the server, without a slash at its end.
    pub front_door: Url,
    /// The paths that may be read.
    pub reads: Reads,
}

impl Registry {
    /// The action that an operation needs at this registry.
    pub(crate) fn action(&self, operation: Operation) -> &'static str {
        match operation {
            Operation::Yank | Operation::Unlist if self.unlisting_deletes => {
                Operation::Unpublish.action()
            }
            _ => operation.action(),
        }
    }

    /// The path of a read below the registry's root, with its query; `None` if it may not be read.
    ///
    /// Registries write the public host, which they are sent, before their own path, and packuments
    /// and simple indexes are not rewritten: such a path is understood without the registry's own.
    pub(crate) fn readable<'p>(&self, path_and_query: &'p str) -> Option<&'p str> {
        let own = self.bases.upstream.path().trim_end_matches('/');
        let may_be_read = |path: &&str| {
            let bare = path.split('?').next().unwrap_or(path);
            self.reads.allow(bare)
        };
        let without_own = path_and_query.strip_prefix(own);
        std::iter::once(path_and_query)
            .chain(without_own)
            .find(may_be_read)
    }

    /// The URL of a path below the registry's root, with its query; `None` if it would be read as
    /// another one.
    pub(crate) fn upstream_url(&self, path_and_query: &str) -> Option<Url> {
        below(&self.bases.upstream, path_and_query)
    }
}

/// The URL of a path below a base, whose path ends with a slash.
pub(crate) fn below(base: &Url, path_and_query: &str) -> Option<Url> {
    let path = path_and_query.strip_prefix('/')?;
    let url = Url::parse(&format!("{base}{path}")).ok()?;
    let without_query = path.split('?').next().unwrap_or(path);
    // A query is only percent-encoded further; a path that becomes another one is none.
    let is_same =
        url.path() == format!("{}{without_query}", base.path()) && url.fragment().is_none();
    (is_same && url.origin() == base.origin()).then_some(url)
}

/// The credential of the gateway at a registry.
#[derive(Clone)]
pub enum UpstreamCredential {
    /// The registry takes publications from everybody who reaches it.
    None,
    /// `Authorization: Basic` (RFC 7617).
    Basic {
        /// The user name.
        user: String,
        /// The password.
        password: SecretString,
    },
    /// `Authorization: Bearer` (RFC 6750).
    Bearer(SecretString),
    /// A header of the registry's own, such as `X-NuGet-ApiKey`.
    Header {
        /// Its name.
        name: HeaderName,
        /// Its value.
        value: SecretString,
    },
}

impl fmt::Debug for UpstreamCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "None",
            Self::Basic { .. } => "Basic",
            Self::Bearer(_) => "Bearer",
            Self::Header { .. } => "Header",
        })
    }
}

/// The credential holds a character that no header may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the credential for the registry must be visible ASCII, and a user name must hold no colon"
)]
pub struct UnsendableCredential;

impl UpstreamCredential {
    /// The header that carries it.
    ///
    /// # Errors
    ///
    /// [`UnsendableCredential`] if no header can carry it.
    pub fn header(&self) -> Result<Option<(HeaderName, HeaderValue)>, UnsendableCredential> {
        use base64::Engine as _;
        let (name, text) = match self {
            Self::None => return Ok(None),
            Self::Basic { user, .. } if user.contains(':') => return Err(UnsendableCredential),
            Self::Basic { user, password } => {
                let pair = format!("{user}:{}", password.expose_secret());
                let encoded = base64::engine::general_purpose::STANDARD.encode(pair);
                (AUTHORIZATION, format!("Basic {encoded}"))
            }
            Self::Bearer(token) => (AUTHORIZATION, format!("Bearer {}", token.expose_secret())),
            Self::Header { name, value } => (name.clone(), value.expose_secret().to_owned()),
        };
        let mut value = HeaderValue::from_str(&text).map_err(|_| UnsendableCredential)?;
        value.set_sensitive(true);
        Ok(Some((name, value)))
    }

    /// Whether a secret that a client sent is this one.
    pub(crate) fn is(&self, secret: &str) -> bool {
        let own = match self {
            Self::None => return false,
            Self::Basic { password, .. } => password,
            Self::Bearer(token) | Self::Header { value: token, .. } => token,
        };
        let own = own.expose_secret();
        // A header's value may have a scheme before the secret.
        let bare = own.rsplit(' ').next().unwrap_or(own);
        same(own, secret) || same(bare, secret)
    }
}

/// Compares digests, whose bytes tell nothing of the secrets by the time that comparing takes.
fn same(left: &str, right: &str) -> bool {
    Sha256::digest(left) == Sha256::digest(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_url_of_a_path_lies_below_the_registrys_root() {
        let base = Url::parse("http://nexus.test:8081/repository/pypi/").unwrap();
        let url = |path: &str| below(&base, path).map(String::from);
        assert_eq!(
            url("/simple/a%2Fb/?x=1").as_deref(),
            Some("http://nexus.test:8081/repository/pypi/simple/a%2Fb/?x=1")
        );
        assert_eq!(
            url("/Packages()?$filter=Id%20eq%20'a'").as_deref(),
            Some("http://nexus.test:8081/repository/pypi/Packages()?$filter=Id%20eq%20%27a%27")
        );
        for odd in [
            "/../admin",
            "/a/%2e%2e/b",
            "/a b",
            "simple/",
            "/a\\b",
            "/#a",
            "/a\tb",
        ] {
            assert_eq!(url(odd), None, "{odd}");
        }
    }

    fn registry(protocol: Protocol, upstream: &str) -> Registry {
        let upstream = Url::parse(upstream).unwrap();
        let bases = Bases {
            public: Url::parse("https://packages.example/").unwrap(),
            upstream: upstream.clone(),
        };
        Registry {
            name: "ours".to_owned(),
            protocol,
            hosts: Vec::new(),
            index: Index::new(protocol, bases.clone(), &upstream),
            bases,
            credential: UpstreamCredential::None,
            passthrough: false,
            unlisting_deletes: false,
            front_door: upstream,
            reads: Reads::new(protocol, []),
        }
    }

    #[test]
    fn a_read_may_have_the_registrys_own_path_before_it() {
        let nexus = registry(Protocol::Npm, "http://nexus:8081/repository/npm-hosted/");
        for (path, expected) in [
            ("/octo/-/octo-1.0.0.tgz", Some("/octo/-/octo-1.0.0.tgz")),
            (
                "/repository/npm-hosted/octo/-/octo-1.0.0.tgz?a=b",
                Some("/octo/-/octo-1.0.0.tgz?a=b"),
            ),
            (
                "/repository/npm-hosted/@octo/w/-/w-1.0.0.tgz",
                Some("/@octo/w/-/w-1.0.0.tgz"),
            ),
            ("/repository/npm-hosted/../npm-other/octo/-/x.tgz", None),
            ("/repository/npm-hosted/service/rest/v1/status", None),
            ("/repository/npm-hosted-2/octo/-/octo-1.0.0.tgz", None),
            ("/repository/npm-other/octo/-/octo-1.0.0.tgz", None),
        ] {
            assert_eq!(nexus.readable(path), expected, "{path}");
        }
        // A path that is one of the protocol's is that one.
        let folder = registry(Protocol::Pypi, "http://127.0.0.1:8080/packages/");
        let file = "/packages/octo-1.0.0-py3-none-any.whl";
        assert_eq!(folder.readable(file), Some(file));
    }

    #[test]
    fn a_credential_is_recognised_in_whatever_form_a_client_sends_it() {
        let secret = || SecretString::from("s3cret");
        let basic = UpstreamCredential::Basic {
            user: "carnet".to_owned(),
            password: secret(),
        };
        let value = SecretString::from("token s3cret");
        let header = UpstreamCredential::Header {
            name: AUTHORIZATION,
            value,
        };
        for credential in [basic, header, UpstreamCredential::Bearer(secret())] {
            assert!(credential.is("s3cret"), "{credential:?}");
            assert!(!credential.is("s3cre"), "{credential:?}");
            assert!(credential.header().unwrap().unwrap().1.is_sensitive());
            assert!(!format!("{credential:?}").contains("s3cret"));
        }
        let colon = UpstreamCredential::Basic {
            user: "a:b".to_owned(),
            password: secret(),
        };
        assert_eq!(colon.header(), Err(UnsendableCredential));
    }
}
