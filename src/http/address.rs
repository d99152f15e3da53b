//! Where a request comes from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use ipnet::{IpNet, Ipv4Net};
use parking_lot::Mutex;
use tokio::time::{Duration, Instant};

use super::serve::UnixPeer;
use crate::app::App;

const FORWARDED_FOR: &str = "x-forwarded-for";
/// Between two warnings of a proxy that is not configured.
const WARN_AGAIN: Duration = Duration::from_mins(1);

/// The address of whoever sent the request, if it can be told.
///
/// `X-Forwarded-For` is believed from configured peers only, and only as far as it was written by such (decision D-50). Nothing
/// else is taken from forwarding headers: our own URLs come from the configuration.
#[derive(Clone, Copy, Debug)]
pub struct ClientAddress(pub Option<IpAddr>);

impl FromRequestParts<Arc<App>> for ClientAddress {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Self::Rejection> {
        // A socket for both versions shows IPv4 peers as mapped IPv6 addresses.
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(peer)| peer.ip().to_canonical());
        let proxies = &app.config.server.trusted_proxies;
        if peer.is_none() && parts.extensions.get::<UnixPeer>().is_some() {
            // Whoever may use the socket is on this machine and was let in: what it forwards is believed.
            let client = client_behind(
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                &parts.headers,
                &[Ipv4Net::from(Ipv4Addr::LOCALHOST).into()],
            );
            return Ok(Self(Some(client).filter(|client| !client.is_loopback())));
        }
        Ok(Self(peer.map(|peer| client_behind(peer, &parts.headers, proxies))))
    }
}

fn client_behind(peer: IpAddr, headers: &HeaderMap, proxies: &[IpNet]) -> IpAddr {
    let trusted = |address: &IpAddr| proxies.iter().any(|network| network.contains(address));
    let mut client = peer;
    let lines = headers.get_all(FORWARDED_FOR).iter();
    // As bytes: what a caller writes into the header must not hide what the proxies wrote behind it.
    let hops: Vec<&[u8]> = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).collect();
    if !hops.is_empty() && !trusted(&peer) {
        warn_of_unknown_proxy(peer);
    }
    // From the nearest hop outwards: what an untrusted hop says of those before it is worth nothing.
    for hop in hops.iter().rev() {
        if !trusted(&client) {
            break;
        }
        let hop = std::str::from_utf8(hop).unwrap_or_default().trim();
        // Some proxies write the port as well.
        let address = hop.parse::<IpAddr>().or_else(|_| hop.parse::<SocketAddr>().map(|hop| hop.ip()));
        let Ok(address) = address else { break };
        client = address.to_canonical();
    }
    client
}

/// Says once a minute that somebody forwards for others and is not configured to: then the limits take all of its callers for one.
fn warn_of_unknown_proxy(peer: IpAddr) {
    static QUIET: Mutex<Option<Instant>> = Mutex::new(None);
    let mut quiet = QUIET.lock();
    if quiet.is_none_or(|since| since.elapsed() > WARN_AGAIN) {
        *quiet = Some(Instant::now());
        tracing::warn!(%peer, "X-Forwarded-For comes from a peer that is not one of server.trusted_proxies: it counts as the caller itself");
    }
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
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "203.0.113.1, 10.0.0.2"]), "203.0.113.1");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, nonsense"]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["203.0.113.1:4711"]), "203.0.113.1");
        assert_eq!(client("10.0.0.1", &["203.0.113.1, ::ffff:10.0.0.2"]), "203.0.113.1");
    }
}
