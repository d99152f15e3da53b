//! What an access token says ([`AccessToken`]), and whether it allows an operation on a package ([`allows`]).
//!
//! Server and registry decide by the same code, so a pattern means the same on both sides. Nothing here reads a clock, a network or a
//! key.

#![warn(missing_docs)]
#![cfg_attr(test, expect(non_snake_case, reason = "test names begin with the requirement they show"))]

mod decision;
mod details;
mod packages;
mod token;

pub use decision::{Allowed, CREATE, DenialReason, Denied, Operation, RegistryState, allows};
pub use details::{AuthorizationDetail, DETAIL_TYPE, GroundKind, RestsOn};
pub use packages::{InvalidPattern, PackageNames, PackagePattern, PackageSet, is_well_formed_name};
pub use token::{AccessToken, Actor, PrincipalClaim, WorkloadClaim};
