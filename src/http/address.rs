//! The IP address of the caller, also behind reverse proxies (decision D-50). Rate limits and audit
//! events use it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, OriginalUri};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap};
use ipnet::{IpNet, Ipv4Net};
use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use super::serve::UnixPeer;
use crate::app::App;
use crate::config::ServerConfig;

const FORWARDED_FOR: &str = "x-forwarded-for";
/// Minimum interval between two warnings about an unconfigured proxy.
const WARN_AGAIN: Duration = Duration::from_mins(1);

/// The IP address of the caller. `None` if it is unknown, such as for a peer on the Unix socket
/// that forwards no address.
///
/// `X-Forwarded-For` is evaluated from the nearest hop outwards, as far as it was written by peers
/// in `server.trusted_proxies` (decision D-50). No other forwarding header is used: the server's
/// own URLs come from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub Option<IpAddr>);

impl FromRequestParts<Arc<App>> for ClientAddress {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(
        parts: &mut Parts,
        app: &Arc<App>,
    ) -> Result<Self, Self::Rejection> {
        // A dual-stack socket reports IPv4 peers as IPv4-mapped IPv6 addresses.
        let peer = parts
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|ConnectInfo(peer)| peer.ip().to_canonical());
        let proxies = &app.config.server.trusted_proxies;
        if peer.is_none() && parts.extensions.get::<UnixPeer>().is_some() {
            // File permissions decide who may connect to the Unix socket, so its peer is trusted as
            // a proxy.
            let client = client_behind(
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                &parts.headers,
                &[Ipv4Net::from(Ipv4Addr::LOCALHOST).into()],
            );
            return Ok(Self(Some(client).filter(|client| !client.is_loopback())));
        }
        Ok(Self(
            peer.map(|peer| client_behind(peer, &parts.headers, proxies)),
        ))
    }
}

/// Whether a request comes from a proxy that is trusted with its headers: from an address in
/// `server.trusted_proxies`, or over a Unix socket, whose file permissions decide who may connect.
pub fn is_from_proxy(extensions: &Extensions, server: &ServerConfig) -> bool {
    match extensions.get::<ConnectInfo<SocketAddr>>() {
        Some(ConnectInfo(peer)) => {
            let peer = peer.ip().to_canonical();
            server
                .trusted_proxies
                .iter()
                .any(|network| network.contains(&peer))
        }
        None => extensions.get::<UnixPeer>().is_some(),
    }
}

fn client_behind(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let trusted = |address: &IpAddr| proxies.iter().any(|network| network.contains(address));
    let mut client = peer;
    let lines = headers.get_all(FORWARDED_FOR).iter();
    // Split as bytes: a value of the caller that is not text must not hide what proxies appended.
    let hops: Vec<&[u8]> = lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .collect();
    if !hops.is_empty() && !trusted(&peer) {
        warn_of_unknown_proxy(peer);
    }
    // From the nearest hop outwards: what stands before an untrusted hop may be forged.
    for hop in hops.iter().rev() {
        if !trusted(&client) {
            break;
        }
        let hop = std::str::from_utf8(hop).unwrap_or_default().trim();
        // Some proxies write the port as well.
        let address = hop
            .parse::<IpAddr>()
            .or_else(|_| hop.parse::<SocketAddr>().map(|hop| hop.ip()));
        let Ok(address) = address else { break };
        client = address.to_canonical();
    }
    client
}

/// Warns at most once a minute about `X-Forwarded-For` from an unconfigured peer: the rate limits
/// then count all callers behind that proxy as one.
fn warn_of_unknown_proxy(peer: IpAddr) {
    static QUIET: Mutex<Option<Instant>> = Mutex::new(None);
    let mut quiet = QUIET.lock();
    if quiet.is_none_or(|since| since.elapsed() > WARN_AGAIN) {
        *quiet = Some(Instant::now());
        tracing::warn!(%peer, "X-Forwarded-For comes from a peer that is not one of server.trusted_proxies: it counts as the caller itself");
    }
}

/// The path of a request as it was sent: nested routes see only what is below theirs.
pub fn whole_path(parts: &Parts) -> &str {
    let sent = parts.extensions.get::<OriginalUri>();
    sent.map_or(parts.uri.path(), |OriginalUri(uri)| uri.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc9700_4_13_1__forwarding_headers_count_from_configured_peers_only() {
        let proxies = ["10.0.0.0/8".parse().unwrap()];
        let client = |peer: &str, forwarded: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append(FORWARDED_FOR, value.parse().unwrap());
            }
            client_behind(peer.parse().unwrap(), &headers, &proxies).to_string()
        };
        assert_eq!(client("192.0.2.9", &["203.0.113.1"]), "192.0.2.9");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["203.0.113.1"]), "203.0.113.1");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 203.0.113.1"]), "203.0.113.1");
        assert_eq!(
            client("10.0.0.1", &["6.6.6.6", "203.0.113.1, 10.0.0.2"]),
            "203.0.113.1"
        );
        assert_eq!(client("10.0.0.1", &["6.6.6.6, nonsense"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["203.0.113.1:4711"]), "203.0.113.1");
        assert_eq!(
            client("10.0.0.1", &["203.0.113.1, ::ffff:10.0.0.2"]),
            "203.0.113.1"
        );
    }
}
