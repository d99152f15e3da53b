//! What the server does, seen from outside. A test's name begins with the requirement it shows; `docs/src/requirements.md` lists
//! them, and `requirements.rs` compares the two.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    non_snake_case,
    reason = "a test that goes wrong fails; test names begin with the requirement they show"
)]

#[path = "../support/mod.rs"]
mod support;

mod access_token;
mod admin;
mod assertion;
mod clients;
mod commands;
mod documents;
mod egress;
mod metadata;
mod rules;
mod single_use;
mod structure;
mod targets;
mod token_endpoint;
mod upstream_keys;
mod workloads;
