//! The gateway: a reverse proxy in front of package registries that know nothing of Carnet. It gives
//! them trusted publishing without a change to the registry or to the tools.
//!
//! Reads pass through. A request that publishes something is received whole before the registry sees
//! a byte of it: package, version and digest are read out of it by the protocol's own rules
//! (`carnet-publish-protocols`), and the entries of the access token decide (`carnet-access`). Then
//! the request goes on, byte for byte, with the operator's credential for the registry.
//!
//! The crate knows HTTP and the protocols. Tokens, owners and records are those of an
//! [`Authority`], which the server implements on its database.

#![warn(missing_docs)]

mod authority;
mod decide;
mod forward;
mod framing;
mod gateway;
mod host;
mod index;
mod owners;
mod possession;
mod publish;
mod reads;
mod records;
mod refusal;
mod registry;
mod rewrite;
mod settle;
mod spool;
mod upstream;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;

pub use authority::{Authority, NoToken, Terms, Unavailable};
pub use gateway::{Gateway, Reason, SetUpError};
pub use host::{at_host, host};
pub use http::HeaderName;
pub use index::{Answer, Ask, Digested, Existence, Held, Index, NoAnswer, Published, Unanswered};
pub use owners::OwnerLists;
pub use possession::ClientCertificate;
pub use reads::{InvalidPathPattern, PathPattern, Reads};
pub use records::{
    Changed, NewPublication, Outcome, Owner, Package, Publisher, RefusedPublication, Reservation,
    Standing, Unsettled,
};
pub use registry::{Registry, UnsendableCredential, UpstreamCredential};
pub use rewrite::Bases;
pub use spool::Spool;
pub use upstream::LONGEST_REQUEST;

/// An error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// An answer of the gateway.
pub type Answered = http::Response<UnsyncBoxBody<Bytes, BoxError>>;
