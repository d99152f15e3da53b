//! The document of an OAuth client: its checks, and its compiled form. The references in it are
//! resolved in `crate::admin`, where its secrets are created as well.

use carnet_jose::{Algorithm, KeyUse};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::Url;

use super::federated_credential::{is_default, permissions};
use super::reader::Reader;
use super::trusted_issuer::check_https;
use super::{Document, Kind, PermissionDocument, ReadContext, members};
use crate::clock::Timestamp;
use crate::grant_type::GrantType;
use crate::ids::{ClientRowId, TrustedIssuerId, check_name, looks_like_id};
use crate::model::{
    ASSERTION_ALGORITHMS, Client, ClientPermission, ClientSecret, FAPI2_ALGORITHMS, KeySource,
    Method, RuleReference, StoredSecret, TokenBinding, TrustedIssuer,
};
use crate::profile::{Replay, Terms};
use crate::scope::{ScopeSet, is_admin_scope};
use crate::trust::{DocumentError, Warning};

/// Longest time from `iat` to `exp` of a client's own assertion, in seconds (decision D-21).
const MAX_ASSERTION_LIFETIME: i64 = 3600;
/// Largest difference between a client's clock and ours, in seconds.
const LEEWAY: i64 = 60;
/// Longest time from `iat` to `exp` of an assertion of a client that is held to FAPI 2.0, in seconds.
const MAX_FAPI2_LIFETIME: i64 = 300;
/// Members about what the client's tokens are bound to.
const DPOP_BOUND: &str = "dpop_bound_access_tokens";
const CERTIFICATE_BOUND: &str = "tls_client_certificate_bound_access_tokens";
const FAPI2: &str = "fapi2";

/// How a client authenticates at the token endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AuthMethod {
    /// No authentication: a public client (RFC 7591 section 2).
    None,
    /// The client secret in the `Authorization` header (RFC 6749 section 2.3.1).
    ClientSecretBasic,
    /// The client secret in the request body (RFC 6749 section 2.3.1).
    ClientSecretPost,
    /// An assertion that the client signs with its own key (RFC 7523 section 2.2).
    PrivateKeyJwt,
    /// A TLS connection with one of the client's own certificates, which it holds as `x5c` in its
    /// key set (RFC 8705 section 2.2).
    SelfSignedTlsClientAuth,
    /// An assertion of a trusted issuer that one of the client's federated credentials matches; the
    /// client needs no key or secret of its own.
    Federated,
}

impl AuthMethod {
    pub const ALL: [Self; 6] = [
        Self::None,
        Self::ClientSecretBasic,
        Self::ClientSecretPost,
        Self::PrivateKeyJwt,
        Self::SelfSignedTlsClientAuth,
        Self::Federated,
    ];

    /// The name used in JSON and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::ClientSecretBasic => "client_secret_basic",
            Self::ClientSecretPost => "client_secret_post",
            Self::PrivateKeyJwt => "private_key_jwt",
            Self::SelfSignedTlsClientAuth => "self_signed_tls_client_auth",
            Self::Federated => "federated",
        }
    }

    /// Whether the server creates a client secret for this method.
    pub const fn has_secret(self) -> bool {
        matches!(self, Self::ClientSecretBasic | Self::ClientSecretPost)
    }

    /// Whether clients of this method register keys of their own.
    const fn has_keys(self) -> bool {
        matches!(self, Self::PrivateKeyJwt | Self::SelfSignedTlsClientAuth)
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|method| method.as_str() == word)
    }

    /// The grant types of a document without `grant_types`: all except `client_credentials` for a
    /// public client, which cannot use it (RFC 6749 section 4.4).
    fn grants(self) -> Vec<GrantType> {
        let can = |grant: &GrantType| self != Self::None || *grant != GrantType::ClientCredentials;
        GrantType::ALL.into_iter().filter(can).collect()
    }
}

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
    /// The grant types that the client may use; by default all that its method allows.
    #[schema(value_type = Vec<String>)]
    pub grant_types: Vec<GrantType>,
    /// Scopes of the admin API that the client may request with `client_credentials`.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// Permissions of the tokens that the client gets for itself; each must name an `owner`. Not
    /// for the method `federated`.
    #[serde(default)]
    pub permissions: Vec<PermissionDocument>,
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
        document.check_binding(&mut reader);
        reader.finish(document)
    }

    fn shown(&self, _: ReadContext<'_>) -> Map<String, Value> {
        let mut shown = members(self);
        for name in ["jwks", "jwks_uri", "resource_server"] {
            shown.entry(name).or_insert(Value::Null);
        }
        for (name, is_set) in [
            (DPOP_BOUND, self.dpop_bound_access_tokens),
            (
                CERTIFICATE_BOUND,
                self.tls_client_certificate_bound_access_tokens,
            ),
            (FAPI2, self.fapi2),
        ] {
            shown.insert(name.to_owned(), is_set.into());
        }
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
        let secret = self.auth_method.has_secret();
        let mut warnings = Vec::new();
        let mut warn = |when: bool, code: &str, detail: &str| {
            if when {
                warnings.push(Warning {
                    code: code.to_owned(),
                    detail: detail.to_owned(),
                });
            }
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

    fn binding(&self) -> TokenBinding {
        if self.dpop_bound_access_tokens {
            TokenBinding::Dpop
        } else if self.tls_client_certificate_bound_access_tokens {
            TokenBinding::Certificate
        } else {
            TokenBinding::Optional
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
        if !self.scopes.iter().all(|scope| is_admin_scope(scope)) {
            let known = "admin, admin:read, admin:credentials or admin:credentials:<principal>";
            reader.problem(
                "scopes",
                format!("must hold only scopes of the admin API: {known}"),
            );
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
        let grants_itself = self.grant_types.contains(&GrantType::ClientCredentials);
        if !grants_itself && !self.permissions.is_empty() {
            reader.problem(
                "permissions",
                "must not be given without the grant type client_credentials",
            );
        }
        if !grants_itself && !self.scopes.is_empty() {
            reader.problem(
                "scopes",
                "must not be given without the grant type client_credentials",
            );
        }
        for (at, _) in self
            .permissions
            .iter()
            .enumerate()
            .filter(|(_, permission)| permission.owner.is_none())
        {
            reader.problem(
                &format!("permissions/{at}/owner"),
                "must be given: a client is not a principal",
            );
        }
    }

    /// The client in the form that requests are decided by; `None` if a client whose method needs
    /// keys has none, or the server no `generic` profile.
    pub fn compile(
        &self,
        id: ClientRowId,
        name: &str,
        version: i64,
        state: &ClientState,
        context: ReadContext<'_>,
    ) -> Option<Client> {
        let method = match self.auth_method {
            AuthMethod::None => Method::None,
            AuthMethod::ClientSecretBasic => Method::SecretBasic(state.secrets.clone()),
            AuthMethod::ClientSecretPost => Method::SecretPost(state.secrets.clone()),
            AuthMethod::PrivateKeyJwt => {
                let assertions = (self.assertion_algorithms(), version);
                Method::PrivateKeyJwt(
                    self.issuer_of_its_own(id, name, assertions, context)?
                        .into(),
                )
            }
            AuthMethod::SelfSignedTlsClientAuth => {
                // Its keys sign connections and no assertions, so their algorithms do not matter.
                let connections = (Algorithm::ALL.as_slice(), version);
                Method::SelfSignedTls(
                    self.issuer_of_its_own(id, name, connections, context)?
                        .into(),
                )
            }
            AuthMethod::Federated => Method::Federated(self.listed(state)),
        };
        let permissions = self.permissions.iter().map(|given| ClientPermission {
            resource_server: given.resource_server.clone(),
            actions: given.actions.clone(),
            packages: given.packages.clone(),
            owner: given.owner.clone().unwrap_or_default(),
            demand: given.demand(),
        });
        Some(Client {
            id,
            client_id: name.to_owned(),
            version,
            revision: state.revision,
            not_before: state.not_before,
            method,
            grant_types: self.grant_types.clone(),
            scopes: ScopeSet::of(self.scopes.iter().map(String::as_str)),
            permissions: permissions.collect(),
            resource_server: self.resource_server.clone(),
            binding: self.binding(),
            fapi2: self.fapi2,
            enabled: self.enabled,
        })
    }

    fn listed(&self, state: &ClientState) -> Vec<RuleReference> {
        let rules = self.federated_credentials.iter().zip(&state.listed);
        let listed = rules.filter_map(|(name, rule)| {
            Some(RuleReference {
                name: name.clone(),
                id: rule.credential.parse().ok()?,
                revision: rule.revision,
            })
        });
        listed.collect()
    }

    /// A client with keys of its own is compiled into a trusted issuer for itself alone, so that
    /// keys are fetched and JWTs verified in one way only. The only accepted audience is our issuer
    /// identifier (draft-ietf-oauth-rfc7523bis section 4).
    fn issuer_of_its_own(
        &self,
        id: ClientRowId,
        name: &str,
        (algorithms, version): (&[Algorithm], i64),
        context: ReadContext<'_>,
    ) -> Option<TrustedIssuer> {
        let keys = match (&self.jwks, &self.jwks_uri) {
            (Some(jwks), _) => KeySource::Static { jwks: jwks.clone() },
            (None, Some(uri)) => KeySource::JwksUri {
                uri: uri.clone(),
                ca_file: None,
                token_file: None,
            },
            (None, None) => return None,
        };
        Some(TrustedIssuer {
            // The key cache is keyed by this id. A client's id collides with no trusted issuer's,
            // since ids are unique across kinds.
            id: TrustedIssuerId(id.0),
            name: name.to_owned(),
            version,
            profile: context.profiles.get("generic")?.clone(),
            issuer: name.to_owned(),
            terms: Terms::default(),
            keys,
            audiences: vec![context.own.issuer().to_owned()],
            extra_audiences: Vec::new(),
            algorithms: algorithms.to_vec(),
            types: ["JWT", "client-authentication+jwt"]
                .map(str::to_owned)
                .to_vec(),
            max_assertion_lifetime_seconds: if self.fapi2 {
                MAX_FAPI2_LIFETIME
            } else {
                MAX_ASSERTION_LIFETIME
            },
            leeway_seconds: LEEWAY,
            cap_at_assertion_expiry: false,
            replay: Replay::JtiOrTokenHash,
            replay_claim: "jti".to_owned(),
            banned_events: Vec::new(),
            grants: Vec::new(),
            ca_pem: None,
            allow_private: Vec::new(),
            owner: None,
            enabled: true,
        })
    }
}
