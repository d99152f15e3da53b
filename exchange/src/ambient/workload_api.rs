//! One call of the SPIFFE Workload API: `FetchJWTSVID`, a unary gRPC call over HTTP/2 without TLS.
//!
//! Two messages with three fields do not need a gRPC library: hyper, which is a dependency anyway,
//! speaks HTTP/2.

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http2;
use hyper::header::HeaderMap;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use secrecy::SecretString;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::retry::Failure;
use crate::web::excerpt;

const METHOD: &str = "http://localhost/SpiffeWorkloadAPI/FetchJWTSVID";
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Requests a JWT-SVID for this audience. A workload with several identities gets the first, which
/// is its default.
pub(super) async fn fetch_jwt_svid(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    audience: &str,
) -> Result<SecretString, Failure> {
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
        .await
        .map_err(|error| words(&error))?;
    let connection = tokio::spawn(connection);
    let request = Request::post(METHOD)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        // Required header, which protects the Workload API against server-side request forgery
        // (SPIFFE Workload Endpoint, section 6).
        .header("workload.spiffe.io", "true")
        .body(Full::new(Bytes::from(frame(&jwt_svid_request(audience)))))
        .map_err(|error| Failure::Final(error.to_string()))?;
    let answer = sender
        .send_request(request)
        .await
        .map_err(|error| words(&error));
    let token = match answer {
        Ok(answer) => read(answer).await,
        Err(error) => Err(error),
    };
    connection.abort();
    token
}

async fn read(answer: Response<hyper::body::Incoming>) -> Result<SecretString, Failure> {
    let (head, body) = answer.into_parts();
    if head.status != 200 {
        return Err(Failure::Final(format!("the answer was {}", head.status)));
    }
    let body = Limited::new(body, MAX_ANSWER_BYTES)
        .collect()
        .await
        .map_err(|error| Failure::Later(error.to_string()))?;
    // A call that fails at once carries its status in the headers (a trailers-only response of
    // gRPC).
    let trailers = body
        .trailers()
        .filter(|trailers| trailers.contains_key("grpc-status"));
    check_status(trailers.unwrap_or(&head.headers))?;
    let bytes = body.to_bytes();
    let message = unframe(&bytes).ok_or_else(|| nothing("the answer is not a gRPC message"))?;
    let token = first_token(message).ok_or_else(|| nothing("the answer holds no JWT-SVID"))?;
    Ok(token.to_owned().into())
}

fn nothing(why: &str) -> Failure {
    Failure::Final(why.to_owned())
}

fn check_status(trailers: &HeaderMap) -> Result<(), Failure> {
    let text = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        Some("0") => Ok(()),
        None => Err(nothing("the answer has no gRPC status")),
        Some(status) => {
            let message = text("grpc-message").unwrap_or("no message");
            let why = format!(
                "the Workload API refused (gRPC status {}): {}",
                excerpt(status),
                excerpt(message)
            );
            // 4 is DEADLINE_EXCEEDED, 14 UNAVAILABLE.
            Err(if matches!(status, "4" | "14") {
                Failure::Later(why)
            } else {
                Failure::Final(why)
            })
        }
    }
}

fn words(error: &hyper::Error) -> Failure {
    Failure::Later(carnet_outbound::causes(error))
}

/// Encodes a `JWTSVIDRequest`, whose field 1 is the audience.
fn jwt_svid_request(audience: &str) -> Vec<u8> {
    let mut message = vec![0x0a];
    let mut length = audience.len();
    while length >= 0x80 {
        message.push(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
        length >>= 7;
    }
    message.push(u8::try_from(length).unwrap_or_default());
    message.extend_from_slice(audience.as_bytes());
    message
}

/// Frames a message for gRPC: a zero byte for "uncompressed", the length in four bytes, the
/// message.
fn frame(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    [&[0], length.to_be_bytes().as_slice(), message].concat()
}

/// The message of an answer, which has to be the only one and uncompressed.
fn unframe(bytes: &[u8]) -> Option<&[u8]> {
    let (head, message) = bytes.split_at_checked(5)?;
    let (compressed, length) = head.split_first()?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    (*compressed == 0 && usize::try_from(length).ok()? == message.len()).then_some(message)
}

/// The token of the first `JWTSVID` (field 2) in a `JWTSVIDResponse` (field 1).
fn first_token(response: &[u8]) -> Option<&str> {
    let document = field(response, 1)?;
    std::str::from_utf8(field(document, 2)?)
        .ok()
        .filter(|token| !token.is_empty())
}

/// The first occurrence of a field of protobuf's wire type 2 (bytes); other fields are skipped.
fn field(mut message: &[u8], wanted: u64) -> Option<&[u8]> {
    while !message.is_empty() {
        let (key, rest) = varint(message)?;
        let (value, rest) = match key & 7 {
            0 => varint(rest).map(|(_, rest)| (&[][..], rest))?,
            1 => rest.split_at_checked(8)?,
            2 => {
                let (length, rest) = varint(rest)?;
                rest.split_at_checked(usize::try_from(length).ok()?)?
            }
            5 => rest.split_at_checked(4)?,
            _ => return None,
        };
        if key == (wanted << 3) | 2 {
            return Some(value);
        }
        message = rest;
    }
    None
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (position, byte) in bytes.iter().take(10).enumerate() {
        let shift = u32::try_from(position).ok()?.checked_mul(7)?;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return bytes
                .get(position.checked_add(1)?..)
                .map(|rest| (value, rest));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workload_api_messages_are_read_and_written() {
        assert_eq!(jwt_svid_request("ab"), [0x0a, 2, b'a', b'b']);
        let long = jwt_svid_request(&"x".repeat(300));
        assert_eq!((&long[..3], long.len()), (&[0x0a, 0xac, 0x02][..], 303));
        // An unknown number, a JWT-SVID with id, token and hint, and a second, empty one.
        let document = [&[0x0a, 1, b'i', 0x12, 3][..], b"a.b", &[0x1a, 1, b'h']].concat();
        let length = u8::try_from(document.len()).unwrap();
        let response = [&[0x18, 0x96, 0x01, 0x0a, length][..], &document, &[0x0a, 0]].concat();
        assert_eq!(unframe(&frame(&response)), Some(response.as_slice()));
        assert_eq!(first_token(&response), Some("a.b"));
    }

    #[test]
    fn broken_workload_api_messages_are_not_read() {
        for wrong in [
            &[][..],
            &[0x0a],
            &[0x0a, 0],
            &[0x0a, 5, 1],
            &[0x0b, 0],
            &[0x0a, 2, 0x12, 0],
            &[
                0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1,
            ],
            &[0x0a, 4, 0x12, 2, 0xff, 0xfe],
        ] {
            assert_eq!(first_token(wrong), None, "{wrong:?}");
        }
        for wrong in [
            &[][..],
            &[0, 0, 0, 0],
            &[0, 0, 0, 0, 1],
            &[1, 0, 0, 0, 1, 7],
            &[0, 0, 0, 0, 1, 7, 8],
        ] {
            assert_eq!(unframe(wrong), None, "{wrong:?}");
        }
        assert_eq!(unframe(&[0, 0, 0, 0, 1, 7]), Some(&[7][..]));
    }
}
