//! The entries of `authorization_details` that Carnet issues (RFC 9396).

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// The `type` of every entry that Carnet issues (RFC 9396 section 2).
pub const DETAIL_TYPE: &str = "package";

/// One entry of `authorization_details`: what one permission of a rule allows at one registry.
///
/// A registry allows an operation only if a single entry allows all of it; parts of several entries
/// are never combined. An entry with an unknown member does not deserialize, since the member could
/// be a restriction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorizationDetail {
    /// [`DETAIL_TYPE`] in every entry that Carnet issues.
    #[serde(rename = "type")]
    pub kind: String,
    /// The actions that are allowed, such as `publish`: those that the registry is configured with.
    pub actions: Vec<String>,
    /// The packages that are allowed: names, or patterns
    /// ([`PackagePattern`](crate::PackagePattern)).
    pub packages: Vec<String>,
    /// The name of the principal that owns the packages, and that gets new ones.
    pub owner: String,
    /// The name of the principal whose rule this is. It acts for the owner.
    pub principal: String,
    /// The id of the rule (federated credential), `fc_…`; in a token that a client got for itself,
    /// the client's id, `cl_…`; in one that it got on behalf of a person, the id of the membership
    /// that lets the person act for the principal, `mb_…`.
    pub credential: String,
    /// The revision of the rule, client or membership, for which the entry was issued.
    pub revision: u32,
    /// Other objects that the entry depends on, such as the rules of actors. Empty in most entries.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rests_on: Vec<RestsOn>,
    /// The resource URI of the registry, as an array of one (RFC 9396 section 2.2).
    pub locations: Vec<String>,
    /// The only version that is allowed, compared byte for byte; `None` if any is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The only artifact that is allowed, as `sha256:` and 64 hexadecimal digits in lower case;
    /// `None` if any is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// An object that a token or an entry depends on, at a revision. If the object ends or its revision
/// changes, the token or entry is no longer in force, and introspection leaves it out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RestsOn {
    /// The kind of the object.
    pub kind: GroundKind,
    /// The object's id in Carnet.
    pub id: String,
    /// The revision of the rule that the entry depends on; 0 for objects without revisions.
    #[serde(default)]
    pub revision: u32,
}

/// The kinds of objects that a token can depend on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GroundKind {
    /// A rule (federated credential).
    FederatedCredential,
    /// A principal, which has no revision.
    Principal,
    /// A membership, which gives persons a role.
    Membership,
}

/// Deserializes entries one by one. An entry of an unknown form may contain a restriction that this
/// version cannot check, so it is left out and allows nothing; the other entries are kept.
pub(crate) fn known<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<AuthorizationDetail>, D::Error> {
    let entries = Vec::<Value>::deserialize(deserializer)?;
    Ok(entries
        .into_iter()
        .filter_map(|entry| serde_json::from_value(entry).ok())
        .collect())
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
    fn entries_of_an_unknown_form_are_skipped_and_the_other_entries_stay() {
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
            with(
                "rests_on",
                json!([{ "kind": "trust_domain", "id": "td_1", "revision": 1 }])
            ),
            good,
            with("rests_on", known_ground),
        ]);
        let token: Token = serde_json::from_value(json!({ "entries": entries })).unwrap();
        let grounds: Vec<_> = token
            .entries
            .iter()
            .map(|entry| entry.rests_on.len())
            .collect();
        assert_eq!(grounds, [0, 1]);
    }
}
