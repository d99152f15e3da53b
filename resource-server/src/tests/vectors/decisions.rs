//! The cases of the decision: their form, and that the crate decides as they say.

use serde_json::{Map, Value, json};

use super::{conditions, entries, packages};
use crate::{AccessToken, AuthorizationDetail, Operation, PackageNames, RegistryState, allows};

pub(super) const DIGEST: &str =
    "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub(super) const OTHER_DIGEST: &str =
    "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
pub(super) const REGISTRY: &str = "https://registry.example/";

/// One case. A test states only what is not as in [`case`].
#[derive(Clone)]
pub(super) struct Case {
    group: String,
    says: String,
    names: String,
    entries: Vec<Value>,
    operation: Map<String, Value>,
    exists: bool,
    owned_by: Vec<String>,
    may_act_for: Vec<(String, String)>,
    /// The index of the entry that allows the operation, or the reason why none does.
    expected: Result<usize, String>,
}

/// joel publishes version 1.2.3 of his package `widgets`, which exists, by one entry for it.
pub(super) fn case(group: &str, says: &str) -> Case {
    let operation =
        json!({ "action": "publish", "package": "widgets", "version": "1.2.3", "digest": DIGEST });
    let Value::Object(operation) = operation else {
        panic!("no object")
    };
    Case {
        group: group.to_owned(),
        says: says.to_owned(),
        names: "exact".to_owned(),
        entries: vec![entry(&["publish"], &["widgets"])],
        operation,
        exists: true,
        owned_by: vec!["joel".to_owned()],
        may_act_for: vec![("joel".to_owned(), "joel".to_owned())],
        expected: Ok(0),
    }
}

/// An entry of joel for packages of his own.
pub(super) fn entry(actions: &[&str], packages: &[&str]) -> Value {
    json!({
        "type": "package", "actions": actions, "packages": packages, "owner": "joel", "principal": "joel",
        "credential": "fc_1", "revision": 1, "locations": [REGISTRY],
    })
}

/// An entry of a principal for new and existing packages of an owner.
pub(super) fn of(principal: &str, owner: &str) -> Value {
    let entry = with(
        entry(&["create", "publish"], &["widgets"]),
        "principal",
        json!(principal),
    );
    with(entry, "owner", json!(owner))
}

pub(super) fn with(mut entry: Value, member: &str, value: Value) -> Value {
    entry[member] = value;
    entry
}

impl Case {
    pub(super) fn names(mut self, mode: &str) -> Self {
        mode.clone_into(&mut self.names);
        self
    }

    pub(super) fn entries(mut self, entries: impl IntoIterator<Item = Value>) -> Self {
        self.entries = entries.into_iter().collect();
        self
    }

    pub(super) fn asks(mut self, action: &str, package: &str) -> Self {
        self.operation["action"] = json!(action);
        self.operation["package"] = json!(package);
        self
    }

    pub(super) fn version(mut self, version: Option<&str>) -> Self {
        self.operation["version"] = json!(version);
        self
    }

    pub(super) fn digest(mut self, digest: Option<&str>) -> Self {
        self.operation["digest"] = json!(digest);
        self
    }

    /// The package does not exist, so nobody owns it.
    pub(super) fn new_package(mut self) -> Self {
        self.exists = false;
        self.owned_by.clear();
        self
    }

    /// The package exists.
    pub(super) fn existing(mut self) -> Self {
        self.exists = true;
        self
    }

    pub(super) fn owned_by(mut self, owners: &[&str]) -> Self {
        self.owned_by = owners.iter().map(ToString::to_string).collect();
        self
    }

    /// Who may act for whom.
    pub(super) fn acts(mut self, pairs: &[(&str, &str)]) -> Self {
        let owned =
            |(principal, owner): &(&str, &str)| ((*principal).to_owned(), (*owner).to_owned());
        self.may_act_for = pairs.iter().map(owned).collect();
        self
    }

    pub(super) fn allows(mut self, entry: usize) -> Self {
        self.expected = Ok(entry);
        self
    }

    pub(super) fn denies(mut self, reason: &str) -> Self {
        self.expected = Err(reason.to_owned());
        self
    }

    fn json(&self, id: &str) -> Value {
        let mut case = json!({
            "id": id, "says": self.says, "package_names": self.names, "authorization_details": self.entries,
            "operation": self.operation,
            "registry": { "exists": self.exists, "owned_by": self.owned_by, "may_act_for": self.may_act_for },
        });
        match &self.expected {
            Ok(index) => {
                case["expect"] = json!("allow");
                case["entry"] = json!(index);
                case["principal"] = self.entries[*index]["principal"].clone();
                case["owner"] = self.entries[*index]["owner"].clone();
            }
            Err(reason) => {
                case["expect"] = json!("deny");
                case["reason"] = json!(reason);
            }
        }
        case
    }

    /// What the crate decides: the index of the entry that allows the operation, or the reason.
    fn decided(&self) -> Result<usize, String> {
        let claims = json!({
            "iss": "https://carnet.example", "aud": REGISTRY, "sub": "pr_1", "client_id": "federated:fc_1",
            "iat": 0, "exp": 1, "jti": "1", "authorization_details": self.entries,
        });
        let token: AccessToken = serde_json::from_value(claims).unwrap();
        let is_known =
            |entry: &Value| serde_json::from_value::<AuthorizationDetail>(entry.clone()).is_ok();
        let indexes: Vec<usize> = (0..self.entries.len())
            .filter(|index| is_known(&self.entries[*index]))
            .collect();
        let text = |member: &str| self.operation[member].as_str();
        let operation = Operation {
            action: text("action").unwrap(),
            package: text("package").unwrap(),
            version: text("version"),
            digest: text("digest"),
        };
        let state = RegistryState {
            exists: self.exists,
            owned_by: &|owner| self.owned_by.iter().any(|one| one == owner),
            may_act_for: &|principal, owner| {
                let allowed = |(by, of): &(String, String)| by == principal && of == owner;
                self.may_act_for.iter().any(allowed)
            },
        };
        let names: PackageNames = serde_json::from_value(json!(self.names)).unwrap();
        let details = &token.authorization_details;
        let allowed = allows(details, names, &operation, &state)
            .map_err(|denied| denied.reason.code().to_owned())?;
        let position = details
            .iter()
            .position(|one| std::ptr::eq(one, allowed.entry));
        Ok(indexes[position.unwrap()])
    }
}

fn cases() -> Vec<Case> {
    [
        packages::all(),
        conditions::actions(),
        conditions::limits(),
        conditions::owners(),
        conditions::order(),
        entries::several(),
        entries::new_packages(),
        entries::malformed(),
        entries::unusual(),
    ]
    .concat()
}

pub(super) fn all() -> Vec<Value> {
    let cases = cases();
    let number = |index: usize| {
        let of_group = cases[..index]
            .iter()
            .filter(|case| case.group == cases[index].group);
        of_group.count()
    };
    let numbered = cases.iter().enumerate();
    numbered
        .map(|(index, case)| case.json(&format!("decisions/{}-{}", case.group, number(index))))
        .collect()
}

#[test]
fn new_a17__the_crate_decides_as_the_vectors_say() {
    let mut wrong = Vec::new();
    for case in cases() {
        let decided = case.decided();
        if decided != case.expected {
            wrong.push(format!("{decided:?}: {}", case.json("")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
