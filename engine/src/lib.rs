//! What Carnet decides by: reasons, profiles of platforms, rules and what is found of them, assertions, and what a match permits.
//!
//! Everything here is pure: time, keys and randomness are handed in, and nothing waits. What needs a network, a database or a socket
//! is in the server.

#![cfg_attr(
    test,
    expect(
        clippy::needless_pass_by_value,
        non_snake_case,
        reason = "helpers of tests take what is written down; test names begin with the requirement they show"
    )
)]

pub mod assertion;
pub mod clock;
pub mod grant_type;
pub mod ids;
pub mod json;
pub mod model;
pub mod opaque;
pub mod own_urls;
pub mod principal;
pub mod profile;
pub mod reason;
pub mod refusal;
pub mod scope;
pub mod trust;
