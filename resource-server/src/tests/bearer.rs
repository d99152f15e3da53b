//! RFC 6750, at a registry that axum serves behind the layer.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::extract::{Extension, State};
use axum::routing::{post, put};
use axum::{Router, http};
use http::{HeaderMap, HeaderName, Request, Response};
use serde_json::{Value, json};

use super::support::{FakeServer, NOW, REGISTRY, Reply, client, parameters, serve, token_until};
use crate::verifier::now;
use crate::{
    AccessToken, DenialReason, Denied, Operation, Outage, PackageNames, Realm, RegistryState,
    Rejection, RequireToken, Sent, Verifier, allows,
};

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// A registry, its authorization server, and a token that the registry accepts.
struct World {
    server: FakeServer,
    url: String,
    token: String,
}

/// A response of the registry.
struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl World {
    async fn new() -> Self {
        let server = FakeServer::start().await;
        let url = serve(registry(server.verifier().also_in_header(API_KEY))).await;
        let token = server.sign(&server.claims_at(now()));
        Self { server, url, token }
    }

    /// Uploads with these headers. A header may occur several times.
    async fn put(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request = client().put(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, value.as_bytes());
        }
        Answer::of(request.send().await.unwrap()).await
    }

    /// Sends a form, with or without the token in an `Authorization` header.
    async fn form(&self, body: String, with_header: bool) -> Answer {
        let mut request = client().post(format!("{}/form", self.url)).body(body);
        request = request.header("content-type", "application/x-www-form-urlencoded");
        if with_header {
            request = request.bearer_auth(&self.token);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    fn bearer(&self) -> String {
        format!("Bearer {}", self.token)
    }
}

impl Answer {
    async fn of(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.text().await.unwrap();
        Self {
            status,
            headers,
            body: serde_json::from_str(&body).unwrap_or(json!(body)),
        }
    }

    fn challenge(&self) -> HashMap<String, String> {
        let mut values = self.headers.get_all("www-authenticate").iter();
        let challenge = values.next().unwrap().to_str().unwrap();
        assert!(values.next().is_none());
        parameters(challenge)
    }

    /// Asserts a refusal with this status and error code.
    fn is(&self, status: u16, error: Option<&str>) {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.challenge().get("error").map(String::as_str), error);
        assert_eq!(self.body["error"].as_str(), error);
        assert_eq!(self.headers["content-type"], "application/json");
    }
}

/// The parameters of the one challenge.
fn only(challenges: &[String]) -> HashMap<String, String> {
    let [challenge] = challenges else {
        panic!("{challenges:?}")
    };
    parameters(challenge)
}

/// A token that is not bound to a key.
fn unbound() -> AccessToken {
    token_until(0).into_bearer(false, None).unwrap()
}

fn registry(verifier: Verifier) -> Router {
    let verifier = Arc::new(verifier);
    let realm = Realm::new("registry");
    Router::new()
        .route(
            "/packages/widgets",
            put(async |token: Extension<AccessToken>| upload("widgets", &token)),
        )
        .route(
            "/packages/gadgets",
            put(async |token: Extension<AccessToken>| upload("gadgets", &token)),
        )
        .route_layer(RequireToken::new(verifier.clone(), realm))
        .route("/form", post(form))
        .with_state(verifier)
}

fn upload(package: &str, token: &AccessToken) -> Response<Body> {
    let operation = Operation {
        action: "publish",
        package,
        version: None,
        digest: None,
    };
    let state = RegistryState {
        exists: true,
        owned_by: &|_| true,
        may_act_for: &|_, _| true,
    };
    match allows(
        &token.authorization_details,
        PackageNames::Exact,
        &operation,
        &state,
    ) {
        Ok(allowed) => Response::new(Body::from(allowed.principal.to_owned())),
        Err(denied) => Realm::new("registry").deny(token, denied, &operation),
    }
}

async fn form(State(verifier): State<Arc<Verifier>>, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 16).await.unwrap();
    match verifier
        .verify_request(Sent::from(&parts).with_form(&body))
        .await
    {
        Ok(found) => Response::new(Body::from(found.token.sub)),
        Err(rejection) => Realm::new("registry").reject(rejection),
    }
}

#[tokio::test]
async fn rfc6750_2_1__a_request_with_tokens_in_two_places_is_refused() {
    let world = World::new().await;
    let form = format!("access_token={}", world.token);
    assert_eq!(world.form("a=b".into(), true).await.status, 200);
    world
        .form(form, true)
        .await
        .is(400, Some("invalid_request"));
    let query = format!("/packages/widgets?access_token={}", world.token);
    world
        .put(&query, &[("authorization", &world.bearer())])
        .await
        .is(400, Some("invalid_request"));
    let encoded = "/packages/widgets?a=b&access%5Ftoken=";
    world
        .put(encoded, &[("authorization", &world.bearer())])
        .await
        .is(400, Some("invalid_request"));
    assert_eq!(
        world
            .put(
                "/packages/widgets?a=access_token",
                &[("authorization", &world.bearer())]
            )
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn rfc6750_2_1_1__a_repeated_or_malformed_authorization_header_is_refused() {
    let world = World::new().await;
    let bearer = world.bearer();
    for scheme in ["Bearer", "bearer", "BEARER ", "bEaReR"] {
        let header = format!("{scheme} {}", world.token);
        let answer = world
            .put("/packages/widgets", &[("authorization", &header)])
            .await;
        assert_eq!(
            (answer.status, &answer.body),
            (200, &json!("joel")),
            "{scheme}"
        );
    }
    for other in [bearer.as_str(), "Bearer other", "Basic eDp5"] {
        let twice = [("authorization", bearer.as_str()), ("authorization", other)];
        world
            .put("/packages/widgets", &twice)
            .await
            .is(400, Some("invalid_request"));
    }
    for value in [
        format!("{bearer}, {bearer}"),
        format!("{bearer} x"),
        "Bearer \u{e9}".to_owned(),
        "Bearer".to_owned(),
    ] {
        world
            .put("/packages/widgets", &[("authorization", &value)])
            .await
            .is(400, Some("invalid_request"));
    }
}

#[tokio::test]
async fn rfc6750_2_2_1__a_token_in_a_form_body_is_not_accepted() {
    let world = World::new().await;
    world
        .form(format!("access_token={}", world.token), false)
        .await
        .is(401, None);
}

#[tokio::test]
async fn rfc6750_2_3_1__a_token_in_the_query_is_not_accepted() {
    let world = World::new().await;
    let answer = world
        .put(
            &format!("/packages/widgets?access_token={}", world.token),
            &[],
        )
        .await;
    answer.is(401, None);
    assert!(!answer.body.to_string().contains(&world.token));
}

#[tokio::test]
async fn rfc6750_3_1__a_challenge_names_an_error_only_where_a_token_came() {
    let world = World::new().await;
    for headers in [
        &[][..],
        &[("authorization", "Basic eDp5")],
        &[("authorization", "")],
    ] {
        let answer = world.put("/packages/widgets", headers).await;
        answer.is(401, None);
        assert_eq!(answer.challenge()["realm"], "registry");
    }
    world
        .put("/packages/widgets", &[("authorization", "Bearer x.y.z")])
        .await
        .is(401, Some("invalid_token"));
    assert_eq!(Rejection::NoToken.challenges("r"), ["Bearer realm=\"r\""]);
}

#[tokio::test]
async fn rfc6750_3_1_2__without_credentials_the_challenge_names_no_error() {
    let world = World::new().await;
    let answer = world.put("/packages/widgets", &[]).await;
    assert_eq!(
        answer.challenge().into_keys().collect::<Vec<_>>(),
        ["realm"]
    );
    assert!(answer.body.get("error").is_none());
}

#[tokio::test]
async fn rfc6750_3_2__an_expired_token_is_answered_with_invalid_token() {
    let world = World::new().await;
    let old = world.server.sign(&world.server.claims_at(now() - 1000));
    let answer = world
        .put(
            "/packages/widgets",
            &[("authorization", &format!("Bearer {old}"))],
        )
        .await;
    answer.is(401, Some("invalid_token"));
    assert_eq!(answer.challenge()["error_description"], "expired");
}

#[test]
fn rfc6750_3_3__no_parameter_of_a_challenge_is_repeated() {
    let about = crate::ProtectedResource::new(REGISTRY, "https://as.test").unwrap();
    // A realm name that tries to add parameters of its own.
    let realm = Realm::new("r\", error=\"x").described_by(&about);
    for rejection in rejections() {
        only(&realm.challenges(&rejection));
    }
    let operation = Operation {
        action: "publish\", scope=\"all",
        package: "p",
        version: None,
        digest: None,
    };
    for reason in REASONS {
        let read = only(&realm.insufficient_scope(&unbound(), Denied { reason }, &operation));
        assert_eq!(read.len(), 5, "{read:?}");
    }
}

const REASONS: [DenialReason; 7] = [
    DenialReason::PackageOutOfScope,
    DenialReason::ActionOutOfScope,
    DenialReason::CreateDenied,
    DenialReason::VersionMismatch,
    DenialReason::DigestMismatch,
    DenialReason::OwnerLost,
    DenialReason::OwnerAmbiguous,
];

fn rejections() -> [Rejection; 4] {
    [
        Rejection::NoToken,
        Rejection::InvalidRequest("why"),
        Rejection::InvalidToken("why"),
        Rejection::Unavailable(Outage::Unreachable),
    ]
}

#[tokio::test]
async fn rfc6750_3_4__challenges_hold_only_permitted_characters_and_nothing_of_a_hostile_token() {
    let world = World::new().await;
    for hostile in [
        "a\"b",
        "a\\",
        "x\", error=\"insufficient_scope",
        "a\u{e9}",
        "{}.{}.<script>",
        "%0d%0aSet-Cookie:x",
    ] {
        let answer = world
            .put(
                "/packages/widgets",
                &[("authorization", &format!("Bearer {hostile}"))],
            )
            .await;
        let challenge = answer.challenge();
        assert!(
            !challenge.values().any(|value| value.contains(hostile)),
            "{challenge:?}"
        );
        assert!(
            !answer.body.to_string().contains(hostile),
            "{}",
            answer.body
        );
    }
    let realm = Realm::new("a\"b\\c\r\n\u{e9}");
    assert_eq!(
        realm.challenges(&Rejection::NoToken),
        ["Bearer realm=\"abc\""]
    );
    let hostile = Operation {
        action: "pub lish\"\\\r\n",
        package: "p",
        version: None,
        digest: None,
    };
    // The descriptions of this crate contain no character that has to be removed.
    for reason in REASONS {
        let read = only(&realm.insufficient_scope(&unbound(), Denied { reason }, &hostile));
        assert_eq!(read["error_description"], reason.to_string());
        assert_eq!(read["scope"].replace("create ", ""), "publish");
    }
}

#[tokio::test]
async fn rfc6750_3_1_1__each_error_has_its_status() {
    let world = World::new().await;
    world
        .put("/packages/widgets", &[("authorization", "Bearer a b")])
        .await
        .is(400, Some("invalid_request"));
    world
        .put("/packages/widgets", &[("authorization", "Bearer a.b.c")])
        .await
        .is(401, Some("invalid_token"));
    let answer = world
        .put("/packages/gadgets", &[("authorization", &world.bearer())])
        .await;
    answer.is(403, Some("insufficient_scope"));
    assert_eq!(answer.challenge()["scope"], "publish");
    assert_eq!(answer.body["reason"], "package_out_of_scope");
    let operation = Operation {
        action: "publish",
        package: "new",
        version: None,
        digest: None,
    };
    let needed = |reason, operation: &Operation<'_>| {
        only(&Realm::new("r").insufficient_scope(&unbound(), Denied { reason }, operation))["scope"]
            .clone()
    };
    assert_eq!(
        needed(DenialReason::CreateDenied, &operation),
        "create publish"
    );
    let create = Operation {
        action: "create",
        ..operation
    };
    assert_eq!(needed(DenialReason::CreateDenied, &create), "create");
}

#[tokio::test]
async fn rfc6750_5_2_1__a_token_without_expiry_audience_or_another_required_claim_is_refused() {
    let server = FakeServer::start().await;
    let verifier = server.verifier();
    verifier
        .verify_at(&server.sign(&server.claims()), NOW)
        .await
        .unwrap();
    for claim in ["exp", "aud", "iss", "sub", "client_id", "iat", "jti"] {
        let mut claims = server.claims();
        claims.as_object_mut().unwrap().remove(claim);
        let refused = verifier.verify_at(&server.sign(&claims), NOW).await;
        assert_eq!(
            refused,
            Err(Rejection::InvalidToken("malformed")),
            "{claim}"
        );
    }
    for (claim, value) in [
        ("exp", json!("1800000900")),
        ("exp", json!(null)),
        ("aud", json!([REGISTRY, "x"])),
    ] {
        let mut claims = server.claims();
        claims[claim] = value;
        assert_eq!(
            verifier.verify_at(&server.sign(&claims), NOW).await,
            Err(Rejection::InvalidToken("malformed"))
        );
    }
}

#[tokio::test]
async fn rfc6750_5_3_1__tokens_in_cookies_are_ignored_and_no_cookies_are_set() {
    let world = World::new().await;
    let cookie = format!("access_token={}; token={}", world.token, world.token);
    let answer = world.put("/packages/widgets", &[("cookie", &cookie)]).await;
    answer.is(401, None);
    assert!(!answer.headers.contains_key("set-cookie"));
    let answer = world
        .put("/packages/widgets", &[("authorization", &world.bearer())])
        .await;
    assert_eq!(answer.status, 200);
    assert!(!answer.headers.contains_key("set-cookie"));
}

#[tokio::test]
async fn atk_183__a_token_in_header_query_and_form_at_once_is_refused() {
    let world = World::new().await;
    let query = format!("/packages/widgets?access_token={}", world.token);
    let cookie = format!("access_token={}", world.token);
    let headers = [("authorization", world.bearer()), ("cookie", cookie)];
    let headers = headers
        .each_ref()
        .map(|(name, value)| (*name, value.as_str()));
    world
        .put(&query, &headers)
        .await
        .is(400, Some("invalid_request"));
    let headers: HeaderMap = HeaderMap::from_iter([(
        http::header::AUTHORIZATION,
        world.bearer().try_into().unwrap(),
    )]);
    let form = format!("access_token={}", world.token);
    let uri = http::Uri::try_from(format!("/?{form}")).unwrap();
    let sent = Sent::new(&http::Method::PUT, &uri, &headers).with_form(form.as_bytes());
    assert!(matches!(
        world.server.verifier().verify_request(sent).await,
        Err(Rejection::InvalidRequest(_))
    ));
}

#[tokio::test]
async fn atk_187__an_api_key_beside_another_token_is_refused() {
    let world = World::new().await;
    let bearer = world.bearer();
    let key = ("x-api-key", world.token.as_str());
    assert_eq!(world.put("/packages/widgets", &[key]).await.status, 200);
    assert_eq!(
        world
            .put("/packages/widgets", &[key, ("authorization", &bearer)])
            .await
            .status,
        200
    );
    let other = world.server.sign(&world.server.claims_at(now() - 1));
    for authorization in [
        format!("Bearer {other}"),
        "Bearer x".to_owned(),
        "Basic eDp5".to_owned(),
    ] {
        let both = [key, ("authorization", authorization.as_str())];
        world
            .put("/packages/widgets", &both)
            .await
            .is(400, Some("invalid_request"));
    }
    world
        .put("/packages/widgets", &[key, key])
        .await
        .is(400, Some("invalid_request"));
    world
        .put("/packages/widgets", &[("x-api-key", &bearer)])
        .await
        .is(400, Some("invalid_request"));
    let query = format!("/packages/widgets?access_token={}", world.token);
    world
        .put(&query, &[key])
        .await
        .is(400, Some("invalid_request"));
    // A registry that does not accept the header ignores it.
    let url = serve(registry(world.server.verifier())).await;
    let plain = World { url, ..world };
    plain
        .put("/packages/widgets", &[("x-api-key", &plain.token)])
        .await
        .is(401, None);
}

#[tokio::test]
async fn nuget_tok_5__older_clients_send_their_key_in_x_api_key_and_beside_no_other_credentials() {
    const KEY: &str = "cnt_0123456789";
    let world = World::new().await;
    let mut active = world.server.claims_at(now());
    active["active"] = json!(true);
    world.server.activate(KEY, active);
    let url = serve(registry(
        world.server.introspecting().also_in_header(API_KEY),
    ))
    .await;
    let world = World { url, ..world };
    let bearer = format!("Bearer {KEY}");
    for way in [("x-api-key", KEY), ("authorization", bearer.as_str())] {
        let answer = world.put("/packages/widgets", &[way]).await;
        assert_eq!(
            (answer.status, &answer.body),
            (200, &json!("joel")),
            "{way:?}"
        );
    }
    // A token that the registry found itself stands for the same principal.
    assert_eq!(
        world
            .server
            .introspecting()
            .verify_token(KEY)
            .await
            .unwrap()
            .sub,
        "pr_joel"
    );
    for authorization in [KEY, "Basic eDpjbnRfMDEyMzQ1Njc4OQ=="] {
        let alone = [("authorization", authorization)];
        world.put("/packages/widgets", &alone).await.is(401, None);
        let both = [alone[0], ("x-api-key", KEY)];
        world
            .put("/packages/widgets", &both)
            .await
            .is(400, Some("invalid_request"));
    }
}

#[tokio::test]
async fn an_unreachable_server_is_answered_with_503_and_no_challenge() {
    let world = World::new().await;
    world.server.reply("/jwks", Reply::status(500));
    let answer = world
        .put("/packages/widgets", &[("authorization", &world.bearer())])
        .await;
    assert_eq!(answer.status, 503);
    assert!(!answer.headers.contains_key("www-authenticate"));
    assert_eq!(answer.headers["retry-after"], "30");
    // Outer layers learn the reason from the extensions.
    let response: Response<String> =
        Realm::new("r").reject(Rejection::Unavailable(Outage::Credentials));
    assert_eq!(
        response.extensions().get(),
        Some(&Rejection::Unavailable(Outage::Credentials))
    );
    assert!(!response.body().contains("credentials"));
}
