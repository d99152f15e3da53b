//! The objects that a document refers to, and tables of objects by what documents call them.

use std::collections::HashMap;

use serde_json::{Map, Value};

use crate::documents::{Bundle, Kind};
use crate::scope::limited_scope;

/// What a document, or the key of a bundle, calls an object. Letter case does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectName {
    pub kind: Kind,
    name: String,
    /// The principal of a rule or a notification, since principals may use the same names.
    principal: Option<String>,
    /// Whether an object of another principal cannot be meant.
    is_of_this_principal: bool,
}

impl ObjectName {
    /// The object that a bundle or a list calls `key`: `name`, or `principal:name`
    /// for a rule or a notification.
    pub fn of(kind: Kind, key: &str, members: &Map<String, Value>) -> Self {
        let principal = text(members, "principal").filter(|_| kind.is_of_principals());
        Self {
            kind,
            name: bare(key),
            principal: principal.map(str::to_ascii_lowercase),
            is_of_this_principal: true,
        }
    }

    /// The object that a document calls `name`. A rule without its principal is preferably one of
    /// `own` principal's.
    fn called(kind: Kind, name: &str, own: Option<&str>) -> Self {
        let given = name.split_once(':').map(|(principal, _)| principal);
        let principal = given.or(own).filter(|_| kind.is_of_principals());
        Self {
            kind,
            name: bare(name),
            principal: principal.map(str::to_ascii_lowercase),
            is_of_this_principal: given.is_some(),
        }
    }
}

fn bare(name: &str) -> String {
    name.rsplit(':')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase()
}

/// Values by what documents call the object that they belong to.
#[derive(Debug)]
pub struct Named<T>(HashMap<(Kind, String), Vec<OfPrincipal<T>>>);

/// A value with the principal of its object, if the object is a rule.
type OfPrincipal<T> = (Option<String>, T);

impl<T> Default for Named<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Named<T> {
    pub fn insert(&mut self, object: ObjectName, value: T) {
        self.0
            .entry((object.kind, object.name))
            .or_default()
            .push((object.principal, value));
    }

    pub fn get(&self, object: &ObjectName) -> Option<&T> {
        let known = self.0.get(&(object.kind, object.name.clone()))?;
        let same = known
            .iter()
            .find(|(principal, _)| *principal == object.principal);
        let other = || {
            known
                .iter()
                .find(|(principal, _)| principal.is_none() || !object.is_of_this_principal)
        };
        same.or_else(other).map(|(_, value)| value)
    }
}

/// A reference of a document to another object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// A JSON Pointer to the member that holds the reference, or that is checked by the object
    /// referred to.
    pub pointer: String,
    pub object: ObjectName,
}

/// Every reference of a document to another object. Members of a wrong type are passed over: the
/// server reports them.
pub fn references(kind: Kind, members: &Map<String, Value>) -> Vec<Reference> {
    let own = text(members, "principal");
    let mut found = Vec::new();
    let mut note = |pointer: String, kind: Kind, name: Option<&str>| {
        found.extend(name.map(|name| Reference {
            pointer,
            object: ObjectName::called(kind, name, own),
        }));
    };
    let at = |name: &str| format!("/{name}");
    match kind {
        Kind::Principal => {
            for (pointer, name) in texts(members, "acts_for") {
                note(pointer, Kind::Principal, Some(name));
            }
        }
        Kind::TrustedIssuer => note(at("owner"), Kind::Principal, text(members, "owner")),
        Kind::ResourceServer => {
            let door = members.get("front_door").and_then(Value::as_object);
            let issuers = door
                .into_iter()
                .flat_map(|door| texts(door, "trusted_issuers"));
            for (pointer, name) in issuers {
                let pointer = format!("/front_door{pointer}");
                note(pointer, Kind::TrustedIssuer, Some(name));
            }
        }
        Kind::FederatedCredential => {
            note(at("principal"), Kind::Principal, own);
            let issuer = text(members, "trusted_issuer");
            note(at("trusted_issuer"), Kind::TrustedIssuer, issuer);
            for (pointer, name) in texts(members, "actors") {
                note(pointer, Kind::FederatedCredential, Some(name));
            }
        }
        Kind::Notification => note(at("principal"), Kind::Principal, own),
        Kind::IdentityProvider => {}
        Kind::Membership => {
            note(at("principal"), Kind::Principal, own);
            let provider = text(members, "identity_provider");
            note(at("identity_provider"), Kind::IdentityProvider, provider);
        }
        Kind::Client => {
            let server = text(members, "resource_server");
            note(at("resource_server"), Kind::ResourceServer, server);
            for (pointer, name) in texts(members, "federated_credentials") {
                note(pointer, Kind::FederatedCredential, Some(name));
            }
            for (_, scope) in texts(members, "scopes") {
                let name = limited_scope(scope).map(|(_, name)| name);
                note(at("scopes"), Kind::Principal, name);
            }
        }
    }
    let permissions = members.get("permissions").and_then(Value::as_array);
    for (at, permission) in permissions.into_iter().flatten().enumerate() {
        let target = permission.pointer("/target/name");
        let server = permission.get("resource_server").or(target);
        let pointer = format!("/permissions/{at}");
        note(
            pointer.clone(),
            Kind::ResourceServer,
            server.and_then(Value::as_str),
        );
        // The owner of a self-service rule is checked by what its own principal acts for.
        let owner = permission.get("owner").and_then(Value::as_str);
        note(pointer.clone(), Kind::Principal, owner);
        note(pointer, Kind::Principal, owner.and(own));
    }
    found
}

fn text<'m>(members: &'m Map<String, Value>, name: &str) -> Option<&'m str> {
    members.get(name).and_then(Value::as_str)
}

fn texts<'m>(
    members: &'m Map<String, Value>,
    name: &str,
) -> impl Iterator<Item = (String, &'m str)> {
    let pointer = format!("/{name}");
    let list = members.get(name).and_then(Value::as_array);
    let elements = list.into_iter().flatten().enumerate();
    elements.filter_map(move |(at, value)| Some((format!("{pointer}/{at}"), value.as_str()?)))
}

/// The objects of a kind in the order in which they can be saved: a rule after the rules that it
/// names in `actors`, a principal after those that it acts for. A cycle is left in its order: the
/// server refuses the first object of it, with the reason.
pub fn named_first(bundle: &Bundle, kind: Kind) -> Vec<(&String, &Map<String, Value>)> {
    let mut left: Vec<_> = bundle.of(kind).collect();
    let mut ordered = Vec::with_capacity(left.len());
    while !left.is_empty() {
        let mut waiting_for = Named::default();
        for (at, (name, members)) in left.iter().enumerate() {
            waiting_for.insert(ObjectName::of(kind, name, members), at);
        }
        let (mut ready, mut waiting) = (Vec::new(), Vec::new());
        for (at, (name, members)) in left.iter().enumerate() {
            let of_its_kind = references(kind, members).into_iter();
            let waits = of_its_kind
                .filter_map(|reference| waiting_for.get(&reference.object).copied())
                .any(|other| other != at);
            if waits {
                waiting.push((*name, *members));
            } else {
                ready.push((*name, *members));
            }
        }
        if ready.is_empty() {
            ordered.extend(waiting);
            break;
        }
        ordered.extend(ready);
        left = waiting;
    }
    ordered
}
