//! What a rule of a principal may name: trusted issuers with their forms, registries, owners.

use serde::Serialize;

use super::{Author, Rejected};
use crate::app::App;
use crate::model::{FrontDoorKind, PrincipalKind, ResourceServer, Snapshot, TrustedIssuer};
use crate::profile::Form;

/// What the rules of a principal may name. Disabled objects are left out.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct Catalog {
    /// The principal whose rules are meant.
    pub principal: CatalogPrincipal,
    /// The trusted issuers that are open to every principal, and those that belong to this one; by
    /// title, then by name.
    pub trusted_issuers: Vec<CatalogIssuer>,
    /// The form of each profile that one of the trusted issuers has, by profile.
    pub forms: Vec<CatalogForm>,
    /// The registries, by name.
    pub resource_servers: Vec<CatalogRegistry>,
    /// The principals that a self-service rule may name as the owner of packages: the principal
    /// itself, which is the default, then those of its `acts_for`.
    pub owners: Vec<String>,
}

/// A principal.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct CatalogPrincipal {
    pub name: String,
    pub kind: PrincipalKind,
    /// Whether its rules count.
    pub enabled: bool,
}

/// A trusted issuer that a rule may name.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct CatalogIssuer {
    pub name: String,
    /// The text for people: the title of the profile, and the name if several issuers have that
    /// title.
    pub display: String,
    /// The `iss` of its tokens.
    pub issuer: String,
    pub profile: String,
    /// The platform's name.
    pub title: String,
    /// Whether it belongs to the principal, so that its rules count without being vouched for.
    pub owned: bool,
}

/// The form in which people write the `match` of a rule.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct CatalogForm {
    pub profile: String,
    pub title: String,
    #[serde(flatten)]
    pub form: Form,
}

/// A registry that a permission may name.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct CatalogRegistry {
    pub name: String,
    /// The `aud` of its tokens.
    pub resource: String,
    /// The actions that a permission may hold.
    pub actions: Vec<String>,
    /// How package names are compared: `exact`, `ascii_case_insensitive`, `pep503` or `cargo`.
    pub package_names: String,
    /// The tools that get their keys at its front door; null if it has none.
    pub front_door: Option<FrontDoorKind>,
    /// Whether every token request must name its principal.
    pub require_principal: bool,
    /// Whether a rule counts only if it names an environment or the run is for a protected ref.
    pub require_protected_ref_or_environment: bool,
}

impl Catalog {
    /// The form for the rules of a trusted issuer.
    pub fn form_of(&self, trusted_issuer: &str) -> Option<&Form> {
        let is_named = |issuer: &&CatalogIssuer| issuer.name.eq_ignore_ascii_case(trusted_issuer);
        let issuer = self.trusted_issuers.iter().find(is_named)?;
        let mut forms = self.forms.iter();
        let found = forms.find(|form| form.profile == issuer.profile)?;
        Some(&found.form)
    }
}

/// What the rules of `principal` may name. Errors with [`Rejected::Forbidden`] if the author is
/// limited to others, and with [`Rejected::NotFound`] if there is no such principal.
pub fn catalog(app: &App, author: &Author, principal: &str) -> Result<Catalog, Rejected> {
    if !author.may_act_for(principal) {
        return Err(Rejected::Forbidden);
    }
    let rules = app.rules();
    let folded = principal.to_ascii_lowercase();
    let found = rules.principal(&folded).ok_or(Rejected::NotFound)?;
    let usable =
        |issuer: &&std::sync::Arc<TrustedIssuer>| issuer.enabled && issuer.is_open_to(&folded);
    let issuers: Vec<&TrustedIssuer> = rules.issuers().filter(usable).map(|it| &**it).collect();
    Ok(Catalog {
        principal: CatalogPrincipal {
            name: found.name.clone(),
            kind: found.kind,
            enabled: found.enabled,
        },
        forms: forms(&issuers),
        trusted_issuers: shown_issuers(&issuers),
        resource_servers: registries(&rules),
        owners: owners(&rules, &found.name, &found.acts_for),
    })
}

fn forms(issuers: &[&TrustedIssuer]) -> Vec<CatalogForm> {
    let mut forms: Vec<CatalogForm> = Vec::new();
    for issuer in issuers {
        let profile = &issuer.profile;
        if !forms.iter().any(|form| form.profile == profile.name) {
            forms.push(CatalogForm {
                profile: profile.name.clone(),
                title: profile.title.clone(),
                form: profile.form().clone(),
            });
        }
    }
    forms.sort_unstable_by(|one, other| one.profile.cmp(&other.profile));
    forms
}

fn shown_issuers(issuers: &[&TrustedIssuer]) -> Vec<CatalogIssuer> {
    let shown = issuers.iter().map(|issuer| {
        let title = &issuer.profile.title;
        let of_title = issuers.iter().filter(|other| other.profile.title == *title);
        let display = if of_title.count() > 1 {
            format!("{title} ({})", issuer.name)
        } else {
            title.clone()
        };
        CatalogIssuer {
            name: issuer.name.clone(),
            display,
            issuer: issuer.issuer.clone(),
            profile: issuer.profile.name.clone(),
            title: title.clone(),
            owned: issuer.owner.is_some(),
        }
    });
    let mut shown: Vec<CatalogIssuer> = shown.collect();
    shown.sort_unstable_by(|one, other| (&one.title, &one.name).cmp(&(&other.title, &other.name)));
    shown
}

fn registries(rules: &Snapshot) -> Vec<CatalogRegistry> {
    let enabled = rules.resource_servers().filter(|server| server.enabled);
    let mut shown: Vec<CatalogRegistry> = enabled.map(|server| registry(server)).collect();
    shown.sort_unstable_by(|one, other| one.name.cmp(&other.name));
    shown
}

fn registry(server: &ResourceServer) -> CatalogRegistry {
    let package_names = serde_json::to_value(server.package_names).unwrap_or_default();
    CatalogRegistry {
        name: server.name.clone(),
        resource: server.resource.clone(),
        actions: server.actions.clone(),
        package_names: package_names.as_str().unwrap_or_default().to_owned(),
        front_door: server.front_door.as_ref().map(|door| door.kind),
        require_principal: server.require_principal,
        require_protected_ref_or_environment: server.require_protected_ref_or_environment,
    }
}

/// The names in the principals' own letter case.
fn owners(rules: &Snapshot, principal: &str, acts_for: &[String]) -> Vec<String> {
    let others = acts_for.iter().filter_map(|folded| rules.principal(folded));
    let mut others: Vec<String> = others
        .filter(|other| other.enabled && !other.name.eq_ignore_ascii_case(principal))
        .map(|other| other.name.clone())
        .collect();
    others.sort_unstable();
    std::iter::once(principal.to_owned())
        .chain(others)
        .collect()
}
