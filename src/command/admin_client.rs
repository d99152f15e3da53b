//! A client of the admin API for commands.
//!
//! With `--server` it sends requests over HTTP. Without, it passes them to the server's own router
//! in this process, on the configured database, so that both ways take the same checks.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{Method, Request};
use carnet_exchange::web;
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;
use url::Url;

use super::{CommandError, ServerArgs, admin_token};
use crate::app::{App, Background};
use crate::clock::SystemClock;
use crate::config::Config;
use crate::http;
use crate::own_tokens::LOCAL_CLIENT;
use crate::upstream::HttpFetch;

pub struct AdminClient {
    way: Way,
    token: String,
}

enum Way {
    Remote {
        http: reqwest::Client,
        server: Url,
    },
    Local {
        app: Arc<App>,
        router: Router,
        _background: Background,
    },
}

#[derive(Debug)]
pub struct AdminAnswer {
    pub status: u16,
    /// The JSON body; `null` if the body is empty or not JSON.
    pub body: Value,
}

impl AdminAnswer {
    /// Returns the body of a 2xx answer; any other status is an error with the server's message.
    pub fn ok(self) -> Result<Value, CommandError> {
        if (200..300).contains(&self.status) {
            Ok(self.body)
        } else {
            Err(CommandError::Other(self.problem()))
        }
    }

    /// Formats a problem document (RFC 9457): a line with detail and status, then a line with
    /// pointer and detail for each error.
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
        lines.join("\n")
    }
}

impl AdminClient {
    /// Connects to `--server`, or opens the configured database and issues itself an admin token of
    /// 900 seconds.
    pub async fn new(target: &ServerArgs) -> Result<Self, CommandError> {
        if let Some(server) = &target.server {
            let token = target.token.clone().ok_or_else(|| {
                CommandError::Other(
                    "--server needs an admin token: give --token or set CARNET_TOKEN".to_owned(),
                )
            })?;
            let (http, server) = remote(server)?;
            return Ok(Self {
                way: Way::Remote { http, server },
                token,
            });
        }
        let config = target.config.load()?;
        note_new_database(&config);
        let (app, background) = App::start(
            config,
            Arc::new(SystemClock),
            Arc::new(HttpFetch::default()),
        )
        .await?;
        let token = admin_token::issue(&app, LOCAL_CLIENT, "admin", 900).await?;
        let router = http::router(app.clone());
        Ok(Self {
            way: Way::Local {
                app,
                router,
                _background: background,
            },
            token,
        })
    }

    /// Sends a request to a path below `/admin/v1`.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<AdminAnswer, CommandError> {
        let path = format!("/admin/v1{path}");
        match &self.way {
            Way::Remote { http, server } => {
                let mut request = http
                    .request(method, below(server, &path))
                    .bearer_auth(&self.token);
                if let Some(body) = body {
                    request = request.json(body);
                }
                let answer = web::send(server, request)
                    .await
                    .map_err(|error| unreachable(&error))?;
                Ok(AdminAnswer {
                    status: answer.status.as_u16(),
                    body: answer.json(),
                })
            }
            Way::Local { app, router, .. } => {
                let path = format!("{}{path}", app.config.own.path());
                self.send_to(router.clone(), method, &path, body).await
            }
        }
    }

    async fn send_to(
        &self,
        router: Router,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<AdminAnswer, CommandError> {
        let failed = |error: &dyn std::error::Error| CommandError::Other(error.to_string());
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(AUTHORIZATION, format!("Bearer {}", self.token))
            .header(CONTENT_TYPE, "application/json")
            .extension(http::LocalCommand)
            .body(body.map_or_else(Body::empty, |body| Body::from(body.to_string())))
            .map_err(|error| failed(&error))?;
        let response = router
            .oneshot(request)
            .await
            .map_err(|error| failed(&error))?;
        let status = response.status().as_u16();
        let body = response
            .into_body()
            .collect()
            .await
            .map_err(|error| failed(&error))?
            .to_bytes();
        Ok(AdminAnswer {
            status,
            body: serde_json::from_slice(&body).unwrap_or(Value::Null),
        })
    }
}

/// Prints a note if the command is about to create a database: in the wrong folder it would
/// otherwise work on an empty one unnoticed.
pub fn note_new_database(config: &Config) {
    if config.database.url.is_new_file() {
        let folder =
            std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
        eprintln!(
            "carnet: a new database is made; the folder for data is {}",
            folder.display()
        );
    }
}

/// A client for commands that talk to a server, and the server's URL. The requests carry an
/// assertion or an admin token, so the URL has to be https or a loopback address, and redirects are
/// not followed.
pub fn remote(server: &str) -> Result<(reqwest::Client, Url), CommandError> {
    let failed =
        |error: &dyn std::error::Error| CommandError::Other(format!("--server {server}: {error}"));
    let url = Url::parse(server).map_err(|error| failed(&error))?;
    Ok((web::client(&url).map_err(|error| failed(&error))?, url))
}

/// Appends an absolute path to the server's URL. `Url::join` would drop the path of an issuer
/// identifier that has one.
pub fn below(server: &Url, path: &str) -> String {
    format!("{}{path}", server.as_str().trim_end_matches('/'))
}

/// The error for a server that cannot be reached, with all its causes.
pub fn unreachable(error: &dyn std::error::Error) -> CommandError {
    CommandError::Other(format!(
        "the server cannot be reached: {}",
        carnet_outbound::causes(error)
    ))
}
