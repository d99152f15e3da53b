//! The document of a resource server: its checks, and its compiled form.

use carnet_access::{PackageNames, ProofLevel};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use super::federated_credential::{is_default, proof_demand};
use super::front_door::FrontDoorDocument;
use super::people_actions::people_actions;
use super::reader::Reader;
use super::{Document, Kind, ReadContext, members};
use crate::ids::ResourceServerId;
use crate::model::{PeopleActions, ResourceServer, TokenFormat};
use crate::opaque;
use crate::possession::ProofDemand;
use crate::scope::{ScopeSet, is_openid_scope};
use crate::trust::{DocumentError, Warning};

/// Most actions of a registry: they form the scope of a token, which holds at most 100 values
/// (decision D-33).
const MAX_ACTIONS: usize = 100;
/// The longest lifetime of an access token in seconds, whoever sets it.
pub const MAX_TOKEN_LIFETIME_SECONDS: u32 = 3600;
const DEFAULT_LIFETIME: i64 = 900;
/// What opaque keys begin with unless the registry chooses another prefix.
pub const DEFAULT_PREFIX: &str = "cnt_";

/// Beginnings of the keys of public registries and forges. Secret scanners report what begins so to
/// its owner, and so would hand our live keys to them.
const PUBLIC_PREFIXES: [&str; 14] = [
    "npm_",
    "pypi",
    "cio",
    "rubygems_",
    "oy2",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat",
    "hf_",
    "dckr_",
];

/// A registry: a resource server that tokens are issued for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a member of the document"
)]
pub struct ResourceServerDocument {
    /// The absolute URI of the registry, which is the `aud` of its tokens (RFC 8707 section 2).
    /// Compared byte for byte.
    pub resource: String,
    /// Other URIs by which `resource` may name the registry in a token request.
    pub aliases: Vec<String>,
    /// The actions that permissions may hold, 1 to 100; they form the scope of tokens.
    pub actions: Vec<String>,
    /// How package names are compared: `exact`, `ascii_case_insensitive`, `pep503` or
    /// `cargo`.
    #[schema(value_type = String)]
    pub package_names: PackageNames,
    /// The format of tokens: `jwt`, or `opaque` keys that the registry has to introspect.
    #[serde(default)]
    pub token_format: TokenFormat,
    /// The beginning of opaque keys, for secret scanners: 1 to 16 letters, digits and `_`; by
    /// default `cnt_`, or for a front door what it suggests. Never that of a public registry.
    #[serde(default)]
    pub token_prefix: Option<String>,
    /// Lifetime of tokens in seconds, 60 to 3600; by default `tokens.lifetime_seconds` of the
    /// configuration.
    pub token_lifetime_seconds: Option<i64>,
    /// Whether every token request must name its principal.
    pub require_principal: bool,
    /// Whether a rule counts only if it binds an environment or the run is for a protected ref.
    pub require_protected_ref_or_environment: bool,
    /// The least that a workload has to have proved: `bearer` (it held the platform's token), or
    /// `key` (it proved possession of the key to which the platform bound the token). By default
    /// `bearer`. With less, requests are refused.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schema(value_type = String)]
    pub min_proof: ProofLevel,
    /// Whether every token has to be bound to a key (RFC 9449, RFC 8705); not together with a front
    /// door, whose tools prove none.
    #[serde(default, skip_serializing_if = "is_default")]
    pub require_sender_constraint: bool,
    /// The endpoints at which the registry's own publishing tools get their keys.
    #[serde(default)]
    pub front_door: Option<FrontDoorDocument>,
    /// What persons may do here by software that acts for them, by their role at the principal, each
    /// a part of `actions`. Null: nothing.
    #[serde(default, skip_serializing_if = "is_default")]
    pub people: Option<PeopleActions>,
    /// Whether tokens are issued for this registry; the tokens of a disabled one end.
    pub enabled: bool,
}

impl Document for ResourceServerDocument {
    const KIND: Kind = Kind::ResourceServer;
    type State = ();

    fn read(
        given: &Map<String, Value>,
        context: ReadContext<'_>,
    ) -> Result<Self, Vec<DocumentError>> {
        let mut reader = Reader::new(given);
        let (resource, aliases) = uris(&mut reader, context);
        let actions = actions(&mut reader);
        let package_names = reader
            .value("package_names")
            .map(|value| serde_json::from_value(value.clone()));
        if matches!(package_names, Some(Err(_))) {
            reader.problem(
                "package_names",
                "must be one of exact, ascii_case_insensitive, pep503, cargo",
            );
        }
        let token_format = reader
            .value("token_format")
            .map(|value| serde_json::from_value(value.clone()));
        if matches!(token_format, Some(Err(_))) {
            reader.problem("token_format", "must be one of jwt, opaque");
        }
        let front_door = reader.value("front_door").map(FrontDoorDocument::read);
        let front_door = match front_door.transpose() {
            Ok(front_door) => front_door,
            Err(problems) => {
                reader.problems_in("front_door", problems);
                None
            }
        };
        let require_principal = reader.boolean("require_principal").unwrap_or(false);
        if let Some(door) = front_door.as_ref().filter(|_| require_principal)
            && !door.kind.names_principal()
        {
            let detail = format!(
                "must be false: the tools of a {} front door cannot name a principal",
                door.kind.name()
            );
            reader.problem("require_principal", detail);
        }
        let (min_proof, require_sender_constraint) = proof_demand(&mut reader);
        let proves_nothing = "the tools of a front door prove no possession of a key";
        if front_door.is_some() && require_sender_constraint {
            let detail = format!("must be false: {proves_nothing}");
            reader.problem("require_sender_constraint", detail);
        }
        if front_door.is_some() && min_proof > ProofLevel::Bearer {
            reader.problem("min_proof", format!("must be bearer: {proves_nothing}"));
        }
        let people = people_actions(&mut reader, &actions);
        let document = Self {
            token_format: token_format.and_then(Result::ok).unwrap_or_default(),
            token_prefix: reader.parsed("token_prefix", prefix),
            resource,
            aliases,
            actions,
            package_names: package_names.and_then(Result::ok).unwrap_or_default(),
            token_lifetime_seconds: reader.integer(
                "token_lifetime_seconds",
                60..=i64::from(MAX_TOKEN_LIFETIME_SECONDS),
            ),
            require_principal,
            require_protected_ref_or_environment: reader
                .boolean("require_protected_ref_or_environment")
                .unwrap_or(false),
            min_proof,
            require_sender_constraint,
            front_door,
            people,
            enabled: reader.boolean("enabled").unwrap_or(true),
        };
        reader.finish(document)
    }

    fn shown(&self, context: ReadContext<'_>) -> Map<String, Value> {
        let mut shown = members(self);
        let lifetime = self
            .token_lifetime_seconds
            .unwrap_or(context.token_lifetime_seconds);
        shown.insert("token_lifetime_seconds".to_owned(), lifetime.into());
        shown.insert("token_prefix".to_owned(), self.prefix().into());
        shown.insert("min_proof".to_owned(), self.min_proof.as_str().into());
        let constraint = self.require_sender_constraint.into();
        shown.insert("require_sender_constraint".to_owned(), constraint);
        shown.entry("people").or_insert(Value::Null);
        if let Some(door) = &self.front_door
            && let Some(Value::Object(members)) = shown.get_mut("front_door")
        {
            members.insert("audiences".to_owned(), door.accepted_audiences().into());
        }
        shown
    }

    fn exported(&self) -> Map<String, Value> {
        members(self)
    }

    fn warnings(&self, _: ReadContext<'_>) -> Vec<Warning> {
        let long = self
            .token_lifetime_seconds
            .filter(|seconds| *seconds > DEFAULT_LIFETIME);
        let warning = |seconds| Warning {
            code: "long_lifetime".to_owned(),
            detail: format!(
                "a stolen token is good for {seconds} seconds; 99 % of uploads are over within 900"
            ),
        };
        long.map(warning).into_iter().collect()
    }
}

/// Checks a prefix of opaque keys.
fn prefix(given: &str) -> Result<String, String> {
    if !opaque::is_prefix(given) {
        return Err("must consist of 1 to 16 letters, digits and `_`".to_owned());
    }
    let lower = given.to_ascii_lowercase();
    let public = PUBLIC_PREFIXES
        .into_iter()
        .find(|public| lower.starts_with(public));
    public.map_or(Ok(given.to_owned()), |public| {
        Err(format!(
            "must not begin with `{public}`: secret scanners take such a key for one of a public service and report it there"
        ))
    })
}

/// Reads `resource` and `aliases`.
fn uris(reader: &mut Reader<'_>, context: ReadContext<'_>) -> (String, Vec<String>) {
    let resource = reader.required_text("resource");
    let aliases = reader.texts("aliases").unwrap_or_default();
    let own = context.own;
    let own = [
        own.issuer().to_owned(),
        own.admin_resource(),
        own.userinfo(),
    ];
    for (name, uri) in [("resource", &resource)]
        .into_iter()
        .chain(aliases.iter().map(|alias| ("aliases", alias)))
    {
        if !uri.is_empty() && !is_resource(uri) {
            reader.problem(
                name,
                "must be an absolute URI without fragment, for example https://registry.example/",
            );
        } else if own.contains(uri) {
            reader.problem(name, "must not be a URI of this server itself");
        }
    }
    if aliases.contains(&resource) {
        reader.problem("aliases", "must not repeat the resource");
    }
    (resource, aliases)
}

/// Reads `actions`.
fn actions(reader: &mut Reader<'_>) -> Vec<String> {
    let actions = reader.texts("actions").unwrap_or_default();
    if actions.is_empty() {
        reader.problem("actions", "must name at least one action");
    }
    if actions.len() > MAX_ACTIONS {
        let detail = format!("must name at most {MAX_ACTIONS}, as many as a token's scope holds");
        reader.problem("actions", detail);
    }
    let is_action = |action: &String| !action.contains(' ') && ScopeSet::parse(action).is_ok();
    if !actions.iter().all(is_action) {
        let detail =
            "must hold scope tokens: printable ASCII without space, quotation mark and backslash";
        reader.problem("actions", detail);
    }
    if actions
        .iter()
        .any(|action| action == "admin" || action.starts_with("admin:"))
    {
        let detail =
            "must not hold `admin` or `admin:…`, which are scopes of this server's own API";
        reader.problem("actions", detail);
    }
    if actions.iter().any(|action| is_openid_scope(action)) {
        let detail =
            "must not hold `openid`, `profile` or `email`, which are scopes of OpenID Connect";
        reader.problem("actions", detail);
    }
    actions
}

impl ResourceServerDocument {
    fn prefix(&self) -> &str {
        let suggested = || {
            self.front_door
                .as_ref()
                .map(|door| door.kind.suggested_prefix())
        };
        self.token_prefix
            .as_deref()
            .or_else(suggested)
            .unwrap_or(DEFAULT_PREFIX)
    }

    /// Mistakes by which the document conflicts with another resource server, named `name`: a URI,
    /// and a host of a front door, must belong to one of them only.
    pub fn conflicts_with(&self, name: &str, other: &Self) -> Vec<DocumentError> {
        let theirs = || std::iter::once(&other.resource).chain(&other.aliases);
        let aliases = self.aliases.iter().map(|alias| ("/aliases", alias));
        let ours = std::iter::once(("/resource", &self.resource)).chain(aliases);
        let taken = ours.filter(|(_, uri)| theirs().any(|taken| taken == *uri));
        let detail =
            |uri: &str| format!("must not hold `{uri}`, which is a URI of resource server {name}");
        let mut problems: Vec<DocumentError> = taken
            .map(|(pointer, uri)| DocumentError::new(pointer, detail(uri)))
            .collect();
        if let (Some(ours), Some(theirs)) = (&self.front_door, &other.front_door) {
            problems.extend(ours.conflicts_with(name, theirs));
        }
        problems
    }

    /// The resource server in the form that requests are decided by.
    pub fn compile(
        &self,
        id: ResourceServerId,
        name: &str,
        default_lifetime: i64,
    ) -> ResourceServer {
        ResourceServer {
            id,
            name: name.to_owned(),
            resource: self.resource.clone(),
            aliases: self.aliases.clone(),
            actions: self.actions.clone(),
            package_names: self.package_names,
            token_format: self.token_format,
            token_prefix: self.prefix().to_owned(),
            token_lifetime_seconds: self.token_lifetime_seconds.unwrap_or(default_lifetime),
            require_principal: self.require_principal,
            require_protected_ref_or_environment: self.require_protected_ref_or_environment,
            demand: ProofDemand {
                min_proof: self.min_proof,
                sender_constraint: self.require_sender_constraint,
            },
            front_door: self.front_door.as_ref().map(FrontDoorDocument::compile),
            people: self.people.clone(),
            enabled: self.enabled,
        }
    }
}

/// Whether a text is a valid resource indicator: an absolute URI without fragment (RFC 8707 section
/// 2), of URI characters only.
pub fn is_resource(text: &str) -> bool {
    text.len() <= 2048
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}#".contains(&byte))
        && Url::parse(text).is_ok_and(|url| {
            let web = matches!(url.scheme(), "http" | "https");
            let has_authority = text
                .split_once(':')
                .is_some_and(|(_, rest)| rest.starts_with("//"));
            (!web || has_authority)
                && url.username().is_empty()
                && url.password().is_none()
                && url.scheme() != "javascript"
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::documents::testing::{mistakes, read_again};

    #[test]
    fn rfc8707_2_1__a_resource_is_an_absolute_uri_without_fragment() {
        for uri in [
            "https://registry.example/",
            "https://r.example/a?b=c",
            "urn:example:registry",
            "https://r.example:8443",
        ] {
            assert!(is_resource(uri), "{uri}");
        }
        for uri in [
            "",
            "/x",
            "x",
            "//host",
            "https://r/#f",
            "https://r/#",
            " ",
            "%20",
            "https://r/ x",
            "javascript:alert(1)",
            "https://r@evil/",
            "https://",
            "https:r.example",
            "https://r\\evil",
            "https://r/\"",
        ] {
            assert!(!is_resource(uri), "{uri}");
        }
        assert!(!is_resource(&format!("https://r/{}", "a".repeat(8192))));
    }

    #[test]
    fn nothing_of_a_registry_is_taken_for_something_of_this_server() {
        let with = |resource: &str, actions: &[&str]| serde_json::json!({ "resource": resource, "actions": actions });
        let registry = "https://registry.example/";
        for own in ["", "/admin", "/userinfo"] {
            let document = with(&format!("https://carnet.example{own}"), &["publish"]);
            assert_eq!(
                mistakes::<ResourceServerDocument>(document),
                ["/resource"],
                "{own}"
            );
        }
        for action in ["openid", "profile", "email", "admin", "admin:read"] {
            let document = with(registry, &["publish", action]);
            assert_eq!(
                mistakes::<ResourceServerDocument>(document),
                ["/actions"],
                "{action}"
            );
        }
        let document = with(registry, &["publish", "Openid", "administer"]);
        let _: ResourceServerDocument = read_again(document);
    }
}
