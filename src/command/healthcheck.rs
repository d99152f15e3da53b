//! `carnet healthcheck`: asks the server on this machine for `/readyz`, at the first address of
//! `server.listen`. A container image needs no other program for its health check.

use std::pin::Pin;
use std::time::Duration;

use clap::Args;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use openssl::ssl::{SslConnector, SslMethod, SslVerifyMode};
use serde_json::{Value, json};
use tokio::net::{TcpStream, UnixStream};
use tokio_openssl::SslStream;

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
    let has_tls = config.server.tls.is_some();
    let asked = tokio::time::timeout(Duration::from_secs(args.timeout), ask(&listen, has_tls));
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

async fn ask(listen: &Listen, has_tls: bool) -> Result<(bool, Value), String> {
    let stream = match listen {
        Listen::Unix(path) => {
            let stream = UnixStream::connect(path)
                .await
                .map_err(|error| error.to_string())?;
            return send(TokioIo::new(stream)).await;
        }
        Listen::Host(host, port) => TcpStream::connect((host.as_str(), *port)).await,
        Listen::Address(address) if address.ip().is_unspecified() => {
            TcpStream::connect(("localhost", address.port())).await
        }
        Listen::Address(address) => TcpStream::connect(address).await,
    };
    let stream = stream.map_err(|error| error.to_string())?;
    if has_tls {
        let stream = secured(stream).await;
        return send(TokioIo::new(stream.map_err(|error| error.to_string())?)).await;
    }
    send(TokioIo::new(stream)).await
}

/// Makes a TLS handshake without checking the certificate: it names the server's public host, and what
/// is asked is the server on this machine.
async fn secured(
    stream: TcpStream,
) -> Result<SslStream<TcpStream>, Box<dyn std::error::Error + Send + Sync>> {
    let mut connector = SslConnector::builder(SslMethod::tls_client())?;
    connector.set_verify(SslVerifyMode::NONE);
    let ssl = connector
        .build()
        .configure()?
        .verify_hostname(false)
        .into_ssl("localhost")?;
    let mut stream = SslStream::new(ssl, stream)?;
    Pin::new(&mut stream).connect().await?;
    Ok(stream)
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
