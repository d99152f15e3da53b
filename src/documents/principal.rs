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
    /// Given when it is made or chosen by the server, then fixed: the `sub` of its tokens.
    #[schema(pattern = "^[A-Za-z0-9._-]{1,128}$")]
    pub id: Option<String>,
    /// What it is.
    pub kind: PrincipalKind,
    /// The registry's own id of it.
    pub external_id: Option<String>,
    /// Its name for people.
    pub display_name: Option<String>,
    /// The principals, by name, for whose packages its self-service rules may be good.
    pub acts_for: Vec<String>,
    /// Whether it is switched on.
    pub enabled: bool,
}

impl Document for PrincipalDocument {
    const KIND: Kind = Kind::Principal;
    type State = ();

    fn read(given: &Map<String, Value>, _: ReadContext<'_>) -> Result<Self, Vec<DocumentError>> {
        let mut reader = Reader::new(given);
        let id = reader.text("id");
        let is_id =
            |id: &String| id.len() <= 128 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if id.as_ref().is_some_and(|id| !is_id(id)) {
            reader.problem("id", "holds letters, digits, `.`, `_` and `-`, 128 at most");
        }
        let kinds = PrincipalKind::ALL.map(PrincipalKind::as_str).join(", ");
        let kind =
            reader.parsed("kind", |text| text.parse::<PrincipalKind>().map_err(|()| format!("is one of {kinds}")));
        if !given.contains_key("kind") {
            reader.problem("kind", format!("is required: one of {kinds}"));
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
    /// What trust is decided from.
    pub fn compile(&self, id: &str, name: &str, created_at: Timestamp) -> Principal {
        Principal {
            id: id.to_owned(),
            name: name.to_owned(),
            acts_for: self.acts_for.iter().map(|name| name.to_ascii_lowercase()).collect(),
            created_at,
            kind: self.kind,
            external_id: self.external_id.clone(),
            enabled: self.enabled,
        }
    }
}
