//! The stylesheet, the script and the icon, in the binary. Their names hold a digest of their content, so that
//! browsers keep them for ever.

use std::sync::LazyLock;

use axum::extract::{Path, State};
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse as _, Response};

use super::super::address::ClientAddress;
use super::super::error::not_found;
use crate::app::App;

const STYLE: &str = include_str!("../../../assets/console.css");
const SCRIPT: &str = include_str!("../../../assets/console.js");
const ICON: &str = include_str!("../../../assets/icon.svg");
/// Digits of the digest in a name.
const DIGITS: usize = 16;

/// An asset: its name, its media type and its content.
type Asset = (String, &'static str, &'static str);

static ASSETS: LazyLock<[Asset; 3]> = LazyLock::new(|| {
    [
        (
            named("console", STYLE, "css"),
            "text/css; charset=utf-8",
            STYLE,
        ),
        (
            named("console", SCRIPT, "js"),
            "text/javascript; charset=utf-8",
            SCRIPT,
        ),
        (named("icon", ICON, "svg"), "image/svg+xml", ICON),
    ]
});

fn named(name: &str, content: &str, ending: &str) -> String {
    let digest = carnet_jose::base64url(carnet_jose::sha256(content.as_bytes()));
    let digits: String = digest.chars().take(DIGITS).collect();
    format!("{name}.{digits}.{ending}")
}

/// The names of the stylesheet, the script and the icon.
pub fn names() -> [&'static str; 3] {
    let [style, script, icon] = &*ASSETS;
    [&style.0, &script.0, &icon.0]
}

/// `GET /console/assets/{name}`
pub async fn asset(
    State(app): State<std::sync::Arc<App>>,
    Path(name): Path<String>,
    address: ClientAddress,
    uri: axum::extract::OriginalUri,
) -> Response {
    let found = ASSETS.iter().find(|(known, ..)| *known == name);
    let Some((_, media_type, content)) = found else {
        return not_found(State(app), address, uri.0).await;
    };
    let mut response = (*content).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    let for_ever = HeaderValue::from_static("public, max-age=31536000, immutable");
    headers.insert(CACHE_CONTROL, for_ever);
    response
}
