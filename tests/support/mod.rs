//! What the tests share: a server on a real database, platforms that speak real HTTP and real JOSE, and a clock that is moved.

mod authority;
mod cases;
mod claims;
mod client;
mod database;
mod deployed;
mod foreign;
mod forge;
mod installed;
mod issuer;
mod network;
mod process;
mod server;
mod world;

pub use authority::{Authority, Flaw};
pub use cases::{CaseRun, Outcome, case_files};
pub use claims::{Claims, github};
pub use client::{TestClient, basic, permission};
pub use database::TestDb;
pub use deployed::Deployed;
pub use foreign::Packages;
pub use forge::{TestKey, compact};
pub use installed::{Installed, free_address};
pub use issuer::FakeIssuer;
pub use network::FakeNetwork;
pub use process::{Finished, ServerProcess, carnet, carnet_in, carnet_under, finished};
pub use server::{Answer, TestServer, encode};
pub use world::{Carrier, World};

/// The grant type of the first grant.
pub const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
/// The token exchange, and the kinds of tokens in it.
pub const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";
pub const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// The type of client assertions.
pub const CLIENT_ASSERTION: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// Our issuer identifier, unless a test needs another.
pub const CARNET: &str = "https://as.test";
/// The platform most tests use.
pub const GH: &str = "https://ci.test";
/// The registries.
pub const R1: &str = "https://registry.test/pypi/";
pub const R2: &str = "https://registry.test/crates/";

/// Whether a check that needs something of this machine may be left out where it is missing.
pub fn may_skip(what: &str) -> bool {
    let required = std::env::var("CARNET_REQUIRE_ALL").is_ok_and(|value| value == "1");
    assert!(
        !required,
        "{what} is missing, and CARNET_REQUIRE_ALL asks for every check"
    );
    eprintln!("left out: {what} is missing");
    true
}
