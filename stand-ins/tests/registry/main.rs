//! The example registry over real sockets: uploads that real clients sent, the indexes that they
//! install from, refusals as each tool shows them, the front doors' paths, bound
//! tokens, and TLS.
//!
//! The bodies in `tests/data` were sent by uv 0.13.9, npm 11.19.1, cargo 1.95.0, gem 3.3.15 and
//! NuGet 2.8.7. Each is version 1.0.0 of the same package.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::format_collect,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test that goes wrong fails"
)]

mod dpop;
mod front_door;
mod indexes;
mod refusals;
mod support;
mod tls;
