//! What rotations of secrets have in common, of clients and of webhooks.

use axum::body::Bytes;
use serde_json::{Map, json};

use super::described::{Operation, reference};
use super::objects::document;
use super::problem::Problem;
use crate::admin::{MAX_SECRET_OVERLAP_SECONDS, Rejected, SECRET_OVERLAP_SECONDS};
use crate::documents::Reader;

/// The description of a rotation whose answer is the object with its new secret.
pub(super) fn described(summary: &'static str, answer: &'static str, schema: &str) -> Operation {
    let overlap = json!({
        "type": "integer", "minimum": 0, "maximum": MAX_SECRET_OVERLAP_SECONDS, "default": SECRET_OVERLAP_SECONDS,
    });
    let body = json!({ "type": "object", "properties": { "overlap_seconds": overlap } });
    Operation::new(summary)
        .optional_body(&body)
        .answer("200", answer, &reference(schema))
}

/// Reads the optional body of a rotation: for how many seconds the old secret stays valid.
pub(super) fn overlap(body: &Bytes) -> Result<i64, Problem> {
    let members = if body.is_empty() {
        Map::new()
    } else {
        document(body)?
    };
    let mut reader = Reader::new(&members);
    let seconds = reader.integer("overlap_seconds", 0..=MAX_SECRET_OVERLAP_SECONDS);
    reader
        .finish(seconds.unwrap_or(SECRET_OVERLAP_SECONDS))
        .map_err(|problems| Problem::from(Rejected::Invalid(problems)))
}
