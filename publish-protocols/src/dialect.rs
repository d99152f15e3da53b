//! How a refusal is answered, so that the tools of the protocol print its text.

use serde_json::json;

use crate::Protocol;

/// Why a publishing request is refused. It decides the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// There is no credential, or it is not valid here.
    Unauthenticated,
    /// The credential does not allow the operation.
    Denied,
    /// The request is not one of the protocol, or cannot be read.
    Malformed,
    /// The request is larger than is taken.
    TooLarge,
    /// The version or the file exists, and is never replaced.
    Exists,
    /// The client has sent too many requests.
    TooMany,
    /// The request cannot be decided at the moment; the same request may succeed later.
    Unavailable,
    /// The registry behind the gateway does not answer, or not understandably.
    BadGateway,
    /// The registry itself failed.
    Failed,
}

/// An answer, for any HTTP library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// The body.
    pub body: String,
    /// The reason phrase of the status line in HTTP/1.1, printable ASCII, where the tools print it and not the body: twine, NuGet.
    pub reason_phrase: Option<String>,
}

/// The answer to a refused request. `text` is what the user of the tool reads.
pub fn refusal(protocol: Protocol, refused: Refused, text: &str) -> Answer {
    let (content_type, body) = match protocol {
        // npm prints `error`, and pnpm `message`.
        Protocol::Npm => (JSON, json!({ "error": text, "message": text }).to_string()),
        Protocol::CratesIo => (JSON, json!({ "errors": [{ "detail": text }] }).to_string()),
        Protocol::Pypi | Protocol::Rubygems | Protocol::Nuget => (PLAIN, format!("{text}\n")),
    };
    let printable = || text.chars().filter(|c| matches!(c, ' '..='~')).collect();
    Answer {
        status: status(protocol, refused),
        content_type,
        body,
        reason_phrase: (content_type == PLAIN).then(printable),
    }
}

const JSON: &str = "application/json";
const PLAIN: &str = "text/plain; charset=utf-8";

/// For a version that exists, PyPI answers 400 and npm 403, and their tools expect it. A bad token is 403 instead of 401 (RFC 6750
/// section 3.1) for npm, which prints advice of its own instead of the text of a 401, and for NuGet, whose clients take a 401 for
/// a request to ask the user for a password.
fn status(protocol: Protocol, refused: Refused) -> u16 {
    match (refused, protocol) {
        (Refused::Unauthenticated, Protocol::Npm | Protocol::Nuget)
        | (Refused::Exists, Protocol::Npm)
        | (Refused::Denied, _) => 403,
        (Refused::Exists, Protocol::Pypi) | (Refused::Malformed, _) => 400,
        (Refused::Unauthenticated, _) => 401,
        (Refused::Exists, _) => 409,
        (Refused::TooLarge, _) => 413,
        (Refused::TooMany, _) => 429,
        (Refused::Failed, _) => 500,
        (Refused::BadGateway, _) => 502,
        (Refused::Unavailable, _) => 503,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_text_is_where_the_tools_of_the_protocol_look() {
        let text = "the caf\u{e9} \"x\"\r\nis closed";
        let answer = |protocol| refusal(protocol, Refused::Denied, text);
        let json = |protocol| -> serde_json::Value {
            serde_json::from_str(&answer(protocol).body).unwrap()
        };
        assert_eq!(
            json(Protocol::Npm),
            json!({ "error": text, "message": text })
        );
        assert_eq!(
            json(Protocol::CratesIo),
            json!({ "errors": [{ "detail": text }] })
        );
        assert_eq!(answer(Protocol::Npm).reason_phrase, None);
        for protocol in [Protocol::Pypi, Protocol::Rubygems, Protocol::Nuget] {
            let answer = answer(protocol);
            assert_eq!(answer.body, format!("{text}\n"));
            assert_eq!(answer.content_type, "text/plain; charset=utf-8");
            let phrase = answer.reason_phrase.unwrap();
            assert_eq!(phrase, "the caf \"x\"is closed");
        }
    }

    #[test]
    fn each_status_is_one_that_the_tools_do_not_misread() {
        let all = [
            Refused::Unauthenticated,
            Refused::Denied,
            Refused::Malformed,
            Refused::TooLarge,
            Refused::Exists,
            Refused::TooMany,
            Refused::Unavailable,
            Refused::BadGateway,
            Refused::Failed,
        ];
        for (protocol, expected) in [
            (
                Protocol::Pypi,
                [401, 403, 400, 413, 400, 429, 503, 502, 500],
            ),
            (Protocol::Npm, [403, 403, 400, 413, 403, 429, 503, 502, 500]),
            (
                Protocol::CratesIo,
                [401, 403, 400, 413, 409, 429, 503, 502, 500],
            ),
            (
                Protocol::Rubygems,
                [401, 403, 400, 413, 409, 429, 503, 502, 500],
            ),
            (
                Protocol::Nuget,
                [403, 403, 400, 413, 409, 429, 503, 502, 500],
            ),
        ] {
            let got = all.map(|refused| refusal(protocol, refused, "no").status);
            assert_eq!(got, expected, "{protocol:?}");
        }
    }
}
