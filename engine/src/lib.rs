//! The decision engine of Carnet: reasons and refusals, platform profiles, compiled rules,
//! assertions, and what a matching rule permits.
//!
//! Decisions are pure functions: time and keys are arguments, and no function waits. Only ids and
//! opaque tokens draw random bytes from the operating system, and only [`profile::Profiles::load`]
//! reads files. Code that needs the network, a database or a socket is in the server crate.

#![cfg_attr(
    test,
    expect(
        clippy::needless_pass_by_value,
        non_snake_case,
        reason = "helpers of tests take what is written down; test names begin with the requirement they show"
    )
)]

pub mod assertion;
pub mod attested;
pub mod client;
pub mod clock;
pub mod code_grant;
pub mod decision;
pub mod documents;
pub mod grant_type;
pub mod ids;
pub mod json;
pub mod model;
pub mod opaque;
pub mod own_token;
pub mod own_urls;
pub mod people;
pub mod possession;
pub mod principal;
pub mod profile;
pub mod reason;
pub mod refusal;
pub mod scope;
pub mod snippets;
pub mod trust;
