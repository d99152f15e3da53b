//! Sending a request again: after which outcomes, how often, and for how long.

use std::fmt;
use std::time::Duration;

use reqwest::{RequestBuilder, StatusCode};
use serde_json::Value;
use tokio::time::Instant;
use url::Url;

use crate::web::{WebAnswer, WebError, place, printable, send_once};

/// How often a request is sent, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tries {
    /// The most requests that are sent.
    pub count: usize,
    /// The longest time for one of them, from name resolution to the last byte.
    pub each: Duration,
    /// The longest time for all of them, with the pauses between.
    pub total: Duration,
    /// The first pause; each further one is three times as long. `Retry-After` replaces it.
    pub pause: Duration,
}

impl Tries {
    /// For requests without effects: platforms and metadata.
    pub const LOOKUP: Self = Self {
        count: 3,
        each: Duration::from_secs(10),
        total: Duration::from_secs(30),
        pause: Duration::from_secs(1),
    };
    /// For token requests. The server itself gives up after 20 seconds (`server.request_seconds`),
    /// and its answer needs a moment more.
    pub const TOKEN: Self = Self {
        each: Duration::from_secs(25),
        total: Duration::from_mins(1),
        ..Self::LOOKUP
    };
    /// For requests that change something, such as those to the admin API.
    pub const CHANGE: Self = Self {
        each: Duration::from_secs(30),
        ..Self::TOKEN
    };
}

/// The limits of the two kinds of requests that an exchange makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For platforms, the server's metadata and explanations.
    pub lookups: Tries,
    /// For token requests.
    pub tokens: Tries,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            lookups: Tries::LOOKUP,
            tokens: Tries::TOKEN,
        }
    }
}

/// Which outcomes of a request are worth another try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// The request has no effects, so any temporary failure is.
    Harmless,
    /// The same, and a platform's 403 for a job that it has not registered yet: GitHub says that
    /// the job is in the state "Pending".
    PlatformToken,
    /// The request presents an assertion. If the first request was recorded and its answer lost,
    /// the server answers the second with `replay` and issues nothing, or issues a second token where
    /// the trusted issuer's assertions may be used repeatedly. So a lost answer is worth another try.
    /// Answers of the server itself are not, unless they are temporary.
    SameAssertion,
    /// The request changes something: only what certainly did nothing is.
    OnlyUnbegun,
}

/// What became of the earlier tries of one request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// How often the request was sent before the last time.
    earlier: usize,
    /// What those tries ended with, each outcome once.
    outcomes: Vec<String>,
    /// Whether the server may have done what an earlier request asked for: it was sent, and no
    /// answer of the server itself came back.
    pub answer_lost: bool,
    /// The pause that the last answer asks for, where it is longer than the time that was left.
    asked_pause: Option<Duration>,
}

impl Tried {
    /// Whether the request was sent before.
    pub fn is_repeated(&self) -> bool {
        self.earlier > 0
    }

    fn add(&mut self, outcome: String) {
        self.earlier = self.earlier.saturating_add(1);
        if !self.outcomes.contains(&outcome) {
            self.outcomes.push(outcome);
        }
    }

    /// Leaves out what the last try ended with as well, since its message says so itself.
    fn ended_with(mut self, last: &str) -> Self {
        self.outcomes.retain(|outcome| outcome != last);
        self
    }
}

/// The end of a message: nothing after a single try.
impl fmt::Display for Tried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.earlier > 0 {
            write!(f, " (tried {} times", self.earlier.saturating_add(1))?;
            if !self.outcomes.is_empty() {
                write!(f, "; before that: {}", self.outcomes.join(", "))?;
            }
            f.write_str(")")?;
        }
        match self.asked_pause {
            Some(pause) => write!(
                f,
                " (the server asks to wait {} s, longer than this command does)",
                pause.as_secs()
            ),
            None => Ok(()),
        }
    }
}

/// Whether another try makes sense after an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// It is final.
    Final,
    /// The request had no effect.
    Unbegun,
    /// The request may have had its effect.
    Lost,
}

/// Whether a status says that a platform or a proxy cannot answer now.
pub fn is_temporary(status: StatusCode) -> bool {
    is_too_early(status) || status.is_server_error()
}

/// 408, 425 and 429: the request was not processed.
fn is_too_early(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS
    )
}

impl Repeat {
    fn judge(self, outcome: &Result<WebAnswer, WebError>) -> Verdict {
        let answer = match outcome {
            Ok(answer) => answer,
            Err(WebError::Unreachable { .. }) => return Verdict::Unbegun,
            Err(WebError::Lost { .. }) if self != Self::OnlyUnbegun => return Verdict::Lost,
            Err(_) => return Verdict::Final,
        };
        let status = answer.status;
        let again = match self {
            Self::Harmless => is_temporary(status),
            Self::PlatformToken => is_temporary(status) || is_pending(answer),
            Self::SameAssertion if is_too_early(status) => true,
            Self::SameAssertion => return lost_on_the_way(answer),
            Self::OnlyUnbegun => {
                status == StatusCode::TOO_MANY_REQUESTS
                    || (status == StatusCode::SERVICE_UNAVAILABLE && answer.retry_after.is_some())
            }
        };
        if again {
            Verdict::Unbegun
        } else {
            Verdict::Final
        }
    }
}

/// Judges an answer to a token request. 502, 503 and 504 come from a proxy, which may have passed
/// the request on. A 503 of the server itself means that it gave up; if its deadline ended while the
/// commit ran, the token may be recorded all the same.
fn lost_on_the_way(answer: &WebAnswer) -> Verdict {
    let of_server = answer.json().get("error").is_some_and(Value::is_string);
    match answer.status {
        StatusCode::SERVICE_UNAVAILABLE => Verdict::Lost,
        StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT if !of_server => Verdict::Lost,
        _ => Verdict::Final,
    }
}

/// Whether GitHub refuses a token because the job is not running yet.
pub fn is_pending(answer: &WebAnswer) -> bool {
    answer.status == StatusCode::FORBIDDEN
        && String::from_utf8_lossy(&answer.body)
            .to_ascii_lowercase()
            .contains("pending")
}

/// Calls `attempt` until it succeeds, fails for good or the tries are used up. It is given the time
/// that it may take; `what` names it in the announcement of a further try.
pub async fn call_again<T>(
    what: &str,
    tries: Tries,
    mut attempt: impl AsyncFnMut(Duration) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let begin = Instant::now();
    let mut pause = tries.pause;
    for _ in 1..tries.count {
        let left = tries.total.saturating_sub(begin.elapsed());
        let why = match attempt(tries.each.min(left)).await {
            Err(Failure::Later(why)) if begin.elapsed().saturating_add(pause) < tries.total => why,
            outcome => return outcome,
        };
        announce(what, &why, pause);
        tokio::time::sleep(pause).await;
        pause = pause.saturating_mul(3);
    }
    let left = tries.total.saturating_sub(begin.elapsed());
    attempt(tries.each.min(left)).await
}

/// Why a call other than an HTTP request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It may succeed later.
    Later(String),
    /// It is final.
    Final(String),
}

fn announce(what: &str, why: &str, pause: Duration) {
    let why = printable(why);
    eprintln!("{what}: {why}; trying again in {} s", pause.as_secs_f32());
}

/// Sends a request until its outcome is final or the tries are used up, and returns the last
/// outcome, which says what was tried before. Each further try is announced on standard error.
pub async fn send_again(
    url: &Url,
    request: RequestBuilder,
    repeat: Repeat,
    tries: Tries,
) -> Result<WebAnswer, WebError> {
    let begin = Instant::now();
    let mut history = Tried::default();
    let mut usual_pause = tries.pause;
    loop {
        let Some(again) = request.try_clone() else {
            return send_once(url, request, tries.each).await;
        };
        let left = tries.total.saturating_sub(begin.elapsed());
        let outcome = send_once(url, again, tries.each.min(left)).await;
        let verdict = repeat.judge(&outcome);
        if verdict == Verdict::Final || history.earlier.saturating_add(1) >= tries.count {
            return with(outcome, history);
        }
        let asked = outcome.as_ref().ok().and_then(|answer| answer.retry_after);
        let pause = asked.unwrap_or(usual_pause);
        if begin.elapsed().saturating_add(pause) >= tries.total {
            history.asked_pause = asked;
            return with(outcome, history);
        }
        let said = summary(&outcome);
        announce(&place(url), &said, pause);
        history.answer_lost |= verdict == Verdict::Lost;
        history.add(said);
        tokio::time::sleep(pause).await;
        usual_pause = usual_pause.saturating_mul(3);
    }
}

fn with(outcome: Result<WebAnswer, WebError>, tried: Tried) -> Result<WebAnswer, WebError> {
    let tried = tried.ended_with(&summary(&outcome));
    match outcome {
        Ok(answer) => Ok(WebAnswer { tried, ..answer }),
        Err(WebError::Unreachable { place, why, .. }) => Err(WebError::Unreachable {
            place,
            why,
            tried: Box::new(tried),
        }),
        Err(WebError::Lost { place, why, .. }) => Err(WebError::Lost {
            place,
            why,
            tried: Box::new(tried),
        }),
        Err(other) => Err(other),
    }
}

/// An outcome in a few words, without the URL.
fn summary(outcome: &Result<WebAnswer, WebError>) -> String {
    match outcome {
        Ok(answer) => answer.status.to_string(),
        Err(WebError::Unreachable { why, .. }) => printable(&format!("no connection ({why})")),
        Err(WebError::Lost { why, .. }) => printable(&format!("no answer ({why})")),
        Err(other) => printable(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUICK: Tries = Tries {
        count: 3,
        each: Duration::from_secs(1),
        total: Duration::from_secs(2),
        pause: Duration::from_millis(1),
    };

    /// How many of these outcomes a call with further tries leaves unused, and how it ends.
    async fn called(
        outcomes: &[Result<u8, Failure>],
        tries: Tries,
    ) -> (usize, Result<u8, Failure>) {
        let mut left = outcomes.iter().cloned();
        let outcome = call_again("place", tries, async |limit: Duration| {
            assert!(limit <= tries.each);
            left.next().unwrap()
        });
        let outcome = outcome.await;
        (left.len(), outcome)
    }

    #[tokio::test]
    async fn a_call_is_made_again_while_it_may_succeed_later_and_tries_are_left() {
        let later = || Err(Failure::Later("busy".to_owned()));
        let last = || Err(Failure::Final("no".to_owned()));
        for outcomes in [
            vec![Ok(1)],
            vec![later(), Ok(1)],
            vec![later(), later(), Ok(1)],
            vec![later(), later(), later()],
            vec![last()],
            vec![later(), last()],
        ] {
            let end = outcomes.last().cloned().unwrap();
            assert_eq!(called(&outcomes, QUICK).await, (0, end), "{outcomes:?}");
        }
        for outcomes in [vec![Ok(1), Ok(2)], vec![last(), Ok(1)]] {
            let end = outcomes.first().cloned().unwrap();
            assert_eq!(called(&outcomes, QUICK).await, (1, end), "{outcomes:?}");
        }
        let four = [later(), later(), later(), Ok(1)];
        assert_eq!(called(&four, QUICK).await, (1, later()));
        // A pause that does not fit into the time is not begun.
        let hasty = Tries {
            pause: Duration::from_secs(3),
            ..QUICK
        };
        assert_eq!(called(&[later(), Ok(1)], hasty).await, (1, later()));
    }
}
