//! This server's signing keys.

use askama::Template;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::http::StatusCode;
use axum::response::Response;

use super::super::inside::{Inside, Instead, Proof, Shell};
use super::super::page::{Frame, render, see_other};
use super::reader;
use crate::admin::{self, ShownKey};

#[derive(Debug, Template)]
#[template(path = "server_keys.html")]
struct KeysPage {
    frame: Frame,
    shell: Shell,
    itself: String,
    is_operator: bool,
    keys: Vec<ShownKey>,
}

fn path(inside: &Inside) -> String {
    format!("{}/signing-keys", inside.links.server())
}

/// `GET /console/server/signing-keys`
pub async fn list(inside: Inside) -> Result<Response, Instead> {
    reader(&inside).await?;
    let links = &inside.links;
    let keys = match admin::signing_keys(&inside.app).await {
        Ok(keys) => keys,
        Err(rejected) => return Err(inside.rejected(rejected, links.server()).await),
    };
    let page = KeysPage {
        frame: inside.frame(),
        shell: inside.shell([
            ("Home", links.home().to_owned()),
            ("The server", links.server()),
        ]),
        itself: path(&inside),
        is_operator: inside.session.roles.is_operator(),
        keys,
    };
    Ok(render(&inside.app, StatusCode::OK, &page, None))
}

/// `POST /console/server/signing-keys`: rotates or withdraws. The `kid` has to be typed.
pub async fn change(
    inside: Inside,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Instead> {
    let fields = inside.fields(body)?;
    reader(&inside).await?;
    let author = inside.operator(Proof::Recent)?;
    let (app, back) = (&inside.app, path(&inside));
    let keys = match admin::signing_keys(app).await {
        Ok(keys) => keys,
        Err(rejected) => return Err(inside.rejected(rejected, back).await),
    };
    let typed = fields.text("kid");
    let word = fields.text("do");
    // Rotating names the key that signs, withdrawing any of them.
    let is_meant = |key: &ShownKey| key.kid == typed && (word != "rotate" || key.state == "active");
    if !keys.iter().any(is_meant) {
        let told = match word {
            "rotate" => "To rotate, type the kid of the key that signs now.",
            _ => "To withdraw a key, type its kid.",
        };
        let (status, heading) = (StatusCode::BAD_REQUEST, "No key was changed");
        return Err(inside
            .not_done(status, heading, vec![told.to_owned()], back)
            .into());
    }
    let done = match word {
        "rotate" => admin::rotate_signing_key(app, None, &author).await,
        "withdraw" => admin::withdraw_signing_key(app, typed, &author).await,
        _ => return Err(inside.not_found().await),
    };
    match done {
        Ok(()) => Ok(see_other(&back, None)),
        Err(rejected) => Err(inside.rejected(rejected, back).await),
    }
}
