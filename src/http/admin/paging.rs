//! Pages of lists: how many items they have, where they begin, and what fits into one answer.

use axum::Json;
use axum::response::{IntoResponse as _, Response};
use carnet_jose::{base64url, from_base64url};
use serde_json::{Value, json};

use super::objects::invalid_query;
use super::problem::Problem;
use crate::json::element_bytes;

/// Items of a page without `limit`.
const PAGE: u64 = 50;
/// Largest value of `limit`.
const LARGEST_PAGE: u64 = 500;
/// Bytes for the items of one answer. Answers are limited to 1 MiB
/// (`docs/src/reference/limits.md`); the difference is for what surrounds the items.
const MAX_ANSWER_BYTES: usize = 1000 * 1024;

/// The query parameter `limit`, or what counts without it.
pub fn limit(given: Option<u64>) -> Result<u64, Problem> {
    let limit = given.unwrap_or(PAGE);
    if (1..=LARGEST_PAGE).contains(&limit) {
        Ok(limit)
    } else {
        Err(invalid_query("limit must be 1 to 500"))
    }
}

/// What the query parameter `cursor` says the page begins after.
pub fn after<T: std::str::FromStr>(cursor: Option<&str>) -> Result<Option<T>, Problem> {
    let read = |cursor: &str| {
        let bytes = from_base64url(cursor)?;
        std::str::from_utf8(&bytes).ok()?.parse().ok()
    };
    let wrong = || invalid_query("cursor must be the next_cursor of another page of this list");
    cursor
        .map(|cursor| read(cursor).ok_or_else(wrong))
        .transpose()
}

/// The first items that fit into one answer, at least one, and how many these are.
pub fn within_answer(items: impl Iterator<Item = Value>) -> (Vec<Value>, usize) {
    let mut left = MAX_ANSWER_BYTES;
    let mut fitting: Vec<Value> = Vec::new();
    for item in items {
        let rest = left.checked_sub(element_bytes(&item));
        if rest.is_none() && !fitting.is_empty() {
            break;
        }
        left = rest.unwrap_or_default();
        fitting.push(item);
    }
    let count = fitting.len();
    (fitting, count)
}

/// A page, and what the next one begins after; `None` for the last page.
pub fn answer(items: &[Value], next: Option<String>) -> Response {
    Json(json!({ "items": items, "next_cursor": next.map(base64url) })).into_response()
}
