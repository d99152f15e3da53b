//! The cookies of a request.

use axum::http::HeaderMap;
use axum::http::header::COOKIE;

/// The value of the first cookie of this name.
pub(crate) fn cookie(headers: &HeaderMap, wanted: &str) -> Option<String> {
    let sent = headers.get_all(COOKIE).iter();
    let pairs = sent.filter_map(|value| value.to_str().ok());
    pairs
        .flat_map(|value| value.split("; "))
        .filter_map(|pair| pair.split_once('='))
        .find(|(name, _)| *name == wanted)
        .map(|(_, value)| value.to_owned())
}
