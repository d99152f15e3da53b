//! Token introspection (RFC 7662), with a short-lived cache of positive answers.

use std::fmt;

use carnet_jose::json::{self, Limits};
use serde_json::{Map, Value};
use url::Url;

use crate::kept::Kept;
use crate::recent::Recent;
use crate::server::Server;
use crate::{Outage, Rejection};

/// The longest time that a positive answer may be cached, in seconds.
const MAX_CACHE_SECONDS: u8 = 5;

/// How a registry asks the authorization server about tokens that it cannot verify by itself (RFC
/// 7662): opaque keys and, with [`every_token`](Self::every_token), JWTs too.
///
/// For this the registry has to be a registered client of the server, with a client secret
/// (`client_secret_basic`) and with this registry as its `resource_server`. `Debug` does not show
/// the secret.
#[derive(Clone)]
pub struct Introspection {
    client_id: String,
    client_secret: String,
    cache_seconds: u8,
    every_token: bool,
}

impl Introspection {
    /// Asks as the client with this `client_id`, and authenticates with its client secret. Positive
    /// answers are cached for 5 seconds, and only tokens that are not JWTs are asked about.
    pub fn new(client_id: impl Into<String>, client_secret: impl Into<String>) -> Self {
        Self {
            client_id: client_id.into(),
            client_secret: client_secret.into(),
            cache_seconds: MAX_CACHE_SECONDS,
            every_token: false,
        }
    }

    /// Sets for how many seconds a positive answer is cached: 0 (no cache) to 5, the default; a
    /// larger value counts as 5. A revoked token is still accepted until its cached answer is too
    /// old.
    #[must_use]
    pub fn cache_seconds(self, seconds: u8) -> Self {
        Self {
            cache_seconds: seconds.min(MAX_CACHE_SECONDS),
            ..self
        }
    }

    /// Asks about JWTs too, after verifying them offline. Then a revocation, or a change of the
    /// rule that the token rests on, ends a JWT within the cache time; without it a JWT is accepted
    /// until it expires.
    #[must_use]
    pub fn every_token(self) -> Self {
        Self {
            every_token: true,
            ..self
        }
    }
}

impl fmt::Debug for Introspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Introspection")
            .field("client_id", &self.client_id)
            .finish_non_exhaustive()
    }
}

pub(crate) struct Introspector {
    settings: Introspection,
    endpoint: Kept<Url>,
    /// Tokens with a positive answer. Negative answers are not cached: unauthenticated callers
    /// could fill the cache with them, and asking again costs the server little.
    pub(crate) recent: Recent,
}

impl Introspector {
    pub(crate) fn new(settings: Introspection) -> Self {
        let recent = Recent::new(settings.cache_seconds);
        Self {
            settings,
            endpoint: Kept::default(),
            recent,
        }
    }

    pub(crate) fn is_for_every_token(&self) -> bool {
        self.settings.every_token
    }

    /// Asks the server about `token`: the claims if the token is active, otherwise the reason to
    /// reject it.
    pub(crate) async fn ask(
        &self,
        server: &Server,
        token: &str,
        now: i64,
    ) -> Result<Map<String, Value>, Rejection> {
        let endpoint = self
            .endpoint
            .get(now, |_| true, || server.introspection_endpoint())
            .await;
        let endpoint = endpoint.map_err(Rejection::Unavailable)?;
        let credentials = (
            self.settings.client_id.as_str(),
            self.settings.client_secret.as_str(),
        );
        let answer = server
            .introspect(endpoint.as_ref().clone(), credentials, token)
            .await;
        active(&answer.map_err(Rejection::Unavailable)?)
    }
}

/// The members of an introspection response (RFC 7662 section 2.2) if it says `"active": true` for
/// a bearer token, or for one that is bound to a key (RFC 9449 section 6.2).
fn active(answer: &[u8]) -> Result<Map<String, Value>, Rejection> {
    let unreadable = Rejection::Unavailable(Outage::Answer);
    let members = json::object(answer, Limits::DOCUMENT).map_err(|_| unreadable.clone())?;
    match members.get("active") {
        Some(Value::Bool(true)) => {}
        Some(Value::Bool(false)) => return Err(Rejection::InvalidToken("not active")),
        _ => return Err(unreadable),
    }
    match members.get("token_type") {
        None => Ok(members),
        Some(Value::String(kind)) if kind.eq_ignore_ascii_case("bearer") => Ok(members),
        // The key is in `cnf`, which decides; a type that says "bound" without it is not believed.
        Some(Value::String(kind))
            if kind.eq_ignore_ascii_case("dpop") && members.contains_key("cnf") =>
        {
            Ok(members)
        }
        // A token of another type must not be used as a bearer token (RFC 6749 section 7.1).
        Some(_) => Err(Rejection::InvalidToken("not a bearer token")),
    }
}
