//! Signing in at an OpenID provider: what is asked, what is believed, and what an attempt is.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use carnet::clock::Timestamp;
use carnet::ids::{IdentityProviderId, SessionId};
use carnet::model::{ClaimsFrom, Freshness, IdentityProvider, Logout, ProviderAuth, SecondFactor};
use carnet::people::{Begun, Purpose, ReturnTo, SignInRefusal, SignedIn, begin, finish};
use carnet_jose::{Algorithm, Compact};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::support::{
    CLIENT_ID, CLIENT_SECRET, FakeProvider, Fault, PROVIDER_ACCESS_TOKEN, TestKey, TestServer,
};

pub const LOGIN: &str = "https://login.test";

/// A server, and one provider at which people sign in.
pub struct Desk {
    pub server: TestServer,
    pub login: FakeProvider,
    pub provider: IdentityProvider,
}

/// The cookies of a browser.
pub type Cookies = Vec<(String, String)>;

impl Desk {
    pub async fn new() -> Self {
        let server = TestServer::start().await;
        let login = FakeProvider::new(LOGIN, server.now());
        server.network.add_service("login.test", login.router());
        let provider = provider_at(&server, LOGIN, "work");
        Self {
            server,
            login,
            provider,
        }
    }

    /// The provider as it is set up now, for which nothing is cached.
    pub fn fresh(&self) -> Arc<IdentityProvider> {
        Arc::new(sealed(&self.server, self.provider.clone()))
    }

    pub async fn begin(&self, provider: &Arc<IdentityProvider>, purpose: Purpose) -> Begun {
        let to = ReturnTo::read("/console/octo-org");
        begin(&self.server.app, provider, to, purpose, &[])
            .await
            .unwrap()
    }

    pub async fn finish(
        &self,
        provider: &Arc<IdentityProvider>,
        begun: &Begun,
    ) -> Result<SignedIn, SignInRefusal> {
        let query = self.login.answers(&begun.location);
        finish(&self.server.app, provider, &query, &cookies(begun), None).await
    }

    /// The whole way to the provider and back.
    pub async fn sign_in(&self) -> Result<SignedIn, SignInRefusal> {
        let provider = self.fresh();
        let begun = self.begin(&provider, Purpose::SignIn).await;
        self.finish(&provider, &begun).await
    }

    pub async fn step_up(&self) -> Result<SignedIn, SignInRefusal> {
        let provider = self.fresh();
        let begun = self.begin(&provider, self.presence()).await;
        self.finish(&provider, &begun).await
    }

    /// How many rows the tables have that a sign-in could write.
    pub async fn rows(&self) -> Vec<i64> {
        self.server.app.flush_audit().await;
        let mut counts = Vec::new();
        for table in ["session", "person", "audit_event"] {
            let sql = format!("SELECT COUNT(*) FROM {table}");
            counts.extend(self.server.db.column::<i64>(&sql).await);
        }
        counts
    }

    pub fn presence(&self) -> Purpose {
        Purpose::StepUp {
            session: SessionId::new(Timestamp::from_seconds(self.server.now())),
            sub: "p-1".to_owned(),
            login_hint: Some("pat".to_owned()),
        }
    }
}

/// A provider at this URL that is not saved anywhere.
pub fn provider_at(server: &TestServer, url: &str, name: &str) -> IdentityProvider {
    let provider = IdentityProvider {
        id: IdentityProviderId(uuid::Uuid::nil()),
        name: name.to_owned(),
        version: 1,
        display_name: "Work".to_owned(),
        issuer: url.to_owned(),
        client_id: CLIENT_ID.to_owned(),
        auth_method: ProviderAuth::ClientSecretBasic,
        sealed_secret: None,
        scopes: ["openid", "profile", "email"].map(str::to_owned).to_vec(),
        claims_from: ClaimsFrom::IdToken,
        algorithms: vec![Algorithm::RS256, Algorithm::ES256],
        profile: server.app.profiles.get("person").unwrap().clone(),
        second_factor: SecondFactor::Acr(vec!["mfa".to_owned(), "hwk".to_owned()]),
        freshness: Freshness::AuthTime,
        writes: true,
        logout: Logout::Provider,
        ca_pem: None,
        allow_private: Vec::new(),
        enabled: true,
    };
    sealed(server, provider)
}

/// The provider under a new id, with the client secret sealed for it.
fn sealed(server: &TestServer, provider: IdentityProvider) -> IdentityProvider {
    let id = IdentityProviderId(uuid::Uuid::from_bytes(carnet::ids::random()));
    let purpose = carnet::keys::provider_secret(&provider.name);
    let secret = server.app.keys.seal(CLIENT_SECRET.as_bytes(), purpose);
    IdentityProvider {
        id,
        sealed_secret: provider.auth_method.has_secret().then(|| secret.unwrap()),
        ..provider
    }
}

pub fn cookies(begun: &Begun) -> Cookies {
    vec![(begun.cookie.name.clone(), begun.cookie.value.clone())]
}

fn query(begun: &Begun) -> HashMap<String, String> {
    begun.location.query_pairs().into_owned().collect()
}

fn code(refusal: &SignInRefusal) -> &'static str {
    refusal.reason.code()
}

#[tokio::test]
async fn oidcc_3_1_2_1_1__an_authentication_request_has_pkce_state_nonce_and_asks_for_auth_time() {
    let desk = Desk::new().await;
    let provider = desk.fresh();
    let begun = desk.begin(&provider, Purpose::SignIn).await;
    let request = query(&begun);
    let expected = [
        ("response_type", "code"),
        ("client_id", CLIENT_ID),
        (
            "redirect_uri",
            "https://as.test/console/sign-in/work/callback",
        ),
        ("scope", "openid profile email"),
        ("code_challenge_method", "S256"),
        ("acr_values", "mfa hwk"),
        ("claims", r#"{"id_token":{"auth_time":{"essential":true}}}"#),
    ];
    for (name, value) in expected {
        assert_eq!(request.get(name).map(String::as_str), Some(value), "{name}");
    }
    // 256 bits each, in base64url.
    for name in ["state", "nonce", "code_challenge"] {
        assert_eq!(request[name].len(), 43, "{name}");
    }
    for name in ["prompt", "max_age", "login_hint", "client_secret"] {
        assert!(!request.contains_key(name), "{name}");
    }
    let again = query(&desk.begin(&provider, Purpose::SignIn).await);
    for name in ["state", "nonce", "code_challenge"] {
        assert_ne!(request[name], again[name], "{name}");
    }

    let step_up = query(&desk.begin(&provider, desk.presence()).await);
    for (name, value) in [
        ("max_age", "0"),
        ("prompt", "login"),
        ("login_hint", "pat"),
        ("acr_values", "mfa hwk"),
        ("claims", r#"{"id_token":{"auth_time":{"essential":true}}}"#),
    ] {
        assert_eq!(step_up.get(name).map(String::as_str), Some(value), "{name}");
    }
}

#[tokio::test]
async fn a_person_is_who_the_provider_says() {
    let desk = Desk::new().await;
    let signed_in = desk.sign_in().await.unwrap();
    assert_eq!(signed_in.sub, "p-1");
    assert_eq!(signed_in.name.as_deref(), Some("Pat Example"));
    assert_eq!(signed_in.username.as_deref(), Some("pat"));
    assert_eq!(signed_in.email.as_deref(), Some("pat@work.test"));
    assert_eq!(signed_in.claims["groups"], json!(["staff", "publishers"]));
    assert!(!signed_in.claims.contains_key("nonce"));
    let now = Timestamp::from_seconds(desk.server.now());
    assert_eq!(signed_in.auth_time, Some(now));
    assert_eq!(signed_in.acr.as_deref(), Some("mfa"));
    assert_eq!(signed_in.amr, ["pwd", "otp"]);
    assert!(signed_in.second_factor);
    assert_eq!(signed_in.return_to.as_str(), "/console/octo-org");
    assert_eq!(signed_in.step_up, None);

    desk.login
        .says(json!({ "email_verified": false, "azp": CLIENT_ID }));
    assert_eq!(desk.sign_in().await.unwrap().email, None);
    let stepped_up = desk.step_up().await.unwrap();
    assert!(stepped_up.step_up.is_some());
}

#[tokio::test]
async fn oidcc_9_1__each_method_of_client_authentication_is_what_its_standard_says() {
    let mut desk = Desk::new().await;
    for method in ProviderAuth::ALL {
        desk.provider.auth_method = method;
        desk.sign_in().await.unwrap();
        let (headers, form) = desk.login.exchanged().pop().unwrap();
        let basic = headers.get("authorization").map(|it| it.to_str().unwrap());
        assert_eq!(form["grant_type"], "authorization_code");
        assert_eq!(form["code_verifier"].len(), 43);
        assert_eq!(
            form["redirect_uri"],
            "https://as.test/console/sign-in/work/callback"
        );
        assert_eq!(
            form.contains_key("client_assertion"),
            method == ProviderAuth::PrivateKeyJwt
        );
        assert_eq!(
            form.get("client_secret").map(String::as_str),
            (method == ProviderAuth::ClientSecretPost).then_some(CLIENT_SECRET)
        );
        if method == ProviderAuth::ClientSecretBasic {
            // Id and secret are encoded as in a form first (RFC 6749 section 2.3.1).
            let expected = "carnet+at+work:canary-client-secret+%2B%2F%25%3A";
            let expected = format!("Basic {}", carnet_jose::base64(expected));
            assert_eq!(basic, Some(expected.as_str()));
        } else {
            assert_eq!(basic, None);
            assert_eq!(form["client_id"], CLIENT_ID);
        }
        if method == ProviderAuth::PrivateKeyJwt {
            assert_eq!(
                form["client_assertion_type"],
                "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
            );
            assert_client_assertion(&desk.server, &form["client_assertion"]);
        }
    }
}

/// The assertion is signed by the key that the server publishes, for this provider alone.
fn assert_client_assertion(server: &TestServer, assertion: &str) {
    let jws = Compact::parse(assertion).unwrap();
    let key_id = jws.header.key_id.clone().unwrap();
    let algorithm = jws.header.algorithm.parse().unwrap();
    let ring = server.app.keys.ring().unwrap();
    let key = ring.verifier(algorithm, &key_id).unwrap();
    assert!(key.verifies(jws.signing_input.as_bytes(), &jws.signature));
    assert!(ring.jwks().contains(&key_id));
    let claims = Value::Object(jws.claims().unwrap());
    let now = server.now();
    assert_eq!(
        (&claims["iss"], &claims["sub"], &claims["aud"]),
        (&json!(CLIENT_ID), &json!(CLIENT_ID), &json!(LOGIN))
    );
    assert_eq!(
        (&claims["iat"], &claims["exp"]),
        (&json!(now), &json!(now + 60))
    );
    assert_eq!(claims["jti"].as_str().unwrap().len(), 22);
    // It is no access token of ours.
    assert!(!jws.header.is_type("at+jwt"));
}

#[tokio::test]
async fn oidcc_3_1_3_7_1__times_have_one_minute_of_leeway() {
    let desk = Desk::new().await;
    let now = desk.server.now();
    for (claims, passes) in [
        (json!({ "exp": now - 59 }), true),
        (json!({ "exp": now - 60 }), false),
        (json!({ "iat": now - 600 }), true),
        (json!({ "iat": now - 601 }), false),
        (json!({ "iat": now + 60 }), true),
        (json!({ "iat": now + 61 }), false),
        (json!({ "nbf": now + 60 }), true),
        (json!({ "nbf": now + 61 }), false),
        (json!({ "nbf": "soon" }), false),
    ] {
        desk.login.says(claims.clone());
        assert_eq!(desk.sign_in().await.is_ok(), passes, "{claims}");
    }
}

#[tokio::test]
async fn every_algorithm_of_the_provider_verifies_with_our_own_keys() {
    let mut desk = Desk::new().await;
    let keys = [
        TestKey::rsa(2).using("RS256"),
        TestKey::rsa(2).using("RS384"),
        TestKey::rsa(2).using("RS512"),
        TestKey::rsa(2).using("PS256"),
        TestKey::ec("e256", "ES256"),
        TestKey::ec("e384", "ES384"),
        TestKey::ec("e512", "ES512"),
        TestKey::ed25519("ed"),
    ];
    for key in keys {
        let algorithm: Algorithm = key.algorithm.parse().unwrap();
        // The hash of the access token depends on the algorithm.
        let digest = match &key.algorithm[2..] {
            "256" => openssl::hash::MessageDigest::sha256(),
            "384" => openssl::hash::MessageDigest::sha384(),
            _ => openssl::hash::MessageDigest::sha512(),
        };
        let hash = openssl::hash::hash(digest, PROVIDER_ACCESS_TOKEN.as_bytes()).unwrap();
        let half = carnet_jose::base64url(&hash[..hash.len() / 2]);
        desk.login.says(json!({ "at_hash": half }));
        desk.login.rotate(key);
        desk.provider.algorithms = vec![algorithm];
        desk.sign_in().await.unwrap();
        desk.provider.algorithms = vec![if algorithm == Algorithm::RS256 {
            Algorithm::ES256
        } else {
            Algorithm::RS256
        }];
        let refusal = desk.sign_in().await.unwrap_err();
        assert_eq!(code(&refusal), "id_token_invalid");
        assert!(refusal.detail.starts_with("alg"), "{refusal}");
    }
}

#[tokio::test]
async fn keys_rotate_without_a_restart_and_the_metadata_is_fetched_once() {
    let desk = Desk::new().await;
    let provider = desk.fresh();
    for _ in 0..3 {
        let begun = desk.begin(&provider, Purpose::SignIn).await;
        desk.finish(&provider, &begun).await.unwrap();
    }
    assert_eq!(desk.login.fetched(), (1, 1));

    let moved = async |seconds: i64| {
        desk.server.clock.advance(seconds);
        desk.login.at(desk.server.now());
        let begun = desk.begin(&provider, Purpose::SignIn).await;
        desk.finish(&provider, &begun).await
    };
    desk.login.rotate(TestKey::rsa(3));
    moved(31).await.unwrap();
    // A provider that was set up anew gives its new key the name of the old one.
    desk.login
        .rotate(TestKey::rsa(4).named(&TestKey::rsa(3).kid));
    moved(31).await.unwrap();
    // Sessions of a provider that is away for a while go on, and nobody new comes in.
    desk.login.does(Fault::MetadataMissing);
    moved(601).await.unwrap();
    desk.server.clock.advance(24 * 3600);
    let refused = begin(
        &desk.server.app,
        &provider,
        ReturnTo::default(),
        Purpose::SignIn,
        &[],
    );
    let refused = refused.await.unwrap_err();
    assert_eq!(code(&refused), "provider_unavailable");
    assert_eq!(refused.retry_after, Some(30));
    // The cooldown: strangers cause no fetch each.
    let fetched = desk.login.fetched();
    for _ in 0..20 {
        let refused = begin(
            &desk.server.app,
            &provider,
            ReturnTo::default(),
            Purpose::SignIn,
            &[],
        );
        assert!(refused.await.is_err());
    }
    assert_eq!(desk.login.fetched(), fetched);
    desk.login.does(None);
    moved(31).await.unwrap();
}

#[tokio::test]
async fn people_2fa_2__the_second_factor_is_proved_by_acr_or_amr_and_at_step_up_too() {
    let mut desk = Desk::new().await;
    for (second_factor, claims, proved) in [
        (SecondFactor::Acr(vec!["mfa".into()]), json!({}), Some(true)),
        (
            SecondFactor::Acr(vec!["mfa".into()]),
            json!({ "acr": "MFA" }),
            None,
        ),
        (
            SecondFactor::Acr(vec!["mfa".into()]),
            json!({ "acr": null }),
            None,
        ),
        (
            SecondFactor::Amr(vec!["otp".into(), "hwk".into()]),
            json!({}),
            Some(true),
        ),
        (SecondFactor::Amr(vec!["hwk".into()]), json!({}), None),
        (
            SecondFactor::Amr(vec!["hwk".into()]),
            json!({ "amr": [] }),
            None,
        ),
        (
            SecondFactor::Amr(vec!["otp".into()]),
            json!({ "amr": null }),
            None,
        ),
        (
            SecondFactor::EnforcedByProvider,
            json!({ "acr": null, "amr": null }),
            Some(false),
        ),
    ] {
        desk.provider.second_factor = second_factor.clone();
        desk.login.says(claims.clone());
        for outcome in [desk.sign_in().await, desk.step_up().await] {
            match (outcome, proved) {
                (Ok(signed_in), Some(proved)) => assert_eq!(signed_in.second_factor, proved),
                (Err(refusal), None) => {
                    assert_eq!(code(&refusal), "second_factor_missing");
                    assert_eq!(refusal.sub.as_deref(), Some("p-1"));
                }
                (outcome, _) => panic!("{second_factor:?} {claims}: {outcome:?}"),
            }
        }
    }
}

#[tokio::test]
async fn oidcc_3_1_2_1_1__a_step_up_believes_auth_time_alone() {
    let mut desk = Desk::new().await;
    let now = desk.server.now();
    let at = |outcome: Result<SignedIn, SignInRefusal>| match outcome {
        Ok(signed_in) => Ok(signed_in.auth_time.map(Timestamp::seconds)),
        Err(refusal) => Err(refusal.reason.code()),
    };
    for (freshness, auth_time, signs_in, steps_up) in [
        (
            Freshness::AuthTime,
            json!(now),
            Ok(Some(now)),
            Ok(Some(now)),
        ),
        (
            Freshness::AuthTime,
            json!(now - 60),
            Ok(Some(now - 60)),
            Ok(Some(now - 60)),
        ),
        (
            Freshness::AuthTime,
            json!(now - 61),
            Ok(Some(now - 61)),
            Err("auth_too_old"),
        ),
        (
            Freshness::AuthTime,
            json!(0),
            Ok(Some(0)),
            Err("auth_too_old"),
        ),
        (
            Freshness::AuthTime,
            Value::Null,
            Ok(None),
            Err("auth_time_missing"),
        ),
        // A clock that is ahead counts as now, and not more.
        (
            Freshness::AuthTime,
            json!(now + 60),
            Ok(Some(now)),
            Ok(Some(now)),
        ),
        (
            Freshness::AuthTime,
            json!(now + 61),
            Err("id_token_invalid"),
            Err("id_token_invalid"),
        ),
        // Nothing proves a new sign-in here but the answer to `prompt=login`.
        (Freshness::NewSignIn, Value::Null, Ok(None), Ok(Some(now))),
        (
            Freshness::NewSignIn,
            json!(now - 61),
            Ok(Some(now - 61)),
            Err("auth_too_old"),
        ),
    ] {
        desk.provider.freshness = freshness;
        desk.login.says(json!({ "auth_time": auth_time }));
        assert_eq!(
            at(desk.sign_in().await),
            signs_in,
            "{freshness:?} {auth_time}"
        );
        assert_eq!(
            at(desk.step_up().await),
            steps_up,
            "{freshness:?} {auth_time}"
        );
    }
}

#[tokio::test]
async fn oidcc_3_1_2_1_1__a_proof_counts_as_of_its_time_or_of_the_request() {
    let mut desk = Desk::new().await;
    for freshness in [Freshness::AuthTime, Freshness::NewSignIn] {
        desk.provider.freshness = freshness;
        let provider = desk.fresh();
        let begun_at = desk.server.now();
        let begun = desk.begin(&provider, desk.presence()).await;
        desk.server.clock.advance(300);
        desk.login.at(desk.server.now());
        // The person logged in 100 seconds after the request, and 200 before the answer.
        desk.login.says(json!({ "auth_time": begun_at + 100 }));
        let signed_in = desk.finish(&provider, &begun).await.unwrap();
        let at = signed_in.auth_time.map(Timestamp::seconds);
        assert_eq!(at, Some(begun_at + 100), "{freshness:?}");
        desk.login.says(json!({ "auth_time": null }));
        let finished = desk.finish(&provider, &begun).await;
        match freshness {
            Freshness::AuthTime => assert_eq!(code(&finished.unwrap_err()), "auth_time_missing"),
            Freshness::NewSignIn => {
                let at = finished.unwrap().auth_time.map(Timestamp::seconds);
                assert_eq!(at, Some(begun_at));
            }
        }
    }
}

#[tokio::test]
async fn oidcc_5_3_1__userinfo_adds_claims_and_states_nothing_of_the_sign_in() {
    let mut desk = Desk::new().await;
    desk.provider.claims_from = ClaimsFrom::Userinfo;
    desk.login.says(json!({ "groups": null, "acr": "mfa" }));
    desk.login.says_at_userinfo(json!({
        "groups": ["from-userinfo"], "name": "Pat Userinfo", "acr": "hwk", "auth_time": 1,
        "iss": "https://evil.test", "amr": ["hwk"],
    }));
    let signed_in = desk.sign_in().await.unwrap();
    assert_eq!(
        desk.login.asked(),
        [format!("Bearer {PROVIDER_ACCESS_TOKEN}")]
    );
    assert_eq!(signed_in.claims["groups"], json!(["from-userinfo"]));
    assert_eq!(signed_in.name.as_deref(), Some("Pat Userinfo"));
    assert_eq!(signed_in.acr.as_deref(), Some("mfa"));
    assert_eq!(signed_in.claims["acr"], "mfa");
    assert_eq!(signed_in.claims["auth_time"], desk.server.now());
    assert_eq!(signed_in.amr, ["pwd", "otp"]);
}

#[tokio::test]
async fn an_address_of_userinfo_is_not_verified_by_the_id_token() {
    let mut desk = Desk::new().await;
    desk.provider.claims_from = ClaimsFrom::Userinfo;
    for (userinfo, email) in [
        (json!({}), Some("pat@work.test")),
        (json!({ "email": "ceo@work.test" }), None),
        (
            json!({ "email": "ceo@work.test", "email_verified": false }),
            None,
        ),
        (
            json!({ "email": "pat@home.test", "email_verified": true }),
            Some("pat@home.test"),
        ),
    ] {
        desk.login.says_at_userinfo(userinfo.clone());
        let signed_in = desk.sign_in().await.unwrap();
        assert_eq!(signed_in.email.as_deref(), email, "{userinfo}");
        let verified = signed_in.claims.get("email_verified") == Some(&json!(true));
        assert_eq!(verified, email.is_some(), "{userinfo}");
    }
}

#[tokio::test]
async fn oidcrp_2_2__the_provider_is_told_whose_session_ends() {
    let mut desk = Desk::new().await;
    let signed_in = desk.sign_in().await.unwrap();
    let app = &desk.server.app;
    let url = carnet::people::end_session_url(app, &signed_in.provider, &signed_in.id_token);
    let url = url.await.unwrap();
    assert!(
        url.as_str().starts_with("https://login.test/logout?"),
        "{url}"
    );
    let sent: HashMap<String, String> = url.query_pairs().into_owned().collect();
    assert_eq!(sent["id_token_hint"], signed_in.id_token.expose_secret());
    assert_eq!(sent["client_id"], CLIENT_ID);
    assert!(!sent.contains_key("state"));
    assert_eq!(
        sent["post_logout_redirect_uri"],
        "https://as.test/console/signed-out"
    );

    // A provider that is away, or is not to be asked, keeps nobody here.
    desk.provider.logout = Logout::Local;
    let local = desk.fresh();
    let token = &signed_in.id_token;
    let url = carnet::people::end_session_url(&desk.server.app, &local, token);
    assert_eq!(url.await, None);
    desk.provider.logout = Logout::Provider;
    desk.login.does(Fault::MetadataMissing);
    let away = desk.fresh();
    let url = carnet::people::end_session_url(&desk.server.app, &away, token);
    assert_eq!(url.await, None);
}

#[tokio::test]
async fn people_att_1__an_attempt_belongs_to_its_browser_its_provider_and_ten_minutes() {
    let desk = Desk::new().await;
    let provider = desk.fresh();
    let app = &desk.server.app;
    let begun = desk.begin(&provider, Purpose::SignIn).await;
    assert!(begun.cookie.name.starts_with("__Host-carnet-sign-in-"));
    assert_eq!(begun.cookie.max_age, 600);
    assert!(begun.cookie.value.len() < 3000);
    for secret in ["state", "nonce"] {
        assert!(!begun.cookie.value.contains(&query(&begun)[secret]));
    }
    let answer = desk.login.answers(&begun.location);
    let with =
        async |answer: &str, cookies: &Cookies| match finish(app, &provider, answer, cookies, None)
            .await
        {
            Ok(_) => "signed in",
            Err(refusal) => code(&refusal),
        };

    let other = desk.begin(&provider, Purpose::SignIn).await;
    let (own, others) = (cookies(&begun), cookies(&other));
    // Login CSRF: the answer of somebody else's sign-in.
    assert_eq!(with(&answer, &Vec::new()).await, "sign_in_expired");
    assert_eq!(with(&answer, &others).await, "sign_in_expired");
    // Its name is that of our cookie, its content another attempt's.
    let swapped = vec![(own[0].0.clone(), others[0].1.clone())];
    assert_eq!(with(&answer, &swapped).await, "sign_in_expired");
    let damaged = vec![(own[0].0.clone(), format!("{}A", own[0].1))];
    assert_eq!(with(&answer, &damaged).await, "sign_in_expired");
    assert_eq!(with("code=x", &own).await, "sign_in_expired");
    assert_eq!(with("", &own).await, "sign_in_expired");
    // The database of another installation has another encryption key.
    let elsewhere = Desk::new().await;
    let of_elsewhere = elsewhere.begin(&elsewhere.fresh(), Purpose::SignIn).await;
    let answer_there = desk.login.answers(&of_elsewhere.location);
    assert_eq!(
        with(&answer_there, &cookies(&of_elsewhere)).await,
        "sign_in_expired"
    );
    assert!(
        desk.login.exchanged().is_empty(),
        "no code was sent anywhere"
    );

    // Any replica takes the callback.
    let replica = desk.server.another_node().await;
    finish(&replica.app, &provider, &answer, &own, None)
        .await
        .unwrap();

    desk.server.clock.advance(600);
    desk.login.at(desk.server.now());
    assert_eq!(with(&answer, &own).await, "signed in");
    desk.server.clock.advance(1);
    assert_eq!(with(&answer, &own).await, "sign_in_expired");
}

#[tokio::test]
async fn rfc9700_4_4_1__a_code_of_one_provider_is_refused_at_the_others_callback() {
    let desk = Desk::new().await;
    let evil = FakeProvider::new("https://evil.test", desk.server.now());
    desk.server.network.add_service("evil.test", evil.router());
    let honest = desk.fresh();
    let hostile = Arc::new(provider_at(&desk.server, "https://evil.test", "evil"));
    let begun = desk.begin(&hostile, Purpose::SignIn).await;
    let answer = evil.answers(&begun.location);
    let app = &desk.server.app;

    let refusal = finish(app, &honest, &answer, &cookies(&begun), None)
        .await
        .unwrap_err();
    assert_eq!(code(&refusal), "provider_mixed_up");
    // At its own callback, with the honest provider's name.
    let answer = answer.replace("evil.test", "login.test");
    let refusal = finish(app, &hostile, &answer, &cookies(&begun), None)
        .await
        .unwrap_err();
    assert_eq!(code(&refusal), "provider_mixed_up");
    assert!(desk.login.exchanged().is_empty() && evil.exchanged().is_empty());

    // Where neither of them names itself, the attempt knows where it was begun.
    desk.login.does(Fault::IssuerUnnamed);
    evil.does(Fault::IssuerUnnamed);
    let honest = desk.fresh();
    let hostile = Arc::new(provider_at(&desk.server, "https://evil.test", "evil"));
    let begun = desk.begin(&hostile, Purpose::SignIn).await;
    let answer = evil.answers(&begun.location);
    assert!(!answer.contains("iss="), "{answer}");
    let refusal = finish(app, &honest, &answer, &cookies(&begun), None)
        .await
        .unwrap_err();
    assert_eq!(code(&refusal), "provider_mixed_up");
    assert_eq!(
        &*refusal.detail,
        "the attempt was begun at another provider"
    );
    assert!(desk.login.exchanged().is_empty() && evil.exchanged().is_empty());
    let begun = desk.begin(&honest, Purpose::SignIn).await;
    desk.finish(&honest, &begun).await.unwrap();
}

#[tokio::test]
async fn people_att_1__the_session_of_a_step_up_is_part_of_its_seal() {
    let desk = Desk::new().await;
    let provider = desk.fresh();
    let begun = desk.begin(&provider, desk.presence()).await;
    let (session, sealed) = begun.cookie.value.split_once('~').unwrap();
    let answer = desk.login.answers(&begun.location);
    let app = &desk.server.app;
    let another = SessionId(uuid::Uuid::from_bytes(carnet::ids::random()));
    for value in [
        format!("{another}~{sealed}"),
        sealed.to_owned(),
        format!("~{sealed}"),
    ] {
        let cookies = vec![(begun.cookie.name.clone(), value)];
        let refusal = finish(app, &provider, &answer, &cookies, None)
            .await
            .unwrap_err();
        assert_eq!(code(&refusal), "sign_in_expired");
    }
    let signed_in = finish(app, &provider, &answer, &cookies(&begun), None)
        .await
        .unwrap();
    assert_eq!(signed_in.step_up.unwrap().to_string(), session);
}

#[tokio::test]
async fn people_att_1__a_browser_keeps_four_attempts() {
    let desk = Desk::new().await;
    let provider = desk.fresh();
    let mut browser: Cookies = vec![("carnet-session".to_owned(), "x".to_owned())];
    for _ in 0..7 {
        let begun = begin(
            &desk.server.app,
            &provider,
            ReturnTo::default(),
            Purpose::SignIn,
            &browser,
        );
        let begun = begun.await.unwrap();
        browser.retain(|(name, _)| !begun.stale.contains(name));
        browser.extend(cookies(&begun));
        desk.server.clock.advance(1);
    }
    assert_eq!(browser.len(), 5);
    let last = browser.last().unwrap().0.clone();
    // What cannot be opened is cleared first, and all that is too old.
    browser.push(("__Host-carnet-sign-in-junk".to_owned(), "junk".to_owned()));
    let stale = async |browser: &Cookies| {
        let to = ReturnTo::default();
        let begun = begin(&desk.server.app, &provider, to, Purpose::SignIn, browser);
        begun.await.unwrap().stale
    };
    let cleared = stale(&browser).await;
    assert_eq!(cleared.len(), 2, "{cleared:?}");
    assert!(cleared.contains(&"__Host-carnet-sign-in-junk".to_owned()));
    assert!(!cleared.contains(&last));
    desk.server.clock.advance(601);
    assert_eq!(stale(&browser).await.len(), 5);
}

#[tokio::test]
async fn people_att_1__ten_thousand_sign_ins_of_strangers_leave_no_row() {
    let desk = Desk::new().await;
    let provider = desk.fresh();
    let before = desk.rows().await;
    let mut states = HashSet::new();
    for _ in 0..10_000 {
        let begun = desk.begin(&provider, Purpose::SignIn).await;
        states.insert(query(&begun)["state"].clone());
    }
    assert_eq!(states.len(), 10_000);
    assert_eq!(desk.login.fetched().0, 1);
    assert_eq!(desk.rows().await, before);
}

#[tokio::test]
async fn on_a_loopback_issuer_without_tls_the_cookie_has_no_prefix() {
    let server = TestServer::with(&[
        ("CARNET_ISSUER", "http://127.0.0.1:8080"),
        ("CARNET_INSECURE__ALLOW_HTTP_LOOPBACK", "true"),
    ])
    .await;
    let login = FakeProvider::new("http://127.0.0.1:9", server.now());
    server.network.add_service("127.0.0.1:9", login.router());
    let provider = Arc::new(provider_at(&server, "http://127.0.0.1:9", "work"));
    let begun = begin(
        &server.app,
        &provider,
        ReturnTo::default(),
        Purpose::SignIn,
        &[],
    );
    let begun = begun.await.unwrap();
    assert!(
        begun.cookie.name.starts_with("carnet-sign-in-"),
        "{begun:?}"
    );
    let answer = login.answers(&begun.location);
    finish(&server.app, &provider, &answer, &cookies(&begun), None)
        .await
        .unwrap();
}
