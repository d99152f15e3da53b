use carnet_resource_server::PackagePattern;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::client::references;
use super::reader::Reader;
use super::{Document, Kind, ReadContext, ResourceServerDocument, members};
use crate::clock::Timestamp;
use crate::json::json_bytes;
use crate::model::RuleReference;
use crate::trust::{DocumentError, Warning};

/// The kind of target that permissions have.
pub(crate) const RESOURCE_SERVER_TARGET: &str = "resource_server";
/// How many packages and patterns all permissions may name together (contract, section 6).
const MAX_PATTERNS: usize = 1_000;
/// How large `match` may be, in bytes.
const MAX_MATCH_BYTES: usize = 16 * 1024;
/// How many permissions a rule may have.
const MAX_PERMISSIONS: usize = 100;

/// How many credentials may be named as actors.
const MAX_ACTORS: usize = 100;

/// A rule: which assertions of one trusted issuer may act for one principal, with which permissions.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct FederatedCredentialDocument {
    /// The principal it acts for, by name.
    pub principal: String,
    /// The trusted issuer it is about, by name.
    pub trusted_issuer: String,
    /// What an assertion has to be; the fields are those of the trusted issuer's profile.
    #[serde(rename = "match")]
    #[schema(value_type = Object)]
    pub matcher: Map<String, Value>,
    /// What a match gives.
    pub permissions: Vec<PermissionDocument>,
    /// The federated credentials whose workloads may act for this one's (RFC 8693 section 4.1): `name`, `principal:name` or id.
    pub actors: Vec<String>,
    /// Whether somebody vouches for it, so that it counts for workloads that do not ask for its principal. Given by whoever may say
    /// so; what holds is stored beside the document.
    pub vouched: Option<bool>,
    /// When it ends.
    #[serde(serialize_with = "time")]
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<Timestamp>,
    /// When somebody should look at it again; it stays in force.
    #[serde(serialize_with = "time")]
    #[schema(value_type = Option<String>)]
    pub review_at: Option<Timestamp>,
    /// Whether it is switched on.
    pub enabled: bool,
}

/// What becomes of a rule.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CredentialState {
    /// The pinned ids.
    pub pinned: Map<String, Value>,
    /// Until when it waits for its first match, if it is pending.
    pub pending_until: Option<Timestamp>,
    /// Who vouches for it.
    pub vouching: Vouching,
    /// Which credentials its actors are, in their order.
    pub actors: Vec<RuleReference>,
    /// Grows when what the rule means changes.
    pub revision: u32,
    /// When it last gave a token, to within some seconds.
    pub last_used_at: Option<Timestamp>,
}

/// Whether somebody vouches for a rule (contract, section 4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Vouching {
    /// Nobody: it counts for whoever asks for its principal.
    #[default]
    SelfService,
    /// Somebody does.
    Vouched,
    /// It is of a time when nobody was asked, and counts as it did until somebody has looked at it.
    Assumed,
}

impl Vouching {
    const ALL: [Self; 3] = [Self::SelfService, Self::Vouched, Self::Assumed];

    /// Whether it counts without being asked for.
    pub fn counts(self) -> bool {
        self != Self::SelfService
    }

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SelfService => "self_service",
            Self::Vouched => "vouched",
            Self::Assumed => "assumed",
        }
    }

    /// Reads the word; what nobody knows counts for nobody.
    pub fn from_word(word: &str) -> Self {
        Self::ALL.into_iter().find(|vouching| vouching.as_str() == word).unwrap_or_default()
    }
}

/// What a match gives at one resource server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PermissionDocument {
    /// The resource server, by name.
    pub resource_server: String,
    /// The actions, of those the resource server has.
    pub actions: Vec<String>,
    /// Package names, or patterns in which `*` is any run of characters.
    pub packages: Vec<String>,
    /// The owner of the packages, by name; the credential's principal unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

impl PermissionDocument {
    /// What is wrong with it beside the resource server that it names, if there is one.
    pub fn problem_at(&self, server: Option<(&str, &ResourceServerDocument)>) -> Option<DocumentError> {
        let Some((name, document)) = server else {
            let detail = format!("there is no resource server {}", self.resource_server);
            return Some(DocumentError::new("/resource_server", detail));
        };
        let unknown = self.actions.iter().filter(|action| !document.actions.contains(action));
        let unknown: Vec<&str> = unknown.map(String::as_str).collect();
        (!unknown.is_empty()).then(|| {
            let known = document.actions.join(", ");
            let detail = format!("{name} has no action {}; its actions are {known}", unknown.join(", "));
            DocumentError::new("/actions", detail)
        })
    }
}

#[expect(clippy::ref_option, reason = "the signature serde asks for")]
fn time<S: serde::Serializer>(at: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}

impl Document for FederatedCredentialDocument {
    const KIND: Kind = Kind::FederatedCredential;
    type State = CredentialState;

    /// Reads all but the meaning of `match`, which depends on the profile of the trusted issuer.
    fn read(given: &Map<String, Value>, _: ReadContext<'_>) -> Result<Self, Vec<DocumentError>> {
        let mut reader = Reader::new(given);
        let principal = required_name(&mut reader, "principal");
        let trusted_issuer = required_name(&mut reader, "trusted_issuer");
        let matcher = match reader.value("match") {
            Some(Value::Object(matcher)) => {
                let bytes = json_bytes(matcher);
                if bytes > MAX_MATCH_BYTES {
                    reader.problem("match", format!("takes {MAX_MATCH_BYTES} bytes at most, and this is {bytes}"));
                }
                matcher.clone()
            }
            Some(_) => {
                reader.problem("match", "is an object");
                Map::new()
            }
            None => {
                reader.problem("match", "is required");
                Map::new()
            }
        };
        let permissions = permissions(&mut reader, 1);
        let actors = references(&mut reader, "actors");
        if actors.len() > MAX_ACTORS {
            reader.problem("actors", format!("names {MAX_ACTORS} at most"));
        }
        let document = Self {
            principal,
            trusted_issuer,
            matcher,
            permissions,
            actors,
            vouched: reader.boolean("vouched"),
            expires_at: reader.time("expires_at"),
            review_at: reader.time("review_at"),
            enabled: reader.boolean("enabled").unwrap_or(true),
        };
        reader.finish(document)
    }

    fn shown(&self, _: ReadContext<'_>) -> Map<String, Value> {
        let mut shown = members(self);
        for name in ["expires_at", "review_at"] {
            shown.entry(name).or_insert(Value::Null);
        }
        let permissions: Vec<Value> = self
            .permissions
            .iter()
            .map(|permission| {
                let owner = permission.owner.as_ref().unwrap_or(&self.principal);
                json!({
                    "resource_server": permission.resource_server, "actions": permission.actions,
                    "packages": permission.packages, "owner": owner,
                })
            })
            .collect();
        shown.insert("permissions".to_owned(), permissions.into());
        shown
    }

    fn exported(&self) -> Map<String, Value> {
        members(self)
    }

    fn warnings(&self, _: ReadContext<'_>) -> Vec<Warning> {
        let everything = self.permissions.iter().any(|permission| permission.packages.iter().any(|name| name == "*"));
        let warning = Warning {
            code: "any_package".to_owned(),
            detail: "the pattern * covers every package of the owner, those made tomorrow too".to_owned(),
        };
        everything.then_some(warning).into_iter().collect()
    }
}

/// The permissions of a document, of which there are so many at least.
pub(super) fn permissions(reader: &mut Reader<'_>, least: usize) -> Vec<PermissionDocument> {
    let elements = match reader.value("permissions") {
        Some(Value::Array(elements)) if (least..=MAX_PERMISSIONS).contains(&elements.len()) => elements.as_slice(),
        None if least == 0 => &[],
        _ => {
            reader.problem("permissions", format!("is a list of {least} to {MAX_PERMISSIONS} permissions"));
            &[]
        }
    };
    let mut permissions = Vec::new();
    for (at, element) in elements.iter().enumerate() {
        match permission(element) {
            Ok(permission) => permissions.push(permission),
            Err(problems) => {
                let inside = |p: DocumentError| DocumentError::new(format!("/{at}{}", p.pointer), p.detail);
                reader.problems_in("permissions", problems.into_iter().map(inside).collect());
            }
        }
    }
    let patterns: usize = permissions.iter().map(|permission| permission.packages.len()).sum();
    if patterns > MAX_PATTERNS {
        reader.problem(
            "permissions",
            format!("name {MAX_PATTERNS} packages and patterns at most, and these are {patterns}"),
        );
    }
    permissions
}

fn required_name(reader: &mut Reader<'_>, name: &'static str) -> String {
    if reader.value(name).is_none() {
        reader.problem(name, "is required");
    }
    reader.name(name).unwrap_or_default()
}

/// What a permission is for: a target, tagged by its kind, or the short form of the one kind that there is.
fn target(reader: &mut Reader<'_>) -> String {
    let Some(value) = reader.value("target") else {
        return required_name(reader, "resource_server");
    };
    if reader.value("resource_server").is_some() {
        reader.problem("target", "and resource_server are two forms of the same: one of them is given");
        return String::new();
    }
    let Value::Object(given) = value else {
        reader.problem("target", "is an object of kind and name");
        return String::new();
    };
    let mut inner = Reader::new(given);
    let kind = inner.required_text("kind");
    if kind != RESOURCE_SERVER_TARGET && !kind.is_empty() {
        inner.problem("kind", format!("is {RESOURCE_SERVER_TARGET}"));
    }
    let name = required_name(&mut inner, "name");
    inner.finish(name).unwrap_or_else(|problems| {
        reader.problems_in("target", problems);
        String::new()
    })
}

fn permission(element: &Value) -> Result<PermissionDocument, Vec<DocumentError>> {
    let Value::Object(given) = element else {
        return Err(vec![DocumentError::new("", "is an object of resource_server, actions, packages and owner")]);
    };
    let mut reader = Reader::new(given);
    let resource_server = target(&mut reader);
    let mut list = |name: &'static str| {
        let texts = reader.texts(name).unwrap_or_default();
        if texts.is_empty() {
            reader.problem(name, "names at least one");
        }
        texts
    };
    let actions = list("actions");
    let packages = list("packages");
    for package in &packages {
        if let Err(error) = PackagePattern::try_from(package.clone()) {
            reader.problem("packages", error.to_string());
        }
    }
    let owner = reader.name("owner");
    reader.finish(PermissionDocument { resource_server, actions, packages, owner })
}
