use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::reader::Reader;
use super::{Document, Kind, ReadContext, members};
use crate::client::Client;
use crate::grant::GrantType;
use crate::trust::{Problem, Warning};

/// How a client proves who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// Not at all: a public client (RFC 7591 section 2).
    None,
}

/// Members of the outside contract that later versions bring, with the values that mean nothing new.
const LATER: [(&str, &[&str]); 6] = [
    ("jwks", &[]),
    ("jwks_uri", &[]),
    ("scopes", &["[]"]),
    ("permissions", &["[]"]),
    ("federated_credentials", &["[]"]),
    ("resource_server", &[]),
];

/// A registered OAuth client. Its `client_id` is its name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ClientDocument {
    /// How it proves who it is.
    pub auth_method: AuthMethod,
    /// The grant types it may use.
    #[schema(value_type = Vec<String>)]
    pub grant_types: Vec<GrantType>,
    /// Whether it is switched on.
    pub enabled: bool,
}

impl Document for ClientDocument {
    const KIND: Kind = Kind::Client;
    type State = ();

    fn read(given: &Map<String, Value>, _: ReadContext<'_>) -> Result<Self, Vec<Problem>> {
        let mut reader = Reader::new(given);
        for (name, neutral) in LATER {
            reader.later(name, neutral);
        }
        reader.parsed("auth_method", |text| match text {
            "none" => Ok(()),
            _ => Err("is \"none\""),
        });
        let supported = GrantType::ALL.map(GrantType::name).join(", ");
        let grant_types = match reader.texts("grant_types") {
            None => GrantType::ALL.to_vec(),
            Some(names) => {
                let known: Option<Vec<GrantType>> = names.iter().map(|name| GrantType::from_name(name)).collect();
                if known.is_none() {
                    reader.problem("grant_types", format!("holds grant types of this server: {supported}"));
                }
                known.unwrap_or_default()
            }
        };
        let enabled = reader.boolean("enabled").unwrap_or(true);
        reader.finish(Self { auth_method: AuthMethod::None, grant_types, enabled })
    }

    fn shown(&self, _: ReadContext<'_>) -> Map<String, Value> {
        members(self)
    }

    fn exported(&self) -> Map<String, Value> {
        members(self)
    }

    fn warnings(&self, _: ReadContext<'_>) -> Vec<Warning> {
        Vec::new()
    }
}

impl ClientDocument {
    /// What requests are judged by.
    pub fn compile(&self, name: &str) -> Client {
        Client { client_id: name.to_owned(), grant_types: self.grant_types.clone(), enabled: self.enabled }
    }
}
