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
mod apply_command;
mod assertion;
mod attenuation;
#[cfg(feature = "rpki")]
mod attestation;
mod audit;
mod audit_command;
mod audit_export;
mod audit_mended;
mod audit_scale;
mod audit_search;
mod authorize;
mod authorize_clients;
mod book;
mod case_files;
mod case_texts;
mod cases_over_http;
mod catalog;
mod client_auth;
mod clients;
mod commands;
mod conditions;
mod configuration;
mod connections;
mod consent;
mod console_drafts;
mod console_rules;
mod console_server;
mod decision_vectors;
mod delegation;
mod deployment;
mod details;
mod documents;
mod dpop;
mod egress;
mod egress_ways;
mod ended_many;
mod ended_tokens;
mod entries;
mod exchange;
mod exchange_command;
mod fapi;
mod front_door_documents;
mod front_door_keys;
mod front_door_strangers;
mod front_doors;
mod fulcio;
mod fuzz_corpora;
mod gateway;
mod gateway_authority;
mod gateway_commands;
mod gateway_owners;
mod gateway_pages;
mod gateway_records;
mod gateway_strangers;
mod gateway_tools;
mod http_oddities;
mod installation;
mod introspection;
mod key_rotation;
mod keys_with_token;
mod login;
mod metadata;
mod metrics;
mod modules;
mod mtls;
mod notification_causes;
mod notification_limits;
mod notification_messages;
mod notifications;
mod object_commands;
mod observability;
mod one_decision;
mod operation;
mod overload;
mod people_browser;
mod people_clients;
mod people_objects;
mod people_sessions;
mod platform_limits;
mod platforms;
mod profiles_command;
mod properties;
mod publishing_tools;
mod quickstart;
mod refusals;
mod replicas;
mod restart;
mod revocation;
mod rule_properties;
mod rules;
mod secrets_in_logs;
mod servers;
mod sign_in;
mod sign_in_faults;
mod sign_in_stand_in;
mod signing_keys;
mod simulation;
mod single_use;
mod snippets;
mod snippets_offered;
mod spiffe;
mod standing;
mod structure;
mod surroundings;
mod svid_clients;
mod targets;
mod tls;
mod tls_certificates;
mod tls_limits;
mod token_endpoint;
mod token_review;
mod transfers;
mod upstream_keys;
mod upstream_trouble;
mod workloads;
