//! What a permit lets the caller do, and as which principal: computes the `authorization_details`
//! entries of a token.
//!
//! The order is that of decision D-01: target, then principal, then scope, then details. Each rule
//! keeps its own entries. Entries of different rules are never merged, since the actions of one
//! with the packages of another would permit more than either.

mod entitlement;
mod entry;
mod fit;
mod floor;
mod narrowing;
mod of_person;
mod request;
mod target;

pub use entitlement::{Asked, Entitlement, entitle, of_client, of_token, too_weak};
pub use entry::detail;
pub use fit::{Fitted, Frame, TokenRoom, fit};
pub use of_person::{Choice, choices, of_person};
pub use request::{AccessRequest, AtFrontDoor, DetailRequest};
pub use target::check as check_target;
