//! `GET /reasons/{reason}`: what a reason code means and how to fix its cause.

use axum::Json;
use axum::extract::Path;
use axum::http::header::{ACCEPT, CONTENT_SECURITY_POLICY};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, IntoResponse as _, Response};
use serde_json::json;

use crate::reason::Reason;

/// Answers with HTML or JSON, whichever `Accept` names first, and with JSON if it names neither.
pub async fn reason(Path(code): Path<String>, headers: HeaderMap) -> Response {
    let Ok(reason) = code.parse::<Reason>() else {
        return (
            StatusCode::NOT_FOUND,
            Json(json!({ "detail": "there is no such reason" })),
        )
            .into_response();
    };
    if !wants_html(&headers) {
        let body = json!({
            "reason": reason, "description": reason.sentence(), "meaning": reason.meaning(), "remedy": reason.remedy(),
            "status": reason.class().row().status, "told_to": reason.disclosure(),
        });
        return Json(body).into_response();
    }
    // All texts are constants of this server without markup, so nothing has to be escaped.
    let page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{code}</title>\
         <h1><code>{code}</code></h1><p><strong>{}</strong></p><h2>What it means</h2><p>{}</p><h2>What to do</h2><p>{}</p></html>",
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

fn wants_html(headers: &HeaderMap) -> bool {
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
