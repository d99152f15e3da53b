//! How sessions end: by the person, here and at the provider.

use std::net::IpAddr;

use secrecy::SecretString;
use serde_json::json;
use url::Url;

use super::{CookieSecret, Session, id_token_purpose, is_in_time, seal_owner};
use crate::app::App;
use crate::audit::{AuditEvent, Outcome};
use crate::clock::Timestamp;
use crate::ids::{self, SessionId};
use crate::model::IdentityProvider;
use crate::people::end_session_url;
use crate::store::{Person, SessionsToEnd, StoreError, StoredSession};

/// A session as its person sees it.
#[derive(Clone, Debug)]
pub struct OwnSession {
    pub id: SessionId,
    pub created_at: Timestamp,
    pub last_used_at: Timestamp,
    pub expires_at: Timestamp,
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
            expires_at: one.expires_at,
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
    let event = AuditEvent {
        address,
        ..ended(&session.person, &session.provider, id, app.clock.now())
    };
    let ended = app
        .store
        .end_sessions(SessionsToEnd::One(id), &event)
        .await?;
    Ok(ended > 0)
}

/// Ends the session that the cookies name, be it over or not. Returns where the provider's session
/// is ended, if the provider takes that and can be reached: our own session has ended then.
///
/// # Errors
///
/// If the database fails: then the session has not ended.
pub async fn sign_out(
    app: &App,
    cookies: &[(String, String)],
    address: Option<IpAddr>,
) -> Result<Option<Url>, StoreError> {
    let Some(secret) = CookieSecret::of(cookies, &app.config.own) else {
        return Ok(None);
    };
    let found = app.store.session_of_cookie(&secret.hash()).await?;
    let Some((stored, person)) = found else {
        return Ok(None);
    };
    let rules = app.rules();
    let Some(provider) = rules.identity_provider(stored.identity_provider) else {
        return Ok(None);
    };
    let event = AuditEvent {
        address,
        ..ended(&person, provider, stored.id, app.clock.now())
    };
    app.store
        .end_sessions(SessionsToEnd::One(stored.id), &event)
        .await?;
    if !provider.enabled {
        return Ok(None);
    }
    let Some(token) = id_token(app, &stored) else {
        return Ok(None);
    };
    let state = carnet_jose::base64url(ids::random::<16>());
    Ok(end_session_url(app, provider, &token, &state).await)
}

/// The ID token of a session; `None` if no key of ours opens it.
fn id_token(app: &App, session: &StoredSession) -> Option<SecretString> {
    let owner = seal_owner(&app.config.own, session.id);
    let sealed = session.sealed_id_token.as_deref()?;
    let opened = app.keys.open_sealed(sealed, id_token_purpose(&owner));
    String::from_utf8(opened.ok()?).ok().map(SecretString::from)
}

fn ended(
    person: &Person,
    provider: &IdentityProvider,
    id: SessionId,
    now: Timestamp,
) -> AuditEvent {
    AuditEvent {
        person: Some(person.id),
        subject: Some(person.sub.clone()),
        detail: json!({
            "identity_provider": provider.name, "session": id, "username": person.username, "ended_by": "person",
        })
        .to_string(),
        ..AuditEvent::new(now, Outcome::SignedOut)
    }
}
