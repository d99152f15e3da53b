//! Asking the server about a token (RFC 7662), and remembering its answer for a moment.

use std::fmt;

use carnet_jose::json::{self, Limits};
use serde_json::{Map, Value};
use url::Url;

use crate::kept::Kept;
use crate::recent::Recent;
use crate::server::Server;
use crate::{Outage, Rejection};

/// The longest that an answer may be kept, in seconds.
const MAX_CACHE_SECONDS: u8 = 5;

/// How a registry asks the server about tokens that say nothing themselves.
///
/// The registry has to be a client of the server for this, with a secret (`client_secret_basic`), registered with this
/// registry as its `resource_server`.
#[derive(Clone)]
pub struct Introspection {
    client_id: String,
    client_secret: String,
    cache_seconds: u8,
    every_token: bool,
}

impl Introspection {
    /// As the client of this id, with this secret.
    pub fn new(client_id: impl Into<String>, client_secret: impl Into<String>) -> Self {
        Self {
            client_id: client_id.into(),
            client_secret: client_secret.into(),
            cache_seconds: MAX_CACHE_SECONDS,
            every_token: false,
        }
    }

    /// Keeps a positive answer for `seconds`: 0 to 5, and more counts as 5. Until then a token that was ended goes on being
    /// taken. 5 unless said otherwise.
    #[must_use]
    pub fn cache_seconds(self, seconds: u8) -> Self {
        Self { cache_seconds: seconds.min(MAX_CACHE_SECONDS), ..self }
    }

    /// Asks about JWTs too, after they were verified offline. Otherwise they are good until they expire; this way a token
    /// ends when it is revoked, or when the rule it rests on is changed.
    #[must_use]
    pub fn every_token(self) -> Self {
        Self { every_token: true, ..self }
    }
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspection").field("client_id", &self.client_id).finish_non_exhaustive()
    }
}

pub(crate) struct Introspector {
    settings: Introspection,
    endpoint: Kept<Url>,
    /// The tokens of positive answers. Negative ones are not kept: strangers could fill the room with them, and they cost the
    /// server no more than any request without a token does.
    pub(crate) recent: Recent,
}

impl Introspector {
    pub(crate) fn new(settings: Introspection) -> Self {
        let recent = Recent::new(settings.cache_seconds);
        Self { settings, endpoint: Kept::default(), recent }
    }

    pub(crate) fn is_for_every_token(&self) -> bool {
        self.settings.every_token
    }

    /// What the server says of a token, if it is active.
    pub(crate) async fn ask(&self, server: &Server, token: &str, now: i64) -> Result<Map<String, Value>, Rejection> {
        let endpoint = self.endpoint.get(now, |_| true, || server.introspection_endpoint()).await;
        let endpoint = endpoint.map_err(Rejection::Unavailable)?;
        let credentials = (self.settings.client_id.as_str(), self.settings.client_secret.as_str());
        let answer = server.introspect(endpoint.as_ref().clone(), credentials, token).await;
        active(&answer.map_err(Rejection::Unavailable)?)
    }
}

/// The members of an answer (RFC 7662 section 2.2), where it says `active`.
fn active(answer: &[u8]) -> Result<Map<String, Value>, Rejection> {
    let unreadable = Rejection::Unavailable(Outage::Answer);
    let members = json::object(answer, Limits::DOCUMENT).map_err(|_| unreadable)?;
    match members.get("active") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => return Err(Rejection::InvalidToken("not active")),
        _ => return Err(unreadable),
    }
    match members.get("token_type") {
        None => Ok(members),
        Some(Value::String(kind)) if kind.eq_ignore_ascii_case("bearer") => Ok(members),
        // A token of another type is used in another way (RFC 6749 section 7.1).
        Some(_) => Err(Rejection::InvalidToken("not a bearer token")),
    }
}
