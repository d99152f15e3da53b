//! The first page about the server: the counts of the last days, and where everything is.

use askama::Template;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::chart::Chart;
use super::super::inside::{Inside, Instead, Shell};
use super::super::page::{Frame, render, see_other};
use super::reader;
use crate::admin;

/// Principals on the page.
const PRINCIPALS: usize = 200;

#[derive(Debug, Template)]
#[template(path = "server.html")]
struct OverviewPage {
    frame: Frame,
    shell: Shell,
    server: String,
    chart: Chart,
    /// Name and link.
    principals: Vec<(String, String)>,
    /// Whether there are principals beyond those.
    has_more: bool,
    /// What was typed, if there is no such principal.
    unknown: Option<String>,
}

/// `GET /console/server`
pub async fn show(inside: Inside) -> Result<Response, Instead> {
    let author = reader(&inside).await?;
    let links = &inside.links;
    let rules = inside.app.rules();
    let typed = inside.visitor.parameter("principal");
    let typed = typed.filter(|typed| !typed.is_empty());
    if let Some(typed) = &typed
        && let Some(known) = rules.principal(&typed.to_ascii_lowercase())
    {
        return Ok(see_other(&links.principal(&known.name), None));
    }
    let counts = match admin::counts(&inside.app, &author, None).await {
        Ok(counts) => counts,
        Err(rejected) => return Err(inside.rejected(rejected, links.home().to_owned()).await),
    };
    let mut names: Vec<&str> = rules.principals().map(|one| one.name.as_str()).collect();
    names.sort_unstable();
    let shown = names.iter().take(PRINCIPALS);
    let page = OverviewPage {
        frame: inside.frame(),
        shell: inside.shell([("Home", links.home().to_owned())]),
        server: links.server(),
        chart: counts.into(),
        principals: shown
            .map(|name| ((*name).to_owned(), links.principal(name)))
            .collect(),
        has_more: names.len() > PRINCIPALS,
        unknown: typed,
    };
    let status = if page.unknown.is_some() {
        StatusCode::NOT_FOUND
    } else {
        StatusCode::OK
    };
    Ok(render(&inside.app, status, &page, None))
}
