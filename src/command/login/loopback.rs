//! The redirect URI of a sign-in: a listener on a loopback address that waits for one answer of the
//! server (RFC 8252 section 7.3).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use carnet_exchange::web::printable;
use carnet_jose::constant_time_eq;
use parking_lot::Mutex;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::command::CommandError;
use crate::people::Callback;

const PATH: &str = "/callback";
/// How long the browser has to fetch the page that it is answered with.
const LAST_PAGE: Duration = Duration::from_secs(2);

/// Why the browser came back without a code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The answer is not of the server that was asked (RFC 9207 section 2.4).
    Issuer {
        expected: String,
        received: Option<String>,
    },
    /// The server refused the request.
    Refused {
        error: String,
        description: Option<String>,
    },
}

type Answer = Result<String, Denied>;

/// The listener. It ends with the first answer that has the right `state`.
#[derive(Debug)]
pub struct Loopback {
    redirect_uri: String,
    answer: oneshot::Receiver<Answer>,
    /// Dropped when the listener is to end.
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

#[derive(Debug)]
struct Waiting {
    state: String,
    issuer: String,
    /// The `Host` of requests that are meant for this listener.
    host: String,
    answer: Mutex<Option<oneshot::Sender<Answer>>>,
}

impl Loopback {
    /// Listens at a free port for an answer of this issuer with this `state`.
    pub async fn listen(state: &str, issuer: &str) -> Result<Self, CommandError> {
        let listener = match TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await {
            Ok(listener) => Ok(listener),
            Err(_) => TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await,
        };
        let place = |listener: TcpListener| Ok((listener.local_addr()?, listener));
        let (address, listener) = listener.and_then(place).map_err(|error| {
            CommandError::Other(format!(
                "no port of this machine can be listened at: {error}"
            ))
        })?;
        let (sender, answer) = oneshot::channel();
        let waiting = Waiting {
            state: state.to_owned(),
            issuer: issuer.to_owned(),
            host: address.to_string(),
            answer: Mutex::new(Some(sender)),
        };
        let router = Router::new()
            .fallback(request)
            .with_state(Arc::new(waiting));
        let (stop, stopped) = oneshot::channel::<()>();
        let serve = axum::serve(listener, router).with_graceful_shutdown(async {
            stopped.await.ok();
        });
        Ok(Self {
            redirect_uri: format!("http://{address}{PATH}"),
            answer,
            stop,
            serving: tokio::spawn(async {
                serve.await.ok();
            }),
        })
    }

    pub fn redirect_uri(&self) -> &str {
        &self.redirect_uri
    }

    /// Waits for the answer, at most so long.
    pub async fn answer(self, patience: Duration) -> Option<Answer> {
        let answer = tokio::time::timeout(patience, self.answer).await;
        drop(self.stop);
        // The page is on its way to the browser.
        tokio::time::timeout(LAST_PAGE, self.serving).await.ok();
        answer.ok()?.ok()
    }
}

async fn request(
    State(waiting): State<Arc<Waiting>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    // A page of another host whose name leads to this machine is no concern of ours.
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    if uri.path() != PATH || host != Some(&waiting.host) {
        return page(StatusCode::NOT_FOUND, "There is nothing here.");
    }
    if method != Method::GET {
        return page(StatusCode::METHOD_NOT_ALLOWED, "There is nothing to send.");
    }
    waiting.judge(uri.query().unwrap_or_default())
}

impl Waiting {
    /// Takes an answer if it is one to our request. Any other is answered and forgotten: every page
    /// and every user of this machine can send those.
    fn judge(&self, query: &str) -> Response {
        let strange = "This is no answer to the sign-in that is waited for.";
        let callback = Callback::read(query).unwrap_or_default();
        let state = callback.state.as_deref().unwrap_or_default();
        if !constant_time_eq(state.as_bytes(), self.state.as_bytes()) {
            return page(StatusCode::BAD_REQUEST, strange);
        }
        let Some(answer) = self.answer_of(callback) else {
            return page(StatusCode::BAD_REQUEST, strange);
        };
        let Some(sender) = self.answer.lock().take() else {
            return page(StatusCode::BAD_REQUEST, "The sign-in was answered before.");
        };
        let shown = match &answer {
            Ok(_) => page(
                StatusCode::OK,
                "The command line goes on. You can close this page.",
            ),
            Err(_) => page(
                StatusCode::OK,
                "You are not signed in; the command line says why. You can close this page.",
            ),
        };
        // Nobody waits if the time is up.
        sender.send(answer).ok();
        shown
    }

    /// What an answer to our request says, if it says anything.
    fn answer_of(&self, callback: Callback) -> Option<Answer> {
        if callback.iss.as_ref() != Some(&self.issuer) {
            return Some(Err(Denied::Issuer {
                expected: self.issuer.clone(),
                received: callback.iss,
            }));
        }
        if let Some(error) = callback.error {
            return Some(Err(Denied::Refused {
                error,
                description: callback.error_description,
            }));
        }
        callback.code.map(Ok)
    }
}

fn page(status: StatusCode, sentence: &str) -> Response {
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>Carnet</title></head>\n\
         <body><main><h1>Carnet</h1><p>{sentence}</p></main></body>\n</html>\n"
    );
    // The URL of the page has the code in it.
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
        (REFERRER_POLICY, "no-referrer"),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (CONNECTION, "close"),
    ];
    (status, headers, html).into_response()
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Issuer {
                expected,
                received: Some(received),
            } => write!(
                f,
                "the answer is of the issuer `{}`, and not of `{expected}`: it is not used",
                printable(received)
            ),
            Self::Issuer { expected, .. } => write!(
                f,
                "the answer does not say that it is of `{expected}` (iss): it is not used"
            ),
            Self::Refused { error, description } => {
                write!(f, "the server refused: {}", printable(error))?;
                match description {
                    Some(description) => write!(f, " - {}", printable(description)),
                    None => Ok(()),
                }
            }
        }
    }
}
