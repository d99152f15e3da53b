//! `carnet policy lint`: reads bundles without a server and reports mistakes and weaknesses.
//! References to other objects are not checked, except for a rule's trusted issuer.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{
    Bundle, ClientDocument, Document, FederatedCredentialDocument, IdentityProviderDocument, Kind,
    MembershipDocument, NotificationDocument, PermissionDocument, PrincipalDocument, ReadContext,
    ResourceServerDocument, TrustedIssuerDocument,
};
use crate::documents::identity_provider::DEFAULT_PROFILE;
use crate::profile::{Profile, Terms};
use crate::trust::{DocumentError, Warning, normalise};

/// A mistake or a weakness of one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LintFinding {
    /// True for a mistake, which saving would refuse.
    pub is_error: bool,
    /// True for a remark about how the object was judged; false for a mistake or a warning.
    pub is_note: bool,
    /// The object, as `table.name`.
    pub object: String,
    /// A JSON Pointer into the object.
    pub pointer: String,
    /// A stable code: that of the warning, `invalid`, `not_judged` or `profile_assumed`.
    pub code: String,
    pub detail: String,
}

impl LintFinding {
    /// A mistake for which saving would refuse the object.
    pub(super) fn error(kind: Kind, name: &str, problem: DocumentError) -> Self {
        Self {
            is_error: true,
            is_note: false,
            object: format!("{}.{name}", kind.table()),
            pointer: problem.pointer,
            code: "invalid".to_owned(),
            detail: problem.detail,
        }
    }
}

/// How a rule is judged whose trusted issuer is in none of the bundles.
#[derive(Clone, Copy, Debug)]
pub enum MissingIssuer<'a> {
    /// The rule is a mistake: the bundle is all that the server has.
    IsMistake,
    /// By the profile of this name, or without a name by the one that the rule seems to be written
    /// for. If there is none, a note says so.
    Profile(Option<&'a str>),
}

/// Reads every object of a bundle, and the `match` of each rule by its trusted issuer's profile. The
/// trusted issuer is looked for in the bundle, then in `others`.
pub fn lint(
    bundle: &Bundle,
    others: &[Bundle],
    missing: MissingIssuer<'_>,
    context: ReadContext<'_>,
) -> Vec<LintFinding> {
    let mut findings = Vec::new();
    for kind in Kind::ALL {
        for (name, members) in bundle.of(kind) {
            let object = format!("{}.{name}", kind.table());
            let (problems, warnings, note) = match kind {
                Kind::Principal => read::<PrincipalDocument>(members, context),
                Kind::TrustedIssuer => read::<TrustedIssuerDocument>(members, context),
                Kind::ResourceServer => read::<ResourceServerDocument>(members, context),
                Kind::Client => {
                    let server = |name: &str| {
                        let mut bundles = std::iter::once(bundle).chain(others);
                        bundles.find_map(|it| it.get(Kind::ResourceServer, name))
                    };
                    client(members, server, context)
                }
                Kind::Notification => read::<NotificationDocument>(members, context),
                Kind::IdentityProvider => provider(members, context),
                Kind::Membership => {
                    let mut bundles = std::iter::once(bundle).chain(others);
                    let provider =
                        |name: &str| bundles.find_map(|it| it.get(Kind::IdentityProvider, name));
                    membership(members, provider, missing, context)
                }
                Kind::FederatedCredential => {
                    let bundles = std::iter::once(bundle).chain(others);
                    let issuer = |name: &str| {
                        let mut found = bundles.filter_map(|it| it.get(Kind::TrustedIssuer, name));
                        found.next()
                    };
                    credential(members, issuer, missing, context)
                }
            };
            findings.extend(
                problems
                    .into_iter()
                    .map(|problem| LintFinding::error(kind, name, problem)),
            );
            let finding = |is_note: bool, warning: Warning| LintFinding {
                is_error: false,
                is_note,
                object: object.clone(),
                pointer: String::new(),
                code: warning.code,
                detail: warning.detail,
            };
            findings.extend(warnings.into_iter().map(|warning| finding(false, warning)));
            findings.extend(note.map(|note| finding(true, note)));
        }
    }
    findings
}

/// Mistakes, warnings, and a note on how the document was judged.
type Findings = (Vec<DocumentError>, Vec<Warning>, Option<Warning>);

fn read<D: Document>(members: &Map<String, Value>, context: ReadContext<'_>) -> Findings {
    match D::read(members, context) {
        Ok(document) => (Vec::new(), document.warnings(context), None),
        Err(problems) => (problems, Vec::new(), None),
    }
}

/// Reads an identity provider. In a file, `{env = "NAME"}` stands for a secret.
fn provider(members: &Map<String, Value>, context: ReadContext<'_>) -> Findings {
    let mut members = members.clone();
    let is_named = |value: &Value| {
        let members = value.as_object();
        members.is_some_and(|it| it.len() == 1 && it.get("env").is_some_and(Value::is_string))
    };
    if members.get("client_secret").is_some_and(is_named) {
        members.insert("client_secret".to_owned(), "secret".into());
    }
    read::<IdentityProviderDocument>(&members, context)
}

/// Reads a client, and looks at what persons may do at the resource servers of its permissions.
fn client<'b>(
    members: &Map<String, Value>,
    server: impl Fn(&str) -> Option<&'b Map<String, Value>>,
    context: ReadContext<'_>,
) -> Findings {
    let document = match ClientDocument::read(members, context) {
        Ok(document) => document,
        Err(problems) => return (problems, Vec::new(), None),
    };
    let is_open = |permission: &PermissionDocument| {
        // A resource server with mistakes has findings of its own.
        let server = server(&permission.resource_server)
            .and_then(|server| ResourceServerDocument::read(server, context).ok());
        server.is_none_or(|server| {
            let people = server.people.as_ref();
            people.is_some_and(|people| people.has_any_of(&permission.actions))
        })
    };
    let mut warnings = document.warnings(context);
    warnings.extend(document.people_unset(is_open));
    (Vec::new(), warnings, None)
}

/// Reads a membership, and its `match` by the profile of its identity provider.
fn membership<'b>(
    members: &Map<String, Value>,
    provider: impl FnOnce(&str) -> Option<&'b Map<String, Value>>,
    missing: MissingIssuer<'_>,
    context: ReadContext<'_>,
) -> Findings {
    let document = match MembershipDocument::read(members, context) {
        Ok(document) => document,
        Err(problems) => return (problems, Vec::new(), None),
    };
    let provider = provider(&document.identity_provider);
    if provider.is_none() && matches!(missing, MissingIssuer::IsMistake) {
        let detail = format!(
            "must be an identity provider of the same file; {} is not in it",
            document.identity_provider
        );
        let problem = DocumentError::new("/identity_provider", detail);
        return (vec![problem], Vec::new(), None);
    }
    let named = provider.and_then(|provider| provider.get("profile")?.as_str());
    let Some(profile) = context.profiles.get(named.unwrap_or(DEFAULT_PROFILE)) else {
        // The identity provider's own finding says that its profile is not known.
        return (Vec::new(), Vec::new(), None);
    };
    match document.matched_by(profile) {
        Ok(normalised) => (Vec::new(), normalised.warnings, None),
        Err(problems) => (problems, Vec::new(), None),
    }
}

fn credential<'b>(
    members: &Map<String, Value>,
    issuer: impl FnOnce(&str) -> Option<&'b Map<String, Value>>,
    missing: MissingIssuer<'_>,
    context: ReadContext<'_>,
) -> Findings {
    let document = match FederatedCredentialDocument::read(members, context) {
        Ok(document) => document,
        Err(problems) => return (problems, Vec::new(), None),
    };
    let mut warnings = document.warnings(context);
    let issuer = issuer(&document.trusted_issuer);
    let named = issuer.and_then(|issuer| context.profiles.get(issuer.get("profile")?.as_str()?));
    let (profile, note) = match (named, missing) {
        (Some(profile), _) => (Some(profile), None),
        (None, MissingIssuer::Profile(given)) if issuer.is_none() => {
            assumed(&document, given, context)
        }
        (None, _) => {
            let name = &document.trusted_issuer;
            let why = if issuer.is_some() {
                format!("that of {name} is not known")
            } else {
                format!("{name} is not in it")
            };
            let detail = format!(
                "must be a trusted issuer of the same file, since its profile gives `match` its meaning; {why}"
            );
            let problem = DocumentError::new("/trusted_issuer", detail);
            return (vec![problem], Vec::new(), None);
        }
    };
    let Some(profile) = profile else {
        return (Vec::new(), warnings, note);
    };
    let terms = issuer
        .and_then(|issuer| TrustedIssuerDocument::read(issuer, context).ok())
        .map(|issuer| issuer.terms());
    match normalise(profile, &terms.unwrap_or_default(), &document.matcher) {
        Ok(normalised) => {
            warnings.extend(normalised.warnings);
            (Vec::new(), warnings, note)
        }
        Err(problems) => {
            let inside = |problem: DocumentError| {
                DocumentError::new(format!("/match{}", problem.pointer), problem.detail)
            };
            let problems = problems.into_iter().map(inside).collect();
            (problems, warnings, note)
        }
    }
}

/// The profile by which a rule without its trusted issuer is judged, with a note that says so:
/// `given`, else the profile that is called like the trusted issuer (`github` for
/// `github-actions`), else the only one whose fields the `match` has. `None` with a note if there
/// is none.
fn assumed<'c>(
    document: &FederatedCredentialDocument,
    given: Option<&str>,
    context: ReadContext<'c>,
) -> (Option<&'c Arc<Profile>>, Option<Warning>) {
    let issuer = document.trusted_issuer.as_str();
    if let Some(profile) = given.and_then(|given| context.profiles.get(given)) {
        return (Some(profile), None);
    }
    let called = |profile: &Profile| {
        let rest = strip_prefix_ignoring_case(&profile.name, issuer);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let fits = |profile: &Profile| normalise(profile, &Terms::default(), &document.matcher).is_ok();
    let profile = only(context, called).or_else(|| only(context, fits));
    let note = match profile {
        Some(profile) => Warning {
            code: "profile_assumed".to_owned(),
            detail: format!(
                "judged by profile {}, since trusted issuer {issuer} is in no file; --profile names another",
                profile.name
            ),
        },
        None => Warning {
            code: "not_judged".to_owned(),
            detail: format!(
                "not judged: trusted issuer {issuer} is in no file, and its profile gives `match` its meaning; name the profile \
                 with --profile, or the file of the trusted issuer as well"
            ),
        },
    };
    (profile, Some(note))
}

fn only(context: ReadContext<'_>, is_wanted: impl Fn(&Profile) -> bool) -> Option<&Arc<Profile>> {
    // Rules are about workloads: no trusted issuer has a profile for people.
    let of_workloads = context.profiles.for_workloads();
    let mut wanted = of_workloads.filter(|profile| is_wanted(profile));
    wanted.next().filter(|_| wanted.next().is_none())
}

fn strip_prefix_ignoring_case<'t>(text: &'t str, prefix: &str) -> Option<&'t str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}
