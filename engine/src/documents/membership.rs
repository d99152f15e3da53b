//! The document of a membership: which persons of an identity provider have which role. `match` is
//! read by `crate::trust`, once the identity provider's profile is known.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::federated_credential::{matcher, required_name, time};
use super::reader::Reader;
use super::{Document, Kind, ReadContext, Stored, members};
use crate::clock::Timestamp;
use crate::ids::{CredentialId, IdentityProviderId, MembershipId, TrustedIssuerId};
use crate::model::{FederatedCredential, Membership, PackedRule, Role, Rule};
use crate::profile::{Profile, Terms};
use crate::trust::{DocumentError, Normalised, Warning, normalise};

/// Which persons of an identity provider have which role.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct MembershipDocument {
    /// The identity provider whose persons are matched, by name.
    pub identity_provider: String,
    /// The conditions on a person's claims; the members are the fields of the identity provider's
    /// profile, and `claims`.
    #[serde(rename = "match")]
    #[schema(value_type = Object)]
    pub matcher: Map<String, Value>,
    /// The principal of the roles `owner` and `viewer`, by name; null for the other roles.
    pub principal: Option<String>,
    /// `owner` writes the principal's rules, `viewer` reads them; `operator` may what the scope
    /// `admin` may, `auditor` what `admin:read` may.
    pub role: Role,
    /// When the membership ends (RFC 3339); null for never.
    #[serde(serialize_with = "time")]
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<Timestamp>,
    /// Whether the membership counts.
    pub enabled: bool,
}

/// What the server stores beside the document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MembershipState {
    /// Grows when the membership's meaning changes.
    pub revision: u32,
}

impl Document for MembershipDocument {
    const KIND: Kind = Kind::Membership;
    type State = MembershipState;

    fn read(given: &Map<String, Value>, _: ReadContext<'_>) -> Result<Self, Vec<DocumentError>> {
        let mut reader = Reader::new(given);
        let identity_provider = required_name(&mut reader, "identity_provider");
        let matcher = matcher(&mut reader);
        let principal = reader.name("principal");
        let role = role(&mut reader);
        match (role, &principal) {
            (Some(role), None) if role.is_of_principal() => {
                let detail = format!("must be given: {} is a role at a principal", role.as_str());
                reader.problem("principal", detail);
            }
            (Some(role), Some(_)) if !role.is_of_principal() => {
                let detail = format!(
                    "must not be given: {} is a role in the whole server",
                    role.as_str()
                );
                reader.problem("principal", detail);
            }
            _ => {}
        }
        let document = Self {
            identity_provider,
            matcher,
            principal,
            role: role.unwrap_or(Role::Viewer),
            expires_at: reader.time("expires_at"),
            enabled: reader.boolean("enabled").unwrap_or(true),
        };
        reader.finish(document)
    }

    fn shown(&self, _: ReadContext<'_>) -> Map<String, Value> {
        let mut shown = members(self);
        for name in ["principal", "expires_at"] {
            shown.entry(name).or_insert(Value::Null);
        }
        shown
    }

    fn exported(&self) -> Map<String, Value> {
        members(self)
    }

    fn warnings(&self, _: ReadContext<'_>) -> Vec<Warning> {
        Vec::new()
    }
}

impl MembershipDocument {
    /// `match` in its stored form, with the warnings that it justifies.
    ///
    /// # Errors
    ///
    /// With every mistake, including a `match` that does not suffice for the role. The pointers
    /// begin at the document.
    pub fn matched_by(&self, profile: &Profile) -> Result<Normalised, Vec<DocumentError>> {
        let inside = |problem: DocumentError| {
            DocumentError::new(format!("/match{}", problem.pointer), problem.detail)
        };
        let normalised = normalise(profile, &Terms::default(), &self.matcher)
            .map_err(|problems| problems.into_iter().map(inside).collect::<Vec<_>>())?;
        let certain = profile.people.as_ref().map(|people| &people.certain);
        let is_certain = certain
            .into_iter()
            .flatten()
            .any(|field| normalised.matcher.contains_key(field));
        if is_certain || self.role.may_rest_on_names() {
            return Ok(normalised);
        }
        let known = certain.map(|fields| fields.join(" or "));
        let detail = format!(
            "must name {} for the role {}: a user name or an address can be given to somebody else, and other claims are those of many",
            known.unwrap_or_default(),
            self.role.as_str()
        );
        Err(vec![DocumentError::new("/match", detail)])
    }

    /// Whether the membership gives the same persons the same role as `other`.
    pub fn means_the_same(&self, other: &Self) -> bool {
        self.identity_provider == other.identity_provider
            && self.matcher == other.matcher
            && self.principal == other.principal
            && self.role == other.role
    }

    /// The membership in compiled form. `profile` is that of its identity provider.
    pub fn compile(
        stored: &Stored<Self>,
        id: MembershipId,
        identity_provider: IdentityProviderId,
        profile: &Profile,
    ) -> Membership {
        let Stored {
            document, state, ..
        } = stored;
        let nothing = Map::new();
        let rule = Rule {
            name: &stored.name,
            conditions: Rule::conditions(profile, &document.matcher, &nothing),
            ..Rule::default()
        };
        let folded = document.principal.as_ref();
        let principal: Option<Arc<str>> = folded.map(|name| name.to_ascii_lowercase().into());
        let rule = FederatedCredential {
            id: CredentialId(id.0),
            principal: principal.clone().unwrap_or_else(|| "".into()),
            trusted_issuer: TrustedIssuerId(identity_provider.0),
            revision: state.revision,
            created_at: stored.created_at,
            expires_at: document.expires_at,
            pending_until: None,
            enabled: document.enabled,
            vouched: true,
            rule: PackedRule::new(&rule),
        };
        Membership {
            id,
            name: stored.name.clone(),
            revision: state.revision,
            identity_provider,
            principal,
            role: document.role,
            expires_at: document.expires_at,
            enabled: document.enabled,
            rule: Arc::new(rule),
        }
    }
}

fn role(reader: &mut Reader<'_>) -> Option<Role> {
    let Some(value) = reader.value("role") else {
        reader.problem("role", "must be given");
        return None;
    };
    let role = serde_json::from_value(value.clone()).ok();
    if role.is_none() {
        let known = Role::ALL.map(Role::as_str).join(", ");
        reader.problem("role", format!("must be one of {known}"));
    }
    role
}
