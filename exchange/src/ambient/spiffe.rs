//! SPIFFE: a JWT-SVID, requested from the Workload API at `SPIFFE_ENDPOINT_SOCKET`.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use tokio::net::{TcpStream, UnixStream};

use super::{AmbientError, Seeking, Sign, Source, workload_api};
use crate::retry::{Failure, call_again};

const SOCKET: &str = "SPIFFE_ENDPOINT_SOCKET";

pub(super) const LOOKED_FOR: &str = "SPIFFE_ENDPOINT_SOCKET";

pub(super) fn sign(seeking: &Seeking<'_>) -> Sign {
    if seeking.environment.has(SOCKET) {
        Sign::Here
    } else {
        Sign::Absent
    }
}

pub(super) async fn token(seeking: &Seeking<'_>) -> Result<SecretString, AmbientError> {
    let from = Source::Spiffe.name();
    let socket = seeking.environment.get(SOCKET);
    let socket = socket
        .ok_or_else(|| AmbientError::Lacking(from.clone(), format!("{SOCKET} is not set")))?;
    let failed = |why: String| AmbientError::Failed(from.clone(), format!("{socket}: {why}"));
    let endpoint = Endpoint::parse(socket).ok_or_else(|| {
        failed(format!(
            "{SOCKET} is not of the form unix:///run/agent.sock or tcp://127.0.0.1:8000"
        ))
    })?;
    let fetched = call_again(&from, seeking.tries, async |limit: Duration| {
        let fetching = fetch(&endpoint, seeking.audience);
        let late = |_| Failure::Later(format!("no answer within {} s", limit.as_secs_f32()));
        tokio::time::timeout(limit, fetching).await.map_err(late)?
    });
    fetched.await.map_err(|failure| match failure {
        Failure::Later(why) => AmbientError::Later(from.clone(), format!("{socket}: {why}")),
        Failure::Final(why) => failed(why),
    })
}

async fn fetch(endpoint: &Endpoint, audience: &str) -> Result<SecretString, Failure> {
    // An agent that restarts refuses connections, or has no socket for a moment.
    let unreached = |error: std::io::Error| Failure::Later(error.to_string());
    match endpoint {
        Endpoint::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(unreached)?;
            workload_api::fetch_jwt_svid(stream, audience).await
        }
        Endpoint::Tcp(address) => {
            let stream = TcpStream::connect(address).await.map_err(unreached)?;
            workload_api::fetch_jwt_svid(stream, audience).await
        }
    }
}

/// The address of the Workload API (SPIFFE Workload Endpoint, section 4): a socket of this machine,
/// or an IP address and port.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Endpoint {
    Unix(PathBuf),
    Tcp(SocketAddr),
}

impl Endpoint {
    fn parse(text: &str) -> Option<Self> {
        if let Some(address) = text.strip_prefix("tcp://") {
            return address.parse().ok().map(Self::Tcp);
        }
        let path = text.strip_prefix("unix:")?;
        let path = path.strip_prefix("//").unwrap_or(path);
        let is_path = path.starts_with('/') && !path.ends_with('/') && !path.contains(['?', '#']);
        is_path.then(|| Self::Unix(PathBuf::from(path)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spiffe_endpoint_is_a_unix_socket_or_an_ip_address_with_port() {
        let unix = |path: &str| Some(Endpoint::Unix(PathBuf::from(path)));
        assert_eq!(
            Endpoint::parse("unix:///run/spire/agent.sock"),
            unix("/run/spire/agent.sock")
        );
        assert_eq!(
            Endpoint::parse("unix:/run/agent.sock"),
            unix("/run/agent.sock")
        );
        assert_eq!(
            Endpoint::parse("tcp://127.0.0.1:8000"),
            Some(Endpoint::Tcp(([127, 0, 0, 1], 8000).into()))
        );
        for wrong in [
            "",
            "/run/agent.sock",
            "unix://",
            "unix:///",
            "unix://run/agent.sock",
            "unix:///run/agent.sock?x",
            "tcp://agent:8000",
            "tcp://127.0.0.1",
            "tcp://127.0.0.1:8000/x",
            "tcp://u@127.0.0.1:8000",
            "https://127.0.0.1:8000",
        ] {
            assert_eq!(Endpoint::parse(wrong), None, "{wrong}");
        }
    }
}
