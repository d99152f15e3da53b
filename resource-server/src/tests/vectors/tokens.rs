//! Signed tokens, and whether a registry accepts them.

use carnet_jose::{Algorithm, KeySet, base64url, from_base64url};
use openssl::pkey::{Id, PKey};
use openssl::sign::Signer;
use serde_json::{Value, json};

use super::decisions::{REGISTRY, entry};
use super::{sorted, token_cases};
use crate::jwt::UnverifiedJwt;
use crate::{AccessToken, AuthorizationDetail, Rejection};

const ISSUER: &str = "https://carnet.example";
pub(super) const NOW: i64 = 1_800_000_000;
/// The private key that RFC 8037 appendix A.1 publishes, and its thumbprint (appendix A.3). Its
/// signatures are the same each time.
const PRIVATE: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
pub(super) const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
pub(super) const KID: &str = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k";
/// The private key of somebody else.
pub(super) const FOREIGN: [u8; 32] = [7; 32];

/// What a case has besides its token: whether a registry accepts it, and if so, which elements of
/// `authorization_details` may allow something.
pub(super) struct Case {
    says: String,
    token: String,
    expected: Result<Vec<usize>, &'static str>,
}

fn jwks() -> Value {
    // The second key is that of RFC 7517 appendix A.1.
    json!({ "keys": [
        { "kty": "OKP", "crv": "Ed25519", "x": PUBLIC, "use": "sig", "alg": "EdDSA", "kid": KID },
        { "kty": "EC", "crv": "P-256", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
          "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM", "use": "sig", "alg": "ES256", "kid": "second" },
    ] })
}

pub(super) fn header() -> Value {
    json!({ "alg": "EdDSA", "typ": "at+jwt", "kid": KID })
}

pub(super) fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": REGISTRY, "sub": "pr_1", "principal": { "name": "joel", "kind": "user" },
        "client_id": "federated:fc_1", "iat": NOW - 10, "exp": NOW + 890, "jti": "01a2022d-bc3e-7841-b39d-3c697a6aeb33",
        "scope": "publish", "authorization_details": [entry(&["publish"], &["widgets"])],
        "workload": { "iss": "https://ci.example", "sub": "repo:octo-org/octo-repo", "profile": "github-actions", "claims": {} },
    })
}

pub(super) fn signed(key: &[u8], header: &Value, payload: &str) -> String {
    let input = format!(
        "{}.{}",
        base64url(sorted(header).to_string()),
        base64url(payload)
    );
    let key = PKey::private_key_from_raw_bytes(key, Id::ED25519).unwrap();
    let signature = Signer::new_without_digest(&key)
        .unwrap()
        .sign_oneshot_to_vec(input.as_bytes())
        .unwrap();
    format!("{input}.{}", base64url(signature))
}

pub(super) fn own() -> Vec<u8> {
    from_base64url(PRIVATE).unwrap()
}

pub(super) fn token(header: &Value, claims: &Value) -> String {
    signed(&own(), header, &sorted(claims).to_string())
}

pub(super) fn accepted(says: &str, token: String, entries: &[usize]) -> Case {
    Case {
        says: says.to_owned(),
        token,
        expected: Ok(entries.to_vec()),
    }
}

pub(super) fn rejected(why: &'static str, says: &str, token: String) -> Case {
    Case {
        says: says.to_owned(),
        token,
        expected: Err(why),
    }
}

fn verify(token: &str) -> Result<AccessToken, Rejection> {
    let allowed = [Algorithm::ES256, Algorithm::RS256, Algorithm::EdDSA];
    let keys = KeySet::parse(jwks().to_string().as_bytes(), &allowed).unwrap();
    let unproven = UnverifiedJwt::read(token)?.verify(&keys, ISSUER, REGISTRY, NOW)?;
    unproven.into_bearer(false, None)
}

/// A part of a token as JSON, or null if it is none: for readers of the file.
fn part(token: &str, number: usize) -> Value {
    let bytes = token.split('.').nth(number).and_then(from_base64url);
    bytes
        .and_then(|bytes| serde_json::from_slice(&bytes).ok())
        .unwrap_or_default()
}

/// What all token cases share, and the cases.
pub(super) fn all() -> (Value, Vec<Value>) {
    let head = json!({ "issuer": ISSUER, "resource": REGISTRY, "now": NOW, "leeway_seconds": 60, "jwks": jwks() });
    let numbered = token_cases::all().into_iter().enumerate();
    let cases = numbered.map(|(number, case)| {
        let (header, claims) = (part(&case.token, 0), part(&case.token, 1));
        let mut shown = json!({ "id": format!("tokens/{number}"), "says": case.says, "token": case.token, "header": header, "claims": claims });
        match case.expected {
            Ok(entries) => {
                shown["expect"] = json!("accept");
                shown["usable_entries"] = json!(entries);
            }
            Err(why) => {
                shown["expect"] = json!("reject");
                shown["error"] = json!("invalid_token");
                shown["why"] = json!(why);
            }
        }
        shown
    });
    (head, cases.collect())
}

#[test]
fn new_a18__tokens_are_accepted_or_refused_as_the_vectors_say() {
    for case in token_cases::all() {
        let found = verify(&case.token).map(|token| {
            let given = part(&case.token, 1)["authorization_details"].clone();
            let elements = given.as_array().cloned().unwrap_or_default();
            let is_known = |index: &usize| {
                serde_json::from_value::<AuthorizationDetail>(elements[*index].clone()).is_ok()
            };
            let kept: Vec<usize> = (0..elements.len()).filter(is_known).collect();
            assert_eq!(
                token.authorization_details.len(),
                kept.len(),
                "{}",
                case.says
            );
            kept
        });
        assert_eq!(
            found,
            case.expected.map_err(Rejection::InvalidToken),
            "{}",
            case.says
        );
    }
}
