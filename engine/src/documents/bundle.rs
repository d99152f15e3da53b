//! The file format of `carnet apply` and `carnet export`: objects by kind and name, in TOML or
//! JSON. Members are kept as they are; reading them is the work of the documents.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Kind;

/// The members of objects, by kind and name.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Bundle(BTreeMap<Kind, BTreeMap<String, Map<String, Value>>>);

/// Why a text cannot be read as a bundle.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    #[error("neither TOML nor JSON: {0}")]
    Syntax(String),
    /// A table whose name is not a kind of object.
    #[error(
        "`{0}` is not a kind of object; there are principals, trusted_issuers, resource_servers, federated_credentials, clients, notifications, identity_providers and memberships"
    )]
    UnknownTable(String),
    /// A value in the place of a table or of an object.
    #[error("`{0}` is not a table of objects")]
    NotObjects(String),
}

impl Bundle {
    /// Reads TOML, or JSON if the text begins with a brace.
    pub fn parse(text: &str) -> Result<Self, BundleError> {
        let value: Value = if text.trim_start().starts_with('{') {
            serde_json::from_str(text).map_err(|error| BundleError::Syntax(error.to_string()))?
        } else {
            toml::from_str(text).map_err(|error| BundleError::Syntax(error.to_string()))?
        };
        match value {
            Value::Object(tables) => Self::of_tables(tables),
            _ => Err(BundleError::Syntax("not a table".to_owned())),
        }
    }

    /// Converts tables of objects, such as the `objects` of a case file.
    pub fn of_tables(tables: Map<String, Value>) -> Result<Self, BundleError> {
        let mut bundle = Self::default();
        for (table, objects) in tables {
            let kind = Kind::ALL.into_iter().find(|kind| kind.table() == table);
            let kind = kind.ok_or_else(|| BundleError::UnknownTable(table.clone()))?;
            let Value::Object(objects) = objects else {
                return Err(BundleError::NotObjects(table));
            };
            for (name, object) in objects {
                let Value::Object(members) = object else {
                    return Err(BundleError::NotObjects(format!("{table}.{name}")));
                };
                bundle.insert(kind, &name, members);
            }
        }
        Ok(bundle)
    }

    /// Adds an object, or replaces the one of exactly this name.
    pub fn insert(&mut self, kind: Kind, name: &str, members: Map<String, Value>) {
        self.0
            .entry(kind)
            .or_default()
            .insert(name.to_owned(), members);
    }

    /// The objects of a kind, sorted by name.
    pub fn of(&self, kind: Kind) -> impl Iterator<Item = (&String, &Map<String, Value>)> {
        self.0.get(&kind).into_iter().flatten()
    }

    /// Removes an object and returns its members. Names are compared without ASCII case.
    pub fn take(&mut self, kind: Kind, name: &str) -> Option<Map<String, Value>> {
        let name = self.name_of(kind, name)?.to_owned();
        self.0.get_mut(&kind)?.remove(&name)
    }

    /// The spelling of an object's name in this bundle.
    pub fn name_of(&self, kind: Kind, name: &str) -> Option<&str> {
        self.of(kind)
            .map(|(known, _)| known.as_str())
            .find(|known| known.eq_ignore_ascii_case(name))
    }

    /// The members of an object. Names are compared without ASCII case.
    pub fn get(&self, kind: Kind, name: &str) -> Option<&Map<String, Value>> {
        self.of(kind)
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, members)| members)
    }

    pub fn to_json(&self) -> Value {
        let table = |objects: &BTreeMap<String, Map<String, Value>>| {
            objects
                .iter()
                .map(|(name, members)| (name.clone(), Value::Object(members.clone())))
                .collect::<Map<_, _>>()
        };
        self.0
            .iter()
            .map(|(kind, objects)| (kind.table().to_owned(), Value::Object(table(objects))))
            .collect()
    }

    /// As TOML. Errors if a value has no TOML form, such as `null`.
    pub fn to_toml(&self) -> Result<String, BundleError> {
        toml::to_string_pretty(&self.to_json())
            .map_err(|error| BundleError::Syntax(error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bundles_are_read_from_toml_and_json_and_written_back() {
        let text = "[principals.joel]\nkind = \"user\"\n\n[federated_credentials.r]\nprincipal = \"joel\"\n[federated_credentials.r.match]\nrepository = \"o/r\"\n";
        let bundle = Bundle::parse(text).unwrap();
        assert_eq!(bundle.get(Kind::Principal, "JOEL").unwrap()["kind"], "user");
        assert_eq!(Bundle::parse(&bundle.to_toml().unwrap()).unwrap(), bundle);
        assert_eq!(
            Bundle::parse(&bundle.to_json().to_string()).unwrap(),
            bundle
        );
    }

    #[test]
    fn syntax_errors_and_unknown_tables_of_a_bundle_are_named() {
        assert!(matches!(Bundle::parse("x = "), Err(BundleError::Syntax(_))));
        assert!(matches!(Bundle::parse("{"), Err(BundleError::Syntax(_))));
        assert_eq!(
            Bundle::parse("[policies.x]\n"),
            Err(BundleError::UnknownTable("policies".into()))
        );
        assert_eq!(
            Bundle::parse("principals = 1"),
            Err(BundleError::NotObjects("principals".into()))
        );
        assert_eq!(
            Bundle::parse("[principals]\njoel = 1"),
            Err(BundleError::NotObjects("principals.joel".into()))
        );
    }
}
