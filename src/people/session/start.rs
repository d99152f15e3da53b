//! How a session begins: after a sign-in at a provider, with a new secret each time.

use std::net::IpAddr;

use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use super::{AUTH_TIME, CookieSecret, Roles, id_token_purpose, lasts, seal_owner};
use crate::app::App;
use crate::audit::{AuditEvent, FoldKey, Outcome};
use crate::clock::Timestamp;
use crate::ids::{PersonId, SessionId};
use crate::model::IdentityProvider;
use crate::people::SignedIn;
use crate::reason::Reason;
use crate::store::{NewSession, Person, SessionBegun, StoreError, StoredSession};

/// A session that began, and its cookie, which is told once.
#[derive(Debug)]
pub struct Started {
    pub cookie: CookieSecret,
    pub session: SessionId,
    pub person: PersonId,
}

/// Why nobody is let in, although the provider says who it is.
#[derive(Debug, thiserror::Error)]
pub enum StartRefused {
    #[error("no membership fits")]
    NoMembership,
    #[error("the person is disabled")]
    Disabled,
    #[error("the provider is disabled")]
    ProviderDisabled,
    #[error("another person is signed in in this browser")]
    OtherPerson,
    #[error("the session that asked for the step-up is not the one of this browser any more")]
    SessionReplaced,
    #[error("the provider was changed since it answered")]
    ProviderChanged,
    #[error(transparent)]
    Unavailable(#[from] StoreError),
}

impl StartRefused {
    /// The reason that the person is told.
    pub fn reason(&self) -> Reason {
        match self {
            Self::NoMembership => Reason::NoMembership,
            Self::Disabled => Reason::PersonDisabled,
            Self::OtherPerson => Reason::OtherPerson,
            Self::SessionReplaced => Reason::SignInExpired,
            Self::ProviderDisabled | Self::ProviderChanged => Reason::ProviderChanged,
            Self::Unavailable(_) => Reason::DatabaseUnavailable,
        }
    }
}

/// Begins the session of a person who signed in. The session that `cookies` name ends: after each
/// sign-in and each step-up the cookie is a new one, so that nobody can know it from before.
///
/// # Errors
///
/// If no membership gives the person a role, or if the person was disabled. If the provider was
/// changed since it answered, by other rules than those that judged the answer. If the answer is to a
/// step-up, and the browser does not have the session any more that asked for it. Nothing is written
/// then but an audit event.
pub async fn start(
    app: &App,
    signed_in: &SignedIn,
    cookies: &[(String, String)],
    address: Option<IpAddr>,
) -> Result<Started, StartRefused> {
    let started = begin(app, signed_in, cookies, address).await;
    if let Err(why) = &started
        && !matches!(why, StartRefused::Unavailable(_))
    {
        let (provider, sub) = (&signed_in.provider, &signed_in.sub);
        refused(app, provider, sub, why.reason(), address).await;
    }
    started
}

async fn begin(
    app: &App,
    signed_in: &SignedIn,
    cookies: &[(String, String)],
    address: Option<IpAddr>,
) -> Result<Started, StartRefused> {
    let (snapshot, now) = (app.rules(), app.clock.now());
    let provider = snapshot.identity_provider(signed_in.provider.id);
    let provider = provider.filter(|provider| provider.enabled).cloned();
    let provider = provider.ok_or(StartRefused::ProviderDisabled)?;
    let roles = carnet_engine::people::roles(&snapshot, &provider, &signed_in.claims, now);
    if roles.is_empty() {
        return Err(StartRefused::NoMembership);
    }
    let old = CookieSecret::of(cookies, &app.config.own).map(|old| old.hash());
    let present = match &old {
        Some(old) => app.store.session_of_cookie(old).await?,
        None => None,
    };
    if let Some(asked) = signed_in.step_up {
        let (session, person) = present.as_ref().ok_or(StartRefused::SessionReplaced)?;
        if (person.identity_provider, &person.sub) != (provider.id, &signed_in.sub) {
            return Err(StartRefused::OtherPerson);
        }
        if session.id != asked {
            return Err(StartRefused::SessionReplaced);
        }
    }
    let secret = CookieSecret::generate();
    let new = NewSession {
        person: person(signed_in, now),
        session: stored(app, signed_in, now),
        provider_version: signed_in.provider.version,
        cookie_hash: secret.hash(),
        replaces: old,
        goes_on: present.is_some_and(|(session, person)| {
            lasts(app, &snapshot, (&session, &person), now).is_some()
        }),
    };
    let event = AuditEvent {
        address,
        ..began(&new.session, signed_in, &roles, now)
    };
    let session = new.session.id;
    match app.store.begin_session(new, event).await? {
        SessionBegun::Disabled(_) => Err(StartRefused::Disabled),
        SessionBegun::ProviderChanged => Err(StartRefused::ProviderChanged),
        SessionBegun::Begun(person) => Ok(Started {
            cookie: secret,
            session,
            person: person.id,
        }),
    }
}

/// Records that a person is not let in whom the provider confirmed. Repetitions within an hour are
/// counted in one event.
pub async fn refused(
    app: &App,
    provider: &IdentityProvider,
    sub: &str,
    reason: Reason,
    address: Option<IpAddr>,
) {
    let now = app.clock.now();
    let hour = now.seconds().div_euclid(3600).to_string();
    let person = app.store.person_at(provider.id, sub).await;
    let person = person.unwrap_or_else(|error| {
        tracing::warn!(%error, "the person of a refused sign-in cannot be looked up");
        None
    });
    app.audit(AuditEvent {
        address,
        reason: Some(reason),
        person: person.map(|person| person.id),
        subject: Some(sub.to_owned()),
        fold: Some(FoldKey::new(
            &["sign-in", &provider.name, sub, reason.code(), &hour],
            "",
        )),
        detail: json!({ "identity_provider": provider.name }).to_string(),
        ..AuditEvent::new(now, Outcome::SignInRefused)
    });
}

fn person(signed_in: &SignedIn, now: Timestamp) -> Person {
    Person {
        id: PersonId::new(now),
        identity_provider: signed_in.provider.id,
        sub: signed_in.sub.clone(),
        name: signed_in.name.clone(),
        username: signed_in.username.clone(),
        email: signed_in.email.clone(),
        first_seen: now,
        last_seen: now,
        enabled: true,
    }
}

fn stored(app: &App, signed_in: &SignedIn, now: Timestamp) -> StoredSession {
    let id = SessionId::new(now);
    let owner = seal_owner(&app.config.own, id);
    let token = signed_in.id_token.expose_secret().as_bytes();
    let sealed = app.keys.seal(token, id_token_purpose(&owner));
    if let Err(error) = &sealed {
        // Only the sign-out at the provider asks for it.
        tracing::warn!(%error, "the ID token of a session cannot be sealed");
    }
    StoredSession {
        id,
        lineage: id,
        person: PersonId::new(now),
        identity_provider: signed_in.provider.id,
        claims: signed_in.claims.clone(),
        auth_time: signed_in.auth_time,
        second_factor: signed_in.second_factor,
        acr: signed_in.acr.clone(),
        amr: signed_in.amr.clone(),
        sealed_id_token: sealed.ok(),
        created_at: now,
        last_used_at: now,
        expires_at: now.plus_seconds(app.config.people.session_seconds),
    }
}

fn began(
    session: &StoredSession,
    signed_in: &SignedIn,
    roles: &Roles,
    now: Timestamp,
) -> AuditEvent {
    let principals = roles
        .principals
        .iter()
        .map(|(principal, held)| (principal.to_string(), Value::from(held.role.as_str())));
    let principals: serde_json::Map<String, Value> = principals.collect();
    let of_server = [
        ("operator", roles.operator.is_some()),
        ("auditor", roles.auditor.is_some()),
    ];
    let of_server = of_server.into_iter().filter(|(_, held)| *held);
    let of_server: Vec<&str> = of_server.map(|(role, _)| role).collect();
    let detail = json!({
        "identity_provider": signed_in.provider.name, "session": session.id, "username": signed_in.username,
        "step_up": signed_in.step_up.is_some(), "second_factor": session.second_factor,
        "auth_time": session.auth_time.map(|at| at.to_string()),
        "auth_time_of_provider": session.claims.contains_key(AUTH_TIME), "acr": session.acr, "amr": session.amr,
        "roles": of_server, "principals": principals,
    });
    AuditEvent {
        subject: Some(signed_in.sub.clone()),
        detail: detail.to_string(),
        ..AuditEvent::new(now, Outcome::SignedIn)
    }
}
