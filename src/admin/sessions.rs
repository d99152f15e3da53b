//! People and their sessions, as administrators see and end them.

use serde::Serialize;
use serde_json::json;

use super::{Author, Rejected};
use crate::app::App;
use crate::audit::{AuditEvent, Outcome};
use crate::ids::{PersonId, SessionId};
use crate::people::session::{provider_name, signed_out};
use crate::store::{Person, SessionsToEnd, StoredSession};

/// A person who signed in.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ShownPerson {
    #[schema(value_type = String)]
    id: PersonId,
    /// The name of the identity provider, as it is called today.
    identity_provider: String,
    sub: String,
    name: Option<String>,
    username: Option<String>,
    email: Option<String>,
    /// Whether the person may sign in.
    enabled: bool,
    #[schema(format = DateTime)]
    first_seen: String,
    /// When the person signed in for the last time.
    #[schema(format = DateTime)]
    last_seen: String,
}

impl ShownPerson {
    pub fn new(app: &App, person: &Person) -> Self {
        Self {
            id: person.id,
            identity_provider: provider_name(app, person),
            sub: person.sub.clone(),
            name: person.name.clone(),
            username: person.username.clone(),
            email: person.email.clone(),
            enabled: person.enabled,
            first_seen: person.first_seen.to_string(),
            last_seen: person.last_seen.to_string(),
        }
    }
}

/// A session of a person. It has no part of the cookie.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub struct ShownSession {
    #[schema(value_type = String)]
    id: SessionId,
    #[schema(format = DateTime)]
    created_at: String,
    /// Accurate to a minute.
    #[schema(format = DateTime)]
    last_used_at: String,
    #[schema(format = DateTime)]
    expires_at: String,
    #[schema(format = DateTime)]
    auth_time: Option<String>,
    second_factor: bool,
    acr: Option<String>,
    amr: Vec<String>,
    /// What memberships give the person now with the claims of this session, such as `operator` and
    /// `owner of octo-org`.
    roles: Vec<String>,
}

impl ShownSession {
    pub fn new(app: &App, session: StoredSession) -> Self {
        Self {
            roles: roles_now(app, &session),
            id: session.id,
            created_at: session.created_at.to_string(),
            last_used_at: session.last_used_at.to_string(),
            expires_at: session.expires_at.to_string(),
            auth_time: session.auth_time.map(|at| at.to_string()),
            second_factor: session.second_factor,
            acr: session.acr,
            amr: session.amr,
        }
    }
}

/// A page of people in the order in which they were first seen, of one identity provider or of all.
pub async fn list_people(
    app: &App,
    identity_provider: Option<&str>,
    after: Option<PersonId>,
    limit: u64,
) -> Result<Vec<Person>, Rejected> {
    let rules = app.rules();
    let provider = match identity_provider {
        None => None,
        Some(name) => {
            let by_id = || rules.identity_provider(name.parse().ok()?);
            let found = rules.identity_provider_named(&name.to_ascii_lowercase());
            Some(found.or_else(by_id).ok_or(Rejected::NotFound)?.id)
        }
    };
    Ok(app.store.people(provider, after, limit).await?)
}

/// The person with this id.
pub async fn find_person(app: &App, id: &str) -> Result<Person, Rejected> {
    let id: PersonId = id.parse().map_err(|_| Rejected::NotFound)?;
    app.store.person(id).await?.ok_or(Rejected::NotFound)
}

/// The sessions of a person, the newest first.
pub async fn sessions_of(app: &App, id: &str) -> Result<Vec<StoredSession>, Rejected> {
    let person = find_person(app, id).await?;
    Ok(app.store.sessions_of(person.id).await?)
}

/// The roles that the memberships of now give the person of a session, in words.
pub fn roles_now(app: &App, session: &StoredSession) -> Vec<String> {
    let rules = app.rules();
    let Some(provider) = rules.identity_provider(session.identity_provider) else {
        return Vec::new();
    };
    let held_now = carnet_engine::people::roles(&rules, provider, &session.claims, app.clock.now());
    let of_server = [held_now.operator, held_now.auditor].into_iter().flatten();
    let of_server = of_server.map(|held| held.role.as_str().to_owned());
    let at = held_now.principals.iter();
    let at = at.map(|(principal, held)| format!("{} of {principal}", held.role.as_str()));
    of_server.chain(at).collect()
}

/// Lets a person sign in, or no more: then all sessions of the person end.
pub async fn enable_person(
    app: &App,
    id: &str,
    enabled: bool,
    author: &Author,
) -> Result<Person, Rejected> {
    let person = find_person(app, id).await?;
    let detail = json!({
        "kind": "person", "name": person.id, "identity_provider": provider_name(app, &person), "username": person.username,
        "before": { "enabled": !enabled }, "after": { "enabled": enabled },
    });
    let event = AuditEvent {
        person: Some(person.id),
        subject: Some(person.sub),
        detail: detail.to_string(),
        ..author.event(app.clock.now(), Outcome::Updated)
    };
    let changed = app.store.enable_person(person.id, enabled, &event).await?;
    let (before, _) = changed.ok_or(Rejected::NotFound)?;
    Ok(Person { enabled, ..before })
}

/// Ends all sessions of a person. Returns how many there were.
pub async fn end_sessions_of(app: &App, id: &str, author: &Author) -> Result<u64, Rejected> {
    let person = find_person(app, id).await?;
    let event = ended(app, &person, None, author);
    let which = SessionsToEnd::AllOf(person.id);
    Ok(app.store.end_sessions(which, &event).await?)
}

/// Ends one session.
pub async fn end_session(app: &App, id: &str, author: &Author) -> Result<(), Rejected> {
    let id: SessionId = id.parse().map_err(|_| Rejected::NotFound)?;
    let person = app.store.person_of_session(id).await?;
    let person = app.store.person(person.ok_or(Rejected::NotFound)?).await?;
    let event = ended(app, &person.ok_or(Rejected::NotFound)?, Some(id), author);
    match app
        .store
        .end_sessions(SessionsToEnd::One(id), &event)
        .await?
    {
        0 => Err(Rejected::NotFound),
        _ => Ok(()),
    }
}

fn ended(app: &App, person: &Person, session: Option<SessionId>, author: &Author) -> AuditEvent {
    let event = author.event(app.clock.now(), Outcome::SignedOut);
    signed_out(app, person, session, "administrator", event)
}
