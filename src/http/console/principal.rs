//! The page of a principal: its rules, what happened in the last days, and the latest runs.

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;

use super::chart::Chart;
use super::inside::{Inside, Instead, Place, Shell};
use super::page::{Frame, render};
use super::rules::{RuleRow, rows};
use super::runs::{RunRow, latest};
use crate::admin::{self, Filter};
use crate::documents::FederatedCredentialDocument;

/// Rules on one page.
const RULES: u64 = 50;
/// Runs on the page of a principal.
const RUNS: u64 = 10;

#[derive(Debug, Template)]
#[template(path = "principal.html")]
struct PrincipalPage {
    frame: Frame,
    shell: Shell,
    principal: String,
    may_write: bool,
    rules: Vec<RuleRow>,
    /// The link to further rules.
    more: Option<String>,
    chart: Chart,
    runs: Vec<RunRow>,
    new_rule: String,
    all_runs: String,
    test: String,
}

/// `GET /console/principals/{principal}`
pub async fn show(inside: Inside, Path(name): Path<String>) -> Result<Response, Instead> {
    let place = inside.at(&name).await?;
    let page = page(&inside, &place).await?;
    Ok(render(&inside.app, StatusCode::OK, &page, None))
}

async fn page(inside: &Inside, place: &Place) -> Result<PrincipalPage, Instead> {
    let links = &inside.links;
    let name = place.name();
    let filter = Filter {
        principals: Some(vec![name.to_owned()]),
        ..Filter::default()
    };
    let after = inside.visitor.parameter("after");
    let found =
        admin::list::<FederatedCredentialDocument>(&inside.app, after.as_deref(), RULES, &filter);
    let back = || links.home().to_owned();
    let found = match found.await {
        Ok(found) => found,
        Err(rejected) => return Err(inside.rejected(rejected, back()).await),
    };
    let counts = match admin::counts(&inside.app, &place.reader, Some(name)).await {
        Ok(counts) => counts,
        Err(rejected) => return Err(inside.rejected(rejected, back()).await),
    };
    let runs = latest(inside, place, RUNS).await?;
    let more = found.next.map(|next| {
        let query: String = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("after", &next)
            .finish();
        format!("{}?{query}", links.principal(name))
    });
    Ok(PrincipalPage {
        frame: inside.frame(),
        shell: inside.shell([("Home", back())]),
        principal: name.to_owned(),
        may_write: place.may_write,
        rules: rows(inside, name, &found.items),
        more,
        chart: counts.into(),
        runs,
        new_rule: links.new_rule(name),
        all_runs: links.runs(name),
        test: links.test(name),
    })
}
