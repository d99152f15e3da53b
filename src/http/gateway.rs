//! The HTTP side of `carnet gateway`: everything at the hosts of registries is the gateway's, but
//! the paths below `/gateway/v1`, where the provenance of packages is read.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{FromRequestParts as _, Request, State};
use axum::response::Response;
use axum::routing::get;
use carnet_gateway::{ClientCertificate, Gateway, Reason};
use hyper::ext::ReasonPhrase;
use tower_http::catch_panic::CatchPanicLayer;

use super::address::ClientAddress;
use super::admin::publications;
use super::panicked;
use crate::app::App;
use crate::gateway::GatewayAuthority;
use crate::tls;

/// What the requests at the hosts of registries share.
#[derive(Clone, Debug)]
struct Served {
    app: Arc<App>,
    gateway: Arc<Gateway<GatewayAuthority>>,
}

/// The routes at the hosts of registries.
pub fn gateway_router(app: Arc<App>, gateway: Arc<Gateway<GatewayAuthority>>) -> Router {
    let own = Router::new()
        .route(
            "/gateway/v1/publications/{registry}/{*package}",
            get(publications),
        )
        .with_state(app.clone());
    Router::new()
        .fallback(pass)
        .with_state(Served { app, gateway })
        .merge(own)
        .layer(CatchPanicLayer::custom(panicked))
}

/// Hands a request to the gateway.
async fn pass(State(served): State<Served>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(ClientAddress(address)) =
        ClientAddress::from_request_parts(&mut parts, &served.app).await;
    let certificate = parts.extensions.remove::<Arc<tls::ClientCertificate>>();
    let now = served.app.clock.now();
    if let Some(certificate) = certificate.filter(|certificate| certificate.check(now).is_ok()) {
        parts.extensions.insert(ClientCertificate {
            thumbprint: certificate.thumbprint().to_owned(),
        });
    }
    let request = Request::from_parts(parts, body);
    let mut answer = served.gateway.answer(request, address).await;
    let reason = answer.extensions_mut().remove::<Reason>();
    let phrase = reason.and_then(|Reason(text)| ReasonPhrase::try_from(text.into_bytes()).ok());
    if let Some(phrase) = phrase {
        answer.extensions_mut().insert(phrase);
    }
    answer.map(Body::new)
}
