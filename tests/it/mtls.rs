//! Mutual TLS (RFC 8705): clients that authenticate with their own certificates, and tokens that are bound to a certificate.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Body;
use axum::http::Request;
use axum::routing::get;
use axum::{Json, Router};
use carnet::config::{CertificateFiles, ConnectionLimits, Listen, TlsConfig};
use carnet::http;
use carnet::tls::{Certificates, ClientCertificate, jwk, proxy_thumbprints};
use carnet_dpop::ProofKey;
use carnet_jose::base64;
use openssl::pkey::{PKey, Private};
use openssl::rsa::Rsa;
use openssl::ssl::{Ssl, SslContext, SslMethod, SslSessionCacheMode, SslVerifyMode, SslVersion};
use openssl::x509::X509;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio_openssl::SslStream;

use super::assertion::payload;
use super::delegation::{helper, with_helpers};
use super::surroundings::{Program, daemon, is_installed};
use crate::support::{
    ACCESS_TOKEN, Answer, Authority, CARNET, CLIENT_ASSERTION, Deployed, JWT, JWT_BEARER, Packages,
    R1, Secure, TOKEN_EXCHANGE, TestClient, TestServer, World, carnet, carnet_in, encode, finished,
    free_address, machine_time, may_skip, permission, write,
};

const DAY: i64 = 86_400;
/// Where clients with certificates reach the server.
const MTLS: &str = "https://mtls.as.test";
const TAKING: [(&str, &str); 2] = [
    (
        "CARNET_SERVER__CLIENT_CERT_LISTEN",
        "unix:/run/carnet-test/client-cert.sock",
    ),
    ("CARNET_SERVER__MTLS_URL", MTLS),
];

/// A certificate of a client, whose time is around that of the tests.
struct Own {
    certificate: X509,
    key: PKey<Private>,
}

impl Own {
    fn new() -> Self {
        let (certificate, key) = Authority::new().certify(&["job"], 3000 * DAY);
        Self { certificate, key }
    }

    fn der(&self) -> Vec<u8> {
        self.certificate.to_der().unwrap()
    }

    fn read(&self) -> ClientCertificate {
        ClientCertificate::from_der(&self.der()).unwrap()
    }

    fn thumbprint(&self) -> String {
        self.read().thumbprint().to_owned()
    }

    /// The key set with which a client registers it.
    fn jwks(&self) -> Value {
        json!({ "keys": [jwk::jwk(&self.certificate).unwrap()] })
    }

    /// The value of `Client-Cert` (RFC 9440).
    fn field(&self) -> String {
        format!(":{}:", base64(self.der()))
    }
}

async fn world() -> World {
    World::on(TestServer::with(&TAKING).await).await
}

/// Sends a form over a connection with this certificate.
async fn over(
    server: &TestServer,
    certificate: Option<&Own>,
    (path, headers): (&str, &[(&str, &str)]),
    form: &[(&str, &str)],
) -> Answer {
    match certificate {
        None => server.form_with(path, headers, form).await,
        Some(own) => server.form_over(own.read(), path, headers, form).await,
    }
}

async fn token(server: &TestServer, certificate: Option<&Own>, form: &[(&str, &str)]) -> Answer {
    over(server, certificate, ("/token", &[]), form).await
}

fn with_assertion(assertion: &str) -> [(&str, &str); 2] {
    [("grant_type", JWT_BEARER), ("assertion", assertion)]
}

/// The claims of a token that was issued as bound to this certificate.
#[track_caller]
fn bound_to(answer: &Answer, own: &Own) -> Value {
    let body = answer.json();
    assert_eq!(answer.status, 200, "{body:#}");
    // The scheme stays that of bearer tokens (RFC 8705 section 3).
    assert_eq!(body["token_type"], "Bearer");
    let claims = payload(body["access_token"].as_str().unwrap());
    assert_eq!(claims["cnf"], json!({ "x5t#S256": own.thumbprint() }));
    claims
}

/// A client with this certificate and the rights of the registry's owner.
async fn registered(server: &TestServer, id: &str, own: &Own) {
    let document = json!({
        "auth_method": "self_signed_tls_client_auth", "jwks": own.jwks(), "permissions": [permission(&["publish"])],
    });
    server.put(&format!("clients/{id}"), document).await;
}

fn of_client(id: &str) -> Vec<(&str, &str)> {
    vec![("grant_type", "client_credentials"), ("client_id", id)]
}

#[tokio::test]
async fn rfc8705_2_1__a_client_names_itself_and_has_its_own_certificate() {
    let world = world().await;
    let server = &world.server;
    let (own, other) = (Own::new(), Own::new());
    registered(server, "ci", &own).await;
    registered(server, "other", &other).await;
    let claims = bound_to(&token(server, Some(&own), &of_client("ci")).await, &own);
    assert_eq!(claims["client_id"], "ci");
    // Without a client_id it is nobody, and with another client's certificate not this client.
    let nameless = [("grant_type", "client_credentials")];
    for (certificate, form) in [
        (&own, &nameless[..]),
        (&other, &of_client("ci")),
        (&own, &of_client("other")),
        (&own, &of_client("unknown")),
    ] {
        let answer = token(server, Some(certificate), form).await;
        answer.refused(401, "invalid_client", "client_authentication_failed");
    }
}

#[tokio::test]
async fn rfc8705_2_2__without_a_usable_certificate_the_client_is_not_authenticated() {
    let world = world().await;
    let server = &world.server;
    let own = Own::new();
    registered(server, "ci", &own).await;
    let answer = token(server, None, &of_client("ci")).await;
    answer.refused(401, "invalid_client", "client_authentication_failed");
    // A secret is none of its methods.
    let form = [of_client("ci"), vec![("client_secret", "guessed")]].concat();
    let answer = token(server, Some(&own), &form).await;
    answer.refused(401, "invalid_client", "client_authentication_failed");
    // A certificate proves nothing about a client of another method.
    TestClient::publisher(server, "secretive", "client_secret_post").await;
    let answer = token(server, Some(&own), &of_client("secretive")).await;
    answer.refused(401, "invalid_client", "client_authentication_failed");
    // Its time is judged at each request, however old the connection is.
    let until = own.certificate.not_after();
    let epoch = openssl::asn1::Asn1Time::from_unix(0).unwrap();
    let days = epoch.diff(until).unwrap().days;
    let left = i64::from(days) * DAY - server.now();
    server.clock.advance(left - DAY);
    bound_to(&token(server, Some(&own), &of_client("ci")).await, &own);
    server.clock.advance(2 * DAY);
    let answer = token(server, Some(&own), &of_client("ci")).await;
    answer.refused(401, "invalid_client", "certificate_invalid");
    let said = answer.json()["error_description"]
        .as_str()
        .unwrap()
        .to_owned();
    assert!(said.contains("expired at"), "{said}");
    // Nobody else learns from his certificate that there is such a client.
    let strange = Own::new();
    for id in ["ci", "unknown"] {
        let answer = token(server, Some(&strange), &of_client(id)).await;
        answer.refused(401, "invalid_client", "client_authentication_failed");
    }
}

#[tokio::test]
async fn rfc8705_2_2_1__another_certificate_of_the_same_key_is_another_one() {
    let world = world().await;
    let server = &world.server;
    let own = Own::new();
    registered(server, "ci", &own).await;
    let again = Own {
        certificate: Authority::new().certify_key(&["job"], 3000 * DAY, &own.key),
        key: own.key.clone(),
    };
    let answer = token(server, Some(&again), &of_client("ci")).await;
    answer.refused(401, "invalid_client", "client_authentication_failed");
    // Both may be registered, while one takes the place of the other.
    let keys = [own.jwks(), again.jwks()].map(|set| set["keys"][0].clone());
    let document = json!({
        "auth_method": "self_signed_tls_client_auth", "jwks": { "keys": keys }, "permissions": [permission(&["publish"])],
    });
    server.put("clients/ci", document).await;
    for certificate in [&own, &again] {
        let answer = token(server, Some(certificate), &of_client("ci")).await;
        bound_to(&answer, certificate);
    }
}

#[tokio::test]
async fn rfc8705_2_2_1__certificates_are_found_at_the_clients_jwks_uri_and_looked_up_again() {
    let world = world().await;
    let server = &world.server;
    let (own, next) = (Own::new(), Own::new());
    let publish = |host: &str, jwks: Value| {
        let router = Router::new().route("/jwks", get(async move || Json(jwks)));
        server.network.add_service(host, router);
    };
    let url = "https://client.test/jwks";
    publish("client.test", own.jwks());
    let document = json!({
        "auth_method": "self_signed_tls_client_auth", "jwks_uri": url, "permissions": [permission(&["publish"])],
    });
    server.put("clients/ci", document).await;
    bound_to(&token(server, Some(&own), &of_client("ci")).await, &own);
    // A certificate that is new there is found after the cooldown of 30 seconds.
    publish("client.test", next.jwks());
    let answer = token(server, Some(&next), &of_client("ci")).await;
    answer.refused(401, "invalid_client", "client_authentication_failed");
    server.clock.advance(31);
    bound_to(&token(server, Some(&next), &of_client("ci")).await, &next);
    let answer = token(server, Some(&own), &of_client("ci")).await;
    answer.refused(401, "invalid_client", "client_authentication_failed");
    // Keys without certificates are told when the client is saved.
    let mut bare = own.jwks();
    bare["keys"][0].as_object_mut().unwrap().shift_remove("x5c");
    publish("bare.test", bare);
    let document = json!({ "auth_method": "self_signed_tls_client_auth", "jwks_uri": "https://bare.test/jwks" });
    let answer = server.admin("PUT", "clients/bare", document).await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert!(
        answer.text().contains("no key has a certificate"),
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn rfc8705_2_2_1__what_no_client_could_use_is_refused_when_it_is_saved() {
    let world = world().await;
    let server = &world.server;
    let (own, other) = (Own::new(), Own::new());
    let weak = {
        let key = PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap();
        let certificate = Authority::new().certify_key(&["job"], 3000 * DAY, &key);
        Own { certificate, key }
    };
    let with = |x5c: Value| {
        let mut jwks = own.jwks();
        jwks["keys"][0]["x5c"] = x5c;
        jwks
    };
    let pem = String::from_utf8(own.certificate.to_pem().unwrap()).unwrap();
    let mut private = own.jwks();
    private["keys"][0]["d"] = json!("AAAA");
    for (jwks, says) in [
        (json!({ "keys": [] }), "holds none"),
        (json!({}), "must be a JWK set"),
        (private, "private key"),
        (with(Value::Null), "have x5c"),
        (with(json!([])), "have x5c"),
        (with(json!([pem])), "without the lines of PEM"),
        (with(json!(["AAAA"])), "certificate in DER"),
        (
            with(json!([base64([own.der(), vec![0]].concat())])),
            "certificate in DER",
        ),
        (with(json!([base64(other.der())])), "key of its certificate"),
        (weak.jwks(), "weaker than RSA"),
    ] {
        let document = json!({ "auth_method": "self_signed_tls_client_auth", "jwks": jwks });
        let answer = server.admin("PUT", "clients/ci", document).await;
        let text = answer.text();
        assert_eq!(answer.status, 422, "{says}: {text}");
        assert!(
            text.contains("/jwks") && text.contains(says),
            "{says}: {text}"
        );
    }
    let both = json!({ "auth_method": "none", "dpop_bound_access_tokens": true, "tls_client_certificate_bound_access_tokens": true });
    let answer = server.admin("PUT", "clients/ci", both).await;
    assert!(
        answer.text().contains("bound to one key"),
        "{}",
        answer.text()
    );
    // A server that asks for no certificates says so.
    let bare = World::new().await;
    let document = json!({ "auth_method": "self_signed_tls_client_auth", "jwks": own.jwks() });
    let saved = bare.server.put("clients/ci", document.clone()).await;
    assert_eq!(
        saved["warnings"][0]["code"], "no_client_certificates",
        "{saved:#}"
    );
    assert_eq!(
        server.put("clients/ci", document).await["warnings"],
        json!([])
    );
}

#[tokio::test]
async fn rfc8705_3_1__every_grant_binds_its_token_to_the_certificate() {
    let world = world().await;
    let server = &world.server;
    let own = Own::new();
    let assertion = world.good();
    let claims = bound_to(
        &token(server, Some(&own), &with_assertion(&assertion)).await,
        &own,
    );
    // The certificate says nothing of the assertion, which anybody could have copied.
    assert_eq!(claims["workload"]["proof"], "bearer");
    let thumbprint = claims["cnf"]["x5t#S256"].as_str().unwrap();
    assert!(
        thumbprint.len() == 43 && !thumbprint.contains('='),
        "{thumbprint}"
    );

    let assertion = world.good();
    let form = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", assertion.as_str()),
        ("subject_token_type", JWT),
    ];
    bound_to(&token(server, Some(&own), &form).await, &own);

    let client = TestClient::publisher(server, "secretive", "client_secret_post").await;
    let form = [
        of_client("secretive"),
        vec![("client_secret", client.secret())],
    ]
    .concat();
    bound_to(&token(server, Some(&own), &form).await, &own);

    let robot = json!({ "auth_method": "federated", "federated_credentials": ["octo-release"] });
    server.put("clients/robot", robot).await;
    let assertion = world.good();
    let form = [
        of_client("robot"),
        vec![
            ("client_assertion_type", CLIENT_ASSERTION),
            ("client_assertion", &assertion),
        ],
    ]
    .concat();
    bound_to(&token(server, Some(&own), &form).await, &own);
}

#[tokio::test]
async fn a_client_of_certificate_bound_tokens_gets_no_other() {
    let world = world().await;
    let server = &world.server;
    let own = Own::new();
    let members = json!({ "tls_client_certificate_bound_access_tokens": true, "permissions": [permission(&["publish"])] });
    let client = TestClient::register(server, "ci", "client_secret_post", members).await;
    let form = [of_client("ci"), vec![("client_secret", client.secret())]].concat();
    let answer = token(server, None, &form).await;
    answer.refused(400, "invalid_request", "certificate_required");
    // The certificate counts, whatever else is proved.
    let proof = prove(&ProofKey::generate().unwrap(), server);
    let headers = [("dpop", proof.as_str())];
    let answer = over(server, None, ("/token", &headers), &form).await;
    answer.refused(400, "invalid_request", "certificate_required");
    let answer = over(server, Some(&own), ("/token", &headers), &form).await;
    bound_to(&answer, &own);
}

fn prove(key: &ProofKey, server: &TestServer) -> String {
    let url = format!("{CARNET}/token");
    key.prove(("POST", &url), None, None, server.now()).unwrap()
}

#[tokio::test]
async fn rfc8705_4_1__a_public_client_or_none_gets_a_bound_token() {
    let world = world().await;
    let server = &world.server;
    let own = Own::new();
    server
        .put("clients/open", json!({ "auth_method": "none" }))
        .await;
    for client in [None, Some("open")] {
        let assertion = world.good();
        let mut form = with_assertion(&assertion).to_vec();
        form.extend(client.map(|client| ("client_id", client)));
        bound_to(&token(server, Some(&own), &form).await, &own);
    }
    // A proof that is made for the request is what its token is bound to.
    let (key, assertion) = (ProofKey::generate().unwrap(), world.good());
    let proof = prove(&key, server);
    let headers = [("dpop", proof.as_str())];
    let answer = over(
        server,
        Some(&own),
        ("/token", &headers),
        &with_assertion(&assertion),
    )
    .await;
    assert_eq!(answer.json()["token_type"], "DPoP");
    assert_eq!(
        payload(&answer.token())["cnf"],
        json!({ "jkt": key.thumbprint() })
    );
}

#[tokio::test]
async fn atk_174__a_certificate_that_cannot_be_used_is_never_ignored() {
    let world = world().await;
    let server = &world.server;
    let expired = {
        let (certificate, key) = Authority::new().certify(&["job"], -DAY);
        Own { certificate, key }
    };
    let weak = {
        let key = PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap();
        let certificate = Authority::new().certify_key(&["job"], 3000 * DAY, &key);
        Own { certificate, key }
    };
    let future = Own::new();
    let early = TestServer::at(1_000_000_000, &TAKING).await;
    for (server, own, says) in [
        (server, &expired, "expired at"),
        (server, &weak, "weaker than RSA with 2048 bits"),
        (&early, &future, "not valid before"),
    ] {
        let assertion = world.good();
        let answer = token(server, Some(own), &with_assertion(&assertion)).await;
        answer.refused(400, "invalid_request", "certificate_invalid");
        assert!(answer.text().contains(says), "{}", answer.text());
        // The assertion is as good as before.
        if says != "not valid before" {
            token(server, None, &with_assertion(&assertion))
                .await
                .token();
        }
    }
}

#[tokio::test]
async fn rfc8705_3_2_1__introspection_shows_the_certificate() {
    let world = world().await;
    let server = &world.server;
    let own = Own::new();
    let issued = token(server, Some(&own), &with_assertion(&world.good()))
        .await
        .token();
    let registry = TestClient::registry(server).await;
    let seen = registry.introspect(server, &issued).await;
    assert_eq!(seen["active"], true, "{seen:#}");
    assert_eq!(seen["cnf"], json!({ "x5t#S256": own.thumbprint() }));
    assert_eq!(seen["token_type"], "Bearer");
}

#[tokio::test]
async fn rfc8705_3_3_1__the_metadata_says_whether_tokens_can_be_bound() {
    let world = world().await;
    let document = world
        .server
        .get("/.well-known/oauth-authorization-server")
        .await
        .json();
    assert_eq!(document["tls_client_certificate_bound_access_tokens"], true);
    let methods = &document["token_endpoint_auth_methods_supported"];
    assert!(
        methods
            .as_array()
            .unwrap()
            .contains(&json!("self_signed_tls_client_auth")),
        "{methods}"
    );
    let bare = World::new().await;
    let document = bare
        .server
        .get("/.well-known/oauth-authorization-server")
        .await
        .json();
    for name in [
        "tls_client_certificate_bound_access_tokens",
        "mtls_endpoint_aliases",
    ] {
        assert_eq!(document.get(name), None);
    }
    assert!(
        !document.to_string().contains("self_signed_tls_client_auth"),
        "{document:#}"
    );
}

#[tokio::test]
async fn rfc8705_5_1__the_aliases_name_endpoints_alone() {
    let world = world().await;
    let server = &world.server;
    let document = server
        .get("/.well-known/oauth-authorization-server")
        .await
        .json();
    assert_eq!(
        document["mtls_endpoint_aliases"],
        json!({
            "token_endpoint": format!("{MTLS}/token"), "introspection_endpoint": format!("{MTLS}/introspect"),
            "revocation_endpoint": format!("{MTLS}/revoke"),
        })
    );
    // The issuer and the other endpoints stay what they are.
    assert_eq!(document["issuer"], CARNET);
    assert_eq!(document["token_endpoint"], format!("{CARNET}/token"));
    // A proof may be for the alias,
    let key = ProofKey::generate().unwrap();
    let alias = format!("{MTLS}/token");
    let proof = key
        .prove(("POST", &alias), None, None, server.now())
        .unwrap();
    let (headers, assertion) = ([("dpop", proof.as_str())], world.good());
    let answer = over(
        server,
        None,
        ("/token", &headers),
        &with_assertion(&assertion),
    )
    .await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    // but no assertion: neither the workload's nor the client's own.
    let assertion = world.gh.sign(&world.claims().with("aud", alias.clone()));
    token(server, None, &with_assertion(&assertion))
        .await
        .refused(400, "invalid_grant", "aud_mismatch");
    let client = TestClient::publisher(server, "signer", "private_key_jwt").await;
    let mut claims = client.claims(server.now());
    claims["aud"] = json!(alias);
    let signed = client.key().sign(&claims);
    let form = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", CLIENT_ASSERTION),
        ("client_assertion", signed.as_str()),
    ];
    token(server, None, &form)
        .await
        .refused(401, "invalid_client", "aud_mismatch");
}

#[tokio::test]
async fn atk_175__our_own_api_takes_a_bound_token_with_its_certificate_alone() {
    let world = world().await;
    let server = &world.server;
    let (own, other) = (Own::new(), Own::new());
    let document = json!({ "auth_method": "self_signed_tls_client_auth", "jwks": own.jwks(), "scopes": ["admin:read"] });
    server.put("clients/ci", document).await;
    let resource = format!("{CARNET}/admin");
    let form = [of_client("ci"), vec![("resource", &resource)]].concat();
    let answer = token(server, Some(&own), &form).await;
    let issued = answer.token();
    bound_to(&answer, &own);
    let read = async |scheme: &str, certificate: Option<&Own>| {
        let mut request = Request::get("/admin/v1/principals")
            .header("authorization", format!("{scheme} {issued}"));
        if let Some(certificate) = certificate {
            request = request.extension(Arc::new(certificate.read()));
        }
        server.send(request.body(Body::empty()).unwrap()).await
    };
    assert_eq!(read("Bearer", Some(&own)).await.status, 200);
    for (scheme, certificate, says) in [
        ("Bearer", None, "none came"),
        ("Bearer", Some(&other), "another client certificate"),
        ("DPoP", Some(&own), "send it as Bearer"),
    ] {
        let answer = read(scheme, certificate).await;
        assert_eq!(answer.status, 401, "{}", answer.text());
        assert!(answer.text().contains(says), "{says}: {}", answer.text());
        let challenge = answer.header("www-authenticate").unwrap();
        assert!(challenge.contains("invalid_token"), "{challenge}");
    }
}

#[tokio::test]
async fn our_own_api_judges_the_time_of_the_certificate_at_each_request() {
    let world = world().await;
    let server = &world.server;
    // It ends before the token does.
    let (certificate, key) =
        Authority::new().certify(&["job"], server.now() - machine_time() + 300);
    let own = Own { certificate, key };
    let document = json!({ "auth_method": "self_signed_tls_client_auth", "jwks": own.jwks(), "scopes": ["admin:read"] });
    server.put("clients/ci", document).await;
    let resource = format!("{CARNET}/admin");
    let form = [of_client("ci"), vec![("resource", &resource)]].concat();
    let issued = token(server, Some(&own), &form).await.token();
    for (later, status) in [(0, 200), (400, 401)] {
        server.clock.advance(later);
        let request = Request::get("/admin/v1/principals")
            .header("authorization", format!("Bearer {issued}"))
            .extension(Arc::new(own.read()));
        let answer = server.send(request.body(Body::empty()).unwrap()).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
}

#[tokio::test]
async fn wimsecx_trust_1__a_certificate_of_the_client_is_proof_of_its_key() {
    let world = world().await;
    let server = &world.server;
    let own = Own::new();
    let strict = json!({ "min_proof": "key" });
    let saved = server.admin("PATCH", "resource-servers/pypi", strict).await;
    assert_eq!(saved.json()["min_proof"], "key", "{}", saved.text());
    registered(server, "ci", &own).await;
    bound_to(&token(server, Some(&own), &of_client("ci")).await, &own);
    // The label goes with the token.
    let issued = token(server, Some(&own), &of_client("ci")).await.token();
    let form = [
        ("client_id", "ci"),
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", issued.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    bound_to(&token(server, Some(&own), &form).await, &own);
    // A secret, and a key whose signatures can be copied, are not enough, with or without a proof.
    let client = TestClient::publisher(server, "weak", "client_secret_post").await;
    let form = [of_client("weak"), vec![("client_secret", client.secret())]].concat();
    token(server, Some(&own), &form)
        .await
        .refused(400, "invalid_target", "proof_too_weak");
    let client = TestClient::publisher(server, "weaker", "private_key_jwt").await;
    let signed = client.key().sign(&client.claims(server.now()));
    let form = [
        ("grant_type", "client_credentials"),
        ("client_assertion_type", CLIENT_ASSERTION),
        ("client_assertion", signed.as_str()),
    ];
    token(server, Some(&own), &form)
        .await
        .refused(400, "invalid_target", "proof_too_weak");
    token(server, Some(&own), &with_assertion(&world.good()))
        .await
        .refused(400, "invalid_target", "proof_too_weak");
}

#[tokio::test]
async fn wimsecx_trust_2__a_token_bound_to_a_certificate_stays_bound_to_it() {
    let world = world().await;
    let server = &world.server;
    let (own, other) = (Own::new(), Own::new());
    let issued = token(server, Some(&own), &with_assertion(&world.good()))
        .await
        .token();
    let renew = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", issued.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    bound_to(&token(server, Some(&own), &renew).await, &own);
    for certificate in [None, Some(&other)] {
        let answer = token(server, certificate, &renew).await;
        answer.refused(400, "invalid_request", "proof_would_be_lost");
    }
    // Nor does a proof of another kind take its place, or become what the next token is bound to.
    let key = ProofKey::generate().unwrap();
    let proof = prove(&key, server);
    let headers = [("dpop", proof.as_str())];
    let answer = over(server, None, ("/token", &headers), &renew).await;
    answer.refused(400, "invalid_request", "proof_would_be_lost");
    let answer = over(server, Some(&own), ("/token", &headers), &renew).await;
    bound_to(&answer, &own);
    // The same for one that is bound to a key, over a connection with a certificate.
    let (proof, assertion) = (prove(&key, server), world.good());
    let headers = [("dpop", proof.as_str())];
    let issued = over(
        server,
        None,
        ("/token", &headers),
        &with_assertion(&assertion),
    )
    .await
    .token();
    let renew = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", issued.as_str()),
        ("subject_token_type", ACCESS_TOKEN),
    ];
    token(server, Some(&own), &renew)
        .await
        .refused(400, "invalid_request", "proof_would_be_lost");
    let proof = prove(&key, server);
    let headers = [("dpop", proof.as_str())];
    let answer = over(server, Some(&own), ("/token", &headers), &renew).await;
    assert_eq!(
        payload(&answer.token())["cnf"],
        json!({ "jkt": key.thumbprint() })
    );
    // A client that wants DPoP gets no token bound to a certificate, and the other way round.
    for (name, member, reason) in [
        ("dpop", "dpop_bound_access_tokens", "dpop_required"),
        (
            "mtls",
            "tls_client_certificate_bound_access_tokens",
            "certificate_required",
        ),
    ] {
        server
            .put(
                &format!("clients/{name}"),
                json!({ "auth_method": "none", member: true }),
            )
            .await;
        let (proof, assertion) = (
            prove(&key, server),
            world
                .gh
                .sign(&world.claims().with("cnf", bound(name, &key, &own))),
        );
        let headers = [("dpop", proof.as_str())];
        let form = [
            with_assertion(&assertion).to_vec(),
            vec![("client_id", name)],
        ]
        .concat();
        let answer = over(server, Some(&own), ("/token", &headers), &form).await;
        answer.refused(400, "invalid_request", reason);
    }
}

/// What an assertion is bound to that does not suit this client.
fn bound(client: &str, key: &ProofKey, own: &Own) -> Value {
    match client {
        "dpop" => json!({ "x5t#S256": own.thumbprint() }),
        _ => json!({ "jkt": key.thumbprint() }),
    }
}

#[tokio::test]
async fn an_assertion_that_is_bound_to_a_certificate_needs_it() {
    let world = world().await;
    let server = &world.server;
    let (own, other) = (Own::new(), Own::new());
    let cnf = json!({ "x5t#S256": own.thumbprint() });
    let assertion = world.gh.sign(&world.claims().with("cnf", cnf.clone()));
    let form = with_assertion(&assertion);
    token(server, None, &form)
        .await
        .refused(400, "invalid_grant", "proof_missing");
    token(server, Some(&other), &form)
        .await
        .refused(400, "invalid_grant", "proof_mismatch");
    let claims = bound_to(&token(server, Some(&own), &form).await, &own);
    assert_eq!(claims["workload"]["proof"], "key");
    // As that of a client, at introspection and revocation too.
    let robot = json!({ "auth_method": "federated", "federated_credentials": ["octo-release"], "resource_server": "pypi" });
    server.put("clients/robot", robot).await;
    for path in ["/introspect", "/revoke"] {
        let assertion = world.gh.sign(&world.claims().with("cnf", cnf.clone()));
        let form = [
            ("client_id", "robot"),
            ("client_assertion_type", CLIENT_ASSERTION),
            ("client_assertion", assertion.as_str()),
            ("token", "unknown"),
        ];
        let answer = over(server, None, (path, &[]), &form).await;
        answer.refused(401, "invalid_client", "proof_missing");
        let answer = over(server, Some(&other), (path, &[]), &form).await;
        answer.refused(401, "invalid_client", "proof_mismatch");
        assert_eq!(
            over(server, Some(&own), (path, &[]), &form).await.status,
            200
        );
    }
}

#[tokio::test]
async fn an_actor_may_be_bound_to_the_certificate_too() {
    let world = world().await;
    with_helpers(&world, 1).await;
    let server = &world.server;
    let own = Own::new();
    let cnf = json!({ "x5t#S256": own.thumbprint() });
    let subject = world.gh.sign(&world.claims().with("cnf", cnf.clone()));
    let actor = world.gh.sign(&helper(&world, 0).with("cnf", cnf));
    let form = [
        ("grant_type", TOKEN_EXCHANGE),
        ("subject_token", subject.as_str()),
        ("subject_token_type", JWT),
        ("actor_token", actor.as_str()),
        ("actor_token_type", JWT),
    ];
    let answer = token(server, None, &form).await;
    answer.refused(400, "invalid_request", "proof_missing");
    let claims = bound_to(&token(server, Some(&own), &form).await, &own);
    assert_eq!(claims["workload"]["proof"], "key");
}

#[tokio::test]
async fn an_explanation_takes_a_certificate_as_proved() {
    let world = world().await;
    let server = &world.server;
    let own = Own::new();
    let assertion = world.gh.sign(
        &world
            .claims()
            .with("cnf", json!({ "x5t#S256": own.thumbprint() })),
    );
    let ask = async |proof: Option<&str>| {
        let mut form = with_assertion(&assertion).to_vec();
        form.extend(proof.map(|proof| ("proof", proof)));
        server.form("/explain", &form).await
    };
    let denied = ask(Some("none")).await.json();
    assert_eq!(
        (denied["verdict"].as_str(), denied["reason"].as_str()),
        (Some("deny"), Some("proof_missing"))
    );
    let of_it = format!("x5t:{}", own.thumbprint());
    assert_eq!(ask(Some(&of_it)).await.json()["verdict"], "allow");
    let of_another = format!("x5t:{}", Own::new().thumbprint());
    assert_eq!(
        ask(Some(&of_another)).await.json()["reason"],
        "proof_mismatch"
    );
    // A key that is no certificate's is no proof of this one, in the line and in the reason.
    let of_a_key = ask(Some(&format!("jkt:{}", own.thumbprint()))).await.json();
    assert_eq!(of_a_key["reason"], "proof_missing");
    let lines = of_a_key["checks"].as_array().unwrap();
    let line = lines.iter().find(|line| line["field"] == "proof").unwrap();
    assert_eq!(
        (line["met"].as_bool(), line["reason"].as_str()),
        (Some(false), Some("proof_missing"))
    );
    ask(Some("x5t:short"))
        .await
        .refused(400, "invalid_request", "parameter_malformed");
    // The admin API takes an object.
    let question = |proof: Value| json!({ "assertion": assertion, "proof": proof });
    let answer = server
        .admin(
            "POST",
            "explanations",
            question(json!({ "x5t": own.thumbprint() })),
        )
        .await;
    assert_eq!(answer.json()["verdict"], "allow", "{}", answer.text());
    let answer = server
        .admin(
            "POST",
            "explanations",
            question(json!({ "x5t#S256": own.thumbprint() })),
        )
        .await;
    assert_eq!(answer.status, 422, "{}", answer.text());
    // The certificate of the question's own connection authenticates its client, and proves nothing of the assertion.
    registered(server, "ci", &own).await;
    let form = of_client("ci");
    assert_eq!(
        over(server, Some(&own), ("/explain", &[]), &form)
            .await
            .json()["verdict"],
        "allow"
    );
    over(server, None, ("/explain", &[]), &form).await.refused(
        401,
        "invalid_client",
        "client_authentication_failed",
    );
    let answer = over(
        server,
        Some(&own),
        ("/explain", &[]),
        &with_assertion(&assertion),
    )
    .await;
    assert_eq!(
        answer.json()["reason"],
        "proof_missing",
        "{}",
        answer.text()
    );
}

#[tokio::test]
async fn a_front_door_binds_its_key_to_the_certificate() {
    let world = world().await;
    let server = &world.server;
    let own = Own::new();
    let document = json!({
        "resource": R1, "actions": ["create", "publish"],
        "front_door": { "kind": "pypi", "hosts": ["upload.test"] },
    });
    server.put("resource-servers/pypi", document).await;
    let assertion = world.gh.sign(&world.claims().with("aud", "upload.test"));
    let request = Request::post("/_/oidc/mint-token")
        .header("host", "upload.test")
        .header("content-type", "application/json")
        .extension(Arc::new(own.read()));
    let body = json!({ "token": assertion }).to_string();
    let answer = server.send(request.body(Body::from(body)).unwrap()).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let issued = answer.json()["token"].as_str().unwrap().to_owned();
    let registry = TestClient::registry(server).await;
    let seen = registry.introspect(server, &issued).await;
    assert_eq!(
        seen["cnf"],
        json!({ "x5t#S256": own.thumbprint() }),
        "{seen:#}"
    );
}

// ---- connections ----

/// Makes a handshake with this certificate, by this version of TLS.
async fn handshake(
    server: &Secure,
    address: std::net::SocketAddr,
    own: Option<&Own>,
    version: SslVersion,
) -> Result<SslStream<TcpStream>, String> {
    counting(server, address, own, version, Arc::default()).await
}

/// The same, and counts the sessions that the server offers to resume.
async fn counting(
    server: &Secure,
    address: std::net::SocketAddr,
    own: Option<&Own>,
    version: SslVersion,
    resumable: Arc<AtomicUsize>,
) -> Result<SslStream<TcpStream>, String> {
    let mut context = SslContext::builder(SslMethod::tls_client()).unwrap();
    let root = X509::from_pem(server.authority.pem().as_bytes()).unwrap();
    context.cert_store_mut().add_cert(root).unwrap();
    context.set_verify(SslVerifyMode::PEER);
    // What this client may use is not the question.
    context.set_security_level(0);
    context.set_min_proto_version(Some(version)).unwrap();
    context.set_max_proto_version(Some(version)).unwrap();
    context.set_session_cache_mode(SslSessionCacheMode::CLIENT);
    // A panic in this callback would end the process.
    context.set_new_session_callback(move |_, session| {
        if !session.id().is_empty() {
            resumable.fetch_add(1, Ordering::Relaxed);
        }
    });
    if let Some(own) = own {
        context.set_certificate(&own.certificate).unwrap();
        context.set_private_key(&own.key).unwrap();
    }
    let mut ssl = Ssl::new(&context.build()).unwrap();
    ssl.set_hostname("as.test").unwrap();
    let stream = TcpStream::connect(address).await.unwrap();
    let mut stream = SslStream::new(ssl, stream).unwrap();
    Pin::new(&mut stream)
        .connect()
        .await
        .map_err(|error| error.to_string())?;
    Ok(stream)
}

/// Sends a form to the token endpoint and reads the answer.
async fn post(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    headers: &str,
    form: &[(&str, &str)],
) -> (u16, Value) {
    let body = encode(form);
    let request = format!(
        "POST /token HTTP/1.1\r\nhost: as.test\r\ncontent-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\nconnection: close\r\n{headers}\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut read = Vec::new();
    stream.read_to_end(&mut read).await.ok();
    let text = String::from_utf8(read).unwrap();
    let status = text
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    let body = text
        .split_once("\r\n\r\n")
        .map(|(_, body)| body)
        .unwrap_or_default();
    (
        status.unwrap_or(0),
        serde_json::from_str(body).unwrap_or_default(),
    )
}

/// What the token is bound to that a good assertion gets over this connection.
async fn confirmation(
    server: &Secure,
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> Value {
    let assertion = server.world.good();
    let (status, answer) = post(stream, "", &with_assertion(&assertion)).await;
    assert_eq!(status, 200, "{answer:#}");
    payload(answer["access_token"].as_str().unwrap())["cnf"].take()
}

/// A server with TLS, and beside it a listener that asks for client certificates.
async fn asking() -> (Secure, std::net::SocketAddr, http::Serving) {
    let authority = Authority::new();
    let certificates = [authority.certify(&["as.test"], 3000 * DAY)];
    let settings = [
        ("CARNET_SERVER__MTLS_LISTEN", "127.0.0.1:8443"),
        ("CARNET_SERVER__MTLS_URL", "https://as.test:8443"),
    ];
    let limits = ConnectionLimits::default();
    let server = Secure::with(authority, &certificates, limits.clone(), &settings).await;
    let app = &server.world.server.app;
    let tls = http::Tls::new(app.certificates.clone().unwrap(), &[]).asking();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = server.world.server.router.clone();
    let serving = http::serve_secured_on(router, listener, tls);
    (server, address, serving)
}

#[tokio::test]
async fn rfc8705_3_1__the_certificate_of_the_handshake_binds_the_token() {
    let (server, address, _serving) = asking().await;
    let own = Own::new();
    for version in [SslVersion::TLS1_2, SslVersion::TLS1_3] {
        let resumable = Arc::new(AtomicUsize::default());
        let counted = counting(&server, address, Some(&own), version, resumable.clone());
        let mut stream = counted.await.unwrap();
        let bound_to = confirmation(&server, &mut stream).await;
        assert_eq!(bound_to, json!({ "x5t#S256": own.thumbprint() }));
        // Nothing is given out that a later connection could resume without the key.
        assert_eq!(resumable.load(Ordering::Relaxed), 0);
        // The certificate is asked for and may be missing,
        let mut bare = handshake(&server, address, None, version).await.unwrap();
        assert_eq!(confirmation(&server, &mut bare).await, Value::Null);
        // and where it is not asked for, it does not count.
        let mut unasked = handshake(&server, server.address, Some(&own), version)
            .await
            .unwrap();
        assert_eq!(confirmation(&server, &mut unasked).await, Value::Null);
    }
}

#[tokio::test]
async fn the_certificate_of_a_trusted_proxy_is_none_of_its_clients() {
    let (server, _, _serving) = asking().await;
    let certificates = server.world.server.app.certificates.clone().unwrap();
    let proxies = ["127.0.0.0/8".parse().unwrap()];
    let tls = http::Tls::new(certificates, &proxies).asking();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = server.world.server.router.clone();
    let _proxied = http::serve_secured_on(router, listener, tls);
    let own = Own::new();
    let mut stream = handshake(&server, address, Some(&own), SslVersion::TLS1_3)
        .await
        .unwrap();
    assert_eq!(confirmation(&server, &mut stream).await, Value::Null);
}

#[tokio::test]
async fn rfc8705_3_1__a_certificate_with_a_weak_key_gets_no_token() {
    let (server, address, _serving) = asking().await;
    let key = PKey::from_rsa(Rsa::generate(1024).unwrap()).unwrap();
    let weak = Own {
        certificate: Authority::new().certify_key(&["job"], 3000 * DAY, &key),
        key,
    };
    let assertion = server.world.good();
    let refused = match handshake(&server, address, Some(&weak), SslVersion::TLS1_2).await {
        Err(_) => true,
        Ok(mut stream) => {
            let (status, answer) = post(&mut stream, "", &with_assertion(&assertion)).await;
            status == 0 || answer["reason"] == "certificate_invalid"
        }
    };
    assert!(refused);
}

#[tokio::test]
async fn atk_173__the_header_counts_on_the_listener_of_proxies_alone() {
    let (server, address, _serving) = asking().await;
    let own = Own::new();
    let forged = format!("client-cert: {}\r\n", own.field());
    for address in [server.address, address] {
        let mut stream = handshake(&server, address, None, SslVersion::TLS1_3)
            .await
            .unwrap();
        let assertion = server.world.good();
        let (status, answer) = post(&mut stream, &forged, &with_assertion(&assertion)).await;
        assert_eq!(status, 200, "{answer:#}");
        assert_eq!(
            payload(answer["access_token"].as_str().unwrap()).get("cnf"),
            None
        );
    }
    // The header does not take the place of the certificate of the connection either.
    let real = Own::new();
    let mut stream = handshake(&server, address, Some(&real), SslVersion::TLS1_3)
        .await
        .unwrap();
    let assertion = server.world.good();
    let (_, answer) = post(&mut stream, &forged, &with_assertion(&assertion)).await;
    let claims = payload(answer["access_token"].as_str().unwrap());
    assert_eq!(claims["cnf"], json!({ "x5t#S256": real.thumbprint() }));
}

#[tokio::test]
async fn rfc8705_6_5_1__a_proxy_passes_one_certificate_on_over_a_private_socket() {
    let world = world().await;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("client-cert.sock");
    let router = world.server.router.clone();
    let listen = Listen::Unix(socket.clone());
    let limits = ConnectionLimits::default();
    let _serving = http::serve_proxies(router, &listen, limits, None)
        .await
        .unwrap();
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let own = Own::new();
    let send = async |headers: &str| {
        let assertion = world.good();
        let mut stream = UnixStream::connect(&socket).await.unwrap();
        post(&mut stream, headers, &with_assertion(&assertion)).await
    };
    let line = format!("Client-Cert: {}\r\n", own.field());
    let chain = format!("Client-Cert-Chain: {}\r\n", own.field());
    for headers in [line.clone(), format!("{line}{chain}")] {
        let (status, answer) = send(&headers).await;
        assert_eq!(status, 200, "{answer:#}");
        let claims = payload(answer["access_token"].as_str().unwrap());
        assert_eq!(claims["cnf"], json!({ "x5t#S256": own.thumbprint() }));
    }
    // No header is no certificate.
    let (status, answer) = send("").await;
    assert_eq!(status, 200, "{answer:#}");
    assert_eq!(
        payload(answer["access_token"].as_str().unwrap()).get("cnf"),
        None
    );
    let bare = base64(own.der());
    for headers in [
        format!("{line}{line}"),
        format!("{line}Client_Cert: {}\r\n", own.field()),
        format!("CLIENT_CERT: {}\r\n", own.field()),
        format!("{line}Client_Cert_Issuer: x\r\n"),
        format!("{line}client-cert_chain: {}\r\n", own.field()),
        format!("{line}{chain}{chain}"),
        chain.clone(),
        "Client-Cert:\r\n".to_owned(),
        "Client-Cert: ::\r\n".to_owned(),
        format!("Client-Cert: {bare}\r\n"),
        format!("Client-Cert: :{bare}\r\n"),
        format!("Client-Cert: :{bare}:;a=1\r\n"),
        format!("Client-Cert: {0}, {0}\r\n", own.field()),
        format!(
            "Client-Cert: :{}:\r\n",
            base64([own.der(), own.der()].concat())
        ),
        format!(
            "Client-Cert: :{}:\r\n",
            base64(own.certificate.to_pem().unwrap())
        ),
    ] {
        let (status, answer) = send(&headers).await;
        assert_eq!(status, 400, "{headers}: {answer:#}");
        assert_eq!(answer["reason"], "certificate_invalid", "{headers}");
        assert_eq!(answer["error"], "invalid_request");
    }
}

#[tokio::test]
async fn rfc8705_6_5_1__a_proxy_over_tls_shows_a_certificate_that_is_pinned() {
    let (server, _, _serving) = asking().await;
    let (proxy, stranger, client) = (Own::new(), Own::new(), Own::new());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), proxy.certificate.to_pem().unwrap()).unwrap();
    let pinned = proxy_thumbprints(&[file.path().to_owned()]).unwrap();
    let app = &server.world.server.app;
    let tls = http::Tls::new(app.certificates.clone().unwrap(), &[]).for_proxies(&pinned);
    let address = free_address().parse().unwrap();
    let (router, listen) = (server.world.server.router.clone(), Listen::Address(address));
    let limits = ConnectionLimits::default();
    let _proxies = http::serve_proxies(router, &listen, limits, Some(&tls))
        .await
        .unwrap();
    let line = format!("client-cert: {}\r\n", client.field());
    let send = async |own: Option<&Own>, headers: &str| {
        let assertion = server.world.good();
        match handshake(&server, address, own, SslVersion::TLS1_3).await {
            Ok(mut stream) => post(&mut stream, headers, &with_assertion(&assertion)).await,
            Err(_) => (0, Value::Null),
        }
    };
    let (status, answer) = send(Some(&proxy), &line).await;
    assert_eq!(status, 200, "{answer:#}");
    let claims = payload(answer["access_token"].as_str().unwrap());
    assert_eq!(claims["cnf"], json!({ "x5t#S256": client.thumbprint() }));
    // The proxy's own certificate is nobody's.
    let (status, answer) = send(Some(&proxy), "").await;
    assert_eq!(status, 200, "{answer:#}");
    assert_eq!(
        payload(answer["access_token"].as_str().unwrap()).get("cnf"),
        None
    );
    // Nobody else gets an answer.
    for own in [None, Some(&stranger)] {
        assert_eq!(send(own, &line).await, (0, Value::Null));
    }
    // Files that hold no certificate are told at the start.
    std::fs::write(file.path(), "nothing").unwrap();
    let error = proxy_thumbprints(&[file.path().to_owned()]).unwrap_err();
    assert!(error.contains("must hold a certificate in PEM"), "{error}");
}

// ---- clients of others ----

/// A server at the present time, with a listener that asks for client certificates at the URL of its metadata.
struct Asking {
    deployed: Deployed,
    own: Own,
    folder: tempfile::TempDir,
    _serving: http::Serving,
}

impl Asking {
    async fn new() -> Self {
        Self::which_asks(true).await
    }

    /// One whose listener does not ask, although its metadata say so.
    async fn which_asks(asks: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("https://{address}");
        let settings = [
            (
                "CARNET_SERVER__CLIENT_CERT_LISTEN",
                "unix:/run/carnet-test/client-cert.sock",
            ),
            ("CARNET_SERVER__MTLS_URL", &*url),
        ];
        let deployed = Deployed::with(&settings).await;
        let folder = tempfile::tempdir().unwrap();
        let pair = deployed
            .authority()
            .certify(&["127.0.0.1", "localhost"], DAY);
        let [certificate_file, key_file] = write(folder.path(), "server", &pair);
        let certificates = vec![CertificateFiles {
            certificate_file,
            key_file,
        }];
        let certificates = Certificates::open(&TlsConfig { certificates }).unwrap();
        let tls = http::Tls::new(Arc::new(certificates), &[]);
        let tls = if asks { tls.asking() } else { tls };
        let router = deployed.world.server.router.clone();
        let serving = http::serve_secured_on(router, listener, tls);
        let own = Own::new();
        let server = &deployed.world.server;
        let document = json!({
            "auth_method": "self_signed_tls_client_auth", "jwks": own.jwks(), "permissions": [permission(&["publish"])],
            "resource_server": "pypi",
        });
        server.put("clients/builder", document).await;
        write(
            folder.path(),
            "own",
            &(own.certificate.clone(), own.key.clone()),
        );
        Self {
            deployed,
            own,
            folder,
            _serving: serving,
        }
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// What the scripts are told.
    fn input(&self) -> Value {
        let text = |name: &str| std::fs::read_to_string(self.file(name)).unwrap();
        json!({
            "issuer": self.deployed.url, "resource": R1, "assertion": self.deployed.good(),
            "certificate": text("own.crt"), "key": text("own.key"), "authority": self.deployed.authority().pem(),
            "certificateFile": self.file("own.crt"), "keyFile": self.file("own.key"),
        })
    }

    #[track_caller]
    fn is_bound(&self, answer: &Value) {
        let claims = payload(
            answer["access_token"]
                .as_str()
                .unwrap_or_else(|| panic!("{answer:#}")),
        );
        assert_eq!(claims["cnf"], json!({ "x5t#S256": self.own.thumbprint() }));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc8705_2_1__openid_client_authenticates_by_its_certificate() {
    let asking = Asking::new().await;
    let Some(seen) = asking
        .deployed
        .run(Packages::Npm, "openid-client/mtls.mjs", &asking.input())
    else {
        return;
    };
    asking.is_bound(&seen["own"]);
    asking.is_bound(&seen["workload"]);
    assert_eq!(seen["introspected"]["active"], true, "{seen:#}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc8705_2_1__oauth4webapi_authenticates_by_its_certificate() {
    let asking = Asking::new().await;
    let Some(seen) = asking
        .deployed
        .run(Packages::Npm, "oauth4webapi/mtls.mjs", &asking.input())
    else {
        return;
    };
    asking.is_bound(&seen["own"]);
    assert_eq!(seen["bound"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rfc8705_4_1__requests_and_curl_get_bound_tokens() {
    let asking = Asking::new().await;
    let Some(seen) = asking
        .deployed
        .run(Packages::Pypi, "requests/mtls.py", &asking.input())
    else {
        return;
    };
    assert_eq!(seen["status"], 200, "{seen:#}");
    asking.is_bound(&seen["workload"]);
    if !is_installed("curl") {
        may_skip("curl");
        return;
    }
    let endpoint = asking
        .deployed
        .world
        .server
        .app
        .config
        .own
        .mtls_at("/token")
        .unwrap();
    let output = tokio::process::Command::new("curl")
        .args(["--silent", "--noproxy", "*", "--cacert"])
        .arg(asking.deployed.authority_file())
        .args([
            "--cert",
            &asking.file("own.crt"),
            "--key",
            &asking.file("own.key"),
            &endpoint,
        ])
        .args([
            "-d",
            "grant_type=client_credentials",
            "-d",
            "client_id=builder",
        ])
        .output()
        .await
        .unwrap();
    let answer = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"));
    asking.is_bound(&answer);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn carnet_exchange_connects_with_a_certificate() {
    let asking = Asking::new().await;
    let (certificate, key) = (asking.file("own.crt"), asking.file("own.key"));
    let exchange = async |more: &[&str]| {
        let assertion = asking.deployed.good();
        std::fs::write(asking.file("assertion"), assertion).unwrap();
        let mut command = tokio::process::Command::from(carnet());
        command
            .args([
                "exchange",
                "--server",
                &asking.deployed.url,
                "--resource",
                R1,
                "--json",
            ])
            .args(["--assertion-file", &asking.file("assertion")])
            .args(more)
            .env("SSL_CERT_FILE", asking.deployed.authority_file());
        finished(command.output().await.unwrap())
    };
    let run = exchange(&["--client-cert", &certificate, "--client-key", &key]).await;
    assert_eq!(run.code, 0, "{run:?}");
    asking.is_bound(&serde_json::from_str(&run.stdout).unwrap());
    // With a key of its own for proofs, the token is bound to that one.
    let jwk = asking.file("job.jwk");
    let both = [
        "--client-cert",
        &certificate,
        "--client-key",
        &key,
        "--dpop-key",
        &jwk,
    ];
    let run = exchange(&both).await;
    let answer: Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(answer["token_type"], "DPoP", "{run:?}");
    // An explanation declares the certificate.
    let run = exchange(&[
        "--client-cert",
        &certificate,
        "--client-key",
        &key,
        "--explain",
    ])
    .await;
    assert_eq!(run.code, 0, "{run:?}");
    // Without one half, with a key that others can read, or with one that is another's.
    let run = exchange(&["--client-cert", &certificate]).await;
    assert_eq!(run.code, 2, "{run:?}");
    let run = exchange(&["--client-cert", &certificate, "--client-key", ""]).await;
    assert!(
        run.code == 2 && run.stderr.contains("go together"),
        "{run:?}"
    );
    let run = exchange(&["--client-cert", &key, "--client-key", &key]).await;
    assert!(
        run.code == 2 && run.stderr.contains("must hold a certificate in PEM"),
        "{run:?}"
    );
    let others = Own::new();
    write(
        asking.folder.path(),
        "other",
        &(others.certificate, others.key),
    );
    let run = exchange(&[
        "--client-cert",
        &certificate,
        "--client-key",
        &asking.file("other.key"),
    ])
    .await;
    assert!(
        run.code == 2
            && run
                .stderr
                .contains("not the private key of the certificate"),
        "{run:?}"
    );
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let run = exchange(&["--client-cert", &certificate, "--client-key", &key]).await;
    assert!(run.code == 2 && run.stderr.contains("chmod 600"), "{run:?}");
    // What a client registers is printed from the file.
    let printed = carnet_in(asking.folder.path(), &["clients", "jwks", "own.crt"]);
    let jwks: Value = serde_json::from_str(&printed.stdout).unwrap();
    assert_eq!(jwks, asking.own.jwks());
    let printed = carnet_in(asking.folder.path(), &["clients", "jwks", "own.key"]);
    assert!(
        printed.code != 0 && printed.stderr.contains("must hold a certificate in PEM"),
        "{printed:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn carnet_exchange_takes_no_token_that_is_not_bound_to_its_certificate() {
    let asking = Asking::which_asks(false).await;
    let (certificate, key) = (asking.file("own.crt"), asking.file("own.key"));
    std::fs::write(asking.file("assertion"), asking.deployed.good()).unwrap();
    let mut command = tokio::process::Command::from(carnet());
    command
        .args(["exchange", "--server", &asking.deployed.url])
        .args([
            "--resource",
            R1,
            "--assertion-file",
            &asking.file("assertion"),
        ])
        .args(["--client-cert", &certificate, "--client-key", &key])
        .env("SSL_CERT_FILE", asking.deployed.authority_file());
    let run = finished(command.output().await.unwrap());
    assert!(run.code != 0 && run.stdout.is_empty(), "{run:?}");
    assert!(
        run.stderr.contains("not bound to the certificate"),
        "{run:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn carnet_exchange_says_where_no_certificates_are_taken() {
    let deployed = Deployed::new().await;
    let folder = tempfile::tempdir().unwrap();
    let own = Own::new();
    let [certificate, key] = write(folder.path(), "own", &(own.certificate, own.key));
    let file = folder.path().join("assertion");
    std::fs::write(&file, deployed.good()).unwrap();
    let mut command = tokio::process::Command::from(carnet());
    command
        .args([
            "exchange",
            "--server",
            &deployed.url,
            "--resource",
            R1,
            "--assertion-file",
        ])
        .arg(&file)
        .arg("--client-cert")
        .arg(certificate)
        .arg("--client-key")
        .arg(key)
        .env("SSL_CERT_FILE", deployed.authority_file());
    let run = finished(command.output().await.unwrap());
    assert!(
        run.code != 0 && run.stderr.contains("takes no client certificates"),
        "{run:?}"
    );
}

/// The guide's configuration of the proxy, with these places in it.
fn haproxy_conf(folder: &Path, places: &[(&str, &str)]) -> PathBuf {
    let guide = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/src/guides/production.md");
    let guide = std::fs::read_to_string(guide).unwrap();
    let block = guide.split("```haproxy\n").nth(1).unwrap();
    let mut block = block.split("```").next().unwrap().to_owned();
    for (ours, theirs) in places {
        assert!(block.contains(ours), "the guide has {ours}");
        block = block.replace(ours, theirs);
    }
    let file = folder.join("haproxy.cfg");
    let defaults = "defaults\n    mode http\n    timeout connect 5s\n    timeout client 30s\n    timeout server 30s\n";
    std::fs::write(&file, format!("{defaults}{block}")).unwrap();
    file
}

#[tokio::test]
async fn rfc8705_6_5_1__behind_the_haproxy_of_the_guide_the_clients_certificate_counts() {
    if !is_installed("haproxy") {
        may_skip("haproxy");
        return;
    }
    let (server, _, _serving) = asking().await;
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("client-cert.sock");
    let (router, listen) = (
        server.world.server.router.clone(),
        Listen::Unix(socket.clone()),
    );
    let limits = ConnectionLimits::default();
    let _proxied = http::serve_proxies(router, &listen, limits, None)
        .await
        .unwrap();
    let place = |name: &str| folder.path().join(name).display().to_string();
    let (certificate, key) = server.authority.certify(&["as.test"], 3000 * DAY);
    let pem = [
        certificate.to_pem().unwrap(),
        key.private_key_to_pem_pkcs8().unwrap(),
    ]
    .concat();
    std::fs::write(place("mtls.pem"), pem).unwrap();
    std::fs::write(place("any.pem"), Authority::new().pem()).unwrap();
    let outside = free_address();
    let places = [
        ("bind :443", &*format!("bind {outside}")),
        ("/etc/haproxy/mtls.pem", &place("mtls.pem")),
        ("/etc/haproxy/any.pem", &place("any.pem")),
        ("/run/carnet/client-cert.sock", &place("client-cert.sock")),
    ];
    let conf = haproxy_conf(folder.path(), &places);
    let mut haproxy = daemon("haproxy");
    haproxy
        .arg("-db")
        .arg("-f")
        .arg(conf)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let Some(_haproxy) = Program::start("haproxy", &mut haproxy, &outside).await else {
        return;
    };
    let (own, other, address) = (Own::new(), Own::new(), outside.parse().unwrap());
    let send = async |certificate: Option<&Own>, headers: &str| {
        let mut stream = handshake(&server, address, certificate, SslVersion::TLS1_3)
            .await
            .unwrap();
        let assertion = server.world.good();
        let (status, answer) = post(&mut stream, headers, &with_assertion(&assertion)).await;
        assert_eq!(status, 200, "{answer:#}");
        payload(answer["access_token"].as_str().unwrap())
    };
    let forged = format!(
        "Client-Cert: {0}\r\nclient-cert: {0}\r\nClient_Cert: {0}\r\nClient-Cert-Chain: {0}\r\n",
        other.field()
    );
    for headers in ["", &forged] {
        let claims = send(Some(&own), headers).await;
        assert_eq!(claims["cnf"], json!({ "x5t#S256": own.thumbprint() }));
        assert_eq!(send(None, headers).await.get("cnf"), None);
    }
}

#[test]
fn what_the_listeners_need_is_told_by_the_check() {
    let folder = tempfile::tempdir().unwrap();
    let check = |configuration: &str| {
        std::fs::write(folder.path().join("carnet.toml"), configuration).unwrap();
        let finished = carnet_in(folder.path(), &["check", "--config", "carnet.toml"]);
        assert_ne!(finished.code, 0, "{configuration}: {}", finished.stdout);
        finished.stdout
    };
    let issuer = "issuer = \"https://as.test\"\n[server]\n";
    for (lines, says) in [
        (
            "mtls_listen = \"127.0.0.1:8443\"\nmtls_url = \"https://as.test:8443\"",
            "server.tls.certificates is not set",
        ),
        (
            "mtls_listen = \"unix:/run/s\"\nmtls_url = \"https://as.test:8443\"",
            "must name TCP addresses",
        ),
        (
            "mtls_url = \"https://as.test:8443\"",
            "server.mtls_url: must be left out",
        ),
        (
            "client_cert_listen = \"unix:/run/s\"",
            "server.mtls_url: must be set",
        ),
        (
            "client_cert_listen = \"unix:/run/s\"\nmtls_url = \"http://as.test\"",
            "must be an https URL",
        ),
        (
            "client_cert_listen = \"unix:/run/s\"\nmtls_url = \"https://as.test/t\"",
            "must have the path of the issuer",
        ),
        (
            "client_cert_listen = \"127.0.0.1:1\"\nmtls_url = \"https://as.test\"",
            "must be unix:/path",
        ),
        (
            "listen = \"unix:/run/s\"\nclient_cert_listen = \"unix:/run/s\"\nmtls_url = \"https://as.test\"",
            "must be another address than those of server.listen",
        ),
        (
            "client_cert_listen = \"unix:/run/s\"\nmtls_url = \"https://as.test\"\nclient_cert_proxies = [\"p.crt\"]",
            "server.client_cert_proxies: must be left out",
        ),
    ] {
        let said = check(&format!("{issuer}{lines}\n"));
        assert!(said.contains(says), "{lines}: {said}");
    }
}
