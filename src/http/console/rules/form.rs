//! What is done with the form in which an owner writes a rule: it is shown, checked and saved.

use axum::body::Bytes;
use axum::extract::Path;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::inside::{Inside, Instead, Place};
use super::super::page::see_other;
use super::super::posted::{Fields, Posted, posted};
use super::Rule;
use super::draft::fields_of;
use super::form_page::{digest, page, platforms};
use super::page::find;
use super::written::{Findings, Written};
use crate::people::session::Fresh;
use crate::trust::Warning;

/// `GET /console/principals/{principal}/add-rule`: the platforms, or the form of the one that the
/// query names.
pub async fn begin(inside: Inside, Path(principal): Path<String>) -> Result<Response, Instead> {
    let place = inside.at(&principal).await?;
    if !place.may_write {
        return Err(inside.forbidden());
    }
    inside.ask_to_confirm(inside.freshness(&place))?;
    let catalog = inside.catalog(&place).await?;
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

/// `POST /console/principals/{principal}/add-rule`
pub async fn create(
    inside: Inside,
    Path(principal): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Instead> {
    let sent = posted(&inside.app, &inside.visitor, &inside.session, body)?;
    let place = inside.at(&principal).await?;
    let catalog = inside.catalog(&place).await?;
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
    let catalog = inside.catalog(&place).await?;
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
    let catalog = inside.catalog(&place).await?;
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
    // Each form is worked through as a dry run of the admin API is.
    let trier = inside.trier(place)?;
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
    let findings = written.check(inside, fields, &trier).await?;
    let warnings = findings
        .checked
        .iter()
        .flat_map(|checked| &checked.warnings);
    let warnings: Vec<Warning> = warnings.cloned().collect();
    let is_accepted = warnings.is_empty() || fields.text("accept_warnings") == digest(&warnings);
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
    match written.save(inside, fields).await? {
        Ok(name) => Ok(see_other(&inside.links.rule(place.name(), &name), None)),
        Err(findings) => Ok(page(inside, written, fields, findings, refused)),
    }
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
