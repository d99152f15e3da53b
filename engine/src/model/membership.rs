use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::FederatedCredential;
use crate::clock::Timestamp;
use crate::ids::{IdentityProviderId, MembershipId};

/// Which persons of an identity provider have a role, in compiled form.
#[derive(Clone, Debug)]
pub struct Membership {
    pub id: MembershipId,
    pub name: String,
    /// Increases when the meaning of the membership changes. Tokens of an older revision end.
    pub revision: u32,
    pub identity_provider: IdentityProviderId,
    /// The folded name of the principal; `None` for a role in the whole server.
    pub principal: Option<Arc<str>>,
    pub role: Role,
    pub expires_at: Option<Timestamp>,
    pub enabled: bool,
    /// The conditions, in the form that the matcher judges. Its id is the one of the membership.
    pub rule: Arc<FederatedCredential>,
}

/// What a membership lets a person do.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Writes the rules of one principal.
    Owner,
    /// Reads the rules of one principal.
    Viewer,
    /// Manages the server, as the scope `admin` does.
    Operator,
    /// Reads everything, as the scope `admin:read` does.
    Auditor,
}

impl Role {
    pub const ALL: [Self; 4] = [Self::Owner, Self::Viewer, Self::Operator, Self::Auditor];

    /// The name used in documents and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Auditor => "auditor",
        }
    }

    /// Whether the role is one at a principal, which the membership then names.
    pub const fn is_of_principal(self) -> bool {
        matches!(self, Self::Owner | Self::Viewer)
    }

    /// Whether a user name or an address suffices for the role. It can be given to somebody else.
    pub const fn may_rest_on_names(self) -> bool {
        matches!(self, Self::Viewer)
    }
}
