//! The URI of a request in the one spelling in which `htu` is compared (RFC 9449 section 4.3;
//! decision D-48).

use std::fmt;

/// An http or https URI without query and fragment, after syntax-based and scheme-based
/// normalisation (after RFC 3986 sections 6.2.2 and 6.2.3): scheme and host in lower case, no default
/// port, unreserved characters not percent-encoded, no dot segments, and `/` for an empty path. The
/// path is otherwise compared byte for byte: letter case and a slash at its end count.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequestUri(String);

impl RequestUri {
    /// Normalises an absolute URI; its query and fragment are dropped. `None` for other schemes,
    /// for user information, and for characters that no URI has.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let (scheme, default_port) = match scheme.to_ascii_lowercase().as_str() {
            "https" => ("https", "443"),
            "http" => ("http", "80"),
            _ => return None,
        };
        let rest = rest.split(['?', '#']).next()?;
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at_checked(at)?,
            None => (rest, ""),
        };
        let (host, port) = host_and_port(authority)?;
        let path = without_dot_segments(&decode_unreserved(path)?);
        let port = match port {
            Some(port) if !port.is_empty() && port != default_port => format!(":{port}"),
            _ => String::new(),
        };
        let host = host.to_ascii_lowercase();
        Some(Self(format!("{scheme}://{host}{port}{path}")))
    }

    /// The normalised URI.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for RequestUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Splits an authority without user information. Only the characters of host names and of IP
/// addresses are allowed.
fn host_and_port(authority: &str) -> Option<(&str, Option<&str>)> {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    };
    let is_address = host.starts_with('[') && host.ends_with(']');
    let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    let numbered = |byte: u8| byte.is_ascii_hexdigit() || matches!(byte, b'[' | b']' | b':' | b'.');
    let is_host = !host.is_empty()
        && host.bytes().all(|byte| {
            if is_address {
                numbered(byte)
            } else {
                named(byte)
            }
        });
    let is_port = port.is_none_or(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    (is_host && is_port).then_some((host, port))
}

/// Decodes what is percent-encoded without need (RFC 3986 section 6.2.2.2). `None` for characters
/// that a path cannot have.
fn decode_unreserved(path: &str) -> Option<String> {
    let mut decoded = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(character) = rest.chars().next() {
        rest = rest.get(character.len_utf8()..)?;
        if character != '%' {
            if !is_of_path(character) {
                return None;
            }
            decoded.push(character);
            continue;
        }
        let code = rest.get(..2)?;
        rest = rest.get(2..)?;
        if !code.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        match u8::from_str_radix(code, 16).map(char::from) {
            Ok(plain) if is_unreserved(plain) => decoded.push(plain),
            _ => decoded.extend(['%'].into_iter().chain(code.chars())),
        }
    }
    Some(decoded)
}

fn is_unreserved(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '-' | '.' | '_' | '~')
}

fn is_of_path(character: char) -> bool {
    is_unreserved(character) || "/:@!$&'()*+,;=".contains(character)
}

/// Removes `.` and `..` (RFC 3986 section 5.2.4).
fn without_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = path.split('/').skip(1).peekable();
    while let Some(segment) = segments.next() {
        let is_last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            _ => {
                kept.push(segment);
                continue;
            }
        }
        // What a dot segment at the end names is a folder.
        if is_last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}
