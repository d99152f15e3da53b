//! Tokens that are bound to a key: what a publication proves of it (RFC 9449 section 7, RFC 8705
//! section 3).

use carnet_access::{AccessToken, Confirmation};
use carnet_dpop::{ALGORITHMS, Expected, InvalidProof, Nonces, Proof, RequestUri, SentProof};
use carnet_publish_protocols::credential::NUGET_API_KEY;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use secrecy::SecretString;

use crate::refusal::{INVALID_PROOF, Kind, Refusal, USE_NONCE};
use crate::registry::Registry;

/// The scheme of bound tokens in `Authorization`.
const DPOP: &str = "DPoP";

/// The certificate of a client, in the extensions of its request: that of its TLS connection to the
/// gateway, or to a reverse proxy that the gateway trusts. Only one that may be used now is put there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The SHA-256 hash of its DER encoding in base64url (RFC 8705 section 3.1).
    pub thumbprint: String,
}

/// The token of an `Authorization: DPoP` header; `None` for any other.
pub(crate) fn bound_token(headers: &HeaderMap) -> Result<Option<SecretString>, Refusal> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let is_bound = |value: &HeaderValue| {
        let scheme = value.as_bytes().split(|byte| *byte == b' ').next();
        scheme.is_some_and(|scheme| scheme.eq_ignore_ascii_case(DPOP.as_bytes()))
    };
    let Some(value) = values.next().filter(|value| is_bound(value)) else {
        return Ok(None);
    };
    if values.next().is_some() || headers.contains_key(NUGET_API_KEY) {
        return Err(invalid("more than one credential"));
    }
    let text = value.to_str().ok().and_then(|text| text.split_once(' '));
    let token = text.map(|(_, token)| token.trim()).unwrap_or_default();
    if token.is_empty() || token.contains(' ') {
        return Err(invalid("the header with the token cannot be read"));
    }
    Ok(Some(token.into()))
}

/// Checks that a bound token came with a proof of its key for this request, or over a connection with
/// its certificate, and a bearer token without a proof. The proof still has to be spent.
pub(crate) fn proved(
    registry: &Registry,
    parts: &Parts,
    (text, is_dpop): (&str, bool),
    token: &AccessToken,
    (nonces, now): (Option<&Nonces>, i64),
) -> Result<Option<Proof>, Refusal> {
    let thumbprint = match (&token.cnf, is_dpop) {
        (None, false) => return Ok(None),
        (None, true) => {
            return Err(invalid(
                "the token is not bound to a key: send it as Bearer",
            ));
        }
        (Some(Confirmation::Key(thumbprint)), true) => thumbprint,
        (Some(Confirmation::Key(_)), false) => {
            return Err(unproved(
                "the token is bound to a key: send it as `Authorization: DPoP`, with a proof of that key",
            ));
        }
        (Some(Confirmation::Certificate(_)), true) => {
            return Err(invalid(
                "the token is bound to a client certificate: send it as Bearer",
            ));
        }
        (Some(Confirmation::Certificate(bound_to)), false) => {
            let sent = parts.extensions.get::<ClientCertificate>();
            let why = match sent {
                Some(sent) if sent.thumbprint == *bound_to => return Ok(None),
                Some(_) => "the token is bound to another client certificate",
                None => {
                    "the token is bound to a client certificate, and the connection was made without one that can be used"
                }
            };
            return Err(Refusal::new(Kind::Token, "certificate_mismatch", why));
        }
    };
    let origin = registry.bases.public.origin().ascii_serialization();
    let reached = format!("{origin}{}", parts.uri.path());
    let uris: Vec<RequestUri> = RequestUri::parse(&reached).into_iter().collect();
    let expected = Expected {
        method: parts.method.as_str(),
        uris: &uris,
        token: Some(text),
        nonces,
        now,
    };
    let proof = expected.verify_by(SentProof::of(&parts.headers), thumbprint);
    proof.map(Some).map_err(|why| {
        let refusal = match why {
            InvalidProof::Nonce => Refusal::new(
                Kind::Token,
                USE_NONCE,
                "the DPoP proof needs the nonce in the header DPoP-Nonce: make a new one with it",
            ),
            why => unproved(&format!("the DPoP proof is not valid: {why}")),
        };
        Refusal {
            nonce: nonces.and_then(|nonces| nonces.at(now).ok()),
            ..refusal
        }
    })
}

/// The challenge for a proof that is refused with this error (RFC 9449 section 7.1).
pub(crate) fn challenge(error: &str) -> Option<HeaderValue> {
    let algorithms: Vec<String> = ALGORITHMS.iter().map(ToString::to_string).collect();
    let algorithms = algorithms.join(" ");
    HeaderValue::try_from(format!(
        "DPoP realm=\"registry\", error=\"{error}\", algs=\"{algorithms}\""
    ))
    .ok()
}

/// The refusal of a proof that was used before.
pub(crate) fn replayed() -> Refusal {
    unproved("the DPoP proof was used before: make a new one for each request")
}

fn unproved(why: &str) -> Refusal {
    Refusal::new(Kind::Token, INVALID_PROOF, why)
}

fn invalid(why: &str) -> Refusal {
    Refusal::new(Kind::Token, "invalid_request", why)
}
