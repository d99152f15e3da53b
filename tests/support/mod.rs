//! What the tests share: a server on a real database, platforms that speak real HTTP and real JOSE, and a clock that is moved.

mod authority;
mod browser;
mod cases;
mod claims;
mod client;
mod cluster;
mod collector;
mod database;
mod deployed;
mod foreign;
mod forge;
mod gateway;
mod installed;
mod issuer;
mod jobs;
mod network;
mod process;
mod provider;
mod receiver;
pub mod registries;
mod runner;
mod secure;
mod server;
mod tool;
mod tunnel;
mod world;

pub use authority::{Authority, Flaw, machine_time};
pub use browser::{Browser, ForeignProvider};
pub use cases::{CaseRun, Outcome, case_files};
pub use claims::{Claims, github};
pub use client::{TestClient, basic, permission};
pub use cluster::{Cluster, Node};
pub use collector::{Collector, text as attribute};
pub use database::TestDb;
pub use deployed::Deployed;
pub use foreign::{Packages, node_and_pnpm};
pub use forge::{TestKey, compact};
pub use gateway::{BackRegistry, GatewayServer, HOST, OPERATORS, as_setting};
pub use installed::{Installed, first_start, free_address};
pub use issuer::FakeIssuer;
pub use jobs::{Assertions, Jobs, all};
pub use network::FakeNetwork;
pub use process::{Finished, ServerProcess, carnet, carnet_in, carnet_under, finished};
pub use provider::{
    ACCESS_TOKEN as PROVIDER_ACCESS_TOKEN, CLIENT_ID, CLIENT_SECRET, FakeProvider, Fault,
};
pub use receiver::{Delivery, Receiver};
pub use runner::Runner;
pub use secure::{Secure, Tls, connect, names_of, setting, status, write};
pub use server::{Answer, TestServer, encode};
pub use tool::Tool;
pub use tunnel::tunnel_to;
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

/// A body that an unmodified client sent, as the crate of the protocols keeps it.
pub fn recorded(name: &str) -> Vec<u8> {
    let folder = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/publish-protocols/tests/fixtures"
    );
    std::fs::read(format!("{folder}/{name}")).unwrap()
}
