//! The client certificate that a reverse proxy received, in the header `Client-Cert` (RFC 9440).
//!
//! The header counts on the listener for such proxies alone. A proxy has to remove what its clients
//! send under this name; a request with several lines of it, or with a name that some servers take
//! for the same, shows that one does not, so it is refused as a whole.

use std::sync::Arc;

use axum::Json;
use axum::extract::Request;
use axum::http::header::CONNECTION;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use carnet_jose::from_base64;
use serde_json::json;

use crate::reason::Reason;
use crate::tls::ClientCertificate;

const CERTIFICATE: HeaderName = HeaderName::from_static("client-cert");
/// The authorities' certificates. They do not count here (RFC 8705 section 2.2).
const CHAIN: HeaderName = HeaderName::from_static("client-cert-chain");

/// Tells the router which certificate the client has.
pub(super) async fn layer(mut request: Request, next: Next) -> Response {
    let version = request.version();
    match read(request.headers()) {
        Ok(certificate) => {
            if let Some(certificate) = certificate {
                request.extensions_mut().insert(Arc::new(certificate));
            }
            next.run(request).await
        }
        Err(why) => {
            let body = json!({
                "error": "invalid_request",
                "error_description": why,
                "reason": Reason::CertificateInvalid,
            });
            let mut refusal = (StatusCode::BAD_REQUEST, Json(body)).into_response();
            // The body of the request stays unread.
            if version < Version::HTTP_2 {
                let close = HeaderValue::from_static("close");
                refusal.headers_mut().insert(CONNECTION, close);
            }
            refusal
        }
    }
}

fn read(headers: &HeaderMap) -> Result<Option<ClientCertificate>, &'static str> {
    let is_confusing = |name: &HeaderName| {
        let name = name.as_str();
        name.contains('_') && name.replace('_', "-").starts_with(CERTIFICATE.as_str())
    };
    if headers.keys().any(is_confusing) {
        return Err(
            "a header is named like Client-Cert, with an underscore: the proxy has to remove it",
        );
    }
    let lines = |name: &HeaderName| headers.get_all(name).iter().count();
    match (lines(&CERTIFICATE), lines(&CHAIN)) {
        (0, 0) => return Ok(None),
        (1, 0 | 1) => {}
        (0, _) => return Err("there is a Client-Cert-Chain header, and no Client-Cert header"),
        _ => {
            return Err(
                "there are several Client-Cert or Client-Cert-Chain headers: the proxy has to remove those of its clients",
            );
        }
    }
    let value = headers
        .get(CERTIFICATE)
        .and_then(|value| value.to_str().ok());
    let certificate = value.and_then(byte_sequence);
    let certificate = certificate.and_then(|der| ClientCertificate::from_der(&der));
    certificate.map(Some).ok_or(
        "the Client-Cert header must be a certificate in DER, as base64 between colons (RFC 9440)",
    )
}

/// An item that is a byte sequence (RFC 8941 section 3.3.5), without parameters.
fn byte_sequence(value: &str) -> Option<Vec<u8>> {
    let value = value.trim_matches(' ');
    from_base64(value.strip_prefix(':')?.strip_suffix(':')?)
}
