//! What the server sends to others of its own accord: traces and metrics to an OpenTelemetry
//! collector, and audit events to where they are kept.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;
use url::Url;

/// The OpenTelemetry collector, and what it gets.
#[derive(Clone, Debug)]
pub struct TelemetryConfig {
    /// The base URL of OTLP over HTTP, with a path that ends with a slash; the signals are below it.
    pub endpoint: Url,
    /// The file that the headers were read from.
    pub headers_file: Option<PathBuf>,
    /// Headers of each request to the collector, such as `Authorization`.
    pub headers: Vec<(String, SecretString)>,
    /// A PEM file with authorities for the collector's certificate, besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Which part of the requests without a parent is traced, from 0 to 1.
    pub sample_ratio: f64,
    /// The `service.name` of everything that is sent.
    pub service_name: String,
    /// How often metrics are sent.
    pub metrics_interval: Duration,
}

impl TelemetryConfig {
    /// What an operator should change.
    pub(super) fn warnings(&self) -> Option<String> {
        let exposed = !self.headers.is_empty() && !carnet_outbound::is_safe(&self.endpoint);
        exposed.then(|| {
            format!(
                "telemetry.otlp_headers_file: the headers go to {} without TLS: whoever can read that network has them",
                self.endpoint
            )
        })
    }
}

/// Reads `telemetry.otlp_endpoint`.
pub(super) fn endpoint(text: &str) -> Result<Url, String> {
    let wrong = || {
        "must be the http or https URL of an OTLP collector without user name, query and fragment, such as http://collector:4318"
            .to_owned()
    };
    let slash = if text.ends_with('/') { "" } else { "/" };
    let url = Url::parse(&format!("{text}{slash}")).map_err(|_| wrong())?;
    let is_plain = matches!(url.scheme(), "http" | "https")
        && url.host_str().is_some()
        && !carnet_outbound::has_credentials(&url)
        && url.query().is_none()
        && url.fragment().is_none();
    if is_plain { Ok(url) } else { Err(wrong()) }
}

/// Reads a file of headers: one `Name: value` on a line. Empty lines and those that begin with `#`
/// do not count. The error names no value.
pub(super) fn headers(text: &str) -> Result<Vec<(String, SecretString)>, String> {
    let lines = text.lines().map(str::trim).enumerate();
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let header = |(at, line): (usize, &str)| {
        let read = line
            .split_once(':')
            .map(|(name, value)| (name.trim(), value.trim()));
        let is_header = |(name, value): &(&str, &str)| {
            reqwest::header::HeaderName::from_bytes(name.as_bytes()).is_ok()
                && reqwest::header::HeaderValue::from_str(value).is_ok()
                && !value.is_empty()
        };
        let (name, value) = read.filter(is_header).ok_or_else(|| {
            format!(
                "line {} is no header of the form `Name: value`",
                at.saturating_add(1)
            )
        })?;
        Ok((name.to_owned(), SecretString::from(value)))
    };
    lines.map(header).collect()
}

/// Where audit events are sent to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditDestination {
    /// Standard output of the process, one JSON object on a line.
    Stdout,
    /// A file, one JSON object on a line.
    File(PathBuf),
    /// A datagram socket of this machine, such as `/dev/log`.
    SyslogUnix(PathBuf),
    /// Host and port, a datagram for each event (RFC 5426).
    SyslogUdp(String),
    /// Host and port, a stream of frames (RFC 6587 section 3.4.1).
    SyslogTcp(String),
    /// The collector of [`TelemetryConfig`], as log records.
    Otlp,
}

/// The value of `audit.export`: one destination or a list.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum AuditDestinations {
    One(String),
    Several(Vec<String>),
}

impl AuditDestinations {
    pub(super) fn parse(self) -> Result<Vec<AuditDestination>, String> {
        let texts = match self {
            Self::One(text) => vec![text],
            Self::Several(texts) => texts,
        };
        let mut all: Vec<AuditDestination> = Vec::with_capacity(texts.len());
        for text in texts {
            let destination = text.parse()?;
            if all.contains(&destination) {
                return Err(format!("must name {destination} once"));
            }
            all.push(destination);
        }
        Ok(all)
    }
}

impl AuditDestination {
    /// The kind, as metrics name it.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::File(_) => "file",
            Self::SyslogUnix(_) | Self::SyslogUdp(_) | Self::SyslogTcp(_) => "syslog",
            Self::Otlp => "otlp",
        }
    }
}

impl FromStr for AuditDestination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || {
            format!(
                "must be stdout, file:/path, syslog:unix:/path, syslog:udp://host:port, syslog:tcp://host:port or otlp; this is `{text}`"
            )
        };
        let absolute = |path: &str| {
            let path = PathBuf::from(path);
            path.is_absolute().then_some(path).ok_or_else(wrong)
        };
        let authority = |text: &str| {
            let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
            let is_host = !host.is_empty() && !host.contains(['/', '@', '?', '#', ' ']);
            let is_bracketed = host.starts_with('[') && host.ends_with(']');
            let has_port = port.parse::<u16>().is_ok_and(|port| port > 0);
            let is_one = is_host && has_port && (is_bracketed || !host.contains(':'));
            is_one.then(|| text.to_owned()).ok_or_else(wrong)
        };
        match text {
            "stdout" => Ok(Self::Stdout),
            "otlp" => Ok(Self::Otlp),
            _ => {
                if let Some(path) = text.strip_prefix("file:") {
                    absolute(path).map(Self::File)
                } else if let Some(path) = text.strip_prefix("syslog:unix:") {
                    absolute(path).map(Self::SyslogUnix)
                } else if let Some(to) = text.strip_prefix("syslog:udp://") {
                    authority(to).map(Self::SyslogUdp)
                } else if let Some(to) = text.strip_prefix("syslog:tcp://") {
                    authority(to).map(Self::SyslogTcp)
                } else {
                    Err(wrong())
                }
            }
        }
    }
}

impl std::fmt::Display for AuditDestination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Stdout => f.write_str("stdout"),
            Self::File(path) => write!(f, "file:{}", path.display()),
            Self::SyslogUnix(path) => write!(f, "syslog:unix:{}", path.display()),
            Self::SyslogUdp(to) => write!(f, "syslog:udp://{to}"),
            Self::SyslogTcp(to) => write!(f, "syslog:tcp://{to}"),
            Self::Otlp => f.write_str("otlp"),
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    #[test]
    fn destinations_of_audit_events_are_read_and_others_refused() {
        for text in [
            "stdout",
            "file:/var/log/carnet/audit.jsonl",
            "syslog:unix:/dev/log",
            "syslog:udp://siem.example:514",
            "syslog:tcp://[::1]:601",
            "otlp",
        ] {
            assert_eq!(text.parse::<AuditDestination>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "stderr",
            "file:relative.jsonl",
            "syslog:unix:log",
            "syslog:udp://siem.example",
            "syslog:tcp://siem.example:0",
            "syslog:tcp://u@siem.example:601",
            "syslog:tcp://::1:601",
            "syslog:tls://siem.example:6514",
        ] {
            assert!(text.parse::<AuditDestination>().is_err(), "{text}");
        }
        let twice = AuditDestinations::Several(vec!["otlp".to_owned(), "otlp".to_owned()]);
        assert_eq!(twice.parse().unwrap_err(), "must name otlp once");
    }

    #[test]
    fn a_collector_is_a_plain_url_and_its_headers_are_lines() {
        assert_eq!(
            endpoint("http://collector:4318").unwrap().as_str(),
            "http://collector:4318/"
        );
        for text in [
            "collector:4318",
            "http://u:p@collector",
            "http://collector/?a",
            "grpc://c",
        ] {
            assert!(endpoint(text).is_err(), "{text}");
        }
        let read = headers("# ours\nAuthorization: Bearer a:b\n\nX-Scope: carnet\n").unwrap();
        let read: Vec<_> = read
            .iter()
            .map(|(name, value)| (name.as_str(), value.expose_secret()))
            .collect();
        assert_eq!(
            read,
            [("Authorization", "Bearer a:b"), ("X-Scope", "carnet")]
        );
        let error = headers("Authorization Bearer hunter2").unwrap_err();
        assert!(
            error.starts_with("line 1 ") && !error.contains("hunter2"),
            "{error}"
        );
    }
}
