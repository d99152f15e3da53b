//! Requests of actions and tools that cannot run here, sent byte for byte as they were recorded: `tests/publishing/replays`.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use serde_json::Value;
use tokio_native_tls::native_tls::{Certificate, TlsConnector};

use super::Site;

/// What was answered.
#[derive(Debug)]
pub struct Replayed {
    pub status: u16,
    /// The text after the status in the first line.
    pub phrase: String,
    pub body: String,
}

impl Replayed {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// Checks the status, and that the body says all of this.
    #[track_caller]
    pub fn says(&self, status: u16, parts: &[&str]) {
        assert_eq!(self.status, status, "{self:?}");
        for part in parts {
            assert!(self.body.contains(part), "{part} is missing: {self:?}");
        }
    }
}

trait Connection: Read + Write {}

impl<T: Read + Write> Connection for T {}

impl Site {
    /// Sends a recorded request with these values in it.
    pub fn replay(&self, name: &str, values: &[(&str, &str)]) -> Replayed {
        self.replay_with(name, values, &[])
    }

    /// The same with these bytes after it.
    pub fn replay_with(&self, name: &str, values: &[(&str, &str)], rest: &[u8]) -> Replayed {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/publishing/replays")
            .join(format!("{name}.http"));
        let text = std::fs::read_to_string(file).unwrap();
        let (head, body) = text.split_once("\n\n").unwrap();
        let filled = |text: &str| {
            let host = [("host", self.host.as_str())];
            let given = values.iter().chain(&host);
            given.fold(text.to_owned(), |text, (name, value)| {
                text.replace(&format!("{{{{{name}}}}}"), value)
            })
        };
        let body = filled(body.trim_end());
        let head = filled(head).replace("{{length}}", &body.len().to_string());
        assert!(!head.contains("{{") && !body.contains("{{"), "{head}{body}");
        let head = format!("{}\r\n\r\n", head.replace('\n', "\r\n"));
        let mut connection = self.connection();
        connection
            .write_all(&[head.as_bytes(), body.as_bytes(), rest].concat())
            .unwrap();
        read(&mut *connection)
    }

    fn connection(&self) -> Box<dyn Connection> {
        let address = self.host.replace("localhost", "127.0.0.1");
        let stream = TcpStream::connect(address).unwrap();
        if self.url.starts_with("http:") {
            return Box::new(stream);
        }
        let authority = std::fs::read(self.authority()).unwrap();
        let connector = TlsConnector::builder()
            .add_root_certificate(Certificate::from_pem(&authority).unwrap())
            .build()
            .unwrap();
        Box::new(connector.connect("localhost", stream).unwrap())
    }
}

/// Reads one response whose length is known, since the requests leave their connections open.
fn read(connection: &mut dyn Connection) -> Replayed {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        connection.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap();
    let mut lines = head.lines();
    let first = lines.next().unwrap().strip_prefix("HTTP/1.1 ").unwrap();
    let (status, phrase) = first.split_at(3);
    let length = lines
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(0, |(_, value)| value.trim().parse().unwrap());
    let mut body = vec![0; length];
    connection.read_exact(&mut body).unwrap();
    Replayed {
        status: status.parse().unwrap(),
        phrase: phrase.trim().to_owned(),
        body: String::from_utf8(body).unwrap(),
    }
}

/// A body in chunks, as `Transfer-Encoding: chunked` has it.
pub fn chunked(parts: &[&[u8]]) -> Vec<u8> {
    let mut body = Vec::new();
    for part in parts {
        body.extend(format!("{:X}\r\n", part.len()).bytes());
        body.extend_from_slice(part);
        body.extend(b"\r\n");
    }
    body.extend(b"0\r\n\r\n");
    body
}
