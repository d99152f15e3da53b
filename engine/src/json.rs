//! How much room JSON takes.

use serde::Serialize;

/// How many bytes something takes.
pub fn json_bytes(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |json| json.len())
}

/// How many bytes something takes among others, with the comma behind it.
pub fn element_bytes(value: &impl Serialize) -> usize {
    json_bytes(value).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_those_of_the_text() {
        assert_eq!((json_bytes(&"a"), element_bytes(&"a")), (3, 4));
        assert_eq!((json_bytes(&[1, 2]), element_bytes(&"ä\n")), (5, 7));
    }
}
