//! The checks of an access token's claims (RFC 9068 section 4). They are the same for the claims of
//! a JWT and for the claims in an introspection response.

use serde_json::{Map, Value};

use crate::{AccessToken, Rejection};

/// The clock difference between authorization server and registry that is tolerated, in seconds.
const LEEWAY_SECONDS: i64 = 60;

/// Checks that the claims are of a token that `issuer` issued for `resource` and that is in force
/// at `now` (seconds since 1970), and turns them into an [`AccessToken`].
pub(crate) fn accept(
    claims: Map<String, Value>,
    issuer: &str,
    resource: &str,
    now: i64,
) -> Result<AccessToken, Rejection> {
    let invalid = |why| Err(Rejection::InvalidToken(why));
    prove_possession(&claims)?;
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
    Ok(token)
}

/// Refuses every token that is bound to a key (`cnf`, RFC 7800): proofs of possession are not
/// supported, and a bound token must not be accepted as a bearer token (decision D-49). Support for
/// proofs belongs here.
fn prove_possession(claims: &Map<String, Value>) -> Result<(), Rejection> {
    if claims.contains_key("cnf") {
        Err(Rejection::InvalidToken("bound to a key"))
    } else {
        Ok(())
    }
}
