//! Why there is no access token, with the exit code for scripts.

use std::fmt;

use serde_json::Value;

/// What a script can do about a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The server or the platform said no, or there is no token that may be sent.
    Refused,
    /// An option has to be written otherwise.
    Usage,
    /// Nobody said no: the same command may succeed later.
    NoAnswer,
}

/// Why there is no access token, in lines of text for the log of the job.
#[derive(Clone, Debug, PartialEq)]
pub struct ExchangeError {
    kind: Kind,
    text: String,
    /// The reason code of the server's refusal.
    reason: Option<String>,
    /// The server's answer, if it refused.
    answer: Option<Box<Value>>,
    /// Further lines for the log of the job, such as the claims of its token.
    notes: Vec<String>,
}

impl std::error::Error for ExchangeError {}

impl fmt::Display for ExchangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        self.notes.iter().try_for_each(|line| write!(f, "\n{line}"))
    }
}

impl ExchangeError {
    fn new(kind: Kind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            reason: None,
            answer: None,
            notes: Vec::new(),
        }
    }

    /// A no: trying again does not help.
    pub(crate) fn refused(text: impl Into<String>) -> Self {
        Self::new(Kind::Refused, text)
    }

    /// An option has to be written otherwise.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(Kind::Usage, text)
    }

    /// No answer, or one that says "later".
    pub(crate) fn no_answer(text: impl Into<String>) -> Self {
        Self::new(Kind::NoAnswer, text)
    }

    /// Adds the server's answer, which refuses the request.
    #[must_use]
    pub(crate) fn with_answer(mut self, answer: Value) -> Self {
        let text = |name: &str| answer.get(name).and_then(Value::as_str).map(str::to_owned);
        self.reason = text("reason").or_else(|| text("error"));
        self.answer = Some(Box::new(answer));
        self
    }

    /// Adds lines for the log of the job.
    #[must_use]
    pub(crate) fn with_notes(mut self, lines: impl IntoIterator<Item = String>) -> Self {
        self.notes.extend(lines);
        self
    }

    /// 1 for a refusal, 2 for wrong usage, 3 where nobody said no: the server or the platform cannot
    /// be reached, gave no answer, or says that it cannot answer now.
    pub const fn exit_code(&self) -> u8 {
        match self.kind {
            Kind::Refused => 1,
            Kind::Usage => 2,
            Kind::NoAnswer => 3,
        }
    }

    /// The server's answer, if it refused the request.
    pub fn answer(&self) -> Option<&Value> {
        self.answer.as_deref()
    }

    /// The heading for an annotation of the job.
    pub(crate) fn title(&self) -> String {
        let why = match (self.kind, self.reason.as_deref()) {
            (_, Some(reason)) => reason,
            (Kind::Refused, None) => "refused",
            (Kind::Usage, None) => "wrong usage",
            (Kind::NoAnswer, None) => "no answer",
        };
        format!("No registry token: {why}")
    }

    /// The text for an annotation of the job.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}
