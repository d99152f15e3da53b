//! What the server does, seen from outside. A test's name begins with the requirement it shows; `docs/src/requirements.md` lists
//! them, and `documents.rs` compares the two.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::indexing_slicing,
    clippy::needless_pass_by_value,
    clippy::panic,
    clippy::similar_names,
    clippy::string_slice,
    clippy::too_many_lines,
    clippy::unwrap_used,
    non_snake_case,
    reason = "a test that goes wrong fails; test names begin with the requirement they show"
)]

#[path = "../support/mod.rs"]
mod support;

mod access_token;
mod admin;
mod assertion;
mod attenuation;
mod audit;
mod case_files;
mod cases_over_http;
mod client_auth;
mod clients;
mod commands;
mod connections;
mod consent;
mod delegation;
mod details;
mod documents;
mod egress;
mod entries;
mod exchange;
mod exchange_command;
mod fulcio;
mod introspection;
mod metadata;
mod modules;
mod one_decision;
mod operation;
mod platforms;
mod properties;
mod revocation;
mod rule_properties;
mod rules;
mod servers;
mod single_use;
mod spiffe;
mod standing;
mod structure;
mod surroundings;
mod svid_clients;
mod targets;
mod token_endpoint;
mod token_review;
mod upstream_keys;
mod workloads;
