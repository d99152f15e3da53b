//! Attestations made by `openssl`, verified here.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]
#![expect(
    non_snake_case,
    reason = "test names begin with the requirement they show"
)]

mod rpki_client;
mod support;
mod verdicts;
