//! The document of a federated credential (rule), and the state that is stored beside it. `match`
//! is read by `crate::trust`, once the trusted issuer's profile is known.

use carnet_access::{PackagePattern, ProofLevel};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::client::references;
use super::reader::Reader;
use super::{Document, Kind, ReadContext, ResourceServerDocument, members};
use crate::clock::Timestamp;
use crate::json::json_bytes;
use crate::model::RuleReference;
use crate::possession::ProofDemand;
use crate::trust::{DocumentError, Warning};

/// The only `kind` of a permission's `target`.
pub const RESOURCE_SERVER_TARGET: &str = "resource_server";
/// Most package names and patterns in all permissions of a document together
/// (`docs/src/reference/limits.md`).
const MAX_PATTERNS: usize = 1_000;
/// Largest `match`, in bytes of JSON.
const MAX_MATCH_BYTES: usize = 16 * 1024;
const MAX_PERMISSIONS: usize = 100;

const MAX_ACTORS: usize = 100;

/// A rule: which assertions of one trusted issuer may act for one principal, and with which
/// permissions.
#[derive(Clone, Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub struct FederatedCredentialDocument {
    /// The principal that matching workloads act for, by name.
    pub principal: String,
    /// The trusted issuer whose assertions are matched, by name.
    pub trusted_issuer: String,
    /// The conditions on an assertion; the members are the fields of the trusted issuer's profile,
    /// and `claims`.
    #[serde(rename = "match")]
    #[schema(value_type = Object)]
    pub matcher: Map<String, Value>,
    /// The permissions of a matching workload's token: 1 to 100.
    pub permissions: Vec<PermissionDocument>,
    /// The rules whose workloads may act for this rule's workloads (RFC 8693 section 4.1): `name`,
    /// `principal:name` or id; at most 100.
    pub actors: Vec<String>,
    /// Whether the rule is vouched for: then it counts for workloads that do not name its principal
    /// in the request. Only callers with the scope `admin` or `admin:credentials` may set it.
    pub vouched: Option<bool>,
    /// When the rule ends (RFC 3339); null for never.
    #[serde(serialize_with = "time")]
    #[schema(value_type = Option<String>)]
    pub expires_at: Option<Timestamp>,
    /// When the rule should be reviewed (RFC 3339): a note without effect.
    #[serde(serialize_with = "time")]
    #[schema(value_type = Option<String>)]
    pub review_at: Option<Timestamp>,
    /// Whether the rule counts; the tokens of a disabled rule end.
    pub enabled: bool,
}

/// What the server stores beside the document.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CredentialState {
    /// The ids that the first match pinned, by field.
    pub pinned: Map<String, Value>,
    /// When a rule that waits for its first match ends; `None` if it does not wait.
    pub pending_until: Option<Timestamp>,
    pub vouching: Vouching,
    /// The rules of `actors`, in the same order.
    pub actors: Vec<RuleReference>,
    /// Grows when the rule's meaning changes or vouching ends; tokens of a lower revision end.
    pub revision: u32,
    /// When the rule gave its first token, accurate to some seconds; of rules older than this member, a
    /// later one.
    pub first_used_at: Option<Timestamp>,
    /// When the rule last gave a token, accurate to some seconds.
    pub last_used_at: Option<Timestamp>,
}

/// Whether a rule is vouched for (`docs/src/explanation/consent.md`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Vouching {
    /// Not vouched for: the rule counts only if the request names its principal.
    #[default]
    SelfService,
    /// Vouched for: the rule counts for every workload that it matches.
    Vouched,
    /// Saved before consent existed: counts like a vouched rule until an administrator saves it
    /// again.
    Assumed,
}

impl Vouching {
    const ALL: [Self; 3] = [Self::SelfService, Self::Vouched, Self::Assumed];

    /// Whether the rule counts for requests that name no principal.
    pub fn counts(self) -> bool {
        self != Self::SelfService
    }

    /// The name used in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SelfService => "self_service",
            Self::Vouched => "vouched",
            Self::Assumed => "assumed",
        }
    }

    /// Parses the name. An unknown one, of a later release, is read as self-service, which gives
    /// the fewest rights.
    pub fn from_word(word: &str) -> Self {
        Self::ALL
            .into_iter()
            .find(|vouching| vouching.as_str() == word)
            .unwrap_or_default()
    }
}

/// Permissions at one resource server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PermissionDocument {
    /// The resource server, by name. A body may hold `target` instead.
    pub resource_server: String,
    /// Actions of the resource server, at least one.
    pub actions: Vec<String>,
    /// Package names, or patterns in which `*` stands for any run of characters; at least one.
    pub packages: Vec<String>,
    /// The principal that owns the packages, by name; by default the principal of the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The least that the workload has to have proved: `bearer` (it held the platform's token), or
    /// `key` (it proved possession of the key to which the platform bound the token). By default
    /// `bearer`. With less, the permission does not count.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schema(value_type = String)]
    pub min_proof: ProofLevel,
    /// Whether the permission counts only for tokens that are bound to a key (RFC 9449, RFC 8705).
    #[serde(default, skip_serializing_if = "is_default")]
    pub require_sender_constraint: bool,
}

/// Whether a member has its default value, which documents leave out.
pub(super) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl PermissionDocument {
    /// What the permission asks of proofs of possession.
    pub fn demand(&self) -> ProofDemand {
        ProofDemand {
            min_proof: self.min_proof,
            sender_constraint: self.require_sender_constraint,
        }
    }

    /// The mistake of naming a resource server that does not exist (`server` is `None`), or actions
    /// that it does not have.
    pub fn problem_at(
        &self,
        server: Option<(&str, &ResourceServerDocument)>,
    ) -> Option<DocumentError> {
        let Some((name, document)) = server else {
            let detail = format!(
                "must be an existing resource server; there is no resource server {}",
                self.resource_server
            );
            return Some(DocumentError::new("/resource_server", detail));
        };
        let unknown = self
            .actions
            .iter()
            .filter(|action| !document.actions.contains(action));
        let unknown: Vec<&str> = unknown.map(String::as_str).collect();
        (!unknown.is_empty()).then(|| {
            let known = document.actions.join(", ");
            let detail = format!(
                "must be among the actions of {name}, which are {known}; not {}",
                unknown.join(", ")
            );
            DocumentError::new("/actions", detail)
        })
    }
}

#[expect(clippy::ref_option, reason = "the signature serde asks for")]
pub(super) fn time<S: serde::Serializer>(
    at: &Option<Timestamp>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match at {
        Some(at) => serializer.collect_str(at),
        None => serializer.serialize_none(),
    }
}

impl Document for FederatedCredentialDocument {
    const KIND: Kind = Kind::FederatedCredential;
    type State = CredentialState;

    /// Leaves `match` unread: its meaning depends on the trusted issuer's profile, which only the
    /// stored objects tell.
    fn read(given: &Map<String, Value>, _: ReadContext<'_>) -> Result<Self, Vec<DocumentError>> {
        let mut reader = Reader::new(given);
        let principal = required_name(&mut reader, "principal");
        let trusted_issuer = required_name(&mut reader, "trusted_issuer");
        let matcher = matcher(&mut reader);
        let permissions = permissions(&mut reader, 1);
        let actors = references(&mut reader, "actors");
        if actors.len() > MAX_ACTORS {
            reader.problem(
                "actors",
                format!("must name at most {MAX_ACTORS}; these are {}", actors.len()),
            );
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
                let with_owner = PermissionDocument {
                    owner: Some(owner.clone()),
                    ..permission.clone()
                };
                json!(with_owner)
            })
            .collect();
        shown.insert("permissions".to_owned(), permissions.into());
        shown
    }

    fn exported(&self) -> Map<String, Value> {
        members(self)
    }

    fn warnings(&self, _: ReadContext<'_>) -> Vec<Warning> {
        let everything = self
            .permissions
            .iter()
            .any(|permission| permission.packages.iter().any(|name| name == "*"));
        let warning = Warning {
            code: "any_package".to_owned(),
            detail: "the pattern * covers every package of the owner, those made tomorrow too"
                .to_owned(),
        };
        everything.then_some(warning).into_iter().collect()
    }
}

/// Reads `match`, without looking into it.
pub(super) fn matcher(reader: &mut Reader<'_>) -> Map<String, Value> {
    match reader.value("match") {
        Some(Value::Object(matcher)) => {
            let bytes = json_bytes(matcher);
            if bytes > MAX_MATCH_BYTES {
                reader.problem(
                    "match",
                    format!("must be at most {MAX_MATCH_BYTES} bytes; this is {bytes}"),
                );
            }
            matcher.clone()
        }
        Some(_) => {
            reader.problem("match", "must be an object");
            Map::new()
        }
        None => {
            reader.problem("match", "must be given");
            Map::new()
        }
    }
}

/// Reads `permissions`: a list of at least `least` elements.
pub(super) fn permissions(reader: &mut Reader<'_>, least: usize) -> Vec<PermissionDocument> {
    let elements = match reader.value("permissions") {
        Some(Value::Array(elements)) if (least..=MAX_PERMISSIONS).contains(&elements.len()) => {
            elements.as_slice()
        }
        None if least == 0 => &[],
        _ => {
            reader.problem(
                "permissions",
                format!("must be a list of {least} to {MAX_PERMISSIONS} permissions"),
            );
            &[]
        }
    };
    let mut permissions = Vec::new();
    for (at, element) in elements.iter().enumerate() {
        match permission(element) {
            Ok(permission) => permissions.push(permission),
            Err(problems) => {
                let inside =
                    |p: DocumentError| DocumentError::new(format!("/{at}{}", p.pointer), p.detail);
                reader.problems_in("permissions", problems.into_iter().map(inside).collect());
            }
        }
    }
    let patterns: usize = permissions
        .iter()
        .map(|permission| permission.packages.len())
        .sum();
    if patterns > MAX_PATTERNS {
        reader.problem(
            "permissions",
            format!("must name at most {MAX_PATTERNS} packages and patterns; these are {patterns}"),
        );
    }
    permissions
}

pub(super) fn required_name(reader: &mut Reader<'_>, name: &'static str) -> String {
    if reader.value(name).is_none() {
        reader.problem(name, "must be given");
    }
    reader.name(name).unwrap_or_default()
}

/// Reads the resource server of a permission: `target` with its kind, or the short form
/// `resource_server`.
fn target(reader: &mut Reader<'_>) -> String {
    let Some(value) = reader.value("target") else {
        return required_name(reader, "resource_server");
    };
    if reader.value("resource_server").is_some() {
        reader.problem(
            "target",
            "must not be given together with resource_server, its short form",
        );
        return String::new();
    }
    let Value::Object(given) = value else {
        reader.problem("target", "must be an object of kind and name");
        return String::new();
    };
    let mut inner = Reader::new(given);
    let kind = inner.required_text("kind");
    if kind != RESOURCE_SERVER_TARGET && !kind.is_empty() {
        inner.problem("kind", format!("must be {RESOURCE_SERVER_TARGET}"));
    }
    let name = required_name(&mut inner, "name");
    inner.finish(name).unwrap_or_else(|problems| {
        reader.problems_in("target", problems);
        String::new()
    })
}

/// Reads `min_proof` and `require_sender_constraint`.
pub(super) fn proof_demand(reader: &mut Reader<'_>) -> (ProofLevel, bool) {
    let level = |word: &str| {
        ProofLevel::ALL
            .into_iter()
            .find(|level| level.as_str() == word)
            .ok_or_else(|| "must be bearer or key".to_owned())
    };
    let min_proof = reader.parsed("min_proof", level).unwrap_or_default();
    let constraint = reader.boolean("require_sender_constraint");
    (min_proof, constraint.unwrap_or(false))
}

fn permission(element: &Value) -> Result<PermissionDocument, Vec<DocumentError>> {
    let Value::Object(given) = element else {
        let detail = "must be an object of resource_server, actions, packages and owner";
        return Err(vec![DocumentError::new("", detail)]);
    };
    let mut reader = Reader::new(given);
    let resource_server = target(&mut reader);
    let mut list = |name: &'static str| {
        let texts = reader.texts(name).unwrap_or_default();
        if texts.is_empty() {
            reader.problem(name, "must name at least one");
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
    let (min_proof, require_sender_constraint) = proof_demand(&mut reader);
    reader.finish(PermissionDocument {
        resource_server,
        actions,
        packages,
        owner,
        min_proof,
        require_sender_constraint,
    })
}
