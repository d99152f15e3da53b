//! What a request says of itself, unverified, for the log line of its refusal.

use std::sync::{Arc, OnceLock};

use serde_json::Value;

use crate::assertion::UnverifiedAssertion;
use crate::form::TokenForm;

/// Characters of a value that are logged: the caller chooses its length.
const MAX_CHARACTERS: usize = 128;

/// Facts about a request for the log. The code that reads the form sets them.
#[derive(Clone, Debug, Default)]
pub struct Sent(Arc<Facts>);

#[derive(Debug, Default)]
struct Facts {
    client: OnceLock<String>,
    assertion: OnceLock<SentAssertion>,
}

/// The assertion and the registry of a refused request.
#[derive(Debug, Default)]
pub(super) struct SentAssertion {
    pub iss: Option<String>,
    pub sub: Option<String>,
    pub resource: Option<String>,
}

impl Sent {
    /// Notes the `client_id`. Later calls change nothing.
    pub fn note_client(&self, client_id: &str) {
        self.0.client.set(cut(client_id)).ok();
    }

    /// Notes `iss` and `sub` of the assertion in a form, and the registry that is asked for. Only
    /// for refused requests, since the assertion is parsed once more.
    pub fn note_assertion(&self, form: &TokenForm<'_>) {
        let text = ["assertion", "subject_token", "client_assertion"]
            .iter()
            .find_map(|name| form.get(name));
        self.note_presented(text, form.get("resource").or(form.get("audience")));
    }

    /// The same for an assertion that was not in a form.
    pub fn note_presented(&self, text: Option<&str>, resource: Option<&str>) {
        let parsed = text.and_then(|text| UnverifiedAssertion::parse(text).ok());
        let claim = |name: &str| {
            let claims = parsed.as_ref()?.claims();
            claims.get(name).and_then(Value::as_str).map(cut)
        };
        let sent = SentAssertion {
            iss: claim("iss"),
            sub: claim("sub"),
            resource: resource.map(cut),
        };
        self.0.assertion.set(sent).ok();
    }

    pub(super) fn client(&self) -> Option<&str> {
        self.0.client.get().map(String::as_str)
    }

    pub(super) fn assertion(&self) -> Option<&SentAssertion> {
        self.0.assertion.get()
    }
}

fn cut(text: &str) -> String {
    text.chars().take(MAX_CHARACTERS).collect()
}
