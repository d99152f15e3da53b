//! Trying the rules with the token or the claims of a job. What is pasted is used for the one answer:
//! it is not stored, not logged, and a token stays good.

use askama::Template;
use axum::body::Bytes;
use axum::extract::Path;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::Response;
use carnet_jose::json::{self, Limits};
use serde_json::{Map, Value};

use super::inside::{Inside, Instead, Place, Shell};
use super::page::{Frame, render};
use super::posted::Fields;
use super::runs::{ConditionRow, JudgedRule};
use crate::admin::{self, Catalog, Rejected};
use crate::explain::Explanation;

/// Most bytes of what is pasted.
const MAX_PASTED: usize = 64 * 1024;

/// The verdict on what was pasted.
#[derive(Debug)]
struct Verdict {
    allowed: bool,
    reason: Option<String>,
    description: Option<String>,
    reason_link: Option<String>,
    /// What the token would permit.
    granted: Vec<(String, String)>,
    checks: Vec<ConditionRow>,
    rules: Vec<JudgedRule>,
    left_out: usize,
}

impl From<Explanation> for Verdict {
    fn from(explanation: Explanation) -> Self {
        let granted = explanation.granted.into_iter().flat_map(|granted| {
            let details = granted.authorization_details.iter();
            let details = details.filter_map(|detail| serde_json::to_string(detail).ok());
            let seconds = format!("{} seconds", granted.expires_in);
            let mut rows = vec![
                ("Registry".to_owned(), granted.resource),
                ("Scope".to_owned(), granted.scope),
                ("Lifetime".to_owned(), seconds),
            ];
            rows.extend(details.map(|detail| ("Permission".to_owned(), detail)));
            rows
        });
        let rows = |conditions: Vec<_>| conditions.into_iter().map(Into::into).collect();
        Self {
            allowed: explanation.verdict == "allow",
            reason: explanation.reason.map(|reason| reason.code().to_owned()),
            description: explanation.error_description,
            reason_link: explanation.error_uri,
            granted: granted.collect(),
            checks: rows(explanation.checks),
            rules: explanation.candidates.into_iter().map(Into::into).collect(),
            left_out: explanation.candidates_left_out,
        }
    }
}

/// A choice of a list, and whether it is chosen.
type Choice = (String, String, bool);

#[derive(Debug, Template)]
#[template(path = "test.html")]
struct TestPage {
    frame: Frame,
    shell: Shell,
    principal: String,
    action: String,
    issuers: Vec<Choice>,
    registries: Vec<Choice>,
    names_principal: bool,
    problems: Vec<String>,
    verdict: Option<Verdict>,
}

/// `GET /console/principals/{principal}/test`
pub async fn show(inside: Inside, Path(principal): Path<String>) -> Result<Response, Instead> {
    let place = inside.at(&principal).await?;
    let catalog = inside.catalog(&place).await?;
    let fields: Fields = [("named".to_owned(), "on".to_owned())]
        .into_iter()
        .collect();
    Ok(page(&inside, &place, (&catalog, &fields), Vec::new(), None))
}

/// `POST /console/principals/{principal}/test`
pub async fn judge(
    inside: Inside,
    Path(principal): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Instead> {
    let fields = inside.fields(body)?;
    let place = inside.at(&principal).await?;
    let catalog = inside.catalog(&place).await?;
    let shown = (&catalog, &fields);
    let question = match question(&place, &fields) {
        Ok(question) => question,
        Err(problem) => return Ok(page(&inside, &place, shown, vec![problem], None)),
    };
    let author = inside.trier(&place)?;
    match admin::explain(&inside.app, &author, question).await {
        Ok(explanation) => {
            let verdict = Some(explanation.into());
            Ok(page(&inside, &place, shown, Vec::new(), verdict))
        }
        Err(Rejected::Invalid(problems)) => {
            let problems = problems.into_iter().map(|problem| {
                let place = problem.pointer.trim_start_matches('/');
                format!("{place} {}", problem.detail).trim().to_owned()
            });
            Ok(page(&inside, &place, shown, problems.collect(), None))
        }
        Err(rejected) => {
            let back = inside.links.test(place.name());
            Err(inside.rejected(rejected, back).await)
        }
    }
}

/// The question to [`admin::explain`]: an object is taken as claims, anything else as a token.
fn question(place: &Place, fields: &Fields) -> Result<Map<String, Value>, String> {
    let pasted = fields.text("pasted");
    if pasted.is_empty() {
        return Err("Paste a token, or its claims as JSON.".to_owned());
    }
    if pasted.len() > MAX_PASTED {
        return Err(format!(
            "What you paste must be at most {MAX_PASTED} bytes."
        ));
    }
    let mut question = Map::new();
    let mut add = |name: &str, value: Value| question.insert(name.to_owned(), value);
    if pasted.starts_with('{') {
        let claims = json::object(pasted.as_bytes(), Limits::DOCUMENT);
        let claims = claims.map_err(|error| format!("The claims are not JSON: {error}."))?;
        add("trusted_issuer", fields.text("trusted_issuer").into());
        add("claims", Value::Object(claims));
    } else {
        add("assertion", pasted.into());
    }
    add("resource", fields.text("resource").into());
    if fields.has("named") {
        add("principal", place.name().into());
    }
    Ok(question)
}

fn page(
    inside: &Inside,
    place: &Place,
    (catalog, fields): (&Catalog, &Fields),
    problems: Vec<String>,
    verdict: Option<Verdict>,
) -> Response {
    let (links, name) = (&inside.links, place.name());
    let choice = |value: &str, text: String, field: &str| {
        let is_chosen = fields.text(field) == value;
        (value.to_owned(), text, is_chosen)
    };
    let issuers = catalog.trusted_issuers.iter();
    let registries = catalog.resource_servers.iter();
    let page = TestPage {
        frame: inside.frame(),
        shell: inside.shell([
            ("Home", links.home().to_owned()),
            (name, links.principal(name)),
        ]),
        principal: name.to_owned(),
        action: links.test(name),
        issuers: issuers
            .map(|issuer| choice(&issuer.name, issuer.display.clone(), "trusted_issuer"))
            .collect(),
        registries: registries
            .map(|server| {
                let text = format!("{} ({})", server.name, server.resource);
                choice(&server.resource, text, "resource")
            })
            .collect(),
        names_principal: fields.has("named"),
        problems,
        verdict,
    };
    let status = if page.problems.is_empty() {
        StatusCode::OK
    } else {
        StatusCode::UNPROCESSABLE_ENTITY
    };
    render(&inside.app, status, &page, None)
}
