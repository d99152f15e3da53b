//! Publishing where there is no tool: the requests that uv would send, one by one.

use openssl::sha::sha256;
use reqwest::{Method, StatusCode};
use serde_json::Value;

use super::CommandError;
use super::call::Upload;
use super::client::Wheel;
use super::site::Site;
use super::tour::Tour;

/// Gets a key at the front door, whose audience is its host, for an assertion of the platform, and prints the request as the
/// assignment of the variable `KEY`.
pub async fn key(tour: &Tour, registry: &Site) -> Result<String, CommandError> {
    let host = registry.url().trim_start_matches("https://");
    let assertion = tour.assertion_for(host, "refs/heads/main").await?;
    let call = registry.call(Method::POST, "/_/oidc/mint-token");
    let call = call.member("token", "ASSERTION", &assertion);
    println!(
        "$ KEY=$({} | sed 's/.*\"token\":\"\\([^\"]*\\)\".*/\\1/')",
        call.line()
    );
    let (status, text) = registry.answer(&call).await?;
    let minted: Value = serde_json::from_str(&text).unwrap_or_default();
    let key = minted.get("token").and_then(Value::as_str);
    key.map(str::to_owned)
        .ok_or_else(|| CommandError::Other(format!("expected a key, received {status}: {text}")))
}

/// Uploads a wheel, and prints the request and the answer.
pub async fn upload(
    registry: &Site,
    key: &str,
    wheel: &Wheel,
) -> Result<(StatusCode, String), CommandError> {
    let digest = sha256(wheel.content).map(|byte| format!("{byte:02x}"));
    let fields = [
        (":action", "file_upload"),
        ("protocol_version", "1"),
        ("metadata_version", "2.1"),
        ("filetype", "bdist_wheel"),
        ("pyversion", "py3"),
        ("name", wheel.package),
        ("version", "1.0.0"),
        ("sha256_digest", &digest.concat()),
    ];
    let upload = Upload {
        fields: fields.map(|(name, value)| (name, value.to_owned())).into(),
        file: ("content", wheel.file, wheel.content),
    };
    let call = registry.call(Method::POST, "/legacy/");
    let call = call.user("__token__", "KEY", key).upload(upload);
    println!("$ {}", call.line());
    let (status, text) = registry.answer(&call).await?;
    println!("{}", format!("{status}\n{text}").trim_end());
    Ok((status, text))
}
