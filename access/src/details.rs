use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// The `type` of every entry Carnet issues (RFC 9396 section 2).
pub const DETAIL_TYPE: &str = "package";

/// One entry of `authorization_details`: what one federated credential permits at one registry.
///
/// Entries stand side by side. A registry allows an operation when one entry allows all of it; parts of two entries are
/// never put together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorizationDetail {
    /// Always [`DETAIL_TYPE`].
    #[serde(rename = "type")]
    pub kind: String,
    /// What may be done, in the registry's own words, such as `publish`.
    pub actions: Vec<String>,
    /// Package names, or patterns with `*`.
    pub packages: Vec<String>,
    /// For whom: the principal that owns the packages, by name.
    pub owner: String,
    /// Whose credential this is: the principal's name.
    pub principal: String,
    /// The federated credential's id.
    pub credential: String,
    /// The revision of the credential that was matched.
    pub revision: u32,
    /// What it rests on beside that credential, such as the credentials of whoever acts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rests_on: Vec<RestsOn>,
    /// The registry, by its resource URI.
    pub locations: Vec<String>,
    /// The only version it is good for, where that was narrowed down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The only artifact it is good for, as `sha256:…`, where that was narrowed down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// Something that a token or an entry rests on, as of a revision: if it ends or changes, so does the entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestsOn {
    /// What it is.
    pub kind: GroundKind,
    /// Its id.
    pub id: String,
    /// Its revision.
    #[serde(default)]
    pub revision: u32,
}

/// The kinds of things that tokens rest on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GroundKind {
    /// A federated credential.
    FederatedCredential,
    /// A principal.
    Principal,
}

/// Reads entries one by one. One of a form that this version does not know says something that it cannot judge, and allows nothing;
/// the others are as good as they were.
pub(crate) fn known<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<AuthorizationDetail>, D::Error> {
    let entries = Vec::<Value>::deserialize(deserializer)?;
    Ok(entries.into_iter().filter_map(|entry| serde_json::from_value(entry).ok()).collect())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Deserialize)]
    struct Token {
        #[serde(deserialize_with = "known")]
        entries: Vec<AuthorizationDetail>,
    }

    #[test]
    fn an_entry_of_an_unknown_form_takes_no_other_with_it() {
        let good = json!({
            "type": "package", "actions": ["publish"], "packages": ["a"], "owner": "o", "principal": "p",
            "credential": "fc_1", "revision": 1, "locations": [],
        });
        let with = |member: &str, value: Value| {
            let mut entry = good.clone();
            entry[member] = value;
            entry
        };
        let known_ground = json!([{ "kind": "federated_credential", "id": "fc_2", "revision": 3 }]);
        let entries = json!([
            with("until", json!("monday")),
            with("rests_on", json!([{ "kind": "trust_domain", "id": "td_1", "revision": 1 }])),
            good,
            with("rests_on", known_ground),
        ]);
        let token: Token = serde_json::from_value(json!({ "entries": entries })).unwrap();
        let grounds: Vec<_> = token.entries.iter().map(|entry| entry.rests_on.len()).collect();
        assert_eq!(grounds, [0, 1]);
    }
}
