//! The token cases: what is changed in a good token, and whether a registry accepts it.

use carnet_jose::{base64url, from_base64url};
use openssl::pkey::{Id, PKey};
use serde_json::{Value, json};

use super::decisions::{REGISTRY, entry, with};
use super::sorted;
use super::tokens::{
    Case, FOREIGN, KID, NOW, PUBLIC, accepted, claims, header, own, rejected, signed, token,
};
use crate::tests::support::hmac;

pub(super) fn all() -> Vec<Case> {
    [headers(), signatures(), parties(), times(), entries()]
        .into_iter()
        .flatten()
        .collect()
}

/// Tokens with another header.
fn headers() -> Vec<Case> {
    let changed =
        |member: &str, value: &str| token(&with(header(), member, json!(value)), &claims());
    let untyped = json!({ "alg": "EdDSA", "kid": KID });
    let (typed, unknown) = ("not typed as an access token", "unknown key");
    vec![
        accepted("as the server issues it", token(&header(), &claims()), &[0]),
        accepted(
            "`typ` in another letter case",
            changed("typ", "AT+JWT"),
            &[0],
        ),
        accepted(
            "`typ` with `application/`",
            changed("typ", "application/at+jwt"),
            &[0],
        ),
        accepted(
            "a parameter of the header that says nothing of keys",
            changed("x5t", "AAAA"),
            &[0],
        ),
        rejected(typed, "no `typ`", token(&untyped, &claims())),
        rejected(typed, "`typ` of a JWT", changed("typ", "JWT")),
        rejected(
            typed,
            "an answer of introspection",
            changed("typ", "token-introspection+jwt"),
        ),
        rejected(typed, "`typ` that begins alike", changed("typ", "at+jwt2")),
        rejected(
            unknown,
            "a `kid` that is not published",
            changed("kid", "third"),
        ),
        rejected(
            unknown,
            "the `kid` of a key for another algorithm",
            changed("kid", "second"),
        ),
        rejected(
            unknown,
            "the algorithm of another key",
            changed("alg", "ES256"),
        ),
        rejected(
            "algorithm not accepted",
            "the algorithm `EDDSA`",
            changed("alg", "EDDSA"),
        ),
        rejected(
            "malformed",
            "an extension that has to be understood",
            token(&with(header(), "crit", json!(["b65"])), &claims()),
        ),
    ]
}

/// Tokens that nobody signed, or somebody else.
fn signatures() -> Vec<Case> {
    let good = token(&header(), &claims());
    let (input, signature) = good.rsplit_once('.').unwrap();
    let (head, _) = input.split_once('.').unwrap();
    let mut reversed = from_base64url(signature).unwrap();
    reversed.reverse();
    let more = with(
        claims(),
        "authorization_details",
        json!([entry(&["create", "publish"], &["*"])]),
    );
    let unsigned = |alg: &str| {
        let head = base64url(sorted(&with(header(), "alg", json!(alg))).to_string());
        format!("{head}.{}", base64url(sorted(&claims()).to_string()))
    };
    let hs256 = unsigned("HS256");
    let mac = base64url(hmac(&from_base64url(PUBLIC).unwrap(), hs256.as_bytes()));
    let foreign_jwk =
        json!({ "kty": "OKP", "crv": "Ed25519", "x": base64url(public_of(&FOREIGN)) });
    let by_foreign = |header: &Value| signed(&FOREIGN, header, &sorted(&claims()).to_string());
    let (invalid, algorithm, malformed) =
        ("signature not valid", "algorithm not accepted", "malformed");
    vec![
        rejected(
            invalid,
            "the bytes of the signature in reverse",
            format!("{input}.{}", base64url(reversed)),
        ),
        rejected(invalid, "no signature", format!("{input}.")),
        rejected(
            invalid,
            "other claims under the signature",
            format!(
                "{head}.{}.{signature}",
                base64url(sorted(&more).to_string())
            ),
        ),
        rejected(invalid, "signed with another key", by_foreign(&header())),
        rejected(
            malformed,
            "signed with another key, which the header holds",
            by_foreign(&with(header(), "jwk", foreign_jwk)),
        ),
        rejected(
            algorithm,
            "`alg` is `none`",
            format!("{}.", unsigned("none")),
        ),
        rejected(
            algorithm,
            "`alg` is `none`, with a signature",
            format!("{}.{signature}", unsigned("none")),
        ),
        rejected(
            algorithm,
            "a MAC with the public key as the secret",
            format!("{hs256}.{mac}"),
        ),
        rejected(malformed, "nothing", String::new()),
        rejected(
            malformed,
            "an opaque key",
            "cnt_3q2-7wAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        ),
        rejected(malformed, "two parts", input.to_owned()),
        rejected(malformed, "four parts", format!("{good}.e30")),
        rejected(
            malformed,
            "characters outside the alphabet",
            format!("{head}.!!!.{signature}"),
        ),
        rejected(
            malformed,
            "claims that are no object",
            signed(&own(), &header(), "[]"),
        ),
        rejected(
            malformed,
            "claims that are no JSON",
            signed(&own(), &header(), "{"),
        ),
    ]
}

fn public_of(private: &[u8]) -> Vec<u8> {
    let key = PKey::private_key_from_raw_bytes(private, Id::ED25519).unwrap();
    key.raw_public_key().unwrap()
}

fn without(member: &str) -> Value {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(member);
    claims
}

/// Whose the token is, and for whom.
fn parties() -> Vec<Case> {
    let changed = |member: &str, value: Value| token(&header(), &with(claims(), member, value));
    let (issuer, registry, malformed) = ("of another issuer", "for another registry", "malformed");
    let mut own_client = with(without("workload"), "sub", json!("ci-bot"));
    own_client["client_id"] = json!("ci-bot");
    own_client.as_object_mut().unwrap().remove("principal");
    let actor = json!({ "iss": "https://ci.example", "sub": "repo:octo-org/deploy" });
    let mut cases = vec![
        accepted(
            "of a client for itself",
            token(&header(), &own_client),
            &[0],
        ),
        accepted("delegated to an actor", changed("act", actor), &[0]),
        accepted("an unknown claim", changed("colour", json!("blue")), &[0]),
        rejected(
            issuer,
            "another issuer",
            changed("iss", json!("https://ci.example")),
        ),
        rejected(
            issuer,
            "the issuer with a slash",
            changed("iss", json!("https://carnet.example/")),
        ),
        rejected(
            issuer,
            "the issuer in upper case",
            changed("iss", json!("https://CARNET.example")),
        ),
        rejected(
            registry,
            "another registry",
            changed("aud", json!("https://other.example/")),
        ),
        rejected(
            registry,
            "the registry without its slash",
            changed("aud", json!("https://registry.example")),
        ),
        rejected(
            registry,
            "another path of the registry's host",
            changed("aud", json!("https://registry.example/pypi/")),
        ),
        rejected(
            registry,
            "the server's own admin API",
            changed("aud", json!("https://carnet.example/admin")),
        ),
        rejected(
            malformed,
            "a list of one audience",
            changed("aud", json!([REGISTRY])),
        ),
        rejected(
            malformed,
            "a list of two audiences",
            changed("aud", json!(["https://other.example/", REGISTRY])),
        ),
    ];
    for member in ["iss", "aud", "sub", "client_id", "jti", "iat", "exp"] {
        cases.push(rejected(
            malformed,
            &format!("no `{member}`"),
            token(&header(), &without(member)),
        ));
    }
    let certificate = "bound to a client certificate, and the connection was made without one";
    for (cnf, why) in [
        (
            json!({ "jkt": "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I" }),
            "bound to a key",
        ),
        (json!({ "x5t#S256": "AAAA" }), certificate),
        (json!({}), "bound to a key"),
        (json!(null), "bound to a key"),
    ] {
        cases.push(rejected(
            why,
            &format!("`cnf` is {cnf}"),
            changed("cnf", cnf),
        ));
    }
    cases
}

/// When the token is valid.
fn times() -> Vec<Case> {
    let at = |member: &str, value: Value| token(&header(), &with(claims(), member, value));
    let after = |member: &str, seconds: i64| at(member, json!(NOW.saturating_add(seconds)));
    let (expired, future, early, malformed) = (
        "expired",
        "issued in the future",
        "not valid yet",
        "malformed",
    );
    vec![
        accepted("expired 59 seconds ago", after("exp", -59), &[0]),
        accepted("issued 60 seconds in the future", after("iat", 60), &[0]),
        accepted("issued at this second", after("iat", 0), &[0]),
        accepted(
            "valid from 60 seconds in the future",
            after("nbf", 60),
            &[0],
        ),
        accepted("valid from an hour ago", after("nbf", -3600), &[0]),
        rejected(expired, "expired 60 seconds ago", after("exp", -60)),
        rejected(expired, "expired an hour ago", after("exp", -3600)),
        rejected(expired, "expired in 1970", at("exp", json!(0))),
        rejected(future, "issued 61 seconds in the future", after("iat", 61)),
        rejected(
            early,
            "valid from 61 seconds in the future",
            after("nbf", 61),
        ),
        rejected(
            malformed,
            "`exp` as a text",
            at("exp", json!((NOW + 890).to_string())),
        ),
        rejected(malformed, "`exp` is null", at("exp", json!(null))),
        rejected(malformed, "`exp` is true", at("exp", json!(true))),
        rejected(malformed, "`iat` as a text", at("iat", json!("now"))),
        rejected(malformed, "`nbf` as a text", at("nbf", json!("now"))),
    ]
}

/// The entries: for which registry they are, and which are left out.
fn entries() -> Vec<Case> {
    let good = || entry(&["publish"], &["widgets"]);
    let at = |locations: Value| with(good(), "locations", locations);
    let of = |entries: Value| token(&header(), &with(claims(), "authorization_details", entries));
    let unknown = with(
        at(json!(["https://other.example/"])),
        "until",
        json!("monday"),
    );
    let (elsewhere, malformed) = ("has an entry for another registry", "malformed");
    vec![
        accepted(
            "no entries",
            token(&header(), &without("authorization_details")),
            &[],
        ),
        accepted("an empty list of entries", of(json!([])), &[]),
        accepted(
            "two entries",
            of(json!([good(), entry(&["yank"], &["gadgets"])])),
            &[0, 1],
        ),
        accepted(
            "an entry for two registries",
            of(json!([at(json!(["https://other.example/", REGISTRY]))])),
            &[0],
        ),
        accepted(
            "an entry of an unknown form, for another registry too, is left out",
            of(json!([unknown, good()])),
            &[1],
        ),
        accepted(
            "elements that are no entries are left out",
            of(json!([null, good(), "widgets", []])),
            &[1],
        ),
        rejected(
            elsewhere,
            "an entry for another registry",
            of(json!([at(json!(["https://other.example/"]))])),
        ),
        rejected(
            elsewhere,
            "a good entry and one for another registry",
            of(json!([good(), at(json!(["https://other.example/"]))])),
        ),
        rejected(
            elsewhere,
            "an entry for the registry without its slash",
            of(json!([at(json!(["https://registry.example"]))])),
        ),
        rejected(
            elsewhere,
            "an entry for no registry",
            of(json!([at(json!([]))])),
        ),
        rejected(malformed, "entries that are an object", of(good())),
        rejected(malformed, "entries that are null", of(json!(null))),
        rejected(malformed, "entries that are a text", of(json!("package"))),
    ]
}
