//! How much room JSON takes.

use serde::Serialize;

/// How many bytes something takes, with the comma behind it.
pub fn json_bytes(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |json| json.len().saturating_add(1))
}
