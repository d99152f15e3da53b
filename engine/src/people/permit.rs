//! A person whose session lasts, and the permit that memberships give.

use carnet_access::{AccessToken, PersonClaim};
use serde_json::{Map, Value};

use super::{Roles, roles};
use crate::clock::Timestamp;
use crate::ids::{IdentityProviderId, PersonId, SessionId};
use crate::model::DecisionContext;
use crate::reason::Reason;

/// A person whose session lasts.
#[derive(Clone, Debug)]
pub struct SignedInPerson {
    pub id: PersonId,
    pub username: Option<String>,
    pub name: Option<String>,
    pub email: Option<String>,
    pub identity_provider: IdentityProviderId,
    /// The claims that memberships can read, as they came at the sign-in.
    pub claims: Map<String, Value>,
    /// By which tokens name the session. A step-up does not change it.
    pub session: SessionId,
    /// When the session ends at the latest.
    pub session_ends_at: Timestamp,
    /// When the person proved who they are, as far as that is known.
    pub auth_time: Option<Timestamp>,
    pub acr: Option<String>,
    pub amr: Vec<String>,
}

/// A person to whom memberships give a role at this moment. Only their evaluation makes one.
#[derive(Clone, Debug)]
pub struct PersonPermit {
    person: SignedInPerson,
    roles: Roles,
}

impl PersonPermit {
    /// Judges the memberships of the person's identity provider.
    ///
    /// # Errors
    ///
    /// `no_membership` if none gives the person a role, such as when the provider is disabled.
    pub fn new(person: SignedInPerson, context: &DecisionContext<'_>) -> Result<Self, Reason> {
        let provider = context.rules.identity_provider(person.identity_provider);
        let held =
            provider.map(|provider| roles(&context.rules, provider, &person.claims, context.now));
        let roles = held.unwrap_or_default();
        if roles.is_empty() {
            return Err(Reason::NoMembership);
        }
        Ok(Self { person, roles })
    }

    pub fn person(&self) -> &SignedInPerson {
        &self.person
    }

    /// What the person may do now.
    pub fn roles(&self) -> &Roles {
        &self.roles
    }
}

/// What a token says of the person on whose behalf it was issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PersonClaims {
    pub person: PersonClaim,
    /// The id of the session.
    pub sid: String,
    /// In seconds since 1970.
    pub auth_time: Option<i64>,
    pub acr: Option<String>,
    pub amr: Vec<String>,
}

impl PersonClaims {
    /// What a token of ours says; `None` if no person signed in for it.
    pub fn of(token: &AccessToken) -> Option<Self> {
        Some(Self {
            person: token.person.clone()?,
            sid: token.sid.clone()?,
            auth_time: token.auth_time,
            acr: token.acr.clone(),
            amr: token.amr.clone(),
        })
    }
}

impl From<&SignedInPerson> for PersonClaims {
    fn from(person: &SignedInPerson) -> Self {
        Self {
            person: PersonClaim {
                id: person.id.to_string(),
                username: person.username.clone(),
                name: person.name.clone(),
            },
            sid: person.session.to_string(),
            auth_time: person.auth_time.map(Timestamp::seconds),
            acr: person.acr.clone(),
            amr: person.amr.clone(),
        }
    }
}
