//! The form in which an owner writes a rule, and what is done with what was typed: checked, shown in
//! sentences, saved.

use askama::Template;
use axum::body::Bytes;
use axum::extract::Path;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::Response;
use serde_json::{Map, Value};

use super::super::inside::{Inside, Instead, Place, Proof, Shell};
use super::super::page::{Frame, render, see_other};
use super::super::posted::{Fields, Posted, posted};
use super::Rule;
use super::change::seen;
use super::controls::{Control, ControlKind, PermissionControl, controls, permissions};
use super::draft::{Draft, Problem, fields_of, permission_count};
use super::page::find;
use crate::admin::{
    self, Catalog, CatalogIssuer, Change, DryRun, Occasion, Precondition, Rejected,
};
use crate::documents::FederatedCredentialDocument;
use crate::people::session::Fresh;
use crate::profile::Form;
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
    /// Whether the stored rule is vouched for.
    vouched: bool,
    warnings: Vec<Warning>,
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

/// What was found about a draft.
#[derive(Debug, Default)]
struct Findings {
    notice: Option<&'static str>,
    problems: Vec<Problem>,
    checked: Option<DryRun>,
}

/// A form, and what it is for.
struct Written<'w> {
    place: &'w Place,
    catalog: &'w Catalog,
    issuer: &'w CatalogIssuer,
    form: &'w Form,
    stored: Option<&'w Rule>,
}

impl<'w> Written<'w> {
    /// The form for the rules of a trusted issuer, which a rule of the principal may name.
    fn find(
        place: &'w Place,
        catalog: &'w Catalog,
        trusted_issuer: &str,
        stored: Option<&'w Rule>,
    ) -> Option<Self> {
        let is_it = |issuer: &&CatalogIssuer| issuer.name.eq_ignore_ascii_case(trusted_issuer);
        Some(Self {
            place,
            catalog,
            issuer: catalog.trusted_issuers.iter().find(is_it)?,
            form: catalog.form_of(trusted_issuer)?,
            stored,
        })
    }

    fn draft<'d>(&'d self, fields: &'d Fields) -> Draft<'d> {
        Draft {
            principal: self.place.name(),
            trusted_issuer: &self.issuer.name,
            form: self.form,
            fields,
            stored: self.stored,
        }
    }

    fn reference(&self, fields: &Fields) -> String {
        match self.stored {
            Some(stored) => stored.id.clone(),
            None => format!("{}:{}", self.place.name(), fields.text("name")),
        }
    }

    fn change(&self, members: Map<String, Value>) -> Change {
        match self.stored {
            Some(_) => Change::Replace(members),
            None => Change::Create(members),
        }
    }

    fn precondition(&self, fields: &Fields) -> Precondition {
        match self.stored {
            Some(_) => seen(fields),
            None => Precondition::default(),
        }
    }
}

/// The catalog of a principal.
async fn catalog(inside: &Inside, place: &Place) -> Result<Catalog, Instead> {
    match admin::catalog(&inside.app, &place.reader, place.name()) {
        Ok(catalog) => Ok(catalog),
        Err(rejected) => Err(inside
            .rejected(rejected, inside.links.home().to_owned())
            .await),
    }
}

/// `GET /console/principals/{principal}/rules/new`: the platforms, or the form of the one that the
/// query names.
pub async fn begin(inside: Inside, Path(principal): Path<String>) -> Result<Response, Instead> {
    let place = inside.at(&principal).await?;
    if !place.may_write {
        return Err(inside.forbidden());
    }
    inside.ask_to_confirm(inside.freshness(&place))?;
    let catalog = catalog(&inside, &place).await?;
    let Some(trusted_issuer) = inside.visitor.parameter("trusted_issuer") else {
        return Ok(platforms(&inside, &place, &catalog));
    };
    let Some(written) = Written::find(&place, &catalog, &trusted_issuer, None) else {
        return Err(inside.not_found().await);
    };
    let fields = Fields::default();
    Ok(page(
        &inside,
        &written,
        &fields,
        Findings::default(),
        StatusCode::OK,
    ))
}

fn platforms(inside: &Inside, place: &Place, catalog: &Catalog) -> Response {
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

/// `POST /console/principals/{principal}/rules/new`
pub async fn create(
    inside: Inside,
    Path(principal): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Instead> {
    let sent = posted(&inside.app, &inside.visitor, &inside.session, body)?;
    let place = inside.at(&principal).await?;
    let catalog = catalog(&inside, &place).await?;
    let (Posted::Now(fields) | Posted::Before(fields)) = &sent;
    let trusted_issuer = fields.text("trusted_issuer");
    let Some(written) = Written::find(&place, &catalog, trusted_issuer, None) else {
        return Err(inside.not_found().await);
    };
    work(&inside, &written, &sent).await
}

/// `GET /console/principals/{principal}/rules/{rule}/edit`
pub async fn edit(
    inside: Inside,
    Path((principal, name)): Path<(String, String)>,
) -> Result<Response, Instead> {
    let place = inside.at(&principal).await?;
    if !place.may_write {
        return Err(inside.forbidden());
    }
    inside.ask_to_confirm(inside.freshness(&place))?;
    let rule = find(&inside, &place, &name).await?;
    let catalog = catalog(&inside, &place).await?;
    let issuer = &rule.document.trusted_issuer;
    let Some(written) = Written::find(&place, &catalog, issuer, Some(&rule)) else {
        return Err(not_in_use(&inside, &place, &rule));
    };
    let fields = fields_of(&rule, written.form);
    Ok(page(
        &inside,
        &written,
        &fields,
        Findings::default(),
        StatusCode::OK,
    ))
}

/// `POST /console/principals/{principal}/rules/{rule}/edit`
pub async fn replace(
    inside: Inside,
    Path((principal, name)): Path<(String, String)>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Instead> {
    let sent = posted(&inside.app, &inside.visitor, &inside.session, body)?;
    let place = inside.at(&principal).await?;
    let rule = find(&inside, &place, &name).await?;
    let catalog = catalog(&inside, &place).await?;
    let issuer = &rule.document.trusted_issuer;
    let Some(written) = Written::find(&place, &catalog, issuer, Some(&rule)) else {
        return Err(not_in_use(&inside, &place, &rule));
    };
    work(&inside, &written, &sent).await
}

/// A rule of a trusted issuer that is disabled, or belongs to another principal now.
fn not_in_use(inside: &Inside, place: &Place, rule: &Rule) -> Instead {
    let issuer = &rule.document.trusted_issuer;
    let told = format!(
        "The trusted issuer {issuer} is not in use for {}.",
        place.name()
    );
    let back = inside.links.rule(place.name(), &rule.name);
    let (status, heading) = (StatusCode::CONFLICT, "The rule cannot be changed");
    inside.not_done(status, heading, vec![told], back).into()
}

/// Does what the pressed button asks for. Whatever is not saved is shown again as it was typed.
async fn work(inside: &Inside, written: &Written<'_>, sent: &Posted) -> Result<Response, Instead> {
    let place = written.place;
    if !place.may_write {
        return Err(inside.forbidden());
    }
    let again = |fields, notice| {
        let findings = Findings {
            notice: Some(notice),
            ..Findings::default()
        };
        Ok(page(
            inside,
            written,
            fields,
            findings,
            StatusCode::CONFLICT,
        ))
    };
    let fields = match sent {
        Posted::Now(fields) => fields,
        Posted::Before(fields) => return again(fields, SIGNED_IN_AGAIN),
    };
    match inside.freshness(place) {
        Fresh::Until(_) => {}
        Fresh::StepUp => return again(fields, NOT_FRESH),
        never @ Fresh::Never(_) => return Err(never_fresh(inside, never)),
    }
    let action = fields.text("do");
    if action == "add_permission" {
        let findings = Findings::default();
        return Ok(page(inside, written, fields, findings, StatusCode::OK));
    }
    let findings = check(inside, written, fields).await?;
    let has_warnings = findings
        .checked
        .as_ref()
        .is_some_and(|checked| !checked.warnings.is_empty());
    let is_accepted = !has_warnings || fields.has("accept_warnings");
    // Only what was to be saved is refused.
    let refused = match action {
        "save" => StatusCode::UNPROCESSABLE_ENTITY,
        _ => StatusCode::OK,
    };
    if !findings.problems.is_empty() {
        return Ok(page(inside, written, fields, findings, refused));
    }
    if action != "save" {
        return Ok(page(inside, written, fields, findings, StatusCode::OK));
    }
    if !is_accepted {
        let notice = Some(WARNINGS);
        let findings = Findings { notice, ..findings };
        return Ok(page(inside, written, fields, findings, StatusCode::OK));
    }
    save(inside, written, fields).await
}

const SIGNED_IN_AGAIN: &str = "You signed in again after this form was shown. Nothing was saved: look at it, and press the button again.";
const NOT_FRESH: &str = "Your proof of identity is too old by now. Nothing was saved. Confirm in another tab that it is you, and come back to this form: it stays as it is.";
const WARNINGS: &str =
    "The rule has warnings. Read them, and tick the box beside them if you want the rule as it is.";

fn never_fresh(inside: &Inside, fresh: Fresh) -> Instead {
    match inside.ask_to_confirm(fresh) {
        Err(instead) => instead,
        Ok(()) => inside.forbidden(),
    }
}

/// Tries the draft out.
async fn check(
    inside: &Inside,
    written: &Written<'_>,
    fields: &Fields,
) -> Result<Findings, Instead> {
    let draft = written.draft(fields);
    let (members, mut problems) = draft.document();
    let author = written.place.author();
    let occasion = Occasion {
        online: true,
        author: &author,
    };
    let (reference, change) = (written.reference(fields), written.change(members));
    let precondition = written.precondition(fields);
    let tried = admin::try_out::<FederatedCredentialDocument>(
        &inside.app,
        &reference,
        &change,
        &precondition,
        occasion,
    );
    match tried.await {
        Ok(checked) => {
            // A value that the form cannot read is not in the document, which says so once more.
            let placed = checked.errors.iter().map(|error| draft.placed(error));
            let new: Vec<Problem> = placed
                .filter(|one| problems.iter().all(|known| known.key != one.key))
                .collect();
            problems.extend(new);
            Ok(Findings {
                notice: None,
                problems,
                checked: Some(checked),
            })
        }
        Err(rejected) => refused(inside, written, rejected).await,
    }
}

async fn save(
    inside: &Inside,
    written: &Written<'_>,
    fields: &Fields,
) -> Result<Response, Instead> {
    let author = inside.writer(written.place, Proof::Recent)?;
    let (members, _) = written.draft(fields).document();
    let occasion = Occasion {
        online: true,
        author: &author,
    };
    let (reference, change) = (written.reference(fields), written.change(members));
    let precondition = written.precondition(fields);
    let saved = admin::save::<FederatedCredentialDocument>(
        &inside.app,
        &reference,
        &change,
        &precondition,
        occasion,
    );
    match saved.await {
        Ok(saved) => {
            let rule = inside.links.rule(written.place.name(), &saved.object.name);
            Ok(see_other(&rule, None))
        }
        Err(rejected) => {
            let findings = refused(inside, written, rejected).await?;
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            Ok(page(inside, written, fields, findings, status))
        }
    }
}

/// A refusal that the form can show, at the field that it concerns.
async fn refused(
    inside: &Inside,
    written: &Written<'_>,
    rejected: Rejected,
) -> Result<Findings, Instead> {
    let problem = match &rejected {
        Rejected::Exists(why) => Problem {
            key: Some("name".to_owned()),
            text: why.clone(),
        },
        Rejected::Changed => Problem {
            key: None,
            text: "Somebody changed the rule after this form was shown. Open it again to see how it is now."
                .to_owned(),
        },
        _ => {
            let back = inside.links.principal(written.place.name());
            return Err(inside.rejected(rejected, back).await);
        }
    };
    Ok(Findings {
        problems: vec![problem],
        ..Findings::default()
    })
}

fn page(
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
        vouched: written
            .stored
            .is_some_and(|rule| rule.state.vouching.counts()),
        preview,
        warnings,
    };
    render(&inside.app, status, &page, None)
}
