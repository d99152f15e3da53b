//! A stand-in for a company's OpenID provider. It has three people and no passwords: whoever reaches
//! its log-in page can be any of them, which the page says. `carnet quickstart` and the tests sign
//! people in with it, over plain HTTP on the loopback interface.

mod answers;
mod authorize;
mod pages;
mod state;

use std::sync::Arc;

use axum::Router;
use axum::routing::{get, post};
use carnet_engine::clock::Clock;
use carnet_jose::{Algorithm, SigningError, SigningKey};
use serde_json::{Value, json};

use state::State;

/// How long a code can be exchanged, in seconds.
const CODE_SECONDS: i64 = 60;
/// How long an ID token and an access token are good for, in seconds.
const TOKEN_SECONDS: i64 = 300;
/// The `acr` of a log-in with a second factor, unless the request asks for another value.
const SECOND_FACTOR: &str = "mfa";

/// A person of the stand-in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StandInPerson {
    pub sub: &'static str,
    pub username: &'static str,
    pub name: &'static str,
    pub email: &'static str,
    pub groups: &'static [&'static str],
}

/// A client that is registered at the stand-in.
#[derive(Clone, Debug)]
pub struct StandInClient {
    pub id: String,
    /// `None` for a public client.
    pub secret: Option<String>,
    pub redirect_uris: Vec<String>,
    pub post_logout_redirect_uris: Vec<String>,
}

/// The provider.
#[derive(Debug)]
pub struct StandInProvider {
    issuer: String,
    client: StandInClient,
    key: SigningKey,
    clock: Arc<dyn Clock>,
    state: State,
}

impl StandInProvider {
    /// An operator of the server, an owner of packages, and somebody who may look.
    pub const PEOPLE: [StandInPerson; 3] = [
        StandInPerson {
            sub: "1001",
            username: "olivia",
            name: "Olivia Operator",
            email: "olivia@people.example",
            groups: &["registry-operators"],
        },
        StandInPerson {
            sub: "1002",
            username: "peter",
            name: "Peter Publisher",
            email: "peter@people.example",
            groups: &["octo-org-publishers"],
        },
        StandInPerson {
            sub: "1003",
            username: "vera",
            name: "Vera Viewer",
            email: "vera@people.example",
            groups: &["octo-org-readers"],
        },
    ];

    /// The name of the cookie of its own session. Cookies ignore ports, so it is none of Carnet's.
    pub const COOKIE: &str = "stand-in-provider";

    /// A provider with this issuer identifier, one client and a new key.
    pub fn new(
        issuer: &str,
        client: StandInClient,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, SigningError> {
        Ok(Self {
            issuer: issuer.to_owned(),
            client,
            key: SigningKey::generate(Algorithm::ES256)?,
            clock,
            state: State::default(),
        })
    }

    /// The endpoints: discovery, keys, authorization with its log-in page, tokens, userinfo, log-out.
    pub fn router(self) -> Router {
        Router::new()
            .route("/.well-known/openid-configuration", get(answers::metadata))
            .route("/jwks", get(answers::jwks))
            .route("/authorize", get(authorize::authorize))
            .route("/log-in", post(authorize::log_in))
            .route("/token", post(answers::token))
            .route("/userinfo", get(answers::userinfo))
            .route("/end-session", get(authorize::end_session))
            .with_state(Arc::new(self))
    }

    fn person(sub: &str) -> Option<StandInPerson> {
        Self::PEOPLE.into_iter().find(|person| person.sub == sub)
    }

    fn now(&self) -> i64 {
        self.clock.now().seconds()
    }

    fn metadata(&self) -> Value {
        let at = |path: &str| format!("{}/{path}", self.issuer);
        json!({
            "issuer": self.issuer,
            "authorization_endpoint": at("authorize"),
            "token_endpoint": at("token"),
            "userinfo_endpoint": at("userinfo"),
            "jwks_uri": at("jwks"),
            "end_session_endpoint": at("end-session"),
            "scopes_supported": ["openid", "profile", "email"],
            "response_types_supported": ["code"],
            "response_modes_supported": ["query"],
            "grant_types_supported": ["authorization_code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
            "token_endpoint_auth_methods_supported":
                ["client_secret_basic", "client_secret_post", "none"],
            "code_challenge_methods_supported": ["S256"],
            "acr_values_supported": [SECOND_FACTOR],
            "claims_supported": [
                "sub", "name", "preferred_username", "email", "email_verified", "groups", "auth_time",
                "acr", "amr",
            ],
            "authorization_response_iss_parameter_supported": true,
        })
    }
}

impl StandInPerson {
    fn claims(&self) -> Value {
        json!({
            "sub": self.sub, "name": self.name, "preferred_username": self.username,
            "email": self.email, "email_verified": true, "groups": self.groups,
        })
    }
}
