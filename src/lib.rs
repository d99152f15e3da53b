//! draft
#![cfg_attr(
    test,
    expect(
        clippy::arithmetic_side_effects,
        non_snake_case,
        reason = "a test that overflows fails; test names begin with the requirement they show"
    )
)]
pub mod admin;
pub mod app;
pub mod assertion;
pub mod audit;
pub mod client;
pub mod clock;
pub mod command;
pub mod config;
pub mod explain;
pub mod grant;
pub mod http;
pub mod ids;
pub mod keys;
pub mod limits;
pub mod objects;
pub mod policy;
pub mod principal;
pub mod profile;
pub mod reason;
pub mod refusal;
pub mod store;
pub mod token;
pub mod trust;
pub mod upstream;
