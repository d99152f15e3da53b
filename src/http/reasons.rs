//! `GET /reasons/{reason}`: what a reason code means and how to fix its cause.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::header::{ACCEPT, CONTENT_SECURITY_POLICY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Response};
use serde_json::json;

use crate::app::App;
use crate::profile::Profile;
use crate::reason::Reason;

/// Answers with HTML or JSON, whichever `Accept` names first, and with JSON if it names neither.
pub async fn reason(
    State(app): State<Arc<App>>,
    Path(code): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Ok(reason) = code.parse::<Reason>() else {
        return (
            StatusCode::NOT_FOUND,
            Json(json!({ "detail": "there is no such reason" })),
        )
            .into_response();
    };
    let of_platforms = app.profiles.iter().filter_map(|profile| {
        let remedy = profile.remedies.get(&reason)?;
        Some((&**profile, &**remedy))
    });
    if !wants_html(&headers) {
        let remedies: BTreeMap<&str, &str> = of_platforms
            .map(|(profile, remedy)| (profile.name.as_str(), remedy))
            .collect();
        let body = json!({
            "reason": reason, "description": reason.sentence(), "meaning": reason.meaning(), "remedy": reason.remedy(), "remedies": remedies,
            "status": reason.class().row().status, "told_to": reason.disclosure(),
        });
        return Json(body).into_response();
    }
    let platforms = of_platforms.fold(String::new(), platform);
    // Constants of this server without markup; only the texts of profiles are escaped.
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{code}</title>\
         <h1><code>{code}</code></h1><p><strong>{}</strong></p><h2>What it means</h2><p>{}</p><h2>What to do</h2><p>{}</p>{platforms}</html>",
        reason.sentence(),
        reason.meaning(),
        reason.remedy(),
    );
    (
        [(
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        )],
        Html(page),
    )
        .into_response()
}

/// Appends the remedy for one platform. Operators write profiles, so their texts are escaped.
fn platform(mut page: String, (profile, remedy): (&Profile, &str)) -> String {
    let escaped = |text: &str| {
        text.replace('&', "&amp;")
            .replace('<', "&lt;")
            .replace('>', "&gt;")
    };
    write!(
        page,
        "<h3>{}</h3><p>{}</p>",
        escaped(&profile.title),
        escaped(remedy)
    )
    .ok();
    page
}

/// Whether `Accept` names HTML, and not JSON before it.
pub(super) fn wants_html(headers: &HeaderMap) -> bool {
    let accept = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let first = accept
        .split(',')
        .map(|range| range.split(';').next().unwrap_or_default().trim());
    first
        .into_iter()
        .find(|range| matches!(*range, "text/html" | "application/json"))
        == Some("text/html")
}
