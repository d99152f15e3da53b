//! Sessions: who a cookie stands for, and what that person may do at this moment.
//!
//! The row of a session is read and judged at each request, on whichever replica: the person, the
//! provider and the memberships as they are now. So an end, and an operator's change, count at once.

mod end;
mod start;

use std::sync::Arc;

use carnet_jose::{Purpose, base64url, from_base64url, sha256};
use serde_json::{Map, Value};

use super::cookie;
use super::csrf::Csrf;
use super::presence;
use crate::app::App;
use crate::clock::Timestamp;
use crate::config::OwnUrls;
use crate::ids::{self, SessionId};
use crate::model::{IdentityProvider, Snapshot};
use crate::reason::Reason;
use crate::scope::{ADMIN, ADMIN_CREDENTIALS, ADMIN_CREDENTIALS_OF, ScopeSet, limited_scope};
use crate::store::{Person, StoreError, StoredSession};

use carnet_engine::people::SignedInPerson;

pub use carnet_engine::people::Roles;
pub use end::{
    AtProvider, OwnSession, SignOut, end_own, own_sessions, provider_name, sign_out, signed_out,
};
pub use start::{StartRefused, Started, refused, start};

/// How often the last use of a session is written, in seconds.
const NOTE_USE_SECONDS: i64 = 60;
/// How old the proof of identity may be for an operator's change, in seconds.
pub const OPERATOR_STEP_UP_SECONDS: i64 = 300;
/// The claim that says when the person signed in (OpenID Connect Core 1.0 section 2).
const AUTH_TIME: &str = "auth_time";
const COOKIE: &str = "carnet-session";
/// The length of a cookie's secret in base64url.
const COOKIE_CHARACTERS: usize = 43;

/// The name of the cookie.
pub fn cookie_name(own: &OwnUrls) -> String {
    cookie::cookie_name(own, COOKIE)
}

/// The secret in the cookie of a session: 256 random bits.
#[derive(Clone)]
pub struct CookieSecret([u8; 32]);

impl std::fmt::Debug for CookieSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CookieSecret(…)")
    }
}

impl CookieSecret {
    pub(super) fn generate() -> Self {
        Self(ids::random())
    }

    /// The secret in these cookies. Two cookies of the name count as none: nobody could tell which
    /// of them is ours.
    fn of(cookies: &[(String, String)], own: &OwnUrls) -> Option<Self> {
        let name = cookie_name(own);
        let mut values = cookies.iter().filter(|(named, _)| *named == name);
        let (_, value) = values.next()?;
        if values.next().is_some() || value.len() != COOKIE_CHARACTERS {
            return None;
        }
        Some(Self(from_base64url(value)?.try_into().ok()?))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The value of the cookie.
    pub fn text(&self) -> String {
        base64url(self.0)
    }

    /// What is stored of it.
    fn hash(&self) -> [u8; 32] {
        sha256(&self.0)
    }
}

/// A session of a person who may sign in at the moment.
#[derive(Clone, Debug)]
pub struct Session {
    pub id: SessionId,
    /// By what tokens know the session: a step-up does not change it.
    pub lineage: SessionId,
    pub person: Person,
    pub provider: Arc<IdentityProvider>,
    /// What the person may do now.
    pub roles: Roles,
    /// The claims that memberships can read, as they came at the sign-in.
    pub claims: Map<String, Value>,
    /// When the person proved who they are, as the provider says.
    pub auth_time: Option<Timestamp>,
    pub created_at: Timestamp,
    pub last_used_at: Timestamp,
    /// The token of the session's forms.
    pub csrf: Csrf,
}

/// What the cookies of a request stand for.
#[derive(Clone, Debug)]
pub enum Standing {
    /// No cookie of ours, or one that cannot be.
    SignedOut,
    /// No session has this cookie: the session was ended and removed, or there never was one.
    Unknown,
    /// The session is over: by its time, by somebody who ended it, because the person or the
    /// provider was disabled, or because the provider has to prove another second factor now.
    Ended,
    /// The session lasts, and no membership lets the person in any more.
    NoMembership(Box<Session>),
    Live(Box<Session>),
}

/// A kind of change, by the proof of identity that it asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Write {
    /// A change of what acts for one principal.
    Rules,
    /// A change of the server.
    Operator,
}

impl Write {
    /// What the widest of the changes asks for that a scope of the admin API permits; `None` if it
    /// permits none.
    pub fn wanted_by(scope: &ScopeSet) -> Option<Self> {
        let wanted = |token: &str| match limited_scope(token) {
            Some((prefix, _)) => (prefix == ADMIN_CREDENTIALS_OF).then_some(Self::Rules),
            // Operators alone hold these.
            None => matches!(token, ADMIN | ADMIN_CREDENTIALS).then_some(Self::Operator),
        };
        let wanted = scope.tokens().filter_map(wanted);
        wanted.max_by_key(|write| *write == Self::Operator)
    }
}

/// Whether the proof of identity is recent enough for a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fresh {
    /// It is, until then.
    Until(Timestamp),
    /// The person has to prove anew who they are.
    StepUp,
    /// It cannot be with this provider.
    Never(Reason),
}

/// Judges the cookies of a request.
///
/// # Errors
///
/// If the database fails.
pub async fn current(app: &App, cookies: &[(String, String)]) -> Result<Standing, StoreError> {
    let own = &app.config.own;
    let Some(secret) = CookieSecret::of(cookies, own) else {
        return Ok(Standing::SignedOut);
    };
    let found = app.store.session_of_cookie(&secret.hash()).await?;
    let Some((stored, person)) = found else {
        return Ok(Standing::Unknown);
    };
    let (snapshot, now) = (app.rules(), app.clock.now());
    let Some(provider) = lasts(app, &snapshot, (&stored, &person), now) else {
        return Ok(Standing::Ended);
    };
    let roles = carnet_engine::people::roles(&snapshot, &provider, &stored.claims, now);
    let session = Session::of(stored, person, provider, roles, Csrf::of(&secret, own));
    Ok(if session.roles.is_empty() {
        Standing::NoMembership(Box::new(session))
    } else {
        Standing::Live(Box::new(session))
    })
}

/// The provider of a session that lasts, which another request of its person would find to last too.
fn lasts(
    app: &App,
    snapshot: &Snapshot,
    (stored, person): (&StoredSession, &Person),
    now: Timestamp,
) -> Option<Arc<IdentityProvider>> {
    let provider = snapshot.identity_provider(stored.identity_provider);
    let provider = provider.filter(|provider| provider.enabled && person.enabled)?;
    // Saving another `second_factor` ends the sessions. This holds for rows that came about otherwise,
    // such as from a backup.
    let (acr, amr) = (stored.acr.as_deref(), &stored.amr);
    let is_proved = presence::is_proved(&provider.second_factor, acr, amr);
    (is_proved && is_in_time(app, stored, now)).then(|| provider.clone())
}

/// The person of the session by which tokens are known as `lineage`, while it lasts.
///
/// # Errors
///
/// If the database fails.
pub async fn person_of(
    app: &App,
    lineage: SessionId,
) -> Result<Option<SignedInPerson>, StoreError> {
    let Some((stored, person)) = app.store.session_of_lineage(lineage).await? else {
        return Ok(None);
    };
    let (snapshot, now) = (app.rules(), app.clock.now());
    if lasts(app, &snapshot, (&stored, &person), now).is_none() {
        return Ok(None);
    }
    Ok(Some(SignedInPerson {
        id: person.id,
        session_ends_at: ends_at(app, &stored),
        auth_time: proved_at(stored.auth_time, stored.created_at),
        username: person.username,
        name: person.name,
        email: person.email,
        identity_provider: stored.identity_provider,
        claims: stored.claims,
        session: stored.lineage,
        acr: stored.acr,
        amr: stored.amr,
    }))
}

/// When a person proved who they are. A provider's clock may be ahead; the proof is older than the
/// session that rests on it.
fn proved_at(auth_time: Option<Timestamp>, created_at: Timestamp) -> Option<Timestamp> {
    auth_time.map(|at| at.min(created_at))
}

/// Until when a proof of identity suffices for a change.
pub fn suffices_until(app: &App, proved_at: Timestamp, wanted: Write) -> Timestamp {
    proved_at.plus_seconds(step_up_seconds(app, wanted))
}

/// How old a proof of identity may be for a change, in seconds.
pub fn step_up_seconds(app: &App, wanted: Write) -> i64 {
    match wanted {
        Write::Rules => app.config.people.step_up_seconds,
        Write::Operator => OPERATOR_STEP_UP_SECONDS.min(app.config.people.step_up_seconds),
    }
}

/// The token of the forms of the session that these cookies name, be it over or not.
pub fn csrf(app: &App, cookies: &[(String, String)]) -> Option<Csrf> {
    let own = &app.config.own;
    CookieSecret::of(cookies, own).map(|secret| Csrf::of(&secret, own))
}

/// Whether neither of the two times of a session is over. What was ended since a backup is not
/// known, so sessions from before a restore are over.
fn is_in_time(app: &App, session: &StoredSession, now: Timestamp) -> bool {
    let idle_seconds = app.config.people.session_idle_seconds;
    let idle = session.last_used_at.plus_seconds(idle_seconds);
    let is_older = |restored: Timestamp| session.created_at <= restored;
    now < ends_at(app, session) && now < idle && !app.restored_at.is_some_and(is_older)
}

/// When a session ends, unless it idles before: by the setting of today, and by that of the server at
/// which it began.
fn ends_at(app: &App, session: &StoredSession) -> Timestamp {
    let seconds = app.config.people.session_seconds;
    session
        .expires_at
        .min(session.created_at.plus_seconds(seconds))
}

/// The purpose for which the ID token of a session is sealed.
fn id_token_purpose(owner: &str) -> Purpose<'_> {
    Purpose {
        kind: "id_token of a session",
        owner,
    }
}

/// What the seal of a session's ID token names: this server and the session.
fn seal_owner(own: &OwnUrls, id: SessionId) -> String {
    format!("{} {id}", own.issuer())
}

impl Session {
    fn of(
        stored: StoredSession,
        person: Person,
        provider: Arc<IdentityProvider>,
        roles: Roles,
        csrf: Csrf,
    ) -> Self {
        Self {
            id: stored.id,
            lineage: stored.lineage,
            person,
            provider,
            roles,
            claims: stored.claims,
            auth_time: stored.auth_time,
            created_at: stored.created_at,
            last_used_at: stored.last_used_at,
            csrf,
        }
    }

    /// The best name of the person that the provider gave.
    pub fn shown_name(&self) -> &str {
        let person = &self.person;
        let names = [&person.name, &person.username, &person.email];
        names.into_iter().flatten().next().unwrap_or(&person.sub)
    }

    /// Writes that the session is used, at most once a minute. A failure only makes the session idle
    /// a little earlier.
    pub async fn note_use(&self, app: &App) {
        let now = app.clock.now();
        let noted = now.plus_seconds(NOTE_USE_SECONDS.saturating_neg());
        if self.last_used_at > noted {
            return;
        }
        if let Err(error) = app.store.note_session_use(self.id, now, noted).await {
            tracing::warn!(%error, "the use of a session cannot be written");
        }
    }

    /// Whether the provider said when the person proved who they are. Otherwise `auth_time` is when the
    /// person was sent there, which the operator takes for a proof (`new_sign_in`).
    pub fn provider_says_when(&self) -> bool {
        self.claims.contains_key(AUTH_TIME)
    }

    /// Whether the person proved recently enough who they are.
    pub fn freshness(&self, app: &App, wanted: Write) -> Fresh {
        // Many providers send the time only where `max_age` asks for it, as a step-up does (OpenID
        // Connect Core 1.0 section 2).
        let Some(proved_at) = proved_at(self.auth_time, self.created_at) else {
            return if self.provider.writes {
                Fresh::StepUp
            } else {
                Fresh::Never(Reason::AuthTimeMissing)
            };
        };
        let until = suffices_until(app, proved_at, wanted);
        if app.clock.now() < until {
            Fresh::Until(until)
        } else {
            Fresh::StepUp
        }
    }
}
