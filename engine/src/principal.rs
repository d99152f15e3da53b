//! Whom a permit lets the caller act as, and with what: the entries of the token.
//!
//! The order is that of decision D-01, step 9: target, then principal, then scope, then details. Entries of several rules
//! stand side by side and are never put together.

mod entitlement;
mod entry;
mod fit;
mod floor;
mod narrowing;
mod request;
mod target;

pub use entitlement::{Entitlement, entitle, of_client, of_token};
pub use entry::detail;
pub use fit::{Fitted, Frame, TokenRoom, fit};
pub use request::{AccessRequest, DetailRequest};
pub use target::check as check_target;
