//! The request that is being answered, as the task that answers it knows it: the id that every line
//! of its log and its answer carry, and its trace.

use std::future::Future;

use super::traces::{RequestTrace, Step};
use crate::clock::Timestamp;
use crate::ids::{self, EventId};
use crate::reason::Reason;

/// The longest id of a request that is taken over from a proxy, in characters.
const MAX_ID_CHARACTERS: usize = 128;

tokio::task_local! {
    static CURRENT: CurrentRequest;
}

/// A request on its way through the server.
#[derive(Debug)]
pub struct CurrentRequest {
    /// The id of the audit event of a token request. Without a proxy's id it is also the id of the
    /// request, so that one random number serves both.
    event: EventId,
    /// The id that a trusted proxy gave the request.
    given: Option<Box<str>>,
    trace: Option<RequestTrace>,
}

impl CurrentRequest {
    /// A request that begins now. `given` is the id of a trusted proxy, which has to have the form
    /// of [`is_request_id`].
    pub fn new(now: Timestamp, given: Option<&str>, trace: Option<RequestTrace>) -> Self {
        Self {
            event: EventId::new(now),
            given: given.map(Box::from),
            trace,
        }
    }

    /// The id of the request: that of the proxy, or else 26 letters and digits, the `error_id`
    /// without its prefix.
    pub fn id(&self) -> String {
        match &self.given {
            Some(given) => given.to_string(),
            None => ids::base32(self.event.0),
        }
    }
}

/// Whether a text may be taken over as the id of a request: 1 to 128 of the characters `A-Z a-z 0-9
/// . _ -`, which mean nothing in a log.
pub fn is_request_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=MAX_ID_CHARACTERS).contains(&text.len()) && text.bytes().all(allowed)
}

/// Does the work of a request.
pub fn within<W: Future>(request: CurrentRequest, work: W) -> impl Future<Output = W::Output> {
    CURRENT.scope(request, work)
}

/// The id for the audit event of the current request.
pub fn event_id(now: Timestamp) -> EventId {
    let current = CURRENT.try_with(|request| request.event);
    current.unwrap_or_else(|_| EventId::new(now))
}

/// The span of one step of the current request, until the value is dropped. Without a trace it is
/// nothing.
pub fn step(name: &'static str) -> Option<Step> {
    let current = CURRENT.try_with(|request| Some(request.trace.as_ref()?.step(name)));
    current.ok().flatten()
}

/// Notes the reason for which the current request is refused, for its trace.
pub fn note_refusal(reason: Reason) {
    let note = |request: &CurrentRequest| {
        if let Some(trace) = &request.trace {
            trace.note_refusal(reason.code());
        }
    };
    CURRENT.try_with(note).ok();
}

/// Ends the trace of the current request, and returns its id for the answer.
pub fn answered(status: u16) -> Option<String> {
    let end = |request: &CurrentRequest| {
        let id = request.id();
        if let Some(trace) = &request.trace {
            trace.end(status, &id);
        }
        id
    };
    CURRENT.try_with(end).ok()
}

/// Writes the members `request_id` and `trace_id` of a line of the log: `write` gets name and value.
/// Neither has a character that has to be escaped.
pub(super) fn describe(mut write: impl FnMut(&'static str, &str)) {
    let describe = |request: &CurrentRequest| {
        write("request_id", &request.id());
        if let Some(trace) = &request.trace {
            write("trace_id", &trace.id());
        }
    };
    CURRENT.try_with(describe).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_proxies_have_harmless_characters_and_a_limit() {
        for good in ["a", "01KB-x_y.z", &"a".repeat(128)] {
            assert!(is_request_id(good), "{good}");
        }
        for bad in ["", "a b", "a\nb", "a\"b", "é", "a/b", &"a".repeat(129)] {
            assert!(!is_request_id(bad), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_generated_id_is_that_of_the_event_and_a_given_one_is_kept() {
        let now = Timestamp::from_seconds(1_800_000_000);
        for given in [None, Some("proxy-7")] {
            let request = CurrentRequest::new(now, given, None);
            let id = request.id();
            within(request, async {
                let event = event_id(now).to_string();
                assert_eq!(given.is_none(), event == format!("ev_{id}"));
                let mut shown = Vec::new();
                describe(|name, value| shown.push((name, value.to_owned())));
                assert_eq!(shown, [("request_id", id.clone())]);
                assert_eq!(answered(200), Some(id.clone()));
            })
            .await;
        }
        assert!(answered(200).is_none());
    }
}
