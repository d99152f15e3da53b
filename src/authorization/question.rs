//! What a client asks of the person who is signed in, judged by the functions by which the token
//! request is judged: what the person may give, whether a page is needed, and which.

use std::sync::Arc;

use carnet_engine::code_grant::PersonTarget;
use carnet_engine::model::{Method, ResourceServer};
use carnet_engine::people::HeldScope;
use carnet_engine::principal::{Choice, choices};
use carnet_jose::{base64url, sha256};
use carnet_resource_server::AuthorizationDetail;
use serde_json::{Value, json};

use super::AuthorizationRequest;
use crate::app::App;
use crate::clock::Timestamp;
use crate::own_tokens::LOCAL_CLIENT;
use crate::people::session::{Fresh, Session, Write};
use crate::reason::Reason;
use crate::refusal::Refusal;
use crate::scope::ScopeSet;

/// By how much the clock of a provider may be behind ours, in seconds.
const LEEWAY_SECONDS: i64 = 60;
/// How long the tokens of the command line live, in seconds.
const COMMAND_LINE_SECONDS: i64 = 3600;

/// What the person is asked.
#[derive(Clone, Debug)]
pub struct Question {
    pub of: Of,
    /// How long a token lives at most, in seconds.
    pub token_lifetime_seconds: i64,
}

/// What the token would be for.
#[derive(Clone, Debug)]
pub enum Of {
    /// A registry, for one of these principals.
    Registry {
        server: Arc<ResourceServer>,
        choices: Vec<Choice>,
    },
    /// The admin API.
    Admin(HeldScope),
    /// Who the person is.
    Userinfo,
}

/// Whether a sign-in suffices for the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Suffices,
    /// The person has to sign in again.
    SignInAgain,
    /// What the client wants to know cannot be known.
    Unknowable,
}

/// Whether the person has to be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// The person agreed before, for the named principal.
    Given(Option<String>),
    /// A page is needed.
    Wanted,
    /// A page is needed, on which there is a choice to make.
    Choice,
}

impl AuthorizationRequest {
    /// Whether the sign-in of this session is as recent as the client wants it.
    pub fn standing(&self, session: &Session, now: Timestamp) -> Standing {
        let is_new = self
            .signed_in_after
            .is_some_and(|after| session.created_at >= after);
        if self.prompt.login && !is_new {
            return Standing::SignInAgain;
        }
        let Some(max_age) = self.max_age else {
            return Standing::Suffices;
        };
        let after = self.signed_in_after.filter(|_| is_new);
        match (session.auth_time, after) {
            (Some(at), _) if now.seconds_since(at) <= max_age => Standing::Suffices,
            // Asked anew for this very request, which is as recent as it gets, also for `max_age=0`.
            (Some(at), Some(after)) if after.seconds_since(at) <= LEEWAY_SECONDS => {
                Standing::Suffices
            }
            // A provider that was asked again, and answers from its own session.
            _ if is_new => Standing::Unknowable,
            _ => Standing::SignInAgain,
        }
    }
}

/// What the client can get of this person; everything that the person may not give is one refusal, so
/// that nobody finds out names of registries and principals by asking.
pub fn judge(
    app: &App,
    session: &Session,
    request: &AuthorizationRequest,
) -> Result<Question, Refusal> {
    let refused = || Refusal::from(Reason::NotForThisPerson);
    let rules = app.rules();
    let (client, asked) = (&request.client, &request.asked);
    let mut seconds = if client.client_id == LOCAL_CLIENT {
        COMMAND_LINE_SECONDS
    } else {
        app.config.people.token_lifetime_seconds
    };
    let of = match asked.target {
        PersonTarget::Userinfo => Of::Userinfo,
        PersonTarget::Admin => {
            let ceiling = client.scopes.as_ref().ok_or_else(refused)?;
            let wanted = asked.access.scope.as_ref();
            let held = session.roles.admin_scope(&rules, ceiling, wanted);
            Of::Admin(held.ok_or_else(refused)?)
        }
        PersonTarget::Registry => {
            let found = choices(&session.roles, client, &rules, &asked.access);
            let (server, mut choices) = found.map_err(|refusal| match refusal.reason {
                Reason::TargetAmbiguous | Reason::RulesTooLarge => refusal,
                _ => refused().with_detail(refusal.reason.code()),
            })?;
            if let Some(name) = &asked.access.principal {
                choices.retain(|choice| choice.principal.name.eq_ignore_ascii_case(name));
            }
            if choices.is_empty() {
                return Err(refused());
            }
            seconds = seconds.min(server.token_lifetime_seconds);
            Of::Registry { server, choices }
        }
    };
    Ok(Question {
        of,
        token_lifetime_seconds: seconds,
    })
}

impl Question {
    /// The principal of this name, if a token could be made for it. `None` for a question without one.
    pub fn choice(&self, name: &str) -> Option<Option<&str>> {
        let Of::Registry { choices, .. } = &self.of else {
            return Some(None);
        };
        let mut choices = choices.iter().map(|choice| choice.principal.name.as_str());
        match choices.len() {
            1 => choices.next().map(Some),
            _ => choices
                .find(|known| known.eq_ignore_ascii_case(name))
                .map(Some),
        }
    }

    /// Whether the person agreed to this in the session already, and whether that counts: not for
    /// rights at the admin API, not for clients that anybody can claim to be (RFC 8252 section 8.6).
    pub async fn agreement(
        &self,
        app: &App,
        session: &Session,
        request: &AuthorizationRequest,
    ) -> Result<Agreement, Refusal> {
        let principal = match &self.of {
            Of::Registry { choices, .. } => match choices.as_slice() {
                [only] => Some(only.principal.name.clone()),
                _ => return Ok(Agreement::Choice),
            },
            Of::Admin(_) => return Ok(Agreement::Wanted),
            Of::Userinfo => None,
        };
        if request.prompt.consent || request.answer.is_native() {
            return Ok(Agreement::Wanted);
        }
        if request.client.first_party && principal.is_none() {
            return Ok(Agreement::Given(None));
        }
        let Some(what) = self.remembered(request, principal.as_deref()) else {
            return Ok(Agreement::Wanted);
        };
        let agreed = app.store.has_agreed(session.lineage, &what).await?;
        Ok(if agreed {
            Agreement::Given(principal)
        } else {
            Agreement::Wanted
        })
    }

    /// What the person reads on the page, as a hash: what is given must be what was shown, whatever
    /// roles, registries and client became since. `None` if it cannot be written.
    pub fn shown(&self, request: &AuthorizationRequest) -> Option<String> {
        let of = match &self.of {
            Of::Registry { server, choices } => {
                let choices = choices
                    .iter()
                    .map(|choice| json!([choice.principal.id, choice.details]));
                json!([
                    server.id.to_string(),
                    server.resource,
                    choices.collect::<Vec<_>>()
                ])
            }
            Of::Admin(held) => json!(held.scope.to_string()),
            Of::Userinfo => Value::Null,
        };
        let client = &request.client;
        let openid = request.asked.openid.and(None);
        let all = json!([
            client.id.to_string(),
            client.version,
            openid.map(|scope| scope.to_string()),
            self.token_lifetime_seconds,
            of,
        ]);
        let text = serde_json::to_string(&all).ok()?;
        Some(base64url(sha256(text.as_bytes())))
    }

    /// As what the session remembers that the person agreed; `None` if it must not.
    pub fn remembered(
        &self,
        request: &AuthorizationRequest,
        principal: Option<&str>,
    ) -> Option<[u8; 32]> {
        let client = &request.client;
        let is_public = matches!(client.method, Method::None);
        let resource = match &self.of {
            Of::Admin(_) => return None,
            Of::Userinfo => String::new(),
            Of::Registry { server, .. } => server.id.to_string(),
        };
        if is_public || request.answer.is_native() {
            return None;
        }
        let asked = &request.asked;
        let scope = asked.openid.and(asked.access.scope.as_ref());
        let scope = scope.map(|scope| scope.to_string()).unwrap_or_default();
        let details = serde_json::to_string(&asked.access.details).ok()?;
        // What it gives may grow with the role, where the client named no scope.
        let given = serde_json::to_string(&self.given_for(principal)).ok()?;
        let parts = [
            client.id.to_string(),
            client.version.to_string(),
            resource,
            scope,
            details,
            given,
            principal.unwrap_or_default().to_ascii_lowercase(),
        ];
        // As JSON, so that no part can reach into the next one.
        Some(sha256(serde_json::to_string(&parts).ok()?.as_bytes()))
    }

    /// What the person gives for this principal.
    fn given_for(&self, principal: Option<&str>) -> Option<&[AuthorizationDetail]> {
        let Of::Registry { choices, .. } = &self.of else {
            return None;
        };
        let mut choices = choices.iter();
        let chosen = choices.find(|choice| Some(choice.principal.name.as_str()) == principal);
        chosen.map(|choice| choice.details.as_slice())
    }

    /// The proof of identity that the token asks for; `None` if it only reads, or is for a registry.
    pub fn wanted_proof(&self) -> Option<Write> {
        self.admin_scope().and_then(Write::wanted_by)
    }

    /// Whether the person proved recently enough who they are.
    pub fn freshness(&self, app: &App, session: &Session) -> Option<Fresh> {
        self.wanted_proof()
            .map(|wanted| session.freshness(app, wanted))
    }

    /// The scope that the token would have at the admin API.
    pub fn admin_scope(&self) -> Option<&ScopeSet> {
        match &self.of {
            Of::Admin(held) => Some(&held.scope),
            Of::Registry { .. } | Of::Userinfo => None,
        }
    }
}
