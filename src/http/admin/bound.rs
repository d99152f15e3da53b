//! Admin tokens that are bound to a key: whether the request proves possession of it (RFC 9449
//! section 7).

use axum::http::header::{AUTHORIZATION, HOST, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use carnet_dpop::{
    Expected, InvalidProof, Presented, Proof, RequestUri, SentProof, SpentProofs as _,
};
use carnet_jose::Algorithm;
use carnet_resource_server::Confirmation;

use super::super::nonce::with_nonce;
use super::problem::Problem;
use crate::app::App;
use crate::config::GatewayRegistry;
use crate::own_tokens::OwnToken;

/// The scheme of bound tokens in `Authorization`.
const DPOP: &str = "DPoP";

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
    (method, path): (&str, &str),
    held: &OwnToken,
) -> Result<Option<Proof>, Box<Response>> {
    let thumbprint = match (&held.claims().cnf, token(headers)) {
        (None, None) => return Ok(None),
        (None, Some(_)) => {
            let why = "the token is not bound to a key: send it as Bearer";
            return Err(boxed(app, "invalid_token", why));
        }
        (Some(Confirmation::Key(thumbprint)), Some(_)) => thumbprint,
        (Some(_), _) => {
            let why = "the token is bound to a key: send it as DPoP, with a proof of that key";
            return Err(boxed(app, "invalid_token", why));
        }
    };
    let now = app.clock.now().seconds();
    let uris = uris(app, headers, path);
    let expected = Expected {
        method,
        uris: &uris,
        token: token(headers),
        nonces: app.proofs.required_admin_nonces(),
        now,
    };
    let invalid = |why: &str| boxed(app, "invalid_dpop_proof", why);
    let text = match SentProof::of(headers) {
        SentProof::One(text) => text,
        SentProof::None => return Err(invalid("the request has no DPoP header")),
        SentProof::Unreadable => return Err(invalid(&InvalidProof::NotOne.to_string())),
    };
    let proof = match expected.verify(text) {
        Ok(proof) => proof,
        Err(InvalidProof::Nonce) => {
            let why = "the proof needs the nonce in DPoP-Nonce";
            return Err(boxed(app, "use_dpop_nonce", why));
        }
        Err(why) => return Err(invalid(&why.to_string())),
    };
    if proof.thumbprint() != thumbprint {
        let why = "the token is bound to another key than the proof's";
        return Err(boxed(app, "invalid_token", why));
    }
    Ok(Some(proof))
}

/// Uses the proof up, once everything else about the request was checked.
pub(super) async fn spend(app: &App, proof: &Proof) -> Result<(), Response> {
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
fn uris(app: &App, headers: &HeaderMap, path: &str) -> Vec<RequestUri> {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let is_at = |registry: &&GatewayRegistry| {
        let mut hosts = registry.hosts.iter();
        hosts.any(|named| host.is_some_and(|host| named.eq_ignore_ascii_case(host)))
    };
    let registry = app.config.gateway.registries.iter().find(is_at);
    let at_gateway = registry.map(|registry| {
        let origin = registry.public_url.origin().ascii_serialization();
        format!("{origin}{path}")
    });
    at_gateway
        .or_else(|| Some(app.config.own.on_origin(path)))
        .and_then(|uri| RequestUri::parse(&uri))
        .into_iter()
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
