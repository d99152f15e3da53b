//! Admin tokens that are bound to a key: whether the request proves possession of it (RFC 9449
//! section 7, RFC 8705 section 3).

use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use carnet_dpop::{
    Expected, InvalidProof, Presented, Proof, RequestUri, SentProof, SpentProofs as _,
};
use carnet_gateway::at_host;
use carnet_jose::Algorithm;
use carnet_resource_server::Confirmation;

use super::super::nonce::with_nonce;
use super::problem::Problem;
use super::resource_flow::invalid_token;
use crate::app::App;
use crate::own_tokens::OwnToken;
use crate::tls::ClientCertificate;

/// The scheme of bound tokens in `Authorization`.
const DPOP: &str = "DPoP";

/// What a request asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target<'r> {
    pub(super) method: &'r str,
    pub(super) host: Option<&'r str>,
    /// The whole path, as it was sent.
    pub(super) path: &'r str,
    /// The client certificate of the connection.
    pub(super) certificate: Option<&'r ClientCertificate>,
}

/// The token of an `Authorization: DPoP` header; `None` for another scheme.
pub(super) fn token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.trim().split_once(' ')?;
    scheme
        .eq_ignore_ascii_case(DPOP)
        .then(|| token.trim_start())
}

/// Checks that a bound token came with a proof of its key, and a bearer token without the scheme of
/// bound ones. The proof still has to be [spent](spend).
pub(super) fn check(
    app: &App,
    headers: &HeaderMap,
    target: Target<'_>,
    held: &OwnToken,
) -> Result<Option<Proof>, Box<Response>> {
    let thumbprint = match (&held.claims().cnf, token(headers)) {
        (None, None) => return Ok(None),
        (None, Some(_)) => {
            let why = "the token is not bound to a key: send it as Bearer";
            return Err(boxed(app, "invalid_token", why));
        }
        (Some(Confirmation::Key(thumbprint)), Some(_)) => thumbprint,
        (Some(Confirmation::Certificate(thumbprint)), None) => {
            return check_certificate(app, target.certificate, thumbprint).map(|()| None);
        }
        (Some(Confirmation::Certificate(_)), Some(_)) => {
            let why = "the token is bound to a client certificate: send it as Bearer";
            return Err(boxed(app, "invalid_token", why));
        }
        (Some(Confirmation::Key(_)), None) => {
            let why = "the token is bound to a key: send it as DPoP, with a proof of that key";
            return Err(boxed(app, "invalid_token", why));
        }
    };
    let now = app.clock.now().seconds();
    let uris = uris(app, target);
    let expected = Expected {
        method: target.method,
        uris: &uris,
        token: token(headers),
        nonces: app.proofs.required_admin_nonces(),
        now,
    };
    let proof = expected.verify_by(SentProof::of(headers), thumbprint);
    proof.map(Some).map_err(|invalid| match invalid {
        InvalidProof::Nonce => {
            let why = "the proof needs the nonce in DPoP-Nonce";
            boxed(app, "use_dpop_nonce", why)
        }
        InvalidProof::OtherKey => boxed(app, "invalid_token", &invalid.to_string()),
        _ => boxed(app, "invalid_dpop_proof", &invalid.to_string()),
    })
}

/// Checks that the connection was made with the certificate to which the token is bound.
fn check_certificate(
    app: &App,
    certificate: Option<&ClientCertificate>,
    thumbprint: &str,
) -> Result<(), Box<Response>> {
    let invalid = |why: &str| Box::new(invalid_token(&app.config.own, why));
    let certificate = certificate
        .ok_or_else(|| invalid("the token is bound to a client certificate, and none came"))?;
    certificate
        .check(app.clock.now())
        .map_err(|why| invalid(&why.to_string()))?;
    if certificate.thumbprint() == thumbprint {
        Ok(())
    } else {
        Err(invalid("the token is bound to another client certificate"))
    }
}

/// Uses the proof up, once everything else about the request was checked.
pub(in crate::http) async fn spend(app: &App, proof: &Proof) -> Result<(), Response> {
    match app
        .proofs
        .spent
        .spend(proof, app.clock.now().seconds())
        .await
    {
        Presented::First => Ok(()),
        Presented::Again => {
            let why = "the proof was used before";
            Err(refused(app, "invalid_dpop_proof", why))
        }
        Presented::Unremembered => {
            let why = "too many proofs are remembered; try again in a minute";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", why).into_response())
        }
    }
}

/// The URIs by which a request of this path may have been sent: at the issuer, or where it came to a
/// host of the gateway, at the public URL of that registry.
fn uris(app: &App, Target { host, path, .. }: Target<'_>) -> Vec<RequestUri> {
    let registries = &app.config.gateway.registries;
    let registry = host.and_then(|host| at_host(registries, |registry| &registry.hosts, host));
    let uris = registry.map_or_else(
        || app.config.own.on_origins(path).collect(),
        |registry| {
            let origin = registry.public_url.origin().ascii_serialization();
            vec![format!("{origin}{path}")]
        },
    );
    uris.iter()
        .filter_map(|uri| RequestUri::parse(uri))
        .collect()
}

fn boxed(app: &App, error: &str, why: &str) -> Box<Response> {
    Box::new(refused(app, error, why))
}

/// 401 with a challenge of the scheme (RFC 9449 section 7.1).
fn refused(app: &App, error: &str, why: &str) -> Response {
    let problem = Problem::new(StatusCode::UNAUTHORIZED, "not_authorized", why.to_owned());
    let mut response = problem.into_response();
    let algorithms = carnet_dpop::ALGORITHMS.map(Algorithm::name).join(" ");
    let challenge =
        format!("{DPOP} realm=\"carnet admin\", error=\"{error}\", algs=\"{algorithms}\"");
    if let Ok(value) = HeaderValue::try_from(challenge) {
        response.headers_mut().insert(WWW_AUTHENTICATE, value);
    }
    with_nonce(
        app.proofs.required_admin_nonces(),
        app.clock.now(),
        response,
    )
}
