//! A stand-in for GitHub as the tools of a job see it: the endpoint that gives them identity tokens.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use carnet::clock::{Clock as _, ManualClock};
use serde_json::json;

use super::{Claims, FakeIssuer, github};

/// What a job shows in order to get an identity token.
const REQUEST_TOKEN: &str = "ask-me";

type Change = Box<dyn Fn(Claims) -> Claims + Send>;

/// A stand-in for the runner of a job.
#[derive(Clone, Debug)]
pub struct Runner {
    url: String,
    job: Arc<Job>,
}

struct Job {
    platform: FakeIssuer,
    clock: Arc<ManualClock>,
    run: Mutex<Run>,
}

struct Run {
    /// What is unusual about the claims of this run.
    change: Change,
    /// The last token of each audience.
    given: HashMap<String, String>,
    /// Whether the last token of an audience is given again.
    repeats: bool,
    asked: Vec<String>,
}

impl fmt::Debug for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Job").finish_non_exhaustive()
    }
}

impl Runner {
    /// Gives out tokens of this platform, issued when they are asked for.
    pub async fn start(platform: &FakeIssuer, clock: Arc<ManualClock>) -> Self {
        let run = Run {
            change: Box::new(|claims| claims),
            given: HashMap::new(),
            repeats: false,
            asked: Vec::new(),
        };
        let job = Arc::new(Job {
            platform: platform.clone(),
            clock,
            run: Mutex::new(run),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/token", get(token))
            .with_state(job.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self {
            // Some tools append their parameter with `&`, so the real URL has a query, too.
            url: format!("http://{address}/token?api-version=2.0"),
            job,
        }
    }

    /// The variables that the runner sets for its jobs.
    pub fn environment(&self) -> [(&str, &str); 4] {
        [
            ("CI", "true"),
            ("GITHUB_ACTIONS", "true"),
            ("ACTIONS_ID_TOKEN_REQUEST_URL", &self.url),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", REQUEST_TOKEN),
        ]
    }

    /// The runs from now on have these claims.
    pub fn claims(&self, change: impl Fn(Claims) -> Claims + Send + 'static) {
        self.job.run.lock().unwrap().change = Box::new(change);
    }

    /// Gives the last token of an audience again, or new tokens.
    pub fn repeats(&self, repeats: bool) {
        self.job.run.lock().unwrap().repeats = repeats;
    }

    /// The audiences that tokens were asked for.
    pub fn asked(&self) -> Vec<String> {
        self.job.run.lock().unwrap().asked.clone()
    }

    /// A token for this audience.
    pub fn token(&self, audience: &str) -> String {
        self.job.give(audience)
    }
}

impl Job {
    fn give(&self, audience: &str) -> String {
        let mut run = self.run.lock().unwrap();
        run.asked.push(audience.to_owned());
        if run.repeats
            && let Some(token) = run.given.get(audience)
        {
            return token.clone();
        }
        let claims = github(self.clock.now().seconds()).with("aud", audience);
        let token = self.platform.sign(&(run.change)(claims));
        run.given.insert(audience.to_owned(), token.clone());
        token
    }
}

async fn token(
    State(job): State<Arc<Job>>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let shown = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok());
    let may = shown
        .and_then(|value| value.split_once(' '))
        .is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case("bearer") && token == REQUEST_TOKEN
        });
    let (Some("2.0"), Some(audience), true) = (
        query.get("api-version").map(String::as_str),
        query.get("audience"),
        may,
    ) else {
        return StatusCode::UNAUTHORIZED.into_response();
    };
    Json(json!({ "value": job.give(audience) })).into_response()
}
