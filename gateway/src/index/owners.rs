//! The list of a package's owners, where the protocol has one: "Owners" of cargo's Registry Web API,
//! "Owner Methods" of the RubyGems API, and what `npm access list collaborators` asks for.

use std::collections::BTreeSet;
use std::fmt;

use carnet_publish_protocols::Protocol;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};

use super::{Ask, Asked, NoAnswer, Page, unintelligible};

/// The longest list that is read, in bytes.
const MOST_LIST_BYTES: u64 = 1024 * 1024;
/// The longest login, in bytes.
const MOST_LOGIN_BYTES: usize = 256;

#[derive(Deserialize)]
struct OfCrate {
    users: Vec<CrateOwner>,
}

#[derive(Deserialize)]
struct CrateOwner {
    login: String,
}

#[derive(Deserialize)]
struct GemOwner {
    /// Users without one are known by their id alone.
    handle: Option<String>,
}

/// Logins, and what they may do.
struct Collaborators(Vec<(String, String)>);

pub(super) async fn owners<A: Ask>(
    asked: &Asked<'_, A>,
    package: &str,
) -> Result<Option<BTreeSet<String>>, NoAnswer> {
    let protocol = asked.index.protocol;
    let path = path(protocol, package).ok_or(NoAnswer::NoOwnerLists(protocol.as_str()))?;
    let url = asked.url(&path)?;
    let page = asked.bounded(&url, Some("application/json"), MOST_LIST_BYTES);
    match page.await? {
        Page::Found { url, body } => read(protocol, &body)
            .map(Some)
            .ok_or_else(|| unintelligible(&url, "a list of owners")),
        Page::Missing { .. } => Ok(None),
        Page::Elsewhere(url) => Err(NoAnswer::Elsewhere { url }),
    }
}

/// Where the list is; `None` if the protocol has none.
fn path(protocol: Protocol, package: &str) -> Option<String> {
    match protocol {
        Protocol::CratesIo => Some(format!("api/v1/crates/{package}/owners")),
        Protocol::Rubygems => Some(format!("api/v1/gems/{package}/owners.json")),
        Protocol::Npm => {
            let package = package.replace('/', "%2f");
            Some(format!("-/package/{package}/collaborators"))
        }
        Protocol::Pypi | Protocol::Nuget => None,
    }
}

/// The logins of a list; `None` if it is none of this protocol.
fn read(protocol: Protocol, body: &[u8]) -> Option<BTreeSet<String>> {
    let logins: BTreeSet<String> = match protocol {
        Protocol::CratesIo => {
            let list: OfCrate = serde_json::from_slice(body).ok()?;
            list.users.into_iter().map(|owner| owner.login).collect()
        }
        Protocol::Rubygems => {
            let list: Vec<GemOwner> = serde_json::from_slice(body).ok()?;
            list.into_iter().filter_map(|owner| owner.handle).collect()
        }
        Protocol::Npm => {
            let list: Collaborators = serde_json::from_slice(body).ok()?;
            list.writers().collect()
        }
        Protocol::Pypi | Protocol::Nuget => return None,
    };
    logins.iter().all(|login| is_login(login)).then_some(logins)
}

fn is_login(text: &str) -> bool {
    !text.is_empty() && text.len() <= MOST_LOGIN_BYTES && !text.contains(char::is_control)
}

impl Collaborators {
    /// Those who may publish. npm's own registry writes `read-write`, others `write`.
    fn writers(self) -> impl Iterator<Item = String> {
        let may_write = |permission: &str| matches!(permission, "read-write" | "write");
        self.0
            .into_iter()
            .filter(move |(_, permission)| may_write(permission))
            .map(|(login, _)| login)
    }
}

impl<'de> Deserialize<'de> for Collaborators {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;

        impl<'de> Visitor<'de> for Members {
            type Value = Collaborators;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of logins and permissions")
            }

            /// Two permissions of one login could be read either way, so they are refused.
            fn visit_map<M: MapAccess<'de>>(self, mut members: M) -> Result<Self::Value, M::Error> {
                let (mut all, mut seen) = (Vec::new(), BTreeSet::new());
                while let Some((login, permission)) = members.next_entry::<String, String>()? {
                    if !seen.insert(login.clone()) {
                        return Err(M::Error::custom("a login occurs twice"));
                    }
                    all.push((login, permission));
                }
                Ok(Collaborators(all))
            }
        }

        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn logins(protocol: Protocol, list: &str) -> Option<Vec<String>> {
        read(protocol, list.as_bytes()).map(|logins| logins.into_iter().collect())
    }

    fn owned(logins: &[&str]) -> Vec<String> {
        logins.iter().map(|login| (*login).to_owned()).collect()
    }

    #[test]
    fn lists_are_read_as_each_protocol_writes_them() {
        let list = r#"{"users":[{"id":70,"login":"github:acme:core","name":"Core"},{"id":42,"login":"joel"},
            {"id":42,"login":"joel","name":null,"kind":"user"}],"more":1}"#;
        let expected = Some(owned(&["github:acme:core", "joel"]));
        assert_eq!(logins(Protocol::CratesIo, list), expected);
        assert_eq!(logins(Protocol::CratesIo, r#"{"users":[]}"#), Some(vec![]));
        let list = r#"[{"id":1,"handle":"joel","email":"joel@acme.example"},{"id":2,"handle":null},{"email":"x@acme.example"}]"#;
        assert_eq!(logins(Protocol::Rubygems, list), Some(owned(&["joel"])));
        let list =
            r#"{"joel":"read-write","ann":"read-only","acme":"write","bob":"read","eve":"admin"}"#;
        assert_eq!(logins(Protocol::Npm, list), Some(owned(&["acme", "joel"])));
    }

    #[test]
    fn what_is_no_list_of_the_protocol_names_nobody() {
        let long = format!("{{\"users\":[{{\"login\":\"{}\"}}]}}", "a".repeat(257));
        let deep = format!("{{\"users\":{}", "[".repeat(100_000));
        for list in [
            "",
            "<html>",
            "null",
            "[]",
            "{}",
            r#"{"errors":[{"detail":"no"}]}"#,
            r#"{"users":{"login":"joel"}}"#,
            r#"{"users":["joel"]}"#,
            r#"{"users":[{"login":42}]}"#,
            r#"{"users":[{"login":"joel"},{"id":42}]}"#,
            r#"{"users":[{"login":""}]}"#,
            r#"{"users":[{"login":"joel\u001b[2J"}]}"#,
            r#"{"users":[{"login":"joel","login":"acme"}]}"#,
            r#"{"users":[],"users":[{"login":"joel"}]}"#,
            r#"{"users":[{"login":"joel"}]} {}"#,
            &long,
            &deep,
        ] {
            assert_eq!(logins(Protocol::CratesIo, list), None, "{list:.60}");
        }
        for list in [
            r#"{"handle":"joel"}"#,
            r#"["joel"]"#,
            r#"[{"handle":42}]"#,
            r#"[{"handle":"joel","handle":"acme"}]"#,
            r#"[{"handle":"jo\nel"}]"#,
        ] {
            assert_eq!(logins(Protocol::Rubygems, list), None, "{list}");
        }
        for list in [
            "[]",
            r#"["joel"]"#,
            r#"{"joel":true}"#,
            r#"{"joel":["read-write"]}"#,
            r#"{"joel":"read-only","joel":"read-write"}"#,
            r#"{"joel":"read-write","\u006aoel":"read-only"}"#,
            r#"{"":"read-write"}"#,
        ] {
            assert_eq!(logins(Protocol::Npm, list), None, "{list}");
        }
    }
}
