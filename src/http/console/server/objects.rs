//! What is configured: lists, and a page of each object as the admin API answers it.

use askama::Template;
use axum::body::Bytes;
use axum::extract::Path;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::inside::{Inside, Instead, Proof, Shell};
use super::super::page::{Frame, render, see_other};
use super::{Fact, ROWS, facts, facts_of, further, reader};
use crate::admin::{self, Filter, Managed};
use crate::documents::{IdentityProviderDocument, Kind, TrustedIssuerDocument};

#[derive(Debug, Template)]
#[template(path = "server_list.html")]
pub struct ListPage {
    pub frame: Frame,
    pub shell: Shell,
    pub heading: &'static str,
    /// What the column beside the names holds.
    pub column: &'static str,
    /// Name, link and what stands beside.
    pub rows: Vec<(String, String, String)>,
    pub more: Option<String>,
}

#[derive(Debug, Template)]
#[template(path = "server_object.html")]
struct ObjectPage {
    frame: Frame,
    shell: Shell,
    name: String,
    facts: Vec<Fact>,
    /// What this process knows of its keys.
    health: Vec<Fact>,
    /// Where the keys are fetched, for those who may.
    fetch: Option<String>,
}

fn heading(kind: Kind) -> &'static str {
    match kind {
        Kind::Principal => "Principals",
        Kind::TrustedIssuer => "Trusted issuers",
        Kind::ResourceServer => "Registries",
        Kind::FederatedCredential => "Rules",
        Kind::Client => "Clients",
        Kind::Notification => "Notifications",
        Kind::IdentityProvider => "Identity providers",
        Kind::Membership => "Memberships",
    }
}

fn path_of(inside: &Inside, kind: Kind) -> String {
    format!("{}/{}", inside.links.server(), kind.segment())
}

/// `GET /console/server/{kind}`
pub async fn list<D: Managed + 'static>(inside: Inside) -> Result<Response, Instead> {
    reader(&inside).await?;
    let page = list_page::<D>(&inside).await?;
    Ok(render(&inside.app, StatusCode::OK, &page, None))
}

async fn list_page<D: Managed>(inside: &Inside) -> Result<ListPage, Instead> {
    let (app, links) = (&inside.app, &inside.links);
    let path = path_of(inside, D::KIND);
    let after = inside.visitor.parameter("after");
    let found = admin::list::<D>(app, after.as_deref(), ROWS, &Filter::default()).await;
    let found = match found {
        Ok(found) => found,
        Err(rejected) => return Err(inside.rejected(rejected, links.server()).await),
    };
    let rows = found.items.iter().map(|stored| {
        let shown = admin::shown(app, stored);
        let is_disabled = shown.get("enabled").is_some_and(|it| *it == false);
        let state = shown.get("state").and_then(serde_json::Value::as_str);
        let note = if is_disabled {
            "disabled"
        } else {
            state.unwrap_or("enabled")
        };
        (
            stored.name.clone(),
            format!("{path}/{}", stored.name),
            note.to_owned(),
        )
    });
    Ok(ListPage {
        frame: inside.frame(),
        shell: inside.shell([
            ("Home", links.home().to_owned()),
            ("The server", links.server()),
        ]),
        heading: heading(D::KIND),
        column: "State",
        rows: rows.collect(),
        more: found.next.map(|next| further(&path, &next)),
    })
}

/// `GET /console/server/trusted-issuers`, with the state of their keys.
pub async fn issuers(inside: Inside) -> Result<Response, Instead> {
    reader(&inside).await?;
    let mut page = list_page::<TrustedIssuerDocument>(&inside).await?;
    let rules = inside.app.rules();
    for (name, _, note) in &mut page.rows {
        if let Some(issuer) = rules.issuer_named(name) {
            let status = inside.app.upstream.status(issuer).await;
            note.push_str(", keys: ");
            note.push_str(status.state.as_str());
        }
    }
    Ok(render(&inside.app, StatusCode::OK, &page, None))
}

/// `GET /console/server/{kind}/{name}`
pub async fn show<D: Managed + 'static>(
    inside: Inside,
    Path(name): Path<String>,
) -> Result<Response, Instead> {
    let page = object_page::<D>(&inside, &name).await?;
    Ok(render(&inside.app, StatusCode::OK, &page, None))
}

async fn object_page<D: Managed>(inside: &Inside, name: &str) -> Result<ObjectPage, Instead> {
    let author = reader(inside).await?;
    let links = &inside.links;
    let stored = match admin::find::<D>(&inside.app, name, &author).await {
        Ok(stored) => stored,
        Err(rejected) => return Err(inside.rejected(rejected, links.server()).await),
    };
    Ok(ObjectPage {
        frame: inside.frame(),
        shell: inside.shell([
            ("Home", links.home().to_owned()),
            ("The server", links.server()),
            (heading(D::KIND), path_of(inside, D::KIND)),
        ]),
        facts: facts(&admin::shown(&inside.app, &stored)),
        name: stored.name,
        health: Vec::new(),
        fetch: None,
    })
}

/// `GET /console/server/trusted-issuers/{name}`
pub async fn issuer(inside: Inside, Path(name): Path<String>) -> Result<Response, Instead> {
    let mut page = object_page::<TrustedIssuerDocument>(&inside, &name).await?;
    if let Some(issuer) = inside.app.rules().issuer_named(&page.name) {
        page.health = facts_of(&inside.app.upstream.status(issuer).await);
    }
    let is_operator = inside.session.roles.is_operator();
    page.fetch = is_operator.then(|| issuer_path(&inside, &page.name));
    Ok(render(&inside.app, StatusCode::OK, &page, None))
}

fn issuer_path(inside: &Inside, name: &str) -> String {
    format!("{}/{name}", path_of(inside, Kind::TrustedIssuer))
}

/// `POST /console/server/trusted-issuers/{name}`: fetches its keys now.
pub async fn fetch_keys(
    inside: Inside,
    Path(name): Path<String>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Instead> {
    inside.fields(body)?;
    reader(&inside).await?;
    inside.operator(Proof::Any)?;
    let Some(issuer) = inside.app.rules().issuer_named(&name).cloned() else {
        return Err(inside.not_found().await);
    };
    let back = issuer_path(&inside, &issuer.name);
    match inside.app.upstream.refresh(&issuer).await {
        Ok(_) => Ok(see_other(&back, None)),
        Err(why) => {
            let (status, heading) = (StatusCode::BAD_GATEWAY, "The keys were not fetched");
            Err(inside.not_done(status, heading, vec![why], back).into())
        }
    }
}

/// `GET /console/server/identity-providers/{name}`
pub async fn provider(inside: Inside, Path(name): Path<String>) -> Result<Response, Instead> {
    let mut page = object_page::<IdentityProviderDocument>(&inside, &name).await?;
    let rules = inside.app.rules();
    if let Some(provider) = rules.identity_provider_named(&page.name) {
        let app = &inside.app;
        page.health = facts_of(&app.providers.status(provider, &app.upstream).await);
    }
    Ok(render(&inside.app, StatusCode::OK, &page, None))
}
