//! Sizes of values in JSON, for the limits on tokens and responses.

use serde::Serialize;

/// The length of `value` as compact JSON, in bytes; `usize::MAX` if it cannot be serialised.
pub fn json_bytes(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |json| json.len())
}

/// The length of `value` as one of several elements, in bytes: its JSON and a comma.
pub fn element_bytes(value: &impl Serialize) -> usize {
    json_bytes(value).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_sizes_are_those_of_the_serialised_text() {
        assert_eq!((json_bytes(&"a"), element_bytes(&"a")), (3, 4));
        assert_eq!((json_bytes(&[1, 2]), element_bytes(&"ä\n")), (5, 7));
    }
}
