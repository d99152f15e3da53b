//! `carnet healthcheck`: asks the server on this machine for `/readyz`, at the first address of
//! `server.listen`. A container image needs no other program for its health check.

use std::time::Duration;

use clap::Args;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::{TcpStream, UnixStream};

use super::{CommandError, Conclusion, ConfigFile};
use crate::config::Listen;

/// Options of `carnet healthcheck`.
#[derive(Debug, Args)]
pub struct HealthcheckArgs {
    /// Seconds to wait for the answer, 1 to 60.
    #[arg(long, value_name = "SECONDS", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=60))]
    timeout: u64,
    #[command(flatten)]
    config: ConfigFile,
}

pub async fn run(args: &HealthcheckArgs, as_json: bool) -> Result<Conclusion, CommandError> {
    let config = args.config.load()?;
    let listen = config.server.listen.first().cloned();
    let listen =
        listen.ok_or_else(|| CommandError::Other("the server listens nowhere".to_owned()))?;
    let asked = tokio::time::timeout(Duration::from_secs(args.timeout), ask(&listen));
    let (ready, answer) = match asked.await {
        Err(_) => (false, json!({ "status": "no answer" })),
        Ok(Err(error)) => (false, json!({ "status": "no answer", "detail": error })),
        Ok(Ok(answer)) => answer,
    };
    if as_json {
        println!("{answer}");
    } else {
        let no: Vec<String> = answer
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        println!(
            "{}",
            if ready {
                "ready".to_owned()
            } else {
                no.join(", ")
            }
        );
    }
    Ok(ready.into())
}

async fn ask(listen: &Listen) -> Result<(bool, Value), String> {
    match listen {
        Listen::Unix(path) => {
            let stream = UnixStream::connect(path)
                .await
                .map_err(|error| error.to_string())?;
            send(TokioIo::new(stream)).await
        }
        Listen::Host(host, port) => connect(TcpStream::connect((host.as_str(), *port))).await,
        Listen::Address(address) if address.ip().is_unspecified() => {
            connect(TcpStream::connect(("localhost", address.port()))).await
        }
        Listen::Address(address) => connect(TcpStream::connect(address)).await,
    }
}

async fn connect(
    connecting: impl Future<Output = std::io::Result<TcpStream>>,
) -> Result<(bool, Value), String> {
    let stream = connecting.await.map_err(|error| error.to_string())?;
    send(TokioIo::new(stream)).await
}

async fn send(
    io: impl hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
) -> Result<(bool, Value), String> {
    let failed = |error: &dyn std::error::Error| error.to_string();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io)
        .await
        .map_err(|error| failed(&error))?;
    tokio::spawn(connection);
    let request = hyper::Request::get("/readyz")
        .header("host", "localhost")
        .body(Empty::<Bytes>::new());
    let answer = sender
        .send_request(request.map_err(|error| failed(&error))?)
        .await
        .map_err(|error| failed(&error))?;
    let ready = answer.status().is_success();
    let body = answer
        .into_body()
        .collect()
        .await
        .map_err(|error| failed(&error))?
        .to_bytes();
    Ok((
        ready,
        serde_json::from_slice(&body).unwrap_or_else(|_| json!({ "status": "not ready" })),
    ))
}
