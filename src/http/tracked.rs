//! What identifies a request: its id and its trace. Both are taken over from a trusted proxy only.

use axum::body::Body;
use axum::http::header::HeaderName;
use axum::http::{HeaderMap, HeaderValue, Method, Request, Response};

use super::address::is_from_proxy;
use crate::app::App;
use crate::telemetry::{self, CurrentRequest, ServerRequest, is_request_id, remote_parent};

/// The header with the id of a request, in requests of proxies and in all answers.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// The headers of W3C Trace Context (sections 3.2 and 3.3).
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The request for the log and the trace.
pub(super) fn current(app: &App, request: &Request<Body>) -> CurrentRequest {
    let headers = request.headers();
    let is_tracked = headers.contains_key(&REQUEST_ID)
        || (app.telemetry.is_some() && headers.contains_key(&TRACEPARENT));
    let trusted = is_tracked && is_from_proxy(request.extensions(), &app.config.server);
    let given = Some(headers).filter(|_| trusted);
    let id = given.and_then(|headers| only(headers, &REQUEST_ID));
    let trace = app.telemetry.as_ref().and_then(|telemetry| {
        telemetry.begin(ServerRequest {
            method: method(request.method()),
            route: route(request.uri().path(), app.config.own.path()),
            parent: given.and_then(parent),
        })
    });
    CurrentRequest::new(app.clock.now(), id.filter(|id| is_request_id(id)), trace)
}

/// Ends the trace of the current request, and tells the caller its id.
pub(super) fn answered(response: &mut Response<Body>) {
    let id = telemetry::answered(response.status().as_u16());
    if let Some(id) = id.and_then(|id| HeaderValue::try_from(id).ok()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
}

/// The value of a header that occurs once.
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

fn parent(headers: &HeaderMap) -> Option<opentelemetry::trace::SpanContext> {
    let states = headers.get_all(&TRACESTATE).iter();
    let states: Vec<&str> = states.filter_map(|state| state.to_str().ok()).collect();
    let state = (!states.is_empty()).then(|| states.join(","));
    remote_parent(only(headers, &TRACEPARENT)?, state.as_deref())
}

/// The method for the name of a span: callers choose it, and names come from a fixed set (semantic
/// conventions for HTTP).
fn method(method: &Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"];
    let known = KNOWN.into_iter().find(|known| method == *known);
    known.unwrap_or("_OTHER")
}

/// The template of a path below that of the issuer.
fn route(path: &str, own: &str) -> Option<&'static str> {
    const ALONE: [&str; 8] = [
        "/token",
        "/introspect",
        "/revoke",
        "/explain",
        "/console",
        "/jwks",
        "/healthz",
        "/readyz",
    ];
    const FOLDERS: [(&str, &str); 5] = [
        ("/console/", "/console/{path}"),
        ("/admin/v1/", "/admin/v1/{path}"),
        ("/reasons/", "/reasons/{reason}"),
        ("/registry/", "/registry/{resource_server}/{path}"),
        ("/.well-known/", "/.well-known/{document}"),
    ];
    let below = path.strip_prefix(own).unwrap_or(path);
    let alone = ALONE.into_iter().find(|known| *known == below);
    let folder = || {
        let mut folders = FOLDERS.into_iter();
        let known =
            folders.find(|(folder, _)| below.starts_with(folder) || path.starts_with(folder));
        known.map(|(_, template)| template)
    };
    alone.or_else(folder).or_else(|| {
        let is_front_door = super::front_doors::kind_of(path, own).is_some();
        is_front_door.then_some("/{front_door}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_spans_come_from_a_fixed_set() {
        assert_eq!(method(&Method::POST), "POST");
        assert_eq!(method(&Method::from_bytes(b"BREW").unwrap()), "_OTHER");
        for (path, own, expected) in [
            ("/token", "", Some("/token")),
            ("/carnet/token", "/carnet", Some("/token")),
            ("/admin/v1/clients/site", "", Some("/admin/v1/{path}")),
            (
                "/.well-known/openid-configuration/carnet",
                "/carnet",
                Some("/.well-known/{document}"),
            ),
            ("/etc/passwd", "", None),
        ] {
            assert_eq!(route(path, own), expected, "{path}");
        }
    }
}
