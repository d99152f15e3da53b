//! The document of a principal.

use serde::Serialize;
use serde_json::{Map, Value};

use super::client::names;
use super::reader::Reader;
use super::{Document, Kind, ReadContext, members};
use crate::clock::Timestamp;
use crate::model::{Principal, PrincipalKind};
use crate::trust::{DocumentError, Warning};

/// A registry identity: a user, organization, team, service or project.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct PrincipalDocument {
    /// The `sub` of the principal's tokens. The server chooses it unless it is given at creation;
    /// it never changes.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,128}$")]
    pub id: Option<String>,
    /// The type of identity that the registry has under this name.
    pub kind: PrincipalKind,
    /// The registry's own id of the principal, passed on in tokens.
    pub external_id: Option<String>,
    /// A name for display.
    pub display_name: Option<String>,
    /// Other principals, by name, whose packages this principal's self-service rules may name as
    /// `owner`.
    pub acts_for: Vec<String>,
    /// Whether the principal's rules count; the tokens of a disabled principal end.
    pub enabled: bool,
}

impl Document for PrincipalDocument {
    const KIND: Kind = Kind::Principal;
    type State = ();

    fn read(given: &Map<String, Value>, _: ReadContext<'_>) -> Result<Self, Vec<DocumentError>> {
        let mut reader = Reader::new(given);
        let id = reader.text("id");
        let is_id = |id: &String| {
            id.len() <= 128
                && id
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
        };
        if id.as_ref().is_some_and(|id| !is_id(id)) {
            reader.problem(
                "id",
                "must consist of 1 to 128 letters, digits, `.`, `_` and `-`",
            );
        }
        let kinds = PrincipalKind::ALL.map(PrincipalKind::as_str).join(", ");
        let known = |text: &str| {
            text.parse::<PrincipalKind>()
                .map_err(|()| format!("must be one of {kinds}"))
        };
        let kind = reader.parsed("kind", known);
        if !given.contains_key("kind") {
            reader.problem("kind", format!("must be given: one of {kinds}"));
        }
        let document = Self {
            id,
            kind: kind.unwrap_or(PrincipalKind::User),
            external_id: reader.text("external_id"),
            display_name: reader.text("display_name"),
            acts_for: names(&mut reader, "acts_for"),
            enabled: reader.boolean("enabled").unwrap_or(true),
        };
        reader.finish(document)
    }

    fn given_id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    fn shown(&self, _: ReadContext<'_>) -> Map<String, Value> {
        let mut shown = members(self);
        for name in ["external_id", "display_name"] {
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

impl PrincipalDocument {
    /// The principal in the form that requests are decided by.
    pub fn compile(&self, id: &str, name: &str, created_at: Timestamp) -> Principal {
        Principal {
            id: id.to_owned(),
            name: name.to_owned(),
            acts_for: self
                .acts_for
                .iter()
                .map(|name| name.to_ascii_lowercase())
                .collect(),
            created_at,
            kind: self.kind,
            external_id: self.external_id.clone(),
            enabled: self.enabled,
        }
    }
}
