//! Requests for a host that the TLS handshake of their connection was not made for (421, RFC 9110
//! section 15.5.20).
//!
//! A client may send requests for several hosts over one connection if the certificate covers them
//! (RFC 9113 section 9.1.1). A request for another host shows that the client confuses servers, or that
//! somebody led it here, so it is not answered.

use std::sync::Arc;

use axum::Json;
use axum::extract::Request;
use axum::http::header::HOST;
use axum::http::uri::Authority;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse as _, Response};
use serde_json::json;

use crate::tls::{CertificateSet, Host};

/// The certificates of a handshake, and the server name that selected one of them.
#[derive(Debug)]
pub(super) struct HandshakeHost {
    set: Arc<CertificateSet>,
    server_name: Option<String>,
}

impl HandshakeHost {
    pub(super) fn new(set: Arc<CertificateSet>, server_name: Option<&str>) -> Self {
        Self {
            set,
            server_name: server_name.map(str::to_owned),
        }
    }

    /// Whether the host of this request, in its URI and its `Host` header, is one that the handshake
    /// was made for. A request that names no host is judged elsewhere.
    pub(super) fn serves<B>(&self, request: &Request<B>) -> bool {
        let in_uri = request.uri().authority().map(Authority::as_str);
        let fields = request.headers().get_all(HOST).iter();
        let in_fields = fields.map(|host| HeaderValue::to_str(host).unwrap_or_default());
        in_uri
            .into_iter()
            .chain(in_fields)
            .all(|host| self.covers(host))
    }

    /// Whether the certificate that was served covers a host. An IP address and `localhost` are served
    /// as well, unless another certificate names them: probes and commands use them.
    fn covers(&self, authority: &str) -> bool {
        // User information is not part of the host.
        let host = Host::of(authority.rsplit('@').next().unwrap_or_default());
        let served = self.set.served_for(self.server_name.as_deref());
        served.is_some_and(|names| names.cover(&host)) || (host.is_bare() && !self.set.cover(&host))
    }
}

/// The answer 421, which lets the client try again over a new connection.
pub(super) fn refusal() -> Response {
    let body = json!({
        "error": "invalid_request",
        "error_description": "the TLS connection was made for another host: open a connection to this one",
    });
    (StatusCode::MISDIRECTED_REQUEST, Json(body)).into_response()
}
