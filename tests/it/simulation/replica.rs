//! A server process of the simulation: an [`App`] on a runtime of its own, which makes progress only when it is its turn, and is
//! gone with everything that it was doing when it crashes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use carnet::app::{App, Background};
use carnet::clock::ManualClock;
use carnet::http;
use carnet::own_tokens::LOCAL_CLIENT;
use carnet::scope::ScopeSet;
use http_body_util::BodyExt as _;
use serde_json::json;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt as _;

use super::START;
use super::template::Folder;
use crate::support::{Answer, CARNET, FakeNetwork};

/// What one step of a replica works on.
pub type Work = Pin<Box<dyn Future<Output = Done>>>;

/// What a piece of work came to.
pub enum Done {
    Answered(Answer),
    Started(Box<Up>),
    /// Refreshed, or pruned.
    Kept,
    Failed,
}

/// A started server.
pub struct Up {
    pub app: Arc<App>,
    pub router: Router,
    background: Background,
}

pub struct Replica {
    runtime: Option<Runtime>,
    pub up: Option<Up>,
}

impl Replica {
    /// A process that has not started the server yet.
    pub fn new() -> Self {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        Self {
            runtime: Some(runtime),
            up: None,
        }
    }

    /// A process whose server is up.
    pub fn started(folder: &Folder, clock: Arc<ManualClock>, network: Arc<FakeNetwork>) -> Self {
        let mut replica = Self::new();
        match replica.block_on(start(folder, clock, network)) {
            Done::Started(up) => replica.up = Some(*up),
            _ => panic!("the first server starts"),
        }
        replica
    }

    fn runtime(&self) -> &Runtime {
        self.runtime.as_ref().unwrap()
    }

    pub fn router(&self) -> &Router {
        &self.up.as_ref().unwrap().router
    }

    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime().block_on(work)
    }

    /// Lets this process run for a while: `work` is polled once, then the tasks of the server have `turns`.
    pub fn drive(&self, work: Option<&mut Work>, turns: usize) -> Option<Done> {
        self.block_on(async {
            let done = match work {
                None => None,
                Some(work) => {
                    std::future::poll_fn(|context| match work.as_mut().poll(context) {
                        Poll::Ready(done) => Poll::Ready(Some(done)),
                        Poll::Pending => Poll::Ready(None),
                    })
                    .await
                }
            };
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            done
        })
    }

    /// Drops what a caller waited for: it hung up.
    pub fn give_up(&self, work: Work) {
        let _context = self.runtime().enter();
        drop(work);
    }

    /// The process ends at once. What its database connections were told already may still happen.
    pub fn crash(&mut self, works: Vec<Work>) {
        let runtime = self.runtime.take().unwrap();
        {
            let _context = runtime.enter();
            drop(works);
            drop(self.up.take());
        }
        runtime.shutdown_background();
        *self = Self::new();
    }

    /// Ends the process in good order, so that everything is in the file of the database.
    pub fn close(mut self) {
        let Up {
            app, background, ..
        } = self.up.take().unwrap();
        self.block_on(async {
            app.flush_audit().await;
            drop(background);
            app.store.clone().close().await.unwrap();
        });
    }

    /// An admin token with this scope, recorded nowhere.
    pub fn admin_token(&self, scope: &str) -> String {
        let app = &self.up.as_ref().unwrap().app;
        let named =
            carnet::decision::named_principals(&ScopeSet::parse(scope).unwrap(), &app.rules());
        let claims = json!({
            "rests_on": named.unwrap_or_default(), "iss": CARNET, "aud": app.config.own.admin_resource(),
            "sub": "tester", "client_id": LOCAL_CLIENT, "iat": START, "exp": START + 1_000_000,
            "jti": uuid::Uuid::from_bytes(carnet::ids::random()).to_string(), "scope": scope,
        });
        let ring = app.keys.ring().unwrap();
        ring.active().sign(claims.to_string().as_bytes()).unwrap()
    }
}

/// Starts a server.
pub fn start(folder: &Folder, clock: Arc<ManualClock>, network: Arc<FakeNetwork>) -> Work {
    let config = folder.config();
    Box::pin(async move {
        match App::start(config, clock, network).await {
            Ok((app, background)) => Done::Started(Box::new(Up {
                router: http::router(app.clone()),
                app,
                background,
            })),
            Err(_) => Done::Failed,
        }
    })
}

/// Sends a request and reads the answer.
pub async fn send(router: Router, request: Request<Body>) -> Answer {
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    Answer {
        status: parts.status.as_u16(),
        headers: parts.headers,
        body: body.collect().await.unwrap().to_bytes(),
    }
}
