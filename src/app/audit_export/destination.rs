//! The receivers of exported audit events.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UdpSocket, UnixDatagram};

use super::syslog::Syslog;
use crate::clock::Timestamp;
use crate::config::AuditDestination;
use crate::ids::EventId;
use crate::telemetry::{Exporter, LogLine};

/// How long a receiver may take for what is sent together.
const TIMEOUT: Duration = Duration::from_secs(10);

/// An event on its way to a receiver.
#[derive(Clone, Debug)]
pub(super) struct Line {
    pub id: EventId,
    pub at: Timestamp,
    pub outcome: &'static str,
    pub is_warning: bool,
    /// The event as JSON, without a line break.
    pub text: String,
}

/// Takes events.
pub(super) struct Receiver {
    destination: AuditDestination,
    syslog: Syslog,
    /// The connection of syslog over TCP.
    stream: Option<TcpStream>,
    /// The collector; `None` only where it is not the destination.
    exporter: Option<Arc<Exporter>>,
}

impl Receiver {
    pub(super) fn new(destination: AuditDestination, exporter: Option<Arc<Exporter>>) -> Self {
        Self {
            destination,
            syslog: Syslog::of_this_process(),
            stream: None,
            exporter,
        }
    }

    /// Whether events may be lost that were sent without an error: syslog over TCP confirms nothing.
    pub(super) const fn may_lose_what_it_took(&self) -> bool {
        matches!(self.destination, AuditDestination::SyslogTcp(_))
    }

    /// Sends events, all or with an error. The error is for the log.
    pub(super) async fn send(&mut self, lines: Vec<Line>) -> Result<(), String> {
        let sent = tokio::time::timeout(TIMEOUT, self.try_send(lines)).await;
        let outcome = sent.unwrap_or_else(|_| {
            let seconds = TIMEOUT.as_secs();
            Err(format!("the receiver took nothing for {seconds} seconds"))
        });
        if outcome.is_err() {
            self.stream = None;
        }
        outcome
    }

    async fn try_send(&mut self, lines: Vec<Line>) -> Result<(), String> {
        let failed = |error: std::io::Error| error.to_string();
        match self.destination.clone() {
            AuditDestination::Stdout => {
                blocking(lines, |text| {
                    let mut out = std::io::stdout().lock();
                    out.write_all(text)?;
                    out.flush()
                })
                .await
            }
            AuditDestination::File(path) => blocking(lines, move |text| append(&path, text)).await,
            AuditDestination::SyslogUnix(path) => {
                let socket = UnixDatagram::unbound().map_err(failed)?;
                socket.connect(&path).map_err(failed)?;
                for line in &lines {
                    let message = self.syslog.message(line);
                    socket.send(message.as_bytes()).await.map_err(failed)?;
                }
                Ok(())
            }
            AuditDestination::SyslogUdp(to) => {
                let socket = udp_to(&to).await.map_err(failed)?;
                for line in &lines {
                    let message = self.syslog.message(line);
                    socket.send(message.as_bytes()).await.map_err(failed)?;
                }
                Ok(())
            }
            AuditDestination::SyslogTcp(to) => self.send_frames(&to, &lines).await.map_err(failed),
            AuditDestination::Otlp => {
                let exporter = self.exporter.as_ref().ok_or("no collector is configured")?;
                let lines = lines.into_iter().map(|line| LogLine {
                    at: line.at,
                    is_warning: line.is_warning,
                    name: "carnet.audit",
                    attributes: vec![
                        ("carnet.audit.id", line.id.to_string()),
                        ("carnet.audit.outcome", line.outcome.to_owned()),
                    ],
                    body: line.text,
                });
                let sent = exporter.send_logs(lines.collect()).await;
                sent.map_err(|error| error.to_string())
            }
        }
    }

    /// Frames with the octet counting of RFC 6587 section 3.4.1.
    async fn send_frames(&mut self, to: &str, lines: &[Line]) -> std::io::Result<()> {
        let mut text = String::new();
        for line in lines {
            let message = self.syslog.message(line);
            text.extend([&message.len().to_string(), " ", &message]);
        }
        let stream = match &mut self.stream {
            Some(stream) => stream,
            none => none.insert(TcpStream::connect(to).await?),
        };
        is_open(stream)?;
        stream.write_all(text.as_bytes()).await?;
        stream.flush().await?;
        is_open(stream)
    }
}

/// Fails if the receiver closed the connection. It sends nothing, so whatever can be read is dropped.
fn is_open(stream: &TcpStream) -> std::io::Result<()> {
    let mut answer = [0; 256];
    loop {
        match stream.try_read(&mut answer) {
            Ok(0) => return Err(std::io::ErrorKind::ConnectionAborted.into()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

async fn udp_to(to: &str) -> std::io::Result<UdpSocket> {
    let mut addresses = tokio::net::lookup_host(to).await?;
    let address = addresses.next().ok_or(std::io::ErrorKind::NotFound)?;
    let any = if address.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(address).await?;
    Ok(socket)
}

/// Writes events as lines, on a thread that may wait.
async fn blocking(
    lines: Vec<Line>,
    write: impl FnOnce(&[u8]) -> std::io::Result<()> + Send + 'static,
) -> Result<(), String> {
    let text: String = lines
        .into_iter()
        .flat_map(|line| [line.text, "\n".to_owned()])
        .collect();
    let written = tokio::task::spawn_blocking(move || write(text.as_bytes())).await;
    let written = written.map_err(|error| error.to_string())?;
    written.map_err(|error| error.to_string())
}

/// Appends to a file and waits until that is durable. The file is opened each time, so that whoever
/// rotates it has nothing to tell the server.
fn append(path: &Path, text: &[u8]) -> std::io::Result<()> {
    let mut file = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text)?;
    file.sync_data()
}
