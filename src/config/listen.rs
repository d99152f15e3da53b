//! Addresses that the server listens on: TCP addresses, host names and Unix sockets.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

use serde::Deserialize;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    Address(SocketAddr),
    /// A host name and a port. The name is resolved when the server starts.
    Host(String, u16),
    /// The absolute path of a Unix socket.
    Unix(PathBuf),
}

/// The value of `server.listen`: one address or a list.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Listens {
    One(String),
    Several(Vec<String>),
}

impl Listens {
    pub(super) fn parse(self) -> Result<Vec<Listen>, String> {
        let texts = match self {
            Self::One(text) => vec![text],
            Self::Several(texts) => texts,
        };
        if texts.is_empty() {
            return Err("must name at least one address".to_owned());
        }
        texts.iter().map(|text| text.parse()).collect()
    }
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("must be address:port, host:port, :port or unix:/path; this is `{text}`");
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() {
                Ok(Self::Unix(path))
            } else {
                Err(wrong())
            };
        }
        if let Ok(address) = text.parse() {
            return Ok(Self::Address(address));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        match host {
            // The unspecified IPv6 address accepts IPv4 connections too, where the machine has
            // both.
            "" | "*" => Ok(Self::Address(SocketAddr::new(
                IpAddr::V6(Ipv6Addr::UNSPECIFIED),
                port,
            ))),
            _ if host.contains([':', '/', ' ']) => Err(wrong()),
            _ => Ok(Self::Host(host.to_owned(), port)),
        }
    }
}

impl Listen {
    /// Whether only processes on this machine can connect.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Address(address) => address.ip().is_loopback(),
            Self::Host(host, _) => host == "localhost",
            Self::Unix(_) => true,
        }
    }

    /// Whether this is a TCP address, which speaks TLS if `server.tls` is set.
    pub const fn is_tcp(&self) -> bool {
        !matches!(self, Self::Unix(_))
    }

    /// Host and port in the default issuer URL of a server with TLS. `None` for a Unix socket, and for
    /// the unspecified address, which no client can connect to.
    pub fn https_authority(&self) -> Option<String> {
        let (host, port) = match self {
            Self::Address(address) if address.ip().is_unspecified() => return None,
            Self::Address(SocketAddr::V4(address)) => (address.ip().to_string(), address.port()),
            Self::Address(SocketAddr::V6(address)) => {
                (format!("[{}]", address.ip()), address.port())
            }
            Self::Host(host, port) => (host.to_ascii_lowercase(), *port),
            Self::Unix(_) => return None,
        };
        // The usual spelling of a URL has no default port.
        Some(if port == 443 {
            host
        } else {
            format!("{host}:{port}")
        })
    }

    /// The address in the default issuer URL. A host name that is not local yields the unspecified
    /// address, for which `OwnUrls::new` refuses an http issuer.
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Address(address) => *address,
            Self::Host(_, port) if self.is_local() => SocketAddr::from(([127, 0, 0, 1], *port)),
            Self::Host(_, port) => SocketAddr::from(([0, 0, 0, 0], *port)),
            Self::Unix(_) => SocketAddr::from(([127, 0, 0, 1], 8080)),
        }
    }
}

impl std::fmt::Display for Listen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Address(address) => address.fmt(f),
            Self::Host(host, port) => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn srv_25__usual_forms_of_listen_addresses_are_read_and_others_refused() {
        for (text, shown) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("[::1]:80", "[::1]:80"),
            (":8080", "[::]:8080"),
            ("*:8080", "[::]:8080"),
            ("localhost:1", "localhost:1"),
            ("carnet.internal:443", "carnet.internal:443"),
            ("unix:/run/carnet.sock", "unix:/run/carnet.sock"),
        ] {
            assert_eq!(text.parse::<Listen>().unwrap().to_string(), shown);
        }
        for text in [
            "",
            "8080",
            "nowhere",
            "host:",
            "host:70000",
            "unix:relative",
            "a b:1",
            "::1:80x",
            "http://x:1",
        ] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
        assert!(Listens::Several(Vec::new()).parse().is_err());
        let local = [
            "127.0.0.1:1",
            "localhost:1",
            "unix:/s",
            ":1",
            "example.com:1",
        ]
        .map(|text| text.parse::<Listen>().unwrap().is_local());
        assert_eq!(local, [true, true, true, false, false]);
    }
}
