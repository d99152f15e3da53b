//! For package registries (resource servers): take an access token that Carnet issued, verify it, and decide whether it
//! allows an operation on a package.
//!
//! * [`Verifier`] checks a JWT access token offline (RFC 9068 section 4) with the keys the server publishes.
//! * [`allows`] decides over the token's `authorization_details` (RFC 9396), taking what only the registry knows as input.
//! * [`PackageNames`] and [`PackagePattern`] compare package names the way the registry's ecosystem does. The server
//!   uses the same code, so a pattern means the same on both sides.
//!
//! ```no_run
//! use carnet_resource_server::{allows, Operation, PackageNames, RegistryState, Verifier};
//!
//! # async fn publish(authorization: Option<&str>) -> Result<(), Box<dyn std::error::Error>> {
//! let verifier = Verifier::new("https://carnet.example", "https://registry.example/")?;
//! let token = verifier.verify(authorization).await?;
//! let operation = Operation { action: "publish", package: "widgets", version: Some("1.2.3"), digest: None };
//! let state = RegistryState {
//!     exists: true,
//!     owned_by: &|owner| owner == "acme",                       // from your database
//!     may_act_for: &|principal, owner| principal == owner,      // from your database
//! };
//! let allowed = allows(&token.authorization_details, PackageNames::Exact, &operation, &state)?;
//! println!("{} publishes for {}", allowed.principal, allowed.owner);
//! # Ok(()) }
//! ```

#![warn(missing_docs)]
#![cfg_attr(test, expect(non_snake_case, reason = "test names begin with the requirement they show"))]

mod decision;
mod details;
mod keys;
mod packages;
mod token;

pub use decision::{Allowed, DenialReason, Denied, Operation, RegistryState, allows};
pub use details::{AuthorizationDetail, DETAIL_TYPE};
pub use packages::{InvalidPattern, PackageNames, PackagePattern, is_well_formed_name};
pub use token::{AccessToken, Actor, PrincipalClaim, Rejection, SetUpError, Verifier, WorkloadClaim};
