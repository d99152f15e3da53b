//! The contents of Carnet's access tokens ([`AccessToken`]), and the decision whether a token
//! allows an operation on a package ([`allows`]).
//!
//! The authorization server and the registries use the same code, so that a package pattern means
//! the same on both sides. The crate verifies no signatures and reads neither clock nor network:
//! verify a token first, for example with the crate `carnet-resource-server`.

#![warn(missing_docs)]
#![cfg_attr(
    test,
    expect(
        non_snake_case,
        reason = "test names begin with the requirement they show"
    )
)]

mod decision;
mod details;
mod packages;
mod token;

pub use decision::{Allowed, CREATE, DenialReason, Denied, Operation, RegistryState, allows};
pub use details::{AuthorizationDetail, DETAIL_TYPE, GroundKind, RestsOn};
pub use packages::{InvalidPattern, PackageNames, PackagePattern, PackageSet, is_well_formed_name};
pub use token::{
    AccessToken, Actor, Confirmation, PersonClaim, PrincipalClaim, ProofLevel, WorkloadClaim,
};
