//! The document of an OAuth client: its checks, and its compiled form. The references in it are
//! resolved in `crate::admin`, where its secrets are created as well.

mod auth_method;
mod compile;
mod of_people;

use carnet_jose::{Algorithm, KeyUse};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

pub use auth_method::AuthMethod;

use super::federated_credential::{is_default, permissions};
use super::reader::Reader;
use super::trusted_issuer::check_https;
use super::{Document, Kind, PermissionDocument, ReadContext, members};
use crate::clock::Timestamp;
use crate::grant_type::GrantType;
use crate::ids::{check_name, looks_like_id};
use crate::model::{ASSERTION_ALGORITHMS, ClientSecret, FAPI2_ALGORITHMS, StoredSecret};
use crate::scope::{is_admin_scope, is_openid_scope};
use crate::trust::{DocumentError, Warning};

/// Members about what the client's tokens are bound to.
const DPOP_BOUND: &str = "dpop_bound_access_tokens";
const CERTIFICATE_BOUND: &str = "tls_client_certificate_bound_access_tokens";
const FAPI2: &str = "fapi2";

/// A registered OAuth client. Its `client_id` is the name of the object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "the members of the JSON document, two of them by the names of their RFCs"
)]
pub struct ClientDocument {
    /// How the client authenticates at the token endpoint.
    pub auth_method: AuthMethod,
    /// The client's public keys as a JWK set, for `private_key_jwt`, or the certificates of its
    /// connections as `x5c` of such keys, for `self_signed_tls_client_auth`; not together with
    /// `jwks_uri`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub jwks: Option<Value>,
    /// The https URL of the client's JWK set; not together with `jwks`.
    #[serde(default)]
    pub jwks_uri: Option<String>,
    /// The grant types that the client may use; by default all that its method allows, without
    /// `authorization_code`, which is never beside `client_credentials`.
    #[schema(value_type = Vec<String>)]
    pub grant_types: Vec<GrantType>,
    /// Scopes of the admin API that the client may request with `client_credentials` or
    /// `authorization_code`; with the latter also `openid`, `profile` and `email`.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Permissions of the tokens that the client gets for itself; each must name an `owner`. Not
    /// for the method `federated`. With `authorization_code` the most that the tokens of persons
    /// have by this client, without `owner`.
    #[serde(default)]
    pub permissions: Vec<PermissionDocument>,
    /// Where the authorization endpoint may send persons back, 1 to 20 URIs for
    /// `authorization_code`: https, `http://127.0.0.1` or `http://[::1]` with any port, or a
    /// private-use scheme with a dot in it. Compared byte for byte, but for the port of the loopback
    /// addresses.
    #[serde(default, skip_serializing_if = "is_default")]
    pub redirect_uris: Vec<String>,
    /// The name that persons are shown, at most 100 characters; by default the `client_id`. For
    /// `authorization_code`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub display_name: Option<String>,
    /// An https URL at which persons learn more about the client. For `authorization_code`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub homepage: Option<String>,
    /// Whether the client is one of whoever runs this server: persons are not asked before it learns
    /// who they are. For `authorization_code`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub first_party: bool,
    /// The rules whose workloads may authenticate as this client, for `federated`: `name`,
    /// `principal:name` or id.
    #[serde(default)]
    pub federated_credentials: Vec<String>,
    /// The resource server that this client is, by name: the client may introspect tokens for it.
    #[serde(default)]
    pub resource_server: Option<String>,
    /// Whether the client gets only tokens that are bound to a key by DPoP (RFC 9449 section 5.2).
    #[serde(default, skip_serializing_if = "is_default")]
    pub dpop_bound_access_tokens: bool,
    /// Whether the client gets only tokens that are bound to its certificate (RFC 8705 section 3.4).
    #[serde(default, skip_serializing_if = "is_default")]
    pub tls_client_certificate_bound_access_tokens: bool,
    /// Whether the client is held to the FAPI 2.0 Security Profile: keys of its own, tokens that are
    /// bound, and the algorithms and lifetimes of the profile.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fapi2: bool,
    /// Whether the client may be used; a disabled one is refused, and its tokens end.
    pub enabled: bool,
}

/// What the server stores beside the document.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ClientState {
    /// Grows when a change of the document voids the client's tokens.
    pub revision: u32,
    /// When `revision` last grew: tokens issued before are void.
    #[serde(default)]
    pub not_before: Timestamp,
    /// The rules of `federated_credentials`, in the same order.
    #[serde(default)]
    pub listed: Vec<ListedRule>,
    /// The hashes of the client secrets, the newest last.
    pub secrets: Vec<StoredSecret>,
    /// The client secret that this save created; shown in the answer and never stored.
    #[serde(skip)]
    pub fresh: Option<ClientSecret>,
}

/// The identity of a rule at the time when the client listed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedRule {
    pub credential: String,
    /// The rule's revision at that time; a self-service rule of a later revision no longer counts.
    pub revision: u32,
}

impl Document for ClientDocument {
    const KIND: Kind = Kind::Client;
    type State = ClientState;

    fn read(
        given: &Map<String, Value>,
        context: ReadContext<'_>,
    ) -> Result<Self, Vec<DocumentError>> {
        let mut reader = Reader::new(given);
        let words = AuthMethod::ALL.map(AuthMethod::as_str).join(", ");
        let word = |text: &str| {
            AuthMethod::from_word(text).ok_or_else(|| format!("must be one of {words}"))
        };
        let auth_method = reader
            .parsed("auth_method", word)
            .unwrap_or(AuthMethod::None);
        let grant_types = grant_types(&mut reader, auth_method);
        let document = Self {
            auth_method,
            jwks: reader.value("jwks").cloned(),
            jwks_uri: reader.text("jwks_uri"),
            grant_types,
            scopes: reader.texts("scopes").unwrap_or_default(),
            permissions: permissions(&mut reader, 0),
            redirect_uris: of_people::redirect_uris(&mut reader),
            display_name: of_people::display_name(&mut reader),
            homepage: of_people::homepage(&mut reader),
            first_party: reader.boolean("first_party").unwrap_or(false),
            federated_credentials: references(&mut reader, "federated_credentials"),
            resource_server: reader.name("resource_server"),
            dpop_bound_access_tokens: reader.boolean(DPOP_BOUND).unwrap_or(false),
            tls_client_certificate_bound_access_tokens: reader
                .boolean(CERTIFICATE_BOUND)
                .unwrap_or(false),
            fapi2: reader.boolean(FAPI2).unwrap_or(false),
            enabled: reader.boolean("enabled").unwrap_or(true),
        };
        document.check_keys(&mut reader, context);
        document.check_rights(&mut reader);
        document.check_of_people(&mut reader);
        document.check_binding(&mut reader);
        reader.finish(document)
    }

    fn shown(&self, _: ReadContext<'_>) -> Map<String, Value> {
        let mut shown = members(self);
        for name in [
            "jwks",
            "jwks_uri",
            "resource_server",
            "display_name",
            "homepage",
        ] {
            shown.entry(name).or_insert(Value::Null);
        }
        for (name, is_set) in [
            (DPOP_BOUND, self.dpop_bound_access_tokens),
            (
                CERTIFICATE_BOUND,
                self.tls_client_certificate_bound_access_tokens,
            ),
            (FAPI2, self.fapi2),
            ("first_party", self.first_party),
        ] {
            shown.insert(name.to_owned(), is_set.into());
        }
        let redirect_uris = self.redirect_uris.clone().into();
        shown.insert("redirect_uris".to_owned(), redirect_uris);
        shown
    }

    fn exported(&self) -> Map<String, Value> {
        members(self)
    }

    fn warnings(&self, context: ReadContext<'_>) -> Vec<Warning> {
        let everything = self
            .permissions
            .iter()
            .any(|permission| permission.packages.iter().any(|name| name == "*"));
        // Whoever finds the secret of a client of persons has no person yet, and no code.
        let secret = self.auth_method.has_secret() && !self.is_of_people();
        let mut warnings = Vec::new();
        let mut warn = |when, code, detail: &str| {
            warnings.extend(Warning::when(when, code, detail));
        };
        warn(
            everything,
            "any_package",
            "the pattern * covers every package of the owner, those made tomorrow too",
        );
        let takes_certificates = context.own.takes_certificates();
        warn(
            !takes_certificates && self.needs_certificates(),
            "no_client_certificates",
            "the server asks nobody for a client certificate (server.mtls_listen, server.client_cert_listen), so this client gets no token",
        );
        warn(
            secret && (!self.permissions.is_empty() || !self.scopes.is_empty()),
            "long_lived_secret",
            "whoever finds the secret gets tokens until it is rotated; federated and private_key_jwt clients have none to lose",
        );
        warnings
    }
}

fn grant_types(reader: &mut Reader<'_>, method: AuthMethod) -> Vec<GrantType> {
    let Some(names) = reader.texts("grant_types") else {
        return method.grants();
    };
    let known: Option<Vec<GrantType>> = names
        .iter()
        .map(|name| GrantType::from_name(name))
        .collect();
    if known.is_none() {
        let supported = GrantType::ALL.map(GrantType::name).join(", ");
        reader.problem(
            "grant_types",
            format!("must hold only grant types of this server: {supported}"),
        );
    }
    let grants = known.unwrap_or_default();
    if method == AuthMethod::None && grants.contains(&GrantType::ClientCredentials) {
        let detail = "must not hold client_credentials, which needs a client that authenticates (RFC 6749 section 4.4)";
        reader.problem("grant_types", detail);
    }
    grants
}

/// Reads a list of names of other objects. Whether these exist is checked when the document is
/// saved.
pub(super) fn names(reader: &mut Reader<'_>, member: &'static str) -> Vec<String> {
    let names = reader.texts(member).unwrap_or_default();
    if let Some(detail) = names.iter().find_map(|name| check_name(name).err()) {
        reader.problem(member, detail);
    }
    names
}

/// Reads a list of federated credentials: `name`, `principal:name` or id.
pub(super) fn references(reader: &mut Reader<'_>, member: &'static str) -> Vec<String> {
    let references = reader.texts(member).unwrap_or_default();
    let wrong = |reference: &String| {
        let parts = || {
            reference
                .split_once(':')
                .map_or([None, Some(reference.as_str())], |(of, name)| {
                    [Some(of), Some(name)]
                })
        };
        if looks_like_id(reference) {
            None
        } else {
            parts()
                .into_iter()
                .flatten()
                .find_map(|name| check_name(name).err())
        }
    };
    if let Some(detail) = references.iter().find_map(wrong) {
        reader.problem(member, detail);
    }
    references
}

impl ClientDocument {
    fn check_keys(&self, reader: &mut Reader<'_>, context: ReadContext<'_>) {
        const NO_KEYS: &str =
            "must not be given without the method private_key_jwt or self_signed_tls_client_auth";
        let has_keys = self.auth_method.has_keys();
        match (&self.jwks, &self.jwks_uri) {
            (None, None) if has_keys => {
                let method = self.auth_method.as_str();
                let detail = format!("must be given for {method}, unless jwks_uri is");
                reader.problem("jwks", detail);
            }
            (Some(_), Some(_)) => {
                reader.problem("jwks_uri", "must not be given together with jwks");
            }
            (Some(_), None) if !has_keys => reader.problem("jwks", NO_KEYS),
            (None, Some(_)) if !has_keys => reader.problem("jwks_uri", NO_KEYS),
            (Some(jwks), None) => {
                let material = context.material;
                let checked = if self.auth_method == AuthMethod::PrivateKeyJwt {
                    material.check_key_set(jwks, self.assertion_algorithms(), KeyUse::Signature)
                } else {
                    material.check_client_certificates(jwks)
                };
                if let Err(detail) = checked {
                    reader.problem("jwks", detail);
                }
            }
            (None, Some(uri)) => {
                let parsed =
                    Url::parse(uri).map_err(|error| format!("must be an https URL: {error}"));
                let checked = parsed.and_then(|url| check_https(&url, context));
                if let Err(detail) = checked {
                    reader.problem("jwks_uri", detail);
                }
            }
            (None, None) => {}
        }
    }

    /// The algorithms with which the client may sign its assertions.
    fn assertion_algorithms(&self) -> &'static [Algorithm] {
        if self.fapi2 {
            &FAPI2_ALGORITHMS
        } else {
            &ASSERTION_ALGORITHMS
        }
    }

    /// Whether the client can do nothing without a client certificate.
    fn needs_certificates(&self) -> bool {
        self.auth_method == AuthMethod::SelfSignedTlsClientAuth
            || self.tls_client_certificate_bound_access_tokens
    }

    fn check_binding(&self, reader: &mut Reader<'_>) {
        if self.dpop_bound_access_tokens && self.tls_client_certificate_bound_access_tokens {
            let detail = "must not be given together with dpop_bound_access_tokens: a token is bound to one key";
            reader.problem(CERTIFICATE_BOUND, detail);
        }
        if self.fapi2 && !self.auth_method.has_keys() {
            let detail = "must not be true for this method: clients of the FAPI 2.0 profile use private_key_jwt or self_signed_tls_client_auth";
            reader.problem(FAPI2, detail);
        }
    }

    fn check_rights(&self, reader: &mut Reader<'_>) {
        let of_people = self.is_of_people();
        let is_known =
            |scope: &String| is_admin_scope(scope) || of_people && is_openid_scope(scope);
        if !self.scopes.iter().all(is_known) {
            let known = "admin, admin:read, admin:credentials, admin:credentials:<principal> or admin:read:<principal>";
            let others = if of_people {
                ", and openid, profile or email"
            } else {
                ""
            };
            let detail = format!("must hold only scopes of the admin API: {known}{others}");
            reader.problem("scopes", detail);
        }
        let federated = self.auth_method == AuthMethod::Federated;
        if federated == self.federated_credentials.is_empty() {
            let detail = if federated {
                "must name at least one federated credential"
            } else {
                "must not be given without the method federated"
            };
            reader.problem("federated_credentials", detail);
        }
        if federated && !self.permissions.is_empty() {
            let detail = "must not be given: a federated client has the permissions of its federated credentials";
            reader.problem("permissions", detail);
        }
        let has_rights = of_people || self.grant_types.contains(&GrantType::ClientCredentials);
        let without_grant =
            "must not be given without the grant type client_credentials or authorization_code";
        if !has_rights && !self.permissions.is_empty() {
            reader.problem("permissions", without_grant);
        }
        if !has_rights && !self.scopes.is_empty() {
            reader.problem("scopes", without_grant);
        }
        let detail = if of_people {
            "must not be given with the grant type authorization_code: a person's token is for packages of the principal that the person chooses"
        } else {
            "must be given: a client is not a principal"
        };
        for (at, permission) in self.permissions.iter().enumerate() {
            if permission.owner.is_some() == of_people {
                reader.problem(&format!("permissions/{at}/owner"), detail);
            }
        }
    }
}
