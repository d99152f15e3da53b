//! The checks of an access token's claims (RFC 9068 section 4). They are the same for the claims of
//! a JWT and for the claims in an introspection response.

use carnet_access::Confirmation;
use serde::Deserialize as _;
use serde_json::{Map, Value};

use crate::{AccessToken, ClientCertificate, DpopRejection, Rejection};

/// The clock difference between authorization server and registry that is tolerated, in seconds.
const LEEWAY_SECONDS: i64 = 60;

/// Why a bound token is refused where no proofs are taken, and one whose binding cannot be read
/// everywhere (decision D-49).
const BOUND: &str = "bound to a key";
const NEEDS_PROOF: &str = "bound to a key: it goes with `Authorization: DPoP` and a proof";
const NEEDS_CERTIFICATE: &str =
    "bound to a client certificate, and the connection was made without one";
const OTHER_CERTIFICATE: &str = "bound to another client certificate than that of the connection";
const CERTIFICATE_UNDER_DPOP: &str =
    "bound to a client certificate: it goes with `Authorization: Bearer`";
const UNBOUND: &str = "not bound to a key: it goes with `Authorization: Bearer`";

/// A valid token of which it is not known yet whether the sender may use it: it may be bound to a
/// key, and then a copy of it is worth nothing.
#[derive(Clone, Debug)]
pub(crate) struct Unproven(pub(crate) AccessToken);

impl Unproven {
    /// The token of a request without a DPoP proof, which may have come over a connection with a
    /// client certificate; `takes_proofs` is whether there could have been a proof.
    pub(crate) fn into_bearer(
        self,
        takes_proofs: bool,
        certificate: Option<&ClientCertificate>,
    ) -> Result<AccessToken, Rejection> {
        let why = match (&self.0.cnf, certificate) {
            (None, _) => return Ok(self.0),
            (Some(Confirmation::Key(_)), _) if !takes_proofs => BOUND,
            (Some(Confirmation::Key(_)), _) => NEEDS_PROOF,
            (Some(Confirmation::Certificate(_)), None) => NEEDS_CERTIFICATE,
            (Some(Confirmation::Certificate(bound_to)), Some(sent)) => {
                if sent.thumbprint() == bound_to {
                    return Ok(self.0);
                }
                OTHER_CERTIFICATE
            }
        };
        Err(Rejection::InvalidToken(why))
    }

    /// The thumbprint of the key that a proof has to be by, in a request with the DPoP scheme.
    pub(crate) fn key(&self) -> Result<&str, DpopRejection> {
        match &self.0.cnf {
            Some(Confirmation::Key(thumbprint)) => Ok(thumbprint),
            Some(Confirmation::Certificate(_)) => {
                Err(DpopRejection::InvalidToken(CERTIFICATE_UNDER_DPOP))
            }
            None => Err(DpopRejection::InvalidToken(UNBOUND)),
        }
    }
}

/// Checks that the claims are of a token that `issuer` issued for `resource` and that is in force
/// at `now` (seconds since 1970), and turns them into an [`AccessToken`].
pub(crate) fn accept(
    claims: Map<String, Value>,
    issuer: &str,
    resource: &str,
    now: i64,
) -> Result<Unproven, Rejection> {
    let invalid = |why| Err(Rejection::InvalidToken(why));
    // Whoever does not understand a binding must not take the token for one without it.
    if let Some(cnf) = claims.get("cnf")
        && Confirmation::deserialize(cnf).is_err()
    {
        return invalid(BOUND);
    }
    let not_before = match claims.get("nbf") {
        None => None,
        Some(value) => Some(value.as_i64().ok_or(Rejection::InvalidToken("malformed"))?),
    };
    let token: AccessToken = serde_json::from_value(Value::Object(claims))
        .map_err(|_| Rejection::InvalidToken("malformed"))?;
    if token.iss != issuer {
        return invalid("of another issuer");
    }
    if token.aud != resource {
        return invalid("for another registry");
    }
    if now >= token.exp.saturating_add(LEEWAY_SECONDS) {
        return invalid("expired");
    }
    let latest_start = now.saturating_add(LEEWAY_SECONDS);
    if token.iat > latest_start {
        return invalid("issued in the future");
    }
    if not_before.is_some_and(|start| start > latest_start) {
        return invalid("not valid yet");
    }
    if token
        .authorization_details
        .iter()
        .any(|entry| !entry.locations.iter().any(|location| location == resource))
    {
        return invalid("has an entry for another registry");
    }
    Ok(Unproven(token))
}
