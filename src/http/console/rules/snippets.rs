//! The job files with which the workload of a rule publishes.

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::inside::{Inside, Instead, Shell};
use super::super::page::{Frame, render};
use super::Rule;
use super::page::find;
use crate::snippets::{LeftOut, Packages, Publisher, Snippet, Snippets, offered};

#[derive(Debug, Template)]
#[template(path = "rule_snippets.html")]
struct SnippetsPage {
    frame: Frame,
    shell: Shell,
    name: String,
    principal: String,
    snippets: Vec<Snippet>,
    left_out: Vec<LeftOut>,
}

/// The snippets of a rule.
pub fn of_rule(inside: &Inside, rule: &Rule) -> Snippets {
    let rules = inside.app.rules();
    let publisher = Publisher::of_rule(&rules, rule);
    let found = publisher.map(|publisher| offered(&inside.app.config.own, &publisher));
    found.unwrap_or_default()
}

/// `GET /console/principals/{principal}/rules/{rule}/snippets`
pub async fn snippets(
    inside: Inside,
    Path((principal, name)): Path<(String, String)>,
) -> Result<Response, Instead> {
    let place = inside.at(&principal).await?;
    let rule = find(&inside, &place, &name).await?;
    let Snippets { snippets, left_out } = of_rule(&inside, &rule);
    let (links, name) = (&inside.links, place.name());
    let page = SnippetsPage {
        frame: inside.frame(),
        shell: inside.shell([
            ("Home", links.home().to_owned()),
            (name, links.principal(name)),
            (&rule.name, links.rule(name, &rule.name)),
        ]),
        name: rule.name.clone(),
        principal: name.to_owned(),
        snippets,
        left_out,
    };
    Ok(render(&inside.app, StatusCode::OK, &page, None))
}
