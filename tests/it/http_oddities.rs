//! Requests that are a little odd and quite clear.

use axum::body::Body;
use axum::http::Request;

use crate::support::{Answer, JWT_BEARER, World, encode};

async fn post(world: &World, path: &str, kind: &str, body: impl Into<Body>) -> Answer {
    let request = Request::post(path).header("content-type", kind);
    world.server.send(request.body(body.into()).unwrap()).await
}

const FORM: &str = "application/x-www-form-urlencoded";

#[tokio::test]
async fn pub_k11__a_form_in_ascii_is_read_whatever_single_byte_charset_is_named() {
    let world = World::new().await;
    for charset in [
        "ISO-8859-1",
        "utf8",
        "UTF-8",
        "\"utf-8\"",
        "us-ascii",
        "windows-1252",
    ] {
        let form = encode(&[("grant_type", JWT_BEARER), ("assertion", &world.good())]);
        let kind = format!("{FORM}; charset={charset}");
        post(&world, "/token", &kind, form).await.token();
    }
    let form = encode(&[("grant_type", JWT_BEARER), ("assertion", &world.good())]);
    post(&world, "/token", &format!("{FORM}; charset=utf-16"), form)
        .await
        .refused(400, "invalid_request", "media_type");
    // What is not UTF-8 is not guessed.
    let latin = [b"scope=caf\xe9&".as_slice(), b"grant_type=x"].concat();
    post(
        &world,
        "/token",
        &format!("{FORM}; charset=ISO-8859-1"),
        latin,
    )
    .await
    .refused(400, "invalid_request", "form_malformed");
}

#[tokio::test]
async fn pub_k11__a_path_with_a_slash_too_many_is_told_as_such_in_json() {
    let world = World::new().await;
    for path in [
        "/token/",
        "//token",
        "/explain/",
        "/introspect/",
        "/revoke/",
    ] {
        let form = encode(&[("grant_type", JWT_BEARER), ("assertion", &world.good())]);
        let answer = post(&world, path, FORM, form).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (404, "path_unknown"),
            "{path}"
        );
    }
}
