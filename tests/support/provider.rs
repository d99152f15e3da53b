//! An OpenID provider that can be hostile: each of its faults makes one thing wrong.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Response, StatusCode, Uri};
use axum::response::IntoResponse as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use url::{Url, form_urlencoded};

use super::{TestKey, compact};

/// The client secret of the server at every provider of the tests.
pub const CLIENT_SECRET: &str = "canary-client-secret +/%:";
pub const CLIENT_ID: &str = "carnet at work";
pub const ACCESS_TOKEN: &str = "canary-access-token";

/// What a hostile provider does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    // In the ID token.
    WrongIssuer,
    WrongAudience,
    NoAudience,
    TwoAudiences,
    AudienceTwice,
    ForeignAuthorizedParty,
    WrongNonce,
    NoNonce,
    Unsigned,
    SharedSecret,
    PublicKeyAsSecret,
    UnlistedAlgorithm,
    BrokenSignature,
    ForeignKeyOfSameName,
    UnknownKey,
    KeyInHeader,
    CriticalHeader,
    TypeOfAccessToken,
    WrongAccessTokenHash,
    Expired,
    NoExpiry,
    ExpiryAsText,
    HugeExpiry,
    Old,
    FromTheFuture,
    NotYetValid,
    NoSubject,
    EmptySubject,
    LongSubject,
    RepeatedClaim,
    HugeToken,
    NoSecondFactor,
    OtherSecondFactor,
    NoAuthTime,
    OldAuthTime,
    FutureAuthTime,
    AnotherPerson,
    GroupsElsewhere,
    HasGroups,
    TooManyGroups,
    HugeClaims,
    // At the token endpoint.
    NoIdToken,
    NoAccessToken,
    OtherTokenType,
    HugeAnswer,
    Redirected,
    Slow,
    NotJson,
    InvalidClient,
    InvalidGrant,
    ServerError,
    // At userinfo.
    UserinfoOfAnother,
    UserinfoWithoutSubject,
    UserinfoNotJson,
    UserinfoRefused,
    HugeUserinfo,
    // In the callback.
    NoIssuer,
    /// No fault: neither the answer nor the metadata knows of RFC 9207.
    IssuerUnnamed,
    OtherIssuer,
    AccessDenied,
    NoCode,
    // In the metadata and the keys.
    MetadataOfAnother,
    MetadataMissing,
    KeysMissing,
}

/// A provider at a host of the tests' network.
#[derive(Clone, Debug)]
pub struct FakeProvider {
    pub url: String,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    key: TestKey,
    fault: Option<Fault>,
    /// Now, in seconds since 1970.
    now: i64,
    /// What the codes stand for.
    requests: HashMap<String, HashMap<String, String>>,
    /// Claims beside and in place of the usual ones.
    claims: Value,
    userinfo: Value,
    /// The requests to the token endpoint: header fields and form.
    exchanged: Vec<(HeaderMap, HashMap<String, String>)>,
    /// The `Authorization` fields at the userinfo endpoint.
    asked: Vec<String>,
    /// How often the metadata and the keys were fetched.
    fetched: (usize, usize),
}

impl FakeProvider {
    pub fn new(url: &str, now: i64) -> Self {
        let state = State {
            key: TestKey::rsa(0),
            fault: None,
            now,
            requests: HashMap::new(),
            claims: json!({}),
            userinfo: json!({}),
            exchanged: Vec::new(),
            asked: Vec::new(),
            fetched: (0, 0),
        };
        Self {
            url: url.to_owned(),
            state: Arc::new(Mutex::new(state)),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        change(&mut self.state.lock().unwrap())
    }

    pub fn at(&self, now: i64) {
        self.change(|state| state.now = now);
    }

    pub fn does(&self, fault: impl Into<Option<Fault>>) {
        self.change(|state| state.fault = fault.into());
    }

    /// Adds these claims to ID tokens; `null` removes one.
    pub fn says(&self, claims: Value) {
        self.change(|state| state.claims = claims);
    }

    /// The claims at userinfo beside `sub`.
    pub fn says_at_userinfo(&self, claims: Value) {
        self.change(|state| state.userinfo = claims);
    }

    /// Signs with another key from now on and publishes it alone.
    pub fn rotate(&self, key: TestKey) {
        self.change(|state| state.key = key);
    }

    /// The requests to the token endpoint so far.
    pub fn exchanged(&self) -> Vec<(HeaderMap, HashMap<String, String>)> {
        self.change(|state| state.exchanged.clone())
    }

    /// The `Authorization` fields at the userinfo endpoint so far.
    pub fn asked(&self) -> Vec<String> {
        self.change(|state| state.asked.clone())
    }

    /// How often the metadata and the keys were fetched so far.
    pub fn fetched(&self) -> (usize, usize) {
        self.change(|state| state.fetched)
    }

    /// What the person's browser does with an authentication request: the query of the callback.
    pub fn answers(&self, location: &Url) -> String {
        assert_eq!(
            location.as_str().split('?').next().unwrap(),
            format!("{}/authorize", self.url)
        );
        let request: HashMap<String, String> = location.query_pairs().into_owned().collect();
        let given = request["state"].clone();
        self.change(|state| {
            let code = format!("canary-code-{}", state.requests.len());
            state.requests.insert(code.clone(), request);
            let mut query = form_urlencoded::Serializer::new(String::new());
            query.append_pair("state", &given);
            match state.fault {
                Some(Fault::AccessDenied) => {
                    query.append_pair("error", "access_denied");
                    query.append_pair("error_description", "<b>no</b>");
                }
                Some(Fault::NoCode) => {}
                _ => {
                    query.append_pair("code", &code);
                }
            }
            match state.fault {
                Some(Fault::NoIssuer | Fault::IssuerUnnamed) => {}
                Some(Fault::OtherIssuer) => {
                    query.append_pair("iss", "https://evil.test");
                }
                _ => {
                    query.append_pair("iss", &self.url);
                }
            }
            query.finish()
        })
    }

    /// Its endpoints.
    pub fn router(&self) -> Router {
        let provider = self.clone();
        Router::new().fallback(
            move |uri: Uri, headers: HeaderMap, body: Bytes| async move {
                let path = uri.path().to_owned();
                if path == "/token" && provider.change(|state| state.fault) == Some(Fault::Slow) {
                    tokio::time::sleep(Duration::from_secs(30)).await;
                }
                provider.respond(&path, headers, &body)
            },
        )
    }

    fn respond(&self, path: &str, headers: HeaderMap, body: &[u8]) -> Response<Body> {
        let mut state = self.state.lock().unwrap();
        let fault = state.fault;
        match path {
            "/.well-known/openid-configuration" => {
                state.fetched.0 += 1;
                self.metadata(fault)
            }
            "/jwks" if fault == Some(Fault::KeysMissing) => StatusCode::NOT_FOUND.into_response(),
            "/jwks" => {
                state.fetched.1 += 1;
                answer(200, json!({ "keys": [state.key.jwk()] }).to_string())
            }
            "/token" => {
                let form: HashMap<String, String> =
                    form_urlencoded::parse(body).into_owned().collect();
                state.exchanged.push((headers, form.clone()));
                self.token(&state, &form)
            }
            "/userinfo" => {
                let sent = headers["authorization"].to_str().unwrap().to_owned();
                state.asked.push(sent);
                userinfo(&state)
            }
            _ => StatusCode::NOT_FOUND.into_response(),
        }
    }

    fn metadata(&self, fault: Option<Fault>) -> Response<Body> {
        let issuer = match fault {
            Some(Fault::MetadataMissing) => return StatusCode::NOT_FOUND.into_response(),
            Some(Fault::MetadataOfAnother) => "https://evil.test",
            _ => &self.url,
        };
        let at = |path: &str| format!("{}/{path}", self.url);
        let mut document = json!({
            "issuer": issuer, "authorization_endpoint": at("authorize"),
            "token_endpoint": at("token"), "jwks_uri": at("jwks"),
            "userinfo_endpoint": at("userinfo"), "end_session_endpoint": at("logout"),
            // More than the server takes: it goes by the object of the provider alone.
            "id_token_signing_alg_values_supported": ["RS256", "RS384", "HS256", "none"],
        });
        if fault != Some(Fault::IssuerUnnamed) {
            document["authorization_response_iss_parameter_supported"] = json!(true);
        }
        answer(200, document.to_string())
    }

    fn token(&self, state: &State, form: &HashMap<String, String>) -> Response<Body> {
        use Fault as F;
        match state.fault {
            Some(F::InvalidClient) => return answer(401, r#"{"error":"invalid_client"}"#.into()),
            Some(F::InvalidGrant) => return answer(400, r#"{"error":"invalid_grant"}"#.into()),
            Some(F::ServerError) => return answer(500, ACCESS_TOKEN.into()),
            Some(F::NotJson) => return answer(200, format!("<html>{ACCESS_TOKEN}</html>")),
            Some(F::HugeAnswer) => return answer(200, " ".repeat(1024 * 1024)),
            Some(F::Redirected) => {
                let to = [("location", format!("{}/elsewhere", self.url))];
                return (StatusCode::TEMPORARY_REDIRECT, to).into_response();
            }
            _ => {}
        }
        let Some(request) = form.get("code").and_then(|code| state.requests.get(code)) else {
            return answer(400, r#"{"error":"invalid_grant"}"#.into());
        };
        let mut tokens = json!({
            "access_token": ACCESS_TOKEN, "token_type": "bearer", "expires_in": 300,
            "id_token": self.id_token(state, request),
        });
        let members = tokens.as_object_mut().unwrap();
        match state.fault {
            Some(F::NoIdToken) => drop(members.remove("id_token")),
            Some(F::NoAccessToken) => drop(members.remove("access_token")),
            Some(F::OtherTokenType) => drop(members.insert("token_type".into(), "mac".into())),
            _ => {}
        }
        answer(200, tokens.to_string())
    }

    fn id_token(&self, state: &State, request: &HashMap<String, String>) -> String {
        let mut claims = self.claims(state, request);
        wrong_claims(&mut claims, state);
        let key = &state.key;
        let mut header = key.header();
        let mut payload = claims.to_string();
        match state.fault {
            Some(Fault::Unsigned) => {
                return compact(br#"{"alg":"none"}"#, payload.as_bytes(), b"");
            }
            Some(Fault::SharedSecret) => {
                let header = json!({ "alg": "HS256" });
                return TestKey::hmac(CLIENT_SECRET.as_bytes(), &header, &claims);
            }
            Some(Fault::PublicKeyAsSecret) => {
                let header = json!({ "alg": "HS256", "kid": key.kid });
                return TestKey::hmac(key.jwk().to_string().as_bytes(), &header, &claims);
            }
            Some(Fault::UnlistedAlgorithm) => return key.using("RS384").sign(&claims),
            Some(Fault::ForeignKeyOfSameName) => {
                return TestKey::rsa(1).named(&key.kid).sign(&claims);
            }
            Some(Fault::BrokenSignature) => {
                let signed = key.sign(&claims);
                let (input, _) = signed.rsplit_once('.').unwrap();
                return format!("{input}.{}", URL_SAFE_NO_PAD.encode([7; 256]));
            }
            Some(Fault::UnknownKey) => header["kid"] = json!("nobody-published-it"),
            Some(Fault::KeyInHeader) => header["jwk"] = key.jwk(),
            Some(Fault::CriticalHeader) => header["crit"] = json!(["x"]),
            Some(Fault::TypeOfAccessToken) => header["typ"] = json!("at+jwt"),
            Some(Fault::RepeatedClaim) => {
                payload = payload.replacen('{', r#"{"sub":"somebody-else","#, 1);
            }
            _ => {}
        }
        key.sign_raw(header.to_string().as_bytes(), payload.as_bytes())
    }

    fn claims(&self, state: &State, request: &HashMap<String, String>) -> Value {
        let half = &openssl::sha::sha256(ACCESS_TOKEN.as_bytes())[..16];
        let mut claims = json!({
            "iss": self.url, "aud": CLIENT_ID, "sub": "p-1", "iat": state.now,
            "exp": state.now + 300, "nonce": request["nonce"], "auth_time": state.now,
            "acr": "mfa", "amr": ["pwd", "otp"], "at_hash": URL_SAFE_NO_PAD.encode(half),
            "name": "Pat Example", "preferred_username": "pat", "email": "pat@work.test",
            "email_verified": true, "groups": ["staff", "publishers"],
        });
        for (name, value) in state.claims.as_object().unwrap() {
            put(&mut claims, name, value.clone());
        }
        claims
    }
}

fn put(claims: &mut Value, name: &str, value: Value) {
    let claims = claims.as_object_mut().unwrap();
    if value.is_null() {
        claims.remove(name);
    } else {
        claims.insert(name.to_owned(), value);
    }
}

fn wrong_claims(claims: &mut Value, state: &State) {
    use Fault as F;
    let now = state.now;
    let Some(fault) = state.fault else {
        return;
    };
    let (name, value) = match fault {
        F::WrongIssuer => ("iss", json!("https://login.test/")),
        F::WrongAudience => ("aud", json!("another client")),
        F::NoAudience => ("aud", Value::Null),
        F::TwoAudiences => ("aud", json!([CLIENT_ID, "another client"])),
        F::AudienceTwice => ("aud", json!([CLIENT_ID, CLIENT_ID])),
        F::ForeignAuthorizedParty => ("azp", json!("another client")),
        F::WrongNonce => ("nonce", json!("another-nonce")),
        F::NoNonce => ("nonce", Value::Null),
        F::WrongAccessTokenHash => ("at_hash", json!("AAAAAAAAAAAAAAAAAAAAAA")),
        F::Expired => ("exp", json!(now - 60)),
        F::NoExpiry => ("exp", Value::Null),
        F::ExpiryAsText => ("exp", json!("tomorrow")),
        F::HugeExpiry => ("exp", json!(1e300)),
        F::Old => ("iat", json!(now - 601)),
        F::FromTheFuture => ("iat", json!(now + 61)),
        F::NotYetValid => ("nbf", json!(now + 61)),
        F::NoSubject => ("sub", Value::Null),
        F::EmptySubject => ("sub", json!("")),
        F::LongSubject => ("sub", json!("s".repeat(256))),
        F::HugeToken => ("padding", json!("x".repeat(16 * 1024))),
        F::NoSecondFactor => ("acr", Value::Null),
        F::OtherSecondFactor => ("acr", json!("pwd")),
        F::NoAuthTime => ("auth_time", Value::Null),
        F::OldAuthTime => ("auth_time", json!(now - 61)),
        F::FutureAuthTime => ("auth_time", json!(now + 61)),
        F::AnotherPerson => ("sub", json!("p-2")),
        F::GroupsElsewhere => {
            put(claims, "groups", Value::Null);
            ("_claim_names", json!({ "groups": "src1" }))
        }
        F::HasGroups => ("hasgroups", json!(true)),
        F::TooManyGroups => {
            let groups: Vec<String> = (0..201).map(|number| format!("g{number}")).collect();
            ("groups", json!(groups))
        }
        _ => return,
    };
    put(claims, name, value);
}

fn userinfo(state: &State) -> Response<Body> {
    let mut claims = json!({ "sub": "p-1" });
    for (name, value) in state.userinfo.as_object().unwrap() {
        put(&mut claims, name, value.clone());
    }
    match state.fault {
        Some(Fault::UserinfoOfAnother) => put(&mut claims, "sub", json!("p-2")),
        Some(Fault::UserinfoWithoutSubject) => put(&mut claims, "sub", Value::Null),
        Some(Fault::UserinfoNotJson) => return answer(200, "sub=p-1".into()),
        Some(Fault::UserinfoRefused) => return answer(403, "{}".into()),
        Some(Fault::HugeUserinfo) => return answer(200, " ".repeat(1024 * 1024)),
        Some(Fault::HugeClaims) => put(&mut claims, "padding", json!("x".repeat(16 * 1024))),
        _ => {}
    }
    answer(200, claims.to_string())
}

fn answer(status: u16, body: String) -> Response<Body> {
    let status = StatusCode::from_u16(status).unwrap();
    (status, [("content-type", "application/json")], body).into_response()
}
