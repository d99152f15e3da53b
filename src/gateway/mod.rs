//! The gateway's side of the server: tokens, owners and records ([`GatewayAuthority`]), the audit
//! events of publications, and what operators do about them. The proxy itself is the crate
//! `carnet-gateway`.

mod authority;
mod events;
mod operate;
mod setup;
mod shown;

pub use authority::GatewayAuthority;
pub use operate::{SettledByOperator, change_packages, settle_by_operator};
pub use setup::{GatewayError, owner_lists, problems, set_up, warnings};
pub use shown::{shown_package, shown_publication};
