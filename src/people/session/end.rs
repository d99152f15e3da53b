//! How sessions end: by the person, here and at the provider.

use std::net::IpAddr;
use std::sync::Arc;

use secrecy::SecretString;
use serde_json::json;
use url::Url;

use super::{CookieSecret, Session, ends_at, id_token_purpose, is_in_time, seal_owner};
use crate::app::App;
use crate::audit::{AuditEvent, Outcome};
use crate::clock::Timestamp;
use crate::ids::SessionId;
use crate::model::IdentityProvider;
use crate::people::end_session_url;
use crate::store::{Person, SessionsToEnd, StoreError, StoredSession};

/// A session as its person sees it.
#[derive(Clone, Debug)]
pub struct OwnSession {
    pub id: SessionId,
    pub created_at: Timestamp,
    pub last_used_at: Timestamp,
    /// When the session ends, unless it idles before.
    pub ends_at: Timestamp,
}

/// What a sign-out did.
#[derive(Debug)]
pub enum SignOut {
    /// There is no cookie of a session.
    NoCookie,
    /// No session has the cookie.
    Unknown,
    /// The session has ended.
    Ended(Option<AtProvider>),
}

/// The session at the provider from which one here came.
#[derive(Debug)]
pub struct AtProvider {
    provider: Arc<IdentityProvider>,
    id_token: SecretString,
}

impl AtProvider {
    /// Where the provider ends it, if the provider takes that and can be reached.
    pub async fn end_url(&self, app: &App) -> Option<Url> {
        end_session_url(app, &self.provider, &self.id_token).await
    }
}

/// The sessions of the same person that last, the newest first.
///
/// # Errors
///
/// If the database fails.
pub async fn own_sessions(app: &App, session: &Session) -> Result<Vec<OwnSession>, StoreError> {
    let (all, now) = (
        app.store.sessions_of(session.person.id).await?,
        app.clock.now(),
    );
    let lasting = all.into_iter().filter(|one| is_in_time(app, one, now));
    Ok(lasting
        .map(|one| OwnSession {
            id: one.id,
            created_at: one.created_at,
            last_used_at: one.last_used_at,
            ends_at: ends_at(app, &one),
        })
        .collect())
}

/// Ends a session of the same person. Returns whether there was one.
///
/// # Errors
///
/// If the database fails.
pub async fn end_own(
    app: &App,
    session: &Session,
    id: SessionId,
    address: Option<IpAddr>,
) -> Result<bool, StoreError> {
    if app.store.person_of_session(id).await? != Some(session.person.id) {
        return Ok(false);
    }
    let event = ended_by_person(app, &session.person, id, address);
    let ended = app
        .store
        .end_sessions(SessionsToEnd::One(id), &event)
        .await?;
    Ok(ended > 0)
}

/// Ends the session that the cookies name, be it over or not.
///
/// # Errors
///
/// If the database fails: then the session has not ended.
pub async fn sign_out(
    app: &App,
    cookies: &[(String, String)],
    address: Option<IpAddr>,
) -> Result<SignOut, StoreError> {
    let Some(secret) = CookieSecret::of(cookies, &app.config.own) else {
        return Ok(SignOut::NoCookie);
    };
    let found = app.store.session_of_cookie(&secret.hash()).await?;
    let Some((stored, person)) = found else {
        return Ok(SignOut::Unknown);
    };
    let event = ended_by_person(app, &person, stored.id, address);
    app.store
        .end_sessions(SessionsToEnd::One(stored.id), &event)
        .await?;
    Ok(SignOut::Ended(at_provider(app, &stored)))
}

/// The session at the provider; `None` if the provider is unknown or disabled, or no key of ours
/// opens the ID token.
fn at_provider(app: &App, session: &StoredSession) -> Option<AtProvider> {
    let rules = app.rules();
    let provider = rules.identity_provider(session.identity_provider);
    let provider = provider.filter(|provider| provider.enabled)?.clone();
    let owner = seal_owner(&app.config.own, session.id);
    let sealed = session.sealed_id_token.as_deref()?;
    let opened = app.keys.open_sealed(sealed, id_token_purpose(&owner));
    let id_token = String::from_utf8(opened.ok()?).ok()?;
    Some(AtProvider {
        provider,
        id_token: SecretString::from(id_token),
    })
}

fn ended_by_person(
    app: &App,
    person: &Person,
    id: SessionId,
    address: Option<IpAddr>,
) -> AuditEvent {
    let event = AuditEvent::new(app.clock.now(), Outcome::SignedOut);
    AuditEvent {
        address,
        ..signed_out(app, person, Some(id), "person", event)
    }
}

/// The audit event of the end of one session, or of all sessions, of a person. `by` is who ended
/// them.
pub fn signed_out(
    app: &App,
    person: &Person,
    session: Option<SessionId>,
    by: &str,
    event: AuditEvent,
) -> AuditEvent {
    let detail = json!({
        "identity_provider": provider_name(app, person), "username": person.username, "session": session,
        "ended_by": by,
    });
    AuditEvent {
        person: Some(person.id),
        subject: Some(person.sub.clone()),
        detail: detail.to_string(),
        ..event
    }
}

/// The name of a person's identity provider; its id, if the name is not known.
pub fn provider_name(app: &App, person: &Person) -> String {
    let rules = app.rules();
    let provider = rules.identity_provider(person.identity_provider);
    provider.map_or_else(
        || person.identity_provider.to_string(),
        |provider| provider.name.clone(),
    )
}
