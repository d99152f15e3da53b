//! Admin tokens that are bound to a key: whether the request proves possession of it (RFC 9449
//! section 7).

use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use carnet_dpop::{Expected, InvalidProof, Presented, RequestUri, SentProof, SpentProofs as _};
use carnet_jose::Algorithm;
use carnet_resource_server::Confirmation;

use super::super::nonce::with_nonce;
use super::problem::Problem;
use crate::app::App;
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
/// bound ones. The proof is used up.
pub(super) async fn check(
    app: &App,
    headers: &HeaderMap,
    (method, path): (&str, &str),
    held: &OwnToken,
) -> Result<(), Response> {
    let thumbprint = match (&held.claims().cnf, token(headers)) {
        (None, None) => return Ok(()),
        (None, Some(_)) => {
            let why = "the token is not bound to a key: send it as Bearer";
            return Err(refused(app, "invalid_token", why));
        }
        (Some(Confirmation::Key(thumbprint)), Some(_)) => thumbprint,
        (Some(_), _) => {
            let why = "the token is bound to a key: send it as DPoP, with a proof of that key";
            return Err(refused(app, "invalid_token", why));
        }
    };
    let now = app.clock.now().seconds();
    let uris = uris(app, path);
    let expected = Expected {
        method,
        uris: &uris,
        token: token(headers),
        nonces: app.proofs.required_admin_nonces(),
        now,
    };
    let invalid = |why: &str| refused(app, "invalid_dpop_proof", why);
    let text = match SentProof::of(headers) {
        SentProof::One(text) => text,
        SentProof::None => return Err(invalid("the request has no DPoP header")),
        SentProof::Unreadable => return Err(invalid(&InvalidProof::NotOne.to_string())),
    };
    let proof = match expected.verify(text) {
        Ok(proof) => proof,
        Err(InvalidProof::Nonce) => {
            let why = "the proof needs the nonce in DPoP-Nonce";
            return Err(refused(app, "use_dpop_nonce", why));
        }
        Err(why) => return Err(invalid(&why.to_string())),
    };
    if proof.thumbprint() != thumbprint {
        let why = "the token is bound to another key than the proof's";
        return Err(refused(app, "invalid_token", why));
    }
    match app.proofs.spent.spend(&proof, now).await {
        Presented::First => Ok(()),
        Presented::Again => Err(invalid("the proof was used before")),
        Presented::Unremembered => {
            let why = "too many proofs are remembered; try again in a minute";
            Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", why).into_response())
        }
    }
}

/// The URIs by which a request of this path may have been sent: at the issuer, and for what the
/// gateway serves at the registries behind it.
fn uris(app: &App, path: &str) -> Vec<RequestUri> {
    let registries = app.config.gateway.registries.iter();
    let public = registries.filter_map(|registry| registry.public_url.join(path).ok());
    std::iter::once(app.config.own.on_origin(path))
        .chain(public.map(String::from))
        .filter_map(|uri| RequestUri::parse(&uri))
        .collect()
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
