//! Whom a permit lets the caller act as, and with what: the entries of the token.
//!
//! The order is that of decision D-01, step 9: target, then principal, then scope, then details. Entries of several rules
//! stand side by side and are never put together.

mod authorization;
mod entitlement;
mod entry;
mod floor;
mod narrowing;
mod request;
mod target;

pub use crate::model::{Principal, PrincipalKind};
pub use authorization::{Authorization, Grounds, authorize, authorize_client, authorize_token};
pub use entitlement::{Entitlement, entitle};
pub use request::{AccessRequest, DetailRequest};
