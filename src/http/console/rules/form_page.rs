//! The page of the form, and that of the platforms to choose from.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::inside::{Inside, Place, Shell};
use super::super::page::{Frame, render};
use super::super::posted::Fields;
use super::controls::{Control, ControlKind, PermissionControl, controls, permissions};
use super::draft::{Problem, permission_count};
use super::written::{Findings, Written};
use crate::admin::{Catalog, CatalogIssuer};
use crate::trust::Warning;

/// A platform to choose.
#[derive(Debug)]
struct Platform {
    text: String,
    issuer: String,
    link: String,
}

#[derive(Debug, Template)]
#[template(path = "rule_platform.html")]
struct PlatformPage {
    frame: Frame,
    shell: Shell,
    principal: String,
    platforms: Vec<Platform>,
}

#[derive(Debug, Template)]
#[template(path = "rule_form.html")]
struct FormPage {
    frame: Frame,
    shell: Shell,
    heading: String,
    principal: String,
    platform: String,
    trusted_issuer: String,
    /// Where the form is sent to.
    action: String,
    name: String,
    is_new: bool,
    version: String,
    main: Vec<Control>,
    filters: Vec<Control>,
    more: Vec<Control>,
    /// Whether something of `more` is filled in.
    more_is_open: bool,
    filters_needed: Option<String>,
    permissions: Vec<PermissionControl>,
    expires_at: String,
    review_at: String,
    /// Conditions of the stored rule that the form cannot show.
    rest: Vec<String>,
    /// Why nothing was done with a form that is right.
    notice: Option<&'static str>,
    problems: Vec<Problem>,
    /// What the rule would admit and permit, once it was checked without a mistake.
    preview: Option<Vec<String>>,
    counts: Counts,
    warnings: Vec<Warning>,
    /// What the box beside the warnings stands for.
    read: String,
}

/// For which jobs a rule counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    /// For all, since the trusted issuer is the principal's own.
    Always,
    /// For all, since somebody vouched for the rule.
    Vouched,
    /// For those that name the principal.
    Named,
}

/// A digest of warnings: whoever has read these has not read others.
pub fn digest(warnings: &[Warning]) -> String {
    let lines = warnings
        .iter()
        .map(|warning| format!("{}\0{}\0", warning.code, warning.detail));
    carnet_jose::base64url(carnet_jose::sha256(lines.collect::<String>().as_bytes()))
}

impl FormPage {
    /// What a field is called.
    fn label(&self, key: &str) -> String {
        let controls = self.main.iter().chain(&self.filters).chain(&self.more);
        let mut labels = controls.map(|control| (&control.key, &control.label));
        if let Some((_, label)) = labels.find(|(known, _)| *known == key) {
            return label.clone();
        }
        let of_permissions = self.permissions.iter().find_map(|permission| {
            let fields = [
                (&permission.registry_key, "Registry"),
                (&permission.owner_key, "Package owner"),
                (&permission.action_key, "Actions"),
                (&permission.packages_key, "Packages"),
            ];
            let (_, label) = fields.into_iter().find(|(known, _)| *known == key)?;
            Some(match self.permissions.len() {
                1 => label.to_owned(),
                _ => format!("{label} ({})", permission.number.saturating_add(1)),
            })
        });
        of_permissions.unwrap_or_else(|| match key {
            "name" => "Name of the rule".to_owned(),
            "expires_at" => "Ends on".to_owned(),
            "review_at" => "Review it on".to_owned(),
            other => other.to_owned(),
        })
    }

    /// The mistakes at a field.
    fn problem(&self, key: &str) -> Option<&str> {
        let mut problems = self.problems.iter();
        let found = problems.find(|problem| problem.key.as_deref() == Some(key));
        found.map(|problem| problem.text.as_str())
    }
}

/// The page on which a platform is chosen.
pub fn platforms(inside: &Inside, place: &Place, catalog: &Catalog) -> Response {
    let (links, name) = (&inside.links, place.name());
    let platform = |issuer: &CatalogIssuer| Platform {
        text: issuer.display.clone(),
        issuer: issuer.issuer.clone(),
        link: format!("{}?trusted_issuer={}", links.new_rule(name), issuer.name),
    };
    let page = PlatformPage {
        frame: inside.frame(),
        shell: inside.shell([
            ("Home", links.home().to_owned()),
            (name, links.principal(name)),
        ]),
        principal: name.to_owned(),
        platforms: catalog.trusted_issuers.iter().map(platform).collect(),
    };
    render(&inside.app, StatusCode::OK, &page, None)
}

/// The form, with what was typed and what was found about it.
pub fn page(
    inside: &Inside,
    written: &Written<'_>,
    fields: &Fields,
    findings: Findings,
    status: StatusCode,
) -> Response {
    let (links, name) = (&inside.links, written.place.name());
    let form = written.form;
    let shown = |entries| controls(entries, fields);
    let more = shown(&form.more);
    let added = usize::from(fields.text("do") == "add_permission");
    let count = permission_count(fields).saturating_add(added);
    let rest = written
        .stored
        .map(|stored| form.fill(&stored.document.matcher).rest);
    let rest = rest.into_iter().flatten();
    let (heading, action) = match written.stored {
        Some(rule) => (
            format!("Change {}", rule.name),
            links.edit(name, &rule.name),
        ),
        None => ("Add a trusted publisher".to_owned(), links.new_rule(name)),
    };
    let (preview, warnings) = match findings.checked {
        Some(checked) if findings.problems.is_empty() => (Some(checked.preview), checked.warnings),
        _ => (None, Vec::new()),
    };
    let page = FormPage {
        frame: inside.frame(),
        shell: inside.shell([
            ("Home", links.home().to_owned()),
            (name, links.principal(name)),
        ]),
        heading,
        principal: name.to_owned(),
        platform: written.issuer.display.clone(),
        trusted_issuer: written.issuer.name.clone(),
        action,
        name: fields.text("name").to_owned(),
        is_new: written.stored.is_none(),
        version: match written.stored {
            Some(_) if fields.has("version") => fields.text("version").to_owned(),
            Some(stored) => stored.version.to_string(),
            None => String::new(),
        },
        main: shown(&form.main),
        filters: shown(&form.filters),
        more_is_open: more.iter().any(Control::is_filled),
        more,
        filters_needed: form.filters_needed.clone(),
        permissions: permissions(written.catalog, fields, count),
        expires_at: fields.text("expires_at").to_owned(),
        review_at: fields.text("review_at").to_owned(),
        rest: rest
            .map(|(name, value)| format!("{name} = {value}"))
            .collect(),
        notice: findings.notice,
        problems: findings.problems,
        counts: if written.issuer.owned {
            Counts::Always
        } else if written
            .stored
            .is_some_and(|rule| rule.state.vouching.counts())
        {
            Counts::Vouched
        } else {
            Counts::Named
        },
        preview,
        read: digest(&warnings),
        warnings,
    };
    render(&inside.app, status, &page, None)
}
