//! Listening: connections with time limits, and an end that lets requests finish.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tower::ServiceExt as _;
use tower_http::add_extension::AddExtension;
use tower_http::timeout::TimeoutLayer;

/// For the head of a request to arrive.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// For a request as a whole, its body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// For requests to finish when the server ends.
const GRACE: Duration = Duration::from_secs(10);
/// After an error of `accept`, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// A server that listens.
#[derive(Debug)]
pub struct Serving {
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Serving {
    /// Ends the server: nothing new is taken, what was begun is finished.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.ok();
    }

    /// Waits until the server ends by itself.
    pub async fn ended(&mut self) {
        (&mut self.task).await.ok();
    }
}

/// Listens and serves.
pub async fn serve(router: Router, listen: SocketAddr) -> io::Result<Serving> {
    Ok(serve_on(router, TcpListener::bind(listen).await?))
}

/// Serves on a listener.
pub fn serve_on(router: Router, listener: TcpListener) -> Serving {
    let (stop, stopped) = watch::channel(false);
    let router = router.layer(TimeoutLayer::with_status_code(axum::http::StatusCode::REQUEST_TIMEOUT, REQUEST_TIMEOUT));
    Serving { stop, task: tokio::spawn(accept(listener, router, stopped)) }
}

async fn accept(listener: TcpListener, router: Router, mut stopped: watch::Receiver<bool>) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).pipeline_flush(true);
    let graceful = GracefulShutdown::new();
    loop {
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
            _ = stopped.changed() => break,
        };
        stream.set_nodelay(true).ok();
        let service = AddExtension::new(router.clone(), ConnectInfo(peer));
        let service = TowerToHyperService::new(
            service
                .map_request(|request: axum::http::Request<hyper::body::Incoming>| request.map(axum::body::Body::new)),
        );
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // What goes wrong on a connection is the caller's affair.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were cut off at the end");
    }
}
