//! Where the body of a publication ends, and what becomes of one that nobody wants.

use std::time::Duration;

use bytes::Bytes;
use carnet_publish_protocols::Protocol;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, EXPECT, TRAILER, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Version};
use http_body::Body;
use http_body_util::BodyExt as _;

use crate::gateway::length;
use crate::refusal::{Kind, Refusal};

/// How many bytes of a refused request are taken.
const MOST_DISCARDED: u64 = 64 * 1024 * 1024;
/// How long they may take.
const DISCARDING: Duration = Duration::from_secs(5);

/// Takes the rest of a request that is refused: a proxy that is still sending it would answer 502 in
/// the place of the refusal.
pub(crate) async fn discard<B>(headers: &HeaderMap, body: &mut B)
where
    B: Body<Data = Bytes> + Unpin,
{
    // Who asks first, or announces more, is told at once.
    let is_long = length(headers).is_some_and(|length| length > MOST_DISCARDED);
    if is_long || headers.contains_key(EXPECT) {
        return;
    }
    let taking = async {
        let mut left = MOST_DISCARDED;
        while let Some(Ok(frame)) = body.frame().await {
            let length = frame.data_ref().map_or(0, Bytes::len);
            left = left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
            if left == 0 {
                return;
            }
        }
    };
    // What takes longer is not waited for.
    let _ = tokio::time::timeout(DISCARDING, taking).await;
}

/// The announced length of the body. Its framing is the gateway's own: what two servers could find
/// different ends of, or what has to be decoded first, is not taken. Of the tools only
/// `dotnet nuget push` sends chunks, and where chunks come with a length, hyper shows the chunks alone.
pub(crate) fn framing(protocol: Protocol, parts: &Parts) -> Result<Option<u64>, Refusal> {
    let headers = &parts.headers;
    let malformed = |text: &str| Refusal::new(Kind::Malformed, "malformed", text);
    if headers.contains_key(CONTENT_ENCODING) {
        return Err(malformed("the request must come without Content-Encoding"));
    }
    let kinds: Vec<&HeaderValue> = headers.get_all(CONTENT_TYPE).iter().collect();
    if kinds.len() > 1 || kinds.iter().any(|kind| kind.to_str().is_err()) {
        return Err(malformed(
            "the request must have one Content-Type, in ASCII",
        ));
    }
    if headers.contains_key(TRAILER) {
        return Err(malformed("the request must come without trailers"));
    }
    let is_usual = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if headers.get(EXPECT).is_some_and(|value| !is_usual(value)) {
        return Err(malformed("Expect must be 100-continue"));
    }
    if !headers.contains_key(TRANSFER_ENCODING) {
        // In HTTP/2 the frames tell where the body ends.
        let is_framed = parts.version == Version::HTTP_2;
        return Ok(length(headers).or((!is_framed).then_some(0)));
    }
    if protocol == Protocol::Nuget {
        return Ok(None);
    }
    Err(Refusal::new(
        Kind::NoLength,
        "length_required",
        "the request must state its length (Content-Length) and not be chunked",
    ))
}

/// Whether the method announces a body, so that an empty one is announced as well.
pub(crate) fn call_has_body(method: &Method) -> bool {
    matches!(*method, Method::PUT | Method::POST)
}
