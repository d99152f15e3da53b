//! Uploads in the registries' own protocols.

use std::io::{Cursor, Read as _};

use carnet_publish_protocols::{Limits, Protocol, RequestHead, classify, read};

/// Input: a byte for the protocol, the method and the path up to the end of the line, and the body. What is read from an upload is
/// the same each time, and within the limits.
pub fn upload(input: &[u8]) {
    let Some((kind, rest)) = input.split_first() else {
        return;
    };
    let end = rest
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(rest.len());
    let Some((method, path)) = std::str::from_utf8(&rest[..end])
        .ok()
        .and_then(|line| line.split_once(' '))
    else {
        return;
    };
    let body = rest.get(end + 1..).unwrap_or_default();
    let protocol = Protocol::ALL[usize::from(*kind) % Protocol::ALL.len()];
    let content_type = content_type(protocol, body);
    let head = RequestHead {
        method,
        path,
        content_type: content_type.as_deref(),
        content_length: None,
    };
    let Some(request) = classify(protocol, &head) else {
        return;
    };
    let limits = Limits {
        body: 1 << 20,
        metadata: 64 << 10,
        packument: 256 << 10,
        entries: 1000,
        unpacked: 4 << 20,
        parts: 64,
    };
    let Ok(publication) = read(&request, &mut Cursor::new(body), &limits) else {
        return;
    };
    let again = read(&request, &mut Cursor::new(body), &limits);
    assert!(
        again.is_ok_and(|again| format!("{again:?}") == format!("{publication:?}")),
        "read twice, it says two things"
    );
    for file in &publication.files {
        let mut content = Vec::new();
        file.open(&mut Cursor::new(body))
            .unwrap()
            .read_to_end(&mut content)
            .unwrap();
        assert_eq!(content.len() as u64, file.length);
    }
}

/// The media type of a body as its client says it. The boundary of a form is its first line.
fn content_type(protocol: Protocol, body: &[u8]) -> Option<String> {
    let line = body.split(|byte| *byte == b'\r').next().unwrap_or_default();
    let boundary = std::str::from_utf8(line)
        .ok()
        .and_then(|line| line.strip_prefix("--"));
    match (protocol, boundary) {
        (Protocol::Npm, _) => Some("application/json".to_owned()),
        (Protocol::Pypi | Protocol::Nuget, Some(boundary)) => {
            Some(format!("multipart/form-data; boundary={boundary}"))
        }
        (Protocol::Rubygems, _) if body.is_empty() || body.contains(&b'=') => {
            Some("application/x-www-form-urlencoded".to_owned())
        }
        (Protocol::Rubygems, _) => Some("application/octet-stream".to_owned()),
        _ => None,
    }
}
