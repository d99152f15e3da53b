//! A client of the admin API for commands.
//!
//! With `--server` it sends requests over HTTP. Without, it passes them to the server's own router
//! in this process, on the configured database, so that both ways take the same checks.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use axum::http::{HeaderName, Method, Request, request};
use carnet_exchange::web;
use http_body_util::BodyExt as _;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tower::ServiceExt as _;
use url::Url;

use super::server_token::ServerToken;
use super::{CommandError, ServerArgs, admin_token};
use crate::app::{App, Background};
use crate::clock::SystemClock;
use crate::http;
use crate::upstream::HttpFetch;

pub struct AdminClient {
    way: Way,
}

enum Way {
    Remote {
        http: reqwest::Client,
        server: Url,
        token: ServerToken,
    },
    Local {
        app: Arc<App>,
        router: Router,
        token: String,
        _background: Background,
    },
}

#[derive(Debug)]
pub struct AdminAnswer {
    pub status: u16,
    /// The version of the object that the body shows.
    pub etag: Option<String>,
    /// The JSON body; `null` if the body is empty or not JSON.
    pub body: Value,
    /// What to do about a refusal, if it is about the token.
    pub advice: Option<String>,
}

/// What a request demands of the object that it changes (RFC 9110 section 13.1); otherwise it is
/// answered with 412 and does nothing.
#[derive(Clone, Copy, Debug)]
pub enum Demand<'a> {
    Nothing,
    /// The object has this `ETag`.
    Version(&'a str),
    /// There is no such object.
    IsNew,
}

impl Demand<'_> {
    /// The header that says so.
    fn header(&self) -> Option<(HeaderName, &str)> {
        match self {
            Self::Nothing => None,
            Self::Version(etag) => Some((IF_MATCH, etag)),
            Self::IsNew => Some((IF_NONE_MATCH, "*")),
        }
    }
}

impl AdminAnswer {
    /// Returns the body of a 2xx answer; any other status is an error with the server's message.
    pub fn ok(self) -> Result<Value, CommandError> {
        if self.is_ok() {
            Ok(self.body)
        } else {
            Err(CommandError::Other(self.problem()))
        }
    }

    /// Like [`ok`](Self::ok), with the object that the request was about in front of the message.
    pub fn ok_about(self, noun: &str, name: &str) -> Result<Value, CommandError> {
        self.ok()
            .map_err(|error| CommandError::Other(format!("{noun} {name}: {error}")))
    }

    /// Whether the status is 2xx.
    pub fn is_ok(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Formats a problem document (RFC 9457): a line with detail and status, then a line with
    /// pointer and detail for each error, and what to do about it.
    pub fn problem(&self) -> String {
        let text = |value: &Value, name: &str| {
            value
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let detail = Some(text(&self.body, "detail")).filter(|detail| !detail.is_empty());
        let detail =
            detail.unwrap_or_else(|| "there is no Carnet admin API at this URL".to_owned());
        let mut lines = vec![format!("{detail} ({})", self.status)];
        for error in self
            .body
            .get("errors")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
        {
            lines.push(format!(
                "  {} {}",
                text(error, "pointer"),
                text(error, "detail")
            ));
        }
        // The detail names the first five itself.
        let referrers = self.body.get("referrers").and_then(Value::as_array);
        let referrers = referrers.filter(|referrers| referrers.len() > 5);
        for referrer in referrers.into_iter().flatten() {
            let (kind, name) = (text(referrer, "kind"), text(referrer, "name"));
            lines.push(match text(referrer, "principal") {
                none if none.is_empty() => format!("  {kind} {name}"),
                principal => format!("  {kind} {principal}:{name}"),
            });
        }
        lines.extend(self.advice.clone());
        lines.join("\n")
    }
}

impl AdminClient {
    /// Connects to `--server`, or opens the configured database and issues itself an admin token of
    /// 900 seconds.
    pub async fn new(target: &ServerArgs) -> Result<Self, CommandError> {
        if let Some(server) = &target.server {
            return Self::remote(server, ServerToken::demand(target, server)?);
        }
        let config = target.config.load_for_command()?;
        let network = Arc::new(HttpFetch::of(&config));
        let (app, background) = App::join(config, Arc::new(SystemClock), network).await?;
        let token = admin_token::issue_for_command(&app).await?;
        let router = http::router(app.clone());
        Ok(Self {
            way: Way::Local {
                app,
                router,
                token,
                _background: background,
            },
        })
    }

    /// A client of this server with this token.
    pub fn remote(server: &str, token: ServerToken) -> Result<Self, CommandError> {
        let (http, server) = remote(server)?;
        Ok(Self {
            way: Way::Remote {
                http,
                server,
                token,
            },
        })
    }

    /// Whether the command works on the configured database in this process.
    pub fn is_local(&self) -> bool {
        matches!(self.way, Way::Local { .. })
    }

    /// The token that goes to a server.
    pub fn remote_token(&self) -> Option<&str> {
        match &self.way {
            Way::Remote { token, .. } => Some(token.text()),
            Way::Local { .. } => None,
        }
    }

    /// Reads all items of a list, page by page. `path` has a query already.
    pub async fn all(&self, path: &str) -> Result<Vec<Value>, CommandError> {
        let mut all = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("{path}{cursor}");
            let page = self.send(Method::GET, &path, None).await?.ok()?;
            let items = page.get("items").and_then(Value::as_array);
            all.extend(items.into_iter().flatten().cloned());
            match page.get("next_cursor").and_then(Value::as_str) {
                Some(next) => cursor = format!("&cursor={}", in_query(next)),
                None => return Ok(all),
            }
        }
    }

    /// Sends a request to a path below `/admin/v1`.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<AdminAnswer, CommandError> {
        self.send_if(Demand::Nothing, method, path, body).await
    }

    /// Sends a request that changes an object only if the object is as demanded.
    pub async fn send_if(
        &self,
        demand: Demand<'_>,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<AdminAnswer, CommandError> {
        let path = format!("/admin/v1{path}");
        match &self.way {
            Way::Remote {
                http,
                server,
                token,
            } => {
                let mut request = http
                    .request(method, below(server, &path))
                    .bearer_auth(token.text());
                if let Some((name, value)) = demand.header() {
                    request = request.header(name, value);
                }
                if let Some(body) = body {
                    request = request.json(body);
                }
                let answer = web::send(server, request)
                    .await
                    .map_err(|error| unreachable(&error))?;
                let (status, body) = (answer.status.as_u16(), answer.json());
                let code = body.get("code").and_then(Value::as_str);
                Ok(AdminAnswer {
                    status,
                    etag: answer.etag,
                    advice: token.advice(status, code.unwrap_or_default()),
                    body,
                })
            }
            Way::Local {
                app, router, token, ..
            } => {
                let path = format!("{}{path}", app.config.own.path());
                let request = Request::builder().method(method).uri(path);
                let request = match demand.header() {
                    Some((name, value)) => request.header(name, value),
                    None => request,
                };
                let request = request.header(AUTHORIZATION, format!("Bearer {token}"));
                send_to(router.clone(), request, body).await
            }
        }
    }
}

/// Passes a request to the router in this process.
async fn send_to(
    router: Router,
    request: request::Builder,
    body: Option<&Value>,
) -> Result<AdminAnswer, CommandError> {
    let failed = |error: &dyn std::error::Error| CommandError::Other(error.to_string());
    let request = request
        .header(CONTENT_TYPE, "application/json")
        .extension(http::LocalCommand)
        .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))
        .map_err(|error| failed(&error))?;
    let response = router
        .oneshot(request)
        .await
        .map_err(|error| failed(&error))?;
    let status = response.status().as_u16();
    let etag = response.headers().get(ETAG);
    let etag = etag.and_then(|etag| Some(etag.to_str().ok()?.to_owned()));
    let body = response
        .into_body()
        .collect()
        .await
        .map_err(|error| failed(&error))?
        .to_bytes();
    Ok(AdminAnswer {
        status,
        etag,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        advice: None,
    })
}

/// A name as one segment of a path.
pub fn in_path(name: &str) -> String {
    utf8_percent_encode(name, NON_ALPHANUMERIC).to_string()
}

/// A value of a query parameter.
pub fn in_query(value: &str) -> String {
    utf8_percent_encode(value, NON_ALPHANUMERIC).to_string()
}

/// A client for commands that talk to a server, and the server's URL. The requests carry an
/// assertion or an admin token, so the URL has to be https or a loopback address, and redirects are
/// not followed.
pub fn remote(server: &str) -> Result<(reqwest::Client, Url), CommandError> {
    let url = Url::parse(server)
        .map_err(|error| CommandError::Other(format!("--server is not a URL: {error}")))?;
    let client = web::client(&url)
        .map_err(|error| CommandError::Other(format!("--server {}: {error}", web::place(&url))))?;
    Ok((client, url))
}

/// Appends an absolute path to the server's URL. `Url::join` would drop the path of an issuer
/// identifier that has one.
pub fn below(server: &Url, path: &str) -> String {
    format!("{}{path}", server.as_str().trim_end_matches('/'))
}

/// The error for a server that cannot be reached, with all its causes.
pub fn unreachable(error: &dyn std::error::Error) -> CommandError {
    CommandError::Unreachable(format!(
        "the server cannot be reached: {}",
        carnet_outbound::causes(error)
    ))
}
