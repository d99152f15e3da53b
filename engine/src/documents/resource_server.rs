//! The document of a resource server: its checks, and its compiled form.

use carnet_access::PackageNames;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use super::reader::Reader;
use super::{Document, Kind, ReadContext, members};
use crate::ids::ResourceServerId;
use crate::model::{ResourceServer, TokenFormat};
use crate::opaque;
use crate::scope::ScopeSet;
use crate::trust::{DocumentError, Warning};

/// Most actions of a registry: they form the scope of a token, which holds at most 100 values
/// (decision D-33).
const MAX_ACTIONS: usize = 100;
const DEFAULT_LIFETIME: i64 = 900;
const DEFAULT_PREFIX: &str = "cnt_";

/// Members of later versions, with the values that demand nothing new.
const LATER: [(&str, &[&str]); 2] = [
    ("require_sender_constraint", &["false"]),
    ("front_door", &[]),
];

/// A registry: a resource server that tokens are issued for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ResourceServerDocument {
    /// The absolute URI of the registry, which is the `aud` of its tokens (RFC 8707 section 2).
    /// Compared byte for byte.
    pub resource: String,
    /// Other URIs by which `resource` may name the registry in a token request.
    pub aliases: Vec<String>,
    /// The actions that permissions may hold, 1 to 100; they form the scope of tokens.
    pub actions: Vec<String>,
    /// How package names are compared: `exact`, `ascii_case_insensitive` or `pep503`.
    #[schema(value_type = String)]
    pub package_names: PackageNames,
    /// The format of tokens: `jwt`, or `opaque` keys that the registry has to introspect.
    #[serde(default)]
    pub token_format: TokenFormat,
    /// The beginning of opaque keys, for secret scanners: 1 to 16 letters, digits and `_`; by
    /// default `cnt_`.
    #[serde(default)]
    pub token_prefix: Option<String>,
    /// Lifetime of tokens in seconds, 60 to 3600; by default `tokens.lifetime_seconds` of the
    /// configuration.
    pub token_lifetime_seconds: Option<i64>,
    /// Whether every token request must name its principal.
    pub require_principal: bool,
    /// Whether a rule counts only if it binds an environment or the run is for a protected ref.
    pub require_protected_ref_or_environment: bool,
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
        for (name, neutral) in LATER {
            reader.later(name, neutral);
        }
        let (resource, aliases) = uris(&mut reader, context);
        let actions = actions(&mut reader);
        let package_names = reader
            .value("package_names")
            .map(|value| serde_json::from_value(value.clone()));
        if matches!(package_names, Some(Err(_))) {
            reader.problem(
                "package_names",
                "must be one of exact, ascii_case_insensitive, pep503",
            );
        }
        let token_format = reader
            .value("token_format")
            .map(|value| serde_json::from_value(value.clone()));
        if matches!(token_format, Some(Err(_))) {
            reader.problem("token_format", "must be one of jwt, opaque");
        }
        let is_prefix = |prefix: &str| {
            let usable = opaque::is_prefix(prefix);
            if usable {
                Ok(prefix.to_owned())
            } else {
                Err("must consist of 1 to 16 letters, digits and `_`")
            }
        };
        let document = Self {
            token_format: token_format.and_then(Result::ok).unwrap_or_default(),
            token_prefix: reader.parsed("token_prefix", is_prefix),
            resource,
            aliases,
            actions,
            package_names: package_names.and_then(Result::ok).unwrap_or_default(),
            token_lifetime_seconds: reader.integer("token_lifetime_seconds", 60..=3600),
            require_principal: reader.boolean("require_principal").unwrap_or(false),
            require_protected_ref_or_environment: reader
                .boolean("require_protected_ref_or_environment")
                .unwrap_or(false),
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

/// Reads `resource` and `aliases`.
fn uris(reader: &mut Reader<'_>, context: ReadContext<'_>) -> (String, Vec<String>) {
    let resource = reader.required_text("resource");
    let aliases = reader.texts("aliases").unwrap_or_default();
    for (name, uri) in [("resource", &resource)]
        .into_iter()
        .chain(aliases.iter().map(|alias| ("aliases", alias)))
    {
        if !uri.is_empty() && !is_resource(uri) {
            reader.problem(
                name,
                "must be an absolute URI without fragment, for example https://registry.example/",
            );
        } else if *uri == context.own.admin_resource() || uri == context.own.issuer() {
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
    actions
}

impl ResourceServerDocument {
    fn prefix(&self) -> &str {
        self.token_prefix.as_deref().unwrap_or(DEFAULT_PREFIX)
    }

    /// Mistakes by which the document conflicts with another resource server, named `name`: a URI
    /// must belong to one of them only.
    pub fn conflicts_with(&self, name: &str, other: &Self) -> Vec<DocumentError> {
        let theirs = || std::iter::once(&other.resource).chain(&other.aliases);
        let aliases = self.aliases.iter().map(|alias| ("/aliases", alias));
        let ours = std::iter::once(("/resource", &self.resource)).chain(aliases);
        let taken = ours.filter(|(_, uri)| theirs().any(|taken| taken == *uri));
        let detail =
            |uri: &str| format!("must not hold `{uri}`, which is a URI of resource server {name}");
        taken
            .map(|(pointer, uri)| DocumentError::new(pointer, detail(uri)))
            .collect()
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
}
